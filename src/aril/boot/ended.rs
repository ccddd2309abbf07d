//! An executor that ended without a word.

use crate::sys::process::Exit;
use std::fmt;

/// The container's first process ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its pid.
    pub pid: i32,
    /// How, where this process may know.
    pub how: Option<Exit>,
    /// When: a clause.
    pub when: &'static str,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the container's first process ")?;
        match self.how {
            Some(how) => write!(f, "{how}")?,
            None => f.write_str("ended")?,
        }
        write!(f, " {}", self.when)
    }
}

impl std::error::Error for Ended {}
