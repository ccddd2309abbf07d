//! The command lines of real callers, word for word (their paths and ids shortened).

use super::{Cli, Command, run, usage};
use crate::cgroup::Manager;
use crate::lifecycle::{Creation, Global};
use crate::log::Log;
use clap::CommandFactory;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

fn words(line: &str) -> Vec<OsString> {
    std::iter::once("aril").chain(line.split_whitespace()).map(OsString::from).collect()
}

fn parse(argv: Vec<OsString>) -> Result<Cli, String> {
    let (argv, cli) = super::parse(argv);
    cli.map_err(|error| usage::error(&argv, &error).chain())
}

fn parsed(line: &str) -> (Global, Command) {
    let cli = parse(words(line)).unwrap_or_else(|error| panic!("{line}: {error}"));
    let global = cli.flags.global(Log::default()).unwrap_or_else(|error| panic!("{line}: {}", error.chain()));
    (global, cli.command.unwrap_or_else(|| panic!("{line}: no command")))
}

fn created(line: &str) -> (Global, Creation) {
    match parsed(line) {
        (global, Command::Create(create)) => (global, create.flags.into()),
        (_, other) => panic!("{line}: {other:?}"),
    }
}

/// Asserts that two command lines mean the same.
fn same(line: &str, as_line: &str) {
    let text = |line| parse(words(line)).map(|cli| format!("{cli:?}"));
    assert!(text(as_line).is_ok(), "{as_line}");
    assert_eq!(text(line), text(as_line), "{line}");
}

fn refused(line: &str) -> String {
    parse(words(line)).map(|cli| format!("{cli:?}")).expect_err(line)
}

fn path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text))
}

#[test]
fn containerd_creates() {
    let (global, creation) = created(
        "--root /run/containerd/runc/k8s.io --log /b/log.json --log-format json --systemd-cgroup --rootless=false create --bundle /b \
         --pid-file /b/init.pid --console-socket /tmp/pty/pty.sock --no-pivot --no-new-keyring --preserve-fds 2 ID",
    );
    assert_eq!(global.root, Path::new("/run/containerd/runc/k8s.io"));
    assert_eq!(global.cgroup_manager, Manager::Systemd);
    assert_eq!(creation.bundle, Path::new("/b"));
    assert_eq!(creation.pid_file, path("/b/init.pid"));
    assert_eq!(creation.console_socket, path("/tmp/pty/pty.sock"));
    assert_eq!((creation.no_pivot, creation.no_new_keyring, creation.preserve_fds), (true, true, 2));
    assert_eq!(creation.id.as_str(), "ID");
}

#[test]
fn conmon_creates() {
    let (global, creation) = created(
        "--systemd-cgroup --log-format=json --log /b/oci-log --root=/run/aril create --bundle /b --pid-file /b/pidfile --console-socket \
         /proc/self/fd/9/attach ID",
    );
    assert_eq!(global.cgroup_manager, Manager::Systemd);
    assert_eq!(creation.console_socket, path("/proc/self/fd/9/attach"));
    assert_eq!(creation.pid_file, path("/b/pidfile"));
}

#[test]
fn conmon_rs_says_global_flags_twice_and_the_last_counts() {
    let (global, creation) = created(
        "--root=/first --systemd-cgroup --root=/r --systemd-cgroup create --bundle /b --pid-file /b/pidfile --console-socket=/s ID",
    );
    assert_eq!((global.root.as_path(), global.cgroup_manager), (Path::new("/r"), Manager::Systemd));
    assert_eq!(creation.console_socket, path("/s"));
}

#[test]
fn crio_and_podman() {
    for line in [
        "--root /r --systemd-cgroup start ID",
        "--root /r --systemd-cgroup state ID",
        "--root /r delete --force ID",
        "--root /r kill -a ID 9",
        "--root /r kill ID SIGTERM",
        "--root /r kill ID KILL",
        "--log-format=json --log=/l --root /r kill --all ID 15",
    ] {
        assert_eq!(parsed(line).0.root, Path::new("/r"), "{line}");
    }
    assert!(matches!(parsed("kill --all ID 9").1, Command::Kill(it) if it.all && it.signal.number() == 9));
    assert!(matches!(parsed("kill ID SIGRTMIN+3").1, Command::Kill(it) if !it.all && it.signal.number() == 37));
    assert!(matches!(parsed("kill ID").1, Command::Kill(it) if it.signal.number() == 15));
}

#[test]
fn buildkit_and_docker() {
    let (_, command) = parsed("--log /l --log-format json run --bundle /b --no-pivot --keep ID");
    assert!(matches!(command, Command::Run(it) if it.keep && !it.detach));
    assert!(matches!(parsed("run -d -no-subreaper -b /b ID").1, Command::Run(it) if it.detach && it.no_subreaper));
    assert!(matches!(parsed("delete ID").1, Command::Delete(it) if !it.force));
    same("list --format=json", "list -f json");
    same("list -q", "list --quiet");
}

