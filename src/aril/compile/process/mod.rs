//! `process`: what the user's program is given, and the end of every plan.

pub mod capabilities;
pub mod labels;
pub mod memory_policy;
pub mod program;
pub mod rlimits;
pub mod scheduling;
pub mod search;
pub mod terminal;
pub mod user;

use super::hooks;
use super::plan::{Plan, c_string};
use super::{Subject, seccomp};
use crate::config::{Invalid, Located, Pointer, annotations};
use aril_plan::{Ask, Op, Slot};
use capabilities::{Grantable, Sets};
use rlimits::Rlimit;
use user::{Credentials, Userns};

/// umask(2) of a container whose configuration names none.
const UMASK: u32 = 0o022;
/// By it the container's root finds the keyring by its name, as whoever joins it later has to (keyctl_setperm(3)).
const KEY_USR_SEARCH: u32 = 0x0008_0000;
/// `RLIMIT_NOFILE`
const NOFILE: u32 = libc::RLIMIT_NOFILE;
/// So many descriptors the executor itself needs until its last step.
const NOFILE_MIN: u64 = 64;
const CAP_SYS_ADMIN: u64 = 1 << 21;

/// The steps from the set-up container to the user's program.
pub(crate) fn set_up(plan: &mut Plan, subject: &Subject<'_>) -> Result<(), Invalid> {
    let process = subject.process;
    let at = Pointer::to("/process");
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    let sets = capability_sets(plan, subject);
    if annotations::get(subject.request.spec, annotations::SECCOMP_FAIL_UNKNOWN_SYSCALL).is_some() {
        subject.linux.seccomp().as_ref().map_or(Ok(()), |s| seccomp::names::check(s, &Pointer::to("/linux/seccomp")))?;
    }
    let compiled =
        match (subject.request.filter, annotations::get(subject.request.spec, annotations::SECCOMP_BPF_DATA), subject.linux.seccomp()) {
            (None, Some(raw), _) => Some(seccomp::raw::resolve(raw, &annotations::pointer(annotations::SECCOMP_BPF_DATA))?),
            (None, None, Some(profile)) => Some(seccomp::resolve(profile, &Pointer::to("/linux/seccomp"))?),
            _ => None,
        };
    let filter = subject.request.filter.or(compiled.as_ref());
    // Without no_new_privs a filter can be loaded by CAP_SYS_ADMIN alone: it is kept until then.
    let lend = if filter.is_some() && !no_new_privileges { CAP_SYS_ADMIN & !sets.effective } else { 0 };

    keyring(plan, subject)?;
    if subject.request.exec.is_none() {
        labels::label(plan, subject)?;
    }
    personality(plan, subject)?;
    memory_policy::set(plan, subject.linux.memory_policy().as_ref(), &Pointer::to("/linux/memoryPolicy"))?;
    cpus(plan, subject, &at)?;
    scheduling::ask(plan, process, &at)?;
    let late_limits = limits(plan, subject)?;
    if subject.request.program {
        program::home(plan, subject, &at)?;
    }
    credentials(plan, subject, sets, lend)?;
    program::cwd(plan, subject)?;
    if subject.request.program {
        program::find(plan, subject)?;
    }
    if no_new_privileges {
        plan.part(&at.of("noNewPrivileges"), "cannot set no_new_privs");
        plan.push(Op::NoNewPrivileges {});
    }
    let output = hooks::late_output(plan, subject)?;
    gate(plan, subject, output);
    if !subject.request.program {
        // Nobody opens this gate: `start` refuses.
        plan.filter = filter.cloned();
        return Ok(());
    }
    hooks::before_exec(plan, subject, output)?;
    plan.part(&Pointer::default(), "cannot close the descriptors of the runtime");
    plan.push(Op::CloseFrom { first: 3 + subject.request.preserve_fds });
    for Located { at, value } in late_limits {
        plan.part(&at, "cannot set the limit of open files");
        plan.push(Op::Rlimit { resource: value.resource, soft: value.soft, hard: value.hard });
    }
    if let Some(filter) = filter {
        plan.warnings.extend(filter.warnings.iter().cloned());
        plan.part(&Pointer::to("/linux/seccomp"), "cannot load the seccomp filter");
        plan.push(Op::Seccomp { flags: filter.flags, filter: &filter.program });
    }
    if lend != 0 {
        plan.part(&at.of("capabilities"), "cannot set the capabilities");
        push_sets(plan, sets, 0);
    }
    plan.filter = filter.cloned();
    program::exec(plan, subject)
}

