//! Handing a seccomp filter's descriptor over to its agent (config-linux.md, "The Container Process State").

use crate::compile::seccomp::Listener;
use crate::config::Pointer;
use crate::error::{Doing, Error, Result};
use crate::sys::socket;
use serde::Serialize;
use serde_json::value::RawValue;
use std::os::fd::{AsRawFd, OwnedFd};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    fds: [&'a str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: &'a RawValue,
}

/// Sends the descriptor of the filter of a process to the agent, over a connection of its own. `state` is the container's, as JSON.
///
/// # Errors
/// Nobody listens there, or the connection broke: the container must not run unattended.
pub fn hand_over(listener: &Listener, oci_version: &str, pid: i32, state: &str, filter: &OwnedFd) -> Result<()> {
    let send = || -> Result<()> {
        let state = RawValue::from_string(state.to_owned()).map_err(|error| Error::Other(format!("the state is no JSON: {error}")))?;
        let state = ProcessState { oci_version, fds: ["seccompFd"], pid, metadata: &listener.metadata, state: &state };
        let bytes = serde_json::to_vec(&state).map_err(|error| Error::Other(format!("cannot write the process state: {error}")))?;
        let agent = socket::connect(&listener.path)?;
        Ok(socket::send(&agent, &bytes, &[filter.as_raw_fd()])?)
    };
    send().doing_at(&Pointer::to("/linux/seccomp/listenerPath"), || "cannot hand the seccomp filter over to its agent".to_owned())
}
