//! config.md: propagation of mounts; config-linux.md: rootfsPropagation.
//!
//! Each test has a host mount that is shared, slave or private, binds it with one propagation, and looks both ways: whether what the container
//! mounts on it appears on the host, and whether what the host mounts on it appears in the container.

use crate::support::*;
use rustix::mount::{MountFlags, MountPropagationFlags as P, mount, unmount};
use std::fs;
use std::path::Path;

pub const TESTS: &[Test] = suite![
    none_of_a_shared_mount,
    private_of_a_shared_mount,
    rprivate_of_a_shared_mount,
    slave_of_a_shared_mount,
    rslave_of_a_shared_mount,
    shared_of_a_shared_mount,
    rshared_of_a_shared_mount,
    unbindable_of_a_shared_mount,
    runbindable_of_a_shared_mount,
    none_of_a_private_mount,
    private_of_a_private_mount,
    slave_of_a_private_mount,
    shared_of_a_private_mount,
    none_of_a_slave_mount,
    slave_of_a_slave_mount,
    submounts_none,
    submounts_rprivate,
    submounts_rslave,
    submounts_rshared,
    a_plain_slave_says_nothing_of_submounts,
    the_peer_group_is_told_as_asked,
    tmpfs_with_propagation,
    propagation_with_readonly,
    rootfs_propagation_defaults_to_no_way_out,
    rootfs_propagation_private,
    rootfs_propagation_slave,
    rootfs_propagation_shared,
    rootfs_propagation_unbindable,
    rootfs_propagation_unknown_is_refused,
    unmounting_in_the_container_leaves_the_host,
];

/// What a mount made on one side is to the other.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Seen {
    by_host: bool,
    by_container: bool,
}

const NOTHING: Seen = Seen { by_host: false, by_container: false };
const INWARD: Seen = Seen { by_host: false, by_container: true };
const BOTH: Seen = Seen { by_host: true, by_container: true };

fn mounter(b: &Bundle) {
    let caps = json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
    b.edit(|c| c["process"]["capabilities"] = json!({"bounding": caps, "effective": caps, "permitted": caps}));
}

/// Mounts a tmpfs at `container` (in the container, which sees `source` at /data) and at `host` (on the host), and looks who sees whose.
fn look(t: &Case, source: &Path, below: &str, options: &[&str], change: impl FnOnce(&Bundle)) -> Seen {
    let at = source.join(below);
    for dir in ["inner", "outer"] {
        fs::create_dir_all(at.join(dir)).unwrap();
    }
    let place = format!("/data/{below}").trim_end_matches('/').to_owned();
    let signals = t.mkdir("signals");
    let b = t.bundle_sh(&format!(
        "mount -t tmpfs container {place}/inner && touch {place}/inner/mark || exit 9; touch /mnt/mounted; \
         while ! test -e /mnt/go; do sleep 0.02; done; test -e {place}/outer/mark && touch /mnt/seen; touch /mnt/looked; sleep 100"
    ));
    mounter(&b);
    b.bind(source, "/data", options);
    b.bind(&signals, "/mnt", &["rbind", "rprivate"]);
    change(&b);
    let c = t.started(&b);
    eventually("the container has mounted", || {
        assert_ne!(c.status(), "stopped", "the container could not mount");
        present(signals.join("mounted")).then_some(())
    });
    let by_host = present(at.join("inner/mark"));
    let listed = read("/proc/self/mountinfo").contains(at.join("inner").to_str().unwrap());
    assert_eq!(by_host, listed, "the mount table and the tree agree");
    mount("host", at.join("outer"), "tmpfs", MountFlags::empty(), None).unwrap();
    write(at.join("outer/mark"), "");
    write(signals.join("go"), "");
    eventually("the container has looked", || present(signals.join("looked")).then_some(()));
    let by_container = present(signals.join("seen"));
    drop(c);
    unmount(at.join("outer"), rustix::mount::UnmountFlags::DETACH).unwrap();
    if by_host {
        // A mount that came to the host by an explicit shared is the host's now.
        let _ = unmount(at.join("inner"), rustix::mount::UnmountFlags::DETACH);
    }
    Seen { by_host, by_container }
}

fn of(t: &Case, host: P, options: &[&str]) -> Seen {
    let source = t.tmpfs("source", host);
    look(t, &source, "", options, |_| ())
}

fn none_of_a_shared_mount(t: &Case) {
    // With no propagation named, nothing goes out; what comes in is the runtime's choice.
    assert!(!of(t, P::SHARED, &["rbind"]).by_host);
}

