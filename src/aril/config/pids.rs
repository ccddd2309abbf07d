//! `/linux/resources/pids`: what an absent limit and a limit of 0 mean, which the types of the configuration do not tell apart.
//!
//! Since 1.3 of the specification 0 is a limit like any other ("0 is a valid limit value … and SHOULD be treated as such"), and -1 or nothing is
//! none. Before, its Go types had no word for nothing but 0, and managers meant by 0 that there be no limit (Podman 4 by `--pids-limit=-1`). So the
//! `ociVersion` decides.

use super::spec::{LinuxPids, Spec};
use serde_json::Value;

/// Whether a `pids` asks for no limit. `raw` is its JSON; `version` the `ociVersion` of the configuration.
#[must_use]
pub fn unlimited_pids(pids: LinuxPids, raw: Option<&Value>, version: &str) -> bool {
    pids.limit() == 0 && (before_1_3(version) || raw.is_none_or(|raw| raw["limit"].is_null()))
}

/// Takes `pids` out of a configuration that asks for no limit by it. `text` is the configuration.
pub(super) fn without_unlimited_pids(spec: &mut Spec, text: &str) {
    let version = spec.version().clone();
    let Some(resources) = spec.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut()) else { return };
    // The text is read again only where it can matter.
    let Some(pids) = resources.pids().filter(|pids| pids.limit() == 0) else { return };
    let raw: Value = serde_json::from_str(text).unwrap_or_default();
    if unlimited_pids(pids, raw.pointer("/linux/resources/pids"), &version) {
        resources.set_pids(None);
    }
}

fn before_1_3(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor) < (1, 3),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    fn limit(version: &str, pids: &str) -> Option<i64> {
        let text = format!(r#"{{"ociVersion": "{version}", "linux": {{"resources": {{"pids": {pids}}}}}}}"#);
        let loaded = crate::config::parse(text, "config.json".as_ref()).expect("it is valid");
        let resources = loaded.spec.linux().as_ref().and_then(|linux| linux.resources().clone()).expect("resources");
        resources.pids().map(|pids| pids.limit())
    }

    #[test]
    fn zero_is_a_limit_since_1_3() {
        for version in ["1.3.0", "1.3.0+dev", "1.4.0-rc.1", "2.0.0"] {
            assert_eq!(limit(version, r#"{"limit": 0}"#), Some(0), "{version}");
        }
        for version in ["1.0.0", "1.0.2-dev", "1.2.1"] {
            assert_eq!(limit(version, r#"{"limit": 0}"#), None, "{version}");
        }
    }

    #[test]
    fn an_absent_limit_is_none_ever_and_others_are_what_they_are() {
        for version in ["1.0.2", "1.3.0"] {
            assert_eq!(limit(version, "{}"), None, "{version}");
            assert_eq!(limit(version, r#"{"limit": -1}"#), Some(-1), "{version}");
            assert_eq!(limit(version, r#"{"limit": 7}"#), Some(7), "{version}");
        }
    }
}
