//! `exec` in the foreground, with and without a terminal; beside pause, kill and delete; in the container's cgroup and in those below it.

use crate::support::*;
use crate::terminal::pty;
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use std::path::Path;
use std::process::Stdio;

pub const TESTS: &[Test] = suite![
    at_a_terminal_the_process_has_one,
    a_change_of_size_is_passed_on,
    the_callers_terminal_is_restored,
    the_callers_terminal_is_restored_when_the_program_is_missing,
    what_is_not_read_does_not_block_what_is_written,
    a_terminal_without_one_of_the_callers,
    without_a_terminal_there_is_none,
    signals_are_passed_on,
    every_byte_comes_through_a_pipe,
    the_end_of_standard_input_comes_through,
    a_paused_container_is_refused,
    a_paused_container_is_waited_for,
    a_paused_container_that_ends_is_not_waited_for,
    a_cgroup_below_the_containers,
    a_cgroup_elsewhere_is_refused,
    controllers_of_v1: [Need::V1("pids")],
    a_cgroup_that_takes_no_process: [Need::V2, Need::Controller("hugetlb")],
    cpus_before_and_after_the_cgroup,
    others_do_not_wait_for_it,
    beside_delete_it_neither_hangs_nor_stays,
    two_hundred_at_once,
    nothing_is_left_of_many,
];

fn sleeper(t: &Case) -> Container<'_> {
    t.started(&t.bundle())
}

fn exec(c: &Container<'_>, options: &[&str], command: &[&str]) -> Output {
    c.call("exec", options, command).run()
}

fn sh<'a>(c: &Container<'a>, options: &[&str], script: &str) -> Call<'a> {
    c.call("exec", options, &["sh", "-c", script])
}

fn at_a_terminal_the_process_has_one(t: &Case) {
    let c = sleeper(t);
    let pty = pty(31, 97);
    let _held = pty.open();
    let mut child = pty.call(sh(&c, &["--tty"], "stty size; probe tty | grep control; read line; echo \"got $line\"; exit 42"));
    let mut text = String::new();
    pty.read_until(&mut text, |text| text.contains("control:"));
    assert_has(&text, "31 97");
    assert_has(&text, "control: 1");
    rustix::io::write(&pty.master, b"hello\n").unwrap();
    pty.read_until(&mut text, |text| text.contains("got hello"));
    assert_eq!(runtime::wait(&mut child, patience()).expect("exec ends").code(), Some(42));
}

fn a_change_of_size_is_passed_on(t: &Case) {
    let c = sleeper(t);
    let pty = pty(24, 80);
    let _held = pty.open();
    let mut child = pty.call(sh(&c, &["-t"], "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done"));
    let mut text = String::new();
    pty.read_until(&mut text, |text| text.contains("ready"));
    tcsetwinsize(&pty.master, Winsize { ws_row: 44, ws_col: 133, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    pty.read_until(&mut text, |text| text.contains("44 133"));
    assert!(runtime::wait(&mut child, patience()).expect("exec ends").success());
}

/// How a call leaves its terminal: it must be as it was.
#[track_caller]
fn restored(t: &Case, command: &[&str]) {
    let c = sleeper(t);
    let pty = pty(24, 80);
    let held = pty.open();
    let modes = || tcgetattr(&held).map(|it| (it.local_modes, it.input_modes, it.output_modes)).unwrap();
    let before = modes();
    let mut child = pty.call(c.call("exec", &["--tty"], command));
    runtime::wait(&mut child, patience()).expect("exec ends");
    assert_eq!(modes(), before);
}

fn the_callers_terminal_is_restored(t: &Case) {
    restored(t, &["sh", "-c", "stty -echo; kill -KILL $$"]);
}

fn the_callers_terminal_is_restored_when_the_program_is_missing(t: &Case) {
    restored(t, &["nothing-of-that-name"]);
}

/// The process writes more than a terminal keeps before it reads, and is sent more than one keeps.
fn what_is_not_read_does_not_block_what_is_written(t: &Case) {
    let c = sleeper(t);
    let script = "stty raw -echo; echo READY; head -c 300000 /dev/zero | tr '\\0' x; head -c 200000 > /dev/null; echo END";
    let mut child = sh(&c, &["--tty"], script).spawn(Stdio::piped(), Stdio::piped(), Stdio::null());
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = Vec::new();
    let mut more = |seen: &mut Vec<u8>| {
        let mut bytes = [0; 4096];
        let got = std::io::Read::read(&mut output, &mut bytes).unwrap();
        seen.extend(&bytes[..got]);
        got
    };
    // Before that, what is sent goes to a terminal that edits lines.
    while !seen.windows(5).any(|window| window == b"READY") {
        more(&mut seen);
    }
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut input, &vec![b'y'; 200_000]).map(|()| input));
    while more(&mut seen) > 0 {}
    assert!(writer.join().unwrap().is_ok());
    assert!(runtime::wait(&mut child, patience()).expect("exec ends").success());
    assert_eq!(seen.iter().filter(|byte| **byte == b'x').count(), 300_000);
    assert!(seen.ends_with(b"END\n") || seen.ends_with(b"END\r\n"));
}

