//! config.md: process — args, env, cwd, and what the process starts with.

use crate::support::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

pub const TESTS: &[Test] = suite![
    args_arrive_byte_for_byte,
    args_zero_is_looked_up_in_path,
    args_zero_is_looked_up_in_the_path_of_the_configuration,
    args_zero_is_looked_up_in_the_container,
    args_zero_may_be_absolute,
    args_zero_with_a_slash_is_relative_to_cwd,
    a_file_without_permission_is_passed_over_in_path,
    args_absent_is_refused,
    args_empty_is_refused,
    args_zero_empty_is_refused,
    a_program_that_is_not_in_path_is_refused,
    an_absolute_program_that_is_missing_is_refused,
    a_program_without_permission_is_refused,
    a_directory_as_program_is_refused,
    a_file_of_no_format_is_refused,
    a_script_runs,
    comm_is_the_program,
    env_is_exactly_that_of_the_configuration,
    env_of_the_runtime_does_not_leak,
    env_values_arrive_byte_for_byte,
    env_absent_still_runs_an_absolute_program,
    home_comes_from_passwd,
    home_of_another_user_comes_from_passwd,
    home_of_an_unknown_user_is_the_root,
    home_of_the_configuration_is_kept,
    home_is_set_without_passwd,
    cwd_is_taken,
    cwd_is_made_when_missing,
    cwd_is_resolved_in_the_container,
    cwd_relative_is_refused,
    cwd_absent_is_refused,
    cwd_that_is_a_file_is_refused,
    cwd_on_a_mount,
    cwd_of_another_user,
    no_new_privileges_on,
    no_new_privileges_off,
    no_new_privileges_decides_on_setuid,
    oom_score_adj_is_set,
    oom_score_adj_absent_is_inherited,
    oom_score_adj_out_of_range_is_refused,
    no_signal_is_blocked_or_ignored,
    signals_that_the_caller_ignored_are_not_ignored,
    securebits_are_clear,
    the_process_is_dumpable,
    the_parent_death_signal_is_clear,
    the_process_leads_its_session,
    only_three_descriptors_are_open,
    descriptors_of_the_caller_do_not_leak,
    closed_standard_streams_are_survived,
    stdin_stdout_stderr_keep_their_owner,
    personality_linux32: [Need::File("/proc/self/personality")],
    nul_in_a_string_is_refused,
    the_session_keyring_is_new,
    keyring_of_the_caller_with_no_new_keyring,
    niceness_is_inherited,
    cpu_affinity_is_the_whole_machine,
    an_argument_of_100_kilobytes_arrives,
    an_apparmor_profile: [Need::AppArmor],
    an_apparmor_profile_that_cannot_be_had_is_refused,
];

fn args_arrive_byte_for_byte(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "argv", "", "two words", "$HOME", "ü\n\t", "--", "-x", "\"'\\"]);
    assert_eq!(t.run(&b).ok(), "[probe]\n[argv]\n[]\n[two words]\n[$HOME]\n[ü\n\t]\n[--]\n[-x]\n[\"'\\]\n");
}

fn args_zero_is_looked_up_in_path(t: &Case) {
    let b = t.bundle();
    b.args(&["echo", "found"]);
    assert_eq!(t.run(&b).ok(), "found\n");
}