fn private_of_a_shared_mount(t: &Case) {
    assert_eq!(of(t, P::SHARED, &["rbind", "private"]), NOTHING);
}

fn rprivate_of_a_shared_mount(t: &Case) {
    assert_eq!(of(t, P::SHARED, &["rbind", "rprivate"]), NOTHING);
}

fn slave_of_a_shared_mount(t: &Case) {
    assert_eq!(of(t, P::SHARED, &["rbind", "slave"]), INWARD);
}

fn rslave_of_a_shared_mount(t: &Case) {
    assert_eq!(of(t, P::SHARED, &["rbind", "rslave"]), INWARD);
}

fn shared_of_a_shared_mount(t: &Case) {
    assert_eq!(look_shared(t, "shared"), BOTH);
}

fn rshared_of_a_shared_mount(t: &Case) {
    assert_eq!(look_shared(t, "rshared"), BOTH);
}

/// A runtime makes a tree a slave of the host before it binds from it; so that a bind is a peer of the host, managers ask for a shared root too.
fn look_shared(t: &Case, option: &str) -> Seen {
    let source = t.tmpfs("source", P::SHARED);
    look(t, &source, "", &["rbind", option], |b| {
        b.edit(|c| c["linux"]["rootfsPropagation"] = json!("shared"));
    })
}

fn unbindable_of_a_shared_mount(t: &Case) {
    assert_eq!(of(t, P::SHARED, &["rbind", "unbindable"]), NOTHING);
}

fn runbindable_of_a_shared_mount(t: &Case) {
    assert_eq!(of(t, P::SHARED, &["rbind", "runbindable"]), NOTHING);
}

fn none_of_a_private_mount(t: &Case) {
    assert_eq!(of(t, P::PRIVATE, &["rbind"]), NOTHING);
}

fn private_of_a_private_mount(t: &Case) {
    assert_eq!(of(t, P::PRIVATE, &["rbind", "private"]), NOTHING);
}

fn slave_of_a_private_mount(t: &Case) {
    assert_eq!(of(t, P::PRIVATE, &["rbind", "slave"]), NOTHING, "there is no peer group to be a slave of");
}

fn shared_of_a_private_mount(t: &Case) {
    assert_eq!(of(t, P::PRIVATE, &["rbind", "shared"]), NOTHING, "a new peer group, of which the host is no member");
}

fn none_of_a_slave_mount(t: &Case) {
    assert!(!of(t, P::DOWNSTREAM, &["rbind"]).by_host);
}

fn slave_of_a_slave_mount(t: &Case) {
    assert!(!of(t, P::DOWNSTREAM, &["rbind", "slave"]).by_host);
}

fn submounts(t: &Case, options: &[&str], change: impl FnOnce(&Bundle)) -> Seen {
    let source = t.tmpfs("source", P::SHARED);
    t.tmpfs("source/sub", P::SHARED);
    look(t, &source, "sub", options, change)
}

fn submounts_none(t: &Case) {
    assert!(!submounts(t, &["rbind"], |_| ()).by_host);
}

fn submounts_rprivate(t: &Case) {
    assert_eq!(submounts(t, &["rbind", "rprivate"], |_| ()), NOTHING);
}

fn submounts_rslave(t: &Case) {
    assert_eq!(submounts(t, &["rbind", "rslave"], |_| ()), INWARD);
}

fn submounts_rshared(t: &Case) {
    assert_eq!(
        submounts(t, &["rbind", "rshared"], |b| {
            b.edit(|c| c["linux"]["rootfsPropagation"] = json!("shared"));
        }),
        BOTH
    );
}

fn a_plain_slave_says_nothing_of_submounts(t: &Case) {
    assert!(!submounts(t, &["rbind", "slave"], |_| ()).by_host);
}

fn the_peer_group_is_told_as_asked(t: &Case) {
    let source = t.tmpfs("source", P::SHARED);
    for (option, has, lacks) in [
        ("private", None, &["shared:", "master:", "unbindable"] as &[_]),
        ("slave", Some("master:"), &["shared:", "unbindable"]),
        ("rslave", Some("master:"), &["shared:", "unbindable"]),
        ("shared", Some("shared:"), &["unbindable"]),
        ("rshared", Some("shared:"), &["unbindable"]),
        ("unbindable", Some("unbindable"), &["shared:", "master:"]),
    ] {
        let info = t.sh("grep ' /data ' /proc/self/mountinfo", |b| {
            b.bind(&source, "/data", &["rbind", option]);
        });
        let optional = info.split(" - ").next().unwrap();
        if let Some(has) = has {
            assert!(optional.contains(has), "{option}: {info}");
        }
        for lacks in lacks {
            assert!(!optional.contains(lacks), "{option}: {info}");
        }
    }
}

