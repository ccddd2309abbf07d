//! config-linux.md: cgroupsPath, and the limits that are one plain file each. The rules of the device controller are in devices.rs.

use crate::support::{environment, *};
use std::fs;
use std::path::PathBuf;

pub const TESTS: &[Test] = suite![
    the_cgroup_is_made_at_the_path,
    the_process_is_in_it_in_every_hierarchy,
    the_process_is_in_it_when_created,
    children_are_in_it,
    delete_removes_it,
    delete_force_removes_it,
    run_removes_it,
    delete_removes_what_the_container_made_below: [Need::V2],
    an_absolute_path_is_taken_from_the_top,
    a_relative_path_is_taken_from_where_the_runtime_likes,
    the_same_path_is_the_same_place,
    an_absent_path_gives_a_cgroup_of_its_own,
    a_path_that_leads_out_is_refused_or_kept_inside,
    parents_are_made,
    an_empty_cgroup_that_exists_is_taken,
    a_cgroup_in_use_is_refused,
    two_containers_in_sibling_cgroups,
    pids_limit: [Need::Controller("pids")],
    pids_limit_holds: [Need::Controller("pids")],
    pids_limit_of_minus_one_is_none: [Need::Controller("pids")],
    pids_limit_of_zero_is_one_since_1_3: [Need::Controller("pids"), Need::Runtime("aril")],
    pids_limit_of_one_is_enough_for_one: [Need::Controller("pids"), Need::Userns, Need::Runtime("aril")],
    memory_limit: [Need::Controller("memory")],
    memory_limit_holds: [Need::Controller("memory")],
    memory_limit_of_minus_one_is_none: [Need::Controller("memory")],
    memory_reservation: [Need::Controller("memory")],
    cpu_shares: [Need::Controller("cpu")],
    cpu_quota_and_period: [Need::Controller("cpu")],
    cpuset: [Need::Controller("cpuset")],
    idle_and_burst: [Need::Controller("cpu"), Need::Runtime("aril")],
    block_io_by_device: [Need::BlockDevice, Need::Runtime("aril")],
    block_io_of_v1: [Need::V1("blkio"), Need::BlockDevice, Need::Runtime("aril")],
    memory_of_v1: [Need::V1("memory"), Need::Runtime("aril")],
    huge_pages_and_their_reservation: [Need::V2, Need::Controller("hugetlb"), Need::Runtime("aril")],
    unified_of_other_controllers: [Need::V2, Need::Controller("misc"), Need::Controller("cpu"), Need::Runtime("aril")],
    limits_that_v2_lacks_are_refused: [Need::V2, Need::Controller("memory"), Need::Runtime("aril")],
    none_is_no_limit_that_v2_lacks: [Need::V2, Need::Controller("memory"), Need::Runtime("aril")],
    a_threaded_cgroup_above_is_named: [Need::V2, Need::Controller("pids"), Need::Runtime("aril")],
    a_cgroup_above_with_processes_is_named: [Need::V2, Need::Controller("memory"), Need::Runtime("aril")],
    limits_of_an_absent_controller_are_refused: [Need::V2],
    unified: [Need::V2, Need::Controller("pids")],
    unified_with_a_path_is_refused: [Need::V2],
    unified_of_an_unknown_file_is_refused: [Need::V2],
    unified_on_v1_is_refused: [Need::V1("pids")],
    cgroup_namespace_root_is_the_containers: [Need::V2],
    the_cgroup_mount_shows_the_container_alone: [Need::V2],
    the_cgroup_mount_shows_the_containers_v1: [Need::V1("pids")],
    cgroup_mount_of_type_cgroup2: [Need::V2],
    the_memory_of_a_container_waiting_is_small: [Need::Controller("memory"), Need::Runtime("aril")],
    state_survives_a_move_of_the_caller,
    a_container_of_a_user_namespace_has_its_cgroup: [Need::Userns],
    a_writable_cgroup_is_given_to_the_user_of_the_process: [Need::V2],
    a_container_of_a_user_namespace_makes_cgroups_in_its_own: [Need::V2, Need::Userns],
    a_cgroup_that_is_not_writable_is_given_to_nobody: [Need::V2],
    a_cgroup_of_v1_is_given_to_nobody: [Need::V1("pids")],
    a_refused_limit_leaves_nothing: [Need::Controller("pids")],
];

