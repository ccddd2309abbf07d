//! The cgroup on this machine's own hierarchies: as root, `cargo test -p aril --lib cgroup::native -- --ignored`, on a v1, hybrid or v2 host.

use super::*;
use crate::config::spec::Spec;
use crate::host::Host;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A cgroup path that no other test has; what is there afterwards is removed.
struct Bench {
    parent: String,
    host: Host,
    spec: Spec,
}

impl Bench {
    fn new(resources: Value) -> Bench {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let parent = format!("/aril-cgtest-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut bench = Bench { parent, host: Host::probe().expect("the host"), spec: Spec::default() };
        bench.configure(resources);
        bench
    }

    fn configure(&mut self, resources: Value) {
        let path = format!("{}/c", self.parent);
        let config = json!({"ociVersion": "1.0.2", "linux": {"cgroupsPath": path, "resources": resources}});
        self.spec = serde_json::from_value(config).expect("a configuration");
    }

    fn place(&self) -> Place {
        Place::resolve(&self.spec, "id", &self.host, Manager::Cgroupfs).expect("a place")
    }

    fn limits(&self, place: &Place) -> Limits {
        Limits::resolve(self.spec.linux().as_ref(), place, &self.host).expect("limits")
    }

    fn create(&self) -> (Place, Cgroup) {
        let mut place = self.place();
        assert!(place.hierarchies.iter().all(|hierarchy| hierarchy.ours));
        let limits = self.limits(&place);
        let cgroup = Cgroup::create(&mut place).expect("a cgroup");
        cgroup.apply(&limits).expect("limits");
        (place, cgroup)
    }

    fn directories(&self) -> Vec<PathBuf> {
        self.place().hierarchies.iter().map(Hierarchy::directory).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for directory in self.directories() {
            let _ = std::fs::remove_dir(&directory);
            let _ = std::fs::remove_dir(directory.parent().expect("the test's own"));
        }
    }
}

/// A shell that waits for its script, so that it can be moved first.
fn shell() -> Child {
    Command::new("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a shell")
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("a pid")
}

/// What a script prints, standard error after standard output.
fn finish(mut shell: Child, script: &str) -> String {
    shell.stdin.take().expect("stdin").write_all(script.as_bytes()).expect("a script");
    let output = shell.wait_with_output().expect("an end");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// Starts a script that prints a line when it is ready, and waits for that.
fn ready(shell: &mut Child, script: &str) {
    shell.stdin.take().expect("stdin").write_all(script.as_bytes()).expect("a script");
    let mut byte = [0];
    shell.stdout.as_mut().expect("stdout").read_exact(&mut byte).expect("a line");
}

fn killed(mut child: Child) -> bool {
    child.wait().expect("an end").signal() == Some(libc::SIGKILL)
}

fn there(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

#[test]
#[ignore = "needs root and writable cgroups"]
fn a_process_is_in_it_on_every_hierarchy_and_ends_with_it() {
    let bench = Bench::new(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]}));
    let (place, cgroup) = bench.create();
    let mut shell = shell();
    cgroup.add(pid(&shell)).expect("a move");
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", shell.id())).expect("its cgroups");
    let elsewhere: Vec<&str> = own.lines().filter(|line| !line.ends_with(&format!("{}/c", bench.parent))).collect();
    // In a namespace with cgroup v2 alone the v1 hierarchies are there, but mounted nowhere.
    assert!(elsewhere.is_empty() || cgroup.fd().is_some(), "{elsewhere:?}");
    assert_eq!(own.lines().count() - elsewhere.len(), place.hierarchies.len());
    assert_eq!(cgroup.fd().is_none(), cgroup.needs_migration());
    let limit = cgroup.member("hugetlb").expect("hugetlb").dir.read("hugetlb.2MB.max").expect("a limit");
    assert_eq!(limit.trim(), "4194304");
    assert_eq!(cgroup.processes().expect("processes"), [pid(&shell)]);
    ready(&mut shell, "echo; exec sleep 1000");
    cgroup.remove().expect("removal");
    assert!(killed(shell));
    assert!(bench.directories().iter().all(|directory| !there(directory)));
    assert!(Cgroup::open(&place).expect("a look").is_none());
    place.remove().expect("nothing to remove");
}

