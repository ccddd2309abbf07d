//! aril's own: compiled seccomp filters are kept below the state root for later containers.
//!
//! Whether a filter was kept or compiled a container cannot tell. What tells is a file that the test puts there: in form it is right, and its filter is that of
//! another profile. It is used where it is the caller's own, and by that every test here can fail.

use crate::support::*;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

pub const TESTS: &[Test] = suite![
    the_second_container_has_the_same_filter,
    what_was_kept_is_used: [Need::Runtime("aril")],
    a_changed_profile_takes_effect_at_once,
    what_is_not_the_callers_alone_is_not_used: [Need::Runtime("aril")],
    what_is_no_file_is_not_used: [Need::Runtime("aril")],
    what_is_damaged_is_not_used: [Need::Runtime("aril")],
    a_directory_of_others_gets_nothing: [Need::Runtime("aril")],
    without_a_place_to_keep_them_containers_run: [Need::Runtime("aril")],
    no_command_takes_it_for_a_container: [Need::Runtime("aril")],
    explain_keeps_nothing: [Need::Runtime("aril")],
    containers_at_once: [Need::Runtime("aril")],
    no_more_than_64_are_kept: [Need::Runtime("aril")],
    a_profile_that_warns_does_so_each_time: [Need::Runtime("aril")],
    a_program_in_an_annotation_is_not_mixed_up: [Need::Runtime("aril")],
    for_a_user: [Need::Runtime("aril"), Need::Userns, Need::Program("setpriv")],
];

/// What getppid(2) answers, and how it is said.
const ANSWERS: [(i32, &str); 2] = [(13, "Permission denied\n"), (12, "Cannot allocate memory\n")];

fn profile(errno: i32) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno}]})
}

fn bundle(t: &Case, profile: Value) -> Bundle {
    let b = t.bundle();
    b.args(&["probe", "getppid"]);
    b.edit(|c| c["linux"]["seccomp"] = profile);
    b
}

/// Runs a container with the first of the two profiles: what getppid(2) says in it.
fn said(t: &Case) -> String {
    t.run(&bundle(t, profile(ANSWERS[0].0))).ok().to_owned()
}

fn directory(t: &Case) -> PathBuf {
    t.state_root().join(".seccomp")
}

