//! What callers hand over and wait for: the console socket, standard streams, preserved descriptors, the pid file.

use crate::support::*;
use rustix::termios::tcgetwinsize;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

pub const TESTS: &[Test] = suite![
    the_socket_gets_one_terminal_in_one_message,
    the_terminal_comes_before_create_returns,
    the_terminal_speaks_for_the_process,
    the_terminal_is_complete,
    console_size_is_set,
    console_size_absent_is_zero,
    console_size_without_a_terminal_is_ignored,
    resizing_the_master_reaches_the_process,
    the_end_of_the_process_closes_the_terminal,
    run_detached_with_a_socket,
    a_socket_without_terminal_is_refused,
    a_missing_socket_is_refused,
    a_socket_nobody_listens_at_is_refused,
    a_socket_with_a_long_path,
    terminal_user_owns_it,
    standard_streams_are_handed_on_as_they_are,
    no_helper_holds_standard_output_after_create,
    no_helper_holds_standard_output_after_run_detached,
    the_runtime_ends_before_the_container,
    pipes_close_with_the_process,
    the_pid_file_has_no_newline,
    the_pid_file_of_run_detached,
    the_pid_file_is_there_when_create_returns,
    the_pid_file_replaces_an_old_one,
    a_pid_file_that_cannot_be_written_is_refused,
    preserved_descriptors,
    more_preserved_than_there_are_is_refused,
    preserve_fds_zero,
    listen_fds,
    listen_fds_of_another_process_are_ignored,
    notify_socket_is_not_leaked_when_absent,
    the_runtime_gets_by_without_standard_streams,
    death_of_the_caller_in_created_leaves_the_container,
];

/// A container at a terminal whose other end came over a console socket.
fn with_console<'a>(t: &'a Case, b: &Bundle, verb: &[&str]) -> (Container<'a>, std::os::fd::OwnedFd) {
    let console = socket::Console::listen(&t.path("console.sock"));
    b.edit(|c| c["process"]["terminal"] = json!(true));
    let c = Container::of(t, b);
    let words =
        [&[verb[0], "--bundle", b.dir().to_str().unwrap(), "--console-socket", console.path.to_str().unwrap()], &verb[1..], &[b.id()]]
            .concat();
    t.rt(&words).run().ok();
    let (mut message, rest) = console.receive();
    assert_eq!((message.fds.len(), rest), (1, 0), "one descriptor in one message");
    assert!(!message.bytes.is_empty(), "a message without a byte carries nothing");
    fs::remove_file(&console.path).unwrap();
    (c, message.fds.remove(0))
}

/// Reads until the text has `needle`, or the terminal is closed.
fn read_until(master: &std::os::fd::OwnedFd, needle: &str) -> String {
    rustix::io::ioctl_fionbio(master, true).unwrap();
    let mut text = String::new();
    eventually(&format!("the terminal says {needle:?}"), || {
        let mut bytes = [0; 4096];
        match rustix::io::read(master, &mut bytes) {
            Ok(got) => text.push_str(&String::from_utf8_lossy(&bytes[..got])),
            Err(rustix::io::Errno::IO) => return Some(()),
            Err(_) => {}
        }
        text.contains(needle).then_some(())
    });
    text
}

fn the_socket_gets_one_terminal_in_one_message(t: &Case) {
    let (_c, master) = with_console(t, &t.bundle(), &["create"]);
    assert!(rustix::termios::isatty(&master));
    assert!(rustix::pty::ptsname(&master, Vec::new()).is_ok(), "the master end");
}

fn the_terminal_comes_before_create_returns(t: &Case) {
    // with_console makes the call first and then accepts: that it got a message is the proof. The container is still in created.
    let (c, _master) = with_console(t, &t.bundle(), &["create"]);
    assert_eq!(c.status(), "created");
}

fn the_terminal_speaks_for_the_process(t: &Case) {
    let (c, master) = with_console(t, &t.bundle_sh("read x; echo \"got $x\""), &["create"]);
    c.start();
    rustix::io::write(&master, b"hello\n").unwrap();
    assert_has(&read_until(&master, "got hello"), "got hello");
}

