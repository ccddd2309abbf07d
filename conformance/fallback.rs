//! Kernels that lack what aril uses, and profiles of outer containers that forbid it: each row of aril's table that is in use is switched off. Where there
//! is a fallback the suite's core passes all the same; else the refusal says what is missing and leaves nothing.

use crate::support::without::{Rule, WORD, When};
use crate::support::{Call, Case, Container, Need, Test, assert_has, json, suite};
use features::{FEATURES, Feature, Without};
use std::collections::BTreeSet;
use std::ffi::OsStr;

#[path = "../src/aril/host/features.rs"]
#[allow(dead_code)]
mod features;

pub const TESTS: &[Test] = suite![
    every_feature_in_use_is_switched_off: [Need::Runtime("aril")],
    the_kernel_forbids_execution_of_memory: [Need::File("/proc/sys/vm/memfd_noexec"), Need::Program("unshare")],
];

/// The tests that pass without any feature that has a fallback.
const CORE: &[(&str, &[&str])] = &[
    ("cgroup", &["the_process_is_in_it_in_every_hierarchy", "delete_removes_it", "cgroup_namespace_root_is_the_containers"]),
    ("cli", &["kill_all_signals_all_without_a_pid_namespace"]),
    ("devices", &["default_devices_work", "the_default_rules_deny_the_rest"]),
    ("hooks", &["run_runs_all", "namespaces_of_create_container"]),
    (
        "lifecycle",
        &[
            "create_then_start_then_delete",
            "run_gives_the_exit_status",
            "run_of_a_killed_container_gives_137",
            "kill_of_a_created_container",
            "delete_force_ends_all_without_a_pid_namespace",
        ],
    ),
    ("masks", &["the_default_masks", "a_readonly_directory"]),
    ("mounts", &["rbind_takes_submounts_along", "tmpfs_with_data", "proc_shows_the_own_pid_namespace"]),
    ("namespaces", &["each_named_namespace_is_new"]),
    ("process", &["only_three_descriptors_are_open"]),
    ("terminal", &["run_at_a_terminal_gives_the_process_one"]),
    ("user_namespace", &["ids_are_mapped", "delete_and_kill_work", "a_start_with_hooks"]),
];

/// One way in which a feature is not there.
#[derive(Debug)]
pub struct Switch {
    /// Its name in the table.
    feature: &'static str,
    /// What tells it from others of the feature.
    how: &'static str,
    pub rules: &'static [Rule],
    needs: &'static [Need],
    /// What a user sees then.
    body: fn(&Case),
}

impl Switch {
    fn name(&self) -> String {
        format!("{}_{}", self.feature, self.how)
    }

    fn row(&self) -> &'static Feature {
        FEATURES.iter().find(|row| row.name == self.feature).expect("a row of the table")
    }

    /// The words before a command that is to do without.
    pub fn launcher(&self, case: &Case) -> Vec<String> {
        let own = std::env::current_exe().expect("this program");
        vec![own.display().to_string(), WORD.to_owned(), self.name(), case.path("refusals").display().to_string()]
    }
}

/// The switch of this name.
pub fn switch(name: &OsStr) -> &'static Switch {
    SWITCHES.iter().find(|switch| name == switch.name().as_str()).expect("the name of a switch")
}

/// A row of [`SWITCHES`].
const fn off(feature: &'static str, how: &'static str, rules: &'static [Rule], needs: &'static [Need], body: fn(&Case)) -> Switch {
    Switch { feature, how, rules, needs, body }
}

/// Answers these calls so.
macro_rules! refuse {
    ($($call:ident $when:expr => $errno:ident),+) => {
        &[$(Rule { call: libc::$call, when: $when, errno: libc::$errno }),+]
    };
}

