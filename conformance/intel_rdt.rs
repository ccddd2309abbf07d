//! config-linux.md: intelRdt. What is written, and in which order, is tested over a directory that looks like resctrl (`src/aril/boot/resctrl.rs`): few
//! machines have the real one.

use crate::support::*;

const RESCTRL: Need = Need::File("/sys/fs/resctrl/schemata");
const NONE: Need = Need::NoFile("/sys/fs/resctrl/schemata");

pub const TESTS: &[Test] = suite![
    without_resctrl_it_is_refused: [Need::Runtime("aril"), NONE],
    what_cannot_be_is_refused: [Need::Runtime("aril")],
    absent_it_asks_for_nothing,
    a_group_of_the_containers_own_comes_and_goes: [Need::Runtime("aril"), RESCTRL],
    a_monitoring_group_comes_and_goes: [Need::Runtime("aril"), RESCTRL],
    update_without_resctrl_is_refused: [Need::Runtime("aril"), NONE],
    update_gives_a_group_to_a_container_that_has_none: [Need::Runtime("aril"), RESCTRL],
];

fn rdt(b: &Bundle, rdt: Value) {
    b.edit(|c| c["linux"]["intelRdt"] = rdt);
}

fn without_resctrl_it_is_refused(t: &Case) {
    for wanted in [json!({}), json!({"closID": "gold"}), json!({"l3CacheSchema": "L3:0=f"}), json!({"enableMonitoring": true})] {
        let b = t.bundle();
        rdt(&b, wanted);
        let text = t.refused(&b);
        assert_has(&text, "no resctrl file system is mounted");
        assert_has(&text, "(/linux/intelRdt)");
    }
}

fn what_cannot_be_is_refused(t: &Case) {
    for (wanted, at) in [
        (json!({"closID": "a/b"}), "(/linux/intelRdt/closID)"),
        (json!({"memBwSchema": "L3:0=f"}), "(/linux/intelRdt/memBwSchema)"),
        (json!({"memBwSchema": "MB:0=20\nMB:1=20"}), "(/linux/intelRdt/memBwSchema)"),
        (json!({"schemata": ["L3:0=f\nL3:1=f"]}), "(/linux/intelRdt/schemata/0)"),
    ] {
        let b = t.bundle();
        rdt(&b, wanted);
        assert_has(&t.refused(&b), at);
    }
}

fn absent_it_asks_for_nothing(t: &Case) {
    let b = t.bundle_sh("echo ran");
    rdt(&b, Value::Null);
    assert_eq!(t.run(&b).ok(), "ran\n");
}

fn a_group_of_the_containers_own_comes_and_goes(t: &Case) {
    let b = t.bundle_sh("sleep 1000");
    rdt(&b, json!({}));
    let container = t.started(&b);
    let group = std::path::Path::new("/sys/fs/resctrl").join(b.id());
    assert!(read(group.join("tasks")).lines().any(|pid| pid == container.pid().to_string()));
    container.delete_force().ok();
    assert!(!present(&group));
}

fn a_monitoring_group_comes_and_goes(t: &Case) {
    let b = t.bundle_sh("sleep 1000");
    rdt(&b, json!({"closID": "/", "enableMonitoring": true}));
    let container = t.started(&b);
    let group = std::path::Path::new("/sys/fs/resctrl/mon_groups").join(b.id());
    assert!(read(group.join("tasks")).lines().any(|pid| pid == container.pid().to_string()));
    container.delete_force().ok();
    assert!(!present(&group));
}

fn update_without_resctrl_is_refused(t: &Case) {
    let b = t.bundle_sh("sleep 1000");
    let container = t.started(&b);
    for (flag, schema, words) in [
        ("--l3-cache-schema", "L3:0=f", "no resctrl file system is mounted"),
        ("--mem-bw-schema", "MB:0=20", "no resctrl file system is mounted"),
        ("--mem-bw-schema", "L3:0=f", "no line that begins with MB:"),
    ] {
        let text = t.rt(&["update", flag, schema, "--pids-limit", "77", b.id()]).run().refused().to_owned();
        assert_has(&text, words);
        assert_has(&text, "/linux/intelRdt");
    }
    t.rt(&["update", "--l3-cache-schema", "", "--mem-bw-schema", "", b.id()]).run().ok();
    assert_eq!(container.state()["status"], "running");
}

fn update_gives_a_group_to_a_container_that_has_none(t: &Case) {
    let b = t.bundle_sh("sleep 1000");
    let container = t.started(&b);
    let schemata = read("/sys/fs/resctrl/schemata");
    let line = schemata.lines().map(str::trim).find(|line| line.starts_with("L3:")).expect("a cache that can be shared out").to_owned();
    t.rt(&["update", "--l3-cache-schema", &line, b.id()]).run().ok();
    let group = std::path::Path::new("/sys/fs/resctrl").join(b.id());
    let tasks = || read(group.join("tasks")).lines().count();
    assert!(read(group.join("tasks")).lines().any(|pid| pid == container.pid().to_string()));
    let before = tasks();
    container.call("exec", &["--detach"], &["sleep", "1000"]).run().ok();
    assert_eq!(tasks(), before + 1, "what exec starts is in it, too");
    container.delete_force().ok();
    assert!(!present(&group));
}
