//! `apparmorProfile` and `selinuxLabel`: what the security module is to confine the program by, from its `execve(2)` on.

use crate::compile::plan::Plan;
use crate::compile::{Subject, mounts};
use crate::config::{Invalid, Pointer};
use aril_plan::Op;
use std::ffi::CStr;

/// Asks for the label through a procfs that only the executor has, so that the container's own cannot divert it (CVE-2019-16884). A module that
/// is not there is fatal: the container would run unconfined.
pub(crate) fn label(plan: &mut Plan, subject: &Subject<'_>) -> Result<(), Invalid> {
    let (process, host) = (subject.process, subject.request.host);
    if let Some(profile) = asked(process.apparmor_profile()).filter(|profile| host.apparmor || *profile != "unconfined") {
        let at = Pointer::to("/process/apparmorProfile");
        if !host.apparmor {
            return Err(Invalid::new(
                &at,
                format!("AppArmor profile {profile:?} is asked for, and AppArmor is not enabled on this machine"),
            ));
        }
        plan.part(&at, format!("cannot set the AppArmor profile {profile:?}"));
        write(plan, subject, c"self/attr/apparmor/exec", format!("exec {profile}").as_bytes(), profile);
    }
    if let Some(label) = asked(process.selinux_label()) {
        let at = Pointer::to("/process/selinuxLabel");
        if !host.selinux {
            return Err(Invalid::new(&at, format!("SELinux label {label:?} is asked for, and SELinux is not enabled on this machine")));
        }
        plan.part(&at, format!("cannot set the SELinux label {label:?}"));
        write(plan, subject, c"self/attr/exec", label.as_bytes(), label);
    }
    Ok(())
}

fn asked(label: &Option<String>) -> Option<&str> {
    label.as_deref().filter(|label| !label.is_empty())
}

/// Writes the label in the words that the module takes, and has it read back, as the label alone.
fn write(plan: &mut Plan, subject: &Subject<'_>, path: &CStr, value: &[u8], label: &str) {
    let proc = mounts::private_proc(plan, subject);
    plan.push(Op::Write { at: proc, path, value });
    // What AppArmor stacks, or takes from another policy namespace, it writes in a form of its own.
    if !label.contains("//&") && !label.starts_with(':') {
        plan.push(Op::ReadBack { at: proc, path, value: label.as_bytes() });
    }
    plan.push(Op::Close { slot: proc });
}
