//! What happens in the cgroup, as the kernel tells it: nothing here asks again and again.
//!
//! The kernel wakes who polls a file of counters (`memory.events`, `pids.events`) that has been read before, and a `*.pressure` file on which a
//! trigger was set (Documentation/accounting/psi.rst). On v1 it counts up an eventfd that was registered for `memory.oom_control`, before the
//! process is killed and counted, and tells nobody of `pids.events`: these are read when there is another reason to look.

use super::stats::{Counters, Psi, psi};
use super::{Cgroup, Member, Version, dir};
use crate::error::{Doing, Result};
use crate::sys::{self, Errno};
use nix::poll::{PollFd, PollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Told of when some process has waited for a tenth of two seconds, once in these: a window of whole two seconds needs no privilege (psi.rst).
const TRIGGER: &str = "some 200000 2000000";

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A process was killed, or all of them were stopped, for lack of memory.
    Oom,
    /// This file counts something new.
    Counters(&'static str, Counters),
    /// Processes wait for the processor, for memory or for devices, by this file.
    Pressure(&'static str, Psi),
}

/// The files that are watched.
#[derive(Debug)]
pub struct Watch<'a> {
    sources: Vec<Source<'a>>,
}

#[derive(Debug)]
struct Source<'a> {
    member: &'a Member,
    file: &'static str,
    fd: OwnedFd,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Counters(Counters),
    Pressure,
    /// v1: the eventfd, and whether it has told of what is not counted yet.
    OomControl {
        event: EventFd,
        before: Counters,
        told: bool,
    },
}

impl Cgroup {
    /// Begins to watch it. What the host does not count, or this user may not watch, is left out.
    ///
    /// # Errors
    /// The call that failed.
    pub fn watch(&self) -> Result<Watch<'_>> {
        let mut sources = Vec::new();
        if let Some(memory) = self.member("memory") {
            sources.extend(match memory.hierarchy.version {
                Version::V1 => Source::oom_control(memory)?,
                Version::V2 => Source::counters(memory, "memory.events")?,
            });
        }
        if let Some(pids) = self.member("pids") {
            sources.extend(Source::counters(pids, "pids.events")?);
        }
        if let Some(v2) = self.v2() {
            for file in ["cpu.pressure", "memory.pressure", "io.pressure"] {
                sources.extend(Source::pressure(v2, file));
            }
        }
        Ok(Watch { sources })
    }
}

impl Watch<'_> {
    /// What to poll, one for each file.
    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.sources.iter().map(|source| match &source.kind {
            Kind::OomControl { event, .. } => PollFd::new(event.as_fd(), PollFlags::POLLIN),
            _ => PollFd::new(source.fd.as_fd(), PollFlags::POLLPRI),
        })
    }

    /// What happened by those of the files that are `ready`, in the order of [`Watch::poll_fds`]; with `all`, by all that count.
    ///
    /// # Errors
    /// The call that failed; that the cgroup has gone is none.
    pub fn events(&mut self, all: bool, ready: impl Fn(usize) -> bool) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        let mut gone = Vec::new();
        for (index, source) in self.sources.iter_mut().enumerate() {
            let counts = !matches!(source.kind, Kind::Pressure);
            if !(ready(index) || (all && counts)) {
                continue;
            }
            match source.look(&mut events) {
                Err(error) if dir::gone(error.errno) || error.errno == Errno::EOPNOTSUPP => gone.push(index),
                other => other.doing(|| format!("cannot read {}", source.file))?,
            }
        }
        // The file of a cgroup that has gone is always ready.
        let mut index = 0;
        self.sources.retain(|_| {
            index += 1;
            !gone.contains(&(index - 1))
        });
        Ok(events)
    }
}

impl<'a> Source<'a> {
    /// Reads a file, which is what makes the kernel tell of the next change.
    fn counters(member: &'a Member, file: &'static str) -> Result<Option<Source<'a>>> {
        let Some(fd) = open(member, file)? else { return Ok(None) };
        let counted = super::stats::counters(&member.dir.read_of(&fd, file)?);
        Ok(Some(Source { member, file, fd, kind: Kind::Counters(counted) }))
    }

    /// Sets a trigger. One that is refused (no privilege for it, pressure switched off) is no loss to what else is told.
    fn pressure(member: &'a Member, file: &'static str) -> Option<Source<'a>> {
        let fd = member.dir.file_to_write(file).ok()?;
        nix::unistd::write(&fd, format!("{TRIGGER}\0").as_bytes()).ok()?;
        Some(Source { member, file, fd, kind: Kind::Pressure })
    }

    /// Registers an eventfd.
    fn oom_control(member: &'a Member) -> Result<Option<Source<'a>>> {
        let file = "memory.oom_control";
        let Some(fd) = open(member, file)? else { return Ok(None) };
        let event = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let event = event.map_err(|errno| sys::Error::bare("eventfd", errno))?;
        let numbers = format!("{} {}", event.as_fd().as_raw_fd(), fd.as_raw_fd());
        match member.dir.write("cgroup.event_control", &numbers) {
            // Kernels without CONFIG_MEMCG_V1's events, and users who may not.
            Err(error) if dir::gone(error.errno) || matches!(error.errno, Errno::EACCES | Errno::EPERM) => return Ok(None),
            other => other?,
        }
        let counted = super::stats::counters(&member.dir.read_of(&fd, file)?);
        Ok(Some(Source { member, file, fd, kind: Kind::OomControl { event, before: counted, told: false } }))
    }

    fn look(&mut self, events: &mut Vec<Event>) -> sys::Result<()> {
        let text = self.member.dir.read_of(&self.fd, self.file)?;
        match &mut self.kind {
            Kind::Counters(before) => {
                let now = super::stats::counters(&text);
                let killed = now.get("oom_kill") > before.get("oom_kill");
                if now != *before {
                    events.push(Event::Counters(self.file, now.clone()));
                    events.extend(killed.then_some(Event::Oom));
                    *before = now;
                }
            }
            Kind::Pressure => events.extend(psi(&text).map(|psi| Event::Pressure(self.file, psi))),
            Kind::OomControl { event, before, told } => {
                // It is counted up as well when the cgroup goes; then there was nothing to read.
                if event.read().is_ok() {
                    events.push(Event::Oom);
                    *told = true;
                }
                let now = super::stats::counters(&text);
                if now.get("oom_kill") > before.get("oom_kill") {
                    // For lack of memory on the whole machine, if it was not told before.
                    events.extend((!*told).then_some(Event::Oom));
                    events.push(Event::Counters(self.file, now.clone()));
                    *told = false;
                }
                *before = now;
            }
        }
        Ok(())
    }
}

fn open(member: &Member, file: &str) -> Result<Option<OwnedFd>> {
    match member.dir.file(file) {
        Err(error) if dir::gone(error.errno) => Ok(None),
        fd => Ok(Some(fd?)),
    }
}
