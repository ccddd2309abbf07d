//! config.md: mounts.

use crate::support::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

pub const TESTS: &[Test] = suite![
    bind_of_a_directory,
    bind_of_a_file,
    bind_makes_its_destination,
    bind_of_a_file_makes_its_destination,
    bind_with_option_alone,
    bind_with_type_none,
    bind_readonly,
    bind_writable_by_default,
    bind_leaves_submounts_out,
    rbind_takes_submounts_along,
    ro_leaves_submounts_writable,
    rro_makes_submounts_readonly: [Need::Kernel(5, 12)],
    recursive_flags: [Need::Kernel(5, 12)],
    bind_of_a_missing_source_is_refused,
    bind_keeps_the_flags_of_its_source,
    bind_relative_to_the_bundle,
    bind_of_a_socket_and_a_fifo,
    bind_of_a_symbolic_link_follows_it,
    bind_of_a_file_over_a_directory_is_refused,
    bind_onto_a_file_of_the_image,
    per_mount_flags,
    flags_are_undone_by_their_opposites,
    atime_flags,
    atime_flags_are_undone_by_their_opposites,
    options_of_the_file_system_are_set_and_undone,
    nosymfollow: [Need::Kernel(5, 10)],
    tmpfs_with_data,
    tmpfs_defaults_to_mode_1777,
    tmpfs_keeps_the_mode_of_the_image,
    tmpfs_of_another_owner,
    tmpfs_readonly,
    tmpcopyup,
    tmpfs_without_tmpcopyup_is_empty,
    mounts_happen_in_order,
    mounts_are_listed_in_their_order,
    idmapped_mounts_are_listed_in_their_order: [Need::Idmap, Need::Kernel(5, 12)],
    a_bind_from_above_the_root_has_no_mounts_of_the_container,
    a_mount_over_a_mount,
    a_destination_through_a_symbolic_link_stays_inside,
    a_destination_with_dots_stays_inside,
    a_relative_destination_is_taken_from_the_root,
    an_absent_destination_is_refused,
    an_unknown_file_system_is_refused,
    an_option_that_the_file_system_refuses_is_refused,
    proc_shows_the_own_pid_namespace,
    sysfs_is_readonly,
    sysfs_shows_the_own_network_namespace,
    mqueue,
    devpts_is_a_new_instance,
    shm_flags,
    no_mounts_at_all,
    mounts_absent,
    thirty_mounts,
    a_thousand_binds,
    overlay,
    destination_made_with_mode_755,
    the_source_of_a_mount_is_told,
    idmapped_mount: [Need::Idmap, Need::Kernel(5, 12)],
    an_idmapped_mount_that_is_no_bind_is_refused,
    cgroup_mount_is_readonly,
    mountinfo_of_the_host_is_untouched,
    lazytime_and_the_like_are_taken,
    an_overlay_of_long_paths,
    a_link_into_proc_is_no_destination,
    source_may_have_odd_characters,
    remount_is_taken,
];

fn dir(t: &Case, name: &str) -> PathBuf {
    let path = t.mkdir(name);
    write(path.join("file"), "content\n");
    path
}

/// The per-mount options of the mount at a place, as the container sees them.
fn options(info: &str, at: &str) -> Vec<String> {
    let line = info.lines().rfind(|l| l.split(' ').nth(4) == Some(at)).unwrap_or_else(|| panic!("no mount at {at}:\n{info}"));
    line.split(' ').nth(5).unwrap().split(',').map(str::to_owned).collect()
}

fn bind_of_a_directory(t: &Case) {
    let source = dir(t, "source");
    let out = t.sh("cat /mnt/file; echo new > /mnt/new", |b| {
        b.bind(&source, "/mnt", &["bind"]);
    });
    assert_eq!(out, "content\n");
    assert_eq!(read(source.join("new")), "new\n");
}

fn bind_of_a_file(t: &Case) {
    let source = dir(t, "source").join("file");
    assert_eq!(
        t.sh("cat /etc/passwd", |b| {
            b.bind(&source, "/etc/passwd", &["rbind", "ro"]);
        }),
        "content\n"
    );
}