fn path(t: &Case, b: &Bundle) -> String {
    format!("{}/{}", t.cgroup(), b.id())
}

fn all(t: &Case, b: &Bundle) -> Vec<PathBuf> {
    t.environment.cgroups(&path(t, b))
}

fn standing(t: &Case, b: &Bundle) -> Vec<PathBuf> {
    all(t, b).into_iter().filter(|dir| present(dir)).collect()
}

/// The controllers of a process with its path in each, named ones and v2 included.
fn membership(pid: impl std::fmt::Display) -> Vec<(String, String)> {
    let text = read(format!("/proc/{pid}/cgroup"));
    text.lines().map(|l| l.splitn(3, ':').collect::<Vec<_>>()).map(|w| (w[1].to_owned(), w[2].to_owned())).collect()
}

fn the_cgroup_is_made_at_the_path(t: &Case) {
    let b = t.bundle();
    let c = t.create(&b);
    assert!(!standing(t, &b).is_empty());
    if t.environment.pure_v2 {
        assert_eq!(standing(t, &b), all(t, &b));
    }
    drop(c);
}

fn the_process_is_in_it_in_every_hierarchy(t: &Case) {
    let b = t.bundle();
    let c = t.started(&b);
    for (controller, at) in membership(c.pid()) {
        // The unified tree of a hybrid host has no controllers, and a named one none that a limit needs: a runtime may leave them.
        if controller.is_empty() != t.environment.pure_v2 || controller.starts_with("name=") {
            continue;
        }
        assert_eq!(at, path(t, &b), "{controller}");
    }
}

fn the_process_is_in_it_when_created(t: &Case) {
    let b = t.bundle();
    let c = t.create(&b);
    let found = membership(c.pid());
    assert!(found.iter().any(|(_, at)| *at == path(t, &b)), "{found:?}");
}

fn children_are_in_it(t: &Case) {
    let b = t.bundle_sh("sleep 100 & setsid sleep 100 & wait");
    let c = t.started(&b);
    let procs = t.environment.cgroup("pids", &path(t, &b)).join("cgroup.procs");
    eventually("three processes are in the cgroup", || (read(&procs).lines().count() == 3).then_some(()));
    assert!(read(&procs).lines().any(|pid| pid == c.pid().to_string()));
}

fn delete_removes_it(t: &Case) {
    let b = t.bundle_sh("exit 0");
    let c = t.started(&b);
    c.wait_for("stopped").delete();
    assert_eq!(standing(t, &b), Vec::<PathBuf>::new());
}

fn delete_force_removes_it(t: &Case) {
    let b = t.bundle();
    t.started(&b).delete_force().ok();
    assert_eq!(standing(t, &b), Vec::<PathBuf>::new());
}

fn run_removes_it(t: &Case) {
    let b = t.bundle_sh("exit 0");
    t.run_call(&[], &b).run().ok();
    assert_eq!(standing(t, &b), Vec::<PathBuf>::new());
}

fn delete_removes_what_the_container_made_below(t: &Case) {
    let b = t.bundle();
    let c = t.started(&b);
    fs::create_dir_all(standing(t, &b)[0].join("one/two")).unwrap();
    c.kill("KILL").wait_for("stopped").delete();
    assert_eq!(standing(t, &b), Vec::<PathBuf>::new());
}

fn an_absolute_path_is_taken_from_the_top(t: &Case) {
    let b = t.bundle();
    let deep = format!("{}/a/b/c", t.cgroup());
    b.edit(|c| c["linux"]["cgroupsPath"] = json!(deep));
    let c = t.started(&b);
    assert!(membership(c.pid()).iter().any(|(_, at)| *at == deep));
    c.delete_force().ok();
    remove_parents(t, &["a/b", "a"]);
}

/// Removes the parents of a cgroup, which belong to who named them.
fn remove_parents(t: &Case, parents: &[&str]) {
    for parent in parents {
        for dir in t.environment.cgroups(&format!("{}/{parent}", t.cgroup())) {
            let _ = fs::remove_dir(dir);
        }
    }
}

fn a_relative_path_is_taken_from_where_the_runtime_likes(t: &Case) {
    // The specification lets the runtime choose the place, once and for all.
    let b = t.bundle();
    let relative = t.cgroup().trim_start_matches('/').to_owned() + "/rel";
    b.edit(|c| c["linux"]["cgroupsPath"] = json!(relative));
    let c = t.started(&b);
    let found = membership(c.pid());
    assert!(found.iter().any(|(_, at)| at.ends_with(&relative)), "{found:?}");
    c.delete_force().ok();
}

