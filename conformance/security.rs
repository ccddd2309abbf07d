//! Published attacks on container runtimes, as far as create, start and run go, each with what has to come of it.
//!
//! A hostile path always leads to a canary of the test, never to anything of the machine; after each the canary is as it was.

use crate::support::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

pub const TESTS: &[Test] = suite![
    dev_is_a_symbolic_link_out,
    dev_is_a_symbolic_link_out_without_a_mount,
    dev_is_a_relative_symbolic_link_out,
    dev_is_a_chain_of_links_through_a_volume,
    dev_null_of_the_image_is_a_link_out,
    dev_null_of_the_image_is_a_link_out_and_stdio_is_files,
    dev_null_of_the_image_is_another_device,
    dev_null_of_the_image_is_a_fifo,
    dev_null_of_the_image_is_a_file,
    dev_ptmx_of_the_image_is_a_link_out,
    dev_pts_of_the_image_is_a_link_out,
    dev_console_of_the_image_is_a_link_out,
    dev_console_of_the_image_is_a_dangling_link_out,
    dev_console_of_the_image_is_a_directory,
    dev_console_with_a_readonly_root,
    proc_is_a_symbolic_link_out,
    proc_is_a_symbolic_link_inside,
    proc_is_a_file,
    sys_is_a_symbolic_link_out,
    sys_is_a_symbolic_link_to_proc,
    proc_of_a_volume_is_a_symbolic_link,
    a_volume_over_proc_is_refused,
    a_tmpfs_over_proc_is_refused,
    a_volume_under_proc_self_is_refused,
    a_volume_over_proc_sys_is_refused,
    a_file_under_proc_as_lxcfs_gives_it,
    mounts_through_links_stay_inside,
    a_file_mount_through_a_link_stays_inside,
    a_mount_on_a_dangling_link_makes_nothing_outside,
    a_mount_below_a_link_makes_no_directories_outside,
    a_cwd_that_is_a_link_out_stays_inside,
    cwd_through_a_leaked_descriptor,
    cwd_through_a_link_to_a_leaked_descriptor,
    args_through_a_leaked_descriptor,
    args_is_proc_self_exe,
    args_is_a_script_of_proc_self_exe,
    the_runtimes_binary_is_as_it_was,
    the_runtimes_binary_is_not_writable_from_created,
    the_executor_is_a_sealed_memory_file: [Need::Runtime("aril")],
    masked_path_whose_source_is_a_link,
    masked_proc_through_a_link_of_the_image,
    tmpcopyup_follows_no_link_out,
    devices_are_made_through_no_link,
    device_over_a_link_of_the_image,
    the_environment_of_the_runtime_is_not_readable,
    the_container_cannot_see_the_state_root,
    directories_of_the_host_are_closed_in_created,
    stdin_that_is_the_hosts_null_device_keeps_its_owner,
    stdin_that_is_a_file_keeps_its_owner,
    sysctl_that_writes_elsewhere_is_refused,
    cgroup_mount_without_a_namespace_cannot_be_written,
    a_symbolic_link_as_root,
    a_root_below_a_link_of_the_bundle,
    a_hard_link_planted_at_dev_console,
    passwd_as_a_device_is_not_read,
    setuid_bits_of_the_image_do_not_help_without_privileges,
    the_host_is_not_reachable_by_proc_1_root,
    the_parents_of_the_root_are_not_reachable_by_a_held_directory,
    kernel_files_cannot_be_written,
    the_keyring_of_the_host_is_out_of_reach,
    a_container_cannot_signal_the_host,
    the_state_root_must_not_be_a_link: [Need::Runtime("aril")],
    ids_that_look_like_options,
    long_strings_everywhere,
    no_files_appear_in_the_hosts_root,
    limits_of_the_runtime_itself_are_not_inherited,
    an_unprivileged_caller_is_refused_with_its_reason,
];

/// A directory outside of every container: a file, a device-like name, and a hash of all of it.
struct Canary {
    dir: PathBuf,
    before: Vec<String>,
}

impl Canary {
    fn new(t: &Case) -> Self {
        let dir = t.mkdir("canary");
        for name in ["secret", "ptmx", "null", "console", "fd", "stdin"] {
            write(dir.join(name), format!("canary {name}"));
        }
        fs::create_dir(dir.join("pts")).unwrap();
        fs::create_dir(dir.join("shm")).unwrap();
        let before = snapshot(&dir);
        Self { dir, before }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    #[track_caller]
    fn check(&self) {
        assert_eq!(snapshot(&self.dir), self.before, "the canary changed");
    }
}

/// Every entry below a directory with its mode, owner, device and content.
fn snapshot(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_file() { read(&path) } else { String::new() };
        all.push(format!("{} {:o} {}:{} {} {content}", path.display(), meta.mode(), meta.uid(), meta.gid(), meta.rdev()));
        if meta.is_dir() {
            all.extend(snapshot(&path));
        }
    }
    all
}

