//! A user without privilege: which errors of cgroups are passed over, and what the calls do with a container that has no cgroup of its own.

use crate::support::*;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

pub const TESTS: &[Test] = suite![
    without_a_cgroup_it_goes_on: [Need::Userns, Need::Runtime("aril")],
    limits_without_a_cgroup_are_refused: [Need::Userns, Need::Runtime("aril")],
    device_rules_without_a_cgroup_are_not: [Need::Userns, Need::Runtime("aril")],
    a_path_that_may_not_be_made_is_refused: [Need::Userns, Need::Runtime("aril")],
    a_cgroup_of_its_own_is_refused: [Need::V2, Need::Userns, Need::Runtime("aril")],
    every_verb_without_a_cgroup: [Need::Userns, Need::Runtime("aril")],
    kill_of_all_without_a_cgroup: [Need::Userns, Need::Runtime("aril")],
    a_shared_pid_namespace_without_a_cgroup: [Need::Userns, Need::Runtime("aril")],
    delete_of_a_shared_pid_namespace_without_a_cgroup: [Need::Userns, Need::Runtime("aril")],
    in_a_delegated_cgroup_it_has_one: [Need::V2, Need::Userns, Need::Runtime("aril")],
];

const NOBODY: u32 = 65534;

/// A user's bundles and state, and the cgroup that was delegated, if one was.
struct User<'a> {
    t: &'a Case,
    state: String,
    cgroup: Option<String>,
}

fn user(t: &Case) -> User<'_> {
    let state = t.mkdir("state-of-nobody");
    std::fs::set_permissions(t.dir(), PermissionsExt::from_mode(0o755)).unwrap();
    own(&state);
    User { t, state: state.display().to_string(), cgroup: None }
}

fn own(path: &std::path::Path) {
    assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(path).status().unwrap().success());
}

impl User<'_> {
    /// A bundle as `spec --rootless` has it, that asks for no cgroup.
    fn bundle(&self, script: &str) -> Bundle {
        let b = self.t.bundle_sh(script);
        std::fs::set_permissions(b.dir(), PermissionsExt::from_mode(0o755)).unwrap();
        own(&b.root("/tmp"));
        own(&b.root("/mnt"));
        b.unmount("/sys/fs/cgroup").leave_namespace("cgroup").namespace(json!({"type": "user"}));
        b.edit(|c| {
            let linux = c["linux"].as_object_mut().unwrap();
            linux.remove("cgroupsPath");
            linux.remove("resources");
            for map in ["uidMappings", "gidMappings"] {
                linux.insert(map.to_owned(), json!([{"containerID": 0, "hostID": NOBODY, "size": 1}]));
            }
            for mount in c["mounts"].as_array_mut().unwrap() {
                if let Some(options) = mount["options"].as_array_mut() {
                    options.retain(|option| option != "gid=5");
                }
            }
        });
        b
    }

    fn call(&self, words: &[&str]) -> Call<'_> {
        let enter = self.cgroup.as_ref().map(|cgroup| format!("echo $$ >{cgroup}/caller/cgroup.procs; ")).unwrap_or_default();
        let script = format!("{enter}exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"");
        self.t.rt(words).without_root().globals(["--root".to_owned(), self.state.clone()]).shell(script)
    }

    fn create(&self, b: &Bundle) -> Output {
        self.call(&["create", "--bundle", b.dir().to_str().unwrap(), b.id()]).run()
    }

    #[track_caller]
    fn started(&self, b: &Bundle) -> Guard<'_> {
        self.create(b).ok();
        let guard = Guard { user: self, id: b.id().to_owned() };
        guard.call("start", &[]).ok();
        guard
    }

    #[track_caller]
    fn refused(&self, b: &Bundle) -> String {
        let text = self.create(b).refused().to_owned();
        assert!(!present(format!("{}/{}", self.state, b.id())), "a refused create left its state");
        text
    }
}

/// A container of the user's, which goes in the end.
struct Guard<'a> {
    user: &'a User<'a>,
    id: String,
}

impl Guard<'_> {
    fn call(&self, verb: &str, rest: &[&str]) -> Output {
        self.user.call(&[&[verb, &self.id], rest].concat()).run()
    }

    fn status(&self) -> String {
        self.call("state", &[]).json()["status"].as_str().unwrap_or_default().to_owned()
    }

    fn pids(&self) -> Vec<i32> {
        let list = self.user.call(&["ps", "--format", "json", &self.id]).run().json();
        list.as_array().unwrap().iter().map(|pid| i32::try_from(pid.as_i64().unwrap()).unwrap()).collect()
    }

    fn wait_for(&self, status: &str) {
        eventually(status, || (self.status() == status).then_some(()));
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.user.call(&["delete", "--force", &self.id]).run();
    }
}

fn alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn gone(pids: &[i32]) {
    eventually("all have ended", || pids.iter().all(|pid| !alive(*pid)).then_some(()));
}

fn without_a_cgroup_it_goes_on(t: &Case) {
    let user = user(t);
    let b = user.bundle("echo inside $(id -u)");
    let out = user.call(&["run", "--bundle", b.dir().to_str().unwrap(), b.id()]).run();
    assert_eq!(out.ok(), "inside 0\n");
}

