//! The systemd cgroup driver (`--systemd-cgroup`): config-linux.md, "Cgroups Path" with the form `slice:prefix:name`, and what systemd is told.

use crate::support::*;
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub const TESTS: &[Test] = suite![
    without_systemd_it_is_refused: [Need::Runtime("aril"), Need::NoSystemd],
    a_path_of_another_form_is_refused: [Need::Systemd],
    the_unit_is_named_by_the_path: [Need::Systemd, Need::V2],
    parts_that_are_empty_have_defaults: [Need::Systemd, Need::V2],
    slices_that_do_not_exist_are_made: [Need::Systemd, Need::V2],
    state_names_the_unit: [Need::Systemd, Need::Runtime("aril")],
    the_other_verbs_know_the_driver: [Need::Systemd, Need::V2],
    limits_are_properties_and_survive_a_reload: [Need::Systemd, Need::V2],
    limits_that_systemd_has_no_word_for: [Need::Systemd, Need::V2, Need::Controller("hugetlb")],
    a_paused_container_survives_a_reload: [Need::Systemd, Need::V2],
    on_v1_and_beside_it: [Need::Systemd, Need::V1("devices"), Need::V1("pids")],
    device_rules_survive_a_reload: [Need::Systemd],
    an_update_survives_a_reload: [Need::Systemd, Need::V2, Need::Runtime("aril")],
    an_update_that_fails_changes_nothing: [Need::Systemd, Need::V2, Need::Runtime("aril")],
    few_processes_are_enough: [Need::Systemd, Need::V2, Need::Runtime("aril")],
    annotations_are_properties: [Need::Systemd],
    annotations_that_cannot_be_are_refused: [Need::Systemd],
    a_unit_that_exists_is_left_alone: [Need::Systemd, Need::V2],
    run_removes_the_unit: [Need::Systemd],
    a_container_that_ended_leaves_no_unit_when_deleted: [Need::Systemd],
    delete_ends_what_is_left_in_the_cgroup: [Need::Systemd, Need::V2],
    a_killed_create_leaves_no_unit: [Need::Systemd, Need::V2, Need::Runtime("aril")],
    a_refused_create_leaves_no_unit: [Need::Systemd, Need::V2],
    without_a_message_bus: [Need::Systemd, Need::V2, Need::Runtime("aril")],
    the_container_sees_its_cgroup_as_the_root: [Need::Systemd, Need::V2],
    without_a_cgroup_namespace_it_sees_its_own_cgroup_read_only: [Need::Systemd, Need::V2],
    in_a_user_namespace: [Need::Systemd, Need::V2, Need::Userns],
];

/// Asks systemd; standard output, trimmed.
fn systemctl(words: &[&str]) -> String {
    let output = Command::new("systemctl").args(words).stdin(Stdio::null()).output().expect("systemctl");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn property(unit: &str, name: &str) -> String {
    systemctl(&["show", "--value", "--property", name, unit])
}

fn active(unit: &str) -> bool {
    systemctl(&["is-active", unit]) == "active"
}

/// All units that systemd knows by this name, failed ones among them.
fn known(unit: &str) -> bool {
    !systemctl(&["list-units", "--all", "--no-legend", "--plain", unit]).is_empty()
}

/// A name that is this case's alone.
fn name(t: &Case, b: &Bundle) -> String {
    format!("{}{}", t.cgroup().trim_start_matches('/').replace('/', "-"), b.id())
}

/// The path of a scope in the system's slice; and the scope.
fn scope(t: &Case, b: &Bundle) -> (String, String) {
    let name = name(t, b);
    (format!("system.slice:conf:{name}"), format!("conf-{name}.scope"))
}

fn bundle(t: &Case) -> (Bundle, String) {
    let b = t.bundle();
    let (path, unit) = scope(t, &b);
    b.edit(|c| c["linux"]["cgroupsPath"] = json!(path));
    (b, unit)
}

fn create<'a>(t: &'a Case, b: &Bundle) -> Container<'a> {
    let container = Container::of(t, b);
    t.create_call(&[], b).globals(["--systemd-cgroup"]).run().ok();
    container
}

