//! Hooks that run in the container: createContainer (before the pivot) and startContainer (before the user's program).

use crate::process::EndsBy;
use crate::report::Talk;
use crate::run::Executor;
use crate::sys::{self, Result, call, close, close_all, failure, fd};
use aril_plan::List;
use aril_plan::talk::About;
use core::ffi::CStr;
use linux_raw_sys::{errno, general, prctl};
use syscalls::Sysno;

/// What [`aril_plan::Op::Hook`] says.
pub(crate) struct Hook<'a> {
    pub(crate) path: &'a CStr,
    pub(crate) args: List<'a>,
    pub(crate) env: List<'a>,
    /// In seconds; 0 is without end.
    pub(crate) timeout: u32,
    /// Files for standard output and error; -1 is a pipe of this process's.
    pub(crate) output: [i32; 2],
}

/// What is read at once, and how often once the hook has ended: together what a pipe holds (pipe(7)). Its children may write without end.
const CHUNK: usize = 512;
const CHUNKS_AFTER: usize = (64 << 10) / CHUNK;

/// Runs the hook: the container's state, which the host gives, on its standard input; the last of what it writes into the report.
///
/// A container that is created is ended by the signals that end it at the gate, the hook with it.
pub(crate) fn run(x: &mut Executor, talk: &Talk, step: u32, hook: &Hook<'_>) -> Result<()> {
    let state = talk.ask(About::Ask, step, -1)?;
    let (input, output) = (pipe()?, pipe()?);
    let (pid, pidfd) = sys::fork(0, general::SIGCHLD)?;
    if pid == 0 {
        sys::prctl(prctl::PR_SET_PDEATHSIG, general::SIGKILL as usize)?;
        if let Err(failure) = become_hook(hook, input[0], output[1]) {
            // Before this process's own report of the exit status: the first is heard.
            talk.fault(step, failure, &[]);
        }
        sys::exit(126);
    }
    close_all(&[input[0], output[1]]);
    // A hook that closes its input early must not end this process by SIGPIPE.
    const PIPE: u64 = 1 << (general::SIGPIPE - 1);
    let ends = if x.free { Some(EndsBy::signals(PIPE)?) } else { None };
    if ends.is_none() {
        sys::block_signals(PIPE)?;
    }
    let mut attendance = Attendance { state, input: input[1], output: output[0], pidfd, ends };
    let result = attendance.attend(x, hook.timeout).and_then(|()| reap(x, pidfd));
    close_all(&[attendance.input, attendance.output, pidfd]);
    if let Some(ends) = attendance.ends {
        ends.close();
    }
    drain_pipe_signal()?;
    result
}

/// Takes a pending SIGPIPE away and unblocks it.
fn drain_pipe_signal() -> Result<()> {
    let (mask, zero) = (1_u64 << (general::SIGPIPE - 1), [0_u64; 2]);
    let _ = call(Sysno::rt_sigtimedwait, [(&raw const mask) as usize, 0, zero.as_ptr() as usize, 8, 0, 0]);
    sys::block_signals(0)
}

fn pipe() -> Result<[i32; 2]> {
    let mut ends = [0_i32; 2];
    call(Sysno::pipe2, [ends.as_mut_ptr() as usize, (general::O_CLOEXEC | general::O_NONBLOCK) as usize, 0, 0, 0, 0])?;
    Ok(ends)
}

/// In the child. Its own ends must block: a program does not expect otherwise.
fn become_hook(hook: &Hook<'_>, input: i32, output: i32) -> Result<()> {
    for end in [input, output] {
        call(Sysno::fcntl, [fd(end), general::F_SETFL as usize, 0, 0, 0, 0])?;
    }
    let [stdout, stderr] = hook.output.map(|file| if file < 0 { output } else { file });
    for (file, stdio) in [(input, 0), (stdout, 1), (stderr, 2)] {
        call(Sysno::dup3, [fd(file), stdio, 0, 0, 0, 0])?;
    }
    let argv = sys::allocate_pointers(hook.args.len() + 1)?;
    for (place, arg) in argv.iter_mut().zip(hook.args.iter()) {
        *place = arg.as_ptr();
    }
    let envp = sys::allocate_pointers(hook.env.len() + 1)?;
    for (place, variable) in envp.iter_mut().zip(hook.env.iter()) {
        *place = variable.as_ptr();
    }
    call(Sysno::execve, [hook.path.as_ptr() as usize, argv.as_ptr() as usize, envp.as_ptr() as usize, 0, 0, 0]).map(drop)
}

