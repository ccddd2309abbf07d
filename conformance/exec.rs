//! `exec`, as runc's and crun's users know it: another process in a container that runs.

use crate::support::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

pub const TESTS: &[Test] = suite![
    runs_in_every_namespace_of_the_container,
    runs_in_the_containers_root,
    runs_in_the_containers_cgroup,
    runs_in_a_user_namespace,
    runs_in_a_namespace_of_another_process,
    runs_without_a_mount_namespace,
    runs_in_a_created_container,
    standard_streams_are_handed_on,
    the_exit_status_comes_through,
    a_signal_is_128_and_its_number,
    arguments_are_passed_on_as_they_are,
    flags_end_at_the_id,
    a_double_dash_may_stand_before_the_command,
    the_containers_environment_and_more,
    home_is_the_users,
    the_working_directory_is_the_containers_or_another,
    a_working_directory_that_is_missing_is_refused,
    user_and_group,
    numbers_are_strict,
    no_name_of_the_container_becomes_a_user,
    additional_groups,
    capabilities_are_the_containers,
    more_capabilities_are_not_inheritable,
    an_unknown_capability_is_refused,
    no_new_privileges,
    limits_are_the_containers,
    limits_are_the_containers_in_a_user_namespace,
    umask_personality_and_oom_score,
    the_seccomp_filter_is_the_containers,
    the_seccomp_filter_without_no_new_privileges,
    the_session_keyring_is_the_containers,
    a_process_file,
    a_process_file_needs_no_more_than_it_says,
    a_process_file_that_is_none_is_refused,
    a_process_file_and_flags,
    a_missing_program_is_said_as_callers_match,
    a_program_that_may_not_be_executed,
    a_missing_container_is_said_as_callers_match,
    a_stopped_container_is_refused,
    no_command_is_refused,
    detached_it_returns_at_once,
    detached_it_leaves_nobody_of_the_host,
    the_pid_file_names_the_process,
    without_a_process_there_is_no_pid_file,
    the_console_socket_gets_the_terminal,
    a_terminal_needs_somebody_who_takes_it,
    preserved_descriptors,
    the_configuration_is_not_read_again,
    it_ends_with_the_container,
    many_at_once,
];

/// A container that sleeps, of a bundle that `change` has changed.
fn sleeper(t: &Case, change: impl FnOnce(&Bundle)) -> Container<'_> {
    let b = t.bundle();
    change(&b);
    t.started(&b)
}

fn exec(c: &Container<'_>, options: &[&str], command: &[&str]) -> Output {
    c.call("exec", options, command).run()
}

/// Standard output of a shell script in the container.
#[track_caller]
fn sh(c: &Container<'_>, options: &[&str], script: &str) -> String {
    exec(c, options, &["sh", "-c", script]).ok().to_owned()
}

fn runs_in_every_namespace_of_the_container(t: &Case) {
    let c = sleeper(t, |b| {
        b.namespace(json!({"type": "cgroup"}));
    });
    let links = "for i in mnt pid ipc uts net cgroup user; do readlink /proc/$1/ns/$i; done";
    let own = exec(&c, &[], &["sh", "-c", links, "sh", "self"]);
    let first = exec(&c, &[], &["sh", "-c", links, "sh", "1"]);
    assert_eq!(own.ok(), first.ok());
    assert_eq!(own.stdout.lines().count(), 7);
}

fn runs_in_the_containers_root(t: &Case) {
    let c = sleeper(t, |b| write(b.root("/marker"), "here"));
    assert_eq!(sh(&c, &[], "cat /marker; pwd"), "here/\n");
}

fn runs_in_the_containers_cgroup(t: &Case) {
    let c = sleeper(t, |_| {});
    let first = read(format!("/proc/{}/cgroup", c.pid()));
    // Seen from the host: in the container a cgroup namespace shows less.
    let pid_file = t.path("pid");
    exec(&c, &["--detach", "--pid-file", pid_file.to_str().unwrap()], &["sleep", "300"]).ok();
    assert_eq!(read(format!("/proc/{}/cgroup", read(&pid_file))), first);
}

