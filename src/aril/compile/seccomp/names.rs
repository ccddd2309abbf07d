//! The names that a profile may use: what `aril features` lists.

use super::ARCHITECTURES;
use crate::config::spec::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompFilterFlag as Flag, LinuxSeccompOperator as Operator,
};
use crate::config::{Invalid, Pointer};
use libseccomp::{ScmpAction, ScmpFilterContext, ScmpSyscall, ScmpVersion};

/// The actions.
pub const ACTIONS: [Action; 9] = [
    Action::ScmpActAllow,
    Action::ScmpActErrno,
    Action::ScmpActKill,
    Action::ScmpActKillProcess,
    Action::ScmpActKillThread,
    Action::ScmpActLog,
    Action::ScmpActNotify,
    Action::ScmpActTrace,
    Action::ScmpActTrap,
];

/// The comparisons of arguments.
pub const OPERATORS: [Operator; 7] = [
    Operator::ScmpCmpEq,
    Operator::ScmpCmpGe,
    Operator::ScmpCmpGt,
    Operator::ScmpCmpLe,
    Operator::ScmpCmpLt,
    Operator::ScmpCmpMaskedEq,
    Operator::ScmpCmpNe,
];

/// The flags.
pub const FLAGS: [Flag; 4] =
    [Flag::SeccompFilterFlagLog, Flag::SeccompFilterFlagSpecAllow, Flag::SeccompFilterFlagTsync, Flag::SeccompFilterFlagWaitKillableRecv];

/// The architectures that the linked library can filter: those of the other byte order it cannot, beside the native one.
#[must_use]
pub fn architectures() -> Vec<Arch> {
    let filters = |arch| ScmpFilterContext::new(ScmpAction::Allow).is_ok_and(|mut filter| filter.add_arch(arch).is_ok());
    ARCHITECTURES.into_iter().filter(|(_, arch)| filters(*arch)).map(|(name, _)| name).collect()
}

/// The version of libseccomp that is linked: `2.5.4`.
#[must_use]
pub fn library_version() -> String {
    ScmpVersion::current().map(|version| version.to_string()).unwrap_or_default()
}

/// Looks for system calls that the library does not know, in the profile that stands at a pointer.
///
/// # Errors
/// The first one.
pub fn check(seccomp: &LinuxSeccomp, at: &Pointer) -> Result<(), Invalid> {
    for (i, syscall) in seccomp.syscalls().iter().flatten().enumerate() {
        if let Some((j, name)) = syscall.names().iter().enumerate().find(|(_, name)| ScmpSyscall::from_name(name).is_err()) {
            return Err(Invalid::new(&at.of("syscalls").of(i).of("names").of(j), format!("system call {name:?} is unknown")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::seccomp::resolve;
    use serde_json::{Value, json};

    fn profile(value: Value) -> LinuxSeccomp {
        serde_json::from_value(value).expect("the profile is valid JSON")
    }

    #[test]
    fn what_is_listed_is_accepted() {
        let at = Pointer::to("/linux/seccomp");
        for action in ACTIONS {
            let default = if action == Action::ScmpActAllow { "SCMP_ACT_ERRNO" } else { "SCMP_ACT_ALLOW" };
            let rules = json!([{"names": ["getcwd"], "action": action}]);
            let filter = resolve(&profile(json!({"defaultAction": default, "syscalls": rules, "listenerPath": "/agent"})), &at);
            assert!(filter.is_ok(), "{action}: {filter:?}");
        }
        for operator in OPERATORS {
            let rules = json!([{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": operator}]}]);
            let filter = resolve(&profile(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})), &at);
            assert!(filter.is_ok(), "{operator:?}: {filter:?}");
        }
        let flags: Vec<String> = FLAGS.iter().map(ToString::to_string).collect();
        let all = profile(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags, "architectures": architectures()}));
        assert!(resolve(&all, &at).is_ok());
        assert!(architectures().contains(&Arch::ScmpArchX86_64), "{:?}", architectures());
    }

    #[test]
    fn unknown_calls_are_found() {
        let rules =
            json!([{"names": ["read", "write"], "action": "SCMP_ACT_ERRNO"}, {"names": ["read", "sing"], "action": "SCMP_ACT_ERRNO"}]);
        let profile = profile(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
        let found = check(&profile, &Pointer::to("/s")).expect_err("there is one");
        assert_eq!(found.to_string(), "system call \"sing\" is unknown (/s/syscalls/1/names/1)");
    }
}
