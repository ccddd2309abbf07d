//! The home of the container's user.

use crate::sys;
use nix::fcntl::OFlag;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The largest user database that is read, in bytes: it is the container's, and may be anything.
const PASSWD_MAX: u64 = 1 << 20;

/// `HOME=…` of a user by the container's `/etc/passwd`, with a NUL at the end; the root directory where it names none. `passwd` is what is found
/// there, not open for reading yet.
#[must_use]
pub fn home(passwd: Option<OwnedFd>, uid: u32) -> Vec<u8> {
    let mut text = Vec::new();
    if let Some(file) = passwd.and_then(|found| sys::fs::regular(&found)) {
        let _ = File::from(file).take(PASSWD_MAX).read_to_end(&mut text);
    }
    let directory = find(&text, uid).filter(|d| d.starts_with(b"/") && !d.contains(&0)).unwrap_or(b"/");
    [b"HOME=", directory, b"\0"].concat()
}

/// The user database in the root of a process: no link of the container leads out of that root.
#[must_use]
pub fn in_root_of(pid: i32) -> Option<OwnedFd> {
    let root = sys::fs::open(Path::new(&format!("/proc/{pid}/root")), OFlag::O_PATH | OFlag::O_DIRECTORY, 0).ok()?;
    let resolve = sys::fs::RESOLVE_IN_ROOT | sys::fs::RESOLVE_NO_MAGICLINKS;
    sys::fs::openat2(root.as_fd(), c"etc/passwd", (OFlag::O_PATH | OFlag::O_NOFOLLOW).bits(), 0, resolve).ok()
}

/// The sixth field of the line whose third is the uid (passwd(5)).
fn find(passwd: &[u8], uid: u32) -> Option<&[u8]> {
    let number = uid.to_string();
    let line = passwd.split(|b| *b == b'\n').find(|line| line.split(|b| *b == b':').nth(2) == Some(number.as_bytes()))?;
    line.split(|b| *b == b':').nth(5)
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn homes() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\n1000:x:0:0::/evil:\nuser:x:1000:1000::/home/user:/bin/sh\nshort:x:7\n";
        assert_eq!(find(passwd, 0), Some(&b"/root"[..]));
        assert_eq!(find(passwd, 1000), Some(&b"/home/user"[..]));
        assert_eq!(find(passwd, 7), None);
        assert_eq!(find(passwd, 8), None);
        assert_eq!(find(b"", 0), None);
    }
}