/// Without the mount at /dev and those below, so that the runtime works on the image's own.
fn no_dev_mounts(b: &Bundle) {
    for at in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
        b.unmount(at);
    }
}

fn replace_by_link(b: &Bundle, path: &str, to: &Path) {
    let at = b.root(path);
    let _ = fs::remove_dir(&at).or_else(|_| fs::remove_file(&at));
    symlink(to, at).unwrap();
}

/// Runs the bundle; it may run safely or be refused with its reason, and the canary is as it was.
#[track_caller]
fn harmless(t: &Case, b: &Bundle, canary: &Canary) -> Output {
    let output = t.run(b);
    canary.check();
    assert!(output.code() == 0 || !output.stderr.trim().is_empty(), "refused without a word");
    output
}

/// CVE-2026-41579, CVE-2026-47766.
fn dev_is_a_symbolic_link_out(t: &Case) {
    let (b, canary) = (t.bundle_sh("true"), Canary::new(t));
    replace_by_link(&b, "/dev", &canary.dir);
    harmless(t, &b, &canary);
}

fn dev_is_a_symbolic_link_out_without_a_mount(t: &Case) {
    let (b, canary) = (t.bundle_sh("true"), Canary::new(t));
    replace_by_link(&b, "/dev", &canary.dir);
    no_dev_mounts(&b);
    harmless(t, &b, &canary);
}

fn dev_is_a_relative_symbolic_link_out(t: &Case) {
    let (b, canary) = (t.bundle_sh("true"), Canary::new(t));
    let up = format!("{}{}", "../".repeat(12), canary.dir.display().to_string().trim_start_matches('/'));
    replace_by_link(&b, "/dev", Path::new(&up));
    no_dev_mounts(&b);
    harmless(t, &b, &canary);
}

fn dev_is_a_chain_of_links_through_a_volume(t: &Case) {
    let (b, canary) = (t.bundle_sh("true"), Canary::new(t));
    let volume = t.mkdir("volume");
    symlink(&canary.dir, volume.join("dev")).unwrap();
    replace_by_link(&b, "/dev", Path::new("/mnt/dev"));
    no_dev_mounts(&b);
    b.edit(|c| {
        c["mounts"]
            .as_array_mut()
            .unwrap()
            .insert(1, json!({"destination": "/mnt", "type": "bind", "source": volume, "options": ["rbind"]}))
    });
    harmless(t, &b, &canary);
}

fn dev_null_of_the_image_is_a_link_out(t: &Case) {
    let (b, canary) = (t.bundle_sh("echo hello > /dev/null"), Canary::new(t));
    no_dev_mounts(&b);
    symlink(canary.path("null"), b.root("/dev/null")).unwrap();
    harmless(t, &b, &canary);
}

/// CVE-2026-88265: a comparison of device numbers alone takes any regular file for the null device, and then changes its owner.
fn dev_null_of_the_image_is_a_link_out_and_stdio_is_files(t: &Case) {
    let (b, canary) = (t.bundle_sh("true"), Canary::new(t));
    no_dev_mounts(&b);
    b.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    symlink(canary.path("null"), b.root("/dev/null")).unwrap();
    let _guard = Container::of(t, &b);
    let input = t.path("input");
    write(&input, "input");
    let mut run = t.run_call(&[], &b).spawn(fs::File::open(&input).unwrap().into(), t.scratch().into(), t.scratch().into());
    runtime::wait(&mut run, patience()).expect("run ends");
    canary.check();
    assert_eq!(fs::metadata(&input).unwrap().uid(), 0);
}

/// CVE-2025-31133: what a masked file shows must be the true null device.
fn masks_with_null(t: &Case, plant: impl FnOnce(&Bundle)) {
    let canary = Canary::new(t);
    let b = t.bundle_sh("probe rdev /secret; test -f /secret && head -c 100 /secret; true");
    no_dev_mounts(&b);
    write(b.root("/secret"), "secret of the image");
    plant(&b);
    b.edit(|c| c["linux"]["maskedPaths"] = json!(["/secret"]));
    let output = harmless(t, &b, &canary);
    if output.code() == 0 {
        assert_has(&output.stdout, "c 1:3 ");
        assert_lacks(&output.stdout, "secret of the image");
    }
}

fn dev_null_of_the_image_is_another_device(t: &Case) {
    masks_with_null(t, |b| {
        let made = std::process::Command::new("mknod").arg(b.root("/dev/null")).args(["c", "1", "5"]).status().unwrap();
        assert!(made.success());
    });
}

fn dev_null_of_the_image_is_a_fifo(t: &Case) {
    masks_with_null(t, |b| {
        let made = std::process::Command::new("mkfifo").arg(b.root("/dev/null")).status().unwrap();
        assert!(made.success());
    });
}

fn dev_null_of_the_image_is_a_file(t: &Case) {
    masks_with_null(t, |b| write(b.root("/dev/null"), "no device"));
}