fn bind_makes_its_destination(t: &Case) {
    let source = dir(t, "source");
    assert_eq!(
        t.sh("cat /a/b/c/file", |b| {
            b.bind(&source, "/a/b/c", &["rbind"]);
        }),
        "content\n"
    );
}

fn bind_of_a_file_makes_its_destination(t: &Case) {
    let source = dir(t, "source").join("file");
    assert_eq!(
        t.sh("cat /a/b/c", |b| {
            b.bind(&source, "/a/b/c", &["rbind"]);
        }),
        "content\n"
    );
}

fn bind_with_option_alone(t: &Case) {
    let source = dir(t, "source");
    let out = t.sh("cat /mnt/file", |b| {
        b.mount(json!({"destination": "/mnt", "source": source, "options": ["rbind"]}));
    });
    assert_eq!(out, "content\n");
}

fn bind_with_type_none(t: &Case) {
    let source = dir(t, "source");
    let out = t.sh("cat /mnt/file", |b| {
        b.mount(json!({"destination": "/mnt", "type": "none", "source": source, "options": ["bind", "rw"]}));
    });
    assert_eq!(out, "content\n");
}

fn bind_readonly(t: &Case) {
    let source = dir(t, "source");
    let out = t.sh("cat /mnt/file; touch /mnt/new 2>&1; true", |b| {
        b.bind(&source, "/mnt", &["bind", "ro"]);
    });
    assert_has(&out, "content\n");
    assert_has(&out, "Read-only file system");
}

fn bind_writable_by_default(t: &Case) {
    let source = dir(t, "source");
    let info = t.sh("cat /proc/self/mountinfo", |b| {
        b.bind(&source, "/mnt", &["bind"]);
    });
    assert_has(&options(&info, "/mnt").join(","), "rw");
}

/// A directory with a tmpfs in it.
fn nested(t: &Case) -> PathBuf {
    let source = dir(t, "nested");
    let inner = t.tmpfs("nested/inner", rustix::mount::MountPropagationFlags::PRIVATE);
    write(inner.join("deep"), "deep\n");
    source
}

fn bind_leaves_submounts_out(t: &Case) {
    let source = nested(t);
    assert_eq!(
        t.sh("ls /mnt /mnt/inner", |b| {
            b.bind(&source, "/mnt", &["bind"]);
        }),
        "/mnt:\nfile\ninner\n\n/mnt/inner:\n"
    );
}

fn rbind_takes_submounts_along(t: &Case) {
    let source = nested(t);
    assert_eq!(
        t.sh("cat /mnt/inner/deep", |b| {
            b.bind(&source, "/mnt", &["rbind"]);
        }),
        "deep\n"
    );
}

fn ro_leaves_submounts_writable(t: &Case) {
    let source = nested(t);
    let out = t.sh("touch /mnt/x 2>&1; touch /mnt/inner/x && echo written", |b| {
        b.bind(&source, "/mnt", &["rbind", "ro"]);
    });
    assert_has(&out, "Read-only");
    assert_has(&out, "written\n");
}

fn rro_makes_submounts_readonly(t: &Case) {
    let source = nested(t);
    let out = t.sh("touch /mnt/x 2>&1; touch /mnt/inner/x 2>&1; true", |b| {
        b.bind(&source, "/mnt", &["rbind", "rro"]);
    });
    assert_eq!(out.matches("Read-only").count(), 2, "{out}");
}

fn recursive_flags(t: &Case) {
    let source = nested(t);
    for (option, shown, opposite) in [
        ("rro", "ro", "rrw"),
        ("rnosuid", "nosuid", "rsuid"),
        ("rnodev", "nodev", "rdev"),
        ("rnoexec", "noexec", "rexec"),
        ("rnoatime", "noatime", "ratime"),
        ("rnoatime", "noatime", "rrelatime"),
        ("rnoatime", "noatime", "rstrictatime"),
        ("rrelatime", "relatime", "rstrictatime"),
        ("rnodiratime", "nodiratime", "rdiratime"),
        ("rnosymfollow", "nosymfollow", "rsymfollow"),
        ("rnorelatime", "relatime", "rnoatime"),
        ("rnostrictatime", "relatime", "rnoatime"),
    ] {
        let info = t.sh("cat /proc/self/mountinfo", |b| {
            b.bind(&source, "/mnt", &["rbind", option]);
        });
        for at in ["/mnt", "/mnt/inner"] {
            assert!(options(&info, at).contains(&shown.to_owned()), "{option} at {at}:\n{info}");
        }
        let info = t.sh("cat /proc/self/mountinfo", |b| {
            b.bind(&source, "/mnt", &["rbind", option, opposite]);
        });
        assert!(!options(&info, "/mnt/inner").contains(&shown.to_owned()), "{option},{opposite}:\n{info}");
    }
}

