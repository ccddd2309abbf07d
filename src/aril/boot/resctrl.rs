//! Groups of resctrl: a directory each (Documentation/filesystems/resctrl.rst).

use crate::compile::intel_rdt::Wanted;
use crate::config::Pointer;
use crate::error::{Doing, Error, Result};
use crate::sys::{self, Errno};
use nix::fcntl::{AT_FDCWD, OFlag};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const SCHEMATA: &str = "schemata";
const TASKS: &str = "tasks";
const SCHEMATA_MAX: u64 = 1 << 20;

/// The group of a container, as the record has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Where resctrl is mounted.
    mount: PathBuf,
    /// Its directory.
    directory: PathBuf,
    /// Whether it is made for the container, and removed with it.
    ours: bool,
    /// The directory of its monitoring group, which always is.
    monitoring: Option<PathBuf>,
}

/// What held in a group before it was changed: lines for its `schemata`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before(Vec<String>);

fn at() -> Pointer {
    Pointer::to("/linux/intelRdt")
}

/// Where resctrl is mounted in this process's mount namespace.
///
/// # Errors
/// It is not.
pub fn mount() -> Result<PathBuf> {
    let info = sys::fs::read_text(Path::new("/proc/self/mountinfo"), 1 << 24)?;
    let find = || Error::Other("no resctrl file system is mounted on this machine".to_owned());
    mount_in(&info).ok_or_else(find).doing_at(&at(), || "cannot set the container's share of caches and memory bandwidth".to_owned())
}

fn mount_in(mountinfo: &str) -> Option<PathBuf> {
    let whole =
        |line: &&str| line.split(' ').nth(3) == Some("/") && line.split_once(" - ").is_some_and(|(_, fs)| fs.starts_with("resctrl "));
    mountinfo.lines().find(whole)?.split(' ').nth(4).map(PathBuf::from)
}

impl Group {
    /// The group that is wanted, where resctrl is mounted. Nothing is made yet: the record is to know of it before.
    #[must_use]
    pub fn of(wanted: &Wanted, mount: &Path) -> Group {
        let directory = if wanted.group.is_empty() { mount.to_owned() } else { mount.join(&wanted.group) };
        let ours = !wanted.named && !exists(&directory);
        let monitoring = wanted.monitoring.as_ref().map(|name| directory.join("mon_groups").join(name)).filter(|path| !exists(path));
        Group { mount: mount.to_owned(), directory, ours, monitoring }
    }

    /// Makes it, and sets what is to hold in it.
    ///
    /// # Errors
    /// A group that has to be there is not, or what holds there is something else; the kernel takes no more groups, or not what is written.
    pub fn create(&self, wanted: &Wanted) -> Result<()> {
        let there = exists(&self.directory);
        if !there && wanted.named && wanted.schemata.is_empty() {
            let why = format!("there is no resctrl group {}, and nothing says what would hold in it", self.directory.display());
            return Err(Error::Other(why)).doing_at(&at().of("closID"), || "cannot put the container into its class".to_owned());
        }
        let set_up = || -> Result<()> {
            if wanted.monitoring.is_some() && self.monitoring.is_none() {
                return Err(Error::Other("it has a monitoring group of the container's name already".to_owned()));
            }
            if there {
                self.compare(&wanted.compared)?;
            } else {
                sys::fs::mkdirat(AT_FDCWD, text(&self.directory), 0o755)?;
            }
            if !wanted.schemata.is_empty() {
                self.write(&self.directory.join(SCHEMATA), &(wanted.schemata.join("\n") + "\n"))?;
            }
            match &self.monitoring {
                Some(directory) => Ok(sys::fs::mkdirat(AT_FDCWD, text(directory), 0o755)?),
                None => Ok(()),
            }
        };
        set_up().doing_at(&at(), || format!("cannot set up the resctrl group {}", self.directory.display()))
    }

    /// Puts a process into it; its children are in it from then on.
    ///
    /// # Errors
    /// The errno of writing the file.
    pub fn join(&self, pid: i32) -> Result<()> {
        let join = || -> Result<()> {
            // To the monitoring group belong only processes of the group that it is in.
            for directory in [Some(&self.directory), self.monitoring.as_ref()].into_iter().flatten() {
                self.write(&directory.join(TASKS), &format!("{pid}\n"))?;
            }
            Ok(())
        };
        join().doing_at(&at(), || format!("cannot put process {pid} into the resctrl group {}", self.directory.display()))
    }

