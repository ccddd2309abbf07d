//! Many containers at once, and a runtime that is killed now and then.

use crate::report::{Report, say};
use crate::wear::Random;
use crate::world::{Kind, World};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const AT_ONCE: usize = 20;
const ROW: &str = "load";

/// The ends of processes that nobody has asked for yet.
type Ends = Mutex<HashMap<i32, WaitStatus>>;

struct Shared<'a> {
    world: &'a World,
    next: AtomicUsize,
    count: usize,
    ends: Ends,
    killed: AtomicUsize,
    /// How often each step succeeded.
    done: [AtomicUsize; 5],
    findings: Mutex<Vec<String>>,
}

/// `count` containers created, started, exec'ed, killed and deleted.
pub fn load(world: &World, count: usize, report: &mut Report) {
    let before = figures();
    let shared = Shared {
        world,
        next: AtomicUsize::new(0),
        count,
        ends: Mutex::default(),
        killed: AtomicUsize::new(0),
        done: Default::default(),
        findings: Mutex::default(),
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|worker| {
                scope.spawn({
                    let shared = &shared;
                    move || work(shared, worker)
                })
            })
            .collect();
        // One takes the ends of all: those of processes too that a killed runtime left to this one.
        let (ends, done) = (&shared.ends, &done);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
                    Ok(WaitStatus::StillAlive) | Err(_) => std::thread::sleep(Duration::from_micros(300)),
                    Ok(status) => {
                        if let Some(pid) = status.pid() {
                            lock(ends).insert(pid.as_raw(), status);
                        }
                    }
                }
            }
        });
        for worker in workers {
            let _ = worker.join();
        }
        done.store(true, Ordering::Relaxed);
    });
    report.row(ROW).points += count;
    for finding in lock(&shared.findings).drain(..) {
        report.row(ROW).stuck += 1;
        report.finding(format!("{ROW}: {finding}"));
    }
    let left = crate::sweep::settled(world);
    if left.is_empty() {
        report.row(ROW).recovered += count;
    } else {
        report.row(ROW).leaks += 1;
        report.finding(format!("{ROW}: leak: {}", left.words()));
        world.clear();
    }
    let done = shared.done.each_ref().map(|done| done.load(Ordering::Relaxed));
    let [created, started, executed, ended, deleted] = done;
    say(&format!(
        "{ROW}: {count} containers, {AT_ONCE} at once: {created} created, {started} started, {executed} exec'ed in, {ended} killed, {deleted} deleted; \
         {} runtimes killed",
        shared.killed.load(Ordering::Relaxed)
    ));
    // Most commands are not killed: where most fail, nothing was tested.
    if done.iter().any(|done| *done < count / 3) {
        report.row(ROW).wrong += 1;
        report.finding(format!("{ROW}: most commands fail undisturbed: {done:?} of {count}"));
    }
    say(&format!("{ROW}: before {before}"));
    say(&format!("{ROW}: after  {}", figures()));
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of the whole machine, so that others have a part in them.
fn figures() -> String {
    let first = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().find(|line| line.starts_with(key)).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let cgroups = fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let cgroups: usize = cgroups.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<usize>().ok()).sum();
    let files = fs::read_to_string("/proc/sys/fs/file-nr").unwrap_or_default();
    format!(
        "{}, {}, open files {}, cgroups {cgroups}",
        first("/proc/meminfo", "MemAvailable"),
        first("/proc/meminfo", "SUnreclaim"),
        files.split_whitespace().next().unwrap_or_default()
    )
}

fn work(shared: &Shared<'_>, worker: usize) {
    let mut random = Random(0x1234_5678_9abc_def1 + (worker as u64) * 0x9e37_79b9);
    let bundle = shared.world.work.join(format!("load-{worker}.scratch"));
    let _ = fs::create_dir(&bundle);
    loop {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if number >= shared.count {
            break;
        }
        let id = format!("{}-load-{number}", crate::world::id());
        let mut config = shared.world.config(Kind::Plain);
        config["root"]["path"] = shared.world.bundle_of(Kind::Plain).join("rootfs").display().to_string().into();
        config["linux"]["cgroupsPath"] = format!("/{}/{id}", shared.world.cgroup).into();
        let _ = fs::write(bundle.join("config.json"), config.to_string());
        let words = bundle.display().to_string();
        let steps: [&[&str]; 5] =
            [&["create", "--bundle", &words, &id], &["start", &id], &["exec", &id, "/bin/true"], &["kill", &id, "KILL"], &["delete", &id]];
        for (step, done) in steps.into_iter().zip(&shared.done) {
            // One in six is killed, somewhere.
            let after = (random.below(6) == 0).then(|| Duration::from_micros(random.below(60_000) as u64));
            // One that was killed has not stopped at once: `delete` is asked again.
            for _ in 0..20 {
                if let Some(WaitStatus::Exited(_, 0)) = run(shared, step, after) {
                    done.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                if step[0] != "delete" || after.is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        match run(shared, &["delete", "--force", &id], None) {
            Some(WaitStatus::Exited(_, 0)) => {}
            other => lock(&shared.findings).push(format!("delete --force {id}: {other:?}")),
        }
    }
    let _ = fs::remove_dir_all(bundle);
}

/// Runs a command, and kills it after a while if asked; `None` if it hangs.
fn run(shared: &Shared<'_>, args: &[&str], kill_after: Option<Duration>) -> Option<WaitStatus> {
    let root: PathBuf = shared.world.root.clone();
    let mut command = Command::new(&shared.world.runtime);
    command.arg("--root").arg(root).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    #[allow(clippy::zombie_processes)] // one thread waits for all
    let child = command.spawn().ok()?;
    let pid = i32::try_from(child.id()).ok()?;
    let begun = Instant::now();
    let mut kill_after = kill_after;
    loop {
        if let Some(status) = lock(&shared.ends).remove(&pid) {
            return Some(status);
        }
        if kill_after.is_some_and(|after| begun.elapsed() > after) {
            kill_after = None;
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            shared.killed.fetch_add(1, Ordering::Relaxed);
        }
        if begun.elapsed() > Duration::from_secs(60) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            return None;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}
