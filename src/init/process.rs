//! What the user's process is given, and the end: the gate and `execve(2)`.
#![allow(unsafe_code)]

use crate::paths;
use crate::report::Talk;
use crate::run::{Executor, tolerate};
use crate::sys::{self, Failure, Result, call, close, failure, fd, openat2, stat};
use aril_plan::talk::About;
use aril_plan::{Kind, List, Op, Slot};
use core::ffi::CStr;
use linux_raw_sys::{errno, general, prctl};
use syscalls::Sysno;

/// The steps that set one property of this process.
pub(crate) fn one(x: &mut Executor, op: Op<'static>) -> Result<()> {
    match op {
        Op::Hostname { name } => call(Sysno::sethostname, [name.as_ptr() as usize, name.len(), 0, 0, 0, 0]).map(drop),
        Op::Domainname { name } => call(Sysno::setdomainname, [name.as_ptr() as usize, name.len(), 0, 0, 0, 0]).map(drop),
        Op::Rlimit { resource, soft, hard } => {
            let limit = [soft, hard]; // struct rlimit64
            call(Sysno::prlimit64, [0, resource as usize, limit.as_ptr() as usize, 0, 0, 0]).map(drop)
        }
        Op::AllCpus {} => {
            let mask = [u64::MAX; 128]; // 8192 CPUs: more than the kernel is built for
            let set = call(Sysno::sched_setaffinity, [0, size_of_val(&mask), mask.as_ptr() as usize, 0, 0, 0]).map(drop);
            tolerate(tolerate(set, errno::EPERM), errno::ENOSYS) // nothing is given away by fewer CPUs
        }
        Op::Cpus { mask } => call(Sysno::sched_setaffinity, [0, mask.len(), mask.as_ptr() as usize, 0, 0, 0]).map(drop),
        Op::Loopback {} => loopback(),
        Op::Listen { socket } => {
            // Here, where a failure is still one of `create`.
            x.ends = Some(EndsBy::signals(0)?);
            call(Sysno::listen, [fd(x.get(socket)?), 8, 0, 0, 0, 0]).map(drop)
        }
        Op::Umask { mask } => call(Sysno::umask, [mask as usize, 0, 0, 0, 0, 0]).map(drop),
        Op::Chdir { path, early, make } => chdir(x, path, early, make),
        Op::Keyring { name, permissions } => tolerate(keyring(name, permissions), errno::ENOSYS), // a kernel without keys
        Op::MemoryPolicy { mode, nodes } => {
            // The kernel takes one bit less than it is told.
            let (mask, bits) = if nodes.is_empty() { (0, 0) } else { (nodes.as_ptr() as usize, nodes.len() * 8 + 1) };
            call(Sysno::set_mempolicy, [mode as usize, mask, bits, 0, 0, 0]).map(drop)
        }
        Op::BoundingSet { keep } => bounding_set(keep),
        Op::KeepCaps {} => sys::prctl(prctl::PR_SET_KEEPCAPS, 1).map(drop),
        Op::Groups { ids } => call(Sysno::setgroups, [ids.len() / 4, ids.as_ptr() as usize, 0, 0, 0, 0]).map(drop),
        Op::Gid { gid } => identity(x, Sysno::setresgid, gid),
        Op::Uid { uid } => identity(x, Sysno::setresuid, uid),
        Op::Capabilities { effective, permitted, inheritable } => capset(effective, permitted, inheritable),
        Op::Ambient { raise } => ambient(raise),
        Op::NoNewPrivileges {} => sys::prctl(prctl::PR_SET_NO_NEW_PRIVS, 1).map(drop),
        Op::Personality { persona } => call(Sysno::personality, [persona as usize, 0, 0, 0, 0, 0]).map(drop),
        Op::Find { candidates } => find(x, &candidates),
        Op::Exec { args, env } => exec(x, &args, &env),
        _ => Err(failure(Sysno::read, errno::EPROTO)),
    }
}

/// A session keyring of this name: that which has it already, or else a new one with these permissions as well.
fn keyring(name: &CStr, permissions: u32) -> Result<()> {
    const JOIN_SESSION_KEYRING: usize = 1;
    const SETPERM: usize = 5;
    const POSSESSOR_AND_OWNER: u32 = 0x3f13_0000; // keyctl_join_session_keyring(3): what a new one has
    let keyring = call(Sysno::keyctl, [JOIN_SESSION_KEYRING, name.as_ptr() as usize, 0, 0, 0, 0])?;
    // 0: it is this process's already, as in a container within one of the same name.
    if keyring == 0 {
        return Ok(());
    }
    // One that was there may be another user's, and has them.
    tolerate(call(Sysno::keyctl, [SETPERM, keyring, (POSSESSOR_AND_OWNER | permissions) as usize, 0, 0, 0]).map(drop), errno::EACCES)
}

