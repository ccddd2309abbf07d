//! runtime.md: the operations and the life cycle.

use crate::support::*;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

pub const TESTS: &[Test] = suite![
    create_then_start_then_delete,
    create_does_not_run_the_process,
    start_runs_the_process,
    run_gives_the_exit_status,
    run_gives_128_plus_the_signal,
    run_of_a_killed_container_gives_137,
    run_detached_returns_at_once,
    run_removes_the_container,
    run_keep_leaves_it_stopped,
    run_passes_standard_input_on,
    run_passes_much_output_on,
    run_forwards_signals,
    an_id_in_use_is_refused,
    one_of_many_creates_of_an_id_wins,
    an_id_is_free_after_delete,
    an_id_is_free_after_a_refused_create,
    other_state_roots_are_other_containers,
    start_of_a_running_container_is_refused,
    start_of_a_stopped_container_is_refused,
    start_of_a_container_killed_in_created_is_refused,
    start_of_a_missing_container_is_refused,
    start_without_a_process_is_refused: [Need::Runtime("aril")],
    a_configuration_without_linux: [Need::Runtime("aril")],
    start_returns_before_the_process_ends,
    delete_of_a_running_container_is_refused,
    delete_of_a_created_container_is_refused,
    delete_of_a_missing_container_is_refused,
    delete_twice_is_refused,
    delete_force_of_a_missing_container_is_fine,
    delete_force_of_a_running_container,
    delete_force_of_a_created_container,
    delete_force_of_a_stopped_container,
    delete_force_ends_what_ignores_signals,
    delete_force_ends_all_without_a_pid_namespace,
    delete_needs_no_bundle,
    kill_of_a_created_container,
    kill_defaults_to_term,
    kill_of_a_stopped_container_is_refused,
    kill_of_a_missing_container_is_refused,
    a_signal_reaches_init_alone,
    every_operation_needs_an_id,
    valid_ids_are_taken,
    invalid_ids_are_refused,
    changes_of_the_configuration_after_create_have_no_effect,
    the_bundle_is_the_working_directory_by_default,
    a_relative_bundle_is_taken,
    a_bundle_without_configuration_is_refused,
    a_missing_bundle_is_refused,
    a_container_that_ends_at_once_is_stopped,
    a_container_outlives_the_runtime,
    the_root_file_system_is_left_as_it_was,
    containers_at_once,
];

/// A script that says that it runs, ends with 7 at TERM, and otherwise waits.
const WAITS: &str = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done";

fn create_then_start_then_delete(t: &Case) {
    let c = t.create(&t.bundle_sh("echo hello"));
    assert_eq!(c.status(), "created");
    c.start().wait_for("stopped");
    c.delete();
    assert!(!c.known());
}

fn create_does_not_run_the_process(t: &Case) {
    let shared = t.mkdir("shared");
    let b = t.bundle_sh("touch /mnt/ran");
    b.bind(&shared, "/mnt", &["rbind"]);
    let c = t.create(&b);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(c.status(), "created");
    assert!(!present(shared.join("ran")), "create ran the process");
}

fn start_runs_the_process(t: &Case) {
    let shared = t.mkdir("shared");
    let b = t.bundle_sh("touch /mnt/ran; sleep 100");
    b.bind(&shared, "/mnt", &["rbind"]);
    let c = t.started(&b);
    eventually("the process runs", || present(shared.join("ran")).then_some(()));
    assert_eq!(c.status(), "running");
}

fn run_gives_the_exit_status(t: &Case) {
    for code in [0, 1, 2, 42, 126, 127, 128, 137, 255] {
        let output = t.run(&t.bundle_sh(&format!("exit {code}")));
        assert_eq!(output.code(), code, "{}", output.stderr);
    }
}

fn run_gives_128_plus_the_signal(t: &Case) {
    for (signal, code) in [("TERM", 143), ("KILL", 137), ("SEGV", 139), ("HUP", 129)] {
        let b = t.bundle_sh(&format!("kill -{signal} $$; sleep 100"));
        // The first process of a pid namespace is deaf to its own signals.
        b.leave_namespace("pid");
        assert_eq!(t.run(&b).code(), code, "after SIG{signal}");
    }
}