fn the_same_path_is_the_same_place(t: &Case) {
    for path in [format!("{}/same", t.cgroup()), t.cgroup().trim_start_matches('/').to_owned() + "/same"] {
        let places = [0, 1].map(|_| {
            let b = t.bundle();
            b.edit(|c| c["linux"]["cgroupsPath"] = json!(path));
            let c = t.create(&b);
            let place = membership(c.pid());
            c.delete_force().ok();
            place
        });
        assert_eq!(places[0], places[1], "{path}");
    }
}

fn an_absent_path_gives_a_cgroup_of_its_own(t: &Case) {
    let b = t.bundle();
    b.edit(|c| drop(c["linux"].as_object_mut().unwrap().remove("cgroupsPath")));
    // An id that no other run has, for the cgroup is outside of the run's own.
    let id = format!("conformance-{}-{}", std::process::id(), b.id());
    let c = Container::new(t, &id);
    t.rt(&["create", "--bundle", b.dir().to_str().unwrap(), &id]).run().ok();
    let (mine, own) = (membership(c.pid()), membership("self"));
    let dirs: Vec<_> = mine.iter().filter(|(controller, at)| own.iter().any(|(c, a)| c == controller && a != at)).cloned().collect();
    assert!(!dirs.is_empty(), "{mine:?}");
    c.delete_force().ok();
    for (controller, at) in dirs {
        let name = controller.split(',').next().unwrap();
        assert!(!present(t.environment.cgroup(name, &at)), "{controller}: {at} is left");
    }
}

fn a_path_that_leads_out_is_refused_or_kept_inside(t: &Case) {
    let b = t.bundle();
    let odd = format!("{}/x/../../../..{}/y", t.cgroup(), t.cgroup());
    b.edit(|c| c["linux"]["cgroupsPath"] = json!(odd));
    let c = Container::of(t, &b);
    let output = t.create_call(&[], &b).run();
    if output.code() == 0 {
        for (_, at) in membership(c.pid()) {
            assert!(!at.contains(".."), "{at}");
        }
    }
    c.delete_force().ok();
    remove_parents(t, &["y", "x"]);
}

fn parents_are_made(t: &Case) {
    let b = t.bundle_sh("exit 0");
    let deep = format!("{}/p/q", t.cgroup());
    b.edit(|c| c["linux"]["cgroupsPath"] = json!(deep));
    t.run(&b).ok();
    remove_parents(t, &["p"]);
}

fn an_empty_cgroup_that_exists_is_taken(t: &Case) {
    let b = t.bundle_sh("exit 0");
    for dir in all(t, &b) {
        fs::create_dir_all(&dir).unwrap();
    }
    t.run(&b).ok();
    // Whose it was before, the runtime cannot know: it may remove it or leave it.
    for dir in all(t, &b) {
        let _ = fs::remove_dir(dir);
    }
}

fn a_cgroup_in_use_is_refused(t: &Case) {
    let b = t.bundle();
    let first = t.started(&b);
    let other = t.bundle();
    other.edit(|c| c["linux"]["cgroupsPath"] = json!(path(t, &b)));
    let c = Container::of(t, &other);
    t.create_call(&[], &other).run().refused();
    drop(c);
    assert_eq!(first.status(), "running");
    assert!(!standing(t, &b).is_empty());
}

fn two_containers_in_sibling_cgroups(t: &Case) {
    let (one, two) = (t.bundle(), t.bundle());
    let (first, second) = (t.started(&one), t.started(&two));
    first.delete_force().ok();
    assert_eq!(second.status(), "running");
    assert!(standing(t, &one).is_empty() && !standing(t, &two).is_empty());
}

/// The text of a file of the container's cgroup, by its v1 and v2 names.
fn knob(t: &Case, b: &Bundle, controller: &str, v1: &str, v2: &str) -> String {
    let dir = t.environment.cgroup(controller, &path(t, b));
    read(dir.join(if t.environment.pure_v2 { v2 } else { v1 })).trim().to_owned()
}

fn limited(t: &Case, resources: Value, controller: &str, v1: &str, v2: &str) -> String {
    let b = t.bundle();
    b.edit(|c| {
        for (key, value) in resources.as_object().unwrap() {
            c["linux"]["resources"][key] = value.clone();
        }
    });
    let c = t.create(&b);
    let text = knob(t, &b, controller, v1, v2);
    drop(c);
    text
}