fn the_terminal_is_complete(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "tty"]);
    let (c, master) = with_console(t, &b, &["create"]);
    c.start();
    let text = read_until(&master, "control: ");
    for part in ["tty0: 1 ", "tty1: 1 ", "tty2: 1 ", "session: 1", "foreground: 1"] {
        assert_has(&text, part);
    }
}

fn console_size_is_set(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "tty"]);
    b.edit(|c| c["process"]["consoleSize"] = json!({"height": 33, "width": 121}));
    let (c, master) = with_console(t, &b, &["create"]);
    let size = tcgetwinsize(&master).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (33, 121));
    c.start();
    assert_has(&read_until(&master, "size: "), "size: 33 121");
}

fn console_size_without_a_terminal_is_ignored(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "tty"]);
    b.edit(|c| c["process"]["consoleSize"] = json!({"height": 33, "width": 121}));
    for terminal in [json!(false), Value::Null] {
        b.edit(|c| c["process"]["terminal"] = terminal);
        assert_has(t.run(&b).ok(), "tty0: 0 ");
    }
}

fn console_size_absent_is_zero(t: &Case) {
    let (_c, master) = with_console(t, &t.bundle(), &["create"]);
    let size = tcgetwinsize(&master).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (0, 0));
}

fn resizing_the_master_reaches_the_process(t: &Case) {
    let (c, master) = with_console(t, &t.bundle_sh("trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"), &["create"]);
    c.start();
    read_until(&master, "ready");
    rustix::termios::tcsetwinsize(&master, rustix::termios::Winsize { ws_row: 55, ws_col: 66, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    read_until(&master, "55 66");
}

fn the_end_of_the_process_closes_the_terminal(t: &Case) {
    let (c, master) = with_console(t, &t.bundle_sh("exit 0"), &["create"]);
    c.start().wait_for("stopped");
    rustix::io::ioctl_fionbio(&master, true).unwrap();
    eventually("the terminal is closed", || (rustix::io::read(&master, &mut [0_u8; 100]) == Err(rustix::io::Errno::IO)).then_some(()));
}

fn run_detached_with_a_socket(t: &Case) {
    let (c, master) = with_console(t, &t.bundle_sh("echo from-run; sleep 100"), &["run", "--detach"]);
    read_until(&master, "from-run");
    assert_eq!(c.status(), "running");
}

fn a_socket_without_terminal_is_refused(t: &Case) {
    let console = socket::Console::listen(&t.path("console.sock"));
    let b = t.bundle();
    let _guard = Container::of(t, &b);
    t.create_call(&["--console-socket", console.path.to_str().unwrap()], &b).run().refused();
    assert!(console.untouched());
}

fn refused_socket(t: &Case, path: &str) {
    let b = t.bundle();
    b.edit(|c| c["process"]["terminal"] = json!(true));
    let _guard = Container::of(t, &b);
    let text = t.create_call(&["--console-socket", path], &b).run().refused().to_owned();
    assert_has(&text, "sock");
    assert!(!present(t.state_root().join(b.id())));
}

fn a_missing_socket_is_refused(t: &Case) {
    refused_socket(t, t.path("absent.sock").to_str().unwrap());
}

fn a_socket_nobody_listens_at_is_refused(t: &Case) {
    drop(std::os::unix::net::UnixListener::bind(t.path("dead.sock")).unwrap());
    refused_socket(t, t.path("dead.sock").to_str().unwrap());
}

fn a_socket_with_a_long_path(t: &Case) {
    // Past the 107 bytes of sun_path: whoever listens binds it by a short way, and the runtime must find one too.
    let dir = t.mkdir(&"long-name-".repeat(12));
    let path = dir.join("console.sock");
    assert!(path.as_os_str().len() > 108);
    let short = t.path("s");
    std::os::unix::fs::symlink(&dir, &short).unwrap();
    let console = socket::Console::listen(&short.join("console.sock"));
    let b = t.bundle();
    b.edit(|c| c["process"]["terminal"] = json!(true));
    let _guard = Container::of(t, &b);
    t.create_call(&["--console-socket", path.to_str().unwrap()], &b).run().ok();
    assert_eq!(console.receive().0.fds.len(), 1);
}

fn terminal_user_owns_it(t: &Case) {
    let b = t.bundle_sh("stat -c '%u' $(tty); sleep 100");
    b.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let (c, master) = with_console(t, &b, &["create"]);
    c.start();
    assert_has(&read_until(&master, "\n"), "1000");
}

fn standard_streams_are_handed_on_as_they_are(t: &Case) {
    // A socket, a file and a pipe: whatever they are, the process has them itself.
    let (b, out) = (t.bundle(), t.path("out"));
    b.args(&["probe", "fds"]);
    let c = Container::of(t, &b);
    let (mine, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut create = t.create_call(&[], &b).spawn(
        Stdio::from(std::os::fd::OwnedFd::from(theirs)),
        fs::File::create(&out).unwrap().into(),
        Stdio::null(),
    );
    assert!(runtime::wait(&mut create, patience()).expect("create ends").success());
    c.start().wait_for("stopped");
    drop(mine);
    let text = read(&out);
    assert_has(&text, "0 socket:");
    assert_has(&text, &format!("1 {}", out.display()));
    assert_has(&text, "2 /dev/null");
}

/// Reads a pipe that was the runtime's standard output to its end.
fn to_the_end(mut pipe: std::process::ChildStdout) -> String {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = pipe.read_to_string(&mut text);
        let _ = send.send(text);
    });
    receive.recv_timeout(patience()).expect("something still holds standard output")
}

fn no_helper_holds_standard_output_after_create(t: &Case) {
    let b = t.bundle_sh("echo out");
    let c = Container::of(t, &b);
    let mut create = t.create_call(&[], &b).spawn(Stdio::null(), Stdio::piped(), Stdio::null());
    let pipe = create.stdout.take().unwrap();
    assert!(runtime::wait(&mut create, patience()).expect("create ends").success());
    c.start().wait_for("stopped");
    assert_eq!(to_the_end(pipe), "out\n");
}

fn no_helper_holds_standard_output_after_run_detached(t: &Case) {
    let b = t.bundle_sh("echo out; exec >/dev/null 2>&1; sleep 100");
    let c = Container::of(t, &b);
    let mut run = t.run_call(&["--detach"], &b).spawn(Stdio::null(), Stdio::piped(), Stdio::null());
    let pipe = run.stdout.take().unwrap();
    assert!(runtime::wait(&mut run, patience()).expect("run ends").success());
    assert_eq!(to_the_end(pipe), "out\n");
    assert_eq!(c.status(), "running");
}

fn the_runtime_ends_before_the_container(t: &Case) {
    let c = t.started(&t.bundle());
    let name = t.environment.runtime.file_name().unwrap().to_string_lossy().into_owned();
    let state_root = t.state_root().display().to_string();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let cmdline = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        assert!(!(cmdline.contains(&name) && cmdline.contains(&state_root)), "a helper stays: {}", cmdline.replace('\0', " "));
    }
    drop(c);
}

