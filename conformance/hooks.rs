//! config.md: hooks — their order, what they are given, what they see, and what their failure means.

use crate::support::*;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

pub const TESTS: &[Test] = suite![
    run_in_order,
    hooks_of_one_list_run_in_order,
    create_runs_the_first_three,
    start_runs_start_container_and_poststart,
    delete_runs_poststop,
    run_runs_all,
    the_state_is_on_standard_input,
    the_status_in_the_state_is_right,
    the_state_has_annotations_and_bundle,
    the_pid_in_the_state_is_the_containers,
    the_environment_is_exactly_that_of_the_hook,
    the_environment_is_empty_when_absent,
    the_process_environment_does_not_reach_hooks_of_the_runtime,
    args_are_exactly_those_of_the_hook,
    args_absent_are_the_path,
    a_relative_path_is_refused,
    an_absent_path_is_refused,
    a_missing_program_fails,
    a_timeout_ends_the_hook_and_fails,
    a_timeout_that_is_not_reached_does_no_harm,
    a_timeout_of_zero_or_less_is_refused,
    failure_of_prestart,
    failure_of_create_runtime,
    failure_of_create_container,
    failure_of_start_container,
    failure_of_poststart,
    failure_of_poststop_only_warns,
    failure_shows_what_the_hook_said,
    failure_shows_the_exit_status,
    a_hook_killed_by_a_signal_fails,
    failure_ends_the_list,
    failure_of_create_leaves_nothing_but_poststop,
    namespaces_of_create_runtime,
    namespaces_of_create_container,
    namespaces_of_start_container,
    namespaces_of_poststart_and_poststop,
    create_runtime_sees_the_host_tree,
    create_runtime_can_reach_the_containers_network,
    create_runtime_finds_the_mounts_standing,
    create_runtime_finds_the_cgroup_joined,
    paths_of_hooks_are_of_the_host,
    create_container_may_change_the_root,
    create_container_mounts_are_seen_by_the_process,
    start_container_sees_the_container,
    start_container_path_is_of_the_container,
    start_container_runs_before_the_process,
    poststart_runs_after_the_process_started,
    poststop_runs_after_the_container_is_gone,
    poststop_runs_for_delete_force,
    a_hook_that_reads_no_input,
    a_hook_that_leaves_a_child_behind,
    a_hook_that_prints_much,
    the_output_of_hooks_does_not_reach_the_container,
    the_working_directory_is_not_the_image,
    hooks_get_no_descriptors,
    a_hook_may_kill_the_container,
    poststop_does_not_need_the_bundle,
    an_unknown_list_is_ignored,
    empty_lists_are_fine,
    a_slow_hook_does_not_block_state,
    output_goes_to_the_files_of_annotations: [Need::Runtime("aril")],
    one_file_of_output_and_the_error_tells_the_rest: [Need::Runtime("aril")],
    a_file_of_output_that_cannot_be_is_an_error: [Need::Runtime("aril")],
];

const FIRST: [&str; 3] = ["prestart", "createRuntime", "createContainer"];
const ALL: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
const HOST: [&str; 5] = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];

/// A file to which hooks write, and that the container sees at /log.
fn log(t: &Case, b: &Bundle) -> PathBuf {
    let dir = t.mkdir("log");
    let path = dir.join("log");
    write(&path, "");
    b.bind(&dir, "/log", &["rbind"]);
    path
}

/// All six hooks, each of which writes its name.
fn all_six(t: &Case, script: &str) -> (Bundle, PathBuf) {
    let b = t.bundle_sh(script);
    let path = log(t, &b);
    for when in HOST {
        b.hook_sh(when, &format!("echo {when} >> {}", path.display()));
    }
    b.hook("startContainer", json!({"path": "/bin/sh", "args": ["sh", "-c", "echo startContainer >> /log/log"]}));
    (b, path)
}

fn lines(path: &PathBuf) -> Vec<String> {
    read(path).lines().map(str::to_owned).collect()
}

