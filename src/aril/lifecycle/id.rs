//! The name of a container.

use std::fmt;

/// A container's id: it names a directory in the state root and, by default, a cgroup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(String);

/// A text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid container id {0:?}: it must be 1 to 255 of the characters a-z A-Z 0-9 _ + - . and must not begin with a dot")]
pub struct InvalidId(pub String);

impl Id {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`InvalidId`]
    pub fn new(text: &str) -> Result<Id, InvalidId> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
        if text.is_empty() || text.len() > 255 || text.starts_with('.') || !text.chars().all(legal) {
            return Err(InvalidId(text.to_owned()));
        }
        Ok(Id(text.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Id {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Id, InvalidId> {
        Id::new(text)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Id;

    #[test]
    fn ids() {
        for good in ["a", "_", "+x", "-x", "A.b-c_d+e", &"x".repeat(255)] {
            assert!(Id::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".x", "a/b", "a b", "é", "a\n", &"x".repeat(256)] {
            assert!(Id::new(bad).is_err(), "{bad}");
        }
    }
}
