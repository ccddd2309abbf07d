//! Runs a command under ptrace(2), counts its system calls by role, and does something to it at one of them.

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::fs::File;
use std::io::{IoSliceMut, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use syscalls::Sysno;

/// Longer than any command may take.
pub fn hang() -> Duration {
    slowly(Duration::from_secs(10))
}

/// On a machine where more wants to run than there are processors, so many times as long, up to six; and `TIME_FACTOR` times, as in the conformance
/// suite: an emulated machine is slow.
pub fn slowly(time: Duration) -> Duration {
    let first = |text: String| text.split_whitespace().next().and_then(|n| n.parse::<f64>().ok());
    let load = std::fs::read_to_string("/proc/loadavg").ok().and_then(first).unwrap_or(0.0);
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
    let factor = std::env::var("TIME_FACTOR").ok().and_then(first).unwrap_or(1.0);
    time.mul_f64((load / processors).clamp(1.0, 6.0) * factor)
}
/// When the command has ended, those that it left are still followed until they have been quiet for so long.
const QUIET: Duration = Duration::from_millis(4);

/// Whose call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// A thread of the command itself.
    Host,
    /// A process that it made, until that becomes the user's program or a hook; or the container's first process, which waits.
    Container,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Host => "host",
            Role::Container => "container",
        }
    }
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Whom {
    This,
    Other,
    Both,
}

/// What is done at the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL before the call is made.
    Kill(Whom),
    /// The call is not made, and fails with this errno.
    Errno(i32),
    /// One byte is written.
    Short,
    /// The process stands still for so many milliseconds before the call.
    Delay(u64),
    /// The process stands still until [`Tracer::release`].
    Hold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point {
    pub role: Role,
    /// From 0.
    pub number: usize,
    pub fault: Fault,
}

/// A call that was seen.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub nr: Option<Sysno>,
    /// The runtime is at its command's work: it has named one of the files of this run.
    pub at_work: bool,
    /// It writes more than a byte to a regular file, a pipe or a socket.
    pub can_be_short: bool,
}

impl Call {
    pub fn name(&self) -> &'static str {
        self.nr.map_or("?", |nr| nr.name())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Code(i32),
    Signal(i32),
    Hung,
}

#[derive(Debug)]
pub struct Outcome {
    pub end: End,
    /// The call where it was done.
    pub hit: Option<Call>,
    /// The calls, by role.
    pub calls: HashMap<Role, Vec<Call>>,
    pub output: String,
    pub error: String,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Job {
    pub args: Vec<String>,
    /// Processes that are followed from the beginning as the container's.
    pub attach: Vec<i32>,
    /// Resource limits and cgroups, for the launcher: see `launch`.
    pub limits: Vec<String>,
}

#[derive(Debug)]
struct Tracee {
    role: Role,
    in_call: bool,
    held: Option<Instant>,
    stopped: bool,
    /// The value that the call returns instead of its own.
    replace: Option<i64>,
}

/// One command under trace.
#[derive(Debug)]
pub struct Tracer {
    main: i32,
    point: Option<Point>,
    log: bool,
    work: String,
    tracees: HashMap<i32, Tracee>,
    calls: HashMap<Role, Vec<Call>>,
    counts: HashMap<Role, usize>,
    hit: Option<Call>,
    at_work: bool,
    main_end: Option<End>,
    /// The ends of children that are not followed.
    ends: HashMap<i32, End>,
    started: Instant,
    files: [PathBuf; 2],
}

/// SIGCHLD is waited for, never delivered.
pub fn block_sigchld() {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).expect("sigprocmask");
}

fn options() -> Options {
    Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL
}