fn run_in_order(t: &Case) {
    let (b, path) = all_six(t, "echo process >> /log/log; sleep 100");
    let c = t.create(&b);
    assert_eq!(lines(&path), FIRST);
    c.start();
    eventually("the process and poststart", || (lines(&path).len() == 6).then_some(()));
    assert_eq!(lines(&path)[3], "startContainer");
    // The process and poststart run at once; that it has been started comes first.
    let mut two = lines(&path)[4..].to_vec();
    two.sort();
    assert_eq!(two, ["poststart", "process"]);
    c.kill("KILL").wait_for("stopped").delete();
    assert_eq!(lines(&path).last().unwrap(), "poststop");
}

fn hooks_of_one_list_run_in_order(t: &Case) {
    let b = t.bundle_sh("exit 0");
    let path = log(t, &b);
    for when in HOST {
        for n in 1..=3 {
            b.hook_sh(when, &format!("echo {when}{n} >> {}", path.display()));
        }
    }
    t.started(&b).wait_for("stopped").delete();
    let want: Vec<_> = HOST.iter().flat_map(|when| (1..=3).map(move |n| format!("{when}{n}"))).collect();
    assert_eq!(lines(&path), want);
}

fn create_runs_the_first_three(t: &Case) {
    let (b, path) = all_six(t, "exit 0");
    let c = t.create(&b);
    assert_eq!(lines(&path), FIRST);
    drop(c);
}

fn start_runs_start_container_and_poststart(t: &Case) {
    let (b, path) = all_six(t, "sleep 100");
    let c = t.create(&b);
    c.start();
    assert_eq!(lines(&path)[3..], ["startContainer", "poststart"]);
}

fn delete_runs_poststop(t: &Case) {
    let (b, path) = all_six(t, "exit 0");
    let c = t.started(&b);
    c.wait_for("stopped");
    assert_eq!(lines(&path).len(), 5);
    c.delete();
    assert_eq!(lines(&path)[5..], ["poststop"]);
}

fn run_runs_all(t: &Case) {
    let (b, path) = all_six(t, "exit 0");
    t.run_call(&[], &b).run().ok();
    assert_eq!(lines(&path), [&FIRST as &[_], &["startContainer", "poststart", "poststop"]].concat());
}

/// The states that the hooks found, by the name of the list.
fn states(t: &Case, change: impl FnOnce(&Bundle)) -> (Vec<(String, Value)>, i32, Bundle) {
    let b = t.bundle_sh("sleep 100");
    log(t, &b);
    let dir = t.path("log");
    for when in HOST {
        b.hook_sh(when, &format!("cat > {}/{when}", dir.display()));
    }
    b.hook("startContainer", json!({"path": "/bin/sh", "args": ["sh", "-c", "cat > /log/startContainer"]}));
    change(&b);
    let c = t.started(&b);
    let pid = c.pid();
    c.kill("KILL").wait_for("stopped").delete();
    let names = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    let found = names.map(|when| {
        let text = read(dir.join(when));
        (when.to_owned(), serde_json::from_str(&text).unwrap_or_else(|e| panic!("{when}: {e}: {text}")))
    });
    (found.to_vec(), pid, b)
}

fn the_state_is_on_standard_input(t: &Case) {
    let (states, _, b) = states(t, |_| ());
    for (when, state) in states {
        assert_eq!(state["id"], b.id(), "{when}: {state}");
        assert!(state["ociVersion"].is_string(), "{when}: {state}");
    }
}

fn the_status_in_the_state_is_right(t: &Case) {
    let (states, ..) = states(t, |_| ());
    let found: Vec<_> = states.iter().map(|(when, state)| format!("{when} {}", state["status"].as_str().unwrap_or("none"))).collect();
    // The specification leaves it open for prestart: after the environment was created, and before create is finished.
    assert!(["prestart creating", "prestart created"].contains(&found[0].as_str()), "{found:?}");
    let want = ["createRuntime creating", "createContainer creating", "startContainer created", "poststart running", "poststop stopped"];
    assert_eq!(found[1..], want);
}

