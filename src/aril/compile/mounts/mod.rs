//! `mounts`.
//!
//! Linux lists mounts in the order in which they were made: since 6.8 that of their making alone, whenever they were attached. So each is made at its
//! turn: file systems by the executor, and copies of what the host has by the host, while the executor waits.

mod cgroup;
pub(crate) mod label;
pub mod mapping;
pub mod options;

use super::namespaces::{CGROUP, IPC, NETWORK, PID, USER};
use super::plan::{Idmap, Plan, Source, Strings, Userns, c_string};
use super::{Subject, idmap, namespaces, rootfs};
use crate::config::{Invalid, Pointer, spec};
use crate::sys::mount::{Change, attr};
use aril_plan::{Kind, Op, Slot};
use label::Label;
use options::Options;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// A mount of the configuration, read.
pub(super) struct Mount<'a> {
    /// Its place in the list.
    index: usize,
    pub(super) at: Pointer,
    pub(super) destination: CString,
    pub(super) kind: &'a str,
    pub(super) source: &'a Path,
    pub(super) options: Options,
    uids: &'a [spec::LinuxIdMapping],
    gids: &'a [spec::LinuxIdMapping],
}

impl Mount<'_> {
    fn idmapped(&self) -> bool {
        self.options.idmap.is_some() || !self.uids.is_empty() || !self.gids.is_empty()
    }
}

/// The mounts, in order.
pub(crate) fn mount_all(plan: &mut Plan, subject: &Subject<'_>, root: Slot) -> Result<(), Invalid> {
    label::check(subject)?;
    for (i, mount) in subject.request.spec.mounts().iter().flatten().enumerate() {
        let mount = read(mount, i)?;
        plan.part(&mount.at, format!("cannot mount {}", mount.destination.to_string_lossy()));
        if mount.kind == "sysfs" {
            namespaces::join_network(plan);
        }
        one(plan, subject, root, &mount)?;
    }
    Ok(())
}

fn read(mount: &spec::Mount, index: usize) -> Result<Mount<'_>, Invalid> {
    let at = Pointer::to("/mounts").of(index);
    let destination = mount.destination();
    let options = options::parse(mount.options().as_deref().unwrap_or_default(), &at.of("options"))?;
    let at_destination = at.of("destination");
    if destination.components().all(|c| matches!(c, Component::RootDir | Component::CurDir | Component::ParentDir)) {
        return Err(Invalid::new(&at_destination, format!("destination {:?} is the root itself", destination.display().to_string())));
    }
    // The root is where every path begins: a relative destination is meant from it (1.2 deprecated them, and 1.3 allows them again).
    let destination = c_string([b"/", destination.as_os_str().as_bytes()].concat(), &at_destination)?;
    let destination = match destination.to_bytes() {
        [b'/', b'/', ..] => c_string(&destination.to_bytes()[1..], &at_destination)?,
        _ => destination,
    };
    let kind = mount.typ().as_deref().unwrap_or_default();
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    let (uids, gids) = (mount.uid_mappings().as_deref().unwrap_or_default(), mount.gid_mappings().as_deref().unwrap_or_default());
    Ok(Mount { index, at, destination, kind, source, options, uids, gids })
}

/// The sources of the mounts that are to be copied if they are symbolic links (`copy-symlink`), by the mounts' places in the list.
pub fn copied_links<'a>(mounts: &'a [spec::Mount], bundle: &'a Path) -> impl Iterator<Item = (usize, PathBuf)> + 'a {
    let copied = |mount: &spec::Mount| mount.options().iter().flatten().any(|option| option == "copy-symlink");
    let mounts = mounts.iter().enumerate().filter(move |(_, mount)| copied(mount));
    mounts.filter_map(move |(i, mount)| Some((i, bundle.join(mount.source().as_deref()?))))
}