fn pipes_close_with_the_process(t: &Case) {
    let b = t.bundle_sh("echo out; exit 0");
    let mut run = t.run_call(&[], &b).spawn(Stdio::null(), Stdio::piped(), Stdio::null());
    let pipe = run.stdout.take().unwrap();
    assert_eq!(to_the_end(pipe), "out\n");
    assert!(runtime::wait(&mut run, patience()).expect("run ends").success());
}

fn the_pid_file_has_no_newline(t: &Case) {
    let (b, file) = (t.bundle(), t.path("pid"));
    let c = Container::of(t, &b);
    t.create_call(&["--pid-file", file.to_str().unwrap()], &b).run().ok();
    assert_eq!(read(&file), c.pid().to_string());
}

fn the_pid_file_of_run_detached(t: &Case) {
    let (b, file) = (t.bundle(), t.path("pid"));
    let c = Container::of(t, &b);
    t.run_call(&["--detach", "--pid-file", file.to_str().unwrap()], &b).run().ok();
    assert_eq!(read(&file), c.pid().to_string());
}

fn the_pid_file_is_there_when_create_returns(t: &Case) {
    let b = t.bundle();
    let c = Container::of(t, &b);
    // Relative to the caller's directory, not to the bundle.
    t.create_call(&["--pid-file", "rel.pid"], &b).cwd(t.path("")).run().ok();
    assert_eq!(read(t.path("rel.pid")), c.pid().to_string());
    let left: Vec<_> = fs::read_dir(t.path("")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["rel.pid"], "no temporary file is left");
}