impl Tracer {
    /// Starts the command; it stands before its first instruction until [`Tracer::run`] or [`Tracer::until_held`].
    pub fn start(job: &Job, point: Option<Point>, work: &Path, name: &str) -> Tracer {
        let files = ["out", "err"].map(|kind| work.join(format!("{name}.{kind}")));
        let [out, err] = files.each_ref().map(|path| File::create(path).expect("a file for output"));
        let mut tracees = HashMap::new();
        for pid in &job.attach {
            if ptrace::seize(Pid::from_raw(*pid), options()).is_ok() {
                let _ = ptrace::interrupt(Pid::from_raw(*pid));
                tracees.insert(*pid, Tracee::new(Role::Container));
            }
        }
        let mut command = Command::new("/proc/self/exe");
        command.arg("launch").args(&job.limits).arg("--").args(&job.args);
        command.stdin(Stdio::piped()).stdout(out).stderr(err);
        #[allow(clippy::zombie_processes)] // it is waited for like all that it makes
        let mut child = command.spawn().expect("the launcher");
        let main = i32::try_from(child.id()).expect("a pid");
        ptrace::seize(Pid::from_raw(main), options()).expect("ptrace");
        child.stdin.take().expect("a pipe").write_all(b"!").expect("the launcher reads");
        tracees.insert(main, Tracee::new(Role::Host));
        Tracer {
            main,
            point,
            log: point.is_none(),
            work: work.to_string_lossy().into_owned(),
            tracees,
            calls: HashMap::new(),
            counts: HashMap::new(),
            hit: None,
            at_work: false,
            main_end: None,
            ends: HashMap::new(),
            started: Instant::now(),
            files,
        }
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Outcome {
        self.follow(|_| false);
        self.finish()
    }

    /// Runs it until it is held, or has ended. Whether it is held.
    pub fn until_held(&mut self) -> bool {
        self.follow(|tracer| tracer.tracees.values().any(|t| t.held.is_some()));
        self.main_end.is_none() && self.hit.is_some()
    }

    /// Serves the others for a while, the held ones standing. Returns early when `done` says so.
    pub fn serve(&mut self, milliseconds: u64, done: impl Fn(&Tracer) -> bool) {
        let end = Instant::now() + slowly(Duration::from_millis(milliseconds));
        while Instant::now() < end && !done(self) {
            if !self.drain() {
                std::thread::sleep(Duration::from_micros(300));
            }
        }
    }

    /// How another child of this process ended.
    pub fn end_of(&self, pid: i32) -> Option<End> {
        self.ends.get(&pid).copied()
    }

    /// The name of the call where it is held.
    pub fn hit_name(&self) -> &'static str {
        self.hit.map_or("?", |call| call.name())
    }

    pub fn end(&self) -> Option<End> {
        self.main_end
    }

    /// Lets those go that are held.
    pub fn release(&mut self) {
        let held: Vec<i32> = self.tracees.iter().filter(|(_, t)| t.held.is_some()).map(|(pid, _)| *pid).collect();
        for pid in held {
            if let Some(tracee) = self.tracees.get_mut(&pid) {
                tracee.held = None;
            }
            self.go_on(pid, NONE);
        }
    }

    /// Handles what there is to handle; whether there was anything.
    fn drain(&mut self) -> bool {
        let mut any = false;
        while let Ok(Some((pid, news))) = news() {
            any = true;
            self.on(pid, news);
        }
        any
    }

    fn follow(&mut self, stop: impl Fn(&Tracer) -> bool) {
        let mut quiet_since = Instant::now();
        loop {
            if self.drain() {
                quiet_since = Instant::now();
            }
            if stop(self) {
                return;
            }
            self.resume_due();
            if self.main_end.is_some() {
                let waiting = self.tracees.values().any(|t| t.held.is_some());
                if self.tracees.is_empty() || (!waiting && quiet_since.elapsed() >= QUIET) {
                    return;
                }
            } else if self.started.elapsed() > hang() {
                self.main_end = Some(End::Hung);
                let _ = kill(Pid::from_raw(self.main), Signal::SIGKILL);
                return;
            }
            let patience = if self.main_end.is_some() { 1 } else { self.patience() };
            wait_for_child(patience);
        }
    }

