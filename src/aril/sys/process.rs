//! Processes, their identity, and this process's own properties.

use super::{Errno, Error, Result};
use linux_raw_sys::general;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// The kernel's release, e.g. `6.12.48+deb13-amd64`.
///
/// # Errors
/// The errno of `uname(2)`.
pub fn kernel_release() -> Result<String> {
    let mut buffer = std::mem::MaybeUninit::<libc::utsname>::uninit();
    // SAFETY: the buffer is a utsname.
    Errno::result(unsafe { libc::uname(buffer.as_mut_ptr()) }).map_err(|e| Error::bare("uname", e))?;
    // SAFETY: the kernel filled it in, with a NUL at the end of each text.
    let release = unsafe { CStr::from_ptr(buffer.assume_init_ref().release.as_ptr()) };
    Ok(release.to_string_lossy().into_owned())
}

/// The effective user id.
#[must_use]
pub fn geteuid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// The effective group id.
#[must_use]
pub fn getegid() -> u32 {
    nix::unistd::getegid().as_raw()
}

/// The effective capabilities of this process.
///
/// # Errors
/// The errno of `capget(2)`.
pub fn capabilities() -> Result<u64> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let mut data = [0_u32; 6];
    // SAFETY: version 3 takes a header of two words and fills in six.
    let result = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) };
    Errno::result(result).map_err(|e| Error::bare("capget", e))?;
    Ok(u64::from(data[0]) | (u64::from(data[3]) << 32))
}

/// Which of these capabilities are in this process's bounding set, and which of them the kernel knows: a call for each (`PR_CAPBSET_READ`).
#[must_use]
pub fn bounding(asked: u64) -> (u64, u64) {
    let (mut bounding, mut known) = (0, 0);
    for capability in (0..64_u32).filter(|capability| asked >> capability & 1 != 0) {
        // SAFETY: numbers alone.
        let there = unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(capability), 0, 0, 0) };
        bounding |= u64::from(there == 1) << capability;
        known |= u64::from(there >= 0) << capability;
    }
    (bounding, known)
}

/// The tasks (threads) of a process; none if it has gone.
#[must_use]
pub fn tasks(pid: i32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task");
    let dir = super::fs::open(Path::new(&path), nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_DIRECTORY, 0);
    let names = dir.and_then(super::fs::names).unwrap_or_default();
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// Whether this process is in a user namespace other than the initial one, which alone maps every id to itself.
///
/// # Errors
/// The errno of reading `/proc/self/uid_map`.
pub fn in_userns() -> Result<bool> {
    // This process stays in the one in which it began.
    static IN_USERNS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    if let Some(known) = IN_USERNS.get() {
        return Ok(*known);
    }
    let found = match super::fs::read_once(Path::new("/proc/self/uid_map")) {
        // After such a line there is none.
        Ok(map) => map.split_ascii_whitespace().ne(["0", "0", "4294967295"]),
        Err(Error { errno: Errno::ENOENT, .. }) if super::fs::statfs_type(c"/proc") == Ok(super::fs::PROC_SUPER_MAGIC) => false, // a kernel without them
        Err(other) => return Err(other),
    };
    Ok(*IN_USERNS.get_or_init(|| found))
}

/// A new process.
#[derive(Debug)]
pub struct Child {
    /// Its pid in this process's pid namespace.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

/// How [`spawn`] starts a program.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// `CLONE_NEW*`.
    pub namespaces: u32,
    /// The cgroup to be born in (`CLONE_INTO_CGROUP`).
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The program.
    pub image: BorrowedFd<'a>,
    /// Its arguments.
    pub args: &'a [&'a CStr],
    /// The descriptors that it inherits besides 0, 1 and 2.
    pub inherit: &'a [RawFd],
}

