//! Cgroups below the container's, by annotations of crun's: `run.oci.systemd.subgroup`, `run.oci.delegate-cgroup` (crun(1), "Extensions to OCI").

use crate::support::*;
use std::path::PathBuf;
use std::process::Command;

pub const TESTS: &[Test] = suite![
    the_payload_has_a_cgroup_of_its_own: [Need::V2, Need::Runtime("aril")],
    every_verb_knows_it: [Need::V2, Need::Runtime("aril")],
    limits_are_the_containers: [Need::V2, Need::Controller("pids"), Need::Controller("memory"), Need::Runtime("aril")],
    controllers_are_handed_down: [Need::V2, Need::Controller("pids"), Need::Controller("memory"), Need::Runtime("aril")],
    without_a_cgroup_namespace: [Need::V2, Need::Runtime("aril")],
    in_a_user_namespace_it_is_the_payloads: [Need::V2, Need::Userns, Need::Runtime("aril")],
    exec_follows_a_payload_that_has_moved: [Need::V2, Need::Runtime("aril")],
    nothing_is_left_of_it: [Need::V2, Need::Runtime("aril")],
    names_that_cannot_be_are_refused: [Need::V2, Need::Runtime("aril")],
    on_v1_it_is_refused: [Need::V1("pids"), Need::Runtime("aril")],
    an_empty_name_asks_for_nothing: [Need::Runtime("aril")],
    without_cgroups_it_is_refused: [Need::V2, Need::Runtime("aril")],
    the_subgroup_is_systemds: [Need::V2, Need::Runtime("aril")],
    the_subgroup_is_below_the_scope: [Need::Systemd, Need::V2, Need::Runtime("aril")],
    limits_are_those_of_scope_and_subgroup: [Need::Systemd, Need::V2, Need::Runtime("aril")],
    the_payloads_own_is_below_the_subgroup: [Need::Systemd, Need::V2, Need::Runtime("aril")],
    every_verb_knows_it_with_systemd: [Need::Systemd, Need::V2, Need::Runtime("aril")],
    a_refused_create_leaves_no_unit: [Need::Systemd, Need::V2, Need::Runtime("aril")],
];

const SUBGROUP: &str = "run.oci.systemd.subgroup";
const DELEGATE: &str = "run.oci.delegate-cgroup";

fn annotated(t: &Case, annotations: &[(&str, &str)]) -> Bundle {
    let b = t.bundle();
    for (name, value) in annotations {
        b.edit(|c| c["annotations"][*name] = json!(value));
    }
    b
}

fn cgroup_of(pid: i32) -> String {
    read(format!("/proc/{pid}/cgroup")).lines().find_map(|line| line.strip_prefix("0::")).expect("a cgroup").to_owned()
}

fn own(pid: i32) -> PathBuf {
    PathBuf::from(format!("/sys/fs/cgroup{}", cgroup_of(pid)))
}

/// The container's cgroup, where its own one is two levels deep.
fn above(pid: i32) -> PathBuf {
    own(pid).ancestors().nth(2).expect("two above").to_owned()
}

fn writable(b: &Bundle) {
    b.unmount("/sys/fs/cgroup").mount(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]}));
}

fn the_payload_has_a_cgroup_of_its_own(t: &Case) {
    let b = annotated(t, &[(DELEGATE, "/pay//load/")]);
    writable(&b);
    b.sh("grep ^0: /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.procs; head -1 /sys/fs/cgroup/pay/load/cgroup.procs; mkdir /sys/fs/cgroup/pay/load/x && echo made");
    assert_eq!(t.run(&b).ok(), "0::/pay/load\n1\nmade\n");
}

/// What the calls do with a container whose process is in its own cgroup `pay/load`.
fn verbs(c: &Container<'_>) {
    let pid = c.pid();
    assert!(cgroup_of(pid).ends_with("/pay/load"), "{}", cgroup_of(pid));
    for options in [["--detach=false"].as_slice(), &["--cgroup", "/pay/load"]] {
        assert_eq!(c.call("exec", options, &["grep", "^0:", "/proc/self/cgroup"]).run().ok(), "0::/pay/load\n", "{options:?}");
    }
    assert_eq!(c.call("ps", &["--format", "json"], &[]).run().json(), json!([pid]));
    c.call("pause", &[], &[]).run().ok();
    assert_eq!(c.status(), "paused");
    assert_has(&read(above(pid).join("cgroup.events")), "frozen 1");
    c.call("resume", &[], &[]).run().ok();
    assert_eq!(c.status(), "running");
    c.call("exec", &["--detach"], &["sleep", "100"]).run().ok();
    let two = c.call("ps", &["--format", "json"], &[]).run().json();
    assert_eq!(two.as_array().map(Vec::len), Some(2));
    assert_eq!(c.call("events", &["--stats"], &[]).run().json()["type"], "stats");
    c.call("kill", &["--all"], &["KILL"]).run().ok();
    c.wait_for("stopped");
}

fn every_verb_knows_it(t: &Case) {
    let b = annotated(t, &[(DELEGATE, "pay/load")]);
    b.args(&["sleep", "100"]);
    verbs(&t.started(&b));
}

