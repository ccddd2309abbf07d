//! From configuration to plan. [`compile`] is the table of contents: the order of a container's start, one line a part.
//!
//! Everything here is pure: it looks at the configuration, at [`Host`] and at the request, and opens nothing. What the host has to open
//! before is listed in the plan ([`plan::Source`]).

pub mod describe;
pub mod devices;
pub mod exec;
pub mod hooks;
pub mod idmap;
pub mod intel_rdt;
pub mod list;
pub mod masks;
pub mod mounts;
pub mod namespaces;
pub mod net_devices;
pub mod plan;
pub mod process;
pub mod rootfs;
pub mod seccomp;
pub mod sysctl;
#[cfg(test)]
mod tests;
pub mod unsupported;
pub mod uts;

pub use plan::{Part, Plan, Source};

use crate::cgroup::Place;
use crate::config::{Invalid, Pointer, spec};
use crate::host::Host;
use idmap::IdMap;
use namespaces::{MOUNT, Namespaces, USER};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is to be compiled.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The configuration.
    pub spec: &'a spec::Spec,
    /// The container's id.
    pub id: &'a str,
    /// The bundle, absolute.
    pub bundle: &'a Path,
    /// The root file system on the host: absolute, without links.
    pub rootfs: &'a Path,
    /// The machine.
    pub host: &'a Host,
    /// Where its cgroup will be.
    pub place: &'a Place,
    /// `CLONE_NEW*` of the namespaces that the configuration names by a path and that the host is in itself.
    pub hosts_namespaces: u32,
    /// What the symbolic links say that are to be copied ([`mounts::copied_links`]), by the places of their mounts in the list.
    pub links: &'a BTreeMap<usize, PathBuf>,
    /// Whether there is a program to start: a configuration without `process` has none.
    pub program: bool,
    /// Whether the container waits for `start` at a gate.
    pub gate: bool,
    /// `--no-pivot`
    pub no_pivot: bool,
    /// `--no-new-keyring`
    pub no_new_keyring: bool,
    /// How many descriptors from 3 on are the container's.
    pub preserve_fds: u32,
    /// Variables that the process gets besides those of the configuration.
    pub env: &'a [String],
    /// The seccomp filter, where it is compiled already.
    pub filter: Option<&'a seccomp::Filter>,
    /// `exec`: the process comes to a container that is there.
    pub exec: Option<exec::Joining<'a>>,
}

/// The request with what several parts need.
pub(crate) struct Subject<'a> {
    pub(crate) request: Request<'a>,
    pub(crate) linux: &'a spec::Linux,
    pub(crate) process: &'a spec::Process,
    pub(crate) namespaces: Namespaces,
    pub(crate) uids: IdMap,
    pub(crate) gids: IdMap,
    /// Whether `setgroups(2)` works in the container's user namespace.
    pub(crate) setgroups: bool,
}

impl Subject<'_> {
    /// Whether the container's processes are in a user namespace that is not the host's, where no device can be made.
    pub(crate) fn in_userns(&self) -> bool {
        self.namespaces.own(USER) || self.request.host.in_userns
    }

    /// Whether the host can open what the container mounts: else the executor does, inside its user namespace.
    pub(crate) fn host_opens(&self) -> bool {
        self.request.host.privileged()
    }

    /// Whether the root is mounted, and what belongs in it: in a mount namespace of the container's, or else in the host's if something asks for
    /// it. The host's takes it from its own root alone.
    pub(crate) fn mounts(&self) -> bool {
        let beside_host = || self.host_opens() && !self.in_userns() && rootfs::asks_for_mounts(self).is_some();
        self.namespaces.own(MOUNT) || beside_host()
    }
}

/// Compiles a container.
///
/// # Errors
/// The first part of the configuration that cannot be, or is not supported.
pub fn compile(request: Request<'_>) -> Result<Plan, Invalid> {
    unsupported::check(request.spec)?;
    let subject = subject(request)?;
    let mut plan = Plan::default();
    let p = &mut plan;

    namespaces::enter(p, &subject.namespaces, request.host, subject.setgroups);
    namespaces::delegate(p, request.place);
    if !subject.namespaces.own(MOUNT) {
        rootfs::refuse_masks(&subject)?;
    }
    if subject.mounts() {
        let root = rootfs::attach(p, &subject)?;
        mounts::mount_all(p, &subject, root)?;
        devices::make_all(p, &subject, root)?;
        net_devices::ask(p, &subject)?;
        // Every namespace and the cgroup are joined, the mounts stand, and the host's tree can still be reached: what hooks expect.
        hooks::before_pivot(p, &subject)?;
        rootfs::enter(p, &subject, root);
        process::terminal::console(p, &subject, root)?;
        process::program::early_cwd(p, &subject)?;
        masks::cover_all(p, &subject, root)?;
        sysctl::write_all(p, &subject)?;
        masks::read_only_all(p, &subject, root)?;
        rootfs::seal(p, &subject, root);
    } else {
        let root = rootfs::without_mounts(p, &subject)?;
        net_devices::ask(p, &subject)?;
        hooks::before_pivot(p, &subject)?;
        rootfs::chroot(p, root);
        process::program::early_cwd(p, &subject)?;
    }
    uts::name(p, &subject)?;
    process::set_up(p, &subject)?;
    if !plan.fits() {
        return Err(Invalid::new(&Pointer::to("/mounts"), "these are more mounts and devices than aril can make of one container"));
    }
    Ok(plan)
}

fn subject(request: Request<'_>) -> Result<Subject<'_>, Invalid> {
    let missing = |name: &str| Invalid::new(&Pointer::default(), format!("{name} is missing"));
    let linux = request.spec.linux().as_ref().ok_or_else(|| missing("linux"))?;
    let process = request.spec.process().as_ref().ok_or_else(|| missing("process"))?;
    if !request.program && !request.gate {
        return Err(missing("process"));
    }
    let namespaces = namespaces::resolve(linux, request.hosts_namespaces)?;
    let (uids_at, gids_at) = (Pointer::to("/linux/uidMappings"), Pointer::to("/linux/gidMappings"));
    let uids = idmap::resolve(linux.uid_mappings().as_deref().unwrap_or_default(), &uids_at)?;
    let gids = idmap::resolve(linux.gid_mappings().as_deref().unwrap_or_default(), &gids_at)?;
    for (map, at) in [(&uids, &uids_at), (&gids, &gids_at)] {
        match (namespaces.makes(USER), map.is_empty()) {
            (true, true) => return Err(Invalid::new(at, "a new user namespace needs id mappings")),
            (false, false) if !namespaces.joins(USER) => return Err(Invalid::new(at, "id mappings need a user namespace")),
            _ => {}
        }
    }
    // Without newgidmap an unprivileged process may map its own group alone, and gives up setgroups(2) for it.
    let simple = gids.ranges().len() == 1 && gids.ranges()[0].size == 1;
    let setgroups = request.host.setgroups && (request.host.privileged() || !namespaces.makes(USER) || !simple);
    Ok(Subject { request, linux, process, namespaces, uids, gids, setgroups })
}
