//! `update`: other limits for a container that exists, by flags and by JSON, as managers ask for it. Not in the specification.

use crate::support::{environment, *};
use std::path::PathBuf;

pub const TESTS: &[Test] = suite![
    pids_by_a_flag: [Need::Controller("pids")],
    pids_by_json: [Need::Controller("pids")],
    pids_of_minus_one_are_no_limit: [Need::Controller("pids")],
    resources_of_a_file: [Need::Controller("pids")],
    flags_and_resources_together: [Need::Controller("pids"), Need::Controller("cpu"), Need::Runtime("aril")],
    memory_grows_and_shrinks: [Need::Controller("memory")],
    memory_with_a_suffix: [Need::Controller("memory")],
    memory_of_minus_one_is_no_limit: [Need::Controller("memory")],
    swap_alone: [Need::Controller("memory"), Need::Runtime("aril")],
    memory_above_swap_is_refused_with_advice: [Need::V1("memory"), Need::Runtime("aril")],
    memory_below_what_is_used_is_refused: [Need::Controller("memory"), Need::Runtime("aril")],
    reservation: [Need::Controller("memory")],
    cpu_by_flags: [Need::Controller("cpu")],
    a_period_alone_keeps_the_quota: [Need::Controller("cpu")],
    a_quota_alone_keeps_the_period: [Need::Controller("cpu")],
    a_quota_of_minus_one_is_no_limit: [Need::Controller("cpu")],
    idle_and_back_keeps_the_shares: [Need::Controller("cpu"), Need::Runtime("aril")],
    burst: [Need::Controller("cpu"), Need::Runtime("aril")],
    cpuset_by_flags: [Need::Controller("cpuset")],
    huge_pages: [Need::Controller("hugetlb"), Need::Runtime("aril")],
    block_io_by_device: [Need::BlockDevice, Need::Runtime("aril")],
    unified: [Need::V2, Need::Controller("memory")],
    a_device_is_allowed_and_denied_again: [Need::Runtime("aril")],
    device_rules_stay_when_nothing_is_said_of_them,
    zeros_change_nothing: [Need::Controller("pids"), Need::Controller("memory")],
    all_or_nothing: [Need::Controller("pids"), Need::Controller("cpu"), Need::Runtime("aril")],
    all_or_nothing_on_v2: [Need::V2, Need::Controller("memory"), Need::Runtime("aril")],
    updates_add_up: [Need::Controller("memory"), Need::Runtime("aril")],
    a_container_that_is_created: [Need::Controller("pids")],
    one_that_has_stopped_is_refused,
    one_that_is_absent_is_refused,
    no_json_is_refused,
    a_wrong_type_is_refused_by_its_pointer: [Need::Runtime("aril")],
    a_missing_file_is_refused,
    nothing_to_change_is_no_error,
    limits_of_an_absent_controller_are_refused: [Need::Runtime("aril")],
    standard_error_stays_empty: [Need::Controller("pids")],
];

/// The text of a file of the container's cgroup, by its v1 and v2 names.
fn knob(t: &Case, c: &Container<'_>, controller: &str, v1: &str, v2: &str) -> String {
    let file = if t.environment.pure_v2 { v2 } else { v1 };
    read(directory(t, c, controller).join(file)).trim().to_owned()
}

fn directory(t: &Case, c: &Container<'_>, controller: &str) -> PathBuf {
    t.environment.cgroup(controller, &format!("{}/{}", t.cgroup(), c.id))
}

fn pids(t: &Case, c: &Container<'_>) -> String {
    knob(t, c, "pids", "pids.max", "pids.max")
}

fn memory(t: &Case, c: &Container<'_>) -> String {
    knob(t, c, "memory", "memory.limit_in_bytes", "memory.max")
}

fn limited<'a>(t: &'a Case, resources: &Value) -> Container<'a> {
    let b = t.bundle();
    b.edit(|c| {
        for (key, value) in resources.as_object().unwrap() {
            c["linux"]["resources"][key] = value.clone();
        }
    });
    t.started(&b)
}

fn running(t: &Case) -> Container<'_> {
    limited(t, &json!({}))
}

#[track_caller]
fn flags(c: &Container<'_>, flags: &[&str]) -> String {
    c.call("update", flags, &[]).run().ok().to_owned()
}

fn send(c: &Container<'_>, resources: &Value) -> Output {
    c.call("update", &["--resources", "-"], &[]).stdin(resources.to_string()).run()
}

fn pids_by_a_flag(t: &Case) {
    let c = running(t);
    flags(&c, &["--pids-limit", "42"]);
    assert_eq!(pids(t, &c), "42");
}