fn the_state_has_annotations_and_bundle(t: &Case) {
    let (states, _, b) = states(t, |b| {
        b.edit(|c| c["annotations"] = json!({"org.example": "value"}));
    });
    for (when, state) in states {
        assert_eq!(state["annotations"]["org.example"], "value", "{when}: {state}");
        assert_eq!(state["bundle"], b.dir().display().to_string(), "{when}: {state}");
    }
}

fn the_pid_in_the_state_is_the_containers(t: &Case) {
    let (states, pid, _) = states(t, |_| ());
    for (when, state) in states {
        match when.as_str() {
            // For a hook in the container's namespaces, as these see it.
            "createContainer" | "startContainer" => assert_eq!(state["pid"], 1, "{when}: {state}"),
            "poststop" => assert!(state["pid"].is_null() || state["pid"] == 0, "{when}: {state}"),
            _ => assert_eq!(state["pid"], pid, "{when}: {state}"),
        }
    }
}

fn environments(t: &Case, env: Option<Value>) -> Vec<(String, String)> {
    let b = t.bundle_sh("exit 0");
    log(t, &b);
    let dir = t.path("log");
    b.edit(|c| c["process"]["env"] = json!(["PATH=/bin", "LD_PRELOAD=/evil.so", "OF_THE_PROCESS=1"]));
    for when in HOST {
        // A shell would add to it.
        let mut hook =
            json!({"path": "/bin/dd", "args": ["dd", "if=/proc/self/environ", format!("of={}/{when}", dir.display()), "status=none"]});
        if let Some(env) = &env {
            hook["env"] = env.clone();
        }
        b.hook(when, hook);
    }
    let output = t.run_call(&[], &b).env("OF_THE_CALLER", "1").run();
    output.ok();
    HOST.map(|when| (when.to_owned(), read(dir.join(when)))).to_vec()
}

fn the_environment_is_exactly_that_of_the_hook(t: &Case) {
    for (when, text) in environments(t, Some(json!(["A=1", "EMPTY=", "B=two words"]))) {
        assert_eq!(text, "A=1\0EMPTY=\0B=two words\0", "{when}");
    }
}

fn the_environment_is_empty_when_absent(t: &Case) {
    for (when, text) in environments(t, None) {
        let keys: Vec<_> = text.split('\0').filter_map(|word| word.split('=').next()).filter(|key| !key.is_empty()).collect();
        assert!(keys.is_empty(), "{when} found {} variables: {:?}", keys.len(), &keys[..keys.len().min(5)]);
    }
}

/// CVE-2025-23266.
fn the_process_environment_does_not_reach_hooks_of_the_runtime(t: &Case) {
    for env in [None, Some(json!([])), Some(json!(["A=1"]))] {
        for (when, text) in environments(t, env) {
            assert!(
                !text.contains("LD_PRELOAD") && !text.contains("OF_THE_PROCESS") && !text.contains("OF_THE_CALLER"),
                "{when} found one of them"
            );
        }
    }
}

fn args_are_exactly_those_of_the_hook(t: &Case) {
    let b = t.bundle_sh("exit 0");
    let path = log(t, &b);
    b.hook("createRuntime", json!({"path": "/bin/sh", "args": ["other-name", "-c", format!("printf '[%s]' \"$0\" \"$@\" > {}", path.display()), "zero", "", "a b"]}));
    t.run(&b).ok();
    assert_eq!(read(&path), "[zero][][a b]");
}

fn args_absent_are_the_path(t: &Case) {
    let b = t.bundle_sh("exit 0");
    let path = log(t, &b);
    let script = t.path("hook");
    write(&script, format!("#!/bin/sh\necho \"$0 $#\" > {}\n", path.display()));
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    b.hook("createRuntime", json!({"path": script}));
    t.run(&b).ok();
    assert_eq!(read(&path), format!("{} 0\n", script.display()));
}

fn a_relative_path_is_refused(t: &Case) {
    for when in ALL {
        let b = t.bundle();
        b.hook(when, json!({"path": "bin/true"}));
        t.refused(&b);
    }
}

fn an_absent_path_is_refused(t: &Case) {
    for when in ALL {
        let b = t.bundle();
        b.hook(when, json!({"args": ["x"]}));
        t.refused(&b);
    }
}

