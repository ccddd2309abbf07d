//! Values that the types of the configuration spell otherwise than the specification: names of scheduling flags, and a list of CPUs that is empty.

use super::{Invalid, Pointer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

type Object<'a> = BTreeMap<String, &'a RawValue>;

/// As the specification has them (config.md, "scheduler"), and as the types have them.
const FLAGS: [(&str, &str); 2] =
    [("\"SCHED_FLAG_RESET_ON_FORK\"", "\"SCHED_RESET_ON_FORK\""), ("\"SCHED_FLAG_DL_OVERRUN\"", "\"SCHED_FLAG_D_L_OVERRUN\"")];

/// The text with the types' names, if any of the others stands in the `process` of a configuration, or in a process.
pub(super) fn with_names(text: &str) -> Option<String> {
    let top: Object<'_> = serde_json::from_str(text).ok()?;
    let process = match top.get("process") {
        Some(process) => serde_json::from_str(process.get()).ok()?,
        None => top,
    };
    let section = |name: &str| process.get(name).and_then(|value| serde_json::from_str::<Object<'_>>(value.get()).ok()).unwrap_or_default();
    let flags = section("scheduler").get("flags").and_then(|list| serde_json::from_str::<Vec<&RawValue>>(list.get()).ok());
    let renamed = |raw: &&RawValue| FLAGS.iter().find(|(name, _)| *name == raw.get()).map(|(_, known)| *known);
    let mut changes: Vec<(usize, usize, &str)> = Vec::new();
    let mut change = |raw: &RawValue, to| changes.push((raw.get().as_ptr() as usize - text.as_ptr() as usize, raw.get().len(), to));
    for raw in flags.iter().flatten() {
        if let Some(known) = renamed(raw) {
            change(raw, known);
        }
    }
    let affinity = section("execCPUAffinity");
    for raw in ["initial", "final"].iter().filter_map(|key| affinity.get(*key)).filter(|raw| raw.get() == "\"\"") {
        change(raw, "null");
    }
    if changes.is_empty() {
        return None;
    }
    changes.sort_unstable_by_key(|(start, ..)| std::cmp::Reverse(*start));
    let mut changed = text.to_owned();
    for (start, len, to) in changes {
        changed.replace_range(start..start + len, to);
    }
    Some(changed)
}

/// Which list of CPUs in `execCPUAffinity` is none: the types know of the whole alone.
pub(super) fn wrong_affinity(text: &str) -> Option<Invalid> {
    let top: Object<'_> = serde_json::from_str(text).ok()?;
    let process: Object<'_> = match top.get("process") {
        Some(process) => serde_json::from_str(process.get()).ok()?,
        None => top,
    };
    let affinity: Object<'_> = serde_json::from_str(process.get("execCPUAffinity")?.get()).ok()?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let item = |text: &str| text.split_once('-').map_or_else(|| number(text), |(first, last)| number(first) && number(last));
    ["initial", "final"].into_iter().find_map(|key| {
        let list: String = serde_json::from_str(affinity.get(key)?.get()).ok()?;
        let at = Pointer::to("/process/execCPUAffinity").of(key);
        (!list.split(',').all(item)).then(|| Invalid::new(&at, format!("{list:?} is no list of CPUs such as \"0-3,7\"")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::spec::LinuxSchedulerFlag as Flag;

    #[test]
    fn the_names_of_the_specification_are_known() {
        let flags = ["RESET_ON_FORK", "RECLAIM", "DL_OVERRUN", "KEEP_POLICY", "KEEP_PARAMS", "UTIL_CLAMP_MIN", "UTIL_CLAMP_MAX"];
        let flags = flags.map(|flag| format!("SCHED_FLAG_{flag}"));
        let text = format!(
            r#"{{"process": {{"cwd": "/", "scheduler": {{"flags": {flags:?}, "policy": "SCHED_OTHER"}},
                "execCPUAffinity": {{"initial": "", "final": "0-1"}}}}, "hostname": "SCHED_FLAG_DL_OVERRUN"}}"#
        );
        let loaded = crate::config::parse(text, "config.json".as_ref()).expect("the names are right");
        let process = loaded.spec.process().as_ref().expect("there is a process");
        let read = process.scheduler().as_ref().and_then(|s| s.flags().clone()).unwrap_or_default();
        assert_eq!(read.len(), flags.len());
        assert_eq!((read[0], read[2]), (Flag::SchedResetOnFork, Flag::SchedFlagDLOverrun));
        let affinity = process.exec_cpu_affinity().as_ref().expect("it is there");
        assert_eq!((affinity.initial(), affinity.cpu_affinity_final().as_deref()), (&None, Some("0-1")));
        assert_eq!(loaded.spec.hostname().as_deref(), Some("SCHED_FLAG_DL_OVERRUN"));
    }

    #[test]
    fn others_are_left_alone() {
        for text in ["{", "{}", r#"{"process": {"scheduler": {"flags": ["SCHED_FLAG_RECLAIM", 7]}}}"#] {
            assert_eq!(with_names(text), None, "{text}");
        }
        let process = r#"{"scheduler": {"flags": ["SCHED_FLAG_RESET_ON_FORK"]}}"#;
        assert_eq!(with_names(process).as_deref(), Some(r#"{"scheduler": {"flags": ["SCHED_RESET_ON_FORK"]}}"#));
    }

    #[test]
    fn a_list_of_cpus_that_is_none_is_named() {
        for (key, list) in [("initial", "0,,1"), ("final", "x"), ("final", "1-"), ("initial", "-1"), ("final", " 1")] {
            let process = format!(r#"{{"execCPUAffinity": {{"{key}": "{list}"}}}}"#);
            for text in [format!(r#"{{"process": {process}}}"#), process] {
                let invalid = wrong_affinity(&text).expect("it is wrong");
                assert_eq!(invalid.at.as_str(), format!("/process/execCPUAffinity/{key}"));
            }
        }
        assert_eq!(wrong_affinity(r#"{"process": {"execCPUAffinity": {"initial": "0-3,7", "final": 5}}}"#), None);
    }
}
