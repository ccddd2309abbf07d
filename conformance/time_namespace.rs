//! config-linux.md: time namespaces and timeOffsets.

use crate::support::*;

pub const TESTS: &[Test] = suite![
    a_time_namespace_is_new: [Need::TimeNamespace],
    an_absent_one_is_the_callers: [Need::TimeNamespace],
    offsets_are_applied: [Need::TimeNamespace],
    negative_offsets_are_applied: [Need::TimeNamespace],
    offsets_without_the_namespace_are_refused: [Need::TimeNamespace],
    an_unknown_clock_is_refused: [Need::TimeNamespace],
    an_offset_out_of_range_is_refused: [Need::TimeNamespace],
    joined_by_path: [Need::TimeNamespace],
    in_a_user_namespace: [Need::TimeNamespace, Need::Userns],
    an_annotation_sets_a_clock: [Need::TimeNamespace, Need::Runtime("aril")],
    the_process_itself_is_in_it: [Need::TimeNamespace],
];

fn clock(t: &Case, name: &str, change: impl FnOnce(&Bundle)) -> i64 {
    let b = t.bundle();
    b.args(&["probe", "clock", name]);
    change(&b);
    t.run(&b).ok().trim().parse().unwrap()
}

fn boottime() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec
}

fn time(b: &Bundle, offsets: Value) {
    b.namespace(json!({"type": "time"})).edit(|c| c["linux"]["timeOffsets"] = offsets);
}

fn link(pid: i32) -> String {
    std::fs::read_link(format!("/proc/{pid}/ns/time")).unwrap().display().to_string()
}

fn own() -> String {
    std::fs::read_link("/proc/self/ns/time").unwrap().display().to_string()
}

fn a_time_namespace_is_new(t: &Case) {
    let b = t.bundle();
    b.namespace(json!({"type": "time"}));
    assert_ne!(link(t.started(&b).pid()), own());
}

fn an_absent_one_is_the_callers(t: &Case) {
    assert_eq!(link(t.started(&t.bundle()).pid()), own());
}

fn offsets_are_applied(t: &Case) {
    let before = boottime();
    let seen = clock(t, "boottime", |b| time(b, json!({"boottime": {"secs": 1_000_000, "nanosecs": 5}, "monotonic": {"secs": 2_000_000}})));
    assert!((1_000_000..1_000_100).contains(&(seen - before)), "{seen} {before}");
    let seen =
        clock(t, "monotonic", |b| time(b, json!({"boottime": {"secs": 1_000_000}, "monotonic": {"secs": 2_000_000, "nanosecs": 0}})));
    assert!(seen >= 2_000_000, "{seen}");
}

fn negative_offsets_are_applied(t: &Case) {
    let before = boottime();
    let seen = clock(t, "boottime", |b| time(b, json!({"boottime": {"secs": -10}})));
    assert!((-11..=90).contains(&(seen - before + 1)), "{seen} {before}");
    assert!(seen < boottime() - 5);
}

fn offsets_without_the_namespace_are_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1}}));
    assert_has(&t.refused(&b).to_lowercase(), "time");
}

fn an_unknown_clock_is_refused(t: &Case) {
    let b = t.bundle();
    time(&b, json!({"realtime": {"secs": 1}}));
    t.refused(&b);
}

fn an_offset_out_of_range_is_refused(t: &Case) {
    let b = t.bundle();
    time(&b, json!({"boottime": {"secs": 1, "nanosecs": 1_000_000_000}}));
    t.refused(&b);
}

fn joined_by_path(t: &Case) {
    let b = t.bundle();
    time(&b, json!({"boottime": {"secs": 5000}}));
    let first = t.started(&b);
    let other = t.bundle();
    other.namespace(json!({"type": "time", "path": format!("/proc/{}/ns/time", first.pid())}));
    let second = t.started(&other);
    assert_eq!(link(second.pid()), link(first.pid()));
}

fn in_a_user_namespace(t: &Case) {
    let before = boottime();
    let seen = clock(t, "boottime", |b| {
        b.userns(100_000, 65536);
        time(b, json!({"boottime": {"secs": 500_000}}));
    });
    assert!((500_000..500_100).contains(&(seen - before)));
}

fn the_process_itself_is_in_it(t: &Case) {
    let out = t.sh("test $(readlink /proc/self/ns/time) = $(readlink /proc/self/ns/time_for_children) && echo same", |b| {
        time(b, json!({"boottime": {"secs": 100}}))
    });
    assert_eq!(out, "same\n");
}

fn an_annotation_sets_a_clock(t: &Case) {
    let seen = clock(t, "boottime", |b| {
        b.namespace(json!({"type": "time"}));
        b.edit(|c| c["annotations"] = json!({"run.oci.timens_offset": "boottime 1000000 0"}));
    });
    assert!((1_000_000..1_000_100).contains(&(seen - boottime())), "{seen}");
    let b = t.bundle();
    b.namespace(json!({"type": "time"}));
    b.edit(|c| c["annotations"] = json!({"run.oci.timens_offset": "realtime 5 0"}));
    assert_has(&t.refused(&b), "(/annotations/run.oci.timens_offset)");
}
