//! `mountLabel`: the SELinux context of what the container mounts.

use super::Mount;
use crate::compile::Subject;
use crate::compile::plan::c_string;
use crate::config::{Invalid, Pointer, annotations};
use std::ffi::CString;

/// How a file system takes a label.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// By the option `context=…` (mount(8)), for all that is on it.
    Option(CString),
    /// By an attribute of its root, once it is mounted.
    Attribute(CString),
}

/// The label of a new mount. One whose own options name a context has that.
///
/// What the kernel has one of for all its mounts cannot be labelled by one of them: procfs, sysfs, cgroups and their like stay as the policy has them.
/// A message queue is such a one, too, but its root takes an attribute.
pub(super) fn of(subject: &Subject<'_>, mount: &Mount<'_>) -> Result<Option<Label>, Invalid> {
    const SHARED: [&str; 15] = [
        "autofs",
        "binfmt_misc",
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "debugfs",
        "efivarfs",
        "fusectl",
        "proc",
        "pstore",
        "securityfs",
        "selinuxfs",
        "sysfs",
        "tracefs",
    ];
    let named = mount.options.data.iter().any(|option| option.starts_with("context="));
    if named || SHARED.contains(&mount.kind) {
        return Ok(None);
    }
    match asked(subject) {
        Some(label) if mount.kind == "mqueue" => Ok(Some(Label::Attribute(c_string(label, &at())?))),
        Some(label) => Ok(Some(Label::Option(option(kind(subject)?, label)?))),
        None => Ok(None),
    }
}

/// The option by which a file system of the container's that no mount of the configuration asks for has its label.
pub(crate) fn context(subject: &Subject<'_>) -> Result<Option<CString>, Invalid> {
    asked(subject).map(|label| option(kind(subject)?, label)).transpose()
}

/// A label that nobody looks at would be none.
///
/// # Errors
/// There is a label, and no SELinux; the annotation names no kind of context.
pub(super) fn check(subject: &Subject<'_>) -> Result<(), Invalid> {
    kind(subject)?;
    match asked(subject) {
        Some(label) if !subject.request.host.selinux => {
            Err(Invalid::new(&at(), format!("SELinux label {label:?} is asked for, and SELinux is not enabled on this machine")))
        }
        _ => Ok(()),
    }
}

fn at() -> Pointer {
    Pointer::to("/linux/mountLabel")
}

fn asked<'a>(subject: &Subject<'a>) -> Option<&'a str> {
    subject.linux.mount_label().as_deref().filter(|label| !label.is_empty())
}

/// Which of the options of mount(8) the label is given by: `context`, for all files, where the annotation names no other.
fn kind<'a>(subject: &Subject<'a>) -> Result<&'a str, Invalid> {
    let kind = annotations::get(subject.request.spec, annotations::MOUNT_CONTEXT_TYPE).unwrap_or("context");
    if ["context", "fscontext", "defcontext", "rootcontext"].contains(&kind) {
        return Ok(kind);
    }
    let at = Pointer::to("/annotations").of(annotations::MOUNT_CONTEXT_TYPE);
    Err(Invalid::new(&at, format!("{kind:?} is none of context, fscontext, defcontext, rootcontext")))
}

fn option(kind: &str, label: &str) -> Result<CString, Invalid> {
    c_string(format!("{kind}={label}"), &at())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_mount() {
        assert_eq!(option("rootcontext", "u:r:t:s0").expect("an option").as_c_str(), c"rootcontext=u:r:t:s0");
    }
}
