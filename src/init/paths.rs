//! Paths inside the root file system, which is hostile: every one is resolved by `openat2(2)` from the root's descriptor.

use crate::sys::{Failure, Result, call, close, failure, fd, open, openat2, stat};
use aril_plan::Kind;
use core::ffi::CStr;
use linux_raw_sys::{errno, general};
use syscalls::Sysno;

/// Symbolic links are followed inside the root; magic links (`/proc/PID/fd/N`) never.
pub(crate) const IN_ROOT: u32 = general::RESOLVE_IN_ROOT | general::RESOLVE_NO_MAGICLINKS;

const PATH_MAX: usize = 4096;

/// What is at a path of the root, as an `O_PATH` descriptor.
pub(crate) fn resolve(root: i32, path: &CStr) -> Result<i32> {
    openat2(root, inner(path), general::O_PATH, 0, IN_ROOT)
}

/// A path of the root that is the root itself is written `.` for the kernel.
fn inner(path: &CStr) -> &CStr {
    if path.is_empty() { c"." } else { path }
}

/// A mount point in the root, made if it is missing, as an `O_PATH` descriptor, and whether it was made. Directories are made with mode 0755,
/// files with 0644.
pub(crate) fn target(root: i32, path: &CStr, kind: Kind, nofollow: bool) -> Result<(i32, bool)> {
    let links = if kind == Kind::RealDirectory { general::RESOLVE_NO_SYMLINKS } else { 0 };
    let flags = general::O_PATH | if nofollow { general::O_NOFOLLOW } else { 0 };
    let file = match openat2(root, inner(path), flags, 0, IN_ROOT | links) {
        Err(Failure { errno: errno::ENOENT, .. }) => return make(root, path, kind == Kind::File).map(|file| (file, true)),
        other => other?,
    };
    let is_directory = stat(file, c"")?.is(general::S_IFDIR);
    match (kind, is_directory) {
        // The errno that mount(2) has for either.
        (Kind::File, true) | (Kind::Directory | Kind::RealDirectory, false) => Err(failure(Sysno::openat2, errno::ENOTDIR)),
        _ => Ok((file, false)),
    }
}

/// Makes the path: what exists of it is resolved in the root, and from the first missing component on every directory is made below the
/// one before and opened without following anything, so that nobody can redirect the rest.
fn make(root: i32, path: &CStr, file: bool) -> Result<i32> {
    let mut buffer = [0; PATH_MAX];
    let bytes = path.to_bytes();
    if bytes.len() >= PATH_MAX {
        return Err(failure(Sysno::openat2, errno::ENAMETOOLONG));
    }
    buffer[..bytes.len()].copy_from_slice(bytes);
    let mut at = open(Sysno::fcntl, [fd(root), general::F_DUPFD_CLOEXEC as usize, 0, 0, 0, 0])?;
    let mut made = false;
    let mut begin = 0;
    while begin < bytes.len() {
        let end = bytes[begin..].iter().position(|&b| b == b'/').map_or(bytes.len(), |n| begin + n);
        let name_begin = begin;
        begin = end + 1;
        if end == name_begin || &bytes[name_begin..end] == b"." {
            continue;
        }
        buffer[end] = 0;
        let last = bytes[end..].iter().all(|&b| b == b'/');
        let next = if made { None } else { existing(root, cstr(&buffer[..=end]))? };
        let next = match next {
            Some(next) => next,
            None => {
                made = true;
                below(at, cstr(&buffer[name_begin..=end]), last && file)?
            }
        };
        close(at);
        at = next;
        if end < bytes.len() {
            buffer[end] = b'/';
        }
    }
    Ok(at)
}

fn cstr(bytes: &[u8]) -> &CStr {
    CStr::from_bytes_until_nul(bytes).unwrap_or(c"")
}

/// What is there already, if anything.
fn existing(root: i32, prefix: &CStr) -> Result<Option<i32>> {
    match openat2(root, prefix, general::O_PATH, 0, IN_ROOT) {
        Ok(file) => Ok(Some(file)),
        Err(Failure { errno: errno::ENOENT, .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

/// Makes one file or directory and opens it. `EEXIST` means that a link that leads nowhere is in the way, or that somebody was faster: both
/// are refused.
fn below(dir: i32, name: &CStr, file: bool) -> Result<i32> {
    let at = [fd(dir), name.as_ptr() as usize, 0, 0, 0, 0];
    if file {
        call(Sysno::mknodat, [at[0], at[1], (general::S_IFREG | 0o644) as usize, 0, 0, 0])?;
    } else {
        call(Sysno::mkdirat, [at[0], at[1], 0o755, 0, 0, 0])?;
    }
    let flags = general::O_PATH | general::O_NOFOLLOW;
    openat2(dir, name, flags, 0, general::RESOLVE_BENEATH | general::RESOLVE_NO_SYMLINKS | general::RESOLVE_NO_XDEV)
}
