//! Reading `config.json`.

use super::capabilities::without_unknown_capabilities;
use super::{Invalid, Pointer, spec::Spec};
use crate::error::{Doing, Error, Result};
use crate::sys;
use std::path::Path;

/// The largest configuration that is read, in bytes.
pub const SIZE_MAX: u64 = 64 << 20;

/// A configuration and what is to be warned of.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub spec: Spec,
    /// Its text.
    pub text: String,
    /// One sentence each: what the specification says to warn of and go on.
    pub warnings: Vec<String>,
}

/// Loads the configuration of a bundle.
///
/// # Errors
/// The file cannot be read, is larger than [`SIZE_MAX`], is no JSON (line and column), or holds a value of a wrong type (JSON pointer).
pub fn load(path: &Path) -> Result<Loaded> {
    let text = sys::fs::read_text(path, SIZE_MAX).doing(|| "cannot read the configuration".to_owned())?;
    parse(text, path)
}

/// The same for a text that is there already; `path` is for the messages.
///
/// # Errors
/// As of [`load`].
pub fn parse(text: String, path: &Path) -> Result<Loaded> {
    let mut warnings = Vec::new();
    let spec = match typed(&text) {
        Ok(spec) => spec,
        Err(error) => match without_unknown_capabilities(&text, &mut warnings) {
            Some(fixed) => typed(&fixed),
            None => Err(error),
        }
        .map_err(|error| wrong(path, &error))?,
    };
    Ok(Loaded { spec, text, warnings })
}

fn typed(text: &str) -> std::result::Result<Spec, serde_path_to_error::Error<serde_json::Error>> {
    let mut json = serde_json::Deserializer::from_str(text);
    let spec = serde_path_to_error::deserialize(&mut json)?;
    json.end().map_err(|e| serde_path_to_error::Error::new(serde_path_to_error::Track::new().path(), e)).map(|()| spec)
}

/// A message with the path, the pointer, and serde's words (which end in line and column).
fn wrong(path: &Path, error: &serde_path_to_error::Error<serde_json::Error>) -> Error {
    let mut at = Pointer::default();
    for segment in error.path() {
        use serde_path_to_error::Segment;
        match segment {
            Segment::Seq { index } => at = at.of(index),
            Segment::Map { key } => at = at.of(key),
            Segment::Enum { variant } => at = at.of(variant),
            Segment::Unknown => {}
        }
    }
    let why = if error.inner().is_data() { error.inner().to_string() } else { format!("no valid JSON: {}", error.inner()) };
    Error::Doing { what: format!("cannot load {}", path.display()), at: None, source: Box::new(Invalid::new(&at, why).into()) }
}
