//! The process of an `exec`: the container's own, or one from a file, with what the command line says of it.

use super::compact::Compact;
use crate::compile::process::capabilities::TABLE;
use crate::config::spec::{Capabilities, Capability, LinuxCapabilities, Process};
use crate::config::{self, Invalid, Loaded, Pointer};
use crate::error::{Doing, Error, Result};
use crate::sys;
use serde_json::value::RawValue;
use std::path::{Path, PathBuf};

/// What the command line says of the process.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// A file that describes it, as `process` of a configuration does; otherwise it is as the container's own process.
    pub file: Option<PathBuf>,
    /// Its program and arguments.
    pub args: Vec<String>,
    /// Its working directory.
    pub cwd: Option<PathBuf>,
    /// Variables that it has besides, or instead.
    pub env: Vec<String>,
    /// It has a terminal.
    pub terminal: bool,
    /// Its user id.
    pub uid: Option<u32>,
    /// Its group id.
    pub gid: Option<u32>,
    /// Groups that it has besides.
    pub additional_gids: Vec<u32>,
    /// Its SELinux label.
    pub selinux_label: Option<String>,
    /// Its AppArmor profile.
    pub apparmor_profile: Option<String>,
    /// It gains no privileges by execve(2).
    pub no_new_privileges: bool,
    /// Capabilities that it has besides.
    pub capabilities: Vec<Capability>,
}

impl Said {
    /// The process, in a configuration that has what else `exec` needs.
    ///
    /// # Errors
    /// The file cannot be read, or is no process; there is no program to run.
    pub fn load(&self, compact: &Compact<'_>) -> Result<Loaded> {
        let mut loaded = match &self.file {
            Some(path) => from_file(path, compact)?,
            None => from_container(compact)?,
        };
        let spec = &mut loaded.spec;
        let mut process = spec.process().clone().unwrap_or_default();
        if self.file.is_none() {
            process.set_terminal(Some(false));
            if self.args.is_empty() {
                return Err(Invalid::new(&Pointer::to("/process/args"), "args must not be empty: there is no program to run").into());
            }
        }
        self.change(&mut process);
        spec.set_process(Some(process));
        Ok(loaded)
    }

    fn change(&self, process: &mut Process) {
        if !self.args.is_empty() {
            process.set_args(Some(self.args.clone()));
        }
        if let Some(cwd) = &self.cwd {
            process.set_cwd(cwd.clone());
        }
        if !self.env.is_empty() {
            let mut env = process.env().clone().unwrap_or_default();
            env.extend(self.env.iter().cloned());
            process.set_env(Some(env));
        }
        if self.terminal {
            process.set_terminal(Some(true));
        }
        let mut user = process.user().clone();
        if let Some(uid) = self.uid {
            user.set_uid(uid);
        }
        if let Some(gid) = self.gid {
            user.set_gid(gid);
        }
        if !self.additional_gids.is_empty() {
            let mut groups = user.additional_gids().clone().unwrap_or_default();
            groups.extend(&self.additional_gids);
            user.set_additional_gids(Some(groups));
        }
        process.set_user(user);
        if self.selinux_label.is_some() {
            process.set_selinux_label(self.selinux_label.clone());
        }
        if self.apparmor_profile.is_some() {
            process.set_apparmor_profile(self.apparmor_profile.clone());
        }
        if self.no_new_privileges {
            process.set_no_new_privileges(Some(true));
        }
        if !self.capabilities.is_empty() {
            let sets = process.capabilities().clone().unwrap_or_else(no_capabilities);
            process.set_capabilities(Some(with(sets, &self.capabilities)));
        }
    }
}

fn no_capabilities() -> LinuxCapabilities {
    let mut sets = LinuxCapabilities::default();
    for set in [
        LinuxCapabilities::set_bounding,
        LinuxCapabilities::set_effective,
        LinuxCapabilities::set_inheritable,
        LinuxCapabilities::set_permitted,
        LinuxCapabilities::set_ambient,
    ] {
        set(&mut sets, None);
    }
    sets
}

/// With more capabilities. They are inheritable only where the container's process has inheritable ones at all, so that no program that is marked so
/// gains what nobody meant (CVE-2022-29162); then they are ambient too, as a process that is not root's would lose them otherwise.
fn with(mut sets: LinuxCapabilities, more: &[Capability]) -> LinuxCapabilities {
    let added = |set: &Option<Capabilities>| {
        let mut set = set.clone().unwrap_or_default();
        set.extend(more.iter().copied());
        Some(set)
    };
    sets.set_bounding(added(sets.bounding()));
    sets.set_effective(added(sets.effective()));
    sets.set_permitted(added(sets.permitted()));
    if sets.inheritable().as_ref().is_some_and(|set| !set.is_empty()) {
        sets.set_inheritable(added(sets.inheritable()));
        sets.set_ambient(added(sets.ambient()));
    }
    sets
}

/// The capability of a name, in either case, with or without `CAP_`.
///
/// # Errors
/// There is none of that name.
pub fn capability(name: &str) -> std::result::Result<Capability, String> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    TABLE.iter().find(|(_, known)| *known == full).map(|(it, _)| *it).ok_or_else(|| "unknown capability".to_owned())
}

fn from_container(compact: &Compact<'_>) -> Result<Loaded> {
    let text = text(compact.spec.get(), compact);
    let spec = serde_json::from_str(&text).map_err(|error| Error::Other(format!("the container's own process cannot be read: {error}")))?;
    Ok(Loaded { spec, process: true, text, warnings: Vec::new() })
}

fn from_file(path: &Path, compact: &Compact<'_>) -> Result<Loaded> {
    let what = || format!("cannot read the process {}", path.display());
    let process = sys::fs::read_text(path, config::SIZE_MAX).doing(what)?;
    // It stands within another text: it has to be one value.
    if let Err(error) = serde_json::from_str::<&RawValue>(&process) {
        return Err(Error::from(Invalid::new(&Pointer::default(), format!("no valid JSON: {error}")))).doing(what);
    }
    config::parse(text(&process, compact), path)
}

fn text(process: &str, compact: &Compact<'_>) -> String {
    format!(r#"{{"process":{process},"ociVersion":{},"linux":{}}}"#, serde_json::json!(compact.oci_version), compact.linux.get())
}
