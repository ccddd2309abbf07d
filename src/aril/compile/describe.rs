//! Steps in words: for `aril explain`, for tests of plans, and for messages about a step that failed.

use super::namespaces;
use super::plan::Source;
use super::process::{capabilities, rlimits};
use crate::cgroup::Place;
use crate::sys::mount::{Change, attr};
use aril_plan::{Kind, List, Op, Slot};
use std::ffi::CStr;

/// What a step does, without its name: `source 3 at opened 5`. Flags are named, what is long is counted.
#[must_use]
pub fn arguments(op: &Op<'_>) -> String {
    match op {
        Op::Setns { ns, kinds } => format!("{} ({})", slot(*ns), namespaces::names(*kinds)),
        Op::Unshare { kinds } => namespaces::names(*kinds),
        Op::Ask { what } => format!("{what:?}"),
        Op::Dumpable { on } => (if *on { "on" } else { "off" }).to_owned(),
        Op::Domainname { name } | Op::Hostname { name } => format!("{:?}", String::from_utf8_lossy(name)),
        Op::Personality { persona } => (if *persona == 0 { "PER_LINUX" } else { "PER_LINUX32" }).to_owned(),
        Op::Keyring { name, permissions } => format!("{}, permissions {permissions:#x}", quoted(name)),
        Op::Find { candidates } => list(candidates),
        Op::Listen { socket: it } | Op::Gate { listener: it } => slot(*it),
        Op::Created { keep: [Slot::NONE, Slot::NONE, Slot::NONE] } | Op::Free {} | Op::AllCpus {} | Op::Loopback {} => String::new(),
        Op::Created { keep } => format!("with {} open", slots(keep)),
        Op::Hook { path, args, env, timeout, output } => {
            let timeout = if *timeout == 0 { String::new() } else { format!(", at most {timeout} s") };
            let output = if *output == [Slot::NONE; 2] { String::new() } else { format!(", writing to {}", slots(output)) };
            format!("{} with arguments {}, {}{timeout}{output}", quoted(path), list(args), variables(env))
        }
        Op::MemoryPolicy { mode, nodes } => format!("mode {mode:#x}, nodes {}", mask(nodes)),
        Op::CloseFrom { first } => format!("{first}"),
        Op::Exec { args, env } => format!("with arguments {}, {}", list(args), variables(env)),
        Op::Seccomp { flags, filter } => format!("{} instructions{}", filter.len() / 8, seccomp_flags(*flags)),
        Op::Network {} => "made by the host in the meantime".to_owned(),
        Op::Fork { .. } | Op::KeepCaps {} | Op::NoNewPrivileges {} => String::new(),
        other => of_mounts(other).or_else(|| of_credentials(other)).unwrap_or_default(),
    }
}

fn of_mounts(op: &Op<'_>) -> Option<String> {
    Some(match *op {
        Op::Propagation { path, recursive, kind } => words([quoted(path), recursively(recursive), propagation(kind)]),
        Op::OpenTree { into, at, path, recursive, nofollow } => {
            let link = if nofollow { "(no link followed)" } else { "" };
            words([within(at, path), recursively(recursive), link.to_owned(), to(into)])
        }
        Op::Receive { into } => to(into),
        Op::Label { mount, label } => format!("{} {}", slot(mount), quoted(label)),
        Op::NewFs { into, kind, options, attr } => {
            let options = if options.is_empty() { String::new() } else { list(&options) };
            words([kind.to_string_lossy().into_owned(), options, attributes(attr, 0), to(into)])
        }
        Op::SetAttr { mount, recursive, set, clear, propagation: kind, userns } => {
            let idmap = if userns == Slot::NONE { String::new() } else { format!("of {}", slot(userns)) };
            words([slot(mount), recursively(recursive), attributes(set, clear), propagation(kind), idmap])
        }
        Op::Target { into, root, path, kind, like } => {
            let kind = match kind {
                Kind::Directory => "directory".to_owned(),
                Kind::File => "file".to_owned(),
                Kind::RealDirectory => "directory, without links".to_owned(),
                Kind::Same => format!("as {}", slot(like)),
                Kind::SameLink => format!("as {}, no link followed", slot(like)),
            };
            words([within(root, path), format!("({kind})"), to(into)])
        }
        Op::LegacyMount { target, kind, source, flags, data } => {
            format!("{} {} {} at {}, flags {flags:#x}", kind.to_string_lossy(), quoted(source), quoted(data), slot(target))
        }
        Op::MoveMount { mount, target } => format!("{} at {}", slot(mount), slot(target)),
        Op::OpenPath { into, path } => words([quoted(path), to(into)]),
        Op::KeepMode { target, mount } => format!("of {} for {}", slot(target), slot(mount)),
        Op::CopyUp { root, path, to } => format!("{} to {}", within(root, path), slot(to)),
        Op::Mknod { at, path, mode, major, minor, uid, gid } => {
            let kind = match mode & libc::S_IFMT {
                libc::S_IFCHR => format!("c {major}:{minor}"),
                libc::S_IFBLK => format!("b {major}:{minor}"),
                _ => "p".to_owned(),
            };
            format!("{} {kind}, mode {:04o}, owner {uid}:{gid}", within(at, path), mode & 0o7777)
        }
        Op::Symlink { at, path, to, exact } => {
            format!("{} to {}{}", within(at, path), quoted(to), if exact { " and nothing else" } else { "" })
        }
        Op::PivotRoot { root } | Op::MoveRoot { root } | Op::Chroot { root } => slot(root),
        Op::Mask { root, path, directory, null } => format!("{} by {} or {}", within(root, path), slot(directory), slot(null)),
        Op::ReadOnly { root, path } => within(root, path),
        Op::Write { at, path, value } => format!("{} {:?}", within(at, path), String::from_utf8_lossy(value)),
        Op::ReadBack { at, path, value } => format!("{} {:?}", within(at, path), String::from_utf8_lossy(value)),
        Op::Close { slot: it } => slot(it),
        _ => return None,
    })
}

