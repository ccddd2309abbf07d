//! config.md: mounts with id mappings — idmap, ridmap, uidMappings and gidMappings.

use crate::support::*;
use rustix::mount::MountPropagationFlags as P;
use std::os::unix::fs::chown;
use std::path::PathBuf;

const IDMAP: Need = Need::Idmap;

pub const TESTS: &[Test] = suite![
    mappings_of_the_mount_are_taken: [IDMAP],
    mappings_alone_are_enough: [IDMAP],
    idmap_leaves_submounts_alone: [IDMAP],
    ridmap_reaches_submounts: [IDMAP],
    the_option_reaches_no_file_system: [IDMAP],
    the_user_namespace_of_the_container_serves_instead: [IDMAP, Need::Userns],
    a_joined_user_namespace_serves_instead: [IDMAP, Need::Userns],
    mappings_of_the_mount_go_before_the_user_namespace: [IDMAP, Need::Userns],
    several_ranges: [IDMAP],
    what_the_container_makes_is_mapped_back: [IDMAP],
    without_mappings_and_user_namespace_it_is_refused,
    one_mapping_without_the_other_is_refused: [Need::Runtime("aril")],
    a_mapping_that_cannot_be_is_refused: [Need::Runtime("aril")],
    mappings_in_the_option: [Need::Runtime("aril"), IDMAP],
    mappings_in_the_option_relative_to_the_user_namespace: [Need::Runtime("aril"), IDMAP, Need::Userns],
    mappings_in_the_option_that_cannot_be_are_refused: [Need::Runtime("aril")],
    a_file_system_that_takes_none_is_refused: [Need::Runtime("aril"), IDMAP],
];

/// A directory with a file of 5:6.
fn source(t: &Case) -> PathBuf {
    let path = t.mkdir("source");
    write(path.join("file"), "content\n");
    chown(path.join("file"), Some(5), Some(6)).unwrap();
    path
}

fn map(first: u32) -> Value {
    json!([{"containerID": 0, "hostID": first, "size": 1000}])
}

fn mount(b: &Bundle, source: &PathBuf, options: &[&str], mappings: Option<(u32, u32)>) {
    let mut mount = json!({"destination": "/mnt", "type": "bind", "source": source, "options": options});
    if let Some((uid, gid)) = mappings {
        mount["uidMappings"] = map(uid);
        mount["gidMappings"] = map(gid);
    }
    b.mount(mount);
}

const OWNER: &str = "stat -c '%u:%g' /mnt/file";

fn mappings_of_the_mount_are_taken(t: &Case) {
    let source = source(t);
    assert_eq!(t.sh(OWNER, |b| mount(b, &source, &["bind", "idmap"], Some((100_000, 200_000)))), "100005:200006\n");
}

fn mappings_alone_are_enough(t: &Case) {
    let source = source(t);
    assert_eq!(t.sh(OWNER, |b| mount(b, &source, &["rbind"], Some((100_000, 200_000)))), "100005:200006\n");
}

/// A source with a mount below it, whose file is of 5:6 as well.
fn with_submount(t: &Case) -> PathBuf {
    let source = source(t);
    let other = t.mkdir("other");
    write(other.join("file"), "below\n");
    chown(other.join("file"), Some(5), Some(6)).unwrap();
    let below = t.mkdir("source/below");
    rustix::mount::mount_bind(&other, &below).unwrap();
    rustix::mount::mount_change(&below, P::PRIVATE).unwrap();
    t.unmount_later(&below);
    source
}

fn idmap_leaves_submounts_alone(t: &Case) {
    let source = with_submount(t);
    let out = t.sh("stat -c '%u:%g' /mnt/file /mnt/below/file", |b| mount(b, &source, &["rbind", "idmap"], Some((100_000, 200_000))));
    assert_eq!(out, "100005:200006\n5:6\n");
}

fn ridmap_reaches_submounts(t: &Case) {
    let source = with_submount(t);
    let out = t.sh("stat -c '%u:%g' /mnt/file /mnt/below/file", |b| mount(b, &source, &["rbind", "ridmap"], Some((100_000, 200_000))));
    assert_eq!(out, "100005:200006\n100005:200006\n");
}

/// A file system that was given an option that it does not know would refuse it; what is mounted shows only its own.
fn the_option_reaches_no_file_system(t: &Case) {
    let source = source(t);
    for option in ["idmap", "ridmap"] {
        let out = t.sh("grep ' /mnt ' /proc/self/mountinfo", |b| mount(b, &source, &["bind", option], Some((100_000, 100_000))));
        assert!(!out.split(" - ").nth(1).unwrap().contains("idmap"), "{out}");
    }
}

fn the_user_namespace_of_the_container_serves_instead(t: &Case) {
    let source = source(t);
    for option in ["idmap", "ridmap"] {
        let out = t.sh(OWNER, |b| {
            b.userns(100_000, 65536);
            mount(b, &source, &["bind", option], None);
        });
        assert_eq!(out, "5:6\n", "{option}");
    }
}

