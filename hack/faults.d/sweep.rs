//! A fault at every system call of a command.

use crate::report::{Report, say};
use crate::trace::{Call, End, Fault, Outcome, Point, Role, Tracer, Whom, slowly};
use crate::verbs::{Before, Verb, plain, prepare, wrong};
use crate::world::{Residue, World, id};
use nix::errno::Errno;
use std::time::{Duration, Instant};
use syscalls::Sysno;

/// A bound, which is reached only where something stays.
fn patience() -> Duration {
    slowly(Duration::from_secs(3))
}

pub const KILLS: [Fault; 3] = [Fault::Kill(Whom::This), Fault::Kill(Whom::Other), Fault::Kill(Whom::Both)];
pub const ERRNOS: [Errno; 6] = [Errno::EINTR, Errno::ENOMEM, Errno::ENOSPC, Errno::EMFILE, Errno::EPERM, Errno::EIO];

pub fn all_faults(delay: u64) -> Vec<Fault> {
    let mut faults = KILLS.to_vec();
    faults.extend(ERRNOS.map(|errno| Fault::Errno(errno as i32)));
    faults.extend([Fault::Short, Fault::Delay(delay)]);
    faults
}

/// Whether it makes sense here.
fn applies(fault: Fault, call: &Call, verb: Verb) -> bool {
    match fault {
        Fault::Errno(_) => !cannot_fail(call.nr),
        Fault::Short => call.can_be_short,
        // The other is there only in these.
        Fault::Kill(Whom::Other | Whom::Both) => {
            matches!(verb, Verb::Create | Verb::CreateUserns | Verb::Start | Verb::StartUserns | Verb::Run | Verb::Exec | Verb::ExecUserns)
        }
        Fault::Kill(Whom::This) | Fault::Delay(_) | Fault::Hold => true,
    }
}

/// By their manual pages; getrandom fails in no way that is injected here, but for EINTR. The system call brk(2) returns the old break instead of
/// an errno, and the C library takes an errno for a break.
pub fn cannot_fail(nr: Option<Sysno>) -> bool {
    matches!(
        nr,
        None | Some(
            Sysno::exit
                | Sysno::exit_group
                | Sysno::brk
                | Sysno::rt_sigreturn
                | Sysno::getrandom
                | Sysno::getpid
                | Sysno::gettid
                | Sysno::getppid
                | Sysno::getuid
                | Sysno::geteuid
                | Sysno::getgid
                | Sysno::getegid
                | Sysno::umask
                | Sysno::sched_yield
                | Sysno::restart_syscall
                | Sysno::set_tid_address
        )
    )
}

/// How much of all is tested.
#[derive(Debug, Clone)]
pub struct Extent {
    pub faults: Vec<Fault>,
    /// At most so many calls of a role, evenly spread; all if `None`.
    pub calls: Option<usize>,
    /// So long a command may take: where that is too short for all calls, some are left out.
    pub budget: Option<Duration>,
    /// That is what was asked for.
    pub sample: bool,
    /// The first and last number of calls, for a closer look.
    pub only: Option<(Role, usize, usize)>,
}

/// Sweeps one command.
pub fn sweep(world: &World, verb: Verb, extent: &Extent, report: &mut Report) {
    if let Some(reason) = verb.lacks(world) {
        report.skipped.push(reason);
        return;
    }
    // A runtime that errs now and then by itself is at fault each time, and is looked at all the same.
    let undisturbed = |report: &mut Report| {
        let failed = |error| {
            report.row(verb.name()).wrong += 1;
            report.finding(format!("{}: undisturbed: {error}", verb.name()));
            world.clear();
        };
        baseline(world, verb).map_err(failed).ok()
    };
    let Some(baseline) = (0..3).find_map(|_| undisturbed(report)) else { return };
    // To make a container takes more calls than all the rest.
    let budget = extent.budget.map(|budget| if verb.before() == Before::Nothing || extent.sample { budget } else { budget / 2 });
    let count = |role| baseline.calls.get(&role).map_or(0, Vec::len);
    say(&format!("{}: {} calls on the host's side, {} on the container's", verb.name(), count(Role::Host), count(Role::Container)));
    for role in [Role::Host, Role::Container] {
        let Some(calls) = baseline.calls.get(&role) else { continue };
        let step = extent.calls.map_or(1, |most| calls.len().div_ceil(most.max(1)).max(1));
        let numbers =
            (0..calls.len()).step_by(step).filter(|n| !extent.only.is_some_and(|(only, from, to)| role != only || *n < from || *n > to));
        let mut points: Vec<Point> = numbers
            .flat_map(|number| extent.faults.iter().map(move |fault| Point { role, number, fault: *fault }))
            .filter(|point| applies(point.fault, &calls[point.number], verb))
            .collect();
        let begun = Instant::now();
        if budget.is_some() {
            // Where the time is short, what was tested is spread over all of them, the same ones at every run.
            let mut random = crate::wear::Random(0x2545_f491_4f6c_dd1d);
            for n in (1..points.len()).rev() {
                points.swap(n, random.below(n + 1));
            }
        }
        for (done, point) in points.iter().enumerate() {
            if budget.is_some_and(|budget| begun.elapsed() > budget / 2) {
                let (left, all) = (points.len() - done, points.len());
                let (verb, role) = (verb.name(), role.name());
                if extent.sample {
                    report.sampled.push(format!("{verb}: {done} of {all} points of the {role}"));
                } else {
                    report.skipped.push(format!("{verb}: {left} of {all} points of the {role}: this machine is too slow for all"));
                }
                break;
            }
            one(world, verb, *point, report);
        }
    }
}

