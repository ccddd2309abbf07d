use super::*;
use serde_json::{Value as Json, json};

fn names_of(path: &str, user: bool) -> std::result::Result<(String, String), String> {
    names(Path::new(path), "a+b", user).map_err(|invalid| invalid.why)
}

#[test]
fn a_path_names_a_slice_and_a_unit() {
    for (path, user, slice, unit) in [
        ("", false, "system.slice", "aril-a\\x2bb.scope"),
        ("", true, "user.slice", "aril-a\\x2bb.scope"),
        ("machine.slice:libpod:0123", false, "machine.slice", "libpod-0123.scope"),
        (":docker:0123", false, "system.slice", "docker-0123.scope"),
        ("::0123", true, "user.slice", "0123.scope"),
        ("kubepods-burstable-pod1_2.slice:cri-containerd:x", false, "kubepods-burstable-pod1_2.slice", "cri-containerd-x.scope"),
        ("a.slice:ignored:a-b.slice", false, "a.slice", "a-b.slice"),
        ("-.slice:p:n", false, "-.slice", "p-n.scope"),
    ] {
        assert_eq!(names_of(path, user), Ok((slice.to_owned(), unit.to_owned())), "{path}");
    }
}

#[test]
fn paths_of_another_form_are_refused() {
    let why = names_of("/a/b", false).expect_err("a path");
    assert_eq!(why, "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"/a/b\" instead");
    for (path, part) in [
        ("a:b", "format"),
        ("a.slice:b:c:d", "format"),
        ("a:b:c", "does not end with \".slice\""),
        (".slice:b:c", "cannot be the name"),
        ("../x.slice:b:c", "cannot be the name"),
        ("a.slice:b:../c", "cannot be the name"),
        ("a.slice:b:c d", "cannot be the name"),
    ] {
        let why = names_of(path, false).expect_err(path);
        assert!(why.contains(part), "{path}: {why}");
    }
}

#[test]
fn a_unit_is_below_its_slices() {
    for (slice, name, path) in [
        ("system.slice", "a-b.scope", "/system.slice/a-b.scope"),
        ("a-b-c.slice", "x.scope", "/a.slice/a-b.slice/a-b-c.slice/x.scope"),
        ("-.slice", "x.scope", "/x.scope"),
        ("a.slice", "a-b.slice", "/a.slice/a-b.slice"),
    ] {
        let (slice, name) = (slice.to_owned(), name.to_owned());
        let unit = Unit { name, slice, user: false, subgroup: String::new(), made: false, description: String::new(), asked: Vec::new() };
        assert_eq!(unit.path(), path);
    }
}

fn asked_of(annotations: Json) -> std::result::Result<Vec<(String, Value)>, Invalid> {
    let spec: Spec = serde_json::from_value(json!({"ociVersion": "1.0.2", "annotations": annotations})).expect("a configuration");
    Ok(asked(&spec)?.into_iter().map(|property| (property.name, property.value)).collect())
}

#[test]
fn annotations_are_properties() {
    let asked = asked_of(json!({
        "org.systemd.property.TimeoutStopSec": "uint64 123",
        "org.systemd.property.RuntimeMaxSec": "1.5",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
        "org.systemd.property.JobTimeoutUSec": "uint64 7",
        "org.systemd.propertyless": "x",
    }));
    let expected = [
        ("CollectMode", Value::str("inactive-or-failed")),
        ("JobTimeoutUSec", Value::U64(7)),
        ("RuntimeMaxUSec", Value::U64(1_500_000)),
        ("TimeoutStopUSec", Value::U64(123_000_000)),
    ];
    assert_eq!(asked.expect("properties"), expected.map(|(name, value)| (name.to_owned(), value)));
}

#[test]
fn annotations_that_are_none_are_refused_with_their_place() {
    for (name, text, part) in [
        ("TimeoutStopSec", "'soon'", "no number of seconds"),
        ("TimeoutStopSec", "-1", "no number of seconds"),
        ("CollectMode", "inactive", "no value in GVariant's text format"),
        ("A", "1", "three letters"),
        ("X-Y1", "1", "three letters"),
    ] {
        let key = format!("org.systemd.property.{name}");
        let error = asked_of(json!({ &key: text })).expect_err(name);
        assert_eq!(error.at.as_str(), format!("/annotations/{key}"));
        assert!(error.why.contains(part), "{error}");
    }
}

#[test]
fn what_an_older_systemd_does_not_know_is_left_to_the_files() {
    let mut limits = vec![Property::new("MemoryMax", Value::U64(1)), Property::new("MemoryZSwapMax", Value::U64(1))];
    assert!(without_unknown(&mut limits, "Cannot set property MemoryZSwapMax, or unknown property."));
    assert_eq!(limits, [Property::new("MemoryMax", Value::U64(1))]);
    assert!(!without_unknown(&mut limits, "Cannot set property MemoryMaximum, or unknown property."));
}

#[test]
fn device_rules_are_paths_and_drivers() {
    let linux = serde_json::from_value(json!({"resources": {"devices": [
        {"allow": false, "access": "rwm"}, {"allow": true, "type": "b", "major": 8, "access": "r"}, {"allow": true, "type": "c", "major": 9, "access": "r"}]}}));
    let devices = Devices::resolve(Some(&linux.expect("a configuration"))).expect("rules");
    let drivers = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n  9 md\n";
    let rules = device_rules(&devices, drivers);
    assert_eq!(rules[0], Property::new("DevicePolicy", Value::str("strict")));
    let Value::Array(of, allowed) = &rules[1].value else { panic!("{rules:?}") };
    assert_eq!((rules[1].name.as_str(), of.as_str()), ("DeviceAllow", "(ss)"));
    let rule = |path: &str, access: &str| Value::Struct(vec![Value::str(path), Value::str(access)]);
    for expected in
        [rule("/dev/char/1:3", "rwm"), rule("char-pts", "rwm"), rule("block-sd", "r"), rule("char-*", "m"), rule("block-*", "m")]
    {
        assert!(allowed.contains(&expected), "{expected:?}: {allowed:?}");
    }
    // A number that no driver has is nobody's device.
    assert!(!allowed.iter().any(|rule| format!("{rule:?}").contains("md")), "{allowed:?}");
}