fn masked_path_whose_source_is_a_link(t: &Case) {
    let target = t.path("target");
    write(&target, "target");
    masks_with_null(t, |b| symlink(&target, b.root("/dev/null")).unwrap());
    assert_eq!(read(&target), "target");
}

fn dev_ptmx_of_the_image_is_a_link_out(t: &Case) {
    let (b, canary) = (t.bundle_sh("true"), Canary::new(t));
    no_dev_mounts(&b);
    symlink(canary.path("ptmx"), b.root("/dev/ptmx")).unwrap();
    harmless(t, &b, &canary);
}

fn dev_pts_of_the_image_is_a_link_out(t: &Case) {
    let (b, canary) = (t.bundle_sh("true"), Canary::new(t));
    b.unmount("/dev");
    symlink(canary.path("pts"), b.root("/dev/pts")).unwrap();
    harmless(t, &b, &canary);
    assert_lacks(&read("/proc/self/mountinfo"), canary.dir.to_str().unwrap());
}

/// A terminal, with /dev of the image.
fn console(t: &Case, canary: &Canary, plant: impl FnOnce(&Bundle)) -> (Output, Bundle) {
    let socket = socket::Console::listen(&t.path("console.sock"));
    let b = t.bundle_sh("probe rdev /dev/console > /result 2>&1");
    b.edit(|c| c["process"]["terminal"] = json!(true));
    for at in ["/dev", "/dev/shm", "/dev/mqueue"] {
        b.unmount(at);
    }
    plant(&b);
    let _guard = Container::of(t, &b);
    let output = t.run_call(&["--detach", "--console-socket", socket.path.to_str().unwrap()], &b).run();
    canary.check();
    (output, b)
}

/// CVE-2025-52565.
fn dev_console_of_the_image_is_a_link_out(t: &Case) {
    let canary = Canary::new(t);
    let (output, _) = console(t, &canary, |b| symlink(canary.path("console"), b.root("/dev/console")).unwrap());
    assert!(output.code() == 0 || !output.stderr.is_empty());
}

/// CVE-2026-88264.
fn dev_console_of_the_image_is_a_dangling_link_out(t: &Case) {
    let canary = Canary::new(t);
    console(t, &canary, |b| symlink(canary.path("new"), b.root("/dev/console")).unwrap());
    assert!(!present(canary.path("new")));
}

fn dev_console_of_the_image_is_a_directory(t: &Case) {
    let canary = Canary::new(t);
    let (output, _) = console(t, &canary, |b| fs::create_dir(b.root("/dev/console")).unwrap());
    assert!(output.code() == 0 || !output.stderr.is_empty());
}

fn dev_console_with_a_readonly_root(t: &Case) {
    let canary = Canary::new(t);
    let (output, _) = console(t, &canary, |b| {
        symlink(canary.path("new"), b.root("/dev/console")).unwrap();
        b.edit(|c| c["root"]["readonly"] = json!(true));
    });
    assert!(output.code() == 0 || !output.stderr.is_empty());
    assert!(!present(canary.path("new")));
}

fn a_hard_link_planted_at_dev_console(t: &Case) {
    // The file behind it must not change: neither content nor owner.
    let canary = Canary::new(t);
    let (output, b) = console(t, &canary, |b| {
        write(b.root("/etc/victim"), "victim");
        fs::hard_link(b.root("/etc/victim"), b.root("/dev/console")).unwrap();
        b.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
        b.sh("true");
    });
    assert!(output.code() == 0 || !output.stderr.is_empty());
    assert_eq!(fs::metadata(b.root("/etc/victim")).unwrap().uid(), 0);
}

fn refused_or_inside(t: &Case, b: &Bundle, canary: &Canary) {
    let output = harmless(t, b, canary);
    assert_lacks(&read("/proc/self/mountinfo"), canary.dir.to_str().unwrap());
    if output.code() == 0 {
        assert_lacks(&output.stdout, "canary");
    }
}

/// CVE-2019-19921, CVE-2023-27561, CVE-2025-54867.
fn proc_is_a_symbolic_link_out(t: &Case) {
    let (b, canary) = (t.bundle_sh("cat /proc/secret 2>/dev/null; true"), Canary::new(t));
    replace_by_link(&b, "/proc", &canary.dir);
    refused_or_inside(t, &b, &canary);
}

fn proc_is_a_symbolic_link_inside(t: &Case) {
    let b = t.bundle();
    fs::create_dir(b.root("/elsewhere")).unwrap();
    replace_by_link(&b, "/proc", Path::new("/elsewhere"));
    t.refused(&b);
}

fn proc_is_a_file(t: &Case) {
    let b = t.bundle();
    fs::remove_dir(b.root("/proc")).unwrap();
    write(b.root("/proc"), "file");
    t.refused(&b);
}

fn sys_is_a_symbolic_link_out(t: &Case) {
    let (b, canary) = (t.bundle(), Canary::new(t));
    replace_by_link(&b, "/sys", &canary.dir);
    t.refused(&b);
    canary.check();
}

