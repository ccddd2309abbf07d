//! Known differences of a runtime: `expected/<name>-<version>.toml`, else `expected/<name>.toml`.

use super::environment::Environment;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Why a test fails on a runtime, and on which cgroup mode if not on each.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    pub reason: String,
    /// `v1` or `v2`.
    pub cgroup: Option<String>,
    /// A race, or a fact of the machine: the test may pass too.
    #[serde(default)]
    pub sometimes: bool,
}

/// The differences that apply here by the name of the test, and the file they came from.
pub fn load(environment: &Environment) -> Result<(BTreeMap<String, Difference>, String), String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("expected");
    let version: String = environment.version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    for name in [format!("{}-{version}.toml", environment.name), format!("{}.toml", environment.name)] {
        let path = dir.join(&name);
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let mut all: BTreeMap<String, Difference> = toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        let here = if environment.pure_v2 { "v2" } else { "v1" };
        if environment.name == "aril" && !all.is_empty() {
            return Err(format!("{}: there is no excuse for the runtime that this suite belongs to", path.display()));
        }
        all.retain(|_, difference| difference.cgroup.as_deref().is_none_or(|mode| mode == here));
        return Ok((all, name));
    }
    Ok((BTreeMap::new(), String::from("none")))
}
