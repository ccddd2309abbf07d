//! The root file system: attached in the container's mount namespace, entered, sealed.

use super::Subject;
use super::namespaces::MOUNT;
use super::plan::{Plan, Source, c_string};
use crate::config::{Invalid, Pointer};
use crate::sys::mount::{Change, attr};
use aril_plan::{Op, Slot};
use std::os::unix::ffi::OsStrExt;

const MS_UNBINDABLE: u64 = 1 << 17;
const MS_PRIVATE: u64 = 1 << 18;
const MS_SLAVE: u64 = 1 << 19;
const MS_SHARED: u64 = 1 << 20;

fn at_root() -> Pointer {
    Pointer::to("/root/path")
}

/// What `linux.rootfsPropagation` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    Private,
    Slave,
    Shared,
    Unbindable,
}

impl Propagation {
    /// Reads it; private where nothing is said.
    pub(crate) fn resolve(subject: &Subject<'_>) -> Result<Propagation, Invalid> {
        let at = Pointer::to("/linux/rootfsPropagation");
        match subject.linux.rootfs_propagation().as_deref().unwrap_or_default() {
            "" | "private" | "rprivate" => Ok(Propagation::Private),
            "slave" | "rslave" => Ok(Propagation::Slave),
            "shared" | "rshared" => Ok(Propagation::Shared),
            "unbindable" | "runbindable" => Ok(Propagation::Unbindable),
            other => Err(Invalid::new(&at, format!("{other:?} is no propagation: shared, slave, private or unbindable"))),
        }
    }

    /// What the container's copies of the host's mounts become. Shared would let the container's mounts appear on the host: of those only a
    /// mount that asks for it itself is.
    pub(crate) fn of_copies(self) -> u64 {
        match self {
            Propagation::Private | Propagation::Unbindable => MS_PRIVATE,
            Propagation::Slave | Propagation::Shared => MS_SLAVE,
        }
    }
}

/// Attaches the root where the host has it, so that hooks find it there; the slot of its mount.
pub(crate) fn attach(plan: &mut Plan, subject: &Subject<'_>) -> Result<Slot, Invalid> {
    let propagation = Propagation::resolve(subject)?;
    if subject.namespaces.makes(MOUNT) {
        plan.part(&Pointer::to("/linux/rootfsPropagation"), "cannot detach the mounts of the host");
        plan.push(Op::Propagation { path: c"/", recursive: true, kind: propagation.of_copies() });
    }
    let rootfs = subject.request.rootfs;
    plan.part(&at_root(), format!("cannot mount the root file system {}", rootfs.display()));
    let path = c_string(rootfs.as_os_str().as_bytes(), &at_root())?;
    let root = if subject.host_opens() {
        let recursive_change = Change { propagation: propagation.of_copies(), ..Change::default() };
        plan.source(Source::Tree {
            path: rootfs.to_owned(),
            recursive: true,
            change: Change::default(),
            recursive_change,
            nofollow: true,
            idmap: None,
        })
    } else {
        let root = plan.slot();
        plan.push(Op::OpenTree { into: root, at: Slot::CWD, path: &path, recursive: true, nofollow: false });
        let propagation = propagation.of_copies();
        plan.push(Op::SetAttr { mount: root, recursive: true, set: 0, clear: 0, propagation, userns: Slot::NONE });
        root
    };
    let target = plan.slot();
    plan.push(Op::OpenPath { into: target, path: &path });
    plan.push(Op::MoveMount { mount: root, target });
    if !subject.namespaces.own(MOUNT) {
        plan.on_host = true;
        // Where it is now its mounts would be seen by whoever is a peer of the host's.
        plan.push(Op::SetAttr { mount: root, recursive: true, set: 0, clear: 0, propagation: propagation.of_copies(), userns: Slot::NONE });
    }
    Ok(root)
}

/// Makes it the root of the process.
pub(crate) fn enter(plan: &mut Plan, subject: &Subject<'_>, root: Slot) {
    plan.part(&at_root(), "cannot change to the root file system");
    plan.push(match subject.namespaces.own(MOUNT) {
        true if subject.request.no_pivot => Op::MoveRoot { root },
        true => Op::PivotRoot { root },
        false => Op::Chroot { root },
    });
    let kind = match Propagation::resolve(subject) {
        Ok(Propagation::Shared) => MS_SHARED,
        Ok(Propagation::Unbindable) => MS_UNBINDABLE,
        _ => return,
    };
    plan.part(&Pointer::to("/linux/rootfsPropagation"), "cannot set the propagation of the root file system");
    plan.push(Op::SetAttr { mount: root, recursive: false, set: 0, clear: 0, propagation: kind, userns: Slot::NONE });
}

/// Makes it read-only, when everything that had to be made in it is made.
pub(crate) fn seal(plan: &mut Plan, subject: &Subject<'_>, root: Slot) {
    if subject.request.spec.root().as_ref().is_some_and(|root| root.readonly().unwrap_or(false)) {
        plan.part(&Pointer::to("/root/readonly"), "cannot make the root file system read-only");
        plan.push(Op::SetAttr { mount: root, recursive: false, set: attr::RDONLY, clear: 0, propagation: 0, userns: Slot::NONE });
    }
}

/// The first part of the configuration that is a mount, or changes one.
pub(crate) fn asks_for_mounts(subject: &Subject<'_>) -> Option<&'static str> {
    let (spec, linux) = (subject.request.spec, subject.linux);
    let asked = [
        (spec.mounts().as_ref().is_some_and(|m| !m.is_empty()), "/mounts"),
        (linux.rootfs_propagation().as_ref().is_some_and(|p| !p.is_empty()), "/linux/rootfsPropagation"),
        (linux.sysctl().as_ref().is_some_and(|s| !s.is_empty()), "/linux/sysctl"),
        (subject.process.terminal().unwrap_or(false), "/process/terminal"),
        (spec.root().as_ref().is_some_and(|r| r.readonly().unwrap_or(false)), "/root/readonly"),
    ];
    asked.into_iter().find_map(|(asked, at)| asked.then_some(at))
}

/// Masks that whoever is in the host's mount namespace can take away would be none.
pub(crate) fn refuse_masks(subject: &Subject<'_>) -> Result<(), Invalid> {
    let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|l| !l.is_empty());
    let linux = subject.linux;
    let asked = [(some(linux.masked_paths()), "/linux/maskedPaths"), (some(linux.readonly_paths()), "/linux/readonlyPaths")];
    match asked.into_iter().find(|(asked, _)| *asked) {
        Some((_, at)) => Err(Invalid::new(&Pointer::to(at), "this needs a mount namespace (/linux/namespaces)")),
        None => Ok(()),
    }
}

/// A container without a mount namespace that mounts nothing: its root is a `chroot(2)`.
pub(crate) fn without_mounts(plan: &mut Plan, subject: &Subject<'_>) -> Result<Slot, Invalid> {
    if let Some(at) = asks_for_mounts(subject) {
        return Err(Invalid::new(
            &Pointer::to(at),
            "this needs a mount namespace (/linux/namespaces), or the privilege to change the host's mounts",
        ));
    }
    plan.part(&at_root(), format!("cannot open the root file system {}", subject.request.rootfs.display()));
    let path = c_string(subject.request.rootfs.as_os_str().as_bytes(), &at_root())?;
    let root = plan.slot();
    plan.push(Op::OpenPath { into: root, path: &path });
    Ok(root)
}

/// `chroot(2)` into it.
pub(crate) fn chroot(plan: &mut Plan, root: Slot) {
    plan.part(&at_root(), "cannot change to the root file system");
    plan.push(Op::Chroot { root });
}
