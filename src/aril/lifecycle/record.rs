//! What is known of a container: the lines of its record, and what follows from them.

use super::list::{Entry, user_name};
use super::{Id, Status};
use crate::boot::resctrl;
use crate::boot::talk::Label;
use crate::cgroup::{Frozen, Place};
use crate::compile::hooks::{Hook, Output};
use crate::compile::seccomp::Listener;
use crate::error::{Error, Result};
use crate::sys::process::{Child, pidfd_open, stat};
use crate::sys::{self, Errno};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What is about to exist.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Intent {
    /// The boot of the kernel in which it is: pids and cgroups of another boot mean nothing.
    pub boot: String,
    /// Of nobody: older builds want one, and call a container whose record has none stopped.
    #[serde(default)]
    pub creator: Identity,
    /// `ociVersion` of the configuration.
    pub oci_version: String,
    /// The bundle, absolute.
    pub bundle: PathBuf,
    /// The root file system, absolute.
    pub rootfs: PathBuf,
    /// When, in RFC 3339.
    pub created: String,
    /// The configuration's annotations.
    pub annotations: BTreeMap<String, String>,
    /// The user who made it.
    pub owner: u32,
    /// The mount that the root file system is on, where the container's root will be mounted over it on the host.
    #[serde(default)]
    pub beneath: Option<u64>,
    /// Who is told of system calls, where the seccomp profile notifies somebody.
    #[serde(default)]
    pub listener: Option<Listener>,
    /// Its resctrl group.
    #[serde(default)]
    pub resctrl: Option<resctrl::Group>,
    /// Its cgroup.
    pub place: Place,
    /// What it is limited to, and its device rules, as `LinuxResources` in JSON; those of the last [`Line::Resources`].
    #[serde(default)]
    pub resources: Value,
    /// Whether there is a program to start.
    pub program: bool,
    /// Whether its processes end with its first one, since they are in a pid namespace of their own.
    pub own_pid_namespace: bool,
    /// The hooks that are still to be run.
    pub poststart: Vec<Hook>,
    /// The hooks that are still to be run.
    pub poststop: Vec<Hook>,
}

/// Which process, for ever: in one boot a pid and a start time are given twice within a clock tick at most, and the inode of a pidfd never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its pid.
    pub pid: i32,
    /// When it began, in clock ticks since boot.
    pub start: u64,
    /// The inode number of its pidfds (Linux 6.9; before, one number for those of all processes).
    #[serde(default)]
    pub inode: Option<u64>,
}

impl Identity {
    /// Of a process that lives, or has not been reaped.
    ///
    /// # Errors
    /// There is none.
    pub fn of(process: &Child) -> sys::Result<Identity> {
        // Without it the start time must do, as before Linux 6.9.
        let inode = sys::fs::fstat(&process.pidfd).ok().map(|seen| seen.st_ino);
        Ok(Identity { pid: process.pid, start: sys::process::start_time(process.pid)?, inode })
    }

    /// A pidfd of the process, if it still lives. The pidfd is opened before it is checked, so that it can only be that of the process
    /// whose start time was read.
    ///
    /// # Errors
    /// A call failed otherwise than by there being no such process.
    pub fn pidfd(&self) -> sys::Result<Option<OwnedFd>> {
        let pidfd = match pidfd_open(self.pid) {
            Err(sys::Error { errno: Errno::ESRCH | Errno::EINVAL, .. }) => return Ok(None),
            other => other?,
        };
        if let Some(inode) = self.inode
            && sys::fs::fstat(&pidfd)?.st_ino != inode
        {
            return Ok(None);
        }
        Ok(self.alive()?.map(|_| pidfd))
    }

    /// The name of the process, if it lives: a zombie does not.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn alive(&self) -> sys::Result<Option<String>> {
        match stat(self.pid) {
            Ok(found) if found.start == self.start && !matches!(found.state, 'Z' | 'X') => Ok(Some(found.name)),
            Ok(_) => Ok(None),
            Err(sys::Error { errno: Errno::ENOENT | Errno::ESRCH, .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }
}

/// What came to be: the container is created.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Created {
    /// Its first process.
    pub process: Identity,
    /// The steps that are left, for messages.
    pub steps: Vec<Label>,
}

/// A line of the record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    /// The first.
    Intent(Box<Intent>),
    /// systemd has made the cgroup, and this is where.
    Placed(Place),
    /// The container is created.
    Created(Created),
    /// The user's program runs.
    Started,
    /// `update` has changed what it is limited to: all of it, as it is now.
    Resources(Value),
    /// `update` has given it a resctrl group, or has taken it back.
    Resctrl(Option<resctrl::Group>),
}

