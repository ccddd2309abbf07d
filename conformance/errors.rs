//! Bad input: what is said, and that nothing is left behind. `Case::refused` checks the latter for each.

use crate::support::*;
use std::fs;

pub const TESTS: &[Test] = suite![
    malformed_json_names_the_line,
    malformed_json_names_line_and_column: [Need::Runtime("aril")],
    a_truncated_configuration_is_refused,
    an_empty_configuration_is_refused,
    a_configuration_that_is_no_object_is_refused,
    bytes_that_are_no_text_are_refused,
    text_after_the_configuration_is_refused,
    a_wrong_type_is_refused,
    a_wrong_type_names_its_pointer: [Need::Runtime("aril")],
    a_semantic_error_names_its_pointer: [Need::Runtime("aril")],
    an_executor_fault_names_step_pointer_object_and_errno: [Need::Runtime("aril")],
    the_json_log_carries_step_at_and_errno: [Need::Runtime("aril")],
    the_message_is_one_line: [Need::Runtime("aril")],
    an_unsupported_field_is_refused_by_name: [Need::Runtime("aril")],
    an_absent_process_is_refused_at_start_or_before,
    an_absent_version_is_refused,
    an_unknown_version_is_refused,
    versions_of_the_past_are_taken,
    unknown_fields_are_accepted,
    unknown_annotations_are_accepted,
    annotations_are_strings_by_strings,
    an_annotation_without_a_key_is_refused: [Need::Runtime("aril")],
    duplicate_keys_do_no_harm,
    a_byte_order_mark,
    a_deeply_nested_document_is_refused,
    a_huge_number_is_refused,
    a_configuration_that_is_a_directory_is_refused,
    a_configuration_that_is_a_fifo_does_not_hang,
    a_large_configuration,
    create_after_a_failure_in_each_step,
    a_failure_in_the_last_mount_leaves_nothing,
    a_failure_of_the_process_in_run_is_said_in_one_line,
    nothing_on_standard_output,
    a_full_state_root_is_refused,
    a_readonly_state_root_is_refused,
    a_missing_state_root_is_made,
    the_state_root_is_private,
    a_killed_create_leaves_what_delete_force_removes: [Need::Runtime("aril")],
    create_killed_by_a_hook_is_cleaned_by_delete_force: [Need::Runtime("aril")],
    start_of_a_container_whose_program_vanished,
    start_of_a_container_whose_init_died,
    corrupt_state_does_not_break_the_others,
    a_damaged_record_is_not_that_of_a_stopped_container: [Need::Runtime("aril")],
    the_record_of_another_version_is_not_that_of_a_stopped_container: [Need::Runtime("aril")],
    a_container_with_a_damaged_record_is_killed: [Need::Runtime("aril")],
    few_descriptors_for_the_runtime,
];

fn malformed(t: &Case, text: &str) -> String {
    let b = t.bundle();
    b.write_raw(text);
    t.refused(&b)
}

fn malformed_json_names_the_line(t: &Case) {
    malformed(t, "{\n  \"ociVersion\": \"1.0.0\",\n  \"process\": {,}\n}");
}

fn malformed_json_names_line_and_column(t: &Case) {
    let text = malformed(t, "{\n  \"ociVersion\": \"1.0.0\",\n  \"process\": {,}\n}");
    assert_has(&text, "line 3");
    assert_has(&text, "column 15");
    assert_has(&text, "config.json");
}

fn a_truncated_configuration_is_refused(t: &Case) {
    let b = t.bundle();
    let whole = read(b.dir().join("config.json"));
    for length in [1, 10, whole.len() / 2, whole.len() - 2] {
        b.write_raw(&whole[..length]);
        t.refused(&b);
    }
}

fn an_empty_configuration_is_refused(t: &Case) {
    malformed(t, "");
    malformed(t, "{}");
}

fn a_configuration_that_is_no_object_is_refused(t: &Case) {
    for text in ["[]", "null", "1", "\"text\""] {
        malformed(t, text);
    }
}

