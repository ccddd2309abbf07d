//! Mounts, by descriptors alone.

use crate::paths::{self, resolve};
use crate::run::Executor;
use crate::sys::{self, Failure, Result, call, close, failure, fd, open, openat2, stat};
use aril_plan::{Kind, List, Slot};
use core::ffi::CStr;
use linux_raw_sys::{errno, general};
use syscalls::Sysno;

const EMPTY: &CStr = c"";

/// `mount_setattr(2)`; with `CWD` and `/` of the whole current root.
fn setattr(dir: i32, path: &CStr, flags: u32, attr: &general::mount_attr) -> Result<()> {
    let a = [fd(dir), path.as_ptr() as usize, flags as usize, core::ptr::from_ref(attr) as usize, size_of_val(attr), 0];
    call(Sysno::mount_setattr, a).map(drop)
}

fn recursively(recursive: bool) -> u32 {
    if recursive { general::AT_RECURSIVE } else { 0 }
}

/// Sets how mounts propagate. Where the root is no mount of its own (a chroot), the mount that it is on is found by its path.
pub(crate) fn propagation(path: &CStr, recursive: bool, kind: u64) -> Result<()> {
    let attr = general::mount_attr { attr_set: 0, attr_clr: 0, propagation: kind, userns_fd: 0 };
    setattr(general::AT_FDCWD, path, recursively(recursive), &attr)
}

/// `mount_setattr(2)` of a mount.
pub(crate) fn set_attr(mount: i32, recursive: bool, set: u64, clear: u64, propagation: u64, userns: i32) -> Result<()> {
    let attr = general::mount_attr { attr_set: set, attr_clr: clear, propagation, userns_fd: u64::from(userns.cast_unsigned()) };
    setattr(mount, EMPTY, general::AT_EMPTY_PATH | recursively(recursive), &attr)
}

fn clone_tree(dir: i32, path: &CStr, recursive: bool, nofollow: bool) -> Result<i32> {
    let link = if nofollow { general::AT_SYMLINK_NOFOLLOW } else { 0 };
    let flags = general::OPEN_TREE_CLONE | general::O_CLOEXEC | general::AT_EMPTY_PATH | recursively(recursive) | link;
    open(Sysno::open_tree, [fd(dir), path.as_ptr() as usize, flags as usize, 0, 0, 0])
}

/// A detached copy of the mount at a path. From a slot the path is resolved in the root first.
pub(crate) fn open_tree(x: &mut Executor, into: Slot, at: Slot, path: &CStr, recursive: bool, nofollow: bool) -> Result<()> {
    let tree = if at == Slot::CWD {
        clone_tree(general::AT_FDCWD, path, recursive, nofollow)?
    } else {
        let file = resolve(x.get(at)?, path)?;
        let tree = clone_tree(file, EMPTY, recursive, false);
        close(file);
        tree?
    };
    x.set(into, tree)
}

/// A new file system. What the file system itself says of a bad option becomes the report's detail.
pub(crate) fn new_fs(x: &mut Executor, into: Slot, kind: &CStr, options: &List<'_>, attr: u64) -> Result<()> {
    let context = open(Sysno::fsopen, [kind.as_ptr() as usize, general::FSOPEN_CLOEXEC as usize, 0, 0, 0, 0])?;
    let mount = configure(context, options).and_then(|()| {
        let a = [fd(context), general::FSMOUNT_CLOEXEC as usize, sys::word(attr), 0, 0, 0];
        open(Sysno::fsmount, a)
    });
    if mount.is_err() {
        let mut words = [0; 512];
        // One message a read: "e tmpfs: Bad value for 'size'". The first is the cause.
        if let Ok(n) = sys::read(context, &mut words) {
            let text = words[..n].trim_ascii_end();
            x.detail.set(text.get(2..).unwrap_or(text));
        }
    }
    close(context);
    x.set(into, mount?)
}

