//! Why a container died or never began: the error names the limit that it met, and the JSON log has advice beside it.

use crate::support::*;

pub const TESTS: &[Test] = suite![
    a_limit_of_memory_that_is_too_low_to_start: [Need::Controller("memory"), Need::Runtime("aril")],
    a_process_killed_for_lack_of_memory: [Need::Controller("memory"), Need::Runtime("aril")],
    a_limit_of_processes_above_the_container: [Need::V2, Need::Controller("pids"), Need::Runtime("aril")],
    exec_into_a_container_full_of_processes: [Need::V2, Need::Controller("pids"), Need::Runtime("aril")],
    a_program_that_meets_its_limit_of_processes: [Need::Controller("pids"), Need::Runtime("aril")],
    a_process_killed_by_seccomp: [Need::Runtime("aril")],
    a_program_that_writes_more_than_it_may: [Need::Runtime("aril")],
    a_program_that_runs_longer_than_it_may: [Need::Runtime("aril")],
    a_program_that_fails_by_itself_is_not_explained: [Need::Runtime("aril")],
];

/// The record that a call leaves in the JSON log, with what it prints to standard error.
fn logged(t: &Case, b: &Bundle, verb: &str) -> (Output, Value) {
    let log = t.path("log");
    let _ = std::fs::remove_file(&log);
    let globals = ["--log".to_owned(), log.display().to_string(), "--log-format".to_owned(), "json".to_owned()];
    let call = if verb == "run" { t.run_call(&[], b) } else { t.create_call(&[], b) };
    let output = call.globals(globals).run();
    let text = read(&log);
    // Podman decodes the whole file as one object.
    let record = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text:?}; standard error: {}", output.stderr));
    (output, record)
}

#[track_caller]
fn assert_explained(record: &Value, level: &str, words: &[&str]) {
    assert_eq!(record["level"], level, "{record}");
    for word in words {
        assert_has(record["msg"].as_str().unwrap_or_default(), word);
    }
}

fn a_limit_of_memory_that_is_too_low_to_start(t: &Case) {
    // What fails for it differs: a call, the executor's arguments, or the executor is killed.
    for kib in [8, 16, 32] {
        let b = t.bundle();
        b.edit(|c| c["linux"]["resources"]["memory"] = json!({"limit": kib << 10, "swap": kib << 10}));
        let (output, record) = logged(t, &b, "create");
        assert_ne!(output.code(), 0);
        let words = format!("out of memory: the limit of the container's cgroup is {kib} KiB");
        assert_explained(&record, "error", &[&words, "/linux/resources/memory/limit"]);
        assert_eq!(record["at"], "/linux/resources/memory/limit");
        assert_has(record["hint"].as_str().unwrap(), "raise the limit of memory");
        assert_has(&output.stderr, "out of memory");
    }
}

fn a_process_killed_for_lack_of_memory(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "memory", "64"]);
    b.edit(|c| c["linux"]["resources"]["memory"] = json!({"limit": 32 << 20}));
    let (output, record) = logged(t, &b, "run");
    assert_eq!((output.code(), output.stderr.as_str()), (137, ""));
    assert_explained(&record, "warning", &["was killed by signal 9", "out of memory: the limit of the container's cgroup is 32 MiB"]);
}

fn a_limit_of_processes_above_the_container(t: &Case) {
    let first = t.create(&t.bundle());
    let limit = t.environment.cgroup("pids", &t.cgroup()).join("pids.max");
    write(&limit, "1");
    let (output, record) = logged(t, &t.bundle(), "create");
    write(&limit, "max");
    assert_ne!(output.code(), 0);
    let above = format!("out of processes: pids.max of cgroup {:?} is 1", limit.parent().unwrap());
    assert_explained(&record, "error", &[&above, "resource temporarily unavailable"]);
    assert_eq!(record["errno"], "EAGAIN");
    assert_has(record["hint"].as_str().unwrap(), "below that cgroup");
    drop(first);
}

fn exec_into_a_container_full_of_processes(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["linux"]["resources"]["pids"] = json!({"limit": 1}));
    let c = t.started(&b);
    let output = c.call("exec", &[], &["true"]).run();
    assert_has(output.refused(), "out of processes: pids.max of the container's cgroup is 1");
}

fn a_program_that_meets_its_limit_of_processes(t: &Case) {
    let b = t.bundle_sh("(sleep 1000 & sleep 1000 & sleep 1000 & sleep 1000 &) 2>/dev/null; exit 7");
    b.edit(|c| c["linux"]["resources"]["pids"] = json!({"limit": 3}));
    let (output, record) = logged(t, &b, "run");
    assert_eq!((output.code(), output.stderr.as_str()), (7, ""));
    assert_explained(&record, "warning", &["ended with status 7", "pids.max of the container's cgroup is 3"]);
}

fn a_process_killed_by_seccomp(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "getppid"]);
    b.edit(|c| {
        c["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["getppid"], "action": "SCMP_ACT_KILL_PROCESS"}]
        });
    });
    let (output, record) = logged(t, &b, "run");
    assert_eq!((output.code(), output.stderr.as_str()), (128 + 31, ""));
    assert_explained(&record, "warning", &["was killed by signal 31", "SIGSYS: a seccomp filter killed it", "/linux/seccomp"]);
}

fn a_program_that_writes_more_than_it_may(t: &Case) {
    let b = t.bundle_sh("exec cat /dev/zero > /file");
    // The first process of a pid namespace is spared such signals.
    b.leave_namespace("pid");
    b.edit(|c| {
        c["root"]["readonly"] = json!(false);
        c["process"]["rlimits"] = json!([{"type": "RLIMIT_FSIZE", "soft": 4096, "hard": 4096}]);
    });
    let (output, record) = logged(t, &b, "run");
    assert_eq!(output.code(), 128 + 25);
    assert_explained(&record, "warning", &["RLIMIT_FSIZE", "/process/rlimits"]);
}

fn a_program_that_runs_longer_than_it_may(t: &Case) {
    let b = t.bundle_sh("while :; do :; done");
    b.leave_namespace("pid");
    b.edit(|c| c["process"]["rlimits"] = json!([{"type": "RLIMIT_CPU", "soft": 1, "hard": 10}]));
    let (output, record) = logged(t, &b, "run");
    assert_eq!(output.code(), 128 + 24);
    assert_explained(&record, "warning", &["RLIMIT_CPU", "/process/rlimits"]);
}

fn a_program_that_fails_by_itself_is_not_explained(t: &Case) {
    for script in ["exit 7", "kill -9 $$"] {
        let b = t.bundle_sh(script);
        // Without a pid namespace of its own a process may kill itself.
        b.leave_namespace("pid");
        let log = t.path("log");
        let output = t.run_call(&[], &b).globals(["--log".to_owned(), log.display().to_string()]).run();
        assert!(output.code() > 0, "{script}");
        assert_eq!((output.stderr.as_str(), read(&log).as_str()), ("", ""), "{script}");
    }
}
