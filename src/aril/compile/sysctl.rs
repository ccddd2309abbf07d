//! Kernel parameters: only those that belong to a namespace of the container's own.

use super::namespaces::{IPC, NETWORK, USER, UTS};
use super::plan::Plan;
use super::{Subject, mounts};
use crate::config::{Invalid, Pointer};
use aril_plan::Op;
use std::collections::HashMap;
use std::ffi::CString;

/// A parameter to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    /// Where the configuration asks for it.
    pub at: Pointer,
    /// Its file below `/proc`, e.g. `sys/net/ipv4/ip_forward`.
    pub path: CString,
    /// What is written, in one `write(2)`.
    pub value: Vec<u8>,
}

/// Namespaces that parameters belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Namespace {
    Ipc,
    Network,
    User,
    Uts,
}

/// Writes the parameters through a procfs that only the executor has.
pub(crate) fn write_all(plan: &mut Plan, subject: &Subject<'_>) -> Result<(), Invalid> {
    let Some(sysctl) = subject.linux.sysctl().as_ref().filter(|s| !s.is_empty()) else { return Ok(()) };
    let (at, ns) = (Pointer::to("/linux/sysctl"), &subject.namespaces);
    let own = Own { ipc: ns.own(IPC), network: ns.own(NETWORK), user: ns.own(USER), uts: ns.own(UTS) };
    let some = |name: &Option<String>| name.as_ref().is_some_and(|n| !n.is_empty());
    let names = Names { hostname: some(subject.request.spec.hostname()), domainname: some(subject.request.spec.domainname()) };
    let parameters = resolve(sysctl, &at, own, names)?;
    plan.part(&at, "cannot make a private procfs");
    let proc = mounts::private_proc(plan, subject);
    for Sysctl { at, path, value } in &parameters {
        plan.part(at, format!("cannot write sysctl {}", path.to_string_lossy().trim_start_matches("sys/")));
        plan.push(Op::Write { at: proc, path, value });
    }
    plan.push(Op::Close { slot: proc });
    Ok(())
}

/// Which namespaces are the container's own: new, or joined and another than the runtime's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Own {
    /// IPC namespace.
    pub ipc: bool,
    /// Network namespace.
    pub network: bool,
    /// User namespace.
    pub user: bool,
    /// UTS namespace.
    pub uts: bool,
}

/// What the configuration sets by fields of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Names {
    /// `hostname` is given.
    pub hostname: bool,
    /// `domainname` is given.
    pub domainname: bool,
}

/// Parameters, or all below a directory if the name ends in a slash, and the namespace that they belong to.
const TABLE: &[(&str, Namespace)] = &[
    ("fs/mqueue/", Namespace::Ipc),
    ("kernel/auto_msgmni", Namespace::Ipc),
    ("kernel/msg_next_id", Namespace::Ipc),
    ("kernel/msgmax", Namespace::Ipc),
    ("kernel/msgmnb", Namespace::Ipc),
    ("kernel/msgmni", Namespace::Ipc),
    ("kernel/sem", Namespace::Ipc),
    ("kernel/sem_next_id", Namespace::Ipc),
    ("kernel/shm_next_id", Namespace::Ipc),
    ("kernel/shm_rmid_forced", Namespace::Ipc),
    ("kernel/shmall", Namespace::Ipc),
    ("kernel/shmmax", Namespace::Ipc),
    ("kernel/shmmni", Namespace::Ipc),
    (HOSTNAME, Namespace::Uts),
    (DOMAINNAME, Namespace::Uts),
    ("net/", Namespace::Network),
    ("user/", Namespace::User),
];
const HOSTNAME: &str = "kernel/hostname";
const DOMAINNAME: &str = "kernel/domainname";

/// Reads the parameters that stand at a pointer, in the order of their names.
///
/// # Errors
/// A name is none, is given twice in two spellings, belongs to no namespace or to one that is the host's, or is what another field sets; or
/// a value holds a NUL.
pub fn resolve(sysctl: &HashMap<String, String>, at: &Pointer, own: Own, names: Names) -> Result<Vec<Sysctl>, Invalid> {
    let mut entries: Vec<_> = sysctl.iter().collect();
    entries.sort_unstable();
    let mut resolved: Vec<Sysctl> = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        let at = at.of(name);
        let path = path(name).ok_or_else(|| Invalid::new(&at, format!("sysctl {name:?} is no name of a kernel parameter")))?;
        allowed(name, &path, &at, own, names)?;
        if value.contains('\0') {
            return Err(Invalid::new(&at, format!("the value of sysctl {name:?} holds a NUL")));
        }
        let path = CString::new(format!("sys/{path}")).map_err(|_| Invalid::new(&at, format!("sysctl {name:?} holds a NUL")))?;
        if let Some(other) = resolved.iter().find(|other| other.path == path) {
            return Err(Invalid::new(&at, format!("sysctl {name:?} is given already ({})", other.at)));
        }
        resolved.push(Sysctl { at, path, value: value.clone().into_bytes() });
    }
    Ok(resolved)
}

/// The path below `/proc/sys`. As in sysctl(8), the first of `.` and `/` separates, and the other one stands for it within a component:
/// `net.ipv4.conf.eth0/1.forwarding` is the interface `eth0.1`.
fn path(name: &str) -> Option<String> {
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    let path: String = match name.find(['.', '/']) {
        Some(first) if name[first..].starts_with('.') => name.chars().map(swap).collect(),
        _ => name.to_owned(),
    };
    let character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    path.split('/').all(|part| !matches!(part, "" | "." | "..") && part.chars().all(character)).then_some(path)
}

