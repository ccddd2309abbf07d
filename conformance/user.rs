//! config.md: process.user.

use crate::support::*;
use std::fs;
use std::os::unix::fs::symlink;

pub const TESTS: &[Test] = suite![
    ids_are_taken,
    the_largest_ids_are_taken,
    the_id_that_means_none_is_refused,
    a_negative_id_is_refused,
    ids_default_to_zero,
    additional_groups_are_exactly_those_named,
    groups_of_the_caller_do_not_leak,
    groups_of_the_image_are_not_added,
    many_additional_groups,
    umask_is_taken,
    umask_defaults_to_022,
    umask_of_the_caller_does_not_leak,
    umask_zero,
    a_numeric_user_name_in_the_image_means_nothing,
    a_fifo_as_passwd_does_not_hang,
    a_passwd_that_leads_out_of_the_image_is_not_read,
    a_huge_passwd_does_no_harm,
    another_user_owns_no_root_rights,
    a_process_of_another_user_can_write_its_standard_streams,
];

fn ids(t: &Case, user: Value, change: impl FnOnce(&Bundle)) -> String {
    let b = t.bundle();
    b.args(&["cat", "/proc/self/status"]);
    b.edit(|c| c["process"]["user"] = user);
    change(&b);
    let status = t.run(&b).ok().to_owned();
    format!("{} | {} | {}", field(&status, "Uid"), field(&status, "Gid"), field(&status, "Groups")).replace('\t', " ").trim().to_owned()
}

fn ids_are_taken(t: &Case) {
    assert_eq!(ids(t, json!({"uid": 1000, "gid": 2000}), |_| ()), "1000 1000 1000 1000 | 2000 2000 2000 2000 |");
}

fn the_largest_ids_are_taken(t: &Case) {
    let id = u32::MAX - 1;
    assert_eq!(ids(t, json!({"uid": id, "gid": id}), |_| ()), format!("{id} {id} {id} {id} | {id} {id} {id} {id} |"));
}

fn refused(t: &Case, user: Value) -> String {
    let b = t.bundle();
    b.edit(|c| c["process"]["user"] = user);
    t.refused(&b)
}

fn the_id_that_means_none_is_refused(t: &Case) {
    refused(t, json!({"uid": u32::MAX, "gid": 0}));
    refused(t, json!({"uid": 0, "gid": u32::MAX}));
}

fn a_negative_id_is_refused(t: &Case) {
    refused(t, json!({"uid": -1, "gid": 0}));
    refused(t, json!({"uid": 0, "gid": -1}));
    refused(t, json!({"uid": 1_u64 << 32, "gid": 0}));
    refused(t, json!({"uid": "0", "gid": 0}));
}

fn ids_default_to_zero(t: &Case) {
    assert_eq!(ids(t, json!({}), |_| ()), "0 0 0 0 | 0 0 0 0 |");
}

fn additional_groups_are_exactly_those_named(t: &Case) {
    assert_eq!(ids(t, json!({"uid": 0, "gid": 0, "additionalGids": [5, 27, 44]}), |_| ()), "0 0 0 0 | 0 0 0 0 | 5 27 44");
}

fn groups_of_the_caller_do_not_leak(t: &Case) {
    let b = t.bundle();
    b.args(&["cat", "/proc/self/status"]);
    let output = t.run_call(&[], &b).shell("exec setpriv --groups 77,88 \"$@\"").run();
    assert_eq!(field(output.ok(), "Groups"), "");
}

fn groups_of_the_image_are_not_added(t: &Case) {
    let got = ids(t, json!({"uid": 1000, "gid": 1000}), |b| write(b.root("/etc/group"), "root:x:0:\nwheel:x:10:alice\n"));
    assert_eq!(got, "1000 1000 1000 1000 | 1000 1000 1000 1000 |");
}

fn many_additional_groups(t: &Case) {
    let groups: Vec<u32> = (1..=2000).collect();
    let got = ids(t, json!({"uid": 0, "gid": 0, "additionalGids": groups}), |_| ());
    assert!(got.ends_with(" 1999 2000"), "{got}");
}

fn umask(t: &Case, user: Value, script: &str) -> String {
    let b = t.bundle_sh("umask");
    b.edit(|c| c["process"]["user"] = user);
    t.run_call(&[], &b).shell(script).run().ok().to_owned()
}

fn umask_is_taken(t: &Case) {
    assert_eq!(umask(t, json!({"uid": 0, "gid": 0, "umask": 0o077}), "exec \"$@\""), "0077\n");
}

fn umask_defaults_to_022(t: &Case) {
    assert_eq!(umask(t, json!({"uid": 0, "gid": 0}), "exec \"$@\""), "0022\n");
}

fn umask_of_the_caller_does_not_leak(t: &Case) {
    assert_eq!(umask(t, json!({"uid": 0, "gid": 0}), "umask 0077; exec \"$@\""), "0022\n");
}

fn umask_zero(t: &Case) {
    assert_eq!(umask(t, json!({"uid": 0, "gid": 0, "umask": 0}), "exec \"$@\""), "0000\n");
}

/// CVE-2016-3697.
fn a_numeric_user_name_in_the_image_means_nothing(t: &Case) {
    let got = ids(t, json!({"uid": 1000, "gid": 1000}), |b| {
        write(b.root("/etc/passwd"), "1000:x:0:0::/:/bin/sh\n");
        write(b.root("/etc/group"), "1000:x:0:\n");
    });
    assert_eq!(got, "1000 1000 1000 1000 | 1000 1000 1000 1000 |");
}

fn a_fifo_as_passwd_does_not_hang(t: &Case) {
    let b = t.bundle_sh("echo $HOME");
    fs::remove_file(b.root("/etc/passwd")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(b.root("/etc/passwd")).status().unwrap();
    assert!(made.success());
    assert_eq!(t.run(&b).ok(), "/\n");
}

fn a_passwd_that_leads_out_of_the_image_is_not_read(t: &Case) {
    let b = t.bundle_sh("echo $HOME");
    let outside = t.path("passwd");
    write(&outside, "root:x:0:0::/outside:/bin/sh\n");
    fs::remove_file(b.root("/etc/passwd")).unwrap();
    symlink(&outside, b.root("/etc/passwd")).unwrap();
    assert_eq!(t.run(&b).ok(), "/\n");
}

fn a_huge_passwd_does_no_harm(t: &Case) {
    let b = t.bundle_sh("exit 0");
    write(b.root("/etc/passwd"), "x".repeat(8 << 20));
    t.run(&b).ok();
}

fn another_user_owns_no_root_rights(t: &Case) {
    let b = t.bundle_sh("cat /etc/secret 2>&1; touch /etc/new 2>&1; true");
    write(b.root("/etc/secret"), "secret");
    fs::set_permissions(b.root("/etc/secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    b.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    assert_eq!(t.run(&b).ok().matches("Permission denied").count(), 2);
}

fn a_process_of_another_user_can_write_its_standard_streams(t: &Case) {
    let b = t.bundle_sh("echo out; echo err >&2; read -r x && echo $x");
    b.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let output = t.run_call(&[], &b).stdin("in\n").run();
    assert_eq!((output.ok(), output.stderr.as_str()), ("out\nin\n", "err\n"));
}