/// `SIOCSIFFLAGS` of `lo` (netdevice(7)).
fn loopback() -> Result<()> {
    const AF_INET: usize = 2;
    const SOCK_DGRAM_CLOEXEC: usize = 2 | 0o2_000_000;
    const SIOCSIFFLAGS: usize = 0x8914;
    const IFF_UP: u8 = 1;
    let socket = sys::open(Sysno::socket, [AF_INET, SOCK_DGRAM_CLOEXEC, 0, 0, 0, 0])?;
    let mut request = [0_u8; 40]; // struct ifreq: the name in 16 bytes, then the flags
    request[..2].copy_from_slice(b"lo");
    request[16] = IFF_UP;
    let result = call(Sysno::ioctl, [fd(socket), SIOCSIFFLAGS, request.as_ptr() as usize, 0, 0, 0]).map(drop);
    close(socket);
    result
}

/// Real, effective and saved id. A change of credentials clears the parent-death signal: it is armed again. It also makes a process as dumpable as
/// the machine's `fs.suid_dumpable` says (proc(5)): those in the container may not trace this one yet, whatever that is.
fn identity(x: &Executor, change: Sysno, id: u32) -> Result<()> {
    let id = id as usize;
    call(change, [id, id, id, 0, 0, 0])?;
    sys::prctl(prctl::PR_SET_DUMPABLE, 0)?;
    if !x.free {
        sys::prctl(prctl::PR_SET_PDEATHSIG, general::SIGKILL as usize)?;
    }
    Ok(())
}

/// Drops every capability that the kernel has but these.
fn bounding_set(keep: u64) -> Result<()> {
    for capability in 0..64 {
        if keep & (1 << capability) != 0 {
            continue;
        }
        match sys::prctl(prctl::PR_CAPBSET_DROP, capability) {
            Err(Failure { errno: errno::EINVAL, .. }) => break, // beyond the last one that the kernel knows
            // Without CAP_SETPCAP one that is not there needs no drop.
            Err(Failure { errno: errno::EPERM, .. }) if sys::prctl(prctl::PR_CAPBSET_READ, capability) == Ok0 => {}
            other => other.map(drop)?,
        }
    }
    Ok(())
}

/// Compares a result with success and 0.
struct Ok0;
impl PartialEq<Ok0> for Result<usize> {
    fn eq(&self, _: &Ok0) -> bool {
        matches!(self, Ok(0))
    }
}

fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let (low, high) = (|set: u64| (set & 0xffff_ffff) as u32, |set: u64| (set >> 32) as u32);
    let data = [low(effective), low(permitted), low(inheritable), high(effective), high(permitted), high(inheritable)];
    call(Sysno::capset, [header.as_ptr() as usize, data.as_ptr() as usize, 0, 0, 0, 0]).map(drop)
}

fn ambient(raise: u64) -> Result<()> {
    let ambient = |what: u32, capability: usize| call(Sysno::prctl, [prctl::PR_CAP_AMBIENT as usize, what as usize, capability, 0, 0, 0]);
    ambient(prctl::PR_CAP_AMBIENT_CLEAR_ALL, 0)?;
    for capability in (0..64).filter(|c| raise & (1 << c) != 0) {
        ambient(prctl::PR_CAP_AMBIENT_RAISE, capability)?;
    }
    Ok(())
}

/// `struct sock_fprog`
#[repr(C)]
struct Program {
    len: u16,
    filter: *const u8,
}

/// Loads the filter. One that notifies somebody is handed to the host, which sees that it gets there; from the load on, what this process calls
/// (`sendmsg`, `read`, `execve`, and `capset` and `prctl` where capabilities were lent) is subject to it.
pub(crate) fn seccomp(talk: &Talk, step: u32, flags: u32, filter: &[u8]) -> Result<()> {
    const NEW_LISTENER: u32 = 8;
    const SET_MODE_FILTER: usize = 1;
    let len = u16::try_from(filter.len() / 8).map_err(|_| failure(Sysno::seccomp, errno::EINVAL))?;
    let program = Program { len, filter: filter.as_ptr() };
    let listener = call(Sysno::seccomp, [SET_MODE_FILTER, flags as usize, (&raw const program) as usize, 0, 0, 0])?;
    if flags & NEW_LISTENER != 0 {
        // Closed by execve(2).
        talk.ask(About::Ask, step, sys::int(listener))?;
    }
    Ok(())
}