fn a_missing_program_fails(t: &Case) {
    let b = t.bundle();
    b.hook("createRuntime", json!({"path": "/no/such/hook"}));
    assert_has(&t.refused(&b), "/no/such/hook");
}

fn a_timeout_ends_the_hook_and_fails(t: &Case) {
    for when in FIRST {
        let b = t.bundle();
        b.hook(when, json!({"path": "/bin/sleep", "args": ["sleep", "300"], "timeout": 1}));
        t.refused(&b);
    }
}

fn a_timeout_that_is_not_reached_does_no_harm(t: &Case) {
    let b = t.bundle_sh("exit 0");
    b.hook("createRuntime", json!({"path": "/bin/true", "timeout": 600}));
    t.run(&b).ok();
}

fn a_timeout_of_zero_or_less_is_refused(t: &Case) {
    for (when, timeout) in ALL.into_iter().flat_map(|when| [(when, 0), (when, -1)]) {
        let b = t.bundle();
        b.hook(when, json!({"path": "/bin/true", "timeout": timeout}));
        t.refused(&b);
    }
}

/// The container of a bundle with all six hooks, of which one list fails; what `create` and `start` came to, and what was logged in all.
fn failing(t: &Case, when: &str) -> (Output, Option<Output>, Vec<String>) {
    let (b, path) = all_six(t, "echo process >> /log/log; sleep 100");
    let program = "echo said >&2; exit 3";
    b.hook(when, json!({"path": "/bin/sh", "args": ["sh", "-c", program]}));
    let c = Container::of(t, &b);
    let create = t.create_call(&[], &b).run();
    if create.code() != 0 {
        let known = c.known();
        drop(c);
        let got = lines(&path);
        assert!(!known, "a failed create left a container");
        return (create, None, got);
    }
    let start = c.call("start", &[], &[]).run();
    if start.code() != 0 {
        eventually("the container is stopped or gone", || (!c.known() || c.status() == "stopped").then_some(()));
    }
    if c.known() {
        c.delete_force().ok();
    }
    (create, Some(start), lines(&path))
}

fn failure_of(t: &Case, when: &str, before: &[&str]) {
    let (create, start, log) = failing(t, when);
    match start {
        None => drop(create.refused().to_owned()),
        Some(start) => drop(start.refused().to_owned()),
    }
    let log: Vec<_> = log.into_iter().filter(|line| line != "process").collect();
    assert_eq!(log, [before, &["poststop"]].concat(), "what ran");
}

fn failure_of_prestart(t: &Case) {
    failure_of(t, "prestart", &["prestart"]);
}

fn failure_of_create_runtime(t: &Case) {
    failure_of(t, "createRuntime", &["prestart", "createRuntime"]);
}

fn failure_of_create_container(t: &Case) {
    failure_of(t, "createContainer", &FIRST);
}

fn failure_of_start_container(t: &Case) {
    let (_, start, log) = failing(t, "startContainer");
    start.expect("create is fine").refused();
    assert!(!log.contains(&"process".to_owned()), "the process ran: {log:?}");
    assert!(!log.contains(&"poststart".to_owned()), "poststart ran: {log:?}");
    assert_eq!(log.last().unwrap(), "poststop");
}

fn failure_of_poststart(t: &Case) {
    let (_, start, log) = failing(t, "poststart");
    start.expect("create is fine").refused();
    assert_eq!(log.last().unwrap(), "poststop");
}

fn failure_of_poststop_only_warns(t: &Case) {
    let b = t.bundle_sh("exit 0");
    let path = log(t, &b);
    b.hook_sh("poststop", &format!("echo one >> {}; echo said >&2; exit 3", path.display()));
    b.hook_sh("poststop", &format!("echo two >> {}", path.display()));
    let c = t.started(&b);
    let output = c.wait_for("stopped").call("delete", &[], &[]).run();
    output.ok();
    assert_has(&output.stderr, "said");
    assert_eq!(lines(&path), ["one", "two"]);
    assert!(!c.known());
}

