//! Files and directories.

use super::{Errno, Error, Result};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

/// `f_type` of a cgroup2.
pub const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
/// `f_type` of a tmpfs.
pub const TMPFS_MAGIC: i64 = 0x0102_1994;
/// `f_type` of the file system of SELinux.
pub const SELINUX_MAGIC: i64 = 0xf97c_ff8c;
/// `f_type` of a procfs.
pub const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// `RESOLVE_*` of `openat2(2)`.
pub use libc::{RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV};

/// The result of a raw call, as a descriptor that is ours.
pub(super) fn owned(result: libc::c_long, call: &str, object: impl std::fmt::Debug) -> Result<OwnedFd> {
    match i32::try_from(result) {
        // SAFETY: the kernel just returned this descriptor, and nobody else knows of it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(Error::new(call, object, Errno::last())),
    }
}

/// `openat2(2)`, always with `O_CLOEXEC`. `EAGAIN` (a rename elsewhere got in the way of a safe resolution) is tried again, within bounds.
///
/// # Errors
/// The errno of the call.
pub fn openat2(dir: BorrowedFd<'_>, path: &CStr, flags: i32, mode: u32, resolve: u64) -> Result<OwnedFd> {
    // SAFETY: all zeroes are a valid open_how.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = u64::from((flags | libc::O_CLOEXEC).cast_unsigned());
    how.mode = mode.into();
    how.resolve = resolve;
    let mut tries = 0;
    loop {
        // SAFETY: the path is a C string, and `how` has the size that is passed.
        let result = unsafe { libc::syscall(libc::SYS_openat2, dir.as_raw_fd(), path.as_ptr(), &raw const how, size_of_val(&how)) };
        match owned(result, "openat2", path) {
            Err(Error { errno: Errno::EAGAIN | Errno::EINTR, .. }) if tries < 128 => tries += 1,
            other => return other,
        }
    }
}

/// `open(2)` of a path that the caller's user named, always with `O_CLOEXEC`.
///
/// # Errors
/// The errno of the call.
pub fn open(path: &Path, flags: OFlag, mode: u32) -> Result<OwnedFd> {
    nix::fcntl::open(path, flags | OFlag::O_CLOEXEC, Mode::from_bits_truncate(mode)).map_err(|e| Error::new("open", path, e))
}

/// What an `O_PATH` descriptor stands for, open for reading, if it is a regular file. Anything else is not opened: a device does something then.
#[must_use]
pub fn regular(found: &OwnedFd) -> Option<OwnedFd> {
    let stat = fstat(found).ok().filter(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG);
    stat.and_then(|_| open(Path::new(&format!("/proc/self/fd/{}", found.as_raw_fd())), OFlag::O_RDONLY, 0).ok())
}

/// `openat(2)` of a name in a directory, without following a link, always with `O_CLOEXEC`.
///
/// # Errors
/// The errno of the call.
pub fn openat(dir: impl AsFd, name: &str, flags: OFlag, mode: u32) -> Result<OwnedFd> {
    let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    nix::fcntl::openat(dir, name, flags, Mode::from_bits_truncate(mode)).map_err(|e| Error::new("openat", name, e))
}

/// `mkdirat(2)`
///
/// # Errors
/// The errno of the call.
pub fn mkdirat(dir: impl AsFd, name: &str, mode: u32) -> Result<()> {
    nix::sys::stat::mkdirat(dir, name, Mode::from_bits_truncate(mode)).map_err(|e| Error::new("mkdirat", name, e))
}

/// `fchmodat(2)` of a name in a directory of this process's own: whatever the umask was.
///
/// # Errors
/// The errno of the call.
pub fn chmodat(dir: impl AsFd, name: &str, mode: u32) -> Result<()> {
    let (mode, flag) = (Mode::from_bits_truncate(mode), nix::sys::stat::FchmodatFlags::FollowSymlink);
    nix::sys::stat::fchmodat(dir, name, mode, flag).map_err(|e| Error::new("fchmodat", name, e))
}

