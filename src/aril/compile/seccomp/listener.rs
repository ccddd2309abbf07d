//! The notify action: who is told of a system call, and what the executor needs of the profile to get there.

use super::{Filter, RETURN_ALLOW, RETURN_LOG, RETURN_NOTIFY, Rule, verdict};
use crate::config::spec::LinuxSeccomp;
use crate::config::{Invalid, Pointer};
use libseccomp::ScmpAction;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The agent to which the filter's descriptor is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Where it listens: a stream socket.
    pub path: PathBuf,
    /// What it is told besides.
    pub metadata: String,
}

impl Listener {
    /// That of a profile, if its filter has one ([`Filter::notifies`]); a relative path is meant from the bundle.
    #[must_use]
    pub fn of(seccomp: &LinuxSeccomp, bundle: &Path) -> Option<Listener> {
        use crate::config::spec::LinuxSeccompAction::ScmpActNotify;
        let rules = seccomp.syscalls().iter().flatten().any(|rule| rule.action() == ScmpActNotify);
        if !rules && seccomp.default_action() != ScmpActNotify {
            return None;
        }
        let path = path(seccomp)?;
        Some(Listener { path: bundle.join(path), metadata: seccomp.listener_metadata().clone().unwrap_or_default() })
    }
}

fn path(seccomp: &LinuxSeccomp) -> Option<&Path> {
    seccomp.listener_path().as_deref().filter(|path| !path.as_os_str().is_empty())
}

/// Checks what the profile says of its listener, and that the filter can be handed over.
///
/// Between loading the filter and the user's program the executor sends the descriptor (`sendmsg`) and waits for the host's word (`read`). A call
/// to send it that is itself notified waits for an agent that has not got the descriptor. A `read` that is notified is answered: by then it has.
///
/// # Errors
/// There is metadata for nobody, somebody is to be notified and is not named, or the filter is in the way.
pub(super) fn check(seccomp: &LinuxSeccomp, notifies: bool, filter: &Filter, rules: &[Rule], at: &Pointer) -> Result<(), Invalid> {
    let metadata = seccomp.listener_metadata().as_ref().is_some_and(|metadata| !metadata.is_empty());
    if metadata && path(seccomp).is_none() {
        return Err(Invalid::new(&at.of("listenerMetadata"), "there is no listenerPath, at which somebody would get listenerMetadata"));
    }
    if !notifies {
        return Ok(());
    }
    if path(seccomp).is_none() {
        return Err(Invalid::new(&at.of("listenerPath"), "SCMP_ACT_NOTIFY needs a listenerPath: nobody would be notified"));
    }
    let notified = rules.iter().find(|rule| rule.name == "sendmsg" && rule.action == ScmpAction::Notify);
    if notified.is_some() || verdict(filter, "sendmsg") == Some(RETURN_NOTIFY) {
        let at = notified.map_or_else(|| at.clone(), |rule| rule.at.clone());
        let why = "a profile that notifies of sendmsg cannot be loaded: the agent gets the filter's descriptor by a sendmsg, which would wait for it";
        return Err(Invalid::new(&at, why));
    }
    let passes = |name: &str| matches!(verdict(filter, name), Some(RETURN_ALLOW | RETURN_LOG));
    if !passes("sendmsg") {
        return Err(Invalid::new(at, "a profile that notifies has to allow sendmsg: the agent gets the filter's descriptor by it"));
    }
    if !passes("read") && verdict(filter, "read") != Some(RETURN_NOTIFY) {
        return Err(Invalid::new(
            at,
            "a profile that notifies has to allow read: the container waits by it until the agent has the filter's descriptor",
        ));
    }
    Ok(())
}
