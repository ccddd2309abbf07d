//! What `features` prints (runtime-spec, "Features Structure"), held against what the runtime then accepts.

use crate::support::*;

pub const TESTS: &[Test] = suite![
    it_prints_json_and_nothing_else,
    it_does_not_depend_on_caller_or_machine: [Need::Runtime("aril")],
    both_versions_are_accepted,
    keys_are_those_of_the_specification,
    nothing_is_null: [Need::Runtime("aril")],
    hooks_are_accepted,
    mount_options_are_recognised: [Need::Runtime("aril")],
    no_option_of_a_file_system_is_listed,
    namespaces_are_recognised: [Need::Runtime("aril")],
    capabilities_are_recognised: [Need::Runtime("aril")],
    seccomp_names_are_recognised: [Need::Runtime("aril")],
    memory_policies_are_recognised: [Need::Runtime("aril")],
    what_is_not_enabled_is_refused_by_name: [Need::Runtime("aril")],
    what_containerd_and_docker_look_for,
    annotations_are_named_like_domains: [Need::Runtime("aril")],
    annotations_that_change_something_are_listed: [Need::Runtime("aril")],
];

fn features(t: &Case) -> Value {
    t.rt(&["features"]).run().json()
}

fn names(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(|name| name.as_str().expect("a name")).collect()
}

/// `explain` takes the configuration after the change.
fn accepted(t: &Case, what: &str, change: impl FnOnce(&mut Value)) {
    let b = t.bundle();
    b.edit(change);
    let output = t.rt(&["explain", "--bundle", b.dir().to_str().unwrap()]).run();
    assert_eq!(output.code(), 0, "{what}: {}", output.stderr);
}

fn it_prints_json_and_nothing_else(t: &Case) {
    let output = t.rt(&["features"]).without_root().run();
    assert!(output.json().is_object());
    // CRI-O parses standard output and standard error together.
    assert_eq!(output.stderr, "");
    assert_ne!(t.rt(&["features", "more"]).run().code(), 0);
}

fn it_does_not_depend_on_caller_or_machine(t: &Case) {
    let as_root = t.rt(&["features"]).run().stdout;
    let as_user = t.rt(&["features"]).without_root().user(1000).cwd("/").run();
    assert_eq!(as_user.ok(), as_root);
    let bare = t.rt(&["features"]).shell("exec unshare -m sh -c 'umount -l /sys && umount -l /proc; exec \"$@\"' sh \"$@\"").run();
    assert_eq!(bare.stdout, as_root, "{}", bare.stderr);
}

fn both_versions_are_accepted(t: &Case) {
    let features = features(t);
    let version = |key: &str| features[key].as_str().expect("a version").to_owned();
    let (min, max) = (version("ociVersionMin"), version("ociVersionMax"));
    let numbers = |text: &str| -> Vec<u32> { text.split(['.', '-', '+']).take(3).map(|n| n.parse().expect("a number")).collect() };
    assert!(numbers(&min) <= numbers(&max), "{min} {max}");
    for version in [min, max] {
        let out = t.sh("echo fine", |b| {
            b.edit(|c| c["ociVersion"] = json!(version));
        });
        assert_eq!(out, "fine\n");
    }
}

fn keys_are_those_of_the_specification(t: &Case) {
    let features = features(t);
    let known = |value: &Value, keys: &str| {
        for key in value.as_object().expect("an object").keys() {
            assert!(keys.split(' ').any(|known| known == key), "{key}");
        }
    };
    known(&features, "ociVersionMin ociVersionMax hooks mountOptions linux annotations potentiallyUnsafeConfigAnnotations");
    let linux = &features["linux"];
    known(linux, "namespaces capabilities cgroup seccomp apparmor selinux memoryPolicy intelRdt mountExtensions netDevices");
    known(&linux["cgroup"], "v1 v2 systemd systemdUser rdma");
    known(&linux["seccomp"], "enabled actions operators archs knownFlags supportedFlags");
}

fn nothing_is_null(t: &Case) {
    fn look(value: &Value) {
        match value {
            Value::Object(map) => map.values().for_each(look),
            other => assert!(!other.is_null()),
        }
    }
    look(&features(t));
}

fn hooks_are_accepted(t: &Case) {
    let features = features(t);
    let mut listed = names(&features["hooks"]);
    listed.sort_unstable();
    assert_eq!(listed, ["createContainer", "createRuntime", "poststart", "poststop", "prestart", "startContainer"]);
    for name in listed {
        // Those of the container find their program in its root file system.
        let path = if name == "startContainer" { "/bin/busybox" } else { "/bin/true" };
        let out = t.sh("echo fine", |b| {
            b.hook(name, json!({"path": path, "args": ["true"]}));
        });
        assert_eq!(out, "fine\n", "{name}");
    }
}

fn mount_options_are_recognised(t: &Case) {
    let features = features(t);
    let listed = names(&features["mountOptions"]);
    assert!(listed.len() > 60, "{listed:?}");
    for name in listed {
        // An option that is not recognised is the file system's: it stands among the words of the new file system then.
        let b = t.bundle();
        b.edit(|c| {
            let mount = json!({"destination": "/m", "type": "tmpfs", "source": "tmpfs", "options": [name]});
            c["mounts"].as_array_mut().unwrap().push(mount);
        });
        let output = t.rt(&["explain", "--bundle", b.dir().to_str().unwrap(), "--format", "json"]).run();
        if output.code() != 0 {
            // It is for bind mounts alone, and refused as such.
            assert_lacks(&output.stderr, "unknown");
            continue;
        }
        let steps = output.json()["steps"].to_string();
        let filesystem_flags = ["async", "dirsync", "lazytime", "mand", "nolazytime", "nomand", "ro", "rw", "sync"];
        assert!(filesystem_flags.contains(&name) || !steps.contains(&format!("\\\"{name}\\\"")), "{name}: {steps}");
    }
}

