//! Which cgroup a process that comes later joins: the container's own, one below it that was asked for, or that of the first process.

use super::mounts::{Mounted, Own};
use super::{Cgroup, Frozen, Member, Version, if_there};
use crate::error::{Doing, Error, Result};
use crate::sys::{self, Errno};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::path::Path;

/// A cgroup below the container's, as `--cgroup [CONTROLLER[,CONTROLLER]:]PATH` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Below {
    /// On the v1 hierarchies of these controllers, or on every hierarchy.
    pub controllers: Option<Vec<String>>,
    /// From the container's own cgroup, without `..`.
    pub path: String,
}

impl std::str::FromStr for Below {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Below, String> {
        // A path may have a colon in it, a controller may have no slash.
        let (controllers, path) = match text.split_once(':') {
            Some((controllers, path)) if !controllers.contains('/') && !controllers.is_empty() => {
                (Some(controllers.split(',').map(str::to_owned).collect()), path)
            }
            _ => (None, text),
        };
        let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.contains(&"..") {
            return Err(format!("{path:?} has a component \"..\", which could lead out of the container's cgroup"));
        }
        Ok(Below { controllers, path: parts.join("/") })
    }
}

impl Cgroup {
    /// The cgroup with its directories replaced by those below it that were asked for.
    ///
    /// # Errors
    /// One of them does not exist, or there is no hierarchy of the controller.
    pub fn below(mut self, asked: &[Below]) -> Result<Cgroup> {
        for Below { controllers, path } in asked {
            let of = |member: &Member| controllers.as_ref().is_none_or(|names| names.iter().any(|name| member.hierarchy.has(name)));
            let known = |name: &String| self.members.iter().any(|member| member.hierarchy.has(name));
            if let Some(unknown) = controllers.iter().flatten().find(|name| !known(name)) {
                return Err(Error::Other(format!("the container has no cgroup v1 hierarchy of controller {unknown:?} (--cgroup)")));
            }
            for member in self.members.iter_mut().filter(|member| of(member)) {
                member.go_below(path)?;
            }
        }
        Ok(self)
    }

    /// The same, with the cgroup2 that a process is in, if that is below: where the container has made cgroups below its own and hands
    /// controllers down to them, its own takes no process any more (cgroups(7), "no internal processes").
    ///
    /// # Errors
    /// The call that failed.
    pub fn of_process(mut self, pid: i32) -> Result<Cgroup> {
        let text = sys::fs::read_text(Path::new(&format!("/proc/{pid}/cgroup")), 1 << 20)?;
        let own = Own::parse(&text);
        for member in self.members.iter_mut().filter(|member| member.hierarchy.version == Version::V2) {
            let mounted =
                Mounted { version: Version::V2, controllers: Vec::new(), mount: member.hierarchy.mount.clone(), root: "/".to_owned() };
            let below = own.within(&mounted).and_then(|path| {
                let rest = path.strip_prefix(member.hierarchy.path.trim_end_matches('/'))?;
                rest.strip_prefix('/').map(str::to_owned)
            });
            if let Some(below) = below {
                member.go_below(&below)?;
            }
        }
        Ok(self)
    }

    /// Waits until processes in it run again, or until one has ended.
    ///
    /// # Errors
    /// The call that failed.
    pub fn wait_for_thaw(&self, process: impl AsFd) -> Result<()> {
        let Some(member) = self.freezer() else { return Ok(()) };
        // v1 tells nobody.
        let v2 = member.hierarchy.version == Version::V2;
        let events = if v2 { Some(member.dir.file("cgroup.events")?) } else { None };
        let mut files = vec![PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        files.extend(events.as_ref().map(|events| PollFd::new(events.as_fd(), PollFlags::POLLPRI)));
        let timeout = if v2 { PollTimeout::from(1000_u16) } else { PollTimeout::from(20_u8) };
        loop {
            if let Some(events) = &events {
                // What is read is what is not waited for any more.
                if_there(member.dir.read_of(events, "cgroup.events"))?;
            }
            if self.frozen()? == Frozen::No || files[0].any().unwrap_or(false) {
                return Ok(());
            }
            match poll(&mut files, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(sys::Error::bare("poll", errno).into()),
            }
        }
    }
}

impl Member {
    /// Opened step by step from the container's own directory, so that it cannot lead out of it.
    pub(super) fn go_below(&mut self, path: &str) -> Result<()> {
        if path.is_empty() {
            return Ok(());
        }
        let missing = || sys::Error::new("open", self.dir.path().join(path), Errno::ENOENT);
        let opened = self.dir.open(path).and_then(|dir| dir.ok_or_else(missing));
        self.dir = opened.doing(|| format!("cannot use cgroup {path:?} below the container's own"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_below_is_a_path_with_or_without_controllers() {
        let below = |controllers: Option<&[&str]>, path: &str| Below {
            controllers: controllers.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
            path: path.to_owned(),
        };
        for (text, expected) in [
            ("a/b", below(None, "a/b")),
            ("/a//b/./", below(None, "a/b")),
            ("/", below(None, "")),
            ("cpu,memory:a", below(Some(&["cpu", "memory"]), "a")),
            ("cpu:/", below(Some(&["cpu"]), "")),
            ("a/b:c", below(None, "a/b:c")),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["..", "a/../b", "cpu:..", "/../x"] {
            assert!(text.parse::<Below>().is_err(), "{text}");
        }
    }
}
