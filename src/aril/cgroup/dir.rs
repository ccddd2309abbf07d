//! A cgroup's directory: every file of a cgroup is opened from it, by a name that leads nowhere else.

use crate::sys::{self, Errno, fs};
use nix::fcntl::OFlag;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// `f_type` of a cgroup v1 hierarchy.
const CGROUP_SUPER_MAGIC: i64 = 0x0027_e0eb;

/// So much is read at once.
const PIECE: usize = 4096;

/// Names that leave the directory, go through a link or into another file system are errors.
const RESOLVE: u64 = fs::RESOLVE_BENEATH | fs::RESOLVE_NO_XDEV | fs::RESOLVE_NO_SYMLINKS | fs::RESOLVE_NO_MAGICLINKS;

/// An open cgroup.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    /// For messages alone.
    path: PathBuf,
}

impl Dir {
    /// The root of a hierarchy, by its mount point.
    ///
    /// # Errors
    /// The errno of `open(2)`; ENOTSUP if no cgroup file system is mounted there.
    pub(super) fn mount(path: &Path) -> sys::Result<Dir> {
        let fd = fs::open(path, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)?;
        let magic = nix::sys::statfs::fstatfs(&fd).map_err(|errno| sys::Error::new("fstatfs", path, errno))?.filesystem_type().0;
        if magic != fs::CGROUP2_SUPER_MAGIC && magic != CGROUP_SUPER_MAGIC {
            return Err(sys::Error::new("no cgroup file system at", path, Errno::ENOTSUP));
        }
        Ok(Dir { fd, path: path.to_owned() })
    }