/// The files that are kept, with what is in them.
fn kept(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Keeps the filters of both profiles: the file of the first, what is in it, and what it would be with the filter of the second.
fn grafted(t: &Case) -> (PathBuf, Vec<u8>, Vec<u8>) {
    let _ = fs::remove_dir_all(directory(t));
    for (errno, text) in ANSWERS {
        assert_eq!(t.run(&bundle(t, profile(errno))).ok(), text);
    }
    let files = kept(&directory(t));
    assert_eq!(files.len(), 2);
    let of = |errno: i32| {
        let named = format!("\"errnoRet\":{errno}");
        let found = files.iter().find(|(_, bytes)| String::from_utf8_lossy(bytes).contains(&named));
        found.map(|(path, bytes)| (path.clone(), bytes.clone())).unwrap_or_else(|| panic!("no file has {named}"))
    };
    let parts = |bytes: &[u8]| {
        let end = bytes.iter().position(|byte| *byte == b'\n').expect("a line says what it is") + 1;
        (bytes[..end].to_vec(), bytes[end..].to_vec())
    };
    let ((path, own), (_, other)) = (of(ANSWERS[0].0), of(ANSWERS[1].0));
    let graft = [parts(&own).0, parts(&other).1].concat();
    write(&path, &graft);
    (path, own, graft)
}

/// The file is not used, and is the right one again after the next container. `what` was done to it.
fn is_replaced(t: &Case, path: &Path, own: &[u8], what: &str) {
    assert_eq!(said(t), ANSWERS[0].1, "{what}");
    let found = fs::symlink_metadata(path).unwrap();
    assert!(found.is_file() && found.uid() == 0 && found.mode() & 0o7777 == 0o600 && found.nlink() == 1, "{what}: {found:?}");
    assert_eq!(fs::read(path).unwrap(), own, "{what}");
}

fn the_second_container_has_the_same_filter(t: &Case) {
    let args = json!([{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]);
    let rules = json!([{"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13, "args": args}, {"names": ["getppid"], "action": "SCMP_ACT_ERRNO"}]);
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
    for _ in 0..3 {
        let b = t.bundle_sh("probe personality-set 8; probe personality-set 0; probe getppid; sleep 1000");
        b.edit(|c| c["linux"]["seccomp"] = profile.clone());
        let container = t.started(&b);
        let script = "probe personality-set 8; probe personality-set 0; probe getppid; grep Seccomp: /proc/1/status";
        let output = container.call("exec", &[], &["sh", "-c", script]).run();
        assert_eq!(output.ok(), "Permission denied\nok\nOperation not permitted\nSeccomp:\t2\n");
    }
}

fn what_was_kept_is_used(t: &Case) {
    let (path, _, graft) = grafted(t);
    for _ in 0..2 {
        assert_eq!(said(t), ANSWERS[1].1);
        assert_eq!(fs::read(&path).unwrap(), graft);
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!((mode(&path), mode(&directory(t))), (0o600, 0o700));
}

fn a_changed_profile_takes_effect_at_once(t: &Case) {
    let b = bundle(t, profile(13));
    for (change, text) in [
        (profile(13), "Permission denied\n"),
        (profile(12), "Cannot allocate memory\n"),
        (profile(13), "Permission denied\n"),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getuid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]}),
            "ok\n",
        ),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getppid"], "action": "SCMP_ACT_LOG"}]}), "ok\n"),
        (json!({"defaultAction": "SCMP_ACT_ALLOW"}), "ok\n"),
    ] {
        b.edit(|c| c["linux"]["seccomp"] = change);
        assert_eq!(t.run(&b).ok(), text);
    }
}

fn what_is_not_the_callers_alone_is_not_used(t: &Case) {
    type Spoil = fn(&Case, &Path);
    let spoils: [(&str, Spoil); 6] = [
        ("another user's", |_, path| chown(path, Some(1000), None).unwrap()),
        ("its group may write", |_, path| fs::set_permissions(path, fs::Permissions::from_mode(0o620)).unwrap()),
        ("all may write", |_, path| fs::set_permissions(path, fs::Permissions::from_mode(0o602)).unwrap()),
        ("all may read", |_, path| fs::set_permissions(path, fs::Permissions::from_mode(0o604)).unwrap()),
        ("it has another name", |t, path| fs::hard_link(path, t.path("second")).unwrap()),
        ("it is a link", |t, path| {
            fs::rename(path, t.path("third")).unwrap();
            symlink(t.path("third"), path).unwrap();
        }),
    ];
    for (what, spoil) in spoils {
        let (path, own, _) = grafted(t);
        spoil(t, &path);
        is_replaced(t, &path, &own, what);
    }
}

fn what_is_no_file_is_not_used(t: &Case) {
    let (path, own, _) = grafted(t);
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    is_replaced(t, &path, &own, "a fifo");
    // A directory cannot be replaced; nothing depends on it.
    fs::remove_file(&path).unwrap();
    fs::create_dir_all(path.join("x")).unwrap();
    assert_eq!(said(t), ANSWERS[0].1);
    fs::remove_dir_all(&path).unwrap();
    is_replaced(t, &path, &own, "nothing");
}

fn what_is_damaged_is_not_used(t: &Case) {
    let (path, own, graft) = grafted(t);
    let flipped = |at: usize| {
        let mut bytes = graft.clone();
        bytes[at] ^= 1;
        bytes
    };
    let (_, program) = own.split_at(own.iter().position(|byte| *byte == b'\n').unwrap() + 1);
    let other = String::from_utf8_lossy(&own[..own.len() - program.len()]).replace("\"errnoRet\":13", "\"errnoRet\":12").into_bytes();
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("cut off", graft[..graft.len() - 8].to_vec()),
        ("cut off within the text", graft[..40].to_vec()),
        ("longer", [&graft[..], &[0; 8]].concat()),
        ("much longer", [graft.clone(), vec![0; 1 << 20]].concat()),
        ("a bit of the program", flipped(graft.len() - 1)),
        ("a bit of the flags", flipped(graft.len() - program.len() + 4)),
        ("a bit of the text", flipped(10)),
        ("another profile's", [&other, program].concat()),
    ] {
        write(&path, bytes);
        is_replaced(t, &path, &own, what);
    }
}

fn a_directory_of_others_gets_nothing(t: &Case) {
    let dir = directory(t);
    let canary = t.mkdir("canary");
    let of_others: [(&str, &dyn Fn()); 3] = [
        ("others may write", &|| fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap()),
        ("another user's", &|| chown(&dir, Some(1000), Some(1000)).unwrap()),
        ("it is a link", &|| {
            fs::remove_dir(&dir).unwrap();
            symlink(&canary, &dir).unwrap();
        }),
    ];
    for (what, spoil) in of_others {
        fs::create_dir_all(&dir).unwrap();
        spoil();
        assert_eq!(said(t), ANSWERS[0].1, "{what}");
        assert!(kept(&dir).is_empty() && kept(&canary).is_empty(), "{what}");
        fs::remove_dir(&dir).or_else(|_| fs::remove_file(&dir)).unwrap();
    }
}

fn without_a_place_to_keep_them_containers_run(t: &Case) {
    let dir = directory(t);
    write(&dir, "a file");
    let log = t.path("log");
    let globals = ["--log", log.to_str().unwrap(), "--log-level", "debug"];
    let b = bundle(t, profile(13));
    let output = t.run_call(&[], &b).globals(globals).run();
    assert_eq!((output.ok(), output.stderr.as_str()), (ANSWERS[0].1, ""));
    assert_has(
        &read(&log),
        "level=debug msg=\"cannot keep the seccomp filter for later containers: openat \\\".seccomp\\\": not a directory\"",
    );
    assert_eq!(read(&dir), "a file");
    fs::remove_file(&dir).unwrap();
    // Where nothing can be written, and nothing be written to disk.
    fs::create_dir(&dir).unwrap();
    for (options, flags) in [("mode=700,nr_inodes=1", rustix::mount::MountFlags::empty()), ("mode=700", rustix::mount::MountFlags::RDONLY)]
    {
        let options = std::ffi::CString::new(options).unwrap();
        rustix::mount::mount("tmpfs", &dir, "tmpfs", flags, options.as_c_str()).unwrap();
        let outputs = [t.run_call(&[], &b).globals(globals).run(), t.run(&b)];
        rustix::mount::unmount(&dir, rustix::mount::UnmountFlags::DETACH).unwrap();
        for output in outputs {
            assert_eq!((output.ok(), output.stderr.as_str()), (ANSWERS[0].1, ""));
        }
    }
    let log = read(&log);
    assert_has(&log, "no space left on device");
    assert_has(&log, "read-only file system");
    assert!(kept(&dir).is_empty());
}

fn no_command_takes_it_for_a_container(t: &Case) {
    assert_eq!(said(t), ANSWERS[0].1);
    let files = kept(&directory(t));
    assert_eq!(files.len(), 1);
    assert_eq!(t.rt(&["list", "--quiet"]).run().ok(), "");
    assert_eq!(t.rt(&["list", "--format", "json"]).run().json(), json!([]));
    t.rt(&["delete", "--force", "--regex", ".*"]).run().ok();
    t.rt(&["delete", "--force", "--regex", "seccomp"]).run().ok();
    for command in [&["state", ".seccomp"][..], &["delete", "--force", ".seccomp"], &["kill", ".seccomp", "KILL"], &["start", ".seccomp"]] {
        assert_has(t.rt(command).run().refused(), "invalid container id");
    }
    assert_eq!(kept(&directory(t)), files);
}

fn explain_keeps_nothing(t: &Case) {
    let b = bundle(t, profile(13));
    let explain = || t.rt(&["explain", "--format", "json", "--bundle", b.dir().to_str().unwrap(), b.id()]).run().json();
    let before = explain();
    assert!(!present(directory(t)));
    t.run(&b).ok();
    assert_eq!(explain(), before, "with what was kept it says the same");
}

fn containers_at_once(t: &Case) {
    let bundles: Vec<_> = (0..12).map(|n| (n % 2, bundle(t, profile(ANSWERS[n % 2].0)))).collect();
    for round in 0..3 {
        let running: Vec<_> = bundles
            .iter()
            .map(|(which, b)| {
                let output = t.scratch();
                let stdout = Stdio::from(output.try_clone().unwrap());
                (which, output, t.run_call(&[], b).spawn(Stdio::null(), stdout, Stdio::inherit()))
            })
            .collect();
        for (which, mut output, mut child) in running {
            let status = runtime::wait(&mut child, patience());
            assert!(status.is_some_and(|status| status.success()), "{status:?}");
            let mut text = String::new();
            output.rewind().and_then(|()| output.read_to_string(&mut text)).unwrap();
            assert_eq!(text, ANSWERS[*which].1);
        }
        assert_eq!(kept(&directory(t)).len(), 2, "round {round}");
    }
}

fn no_more_than_64_are_kept(t: &Case) {
    fs::create_dir(directory(t)).unwrap();
    fs::set_permissions(directory(t), fs::Permissions::from_mode(0o700)).unwrap();
    let file = |n: u64| directory(t).join(format!("{n:016x}"));
    for n in 0..70_u64 {
        write(file(n), "");
        // The later its number the older it is.
        let time = SystemTime::now() - Duration::from_secs(60 + n);
        fs::File::options().write(true).open(file(n)).unwrap().set_modified(time).unwrap();
    }
    assert_eq!(said(t), ANSWERS[0].1);
    let left: Vec<u64> = (0..70).filter(|n| present(file(*n))).collect();
    assert_eq!(left, (0..63).collect::<Vec<_>>());
    assert_eq!(kept(&directory(t)).len(), 64);
    // What is used is not counted again.
    assert_eq!(said(t), ANSWERS[0].1);
    assert_eq!(kept(&directory(t)).len(), 64);
}

fn a_profile_that_warns_does_so_each_time(t: &Case) {
    let mut profile = profile(13);
    profile["flags"] = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
    let b = bundle(t, profile);
    for _ in 0..2 {
        let output = t.run(&b);
        assert_eq!(output.ok(), ANSWERS[0].1);
        assert_has(&output.stderr, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is without effect");
    }
    assert!(kept(&directory(t)).is_empty());
}

fn a_program_in_an_annotation_is_not_mixed_up(t: &Case) {
    let b = bundle(t, profile(13));
    assert_eq!(t.run(&b).ok(), ANSWERS[0].1);
    // One instruction: all is allowed.
    b.edit(|c| c["annotations"]["run.oci.seccomp_bpf_data"] = json!("BgAAAAAA/38="));
    assert_eq!(t.run(&b).ok(), "ok\n");
    b.edit(|c| drop(c["annotations"].as_object_mut().unwrap().remove("run.oci.seccomp_bpf_data")));
    assert_eq!(t.run(&b).ok(), ANSWERS[0].1);
    assert_eq!(kept(&directory(t)).len(), 1);
}

/// Who is not root has a state root of its own, and what is kept there.
fn for_a_user(t: &Case) {
    let b = bundle(t, profile(13));
    crate::inside::rootless(&b);
    let state = crate::inside::given_to_nobody(t, &b);
    let words = ["run", "--bundle", b.dir().to_str().unwrap(), "inner"];
    let script = "exec setpriv --reuid=65534 --regid=65534 --clear-groups unshare --user --map-root-user --mount \"$@\"";
    let run = || t.rt(&words).without_root().globals(["--root", state.as_str()]).shell(script).run().ok().to_owned();
    assert_eq!(run(), ANSWERS[0].1);
    let dir = Path::new(&state).join(".seccomp");
    let files = kept(&dir);
    let (path, bytes) = files.first_key_value().expect("it is kept");
    assert_eq!(fs::metadata(path).unwrap().uid(), 65534);
    assert_eq!(run(), ANSWERS[0].1);
    assert_eq!(kept(&dir), files);
    // Another user's file is not this one's.
    chown(path, Some(1000), None).unwrap();
    assert_eq!(run(), ANSWERS[0].1);
    assert_eq!((fs::metadata(path).unwrap().uid(), fs::read(path).unwrap()), (65534, bytes.clone()));
}
