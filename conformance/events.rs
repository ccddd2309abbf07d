//! `events`: the statistics in the form that go-runc and old Docker decode, and what happens to a container as it happens.

use crate::support::{runtime, *};
use std::process::Stdio;

pub const TESTS: &[Test] = suite![
    statistics_have_the_keys_that_callers_decode,
    statistics_are_those_of_the_container: [Need::Controller("memory"), Need::Controller("pids")],
    statistics_of_processor_time,
    statistics_of_v1: [Need::V1("cpuacct")],
    statistics_say_nothing_else,
    pressure_is_in_the_statistics: [Need::File("/proc/pressure/cpu"), Need::Runtime("aril")],
    interfaces_of_the_container: [Need::Runtime("aril")],
    statistics_come_at_each_interval,
    events_end_with_the_container,
    events_of_a_stopped_container_are_refused,
    events_of_a_missing_container_are_refused,
    an_interval_that_is_none_is_refused,
    a_process_killed_for_lack_of_memory_is_told: [Need::Controller("memory")],
    a_limit_of_processes_is_told: [Need::Controller("pids"), Need::Runtime("aril")],
    a_paused_container_has_statistics,
];

fn stats(c: &Container<'_>) -> Value {
    let event = c.call("events", &["--stats"], &[]).run().json();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(c.id)), "{event}");
    event["data"].clone()
}

fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {pointer} in {value}"))
}

fn statistics_have_the_keys_that_callers_decode(t: &Case) {
    let data = stats(&t.started(&t.bundle()));
    for key in ["cpu", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces", "cpuset"] {
        assert!(data.get(key).is_some(), "no {key} in {data}");
    }
    for pointer in [
        "/cpu/usage/kernel",
        "/cpu/usage/user",
        "/memory/usage/limit",
        "/memory/usage/failcnt",
        "/memory/swap/limit",
        "/memory/kernel/limit",
        "/memory/kernelTCP/failcnt",
        "/cpuset/cpu_exclusive",
    ] {
        number(&data, pointer);
    }
    assert!(data["cpu"]["throttling"].is_object() && data["hugetlb"].is_object(), "{data}");
    for (size, pages) in data["hugetlb"].as_object().unwrap() {
        assert!(size.ends_with('B') && pages["failcnt"].is_u64(), "{data}");
    }
}

