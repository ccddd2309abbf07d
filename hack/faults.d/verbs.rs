//! The commands under test: what comes before, what they are called with, and what their exit status must mean.

use crate::trace::{End, Fault, Job, Whom, slowly};
use crate::world::{Kind, Residue, Seen, World, alive, id};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The container must be so before the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    Nothing,
    Created,
    Running,
    Paused,
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    Create,
    CreateUserns,
    Start,
    StartUserns,
    Run,
    Exec,
    ExecUserns,
    Kill,
    Delete,
    DeleteForce,
    State,
    Update,
    Pause,
    Resume,
    Events,
    Ps,
}

pub const ALL: [Verb; 16] = [
    Verb::Create,
    Verb::CreateUserns,
    Verb::Start,
    Verb::StartUserns,
    Verb::Run,
    Verb::Exec,
    Verb::ExecUserns,
    Verb::Kill,
    Verb::Delete,
    Verb::DeleteForce,
    Verb::State,
    Verb::Update,
    Verb::Pause,
    Verb::Resume,
    Verb::Events,
    Verb::Ps,
];

/// The exit status of the programs that `run` and `exec` run: no runtime ends so on its own.
pub const STATUS: i32 = 77;

impl Verb {
    pub fn name(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::CreateUserns => "create+userns",
            Verb::Start => "start",
            Verb::StartUserns => "start+userns",
            Verb::Run => "run",
            Verb::Exec => "exec",
            Verb::ExecUserns => "exec+userns",
            Verb::Kill => "kill",
            Verb::Delete => "delete",
            Verb::DeleteForce => "delete --force",
            Verb::State => "state",
            Verb::Update => "update",
            Verb::Pause => "pause",
            Verb::Resume => "resume",
            Verb::Events => "events",
            Verb::Ps => "ps",
        }
    }

    pub fn named(name: &str) -> Option<Verb> {
        ALL.into_iter().find(|verb| verb.name() == name)
    }

    /// The word of the command line.
    pub fn word(self) -> &'static str {
        self.name().split(['+', ' ']).next().unwrap_or_default()
    }

    pub fn kind(self) -> Kind {
        match self {
            Verb::CreateUserns | Verb::StartUserns | Verb::ExecUserns => Kind::Userns,
            Verb::Run => Kind::Ends,
            _ => Kind::Plain,
        }
    }

    pub fn before(self) -> Before {
        match self {
            Verb::Create | Verb::CreateUserns | Verb::Run => Before::Nothing,
            Verb::Start | Verb::StartUserns => Before::Created,
            Verb::Delete => Before::Stopped,
            Verb::Resume => Before::Paused,
            _ => Before::Running,
        }
    }

    /// Why it cannot be tested here, if so.
    pub fn lacks(self, world: &World) -> Option<String> {
        if self == Verb::Update && !world.has("pids") {
            return Some("update: this host has no pids controller to set".to_owned());
        }
        let known = Command::new(&world.runtime).args([self.word(), "--help"]).stdin(Stdio::null()).output();
        if known.is_ok_and(|o| o.status.success()) { None } else { Some(format!("{}: {} has no such command", self.name(), world.runtime)) }
    }

    pub fn args(self, world: &World) -> Vec<String> {
        let bundle = world.bundle_of(self.kind()).display().to_string();
        let mut args = vec![world.runtime.clone(), "--root".to_owned(), world.root.display().to_string()];
        if world.systemd {
            args.push("--systemd-cgroup".to_owned());
        }
        let rest: Vec<&str> = match self {
            Verb::Create | Verb::CreateUserns => vec!["create", "--bundle", &bundle, id()],
            Verb::Start | Verb::StartUserns => vec!["start", id()],
            Verb::Run => vec!["run", "--bundle", &bundle, id()],
            Verb::Exec | Verb::ExecUserns => vec!["exec", id(), "/bin/sh", "-c", "exit 77"],
            Verb::Kill => vec!["kill", id(), "KILL"],
            Verb::Delete => vec!["delete", id()],
            Verb::DeleteForce => vec!["delete", "--force", id()],
            Verb::State => vec!["state", id()],
            Verb::Update if world.has("memory") => vec!["update", "--memory", "134217728", "--pids-limit", "33", id()],
            Verb::Update => vec!["update", "--pids-limit", "33", id()],
            Verb::Pause => vec!["pause", id()],
            Verb::Resume => vec!["resume", id()],
            Verb::Events => vec!["events", "--stats", id()],
            Verb::Ps => vec!["ps", id()],
        };
        args.extend(rest.into_iter().map(str::to_owned));
        args
    }

    pub fn job(self, world: &World) -> Job {
        let mut job = Job { args: self.args(world), attach: Vec::new(), limits: Vec::new() };
        if self.before() == Before::Created {
            job.attach.extend(world.init());
        }
        job
    }
}