/// Whether a bind mount covers this absolute path.
pub(crate) fn binds_over(subject: &Subject<'_>, path: &str) -> Result<bool, Invalid> {
    for (i, mount) in subject.request.spec.mounts().iter().flatten().enumerate() {
        let mount = read(mount, i)?;
        if is_bind(&mount) && mount.destination.to_bytes() == path.as_bytes() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_bind(mount: &Mount<'_>) -> bool {
    mount.options.bind.is_some() || mount.kind == "bind"
}

fn one(plan: &mut Plan, subject: &Subject<'_>, root: Slot, mount: &Mount<'_>) -> Result<(), Invalid> {
    protect_proc(mount)?;
    if mount.idmapped() && !is_bind(mount) {
        return Err(Invalid::new(&mount.at, "only a bind mount can be idmapped"));
    }
    let Options { copy_symlink, src_nofollow, dest_nofollow, .. } = mount.options;
    if (copy_symlink || src_nofollow || dest_nofollow) && !is_bind(mount) {
        return Err(Invalid::new(&mount.at.of("options"), "copy-symlink, src-nofollow and dest-nofollow are for bind mounts"));
    }
    if mount.options.remount {
        return remount(plan, root, mount);
    }
    if is_bind(mount) {
        return bind(plan, subject, root, mount);
    }
    match mount.kind {
        "" => Err(Invalid::new(&mount.at, "a mount needs a type, or the option bind or rbind")),
        "cgroup" => cgroup::mount(plan, subject, root, mount),
        // In a user namespace they can be made only by who owns what they show; else the host's are bound.
        "proc" if subject.namespaces.joins(PID) && subject.namespaces.makes(USER) => Err(Invalid::new(&mount.at, STRANGE_PROC)),
        "proc" if subject.in_userns() && !shows_own(subject, PID) => bind_instead(plan, subject, root, mount, "/proc"),
        "sysfs" if subject.namespaces.own(USER) && !shows_own(subject, NETWORK) => bind_instead(plan, subject, root, mount, "/sys"),
        "mqueue" if subject.namespaces.own(USER) && !shows_own(subject, IPC) => bind_instead(plan, subject, root, mount, "/dev/mqueue"),
        "cgroup2" if subject.in_userns() && !subject.namespaces.makes(CGROUP) => cgroup::mount(plan, subject, root, mount),
        _ => new(plan, subject, root, mount),
    }
}

/// The host's procfs would show the host's processes instead.
const STRANGE_PROC: &str = "the pid namespace that is joined belongs to another user namespace than the container's, which is new: \
    the kernel gives no procfs of it. Join its user namespace as well";

/// Whether a namespace of this kind belongs to the user namespace that the container will be in: one that is made does, and one that is joined
/// together with the user namespace (a pod's) does.
fn shows_own(subject: &Subject<'_>, kind: u32) -> bool {
    subject.namespaces.makes(kind) || (subject.namespaces.joins(kind) && !subject.namespaces.makes(USER))
}

/// The container's procfs is what its processes trust: nothing but a procfs may be there, and in it only what makes no difference to
/// `/proc/self` and to sysctls (CVE-2019-16884).
fn protect_proc(mount: &Mount<'_>) -> Result<(), Invalid> {
    const HARMLESS: [&str; 8] = ["cpuinfo", "diskstats", "loadavg", "meminfo", "net/dev", "stat", "swaps", "uptime"];
    let mut components: Vec<&[u8]> = Vec::new();
    for component in mount.destination.to_bytes().split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".") {
        if component == b".." {
            components.pop();
        } else {
            components.push(component);
        }
    }
    let [first, inner @ ..] = components.as_slice() else { return Ok(()) };
    if *first != b"proc" {
        return Ok(());
    }
    let inner = inner.join(&b'/');
    let allowed = match inner.as_slice() {
        b"" if is_bind(mount) => mount.source == Path::new("/proc"),
        b"" => mount.kind == "proc",
        b"sys/fs/binfmt_misc" => mount.kind == "binfmt_misc",
        inner => HARMLESS.iter().any(|name| name.as_bytes() == inner) || inner == b"slabinfo" || inner == b"sys/kernel/ns_last_pid",
    };
    if allowed {
        return Ok(());
    }
    let why = format!("{} cannot be mounted here: the container's /proc must be a procfs", mount.destination.to_string_lossy());
    Err(Invalid::new(&mount.at.of("destination"), why))
}

fn new(plan: &mut Plan, subject: &Subject<'_>, root: Slot, mount: &Mount<'_>) -> Result<(), Invalid> {
    let Options { attr_set, rec_set, tmpcopyup, .. } = &mount.options;
    let (fs, target) = (plan.slot(), plan.slot());
    let tmpfs = mount.kind == "tmpfs";
    let real = matches!(mount.kind, "proc" | "sysfs" | "mqueue" | "cgroup2");
    let kind = if real { Kind::RealDirectory } else { Kind::Directory };
    plan.push(Op::Target { into: target, root, path: &mount.destination, kind, like: Slot::NONE });
    if mount.options.data.iter().any(|option| option.len() > FSCONFIG_MAX) {
        return legacy(plan, subject, mount, target);
    }
    let mut options = Strings::default();
    let at = mount.at.of("options");
    let source = mount.source.as_os_str().as_bytes();
    if !source.is_empty() {
        options.push(&c_string([b"source=", source].concat(), &mount.at.of("source"))?);
    }
    for flag in mount.options.flags.iter().filter(|flag| !(tmpfs && **flag == "ro")) {
        options.push(&c_string(*flag, &at)?);
    }
    for data in &mount.options.data {
        options.push(&c_string(data.as_str(), &at)?);
    }
    let label = label::of(subject, mount)?;
    if let Some(Label::Option(context)) = &label {
        options.push(context);
    }
    // A tmpfs becomes read-only when it has what it begins with.
    let attr = (attr_set | rec_set) & !if tmpfs { attr::RDONLY } else { 0 };
    let kind = c_string(mount.kind, &mount.at.of("type"))?;
    plan.push(Op::NewFs { into: fs, kind: &kind, options: options.list(), attr });
    if let Some(Label::Attribute(label)) = &label {
        plan.push(Op::Label { mount: fs, label });
    }
    if tmpfs && !mount.options.data.iter().any(|d| d.starts_with("mode=")) {
        plan.push(Op::KeepMode { target, mount: fs });
    }
    if *tmpcopyup {
        plan.push(Op::CopyUp { root, path: &mount.destination, to: fs });
    }
    if tmpfs && (attr_set | rec_set) & attr::RDONLY != 0 {
        plan.push(Op::SetAttr { mount: fs, recursive: false, set: attr::RDONLY, clear: 0, propagation: 0, userns: Slot::NONE });
    }
    propagate(plan, fs, mount);
    attach(plan, fs, target);
    Ok(())
}

/// So many bytes of one option does `fsconfig(2)` take.
const FSCONFIG_MAX: usize = 255;

/// By `mount(2)`, which takes a page of options: overlays with long paths need it.
fn legacy(plan: &mut Plan, subject: &Subject<'_>, mount: &Mount<'_>, target: Slot) -> Result<(), Invalid> {
    let at = mount.at.of("options");
    let attr = mount.options.attr_set | mount.options.rec_set;
    let attributes = [
        (attr::NOATIME, libc::MS_NOATIME),
        (attr::STRICTATIME, libc::MS_STRICTATIME),
        (attr::NODIRATIME, libc::MS_NODIRATIME),
        (attr::NOSYMFOLLOW, 256), // MS_NOSYMFOLLOW
    ];
    // The lowest four are the same in both.
    let mut flags = attr & (attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC);
    flags |= attributes.iter().filter(|(attr_bit, _)| attr & attr_bit != 0).map(|(_, ms)| ms).sum::<u64>();
    for flag in &mount.options.flags {
        flags |= match *flag {
            "ro" => libc::MS_RDONLY,
            "sync" => libc::MS_SYNCHRONOUS,
            "dirsync" => libc::MS_DIRSYNC,
            "mand" => libc::MS_MANDLOCK,
            "lazytime" => 1 << 25, // MS_LAZYTIME
            _ => 0,
        };
    }
    if !mount.options.propagation.is_empty() {
        return Err(Invalid::new(&at, "propagation cannot be set on a mount with an option of more than 255 bytes"));
    }
    let mut data = mount.options.data.clone();
    if let Some(Label::Option(context)) = label::of(subject, mount)? {
        // A label has commas in it.
        data.push(context.to_string_lossy().replacen('=', "=\"", 1) + "\"");
    }
    let (kind, data) = (c_string(mount.kind, &mount.at.of("type"))?, c_string(data.join(","), &at)?);
    let source = c_string(mount.source.as_os_str().as_bytes(), &mount.at.of("source"))?;
    plan.push(Op::LegacyMount { target, kind: &kind, source: &source, flags, data: &data });
    Ok(())
}

/// The propagation that was asked for, on a mount that is still detached.
fn propagate(plan: &mut Plan, slot: Slot, mount: &Mount<'_>) {
    for p in &mount.options.propagation {
        plan.push(Op::SetAttr { mount: slot, recursive: p.recursive, set: 0, clear: 0, propagation: p.kind, userns: Slot::NONE });
    }
}

/// A detached copy of a path of the host, out of its peer group: opened by the host, or by the executor where the host may not.
pub(crate) fn tree(plan: &mut Plan, subject: &Subject<'_>, path: &Path, recursive: bool) -> Slot {
    let propagation = rootfs::Propagation::resolve(subject).map_or(0, rootfs::Propagation::of_copies);
    let change = Change { propagation, ..Change::default() };
    if subject.host_opens() {
        let path = path.to_owned();
        return plan.copy(Source::Tree {
            path,
            recursive,
            change: Change::default(),
            recursive_change: change,
            nofollow: false,
            idmap: None,
        });
    }
    let slot = plan.slot();
    let path = CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
    plan.push(Op::OpenTree { into: slot, at: Slot::CWD, path: &path, recursive, nofollow: false });
    plan.push(Op::SetAttr { mount: slot, recursive: true, set: 0, clear: 0, propagation, userns: Slot::NONE });
    slot
}

fn bind(plan: &mut Plan, subject: &Subject<'_>, root: Slot, mount: &Mount<'_>) -> Result<(), Invalid> {
    let recursive = mount.options.bind.unwrap_or(true);
    if mount.source.as_os_str().is_empty() {
        return Err(Invalid::new(&mount.at.of("source"), "a bind mount needs a source"));
    }
    let source = subject.request.bundle.join(mount.source);
    c_string(source.as_os_str().as_bytes(), &mount.at.of("source"))?;
    if let Some(link) = mount.options.copy_symlink.then(|| subject.request.links.get(&mount.index)).flatten() {
        let to = c_string(link.as_os_str().as_bytes(), &mount.at.of("source"))?;
        plan.push(Op::Symlink { at: root, path: &mount.destination, to: &to, exact: true });
        return Ok(());
    }
    let kind = if mount.options.dest_nofollow { Kind::SameLink } else { Kind::Same };
    attach_bind(plan, subject, root, mount, &source, recursive, kind)
}

/// Binds what the host has, with the attributes that the configuration wanted for a file system of its own.
fn bind_instead(plan: &mut Plan, subject: &Subject<'_>, root: Slot, mount: &Mount<'_>, path: &str) -> Result<(), Invalid> {
    attach_bind(plan, subject, root, mount, Path::new(path), true, Kind::RealDirectory)
}

fn attach_bind(
    plan: &mut Plan,
    subject: &Subject<'_>,
    root: Slot,
    mount: &Mount<'_>,
    source: &Path,
    recursive: bool,
    kind: Kind,
) -> Result<(), Invalid> {
    let o = &mount.options;
    let asked = |kind| o.propagation.iter().any(|p| p.kind == kind);
    let propagation = if asked(libc::MS_SHARED) {
        0 // its copy remains a peer of the host's
    } else if asked(libc::MS_SLAVE) {
        libc::MS_SLAVE // a private one has no master any more that it could be made a slave of
    } else {
        rootfs::Propagation::resolve(subject)?.of_copies()
    };
    let change = Change { set: o.attr_set, clear: o.attr_clear, propagation: 0 };
    let recursive_change = Change { set: o.rec_set, clear: o.rec_clear, propagation };
    let slot = if subject.host_opens() {
        let idmap = idmap(subject, mount)?;
        plan.copy(Source::Tree { path: source.to_owned(), recursive, change, recursive_change, nofollow: o.src_nofollow, idmap })
    } else {
        if mount.idmapped() {
            return Err(Invalid::new(&mount.at, "an idmapped mount needs a privileged runtime"));
        }
        let slot = plan.slot();
        let path = c_string(source.as_os_str().as_bytes(), &mount.at.of("source"))?;
        plan.push(Op::OpenTree { into: slot, at: Slot::CWD, path: &path, recursive, nofollow: o.src_nofollow });
        for (recursive, Change { set, clear, propagation }) in [(true, recursive_change), (false, change)] {
            if (set, clear, propagation) != (0, 0, 0) {
                plan.push(Op::SetAttr { mount: slot, recursive, set, clear, propagation, userns: Slot::NONE });
            }
        }
        slot
    };
    propagate(plan, slot, mount);
    let target = plan.slot();
    plan.push(Op::Target { into: target, root, path: &mount.destination, kind, like: slot });
    attach(plan, slot, target);
    Ok(())
}

/// The mount's own maps, in its fields or in an option, or else those of the container's user namespace (config.md, "idmap").
fn idmap(subject: &Subject<'_>, mount: &Mount<'_>) -> Result<Option<Idmap>, Invalid> {
    if !mount.idmapped() {
        return Ok(None);
    }
    let recursive = mount.options.idmap.unwrap_or(false);
    if let Some(mapping) = &mount.options.mapping {
        if !mount.uids.is_empty() || !mount.gids.is_empty() {
            return Err(Invalid::new(&mount.at, "the mappings of the mount stand in uidMappings and gidMappings, and again in an option"));
        }
        let (uids, gids) = mapping.resolve(&subject.uids, &subject.gids)?;
        return Ok(Some(Idmap { recursive, by: Userns::Maps { uids: uids.bytes(), gids: gids.bytes() } }));
    }
    let map = |key: &str, mappings| idmap::resolve(mappings, &mount.at.of(key)).map(|map| map.bytes());
    let by = match (mount.uids.is_empty(), mount.gids.is_empty()) {
        (false, false) => Userns::Maps { uids: map("uidMappings", mount.uids)?, gids: map("gidMappings", mount.gids)? },
        (true, true) if subject.namespaces.makes(USER) => Userns::Maps { uids: subject.uids.bytes(), gids: subject.gids.bytes() },
        (true, true) => match subject.namespaces.joined.iter().find(|j| j.kind == USER) {
            Some(joined) => Userns::Existing(joined.path.clone()),
            None => return Err(Invalid::new(&mount.at.of("options"), "idmap without uidMappings and gidMappings needs a user namespace")),
        },
        _ => return Err(Invalid::new(&mount.at, "uidMappings and gidMappings go together")),
    };
    Ok(Some(Idmap { recursive, by }))
}

/// Attaches a mount that no later step needs.
pub(crate) fn attach(plan: &mut Plan, mount: Slot, target: Slot) {
    plan.push(Op::MoveMount { mount, target });
    plan.push(Op::Close { slot: mount });
}

/// Changes the attributes of what is mounted there already.
fn remount(plan: &mut Plan, root: Slot, mount: &Mount<'_>) -> Result<(), Invalid> {
    let o = &mount.options;
    let there = plan.slot();
    plan.push(Op::Target { into: there, root, path: &mount.destination, kind: Kind::Directory, like: Slot::NONE });
    for (recursive, set, clear) in [(true, o.rec_set, o.rec_clear), (false, o.attr_set, o.attr_clear)] {
        if (set, clear) != (0, 0) {
            plan.push(Op::SetAttr { mount: there, recursive, set, clear, propagation: 0, userns: Slot::NONE });
        }
    }
    propagate(plan, there, mount);
    Ok(())
}

/// A procfs that is attached nowhere.
pub(crate) fn private_proc(plan: &mut Plan, subject: &Subject<'_>) -> Slot {
    if subject.request.exec.is_some() && !subject.host_opens() {
        // Still outside of the container, the machine's own is as good.
        let proc = plan.slot();
        plan.push(Op::OpenPath { into: proc, path: c"/proc" });
        return proc;
    }
    if subject.host_opens() && (subject.request.exec.is_some() || (subject.in_userns() && !subject.namespaces.makes(PID))) {
        return plan.source(Source::Proc);
    }
    let proc = plan.slot();
    plan.push(Op::NewFs { into: proc, kind: c"proc", options: Strings::default().list(), attr: attr::NOSUID | attr::NODEV | attr::NOEXEC });
    proc
}
