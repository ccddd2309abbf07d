//! System calls with types: one function per call and mode, by the kernel's names. No policy.
//!
//! This is the only module of the host side with unsafe code.
#![allow(unsafe_code)]

pub mod bpf;
pub mod fs;
pub mod idle;
pub mod kmsg;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod process;
pub mod program;
pub mod sched;
pub mod socket;
pub mod term;
mod vfork;

pub use nix::errno::Errno;

/// A system call that failed: what was called on what, and the errno.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The call with its object, e.g. `openat2 "etc/passwd"`.
    pub call: String,
    /// Why it failed.
    pub errno: Errno,
}

impl Error {
    /// The error of `call` on `object`, which prints as its `Debug` does (so that strange names stay legible).
    pub fn new(call: &str, object: impl std::fmt::Debug, errno: Errno) -> Self {
        Error { call: format!("{call} {object:?}"), errno }
    }

    /// The error of a call that has no object worth naming.
    #[must_use]
    pub fn bare(call: &str, errno: Errno) -> Self {
        Error { call: call.to_owned(), errno }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.call, text(self.errno))
    }
}

impl std::error::Error for Error {}

/// An errno in words, as `strerror(3)` says it but in lower case: Docker and CRI-O match `permission denied` and `no such process` so.
#[must_use]
pub fn text(errno: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno as i32).to_string();
    text.rsplit_once(" (os error").map_or(text.as_str(), |(words, _)| words).to_lowercase()
}

/// The result of a system call.
pub type Result<T> = std::result::Result<T, Error>;
