//! Flags and annotations that callers pass to say how a container is made.

use crate::support::socket::Console;
use crate::support::*;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

pub const TESTS: &[Test] = suite![
    without_a_cgroup_it_stays_in_its_creators: [Need::Runtime("aril")],
    without_a_cgroup_limits_are_refused: [Need::Runtime("aril")],
    without_a_cgroup_it_is_killed_and_deleted: [Need::Runtime("aril")],
    without_a_cgroup_none_is_shown: [Need::Runtime("aril"), Need::V1("memory")],
    original_groups_are_kept: [Need::Runtime("aril")],
    a_profile_with_an_unknown_call_can_be_refused: [Need::Runtime("aril")],
    another_handler_is_refused: [Need::Runtime("aril")],
    a_kind_of_context_that_is_none_is_refused: [Need::Runtime("aril")],
    checkpoints_are_said_to_be_missing: [Need::Runtime("aril")],
    spec_by_another_name: [Need::Runtime("aril")],
    the_state_root_is_made_sticky: [Need::Runtime("aril")],
    pidfd_socket_of_create: [Need::Runtime("aril")],
    pidfd_socket_of_run: [Need::Runtime("aril")],
    pidfd_socket_of_exec: [Need::Runtime("aril")],
    pidfd_receiver: [Need::Runtime("aril")],
    pidfd_socket_that_nobody_listens_on_is_refused: [Need::Runtime("aril")],
    kill_by_expression: [Need::Runtime("aril")],
    delete_by_expression: [Need::Runtime("aril")],
    an_expression_that_is_none_is_refused: [Need::Runtime("aril")],
    readiness_in_the_foreground: [Need::Runtime("aril")],
    readiness_when_detached: [Need::Runtime("aril")],
    readiness_after_start: [Need::Runtime("aril")],
    readiness_in_a_user_namespace: [Need::Runtime("aril"), Need::Userns],
    readiness_that_never_comes: [Need::Runtime("aril")],
    readiness_of_an_abstract_socket: [Need::Runtime("aril")],
    nothing_but_readiness_is_passed_on: [Need::Runtime("aril")],
    a_container_with_a_socket_of_its_own_keeps_it: [Need::Runtime("aril")],
    without_a_service_manager_there_is_no_socket: [Need::Runtime("aril")],
    log_to_journald: [Need::Runtime("aril")],
    log_to_syslog: [Need::Runtime("aril")],
    log_to_a_journal_that_is_not_there_is_refused: [Need::Runtime("aril")],
    log_to_a_file_by_its_scheme: [Need::Runtime("aril")],
];

const DISABLED: [&str; 2] = ["--cgroup-manager", "disabled"];

fn without_a_cgroup_it_stays_in_its_creators(t: &Case) {
    let b = t.bundle_sh("cat /proc/self/cgroup");
    b.leave_namespace("cgroup");
    let output = t.run_call(&[], &b).globals(DISABLED).run();
    assert_eq!(output.ok(), read("/proc/self/cgroup"));
    assert_eq!(output.stderr, "");
}

fn without_a_cgroup_limits_are_refused(t: &Case) {
    for (key, value) in [("memory", json!({"limit": 1 << 26})), ("unified", json!({"memory.high": "max"}))] {
        let b = t.bundle();
        b.edit(|c| c["linux"]["resources"][key] = value);
        let output = t.create_call(&[], &b).globals(DISABLED).run();
        assert_has(output.refused(), &format!("/linux/resources/{key}"));
        assert_has(output.refused(), "the container has no");
    }
}

fn without_a_cgroup_it_is_killed_and_deleted(t: &Case) {
    // Its processes are not known but for the first: that one is killed, in a pid namespace of its own and without.
    for shared in [false, true] {
        let b = t.bundle();
        if shared {
            b.leave_namespace("pid");
        }
        let c = Container::of(t, &b);
        t.create_call(&[], &b).globals(DISABLED).run().ok();
        c.start();
        c.call("kill", &["--all"], &["KILL"]).run().ok();
        c.wait_for("stopped");
        c.call("kill", &["--all"], &["KILL"]).run().ok();
        c.delete();
    }
}

