//! Delegation: whose the container's cgroup is (runtime-spec, "Cgroup ownership"; cgroups(7), "Cgroups v2 delegation"). With its files its own, a
//! container with a writable mount of its cgroup can make cgroups below it: systemd in a user namespace needs that.

use super::Cgroup;
use crate::config::spec::{Mount, Spec};
use crate::error::{Doing, Result};
use crate::host::{Cgroups, Host};
use crate::sys::{self, Errno};
use nix::fcntl::AtFlags;
use std::path::Path;

/// The files that the kernel lists of itself where it is older than 4.15.
const FILES: [&str; 3] = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"];

/// The user of the host to whom the cgroup is given: the one whom the container's process runs as, where there is a new cgroup namespace and the
/// cgroup file system is mounted to be written to. `new` says whether the cgroup namespace is new.
#[must_use]
pub fn resolve(spec: &Spec, new: bool, host: &Host) -> Option<u32> {
    // Whoever is not root has nobody to give it to. Delegation of cgroup v1 is not secure.
    let may = new && host.rootful() && host.cgroups == Cgroups::Unified;
    may.then_some(())?;
    spec.mounts()
        .iter()
        .flatten()
        .rev()
        .find(|mount| mount.destination() == Path::new("/sys/fs/cgroup"))
        .filter(|mount| writable(mount))?;
    let uid = spec.process().as_ref().map_or(0, |process| process.user().uid());
    let mappings = spec.linux().as_ref().and_then(|linux| linux.uid_mappings().as_deref()).unwrap_or_default();
    let mapped = mappings.iter().find_map(|map| {
        let offset = uid.checked_sub(map.container_id()).filter(|offset| *offset < map.size())?;
        map.host_id().checked_add(offset)
    });
    let uid = if mappings.is_empty() { Some(uid) } else { mapped };
    uid.filter(|uid| *uid != 0)
}

fn writable(mount: &Mount) -> bool {
    let kind = mount.typ().as_deref().unwrap_or_default();
    let options = mount.options().as_deref().unwrap_or_default();
    matches!(kind, "cgroup" | "cgroup2") && !options.iter().any(|option| matches!(option.as_str(), "ro" | "rro"))
}

/// The files' names, from what the kernel's list says where there is one.
fn listed(text: Option<&str>) -> Vec<&str> {
    text.map_or_else(|| FILES.to_vec(), |text| text.lines().collect())
}

impl Cgroup {
    /// Makes the directory and the files that the kernel lists a user's.
    ///
    /// # Errors
    /// The errno of `fchownat(2)`. A file that is listed and not there is none.
    pub fn give(&self, uid: u32) -> Result<()> {
        let Some(member) = self.v2() else { return Ok(()) };
        // Where the payload has one of its own below it, the container's stays the host's.
        let own = self.delegating().map(|(member, name)| member.dir.open(name)).transpose()?.flatten();
        let dir = own.as_ref().unwrap_or(&member.dir);
        let text = sys::fs::read_text(Path::new("/sys/kernel/cgroup/delegate"), 1 << 16);
        let give = |file: &str| dir.give(file, uid);
        let given = std::iter::once(".").chain(listed(text.as_deref().ok())).try_for_each(|file| match give(file) {
            Err(error) if error.errno == Errno::ENOENT => Ok(()),
            result => result,
        });
        given.doing(|| format!("cannot give cgroup {:?} to user {uid}", dir.path()))
    }
}

impl super::Dir {
    fn give(&self, file: &str, uid: u32) -> sys::Result<()> {
        let given = nix::unistd::fchownat(self, file, Some(uid.into()), None, AtFlags::AT_SYMLINK_NOFOLLOW);
        given.map_err(|errno| sys::Error::new("fchownat", self.path().join(file), errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn host(cgroups: Cgroups, in_userns: bool) -> Host {
        Host { in_userns, cgroups, ..Host::example() }
    }

    fn owner(options: &Value, uid: u32, mappings: &Value) -> Option<u32> {
        let spec = serde_json::from_value(json!({
            "ociVersion": "1.0.2",
            "process": {"cwd": "/", "args": ["x"], "user": {"uid": uid, "gid": 0}},
            "mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}],
            "linux": {"uidMappings": mappings}
        }));
        resolve(&spec.expect("a configuration"), true, &host(Cgroups::Unified, false))
    }

    #[test]
    fn a_writable_cgroup_is_given_to_the_user_of_the_process() {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
        let rw = json!(["nosuid", "rw"]);
        assert_eq!(owner(&rw, 0, &map), Some(100_000));
        assert_eq!(owner(&rw, 999, &map), Some(100_999));
        assert_eq!(owner(&rw, 1000, &map), None, "an id that is not mapped");
        assert_eq!(owner(&rw, 7, &json!([])), Some(7));
        assert_eq!(owner(&rw, 0, &json!([])), None, "it is root's already");
        assert_eq!(owner(&json!(["ro"]), 0, &map), None);
    }

    #[test]
    fn without_the_kernels_list_three_files_are_given() {
        assert_eq!(listed(None), ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"]);
        assert_eq!(listed(Some("cgroup.procs\nmemory.oom.group\n")), ["cgroup.procs", "memory.oom.group"]);
    }

    #[test]
    fn it_is_given_to_nobody_where_delegation_is_not_secure() {
        let spec = json!({"ociVersion": "1.0.2", "process": {"cwd": "/", "args": ["x"], "user": {"uid": 7, "gid": 0}},
            "mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup2", "source": "cgroup"}]});
        let spec: Spec = serde_json::from_value(spec).expect("a configuration");
        assert_eq!(resolve(&spec, true, &host(Cgroups::Unified, false)), Some(7));
        assert_eq!(resolve(&spec, false, &host(Cgroups::Unified, false)), None);
        assert_eq!(resolve(&spec, true, &host(Cgroups::Split, false)), None);
        assert_eq!(resolve(&spec, true, &host(Cgroups::Unified, true)), None);
    }
}