/// Starts a program from a descriptor by `clone3(2)` and `execveat(2)`, with an empty environment.
///
/// # Errors
/// The errno of `clone3(2)`. If `execveat(2)` fails the child ends with that errno as its status.
pub fn spawn(how: &Spawn<'_>) -> Result<Child> {
    let mut pidfd: RawFd = -1;
    // SAFETY: all zeroes are a valid clone_args.
    let mut args: general::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from(how.namespaces | general::CLONE_PIDFD);
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    if let Some(cgroup) = how.cgroup {
        args.flags |= general::CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    let mut argv: Vec<*const libc::c_char> = how.args.iter().map(|a| a.as_ptr()).collect();
    argv.push(std::ptr::null());
    let image = Image { how, argv: &argv };
    // SAFETY: this process has one thread and no signal handlers, and `run_image` only makes system calls.
    let pid = unsafe { super::vfork::clone3(args, run_image, (&raw const image).cast()) };
    let pid = pid.map_err(|e| Error::bare("clone3", e))?;
    // SAFETY: CLONE_PIDFD made the kernel store a new descriptor there.
    Ok(Child { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
}

/// What the child of [`spawn`] needs.
struct Image<'a> {
    how: &'a Spawn<'a>,
    argv: &'a [*const libc::c_char],
}

/// In the child: nothing but system calls. It ends with the errno of the one that failed.
unsafe extern "C" fn run_image(image: *const std::ffi::c_void) -> ! {
    // SAFETY: `spawn` passes an Image, and waits.
    let Image { how, argv } = unsafe { &*image.cast::<Image<'_>>() };
    let envp = [std::ptr::null::<libc::c_char>()];
    for &fd in how.inherit {
        // SAFETY: a call on a descriptor that is open.
        if unsafe { libc::fcntl(fd, libc::F_SETFD, 0) } < 0 {
            // SAFETY: _exit runs no code of this program.
            unsafe { libc::_exit(Errno::last() as i32) }
        }
    }
    // SAFETY: an empty C string, and arrays of C strings that end with a null pointer. _exit runs no code of this program.
    unsafe {
        libc::syscall(libc::SYS_execveat, how.image.as_raw_fd(), c"".as_ptr(), argv.as_ptr(), envp.as_ptr(), libc::AT_EMPTY_PATH);
        libc::_exit(Errno::last() as i32)
    }
}

/// A process's pid in its own pid namespace.
///
/// # Errors
/// The errno of reading `/proc/PID/status`, `EINVAL` if it cannot be understood.
pub fn pid_inside(pid: i32) -> Result<i32> {
    let path = format!("/proc/{pid}/status");
    let bytes = super::fs::read_bytes(Path::new(&path), 1 << 16)?;
    let text = String::from_utf8_lossy(&bytes);
    let numbers = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers
        .and_then(|n| n.split_ascii_whitespace().last())
        .and_then(|n| n.parse().ok())
        .ok_or_else(|| Error::new("read", path, Errno::EINVAL))
}

/// `pidfd_open(2)`
///
/// # Errors
/// The errno of the call: `ESRCH` where there is no such process.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: numbers alone.
    super::fs::owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }, "pidfd_open", pid)
}

/// `pidfd_send_signal(2)`
///
/// # Errors
/// The errno of the call: `ESRCH` where the process has ended.
pub fn pidfd_send_signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    // SAFETY: a call on a descriptor that is open; no siginfo.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_fd().as_raw_fd(), signal, std::ptr::null::<u8>(), 0) };
    Errno::result(result).map(drop).map_err(|e| Error::bare("pidfd_send_signal", e))
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Code(u8),
    /// By this signal.
    Signal(u8),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Signal(signal) => write!(f, "was killed by signal {signal}"),
            Exit::Code(code) => write!(f, "ended with status {code}"),
        }
    }
}

impl Exit {
    /// The status as a shell gives it: 128 + the signal's number.
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128_u8.saturating_add(signal),
        }
    }
}

