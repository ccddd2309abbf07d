//! config.md: root.

use crate::support::*;
use std::fs;

pub const TESTS: &[Test] = suite![
    the_root_is_the_root_file_system,
    a_relative_path_is_under_the_bundle,
    an_absolute_path_is_taken,
    a_missing_root_is_refused,
    an_absent_root_is_refused,
    an_empty_path_is_refused,
    a_file_as_root_is_refused,
    writable_by_default,
    readonly_root_cannot_be_written,
    readonly_root_leaves_mounts_writable,
    readonly_root_leaves_the_directory_on_the_host_writable,
    readonly_absent_is_writable,
    the_host_root_is_out_of_reach,
    mounts_of_the_host_are_not_listed,
    a_submount_of_the_root_is_seen,
    the_root_of_the_host_as_root_does_no_harm,
    a_mount_point_as_root,
    a_readonly_mount_as_root_stays_readonly,
    the_mode_and_owner_of_the_root_stay,
    chroot_does_not_get_out,
    no_pivot,
    a_rootfs_whose_path_has_spaces,
];

fn the_root_is_the_root_file_system(t: &Case) {
    let b = t.bundle_sh("cat /marker; ls -d /bin /etc");
    write(b.root("/marker"), "marked\n");
    assert_eq!(t.run(&b).ok(), "marked\n/bin\n/etc\n");
}

fn a_relative_path_is_under_the_bundle(t: &Case) {
    let b = t.bundle_sh("echo here");
    fs::create_dir(b.dir().join("deep")).unwrap();
    fs::rename(b.root(""), b.dir().join("deep/root")).unwrap();
    b.edit(|c| c["root"]["path"] = json!("deep/root"));
    assert_eq!(t.run_call(&[], &b).cwd("/").run().ok(), "here\n");
}

fn an_absolute_path_is_taken(t: &Case) {
    let b = t.bundle_sh("echo here");
    let elsewhere = t.path("elsewhere");
    fs::rename(b.dir().join("rootfs"), &elsewhere).unwrap();
    b.edit(|c| c["root"]["path"] = json!(elsewhere));
    assert_eq!(t.run(&b).ok(), "here\n");
}

fn refused(t: &Case, root: Value) -> String {
    let b = t.bundle();
    b.edit(|c| c["root"] = root);
    t.refused(&b)
}

fn a_missing_root_is_refused(t: &Case) {
    let text = refused(t, json!({"path": "no-such-root"}));
    assert_has(&text, "no-such-root");
    assert_has(&text.to_lowercase(), "no such file or directory");
}

fn an_absent_root_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| drop(c.as_object_mut().unwrap().remove("root")));
    assert_has(&t.refused(&b).to_lowercase(), "root");
}

fn an_empty_path_is_refused(t: &Case) {
    // The bundle itself is no root file system.
    assert_lacks(&refused(t, json!({"path": ""})), "executable");
}

fn a_file_as_root_is_refused(t: &Case) {
    assert_has(&refused(t, json!({"path": "config.json"})).to_lowercase(), "not a directory");
}

fn writable_by_default(t: &Case) {
    let b = t.bundle_sh("echo text > /new");
    t.run(&b).ok();
    assert_eq!(read(b.root("/new")), "text\n");
}

fn readonly(t: &Case, script: &str) -> String {
    t.sh(script, |b| {
        b.edit(|c| c["root"]["readonly"] = json!(true));
    })
}

fn readonly_root_cannot_be_written(t: &Case) {
    let out = readonly(t, "touch /new /etc/new /bin/new 2>&1; true");
    assert_eq!(out.matches("Read-only file system").count(), 3, "{out}");
}

fn readonly_root_leaves_mounts_writable(t: &Case) {
    let dir = t.mkdir("data");
    let out = t.sh("touch /dev/shm/x /dev/x /data/x && echo fine", |b| {
        fs::create_dir(b.root("/data")).unwrap();
        b.bind(&dir, "/data", &["rbind"]);
        b.edit(|c| c["root"]["readonly"] = json!(true));
    });
    assert_eq!(out, "fine\n");
    assert!(present(dir.join("x")));
}

fn readonly_root_leaves_the_directory_on_the_host_writable(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["root"]["readonly"] = json!(true));
    let c = t.started(&b);
    write(b.root("/from-the-host"), "x");
    drop(c);
}

