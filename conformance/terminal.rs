//! config.md: process.terminal and process.consoleSize, with the runtime itself at the terminal's other end.

use crate::support::*;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};

pub const TESTS: &[Test] = suite![
    run_at_a_terminal_gives_the_process_one,
    the_terminal_is_the_controlling_one,
    the_terminal_is_of_the_containers_devpts,
    dev_console_is_the_terminal,
    dev_console_over_a_file_of_the_image,
    size_of_the_callers_terminal_is_passed_on,
    output_comes_once,
    input_reaches_the_process,
    the_exit_status_comes_through,
    the_callers_terminal_is_restored,
    a_change_of_size_is_passed_on,
    no_terminal_means_none,
    the_terminal_belongs_to_the_user,
    create_without_a_socket_is_refused,
    run_detached_without_a_socket_is_refused,
    a_process_without_terminal_cannot_push_input,
];

/// A pty of the test's own; the runtime is at its slave.
pub(crate) struct Pty {
    pub(crate) master: OwnedFd,
    slave: String,
}

pub(crate) fn pty(rows: u16, columns: u16) -> Pty {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let slave = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    tcsetwinsize(&master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    rustix::io::ioctl_fionbio(&master, true).unwrap();
    Pty { master, slave }
}

impl Pty {
    pub(crate) fn open(&self) -> File {
        // O_NOCTTY, lest it become the terminal of the test itself.
        rustix::fs::open(
            &self.slave,
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .unwrap()
        .into()
    }

    fn run(&self, t: &Case, b: &Bundle) -> Child {
        self.call(t.run_call(&[], b))
    }

    /// Makes a call at this terminal.
    pub(crate) fn call(&self, call: Call<'_>) -> Child {
        let stdio = || Stdio::from(self.open());
        call.shell("exec setsid -c \"$@\"").spawn(stdio(), stdio(), stdio())
    }

    /// What has come until `enough` is content.
    pub(crate) fn read_until(&self, text: &mut String, enough: impl Fn(&str) -> bool) {
        let seen = std::cell::RefCell::new(std::mem::take(text));
        eventually("the terminal says it", || {
            let mut bytes = [0; 4096];
            if let Ok(got) = rustix::io::read(&self.master, &mut bytes) {
                seen.borrow_mut().push_str(&String::from_utf8_lossy(&bytes[..got]));
            }
            enough(&seen.borrow()).then_some(())
        });
        *text = seen.into_inner();
    }
}

/// Runs a bundle at a terminal of this size to its end; what came out, and the exit status.
fn at_terminal(t: &Case, b: &Bundle, rows: u16, columns: u16) -> (String, i32) {
    b.edit(|c| c["process"]["terminal"] = json!(true));
    let _guard = Container::of(t, b);
    let pty = pty(rows, columns);
    let held = pty.open();
    let mut child = pty.run(t, b);
    let mut text = String::new();
    let mut bytes = [0; 4096];
    let status = eventually("run ends", || {
        while let Ok(got) = rustix::io::read(&pty.master, &mut bytes) {
            text.push_str(&String::from_utf8_lossy(&bytes[..got]));
        }
        child.try_wait().unwrap()
    });
    while let Ok(got) = rustix::io::read(&pty.master, &mut bytes) {
        text.push_str(&String::from_utf8_lossy(&bytes[..got]));
    }
    drop(held);
    (text.replace('\r', ""), status.code().unwrap_or(-1))
}

fn probe(t: &Case) -> String {
    let b = t.bundle();
    b.args(&["probe", "tty"]);
    let (text, code) = at_terminal(t, &b, 31, 97);
    assert_eq!(code, 0, "{text}");
    text
}

fn run_at_a_terminal_gives_the_process_one(t: &Case) {
    let text = probe(t);
    for fd in ["tty0", "tty1", "tty2"] {
        assert_has(&text, &format!("{fd}: 1 "));
    }
}

fn the_terminal_is_the_controlling_one(t: &Case) {
    let text = probe(t);
    assert_has(&text, "session: 1");
    assert_has(&text, "foreground: 1");
    assert_has(&text, "control: 1");
}

fn the_terminal_is_of_the_containers_devpts(t: &Case) {
    let text = probe(t);
    assert!(text.contains("/dev/pts/0") || text.contains("/dev/console"), "{text}");
    let b = t.bundle_sh("ls /dev/pts");
    assert_eq!(at_terminal(t, &b, 24, 80).0.split_whitespace().collect::<Vec<_>>(), ["0", "ptmx"]);
}

fn dev_console_is_the_terminal(t: &Case) {
    let b = t.bundle_sh("probe rdev /dev/console; probe rdev $(readlink /proc/self/fd/0); echo to-console > /dev/console");
    let (text, _) = at_terminal(t, &b, 24, 80);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("c 136:0 "), "{text}");
    assert_has(&text, "to-console");
}

fn dev_console_over_a_file_of_the_image(t: &Case) {
    let b = t.bundle_sh("probe rdev /dev/console");
    for at in ["/dev", "/dev/shm", "/dev/mqueue"] {
        b.unmount(at);
    }
    write(b.root("/dev/console"), "of the image");
    let (text, code) = at_terminal(t, &b, 24, 80);
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("c 136:"), "{text}");
    assert_eq!(read(b.root("/dev/console")), "of the image");
}