/// What a record says.
#[derive(Debug, Clone)]
pub struct Record {
    /// What was about to exist.
    pub intent: Intent,
    /// Set when it was created.
    pub created: Option<Created>,
    /// Whether it was started.
    pub started: bool,
}

impl Line {
    /// As it stands in the record: a checksum, the line as JSON, a newline.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn text(&self) -> Result<String> {
        let json = serde_json::to_string(self).map_err(|e| Error::Other(e.to_string()))?;
        Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())))
    }
}

impl Record {
    /// The lines up to the first that is torn, and whether they were all.
    #[must_use]
    pub fn parse(text: &str) -> (Option<Record>, bool) {
        let mut record: Option<Record> = None;
        for line in text.split_inclusive('\n') {
            let Some((sum, json)) = line.strip_suffix('\n').and_then(|line| line.split_once(' ')) else { return (record, false) };
            if u32::from_str_radix(sum, 16) != Ok(crc32fast::hash(json.as_bytes())) {
                return (record, false);
            }
            match (serde_json::from_str(json), &mut record) {
                (Ok(Line::Intent(intent)), None) => record = Some(Record { intent: *intent, created: None, started: false }),
                (Ok(Line::Created(created)), Some(record)) => record.created = Some(created),
                (Ok(Line::Placed(place)), Some(record)) => record.intent.place = place,
                (Ok(Line::Started), Some(record)) => record.started = true,
                (Ok(Line::Resources(resources)), Some(record)) => record.intent.resources = resources,
                (Ok(Line::Resctrl(group)), Some(record)) => record.intent.resctrl = group,
                // A newer aril has more to say: the checksum fits.
                (Err(_), Some(_)) => {}
                _ => return (record, false),
            }
        }
        let whole = record.is_some();
        (record, whole)
    }

    /// The lines anew, but for that of the start.
    ///
    /// # Errors
    /// They cannot be written as JSON.
    pub fn text(&self) -> Result<String> {
        let intent = Line::Intent(Box::new(self.intent.clone())).text()?;
        let created = self.created.clone().map(|created| Line::Created(created).text()).transpose()?;
        Ok(intent + &created.unwrap_or_default())
    }

    /// Whether all this was before the machine was last started.
    ///
    /// # Errors
    /// The boot id cannot be read.
    pub fn of_another_boot(&self) -> Result<bool> {
        Ok(sys::process::boot_id()? != self.intent.boot)
    }