    /// In milliseconds.
    fn patience(&self) -> u64 {
        let due = self.tracees.values().filter_map(|t| t.held).min();
        due.map_or(200, |due| u64::try_from(due.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(0) + 1).min(200)
    }

    fn resume_due(&mut self) {
        if matches!(self.point, Some(Point { fault: Fault::Hold, .. })) {
            return;
        }
        let now = Instant::now();
        let due: Vec<i32> = self.tracees.iter().filter(|(_, t)| t.held.is_some_and(|at| at <= now)).map(|(pid, _)| *pid).collect();
        for pid in due {
            if let Some(tracee) = self.tracees.get_mut(&pid) {
                tracee.held = None;
            }
            self.go_on(pid, NONE);
        }
    }

    fn on(&mut self, pid: Pid, news: News) {
        match news {
            News::Ended(end) => self.gone(pid, end),
            News::Call => self.at_call(pid),
            News::Event(event) => self.at_event(pid, event),
            News::Signal(signal) => {
                self.know(pid);
                self.go_on(pid.as_raw(), signal);
            }
        }
    }

    fn gone(&mut self, pid: Pid, end: End) {
        if self.tracees.remove(&pid.as_raw()).is_none() {
            self.ends.insert(pid.as_raw(), end);
        }
        if pid.as_raw() == self.main && self.main_end.is_none() {
            self.main_end = Some(end);
        }
    }

    /// One that is heard of for the first time was made by one of those that are followed.
    fn know(&mut self, pid: Pid) {
        let number = pid.as_raw();
        if !self.tracees.contains_key(&number) {
            let role = if group(number) == Some(self.main) { Role::Host } else { Role::Container };
            self.tracees.insert(number, Tracee::new(role));
        }
        if let Some(tracee) = self.tracees.get_mut(&number) {
            tracee.stopped = true;
        }
    }

    fn at_event(&mut self, pid: Pid, event: i32) {
        self.know(pid);
        if event == nix::libc::PTRACE_EVENT_EXEC {
            if pid.as_raw() != self.main && is_payload(pid.as_raw()) {
                let _ = ptrace::detach(pid, None);
                self.tracees.remove(&pid.as_raw());
                return;
            }
            if let Some(tracee) = self.tracees.get_mut(&pid.as_raw()) {
                tracee.in_call = true; // of execve, whose end is the next stop
            }
        }
        self.go_on(pid.as_raw(), NONE);
    }

    fn at_call(&mut self, pid: Pid) {
        self.know(pid);
        let number = pid.as_raw();
        let Some(tracee) = self.tracees.get_mut(&number) else { return };
        if tracee.in_call {
            tracee.in_call = false;
            if let Some(value) = tracee.replace.take() {
                set_result(pid, value);
            }
            self.go_on(number, NONE);
            return;
        }
        tracee.in_call = true;
        let role = tracee.role;
        let count = self.counts.entry(role).or_default();
        let index = *count;
        *count += 1;
        let here = self.point.is_some_and(|point| point.role == role && point.number == index);
        if self.log || here || !self.at_work {
            let call = self.look(pid);
            if self.log {
                self.calls.entry(role).or_default().push(call);
            }
            // Where this run's calls are not quite the first one's.
            let moot = matches!(self.point, Some(Point { fault: Fault::Errno(_), .. })) && crate::sweep::cannot_fail(call.nr);
            if here && !moot {
                self.hit = Some(call);
                return self.strike(pid, call);
            }
        }
        self.go_on(number, NONE);
    }

    fn look(&mut self, pid: Pid) -> Call {
        let Some(regs) = Regs::of(pid) else { return Call { nr: None, at_work: self.at_work, can_be_short: false } };
        let nr = usize::try_from(regs.nr()).ok().and_then(Sysno::new);
        if !self.at_work {
            self.at_work = regs.args()[..2].iter().any(|at| text_at(pid, *at).starts_with(&self.work));
        }
        let can_be_short =
            matches!(nr, Some(Sysno::write | Sysno::pwrite64 | Sysno::sendto)) && regs.args()[2] > 1 && takes_part(pid, regs.args()[0]);
        Call { nr, at_work: self.at_work, can_be_short }
    }

    fn strike(&mut self, pid: Pid, call: Call) {
        let Some(point) = self.point else { return };
        let number = pid.as_raw();
        match point.fault {
            Fault::Kill(whom) => {
                let victims: Vec<i32> = self
                    .tracees
                    .iter()
                    .filter(|(_, t)| match whom {
                        Whom::This => t.role == point.role,
                        Whom::Other => t.role != point.role,
                        Whom::Both => true,
                    })
                    .map(|(pid, _)| *pid)
                    .collect();
                for victim in victims {
                    let _ = kill(Pid::from_raw(victim), Signal::SIGKILL);
                }
            }
            Fault::Errno(errno) => {
                // close(2) closes whatever it returns.
                if call.nr != Some(Sysno::close) {
                    skip_call(pid);
                }
                if let Some(tracee) = self.tracees.get_mut(&number) {
                    tracee.replace = Some(-i64::from(errno));
                }
                // Its end is to be seen.
                let _ = ptrace::syscall(pid, None);
                return;
            }
            Fault::Short => {
                if call.can_be_short {
                    set_count(pid, 1);
                }
            }
            Fault::Delay(milliseconds) => {
                if let Some(tracee) = self.tracees.get_mut(&number) {
                    tracee.held = Some(Instant::now() + Duration::from_millis(milliseconds));
                }
                return;
            }
            Fault::Hold => {
                if let Some(tracee) = self.tracees.get_mut(&number) {
                    tracee.held = Some(Instant::now());
                }
                return;
            }
        }
        self.go_on(number, NONE);
    }

    /// Calls are of interest until it is done, and only those of its role.
    fn go_on(&mut self, pid: i32, signal: i32) {
        let Some(tracee) = self.tracees.get_mut(&pid) else { return };
        tracee.stopped = false;
        let watch = tracee.replace.is_some()
            || self.log
            || (self.hit.is_none()
                && (self.point.is_some_and(|point| point.role == tracee.role) || (tracee.role == Role::Host && !self.at_work)));
        if !watch {
            tracee.in_call = false;
        }
        resume(if watch { nix::libc::PTRACE_SYSCALL } else { nix::libc::PTRACE_CONT }, Pid::from_raw(pid), signal);
    }

    fn let_go(&mut self) {
        // One that was just made may not have been heard of: it stands, with what it was born with.
        for pid in traced() {
            self.tracees.entry(pid).or_insert_with(|| Tracee::new(Role::Container));
        }
        // One that stands is let go at once; the others are stopped for it.
        self.tracees.retain(|pid, _| ptrace::detach(Pid::from_raw(*pid), None).is_err() && ptrace::interrupt(Pid::from_raw(*pid)).is_ok());
        let end = Instant::now() + slowly(Duration::from_secs(10));
        while !self.tracees.is_empty() && Instant::now() < end {
            // Of any: the end of a namespace's first process waits until the others' ends have been taken.
            let (pid, news) = match news() {
                Ok(Some(heard)) => heard,
                Ok(None) => {
                    wait_for_child(1);
                    continue;
                }
                Err(_) => return,
            };
            match news {
                News::Signal(signal) => resume(nix::libc::PTRACE_DETACH, pid, signal),
                News::Call | News::Event(_) => resume(nix::libc::PTRACE_DETACH, pid, NONE),
                News::Ended(_) => {}
            }
            self.tracees.remove(&pid.as_raw());
        }
    }

    /// Lets go of everybody. What is left lives on untraced.
    fn finish(mut self) -> Outcome {
        self.let_go();
        let [output, error] =
            self.files.each_ref().map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned());
        let calls = std::mem::take(&mut self.calls);
        Outcome { end: self.main_end.unwrap_or(End::Hung), hit: self.hit, calls, output, error }
    }
}

