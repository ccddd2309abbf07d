//! What aril uses of the kernel that a kernel can lack, or that a seccomp profile around aril can forbid: the one table of it. `docs/kernel-features.md`
//! is made of it, refusals are explained by it, and the conformance tests, which take this file in by its path, switch off every row that is in use.
//!
//! What Linux 5.0 had already, and no kernel is built without, is not in it.

/// A row.
#[derive(Debug, Clone, Copy)]
pub struct Feature {
    /// What it is called here and in the names of tests.
    pub name: &'static str,
    /// The system calls that are its own: one of them that is refused is this feature refused.
    pub calls: &'static [&'static str],
    /// The kernel that had it first, major and minor version.
    pub since: (u32, u32),
    /// What aril does with it; completes "aril needs it to".
    pub to: &'static str,
    /// What happens where it is not to be had.
    pub without: Without,
}

/// What happens without a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// The container runs all the same: how.
    Fallback(&'static str),
    /// The command fails, says why, and leaves nothing behind: which.
    Refused(&'static str),
    /// aril has no use for it as yet: what it does instead.
    Unused(&'static str),
}
use Without::{Fallback, Refused, Unused};

const fn row(name: &'static str, since: (u32, u32), calls: &'static [&'static str], to: &'static str, without: Without) -> Feature {
    Feature { name, calls, since, to, without }
}

const CREATION: Without = Refused("`create` and `run`");

/// The table.
#[rustfmt::skip]
pub const FEATURES: &[Feature] = &[
    row("clone_into_cgroup", (5, 7), &[], "have the container's first process born in its cgroup (`CLONE_INTO_CGROUP`, cgroup v2)",
        Fallback("it is moved there before it has its plan, which waits for an RCU grace period")),
    row("exec_seal", (6, 3), &[], "say that the executor's copy is to be executed and stays executable (`MFD_EXEC`, `F_SEAL_EXEC`), and that other memory files are not",
        Fallback("the copy has the other seals")),
    row("memfd_execution", (3, 17), &["memfd_create"], "run its executor from a sealed copy in memory, and hand hooks their state",
        Fallback("where `vm.memfd_noexec=2` (Linux 6.3) forbids executing it, the copy is on a tmpfs that is attached nowhere, and read-only")),
    row("cgroup_kill", (5, 14), &[], "kill all of a cgroup at once (`cgroup.kill`, cgroup v2)",
        Fallback("it is frozen, and its processes are killed one by one")),
    row("session_keyring", (2, 6), &["keyctl"], "give the container a session keyring of its own (`CONFIG_KEYS`)",
        Fallback("a kernel without keys has none to share; where a seccomp profile forbids keyctl(2) (`EPERM`), creation is refused without `--no-new-keyring`")),
    row("cpu_affinity", (2, 6), &[], "let the container run on every CPU of its cpuset, however the caller was pinned (sched_setaffinity(2))",
        Fallback("where that is forbidden it stays on the caller's CPUs")),

    row("clone3", (5, 3), &["clone3"], "start a process with its namespaces, its cgroup and a pidfd in one call", CREATION),
    row("openat2", (5, 6), &["openat2"], "resolve paths inside the container's root file system and below cgroups without being led out of them", CREATION),
    row("mount_api", (5, 2), &["open_tree", "move_mount", "fsopen", "fsconfig", "fsmount"], "make and attach mounts by descriptors, never by paths that can be exchanged", CREATION),
    row("mount_setattr", (5, 12), &["mount_setattr"], "set flags, propagation and id mappings of whole mount trees", CREATION),
    row("close_range", (5, 11), &["close_range"], "keep the caller's descriptors out of the container (`CLOSE_RANGE_CLOEXEC`)", CREATION),
    row("faccessat2", (5, 8), &["faccessat2"], "ask whether the container's user may execute the program", CREATION),
    row("pidfd_open", (5, 3), &["pidfd_open"], "know that a pid is still the process that it was", Refused("hooks of the host, `kill`, and `delete` of a container whose process lives")),
    row("pidfd_send_signal", (5, 1), &["pidfd_send_signal"], "signal a process and never another that was given its pid", Refused("`kill`, and `delete` of a container whose process lives")),
    row("waitid_pidfd", (5, 4), &["waitid"], "wait for a process by its pidfd (`P_PIDFD`)", Refused("`run` in the foreground")),
    row("bpf_devices", (5, 6), &["bpf"], "enforce device rules on cgroup v2, and exchange them at once (`BPF_PROG_TYPE_CGROUP_DEVICE`, `BPF_F_REPLACE`)",
        Refused("`create` and `run` on cgroup v2")),

    row("time_namespace", (5, 6), &[], "make a time namespace (`CONFIG_TIME_NS`)", Refused("a configuration with one")),
    row("idmapped_mount", (5, 12), &[], "map the owners of files on a mount (`MOUNT_ATTR_IDMAP`), which each file system allows or not",
        Refused("a configuration with one")),
    row("cpu_idle", (5, 15), &[], "give a cgroup the CPU only when nobody else wants it (`cpu.idle`)", Refused("a configuration with `linux.resources.cpu.idle`")),

    row("open_tree_attr", (6, 15), &["open_tree_attr"], "clone a mount and change its attributes in one call",
        Unused("open_tree(2) and mount_setattr(2), as of Linux 5.14")),
    row("open_tree_detached", (6, 15), &[], "clone a mount that is attached nowhere", Unused("the mount of the masks is attached first, and cloned from there")),
    row("open_tree_namespace", (7, 0), &[], "make a mount namespace of a tree in one call (`OPEN_TREE_NAMESPACE`)",
        Unused("a new mount namespace is a copy of the caller's, of which pivot_root(2) leaves nothing")),
    row("statmount", (6, 8), &["statmount", "listmount"], "ask for the properties of mounts, and list them", Unused("nothing that aril does needs the mount table of a container")),
    row("pidfd_inode", (6, 9), &[], "name a process for ever by the inode number of its pidfd", Fallback("pid and start time, which two processes can share for a clock tick")),
];
