//! Resource limits.

use crate::config::spec::{PosixRlimit, PosixRlimitType};
use crate::config::{Invalid, Located, Pointer};

/// A limit as `prlimit(2)` takes it. `u64::MAX` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// `RLIMIT_*`.
    pub resource: u32,
    /// What holds.
    pub soft: u64,
    /// How far the process itself may raise it.
    pub hard: u64,
}

/// Reads the limits that stand at a pointer.
///
/// # Errors
/// A resource is named twice, or the soft limit is above the hard one.
pub fn resolve(rlimits: &[PosixRlimit], at: &Pointer) -> Result<Vec<Located<Rlimit>>, Invalid> {
    let mut resolved: Vec<Located<Rlimit>> = Vec::with_capacity(rlimits.len());
    for (i, rlimit) in rlimits.iter().enumerate() {
        let at = at.of(i);
        let (soft, hard) = (rlimit.soft(), rlimit.hard());
        let resource = number(rlimit.typ());
        if let Some(other) = resolved.iter().find(|other| other.value.resource == resource) {
            return Err(Invalid::new(&at, format!("{} is limited already ({})", rlimit.typ(), other.at)));
        }
        if soft > hard {
            return Err(Invalid::new(&at, format!("{}: the soft limit {soft} is above the hard limit {hard}", rlimit.typ())));
        }
        resolved.push(Located { at, value: Rlimit { resource, soft, hard } });
    }
    Ok(resolved)
}

/// The resources by their numbers in the kernel.
const NAMES: [&str; 16] = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
];

/// The name of a resource: `RLIMIT_NOFILE`.
#[must_use]
pub fn name(resource: u32) -> String {
    format!("RLIMIT_{}", usize::try_from(resource).ok().and_then(|number| NAMES.get(number)).unwrap_or(&"?"))
}

fn number(kind: PosixRlimitType) -> u32 {
    use PosixRlimitType as Type;
    match kind {
        Type::RlimitCpu => libc::RLIMIT_CPU,
        Type::RlimitFsize => libc::RLIMIT_FSIZE,
        Type::RlimitData => libc::RLIMIT_DATA,
        Type::RlimitStack => libc::RLIMIT_STACK,
        Type::RlimitCore => libc::RLIMIT_CORE,
        Type::RlimitRss => libc::RLIMIT_RSS,
        Type::RlimitNproc => libc::RLIMIT_NPROC,
        Type::RlimitNofile => libc::RLIMIT_NOFILE,
        Type::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        Type::RlimitAs => libc::RLIMIT_AS,
        Type::RlimitLocks => libc::RLIMIT_LOCKS,
        Type::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        Type::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        Type::RlimitNice => libc::RLIMIT_NICE,
        Type::RlimitRtprio => libc::RLIMIT_RTPRIO,
        Type::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn resolved(rlimits: Value) -> Result<Vec<Located<Rlimit>>, Invalid> {
        let rlimits: Vec<PosixRlimit> = serde_json::from_value(rlimits).expect("limits are valid");
        resolve(&rlimits, &Pointer::to("/process/rlimits"))
    }

    #[test]
    fn every_resource_has_its_number() {
        for number in 0..16 {
            let limits = resolved(json!([{"type": name(number), "soft": 1, "hard": u64::MAX}])).expect("the limit is valid");
            assert_eq!(limits[0].value, Rlimit { resource: number, soft: 1, hard: u64::MAX });
        }
    }

    #[test]
    fn a_resource_is_limited_once() {
        let nofile = json!({"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2});
        let error = resolved(json!([nofile, {"type": "RLIMIT_CORE"}, nofile])).expect_err("a duplicate is an error");
        assert_eq!(error.to_string(), "RLIMIT_NOFILE is limited already (/process/rlimits/0) (/process/rlimits/2)");
    }

    #[test]
    fn soft_is_at_most_hard() {
        let error = resolved(json!([{"type": "RLIMIT_CORE", "soft": 3, "hard": 2}])).expect_err("soft above hard is an error");
        assert_eq!(error.to_string(), "RLIMIT_CORE: the soft limit 3 is above the hard limit 2 (/process/rlimits/0)");
    }
}
