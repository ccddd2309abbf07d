//! Whose a cgroup is, written on the cgroup itself: where the record of a container is damaged, that is what is left to find it by.

use super::dir::Dir;
use super::{Cgroup, Hierarchy, Place, mounts};
use crate::error::{Doing, Result};
use crate::sys::{self, Errno, fs};
use std::ffi::CStr;
use std::os::fd::AsFd;
use std::path::Path;

/// Extended attributes, the better one first: nobody inside a container can set a trusted one (xattr(7)). Control groups have both since Linux 5.7.
const NAMES: [&CStr; 2] = [c"trusted.aril.container", c"user.aril.container"];
/// The longest mark: an id, and two numbers.
const MARK_MAX: usize = 2048;

impl Cgroup {
    /// Marks its directories, but for those that were there before. One that cannot be marked is not: the record is what counts.
    pub fn mark(&self, mark: &str) {
        for member in self.members.iter().filter(|member| member.hierarchy.ours) {
            let _ = NAMES.iter().any(|name| fs::set_xattr(&member.dir, name, mark.as_bytes()).is_ok());
        }
    }
}

impl Place {
    /// Where the cgroups with this mark are, on all hierarchies.
    ///
    /// # Errors
    /// A hierarchy cannot be read.
    pub fn marked(mark: &str) -> Result<Place> {
        let mut place = Place { hierarchies: Vec::new(), optional: true, unit: None };
        for mounted in mounted()? {
            let root = match Dir::mount(&mounted.mount) {
                Err(error) if matches!(error.errno, Errno::ENOENT | Errno::ENOTSUP) => continue,
                other => other?,
            };
            let of = |path| Hierarchy {
                version: mounted.version,
                controllers: mounted.controllers.clone(),
                mount: mounted.mount.clone(),
                path,
                ours: true,
                delegated: None,
            };
            place.hierarchies.extend(search(&root, mark.as_bytes())?.into_iter().map(of));
        }
        Ok(place)
    }
}

fn mounted() -> Result<Vec<mounts::Mounted>> {
    if fs::statfs_type(c"/sys/fs/cgroup") == Ok(fs::CGROUP2_SUPER_MAGIC) {
        return Ok(vec![mounts::unified()]);
    }
    let table = fs::read_text(Path::new("/proc/self/mountinfo"), 64 << 20).doing(|| "cannot find the cgroup hierarchies".to_owned())?;
    Ok(mounts::parse(&table))
}

/// The paths below a hierarchy's root. What is below one that is found goes with it.
fn search(root: &Dir, mark: &[u8]) -> sys::Result<Vec<String>> {
    let mut found = Vec::new();
    root.walk(
        |dir| {
            let is_it = NAMES.iter().any(|name| fs::get_xattr(dir.as_fd(), name, MARK_MAX).is_ok_and(|value| value == mark));
            // aril gives none a path that is no text.
            let path = dir.path().strip_prefix(root.path()).ok().and_then(Path::to_str).filter(|_| is_it);
            found.extend(path.map(|path| format!("/{path}")));
            Ok(path.is_none())
        },
        |_, _| Ok(()),
    )?;
    Ok(found)
}
