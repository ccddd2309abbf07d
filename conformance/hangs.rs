//! Hooks that misbehave, and what can be done to a container meanwhile; signals in every status, and those that `run` passes on.

use crate::support::*;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

pub const TESTS: &[Test] = suite![
    output_without_end_does_not_outlast_the_timeout: [Need::Runtime("aril")],
    a_child_that_prints_without_end_keeps_nobody_waiting: [Need::Runtime("aril")],
    the_end_of_much_output_is_shown,
    a_hook_that_closes_its_input,
    a_timeout_in_each_list,
    a_timeout_of_poststop_is_a_warning,
    what_timed_out_is_dead,
    a_hook_in_the_containers_namespaces_changes_the_root,
    a_hook_in_all_namespaces_of_a_user_namespace,
    poststart_in_the_containers_namespaces,
    create_runtime_changes_the_root_on_the_host,
    kill_while_create_hangs_is_refused: [Need::Runtime("aril")],
    kill_all_ends_a_create_that_hangs: [Need::Runtime("aril")],
    signals_end_a_container_whose_hook_hangs: [Need::Runtime("aril")],
    kill_while_poststart_hangs,
    a_poststart_hook_that_execs,
    start_and_delete_do_not_wait_behind_poststart: [Need::Runtime("aril")],
    delete_force_while_create_hangs: [Need::Runtime("aril")],
    delete_force_while_start_container_hangs,
    delete_force_while_poststart_hangs,
    delete_of_a_container_in_the_foreground_is_refused_at_once,
    delete_force_of_a_container_in_the_foreground,
    delete_force_while_an_exec_stands_still: [Need::Runtime("aril")],
    init_that_ignores_term,
    kill_in_each_status,
    run_passes_every_signal_on,
    run_passes_on_what_came_before_the_start,
];

const FIRST: [&str; 3] = ["prestart", "createRuntime", "createContainer"];

/// Prints without end.
const ENDLESS: &str = "while :; do echo 0123456789012345678901234567890123456789; done";

/// A file of the test's, of which nothing is there yet.
fn mark(t: &Case, name: &str) -> PathBuf {
    t.mkdir("marks").join(name)
}

/// A script that says that it runs, and goes on when it is told to.
fn waits(t: &Case) -> String {
    format!("touch {}; while ! test -e {}; do sleep 0.02; done", mark(t, "in-hook").display(), mark(t, "go").display())
}

fn in_hook(t: &Case) {
    eventually("the hook runs", || present(mark(t, "in-hook")).then_some(()));
}

fn go_on(t: &Case) {
    write(mark(t, "go"), "");
}

fn hangs_in_the_container(t: &Case, b: &Bundle, before: &str) {
    b.bind(&t.mkdir("marks"), "/marks", &["rbind"]);
    let script = format!("{before} touch /marks/in-hook; while ! test -e /marks/go; do sleep 0.02; done");
    b.hook("startContainer", json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"]}));
}

fn background(call: &Call<'_>) -> Child {
    call.spawn(Stdio::null(), Stdio::null(), Stdio::null())
}

fn code(child: &mut Child) -> Option<i32> {
    runtime::wait(child, patience()).expect("the call ends").code()
}

fn alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn end(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// Runs the check with timeouts, in seconds, that grow until the hook came to do something within one.
fn timed_out(what: &str, mut check: impl FnMut(u32) -> bool) {
    assert!([1, 4, 16].into_iter().any(&mut check), "{what}: the hook did nothing in 16 s");
}

fn output_without_end_does_not_outlast_the_timeout(t: &Case) {
    for when in FIRST {
        timed_out(when, |timeout| {
            let b = t.bundle();
            b.hook(when, json!({"path": "/bin/sh", "args": ["sh", "-c", ENDLESS], "timeout": timeout}));
            let text = t.refused(&b);
            assert_has(&text, "did not end in");
            text.contains("0123456789")
        });
    }
}

fn a_child_that_prints_without_end_keeps_nobody_waiting(t: &Case) {
    for when in ["prestart", "createRuntime", "createContainer", "poststart"] {
        let b = t.bundle();
        let pid = mark(t, when);
        b.hook_sh(when, &format!("sh -c '{ENDLESS}' & echo $! > {}", pid.display()));
        let c = t.started(&b);
        assert_eq!(c.status(), "running", "{when}");
        // In the container's pid namespace it ends with the container.
        if when != "createContainer" {
            end(read(&pid).trim().parse().unwrap());
        }
    }
}

fn the_end_of_much_output_is_shown(t: &Case) {
    for when in FIRST {
        let b = t.bundle();
        b.hook_sh(when, "dd if=/dev/zero bs=1024 count=3000 2>/dev/null | tr '\\0' x; echo; echo the reason >&2; exit 3");
        let text = t.refused(&b);
        assert_has(&text, "the reason");
        assert!(text.len() < 8192, "{when}: {} bytes", text.len());
    }
}

fn a_hook_that_closes_its_input(t: &Case) {
    // With a state that is larger than a pipe's buffer.
    for when in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        let b = t.bundle_sh("exit 0");
        b.edit(|c| c["annotations"] = json!({"large": "x".repeat(200_000)}));
        b.hook_sh(when, "exec 0<&-; sleep 0.1");
        t.run(&b).ok();
    }
}

fn a_timeout_in_each_list(t: &Case) {
    for when in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"] {
        let b = t.bundle();
        let late = json!({"path": "/bin/sleep", "args": ["sleep", "300"], "timeout": 1});
        b.hook(when, late);
        let poststop = mark(t, &format!("poststop-of-{when}"));
        b.hook_sh("poststop", &format!("touch {}", poststop.display()));
        let c = Container::of(t, &b);
        t.run_call(&["--detach"], &b).run().refused();
        assert!(!c.known(), "{when}: the container is there");
        assert!(present(poststop), "{when}: poststop did not run");
    }
}

