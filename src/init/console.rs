//! The terminal of the user's process.

use crate::mounts;
use crate::paths;
use crate::report::Talk;
use crate::run::{Executor, tolerate};
use crate::sys::{self, Result, call, close, close_all, failure, fd, open, openat2, stat};
use aril_plan::talk::About;
use aril_plan::{Kind, Slot};
use linux_raw_sys::{errno, general, ioctl};
use syscalls::Sysno;

/// What [`aril_plan::Op::Console`] says.
pub(crate) struct Terminal {
    pub(crate) root: Slot,
    pub(crate) rows: u16,
    pub(crate) columns: u16,
    pub(crate) uid: u32,
    pub(crate) bind: bool,
}

/// Makes a pseudo-terminal in the container's devpts, hands its master to the host, and takes its peer as the controlling terminal.
pub(crate) fn console(x: &mut Executor, talk: &Talk, step: u32, terminal: &Terminal) -> Result<()> {
    let root = x.get(terminal.root)?;
    let master = multiplexer(root)?;
    let unlocked = 0_i32;
    control(master, ioctl::TIOCSPTLCK, (&raw const unlocked) as usize)?;
    if terminal.rows != 0 || terminal.columns != 0 {
        let size = [terminal.rows, terminal.columns, 0, 0]; // struct winsize
        control(master, ioctl::TIOCSWINSZ, size.as_ptr() as usize)?;
    }
    let flags = general::O_RDWR | general::O_NOCTTY | general::O_CLOEXEC;
    // By the master, not by a path that somebody could have replaced (CVE-2025-52565).
    let peer = open(Sysno::ioctl, [fd(master), ioctl::TIOCGPTPEER as usize, flags as usize, 0, 0, 0])?;
    if terminal.uid != 0 {
        call(Sysno::fchown, [fd(peer), terminal.uid as usize, u32::MAX as usize, 0, 0, 0])?;
    }
    if terminal.bind {
        bind(root, peer)?;
    }
    talk.ask(About::Ask, step, master)?;
    close(master);
    control(peer, ioctl::TIOCSCTTY, 0)?;
    for stdio in 0..3 {
        call(Sysno::dup3, [fd(peer), stdio, 0, 0, 0, 0])?;
    }
    close(peer);
    Ok(())
}

fn control(file: i32, request: u32, argument: usize) -> Result<usize> {
    call(Sysno::ioctl, [fd(file), request as usize, argument, 0, 0, 0])
}

/// `/dev/pts/ptmx` of a devpts. On anything else it is not opened: it may be a device of the image's, and to open one does something.
fn multiplexer(root: i32) -> Result<i32> {
    let pts = openat2(root, c"dev/pts", general::O_PATH | general::O_DIRECTORY, 0, paths::IN_ROOT | general::RESOLVE_NO_SYMLINKS)?;
    if sys::filesystem(pts)? != general::DEVPTS_SUPER_MAGIC as usize {
        return Err(failure(Sysno::openat2, errno::ENODEV));
    }
    let flags = general::O_RDWR | general::O_NOCTTY | general::O_NOFOLLOW;
    let resolve = general::RESOLVE_BENEATH | general::RESOLVE_NO_SYMLINKS | general::RESOLVE_NO_XDEV;
    let master = openat2(pts, c"ptmx", flags, 0, resolve)?;
    close(pts);
    let is = stat(master, c"")?;
    if is.is(general::S_IFCHR) && is.device == (5, 2) && is.ino == 2 {
        return Ok(master);
    }
    Err(failure(Sysno::openat2, errno::ENODEV))
}

/// Covers `/dev/console` with the terminal. The name must not be a link: a link would be followed out of `/dev`.
fn bind(root: i32, peer: i32) -> Result<()> {
    let (dev, _) = paths::target(root, c"dev", Kind::RealDirectory, false)?;
    let name = c"console";
    let made = call(Sysno::mknodat, [fd(dev), name.as_ptr() as usize, (general::S_IFREG | 0o600) as usize, 0, 0, 0]).map(drop);
    tolerate(made, errno::EEXIST)?;
    let target = openat2(dev, name, general::O_PATH | general::O_NOFOLLOW, 0, general::RESOLVE_BENEATH)?;
    if stat(target, c"")?.is(general::S_IFLNK) {
        return Err(failure(Sysno::openat2, errno::ELOOP));
    }
    let flags = general::OPEN_TREE_CLONE | general::O_CLOEXEC | general::AT_EMPTY_PATH;
    let tree = open(Sysno::open_tree, [fd(peer), c"".as_ptr() as usize, flags as usize, 0, 0, 0])?;
    mounts::attach(tree, target)?;
    close_all(&[tree, target, dev]);
    Ok(())
}
