//! The steps.

use crate::codec::{In, List, Out, Wire};
use core::ffi::CStr;

/// A place in the executor's table of file descriptors: below [`Slot::OPENED`] what the host opened and passes on, from there on what steps
/// open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(pub u16);

impl Slot {
    /// `AT_FDCWD`: a path is resolved from the working directory, or from the root if absolute.
    pub const CWD: Slot = Slot(0xffff);
    /// No descriptor.
    pub const NONE: Slot = Slot(0xfffe);
    /// The first slot that a step fills.
    pub const OPENED: Slot = Slot(0x8000);

    /// Where it lies in a table that begins with `passed` descriptors.
    #[must_use]
    pub fn index(self, passed: u16) -> usize {
        match self.0.checked_sub(Self::OPENED.0) {
            Some(opened) => usize::from(passed) + usize::from(opened),
            None => usize::from(self.0),
        }
    }
}

impl Wire<'_> for Slot {
    fn encode(&self, out: &mut Out<'_>) {
        self.0.encode(out);
    }
    fn decode(from: &mut In<'_>) -> Option<Self> {
        u16::decode(from).map(Slot)
    }
}

impl<const N: usize> Wire<'_> for [Slot; N] {
    fn encode(&self, out: &mut Out<'_>) {
        self.iter().for_each(|slot| slot.encode(out));
    }
    fn decode(from: &mut In<'_>) -> Option<Self> {
        let mut slots = [Slot::NONE; N];
        for slot in &mut slots {
            *slot = Slot::decode(from)?;
        }
        Some(slots)
    }
}