fn sys_is_a_symbolic_link_to_proc(t: &Case) {
    let b = t.bundle();
    replace_by_link(&b, "/sys", Path::new("/proc"));
    t.refused(&b);
}

/// CVE-2023-28642: the link is in a volume that the image's /proc leads to.
fn proc_of_a_volume_is_a_symbolic_link(t: &Case) {
    let (b, volume) = (t.bundle(), t.mkdir("volume"));
    fs::create_dir(volume.join("real")).unwrap();
    symlink("real", volume.join("proc")).unwrap();
    b.edit(|c| {
        c["mounts"][0]["destination"] = json!("/mnt/proc");
        c["mounts"]
            .as_array_mut()
            .unwrap()
            .insert(0, json!({"destination": "/mnt", "type": "bind", "source": volume, "options": ["rbind"]}));
        c["linux"]["maskedPaths"] = json!([]);
        c["linux"]["readonlyPaths"] = json!([]);
    });
    t.refused(&b);
}

/// CVE-2019-16884: an image's VOLUME.
fn a_volume_over_proc_is_refused(t: &Case) {
    let b = t.bundle();
    b.bind(&t.mkdir("volume"), "/proc", &["rbind"]);
    assert_has(&t.refused(&b), "/proc");
}

fn a_tmpfs_over_proc_is_refused(t: &Case) {
    let b = t.bundle();
    b.mount(json!({"destination": "/proc", "type": "tmpfs", "source": "tmpfs"}));
    assert_has(&t.refused(&b), "/proc");
}

fn a_volume_under_proc_self_is_refused(t: &Case) {
    let dir = t.mkdir("volume");
    write(dir.join("exec"), "");
    for (source, at) in [
        (dir.clone(), "/proc/self/attr"),
        (dir.clone(), "/proc/self"),
        (dir.join("exec"), "/proc/self/attr/exec"),
        (dir.clone(), "/proc/thread-self/attr"),
        (dir.clone(), "/proc/1"),
    ] {
        let b = t.bundle();
        b.bind(&source, at, &["rbind"]);
        t.refused(&b);
    }
}

fn a_volume_over_proc_sys_is_refused(t: &Case) {
    let dir = t.mkdir("volume");
    for at in ["/proc/sys", "/proc/sys/net", "/proc/sys/kernel"] {
        let b = t.bundle();
        b.bind(&dir, at, &["rbind"]);
        t.refused(&b);
    }
}

fn a_file_under_proc_as_lxcfs_gives_it(t: &Case) {
    let dir = t.mkdir("lxcfs");
    for name in ["meminfo", "cpuinfo", "stat", "uptime", "loadavg", "diskstats", "swaps"] {
        write(dir.join(name), format!("own {name}\n"));
        let out = t.sh(&format!("cat /proc/{name}"), |b| {
            b.bind(&dir.join(name), &format!("/proc/{name}"), &["rbind"]);
        });
        assert_eq!(out, format!("own {name}\n"));
    }
}

/// CVE-2019-18837 and the rest of the family.
fn mounts_through_links_stay_inside(t: &Case) {
    let (b, canary, volume) = (t.bundle_sh("ls /a/pts"), Canary::new(t), t.mkdir("volume"));
    write(volume.join("of-the-volume"), "");
    symlink(&canary.dir, b.root("/a")).unwrap();
    b.bind(&volume, "/a/pts", &["rbind"]);
    refused_or_inside(t, &b, &canary);
}

fn a_file_mount_through_a_link_stays_inside(t: &Case) {
    let (b, canary) = (t.bundle_sh("true"), Canary::new(t));
    write(t.path("hosts"), "hosts");
    symlink(canary.path("secret"), b.root("/etc/hosts")).unwrap();
    b.bind(&t.path("hosts"), "/etc/hosts", &["rbind"]);
    refused_or_inside(t, &b, &canary);
}

fn a_mount_on_a_dangling_link_makes_nothing_outside(t: &Case) {
    let (b, canary) = (t.bundle_sh("true"), Canary::new(t));
    write(t.path("hosts"), "hosts");
    symlink(canary.path("new"), b.root("/etc/hosts")).unwrap();
    b.bind(&t.path("hosts"), "/etc/hosts", &["rbind"]);
    refused_or_inside(t, &b, &canary);
}

/// CVE-2024-45310.
fn a_mount_below_a_link_makes_no_directories_outside(t: &Case) {
    let (b, canary) = (t.bundle_sh("true"), Canary::new(t));
    let volume = t.mkdir("volume");
    symlink(&canary.dir, volume.join("a")).unwrap();
    b.bind(&volume, "/vol", &["rbind"]);
    b.mount(json!({"destination": "/vol/a/b/c", "type": "tmpfs", "source": "tmpfs"}));
    refused_or_inside(t, &b, &canary);
}

