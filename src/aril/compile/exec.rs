//! `exec`: a process beside the container's first one. It is a plan like the other, shorter where the container stands already.

use super::namespaces::{PID, USER, names};
use super::plan::{Plan, Source};
use super::{Request, Subject, process, rootfs, unsupported};
use crate::config::{Invalid, Pointer};
use aril_plan::{Op, Slot};
use std::path::Path;

/// What the process comes to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Joining<'a> {
    /// `CLONE_NEW*` of the first process's namespaces that are not the caller's own.
    pub kinds: u32,
    /// The container's root, as a path of the host: where that is not the root of a mount namespace.
    pub root: Option<&'a Path>,
    /// The caller has something to do when the process is there, before its program runs.
    pub waits: bool,
}

/// Compiles a process of a container that is there. Of the configuration it takes `process` and what `linux` says of processes.
///
/// # Errors
/// The first part of the process that cannot be, or is not supported.
pub fn compile(request: Request<'_>) -> Result<Plan, Invalid> {
    unsupported::check(request.spec)?;
    let subject = super::subject(request)?;
    let joining = request.exec.unwrap_or_default();
    let mut plan = Plan::default();
    let p = &mut plan;

    // By the host's procfs, which nobody in the container can have covered (CVE-2019-16884); the label lasts until the execve(2).
    process::labels::label(p, &subject)?;
    join(p, &subject, joining.kinds);
    if let Some(root) = joining.root {
        let root = p.source(Source::Directory { path: root.to_owned() });
        rootfs::chroot(p, root);
    }
    process::terminal::console(p, &subject, Slot::CWD)?;
    process::program::early_cwd(p, &subject)?;
    process::set_up(p, &subject)?;
    Ok(plan)
}

/// By one call, but for a user namespace that root enters: another namespace may belong to another user namespace, and into that nobody comes from
/// inside the container's.
fn join(plan: &mut Plan, subject: &Subject<'_>, kinds: u32) {
    plan.part(&Pointer::to("/linux/namespaces"), format!("cannot join the container's namespaces ({})", names(kinds)));
    let first = plan.source(Source::First);
    let apart = if subject.host_opens() { kinds & USER } else { 0 };
    for kinds in [kinds & !apart, apart].into_iter().filter(|kinds| *kinds != 0) {
        plan.push(Op::Setns { ns: first, kinds });
    }
    plan.push(Op::Close { slot: first });
    if kinds & USER != 0 {
        plan.part(&Pointer::to("/linux/uidMappings"), "cannot become root of the user namespace");
        if subject.setgroups {
            plan.push(Op::Groups { ids: &[] });
        }
        plan.push(Op::Gid { gid: 0 });
        plan.push(Op::Uid { uid: 0 });
    }
    if kinds & PID != 0 {
        plan.part(&Pointer::to("/linux/namespaces"), "cannot make the process");
        plan.push(Op::Fork { shares: true });
    }
}
