//! aril inside other things: a container (as Docker in Docker and kind have it), a user namespace, a chroot, a sandbox. It works, or says what is missing.

use crate::support::*;
use std::fs;
use std::process::Command;

pub const TESTS: &[Test] = suite![
    in_a_privileged_container: [Need::Runtime("aril")],
    in_a_privileged_container_with_a_cgroup_namespace: [Need::Runtime("aril")],
    limits_in_a_privileged_container: [Need::Runtime("aril"), Need::Controller("pids")],
    detached_in_a_privileged_container: [Need::Runtime("aril")],
    exec_in_a_privileged_container: [Need::Runtime("aril")],
    a_user_namespace_in_a_privileged_container: [Need::Runtime("aril"), Need::Userns],
    in_a_container_in_a_container: [Need::Runtime("aril")],
    in_a_container_with_a_user_namespace: [Need::Runtime("aril"), Need::Userns],
    a_user_namespace_in_one: [Need::Runtime("aril"), Need::Userns],
    in_a_container_without_cgroups: [Need::Runtime("aril")],
    in_a_container_with_read_only_cgroups: [Need::Runtime("aril")],
    in_a_container_with_a_read_only_sys: [Need::Runtime("aril")],
    in_a_container_with_masked_proc: [Need::Runtime("aril"), Need::Userns],
    in_a_container_without_capabilities: [Need::Runtime("aril")],
    in_a_container_whose_profile_forbids_keys_and_affinity: [Need::Runtime("aril")],
    in_a_container_whose_profile_forbids_mounts: [Need::Runtime("aril")],
    in_a_container_whose_profile_has_no_clone3: [Need::Runtime("aril")],
    in_an_unprivileged_user_namespace: [Need::Runtime("aril"), Need::Userns, Need::Program("setpriv")],
    a_user_without_a_user_namespace_gets_one: [Need::Runtime("aril"), Need::Userns, Need::Program("setpriv")],
    in_a_chroot: [Need::Runtime("aril"), Need::Program("chroot")],
    in_a_chroot_that_is_a_mount: [Need::Runtime("aril"), Need::Program("chroot")],
    with_proc_that_hides_pids: [Need::Runtime("aril")],
    with_proc_that_hides_pids_in_a_user_namespace: [Need::Runtime("aril"), Need::Userns, Need::Program("setpriv")],
    with_a_read_only_sys: [Need::Runtime("aril")],
];

const CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_ADMIN",
    "SYS_NICE",
    "SYS_RESOURCE",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "PERFMON",
    "BPF",
];

/// A bundle with the runtime in it at /bin/runtime and a bundle of its own at /box.
struct Outer<'a> {
    t: &'a Case,
    bundle: Bundle,
    inner: Bundle,
}

fn outer(t: &Case) -> Outer<'_> {
    let bundle = t.bundle();
    let inner = nested(t, &bundle);
    Outer { t, bundle, inner }
}

/// Puts the runtime and a bundle into a root file system.
fn nested(t: &Case, bundle: &Bundle) -> Bundle {
    fs::copy(&t.environment.runtime, bundle.root("/bin/runtime")).unwrap();
    for dir in ["/run", "/box"] {
        fs::create_dir_all(bundle.root(dir)).unwrap();
    }
    let session = &t.environment.dir;
    let inner = Bundle::create(
        bundle.root("/box"),
        "inner".to_owned(),
        "/inner",
        t.environment.pure_v2,
        &session.join("busybox"),
        &session.join("probe"),
    );
    inner.sh("echo inside $(id -u) $(hostname)");
    inner
}

impl Outer<'_> {
    /// As `docker run --privileged`: every capability that this machine can give, every device, nothing masked or read-only.
    fn privileged(self) -> Self {
        privilege(&self.bundle);
        self
    }

    /// Runs a script in the outer container.
    fn sh(&self, script: &str) -> Output {
        self.bundle.sh(&format!("export XDG_RUNTIME_DIR=/run; cd /box; {script}"));
        self.t.run(&self.bundle)
    }

    /// Runs the inner container.
    fn run(&self) -> Output {
        self.sh("runtime run inner && test -z \"$(ls /run/aril)\"")
    }
}