fn tmpfs_with_propagation(t: &Case) {
    for (option, word) in [("shared", "shared:"), ("unbindable", "unbindable")] {
        let info = t.sh("grep ' /data ' /proc/self/mountinfo", |b| {
            b.mount(json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": [option]}));
        });
        assert_has(&info, word);
    }
}

fn propagation_with_readonly(t: &Case) {
    let source = t.tmpfs("source", P::SHARED);
    let out = t.sh("touch /data/x 2>&1; grep ' /data ' /proc/self/mountinfo", |b| {
        b.bind(&source, "/data", &["rbind", "ro", "rslave"]);
    });
    assert_has(&out, "Read-only");
    assert_has(&out, "master:");
}

/// The root of the container on a shared mount of the host.
fn rooted(t: &Case, propagation: Option<&str>) -> (Seen, String) {
    let b = t.bundle_sh("");
    let base = t.tmpfs("base", P::SHARED);
    // On the tmpfs by copy, for it is another file system.
    let copied = std::process::Command::new("cp").arg("-a").arg(b.dir().join("rootfs")).arg(&base).status().unwrap();
    assert!(copied.success());
    let root = base.join("rootfs");
    for dir in ["inner", "outer", "signals"] {
        fs::create_dir(root.join(dir)).unwrap();
    }
    let signals = t.mkdir("signals");
    b.sh(
        "mount -t tmpfs container /inner && touch /inner/mark || exit 9; grep ' / / \\| /rootfs / ' /proc/self/mountinfo > /signals/info; \
          touch /signals/mounted; while ! test -e /signals/go; do sleep 0.02; done; test -e /outer/mark && touch /signals/seen; \
          touch /signals/looked; sleep 100",
    );
    mounter(&b);
    b.bind(&signals, "/signals", &["rbind", "rprivate"]);
    b.edit(|c| {
        c["root"]["path"] = json!(root);
        if let Some(propagation) = propagation {
            c["linux"]["rootfsPropagation"] = json!(propagation);
        }
    });
    let c = t.started(&b);
    eventually("the container has mounted", || {
        assert_ne!(c.status(), "stopped", "the container could not mount");
        present(signals.join("mounted")).then_some(())
    });
    let by_host = present(root.join("inner/mark"));
    mount("host", root.join("outer"), "tmpfs", MountFlags::empty(), None).unwrap();
    t.unmount_later(&root.join("outer"));
    write(root.join("outer/mark"), "");
    write(signals.join("go"), "");
    eventually("the container has looked", || present(signals.join("looked")).then_some(()));
    let seen = Seen { by_host, by_container: present(signals.join("seen")) };
    drop(c);
    (seen, read(signals.join("info")))
}

fn rootfs_propagation_defaults_to_no_way_out(t: &Case) {
    assert!(!rooted(t, None).0.by_host);
}

fn rootfs_propagation_private(t: &Case) {
    let (seen, info) = rooted(t, Some("private"));
    assert_eq!(seen, NOTHING);
    assert!(!info.contains("shared:") && !info.contains("master:"), "{info}");
}

fn rootfs_propagation_slave(t: &Case) {
    let (seen, info) = rooted(t, Some("slave"));
    assert!(!seen.by_host);
    assert_lacks(&info, "shared:");
}

fn rootfs_propagation_shared(t: &Case) {
    // The root is shared inside, so that the container may hand its mounts on; the host must not be in that group.
    let (seen, info) = rooted(t, Some("shared"));
    assert!(!seen.by_host, "what the container mounts on its root appears on the host");
    assert_has(&info, "shared:");
}

fn rootfs_propagation_unbindable(t: &Case) {
    let (seen, info) = rooted(t, Some("unbindable"));
    assert_eq!(seen, NOTHING);
    assert_has(&info, "unbindable");
}

fn rootfs_propagation_unknown_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["linux"]["rootfsPropagation"] = json!("sideways"));
    assert_has(&t.refused(&b), "sideways");
}

fn unmounting_in_the_container_leaves_the_host(t: &Case) {
    let source = t.tmpfs("source", P::SHARED);
    let sub = t.tmpfs("source/sub", P::SHARED);
    write(sub.join("mark"), "");
    for options in [&["rbind"] as &[&str], &["rbind", "rslave"], &["rbind", "rprivate"]] {
        t.sh("umount /data/sub && ! test -e /data/sub/mark", |b| {
            mounter(b);
            b.bind(&source, "/data", options);
        });
        assert!(present(sub.join("mark")), "{options:?}: the container unmounted it on the host");
    }
}