fn script(path: std::path::PathBuf, text: &str) {
    write(&path, text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn args_zero_is_looked_up_in_the_path_of_the_configuration(t: &Case) {
    let b = t.bundle();
    fs::create_dir(b.root("/special")).unwrap();
    script(b.root("/special/tool"), "#!/bin/sh\necho special\n");
    b.args(&["tool"]);
    b.edit(|c| c["process"]["env"] = json!(["PATH=/nowhere:/special"]));
    let output = t.run_call(&[], &b).env("PATH", "/usr/bin:/bin:/usr/sbin").run();
    assert_eq!(output.ok(), "special\n");
}

fn args_zero_is_looked_up_in_the_container(t: &Case) {
    let b = t.bundle();
    // There on the host, not in the container.
    let name = t.dir().join("host-only");
    script(name.clone(), "#!/bin/sh\necho host\n");
    b.args(&[name.to_str().unwrap()]);
    assert_has(&t.refused(&b).to_lowercase(), "no such file or directory");
}

fn args_zero_may_be_absolute(t: &Case) {
    let b = t.bundle();
    b.args(&["/bin/echo", "absolute"]);
    assert_eq!(t.run(&b).ok(), "absolute\n");
}

fn args_zero_with_a_slash_is_relative_to_cwd(t: &Case) {
    let b = t.bundle();
    fs::create_dir(b.root("/work")).unwrap();
    script(b.root("/work/tool"), "#!/bin/sh\necho relative\n");
    b.args(&["./tool"]);
    b.edit(|c| c["process"]["cwd"] = json!("/work"));
    assert_eq!(t.run(&b).ok(), "relative\n");
}

fn a_file_without_permission_is_passed_over_in_path(t: &Case) {
    let b = t.bundle();
    for dir in ["one", "two"] {
        fs::create_dir(b.root(dir)).unwrap();
        script(b.root(dir).join("tool"), &format!("#!/bin/sh\necho {dir}\n"));
    }
    fs::set_permissions(b.root("one/tool"), fs::Permissions::from_mode(0o644)).unwrap();
    b.args(&["tool"]);
    b.edit(|c| c["process"]["env"] = json!(["PATH=/one:/two"]));
    assert_eq!(t.run(&b).ok(), "two\n");
}

fn args_absent_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| drop(c["process"].as_object_mut().unwrap().remove("args")));
    assert_has(&t.refused(&b), "args");
}

fn args_empty_is_refused(t: &Case) {
    let b = t.bundle();
    b.args(&[]);
    assert_has(&t.refused(&b), "args");
}

fn args_zero_empty_is_refused(t: &Case) {
    let b = t.bundle();
    b.args(&[""]);
    t.refused(&b);
}

fn a_program_that_is_not_in_path_is_refused(t: &Case) {
    let b = t.bundle();
    b.args(&["no-such-program"]);
    let text = t.refused(&b);
    assert_has(&text, "no-such-program");
    assert_has(&text, "executable file not found in $PATH");
}

fn an_absolute_program_that_is_missing_is_refused(t: &Case) {
    let b = t.bundle();
    b.args(&["/no/such/program"]);
    let text = t.refused(&b);
    assert_has(&text, "/no/such/program");
    assert_has(&text.to_lowercase(), "no such file or directory");
}

fn a_program_without_permission_is_refused(t: &Case) {
    let b = t.bundle();
    write(b.root("/plain"), "text");
    b.args(&["/plain"]);
    let text = t.refused(&b);
    assert_has(&text, "/plain");
    assert_has(&text.to_lowercase(), "permission denied");
}

fn a_directory_as_program_is_refused(t: &Case) {
    let b = t.bundle();
    b.args(&["/etc"]);
    let text = t.refused(&b).to_lowercase();
    assert!(text.contains("is a directory") || text.contains("permission denied"), "{text}");
}

fn a_file_of_no_format_is_refused(t: &Case) {
    let b = t.bundle();
    script(b.root("/tool"), "no magic number\n");
    b.args(&["/tool"]);
    let output = t.run(&b);
    assert_has(&output.refused().to_lowercase(), "exec format error");
}

fn a_script_runs(t: &Case) {
    let b = t.bundle();
    script(b.root("/tool"), "#!/bin/sh -e\necho \"$0 $1\"\n");
    b.args(&["/tool", "argument"]);
    assert_eq!(t.run(&b).ok(), "/tool argument\n");
}

fn comm_is_the_program(t: &Case) {
    let b = t.bundle();
    b.args(&["cat", "/proc/self/comm"]);
    assert_eq!(t.run(&b).ok(), "cat\n");
}

fn env_is_exactly_that_of_the_configuration(t: &Case) {
    let b = t.bundle();
    b.args(&["/bin/env"]);
    b.edit(|c| c["process"]["env"] = json!(["A=1", "HOME=/h", "B=2", "PATH=/bin"]));
    assert_eq!(t.run(&b).ok(), "A=1\nHOME=/h\nB=2\nPATH=/bin\n");
}

fn env_of_the_runtime_does_not_leak(t: &Case) {
    let b = t.bundle();
    b.args(&["/bin/env"]);
    let output = t.run_call(&[], &b).env("SECRET_OF_THE_CALLER", "x").env("LD_PRELOAD_X", "y").env("NOTIFY_X", "z").run();
    let mut lines: Vec<_> = output.ok().lines().map(|l| l.split('=').next().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["HOME", "PATH", "TERM"]);
}

