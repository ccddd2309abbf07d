//! The start of the executor, up to the container's being created.

use super::talk::{Heard, Label, answer, hear};
use super::{Ended, image, open};
use crate::cgroup::{Cgroup, Place};
use crate::compile::plan::Copied;
use crate::compile::{Plan, Source};
use crate::config::Pointer;
use crate::error::{Doing, Error, Result};
use crate::sys::process::{Child, Spawn};
use crate::sys::{self, Errno, socket};
use aril_plan::Op;
use aril_plan::talk::{About, Report};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// An executor that runs.
#[derive(Debug)]
pub struct Executor {
    /// The container's first process; until it has forked, the process that will.
    pub process: Child,
    /// The socket to it.
    pub talk: OwnedFd,
}

/// What the host does while the executor waits, by step.
pub trait Attend {
    /// Does the step and gives the answer. `file` is what the executor sent with its question.
    ///
    /// # Errors
    /// The container cannot be: the executor is ended.
    fn attend(&mut self, plan: &Plan, step: u32, executor: &Child, file: Option<OwnedFd>) -> Result<Vec<u8>>;

    /// Makes a copy that the executor asks for.
    ///
    /// # Errors
    /// It cannot be made: the executor is ended.
    fn copy(&mut self, source: &Source) -> Result<OwnedFd>;
}

/// Starts the executor in its cgroup, and sends it the plan. `given` is what [`open::sources`] takes; descriptors from 3 on are the process's, so
/// many as `preserve` says.
///
/// # Errors
/// What could not be opened, made or sent.
pub fn spawn(
    plan: &Plan,
    place: &Place,
    cgroup: Option<&Cgroup>,
    given: Option<&OwnedFd>,
    preserve: u32,
    before_plan: &mut dyn FnMut(&Child) -> Result<()>,
) -> Result<Executor> {
    let sources = open::sources(plan, place, given)?;
    let program = image::program()?;
    let (ours, theirs) = socket::pair()?;
    let number = CString::new(theirs.as_raw_fd().to_string()).unwrap_or_default();
    let passed: Vec<_> = sources.iter().map(AsRawFd::as_raw_fd).collect();
    let mut inherit = passed.clone();
    inherit.push(theirs.as_raw_fd());
    inherit.extend((0..preserve.cast_signed()).map(|i| 3 + i));
    let into = cgroup.and_then(Cgroup::fd);
    let how =
        Spawn { namespaces: plan.namespaces, cgroup: into, image: program.as_fd(), args: &[c"aril-init", &number], inherit: &inherit };
    let mut migrate = cgroup.is_some_and(Cgroup::needs_migration);
    let process = match sys::process::spawn(&how) {
        // A kernel that does not know CLONE_INTO_CGROUP, or a supervisor that does not; a cgroup that only systemd may put this user's processes
        // into: if it was something else, the second answer says so.
        Err(sys::Error { errno: Errno::EINVAL | Errno::E2BIG | Errno::EPERM | Errno::EACCES, .. }) if into.is_some() => {
            migrate = true;
            sys::process::spawn(&Spawn { cgroup: None, ..how })
        }
        other => other,
    };
    let process = process.doing(|| {
        let reason = cgroup.map(Cgroup::why_not_joined).unwrap_or_default();
        format!("cannot start the container's first process{reason}")
    })?;
    let executor = Executor { process, talk: ours };
    drop(theirs);
    if let Some(cgroup) = cgroup.filter(|_| migrate) {
        cgroup.add(executor.process.pid)?;
    }
    before_plan(&executor.process)?;
    match socket::send(&executor.talk, &plan.encode(&passed), &[]) {
        Ok(()) => Ok(executor),
        Err(sys::Error { errno: Errno::EPIPE | Errno::ECONNRESET, .. }) => Err(unready(plan, &executor)),
        Err(other) => Err(other.into()),
    }
}

/// Why an executor has ended that did not even take its plan: it says so, or its status is the errno of its `execveat(2)`.
fn unready(plan: &Plan, executor: &Executor) -> Error {
    if let Ok(Heard::Fault(report, detail)) = hear(&executor.talk) {
        return Label::of(plan, report.step).fault(&report, detail).into();
    }
    dead(executor, "before it had its plan")
}

