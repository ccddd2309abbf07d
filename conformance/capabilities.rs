//! config.md: process.capabilities.

use crate::support::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

pub const TESTS: &[Test] = suite![
    the_default_sets_are_taken,
    each_set_is_set_by_itself,
    all_sets_empty,
    absent_sets_are_empty,
    absent_capabilities_are_none,
    ambient_reaches_another_user,
    ambient_survives_an_exec,
    inheritable_is_empty_when_absent,
    another_user_keeps_the_bounding_set_alone,
    another_user_with_permitted_and_effective,
    an_unknown_capability_is_warned_of_and_left_out,
    an_unknown_capability_is_warned_of_in_the_log,
    a_capability_that_cannot_be_granted_is_left_out,
    names_of_every_capability_are_known,
    effective_capabilities_work,
    dropped_capabilities_do_not_work,
    a_file_capability_gains_nothing_beyond_the_bounding_set,
    caller_with_inheritable_and_ambient_leaks_none,
];

const SETS: [(&str, &str); 5] =
    [("inheritable", "CapInh"), ("permitted", "CapPrm"), ("effective", "CapEff"), ("bounding", "CapBnd"), ("ambient", "CapAmb")];

/// The five sets that a process with these capabilities in the configuration finds.
fn sets(t: &Case, capabilities: Value, change: impl FnOnce(&Bundle)) -> Vec<(String, u64)> {
    let b = t.bundle();
    b.args(&["cat", "/proc/self/status"]);
    b.edit(|c| {
        if capabilities.is_null() {
            c["process"].as_object_mut().unwrap().remove("capabilities");
        } else {
            c["process"]["capabilities"] = capabilities;
        }
    });
    change(&b);
    let status = t.run(&b).ok().to_owned();
    SETS.iter().map(|(name, key)| ((*name).to_owned(), u64::from_str_radix(field(&status, key), 16).unwrap())).collect()
}

fn assert_sets(sets: &[(String, u64)], expected: [u64; 5]) {
    let got: Vec<_> = sets.iter().map(|(name, set)| format!("{name} {set:x}")).collect();
    let want: Vec<_> = SETS.iter().zip(expected).map(|((name, _), set)| format!("{name} {set:x}")).collect();
    assert_eq!(got, want);
}

const KILL: u64 = 1 << 5;
const BIND: u64 = 1 << 10;
const AUDIT: u64 = 1 << 29;
const CHOWN: u64 = 1;

fn the_default_sets_are_taken(t: &Case) {
    let all = KILL | BIND | AUDIT;
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    assert_sets(&sets(t, json!({"bounding": caps, "effective": caps, "permitted": caps}), |_| ()), [0, all, all, all, 0]);
}