fn a_timeout_of_poststop_is_a_warning(t: &Case) {
    let b = t.bundle_sh("exit 0");
    b.hook("poststop", json!({"path": "/bin/sleep", "args": ["sleep", "300"], "timeout": 1}));
    b.hook_sh("poststop", &format!("touch {}", mark(t, "second").display()));
    let c = t.started(&b);
    let output = c.wait_for("stopped").call("delete", &[], &[]).run();
    output.ok();
    assert_has(&output.stderr, "/bin/sleep");
    assert!(!c.known() && present(mark(t, "second")));
}

fn what_timed_out_is_dead(t: &Case) {
    let pid = mark(t, "pid");
    let script = format!("trap '' TERM; echo $$ > {}; while :; do sleep 0.05; done", pid.display());
    timed_out("createRuntime", |timeout| {
        let b = t.bundle();
        b.hook("createRuntime", json!({"path": "/bin/sh", "args": ["sh", "-c", script], "timeout": timeout}));
        t.refused(&b);
        let Some(pid) = std::fs::read_to_string(&pid).ok().and_then(|text| text.trim().parse().ok()) else { return false };
        assert!(!alive(pid));
        true
    });
}

const PID: &str = "pid=$(tr -d '\\n' | sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')";

fn a_hook_in_the_containers_namespaces_changes_the_root(t: &Case) {
    // As NVIDIA's: by the paths in /proc, while the host's tree is still there.
    for when in ["prestart", "createRuntime"] {
        let b = t.bundle_sh("cat /mnt/added; grep -c ' /mnt ' /proc/self/mountinfo; ip link show lo | grep -c UP");
        write(t.mkdir(when).join("added"), "by the hook\n");
        b.hook_sh(
            when,
            &format!(
                "{PID}; set -e; nsenter --mount=/proc/$pid/ns/mnt mount --bind {} {}; nsenter --net=/proc/$pid/ns/net ip link set lo up; \
                 nsenter --uts=/proc/$pid/ns/uts --ipc=/proc/$pid/ns/ipc --pid=/proc/$pid/ns/pid true",
                t.path(when).display(),
                b.root("/mnt").display()
            ),
        );
        assert_eq!(t.run(&b).ok(), "by the hook\n1\n1\n", "{when}");
        assert_lacks(&read("/proc/self/mountinfo"), b.dir().to_str().unwrap());
    }
}

fn a_hook_in_all_namespaces_of_a_user_namespace(t: &Case) {
    let b = t.bundle_sh("grep -c ' /mnt ' /proc/self/mountinfo");
    b.userns(100_000, 65536);
    b.hook_sh(
        "createRuntime",
        &format!("{PID}; nsenter -t $pid -U -m -n -u -i -p sh -ec 'id -u; mount -t tmpfs hook {}'", b.root("/mnt").display()),
    );
    assert_eq!(t.run(&b).ok(), "1\n");
}

fn poststart_in_the_containers_namespaces(t: &Case) {
    let b = t.bundle();
    b.hook_sh("poststart", &format!("{PID}; nsenter -t $pid -m -u -i -n -p /bin/sh -c 'hostname > /root/seen; test -e /proc/1/stat'"));
    let c = t.started(&b);
    assert_eq!(read(b.root("/root/seen")), "conformance\n");
    drop(c);
}

