//! `tmpcopyup`: a new tmpfs begins with what it covers.

use crate::paths;
use crate::sys::{Result, Stat, call, close_all, failure, fd, openat2, stat};
use core::ffi::CStr;
use linux_raw_sys::{errno, general};
use syscalls::Sysno;

/// Deeper trees are refused: each level holds two descriptors and a page of stack.
const DEPTH_MAX: u32 = 256;

/// Copies the directory at a path of the root into a detached mount. Nothing there is nothing to copy.
pub(crate) fn copy_up(root: i32, path: &CStr, mount: i32) -> Result<()> {
    let there = paths::resolve(root, path)?;
    let (from, to) = (reopen(there, c".")?, reopen(mount, c".")?);
    let result = tree(from, to, 0);
    close_all(&[there, from, to]);
    result
}

/// A readable directory, from any descriptor of it.
fn reopen(dir: i32, name: &CStr) -> Result<i32> {
    openat2(
        dir,
        name,
        general::O_RDONLY | general::O_DIRECTORY | general::O_NOFOLLOW,
        0,
        general::RESOLVE_BENEATH | general::RESOLVE_NO_SYMLINKS,
    )
}

fn tree(from: i32, to: i32, depth: u32) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(failure(Sysno::getdents64, errno::ELOOP));
    }
    let mut buffer = [0_u8; 4096];
    loop {
        let n = call(Sysno::getdents64, [fd(from), buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0])?;
        if n == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..n];
        while rest.len() > 19 {
            // struct linux_dirent64: inode, offset, record length at 16, type, name from 19 on
            let len = usize::from(u16::from_ne_bytes([rest[16], rest[17]]));
            let name = CStr::from_bytes_until_nul(&rest[19..len]).unwrap_or(c".");
            if name != c"." && name != c".." {
                entry(from, to, name, depth)?;
            }
            rest = &rest[len..];
        }
    }
}

fn entry(from: i32, to: i32, name: &CStr, depth: u32) -> Result<()> {
    let is = stat(from, name)?;
    let at = [fd(to), name.as_ptr() as usize];
    match is.mode & general::S_IFMT {
        general::S_IFDIR => {
            call(Sysno::mkdirat, [at[0], at[1], 0o700, 0, 0, 0])?;
            let (inner_from, inner_to) = (reopen(from, name)?, reopen(to, name)?);
            let result = tree(inner_from, inner_to, depth + 1);
            close_all(&[inner_from, inner_to]);
            result?;
        }
        general::S_IFREG => file(from, to, name, &is)?,
        general::S_IFLNK => {
            let mut target = [0_u8; 4096];
            let max = target.len() - 1;
            call(Sysno::readlinkat, [fd(from), name.as_ptr() as usize, target.as_mut_ptr() as usize, max, 0, 0])?;
            call(Sysno::symlinkat, [target.as_ptr() as usize, at[0], at[1], 0, 0, 0])?;
        }
        general::S_IFSOCK => return Ok(()), // nobody listens in a copy
        _ => {
            let (major, minor) = (is.device.0 as usize, is.device.1 as usize);
            let device = (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12);
            call(Sysno::mknodat, [at[0], at[1], is.mode as usize, device, 0, 0])?;
        }
    }
    attributes(to, name, &is)
}

/// Owner first: a change of owner clears the set-id bits.
fn attributes(to: i32, name: &CStr, is: &Stat) -> Result<()> {
    let at = [fd(to), name.as_ptr() as usize];
    call(Sysno::fchownat, [at[0], at[1], is.uid as usize, is.gid as usize, general::AT_SYMLINK_NOFOLLOW as usize, 0])?;
    if is.is(general::S_IFLNK) {
        return Ok(());
    }
    call(Sysno::fchmodat, [at[0], at[1], (is.mode & 0o7777) as usize, 0, 0, 0]).map(drop)
}

fn file(from: i32, to: i32, name: &CStr, is: &Stat) -> Result<()> {
    let resolve = general::RESOLVE_BENEATH | general::RESOLVE_NO_SYMLINKS;
    // O_NONBLOCK: what was a file may be a fifo by now.
    let source = openat2(from, name, general::O_RDONLY | general::O_NOFOLLOW | general::O_NONBLOCK, 0, resolve)?;
    let copy = openat2(to, name, general::O_WRONLY | general::O_CREAT | general::O_EXCL, 0o600, resolve)?;
    let mut left = usize::try_from(is.size).unwrap_or(usize::MAX);
    let mut result = Ok(0);
    while left > 0 {
        result = call(Sysno::sendfile, [fd(copy), fd(source), 0, left.min(1 << 20), 0, 0]);
        match result {
            Ok(n) if n > 0 => left -= n,
            _ => break, // it became shorter, or failed
        }
    }
    close_all(&[source, copy]);
    result.map(drop)
}