fn bind_of_a_missing_source_is_refused(t: &Case) {
    for options in [&["rbind"][..], &["rbind", "rshared"]] {
        let b = t.bundle();
        b.bind(b.dir(), "/there", options).bind(&t.path("absent"), "/mnt", options);
        let text = t.refused(&b);
        assert_has(&text, "absent");
        assert_has(&text.to_lowercase(), "no such file or directory");
    }
}

fn bind_keeps_the_flags_of_its_source(t: &Case) {
    let source = t.tmpfs("noexec", rustix::mount::MountPropagationFlags::PRIVATE);
    use rustix::mount::MountFlags as F;
    rustix::mount::mount_remount(&source, F::BIND | F::NOEXEC | F::NOSUID, "").unwrap();
    let info = t.sh("cat /proc/self/mountinfo", |b| {
        b.bind(&source, "/mnt", &["bind"]);
    });
    let got = options(&info, "/mnt");
    assert!(got.contains(&"noexec".to_owned()) && got.contains(&"nosuid".to_owned()), "{info}");
}

fn bind_relative_to_the_bundle(t: &Case) {
    let b = t.bundle_sh("cat /mnt/file");
    fs::create_dir(b.dir().join("data")).unwrap();
    write(b.dir().join("data/file"), "beside\n");
    b.mount(json!({"destination": "/mnt", "type": "bind", "source": "data", "options": ["rbind"]}));
    assert_eq!(t.run_call(&[], &b).cwd("/").run().ok(), "beside\n");
}

fn bind_of_a_socket_and_a_fifo(t: &Case) {
    let _listener = std::os::unix::net::UnixListener::bind(t.path("socket")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, t.path("fifo"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let out = t.sh("stat -c %F /run/socket /run/fifo", |b| {
        b.bind(&t.path("socket"), "/run/socket", &["rbind"]);
        b.bind(&t.path("fifo"), "/run/fifo", &["rbind"]);
    });
    assert_eq!(out, "socket\nfifo\n");
}

fn bind_of_a_symbolic_link_follows_it(t: &Case) {
    let source = dir(t, "source");
    symlink(&source, t.path("link")).unwrap();
    assert_eq!(
        t.sh("cat /mnt/file", |b| {
            b.bind(&t.path("link"), "/mnt", &["rbind"]);
        }),
        "content\n"
    );
}

fn bind_of_a_file_over_a_directory_is_refused(t: &Case) {
    let b = t.bundle();
    b.bind(&dir(t, "source").join("file"), "/etc", &["rbind"]);
    // Docker tells its user what is wrong by this text.
    assert_has(&t.refused(&b).to_lowercase(), "not a directory");
}

fn bind_onto_a_file_of_the_image(t: &Case) {
    let source = dir(t, "source").join("file");
    let b = t.bundle_sh("cat /etc/group");
    b.bind(&source, "/etc/group", &["rbind"]);
    assert_eq!(t.run(&b).ok(), "content\n");
    assert_has(&read(b.root("/etc/group")), "root:x:0:");
}

fn per_mount_flags(t: &Case) {
    let source = dir(t, "source");
    for flag in ["nosuid", "nodev", "noexec", "noatime", "nodiratime", "ro"] {
        let info = t.sh("cat /proc/self/mountinfo", |b| {
            b.bind(&source, "/mnt", &["bind", flag]);
        });
        assert!(options(&info, "/mnt").contains(&flag.to_owned()), "{flag}:\n{info}");
        let info = t.sh("cat /proc/self/mountinfo", |b| {
            b.mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": [flag]}));
        });
        assert!(options(&info, "/mnt").contains(&flag.to_owned()), "{flag} of a tmpfs:\n{info}");
    }
}

fn flags_are_undone_by_their_opposites(t: &Case) {
    let info = t.sh("cat /proc/self/mountinfo", |b| {
        b.mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs",
            "options": ["ro", "nosuid", "nodev", "noexec", "rw", "suid", "dev", "exec"]}));
    });
    let got = options(&info, "/mnt");
    for flag in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(!got.contains(&flag.to_owned()), "{flag}: {got:?}");
    }
}

