//! Where it all happens, and the oracle: what is there, found without asking the runtime.

use crate::oracle::{Before, Since, systemctl};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a container is made of, besides the ordinary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Plain,
    /// With a user namespace: aril starts it by another route.
    Userns,
    /// One whose program ends, with [`crate::verbs::STATUS`].
    Ends,
}

/// The place of one run of this program. It is process 1 of a pid namespace and has a mount namespace of its own.
#[derive(Debug)]
pub struct World {
    pub runtime: String,
    pub work: PathBuf,
    pub root: PathBuf,
    /// The name of its cgroup, on every hierarchy.
    pub cgroup: String,
    /// The mount points of the hierarchies.
    pub hierarchies: Vec<PathBuf>,
    pub systemd: bool,
    /// Without rules for devices: some runtimes want `CAP_SYS_RESOURCE` for these on cgroup v2.
    no_devices: bool,
    mounts: BTreeSet<String>,
    files: BTreeSet<String>,
    fds: BTreeSet<String>,
    beyond: Before,
}

/// What is there that was not there at first.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Residue {
    pub processes: Vec<String>,
    pub cgroups: Vec<String>,
    pub mounts: Vec<String>,
    pub files: Vec<String>,
    pub state: Vec<String>,
    pub descriptors: Vec<String>,
    /// What the kernel or systemd keeps.
    pub kept: Since,
}

impl Residue {
    pub fn is_empty(&self) -> bool {
        *self == Residue::default()
    }

    /// Without what is only bookkeeping: the state directory.
    pub fn words(&self) -> String {
        let parts = [
            ("processes", &self.processes),
            ("cgroups", &self.cgroups),
            ("mounts", &self.mounts),
            ("files", &self.files),
            ("state", &self.state),
            ("descriptors of the harness", &self.descriptors),
            ("kept", &self.kept.clone().all()),
        ];
        let mut words: Vec<String> = Vec::new();
        for (name, list) in parts {
            if !list.is_empty() {
                words.push(format!("{name}: {}", list.join(" ")));
            }
        }
        words.join("; ")
    }
}

/// The container, as it can be seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// There is no process in its cgroup.
    Nothing,
    /// There is one, and it is not the user's program.
    Waits,
    /// The user's program is there.
    Runs,
}

/// The container: no other's on this machine, whose session keyring would be found as this one's.
pub fn id() -> &'static str {
    static ID: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| format!("c{}", std::process::id()) + &namespace());
    &ID
}

/// The number of the pid namespace: process 1 of one has its own.
fn namespace() -> String {
    fs::read_link("/proc/self/ns/pid").map(|ns| digits(&ns.to_string_lossy())).unwrap_or_default()
}

/// More files than this a runtime does not need for itself in the state root of one run.
const KEPT: usize = 16;
const KINDS: [Kind; 3] = [Kind::Plain, Kind::Userns, Kind::Ends];
/// Where a runtime may write, outside the bundle and the state root. systemd itself is at work in /run: there it is what it has made for units.
const STRAYS: [&str; 5] = ["/run", "/dev/shm", "/tmp", "/var/tmp", "/sys/fs/bpf"];
const STRAYS_WITH_SYSTEMD: [&str; 5] = ["/run/systemd/transient", "/dev/shm", "/tmp", "/var/tmp", "/sys/fs/bpf"];