fn without_a_cgroup_none_is_shown(t: &Case) {
    let b = t.bundle_sh("ls -A /sys/fs/cgroup; touch /sys/fs/cgroup/x 2>&1");
    let output = t.run_call(&[], &b).globals(DISABLED).run();
    assert_has(&output.stdout, "touch: /sys/fs/cgroup/x: Read-only file system");
    assert_eq!(output.stdout.lines().count(), 1, "{}", output.stdout);
}

fn original_groups_are_kept(t: &Case) {
    let groups = |keep: bool| {
        let b = t.bundle_sh("grep ^Groups: /proc/self/status");
        b.edit(|c| {
            c["process"]["user"]["additionalGids"] = json!([77]);
            if keep {
                c["annotations"] = json!({"run.oci.keep_original_groups": "1"});
            }
        });
        let output = t.run_call(&[], &b).shell("exec setpriv --groups 5,4321 \"$@\"").run();
        output.ok().split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(groups(false), ["77"]);
    assert_eq!(groups(true), ["5", "4321"]);
}

fn a_profile_with_an_unknown_call_can_be_refused(t: &Case) {
    let b = t.bundle_sh("echo fine");
    let rules = json!([{"names": ["getcwd", "no_such_call"], "action": "SCMP_ACT_ERRNO"}]);
    b.edit(|c| c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
    assert_eq!(t.run(&b).ok(), "fine\n");
    b.edit(|c| c["annotations"] = json!({"run.oci.seccomp_fail_unknown_syscall": "1"}));
    assert_has(&t.refused(&b), "system call \"no_such_call\" is unknown (/linux/seccomp/syscalls/0/names/1)");
}

fn another_handler_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["annotations"] = json!({"run.oci.handler": "krun"}));
    assert_has(&t.refused(&b), "handler \"krun\" is not supported");
}

fn a_kind_of_context_that_is_none_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["annotations"] = json!({"run.oci.mount_context_type": "size=1,context"}));
    assert_has(&t.refused(&b), "(/annotations/run.oci.mount_context_type)");
}

fn checkpoints_are_said_to_be_missing(t: &Case) {
    // Podman and CRI-O ask in these two ways whether a container can be checkpointed, and restored into a pod.
    let checkpoint = t.rt(&["checkpoint", "--help"]).without_root().run();
    assert_ne!(checkpoint.code(), 0);
    let restore = t.rt(&["restore", "--lsm-mount-context"]).without_root().run();
    assert_ne!(restore.code(), 0);
    assert_lacks(&restore.stderr, "flag needs an argument");
    assert_lacks(&restore.stderr, "requires an argument");
}

/// The pid of the process that the one descriptor which came is of.
fn received(socket: &Console) -> i32 {
    let (message, further) = socket.receive();
    assert_eq!((message.fds.len(), further), (1, 0));
    assert!(!message.bytes.is_empty());
    let info = read(format!("/proc/self/fdinfo/{}", message.fds[0].as_raw_fd()));
    field(&info, "Pid").parse().expect("a pidfd")
}

fn pidfd_socket_of_create(t: &Case) {
    let socket = Console::listen(&t.path("pidfd"));
    let b = t.bundle();
    let c = Container::of(t, &b);
    t.create_call(&["--pidfd-socket", socket.path.to_str().unwrap()], &b).run().ok();
    assert_eq!(received(&socket), c.pid());
}