fn pids_limit(t: &Case) {
    assert_eq!(limited(t, json!({"pids": {"limit": 37}}), "pids", "pids.max", "pids.max"), "37");
}

fn pids_limit_holds(t: &Case) {
    // They all live until the first process ends, however long it takes to make them.
    let out = t.sh("(for n in 1 2 3 4 5 6 7 8 9 10; do sleep 1000 & done) 2>&1; echo end", |b| {
        b.edit(|c| c["linux"]["resources"]["pids"] = json!({"limit": 5}));
    });
    assert_has(&out, "can't fork");
}

fn pids_limit_of_minus_one_is_none(t: &Case) {
    assert_eq!(limited(t, json!({"pids": {"limit": -1}}), "pids", "pids.max", "pids.max"), "max");
}

fn pids_limit_of_zero_is_one_since_1_3(t: &Case) {
    for (version, expected) in [("1.3.0", "0"), ("1.0.2", "max")] {
        let b = t.bundle();
        b.edit(|c| {
            c["ociVersion"] = json!(version);
            c["linux"]["resources"]["pids"] = json!({"limit": 0});
        });
        let c = t.started(&b);
        assert_eq!(knob(t, &b, "pids", "pids.max", "pids.max"), expected, "{version}");
        assert_eq!(c.status(), "running");
    }
}

fn pids_limit_of_one_is_enough_for_one(t: &Case) {
    let b = t.bundle();
    b.userns(100_000, 65536);
    b.edit(|c| c["linux"]["resources"]["pids"] = json!({"limit": 1}));
    let c = t.started(&b);
    assert_eq!(knob(t, &b, "pids", "pids.max", "pids.max"), "1");
    assert_eq!(c.status(), "running");
}

