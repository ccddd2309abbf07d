//! The mount type `cgroup`: the container's own view of `/sys/fs/cgroup`, whatever version the host has.

use super::Mount;
use crate::cgroup::{self, Version};
use crate::compile::Subject;
use crate::compile::namespaces::{CGROUP, USER};
use crate::compile::plan::{Plan, Source, Strings, c_string};
use crate::config::Invalid;
use crate::host::Cgroups;
use crate::sys::mount::attr;
use aril_plan::{Kind, Op, Slot};
use std::ffi::CString;

pub(super) fn mount(plan: &mut Plan, subject: &Subject<'_>, root: Slot, mount: &Mount<'_>) -> Result<(), Invalid> {
    let mounts = subject.request.place.mounts();
    // Without a cgroup namespace it shows the container's own cgroup of the host's tree. Where a user namespace makes its root somebody
    // else's, that is not to be written (CVE-2023-25809); to root itself it is what the options say, as for a manager in a container.
    let own = subject.namespaces.own(CGROUP);
    let shielded = !own && (subject.namespaces.own(USER) || !subject.request.host.rootful());
    let attr = mount.options.attr_set | mount.options.rec_set | if shielded { attr::RDONLY } else { 0 };
    let host = subject.request.host.cgroups;
    if host == Cgroups::Absent {
        return Err(Invalid::new(&mount.at, "no cgroup file system is mounted on this machine"));
    }
    if mounts.is_empty() && !(own && host == Cgroups::Unified) {
        return nothing(plan, root, mount);
    }
    if host == Cgroups::Unified {
        return one(
            plan,
            subject,
            root,
            &Hierarchy { index: 0, version: Version::V2, controllers: &[], path: &mount.destination, attr, own },
        );
    }
    let (top, target) = (plan.slot(), plan.slot());
    plan.push(Op::Target { into: target, root, path: &mount.destination, kind: Kind::RealDirectory, like: Slot::NONE });
    let mut options: Strings = [c"source=tmpfs", c"mode=755"].into_iter().collect();
    if let Some(context) = super::label::context(subject)? {
        options.push(&context);
    }
    plan.push(Op::NewFs { into: top, kind: c"tmpfs", options: options.list(), attr: attr & !attr::RDONLY });
    plan.push(Op::MoveMount { mount: top, target });
    for (index, hierarchy) in mounts.iter().enumerate() {
        let name = directory(hierarchy);
        let path = below(mount, &name)?;
        one(
            plan,
            subject,
            root,
            &Hierarchy { index, version: hierarchy.version, controllers: &hierarchy.controllers, path: &path, attr, own },
        )?;
        for controller in hierarchy.controllers.iter().filter(|c| **c != name && !c.starts_with("name=")) {
            plan.push(Op::Symlink { at: root, path: &below(mount, controller)?, to: &c_string(name.as_str(), &mount.at)?, exact: false });
        }
    }
    if attr & attr::RDONLY != 0 {
        plan.push(Op::SetAttr { mount: top, recursive: false, set: attr::RDONLY, clear: 0, propagation: 0, userns: Slot::NONE });
    }
    Ok(())
}

/// A container that stays in its creator's cgroup (`--cgroup-manager disabled`) has none to show, and the creator's is not for its eyes.
fn nothing(plan: &mut Plan, root: Slot, mount: &Mount<'_>) -> Result<(), Invalid> {
    let (empty, target) = (plan.slot(), plan.slot());
    plan.push(Op::Target { into: target, root, path: &mount.destination, kind: Kind::RealDirectory, like: Slot::NONE });
    let options: Strings = [c"source=tmpfs", c"mode=755"].into_iter().collect();
    let attr = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
    plan.push(Op::NewFs { into: empty, kind: c"tmpfs", options: options.list(), attr });
    super::attach(plan, empty, target);
    Ok(())
}

fn directory(hierarchy: &cgroup::Mount) -> String {
    hierarchy.mountpoint.file_name().map_or_else(|| "unified".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn below(mount: &Mount<'_>, name: &str) -> Result<CString, Invalid> {
    c_string([mount.destination.to_bytes(), b"/", name.as_bytes()].concat(), &mount.at)
}

struct Hierarchy<'a> {
    index: usize,
    version: Version,
    controllers: &'a [String],
    path: &'a CString,
    attr: u64,
    own: bool,
}

fn one(plan: &mut Plan, subject: &Subject<'_>, root: Slot, h: &Hierarchy<'_>) -> Result<(), Invalid> {
    let target = plan.slot();
    plan.push(Op::Target { into: target, root, path: h.path, kind: Kind::RealDirectory, like: Slot::NONE });
    // The file system can be made by who owns the cgroup namespace: it then begins at the container's cgroup.
    let fresh = h.own && (subject.namespaces.makes(CGROUP) || !subject.namespaces.own(USER));
    let slot = if fresh {
        let slot = plan.slot();
        let kind = if h.version == Version::V2 { c"cgroup2" } else { c"cgroup" };
        let mut options: Strings = [c"source=cgroup"].into_iter().collect();
        if h.controllers.iter().all(|c| c.starts_with("name=")) && h.version == Version::V1 {
            options.push(c"none");
        }
        for controller in h.controllers {
            options.push(&c_string(controller.as_str(), &crate::config::Pointer::default())?);
        }
        plan.push(Op::NewFs { into: slot, kind, options: options.list(), attr: h.attr });
        slot
    } else {
        plan.copy(Source::Cgroup { hierarchy: h.index, attr: h.attr })
    };
    super::attach(plan, slot, target);
    Ok(())
}