/// Runs a command of the runtime undisturbed; its status, and what it wrote.
pub fn plain(world: &World, args: &[&str]) -> (End, String) {
    let mut all = vec!["--root".to_owned(), world.root.display().to_string()];
    if world.systemd {
        all.push("--systemd-cgroup".to_owned());
    }
    all.extend(args.iter().map(|a| (*a).to_owned()));
    command(world, &world.runtime, &all)
}

/// The same for any program.
pub fn command(world: &World, program: &str, args: &[String]) -> (End, String) {
    let [out, err] = ["plain.out", "plain.err"].map(|name| world.work.join(name));
    let [o, e] = [&out, &err].map(|path| std::fs::File::create(path).expect("a file"));
    let mut child = Command::new(program).args(args).stdin(Stdio::null()).stdout(o).stderr(e).spawn().expect("the runtime");
    let end = Instant::now() + crate::trace::hang();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if Instant::now() > end => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            Ok(None) => {
                reap_others(child.id());
                crate::trace::wait_for_child(20);
            }
            Err(_) => break None,
        }
    };
    use std::os::unix::process::ExitStatusExt;
    let end = match status {
        None => End::Hung,
        Some(status) => status.code().map_or_else(|| End::Signal(status.signal().unwrap_or(0)), End::Code),
    };
    let words = [out, err].map(|path| std::fs::read_to_string(path).unwrap_or_default()).concat();
    (end, words.trim().to_owned())
}

/// The first process of a pid namespace ends when the ends of all others in it are taken, and some of these are children of this process.
fn reap_others(own: u32) {
    use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
    while let Some(pid) = waitid(Id::All, look).ok().and_then(|status| status.pid()) {
        if u32::try_from(pid.as_raw()) == Ok(own) {
            return;
        }
        let _ = waitpid(pid, None);
    }
}

/// Brings the container where the command expects it.
///
/// # Errors
/// What the runtime said.
pub fn prepare(world: &World, before: Before, kind: Kind) -> Result<(), String> {
    let bundle = world.bundle_of(kind).display().to_string();
    let mut steps: Vec<Vec<&str>> = Vec::new();
    if before == Before::Nothing {
        world.forget();
    } else {
        steps.push(vec!["create", "--bundle", &bundle, id()]);
    }
    if !matches!(before, Before::Nothing | Before::Created) {
        steps.push(vec!["start", id()]);
    }
    match before {
        Before::Paused => steps.push(vec!["pause", id()]),
        Before::Stopped => steps.push(vec!["kill", id(), "KILL"]),
        _ => {}
    }
    for step in &steps {
        let (end, words) = plain(world, step);
        if end != End::Code(0) {
            return Err(format!("{}: {end:?}: {words}", step.join(" ")));
        }
    }
    if before == Before::Stopped {
        wait_within(Duration::from_secs(5), || world.seen() == Seen::Nothing);
    } else if matches!(before, Before::Running | Before::Paused) {
        wait_within(Duration::from_secs(5), || world.seen() == Seen::Runs);
    }
    Ok(())
}

pub fn wait_until(done: impl FnMut() -> bool) -> bool {
    wait_within(Duration::from_secs(2), done)
}

fn wait_within(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + slowly(patience);
    while !done() {
        if Instant::now() > end {
            return false;
        }
        crate::world::reap();
        std::thread::sleep(Duration::from_micros(500));
    }
    true
}