fn limited(b: &Bundle) {
    b.edit(|c| c["linux"]["resources"] = json!({"pids": {"limit": 50}, "memory": {"limit": 1 << 28}}));
}

fn limits_are_the_containers(t: &Case) {
    let b = annotated(t, &[(DELEGATE, "pay/load")]);
    limited(&b);
    b.args(&["sleep", "100"]);
    let c = t.started(&b);
    let (own, above) = (own(c.pid()), above(c.pid()));
    assert_eq!(read(above.join("pids.max")), "50\n");
    assert_eq!(read(above.join("memory.max")), format!("{}\n", 1 << 28));
    assert_eq!(read(own.join("memory.max")), "max\n");
    c.call("update", &["--pids-limit", "60"], &[]).run().ok();
    assert_eq!((read(above.join("pids.max")), read(own.join("pids.max"))), ("60\n".to_owned(), "max\n".to_owned()));
    let stats = c.call("events", &["--stats"], &[]).run().json();
    assert_eq!(stats["data"]["pids"]["limit"], 60);
}

fn controllers_are_handed_down(t: &Case) {
    let b = annotated(t, &[(DELEGATE, "pay/load")]);
    writable(&b);
    b.sh("cd /sys/fs/cgroup; cat pay/load/cgroup.controllers; echo 7 >pay/load/pids.max && cat pay/load/pids.max; \
          mkdir pay/load/a && echo 1 >pay/load/a/cgroup.procs && echo +memory >pay/load/cgroup.subtree_control && cat pay/load/a/memory.max");
    let out = t.run(&b);
    let lines: Vec<&str> = out.ok().lines().collect();
    assert!(["memory", "pids"].iter().all(|controller| lines[0].split(' ').any(|word| word == *controller)), "{lines:?}");
    assert_eq!(lines[1..], ["7", "max"]);
}

fn without_a_cgroup_namespace(t: &Case) {
    let b = annotated(t, &[(DELEGATE, "pay")]);
    b.leave_namespace("cgroup");
    b.sh("sed -n s/^0:://p /proc/self/cgroup; cat /sys/fs/cgroup/pay/cgroup.procs | head -1");
    assert_eq!(t.run(&b).ok(), format!("{}/{}/pay\n1\n", t.cgroup(), b.id()));
}

fn in_a_user_namespace_it_is_the_payloads(t: &Case) {
    use std::os::unix::fs::MetadataExt;
    let b = annotated(t, &[(DELEGATE, "pay/load")]);
    b.userns(100_000, 65536);
    writable(&b);
    b.sh("cd /sys/fs/cgroup; mkdir pay/load/a && echo 1 >pay/load/a/cgroup.procs && sed -n s/^0:://p /proc/self/cgroup; mkdir b 2>&1 | grep -o 'Permission.*'; sleep 100");
    let (out, mut input) = (t.path("out"), Vec::new());
    let c = Container::of(t, &b);
    let call = t.run_call(&["--detach"], &b).shell(format!("exec \"$@\" >{}", out.display()));
    call.run().ok();
    eventually("both lines", || {
        input = std::fs::read(&out).unwrap_or_default();
        (input.iter().filter(|byte| **byte == b'\n').count() == 2).then_some(())
    });
    assert_eq!(String::from_utf8_lossy(&input), "/pay/load/a\nPermission denied\n");
    let container = PathBuf::from(format!("/sys/fs/cgroup{}/{}", t.cgroup(), b.id()));
    let owner = |path: &str| std::fs::metadata(container.join(path)).expect("a cgroup").uid();
    assert_eq!(
        [owner("."), owner("pay/load"), owner("pay/load/cgroup.procs"), owner("pay/load/memory.pressure")],
        [0, 100_000, 100_000, 0]
    );
    drop(c);
}

fn exec_follows_a_payload_that_has_moved(t: &Case) {
    let b = annotated(t, &[(DELEGATE, "pay")]);
    writable(&b);
    b.sh("cd /sys/fs/cgroup; mkdir other && echo 1 >other/cgroup.procs && rmdir pay && touch /tmp/moved; exec sleep 100");
    let c = t.started(&b);
    eventually("the payload has moved", || present(b.root("/tmp/moved")).then_some(()));
    assert_eq!(c.call("exec", &[], &["grep", "^0:", "/proc/self/cgroup"]).run().ok(), "0::/other\n");
}

fn nothing_is_left_of_it(t: &Case) {
    let b = annotated(t, &[(DELEGATE, "pay/load")]);
    let c = t.create(&b);
    let above = above(c.pid());
    assert!(present(&above));
    c.delete_force().ok();
    assert!(!present(&above));
    b.hook_sh("createRuntime", "exit 1");
    t.refused(&b);
}

fn names_that_cannot_be_are_refused(t: &Case) {
    for name in ["..", "a/../b", "/", "-x", "a\n"] {
        let text = t.refused(&annotated(t, &[(DELEGATE, name)]));
        assert_has(&text, "(/annotations/run.oci.delegate-cgroup)");
    }
}

