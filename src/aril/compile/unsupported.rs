//! What a configuration may ask for and aril does not do: refused by name, never ignored.

use crate::config::spec::{Linux, Process, Spec};
use crate::config::{Invalid, Pointer};

/// Looks for fields that are not supported. One that is absent, null, or empty text, list or object (as Go writes what is not set) is fine.
///
/// # Errors
/// The first one that is asked for.
pub fn check(spec: &Spec) -> Result<(), Invalid> {
    let top = Pointer::default();
    let platform = |present: bool, name: &str| refuse(present, &top.of(name), OTHER_PLATFORM);
    platform(filled(spec.solaris()), "solaris")?;
    platform(spec.windows().is_some(), "windows")?;
    platform(spec.vm().is_some(), "vm")?;
    platform(filled(spec.zos()), "zos")?;
    if let Some(process) = spec.process() {
        check_process(process, &top.of("process"))?;
    }
    if let Some(linux) = spec.linux() {
        check_linux(linux, &top.of("linux"))?;
    }
    Ok(())
}

/// Looks at a process alone, which stands at the pointer: that of a configuration, or that of `exec`.
///
/// # Errors
/// As of [`check`].
pub fn check_process(process: &Process, at: &Pointer) -> Result<(), Invalid> {
    refuse(text(process.command_line()), &at.of("commandLine"), OTHER_PLATFORM)
}

fn check_linux(linux: &Linux, at: &Pointer) -> Result<(), Invalid> {
    let flags = linux.personality().as_ref().is_some_and(|personality| some(personality.flags()));
    // The specification reserves them: "currently no flag values are supported".
    refuse(flags, &at.of("personality").of("flags"), "is not supported: no flags are defined")
}

/// The configuration is not for Linux: without `linux` its program would run in the host's namespaces.
const OTHER_PLATFORM: &str = "is another platform's: aril runs Linux containers";

fn refuse(present: bool, at: &Pointer, why: &str) -> Result<(), Invalid> {
    if !present {
        return Ok(());
    }
    let name = at.as_str().rsplit('/').next().unwrap_or_default();
    Err(Invalid::new(at, format!("{name} {why}")))
}

fn text(field: &Option<String>) -> bool {
    field.as_ref().is_some_and(|text| !text.is_empty())
}

fn some<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

fn filled<T: Default + PartialEq>(section: &Option<T>) -> bool {
    section.as_ref().is_some_and(|section| *section != T::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// What becomes of a configuration with the value at the pointer.
    fn checked(pointer: &str, value: Value) -> Result<(), Invalid> {
        let mut spec = json!({"ociVersion": "1.3.0", "process": {"cwd": "/", "user": {}}, "linux": {"personality": {"domain": "LINUX"}}, "mounts": [{"destination": "/a"}]});
        let (parent, key) = pointer.rsplit_once('/').expect("pointers have slashes");
        spec.pointer_mut(parent).expect("the parent is there")[key] = value;
        check(&serde_json::from_value(spec).expect("the configuration is valid"))
    }

    fn refused(pointer: &str, value: Value) {
        let error = checked(pointer, value).expect_err(pointer);
        assert_eq!(error.at.as_str(), pointer);
        assert!(error.why.starts_with(pointer.rsplit('/').next().unwrap_or_default()), "{error}");
    }

    #[test]
    fn what_the_specification_reserves_is_refused_by_name() {
        refused("/linux/personality/flags", json!(["ADDR_NO_RANDOMIZE"]));
    }

    #[test]
    fn other_platforms_are_refused_by_name() {
        refused("/vm", json!({"kernel": {"path": "/boot/vmlinuz"}}));
        refused("/solaris", json!({"milestone": "svc:/milestone/multi-user"}));
        refused("/windows", json!({"layerFolders": ["a"]}));
        refused("/zos", json!({"namespaces": [{"type": "pid"}]}));
        refused("/process/commandLine", json!("cmd"));
    }

    #[test]
    fn what_is_empty_is_absent() {
        for (pointer, value) in [
            ("/process/scheduler", Value::Null),
            ("/linux/mountLabel", json!("")),
            ("/linux/netDevices", json!({})),
            ("/linux/personality/flags", json!([])),
            ("/windows", Value::Null),
            ("/solaris", json!({})),
            ("/zos", json!({})),
        ] {
            assert_eq!(checked(pointer, value), Ok(()), "{pointer}");
        }
    }

    #[test]
    fn fields_that_hold_at_exec_are_accepted() {
        assert_eq!(checked("/process/execCPUAffinity", json!({"initial": "0-1", "final": "0"})), Ok(()));
        assert_eq!(checked("/linux/personality", json!({"domain": "LINUX32"})), Ok(()));
    }
}