fn atime_flags(t: &Case) {
    let tmpfs = |options: &[&str]| {
        let info = t.sh("cat /proc/self/mountinfo", |b| {
            b.mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": options}));
        });
        self::options(&info, "/mnt")
    };
    assert!(tmpfs(&["noatime"]).contains(&"noatime".to_owned()));
    assert!(tmpfs(&["relatime"]).contains(&"relatime".to_owned()));
    let strict = tmpfs(&["strictatime"]);
    assert!(!strict.iter().any(|o| o == "relatime" || o == "noatime"), "{strict:?}");
    assert!(tmpfs(&[]).contains(&"relatime".to_owned()), "the kernel's default");
}

fn atime_flags_are_undone_by_their_opposites(t: &Case) {
    for (options, has, lacks) in [
        (["noatime", "atime"], Some("relatime"), "noatime"),
        (["nodiratime", "diratime"], None, "nodiratime"),
        (["strictatime", "nostrictatime"], Some("relatime"), "noatime"),
        (["relatime", "norelatime"], None, "noatime"),
        (["nosymfollow", "symfollow"], None, "nosymfollow"),
    ] {
        let info = t.sh("cat /proc/self/mountinfo", |b| {
            b.mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": options}));
        });
        let got = self::options(&info, "/mnt");
        assert!(has.is_none_or(|has| got.iter().any(|o| o == has)) && !got.iter().any(|o| o == lacks), "{options:?}: {got:?}");
    }
}

fn options_of_the_file_system_are_set_and_undone(t: &Case) {
    // The kernel shows these with the file system, after the dash.
    for (option, opposite) in [("sync", Some("async")), ("dirsync", None), ("lazytime", Some("nolazytime"))] {
        let of = |options: &[&str]| {
            let info = t.sh("grep ' /mnt ' /proc/self/mountinfo", |b| {
                b.mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": options}));
            });
            info.trim().rsplit(' ').next().unwrap().split(',').any(|o| o == option)
        };
        assert!(of(&[option]), "{option}");
        if let Some(opposite) = opposite {
            assert!(!of(&[option, opposite]), "{option},{opposite}");
        }
    }
}

fn nosymfollow(t: &Case) {
    let source = dir(t, "source");
    symlink("file", source.join("link")).unwrap();
    let out = t.sh("cat /mnt/link 2>&1; true", |b| {
        b.bind(&source, "/mnt", &["bind", "nosymfollow"]);
    });
    assert_has(&out, "symbolic links");
}

fn tmpfs(t: &Case, script: &str, options: &[&str], change: impl FnOnce(&Bundle)) -> String {
    t.sh(script, |b| {
        b.mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": options}));
        change(b);
    })
}

fn tmpfs_with_data(t: &Case) {
    let out = tmpfs(t, "stat -c '%a %u:%g' /mnt; grep ' /mnt ' /proc/self/mountinfo", &["size=3m", "mode=0750", "uid=7", "gid=8"], |_| ());
    assert_has(&out, "750 7:8\n");
    assert_has(&out, "size=3072k");
}

fn tmpfs_defaults_to_mode_1777(t: &Case) {
    let out = t.sh("stat -c %a /new", |b| {
        b.mount(json!({"destination": "/new", "type": "tmpfs", "source": "tmpfs"}));
    });
    assert!(["1777\n", "755\n"].contains(&out.as_str()), "{out}");
}