fn readonly_absent_is_writable(t: &Case) {
    let b = t.bundle_sh("touch /new");
    b.edit(|c| c["root"] = json!({"path": "rootfs"}));
    t.run(&b).ok();
}

fn the_host_root_is_out_of_reach(t: &Case) {
    let canary = t.path("canary");
    write(&canary, "");
    let out = t.sh(
        &format!("ls {} 2>&1; ls /../..{} 2>&1; ls /proc/1/root{} 2>&1; true", canary.display(), canary.display(), canary.display()),
        |_| (),
    );
    assert_eq!(out.matches("No such file").count(), 3, "{out}");
}

fn mounts_of_the_host_are_not_listed(t: &Case) {
    let b = t.bundle_sh("cat /proc/self/mountinfo");
    let out = t.run(&b).ok().to_owned();
    let root = out.lines().filter(|l| l.split(' ').nth(4) == Some("/")).count();
    assert_eq!(root, 1, "one mount at /:\n{out}");
    for line in out.lines() {
        let at = line.split(' ').nth(4).unwrap();
        assert!(["/", "/proc", "/dev", "/sys"].iter().any(|top| at == *top || at.starts_with(&format!("{top}/"))), "{line}");
    }
}

fn a_submount_of_the_root_is_seen(t: &Case) {
    let b = t.bundle_sh("ls /mnt");
    let sub = b.root("/mnt");
    rustix::mount::mount("tmpfs", &sub, "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    t.unmount_later(&sub);
    write(sub.join("inner"), "");
    assert_eq!(t.run(&b).ok(), "inner\n");
}

fn the_root_of_the_host_as_root_does_no_harm(t: &Case) {
    // It may run or be refused.
    let b = t.bundle_sh("echo here");
    b.unmount("/sys/fs/cgroup").edit(|c| c["root"] = json!({"path": "/", "readonly": true}));
    let output = t.run(&b);
    assert!(output.stdout == "here\n" || !output.refused().is_empty());
}

fn a_mount_point_as_root(t: &Case) {
    let b = t.bundle_sh("echo here");
    let at = b.dir().join("rootfs");
    rustix::mount::mount_bind(&at, &at).unwrap();
    t.unmount_later(&at);
    assert_eq!(t.run(&b).ok(), "here\n");
}

fn a_readonly_mount_as_root_stays_readonly(t: &Case) {
    let b = t.bundle_sh("touch /new 2>&1; true");
    let at = b.dir().join("rootfs");
    rustix::mount::mount_bind(&at, &at).unwrap();
    t.unmount_later(&at);
    rustix::mount::mount_remount(&at, rustix::mount::MountFlags::BIND | rustix::mount::MountFlags::RDONLY, "").unwrap();
    assert_has(t.run(&b).ok(), "Read-only file system");
}

fn the_mode_and_owner_of_the_root_stay(t: &Case) {
    let b = t.bundle_sh("stat -c '%a %u:%g' /");
    fs::set_permissions(b.root("/"), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    std::os::unix::fs::chown(b.root("/"), Some(12), Some(34)).unwrap();
    assert_eq!(t.run(&b).ok(), "711 12:34\n");
}

fn chroot_does_not_get_out(t: &Case) {
    let caps = json!(["CAP_SYS_CHROOT"]);
    let canary = t.path("canary");
    write(&canary, "");
    let script =
        format!("mkdir -p /tmp/x; cd /; busybox chroot /tmp/x /bin/busybox ls 2>/dev/null; ls ../../../..{} 2>&1; true", canary.display());
    let out = t.sh(&script, |b| {
        b.edit(|c| c["process"]["capabilities"] = json!({"bounding": caps, "effective": caps, "permitted": caps}));
    });
    assert_has(&out, "No such file");
}

fn no_pivot(t: &Case) {
    let b = t.bundle_sh("ls -d /bin; touch /new");
    assert_eq!(t.run_call(&["--no-pivot"], &b).run().ok(), "/bin\n");
    assert!(present(b.root("/new")));
}

fn a_rootfs_whose_path_has_spaces(t: &Case) {
    let b = t.bundle_sh("echo here; grep -c ' / / ' /proc/self/mountinfo; true");
    let odd = t.path("with space\\and\tmore");
    fs::rename(b.dir().join("rootfs"), &odd).unwrap();
    b.edit(|c| c["root"]["path"] = json!(odd));
    assert_has(t.run(&b).ok(), "here\n");
    fs::rename(&odd, b.dir().join("rootfs")).unwrap();
}
