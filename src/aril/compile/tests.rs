//! Plans as `aril explain` prints them: what a configuration, edited as JSON, becomes on a machine that is written by hand.

mod mounts;
mod refusals;

use super::{Plan, Request, compile, describe};
use crate::cgroup::{Hierarchy, Place, Version};
use crate::config::{Invalid, spec::Spec};
use crate::host::{Cgroups, Host};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A container of one program in four new namespaces.
fn minimal() -> Value {
    json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"user": {"uid": 7, "gid": 8}, "args": ["/bin/true"], "cwd": "/work"},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "uts"}, {"type": "ipc"}]},
    })
}

/// The machine's root on cgroup v2.
fn root() -> Host {
    Host::example()
}

fn user() -> Host {
    Host { euid: 1000, egid: 1000, capabilities: 0, ..root() }
}

fn place(version: Version) -> Place {
    let hierarchy = Hierarchy {
        version,
        controllers: if version == Version::V1 { vec!["memory".to_owned()] } else { Vec::new() },
        mount: PathBuf::from("/sys/fs/cgroup"),
        path: "/box".to_owned(),
        ours: true,
        delegated: None,
    };
    Place { hierarchies: vec![hierarchy], ..Place::default() }
}

fn plan_of(host: &Host, edit: impl FnOnce(&mut Value)) -> Result<Plan, Invalid> {
    let mut config = minimal();
    edit(&mut config);
    let spec: Spec = serde_json::from_value(config).expect("the configuration has the right types");
    compile(request(&spec, host, &place(version_of(host))))
}

fn version_of(host: &Host) -> Version {
    if host.cgroups == Cgroups::Unified { Version::V2 } else { Version::V1 }
}

fn request<'a>(spec: &'a Spec, host: &'a Host, place: &'a Place) -> Request<'a> {
    Request {
        spec,
        id: "box",
        bundle: Path::new("/bundle"),
        rootfs: Path::new("/bundle/rootfs"),
        host,
        place,
        hosts_namespaces: 0,
        links: const { &BTreeMap::new() },
        program: true,
        gate: true,
        no_pivot: false,
        no_new_keyring: false,
        preserve_fds: 0,
        env: &[],
        filter: None,
        exec: None,
    }
}

fn plan(host: &Host, edit: impl FnOnce(&mut Value)) -> Plan {
    plan_of(host, edit).unwrap_or_else(|invalid| panic!("{invalid}"))
}

fn printed(plan: &Plan) -> Vec<String> {
    plan.steps().map(|(_, op)| describe::step(&op)).collect()
}

fn steps(host: &Host, edit: impl FnOnce(&mut Value)) -> Vec<String> {
    printed(&plan(host, edit))
}

/// The names of the steps alone.
fn names(steps: &[String]) -> Vec<&str> {
    steps.iter().map(|step| step.split(' ').next().unwrap_or_default()).collect()
}

/// Where the only step that begins so stands.
fn position(steps: &[String], start: &str) -> usize {
    let found: Vec<usize> = (0..steps.len()).filter(|&i| steps[i].starts_with(start)).collect();
    assert_eq!(found.len(), 1, "{start} in {steps:#?}");
    found[0]
}

/// Asserts that steps that begin so stand in this order, each once.
fn in_order(steps: &[String], starts: &[&str]) {
    for pair in starts.windows(2) {
        assert!(position(steps, pair[0]) < position(steps, pair[1]), "{} before {} in {steps:#?}", pair[0], pair[1]);
    }
}

fn pointer_of(plan: &Plan, start: &str) -> String {
    let (part, _) = plan.steps().find(|(_, op)| describe::step(op).starts_with(start)).expect(start);
    part.at.as_str().to_owned()
}

fn refused(edit: impl FnOnce(&mut Value)) -> String {
    plan_of(&root(), edit).expect_err("the configuration cannot be").to_string()
}

