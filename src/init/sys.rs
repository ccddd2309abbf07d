//! System calls, without a C library. Every failure knows its call.
#![allow(unsafe_code)]

use core::ffi::CStr;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use linux_raw_sys::{errno, general};
use syscalls::{Sysno, raw::syscall6};

/// A system call that failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    /// Which.
    pub(crate) call: Sysno,
    /// Why; 0 where the detail of the report says it in words.
    pub(crate) errno: u32,
}

pub(crate) type Result<T> = core::result::Result<T, Failure>;

/// A failure that no call returned.
pub(crate) const fn failure(call: Sysno, errno: u32) -> Failure {
    Failure { call, errno }
}

/// A descriptor (or `AT_FDCWD`) as the kernel takes it.
pub(crate) const fn fd(fd: i32) -> usize {
    (fd as isize).cast_unsigned()
}

/// A descriptor or a pid, which the kernel returns as an `int`.
#[allow(clippy::cast_possible_truncation)]
pub(crate) const fn int(result: usize) -> i32 {
    result as i32
}

/// A value of 64 bits as an argument: registers are as wide on every architecture that this is built for.
#[allow(clippy::cast_possible_truncation)]
pub(crate) const fn word(value: u64) -> usize {
    const { assert!(size_of::<usize>() == size_of::<u64>()) }
    value as usize
}

/// The bits of `events` in a `struct pollfd`, which has 16.
pub(crate) fn pollfd(fd: i32, events: u32) -> general::pollfd {
    general::pollfd { fd, events: i16::try_from(events).unwrap_or(0), revents: 0 }
}

/// Makes the call; arguments beyond its own are ignored by the kernel. Never interrupted: `EINTR` is tried again.
pub(crate) fn call(call: Sysno, a: [usize; 6]) -> Result<usize> {
    loop {
        // SAFETY: every caller passes pointers to live memory of the size that this call reads or writes.
        let result = unsafe { syscall6(call as usize, a[0], a[1], a[2], a[3], a[4], a[5]) };
        match (result as isize).unsigned_abs() {
            error if (result as isize) < 0 && error < 4096 => {
                if error != errno::EINTR as usize {
                    return Err(Failure { call, errno: u32::try_from(error).unwrap_or(0) });
                }
            }
            _ => return Ok(result),
        }
    }
}

/// The call of a function that returns a descriptor.
pub(crate) fn open(nr: Sysno, a: [usize; 6]) -> Result<i32> {
    call(nr, a).map(int)
}

/// `exit_group(2)`
pub(crate) fn exit(status: i32) -> ! {
    loop {
        let _ = call(Sysno::exit_group, [status.cast_unsigned() as usize, 0, 0, 0, 0, 0]);
    }
}

/// `close(2)`; there is nothing to do about a failure.
pub(crate) fn close(file: i32) {
    let _ = call(Sysno::close, [fd(file), 0, 0, 0, 0, 0]);
}

/// `prctl(2)` with one argument.
pub(crate) fn prctl(option: u32, argument: usize) -> Result<usize> {
    call(Sysno::prctl, [option as usize, argument, 0, 0, 0, 0])
}

/// Blocks these signals and no other.
pub(crate) fn block_signals(mask: u64) -> Result<()> {
    call(Sysno::rt_sigprocmask, [general::SIG_SETMASK as usize, (&raw const mask) as usize, 0, 8, 0, 0]).map(drop)
}

/// Fresh zeroed memory that is never freed, aligned for anything.
pub(crate) fn allocate(len: usize) -> Result<&'static mut [u8]> {
    // What is left of the last mapping.
    static REST: (AtomicUsize, AtomicUsize) = (AtomicUsize::new(0), AtomicUsize::new(0));
    const ALIGNED: usize = 16;
    const MAPPING: usize = 64 << 10; // only the pages that are touched cost something
    let (at, left) = (REST.0.load(Relaxed), REST.1.load(Relaxed));
    let size = len.checked_next_multiple_of(ALIGNED).ok_or(failure(Sysno::mmap, errno::ENOMEM))?;
    let (at, left) = if size <= left { (at, left) } else { (map(size.max(MAPPING))?, size.max(MAPPING)) };
    REST.0.store(at + size, Relaxed);
    REST.1.store(left - size, Relaxed);
    // SAFETY: the kernel mapped at least `left` zeroed bytes there, and nothing else knows of the first of them.
    Ok(unsafe { core::slice::from_raw_parts_mut(at as *mut u8, len) })
}

fn map(len: usize) -> Result<usize> {
    let flags = general::MAP_PRIVATE | general::MAP_ANONYMOUS;
    call(Sysno::mmap, [0, len, (general::PROT_READ | general::PROT_WRITE) as usize, flags as usize, fd(-1), 0])
}

/// A table of descriptors, each -1.
pub(crate) fn allocate_fds(len: usize) -> Result<&'static mut [i32]> {
    let bytes = allocate(len * 4)?;
    // SAFETY: it is aligned for i32, and `len` of them long.
    let fds = unsafe { core::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast::<i32>(), len) };
    fds.fill(-1);
    Ok(fds)
}

/// Memory for `len` pointers, the last of which stay null.
pub(crate) fn allocate_pointers(len: usize) -> Result<&'static mut [*const core::ffi::c_char]> {
    let bytes = allocate(len * size_of::<usize>())?;
    // SAFETY: as above, for pointers; all zeroes are null pointers.
    Ok(unsafe { core::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), len) })
}

