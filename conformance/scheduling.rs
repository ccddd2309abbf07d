//! config.md: scheduler, ioPriority, execCPUAffinity; config-linux.md: memoryPolicy. What the container's process is told when it asks the kernel.

use crate::support::*;

const CAP_SYS_NICE: Need = Need::Capability("CAP_SYS_NICE", 23);
const NUMA: Need = Need::File("/sys/devices/system/node/node0");

pub const TESTS: &[Test] = suite![
    other_with_a_nice_value,
    batch_with_a_nice_value,
    idle,
    fifo_with_a_priority: [CAP_SYS_NICE, Need::RealTime],
    round_robin_that_forks_reset: [CAP_SYS_NICE, Need::RealTime],
    deadline: [CAP_SYS_NICE],
    deadline_with_hooks: [CAP_SYS_NICE, Need::Runtime("aril")],
    a_scheduler_of_another_user: [CAP_SYS_NICE, Need::RealTime],
    a_scheduler_in_a_user_namespace: [CAP_SYS_NICE, Need::RealTime, Need::Userns],
    children_have_the_scheduler_too: [CAP_SYS_NICE, Need::RealTime],
    every_flag_of_the_specification_is_known: [Need::Runtime("aril")],
    a_scheduler_without_a_policy_is_refused: [Need::Runtime("aril")],
    a_scheduler_that_cannot_be_is_refused: [Need::Runtime("aril")],
    an_unknown_policy_is_refused,
    a_nice_value_that_may_not_be_is_refused: [Need::Runtime("aril"), Need::Userns],
    io_priorities: [CAP_SYS_NICE],
    an_io_priority_in_a_user_namespace: [CAP_SYS_NICE, Need::Userns],
    an_io_priority_without_class_or_level_is_refused: [Need::Runtime("aril")],
    an_io_priority_that_is_none_is_refused: [Need::Runtime("aril")],
    exec_affinity_is_not_for_the_first_process,
    exec_affinity_that_is_no_list_is_refused: [Need::Runtime("aril")],
    memory_policies: [Need::Runtime("aril"), NUMA],
    a_memory_policy_holds_for_children: [Need::Runtime("aril"), NUMA],
    a_memory_policy_in_a_user_namespace: [Need::Runtime("aril"), NUMA, Need::Userns],
    a_memory_policy_that_cannot_be_is_refused: [Need::Runtime("aril")],
    nodes_that_the_machine_has_not_got_are_refused: [Need::Runtime("aril"), NUMA],
];

fn scheduled(t: &Case, scheduler: &Value) -> String {
    t.sh("probe sched", |b| {
        b.edit(|c| c["process"]["scheduler"] = scheduler.clone());
    })
}

fn other_with_a_nice_value(t: &Case) {
    assert_eq!(scheduled(t, &json!({"policy": "SCHED_OTHER", "nice": 7})), "policy 0 nice 7 priority 0 flags 0\n");
    assert_eq!(scheduled(t, &json!({"policy": "SCHED_OTHER"})), "policy 0 nice 0 priority 0 flags 0\n");
}

fn batch_with_a_nice_value(t: &Case) {
    assert_eq!(scheduled(t, &json!({"policy": "SCHED_BATCH", "nice": 19})), "policy 3 nice 19 priority 0 flags 0\n");
}

fn idle(t: &Case) {
    assert_eq!(scheduled(t, &json!({"policy": "SCHED_IDLE"})), "policy 5 nice 0 priority 0 flags 0\n");
}

fn fifo_with_a_priority(t: &Case) {
    assert_eq!(scheduled(t, &json!({"policy": "SCHED_FIFO", "priority": 5})), "policy 1 nice 0 priority 5 flags 0\n");
}

fn round_robin_that_forks_reset(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "sched"]);
    b.edit(|c| c["process"]["scheduler"] = json!({"policy": "SCHED_RR", "priority": 99, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}));
    if t.environment.name != "aril" {
        // The name that their configuration's types take.
        b.edit(|c| c["process"]["scheduler"]["flags"] = json!(["SCHED_RESET_ON_FORK"]));
    }
    assert_eq!(t.run(&b).ok(), "policy 2 nice 0 priority 99 flags 1\n");
}

fn deadline(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "sched-times"]);
    b.edit(|c| {
        c["process"]["scheduler"] =
            json!({"policy": "SCHED_DEADLINE", "runtime": 10_000_000, "deadline": 20_000_000, "period": 30_000_000});
    });
    assert_eq!(t.run(&b).ok(), "runtime 10000000 deadline 20000000 period 30000000\n");
}

