//! Who has the lock of a container, and what is done where nobody would give it back.

use super::store::Store;
use crate::error::{Doing, Error, Result};
use crate::sys::process::pidfd_open;
use crate::sys::{self, Errno};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// So long whoever has it may keep it, before it is ended: a hook that hangs would keep it for ever.
const PATIENCE: Duration = Duration::from_secs(3);
/// So often one after the other may have it.
const HOLDERS_MAX: u32 = 16;

/// Takes the lock; one who does not give it back is ended.
///
/// # Errors
/// The container was deleted meanwhile; a call failed; it cannot be told who has it.
pub fn by_force(store: &Store) -> Result<()> {
    if soon(store, PATIENCE)? {
        return Ok(());
    }
    for _ in 0..HOLDERS_MAX {
        for holder in holders(store)? {
            let _ = sys::process::pidfd_send_signal(&holder, libc::SIGKILL);
            ended(&holder, PollTimeout::from(10_000_u16))?;
        }
        if soon(store, Duration::from_millis(500))? {
            return Ok(());
        }
    }
    Err(Error::Other("another process has the lock of its state directory, and it cannot be told which".to_owned()))
}

/// Whether it could be had in this time.
fn soon(store: &Store, patience: Duration) -> Result<bool> {
    let end = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    while !store.try_lock()? {
        if Instant::now() > end {
            return Ok(false);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    Ok(true)
}

/// Whether a process ends within a time.
///
/// # Errors
/// The errno of `poll(2)`.
pub fn ended(pidfd: &OwnedFd, patience: PollTimeout) -> Result<bool> {
    let mut ready = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut ready, patience) {
            Ok(n) => return Ok(n > 0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(sys::Error::bare("poll", errno).into()),
        }
    }
}

/// Those who have it: listed before and after their pidfd was opened, so that it is theirs, and with the directory open.
fn holders(store: &Store) -> Result<Vec<OwnedFd>> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let mut found = Vec::new();
    for pid in listed(store)?.into_iter().filter(|pid| *pid != own) {
        match pidfd_open(pid) {
            Err(sys::Error { errno: Errno::ESRCH | Errno::EINVAL, .. }) => {}
            other => found.push((pid, other?)),
        }
    }
    let after = listed(store)?;
    let directory = sys::fs::fstat(store.dir())?;
    let theirs = |pid: i32| after.contains(&pid) && has_open(pid, (directory.st_dev, directory.st_ino));
    Ok(found.into_iter().filter(|(pid, _)| theirs(*pid)).map(|(_, pidfd)| pidfd).collect())
}

/// Whether a process has this file open, by its device and its inode.
fn has_open(pid: i32, file: (u64, u64)) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.flatten().filter_map(|entry| std::fs::metadata(entry.path()).ok()).any(|open| (open.dev(), open.ino()) == file)
}

fn listed(store: &Store) -> Result<Vec<i32>> {
    let stat = sys::fs::fstat(store.dir())?;
    let table = sys::fs::read_text(Path::new("/proc/locks"), 64 << 20).doing(|| "cannot see who has the lock".to_owned())?;
    Ok(parse(&table, stat.st_ino))
}

/// `1: FLOCK  ADVISORY  WRITE 4242 00:1b:77 0 EOF` (proc_locks(5)). The device there is the super block's, which some file systems do not show in
/// `st_dev`: these are those who have a lock on a file of this number on any file system. Lines of those who wait have an arrow.
fn parse(table: &str, inode: u64) -> Vec<i32> {
    let holder = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip(1);
        (words.next()? == "FLOCK").then_some(())?;
        let pid = words.nth(2)?.parse().ok().filter(|pid| *pid > 0)?;
        (words.next()?.rsplit(':').next()?.parse() == Ok(inode)).then_some(pid)
    };
    table.lines().filter_map(holder).collect()
}

#[cfg(test)]
mod tests {
    use super::{has_open, parse};
    use std::fs::{File, metadata};
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_file_of_the_same_number_on_another_file_system_is_another() {
        let open = File::open("/proc/self/status").expect("it is there");
        let file = open.metadata().map(|file| (file.dev(), file.ino())).expect("it is open");
        let own = i32::try_from(std::process::id()).expect("a pid");
        assert!(has_open(own, file));
        assert!(!has_open(own, (metadata("/").expect("it is there").dev(), file.1)));
        assert!(!has_open(0, file));
    }

    #[test]
    fn holders_are_found_by_the_inode() {
        let table = "1: POSIX  ADVISORY  WRITE 11 00:1b:77 0 EOF\n2: FLOCK  ADVISORY  WRITE 12 00:1b:77 0 EOF\n2: -> FLOCK  ADVISORY  WRITE 13 00:1b:77 0 EOF\n\
                     3: FLOCK  ADVISORY  READ  14 00:1b:77 0 EOF\n4: FLOCK  ADVISORY  READ  15 00:1b:777 0 EOF\n5: FLOCK  ADVISORY  WRITE -1 00:1b:77 0 EOF\n";
        assert_eq!(parse(table, 77), [12, 14]);
    }
}
