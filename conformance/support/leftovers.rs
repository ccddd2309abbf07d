//! What a runtime may not leave behind: state, cgroups, mounts in the host's table, processes.

use super::environment::Environment;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The variable that marks every process that a case started, with the case's directory.
pub const MARK: &str = "CONFORMANCE_CASE";

/// How long what was killed may take to be gone.
fn moment() -> Duration {
    super::patience() / 5
}

/// What is left of a case; it is given a moment, for a killed process ends a little after the call that killed it.
/// Then what can be removed is, so that one runtime's leak is not the next test's failure.
pub fn find(environment: &Environment, dir: &Path, cgroup: &str) -> Vec<String> {
    let start = Instant::now();
    loop {
        let left = look(environment, dir, cgroup);
        if left.is_empty() || start.elapsed() > moment() {
            if !left.is_empty() {
                clear(environment, dir, cgroup);
            }
            return left;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn look(environment: &Environment, dir: &Path, cgroup: &str) -> Vec<String> {
    let mut left = Vec::new();
    for entry in fs::read_dir(dir.join("state")).into_iter().flatten().flatten() {
        // No id begins with a dot: what does is the runtime's own, for all containers.
        if entry.file_name().as_bytes().starts_with(b".") {
            continue;
        }
        left.push(format!("state {}", entry.file_name().display()));
    }
    let mut cgroups = Vec::new();
    for path in environment.cgroups(cgroup) {
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                cgroups.push(entry.path().display().to_string());
            }
        }
        // The parent of the case's cgroups is no runtime's to remove.
        if fs::remove_dir(&path).is_err() && super::present(&path) && cgroups.is_empty() {
            cgroups.push(path.display().to_string());
        }
    }
    if let Some(first) = cgroups.first() {
        left.push(format!("cgroup {first} ({} in all hierarchies)", cgroups.len()));
    }
    let mine = format!("{}/", dir.display());
    for line in super::read("/proc/self/mountinfo").lines().filter(|line| line.contains(&mine)) {
        left.push(format!("mount {line}"));
    }
    for pid in processes(dir) {
        left.push(format!("process {pid} {}", fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ")));
    }
    left
}

/// The processes that a case started and that still run: by its mark, or by a path in its directory.
fn processes(dir: &Path) -> Vec<i32> {
    let dir = dir.as_os_str().as_bytes();
    // With the slash or the end after it, lest /1 be found in /12.
    let has = |bytes: &[u8]| bytes.windows(dir.len() + 1).any(|w| w.starts_with(dir) && matches!(w[dir.len()], b'/' | 0));
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if u32::try_from(pid) == Ok(std::process::id()) {
            continue;
        }
        let texts = ["cmdline", "environ"].iter().filter_map(|file| fs::read(entry.path().join(file)).ok());
        let links = ["cwd", "root", "exe"].iter().filter_map(|l| fs::read_link(entry.path().join(l)).ok());
        let links = links.map(|l| [l.as_os_str().as_bytes(), b"\0"].concat());
        if texts.chain(links).any(|bytes| has(&bytes)) {
            found.push(pid);
        }
    }
    found
}

fn clear(environment: &Environment, dir: &Path, cgroup: &str) {
    let kill = |pid: i32| {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    };
    processes(dir).into_iter().for_each(kill);
    for path in environment.cgroups(cgroup) {
        remove_cgroup(&path, &kill);
    }
    let mine = format!("{}/", dir.display());
    for line in super::read("/proc/self/mountinfo").lines().rev().filter(|line| line.contains(&mine)) {
        if let Some(at) = line.split(' ').nth(4).filter(|at| at.starts_with(&mine)) {
            let _ = rustix::mount::unmount(at, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

fn remove_cgroup(path: &Path, kill: &impl Fn(i32)) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_cgroup(&entry.path(), kill);
        }
    }
    let _ = fs::write(path.join("freezer.state"), "THAWED");
    let start = Instant::now();
    while super::present(path) && fs::remove_dir(path).is_err() && start.elapsed() < moment() {
        fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default().lines().filter_map(|p| p.parse().ok()).for_each(kill);
        std::thread::sleep(Duration::from_millis(10));
    }
}