fn configure(context: i32, options: &List<'_>) -> Result<()> {
    for option in options.iter() {
        let bytes = option.to_bytes_with_nul();
        let mut key = [0_u8; 256];
        let end = bytes.iter().position(|&b| b == b'=').unwrap_or(bytes.len() - 1);
        if end >= key.len() {
            return Err(failure(Sysno::fsconfig, errno::EINVAL));
        }
        key[..end].copy_from_slice(&bytes[..end]);
        // FSCONFIG_SET_STRING for key=value, FSCONFIG_SET_FLAG for a key alone.
        let (command, value) = if bytes[end] == b'=' { (1, bytes[end + 1..].as_ptr() as usize) } else { (0, 0) };
        call(Sysno::fsconfig, [fd(context), command, key.as_ptr() as usize, value, 0, 0])?;
    }
    const FSCONFIG_CMD_CREATE: usize = 6;
    call(Sysno::fsconfig, [fd(context), FSCONFIG_CMD_CREATE, 0, 0, 0, 0]).map(drop)
}

/// Opens a mount point.
pub(crate) fn target(x: &mut Executor, into: Slot, root: Slot, path: &CStr, kind: Kind, like: Slot) -> Result<()> {
    let nofollow = kind == Kind::SameLink;
    let kind = match kind {
        Kind::Same | Kind::SameLink if stat(x.get(like)?, EMPTY)?.is(general::S_IFDIR) => Kind::Directory,
        Kind::Same | Kind::SameLink => Kind::File,
        other => other,
    };
    let (file, made) = paths::target(x.get(root)?, path, kind, nofollow)?;
    // Which destinations in /proc may be mounted over was decided by their names; a link of the image must not lead others there.
    if !names_proc(path.to_bytes()) && sys::filesystem(file)? == general::PROC_SUPER_MAGIC as usize {
        close(file);
        x.detail.set(b"a link in the root file system leads into /proc");
        return Err(failure(Sysno::openat2, errno::EXDEV));
    }
    x.made = made;
    x.set(into, file)
}

fn names_proc(path: &[u8]) -> bool {
    let mut components = path.split(|&b| b == b'/').filter(|c| !matches!(*c, b"" | b"."));
    components.next() == Some(b"proc") && components.all(|c| c != b"..")
}

/// The mode of the mount point becomes that of the new file system's root. One that had to be made says nothing about the mode wanted.
pub(crate) fn keep_mode(x: &Executor, target: Slot, mount: Slot) -> Result<()> {
    if x.made {
        return Ok(());
    }
    let mode = stat(x.get(target)?, EMPTY)?.mode & 0o7777;
    let root = openat2(x.get(mount)?, c".", general::O_RDONLY | general::O_DIRECTORY, 0, general::RESOLVE_BENEATH)?;
    let result = call(Sysno::fchmod, [fd(root), mode as usize, 0, 0, 0, 0]).map(drop);
    close(root);
    result
}

/// `move_mount(2)`, descriptor to descriptor.
pub(crate) fn attach(mount: i32, target: i32) -> Result<()> {
    let flags = general::MOVE_MOUNT_F_EMPTY_PATH | general::MOVE_MOUNT_T_EMPTY_PATH;
    call(Sysno::move_mount, [fd(mount), EMPTY.as_ptr() as usize, fd(target), EMPTY.as_ptr() as usize, flags as usize, 0]).map(drop)
}

/// `mount(2)`, whose mount point can only be named by a path: that of the open descriptor, in the host's procfs.
pub(crate) fn legacy(target: i32, kind: &CStr, source: &CStr, flags: u64, data: &CStr) -> Result<()> {
    let mut path = *b"/proc/self/fd/0000000000\0";
    let mut number = target.unsigned_abs();
    for digit in path[14..24].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    // The kernel reads no leading zeroes there.
    let zeroes = path[14..23].iter().take_while(|b| **b == b'0').count();
    path.copy_within(14 + zeroes.., 14);
    let a = [source.as_ptr() as usize, path.as_ptr() as usize, kind.as_ptr() as usize, sys::word(flags), data.as_ptr() as usize, 0];
    call(Sysno::mount, a).map(drop)
}

/// Opens a path of the current root: the place where the container's root file system stands on the host.
pub(crate) fn open_path(x: &mut Executor, into: Slot, path: &CStr) -> Result<()> {
    let file = openat2(general::AT_FDCWD, path, general::O_PATH | general::O_NOFOLLOW, 0, general::RESOLVE_NO_SYMLINKS)?;
    x.set(into, file)
}

