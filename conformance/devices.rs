//! config-linux.md: devices, default devices and links, and the rules of the device controller.

use crate::support::*;
use std::fs;

pub const TESTS: &[Test] = suite![
    default_devices,
    default_links,
    default_devices_work,
    a_character_device,
    a_block_device,
    a_fifo,
    an_unbuffered_device,
    mode_and_owner,
    mode_defaults,
    mode_is_not_cut_by_the_callers_umask,
    a_device_outside_of_dev,
    a_device_in_a_new_directory,
    a_file_that_is_not_the_device_is_refused,
    a_default_device_named_again,
    default_devices_over_those_of_the_image,
    an_unknown_type_is_refused,
    an_absent_path_is_refused,
    a_path_through_a_symbolic_link_stays_inside,
    the_default_rules_deny_the_rest,
    mknod_is_allowed_and_opening_is_not,
    an_allowed_device_can_be_opened,
    an_allowed_device_without_write,
    a_wildcard_minor,
    allow_all_then_deny_one,
    deny_after_allow_wins_by_order,
    rules_absent_are_the_default,
    default_devices_stay_allowed_under_deny_all,
    a_pty_can_be_opened_under_deny_all,
    rules_do_not_touch_the_host,
    rules_hold_for_children,
    a_rule_of_type_a_with_numbers,
    a_rule_of_an_unknown_type_is_refused,
    a_rule_with_an_unknown_access_is_refused,
    a_rule_with_a_negative_number_other_than_minus_one_is_refused,
    many_rules,
    no_console_without_a_terminal,
    privileged_rules_allow_everything,
    dev_without_a_mount,
    dev_bound_from_the_host,
];

fn caps(b: &Bundle, names: &[&str]) {
    b.edit(|c| c["process"]["capabilities"] = json!({"bounding": names, "effective": names, "permitted": names}));
}

fn default_devices(t: &Case) {
    let out = t.sh("for d in null zero full random urandom tty; do probe rdev /dev/$d; done", |_| ());
    assert_eq!(out, "c 1:3 666 0:0\nc 1:5 666 0:0\nc 1:7 666 0:0\nc 1:8 666 0:0\nc 1:9 666 0:0\nc 5:0 666 0:0\n");
}

fn default_links(t: &Case) {
    let out = t.sh("for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done; test -c /dev/ptmx && echo ptmx", |_| ());
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[..4], ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"]);
    assert!(lines[4].ends_with("pts/ptmx"), "{out}");
    assert_eq!(lines[5], "ptmx");
}

fn default_devices_work(t: &Case) {
    let out = t.sh(
        "echo x > /dev/null && head -c 3 /dev/zero | od -An -tx1; head -c 5 /dev/urandom | wc -c; head -c 5 /dev/random | wc -c; \
         echo x > /dev/full 2>&1; echo a | cat /dev/stdin >> /dev/stdout",
        |_| (),
    );
    assert_has(&out, " 00 00 00\n5\n5\n");
    assert!(out.ends_with("a\n"), "{out}");
}

fn device(t: &Case, device: Value, script: &str) -> String {
    t.sh(script, |b| {
        b.edit(|c| c["linux"]["devices"] = json!([device]));
    })
}

fn a_character_device(t: &Case) {
    let out = device(
        t,
        json!({"path": "/dev/kmsg2", "type": "c", "major": 1, "minor": 11, "fileMode": 0o640, "uid": 0, "gid": 0}),
        "probe rdev /dev/kmsg2",
    );
    assert_eq!(out, "c 1:11 640 0:0\n");
}

fn a_block_device(t: &Case) {
    let out = device(t, json!({"path": "/dev/disk", "type": "b", "major": 7, "minor": 99}), "probe rdev /dev/disk");
    assert!(out.starts_with("b 7:99 "), "{out}");
}

fn a_fifo(t: &Case) {
    let out = device(t, json!({"path": "/dev/pipe", "type": "p", "fileMode": 0o600}), "stat -c '%F %a' /dev/pipe");
    assert_eq!(out, "fifo 600\n");
}