/// `unlinkat(2)` of a file.
///
/// # Errors
/// The errno of the call.
pub fn unlinkat(dir: impl AsFd, name: &str) -> Result<()> {
    nix::unistd::unlinkat(dir, name, nix::unistd::UnlinkatFlags::NoRemoveDir).map_err(|e| Error::new("unlinkat", name, e))
}

/// `unlinkat(2)` of a directory.
///
/// # Errors
/// The errno of the call.
pub fn rmdirat(dir: impl AsFd, name: impl AsRef<Path>) -> Result<()> {
    let name = name.as_ref();
    nix::unistd::unlinkat(dir, name, nix::unistd::UnlinkatFlags::RemoveDir).map_err(|e| Error::new("rmdirat", name, e))
}

/// `renameat(2)` within a directory.
///
/// # Errors
/// The errno of the call.
pub fn renameat(dir: impl AsFd, from: &str, to: &str) -> Result<()> {
    nix::fcntl::renameat(&dir, from, &dir, to).map_err(|e| Error::new("renameat", to, e))
}

/// Gives a file a name: one that was opened with `O_TMPFILE`. By procfs, as to name a descriptor itself takes CAP_DAC_READ_SEARCH before Linux 6.10.
///
/// # Errors
/// The errno of `linkat(2)`: `EEXIST` where there is something of that name.
pub fn link(file: impl AsFd, dir: impl AsFd, name: &str) -> Result<()> {
    let source = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let flag = nix::fcntl::AtFlags::AT_SYMLINK_FOLLOW;
    nix::unistd::linkat(nix::fcntl::AT_FDCWD, source.as_str(), dir, name, flag).map_err(|e| Error::new("linkat", name, e))
}

/// When a file in a directory was last written to: seconds and nanoseconds.
///
/// # Errors
/// The errno of `fstatat(2)`.
pub fn modified(dir: impl AsFd, name: &str) -> Result<(i64, i64)> {
    let stat = nix::sys::stat::fstatat(dir, name, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW);
    stat.map(|stat| (stat.st_mtime, stat.st_mtime_nsec)).map_err(|e| Error::new("fstatat", name, e))
}

/// `fstat(2)`
///
/// # Errors
/// The errno of the call.
pub fn fstat(file: impl AsFd) -> Result<nix::sys::stat::FileStat> {
    nix::sys::stat::fstat(file).map_err(|e| Error::bare("fstat", e))
}

/// `readlink(2)`
///
/// # Errors
/// The errno of the call: `EINVAL` where it is no link.
pub fn read_link(path: &Path) -> Result<std::path::PathBuf> {
    nix::fcntl::readlink(path).map(Into::into).map_err(|e| Error::new("readlink", path, e))
}

/// Whether a name is in a directory, whatever it is.
///
/// # Errors
/// The errno of `fstatat(2)`, but for `ENOENT`.
pub fn exists(dir: impl AsFd, name: impl AsRef<Path>) -> Result<bool> {
    let name = name.as_ref();
    match nix::sys::stat::fstatat(dir, name, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(e) => Err(Error::new("fstatat", name, e)),
    }
}

/// The names in a directory, but `.` and `..`.
///
/// # Errors
/// The errno of `open(2)` or `getdents64(2)`.
pub fn names(dir: impl AsFd) -> Result<Vec<String>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let failed = |e| Error::bare("getdents64", e);
    let mut dir = nix::dir::Dir::openat(dir, ".", flags, Mode::empty()).map_err(failed)?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// What one `read(2)` of a file of procfs gives, up to 4096 bytes: all of what the kernel writes as a whole, such as a sysctl or `/proc/PID/stat`.
