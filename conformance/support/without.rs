//! A machine without some feature of the kernel: a seccomp filter around a call of the runtime sends the system calls in question to a supervisor, which
//! answers those that would use the feature as a kernel without it does, and lets the others go on.
//!
//! The suite starts itself as the launcher: `conformance --without NAME FILE PROGRAM ARGUMENT…` installs the filter and becomes PROGRAM. What the
//! program starts is under the filter too, and the supervisor ends with the last of them. Each refusal is a line in FILE.
#![allow(unsafe_code)]

use libc::{c_int, c_long, c_ulong};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, exit};

/// What marks the launcher's command line.
pub const WORD: &str = "--without";

/// Which calls are refused, and how.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// `SYS_…`
    pub call: c_long,
    /// Which of them.
    pub when: When,
    /// The answer.
    pub errno: c_int,
}

/// A condition on an argument, counted from 0.
#[derive(Debug, Clone, Copy)]
pub enum When {
    Always,
    /// It has one of these bits.
    Bits(usize, u64),
    /// It is this.
    Is(usize, u64),
    /// It is this, and another one has one of these bits.
    IsWithBits((usize, u64), (usize, u64)),
    /// The 64 bits to which it points have one of these bits: the flags at the beginning of a structure.
    Points(usize, u64),
    /// It points to this text.
    Text(usize, &'static str),
    /// It is a descriptor of what is called so in `/proc/PID/fd`.
    Descriptor(usize, &'static str),
}

/// `struct seccomp_notif`
#[repr(C)]
#[derive(Default)]
struct Notification {
    id: u64,
    pid: u32,
    flags: u32,
    call: c_int,
    arch: u32,
    instruction: u64,
    args: [u64; 6],
}

/// `struct seccomp_notif_resp`
#[repr(C)]
#[derive(Default)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `SECCOMP_IOCTL_NOTIF_RECV`, `_IOWR('!', 0, struct seccomp_notif)`
const RECEIVE: c_ulong = 0xc050_2100;
/// `SECCOMP_IOCTL_NOTIF_SEND`, `_IOWR('!', 1, struct seccomp_notif_resp)`
const SEND: c_ulong = 0xc018_2101;

impl When {
    fn fits(self, seen: &Notification) -> bool {
        let memory = |arg: usize, buffer: &mut [u8]| {
            let memory = File::open(format!("/proc/{}/mem", seen.pid));
            memory.and_then(|memory| memory.read_at(buffer, seen.args[arg])).unwrap_or(0)
        };
        match self {
            When::Always => true,
            When::Bits(arg, bits) => seen.args[arg] & bits != 0,
            When::Is(arg, value) => seen.args[arg] == value,
            When::IsWithBits((arg, value), (other, bits)) => seen.args[arg] == value && seen.args[other] & bits != 0,
            When::Points(arg, bits) => {
                let mut word = [0; 8];
                memory(arg, &mut word) == word.len() && u64::from_ne_bytes(word) & bits != 0
            }
            When::Text(arg, text) => {
                let mut buffer = [0; 256];
                let n = memory(arg, &mut buffer);
                buffer[..n].starts_with(text.as_bytes()) && buffer.get(text.len()) == Some(&0)
            }
            When::Descriptor(arg, name) => {
                let link = std::fs::read_link(format!("/proc/{}/fd/{}", seen.pid, seen.args[arg]));
                link.is_ok_and(|link| link.as_os_str().to_string_lossy().contains(name))
            }
        }
    }
}

/// The launcher: `file` gets a line for each refusal, and this process becomes `program`. Never returns.
pub fn launch(rules: &[Rule], file: &OsString, program: &OsString, arguments: &[OsString]) -> ! {
    let (mut ours, theirs) = UnixStream::pair().expect("a socket pair");
    let launcher = Pid::from_raw(i32::try_from(std::process::id()).expect("a pid")).expect("a pid");
    let file = File::options().append(true).create(true).open(file).expect("the file of refusals");
    // Twice, so that the program has no child that it does not know of.
    if fork() == 0 {
        if fork() == 0 {
            drop(ours);
            supervise(rules, launcher, theirs, file);
        }
        exit(0);
    }
    drop((theirs, file));
    // SAFETY: no status is asked for.
    unsafe { libc::wait(std::ptr::null_mut()) };
    let listener = install(rules);
    ours.write_all(&listener.to_ne_bytes()).expect("the supervisor listens");
    ours.read_exact(&mut [0]).expect("the supervisor is ready");
    let error = Command::new(program).args(arguments).exec();
    panic!("{}: {error}", program.display());
}

fn fork() -> c_int {
    // SAFETY: this process has one thread.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    pid
}

/// Sends the calls that the rules speak of to the listener, whose number it gives.
fn install(rules: &[Rule]) -> RawFd {
    let op = |code: u32, jf: u8, k: u32| libc::sock_filter { code: u16::try_from(code).expect("16 bits"), jt: 0, jf, k };
    let mut program = vec![op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)]; // the number of the call
    for rule in rules {
        let number = u32::try_from(rule.call).expect("the number of a call");
        program.push(op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, number));
        program.push(op(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_USER_NOTIF));
    }
    program.push(op(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog { len: u16::try_from(program.len()).expect("16 bits"), filter: program.as_mut_ptr() };
    // SAFETY: the filter outlives the call.
    let listener = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER, &raw const filter)
    };
    assert!(listener >= 0, "seccomp: {}", std::io::Error::last_os_error());
    RawFd::try_from(listener).expect("a descriptor")
}

/// Answers until nobody is left who could ask.
fn supervise(rules: &[Rule], launcher: Pid, mut talk: UnixStream, mut file: File) -> ! {
    let null = File::options().read(true).write(true).open("/dev/null").expect("the null device");
    rustix::stdio::dup2_stdin(&null)
        .and_then(|()| rustix::stdio::dup2_stdout(&null))
        .and_then(|()| rustix::stdio::dup2_stderr(&null))
        .expect("dup2");
    let _ = rustix::process::setsid();
    let mut number = [0; 4];
    talk.read_exact(&mut number).expect("the number of the listener");
    let pidfd = pidfd_open(launcher, PidfdFlags::empty()).expect("pidfd_open");
    let listener = pidfd_getfd(pidfd, RawFd::from_ne_bytes(number), PidfdGetfdFlags::empty()).expect("pidfd_getfd");
    talk.write_all(&[1]).expect("the launcher waits");
    drop(talk);
    while asked(&listener) {
        let mut seen = Notification::default();
        // SAFETY: RECV fills in a zeroed seccomp_notif.
        if unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut seen) } < 0 {
            continue; // it was killed meanwhile
        }
        let mut answer = Response { id: seen.id, ..Response::default() };
        match rules.iter().find(|rule| rule.call == c_long::from(seen.call) && rule.when.fits(&seen)) {
            Some(rule) => {
                answer.error = -rule.errno;
                file.write_all(b"refused\n").expect("the file of refusals");
            }
            None => answer.flags = 1, // SECCOMP_USER_NOTIF_FLAG_CONTINUE
        }
        // SAFETY: SEND reads a seccomp_notif_resp. It fails if the process was killed meanwhile.
        unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw const answer) };
    }
    exit(0)
}

/// Waits for a call; false if no process is left that could make one.
fn asked(listener: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut ready = [PollFd::new(listener, PollFlags::IN)];
    match poll(&mut ready, None) {
        Ok(_) => !ready[0].revents().contains(PollFlags::HUP),
        Err(rustix::io::Errno::INTR) => true,
        Err(error) => panic!("poll: {error}"),
    }
}