fn pids_by_json(t: &Case) {
    let c = running(t);
    send(&c, &json!({"pids": {"limit": 43}})).ok();
    assert_eq!(pids(t, &c), "43");
}

fn pids_of_minus_one_are_no_limit(t: &Case) {
    let c = limited(t, &json!({"pids": {"limit": 5}}));
    flags(&c, &["--pids-limit", "-1"]);
    assert_eq!(pids(t, &c), "max");
}

fn resources_of_a_file(t: &Case) {
    let c = running(t);
    let file = t.path("resources.json");
    write(&file, json!({"pids": {"limit": 44}}).to_string());
    flags(&c, &["-r", file.to_str().unwrap()]);
    assert_eq!(pids(t, &c), "44");
}

fn flags_and_resources_together(t: &Case) {
    let c = running(t);
    let resources = json!({"pids": {"limit": 44}, "cpu": {"shares": 512}}).to_string();
    c.call("update", &["--resources=-", "--pids-limit", "45"], &[]).stdin(resources).run().ok();
    assert_eq!(pids(t, &c), "45");
    assert_eq!(knob(t, &c, "cpu", "cpu.shares", "cpu.weight"), if t.environment.pure_v2 { "59" } else { "512" });
}

/// Memory, and memory and swap together as v1 has it.
fn both(t: &Case, c: &Container<'_>) -> (String, String) {
    let swap = knob(t, c, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
    let limit = memory(t, c);
    let sum = |swap: u64| limit.parse::<u64>().map_or(swap, |limit| limit + swap);
    (limit.clone(), if t.environment.pure_v2 { swap.parse().map_or(swap, |swap| sum(swap).to_string()) } else { swap })
}

fn bytes(mib: u64) -> String {
    (mib << 20).to_string()
}

fn memory_grows_and_shrinks(t: &Case) {
    let c = limited(t, &json!({"memory": {"limit": 64 << 20, "swap": 128 << 20}}));
    for (limit, swap) in [(256, 512), (32, 32), (600, 600), (40, 700)] {
        flags(&c, &["--memory", &bytes(limit), "--memory-swap", &bytes(swap)]);
        assert_eq!(both(t, &c), (bytes(limit), bytes(swap)));
    }
}

fn memory_with_a_suffix(t: &Case) {
    let c = running(t);
    for (text, mib) in [("64M", 64), ("96m", 96), ("131072k", 128), ("1g", 1024)] {
        flags(&c, &["--memory", text]);
        assert_eq!(memory(t, &c), bytes(mib), "{text}");
    }
}

fn memory_of_minus_one_is_no_limit(t: &Case) {
    let c = limited(t, &json!({"memory": {"limit": 64 << 20, "swap": 64 << 20}}));
    flags(&c, &["--memory", "-1"]);
    let (limit, swap) = both(t, &c);
    for text in [limit, swap] {
        assert!(text == "max" || text.parse::<u64>().unwrap() > 1 << 60, "{text}");
    }
}

fn swap_alone(t: &Case) {
    let c = limited(t, &json!({"memory": {"limit": 64 << 20, "swap": 64 << 20}}));
    flags(&c, &["--memory-swap", "96M"]);
    assert_eq!(both(t, &c), (bytes(64), bytes(96)));
    let output = c.call("update", &["--memory-swap", "32M"], &[]).run();
    assert_has(output.refused(), "swap");
    assert_eq!(both(t, &c), (bytes(64), bytes(96)));
}

fn memory_above_swap_is_refused_with_advice(t: &Case) {
    let c = limited(t, &json!({"memory": {"limit": 64 << 20, "swap": 64 << 20}}));
    let text = c.call("update", &["--memory", "96M"], &[]).run().refused().to_owned();
    assert_has(&text, "--memory-swap");
    assert_has(&text, "/memory/limit");
    assert_eq!(both(t, &c), (bytes(64), bytes(64)));
}

fn memory_below_what_is_used_is_refused(t: &Case) {
    let b = t.bundle();
    b.args(&["sh", "-c", "head -c 20000000 /dev/zero > /dev/shm/x; echo done > /dev/shm/done; sleep 1000"]);
    let c = t.started(&b);
    eventually("the memory is used", || {
        let used = knob(t, &c, "memory", "memory.usage_in_bytes", "memory.current");
        (used.parse::<u64>().unwrap() > 20_000_000).then_some(())
    });
    let output = send(&c, &json!({"memory": {"limit": 4 << 20, "checkBeforeUpdate": true}}));
    assert_has(output.refused(), "below the current usage");
    let limit = memory(t, &c);
    assert!(limit == "max" || limit.parse::<u64>().unwrap() > 1 << 60, "{limit}");
    assert_eq!(c.status(), "running");
}

fn reservation(t: &Case) {
    let c = running(t);
    flags(&c, &["--memory-reservation", "16M"]);
    assert_eq!(knob(t, &c, "memory", "memory.soft_limit_in_bytes", "memory.low"), bytes(16));
}

/// Quota and period.
fn cpu(t: &Case, c: &Container<'_>) -> String {
    if t.environment.pure_v2 {
        return knob(t, c, "cpu", "", "cpu.max");
    }
    let quota = knob(t, c, "cpu", "cpu.cfs_quota_us", "");
    format!("{} {}", if quota == "-1" { "max" } else { &quota }, knob(t, c, "cpu", "cpu.cfs_period_us", ""))
}

fn cpu_by_flags(t: &Case) {
    let c = running(t);
    flags(&c, &["--cpu-period", "50000", "--cpu-quota", "20000", "--cpu-share", "512"]);
    assert_eq!(cpu(t, &c), "20000 50000");
    let shares = knob(t, &c, "cpu", "cpu.shares", "cpu.weight");
    // Runtimes use the old linear conversion or the new one, in which 1024 shares are a weight of 100.
    assert!(if t.environment.pure_v2 { ["20", "59"].contains(&shares.as_str()) } else { shares == "512" }, "{shares}");
}

fn a_period_alone_keeps_the_quota(t: &Case) {
    let c = limited(t, &json!({"cpu": {"quota": 20_000, "period": 100_000}}));
    flags(&c, &["--cpu-period", "50000"]);
    assert_eq!(cpu(t, &c), "20000 50000");
}

fn a_quota_alone_keeps_the_period(t: &Case) {
    let c = limited(t, &json!({"cpu": {"quota": 20_000, "period": 50_000}}));
    flags(&c, &["--cpu-quota", "30000"]);
    assert_eq!(cpu(t, &c), "30000 50000");
}

fn a_quota_of_minus_one_is_no_limit(t: &Case) {
    let c = limited(t, &json!({"cpu": {"quota": 20_000, "period": 50_000}}));
    flags(&c, &["--cpu-quota", "-1"]);
    assert_eq!(cpu(t, &c), "max 50000");
}

fn idle_and_back_keeps_the_shares(t: &Case) {
    let c = limited(t, &json!({"cpu": {"shares": 512}}));
    flags(&c, &["--cpu-idle", "1"]);
    assert_eq!(knob(t, &c, "cpu", "cpu.idle", "cpu.idle"), "1");
    flags(&c, &["--cpu-idle", "0"]);
    assert_eq!(knob(t, &c, "cpu", "cpu.idle", "cpu.idle"), "0");
    assert_eq!(knob(t, &c, "cpu", "cpu.shares", "cpu.weight"), if t.environment.pure_v2 { "59" } else { "512" });
}

fn burst(t: &Case) {
    let c = limited(t, &json!({"cpu": {"quota": 20_000, "period": 50_000}}));
    for (quota, burst) in [("20000", "10000"), ("45000", "40000"), ("10000", "5000"), ("10000", "0")] {
        flags(&c, &["--cpu-quota", quota, "--cpu-burst", burst]);
        assert_eq!(knob(t, &c, "cpu", "cpu.cfs_burst_us", "cpu.max.burst"), burst);
        assert_eq!(cpu(t, &c), format!("{quota} 50000"));
    }
}

fn cpuset_by_flags(t: &Case) {
    let c = running(t);
    flags(&c, &["--cpuset-cpus", "0", "--cpuset-mems", "0"]);
    assert_eq!(knob(t, &c, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    assert_eq!(knob(t, &c, "cpuset", "cpuset.mems", "cpuset.mems"), "0");
}

fn huge_pages(t: &Case) {
    let c = running(t);
    send(&c, &json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]})).ok();
    assert_eq!(knob(t, &c, "hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"), "4194304");
}