/// What is no UTF-8 is replaced.
///
/// # Errors
/// The errno of `open(2)` or `read(2)`.
pub fn read_once(path: &Path) -> Result<String> {
    let file = open(path, OFlag::O_RDONLY, 0)?;
    let mut buffer = [0; 4096];
    loop {
        match nix::unistd::read(&file, &mut buffer) {
            Ok(n) => return Ok(String::from_utf8_lossy(&buffer[..n]).into_owned()),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::new("read", path, e)),
        }
    }
}

/// Reads a file of at most `max` bytes that is UTF-8.
///
/// # Errors
/// The errno of `open(2)` or `read(2)`; `EFBIG` for a longer file, `EILSEQ` for one that is not UTF-8.
pub fn read_text(path: &Path, max: u64) -> Result<String> {
    // O_NONBLOCK: a fifo would never be opened, and is no file to read.
    let file = open(path, OFlag::O_RDONLY | OFlag::O_NOCTTY | OFlag::O_NONBLOCK, 0)?;
    if fstat(&file)?.st_mode & libc::S_IFMT == libc::S_IFIFO {
        return Err(Error::new("read", path, Errno::ESPIPE));
    }
    String::from_utf8(read_bytes_of(file, path, max)?).map_err(|_| Error::new("read", path, Errno::EILSEQ))
}

/// The same for a name in a directory.
///
/// # Errors
/// As of [`read_text`].
pub fn read_text_at(dir: impl AsFd, name: &str, max: u64) -> Result<String> {
    String::from_utf8(read_bytes_at(dir, name, max)?).map_err(|_| Error::new("read", name, Errno::EILSEQ))
}

/// Reads a file of at most `max` bytes in a directory, whatever they are.
///
/// # Errors
/// As of [`read_bytes`].
pub fn read_bytes_at(dir: impl AsFd, name: &str, max: u64) -> Result<Vec<u8>> {
    // O_NONBLOCK: a fifo of that name would never be opened.
    read_bytes_of(openat(dir, name, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0)?, Path::new(name), max)
}

/// Reads a file of at most `max` bytes, whatever they are.
///
/// # Errors
/// The errno of `open(2)` or `read(2)`; `EFBIG` for a longer file.
pub fn read_bytes(path: &Path, max: u64) -> Result<Vec<u8>> {
    read_bytes_of(open(path, OFlag::O_RDONLY | OFlag::O_NOCTTY, 0)?, path, max)
}

fn read_bytes_of(file: OwnedFd, path: &Path, max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4096);
    let mut file = File::from(file).take(max + 1);
    file.read_to_end(&mut bytes).map_err(|e| Error::new("read", path, errno(&e)))?;
    if bytes.len() as u64 > max {
        return Err(Error::new("read", path, Errno::EFBIG));
    }
    Ok(bytes)
}

/// Writes all bytes to a file.
///
/// # Errors
/// The errno of `write(2)`.
pub fn write_all(file: impl AsFd, bytes: &[u8], name: &str) -> Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match nix::unistd::write(&file, rest) {
            Ok(0) => return Err(Error::new("write", name, Errno::EIO)),
            Ok(n) => rest = &rest[n..],
            Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::new("write", name, e)),
        }
    }
    Ok(())
}

/// Cuts off what is behind the last newline of a file.
///
/// # Errors
/// The errno of the call that failed.
pub fn cut_torn_line(file: impl AsFd, name: &str) -> Result<()> {
    let failed = |call: &'static str| move |e| Error::new(call, name, e);
    let size = fstat(&file)?.st_size;
    let mut end = size;
    let mut buffer = [0; 512];
    while end > 0 {
        let start = (end - 512).max(0);
        let len = usize::try_from(end - start).unwrap_or(0);
        let n = nix::sys::uio::pread(&file, &mut buffer[..len], start).map_err(failed("read"))?;
        match buffer[..n].iter().rposition(|byte| *byte == b'\n') {
            Some(at) => {
                end = start + i64::try_from(at).unwrap_or(0) + 1;
                break;
            }
            None => end = start,
        }
    }
    if end < size { nix::unistd::ftruncate(&file, end).map_err(failed("ftruncate")) } else { Ok(()) }
}

