//! A container's name, or a regular expression that finds several: the argument of `kill` and `delete`.

use crate::error::{Error, Result};
use crate::lifecycle::{Global, Id, matching};

/// Acts on the container of that name, or on each that the expression finds.
///
/// # Errors
/// The name cannot be one, or the expression is none; what went wrong.
pub(super) fn named(global: &Global, text: &str, regex: bool, act: impl Fn(&Id) -> Result<()>) -> Result<()> {
    if regex {
        return matching::each(global, text, act);
    }
    act(&Id::new(text).map_err(|error| Error::Other(error.to_string()))?)
}