fn failure_shows_what_the_hook_said(t: &Case) {
    let b = t.bundle();
    b.hook_sh("createRuntime", "echo 'the reason' >&2; exit 3");
    assert_has(&t.refused(&b), "the reason");
}

fn failure_shows_the_exit_status(t: &Case) {
    let b = t.bundle();
    b.hook_sh("createRuntime", "exit 37");
    assert_has(&t.refused(&b), "37");
}

fn a_hook_killed_by_a_signal_fails(t: &Case) {
    let b = t.bundle();
    b.hook_sh("createRuntime", "kill -9 $$");
    t.refused(&b);
}

fn failure_ends_the_list(t: &Case) {
    let b = t.bundle();
    let path = log(t, &b);
    b.hook_sh("createRuntime", "exit 1");
    b.hook_sh("createRuntime", &format!("echo second >> {}", path.display()));
    b.hook_sh("createContainer", &format!("echo third >> {}", path.display()));
    t.refused(&b);
    assert_eq!(read(&path), "");
}

fn failure_of_create_leaves_nothing_but_poststop(t: &Case) {
    let b = t.bundle();
    let path = log(t, &b);
    b.hook_sh("poststop", &format!("echo poststop >> {}", path.display()));
    b.args(&["/no/such/program"]);
    t.refused(&b);
    // Whether poststop runs when no hook had run before is the runtime's choice, but never twice.
    assert!(lines(&path).len() <= 1);
}

/// The namespaces in which a hook ran, and those of the container's process.
fn namespaces(t: &Case, when: &str) -> (Vec<String>, Vec<String>) {
    let b = t.bundle_sh("for n in mnt pid net ipc uts; do readlink /proc/self/ns/$n; done > /log/process; sleep 100");
    let path = log(t, &b);
    let script = "for n in mnt pid net ipc uts; do readlink /proc/self/ns/$n; done";
    if when == "startContainer" {
        b.hook("startContainer", json!({"path": "/bin/sh", "args": ["sh", "-c", format!("{script} > /log/log")], "env": ["PATH=/bin"]}));
    } else {
        b.hook_sh(when, &format!("{script} > {}", path.display()));
    }
    let c = t.started(&b);
    let process = path.parent().unwrap().join("process");
    eventually("the process has looked", || (present(&process) && lines(&process).len() == 5).then_some(()));
    c.kill("KILL").wait_for("stopped").delete();
    (lines(&path), lines(&process))
}

fn own() -> Vec<String> {
    ["mnt", "pid", "net", "ipc", "uts"].iter().map(|n| fs::read_link(format!("/proc/self/ns/{n}")).unwrap().display().to_string()).collect()
}

fn namespaces_of_create_runtime(t: &Case) {
    for when in ["prestart", "createRuntime"] {
        assert_eq!(namespaces(t, when).0, own(), "{when}");
    }
}

fn namespaces_of_create_container(t: &Case) {
    let (hook, process) = namespaces(t, "createContainer");
    assert_eq!(hook[0], process[0], "the mount namespace is the container's");
    assert_eq!(hook[2..], process[2..], "and so are the others");
}

fn namespaces_of_start_container(t: &Case) {
    let (hook, process) = namespaces(t, "startContainer");
    assert_eq!(hook, process);
}

fn namespaces_of_poststart_and_poststop(t: &Case) {
    for when in ["poststart", "poststop"] {
        assert_eq!(namespaces(t, when).0, own(), "{when}");
    }
}

fn create_runtime_sees_the_host_tree(t: &Case) {
    for when in ["prestart", "createRuntime"] {
        let b = t.bundle_sh("exit 0");
        let path = log(t, &b);
        b.hook_sh(
            when,
            &format!(
                "test -e {} && test -e {} && echo host > {}",
                b.dir().join("config.json").display(),
                b.root("/bin/busybox").display(),
                path.display()
            ),
        );
        t.run(&b).ok();
        assert_eq!(read(&path), "host\n", "{when}");
    }
}

