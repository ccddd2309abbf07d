//! Where a container's cgroup is, on every hierarchy: decided before anything is made, and kept in the container's record.
//!
//! | `/linux/cgroupsPath` | on a v1 or hybrid host | on a v2 host |
//! | --- | --- | --- |
//! | `/a/b` | `/a/b` of every hierarchy, below what is mounted | the same |
//! | `a/b` | below aril's own cgroup | beside aril's own cgroup: one with processes cannot give controllers to cgroups below it |
//! | absent | `/ID` | `/ID` |
//! | absent, not root of the machine | below the own cgroup | beside the own cgroup, or below it where only that may be written |
//!
//! An absolute default is found again whoever deletes the container. `slice:prefix:name` is systemd's form (`unit.rs`); without systemd it is a relative path.
//! Cgroups above the container's that do not exist are made and stay: other containers and their manager's limits come to live in them.

use super::mounts::{self, Mounted, Own};
use super::systemd::Unit;
use crate::config::spec::Spec;
use crate::config::{Invalid, Pointer};
use crate::error::{Doing, Error, Result};
use crate::host::{Cgroups, Host};
use nix::fcntl::AtFlags;
use nix::unistd::AccessFlags;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The two kinds of hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// `cgroup`
    V1,
    /// `cgroup2`
    V2,
}

/// Who makes the cgroups of containers: `--cgroup-manager`, and `--systemd-cgroup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Manager {
    /// aril does, in the cgroup file systems.
    #[default]
    Cgroupfs,
    /// systemd does: `cgroupsPath` is `slice:prefix:name`.
    Systemd,
    /// Nobody does: the container stays in its creator's cgroup.
    Disabled,
}

/// The cgroups of a container. None of them: the container stays in its creator's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// One on each hierarchy.
    pub hierarchies: Vec<Hierarchy>,
    /// Whether the container can do without those that may not be made: nobody asked for them, and aril is not the machine's root.
    #[serde(default)]
    pub optional: bool,
    /// The unit of systemd that it is. Where its cgroup is then is known for certain when it was made.
    #[serde(default)]
    pub unit: Option<Unit>,
}

/// A container's cgroup on one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// Its kind.
    pub version: Version,
    /// The controllers of a v1 hierarchy; `name=systemd` for one without. Empty for v2: those that it has are in `cgroup.controllers`.
    pub controllers: Vec<String>,
    /// Where the hierarchy is mounted.
    pub mount: PathBuf,
    /// The cgroup, from the mount point: `/a/b`.
    pub path: String,
    /// Whether it did not exist, so that it is made, and removed in the end.
    pub ours: bool,
    /// A cgroup below it that is the payload's own: `/a/b/` and then this.
    #[serde(default)]
    pub delegated: Option<String>,
}

impl Hierarchy {
    /// The path without the leading slash, as it is opened below the mount point.
    pub(super) fn relative(&self) -> &str {
        self.path.trim_start_matches('/')
    }

    /// Where the cgroup's directory is.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.mount.join(self.relative())
    }
}

/// What the configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Absolute(String),
    Relative(String),
    Nothing,
}

impl Place {
    /// Where the cgroups of container `id` are, and which of them exist. Nothing is made.
    ///
    /// # Errors
    /// `/linux/cgroupsPath` cannot be a cgroup; the machine has no cgroup file system; the call that failed.
    pub fn resolve(spec: &Spec, id: &str, host: &Host, manager: Manager) -> Result<Place> {
        let place = match manager {
            Manager::Cgroupfs => Place::of_path(spec, id, host),
            Manager::Disabled => Ok(Place::default()),
            Manager::Systemd => Place::of_unit(Unit::resolve(spec, id, host)?, host),
        };
        place?.delegating(spec, host, manager)
    }