fn refused(t: &Case, b: &Bundle) -> String {
    let _guard = Container::of(t, b);
    t.create_call(&[], b).globals(["--systemd-cgroup"]).run().refused().to_owned()
}

fn run(t: &Case, b: &Bundle) -> Output {
    let _guard = Container::of(t, b);
    t.run_call(&[], b).globals(["--systemd-cgroup"]).run()
}

fn cgroup_of(pid: i32) -> String {
    read(format!("/proc/{pid}/cgroup")).lines().find_map(|line| line.strip_prefix("0::")).expect("a cgroup").to_owned()
}

fn directory(pid: i32) -> PathBuf {
    PathBuf::from(format!("/sys/fs/cgroup{}", cgroup_of(pid)))
}

fn without_systemd_it_is_refused(t: &Case) {
    assert_has(&refused(t, &t.bundle()), "does not run systemd");
}

fn a_path_of_another_form_is_refused(t: &Case) {
    for path in ["/a/b", "a/b", "a.slice:b", "a.slice:b:c:d", "noslice:b:c"] {
        let b = t.bundle();
        b.edit(|c| c["linux"]["cgroupsPath"] = json!(path));
        let text = refused(t, &b);
        if !path.starts_with("noslice") {
            assert_has(&text, "slice:prefix:name");
        }
    }
}

fn the_unit_is_named_by_the_path(t: &Case) {
    let (b, unit) = bundle(t);
    let c = create(t, &b);
    assert!(active(&unit));
    assert_eq!(cgroup_of(c.pid()), format!("/system.slice/{unit}"));
    c.start();
    assert_eq!(cgroup_of(c.pid()), format!("/system.slice/{unit}"));
    assert_eq!(property(&unit, "Delegate"), "yes");
}

fn parts_that_are_empty_have_defaults(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["linux"]["cgroupsPath"] = json!(format!(":conf:{}", name(t, &b))));
    let c = create(t, &b);
    assert_eq!(cgroup_of(c.pid()), format!("/system.slice/conf-{}.scope", name(t, &b)));
    let b = t.bundle();
    b.edit(|c| drop(c["linux"].as_object_mut().unwrap().remove("cgroupsPath")));
    let c = create(t, &b);
    let found = cgroup_of(c.pid());
    assert!(found.starts_with("/system.slice/") && found.ends_with(&format!("-{}.scope", b.id())), "{found}");
}

fn slices_that_do_not_exist_are_made(t: &Case) {
    let b = t.bundle();
    let slice = format!("conf{}-sub.slice", std::process::id());
    b.edit(|c| c["linux"]["cgroupsPath"] = json!(format!("{slice}:conf:{}", name(t, &b))));
    let c = create(t, &b);
    let above = format!("conf{}.slice", std::process::id());
    assert_eq!(cgroup_of(c.pid()), format!("/{above}/{slice}/conf-{}.scope", name(t, &b)));
    c.delete_force().ok();
    systemctl(&["stop", &above]);
}

fn state_names_the_unit(t: &Case) {
    let (b, unit) = bundle(t);
    let c = create(t, &b);
    assert_eq!(c.state()["systemd-scope"], json!(unit));
}

/// CRI-O passes the flag to `create` alone.
fn the_other_verbs_know_the_driver(t: &Case) {
    let (b, unit) = bundle(t);
    let c = create(t, &b);
    c.start().kill("KILL").wait_for("stopped").delete();
    assert!(!known(&unit));
}