    /// A cgroup below this one; `None` if it does not exist.
    ///
    /// # Errors
    /// The errno of `openat2(2)`.
    pub(super) fn open(&self, relative: impl AsRef<Path>) -> sys::Result<Option<Dir>> {
        match self.at(relative.as_ref(), OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Ok(fd) => Ok(Some(Dir { fd, path: self.path.join(relative) })),
            Err(error) if gone(error.errno) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a cgroup below this one; false if it exists.
    ///
    /// # Errors
    /// The errno of `mkdirat(2)`.
    pub(super) fn make(&self, relative: &str) -> sys::Result<bool> {
        match fs::mkdirat(&self.fd, relative, 0o755) {
            Ok(()) => Ok(true),
            Err(error) if error.errno == Errno::EEXIST => Ok(false),
            Err(error) => Err(sys::Error::new("mkdir", self.path.join(relative), error.errno)),
        }
    }

    /// Removes a cgroup below this one.
    ///
    /// # Errors
    /// The errno of `unlinkat(2)`; that it is gone is none.
    pub(super) fn remove(&self, relative: impl AsRef<Path>) -> sys::Result<()> {
        match fs::rmdirat(&self.fd, &relative) {
            Err(error) if !gone(error.errno) => Err(sys::Error::new("rmdir", self.path.join(relative), error.errno)),
            _ => Ok(()),
        }
    }

    /// The names of the cgroups in this one: bytes, as a container may give them any but a newline.
    ///
    /// # Errors
    /// The errno of the call that failed; that this cgroup is gone is none.
    fn children(&self) -> sys::Result<Vec<OsString>> {
        match nix::dir::Dir::openat(&self.fd, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty()) {
            Ok(mut dir) => Ok(dir
                .iter()
                .flatten()
                .filter(|entry| entry.file_type() == Some(nix::dir::Type::Directory))
                .map(|entry| OsString::from_vec(entry.file_name().to_bytes().to_vec()))
                .filter(|name| name != "." && name != "..")
                .collect()),
            Err(errno) if gone(errno) => Ok(Vec::new()),
            Err(errno) => Err(sys::Error::new("open", &self.path, errno)),
        }
    }

    /// Goes through all cgroups below this one. `enter` gets each and says whether to go below it as well; `leave` gets the one above it and its name
    /// when what is below is done with. One is open at a time: a container can nest them deeper than descriptors, or the stack, would reach.
    ///
    /// # Errors
    /// The call that failed; what `enter` or `leave` return.
    pub(super) fn walk<E: From<sys::Error>>(
        &self,
        mut enter: impl FnMut(&Dir) -> Result<bool, E>,
        mut leave: impl FnMut(&Dir, &OsStr) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut below: Option<Dir> = None;
        // What is left to do on each level.
        let mut levels = vec![self.children()?];
        while let Some(names) = levels.last_mut() {
            let at = below.as_ref().unwrap_or(self);
            if let Some(name) = names.pop() {
                let Some(dir) = at.open(&name)? else { continue };
                let inner = if enter(&dir)? { dir.children()? } else { Vec::new() };
                levels.push(inner);
                below = Some(dir);
            } else {
                levels.pop();
                let Some(name) = below.as_ref().and_then(|dir| dir.path.file_name()).map(OsStr::to_owned) else { return Ok(()) };
                below = if levels.len() > 1 { Some(at.above()?) } else { None };
                leave(below.as_ref().unwrap_or(self), &name)?;
            }
        }
        Ok(())
    }

    /// The cgroup above: it can be no other than the one that this was opened from, since none is ever moved.
    fn above(&self) -> sys::Result<Dir> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let fd = fs::openat2(self.fd.as_fd(), c"..", flags.bits(), 0, fs::RESOLVE_NO_XDEV)?;
        Ok(Dir { fd, path: self.path.parent().unwrap_or(&self.path).to_owned() })
    }

    /// What a file says.
    ///
    /// # Errors
    /// The errno of `openat2(2)` or `read(2)`.
    pub(super) fn read(&self, file: &str) -> sys::Result<String> {
        self.read_of(&self.file(file)?, file)
    }

    /// The lines of `cgroup.procs`, which the kernel may give in any portions.
    ///
    /// # Errors
    /// The errno of `openat2(2)` or `read(2)`.
    pub(super) fn procs(&self) -> sys::Result<String> {
        let file = "cgroup.procs";
        self.pread(&self.file(file)?, file, |n| n > 0)
    }

    /// The same of a file that is open, from its start.
    ///
    /// # Errors
    /// The errno of `pread(2)`.
    pub(super) fn read_of(&self, fd: &OwnedFd, file: &str) -> sys::Result<String> {
        // But for lists of processes a cgroup's file is written by the kernel as a whole: a read that is not filled was the last.
        self.pread(fd, file, |n| n == PIECE)
    }

    fn pread(&self, fd: &OwnedFd, file: &str, more: fn(usize) -> bool) -> sys::Result<String> {
        let mut text = Vec::new();
        let mut buffer = [0; PIECE];
        loop {
            let offset = i64::try_from(text.len()).unwrap_or(i64::MAX);
            match nix::sys::uio::pread(fd, &mut buffer, offset) {
                Ok(n) => {
                    text.extend(&buffer[..n]);
                    if !more(n) {
                        return Ok(String::from_utf8_lossy(&text).into_owned());
                    }
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(sys::Error::new("read", self.path.join(file), errno)),
            }
        }
    }

    /// A file, open for reading.
    ///
    /// # Errors
    /// The errno of `openat2(2)`.
    pub(super) fn file(&self, file: &str) -> sys::Result<OwnedFd> {
        self.at(file.as_ref(), OFlag::O_RDONLY)
    }

    /// A file, open for reading and writing.
    ///
    /// # Errors
    /// The errno of `openat2(2)`.
    pub(super) fn file_to_write(&self, file: &str) -> sys::Result<OwnedFd> {
        self.at(file.as_ref(), OFlag::O_RDWR | OFlag::O_NONBLOCK)
    }

    /// Writes to a file in one `write(2)`, as the kernel wants it.
    ///
    /// # Errors
    /// The errno of `openat2(2)` or `write(2)`.
    pub(super) fn write(&self, file: &str, text: &str) -> sys::Result<()> {
        self.write_each(file, [text])
    }

    /// Writes several texts to a file, each in one `write(2)`.
    ///
    /// # Errors
    /// The errno of `openat2(2)` or of the first `write(2)` that failed.
    pub(super) fn write_each<T: AsRef<str>>(&self, file: &str, texts: impl IntoIterator<Item = T>) -> sys::Result<()> {
        let fd = self.at(file.as_ref(), OFlag::O_WRONLY)?;
        for text in texts {
            let text = text.as_ref();
            while let Err(errno) = nix::unistd::write(&fd, text.as_bytes()) {
                if errno != Errno::EINTR {
                    return Err(sys::Error { call: format!("write {text:?} to {:?}", self.path.join(file)), errno });
                }
            }
        }
        Ok(())
    }

    /// Where it is, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn at(&self, relative: &Path, flags: OFlag) -> sys::Result<OwnedFd> {
        let failed = |errno| sys::Error::new("openat2", self.path.join(relative), errno);
        let name = CString::new(relative.as_os_str().as_bytes()).map_err(|_| failed(Errno::EINVAL))?;
        fs::openat2(self.fd.as_fd(), &name, (flags | OFlag::O_NOFOLLOW).bits(), 0, RESOLVE).map_err(|error| failed(error.errno))
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// ENODEV is what the files of a cgroup answer whose directory is held open but removed.
pub(super) fn gone(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENODEV)
}
