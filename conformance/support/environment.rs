//! Facts about this machine and the runtime, asked once. A test names the facts that it needs; one that is absent makes it a skip with that reason.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Something that a test cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A cgroup v1 hierarchy of this controller.
    V1(&'static str),
    /// A pure cgroup v2 tree at /sys/fs/cgroup.
    V2,
    /// This controller, by v1 hierarchy or enabled in the v2 tree.
    Controller(&'static str),
    /// A capability of this process, by its bit.
    Capability(&'static str, u32),
    /// A block device, and a controller that limits its use.
    BlockDevice,
    /// User namespaces can be made.
    Userns,
    /// Time namespaces are compiled into the kernel.
    TimeNamespace,
    /// At least this kernel.
    Kernel(u32, u32),
    /// A file of this machine.
    File(&'static str),
    /// A program in PATH.
    Program(&'static str),
    /// A file that this machine has not got.
    NoFile(&'static str),
    /// The runtime under test answers with this name: behaviour that no specification asks of another.
    Runtime(&'static str),
    /// AppArmor is on.
    AppArmor,
    /// SELinux is on.
    Selinux,
    /// SELinux is off.
    NoSelinux,
    /// systemd is the machine's init system.
    Systemd,
    /// It is not.
    NoSystemd,
    /// A process in a new cgroup may be scheduled in real time.
    RealTime,
    /// The file system of the temporary directory can be mounted with an id mapping.
    Idmap,
}

pub struct Environment {
    pub runtime: PathBuf,
    /// First word of what `--version` prints.
    pub name: String,
    pub version: String,
    pub kernel: (u32, u32),
    /// Controller to directory; empty on pure v2.
    pub v1: BTreeMap<String, PathBuf>,
    /// The v2 tree: /sys/fs/cgroup itself, or where a hybrid host keeps it.
    pub v2: Option<PathBuf>,
    pub pure_v2: bool,
    pub busybox: Option<PathBuf>,
    effective: u64,
}

impl Environment {
    /// Probes the machine and the runtime named by `RUNTIME`; the error is for a person to read.
    pub fn probe() -> Result<Self, String> {
        let runtime = std::env::var_os("RUNTIME").ok_or("RUNTIME is not set: it names the runtime under test")?;
        let runtime = which(Path::new(&runtime)).ok_or_else(|| format!("RUNTIME={} is no executable file", runtime.display()))?;
        let answer = Command::new(&runtime)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("{} --version: {e}", runtime.display()))?;
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        let mut words = text.lines().next().unwrap_or_default().split_whitespace();
        let name = words.next().unwrap_or("unknown").to_owned();
        let version = words.last().unwrap_or("unknown").to_owned();

        let mut v1 = BTreeMap::new();
        let mut v2 = None;
        for line in super::read("/proc/self/mountinfo").lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let at = PathBuf::from(left.split(' ').nth(4).unwrap_or_default());
            let mut right = right.split(' ');
            match right.next() {
                Some("cgroup") => {
                    for option in right.nth(1).unwrap_or_default().split(',').filter(|o| *o != "rw" && !o.contains('=')) {
                        v1.insert(option.to_owned(), at.clone());
                    }
                    if let Some(named) = line.rsplit(',').find_map(|o| o.strip_prefix("name=")) {
                        v1.insert(format!("name={named}"), at.clone());
                    }
                }
                Some("cgroup2") => v2 = Some(at),
                _ => {}
            }
        }
        let pure_v2 = v2.as_deref() == Some(Path::new("/sys/fs/cgroup"));
        if pure_v2 {
            v1.clear();
        }
        let release = super::read("/proc/sys/kernel/osrelease");
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
        let effective = u64::from_str_radix(super::field(&super::read("/proc/self/status"), "CapEff"), 16).unwrap_or(0);
        Ok(Self {
            runtime,
            name,
            version,
            kernel: (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)),
            v1,
            v2,
            pure_v2,
            busybox: ["/bin/busybox", "/usr/bin/busybox", "/sbin/busybox"].iter().map(PathBuf::from).find(|p| super::present(p)),
            effective,
        })
    }

    /// Why the need is not met here, or `None`.
    pub fn lacks(&self, need: Need) -> Option<String> {
        let reason = match need {
            Need::V1(controller) => (!self.v1.contains_key(controller)).then(|| format!("no cgroup v1 hierarchy of {controller}")),
            Need::V2 => (!self.pure_v2).then(|| "no pure cgroup v2 at /sys/fs/cgroup".to_owned()),
            Need::Controller(controller) => (!self.has_controller(controller)).then(|| format!("no cgroup controller {controller}")),
            Need::Capability(name, bit) => (self.effective & (1 << bit) == 0).then(|| format!("this process lacks {name}")),
            Need::BlockDevice => match block_device() {
                None => Some("no block device in /sys/block".to_owned()),
                Some(_) => (!self.has_controller("blkio") && !self.has_controller("io")).then(|| "no controller of block IO".to_owned()),
            },
            Need::Userns => (!userns()).then(|| "user namespaces cannot be made".to_owned()),
            Need::TimeNamespace => (!super::present("/proc/self/ns/time")).then(|| "the kernel has no time namespaces".to_owned()),
            Need::Kernel(major, minor) => (self.kernel < (major, minor)).then(|| format!("the kernel is older than {major}.{minor}")),
            Need::File(path) => (!super::present(path)).then(|| format!("no {path}")),
            Need::NoFile(path) => super::present(path).then(|| format!("there is {path}")),
            Need::Program(program) => which(Path::new(program)).is_none().then(|| format!("no program {program}")),
            Need::Runtime(name) => (self.name != name).then(|| format!("asked of {name} alone")),
            Need::Systemd => (!super::present("/run/systemd/system")).then(|| "systemd does not run here".to_owned()),
            Need::NoSystemd => super::present("/run/systemd/system").then(|| "systemd runs here".to_owned()),
            Need::AppArmor => {
                let on = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'));
                (!on).then(|| "AppArmor is off".to_owned())
            }
            Need::Selinux => (!super::present("/sys/fs/selinux/enforce")).then(|| "SELinux is off".to_owned()),
            Need::NoSelinux => super::present("/sys/fs/selinux/enforce").then(|| "SELinux is on".to_owned()),
            Need::RealTime => {
                let file = self.v1.get("cpu").map(|cpu| cpu.join("cpu.rt_runtime_us"));
                file.is_some_and(super::present).then(|| "in cgroup v1 a new cgroup has no time for real-time processes".to_owned())
            }
            Need::Idmap => (!idmap()).then(|| "the file system of the temporary directory takes no id mapping".to_owned()),
        };
        reason.map(|text| format!("needs {need:?}: {text}"))
    }

    fn has_controller(&self, controller: &str) -> bool {
        self.v1.contains_key(controller)
            || (self.pure_v2
                && std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
                    .is_ok_and(|all| all.split_whitespace().any(|c| c == controller)))
    }

    /// Where the cgroup `path` (relative to the root of the tree) stands for `controller`.
    pub fn cgroup(&self, controller: &str, path: &str) -> PathBuf {
        let root = self.v1.get(controller).cloned().or_else(|| self.v2.clone()).unwrap_or_else(|| PathBuf::from("/sys/fs/cgroup"));
        root.join(path.trim_start_matches('/'))
    }

    /// Every directory in which the cgroup `path` may stand, one per hierarchy.
    pub fn cgroups(&self, path: &str) -> Vec<PathBuf> {
        let mut roots: Vec<_> = self.v1.values().chain(&self.v2).map(|root| root.join(path.trim_start_matches('/'))).collect();
        roots.sort();
        roots.dedup();
        roots
    }
}

/// The executable file of this name, in PATH unless the name has a slash.
pub fn which(name: &Path) -> Option<PathBuf> {
    let runs = |path: &Path| std::fs::metadata(path).is_ok_and(|m| m.is_file());
    if name.components().count() > 1 {
        return std::path::absolute(name).ok().filter(|p| runs(p));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]).map(|dir| dir.join(name)).find(|p| runs(p))
}

/// `MAJOR:MINOR` of a block device that holds something.
pub fn block_device() -> Option<String> {
    let mut names: Vec<_> = std::fs::read_dir("/sys/block").ok()?.flatten().map(|entry| entry.path()).collect();
    names.sort();
    let read = |path: &Path, file: &str| std::fs::read_to_string(path.join(file)).map(|text| text.trim().to_owned()).ok();
    names.iter().find(|path| read(path, "size").is_some_and(|size| size != "0")).and_then(|path| read(path, "dev"))
}

fn userns() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| Command::new("unshare").args(["-U", "true"]).stderr(Stdio::null()).status().is_ok_and(|s| s.success()))
}

fn idmap() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    // Older mount programs know no X-mount.idmap; then the tests that need it are skipped too.
    *ANSWER.get_or_init(|| {
        Command::new("unshare")
            .args(["-m", "--propagation", "private", "mount", "--bind", "-o", "X-mount.idmap=b:0:100000:10"])
            .arg(std::env::temp_dir())
            .arg("/mnt")
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    })
}
