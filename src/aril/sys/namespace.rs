//! Which namespaces a process is in.

use super::{Errno, Error, Result};
use linux_raw_sys::general;

/// `CLONE_NEW*`, and the name of each kind in `/proc/PID/ns`.
pub(super) const FILES: [(u32, &str); 8] = [
    (general::CLONE_NEWNS, "mnt"),
    (general::CLONE_NEWPID, "pid"),
    (general::CLONE_NEWIPC, "ipc"),
    (general::CLONE_NEWUTS, "uts"),
    (general::CLONE_NEWNET, "net"),
    (general::CLONE_NEWCGROUP, "cgroup"),
    (general::CLONE_NEWUSER, "user"),
    (general::CLONE_NEWTIME, "time"),
];

/// Which kinds of namespace, of those but `known`, a process does not share with this one.
///
/// # Errors
/// The errno of `stat(2)`: `ENOENT` where there is no such process.
pub fn other_namespaces(pid: i32, known: u32) -> Result<u32> {
    let identity = |path: String| match nix::sys::stat::stat(path.as_str()) {
        Ok(stat) => Ok(Some((stat.st_dev, stat.st_ino))),
        Err(Errno::ENOENT) => Ok(None), // a kernel without this kind
        Err(errno) => Err(Error::new("stat", path, errno)),
    };
    let mut others = 0;
    for (kind, file) in FILES.iter().filter(|(kind, _)| known & kind == 0) {
        let own = identity(format!("/proc/self/ns/{file}"))?;
        if own.is_some() && own != identity(format!("/proc/{pid}/ns/{file}"))? {
            others |= kind;
        }
    }
    Ok(others)
}
