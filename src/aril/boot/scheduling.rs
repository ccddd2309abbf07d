//! What the host sets for a process from outside: its scheduling.

use crate::compile::process::scheduling;
use crate::config::{Pointer, spec::Process};
use crate::error::{Doing, Result};
use crate::sys;

/// Sets the scheduling policy that a process, which stands at the pointer, asks for.
///
/// # Errors
/// It is refused: `EPERM` without `CAP_SYS_NICE`, or where a cgroup v1 has no time for real-time processes.
pub fn set_scheduler(pid: i32, process: &Process, at: &Pointer) -> Result<()> {
    let Some(wanted) = process.scheduler() else { return Ok(()) };
    let at = at.of("scheduler");
    let attr = scheduling::scheduler(wanted, &at)?;
    sys::sched::sched_setattr(pid, &attr).doing_at(&at, || format!("cannot set the scheduling policy {}", wanted.policy()))
}

/// Sets the I/O priority that it asks for.
///
/// # Errors
/// It is refused: `EPERM` of `IOPRIO_CLASS_RT` without `CAP_SYS_NICE`.
pub fn set_io_priority(pid: i32, process: &Process, at: &Pointer) -> Result<()> {
    let Some(wanted) = process.io_priority() else { return Ok(()) };
    let at = at.of("ioPriority");
    let priority = scheduling::io_priority(wanted, &at)?;
    sys::sched::ioprio_set(pid, priority).doing_at(&at, || format!("cannot set the I/O priority {} {}", wanted.class(), wanted.priority()))
}