/// A process with a deadline may not fork, unless its children have none: those hooks that it starts itself need that.
fn deadline_with_hooks(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "sched-times"]);
    let log = t.path("hooks");
    for when in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        b.hook_sh(when, &format!("echo {when} >>{}", log.display()));
    }
    b.hook("startContainer", json!({"path": "/bin/sh", "args": ["sh", "-c", "echo startContainer >/tmp/hook"]}));
    let scheduler = json!({"policy": "SCHED_DEADLINE", "runtime": 10_000_000, "deadline": 20_000_000, "period": 30_000_000});
    b.edit(|c| c["process"]["scheduler"] = scheduler);
    let text = t.refused(&b);
    assert_has(&text, "SCHED_FLAG_RESET_ON_FORK");
    assert_has(&text, "(/process/scheduler)");
    b.edit(|c| c["process"]["scheduler"]["flags"] = json!(["SCHED_FLAG_RESET_ON_FORK"]));
    assert_eq!(t.run(&b).ok(), "runtime 10000000 deadline 20000000 period 30000000\n");
    assert_eq!(read(&log).replace('\n', " "), "prestart createRuntime createContainer poststart poststop ");
    assert_eq!(read(b.root("/tmp/hook")), "startContainer\n");
}

/// It is set while that is allowed.
fn a_scheduler_of_another_user(t: &Case) {
    let out = t.sh("probe sched; id -u", |b| {
        b.edit(|c| {
            c["process"]["scheduler"] = json!({"policy": "SCHED_FIFO", "priority": 1});
            c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            c["process"].as_object_mut().unwrap().remove("capabilities");
        });
    });
    assert_eq!(out, "policy 1 nice 0 priority 1 flags 0\n1000\n");
}

/// Real time is a privilege of the machine's root, which is not in there.
fn a_scheduler_in_a_user_namespace(t: &Case) {
    let out = t.sh("probe sched", |b| {
        b.userns(100_000, 65536);
        b.edit(|c| c["process"]["scheduler"] = json!({"policy": "SCHED_RR", "priority": 3}));
    });
    assert_eq!(out, "policy 2 nice 0 priority 3 flags 0\n");
}

fn children_have_the_scheduler_too(t: &Case) {
    let out = t.sh("sh -c 'probe sched'; true", |b| {
        b.edit(|c| c["process"]["scheduler"] = json!({"policy": "SCHED_FIFO", "priority": 2}));
    });
    assert_eq!(out, "policy 1 nice 0 priority 2 flags 0\n");
}

fn every_flag_of_the_specification_is_known(t: &Case) {
    for flag in ["RESET_ON_FORK", "RECLAIM", "KEEP_POLICY", "KEEP_PARAMS", "UTIL_CLAMP_MIN", "UTIL_CLAMP_MAX", "DL_OVERRUN"] {
        let b = t.bundle();
        b.edit(|c| c["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "flags": [format!("SCHED_FLAG_{flag}")]}));
        let output = t.rt(&["explain", "--bundle", &b.dir().display().to_string(), "flags"]).run();
        assert_has(output.ok(), "/process/scheduler");
    }
    let b = t.bundle();
    b.edit(|c| c["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_NONE"]}));
    assert_has(&t.refused(&b), "SCHED_FLAG_NONE");
}

#[track_caller]
fn refused_at(t: &Case, pointer: &str, value: Value, at: &str) {
    let b = t.bundle();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    b.edit(|c| c.pointer_mut(parent).unwrap()[key] = value);
    assert_has(&t.refused(&b), at);
}

fn a_scheduler_without_a_policy_is_refused(t: &Case) {
    refused_at(t, "/process/scheduler", json!({"nice": 1}), "policy");
}

fn a_scheduler_that_cannot_be_is_refused(t: &Case) {
    let all = [
        (json!({"policy": "SCHED_OTHER", "nice": 20}), "/process/scheduler/nice"),
        (json!({"policy": "SCHED_FIFO", "priority": 0}), "/process/scheduler/priority"),
        (json!({"policy": "SCHED_OTHER", "priority": 1}), "/process/scheduler/priority"),
        (json!({"policy": "SCHED_DEADLINE", "runtime": 1}), "/process/scheduler/runtime"),
        (json!({"policy": "SCHED_RR", "priority": 1, "runtime": 5000}), "/process/scheduler/runtime"),
        (json!({"policy": "SCHED_ISO"}), "/process/scheduler/policy"),
    ];
    for (scheduler, at) in all {
        refused_at(t, "/process/scheduler", scheduler, at);
    }
}

fn an_unknown_policy_is_refused(t: &Case) {
    refused_at(t, "/process/scheduler", json!({"policy": "SCHED_EXT"}), "SCHED_EXT");
}

/// Who has no privilege may be nicer, and not less nice.
fn a_nice_value_that_may_not_be_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": -5}));
    let call = t.create_call(&[], &b).shell("exec setpriv --bounding-set -sys_nice --inh-caps -sys_nice \"$@\"");
    let text = call.run().refused().to_owned();
    assert_has(&text, "(/process/scheduler)");
    assert_has(&text, "operation not permitted");
}