fn a_cwd_that_is_a_link_out_stays_inside(t: &Case) {
    let (b, canary) = (t.bundle_sh("pwd; ls"), Canary::new(t));
    symlink(&canary.dir, b.root("/work")).unwrap();
    b.edit(|c| c["process"]["cwd"] = json!("/work/below"));
    let output = harmless(t, &b, &canary);
    assert_lacks(&output.stdout, "secret");
    assert!(!present(canary.path("below")));
}

/// CVE-2024-21626.
fn cwd_through_a_leaked_descriptor(t: &Case) {
    for n in 3..24 {
        let b = t.bundle_sh("ls; ls ..; ls ../../../../../../etc/passwd; cat /proc/self/mountinfo | head -1; pwd");
        b.edit(|c| c["process"]["cwd"] = json!(format!("/proc/self/fd/{n}")));
        let output = t.run_call(&[], &b).shell("exec 9</; exec \"$@\"").run();
        // A directory of the container's own would be harmless; one that its root does not hold is not.
        assert_lacks(&output.stdout, "unreachable");
        assert!(output.code() != 0, "descriptor {n} was a working directory:\n{}", output.stdout);
        Container::of(t, &b).delete_force().ok();
    }
}

fn cwd_through_a_link_to_a_leaked_descriptor(t: &Case) {
    for n in [3, 5, 7, 8, 9] {
        let b = t.bundle_sh("pwd");
        symlink(format!("/proc/self/fd/{n}"), b.root("/work")).unwrap();
        b.edit(|c| c["process"]["cwd"] = json!("/work"));
        let output = t.run_call(&[], &b).shell("exec 9</; exec \"$@\"").run();
        assert_ne!(output.code(), 0, "descriptor {n} was a working directory:\n{}", output.stdout);
        Container::of(t, &b).delete_force().ok();
    }
}

fn args_through_a_leaked_descriptor(t: &Case) {
    for n in [3, 6, 7, 8, 9] {
        let b = t.bundle();
        b.args(&[&format!("/proc/self/fd/{n}/bin/ls"), "/"]);
        let output = t.run_call(&[], &b).shell("exec 9</; exec \"$@\"").run();
        assert_ne!(output.code(), 0, "a program of the host ran:\n{}", output.stdout);
        Container::of(t, &b).delete_force().ok();
    }
}

fn binary(t: &Case) -> (Vec<u8>, i64, u32) {
    let path = &t.environment.runtime;
    let meta = fs::metadata(path).unwrap();
    (fs::read(path).unwrap(), meta.mtime(), meta.mode())
}

/// CVE-2019-5736.
fn args_is_proc_self_exe(t: &Case) {
    let before = binary(t);
    let b = t.bundle();
    b.args(&["/proc/self/exe", "--version"]);
    let output = t.run(&b);
    assert_lacks(&output.stdout, "version");
    assert!(binary(t) == before);
}

fn args_is_a_script_of_proc_self_exe(t: &Case) {
    let before = binary(t);
    let b = t.bundle();
    write(b.root("/script"), "#!/proc/self/exe\n");
    fs::set_permissions(b.root("/script"), fs::Permissions::from_mode(0o755)).unwrap();
    b.args(&["/script"]);
    let _ = t.run(&b);
    assert!(binary(t) == before);
}

fn the_runtimes_binary_is_as_it_was(t: &Case) {
    // A container with all rights over files tries to open for writing whatever ran as the runtime, from its start hook.
    let before = binary(t);
    let b = t.bundle_sh("for p in /proc/[0-9]*; do probe open $p/exe w; done");
    let caps = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN"]);
    b.edit(|c| c["process"]["capabilities"] = json!({"bounding": caps, "effective": caps, "permitted": caps}));
    b.hook("startContainer", json!({"path": "/bin/sh", "args": ["sh", "-c", "probe open /proc/1/exe w > /opened"], "env": ["PATH=/bin"]}));
    t.run(&b).ok();
    let opened = read(b.root("/opened"));
    // Were it a copy on disk that could be opened, it still must not be the binary.
    assert!(!opened.contains("ok"), "what waits in created can be opened for writing");
    assert!(binary(t) == before);
}

fn the_runtimes_binary_is_not_writable_from_created(t: &Case) {
    let c = t.create(&t.bundle());
    let exe = format!("/proc/{}/exe", c.pid());
    let opened = fs::File::options().write(true).open(&exe);
    assert!(opened.is_err(), "{exe} can be opened for writing");
    let (here, there) = (fs::metadata(&t.environment.runtime).unwrap(), fs::metadata(&exe).unwrap());
    if (here.dev(), here.ino()) == (there.dev(), there.ino()) {
        // The same file, then at least through a mount that is read-only: that it is busy lasts no longer than the container.
        let flags = rustix::fs::statvfs(&exe).unwrap().f_flag;
        assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY), "{exe} is the runtime's own file, and only busy");
    }
}