fn a_terminal_without_one_of_the_callers(t: &Case) {
    let c = sleeper(t);
    let out = sh(&c, &["--tty"], "test -t 0 && read line; echo \"got $line\"").stdin("hello\n").run();
    assert_has(out.ok(), "got hello");
    // The end of standard input is a Control-D.
    assert_has(sh(&c, &["--tty"], "cat; echo over").run().ok(), "over");
}

fn without_a_terminal_there_is_none(t: &Case) {
    let b = t.bundle();
    let c = t.started(&b);
    assert_has(exec(&c, &[], &["probe", "tty"]).ok(), "control: 0");
}

fn signals_are_passed_on(t: &Case) {
    let c = sleeper(t);
    for (signal, number) in [(rustix::process::Signal::TERM, 15), (rustix::process::Signal::INT, 2), (rustix::process::Signal::USR1, 10)] {
        let (name, file) = (format!("/tmp/got-{number}"), format!("/tmp/ready-{number}"));
        let script = format!("trap 'echo > {name}; exit 7' {number}; echo > {file}; while :; do sleep 0.02; done");
        let mut child = sh(&c, &[], &script).spawn(Stdio::null(), Stdio::null(), Stdio::null());
        eventually("it is ready", || (exec(&c, &[], &["test", "-e", &file]).code() == 0).then_some(()));
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        assert_eq!(runtime::wait(&mut child, patience()).expect("exec ends").code(), Some(7));
        exec(&c, &[], &["test", "-e", &name]).ok();
    }
}

fn every_byte_comes_through_a_pipe(t: &Case) {
    let c = sleeper(t);
    let bytes: Vec<u8> = (0..4_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut child = c.call("exec", &[], &["cat"]).spawn(Stdio::piped(), Stdio::piped(), Stdio::null());
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut input, &sent).unwrap());
    let mut back = Vec::new();
    std::io::Read::read_to_end(&mut output, &mut back).unwrap();
    writer.join().unwrap();
    assert!(back == bytes, "{} bytes came back", back.len());
    assert!(runtime::wait(&mut child, patience()).expect("exec ends").success());
}

fn the_end_of_standard_input_comes_through(t: &Case) {
    let c = sleeper(t);
    // Output comes after the end of input: only one direction was closed.
    assert_eq!(sh(&c, &[], "cat; echo after").stdin("before\n").run().ok(), "before\nafter\n");
}

fn a_paused_container_is_refused(t: &Case) {
    let c = sleeper(t);
    c.call("pause", &[], &[]).run().ok();
    let out = exec(&c, &[], &["true"]);
    assert_has(out.refused(), "cannot exec in a paused container (use --ignore-paused to override)");
    assert_eq!(out.code(), 255);
    c.call("resume", &[], &[]).run().ok();
    exec(&c, &[], &["true"]).ok();
}