fn statistics_are_those_of_the_container(t: &Case) {
    let b = t.bundle_sh("sleep 1000 & sleep 1000 & touch /ready; wait");
    b.edit(|c| {
        c["root"]["readonly"] = json!(false);
        c["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
        c["linux"]["resources"]["pids"] = json!({"limit": 77});
    });
    let c = t.started(&b);
    eventually("the script runs", || present(b.root("ready")).then_some(()));
    let data = eventually("three processes are counted", || Some(stats(&c)).filter(|data| number(data, "/pids/current") == 3));
    assert_eq!(number(&data, "/pids/limit"), 77);
    assert_eq!(number(&data, "/memory/usage/limit"), 64 << 20);
    let used = number(&data, "/memory/usage/usage");
    assert!(used > 0 && used < 64 << 20, "{used}");
    assert!(data["memory"]["raw"].as_object().is_some_and(|raw| raw.len() > 10), "{data}");
}

fn statistics_of_processor_time(t: &Case) {
    let b = t.bundle_sh("while :; do :; done");
    let c = t.started(&b);
    let first = number(&stats(&c), "/cpu/usage/total");
    // A hundredth of a second, in nanoseconds.
    eventually("the processor is used", || (number(&stats(&c), "/cpu/usage/total") > first + 10_000_000).then_some(()));
}

fn statistics_of_v1(t: &Case) {
    let data = stats(&t.started(&t.bundle()));
    let times = data["cpu"]["usage"]["percpu"].as_array().unwrap_or_else(|| panic!("{data}"));
    assert!(!times.is_empty() && times.iter().all(Value::is_u64), "{data}");
    assert!(data["cpuset"]["cpus"].as_array().is_some_and(|cpus| !cpus.is_empty()), "{data}");
}

fn statistics_say_nothing_else(t: &Case) {
    let c = t.started(&t.bundle());
    let output = c.call("events", &["--stats"], &[]).run();
    assert_eq!((output.stdout.lines().count(), output.stderr.as_str()), (1, ""));
}

fn pressure_is_in_the_statistics(t: &Case) {
    let data = stats(&t.started(&t.bundle()));
    if t.environment.v2.is_some() {
        for part in ["cpu", "memory", "blkio"] {
            assert!(data[part]["psi"]["some"]["avg10"].is_f64() && data[part]["psi"]["full"]["total"].is_u64(), "{part} in {data}");
        }
    }
}

fn interfaces_of_the_container(t: &Case) {
    // A network namespace of its own has the loopback interface alone, which is not counted.
    assert_eq!(stats(&t.started(&t.bundle()))["network_interfaces"], json!([]));
    // The host's interfaces are not the container's.
    let b = t.bundle();
    b.leave_namespace("network");
    assert_eq!(stats(&t.started(&b))["network_interfaces"], json!([]));
}

/// Calls `events` in the background; its lines so far, and the call.
struct Follow {
    child: std::process::Child,
    file: std::path::PathBuf,
}

impl Follow {
    fn new(t: &Case, c: &Container<'_>, interval: &str) -> Self {
        let file = t.path("events");
        let child = c.call("events", &["--interval", interval], &[]).spawn(
            Stdio::null(),
            std::fs::File::create(&file).unwrap().into(),
            Stdio::null(),
        );
        Self { child, file }
    }

    fn of_type(&self, kind: &str) -> Vec<Value> {
        let text = read(&self.file);
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let events = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{line}: {e}")));
        events.filter(|event| event["type"] == kind).collect()
    }

    fn wait_for(&self, kind: &str) -> Value {
        eventually(&format!("an event {kind}"), || self.of_type(kind).pop())
    }

    fn end(&mut self) -> i32 {
        runtime::wait(&mut self.child, patience()).expect("events ends with the container").code().unwrap_or(-1)
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn statistics_come_at_each_interval(t: &Case) {
    let c = t.started(&t.bundle());
    let mut follow = Follow::new(t, &c, "20ms");
    eventually("three statistics", || (follow.of_type("stats").len() >= 3).then_some(()));
    assert!(follow.of_type("stats").iter().all(|event| event["id"] == c.id && event["data"]["memory"].is_object()));
    c.kill("KILL").wait_for("stopped");
    follow.end();
}

fn events_end_with_the_container(t: &Case) {
    let c = t.started(&t.bundle());
    let mut follow = Follow::new(t, &c, "1h0m0.5s");
    // It ends by the container's end, at whatever moment of its own start that comes.
    c.kill("KILL").wait_for("stopped");
    follow.end();
    assert_eq!(follow.of_type("stats"), Vec::<Value>::new());
}

fn events_of_a_stopped_container_are_refused(t: &Case) {
    let c = t.started(&t.bundle_sh("exit 0"));
    c.wait_for("stopped");
    for options in [&["--stats"] as &[&str], &[]] {
        assert_has(c.call("events", options, &[]).run().refused(), "not running");
    }
}

fn events_of_a_missing_container_are_refused(t: &Case) {
    assert_has(t.rt(&["events", "--stats", "nobody"]).run().refused(), "does not exist");
}

fn an_interval_that_is_none_is_refused(t: &Case) {
    let c = t.started(&t.bundle());
    for interval in ["0s", "5", "soon", "-1s"] {
        assert_has(c.call("events", &["--interval", interval], &[]).run().refused(), "interval");
    }
}

fn a_process_killed_for_lack_of_memory_is_told(t: &Case) {
    let b = t.bundle_sh("until [ -e /go ]; do sleep 0.01; done; probe memory 64; sleep 1000");
    b.edit(|c| {
        c["root"]["readonly"] = json!(false);
        c["linux"]["resources"]["memory"] = json!({"limit": 32 << 20});
    });
    let c = t.started(&b);
    let mut follow = Follow::new(t, &c, "50ms");
    follow.wait_for("stats");
    write(b.root("go"), "");
    assert_eq!(follow.wait_for("oom")["id"], c.id);
    c.kill("KILL").wait_for("stopped");
    follow.end();
}

fn a_limit_of_processes_is_told(t: &Case) {
    let b = t.bundle_sh("until [ -e /go ]; do :; done; (sleep 1000 & sleep 1000 & sleep 1000 & sleep 1000 & wait); sleep 1000");
    b.edit(|c| {
        c["root"]["readonly"] = json!(false);
        c["linux"]["resources"]["pids"] = json!({"limit": 4});
    });
    let c = t.started(&b);
    let mut follow = Follow::new(t, &c, "50ms");
    follow.wait_for("stats");
    write(b.root("go"), "");
    assert!(number(&follow.wait_for("pids.events"), "/data/max") > 0);
    c.kill("KILL").wait_for("stopped");
    follow.end();
}

fn a_paused_container_has_statistics(t: &Case) {
    let c = t.started(&t.bundle());
    c.call("pause", &[], &[]).run().ok();
    stats(&c);
}
