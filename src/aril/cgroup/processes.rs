//! The processes of the cgroup: who they are, and signals to all of them.

use super::dir::Dir;
use super::{Cgroup, Member, Version, if_there, keyed};
use crate::error::{Doing, Error, Result};
use crate::sys::{self, Errno};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long the kernel may take to freeze a cgroup, or to end processes that were killed: those that wait for a disk take their time.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// The processes in it and in the cgroups below it, by pid.
    ///
    /// # Errors
    /// The call that failed.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let Some(member) = self.v2().or_else(|| self.members.first()) else { return Ok(Vec::new()) };
        Ok(below(&member.dir)?.into_iter().collect())
    }

    /// Sends a signal to every process in it and below it. One that a process makes in the meantime gets it too.
    ///
    /// # Errors
    /// The call that failed.
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        let failed = || format!("cannot send signal {signal} to the processes of the cgroup");
        if signal == libc::SIGKILL {
            return self.kill().doing(failed);
        }
        // A frozen process makes no other; one that was frozen before gets the signal when it is thawed.
        let was_frozen = self.is_frozen()?;
        let frozen = !was_frozen && self.freeze().is_ok();
        let sent = self.signal_each(signal, &mut Sent::default());
        if frozen {
            self.thaw()?;
        }
        sent.doing(failed)
    }

    /// Kills every process in it by one write, where the kernel can and the cgroup was made for the container: all end at once then, where the
    /// first process of a pid namespace would end the others one step later. Removal does what is left.
    pub fn kill_own(&self) {
        if let Some(v2) = self.v2().filter(|v2| v2.hierarchy.ours) {
            let _ = v2.dir.write("cgroup.kill", "1");
        }
    }

    /// Kills every process in it and below it, frozen or not, without waiting for them.
    pub(super) fn kill(&self) -> Result<()> {
        let killed = match self.v2().map(|v2| v2.dir.write("cgroup.kill", "1")) {
            // The cgroup has gone, or has no such file.
            Some(Err(error)) if super::dir::gone(error.errno) => false,
            Some(result) => result.map(|()| true)?,
            None => false,
        };
        // A process that died between its moves into the hierarchies, or was moved by somebody, is not in all of them.
        if self.needs_migration() || !killed {
            // A frozen process makes no other.
            let freezer = |member: &Member| !killed || member.hierarchy.version == Version::V1;
            let frozen = self.freezer().is_some_and(freezer) && self.freeze().is_ok();
            let sent = self.signal_each(libc::SIGKILL, &mut Sent::default());
            if frozen || self.is_frozen()? {
                // On v1 a frozen process is killed once it is thawed.
                self.thaw()?;
            }
            sent?;
        }
        Ok(())
    }

    /// Signals whom it has not signalled yet, until there is nobody new.
    fn signal_each(&self, signal: i32, sent: &mut Sent) -> Result<()> {
        loop {
            let before = self.everywhere()?;
            let mut found = Vec::new();
            for pid in before.difference(&sent.pids) {
                match sys::process::pidfd_open(*pid) {
                    Ok(pidfd) => found.push((*pid, pidfd)),
                    Err(error) if error.errno == Errno::ESRCH => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if found.is_empty() {
                return Ok(());
            }
            // A pid that is still listed after its pidfd was opened is that process, and no stranger who was given the number.
            let after = self.everywhere()?;
            for (pid, pidfd) in found.into_iter().filter(|(pid, _)| after.contains(pid)) {
                match sys::process::pidfd_send_signal(&pidfd, signal) {
                    Err(error) if error.errno != Errno::ESRCH => return Err(error.into()),
                    _ => {}
                }
                sent.pids.insert(pid);
                sent.pidfds.push(pidfd);
            }
        }
    }

    /// The processes on any of the hierarchies.
    pub(super) fn everywhere(&self) -> Result<BTreeSet<i32>> {
        let mut pids = BTreeSet::new();
        for member in &self.members {
            pids.append(&mut below(&member.dir)?);
        }
        Ok(pids)
    }

    /// Kills what is in the cgroup and waits until nothing is.
    ///
    /// # Errors
    /// The call that failed; something is still alive after [`PATIENCE`].
    pub(super) fn kill_and_wait(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        self.kill()?;
        if let Some(v2) = self.v2() {
            wait_for(v2, "populated", 0, deadline)?;
        }
        if !self.needs_migration() {
            return Ok(());
        }
        loop {
            let mut sent = Sent::default();
            self.signal_each(libc::SIGKILL, &mut sent)?;
            if sent.pids.is_empty() && self.everywhere()?.is_empty() {
                return Ok(());
            }
            for pidfd in &sent.pidfds {
                wait_fd(pidfd, PollFlags::POLLIN, deadline)?;
            }
            if Instant::now() > deadline {
                return Err(Error::Other(format!("processes {:?} are still alive after SIGKILL", self.everywhere()?)));
            }
        }
    }
}

/// Whom a signal was sent to.
#[derive(Default)]
struct Sent {
    pids: BTreeSet<i32>,
    pidfds: Vec<OwnedFd>,
}

/// The processes in a cgroup and in those below it.
pub(super) fn below(dir: &Dir) -> Result<BTreeSet<i32>> {
    let mut pids = of(dir)?;
    dir.walk(
        |inner| {
            pids.append(&mut of(inner)?);
            Ok(true)
        },
        |_, _| Ok::<_, Error>(()),
    )?;
    Ok(pids)
}

/// The processes in a cgroup itself.
fn of(dir: &Dir) -> Result<BTreeSet<i32>> {
    let own = match dir.procs() {
        // A threaded cgroup below has threads of processes that are listed above it.
        Err(error) if error.errno == Errno::EOPNOTSUPP => String::new(),
        text => if_there(text)?,
    };
    // 0 is a process of a pid namespace that is not seen from here.
    Ok(own.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect())
}

/// Waits until `cgroup.events` of a v2 cgroup says so: the kernel wakes whoever polls the file.
pub(super) fn wait_for(member: &Member, key: &str, value: u64, deadline: Instant) -> Result<()> {
    let file = match member.dir.file("cgroup.events") {
        Err(error) if super::dir::gone(error.errno) => return Ok(()),
        file => file?,
    };
    loop {
        let text = match member.dir.read_of(&file, "cgroup.events") {
            Err(error) if super::dir::gone(error.errno) => return Ok(()),
            text => text?,
        };
        if keyed(&text, key) == Some(value) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let pids = below(&member.dir)?;
            return Err(Error::Other(format!(
                "cgroup.events of {:?} does not become {key} {value}: processes {pids:?}",
                member.dir.path()
            )));
        }
        wait_fd(&file, PollFlags::POLLPRI, deadline)?;
    }
}

pub(super) fn wait_fd(fd: &OwnedFd, events: PollFlags, deadline: Instant) -> Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
    match poll(&mut [PollFd::new(fd.as_fd(), events)], timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(sys::Error::bare("poll", errno).into()),
    }
}
