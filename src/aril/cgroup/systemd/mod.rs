//! systemd as the maker of the container's cgroup: a transient scope (org.freedesktop.systemd1(5), systemd.scope(5)).
//!
//! A scope is made around a process that lives. That is not the container's first one, since that is born in the cgroup and needs the cgroup's
//! directories before it is: it is an idle child of aril's, which ends as soon as the container's process is in. Until that is in the record, a
//! kill of aril kills the idle child too, and systemd takes away a scope that has become empty. One whose making failed half way is stopped, since
//! systemd need not notice that it is empty.
//!
//! systemd is told of every limit that it has a word for ([`properties`]), and then aril writes them all: systemd has words for some, and rounds.
//! `Delegate=` has systemd leave alone what is below the cgroup, and `CollectMode=` has it forget the unit when it fails.
//!
//! Freezing needs no word with systemd: it writes `cgroup.freeze` of units that it froze itself, and of no other.
//!
//! Device rules stay aril's own program on cgroup v2: systemd attaches its programs beside those of others, and without `DeviceAllow=` none. On
//! v1, where systemd would write "allow all" into the same files when it is reloaded, it is given the rules.

mod bus;
mod message;
mod properties;
mod text;
mod value;

pub(super) use properties::{Property, properties};

use super::devices::Devices;
use crate::config::spec::Spec;
use crate::config::{Invalid, Pointer, annotations};
use crate::error::{Doing, Error, Result};
use crate::host::Host;
use crate::sys;
use bus::{Bus, Failure};
use nix::fcntl;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;
use value::Value;

/// What stands before the name of a property in an annotation.
const ANNOTATION: &str = "org.systemd.property.";

/// A unit of systemd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name: `prefix-name.scope`, or that of a slice.
    pub name: String,
    /// The slice that it is in.
    pub slice: String,
    /// Whether it is the user's own manager that has it.
    pub user: bool,
    /// The cgroup below the scope that is the container's, `a/b`; nothing where that is the scope itself.
    #[serde(default)]
    pub subgroup: String,
    /// Whether it was made: a unit of this name is this one then.
    pub made: bool,
    #[serde(skip)]
    description: String,
    /// What annotations ask for.
    #[serde(skip)]
    asked: Vec<Property>,
}

