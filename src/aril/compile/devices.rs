//! Device nodes and links in `/dev`.

use super::plan::{Plan, c_string};
use super::{Subject, mounts};
use crate::config::spec::{LinuxDevice, LinuxDeviceType};
use crate::config::{Invalid, Pointer};
use aril_plan::{Kind, Op, Slot};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// A node to make, or in a user namespace to bind from the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where the configuration asks for it; the whole list for one that every container has.
    pub at: Pointer,
    /// Below the root, without a slash before it: `dev/null`.
    pub path: CString,
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO`, and permissions.
    pub mode: u32,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Owner in the container.
    pub uid: u32,
    /// Group in the container.
    pub gid: u32,
}

/// A symbolic link to make where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Below the root.
    pub path: &'static str,
    /// What it says.
    pub to: &'static str,
}

/// The nodes that every container has, as the specification lists them.
const DEFAULTS: [(&str, u32, u32); 6] =
    [("dev/null", 1, 3), ("dev/zero", 1, 5), ("dev/full", 1, 7), ("dev/random", 1, 8), ("dev/urandom", 1, 9), ("dev/tty", 5, 0)];

/// Permissions of a node for which the configuration names none.
const PERMISSIONS: u32 = 0o666;

/// The greatest major and minor number (`MKDEV` of the kernel).
const MAJOR_MAX: i64 = (1 << 12) - 1;
const MINOR_MAX: i64 = (1 << 20) - 1;

/// The links that every container has: those of the specification, and `/dev/core` where the machine has what it points to.
#[must_use]
pub fn links(kcore: bool) -> Vec<Link> {
    let mut links = vec![
        Link { path: "dev/fd", to: "/proc/self/fd" },
        Link { path: "dev/stdin", to: "/proc/self/fd/0" },
        Link { path: "dev/stdout", to: "/proc/self/fd/1" },
        Link { path: "dev/stderr", to: "/proc/self/fd/2" },
        Link { path: "dev/ptmx", to: "pts/ptmx" },
    ];
    if kcore {
        links.push(Link { path: "dev/core", to: "/proc/kcore" });
    }
    links
}

/// Makes nodes and links. Where the configuration binds a directory of the host over `/dev`, that is the caller's.
pub(crate) fn make_all(plan: &mut Plan, subject: &Subject<'_>, root: Slot) -> Result<(), Invalid> {
    let at = Pointer::to("/linux/devices");
    let nodes = resolve(subject.linux.devices().as_deref().unwrap_or_default(), &at)?;
    if mounts::binds_over(subject, "/dev")? {
        return Ok(());
    }
    for node in &nodes {
        plan.part(&node.at, format!("cannot make the device /{}", node.path.to_string_lossy()));
        if subject.in_userns() && node.mode & libc::S_IFMT != libc::S_IFIFO {
            bind(plan, subject, root, node);
        } else {
            let Node { mode, major, minor, uid, gid, .. } = *node;
            plan.push(Op::Mknod { at: root, path: &node.path, mode, major, minor, uid, gid });
        }
    }
    let at = Pointer::to("/linux");
    for link in links(true) {
        plan.part(&at, format!("cannot make the link /{}", link.path));
        let (path, to) = (c_string(link.path, &at)?, c_string(link.to, &at)?);
        plan.push(Op::Symlink { at: root, path: &path, to: &to, exact: false });
    }
    Ok(())
}

/// Nobody makes devices in a user namespace: the host's node is bound.
fn bind(plan: &mut Plan, subject: &Subject<'_>, root: Slot, node: &Node) {
    let mut host = b"/".to_vec();
    host.extend_from_slice(node.path.to_bytes());
    let tree = mounts::tree(plan, subject, Path::new(OsStr::from_bytes(&host)), false);
    let target = plan.slot();
    plan.push(Op::Target { into: target, root, path: &node.path, kind: Kind::File, like: Slot::NONE });
    mounts::attach(plan, tree, target);
    if node.at != Pointer::to("/linux/devices") {
        // The host may have something else at that path: the step fails unless it is the node.
        let Node { mode, major, minor, uid, gid, .. } = *node;
        plan.push(Op::Mknod { at: root, path: &node.path, mode, major, minor, uid, gid });
    }
}

/// The nodes of the container: those that every one has and those that stand at a pointer, which win.
///
/// # Errors
/// A path is none below the root, a number is none, or two entries make different nodes of one path.
pub fn resolve(devices: &[LinuxDevice], at: &Pointer) -> Result<Vec<Node>, Invalid> {
    let mut nodes: Vec<Node> = Vec::with_capacity(devices.len() + DEFAULTS.len());
    for (i, device) in devices.iter().enumerate() {
        let node = node(device, &at.of(i))?;
        match nodes.iter().find(|other| other.path == node.path) {
            None => nodes.push(node),
            Some(other) if Node { at: other.at.clone(), ..node.clone() } == *other => {}
            Some(other) => {
                let why = format!("{} is another device already ({})", device.path().display(), other.at);
                return Err(Invalid::new(&node.at.of("path"), why));
            }
        }
    }
    let mut all = Vec::with_capacity(nodes.len() + DEFAULTS.len());
    for (path, major, minor) in DEFAULTS {
        let path = bytes(path.as_bytes(), at)?;
        if nodes.iter().all(|node| node.path != path) {
            all.push(Node { at: at.clone(), path, mode: libc::S_IFCHR | PERMISSIONS, major, minor, uid: 0, gid: 0 });
        }
    }
    all.append(&mut nodes);
    Ok(all)
}

fn node(device: &LinuxDevice, at: &Pointer) -> Result<Node, Invalid> {
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A => return Err(Invalid::new(&at.of("type"), "\"a\" is no type of a node (c, b, u, p are)")),
    };
    let (major, minor) = if kind == libc::S_IFIFO { (0, 0) } else { numbers(device, at)? };
    Ok(Node {
        at: at.clone(),
        path: path(device.path(), &at.of("path"))?,
        // Callers pass st_mode, or Go's os.FileMode, whose type bits are elsewhere.
        mode: kind | device.file_mode().unwrap_or(PERMISSIONS) & 0o7777,
        major,
        minor,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}

fn numbers(device: &LinuxDevice, at: &Pointer) -> Result<(u32, u32), Invalid> {
    let number = |number: i64, max: i64, key: &str| {
        let wrong = || Invalid::new(&at.of(key), format!("{key} number {number} is not within 0 to {max}"));
        u32::try_from(number).ok().filter(|_| number <= max).ok_or_else(wrong)
    };
    let numbers = (number(device.major(), MAJOR_MAX, "major")?, number(device.minor(), MINOR_MAX, "minor")?);
    if numbers == (0, 0) {
        return Err(Invalid::new(at, format!("{} has no major and minor number", device.path().display())));
    }
    Ok(numbers)
}

/// The path below the root, without what says nothing (`//`, `/./`).
fn path(path: &Path, at: &Pointer) -> Result<CString, Invalid> {
    let wrong = |why: &str| Invalid::new(at, format!("{:?} {why}", path.display().to_string()));
    if !path.is_absolute() {
        return Err(wrong("is not an absolute path"));
    }
    let mut relative = std::path::PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => relative.push(name),
            Component::ParentDir => return Err(wrong("has a \"..\" in it")),
            _ => {}
        }
    }
    if relative.as_os_str().is_empty() {
        return Err(wrong("is the root itself"));
    }
    bytes(relative.as_os_str().as_bytes(), at)
}