#[test]
fn flags_as_go_takes_them() {
    same("-root /r -log-format json state ID", "--root=/r --log-format=json state ID");
    same("-root=/r -systemd-cgroup=true -debug state ID", "--root=/r --systemd-cgroup --debug state ID");
    same("--debug --systemd-cgroup --debug=false --systemd-cgroup=0 state ID", "state ID");
    same("create -bundle /b -pid-file=/p ID", "create --bundle=/b --pid-file=/p ID");
    same("create -b=/b ID", "create --bundle /b ID");
    same("delete ID --force", "delete -f ID");
    same("kill ID 9 -all", "kill --all ID 9");
    same("run ID -d", "run --detach ID");
    same("run -- ID", "run ID");
    same("create --pid-file -strange ID", "create --pid-file=-strange ID");
    same("--root --log state ID", "--root=--log state ID");
    assert!(refused("--debug=perhaps state ID").contains("--debug"));
}

#[test]
fn an_empty_path_is_none() {
    let argv = ["aril", "--log", "", "create", "--pid-file", "", "--console-socket=", "ID"].map(OsString::from).to_vec();
    let cli = parse(argv).expect("it is a command line");
    assert!(cli.flags.log().is_ok());
    let Some(Command::Create(create)) = cli.command else { panic!("no create") };
    let creation = Creation::from(create.flags);
    assert_eq!((creation.pid_file, creation.console_socket, creation.bundle), (None, None, PathBuf::from(".")));
}

#[test]
fn paths_need_not_be_unicode() {
    use std::os::unix::ffi::OsStringExt;
    let strange = OsString::from_vec(b"/\xff".to_vec());
    let argv = vec!["aril".into(), "--root".into(), strange.clone(), "state".into(), "ID".into()];
    let global = parse(argv).expect("it is a command line").flags.global(Log::default()).expect("it is a root");
    assert_eq!(global.root, PathBuf::from(strange));
}

#[test]
fn rootless_with_and_without_a_value() {
    for line in ["--rootless true state ID", "--rootless=auto state ID", "--rootless state ID", "--rootless=false --rootless=true state ID"]
    {
        assert!(matches!(parsed(line).1, Command::State(it) if it.id.as_str() == "ID"), "{line}");
    }
    assert!(refused("--rootless=maybe state ID").contains("possible values: true, false, auto"));
}

#[test]
fn who_makes_cgroups() {
    for (flags, manager) in [
        ("", Manager::Cgroupfs),
        ("--systemd-cgroup", Manager::Systemd),
        ("--cgroup-manager systemd", Manager::Systemd),
        ("--cgroup-manager=systemd", Manager::Systemd),
        ("--systemd-cgroup --cgroup-manager cgroupfs", Manager::Cgroupfs),
        ("--cgroup-manager disabled", Manager::Disabled),
    ] {
        assert_eq!(parsed(&format!("{flags} state ID")).0.cgroup_manager, manager, "{flags}");
    }
}

#[test]
fn complaints_are_one_line_with_a_hint() {
    let cases = [
        ("--root", "flag needs an argument: --root <DIR>; see `aril --help`"),
        ("create --bundle", "flag needs an argument: --bundle <DIR>; see `aril create --help`"),
        ("state", "the following required arguments were not provided: <ID>; see `aril state --help`"),
        ("state ID more", "unexpected argument 'more' found; see `aril state --help`"),
        ("creat ID", "unrecognized subcommand 'creat' (a similar subcommand exists: 'create'); see `aril --help`"),
        ("create --bundel /b ID", "unexpected argument '--bundel' found (a similar argument exists: '--bundle'); see `aril create --help`"),
        ("create --root /r ID", "unexpected argument '--root' found; see `aril create --help`"),
        ("kill ID -9", "unexpected argument '-9' found; see `aril kill --help`"),
    ];
    for (line, complaint) in cases {
        assert_eq!(refused(line), complaint, "{line}");
    }
    for line in ["state a/b", "state ..", "kill ID FOO", "create --preserve-fds -1 ID", "list -f yaml", "--log-format xml list"] {
        assert_eq!(refused(line).lines().count(), 1, "{line}");
    }
}

#[test]
fn a_wrong_command_line_goes_to_the_log_that_it_names() {
    let path = std::env::temp_dir().join(format!("aril-usage-{}", std::process::id()));
    let (log, outcome) = run(words(&format!("--log {} --log-format json create --bogus ID", path.display())));
    log.error(&outcome.expect_err("there is no such flag"));
    let text = std::fs::read_to_string(&path).expect("it is written");
    std::fs::remove_file(&path).expect("it is ours");
    let line: serde_json::Value = serde_json::from_str(&text).expect("one object");
    assert_eq!(line["msg"], "unexpected argument '--bogus' found; see `aril create --help`");
}

#[test]
fn logs_that_cannot_be_opened_are_refused() {
    for line in ["--log /does/not/exist/log list", "--log file:/does/not/exist/log list"] {
        assert!(parse(words(line)).expect(line).flags.log().is_err(), "{line}");
    }
}

#[test]
fn the_word_version_is_on_one_line() {
    let text = usage::version();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], concat!("aril version ", env!("CARGO_PKG_VERSION")));
    assert!(lines[1].starts_with("commit: ") && lines[2] == "spec: 1.3.0");
    assert_eq!(text.matches("version").count(), 1);
}

/// clap's own checks of the definitions; every command explains itself by an example.
#[test]
fn definitions() {
    Cli::command().debug_assert();
    for command in Cli::command().get_subcommands() {
        let example = format!("aril {}", command.get_name());
        let shows = command.get_after_help().is_some_and(|help| help.to_string().contains(&example));
        assert!(shows, "{}", command.get_name());
        assert!(command.get_arguments().all(|arg| arg.get_help().is_some()), "{}", command.get_name());
    }
}
