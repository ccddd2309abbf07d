//! `linux.namespaces`: which the container makes, which it joins, and by which route its first process gets there.

use super::plan::{Network, Plan, Source};
use crate::cgroup::Place;
use crate::config::{Invalid, Pointer, annotations, spec};
use crate::host::Host;
use aril_plan::{Ask, Op};
use std::path::PathBuf;

/// `CLONE_NEW*`, and the name of each kind in a configuration: the one table of them.
pub const KINDS: [(u32, &str); 8] = [
    (0x0002_0000, "mount"),
    (0x2000_0000, "pid"),
    (0x0800_0000, "ipc"),
    (0x0400_0000, "uts"),
    (0x4000_0000, "network"),
    (0x0200_0000, "cgroup"),
    (0x1000_0000, "user"),
    (0x0000_0080, "time"),
];

/// `CLONE_NEWNS`
pub const MOUNT: u32 = KINDS[0].0;
/// `CLONE_NEWPID`
pub const PID: u32 = KINDS[1].0;
/// `CLONE_NEWIPC`
pub const IPC: u32 = KINDS[2].0;
/// `CLONE_NEWUTS`
pub const UTS: u32 = KINDS[3].0;
/// `CLONE_NEWNET`
pub const NETWORK: u32 = KINDS[4].0;
/// `CLONE_NEWCGROUP`
pub const CGROUP: u32 = KINDS[5].0;
/// `CLONE_NEWUSER`
pub const USER: u32 = KINDS[6].0;
/// `CLONE_NEWTIME`
pub const TIME: u32 = KINDS[7].0;

/// A namespace that exists already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// `CLONE_NEW*`
    pub kind: u32,
    /// Where it is.
    pub path: PathBuf,
    /// The part of the configuration.
    pub at: Pointer,
}

/// The container's namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// `CLONE_NEW*` of those that are made.
    pub new: u32,
    /// Those that are joined, in the order of the configuration; those of the host's own are not among them.
    pub joined: Vec<Joined>,
}

impl Namespaces {
    /// Whether the container has one of this kind that is not the caller's: a new one, or one that it joins.
    #[must_use]
    pub fn own(&self, kind: u32) -> bool {
        self.new & kind != 0 || self.joins(kind)
    }

    /// Whether one of this kind is made.
    #[must_use]
    pub fn makes(&self, kind: u32) -> bool {
        self.new & kind != 0
    }

    /// Whether one of this kind is joined.
    #[must_use]
    pub fn joins(&self, kind: u32) -> bool {
        self.joined.iter().any(|j| j.kind == kind)
    }

    /// Whether the executor has to enter them step by step and then fork, rather than be cloned into them. A user namespace: the program
    /// must be exec'ed outside of it, or its memory would belong to it. A joined pid namespace: its processes would see the exec. A time
    /// namespace: its offsets are written before the first process is in it.
    #[must_use]
    pub fn stepwise(&self) -> bool {
        self.own(USER) || self.joins(PID) || self.own(TIME)
    }
}

/// Reads `linux.namespaces`. `hosts` are the kinds whose path names a namespace that this process is in: nothing to join, and not the
/// container's own.
///
/// # Errors
/// A kind that is named twice, a path that is not absolute, time offsets without a new time namespace.
pub fn resolve(linux: &spec::Linux, hosts: u32) -> Result<Namespaces, Invalid> {
    let mut result = Namespaces::default();
    let mut seen = 0;
    let at = Pointer::to("/linux/namespaces");
    for (i, namespace) in linux.namespaces().iter().flatten().enumerate() {
        let at = at.of(i);
        let kind = kind(namespace.typ());
        let again = seen & kind != 0;
        seen |= kind;
        if again {
            return Err(Invalid::new(&at, format!("a second namespace of type {}", name(kind))));
        }
        match namespace.path().as_ref().filter(|p| !p.as_os_str().is_empty()) {
            None => result.new |= kind,
            Some(_) if hosts & kind != 0 => {}
            Some(path) if path.is_absolute() => result.joined.push(Joined { kind, path: path.clone(), at }),
            Some(path) => return Err(Invalid::new(&at.of("path"), format!("{} is not absolute", path.display()))),
        }
    }
    if linux.time_offsets().as_ref().is_some_and(|o| !o.is_empty()) && !result.makes(TIME) {
        return Err(Invalid::new(&Pointer::to("/linux/timeOffsets"), "clock offsets need a new time namespace"));
    }
    Ok(result)
}

/// The name of a kind in a configuration.
#[must_use]
pub fn name(kind: u32) -> &'static str {
    KINDS.iter().find(|(k, _)| *k == kind).map_or("?", |(_, name)| name)
}

