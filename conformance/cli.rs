//! The command line as callers use it: arguments, their quirks, exit codes, and the texts that callers match.

use crate::support::*;
use std::fs;

pub const TESTS: &[Test] = suite![
    version_names_program_and_specification,
    version_prints_nothing_on_standard_error,
    short_version,
    short_version_of_crun,
    help_of_the_program,
    help_of_each_command,
    an_unknown_command_is_refused,
    an_unknown_option_is_refused,
    an_option_without_its_argument_is_refused,
    no_command_shows_help,
    too_many_arguments_are_refused,
    root_may_be_joined_with_equals,
    root_may_be_repeated,
    systemd_cgroup_may_be_repeated: [Need::Runtime("aril")],
    rootless_takes_its_three_values,
    single_dash_long_options,
    double_dash_no_subreaper,
    containerds_order_of_options,
    conmons_order_of_options,
    options_after_the_id_are_not_options,
    short_bundle_option,
    bundle_joined_with_equals,
    debug_is_taken,
    signals_by_every_name,
    signals_by_number,
    realtime_signals,
    signal_zero_asks_for_life,
    an_unknown_signal_is_refused,
    kill_all,
    kill_all_of_a_stopped_container_is_fine,
    kill_all_signals_all_without_a_pid_namespace,
    kill_option_before_or_after,
    list_table,
    list_json,
    list_json_when_empty,
    list_quiet,
    list_of_no_containers_is_a_header,
    list_shows_stopped_ones,
    list_shows_the_owner,
    list_of_a_missing_root,
    list_format_unknown_is_refused,
    log_text,
    log_json_is_one_object,
    log_json_of_a_success_is_empty,
    log_is_appended_to,
    errors_are_on_standard_error_too,
    log_in_a_missing_directory_is_refused,
    log_format_unknown_is_refused,
    exit_status_of_a_failure_is_1,
    exit_status_of_run_whose_start_fails_is_1,
    spec_writes_a_configuration,
    spec_runs,
    spec_does_not_overwrite,
    spec_in_another_bundle,
    spec_rootless,
    the_text_of_a_missing_container,
    the_text_of_a_container_in_use,
    the_text_of_a_program_not_found,
    the_text_of_a_kill_after_the_end,
    the_text_of_a_start_twice,
    the_text_of_a_delete_while_running,
    explain_starts_nothing: [Need::Runtime("aril")],
    explain_is_json_too: [Need::Runtime("aril")],
    explain_says_what_is_refused: [Need::Runtime("aril")],
];

fn version_names_program_and_specification(t: &Case) {
    let output = t.rt(&["--version"]).without_root().run();
    let mut lines = output.ok().lines();
    let first: Vec<_> = lines.next().unwrap().split(' ').collect();
    assert_eq!(first[1], "version", "{first:?}");
    assert_eq!(first.len(), 3, "{first:?}");
    let spec = output.stdout.lines().find_map(|l| l.strip_prefix("spec: ")).expect("a line spec:");
    assert!(spec.starts_with("1."), "{spec}");
    // Docker takes the text after the last such word of a line.
    assert_eq!(output.stdout.matches("version").count(), 1, "{}", output.stdout);
}

fn version_prints_nothing_on_standard_error(t: &Case) {
    assert_eq!(t.rt(&["--version"]).without_root().run().stderr, "");
}

fn short_version(t: &Case) {
    assert_has(t.rt(&["-v"]).without_root().run().ok(), "version");
}

fn short_version_of_crun(t: &Case) {
    assert_has(t.rt(&["-V"]).without_root().run().ok(), "version");
}

fn help_of_the_program(t: &Case) {
    for word in ["--help", "-h", "help"] {
        let output = t.rt(&[word]).without_root().run();
        for command in ["create", "start", "state", "kill", "delete", "run", "list", "spec"] {
            assert_has(output.ok(), command);
        }
    }
}

fn help_of_each_command(t: &Case) {
    for (command, option) in [
        ("create", "--bundle"),
        ("run", "--detach"),
        ("kill", "--all"),
        ("delete", "--force"),
        ("list", "--format"),
        ("start", ""),
        ("state", ""),
        ("spec", "--rootless"),
    ] {
        let output = t.rt(&[command, "--help"]).without_root().run();
        assert_has(output.ok(), option.trim_start_matches('-'));
    }
}