#[test]
#[ignore = "needs root and writable cgroups"]
fn cgroups_below_and_many_processes_go_with_it() {
    let bench = Bench::new(json!({}));
    let (place, cgroup) = bench.create();
    let mut shell = shell();
    cgroup.add(pid(&shell)).expect("a move");
    let mut script = String::from("trap '' TERM; ");
    for directory in bench.directories() {
        let inner = directory.join("inner/most").display().to_string();
        std::fs::create_dir_all(&inner).expect("a cgroup below");
        if cgroup.member("cpuset").is_some_and(|member| member.dir.path() == directory) && cgroup.needs_migration() {
            continue; // a cpuset below has no CPUs, and takes no process
        }
        script += &format!("sleep 1000 & echo $! > {inner}/cgroup.procs; ");
    }
    script += "for i in $(seq 100); do sleep 1000 & done; echo; wait";
    ready(&mut shell, &script);
    assert!(cgroup.processes().expect("processes").len() > 100);
    // Half of it was removed by somebody who was killed: on one hierarchy there is nothing any more, or there are processes left.
    cgroup.kill_all(libc::SIGTERM).expect("signals");
    drop(cgroup);
    place.remove().expect("removal");
    assert!(killed(shell));
    assert!(bench.directories().iter().all(|directory| !there(directory)));
}

#[test]
#[ignore = "needs root and writable cgroups"]
fn a_frozen_process_stands_still_and_can_be_killed() {
    let bench = Bench::new(json!({}));
    let (_, cgroup) = bench.create();
    let mut shell = shell();
    cgroup.add(pid(&shell)).expect("a move");
    assert!(!cgroup.is_frozen().expect("a look"));
    cgroup.freeze().expect("freeze");
    assert!(cgroup.is_frozen().expect("a look"));
    cgroup.thaw().expect("thaw");
    assert!(!cgroup.is_frozen().expect("a look"));
    // Its own end of a signal that it handles is put off; one that would kill it kills it frozen, on v2.
    ready(&mut shell, "trap 'exit 3' TERM; echo; while :; do sleep 1000; done");
    cgroup.freeze().expect("freeze");
    // SIGTERM waits until the process is thawed, and the container stays paused.
    cgroup.kill_all(libc::SIGTERM).expect("signals");
    assert!(cgroup.is_frozen().expect("a look"));
    assert!(cgroup.processes().expect("processes").contains(&pid(&shell)));
    cgroup.kill_all(libc::SIGKILL).expect("signals");
    assert!(killed(shell));
    cgroup.remove().expect("removal");
}

#[test]
#[ignore = "needs root and writable cgroups"]
fn a_frozen_one_is_removed() {
    let bench = Bench::new(json!({}));
    let (place, cgroup) = bench.create();
    let mut shell = shell();
    cgroup.add(pid(&shell)).expect("a move");
    ready(&mut shell, "sleep 1000 & echo; wait");
    cgroup.freeze().expect("freeze");
    drop(cgroup);
    place.remove().expect("removal");
    assert!(killed(shell));
    assert!(bench.directories().iter().all(|directory| !there(directory)));
}

#[test]
#[ignore = "needs root and writable cgroups"]
fn a_signal_reaches_every_process() {
    let bench = Bench::new(json!({}));
    let (_, cgroup) = bench.create();
    let mut shell = shell();
    cgroup.add(pid(&shell)).expect("a move");
    ready(&mut shell, "sleep 1000 & sleep 1000 & echo; exec sleep 1000");
    cgroup.kill_all(libc::SIGUSR1).expect("signals");
    assert_eq!(shell.wait().expect("an end").signal(), Some(libc::SIGUSR1));
    cgroup.remove().expect("removal");
}

#[test]
#[ignore = "needs root and writable cgroups"]
fn one_that_is_used_or_frozen_is_refused_and_left_alone() {
    let bench = Bench::new(json!({}));
    let (place, cgroup) = bench.create();
    let shell = shell();
    cgroup.add(pid(&shell)).expect("a move");
    let refusal = |bench: &Bench| {
        let mut second = bench.place();
        assert!(second.hierarchies.iter().all(|hierarchy| !hierarchy.ours));
        let error = Cgroup::create(&mut second).expect_err("a refusal").chain();
        second.remove().expect("nothing is its own");
        error
    };
    let error = refusal(&bench);
    assert!(error.contains("not empty: 1 process(es) found"), "{error}");
    assert_eq!(cgroup.processes().expect("processes"), [pid(&shell)]);
    assert!(finish(shell, "echo alive").contains("alive"));
    cgroup.freeze().expect("freeze");
    let error = refusal(&bench);
    assert!(error.contains("frozen"), "{error}");
    cgroup.thaw().expect("thaw");
    // Empty and thawed it is taken, and stays when the container goes.
    let mut second = bench.place();
    let taken = Cgroup::create(&mut second).expect("a cgroup");
    taken.apply(&bench.limits(&second)).expect("limits");
    taken.remove().expect("removal");
    assert!(bench.directories().iter().all(|directory| there(directory)));
    place.remove().expect("removal");
    assert!(bench.directories().iter().all(|directory| !there(directory)));
}