/// `CLONE_NEW*` of a kind in a configuration.
#[must_use]
pub fn kind(namespace: spec::LinuxNamespaceType) -> u32 {
    use spec::LinuxNamespaceType as T;
    match namespace {
        T::Mount => MOUNT,
        T::Pid => PID,
        T::Ipc => IPC,
        T::Uts => UTS,
        T::Network => NETWORK,
        T::Cgroup => CGROUP,
        T::User => USER,
        T::Time => TIME,
    }
}

/// The steps into the namespaces, up to the container's first process.
pub fn enter(plan: &mut Plan, namespaces: &Namespaces, host: &Host, setgroups: bool) {
    // The host may have to move the executor into its cgroup after the clone, before it sends the plan: a cgroup namespace made before would show
    // `/../..`.
    let late = namespaces.new & CGROUP;
    if !namespaces.stepwise() {
        // In a user namespace the host could not go back into its own, which may belong to the machine's.
        let apart = namespaces.makes(NETWORK) && host.rootful();
        plan.network = if apart { Network::Due } else { Network::None };
        plan.namespaces = namespaces.new & !late & !if apart { NETWORK } else { 0 };
        unshare(plan, late);
        join(plan, namespaces.joined.iter());
        return;
    }
    let others = namespaces.joined.iter().filter(|j| j.kind != USER);
    if host.privileged() {
        // Root may enter any namespace, but from inside a user namespace only those that belong to it.
        join(plan, others.clone());
    }
    user(plan, namespaces, host, setgroups);
    if !host.privileged() {
        join(plan, others);
    }
    unshare(plan, namespaces.new & !USER);
    if namespaces.makes(TIME) {
        plan.part(&Pointer::to("/linux/timeOffsets"), "cannot set the clocks of the time namespace");
        plan.push(Op::Ask { what: Ask::TimeOffsets });
    }
    if namespaces.makes(NETWORK) {
        plan.part(&Pointer::to("/linux/namespaces"), "cannot set the loopback interface up");
        plan.push(Op::Loopback {});
    }
    plan.part(&Pointer::to("/linux/namespaces"), "cannot make the container's first process");
    plan.push(Op::Fork { shares: false });
}

/// Into the cgroup that is the payload's own: after the cgroup namespace is made, which begins at the container's.
pub(crate) fn delegate(plan: &mut Plan, place: &Place) {
    if let Some(name) = place.delegated() {
        // What the host sends unasked comes before its answers.
        join_network(plan);
        plan.part(&annotations::pointer(annotations::DELEGATE_CGROUP), format!("cannot move into the cgroup {name:?}"));
        plan.push(Op::Ask { what: Ask::Cgroup });
    }
}

/// Into the network namespace that the host makes meanwhile, where it does and that was not done yet. Needed before a sysfs is mounted, and
/// before any hook.
pub(crate) fn join_network(plan: &mut Plan) {
    if plan.network == Network::Due {
        plan.network = Network::Joined;
        plan.push(Op::Network {});
    }
}

fn unshare(plan: &mut Plan, kinds: u32) {
    if kinds != 0 {
        plan.part(&Pointer::to("/linux/namespaces"), format!("cannot make the namespaces {}", names(kinds)));
        plan.push(Op::Unshare { kinds });
    }
}

/// The names of several kinds.
pub(crate) fn names(kinds: u32) -> String {
    let names: Vec<_> = KINDS.iter().filter(|(k, _)| kinds & k != 0).map(|(_, name)| *name).collect();
    names.join(", ")
}

fn join<'a>(plan: &mut Plan, joined: impl Iterator<Item = &'a Joined>) {
    for Joined { kind, path, at } in joined {
        plan.part(at, format!("cannot join the {} namespace {}", name(*kind), path.display()));
        let ns = plan.source(Source::Namespace { path: path.clone(), kind: *kind });
        plan.push(Op::Setns { ns, kinds: *kind });
    }
}

/// Into the user namespace, and to its root.
fn user(plan: &mut Plan, namespaces: &Namespaces, host: &Host, setgroups: bool) {
    if namespaces.makes(USER) {
        plan.part(&Pointer::to("/linux/namespaces"), "cannot make the user namespace");
        plan.push(Op::Unshare { kinds: USER });
        plan.part(&Pointer::to("/linux/uidMappings"), "cannot write the id maps");
        // An unprivileged host may write the maps of a dumpable process only. Nobody else is in the new namespace yet.
        let toggle = host.euid != 0;
        if toggle {
            plan.push(Op::Dumpable { on: true });
        }
        plan.push(Op::Ask { what: Ask::IdMaps });
        if toggle {
            plan.push(Op::Dumpable { on: false });
        }
    } else if let Some(user) = namespaces.joined.iter().find(|j| j.kind == USER) {
        join(plan, std::iter::once(user));
    } else {
        return;
    }
    plan.part(&Pointer::to("/linux/uidMappings"), "cannot become root of the user namespace");
    if setgroups {
        plan.push(Op::Groups { ids: &[] });
    }
    plan.push(Op::Gid { gid: 0 });
    plan.push(Op::Uid { uid: 0 });
}
