//! `events`: what a container uses and what happens to it, one JSON object on each line, in runc's form.
//!
//! | type | data | when |
//! | --- | --- | --- |
//! | `stats` | [`Stats`](crate::cgroup::stats::Stats), `intel_rdt` and `network_interfaces` | at each interval, or once |
//! | `oom` | none | a process was killed for lack of memory |
//! | `memory.events`, `memory.oom_control` | the file's counters | one of them changed; the second is cgroup v1's |
//! | `pids.events` | the file's counters | the limit of processes was met |
//! | `cpu.pressure`, `memory.pressure`, `io.pressure` | `some`, `full` | processes waited for a tenth of two seconds |

use super::network::{self, Interface};
use super::resctrl::{self, IntelRdt};
use super::status::{Verb, allow};
use super::store::{Record, Store};
use super::{Global, Id, Status};
use crate::cgroup::stats::{Blkio, Cpu, Cpuset, Hugetlb, Memory, Pids, Stats};
use crate::cgroup::{Cgroup, Event};
use crate::error::{Doing, Error, Result};
use crate::sys::{self, Errno};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

#[derive(Serialize)]
struct Line<'a, T: Serialize> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
}

#[derive(Serialize)]
struct All {
    cpu: Cpu,
    cpuset: Cpuset,
    memory: Memory,
    pids: Pids,
    blkio: Blkio,
    hugetlb: BTreeMap<String, Hugetlb>,
    intel_rdt: IntelRdt,
    network_interfaces: Vec<Interface>,
}

/// A container that lives.
struct Watched<'a> {
    id: &'a Id,
    process: OwnedFd,
    pid: i32,
    cgroup: Cgroup,
}

impl Watched<'_> {
    fn open<'a>(global: &Global, id: &'a Id) -> Result<Watched<'a>> {
        let record = Store::open(global, id)?.living()?;
        let status = record.as_ref().map_or(Ok(Status::Stopped), |record| record.status(|| Ok(false)))?;
        allow(id, status, Verb::Watch)?;
        let ended = || super::Refused::Status { id: id.clone(), status: Status::Stopped, verb: Verb::Watch };
        let record = record.ok_or_else(ended)?;
        let (process, pid) = record.process()?.map(|(process, created)| (process, created.process.pid)).ok_or_else(ended)?;
        Ok(Watched { id, process, pid, cgroup: cgroup(&record, id)? })
    }

    fn stats(&self) -> Result<String> {
        let stats = self.cgroup.stats().doing(|| format!("cannot read what container {} uses", self.id))?;
        let Stats { cpu, cpuset, memory, pids, blkio, hugetlb } = stats;
        let (intel_rdt, network_interfaces) = (resctrl::stats(self.pid), network::interfaces(self.pid));
        let data = All { cpu, cpuset, memory, pids, blkio, hugetlb, intel_rdt, network_interfaces };
        Ok(self.line("stats", Some(data)))
    }

    fn event(&self, event: Event) -> String {
        match event {
            Event::Oom => self.line("oom", None::<()>),
            Event::Counters(file, counters) => self.line(file, Some(counters)),
            Event::Pressure(file, psi) => self.line(file, Some(psi)),
        }
    }

    fn line(&self, kind: &str, data: Option<impl Serialize>) -> String {
        serde_json::to_string(&Line { kind, id: self.id.as_str(), data }).unwrap_or_default() + "\n"
    }
}

fn cgroup(record: &Record, id: &Id) -> Result<Cgroup> {
    let cgroup = Cgroup::open(&record.intent.place)?;
    cgroup.ok_or_else(|| Error::Other(format!("container {id} has no cgroup that would count what it uses")))
}

/// What the container uses at this moment, as one line.
///
/// # Errors
/// There is no such container, it has stopped, or a file of its cgroup cannot be read.
pub fn stats(global: &Global, id: &Id) -> Result<String> {
    Watched::open(global, id)?.stats()
}

/// Gives `print` a line for each event until the container ends.
///
/// # Errors
/// As of [`stats`], and those of `print`.
pub fn follow(global: &Global, id: &Id, interval: Duration, print: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    let watched = Watched::open(global, id)?;
    let mut watch = watched.cgroup.watch().doing(|| format!("cannot watch container {id}"))?;
    let mut next = Instant::now() + interval;
    loop {
        let mut ready = vec![PollFd::new(watched.process.as_fd(), PollFlags::POLLIN)];
        ready.extend(watch.poll_fds());
        // Rounded up, so that the moment has come when it returns.
        let left = next.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        match poll(&mut ready, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(sys::Error::bare("poll", errno).into()),
        }
        let ready: Vec<bool> = ready.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        let (ended, due) = (ready[0], Instant::now() >= next);
        // What ended it may have been counted a moment later than it was heard of.
        for event in watch.events(ended || due, |index| ready[index + 1])? {
            print(&watched.event(event))?;
        }
        if ended {
            return Ok(());
        }
        if due {
            print(&watched.stats()?)?;
            next = Instant::now() + interval;
        }
    }
}