fn run_of_a_killed_container_gives_137(t: &Case) {
    let b = t.bundle();
    let c = Container::of(t, &b);
    let mut run = t.run_call(&[], &b).spawn(Stdio::null(), Stdio::null(), Stdio::null());
    eventually("the container runs", || (c.known() && c.status() == "running").then_some(()));
    c.kill("KILL");
    let status = runtime::wait(&mut run, patience()).expect("run ends");
    assert_eq!(status.code(), Some(137));
}

fn run_detached_returns_at_once(t: &Case) {
    let b = t.bundle();
    let c = Container::of(t, &b);
    t.run_call(&["--detach"], &b).run().ok();
    assert_eq!(c.status(), "running");
}

fn run_removes_the_container(t: &Case) {
    let b = t.bundle_sh("exit 3");
    assert_eq!(t.run_call(&[], &b).run().code(), 3);
    assert!(!Container::of(t, &b).known());
    assert_eq!(fs::read_dir(t.state_root()).unwrap().count(), 0, "run left its state");
}

fn run_keep_leaves_it_stopped(t: &Case) {
    let b = t.bundle_sh("exit 3");
    let c = Container::of(t, &b);
    let output = t.run_call(&["--keep"], &b).run();
    assert_eq!(output.code(), 3, "{}", output.stderr);
    assert_eq!(c.status(), "stopped");
    c.delete();
}

fn run_passes_standard_input_on(t: &Case) {
    let b = t.bundle_sh("read line; echo \"got $line\"; wc -c");
    let output = t.run_call(&[], &b).stdin("first\nand 11 more").run();
    assert_eq!(output.ok(), "got first\n11\n");
}

fn run_passes_much_output_on(t: &Case) {
    let output = t.run(&t.bundle_sh("dd if=/dev/zero bs=1024 count=2048 2>/dev/null | tr '\\0' x; echo err >&2"));
    assert_eq!(output.ok().len(), 2 << 20);
    assert_eq!(output.stderr, "err\n");
}