fn block_io_by_device(t: &Case) {
    let c = running(t);
    let device = environment::block_device().unwrap();
    let (major, minor) = device.split_once(':').unwrap();
    let rate = |rate: u64| json!([{"major": major.parse::<u64>().unwrap(), "minor": minor.parse::<u64>().unwrap(), "rate": rate}]);
    let rates = |t: &Case, c: &Container<'_>| {
        if t.environment.pure_v2 {
            return knob(t, c, "io", "", "io.max");
        }
        ["read_bps", "write_iops"].map(|which| knob(t, c, "blkio", &format!("blkio.throttle.{which}_device"), "")).join(" ")
    };
    let expected = |bps: u64, iops: u64| {
        let max = |rate: u64| if rate == 0 { "max".to_owned() } else { rate.to_string() };
        match (t.environment.pure_v2, bps, iops) {
            (_, 0, 0) => String::new(),
            (true, ..) => format!("{device} rbps={} wbps=max riops=max wiops={}", max(bps), max(iops)),
            (false, ..) => format!("{device} {bps} {device} {iops}"),
        }
    };
    let before = rates(t, &c);
    // A value that the kernel refuses, after these: they are put back.
    let resources = json!({"blockIO": {"throttleReadBpsDevice": rate(4 << 20), "throttleWriteIOPSDevice": rate(50)}});
    let mut refused = resources.clone();
    refused["blockIO"]["throttleWriteIOPSDevice"][0]["major"] = json!(4000);
    assert_has(send(&c, &refused).refused(), "/blockIO/throttleWriteIOPSDevice/0/rate");
    assert_eq!(rates(t, &c).trim(), before.trim());
    send(&c, &resources).ok();
    assert_eq!(rates(t, &c), expected(4 << 20, 50));
    assert_has(send(&c, &refused).refused(), "no such device");
    assert_eq!(rates(t, &c), expected(4 << 20, 50));
    send(&c, &json!({"blockIO": {"throttleReadBpsDevice": rate(0), "throttleWriteIOPSDevice": rate(0)}})).ok();
    assert_eq!(rates(t, &c).trim(), "");
}