/// Type and permission bits, and the device number of a device node.
pub(crate) struct Stat {
    pub(crate) mode: u32,
    pub(crate) device: (u32, u32),
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) ino: u64,
    pub(crate) on: (u32, u32),
}

impl Stat {
    pub(crate) fn is(&self, kind: u32) -> bool {
        self.mode & general::S_IFMT == kind
    }
}

/// `statx(2)` of a descriptor (empty path) or of a name below it, without following a link at the end.
pub(crate) fn stat(dir: i32, path: &CStr) -> Result<Stat> {
    let mut buffer = core::mem::MaybeUninit::<general::statx>::zeroed();
    let flags = general::AT_EMPTY_PATH | general::AT_SYMLINK_NOFOLLOW;
    let mask = general::STATX_BASIC_STATS as usize;
    call(Sysno::statx, [fd(dir), path.as_ptr() as usize, flags as usize, mask, buffer.as_mut_ptr() as usize, 0])?;
    // SAFETY: all zeroes are a valid statx, and the kernel filled it in.
    let s = unsafe { buffer.assume_init() };
    Ok(Stat {
        mode: s.stx_mode.into(),
        device: (s.stx_rdev_major, s.stx_rdev_minor),
        uid: s.stx_uid,
        gid: s.stx_gid,
        size: s.stx_size,
        ino: s.stx_ino,
        on: (s.stx_dev_major, s.stx_dev_minor),
    })
}

/// `openat2(2)`. `EAGAIN` says that a rename elsewhere got in the way of a safe resolution: it is tried again, within bounds.
pub(crate) fn openat2(dir: i32, path: &CStr, flags: u32, mode: u32, resolve: u32) -> Result<i32> {
    let how = general::open_how { flags: (flags | general::O_CLOEXEC).into(), mode: mode.into(), resolve: resolve.into() };
    let a = [fd(dir), path.as_ptr() as usize, (&raw const how) as usize, size_of_val(&how), 0, 0];
    for _ in 0..128 {
        match open(Sysno::openat2, a) {
            Err(Failure { errno: errno::EAGAIN, .. }) => {}
            other => return other,
        }
    }
    Err(failure(Sysno::openat2, errno::EAGAIN))
}

/// Writes all of it, in one call: what procfs wants.
pub(crate) fn write_once(file: i32, bytes: &[u8]) -> Result<()> {
    match call(Sysno::write, [fd(file), bytes.as_ptr() as usize, bytes.len(), 0, 0, 0])? {
        n if n == bytes.len() => Ok(()),
        _ => Err(failure(Sysno::write, errno::EIO)),
    }
}

/// Reads once.
pub(crate) fn read(file: i32, into: &mut [u8]) -> Result<usize> {
    call(Sysno::read, [fd(file), into.as_mut_ptr() as usize, into.len(), 0, 0, 0])
}

/// Waits for one of these; a timeout in milliseconds, or `None` for as long as it takes. How many are ready.
pub(crate) fn poll(fds: &mut [general::pollfd], timeout: Option<u64>) -> Result<usize> {
    let time = timeout
        .map(|ms| general::__kernel_timespec { tv_sec: (ms / 1000).cast_signed(), tv_nsec: ((ms % 1000) * 1_000_000).cast_signed() });
    let time = time.as_ref().map_or(0, |t| core::ptr::from_ref(t) as usize);
    call(Sysno::ppoll, [fds.as_mut_ptr() as usize, fds.len(), time, 0, 0, 0])
}

/// Milliseconds of the monotonic clock.
pub(crate) fn now() -> Result<u64> {
    let mut time = general::__kernel_timespec { tv_sec: 0, tv_nsec: 0 };
    call(Sysno::clock_gettime, [general::CLOCK_MONOTONIC as usize, (&raw mut time) as usize, 0, 0, 0, 0])?;
    Ok(time.tv_sec.cast_unsigned() * 1000 + time.tv_nsec.cast_unsigned() / 1_000_000)
}

/// `clone3(2)` without shared memory, as fork does: 0 in the child. With `CLONE_PIDFD` the pidfd is the second.
pub(crate) fn fork(flags: u32, exit_signal: u32) -> Result<(usize, i32)> {
    let mut pidfd = -1_i32;
    // SAFETY: all zeroes are a valid clone_args.
    let mut args: general::clone_args = unsafe { core::mem::zeroed() };
    args.flags = u64::from(flags | general::CLONE_PIDFD);
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = exit_signal.into();
    let pid = call(Sysno::clone3, [(&raw const args) as usize, size_of_val(&args), 0, 0, 0, 0])?;
    Ok((pid, pidfd))
}

/// The magic number of the file system that a descriptor is on.
pub(crate) fn filesystem(file: i32) -> Result<usize> {
    let mut buffer = [0_usize; 32]; // struct statfs: 15 words, the first is f_type
    call(Sysno::fstatfs, [fd(file), buffer.as_mut_ptr() as usize, 0, 0, 0, 0])?;
    Ok(buffer[0])
}

/// `close(2)` of several.
pub(crate) fn close_all(files: &[i32]) {
    for &file in files {
        close(file);
    }
}