fn a_joined_user_namespace_serves_instead(t: &Case) {
    let source = source(t);
    let first = t.bundle_sh("sleep 1000");
    first.userns(100_000, 65536);
    let container = t.started(&first);
    let out = t.sh(OWNER, |b| {
        b.userns(100_000, 65536);
        b.namespace(json!({"type": "user", "path": format!("/proc/{}/ns/user", container.pid())}));
        b.edit(|c| {
            c["linux"].as_object_mut().unwrap().remove("uidMappings");
            c["linux"].as_object_mut().unwrap().remove("gidMappings");
        });
        mount(b, &source, &["bind", "idmap"], None);
    });
    assert_eq!(out, "5:6\n");
}

fn mappings_of_the_mount_go_before_the_user_namespace(t: &Case) {
    let source = source(t);
    let out = t.sh(OWNER, |b| {
        b.userns(100_000, 65536);
        mount(b, &source, &["bind", "idmap"], Some((100_010, 100_020)));
    });
    assert_eq!(out, "15:26\n");
}

fn several_ranges(t: &Case) {
    let source = source(t);
    let ranges = json!([{"containerID": 0, "hostID": 1000, "size": 5}, {"containerID": 5, "hostID": 70_000, "size": 5}]);
    let out = t.sh(OWNER, |b| {
        b.mount(json!({"destination": "/mnt", "type": "bind", "source": source, "options": ["bind", "idmap"],
            "uidMappings": ranges, "gidMappings": ranges}));
    });
    assert_eq!(out, "70000:70001\n");
}

fn what_the_container_makes_is_mapped_back(t: &Case) {
    let source = source(t);
    chown(&source, Some(0), Some(0)).unwrap();
    t.sh("touch /mnt/new", |b| {
        b.userns(100_000, 65536);
        mount(b, &source, &["bind", "idmap"], None);
    });
    let meta = std::fs::metadata(source.join("new")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((meta.uid(), meta.gid()), (0, 0));
}

fn without_mappings_and_user_namespace_it_is_refused(t: &Case) {
    let source = source(t);
    for option in ["idmap", "ridmap"] {
        let b = t.bundle();
        mount(&b, &source, &["bind", option], None);
        let text = t.refused(&b);
        if t.environment.name == "aril" {
            assert_has(&text, "(/mounts/7/options)");
        }
    }
}

fn one_mapping_without_the_other_is_refused(t: &Case) {
    let source = source(t);
    for key in ["uidMappings", "gidMappings"] {
        let b = t.bundle();
        b.mount(json!({"destination": "/mnt", "type": "bind", "source": source, "options": ["bind", "idmap"], key: map(1000)}));
        assert_has(&t.refused(&b), "(/mounts/7)");
    }
}

fn a_mapping_that_cannot_be_is_refused(t: &Case) {
    let source = source(t);
    let b = t.bundle();
    b.mount(json!({"destination": "/mnt", "type": "bind", "source": source, "options": ["bind", "idmap"],
        "uidMappings": map(1000), "gidMappings": [{"containerID": 0, "hostID": 0, "size": 0}]}));
    assert_has(&t.refused(&b), "(/mounts/7/gidMappings/0)");
}

fn mappings_in_the_option(t: &Case) {
    let source = source(t);
    let option = "idmap=uids=0-300000-5#5-400000-1;gids=0-500000-10";
    assert_eq!(t.sh(OWNER, |b| mount(b, &source, &["bind", option], None)), "400000:500006\n");
}

fn mappings_in_the_option_relative_to_the_user_namespace(t: &Case) {
    let source = source(t);
    let out = t.sh(OWNER, |b| {
        b.userns(100_000, 65536);
        mount(b, &source, &["bind", "idmap=uids=@5-42-1;gids=@0-100-10"], None);
    });
    assert_eq!(out, "42:106\n", "ids as the container sees them");
}

fn mappings_in_the_option_that_cannot_be_are_refused(t: &Case) {
    let source = source(t);
    for (option, words) in [
        ("idmap=uids=0-1-10", "uids and gids go together"),
        ("idmap=uids=0-1;gids=0-1-1", "\"0-1\" is no range of ids"),
        ("idmap=uids=@0-0-1;gids=@0-0-1", "the container's user namespace has no id 0"),
    ] {
        let b = t.bundle();
        mount(&b, &source, &["bind", option], None);
        let text = t.refused(&b);
        assert_has(&text, words);
        assert_has(&text, "(/mounts/7/options/1)");
    }
}

fn a_file_system_that_takes_none_is_refused(t: &Case) {
    let b = t.bundle();
    mount(&b, &PathBuf::from("/proc/sys"), &["bind", "idmap"], Some((1000, 1000)));
    let text = t.refused(&b);
    assert_has(&text, "(/mounts/7)");
    assert_has(&text, "mount_setattr");
}
