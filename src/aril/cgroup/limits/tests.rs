//! What is written for a configuration.

use super::*;
use crate::cgroup::Hierarchy;
use serde_json::{Value, json};
use std::path::PathBuf;

fn hierarchy(version: Version, controllers: &str) -> Hierarchy {
    let controllers = controllers.split_whitespace().map(str::to_owned).collect();
    Hierarchy { version, controllers, mount: PathBuf::from("/nowhere"), path: "/x".to_owned(), ours: true, delegated: None }
}

fn v1() -> Place {
    let all = "cpu cpuacct cpuset memory blkio devices freezer pids hugetlb net_cls net_prio rdma";
    Place { hierarchies: vec![hierarchy(Version::V1, all)], optional: false, unit: None }
}

fn v2() -> Place {
    Place { hierarchies: vec![hierarchy(Version::V2, "")], optional: false, unit: None }
}

fn limits(resources: &Value, place: &Place) -> std::result::Result<Limits, Invalid> {
    let resources = serde_json::from_value(resources.clone()).expect("resources");
    let writes = super::writes(&resources, &resources, &Pointer::to("/linux/resources"), place)?;
    Ok(Limits { writes, devices: None, lenient: false })
}

/// `file=text`, alternatives joined by ` or `, in the order of writing.
fn writes(resources: &Value, place: &Place) -> Vec<String> {
    limits(resources, place).expect("limits").writes().map(|(_, line)| line).collect()
}

fn refusal(resources: &Value, place: &Place) -> (String, String) {
    let error = limits(resources, place).expect_err("a refusal");
    (error.at.as_str().to_owned(), error.why)
}