/// How the runtime was pinned is not the process's business: its cgroup is, and for `exec` what was asked for.
fn cpus(plan: &mut Plan, subject: &Subject<'_>, at: &Pointer) -> Result<(), Invalid> {
    // What is wrong in it is said in any case.
    let affinity = scheduling::affinity(subject.process, at)?;
    let exec = subject.request.exec.is_some();
    if exec && affinity.last.is_empty() && !affinity.initial.is_empty() {
        // "Runtime SHOULD NOT change process' CPU affinity after the process is moved" (config.md).
        return Ok(());
    }
    if !exec || affinity.last.is_empty() {
        plan.part(&Pointer::default(), "cannot let the process run on every CPU");
        plan.push(Op::AllCpus {});
        return Ok(());
    }
    let mask: Vec<u8> = affinity.last.iter().flat_map(|word| word.to_le_bytes()).collect();
    plan.part(&at.of("execCPUAffinity").of("final"), "cannot bind the process to its CPUs");
    plan.push(Op::Cpus { mask: &mask });
    Ok(())
}

/// The end of `create`; `run` goes on at once.
fn gate(plan: &mut Plan, subject: &Subject<'_>, [stdout, stderr]: [Slot; 2]) {
    let at = Pointer::default();
    if subject.request.exec.is_some_and(|joining| !joining.waits) {
        plan.part(&at, "cannot let the process go");
        plan.push(Op::Free {});
        return;
    }
    if !subject.request.gate {
        plan.part(&at, "cannot finish the set-up");
        plan.push(Op::Created { keep: [Slot::NONE, stdout, stderr] });
        return;
    }
    plan.part(&at, "cannot wait for start");
    let listener = plan.source(super::Source::Gate);
    plan.push(Op::Listen { socket: listener });
    plan.push(Op::Created { keep: [listener, stdout, stderr] });
    plan.push(Op::Gate { listener });
}

fn capability_sets(plan: &mut Plan, subject: &Subject<'_>) -> Sets {
    let host = subject.request.host;
    let grantable = if subject.namespaces.own(super::namespaces::USER) { Grantable::in_userns(host) } else { Grantable::by(host) };
    let at = Pointer::to("/process/capabilities");
    capabilities::resolve(subject.process.capabilities().as_ref(), &at, grantable, &mut plan.warnings)
}

fn keyring(plan: &mut Plan, subject: &Subject<'_>) -> Result<(), Invalid> {
    if subject.request.no_new_keyring {
        return Ok(());
    }
    let at = Pointer::default();
    let name = c_string(format!("_ses.{}", subject.request.id), &at)?;
    plan.part(&at, "cannot join a new session keyring (--no-new-keyring leaves the caller's)");
    plan.push(Op::Keyring { name: &name, permissions: KEY_USR_SEARCH });
    Ok(())
}

/// `PER_LINUX` and `PER_LINUX32` of personality(2).
fn personality(plan: &mut Plan, subject: &Subject<'_>) -> Result<(), Invalid> {
    use crate::config::spec::LinuxPersonalityDomain as Domain;
    let Some(personality) = subject.linux.personality() else { return Ok(()) };
    plan.part(&Pointer::to("/linux/personality"), "cannot set the personality");
    let persona = match personality.domain() {
        Domain::PerLinux => 0,
        Domain::PerLinux32 => 8,
    };
    plan.push(Op::Personality { persona });
    Ok(())
}

