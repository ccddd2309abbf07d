//! Compiled seccomp filters, kept for later containers: `<root>/.seccomp/`, a file for each profile. No id begins with a dot.
//!
//! To compile the profile of a container manager takes longer than all the rest of a start. What is wrong with a file, whatever it is, is answered by
//! compiling; that nothing can be kept is no error. A file appears whole or not at all, and is never changed: nobody needs a lock.

use super::Global;
use super::store::{Store, not_others};
use crate::compile::seccomp::Filter;
use crate::compile::seccomp::cache::{self, Key};
use crate::config::{annotations, spec::Spec};
use crate::error::{Doing, Error, Result};
use crate::host::Host;
use crate::log::Log;
use crate::sys::{self, Errno};
use nix::fcntl::OFlag;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

const DIRECTORY: &str = ".seccomp";
/// So many are kept.
const FILES_MAX: usize = 64;
/// The largest that is, in bytes: ten times that of a container manager's profile.
const SIZE_MAX: i64 = 128 << 10;

/// The filter of a container's profile, if it was kept, and what it is kept as.
#[derive(Debug, Default)]
pub struct Kept {
    /// The filter.
    pub filter: Option<Filter>,
    key: Option<Key>,
}

/// Looks for the filter of a configuration's profile. It has none where the configuration has no profile, or has a program instead.
#[must_use]
pub fn look_up(global: &Global, spec: &Spec, host: &Host) -> Kept {
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let profile = profile.filter(|_| annotations::get(spec, annotations::SECCOMP_BPF_DATA).is_none());
    let Some(key) = profile.and_then(|profile| Key::of(profile, host.kernel)) else { return Kept::default() };
    let filter = match read(&global.root, &key) {
        Ok(filter) => Some(filter),
        Err(Error::Sys(sys::Error { errno: Errno::ENOENT | Errno::ENOTDIR, .. })) => None,
        Err(error) => {
            global.log.debug(&format!("a seccomp filter that was kept is not used: {}", error.chain()));
            None
        }
    };
    Kept { filter, key: Some(key) }
}

fn read(root: &Path, key: &Key) -> Result<Filter> {
    let path = root.join(DIRECTORY).join(key.file_name());
    let not = |why: &str| Error::Other(format!("{}: {why}", path.display()));
    // A fifo is not waited for.
    let file = sys::fs::open(&path, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY, 0)?;
    let stat = sys::fs::fstat(&file)?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(not("it is no regular file"));
    }
    // Somebody else's file by another name would be this user's as well; one that was replaced meanwhile has no name any more.
    if stat.st_uid != sys::process::geteuid() || stat.st_mode & 0o7077 != 0 || stat.st_nlink != 1 {
        return Err(not(&format!("user {}, mode {:04o}, {} links", stat.st_uid, stat.st_mode & 0o7777, stat.st_nlink)));
    }
    let size = Some(stat.st_size).filter(|size| *size <= SIZE_MAX).and_then(|size| usize::try_from(size).ok());
    let mut bytes = vec![0; size.ok_or_else(|| not("it is too large"))?];
    std::fs::File::from(file).read_exact(&mut bytes).map_err(|error| sys::Error::new("read", &path, sys::fs::errno(&error)))?;
    cache::decode(&bytes, key).ok_or_else(|| not("it is damaged, or another profile's"))
}

/// Keeps the filter that was compiled for a container. Its state directory was claimed: the state root is this user's alone.
pub fn keep(log: &Log, store: &Store, kept: &Kept, filter: Option<&Filter>) {
    let Kept { filter: None, key: Some(key) } = kept else { return };
    let kept = filter.map_or(Ok(()), |filter| write(store.root(), key, filter));
    if let Err(error) = kept.doing(|| "cannot keep the seccomp filter for later containers".to_owned()) {
        log.debug(&error.chain());
    }
}

/// Without a temporary name: whenever this process is killed, no file is left but a whole one.
fn write(root: &OwnedFd, key: &Key, filter: &Filter) -> Result<()> {
    let Some(bytes) = cache::encode(key, filter).filter(|bytes| i64::try_from(bytes.len()).is_ok_and(|len| len <= SIZE_MAX)) else {
        return Ok(());
    };
    let name = key.file_name();
    unless(sys::fs::mkdirat(root, DIRECTORY, 0o700), Errno::EEXIST)?;
    let dir = sys::fs::openat(root, DIRECTORY, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)?;
    not_others(&dir)?;
    let file = sys::fs::openat(&dir, ".", OFlag::O_WRONLY | OFlag::O_TMPFILE, 0o600)?;
    sys::fs::write_all(&file, &bytes, &name)?;
    // If one is there it could not be used.
    unless(sys::fs::unlinkat(&dir, &name), Errno::ENOENT)?;
    // Or somebody with the same profile was faster.
    unless(sys::fs::link(&file, &dir, &name), Errno::EEXIST)?;
    remove_oldest(&dir)
}

fn unless(result: sys::Result<()>, harmless: Errno) -> sys::Result<()> {
    match result {
        Err(error) if error.errno == harmless => Ok(()),
        other => other,
    }
}

fn remove_oldest(dir: &OwnedFd) -> Result<()> {
    let names = sys::fs::names(dir)?;
    let Some(surplus) = names.len().checked_sub(FILES_MAX).filter(|surplus| *surplus > 0) else { return Ok(()) };
    // What goes meanwhile was removed by somebody else who has one too many.
    let mut files: Vec<_> = names.into_iter().filter_map(|name| Some((sys::fs::modified(dir, &name).ok()?, name))).collect();
    files.sort();
    for (_, name) in files.iter().take(surplus) {
        unless(sys::fs::unlinkat(dir, name), Errno::ENOENT)?;
    }
    Ok(())
}