fn an_unknown_command_is_refused(t: &Case) {
    assert_has(t.rt(&["levitate"]).run().refused(), "levitate");
}

fn an_unknown_option_is_refused(t: &Case) {
    let output = t.rt(&["list", "--no-such-option"]).run();
    assert_ne!(output.code(), 0);
    assert_has(&format!("{}{}", output.stdout, output.stderr), "no-such-option");
}

fn an_option_without_its_argument_is_refused(t: &Case) {
    let output = t.rt(&["create", "--bundle"]).run();
    assert_ne!(output.code(), 0);
    // Podman recognises an option that exists by one of these texts.
    let text = format!("{}{}", output.stdout, output.stderr);
    assert!(text.contains("flag needs an argument") || text.contains("requires an argument"), "{text}");
}

fn no_command_shows_help(t: &Case) {
    let output = t.rt(&[]).without_root().run();
    assert_has(&format!("{}{}", output.stdout, output.stderr), "create");
}

fn too_many_arguments_are_refused(t: &Case) {
    let b = t.bundle();
    let dir = b.dir().to_str().unwrap();
    assert_ne!(t.rt(&["create", "--bundle", dir, "one", "two"]).run().code(), 0);
    assert_ne!(t.rt(&["create", "--bundle", dir]).run().code(), 0);
    assert_ne!(t.rt(&["start", "a", "b"]).run().code(), 0);
    assert_eq!(fs::read_dir(t.state_root()).unwrap().count(), 0);
}

fn root_may_be_joined_with_equals(t: &Case) {
    let c = t.create(&t.bundle());
    let output = t.rt(&["list", "-q"]).without_root().globals([format!("--root={}", t.state_root().display())]).run();
    assert_eq!(output.ok().trim(), c.id);
}

fn root_may_be_repeated(t: &Case) {
    let c = t.create(&t.bundle());
    let output =
        t.rt(&["list", "-q"]).without_root().globals(["--root", "/no/such/root", "--root", t.state_root().to_str().unwrap()]).run();
    assert_eq!(output.ok().trim(), c.id, "the last one holds");
}

fn systemd_cgroup_may_be_repeated(t: &Case) {
    // conmon-rs gives its global options twice; `list` needs no systemd.
    t.rt(&["list"]).globals(["--systemd-cgroup", "--systemd-cgroup"]).run().ok();
}

fn rootless_takes_its_three_values(t: &Case) {
    for value in ["true", "false", "auto"] {
        t.rt(&["list"]).globals([format!("--rootless={value}")]).run().ok();
    }
}

fn single_dash_long_options(t: &Case) {
    let b = t.bundle_sh("echo fine");
    assert_eq!(t.run_call(&["-no-subreaper"], &b).run().ok(), "fine\n");
    assert_eq!(t.rt(&["run", "-bundle", b.dir().to_str().unwrap(), b.id()]).run().ok(), "fine\n");
}

fn double_dash_no_subreaper(t: &Case) {
    assert_eq!(t.run_call(&["--no-subreaper"], &t.bundle_sh("echo fine")).run().ok(), "fine\n");
}

fn containerds_order_of_options(t: &Case) {
    let b = t.bundle();
    let c = Container::of(t, &b);
    let (log, pid) = (t.path("log.json"), t.path("init.pid"));
    let globals = ["--log", log.to_str().unwrap(), "--log-format", "json", "--rootless=false"];
    t.create_call(&["--pid-file", pid.to_str().unwrap()], &b).globals(globals).run().ok();
    c.call("start", &[], &[]).globals(globals).run().ok();
    c.call("kill", &["--all"], &["9"]).globals(globals).run().ok();
    c.wait_for("stopped");
    c.call("delete", &[], &[]).globals(globals).run().ok();
}