/// A device node, fifo or socket to make.
pub(crate) struct Node {
    pub(crate) mode: u32,
    pub(crate) device: (u32, u32),
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The directory of a path, made if missing, and the last component.
fn parent(at: i32, path: &CStr) -> Result<(i32, &CStr)> {
    let bytes = path.to_bytes_with_nul();
    let Some(slash) = bytes.iter().rposition(|&b| b == b'/') else {
        return Ok((open(Sysno::fcntl, [fd(at), general::F_DUPFD_CLOEXEC as usize, 0, 0, 0, 0])?, path));
    };
    let mut dir = [0; 4096];
    if slash >= dir.len() {
        return Err(failure(Sysno::openat2, errno::ENAMETOOLONG));
    }
    dir[..slash].copy_from_slice(&bytes[..slash]);
    let name = CStr::from_bytes_with_nul(&bytes[slash + 1..]).unwrap_or(EMPTY);
    Ok((paths::target(at, CStr::from_bytes_until_nul(&dir).unwrap_or(EMPTY), Kind::Directory, false)?.0, name))
}

/// `mknodat(2)`: the umask is 0, so the mode is exact. A node that is there already must be the same one.
pub(crate) fn mknod(at: i32, path: &CStr, node: &Node) -> Result<()> {
    let (dir, name) = parent(at, path)?;
    let result = mknod_at(dir, name, node);
    close(dir);
    result
}

fn mknod_at(dir: i32, name: &CStr, node: &Node) -> Result<()> {
    let (major, minor) = (u64::from(node.device.0), u64::from(node.device.1));
    // new_encode_dev of the kernel, as makedev(3) up to the widths that it has
    let device = (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12);
    match call(Sysno::mknodat, [fd(dir), name.as_ptr() as usize, node.mode as usize, sys::word(device), 0, 0]) {
        Err(Failure { errno: errno::EEXIST, call }) => {
            let there = stat(dir, name)?;
            let same = there.is(node.mode & general::S_IFMT) && there.device == node.device;
            return if same { Ok(()) } else { Err(failure(call, errno::EEXIST)) };
        }
        other => other.map(drop)?,
    }
    if node.uid == 0 && node.gid == 0 {
        return Ok(());
    }
    let flags = general::AT_SYMLINK_NOFOLLOW as usize;
    call(Sysno::fchownat, [fd(dir), name.as_ptr() as usize, node.uid as usize, node.gid as usize, flags, 0]).map(drop)
}

/// `symlinkat(2)`
pub(crate) fn symlink(at: i32, path: &CStr, to: &CStr, exact: bool) -> Result<()> {
    let (dir, name) = parent(at, path)?;
    let result = call(Sysno::symlinkat, [to.as_ptr() as usize, fd(dir), name.as_ptr() as usize, 0, 0, 0]).map(drop);
    let mut there = [0_u8; 4096];
    let a = [fd(dir), name.as_ptr() as usize, there.as_mut_ptr() as usize, there.len(), 0, 0];
    let stays = matches!(result, Err(Failure { errno: errno::EEXIST, .. }))
        && (!exact || call(Sysno::readlinkat, a).is_ok_and(|n| &there[..n] == to.to_bytes()));
    close(dir);
    if stays { Ok(()) } else { result }
}

/// The SELinux label of the root of a file system.
pub(crate) fn label(mount: i32, label: &CStr) -> Result<()> {
    let root = openat2(mount, c".", general::O_RDONLY | general::O_DIRECTORY, 0, general::RESOLVE_BENEATH)?;
    let value = label.to_bytes_with_nul();
    let a = [fd(root), c"security.selinux".as_ptr() as usize, value.as_ptr() as usize, value.len(), 0, 0];
    let result = call(Sysno::fsetxattr, a).map(drop);
    close(root);
    result
}

/// The root becomes `/`: both roots in one place, and the old one away (pivot_root(2), "pivot_root(".", ".")").
pub(crate) fn pivot_root(root: i32) -> Result<()> {
    let here = c".".as_ptr() as usize;
    call(Sysno::fchdir, [fd(root), 0, 0, 0, 0, 0])?;
    call(Sysno::pivot_root, [here, here, 0, 0, 0, 0])?;
    const MNT_DETACH: usize = 2;
    call(Sysno::umount2, [here, MNT_DETACH, 0, 0, 0, 0])?;
    call(Sysno::chdir, [c"/".as_ptr() as usize, 0, 0, 0, 0, 0])?;
    verify_root(root)
}

/// `/` must be the root that was prepared.
fn verify_root(root: i32) -> Result<()> {
    let (new, prepared) = (stat(general::AT_FDCWD, c"/")?, stat(root, EMPTY)?);
    if (new.ino, new.on) == (prepared.ino, prepared.on) { Ok(()) } else { Err(failure(Sysno::pivot_root, errno::EXDEV)) }
}

/// Without `pivot_root(2)` (a root on the initramfs): the root is moved over `/`.
pub(crate) fn move_root(root: i32) -> Result<()> {
    let slash = openat2(general::AT_FDCWD, c"/", general::O_PATH, 0, 0)?;
    attach(root, slash)?;
    close(slash);
    chroot(root)
}

/// `chroot(2)` into a descriptor.
pub(crate) fn chroot(root: i32) -> Result<()> {
    call(Sysno::fchdir, [fd(root), 0, 0, 0, 0, 0])?;
    call(Sysno::chroot, [c".".as_ptr() as usize, 0, 0, 0, 0, 0])?;
    call(Sysno::chdir, [c"/".as_ptr() as usize, 0, 0, 0, 0, 0])?;
    verify_root(root)
}

/// Hides what is at the path, if anything is. The first of each kind is the mount that the plan made; a mount of this namespace can be
/// cloned from then on (a detached one cannot before Linux 6.15).
pub(crate) fn mask(x: &mut Executor, root: Slot, path: &CStr, directory: Slot, null: Slot) -> Result<()> {
    let file = match resolve(x.get(root)?, path) {
        Err(Failure { errno: errno::ENOENT | errno::ENOTDIR, .. }) => return Ok(()),
        other => other?,
    };
    let is_directory = stat(file, EMPTY)?.is(general::S_IFDIR);
    let (index, slot) = if is_directory { (0, directory) } else { (1, null) };
    let source = x.get(slot)?;
    if !is_directory && !x.placed[1] {
        // Where the host could not open its own it is that of the root, which may be anything (CVE-2025-31133).
        let is = stat(source, EMPTY)?;
        if !is.is(general::S_IFCHR) || is.device != (1, 3) {
            x.detail.set(b"/dev/null in the root file system is not the null device");
            return Err(failure(Sysno::openat2, errno::ENODEV));
        }
    }
    let result = if x.placed[index] {
        clone_tree(source, EMPTY, false, false).and_then(|copy| {
            let attached = attach(copy, file);
            close(copy);
            attached
        })
    } else {
        x.placed[index] = true;
        attach(source, file)
    };
    close(file);
    result
}

/// Covers the path with a read-only copy of itself.
pub(crate) fn read_only(root: i32, path: &CStr) -> Result<()> {
    let file = match resolve(root, path) {
        Err(Failure { errno: errno::ENOENT | errno::ENOTDIR, .. }) => return Ok(()),
        other => other?,
    };
    let copy = clone_tree(file, EMPTY, true, false)?;
    let result = set_attr(copy, true, general::MOUNT_ATTR_RDONLY.into(), 0, 0, 0).and_then(|()| attach(copy, file));
    close(copy);
    close(file);
    result
}

/// Reads what was written, from the same place.
pub(crate) fn read_back(x: &mut Executor, at: Slot, path: &CStr, value: &[u8]) -> Result<()> {
    let resolve = general::RESOLVE_BENEATH | general::RESOLVE_NO_XDEV | general::RESOLVE_NO_MAGICLINKS;
    let file = openat2(x.get(at)?, path, general::O_RDONLY, 0, resolve)?;
    let mut text = [0_u8; 4096];
    let result = sys::read(file, &mut text);
    close(file);
    let text = &text[..result?];
    // AppArmor adds the mode, SELinux a NUL: "profile (enforce)\n".
    let word = text.starts_with(value) && text.get(value.len()).is_none_or(|end| matches!(end, b' ' | b'\n' | 0));
    if word {
        return Ok(());
    }
    x.detail.set(b"it was set, and this is what is there: ");
    x.detail.push(text.trim_ascii_end());
    Err(failure(Sysno::read, errno::EINVAL))
}

/// Writes to a file of a file system that must be what the slot holds, and nothing mounted on it.
pub(crate) fn write(at: i32, path: &CStr, value: &[u8]) -> Result<()> {
    let resolve = general::RESOLVE_BENEATH | general::RESOLVE_NO_XDEV | general::RESOLVE_NO_MAGICLINKS; // `self` is a link
    let file = openat2(at, path, general::O_WRONLY, 0, resolve)?;
    let result = sys::write_once(file, value);
    close(file);
    result
}