fn limits_are_properties_and_survive_a_reload(t: &Case) {
    let (b, unit) = bundle(t);
    b.edit(|c| {
        c["linux"]["resources"]["memory"] = json!({"limit": 64 << 20, "swap": 96 << 20, "reservation": 16 << 20});
        c["linux"]["resources"]["pids"] = json!({"limit": 50});
        c["linux"]["resources"]["cpu"] = json!({"quota": 20000, "period": 50000, "cpus": "0", "burst": 1000});
        c["linux"]["resources"]["unified"] = json!({"memory.high": "33554432"});
    });
    let c = create(t, &b);
    for (name, value) in [
        ("MemoryMax", "67108864"),
        ("MemorySwapMax", "33554432"),
        ("MemoryLow", "16777216"),
        ("MemoryHigh", "33554432"),
        ("TasksMax", "50"),
        ("CPUQuotaPerSecUSec", "400ms"),
        ("CPUQuotaPeriodUSec", "50ms"),
        ("AllowedCPUs", "0"),
    ] {
        assert_eq!(property(&unit, name), value, "{name}");
    }
    let dir = directory(c.pid());
    let files = ["memory.max", "memory.swap.max", "memory.low", "memory.high", "pids.max", "cpu.max", "cpu.max.burst", "cpuset.cpus"];
    let texts = || files.map(|file| read(dir.join(file)).trim().to_owned());
    let expected = ["67108864", "33554432", "16777216", "33554432", "50", "20000 50000", "1000", "0"];
    assert_eq!(texts(), expected);
    systemctl(&["daemon-reload"]);
    // systemd writes the files of a unit again after this.
    systemctl(&["set-property", "--runtime", &unit, "IOWeight=50"]);
    assert_eq!(texts(), expected);
}

fn limits_that_systemd_has_no_word_for(t: &Case) {
    let (b, _) = bundle(t);
    b.edit(|c| c["linux"]["resources"]["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 4_194_304}]));
    let c = create(t, &b);
    let dir = directory(c.pid());
    assert_eq!(read(dir.join("hugetlb.2MB.max")).trim(), "4194304");
    systemctl(&["daemon-reload"]);
    assert_eq!(read(dir.join("hugetlb.2MB.max")).trim(), "4194304");
}

fn a_paused_container_survives_a_reload(t: &Case) {
    let (b, unit) = bundle(t);
    let c = create(t, &b);
    c.start().call("pause", &[], &[]).run().ok();
    systemctl(&["daemon-reload"]);
    systemctl(&["set-property", "--runtime", &unit, "IOWeight=50"]);
    assert_eq!(c.status(), "paused");
    c.call("resume", &[], &[]).run().ok();
    assert_eq!(c.status(), "running");
}

/// The unit's cgroup in every hierarchy, those that systemd leaves alone among them; and nothing of it afterwards.
fn on_v1_and_beside_it(t: &Case) {
    let (b, unit) = bundle(t);
    b.edit(|c| {
        c["linux"]["resources"]["pids"] = json!({"limit": 50});
        c["linux"]["resources"]["devices"] = json!([{"allow": false, "access": "rwm"}]);
    });
    let c = create(t, &b);
    let path = format!("/system.slice/{unit}");
    for line in read(format!("/proc/{}/cgroup", c.pid())).lines() {
        assert!(line.ends_with(&format!(":{path}")) || line.starts_with("0:"), "{line}");
    }
    let texts = || {
        let list = read(t.environment.cgroup("devices", &path).join("devices.list"));
        let mut list: Vec<String> = list.lines().map(str::to_owned).collect();
        list.sort();
        (read(t.environment.cgroup("pids", &path).join("pids.max")), list)
    };
    let before = texts();
    assert!(before.1.iter().all(|rule| !rule.ends_with("*:* rwm")), "{before:?}");
    systemctl(&["daemon-reload"]);
    systemctl(&["set-property", "--runtime", &unit, "IOWeight=50"]);
    assert_eq!(texts(), before);
    c.delete_force().ok();
    assert!(t.environment.cgroups(&path).iter().all(|dir| !present(dir)) && !known(&unit));
}

fn device_rules_survive_a_reload(t: &Case) {
    let (b, _) = bundle(t);
    b.edit(|c| {
        c["linux"]["devices"] = json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]);
        c["linux"]["resources"]["devices"] = json!([{"allow": false, "access": "rwm"}]);
    });
    b.sh("while test ! -e /tmp/go; do sleep 0.1; done; cat /dev/kmsg 2>&1 >/dev/null | head -1; echo n >/dev/null && echo y");
    let c = Container::of(t, &b);
    t.create_call(&[], &b).globals(["--systemd-cgroup"]).shell(format!("exec \"$@\" >{}", t.path("out").display())).run().ok();
    c.start();
    systemctl(&["daemon-reload"]);
    write(b.root("/tmp/go"), "");
    c.wait_for("stopped");
    let out = read(t.path("out"));
    assert_has(&out, "ermitted");
    assert!(out.ends_with("y\n"), "{out}");
}