fn conmons_order_of_options(t: &Case) {
    let b = t.bundle();
    let c = Container::of(t, &b);
    let root = format!("--root={}", t.state_root().display());
    let log = t.path("oci-log");
    let words = ["create", "--bundle", b.dir().to_str().unwrap(), "--pid-file", t.path("pid").to_str().unwrap(), b.id()].map(str::to_owned);
    t.rt(&words.each_ref().map(String::as_str))
        .without_root()
        .globals(["--log-format=json", "--log", log.to_str().unwrap(), &root])
        .run()
        .ok();
    assert_eq!(c.status(), "created");
}

fn options_after_the_id_are_not_options(t: &Case) {
    // They are arguments too many, not a format or a force.
    let c = t.started(&t.bundle());
    let output = c.call("delete", &[], &["--force"]).run();
    if output.code() == 0 {
        // A runtime that permutes its arguments has deleted it.
        assert!(!c.known());
    } else {
        assert_eq!(c.status(), "running");
    }
}

fn short_bundle_option(t: &Case) {
    let b = t.bundle_sh("echo fine");
    assert_eq!(t.rt(&["run", "-b", b.dir().to_str().unwrap(), b.id()]).run().ok(), "fine\n");
}

fn bundle_joined_with_equals(t: &Case) {
    let b = t.bundle_sh("echo fine");
    assert_eq!(t.rt(&["run", &format!("--bundle={}", b.dir().display()), b.id()]).run().ok(), "fine\n");
}

fn debug_is_taken(t: &Case) {
    assert_eq!(t.run_call(&[], &t.bundle_sh("echo fine")).globals(["--debug"]).run().ok(), "fine\n");
}

/// Sends a signal by this spelling to a probe that says which one came.
fn sent(t: &Case, spelling: &str) -> String {
    let b = t.bundle();
    b.args(&["probe", "sigtest"]);
    let out = t.path(&format!("out-{}", b.id()));
    let c = Container::of(t, &b);
    // Detached, for a runtime in the foreground passes on what signals itself gets.
    let null = std::process::Stdio::null;
    let mut run = t.run_call(&["--detach"], &b).spawn(null(), fs::File::create(&out).unwrap().into(), null());
    assert!(runtime::wait(&mut run, patience()).expect("run ends").success());
    eventually("the probe waits", || read(&out).contains("ready").then_some(()));
    c.kill(spelling);
    eventually("the probe says which signal came", || read(&out).contains("got").then_some(()));
    read(&out).lines().last().unwrap().to_owned()
}

fn signals_by_every_name(t: &Case) {
    for (spelling, number) in
        [("TERM", 15), ("SIGTERM", 15), ("term", 15), ("sigterm", 15), ("SigUsr1", 10), ("ABRT", 6), ("IO", 29), ("SIGCHLD", 17)]
    {
        assert_eq!(sent(t, spelling), format!("got {number}"), "{spelling}");
    }
}

fn signals_by_number(t: &Case) {
    for number in [1, 15, 31, 40, 64] {
        assert_eq!(sent(t, &number.to_string()), format!("got {number}"));
    }
}

fn realtime_signals(t: &Case) {
    for (spelling, number) in [("SIGRTMIN+3", 37), ("RTMIN+1", 35), ("SIGRTMIN", 34), ("SIGRTMAX", 64), ("SIGRTMAX-1", 63)] {
        assert_eq!(sent(t, spelling), format!("got {number}"), "{spelling}");
    }
}

fn signal_zero_asks_for_life(t: &Case) {
    let c = t.started(&t.bundle());
    c.call("kill", &[], &["0"]).run();
    assert_eq!(c.status(), "running");
}

fn an_unknown_signal_is_refused(t: &Case) {
    let c = t.started(&t.bundle());
    for signal in ["SIGNOSUCH", "NOSUCH", "65", "-1", "1000", "SIG", "SIGRTMIN+99"] {
        let output = c.call("kill", &[], &[signal]).run();
        assert_ne!(output.code(), 0, "{signal:?} was taken");
    }
    assert_eq!(c.status(), "running");
}

fn kill_all(t: &Case) {
    for option in ["--all", "-a"] {
        let c = t.started(&t.bundle());
        c.call("kill", &[option], &["KILL"]).run().ok();
        c.wait_for("stopped").delete();
    }
}

