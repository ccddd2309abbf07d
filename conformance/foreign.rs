//! A state root in which another runtime left containers: `list` shows them as theirs, every other verb says whose they are and how to end them, and
//! touches nothing. No specification asks for this; it is asked of aril alone.

use crate::support::environment::which;
use crate::support::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const ARIL: Need = Need::Runtime("aril");

pub const TESTS: &[Test] = suite![
    list_shows_what_runc_left: [ARIL],
    list_shows_what_crun_left: [ARIL],
    list_shows_both_beside_our_own: [ARIL],
    verbs_on_what_runc_left_say_whose_it_is: [ARIL],
    verbs_on_what_crun_left_say_whose_it_is: [ARIL],
    delete_force_of_what_runc_left_is_refused: [ARIL],
    delete_force_of_what_crun_left_is_refused: [ARIL],
    create_over_what_runc_left_is_refused: [ARIL],
    create_over_what_crun_left_is_refused: [ARIL],
    a_living_container_of_runc_is_left_alone: [ARIL, Need::Program("runc")],
    a_state_that_is_nobodys_is_told: [ARIL],
    a_file_in_the_state_root_is_passed_over,
];

/// What runc keeps, with the fields by which it can be known.
fn runc(t: &Case, id: &str) {
    let dir = t.state_root().join(id);
    fs::create_dir(&dir).unwrap();
    let state = json!({
        "id": id, "init_process_pid": 999_999, "init_process_start": 12345, "created": "2024-01-02T03:04:05.678Z",
        "config": {"rootfs": "/somewhere/rootfs", "labels": ["bundle=/somewhere"], "version": "1.0.2-dev"},
        "rootless": false, "cgroup_paths": {"": "/sys/fs/cgroup/x"}, "namespace_paths": {"NEWNET": "/proc/999999/ns/net"},
        "external_descriptors": ["/dev/null", "/dev/null", "/dev/null"], "intel_rdt_path": ""
    });
    write(dir.join("state.json"), state.to_string());
}

/// What crun keeps.
fn crun(t: &Case, id: &str) {
    let dir = t.state_root().join(id);
    fs::create_dir(&dir).unwrap();
    let status = json!({
        "pid": 999_999, "process-start-time": 12345, "cgroup-path": "/x", "scope": null, "intelrdt": null, "rootfs": "/somewhere/rootfs",
        "systemd-cgroup": false, "bundle": "/somewhere", "created": "2024-01-02T03:04:05.678901Z", "owner": "root", "detached": false,
        "external_descriptors": "[\"/dev/null\",\"/dev/null\",\"/dev/null\"]"
    });
    write(dir.join("status"), status.to_string());
    write(dir.join("config.json"), "{\"ociVersion\":\"1.0.0\"}");
}

/// Every file below a directory with what it holds.
fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            all.insert(path.display().to_string(), Vec::new());
            all.extend(tree(&path));
        } else {
            all.insert(path.display().to_string(), fs::read(&path).unwrap_or_default());
        }
    }
    all
}

/// Runs the check, and asserts that it left the state root as it was; then removes what the test put there.
fn untouched(t: &Case, ids: &[&str], check: impl FnOnce()) {
    let before = tree(&t.state_root());
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
    let after = tree(&t.state_root());
    for id in ids {
        let _ = fs::remove_dir_all(t.state_root().join(id));
    }
    if let Err(panic) = checked {
        std::panic::resume_unwind(panic);
    }
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert!(after == before, "a file changed");
}

fn listed(t: &Case, id: &str, owner: &str) {
    let table = t.rt(&["list"]).run();
    let line =
        table.ok().lines().find(|line| line.starts_with(&format!("{id} "))).unwrap_or_else(|| panic!("no {id} in:\n{}", table.stdout));
    assert_has(line, owner);
    let list = t.rt(&["list", "--format", "json"]).run().json();
    let entry = list.as_array().unwrap().iter().find(|e| e["id"] == id).unwrap_or_else(|| panic!("no {id} in {list}")).to_string();
    assert_has(&entry, owner);
    assert_has(t.rt(&["list", "-q"]).run().ok(), id);
}