/// Limits. What would leave the executor too few descriptors is given back, to be set at the very end: to lower a limit needs no privilege.
fn limits(plan: &mut Plan, subject: &Subject<'_>) -> Result<Vec<Located<Rlimit>>, Invalid> {
    let at = Pointer::to("/process/rlimits");
    let mut late = Vec::new();
    let limits = rlimits::resolve(subject.process.rlimits().as_deref().unwrap_or_default(), &at)?;
    if limits.is_empty() {
        return Ok(late);
    }
    if subject.namespaces.stepwise() {
        // Inside its user namespace the executor could not raise them; the host can.
        plan.part(&at, "cannot set the resource limits");
        plan.push(Op::Ask { what: Ask::Rlimits });
    }
    for Located { at, value } in limits {
        let Rlimit { resource, mut soft, hard } = value;
        if resource == NOFILE && soft < NOFILE_MIN {
            late.push(Located { at: at.clone(), value });
            if hard < NOFILE_MIN {
                continue;
            }
            soft = NOFILE_MIN;
        }
        if !subject.namespaces.stepwise() {
            plan.part(&at, format!("cannot set the limit to {} (soft) and {hard} (hard)", value.soft));
            plan.push(Op::Rlimit { resource, soft, hard });
        }
    }
    Ok(late)
}

/// What the host sets for [`Ask::Rlimits`]: all, but a number of descriptors that the executor could not live with.
///
/// # Errors
/// As of [`rlimits::resolve`].
pub fn limits_from_outside(process: &crate::config::spec::Process) -> Result<Vec<Located<Rlimit>>, Invalid> {
    let mut limits = rlimits::resolve(process.rlimits().as_deref().unwrap_or_default(), &Pointer::to("/process/rlimits"))?;
    limits.retain(|limit| limit.value.resource != NOFILE || limit.value.hard >= NOFILE_MIN);
    for limit in limits.iter_mut().filter(|limit| limit.value.resource == NOFILE) {
        limit.value.soft = limit.value.soft.max(NOFILE_MIN);
    }
    Ok(limits)
}

/// User, groups, capabilities. The order is the kernel's: the bounding set needs CAP_SETPCAP, groups need CAP_SETGID, and a change of the user
/// id clears the effective capabilities.
fn credentials(plan: &mut Plan, subject: &Subject<'_>, sets: Sets, lend: u64) -> Result<(), Invalid> {
    let maps_known = subject.namespaces.makes(super::namespaces::USER);
    let userns = maps_known.then_some(Userns { uids: &subject.uids, gids: &subject.gids, setgroups: subject.setgroups });
    let at = Pointer::to("/process/user");
    let Credentials { uid, gid, umask, groups } = user::resolve(subject.process.user(), &at, userns)?;
    // crun's annotation: a group by which the caller reaches a file of the host is one that no id map of the container has.
    let keep_groups = annotations::get(subject.request.spec, annotations::KEEP_ORIGINAL_GROUPS).is_some();
    if !subject.setgroups && !groups.is_empty() && !keep_groups {
        let why = "additional groups cannot be set in this user namespace: its /proc/self/setgroups says deny";
        return Err(Invalid::new(&at.of("additionalGids"), why));
    }
    plan.part(&at.of("umask"), "cannot set the umask");
    plan.push(Op::Umask { mask: umask.unwrap_or(UMASK) });
    plan.part(&Pointer::to("/process/capabilities"), "cannot limit the capabilities");
    plan.push(Op::BoundingSet { keep: sets.bounding });
    plan.push(Op::KeepCaps {});
    if subject.setgroups && !keep_groups {
        plan.part(&at.of("additionalGids"), "cannot set the additional groups");
        plan.push(Op::Groups { ids: &groups });
    }
    plan.part(&at.of("gid"), format!("cannot become group {gid}"));
    plan.push(Op::Gid { gid });
    plan.part(&at.of("uid"), format!("cannot become user {uid}"));
    plan.push(Op::Uid { uid });
    plan.part(&Pointer::to("/process/capabilities"), "cannot set the capabilities");
    push_sets(plan, sets, lend);
    Ok(())
}

fn push_sets(plan: &mut Plan, sets: Sets, lend: u64) {
    let Sets { effective, permitted, inheritable, ambient, .. } = sets;
    plan.push(Op::Capabilities { effective: effective | lend, permitted: permitted | lend, inheritable });
    plan.push(Op::Ambient { raise: ambient });
}