fn a_paused_container_is_waited_for(t: &Case) {
    let c = sleeper(t);
    c.call("pause", &[], &[]).run().ok();
    let mut child = c.call("exec", &["--ignore-paused"], &["sh", "-c", "exit 9"]).spawn(Stdio::null(), Stdio::null(), Stdio::null());
    // It holds nothing while it waits: the container can be looked at and resumed.
    assert_eq!(c.status(), "paused");
    assert!(child.try_wait().unwrap().is_none());
    c.call("resume", &[], &[]).run().ok();
    assert_eq!(runtime::wait(&mut child, patience()).expect("exec ends").code(), Some(9));
    assert_eq!(exec(&c, &["--ignore-paused"], &["sh", "-c", "exit 8"]).code(), 8);
}

fn a_paused_container_that_ends_is_not_waited_for(t: &Case) {
    let c = sleeper(t);
    c.call("pause", &[], &[]).run().ok();
    let mut child = c.call("exec", &["--ignore-paused"], &["true"]).spawn(Stdio::null(), Stdio::null(), Stdio::null());
    c.delete_force().ok();
    assert_eq!(runtime::wait(&mut child, patience()).expect("exec ends").code(), Some(255));
}

/// The cgroups of a container's first process, from each hierarchy's mount point.
fn directories(t: &Case, c: &Container<'_>) -> Vec<(String, std::path::PathBuf)> {
    let text = read(format!("/proc/{}/cgroup", c.pid()));
    // On a machine with v1 it is in other hierarchies too, that nobody uses.
    let lines = text.lines().filter(|line| line.contains(&t.cgroup())).map(|line| line.splitn(3, ':').collect::<Vec<_>>());
    lines
        .filter_map(|parts| {
            let of = parts[1].split(',').next().unwrap_or_default().to_owned();
            let root = if of.is_empty() { t.environment.v2.clone() } else { t.environment.v1.get(&of).cloned() };
            root.map(|root| (of, root.join(parts[2].trim_start_matches('/'))))
        })
        .collect()
}

fn detached(t: &Case, c: &Container<'_>, options: &[&str]) -> String {
    let pid_file = t.path("pid");
    exec(c, &[&["--detach", "--pid-file", pid_file.to_str().unwrap()], options].concat(), &["sleep", "299"]).ok();
    read(format!("/proc/{}/cgroup", read(&pid_file)))
}

/// A new v1 cpuset takes no process before it has CPUs and memory.
fn make(directory: &Path) {
    std::fs::create_dir(directory).unwrap();
    for file in
        ["cpuset.cpus", "cpuset.mems"].iter().filter(|file| present(directory.join(file)) && !present(directory.join("cgroup.type")))
    {
        write(directory.join(file), read(directory.parent().unwrap().join(file)));
    }
}

fn a_cgroup_below_the_containers(t: &Case) {
    let c = sleeper(t);
    let all = directories(t, &c);
    for (_, directory) in &all {
        make(&directory.join("below"));
    }
    let own = detached(t, &c, &["--cgroup", "/below"]);
    for line in own.lines().filter(|line| line.contains(&t.cgroup())) {
        assert!(line.ends_with("/below"), "{own}");
    }
    assert_eq!(own.matches("/below\n").count(), all.len(), "{own}");
    assert_lacks(&detached(t, &c, &["--cgroup", "/"]), "/below");
}

fn a_cgroup_elsewhere_is_refused(t: &Case) {
    let c = sleeper(t);
    for path in ["..", "../x", "below/../../..", "/.."] {
        assert_has(exec(&c, &["--cgroup", path], &["true"]).refused(), "lead out of the container's cgroup");
    }
    assert_has(exec(&c, &["--cgroup", "nothing"], &["true"]).refused(), "no such file or directory");
    assert_has(exec(&c, &["--cgroup", "nocontroller:x"], &["true"]).refused(), "nocontroller");
}

fn controllers_of_v1(t: &Case) {
    let c = sleeper(t);
    let (_, pids) = directories(t, &c).into_iter().find(|(of, _)| of == "pids").unwrap();
    make(&pids.join("below"));
    let own = detached(t, &c, &["--cgroup", "pids:below"]);
    assert_eq!(own.matches("/below\n").count(), 1, "{own}");
    assert!(own.lines().any(|line| line.contains(":pids:") && line.ends_with("/below")), "{own}");
}