impl Tracee {
    fn new(role: Role) -> Tracee {
        Tracee { role, in_call: false, held: None, stopped: false, replace: None }
    }
}

/// What is heard of one that is followed. (nix loses it where it is about a real-time signal, with which a C library makes every thread of a process
/// change its ids: the thread would stand for ever.)
enum News {
    Ended(End),
    Call,
    Event(i32),
    Signal(i32),
}

/// In the place of a signal.
const NONE: i32 = 0;

/// The next of it, if there is any. An error: there is nobody to hear of.
#[allow(unsafe_code)]
fn news() -> nix::Result<Option<(Pid, News)>> {
    use nix::libc;
    let mut status = 0;
    // SAFETY: there is room for the status.
    let pid = nix::errno::Errno::result(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) })?;
    let news = if libc::WIFEXITED(status) {
        News::Ended(End::Code(libc::WEXITSTATUS(status)))
    } else if libc::WIFSIGNALED(status) {
        News::Ended(End::Signal(libc::WTERMSIG(status)))
    } else {
        match (libc::WSTOPSIG(status), status >> 16) {
            (signal, _) if signal == libc::SIGTRAP | 0x80 => News::Call,
            (libc::SIGTRAP, event) if event != 0 => News::Event(event),
            (signal, _) => News::Signal(signal),
        }
    };
    Ok((pid > 0).then_some((Pid::from_raw(pid), news)))
}