fn privilege(bundle: &Bundle) {
    let permitted = {
        let status = read("/proc/self/status");
        u64::from_str_radix(field(&status, "CapBnd"), 16).unwrap()
    };
    let has = |name: &&&str| match **name {
        "SYS_RESOURCE" => permitted >> 24 & 1 == 1,
        "MAC_OVERRIDE" | "MAC_ADMIN" | "AUDIT_CONTROL" | "SYSLOG" | "PERFMON" => false,
        _ => true,
    };
    let all: Vec<_> = CAPABILITIES.iter().filter(has).map(|name| format!("CAP_{name}")).collect();
    bundle.edit(|c| {
        c["process"]["capabilities"] = json!({"bounding": all, "effective": all, "permitted": all});
        c["process"]["noNewPrivileges"] = json!(false);
        c["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]);
        c["linux"]["maskedPaths"] = json!([]);
        c["linux"]["readonlyPaths"] = json!([]);
        for mount in c["mounts"].as_array_mut().unwrap() {
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option != "ro");
            }
        }
        c["mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}));
    });
}

/// A container that has no cgroup of its own: without the limits and the mount that would need one.
fn without_cgroup(bundle: &Bundle) {
    bundle.unmount("/sys/fs/cgroup");
    bundle.leave_namespace("cgroup");
    bundle.edit(|c| {
        let linux = c["linux"].as_object_mut().unwrap();
        linux.remove("cgroupsPath");
        linux.remove("resources");
    });
}

/// What `spec --rootless` writes but for its ids: no network of its own, the host's /sys.
pub fn rootless(bundle: &Bundle) {
    without_cgroup(bundle);
    bundle.namespace(json!({"type": "user"}));
    bundle.edit(|c| {
        c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
        c["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
        for mount in c["mounts"].as_array_mut().unwrap() {
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option != "gid=5");
            }
        }
    });
}

const INSIDE: &str = "inside 0 conformance\n";

fn in_a_privileged_container(t: &Case) {
    assert_eq!(outer(t).privileged().run().ok(), INSIDE);
}

fn in_a_privileged_container_with_a_cgroup_namespace(t: &Case) {
    let outer = outer(t).privileged();
    outer.bundle.namespace(json!({"type": "cgroup"}));
    outer.inner.namespace(json!({"type": "cgroup"}));
    outer.inner.sh("cut -d : -f 3 /proc/self/cgroup | sort -u");
    assert_eq!(outer.run().ok(), "/\n");
}

fn limits_in_a_privileged_container(t: &Case) {
    let outer = outer(t).privileged();
    outer.bundle.namespace(json!({"type": "cgroup"}));
    outer.inner.edit(|c| c["linux"]["resources"]["pids"] = json!({"limit": 20}));
    outer.inner.sh("cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null; true");
    // On v2 a cgroup with processes has no children with controllers: whoever is privileged makes room first, as Docker in Docker does.
    let room =
        "if [ -e /sys/fs/cgroup/cgroup.controllers ]; then mkdir /sys/fs/cgroup/init && echo $$ > /sys/fs/cgroup/init/cgroup.procs; fi; ";
    assert_eq!(outer.sh(&format!("{room} runtime run inner")).ok(), "20\n");
}

fn detached_in_a_privileged_container(t: &Case) {
    let outer = outer(t).privileged();
    outer.inner.args(&["sleep", "300"]);
    let script = "runtime create inner && runtime start inner && runtime state inner | grep -o running && runtime kill inner KILL && \
                  until runtime state inner | grep -q stopped; do sleep 0.05; done; runtime delete inner && ls /run/aril";
    assert_eq!(outer.sh(script).ok(), "running\n");
}