    /// Its first process, if it lives.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn process(&self) -> Result<Option<(OwnedFd, &Created)>> {
        let Some(created) = &self.created else { return Ok(None) };
        if self.of_another_boot()? {
            return Ok(None);
        }
        Ok(created.process.pidfd()?.map(|pidfd| (pidfd, created)))
    }

    /// The container's status. `making` tells whether somebody is at work on it, where it is not created yet.
    ///
    /// # Errors
    /// `/proc` or the cgroup cannot be read.
    pub fn status(&self, making: impl FnOnce() -> Result<bool>) -> Result<Status> {
        self.look(making).map(|(status, _)| status)
    }

    /// The same, and whether its processes stand still: by what is done to a cgroup above theirs they do so in any status.
    ///
    /// # Errors
    /// As of [`Record::status`].
    pub fn look(&self, making: impl FnOnce() -> Result<bool>) -> Result<(Status, Frozen)> {
        let Some(created) = &self.created else {
            return Ok((if making()? { Status::Creating } else { Status::Stopped }, Frozen::No));
        };
        if self.of_another_boot()? {
            return Ok((Status::Stopped, Frozen::No));
        }
        let Some(name) = created.process.alive()? else { return Ok((Status::Stopped, Frozen::No)) };
        let frozen = self.intent.place.freezer()?.map_or(Ok(Frozen::No), |cgroup| cgroup.frozen())?;
        let status = match frozen {
            Frozen::Itself => Status::Paused,
            // A `start` that was killed has not recorded what it did; the executor's name says whether it still waits.
            _ if !self.started && name == "aril-init" => Status::Created,
            _ => Status::Running,
        };
        Ok((status, frozen))
    }

    /// The state as `state` prints it, with this status.
    #[must_use]
    pub fn entry(&self, id: &Id, status: Status) -> Entry {
        let intent = &self.intent;
        let pid = self.created.as_ref().map_or(0, |created| created.process.pid);
        Entry {
            oci_version: intent.oci_version.clone(),
            id: id.as_str().to_owned(),
            pid: if status == Status::Stopped { 0 } else { pid },
            status,
            bundle: intent.bundle.display().to_string(),
            rootfs: intent.rootfs.display().to_string(),
            created: intent.created.clone(),
            annotations: intent.annotations.clone(),
            owner: user_name(intent.owner),
            systemd_scope: intent.place.unit.as_ref().map(|unit| unit.name.clone()),
            runtime: None,
        }
    }

    /// The files that hooks write to.
    #[must_use]
    pub fn hook_output(&self) -> Output {
        Output::of(|name| self.intent.annotations.get(name).map(String::as_str), &self.intent.bundle)
    }

    /// The state that hooks read on their standard input.
    #[must_use]
    pub fn hook_state(&self, id: &Id, status: Status, pid: i32) -> String {
        let intent = &self.intent;
        let mut state = serde_json::json!({
            "ociVersion": intent.oci_version,
            "id": id.as_str(),
            "status": status,
            "bundle": intent.bundle,
        });
        if status != Status::Stopped {
            state["pid"] = pid.into();
        }
        if !intent.annotations.is_empty() {
            state["annotations"] = serde_json::json!(intent.annotations);
        }
        state.to_string()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::lifecycle) fn intent(resctrl: Option<resctrl::Group>) -> Intent {
        Intent {
            boot: "b".to_owned(),
            creator: Identity::default(),
            oci_version: "1.3.0".to_owned(),
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: "2026-01-01T00:00:00Z".to_owned(),
            annotations: BTreeMap::new(),
            owner: 0,
            beneath: None,
            listener: None,
            resctrl,
            place: Place::default(),
            resources: Value::Null,
            program: true,
            own_pid_namespace: true,
            poststart: Vec::new(),
            poststop: Vec::new(),
        }
    }

    fn text() -> String {
        let lines = [
            Line::Intent(Box::new(intent(None))),
            Line::Created(Created { process: Identity { pid: 7, start: 8, inode: Some(9) }, steps: Vec::new() }),
            Line::Started,
        ];
        lines.iter().map(|line| line.text().expect("a line")).collect()
    }

    #[test]
    fn a_record_is_read_up_to_where_it_is_torn() {
        let text = text();
        let whole = Record::parse(&text).0.expect("whole");
        assert!(whole.started);
        assert_eq!(whole.created.map(|c| c.process), Some(Identity { pid: 7, start: 8, inode: Some(9) }));
        let ends: Vec<usize> = text.match_indices('\n').map(|(i, _)| i + 1).collect();
        for cut in 0..text.len() {
            let lines = ends.iter().filter(|end| **end <= cut).count();
            let (record, whole) = Record::parse(&text[..cut]);
            assert_eq!(whole, lines > 0 && ends.contains(&cut), "cut at {cut}");
            assert_eq!(record.is_some(), lines > 0, "cut at {cut}");
            assert_eq!(record.as_ref().is_some_and(|r| r.created.is_some()), lines > 1, "cut at {cut}");
            assert!(!record.is_some_and(|r| r.started), "cut at {cut}");
        }
    }

    #[test]
    fn what_older_builds_insist_on_is_written() {
        let text = text();
        let intent: Value =
            serde_json::from_str(text.lines().next().expect("a line").split_once(' ').expect("a checksum").1).expect("JSON");
        assert!(intent["intent"]["creator"]["pid"].is_i64() && intent["intent"]["creator"]["start"].is_u64(), "{intent}");
    }

    #[test]
    fn the_last_resources_are_those_that_hold() {
        let resources = |shares: u64| serde_json::json!({"cpu": {"shares": shares}});
        let line = |shares| {
            let json = serde_json::to_string(&Line::Resources(resources(shares))).expect("a line");
            format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
        };
        let record = Record::parse(&format!("{}{}{}", text(), line(5), line(6))).0.expect("whole");
        assert!(record.started);
        assert_eq!(record.intent.resources, resources(6));
    }

    #[test]
    fn a_flipped_bit_ends_the_record() {
        let text = text();
        let second = text.find('\n').expect("a line") + 1;
        for at in second..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(flipped) = String::from_utf8(bytes) else { continue };
            let created = Record::parse(&flipped).0.and_then(|r| r.created).map(|c| c.process);
            assert!(matches!(created, None | Some(Identity { pid: 7, start: 8, inode: Some(9) })), "flipped at {at}");
        }
    }
}
