//! That the oracle can fail: one of everything that it looks for is left behind on purpose.

use crate::oracle;
use crate::report::Report;
use crate::world::{Residue, World, id};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::any::Any;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What takes it away again.
type Undo = Box<dyn FnOnce()>;
type Leave = Box<dyn FnOnce() -> Option<Undo>>;
type Look = fn(&Residue) -> bool;

const ROW: &str = "proof of the oracle";

pub fn proof(world: &mut World, report: &mut Report) {
    for (what, leave, sees) in kinds(world) {
        let Some(undo) = leave() else {
            report.skipped.push(format!("{ROW}: {what} cannot be left here"));
            continue;
        };
        report.row(ROW).points += 1;
        let seen = until(|| sees(&world.look_whole()));
        undo();
        let gone = until(|| world.look_whole().is_empty());
        if seen && gone {
            report.row(ROW).recovered += 1;
        } else {
            report.row(ROW).wrong += 1;
            let left = world.look_whole().words();
            report.finding(format!(
                "{ROW}: {what} is {}",
                if seen { format!("still seen when it is gone: {left}") } else { "not seen".to_owned() }
            ));
            world.clear();
        }
    }
    if !oracle::sees_programs() {
        report.skipped.push("BPF programs: they may not be counted here".to_owned());
    }
}