fn bytes_that_are_no_text_are_refused(t: &Case) {
    let b = t.bundle();
    write(b.dir().join("config.json"), [0xff, 0xfe, 0, 1, 2]);
    t.refused(&b);
}

fn text_after_the_configuration_is_refused(t: &Case) {
    let b = t.bundle();
    let whole = read(b.dir().join("config.json"));
    b.write_raw(&format!("{whole}\n}} trailing"));
    t.refused(&b);
}

fn a_wrong_type_is_refused(t: &Case) {
    for change in [
        (|c: &mut Value| c["process"]["args"] = json!("sh")) as fn(&mut Value),
        |c| c["process"]["cwd"] = json!(5),
        |c| c["mounts"] = json!({}),
        |c| c["root"] = json!("rootfs"),
        |c| c["linux"]["namespaces"] = json!("pid"),
        |c| c["process"]["terminal"] = json!("yes"),
        |c| c["process"]["user"]["uid"] = json!("root"),
        |c| c["mounts"][1]["options"] = json!("ro"),
        |c| c["linux"]["maskedPaths"] = json!([1]),
        |c| c["annotations"] = json!({"a": 1}),
    ] {
        let b = t.bundle();
        b.edit(change);
        t.refused(&b);
    }
}

fn pointer(t: &Case, change: fn(&mut Value), at: &str) {
    let b = t.bundle();
    b.edit(change);
    assert_has(&t.refused(&b), at);
}

fn a_wrong_type_names_its_pointer(t: &Case) {
    pointer(t, |c| c["process"]["args"] = json!("sh"), "/process/args");
    pointer(t, |c| c["process"]["user"]["uid"] = json!("root"), "/process/user/uid");
    pointer(t, |c| c["mounts"][1]["options"] = json!("ro"), "/mounts/1/options");
    pointer(t, |c| c["linux"]["maskedPaths"][2] = json!(1), "/linux/maskedPaths/2");
}

fn a_semantic_error_names_its_pointer(t: &Case) {
    pointer(t, |c| c["process"]["cwd"] = json!("relative"), "/process/cwd");
    pointer(t, |c| c["process"]["args"] = json!([]), "/process/args");
    pointer(t, |c| c["process"]["rlimits"][0]["type"] = json!("RLIMIT_X"), "/process/rlimits/0");
    pointer(t, |c| c["linux"]["namespaces"][1]["type"] = json!("flavour"), "/linux/namespaces/1");
    pointer(t, |c| c["linux"]["rootfsPropagation"] = json!("sideways"), "/linux/rootfsPropagation");
    pointer(t, |c| c["linux"]["sysctl"] = json!({"vm.swappiness": "60"}), "/linux/sysctl/vm.swappiness");
    pointer(t, |c| c["linux"]["seccomp"] = json!({"defaultAction": "X"}), "/linux/seccomp/defaultAction");
    pointer(t, |c| c["linux"]["devices"] = json!([{"path": "/dev/x", "type": "q"}]), "/linux/devices/0");
    pointer(t, |c| c["hooks"] = json!({"poststop": [{"path": "relative"}]}), "/hooks/poststop/0/path");
}

fn an_executor_fault_names_step_pointer_object_and_errno(t: &Case) {
    let b = t.bundle();
    b.mount(json!({"destination": "/data", "type": "bind", "source": "/no/such/source", "options": ["rbind"]}));
    let text = t.refused(&b);
    for part in ["/mounts/7", "/data", "/no/such/source", "no such file or directory"] {
        assert_has(&text, part);
    }
    let b = t.bundle();
    b.mount(json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["nosuchoption=1"]}));
    let text = t.refused(&b);
    for part in ["/mounts/7", "/data", "nosuchoption", "invalid argument"] {
        assert_has(&text, part);
    }
    let b = t.bundle();
    b.args(&["/etc/passwd"]);
    let text = t.refused(&b);
    for part in ["/process/args", "/etc/passwd", "ermission denied"] {
        assert_has(&text, part);
    }
}