fn tmpfs_keeps_the_mode_of_the_image(t: &Case) {
    let out = tmpfs(t, "stat -c %a /mnt", &[], |b| fs::set_permissions(b.root("/mnt"), fs::Permissions::from_mode(0o2755)).unwrap());
    assert_eq!(out, "2755\n");
}

fn tmpfs_of_another_owner(t: &Case) {
    assert_eq!(tmpfs(t, "stat -c '%u:%g' /mnt", &["uid=1000", "gid=1001"], |_| ()), "1000:1001\n");
}

fn tmpfs_readonly(t: &Case) {
    assert_has(&tmpfs(t, "touch /mnt/x 2>&1; true", &["ro"], |_| ()), "Read-only");
}

fn tmpcopyup(t: &Case) {
    let b = t.bundle_sh("cat /mnt/sub/file; readlink /mnt/link; stat -c '%a %u' /mnt/sub/file; echo changed > /mnt/sub/file");
    fs::create_dir(b.root("/mnt/sub")).unwrap();
    write(b.root("/mnt/sub/file"), "original\n");
    fs::set_permissions(b.root("/mnt/sub/file"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(b.root("/mnt/sub/file"), Some(0), Some(9)).unwrap();
    symlink("sub/file", b.root("/mnt/link")).unwrap();
    b.mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}));
    assert_eq!(t.run(&b).ok(), "original\nsub/file\n640 0\n");
    assert_eq!(read(b.root("/mnt/sub/file")), "original\n", "the image is as it was");
}

fn tmpfs_without_tmpcopyup_is_empty(t: &Case) {
    assert_eq!(tmpfs(t, "ls -A /mnt", &[], |b| write(b.root("/mnt/file"), "x")), "");
}

fn mounts_happen_in_order(t: &Case) {
    let (one, two) = (dir(t, "one"), t.mkdir("two"));
    write(two.join("second"), "second\n");
    fs::create_dir(one.join("sub")).unwrap();
    let out = t.sh("cat /mnt/file /mnt/sub/second", |b| {
        b.bind(&one, "/mnt", &["rbind"]).bind(&two, "/mnt/sub", &["rbind"]);
    });
    assert_eq!(out, "content\nsecond\n");
}

/// Runs the bundle, and compares what the container's mountinfo lists with the configuration. Programs take it that a later line is a later mount.
pub fn assert_listed_in_order(t: &Case, b: &Bundle) {
    let info = t.run(b.sh("cat /proc/self/mountinfo")).ok().to_owned();
    let asked: Vec<String> =
        b.config()["mounts"].as_array().unwrap().iter().map(|m| m["destination"].as_str().unwrap().to_owned()).collect();
    let listed: Vec<&str> = info.lines().map(|line| line.split(' ').nth(4).unwrap()).filter(|at| asked.iter().any(|a| a == at)).collect();
    assert_eq!(listed, asked, "{info}");
}

/// A bundle with a bind mount, a file system, binds one after another, a shared one and one with mounts below it, another file system, and a bind
/// of a file.
pub fn interleaved(t: &Case) -> Bundle {
    let (source, nested) = (dir(t, "source"), nested(t));
    let b = t.bundle();
    let tmpfs = |at: &str| {
        b.mount(json!({"destination": at, "type": "tmpfs", "source": "tmpfs", "options": ["size=4k"]}));
    };
    b.bind(&source, "/m/1", &["bind"]);
    tmpfs("/m/2");
    b.bind(&source, "/m/3", &["rbind", "rslave"]).bind(&source, "/m/4", &["rbind", "rshared"]).bind(&nested, "/m/5", &["rbind", "ro"]);
    tmpfs("/m/6");
    b.bind(&source, "/m/7", &["bind", "shared"]).bind(&source.join("file"), "/m/8", &["bind", "private"]);
    b
}

fn mounts_are_listed_in_their_order(t: &Case) {
    assert_listed_in_order(t, &interleaved(t));
}