fn until(mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + crate::trace::slowly(Duration::from_secs(3));
    loop {
        if done() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        crate::world::reap();
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kinds(world: &World) -> Vec<(String, Leave, Look)> {
    let mut kinds: Vec<(String, Leave, Look)> = Vec::new();
    let mut add = |what: &str, leave: Leave, sees: Look| kinds.push((what.to_owned(), leave, sees));
    add("a process", Box::new(process), |residue| !residue.processes.is_empty());
    add("a process whose parent has ended", Box::new(orphan), |residue| residue.processes.iter().any(|p| p.starts_with("sleep(")));
    for (n, hierarchy) in world.hierarchies.iter().enumerate() {
        let dir = hierarchy.join(&world.cgroup).join("left/below");
        add(&format!("a cgroup on hierarchy {n}"), Box::new(move || directories(&dir)), |residue| residue.cgroups.len() >= 2);
    }
    let at = world.work.join("left.scratch");
    add("a mount", Box::new(move || mounted(&at, None)), |residue| !residue.mounts.is_empty());
    let at = world.work.join("left.scratch");
    add("a network namespace that is mounted", Box::new(move || mounted(&at, Some("net"))), |residue| !residue.kept.namespaces.is_empty());
    add("a namespace by a descriptor", Box::new(namespace), |residue| !residue.kept.namespaces.is_empty());
    for dir in world.strays().map(PathBuf::from).into_iter().chain([world.bundle_of(crate::world::Kind::Plain), world.work.clone()]) {
        // Where it is only a place to mount something.
        if dir != Path::new("/sys/fs/bpf") && dir.is_dir() {
            add(&format!("a file in {}", dir.display()), Box::new(move || file(&dir.join("left"))), |residue| !residue.files.is_empty());
        }
    }
    let dir = world.root.join(id());
    add("a state directory", Box::new(move || directories(&dir.join("below"))), |residue| !residue.state.is_empty());
    let dir = world.root.join(".hidden");
    add("a hidden file for every container", Box::new(move || many(&dir)), |residue| !residue.state.is_empty());
    let file_in = world.root.join(".hidden/half");
    add("a hidden file that was not finished", Box::new(move || half(&file_in)), |residue| !residue.state.is_empty());
    add("a descriptor", Box::new(|| hold(File::open("/dev/null").ok())), |residue| !residue.descriptors.is_empty());
    add("a BPF program", Box::new(|| hold(oracle::load_program())), |residue| !residue.kept.programs.is_empty());
    add("a keyring", Box::new(keyring), |residue| !residue.kept.keyrings.is_empty());
    if world.systemd {
        let slice = world.cgroup.clone();
        // One that failed, in a slice that is looked at.
        add("a unit", Box::new(move || unit(&slice)), |residue| !residue.kept.units.is_empty());
    }
    kinds
}

fn hold<T: Any>(thing: Option<T>) -> Option<Undo> {
    thing.map(|thing| Box::new(move || drop(thing)) as Undo)
}

fn sleeper(program: &str, args: &[&str]) -> Option<Child> {
    Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn process() -> Option<Undo> {
    let child = sleeper("sleep", &["1000"])?;
    Some(Box::new(move || end(child)))
}

fn orphan() -> Option<Undo> {
    let output = Command::new("sh").args(["-c", "sleep 1000 <&- >&- 2>&- & echo $!"]).output().ok()?;
    let pid: i32 = String::from_utf8_lossy(&output.stdout).trim().parse().ok()?;
    Some(Box::new(move || {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }))
}

/// A directory, and one above it.
fn directories(dir: &Path) -> Option<Undo> {
    fs::create_dir_all(dir).ok()?;
    let dir = dir.to_owned();
    Some(Box::new(move || {
        let _ = fs::remove_dir(&dir);
        let _ = dir.parent().map(fs::remove_dir);
    }))
}

fn many(dir: &Path) -> Option<Undo> {
    fs::create_dir(dir).ok()?;
    (0..20).try_for_each(|n| fs::write(dir.join(format!("{n:016x}")), "")).ok()?;
    let dir = dir.to_owned();
    Some(Box::new(move || drop(fs::remove_dir_all(dir))))
}

fn half(path: &Path) -> Option<Undo> {
    let dir = path.parent()?.to_owned();
    fs::create_dir(&dir).ok()?;
    fs::write(path, "").ok()?;
    Some(Box::new(move || drop(fs::remove_dir_all(dir))))
}

fn file(path: &Path) -> Option<Undo> {
    fs::write(path, "left").ok()?;
    let path = path.to_owned();
    Some(Box::new(move || drop(fs::remove_file(path))))
}

/// A tmpfs, or a namespace of a process that is gone then.
fn mounted(at: &Path, namespace: Option<&str>) -> Option<Undo> {
    File::create(at).ok()?;
    let done = match namespace {
        None => mount(Some("/dev/null"), at, None::<&str>, MsFlags::MS_BIND, None::<&str>),
        Some(kind) => {
            let child = sleeper("unshare", &["--net", "sleep", "1000"])?;
            let there = PathBuf::from(format!("/proc/{}/ns/{kind}", child.id()));
            let own = fs::read_link("/proc/self/ns/net").ok();
            until(|| fs::read_link(&there).ok() != own);
            let done = mount(Some(&there), at, None::<&str>, MsFlags::MS_BIND, None::<&str>);
            end(child);
            done
        }
    };
    done.ok()?;
    let at = at.to_owned();
    Some(Box::new(move || {
        let _ = umount2(&at, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(&at);
    }))
}

fn namespace() -> Option<Undo> {
    let child = sleeper("unshare", &["--ipc", "sleep", "1000"])?;
    let there = format!("/proc/{}/ns/ipc", child.id());
    let own = fs::read_link("/proc/self/ns/ipc").ok();
    until(|| fs::read_link(&there).ok() != own);
    let file = File::open(&there).ok();
    end(child);
    hold(file)
}

fn keyring() -> Option<Undo> {
    let serial = oracle::add_keyring()?;
    Some(Box::new(move || oracle::remove_keyring(serial)))
}

fn unit(slice: &str) -> Option<Undo> {
    let name = format!("left-{}.service", id());
    let slice = format!("--slice={slice}");
    let unit = format!("--unit={name}");
    let mut child = sleeper("systemd-run", &["--quiet", &slice, &unit, "false"])?;
    child.wait().ok()?.success().then_some(())?;
    Some(Box::new(move || {
        oracle::systemctl(&["reset-failed", &name]);
    }))
}
