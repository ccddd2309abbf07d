//! Opening what the plan says that the host opens.

use crate::cgroup::Place;
use crate::compile::plan::{Idmap, Userns};
use crate::compile::{Plan, Source};
use crate::error::{Doing, Error, Result};
use crate::sys::{self, mount};
use nix::fcntl::OFlag;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Opens the sources in order.
///
/// `given` is what the caller has opened itself: for [`Source::Gate`] or [`Source::First`].
///
/// # Errors
/// The first that cannot be opened, with the part of the configuration that wants it.
pub fn sources<'a>(plan: &Plan, place: &Place, given: Option<&'a OwnedFd>) -> Result<Vec<Opened<'a>>> {
    let mut files = Vec::with_capacity(plan.sources.len());
    for (part, source) in &plan.sources {
        let part = &plan.parts[*part];
        let file = match source {
            Source::Gate | Source::First => given.map(Opened::Given).ok_or_else(|| Error::Other("the container has no gate".to_owned())),
            source => one(source, place).map(Opened::Here),
        };
        files.push(file.doing_at(&part.at, || part.what.clone())?);
    }
    Ok(files)
}

/// A source that is open.
#[derive(Debug)]
pub enum Opened<'a> {
    /// Opened for the plan.
    Here(OwnedFd),
    /// What the caller has opened.
    Given(&'a OwnedFd),
}

impl AsRawFd for Opened<'_> {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Opened::Here(file) => file.as_raw_fd(),
            Opened::Given(file) => file.as_raw_fd(),
        }
    }
}

/// Opens one; see [`sources`].
///
/// # Errors
/// It cannot be opened.
pub fn one(source: &Source, place: &Place) -> Result<OwnedFd> {
    match source {
        Source::Tree { path, recursive, change, recursive_change, nofollow, idmap } => {
            let tree = tree(path, *recursive, *nofollow)?;
            if let Some(Idmap { recursive, by }) = idmap {
                let change = mount::Change { set: mount::attr::IDMAP, ..mount::Change::default() };
                mount::set_attr(tree.as_fd(), *recursive, change, Some(userns(by)?.as_fd()))?;
            }
            for (recursive, change) in [(true, recursive_change), (false, change)] {
                if *change != mount::Change::default() {
                    mount::set_attr(tree.as_fd(), recursive, *change, None)?;
                }
            }
            Ok(tree)
        }
        Source::Cgroup { hierarchy, attr } => {
            let tree = tree(&cgroup(place, *hierarchy)?, false, false)?;
            let change = mount::Change { set: *attr, clear: 0, propagation: libc::MS_PRIVATE };
            mount::set_attr(tree.as_fd(), false, change, None)?;
            Ok(tree)
        }
        Source::Namespace { path, kind } => namespace(path, *kind),
        Source::Null => null(),
        Source::Proc => Ok(mount::new_fs(c"proc", &[], mount::attr::NOSUID | mount::attr::NODEV | mount::attr::NOEXEC)?),
        Source::Gate | Source::First => Err(Error::Other("it is the caller's to open".to_owned())),
        Source::Directory { path } => Ok(sys::fs::open(path, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)?),
        Source::Log { path } => log(path),
    }
}

/// A file to append to; one that is made is its owner's alone.
///
/// # Errors
/// The errno of `open(2)`.
pub(super) fn log(path: &Path) -> Result<OwnedFd> {
    Ok(sys::fs::open(path, OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NOCTTY, 0o600)?)
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::Other(format!("{path:?} has a NUL in it")))
}

/// A detached copy of the tree at a path of the host.
fn tree(path: &Path, recursive: bool, nofollow: bool) -> Result<OwnedFd> {
    Ok(mount::open_tree(&c_path(path)?, recursive, nofollow)?)
}

/// A namespace, checked to be of the kind that the configuration says.
fn namespace(path: &Path, kind: u32) -> Result<OwnedFd> {
    let file = sys::fs::open(path, OFlag::O_RDONLY, 0)?;
    let found = sys::process::kind_of_namespace(&file).doing(|| format!("{} is no namespace", path.display()))?;
    if found == kind {
        return Ok(file);
    }
    let name = crate::compile::namespaces::name;
    Err(Error::Other(format!("{} is a {} namespace, not a {} one", path.display(), name(found), name(kind))))
}

/// Whether a source could be opened, as far as that can be told without a privilege, and without making anything.
///
/// # Errors
/// Why it could not.
pub fn check(source: &Source, place: &Place) -> Result<()> {
    match source {
        Source::Tree { path, nofollow, .. } => {
            let nofollow = if *nofollow { OFlag::O_NOFOLLOW } else { OFlag::empty() };
            Ok(sys::fs::open(path, OFlag::O_PATH | nofollow, 0).map(drop)?)
        }
        Source::Namespace { path, kind } => namespace(path, *kind).map(drop),
        Source::Null => null_device().map(drop),
        Source::Cgroup { hierarchy, .. } => cgroup(place, *hierarchy).map(drop),
        Source::Proc | Source::Gate | Source::First => Ok(()),
        Source::Directory { path } => Ok(sys::fs::open(path, OFlag::O_PATH | OFlag::O_DIRECTORY, 0).map(drop)?),
        Source::Log { path } => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Ok(sys::fs::open(parent, OFlag::O_PATH | OFlag::O_DIRECTORY, 0).map(drop)?)
        }
    }
}

fn cgroup(place: &Place, hierarchy: usize) -> Result<PathBuf> {
    let directory = place.hierarchies.get(hierarchy).map(crate::cgroup::Hierarchy::directory);
    directory.ok_or_else(|| Error::Other("the container has no cgroup to show".to_owned()))
}

/// A user namespace for the maps of a mount. One that is made for it needs a process only until it is open.
fn userns(by: &Userns) -> Result<OwnedFd> {
    match by {
        Userns::Existing(path) => namespace(path, crate::compile::namespaces::USER),
        Userns::Maps { uids, gids } => Ok(sys::idle::user_namespace(uids, gids)?),
    }
}

/// The null device: whatever stands at its path must be it (CVE-2025-31133).
fn null_device() -> Result<OwnedFd> {
    let file = sys::fs::open(Path::new("/dev/null"), OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)?;
    check_null(&file).map(|()| file)
}

fn check_null(file: &OwnedFd) -> Result<()> {
    let stat = sys::fs::fstat(file)?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFCHR || stat.st_rdev != libc::makedev(1, 3) {
        return Err(Error::Other("/dev/null is not the null device".to_owned()));
    }
    Ok(())
}

fn null() -> Result<OwnedFd> {
    let tree = mount::open_tree(c"/dev/null", false, true)?;
    check_null(&tree)?;
    let change = mount::Change { set: mount::attr::NOSUID | mount::attr::NOEXEC, clear: mount::attr::NODEV, propagation: libc::MS_PRIVATE };
    mount::set_attr(tree.as_fd(), false, change, None)?;
    Ok(tree)
}