fn list_shows_what_runc_left(t: &Case) {
    runc(t, "theirs");
    untouched(t, &["theirs"], || listed(t, "theirs", "runc"));
}

fn list_shows_what_crun_left(t: &Case) {
    crun(t, "theirs");
    untouched(t, &["theirs"], || listed(t, "theirs", "crun"));
}

fn list_shows_both_beside_our_own(t: &Case) {
    let c = t.create(&t.bundle());
    runc(t, "one");
    crun(t, "two");
    untouched(t, &["one", "two"], || {
        listed(t, "one", "runc");
        listed(t, "two", "crun");
        assert_has(t.rt(&["list"]).run().ok(), &c.id);
    });
    assert_eq!(c.status(), "created");
}

fn verbs_say_whose(t: &Case, owner: &str) {
    untouched(t, &["theirs"], || {
        for words in [&["state", "theirs"] as &[&str], &["start", "theirs"], &["kill", "theirs", "KILL"], &["delete", "theirs"]] {
            let output = t.rt(words).run();
            assert_has(output.refused(), owner);
            // How to end it.
            assert_has(output.refused(), "delete");
        }
    });
}

fn verbs_on_what_runc_left_say_whose_it_is(t: &Case) {
    runc(t, "theirs");
    verbs_say_whose(t, "runc");
}

fn verbs_on_what_crun_left_say_whose_it_is(t: &Case) {
    crun(t, "theirs");
    verbs_say_whose(t, "crun");
}

fn delete_force_refused(t: &Case, owner: &str) {
    untouched(t, &["theirs"], || {
        assert_has(t.rt(&["delete", "--force", "theirs"]).run().refused(), owner);
    });
}

fn delete_force_of_what_runc_left_is_refused(t: &Case) {
    runc(t, "theirs");
    delete_force_refused(t, "runc");
}

fn delete_force_of_what_crun_left_is_refused(t: &Case) {
    crun(t, "theirs");
    delete_force_refused(t, "crun");
}

fn create_refused(t: &Case, owner: &str) {
    let b = t.bundle();
    untouched(t, &["theirs"], || {
        let dir = b.dir().to_str().unwrap();
        assert_has(t.rt(&["create", "--bundle", dir, "theirs"]).run().refused(), owner);
        assert_has(t.rt(&["run", "--bundle", dir, "theirs"]).run().refused(), owner);
    });
}

fn create_over_what_runc_left_is_refused(t: &Case) {
    runc(t, "theirs");
    create_refused(t, "runc");
}

fn create_over_what_crun_left_is_refused(t: &Case) {
    crun(t, "theirs");
    create_refused(t, "crun");
}

fn a_living_container_of_runc_is_left_alone(t: &Case) {
    let b = t.bundle();
    let runc = which(Path::new("runc")).unwrap();
    let theirs = |words: &[&str]| t.rt(words).program(&runc).run();
    let dir = b.dir().to_str().unwrap();
    theirs(&["run", "--detach", "--bundle", dir, "theirs"]).ok();
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        listed(t, "theirs", "runc");
        t.rt(&["kill", "theirs", "KILL"]).run().refused();
        t.rt(&["delete", "--force", "theirs"]).run().refused();
        assert_eq!(theirs(&["state", "theirs"]).json()["status"], "running");
    }));
    theirs(&["delete", "--force", "theirs"]).ok();
    if let Err(panic) = checked {
        std::panic::resume_unwind(panic);
    }
}

fn a_state_that_is_nobodys_is_told(t: &Case) {
    let dir = t.state_root().join("odd");
    fs::create_dir(&dir).unwrap();
    write(dir.join("something"), "else");
    untouched(t, &["odd"], || {
        t.rt(&["list"]).run().ok();
        t.rt(&["start", "odd"]).run().refused();
    });
}

fn a_file_in_the_state_root_is_passed_over(t: &Case) {
    let c = t.create(&t.bundle());
    let file = t.state_root().join("README");
    write(&file, "text");
    let output = t.rt(&["list", "-q"]).run();
    let kept = present(&file);
    let _ = fs::remove_file(&file);
    assert_has(output.ok(), &c.id);
    assert!(kept);
}