fn of_credentials(op: &Op<'_>) -> Option<String> {
    Some(match *op {
        Op::Console { root, rows, columns, uid, bind } => {
            let size = if (rows, columns) == (0, 0) { String::new() } else { format!(", {rows} rows of {columns}") };
            let bind = if bind { ", as /dev/console" } else { "" };
            format!("in {}, owner {uid}{size}{bind}", slot(root))
        }
        Op::Rlimit { resource, soft, hard } => format!("{} {}, {}", rlimits::name(resource), limit(soft), limit(hard)),
        Op::Cpus { mask: words } => mask(words),
        Op::Umask { mask } => format!("{mask:04o}"),
        Op::Chdir { path, early, .. } => quoted(path) + if early { " (a refusal is no fault yet)" } else { "" },
        Op::BoundingSet { keep } => capability_names(keep),
        Op::Groups { ids } => {
            let ids: Vec<u32> = ids.as_chunks::<4>().0.iter().map(|id| u32::from_le_bytes(*id)).collect();
            format!("{ids:?}")
        }
        Op::Gid { gid: id } | Op::Uid { uid: id } => id.to_string(),
        Op::Home { uid } => format!("of uid {uid}, by the root's /etc/passwd"),
        Op::Capabilities { effective, permitted, inheritable } => {
            let [e, p, i] = [effective, permitted, inheritable].map(capability_names);
            if e == p {
                format!("effective and permitted {e}; inheritable {i}")
            } else {
                format!("effective {e}; permitted {p}; inheritable {i}")
            }
        }
        Op::Ambient { raise } => capability_names(raise),
        _ => return None,
    })
}

/// A step on one line, as tests look at it: its name and its arguments.
#[must_use]
pub fn step(op: &Op<'_>) -> String {
    words([op.name().to_owned(), arguments(op)])
}

/// A slot in words: `source 3`, or `opened 0` for what a step opened.
#[must_use]
pub fn slot(slot: Slot) -> String {
    match slot {
        Slot::CWD => "cwd".to_owned(),
        Slot::NONE => "none".to_owned(),
        Slot(n) if n >= Slot::OPENED.0 => format!("opened {}", n - Slot::OPENED.0),
        Slot(n) => format!("source {n}"),
    }
}

/// What the host opens for a source of a container whose cgroups are there.
#[must_use]
pub fn source(source: &Source, place: &Place) -> String {
    let changed = |recursive, Change { set, clear, propagation: kind }: Change| {
        let change = words([attributes(set, clear), propagation(kind)]);
        if change.is_empty() { change } else { words([change, recursively(recursive)]) }
    };
    let comma = |parts: &[String]| parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(", ");
    match source {
        Source::Tree { path, recursive, change, recursive_change, nofollow, idmap } => comma(&[
            idmap.as_ref().map_or_else(String::new, |idmap| format!("idmapped by {:?}", idmap.by)),
            format!("a copy of {}{}", path.display(), if *recursive { " with what is mounted below it" } else { "" }),
            changed(true, *recursive_change),
            changed(false, *change),
            if *nofollow { "no link followed".to_owned() } else { String::new() },
        ]),
        Source::Cgroup { hierarchy, attr } => {
            let directory = place.hierarchies.get(*hierarchy).map(|it| it.directory().display().to_string()).unwrap_or_default();
            comma(&[format!("a copy of {directory}"), attributes(*attr, 0)])
        }
        Source::Namespace { path, kind } => format!("the {} namespace {}", namespaces::name(*kind), path.display()),
        Source::Null => "the null device".to_owned(),
        Source::Proc => "a procfs of the host's pid namespace".to_owned(),
        Source::Gate => "the socket on which start is heard".to_owned(),
        Source::First => "the container's first process".to_owned(),
        Source::Directory { path } => format!("the directory {}", path.display()),
        Source::Log { path } => format!("the file {}, to append to", path.display()),
    }
}