impl Unit {
    /// The unit that `/linux/cgroupsPath` names (`slice:prefix:name`; empty parts have defaults), with the properties that annotations ask for.
    ///
    /// # Errors
    /// The path is of another form; a property's value cannot be read; this machine does not run systemd.
    pub(super) fn resolve(spec: &Spec, id: &str, host: &Host) -> Result<Unit> {
        let runs = sys::fs::exists(fcntl::AT_FDCWD, "/run/systemd/system")
            .doing(|| "cannot find out whether this machine runs systemd".to_owned())?;
        if !runs {
            let why = "this machine does not run systemd (there is no /run/systemd/system): leave out --systemd-cgroup";
            return Err(Error::Other(why.to_owned()));
        }
        let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref()).unwrap_or(Path::new(""));
        let user = is_users(host);
        let (slice, name) = names(path, id, user)?;
        let subgroup = super::delegate::subgroup(spec, host)?;
        if !subgroup.is_empty() && has_suffix(&name, ".slice") {
            let at = annotations::pointer(annotations::SYSTEMD_SUBGROUP);
            return Err(Invalid::new(&at, format!("{name} is a slice, and has no cgroup of a container's below it")).into());
        }
        Ok(Unit { name, slice, user, subgroup, made: false, description: format!("aril container {id}"), asked: asked(spec)? })
    }

    pub(super) fn is_slice(&self) -> bool {
        has_suffix(&self.name, ".slice")
    }

    /// Has it made around a process.
    ///
    /// # Errors
    /// systemd cannot be reached, refuses, or does not succeed. It may have been made all the same, and says so then.
    pub(super) fn start(&mut self, pid: i32, limits: &[Property], devices: Option<&Devices>) -> Result<()> {
        let failed = |unit: &Unit| format!("cannot have systemd make {}", unit.name);
        let mut bus = Bus::open(self.user).doing(|| failed(self))?;
        let mut limits = limits.to_vec();
        let mut cleared = false;
        loop {
            let properties = Value::Array("(sv)".to_owned(), self.properties(pid, &limits, devices));
            let arguments = [Value::str(&self.name), Value::str("fail"), properties, Value::Array("(sa(sv))".to_owned(), Vec::new())];
            match bus.job(&self.name, "StartTransientUnit", &arguments) {
                Ok(()) => break,
                // One that has failed is kept until somebody has seen it.
                Err(Failure::Refused(name, _)) if name == "UnitExists" && !cleared => {
                    cleared = true;
                    let _ = bus.call("ResetFailedUnit", &[Value::str(&self.name)]);
                }
                Err(Failure::Refused(_, text)) if without_unknown(&mut limits, &text) => {}
                Err(failure) => {
                    // Who is not answered does not know; systemd has put the process there, if it has come so far.
                    self.made = match &failure {
                        Failure::Refused(..) => false,
                        Failure::Queued(_) => true,
                        Failure::Unheard(_) => !self.is_slice() && self.has(pid),
                    };
                    return Err(Error::from(failure)).doing(|| failed(self));
                }
            }
        }
        self.made = true;
        Ok(())
    }

    /// Whether a process is in it.
    fn has(&self, pid: i32) -> bool {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        text.lines().any(|line| Path::new(line).ends_with(&self.name))
    }

    fn properties(&self, pid: i32, limits: &[Property], devices: Option<&Devices>) -> Vec<Value> {
        let strings = |text: &str| Value::Array("s".to_owned(), vec![Value::str(text)]);
        let mut all = vec![Property::new("Description", Value::str(&self.description))];
        if self.is_slice() {
            all.push(Property::new("Wants", strings(&self.slice)));
        } else {
            all.push(Property::new("Slice", Value::str(&self.slice)));
            all.push(Property::new("PIDs", Value::Array("u".to_owned(), vec![Value::U32(pid.cast_unsigned())])));
            all.push(Property::new("Delegate", Value::Bool(true)));
        }
        all.push(Property::new("CollectMode", Value::str("inactive-or-failed")));
        all.push(Property::new("DefaultDependencies", Value::Bool(false)));
        let accounting = ["CPUAccounting", "IOAccounting", "MemoryAccounting", "TasksAccounting"];
        all.extend(accounting.map(|name| Property::new(name, Value::Bool(true))));
        if let Some(devices) = devices {
            let drivers = std::fs::read_to_string("/proc/devices").unwrap_or_default();
            all.extend(device_rules(devices, &drivers));
        }
        all.iter().chain(limits).chain(&self.asked).map(Property::as_value).collect()
    }

    /// Has limits set that systemd has to know of.
    ///
    /// # Errors
    /// As of [`Unit::start`].
    pub(super) fn set(&self, limits: &[Property]) -> Result<()> {
        let mut limits = limits.to_vec();
        let mut attempt = || {
            let mut bus = Bus::open(self.user).map_err(Failure::Unheard)?;
            while !limits.is_empty() {
                let properties = Value::Array("(sv)".to_owned(), limits.iter().map(Property::as_value).collect());
                match bus.call("SetUnitProperties", &[Value::str(&self.name), Value::Bool(true), properties]) {
                    Err(Failure::Refused(_, text)) if without_unknown(&mut limits, &text) => {}
                    other => return other.map(drop),
                }
            }
            Ok(())
        };
        let begun = Instant::now();
        let set = match attempt() {
            // It may have been done, or be done later, over what is put back: once more, so that it is known which limits hold.
            Err(Failure::Unheard(_)) if begun.elapsed() < bus::PATIENCE => attempt(),
            set => set,
        };
        set.map_err(Error::from).doing(|| format!("cannot have systemd set the limits of {}", self.name))
    }

    /// Has a process moved into it: where only systemd may, since the process is not among what the user was given.
    ///
    /// # Errors
    /// As of [`Unit::start`].
    pub(super) fn attach(&self, pid: i32) -> Result<()> {
        let attempt = || -> Result<()> {
            let pids = Value::Array("u".to_owned(), vec![Value::U32(pid.cast_unsigned())]);
            Bus::open(self.user)?
                .call("AttachProcessesToUnit", &[Value::str(&self.name), Value::Str(format!("/{}", self.subgroup)), pids])?;
            Ok(())
        };
        attempt().doing(|| format!("cannot have systemd move process {pid} into {}", self.name))
    }

    /// Where its cgroup is below its manager's: `a-b.slice` is in `a.slice`, and `-.slice` is the manager's own.
    pub(super) fn path(&self) -> String {
        let slice = if self.is_slice() { &self.name } else { &self.slice };
        let stem = slice.strip_suffix(".slice").unwrap_or(slice).trim_matches('-');
        let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]).filter(|end| *end > 0);
        let above: String = ends.map(|end| format!("/{}.slice", &stem[..end])).collect();
        if self.is_slice() { above } else { format!("{above}/{}", self.name) }
    }

    /// Where the container's cgroup is below that of the unit: nothing, or `/a/b`.
    pub(super) fn below(&self) -> String {
        if self.subgroup.is_empty() { String::new() } else { format!("/{}", self.subgroup) }
    }

    /// Has it stopped, and waits for that. That it is gone is no error.
    ///
    /// # Errors
    /// As of [`Unit::start`].
    pub(super) fn stop(&self) -> Result<()> {
        let attempt = || -> Result<()> {
            match Bus::open(self.user)?.job(&self.name, "StopUnit", &[Value::str(&self.name), Value::str("replace")]) {
                Err(Failure::Refused(name, _)) if name == "NoSuchUnit" => Ok(()),
                other => Ok(other?),
            }
        };
        attempt().doing(|| format!("cannot have systemd stop {}", self.name))
    }
}

