//! `netDevices`: network interfaces of the host that become the container's.

use super::Subject;
use super::namespaces::{self, NETWORK};
use super::plan::Plan;
use crate::config::{Invalid, Located, Pointer, spec};
use aril_plan::{Ask, Op};

/// `IFNAMSIZ` of the kernel, which counts the NUL.
const NAME_MAX: usize = 15;

/// An interface to hand over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetDevice {
    /// Its name on the host.
    pub host: String,
    /// Its name in the container; `%d` in it stands for the first number that is free.
    pub name: String,
}

/// Reads the interfaces, in the order of their names: the configuration has none.
///
/// # Errors
/// A name that no interface can have, or two interfaces are to have the same.
pub fn resolve(linux: &spec::Linux) -> Result<Vec<Located<NetDevice>>, Invalid> {
    let at = Pointer::to("/linux/netDevices");
    let mut resolved: Vec<Located<NetDevice>> = Vec::new();
    let mut sorted: Vec<_> = linux.net_devices().iter().flatten().collect();
    sorted.sort_unstable_by_key(|(host, _)| *host);
    for (host, device) in sorted {
        let at = at.of(host);
        check(host, false, &at)?;
        let name = device.name().clone().filter(|name| !name.is_empty()).unwrap_or_else(|| host.clone());
        check(&name, true, &at.of("name"))?;
        if let Some(other) = resolved.iter().find(|other| other.value.name == name && !name.contains('%')) {
            return Err(Invalid::new(&at, format!("{name} is to be the name of another interface, too ({})", other.at)));
        }
        resolved.push(Located { at, value: NetDevice { host: host.clone(), name } });
    }
    Ok(resolved)
}

/// As the kernel's `dev_valid_name`.
fn check(name: &str, template: bool, at: &Pointer) -> Result<(), Invalid> {
    let wrong = |why: &str| Err(Invalid::new(at, format!("{name:?} is no name of a network interface: {why}")));
    if name.is_empty() || name.len() > NAME_MAX {
        return wrong("it has to have 1 to 15 bytes");
    }
    if name == "." || name == ".." || name.bytes().any(|b| matches!(b, b'/' | b':' | 0) || b.is_ascii_whitespace()) {
        return wrong("it must not be a dot or two, nor hold a slash, a colon or white space");
    }
    match name.matches('%').count() {
        0 => Ok(()),
        1 if template && name.contains("%d") => Ok(()),
        _ => wrong("%d, once, is all that may be left open, and only in the container"),
    }
}

/// Has the host hand them over, when the network namespace is there and before anybody looks.
pub(crate) fn ask(plan: &mut Plan, subject: &Subject<'_>) -> Result<(), Invalid> {
    let at = Pointer::to("/linux/netDevices");
    if resolve(subject.linux)?.is_empty() {
        return Ok(());
    }
    if !subject.namespaces.own(NETWORK) {
        return Err(Invalid::new(
            &at,
            "network interfaces can be handed over to a network namespace of the container's alone (/linux/namespaces)",
        ));
    }
    plan.part(&at, "cannot hand over the network interfaces");
    namespaces::join_network(plan);
    plan.push(Op::Ask { what: Ask::NetDevices });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn resolved(devices: Value) -> Result<Vec<(String, String)>, Invalid> {
        let linux: spec::Linux = serde_json::from_value(json!({"netDevices": devices})).expect("the types are right");
        Ok(resolve(&linux)?.into_iter().map(|device| (device.value.host, device.value.name)).collect())
    }

    #[test]
    fn a_device_keeps_its_name_or_gets_another() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let devices = json!({"eth1": {"name": "net%d"}, "eth0": {}, "eth2": {"name": "net%d"}, "wlan0": {"name": ""}});
        assert_eq!(resolved(devices), Ok(vec![pair("eth0", "eth0"), pair("eth1", "net%d"), pair("eth2", "net%d"), pair("wlan0", "wlan0")]));
        assert_eq!(resolved(json!({})), Ok(vec![]));
    }

    #[test]
    fn what_is_no_name_is_refused_with_its_place() {
        for (devices, at) in [
            (json!({"": {}}), "/linux/netDevices/"),
            (json!({"a/b": {}}), "/linux/netDevices/a~1b"),
            (json!({"a b": {}}), "/linux/netDevices/a b"),
            (json!({"abcdefghijklmnop": {}}), "/linux/netDevices/abcdefghijklmnop"),
            (json!({"..": {}}), "/linux/netDevices/.."),
            (json!({"eth%d": {}}), "/linux/netDevices/eth%d"),
            (json!({"eth0": {"name": "a:b"}}), "/linux/netDevices/eth0/name"),
            (json!({"eth0": {"name": "%d%d"}}), "/linux/netDevices/eth0/name"),
            (json!({"eth0": {"name": "a%s"}}), "/linux/netDevices/eth0/name"),
            (json!({"eth0": {"name": "net"}, "eth1": {"name": "net"}}), "/linux/netDevices/eth1"),
        ] {
            let error = resolved(devices).expect_err(at);
            assert_eq!(error.at.as_str(), at, "{error}");
        }
    }
}
