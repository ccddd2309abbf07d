//! config.md: process.rlimits.

use crate::support::*;

pub const TESTS: &[Test] = suite![
    each_resource_is_set,
    soft_and_hard_differ,
    infinity_is_the_largest_number,
    absent_is_inherited,
    another_limit_than_the_named_is_inherited,
    raising_the_hard_limit: [Need::Capability("CAP_SYS_RESOURCE", 24)],
    soft_above_hard_is_refused,
    an_unknown_type_is_refused,
    a_type_named_twice_is_refused,
    a_type_without_prefix_is_refused,
    limits_hold_for_another_user,
    zero_core_dumps,
    a_limit_that_may_not_be_raised_is_refused,
    few_descriptors_are_enough,
];

fn limit(t: &Case, name: &str, rlimits: Value) -> String {
    t.sh(&format!("probe limit {name}"), |b| {
        b.edit(|c| c["process"]["rlimits"] = rlimits);
    })
    .trim()
    .to_owned()
}

fn each_resource_is_set(t: &Case) {
    // Below what any caller has, so that no capability is needed; the two that only grow are tried at nothing.
    for (name, soft, hard) in [
        ("CPU", 1000, 2000),
        ("FSIZE", 1 << 30, 1 << 31),
        ("DATA", 1 << 30, 1 << 31),
        ("STACK", 4 << 20, 6 << 20),
        ("CORE", 0, 0),
        ("RSS", 1 << 30, 1 << 31),
        ("NPROC", 500, 600),
        ("NOFILE", 100, 200),
        ("MEMLOCK", 10_000, 20_000),
        ("AS", 1_u64 << 32, 1_u64 << 33),
        ("LOCKS", 50, 60),
        ("SIGPENDING", 70, 80),
        ("MSGQUEUE", 4000, 5000),
        ("NICE", 0, 0),
        ("RTPRIO", 0, 0),
        ("RTTIME", 1000, 2000),
    ] {
        let got = limit(t, name, json!([{"type": format!("RLIMIT_{name}"), "soft": soft, "hard": hard}]));
        assert_eq!(got, format!("{soft} {hard}"), "{name}");
    }
}

fn soft_and_hard_differ(t: &Case) {
    assert_eq!(limit(t, "NOFILE", json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 512}])), "64 512");
}

fn infinity_is_the_largest_number(t: &Case) {
    let b = t.bundle_sh("cat /proc/self/limits");
    b.edit(|c| c["process"]["rlimits"] = json!([{"type": "RLIMIT_CPU", "soft": u64::MAX, "hard": u64::MAX}]));
    let text = t.run(&b).ok().to_owned();
    let line = text.lines().find(|l| l.starts_with("Max cpu time")).unwrap();
    assert_eq!(line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["unlimited", "unlimited"]);
}

fn absent_is_inherited(t: &Case) {
    let b = t.bundle_sh("probe limit NOFILE; probe limit CORE");
    b.edit(|c| drop(c["process"].as_object_mut().unwrap().remove("rlimits")));
    let output = t.run_call(&[], &b).shell("ulimit -n 777; ulimit -c 0; exec \"$@\"").run();
    assert_eq!(output.ok(), "777 777\n0 0\n");
}

fn another_limit_than_the_named_is_inherited(t: &Case) {
    let b = t.bundle_sh("probe limit FSIZE; probe limit NOFILE");
    let output = t.run_call(&[], &b).shell("ulimit -f 4000; exec \"$@\"").run();
    assert_eq!(output.ok(), "2048000 2048000\n1024 1024\n");
}

fn raising_the_hard_limit(t: &Case) {
    let b = t.bundle_sh("probe limit NOFILE");
    b.edit(|c| c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 5000, "hard": 6000}]));
    let output = t.run_call(&[], &b).shell("ulimit -n 1000; exec \"$@\"").run();
    assert_eq!(output.ok(), "5000 6000\n");
}

fn refused(t: &Case, rlimits: Value) -> String {
    let b = t.bundle();
    b.edit(|c| c["process"]["rlimits"] = rlimits);
    t.refused(&b)
}

fn soft_above_hard_is_refused(t: &Case) {
    refused(t, json!([{"type": "RLIMIT_NOFILE", "soft": 200, "hard": 100}]));
}

fn an_unknown_type_is_refused(t: &Case) {
    assert_has(&refused(t, json!([{"type": "RLIMIT_COFFEE", "soft": 1, "hard": 1}])), "RLIMIT_COFFEE");
}

fn a_type_named_twice_is_refused(t: &Case) {
    let one = json!({"type": "RLIMIT_NOFILE", "soft": 10, "hard": 100});
    refused(t, json!([one, one]));
}

fn a_type_without_prefix_is_refused(t: &Case) {
    assert_has(&refused(t, json!([{"type": "NOFILE", "soft": 1, "hard": 1}])), "NOFILE");
}

fn limits_hold_for_another_user(t: &Case) {
    let b = t.bundle_sh("probe limit NPROC");
    b.edit(|c| {
        c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        c["process"]["rlimits"] = json!([{"type": "RLIMIT_NPROC", "soft": 100, "hard": 100}]);
    });
    assert_eq!(t.run(&b).ok(), "100 100\n");
}

fn zero_core_dumps(t: &Case) {
    assert_eq!(limit(t, "CORE", json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}])), "0 0");
}

fn a_limit_that_may_not_be_raised_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 5000, "hard": 6000}]));
    let _guard = Container::of(t, &b);
    let call = t.create_call(&[], &b).shell("ulimit -n 1000; exec setpriv --bounding-set -sys_resource --inh-caps -sys_resource \"$@\"");
    let text = call.run().refused().to_lowercase();
    assert_has(&text, "rlimit");
    assert_has(&text, "operation not permitted");
}

fn few_descriptors_are_enough(t: &Case) {
    // Ten for the container must not be ten for the runtime.
    let b = t.bundle_sh("probe limit NOFILE");
    b.edit(|c| c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 10}]));
    assert_eq!(t.run(&b).ok(), "10 10\n");
}
