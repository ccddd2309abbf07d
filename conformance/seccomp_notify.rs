//! config-linux.md: seccomp — SCMP_ACT_NOTIFY, listenerPath, listenerMetadata, and the container process state.

use crate::support::*;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

pub const TESTS: &[Test] = suite![
    the_agent_answers,
    the_agent_may_let_a_call_go_on,
    the_agent_is_told_whose_calls_they_are,
    metadata_is_passed_on,
    each_container_has_its_own_agent,
    the_container_is_whole_with_the_filter_in_the_agents_hands,
    a_notified_execve_waits_for_the_agent: [Need::Runtime("aril")],
    a_notified_read_waits_for_the_agent: [Need::Runtime("aril")],
    for_another_user_without_no_new_privileges,
    in_a_user_namespace: [Need::Userns],
    run_tells_the_agent_too,
    exec_tells_the_agent_too: [Need::Runtime("aril")],
    nobody_at_the_socket_is_an_error,
    a_socket_in_the_bundle: [Need::Runtime("aril")],
    a_socket_that_an_annotation_names: [Need::Runtime("aril")],
    a_socket_that_the_environment_names: [Need::Runtime("aril")],
    every_flag_with_a_listener: [Need::Runtime("aril"), Need::Kernel(5, 19)],
    without_the_action_nobody_is_told,
    the_action_without_a_socket_is_refused,
    metadata_without_a_socket_is_refused: [Need::Runtime("aril")],
    a_profile_that_would_wait_for_its_own_agent_is_refused: [Need::Runtime("aril")],
];

/// An agent that answers with an error, or lets calls go on where that is 0. Ended when it goes out of scope.
struct Agent {
    socket: PathBuf,
    output: PathBuf,
    process: Child,
}

impl Agent {
    fn start(t: &Case, error: i32) -> Agent {
        Agent::at(t, t.path("agent"), error)
    }

    fn at(t: &Case, socket: PathBuf, error: i32) -> Agent {
        let output = t.path("agent-output");
        let process = Command::new(t.environment.dir.join("probe"))
            .args(["agent", socket.to_str().unwrap(), &error.to_string()])
            .stdin(Stdio::null())
            .stdout(File::create(&output).unwrap())
            .spawn()
            .unwrap();
        eventually("the agent listens", || present(&socket).then_some(()));
        Agent { socket, output, process }
    }

    /// What it was sent, and how many descriptors came with it.
    fn told(&self) -> (Value, usize) {
        eventually("the agent has the state", || {
            let text = read(&self.output);
            let (json, count) = text.trim_end().rsplit_once('\n')?;
            Some((serde_json::from_str(json).ok()?, count.parse().ok()?))
        })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn notify(b: &Bundle, names: &[&str], agent: &Agent) {
    b.edit(|c| {
        c["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": agent.socket,
            "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}],
        });
    });
}

const EDOM: i32 = 33;

fn the_agent_answers(t: &Case) {
    let agent = Agent::start(t, EDOM);
    let b = t.bundle();
    b.args(&["probe", "mkdirat", "/tmp/x"]);
    notify(&b, &["mkdirat"], &agent);
    assert_has(t.run(&b).ok(), "Numerical argument out of domain");
}

fn the_agent_may_let_a_call_go_on(t: &Case) {
    let agent = Agent::start(t, 0);
    let out = t.sh("probe mkdirat /tmp/x; ls -d /tmp/x", |b| notify(b, &["mkdirat"], &agent));
    assert_eq!(out, "ok\n/tmp/x\n");
}

fn the_agent_is_told_whose_calls_they_are(t: &Case) {
    let agent = Agent::start(t, EDOM);
    let b = t.bundle_sh("sleep 100");
    b.edit(|c| c["annotations"] = json!({"org.example.key": "value"}));
    notify(&b, &["mkdirat"], &agent);
    let container = t.started(&b);
    let (told, files) = agent.told();
    assert_eq!(files, 1);
    assert_eq!(told["fds"], json!(["seccompFd"]));
    assert!(told["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")), "{told}");
    assert_eq!(told["pid"], json!(container.pid()));
    assert!(told.get("metadata").is_none_or(|m| m == ""), "{told}");
    let state = &told["state"];
    assert_eq!(state["id"], json!(b.id()));
    assert_eq!(state["pid"], json!(container.pid()));
    assert_eq!(state["bundle"], json!(b.dir()));
    assert_eq!(state["annotations"]["org.example.key"], json!("value"));
    assert!(["creating", "created"].iter().any(|status| state["status"] == **status), "{state}");
    assert!(state["ociVersion"].is_string(), "{state}");
}

