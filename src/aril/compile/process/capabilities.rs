//! Capabilities: five sets of names become five masks.

use crate::config::Pointer;
use crate::config::spec::{Capabilities, Capability, LinuxCapabilities};
use crate::host::Host;

/// The capabilities by their numbers in the kernel (`linux/capability.h`), with their names.
pub const TABLE: [(Capability, &str); 41] = [
    (Capability::Chown, "CAP_CHOWN"),
    (Capability::DacOverride, "CAP_DAC_OVERRIDE"),
    (Capability::DacReadSearch, "CAP_DAC_READ_SEARCH"),
    (Capability::Fowner, "CAP_FOWNER"),
    (Capability::Fsetid, "CAP_FSETID"),
    (Capability::Kill, "CAP_KILL"),
    (Capability::Setgid, "CAP_SETGID"),
    (Capability::Setuid, "CAP_SETUID"),
    (Capability::Setpcap, "CAP_SETPCAP"),
    (Capability::LinuxImmutable, "CAP_LINUX_IMMUTABLE"),
    (Capability::NetBindService, "CAP_NET_BIND_SERVICE"),
    (Capability::NetBroadcast, "CAP_NET_BROADCAST"),
    (Capability::NetAdmin, "CAP_NET_ADMIN"),
    (Capability::NetRaw, "CAP_NET_RAW"),
    (Capability::IpcLock, "CAP_IPC_LOCK"),
    (Capability::IpcOwner, "CAP_IPC_OWNER"),
    (Capability::SysModule, "CAP_SYS_MODULE"),
    (Capability::SysRawio, "CAP_SYS_RAWIO"),
    (Capability::SysChroot, "CAP_SYS_CHROOT"),
    (Capability::SysPtrace, "CAP_SYS_PTRACE"),
    (Capability::SysPacct, "CAP_SYS_PACCT"),
    (Capability::SysAdmin, "CAP_SYS_ADMIN"),
    (Capability::SysBoot, "CAP_SYS_BOOT"),
    (Capability::SysNice, "CAP_SYS_NICE"),
    (Capability::SysResource, "CAP_SYS_RESOURCE"),
    (Capability::SysTime, "CAP_SYS_TIME"),
    (Capability::SysTtyConfig, "CAP_SYS_TTY_CONFIG"),
    (Capability::Mknod, "CAP_MKNOD"),
    (Capability::Lease, "CAP_LEASE"),
    (Capability::AuditWrite, "CAP_AUDIT_WRITE"),
    (Capability::AuditControl, "CAP_AUDIT_CONTROL"),
    (Capability::Setfcap, "CAP_SETFCAP"),
    (Capability::MacOverride, "CAP_MAC_OVERRIDE"),
    (Capability::MacAdmin, "CAP_MAC_ADMIN"),
    (Capability::Syslog, "CAP_SYSLOG"),
    (Capability::WakeAlarm, "CAP_WAKE_ALARM"),
    (Capability::BlockSuspend, "CAP_BLOCK_SUSPEND"),
    (Capability::AuditRead, "CAP_AUDIT_READ"),
    (Capability::Perfmon, "CAP_PERFMON"),
    (Capability::Bpf, "CAP_BPF"),
    (Capability::CheckpointRestore, "CAP_CHECKPOINT_RESTORE"),
];

/// The capability sets of a process, a bit for each capability.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sets {
    /// What it can ever get by `execve(2)`.
    pub bounding: u64,
    /// What it has in force.
    pub effective: u64,
    /// What it can put in force.
    pub permitted: u64,
    /// What it hands on to programs that are marked so.
    pub inheritable: u64,
    /// What it hands on to any program.
    pub ambient: u64,
}

/// What the process can be given: the masks of the executor at the moment when it drops the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grantable {
    bounding: u64,
    permitted: u64,
}

impl Grantable {
    /// In the runtime's own user namespace: what the runtime has.
    #[must_use]
    pub fn by(host: &Host) -> Self {
        Grantable { bounding: host.bounding, permitted: host.capabilities }
    }

    /// In a user namespace that the process makes or joins: all that the kernel knows.
    #[must_use]
    pub fn in_userns(host: &Host) -> Self {
        Grantable { bounding: host.known_capabilities, permitted: host.known_capabilities }
    }
}

/// Turns the sets that stand at a pointer into masks. A set that is absent is empty: nothing is inherited from the runtime.
///
/// What cannot be granted is left out, and `warnings` gets a sentence for each, as the specification has it.
#[must_use]
pub fn resolve(sets: Option<&LinuxCapabilities>, at: &Pointer, grantable: Grantable, warnings: &mut Vec<String>) -> Sets {
    let Some(sets) = sets else { return Sets::default() };
    let mut grant = |set: &str, asked: &Option<Capabilities>, limits: &[(u64, &str)]| {
        let mut granted = mask(asked);
        for (limit, why) in limits {
            for name in names(granted & !limit) {
                warnings.push(format!("capability {name} cannot be granted: {why} ({})", at.of(set)));
            }
            granted &= limit;
        }
        granted
    };
    let bounding = grant("bounding", sets.bounding(), &[(grantable.bounding, "the runtime's bounding set lacks it")]);
    let permitted = grant("permitted", sets.permitted(), &[(grantable.permitted, "the runtime does not have it")]);
    // These are the rules of capset(2) and of PR_CAP_AMBIENT_RAISE, which would refuse the whole set.
    let effective = grant("effective", sets.effective(), &[(permitted, "it is not in the permitted set")]);
    let inheritable = grant("inheritable", sets.inheritable(), &[(bounding, "it is not in the bounding set")]);
    let ambient = grant(
        "ambient",
        sets.ambient(),
        &[(permitted, "it is not in the permitted set"), (inheritable, "it is not in the inheritable set")],
    );
    Sets { bounding, effective, permitted, inheritable, ambient }
}

