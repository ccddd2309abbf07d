//! config-linux.md: user namespaces, uidMappings and gidMappings.

use crate::support::*;
use std::fs;
use std::os::unix::fs::MetadataExt;

pub const TESTS: &[Test] = suite![
    ids_are_mapped: [Need::Userns],
    several_ranges_are_mapped: [Need::Userns],
    files_belong_to_the_mapped_ids: [Need::Userns],
    the_owners_of_the_root_file_system_stay: [Need::Userns],
    proc_sys_and_dev_stand: [Need::Userns],
    device_nodes_work: [Need::Userns],
    the_container_owns_its_other_namespaces: [Need::Userns],
    capabilities_hold_inside_alone: [Need::Userns],
    setgroups_is_allowed: [Need::Userns],
    additional_groups: [Need::Userns],
    another_user_inside: [Need::Userns],
    an_unmapped_user_is_refused: [Need::Userns],
    mappings_without_the_namespace_are_refused,
    the_namespace_without_mappings_is_refused: [Need::Userns],
    overlapping_mappings_are_refused: [Need::Userns],
    a_user_namespace_is_joined_by_path: [Need::Userns],
    joined_by_path_with_the_same_mappings: [Need::Userns],
    a_tmpfs_belongs_to_the_containers_root: [Need::Userns],
    the_host_network_with_sysfs: [Need::Userns],
    a_pid_namespace_of_others_has_no_procfs: [Need::Userns, Need::Runtime("aril")],
    a_second_container_of_a_pod_sees_the_pods: [Need::Userns, Need::Runtime("aril")],
    the_host_pid_namespace_with_proc: [Need::Userns],
    readonly_root: [Need::Userns],
    readonly_bind_cannot_be_made_writable: [Need::Userns],
    mounts_are_listed_in_their_order: [Need::Userns],
    masks_hold: [Need::Userns],
    terminal_belongs_to_the_containers_root: [Need::Userns],
    the_first_process_cannot_be_traced_while_it_is_set_up: [Need::Userns],
    host_files_of_root_stay_out_of_reach: [Need::Userns],
    delete_and_kill_work: [Need::Userns],
    a_start_with_hooks: [Need::Userns],
];

const HOST: u32 = 100_000;