fn runs_in_a_user_namespace(t: &Case) {
    let c = sleeper(t, |b| {
        b.userns(200_000, 65536);
    });
    assert_eq!(sh(&c, &[], "id -u; cat /proc/self/uid_map").split_whitespace().collect::<Vec<_>>(), ["0", "0", "200000", "65536"]);
    assert_eq!(sh(&c, &["--user", "7:8"], "echo $(id -u) $(id -g)"), "7 8\n");
    let pid_file = t.path("pid");
    exec(&c, &["--detach", "--pid-file", pid_file.to_str().unwrap()], &["sleep", "300"]).ok();
    let status = read(format!("/proc/{}/status", read(&pid_file)));
    assert!(field(&status, "Uid").starts_with("200000\t"), "{status}");
}

fn runs_in_a_namespace_of_another_process(t: &Case) {
    let first = sleeper(t, |_| {});
    let path = |kind: &str| format!("/proc/{}/ns/{kind}", first.pid());
    let b = t.bundle();
    for (kind, file) in [("network", "net"), ("pid", "pid"), ("ipc", "ipc")] {
        b.namespace(json!({"type": kind, "path": path(file)}));
    }
    let second = t.started(&b);
    let links = "for i in net pid ipc uts; do readlink /proc/self/ns/$i; done";
    let (one, two) = (sh(&first, &[], links), sh(&second, &[], links));
    let (one, two): (Vec<_>, Vec<_>) = (one.lines().collect(), two.lines().collect());
    assert_eq!(one[..3], two[..3]);
    assert_ne!(one[3], two[3]);
}

fn runs_without_a_mount_namespace(t: &Case) {
    let c = sleeper(t, |b| {
        b.leave_namespace("mount");
        b.edit(|c| {
            c["mounts"] = json!([]);
            c["linux"]["maskedPaths"] = json!([]);
            c["linux"]["readonlyPaths"] = json!([]);
        });
        write(b.root("/marker"), "here");
    });
    assert_eq!(sh(&c, &[], "cat /marker; test -e /usr/share || echo apart"), "hereapart\n");
}

fn runs_in_a_created_container(t: &Case) {
    let c = t.create(&t.bundle());
    assert_eq!(sh(&c, &[], "echo early"), "early\n");
    assert_eq!(c.status(), "created");
    c.start();
}

fn standard_streams_are_handed_on(t: &Case) {
    let c = sleeper(t, |_| {});
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let out = c.call("exec", &[], &["sh", "-c", "cat | md5sum; echo err >&2"]).stdin(&bytes).run();
    let host = t.path("bytes");
    write(&host, &bytes);
    let expected = std::process::Command::new("md5sum").stdin(fs::File::open(&host).unwrap()).output().unwrap();
    assert_eq!(out.ok(), String::from_utf8_lossy(&expected.stdout));
    assert_eq!(out.stderr, "err\n");
}

fn the_exit_status_comes_through(t: &Case) {
    let c = sleeper(t, |_| {});
    for status in ["0", "1", "42", "126", "255"] {
        let out = exec(&c, &[], &["sh", "-c", &format!("exit {status}")]);
        assert_eq!((out.code().to_string().as_str(), out.stderr.as_str()), (status, ""));
    }
}

fn a_signal_is_128_and_its_number(t: &Case) {
    let c = sleeper(t, |_| {});
    for signal in [9, 15, 10] {
        assert_eq!(exec(&c, &[], &["sh", "-c", &format!("kill -{signal} $$")]).code(), 128 + signal);
    }
}

fn arguments_are_passed_on_as_they_are(t: &Case) {
    let c = sleeper(t, |_| {});
    let words = ["a b", "", "$HOME", "-x", "--", "ü\n", "'\""];
    let out = exec(&c, &[], &[&["probe", "argv"][..], &words].concat());
    for word in words.iter().filter(|word| !word.is_empty()) {
        assert_has(out.ok(), word);
    }
}

fn flags_end_at_the_id(t: &Case) {
    let c = sleeper(t, |_| {});
    for command in [&["echo", "-d", "--tty", "--cwd", "/x"][..], &["echo", "--pid-file=/p", "--help"], &["echo", "-e", "--", "-u"]] {
        let expected = command[1..].iter().filter(|word| **word != "-e").copied().collect::<Vec<_>>().join(" ");
        assert_eq!(exec(&c, &[], command).ok().trim_end(), expected);
    }
    // What follows the id is the command, whatever it looks like.
    assert_has(exec(&c, &[], &["--detach"]).refused(), "exec: \"--detach\"");
}