const NEW_USER: &str = r#"[{"type": "user"}, {"type": "mount"}, {"type": "pid"}]"#;

fn in_new_userns(config: &mut Value, host_id: u32, size: u32) {
    let map = json!([{"containerID": 0, "hostID": host_id, "size": size}]);
    config["linux"] = json!({"namespaces": serde_json::from_str::<Value>(NEW_USER).expect("JSON"), "uidMappings": map, "gidMappings": map});
    config["process"]["user"] = json!({"uid": 0, "gid": 0});
}

#[test]
fn the_smallest_plan_word_for_word() {
    let plan = plan(&root(), |_| {});
    assert_eq!(describe_namespaces(&plan), "mount, pid, ipc, uts");
    let devices = ["null c 1:3", "zero c 1:5", "full c 1:7", "random c 1:8", "urandom c 1:9", "tty c 5:0"];
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
        ("core", "/proc/kcore"),
    ];
    let device = |device: &str| {
        let (name, numbers) = device.split_once(' ').expect("a name and numbers");
        format!("Mknod \"dev/{name}\" in source 0 {numbers}, mode 0666, owner 0:0")
    };
    let mut expected = vec![
        "Propagation \"/\" recursively private".to_owned(),
        "OpenPath \"/bundle/rootfs\" -> opened 0".to_owned(),
        "MoveMount source 0 at opened 0".to_owned(),
    ];
    expected.extend(devices.map(device));
    expected.extend(links.map(|(name, to)| format!("Symlink \"dev/{name}\" in source 0 to {to:?}")));
    expected.extend(
        [
            "PivotRoot source 0",
            "Chdir \"/work\" (a refusal is no fault yet)",
            "Keyring \"_ses.box\", permissions 0x80000",
            "AllCpus",
            "Home of uid 7, by the root's /etc/passwd",
            "Umask 0022",
            "BoundingSet none",
            "KeepCaps",
            "Groups []",
            "Gid 8",
            "Uid 7",
            "Capabilities effective and permitted none; inheritable none",
            "Ambient none",
            "Chdir \"/work\"",
            "Find [\"/bin/true\"]",
            "Listen source 1",
            "Created with source 1 open",
            "Gate source 1",
            "CloseFrom 3",
            "Exec with arguments [\"/bin/true\"], 0 variables",
        ]
        .map(str::to_owned),
    );
    assert_eq!(printed(&plan), expected);
}

fn describe_namespaces(plan: &Plan) -> String {
    super::namespaces::names(plan.namespaces)
}