fn each_set_is_set_by_itself(t: &Case) {
    // Not a root user: the kernel would add to root's sets at the exec.
    let got = sets(
        t,
        json!({"bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "effective": [], "ambient": []}),
        |b| {
            b.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
        },
    );
    assert_sets(&got, [KILL, 0, 0, CHOWN | KILL, 0]);
}

fn all_sets_empty(t: &Case) {
    assert_sets(&sets(t, json!({"bounding": [], "effective": [], "permitted": [], "inheritable": [], "ambient": []}), |_| ()), [0; 5]);
}

fn absent_sets_are_empty(t: &Case) {
    assert_sets(&sets(t, json!({}), |_| ()), [0; 5]);
}

fn absent_capabilities_are_none(t: &Case) {
    assert_sets(&sets(t, Value::Null, |_| ()), [0; 5]);
}

fn ambient_reaches_another_user(t: &Case) {
    let caps = json!(["CAP_NET_BIND_SERVICE"]);
    let got = sets(t, json!({"bounding": caps, "permitted": caps, "effective": caps, "inheritable": caps, "ambient": caps}), |b| {
        b.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    });
    assert_sets(&got, [BIND; 5]);
}

fn ambient_survives_an_exec(t: &Case) {
    let caps = json!(["CAP_NET_BIND_SERVICE"]);
    let got = sets(t, json!({"bounding": caps, "permitted": caps, "effective": caps, "inheritable": caps, "ambient": caps}), |b| {
        b.sh("exec env cat /proc/self/status");
        b.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    });
    assert_sets(&got, [BIND; 5]);
}

fn inheritable_is_empty_when_absent(t: &Case) {
    let caps = json!(["CAP_KILL"]);
    let got = sets(t, json!({"bounding": caps, "effective": caps, "permitted": caps}), |_| ());
    assert_eq!(got[0], ("inheritable".to_owned(), 0));
}

fn another_user_keeps_the_bounding_set_alone(t: &Case) {
    let caps = json!(["CAP_KILL"]);
    let got = sets(t, json!({"bounding": caps, "effective": caps, "permitted": caps}), |b| {
        b.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    });
    assert_sets(&got, [0, 0, 0, KILL, 0]);
}

fn another_user_with_permitted_and_effective(t: &Case) {
    // At the exec the kernel clears what is not ambient, for a user that is not root.
    let caps = json!(["CAP_KILL", "CAP_CHOWN"]);
    let got = sets(
        t,
        json!({"bounding": caps, "effective": caps, "permitted": caps, "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]}),
        |b| {
            b.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
        },
    );
    assert_sets(&got, [KILL, KILL, KILL, KILL | CHOWN, KILL]);
}

fn an_unknown_capability_is_warned_of_and_left_out(t: &Case) {
    let caps = json!(["CAP_KILL", "CAP_OF_THE_FUTURE"]);
    let b = t.bundle();
    b.args(&["cat", "/proc/self/status"]);
    b.edit(|c| c["process"]["capabilities"] = json!({"bounding": caps, "effective": caps, "permitted": caps}));
    let output = t.run(&b);
    assert_eq!(field(output.ok(), "CapBnd"), format!("{KILL:016x}"));
    assert_has(&output.stderr, "CAP_OF_THE_FUTURE");
}

fn an_unknown_capability_is_warned_of_in_the_log(t: &Case) {
    let (b, log) = (t.bundle_sh("true"), t.path("log"));
    let caps = json!(["CAP_KILL", "CAP_OF_THE_FUTURE"]);
    b.edit(|c| c["process"]["capabilities"] = json!({"bounding": caps, "effective": caps, "permitted": caps}));
    let output = t.run_call(&[], &b).globals(["--log".to_owned(), log.display().to_string()]).run();
    output.ok();
    assert_has(&read(log), "CAP_OF_THE_FUTURE");
    assert_eq!(output.stderr, "", "a warning goes where the log is named");
}

fn a_capability_that_cannot_be_granted_is_left_out(t: &Case) {
    // The caller has given it up before.
    let b = t.bundle();
    b.args(&["cat", "/proc/self/status"]);
    let caps = json!(["CAP_KILL", "CAP_SYS_BOOT"]);
    b.edit(|c| c["process"]["capabilities"] = json!({"bounding": caps, "effective": caps, "permitted": caps}));
    let output = t.run_call(&[], &b).shell("exec setpriv --bounding-set -sys_boot \"$@\"").run();
    assert_eq!(field(output.ok(), "CapEff"), format!("{KILL:016x}"));
    assert_has(&output.stderr, "CAP_SYS_BOOT");
}

fn names_of_every_capability_are_known(t: &Case) {
    let names = [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    ];
    let status = read("/proc/self/status");
    let here = u64::from_str_radix(field(&status, "CapPrm"), 16).unwrap();
    let held: Vec<_> = names.iter().enumerate().filter(|(bit, _)| here & (1 << bit) != 0).map(|(_, name)| format!("CAP_{name}")).collect();
    let mask = here & ((1 << names.len()) - 1);
    let got = sets(t, json!({"bounding": held, "effective": held, "permitted": held}), |_| ());
    assert_sets(&got, [0, mask, mask, mask, 0]);
}

fn effective_capabilities_work(t: &Case) {
    let caps = json!(["CAP_CHOWN"]);
    let out = t.sh("touch /tmp/f; chown 5 /tmp/f && stat -c %u /tmp/f", |b| {
        b.edit(|c| c["process"]["capabilities"] = json!({"bounding": caps, "effective": caps, "permitted": caps}));
    });
    assert_eq!(out, "5\n");
}

fn dropped_capabilities_do_not_work(t: &Case) {
    let out = t.sh("touch /tmp/f; chown 5 /tmp/f 2>&1; mount -t tmpfs none /mnt 2>&1; true", |_| ());
    assert_eq!(out.matches("ermi").count(), 2, "{out}");
}

fn a_file_capability_gains_nothing_beyond_the_bounding_set(t: &Case) {
    let b = t.bundle();
    fs::copy(b.root("/bin/probe"), b.root("/bin/capable")).unwrap();
    fs::set_permissions(b.root("/bin/capable"), fs::Permissions::from_mode(0o755)).unwrap();
    // Revision 2: CAP_CHOWN and CAP_KILL, permitted and effective.
    let value: Vec<u8> = [0x0200_0001_u32, 0x21, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    rustix::fs::setxattr(b.root("/bin/capable"), "security.capability", &value, rustix::fs::XattrFlags::empty()).unwrap();
    b.args(&["/bin/capable", "open", "/proc/self/status", "r"]);
    b.edit(|c| {
        c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        c["process"]["noNewPrivileges"] = json!(false);
        c["process"]["capabilities"] = json!({"bounding": ["CAP_KILL"]});
    });
    // A file whose effective bit is set, and which asks for more than may be had, cannot be run at all (capabilities(7)).
    let output = t.run(&b);
    assert_ne!(output.code(), 0, "{}", output.stdout);
    assert_has(&output.stderr.to_lowercase(), "operation not permitted");
}

fn caller_with_inheritable_and_ambient_leaks_none(t: &Case) {
    let b = t.bundle();
    b.args(&["cat", "/proc/self/status"]);
    let output = t.run_call(&[], &b).shell("exec setpriv --inh-caps +net_raw,+chown --ambient-caps +net_raw,+chown \"$@\"").run();
    let status = output.ok();
    assert_eq!(field(status, "CapInh"), "0000000000000000");
    assert_eq!(field(status, "CapAmb"), "0000000000000000");
}