#[test]
fn cpu() {
    let all = json!({"cpu": {"shares": 1024, "quota": 50000, "period": 100_000, "burst": 1000, "idle": 0, "cpus": "0-1", "mems": "0",
        "realtimePeriod": 1_000_000, "realtimeRuntime": 950_000}});
    assert_eq!(
        writes(&all, &v1()),
        [
            "cpu.idle=0",
            "cpu.shares=1024",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=50000",
            "cpu.cfs_burst_us=1000",
            "cpu.rt_period_us=1000000",
            "cpu.rt_runtime_us=950000",
            "cpuset.cpus=0-1",
            "cpuset.mems=0"
        ]
    );
    let most = json!({"cpu": {"shares": 1024, "quota": 50000, "period": 100_000, "burst": 1000, "cpus": "0-1", "mems": "0"}});
    assert_eq!(writes(&most, &v2()), ["cpu.weight=100", "cpu.max=50000 100000", "cpu.max.burst=1000", "cpuset.cpus=0-1", "cpuset.mems=0"]);
    assert_eq!(writes(&json!({"cpu": {"quota": -1}}), &v2()), ["cpu.max=max"]);
    assert_eq!(writes(&json!({"cpu": {"quota": -1}}), &v1()), ["cpu.cfs_quota_us=-1"]);
    assert_eq!(writes(&json!({"cpu": {"period": 20000}}), &v2()), ["cpu.max=max 20000"]);
    for place in [v1(), v2()] {
        assert_eq!(writes(&json!({"cpu": {"idle": 1, "shares": 512}}), &place), ["cpu.idle=1"]);
    }
    let nothing = json!({"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""}});
    assert!(writes(&nothing, &v1()).is_empty() && writes(&nothing, &v2()).is_empty());
    assert_eq!(refusal(&json!({"cpu": {"realtimeRuntime": 1}}), &v2()).0, "/linux/resources/cpu/realtimeRuntime");
    assert_eq!(refusal(&json!({"cpu": {"cpus": "0\n1"}}), &v2()).0, "/linux/resources/cpu/cpus");
    assert!(refusal(&json!({"cpu": {"shares": 1}}), &v1()).1.contains("minimum allowed"));
}

/// The points that the formula of the specification's readers is made from, and some between.
#[test]
fn shares_are_weights() {
    for (shares, weight) in [(1, 1), (2, 1), (3, 2), (102, 17), (512, 59), (1024, 100), (2048, 174), (262_144, 10_000), (1 << 40, 10_000)] {
        assert_eq!(super::super::text::weight_of(shares), weight, "{shares}");
    }
}

#[test]
fn memory() {
    let both = |limit: i64, swap: i64| json!({"memory": {"limit": limit, "swap": swap}});
    assert_eq!(writes(&both(1000, 3000), &v1()), ["memory.limit_in_bytes=1000", "memory.memsw.limit_in_bytes=3000"]);
    assert_eq!(writes(&both(1000, 3000), &v2()), ["memory.max=1000", "memory.swap.max=2000"]);
    assert_eq!(writes(&both(1000, 1000), &v2()), ["memory.max=1000", "memory.swap.max=0"]);
    assert_eq!(writes(&both(1000, -1), &v2()), ["memory.max=1000", "memory.swap.max=max"]);
    assert_eq!(writes(&both(1000, 0), &v2()), ["memory.max=1000"]);
    assert_eq!(writes(&json!({"memory": {"limit": -1}}), &v2()), ["memory.max=max", "memory.swap.max=max"]);
    assert_eq!(writes(&json!({"memory": {"limit": -1}}), &v1()), ["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1"]);
    assert_eq!(refusal(&both(1000, 999), &v2()).0, "/linux/resources/memory/swap");
    assert_eq!(refusal(&both(0, 999), &v2()).0, "/linux/resources/memory/swap");
    let rest =
        json!({"memory": {"reservation": 5, "kernel": 6, "kernelTCP": 7, "swappiness": 0, "disableOOMKiller": true, "useHierarchy": true}});
    assert_eq!(
        writes(&rest, &v1()),
        [
            "memory.use_hierarchy=1",
            "memory.soft_limit_in_bytes=5",
            "memory.kmem.limit_in_bytes=6",
            "memory.kmem.tcp.limit_in_bytes=7",
            "memory.swappiness=0",
            "memory.oom_control=1"
        ]
    );
    assert_eq!(writes(&json!({"memory": {"reservation": 5, "disableOOMKiller": false, "useHierarchy": true}}), &v2()), ["memory.low=5"]);
    for (key, value) in [
        ("kernel", json!(1)),
        ("kernelTCP", json!(1)),
        ("swappiness", json!(1)),
        ("disableOOMKiller", json!(true)),
        ("useHierarchy", json!(false)),
    ] {
        assert_eq!(refusal(&json!({"memory": {key: value}}), &v2()).0, format!("/linux/resources/memory/{key}"));
    }
    assert_eq!(refusal(&json!({"memory": {"swappiness": 101}}), &v1()).0, "/linux/resources/memory/swappiness");
}

#[test]
fn usage_is_looked_at_first_when_asked_for() {
    let resources = json!({"memory": {"limit": 1000, "checkBeforeUpdate": true}});
    assert_eq!(limits(&resources, &v1()).expect("limits").writes[0].usage, Some(("memory.usage_in_bytes", 1000)));
    assert_eq!(limits(&resources, &v2()).expect("limits").writes[0].usage, Some(("memory.current", 1000)));
}

#[test]
fn pids_zero_is_a_limit() {
    for place in [v1(), v2()] {
        assert_eq!(writes(&json!({"pids": {"limit": 0}}), &place), ["pids.max=0"]);
        assert_eq!(writes(&json!({"pids": {"limit": 7}}), &place), ["pids.max=7"]);
        assert_eq!(writes(&json!({"pids": {"limit": -1}}), &place), ["pids.max=max"]);
    }
}

#[test]
fn block_io() {
    let resources = json!({"blockIO": {"weight": 10, "weightDevice": [{"major": 8, "minor": 0, "weight": 1000}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 16, "rate": 1024}], "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 0}]}});
    assert_eq!(
        writes(&resources, &v1()),
        [
            "blkio.weight=10 or blkio.bfq.weight=10",
            "blkio.weight_device=8:0 1000 or blkio.bfq.weight_device=8:0 1000",
            "blkio.throttle.read_bps_device=8:16 1024",
            "blkio.throttle.write_iops_device=8:0 0"
        ]
    );
    assert_eq!(
        writes(&resources, &v2()),
        [
            "io.bfq.weight=10 or io.weight=1",
            "io.bfq.weight=8:0 1000 or io.weight=8:0 10000",
            "io.max=8:16 rbps=1024",
            "io.max=8:0 wiops=max"
        ]
    );
    let leaf = json!({"blockIO": {"weightDevice": [{"major": 8, "minor": 0}, {"major": 8, "minor": 0, "leafWeight": 10}]}});
    assert_eq!(writes(&leaf, &v1()), ["blkio.leaf_weight_device=8:0 10"]);
    assert_eq!(refusal(&leaf, &v2()).0, "/linux/resources/blockIO/weightDevice/1/leafWeight");
}

#[test]
fn huge_pages_rdma_and_network() {
    let resources = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4096}], "rdma": {"mlx": {"hcaHandles": 3, "hcaObjects": 4}}});
    assert_eq!(
        writes(&resources, &v1()),
        [
            "hugetlb.2MB.limit_in_bytes=4096",
            "hugetlb.2MB.rsvd.limit_in_bytes=4096",
            "rdma.max=mlx hca_handle=3",
            "rdma.max=mlx hca_object=4"
        ]
    );
    assert_eq!(writes(&resources, &v2())[..2], ["hugetlb.2MB.max=4096", "hugetlb.2MB.rsvd.max=4096"]);
    for bad in ["", "MB", "2M", "../x", "2MBKB", "02MB", "2MB/../"] {
        assert_eq!(
            refusal(&json!({"hugepageLimits": [{"pageSize": bad, "limit": 1}]}), &v2()).0,
            "/linux/resources/hugepageLimits/0",
            "{bad}"
        );
    }
    let network = json!({"network": {"classID": 1_048_577, "priorities": [{"name": "eth0", "priority": 5}]}});
    assert_eq!(writes(&network, &v1()), ["net_cls.classid=1048577", "net_prio.ifpriomap=eth0 5"]);
    assert_eq!(refusal(&network, &v2()).0, "/linux/resources/network/classID");
    let split = json!({"network": {"priorities": [{"name": "a b", "priority": 5}]}});
    assert_eq!(refusal(&split, &v1()).0, "/linux/resources/network/priorities/0");
}

