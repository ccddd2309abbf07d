//! config-linux.md: namespaces.

use crate::support::*;
use std::fs;

pub const TESTS: &[Test] = suite![
    each_named_namespace_is_new,
    an_absent_namespace_is_the_callers,
    cgroup_namespace_is_new,
    cgroup_namespace_hides_the_path,
    a_namespace_by_path_is_joined,
    the_mount_namespace_of_another_container_may_be_joined,
    a_pod_shares_network_ipc_and_uts,
    a_joined_pid_namespace_shows_both,
    a_joined_network_namespace_keeps_its_devices,
    namespaces_by_path_in_any_order,
    a_path_that_is_missing_is_refused,
    a_path_of_another_type_is_refused,
    a_path_that_is_no_namespace_is_refused,
    a_type_named_twice_is_refused,
    an_unknown_type_is_refused,
    a_relative_path_is_refused,
    no_pid_namespace,
    no_network_namespace,
    no_ipc_namespace,
    no_mount_namespace,
    mounts_in_the_callers_mount_namespace: [Need::Runtime("aril")],
    the_network_has_loopback_alone,
    loopback_is_up,
    init_is_pid_1,
    an_orphan_is_given_to_init,
    the_end_of_init_ends_the_namespace,
    the_runtime_leaves_no_namespace_behind,
    joined_namespaces_outlive_the_container,
];

const LINKS: [(&str, &str); 6] =
    [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("mount", "mnt"), ("cgroup", "cgroup")];

fn link(pid: impl std::fmt::Display, name: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().display().to_string()
}

fn each_named_namespace_is_new(t: &Case) {
    let c = t.started(&t.bundle());
    let pid = c.pid();
    for name in ["pid", "net", "ipc", "uts", "mnt"] {
        assert_ne!(link(pid, name), link("self", name), "{name}");
    }
    assert_eq!(link(pid, "user"), link("self", "user"));
}

fn an_absent_namespace_is_the_callers(t: &Case) {
    for (kind, name) in LINKS.into_iter().filter(|(kind, _)| *kind != "mount") {
        let b = t.bundle();
        b.leave_namespace(kind).edit(|c| {
            if kind == "uts" {
                c.as_object_mut().unwrap().remove("hostname");
            }
        });
        let c = t.started(&b);
        assert_eq!(link(c.pid(), name), link("self", name), "{kind}");
    }
}

fn cgroup_namespace_is_new(t: &Case) {
    let b = t.bundle();
    b.namespace(json!({"type": "cgroup"}));
    let c = t.started(&b);
    assert_ne!(link(c.pid(), "cgroup"), link("self", "cgroup"));
}

fn cgroup_namespace_hides_the_path(t: &Case) {
    let out = t.sh("cat /proc/self/cgroup", |b| {
        b.namespace(json!({"type": "cgroup"}));
    });
    for line in out.lines() {
        assert!(line.ends_with(":/"), "{out}");
    }
}

fn a_namespace_by_path_is_joined(t: &Case) {
    let first = t.started(&t.bundle());
    for (kind, name) in LINKS.into_iter().filter(|(kind, _)| !["mount", "cgroup"].contains(kind)) {
        let b = t.bundle();
        b.namespace(json!({"type": kind, "path": format!("/proc/{}/ns/{name}", first.pid())}));
        if kind == "uts" {
            b.edit(|c| drop(c.as_object_mut().unwrap().remove("hostname")));
        }
        let c = t.started(&b);
        assert_eq!(link(c.pid(), name), link(first.pid(), name), "{kind}");
        assert_ne!(link(c.pid(), "mnt"), link(first.pid(), "mnt"));
    }
}

fn the_mount_namespace_of_another_container_may_be_joined(t: &Case) {
    let b = t.bundle();
    let first = t.started(&b);
    let other = t.bundle_sh("echo joined");
    other.namespace(json!({"type": "mount", "path": format!("/proc/{}/ns/mnt", first.pid())}));
    other.edit(|c| {
        c["mounts"] = json!([]);
        c["linux"]["maskedPaths"] = json!([]);
        c["linux"]["readonlyPaths"] = json!([]);
    });
    // Whether the root is changed in a namespace that was joined is the runtime's choice; that it neither hangs nor leaks is not.
    let output = t.run(&other);
    assert!(output.code() == 0 || !output.stderr.is_empty());
    assert_eq!(first.status(), "running");
}