fn sh(t: &Case, script: &str, change: impl FnOnce(&Bundle)) -> String {
    t.sh(script, |b| {
        b.userns(HOST, 65536);
        change(b);
    })
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn ids_are_mapped(t: &Case) {
    assert_eq!(words(&sh(t, "cat /proc/self/uid_map /proc/self/gid_map; id -u", |_| ())), "0 100000 65536 0 100000 65536 0");
}

fn several_ranges_are_mapped(t: &Case) {
    let maps = json!([{"containerID": 0, "hostID": HOST, "size": 10}, {"containerID": 10, "hostID": 300_000, "size": 5}]);
    let out = sh(t, "cat /proc/self/uid_map", |b| {
        b.edit(|c| c["linux"]["uidMappings"] = maps);
    });
    assert_eq!(words(&out), "0 100000 10 10 300000 5");
}

fn files_belong_to_the_mapped_ids(t: &Case) {
    let b = t.bundle_sh("touch /new; stat -c %u /new");
    b.userns(HOST, 65536);
    assert_eq!(t.run(&b).ok(), "0\n");
    assert_eq!(fs::metadata(b.root("/new")).unwrap().uid(), HOST);
}

fn the_owners_of_the_root_file_system_stay(t: &Case) {
    let b = t.bundle_sh("stat -c %u /of-root /of-nobody");
    b.userns(HOST, 65536);
    for (name, owner) in [("/of-root", 0), ("/of-nobody", 65534)] {
        write(b.root(name), "");
        std::os::unix::fs::chown(b.root(name), Some(owner), Some(owner)).unwrap();
    }
    // What is not mapped shows as the overflow id.
    assert_eq!(t.run(&b).ok(), "65534\n65534\n");
    assert_eq!(fs::metadata(b.root("/of-root")).unwrap().uid(), 0);
    assert_eq!(fs::metadata(b.root("/of-nobody")).unwrap().uid(), 65534);
}

fn proc_sys_and_dev_stand(t: &Case) {
    let out =
        sh(t, "probe filesystem /proc; probe filesystem /sys; probe filesystem /dev; probe filesystem /dev/mqueue; ls /dev/pts", |_| ());
    assert_eq!(out, "9fa0\n62656572\n1021994\n19800202\nptmx\n");
}

fn device_nodes_work(t: &Case) {
    let out = sh(
        t,
        "for d in null zero full random urandom tty; do probe rdev /dev/$d; done; echo x > /dev/null && head -c 4 /dev/zero | wc -c",
        |_| (),
    );
    let first: Vec<_> = out.lines().map(|l| l.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(first, ["c 1:3", "c 1:5", "c 1:7", "c 1:8", "c 1:9", "c 5:0", "4"]);
}

fn the_container_owns_its_other_namespaces(t: &Case) {
    let caps = json!(["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]);
    let out =
        sh(t, "ip link set lo down && ip link set lo up && hostname other && hostname && mount -t tmpfs x /mnt && echo mounted", |b| {
            b.edit(|c| c["process"]["capabilities"] = json!({"bounding": caps, "effective": caps, "permitted": caps}));
        });
    assert_eq!(out, "other\nmounted\n");
}

fn capabilities_hold_inside_alone(t: &Case) {
    let caps = json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_MKNOD", "CAP_SYS_TIME"]);
    let secret = t.path("secret");
    write(&secret, "secret");
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let out = sh(t, "cat /mnt/secret 2>&1; mknod /tmp/n b 8 0 2>&1; date -s 2001-01-01 2>&1 | head -1; true", |b| {
        b.edit(|c| c["process"]["capabilities"] = json!({"bounding": caps, "effective": caps, "permitted": caps}));
        b.bind(&secret, "/mnt/secret", &["rbind"]);
    });
    assert_has(&out, "Permission denied");
    assert_eq!(out.matches("not permitted").count(), 2, "{out}");
}

fn setgroups_is_allowed(t: &Case) {
    assert_eq!(sh(t, "cat /proc/self/setgroups", |_| ()), "allow\n");
}

fn additional_groups(t: &Case) {
    let out = sh(t, "grep Groups /proc/self/status", |b| {
        b.edit(|c| c["process"]["user"] = json!({"uid": 0, "gid": 0, "additionalGids": [5, 6]}));
    });
    assert_eq!(words(&out), "Groups: 5 6");
}

fn another_user_inside(t: &Case) {
    let b = t.bundle_sh("id -u; id -g; touch /tmp/mine");
    b.userns(HOST, 65536).edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1001}));
    assert_eq!(t.run(&b).ok(), "1000\n1001\n");
    assert_eq!(fs::metadata(b.root("/tmp/mine")).unwrap().uid(), HOST + 1000);
}

fn an_unmapped_user_is_refused(t: &Case) {
    let b = t.bundle();
    b.userns(HOST, 1000).edit(|c| c["process"]["user"] = json!({"uid": 2000, "gid": 0}));
    t.refused(&b);
}

fn mappings_without_the_namespace_are_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": HOST, "size": 10}]));
    assert_has(&t.refused(&b).to_lowercase(), "user");
}

fn the_namespace_without_mappings_is_refused(t: &Case) {
    let b = t.bundle();
    b.namespace(json!({"type": "user"}));
    assert_has(&t.refused(&b).to_lowercase(), "mapping");
}

fn overlapping_mappings_are_refused(t: &Case) {
    let b = t.bundle();
    b.userns(HOST, 100);
    b.edit(|c| {
        c["linux"]["uidMappings"] =
            json!([{"containerID": 0, "hostID": HOST, "size": 10}, {"containerID": 5, "hostID": 300_000, "size": 5}]);
    });
    t.refused(&b);
}

/// A container in a user namespace of its own, whose namespaces another may join.
fn sandbox(t: &Case) -> Container<'_> {
    let b = t.bundle();
    b.userns(HOST, 65536);
    t.started(&b)
}

fn a_user_namespace_is_joined_by_path(t: &Case) {
    let first = sandbox(t);
    let b = t.bundle_sh("readlink /proc/self/ns/user; id -u");
    b.userns(HOST, 65536);
    b.edit(|c| {
        c["linux"].as_object_mut().unwrap().remove("uidMappings");
        c["linux"].as_object_mut().unwrap().remove("gidMappings");
    });
    b.namespace(json!({"type": "user", "path": format!("/proc/{}/ns/user", first.pid())}));
    let want = fs::read_link(format!("/proc/{}/ns/user", first.pid())).unwrap();
    assert_eq!(t.run(&b).ok(), format!("{}\n0\n", want.display()));
}