fn a_double_dash_may_stand_before_the_command(t: &Case) {
    let c = sleeper(t, |_| {});
    assert_eq!(exec(&c, &[], &["--", "echo", "-n", "x"]).ok(), "x");
}

fn the_containers_environment_and_more(t: &Case) {
    let c = sleeper(t, |b| {
        b.edit(|c| c["process"]["env"] = json!(["PATH=/bin", "A=container", "B=container", "HOME=/h"]));
    });
    assert_eq!(sh(&c, &["--env", "B=exec", "-e", "C=a=b"], "echo $PATH $A $B $C $HOME"), "/bin container exec a=b /h\n");
    assert_eq!(c.call("exec", &[], &["env"]).env("LEAK", "x").run().ok().matches("LEAK").count(), 0);
    assert_has(exec(&c, &["--env", "NONE"], &["true"]).refused(), "NONE");
}

fn home_is_the_users(t: &Case) {
    let c = sleeper(t, |b| {
        b.edit(|c| c["process"]["env"] = json!(["PATH=/bin"]));
        write(b.root("/etc/passwd"), "root:x:0:0::/root:/bin/sh\nu:x:7:7::/home/u:/bin/sh\n");
    });
    assert_eq!(sh(&c, &["--user", "7"], "echo $HOME"), "/home/u\n");
    assert_eq!(sh(&c, &["--user", "9"], "echo $HOME"), "/\n");
}

fn the_working_directory_is_the_containers_or_another(t: &Case) {
    let c = sleeper(t, |b| {
        fs::create_dir(b.root("/private")).unwrap();
        fs::set_permissions(b.root("/private"), fs::Permissions::from_mode(0o700)).unwrap();
        b.edit(|c| c["process"]["cwd"] = json!("/tmp"));
    });
    assert_eq!(sh(&c, &[], "pwd"), "/tmp\n");
    assert_eq!(sh(&c, &["--cwd", "/bin"], "pwd"), "/bin\n");
    // Root may enter it, and the process is there before it is the user's.
    assert_eq!(sh(&c, &["--cwd", "/private", "--user", "7:7"], "pwd"), "/private\n");
    assert_has(exec(&c, &["--cwd", "relative"], &["true"]).refused(), "relative");
}

fn a_working_directory_that_is_missing_is_refused(t: &Case) {
    let b = t.bundle();
    let c = t.started(&b);
    assert_has(exec(&c, &["--cwd", "/missing"], &["true"]).refused(), "/missing");
    assert!(!present(b.root("/missing")), "exec makes nothing in the container");
}

