//! A bundle with a busybox root file system and the default configuration, to be edited as JSON so that invalid ones can be said too.

use super::{Value, json, write};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The busybox programs that the tests call in a container.
const APPLETS: &[&str] = &[
    "[", "cat", "chmod", "chown", "cmp", "cp", "cut", "date", "dd", "dirname", "dmesg", "echo", "env", "false", "find", "grep", "head",
    "hostname", "id", "ip", "kill", "ln", "ls", "mkdir", "mkfifo", "mknod", "mount", "mv", "nice", "od", "printf", "ps", "pwd", "readlink",
    "realpath", "rm", "rmdir", "sed", "setsid", "sh", "sleep", "sort", "stat", "stty", "sync", "sysctl", "tail", "tee", "test", "touch",
    "tr", "true", "tty", "umount", "uname", "uniq", "unshare", "wc", "whoami", "xargs",
];

/// A directory with `config.json` and `rootfs`.
pub struct Bundle {
    dir: PathBuf,
    id: String,
}

impl Bundle {
    /// Makes the bundle in `dir`, a new directory; `busybox` and `probe` are linked into its root file system.
    pub fn create(dir: PathBuf, id: String, cgroup: &str, cgroup_namespace: bool, busybox: &Path, probe: &Path) -> Self {
        let rootfs = dir.join("rootfs");
        for sub in ["bin", "dev", "etc", "proc", "sys", "tmp", "root", "mnt", "home"] {
            fs::create_dir_all(rootfs.join(sub)).expect("root file system");
        }
        fs::set_permissions(rootfs.join("tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).expect("mode of /tmp");
        fs::hard_link(busybox, rootfs.join("bin/busybox")).expect("busybox");
        fs::hard_link(probe, rootfs.join("bin/probe")).expect("probe");
        for applet in APPLETS {
            symlink("busybox", rootfs.join("bin").join(applet)).expect("applet");
        }
        write(rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\n");
        write(rootfs.join("etc/group"), "root:x:0:\nalice:x:1000:\n");
        let bundle = Self { dir, id };
        bundle.write_config(&default_config(cgroup, cgroup_namespace));
        bundle
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The id under which [`Case`](super::Case) runs it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A path in the root file system, seen from the host.
    pub fn root(&self, path: &str) -> PathBuf {
        self.dir.join("rootfs").join(path.trim_start_matches('/'))
    }

    pub fn config(&self) -> Value {
        serde_json::from_str(&super::read(self.dir.join("config.json"))).expect("config.json")
    }

    pub fn write_config(&self, config: &Value) {
        write(self.dir.join("config.json"), serde_json::to_string_pretty(config).expect("JSON"));
    }

    /// Writes a config.json that need not be JSON.
    pub fn write_raw(&self, text: &str) {
        write(self.dir.join("config.json"), text);
    }

    /// Changes the configuration.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) -> &Self {
        let mut config = self.config();
        change(&mut config);
        self.write_config(&config);
        self
    }

    /// Makes `process.args` these words.
    pub fn args(&self, args: &[&str]) -> &Self {
        self.edit(|c| c["process"]["args"] = json!(args))
    }

    /// Makes the process a shell with this script.
    pub fn sh(&self, script: &str) -> &Self {
        self.args(&["/bin/sh", "-c", script])
    }

    /// Adds a mount after the default ones.
    pub fn mount(&self, mount: Value) -> &Self {
        self.edit(|c| c["mounts"].as_array_mut().expect("mounts").push(mount))
    }

    /// Adds a bind mount of a host path.
    pub fn bind(&self, source: &Path, destination: &str, options: &[&str]) -> &Self {
        self.mount(json!({"destination": destination, "type": "bind", "source": source, "options": options}))
    }

    /// Removes the mount at `destination`.
    pub fn unmount(&self, destination: &str) -> &Self {
        self.edit(|c| c["mounts"].as_array_mut().expect("mounts").retain(|m| m["destination"] != destination))
    }

    /// Removes the namespace of this type.
    pub fn leave_namespace(&self, kind: &str) -> &Self {
        self.edit(|c| namespaces(c).retain(|n| n["type"] != kind))
    }

    /// Adds or replaces a namespace.
    pub fn namespace(&self, namespace: Value) -> &Self {
        self.edit(|c| {
            let all = namespaces(c);
            all.retain(|n| n["type"] != namespace["type"]);
            all.push(namespace);
        })
    }

    /// Puts the container in a new user namespace that maps `size` ids from 0 to `host` upward, and gives it the root file system.
    pub fn userns(&self, host: u32, size: u32) -> &Self {
        let map = json!([{"containerID": 0, "hostID": host, "size": size}]);
        self.namespace(json!({"type": "user"}));
        self.edit(|c| {
            c["linux"]["uidMappings"] = map.clone();
            c["linux"]["gidMappings"] = map;
        });
        // The container's root must reach and may write its own root file system.
        own(&self.root("/"), host);
        self
    }

    /// Adds a hook to one of the six lists.
    pub fn hook(&self, when: &str, hook: Value) -> &Self {
        self.edit(|c| {
            let hooks = c.as_object_mut().expect("config").entry("hooks").or_insert_with(|| json!({}));
            let list = hooks.as_object_mut().expect("hooks").entry(when).or_insert_with(|| json!([]));
            list.as_array_mut().expect("list").push(hook);
        })
    }

    /// Adds a hook that is a shell script.
    pub fn hook_sh(&self, when: &str, script: &str) -> &Self {
        self.hook(when, json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}))
    }
}

fn namespaces(config: &mut Value) -> &mut Vec<Value> {
    config["linux"]["namespaces"].as_array_mut().expect("namespaces")
}

fn own(dir: &Path, id: u32) {
    use std::os::unix::fs::lchown;
    lchown(dir, Some(id), Some(id)).expect("chown");
    for entry in fs::read_dir(dir).expect("directory") {
        let entry = entry.expect("entry");
        let name = entry.file_name();
        // These two are hard links to one file that all bundles share.
        if name == "busybox" || name == "probe" {
            continue;
        }
        if entry.file_type().expect("type").is_dir() {
            own(&entry.path(), id);
        } else {
            lchown(entry.path(), Some(id), Some(id)).expect("chown");
        }
    }
}

/// What the field's `spec` commands print, without a terminal, in a cgroup of the test.
fn default_config(cgroup: &str, cgroup_namespace: bool) -> Value {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["sleep", "300"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "conformance",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                "/proc/sched_debug", "/sys/firmware", "/proc/scsi"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    });
    if cgroup_namespace {
        namespaces(&mut config).push(json!({"type": "cgroup"}));
    }
    config
}