    fn of_path(spec: &Spec, id: &str, host: &Host) -> Result<Place> {
        let at = Pointer::to("/linux/cgroupsPath");
        let asked = asked(spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref()), &at)?;
        let optional = asked == Asked::Nothing && !host.rootful();
        let mounted = mounted(host.cgroups)?;
        if mounted.is_empty() && !optional {
            return Err(Error::Other("cannot make a cgroup: no cgroup file system is mounted below /sys/fs/cgroup".to_owned()));
        }
        let asked = match asked {
            Asked::Nothing if host.rootful() => Asked::Absolute(format!("/{id}")),
            Asked::Nothing => Asked::Relative(id.to_owned()),
            asked => asked,
        };
        let own = if matches!(asked, Asked::Relative(_)) { Own::parse(&read("/proc/self/cgroup")?) } else { Own::default() };
        let mut place = Place { hierarchies: Vec::new(), optional, unit: None };
        for mounted in mounted {
            let Some(path) = path(&asked, &mounted, &own, host, optional, &at)? else { continue };
            place.hierarchies.push(survey(mounted, path)?);
        }
        Ok(place)
    }

    /// Which hierarchy has a controller, by its v2 name; cgroup2 may turn out not to have it.
    pub(super) fn version_of(&self, controller: &str) -> Option<Version> {
        self.hierarchies.iter().find(|h| h.has(controller)).or_else(|| self.v2()).map(|h| h.version)
    }

    /// Whether memory is limited by cgroup v2.
    #[must_use]
    pub fn memory_is_v2(&self) -> bool {
        self.version_of("memory") == Some(Version::V2)
    }

    pub(super) fn v2(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|h| h.version == Version::V2)
    }
}

impl Hierarchy {
    /// Whether it is the v1 hierarchy of a controller, by its v2 name.
    pub(super) fn has(&self, controller: &str) -> bool {
        let name = if controller == "io" { "blkio" } else { controller };
        self.controllers.iter().any(|own| own == name)
    }
}

/// The hierarchies of this machine.
pub(super) fn mounted(cgroups: Cgroups) -> Result<Vec<Mounted>> {
    Ok(match cgroups {
        Cgroups::Unified => vec![mounts::unified()],
        Cgroups::Split => mounts::parse(&read("/proc/self/mountinfo")?),
        Cgroups::Absent => Vec::new(),
    })
}

pub(super) fn read(path: &str) -> Result<String> {
    // A machine with many containers has a long mount table.
    crate::sys::fs::read_text(Path::new(path), 64 << 20).doing(|| "cannot find the cgroup hierarchies".to_owned())
}

fn asked(path: Option<&Path>, at: &Pointer) -> std::result::Result<Asked, Invalid> {
    let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else { return Ok(Asked::Nothing) };
    let wrong = |why: &str| Invalid::new(at, format!("cgroup path {path:?} {why}"));
    let text = path.to_str().ok_or_else(|| wrong("is not UTF-8"))?;
    let clean = clean(text).map_err(wrong)?;
    Ok(if text.starts_with('/') { Asked::Absolute(format!("/{clean}")) } else { Asked::Relative(clean) })
}

/// The components of a path, joined by one `/`; or what is wrong with it.
pub(super) fn clean(text: &str) -> std::result::Result<String, &'static str> {
    let mut components = Vec::new();
    for component in text.split('/').filter(|component| !matches!(*component, "" | ".")) {
        match component {
            ".." => return Err("has a component \"..\", which could lead out of the hierarchy"),
            _ if component.starts_with('-') => return Err("has a component that begins with \"-\""),
            _ if component.chars().any(char::is_control) => return Err("has a control character"),
            _ => components.push(component),
        }
    }
    if components.is_empty() { Err("is the root of the hierarchy: name a cgroup below it") } else { Ok(components.join("/")) }
}

/// The path from the mount point; `None` where the container can do without this hierarchy.
fn path(asked: &Asked, mounted: &Mounted, own: &Own, host: &Host, optional: bool, at: &Pointer) -> Result<Option<String>> {
    let relative = match asked {
        Asked::Absolute(path) => return Ok(Some(path.clone())),
        Asked::Relative(path) => path,
        Asked::Nothing => return Ok(None),
    };
    let Some(own) = own.within(mounted) else {
        if optional {
            return Ok(None);
        }
        let why = format!("the relative cgroup path {relative:?} has no place: aril's own cgroup is not below {:?}", mounted.mount);
        return Err(Invalid::new(at, why).into());
    };
    let beside = Path::new(&own).parent().map_or("/", |parent| parent.to_str().unwrap_or("/"));
    let parent = match (mounted.version, host.cgroups) {
        (Version::V2, Cgroups::Unified) if optional && !writable(mounted, beside) && writable(mounted, &own) => own.as_str(),
        (Version::V2, Cgroups::Unified) => beside,
        // Next to v1 hierarchies a cgroup2 is used as one of them.
        _ => own.as_str(),
    };
    Ok(Some(format!("{}/{relative}", parent.trim_end_matches('/'))))
}