pub fn baseline(world: &World, verb: Verb) -> Result<Outcome, String> {
    prepare(world, verb.before(), verb.kind())?;
    let init = world.init();
    let outcome = Tracer::start(&verb.job(world), None, &world.work, "traced").run();
    let expected = if matches!(verb, Verb::Run | Verb::Exec | Verb::ExecUserns) { End::Code(crate::verbs::STATUS) } else { End::Code(0) };
    if outcome.end != expected {
        return Err(format!("{:?}: {}", outcome.end, outcome.error.trim()));
    }
    let residue = if verb.before() == Before::Nothing { world.look() } else { Residue::default() };
    if !matches!(verb, Verb::Run | Verb::Delete | Verb::DeleteForce) {
        let what = || wrong(world, verb, outcome.end, None, init, &residue, (&outcome.output, &outcome.error));
        crate::verbs::wait_a_moment(|| what().is_none());
        if let Some(what) = what() {
            return Err(what);
        }
    }
    let (end, words) = plain(world, &["delete", "--force", id()]);
    let left = world.settle(patience());
    if !left.is_empty() {
        return Err(format!("delete --force {end:?} {words} leaves {}", left.words()));
    }
    Ok(outcome)
}

fn one(world: &World, verb: Verb, point: Point, report: &mut Report) {
    let mut ready = prepare(world, verb.before(), verb.kind());
    if ready.is_err() {
        // One that cannot be made after another's end is a finding of that one: it is not to spoil this one.
        world.clear();
        ready = prepare(world, verb.before(), verb.kind());
    }
    let name = |outcome: &Outcome| {
        let call = outcome.hit.map_or("?", |call| call.name());
        format!("{}: {} at call {} of the {} ({call})", verb.name(), words(point.fault), point.number, point.role.name())
    };
    if let Err(error) = ready {
        report.finding(format!("{}: cannot prepare: {error}", verb.name()));
        report.row(verb.name()).stuck += 1;
        return;
    }
    let init = world.init();
    let outcome = Tracer::start(&verb.job(world), Some(point), &world.work, "traced").run();
    if outcome.hit.is_none() {
        // It took another way, and had fewer calls this time.
        let _ = plain(world, &["delete", "--force", id()]);
        if !world.settle(patience()).is_empty() {
            world.clear();
        }
        return;
    }
    report.row(verb.name()).points += 1;
    judge(world, verb, point, &outcome, init, report, &name);
}