fn the_executor_is_a_sealed_memory_file(t: &Case) {
    let c = t.create(&t.bundle());
    let exe = fs::read_link(format!("/proc/{}/exe", c.pid())).unwrap();
    assert!(exe.display().to_string().starts_with("/memfd:"), "{}", exe.display());
    let file = fs::File::open(format!("/proc/{}/exe", c.pid())).unwrap();
    let seals = rustix::fs::fcntl_get_seals(&file).unwrap();
    use rustix::fs::SealFlags as S;
    assert!(seals.contains(S::SEAL | S::SHRINK | S::GROW | S::WRITE), "{seals:?}");
}

fn masked_proc_through_a_link_of_the_image(t: &Case) {
    let (b, canary) = (t.bundle_sh("cat /link/secret 2>/dev/null; true"), Canary::new(t));
    symlink(&canary.dir, b.root("/link")).unwrap();
    b.edit(|c| {
        c["linux"]["maskedPaths"] = json!(["/link/secret", "/link"]);
        c["linux"]["readonlyPaths"] = json!(["/link/pts"]);
    });
    refused_or_inside(t, &b, &canary);
}

fn tmpcopyup_follows_no_link_out(t: &Case) {
    let (b, canary) = (t.bundle_sh("cat /mnt/secret /mnt/dir/secret 2>/dev/null; true"), Canary::new(t));
    symlink(canary.path("secret"), b.root("/mnt/secret")).unwrap();
    symlink(&canary.dir, b.root("/mnt/dir")).unwrap();
    b.mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}));
    let output = harmless(t, &b, &canary);
    assert_lacks(&output.stdout, "canary");
}

fn devices_are_made_through_no_link(t: &Case) {
    let (b, canary) = (t.bundle_sh("true"), Canary::new(t));
    no_dev_mounts(&b);
    symlink(&canary.dir, b.root("/dev/sub")).unwrap();
    b.edit(|c| c["linux"]["devices"] = json!([{"path": "/dev/sub/node", "type": "c", "major": 1, "minor": 3}]));
    harmless(t, &b, &canary);
}

fn device_over_a_link_of_the_image(t: &Case) {
    let (b, canary) = (t.bundle_sh("true"), Canary::new(t));
    no_dev_mounts(&b);
    symlink(canary.path("secret"), b.root("/dev/node")).unwrap();
    b.edit(|c| {
        c["linux"]["devices"] =
            json!([{"path": "/dev/node", "type": "c", "major": 1, "minor": 3, "uid": 1000, "gid": 1000, "fileMode": 0o777}])
    });
    harmless(t, &b, &canary);
}

fn the_environment_of_the_runtime_is_not_readable(t: &Case) {
    let b = t.bundle_sh("cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'");
    let output = t.run_call(&[], &b).env("SECRET_OF_THE_CALLER", "x").run();
    assert_lacks(output.ok(), "SECRET_OF_THE_CALLER");
    assert_lacks(output.ok(), t.state_root().to_str().unwrap());
}

fn the_container_cannot_see_the_state_root(t: &Case) {
    let out =
        t.sh(&format!("ls {} 2>&1; grep -c {} /proc/self/mountinfo; true", t.state_root().display(), t.state_root().display()), |_| ());
    assert!(out.ends_with("0\n"), "{out}");
}

fn directories_of_the_host_are_closed_in_created(t: &Case) {
    // What waits may hold directories of the container's own mounts, and none of the host's.
    let b = t.bundle();
    let c = t.create(&b);
    let pid = c.pid();
    let info = read(format!("/proc/{pid}/mountinfo"));
    let own: Vec<_> = info.lines().filter_map(|line| line.split(' ').next()).collect();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let number: u32 = entry.file_name().to_str().unwrap().parse().unwrap();
        if number > 2 && fs::metadata(entry.path()).is_ok_and(|m| m.is_dir()) {
            let fdinfo = read(format!("/proc/{pid}/fdinfo/{number}"));
            assert!(own.contains(&field(&fdinfo, "mnt_id")), "descriptor {number} is {}", fs::read_link(entry.path()).unwrap().display());
        }
    }
}

fn owner_kept(t: &Case, path: &Path) {
    let before = fs::metadata(path).unwrap();
    let b = t.bundle_sh("true");
    b.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let _guard = Container::of(t, &b);
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut run = t.run_call(&[], &b).spawn(file.try_clone().unwrap().into(), file.try_clone().unwrap().into(), file.into());
    assert!(runtime::wait(&mut run, patience()).expect("run ends").success());
    let after = fs::metadata(path).unwrap();
    assert_eq!((after.uid(), after.gid(), after.mode()), (before.uid(), before.gid(), before.mode()), "{}", path.display());
}

fn stdin_that_is_the_hosts_null_device_keeps_its_owner(t: &Case) {
    owner_kept(t, Path::new("/dev/null"));
}

fn stdin_that_is_a_file_keeps_its_owner(t: &Case) {
    let path = t.path("stdio");
    write(&path, "");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    owner_kept(t, &path);
}