#[test]
fn unified_is_files_of_v2() {
    let resources = json!({"unified": {"memory.high": "1000", "io.max": "8:0 rbps=1\n8:16 rbps=2", "cgroup.max.depth": "1"}});
    assert_eq!(writes(&resources, &v2()), ["cgroup.max.depth=1", "io.max=8:0 rbps=1", "io.max=8:16 rbps=2", "memory.high=1000"]);
    for bad in
        ["../../../x", "a/b", "memory.max\n", "", "memory", ".x", "cgroup.procs", "cgroup.kill", "cgroup.freeze", "cgroup.subtree_control"]
    {
        let (at, why) = refusal(&json!({"unified": {bad: "1"}}), &v2());
        assert!(at.starts_with("/linux/resources/unified/"), "{at}");
        assert!(why.contains(&format!("{bad:?}")), "{why}");
    }
    for bad in ["", "  ", "1\u{0}", "1\r"] {
        assert_eq!(refusal(&json!({"unified": {"memory.max": bad}}), &v2()).0, "/linux/resources/unified/memory.max");
    }
    assert!(refusal(&json!({"unified": {"memory.high": "1"}}), &v1()).1.contains("cgroup v2"));
}

#[test]
fn a_hybrid_host_uses_each_controller_where_it_is() {
    let place = Place { hierarchies: vec![hierarchy(Version::V1, "memory"), hierarchy(Version::V2, "")], optional: false, unit: None };
    let resources =
        json!({"memory": {"limit": 1000}, "hugepageLimits": [{"pageSize": "2MB", "limit": 1}], "unified": {"hugetlb.1GB.max": "2"}});
    assert_eq!(
        writes(&resources, &place),
        ["memory.limit_in_bytes=1000", "hugetlb.2MB.max=1", "hugetlb.2MB.rsvd.max=1", "hugetlb.1GB.max=2"]
    );
}

#[test]
fn a_controller_that_the_host_lacks_is_named() {
    let place = Place { hierarchies: vec![hierarchy(Version::V1, "memory")], optional: false, unit: None };
    let (at, why) = refusal(&json!({"pids": {"limit": 5}}), &place);
    assert_eq!(at, "/linux/resources/pids/limit");
    assert!(why.contains("no pids controller"), "{why}");
    assert!(writes(&json!({"memory": {}, "cpu": {}}), &place).is_empty());
    assert!(refusal(&json!({"memory": {"limit": 5}}), &Place::default()).1.contains("the container has no cgroup"));
}