fn user_and_group(t: &Case) {
    let c = sleeper(t, |b| {
        b.edit(|c| c["process"]["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [10]}));
    });
    let id = "echo $(id -u) $(id -g) $(id -G)";
    assert_eq!(sh(&c, &[], id), "5 6 6 10\n");
    assert_eq!(sh(&c, &["--user", "7"], id), "7 6 6 10\n");
    assert_eq!(sh(&c, &["-u", "7:8"], id), "7 8 8 10\n");
    assert_eq!(sh(&c, &["-u", "4294967294:4294967294"], "id -u; id -g"), "4294967294\n4294967294\n");
}

/// CVE-2026-30892: a number that is read in part, or not at all, becomes root.
fn numbers_are_strict(t: &Case) {
    let c = sleeper(t, |_| {});
    for user in
        ["+0", "-1", "0x1", "0x0", " 1", "1 ", "1:", ":1", "1:x", "1:+1", "root", "4294967295", "4294967296", "1:4294967295", "1.0", "٣"]
    {
        let out = exec(&c, &[&format!("--user={user}")], &["id", "-u"]);
        assert_eq!((out.stdout.as_str(), out.code()), ("", 1), "--user {user:?}");
        out.refused();
    }
    for gid in ["-1", "+1", "x", "4294967295"] {
        assert_has(exec(&c, &[&format!("--additional-gids={gid}")], &["id"]).refused(), gid);
    }
    assert_eq!(sh(&c, &["--user", "0001"], "id -u"), "1\n");
}

/// CVE-2016-3697.
fn no_name_of_the_container_becomes_a_user(t: &Case) {
    let c = sleeper(t, |b| write(b.root("/etc/passwd"), "1000:x:0:0::/:/bin/sh\nroot:x:1000:1000::/:/bin/sh\n"));
    assert_eq!(sh(&c, &["--user", "1000"], "id -u"), "1000\n");
}

fn additional_groups(t: &Case) {
    let c = sleeper(t, |b| {
        b.edit(|c| c["process"]["user"]["additionalGids"] = json!([10]));
    });
    assert_eq!(sh(&c, &["-g", "20", "--additional-gids", "30"], "id -G"), "0 10 20 30\n");
}

fn caps(c: &Container<'_>, options: &[&str]) -> Vec<u64> {
    let text = exec(c, options, &["cat", "/proc/self/status"]).ok().to_owned();
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].iter().map(|key| u64::from_str_radix(field(&text, key), 16).unwrap()).collect()
}

const NET_ADMIN: u64 = 1 << 12;

fn capabilities_are_the_containers(t: &Case) {
    let c = sleeper(t, |_| {});
    let expected = 1 << 29 | 1 << 5 | 1 << 10;
    assert_eq!(caps(&c, &[]), [0, expected, expected, expected, 0]);
    let none = sleeper(t, |b| {
        b.edit(|c| drop(c["process"].as_object_mut().unwrap().remove("capabilities")));
    });
    assert_eq!(caps(&none, &[]), [0; 5]);
}

/// CVE-2022-29162, CVE-2022-27650, CVE-2025-27612: a capability that is added must not become inheritable on its own.
fn more_capabilities_are_not_inheritable(t: &Case) {
    let c = sleeper(t, |_| {});
    let expected = 1 << 29 | 1 << 5 | 1 << 10 | NET_ADMIN;
    for name in ["CAP_NET_ADMIN", "net_admin"] {
        assert_eq!(caps(&c, &["--cap", name]), [0, expected, expected, expected, 0]);
    }
    let inheriting = sleeper(t, |b| {
        let caps = json!(["CAP_KILL"]);
        b.edit(|c| c["process"]["capabilities"] = json!({"bounding": caps, "effective": caps, "permitted": caps, "inheritable": caps}));
    });
    let expected = 1 << 5 | NET_ADMIN;
    assert_eq!(caps(&inheriting, &["-c", "CAP_NET_ADMIN"]), [expected, expected, expected, expected, NET_ADMIN]);
}

fn an_unknown_capability_is_refused(t: &Case) {
    let c = sleeper(t, |_| {});
    assert_has(exec(&c, &["--cap", "CAP_NONE"], &["true"]).refused(), "CAP_NONE");
}

fn no_new_privileges(t: &Case) {
    let c = sleeper(t, |b| {
        b.edit(|c| c["process"]["noNewPrivileges"] = json!(false));
    });
    let get = |options: &[&str]| field(exec(&c, options, &["cat", "/proc/self/status"]).ok(), "NoNewPrivs").to_owned();
    assert_eq!((get(&[]).as_str(), get(&["--no-new-privs"]).as_str()), ("0", "1"));
}

fn limits_are_the_containers(t: &Case) {
    let c = sleeper(t, |b| {
        b.edit(|c| {
            c["process"]["rlimits"] =
                json!([{"type": "RLIMIT_NOFILE", "soft": 40, "hard": 50}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 1}]);
        });
    });
    assert_eq!(sh(&c, &[], "ulimit -n; ulimit -Hn; ulimit -c"), "40\n50\n0\n");
}

fn limits_are_the_containers_in_a_user_namespace(t: &Case) {
    let c = sleeper(t, |b| {
        b.userns(200_000, 65536);
        b.edit(|c| c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]));
    });
    assert_eq!(sh(&c, &[], "ulimit -n; ulimit -Hn"), "100\n200\n");
}

