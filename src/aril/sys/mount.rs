//! The mount API, as far as the host uses it: on detached trees, so that its own mount table never changes; but for [`detach`].

use super::fs::owned;
use super::{Errno, Error, Result};
use linux_raw_sys::general;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `MOUNT_ATTR_*` of `mount_setattr(2)`.
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 1;
    /// Set-id bits have no effect.
    pub const NOSUID: u64 = 2;
    /// Device nodes have no effect.
    pub const NODEV: u64 = 4;
    /// Nothing can be executed.
    pub const NOEXEC: u64 = 8;
    /// The three bits that say how access times are kept.
    pub const ATIME: u64 = 0x70;
    /// Access times are never written.
    pub const NOATIME: u64 = 0x10;
    /// Access times are always written.
    pub const STRICTATIME: u64 = 0x20;
    /// Access times of directories are never written.
    pub const NODIRATIME: u64 = 0x80;
    /// Ids are mapped by a user namespace.
    pub const IDMAP: u64 = 0x0010_0000;
    /// Symbolic links are not followed.
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// `open_tree(2)` with `OPEN_TREE_CLONE`: a detached copy of what is at a path; with `nofollow` also where that is a symbolic link.
///
/// # Errors
/// The errno of the call.
pub fn open_tree(path: &CStr, recursive: bool, nofollow: bool) -> Result<OwnedFd> {
    let recursive = if recursive { libc::AT_RECURSIVE } else { 0 };
    let nofollow = if nofollow { libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT } else { 0 };
    let flags = general::OPEN_TREE_CLONE | general::OPEN_TREE_CLOEXEC | (recursive | nofollow).cast_unsigned();
    // SAFETY: the path is a C string.
    let result = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    owned(result, "open_tree", path)
}

/// The id of the mount that a path is on (`statx(2)`).
///
/// # Errors
/// The errno of the call.
pub fn id(path: &Path) -> Result<u64> {
    let c_path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::new("statx", path, Errno::EINVAL))?;
    let mut buffer = std::mem::MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is a C string, and the buffer is a statx.
    let result = unsafe { libc::statx(libc::AT_FDCWD, c_path.as_ptr(), libc::AT_NO_AUTOMOUNT, libc::STATX_MNT_ID, buffer.as_mut_ptr()) };
    if result != 0 {
        return Err(Error::new("statx", path, Errno::last()));
    }
    // SAFETY: the kernel filled it in.
    Ok(unsafe { buffer.assume_init() }.stx_mnt_id)
}

/// `umount2(2)` with `MNT_DETACH`: the uppermost mount at a path and all that is mounted on it.
///
/// # Errors
/// The errno of the call.
pub fn detach(path: &Path) -> Result<()> {
    use nix::mount::{MntFlags, umount2};
    umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).map_err(|errno| Error::new("umount2", path, errno))
}

/// What `mount_setattr(2)` changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_SHARED`, …, or 0 to leave it.
    pub propagation: u64,
}

/// `mount_setattr(2)` of a detached tree.
///
/// # Errors
/// The errno of the call.
pub fn set_attr(mount: BorrowedFd<'_>, recursive: bool, change: Change, userns: Option<BorrowedFd<'_>>) -> Result<()> {
    let attr = general::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: userns.map_or(0, |fd| u64::from(fd.as_raw_fd().cast_unsigned())),
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: an empty C string, and an attr of the size that is passed.
    let result =
        unsafe { libc::syscall(libc::SYS_mount_setattr, mount.as_raw_fd(), c"".as_ptr(), flags, &raw const attr, size_of_val(&attr)) };
    Errno::result(result).map(drop).map_err(|e| Error::bare("mount_setattr", e))
}

/// `fsopen(2)`, `fsconfig(2)` and `fsmount(2)` of a file system with flags and `key=value` options; detached.
///
/// # Errors
/// The errno of the call that failed.
pub fn new_fs(kind: &CStr, options: &[(&CStr, &CStr)], attr: u64) -> Result<OwnedFd> {
    let context = fsopen(kind)?;
    for (key, value) in options {
        fsconfig(&context, FSCONFIG_SET_STRING, Some(key), Some(value))?;
    }
    fsconfig(&context, FSCONFIG_CMD_CREATE, None, None)?;
    // SAFETY: numbers alone.
    let result = unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), general::FSMOUNT_CLOEXEC, attr) };
    owned(result, "fsmount", kind)
}

/// `FSCONFIG_SET_STRING`
const FSCONFIG_SET_STRING: u32 = 1;
/// `FSCONFIG_CMD_CREATE`
const FSCONFIG_CMD_CREATE: u32 = 6;

fn fsopen(kind: &CStr) -> Result<OwnedFd> {
    // SAFETY: the kind is a C string.
    owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), general::FSOPEN_CLOEXEC) }, "fsopen", kind)
}

fn fsconfig(context: &OwnedFd, command: u32, key: Option<&CStr>, value: Option<&CStr>) -> Result<()> {
    let (key_at, value_at) = (key.map_or(std::ptr::null(), CStr::as_ptr), value.map_or(std::ptr::null(), CStr::as_ptr));
    // SAFETY: C strings or null pointers, as the command asks.
    let result = unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key_at, value_at, 0) };
    Errno::result(result).map(drop).map_err(|e| Error::new("fsconfig", key.unwrap_or(c"create"), e))
}
