//! A user namespace for a configuration that has none, where the caller is not root: without one nothing could be made. It is crun's (crun(1),
//! "Automatically create user namespace").

use super::list::user_name;
use crate::config::spec::{LinuxIdMapping, LinuxNamespace, LinuxNamespaceType, Spec};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::sys;
use serde_json::json;
use std::path::Path;

/// The largest /etc/subuid that is read, in bytes.
const SIZE_MAX: u64 = 1 << 20;

/// Adds the user namespace: the caller is its root, and the ids that /etc/subuid and /etc/subgid give to the caller follow from 1 on. Without
/// newuidmap(1) and newgidmap(1), which alone may map those, the caller's own ids are all.
///
/// # Errors
/// The types of the configuration cannot express it.
pub fn user_namespace(spec: &mut Spec, host: &Host) -> Result<()> {
    let Some(linux) = spec.linux_mut().as_mut() else { return Ok(()) };
    let mapped = |mappings: &Option<Vec<LinuxIdMapping>>| mappings.as_ref().is_some_and(|mappings| !mappings.is_empty());
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    let there = namespaces.iter().any(|namespace| namespace.typ() == LinuxNamespaceType::User);
    if host.euid == 0 || host.privileged() || there || mapped(linux.uid_mappings()) || mapped(linux.gid_mappings()) {
        return Ok(());
    }
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(LinuxNamespaceType::User);
    namespaces.push(namespace);
    let delegated = |file: &str, program: &str| if in_path(program) { ranges_of(Path::new(file), host.euid) } else { Vec::new() };
    let uids = mappings(host.euid, &delegated("/etc/subuid", "newuidmap"))?;
    let gids = mappings(host.egid, &delegated("/etc/subgid", "newgidmap"))?;
    linux.set_namespaces(Some(namespaces)).set_uid_mappings(Some(uids)).set_gid_mappings(Some(gids));
    Ok(())
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn ranges_of(file: &Path, uid: u32) -> Vec<(u32, u32)> {
    ranges(&sys::fs::read_text(file, SIZE_MAX).unwrap_or_default(), &user_name(uid), uid)
}

/// First ids and how many, of the lines for a user by name or number (subuid(5)).
fn ranges(text: &str, name: &str, uid: u32) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        ((owner == name || owner == number) && range.1 > 0 && fields.next().is_none()).then_some(range)
    };
    text.lines().filter_map(range).collect()
}

/// The caller's id as 0, the ranges from 1 on.
fn mappings(own: u32, delegated: &[(u32, u32)]) -> Result<Vec<LinuxIdMapping>> {
    let mut next = 0_u32;
    let all = [(own, 1)].into_iter().chain(delegated.iter().copied()).map_while(|(host, size)| {
        let container = next;
        next = next.checked_add(size)?;
        Some(json!({"containerID": container, "hostID": host, "size": size}))
    });
    serde_json::from_value(all.collect()).map_err(|error| Error::Other(format!("cannot map the ids of the user namespace: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(euid: u32, capabilities: u64) -> Host {
        Host { kernel: (6, 12), euid, egid: 54321, capabilities, bounding: capabilities, ..Host::example() }
    }

    fn completed(linux: serde_json::Value, host: &Host) -> serde_json::Value {
        let mut spec: Spec = serde_json::from_value(json!({"ociVersion": "1.3.0", "linux": linux})).expect("the types are right");
        user_namespace(&mut spec, host).expect("it can be said");
        let linux = serde_json::to_value(spec.linux()).expect("it is JSON");
        json!([linux["namespaces"], linux["uidMappings"], linux["gidMappings"]])
    }

    #[test]
    fn the_caller_is_root_in_it() {
        // Nobody has such an id in the machine's /etc/subuid.
        let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
        let found = completed(json!({"namespaces": [{"type": "mount"}]}), &host(54321, 0));
        assert_eq!(found, json!([[{"type": "mount"}, {"type": "user"}], map(54321), map(54321)]));
    }

    #[test]
    fn who_needs_none_gets_none() {
        let plain = json!({"namespaces": [{"type": "mount"}]});
        for host in [host(0, 0), host(0, u64::MAX), host(54321, u64::MAX)] {
            assert_eq!(completed(plain.clone(), &host)[0], json!([{"type": "mount"}]));
        }
        let joined = json!([{"type": "user", "path": "/proc/1/ns/user"}]);
        assert_eq!(completed(json!({"namespaces": joined}), &host(54321, 0))[0], joined);
        let mapped = json!([{"containerID": 0, "hostID": 7, "size": 1}]);
        assert_eq!(
            completed(json!({"namespaces": [], "uidMappings": mapped}), &host(54321, 0))[1],
            mapped,
            "it is refused for what it says"
        );
    }

    #[test]
    fn the_delegated_ids_follow() {
        let text = "root:1:2\nweb:100000:65536\n#web:5:5\n1000:300000:10\nweb:7\nweb:8:0\nweb:9:x\nweb:1:2:3\n";
        let found = ranges(text, "web", 1000);
        assert_eq!(found, [(100_000, 65536), (300_000, 10)]);
        let mapped = mappings(1000, &found).expect("it can be said");
        let triples: Vec<_> = mapped.iter().map(|map| (map.container_id(), map.host_id(), map.size())).collect();
        assert_eq!(triples, [(0, 1000, 1), (1, 100_000, 65536), (65537, 300_000, 10)]);
    }
}