fn run_forwards_signals(t: &Case) {
    let b = t.bundle_sh(WAITS);
    let c = Container::of(t, &b);
    let out = t.path("out");
    let mut run = t.run_call(&[], &b).spawn(Stdio::null(), fs::File::create(&out).unwrap().into(), Stdio::null());
    eventually("the script runs", || read(&out).contains("ready").then_some(()));
    let pid = rustix::process::Pid::from_raw(i32::try_from(run.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = runtime::wait(&mut run, patience()).expect("run ends");
    assert_eq!(status.code(), Some(7), "the script's own handler must see SIGTERM");
    drop(c);
}

fn an_id_in_use_is_refused(t: &Case) {
    let b = t.bundle();
    let c = t.started(&b);
    let pid = c.pid();
    assert_has(t.create_call(&[], &b).run().refused(), "exist");
    assert_has(t.run_call(&[], &b).run().refused(), "exist");
    assert_eq!((c.status().as_str(), c.pid()), ("running", pid), "the first is as it was");
}

fn one_of_many_creates_of_an_id_wins(t: &Case) {
    let b = t.bundle();
    let _guard = Container::of(t, &b);
    let mut calls: Vec<_> = (0..8).map(|_| t.create_call(&[], &b).spawn(Stdio::null(), Stdio::null(), Stdio::null())).collect();
    let codes: Vec<_> = calls.iter_mut().map(|call| runtime::wait(call, patience()).expect("create ends").code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    assert_eq!(Container::of(t, &b).status(), "created");
}

fn an_id_is_free_after_delete(t: &Case) {
    let b = t.bundle_sh("exit 0");
    for _ in 0..3 {
        let c = t.started(&b);
        c.wait_for("stopped").delete();
    }
}

fn an_id_is_free_after_a_refused_create(t: &Case) {
    let b = t.bundle();
    b.args(&["/no/such/program"]);
    t.refused(&b);
    b.sh("exit 0");
    t.started(&b).wait_for("stopped").delete();
}

fn other_state_roots_are_other_containers(t: &Case) {
    let (b, other) = (t.bundle(), t.mkdir("root"));
    let c = t.create(&b);
    let there = |words: &[&str]| t.rt(words).without_root().globals(["--root".to_owned(), other.display().to_string()]).run();
    there(&["state", &c.id]).refused();
    assert_has(there(&["list", "--format", "json"]).ok(), "");
    assert_lacks(there(&["list", "-q"]).ok(), &c.id);
    there(&["kill", &c.id, "KILL"]).refused();
    assert_eq!(c.status(), "created");
}

fn start_of_a_running_container_is_refused(t: &Case) {
    let c = t.started(&t.bundle());
    assert_has(c.call("start", &[], &[]).run().refused(), "running");
    assert_eq!(c.status(), "running");
}

fn start_of_a_stopped_container_is_refused(t: &Case) {
    let c = t.started(&t.bundle_sh("exit 0"));
    c.wait_for("stopped");
    assert_has(c.call("start", &[], &[]).run().refused(), "stopped");
    assert_eq!(c.status(), "stopped");
}

fn start_of_a_container_killed_in_created_is_refused(t: &Case) {
    let c = t.create(&t.bundle());
    c.kill("KILL").wait_for("stopped");
    assert_has(c.call("start", &[], &[]).run().refused(), "stopped");
    c.delete();
}

fn start_of_a_missing_container_is_refused(t: &Case) {
    assert_has(t.rt(&["start", "nobody"]).run().refused(), "does not exist");
}

fn start_without_a_process_is_refused(t: &Case) {
    // "REQUIRED when start is called": it is created, and waits.
    let b = t.bundle();
    b.edit(|c| drop(c.as_object_mut().unwrap().remove("process")));
    let c = t.create(&b);
    assert_has(c.call("start", &[], &[]).run().refused(), "process");
    assert_eq!(c.status(), "created");
    c.kill("KILL").wait_for("stopped").delete();
    t.run_call(&[], &b).run().refused();
    assert!(!c.known());
}

fn a_configuration_without_linux(t: &Case) {
    // Every namespace is the caller's then; so nothing may be mounted, and no name be set.
    let b = t.bundle_sh("pwd; test -e /etc/passwd && ! test -e /proc/self && echo inside");
    b.edit(|c| {
        for field in ["linux", "mounts", "hostname"] {
            c.as_object_mut().unwrap().remove(field);
        }
    });
    assert_eq!(t.run(&b).ok(), "/\ninside\n");
}

fn start_returns_before_the_process_ends(t: &Case) {
    let c = t.create(&t.bundle());
    c.start();
    assert_eq!(c.status(), "running");
}

fn delete_of_a_running_container_is_refused(t: &Case) {
    let c = t.started(&t.bundle());
    assert_has(c.call("delete", &[], &[]).run().refused(), "stopped");
    assert_eq!(c.status(), "running");
}

fn delete_of_a_created_container_is_refused(t: &Case) {
    let c = t.create(&t.bundle());
    assert_has(c.call("delete", &[], &[]).run().refused(), "stopped");
    assert_eq!(c.status(), "created");
}

fn delete_of_a_missing_container_is_refused(t: &Case) {
    assert_has(t.rt(&["delete", "nobody"]).run().refused(), "does not exist");
}

fn delete_twice_is_refused(t: &Case) {
    let c = t.started(&t.bundle_sh("exit 0"));
    c.wait_for("stopped").delete();
    assert_has(c.call("delete", &[], &[]).run().refused(), "does not exist");
}

fn delete_force_of_a_missing_container_is_fine(t: &Case) {
    t.rt(&["delete", "--force", "nobody"]).run().ok();
    t.rt(&["delete", "-f", "nobody"]).run().ok();
}

fn delete_force_of_a_running_container(t: &Case) {
    let c = t.started(&t.bundle());
    let pid = c.pid();
    c.delete_force().ok();
    assert!(!c.known());
    eventually("the process is gone", || (!alive(pid)).then_some(()));
}

fn delete_force_of_a_created_container(t: &Case) {
    let c = t.create(&t.bundle());
    let pid = c.pid();
    c.delete_force().ok();
    assert!(!c.known());
    eventually("the process is gone", || (!alive(pid)).then_some(()));
}

fn delete_force_of_a_stopped_container(t: &Case) {
    let c = t.started(&t.bundle_sh("exit 0"));
    c.wait_for("stopped").delete_force().ok();
    assert!(!c.known());
}

fn delete_force_ends_what_ignores_signals(t: &Case) {
    let c = t.started(&t.bundle_sh("trap '' TERM INT HUP QUIT; while :; do sleep 1; done"));
    c.delete_force().ok();
}

fn delete_force_ends_all_without_a_pid_namespace(t: &Case) {
    let b = t.bundle_sh("sleep 300 & sleep 300 & setsid sleep 300 & echo $! ; sleep 300");
    b.leave_namespace("pid");
    let c = t.started(&b);
    let procs = t.environment.cgroup("pids", &format!("{}/{}", t.cgroup(), c.id)).join("cgroup.procs");
    eventually("four processes run", || (read(&procs).lines().count() >= 4).then_some(()));
    c.delete_force().ok();
}

fn delete_needs_no_bundle(t: &Case) {
    let b = t.bundle();
    let c = t.started(&b);
    fs::remove_file(b.dir().join("config.json")).unwrap();
    assert_eq!(c.status(), "running");
    c.kill("KILL").wait_for("stopped").delete();
}

fn kill_of_a_created_container(t: &Case) {
    let c = t.create(&t.bundle());
    c.kill("KILL").wait_for("stopped").delete();
}

fn kill_defaults_to_term(t: &Case) {
    let b = t.bundle_sh(WAITS);
    let c = Container::of(t, &b);
    let out = t.path("out");
    let mut run = t.run_call(&[], &b).spawn(Stdio::null(), fs::File::create(&out).unwrap().into(), Stdio::null());
    eventually("the script runs", || read(&out).contains("ready").then_some(()));
    c.call("kill", &[], &[]).run().ok();
    assert_eq!(runtime::wait(&mut run, patience()).expect("run ends").code(), Some(7));
}

fn kill_of_a_stopped_container_is_refused(t: &Case) {
    let c = t.started(&t.bundle_sh("exit 0"));
    c.wait_for("stopped");
    assert_has(c.call("kill", &[], &["KILL"]).run().refused(), "container not running");
    assert_eq!(c.status(), "stopped");
}

fn kill_of_a_missing_container_is_refused(t: &Case) {
    assert_has(t.rt(&["kill", "nobody", "KILL"]).run().refused(), "does not exist");
}

fn a_signal_reaches_init_alone(t: &Case) {
    let shared = t.mkdir("shared");
    let b = t.bundle_sh(
        "trap 'echo one >> /mnt/log' USR1; sh -c \"trap 'echo two >> /mnt/log' USR1; touch /mnt/ready; while :; do sleep 0.05; done\" & \
         while :; do wait; done",
    );
    b.bind(&shared, "/mnt", &["rbind"]);
    let c = t.started(&b);
    eventually("both wait", || present(shared.join("ready")).then_some(()));
    c.kill("USR1");
    eventually("init got it", || present(shared.join("log")).then_some(()));
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(read(shared.join("log")), "one\n");
}

fn every_operation_needs_an_id(t: &Case) {
    let b = t.bundle();
    for words in [
        &["create", "--bundle", b.dir().to_str().unwrap()] as &[&str],
        &["start"],
        &["state"],
        &["kill"],
        &["delete"],
        &["delete", "--force"],
    ] {
        t.rt(words).run().refused();
    }
    assert_eq!(fs::read_dir(t.state_root()).unwrap().count(), 0);
}

fn valid_ids_are_taken(t: &Case) {
    let b = t.bundle_sh("exit 0");
    for id in ["a", "A-b_c.d+e", "0", "_x", "+x", "a.b", "name..dots", &"x".repeat(200)] {
        let dir = b.dir().display().to_string();
        t.rt(&["run", "--bundle", &dir, id]).run().ok();
    }
}

fn invalid_ids_are_refused(t: &Case) {
    let b = t.bundle();
    let dir = b.dir().display().to_string();
    for id in ["", ".", "..", "a/b", "../x", "/x", "a b", "ä", "a\nb", "a:b", "a*", "a@b"] {
        let output = t.rt(&["create", "--bundle", &dir, id]).run();
        assert_ne!(output.code(), 0, "the id {id:?} was taken");
        t.rt(&["state", id]).run().refused();
        assert_ne!(t.rt(&["delete", id]).run().code(), 0, "delete of the id {id:?}");
    }
    assert_eq!(fs::read_dir(t.state_root()).unwrap().count(), 0, "a refused id left state");
    assert!(present(b.dir().join("config.json")));
}

fn changes_of_the_configuration_after_create_have_no_effect(t: &Case) {
    let shared = t.mkdir("shared");
    let b = t.bundle_sh("echo before > /mnt/out");
    b.bind(&shared, "/mnt", &["rbind"]);
    let c = t.create(&b);
    b.sh("echo after > /mnt/out");
    c.start().wait_for("stopped");
    assert_eq!(read(shared.join("out")), "before\n");
}

fn the_bundle_is_the_working_directory_by_default(t: &Case) {
    let b = t.bundle_sh("echo here");
    assert_eq!(t.rt(&["run", b.id()]).cwd(b.dir()).run().ok(), "here\n");
}

fn a_relative_bundle_is_taken(t: &Case) {
    let b = t.bundle();
    let c = Container::of(t, &b);
    let name = b.dir().file_name().unwrap().to_string_lossy().into_owned();
    t.rt(&["create", "--bundle", &name, b.id()]).cwd(t.dir()).run().ok();
    assert_eq!(c.state()["bundle"], b.dir().display().to_string());
    c.start();
    assert_eq!(c.status(), "running");
}

fn a_bundle_without_configuration_is_refused(t: &Case) {
    let b = t.bundle();
    fs::remove_file(b.dir().join("config.json")).unwrap();
    assert_has(&t.refused(&b), "config.json");
}

fn a_missing_bundle_is_refused(t: &Case) {
    assert_has(t.rt(&["create", "--bundle", "/no/such/bundle", "c"]).run().refused(), "/no/such/bundle");
    assert!(!present(t.state_root().join("c")));
}

fn a_container_that_ends_at_once_is_stopped(t: &Case) {
    let c = t.started(&t.bundle_sh("exit 0"));
    c.wait_for("stopped");
    assert_eq!(c.status(), "stopped");
}

fn a_container_outlives_the_runtime(t: &Case) {
    // The shell is the runtime's parent and ends with it.
    let b = t.bundle();
    let c = t.create(&b);
    c.call("start", &[], &[]).shell("setsid \"$@\"").run().ok();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(c.status(), "running");
}

fn the_root_file_system_is_left_as_it_was(t: &Case) {
    let b = t.bundle_sh("exit 0");
    let list = || {
        let mut names: Vec<_> =
            fs::read_dir(b.root("/dev")).unwrap().chain(fs::read_dir(b.root("/etc")).unwrap()).map(|e| e.unwrap().path()).collect();
        names.sort();
        names
    };
    let before = list();
    t.run(&b).ok();
    assert_eq!(list(), before);
}

fn containers_at_once(t: &Case) {
    let bundles: Vec<_> = (0..10).map(|n| t.bundle_sh(&format!("exit {n}"))).collect();
    let mut runs: Vec<_> = bundles.iter().map(|b| t.run_call(&[], b).spawn(Stdio::null(), Stdio::null(), Stdio::null())).collect();
    for (n, run) in runs.iter_mut().enumerate() {
        let status = runtime::wait(run, patience() * 3).expect("run ends");
        assert_eq!(status.code(), Some(i32::try_from(n).unwrap()));
    }
}

fn alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