/// The working directory: resolved without magic links, so that no descriptor of the host can be meant (CVE-2024-21626), and made where it
/// is missing.
fn chdir(x: &mut Executor, path: &CStr, early: bool, make: bool) -> Result<()> {
    if x.in_cwd && !early {
        return Ok(());
    }
    let flags = general::O_PATH | general::O_DIRECTORY;
    let mut dir = openat2(general::AT_FDCWD, path, flags, 0, general::RESOLVE_NO_MAGICLINKS);
    if let (true, Err(Failure { errno: errno::ENOENT, .. })) = (make, &dir) {
        let root = openat2(general::AT_FDCWD, c"/", flags, 0, 0)?;
        dir = paths::target(root, path, Kind::Directory, false).map(|(dir, _)| dir);
        close(root);
    }
    let entered = dir.and_then(|dir| {
        let result = call(Sysno::fchdir, [fd(dir), 0, 0, 0, 0, 0]);
        close(dir);
        result
    });
    match entered {
        Err(Failure { errno: errno::EACCES, .. }) if early => return Ok(()),
        other => other.map(drop)?,
    }
    // A directory outside the root prints as "(unreachable)/…".
    let mut text = [0_u8; 4096];
    call(Sysno::getcwd, [text.as_mut_ptr() as usize, text.len(), 0, 0, 0, 0])?;
    if text[0] != b'/' {
        x.detail.set(b"the working directory is outside the container's root");
        return Err(failure(Sysno::getcwd, 0));
    }
    x.in_cwd = true;
    Ok(())
}

/// Finds the root's user database for the host, which looks for the home in it. Whatever it is, it is not opened for reading here.
pub(crate) fn home(x: &mut Executor, talk: &Talk, step: u32) -> Result<()> {
    let flags = general::O_PATH | general::O_NOFOLLOW;
    let file = openat2(general::AT_FDCWD, c"/etc/passwd", flags, 0, general::RESOLVE_NO_MAGICLINKS).unwrap_or(-1);
    let answer = talk.ask(About::Ask, step, file)?;
    if file >= 0 {
        close(file);
    }
    x.home = CStr::from_bytes_with_nul(answer).ok();
    Ok(())
}

/// Finds the program as the user will find it: a regular file that this user may execute. `ENOENT` where there is none at all.
fn find(x: &mut Executor, candidates: &List<'static>) -> Result<()> {
    let mut worst = failure(Sysno::execve, errno::ENOENT);
    for candidate in candidates.iter() {
        match executable(candidate) {
            Ok(()) => {
                x.program = Some(candidate);
                return Ok(());
            }
            // In a search what is not in one directory may be in the next.
            Err(Failure { errno: errno::ENOENT | errno::ENOTDIR, .. }) if candidates.len() > 1 => {}
            Err(other) => {
                x.detail.set(candidate.to_bytes());
                worst = other;
            }
        }
    }
    Err(worst)
}

fn executable(path: &CStr) -> Result<()> {
    // /proc/self/exe and its like are magic links: a program that is this executor (CVE-2019-5736) is none.
    let file = openat2(general::AT_FDCWD, path, general::O_PATH, 0, general::RESOLVE_NO_MAGICLINKS)?;
    let result = stat(file, c"").and_then(|s| {
        if s.is(general::S_IFDIR) {
            return Err(failure(Sysno::execve, errno::EISDIR));
        }
        if !s.is(general::S_IFREG) {
            return Err(failure(Sysno::execve, errno::EACCES));
        }
        let flags = (general::AT_EMPTY_PATH | general::AT_EACCESS) as usize;
        call(Sysno::faccessat2, [fd(file), c"".as_ptr() as usize, general::X_OK as usize, flags, 0, 0]).map(drop)
    });
    close(file);
    result
}

/// All is set up. When the host has recorded it this process may outlive the host.
///
/// The parent-death signal goes before the host answers, since the host may end right after; one that dies without an answer is noticed by
/// the end of the stream.
pub(crate) fn created(x: &mut Executor, talk: &Talk, step: u32, keep: &[Slot; 3]) -> Result<()> {
    free(x, keep)?;
    talk.ask(About::Created, step, -1).map(drop)
}

/// Closes every descriptor but these, and lives on without the host.
pub(crate) fn free(x: &mut Executor, keep: &[Slot; 3]) -> Result<()> {
    x.close_all_but(keep)?;
    sys::prctl(prctl::PR_SET_PDEATHSIG, 0)?;
    x.free = true;
    Ok(())
}

