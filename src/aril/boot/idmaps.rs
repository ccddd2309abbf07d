//! What the host writes for a new user or time namespace.

use crate::compile::idmap::{self, IdMap};
use crate::config::{Pointer, spec::Spec};
use crate::error::{Doing, Error, Result};
use crate::host::Host;
use crate::sys::{self, Errno};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes the id maps of a process's new user namespace: directly where the host may, else through newuidmap(1) and newgidmap(1).
///
/// # Errors
/// A map is refused, with the part of the configuration that it stands in.
pub fn write(pid: i32, spec: &Spec, host: &Host) -> Result<()> {
    let linux = spec.linux().as_ref();
    let maps = [
        ("gid", "/linux/gidMappings", linux.and_then(|l| l.gid_mappings().clone())),
        ("uid", "/linux/uidMappings", linux.and_then(|l| l.uid_mappings().clone())),
    ];
    for (kind, at, mappings) in maps {
        let at = Pointer::to(at);
        let map = idmap::resolve(&mappings.unwrap_or_default(), &at)?;
        one(pid, kind, &map, host).doing_at(&at, || format!("cannot map the {kind}s of the user namespace"))?;
    }
    Ok(())
}

/// The programs that [`write`] runs for a container that makes a user namespace, each with the map that needs it.
#[must_use]
pub fn programs(spec: &Spec, host: &Host) -> Vec<(Pointer, String)> {
    let of = |kind: &str, mappings: Option<&Vec<_>>| {
        let at = Pointer::to(&format!("/linux/{kind}Mappings"));
        let map = idmap::resolve(mappings.filter(|m| !m.is_empty())?, &at).ok()?;
        needs_program(kind, &map, host).then(|| (at, program(kind)))
    };
    let linux = spec.linux().as_ref();
    let uids = of("uid", linux.and_then(|l| l.uid_mappings().as_ref()));
    uids.into_iter().chain(of("gid", linux.and_then(|l| l.gid_mappings().as_ref()))).collect()
}

/// Without privilege a process may map its own id alone.
fn needs_program(kind: &str, map: &IdMap, host: &Host) -> bool {
    let own = if kind == "uid" { host.euid } else { host.egid };
    !host.privileged() && !matches!(map.ranges(), [only] if only.size == 1 && only.host == own)
}

fn program(kind: &str) -> String {
    format!("new{kind}map")
}

fn one(pid: i32, kind: &str, map: &IdMap, host: &Host) -> Result<()> {
    if needs_program(kind, map, host) {
        return helper(pid, kind, map);
    }
    // A process may map its own group if it gives up setgroups(2), by which it could leave a group that denies something.
    if kind == "gid" && !host.privileged() {
        sys::fs::write_file(&file(pid, "setgroups"), b"deny")?;
    }
    Ok(sys::fs::write_file(&file(pid, &format!("{kind}_map")), &map.bytes())?)
}

fn file(pid: i32, name: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join(name)
}

/// The set-uid helpers know from /etc/subuid and /etc/subgid which ids a user may map.
fn helper(pid: i32, kind: &str, map: &IdMap) -> Result<()> {
    let program = program(kind);
    let mut command = Command::new(&program);
    command.arg(pid.to_string());
    for range in map.ranges() {
        command.args([range.container, range.host, range.size].map(|n| n.to_string()));
    }
    let output = sys::program::output(&mut command)?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(Error::Other(format!("{program} failed: {}", words.trim())))
}

/// Writes the clock offsets of the time namespace that a process's next child will be in.
///
/// # Errors
/// An offset is refused (`ERANGE`: the clock would be negative, or too far in the future).
pub fn write_time_offsets(pid: i32, spec: &Spec) -> Result<()> {
    let offsets = spec.linux().as_ref().and_then(|l| l.time_offsets().clone()).unwrap_or_default();
    let path = file(pid, "timens_offsets");
    for (clock, offset) in offsets {
        let at = Pointer::to("/linux/timeOffsets").of(&clock);
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(crate::config::Invalid::new(&at, format!("{clock:?} has no offset: monotonic and boottime have")).into());
        }
        let line = format!("{clock} {} {}", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        match sys::fs::write_file(&path, line.as_bytes()) {
            Err(sys::Error { errno: Errno::ENOENT, .. }) => return Err(Error::Other("the kernel has no time namespaces".to_owned())),
            other => other.doing_at(&at, || format!("cannot set the offset of the {clock} clock"))?,
        }
    }
    Ok(())
}