/// Why an exit status says something else than what is seen; `None` where it is right. `residue` is what is seen once all is quiet.
pub fn wrong(
    world: &World,
    verb: Verb,
    end: End,
    fault: Option<Fault>,
    init: Option<i32>,
    residue: &Residue,
    (output, error): (&str, &str),
) -> Option<String> {
    let End::Code(code) = end else { return None };
    let container_hurt = matches!(fault, Some(Fault::Kill(Whom::This | Whom::Other | Whom::Both)));
    let seen = world.seen();
    let lives = init.is_some_and(alive);
    let claim = |ok: bool, what: &str| if ok { None } else { Some(format!("exit status {code}, but {what}")) };
    match (verb, code) {
        (Verb::Create | Verb::CreateUserns, 0) => {
            claim(seen == Seen::Waits || (container_hurt && !residue.state.is_empty()), "nothing waits")
        }
        (Verb::Start | Verb::StartUserns, 0) => claim(seen == Seen::Runs || container_hurt, "it does not run"),
        (Verb::Start | Verb::StartUserns, _) => claim(seen != Seen::Runs, "it runs"),
        (Verb::Run, STATUS) | (Verb::Create | Verb::CreateUserns, _) => claim(residue.is_empty(), &format!("there is {}", residue.words())),
        (Verb::Run, 0) => claim(false, "the program's is 77"),
        // Where it says that it could not remove what is left.
        (Verb::Run, _) => claim(
            residue.is_empty() || residue.processes.is_empty() && error.contains("cannot remove"),
            &format!("there is {}", residue.words()),
        ),
        (Verb::Exec | Verb::ExecUserns, 0) => claim(false, "the program's is 77"),
        (Verb::Exec | Verb::ExecUserns, _) => claim(seen == Seen::Runs, "the container runs no more"),
        (Verb::Kill, 0) => claim(!lives, "it lives"),
        (Verb::Kill, _) => claim(lives, "it was killed"),
        (Verb::Delete | Verb::DeleteForce, 0) => claim(residue.is_empty(), &format!("there is {}", residue.words())),
        (Verb::Delete | Verb::DeleteForce, _) => claim(!residue.state.is_empty(), "its state is gone"),
        (Verb::State, 0) => claim(output.contains("\"running\""), "it says no status, or a wrong one"),
        (Verb::Update, 0) => claim(limits(world) == expected(UPDATED, world), "the limits are not set"),
        // All or nothing.
        (Verb::Update, _) => {
            claim(seen == Seen::Runs && limits(world) == expected(CREATED, world), &format!("the limits are {:?}", limits(world)))
        }
        (Verb::Pause, 0) => claim(world.frozen(), "it is not frozen"),
        (Verb::Pause, _) => claim(!world.frozen(), "it is frozen"),
        (Verb::Resume, 0) => claim(!world.frozen(), "it is frozen"),
        (Verb::Resume, _) => claim(world.frozen(), "it is not frozen"),
        (Verb::Events, 0) => claim(output.contains("\"data\""), "there are no figures"),
        (Verb::Ps, 0) => {
            let first = init.unwrap_or_default().to_string();
            claim(output.split_whitespace().any(|word| word == first), "its process is not in the list")
        }
        (Verb::State | Verb::Events | Verb::Ps, _) => claim(seen == Seen::Runs, "the container runs no more"),
    }
}

/// The limits of processes and of memory, and what they are before and after `update`.
fn limits(world: &World) -> [String; 2] {
    let memory = || world.knob(&["memory.max", "memory.limit_in_bytes"]);
    [world.knob(&["pids.max"]), memory().filter(|_| world.has("memory"))].map(|value| value.unwrap_or_else(|| "?".to_owned()))
}

const CREATED: [&str; 2] = ["64", "268435456"];
const UPDATED: [&str; 2] = ["33", "134217728"];

fn expected(values: [&str; 2], world: &World) -> [String; 2] {
    let [pids, memory] = values;
    [pids, if world.has("memory") { memory } else { "?" }].map(str::to_owned)
}

/// An `update` that was killed may have set the one limit and not the other; the same once more sets them all.
pub fn updates_again(world: &World) -> Result<(), String> {
    let args: Vec<String> = Verb::Update.args(world);
    let (end, said) = command(world, &args[0], &args[1..]);
    if end == End::Code(0) && limits(world) == expected(UPDATED, world) {
        Ok(())
    } else {
        Err(format!("{end:?} {said}, and the limits are {:?}", limits(world)))
    }
}

/// The same for what is about to be at once, and a finding where it is not.
pub fn wait_a_moment(done: impl FnMut() -> bool) {
    wait_within(Duration::from_secs(2), done);
}