fn a_pod_shares_network_ipc_and_uts(t: &Case) {
    let sandbox = t.started(&t.bundle());
    let pid = sandbox.pid();
    let members: Vec<_> = (0..2).map(|_| t.bundle()).collect();
    let started: Vec<_> = members
        .iter()
        .map(|b| {
            for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
                b.namespace(json!({"type": kind, "path": format!("/proc/{pid}/ns/{name}")}));
            }
            b.edit(|c| drop(c.as_object_mut().unwrap().remove("hostname")));
            t.started(b)
        })
        .collect();
    for name in ["net", "ipc", "uts"] {
        assert!(started.iter().all(|c| link(c.pid(), name) == link(pid, name)), "{name}");
    }
    assert_ne!(link(started[0].pid(), "pid"), link(started[1].pid(), "pid"));
}

fn a_joined_pid_namespace_shows_both(t: &Case) {
    let b = t.bundle();
    b.args(&["sleep", "298"]);
    let first = t.started(&b);
    let out = t.sh("cat /proc/1/cmdline | tr '\\0' ' '; test $$ != 1 && echo other", |b| {
        b.namespace(json!({"type": "pid", "path": format!("/proc/{}/ns/pid", first.pid())}));
    });
    assert_eq!(out, "sleep 298 other\n");
}

fn a_joined_network_namespace_keeps_its_devices(t: &Case) {
    let b = t.bundle_sh("ip link add dummy7 type dummy || ip link add name br7 type bridge; touch /mnt/done; sleep 100");
    let shared = t.mkdir("shared");
    b.bind(&shared, "/mnt", &["rbind"]);
    let caps = json!(["CAP_NET_ADMIN", "CAP_DAC_OVERRIDE"]);
    b.edit(|c| c["process"]["capabilities"] = json!({"bounding": caps, "effective": caps, "permitted": caps}));
    let first = t.started(&b);
    eventually("the device is made", || present(shared.join("done")).then_some(()));
    let want = t.sh("cat /proc/net/dev | wc -l; ls /sys/class/net | wc -l", |b| {
        b.namespace(json!({"type": "network", "path": format!("/proc/{}/ns/net", first.pid())}));
    });
    let listed = read(format!("/proc/{}/net/dev", first.pid())).lines().count();
    assert_eq!(want, format!("{listed}\n{}\n", listed - 2));
}

fn namespaces_by_path_in_any_order(t: &Case) {
    let first = t.started(&t.bundle());
    let pid = first.pid();
    for reversed in [false, true] {
        let b = t.bundle();
        b.edit(|c| {
            c.as_object_mut().unwrap().remove("hostname");
            let mut all = vec![json!({"type": "mount"})];
            all.extend(
                [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")]
                    .map(|(kind, name)| json!({"type": kind, "path": format!("/proc/{pid}/ns/{name}")})),
            );
            if reversed {
                all.reverse();
            }
            c["linux"]["namespaces"] = json!(all);
        });
        let c = t.started(&b);
        for name in ["pid", "net", "ipc", "uts"] {
            assert_eq!(link(c.pid(), name), link(pid, name));
        }
    }
}

fn refused(t: &Case, namespace: Value) -> String {
    let b = t.bundle();
    b.namespace(namespace);
    t.refused(&b)
}

fn a_path_that_is_missing_is_refused(t: &Case) {
    let text = refused(t, json!({"type": "network", "path": "/no/such/namespace"}));
    assert_has(&text, "/no/such/namespace");
}

fn a_path_of_another_type_is_refused(t: &Case) {
    refused(t, json!({"type": "network", "path": "/proc/self/ns/ipc"}));
}

fn a_path_that_is_no_namespace_is_refused(t: &Case) {
    refused(t, json!({"type": "network", "path": "/etc/passwd"}));
}

fn a_type_named_twice_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "ipc"})));
    t.refused(&b);
}

fn an_unknown_type_is_refused(t: &Case) {
    assert_has(&refused(t, json!({"type": "flavour"})), "flavour");
}

fn a_relative_path_is_refused(t: &Case) {
    refused(t, json!({"type": "network", "path": "proc/self/ns/net"}));
}