    /// The same for a task that may have ended.
    ///
    /// # Errors
    /// As of [`Group::join`].
    pub fn join_living(&self, task: i32) -> Result<()> {
        let gone = || !exists(&Path::new("/proc").join(task.to_string()));
        self.join(task).or_else(|error| if gone() { Ok(()) } else { Err(error) })
    }

    /// Has other lines hold in it; resources that are not named in them stay. Returns how those that are were before.
    ///
    /// # Errors
    /// The kernel does not take them. It takes all or none.
    pub fn change(&self, lines: &[String]) -> Result<Before> {
        let change = || -> Result<Before> {
            let named: Vec<&str> = lines.iter().filter_map(|line| resource(line)).collect();
            let found = sys::fs::read_text(&self.directory.join(SCHEMATA), SCHEMATA_MAX)?;
            let before = found.lines().filter(|line| resource(line).is_some_and(|resource| named.contains(&resource)));
            let before = Before(before.map(|line| line.trim().to_owned()).collect());
            self.write(&self.directory.join(SCHEMATA), &(lines.join("\n") + "\n"))?;
            Ok(before)
        };
        change().doing_at(&at(), || format!("cannot change the resctrl group {}", self.directory.display()))
    }

    /// Has hold in it what did before.
    ///
    /// # Errors
    /// The kernel does not take it.
    pub fn restore(&self, before: &Before) -> Result<()> {
        self.change(&before.0).map(drop)
    }

