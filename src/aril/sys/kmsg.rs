//! The kernel's log.

use super::{Errno, Error, Result};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// The last record of `/dev/kmsg` that `is` true of; one may come until `patience` is over.
///
/// # Errors
/// The errno of a call: `EPERM` where this user may not read it.
pub fn find(patience: Duration, is: impl Fn(&str) -> bool) -> Result<Option<String>> {
    let path = Path::new("/dev/kmsg");
    let log = super::fs::open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0)?;
    let deadline = Instant::now() + patience;
    let mut found = None;
    // Longer than any record.
    let mut record = [0; 8192];
    loop {
        match nix::unistd::read(&log, &mut record) {
            Ok(n) => {
                let text = String::from_utf8_lossy(&record[..n]);
                if is(&text) {
                    found = Some(text.into_owned());
                }
            }
            // Records were overwritten before they were read.
            Err(Errno::EPIPE | Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if found.is_some() || left.is_zero() {
                    return Ok(found);
                }
                let left = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::ZERO);
                let _ = poll(&mut [PollFd::new(log.as_fd(), PollFlags::POLLIN)], left);
            }
            Err(errno) => return Err(Error::new("read", path, errno)),
        }
    }
}
