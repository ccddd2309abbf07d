//! `pause` and `resume`, which no specification has and every manager uses: the status `paused`, and what a paused container takes.

use crate::support::*;
use std::path::PathBuf;

pub const TESTS: &[Test] = suite![
    a_paused_container_takes_no_step,
    processes_below_are_paused_too,
    a_paused_container_is_listed_so,
    pause_and_resume_say_nothing,
    pause_of_a_stopped_container_is_refused,
    pause_of_a_paused_container_is_refused,
    resume_of_a_running_container_is_refused,
    resume_of_a_stopped_container_is_refused,
    a_missing_container_is_neither_paused_nor_resumed,
    sigkill_reaches_a_paused_container,
    sigkill_reaches_a_paused_container_without_a_pid_namespace,
    other_signals_wait_until_it_is_resumed,
    delete_of_a_paused_container_is_refused,
    delete_force_of_a_paused_container,
    a_created_container_is_paused_and_started_after_it_is_resumed,
    start_below_a_frozen_cgroup_is_refused: [Need::Runtime("aril")],
    resume_below_a_frozen_cgroup_says_so: [Need::Runtime("aril")],
];

/// Counts the signals that it gets.
const COUNTS: &str = "n=0; trap 'n=$((n+1)); echo $n > /count' USR1; echo 0 > /count; while :; do sleep 0.01; done";

fn counting(t: &Case) -> (Bundle, Container<'_>) {
    let b = t.bundle_sh(COUNTS);
    b.edit(|c| c["root"]["readonly"] = json!(false));
    let c = t.started(&b);
    eventually("the script runs", || (present(b.root("count")) && read(b.root("count")) == "0\n").then_some(()));
    (b, c)
}

fn pause<'a, 'b>(c: &'b Container<'a>) -> &'b Container<'a> {
    c.call("pause", &[], &[]).run().ok();
    assert_eq!(c.status(), "paused");
    c
}

fn resume(c: &Container<'_>) {
    c.call("resume", &[], &[]).run().ok();
}

/// The signals that wait for a process, as a mask.
fn pending(pid: i32) -> u64 {
    u64::from_str_radix(field(&read(format!("/proc/{pid}/status")), "ShdPnd"), 16).expect("a mask")
}

const USR1: u64 = 1 << 9;

fn a_paused_container_takes_no_step(t: &Case) {
    let (b, c) = counting(t);
    pause(&c).kill("USR1");
    // A process that runs takes its signals within this time; what else is done to the container meanwhile makes it no shorter.
    for _ in 0..5 {
        assert_eq!(c.status(), "paused");
        assert_eq!(pending(c.pid()) & USR1, USR1);
    }
    assert_eq!(read(b.root("count")), "0\n");
    resume(&c);
    assert_eq!(c.status(), "running");
    eventually("the signal arrives", || (read(b.root("count")) == "1\n").then_some(()));
}

/// The directory of a hierarchy in which something can be frozen.
fn freezer(t: &Case, path: &str) -> PathBuf {
    t.environment.cgroup("freezer", path)
}

fn processes_below_are_paused_too(t: &Case) {
    let (b, c) = counting(t);
    let below = freezer(t, &format!("{}/{}/below", t.cgroup(), b.id()));
    std::fs::create_dir(&below).unwrap();
    write(below.join("cgroup.procs"), c.pid().to_string());
    pause(&c).kill("USR1");
    assert_eq!(pending(c.pid()) & USR1, USR1);
    resume(&c);
    eventually("the signal arrives", || (read(b.root("count")) == "1\n").then_some(()));
    c.delete_force().ok();
    assert!(!present(below));
}

fn a_paused_container_is_listed_so(t: &Case) {
    let c = t.started(&t.bundle());
    pause(&c);
    let list = t.rt(&["list", "--format", "json"]).run().json();
    assert_eq!(list[0]["status"], "paused", "{list}");
    assert_eq!(list[0]["pid"], c.pid());
}

fn pause_and_resume_say_nothing(t: &Case) {
    let c = t.started(&t.bundle());
    for verb in ["pause", "resume", "pause", "resume"] {
        let output = c.call(verb, &[], &[]).run();
        assert_eq!((output.code(), output.stdout.as_str(), output.stderr.as_str()), (0, "", ""), "{verb}");
    }
}

fn pause_of_a_stopped_container_is_refused(t: &Case) {
    let c = t.started(&t.bundle_sh("exit 0"));
    assert_has(c.wait_for("stopped").call("pause", &[], &[]).run().refused(), "not running");
    assert_eq!(c.status(), "stopped");
}

