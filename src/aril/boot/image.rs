//! The executor's program: embedded in this one, and run from a sealed copy in memory, so that nothing inside a container can ever reach a
//! file of the host by way of `/proc/PID/exe`, not even through the page cache.

use crate::error::{Doing, Error, Result};
use crate::sys::{self, Errno};
use nix::fcntl::OFlag;
use std::os::fd::{AsFd, OwnedFd};

/// aril-init, built by the build script.
pub static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/aril-init"));

/// The program as a descriptor for `execveat(2)`.
///
/// # Errors
/// No safe copy can be made.
pub fn program() -> Result<OwnedFd> {
    match sys::fs::sealed_program(c"aril-init", IMAGE) {
        // vm.memfd_noexec=2: a copy on a file system of its own, which nobody else can reach, made read-only.
        Err(sys::Error { errno: Errno::EACCES, .. }) => on_tmpfs().doing(|| "vm.memfd_noexec forbids one in memory".to_owned()),
        other => other.map_err(Error::from),
    }
    .doing(|| "cannot make a sealed copy of aril-init".to_owned())
}

fn on_tmpfs() -> Result<OwnedFd> {
    let mount = sys::mount::new_fs(c"tmpfs", &[(c"mode", c"700")], sys::mount::attr::NOSUID | sys::mount::attr::NODEV)?;
    let file = sys::fs::openat(&mount, "aril-init", OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL, 0o500)?;
    sys::fs::write_all(&file, IMAGE, "aril-init")?;
    drop(file); // a file that is open for writing cannot be executed
    let read_only = sys::mount::Change { set: sys::mount::attr::RDONLY, ..Default::default() };
    sys::mount::set_attr(mount.as_fd(), false, read_only, None)?;
    Ok(sys::fs::openat(&mount, "aril-init", OFlag::O_RDONLY, 0)?)
}