fn exec_in_a_privileged_container(t: &Case) {
    let outer = outer(t).privileged();
    outer.inner.args(&["sleep", "300"]);
    let script =
        "runtime run --detach inner && runtime exec inner sh -c 'echo $(hostname) $(cat /proc/1/comm)'; runtime delete --force inner";
    assert_eq!(outer.sh(script).ok(), "conformance sleep\n");
}

fn a_user_namespace_in_a_privileged_container(t: &Case) {
    let outer = outer(t).privileged();
    outer.inner.userns(100_000, 65536);
    outer.inner.sh("cat /proc/self/uid_map | xargs; id -u");
    assert_eq!(outer.run().ok(), "0 100000 65536\n0\n");
}

fn in_a_container_in_a_container(t: &Case) {
    let outer = outer(t).privileged();
    privilege(&outer.inner);
    let innermost = nested(t, &outer.inner);
    outer.inner.sh("cd /box; runtime run inner");
    innermost.sh("echo third; hostname");
    assert_eq!(outer.run().ok(), "third\nconformance\n");
}

fn in_a_container_with_a_user_namespace(t: &Case) {
    // Its root may do with it what it likes, but has no cgroup to give away.
    let outer = outer(t).privileged();
    without_cgroup(&outer.inner);
    outer.bundle.userns(100_000, 65536);
    assert_eq!(outer.run().ok(), INSIDE);
}

fn a_user_namespace_in_one(t: &Case) {
    let outer = outer(t).privileged();
    without_cgroup(&outer.inner);
    outer.bundle.userns(100_000, 65536);
    // The ids are those of the outer container.
    outer.inner.namespace(json!({"type": "user"}));
    outer.inner.edit(|c| {
        c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1}, {"containerID": 1, "hostID": 1000, "size": 1000}]);
        c["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1}, {"containerID": 1, "hostID": 1000, "size": 1000}]);
    });
    outer.inner.sh("wc -l < /proc/self/uid_map; id -u");
    assert_eq!(outer.run().ok(), "2\n0\n");
}

fn in_a_container_without_cgroups(t: &Case) {
    // Where nothing is asked of a cgroup there need not be one; otherwise it says what is missing.
    let outer = outer(t).privileged();
    outer.bundle.unmount("/sys/fs/cgroup");
    let output = outer.sh("runtime run inner; ls /run/aril");
    assert_has(&output.stderr, "cgroup");
    assert_eq!(output.stdout, "", "it ran, or left something");
}

fn in_a_container_with_read_only_cgroups(t: &Case) {
    let outer = outer(t).privileged();
    outer.bundle.edit(|c| {
        let mounts = c["mounts"].as_array_mut().unwrap();
        let cgroup = mounts.iter_mut().find(|mount| mount["type"] == "cgroup").unwrap();
        cgroup["options"].as_array_mut().unwrap().push(json!("ro"));
    });
    let output = outer.sh("runtime run inner; ls /run/aril");
    assert_has(&output.stderr, "the cgroup file system is mounted read-only");
    assert_eq!(output.stdout, "", "it ran, or left something");
}

fn in_a_container_with_a_read_only_sys(t: &Case) {
    let outer = outer(t).privileged();
    outer.bundle.edit(|c| {
        let mounts = c["mounts"].as_array_mut().unwrap();
        let sys = mounts.iter_mut().find(|mount| mount["type"] == "sysfs").unwrap();
        sys["options"].as_array_mut().unwrap().push(json!("ro"));
    });
    assert_eq!(outer.run().ok(), INSIDE);
}

/// Under masks of the outer container no new proc can be mounted in a user namespace: it would show what is masked (mount_namespaces(7)).
fn in_a_container_with_masked_proc(t: &Case) {
    let outer = outer(t).privileged();
    outer.bundle.userns(100_000, 65536);
    outer.bundle.edit(|c| c["linux"]["maskedPaths"] = json!(["/proc/interrupts"]));
    rootless(&outer.inner);
    let output = outer.sh("runtime run inner; ls /run/aril");
    assert_has(&output.stderr, "/mounts/0");
    assert_has(&output.stderr, "proc");
    assert_eq!(output.stdout, "", "it ran, or left something");
}

