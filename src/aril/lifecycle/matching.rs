//! A verb for every container whose id a regular expression finds: `kill --regex`, `delete --regex`.

use super::Refused;
use super::{Global, Id, list};
use crate::error::{Error, Result};
use regex::Regex;

/// Does something to each of them that aril made, in the order of their ids; to find none is no error.
///
/// # Errors
/// The expression is none; what went wrong with each of them, when all had their turn.
pub fn each(global: &Global, pattern: &str, act: impl Fn(&Id) -> Result<()>) -> Result<()> {
    let pattern = Regex::new(pattern).map_err(|error| Error::Other(format!("{pattern:?} is no regular expression: {error}")))?;
    let ids = list::all(global)?.into_iter().filter(|id| pattern.is_match(id.as_str()));
    let wrong: Vec<String> = ids
        .filter_map(|id| match act(&id) {
            Ok(()) | Err(Error::Refused(Refused::Foreign { .. } | Refused::Missing { .. })) => None,
            Err(error) => Some(error.chain()),
        })
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(Error::Other(wrong.join("; "))) }
}
