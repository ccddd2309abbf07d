//! `delete`, and the undoing of whatever was made of a container. Every part may be done again: one that was killed is finished by the next.

use super::status::{Verb, allow};
use super::store::{Intent, Record, Store};
use super::{Global, Id, Refused, Status, lock, members, unreaped};
use crate::boot::hooks;
use crate::cgroup::{Cgroup, Place};
use crate::error::{Doing, Error, Result};
use crate::sys;
use nix::poll::PollTimeout;

/// So long it mostly takes at most.
const SOON_MS: u16 = 3000;
/// So long a killed process may take to end, in milliseconds: one in an uninterruptible sleep does not end at once.
const DEATH_MS: u16 = 5000;

/// `delete`
///
/// # Errors
/// There is no such container (with `force` that is no error), it is not stopped, or something of it could not be removed.
pub fn delete(global: &Global, id: &Id, force: bool) -> Result<()> {
    let store = match Store::open(global, id) {
        Err(Error::Refused(Refused::Missing { .. })) if force => return Ok(()),
        other => other?,
    };
    match if force { lock_by_force(&store) } else { store.lock_for(Verb::Delete) } {
        Err(Error::Refused(Refused::Missing { .. })) if force => return Ok(()),
        other => other?,
    }
    let record = store.read()?;
    let status = record.as_ref().map_or_else(|| store.status_by_mark(), |record| record.status(|| Ok(false)))?;
    allow(id, status, if force { Verb::ForceDelete } else { Verb::Delete })?;
    destroy(global, &store, id, record.as_ref())
}

/// The lock, taken from whoever does not give it up.
fn lock_by_force(store: &Store) -> Result<()> {
    if store.try_lock()? {
        return Ok(());
    }
    if let Some(record) = store.read()? {
        // A `start` whose hook in the container hangs ends with the container.
        end_process(&record)?;
    }
    lock::by_force(store)
}

/// Undoes everything, in this order: processes, cgroup, poststop hooks (a failing one is a warning), and the record last.
///
/// # Errors
/// What could not be undone. The record is still there then, so that it can be tried again.
pub fn destroy(global: &Global, store: &Store, id: &Id, record: Option<&Record>) -> Result<()> {
    let Some(record) = record else {
        // Its making was cut short before it began, or its record is damaged.
        Place::marked(&store.mark()?)?.remove().doing(|| format!("cannot remove the cgroup of {id}"))?;
        return store.remove();
    };
    if record.of_another_boot()? {
        return clear(global, store, id, record);
    }
    end_process(record).doing(|| format!("cannot end the process of {id}"))?;
    bury(global, store, id, record)
}

/// The rest, when the container's first process has ended.
///
/// # Errors
/// As of [`destroy`].
pub fn bury(global: &Global, store: &Store, id: &Id, record: &Record) -> Result<()> {
    record.intent.place.remove().doing(|| format!("cannot remove the cgroup of {id}"))?;
    if let Some(group) = &record.intent.resctrl {
        group.remove().doing(|| format!("cannot remove the resctrl group of {id}"))?;
    }
    unmount(&record.intent).doing(|| format!("cannot unmount the root of {id}"))?;
    clear(global, store, id, record)
}

/// Takes away what is mounted over the root file system on the host, and all that is mounted on that.
fn unmount(intent: &Intent) -> Result<()> {
    let Some(beneath) = intent.beneath else { return Ok(()) };
    match sys::mount::id(&intent.rootfs) {
        Ok(id) if id == beneath => Ok(()),
        Ok(_) => Ok(sys::mount::detach(&intent.rootfs)?),
        Err(sys::Error { errno: sys::Errno::ENOENT, .. }) => Ok(()),
        Err(other) => Err(other.into()),
    }
}

fn clear(global: &Global, store: &Store, id: &Id, record: &Record) -> Result<()> {
    let state = record.hook_state(id, Status::Stopped, 0);
    let output = record.hook_output();
    for hook in &record.intent.poststop {
        if let Err(error) = hooks::run(hook, &state, cwd(record), &output) {
            global.log.warn(&error.chain());
        }
    }
    store.remove()
}

/// The bundle, if it is still there.
fn cwd(record: &Record) -> &std::path::Path {
    let bundle = &record.intent.bundle;
    if bundle.is_dir() { bundle } else { std::path::Path::new("/") }
}

fn end_process(record: &Record) -> Result<()> {
    let Some((pidfd, created)) = record.process()? else { return Ok(()) };
    // The signal comes before all that can fail for lack of descriptors.
    if !record.intent.own_pid_namespace && Cgroup::open(&record.intent.place)?.is_none() {
        // Nothing else tells of them, once the first one has ended.
        members::signal(created.process.pid, false, libc::SIGKILL)?;
    }
    match sys::process::pidfd_send_signal(&pidfd, libc::SIGKILL) {
        Ok(()) | Err(sys::Error { errno: sys::Errno::ESRCH, .. }) => {}
        Err(other) => return Err(other.into()),
    }
    if let Some(cgroup) = Cgroup::open(&record.intent.place)? {
        cgroup.kill_own();
        if cgroup.is_frozen()? {
            cgroup.thaw()?;
        }
    }
    if lock::ended(&pidfd, PollTimeout::from(SOON_MS))? {
        let _ = sys::process::reap(&pidfd);
        return Ok(());
    }
    // An `exec` that stands still.
    let held_up = unreaped::of(created.process.pid);
    held_up.iter().try_for_each(|unreaped| unreaped::end_exec(*unreaped))?;
    if !lock::ended(&pidfd, PollTimeout::from(DEATH_MS))? {
        let why = held_up.first().map(|unreaped| format!(": {unreaped}")).unwrap_or_default();
        return Err(Error::Other(format!("process {} was killed and does not end{why}", created.process.pid)));
    }
    // A child of ours is reaped; of another's there is nothing to do.
    let _ = sys::process::reap(&pidfd);
    Ok(())
}