fn idmapped_mounts_are_listed_in_their_order(t: &Case) {
    let b = interleaved(t);
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    for at in ["/m/91", "/m/92"] {
        b.mount(json!({"destination": format!("{at}/tmpfs"), "type": "tmpfs", "source": "tmpfs"}));
        b.mount(json!({"destination": at, "type": "bind", "source": t.path("source"), "options": ["bind", "idmap"],
            "uidMappings": map, "gidMappings": map}));
    }
    assert_listed_in_order(t, &b);
}

/// Its `/proc` would be there a second time, and nothing masked in it.
fn a_bind_from_above_the_root_has_no_mounts_of_the_container(t: &Case) {
    let out = t.sh("ls -A /above/rootfs/proc /above/rootfs/dev; grep -c ' /above' /proc/self/mountinfo", |b| {
        b.bind(b.dir(), "/above", &["rbind"]);
    });
    assert_eq!(out, "/above/rootfs/dev:\n\n/above/rootfs/proc:\n1\n");
}

fn a_mount_over_a_mount(t: &Case) {
    let (one, two) = (dir(t, "one"), t.mkdir("two"));
    write(two.join("upper"), "");
    assert_eq!(
        t.sh("ls /mnt", |b| {
            b.bind(&one, "/mnt", &["rbind"]).bind(&two, "/mnt", &["rbind"]);
        }),
        "upper\n"
    );
}

fn a_destination_through_a_symbolic_link_stays_inside(t: &Case) {
    let (source, canary) = (dir(t, "source"), t.mkdir("canary"));
    let b = t.bundle_sh("ls /link/deep");
    symlink(&canary, b.root("/link")).unwrap();
    fs::create_dir_all(b.root(canary.to_str().unwrap())).unwrap();
    b.bind(&source, "/link/deep", &["rbind"]);
    assert_eq!(t.run(&b).ok(), "file\n");
    assert_eq!(fs::read_dir(canary).unwrap().count(), 0, "made something on the host");
}

fn a_destination_with_dots_stays_inside(t: &Case) {
    let source = dir(t, "source");
    assert_eq!(
        t.sh("ls /up", |b| {
            b.bind(&source, "/../../../../up", &["rbind"]);
        }),
        "file\n"
    );
    assert!(!present("/up"));
}

fn a_relative_destination_is_taken_from_the_root(t: &Case) {
    let source = dir(t, "source");
    assert_eq!(
        t.sh("ls /mnt", |b| {
            b.bind(&source, "mnt", &["rbind"]);
        }),
        "file\n"
    );
}

fn an_absent_destination_is_refused(t: &Case) {
    let b = t.bundle();
    b.mount(json!({"type": "tmpfs", "source": "tmpfs"}));
    assert_has(&t.refused(&b), "destination");
}

fn an_unknown_file_system_is_refused(t: &Case) {
    let b = t.bundle();
    b.mount(json!({"destination": "/mnt", "type": "nosuchfs", "source": "x"}));
    let text = t.refused(&b);
    assert_has(&text, "/mnt");
    assert_has(&text.to_lowercase(), "no such device");
}

fn an_option_that_the_file_system_refuses_is_refused(t: &Case) {
    let b = t.bundle();
    b.mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["nosuchoption=1"]}));
    let text = t.refused(&b);
    assert_has(&text, "/mnt");
    assert_has(&text.to_lowercase(), "invalid argument");
}

fn proc_shows_the_own_pid_namespace(t: &Case) {
    assert_eq!(t.sh("echo /proc/[0-9]*; echo $$", |_| ()), "/proc/1\n1\n");
}

fn sysfs_is_readonly(t: &Case) {
    assert_has(&t.sh("touch /sys/x 2>&1; true", |_| ()), "Read-only");
}

fn sysfs_shows_the_own_network_namespace(t: &Case) {
    assert_eq!(t.sh(SYSFS_SHOWS_THE_OWN_NETWORK, |_| ()), "own\n");
}

fn mqueue(t: &Case) {
    let out = t.sh("probe filesystem /dev/mqueue; cat /proc/self/mountinfo", |_| ());
    assert_has(&out, "19800202\n");
    for flag in ["nosuid", "nodev", "noexec"] {
        assert!(options(&out, "/dev/mqueue").contains(&flag.to_owned()));
    }
}