fn pidfd_socket_of_run(t: &Case) {
    // By the second route as well, where the process is not the one that the runtime started.
    for userns in [false, true] {
        let socket = Console::listen(&t.path(&format!("pidfd{userns}")));
        let b = t.bundle();
        if userns {
            b.userns(100_000, 65536);
        }
        let c = Container::of(t, &b);
        t.run_call(&["--detach", "--pidfd-socket", socket.path.to_str().unwrap()], &b).run().ok();
        assert_eq!(received(&socket), c.pid());
    }
}

fn pidfd_socket_of_exec(t: &Case) {
    let socket = Console::listen(&t.path("pidfd"));
    let c = t.started(&t.bundle());
    let pid = t.path("pid");
    let options = ["--detach", "--pid-file", pid.to_str().unwrap(), "--pidfd-socket", socket.path.to_str().unwrap()];
    c.call("exec", &options, &["sleep", "100"]).run().ok();
    assert_eq!(received(&socket).to_string(), read(&pid));
}

fn pidfd_receiver(t: &Case) {
    let socket = Console::listen(&t.path("pidfd"));
    let b = t.bundle();
    b.edit(|c| c["annotations"] = json!({"run.oci.pidfd_receiver": socket.path}));
    let c = t.create(&b);
    assert_eq!(received(&socket), c.pid());
}

fn pidfd_socket_that_nobody_listens_on_is_refused(t: &Case) {
    let b = t.bundle();
    let output = t.create_call(&["--pidfd-socket", t.path("nobody").to_str().unwrap()], &b).run();
    assert_has(output.refused(), "cannot connect to the pidfd socket");
    assert_eq!(std::fs::read_dir(t.state_root()).unwrap().count(), 0);
}

fn kill_by_expression(t: &Case) {
    let all: Vec<_> = (0..3).map(|_| t.started(&t.bundle())).collect();
    // The ids are c1, c2 and c3.
    let expression = format!("^({}|{})$", all[0].id, all[2].id);
    t.rt(&["kill", "--regex", &expression, "KILL"]).run().ok();
    all[0].wait_for("stopped");
    all[2].wait_for("stopped");
    assert_eq!(all[1].status(), "running");
    t.rt(&["kill", "-r", "no-such-.*", "KILL"]).run().ok();
    // One that does not run is an error, after the others had their turn.
    let output = t.rt(&["kill", "--regex", ".", "KILL"]).run();
    assert_has(output.refused(), "container not running");
    all[1].wait_for("stopped");
}

fn delete_by_expression(t: &Case) {
    let stopped = t.started(&t.bundle());
    let running = t.started(&t.bundle());
    stopped.kill("KILL").wait_for("stopped");
    let output = t.rt(&["delete", "-r", "."]).run();
    assert_has(output.refused(), &running.id);
    assert!(!stopped.known() && running.known());
    t.rt(&["delete", "--force", "--regex", &format!("^{}$", running.id)]).run().ok();
    assert!(!running.known());
}

fn an_expression_that_is_none_is_refused(t: &Case) {
    for verb in ["kill", "delete"] {
        assert_has(t.rt(&[verb, "--regex", "("]).run().refused(), "is no regular expression");
    }
}

/// A service manager's socket.
struct Manager {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Manager {
    fn listen(t: &Case) -> Self {
        let path = t.path("manager");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(patience())).expect("a timeout");
        Self { path, socket }
    }

    /// The next message. A descriptor that comes with it is closed, as by a manager that has seen to all before it.
    fn hear(&self) -> String {
        let mut bytes = [0; 4096];
        let len = self.socket.recv(&mut bytes).expect("a message");
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    }

    fn silent(&self) -> bool {
        self.socket.set_nonblocking(true).expect("nonblocking");
        self.socket.recv(&mut [0; 16]).is_err()
    }
}

const READY: &str = "probe notify STATUS=up READY=1 && sleep 300";