    /// Removes what was made for the container. What is gone is no error.
    ///
    /// # Errors
    /// The errno of `rmdir(2)`.
    pub fn remove(&self) -> Result<()> {
        for directory in [self.monitoring.as_ref(), self.ours.then_some(&self.directory)].into_iter().flatten() {
            match sys::fs::rmdirat(AT_FDCWD, text(directory)) {
                Err(sys::Error { errno: Errno::ENOENT, .. }) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// What is to hold in a group that was there must hold already: it is others', too.
    fn compare(&self, wanted: &[String]) -> Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        let found = sys::fs::read_text(&self.directory.join(SCHEMATA), SCHEMATA_MAX)?;
        let holds = shares(found.lines());
        let differs = shares(wanted.iter().map(String::as_str)).into_iter().find(|(share, value)| holds.get(share) != Some(value));
        match differs {
            None => Ok(()),
            Some(((resource, domain), value)) => {
                let there = holds.get(&(resource.clone(), domain.clone())).map_or("nothing", String::as_str);
                Err(Error::Other(format!("it is there already with {resource}:{domain}={there}, not {value}")))
            }
        }
    }

    /// Writes to a file, with the kernel's own words where it does not take it.
    fn write(&self, path: &Path, value: &str) -> Result<()> {
        let write = || -> sys::Result<()> {
            let file = sys::fs::open(path, OFlag::O_WRONLY, 0)?;
            sys::fs::write_all(&file, value.as_bytes(), text(path))
        };
        write().map_err(|error| {
            let words = sys::fs::read_text(&self.mount.join("info/last_cmd_status"), 4096).unwrap_or_default();
            match words.trim() {
                "" | "ok" => error.into(),
                words => Error::Other(format!("{error} ({words})")),
            }
        })
    }
}

/// What a line of `schemata` is about: `L3`, `MB`.
fn resource(line: &str) -> Option<&str> {
    line.split_once(':').map(|(resource, _)| resource.trim())
}

/// The value for each resource and domain: `L3:0=ff;1=0f` is two. Leading zeroes make no difference.
fn shares<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<(String, String), String> {
    let mut shares = BTreeMap::new();
    for (resource, domains) in lines.filter_map(|line| line.split_once(':')) {
        for (domain, value) in domains.split(';').filter_map(|domain| domain.split_once('=')) {
            let plain = |text: &str| {
                let digits = text.trim().trim_start_matches('0').to_ascii_lowercase();
                if digits.is_empty() { "0".to_owned() } else { digits }
            };
            shares.insert((resource.trim().to_owned(), plain(domain)), plain(value));
        }
    }
    shares
}

fn exists(path: &Path) -> bool {
    sys::fs::exists(AT_FDCWD, text(path)).unwrap_or(false)
}

/// Paths of resctrl are made of its mount point and of names that were checked.
fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A directory that looks like resctrl, with a group `gold`; removed in the end.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Tree {
            let root = std::env::temp_dir().join(format!("aril-resctrl-{name}-{}", std::process::id()));
            for directory in ["info", "mon_groups", "gold/mon_groups"] {
                fs::create_dir_all(root.join(directory)).expect("a directory");
            }
            for directory in ["", "gold"] {
                fs::write(root.join(directory).join("schemata"), "    L3:0=7ff;1=07ff\n    MB:0= 20;1=100\n").expect("a file");
                fs::write(root.join(directory).join("tasks"), "").expect("a file");
            }
            Tree(root)
        }

        fn read(&self, path: &str) -> String {
            fs::read_to_string(self.0.join(path)).expect(path)
        }

        /// What the kernel puts into a new group.
        fn fill(&self, path: &str) {
            fs::write(self.0.join(path).join("schemata"), "").expect("a file");
            fs::write(self.0.join(path).join("tasks"), "").expect("a file");
            fs::create_dir(self.0.join(path).join("mon_groups")).expect("a directory");
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    fn named(group: &str, compared: &[&str]) -> Wanted {
        Wanted { group: group.to_owned(), named: true, compared: lines(compared), schemata: lines(compared), monitoring: None }
    }

    #[test]
    fn the_mount_is_found() {
        let info = "22 1 0:20 / /sys rw - sysfs sysfs rw\n30 22 0:30 /g /mnt rw - resctrl resctrl rw\n31 22 0:30 / /sys/fs/resctrl rw shared:9 - resctrl resctrl rw\n";
        assert_eq!(mount_in(info), Some(PathBuf::from("/sys/fs/resctrl")));
        assert_eq!(mount_in("22 1 0:20 / /resctrl rw - tmpfs resctrl rw\n"), None);
    }

    #[test]
    fn a_group_of_the_containers_own_is_made_and_removed() {
        let tree = Tree::new("own");
        let wanted = Wanted { group: "box".to_owned(), ..Wanted::default() };
        let group = Group::of(&wanted, &tree.0);
        assert!(!tree.0.join("box").is_dir(), "the record comes first");
        group.create(&wanted).expect("it can be made");
        assert!(group.create(&wanted).is_ok(), "and is there");
        tree.fill("box");
        group.join(7).expect("it takes processes");
        assert_eq!((tree.read("box/tasks").as_str(), tree.read("box/schemata").as_str()), ("7\n", ""), "nothing was asked to hold");
        for file in ["schemata", "tasks"] {
            fs::remove_file(tree.0.join("box").join(file)).expect("it is there"); // as the kernel does
        }
        fs::remove_dir(tree.0.join("box/mon_groups")).expect("it is there");
        group.remove().expect("it can be removed");
        assert!(!tree.0.join("box").is_dir());
        group.remove().expect("again is fine");
    }

    #[test]
    fn one_of_its_name_that_was_there_is_left() {
        let tree = Tree::new("left");
        let wanted = Wanted { group: "gold".to_owned(), ..Wanted::default() };
        let group = Group::of(&wanted, &tree.0);
        group.create(&wanted).and_then(|()| group.remove()).expect("it is there");
        assert!(tree.0.join("gold").is_dir());
    }

    #[test]
    fn a_named_group_is_used_as_it_is() {
        let tree = Tree::new("named");
        let wanted = named("gold", &[]);
        let group = Group::of(&wanted, &tree.0);
        group.create(&wanted).and_then(|()| group.join(8)).and_then(|()| group.remove()).expect("it is there");
        assert_eq!(tree.read("gold/tasks"), "8\n");
        assert!(tree.read("gold/schemata").contains("7ff"), "nothing was written");
        let wanted = named("silver", &[]);
        let error = Group::of(&wanted, &tree.0).create(&wanted).expect_err("it is not there");
        assert_eq!(error.at().map(Pointer::as_str), Some("/linux/intelRdt/closID"));
        assert!(!tree.0.join("silver").is_dir());
    }

    #[test]
    fn a_named_group_is_made_where_it_is_said_what_holds() {
        let tree = Tree::new("made");
        let wanted = named("silver", &["L3:0=f"]);
        let group = Group::of(&wanted, &tree.0);
        let error = group.create(&wanted).expect_err("a plain directory has no schemata");
        assert!(error.chain().contains("schemata"), "{}", error.chain());
        assert!(tree.0.join("silver").is_dir());
        group.remove().expect("it is not ours");
        assert!(tree.0.join("silver").is_dir());
    }

    #[test]
    fn what_holds_in_a_group_that_is_there_has_to_be_what_is_wanted() {
        let tree = Tree::new("compared");
        let same = named("gold", &["L3:1=7ff;0=0007FF", "MB:0=20"]);
        Group::of(&same, &tree.0).create(&same).expect("it is the same");
        let written = tree.read("gold/schemata");
        assert!(written.starts_with("L3:1=7ff;0=0007FF\nMB:0=20\n"), "as it was said, in its order: {written}");
        for (line, words) in [("L3:0=f", "L3:0=7ff, not f"), ("L2:0=f", "L2:0=nothing, not f")] {
            let other = named("gold", &[line]);
            let tree = Tree::new("differs");
            let error = Group::of(&other, &tree.0).create(&other).expect_err(line);
            assert_eq!(error.at().map(Pointer::as_str), Some("/linux/intelRdt"));
            assert!(error.chain().contains(words), "{}", error.chain());
        }
    }

    #[test]
    fn the_default_class_is_the_root() {
        let tree = Tree::new("root");
        let wanted = named("", &[]);
        let group = Group::of(&wanted, &tree.0);
        group.create(&wanted).and_then(|()| group.join(9)).and_then(|()| group.remove()).expect("it is there");
        assert_eq!(tree.read("tasks"), "9\n");
    }

    #[test]
    fn a_monitoring_group_is_below_and_goes_with_the_container() {
        let tree = Tree::new("monitored");
        let wanted = Wanted { monitoring: Some("box".to_owned()), ..named("gold", &[]) };
        let group = Group::of(&wanted, &tree.0);
        group.create(&wanted).expect("it can be made");
        let directory = tree.0.join("gold/mon_groups/box");
        assert!(directory.is_dir());
        let other = Group::of(&wanted, &tree.0);
        assert!(other.create(&wanted).is_err(), "one of this name is somebody else's");
        other.remove().expect("and stays");
        assert!(directory.is_dir());
        fs::write(directory.join("tasks"), "").expect("a file");
        group.join(9).expect("it takes processes");
        assert_eq!((tree.read("gold/tasks").as_str(), tree.read("gold/mon_groups/box/tasks").as_str()), ("9\n", "9\n"));
        fs::remove_file(directory.join("tasks")).expect("it is there");
        group.remove().expect("it can be removed");
        assert!(!directory.is_dir() && tree.0.join("gold").is_dir());
    }

    #[test]
    fn a_change_returns_what_held_of_the_same_resources() {
        let tree = Tree::new("changed");
        let wanted = named("gold", &[]);
        let group = Group::of(&wanted, &tree.0);
        let before = group.change(&lines(&["MB:0=50"])).expect("it is taken");
        assert_eq!(before, Before(lines(&["MB:0= 20;1=100"])));
        assert!(tree.read("gold/schemata").starts_with("MB:0=50\n"));
        // A plain file keeps the end of what it said before.
        fs::write(tree.0.join("gold/schemata"), "").expect("a file");
        group.restore(&before).expect("it is taken");
        assert_eq!(tree.read("gold/schemata"), "MB:0= 20;1=100\n");
    }

    #[test]
    fn the_kernels_words_are_in_the_message() {
        let tree = Tree::new("words");
        fs::write(tree.0.join("info/last_cmd_status"), "Mask f00f has non-consecutive 1-bits\n").expect("a file");
        let wanted = named("silver", &["L3:0=f00f"]);
        let error = Group::of(&wanted, &tree.0).create(&wanted).expect_err("there is no schemata");
        assert!(error.chain().contains("(Mask f00f has non-consecutive 1-bits)"), "{}", error.chain());
    }
}
