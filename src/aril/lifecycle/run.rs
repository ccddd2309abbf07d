//! `run`: create, start, and in the foreground wait and delete.

use super::create::{Made, Mode, make};
use super::notify::Relay;
use super::start::Unstarted;
use super::{Global, Refused, Running, delete, start, terminal, why};
use crate::cgroup::Cgroup;
use crate::error::{Doing, Error, Result};
use std::os::fd::OwnedFd;

/// `run`; the status that the command ends with: in the foreground the process's own, or 128 + the signal that ended it.
///
/// # Errors
/// As of `create` and `start`.
pub fn run(global: &Global, running: &Running) -> Result<u8> {
    let id = &running.creation.id;
    let mode = if running.detach { Mode::Detached } else { Mode::Foreground };
    let signals = if running.detach { None } else { Some(terminal::Signals::block()?) };
    let mut made = make(global, &running.creation, mode)?;
    // `begin` gives the word to go; it is the same that ends the set-up.
    let carrier = match made.terminal.take().map(terminal::Carrier::new).transpose() {
        Err(error) => return made.undo(global, id).and(Err(error)),
        Ok(carrier) => carrier,
    };
    let relay = match Relay::listen(&made.store) {
        Err(error) => return made.undo(global, id).and(Err(error)),
        Ok(relay) => relay,
    };
    let Made { store, record, executor, steps, cgroup, .. } = made;
    drop(cgroup);
    start::begin(global, &store, id, &record, &executor.talk, &steps, Unstarted::Goes)?;
    let Some(signals) = signals else {
        let _ = store.unlock();
        return relay.map_or(Ok(()), |relay| relay.wait(&executor.process.pidfd, Some(executor.process.pid))).map(|()| 0);
    };
    drop(executor.talk);
    if let Some(relay) = relay {
        tell_later(relay, &executor.process.pidfd);
    }
    // Others may do something to the container while it runs.
    let _ = store.unlock();
    let ended = terminal::attend(&executor.process, carrier, &signals).doing(|| format!("cannot wait for container {id}"));
    if let Ok(exit) = ended
        && let Some(cause) = why::of_exit(exit, executor.process.pid, Cgroup::open(&record.intent.place).ok().flatten().as_ref())
    {
        global.log.warn(&format!("container {id} {exit}: {}", cause.sentence()));
    }
    if let (true, Ok(exit)) = (running.keep, &ended) {
        return Ok(exit.status());
    }
    match (store.lock(), ended) {
        // Somebody has deleted it.
        (Err(Error::Refused(Refused::Missing { .. })), ended) => ended.map(|exit| exit.status()),
        // Without the lock it is removed all the same.
        (_, Ok(exit)) => delete::bury(global, &store, id, &record).map(|()| exit.status()),
        (_, Err(error)) => delete::destroy(global, &store, id, Some(&record)).and(Err(error)),
    }
}

/// Passes on that the container is ready while this process, which the service manager knows, waits for its end. A manager that cannot be reached any more
/// has nobody to tell it to.
fn tell_later(relay: Relay, process: &OwnedFd) {
    if let Ok(process) = process.try_clone() {
        let _ = std::thread::Builder::new().spawn(move || drop(relay.wait(&process, None)));
    }
}