fn umask_personality_and_oom_score(t: &Case) {
    let c = sleeper(t, |b| {
        b.edit(|c| {
            c["process"]["user"]["umask"] = json!(0o027);
            c["process"]["oomScoreAdj"] = json!(300);
            c["linux"]["personality"] = json!({"domain": "LINUX32"});
        });
    });
    assert_eq!(sh(&c, &[], "umask; cat /proc/self/oom_score_adj; probe personality"), "0027\n300\n8\n");
}

/// The default of Docker and of Kubernetes, in short: everything but a few.
fn profile() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]
    })
}

fn the_seccomp_filter_is_the_containers(t: &Case) {
    let c = sleeper(t, |b| {
        b.edit(|c| c["linux"]["seccomp"] = profile());
    });
    assert_eq!(exec(&c, &[], &["probe", "getppid"]).ok(), "Function not implemented\n");
    assert_eq!(field(exec(&c, &[], &["cat", "/proc/self/status"]).ok(), "Seccomp"), "2");
    let without = sleeper(t, |_| {});
    assert_eq!(exec(&without, &[], &["probe", "getppid"]).ok(), "ok\n");
}

fn the_seccomp_filter_without_no_new_privileges(t: &Case) {
    let c = sleeper(t, |b| {
        b.edit(|c| {
            c["linux"]["seccomp"] = profile();
            c["process"]["noNewPrivileges"] = json!(false);
        });
    });
    assert_eq!(exec(&c, &["--user", "7:7"], &["probe", "getppid"]).ok(), "Function not implemented\n");
    assert_eq!(caps(&c, &["--user", "7:7"])[1] & 1 << 21, 0, "CAP_SYS_ADMIN was lent for the filter alone");
}

fn the_session_keyring_is_the_containers(t: &Case) {
    let c = sleeper(t, |_| {});
    assert_has(exec(&c, &[], &["probe", "keyring"]).ok(), &format!("_ses.{}", c.id));
}

fn process_file(t: &Case, process: &Value) -> String {
    let path = t.path("process.json");
    write(&path, process.to_string());
    path.to_str().unwrap().to_owned()
}

fn a_process_file(t: &Case) {
    let c = sleeper(t, |_| {});
    let caps = json!(["CAP_KILL"]);
    let file = process_file(
        t,
        &json!({
            "user": {"uid": 3, "gid": 4, "additionalGids": [5], "umask": 63},
            "args": ["sh", "-c", "echo $(id -u) $(id -g) $(id -G) $X $(umask) $(pwd); grep CapBnd /proc/self/status; ulimit -n"],
            "env": ["PATH=/bin", "X=file"],
            "cwd": "/tmp",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 90, "hard": 90}],
            "noNewPrivileges": true
        }),
    );
    assert_eq!(exec(&c, &["--process", &file], &[]).ok(), "3 4 4 5 file 0077 /tmp\nCapBnd:\t0000000000000020\n90\n");
}

fn a_process_file_needs_no_more_than_it_says(t: &Case) {
    let c = sleeper(t, |b| {
        b.edit(|c| c["process"]["env"] = json!(["PATH=/bin", "SECRET=x"]));
    });
    let file = process_file(t, &json!({"args": ["/bin/sh", "-c", "env; grep CapBnd /proc/self/status"], "cwd": "/"}));
    let out = exec(&c, &["-p", &file], &[]);
    assert_lacks(out.ok(), "SECRET");
    assert_has(out.ok(), "CapBnd:\t0000000000000000");
}