/// Takes out what systemd, being too old, says that it does not know. Whether there was any.
fn without_unknown(limits: &mut Vec<Property>, text: &str) -> bool {
    let before = limits.len();
    limits.retain(|limit| !text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == limit.name));
    limits.len() < before
}

/// Whether it is the user's own manager that aril speaks to. In a user namespace the system's may still be this root's: in a machine container.
fn is_users(host: &Host) -> bool {
    let is_ours = || std::fs::metadata("/run/systemd/private").is_ok_and(|socket| socket.uid() == host.euid);
    host.euid != 0 || (host.in_userns && !is_ours())
}

/// Slice and unit.
fn names(path: &Path, id: &str, user: bool) -> std::result::Result<(String, String), Invalid> {
    let at = Pointer::to("/linux/cgroupsPath");
    let default = if user { "user.slice" } else { "system.slice" };
    let text = path.to_str().ok_or_else(|| Invalid::new(&at, format!("cgroup path {path:?} is not UTF-8")))?;
    if text.is_empty() {
        // The one character that ids may have and units may not.
        return Ok((default.to_owned(), format!("aril-{}.scope", id.replace('+', "\\x2b"))));
    }
    let parts: Vec<&str> = text.split(':').collect();
    let [slice, prefix, name] = parts[..] else {
        let why = format!("expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {text:?} instead");
        return Err(Invalid::new(&at, why));
    };
    let slice = if slice.is_empty() { default } else { slice };
    let name = match prefix {
        _ if has_suffix(name, ".slice") => name.to_owned(),
        "" => format!("{name}.scope"),
        prefix => format!("{prefix}-{name}.scope"),
    };
    let wrong = |what: &str, name: &str, why: &str| Err(Invalid::new(&at, format!("{what} {name:?} of cgroupsPath {why}")));
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@');
    for (what, unit) in [("the slice", slice), ("the unit", name.as_str())] {
        if !unit.chars().all(legal) || unit.starts_with('.') || unit.len() > 255 {
            return wrong(what, unit, "cannot be the name of a unit");
        }
    }
    if !has_suffix(slice, ".slice") {
        return wrong("the slice", slice, "does not end with \".slice\"");
    }
    Ok((slice.to_owned(), name))
}

