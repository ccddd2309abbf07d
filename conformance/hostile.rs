//! What an image, a container, or another user of the machine leaves in the runtime's way, besides the published attacks (security.rs).

use crate::support::*;
use rustix::fs::inotify;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

pub const TESTS: &[Test] = suite![
    cgroups_of_any_name_go_with_the_container,
    cgroups_nested_deeper_than_descriptors_go_with_the_container,
    a_link_whose_name_begins_like_proc_leads_not_into_it,
    a_bind_mount_that_says_it_is_a_procfs,
    more_mounts_than_there_are_slots: [Need::Runtime("aril")],
    passwd_as_a_device_is_not_opened_for_exec,
    ptmx_as_a_device_is_not_opened: [Need::Runtime("aril")],
    a_mask_is_the_null_device_for_unprivileged_callers_too: [Need::Userns, Need::Runtime("aril")],
    hooks_of_delete_get_no_descriptor_of_its_caller,
    a_fifo_in_another_users_state_root: [Need::Runtime("aril")],
    a_device_that_the_host_has_by_another_number: [Need::Userns, Need::Runtime("aril")],
    hooks_in_the_container_read_annotations_of_any_length,
];

/// The cgroup in which the container's process is, with room for more of them.
fn cgroup(t: &Case, b: &Bundle) -> PathBuf {
    t.environment.cgroup("pids", &format!("{}/{}", t.cgroup(), b.id()))
}

fn cgroups_of_any_name_go_with_the_container(t: &Case) {
    let b = t.bundle_sh("trap : TERM; sleep 300 & wait; wait; sleep 300");
    let c = t.started(&b);
    // Any byte but a newline is fine with the kernel, and text is not asked for.
    let strange = cgroup(t, &b).join(OsStr::from_bytes(b"in \xff"));
    fs::create_dir_all(strange.join("inner")).unwrap();
    let sleep = eventually("it sleeps", || read(cgroup(t, &b).join("cgroup.procs")).lines().nth(1).map(str::to_owned));
    write(strange.join("inner/cgroup.procs"), &sleep);
    let listed = c.call("ps", &["--format", "json"], &[]).run().json();
    assert!(listed.as_array().unwrap().iter().any(|pid| *pid == json!(sleep.parse::<i32>().unwrap())), "{sleep} is not in {listed}");
    c.call("kill", &["--all"], &["TERM"]).run().ok();
    eventually("it has the signal", || (!present(format!("/proc/{sleep}"))).then_some(()));
    c.delete_force().ok();
    assert!(!present(cgroup(t, &b)));
}

fn cgroups_nested_deeper_than_descriptors_go_with_the_container(t: &Case) {
    let b = t.bundle();
    let c = t.started(&b);
    fs::create_dir_all((0..100).fold(cgroup(t, &b), |path, _| path.join("d"))).unwrap();
    c.call("delete", &["--force"], &[]).shell("ulimit -n 64; exec \"$@\"").run().ok();
    assert!(!present(cgroup(t, &b)));
}

/// CVE-2019-16884 by way of a link: which places in /proc may be covered is decided by their names.
fn a_link_whose_name_begins_like_proc_leads_not_into_it(t: &Case) {
    for (link, to, destination) in [("/process", "/proc/sys", "/process/kernel"), ("/net", "/proc/sys/net", "/proc/../net")] {
        let b = t.bundle_sh("grep -E ' /proc/sys/(kernel|net) ' /proc/mounts");
        symlink(to, b.root(link)).unwrap();
        b.mount(json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"}));
        assert_eq!(t.run(&b).stdout, "", "{destination}");
    }
}

fn a_bind_mount_that_says_it_is_a_procfs(t: &Case) {
    let b = t.bundle_sh("cat /proc/planted");
    b.unmount("/proc");
    let evil = t.mkdir("evil");
    write(evil.join("planted"), "planted");
    b.edit(|c| {
        let procfs = json!({"destination": "/proc", "type": "proc", "source": evil, "options": ["bind"]});
        c["mounts"].as_array_mut().unwrap().insert(0, procfs);
    });
    assert_lacks(&t.run(&b).stdout, "planted");
}

fn more_mounts_than_there_are_slots(t: &Case) {
    let b = t.bundle();
    b.edit(|c| {
        let tmpfs = json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"});
        c["mounts"].as_array_mut().unwrap().extend(std::iter::repeat_n(tmpfs, 17_000));
    });
    assert_has(&t.refused(&b), "more mounts and devices than aril can make of one container (/mounts)");
}

/// Tells whether a file is opened from now on; a path alone (`O_PATH`) does not count.
struct Watch(OwnedFd);

impl Watch {
    fn of(path: &Path) -> Watch {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&watch, path, inotify::WatchFlags::OPEN).unwrap();
        Watch(watch)
    }

    fn opened(&self) -> bool {
        rustix::io::read(&self.0, &mut [0; 512]).is_ok()
    }
}

/// A device node of the kernel's log in the place of a file. Instead of it there may be one that does something when it is opened: a watchdog, a tape.
fn plant_device(path: &Path) {
    let _ = fs::remove_file(path);
    assert!(Command::new("mknod").arg(path).args(["-m", "644", "c", "1", "11"]).status().unwrap().success());
}

