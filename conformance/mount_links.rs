//! Mount options that callers of crun use: copy-symlink, src-nofollow, dest-nofollow; and config-linux.md: mountLabel.

use crate::support::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

pub const TESTS: &[Test] = suite![
    copy_symlink_makes_the_link_again: [Need::Runtime("aril")],
    copy_symlink_of_what_is_no_link_is_a_bind: [Need::Runtime("aril")],
    copy_symlink_of_a_link_that_is_there_already: [Need::Runtime("aril")],
    copy_symlink_over_something_else_is_refused: [Need::Runtime("aril")],
    copy_symlink_makes_directories_on_the_way: [Need::Runtime("aril")],
    copy_symlink_stays_inside_the_root: [Need::Runtime("aril")],
    src_nofollow_mounts_the_link: [Need::Runtime("aril")],
    src_nofollow_of_what_is_no_link_changes_nothing: [Need::Runtime("aril")],
    dest_nofollow_mounts_over_the_link: [Need::Runtime("aril")],
    dest_nofollow_makes_what_is_missing: [Need::Runtime("aril")],
    dest_nofollow_of_what_is_no_link_changes_nothing: [Need::Runtime("aril")],
    the_options_in_a_user_namespace: [Need::Runtime("aril"), Need::Userns],
    they_are_for_bind_mounts: [Need::Runtime("aril")],
    a_mount_label_without_selinux_is_refused: [Need::Runtime("aril"), Need::NoSelinux],
    a_label_of_every_mount: [Need::Runtime("aril"), Need::Selinux],
    a_label_of_the_process: [Need::Runtime("aril"), Need::Selinux],
];

/// A link on the host to a file of the host.
fn link(t: &Case) -> PathBuf {
    write(t.path("file"), "of the host\n");
    symlink("file", t.path("link")).unwrap();
    t.path("link")
}

fn copy_symlink_makes_the_link_again(t: &Case) {
    let link = link(t);
    let out = t.sh("readlink /etc/link; grep -c ' /etc/link ' /proc/self/mountinfo; true", |b| {
        b.bind(&link, "/etc/link", &["rbind", "copy-symlink"]);
    });
    assert_eq!(out, "file\n0\n");
}

fn copy_symlink_of_what_is_no_link_is_a_bind(t: &Case) {
    link(t);
    let file = t.path("file");
    let out = t.sh("cat /etc/copy", |b| {
        b.bind(&file, "/etc/copy", &["rbind", "copy-symlink"]);
    });
    assert_eq!(out, "of the host\n");
}

fn copy_symlink_of_a_link_that_is_there_already(t: &Case) {
    let link = link(t);
    let out = t.sh("readlink /etc/link", |b| {
        fs::create_dir_all(b.root("/etc")).unwrap();
        symlink("file", b.root("/etc/link")).unwrap();
        b.bind(&link, "/etc/link", &["rbind", "copy-symlink"]);
    });
    assert_eq!(out, "file\n");
}

fn copy_symlink_over_something_else_is_refused(t: &Case) {
    let link = link(t);
    type Make = fn(PathBuf);
    let others: [Make; 3] = [|at| write(at, "x"), |at| symlink("files", at).unwrap(), |at| fs::create_dir(at).unwrap()];
    for make in others {
        let b = t.bundle();
        fs::create_dir_all(b.root("/etc")).unwrap();
        make(b.root("/etc/link"));
        b.bind(&link, "/etc/link", &["rbind", "copy-symlink"]);
        let text = t.refused(&b);
        assert_has(&text, "(/mounts/7)");
        assert_has(&text, "file exists");
    }
}

fn copy_symlink_makes_directories_on_the_way(t: &Case) {
    let link = link(t);
    let out = t.sh("readlink /a/b/c", |b| {
        b.bind(&link, "/a/b/c", &["bind", "copy-symlink"]);
    });
    assert_eq!(out, "file\n");
}

fn copy_symlink_stays_inside_the_root(t: &Case) {
    let link = link(t);
    let outside = t.mkdir("outside");
    let b = t.bundle_sh("true");
    symlink(&outside, b.root("/a")).unwrap();
    b.bind(&link, "/a/link", &["bind", "copy-symlink"]);
    t.run(&b);
    assert!(!present(outside.join("link")), "a link was made on the host");
}

