//! `kill`.

use super::status::{Refused, Verb, allow};
use super::store::Store;
use super::{Global, Id, Status, members};
use crate::cgroup::Cgroup;
use crate::error::{Doing, Result};
use crate::sys::{self, Errno};

/// Sends a signal to the container's first process, or with `all` to every process of it. Takes no lock: a kill must not wait behind a hook
/// that hangs.
///
/// # Errors
/// There is no such container, or it does not run (where every process is meant that is no error: nothing is left to kill).
pub fn kill(global: &Global, id: &Id, signal: i32, all: bool) -> Result<()> {
    let store = Store::open(global, id)?;
    let stopped = || Refused::Status { id: id.clone(), status: Status::Stopped, verb: Verb::Kill };
    let failed = || format!("cannot kill the processes of {id}");
    let Some(record) = store.read()? else {
        // Who is the first process is not known then; who all of them are is.
        return match store.by_mark()? {
            Some(cgroup) if all || signal == libc::SIGKILL => cgroup.kill_all(signal).doing(failed),
            None if all => Ok(()),
            _ => store.living().and(Err(stopped().into())),
        };
    };
    // Processes that share a pid namespace with others outlive the first one.
    let everyone = all || (signal == libc::SIGKILL && !record.intent.own_pid_namespace);
    let cgroup = || -> Result<Option<Cgroup>> { if record.of_another_boot()? { Ok(None) } else { Cgroup::open(&record.intent.place) } };
    if everyone && let Some(cgroup) = cgroup()? {
        return cgroup.kill_all(signal).doing(failed);
    }
    let Some((pidfd, created)) = record.process()? else {
        if everyone {
            return Ok(());
        }
        let status = record.status(|| store.try_lock().map(|free| !free))?;
        return Err(Refused::Status { id: id.clone(), status, verb: Verb::Kill }.into());
    };
    allow(id, record.status(|| Ok(true))?, Verb::Kill)?;
    if everyone {
        // Without a cgroup: those that the first one tells of, and then that.
        members::signal(created.process.pid, record.intent.own_pid_namespace, signal).doing(failed)?;
    }
    // Before the signal: what fails after it fails too late.
    let cgroup = if signal == libc::SIGKILL { cgroup()? } else { None };
    match sys::process::pidfd_send_signal(&pidfd, signal) {
        Err(sys::Error { errno: Errno::ESRCH, .. }) => Err(stopped().into()),
        other => other.doing(|| format!("cannot send signal {signal} to container {id}")),
    }?;
    // A frozen process of cgroup v1 does not even die.
    match cgroup {
        Some(cgroup) if cgroup.is_frozen().unwrap_or(false) => {
            cgroup.thaw().doing(|| format!("cannot thaw container {id}, so that it ends"))
        }
        _ => Ok(()),
    }
}
