//! The state directory of a container, `<root>/<id>/`.
//!
//! | name | what it is |
//! | --- | --- |
//! | `record` | what is about to exist, written before anything does, and what came to be, appended: a line each, with a checksum before it |
//! | `gate` | the socket on which the container waits for `start` |
//! | `exec` | what `exec` needs of the container |
//! | `state.json` | what node agents read from runc's file of that name |
//!
//! Making the directory claims the id. An exclusive lock on it orders the verbs that change the container. A line of the record that is torn
//! or does not fit its checksum ends the record: what it would have said has not happened. `state.json` has a copy of the record, for one that was
//! damaged afterwards; where neither can be read, the container's cgroup is known by its mark.

use super::list::Entry;
pub use super::record::{Created, Identity, Intent, Line, Record};
use super::status::{Refused, Verb, allow};
use super::{Global, Id, Status, compact, foreign, notify};
use crate::cgroup::{Cgroup, Place};
use crate::error::{Doing, Error, Result};
use crate::sys::{self, Errno};
use nix::fcntl::OFlag;
use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The name of the record.
pub const RECORD: &str = "record";
/// The name of the gate's socket.
pub const GATE: &str = "gate";
const STATE: &str = "state.json";
/// The key of the copy of the record in `state.json`.
pub const COPY: &str = "record";
/// The largest record that is read, in bytes.
const RECORD_MAX: u64 = 64 << 20;