fn src_nofollow_mounts_the_link(t: &Case) {
    let link = link(t);
    let out = t.sh("readlink /etc/mounted", |b| {
        b.bind(&link, "/etc/mounted", &["bind", "src-nofollow"]);
    });
    assert_eq!(out, "file\n");
}

fn src_nofollow_of_what_is_no_link_changes_nothing(t: &Case) {
    link(t);
    let out = t.sh("cat /etc/mounted", |b| {
        b.bind(&t.path("file"), "/etc/mounted", &["bind", "src-nofollow"]);
    });
    assert_eq!(out, "of the host\n");
}

fn dest_nofollow_mounts_over_the_link(t: &Case) {
    let link = link(t);
    for options in [&["bind", "dest-nofollow"][..], &["bind", "src-nofollow", "dest-nofollow"]] {
        let b = t.bundle_sh("cat /etc/target; readlink /etc/over || cat /etc/over");
        fs::create_dir_all(b.root("/etc")).unwrap();
        write(b.root("/etc/target"), "of the image\n");
        symlink("target", b.root("/etc/over")).unwrap();
        b.bind(&link, "/etc/over", options);
        let seen = if options.len() == 2 { "of the host\n" } else { "file\n" };
        assert_eq!(t.run(&b).ok(), format!("of the image\n{seen}"));
    }
}

fn dest_nofollow_makes_what_is_missing(t: &Case) {
    let link = link(t);
    let out = t.sh("cat /etc/new/file", |b| {
        b.bind(&link, "/etc/new/file", &["bind", "dest-nofollow"]);
    });
    assert_eq!(out, "of the host\n");
}

fn dest_nofollow_of_what_is_no_link_changes_nothing(t: &Case) {
    let link = link(t);
    let out = t.sh("cat /etc/there", |b| {
        fs::create_dir_all(b.root("/etc")).unwrap();
        write(b.root("/etc/there"), "of the image\n");
        b.bind(&link, "/etc/there", &["bind", "dest-nofollow"]);
    });
    assert_eq!(out, "of the host\n");
}

fn the_options_in_a_user_namespace(t: &Case) {
    let link = link(t);
    let out = t.sh("readlink /mnt/copied; readlink /mnt/mounted", |b| {
        b.bind(&link, "/mnt/copied", &["bind", "copy-symlink"]);
        b.bind(&link, "/mnt/mounted", &["bind", "src-nofollow", "dest-nofollow"]);
        b.userns(100_000, 65536);
    });
    assert_eq!(out, "file\nfile\n");
}

fn they_are_for_bind_mounts(t: &Case) {
    for option in ["copy-symlink", "src-nofollow", "dest-nofollow"] {
        let b = t.bundle();
        b.mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": [option]}));
        assert_has(&t.refused(&b), "(/mounts/7/options)");
    }
}

const LABEL: &str = "system_u:object_r:container_file_t:s0:c1,c2";

fn a_mount_label_without_selinux_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["linux"]["mountLabel"] = json!(LABEL));
    assert_has(&t.refused(&b), "(/linux/mountLabel)");
    let b = t.bundle_sh("true");
    b.edit(|c| c["linux"]["mountLabel"] = json!(""));
    t.run(&b).ok();
}

fn a_label_of_every_mount(t: &Case) {
    // The policy of a plain Debian knows this type.
    let label = "system_u:object_r:tmp_t:s0";
    let places = ["/dev", "/dev/shm", "/dev/pts", "/dev/mqueue", "/mnt"];
    let out = t.sh(&format!("for at in {}; do probe label $at; done; probe label /proc", places.join(" ")), |b| {
        b.mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"}));
        b.edit(|c| c["linux"]["mountLabel"] = json!(label));
    });
    let seen: Vec<&str> = out.lines().collect();
    assert_eq!(seen[..5], [label; 5], "{places:?}");
    assert_ne!(seen[5], label, "procfs is the policy's");
}

fn a_label_of_the_process(t: &Case) {
    let label = "system_u:system_r:init_t:s0";
    let out = t.sh("cat /proc/self/attr/current", |b| {
        b.edit(|c| c["process"]["selinuxLabel"] = json!(label));
    });
    assert_eq!(out.trim_end_matches(['\0', '\n']), label);
    let b = t.bundle();
    b.edit(|c| c["process"]["selinuxLabel"] = json!("no_u:no_r:no_t:s0"));
    assert_has(&t.refused(&b), "(/process/selinuxLabel)");
}