fn size_of_the_callers_terminal_is_passed_on(t: &Case) {
    // Some runtimes set it a moment after the start.
    let b = t.bundle_sh("n=0; while ! probe tty | grep '^size: [1-9]' && test $n -lt 100; do n=$((n + 1)); sleep 0.05; done");
    assert_eq!(at_terminal(t, &b, 31, 97).0, "size: 31 97\n");
}

fn output_comes_once(t: &Case) {
    let b = t.bundle_sh("echo only-once");
    let (text, code) = at_terminal(t, &b, 24, 80);
    assert_eq!((text.as_str(), code), ("only-once\n", 0));
}

fn input_reaches_the_process(t: &Case) {
    let b = t.bundle_sh("echo ready; read line; echo \"got $line\"");
    b.edit(|c| c["process"]["terminal"] = json!(true));
    let _guard = Container::of(t, &b);
    let pty = pty(24, 80);
    let _held = pty.open();
    let mut child = pty.run(t, &b);
    let mut text = String::new();
    pty.read_until(&mut text, |text| text.contains("ready"));
    rustix::io::write(&pty.master, b"hello\n").unwrap();
    pty.read_until(&mut text, |text| text.contains("got hello"));
    assert!(runtime::wait(&mut child, patience()).expect("run ends").success());
}

fn the_exit_status_comes_through(t: &Case) {
    assert_eq!(at_terminal(t, &t.bundle_sh("exit 42"), 24, 80).1, 42);
}

fn the_callers_terminal_is_restored(t: &Case) {
    let b = t.bundle_sh("stty -echo; exit 0");
    b.edit(|c| c["process"]["terminal"] = json!(true));
    let _guard = Container::of(t, &b);
    let pty = pty(24, 80);
    let held = pty.open();
    let before = rustix::termios::tcgetattr(&held).unwrap();
    let mut child = pty.run(t, &b);
    assert!(runtime::wait(&mut child, patience()).expect("run ends").success());
    let after = rustix::termios::tcgetattr(&held).unwrap();
    assert_eq!((after.local_modes, after.input_modes, after.output_modes), (before.local_modes, before.input_modes, before.output_modes));
}

fn a_change_of_size_is_passed_on(t: &Case) {
    let b = t.bundle_sh("trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done");
    b.edit(|c| c["process"]["terminal"] = json!(true));
    let _guard = Container::of(t, &b);
    let pty = pty(24, 80);
    let _held = pty.open();
    let mut child = pty.run(t, &b);
    let mut text = String::new();
    pty.read_until(&mut text, |text| text.contains("ready"));
    tcsetwinsize(&pty.master, Winsize { ws_row: 44, ws_col: 133, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    pty.read_until(&mut text, |text| text.contains("44 133"));
    assert!(runtime::wait(&mut child, patience()).expect("run ends").success());
    assert_eq!(tcgetwinsize(&pty.master).unwrap().ws_col, 133);
}

fn no_terminal_means_none(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "tty"]);
    let text = t.run(&b).ok().to_owned();
    assert_has(&text, "tty0: 0 ");
    assert_has(&text, "control: 0");
}

fn the_terminal_belongs_to_the_user(t: &Case) {
    let b = t.bundle_sh("probe rdev $(tty); echo x > $(tty)");
    b.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let (text, code) = at_terminal(t, &b, 24, 80);
    assert_eq!(code, 0, "{text}");
    assert!(text.lines().next().unwrap().contains(" 1000:"), "{text}");
}

fn create_without_a_socket_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["process"]["terminal"] = json!(true));
    assert_has(&t.refused(&b).to_lowercase(), "console");
}

fn run_detached_without_a_socket_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["process"]["terminal"] = json!(true));
    let _guard = Container::of(t, &b);
    t.run_call(&["--detach"], &b).run().refused();
}

/// CVE-2017-5226: a process that shares the caller's terminal as its controlling one could push input into it.
fn a_process_without_terminal_cannot_push_input(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "sticky-tioc"]);
    let _guard = Container::of(t, &b);
    let pty = pty(24, 80);
    let _held = pty.open();
    let mut child = pty.run(t, &b);
    let mut text = String::new();
    pty.read_until(&mut text, |text| text.contains('\n'));
    runtime::wait(&mut child, patience()).expect("run ends");
    assert_lacks(&text, "ok");
}