fn pause_of_a_paused_container_is_refused(t: &Case) {
    let c = t.started(&t.bundle());
    assert_has(pause(&c).call("pause", &[], &[]).run().refused(), "container not running");
    assert_eq!(c.status(), "paused");
}

fn resume_of_a_running_container_is_refused(t: &Case) {
    let c = t.started(&t.bundle());
    assert_has(c.call("resume", &[], &[]).run().refused(), "container not paused");
    assert_eq!(c.status(), "running");
}

fn resume_of_a_stopped_container_is_refused(t: &Case) {
    let c = t.started(&t.bundle_sh("exit 0"));
    assert_has(c.wait_for("stopped").call("resume", &[], &[]).run().refused(), "container not paused");
}

fn a_missing_container_is_neither_paused_nor_resumed(t: &Case) {
    for verb in ["pause", "resume"] {
        assert_has(t.rt(&[verb, "nobody"]).run().refused(), "does not exist");
    }
}

fn sigkill_reaches_a_paused_container(t: &Case) {
    let (_, c) = counting(t);
    pause(&c).kill("KILL").wait_for("stopped").delete();
}

fn sigkill_reaches_a_paused_container_without_a_pid_namespace(t: &Case) {
    let b = t.bundle_sh("sleep 1000 & sleep 1000 & touch /ready; wait");
    b.edit(|c| c["root"]["readonly"] = json!(false));
    b.leave_namespace("pid");
    let c = t.started(&b);
    eventually("the script runs", || present(b.root("ready")).then_some(()));
    pause(&c).kill("KILL").wait_for("stopped").delete();
}

fn other_signals_wait_until_it_is_resumed(t: &Case) {
    let b = t.bundle_sh("trap 'exit 3' TERM; touch /ready; while :; do sleep 0.01; done");
    b.edit(|c| c["root"]["readonly"] = json!(false));
    let c = t.started(&b);
    eventually("the script runs", || present(b.root("ready")).then_some(()));
    pause(&c).kill("TERM");
    assert_eq!(c.status(), "paused");
    resume(&c);
    c.wait_for("stopped");
}

fn delete_of_a_paused_container_is_refused(t: &Case) {
    let c = t.started(&t.bundle());
    assert_has(pause(&c).call("delete", &[], &[]).run().refused(), "not stopped: paused");
    assert_eq!(c.status(), "paused");
    resume(&c);
    assert_eq!(c.status(), "running");
}

fn delete_force_of_a_paused_container(t: &Case) {
    let (_, c) = counting(t);
    pause(&c).delete_force().ok();
    assert!(!c.known());
}

fn a_created_container_is_paused_and_started_after_it_is_resumed(t: &Case) {
    let b = t.bundle_sh(COUNTS);
    b.edit(|c| c["root"]["readonly"] = json!(false));
    let c = t.create(&b);
    let refused = pause(&c).call("start", &[], &[]).run();
    assert_has(refused.refused(), "paused");
    assert!(!present(b.root("count")));
    resume(&c);
    assert_eq!(c.status(), "created");
    c.start();
    eventually("the script runs", || present(b.root("count")).then_some(()));
}

/// Freezes the cgroup above those of the case's containers while `act` runs: all of their processes stand still by then.
fn with_the_parent_frozen(t: &Case, act: impl FnOnce()) {
    let (file, freeze, thaw) =
        if t.environment.v1.contains_key("freezer") { ("freezer.state", "FROZEN", "THAWED") } else { ("cgroup.freeze", "1", "0") };
    let above = freezer(t, &t.cgroup());
    let file = above.join(file);
    write(&file, freeze);
    let acted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("all below stand still", || {
            let frozen = if freeze == "1" { read(above.join("cgroup.events")).contains("frozen 1") } else { read(&file).trim() == freeze };
            frozen.then_some(())
        });
        act();
    }));
    write(&file, thaw);
    if let Err(panic) = acted {
        std::panic::resume_unwind(panic);
    }
}

fn start_below_a_frozen_cgroup_is_refused(t: &Case) {
    let c = t.create(&t.bundle());
    with_the_parent_frozen(t, || {
        assert_has(c.call("start", &[], &[]).run().refused(), "a cgroup above its own is frozen");
        assert_eq!(c.status(), "created");
    });
    c.start();
    assert_eq!(c.status(), "running");
}

fn resume_below_a_frozen_cgroup_says_so(t: &Case) {
    let c = t.started(&t.bundle());
    pause(&c);
    with_the_parent_frozen(t, || {
        assert_has(c.call("resume", &[], &[]).run().refused(), "a cgroup above its own is frozen");
    });
    assert_eq!(c.status(), "running");
}