fn create_runtime_changes_the_root_on_the_host(t: &Case) {
    let b = t.bundle_sh("cat /etc/added; readlink /etc/link; test -e /home && echo there");
    let root = b.root("/");
    b.hook_sh("createRuntime", &format!("cd {}; echo more > etc/added; ln -s /elsewhere etc/link; rm -r home; mkdir home", root.display()));
    assert_eq!(t.run(&b).ok(), "more\n/elsewhere\nthere\n");
}

fn kill_while_create_hangs_is_refused(t: &Case) {
    // Neither created nor running: "MUST have no effect on the container and MUST generate an error".
    let b = t.bundle();
    b.hook_sh("createRuntime", &waits(t));
    let c = Container::of(t, &b);
    let mut create = background(&t.create_call(&[], &b));
    in_hook(t);
    for signal in ["TERM", "KILL"] {
        let output = c.call("kill", &[], &[signal]).run();
        assert_has(output.refused(), "container not running");
        assert_has(output.refused(), "creating");
    }
    go_on(t);
    assert_eq!(code(&mut create), Some(0));
    assert_eq!(c.status(), "created");
}

fn kill_all_ends_a_create_that_hangs(t: &Case) {
    let b = t.bundle();
    b.hook_sh("createRuntime", &waits(t));
    let c = Container::of(t, &b);
    let mut create = background(&t.create_call(&[], &b));
    in_hook(t);
    c.call("kill", &["--all"], &["KILL"]).run().ok();
    go_on(t);
    assert_eq!(code(&mut create), Some(1));
    assert!(!c.known());
}

fn signals_end_a_container_whose_hook_hangs(t: &Case) {
    for signal in ["TERM", "INT", "KILL"] {
        let b = t.bundle();
        let poststop = mark(t, &format!("poststop-{signal}"));
        b.hook_sh("poststop", &format!("touch {}", poststop.display()));
        hangs_in_the_container(t, &b, "trap '' TERM INT;");
        let c = t.create(&b);
        let mut start = background(&c.call("start", &[], &[]));
        in_hook(t);
        assert_eq!(c.status(), "created");
        c.kill(signal);
        assert_eq!(code(&mut start), Some(1), "{signal}");
        eventually("it is stopped or gone", || (!c.known() || c.status() == "stopped").then_some(()));
        std::fs::remove_file(mark(t, "in-hook")).unwrap();
        c.delete_force().ok();
        assert!(present(poststop), "{signal}: poststop did not run");
    }
}

fn kill_while_poststart_hangs(t: &Case) {
    let b = t.bundle();
    b.hook_sh("poststart", &waits(t));
    let c = t.create(&b);
    let mut start = background(&c.call("start", &[], &[]));
    in_hook(t);
    assert_eq!(c.status(), "running");
    c.kill("KILL").wait_for("stopped");
    go_on(t);
    code(&mut start);
}

fn a_poststart_hook_that_execs(t: &Case) {
    let b = t.bundle();
    let (runtime, root) = (t.environment.runtime.display(), t.state_root());
    b.hook_sh("poststart", &format!("timeout 60 {runtime} --root {} exec {} touch /root/seen", root.display(), b.id()));
    let c = t.create(&b);
    c.start();
    assert!(present(b.root("root/seen")), "the hook's exec did nothing");
}

fn start_and_delete_do_not_wait_behind_poststart(t: &Case) {
    let b = t.bundle();
    b.hook_sh("poststart", &waits(t));
    let c = t.create(&b);
    let mut start = background(&c.call("start", &[], &[]));
    in_hook(t);
    assert_has(c.call("start", &[], &[]).run().refused(), "running");
    assert_has(c.call("delete", &[], &[]).run().refused(), "running");
    go_on(t);
    assert_eq!(code(&mut start), Some(0));
}

fn delete_force_while_create_hangs(t: &Case) {
    let b = t.bundle();
    b.hook_sh("createRuntime", &waits(t));
    let c = Container::of(t, &b);
    let mut create = background(&t.create_call(&[], &b));
    in_hook(t);
    c.delete_force().ok();
    assert!(!c.known());
    go_on(t);
    assert_ne!(code(&mut create), Some(0));
}

fn delete_force_while_start_container_hangs(t: &Case) {
    let b = t.bundle();
    hangs_in_the_container(t, &b, "");
    let c = t.create(&b);
    let mut start = background(&c.call("start", &[], &[]));
    in_hook(t);
    c.delete_force().ok();
    assert!(!c.known());
    assert_ne!(code(&mut start), Some(0));
}

fn delete_force_while_poststart_hangs(t: &Case) {
    let b = t.bundle();
    b.hook_sh("poststart", &waits(t));
    let c = t.create(&b);
    let pid = c.pid();
    let mut start = background(&c.call("start", &[], &[]));
    in_hook(t);
    c.delete_force().ok();
    assert!(!c.known() && !alive(pid));
    go_on(t);
    code(&mut start);
}

