//! `features`: what is implemented (runtime-spec, "Features Structure"), read from the tables that implement it. Nothing here depends on the machine.

use crate::compile::mounts::options::Options;
use crate::compile::process::{capabilities, memory_policy};
use crate::compile::seccomp::names;
use crate::compile::{hooks, namespaces};
use crate::config::{SPEC_VERSION, SPEC_VERSION_MIN, annotations};
use serde_json::{Value, json};

/// The features structure.
#[must_use]
pub fn features() -> Value {
    json!({
        "ociVersionMin": SPEC_VERSION_MIN,
        "ociVersionMax": SPEC_VERSION,
        "hooks": hooks::NAMES,
        "mountOptions": Options::known(),
        "linux": linux(),
        "annotations": {
            "org.aril.version": env!("CARGO_PKG_VERSION"),
            "org.aril.commit": crate::COMMIT,
            "io.github.seccomp.libseccomp.version": names::library_version(),
            // CRI-O and Podman look for it before they ask for a checkpoint.
            "org.opencontainers.runc.checkpoint.enabled": "false",
        },
        "potentiallyUnsafeConfigAnnotations": annotations::KNOWN,
    })
}

fn linux() -> Value {
    let flags = names::FLAGS.map(|flag| flag.to_string());
    json!({
        "namespaces": namespaces::KINDS.map(|(_, name)| name),
        "capabilities": capabilities::TABLE.map(|(_, name)| name).as_slice(),
        "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true },
        "seccomp": {
            "enabled": true,
            "actions": names::ACTIONS,
            "operators": names::OPERATORS,
            "archs": names::architectures(),
            "knownFlags": flags,
            "supportedFlags": flags,
        },
        "apparmor": { "enabled": true },
        "selinux": { "enabled": true },
        "memoryPolicy": { "modes": memory_policy::MODES, "flags": memory_policy::FLAGS },
        "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
        "mountExtensions": { "idmap": { "enabled": true } },
        "netDevices": { "enabled": true },
    })
}