fn no_option_of_a_file_system_is_listed(t: &Case) {
    let features = features(t);
    for name in names(&features["mountOptions"]) {
        assert!(
            !["size", "mode", "uid", "gid", "data", "nr_inodes", "lowerdir", "upperdir", "workdir", "newinstance"].contains(&name),
            "{name}"
        );
    }
}

fn namespaces_are_recognised(t: &Case) {
    let features = features(t);
    let mut listed = names(&features["linux"]["namespaces"]);
    listed.sort_unstable();
    assert_eq!(listed, ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]);
    for name in listed {
        accepted(t, name, |c| {
            c["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": name}]);
            if name == "mount" {
                c["linux"]["namespaces"] = json!([{"type": "mount"}]);
            }
            if name == "user" {
                let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
                c["linux"]["uidMappings"] = map.clone();
                c["linux"]["gidMappings"] = map;
            }
            if name != "uts" {
                c.as_object_mut().unwrap().remove("hostname");
            }
        });
    }
}

fn capabilities_are_recognised(t: &Case) {
    let features = features(t);
    let listed = features["linux"]["capabilities"].clone();
    assert!(names(&listed).len() >= 41, "{listed}");
    let b = t.bundle();
    b.edit(|c| c["process"]["capabilities"] = json!({"bounding": listed}));
    // A name that is not recognised is warned of by the configuration's reader.
    let output = t.rt(&["explain", "--bundle", b.dir().to_str().unwrap(), "--format", "json"]).run();
    assert_lacks(&output.json()["warnings"].to_string(), "unknown");
}

fn seccomp_names_are_recognised(t: &Case) {
    let features = features(t);
    let seccomp = &features["linux"]["seccomp"];
    assert_eq!(seccomp["enabled"], true);
    let filter = |action: &str, rule: Value, more: Value| {
        accepted(t, action, |c| {
            let mut profile = json!({"defaultAction": action, "syscalls": [rule]});
            profile.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            c["linux"]["seccomp"] = profile;
        });
    };
    for action in names(&seccomp["actions"]) {
        filter("SCMP_ACT_ALLOW", json!({"names": ["getcwd"], "action": action}), json!({"listenerPath": "/run/agent.sock"}));
    }
    for operator in names(&seccomp["operators"]) {
        let args = json!([{"index": 0, "value": 1, "op": operator}]);
        filter("SCMP_ACT_ALLOW", json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": args}), json!({}));
    }
    let rule = json!({"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"});
    filter("SCMP_ACT_ALLOW", rule.clone(), json!({"architectures": seccomp["archs"]}));
    filter("SCMP_ACT_ALLOW", rule, json!({"flags": seccomp["knownFlags"]}));
    for flag in names(&seccomp["supportedFlags"]) {
        assert!(names(&seccomp["knownFlags"]).contains(&flag), "{flag}");
    }
}

fn memory_policies_are_recognised(t: &Case) {
    let features = features(t);
    let policy = &features["linux"]["memoryPolicy"];
    for mode in names(&policy["modes"]) {
        let nodes = if ["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&mode) { "" } else { "0" };
        accepted(t, mode, |c| c["linux"]["memoryPolicy"] = json!({"mode": mode, "nodes": nodes}));
    }
    for flag in names(&policy["flags"]) {
        accepted(t, flag, |c| c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]}));
    }
}

fn what_is_not_enabled_is_refused_by_name(t: &Case) {
    let features = features(t);
    for (key, value) in [("intelRdt", json!({"closID": "a"})), ("netDevices", json!({"lo": {"name": "x"}}))] {
        let b = t.bundle();
        b.edit(|c| c["linux"][key] = value);
        let output = t.rt(&["explain", "--bundle", b.dir().to_str().unwrap()]).run();
        let unsupported = output.stderr.contains("not yet supported");
        assert_eq!(features["linux"][key]["enabled"], !unsupported, "{key}: {}", output.stderr);
    }
}

fn what_containerd_and_docker_look_for(t: &Case) {
    let features = features(t);
    assert!(names(&features["mountOptions"]).contains(&"rro"), "recursive read-only mounts");
    assert!(names(&features["linux"]["namespaces"]).contains(&"user"), "user namespaces of pods");
    assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], true, "idmapped mounts");
}

fn annotations_are_named_like_domains(t: &Case) {
    let features = features(t);
    for (key, value) in features["annotations"].as_object().expect("an object") {
        assert!(key.split('.').count() > 2 && value.is_string(), "{key}: {value}");
    }
    let version = t.rt(&["--version"]).run().stdout;
    assert_has(&version, features["annotations"]["org.aril.version"].as_str().unwrap());
}

fn annotations_that_change_something_are_listed(t: &Case) {
    let features = features(t);
    let listed = names(&features["potentiallyUnsafeConfigAnnotations"]);
    let known = "run.oci.keep_original_groups run.oci.pidfd_receiver run.oci.handler run.oci.seccomp.receiver run.oci.seccomp_bpf_data \
        run.oci.hooks.stdout run.oci.hooks.stderr run.oci.systemd.subgroup run.oci.delegate-cgroup run.oci.timens_offset";
    for name in known.split(' ') {
        assert!(listed.contains(&name), "{name}: {listed:?}");
    }
}