fn unified(t: &Case) {
    let c = running(t);
    send(&c, &json!({"unified": {"memory.high": "50331648"}})).ok();
    assert_eq!(knob(t, &c, "memory", "", "memory.high"), "50331648");
}

/// A container whose process says, when it is asked by a signal, whether it may open /dev/null and 99:99, which has no driver.
fn reader(t: &Case) -> (Container<'_>, PathBuf) {
    let b = t.bundle();
    let out = t.mkdir("out");
    b.bind(&out, "/out", &["rbind", "rw"]);
    b.edit(|c| c["linux"]["devices"] = json!([{"path": "/dev/odd", "type": "c", "major": 99, "minor": 99, "fileMode": 438}]));
    b.edit(|c| c["linux"]["resources"]["devices"] = json!([{"allow": false, "access": "rwm"}]));
    let look = "trap 'for d in null odd; do probe open /dev/$d r; done > /out/new 2>&1; mv /out/new /out/seen' USR1";
    b.sh(&format!("{look}; echo > /out/ready; while :; do sleep 0.02; done"));
    let c = t.started(&b);
    eventually("it is ready", || present(out.join("ready")).then_some(()));
    (c, out.join("seen"))
}

fn seen(c: &Container<'_>, file: &PathBuf) -> String {
    let _ = std::fs::remove_file(file);
    c.kill("USR1");
    let text = eventually("it has looked", || present(file).then(|| read(file)));
    text.replace("ok", "allowed")
        .replace("No such device or address", "allowed")
        .replace("Operation not permitted", "refused")
        .replace('\n', " ")
}

fn odd(allow: bool) -> Value {
    json!({"devices": [{"allow": false, "access": "rwm"}, {"allow": allow, "type": "c", "major": 99, "minor": 99, "access": "r"}]})
}

fn a_device_is_allowed_and_denied_again(t: &Case) {
    let (c, file) = reader(t);
    assert_eq!(seen(&c, &file), "allowed refused ");
    for (allow, devices) in [(true, "allowed allowed "), (false, "allowed refused "), (true, "allowed allowed ")] {
        send(&c, &odd(allow)).ok();
        assert_eq!(seen(&c, &file), devices);
    }
    // Rules that cannot be leave those that hold.
    let wrong = json!({"devices": [{"allow": true, "type": "c", "major": 5000, "access": "r"}]});
    assert_has(send(&c, &wrong).refused(), "5000");
    assert_eq!(seen(&c, &file), "allowed allowed ");
}

fn device_rules_stay_when_nothing_is_said_of_them(t: &Case) {
    let (c, file) = reader(t);
    send(&c, &json!({"devices": null, "cpu": {}})).ok();
    assert_eq!(seen(&c, &file), "allowed refused ");
}