fn io_priorities(t: &Case) {
    for (class, number) in [("RT", 1), ("BE", 2), ("IDLE", 3)] {
        let out = t.sh("probe ioprio", |b| {
            b.edit(|c| c["process"]["ioPriority"] = json!({"class": format!("IOPRIO_CLASS_{class}"), "priority": 6}));
        });
        assert_eq!(out, format!("class {number} level 6\n"));
    }
}

fn an_io_priority_in_a_user_namespace(t: &Case) {
    let out = t.sh("probe ioprio", |b| {
        b.userns(100_000, 65536);
        b.edit(|c| c["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_RT", "priority": 0}));
    });
    assert_eq!(out, "class 1 level 0\n");
}

fn an_io_priority_without_class_or_level_is_refused(t: &Case) {
    refused_at(t, "/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE"}), "priority");
    refused_at(t, "/process/ioPriority", json!({"priority": 1}), "class");
}

fn an_io_priority_that_is_none_is_refused(t: &Case) {
    refused_at(t, "/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 8}), "/process/ioPriority/priority");
    refused_at(t, "/process/ioPriority", json!({"class": "IOPRIO_CLASS_NONE", "priority": 0}), "IOPRIO_CLASS_NONE");
}

fn exec_affinity_is_not_for_the_first_process(t: &Case) {
    let all = t.sh("probe affinity", |_| ());
    let out = t.sh("probe affinity", |b| {
        b.edit(|c| c["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "0"}));
    });
    assert_eq!(out, all);
}

fn exec_affinity_that_is_no_list_is_refused(t: &Case) {
    refused_at(t, "/process/execCPUAffinity", json!({"final": "1-0"}), "/process/execCPUAffinity/final");
    refused_at(t, "/process/execCPUAffinity", json!({"initial": "0,,1"}), "/process/execCPUAffinity/initial");
    refused_at(t, "/process/execCPUAffinity", json!({"initial": "0", "final": "a"}), "/process/execCPUAffinity/final");
    let b = t.bundle();
    b.args(&["true"]).edit(|c| c["process"]["execCPUAffinity"] = json!({"initial": "", "final": ""}));
    t.run(&b).ok();
}

fn policy(t: &Case, policy: &Value, script: &str) -> String {
    t.sh(script, |b| {
        b.edit(|c| c["linux"]["memoryPolicy"] = policy.clone());
    })
}

fn memory_policies(t: &Case) {
    for (wanted, seen) in [
        (json!({"mode": "MPOL_DEFAULT"}), "mode 0 nodes 0\n"),
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), "mode 2 nodes 1\n"),
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}), "mode 8003 nodes 1\n"),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0"}), "mode 1 nodes 1\n"),
        (json!({"mode": "MPOL_PREFERRED", "nodes": ""}), "mode 4 nodes 0\n"), // which the kernel calls local
        (json!({"mode": "MPOL_LOCAL"}), "mode 4 nodes 0\n"),
    ] {
        assert_eq!(policy(t, &wanted, "probe mempolicy"), seen, "{wanted}");
    }
}

fn a_memory_policy_holds_for_children(t: &Case) {
    let out = policy(t, &json!({"mode": "MPOL_BIND", "nodes": "0"}), "sh -c 'probe mempolicy'; true");
    assert_eq!(out, "mode 2 nodes 1\n");
}

fn a_memory_policy_in_a_user_namespace(t: &Case) {
    let out = t.sh("probe mempolicy", |b| {
        b.userns(100_000, 65536);
        b.edit(|c| c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0"}));
    });
    assert_eq!(out, "mode 2 nodes 1\n");
}

fn a_memory_policy_that_cannot_be_is_refused(t: &Case) {
    for (wanted, at) in [
        (json!({"mode": "MPOL_BIND"}), "/linux/memoryPolicy/nodes"),
        (json!({"mode": "MPOL_LOCAL", "nodes": "0"}), "/linux/memoryPolicy/nodes"),
        (json!({"mode": "MPOL_BIND", "nodes": "x"}), "/linux/memoryPolicy/nodes"),
        (json!({"mode": "MPOL_LOCAL", "flags": ["MPOL_F_STATIC_NODES"]}), "/linux/memoryPolicy/flags/0"),
        (json!({"mode": "MPOL_OTHER"}), "/linux/memoryPolicy/mode"),
        (json!({"nodes": "0"}), "mode"),
    ] {
        refused_at(t, "/linux/memoryPolicy", wanted, at);
    }
}

fn nodes_that_the_machine_has_not_got_are_refused(t: &Case) {
    let text = {
        let b = t.bundle();
        b.edit(|c| c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "900"}));
        t.refused(&b)
    };
    assert_has(&text, "(/linux/memoryPolicy)");
    assert_has(&text, "invalid argument");
}