fn create_runtime_can_reach_the_containers_network(t: &Case) {
    // As Docker's: a hook in the runtime's namespaces that changes the container's by its pid.
    for when in ["prestart", "createRuntime"] {
        let b = t.bundle_sh("cat /proc/sys/net/ipv4/ip_forward");
        b.hook_sh(when, "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/' | tr -d '\\n'); nsenter -t $pid -n sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'");
        b.edit(|c| c["linux"]["readonlyPaths"] = json!([]));
        assert_eq!(t.run(&b).ok(), "1\n", "{when}");
    }
}

const PID: &str = "pid=$(tr -d '\\n' | sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')";

fn create_runtime_finds_the_mounts_standing(t: &Case) {
    // NVIDIA's changes the root file system in the container's mount namespace.
    let b = t.bundle_sh("exit 0");
    let path = log(t, &b);
    b.hook_sh("createRuntime", &format!("{PID}; cat /proc/$pid/mountinfo > {}", path.display()));
    t.run(&b).ok();
    assert_has(&read(&path), " - mqueue ");
    assert_has(&read(&path), "/bundle-1/rootfs/proc ");
}

fn create_runtime_finds_the_cgroup_joined(t: &Case) {
    let b = t.bundle_sh("exit 0");
    let path = log(t, &b);
    b.hook_sh("createRuntime", &format!("{PID}; cat /proc/$pid/cgroup > {}", path.display()));
    t.run(&b).ok();
    assert_has(&read(&path), &format!("{}/{}", t.cgroup(), b.id()));
}

fn paths_of_hooks_are_of_the_host(t: &Case) {
    // The program is there in the runtime's tree alone.
    let b = t.bundle_sh("exit 0");
    let path = log(t, &b);
    let script = t.path("hook");
    write(&script, format!("#!/bin/sh\necho \"$1\" >> {}\n", path.display()));
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for when in HOST {
        b.hook(when, json!({"path": script, "args": ["hook", when]}));
    }
    t.run(&b).ok();
    assert_eq!(lines(&path), HOST);
}

fn create_container_may_change_the_root(t: &Case) {
    let b = t.bundle_sh("cat /added");
    b.hook_sh("createContainer", &format!("echo by-hook > {}", b.root("/added").display()));
    assert_eq!(t.run(&b).ok(), "by-hook\n");
}

fn create_container_mounts_are_seen_by_the_process(t: &Case) {
    let b = t.bundle_sh("ls /mnt; grep -c ' /mnt ' /proc/self/mountinfo");
    b.hook_sh("createContainer", &format!("mount -t tmpfs hook {0} && touch {0}/mounted", b.root("/mnt").display()));
    assert_eq!(t.run(&b).ok(), "mounted\n1\n");
    assert_lacks(&read("/proc/self/mountinfo"), b.dir().to_str().unwrap());
}

