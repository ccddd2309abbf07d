//! Who keeps the first process of a pid namespace from ending: it waits until all others of its namespace have been reaped, and those that came by
//! `exec` are reaped by that `exec`. One that stands still (SIGSTOP, ctrl-Z, a debugger) reaps nobody.

use crate::sys::process::{pidfd_open, pidfd_send_signal, stat};
use crate::sys::{self, Errno};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A process that has ended, and its parent in another pid namespace, which has not taken notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreaped {
    /// The one that has ended.
    pub pid: i32,
    /// Its parent.
    pub parent: i32,
}

impl std::fmt::Display for Unreaped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} of its pid namespace has ended, and waits for process {} to take notice", self.pid, self.parent)
    }
}

/// Those in the pid namespace of this process, which is the first one of it. What cannot be seen is none.
#[must_use]
pub fn of(first: i32) -> Vec<Unreaped> {
    let Some(namespace) = namespace(first) else { return Vec::new() };
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let ended = pids.filter_map(|pid: i32| Some((pid, stat(pid).ok().filter(|stat| stat.state == 'Z')?.parent)));
    ended
        .filter(|(pid, parent)| {
            *pid != first && self::namespace(*pid).as_ref() == Some(&namespace) && self::namespace(*parent).as_ref() != Some(&namespace)
        })
        .map(|(pid, parent)| Unreaped { pid, parent })
        .collect()
}

/// Ends the parent, if it runs this same program: then it is an `exec`, and whoever else it may be has to answer for its children itself.
///
/// # Errors
/// The errno of the call that failed.
pub fn end_exec(unreaped: Unreaped) -> sys::Result<()> {
    let program = |pid: &str| fs::metadata(PathBuf::from("/proc").join(pid).join("exe")).ok().map(|exe| (exe.dev(), exe.ino()));
    let pidfd = match pidfd_open(unreaped.parent) {
        Err(sys::Error { errno: Errno::ESRCH, .. }) => return Ok(()),
        other => other?,
    };
    // After the pidfd was opened: it is this process's child and this process's program then.
    let is_parent = stat(unreaped.pid).is_ok_and(|stat| stat.parent == unreaped.parent);
    if is_parent && program("self").is_some() && program(&unreaped.parent.to_string()) == program("self") {
        pidfd_send_signal(&pidfd, libc::SIGKILL)?;
    }
    Ok(())
}

fn namespace(pid: i32) -> Option<OsString> {
    fs::read_link(Path::new("/proc").join(pid.to_string()).join("ns/pid")).ok().map(PathBuf::into_os_string)
}

#[cfg(test)]
mod tests {
    use super::{Unreaped, of};

    #[test]
    fn who_waits_for_its_own_parent_is_not_meant() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        let mut child = std::process::Command::new("true").spawn().expect("true");
        let pid = i32::try_from(child.id()).expect("a pid");
        while crate::sys::process::stat(pid).expect("it is not reaped").state != 'Z' {}
        // Its parent is in the same pid namespace, and ends with it.
        assert_eq!(of(own), []);
        child.wait().expect("it ended");
        assert_eq!(
            Unreaped { pid: 7, parent: 4 }.to_string(),
            "process 7 of its pid namespace has ended, and waits for process 4 to take notice"
        );
    }
}