fn zeros_change_nothing(t: &Case) {
    let c = limited(t, &json!({"pids": {"limit": 50}, "memory": {"limit": 64 << 20, "swap": 64 << 20}}));
    // What a manager sends whose types have no word for nothing.
    let resources = json!({"memory": {"limit": 0, "reservation": 0, "swap": 0}, "pids": {"limit": 0},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0, "cpus": "", "mems": ""}, "blockIO": {"weight": 0}});
    send(&c, &resources).ok();
    assert_eq!((pids(t, &c), memory(t, &c)), ("50".to_owned(), bytes(64)));
}

fn all_or_nothing(t: &Case) {
    let c = limited(t, &json!({"pids": {"limit": 50}, "cpu": {"shares": 1024, "quota": 20_000, "period": 100_000}}));
    let state = |t: &Case, c: &Container<'_>| {
        (cpu(t, c), knob(t, c, "cpu", "cpu.shares", "cpu.weight"), knob(t, c, "cpu", "cpu.idle", "cpu.idle"), pids(t, c))
    };
    let before = state(t, &c);
    // The kernel refuses CPU 4000, after the values before it in the table were written.
    for cpu in [json!({"quota": 50_000, "period": 60_000, "shares": 512, "cpus": "4000"}), json!({"idle": 1, "cpus": "4000"})] {
        let output = send(&c, &json!({"cpu": cpu, "pids": {"limit": 7}}));
        assert_has(output.refused(), "/cpu/cpus");
        assert_eq!(state(t, &c), before);
    }
    flags(&c, &["--cpu-period", "50000"]);
    assert_eq!(cpu(t, &c), "20000 50000", "the record knows of no failed update");
}

fn all_or_nothing_on_v2(t: &Case) {
    let c = limited(t, &json!({"memory": {"limit": 64 << 20, "swap": 96 << 20, "reservation": 1 << 20}}));
    let state = |t: &Case, c: &Container<'_>| (both(t, c), knob(t, c, "memory", "", "memory.low"), knob(t, c, "memory", "", "memory.high"));
    let before = state(t, &c);
    let resources = json!({"memory": {"limit": 70 << 20, "swap": 70 << 20, "reservation": 2 << 20}, "unified": {"memory.high": "5000000", "memory.nosuch": "1"}});
    assert_has(send(&c, &resources).refused(), "memory.nosuch");
    assert_eq!(state(t, &c), before);
}

fn updates_add_up(t: &Case) {
    let c = limited(t, &json!({"memory": {"limit": 64 << 20}}));
    flags(&c, &["--memory", "32M", "--memory-swap", "48M"]);
    // What swap is, the sum and the limit of the update before it say.
    flags(&c, &["--memory-swap", "40M"]);
    assert_eq!(both(t, &c), (bytes(32), bytes(40)));
}

fn a_container_that_is_created(t: &Case) {
    let c = t.create(&t.bundle());
    flags(&c, &["--pids-limit", "46"]);
    assert_eq!(pids(t, &c), "46");
    c.start();
    assert_eq!(pids(t, &c), "46");
}

fn one_that_has_stopped_is_refused(t: &Case) {
    let c = t.started(&t.bundle_sh("exit 0"));
    c.wait_for("stopped");
    assert_has(c.call("update", &["--pids-limit", "5"], &[]).run().refused(), "not running");
}

fn one_that_is_absent_is_refused(t: &Case) {
    assert_has(t.rt(&["update", "--pids-limit", "5", "nobody"]).run().refused(), "does not exist");
}

fn no_json_is_refused(t: &Case) {
    let c = running(t);
    for text in ["", "{", "7"] {
        c.call("update", &["--resources", "-"], &[]).stdin(text).run().refused();
    }
}

fn a_wrong_type_is_refused_by_its_pointer(t: &Case) {
    let c = running(t);
    assert_has(send(&c, &json!({"memory": {"limit": "much"}})).refused(), "/memory/limit");
}

fn a_missing_file_is_refused(t: &Case) {
    let c = running(t);
    let text = c.call("update", &["--resources", "/does/not/exist"], &[]).run().refused().to_owned();
    assert_has(&text, "/does/not/exist");
}

fn nothing_to_change_is_no_error(t: &Case) {
    let c = running(t);
    send(&c, &json!({})).ok();
    assert_eq!(c.status(), "running");
}

fn limits_of_an_absent_controller_are_refused(t: &Case) {
    let c = running(t);
    let text = send(&c, &json!({"rdma": {"nosuch0": {"hcaHandles": 3}}})).refused().to_owned();
    assert!(text.contains("rdma"), "{text}");
    assert_eq!(c.status(), "running");
}

fn standard_error_stays_empty(t: &Case) {
    let c = running(t);
    let output = c.call("update", &["--pids-limit", "47"], &[]).run();
    output.ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""));
}