fn allowed(name: &str, path: &str, at: &Pointer, own: Own, names: Names) -> Result<(), Invalid> {
    let matches = |row: &str| if row.ends_with('/') { path.starts_with(row) } else { path == row };
    let Some((_, namespace)) = TABLE.iter().find(|(row, _)| matches(row)) else {
        return Err(Invalid::new(at, format!("sysctl {name:?} belongs to no namespace: it would change the host")));
    };
    let (is_own, kind) = match namespace {
        Namespace::Ipc => (own.ipc, "ipc"),
        Namespace::Network => (own.network, "network"),
        Namespace::User => (own.user, "user"),
        Namespace::Uts => (own.uts, "uts"),
    };
    if !is_own {
        return Err(Invalid::new(at, format!("sysctl {name:?} needs a {kind} namespace that is not the host's")));
    }
    for (row, given, field) in [(HOSTNAME, names.hostname, "hostname"), (DOMAINNAME, names.domainname, "domainname")] {
        if path == row && given {
            return Err(Invalid::new(at, format!("sysctl {name:?} is what the field {field} sets (/{field})")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Own = Own { ipc: true, network: true, user: true, uts: true };

    fn resolved(sysctl: &[(&str, &str)], own: Own, names: Names) -> Result<Vec<(String, String)>, Invalid> {
        let sysctl = sysctl.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let resolved = resolve(&sysctl, &Pointer::to("/linux/sysctl"), own, names)?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Ok(resolved.into_iter().map(|s| (text(s.path.into_bytes()), text(s.value))).collect())
    }

    #[test]
    fn names_are_spelt_as_for_sysctl() {
        for (name, path) in [
            ("net.ipv4.ip_forward", "sys/net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "sys/net/ipv4/ip_forward"),
            ("net.ipv4.conf.eth0/1.forwarding", "sys/net/ipv4/conf/eth0.1/forwarding"),
            ("net/ipv4/conf/eth0.1/forwarding", "sys/net/ipv4/conf/eth0.1/forwarding"),
            ("fs.mqueue.msg_max", "sys/fs/mqueue/msg_max"),
        ] {
            assert_eq!(resolved(&[(name, "1")], ALL, Names::default()).expect(name), [(path.to_owned(), "1".to_owned())]);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", ".", "net", "net.", "net..x", "net/../kernel/sem", "net/./x", "net.//.x", "net.a b", "net.\u{e9}", "net.a\0"] {
            assert!(resolved(&[(name, "1")], ALL, Names::default()).is_err(), "{name:?}");
        }
        let error = resolved(&[("net/../kernel/x", "1")], ALL, Names::default()).expect_err("dots climb");
        assert_eq!(error.at.as_str(), "/linux/sysctl/net~1..~1kernel~1x");
    }

    #[test]
    fn a_parameter_needs_its_namespace() {
        for (name, own) in [
            ("kernel.shmmax", Own { ipc: false, ..ALL }),
            ("fs.mqueue.queues_max", Own { ipc: false, ..ALL }),
            ("net.core.somaxconn", Own { network: false, ..ALL }),
            ("user.max_user_namespaces", Own { user: false, ..ALL }),
            ("kernel.domainname", Own { uts: false, ..ALL }),
        ] {
            assert!(resolved(&[(name, "1")], ALL, Names::default()).is_ok(), "{name}");
            let error = resolved(&[(name, "1")], own, Names::default()).expect_err(name);
            assert!(error.why.contains("namespace that is not the host's"), "{error}");
        }
    }

    #[test]
    fn what_belongs_to_no_namespace_is_refused() {
        for name in ["vm.swappiness", "kernel.core_pattern", "kernel.semx", "fs.mqueue", "fs.file-max", "network.x"] {
            let error = resolved(&[(name, "1")], ALL, Names::default()).expect_err(name);
            assert!(error.why.contains("would change the host"), "{error}");
        }
    }

    #[test]
    fn a_field_of_its_own_comes_first() {
        let names = Names { hostname: true, domainname: false };
        assert!(resolved(&[("kernel.hostname", "a")], ALL, Names::default()).is_ok());
        assert!(resolved(&[("kernel.domainname", "a")], ALL, names).is_ok());
        assert!(resolved(&[("kernel.hostname", "a")], ALL, names).expect_err("a clash").why.contains("(/hostname)"));
    }

    #[test]
    fn two_spellings_of_one_name_are_refused() {
        let error = resolved(&[("net.a.b", "1"), ("net/a/b", "2")], ALL, Names::default()).expect_err("given twice");
        assert_eq!(error.at.as_str(), "/linux/sysctl/net~1a~1b");
    }

    #[test]
    fn values_are_kept_as_they_are() {
        let values = resolved(&[("kernel.sem", "1 2\t3 4"), ("net.x", "")], ALL, Names::default()).expect("values are valid");
        assert_eq!((values[0].1.as_str(), values[1].1.as_str()), ("1 2\t3 4", ""));
        assert!(resolved(&[("net.x", "\0")], ALL, Names::default()).is_err());
    }
}
