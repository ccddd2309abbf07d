//! The state directory of a container, `<root>/<id>/`.
//!
//! | name | what it is |
//! | --- | --- |
//! | `record` | what is about to exist, written before anything does, and what came to be, appended: a line each, with a checksum before it |
//! | `gate` | the socket on which the container waits for `start` |
//! | `state.json` | what node agents read from runc's file of that name |
//!
//! Making the directory claims the id. An exclusive lock on it orders the verbs that change the container. A line of the record that is torn
//! or does not fit its checksum ends the record: what it would have said has not happened.

use super::list::{Entry, user_name};
use super::status::Refused;
use super::{Global, Id, Status, foreign};
use crate::boot::talk::Label;
use crate::cgroup::{Cgroup, Place};
use crate::compile::hooks::Hook;
use crate::error::{Doing, Error, Result};
use crate::sys::process::{pidfd_open, stat};
use crate::sys::{self, Errno};
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// The name of the record.
pub const RECORD: &str = "record";
/// The name of the gate's socket.
pub const GATE: &str = "gate";
const STATE: &str = "state.json";
/// The largest record that is read, in bytes.
const RECORD_MAX: u64 = 64 << 20;

/// What is about to exist.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Intent {
    /// The boot of the kernel in which it is: pids and cgroups of another boot mean nothing.
    pub boot: String,
    /// The process that makes it.
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
    /// Its cgroup.
    pub place: Place,
    /// Whether there is a program to start.
    pub program: bool,
    /// Whether its processes end with its first one, since they are in a pid namespace of their own.
    pub own_pid_namespace: bool,
    /// The hooks that are still to be run.
    pub poststart: Vec<Hook>,
    /// The hooks that are still to be run.
    pub poststop: Vec<Hook>,
}

/// Which process, for ever: with the boot, a pid and a start time are never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its pid.
    pub pid: i32,
    /// When it began, in clock ticks since boot.
    pub start: u64,
}

impl Identity {
    /// Of a process that lives, or has not been reaped.
    ///
    /// # Errors
    /// There is none.
    pub fn of(pid: i32) -> sys::Result<Identity> {
        Ok(Identity { pid, start: sys::process::start_time(pid)? })
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
    /// The container is created.
    Created(Created),
    /// The user's program runs.
    Started,
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

/// A container's state directory, open.
#[derive(Debug)]
pub struct Store {
    root: OwnedFd,
    dir: OwnedFd,
    id: Id,
}

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW);

impl Store {
    /// Claims an id and locks its directory.
    ///
    /// # Errors
    /// The id is taken; the state root is not this user's alone; a call failed.
    pub fn claim(global: &Global, id: &Id) -> Result<Store> {
        let root = open_root(global)?;
        match sys::fs::mkdirat(&root, id.as_str(), 0o700) {
            Err(sys::Error { errno: Errno::EEXIST, .. }) => {
                Store::open(global, id)?; // or whose it is
                return Err(Refused::Exists { id: id.clone() }.into());
            }
            other => other.doing(|| format!("cannot make the state directory of {id}"))?,
        }
        let dir = sys::fs::openat(&root, id.as_str(), DIRECTORY, 0)?;
        let store = Store { root, dir, id: id.clone() };
        store.lock()?;
        Ok(store)
    }