fn in_a_container_without_capabilities(t: &Case) {
    let outer = outer(t);
    outer.bundle.mount(json!({"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}));
    let output = outer.sh("runtime run inner; ls /run/aril");
    assert!(!output.stderr.is_empty(), "it says nothing");
    assert_eq!(output.stdout, "", "it ran, or left something");
}

fn profile(bundle: &Bundle, names: &[&str], errno: i32) {
    bundle.edit(|c| {
        let rule = json!({"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno});
        c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    });
}

fn in_a_container_whose_profile_forbids_keys_and_affinity(t: &Case) {
    let outer = outer(t).privileged();
    profile(&outer.bundle, &["add_key", "keyctl", "request_key", "sched_setaffinity", "bpf_", "userfaultfd"], libc::EPERM);
    let output = outer.run();
    // Keys that are forbidden are an error that names the flag which goes without them.
    if output.code() != 0 {
        assert_has(&output.stderr, "--no-new-keyring");
        assert_eq!(outer.sh("runtime run --no-new-keyring inner").ok(), INSIDE);
    }
}

fn in_a_container_whose_profile_forbids_mounts(t: &Case) {
    for calls in
        [&["mount", "fsopen", "fsmount", "open_tree", "move_mount", "mount_setattr"] as &[&str], &["pivot_root"], &["setns", "unshare"]]
    {
        let outer = outer(t).privileged();
        profile(&outer.bundle, calls, libc::EPERM);
        outer.inner.userns(100_000, 65536);
        let output = outer.sh("runtime run inner; ls /run/aril");
        assert_has(&output.stderr, "operation not permitted");
        assert!(calls.iter().any(|call| output.stderr.contains(call)), "{calls:?}: {}", output.stderr);
        assert_eq!(output.stdout, "", "it ran, or left something");
    }
}

/// What Docker's profile answers without CAP_SYS_ADMIN, so that libraries fall back.
fn in_a_container_whose_profile_has_no_clone3(t: &Case) {
    let outer = outer(t).privileged();
    profile(&outer.bundle, &["clone3"], libc::ENOSYS);
    let output = outer.sh("runtime run inner; ls /run/aril");
    assert_has(&output.stderr, "clone3");
    assert_eq!(output.stdout, "", "it ran, or left something");
}

/// A state root and a directory that another user owns.
pub fn given_to_nobody(t: &Case, bundle: &Bundle) -> String {
    for dir in [t.dir(), bundle.dir()] {
        fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let state = t.mkdir("state-of-nobody");
    let status = Command::new("chown").args(["-R", "65534:65534"]).arg(&state).arg(bundle.root("/mnt")).status().unwrap();
    assert!(status.success());
    state.display().to_string()
}

fn in_an_unprivileged_user_namespace(t: &Case) {
    let b = t.bundle_sh("echo inside $(id -u) $(hostname)");
    rootless(&b);
    let state = given_to_nobody(t, &b);
    let script = "exec setpriv --reuid=65534 --regid=65534 --clear-groups unshare --user --map-root-user --mount \"$@\"";
    let words = ["run", "--bundle", b.dir().to_str().unwrap(), "inner"];
    let output = t.rt(&words).without_root().globals(["--root".to_owned(), state]).shell(script).run();
    assert_eq!(output.ok(), INSIDE);
}

fn a_user_without_a_user_namespace_gets_one(t: &Case) {
    let b = t.bundle_sh("echo inside $(id -u) $(hostname); cat /proc/self/uid_map /proc/self/gid_map");
    rootless(&b);
    b.edit(|c| {
        let linux = c["linux"].as_object_mut().unwrap();
        linux.remove("uidMappings");
        linux.remove("gidMappings");
        linux["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "user");
    });
    let state = given_to_nobody(t, &b);
    let script = "exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"";
    let words = ["run", "--bundle", b.dir().to_str().unwrap(), "inner"];
    let output = t.rt(&words).without_root().globals(["--root".to_owned(), state]).shell(script).run();
    let (first, maps) = output.ok().split_once('\n').unwrap();
    assert_eq!(format!("{first}\n"), INSIDE, "root, in a user namespace of its own");
    let maps: Vec<Vec<&str>> = maps.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(maps, [["0", "65534", "1"], ["0", "65534", "1"]], "nobody has no other ids");
}

/// Runs a command in a chroot, which `prepare` sets up in a mount namespace of its own.
fn in_chroot(outer: &Outer<'_>, prepare: &str, command: &str) -> Output {
    let root = outer.bundle.root("/");
    let script = format!(
        "exec unshare --mount --propagation private sh -ec 'cd {}; mount -t proc proc proc; mount --rbind /sys sys; mount --rbind /dev dev; mount -t tmpfs tmpfs run; {prepare} \
         exec chroot . /bin/sh -c \"cd /box; {command}\"'",
        root.display()
    );
    outer.t.rt(&["--version"]).shell(script).run()
}

fn in_a_chroot(t: &Case) {
    // Where its directory is no mount, nothing can be kept from the host: it says what to do.
    let outer = outer(t);
    outer.inner.edit(|c| c["linux"]["cgroupsPath"] = json!(format!("{}/inner", t.cgroup())));
    let output = in_chroot(&outer, "", "runtime run inner; ls /run/aril");
    assert_has(&output.stderr, "in a chroot, bind its directory over itself");
    assert_eq!(output.stdout, "", "it ran, or left something");
}

fn in_a_chroot_that_is_a_mount(t: &Case) {
    let outer = outer(t);
    outer.inner.edit(|c| c["linux"]["cgroupsPath"] = json!(format!("{}/inner", t.cgroup())));
    let bind = format!("mount --rbind . .; cd {};", outer.bundle.root("/").display());
    for command in ["runtime run inner", "runtime run --no-pivot inner"] {
        assert_eq!(in_chroot(&outer, &bind, command).ok(), INSIDE, "{command}");
    }
}

const HIDDEN: &str =
    "exec unshare --mount --pid --fork --mount-proc --propagation private sh -ec 'mount -o remount,hidepid=2 /proc; \"$@\"' sh";

fn with_proc_that_hides_pids(t: &Case) {
    let b = t.bundle_sh("echo inside $(id -u) $(hostname)");
    let _guard = Container::of(t, &b);
    let output = t.run_call(&[], &b).shell(format!("{HIDDEN} \"$@\"")).run();
    assert_eq!(output.ok(), INSIDE);
    // The container's own proc is as its configuration asks.
    b.edit(|c| c["mounts"][0]["options"] = json!(["hidepid=2"]));
    b.sh("grep -c ' /proc .*hidepid=' /proc/self/mounts; cat /proc/1/comm; true");
    assert_eq!(t.run(&b).ok(), "1\nsh\n");
}

fn with_proc_that_hides_pids_in_a_user_namespace(t: &Case) {
    let b = t.bundle_sh("echo inside $(id -u) $(hostname)");
    rootless(&b);
    let state = given_to_nobody(t, &b);
    let script = format!("{HIDDEN} setpriv --reuid=65534 --regid=65534 --clear-groups unshare --user --map-root-user --mount \"$@\"");
    let words = ["run", "--bundle", b.dir().to_str().unwrap(), "inner"];
    let output = t.rt(&words).without_root().globals(["--root".to_owned(), state]).shell(script).run();
    assert_eq!(output.ok(), INSIDE);
}

fn with_a_read_only_sys(t: &Case) {
    let b = t.bundle_sh("echo inside $(id -u) $(hostname)");
    let _guard = Container::of(t, &b);
    let script = "exec unshare --mount --propagation private sh -ec 'mount -o remount,bind,ro /sys; exec \"$@\"' sh \"$@\"";
    assert_eq!(t.run_call(&[], &b).shell(script).run().ok(), INSIDE);
}
