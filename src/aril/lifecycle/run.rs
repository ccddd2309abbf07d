//! `run`: create, start, and in the foreground wait and delete.

use super::create::{Made, Mode, make};
use super::start::Unstarted;
use super::{Global, Refused, Running, delete, start, terminal};
use crate::error::{Doing, Error, Result};

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
    let Made { store, record, executor, steps, .. } = made;
    start::begin(global, &store, id, &record, &executor.talk, &steps, Unstarted::Goes)?;
    let Some(signals) = signals else { return Ok(0) };
    drop(executor.talk);
    // Others may do something to the container while it runs.
    let _ = store.unlock();
    let ended = terminal::attend(&executor.process, carrier, &signals).doing(|| format!("cannot wait for container {id}"));
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