/// Waits for `start`, which connects and then speaks as `create` did.
///
/// Signals that end a process do so here as well.
pub(crate) fn gate(x: &mut Executor, listener: i32, talk: &mut Talk) -> Result<()> {
    let ends = x.ends.take().map_or_else(|| EndsBy::signals(0), Ok)?;
    talk.replace(-1);
    // It waits for days: what fails once for want of memory is tried again.
    let mut tries = 100;
    loop {
        match knock(&ends, listener, talk) {
            Ok(true) => break,
            Ok(false) => {}
            Err(failure) if tries == 0 => return Err(failure),
            Err(_) => tries -= 1,
        }
    }
    ends.close();
    close(listener);
    sys::block_signals(0)
}

/// Waits for the next caller; whether it says go.
fn knock(ends: &EndsBy, listener: i32, talk: &mut Talk) -> Result<bool> {
    let mut ready = [listener, ends.file()].map(|fd| sys::pollfd(fd, general::POLLIN));
    sys::poll(&mut ready, None)?;
    if ready[1].revents != 0 {
        ends.end()?;
    }
    talk.replace(sys::open(Sysno::accept4, [fd(listener), 0, 0, general::O_CLOEXEC as usize, 0, 0])?);
    Ok(begin(talk))
}

/// The signals that end a process, blocked and read from a descriptor: the kernel shields the first process of a pid namespace from signals
/// that it has not asked for.
pub(crate) struct EndsBy(i32);

impl EndsBy {
    /// Blocks them, and those in the mask `besides` too, which are not read.
    pub(crate) fn signals(besides: u64) -> Result<EndsBy> {
        const IGNORED: [u32; 4] = [general::SIGCHLD, general::SIGURG, general::SIGWINCH, general::SIGCONT];
        let mask = IGNORED.iter().fold(!0_u64, |mask, signal| mask & !(1 << (signal - 1)));
        sys::block_signals(mask | besides)?;
        let read = mask & !besides;
        let flags = (general::O_CLOEXEC | general::O_NONBLOCK) as usize;
        Ok(EndsBy(sys::open(Sysno::signalfd4, [fd(-1), (&raw const read) as usize, 8, flags, 0, 0])?))
    }

    pub(crate) fn file(&self) -> i32 {
        self.0
    }

    /// Ends this process as the signal that has come would.
    pub(crate) fn end(&self) -> Result<()> {
        let mut info = [0_u8; 128]; // struct signalfd_siginfo begins with the signal's number
        sys::read(self.0, &mut info)?;
        sys::exit(128 + i32::from(info[0]))
    }

    pub(crate) fn close(self) {
        close(self.0);
    }
}

/// The caller says go; one that hangs up instead (it was killed, or only looked) leaves the container waiting.
fn begin(talk: &mut Talk) -> bool {
    let mut go = [0_u8; 4];
    let n = sys::read(talk.socket(), &mut go).or_else(|_| sys::read(talk.socket(), &mut go)).unwrap_or(0);
    if n < go.len() {
        talk.replace(-1);
    }
    n == go.len()
}

/// Tells the host that this is the end, while a filter cannot forbid it. Moves the socket to the first number and closes everything above it,
/// whatever it is.
pub(crate) fn close_from(talk: &mut Talk, step: u32, first: u32) -> Result<()> {
    talk.leaving(step)?;
    let socket = talk.socket().cast_unsigned();
    if socket != first {
        call(Sysno::dup3, [fd(talk.socket()), first as usize, general::O_CLOEXEC as usize, 0, 0, 0])?;
        if socket < first {
            talk.replace(first.cast_signed());
        } else {
            *talk = Talk::new(first.cast_signed());
        }
    }
    call(Sysno::close_range, [first as usize + 1, u32::MAX as usize, 0, 0, 0, 0]).map(drop)
}

/// The last step. Signals are unblocked and default since `start.rs`.
fn exec(x: &mut Executor, args: &List<'static>, env: &List<'static>) -> Result<()> {
    let argv = sys::allocate_pointers(args.len() + 1)?;
    for (place, arg) in argv.iter_mut().zip(args.iter()) {
        *place = arg.as_ptr();
    }
    let envp = sys::allocate_pointers(env.len() + 2)?;
    for (place, variable) in envp.iter_mut().zip(env.iter().chain(x.home)) {
        *place = variable.as_ptr();
    }
    let program = x.program.ok_or(failure(Sysno::execve, errno::ENOENT))?;
    x.detail.set(program.to_bytes());
    // Should be the last call before the user's program runs.
    call(Sysno::execve, [program.as_ptr() as usize, argv.as_ptr() as usize, envp.as_ptr() as usize, 0, 0, 0]).map(drop)
}