fn an_update_survives_a_reload(t: &Case) {
    let (b, unit) = bundle(t);
    b.edit(|c| c["linux"]["resources"]["memory"] = json!({"limit": 64 << 20}));
    let c = create(t, &b);
    // Managers leave out the driver here.
    let resources = json!({"memory": {"limit": 80 << 20, "swap": 80 << 20}, "pids": {"limit": 77}, "cpu": {"shares": 512, "quota": 20_000, "period": 50_000},
        "devices": [{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]});
    c.call("update", &["--resources", "-"], &[]).stdin(resources.to_string()).run().ok();
    let dir = directory(c.pid());
    let files =
        || ["memory.max", "memory.swap.max", "pids.max", "cpu.weight", "cpu.max"].map(|file| read(dir.join(file)).trim().to_owned());
    let expected = ["83886080", "0", "77", "59", "20000 50000"].map(str::to_owned);
    assert_eq!(files(), expected);
    systemctl(&["daemon-reload"]);
    assert_eq!(files(), expected);
    assert_eq!((property(&unit, "MemoryMax"), property(&unit, "TasksMax")), ("83886080".to_owned(), "77".to_owned()));
}

fn an_update_that_fails_changes_nothing(t: &Case) {
    let (b, unit) = bundle(t);
    b.edit(|c| c["linux"]["resources"]["memory"] = json!({"limit": 64 << 20}));
    let c = create(t, &b);
    let resources = json!({"memory": {"limit": 80 << 20}, "unified": {"memory.nosuch": "1"}});
    c.call("update", &["--resources", "-"], &[]).stdin(resources.to_string()).run().refused();
    assert_eq!(read(directory(c.pid()).join("memory.max")).trim(), "67108864");
    assert_eq!(property(&unit, "MemoryMax"), "67108864");
}

fn few_processes_are_enough(t: &Case) {
    for (limit, property_of) in [(0, None), (1, Some("1")), (3, Some("3"))] {
        let (b, unit) = bundle(t);
        b.edit(|c| {
            c["ociVersion"] = json!("1.3.0");
            c["linux"]["resources"]["pids"] = json!({"limit": limit});
        });
        let c = create(t, &b);
        c.start();
        assert_eq!(read(directory(c.pid()).join("pids.max")).trim(), limit.to_string());
        assert!(property_of.is_none_or(|expected| property(&unit, "TasksMax") == expected), "{limit}");
        assert_eq!(c.status(), "running");
    }
}

fn annotations_are_properties(t: &Case) {
    let (b, unit) = bundle(t);
    b.edit(|c| {
        c["annotations"] = json!({
            "org.systemd.property.TimeoutStopSec": "uint64 123",
            "org.systemd.property.Documentation": "['man:null(4)']",
            "org.systemd.property.SendSIGHUP": "true",
        });
    });
    let c = create(t, &b);
    assert_eq!(property(&unit, "TimeoutStopUSec"), "2min 3s");
    assert_has(&property(&unit, "Documentation"), "man:null(4)");
    assert_eq!(property(&unit, "SendSIGHUP"), "yes");
    drop(c);
}

fn annotations_that_cannot_be_are_refused(t: &Case) {
    for (key, value) in [("TimeoutStopSec", "'soon'"), ("CollectMode", "inactive"), ("NoSuchProperty", "true")] {
        let (b, unit) = bundle(t);
        b.edit(|c| c["annotations"] = json!({ format!("org.systemd.property.{key}"): value }));
        let text = refused(t, &b);
        assert!(text.contains(key.trim_end_matches("Sec")), "{text}");
        assert!(!known(&unit));
    }
}

fn a_unit_that_exists_is_left_alone(t: &Case) {
    let (b, unit) = bundle(t);
    let mut other = Command::new("systemd-run")
        .args(["--scope", "--quiet", "--unit", &unit, "sleep", "1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("systemd-run");
    eventually("the other scope runs", || active(&unit).then_some(()));
    assert_has(&refused(t, &b), &unit);
    assert!(active(&unit), "the unit of somebody else was stopped");
    systemctl(&["stop", &unit]);
    let _ = other.wait();
}

fn run_removes_the_unit(t: &Case) {
    let (b, unit) = bundle(t);
    b.sh("exit 3");
    assert_eq!(run(t, &b).code(), 3);
    assert!(!known(&unit));
}

fn a_container_that_ended_leaves_no_unit_when_deleted(t: &Case) {
    let (b, unit) = bundle(t);
    b.sh("exit 1");
    let c = create(t, &b);
    c.start().wait_for("stopped").delete();
    assert!(!known(&unit));
    // The name is free again at once.
    create(t, &b).delete_force().ok();
    assert!(!known(&unit));
}

/// Without a pid namespace of its own a process outlives the container's first one.
fn delete_ends_what_is_left_in_the_cgroup(t: &Case) {
    let (b, unit) = bundle(t);
    b.leave_namespace("pid");
    b.sh("setsid sleep 1000 & exit 0");
    let c = create(t, &b);
    c.start().wait_for("stopped");
    let dir = PathBuf::from(format!("/sys/fs/cgroup/system.slice/{unit}"));
    eventually("a process is left", || (read(dir.join("cgroup.procs")).lines().count() == 1).then_some(()));
    c.delete();
    assert!(!known(&unit) && !present(&dir));
}

fn a_killed_create_leaves_no_unit(t: &Case) {
    let (b, unit) = bundle(t);
    b.hook_sh("createRuntime", "kill -9 $PPID; sleep 1");
    let c = Container::of(t, &b);
    let output = t.create_call(&[], &b).globals(["--systemd-cgroup"]).run();
    assert_eq!(output.code(), 137);
    eventually("systemd has removed the empty scope", || (!known(&unit)).then_some(()));
    c.delete_force().ok();
    assert!(!known(&unit));
}

fn a_refused_create_leaves_no_unit(t: &Case) {
    let (b, unit) = bundle(t);
    b.hook_sh("createRuntime", "exit 1");
    refused(t, &b);
    assert!(!known(&unit));
}

/// systemd has a socket of its own for this user: early in the boot, and where the bus has died, there is no other.
fn without_a_message_bus(t: &Case) {
    let (b, unit) = bundle(t);
    let hidden = r#"exec unshare --mount sh -c 'mount -t tmpfs tmpfs /run/dbus && exec "$@"' sh "$@""#;
    t.create_call(&[], &b).globals(["--systemd-cgroup"]).shell(hidden).run().ok();
    assert!(active(&unit));
    let c = Container::of(t, &b);
    c.start();
    c.call("update", &["--pids-limit", "33"], &[]).shell(hidden).run().ok();
    assert_eq!(property(&unit, "TasksMax"), "33");
    c.call("delete", &["--force"], &[]).shell(hidden).run().ok();
    assert!(!known(&unit));
}

fn the_container_sees_its_cgroup_as_the_root(t: &Case) {
    let (b, _) = bundle(t);
    b.sh("grep ^0: /proc/self/cgroup; head -1 /sys/fs/cgroup/cgroup.procs; grep '/\\.\\.' /proc/self/mountinfo; true");
    assert_eq!(run(t, &b).ok(), "0::/\n1\n");
}

fn without_a_cgroup_namespace_it_sees_its_own_cgroup_read_only(t: &Case) {
    let (b, unit) = bundle(t);
    b.leave_namespace("cgroup");
    b.sh("grep ^0: /proc/self/cgroup; head -1 /sys/fs/cgroup/cgroup.procs; mkdir /sys/fs/cgroup/x 2>&1 | grep -o 'Read-only.*'");
    assert_eq!(run(t, &b).ok(), format!("0::/system.slice/{unit}\n1\nRead-only file system\n"));
}

fn in_a_user_namespace(t: &Case) {
    let (b, unit) = bundle(t);
    b.userns(100_000, 65536);
    b.sh("grep ^0: /proc/self/cgroup; id -u");
    assert_eq!(run(t, &b).ok(), "0::/\n0\n");
    assert!(!known(&unit));
}