/// Writes to a file of procfs or sysfs: one `write(2)` with everything.
///
/// # Errors
/// The errno of `open(2)` or `write(2)`; `EIO` if not all was taken.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = open(path, OFlag::O_WRONLY, 0)?;
    match nix::unistd::write(&file, bytes) {
        Ok(n) if n == bytes.len() => Ok(()),
        Ok(_) => Err(Error::new("write", path, Errno::EIO)),
        Err(e) => Err(Error::new("write", path, e)),
    }
}

/// Writes a new file through a temporary name, so that nobody sees half of it.
///
/// # Errors
/// The errno of the first call that failed.
pub fn replace_file(dir: impl AsFd, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let temporary = format!(".{name}.new");
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
    let file = openat(&dir, &temporary, flags, mode)?;
    write_all(&file, bytes, name)?;
    renameat(&dir, &temporary, name)
}

/// `f_type` of the file system at a path.
///
/// # Errors
/// The errno of `statfs(2)`.
pub fn statfs_type(path: &CStr) -> Result<i64> {
    let mut buffer = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the path is a C string, and the buffer is a statfs.
    if unsafe { libc::statfs(path.as_ptr(), buffer.as_mut_ptr()) } != 0 {
        return Err(Error::new("statfs", path, Errno::last()));
    }
    // SAFETY: the kernel filled it in.
    Ok(unsafe { buffer.assume_init() }.f_type)
}

/// Locks a file for this process alone, waiting for whoever has it.
///
/// # Errors
/// The errno of `flock(2)`.
pub fn lock(file: impl AsFd) -> Result<()> {
    flock(file, libc::LOCK_EX)
}

/// The same without waiting: `EWOULDBLOCK` where somebody has it.
///
/// # Errors
/// The errno of `flock(2)`.
pub fn try_lock(file: impl AsFd) -> Result<()> {
    flock(file, libc::LOCK_EX | libc::LOCK_NB)
}

/// Locks a file together with others who do so, waiting for whoever has it alone.
///
/// # Errors
/// The errno of `flock(2)`.
pub fn lock_shared(file: impl AsFd) -> Result<()> {
    flock(file, libc::LOCK_SH)
}

/// Gives up a lock.
///
/// # Errors
/// The errno of `flock(2)`.
pub fn unlock(file: impl AsFd) -> Result<()> {
    flock(file, libc::LOCK_UN)
}

fn flock(file: impl AsFd, operation: i32) -> Result<()> {
    loop {
        // SAFETY: a call on a descriptor that is open.
        match Errno::result(unsafe { libc::flock(file.as_fd().as_raw_fd(), operation) }) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::bare("flock", e)),
        }
    }
}

