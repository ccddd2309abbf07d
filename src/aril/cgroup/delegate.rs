//! Cgroups below the one that is asked for, by annotations of crun's (crun(1), "Extensions to OCI"). The first, with systemd, is the container's
//! cgroup instead of the scope itself: limits are those of both. The second is below the container's cgroup and the payload's own: its processes
//! are there, the limits are not, and the cgroup namespace begins above it.

use super::place::{Manager, clean};
use super::{Cgroup, Member, Place, Version, create};
use crate::config::spec::Spec;
use crate::config::{Invalid, annotations};
use crate::error::{Doing, Result};
use crate::host::{Cgroups, Host};
use crate::sys::{self, Errno};
use std::time::{Duration, Instant};

/// How long one that has ended may be seen in a cgroup.
const PATIENCE: Duration = Duration::from_secs(5);

/// What an annotation names, without `/` at its ends; `None` where it is absent or empty.
fn named(spec: &Spec, annotation: &str, host: &Host) -> std::result::Result<Option<String>, Invalid> {
    let Some(text) = annotations::get(spec, annotation).filter(|text| !text.is_empty()) else { return Ok(None) };
    let wrong = |why: String| Invalid::new(&annotations::pointer(annotation), why);
    let name = clean(text).map_err(|why| wrong(format!("cgroup {text:?} {why}")))?;
    if host.cgroups != Cgroups::Unified {
        return Err(wrong(format!("{annotation} needs cgroup v2, and this machine has v1")));
    }
    Ok(Some(name))
}

/// The cgroup below the scope that is the container's.
pub(super) fn subgroup(spec: &Spec, host: &Host) -> std::result::Result<String, Invalid> {
    Ok(named(spec, annotations::SYSTEMD_SUBGROUP, host)?.unwrap_or_default())
}

impl Place {
    /// The same with the payload's own cgroup below it, where one is asked for.
    pub(super) fn delegating(mut self, spec: &Spec, host: &Host, manager: Manager) -> Result<Place> {
        let Some(name) = named(spec, annotations::DELEGATE_CGROUP, host)? else { return Ok(self) };
        let at = annotations::pointer(annotations::DELEGATE_CGROUP);
        if manager == Manager::Disabled {
            return Err(Invalid::new(&at, "the container has no cgroup to make one in (--cgroup-manager disabled)").into());
        }
        if self.unit.as_ref().is_some_and(super::Unit::is_slice) {
            return Err(Invalid::new(&at, "a slice has no processes of its own").into());
        }
        // Whoever asks for it cannot do without.
        self.optional = false;
        for hierarchy in self.hierarchies.iter_mut().filter(|hierarchy| hierarchy.version == Version::V2) {
            hierarchy.delegated = Some(name.clone());
        }
        Ok(self)
    }

    /// The payload's own cgroup, below the container's.
    #[must_use]
    pub fn delegated(&self) -> Option<&str> {
        self.v2()?.delegated.as_deref()
    }
}

impl Cgroup {
    /// Makes the payload's own cgroup, where it has one.
    pub(super) fn make_delegated(&self) -> Result<()> {
        let Some((member, name)) = self.delegating() else { return Ok(()) };
        for (end, _) in name.match_indices('/').chain([(name.len(), "")]) {
            member.dir.make(&name[..end]).doing(|| format!("cannot make cgroup {:?}", member.dir.path().join(name)))?;
        }
        Ok(())
    }

    /// Moves a process into the payload's own cgroup, and hands the controllers down to it: nothing else is in the container's now.
    ///
    /// # Errors
    /// The write that failed.
    pub fn enter_delegated(&self, pid: i32) -> Result<()> {
        let Some((member, name)) = self.delegating() else { return Ok(()) };
        let below =
            member.dir.open(name).and_then(|dir| dir.ok_or_else(|| sys::Error::new("open", member.dir.path().join(name), Errno::ENOENT)));
        below
            .and_then(|below| below.write("cgroup.procs", &pid.to_string()))
            .doing_at(&annotations::pointer(annotations::DELEGATE_CGROUP), || format!("cannot move process {pid} into its own cgroup"))?;
        // What has ended is seen a little longer, and a cgroup with processes hands nothing down.
        let deadline = Instant::now() + PATIENCE;
        while !member.dir.read("cgroup.procs")?.is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(200));
        }
        create::enable_controllers(&member.root, &format!("{}/{name}", member.hierarchy.relative()))
    }

    /// The cgroup of cgroup v2 that has one of the payload's below it, and its name.
    pub(super) fn delegating(&self) -> Option<(&Member, &str)> {
        let member = self.v2()?;
        Some((member, member.hierarchy.delegated.as_deref()?))
    }

    /// The same cgroup, to be joined where the container's processes are: in the payload's own, if it has one.
    ///
    /// # Errors
    /// It is not there any more.
    pub fn of_payload(mut self) -> Result<Cgroup> {
        for member in &mut self.members {
            if let Some(name) = member.hierarchy.delegated.clone() {
                member.go_below(&name)?;
            }
        }
        Ok(self)
    }
}