fn no_pid_namespace(t: &Case) {
    let b = t.bundle();
    b.leave_namespace("pid");
    let c = t.started(&b);
    let status = read(format!("/proc/{}/status", c.pid()));
    assert_eq!(field(&status, "NSpid"), c.pid().to_string());
    c.kill("KILL").wait_for("stopped").delete();
}

fn no_network_namespace(t: &Case) {
    let b =
        t.bundle_sh("readlink /proc/self/ns/net; sed -n 's/^ *\\(.*\\):.*/\\1/p' /proc/net/dev; test -e /sys/class/net/lo && echo shown");
    b.leave_namespace("network");
    let out = t.run(&b).ok().to_owned();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((lines[0], lines[lines.len() - 1]), (link("self", "net").as_str(), "shown"), "{out}");
    assert!(lines.contains(&"lo"), "{out}");
}

fn no_ipc_namespace(t: &Case) {
    let out = t.sh("readlink /proc/self/ns/ipc; probe filesystem /dev/mqueue", |b| {
        b.leave_namespace("ipc");
    });
    assert_eq!(out, format!("{}\n19800202\n", link("self", "ipc")));
}

fn no_mount_namespace(t: &Case) {
    // What masks and what is read-only could be undone there.
    let b = t.bundle();
    b.leave_namespace("mount");
    t.refused(&b);
    assert_eq!(read("/proc/self/mountinfo").lines().filter(|l| l.contains(b.dir().to_str().unwrap())).count(), 0);
}

fn mounts_in_the_callers_mount_namespace(t: &Case) {
    // They are made below the root file system, and are gone with the container.
    let b = t.bundle_sh("test -e /proc/self/stat && sleep 300");
    b.leave_namespace("mount");
    b.edit(|c| {
        c["linux"]["maskedPaths"] = json!([]);
        c["linux"]["readonlyPaths"] = json!([]);
    });
    let here = || read("/proc/self/mountinfo").lines().filter(|l| l.contains(b.dir().to_str().unwrap())).count();
    let c = t.started(&b);
    assert_eq!(link(c.pid(), "mnt"), link("self", "mnt"));
    assert_eq!(c.status(), "running");
    assert!(here() > 0);
    c.kill("KILL").wait_for("stopped").delete();
    assert_eq!(here(), 0);
}

fn the_network_has_loopback_alone(t: &Case) {
    let out = t.sh("tail -n +3 /proc/net/dev | cut -d: -f1 | grep -v -e sit0 -e tunl0 -e gre -e erspan -e ip_vti -e ip6", |_| ());
    assert_eq!(out.trim(), "lo");
}

fn loopback_is_up(t: &Case) {
    assert_has(&t.sh("ip addr show lo", |_| ()), "UP");
}

fn init_is_pid_1(t: &Case) {
    assert_eq!(t.sh("echo $$ $PPID", |_| ()), "1 0\n");
}

fn an_orphan_is_given_to_init(t: &Case) {
    let out = t.sh("sh -c 'sleep 1000 & echo $! > /tmp/pid'; grep PPid /proc/$(cat /tmp/pid)/status", |_| ());
    assert_eq!(out, "PPid:\t1\n");
}

fn the_end_of_init_ends_the_namespace(t: &Case) {
    let b = t.bundle_sh("setsid sleep 300 & sleep 0.05; exit 0");
    let c = t.started(&b);
    c.wait_for("stopped").delete();
}

fn the_runtime_leaves_no_namespace_behind(t: &Case) {
    let c = t.started(&t.bundle());
    let pid = c.pid();
    let own: Vec<_> = ["pid", "net", "ipc", "uts", "mnt"].iter().map(|name| link(pid, name)).collect();
    drop(c);
    let held = || {
        fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .flat_map(|entry| fs::read_dir(entry.path().join("ns")).into_iter().flatten().flatten())
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|to| own.contains(&to.display().to_string()))
    };
    eventually("no process is in the namespaces", || (!held()).then_some(()));
}

fn joined_namespaces_outlive_the_container(t: &Case) {
    let first = t.started(&t.bundle());
    let b = t.bundle();
    b.namespace(json!({"type": "pid", "path": format!("/proc/{}/ns/pid", first.pid())}));
    let second = t.started(&b);
    let pid = second.pid();
    second.delete_force().ok();
    eventually("the second is gone", || (!present(format!("/proc/{pid}"))).then_some(()));
    assert_eq!(first.status(), "running");
}