fn kill_all_of_a_stopped_container_is_fine(t: &Case) {
    let c = t.started(&t.bundle_sh("exit 0"));
    c.wait_for("stopped");
    c.call("kill", &["--all"], &["9"]).run().ok();
}

fn kill_all_signals_all_without_a_pid_namespace(t: &Case) {
    let b = t.bundle_sh("setsid sleep 300 & setsid sleep 300 & wait");
    b.leave_namespace("pid");
    let c = t.started(&b);
    let procs = t.environment.cgroup("pids", &format!("{}/{}", t.cgroup(), c.id)).join("cgroup.procs");
    eventually("three run", || (read(&procs).lines().count() == 3).then_some(()));
    c.call("kill", &["--all"], &["9"]).run().ok();
    eventually("none is left", || read(&procs).is_empty().then_some(()));
    c.wait_for("stopped").delete();
}

fn kill_option_before_or_after(t: &Case) {
    let c = t.started(&t.bundle());
    c.call("kill", &["-a"], &["SIGKILL"]).run().ok();
    c.wait_for("stopped");
}

fn list_table(t: &Case) {
    let b = t.bundle();
    let c = t.started(&b);
    let output = t.rt(&["list"]).run();
    let lines: Vec<Vec<_>> = output.ok().lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    assert_eq!(lines[1][..4], [c.id.as_str(), &c.pid().to_string(), "running", b.dir().to_str().unwrap()]);
    assert_eq!(lines.len(), 2);
    t.rt(&["list", "--format", "table"]).run().ok();
}

fn list_json(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["annotations"] = json!({"a": "b"}));
    let c = t.started(&b);
    for words in [["list", "--format", "json"], ["list", "-f", "json"]] {
        let list = t.rt(&words).run().json();
        assert_eq!(list.as_array().unwrap().len(), 1);
        let one = &list[0];
        assert_eq!((&one["id"], &one["status"], &one["pid"]), (&json!(c.id), &json!("running"), &json!(c.pid())));
        assert_eq!(one["bundle"], b.dir().display().to_string());
        assert!(one["created"].is_string() && one["ociVersion"].is_string(), "{one}");
    }
    t.rt(&["list", "--format=json"]).run().json();
}

fn list_json_when_empty(t: &Case) {
    let list = t.rt(&["list", "--format", "json"]).run().json();
    assert!(list.is_null() || list.as_array().is_some_and(Vec::is_empty), "{list}");
}

fn list_quiet(t: &Case) {
    let (one, two) = (t.create(&t.bundle()), t.create(&t.bundle()));
    let mut ids = [one.id.as_str(), two.id.as_str()];
    ids.sort_unstable();
    for word in ["-q", "--quiet"] {
        let output = t.rt(&["list", word]).run();
        let mut lines: Vec<_> = output.ok().lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ids);
    }
}

fn list_of_no_containers_is_a_header(t: &Case) {
    let output = t.rt(&["list"]).run();
    assert_eq!(output.ok().lines().count(), 1);
    assert!(output.stdout.starts_with("ID"), "{}", output.stdout);
    assert_eq!(t.rt(&["list", "-q"]).run().ok(), "");
}

fn list_shows_stopped_ones(t: &Case) {
    let c = t.started(&t.bundle_sh("exit 0"));
    c.wait_for("stopped");
    let list = t.rt(&["list", "--format", "json"]).run().json();
    assert_eq!((&list[0]["status"], &list[0]["pid"]), (&json!("stopped"), &json!(0)));
}

fn list_shows_the_owner(t: &Case) {
    let _c = t.create(&t.bundle());
    assert_eq!(t.rt(&["list", "--format", "json"]).run().json()[0]["owner"], "root");
}

fn list_of_a_missing_root(t: &Case) {
    let root = t.path("absent");
    let output = t.rt(&["list", "-q"]).without_root().globals(["--root", root.to_str().unwrap()]).run();
    assert_eq!(output.ok(), "");
}

fn list_format_unknown_is_refused(t: &Case) {
    assert_ne!(t.rt(&["list", "--format", "yaml"]).run().code(), 0);
}