/// Lets one go on that stands, with a signal or with none. One that was killed meanwhile does not stand any more.
#[allow(unsafe_code)]
fn resume(request: nix::libc::c_uint, pid: Pid, signal: i32) {
    // SAFETY: none of the requests that let go on has to do with the memory of this process.
    unsafe { nix::libc::ptrace(request, pid.as_raw(), 0, signal) };
}

/// Waits for a SIGCHLD, or so many milliseconds.
pub fn wait_for_child(milliseconds: u64) {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    let limit = nix::sys::time::TimeSpec::from_duration(Duration::from_millis(milliseconds));
    let _ = timed_wait(&set, limit);
}

#[allow(unsafe_code)]
fn timed_wait(set: &SigSet, limit: nix::sys::time::TimeSpec) -> i32 {
    // SAFETY: a set and a time to read; nobody wants the siginfo.
    unsafe { nix::libc::sigtimedwait(set.as_ref(), std::ptr::null_mut(), limit.as_ref()) }
}

/// The processes that this one traces.
fn traced() -> Vec<i32> {
    let own = format!("TracerPid:\t{}\n", std::process::id());
    let pids = crate::world::names(Path::new("/proc")).into_iter().filter_map(|name| name.parse::<i32>().ok());
    pids.filter(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains(&own))).collect()
}

/// The thread group of a thread.
fn group(tid: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())
}

/// The user's program and the hooks are all busybox; ps(1) is the host's.
fn is_payload(pid: i32) -> bool {
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    exe.to_string_lossy().contains("busybox") || exe.ends_with("ps")
}

fn text_at(pid: Pid, address: u64) -> String {
    let mut buffer = [0; 256];
    let base = usize::try_from(address).unwrap_or(0);
    // Not over the end of a page that may be the last.
    let len = (4096 - base % 4096).min(buffer.len());
    let remote = [RemoteIoVec { base, len }];
    let n = process_vm_readv(pid, &mut [IoSliceMut::new(&mut buffer[..len])], &remote).unwrap_or(0);
    let text = &buffer[..n];
    String::from_utf8_lossy(text.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// What the kernel's own files take is taken whole or not at all.
fn takes_part(pid: Pid, fd: u64) -> bool {
    let target = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
    let target = target.to_string_lossy();
    !target.is_empty() && !target.starts_with("/proc/") && !target.starts_with("/sys/") && !target.starts_with("anon_inode:")
}

#[cfg(target_arch = "x86_64")]
struct Regs(nix::libc::user_regs_struct);

#[cfg(target_arch = "x86_64")]
impl Regs {
    fn of(pid: Pid) -> Option<Regs> {
        ptrace::getregs(pid).ok().map(Regs)
    }

    fn nr(&self) -> u64 {
        self.0.orig_rax
    }

    fn args(&self) -> [u64; 3] {
        [self.0.rdi, self.0.rsi, self.0.rdx]
    }
}

#[cfg(target_arch = "x86_64")]
fn change(pid: Pid, edit: impl FnOnce(&mut nix::libc::user_regs_struct)) {
    if let Ok(mut regs) = ptrace::getregs(pid) {
        edit(&mut regs);
        let _ = ptrace::setregs(pid, regs);
    }
}

/// The kernel makes no call of the number -1.
#[cfg(target_arch = "x86_64")]
fn skip_call(pid: Pid) {
    change(pid, |regs| regs.orig_rax = u64::MAX);
}

#[cfg(target_arch = "x86_64")]
fn set_result(pid: Pid, value: i64) {
    change(pid, |regs| regs.rax = value.cast_unsigned());
}

#[cfg(target_arch = "x86_64")]
fn set_count(pid: Pid, count: u64) {
    change(pid, |regs| regs.rdx = count);
}

/// Only x86_64 so far: elsewhere the number of a call stands in a register set of its own.
#[cfg(not(target_arch = "x86_64"))]
struct Regs;

#[cfg(not(target_arch = "x86_64"))]
impl Regs {
    fn of(_: Pid) -> Option<Regs> {
        None
    }

    fn nr(&self) -> u64 {
        0
    }

    fn args(&self) -> [u64; 3] {
        [0; 3]
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn skip_call(_: Pid) {}

#[cfg(not(target_arch = "x86_64"))]
fn set_result(_: Pid, _: i64) {}

#[cfg(not(target_arch = "x86_64"))]
fn set_count(_: Pid, _: u64) {}