#[test]
fn without_a_process_the_plan_ends_at_the_gate() {
    let spec = crate::config::parse(r#"{"ociVersion": "1.3.0", "root": {"path": "rootfs"}}"#.to_owned(), Path::new("config.json"));
    let spec = spec.expect("neither process nor linux is required").spec;
    let (host, place) = (root(), place(Version::V2));
    let request = Request { program: false, ..request(&spec, &host, &place) };
    let steps = printed(&compile(request).expect("it can be created"));
    assert!(steps.last().is_some_and(|step| step.starts_with("Gate")), "{steps:#?}");
    assert!(!steps.iter().any(|step| step.starts_with("Find") || step.starts_with("Exec")), "{steps:#?}");
    let refusal = compile(Request { gate: false, ..request }).expect_err("there is nothing to run");
    assert_eq!(refusal.to_string(), "process is missing (/)");
}

#[test]
fn steps_know_their_part_of_the_configuration() {
    let plan = plan(&root(), |c| {
        c["hostname"] = json!("h");
        c["mounts"] = json!([{"destination": "/a", "type": "tmpfs"}, {"destination": "/b", "type": "bind", "source": "/srv"}]);
        c["linux"]["maskedPaths"] = json!(["/x", "/y"]);
        c["process"]["noNewPrivileges"] = json!(true);
    });
    for (start, at) in [
        ("PivotRoot", "/root/path"),
        ("NewFs tmpfs -> ", "/mounts/0"),
        ("Target \"/b\"", "/mounts/1"),
        ("Mask \"/y\"", "/linux/maskedPaths/1"),
        ("Hostname", "/hostname"),
        ("Uid", "/process/user/uid"),
        ("NoNewPrivileges", "/process/noNewPrivileges"),
        ("Exec", "/process/args/0"),
    ] {
        assert_eq!(pointer_of(&plan, start), at, "{start}");
    }
}

#[test]
fn hooks_run_at_their_moments() {
    let hook = |path: &str| json!([{"path": path, "args": [path, "x"], "env": ["A=1"], "timeout": 5}]);
    let steps = steps(&root(), |c| {
        c["mounts"] = json!([{"destination": "/proc", "type": "proc"}]);
        c["hooks"] = json!({"prestart": hook("/p"), "createRuntime": hook("/r"), "createContainer": hook("/c"), "startContainer": hook("/s"), "poststart": hook("/q"), "poststop": hook("/t")});
    });
    in_order(
        &steps,
        &["Mknod \"dev/tty\"", "Ask RuntimeHooks", "Hook \"/c\"", "PivotRoot", "Created", "Gate", "Hook \"/s\"", "CloseFrom", "Exec"],
    );
    assert_eq!(steps[position(&steps, "Hook \"/c\"")], "Hook \"/c\" with arguments [\"/c\", \"x\"], 1 variable, at most 5 s");
    assert_eq!(steps.iter().filter(|step| step.starts_with("Hook") || step.starts_with("Ask")).count(), 3);
}

fn seccomp() -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]})
}

#[test]
fn seccomp_comes_last() {
    let steps = steps(&root(), |c| {
        c["linux"]["seccomp"] = seccomp();
        c["process"]["noNewPrivileges"] = json!(true);
    });
    in_order(&steps, &["NoNewPrivileges", "Created", "Gate", "CloseFrom", "Seccomp", "Exec"]);
    assert_eq!(names(&steps)[steps.len() - 2..], ["Seccomp", "Exec"]);
}

#[test]
fn without_no_new_privs_the_filter_borrows_a_capability_and_gives_it_back() {
    let steps = steps(&root(), |c| {
        c["linux"]["seccomp"] = seccomp();
        let kill = json!(["CAP_KILL"]);
        c["process"]["capabilities"] = json!({"bounding": kill, "permitted": kill, "effective": kill});
    });
    assert_eq!(names(&steps)[steps.len() - 4..], ["Seccomp", "Capabilities", "Ambient", "Exec"]);
    let sets: Vec<&String> = steps.iter().filter(|step| step.starts_with("Capabilities")).collect();
    assert_eq!(sets[0], "Capabilities effective and permitted CAP_KILL,CAP_SYS_ADMIN; inheritable none");
    assert_eq!(sets[1], "Capabilities effective and permitted CAP_KILL; inheritable none");
}

#[test]
fn capabilities_are_dropped_in_the_kernels_order() {
    let steps = steps(&root(), |c| {
        let kill = json!(["CAP_KILL"]);
        c["process"]["capabilities"] =
            json!({"bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": kill, "effective": [], "inheritable": kill, "ambient": kill});
        c["process"]["user"]["additionalGids"] = json!([10, 70000]);
    });
    in_order(
        &steps,
        &["BoundingSet CAP_CHOWN,CAP_KILL", "KeepCaps", "Groups [10, 70000]", "Gid 8", "Uid 7", "Capabilities", "Ambient CAP_KILL", "Find"],
    );
    assert_eq!(steps[position(&steps, "Capabilities")], "Capabilities effective none; permitted CAP_KILL; inheritable CAP_KILL");
}