fn memory_limit(t: &Case) {
    assert_eq!(limited(t, json!({"memory": {"limit": 64 << 20}}), "memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
}

fn memory_limit_holds(t: &Case) {
    let b = t.bundle();
    b.args(&["probe", "memory", "64"]);
    b.edit(|c| c["linux"]["resources"]["memory"] = json!({"limit": 32 << 20}));
    assert_eq!(t.run(&b).code(), 137);
    b.args(&["probe", "memory", "4"]);
    assert_has(t.run(&b).ok(), "ok");
}

fn memory_limit_of_minus_one_is_none(t: &Case) {
    let text = limited(t, json!({"memory": {"limit": -1}}), "memory", "memory.limit_in_bytes", "memory.max");
    assert!(text == "max" || text.parse::<u64>().unwrap() > 1 << 60, "{text}");
}

fn memory_reservation(t: &Case) {
    let text = limited(t, json!({"memory": {"reservation": 16 << 20}}), "memory", "memory.soft_limit_in_bytes", "memory.low");
    assert_eq!(text, (16 << 20).to_string());
}

fn cpu_shares(t: &Case) {
    let text = limited(t, json!({"cpu": {"shares": 512}}), "cpu", "cpu.shares", "cpu.weight");
    if t.environment.pure_v2 {
        // Runtimes use the old linear conversion or the new one, in which 1024 shares are a weight of 100.
        assert!(["20", "59"].contains(&text.as_str()), "{text}");
    } else {
        assert_eq!(text, "512");
    }
}

fn cpu_quota_and_period(t: &Case) {
    let text = limited(t, json!({"cpu": {"quota": 20_000, "period": 50_000}}), "cpu", "cpu.cfs_quota_us", "cpu.max");
    assert_eq!(text, if t.environment.pure_v2 { "20000 50000" } else { "20000" });
}

fn cpuset(t: &Case) {
    assert_eq!(limited(t, json!({"cpu": {"cpus": "0", "mems": "0"}}), "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
}

fn idle_and_burst(t: &Case) {
    let cpu = json!({"cpu": {"quota": 20_000, "period": 50_000, "burst": 10_000, "idle": 1, "shares": 512}});
    assert_eq!(limited(t, cpu.clone(), "cpu", "cpu.cfs_burst_us", "cpu.max.burst"), "10000");
    assert_eq!(limited(t, cpu, "cpu", "cpu.idle", "cpu.idle"), "1");
}

/// The numbers of a block device with a driver.
fn block_device() -> (u64, u64) {
    let text = environment::block_device().unwrap();
    let (major, minor) = text.split_once(':').unwrap();
    (major.parse().unwrap(), minor.parse().unwrap())
}

fn block_io_by_device(t: &Case) {
    let (major, minor) = block_device();
    let rate = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    let resources = json!({"blockIO": {"throttleReadBpsDevice": rate(1 << 20), "throttleWriteIOPSDevice": rate(100)}});
    if t.environment.pure_v2 {
        let text = limited(t, resources, "io", "", "io.max");
        assert_eq!(text, format!("{major}:{minor} rbps=1048576 wbps=max riops=max wiops=100"));
    } else {
        let read = |file: &str| limited(t, resources.clone(), "blkio", file, "");
        assert_eq!(read("blkio.throttle.read_bps_device"), format!("{major}:{minor} 1048576"));
        assert_eq!(read("blkio.throttle.write_iops_device"), format!("{major}:{minor} 100"));
    }
}

fn block_io_of_v1(t: &Case) {
    // Weights need a scheduler that has them: the file that is missing is named, or the weight is there.
    let b = t.bundle();
    b.edit(|c| c["linux"]["resources"]["blockIO"] = json!({"weight": 500}));
    let c = Container::of(t, &b);
    let output = t.create_call(&[], &b).run();
    if output.code() == 0 {
        let dir = t.environment.cgroup("blkio", &path(t, &b));
        let text = ["blkio.weight", "blkio.bfq.weight"].iter().find_map(|file| fs::read_to_string(dir.join(file)).ok());
        assert_eq!(text.as_deref().map(str::trim), Some("500"));
    } else {
        assert_has(output.refused(), "no blkio.weight or blkio.bfq.weight");
        assert_has(output.refused(), "/linux/resources/blockIO/weight");
    }
    drop(c);
}

fn memory_of_v1(t: &Case) {
    let memory = json!({"memory": {"limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20, "swappiness": 10, "disableOOMKiller": true,
        "kernelTCP": 16 << 20, "useHierarchy": true}});
    for (file, expected) in [
        ("memory.limit_in_bytes", "67108864"),
        ("memory.memsw.limit_in_bytes", "100663296"),
        ("memory.soft_limit_in_bytes", "33554432"),
        ("memory.swappiness", "10"),
        ("memory.kmem.tcp.limit_in_bytes", "16777216"),
    ] {
        assert_eq!(limited(t, memory.clone(), "memory", file, ""), expected, "{file}");
    }
    assert_has(&limited(t, memory, "memory", "memory.oom_control", ""), "oom_kill_disable 1");
}

fn huge_pages_and_their_reservation(t: &Case) {
    let resources = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]});
    for file in ["hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"] {
        assert_eq!(limited(t, resources.clone(), "hugetlb", "", file), "4194304");
    }
}

fn unified_of_other_controllers(t: &Case) {
    let resources = json!({"unified": {"cpu.uclamp.max": "50.00", "memory.high": "50331648", "cgroup.max.descendants": "3"}});
    let uclamp = present("/sys/fs/cgroup/system.slice/cpu.uclamp.max");
    let resources = if uclamp { resources } else { json!({"unified": {"memory.high": "50331648", "cgroup.max.descendants": "3"}}) };
    for (controller, file, expected) in
        [("cpu", "cpu.uclamp.max", "50.00"), ("memory", "memory.high", "50331648"), ("memory", "cgroup.max.descendants", "3")]
    {
        if uclamp || controller != "cpu" {
            assert_eq!(limited(t, resources.clone(), controller, "", file), expected);
        }
    }
    // The machine has no resource of the misc controller, but the controller: its file is there, and the kernel refuses the name.
    let b = t.bundle();
    b.edit(|c| c["linux"]["resources"]["unified"] = json!({"misc.max": "nosuch 1"}));
    assert_has(&t.refused(&b), "misc.max");
}

fn limits_that_v2_lacks_are_refused(t: &Case) {
    for (resources, at) in [
        (json!({"memory": {"swappiness": 10}}), "/memory/swappiness"),
        (json!({"memory": {"kernel": 10_000_000}}), "/memory/kernel"),
        (json!({"memory": {"disableOOMKiller": true}}), "/memory/disableOOMKiller"),
        (json!({"cpu": {"realtimeRuntime": 1000}}), "/cpu/realtimeRuntime"),
        (json!({"network": {"classID": 5}}), "/network/classID"),
        (json!({"blockIO": {"leafWeight": 100}}), "/blockIO/leafWeight"),
    ] {
        let b = t.bundle();
        b.edit(|c| {
            for (key, value) in resources.as_object().unwrap() {
                c["linux"]["resources"][key] = value.clone();
            }
        });
        assert_has(&t.refused(&b), &format!("/linux/resources{at}"));
    }
}

fn none_is_no_limit_that_v2_lacks(t: &Case) {
    let memory = json!({"memory": {"limit": 64 << 20, "kernel": -1, "kernelTCP": -1, "disableOOMKiller": false, "useHierarchy": true}});
    assert_eq!(limited(t, memory, "memory", "", "memory.max"), (64 << 20).to_string());
}

/// A cgroup above the container's, made by the test.
fn above(t: &Case, b: &Bundle) -> PathBuf {
    let dir = t.environment.cgroup("pids", &format!("{}/above", t.cgroup()));
    fs::create_dir_all(&dir).unwrap();
    b.edit(|c| c["linux"]["cgroupsPath"] = json!(format!("{}/above/{}", t.cgroup(), b.id())));
    dir
}

fn a_threaded_cgroup_above_is_named(t: &Case) {
    let b = t.bundle();
    let dir = above(t, &b);
    write(dir.join("cgroup.type"), "threaded");
    let text = t.refused(&b);
    assert!(text.contains("threaded") && text.contains("domain"), "{text}");
    fs::remove_dir(dir).unwrap();
}

fn a_cgroup_above_with_processes_is_named(t: &Case) {
    let b = t.bundle();
    let dir = above(t, &b);
    let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    write(dir.join("cgroup.procs"), sleeper.id().to_string());
    b.edit(|c| c["linux"]["resources"]["memory"] = json!({"limit": 64 << 20}));
    let text = t.refused(&b);
    assert_has(&text, "has processes of its own");
    assert_has(&text, "/linux/resources/memory/limit");
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    eventually("it can be removed", || fs::remove_dir(&dir).ok());
}

fn limits_of_an_absent_controller_are_refused(t: &Case) {
    let has = read("/sys/fs/cgroup/cgroup.controllers");
    let (controller, resources) =
        if has.contains("pids") { ("net_cls", json!({"network": {"classID": 5}})) } else { ("pids", json!({"pids": {"limit": 5}})) };
    let b = t.bundle();
    b.edit(|c| {
        for (key, value) in resources.as_object().unwrap() {
            c["linux"]["resources"][key] = value.clone();
        }
    });
    let text = t.refused(&b);
    assert!(text.contains(controller.split('_').next().unwrap()) || text.contains("network"), "{text}");
}

fn unified(t: &Case) {
    assert_eq!(limited(t, json!({"unified": {"pids.max": "41"}}), "pids", "", "pids.max"), "41");
}

fn refused_unified(t: &Case, key: &str) -> String {
    let b = t.bundle();
    b.edit(|c| c["linux"]["resources"]["unified"] = json!({key: "1"}));
    t.refused(&b)
}

fn unified_with_a_path_is_refused(t: &Case) {
    for key in ["../cgroup.procs", "a/b", "", "/sys/kernel/x"] {
        refused_unified(t, key);
    }
}

fn unified_of_an_unknown_file_is_refused(t: &Case) {
    assert_has(&refused_unified(t, "nosuch.knob"), "nosuch");
}

fn unified_on_v1_is_refused(t: &Case) {
    refused_unified(t, "pids.max");
}

fn cgroup_namespace_root_is_the_containers(t: &Case) {
    assert_eq!(t.sh("grep ^0: /proc/self/cgroup", |_| ()), "0::/\n");
}

fn the_cgroup_mount_shows_the_container_alone(t: &Case) {
    let out = t.sh("cat /sys/fs/cgroup/cgroup.procs | head -1; test -e /sys/fs/cgroup/cgroup.type && echo below", |_| ());
    assert_eq!(out, "1\nbelow\n");
}

fn the_cgroup_mount_shows_the_containers_v1(t: &Case) {
    assert_eq!(t.sh("head -1 /sys/fs/cgroup/pids/cgroup.procs; ls -d /sys/fs/cgroup/memory", |_| ()), "1\n/sys/fs/cgroup/memory\n");
}

fn cgroup_mount_of_type_cgroup2(t: &Case) {
    let out = t.sh("head -1 /sys/fs/cgroup/cgroup.procs", |b| {
        b.unmount("/sys/fs/cgroup");
        b.mount(json!({"destination": "/sys/fs/cgroup", "type": "cgroup2", "source": "cgroup2", "options": ["ro", "nosuid", "noexec", "nodev"]}));
    });
    assert_eq!(out, "1\n");
}

fn the_memory_of_a_container_waiting_is_small(t: &Case) {
    let c = t.create(&t.bundle());
    let smaps = read(format!("/proc/{}/smaps_rollup", c.pid()));
    let kilobytes: u64 =
        ["Private_Clean", "Private_Dirty"].iter().map(|key| field(&smaps, key).split(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert!(kilobytes <= 300, "{kilobytes} kB private");
}

fn state_survives_a_move_of_the_caller(t: &Case) {
    // create by one caller, the rest by another in another directory.
    let b = t.bundle();
    let c = t.create(&b);
    c.call("start", &[], &[]).cwd("/").run().ok();
    c.call("kill", &[], &["KILL"]).cwd("/tmp").run().ok();
    c.wait_for("stopped").delete();
}

fn a_container_of_a_user_namespace_has_its_cgroup(t: &Case) {
    let b = t.bundle();
    b.userns(100_000, 65536);
    let c = t.started(&b);
    assert!(membership(c.pid()).iter().any(|(_, at)| *at == path(t, &b)));
    c.delete_force().ok();
    assert!(standing(t, &b).is_empty());
}

fn a_refused_limit_leaves_nothing(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["linux"]["resources"]["pids"] = json!({"limit": "many"}));
    t.refused(&b);
}

/// The owners of the directory, of a file that the kernel lists for delegation, and of one that it does not.
fn owners(dir: &std::path::Path) -> [u32; 3] {
    use std::os::unix::fs::MetadataExt;
    ["", "cgroup.procs", "cgroup.max.depth"].map(|file| fs::metadata(dir.join(file)).unwrap().uid())
}

fn remount_cgroup(b: &Bundle, options: &[&str]) {
    b.unmount("/sys/fs/cgroup");
    b.mount(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}));
}