fn env_values_arrive_byte_for_byte(t: &Case) {
    let b = t.bundle();
    b.args(&["/bin/env"]);
    b.edit(|c| c["process"]["env"] = json!(["EMPTY=", "EQUALS=a=b", "SPACE= x ", "UMLAUT=ü", "HOME=/"]));
    assert_eq!(t.run(&b).ok(), "EMPTY=\nEQUALS=a=b\nSPACE= x \nUMLAUT=ü\nHOME=/\n");
}

fn env_absent_still_runs_an_absolute_program(t: &Case) {
    let b = t.bundle();
    b.args(&["/bin/echo", "fine"]);
    b.edit(|c| drop(c["process"].as_object_mut().unwrap().remove("env")));
    assert_eq!(t.run(&b).ok(), "fine\n");
}

fn home(t: &Case, change: impl FnOnce(&Bundle)) -> String {
    let b = t.bundle();
    b.args(&["/bin/env"]);
    change(&b);
    let text = t.run(&b).ok().to_owned();
    let found: Vec<_> = text.lines().filter_map(|l| l.strip_prefix("HOME=")).collect();
    assert_eq!(found.len(), 1, "one HOME in:\n{text}");
    found[0].to_owned()
}

fn home_comes_from_passwd(t: &Case) {
    assert_eq!(home(t, |_| ()), "/root");
}

fn home_of_another_user_comes_from_passwd(t: &Case) {
    assert_eq!(
        home(t, |b| {
            b.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
        }),
        "/home/alice"
    );
}

fn home_of_an_unknown_user_is_the_root(t: &Case) {
    assert_eq!(
        home(t, |b| {
            b.edit(|c| c["process"]["user"] = json!({"uid": 4711, "gid": 4711}));
        }),
        "/"
    );
}

fn home_of_the_configuration_is_kept(t: &Case) {
    assert_eq!(
        home(t, |b| {
            b.edit(|c| c["process"]["env"] = json!(["HOME=/elsewhere"]));
        }),
        "/elsewhere"
    );
}

fn home_is_set_without_passwd(t: &Case) {
    assert_eq!(home(t, |b| fs::remove_file(b.root("/etc/passwd")).unwrap()), "/");
}

fn cwd_is_taken(t: &Case) {
    let out = t.sh("pwd; readlink /proc/self/cwd", |b| {
        b.edit(|c| c["process"]["cwd"] = json!("/home"));
    });
    assert_eq!(out, "/home\n/home\n");
}

fn cwd_is_made_when_missing(t: &Case) {
    let out = t.sh("pwd; stat -c '%a %u' .", |b| {
        b.edit(|c| c["process"]["cwd"] = json!("/new/place"));
    });
    assert_eq!(out, "/new/place\n755 0\n");
}

fn cwd_is_resolved_in_the_container(t: &Case) {
    let b = t.bundle_sh("pwd -P");
    symlink("/etc", b.root("/link")).unwrap();
    b.edit(|c| c["process"]["cwd"] = json!("/link"));
    assert_eq!(t.run(&b).ok(), "/etc\n");
}

fn cwd_relative_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["process"]["cwd"] = json!("home"));
    assert_has(&t.refused(&b).to_lowercase(), "cwd");
}

fn cwd_absent_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| drop(c["process"].as_object_mut().unwrap().remove("cwd")));
    assert_has(&t.refused(&b).to_lowercase(), "cwd");
}

fn cwd_that_is_a_file_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["process"]["cwd"] = json!("/etc/passwd"));
    assert_has(&t.refused(&b).to_lowercase(), "not a directory");
}

fn cwd_on_a_mount(t: &Case) {
    let dir = t.mkdir("data");
    write(dir.join("file"), "");
    let out = t.sh("pwd; ls", |b| {
        b.bind(&dir, "/data", &["rbind"]);
        b.edit(|c| c["process"]["cwd"] = json!("/data"));
    });
    assert_eq!(out, "/data\nfile\n");
}

