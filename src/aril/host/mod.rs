//! What this machine has. A plain structure, so that tests write one by hand.

pub mod features;
pub mod refusal;
#[cfg(test)]
mod table;

use crate::sys::{self, Errno};
use std::fmt;

/// How the cgroup file systems are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cgroups {
    /// cgroup2 at `/sys/fs/cgroup`.
    Unified,
    /// cgroup v1 hierarchies, with or without a cgroup2 beside them that may have controllers as well.
    Split,
    /// No cgroup file system at `/sys/fs/cgroup`.
    Absent,
}

/// Facts about the machine and about this process.
#[derive(Debug, Clone)]
pub struct Host {
    /// Major and minor version of the kernel.
    pub kernel: (u32, u32),
    /// Effective user id.
    pub euid: u32,
    /// Effective group id.
    pub egid: u32,
    /// Whether this process is in a user namespace other than the initial one.
    pub in_userns: bool,
    /// Whether `setgroups(2)` works in this process's user namespace (user_namespaces(7)).
    pub setgroups: bool,
    /// Effective capabilities, a bit each.
    pub capabilities: u64,
    /// Capabilities of the bounding set, a bit each. Known only of those that [`Host::probe_bounding`] was asked for.
    pub bounding: u64,
    /// Capabilities that the kernel knows. Likewise.
    pub known_capabilities: u64,
    /// Cgroup file systems.
    pub cgroups: Cgroups,
    /// AppArmor is enabled. Known only after [`Host::probe_modules`].
    pub apparmor: bool,
    /// SELinux is enabled. Known only after [`Host::probe_modules`].
    pub selinux: bool,
}

#[cfg(test)]
impl Host {
    /// The root of a machine with cgroup v2 and all that its kernel has.
    pub(crate) fn example() -> Host {
        Host {
            kernel: (6, 1),
            euid: 0,
            egid: 0,
            in_userns: false,
            setgroups: true,
            capabilities: u64::MAX,
            bounding: u64::MAX,
            known_capabilities: u64::MAX >> 23,
            cgroups: Cgroups::Unified,
            apparmor: false,
            selinux: false,
        }
    }
}

/// The oldest kernel that aril runs on.
pub const KERNEL_FLOOR: (u32, u32) = (5, 14);

/// The kernel is too old.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Linux {}.{} is too old: aril needs {}.{} (clone3, openat2, pidfds, mount_setattr, cgroup.kill)", .0.0, .0.1, KERNEL_FLOOR.0, KERNEL_FLOOR.1)]
pub struct TooOld(pub (u32, u32));

impl Host {
    /// Looks at the machine.
    ///
    /// # Errors
    /// The system call that failed: `/proc` may not be mounted.
    pub fn probe() -> sys::Result<Host> {
        let release = sys::process::kernel_release()?;
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
        let kernel = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let euid = sys::process::geteuid();
        let in_userns = sys::process::in_userns()?;
        let denied = || sys::fs::read_text(std::path::Path::new("/proc/self/setgroups"), 16).is_ok_and(|text| text.trim_end() == "deny");
        Ok(Host {
            kernel,
            euid,
            egid: sys::process::getegid(),
            in_userns,
            setgroups: !(in_userns && denied()),
            capabilities: sys::process::capabilities()?,
            bounding: 0,
            known_capabilities: 0,
            cgroups: match sys::fs::statfs_type(c"/sys/fs/cgroup") {
                Ok(sys::fs::CGROUP2_SUPER_MAGIC) => Cgroups::Unified,
                Ok(sys::fs::TMPFS_MAGIC) => Cgroups::Split,
                Ok(_) | Err(sys::Error { errno: Errno::ENOENT | Errno::ENOTDIR, .. }) => Cgroups::Absent,
                Err(error) => return Err(error),
            },
            apparmor: false,
            selinux: false,
        })
    }

    /// Looks for security modules: needed only for a configuration that asks for one.
    pub fn probe_modules(&mut self) {
        let read = |path: &str| sys::fs::read_text(std::path::Path::new(path), 64).unwrap_or_default();
        self.apparmor = read("/sys/module/apparmor/parameters/enabled").starts_with('Y');
        // Mounted wherever SELinux is enabled; without it the kernel has no such file system.
        self.selinux = sys::fs::statfs_type(c"/sys/fs/selinux") == Ok(sys::fs::SELINUX_MAGIC);
    }

    /// Looks for these capabilities alone: there is no call that tells of all.
    pub fn probe_bounding(&mut self, asked: u64) {
        (self.bounding, self.known_capabilities) = sys::process::bounding(asked);
    }

    /// Whether this process may do in its user namespace what root may.
    #[must_use]
    pub fn privileged(&self) -> bool {
        const CAP_SYS_ADMIN: u64 = 1 << 21;
        self.capabilities & CAP_SYS_ADMIN != 0
    }

    /// Whether it is the machine's own root, unconfined by a user namespace.
    #[must_use]
    pub fn rootful(&self) -> bool {
        self.privileged() && !self.in_userns
    }
}

impl fmt::Display for Cgroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cgroups::Unified => "cgroup v2",
            Cgroups::Split => "cgroup v1",
            Cgroups::Absent => "no cgroups",
        })
    }
}