/// Runs the bundle in the foreground until it is ready, then ends it.
fn ready_in_the_foreground(t: &Case, b: &Bundle, address: &str, hear: impl Fn() -> String) {
    let c = Container::of(t, b);
    let mut run = t.run_call(&[], b).env("NOTIFY_SOCKET", address).begin();
    assert_eq!(hear(), "READY=1");
    assert_eq!(hear(), "BARRIER=1");
    c.kill("KILL");
    assert_eq!(runtime::wait(&mut run, patience()).expect("run ends").code(), Some(137));
}

fn readiness_in_the_foreground(t: &Case) {
    let manager = Manager::listen(t);
    let b = t.bundle_sh(READY);
    ready_in_the_foreground(t, &b, manager.path.to_str().unwrap(), || manager.hear());
    assert!(manager.silent());
}

fn readiness_when_detached(t: &Case) {
    let manager = Manager::listen(t);
    let b = t.bundle_sh(READY);
    let c = Container::of(t, &b);
    let mut call = t.run_call(&["--detach"], &b).env("NOTIFY_SOCKET", manager.path.to_str().unwrap()).begin();
    assert_eq!(manager.hear(), format!("MAINPID={}\nREADY=1", c.pid()));
    assert_eq!(manager.hear(), "BARRIER=1");
    assert!(runtime::wait(&mut call, patience()).expect("it ends").success());
}

fn readiness_after_start(t: &Case) {
    let manager = Manager::listen(t);
    let b = t.bundle_sh(READY);
    b.edit(|c| c["root"]["readonly"] = json!(true));
    let c = Container::of(t, &b);
    let address = manager.path.to_str().unwrap();
    t.create_call(&[], &b).env("NOTIFY_SOCKET", address).run().ok();
    assert_eq!(c.status(), "created");
    let mut call = c.call("start", &[], &[]).env("NOTIFY_SOCKET", address).begin();
    assert_eq!(manager.hear(), format!("MAINPID={}\nREADY=1", c.pid()));
    assert_eq!(manager.hear(), "BARRIER=1");
    assert!(runtime::wait(&mut call, patience()).expect("it ends").success());
    assert!(manager.silent());
    c.kill("KILL").wait_for("stopped").delete();
}

fn readiness_in_a_user_namespace(t: &Case) {
    let manager = Manager::listen(t);
    let b = t.bundle_sh(READY);
    b.userns(100_000, 65536);
    b.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    ready_in_the_foreground(t, &b, manager.path.to_str().unwrap(), || manager.hear());
}

fn readiness_that_never_comes(t: &Case) {
    // The end of the process is waited for instead; until then the container can be asked, killed and deleted.
    let manager = Manager::listen(t);
    let b = t.bundle_sh("probe notify STATUS=starting; sleep 300");
    let c = Container::of(t, &b);
    let mut run = t.run_call(&["--detach"], &b).env("NOTIFY_SOCKET", manager.path.to_str().unwrap()).begin();
    eventually("it runs", || (c.known() && c.status() == "running").then_some(()));
    assert!(run.try_wait().unwrap().is_none(), "it did not wait");
    c.delete_force().ok();
    assert!(runtime::wait(&mut run, patience()).expect("run ends").success());
    assert!(manager.silent());
}

