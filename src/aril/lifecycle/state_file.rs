//! `state.json`, with the keys that node agents and scanners read from runc's file of that name, and a copy of the record.

use super::Id;
use super::store::{COPY, Record, Store};
use crate::cgroup::Version;
use crate::error::Result;
use serde_json::{Map, Value, json};

/// The namespaces as runc names them, and their files below `/proc/PID/ns`.
const NAMESPACES: [(&str, &str); 8] = [
    ("NEWCGROUP", "cgroup"),
    ("NEWIPC", "ipc"),
    ("NEWNET", "net"),
    ("NEWNS", "mnt"),
    ("NEWPID", "pid"),
    ("NEWTIME", "time"),
    ("NEWUSER", "user"),
    ("NEWUTS", "uts"),
];

/// Writes it.
///
/// # Errors
/// The errno of the call that failed.
pub fn write(store: &Store, id: &Id, record: &Record) -> Result<()> {
    let mut state = value(id, record);
    state[COPY] = record.text()?.into();
    store.write_state(&state)
}

fn value(id: &Id, record: &Record) -> Value {
    let intent = &record.intent;
    let process = record.created.as_ref().map(|created| created.process);
    let (pid, start) = process.map_or((0, 0), |p| (p.pid, p.start));
    let namespaces: Map<String, Value> =
        NAMESPACES.iter().map(|(name, file)| ((*name).to_owned(), json!(format!("/proc/{pid}/ns/{file}")))).collect();
    let mut cgroups = Map::new();
    for hierarchy in &intent.place.hierarchies {
        let directory = json!(hierarchy.directory());
        match hierarchy.version {
            Version::V2 => drop(cgroups.insert(String::new(), directory)),
            Version::V1 => {
                for controller in &hierarchy.controllers {
                    cgroups.insert(controller.clone(), directory.clone());
                }
            }
        }
    }
    let mut labels: Vec<String> = intent.annotations.iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.push(format!("bundle={}", intent.bundle.display()));
    json!({
        "id": id.as_str(),
        "init_process_pid": pid,
        "init_process_start": start,
        "created": intent.created,
        "config": { "rootfs": intent.rootfs, "version": intent.oci_version, "labels": labels },
        "rootless": intent.owner != 0,
        "cgroup_paths": cgroups,
        "namespace_paths": namespaces,
        "external_descriptors": ["/dev/null", "/dev/null", "/dev/null"],
    })
}