/// A hook that runs, and what is left of its state.
struct Attendance<'a> {
    state: &'a [u8],
    input: i32,
    output: i32,
    pidfd: i32,
    ends: Option<EndsBy>,
}

impl Attendance<'_> {
    /// Feeds it, reads it, and waits until it ends; its children may hold the pipes longer. Out of time it is killed.
    fn attend(&mut self, x: &mut Executor, timeout: u32) -> Result<()> {
        let end = sys::now()? + u64::from(timeout) * 1000;
        x.detail.set(b"");
        let mut after = 0;
        loop {
            if self.state.is_empty() {
                self.close_input();
            }
            let left = if timeout == 0 { None } else { Some(end.saturating_sub(sys::now()?)) };
            let signals = self.ends.as_ref().map_or(-1, EndsBy::file);
            let watched =
                [(self.pidfd, general::POLLIN), (self.output, general::POLLIN), (self.input, general::POLLOUT), (signals, general::POLLIN)];
            let mut ready = watched.map(|(file, events)| sys::pollfd(file, events));
            sys::poll(&mut ready, left)?;
            let [ended, readable, writable, signalled] = ready.map(|one| one.revents != 0);
            if let (true, Some(ends)) = (signalled, &self.ends) {
                self.kill();
                ends.end()?;
            }
            after += usize::from(ended);
            if ended && (!readable || after > CHUNKS_AFTER) {
                return Ok(());
            }
            if !ended && left == Some(0) {
                self.kill();
                let _ = reap(x, self.pidfd);
                x.detail.prefix(b"the hook did not end in time");
                return Err(failure(Sysno::waitid, errno::ETIMEDOUT));
            }
            if readable {
                self.read(x);
            }
            if writable {
                self.write();
            }
        }
    }

    fn kill(&self) {
        let _ = call(Sysno::pidfd_send_signal, [fd(self.pidfd), general::SIGKILL as usize, 0, 0, 0, 0]);
    }

    fn close_input(&mut self) {
        if self.input >= 0 {
            close(self.input);
            self.input = -1;
        }
    }

    fn read(&mut self, x: &mut Executor) {
        let mut words = [0_u8; CHUNK];
        let n = sys::read(self.output, &mut words).unwrap_or(0);
        x.detail.roll(&words[..n]);
        if n == 0 {
            close(self.output);
            self.output = -1;
        }
    }

    /// A hook that does not read its state is none the worse for it.
    fn write(&mut self) {
        match call(Sysno::write, [fd(self.input), self.state.as_ptr() as usize, self.state.len(), 0, 0, 0]) {
            Ok(n) => self.state = &self.state[n..],
            Err(_) => self.state = &[],
        }
    }
}

/// The hook's end: status 0 or a failure that says what it was.
fn reap(x: &mut Executor, pidfd: i32) -> Result<()> {
    const P_PIDFD: usize = 3;
    let mut info = [0_i32; 32]; // siginfo_t: si_signo, si_errno, si_code, padding, si_pid, si_uid, si_status
    call(Sysno::waitid, [P_PIDFD, fd(pidfd), info.as_mut_ptr() as usize, general::WEXITED as usize, 0, 0])?;
    let (code, status) = (info[2], info[6]);
    const CLD_EXITED: i32 = 1;
    if code == CLD_EXITED && status == 0 {
        return Ok(());
    }
    let mut text = Reason { text: [0; 32], len: 0 };
    text.push(if code == CLD_EXITED { b"exit status " } else { b"signal " });
    text.number(status.unsigned_abs());
    x.detail.prefix(&text.text[..text.len]);
    Err(failure(Sysno::waitid, 0))
}

/// `exit status 3`
struct Reason {
    text: [u8; 32],
    len: usize,
}

impl Reason {
    fn push(&mut self, bytes: &[u8]) {
        self.text[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn number(&mut self, n: u32) {
        if n >= 10 {
            self.number(n / 10);
        }
        self.push(&[b'0' + (n % 10) as u8]);
    }
}
