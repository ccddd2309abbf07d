//! What a mount becomes.

use super::super::Source;
use super::super::plan::Copied;
use super::*;

fn selinux() -> Host {
    Host { selinux: true, ..root() }
}

const LABEL: &str = "u:r:t:s0:c1,c2";

/// The steps of one mount of this type, on a machine with SELinux and with a label.
fn labelled(mount: Value) -> Vec<String> {
    let all = steps(&selinux(), |c| {
        c["mounts"] = json!([mount]);
        c["linux"]["mountLabel"] = json!(LABEL);
    });
    all.into_iter().filter(|step| ["NewFs", "Label", "LegacyMount"].iter().any(|name| step.starts_with(name))).collect()
}

#[test]
fn a_label_is_an_option_of_what_takes_one() {
    let context = format!("context={LABEL}");
    for kind in ["tmpfs", "devpts", "overlay", "ext4", "nfs", "ramfs"] {
        let steps = labelled(json!({"destination": "/a", "type": kind, "source": "s", "options": ["mode=755"]}));
        assert_eq!(steps.len(), 1, "{steps:?}");
        assert!(steps[0].contains(&context), "{steps:?}");
    }
    for kind in ["proc", "sysfs", "cgroup2", "binfmt_misc", "securityfs", "bpf"] {
        let steps = labelled(json!({"destination": if kind == "proc" { "/proc" } else { "/a" }, "type": kind, "source": "s"}));
        assert!(!steps.iter().any(|step| step.contains(LABEL)), "{kind}: {steps:?}");
    }
    let steps = labelled(json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "s"}));
    assert_eq!((steps.len(), steps[1].as_str()), (2, "Label opened 1 \"u:r:t:s0:c1,c2\""), "{steps:?}");
    assert!(labelled(json!({"destination": "/a", "type": "bind", "source": "/s"})).is_empty(), "a bind mount has the labels of its source");
}

#[test]
fn a_label_of_the_mounts_own_goes_before() {
    let steps = labelled(json!({"destination": "/a", "type": "tmpfs", "options": ["context=\"mine:s0:c1,c2\""]}));
    assert!(steps[0].contains("context=mine:s0:c1,c2") && !steps[0].contains(LABEL), "{steps:?}");
}