/// CVE-2022-0811: a value that smuggles another setting.
fn sysctl_that_writes_elsewhere_is_refused(t: &Case) {
    let before = read("/proc/sys/kernel/core_pattern");
    for (key, value) in [
        ("kernel.shm_rmid_forced", "1+kernel.core_pattern=|/x"),
        ("net.ipv4.ip_forward", "1\nkernel.core_pattern=x"),
        ("kernel/core_pattern", before.trim()),
    ] {
        let b = t.bundle();
        b.edit(|c| c["linux"]["sysctl"] = json!({key: value}));
        t.refused(&b);
    }
    assert_eq!(read("/proc/sys/kernel/core_pattern"), before);
}

/// CVE-2023-25809, CVE-2022-0492.
fn cgroup_mount_without_a_namespace_cannot_be_written(t: &Case) {
    let out =
        t.sh("find /sys/fs/cgroup -name release_agent -o -name cgroup.procs | while read f; do probe open $f w; done | sort | uniq", |b| {
            b.leave_namespace("cgroup");
        });
    assert!(!out.contains("ok"), "{out}");
}

fn a_symbolic_link_as_root(t: &Case) {
    // The path of the root is the caller's own; only the image is hostile. It is followed, or refused with its reason.
    let b = t.bundle_sh("echo fine");
    fs::rename(b.dir().join("rootfs"), b.dir().join("real")).unwrap();
    symlink("real", b.dir().join("rootfs")).unwrap();
    let output = t.run(&b);
    assert!(output.code() == 0 || output.stderr.contains("rootfs"), "{}", output.stderr);
}

fn a_root_below_a_link_of_the_bundle(t: &Case) {
    let b = t.bundle_sh("echo fine");
    fs::create_dir(b.dir().join("layers")).unwrap();
    fs::rename(b.dir().join("rootfs"), b.dir().join("layers/root")).unwrap();
    symlink("layers", b.dir().join("link")).unwrap();
    b.edit(|c| c["root"]["path"] = json!("link/root"));
    let output = t.run(&b);
    assert!(output.code() == 0 || !output.stderr.is_empty());
}

fn passwd_as_a_device_is_not_read(t: &Case) {
    // An endless device in its place must not be read to its end.
    let b = t.bundle_sh("echo $HOME");
    fs::remove_file(b.root("/etc/passwd")).unwrap();
    let made = std::process::Command::new("mknod").arg(b.root("/etc/passwd")).args(["c", "1", "5"]).status().unwrap();
    assert!(made.success());
    let output = t.run(&b);
    assert!(output.code() == 0 || !output.stderr.is_empty());
}

fn setuid_bits_of_the_image_do_not_help_without_privileges(t: &Case) {
    let b = t.bundle();
    fs::copy(b.root("/bin/probe"), b.root("/bin/suid")).unwrap();
    fs::set_permissions(b.root("/bin/suid"), fs::Permissions::from_mode(0o6755)).unwrap();
    write(b.root("/secret"), "secret");
    fs::set_permissions(b.root("/secret"), fs::Permissions::from_mode(0o600)).unwrap();
    b.args(&["/bin/suid", "open", "/secret", "r"]);
    b.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    assert_eq!(t.run(&b).ok(), "Permission denied\n");
}

fn the_host_is_not_reachable_by_proc_1_root(t: &Case) {
    let canary = Canary::new(t);
    let out = t.sh(
        &format!(
            "for p in /proc/1 /proc/self /proc/thread-self; do cat $p/root{0} $p/cwd{0} 2>&1; done; true",
            canary.path("secret").display()
        ),
        |_| (),
    );
    assert_lacks(&out, "canary secret");
}

fn the_parents_of_the_root_are_not_reachable_by_a_held_directory(t: &Case) {
    let canary = Canary::new(t);
    let up = "../".repeat(20);
    let out = t.sh(
        &format!(
            "cd /; cat {up}{0} 2>&1; cd /bin; cat {up}{0} 2>&1; true",
            canary.path("secret").display().to_string().trim_start_matches('/')
        ),
        |_| (),
    );
    assert_lacks(&out, "canary secret");
}

fn kernel_files_cannot_be_written(t: &Case) {
    let out = t.sh("for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/vm/panic_on_oom /sys/kernel/uevent_helper; do test -e $f && probe open $f w; done; true", |_| ());
    assert!(!out.contains("ok"), "{out}");
}

fn the_keyring_of_the_host_is_out_of_reach(t: &Case) {
    let (one, two) = (t.bundle(), t.bundle());
    one.args(&["probe", "keyring"]);
    two.args(&["probe", "keyring"]);
    assert_ne!(t.run(&one).ok(), t.run(&two).ok(), "two containers share a session keyring");
}

fn a_container_cannot_signal_the_host(t: &Case) {
    let out = t.sh(&format!("kill -0 {} 2>&1; true", std::process::id()), |_| ());
    assert_has(&out.to_lowercase(), "no such process");
}

