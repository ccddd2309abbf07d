//! Hooks that the host runs: prestart, createRuntime, poststart, poststop.

use crate::compile::hooks::Hook;
use crate::error::{Doing, Error, Result};
use crate::sys::{self, Errno};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// So much of what a hook writes is kept for the message: its end.
const OUTPUT_MAX: usize = 2048;

/// Runs hooks in order, with the container's state on their standard input, in `cwd` (the bundle), with no environment but their own.
///
/// # Errors
/// The first that fails: it cannot be executed, does not end in time, or ends with another status than 0.
pub fn run_all(hooks: &[Hook], state: &str, cwd: &Path) -> Result<()> {
    hooks.iter().try_for_each(|hook| run(hook, state, cwd))
}

/// Runs one hook.
///
/// # Errors
/// As of [`run_all`].
pub fn run(hook: &Hook, state: &str, cwd: &Path) -> Result<()> {
    let at = crate::config::Pointer::to(&hook.at);
    attempt(hook, state, cwd).doing_at(&at, || format!("hook {} failed", hook.path.to_string_lossy()))
}

fn attempt(hook: &Hook, state: &str, cwd: &Path) -> Result<()> {
    let text = |c: &std::ffi::CString| OsStr::from_bytes(c.as_bytes()).to_owned();
    let failed = |call: &str, e: &std::io::Error| Error::from(sys::Error::new(call, &hook.path, sys::fs::errno(e)));
    let (output, theirs) = std::io::pipe().map_err(|e| failed("pipe", &e))?;
    let (name, args) = hook.args.split_first().map_or((&hook.path, &[][..]), |(name, args)| (name, args));
    let mut command = Command::new(text(&hook.path));
    command.arg0(text(name)).args(args.iter().map(text)).env_clear().current_dir(cwd);
    for variable in &hook.env {
        let bytes = variable.as_bytes();
        let (key, value) = bytes.iter().position(|b| *b == b'=').map_or((bytes, &b""[..]), |i| (&bytes[..i], &bytes[i + 1..]));
        command.env(OsStr::from_bytes(key), OsStr::from_bytes(value));
    }
    // A file for standard input: a hook that does not read it, or only part of it, neither blocks nor breaks anything.
    command.stdin(Stdio::from(sys::fs::memfd(c"aril-state", state.as_bytes())?));
    command.stdout(theirs.try_clone().map_err(|e| failed("dup", &e))?).stderr(theirs);
    let mut child = command.spawn().map_err(|e| failed("execve", &e))?;
    drop(command);
    let pid = i32::try_from(child.id()).map_err(|_| Error::Other("the hook's pid is out of range".to_owned()))?;
    let pidfd = sys::process::pidfd_open(pid)?;
    let mut words = Vec::new();
    let in_time = follow(&mut File::from(std::os::fd::OwnedFd::from(output)), &pidfd, hook.timeout, &mut words);
    if !matches!(in_time, Ok(true)) {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|e| failed("waitid", &e))?;
    let words = String::from_utf8_lossy(&words);
    let words = if words.trim().is_empty() { String::new() } else { format!(": {}", words.trim()) };
    match (in_time?, status.code(), status.signal()) {
        (false, ..) => Err(Error::Other(format!("it did not end in {} s{words}", hook.timeout.unwrap_or(0)))),
        (true, Some(0), _) => Ok(()),
        (true, Some(code), _) => Err(Error::Other(format!("exit status {code}{words}"))),
        (true, None, signal) => Err(Error::Other(format!("signal {}{words}", signal.unwrap_or(0)))),
    }
}

/// Reads what a process writes until it ends; its children may hold the pipe longer. Whether it ended in time.
fn follow(output: &mut File, process: impl AsFd, timeout: Option<u32>, words: &mut Vec<u8>) -> Result<bool> {
    let end = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let mut open = true;
    loop {
        let left = match end {
            None => PollTimeout::NONE,
            Some(end) => {
                let left = end.saturating_duration_since(Instant::now());
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut ready = [PollFd::new(process.as_fd(), PollFlags::POLLIN), PollFd::new(output.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready[..if open { 2 } else { 1 }], left) {
            Ok(0) if end.is_some_and(|end| Instant::now() >= end) => return Ok(false),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(sys::Error::bare("poll", errno).into()),
        }
        let (ended, readable) = (ready[0].any().unwrap_or(false), open && ready[1].any().unwrap_or(false));
        if readable {
            let mut buffer = [0; 4096];
            let n = output.read(&mut buffer).unwrap_or(0);
            open = n > 0;
            words.extend_from_slice(&buffer[..n]);
            let excess = words.len().saturating_sub(OUTPUT_MAX);
            words.drain(..excess);
        } else if ended {
            return Ok(true);
        }
    }
}
