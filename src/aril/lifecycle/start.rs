//! `start`: opens the gate, and learns what became of it.

use super::notify::Relay;
use super::status::{Verb, allow};
use super::store::{Created, GATE, Line, Record, Store};
use super::{Global, Id, Refused, Status, delete, why};
use crate::boot::Ended;
use crate::boot::hooks;
use crate::boot::listener::hand_over;
use crate::boot::talk::{Heard, Label, answer, hear};
use crate::cgroup::{Cgroup, Frozen};
use crate::config::{Invalid, Pointer};
use crate::error::{Doing, Error, Result};
use crate::sys;
use aril_plan::talk::{About, Report};
use std::os::fd::OwnedFd;

/// `start`
///
/// # Errors
/// The container is not `created`; a step or a hook failed. The container is destroyed then, as the specification says.
pub fn start(global: &Global, id: &Id) -> Result<()> {
    let store = Store::open(global, id)?;
    store.lock_for(Verb::Start)?;
    let record = store.living()?;
    let (status, frozen) = record.as_ref().map_or(Ok((Status::Stopped, Frozen::No)), |record| record.look(|| Ok(false)))?;
    allow(id, status, Verb::Start)?;
    if frozen == Frozen::Above {
        // Nobody would answer at the gate.
        return Err(Error::Other(format!("cannot start container {id}: a cgroup above its own is frozen")));
    }
    if record.as_ref().is_some_and(|record| !record.intent.program) {
        let why = format!("cannot start container {id}: its configuration has no process");
        return Err(Invalid::new(&Pointer::to("/process"), why).into());
    }
    let Some((record, created)) = record.as_ref().and_then(|r| Some((r, r.created.as_ref()?))) else {
        return Err(Error::Other(format!("container {id} was never created")));
    };
    let talk = knock(&store, created).doing(|| format!("cannot start container {id}"))?;
    let relay = Relay::listen(&store)?;
    begin(global, &store, id, record, &talk, &created.steps, Unstarted::Stays)?;
    // It runs: nobody is to look for it who need not.
    let Some(relay) = relay else { return Ok(()) };
    match record.process()? {
        Some((process, created)) => {
            // Whoever wants to stop it need not wait until it is ready.
            store.unlock()?;
            relay.wait(&process, Some(created.process.pid))
        }
        None => Ok(()),
    }
}

/// Connects to the gate. Whoever listens there must be the container's process.
fn knock(store: &Store, created: &Created) -> Result<OwnedFd> {
    let talk = sys::socket::connect_at(store.dir(), GATE)?;
    let peer = sys::socket::peer_pid(&talk)?;
    if peer != created.process.pid {
        return Err(Error::Other(format!("process {peer} listens at its gate, not {}", created.process.pid)));
    }
    Ok(talk)
}

/// What becomes of a container whose program cannot be executed. (One whose hook fails is always destroyed.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unstarted {
    /// It is there, stopped, until it is deleted.
    Stays,
    /// It is destroyed.
    Goes,
}

/// The last part of a start, for `start` and `run`: the word to go, the hooks in the container, the user's program, the hooks after it.
///
/// # Errors
/// As of [`start`].
pub fn begin(
    global: &Global,
    store: &Store,
    id: &Id,
    record: &Record,
    talk: &OwnedFd,
    steps: &[Label],
    unstarted: Unstarted,
) -> Result<()> {
    let mut by_itself = true;
    let begun = go(id, record, talk, steps, &mut by_itself).and_then(|()| {
        by_itself = false;
        store.append(&Line::Started)?;
        let pid = record.created.as_ref().map_or(0, |created| created.process.pid);
        let state = record.hook_state(id, Status::Running, pid);
        if !record.intent.poststart.is_empty() {
            // One of them may call exec, which shares the lock.
            store.share()?;
        }
        hooks::run_all(&record.intent.poststart, &state, &record.intent.bundle, &record.hook_output())
    });
    if let Err(error) = begun {
        let error = why::explained(error, Cgroup::open(&record.intent.place).ok().flatten().as_ref());
        let by_hook = error.at().is_some_and(|at| at.as_str().starts_with("/hooks"));
        // What fails on this side once it was told to go leaves a program that runs, and nobody who knows.
        if unstarted == Unstarted::Stays && by_itself && !by_hook {
            return Err(error);
        }
        // Steps 7 to 10 of the specification's life cycle: a failure ends the container, and poststop hooks are run.
        return match store.lock().and_then(|()| delete::destroy(global, store, id, Some(record))) {
            // Somebody has deleted it.
            Ok(()) | Err(Error::Refused(Refused::Missing { .. })) => Err(error),
            Err(left) => Err(Error::Other(format!("{}; and then {}", error.chain(), left.chain()))),
        };
    }
    Ok(())
}

/// `by_itself` is whether a failure is the container's own, or came before it was told to go.
fn go(id: &Id, record: &Record, talk: &OwnedFd, steps: &[Label], by_itself: &mut bool) -> Result<()> {
    answer(talk, &[]).doing(|| format!("cannot start container {id}"))?;
    let pid = record.created.as_ref().map_or(0, |created| created.process.pid);
    let mut leaving = false;
    let mut listener = record.intent.listener.as_ref();
    loop {
        *by_itself = false;
        let heard = hear(talk).doing(|| format!("cannot hear whether container {id} has started"))?;
        *by_itself = matches!(heard, Heard::Silence | Heard::Fault(..));
        match heard {
            Heard::Silence if leaving && listener.is_none() => return Ok(()),
            Heard::Silence => {
                return Err(Ended { pid, how: None, when: "before its program was run" }).doing(|| format!("cannot start container {id}"));
            }
            Heard::Report(Report { about: About::Leaving, .. }, _) => leaving = true,
            // The filter is loaded; the program is not run before its agent has it.
            Heard::Report(Report { about: About::Ask, .. }, Some(filter)) => {
                if let Some(listener) = listener.take() {
                    hand_over(listener, &record.intent.oci_version, pid, &record.hook_state(id, Status::Created, pid), &filter)?;
                }
                answer(talk, &[])?;
            }
            // A hook that runs in the container wants the state.
            Heard::Report(Report { about: About::Ask, .. }, None) => {
                let pid = sys::process::pid_inside(pid)?;
                answer(talk, record.hook_state(id, Status::Created, pid).as_bytes()).doing(|| format!("cannot start container {id}"))?;
            }
            Heard::Fault(report, detail) => {
                let unknown = Label { step: report.step, at: String::new(), what: "a step failed".to_owned(), object: None, search: false };
                return Err(steps.iter().find(|label| label.step == report.step).unwrap_or(&unknown).fault(&report, detail).into());
            }
            Heard::Report(report, _) => return Err(Error::Other(format!("the executor sent an unexpected report: {report:?}"))),
        }
    }
}
