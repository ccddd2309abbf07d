//! Terminals.

use std::os::fd::{AsFd, AsRawFd};

/// The size of a terminal; `None` where the file is none.
#[must_use]
pub fn size(terminal: impl AsFd) -> Option<libc::winsize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ fills in a winsize.
    let result = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (result == 0).then_some(size)
}

/// Sets the size of a terminal. There is nothing to do about a failure: the file is no terminal then.
pub fn set_size(terminal: impl AsFd, size: libc::winsize) {
    // SAFETY: TIOCSWINSZ reads a winsize.
    unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
}