fn a_process_file_that_is_none_is_refused(t: &Case) {
    let c = sleeper(t, |_| {});
    for text in
        ["", "{", "[]", r#"{"args": ["true"]}"#, r#"{"args": ["true"], "cwd": "/"}, "linux": {}"#, r#"{"args": [], "cwd": "/"}"#, "null"]
    {
        write(t.path("process.json"), text);
        let out = exec(&c, &["--process", t.path("process.json").to_str().unwrap()], &[]);
        assert_eq!(out.code(), 255, "{text:?}: {}", out.stderr);
        out.refused();
    }
    assert_has(exec(&c, &["--process", "/does/not/exist"], &[]).refused(), "/does/not/exist");
}

fn a_process_file_and_flags(t: &Case) {
    let c = sleeper(t, |_| {});
    let file = process_file(t, &json!({"args": ["pwd"], "cwd": "/tmp", "env": ["PATH=/bin"], "user": {"uid": 3, "gid": 4}}));
    assert_eq!(exec(&c, &["--process", &file, "--cwd", "/bin"], &[]).ok(), "/bin\n");
}

fn a_missing_program_is_said_as_callers_match(t: &Case) {
    let c = sleeper(t, |_| {});
    let out = exec(&c, &[], &["nothing-of-that-name"]);
    assert_eq!(out.code(), 255);
    assert_has(out.refused(), "exec failed: ");
    assert_has(out.refused(), "exec: \"nothing-of-that-name\": executable file not found in $PATH");
    assert_has(out.refused(), "no such file or directory");
    assert_has(exec(&c, &[], &["/nothing"]).refused(), "no such file or directory");
    assert_eq!(out.stderr.lines().count(), 1);
}

fn a_program_that_may_not_be_executed(t: &Case) {
    let c = sleeper(t, |b| write(b.root("/text"), "no program"));
    for program in ["/text", "/etc"] {
        let out = exec(&c, &[], &[program]);
        assert_eq!(out.code(), 255);
        assert!(out.refused().contains("permission denied") || out.refused().contains("is a directory"), "{}", out.stderr);
    }
}

fn a_missing_container_is_said_as_callers_match(t: &Case) {
    let out = t.rt(&["exec", "nobody", "true"]).run();
    assert_has(out.refused(), "does not exist");
    assert_eq!(out.code(), 255);
}

fn a_stopped_container_is_refused(t: &Case) {
    let c = sleeper(t, |b| {
        b.args(&["true"]);
    });
    c.wait_for("stopped");
    let out = exec(&c, &[], &["true"]);
    assert_has(out.refused(), "cannot exec in a stopped container");
    assert_eq!(out.code(), 255);
}

fn no_command_is_refused(t: &Case) {
    let c = sleeper(t, |_| {});
    assert_has(exec(&c, &[], &[]).refused(), "args must not be empty");
    assert_has(exec(&c, &[], &[""]).refused(), "executable path is empty");
}

fn detached_it_returns_at_once(t: &Case) {
    let b = t.bundle();
    let c = t.started(&b);
    exec(&c, &["--detach"], &["sh", "-c", "while ! test -e /go; do sleep 0.01; done; echo done > /result"]).ok();
    assert!(!present(b.root("/result")));
    write(b.root("/go"), "");
    eventually("the process goes on", || present(b.root("/result")).then_some(()));
}

fn detached_it_leaves_nobody_of_the_host(t: &Case) {
    let c = sleeper(t, |_| {});
    // The reader sees the end as soon as nobody of the runtime holds the pipe: the process itself has /dev/null.
    let call = c.call("exec", &["--detach"], &["sh", "-c", "exec sleep 300 > /dev/null 2>&1"]);
    let mut child = call.spawn(Stdio::null(), Stdio::piped(), Stdio::null());
    let mut text = String::new();
    std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut text).unwrap();
    assert!(runtime::wait(&mut child, patience()).expect("exec ends").success());
    let ps = eventually("both sleep", || Some(sh(&c, &[], "ps")).filter(|ps| ps.matches("sleep 300").count() == 2));
    assert_lacks(&ps, "aril");
}

fn the_pid_file_names_the_process(t: &Case) {
    let c = sleeper(t, |_| {});
    let path = t.path("pid");
    exec(&c, &["--detach", "--pid-file", path.to_str().unwrap()], &["sleep", "299"]).ok();
    let pid = read(&path);
    assert!(pid.bytes().all(|byte| byte.is_ascii_digit()), "{pid:?}");
    eventually("it is the process", || (read(format!("/proc/{pid}/cmdline")) == "sleep\x00299\x00").then_some(()));
    // In the foreground too, while the process runs.
    let out = exec(&c, &["--pid-file", path.to_str().unwrap()], &["true"]);
    out.ok();
    assert_ne!(read(&path), pid);
}