fn a_writable_cgroup_is_given_to_the_user_of_the_process(t: &Case) {
    let b = t.bundle();
    remount_cgroup(&b, &["nosuid", "noexec", "nodev"]);
    b.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let c = t.create(&b);
    let listed = fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap_or_default();
    assert_eq!(owners(&all(t, &b)[0]), [1000, 1000, 0]);
    for file in listed.lines().map(|file| all(t, &b)[0].join(file)).filter(|file| present(file)) {
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata(&file).unwrap().uid(), 1000, "{}", file.display());
    }
    drop(c);
}

fn a_container_of_a_user_namespace_makes_cgroups_in_its_own(t: &Case) {
    let out = t.sh("mkdir /sys/fs/cgroup/a && echo 1 >/sys/fs/cgroup/a/cgroup.procs && cat /proc/self/cgroup | sed -n 's/^0:://p'", |b| {
        b.userns(100_000, 65536);
        remount_cgroup(b, &["nosuid", "noexec", "nodev"]);
    });
    assert_eq!(out, "/a\n");
}

fn a_cgroup_that_is_not_writable_is_given_to_nobody(t: &Case) {
    for options in [["nosuid", "ro"].as_slice(), &["nosuid"]] {
        let b = t.bundle();
        remount_cgroup(&b, options);
        b.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
        if !options.contains(&"ro") {
            b.leave_namespace("cgroup");
        }
        let c = t.create(&b);
        assert_eq!(owners(&all(t, &b)[0]), [0, 0, 0], "{options:?}");
        drop(c);
    }
}

fn a_cgroup_of_v1_is_given_to_nobody(t: &Case) {
    use std::os::unix::fs::MetadataExt;
    let b = t.bundle();
    remount_cgroup(&b, &["nosuid", "noexec", "nodev"]);
    b.namespace(json!({"type": "cgroup"}));
    b.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let c = t.create(&b);
    for dir in standing(t, &b) {
        assert_eq!(["", "cgroup.procs"].map(|file| fs::metadata(dir.join(file)).unwrap().uid()), [0, 0], "{}", dir.display());
    }
    drop(c);
}