#[test]
fn capabilities_that_the_machine_lacks_are_warned_of_and_left_out() {
    let host = Host { bounding: 1 << 5, capabilities: 1 << 21, ..root() };
    let plan = plan(&host, |c| c["process"]["capabilities"] = json!({"bounding": ["CAP_KILL", "CAP_SYS_TIME"]}));
    assert_eq!(plan.warnings.len(), 1, "{:?}", plan.warnings);
    assert!(
        plan.warnings[0].contains("CAP_SYS_TIME") && plan.warnings[0].contains("/process/capabilities/bounding"),
        "{:?}",
        plan.warnings
    );
    position(&printed(&plan), "BoundingSet CAP_KILL");
}

#[test]
fn a_new_user_namespace_is_entered_by_steps() {
    let plan = plan(&root(), |c| in_new_userns(c, 100_000, 65536));
    assert_eq!(plan.namespaces, 0, "the executor must be exec'ed in the host's user namespace");
    let steps = printed(&plan);
    assert_eq!(steps[..7], ["Unshare user", "Ask IdMaps", "Groups []", "Gid 0", "Uid 0", "Unshare mount, pid", "Fork"].map(str::to_owned));
    assert!(!steps.iter().any(|step| step.starts_with("Mknod")), "no device can be made there: {steps:#?}");
    position(&steps, "Target \"dev/null\" in source 0 (file)");
}

#[test]
fn without_root_the_executor_opens_the_sources_and_groups_stay() {
    let plan = plan(&user(), |c| {
        in_new_userns(c, 1000, 1);
        c["mounts"] = json!([{"destination": "/data", "type": "bind", "source": "/srv", "options": ["rbind", "ro"]}]);
    });
    let steps = printed(&plan);
    assert_eq!(
        steps[..8],
        ["Unshare user", "Dumpable on", "Ask IdMaps", "Dumpable off", "Gid 0", "Uid 0", "Unshare mount, pid", "Fork"].map(str::to_owned)
    );
    assert!(!steps.iter().any(|step| step.starts_with("Groups")), "setgroups(2) is given up with the map: {steps:#?}");
    let open = position(&steps, "OpenTree \"/srv\" recursively -> opened");
    assert!(steps[open + 1..=open + 2].iter().any(|step| step.starts_with("SetAttr") && step.ends_with(" ro")), "{steps:#?}");
    let sources: Vec<String> = plan.sources.iter().map(|(_, source)| describe::source(source, &place(Version::V2))).collect();
    assert_eq!(sources, ["the socket on which start is heard"]);
}

#[test]
fn namespaces_are_joined_in_the_order_of_the_configuration() {
    let plan = plan(&root(), |c| {
        c["linux"]["namespaces"] = json!([{"type": "network", "path": "/n"}, {"type": "mount"}, {"type": "ipc", "path": "/i"}]);
    });
    assert_eq!(describe_namespaces(&plan), "mount");
    assert_eq!(printed(&plan)[..2], ["Setns source 0 (network)", "Setns source 1 (ipc)"].map(str::to_owned));
    assert_eq!(describe::source(&plan.sources[1].1, &place(Version::V2)), "the ipc namespace /i");
    assert_eq!(pointer_of(&plan, "Setns source 1"), "/linux/namespaces/2");
}

#[test]
fn a_joined_user_namespace_is_entered_after_the_others_by_root_and_before_them_by_users() {
    let join = |c: &mut Value| {
        c["linux"]["namespaces"] = json!([{"type": "user", "path": "/u"}, {"type": "network", "path": "/n"}, {"type": "mount"}]);
    };
    let kinds = |host: &Host| {
        let steps = steps(host, join);
        let joins: Vec<String> = steps.into_iter().filter(|step| step.starts_with("Setns")).collect();
        joins.iter().map(|step| step.rsplit(' ').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&root()), ["(network)", "(user)"]);
    assert_eq!(kinds(&user()), ["(user)", "(network)"]);
}