fn metadata_is_passed_on(t: &Case) {
    let agent = Agent::start(t, EDOM);
    let b = t.bundle_sh("true");
    notify(&b, &["mkdirat"], &agent);
    let metadata = "MKNOD=/dev/null;\"quoted\"";
    b.edit(|c| c["linux"]["seccomp"]["listenerMetadata"] = json!(metadata));
    t.run(&b).ok();
    assert_eq!(agent.told().0["metadata"], json!(metadata));
}

fn each_container_has_its_own_agent(t: &Case) {
    // The profile is the same but for these: what is kept of one container's must not reach another.
    for (n, errno, text) in
        [(1, EDOM, "Numerical argument out of domain"), (2, libc::EPIPE, "Broken pipe"), (3, EDOM, "Numerical argument out of domain")]
    {
        let agent = Agent::at(t, t.path(&format!("agent-{n}")), errno);
        let b = t.bundle();
        b.args(&["probe", "mkdirat", "/tmp/x"]);
        notify(&b, &["mkdirat"], &agent);
        b.edit(|c| c["linux"]["seccomp"]["listenerMetadata"] = json!(format!("container {n}")));
        assert_has(t.run(&b).ok(), text);
        assert_eq!(agent.told().0["metadata"], json!(format!("container {n}")));
    }
    // Without a socket there is still nobody to tell.
    let b = t.bundle();
    b.edit(|c| {
        c["linux"]["seccomp"] =
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_NOTIFY"}]})
    });
    t.refused(&b);
}

fn the_container_is_whole_with_the_filter_in_the_agents_hands(t: &Case) {
    let agent = Agent::start(t, EDOM);
    let out = t.sh("probe fds | grep -v '/proc'; grep Seccomp: /proc/self/status", |b| notify(b, &["mkdirat"], &agent));
    assert_has(&out, "Seccomp:\t2\n");
    assert_lacks(&out, "seccomp notify");
}

fn a_notified_execve_waits_for_the_agent(t: &Case) {
    let agent = Agent::start(t, 0);
    let b = t.bundle();
    b.args(&["echo", "ran"]);
    notify(&b, &["execve"], &agent);
    assert_eq!(t.run(&b).ok(), "ran\n");
}

fn a_notified_read_waits_for_the_agent(t: &Case) {
    let agent = Agent::start(t, 0);
    let b = t.bundle();
    b.args(&["cat", "/etc/passwd"]);
    write(b.root("/etc/passwd"), "root:x:0:0::/root:/bin/sh\n");
    notify(&b, &["read"], &agent);
    assert_eq!(t.run(&b).ok(), "root:x:0:0::/root:/bin/sh\n");
}

fn for_another_user_without_no_new_privileges(t: &Case) {
    let agent = Agent::start(t, EDOM);
    let b = t.bundle();
    b.args(&["probe", "mkdirat", "/tmp/x"]);
    b.edit(|c| {
        c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        c["process"]["noNewPrivileges"] = json!(false);
        c["process"].as_object_mut().unwrap().remove("capabilities");
    });
    notify(&b, &["mkdirat"], &agent);
    assert_has(t.run(&b).ok(), "Numerical argument out of domain");
}

fn in_a_user_namespace(t: &Case) {
    let agent = Agent::start(t, EDOM);
    let b = t.bundle();
    b.args(&["probe", "mkdirat", "/tmp/x"]);
    b.userns(100_000, 65536);
    notify(&b, &["mkdirat"], &agent);
    assert_has(t.run(&b).ok(), "Numerical argument out of domain");
}

fn run_tells_the_agent_too(t: &Case) {
    let agent = Agent::start(t, EDOM);
    let b = t.bundle_sh("probe mkdirat /tmp/x");
    notify(&b, &["mkdirat"], &agent);
    let container = Container::of(t, &b);
    t.run_call(&["--detach"], &b).run().ok();
    assert_eq!(agent.told().0["state"]["id"], json!(b.id()));
    container.wait_for("stopped");
}

/// Each process has a filter of its own, and the agent is told of it.
fn exec_tells_the_agent_too(t: &Case) {
    let first = Agent::start(t, EDOM);
    let b = t.bundle_sh("sleep 1000");
    notify(&b, &["mkdirat"], &first);
    let container = t.started(&b);
    first.told();
    drop(first);
    std::fs::remove_file(t.path("agent")).unwrap();
    let second = Agent::start(t, EDOM);
    let output = container.call("exec", &[], &["probe", "mkdirat", "/tmp/x"]).run();
    assert_has(output.ok(), "Numerical argument out of domain");
    let (told, files) = second.told();
    assert_eq!((files, &told["state"]["pid"], &told["state"]["status"]), (1, &json!(container.pid()), &json!("running")));
    assert_ne!(told["pid"], json!(container.pid()));
    drop(second);
    std::fs::remove_file(t.path("agent")).unwrap();
    let text = container.call("exec", &[], &["true"]).run().refused().to_owned();
    assert_has(&text, "(/linux/seccomp/listenerPath)");
}

