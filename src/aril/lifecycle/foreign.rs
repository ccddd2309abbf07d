//! Containers of other runtimes in the same state root: they are recognised by the files in their directory, listed as far as these can be
//! read, and otherwise left alone.

use super::list::{Entry, user_name};
use super::{Id, Status, store};
use crate::error::{Error, Result};
use crate::sys::{self, Errno};
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::fstatat;
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// The largest state file that is read, in bytes.
const SIZE_MAX: u64 = 16 << 20;

/// Files that tell whose a container's directory is; the first that is there decides.
const SIGNS: &[(&str, Option<&str>)] = &[
    // aril keeps a state.json and a config.json as well.
    (store::RECORD, None),
    (store::GATE, None),
    ("youki_config.json", Some("youki")),
    ("status", Some("crun")),
    ("state.json", Some("runc")),
    // Of a create that is at work or was cut short: crun copies the configuration first.
    ("config.json", Some("crun")),
    ("exec.fifo", Some("runc")),
];

/// The runtime that made the container of this state directory, if it was not aril. Nothing is read but names.
///
/// # Errors
/// It cannot be told what is there.
pub fn whose(dir: BorrowedFd<'_>) -> Result<Option<&'static str>> {
    for (file, owner) in SIGNS {
        if sys::fs::exists(dir, file)? {
            return Ok(*owner);
        }
    }
    Ok(None)
}

/// What `owner` says of the container of this state directory. What is not said is empty.
///
/// # Errors
/// The state file cannot be read, or is no JSON.
pub fn read(dir: BorrowedFd<'_>, owner: &'static str, id: &Id) -> Result<Entry> {
    let owner_id = sys::fs::fstat(dir)?.st_uid;
    let blank = Entry { id: id.as_str().to_owned(), owner: user_name(owner_id), runtime: Some(owner), ..Entry::default() };
    let file = if owner == "crun" { "status" } else { "state.json" };
    let state = match load(dir, file) {
        Ok(state) => state,
        Err(Error::Sys(sys::Error { errno: Errno::ENOENT, .. })) => return Ok(Entry { status: Status::Creating, ..blank }),
        Err(error) => return Err(error),
    };
    let entry = match owner {
        "crun" => crun(dir, &state, blank),
        "youki" => youki(&state, blank),
        _ => runc(dir, &state, blank),
    };
    Ok(if entry.status == Status::Stopped { Entry { pid: 0, ..entry } } else { entry })
}

fn runc(dir: BorrowedFd<'_>, state: &Value, blank: Entry) -> Entry {
    let config = &state["config"];
    let mut annotations = blank.annotations.clone();
    for label in config["labels"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        annotations.extend(label.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
    let cgroups = state["cgroup_paths"].as_object();
    let frozen = cgroups.is_some_and(|paths| paths.values().filter_map(Value::as_str).any(frozen));
    Entry {
        oci_version: text(&config["version"]),
        pid: pid(&state["init_process_pid"]),
        status: status(dir, pid(&state["init_process_pid"]), state["init_process_start"].as_u64(), frozen),
        bundle: annotations.remove("bundle").unwrap_or_default(),
        rootfs: text(&config["rootfs"]),
        created: text(&state["created"]),
        annotations,
        ..blank
    }
}

fn crun(dir: BorrowedFd<'_>, state: &Value, blank: Entry) -> Entry {
    let config = load(dir, "config.json").unwrap_or_default();
    let cgroup = text(&state["cgroup-path"]);
    let frozen =
        ["", "/freezer", "/unified"].iter().any(|hierarchy| !cgroup.is_empty() && frozen(&format!("/sys/fs/cgroup{hierarchy}/{cgroup}")));
    Entry {
        oci_version: text(&config["ociVersion"]),
        pid: pid(&state["pid"]),
        status: status(dir, pid(&state["pid"]), state["process-start-time"].as_u64(), frozen),
        rootfs: Path::new(&text(&state["bundle"])).join(text(&state["rootfs"])).to_string_lossy().into_owned(),
        bundle: text(&state["bundle"]),
        created: text(&state["created"]),
        annotations: serde_json::from_value(config["annotations"].clone()).unwrap_or_default(),
        ..blank
    }
}

/// It notes no start time, so that another process of the same pid passes for the container's.
fn youki(state: &Value, blank: Entry) -> Entry {
    let status = match state["status"].as_str() {
        _ if started(pid(&state["pid"])).is_none() => Status::Stopped,
        Some("creating") => Status::Creating,
        Some("created") => Status::Created,
        Some("paused") => Status::Paused,
        Some("running") => Status::Running,
        _ => Status::Stopped,
    };
    Entry {
        oci_version: text(&state["ociVersion"]),
        pid: pid(&state["pid"]),
        status,
        bundle: text(&state["bundle"]),
        created: text(&state["created"]),
        annotations: serde_json::from_value(state["annotations"].clone()).unwrap_or_default(),
        ..blank
    }
}

/// runc and crun: the process of that start time lives, and the fifo that `start` waits at is there until then.
fn status(dir: BorrowedFd<'_>, pid: i32, start: Option<u64>, frozen: bool) -> Status {
    match started(pid) {
        Some(now) if start.is_none_or(|start| start == now) => match (has(dir, "exec.fifo"), frozen) {
            (true, _) => Status::Created,
            (false, true) => Status::Paused,
            (false, false) => Status::Running,
        },
        _ => Status::Stopped,
    }
}

/// When a process that lives was started, in clock ticks since boot: field 22 of proc_pid_stat(5).
fn started(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok().filter(|_| pid > 0)?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let alive = !matches!(fields.next()?, "Z" | "X");
    fields.nth(18)?.parse().ok().filter(|_| alive)
}

/// Whether the cgroup at this path, of either version, is frozen.
fn frozen(cgroup: &str) -> bool {
    let is = |file: &str, value: &str| std::fs::read_to_string(format!("{cgroup}/{file}")).is_ok_and(|text| text.trim_end() == value);
    is("cgroup.freeze", "1") || is("freezer.state", "FROZEN")
}

fn has(dir: BorrowedFd<'_>, file: &str) -> bool {
    fstatat(dir, file, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
}

fn load(dir: BorrowedFd<'_>, name: &str) -> Result<Value> {
    // O_NONBLOCK: a fifo of that name must not hold the caller up.
    let file = File::from(sys::fs::openat(dir, name, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK, 0)?);
    let mut bytes = Vec::new();
    file.take(SIZE_MAX).read_to_end(&mut bytes).map_err(|error| sys::Error::new("read", name, sys::fs::errno(&error)))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Other(format!("{name} is no valid JSON: {error}")))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn pid(value: &Value) -> i32 {
    value.as_i64().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{read, started, whose};
    use crate::lifecycle::list::{Entry, list, state};
    use crate::lifecycle::{Global, Id, Refused, Status};
    use crate::log::Log;
    use serde_json::{Value, json};
    use std::fs::{self, File};
    use std::os::fd::AsFd;
    use std::path::PathBuf;

    /// A state root that goes with the test.
    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Root {
            let path = std::env::temp_dir().join(format!("aril-foreign-{}-{name}", std::process::id()));
            fs::create_dir(&path).expect("a fresh directory");
            Root(path)
        }

        fn container(&self, id: &str, files: &[(&str, Value)]) {
            let dir = self.0.join(id);
            fs::create_dir(&dir).expect("a fresh directory");
            for (name, content) in files {
                fs::write(dir.join(name), content.to_string()).expect("it can be written");
            }
        }

        fn whose(&self, id: &str) -> Option<&'static str> {
            whose(File::open(self.0.join(id)).expect("it is there").as_fd()).expect("it can be looked at")
        }

        fn read(&self, id: &str) -> Entry {
            let owner = self.whose(id).expect("it is another runtime's");
            read(File::open(self.0.join(id)).expect("it is there").as_fd(), owner, &Id::new(id).expect("an id")).expect("it can be read")
        }

        fn global(&self) -> Global {
            Global { root: self.0.clone(), cgroup_manager: crate::cgroup::Manager::Cgroupfs, log: Log::default() }
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn me() -> i32 {
        i32::try_from(std::process::id()).expect("a pid")
    }

    fn runc(start: u64) -> Value {
        json!({
            "id": "r", "init_process_pid": me(), "init_process_start": start, "created": "2026-01-02T03:04:05.6Z",
            "cgroup_paths": {}, "config": { "rootfs": "/b/rootfs", "version": "1.2.0", "labels": ["bundle=/b", "key=a=b"] }
        })
    }

    fn my_start() -> u64 {
        started(me()).expect("this process lives")
    }

    #[test]
    fn runc_is_read() {
        let root = Root::new("runc");
        root.container("r", &[("state.json", runc(my_start()))]);
        let entry = root.read("r");
        assert_eq!((entry.status, entry.pid, entry.bundle.as_str(), entry.runtime), (Status::Running, me(), "/b", Some("runc")));
        assert_eq!((entry.rootfs.as_str(), entry.oci_version.as_str()), ("/b/rootfs", "1.2.0"));
        assert_eq!(entry.annotations.into_iter().collect::<Vec<_>>(), [("key".to_owned(), "a=b".to_owned())]);
        root.container("waiting", &[("state.json", runc(my_start())), ("exec.fifo", json!(0))]);
        assert_eq!(root.read("waiting").status, Status::Created);
        root.container("reused", &[("state.json", runc(my_start() + 1))]);
        assert_eq!((root.read("reused").status, root.read("reused").pid), (Status::Stopped, 0));
        root.container("half", &[("exec.fifo", json!(0))]);
        assert_eq!((root.read("half").status, root.whose("half")), (Status::Creating, Some("runc")));
        root.container("cgroup", &[("cgroup.freeze", json!(1))]);
        let mut paused = runc(my_start());
        paused["cgroup_paths"] = json!({ "": root.0.join("cgroup") });
        root.container("paused", &[("state.json", paused)]);
        assert_eq!(root.read("paused").status, Status::Paused);
    }

    #[test]
    fn crun_is_read() {
        let root = Root::new("crun");
        let status = json!({
            "pid": me(), "process-start-time": my_start(), "cgroup-path": "", "rootfs": "rootfs", "bundle": "/b",
            "created": "2026-01-02T03:04:05.6Z", "owner": "root", "detached": true
        });
        root.container("c", &[("status", status), ("config.json", json!({ "ociVersion": "1.1.0", "annotations": { "k": "v" } }))]);
        let entry = root.read("c");
        assert_eq!((entry.status, entry.pid, entry.bundle.as_str(), entry.runtime), (Status::Running, me(), "/b", Some("crun")));
        assert_eq!((entry.oci_version.as_str(), entry.rootfs.as_str(), entry.annotations.len()), ("1.1.0", "/b/rootfs", 1));
        root.container("half", &[("config.json", json!({})), ("exec.fifo", json!(0))]);
        assert_eq!((root.whose("half"), root.read("half").status), (Some("crun"), Status::Creating));
    }

    #[test]
    fn youki_is_read() {
        let root = Root::new("youki");
        let state =
            json!({ "ociVersion": "v1.0.2", "id": "y", "status": "created", "pid": me(), "bundle": "/b", "annotations": { "k": "v" } });
        root.container("y", &[("state.json", state.clone()), ("youki_config.json", json!({}))]);
        let entry = root.read("y");
        assert_eq!((entry.status, entry.pid, entry.bundle.as_str(), entry.runtime), (Status::Created, me(), "/b", Some("youki")));
        let mut gone = state;
        gone["pid"] = json!(i32::MAX);
        root.container("gone", &[("state.json", gone), ("youki_config.json", json!({}))]);
        assert_eq!((root.read("gone").status, root.read("gone").pid), (Status::Stopped, 0));
    }

    #[test]
    fn the_list_names_them_and_state_refuses() {
        let root = Root::new("list");
        root.container("b", &[("state.json", runc(my_start()))]);
        root.container("a", &[("status", json!({ "bundle": "/a" }))]);
        root.container("broken", &[]);
        fs::write(root.0.join("broken/status"), "{ \"pid\": ").expect("it can be written");
        fs::write(root.0.join("a-file"), "").expect("it can be written");
        let entries = list(&root.global()).expect("it can be read");
        let names: Vec<_> = entries.iter().map(|entry| (entry.id.as_str(), entry.runtime)).collect();
        assert_eq!(names, [("a", Some("crun")), ("b", Some("runc"))]);
        let refused = state(&root.global(), &Id::new("b").expect("an id")).expect_err("it is runc's");
        assert!(matches!(refused, crate::Error::Refused(Refused::Foreign { owner: "runc", .. })), "{refused:?}");
        let refused = state(&root.global(), &Id::new("nothing").expect("an id")).expect_err("there is none");
        assert!(matches!(refused, crate::Error::Refused(Refused::Missing { .. })), "{refused:?}");
    }

    #[test]
    fn what_aril_made_is_not_foreign() {
        let root = Root::new("ours");
        root.container("ours", &[(crate::lifecycle::store::RECORD, json!(0)), ("state.json", json!({})), ("config.json", json!({}))]);
        root.container("empty", &[]);
        assert_eq!((root.whose("ours"), root.whose("empty")), (None, None));
    }

    #[test]
    fn a_root_that_is_not_there_is_empty() {
        let global = Global { root: "/does/not/exist".into(), cgroup_manager: crate::cgroup::Manager::Cgroupfs, log: Log::default() };
        assert_eq!(list(&global).expect("it is no error"), []);
    }

    #[test]
    fn keys_in_the_order_that_people_know() {
        let root = Root::new("keys");
        root.container("r", &[("state.json", runc(my_start()))]);
        let text = root.read("r").pretty();
        let keys = ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner", "runtime"];
        let places: Vec<_> = keys.iter().map(|key| text.find(&format!("\n  \"{key}\": "))).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
    }
}
