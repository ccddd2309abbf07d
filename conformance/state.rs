//! runtime.md: the state of a container, as `state` prints it.

use crate::support::*;
use std::fs;

pub const TESTS: &[Test] = suite![
    has_the_fields_of_the_specification,
    oci_version_is_a_version,
    status_follows_the_life_cycle,
    pid_is_the_first_process_seen_from_the_host,
    pid_of_a_stopped_container_is_zero_or_absent,
    bundle_is_absolute,
    rootfs_is_absolute,
    created_is_rfc3339,
    created_stays_the_same,
    annotations_are_given_back,
    no_annotations_are_no_error,
    of_a_missing_container_is_an_error,
    prints_nothing_on_standard_error,
    sees_a_process_killed_by_another,
    sees_a_process_killed_in_created,
    is_one_json_document,
    needs_exactly_one_id,
    survives_the_loss_of_the_bundle,
];

fn has_the_fields_of_the_specification(t: &Case) {
    let b = t.bundle();
    let state = t.create(&b).state();
    for key in ["ociVersion", "id", "status", "bundle"] {
        assert!(state[key].is_string(), "{key} in {state}");
    }
    assert_eq!(state["id"], b.id());
    assert!(state["pid"].is_u64(), "{state}");
}

fn oci_version_is_a_version(t: &Case) {
    let state = t.create(&t.bundle()).state();
    let version = state["ociVersion"].as_str().unwrap();
    let numbers: Vec<_> = version.split(['.', '-', '+']).take(3).map(|n| n.parse::<u32>().is_ok()).collect();
    assert_eq!(numbers, [true; 3], "{version}");
}

fn status_follows_the_life_cycle(t: &Case) {
    let c = t.create(&t.bundle());
    assert_eq!(c.status(), "created");
    assert_eq!(c.start().status(), "running");
    c.kill("KILL").wait_for("stopped");
}

fn pid_is_the_first_process_seen_from_the_host(t: &Case) {
    let b = t.bundle();
    b.args(&["sleep", "271"]);
    let c = t.started(&b);
    let pid = c.pid();
    eventually("the process is exec'ed", || (read(format!("/proc/{pid}/cmdline")) == "sleep\x00271\x00").then_some(()));
    let status = read(format!("/proc/{pid}/status"));
    assert!(field(&status, "NSpid").ends_with("\t1"), "{status}");
}

fn pid_of_a_stopped_container_is_zero_or_absent(t: &Case) {
    let c = t.started(&t.bundle_sh("exit 0"));
    c.wait_for("stopped");
    let state = c.state();
    assert!(state["pid"].is_null() || state["pid"] == 0, "{state}");
}

fn bundle_is_absolute(t: &Case) {
    let b = t.bundle();
    assert_eq!(t.create(&b).state()["bundle"], b.dir().display().to_string());
}

fn rootfs_is_absolute(t: &Case) {
    let b = t.bundle();
    assert_eq!(t.create(&b).state()["rootfs"], b.root("").display().to_string().trim_end_matches('/'));
}

fn created_is_rfc3339(t: &Case) {
    let today = || {
        let now = std::process::Command::new("date").args(["-u", "+%Y-%m-%d"]).output().unwrap().stdout;
        String::from_utf8_lossy(&now).trim().to_owned()
    };
    let before = today();
    let state = t.create(&t.bundle()).state();
    let created = state["created"].as_str().unwrap_or_default();
    let shape: String = created.chars().take(19).map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(shape, "9999-99-99T99:99:99", "{state}");
    assert!(created.ends_with('Z') || created[19..].contains(['+', '-']), "no zone in {created}");
    assert!(created.starts_with(&before) || created.starts_with(&today()), "{created} is not today");
}

fn created_stays_the_same(t: &Case) {
    let c = t.create(&t.bundle_sh("exit 0"));
    let created = c.state()["created"].clone();
    c.start().wait_for("stopped");
    assert_eq!(c.state()["created"], created);
}

fn annotations_are_given_back(t: &Case) {
    let b = t.bundle();
    let annotations = json!({"org.example.a": "1", "empty": "", "text": "lines\n\"quoted\" ü"});
    b.edit(|c| c["annotations"] = annotations.clone());
    let state = t.create(&b).state();
    for (key, value) in annotations.as_object().unwrap() {
        assert_eq!(&state["annotations"][key], value, "{state}");
    }
}

fn no_annotations_are_no_error(t: &Case) {
    let state = t.create(&t.bundle()).state();
    assert!(state["annotations"].as_object().is_none_or(serde_json::Map::is_empty), "{state}");
}

fn of_a_missing_container_is_an_error(t: &Case) {
    let output = t.rt(&["state", "nobody"]).run();
    assert_has(output.refused(), "does not exist");
    assert_eq!(output.stdout, "");
}

fn prints_nothing_on_standard_error(t: &Case) {
    let c = t.create(&t.bundle());
    assert_eq!(c.call("state", &[], &[]).run().stderr, "");
}

fn sees_a_process_killed_by_another(t: &Case) {
    let c = t.started(&t.bundle());
    kill(c.pid());
    c.wait_for("stopped").delete();
}

fn sees_a_process_killed_in_created(t: &Case) {
    let c = t.create(&t.bundle());
    kill(c.pid());
    c.wait_for("stopped").delete();
}

fn is_one_json_document(t: &Case) {
    let c = t.create(&t.bundle());
    let output = c.call("state", &[], &[]).run();
    assert!(output.json().is_object());
}

fn needs_exactly_one_id(t: &Case) {
    t.rt(&["state"]).run().refused();
    let c = t.create(&t.bundle());
    c.call("state", &[], &["another"]).run().refused();
}

fn survives_the_loss_of_the_bundle(t: &Case) {
    let b = t.bundle();
    let c = t.create(&b);
    let before = c.state();
    fs::rename(b.dir(), t.path("moved")).unwrap();
    assert_eq!(c.state(), before);
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