fn nobody_at_the_socket_is_an_error(t: &Case) {
    let b = t.bundle_sh("touch /ran");
    b.edit(|c| {
        c["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": t.path("nobody"),
            "syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
        });
    });
    let _container = Container::of(t, &b);
    let text = t.run_call(&[], &b).run().refused().to_owned();
    assert_has(&text.to_lowercase(), "no such file or directory");
    assert!(!present(b.root("/ran")), "the program ran without its agent");
    if t.environment.name == "aril" {
        assert_has(&text, "(/linux/seccomp/listenerPath)");
    }
}

fn a_socket_that_an_annotation_names(t: &Case) {
    let agent = Agent::start(t, EDOM);
    let b = t.bundle();
    b.args(&["probe", "mkdirat", "/tmp/x"]);
    notify(&b, &["mkdirat"], &agent);
    b.edit(|c| {
        c["linux"]["seccomp"].as_object_mut().unwrap().remove("listenerPath");
        c["annotations"]["run.oci.seccomp.receiver"] = json!(agent.socket);
    });
    assert_has(t.run(&b).ok(), "Numerical argument out of domain");
    b.edit(|c| c["annotations"]["run.oci.seccomp.receiver"] = json!("agent"));
    let text = t.refused(&b);
    assert_has(&text, "agent is not absolute");
    assert_has(&text, "(/annotations/run.oci.seccomp.receiver)");
}

fn a_socket_that_the_environment_names(t: &Case) {
    let agent = Agent::start(t, EDOM);
    let b = t.bundle();
    b.args(&["probe", "mkdirat", "/tmp/x"]);
    notify(&b, &["mkdirat"], &agent);
    b.edit(|c| drop(c["linux"]["seccomp"].as_object_mut().unwrap().remove("listenerPath")));
    let _container = Container::of(t, &b);
    let output = t.run_call(&[], &b).env("RUN_OCI_SECCOMP_RECEIVER", agent.socket.to_str().unwrap()).run();
    assert_has(output.ok(), "Numerical argument out of domain");
}

fn a_socket_in_the_bundle(t: &Case) {
    let b = t.bundle();
    let agent = Agent::at(t, b.dir().join("agent"), EDOM);
    b.args(&["probe", "mkdirat", "/tmp/x"]);
    notify(&b, &["mkdirat"], &agent);
    b.edit(|c| c["linux"]["seccomp"]["listenerPath"] = json!("agent"));
    assert_has(t.run(&b).ok(), "Numerical argument out of domain");
}

fn every_flag_with_a_listener(t: &Case) {
    let agent = Agent::start(t, EDOM);
    let b = t.bundle();
    b.args(&["probe", "mkdirat", "/tmp/x"]);
    notify(&b, &["mkdirat"], &agent);
    let flags = ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"].map(|flag| format!("SECCOMP_FILTER_FLAG_{flag}"));
    b.edit(|c| c["linux"]["seccomp"]["flags"] = json!(flags));
    assert_has(t.run(&b).ok(), "Numerical argument out of domain");
}

fn without_the_action_nobody_is_told(t: &Case) {
    let b = t.bundle();
    b.args(&["echo", "ran"]);
    b.edit(|c| c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": t.path("nobody")}));
    assert_eq!(t.run(&b).ok(), "ran\n");
}

fn the_action_without_a_socket_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| {
        c["linux"]["seccomp"] =
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_NOTIFY"}]});
    });
    assert_has(&t.refused(&b), "listenerPath");
}

fn metadata_without_a_socket_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}));
    assert_has(&t.refused(&b), "(/linux/seccomp/listenerMetadata)");
}

fn a_profile_that_would_wait_for_its_own_agent_is_refused(t: &Case) {
    let agent = Agent::start(t, 0);
    let b = t.bundle();
    notify(&b, &["mkdirat", "sendmsg"], &agent);
    assert_has(&t.refused(&b), "(/linux/seccomp/syscalls/0/names/1)");
    b.edit(|c| c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": agent.socket}));
    assert_has(&t.refused(&b), "(/linux/seccomp)");
}