#[test]
fn the_payloads_own_cgroup_is_entered_below_the_cgroup_namespace() {
    let mut place = place(Version::V2);
    place.hierarchies[0].delegated = Some("pay".to_owned());
    let steps = |namespaces: Value| {
        let mut config = minimal();
        config["linux"]["namespaces"] = namespaces;
        let spec: Spec = serde_json::from_value(config).expect("the configuration has the right types");
        printed(&compile(request(&spec, &root(), &place)).expect("it can be"))
    };
    let new = steps(json!([{"type": "mount"}, {"type": "cgroup"}, {"type": "network"}]));
    // The host sends the network namespace unasked: it is taken before anything is asked for.
    in_order(&new, &["Unshare cgroup", "Network", "Ask Cgroup", "PivotRoot"]);
    let joined = steps(json!([{"type": "pid", "path": "/p"}, {"type": "mount"}, {"type": "cgroup"}]));
    in_order(&joined, &["Unshare mount, cgroup", "Fork", "Ask Cgroup"]);
}

#[test]
fn a_joined_pid_namespace_takes_a_fork() {
    let steps = steps(&root(), |c| c["linux"]["namespaces"] = json!([{"type": "pid", "path": "/p"}, {"type": "mount"}]));
    assert_eq!(steps[..3], ["Setns source 0 (pid)", "Unshare mount", "Fork"].map(str::to_owned));
}