/// A container's state directory, open.
#[derive(Debug)]
pub struct Store {
    root: OwnedFd,
    dir: OwnedFd,
    id: Id,
    /// The record, open at its end, once this process has written a whole line of it under its lock.
    record: RefCell<Option<OwnedFd>>,
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
        let claimed = sys::fs::openat(&root, id.as_str(), DIRECTORY, 0).map_err(Error::from).and_then(|dir| {
            sys::fs::lock(&dir)?;
            Ok(dir)
        });
        let store = match claimed {
            Ok(dir) => Store { root, dir, id: id.clone(), record: RefCell::default() },
            Err(error) => {
                let _ = sys::fs::rmdirat(&root, id.as_str());
                return Err(error).doing(|| format!("cannot lock the state directory of {id}"));
            }
        };
        match store.still_there() {
            // Deleted meanwhile: what has that name now is somebody else's.
            Err(error @ Error::Refused(_)) => Err(error),
            Err(error) => {
                let _ = sys::fs::rmdirat(&store.root, id.as_str());
                Err(error)
            }
            Ok(()) => Ok(store),
        }
    }

    /// Opens the directory of a container.
    ///
    /// # Errors
    /// There is no such container, or another runtime made it.
    pub fn open(global: &Global, id: &Id) -> Result<Store> {
        let store = Store::look_at(global, id)?;
        // Whoever may write there could have anything killed, removed and run as a hook.
        not_others(&store.root).doing(|| format!("cannot use the state root {}", global.root.display()))?;
        not_others(&store.dir).doing(|| format!("cannot use the state directory of {id}"))?;
        Ok(store)
    }

    /// The same for whoever only looks: it may be another user's.
    ///
    /// # Errors
    /// As of [`Store::open`].
    pub fn look_at(global: &Global, id: &Id) -> Result<Store> {
        let missing = |error: sys::Error| match error.errno {
            Errno::ENOENT | Errno::ENOTDIR => Error::from(Refused::Missing { id: id.clone() }),
            _ => error.into(),
        };
        let root = sys::fs::open(&global.root, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0).map_err(missing)?;
        let dir = sys::fs::openat(&root, id.as_str(), DIRECTORY, 0).map_err(missing)?;
        if let Some(owner) = foreign::whose(dir.as_fd())? {
            return Err(Refused::Foreign { id: id.clone(), owner, root: global.root.display().to_string() }.into());
        }
        Ok(Store { root, dir, id: id.clone(), record: RefCell::default() })
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// The state root.
    #[must_use]
    pub fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Waits for the exclusive lock, which this process has from then on until it ends or the store is dropped.
    ///
    /// # Errors
    /// The container was deleted meanwhile; a call failed.
    pub fn lock(&self) -> Result<()> {
        sys::fs::lock(&self.dir)?;
        self.still_there()
    }

    /// The cgroup with the mark of a container without a record, if there are processes in it.
    ///
    /// # Errors
    /// The cgroups cannot be read.
    pub fn by_mark(&self) -> Result<Option<Cgroup>> {
        let Some(cgroup) = Cgroup::open(&Place::marked(&self.mark()?)?)? else { return Ok(None) };
        Ok(if cgroup.processes()?.is_empty() { None } else { Some(cgroup) })
    }

    /// The status of a container without a record.
    ///
    /// # Errors
    /// As of [`Store::by_mark`].
    pub fn status_by_mark(&self) -> Result<Status> {
        Ok(if self.by_mark()?.is_none() { Status::Stopped } else { Status::Running })
    }

    /// What the container's cgroup is marked with.
    ///
    /// # Errors
    /// The errno of `fstat(2)`.
    pub fn mark(&self) -> Result<String> {
        let stat = sys::fs::fstat(&self.dir)?;
        Ok(format!("{}@{}:{}", self.id, stat.st_dev, stat.st_ino))
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

    /// Waits until nobody has the exclusive lock, and keeps it from everybody: others may have this one at the same time.
    ///
    /// # Errors
    /// As of [`Store::lock`].
    pub fn share(&self) -> Result<()> {
        self.record.take();
        sys::fs::lock_shared(&self.dir)?;
        self.still_there()
    }

    /// Waits for the lock, unless the container's status forbids the verb as it is: then it does not wait behind a hook that hangs.
    ///
    /// # Errors
    /// As of [`Store::lock`]; the status forbids it.
    pub fn lock_for(&self, verb: Verb) -> Result<()> {
        if self.try_lock()? {
            return Ok(());
        }
        match self.read()?.map(|record| record.status(|| Ok(true))).transpose()? {
            None | Some(Status::Creating) => {}
            Some(status) => allow(&self.id, status, verb)?,
        }
        self.lock()
    }

    /// Gives the lock up.
    ///
    /// # Errors
    /// A call failed.
    pub fn unlock(&self) -> Result<()> {
        self.record.take();
        Ok(sys::fs::unlock(&self.dir)?)
    }

    fn still_there(&self) -> Result<()> {
        if sys::fs::fstat(&self.dir)?.st_nlink == 0 {
            return Err(Refused::Missing { id: self.id.clone() }.into());
        }
        Ok(())
    }

    /// Adds a line to the record. What somebody who was killed left of a line goes: it would spoil this one.
    ///
    /// # Errors
    /// The errno of the call that failed.
    pub fn append(&self, line: &Line) -> Result<()> {
        let attempt = || -> Result<()> {
            let text = line.text()?;
            let file = match self.record.take() {
                Some(file) => file,
                None => {
                    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_APPEND;
                    let file = sys::fs::openat(&self.dir, RECORD, flags, 0o600)?;
                    sys::fs::cut_torn_line(&file, RECORD)?;
                    file
                }
            };
            sys::fs::write_all(&file, text.as_bytes(), RECORD)?;
            self.record.replace(Some(file));
            Ok(())
        };
        attempt().doing(|| format!("cannot write the record of {}", self.id))
    }

    /// Reads the record, or its copy where it is damaged; `None` where there is none that can be read: its making was cut short, or both are damaged.
    ///
    /// # Errors
    /// The file is there and cannot be read. That is never taken for its absence.
    pub fn read(&self) -> Result<Option<Record>> {
        let (record, whole) = Record::parse(&self.text(RECORD)?);
        let created = record.as_ref().is_some_and(|record| record.created.is_some());
        // Cut off at the end of a line it is whole, and looks like that of a container whose making was cut short. What `exec` needs is the last
        // that is written before the line that is missing then.
        if whole && (created || self.read_exec()?.is_none()) {
            return Ok(record);
        }
        let copy = || -> Result<Option<Record>> {
            let state = serde_json::from_str(&self.text(STATE)?).unwrap_or(serde_json::Value::Null);
            Ok(state[COPY].as_str().and_then(|text| Record::parse(text).0))
        };
        match record {
            Some(record) if record.created.is_some() => Ok(Some(record)),
            other => Ok(copy()?.or(other)),
        }
    }

    /// The same for a verb that cannot do without it: `None` where nothing of the container lives.
    ///
    /// # Errors
    /// As of [`Store::read`]; there is none that can be read, and the container lives. Who took it for stopped would forget it.
    pub fn living(&self) -> Result<Option<Record>> {
        let record = self.read()?;
        if record.is_none() && self.by_mark()?.is_some() {
            let id = &self.id;
            return Err(Error::Other(format!(
                "the record of container {id} is damaged, or another version of aril wrote it, and the container's processes live: \
                 `delete --force {id}` ends them"
            )));
        }
        Ok(record)
    }

    /// What is in a file; nothing where there is none, or where it is no text.
    fn text(&self, name: &str) -> Result<String> {
        match sys::fs::read_text_at(&self.dir, name, RECORD_MAX) {
            Err(sys::Error { errno: Errno::ENOENT | Errno::EILSEQ, .. }) => Ok(String::new()),
            other => other.doing(|| format!("cannot read the record of {}", self.id)),
        }
    }

    /// Writes `state.json`.
    ///
    /// # Errors
    /// The errno of the call that failed.
    pub fn write_state(&self, state: &serde_json::Value) -> Result<()> {
        let text = state.to_string();
        sys::fs::replace_file(&self.dir, STATE, text.as_bytes(), 0o600).doing(|| format!("cannot write the state of {}", self.id))
    }

    /// Writes what `exec` needs. Nobody reads it before the container is created.
    ///
    /// # Errors
    /// The errno of the call that failed.
    pub fn write_exec(&self, bytes: &[u8]) -> Result<()> {
        let attempt = || -> sys::Result<()> {
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
            sys::fs::write_all(sys::fs::openat(&self.dir, compact::EXEC, flags, 0o600)?, bytes, compact::EXEC)
        };
        attempt().doing(|| format!("cannot write down what exec needs of {}", self.id))
    }

    /// Writes it anew, while somebody may read it.
    ///
    /// # Errors
    /// The call that failed.
    pub fn replace_exec(&self, bytes: &[u8]) -> Result<()> {
        let replaced = sys::fs::replace_file(&self.dir, compact::EXEC, bytes, 0o600);
        replaced.doing(|| format!("cannot write down what exec needs of {}", self.id))
    }

    /// Reads what `exec` needs; `None` where nothing was written.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn read_exec(&self) -> Result<Option<Vec<u8>>> {
        match sys::fs::read_bytes_at(&self.dir, compact::EXEC, RECORD_MAX) {
            Err(sys::Error { errno: Errno::ENOENT, .. }) => Ok(None),
            other => other.map(Some).doing(|| format!("cannot read what exec needs of {}", self.id)),
        }
    }

    /// Removes everything, the record last: as long as that is there, so is what it speaks of.
    ///
    /// # Errors
    /// The errno of the call that failed.
    pub fn remove(&self) -> Result<()> {
        let attempt = || -> sys::Result<()> {
            for name in sys::fs::names(&self.dir)?.iter().filter(|name| *name != RECORD) {
                // A container that may change its mounts can write there, whatever it likes.
                let removed = if name == notify::DIRECTORY { remove_tree(&self.dir, name) } else { sys::fs::unlinkat(&self.dir, name) };
                absent_is_fine(removed)?;
            }
            absent_is_fine(sys::fs::unlinkat(&self.dir, RECORD))?;
            absent_is_fine(sys::fs::rmdirat(&self.root, self.id.as_str()))
        };
        attempt().doing(|| format!("cannot remove the state directory of {}", self.id))
    }
}

