//! `config.json`: loading it, and saying where in it something is wrong.

pub mod annotations;
mod capabilities;
mod load;
mod names;
mod pids;
mod position;
mod required;
mod top;
mod user;

pub use load::{Loaded, SIZE_MAX, load, parse, resources};
pub use oci_spec::runtime as spec;
pub use pids::unlimited_pids;
pub use top::{SPEC_VERSION, SPEC_VERSION_MIN, check_top};

use std::fmt;

/// Where in a configuration a value stands: a JSON pointer (RFC 6901), e.g. `/mounts/7/options/2`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Pointer(String);

impl Pointer {
    /// A pointer that is already one, e.g. `Pointer::to("/process/cwd")`.
    #[must_use]
    pub fn to(text: &str) -> Self {
        Pointer(text.to_owned())
    }

    /// The pointer to a key or an index of this value.
    #[must_use]
    pub fn of(&self, key: impl fmt::Display) -> Self {
        Pointer(format!("{}/{}", self.0, key.to_string().replace('~', "~0").replace('/', "~1")))
    }

    /// The pointer as text; the whole document is the empty text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "/" } else { &self.0 })
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// Where.
    pub at: Pointer,
    /// What.
    pub value: T,
}

/// A configuration that cannot be: where, and why, with the offending value in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why} ({at})")]
pub struct Invalid {
    /// The value.
    pub at: Pointer,
    /// What is wrong with it, and what would be right.
    pub why: String,
}

impl Invalid {
    /// `why` is a clause that starts in lower case and names the value.
    pub fn new(at: &Pointer, why: impl Into<String>) -> Self {
        Invalid { at: at.clone(), why: why.into() }
    }
}