/// systemd in the container, or Docker: the container's first process went into a cgroup of its own, and controllers are handed down to it.
fn a_cgroup_that_takes_no_process(t: &Case) {
    let b = t.bundle_sh(
        "cd /sys/fs/cgroup && mkdir init && echo 1 > init/cgroup.procs && echo +hugetlb > cgroup.subtree_control && touch /done; exec sleep 300",
    );
    b.namespace(json!({"type": "cgroup"}));
    b.edit(|c| {
        let mounts = c["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
        mounts.push(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]}));
    });
    let c = t.started(&b);
    eventually("the container has handed its controllers down", || present(b.root("/done")).then_some(()));
    assert_has(&detached(t, &c, &[]), &format!("{}/init\n", c.id));
}

fn cpus_before_and_after_the_cgroup(t: &Case) {
    let c = sleeper(t);
    let process = |affinity: Value| {
        let process = json!({"args": ["grep", "Cpus_allowed_list", "/proc/self/status"], "cwd": "/", "env": ["PATH=/bin"], "execCPUAffinity": affinity});
        write(t.path("process.json"), process.to_string());
        let out = exec(&c, &["--process", t.path("process.json").to_str().unwrap()], &[]);
        field(out.ok(), "Cpus_allowed_list").to_owned()
    };
    let all = process(json!({}));
    assert_eq!(process(json!({"final": "0"})), "0");
    // Nobody changes it afterwards, but the kernel may, when the process comes into the cgroup.
    assert!(["0", &all].contains(&process(json!({"initial": "0"})).as_str()));
    assert_eq!(process(json!({"initial": "0", "final": "0"})), "0");
}

fn others_do_not_wait_for_it(t: &Case) {
    let c = sleeper(t);
    let mut child = c.call("exec", &[], &["sleep", "299"]).spawn(Stdio::null(), Stdio::null(), Stdio::null());
    eventually("it runs", || sh(&c, &[], "ps").run().ok().contains("sleep 299").then_some(()));
    c.call("pause", &[], &[]).run().ok();
    c.call("resume", &[], &[]).run().ok();
    assert_eq!(c.status(), "running");
    c.delete_force().ok();
    assert_eq!(runtime::wait(&mut child, patience()).expect("exec ends").code(), Some(137));
}

fn beside_delete_it_neither_hangs_nor_stays(t: &Case) {
    for _ in 0..10 {
        let c = sleeper(t);
        let calls: Vec<_> =
            (0..4).map(|_| c.call("exec", &[], &["sleep", "299"]).spawn(Stdio::null(), Stdio::null(), Stdio::null())).collect();
        c.delete_force().ok();
        for mut child in calls {
            let status = runtime::wait(&mut child, patience()).expect("exec ends");
            assert!(matches!(status.code(), Some(137 | 255)), "{status:?}");
        }
        assert!(!c.known());
    }
}

fn two_hundred_at_once(t: &Case) {
    let c = sleeper(t);
    let calls: Vec<_> =
        (0..200).map(|i| sh(&c, &[], &format!("exit {}", i % 100)).spawn(Stdio::null(), Stdio::null(), Stdio::null())).collect();
    for (i, mut child) in (0..).zip(calls) {
        assert_eq!(runtime::wait(&mut child, patience() * 3).expect("exec ends").code(), Some(i % 100));
    }
}

/// What the machine has more of after many: nothing.
fn nothing_is_left_of_many(t: &Case) {
    let c = sleeper(t);
    let facts = || {
        let cgroups: Vec<_> = directories(t, &c).iter().map(|(_, dir)| std::fs::read_dir(dir).unwrap().count()).collect();
        let state = std::fs::read_dir(t.state_root().join(&c.id)).unwrap().count();
        let held = std::fs::read_dir(format!("/proc/{}/fd", c.pid())).unwrap().count();
        (cgroups, state, held, read(format!("/proc/{}/mountinfo", c.pid())), read("/proc/self/mountinfo"))
    };
    let before = facts();
    for _ in 0..50 {
        exec(&c, &[], &["true"]).ok();
        exec(&c, &[], &["nothing-of-that-name"]).refused();
    }
    assert_eq!(facts(), before);
    assert_eq!(sh(&c, &[], "ps").run().ok().lines().count(), 3, "the header, the sleeper and ps");
}