/// A container in the foreground of a `run` that is not waited for.
fn foreground<'a>(t: &'a Case, b: &Bundle) -> (Child, Container<'a>) {
    let c = Container::of(t, b);
    let run = background(&t.run_call(&[], b));
    eventually("the container runs", || (c.known() && c.status() == "running").then_some(()));
    (run, c)
}

fn delete_of_a_container_in_the_foreground_is_refused_at_once(t: &Case) {
    let (mut run, c) = foreground(t, &t.bundle());
    assert_has(c.call("delete", &[], &[]).run().refused(), "running");
    assert_has(c.call("start", &[], &[]).run().refused(), "running");
    c.kill("KILL");
    assert_eq!(code(&mut run), Some(137));
    assert!(!c.known());
}

fn delete_force_of_a_container_in_the_foreground(t: &Case) {
    let (mut run, c) = foreground(t, &t.bundle());
    c.delete_force().ok();
    assert!(!c.known());
    assert_eq!(code(&mut run), Some(137), "run ends as its container did");
}

/// The first process of a pid namespace ends when all others have been reaped, and those of an `exec` are reaped by that.
fn delete_force_while_an_exec_stands_still(t: &Case) {
    let b = t.bundle();
    b.bind(&t.mkdir("marks"), "/mnt", &["rbind"]);
    let c = t.started(&b);
    let mut exec = background(&c.call("exec", &[], &["sh", "-c", "touch /mnt/in-hook; sleep 1000"]));
    in_hook(t);
    assert!(Command::new("kill").args(["-STOP", &exec.id().to_string()]).status().expect("kill").success());
    c.delete_force().ok();
    assert!(!c.known());
    exec.wait().expect("it was ended");
}

fn init_that_ignores_term(t: &Case) {
    let b = t.bundle_sh("trap '' TERM; touch /mnt/ready; while :; do sleep 0.05; done");
    b.bind(&t.mkdir("marks"), "/mnt", &["rbind"]);
    let c = t.started(&b);
    eventually("it ignores", || present(mark(t, "ready")).then_some(()));
    c.kill("TERM");
    assert_eq!(c.status(), "running");
    assert_has(c.call("delete", &[], &[]).run().refused(), "running");
    c.kill("KILL").wait_for("stopped").delete();
}

fn kill_in_each_status(t: &Case) {
    for signal in ["TERM", "INT", "HUP", "QUIT", "USR1", "KILL"] {
        let c = t.create(&t.bundle());
        c.kill(signal).wait_for("stopped");
        for again in [signal, "0"] {
            assert_has(c.call("kill", &[], &[again]).run().refused(), "container not running");
        }
        c.delete();
        assert_has(c.call("kill", &[], &[signal]).run().refused(), "does not exist");
    }
    // These end nothing.
    let c = t.create(&t.bundle());
    for signal in ["CONT", "WINCH", "CHLD", "URG", "0"] {
        c.kill(signal);
        assert_eq!(c.status(), "created", "{signal}");
    }
    c.start();
    c.kill("0").kill("KILL").wait_for("stopped").delete();
}

/// Those that a process can catch, but for SIGCHLD, which is about the children of `run` itself.
fn catchable() -> impl Iterator<Item = i32> {
    (1..=64).filter(|n| ![libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD, 32, 33].contains(n))
}

fn run_passes_every_signal_on(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "signals"]);
    let c = Container::of(t, &b);
    let out = t.path("out");
    let mut run = t.run_call(&[], &b).spawn(Stdio::null(), std::fs::File::create(&out).unwrap().into(), Stdio::null());
    eventually("it listens", || read(&out).contains("ready").then_some(()));
    let pid = run.id();
    for signal in catchable() {
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).status().unwrap();
        assert!(sent.success());
        eventually(&format!("signal {signal} arrives"), || read(&out).lines().any(|line| line == signal.to_string()).then_some(()));
    }
    assert_eq!(read(&out).lines().count(), catchable().count() + 1, "each came once");
    c.kill("KILL");
    assert_eq!(code(&mut run), Some(137));
}

fn run_passes_on_what_came_before_the_start(t: &Case) {
    let b = t.bundle();
    // The first process of a pid namespace would be deaf to it.
    b.leave_namespace("pid");
    b.hook_sh("createRuntime", &waits(t));
    let c = Container::of(t, &b);
    let mut run = background(&t.run_call(&[], &b));
    in_hook(t);
    let pid = rustix::process::Pid::from_raw(i32::try_from(run.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    go_on(t);
    assert_eq!(code(&mut run), Some(143));
    drop(c);
}