fn an_unbuffered_device(t: &Case) {
    let out = device(t, json!({"path": "/dev/raw", "type": "u", "major": 1, "minor": 3}), "probe rdev /dev/raw");
    assert!(out.starts_with("c 1:3 "), "{out}");
}

fn mode_and_owner(t: &Case) {
    let out = device(
        t,
        json!({"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 0o123, "uid": 12, "gid": 34}),
        "probe rdev /dev/x",
    );
    assert_eq!(out, "c 1:3 123 12:34\n");
}

fn mode_defaults(t: &Case) {
    let out = device(t, json!({"path": "/dev/x", "type": "c", "major": 1, "minor": 3}), "probe rdev /dev/x");
    assert!(out.ends_with(" 0:0\n"), "{out}");
}

fn mode_is_not_cut_by_the_callers_umask(t: &Case) {
    let b = t.bundle_sh("probe rdev /dev/x; probe rdev /dev/null");
    b.edit(|c| c["linux"]["devices"] = json!([{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]));
    let output = t.run_call(&[], &b).shell("umask 077; exec \"$@\"").run();
    assert_eq!(output.ok(), "c 1:3 666 0:0\nc 1:3 666 0:0\n");
}

fn a_device_outside_of_dev(t: &Case) {
    let out = device(t, json!({"path": "/opt/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}), "probe rdev /opt/null");
    assert_eq!(out, "c 1:3 666 0:0\n");
}

fn a_device_in_a_new_directory(t: &Case) {
    let out =
        device(t, json!({"path": "/dev/a/b/c", "type": "c", "major": 1, "minor": 3}), "stat -c %a /dev/a; test -c /dev/a/b/c && echo made");
    assert_eq!(out, "755\nmade\n");
}

fn a_file_that_is_not_the_device_is_refused(t: &Case) {
    for (name, node) in [("plain", None), ("other", Some(["c", "1", "5"]))] {
        let b = t.bundle();
        let path = b.root("/opt").join(name);
        fs::create_dir_all(b.root("/opt")).unwrap();
        match node {
            None => write(&path, "text"),
            Some(node) => assert!(std::process::Command::new("mknod").arg(&path).args(node).status().unwrap().success()),
        }
        b.edit(|c| c["linux"]["devices"] = json!([{"path": format!("/opt/{name}"), "type": "c", "major": 1, "minor": 3}]));
        assert_has(&t.refused(&b), name);
    }
}

fn a_default_device_named_again(t: &Case) {
    let out = device(
        t,
        json!({"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0}),
        "probe rdev /dev/null",
    );
    assert_eq!(out, "c 1:3 666 0:0\n");
}

fn default_devices_over_those_of_the_image(t: &Case) {
    // No mount at /dev: the image has nodes and files there.
    let b = t.bundle_sh("probe rdev /dev/null; probe rdev /dev/zero; readlink /dev/fd");
    std::process::Command::new("mknod").args(["-m", "666"]).arg(b.root("/dev/null")).args(["c", "1", "3"]).status().unwrap();
    for at in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
        b.unmount(at);
    }
    assert_eq!(t.run(&b).ok(), "c 1:3 666 0:0\nc 1:5 666 0:0\n/proc/self/fd\n");
}

fn refused_device(t: &Case, device: Value) -> String {
    let b = t.bundle();
    b.edit(|c| c["linux"]["devices"] = json!([device]));
    t.refused(&b)
}

fn an_unknown_type_is_refused(t: &Case) {
    refused_device(t, json!({"path": "/dev/x", "type": "q", "major": 1, "minor": 3}));
    refused_device(t, json!({"path": "/dev/x", "type": "", "major": 1, "minor": 3}));
}

fn an_absent_path_is_refused(t: &Case) {
    refused_device(t, json!({"type": "c", "major": 1, "minor": 3}));
}

fn a_path_through_a_symbolic_link_stays_inside(t: &Case) {
    let canary = t.mkdir("canary");
    let b = t.bundle_sh("true");
    std::os::unix::fs::symlink(&canary, b.root("/link")).unwrap();
    b.edit(|c| c["linux"]["devices"] = json!([{"path": "/link/x", "type": "c", "major": 1, "minor": 3}]));
    let _ = t.run(&b);
    assert_eq!(fs::read_dir(canary).unwrap().count(), 0, "a node was made on the host");
}

/// Makes character nodes (`MAJOR-MINOR`) and tries to open each: `allowed` or `refused`. They have no driver, so that an open that the rules allow
/// finds no device, whatever the machine has.
fn open(t: &Case, rules: Value, nodes: &str, flags: &str) -> String {
    let script =
        format!("for n in {nodes}; do mknod -m 666 /dev/n-$n c ${{n%-*}} ${{n#*-}} 2>&1 && probe open /dev/n-$n {flags}; done; true");
    let out = t.sh(&script, |b| {
        caps(b, &["CAP_MKNOD", "CAP_DAC_OVERRIDE"]);
        b.edit(|c| c["linux"]["resources"]["devices"] = rules);
    });
    out.replace("No such device or address", "allowed").replace("Operation not permitted", "refused").replace('\n', " ").trim().to_owned()
}

fn rule(allow: bool, major: i64, minor: i64, access: &str) -> Value {
    json!({"allow": allow, "type": "c", "major": major, "minor": minor, "access": access})
}

fn deny_all() -> Value {
    json!({"allow": false, "access": "rwm"})
}

const REFUSED: &str = "Operation not permitted\n";

fn the_default_rules_deny_the_rest(t: &Case) {
    // 1:1 is /dev/mem, 1:11 /dev/kmsg, 10:229 /dev/fuse.
    assert_eq!(open(t, json!([deny_all()]), "1-1 1-11 10-229 99-99", "r"), "refused refused refused refused");
}

fn mknod_is_allowed_and_opening_is_not(t: &Case) {
    let out = t.sh("mknod /dev/b b 7 99 && mknod /dev/c c 99 99 && echo made; probe open /dev/b r; probe open /dev/c r", |b| {
        caps(b, &["CAP_MKNOD"])
    });
    assert_eq!(out, format!("made\n{REFUSED}{REFUSED}"));
}

fn an_allowed_device_can_be_opened(t: &Case) {
    assert_eq!(open(t, json!([deny_all(), rule(true, 99, 99, "rwm")]), "99-99 99-98 98-99", "b"), "allowed refused refused");
}

fn an_allowed_device_without_write(t: &Case) {
    let rules = json!([deny_all(), rule(true, 99, 99, "r")]);
    assert_eq!(open(t, rules.clone(), "99-99", "r"), "allowed");
    assert_eq!(open(t, rules.clone(), "99-99", "w"), "refused");
    assert_eq!(open(t, rules, "99-99", "b"), "refused");
}

fn a_wildcard_minor(t: &Case) {
    // Major 99 is the parallel port's, whose low minors can be opened where its driver is to be had.
    assert_eq!(open(t, json!([deny_all(), rule(true, 99, -1, "rwm")]), "99-99 99-98 98-99", "r"), "allowed allowed refused");
    let absent = json!({"allow": true, "type": "c", "major": 99, "access": "rwm"});
    assert_eq!(open(t, json!([deny_all(), absent]), "99-99 98-99", "r"), "allowed refused");
}

fn allow_all_then_deny_one(t: &Case) {
    let rules = json!([{"allow": true, "access": "rwm"}, rule(false, 99, 99, "rw")]);
    assert_eq!(open(t, rules, "99-99 99-98", "r"), "refused allowed");
}

fn deny_after_allow_wins_by_order(t: &Case) {
    assert_eq!(open(t, json!([deny_all(), rule(true, 99, 99, "rw"), rule(false, 99, 99, "rw")]), "99-99", "r"), "refused");
    assert_eq!(open(t, json!([deny_all(), rule(false, 99, 99, "rw"), rule(true, 99, 99, "rw")]), "99-99", "r"), "allowed");
}

fn rules_absent_are_the_default(t: &Case) {
    // No rules, or no resources at all, must not mean that everything is allowed.
    for resources in [json!({}), Value::Null] {
        let out = t.sh("mknod /dev/n c 99 99 && probe open /dev/n r; probe open /dev/null r", |b| {
            caps(b, &["CAP_MKNOD"]);
            b.edit(|c| c["linux"]["resources"] = resources);
        });
        assert_eq!(out, format!("{REFUSED}ok\n"));
    }
}

fn default_devices_stay_allowed_under_deny_all(t: &Case) {
    let out = t.sh("for d in null zero full random urandom; do probe open /dev/$d b; done", |_| ());
    assert_eq!(out, "ok\n".repeat(5));
}

fn a_pty_can_be_opened_under_deny_all(t: &Case) {
    assert_eq!(t.sh("probe open /dev/ptmx b", |_| ()), "ok\n");
}

fn rules_do_not_touch_the_host(t: &Case) {
    let c = t.started(&t.bundle());
    fs::File::open("/dev/kmsg").map(drop).expect("the host's own rights");
    drop(c);
    fs::File::open("/dev/kmsg").map(drop).expect("the host's own rights after it");
}

fn rules_hold_for_children(t: &Case) {
    let out = t.sh("mknod /dev/n c 99 99; sh -c 'sh -c \"probe open /dev/n r; true\"'", |b| caps(b, &["CAP_MKNOD"]));
    assert_eq!(out, REFUSED);
}

fn a_rule_of_type_a_with_numbers(t: &Case) {
    // Docker's --privileged sends this form.
    let out = open(t, json!([{"allow": true, "type": "a", "major": -1, "minor": -1, "access": "rwm"}]), "99-99", "r");
    assert_eq!(out, "allowed");
}

fn refused_rule(t: &Case, rule: Value) -> String {
    let b = t.bundle();
    b.edit(|c| c["linux"]["resources"]["devices"] = json!([{"allow": false, "access": "rwm"}, rule]));
    t.refused(&b)
}

fn a_rule_of_an_unknown_type_is_refused(t: &Case) {
    refused_rule(t, json!({"allow": true, "type": "q", "major": 1, "minor": 3, "access": "r"}));
}

fn a_rule_with_an_unknown_access_is_refused(t: &Case) {
    refused_rule(t, json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rx"}));
}

fn a_rule_with_a_negative_number_other_than_minus_one_is_refused(t: &Case) {
    refused_rule(t, json!({"allow": true, "type": "c", "major": -2, "minor": 3, "access": "r"}));
}

fn many_rules(t: &Case) {
    let mut rules = vec![json!({"allow": false, "access": "rwm"})];
    rules.extend((0..100).map(|n| json!({"allow": true, "type": "c", "major": 200, "minor": n, "access": "rw"})));
    rules.push(rule(true, 99, 99, "rwm"));
    assert_eq!(open(t, json!(rules), "99-99 200-50 200-100", "r"), "allowed allowed refused");
}

fn no_console_without_a_terminal(t: &Case) {
    assert_eq!(t.sh("ls /dev | grep -c console; true", |_| ()), "0\n");
}

fn privileged_rules_allow_everything(t: &Case) {
    assert_eq!(open(t, json!([{"allow": true, "access": "rwm"}]), "99-99 98-1", "b"), "allowed allowed");
}

fn dev_without_a_mount(t: &Case) {
    let b = t.bundle_sh("probe open /dev/null w; probe open /dev/zero r; ls /dev | sort | tr '\\n' ' '");
    for at in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
        b.unmount(at);
    }
    assert_has(t.run(&b).ok(), "ok\nok\n");
}

fn dev_bound_from_the_host(t: &Case) {
    // As with --privileged and -v /dev:/dev: what stands there is used, and nothing of the host's is replaced.
    let before =
        fs::metadata("/dev/null").map(|m| (std::os::unix::fs::MetadataExt::ino(&m), std::os::unix::fs::MetadataExt::mode(&m))).unwrap();
    let b = t.bundle_sh("probe open /dev/null w");
    for at in ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"] {
        b.unmount(at);
    }
    b.bind(std::path::Path::new("/dev"), "/dev", &["rbind", "rslave"]);
    assert_eq!(t.run(&b).ok(), "ok\n");
    let after =
        fs::metadata("/dev/null").map(|m| (std::os::unix::fs::MetadataExt::ino(&m), std::os::unix::fs::MetadataExt::mode(&m))).unwrap();
    assert_eq!(after, before);
}