fn judge(
    world: &World,
    verb: Verb,
    point: Point,
    outcome: &Outcome,
    init: Option<i32>,
    report: &mut Report,
    name: &dyn Fn(&Outcome) -> String,
) {
    if outcome.end == End::Hung {
        report.row(verb.name()).hangs += 1;
        report.finding(format!("{}: hangs", name(outcome)));
    }
    // What is to be there after success is no residue; after a failure what is dying has a moment for it, and all the time that it needs where the
    // exit status says that nothing is there.
    let failed = !matches!(outcome.end, End::Code(0 | crate::verbs::STATUS));
    let nothing = match (verb, outcome.end) {
        (Verb::Create | Verb::CreateUserns, End::Code(code)) => code != 0,
        (Verb::Run, End::Code(_)) | (Verb::Delete | Verb::DeleteForce, End::Code(0)) => true,
        _ => false,
    };
    let moment = verb.before() == Before::Nothing && failed || matches!(verb, Verb::Delete | Verb::DeleteForce | Verb::Run);
    let moment = Duration::from_millis(if moment { 100 } else { 0 });
    let mut residue = world.settle(if nothing { patience() } else { slowly(moment) });
    if matches!(verb, Verb::Start | Verb::StartUserns | Verb::Kill) {
        crate::verbs::wait_a_moment(|| {
            wrong(world, verb, outcome.end, Some(point.fault), init, &residue, (&outcome.output, &outcome.error)).is_none()
        });
        residue = world.look();
    }
    if let Some(what) = wrong(world, verb, outcome.end, Some(point.fault), init, &residue, (&outcome.output, &outcome.error)) {
        report.row(verb.name()).wrong += 1;
        report.finding(format!("{}: {what}: {}", name(outcome), outcome.error.trim()));
    }
    if let (Fault::Errno(errno), End::Code(1..), Some(call)) = (point.fault, outcome.end, outcome.hit)
        && call.at_work
        && outcome.end != End::Code(crate::verbs::STATUS)
    {
        report.row(verb.name()).errors += 1;
        if !names(&outcome.error, errno) {
            report.row(verb.name()).unnamed += 1;
            report.finding(format!("{}: not named: {:?}", name(outcome), outcome.error.trim()));
        }
    }
    if let (Fault::Errno(_), End::Signal(signal), Some(call)) = (point.fault, outcome.end, outcome.hit)
        && call.at_work
    {
        report.row(verb.name()).errors += 1;
        report.row(verb.name()).unnamed += 1;
        report.finding(format!("{}: ended by signal {signal}: {:?}", name(outcome), outcome.error.trim()));
    }
    if let (Verb::Update, End::Signal(_)) = (verb, outcome.end)
        && let Err(what) = crate::verbs::updates_again(world)
    {
        report.row(verb.name()).wrong += 1;
        report.finding(format!("{}: update again: {what}", name(outcome)));
    }
    recover(world, verb.name(), Some(&residue), &name(outcome), report);
}

/// What is left when all has had time to end.
pub fn settled(world: &World) -> Residue {
    world.settle_units(patience())
}

/// `delete --force`, and what is left then. `residue` is what was there before it; `None` is anything.
pub fn recover(world: &World, row: &str, residue: Option<&Residue>, what: &str, report: &mut Report) {
    let (mut end, mut said) = plain(world, &["delete", "--force", id()]);
    let left = settled(world);
    // Once more is no error. (Not each time: that would take as long as all the rest.)
    if end == End::Code(0) && (residue.is_none() || report.total().points.is_multiple_of(8)) {
        (end, said) = plain(world, &["delete", "--force", id()]);
    }
    if end == End::Hung {
        report.row(row).hangs += 1;
        report.finding(format!("{what}: then delete --force hangs"));
    } else if end != End::Code(0) {
        report.row(row).stuck += 1;
        report.finding(format!("{what}: then delete --force fails: {said}; left: {}", left.words()));
    } else if !left.is_empty() {
        report.row(row).leaks += 1;
        report.finding(format!("{what}: leak: {}", left.words()));
    } else if residue.is_some_and(Residue::is_empty) {
        report.row(row).clean += 1;
    } else {
        report.row(row).recovered += 1;
    }
    if !left.is_empty() {
        world.clear();
    }
}

pub fn words(fault: Fault) -> String {
    match fault {
        Fault::Kill(Whom::This) => "SIGKILL".to_owned(),
        Fault::Kill(Whom::Other) => "SIGKILL of the other".to_owned(),
        Fault::Kill(Whom::Both) => "SIGKILL of both".to_owned(),
        Fault::Errno(errno) => format!("{:?}", Errno::from_raw(errno)),
        Fault::Short => "short write".to_owned(),
        Fault::Delay(ms) => format!("{ms} ms late"),
        Fault::Hold => "held".to_owned(),
    }
}

/// Whether a message says what was attempted, and why it failed: the words of the errno, and two words at least before them.
fn names(message: &str, errno: i32) -> bool {
    let text = std::io::Error::from_raw_os_error(errno).to_string().to_lowercase();
    let text = text.split(" (os error").next().unwrap_or_default();
    let message = message.to_lowercase();
    let symbol = format!("{:?}", Errno::from_raw(errno)).to_lowercase();
    let Some(at) = message.find(text).or_else(|| message.find(&symbol)) else { return false };
    message[..at].split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| w.len() > 1).count() >= 3
}