fn the_state_root_must_not_be_a_link(t: &Case) {
    let real = t.mkdir("real");
    symlink(&real, t.path("link")).unwrap();
    let b = t.bundle();
    t.create_call(&[], &b).globals(["--root", t.path("link").to_str().unwrap()]).run().refused();
    assert_eq!(fs::read_dir(real).unwrap().count(), 0);
}

fn ids_that_look_like_options(t: &Case) {
    let b = t.bundle();
    let dir = b.dir().to_str().unwrap();
    for id in ["-f", "--force", "-x"] {
        assert_ne!(t.rt(&["create", "--bundle", dir, id]).run().code(), 0, "{id}");
    }
    assert_eq!(fs::read_dir(t.state_root()).unwrap().count(), 0);
}

/// CVE-2021-43784: lengths that a protocol of its own may not hold.
fn long_strings_everywhere(t: &Case) {
    let long = "x".repeat(70_000);
    for change in [
        (|c: &mut Value, long: &str| c["hostname"] = json!(long)) as fn(&mut Value, &str),
        |c, long| c["process"]["cwd"] = json!(format!("/{long}")),
        |c, long| c["process"]["args"] = json!(["sh", "-c", "true", long]),
        |c, long| c["process"]["env"] = json!(["PATH=/bin", format!("LONG={long}")]),
        |c, long| c["annotations"] = json!({"long": long}),
        |c, long| c["linux"]["maskedPaths"] = json!([format!("/{long}")]),
        |c, long| {
            c["mounts"]
                .as_array_mut()
                .unwrap()
                .push(json!({"destination": "/mnt", "type": "bind", "source": format!("/{long}"), "options": ["bind"]}))
        },
        |c, long| c["mounts"].as_array_mut().unwrap().push(json!({"destination": format!("/{long}"), "type": "tmpfs", "source": "tmpfs"})),
        |c, long| {
            c["mounts"]
                .as_array_mut()
                .unwrap()
                .push(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": [format!("x={long}")]}))
        },
        |c, long| c["linux"]["cgroupsPath"] = json!(format!("{}/{long}", c["linux"]["cgroupsPath"].as_str().unwrap())),
    ] {
        let b = t.bundle_sh("true");
        b.edit(|c| change(c, &long));
        let output = t.run(&b);
        assert!(output.code() == 0 || !output.stderr.is_empty(), "refused without a word");
        // What had to be made above a cgroup that could not be, is the caller's to remove.
        for dir in t.environment.cgroups(&format!("{}/{}", t.cgroup(), b.id())) {
            let _ = fs::remove_dir(dir);
        }
    }
}

fn no_files_appear_in_the_hosts_root(t: &Case) {
    let paths = || -> Vec<PathBuf> {
        let entries = ["/", "/dev", "/etc"].iter().flat_map(|dir| fs::read_dir(dir).unwrap().flatten());
        entries.map(|entry| entry.path()).collect()
    };
    let before = paths();
    t.run(&t.bundle_sh("true")).ok();
    let new: Vec<_> = paths().into_iter().filter(|path| !before.contains(path) && !is_the_kernels(path)).collect();
    assert_eq!(new, Vec::<PathBuf>::new());
}

/// A node that the kernel made in /dev for a driver, which another test may have asked for.
fn is_the_kernels(path: &Path) -> bool {
    let Ok(meta) = fs::symlink_metadata(path) else { return true };
    let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    let name = format!("DEVNAME={}", path.file_name().unwrap_or_default().display());
    ["char", "block"].iter().any(|kind| {
        let uevent = fs::read_to_string(format!("/sys/dev/{kind}/{major}:{minor}/uevent")).unwrap_or_default();
        path.starts_with("/dev") && uevent.lines().any(|line| line == name)
    })
}

fn limits_of_the_runtime_itself_are_not_inherited(t: &Case) {
    // What a runtime does to itself, as to raise its own limit of descriptors, must not reach the process.
    let b = t.bundle_sh("probe limit NOFILE; probe limit STACK; probe limit CORE");
    b.edit(|c| drop(c["process"].as_object_mut().unwrap().remove("rlimits")));
    let output = t.run_call(&[], &b).shell("ulimit -Sn 500; ulimit -Ss 5000; ulimit -Sc 0; exec \"$@\"").run();
    let soft: Vec<_> = output.ok().lines().map(|l| l.split(' ').next().unwrap()).collect();
    assert_eq!(soft, ["500", "5120000", "0"]);
}

fn an_unprivileged_caller_is_refused_with_its_reason(t: &Case) {
    let b = t.bundle();
    let own = t.mkdir("own");
    std::os::unix::fs::chown(&own, Some(4321), Some(4321)).unwrap();
    for dir in [t.dir(), &t.path("")] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let globals = ["--root".to_owned(), own.join("root").display().to_string()];
    let output = t.create_call(&[], &b).without_root().globals(globals).user(4321).run();
    assert_ne!(output.code(), 0);
    assert!(!output.stderr.trim().is_empty());
}