/// The container's processes may make devices, and not open them; the runtime may, and must not do so in their place.
fn passwd_as_a_device_is_not_opened_for_exec(t: &Case) {
    let b = t.bundle();
    let c = t.started(&b);
    plant_device(&b.root("/etc/passwd"));
    let watch = Watch::of(&b.root("/etc/passwd"));
    let output = c.call("exec", &[], &["sh", "-c", "echo $HOME"]).run();
    assert!(!watch.opened());
    assert_eq!(output.stdout, "/\n", "{}", output.stderr);
}

fn ptmx_as_a_device_is_not_opened(t: &Case) {
    let socket = socket::Console::listen(&t.path("console.sock"));
    let b = t.bundle();
    b.edit(|c| c["process"]["terminal"] = json!(true));
    // With every device allowed it would be opened.
    b.edit(|c| c["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]));
    for at in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
        b.unmount(at);
    }
    fs::create_dir(b.root("/dev/pts")).unwrap();
    plant_device(&b.root("/dev/pts/ptmx"));
    let watch = Watch::of(&b.root("/dev/pts/ptmx"));
    let _guard = Container::of(t, &b);
    let output = t.create_call(&["--console-socket", socket.path.to_str().unwrap()], &b).run();
    assert!(!watch.opened());
    assert_has(output.refused(), "cannot make the terminal (/process/terminal)");
}

/// CVE-2025-31133. The runtime of a user who may not mount the machine's null device takes that of the container's /dev.
fn a_mask_is_the_null_device_for_unprivileged_callers_too(t: &Case) {
    const USER: u32 = 4321;
    let b = t.bundle_sh("cat /proc/timer_list");
    b.userns(USER, 1).leave_namespace("network");
    b.edit(|c| {
        c["linux"].as_object_mut().unwrap().retain(|key, _| !matches!(key.as_str(), "cgroupsPath" | "resources"));
        c["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] == "/proc");
        c["linux"]["maskedPaths"] = json!(["/proc/timer_list"]);
    });
    let volume = t.mkdir("volume");
    symlink("/proc/sys/kernel/core_pattern", volume.join("null")).unwrap();
    b.bind(&volume, "/dev", &["rbind"]);
    let own = t.mkdir("own");
    std::os::unix::fs::chown(&own, Some(USER), Some(USER)).unwrap();
    for dir in [t.dir(), &t.path("")] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let globals = ["--root".to_owned(), own.join("root").display().to_string()];
    let run = || t.run_call(&[], &b).without_root().globals(globals.clone()).user(USER).run();
    let output = run();
    assert_eq!(output.stdout, "");
    assert_has(output.refused(), "cannot mask /proc/timer_list (/linux/maskedPaths/0)");
    assert_has(&output.stderr, "/dev/null in the root file system is not the null device");
    // What it is refused for is nothing else.
    b.unmount("/dev");
    assert_eq!(run().ok(), "");
}

fn hooks_of_delete_get_no_descriptor_of_its_caller(t: &Case) {
    let b = t.bundle();
    let seen = t.path("seen");
    b.hook_sh("poststop", &format!("ls -l /proc/self/fd > {}", seen.display()));
    let c = t.started(&b);
    let secret = t.path("secret");
    write(&secret, "");
    c.call("delete", &["--force"], &[]).shell(format!("exec 9< {}; exec \"$@\"", secret.display())).run().ok();
    assert_lacks(&read(seen), "secret");
}

/// `list` and `state` look at containers of others, too.
fn a_fifo_in_another_users_state_root(t: &Case) {
    let root = t.mkdir("theirs");
    for file in ["record", "state.json"] {
        fs::create_dir_all(root.join(file)).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, root.join(file).join(file), 0o666.into()).unwrap();
    }
    let globals = ["--root".to_owned(), root.display().to_string()];
    for words in [&["list"][..], &["state", "record"], &["state", "state.json"]] {
        // It is of no use, and holds nobody up.
        let _ = t.rt(words).without_root().globals(globals.clone()).run();
    }
}

/// In a user namespace the host's node is bound; what the host has there need not be what was asked for.
fn a_device_that_the_host_has_by_another_number(t: &Case) {
    let zero = |minor: u32| json!([{"path": "/dev/zero", "type": "c", "major": 1, "minor": minor}]);
    let b = t.bundle_sh("probe rdev /dev/zero");
    b.userns(100_000, 65536).edit(|c| c["linux"]["devices"] = zero(11));
    assert_has(&t.refused(&b), "cannot make the device /dev/zero (/linux/devices/0)");
    b.edit(|c| c["linux"]["devices"] = zero(5));
    assert_has(t.run(&b).ok(), "1:5");
}

fn hooks_in_the_container_read_annotations_of_any_length(t: &Case) {
    let b = t.bundle_sh("true");
    b.hook_sh("createContainer", &format!("wc -c > {}", t.path("length").display()));
    b.edit(|c| c["annotations"] = json!({"long": "x".repeat(2 << 20)}));
    t.run(&b).ok();
    assert!(read(t.path("length")).trim().parse::<usize>().unwrap() > 2 << 20);
}
