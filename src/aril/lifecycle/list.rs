//! What is said of containers: of one by `state`, of all by `list`.

use super::{Global, Id, Refused, Status, foreign, store};
use crate::error::{Doing, Error, Result};
use crate::sys::{self, Errno};
use nix::fcntl::OFlag;
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

/// The state of a container (runtime-spec, "State"), with the further keys that managers know from runc, in runc's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Version of the specification that the container's configuration names.
    pub oci_version: String,
    /// Its id.
    pub id: String,
    /// Its process, as the host numbers it; 0 where it has none.
    pub pid: i32,
    /// Its status.
    pub status: Status,
    /// The bundle's absolute path.
    pub bundle: String,
    /// The absolute path of the root file system.
    pub rootfs: String,
    /// When, in RFC 3339 with nanoseconds.
    pub created: String,
    /// Annotations of the configuration.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The user who made it.
    pub owner: String,
    /// The unit of systemd that its cgroup is, under crun's name for it.
    #[serde(rename = "systemd-scope", skip_serializing_if = "Option::is_none")]
    pub systemd_scope: Option<String>,
    /// The runtime that made it, where that is not aril.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<&'static str>,
}

impl Default for Entry {
    fn default() -> Entry {
        Entry {
            oci_version: String::new(),
            id: String::new(),
            pid: 0,
            status: Status::Stopped,
            bundle: String::new(),
            rootfs: String::new(),
            created: String::new(),
            annotations: BTreeMap::new(),
            owner: String::new(),
            systemd_scope: None,
            runtime: None,
        }
    }
}

impl Entry {
    /// As JSON for people and managers, with a newline at the end.
    #[must_use]
    pub fn pretty(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

/// The state of a container.
///
/// # Errors
/// There is none, another runtime made it, or its record cannot be read.
pub fn state(global: &Global, id: &Id) -> Result<Entry> {
    store::entry(global, id)
}

/// All containers below the state root, by id. One that cannot be read is warned of; one that goes meanwhile is left out.
///
/// # Errors
/// The state root cannot be read. One that is not there has no containers.
pub fn list(global: &Global) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for id in ids(&global.root).doing(|| "cannot list the containers".to_owned())? {
        match one(global, &id) {
            Ok(entry) => entries.push(entry),
            Err(Error::Refused(Refused::Missing { .. }) | Error::Sys(sys::Error { errno: Errno::ENOENT, .. })) => {}
            Err(error) => global.log.warn(&format!("cannot list container {id}: {}", error.chain())),
        }
    }
    Ok(entries)
}

/// The ids of all directories below the state root that may be containers, sorted.
///
/// # Errors
/// As of [`list`].
pub fn all(global: &Global) -> Result<Vec<Id>> {
    ids(&global.root).doing(|| "cannot list the containers".to_owned())
}

fn one(global: &Global, id: &Id) -> Result<Entry> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let dir = sys::fs::open(&global.root.join(id.as_str()), flags, 0)?;
    match foreign::whose(dir.as_fd())? {
        Some(owner) => foreign::read(dir.as_fd(), owner, id),
        None => store::entry(global, id),
    }
}

/// The directories of the state root whose names are ids, sorted.
fn ids(root: &Path) -> sys::Result<Vec<Id>> {
    let failed = |error: std::io::Error| sys::Error::new("readdir", root, sys::fs::errno(&error));
    let mut ids = match std::fs::read_dir(root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed(error)),
        Ok(entries) => {
            let mut ids = Vec::new();
            for entry in entries {
                let entry = entry.map_err(failed)?;
                let directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
                ids.extend(entry.file_name().to_str().filter(|_| directory).and_then(|name| Id::new(name).ok()));
            }
            ids
        }
    };
    ids.sort();
    Ok(ids)
}

/// The name of the user `uid` on this host, or `#uid`. A static program has no name services: /etc/passwd is all there is.
#[must_use]
pub fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = uid.to_string();
    let named = passwd.lines().find(|line| line.split(':').nth(2) == Some(&number)).and_then(|line| line.split(':').next());
    named.map_or_else(|| format!("#{uid}"), str::to_owned)
}