#[test]
#[ignore = "needs root and writable cgroups"]
fn one_below_a_cgroup_with_processes_can_be_joined() {
    let bench = Bench::new(json!({}));
    let above = shell();
    for directory in bench.directories() {
        let parent = directory.parent().expect("the test's own").to_owned();
        std::fs::create_dir(&parent).expect("a cgroup");
        if there(&parent.join("cgroup.clone_children")) {
            continue; // on v1 every cgroup may have both
        }
        std::fs::write(parent.join("cgroup.procs"), above.id().to_string()).expect("a move");
    }
    let (_, cgroup) = bench.create();
    let shell = shell();
    cgroup.add(pid(&shell)).expect("a move");
    if let Some(v2) = cgroup.v2().filter(|v2| !create::why_lacking(v2, "pids").starts_with("the host")) {
        let why = create::why_lacking(v2, "pids");
        assert!(why.contains("does not hand the pids controller down: it has processes of its own"), "{why}");
    }
    assert!(finish(shell, "echo in").contains("in"));
    cgroup.remove().expect("removal");
    assert!(finish(above, "echo alive").contains("alive"));
}

const LOOK: &str = "for d in null zero kmsg; do head -c0 /dev/$d && echo $d yes || echo $d no; done\n";

#[test]
#[ignore = "needs root and writable cgroups"]
fn devices_are_what_the_rules_say_and_change_while_it_runs() {
    let mut bench = Bench::new(json!({"devices": [{"allow": false, "access": "rwm"}]}));
    let (place, cgroup) = bench.create();
    let seen = |cgroup: &Cgroup| {
        let shell = shell();
        cgroup.add(pid(&shell)).expect("a move");
        let text = finish(shell, LOOK);
        ["null yes", "zero yes", "kmsg yes"].map(|line| text.contains(line))
    };
    assert_eq!(seen(&cgroup), [true, true, false]);
    for (rules, expected) in [
        (json!([{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"}]), [true, true, true]),
        (json!([{"allow": false, "type": "c", "major": 1, "minor": 5, "access": "rwm"}]), [true, false, false]),
        (
            json!((0..300).map(|n| json!({"allow": true, "type": "c", "major": n, "minor": 11, "access": "r"})).collect::<Vec<_>>()),
            [true, true, true],
        ),
        (json!([{"allow": false, "type": "c", "major": 1, "access": "r"}]), [false, false, false]),
        (json!([{"allow": true, "access": "rwm"}]), [true, true, true]),
        (
            json!([{"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "r"}]),
            [true, true, false],
        ),
        (json!([]), [true, true, false]),
    ] {
        bench.configure(json!({"devices": rules}));
        let again = Cgroup::open(&place).expect("a look").expect("a cgroup");
        again.apply(&bench.limits(&place)).expect("limits");
        assert_eq!(seen(&cgroup), expected, "{rules}");
        if let Some(fd) = cgroup.fd() {
            assert!(sys::bpf::prog_query_cgroup_device(fd).expect("a query").len() <= 1);
        }
    }
    cgroup.remove().expect("removal");
}

#[test]
#[ignore = "needs root and writable cgroups"]
fn limits_grow_and_shrink_together_or_say_what_is_missing() {
    let bench = Bench::new(json!({}));
    let (place, cgroup) = bench.create();
    let memory = |limit: i64, swap: i64| json!({"memory": {"limit": limit, "swap": swap}, "pids": {"limit": 50}, "cpu": {"shares": 512, "quota": 20000}});
    let set = |resources: Value| -> Result<()> {
        let change = Change::of(&json!({}), &resources, "1.3.0", place.memory_is_v2())?;
        cgroup.apply(&Limits::change(&change, &place, &bench.host)?)
    };
    let read = |controller, file| cgroup.member(controller).expect(controller).dir.read(file).expect(file).trim().to_owned();
    let sizes = [(64 << 20, 128 << 20), (256 << 20, 512 << 20), (32 << 20, 32 << 20)];
    if cgroup.members.iter().any(|member| member.hierarchy.has("memory")) {
        for (limit, swap) in sizes {
            set(memory(limit, swap)).expect("limits");
            assert_eq!(read("memory", "memory.limit_in_bytes"), limit.to_string());
            assert_eq!(read("memory", "memory.memsw.limit_in_bytes"), swap.to_string());
        }
        assert_eq!(read("pids", "pids.max"), "50");
        assert_eq!([read("cpu", "cpu.shares"), read("cpu", "cpu.cfs_quota_us")], ["512", "20000"]);
    } else if cgroup.member("memory").expect("v2").dir.read("memory.max").is_ok() {
        for (limit, swap) in sizes {
            set(memory(limit, swap)).expect("limits");
            assert_eq!(read("memory", "memory.max"), limit.to_string());
            assert_eq!(read("memory", "memory.swap.max"), (swap - limit).to_string());
        }
        assert_eq!([read("pids", "pids.max"), read("cpu", "cpu.weight"), read("cpu", "cpu.max")], ["50", "59", "20000 100000"]);
        set(json!({"cpu": {"cpus": "0", "mems": "0", "burst": 1000}, "unified": {"memory.high": "16777216", "cgroup.max.depth": "3"}}))
            .expect("limits");
        assert_eq!([read("cpuset", "cpuset.cpus"), read("cpu", "cpu.max.burst"), read("memory", "memory.high")], ["0", "1000", "16777216"]);
        set(json!({"cpu": {"idle": 1, "shares": 512}})).expect("an idle cgroup has no weight to set");
        assert_eq!(read("cpu", "cpu.idle"), "1");
    } else if cgroup.v2().is_some_and(|v2| create::why_lacking(v2, "memory").contains("no memory controller")) {
        let error = set(memory(64 << 20, 128 << 20)).expect_err("there is no such controller").chain();
        assert!(error.contains("(/cpu/shares)"), "{error}");
        assert!(error.contains("the host has no cpu controller in cgroup v2") && !error.contains("no such file"), "{error}");
    }
    cgroup.remove().expect("removal");
}

/// As another user: nothing may be made, and nothing was asked for.
#[test]
#[ignore = "needs root, to become somebody else"]
fn who_may_not_make_cgroups_does_without() {
    const NOBODY: u32 = 65534;
    if sys::process::geteuid() == 0 {
        let name = "cgroup::native::who_may_not_make_cgroups_does_without";
        let mut again = Command::new(std::env::current_exe().expect("this program"));
        let output = again.args(["--ignored", "--exact", name]).uid(NOBODY).gid(NOBODY).output().expect("a second run");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let host = Host::probe().expect("the host");
    let config =
        |linux: Value| -> Spec { serde_json::from_value(json!({"ociVersion": "1.0.2", "linux": linux})).expect("a configuration") };
    let spec = config(json!({}));
    let mut place = Place::resolve(&spec, "aril-cgtest-nobody", &host, Manager::Cgroupfs).expect("a place");
    let limits = Limits::resolve(spec.linux().as_ref(), &place, &host).expect("limits");
    let cgroup = Cgroup::create(&mut place).expect("no cgroup");
    assert!(place.hierarchies.is_empty() && cgroup.fd().is_none() && !cgroup.needs_migration());
    cgroup.apply(&limits).expect("no rules");
    place.remove().expect("nothing to remove");

    // What was asked for is not passed over.
    let spec = config(json!({"resources": {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}}));
    let mut place = Place::resolve(&spec, "aril-cgtest-nobody", &host, Manager::Cgroupfs).expect("a place");
    let limits = Limits::resolve(spec.linux().as_ref(), &place, &host).expect("limits");
    let cgroup = Cgroup::create(&mut place).expect("no cgroup");
    let error = cgroup.apply(&limits).expect_err("a limit").chain();
    assert!(error.contains("/linux/resources/hugepageLimits/0") && error.contains("not permitted"), "{error}");

    let spec = config(json!({"cgroupsPath": "/aril-cgtest-nobody"}));
    let mut place = Place::resolve(&spec, "aril-cgtest-nobody", &host, Manager::Cgroupfs).expect("a place");
    let error = Cgroup::create(&mut place).expect_err("a path that was asked for").chain();
    assert!(error.contains("permission denied"), "{error}");
}
