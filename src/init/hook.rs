//! Hooks that run in the container: createContainer (before the pivot) and startContainer (before the user's program).

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
}

/// Runs the hook: the container's state, which the host gives, on its standard input; the last of what it writes into the report.
pub(crate) fn run(x: &mut Executor, talk: &Talk, step: u32, hook: &Hook<'_>) -> Result<()> {
    let state = talk.ask(About::Ask, step, -1)?;
    let (input, output) = (pipe()?, pipe()?);
    let (pid, pidfd) = sys::fork(0, general::SIGCHLD)?;
    if pid == 0 {
        sys::prctl(prctl::PR_SET_PDEATHSIG, general::SIGKILL as usize)?;
        let errno = become_hook(hook, input[0], output[1]).map_or_else(|failure| failure.errno, |()| 0);
        sys::exit(if errno == errno::ENOENT { 127 } else { 126 });
    }
    close_all(&[input[0], output[1]]);
    // A hook that closes its input early must not end this process by SIGPIPE.
    sys::block_signals(1 << (general::SIGPIPE - 1))?;
    let result = attend(x, state, input[1], output[0], pidfd, hook.timeout).and_then(|()| reap(x, pidfd));
    close_all(&[output[0], pidfd]);
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
    for (file, stdio) in [(input, 0), (output, 1), (output, 2)] {
        call(Sysno::fcntl, [fd(file), general::F_SETFL as usize, 0, 0, 0, 0])?;
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

/// Feeds it, reads it, and waits until it ends; its children may hold the pipes longer. Out of time it is killed.
fn attend(x: &mut Executor, mut state: &[u8], mut input: i32, output: i32, pidfd: i32, timeout: u32) -> Result<()> {
    let end = sys::now()? + u64::from(timeout) * 1000;
    let wait = sys::pollfd;
    x.detail.set(b"");
    let mut output_open = true;
    loop {
        if state.is_empty() && input >= 0 {
            close(input);
            input = -1;
        }
        let left = if timeout == 0 { None } else { Some(end.saturating_sub(sys::now()?)) };
        let mut ready =
            [wait(pidfd, general::POLLIN), wait(if output_open { output } else { -1 }, general::POLLIN), wait(input, general::POLLOUT)];
        if sys::poll(&mut ready, left)? == 0 {
            let _ = call(Sysno::pidfd_send_signal, [fd(pidfd), general::SIGKILL as usize, 0, 0, 0, 0]);
            let _ = reap(x, pidfd);
            x.detail.set(b"the hook did not end in time");
            return Err(failure(Sysno::waitid, errno::ETIMEDOUT));
        }
        if ready[1].revents != 0 {
            let mut words = [0_u8; 512];
            let n = sys::read(output, &mut words).unwrap_or(0);
            output_open = n > 0;
            x.detail.push(&words[..n]);
        } else if ready[0].revents != 0 {
            if input >= 0 {
                close(input);
            }
            return Ok(());
        }
        if ready[2].revents != 0 {
            // A hook that does not read its state is none the worse for it.
            match call(Sysno::write, [fd(input), state.as_ptr() as usize, state.len(), 0, 0, 0]) {
                Ok(n) => state = &state[n..],
                Err(_) => state = &[],
            }
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