fn log_of(t: &Case, format: &[&str]) -> (String, Output) {
    let (b, log) = (t.bundle(), t.path("log"));
    b.args(&["/no/such/program"]);
    let globals = [&["--log", log.to_str().unwrap()], format].concat();
    let output = t.create_call(&[], &b).globals(globals).run();
    output.refused();
    (read(log), output)
}

fn log_text(t: &Case) {
    let (log, _) = log_of(t, &[]);
    assert_has(&log, "/no/such/program");
    let (log, _) = log_of(t, &["--log-format", "text"]);
    assert_has(&log, "/no/such/program");
}

fn log_json_is_one_object(t: &Case) {
    let (log, _) = log_of(t, &["--log-format", "json"]);
    assert_eq!(log.lines().count(), 1, "{log}");
    let entry: Value = serde_json::from_str(&log).unwrap();
    assert_eq!(entry["level"], "error");
    assert_has(entry["msg"].as_str().unwrap(), "/no/such/program");
    let time = entry["time"].as_str().unwrap();
    assert!(time.len() >= 20 && time.as_bytes()[10] == b'T', "{time}");
}

fn log_json_of_a_success_is_empty(t: &Case) {
    let (b, log) = (t.bundle_sh("true"), t.path("log"));
    t.run_call(&[], &b).globals(["--log", log.to_str().unwrap(), "--log-format", "json"]).run().ok();
    assert_eq!(fs::read_to_string(log).unwrap_or_default(), "");
}

fn log_is_appended_to(t: &Case) {
    write(t.path("log"), "before\n");
    let (log, _) = log_of(t, &["--log-format", "json"]);
    assert!(log.starts_with("before\n{"), "{log}");
}

fn errors_are_on_standard_error_too(t: &Case) {
    // conmon passes on what it reads there.
    let (_, output) = log_of(t, &["--log-format", "json"]);
    assert_has(&output.stderr, "/no/such/program");
}

fn log_in_a_missing_directory_is_refused(t: &Case) {
    assert_has(t.rt(&["list"]).globals(["--log", "/no/such/dir/log"]).run().refused(), "/no/such/dir/log");
}

fn log_format_unknown_is_refused(t: &Case) {
    assert_ne!(t.rt(&["list"]).globals(["--log-format", "xml"]).run().code(), 0);
}

fn exit_status_of_a_failure_is_1(t: &Case) {
    let b = t.bundle();
    b.args(&["/no/such/program"]);
    assert_eq!(t.create_call(&[], &b).run().code(), 1);
    for words in [&["state", "nobody"] as &[&str], &["start", "nobody"], &["delete", "nobody"], &["kill", "nobody", "9"]] {
        assert_eq!(t.rt(words).run().code(), 1, "{words:?}");
    }
}

fn exit_status_of_run_whose_start_fails_is_1(t: &Case) {
    let b = t.bundle();
    b.args(&["/no/such/program"]);
    assert_eq!(t.run(&b).code(), 1);
}

fn spec_writes_a_configuration(t: &Case) {
    let dir = t.mkdir("bundle");
    t.rt(&["spec"]).cwd(&dir).run().ok();
    let config: Value = serde_json::from_str(&read(dir.join("config.json"))).unwrap();
    assert_eq!(config["process"]["args"], json!(["sh"]));
    assert_eq!(config["process"]["terminal"], true);
    assert_eq!(config["root"], json!({"path": "rootfs", "readonly": true}));
    let mut kinds: Vec<_> = config["linux"]["namespaces"].as_array().unwrap().iter().map(|n| n["type"].as_str().unwrap()).collect();
    kinds.retain(|kind| *kind != "cgroup");
    kinds.sort_unstable();
    assert_eq!(kinds, ["ipc", "mount", "network", "pid", "uts"]);
    assert!(config["mounts"].as_array().unwrap().len() >= 6);
    assert!(!config["linux"]["maskedPaths"].as_array().unwrap().is_empty());
}

