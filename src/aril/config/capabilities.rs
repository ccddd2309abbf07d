//! Capabilities that nobody knows: the specification says to warn of them and go on, but the types of the configuration are an enumeration.

use super::{Pointer, spec::Capability};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::ops::Range;

type Object<'a> = BTreeMap<String, &'a RawValue>;

/// Looks in a text for capabilities that are not known: in the `process` of a configuration, or at the top of a process.
///
/// Returns the text without them, all else at the lines and columns where it was, and `None` if there are none (or the text is no JSON).
/// `warnings` gets a sentence for each.
pub(super) fn without_unknown_capabilities(text: &str, warnings: &mut Vec<String>) -> Option<String> {
    let top: Object<'_> = serde_json::from_str(text).ok()?;
    let (process, at) = match top.get("process") {
        Some(process) => (serde_json::from_str(process.get()).ok()?, Pointer::to("/process")),
        None => (top, Pointer::default()),
    };
    let sets: Object<'_> = serde_json::from_str(process.get("capabilities")?.get()).ok()?;
    let at = at.of("capabilities");
    let mut blanks = Vec::new();
    for (set, names) in sets {
        let Ok(names) = serde_json::from_str::<Vec<&RawValue>>(names.get()) else { continue };
        unknown(text, &names, &at.of(set), &mut blanks, warnings);
    }
    if blanks.is_empty() {
        return None;
    }
    let mut bytes = text.as_bytes().to_vec();
    for blank in blanks {
        bytes[blank].fill(b' ');
    }
    String::from_utf8(bytes).ok()
}

/// Where in the text the unknown names of a set stand, and the commas that they take with them.
fn unknown(text: &str, names: &[&RawValue], at: &Pointer, blanks: &mut Vec<Range<usize>>, warnings: &mut Vec<String>) {
    let place = |name: &RawValue| {
        let start = name.get().as_ptr() as usize - text.as_ptr() as usize;
        start..start + name.get().len()
    };
    let mut end_of_last = None;
    let mut any_kept = false;
    for (i, raw) in names.iter().enumerate() {
        let place = place(raw);
        let keep = match serde_json::from_str::<String>(raw.get()) {
            Ok(name) if serde_json::from_str::<Capability>(raw.get()).is_err() => {
                warnings.push(format!("capability {name:?} is unknown and left out ({})", at.of(i)));
                blanks.push(place.clone());
                false
            }
            // What is no string is an error that the types report.
            _ => true,
        };
        // A comma stays where a name follows it and one is before it.
        if let Some(end) = end_of_last
            && !(keep && any_kept)
            && let Some(comma) = text[end..place.start].find(',')
        {
            blanks.push(end + comma..end + comma + 1);
        }
        any_kept |= keep;
        end_of_last = Some(place.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::spec::{Process, Spec};

    fn fixed(sets: &str) -> (Option<String>, Vec<String>) {
        let mut warnings = Vec::new();
        let text = format!(r#"{{"ociVersion": "1.3.0", "process": {{"cwd": "/", "user": {{}}, "capabilities": {sets}}}}}"#);
        let fixed = without_unknown_capabilities(&text, &mut warnings);
        if let Some(fixed) = &fixed {
            assert_eq!(fixed.len(), text.len(), "lines and columns stay");
        }
        (fixed, warnings)
    }

    fn bounding(text: &str) -> Vec<String> {
        let spec: Spec = serde_json::from_str(text).expect("the rest is valid");
        let sets = spec.process().as_ref().and_then(|p| p.capabilities().clone()).expect("there are capabilities");
        let mut names: Vec<_> = sets.bounding().iter().flatten().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn unknown_names_go_wherever_they_stand() {
        for (set, left) in [
            (r#"["CAP_FLY", "CAP_KILL", "CAP_CHOWN"]"#, &["CHOWN", "KILL"][..]),
            (r#"["CAP_KILL", "CAP_FLY", "CAP_CHOWN"]"#, &["CHOWN", "KILL"]),
            ("[\"CAP_KILL\"\n, \"CAP_CHOWN\"\n, \"FLY\"]", &["CHOWN", "KILL"]),
            (r#"["FLY", "kill", "CAP_\u0046LY", "CAP_É"]"#, &["KILL"]),
            (r#"["FLY","SWIM"]"#, &[]),
        ] {
            let (text, warnings) = fixed(&format!(r#"{{"bounding": {set}}}"#));
            assert_eq!(bounding(&text.expect("there are unknown names")), left, "{set}");
            assert!(warnings.iter().all(|w| w.contains("/process/capabilities/bounding/")), "{warnings:?}");
        }
    }

    #[test]
    fn each_is_warned_of_once_with_its_place() {
        let (_, warnings) = fixed(r#"{"bounding": ["CAP_KILL"], "effective": ["CAP_KILL", "CAP_FLY"], "ambient": ["SWIM"]}"#);
        assert_eq!(
            warnings,
            [
                "capability \"SWIM\" is unknown and left out (/process/capabilities/ambient/0)",
                "capability \"CAP_FLY\" is unknown and left out (/process/capabilities/effective/1)",
            ]
        );
    }

    #[test]
    fn nothing_unknown_is_nothing_to_do() {
        assert_eq!(fixed(r#"{"bounding": ["CAP_KILL", 7], "effective": null}"#), (None, Vec::new()));
        assert_eq!(without_unknown_capabilities("{", &mut Vec::new()), None);
        assert_eq!(without_unknown_capabilities("{}", &mut Vec::new()), None);
    }

    #[test]
    fn a_process_of_its_own_is_looked_at_as_well() {
        let mut warnings = Vec::new();
        let text = r#"{"cwd": "/", "user": {}, "capabilities": {"bounding": ["CAP_FLY"]}}"#;
        let text = without_unknown_capabilities(text, &mut warnings).expect("there is an unknown name");
        assert!(serde_json::from_str::<Process>(&text).is_ok());
        assert_eq!(warnings.len(), 1);
    }
}