fn has_suffix(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|stem| !stem.is_empty())
}

/// The properties that annotations ask for. `NameSec`, a number of seconds, is `NameUSec` over D-Bus.
fn asked(spec: &Spec) -> std::result::Result<Vec<Property>, Invalid> {
    let mut annotations: Vec<(&String, &String)> = spec.annotations().iter().flatten().collect();
    annotations.sort();
    let named = annotations.into_iter().filter_map(|(key, text)| Some((key, key.strip_prefix(ANNOTATION)?, text)));
    named
        .map(|(key, name, text)| {
            let wrong = |why: String| Invalid::new(&Pointer::to("/annotations").of(key), format!("property {name} {why}"));
            if name.len() < 3 || !name.chars().all(|c| c.is_ascii_alphabetic()) {
                return Err(wrong("has a name that is none: it is of three letters or more".to_owned()));
            }
            let value = text::parse(text).map_err(|why| wrong(format!("{why}: {text:?} is no value in GVariant's text format")))?;
            match name.strip_suffix("Sec").filter(|stem| stem.ends_with(|c: char| c.is_ascii_lowercase())) {
                Some(stem) => {
                    let value = microseconds(&value).ok_or_else(|| wrong(format!("is no number of seconds: {text:?}")))?;
                    Ok(Property::new(&format!("{stem}USec"), value))
                }
                None => Ok(Property::new(name, value)),
            }
        })
        .collect()
}

fn microseconds(seconds: &Value) -> Option<Value> {
    let whole: i128 = match seconds {
        Value::Byte(n) => (*n).into(),
        Value::I16(n) => (*n).into(),
        Value::U16(n) => (*n).into(),
        Value::I32(n) => (*n).into(),
        Value::U32(n) => (*n).into(),
        Value::I64(n) => (*n).into(),
        Value::U64(n) => (*n).into(),
        Value::Double(bits) => return fraction(f64::from_bits(*bits)),
        _ => return None,
    };
    u64::try_from(whole.checked_mul(1_000_000)?).ok().map(Value::U64)
}

fn fraction(seconds: f64) -> Option<Value> {
    std::time::Duration::try_from_secs_f64(seconds).ok()?.as_micros().try_into().ok().map(Value::U64)
}

/// The rules as systemd takes them: what is allowed. `drivers` is `/proc/devices`, by whose names systemd knows all devices of a number.
fn device_rules(devices: &Devices, drivers: &str) -> Vec<Property> {
    if devices.allow_everything() {
        return Vec::new();
    }
    let rule = |path: String, access: &str| Value::Struct(vec![Value::Str(path), Value::str(access)]);
    let mut allowed = Vec::new();
    for line in devices.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let ["allow", kind, numbers, access] = words[..] else { continue };
        let kinds: &[&str] = match kind {
            "b" => &["block"],
            "c" => &["char"],
            _ => &["block", "char"],
        };
        for kind in kinds {
            match numbers.split_once(':') {
                Some(("*", "*")) => allowed.push(rule(format!("{kind}-*"), access)),
                Some((major, "*")) => allowed.extend(driver(drivers, kind, major).map(|name| rule(format!("{kind}-{name}"), access))),
                _ => allowed.push(rule(format!("/dev/{kind}/{numbers}"), access)),
            }
        }
    }
    vec![Property::new("DevicePolicy", Value::str("strict")), Property::new("DeviceAllow", Value::Array("(ss)".to_owned(), allowed))]
}

/// `Character devices:` and `Block devices:`, each followed by lines of a number and a name.
fn driver<'a>(drivers: &'a str, kind: &str, major: &str) -> Option<&'a str> {
    let heading = if kind == "char" { "Character devices:" } else { "Block devices:" };
    let section = drivers.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.is_empty());
    section.filter_map(|line| line.trim().split_once(' ')).find(|(number, _)| *number == major).map(|(_, name)| name)
}

#[cfg(test)]
mod tests;