fn cwd_of_another_user(t: &Case) {
    // Only root may pass; the runtime enters before, or after, it gives up its rights.
    let b = t.bundle_sh("pwd");
    fs::create_dir(b.root("/home/alice")).unwrap();
    std::os::unix::fs::chown(b.root("/home/alice"), Some(1000), Some(1000)).unwrap();
    fs::set_permissions(b.root("/home/alice"), fs::Permissions::from_mode(0o700)).unwrap();
    b.edit(|c| {
        c["process"]["cwd"] = json!("/home/alice");
        c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    assert_eq!(t.run(&b).ok(), "/home/alice\n");
}

fn nnp(t: &Case, value: Value) -> String {
    let status = t.sh("cat /proc/self/status", |b| {
        b.edit(|c| c["process"]["noNewPrivileges"] = value);
    });
    field(&status, "NoNewPrivs").to_owned()
}

fn no_new_privileges_on(t: &Case) {
    assert_eq!(nnp(t, json!(true)), "1");
}

fn no_new_privileges_off(t: &Case) {
    assert_eq!(nnp(t, json!(false)), "0");
}

fn no_new_privileges_decides_on_setuid(t: &Case) {
    let b = t.bundle();
    fs::copy(b.root("/bin/probe"), b.root("/bin/suid")).unwrap();
    fs::set_permissions(b.root("/bin/suid"), fs::Permissions::from_mode(0o4755)).unwrap();
    b.args(&["/bin/suid", "dumpable"]);
    b.edit(|c| {
        c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        c["process"]["noNewPrivileges"] = json!(false);
    });
    assert_eq!(t.run(&b).ok(), "0\n", "a set-uid program is not dumpable");
    b.edit(|c| c["process"]["noNewPrivileges"] = json!(true));
    assert_eq!(t.run(&b).ok(), "1\n", "and without the gain it is");
}

fn oom_score_adj_is_set(t: &Case) {
    for value in [500, 1000] {
        let out = t.sh("cat /proc/self/oom_score_adj", |b| {
            b.edit(|c| c["process"]["oomScoreAdj"] = json!(value));
        });
        assert_eq!(out, format!("{value}\n"));
    }
}

fn oom_score_adj_absent_is_inherited(t: &Case) {
    let b = t.bundle_sh("cat /proc/self/oom_score_adj");
    let output = t.run_call(&[], &b).shell("echo 321 > /proc/self/oom_score_adj; exec \"$@\"").run();
    assert_eq!(output.ok(), "321\n");
}

fn oom_score_adj_out_of_range_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["process"]["oomScoreAdj"] = json!(1001));
    t.refused(&b);
}

fn no_signal_is_blocked_or_ignored(t: &Case) {
    let b = t.bundle();
    b.args(&["cat", "/proc/self/status"]);
    let status = t.run(&b).ok().to_owned();
    for key in ["SigBlk", "SigIgn", "SigPnd"] {
        assert_eq!(signals(&status, key), 0, "{key}");
    }
}

fn signals_that_the_caller_ignored_are_not_ignored(t: &Case) {
    let b = t.bundle();
    b.args(&["cat", "/proc/self/status"]);
    let output = t.run_call(&[], &b).shell("trap '' HUP PIPE CHLD; exec \"$@\"").run();
    assert_eq!(signals(output.ok(), "SigIgn"), 0);
}

/// The set of signals without 32 and 33, which belong to the C library and which no program of its can touch.
fn signals(status: &str, key: &str) -> u64 {
    u64::from_str_radix(field(status, key), 16).unwrap() & !(3 << 31)
}

fn securebits_are_clear(t: &Case) {
    assert_eq!(t.sh("probe securebits", |_| ()), "0\n");
}

fn the_process_is_dumpable(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "dumpable"]);
    assert_eq!(t.run(&b).ok(), "1\n");
}

fn the_parent_death_signal_is_clear(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "pdeathsig"]);
    assert_eq!(t.run(&b).ok(), "0\n");
}

fn the_process_leads_its_session(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "sid"]);
    assert_eq!(t.run(&b).ok(), "1 1\n");
}

fn only_three_descriptors_are_open(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "fds"]);
    let text = t.run(&b).ok().to_owned();
    let fds: Vec<_> = text.lines().map(|l| l.split(' ').next().unwrap()).collect();
    assert_eq!(fds, ["0", "1", "2"], "{text}");
}

