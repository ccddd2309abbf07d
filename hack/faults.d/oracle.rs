//! What the kernel and systemd keep for somebody and show in no directory of the container's: BPF programs, keyrings, namespaces, units.

use crate::world::names;
use nix::libc;
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What was there at first.
#[derive(Debug, Default)]
pub struct Before {
    newest_program: u32,
    keyrings: BTreeSet<String>,
    namespaces: BTreeSet<String>,
    units: BTreeSet<String>,
}

/// What came since.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Since {
    pub programs: Vec<String>,
    pub keyrings: Vec<String>,
    pub namespaces: Vec<String>,
    pub units: Vec<String>,
}

impl Before {
    pub fn now(systemd: bool) -> Before {
        Before {
            newest_program: std::iter::successors(Some(0), |id| next_program(*id)).last().unwrap_or(0),
            keyrings: keyrings(),
            namespaces: namespaces(&[]),
            units: if systemd { units() } else { BTreeSet::new() },
        }
    }

    /// What this process holds.
    pub fn since(&self) -> Since {
        Since { namespaces: held().difference(&self.namespaces).cloned().collect(), ..Since::default() }
    }

    /// Units, for which systemd has to be asked.
    pub fn units(&self) -> Vec<String> {
        units().difference(&self.units).cloned().collect()
    }

    /// What the kernel takes away in its own time, some ten milliseconds after the last who had it, and what others than `own` hold, which are
    /// looked at by themselves. `tops` are the cgroups whose programs are no others'.
    pub fn slow(&self, own: &[i32], tops: &[PathBuf], hierarchies: &[PathBuf]) -> Since {
        let mut ids: Vec<u32> = std::iter::successors(Some(self.newest_program), |id| next_program(*id)).skip(1).collect();
        if !ids.is_empty() {
            let others = attached(hierarchies, tops);
            ids.retain(|id| !others.contains(id) && is_of_cgroups(*id));
        }
        Since {
            programs: ids.into_iter().map(|id| format!("BPF program {id}")).collect(),
            keyrings: keyrings().difference(&self.keyrings).cloned().collect(),
            namespaces: namespaces(own).difference(&self.namespaces).cloned().collect(),
            ..Since::default()
        }
    }
}

impl Since {
    pub fn all(self) -> Vec<String> {
        [self.programs, self.keyrings, self.namespaces, self.units].concat()
    }
}

const BPF_PROG_LOAD: u32 = 5;
const BPF_PROG_GET_NEXT_ID: u32 = 11;
const BPF_PROG_GET_FD_BY_ID: u32 = 13;
const BPF_OBJ_GET_INFO_BY_FD: u32 = 15;
const BPF_PROG_QUERY: u32 = 16;
const CGROUP_DEVICE: u32 = 15;
/// `BPF_CGROUP_DEVICE` of `enum bpf_attach_type`.
const ATTACH_CGROUP_DEVICE: u32 = 6;

/// `bpf(2)`; the attributes are these words, and what the kernel writes into them.
#[allow(unsafe_code)]
fn bpf(command: u32, words: &mut [u32; 32]) -> Option<i32> {
    // SAFETY: the attributes and their size; the addresses in them are of buffers that the callers have.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, words.as_mut_ptr(), size_of_val(words)) };
    i32::try_from(result).ok().filter(|result| *result >= 0)
}

fn words(first: &[u32]) -> [u32; 32] {
    let mut words = [0; 32];
    words[..first.len()].copy_from_slice(first);
    words
}

fn halves(address: u64) -> [u32; 2] {
    [(address & 0xffff_ffff) as u32, (address >> 32) as u32]
}

#[allow(unsafe_code)]
fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel just made it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The next of all programs on the machine; `None` too where that may not be asked (it takes `CAP_SYS_ADMIN`).
fn next_program(id: u32) -> Option<u32> {
    let mut attr = words(&[id]);
    bpf(BPF_PROG_GET_NEXT_ID, &mut attr).map(|_| attr[1])
}

/// Whether the programs of the machine can be counted.
pub fn sees_programs() -> bool {
    bpf(BPF_PROG_GET_NEXT_ID, &mut words(&[0])).is_some() || std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOENT)
}

/// One of the types that are attached to cgroups: those of tracing and of networking are no container's.
fn is_of_cgroups(id: u32) -> bool {
    let Some(file) = bpf(BPF_PROG_GET_FD_BY_ID, &mut words(&[id])).map(owned) else { return false };
    let mut info = [0_u32; 64];
    let [low, high] = halves(info.as_mut_ptr() as u64);
    let fd = u32::try_from(file.as_raw_fd()).unwrap_or(0);
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut words(&[fd, 256, low, high])).is_some() && [8, 9, CGROUP_DEVICE, 18, 23, 25].contains(&info[0])
}