/// Makes a network namespace while the executor is at work, and sends it. This process goes into it and comes back: a namespace is made by
/// whoever is in it.
///
/// # Errors
/// It cannot be made, or this process cannot come back.
pub fn network(executor: &Executor) -> Result<()> {
    let make = || -> sys::Result<OwnedFd> {
        let own = sys::process::network_namespace()?;
        sys::process::unshare_network()?;
        let new = sys::process::loopback_up().and_then(|()| sys::process::network_namespace());
        sys::process::join_network(&own)?;
        new
    };
    let new = make().doing_at(&Pointer::to("/linux/namespaces"), || "cannot make the network namespace".to_owned())?;
    pass_on(&executor.talk, &new)
}

/// Sends a descriptor that a step of the executor's receives.
fn pass_on(talk: &OwnedFd, file: &OwnedFd) -> Result<()> {
    match socket::send(talk, &[0; 4], &[file.as_raw_fd()]) {
        // It has failed before it needed this one: it is heard next.
        Err(sys::Error { errno: Errno::EPIPE | Errno::ECONNRESET, .. }) => Ok(()),
        other => Ok(other?),
    }
}

/// Makes and sends the copies for which this step asks; whether it asks for any.
fn copies(executor: &Executor, plan: &Plan, step: u32, host: &mut impl Attend) -> Result<bool> {
    let asked = |copied: &&Copied| u32::try_from(copied.asked) == Ok(step);
    for copied in plan.copies.iter().filter(asked) {
        let part = &plan.parts[copied.part];
        let copy = host.copy(&copied.source).doing_at(&part.at, || part.what.clone())?;
        pass_on(&executor.talk, &copy)?;
    }
    Ok(plan.copies.iter().any(|copied| asked(&copied)))
}

/// Serves the executor until the container is created, or (where a plan has no such step) it leaves for the program: which of the two. The
/// process is in it then.
///
/// `meanwhile` is done once, before anything of the user's runs: at first, but after the last copies, for which the executor would have to wait.
///
/// # Errors
/// A step that failed, on either side.
pub fn serve<H: Attend>(
    executor: &mut Executor,
    plan: &Plan,
    host: &mut H,
    meanwhile: impl FnOnce(&mut H, &Executor) -> Result<()>,
) -> Result<About> {
    let mut meanwhile = Some(meanwhile);
    let mut copies_left = plan.copies.iter().map(|copied| copied.asked).collect::<std::collections::BTreeSet<_>>().len();
    let mut forks = plan.steps().any(|(_, op)| matches!(op, Op::Fork { .. }));
    loop {
        if copies_left == 0
            && let Some(meanwhile) = meanwhile.take()
        {
            meanwhile(host, executor)?;
        }
        // Killed between its fork and its word of it, it leaves a child that holds the socket open, and waits for an answer.
        if forks && !socket::has_word(&executor.talk, &executor.process.pidfd)? {
            return Err(dead(executor, "amid its plan"));
        }
        match hear(&executor.talk)? {
            Heard::Report(Report { about: about @ (About::Created | About::Leaving), .. }, _) => return Ok(about),
            Heard::Report(Report { about: About::Forked, value, .. }, Some(pidfd)) => {
                // The one that forked has ended, or is about to.
                let _ = sys::process::wait(&executor.process.pidfd);
                executor.process = Child { pid: value, pidfd };
                forks = false;
                answer_if_there(&executor.talk, &[])?;
            }
            Heard::Report(report, _) if copies(executor, plan, report.step, host)? => copies_left -= 1,
            Heard::Report(report, file) => {
                let bytes = host.attend(plan, report.step, &executor.process, file)?;
                answer_if_there(&executor.talk, &bytes)?;
            }
            Heard::Fault(report, detail) => return Err(Label::of(plan, report.step).fault(&report, detail).into()),
            Heard::Silence => return Err(dead(executor, "amid its plan")),
        }
    }
}

/// The executor has ended without a word: somebody killed it.
pub(crate) fn dead(executor: &Executor, when: &'static str) -> Error {
    match sys::process::wait(&executor.process.pidfd) {
        // Its own end would have come after a report: it is the errno of what was to become of it.
        Ok(sys::process::Exit::Code(code @ 1..=133)) => Error::Doing {
            what: "cannot run the container's first process".to_owned(),
            at: None,
            source: Box::new(sys::Error::bare("execveat", Errno::from_raw(code.into())).into()),
        },
        how => Ended { pid: executor.process.pid, how: how.ok(), when }.into(),
    }
}

/// Answers one that may have ended in the meantime: what it said before is heard next.
fn answer_if_there(talk: &OwnedFd, bytes: &[u8]) -> Result<()> {
    match answer(talk, bytes) {
        Err(Error::Sys(sys::Error { errno: Errno::EPIPE | Errno::ECONNRESET, .. })) => Ok(()),
        other => other.doing(|| "cannot answer the container's first process".to_owned()),
    }
}
