//! The processes of a container that has no cgroup, as far as they can be told: without root there may be none.

use crate::error::Result;
use crate::sys::{self, Errno};
use nix::fcntl::OFlag;
use std::collections::BTreeSet;
use std::path::Path;

/// How often processes are looked for that came while others were signalled.
const ROUNDS: usize = 16;

/// By the container's first process: with a pid namespace of its own all that are in it, and in any case what descends from these. What left the
/// first one's family in a namespace of others is not found.
pub(super) fn of(first: i32, own_pid_namespace: bool) -> BTreeSet<i32> {
    let mut all = descendants(first);
    if own_pid_namespace && let Some(own) = pid_namespace(first) {
        let proc = sys::fs::open(Path::new("/proc"), OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0);
        let pids = proc.and_then(sys::fs::names).unwrap_or_default().into_iter().filter_map(|name| name.parse().ok());
        // What came by setns(2) has its parent outside.
        all.extend(pids.filter(|pid| pid_namespace(*pid) == Some(own)).flat_map(descendants));
    }
    all
}

/// Signals all of them, those that come in the meantime as well, and the first one last: what it left behind could not be found.
///
/// # Errors
/// The call that failed; that one has ended is none.
pub(super) fn signal(first: i32, own_pid_namespace: bool, signal: i32) -> Result<()> {
    let mut sent = BTreeSet::from([first]);
    let others = |sent: &BTreeSet<i32>| of(first, own_pid_namespace).difference(sent).copied().collect::<BTreeSet<i32>>();
    for _ in 0..ROUNDS {
        let found = others(&sent);
        if found.is_empty() {
            break;
        }
        let open: Vec<_> = found.iter().filter_map(|pid| Some((*pid, sys::process::pidfd_open(*pid).ok()?))).collect();
        // A pid that is still one of them after its pidfd was opened is that process, and no stranger who was given the number.
        let still = others(&sent);
        for (pid, pidfd) in open.iter().filter(|(pid, _)| still.contains(pid)) {
            match sys::process::pidfd_send_signal(pidfd, signal) {
                Err(error) if error.errno != Errno::ESRCH => return Err(error.into()),
                _ => sent.insert(*pid),
            };
        }
    }
    Ok(())
}

fn pid_namespace(pid: i32) -> Option<(u64, u64)> {
    let stat = nix::sys::stat::stat(format!("/proc/{pid}/ns/pid").as_str()).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

/// A process and all that it and its children made; those whose parent has ended are not found.
fn descendants(pid: i32) -> BTreeSet<i32> {
    let tasks = sys::fs::open(Path::new(&format!("/proc/{pid}/task")), OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0);
    let mut all = BTreeSet::from([pid]);
    for task in tasks.and_then(sys::fs::names).unwrap_or_default() {
        let children = sys::fs::read_text(Path::new(&format!("/proc/{pid}/task/{task}/children")), 1 << 20).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|child| child.parse().ok()).flat_map(descendants));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{descendants, of};

    #[test]
    fn a_process_is_among_its_own() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        assert!(descendants(own).contains(&own));
        assert_eq!(descendants(i32::MAX).len(), 1);
        assert_eq!(of(i32::MAX, true).len(), 1);
    }
}
