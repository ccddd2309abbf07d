//! The container's cgroup: made, limited, entered, frozen, killed and removed.
//!
//! [`Place`] says where it is and is written down before anything exists; [`Limits`] is what the configuration asks of it, resolved before
//! anything exists too. Then `create`, `apply`, and the container's process is born in it ([`Cgroup::fd`]) or moved into it
//! ([`Cgroup::add`]). From then on [`Cgroup::open`] finds it by its place.
//!
//! On cgroup v2 it is one directory. On v1 there is one in every hierarchy that the machine has mounted below `/sys/fs/cgroup`, named ones and a
//! cgroup2 among them, and a controller is used where it is.

mod change;
mod create;
mod delegate;
pub mod devices;
mod dir;
mod freeze;
pub mod join;
mod knobs;
mod limits;
mod mark;
mod met;
mod mounts;
pub mod owner;
mod place;
mod processes;
mod remove;
pub mod stats;
mod systemd;
mod text;
mod undo;
mod unit;
mod watch;

#[cfg(test)]
mod native;

pub use change::{Change, remembered};
pub use devices::Devices;
pub use freeze::Frozen;
pub use limits::Limits;
pub use met::{OutOfMemory, OutOfPids};
pub use place::{Hierarchy, Manager, Place, Version};
pub use systemd::Unit;
pub use undo::Before;
pub use watch::{Event, Watch};

use crate::error::{Doing, Result};
use crate::sys;
use dir::Dir;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

/// A container's cgroup, open on every hierarchy.
#[derive(Debug, Default)]
pub struct Cgroup {
    members: Vec<Member>,
    /// systemd's unit, where systemd made it.
    unit: Option<Unit>,
    /// What keeps it alive until the container's process is in it.
    holder: Option<sys::idle::Idle>,
}

/// Its directory on one hierarchy.
#[derive(Debug)]
struct Member {
    hierarchy: Hierarchy,
    /// The hierarchy's mount point.
    root: Dir,
    dir: Dir,
    /// Whether it was made just now, so that it has nothing but what was written since.
    fresh: bool,
}

/// A hierarchy as a container's `/sys/fs/cgroup` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its kind.
    pub version: Version,
    /// The controllers of a v1 hierarchy, `name=systemd` for a named one; empty for v2.
    pub controllers: Vec<String>,
    /// Where the host has it. Its last component is the directory's name in the container (`cpu,cpuacct`), and where that is not the name of each
    /// controller, these are links to it.
    pub mountpoint: PathBuf,
    /// The container's cgroup, from the mount point: `/a/b`.
    pub path: String,
}

impl Cgroup {
    /// The cgroup at a place; `None` if it exists on no hierarchy.
    ///
    /// # Errors
    /// The call that failed.
    pub fn open(place: &Place) -> Result<Option<Cgroup>> {
        let mut members = Vec::new();
        if place.unit.as_ref().is_some_and(|unit| !unit.made) {
            return Ok(None);
        }
        for hierarchy in &place.hierarchies {
            let root = match Dir::mount(&hierarchy.mount) {
                // The hierarchy itself has gone, and all its cgroups.
                Err(error) if dir::gone(error.errno) => continue,
                root => root?,
            };
            if let Some(dir) = root.open(hierarchy.relative())? {
                members.push(Member { hierarchy: hierarchy.clone(), root, dir, fresh: false });
            }
        }
        Ok(if members.is_empty() { None } else { Some(Cgroup { members, unit: place.unit.clone(), holder: None }) })
    }

    /// The cgroup for CLONE_INTO_CGROUP: where cgroup v2 is all there is.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self.members.as_slice() {
            [only] if only.hierarchy.version == Version::V2 => Some(only.dir.as_fd()),
            _ => None,
        }
    }

    /// Whether a process has to be moved into it by [`Cgroup::add`].
    #[must_use]
    pub fn needs_migration(&self) -> bool {
        self.fd().is_none() && !self.members.is_empty()
    }

    /// Moves a process into it, on every hierarchy.
    ///
    /// # Errors
    /// The write that failed, with the reason where the kernel's errno does not tell.
    pub fn add(&self, pid: i32) -> Result<()> {
        for member in &self.members {
            let moved = member.dir.write("cgroup.procs", &pid.to_string());
            if let (Err(sys::Error { errno: sys::Errno::EACCES | sys::Errno::EPERM, .. }), Some(unit)) = (&moved, &self.unit) {
                return unit.attach(pid);
            }
            moved.doing(|| format!("cannot move process {pid} into cgroup {:?}{}", member.dir.path(), member.why_not_joined()))?;
        }
        Ok(())
    }

    /// Why a process could not be born in it: a clause for the message, or nothing.
    #[must_use]
    pub fn why_not_joined(&self) -> String {
        self.members.iter().map(Member::why_not_joined).collect()
    }

    /// What the container's `/sys/fs/cgroup` is made of: one cgroup2 for itself, or a tmpfs with a directory for each.
    #[must_use]
    pub fn mounts(&self) -> Vec<Mount> {
        mounts_of(self.members.iter().map(|member| &member.hierarchy))
    }

    /// The member that has a controller, by its v2 name.
    fn member(&self, controller: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.hierarchy.has(controller)).or_else(|| self.v2())
    }

    fn v2(&self) -> Option<&Member> {
        self.members.iter().find(|member| member.hierarchy.version == Version::V2)
    }
}

impl Place {
    /// As [`Cgroup::mounts`], before the cgroup is made.
    #[must_use]
    pub fn mounts(&self) -> Vec<Mount> {
        mounts_of(self.hierarchies.iter())
    }
}

fn mounts_of<'a>(hierarchies: impl Iterator<Item = &'a Hierarchy>) -> Vec<Mount> {
    hierarchies
        .map(|h| Mount { version: h.version, controllers: h.controllers.clone(), mountpoint: h.mount.clone(), path: h.path.clone() })
        .collect()
}

impl Member {
    /// The reasons behind EOPNOTSUPP, EBUSY and ENOSPC of a join.
    fn why_not_joined(&self) -> String {
        let read = |file| self.dir.read(file).unwrap_or_default();
        match self.hierarchy.version {
            Version::V2 => match read("cgroup.type").trim() {
                "domain invalid" => " (it is in a threaded domain: the cgroup above it must be a domain)".to_owned(),
                "threaded" => " (it is threaded: it takes threads, not processes)".to_owned(),
                _ if !read("cgroup.subtree_control").trim().is_empty() => {
                    " (it gives controllers to cgroups below it, so that it cannot have processes itself)".to_owned()
                }
                _ => String::new(),
            },
            Version::V1 if self.hierarchy.has("cpuset") && read("cpuset.cpus").trim().is_empty() => {
                " (its cpuset.cpus is empty)".to_owned()
            }
            Version::V1 => String::new(),
        }
    }
}

/// The value of a key in a file of `key value` lines.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The reading that a cgroup which has gone in the meantime gives: nothing.
fn if_there<T: Default>(result: sys::Result<T>) -> sys::Result<T> {
    match result {
        Err(error) if dir::gone(error.errno) => Ok(T::default()),
        other => other,
    }
}