fn remove_tree(dir: &OwnedFd, name: &str) -> sys::Result<()> {
    let path = std::path::PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()));
    std::fs::remove_dir_all(path).map_err(|error| sys::Error::new("unlinkat", name, sys::fs::errno(&error)))
}

fn absent_is_fine(result: sys::Result<()>) -> sys::Result<()> {
    match result {
        Err(sys::Error { errno: Errno::ENOENT, .. }) => Ok(()),
        other => other,
    }
}

/// The state root: made if it is missing, and this user's alone.
fn open_root(global: &Global) -> Result<OwnedFd> {
    let attempt = || -> Result<OwnedFd> {
        let root = match sys::fs::open(&global.root, DIRECTORY, 0) {
            Err(sys::Error { errno: Errno::ENOENT, .. }) => {
                use std::os::unix::fs::DirBuilderExt;
                // Sticky: what cleans a user's runtime directory spares it (XDG Base Directory Specification).
                let made = std::fs::DirBuilder::new().recursive(true).mode(0o1700).create(&global.root);
                made.map_err(|e| sys::Error::new("mkdir", &global.root, sys::fs::errno(&e)))?;
                sys::fs::open(&global.root, DIRECTORY, 0)?
            }
            Err(sys::Error { errno: Errno::ENOTDIR, .. }) if global.root.is_symlink() => {
                return Err(Error::Other("it is a symbolic link".to_owned()));
            }
            other => other?,
        };
        not_others(&root)?;
        Ok(root)
    };
    attempt().doing(|| format!("cannot use the state root {}", global.root.display()))
}

/// A directory must be this user's, and nobody else's to write.
pub(super) fn not_others(dir: &OwnedFd) -> Result<()> {
    let stat = sys::fs::fstat(dir)?;
    let euid = sys::process::geteuid();
    if stat.st_uid != euid {
        return Err(Error::Other(format!("it belongs to user {}, not to user {euid}", stat.st_uid)));
    }
    if stat.st_mode & 0o022 != 0 {
        let mode = stat.st_mode & 0o7777;
        return Err(Error::Other(format!("others may write to it (mode {mode:04o}): they could have any container recorded there")));
    }
    Ok(())
}

/// What is known of a container.
///
/// # Errors
/// There is none, or its record cannot be read.
pub fn entry(global: &Global, id: &Id) -> Result<Entry> {
    let store = Store::look_at(global, id)?;
    let at_work = || store.try_lock().map(|free| !free);
    match store.read()? {
        Some(record) => Ok(record.entry(id, record.status(at_work)?)),
        None => Ok(Entry {
            id: id.as_str().to_owned(),
            status: if at_work()? { Status::Creating } else { store.status_by_mark()? },
            ..Entry::default()
        }),
    }
}