/// The device programs of all cgroups but those below `tops`.
fn attached(hierarchies: &[PathBuf], tops: &[PathBuf]) -> BTreeSet<u32> {
    let mut ids = BTreeSet::new();
    for hierarchy in hierarchies.iter().filter(|h| h.join("cgroup.controllers").exists()) {
        crate::world::below(hierarchy, &mut |dir| {
            if tops.iter().any(|top| dir.starts_with(top)) {
                return;
            }
            let Ok(file) = fs::File::open(dir) else { return };
            let mut found = [0_u32; 64];
            let [low, high] = halves(found.as_mut_ptr() as u64);
            let fd = u32::try_from(file.as_raw_fd()).unwrap_or(0);
            // target_fd, attach_type, query_flags, attach_flags, prog_ids (8 bytes), prog_cnt
            let mut attr = words(&[fd, ATTACH_CGROUP_DEVICE, 0, 0, low, high, 64]);
            if bpf(BPF_PROG_QUERY, &mut attr).is_some() {
                ids.extend(found.iter().take(attr[6] as usize));
            }
        });
    }
    ids
}

/// A device program that is attached to nothing, as long as its descriptor is open.
pub fn load_program() -> Option<OwnedFd> {
    let code: [u64; 2] = [0x0000_0001_0000_00b7, 0x95]; // r0 = 1; exit
    let license = c"GPL";
    let [code_low, code_high] = halves(code.as_ptr() as u64);
    let [license_low, license_high] = halves(license.as_ptr() as u64);
    bpf(BPF_PROG_LOAD, &mut words(&[CGROUP_DEVICE, 2, code_low, code_high, license_low, license_high])).map(owned)
}

/// Session keyrings with this run's container in their name; `/proc/keys` shows those that root may view.
fn keyrings() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/keys").unwrap_or_default();
    let named = text.lines().filter(|line| line.contains(" keyring ") && line.contains(crate::world::id()));
    named.filter_map(|line| Some(format!("keyring {}", line.split_whitespace().next()?))).collect()
}

/// A keyring that nobody but the user has.
#[allow(unsafe_code)]
pub fn add_keyring() -> Option<i32> {
    let name = std::ffi::CString::new(format!("_ses.{}", crate::world::id())).ok()?;
    // SAFETY: two C strings, no payload, and KEY_SPEC_USER_KEYRING.
    let serial = unsafe { libc::syscall(libc::SYS_add_key, c"keyring".as_ptr(), name.as_ptr(), 0, 0, -4) };
    i32::try_from(serial).ok().filter(|serial| *serial >= 0)
}

#[allow(unsafe_code)]
pub fn remove_keyring(serial: i32) {
    // SAFETY: numbers: KEYCTL_UNLINK from KEY_SPEC_USER_KEYRING.
    unsafe { libc::syscall(libc::SYS_keyctl, 9, serial, -4) };
}

const NAMESPACES: [&str; 8] = ["cgroup:[", "ipc:[", "mnt:[", "net:[", "pid:[", "time:[", "user:[", "uts:["];

fn link(path: &Path) -> Option<String> {
    let target = fs::read_link(path).ok()?.to_string_lossy().into_owned();
    NAMESPACES.iter().any(|kind| target.starts_with(kind)).then_some(target)
}

/// The namespaces that are held by a mount, or by this process.
fn held() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for dir in ["/proc/self/fd", "/proc/self/ns"] {
        found.extend(names(Path::new(dir)).iter().filter_map(|name| link(&Path::new(dir).join(name))));
    }
    // The root of a mount of nsfs is the name of its namespace.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    found.extend(mounts.lines().filter(|line| line.contains(" - nsfs ")).filter_map(|line| line.split(' ').nth(3)).map(str::to_owned));
    found
}

/// Those too that a process other than `but` is in; the services of the system have some of their own.
fn namespaces(but: &[i32]) -> BTreeSet<String> {
    let mut found = held();
    for pid in names(Path::new("/proc")).iter().filter_map(|name| name.parse::<i32>().ok()).filter(|pid| !but.contains(pid)) {
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        if !cgroup.contains("system.slice/") && !cgroup.contains("user.slice/") {
            let dir = PathBuf::from(format!("/proc/{pid}/ns"));
            found.extend(names(&dir).iter().filter_map(|name| link(&dir.join(name))));
        }
    }
    found
}

/// Scopes and slices, and whatever failed.
fn units() -> BTreeSet<String> {
    let output = Command::new("systemctl").args(["list-units", "--all", "--full", "--plain", "--no-legend"]).stdin(Stdio::null()).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let unit = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().take(4).collect();
        let [name, _, _, state] = words.as_slice() else { return None };
        (name.ends_with(".scope") || name.ends_with(".slice") || *state == "failed").then(|| format!("unit {}", words.join(" ")))
    };
    text.lines().filter_map(unit).collect()
}

/// `systemctl` with these words.
pub fn systemctl(args: &[&str]) -> bool {
    Command::new("systemctl")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}