fn without_a_process_there_is_no_pid_file(t: &Case) {
    let b = t.bundle();
    let c = t.started(&b);
    let path = t.path("missing/pid");
    let out = exec(&c, &["--pid-file", path.to_str().unwrap()], &["sh", "-c", "echo ran > /ran"]);
    assert_has(out.refused(), "pid");
    assert!(!present(b.root("/ran")), "nobody could have known it");
}

fn the_console_socket_gets_the_terminal(t: &Case) {
    let c = sleeper(t, |_| {});
    let console = socket::Console::listen(&t.path("console.sock"));
    let path = console.path.to_str().unwrap().to_owned();
    exec(&c, &["--detach", "--tty", "--console-socket", &path], &["sh", "-c", "stty size; tty; sleep 300"]).ok();
    let (message, rest) = console.receive();
    assert_eq!((message.fds.len(), rest), (1, 0));
    assert!(rustix::termios::isatty(&message.fds[0]));
    let mut text = String::new();
    eventually("the process speaks", || {
        let mut bytes = [0; 256];
        let got = rustix::io::read(&message.fds[0], &mut bytes).unwrap();
        text.push_str(&String::from_utf8_lossy(&bytes[..got]));
        text.contains("/dev/pts/0").then_some(())
    });
    fs::remove_file(&console.path).unwrap();
}

fn a_terminal_needs_somebody_who_takes_it(t: &Case) {
    let c = sleeper(t, |_| {});
    assert_has(exec(&c, &["--detach", "--tty"], &["true"]).refused(), "console-socket");
    let console = socket::Console::listen(&t.path("console.sock"));
    let path = console.path.to_str().unwrap().to_owned();
    assert_has(exec(&c, &["--detach", "--console-socket", &path], &["true"]).refused(), "no terminal");
    assert_has(exec(&c, &["--tty", "--console-socket", &path], &["true"]).refused(), "detach");
    assert!(console.untouched());
    fs::remove_file(&console.path).unwrap();
}

fn preserved_descriptors(t: &Case) {
    let c = sleeper(t, |_| {});
    let handed = t.path("handed");
    write(&handed, "from the caller");
    let script = format!("exec \"$@\" 3< {0} 4< {0} 5< {0}", handed.display());
    let call = |options: &[&str]| c.call("exec", options, &["probe", "fds"]).shell(script.clone()).run();
    let numbers = |out: &Output| out.ok().lines().filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect::<Vec<_>>();
    assert_eq!(numbers(&call(&[])).len(), 3);
    assert_eq!(numbers(&call(&["--preserve-fds", "2"])).len(), 5);
    assert_eq!(c.call("exec", &["--preserve-fds", "1"], &["cat", "/proc/self/fd/3"]).shell(script.clone()).run().ok(), "from the caller");
    call(&["--preserve-fds", "9"]).refused();
}

fn the_configuration_is_not_read_again(t: &Case) {
    let b = t.bundle();
    let c = t.started(&b);
    b.write_raw("{ this is no longer a configuration");
    assert_eq!(sh(&c, &[], "echo fine"), "fine\n");
    fs::remove_file(b.dir().join("config.json")).unwrap();
    assert_eq!(sh(&c, &[], "echo fine"), "fine\n");
}

fn it_ends_with_the_container(t: &Case) {
    let c = sleeper(t, |_| {});
    let mut child = c.call("exec", &[], &["sleep", "300"]).spawn(Stdio::null(), Stdio::null(), Stdio::null());
    eventually("it runs", || (sh(&c, &[], "ps").matches("sleep 300").count() == 2).then_some(()));
    c.kill("KILL");
    assert_eq!(runtime::wait(&mut child, patience()).expect("exec ends").code(), Some(137));
}

fn many_at_once(t: &Case) {
    let c = sleeper(t, |_| {});
    let calls: Vec<_> = (0..20)
        .map(|i| c.call("exec", &[], &["sh", "-c", &format!("exit {i}")]).spawn(Stdio::null(), Stdio::null(), Stdio::null()))
        .collect();
    for (i, mut child) in (0..).zip(calls) {
        assert_eq!(runtime::wait(&mut child, patience()).expect("exec ends").code(), Some(i));
    }
    let left = sh(&c, &[], "ps");
    assert_lacks(&left, "exit 1");
    assert_lacks(&left, "aril");
}