fn start_container_sees_the_container(t: &Case) {
    let b = t.bundle_sh("exit 0");
    let path = log(t, &b);
    let script =
        "exec > /log/log; hostname; ls /bin/probe; ls / | grep -c -e work -e boot; cat /proc/self/mountinfo | cut -d ' ' -f 5 | head -1";
    b.hook("startContainer", json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"]}));
    t.run(&b).ok();
    assert_eq!(read(&path), "conformance\n/bin/probe\n0\n/\n");
}

fn start_container_path_is_of_the_container(t: &Case) {
    let b = t.bundle_sh("exit 0");
    let path = log(t, &b);
    write(b.root("/only-inside"), "#!/bin/sh\necho inside > /log/log\n");
    fs::set_permissions(b.root("/only-inside"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    b.hook("startContainer", json!({"path": "/only-inside"}));
    t.run(&b).ok();
    assert_eq!(read(&path), "inside\n");
}

fn start_container_runs_before_the_process(t: &Case) {
    let b = t.bundle_sh("cat /log/log");
    log(t, &b);
    b.hook("startContainer", json!({"path": "/bin/sh", "args": ["sh", "-c", "sleep 0.2; echo before > /log/log"], "env": ["PATH=/bin"]}));
    assert_eq!(t.run(&b).ok(), "before\n");
}

fn poststart_runs_after_the_process_started(t: &Case) {
    let b = t.bundle();
    b.args(&["sleep", "277"]);
    let path = log(t, &b);
    b.hook_sh("poststart", &format!("{PID}; tr '\\0' ' ' < /proc/$pid/cmdline > {}", path.display()));
    let c = t.started(&b);
    assert_eq!(read(&path), "sleep 277 ");
    drop(c);
}

fn poststop_runs_after_the_container_is_gone(t: &Case) {
    let b = t.bundle_sh("sleep 100");
    let path = log(t, &b);
    let cgroup = t.environment.cgroup("pids", &format!("{}/{}", t.cgroup(), b.id()));
    b.hook_sh("poststop", &format!("test -e {} && echo cgroup; echo ran; cat > /dev/null", cgroup.display()));
    b.hook_sh("poststop", &format!("test -e {} || echo gone > {}", cgroup.display(), path.display()));
    let c = t.started(&b);
    c.delete_force().ok();
    assert_eq!(read(&path), "gone\n");
}

fn poststop_runs_for_delete_force(t: &Case) {
    let (b, path) = all_six(t, "sleep 100");
    t.started(&b).delete_force().ok();
    assert_eq!(lines(&path).iter().filter(|l| *l == "poststop").count(), 1);
}

fn a_hook_that_reads_no_input(t: &Case) {
    let b = t.bundle_sh("exit 0");
    // A state that is larger than a pipe's buffer.
    b.edit(|c| c["annotations"] = json!({"large": "x".repeat(200_000)}));
    for when in HOST {
        b.hook(when, json!({"path": "/bin/true"}));
    }
    t.run(&b).ok();
}

fn a_hook_that_leaves_a_child_behind(t: &Case) {
    // The child holds what the hook was given; the runtime waits for the hook alone.
    let b = t.bundle_sh("exit 0");
    let path = log(t, &b);
    b.hook_sh("createRuntime", &format!("sleep 300 & echo $! > {}", path.display()));
    let output = t.run_call(&[], &b).run();
    let pid: i32 = read(&path).trim().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    output.ok();
}

fn a_hook_that_prints_much(t: &Case) {
    let b = t.bundle_sh("echo fine");
    b.hook_sh("createRuntime", "dd if=/dev/zero bs=1024 count=1000 2>/dev/null; dd if=/dev/zero bs=1024 count=1000 >&2 2>/dev/null");
    assert_eq!(t.run(&b).ok(), "fine\n");
}

fn the_output_of_hooks_does_not_reach_the_container(t: &Case) {
    let b = t.bundle_sh("echo fine");
    for when in HOST {
        b.hook_sh(when, "echo noise");
    }
    assert_eq!(t.run(&b).ok(), "fine\n");
}

fn the_working_directory_is_not_the_image(t: &Case) {
    for when in HOST {
        let b = t.bundle_sh("exit 0");
        let path = log(t, &b);
        b.hook_sh(when, &format!("pwd > {}", path.display()));
        t.run_call(&[], &b).cwd(t.dir()).run().ok();
        let cwd = read(&path);
        assert!(!cwd.contains("rootfs"), "{when}: {cwd}");
    }
}

fn hooks_get_no_descriptors(t: &Case) {
    for when in HOST {
        let b = t.bundle_sh("exit 0");
        let path = log(t, &b);
        b.hook_sh(when, &format!("exec {} fds > {}", t.environment.dir.join("probe").display(), path.display()));
        t.run(&b).ok();
        let fds: Vec<_> = lines(&path).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(fds, ["0", "1", "2"], "{when}:\n{}", read(&path));
    }
}

fn a_hook_may_kill_the_container(t: &Case) {
    let b = t.bundle();
    b.hook_sh("createRuntime", &format!("{PID}; kill -9 $pid"));
    t.refused(&b);
}

fn poststop_does_not_need_the_bundle(t: &Case) {
    let (b, path) = all_six(t, "exit 0");
    let c = t.started(&b);
    c.wait_for("stopped");
    fs::remove_file(b.dir().join("config.json")).unwrap();
    c.delete();
    assert_eq!(lines(&path).last().unwrap(), "poststop");
}

fn an_unknown_list_is_ignored(t: &Case) {
    let b = t.bundle_sh("exit 0");
    b.hook("afterLunch", json!({"path": "/no/such/hook"}));
    t.run(&b).ok();
}

fn empty_lists_are_fine(t: &Case) {
    let b = t.bundle_sh("exit 0");
    b.edit(|c| c["hooks"] = json!({"prestart": [], "createRuntime": [], "poststop": []}));
    t.run(&b).ok();
    b.edit(|c| c["hooks"] = json!({}));
    t.run(&b).ok();
}

fn a_slow_hook_does_not_block_state(t: &Case) {
    let b = t.bundle();
    let (path, go) = (t.path("in-hook"), t.path("go"));
    b.hook_sh("createRuntime", &format!("touch {}; while ! test -e {}; do sleep 0.02; done", path.display(), go.display()));
    let c = Container::of(t, &b);
    let mut create = t.create_call(&[], &b).spawn(Stdio::null(), Stdio::null(), Stdio::null());
    eventually("the hook runs", || present(&path).then_some(()));
    let state = c.call("state", &[], &[]).run();
    if state.code() == 0 {
        assert_eq!(state.json()["status"], "creating");
    }
    t.rt(&["list"]).run().ok();
    write(&go, "");
    assert!(runtime::wait(&mut create, patience()).expect("create ends").success());
    assert_eq!(c.status(), "created");
}

/// All six hooks, each of which writes its name to standard output, and in capitals to standard error.
fn all_six_speak(b: &Bundle) {
    for when in ALL {
        let script = format!("echo {when}; echo {} >&2", when.to_uppercase());
        b.hook(when, json!({"path": "/bin/sh", "args": ["sh", "-c", script]}));
    }
}

fn output_goes_to_the_files_of_annotations(t: &Case) {
    let b = t.bundle_sh("probe fds");
    all_six_speak(&b);
    let (stdout, stderr) = (t.path("stdout"), b.dir().join("stderr"));
    write(&stdout, "before\n");
    b.edit(|c| {
        c["annotations"]["run.oci.hooks.stdout"] = json!(stdout);
        c["annotations"]["run.oci.hooks.stderr"] = json!("stderr");
    });
    let container = t.create(&b);
    assert_eq!(lines(&stdout), [&["before"][..], &FIRST].concat(), "they are appended");
    container.start();
    container.wait_for("stopped").delete();
    assert_eq!(lines(&stdout), [&["before"][..], &ALL].concat());
    assert_eq!(lines(&stderr), ALL.map(str::to_uppercase), "a relative path is meant from the bundle");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&stderr).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    write(&stdout, "");
    assert_lacks(t.run(&b).ok(), "stdout");
    assert_eq!(lines(&stdout), ALL, "run does so, too");
}

fn one_file_of_output_and_the_error_tells_the_rest(t: &Case) {
    for when in ["createRuntime", "createContainer", "startContainer"] {
        let b = t.bundle();
        b.hook(when, json!({"path": "/bin/sh", "args": ["sh", "-c", "echo to the file; echo the reason >&2; exit 3"]}));
        let stdout = t.path(when);
        b.edit(|c| c["annotations"]["run.oci.hooks.stdout"] = json!(stdout));
        let _container = Container::of(t, &b);
        let text = t.run_call(&[], &b).run().refused().to_owned();
        assert_has(&text, "the reason");
        assert_lacks(&text, "to the file");
        assert_eq!(read(&stdout), "to the file\n");
    }
}

fn a_file_of_output_that_cannot_be_is_an_error(t: &Case) {
    for when in ["createRuntime", "createContainer", "startContainer"] {
        let b = t.bundle();
        b.hook_sh(when, "exit 0");
        b.edit(|c| c["annotations"]["run.oci.hooks.stderr"] = json!(t.path("none/file")));
        let text = t.refused(&b).to_lowercase();
        assert_has(&text, "no such file or directory");
        assert_has(&text, "none/file");
    }
}
