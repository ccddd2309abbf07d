//! Running a program of the host: a hook, or one whose words are wanted.

use super::process::{Child, wait};
use super::{Errno, Error, Result};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};

/// Runs a command to its end, with nothing to read, and gives its status and what it wrote. It writes to files in memory:
/// [`Command::output`] has pipes, and panics where one cannot be read.
///
/// # Errors
/// The errno of the call that failed, with the program's name.
pub fn output(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let [mut stdout, mut stderr] = [super::fs::memfd(c"stdout", b"")?, super::fs::memfd(c"stderr", b"")?].map(File::from);
    let failed = |call, e: std::io::Error| Error::new(call, &name, super::fs::errno(&e));
    let handles = stdout.try_clone().and_then(|out| Ok((out, stderr.try_clone()?))).map_err(|e| failed("dup", e))?;
    let child = command.stdin(Stdio::null()).stdout(handles.0).stderr(handles.1).spawn();
    let status: ExitStatus = child.map_err(|e| failed("execve", e))?.wait().map_err(|e| failed("waitpid", e))?;
    let text = |file: &mut File| -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes).map(|_| bytes)
    };
    let (stdout, stderr) = text(&mut stdout).and_then(|out| Ok((out, text(&mut stderr)?))).map_err(|e| failed("read", e))?;
    Ok(Output { status, stdout, stderr })
}

/// How [`execute`] starts a program.
#[derive(Debug)]
pub struct Program<'a> {
    /// The program.
    pub path: &'a CStr,
    /// Its arguments, the name among them.
    pub args: &'a [CString],
    /// Its environment, exactly.
    pub env: &'a [CString],
    /// Its working directory.
    pub cwd: &'a Path,
    /// Its standard input.
    pub input: &'a OwnedFd,
    /// Its standard output.
    pub output: &'a OwnedFd,
    /// Its standard error.
    pub error: &'a OwnedFd,
}

/// Starts a program of the host with default signals and no descriptor but the three. It does not outlive this process.
///
/// # Errors
/// The errno of the call that failed, `execve(2)` among them.
pub fn execute(program: &Program<'_>) -> Result<Child> {
    let pointers = |strings: &[CString]| strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>();
    let cwd = super::fs::open(program.cwd, nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_DIRECTORY, 0)?;
    let mut start = Start {
        path: program.path.as_ptr(),
        argv: pointers(program.args),
        envp: pointers(program.env),
        cwd: cwd.as_raw_fd(),
        stdio: [program.input.as_raw_fd(), program.output.as_raw_fd(), program.error.as_raw_fd()],
        parent: nix::unistd::getpid().as_raw(),
        failed: 0,
    };
    let mut stack = vec![0_u8; 32 << 10];
    let mut pidfd: RawFd = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut mask = SigSet::empty();
    SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map(|old| mask = old).map_err(|e| Error::bare("sigprocmask", e))?;
    // SAFETY: with CLONE_VFORK this thread stands still as long as the child uses its memory and the stack that is its own; the stack grows down from
    // an end that the allocation aligns to 16 bytes. No signal handler runs in the child: all signals are blocked until they have their defaults.
    let result = unsafe {
        let top = stack.as_mut_ptr().add(stack.len()).cast();
        libc::clone(become_program, top, flags, (&raw mut start).cast(), &raw mut pidfd)
    };
    let result = Errno::result(result).map_err(|e| Error::bare("clone", e));
    mask.thread_set_mask().map_err(|e| Error::bare("sigprocmask", e))?;
    let pid = result?;
    // SAFETY: CLONE_PIDFD made the kernel store a new descriptor there.
    let child = Child { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } };
    if start.failed != 0 {
        wait(&child.pidfd)?;
        return Err(Error::new("execve", program.path, Errno::from_raw(start.failed)));
    }
    Ok(child)
}

/// What the child of [`execute`] needs, and what became of it.
struct Start {
    path: *const libc::c_char,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    cwd: RawFd,
    stdio: [RawFd; 3],
    parent: i32,
    failed: i32,
}

/// In the child: nothing but system calls, on its own stack and in its parent's memory.
extern "C" fn become_program(start: *mut libc::c_void) -> libc::c_int {
    let start = start.cast::<Start>();
    // SAFETY: `execute` waits and has the structure, which nobody else uses; all that is done with it are system calls on what it points to.
    unsafe {
        (*start).failed = become_or_fail(&*start) as i32;
        libc::_exit(127)
    }
}

/// Returns only if it fails.
fn become_or_fail(start: &Start) -> Errno {
    let tried = || -> nix::Result<()> {
        // A hook that hangs must not stay behind when this process is killed. Whoever is gone already sends no signal any more.
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        if nix::unistd::getppid().as_raw() != start.parent {
            return Err(Errno::ESRCH);
        }
        // SAFETY: numbers, and pointers to what lives in the parent, which stands still.
        unsafe {
            for signal in (1..=64).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP, 32, 33].contains(signal)) {
                libc::signal(signal, libc::SIG_DFL);
            }
            for (fd, stdio) in start.stdio.iter().zip(0..) {
                Errno::result(libc::dup2(*fd, stdio))?;
            }
            Errno::result(libc::fchdir(start.cwd))?;
            // Those that whoever started this process has left open.
            Errno::result(libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC))?;
        }
        SigSet::empty().thread_set_mask()?;
        // SAFETY: arrays of C strings that end with a null pointer.
        Errno::result(unsafe { libc::execve(start.path, start.argv.as_ptr(), start.envp.as_ptr()) }).map(drop)
    };
    tried().err().unwrap_or(Errno::EIO)
}

#[cfg(test)]
mod tests {
    use super::output;
    use crate::sys::Errno;
    use std::process::Command;

    #[test]
    fn a_command_is_heard_to_its_end() {
        let said = output(Command::new("sh").args(["-c", "cat; echo out; echo err >&2; exit 3"])).expect("sh");
        assert_eq!((said.status.code(), said.stdout.as_slice(), said.stderr.as_slice()), (Some(3), &b"out\n"[..], &b"err\n"[..]));
        let error = output(&mut Command::new("/no/such/program")).expect_err("no program");
        assert_eq!((error.errno, error.to_string()), (Errno::ENOENT, "execve \"/no/such/program\": no such file or directory".to_owned()));
    }
}