    /// Opens the directory of a container.
    ///
    /// # Errors
    /// There is no such container, or another runtime made it.
    pub fn open(global: &Global, id: &Id) -> Result<Store> {
        let missing = |error: sys::Error| match error.errno {
            Errno::ENOENT | Errno::ENOTDIR => Error::from(Refused::Missing { id: id.clone() }),
            _ => error.into(),
        };
        let root = sys::fs::open(&global.root, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0).map_err(missing)?;
        let dir = sys::fs::openat(&root, id.as_str(), DIRECTORY, 0).map_err(missing)?;
        if let Some(owner) = foreign::whose(dir.as_fd()) {
            return Err(Refused::Foreign { id: id.clone(), owner, root: global.root.display().to_string() }.into());
        }
        Ok(Store { root, dir, id: id.clone() })
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// Waits for the exclusive lock, which this process has from then on until it ends or the store is dropped.
    ///
    /// # Errors
    /// The container was deleted meanwhile; a call failed.
    pub fn lock(&self) -> Result<()> {
        sys::fs::lock(&self.dir)?;
        self.still_there()
    }

    /// The same without waiting: whether it was free.
    ///
    /// # Errors
    /// As of [`Store::lock`].
    pub fn try_lock(&self) -> Result<bool> {
        match sys::fs::try_lock(&self.dir) {
            Err(sys::Error { errno: Errno::EWOULDBLOCK, .. }) => Ok(false),
            other => {
                other?;
                self.still_there().map(|()| true)
            }
        }
    }

    fn still_there(&self) -> Result<()> {
        if sys::fs::fstat(&self.dir)?.st_nlink == 0 {
            return Err(Refused::Missing { id: self.id.clone() }.into());
        }
        Ok(())
    }

    /// Adds a line to the record.
    ///
    /// # Errors
    /// The errno of the call that failed.
    pub fn append(&self, line: &Line) -> Result<()> {
        let attempt = || -> Result<()> {
            let json = serde_json::to_string(line).map_err(|e| Error::Other(e.to_string()))?;
            let text = format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()));
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND;
            let file = sys::fs::openat(&self.dir, RECORD, flags, 0o600)?;
            Ok(sys::fs::write_all(&file, text.as_bytes(), RECORD)?)
        };
        attempt().doing(|| format!("cannot write the record of {}", self.id))
    }

    /// Reads the record; `None` where there is none that can be read: its making was cut short.
    ///
    /// # Errors
    /// The file is there and cannot be read. That is never taken for its absence.
    pub fn read(&self) -> Result<Option<Record>> {
        let text = match sys::fs::read_text_at(&self.dir, RECORD, RECORD_MAX) {
            Err(sys::Error { errno: Errno::ENOENT | Errno::EILSEQ, .. }) => return Ok(None),
            other => other.doing(|| format!("cannot read the record of {}", self.id))?,
        };
        Ok(parse(&text))
    }

    /// Writes `state.json`.
    ///
    /// # Errors
    /// The errno of the call that failed.
    pub fn write_state(&self, state: &serde_json::Value) -> Result<()> {
        let text = state.to_string();
        sys::fs::replace_file(&self.dir, STATE, text.as_bytes(), 0o600).doing(|| format!("cannot write the state of {}", self.id))
    }

    /// Removes everything, the record last: as long as that is there, so is what it speaks of.
    ///
    /// # Errors
    /// The errno of the call that failed.
    pub fn remove(&self) -> Result<()> {
        let attempt = || -> sys::Result<()> {
            for name in sys::fs::names(&self.dir)?.iter().filter(|name| *name != RECORD) {
                absent_is_fine(sys::fs::unlinkat(&self.dir, name))?;
            }
            absent_is_fine(sys::fs::unlinkat(&self.dir, RECORD))?;
            absent_is_fine(sys::fs::rmdirat(&self.root, self.id.as_str()))
        };
        attempt().doing(|| format!("cannot remove the state directory of {}", self.id))
    }
}

fn absent_is_fine(result: sys::Result<()>) -> sys::Result<()> {
    match result {
        Err(sys::Error { errno: Errno::ENOENT, .. }) => Ok(()),
        other => other,
    }
}

/// The lines up to the first that is torn.
fn parse(text: &str) -> Option<Record> {
    let mut record: Option<Record> = None;
    for line in text.split_inclusive('\n') {
        let Some((sum, json)) = line.strip_suffix('\n').and_then(|line| line.split_once(' ')) else { break };
        if u32::from_str_radix(sum, 16) != Ok(crc32fast::hash(json.as_bytes())) {
            break;
        }
        match (serde_json::from_str(json), &mut record) {
            (Ok(Line::Intent(intent)), None) => record = Some(Record { intent: *intent, created: None, started: false }),
            (Ok(Line::Created(created)), Some(record)) => record.created = Some(created),
            (Ok(Line::Started), Some(record)) => record.started = true,
            _ => break,
        }
    }
    record
}