impl World {
    pub fn new(runtime: &str, work: &Path, systemd: bool, no_devices: bool) -> World {
        let hierarchies = hierarchies();
        assert!(!hierarchies.is_empty(), "there is no cgroup file system below /sys/fs/cgroup");
        // Whatever descends from this process is a child of it in the end, and can be found.
        nix::sys::prctl::set_child_subreaper(true).expect("prctl");
        let name = if systemd { format!("{}.slice", id()) } else { format!("aril-faults-{}", id()) };
        assert!(!systemd || systemctl(&["start", &name]), "systemd cannot start {name}");
        let mut world = World {
            runtime: runtime.to_owned(),
            work: work.to_owned(),
            root: work.join("state"),
            cgroup: name,
            hierarchies,
            systemd,
            no_devices,
            mounts: BTreeSet::new(),
            files: BTreeSet::new(),
            fds: BTreeSet::new(),
            beyond: Before::default(),
        };
        for hierarchy in world.hierarchies.iter().filter(|_| !systemd) {
            let dir = hierarchy.join(&world.cgroup);
            fs::create_dir_all(&dir).expect("a cgroup");
            inherit_cpuset(hierarchy, &dir);
            // On v2 what the container is to be limited by.
            for controller in ["memory", "pids", "cpu"] {
                let _ = fs::write(hierarchy.join("cgroup.subtree_control"), format!("+{controller}"));
                let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
            }
        }
        fs::create_dir_all(&world.root).expect("a state root");
        for kind in KINDS {
            world.bundle(kind);
        }
        // What a runtime makes at its first use is not the container's.
        let _ = std::process::Command::new(runtime).arg("--root").arg(&world.root).arg("list").output();
        world.rebase();
        world
    }

    /// What is there now is not anybody's residue.
    pub fn rebase(&mut self) {
        self.mounts = mounts();
        self.files = self.file_list();
        self.fds = fds();
        self.beyond = Before::now(self.systemd);
    }

    pub fn bundle_of(&self, kind: Kind) -> PathBuf {
        self.work.join(match kind {
            Kind::Plain => "bundle",
            Kind::Userns => "bundle-userns",
            Kind::Ends => "bundle-ends",
        })
    }

    pub fn has(&self, controller: &str) -> bool {
        self.hierarchies.iter().any(|h| {
            h.file_name().is_some_and(|name| name == controller)
                || fs::read_to_string(h.join("cgroup.controllers")).is_ok_and(|c| c.split_whitespace().any(|c| c == controller))
        })
    }

    fn bundle(&self, kind: Kind) {
        let bundle = self.bundle_of(kind);
        let bin = bundle.join("rootfs/bin");
        for dir in ["rootfs/bin", "rootfs/proc", "rootfs/dev", "rootfs/sys", "rootfs/etc", "hooks"] {
            fs::create_dir_all(bundle.join(dir)).expect("a directory");
        }
        fs::copy("/bin/busybox", bin.join("busybox")).expect("busybox");
        for applet in ["sh", "sleep", "true", "cat", "false", "kill"] {
            let _ = std::os::unix::fs::symlink("busybox", bin.join(applet));
        }
        fs::copy("/bin/busybox", bundle.join("hooks/busybox")).expect("busybox");
        fs::write(bundle.join("rootfs/etc/hosts"), "").expect("a file to mount on");
        self.write_config(kind, &self.config(kind));
    }

    pub fn write_config(&self, kind: Kind, config: &Value) {
        fs::write(self.bundle_of(kind).join("config.json"), config.to_string()).expect("config.json");
    }

    pub fn hook(&self, script: &str) -> Value {
        json!({"path": self.bundle_of(Kind::Plain).join("hooks/busybox"), "args": ["sh", "-c", script]})
    }