fn the_json_log_carries_step_at_and_errno(t: &Case) {
    let b = t.bundle();
    b.mount(json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["nosuchoption=1"]}));
    let log = t.path("log");
    let output = t.create_call(&[], &b).globals(["--log", log.to_str().unwrap(), "--log-format", "json"]).run();
    output.refused();
    let entry: Value = serde_json::from_str(&read(&log)).expect("one object on one line");
    for key in ["level", "msg", "time", "step", "at", "errno"] {
        assert!(!entry[key].is_null(), "no {key} in {entry}");
    }
    assert_eq!(entry["at"], "/mounts/7");
    assert_eq!(entry["level"], "error");
}

fn the_message_is_one_line(t: &Case) {
    let b = t.bundle();
    b.args(&["/no/such/program"]);
    let text = t.refused(&b);
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    assert!(text.starts_with("aril: "), "{text}");
}

fn an_unsupported_field_is_refused_by_name(t: &Case) {
    // Fields of other platforms are no Linux runtime's; those of later work are refused, or by then do what they say.
    let b = t.bundle();
    b.edit(|c| c["linux"]["intelRdt"] = json!({"closID": "x", "l3CacheSchema": "L3:0=f"}));
    if !present("/sys/fs/resctrl/schemata") {
        assert_has(&t.refused(&b), "intelRdt");
    }
}

fn an_absent_process_is_refused_at_start_or_before(t: &Case) {
    let b = t.bundle();
    b.edit(|c| drop(c.as_object_mut().unwrap().remove("process")));
    let c = Container::of(t, &b);
    let create = t.create_call(&[], &b).run();
    if create.code() == 0 {
        c.call("start", &[], &[]).run().refused();
    }
}

fn version(t: &Case, version: Value) -> Output {
    let b = t.bundle_sh("exit 0");
    b.edit(|c| c["ociVersion"] = version);
    t.run(&b)
}

fn an_absent_version_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| drop(c.as_object_mut().unwrap().remove("ociVersion")));
    t.refused(&b);
}

fn an_unknown_version_is_refused(t: &Case) {
    for text in ["2.0.0", "99.1.2", "1.0", "1.0.0.0", "01.0.0", "one", ""] {
        assert_ne!(version(t, json!(text)).code(), 0, "{text:?} was taken");
    }
}

fn versions_of_the_past_are_taken(t: &Case) {
    for text in ["0.5.0-dev", "1.0.0", "1.0.1", "1.0.2", "1.0.2-dev", "1.1.0", "1.2.0", "1.2.1", "1.3.0", "1.0.0-rc5"] {
        version(t, json!(text)).ok();
    }
}

fn unknown_fields_are_accepted(t: &Case) {
    let b = t.bundle_sh("echo fine");
    b.edit(|c| {
        c["unknown"] = json!({"deep": [1, 2, {"x": null}]});
        c["process"]["unknown"] = json!(1.5);
        c["linux"]["unknown"] = json!("x");
        c["mounts"][0]["unknown"] = json!(true);
        c["vendor.example"] = json!([]);
    });
    assert_eq!(t.run(&b).ok(), "fine\n");
}

fn unknown_annotations_are_accepted(t: &Case) {
    let b = t.bundle_sh("echo fine");
    b.edit(|c| c["annotations"] = json!({"com.example.x": "y", "a": "", "with space": "z"}));
    assert_eq!(t.run(&b).ok(), "fine\n");
}

fn annotations_are_strings_by_strings(t: &Case) {
    for wrong in [json!(["a"]), json!("a"), json!({"a": 1}), json!({"a": {"b": "c"}})] {
        let b = t.bundle();
        b.edit(|c| c["annotations"] = wrong);
        assert_has(&t.refused(&b), "annotations");
    }
}

fn an_annotation_without_a_key_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["annotations"] = json!({"": "x"}));
    assert_has(&t.refused(&b), "/annotations/");
}