/// Waits until a child has ended, and reaps it.
///
/// # Errors
/// The errno of `waitid(2)`.
pub fn wait(child: impl AsFd) -> Result<Exit> {
    // SAFETY: all zeroes are a valid siginfo.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: a descriptor that is open, and a siginfo to fill in.
        let result =
            unsafe { libc::waitid(libc::P_PIDFD, child.as_fd().as_raw_fd().cast_unsigned(), &raw mut info, libc::WEXITED | libc::__WALL) };
        match Errno::result(result) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::bare("waitid", e)),
        }
    }
    // SAFETY: waitid filled in a SIGCHLD.
    let status = u8::try_from(unsafe { info.si_status() } & 0xff).unwrap_or(u8::MAX);
    Ok(if info.si_code == libc::CLD_EXITED { Exit::Code(status) } else { Exit::Signal(status & 0x7f) })
}

/// Reaps a child that has ended; whether there was one.
///
/// # Errors
/// The errno of `waitid(2)`: `ECHILD` where it is no child of this process.
pub fn reap(child: impl AsFd) -> Result<()> {
    // SAFETY: all zeroes are a valid siginfo; a descriptor that is open.
    let result = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_PIDFD, child.as_fd().as_raw_fd().cast_unsigned(), &raw mut info, libc::WEXITED | libc::WNOHANG | libc::__WALL)
    };
    Errno::result(result).map(drop).map_err(|e| Error::bare("waitid", e))
}

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Its name.
    pub name: String,
    /// Its state: `Z` and `X` are those of a process that has ended.
    pub state: char,
    /// The pid of its parent.
    pub parent: i32,
    /// When it began, in clock ticks since boot. With the boot id and the pid it names a process for ever.
    pub start: u64,
}

/// When a process began, in clock ticks since boot.
///
/// # Errors
/// As of [`stat`].
pub fn start_time(pid: i32) -> Result<u64> {
    Ok(stat(pid)?.start)
}

/// Reads `/proc/PID/stat` (proc_pid_stat(5)).
///
/// # Errors
/// The errno of reading the file (`ENOENT` or `ESRCH` where there is no such process), `EINVAL` if it cannot be understood.
pub fn stat(pid: i32) -> Result<Stat> {
    let path = format!("/proc/{pid}/stat");
    parse_stat(&super::fs::read_once(Path::new(&path))?).ok_or_else(|| Error::new("read", path, Errno::EINVAL))
}

/// The second field is the name in parentheses, and may hold anything.
fn parse_stat(text: &str) -> Option<Stat> {
    let (head, fields) = text.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    Some(Stat { name, state, parent, start })
}

/// This process's network namespace.
///
/// # Errors
/// The errno of `open(2)`.
pub fn network_namespace() -> Result<OwnedFd> {
    super::fs::open(Path::new("/proc/self/ns/net"), nix::fcntl::OFlag::O_RDONLY, 0)
}

/// Puts this process into a new network namespace.
///
/// # Errors
/// The errno of `unshare(2)`.
pub fn unshare_network() -> Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).map_err(|e| Error::bare("unshare CLONE_NEWNET", e))
}

/// Sets the loopback interface of this process's network namespace up (`SIOCSIFFLAGS`, netdevice(7)).
///
/// # Errors
/// The errno of `socket(2)` or `ioctl(2)`.
pub fn loopback_up() -> Result<()> {
    // SAFETY: numbers alone.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    let socket = super::fs::owned(socket.into(), "socket", "AF_INET")?;
    // SAFETY: all zeroes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = libc::c_char::from_ne_bytes([*from]); // signed on some architectures, unsigned on others
    }
    request.ifr_ifru.ifru_flags = 1; // IFF_UP
    // SAFETY: SIOCSIFFLAGS reads an ifreq.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    Errno::result(result).map(drop).map_err(|e| Error::new("ioctl SIOCSIFFLAGS", "lo", e))
}

/// Puts this process into a network namespace.
///
/// # Errors
/// The errno of `setns(2)`.
pub fn join_network(namespace: impl AsFd) -> Result<()> {
    nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).map_err(|e| Error::bare("setns CLONE_NEWNET", e))
}