fn writable(mounted: &Mounted, path: &str) -> bool {
    let directory = mounted.mount.join(path.trim_start_matches('/'));
    nix::unistd::faccessat(nix::fcntl::AT_FDCWD, &directory, AccessFlags::W_OK, AtFlags::AT_EACCESS).is_ok()
}

fn survey(mounted: Mounted, path: String) -> Result<Hierarchy> {
    let mut hierarchy =
        Hierarchy { version: mounted.version, controllers: mounted.controllers, mount: mounted.mount, path, ours: false, delegated: None };
    hierarchy.ours = !crate::sys::fs::exists(nix::fcntl::AT_FDCWD, hierarchy.directory())?;
    Ok(hierarchy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(cgroups: Cgroups, root: bool) -> Host {
        let capabilities = if root { u64::MAX } else { 0 };
        let euid = if root { 0 } else { 1000 };
        Host { euid, egid: euid, capabilities, bounding: capabilities, cgroups, ..Host::example() }
    }

    fn at() -> Pointer {
        Pointer::to("/linux/cgroupsPath")
    }

    fn asked_of(path: &str) -> std::result::Result<Asked, Invalid> {
        asked(Some(Path::new(path)), &at())
    }

    #[test]
    fn paths_are_made_clean() {
        for (given, clean) in [("/a/b", "/a/b"), ("//a/./b//", "/a/b"), ("/a b/ü", "/a b/ü"), ("/a..b/c...", "/a..b/c...")] {
            assert_eq!(asked_of(given), Ok(Asked::Absolute(clean.to_owned())), "{given}");
        }
        for (given, clean) in [("a/b", "a/b"), ("./a", "a"), ("system.slice:docker:x", "system.slice:docker:x")] {
            assert_eq!(asked_of(given), Ok(Asked::Relative(clean.to_owned())), "{given}");
        }
        assert_eq!(asked_of(""), Ok(Asked::Nothing));
        assert_eq!(asked(None, &at()), Ok(Asked::Nothing));
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused_by_name() {
        for bad in ["/../x", "a/../../x", "..", "/", "/.", "/a/-b", "-", "/a\n", "/a\u{1}b", "\u{7f}"] {
            let error = asked_of(bad).expect_err(bad);
            assert_eq!(error.at, at(), "{bad:?}");
            assert!(error.why.contains(&format!("{bad:?}")), "{error}");
        }
    }

    fn place_of(asked: &Asked, version: Version, own: &str, host: &Host) -> Option<String> {
        let controllers = if version == Version::V1 { vec!["memory".to_owned()] } else { Vec::new() };
        let mounted = Mounted { version, controllers, mount: PathBuf::from("/nowhere"), root: "/".to_owned() };
        let own = Own::parse(&format!("1:memory:{own}\n0::{own}\n"));
        path(asked, &mounted, &own, host, false, &at()).expect("a path")
    }

    #[test]
    fn relative_paths_are_below_on_v1_and_beside_on_v2() {
        let relative = Asked::Relative("a:b:c".to_owned());
        let (split, unified) = (host(Cgroups::Split, true), host(Cgroups::Unified, true));
        assert_eq!(place_of(&relative, Version::V1, "/user/s", &split).as_deref(), Some("/user/s/a:b:c"));
        assert_eq!(place_of(&relative, Version::V2, "/user/s", &split).as_deref(), Some("/user/s/a:b:c"));
        assert_eq!(place_of(&relative, Version::V2, "/user/s", &unified).as_deref(), Some("/user/a:b:c"));
        assert_eq!(place_of(&relative, Version::V2, "/", &unified).as_deref(), Some("/a:b:c"));
        let absolute = Asked::Absolute("/x".to_owned());
        assert_eq!(place_of(&absolute, Version::V2, "/../..", &unified).as_deref(), Some("/x"));
    }

    #[test]
    fn the_record_reads_back() {
        let hierarchy = Hierarchy {
            version: Version::V1,
            controllers: vec!["cpu".to_owned(), "cpuacct".to_owned()],
            mount: PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"),
            path: "/a/b".to_owned(),
            ours: true,
            delegated: Some("c".to_owned()),
        };
        let place = Place { hierarchies: vec![hierarchy], optional: true, unit: None };
        let text = serde_json::to_string(&place).expect("text");
        assert_eq!(serde_json::from_str::<Place>(&text).expect("place"), place);
    }
}