macro_rules! bytes_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $tag:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant = $tag),* }

        impl Wire<'_> for $name {
            fn encode(&self, out: &mut Out<'_>) {
                (*self as u8).encode(out);
            }
            fn decode(from: &mut In<'_>) -> Option<Self> {
                match u8::decode(from)? {
                    $($tag => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

bytes_enum! {
    /// What the host does while the executor waits.
    Ask {
        /// Write the id maps of the executor's new user namespace.
        IdMaps = 1,
        /// Write the clock offsets of the time namespace that the executor's next child will be in.
        TimeOffsets = 2,
        /// Run the hooks that see the host's tree (prestart, createRuntime).
        RuntimeHooks = 3,
        /// Set the resource limits from outside, since inside the user namespace they could not be raised.
        Rlimits = 4,
        /// Set the scheduling policy from outside, which is a privilege of the machine's own root.
        Scheduler = 5,
        /// Set the I/O priority from outside, for the same reason.
        IoPriority = 6,
        /// Hand network interfaces of the host over to the network namespace, which is there.
        NetDevices = 7,
        /// Copy what the steps up to the next such one receive ([`Op::Receive`]): the answers are the copies, in order.
        Copies = 8,
        /// Move the process into the cgroup that is its own, now that the cgroup namespace is there.
        Cgroup = 9,
    }
}

bytes_enum! {
    /// What a mount point has to be.
    Kind {
        /// A directory.
        Directory = 1,
        /// Anything that is no directory; a file is made where nothing is.
        File = 2,
        /// A directory that is reached without following any symbolic link (proc, sysfs, and what else must not be redirected).
        RealDirectory = 3,
        /// What the mount itself is: a directory or a file.
        Same = 4,
        /// The same, and a symbolic link at the end is the mount point itself.
        SameLink = 5,
    }
}

macro_rules! ops {
    ($($(#[$doc:meta])* $tag:literal $name:ident { $($(#[$fdoc:meta])* $field:ident : $t:ty),* $(,)? })*) => {
        /// One step of the executor: a system call, or the few that make one thing happen.
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[allow(missing_docs)] // fields are named as the system call's parameters
        pub enum Op<'a> {
            $($(#[$doc])* $name { $($(#[$fdoc])* $field: $t),* }),*
        }

        impl Op<'_> {
            /// The name of the step, as `aril explain` prints it.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Op::$name { .. } => stringify!($name)),* }
            }
        }

        impl<'a> Wire<'a> for Op<'a> {
            fn encode(&self, out: &mut Out<'_>) {
                match self {
                    $(Op::$name { $($field),* } => { ($tag as u8).encode(out); $($field.encode(out);)* })*
                }
            }
            fn decode(from: &mut In<'a>) -> Option<Self> {
                match u8::decode(from)? {
                    $($tag => Some(Op::$name { $($field: Wire::decode(from)?),* }),)*
                    _ => None,
                }
            }
        }
    };
}

ops! {
    // Namespaces.
    /// `setns(2)`.
    1 Setns { /** A namespace, or a pidfd. */ ns: Slot, /** `CLONE_NEW*`. */ kinds: u32 }
    /// `unshare(2)`.
    2 Unshare { /** `CLONE_NEW*`. */ kinds: u32 }
    /// `clone3(2)` with `CLONE_PARENT`: the child goes on with the next step as the container's first process, the parent ends.
    3 Fork {
        /** It goes on in the memory of the parent, of which no copy is made. (In a new time namespace it would not be then, but by its `execve(2)`.) */
        shares: bool
    }
    /// The host does something and answers.
    4 Ask { what: Ask }
    /// `prctl(PR_SET_DUMPABLE)`: an unprivileged host may write the id maps of a dumpable process only.
    5 Dumpable { on: bool }

    /// Joins the network namespace that the host made meanwhile: making one takes longer than all others together.
    6 Network {}

    // Mounts and files. Paths with a slot are resolved inside that slot's directory (openat2, RESOLVE_IN_ROOT).
    /// `mount_setattr(2)` of the propagation of the mount at a path of the current root.
    10 Propagation { path: &'a CStr, recursive: bool, /** `MS_SHARED`, …. */ kind: u64 }
    /// `open_tree(2)`: a detached copy of what is at the path.
    11 OpenTree { into: Slot, at: Slot, path: &'a CStr, recursive: bool, /** A link at the end of the path is not followed. */ nofollow: bool }
    /// The next of the copies that the host was asked for: a detached mount.
    30 Receive { into: Slot }
    /// `fsopen(2)`, `fsconfig(2)`, `fsmount(2)`: a new file system, detached. Options are `key=value`, or a key alone.
    12 NewFs { into: Slot, kind: &'a CStr, options: List<'a>, /** `MOUNT_ATTR_*`. */ attr: u64 }
    /// `mount(2)` at an open mount point: for options that `fsconfig(2)` does not take, since it takes no more than 255 bytes.
    29 LegacyMount { target: Slot, kind: &'a CStr, source: &'a CStr, /** `MS_*`. */ flags: u64, data: &'a CStr }
    /// `mount_setattr(2)` of a mount.
    13 SetAttr { mount: Slot, recursive: bool, set: u64, clear: u64, propagation: u64, /** for `MOUNT_ATTR_IDMAP` */ userns: Slot }
    /// Opens a mount point in the root, made if missing.
    14 Target { into: Slot, root: Slot, path: &'a CStr, kind: Kind, /** the mount that [`Kind::Same`] means */ like: Slot }
    /// `move_mount(2)`: attaches a detached mount, and closes its mount point.
    15 MoveMount { mount: Slot, target: Slot }
    /// `open(2)` with `O_PATH` of a path of the current root, without following a link at its end.
    16 OpenPath { into: Slot, path: &'a CStr }
    /// Gives a new file system's root the mode of its mount point, if that was there before.
    27 KeepMode { target: Slot, mount: Slot }
    /// Copies what is in the root at the path into a detached mount, with owners, modes and links.
    17 CopyUp { root: Slot, path: &'a CStr, to: Slot }
    /// `mknodat(2)`, owner and mode included. A node that is there already and is the same is left as it is.
    18 Mknod { at: Slot, path: &'a CStr, /** with `S_IFMT`. */ mode: u32, major: u32, minor: u32, uid: u32, gid: u32 }
    /// `symlinkat(2)`. Where something is already it stays; but where the link has to be exact, it must be the same.
    19 Symlink { at: Slot, path: &'a CStr, to: &'a CStr, exact: bool }
    /// `pivot_root(2)` into the root, and the old root away.
    20 PivotRoot { root: Slot }
    /// Instead of it: the root moved over `/`, and `chroot(2)`.
    21 MoveRoot { root: Slot }
    /// Instead of both, where there is no mount namespace: `chroot(2)` alone.
    22 Chroot { root: Slot }
    /// Hides what is at the path: a directory behind an empty one, anything else behind the null device. Nothing there is nothing to hide.
    23 Mask { root: Slot, path: &'a CStr, directory: Slot, null: Slot }
    /// Makes what is at the path read-only, mounts below it included. Nothing there is nothing to do.
    24 ReadOnly { root: Slot, path: &'a CStr }
    /// Writes a value to a file below a slot (a private procfs), in one `write(2)`.
    25 Write { at: Slot, path: &'a CStr, value: &'a [u8] }
    /// `close(2)`: what a container's first process must not hold while it waits.
    26 Close { slot: Slot }

    /// `fsetxattr(2)` of `security.selinux` of a detached mount's root.
    62 Label { mount: Slot, label: &'a CStr }

    /// Sets the loopback interface of a new network namespace up.
    28 Loopback {}

    // The process.
    /// `sched_setaffinity(2)` to every CPU: how the runtime was pinned is not the container's business, its cpuset is.
    39 AllCpus {}
    /// `sched_setaffinity(2)`: the CPUs as a bit mask, lowest first.
    38 Cpus { mask: &'a [u8] }
    /// `sethostname(2)`.
    40 Hostname { name: &'a [u8] }
    /// `setdomainname(2)`.
    41 Domainname { name: &'a [u8] }
    /// A pseudo-terminal from the container's own devpts: its master goes to the host, its peer becomes stdin, stdout, stderr, the
    /// controlling terminal and `/dev/console`.
    42 Console { root: Slot, rows: u16, columns: u16, uid: u32, /** `/dev/console` is wanted (there is a mount namespace). */ bind: bool }
    /// `prlimit(2)` of itself.
    43 Rlimit { resource: u32, soft: u64, hard: u64 }
    /// `umask(2)`.
    44 Umask { mask: u32 }
    /// `chdir(2)`, where that was not done yet. With `early` a refused access is no fault yet: the user's own try comes later.
    45 Chdir { path: &'a CStr, early: bool, /** The directory is made if missing. */ make: bool }
    /// `keyctl(KEYCTL_JOIN_SESSION_KEYRING)`, and these permissions besides those that a new keyring has (`KEYCTL_SETPERM`).
    46 Keyring { name: &'a CStr, permissions: u32 }
    /// `prctl(PR_CAPBSET_DROP)` of every capability but these.
    47 BoundingSet { keep: u64 }
    /// `prctl(PR_SET_KEEPCAPS)`.
    48 KeepCaps {}
    /// `setgroups(2)`; the ids are little-endian `u32`s.
    49 Groups { ids: &'a [u8] }
    /// `setresgid(2)`, all three.
    50 Gid { gid: u32 }
    /// `setresuid(2)`, all three.
    51 Uid { uid: u32 }
    /// `capset(2)`.
    52 Capabilities { effective: u64, permitted: u64, inheritable: u64 }
    /// `prctl(PR_CAP_AMBIENT)`: cleared, then these raised.
    53 Ambient { raise: u64 }
    /// `prctl(PR_SET_NO_NEW_PRIVS)`.
    54 NoNewPrivileges {}
    /// `seccomp(SECCOMP_SET_MODE_FILTER)`; the filter is an array of `struct sock_filter`. With `NEW_LISTENER` its descriptor goes to the host, which
    /// answers when the agent has it.
    55 Seccomp { flags: u32, filter: &'a [u8] }
    /// `personality(2)`.
    56 Personality { persona: u32 }
    /// Looks into the root's `/etc/passwd` for the user's home, and gives the process `HOME` by it (`/` where it names none).
    57 Home { uid: u32 }

    /// `set_mempolicy(2)`; the nodes are a mask of little-endian `u64`s, none for no mask.
    60 MemoryPolicy { /** With its flags. */ mode: u32, nodes: &'a [u8] }
    /// Reads a file below a slot and compares: what it says must begin with this value, as a whole word.
    61 ReadBack { at: Slot, path: &'a CStr, value: &'a [u8] }

    // The end.
    /// Finds the program: the first candidate that is an executable file.
    70 Find { candidates: List<'a> }
    /// Everything before the user's program is done: closes all descriptors but these, says so to the host, and waits for its word. From here on
    /// the host may end.
    71 Created { keep: [Slot; 3] }
    /// The same, where the host has nothing to do then: it may end from here on.
    77 Free {}
    /// `listen(2)`: whoever connects then learns that it is this process that listens (`SO_PEERCRED`).
    76 Listen { socket: Slot }
    /// Waits for `start` on a listening socket.
    72 Gate { listener: Slot }
    /// Runs a program in the container with the container's state on its standard input.
    73 Hook {
        path: &'a CStr, args: List<'a>, env: List<'a>, /** In seconds; 0 is without end. */ timeout: u32,
        /** Files for standard output and error, where it is not a pipe of the executor's. */ output: [Slot; 2]
    }
    /// Closes every descriptor from this number on but those that report.
    74 CloseFrom { first: u32 }
    /// `execve(2)` of the program found.
    75 Exec { args: List<'a>, env: List<'a> }
}