fn joined_by_path_with_the_same_mappings(t: &Case) {
    // As containerd and CRI-O send it.
    let first = sandbox(t);
    let b = t.bundle_sh("readlink /proc/self/ns/user");
    b.userns(HOST, 65536).namespace(json!({"type": "user", "path": format!("/proc/{}/ns/user", first.pid())}));
    b.namespace(json!({"type": "network", "path": format!("/proc/{}/ns/net", first.pid())}));
    let want = fs::read_link(format!("/proc/{}/ns/user", first.pid())).unwrap();
    assert_eq!(t.run(&b).ok(), format!("{}\n", want.display()));
}

fn a_tmpfs_belongs_to_the_containers_root(t: &Case) {
    let out = sh(t, "stat -c '%u:%g' /new /dev /dev/shm; touch /new/x && echo written", |b| {
        b.mount(json!({"destination": "/new", "type": "tmpfs", "source": "tmpfs"}));
    });
    assert_eq!(out, "0:0\n0:0\n0:0\nwritten\n");
}

fn the_host_network_with_sysfs(t: &Case) {
    // The kernel gives no new sysfs to who does not own the network; the host's own serves.
    let out = sh(t, "ls -d /sys/class; touch /sys/x 2>&1; true", |b| {
        b.leave_namespace("network").unmount("/sys/fs/cgroup");
        b.unmount("/sys");
        b.bind(std::path::Path::new("/sys"), "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]);
        b.edit(|c| c["linux"]["maskedPaths"] = json!([]));
    });
    assert_has(&out, "/sys/class\n");
}

fn the_host_pid_namespace_with_proc(t: &Case) {
    let b = t.bundle_sh("test -d /proc/1 && echo fine");
    b.userns(HOST, 65536).leave_namespace("pid").unmount("/proc");
    b.bind(std::path::Path::new("/proc"), "/proc", &["rbind", "nosuid", "noexec", "nodev"]);
    b.edit(|c| {
        c["linux"]["maskedPaths"] = json!([]);
        c["linux"]["readonlyPaths"] = json!([]);
    });
    assert_eq!(t.run(&b).ok(), "fine\n");
}

fn readonly_root(t: &Case) {
    assert_has(
        &sh(t, "touch /new 2>&1; true", |b| {
            b.edit(|c| c["root"]["readonly"] = json!(true));
        }),
        "Read-only",
    );
}

fn readonly_bind_cannot_be_made_writable(t: &Case) {
    let dir = t.mkdir("data");
    let caps = json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
    let out = sh(t, "mount -o remount,bind,rw /mnt 2>&1; umount /proc/sys 2>&1; touch /mnt/x 2>&1; true", |b| {
        b.edit(|c| c["process"]["capabilities"] = json!({"bounding": caps, "effective": caps, "permitted": caps}));
        b.bind(&dir, "/mnt", &["rbind", "ro"]);
    });
    assert_has(&out, "touch: /mnt/x");
    assert!(!present(dir.join("x")));
}

fn mounts_are_listed_in_their_order(t: &Case) {
    let b = crate::mounts::interleaved(t);
    b.userns(HOST, 65536);
    crate::mounts::assert_listed_in_order(t, &b);
}

fn masks_hold(t: &Case) {
    let out = sh(
        t,
        "cat /proc/keys | wc -c; ls /proc/acpi 2>/dev/null | wc -l; touch /proc/sys/x 2>&1; echo 1 > /proc/sys/kernel/randomize_va_space; true",
        |_| (),
    );
    assert!(out.starts_with("0\n0\n"), "{out}");
}

fn terminal_belongs_to_the_containers_root(t: &Case) {
    let console = socket::Console::listen(&t.path("console"));
    let b = t.bundle_sh("stat -c '%u %a' $(tty); stat -c %u /dev/console; sleep 100");
    b.userns(HOST, 65536).edit(|c| c["process"]["terminal"] = json!(true));
    let c = Container::of(t, &b);
    t.create_call(&["--console-socket", console.path.to_str().unwrap()], &b).run().ok();
    let (message, _) = console.receive();
    c.start();
    let mut text = String::new();
    eventually("the terminal speaks", || {
        let mut bytes = [0; 200];
        let got = rustix::io::read(&message.fds[0], &mut bytes).unwrap();
        text.push_str(&String::from_utf8_lossy(&bytes[..got]));
        (text.lines().count() >= 2 && text.ends_with('\n')).then_some(())
    });
    assert!(text.starts_with("0 6"), "{text}");
    assert!(text.ends_with("0\r\n"), "{text}");
}

fn the_first_process_cannot_be_traced_while_it_is_set_up(t: &Case) {
    // In created it still is the runtime's own program: the mapped user on the host must not reach into it.
    let b = t.bundle();
    b.userns(HOST, 65536);
    let c = t.create(&b);
    let exe = std::process::Command::new("setpriv")
        .args(["--reuid", &HOST.to_string(), "--regid", &HOST.to_string(), "--clear-groups", "readlink"])
        .arg(format!("/proc/{}/exe", c.pid()))
        .output()
        .unwrap();
    assert!(!exe.status.success(), "{}", String::from_utf8_lossy(&exe.stdout));
}

fn host_files_of_root_stay_out_of_reach(t: &Case) {
    let dir = t.mkdir("data");
    write(dir.join("file"), "x");
    let out = sh(t, "touch /mnt/file 2>&1; touch /mnt/new 2>&1; stat -c %u /mnt/file", |b| {
        b.bind(&dir, "/mnt", &["rbind"]);
    });
    assert_eq!(out.matches("Permission denied").count(), 2, "{out}");
    assert_has(&out, "65534\n");
}

fn delete_and_kill_work(t: &Case) {
    let c = sandbox(t);
    c.kill("KILL").wait_for("stopped").delete();
}

fn a_start_with_hooks(t: &Case) {
    let log = t.path("log");
    write(&log, "");
    let b = t.bundle_sh("exit 0");
    b.userns(HOST, 65536);
    for when in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        b.hook_sh(when, &format!("echo {when} >> {}", log.display()));
    }
    // In the runtime's namespaces a hook is root; in the container's it may be the mapped one.
    fs::set_permissions(&log, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    t.started(&b).wait_for("stopped").delete();
    assert_eq!(read(&log).replace('\n', " "), "prestart createRuntime createContainer poststart poststop ");
}

/// A pod's containers share its user namespace and what belongs to that: procfs, sysfs and mqueue show the pod's namespaces and not the host's.
fn a_second_container_of_a_pod_sees_the_pods(t: &Case) {
    let pause = t.bundle_sh("sleep 1000");
    pause.userns(HOST, 65536);
    pause.namespace(json!({"type": "network"}));
    let pause = t.started(&pause);
    let script = format!(
        "cat /proc/1/cmdline | tr '\\0' ' '; echo; {SYSFS_SHOWS_THE_OWN_NETWORK}; probe filesystem /dev/mqueue; ls /proc | grep -c '^[0-9]'"
    );
    let out = t.sh(&script, |b| {
        b.userns(HOST, 65536);
        for (kind, file) in [("user", "user"), ("pid", "pid"), ("network", "net"), ("ipc", "ipc")] {
            b.namespace(json!({"type": kind, "path": format!("/proc/{}/ns/{file}", pause.pid())}));
        }
        b.edit(|c| {
            c["linux"].as_object_mut().unwrap().remove("uidMappings");
            c["linux"].as_object_mut().unwrap().remove("gidMappings");
        });
    });
    let mut lines = out.lines();
    assert_has(lines.next().unwrap(), "sleep 1000");
    assert_eq!(lines.next(), Some("own"), "{out}");
    assert_eq!(lines.next(), Some("19800202"), "{out}");
    // The pod's sleep with its shell, and this container's own few.
    assert!(lines.next().unwrap().parse::<u32>().unwrap() < 8, "{out}");
}

/// The pid namespace of a container without a user namespace, joined under a new one: the host's processes are not shown in the place of its own.
fn a_pid_namespace_of_others_has_no_procfs(t: &Case) {
    let other = t.bundle_sh("sleep 1000");
    let other = t.started(&other);
    let b = t.bundle();
    b.userns(HOST, 65536).namespace(json!({"type": "pid", "path": format!("/proc/{}/ns/pid", other.pid())}));
    let at = b.config()["mounts"].as_array().unwrap().iter().position(|mount| mount["type"] == "proc").unwrap();
    let text = t.refused(&b);
    assert_has(&text, "belongs to another user namespace");
    assert_has(&text, &format!("(/mounts/{at})"));
}