/// A call that is unknown to the kernel or to an outer profile, or forbidden by it.
macro_rules! forbid {
    ($feature:literal, $needs:expr, $body:expr, $($call:ident),+) => {
        [$(
            off($feature, concat!(stringify!($call), "_ENOSYS"), refuse![$call When::Always => ENOSYS], $needs, $body),
            off($feature, concat!(stringify!($call), "_EPERM"), refuse![$call When::Always => EPERM], $needs, $body),
        )+]
    };
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const CLONE_NEWTIME: u64 = 0x80;
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
const MFD_NOEXEC_SEAL: u64 = 8;
const MFD_EXEC: u64 = 16;
const F_ADD_SEALS: u64 = 1033;
const F_SEAL_EXEC: u64 = 0x20;
const P_PIDFD: u64 = 3;

const INTO_CGROUP: When = When::Points(0, CLONE_INTO_CGROUP);

#[rustfmt::skip]
static FALLBACKS: &[Switch] = &[
    off("clone_into_cgroup", "EINVAL", refuse![SYS_clone3 INTO_CGROUP => EINVAL], &[Need::V2], scenario),
    off("clone_into_cgroup", "E2BIG", refuse![SYS_clone3 INTO_CGROUP => E2BIG], &[Need::V2], scenario),
    off("clone_into_cgroup", "EPERM", refuse![SYS_clone3 INTO_CGROUP => EPERM], &[Need::V2], scenario),
    off("exec_seal", "EINVAL", refuse![
        SYS_memfd_create When::Bits(1, MFD_EXEC | MFD_NOEXEC_SEAL) => EINVAL,
        SYS_fcntl When::IsWithBits((1, F_ADD_SEALS), (2, F_SEAL_EXEC)) => EINVAL
    ], &[], scenario),
    // By its name: before Linux 6.3 the flags do not tell what is to be executed from what is not.
    off("memfd_execution", "EACCES", refuse![SYS_memfd_create When::Text(0, "aril-init") => EACCES], &[], scenario),
    off("cgroup_kill", "ENOENT", refuse![SYS_openat2 When::Text(1, "cgroup.kill") => ENOENT], &[Need::V2], scenario),
    off("pidfd_inode", "ENOSYS", refuse![SYS_fstat When::Descriptor(0, "pidfd") => ENOSYS, SYS_newfstatat When::Descriptor(0, "pidfd") => ENOSYS], &[], scenario),
    off("session_keyring", "ENOSYS", refuse![SYS_keyctl When::Always => ENOSYS], &[], scenario),
    off("cpu_affinity", "EPERM", refuse![SYS_sched_setaffinity When::Always => EPERM], &[], scenario),
    off("cpu_affinity", "ENOSYS", refuse![SYS_sched_setaffinity When::Always => ENOSYS], &[], scenario),
];

static REFUSALS: &[&[Switch]] = &[
    &forbid!["clone3", &[], creation, SYS_clone3],
    &forbid!["openat2", &[], creation, SYS_openat2],
    &forbid!["mount_api", &[], creation, SYS_open_tree, SYS_move_mount, SYS_fsopen, SYS_fsconfig, SYS_fsmount],
    &forbid!["mount_setattr", &[], creation, SYS_mount_setattr],
    &forbid!["close_range", &[], creation, SYS_close_range],
    &forbid!["faccessat2", &[], creation, SYS_faccessat2],
    &forbid!["pidfd_open", &[], killing, SYS_pidfd_open],
    &forbid!["pidfd_send_signal", &[], killing, SYS_pidfd_send_signal],
    &forbid!["bpf_devices", &[Need::V2], creation, SYS_bpf],
    &[
        off("session_keyring", "EPERM", refuse![SYS_keyctl When::Always => EPERM], &[], keyring),
        off("waitid_pidfd", "ENOSYS", refuse![SYS_waitid When::Is(0, P_PIDFD) => ENOSYS], &[], running),
        off("time_namespace", "EINVAL", refuse![SYS_unshare When::Bits(0, CLONE_NEWTIME) => EINVAL], &[], time_namespace),
        off("idmapped_mount", "EINVAL", refuse![SYS_mount_setattr When::Points(3, MOUNT_ATTR_IDMAP) => EINVAL], &[], idmapped_mount),
        off("cpu_idle", "ENOENT", refuse![SYS_openat2 When::Text(1, "cpu.idle") => ENOENT], &[Need::Controller("cpu")], cpu_idle),
    ],
];

static SWITCHES: std::sync::LazyLock<Vec<&'static Switch>> =
    std::sync::LazyLock::new(|| FALLBACKS.iter().chain(REFUSALS.iter().copied().flatten()).collect());

/// A test for each switch, and the core for each feature that has a fallback, by its first switch.
pub fn switched_off(parts: &[(&'static str, &'static [Test])]) -> Vec<(String, Test)> {
    let needs = |switch: &Switch, test: &[Need]| -> &'static [Need] { [switch.needs, test, &[Need::Runtime("aril")]].concat().leak() };
    let mut all: Vec<(String, Test)> = Vec::new();
    for switch in SWITCHES.iter().copied() {
        let test = Test { name: switch.feature, needs: needs(switch, &[]), body: switch.body, without: Some(switch) };
        all.push((format!("fallback::{}", switch.name()), test));
    }
    let mut seen = BTreeSet::new();
    for switch in FALLBACKS.iter().filter(|switch| seen.insert(switch.feature)) {
        for (part, names) in CORE {
            let tests = parts.iter().find(|(name, _)| name == part).map_or(&[][..], |(_, tests)| tests);
            for name in *names {
                let test = tests.iter().find(|test| test.name == *name).unwrap_or_else(|| panic!("there is no test {part}::{name}"));
                let test = Test { needs: needs(switch, test.needs), without: Some(switch), ..test.clone() };
                all.push((format!("fallback::{}::{part}::{name}", switch.name()), test));
            }
        }
    }
    all
}

fn every_feature_in_use_is_switched_off(_: &Case) {
    let used = |feature: &&Feature| !matches!(feature.without, Without::Unused(_));
    let table: BTreeSet<_> = FEATURES.iter().filter(used).map(|feature| feature.name).collect();
    let off: BTreeSet<_> = SWITCHES.iter().map(|switch| switch.feature).collect();
    assert_eq!(off, table);
    let fallback = |feature: &&Feature| matches!(feature.without, Without::Fallback(_));
    let table: BTreeSet<_> = FEATURES.iter().filter(fallback).map(|feature| feature.name).collect();
    let off: BTreeSet<_> = FALLBACKS.iter().map(|switch| switch.feature).collect();
    assert_eq!(off, table);
    let names: BTreeSet<_> = SWITCHES.iter().map(|switch| switch.name()).collect();
    assert_eq!(names.len(), SWITCHES.len());
}

/// What is switched off was asked for and refused, so that the test says something.
#[track_caller]
fn assert_refusals(t: &Case) {
    assert_ne!(t.refusals(), 0, "nothing was refused to the runtime");
}

/// The life of a container whose processes do not end with the first of them.
fn scenario(t: &Case) {
    let b = t.bundle_sh("setsid sleep 300 & setsid sleep 300 & wait");
    b.leave_namespace("pid");
    b.hook_sh("createRuntime", "cat >/dev/null");
    let c = t.create(&b);
    assert_eq!(c.status(), "created");
    c.start();
    assert_eq!(c.status(), "running");
    c.call("kill", &["--all"], &["KILL"]).run().ok();
    c.wait_for("stopped").delete();
    assert_refusals(t);
}

/// The refusal names the call, what for, since when the kernel has it, and who may forbid it.
#[track_caller]
fn assert_explained(t: &Case, text: &str) {
    let row = t.without().expect("a switch").row();
    let (major, minor) = row.since;
    assert!(row.calls.iter().any(|call| text.contains(&format!("{call} is refused"))), "{text}");
    for words in [row.to, &format!("since {major}.{minor}, this is {}.", t.environment.kernel.0), "seccomp filter"] {
        assert_has(text, words);
    }
    assert_refusals(t);
}

fn creation(t: &Case) {
    let text = t.refused(&t.bundle());
    assert_explained(t, &text);
}

fn killing(t: &Case) {
    let c = t.create(&t.bundle());
    let text = c.call("kill", &[], &["KILL"]).run().refused().to_owned();
    assert_explained(t, &text);
    t.with_everything();
    assert_eq!(c.status(), "created");
    c.delete_force().ok();
}

fn running(t: &Case) {
    let b = t.bundle();
    b.args(&["true"]);
    let text = t.run_call(&[], &b).run().refused().to_owned();
    assert_explained(t, &text);
    assert!(!Container::of(t, &b).known(), "it was left behind");
}

fn keyring(t: &Case) {
    let b = t.bundle();
    b.args(&["true"]);
    let text = t.refused(&b);
    assert_explained(t, &text);
    t.run_call(&["--no-new-keyring"], &b).run().ok();
}

fn time_namespace(t: &Case) {
    let b = t.bundle();
    b.namespace(json!({"type": "time"}));
    let text = t.refused(&b);
    assert_has(&text, "/linux/namespaces");
    assert_has(&text, "time");
    assert_refusals(t);
}

fn idmapped_mount(t: &Case) {
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    let b = t.bundle();
    b.mount(json!({"destination": "/mnt", "type": "bind", "source": t.mkdir("source"), "options": ["bind", "idmap"],
        "uidMappings": map, "gidMappings": map}));
    let text = t.refused(&b);
    assert_has(&text, "/mounts/7");
    assert_has(&text, "mount_setattr");
    assert_refusals(t);
}

fn cpu_idle(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["linux"]["resources"]["cpu"] = json!({"idle": 1}));
    assert_has(&t.refused(&b), "/linux/resources/cpu/idle");
    assert_refusals(t);
}

/// vm.memfd_noexec belongs to the pid namespace: one of the test's own is given it.
fn the_kernel_forbids_execution_of_memory(t: &Case) {
    let b = t.bundle_sh("echo runs; exit 3");
    let script = "exec unshare --pid --fork --mount-proc --propagation private sh -c 'echo 2 >/proc/sys/vm/memfd_noexec &&
        cat /proc/sys/vm/memfd_noexec && \"$@\"' sh \"$@\"";
    let output = Call::new(t, ["run", "--bundle", &b.dir().display().to_string(), b.id()]).shell(script).run();
    assert_eq!((output.code(), output.stdout.as_str()), (3, "2\nruns\n"), "{}", output.stderr);
}