fn on_v1_it_is_refused(t: &Case) {
    assert_has(&t.refused(&annotated(t, &[(DELEGATE, "pay")])), "needs cgroup v2");
}

fn an_empty_name_asks_for_nothing(t: &Case) {
    let b = annotated(t, &[(DELEGATE, ""), (SUBGROUP, "")]);
    b.args(&["true"]);
    t.run(&b).ok();
}

fn without_cgroups_it_is_refused(t: &Case) {
    let b = annotated(t, &[(DELEGATE, "pay")]);
    let text = t.create_call(&[], &b).globals(["--cgroup-manager", "disabled"]).run();
    assert_has(text.refused(), "(/annotations/run.oci.delegate-cgroup)");
}

fn the_subgroup_is_systemds(t: &Case) {
    let b = annotated(t, &[(SUBGROUP, "sub")]);
    let c = t.create(&b);
    assert_eq!(cgroup_of(c.pid()), format!("{}/{}", t.cgroup(), b.id()));
}

/// A container of systemd's, and its scope.
fn with_systemd<'a>(t: &'a Case, b: &Bundle) -> (Container<'a>, String) {
    let name = format!("{}{}", t.cgroup().trim_start_matches('/').replace('/', "-"), b.id());
    b.edit(|c| c["linux"]["cgroupsPath"] = json!(format!("system.slice:conf:{name}")));
    b.args(&["sleep", "100"]);
    let c = Container::of(t, b);
    t.run_call(&["--detach"], b).globals(["--systemd-cgroup"]).run().ok();
    (c, format!("conf-{name}.scope"))
}

fn known(unit: &str) -> bool {
    let out = Command::new("systemctl").args(["list-units", "--all", "--no-legend", "--plain", unit]).output().expect("systemctl");
    !out.stdout.is_empty()
}

fn the_subgroup_is_below_the_scope(t: &Case) {
    let b = annotated(t, &[(SUBGROUP, "sub")]);
    let (c, unit) = with_systemd(t, &b);
    let pid = c.pid();
    assert_eq!(cgroup_of(pid), format!("/system.slice/{unit}/sub"));
    assert_eq!(c.call("exec", &[], &["grep", "^0:", "/proc/self/cgroup"]).run().ok(), "0::/\n");
    assert_eq!(c.call("ps", &["--format", "json"], &[]).run().json(), json!([pid]));
    let state = c.state();
    assert_eq!(state["pid"], pid);
    c.delete_force().ok();
    assert!(!known(&unit));
    assert!(!present(format!("/sys/fs/cgroup/system.slice/{unit}")));
}

fn limits_are_those_of_scope_and_subgroup(t: &Case) {
    let b = annotated(t, &[(SUBGROUP, "sub")]);
    limited(&b);
    let (c, _) = with_systemd(t, &b);
    let (sub, scope) = (own(c.pid()), own(c.pid()).parent().expect("the scope").to_owned());
    for directory in [&sub, &scope] {
        assert_eq!(read(directory.join("pids.max")), "50\n", "{directory:?}");
        assert_eq!(read(directory.join("memory.max")), format!("{}\n", 1 << 28), "{directory:?}");
    }
    c.call("update", &["--pids-limit", "60", "--memory", "300M"], &[]).run().ok();
    for directory in [&sub, &scope] {
        assert_eq!(read(directory.join("pids.max")), "60\n", "{directory:?}");
        assert_eq!(read(directory.join("memory.max")), format!("{}\n", 300 << 20), "{directory:?}");
    }
}

fn the_payloads_own_is_below_the_subgroup(t: &Case) {
    let b = annotated(t, &[(SUBGROUP, "sub"), (DELEGATE, "pay/load")]);
    limited(&b);
    let (c, unit) = with_systemd(t, &b);
    assert_eq!(cgroup_of(c.pid()), format!("/system.slice/{unit}/sub/pay/load"));
    assert_eq!(read(own(c.pid()).join("pids.max")), "max\n");
    assert_eq!(read(above(c.pid()).join("pids.max")), "50\n");
    verbs(&c);
    c.delete();
    assert!(!known(&unit));
}

fn every_verb_knows_it_with_systemd(t: &Case) {
    let b = annotated(t, &[(DELEGATE, "pay/load")]);
    let (c, unit) = with_systemd(t, &b);
    assert_eq!(cgroup_of(c.pid()), format!("/system.slice/{unit}/pay/load"));
    verbs(&c);
}

fn a_refused_create_leaves_no_unit(t: &Case) {
    let b = annotated(t, &[(SUBGROUP, "sub"), (DELEGATE, "pay/load")]);
    b.hook_sh("createRuntime", "exit 1");
    let name = format!("{}{}", t.cgroup().trim_start_matches('/').replace('/', "-"), b.id());
    b.edit(|c| c["linux"]["cgroupsPath"] = json!(format!("system.slice:conf:{name}")));
    t.create_call(&[], &b).globals(["--systemd-cgroup"]).run().refused();
    assert!(!known(&format!("conf-{name}.scope")));
}