/// `fsetxattr(2)`
///
/// # Errors
/// The errno of the call.
pub fn set_xattr(file: impl AsFd, name: &CStr, value: &[u8]) -> Result<()> {
    // SAFETY: a descriptor that is open, a C string, and a buffer with its length.
    let result = unsafe { libc::fsetxattr(file.as_fd().as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(result).map(drop).map_err(|e| Error::new("fsetxattr", name, e))
}

/// `fgetxattr(2)` of a value of at most `max` bytes.
///
/// # Errors
/// The errno of the call: `ENODATA` where there is none, `ERANGE` where it is longer.
pub fn get_xattr(file: impl AsFd, name: &CStr, max: usize) -> Result<Vec<u8>> {
    let mut value = vec![0; max];
    // SAFETY: a descriptor that is open, a C string, and a buffer with its length.
    let result = unsafe { libc::fgetxattr(file.as_fd().as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast(), max) };
    let len = Errno::result(result).map_err(|e| Error::new("fgetxattr", name, e))?;
    value.truncate(usize::try_from(len).unwrap_or(0));
    Ok(value)
}

/// `memfd_create(2)` of bytes that are to be read.
///
/// # Errors
/// The errno of the call that failed.
pub fn memfd(name: &CStr, bytes: &[u8]) -> Result<OwnedFd> {
    let create = |flags| {
        // SAFETY: the name is a C string.
        let result = unsafe { libc::memfd_create(name.as_ptr(), flags) };
        owned(result.into(), "memfd_create", name)
    };
    let file = match create(libc::MFD_CLOEXEC | libc::MFD_NOEXEC_SEAL) {
        // Kernels before 6.3 do not know the flag.
        Err(Error { errno: Errno::EINVAL, .. }) => create(libc::MFD_CLOEXEC)?,
        other => other?,
    };
    let mut file = File::from(file);
    let failed = |e: std::io::Error| Error::new("write", name, errno(&e));
    file.write_all(bytes).map_err(failed)?;
    std::io::Seek::rewind(&mut file).map_err(failed)?;
    Ok(file.into())
}

/// A sealed, executable copy of a program in memory.
///
/// # Errors
/// The errno of the call that failed: `EACCES` where `vm.memfd_noexec` is 2.
pub fn sealed_program(name: &CStr, image: &[u8]) -> Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a C string.
    let create = |flags| owned(unsafe { libc::memfd_create(name.as_ptr(), flags) }.into(), "memfd_create", name);
    let (file, seal_exec) = match create(flags | libc::MFD_EXEC) {
        Ok(file) => (file, libc::F_SEAL_EXEC),
        Err(Error { errno: Errno::EINVAL, .. }) => (create(flags)?, 0), // before Linux 6.3
        Err(other) => return Err(other),
    };
    write_all(&file, image, "aril-init")?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | seal_exec;
    // SAFETY: a call on a descriptor that is open.
    Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }).map_err(|e| Error::bare("fcntl F_ADD_SEALS", e))?;
    Ok(file)
}

/// The errno of an I/O error.
#[must_use]
pub fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Opens `/dev/null` for each of descriptors 0, 1 and 2 that is closed, so that none of them becomes something else.
///
/// # Errors
/// The errno of `open(2)`.
pub fn fill_stdio() -> Result<()> {
    for stdio in 0..3 {
        // SAFETY: F_GETFD only looks.
        if unsafe { libc::fcntl(stdio, libc::F_GETFD) } < 0 {
            // The lowest free number is this one, since those below it are open.
            let null = nix::fcntl::open("/dev/null", OFlag::O_RDWR, Mode::empty()).map_err(|e| Error::new("open", "/dev/null", e))?;
            std::mem::forget(null);
        }
    }
    Ok(())
}

/// Sets close-on-exec on every descriptor from `first` on.
///
/// # Errors
/// The errno of `close_range(2)`.
pub fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: flags only; nothing is closed now.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    Errno::result(result).map(drop).map_err(|e| Error::bare("close_range", e))
}

/// Has reads and writes of an open file fail with `EAGAIN` rather than wait.
///
/// # Errors
/// The errno of `fcntl(2)`.
pub fn set_nonblocking(file: impl AsFd) -> Result<()> {
    use nix::fcntl::{FcntlArg, fcntl};
    let failed = |e| Error::bare("fcntl O_NONBLOCK", e);
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL).map_err(failed)?);
    fcntl(&file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop).map_err(failed)
}

/// Whether a descriptor came from whoever started this process: what this process opens itself is close-on-exec.
#[must_use]
pub fn is_inherited(number: i32) -> bool {
    // SAFETY: F_GETFD only looks.
    unsafe { libc::fcntl(number, libc::F_GETFD) == 0 }
}

/// The path of an open file, as the kernel knows it: absolute and without links.
///
/// # Errors
/// The errno of `readlink(2)` of `/proc/self/fd/N`.
pub fn real_path(file: impl AsFd) -> Result<std::path::PathBuf> {
    let link = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    nix::fcntl::readlink(link.as_str()).map(Into::into).map_err(|e| Error::new("readlink", link, e))
}
