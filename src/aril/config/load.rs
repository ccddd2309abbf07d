//! Reading `config.json`.

use super::capabilities::without_unknown_capabilities;
use super::names::{with_names, wrong_affinity};
use super::pids::without_unlimited_pids;
use super::position::pointer;
use super::required::Required;
use super::spec::{LinuxResources, Spec};
use super::user::with_user;
use super::{Invalid, Pointer};
use crate::error::{Doing, Error, Result};
use crate::sys;
use serde::de::DeserializeOwned;
use std::path::Path;

/// The largest configuration that is read, in bytes.
pub const SIZE_MAX: u64 = 64 << 20;

/// A configuration and what is to be warned of.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration. `linux` and `process` are there: where the text has none, they ask for nothing.
    pub spec: Spec,
    /// Whether the text has a `process`: without one a container can be created, but not started.
    pub process: bool,
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
    let spec = typed(&text).or_else(|error| {
        let known = without_unknown_capabilities(&text, &mut warnings);
        let named = with_names(known.as_deref().unwrap_or(&text)).or(known);
        let fixed = with_user(named.as_deref().unwrap_or(&text)).or(named);
        fixed.map_or(Err(error), |fixed| typed(&fixed))
    });
    let mut spec: Spec = spec.map_err(|error| wrong(path, wrong_affinity(&text).unwrap_or(error)))?;
    check_freebsd(&text)?;
    let required: Required = typed(&text).map_err(|error| wrong(path, error))?;
    required.check()?;
    if spec.linux().is_none() {
        spec.set_linux(Some(typed("{}").map_err(|error| wrong(path, error))?));
    }
    without_unlimited_pids(&mut spec, &text);
    let process = spec.process().is_some();
    if !process {
        spec.set_process(Some(typed(r#"{"cwd": "/", "user": {}}"#).map_err(|error| wrong(path, error))?));
    }
    Ok(Loaded { spec, process, text, warnings })
}

/// The types of the configuration do not know this platform yet; the others are looked at by [`unsupported`].
///
/// [`unsupported`]: crate::compile::unsupported
fn check_freebsd(text: &str) -> Result<()> {
    const NAME: &str = "freebsd";
    if !text.contains(NAME) {
        return Ok(());
    }
    let top: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
    match top.get(NAME) {
        Some(section) if !section.is_null() && section.as_object().is_none_or(|fields| !fields.is_empty()) => {
            let why = "freebsd is another platform's: aril runs Linux containers";
            Err(Invalid::new(&Pointer::default().of(NAME), why).into())
        }
        _ => Ok(()),
    }
}

/// A text as one of the types, or what is wrong with it and where.
///
/// # Errors
/// The text is no JSON, or holds a value of a wrong type.
fn typed<T: DeserializeOwned>(text: &str) -> std::result::Result<T, Invalid> {
    serde_json::from_str(text).map_err(|error: serde_json::Error| {
        let at = pointer(text, error.line(), error.column());
        Invalid::new(&at, if error.is_data() { error.to_string() } else { format!("no valid JSON: {error}") })
    })
}

/// A message with the path, the pointer, and serde's words (which end in line and column).
fn wrong(path: &Path, error: Invalid) -> Error {
    Error::Doing { what: format!("cannot load {}", path.display()), at: None, source: Box::new(error.into()) }
}

/// `LinuxResources` that are JSON already.
///
/// # Errors
/// A value of a wrong type, by its pointer from there.
pub fn resources(json: &serde_json::Value) -> std::result::Result<LinuxResources, Invalid> {
    // By way of text, for which there is the code: to read them from the value itself takes a quarter of a megabyte more.
    typed(&json.to_string()).map_err(|Invalid { at, why }| {
        let why = why.split(" at line ").next().unwrap_or_default().to_owned();
        Invalid { at, why }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str) -> Loaded {
        parse(text.to_owned(), "config.json".as_ref()).expect("the configuration is valid")
    }

    #[test]
    fn a_configuration_for_freebsd_is_refused() {
        let of = |freebsd: &str| format!(r#"{{"ociVersion": "1.3.0", "hostname": "freebsd", "freebsd": {freebsd}}}"#);
        for nothing in ["{}", "null"] {
            loaded(&of(nothing));
        }
        let error = parse(of(r#"{"jail": {"vnet": "disable"}}"#), "config.json".as_ref()).expect_err("it is for another platform");
        assert_eq!(error.chain(), "freebsd is another platform's: aril runs Linux containers (/freebsd)");
    }

    #[test]
    fn what_is_optional_may_be_absent_and_then_asks_for_nothing() {
        let Loaded { spec, process, .. } = loaded(r#"{"ociVersion": "1.3.0", "root": {"path": "rootfs"}}"#);
        let linux = spec.linux().as_ref().expect("it is filled in");
        assert_eq!((linux.namespaces(), linux.masked_paths(), linux.resources()), (&None, &None, &None));
        let filled = spec.process().as_ref().expect("it is filled in");
        assert_eq!((filled.args(), filled.capabilities(), filled.user().uid(), filled.user().gid()), (&None, &None, 0, 0));
        assert!(!process);
        assert!(loaded(r#"{"ociVersion": "1.3.0", "process": {"cwd": "/", "user": {}}}"#).process);
    }
}
