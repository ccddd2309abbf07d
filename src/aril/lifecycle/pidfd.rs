//! `--pidfd-socket`: a caller that gets the process as a descriptor never has to trust a pid.

use crate::error::{Doing, Result};
use crate::sys::process::Child;
use crate::sys::socket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// Connects to the caller's socket, before anything is made.
///
/// # Errors
/// Nobody listens there.
pub fn connect(path: Option<&Path>) -> Result<Option<OwnedFd>> {
    path.map(socket::connect).transpose().doing(|| "cannot connect to the pidfd socket".to_owned())
}

/// Sends the pidfd; receivers look at the descriptor alone.
///
/// # Errors
/// The caller has gone.
pub fn send(socket: Option<OwnedFd>, process: &Child) -> Result<()> {
    let Some(socket) = socket else { return Ok(()) };
    socket::send(&socket, b"pidfd", &[process.pidfd.as_raw_fd()]).doing(|| "cannot send the pidfd to the pidfd socket".to_owned())
}
