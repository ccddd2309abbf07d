//! Processes that do nothing: what they are in exists as long as they do.

use super::process::{Child, pidfd_send_signal, wait};
use super::{Errno, Error, Result};
use linux_raw_sys::general;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// A child of this process that waits to be killed: when this is dropped, and with its parent at the latest.
#[derive(Debug)]
pub struct Idle(Child);

impl Idle {
    /// Starts one, in new namespaces of these kinds (`CLONE_NEW*`).
    ///
    /// # Errors
    /// The errno of `clone3(2)`.
    pub fn start(namespaces: u32) -> Result<Idle> {
        let mut pidfd: RawFd = -1;
        // SAFETY: all zeroes are a valid clone_args.
        let mut args: general::clone_args = unsafe { std::mem::zeroed() };
        args.flags = u64::from(namespaces | general::CLONE_PIDFD);
        args.pidfd = (&raw mut pidfd) as u64;
        args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
        let parent = std::process::id().cast_signed();
        // SAFETY: the arguments have the size that is passed. Without CLONE_VM the child has its own copy of everything; this process has one
        // thread, so no lock is held in it.
        let pid = match Errno::result(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) }) {
            Err(e) => return Err(Error::bare("clone3", e)),
            Ok(0) => wait_for_death(parent),
            Ok(pid) => pid,
        };
        let pid = i32::try_from(pid).map_err(|_| Error::bare("clone3", Errno::ERANGE))?;
        // SAFETY: CLONE_PIDFD made the kernel store a new descriptor there.
        Ok(Idle(Child { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }))
    }

    /// Its pid in this process's pid namespace.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.0.pid
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        // Without the signal it does not end before this process, and waiting for it would have no end.
        if pidfd_send_signal(&self.0.pidfd, libc::SIGKILL).is_ok() {
            let _ = wait(&self.0.pidfd);
        }
    }
}

fn wait_for_death(parent: i32) -> ! {
    // SAFETY: numbers alone.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // It may have died before; 0 is a parent in another pid namespace.
        let now = libc::getppid();
        if now != 0 && now != parent {
            libc::_exit(0);
        }
        loop {
            libc::pause();
        }
    }
}

/// A new user namespace with these maps. It has no process: it lives as long as somebody has its descriptor.
///
/// # Errors
/// The errno of `clone3(2)`, or of writing the maps.
pub fn user_namespace(uids: &[u8], gids: &[u8]) -> Result<OwnedFd> {
    let child = Idle::start(general::CLONE_NEWUSER)?;
    let proc = Path::new("/proc").join(child.pid().to_string());
    super::fs::write_file(&proc.join("uid_map"), uids)
        .and_then(|()| super::fs::write_file(&proc.join("gid_map"), gids))
        .and_then(|()| super::fs::open(&proc.join("ns/user"), nix::fcntl::OFlag::O_RDONLY, 0))
}