#[test]
fn clock_offsets_are_written_between_the_namespace_and_the_fork() {
    let steps = steps(&root(), |c| {
        c["linux"]["namespaces"] = json!([{"type": "time"}, {"type": "mount"}]);
        c["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 60}});
    });
    assert_eq!(steps[..3], ["Unshare mount, time", "Ask TimeOffsets", "Fork"].map(str::to_owned));
}

#[test]
fn a_cgroup_namespace_is_made_after_a_migration() {
    let cgroup = |c: &mut Value| c["linux"]["namespaces"] = json!([{"type": "cgroup"}, {"type": "mount"}]);
    for cgroups in [Cgroups::Unified, Cgroups::Split] {
        let plan = plan(&Host { cgroups, ..root() }, cgroup);
        assert_eq!(describe_namespaces(&plan), "mount");
        assert_eq!(printed(&plan)[0], "Unshare cgroup");
    }
}

#[test]
fn few_descriptors_are_set_last_and_other_limits_early() {
    let steps = steps(&root(), |c| {
        c["process"]["rlimits"] =
            json!([{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 6}, {"type": "RLIMIT_CORE", "soft": 0, "hard": u64::MAX}]);
    });
    in_order(&steps, &["Rlimit RLIMIT_CORE 0, unlimited", "Umask", "Created", "CloseFrom", "Rlimit RLIMIT_NOFILE 5, 6", "Exec"]);
}

#[test]
fn in_a_user_namespace_the_host_sets_the_limits() {
    let steps = steps(&root(), |c| {
        in_new_userns(c, 100_000, 65536);
        c["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}]);
    });
    in_order(&steps, &["Fork", "Ask Rlimits", "Umask"]);
    assert!(!names(&steps).contains(&"Rlimit"));
}

#[test]
fn the_terminal_is_made_in_the_container_and_before_its_paths_are_masked() {
    let steps = steps(&root(), |c| {
        c["process"]["terminal"] = json!(true);
        c["process"]["consoleSize"] = json!({"height": 24, "width": 80});
        c["linux"]["maskedPaths"] = json!(["/proc/kcore"]);
    });
    in_order(&steps, &["PivotRoot", "Console in source 0, owner 7, 24 rows of 80, as /dev/console", "Mask \"/proc/kcore\"", "Find"]);
}

#[test]
fn masked_paths_share_what_covers_them() {
    let steps = steps(&root(), |c| c["linux"]["maskedPaths"] = json!(["/proc/a", "/proc/b", "/sys/c"]));
    let cover = position(&steps, "NewFs tmpfs [\"size=0\", \"nr_inodes=2\", \"mode=555\"] ro,nosuid,nodev,noexec -> opened 1");
    for (i, path) in ["/proc/a", "/proc/b", "/sys/c"].iter().enumerate() {
        assert_eq!(steps[cover + 1 + i], format!("Mask {path:?} in source 0 by opened 1 or source 1"));
    }
}

#[test]
fn sysctls_go_through_a_private_procfs_that_is_closed_again() {
    let steps = steps(&root(), |c| c["linux"]["sysctl"] = json!({"kernel.shmmax": "1", "kernel.msgmax": "2"}));
    let first = position(&steps, "NewFs proc nosuid,nodev,noexec");
    let expected = ["Write \"sys/kernel/msgmax\" in opened 1 \"2\"", "Write \"sys/kernel/shmmax\" in opened 1 \"1\"", "Close opened 1"];
    assert_eq!(steps[first + 1..first + 4], expected.map(str::to_owned));
}

#[test]
fn the_root_is_sealed_when_all_is_made_in_it() {
    let steps = steps(&root(), |c| {
        c["root"]["readonly"] = json!(true);
        c["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
    });
    in_order(&steps, &["Symlink \"dev/core\"", "PivotRoot", "ReadOnly \"/proc/sys\"", "SetAttr source 0 ro", "Find"]);
}

#[test]
fn mounts_are_made_whole_before_they_are_attached() {
    let plan = plan(&root(), |c| {
        c["mounts"] = json!([
            {"destination": "/t", "type": "tmpfs", "options": ["nodev", "ro", "size=1m", "tmpcopyup"]},
            {"destination": "b", "type": "bind", "source": "data", "options": ["bind", "rro", "nosuid", "rshared"]},
        ]);
    });
    let steps = printed(&plan);
    let target = position(&steps, "Target \"/t\" in source 0 (directory) -> opened 2");
    assert_eq!(names(&steps[target..])[..6], ["Target", "NewFs", "KeepMode", "CopyUp", "SetAttr", "MoveMount"]);
    assert_eq!(steps[target + 1], "NewFs tmpfs [\"size=1m\"] nodev -> opened 1");
    assert_eq!(steps[target + 4], "SetAttr opened 1 ro");
    let bind = position(&steps, "Target \"/b\" in source 0 (as opened 3) -> opened 4");
    assert_eq!([&steps[bind - 1], &steps[bind + 1]], ["SetAttr opened 3 recursively shared", "MoveMount opened 3 at opened 4"]);
    assert_eq!(describe::source(&plan.copies[0].source, &place(Version::V2)), "a copy of /bundle/data, ro recursively, nosuid");
}

#[test]
fn without_a_mount_namespace_the_root_is_a_chroot_and_nothing_is_mounted() {
    let steps = steps(&root(), |c| c["linux"]["namespaces"] = json!([{"type": "pid"}]));
    assert_eq!(names(&steps)[..3], ["OpenPath", "Chroot", "Chdir"]);
    for name in ["MoveMount", "PivotRoot", "Mknod", "NewFs", "Propagation"] {
        assert!(!names(&steps).contains(&name), "{name} in {steps:#?}");
    }
}

#[test]
fn without_a_mount_namespace_mounts_are_the_hosts_and_the_root_is_a_chroot() {
    let plan = plan(&root(), |c| {
        c["linux"]["namespaces"] = json!([{"type": "pid"}]);
        c["mounts"] = json!([{"destination": "/a", "type": "tmpfs"}]);
    });
    assert!(plan.on_host);
    let steps = printed(&plan);
    in_order(&steps, &["OpenPath", "MoveMount source 0", "SetAttr source 0 recursively private", "NewFs tmpfs", "Chroot source 0"]);
    assert!(!names(&steps).contains(&"Propagation") && !names(&steps).contains(&"PivotRoot"), "{steps:#?}");
}
