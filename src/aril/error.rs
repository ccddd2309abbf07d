//! The error of everything: an error of one of the layers, with what was attempted around it.

use crate::config::{Invalid, Pointer};
use crate::lifecycle::Refused;
use crate::sys;

/// Why a command failed. `Display` says what was attempted; the cause is the source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error(transparent)]
    Sys(#[from] sys::Error),
    /// The configuration cannot be.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The container's state does not allow the command.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A step of the executor failed.
    #[error(transparent)]
    Fault(#[from] crate::boot::Fault),
    /// The container's first process ended without a word.
    #[error(transparent)]
    Ended(#[from] crate::boot::Ended),
    /// A limit that the container was given is why.
    #[error("{what}{}", at.as_ref().map(|at| format!(" ({at})")).unwrap_or_default())]
    Limit {
        /// Which: a clause.
        what: String,
        /// The part of the configuration that sets it.
        at: Option<Pointer>,
        /// What can be done about it.
        hint: &'static str,
        /// What failed.
        source: Box<Error>,
    },
    /// `exec` failed: the container goes on, and so does its status.
    #[error("exec failed")]
    Exec(#[source] Box<Error>),
    /// Anything else that has no type of its own: a whole sentence without a full stop.
    #[error("{0}")]
    Other(String),
    /// Something was attempted, and this is why it failed.
    #[error("{what}{}", at.as_ref().map(|at| format!(" ({at})")).unwrap_or_default())]
    Doing {
        /// What, e.g. `cannot mount /data`.
        what: String,
        /// The part of the configuration that asked for it.
        at: Option<Pointer>,
        /// Why.
        source: Box<Error>,
    },
}

/// The result of most functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The whole chain, outermost first, joined by `: `: what a user reads.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }

    /// Where in the configuration the failing value stands.
    #[must_use]
    pub fn at(&self) -> Option<&Pointer> {
        match self {
            Error::Invalid(invalid) => Some(&invalid.at),
            Error::Fault(fault) => Some(&fault.at),
            Error::Exec(source) => source.at(),
            Error::Doing { at, source, .. } | Error::Limit { at, source, .. } => at.as_ref().or_else(|| source.at()),
            _ => None,
        }
    }

    /// The system call at the bottom of the chain, with its object.
    #[must_use]
    pub fn call(&self) -> Option<&str> {
        match self {
            Error::Sys(error) => Some(&error.call),
            Error::Fault(fault) => Some(&fault.call),
            Error::Doing { source, .. } | Error::Limit { source, .. } | Error::Exec(source) => source.call(),
            _ => None,
        }
    }

    /// What a command that fails by it ends with: 255 of `exec`, whose own process may end with 1.
    #[must_use]
    pub fn status(&self) -> u8 {
        if matches!(self, Error::Exec(_)) { 255 } else { 1 }
    }

    /// The process whose end is at the bottom of the chain.
    #[must_use]
    pub fn ended(&self) -> Option<crate::boot::Ended> {
        match self {
            Error::Ended(ended) => Some(*ended),
            Error::Doing { source, .. } | Error::Limit { source, .. } | Error::Exec(source) => source.ended(),
            _ => None,
        }
    }

    /// The advice of a limit in the chain.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Limit { hint, .. } => Some(hint),
            Error::Doing { source, .. } | Error::Exec(source) => source.hint(),
            _ => None,
        }
    }

    /// The errno at the bottom of the chain.
    #[must_use]
    pub fn errno(&self) -> Option<sys::Errno> {
        match self {
            Error::Sys(error) => Some(error.errno),
            Error::Fault(fault) => Some(fault.errno),
            Error::Doing { source, .. } | Error::Limit { source, .. } | Error::Exec(source) => source.errno(),
            _ => None,
        }
    }
}

/// Says what was attempted.
pub trait Doing<T> {
    /// Wraps the error in `cannot {what}`'s place: `what` is the whole clause.
    ///
    /// # Errors
    /// The error it had, wrapped.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;

    /// The same, with the part of the configuration that asked for it.
    ///
    /// # Errors
    /// The error it had, wrapped.
    fn doing_at(self, at: &Pointer, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::Doing { what: what(), at: None, source: Box::new(e.into()) })
    }

    fn doing_at(self, at: &Pointer, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::Doing { what: what(), at: Some(at.clone()), source: Box::new(e.into()) })
    }
}