    pub fn config(&self, kind: Kind) -> Value {
        let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
        let hook = self.hook("exit 0");
        let inside = json!({"path": "/bin/busybox", "args": ["true"]});
        let mut config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0}, "args": ["/bin/sleep", "1000"], "env": ["PATH=/bin"], "cwd": "/",
                "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
                "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 512, "soft": 512}],
                "noNewPrivileges": true
            },
            "root": {"path": "rootfs"},
            "hostname": "faults",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
                {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
                {"destination": "/etc/hosts", "type": "bind", "source": "/etc/hosts", "options": ["rbind", "ro"]}
            ],
            "hooks": {
                "createRuntime": [hook], "poststart": [hook], "poststop": [hook],
                "createContainer": [hook], "startContainer": [inside]
            },
            "linux": {
                "cgroupsPath": if self.systemd { format!("{}:aril:{}", self.cgroup, id()) } else { format!("/{}/{}", self.cgroup, id()) },
                "resources": {"devices": [{"allow": false, "access": "rwm"}]},
                "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
                "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                    "syscalls": [{"names": ["kexec_load", "swapon"], "action": "SCMP_ACT_ERRNO"}]},
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
                "readonlyPaths": ["/proc/bus", "/proc/sys"]
            }
        });
        if self.hierarchies.len() == 1 {
            config["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({"type": "cgroup"}));
        }
        if self.no_devices {
            config["linux"]["resources"] = json!({});
        }
        if self.has("pids") {
            config["linux"]["resources"]["pids"] = json!({"limit": 64});
        }
        if self.has("memory") {
            config["linux"]["resources"]["memory"] = json!({"limit": 256 << 20});
        }
        if kind == Kind::Ends {
            config["process"]["args"] = json!(["/bin/sh", "-c", format!("exit {}", crate::verbs::STATUS)]);
        }
        if kind == Kind::Userns {
            config["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({"type": "user"}));
            let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map;
        }
        config
    }

    /// The container's directories on the hierarchies.
    fn container_cgroups(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let below = if self.systemd { format!("{}/{}", self.cgroup, scope()) } else { format!("{}/{}", self.cgroup, id()) };
        self.hierarchies.iter().map(move |h| h.join(&below))
    }

    /// The processes in the container's cgroup.
    pub fn members(&self) -> Vec<i32> {
        let mut pids = BTreeSet::new();
        for dir in self.container_cgroups() {
            below(&dir, &mut |dir| {
                pids.extend(fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines().filter_map(|l| l.parse::<i32>().ok()));
            });
        }
        pids.into_iter().filter(|pid| alive(*pid)).collect()
    }

    /// The container's first process.
    pub fn init(&self) -> Option<i32> {
        self.members().into_iter().min()
    }

    pub fn seen(&self) -> Seen {
        let members = self.members();
        let runs = |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.to_string_lossy().contains("busybox"));
        match members.as_slice() {
            [] => Seen::Nothing,
            some if some.iter().any(runs) => Seen::Runs,
            _ => Seen::Waits,
        }
    }

    pub fn frozen(&self) -> bool {
        self.container_cgroups().any(|dir| {
            fs::read_to_string(dir.join("freezer.state")).is_ok_and(|s| s.starts_with("FROZEN"))
                || fs::read_to_string(dir.join("cgroup.events")).is_ok_and(|s| s.contains("frozen 1"))
        })
    }

    pub fn knob(&self, files: &[&str]) -> Option<String> {
        self.container_cgroups()
            .find_map(|dir| files.iter().find_map(|f| fs::read_to_string(dir.join(f)).ok()))
            .map(|s| s.trim().to_owned())
    }

    /// What there is, at this instant.
    pub fn look(&self) -> Residue {
        let processes = others();
        let mut residue = Residue { processes: processes.iter().map(|pid| described(*pid)).collect(), ..Residue::default() };
        for hierarchy in &self.hierarchies {
            let top = hierarchy.join(&self.cgroup);
            below(&top, &mut |dir| {
                if dir != top {
                    residue.cgroups.push(dir.display().to_string());
                }
            });
        }
        residue.mounts = mounts().difference(&self.mounts).cloned().collect();
        let files = self.file_list();
        residue.files = files.symmetric_difference(&self.files).cloned().collect();
        residue.state = names(&self.root).into_iter().filter(|name| !name.starts_with('.')).collect();
        residue.state.extend(self.half_kept());
        residue.descriptors = fds().symmetric_difference(&self.fds).cloned().collect();
        residue.kept = self.beyond.since();
        residue
    }

    /// The same, and the programs and keyrings, which take their time to go: what is left of them is looked for after many points.
    pub fn look_whole(&self) -> Residue {
        let mut residue = self.look();
        let tops: Vec<PathBuf> = self.hierarchies.iter().map(|hierarchy| hierarchy.join(&self.cgroup)).collect();
        residue.kept = self.beyond.slow(&others(), &tops, &self.hierarchies);
        residue.kept.units = self.units();
        // Hidden ones are no containers but what a runtime keeps for itself, for as many as there are kinds of containers here. Whatever grows with
        // what happens to it is left behind.
        let hidden = names(&self.root).into_iter().filter(|name| name.starts_with('.'));
        let mut kept = BTreeSet::new();
        hidden.for_each(|name| walk(&self.root.join(name), &mut kept));
        if kept.len() > KEPT {
            residue.state.extend(kept);
        }
        residue
    }

    /// systemd takes its time to answer; what it has for a unit in /run is looked at each time.
    fn units(&self) -> Vec<String> {
        if self.systemd { self.beyond.units() } else { Vec::new() }
    }

    /// The same with systemd's units.
    pub fn settle_units(&self, patience: Duration) -> Residue {
        let end = Instant::now() + patience;
        loop {
            let mut residue = self.settle(patience);
            residue.kept.units = self.units();
            if !self.systemd || residue.is_empty() || Instant::now() > end {
                return residue;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What runtimes keep for later containers has the name of a hash: another one is a temporary file that was left.
    fn half_kept(&self) -> Vec<String> {
        let mut files = BTreeSet::new();
        walk(&self.root, &mut files);
        let hidden = format!("{}/.", self.root.display());
        let paths = files.iter().filter(|line| line.starts_with(&hidden)).filter_map(|line| line.rsplitn(3, ' ').last());
        let hash = |name: &str| name.len() >= 16 && name.chars().all(|c| c.is_ascii_hexdigit());
        paths.filter(|path| !Path::new(path).is_dir() && !path.rsplit('/').next().is_some_and(hash)).map(str::to_owned).collect()
    }

    /// Takes away what a runtime keeps for later containers: it has everything to do, as for the first one.
    pub fn forget(&self) {
        for name in names(&self.root).into_iter().filter(|name| name.starts_with('.')) {
            let path = self.root.join(name);
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
    }

    /// What is left when everything that is about to end has had a moment for it.
    pub fn settle(&self, patience: Duration) -> Residue {
        let end = Instant::now() + patience;
        let mut pause = Duration::from_micros(500);
        loop {
            reap();
            let residue = self.look();
            // Nothing else goes on its own.
            if residue.is_empty() || residue.processes.is_empty() || Instant::now() > end {
                return residue;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Takes away what a runtime left, so that the next point begins clean.
    pub fn clear(&self) {
        for pid in others() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        for dir in self.container_cgroups() {
            let _ = fs::write(dir.join("cgroup.freeze"), "0");
            let _ = fs::write(dir.join("freezer.state"), "THAWED");
        }
        let end = Instant::now() + crate::trace::slowly(Duration::from_secs(5));
        while !others().is_empty() && Instant::now() < end {
            reap();
            std::thread::sleep(Duration::from_millis(1));
        }
        for line in mounts().difference(&self.mounts) {
            if let Some(at) = line.split(' ').nth(4) {
                let _ = nix::mount::umount2(at, nix::mount::MntFlags::MNT_DETACH);
            }
        }
        if self.systemd {
            systemctl(&["stop", &scope()]);
            systemctl(&["reset-failed", &scope()]);
        }
        self.remove_cgroups();
        for name in names(&self.root) {
            let path = self.root.join(name);
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
        for path in self.file_list().difference(&self.files) {
            let path = path.split(' ').next().unwrap_or_default();
            let _ = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
        }
    }

    /// Removes the cgroups of containers, which are empty.
    pub fn remove_cgroups(&self) {
        for hierarchy in &self.hierarchies {
            let top = hierarchy.join(&self.cgroup);
            let mut dirs = Vec::new();
            below(&top, &mut |dir| dirs.push(dir.to_owned()));
            for dir in dirs.iter().filter(|dir| **dir != top).rev() {
                let _ = fs::remove_dir(dir);
            }
        }
    }

    pub fn strays(&self) -> [&'static str; 5] {
        if self.systemd { STRAYS_WITH_SYSTEMD } else { STRAYS }
    }

    fn file_list(&self) -> BTreeSet<String> {
        let mut list = BTreeSet::new();
        for kind in KINDS {
            walk(&self.bundle_of(kind), &mut list);
        }
        for dir in self.strays() {
            walk(Path::new(dir), &mut list);
        }
        list.extend(names(&self.work).into_iter().filter(|n| !is_own(n)).map(|n| self.work.join(n).display().to_string()));
        list
    }

    /// Removes its cgroups.
    pub fn end(&self) {
        self.clear();
        if self.systemd {
            systemctl(&["stop", &self.cgroup]);
        }
        for hierarchy in &self.hierarchies {
            let _ = fs::remove_dir(hierarchy.join(&self.cgroup));
        }
    }
}

/// What the container's scope is called.
fn scope() -> String {
    format!("aril-{}.scope", id())
}

/// This program's own files in the working directory.
fn is_own(name: &str) -> bool {
    ["state", "bundle", "bundle-userns", "bundle-ends"].contains(&name)
        || Path::new(name).extension().is_some_and(|e| ["out", "err", "json", "scratch"].iter().any(|own| e == *own))
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<PathBuf> = mounts
        .lines()
        .filter(|line| line.contains(" - cgroup"))
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|at| at.starts_with("/sys/fs/cgroup"))
        .map(PathBuf::from)
        .collect();
    found.sort();
    found.dedup();
    found
}

fn inherit_cpuset(above: &Path, dir: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Ok(value) = fs::read_to_string(above.join(file)) {
            let _ = fs::write(dir.join(file), value.trim());
        }
    }
}

pub fn below(dir: &Path, see: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    see(dir);
    for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        below(&entry.path(), see);
    }
}

fn walk(dir: &Path, list: &mut BTreeSet<String>) {
    use std::os::unix::fs::MetadataExt;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(data) = entry.path().symlink_metadata() else { continue };
        list.insert(format!("{} {:o} {}", entry.path().display(), data.mode(), if data.is_file() { data.len() } else { 0 }));
        if data.is_dir() {
            walk(&entry.path(), list);
        }
    }
}

pub fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn mounts() -> BTreeSet<String> {
    fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines().map(str::to_owned).collect()
}

fn fds() -> BTreeSet<String> {
    let dir = Path::new("/proc/self/fd");
    let open = names(dir).into_iter().filter_map(|fd| Some(format!("{fd} {}", fs::read_link(dir.join(&fd)).ok()?.display())));
    open.filter(|line| !line.contains("/proc/")).collect() // that of the directory itself
}

/// What descends from this process; as the first one of a pid namespace it has all there are.
fn others() -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap_or(1);
    let all = names(Path::new("/proc")).into_iter().filter_map(|n| n.parse::<i32>().ok()).filter(|pid| *pid != own);
    if own == 1 {
        return all.filter(|pid| alive(*pid)).collect();
    }
    let parents: Vec<(i32, i32)> = all.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![own];
    let mut at = 0;
    while let Some(above) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        at += 1;
    }
    found.into_iter().skip(1).filter(|pid| alive(*pid)).collect()
}

fn described(pid: i32) -> String {
    format!("{}({pid})", fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim())
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim().chars().next()
}

/// A zombie is dead: it waits for its parent.
pub fn alive(pid: i32) -> bool {
    state(pid).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Takes the end of processes that were left to this one.
pub fn reap() {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}
