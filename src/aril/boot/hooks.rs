//! Hooks that the host runs: prestart, createRuntime, poststart, poststop.

use super::open::log;
use crate::compile::hooks::{Hook, Output};
use crate::error::{Doing, Error, Result};
use crate::sys::process::Exit;
use crate::sys::program::{Program, execute};
use crate::sys::{self, Errno};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// So much of what a hook writes is kept for the message: its end.
const OUTPUT_MAX: usize = 2048;
/// So much is read at once, and so often after the hook has ended: what a pipe holds (pipe(7)). Its children may write without end.
const CHUNK: usize = 4096;
const CHUNKS_AFTER: u32 = 16;

/// Runs hooks in order, with the container's state on their standard input, in `cwd` (the bundle), with no environment but their own. What they
/// write goes to the files of `output`, or else into the message of the error.
///
/// # Errors
/// The first that fails: it cannot be executed, does not end in time, or ends with another status than 0.
pub fn run_all(hooks: &[Hook], state: &str, cwd: &Path, output: &Output) -> Result<()> {
    hooks.iter().try_for_each(|hook| run(hook, state, cwd, output))
}

/// Runs one hook.
///
/// # Errors
/// As of [`run_all`].
pub fn run(hook: &Hook, state: &str, cwd: &Path, output: &Output) -> Result<()> {
    let at = crate::config::Pointer::to(&hook.at);
    attempt(hook, state, cwd, output).doing_at(&at, || format!("hook {} failed", hook.path.to_string_lossy()))
}

fn attempt(hook: &Hook, state: &str, cwd: &Path, files: &Output) -> Result<()> {
    let file = |path: &Option<PathBuf>| path.as_deref().map(log).transpose();
    let (stdout, stderr) = (file(&files.stdout)?, file(&files.stderr)?);
    let (output, theirs) = std::io::pipe().map_err(|e| sys::Error::bare("pipe", sys::fs::errno(&e)))?;
    // A file for standard input: a hook that does not read it, or only part of it, neither blocks nor breaks anything.
    let input = sys::fs::memfd(c"aril-state", state.as_bytes())?;
    let theirs = OwnedFd::from(theirs);
    let (output_file, error_file) = (stdout.as_ref().unwrap_or(&theirs), stderr.as_ref().unwrap_or(&theirs));
    let how = Program { path: &hook.path, args: &hook.args, env: &hook.env, cwd, input: &input, output: output_file, error: error_file };
    let child = execute(&how)?;
    drop(theirs);
    let mut words = Vec::new();
    let in_time = follow(&mut File::from(OwnedFd::from(output)), &child.pidfd, hook.timeout, &mut words);
    if !matches!(in_time, Ok(true)) {
        sys::process::pidfd_send_signal(&child.pidfd, libc::SIGKILL)?;
    }
    let exit = sys::process::wait(&child.pidfd)?;
    let words = String::from_utf8_lossy(&words);
    let words = if words.trim().is_empty() { String::new() } else { format!(": {}", words.trim()) };
    match (in_time?, exit) {
        (false, _) => Err(Error::Other(format!("it did not end in {} s{words}", hook.timeout.unwrap_or(0)))),
        (true, Exit::Code(0)) => Ok(()),
        (true, Exit::Code(code)) => Err(Error::Other(format!("exit status {code}{words}"))),
        (true, Exit::Signal(signal)) => Err(Error::Other(format!("signal {signal}{words}"))),
    }
}

/// Reads what a process writes until it ends; its children may hold the pipe longer. Whether it ended in time.
fn follow(output: &mut File, process: impl AsFd, timeout: Option<u32>, words: &mut Vec<u8>) -> Result<bool> {
    let end = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let (mut open, mut after) = (true, 0);
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let time =
            left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX));
        let mut ready = [PollFd::new(process.as_fd(), PollFlags::POLLIN), PollFd::new(output.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready[..if open { 2 } else { 1 }], time) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(sys::Error::bare("poll", errno).into()),
        }
        let (ended, readable) = (ready[0].any().unwrap_or(false), open && ready[1].any().unwrap_or(false));
        after += u32::from(ended);
        match (ended, readable) {
            (true, false) => return Ok(true),
            (true, true) if after > CHUNKS_AFTER => return Ok(true),
            (false, _) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
            (_, true) => {
                let mut buffer = [0; CHUNK];
                let n = output.read(&mut buffer).unwrap_or(0);
                open = n > 0;
                words.extend_from_slice(&buffer[..n]);
                let excess = words.len().saturating_sub(OUTPUT_MAX);
                words.drain(..excess);
            }
            (false, false) => {}
        }
    }
}
