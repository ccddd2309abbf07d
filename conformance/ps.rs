//! `ps`, by which managers learn the processes of a container.

use crate::support::*;
use std::collections::BTreeSet;

pub const TESTS: &[Test] = suite![
    json_is_a_list_of_pids,
    json_says_nothing_else,
    processes_in_cgroups_below_are_listed,
    the_table_is_that_of_ps: [Need::Program("ps")],
    options_are_passed_on: [Need::Program("ps")],
    a_table_without_pids_is_refused: [Need::Program("ps")],
    options_that_ps_refuses_are_its_error: [Need::Program("ps")],
    a_created_container_has_one_process,
    a_paused_container_has_its_processes,
    a_stopped_container_has_none: [Need::Runtime("aril")],
    a_missing_container_is_refused,
];

const THREE: &str = "sleep 1234 & setsid sleep 1234 & wait";

fn pids(c: &Container<'_>) -> BTreeSet<i64> {
    let list = c.call("ps", &["--format", "json"], &[]).run().json();
    list.as_array().unwrap_or_else(|| panic!("{list}")).iter().map(|pid| pid.as_i64().unwrap()).collect()
}

/// Waits until the shell has made both, and both are what they are to become.
fn three_run(c: &Container<'_>) {
    let is_sleep = |pid: &i64| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words == b"sleep\x001234\0");
    eventually("three processes run", || {
        let found = pids(c);
        (found.len() == 3 && found.iter().filter(|pid| is_sleep(pid)).count() == 2).then_some(())
    });
}

fn three(t: &Case) -> Container<'_> {
    let c = t.started(&t.bundle_sh(THREE));
    three_run(&c);
    c
}

fn json_is_a_list_of_pids(t: &Case) {
    let c = three(t);
    let found = pids(&c);
    assert!(found.contains(&c.pid().into()), "{found:?}");
    for pid in found.iter().filter(|pid| **pid != i64::from(c.pid())) {
        assert_eq!(read(format!("/proc/{pid}/cmdline")), "sleep\x001234\0");
    }
}

fn json_says_nothing_else(t: &Case) {
    let c = t.started(&t.bundle());
    let output = c.call("ps", &["-f", "json"], &[]).run();
    // Callers decode both streams together.
    assert_eq!((output.stdout.trim(), output.stderr.as_str()), (format!("[{}]", c.pid()).as_str(), ""));
}

fn processes_in_cgroups_below_are_listed(t: &Case) {
    let b = t.bundle_sh(THREE);
    let c = t.started(&b);
    three_run(&c);
    let moved = pids(&c).into_iter().next_back().unwrap();
    for dir in t.environment.cgroups(&format!("{}/{}", t.cgroup(), b.id())).into_iter().filter(|dir| present(dir)) {
        let below = dir.join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        // A cpuset of v1 without processors takes none.
        let _ = std::fs::write(below.join("cgroup.procs"), moved.to_string());
    }
    let found = pids(&c);
    assert!(found.len() == 3 && found.contains(&moved), "{found:?}");
    c.delete_force().ok();
}

fn the_table_is_that_of_ps(t: &Case) {
    let c = three(t);
    let table = c.call("ps", &[], &[]).run().ok().to_owned();
    let mut lines = table.lines();
    assert_has(lines.next().unwrap(), "PID");
    let rows: Vec<&str> = lines.collect();
    assert_eq!(rows.len(), 3, "{table}");
    assert!(rows.iter().filter(|row| row.contains("sleep 1234")).count() >= 2, "{table}");
}

fn options_are_passed_on(t: &Case) {
    let c = three(t);
    for (options, head) in [("pid,args", "PID COMMAND"), ("stat,pid,args", "STAT PID COMMAND"), ("args,pid", "COMMAND PID")] {
        if options == "args,pid" && t.environment.name != "aril" {
            continue; // others take the second word of a command for the pid
        }
        let table = c.call("ps", &["--format=table"], &["-eo", options]).run().ok().to_owned();
        let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(lines.next().unwrap(), head);
        assert_eq!(lines.count(), 3, "{table}");
        assert!(table.matches("sleep 1234").count() >= 2, "{table}");
    }
}

fn a_table_without_pids_is_refused(t: &Case) {
    let c = t.started(&t.bundle());
    assert_has(c.call("ps", &[], &["-o", "args"]).run().refused(), "PID");
}

fn options_that_ps_refuses_are_its_error(t: &Case) {
    let c = t.started(&t.bundle());
    c.call("ps", &[], &["--no-such-option"]).run().refused();
}

fn a_created_container_has_one_process(t: &Case) {
    let c = t.create(&t.bundle());
    assert_eq!(pids(&c), BTreeSet::from([c.pid().into()]));
}

fn a_paused_container_has_its_processes(t: &Case) {
    let c = three(t);
    c.call("pause", &[], &[]).run().ok();
    assert_eq!(pids(&c).len(), 3);
}

fn a_stopped_container_has_none(t: &Case) {
    let c = t.started(&t.bundle_sh("exit 0"));
    c.wait_for("stopped");
    assert_eq!(c.call("ps", &["--format", "json"], &[]).run().ok(), "[]\n");
}

fn a_missing_container_is_refused(t: &Case) {
    assert_has(t.rt(&["ps", "nobody"]).run().refused(), "does not exist");
}