/// What a failed call was about: the object of the step.
#[must_use]
pub fn object(op: &Op<'_>) -> Option<String> {
    match op {
        Op::OpenTree { path, .. }
        | Op::Target { path, .. }
        | Op::OpenPath { path, .. }
        | Op::Mknod { path, .. }
        | Op::Symlink { path, .. }
        | Op::Mask { path, .. }
        | Op::ReadOnly { path, .. }
        | Op::Chdir { path, .. }
        | Op::Hook { path, .. }
        | Op::CopyUp { path, .. }
        | Op::ReadBack { path, .. }
        | Op::Write { path, .. } => Some(quoted(path)),
        Op::NewFs { kind, .. } => Some(quoted(kind)),
        _ => None,
    }
}

/// Those that name a descriptor.
fn slots(slots: &[Slot]) -> String {
    let named: Vec<_> = slots.iter().filter(|it| **it != Slot::NONE).map(|it| slot(*it)).collect();
    named.join(" and ")
}

/// Those that are not empty, with a blank between.
fn words<const N: usize>(words: [String; N]) -> String {
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn quoted(text: &CStr) -> String {
    format!("{:?}", text.to_string_lossy())
}

fn within(dir: Slot, path: &CStr) -> String {
    if dir == Slot::CWD { quoted(path) } else { format!("{} in {}", quoted(path), slot(dir)) }
}

fn to(into: Slot) -> String {
    format!("-> {}", slot(into))
}

fn list(list: &List<'_>) -> String {
    format!("[{}]", list.iter().map(quoted).collect::<Vec<_>>().join(", "))
}

/// Not their values, which may be secret.
fn variables(env: &List<'_>) -> String {
    match env.len() {
        1 => "1 variable".to_owned(),
        n => format!("{n} variables"),
    }
}

fn recursively(recursive: bool) -> String {
    (if recursive { "recursively" } else { "" }).to_owned()
}

/// A bit mask of many words as one number.
fn mask(words: &[u8]) -> String {
    let digits: String = words.iter().rev().map(|byte| format!("{byte:02x}")).collect();
    let digits = digits.trim_start_matches('0');
    format!("0x{}", if digits.is_empty() { "0" } else { digits })
}

fn limit(value: u64) -> String {
    if value == u64::MAX { "unlimited".to_owned() } else { value.to_string() }
}

fn capability_names(mask: u64) -> String {
    let names: Vec<_> = capabilities::names(mask).collect();
    match names.len() {
        0 => "none".to_owned(),
        n if n == capabilities::TABLE.len() => "all".to_owned(),
        _ => names.join(","),
    }
}

fn propagation(kind: u64) -> String {
    let name = match kind {
        0 => "",
        libc::MS_SHARED => "shared",
        libc::MS_SLAVE => "slave",
        libc::MS_PRIVATE => "private",
        libc::MS_UNBINDABLE => "unbindable",
        other => return format!("propagation {other:#x}"),
    };
    name.to_owned()
}

/// `MOUNT_ATTR_*` as mount options spell them.
fn attributes(set: u64, clear: u64) -> String {
    const NAMES: [(u64, &str, &str); 7] = [
        (attr::RDONLY, "ro", "rw"),
        (attr::NOSUID, "nosuid", "suid"),
        (attr::NODEV, "nodev", "dev"),
        (attr::NOEXEC, "noexec", "exec"),
        (attr::NODIRATIME, "nodiratime", "diratime"),
        (attr::NOSYMFOLLOW, "nosymfollow", "symfollow"),
        (attr::IDMAP, "idmap", "noidmap"),
    ];
    let mut names: Vec<&str> = NAMES.iter().filter(|(bit, ..)| set & bit != 0).map(|(_, name, _)| *name).collect();
    names.extend(NAMES.iter().filter(|(bit, ..)| clear & !set & bit != 0).map(|(.., name)| *name));
    match set & attr::ATIME {
        attr::NOATIME => names.push("noatime"),
        attr::STRICTATIME => names.push("strictatime"),
        _ if clear & attr::ATIME != 0 => names.push("relatime"),
        _ => {}
    }
    names.join(",")
}

fn seccomp_flags(flags: u32) -> String {
    const NAMES: [(u32, &str); 6] =
        [(1, "TSYNC"), (2, "LOG"), (4, "SPEC_ALLOW"), (8, "NEW_LISTENER"), (16, "TSYNC_ESRCH"), (32, "WAIT_KILLABLE_RECV")];
    NAMES.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| format!(", {name}")).collect()
}
