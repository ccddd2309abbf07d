//! What this host would refuse, as far as that can be told without starting or making anything: for `explain`.
//!
//! What cannot be told is left out: a refusal here is one that `create` would meet as well.

use super::create::Prepared;
use crate::boot::talk::Label;
use crate::boot::{idmaps, open, resctrl};
use crate::compile::hooks::Hook;
use crate::compile::namespaces::{self, USER};
use crate::compile::process::rlimits;
use crate::config::{Invalid, Pointer};
use crate::error::{Doing, Error};
use crate::sys::{self, Errno};
use aril_plan::talk::{About, Report};
use aril_plan::{Op, Slot};
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::unistd::AccessFlags;
use std::ffi::{CString, OsStr};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// All of them.
#[must_use]
pub fn all(prepared: &Prepared) -> Vec<Error> {
    let mut refusals = prepared.place.check();
    refusals.extend(namespaces(prepared));
    refusals.extend(idmap_programs(prepared));
    refusals.extend(sources(prepared));
    refusals.extend(prepared.resctrl.as_ref().and_then(|_| resctrl::mount().err()));
    refusals.extend(limits(prepared));
    refusals.extend(hooks(prepared));
    refusals.extend(program(prepared));
    refusals
}

/// New namespaces: too little privilege for them, or a kernel that was told to make none.
fn namespaces(prepared: &Prepared) -> Vec<Error> {
    let at = Pointer::to("/linux/namespaces");
    let Some(Ok(asked)) = prepared.loaded.spec.linux().as_ref().map(|linux| namespaces::resolve(linux, 0)) else { return Vec::new() };
    let mut refusals = Vec::new();
    if !asked.own(USER) && !prepared.host.privileged() {
        let why = "this takes root: without it, the container needs a user namespace of its own";
        refusals.push(Invalid::new(&at, why).into());
    }
    const FILES: [&str; 8] = ["mnt", "pid", "ipc", "uts", "net", "cgroup", "user", "time"];
    for ((kind, name), file) in namespaces::KINDS.into_iter().zip(FILES).filter(|((kind, _), _)| asked.makes(*kind)) {
        let path = format!("/proc/sys/user/max_{file}_namespaces");
        if sys::fs::read_text(Path::new(&path), 64).is_ok_and(|max| max.trim() == "0") {
            let at = prepared.loaded.spec.linux().iter().flat_map(|linux| linux.namespaces().iter().flatten());
            let index = at.enumerate().find(|(_, namespace)| namespaces::kind(namespace.typ()) == kind).map_or(0, |(index, _)| index);
            let why = format!("this host makes no {name} namespaces: {path} is 0");
            refusals.push(Invalid::new(&Pointer::to("/linux/namespaces").of(index), why).into());
        }
    }
    refusals
}

/// The set-uid programs that write the id maps for a user.
fn idmap_programs(prepared: &Prepared) -> Vec<Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |program: &str| std::env::split_paths(&path).any(|dir| executable(&dir.join(program)).is_ok());
    let missing = idmaps::programs(&prepared.loaded.spec, &prepared.host).into_iter().filter(|(_, program)| !found(program));
    missing.map(|(at, program)| Invalid::new(&at, format!("{program} is needed for these id maps, and is not in $PATH")).into()).collect()
}

/// What the host opens, and what the executor opens outside of the container.
fn sources(prepared: &Prepared) -> Vec<Error> {
    let plan = &prepared.plan;
    let mut refusals = Vec::new();
    let copies = plan.copies.iter().map(|copied| (copied.part, &copied.source));
    for (part, source) in plan.sources.iter().map(|(part, source)| (*part, source)).chain(copies) {
        let part = &plan.parts[part];
        refusals.extend(open::check(source, &prepared.place).doing_at(&part.at, || part.what.clone()).err());
    }
    for (part, op) in plan.steps() {
        if let Op::OpenTree { at: Slot::CWD, path, nofollow, .. } = op {
            let nofollow = if nofollow { OFlag::O_NOFOLLOW } else { OFlag::empty() };
            let there = sys::fs::open(Path::new(OsStr::from_bytes(path.to_bytes())), OFlag::O_PATH | nofollow, 0);
            // The executor may be permitted what this process is not.
            let there = there.map(drop).or_else(|error| if error.errno == Errno::EACCES { Ok(()) } else { Err(error) });
            refusals.extend(there.doing_at(&part.at, || part.what.clone()).err());
        }
    }
    refusals
}

