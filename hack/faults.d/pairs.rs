//! Two commands at once: one stands still at each of its calls while the other runs.

use crate::report::{Report, say};
use crate::sweep::{Extent, baseline, settled};
use crate::trace::{End, Fault, Job, Point, Role, Tracer};
use crate::verbs::{Verb, plain, prepare};
use crate::world::{Seen, World, alive, id};
use std::fs::File;
use std::process::{Command, Stdio};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Other {
    Command(Verb),
    /// The container's process ends, and its pid is given to another one.
    Exit,
}

/// The command that stands still, and the other.
const PAIRS: [(Verb, Other); 9] = [
    (Verb::Create, Other::Command(Verb::Create)),
    (Verb::Create, Other::Command(Verb::Delete)),
    (Verb::Create, Other::Command(Verb::DeleteForce)),
    (Verb::Start, Other::Command(Verb::Delete)),
    (Verb::Start, Other::Command(Verb::DeleteForce)),
    (Verb::Exec, Other::Command(Verb::DeleteForce)),
    (Verb::DeleteForce, Other::Command(Verb::DeleteForce)),
    (Verb::Delete, Other::Command(Verb::Create)),
    (Verb::Kill, Other::Exit),
];

/// `most` calls of each, evenly spread.
pub fn pairs(world: &World, extent: &Extent, report: &mut Report) {
    let most = extent.calls;
    for (verb, other) in PAIRS {
        let name = match other {
            Other::Command(other) => format!("{} ∥ {}", verb.name(), other.name()),
            Other::Exit => format!("{} ∥ exit", verb.name()),
        };
        if let Some(reason) = verb.lacks(world) {
            report.skipped.push(reason);
            continue;
        }
        let Ok(outcome) = baseline(world, verb) else {
            report.finding(format!("{name}: it fails undisturbed"));
            report.row(&name).wrong += 1;
            world.clear();
            continue;
        };
        let calls = outcome.calls.get(&Role::Host).map_or(0, Vec::len);
        // One that waits for the other to be ended takes seconds.
        let most = if other == Other::Command(Verb::DeleteForce) { Some(most.map_or(60, |most| most.min(60))) } else { most };
        let step = most.map_or(1, |most| calls.div_ceil(most.max(1)).max(1));
        say(&format!("{name}: {} of {calls} calls", calls.div_ceil(step)));
        let is_wanted = |number: &usize| extent.only.is_none_or(|(_, from, to)| (from..=to).contains(number));
        for number in (0..calls).step_by(step).filter(is_wanted) {
            one(world, (verb, other), number, &name, report);
        }
    }
}

fn one(world: &World, (verb, other): (Verb, Other), number: usize, name: &str, report: &mut Report) {
    if let Err(error) = prepare(world, verb.before(), verb.kind()) {
        report.finding(format!("{name}: cannot prepare: {error}"));
        report.row(name).stuck += 1;
        world.clear();
        return;
    }
    let init = world.init();
    let point = Point { role: Role::Host, number, fault: Fault::Hold };
    let mut tracer = Tracer::start(&Job { attach: Vec::new(), ..verb.job(world) }, Some(point), &world.work, "traced");
    if !tracer.until_held() {
        let _ = tracer.run();
        let _ = plain(world, &["delete", "--force", id()]);
        if !settled(world).is_empty() {
            world.clear();
        }
        return;
    }
    report.row(name).points += 1;
    let at = format!("{name}: {} stands at call {number} ({})", verb.name(), tracer.hit_name());
    let (second, stranger) = match other {
        Other::Command(other) => (Some(spawn(world, &other.args(world), "second")), None),
        Other::Exit => (None, init.and_then(|init| replace(world, init, &mut tracer))),
    };
    let patience = if other == Other::Command(Verb::DeleteForce) { 5000 } else { 60 };
    if let Some(pid) = second {
        tracer.serve(patience, |tracer| tracer.end_of(pid).is_some() || tracer.end().is_some());
    }
    tracer.release();
    tracer.serve(10_000, |tracer| tracer.end().is_some() && second.is_none_or(|pid| tracer.end_of(pid).is_some()));
    let (first, then) = (tracer.end(), second.and_then(|pid| tracer.end_of(pid)));
    let outcome = tracer.run();
    if first.is_none() || (second.is_some() && then.is_none()) {
        report.row(name).hangs += 1;
        report.finding(format!("{at}: hangs: {first:?} {then:?}"));
    }
    if let Some(pid) = stranger {
        if !alive(pid) {
            report.row(name).wrong += 1;
            report.finding(format!("{at}: a stranger who was given the pid was killed"));
        }
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    if let Some(what) = contradiction(world, (verb, other), first, then) {
        report.row(name).wrong += 1;
        let said = std::fs::read_to_string(world.work.join("second.err")).unwrap_or_default();
        report.finding(format!("{at}: {what}: {}: {}", outcome.error.trim(), said.trim()));
    }
    crate::sweep::recover(world, name, None, &at, report);
}

/// What both say must be possible.
fn contradiction(world: &World, (verb, other): (Verb, Other), first: Option<End>, then: Option<End>) -> Option<String> {
    let ok = |end: Option<End>| end == Some(End::Code(0));
    let seen = world.seen();
    match (verb, other) {
        (Verb::Create, Other::Command(Verb::Create)) if ok(first) == ok(then) => Some(format!("of two, {first:?} and {then:?}")),
        (Verb::Create, Other::Command(Verb::Create)) if seen != Seen::Waits => Some("nothing waits".to_owned()),
        (Verb::Create, Other::Command(Verb::Delete)) if ok(first) && !ok(then) && seen != Seen::Waits => Some("nothing waits".to_owned()),
        (Verb::Start, Other::Command(Verb::Delete)) if ok(first) && !ok(then) && seen != Seen::Runs => Some("it does not run".to_owned()),
        (Verb::Start, Other::Command(Verb::Delete)) if ok(then) && seen == Seen::Runs => Some("deleted, and it runs".to_owned()),
        (Verb::Delete, Other::Command(Verb::Create)) if ok(then) && seen != Seen::Waits => Some("nothing waits".to_owned()),
        (_, Other::Command(Verb::DeleteForce)) if !ok(then) => Some(format!("delete --force ended with {then:?}")),
        _ => None,
    }
}

fn spawn(world: &World, args: &[String], name: &str) -> i32 {
    let [out, err] = ["out", "err"].map(|kind| File::create(world.work.join(format!("{name}.{kind}"))).expect("a file"));
    let mut command = Command::new(&args[0]);
    command.args(&args[1..]).stdin(Stdio::null()).stdout(out).stderr(err);
    #[allow(clippy::zombie_processes)] // the tracer waits for all
    let child = command.spawn().expect("the runtime");
    i32::try_from(child.id()).expect("a pid")
}

/// The container's process ends, and a process that has nothing to do with it is given its pid.
fn replace(world: &World, init: i32, tracer: &mut Tracer) -> Option<i32> {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(init), nix::sys::signal::Signal::SIGKILL);
    tracer.serve(500, |_| !alive(init) && std::fs::symlink_metadata(format!("/proc/{init}")).is_err());
    stranger(world, init)
}

/// A process with this pid.
pub fn stranger(world: &World, pid: i32) -> Option<i32> {
    std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).ok()?;
    let busybox = world.bundle_of(crate::world::Kind::Plain).join("hooks/busybox").display().to_string();
    let given = spawn(world, &[busybox, "sleep".to_owned(), "1000".to_owned()], "stranger");
    if given == pid {
        return Some(given);
    }
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(given), nix::sys::signal::Signal::SIGKILL);
    None
}