fn duplicate_keys_do_no_harm(t: &Case) {
    let b = t.bundle_sh("echo fine");
    let text = read(b.dir().join("config.json")).replacen('{', "{\"hostname\": \"first\",", 1);
    b.write_raw(&text);
    let output = t.run(&b);
    assert!(output.code() == 0 || !output.stderr.is_empty());
}

fn a_byte_order_mark(t: &Case) {
    let b = t.bundle_sh("exit 0");
    let text = format!("\u{feff}{}", read(b.dir().join("config.json")));
    b.write_raw(&text);
    let output = t.run(&b);
    assert!(output.code() == 0 || !output.stderr.is_empty());
}

fn a_deeply_nested_document_is_refused(t: &Case) {
    malformed(t, &"[".repeat(200_000));
    let text = format!("{{\"a\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    malformed(t, &text);
}

fn a_huge_number_is_refused(t: &Case) {
    let b = t.bundle();
    let text = read(b.dir().join("config.json")).replace("\"uid\": 0", "\"uid\": 123456789012345678901234567890");
    b.write_raw(&text);
    t.refused(&b);
}

fn a_configuration_that_is_a_directory_is_refused(t: &Case) {
    let b = t.bundle();
    fs::remove_file(b.dir().join("config.json")).unwrap();
    fs::create_dir(b.dir().join("config.json")).unwrap();
    t.refused(&b);
}

fn a_configuration_that_is_a_fifo_does_not_hang(t: &Case) {
    let b = t.bundle();
    fs::remove_file(b.dir().join("config.json")).unwrap();
    std::process::Command::new("mkfifo").arg(b.dir().join("config.json")).status().unwrap();
    t.refused(&b);
}

fn a_large_configuration(t: &Case) {
    let b = t.bundle_sh("echo fine");
    b.edit(|c| {
        let mut notes = serde_json::Map::new();
        for n in 0..2000 {
            notes.insert(format!("key{n}"), json!("x".repeat(1000)));
        }
        c["annotations"] = Value::Object(notes);
    });
    assert_eq!(t.run(&b).ok(), "fine\n");
}

fn create_after_a_failure_in_each_step(t: &Case) {
    // Each fails at another step of a start; the same id and cgroup must be free after it.
    for change in [
        (|c: &mut Value| c["root"]["path"] = json!("absent")) as fn(&mut Value),
        |c| {
            c["mounts"].as_array_mut().unwrap().push(json!({"destination": "/x", "type": "bind", "source": "/absent", "options": ["bind"]}))
        },
        |c| c["linux"]["namespaces"][1]["path"] = json!("/absent"),
        |c| c["linux"]["sysctl"] = json!({"net.absent": "1"}),
        |c| c["process"]["args"] = json!(["/absent"]),
        |c| c["process"]["cwd"] = json!("/etc/passwd"),
        |c| c["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]}),
        |c| c["hooks"] = json!({"createContainer": [{"path": "/bin/false"}]}),
    ] {
        let b = t.bundle_sh("echo fine");
        let good = b.config();
        b.edit(change);
        t.refused(&b);
        b.write_config(&good);
        assert_eq!(t.run(&b).ok(), "fine\n");
    }
}

fn a_failure_in_the_last_mount_leaves_nothing(t: &Case) {
    let b = t.bundle();
    let dir = t.mkdir("data");
    for n in 0..20 {
        b.bind(&dir, &format!("/many/{n}"), &["rbind"]);
    }
    b.bind(&t.path("absent"), "/last", &["rbind"]);
    t.refused(&b);
}

fn a_failure_of_the_process_in_run_is_said_in_one_line(t: &Case) {
    let b = t.bundle();
    b.args(&["/no/such/program"]);
    let output = t.run(&b);
    assert_eq!(output.refused().trim_end().lines().count(), 1, "{}", output.stderr);
}

fn nothing_on_standard_output(t: &Case) {
    let b = t.bundle();
    b.args(&["/no/such/program"]);
    let output = t.run(&b);
    output.refused();
    assert_eq!(output.stdout, "");
}

/// A tmpfs that is fit for a state root: nobody else may write to it.
fn private_tmpfs(t: &Case, name: &str) -> std::path::PathBuf {
    let path = t.tmpfs(name, rustix::mount::MountPropagationFlags::PRIVATE);
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    path
}

fn a_full_state_root_is_refused(t: &Case) {
    let full = private_tmpfs(t, "full");
    rustix::mount::mount_remount(&full, rustix::mount::MountFlags::empty(), "size=4k").unwrap();
    write(full.join("fill"), "x".repeat(4096));
    let b = t.bundle();
    let output = t.create_call(&[], &b).globals(["--root", full.to_str().unwrap()]).run();
    let text = output.refused().to_lowercase();
    assert_has(&text, "no space left on device");
    t.rt(&["delete", "--force", b.id()]).globals(["--root", full.to_str().unwrap()]).run().ok();
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1, "left something in the state root");
}

fn a_readonly_state_root_is_refused(t: &Case) {
    let dir = private_tmpfs(t, "readonly");
    rustix::mount::mount_remount(&dir, rustix::mount::MountFlags::RDONLY, "").unwrap();
    let b = t.bundle();
    let output = t.create_call(&[], &b).globals(["--root", dir.to_str().unwrap()]).run();
    assert_has(&output.refused().to_lowercase(), "read-only file system");
}

fn a_missing_state_root_is_made(t: &Case) {
    let b = t.bundle_sh("echo fine");
    let root = t.path("new/state/root");
    let output = t.run_call(&[], &b).globals(["--root", root.to_str().unwrap()]).run();
    assert_eq!(output.ok(), "fine\n");
}

fn the_state_root_is_private(t: &Case) {
    use std::os::unix::fs::PermissionsExt;
    let b = t.bundle();
    let root = t.path("fresh");
    let globals = ["--root", root.to_str().unwrap()];
    t.create_call(&[], &b).globals(globals).shell("umask 0; exec \"$@\"").run().ok();
    let modes: Vec<_> = [root.clone(), root.join(b.id())].iter().map(|p| fs::metadata(p).unwrap().permissions().mode() & 0o066).collect();
    t.rt(&["delete", "--force", b.id()]).globals(globals).run().ok();
    assert_eq!(modes, [0, 0], "group or others may read or write it");
}

fn a_killed_create_leaves_what_delete_force_removes(t: &Case) {
    // Killed after each of a number of microseconds; what a hook stopped is tried by the next test.
    for delay in [500, 1000, 2000, 3000, 5000, 8000] {
        let b = t.bundle();
        let c = Container::of(t, &b);
        let mut create =
            t.create_call(&[], &b).spawn(std::process::Stdio::null(), std::process::Stdio::null(), std::process::Stdio::null());
        std::thread::sleep(std::time::Duration::from_micros(delay));
        let _ = create.kill();
        let _ = create.wait();
        c.delete_force().ok();
        assert!(!c.known());
    }
}

fn create_killed_by_a_hook_is_cleaned_by_delete_force(t: &Case) {
    for when in ["prestart", "createRuntime"] {
        let b = t.bundle();
        b.hook_sh(when, "kill -9 $PPID; sleep 0.2");
        let c = Container::of(t, &b);
        assert_ne!(t.create_call(&[], &b).run().code(), 0);
        c.delete_force().ok();
        assert!(!c.known());
    }
}

fn start_of_a_container_whose_program_vanished(t: &Case) {
    let b = t.bundle();
    fs::copy(b.root("/bin/probe"), b.root("/program")).unwrap();
    b.args(&["/program", "argv"]);
    let c = t.create(&b);
    fs::remove_file(b.root("/program")).unwrap();
    // A runtime may hold the program open since create; else start says what became of it, and never hangs.
    let start = c.call("start", &[], &[]).run();
    if start.code() != 0 {
        assert_has(&start.stderr.to_lowercase(), "no such file");
    }
    c.wait_for("stopped");
    c.delete();
}

fn start_of_a_container_whose_init_died(t: &Case) {
    let c = t.create(&t.bundle());
    let pid = rustix::process::Pid::from_raw(c.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    c.call("start", &[], &[]).run().refused();
    c.wait_for("stopped").delete();
}

fn corrupt_state_does_not_break_the_others(t: &Case) {
    let b = t.bundle();
    let c = t.started(&b);
    fs::create_dir(t.state_root().join("empty")).unwrap();
    let list = t.rt(&["list", "-q"]).run();
    assert_has(list.ok(), &c.id);
    assert_eq!(c.status(), "running");
    t.rt(&["delete", "--force", "empty"]).run();
    let _ = fs::remove_dir(t.state_root().join("empty"));
}

/// A container that runs, with this for its record and nothing else that tells of it, and the pid of its process.
fn with_the_record(t: &Case, change: impl FnOnce(&str) -> String) -> (Container<'_>, String) {
    let c = t.started(&t.bundle());
    let pid = c.pid().to_string();
    let dir = t.state_root().join(&c.id);
    let record = change(&read(dir.join("record")));
    write(dir.join("record"), record);
    write(dir.join("state.json"), "");
    fs::remove_file(dir.join("exec")).unwrap();
    (c, pid)
}

/// Once it was reaped.
fn gone(pid: &str) {
    eventually("its process is gone", || (!present(format!("/proc/{pid}"))).then_some(()));
}

/// Managers take "not running" and "stopped" for done, and forget the container.
fn no_verb_takes_it_for_stopped(c: &Container<'_>, pid: &str) {
    assert_eq!(c.status(), "running");
    assert_eq!(c.call("ps", &["--format", "json"], &[]).run().json(), json!([pid.parse::<i32>().unwrap()]));
    let verbs: [(&str, &[&str], &[&str]); 7] = [
        ("start", &[], &[]),
        ("kill", &[], &["TERM"]),
        ("pause", &[], &[]),
        ("resume", &[], &[]),
        ("update", &["--pids-limit", "5"], &[]),
        ("events", &["--stats"], &[]),
        ("exec", &[], &["true"]),
    ];
    for (verb, options, rest) in verbs {
        let output = c.call(verb, options, rest).run();
        assert_has(output.refused(), &format!("`delete --force {}` ends them", c.id));
        assert_lacks(&output.stderr, "not running");
        assert_lacks(&output.stderr, "stopped");
    }
    assert_has(c.call("delete", &[], &[]).run().refused(), "that is not stopped");
    assert!(present(format!("/proc/{pid}")));
    c.delete_force().ok();
    assert!(!c.known());
    gone(pid);
}

fn a_damaged_record_is_not_that_of_a_stopped_container(t: &Case) {
    let (c, pid) = with_the_record(t, |record| record.replacen('{', "[", 1));
    no_verb_takes_it_for_stopped(&c, &pid);
}

fn the_record_of_another_version_is_not_that_of_a_stopped_container(t: &Case) {
    // With its checksum, and without a field.
    let (c, pid) = with_the_record(t, |_| "f49cf1ff {\"intent\":{}}\n".to_owned());
    no_verb_takes_it_for_stopped(&c, &pid);
}

fn a_container_with_a_damaged_record_is_killed(t: &Case) {
    for options in [&[][..], &["--all"]] {
        let (c, pid) = with_the_record(t, |_| String::new());
        c.call("kill", options, &["KILL"]).run().ok();
        gone(&pid);
        assert_eq!(c.status(), "stopped");
        assert_has(c.call("kill", &[], &["KILL"]).run().refused(), "container not running");
        c.delete();
        assert!(!c.known());
    }
}

fn few_descriptors_for_the_runtime(t: &Case) {
    for limit in [3, 5, 8, 12, 20] {
        let b = t.bundle();
        b.edit(|c| c["process"]["rlimits"] = json!([]));
        let c = Container::of(t, &b);
        let output = t.create_call(&[], &b).shell(format!("ulimit -n {limit}; exec \"$@\"")).run();
        if output.code() == 0 {
            assert_eq!(c.status(), "created");
        }
        c.delete_force().ok();
        assert!(!c.known());
    }
}