fn devpts_is_a_new_instance(t: &Case) {
    let out = t.sh("ls /dev/pts; probe filesystem /dev/pts; stat -c %a /dev/pts/ptmx", |_| ());
    assert_eq!(out, "ptmx\n1cd1\n666\n");
}

fn shm_flags(t: &Case) {
    let out =
        t.sh("cat /proc/self/mountinfo; stat -c 'mode %a' /dev/shm; grep ' /dev/shm ' /proc/self/mountinfo | grep -o size=.*", |_| ());
    for flag in ["nosuid", "nodev", "noexec"] {
        assert!(options(&out, "/dev/shm").contains(&flag.to_owned()));
    }
    assert_has(&out, "mode 1777\n");
    assert_has(&out, "size=65536k");
}

fn no_mounts_at_all(t: &Case) {
    let b = t.bundle_sh("ls /proc /sys; echo end");
    b.edit(|c| {
        c["mounts"] = json!([]);
        c["linux"]["maskedPaths"] = json!([]);
        c["linux"]["readonlyPaths"] = json!([]);
    });
    assert_eq!(t.run(&b).ok(), "/proc:\n\n/sys:\nend\n");
}

fn mounts_absent(t: &Case) {
    let b = t.bundle_sh("echo fine");
    b.edit(|c| drop(c.as_object_mut().unwrap().remove("mounts")));
    assert_eq!(t.run(&b).ok(), "fine\n");
}

fn thirty_mounts(t: &Case) {
    let out = t.sh("ls -d /many/* | wc -l; grep -c ' /many/' /proc/self/mountinfo", |b| {
        for n in 0..30 {
            b.mount(json!({"destination": format!("/many/{n}"), "type": "tmpfs", "source": "tmpfs", "options": ["size=4k"]}));
        }
    });
    assert_eq!(out, "30\n30\n");
}

fn a_thousand_binds(t: &Case) {
    let source = dir(t, "source");
    let out = t.sh("grep -c ' /many/' /proc/self/mountinfo", |b| {
        b.edit(|c| {
            let all = c["mounts"].as_array_mut().unwrap();
            all.extend(
                (0..1000).map(|n| json!({"destination": format!("/many/{n}"), "type": "bind", "source": source, "options": ["bind"]})),
            );
        });
    });
    assert_eq!(out, "1000\n");
}

fn overlay(t: &Case) {
    // On a tmpfs: not every file system can be an upper layer.
    let base = t.tmpfs("overlay", rustix::mount::MountPropagationFlags::PRIVATE);
    for sub in ["lower", "upper", "work"] {
        fs::create_dir(base.join(sub)).unwrap();
    }
    write(base.join("lower/file"), "lower\n");
    let options = ["lower", "upper", "work"].map(|d| format!("{d}dir={}/{d}", base.display()));
    let out = t.sh("cat /mnt/file; echo new > /mnt/file", |b| {
        b.mount(json!({"destination": "/mnt", "type": "overlay", "source": "overlay", "options": options}));
    });
    assert_eq!(out, "lower\n");
    assert_eq!((read(base.join("upper/file")).as_str(), read(base.join("lower/file")).as_str()), ("new\n", "lower\n"));
}

fn destination_made_with_mode_755(t: &Case) {
    let source = dir(t, "source");
    let b = t.bundle_sh("stat -c %a /a /a/b");
    b.bind(&source, "/a/b/c", &["rbind"]);
    let output = t.run_call(&[], &b).shell("umask 077; exec \"$@\"").run();
    assert_eq!(output.ok(), "755\n755\n");
}

fn the_source_of_a_mount_is_told(t: &Case) {
    let out = t.sh("cat /proc/self/mountinfo", |b| {
        b.mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "some-name"}));
    });
    assert_has(&out, " - tmpfs some-name ");
}

fn idmapped_mount(t: &Case) {
    let source = dir(t, "source");
    std::os::unix::fs::chown(source.join("file"), Some(5), Some(6)).unwrap();
    let map = |first: u32| json!([{"containerID": 0, "hostID": first, "size": 1000}]);
    let out = t.sh("stat -c '%u:%g' /mnt/file", |b| {
        b.mount(json!({"destination": "/mnt", "type": "bind", "source": source, "options": ["bind", "idmap"],
            "uidMappings": map(100_000), "gidMappings": map(200_000)}));
    });
    assert_eq!(out, "100005:200006\n");
}