/// The state root: made if it is missing, and this user's alone.
fn open_root(global: &Global) -> Result<OwnedFd> {
    let attempt = || -> Result<OwnedFd> {
        let root = match sys::fs::open(&global.root, DIRECTORY, 0) {
            Err(sys::Error { errno: Errno::ENOENT, .. }) => {
                use std::os::unix::fs::DirBuilderExt;
                let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&global.root);
                made.map_err(|e| sys::Error::new("mkdir", &global.root, sys::fs::errno(&e)))?;
                sys::fs::open(&global.root, DIRECTORY, 0)?
            }
            Err(sys::Error { errno: Errno::ENOTDIR, .. }) if global.root.is_symlink() => {
                return Err(Error::Other("it is a symbolic link".to_owned()));
            }
            other => other?,
        };
        let stat = sys::fs::fstat(&root)?;
        let euid = sys::process::geteuid();
        if stat.st_uid != euid {
            return Err(Error::Other(format!("it belongs to user {}, not to user {euid}", stat.st_uid)));
        }
        if stat.st_mode & 0o022 != 0 {
            let mode = stat.st_mode & 0o7777;
            return Err(Error::Other(format!("others may write to it (mode {mode:04o}): they could have any container recorded there")));
        }
        Ok(root)
    };
    attempt().doing(|| format!("cannot use the state root {}", global.root.display()))
}

impl Record {
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
        let Some(created) = &self.created else {
            return Ok(if making()? { Status::Creating } else { Status::Stopped });
        };
        if self.of_another_boot()? {
            return Ok(Status::Stopped);
        }
        match created.process.alive()? {
            None => Ok(Status::Stopped),
            // A `start` that was killed has not recorded what it did; the executor's name says whether it still waits.
            Some(name) if !self.started && name == "aril-init" => Ok(Status::Created),
            Some(_) => {
                let frozen = Cgroup::open(&self.intent.place)?.map_or(Ok(false), |cgroup| cgroup.is_frozen())?;
                Ok(if frozen { Status::Paused } else { Status::Running })
            }
        }
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
            runtime: None,
        }
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

/// What is known of a container.
///
/// # Errors
/// There is none, or its record cannot be read.
pub fn entry(global: &Global, id: &Id) -> Result<Entry> {
    let store = Store::open(global, id)?;
    let at_work = || store.try_lock().map(|free| !free);
    match store.read()? {
        Some(record) => Ok(record.entry(id, record.status(at_work)?)),
        None => Ok(Entry {
            id: id.as_str().to_owned(),
            status: if at_work()? { Status::Creating } else { Status::Stopped },
            ..Entry::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent() -> Intent {
        Intent {
            boot: "b".to_owned(),
            creator: Identity { pid: 1, start: 2 },
            oci_version: "1.3.0".to_owned(),
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: "2026-01-01T00:00:00Z".to_owned(),
            annotations: BTreeMap::new(),
            owner: 0,
            beneath: None,
            place: Place::default(),
            program: true,
            own_pid_namespace: true,
            poststart: Vec::new(),
            poststop: Vec::new(),
        }
    }

    fn text() -> String {
        let lines = [
            Line::Intent(Box::new(intent())),
            Line::Created(Created { process: Identity { pid: 7, start: 8 }, steps: Vec::new() }),
            Line::Started,
        ];
        lines
            .iter()
            .map(|line| serde_json::to_string(line).expect("a line"))
            .map(|j| format!("{:08x} {j}\n", crc32fast::hash(j.as_bytes())))
            .collect()
    }

    #[test]
    fn a_record_is_read_up_to_where_it_is_torn() {
        let text = text();
        let whole = parse(&text).expect("whole");
        assert!(whole.started);
        assert_eq!(whole.created.map(|c| c.process), Some(Identity { pid: 7, start: 8 }));
        let ends: Vec<usize> = text.match_indices('\n').map(|(i, _)| i + 1).collect();
        for cut in 0..text.len() {
            let lines = ends.iter().filter(|end| **end <= cut).count();
            let record = parse(&text[..cut]);
            assert_eq!(record.is_some(), lines > 0, "cut at {cut}");
            assert_eq!(record.as_ref().is_some_and(|r| r.created.is_some()), lines > 1, "cut at {cut}");
            assert!(!record.is_some_and(|r| r.started), "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_ends_the_record() {
        let text = text();
        let second = text.find('\n').expect("a line") + 1;
        for at in second..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(flipped) = String::from_utf8(bytes) else { continue };
            let created = parse(&flipped).and_then(|r| r.created).map(|c| c.process);
            assert!(matches!(created, None | Some(Identity { pid: 7, start: 8 })), "flipped at {at}");
        }
    }
}
