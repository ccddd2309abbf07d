//! The log: `--log FILE --log-format text|json --log-level LEVEL`.
//! (placeholder: the cli engineer writes it)

use crate::error::Error;

/// Where warnings and the final error go.
#[derive(Debug, Clone, Default)]
pub struct Log {}

impl Log {
    /// Warns: into the log file, or to standard error where none is named.
    pub fn warn(&self, _message: &str) {}

    /// The final error of a command: one line at level error.
    pub fn error(&self, _error: &Error) {}
}
