//! Flags and annotations that callers pass to say how a container is made.

use crate::support::*;

pub const TESTS: &[Test] = suite![
    without_a_cgroup_it_stays_in_its_creators: [Need::Runtime("aril")],
    without_a_cgroup_limits_are_refused: [Need::Runtime("aril")],
    without_a_cgroup_it_is_killed_and_deleted: [Need::Runtime("aril")],
    without_a_cgroup_none_is_shown: [Need::Runtime("aril"), Need::V1("memory")],
    original_groups_are_kept: [Need::Runtime("aril")],
    a_profile_with_an_unknown_call_can_be_refused: [Need::Runtime("aril")],
    another_handler_is_refused: [Need::Runtime("aril")],
    checkpoints_are_said_to_be_missing: [Need::Runtime("aril")],
];

const DISABLED: [&str; 2] = ["--cgroup-manager", "disabled"];

fn without_a_cgroup_it_stays_in_its_creators(t: &Case) {
    let b = t.bundle_sh("cat /proc/self/cgroup");
    b.leave_namespace("cgroup");
    let output = t.run_call(&[], &b).globals(DISABLED).run();
    assert_eq!(output.ok(), read("/proc/self/cgroup"));
    assert_eq!(output.stderr, "");
}

fn without_a_cgroup_limits_are_refused(t: &Case) {
    for (key, value) in [("memory", json!({"limit": 1 << 26})), ("unified", json!({"memory.high": "max"}))] {
        let b = t.bundle();
        b.edit(|c| c["linux"]["resources"][key] = value);
        let output = t.create_call(&[], &b).globals(DISABLED).run();
        assert_has(output.refused(), &format!("/linux/resources/{key}"));
        assert_has(output.refused(), "the container has no");
    }
}

fn without_a_cgroup_it_is_killed_and_deleted(t: &Case) {
    // Its processes are not known but for the first: that one is killed, in a pid namespace of its own and without.
    for shared in [false, true] {
        let b = t.bundle();
        if shared {
            b.leave_namespace("pid");
        }
        let c = Container::of(t, &b);
        t.create_call(&[], &b).globals(DISABLED).run().ok();
        c.start();
        c.call("kill", &["--all"], &["KILL"]).run().ok();
        c.wait_for("stopped");
        c.call("kill", &["--all"], &["KILL"]).run().ok();
        c.delete();
    }
}

fn without_a_cgroup_none_is_shown(t: &Case) {
    let b = t.bundle_sh("ls -A /sys/fs/cgroup; touch /sys/fs/cgroup/x 2>&1");
    let output = t.run_call(&[], &b).globals(DISABLED).run();
    assert_has(&output.stdout, "touch: /sys/fs/cgroup/x: Read-only file system");
    assert_eq!(output.stdout.lines().count(), 1, "{}", output.stdout);
}

fn original_groups_are_kept(t: &Case) {
    let groups = |keep: bool| {
        let b = t.bundle_sh("grep ^Groups: /proc/self/status");
        b.edit(|c| {
            c["process"]["user"]["additionalGids"] = json!([77]);
            if keep {
                c["annotations"] = json!({"run.oci.keep_original_groups": "1"});
            }
        });
        let output = t.run_call(&[], &b).shell("exec setpriv --groups 5,4321 \"$@\"").run();
        output.ok().split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(groups(false), ["77"]);
    assert_eq!(groups(true), ["5", "4321"]);
}

fn a_profile_with_an_unknown_call_can_be_refused(t: &Case) {
    let b = t.bundle_sh("echo fine");
    let rules = json!([{"names": ["getcwd", "no_such_call"], "action": "SCMP_ACT_ERRNO"}]);
    b.edit(|c| c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
    assert_eq!(t.run(&b).ok(), "fine\n");
    b.edit(|c| c["annotations"] = json!({"run.oci.seccomp_fail_unknown_syscall": "1"}));
    assert_has(&t.refused(&b), "system call \"no_such_call\" is unknown (/linux/seccomp/syscalls/0/names/1)");
}

fn another_handler_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["annotations"] = json!({"run.oci.handler": "krun"}));
    assert_has(&t.refused(&b), "handler \"krun\" is not supported");
}

fn checkpoints_are_said_to_be_missing(t: &Case) {
    // Podman and CRI-O ask in these two ways whether a container can be checkpointed, and restored into a pod.
    let checkpoint = t.rt(&["checkpoint", "--help"]).without_root().run();
    assert_ne!(checkpoint.code(), 0);
    let restore = t.rt(&["restore", "--lsm-mount-context"]).without_root().run();
    assert_ne!(restore.code(), 0);
    assert_lacks(&restore.stderr, "flag needs an argument");
    assert_lacks(&restore.stderr, "requires an argument");
}