fn descriptors_of_the_caller_do_not_leak(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "fds"]);
    let output = t.run_call(&[], &b).shell("exec 3</ 4</etc/passwd 9>/dev/null; exec \"$@\"").run();
    let fds: Vec<_> = output.ok().lines().map(|l| l.split(' ').next().unwrap()).collect();
    assert_eq!(fds, ["0", "1", "2"], "{}", output.stdout);
}

fn closed_standard_streams_are_survived(t: &Case) {
    let shared = t.mkdir("shared");
    let b = t.bundle_sh("probe fds > /mnt/fds 2>/dev/null");
    b.bind(&shared, "/mnt", &["rbind"]);
    t.run_call(&[], &b).shell("exec 0<&- 1>&- 2>&-; exec \"$@\"").run().ok();
    let text = read(shared.join("fds"));
    assert_has(&text, "0 /dev/null");
    assert!(text.lines().all(|l| l.split(' ').next().unwrap().parse::<u32>().unwrap() < 3), "{text}");
}

fn stdin_stdout_stderr_keep_their_owner(t: &Case) {
    let out = t.path("out");
    write(&out, "");
    let b = t.bundle_sh("echo x");
    b.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let mut run =
        t.run_call(&[], &b).spawn(std::process::Stdio::null(), fs::File::create(&out).unwrap().into(), std::process::Stdio::null());
    runtime::wait(&mut run, patience()).expect("run ends");
    assert_eq!(read(&out), "x\n");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata("/dev/null").unwrap()), 0, "the host's /dev/null changed hands");
}

fn personality_linux32(t: &Case) {
    let out = t.sh("probe personality", |b| {
        b.edit(|c| c["linux"]["personality"] = json!({"domain": "LINUX32"}));
    });
    assert_eq!(out, "8\n");
}

fn nul_in_a_string_is_refused(t: &Case) {
    for change in [
        (|c: &mut Value| c["process"]["args"] = json!(["echo", "a\u{0}b"])) as fn(&mut Value),
        |c| c["process"]["env"] = json!(["A=\u{0}", "PATH=/bin"]),
        |c| c["process"]["cwd"] = json!("/home\u{0}x"),
    ] {
        let b = t.bundle();
        b.edit(change);
        t.refused(&b);
    }
}

fn the_session_keyring_is_new(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "keyring"]);
    let own = t.run(&b).ok().to_owned();
    assert_has(&own, "keyring;");
    assert_has(&own, b.id());
}

fn keyring_of_the_caller_with_no_new_keyring(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "keyring"]);
    let output = t.run_call(&["--no-new-keyring"], &b).run();
    assert_lacks(output.ok(), &format!("_ses.{}", b.id()));
}

fn niceness_is_inherited(t: &Case) {
    let b = t.bundle_sh("probe sched");
    let output = t.run_call(&[], &b).shell("exec nice -n 3 \"$@\"").run();
    assert_has(output.ok(), "policy 0 nice 3 ");
}

fn cpu_affinity_is_the_whole_machine(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "affinity"]);
    let all = std::process::Command::new("nproc").arg("--all").output().unwrap().stdout;
    let output = t.run_call(&[], &b).shell("exec taskset -c 0 \"$@\"").run();
    assert_eq!(output.ok().trim(), String::from_utf8_lossy(&all).trim());
}

fn an_argument_of_100_kilobytes_arrives(t: &Case) {
    let b = t.bundle();
    b.args(&["/bin/echo", "-n", &"x".repeat(100_000)]);
    assert_eq!(t.run(&b).ok().len(), 100_000);
}

fn an_apparmor_profile(t: &Case) {
    let out = t.sh("cat /proc/self/attr/current", |b| {
        b.edit(|c| c["process"]["apparmorProfile"] = json!("unconfined"));
    });
    assert_eq!(out.trim(), "unconfined");
}

fn an_apparmor_profile_that_cannot_be_had_is_refused(t: &Case) {
    // No such profile, or no AppArmor at all: it must not start unconfined.
    let b = t.bundle();
    b.edit(|c| c["process"]["apparmorProfile"] = json!("no-such-profile"));
    assert_has(&t.refused(&b).to_lowercase(), "apparmor");
}