fn readiness_of_an_abstract_socket(t: &Case) {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("aril-conformance-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let socket = UnixDatagram::bind_addr(&address).expect("a socket");
    socket.set_read_timeout(Some(patience())).expect("a timeout");
    let manager = Manager { path: PathBuf::new(), socket };
    let b = t.bundle_sh(READY);
    ready_in_the_foreground(t, &b, &format!("@{name}"), || manager.hear());
}

fn nothing_but_readiness_is_passed_on(t: &Case) {
    let manager = Manager::listen(t);
    let b = t.bundle_sh("probe notify MAINPID=1 FDSTORE=1; probe notify NOTREADY=1 READY=10; probe notify READY=1; sleep 300");
    ready_in_the_foreground(t, &b, manager.path.to_str().unwrap(), || manager.hear());
    assert!(manager.silent());
}

fn a_container_with_a_socket_of_its_own_keeps_it(t: &Case) {
    let manager = Manager::listen(t);
    let b = t.bundle_sh("echo $NOTIFY_SOCKET; test -e /run/notify || echo none");
    b.edit(|c| c["process"]["env"].as_array_mut().unwrap().push(json!("NOTIFY_SOCKET=/mine")));
    let output = t.run_call(&[], &b).env("NOTIFY_SOCKET", manager.path.to_str().unwrap()).run();
    assert_eq!(output.ok(), "/mine\nnone\n");
}

fn without_a_service_manager_there_is_no_socket(t: &Case) {
    let b = t.bundle_sh("echo ${NOTIFY_SOCKET-none}; test -e /run/notify || echo none");
    assert_eq!(t.run(&b).ok(), "none\nnone\n");
}

/// What a call that fails sends to a socket at this place of the machine, in a mount namespace of its own.
fn logged(t: &Case, log: &str, place: &str) -> (String, Output) {
    let path = t.path("log.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(patience())).expect("a timeout");
    let (top, dir) = (format!("/{}", place.split('/').nth(1).unwrap()), place.rsplit_once('/').unwrap().0);
    let script = format!(
        "exec unshare -m sh -ec 'mount -t tmpfs tmpfs {top}; mkdir -p {dir}; : > {place}; mount --bind {} {place}; exec \"$@\"' sh \"$@\"",
        path.display()
    );
    let output = t.rt(&["state", "nobody"]).globals(["--log", log]).shell(script).run();
    let mut bytes = [0; 4096];
    let len = socket.recv(&mut bytes).expect("a message");
    (String::from_utf8_lossy(&bytes[..len]).into_owned(), output)
}

fn log_to_journald(t: &Case) {
    let (entry, output) = logged(t, "journald:pod-1", "/run/systemd/journal/socket");
    assert_has(output.refused(), "container does not exist");
    let fields: Vec<_> = entry.lines().collect();
    assert_has(fields[0], "MESSAGE=container nobody does not exist");
    assert_eq!(fields[1..], ["PRIORITY=3", "SYSLOG_IDENTIFIER=aril", "ID=pod-1"]);
}

fn log_to_syslog(t: &Case) {
    let (line, output) = logged(t, "syslog:pod-1", "/dev/log");
    assert_has(output.refused(), "container does not exist");
    assert!(line.starts_with("<11>pod-1["), "{line}");
    assert_has(&line, "]: container nobody does not exist");
}

fn log_to_a_journal_that_is_not_there_is_refused(t: &Case) {
    let hide = "exec unshare -m sh -ec 'mount -t tmpfs tmpfs /run; exec \"$@\"' sh \"$@\"";
    let output = t.rt(&["list"]).globals(["--log", "journald:x"]).shell(hide).run();
    assert_has(output.refused(), "cannot open the log");
}

fn log_to_a_file_by_its_scheme(t: &Case) {
    let log = t.path("log");
    t.rt(&["state", "nobody"]).globals(["--log", &format!("file:{}", log.display())]).run().refused();
    assert_has(&read(&log), "container does not exist");
}

fn spec_by_another_name(t: &Case) {
    t.rt(&["spec", "--config", "other.json"]).cwd(t.mkdir("bundle")).run().ok();
    assert_has(&read(t.path("bundle/other.json")), "ociVersion");
    assert!(!present(t.path("bundle/config.json")));
}

fn the_state_root_is_made_sticky(t: &Case) {
    // Else systemd-tmpfiles may remove what is in a user's runtime directory and was not looked at for some hours.
    let root = t.path("user/aril");
    let b = t.bundle_sh("true");
    t.run_call(&[], &b).without_root().globals(["--root", root.to_str().unwrap()]).run().ok();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&root).unwrap().permissions());
    assert_eq!(format!("{:o}", mode & 0o7777), "1700");
}