#[test]
fn a_label_is_quoted_where_options_are_one_text() {
    let long = format!("lowerdir=/{}", "x".repeat(300));
    let steps = labelled(json!({"destination": "/a", "type": "overlay", "source": "overlay", "options": [long]}));
    assert!(steps[0].starts_with("LegacyMount") && steps[0].contains(r#",context=\"u:r:t:s0:c1,c2\"""#), "{steps:?}");
}

#[test]
fn what_covers_masked_paths_has_the_label_too() {
    let steps = steps(&selinux(), |c| {
        c["linux"]["mountLabel"] = json!(LABEL);
        c["linux"]["maskedPaths"] = json!(["/x"]);
    });
    let cover = &steps[position(&steps, "NewFs tmpfs")];
    assert!(cover.contains(&format!("context={LABEL}")), "{cover}");
}

#[test]
fn a_label_without_selinux_is_refused() {
    let message = refused(|c| c["linux"]["mountLabel"] = json!(LABEL));
    assert!(message.ends_with("(/linux/mountLabel)"), "{message}");
}

/// The step by which a mount of this type is made in a user namespace with these others.
fn made(namespaces: Value, destination: &str, kind: &str) -> String {
    let plan = plan(&root(), |c| {
        in_new_userns(c, 100_000, 65536);
        if !namespaces.as_array().expect("a list").iter().any(|n| n["type"] == "user" && n.get("path").is_none()) {
            c["linux"].as_object_mut().expect("an object").remove("uidMappings");
            c["linux"].as_object_mut().expect("an object").remove("gidMappings");
        }
        c["linux"]["namespaces"] = namespaces;
        c["mounts"] = json!([{"destination": destination, "type": kind, "source": kind}]);
    });
    let is_it = |copied: &Copied| matches!(&copied.source, Source::Tree { path, .. } if path == Path::new(destination));
    let bound = plan.copies.iter().any(is_it);
    if bound {
        "bound".to_owned()
    } else {
        printed(&plan).into_iter().find(|step| step.starts_with(&format!("NewFs {kind}"))).map_or_else(String::new, |_| "new".to_owned())
    }
}

#[test]
fn what_shows_a_namespace_is_made_by_who_owns_it() {
    for (destination, kind, namespace) in [("/proc", "proc", "pid"), ("/sys", "sysfs", "network"), ("/dev/mqueue", "mqueue", "ipc")] {
        let with = |user: Value, other: Option<Value>| {
            let mut all = vec![json!({"type": "mount"}), user];
            all.extend(other);
            made(Value::Array(all), destination, kind)
        };
        let (new_user, joined_user) = (json!({"type": "user"}), json!({"type": "user", "path": "/proc/9/ns/user"}));
        let (new, joined) = (json!({"type": namespace}), json!({"type": namespace, "path": "/proc/9/ns/x"}));
        assert_eq!(with(new_user.clone(), Some(new.clone())), "new", "{kind}");
        assert_eq!(with(new_user.clone(), None), "bound", "{kind}: it is the host's");
        if kind != "proc" {
            assert_eq!(with(new_user, Some(joined.clone())), "bound", "{kind}: it is of another user namespace");
        }
        assert_eq!(with(joined_user.clone(), Some(new)), "new", "{kind}");
        assert_eq!(with(joined_user.clone(), Some(joined)), "new", "{kind}: it is the pod's");
        assert_eq!(with(joined_user, None), "bound", "{kind}: it is the host's");
    }
}

#[test]
fn processes_of_the_host_are_not_shown_for_those_of_a_joined_pid_namespace() {
    let message = refused(|c| {
        in_new_userns(c, 100_000, 65536);
        c["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "user"}, {"type": "pid", "path": "/proc/9/ns/pid"}]);
        c["mounts"] = json!([{"destination": "/proc", "type": "proc", "source": "proc"}]);
    });
    assert!(message.ends_with("(/mounts/0)"), "{message}");
}

#[test]
fn a_link_that_is_to_be_copied_is_made_and_not_mounted() {
    let mut config = minimal();
    let mount = |source: &str| json!({"destination": "/etc/l", "type": "bind", "source": source, "options": ["bind", "copy-symlink"]});
    config["mounts"] = json!([mount("/no-link"), mount("/link")]);
    let spec: Spec = serde_json::from_value(config).expect("the types are right");
    let (host, place, links) = (root(), place(Version::V2), BTreeMap::from([(1, PathBuf::from("../to"))]));
    let plan = compile(Request { links: &links, ..request(&spec, &host, &place) }).expect("it can be");
    let steps = printed(&plan);
    position(&steps, "Symlink \"/etc/l\" in source 0 to \"../to\" and nothing else");
    position(&steps, "Target \"/etc/l\" in source 0 (as opened 1)");
}

/// The steps that make mounts, where these are asked for and are copies of `/NAME`, or file systems.
fn made_by(mounts: &[(&str, &str)], edit: impl FnOnce(&mut Value)) -> Vec<String> {
    let plan = plan(&root(), |c| {
        let one = |(name, options): &(&str, &str)| match *options {
            "tmpfs" => json!({"destination": format!("/m/{name}"), "type": "tmpfs"}),
            options => json!({"destination": format!("/m/{name}"), "type": "bind", "source": format!("/{name}"), "options": [options]}),
        };
        c["mounts"] = mounts.iter().map(one).collect();
        edit(c);
    });
    let names = ["Ask Copies", "Receive", "OpenTree", "NewFs", "Network"];
    printed(&plan).into_iter().filter(|step| names.iter().any(|name| step.starts_with(name))).collect()
}

#[test]
fn each_mount_is_made_at_its_turn_and_the_host_is_asked_once_where_nothing_comes_between() {
    let steps = made_by(&[("a", "rbind"), ("b", "shared"), ("c", "tmpfs"), ("d", "bind")], |_| {});
    let expected =
        ["Ask Copies", "Receive -> opened 1", "Receive -> opened 3", "NewFs tmpfs -> opened 5", "Ask Copies", "Receive -> opened 7"];
    assert_eq!(steps, expected);
    let steps = made_by(&[("a", "rbind"), ("b", "rbind")], |c| in_new_userns(c, 1000, 1));
    let asked = steps.iter().filter(|step| *step == "Ask Copies").count();
    assert_eq!((asked, steps.len()), (1, 1 + 2 + 6), "the devices come next: {steps:?}");
}

#[test]
fn the_network_namespace_is_received_before_any_copy() {
    let steps = made_by(&[("a", "rbind")], |c| {
        c["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "network"}]);
    });
    assert_eq!(steps, ["Network made by the host in the meantime", "Ask Copies", "Receive -> opened 1"], "the host sends it first");
}