fn bytes(path: &[u8], at: &Pointer) -> Result<CString, Invalid> {
    CString::new(path).map_err(|_| Invalid::new(at, format!("{:?} holds a NUL", String::from_utf8_lossy(path))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn resolved(devices: Value) -> Result<Vec<Node>, Invalid> {
        let devices: Vec<LinuxDevice> = serde_json::from_value(devices).expect("devices are valid");
        resolve(&devices, &Pointer::to("/linux/devices"))
    }

    fn the(nodes: &[Node], path: &str) -> Node {
        let found: Vec<_> = nodes.iter().filter(|node| node.path.as_bytes() == path.as_bytes()).collect();
        assert_eq!(found.len(), 1, "{path} in {nodes:?}");
        found[0].clone()
    }

    #[test]
    fn every_container_has_the_defaults() {
        let nodes = resolved(json!([])).expect("nothing is valid");
        for (path, major, minor) in [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)] {
            let node = the(&nodes, &format!("dev/{path}"));
            assert_eq!((node.mode, node.major, node.minor, node.uid, node.gid), (libc::S_IFCHR | 0o666, major, minor, 0, 0));
        }
        assert_eq!(nodes.len(), 6);
    }

    #[test]
    fn a_device_is_what_the_configuration_says() {
        let nodes = resolved(json!([
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o100_640, "uid": 1, "gid": 2},
            {"path": "/dev//./sda", "type": "b", "major": 8, "minor": 0},
            {"path": "/run/pipe", "type": "p", "fileMode": 0o600},
        ]));
        let nodes = nodes.expect("devices are valid");
        let fuse = the(&nodes, "dev/fuse");
        assert_eq!((fuse.mode, fuse.major, fuse.minor, fuse.uid, fuse.gid), (libc::S_IFCHR | 0o640, 10, 229, 1, 2));
        assert_eq!(fuse.at.as_str(), "/linux/devices/0");
        assert_eq!(the(&nodes, "dev/sda").mode, libc::S_IFBLK | 0o666);
        assert_eq!(the(&nodes, "run/pipe").mode, libc::S_IFIFO | 0o600);
    }

    #[test]
    fn the_configuration_wins_over_a_default() {
        let nodes = resolved(json!([{"path": "/dev/tty", "type": "u", "major": 5, "minor": 0, "fileMode": 0o600, "gid": 5}]));
        let tty = the(&nodes.expect("the device is valid"), "dev/tty");
        assert_eq!((tty.mode, tty.gid), (libc::S_IFCHR | 0o600, 5));
    }

    #[test]
    fn the_same_node_twice_is_one_and_another_is_an_error() {
        let one = json!({"path": "/dev/x", "type": "c", "major": 10, "minor": 1});
        the(&resolved(json!([one, one])).expect("the same twice is valid"), "dev/x");
        let error = resolved(json!([one, {"path": "/dev/./x", "type": "c", "major": 10, "minor": 2}])).expect_err("another one");
        assert_eq!(error.to_string(), "/dev/./x is another device already (/linux/devices/0) (/linux/devices/1/path)");
    }

    #[test]
    fn what_cannot_be_a_node_is_refused_with_its_place() {
        for (device, key) in [
            (json!({"path": "/dev/x", "type": "a"}), "/type"),
            (json!({"path": "dev/x", "type": "p"}), "/path"),
            (json!({"path": "/dev/../../x", "type": "p"}), "/path"),
            (json!({"path": "/", "type": "p"}), "/path"),
            (json!({"type": "p"}), "/path"),
            (json!({"path": "/dev/\u{0}", "type": "p"}), "/path"),
            (json!({"path": "/dev/x", "type": "c"}), ""),
            (json!({"path": "/dev/x", "type": "c", "major": -1, "minor": 0}), "/major"),
            (json!({"path": "/dev/x", "type": "c", "major": 4096, "minor": 0}), "/major"),
            (json!({"path": "/dev/x", "type": "b", "major": 1, "minor": 1 << 20}), "/minor"),
        ] {
            let error = resolved(json!([device])).expect_err(key);
            assert_eq!(error.at.as_str(), format!("/linux/devices/0{key}"), "{error}");
        }
    }

    #[test]
    fn links_are_those_of_the_specification() {
        assert!(links(false).contains(&Link { path: "dev/stderr", to: "/proc/self/fd/2" }));
        assert!(links(false).iter().all(|link| link.path != "dev/core"));
        assert!(links(true).contains(&Link { path: "dev/core", to: "/proc/kcore" }));
    }
}