fn limits_without_a_cgroup_are_refused(t: &Case) {
    let user = user(t);
    for (limit, at) in [
        (json!({"pids": {"limit": 10}}), "/linux/resources/pids/limit"),
        (json!({"memory": {"limit": 10_000_000}}), "/linux/resources/memory/limit"),
        (json!({"cpu": {"shares": 10}}), "/linux/resources/cpu/shares"),
    ] {
        let b = user.bundle("true");
        b.edit(|c| c["linux"]["resources"] = limit);
        let text = user.refused(&b);
        assert_has(&text, at);
        assert_has(&text, "permitted");
    }
}

/// No device can be made in a user namespace, and managers always have rules.
fn device_rules_without_a_cgroup_are_not(t: &Case) {
    let user = user(t);
    let b = user.bundle("echo fine");
    b.edit(|c| c["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]}));
    assert_eq!(user.call(&["run", "--bundle", b.dir().to_str().unwrap(), b.id()]).run().ok(), "fine\n");
}

fn a_path_that_may_not_be_made_is_refused(t: &Case) {
    let user = user(t);
    let b = user.bundle("true");
    let path = format!("{}/asked", t.cgroup());
    b.edit(|c| c["linux"]["cgroupsPath"] = json!(path));
    let text = user.refused(&b);
    assert_has(&text, "cannot make cgroup");
    assert_has(&text, "ermission denied");
}

fn a_cgroup_of_its_own_is_refused(t: &Case) {
    let user = user(t);
    let b = user.bundle("true");
    b.edit(|c| c["annotations"] = json!({"run.oci.delegate-cgroup": "pay"}));
    assert_has(&user.refused(&b), "cannot make cgroup");
}

fn every_verb_without_a_cgroup(t: &Case) {
    let user = user(t);
    let b = user.bundle("sleep 1000 & sleep 1000; true");
    let c = user.started(&b);
    assert_eq!(c.call("exec", &["id", "-u"]).ok(), "0\n");
    eventually("the shell and two that sleep", || (c.pids().len() == 3).then_some(()));
    assert_has(c.call("pause", &[]).refused(), "it has no cgroup that could be frozen");
    assert_has(c.call("update", &["--pids-limit", "5"]).refused(), "no cgroup");
    assert_eq!(c.status(), "running");
    let pids = c.pids();
    c.call("kill", &["KILL"]).ok();
    c.wait_for("stopped");
    gone(&pids);
    c.call("delete", &[]).ok();
}

/// One that `exec` started is no child of the first one's.
fn kill_of_all_without_a_cgroup(t: &Case) {
    let user = user(t);
    let b = user.bundle("trap 'echo first >>/tmp/log' USR1; while :; do sleep 0.05; done");
    let c = user.started(&b);
    let script = "trap 'echo second >>/tmp/log' USR1; touch /tmp/ready; while :; do sleep 0.05; done";
    user.call(&["exec", "--detach", b.id(), "sh", "-c", script]).run().ok();
    eventually("the second one listens", || present(b.root("/tmp/ready")).then_some(()));
    assert!(c.pids().len() >= 2);
    user.call(&["kill", "--all", b.id(), "USR1"]).run().ok();
    let log = || std::fs::read_to_string(b.root("/tmp/log")).unwrap_or_default();
    eventually("both were told", || (log().contains("first\n") && log().contains("second\n")).then_some(()));
    let pids = c.pids();
    user.call(&["kill", "--all", b.id(), "KILL"]).run().ok();
    c.wait_for("stopped");
    gone(&pids);
}

fn shared<'a>(user: &'a User<'a>) -> (Guard<'a>, Vec<i32>) {
    let b = user.bundle("sh -c 'sleep 1000 & sleep 1000; true' & sleep 1000; true");
    b.leave_namespace("pid").unmount("/proc");
    b.bind("/proc".as_ref(), "/proc", &["rbind"]);
    b.edit(|c| {
        c["linux"]["maskedPaths"] = json!([]);
        c["linux"]["readonlyPaths"] = json!([]);
    });
    let c = user.started(&b);
    let pids = eventually("two shells and three that sleep", || Some(c.pids()).filter(|pids| pids.len() == 5));
    (c, pids)
}

fn a_shared_pid_namespace_without_a_cgroup(t: &Case) {
    let user = user(t);
    let (c, pids) = shared(&user);
    c.call("kill", &["KILL"]).ok();
    gone(&pids);
    c.wait_for("stopped");
    c.call("delete", &[]).ok();
}

fn delete_of_a_shared_pid_namespace_without_a_cgroup(t: &Case) {
    let user = user(t);
    let (c, pids) = shared(&user);
    user.call(&["delete", "--force", &c.id]).run().ok();
    gone(&pids);
}

/// As systemd delegates one to a user: the caller is in a cgroup below it.
fn in_a_delegated_cgroup_it_has_one(t: &Case) {
    let top = format!("/sys/fs/cgroup{}/user", t.cgroup());
    std::fs::create_dir_all(format!("{top}/caller")).unwrap();
    own(top.as_ref());
    let user = User { cgroup: Some(top.clone()), ..user(t) };
    let b = user.bundle("sleep 1000");
    {
        let c = user.started(&b);
        let cgroup = read(format!("/proc/{}/cgroup", c.pids()[0]));
        assert_has(&cgroup, &format!("0::{}/user/{}\n", t.cgroup(), b.id()));
        c.call("pause", &[]).ok();
        assert_eq!(c.status(), "paused");
        c.call("resume", &[]).ok();
        assert_eq!(c.call("exec", &["id", "-u"]).ok(), "0\n");
    }
    assert!(!present(format!("{top}/{}", b.id())));
    std::fs::remove_dir(format!("{top}/caller")).unwrap();
    std::fs::remove_dir(top).unwrap();
}