/// Ignores SIGPIPE: a write to a pipe or socket without a reader fails with `EPIPE`.
///
/// # Errors
/// The errno of `sigaction(2)`.
pub fn ignore_broken_pipes() -> Result<()> {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: no function of this program becomes a handler.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }.map(drop).map_err(|e| Error::bare("signal", e))
}

/// The id of this boot of the kernel.
///
/// # Errors
/// The errno of reading the file.
pub fn boot_id() -> Result<String> {
    Ok(super::fs::read_once(Path::new("/proc/sys/kernel/random/boot_id"))?.trim_end().to_owned())
}

/// `prlimit(2)` of another process.
///
/// # Errors
/// The errno of the call.
pub fn prlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: a limit to read, and none to write.
    let result = unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const limit, std::ptr::null_mut::<libc::rlimit64>()) };
    Errno::result(result).map(drop).map_err(|e| Error::bare("prlimit", e))
}

/// The hard limit of this process.
///
/// # Errors
/// The errno of the call.
pub fn hard_limit(resource: u32) -> Result<u64> {
    own_limit(resource).map(|(_, hard)| hard)
}

/// The soft and the hard limit of this process: `prlimit(2)` of itself.
///
/// # Errors
/// The errno of the call.
pub fn own_limit(resource: u32) -> Result<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: no limit to read, and one to write.
    let result = unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, std::ptr::null::<libc::rlimit64>(), &raw mut limit) };
    Errno::result(result).map(|_| (limit.rlim_cur, limit.rlim_max)).map_err(|e| Error::bare("prlimit", e))
}

/// Which user namespace owns a namespace, and which kind it is: `NS_GET_USERNS` and `NS_GET_NSTYPE` of `ioctl_ns(2)`.
///
/// # Errors
/// The errno of the call: `EPERM` where the owner is outside of this process's user namespace.
pub fn owner_of_namespace(namespace: impl AsFd) -> Result<OwnedFd> {
    const NS_GET_USERNS: libc::c_ulong = 0xb701;
    // SAFETY: an ioctl without an argument.
    let result = unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), NS_GET_USERNS) };
    super::fs::owned(result.into(), "ioctl", "NS_GET_USERNS")
}

/// The kind of the namespace at a path, if this process is in it.
///
/// # Errors
/// The errno of a call: it may be no namespace.
pub fn own_namespace(path: &Path) -> Result<Option<u32>> {
    let namespace = super::fs::open(path, nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_NONBLOCK, 0)?;
    let kind = kind_of_namespace(&namespace)?;
    let Some((_, file)) = super::namespace::FILES.iter().find(|(k, _)| *k == kind) else { return Ok(None) };
    let own = super::fs::open(&Path::new("/proc/self/ns").join(file), nix::fcntl::OFlag::O_RDONLY, 0)?;
    let same = super::fs::fstat(&own)?.st_ino == super::fs::fstat(&namespace)?.st_ino;
    Ok(same.then_some(kind))
}

/// The kind of a namespace, as `CLONE_NEW*`.
///
/// # Errors
/// The errno of the call: `ENOTTY` where the file is no namespace.
pub fn kind_of_namespace(namespace: impl AsFd) -> Result<u32> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: an ioctl without an argument.
    let result = unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), NS_GET_NSTYPE) };
    Errno::result(result).map(i32::cast_unsigned).map_err(|e| Error::new("ioctl", "NS_GET_NSTYPE", e))
}

/// Whether the process was started with more privilege than its caller has (`AT_SECURE`).
#[must_use]
pub fn is_setuid() -> bool {
    // SAFETY: reads the auxiliary vector.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

#[cfg(test)]
mod tests {
    use super::{Stat, parse_stat};

    #[test]
    fn a_name_may_hold_anything() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        let expected = |name: &str| Some(Stat { name: name.to_owned(), state: 'S', parent: 1, start: 4242 });
        assert_eq!(parse_stat(&format!("7 (sh) {rest}")), expected("sh"));
        assert_eq!(parse_stat(&format!("7 (a) Z (b) {rest}")), expected("a) Z (b"));
        assert_eq!(parse_stat("7 (sh) S 1"), None);
    }
}
