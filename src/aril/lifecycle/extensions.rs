//! Extensions of crun (crun(1), "Extensions to OCI") that stand for fields of the configuration: they become those.

use crate::config::spec::{LinuxTimeOffset, Spec};
use crate::config::{Invalid, annotations};
use std::path::{Path, PathBuf};

/// The variable that names the agent's socket where no annotation does.
const RECEIVER_VARIABLE: &str = "RUN_OCI_SECCOMP_RECEIVER";

/// The socket of a seccomp agent that this process's environment names.
#[must_use]
pub fn receiver_of_caller() -> Option<PathBuf> {
    std::env::var_os(RECEIVER_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Seccomp: a program in an annotation goes before the profile; the socket in an annotation, or else `receiver`, is the profile's `listenerPath`
/// if it has none.
///
/// # Errors
/// The socket's path is relative: nothing says from where.
pub fn seccomp(spec: &mut Spec, receiver: Option<&Path>) -> Result<(), Invalid> {
    let raw = annotations::get(spec, annotations::SECCOMP_BPF_DATA).is_some();
    let annotated = annotations::get(spec, annotations::SECCOMP_RECEIVER).filter(|path| !path.is_empty()).map(PathBuf::from);
    let at = annotations::pointer(annotations::SECCOMP_RECEIVER);
    let source = if annotated.is_some() { annotations::SECCOMP_RECEIVER } else { RECEIVER_VARIABLE };
    let receiver = annotated.or_else(|| receiver.map(Path::to_owned));
    if let Some(path) = receiver.as_ref().filter(|path| !path.is_absolute()) {
        return Err(Invalid::new(&at, format!("{source}: {} is not absolute", path.display())));
    }
    let Some(linux) = spec.linux_mut().as_mut() else { return Ok(()) };
    if raw {
        linux.set_seccomp(None);
    }
    if let (Some(profile), Some(path)) = (linux.seccomp_mut().as_mut(), receiver) {
        let named = profile.listener_path().as_ref().is_some_and(|path| !path.as_os_str().is_empty());
        if !named {
            profile.set_listener_path(Some(path));
        }
    }
    Ok(())
}

/// Clocks: an annotation's line `CLOCK SECONDS NANOSECONDS` stands for `linux.timeOffsets`, where that does not name the clock (CLOCK as in
/// time_namespaces(7), by name or number).
///
/// # Errors
/// A line of another form.
pub fn clocks(spec: &mut Spec) -> Result<(), Invalid> {
    let Some(text) = annotations::get(spec, annotations::TIMENS_OFFSET).map(str::to_owned) else { return Ok(()) };
    let Some(linux) = spec.linux_mut().as_mut() else { return Ok(()) };
    let mut offsets = linux.time_offsets().clone().unwrap_or_default();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (clock, offset) = clock(line).ok_or_else(|| {
            let why = format!("{line:?} is no offset of a clock: CLOCK SECONDS NANOSECONDS, with monotonic or boottime for CLOCK");
            Invalid::new(&annotations::pointer(annotations::TIMENS_OFFSET), why)
        })?;
        offsets.entry(clock.to_owned()).or_insert(offset);
    }
    linux.set_time_offsets(Some(offsets));
    Ok(())
}

fn clock(line: &str) -> Option<(&'static str, LinuxTimeOffset)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [clock, seconds, nanoseconds] = words[..] else { return None };
    let clock = match clock {
        "monotonic" | "1" => "monotonic",
        "boottime" | "7" => "boottime",
        _ => return None,
    };
    let mut offset = LinuxTimeOffset::default();
    offset.set_secs(Some(seconds.parse().ok()?)).set_nanosecs(Some(nanoseconds.parse().ok()?));
    Some((clock, offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn listener(seccomp: Value, annotations: Value, receiver: Option<&str>) -> Result<Option<PathBuf>, Invalid> {
        let json = json!({"ociVersion": "1.3.0", "annotations": annotations, "linux": {"seccomp": seccomp}});
        let mut spec: Spec = serde_json::from_value(json).expect("the types are right");
        super::seccomp(&mut spec, receiver.map(Path::new))?;
        let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
        Ok(profile.and_then(|profile| profile.listener_path().clone()))
    }

    #[test]
    fn the_configuration_then_the_annotation_then_the_variable_name_the_agent() {
        let plain = json!({"defaultAction": "SCMP_ACT_ALLOW"});
        let named = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/field"});
        let annotation = json!({"run.oci.seccomp.receiver": "/annotation"});
        let path = |path: &str| Ok(Some(PathBuf::from(path)));
        assert_eq!(listener(named, annotation.clone(), Some("/variable")), path("/field"));
        assert_eq!(listener(plain.clone(), annotation.clone(), Some("/variable")), path("/annotation"));
        assert_eq!(listener(plain.clone(), json!({}), Some("/variable")), path("/variable"));
        assert_eq!(listener(plain.clone(), json!({}), None), Ok(None));
        assert_eq!(listener(Value::Null, annotation, None), Ok(None));
        assert!(listener(plain.clone(), json!({"run.oci.seccomp.receiver": "agent"}), None).is_err());
        assert!(listener(plain, json!({}), Some("agent")).is_err());
    }

    #[test]
    fn an_annotation_sets_clocks_that_the_configuration_leaves() {
        let clocks = |annotation: &str| {
            let json = json!({"ociVersion": "1.3.0", "annotations": {"run.oci.timens_offset": annotation},
                "linux": {"timeOffsets": {"boottime": {"secs": 9}}}});
            let mut spec: Spec = serde_json::from_value(json).expect("the types are right");
            super::clocks(&mut spec).map(|()| serde_json::to_value(spec.linux()).expect("JSON")["timeOffsets"].clone())
        };
        let expected = json!({"boottime": {"secs": 9}, "monotonic": {"secs": -5, "nanosecs": 7}});
        assert_eq!(clocks("monotonic -5 7"), Ok(expected.clone()));
        assert_eq!(clocks("7 1 0\n1 -5 7\n"), Ok(expected));
        for wrong in ["monotonic", "monotonic 5", "realtime 5 0", "1 x 0", "1 5 -1", "1 5 0 0"] {
            assert_eq!(clocks(wrong).expect_err(wrong).at.as_str(), "/annotations/run.oci.timens_offset");
        }
    }
}
