//! `aril spec`

use super::flags::path;
use crate::error::{Doing, Error, Result};
use crate::host::{Cgroups, Host};
use crate::lifecycle::Global;
use crate::sys;
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Write a config.json to begin with
///
/// It runs a shell of the root file system in `rootfs` on a terminal. A file that is there already is not touched.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  aril spec --bundle /srv/web\n  aril spec --rootless")]
pub(super) struct Spec {
    /// Directory to write it to
    #[arg(short, long, value_name = "DIR", value_parser = path(), default_value = ".", hide_default_value = true)]
    pub(super) bundle: PathBuf,
    /// Name of the file, instead of config.json
    #[arg(short = 'f', long, value_name = "FILE", value_parser = path(), default_value = "config.json", hide_default_value = true)]
    pub(super) config: PathBuf,
    /// For a container that you run without root
    #[arg(long)]
    pub(super) rootless: bool,
}

impl Spec {
    pub(super) fn run(self, _: &Global) -> Result<u8> {
        let path = self.bundle.join(&self.config);
        let text =
            serde_json::to_string_pretty(&example(&Host::probe()?, self.rootless)?).map_err(|error| Error::Other(error.to_string()))?;
        write_new(&path, &(text + "\n")).doing(|| format!("cannot write {}", path.display())).map(|()| 0)
    }
}

/// A configuration, for its keys to be written in this order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Example {
    oci_version: String,
    process: Value,
    root: Value,
    hostname: String,
    mounts: Vec<Value>,
    linux: Value,
}

fn example(host: &Host, rootless: bool) -> Result<Example> {
    let mut example: Example =
        serde_json::from_str(include_str!("spec.json")).map_err(|error| Error::Other(format!("the built-in example: {error}")))?;
    if host.cgroups == Cgroups::Unified {
        change_list(&mut example.linux["namespaces"], |list| list.push(json!({ "type": "cgroup" })));
    }
    if rootless {
        make_rootless(&mut example, host);
    }
    Ok(example)
}

/// The caller becomes root inside, and what takes more than the caller's own ids goes.
fn make_rootless(example: &mut Example, host: &Host) {
    let linux = &mut example.linux;
    change_list(&mut linux["namespaces"], |list| {
        list.retain(|namespace| namespace["type"] != "network");
        list.push(json!({ "type": "user" }));
    });
    linux["uidMappings"] = json!([{ "containerID": 0, "hostID": host.euid, "size": 1 }]);
    linux["gidMappings"] = json!([{ "containerID": 0, "hostID": host.egid, "size": 1 }]);
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    for mount in &mut example.mounts {
        // sysfs belongs to the network namespace, which stays the host's.
        if mount["destination"] == "/sys" {
            *mount =
                json!({ "destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] });
        }
        // An index would put a null where there are none.
        if let Some(Value::Array(options)) = mount.get_mut("options") {
            options.retain(|option| !option.as_str().is_some_and(|text| text.starts_with("uid=") || text.starts_with("gid=")));
        }
    }
}

fn change_list(value: &mut Value, change: impl FnOnce(&mut Vec<Value>)) {
    if let Value::Array(list) = value {
        change(list);
    }
}

fn write_new(path: &Path, text: &str) -> sys::Result<()> {
    let file = sys::fs::open(path, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL, 0o666)?;
    sys::fs::write_all(file, text.as_bytes(), "config.json")
}

#[cfg(test)]
mod tests {
    use super::{example, write_new};
    use crate::config;
    use crate::host::{Cgroups, Host};
    use crate::sys::Errno;
    use serde_json::{Value, json};
    use std::path::Path;

    fn host(cgroups: Cgroups) -> Host {
        Host { euid: 1000, egid: 1001, capabilities: 0, bounding: 0, cgroups, ..Host::example() }
    }

    fn written(cgroups: Cgroups, rootless: bool) -> Value {
        let text = serde_json::to_string_pretty(&example(&host(cgroups), rootless).expect("the template is valid")).expect("it is JSON");
        config::parse(text.clone(), Path::new("config.json")).expect("it is a configuration");
        serde_json::from_str(&text).expect("it is JSON")
    }

    fn namespaces(spec: &Value) -> Vec<&str> {
        spec["linux"]["namespaces"].as_array().into_iter().flatten().filter_map(|namespace| namespace["type"].as_str()).collect()
    }

    #[test]
    fn the_default() {
        let spec = written(Cgroups::Split, false);
        assert_eq!(spec["ociVersion"], "1.3.0");
        assert_eq!(spec["process"]["args"], json!(["sh"]));
        assert_eq!(spec["process"]["capabilities"]["bounding"], json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]));
        assert_eq!(spec["process"]["noNewPrivileges"], true);
        assert_eq!(spec["root"], json!({ "path": "rootfs", "readonly": true }));
        assert_eq!(namespaces(&spec), ["pid", "network", "ipc", "uts", "mount"]);
        assert_eq!(namespaces(&written(Cgroups::Unified, false)), ["pid", "network", "ipc", "uts", "mount", "cgroup"]);
        assert_eq!(spec["mounts"].as_array().map(Vec::len), Some(7));
        assert_eq!(spec["linux"].get("seccomp"), None);
    }

    #[test]
    fn rootless() {
        let spec = written(Cgroups::Split, true);
        assert_eq!(namespaces(&spec), ["pid", "ipc", "uts", "mount", "user"]);
        assert_eq!(spec["linux"]["uidMappings"], json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]));
        assert_eq!(spec["linux"]["gidMappings"], json!([{ "containerID": 0, "hostID": 1001, "size": 1 }]));
        assert_eq!(spec["linux"].get("resources"), None);
        let mounts = spec["mounts"].as_array().expect("there are some");
        assert!(mounts.iter().all(|mount| !mount["options"].to_string().contains("gid=")));
        assert!(mounts.iter().any(|mount| mount["destination"] == "/sys" && mount["options"][0] == "rbind"));
        assert!(mounts.iter().all(|mount| mount["type"] != "sysfs"));
        assert!(mounts.iter().all(|mount| mount.get("options").is_none_or(Value::is_array)), "{mounts:?}");
    }

    #[test]
    fn an_existing_file_is_kept() {
        let dir = std::env::temp_dir().join(format!("aril-spec-{}", std::process::id()));
        std::fs::create_dir(&dir).expect("a fresh directory");
        let file = dir.join("config.json");
        write_new(&file, "first").expect("nothing is there");
        assert_eq!(write_new(&file, "second").map_err(|error| error.errno), Err(Errno::EEXIST));
        assert_eq!(std::fs::read_to_string(&file).expect("it is there"), "first");
        std::fs::remove_dir_all(&dir).expect("it is ours");
    }
}