/// Limits that are raised above what this process may have.
fn limits(prepared: &Prepared) -> Vec<Error> {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    if prepared.host.capabilities & CAP_SYS_RESOURCE != 0 {
        return Vec::new();
    }
    let asked = prepared.loaded.spec.process().as_ref().and_then(|process| process.rlimits().as_deref()).unwrap_or_default();
    let Ok(asked) = rlimits::resolve(asked, &Pointer::to("/process/rlimits")) else { return Vec::new() };
    let above = asked.into_iter().filter_map(|limit| {
        let own = sys::process::hard_limit(limit.value.resource).ok().filter(|own| limit.value.hard > *own)?;
        let name = rlimits::name(limit.value.resource);
        Some((limit.at, format!("{name} cannot be raised above {own} without CAP_SYS_RESOURCE")))
    });
    above.map(|(at, why)| Invalid::new(&at, why).into()).collect()
}

/// Hooks whose program is looked up in the host's tree.
fn hooks(prepared: &Prepared) -> Vec<Error> {
    let hooks = &prepared.hooks;
    let on_host = [&hooks.prestart, &hooks.create_runtime, &hooks.create_container, &hooks.poststart, &hooks.poststop];
    let failed = |hook: &Hook| {
        let path = Path::new(OsStr::from_bytes(hook.path.as_bytes()));
        executable(path).doing_at(&Pointer::to(&hook.at), || format!("hook {} failed", path.display())).err()
    };
    on_host.into_iter().flatten().filter_map(failed).collect()
}

fn executable(path: &Path) -> sys::Result<()> {
    nix::unistd::faccessat(AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS).map_err(|errno| sys::Error::new("execve", path, errno))
}

/// The user's program. Where hooks or mounts change the root file system it cannot be told.
fn program(prepared: &Prepared) -> Option<Error> {
    let harmless = |path: &Path| ["/proc", "/sys", "/dev"].iter().any(|dir| path.starts_with(dir));
    let changed = prepared.loaded.spec.mounts().iter().flatten().any(|mount| !harmless(mount.destination()));
    let hooks = &prepared.hooks;
    if changed || [&hooks.prestart, &hooks.create_runtime, &hooks.create_container].iter().any(|hooks| !hooks.is_empty()) {
        return None;
    }
    let cwd = prepared.loaded.spec.process().as_ref()?.cwd();
    let (step, candidates) = (0..).zip(prepared.plan.steps()).find_map(|(step, (_, op))| match op {
        Op::Find { candidates } => Some((step, candidates)),
        _ => None,
    })?;
    let root = sys::fs::open(&prepared.rootfs, OFlag::O_PATH | OFlag::O_DIRECTORY, 0).ok()?;
    let mut why = Errno::ENOENT;
    for candidate in candidates.iter() {
        let path = CString::new(cwd.join(OsStr::from_bytes(candidate.to_bytes())).into_os_string().into_encoded_bytes()).ok()?;
        match sys::fs::openat2(root.as_fd(), &path, libc::O_PATH, 0, sys::fs::RESOLVE_IN_ROOT) {
            Ok(file) if is_program(&file)? => return None,
            Ok(_) => why = Errno::EACCES,
            Err(error) if matches!(error.errno, Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(_) => return None,
        }
    }
    // As the executor would report it.
    let call = u32::try_from(libc::SYS_execve).unwrap_or(0);
    let report = Report { about: About::Fault, step, call, value: why as i32, detail: 0 };
    Some(Label::of(&prepared.plan, step).fault(&report, String::new()).into())
}

fn is_program(file: impl AsFd) -> Option<bool> {
    let mode = sys::fs::fstat(file).ok()?.st_mode;
    Some(mode & libc::S_IFMT == libc::S_IFREG && mode & 0o111 != 0)
}