fn spec_runs(t: &Case) {
    let b = t.bundle();
    fs::remove_file(b.dir().join("config.json")).unwrap();
    t.rt(&["spec"]).cwd(b.dir()).run().ok();
    let cgroup = format!("{}/{}", t.cgroup(), b.id());
    b.edit(|c| {
        c["process"]["terminal"] = json!(false);
        c["process"]["args"] = json!(["echo", "from spec"]);
        c["linux"]["cgroupsPath"] = json!(cgroup);
    });
    assert_eq!(t.run(&b).ok(), "from spec\n");
}

fn spec_does_not_overwrite(t: &Case) {
    let dir = t.mkdir("bundle");
    write(dir.join("config.json"), "mine");
    t.rt(&["spec"]).cwd(&dir).run().refused();
    assert_eq!(read(dir.join("config.json")), "mine");
}

fn spec_in_another_bundle(t: &Case) {
    let dir = t.mkdir("bundle");
    for option in ["--bundle", "-b"] {
        t.rt(&["spec", option, dir.to_str().unwrap()]).run().ok();
        fs::remove_file(dir.join("config.json")).unwrap();
    }
}

fn spec_rootless(t: &Case) {
    let dir = t.mkdir("bundle");
    t.rt(&["spec", "--rootless"]).cwd(&dir).run().ok();
    let config: Value = serde_json::from_str(&read(dir.join("config.json"))).unwrap();
    assert!(config["linux"]["namespaces"].as_array().unwrap().iter().any(|n| n["type"] == "user"), "{}", config["linux"]);
    assert_eq!(config["linux"]["uidMappings"][0]["size"], 1);
}

fn the_text_of_a_missing_container(t: &Case) {
    for words in [&["state", "nobody"] as &[&str], &["start", "nobody"], &["delete", "nobody"], &["kill", "nobody", "9"]] {
        assert_has(t.rt(words).run().refused(), "container does not exist");
    }
}

fn the_text_of_a_container_in_use(t: &Case) {
    let b = t.bundle();
    let _c = t.create(&b);
    assert_has(t.create_call(&[], &b).run().refused(), "container with given ID already exists");
}

fn the_text_of_a_program_not_found(t: &Case) {
    let b = t.bundle();
    b.args(&["nosuch"]);
    // As a JSON log gives it, without the quoting of a text log.
    let log = t.path("log");
    t.create_call(&[], &b).globals(["--log", log.to_str().unwrap(), "--log-format", "json"]).run().refused();
    let entry: Value = serde_json::from_str(read(log).lines().last().unwrap()).unwrap();
    assert_has(entry["msg"].as_str().unwrap(), "exec: \"nosuch\": executable file not found in $PATH");
}

fn the_text_of_a_kill_after_the_end(t: &Case) {
    let c = t.started(&t.bundle_sh("exit 0"));
    c.wait_for("stopped");
    assert_has(c.call("kill", &[], &["9"]).run().refused(), "container not running");
}

fn the_text_of_a_start_twice(t: &Case) {
    let c = t.started(&t.bundle());
    assert_has(c.call("start", &[], &[]).run().refused(), "cannot start an already running container");
}

fn the_text_of_a_delete_while_running(t: &Case) {
    let c = t.started(&t.bundle());
    assert_has(c.call("delete", &[], &[]).run().refused(), &format!("cannot delete container {} that is not stopped: running", c.id));
}

fn explain(t: &Case, b: &Bundle, options: &[&str]) -> Output {
    t.rt(&[&["explain", "--bundle", b.dir().to_str().unwrap()], options].concat()).run()
}

fn explain_starts_nothing(t: &Case) {
    let b = t.bundle_sh("touch /ran");
    let output = explain(t, &b, &[]);
    assert_has(output.ok(), "/mounts/0");
    assert_has(output.ok(), "/process/args");
    assert_eq!(fs::read_dir(t.state_root()).unwrap().count(), 0);
    assert!(!present(b.root("/ran")));
}

fn explain_is_json_too(t: &Case) {
    assert!(explain(t, &t.bundle(), &["--format", "json"]).json()["steps"].as_array().is_some_and(|steps| steps.len() > 10));
}

fn explain_says_what_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["process"]["cwd"] = json!("relative"));
    let output = explain(t, &b, &[]);
    assert_has(&format!("{}{}", output.stdout, output.stderr), "/process/cwd");
}
