//! Scheduling.

use super::{Errno, Error, Result};

/// `struct sched_attr` of `linux/sched/types.h`, as of Linux 5.3.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // fields are named as the kernel's
pub struct SchedAttr {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
    pub util_min: u32,
    pub util_max: u32,
}

impl Default for SchedAttr {
    fn default() -> Self {
        const SIZE: u32 = 56; // SCHED_ATTR_SIZE_VER1
        const { assert!(size_of::<SchedAttr>() == SIZE as usize) }
        SchedAttr { size: SIZE, policy: 0, flags: 0, nice: 0, priority: 0, runtime: 0, deadline: 0, period: 0, util_min: 0, util_max: 0 }
    }
}

/// `sched_setattr(2)` of another process.
///
/// # Errors
/// The errno of the call: `EBUSY` where the deadline scheduler has no time left.
pub fn sched_setattr(pid: i32, attr: &SchedAttr) -> Result<()> {
    // SAFETY: the attributes are as long as they say.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, pid, std::ptr::from_ref(attr), 0) };
    Errno::result(result).map(drop).map_err(|e| Error::bare("sched_setattr", e))
}

/// `ioprio_set(2)` of another process.
///
/// # Errors
/// The errno of the call.
pub fn ioprio_set(pid: i32, priority: u16) -> Result<()> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    // SAFETY: the call takes numbers alone.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, libc::c_int::from(priority)) };
    Errno::result(result).map(drop).map_err(|e| Error::bare("ioprio_set", e))
}

/// `sched_setaffinity(2)` of this process; the CPUs as a bit mask, lowest first.
///
/// # Errors
/// The errno of the call: `EINVAL` where none of them is there, or may be used.
pub fn set_affinity(mask: &[u64]) -> Result<()> {
    // SAFETY: the mask is as long as it says.
    let result = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) };
    Errno::result(result).map(drop).map_err(|e| Error::bare("sched_setaffinity", e))
}