fn an_idmapped_mount_that_is_no_bind_is_refused(t: &Case) {
    let b = t.bundle();
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    b.mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "uidMappings": map, "gidMappings": map}));
    t.refused(&b);
}

fn cgroup_mount_is_readonly(t: &Case) {
    // On v1 the hierarchies are below, on v2 there is the one.
    let out = t.sh("for dir in /sys/fs/cgroup /sys/fs/cgroup/*; do test -e $dir/cgroup.procs && mkdir $dir/made 2>&1; done; true", |_| ());
    assert!(!out.is_empty() && out.lines().all(|l| l.contains("Read-only")), "{out}");
}

fn mountinfo_of_the_host_is_untouched(t: &Case) {
    let mine = |info: String| info.lines().filter(|l| l.contains(t.dir().to_str().unwrap())).count();
    let c = t.create(&t.bundle());
    assert_eq!(mine(read("/proc/self/mountinfo")), 0, "created");
    c.start();
    assert_eq!(mine(read("/proc/self/mountinfo")), 0, "running");
}

/// `fsconfig(2)` takes 255 bytes of an option; managers' overlays have longer ones.
fn an_overlay_of_long_paths(t: &Case) {
    let long = "x".repeat(150);
    let paths = ["lower", "upper", "work"].map(|name| {
        let path = t.mkdir(name).join(&long).join(&long);
        std::fs::create_dir_all(&path).unwrap();
        path
    });
    let [lower, upper, work] = &paths;
    write(lower.join("file"), "below\n");
    let options = [("lowerdir", lower), ("upperdir", upper), ("workdir", work)].map(|(key, path)| format!("{key}={}", path.display()));
    let out = t.sh("cat /mnt/file && echo above > /mnt/file && cat /mnt/file && touch /mnt/x && echo run > /mnt/p && chmod +x /mnt/p; /mnt/p 2>&1; true", |b| {
        let options: Vec<&str> = options.iter().map(String::as_str).chain(["noexec", "nodev"]).collect();
        b.mount(json!({"destination": "/mnt", "type": "overlay", "source": "overlay", "options": options}));
    });
    assert!(out.starts_with("below\nabove\n"), "{out}");
    assert_has(&out, "ermission denied");
    assert_eq!(read(upper.join("file")), "above\n");
    assert_eq!(read(lower.join("file")), "below\n");
}

/// A destination may be a link of the image that leads into /proc, which nothing may hide or replace.
fn a_link_into_proc_is_no_destination(t: &Case) {
    let b = t.bundle();
    symlink("/proc/sys", b.dir().join("rootfs/link")).unwrap();
    b.mount(json!({"destination": "/link", "type": "tmpfs", "source": "tmpfs"}));
    assert_has(&t.refused(&b), "/mounts/7");
}

fn lazytime_and_the_like_are_taken(t: &Case) {
    for option in [
        "defaults",
        "loud",
        "silent",
        "sync",
        "async",
        "dirsync",
        "nolazytime",
        "lazytime",
        "iversion",
        "noiversion",
        "nomand",
        "diratime",
        "norelatime",
        "nostrictatime",
        "atime",
        "symfollow",
    ] {
        t.sh("true", |b| {
            b.mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": [option]}));
        });
    }
}

fn source_may_have_odd_characters(t: &Case) {
    let source = dir(t, "odd name,with\\comma\tand:colon");
    assert_eq!(
        t.sh("cat '/mnt/a b,c:d/file'", |b| {
            b.bind(&source, "/mnt/a b,c:d", &["rbind"]);
        }),
        "content\n"
    );
}

fn remount_is_taken(t: &Case) {
    let info = t.sh("cat /proc/self/mountinfo", |b| {
        b.mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["rw"]}));
        b.mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["remount", "ro"]}));
    });
    assert_has(&info, " /mnt ");
    assert!(options(&info, "/mnt").contains(&"ro".to_owned()), "{info}");
}