fn the_pid_file_replaces_an_old_one(t: &Case) {
    let (b, file) = (t.bundle(), t.path("pid"));
    write(&file, "a much longer text than a pid is");
    let c = Container::of(t, &b);
    t.create_call(&["--pid-file", file.to_str().unwrap()], &b).run().ok();
    assert_eq!(read(&file), c.pid().to_string());
}

fn a_pid_file_that_cannot_be_written_is_refused(t: &Case) {
    let b = t.bundle();
    let c = Container::of(t, &b);
    t.create_call(&["--pid-file", "/no/such/dir/pid"], &b).run().refused();
    assert!(!c.known());
}

fn preserved_descriptors(t: &Case) {
    write(t.path("three"), "of three\n");
    write(t.path("four"), "of four\n");
    let b = t.bundle_sh("cat <&3; cat <&4; probe fds | cut -d' ' -f1 | tr '\\n' ' '");
    let script = format!("exec 3<{} 4<{} 5</dev/null; exec \"$@\"", t.path("three").display(), t.path("four").display());
    let _guard = Container::of(t, &b);
    let output = t.run_call(&["--preserve-fds", "2"], &b).shell(script).run();
    assert_eq!(output.ok(), "of three\nof four\n0 1 2 3 4 ");
}

fn more_preserved_than_there_are_is_refused(t: &Case) {
    let b = t.bundle();
    let _guard = Container::of(t, &b);
    let text = t.create_call(&["--preserve-fds", "3"], &b).shell("exec 3</dev/null; exec \"$@\"").run();
    assert_has(text.refused(), "fd");
}

fn preserve_fds_zero(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "fds"]);
    let output = t.run_call(&["--preserve-fds", "0"], &b).shell("exec 3</dev/null; exec \"$@\"").run();
    assert_eq!(output.ok().lines().count(), 3, "{}", output.stdout);
}

fn listen_fds(t: &Case) {
    write(t.path("three"), "socket three\n");
    let b = t.bundle_sh("cat <&3; env | grep LISTEN | sort");
    let script = format!("exec 3<{}; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web; exec \"$@\"", t.path("three").display());
    let output = t.run_call(&[], &b).shell(script).run();
    assert_eq!(output.ok(), "socket three\nLISTEN_FDNAMES=web\nLISTEN_FDS=1\nLISTEN_PID=1\n");
}

fn listen_fds_of_another_process_are_ignored(t: &Case) {
    let b = t.bundle_sh("env | grep -c LISTEN; probe fds | wc -l");
    let output = t.run_call(&[], &b).shell("exec 3</dev/null; export LISTEN_PID=1 LISTEN_FDS=1; exec \"$@\"").run();
    assert!(output.stdout.ends_with("0\n3\n"), "{}{}", output.stdout, output.stderr);
}

fn notify_socket_is_not_leaked_when_absent(t: &Case) {
    assert_eq!(t.sh("env | grep -c NOTIFY; true", |_| ()), "0\n");
}

fn the_runtime_gets_by_without_standard_streams(t: &Case) {
    let b = t.bundle();
    let c = Container::of(t, &b);
    t.create_call(&[], &b).shell("exec 0<&- 1>&- 2>&-; exec \"$@\"").run().ok();
    assert_eq!(c.status(), "created");
    assert_eq!(fs::metadata("/dev/null").unwrap().mode() & 0o777, 0o666);
}

fn death_of_the_caller_in_created_leaves_the_container(t: &Case) {
    // As with a shim that dies: the container waits for whoever comes next.
    let b = t.bundle();
    let c = Container::of(t, &b);
    t.create_call(&[], &b).shell("setsid sh -c '\"$@\"; exit' sh \"$@\"").run().ok();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(c.status(), "created");
    c.start();
    assert_eq!(c.status(), "running");
}
