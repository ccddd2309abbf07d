//! Which hierarchies this machine has mounted, and where this process is in them: `/proc/self/mountinfo` and `/proc/self/cgroup`.

use super::place::Version;
use std::path::{Path, PathBuf};

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mounted {
    pub(super) version: Version,
    /// Of v1; `name=systemd` for a hierarchy without any. cgroup2 has those that no v1 hierarchy has, which it says itself.
    pub(super) controllers: Vec<String>,
    pub(super) mount: PathBuf,
    /// Which cgroup of the hierarchy is mounted there.
    pub(super) root: String,
}

/// Mount options of v1 that are no controllers (`proc_cgroup_show_options` of the kernel and the file system's own).
const NO_CONTROLLERS: [&str; 9] = ["rw", "ro", "none", "all", "noprefix", "clone_children", "xattr", "cpuset_v2_mode", "favordynmods"];

/// Where hierarchies are mounted; those elsewhere are other people's (a container's, a test's).
const BELOW: &str = "/sys/fs/cgroup/";

/// A machine with cgroup v2 alone.
pub(super) fn unified() -> Mounted {
    Mounted { version: Version::V2, controllers: Vec::new(), mount: PathBuf::from("/sys/fs/cgroup"), root: "/".to_owned() }
}

/// The hierarchies of a machine that has v1: each once, in the order of the mount table.
pub(super) fn parse(mountinfo: &str) -> Vec<Mounted> {
    let mut found: Vec<Mounted> = Vec::new();
    for mounted in mountinfo.lines().filter_map(parse_line) {
        let same = |other: &Mounted| other.version == mounted.version && other.controllers == mounted.controllers;
        if mounted.mount.starts_with(BELOW) && !found.iter().any(same) {
            found.push(mounted);
        }
    }
    found
}

/// `36 35 98:0 /root /mount/point rw,noatime optional:1 - type source super,options` (proc_pid_mountinfo(5))
fn parse_line(line: &str) -> Option<Mounted> {
    let (fields, rest) = line.split_once(" - ")?;
    let mut rest = rest.split(' ');
    let version = match rest.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    let options = rest.nth(1)?;
    let mut fields = fields.split(' ').skip(3);
    let (root, mount) = (unescape(fields.next()?), unescape(fields.next()?));
    let is_controller = |option: &&str| !NO_CONTROLLERS.contains(option) && (!option.contains('=') || option.starts_with("name="));
    let controllers = match version {
        Version::V1 => options.split(',').filter(is_controller).map(str::to_owned).collect(),
        Version::V2 => Vec::new(),
    };
    Some(Mounted { version, controllers, mount: PathBuf::from(mount), root })
}

/// Octal escapes of space, tab, newline and backslash.
fn unescape(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Where a process is: the lines of its `/proc/PID/cgroup`.
#[derive(Debug, Clone, Default)]
pub(super) struct Own(Vec<(String, String)>);

impl Own {
    pub(super) fn parse(text: &str) -> Own {
        // 4:memory:/user.slice
        let line = |line: &str| line.split_once(':')?.1.split_once(':').map(|(of, path)| (of.to_owned(), path.to_owned()));
        Own(text.lines().filter_map(line).collect())
    }

    /// The cgroup within a mounted hierarchy, as a path from the mount point; `None` if it is not below the mount.
    pub(super) fn within(&self, mounted: &Mounted) -> Option<String> {
        let is_it = |of: &str| match mounted.version {
            Version::V2 => of.is_empty(),
            Version::V1 => mounted.controllers.iter().all(|controller| of.split(',').any(|name| name == controller)) && !of.is_empty(),
        };
        let (_, path) = self.0.iter().find(|(of, _)| is_it(of))?;
        if path.split('/').any(|component| component == "..") {
            return None;
        }
        let below = Path::new(path).strip_prefix(&mounted.root).ok()?;
        Some(format!("/{}", below.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 /docker/a\\040b /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory,release_agent=/x,clone_children
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
42 31 0:31 / /var/lib/x/sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
";

    #[test]
    fn hierarchies_of_the_mount_table() {
        let found = parse(HYBRID);
        let seen: Vec<(Version, String, &Path, &str)> =
            found.iter().map(|m| (m.version, m.controllers.join(","), m.mount.as_path(), m.root.as_str())).collect();
        let expected = [
            (Version::V1, "cpu,cpuacct".to_owned(), Path::new("/sys/fs/cgroup/cpu,cpuacct"), "/"),
            (Version::V1, "memory".to_owned(), Path::new("/sys/fs/cgroup/memory"), "/docker/a b"),
            (Version::V1, "name=systemd".to_owned(), Path::new("/sys/fs/cgroup/systemd"), "/"),
            (Version::V2, String::new(), Path::new("/sys/fs/cgroup/unified"), "/"),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn own_cgroup_is_seen_from_the_mount() {
        let own = Own::parse("4:memory:/docker/a b/inner\n3:cpu,cpuacct:/c\n1:name=systemd:/../..\n0::/u/v:w\n");
        let found = parse(HYBRID);
        let within: Vec<Option<String>> = found.iter().map(|mounted| own.within(mounted)).collect();
        assert_eq!(within, [Some("/c".to_owned()), Some("/inner".to_owned()), None, Some("/u/v:w".to_owned())]);
    }
}