/// Every capability that is in one of the sets: what has to be known of the machine before they are resolved.
#[must_use]
pub fn asked(sets: Option<&LinuxCapabilities>) -> u64 {
    sets.map_or(0, |sets| mask(sets.bounding()) | mask(sets.permitted()))
}

fn mask(set: &Option<Capabilities>) -> u64 {
    let of = |set: &Capabilities| (0..).zip(TABLE).filter(|(_, (c, _))| set.contains(c)).map(|(bit, _)| 1 << bit).sum();
    set.as_ref().map_or(0, of)
}

/// The names of a mask's capabilities.
pub fn names(mask: u64) -> impl Iterator<Item = &'static str> {
    (0..).zip(TABLE).filter(move |(bit, _)| mask >> bit & 1 != 0).map(|(_, (_, name))| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const CHOWN: u64 = 1;
    const KILL: u64 = 1 << 5;
    const SYS_ADMIN: u64 = 1 << 21;
    const CHECKPOINT_RESTORE: u64 = 1 << 40;

    fn host(capabilities: u64) -> Host {
        Host { capabilities, bounding: capabilities, ..Host::example() }
    }

    fn resolved(sets: Value, grantable: Grantable) -> (Sets, Vec<String>) {
        let sets: LinuxCapabilities = serde_json::from_value(sets).expect("sets are valid");
        let mut warnings = Vec::new();
        (resolve(Some(&sets), &Pointer::to("/process/capabilities"), grantable, &mut warnings), warnings)
    }

    #[test]
    fn the_table_is_the_kernels() {
        for (number, (capability, name)) in TABLE.iter().enumerate() {
            assert_eq!(format!("CAP_{capability}"), *name);
            assert!(TABLE[..number].iter().all(|(other, _)| other != capability));
        }
        assert_eq!(TABLE.iter().position(|(_, name)| *name == "CAP_SYS_ADMIN"), Some(21));
        assert_eq!(TABLE.iter().position(|(_, name)| *name == "CAP_CHECKPOINT_RESTORE"), Some(40));
    }

    #[test]
    fn each_set_is_its_own_and_an_absent_one_is_empty() {
        let all = ["CAP_CHOWN", "CAP_KILL", "CAP_CHECKPOINT_RESTORE"];
        let (sets, warnings) =
            resolved(json!({"bounding": all, "permitted": all, "effective": ["CAP_KILL"]}), Grantable::by(&host(u64::MAX)));
        let bounding = CHOWN | KILL | CHECKPOINT_RESTORE;
        assert_eq!(sets, Sets { bounding, permitted: bounding, effective: KILL, ..Sets::default() });
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(resolve(None, &Pointer::default(), Grantable::by(&host(u64::MAX)), &mut Vec::new()), Sets::default());
    }

    #[test]
    fn what_the_runtime_lacks_is_warned_of_and_left_out() {
        let names = ["CAP_KILL", "CAP_SYS_ADMIN"];
        let (sets, warnings) = resolved(json!({"bounding": names, "permitted": names, "effective": names}), Grantable::by(&host(KILL)));
        assert_eq!((sets.bounding, sets.permitted, sets.effective), (KILL, KILL, KILL));
        assert_eq!(warnings.len(), 3);
        assert_eq!(
            warnings[0],
            "capability CAP_SYS_ADMIN cannot be granted: the runtime's bounding set lacks it (/process/capabilities/bounding)"
        );
    }

    #[test]
    fn a_user_namespace_has_all_that_the_kernel_knows() {
        let mut old = host(0);
        old.known_capabilities = u64::MAX >> (63 - 37);
        let names = ["CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"];
        let (sets, warnings) = resolved(json!({"bounding": names}), Grantable::in_userns(&old));
        assert_eq!(sets.bounding, SYS_ADMIN);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
    }

    #[test]
    fn ambient_needs_permitted_and_inheritable() {
        let (sets, warnings) = resolved(
            json!({"bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL", "CAP_CHOWN"], "inheritable": ["CAP_KILL"],
                "ambient": ["CAP_KILL", "CAP_CHOWN", "CAP_SYS_ADMIN"]}),
            Grantable::by(&host(u64::MAX)),
        );
        assert_eq!(sets.ambient, KILL);
        assert_eq!(
            warnings,
            [
                "capability CAP_SYS_ADMIN cannot be granted: it is not in the permitted set (/process/capabilities/ambient)",
                "capability CAP_CHOWN cannot be granted: it is not in the inheritable set (/process/capabilities/ambient)",
            ]
        );
    }

    #[test]
    fn inheritable_stays_within_bounding() {
        let (sets, warnings) = resolved(json!({"inheritable": ["CAP_KILL"]}), Grantable::by(&host(u64::MAX)));
        assert_eq!((sets.inheritable, warnings.len()), (0, 1));
    }
}
