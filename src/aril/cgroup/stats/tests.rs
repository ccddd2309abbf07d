use super::*;

/// The files of a cgroup, made up.
fn files(files: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Result<Option<String>> {
    move |name| Ok(files.iter().find(|(file, _)| *file == name).map(|(_, text)| (*text).to_owned()))
}

#[test]
fn processor_time() {
    let v1 = files(&[
        ("cpuacct.usage", "7000000123\n"),
        ("cpuacct.usage_percpu", "3000000100 4000000023 \n"),
        ("cpuacct.usage_all", "cpu user system\n0 2000000000 1000000100\n1 4000000000 23\n"),
        ("cpuacct.stat", "user 600\nsystem 100\n"),
        ("cpu.stat", "nr_periods 9\nnr_throttled 4\nthrottled_time 5000\nnr_bursts 0\n"),
    ]);
    let usage = CpuUsage {
        total: 7_000_000_123,
        percpu: vec![3_000_000_100, 4_000_000_023],
        percpu_kernel: vec![1_000_000_100, 23],
        percpu_user: vec![2_000_000_000, 4_000_000_000],
        kernel: 1_000_000_000,
        user: 6_000_000_000,
    };
    assert_eq!(v1::cpu_usage(&v1).expect("a usage"), usage);
    assert_eq!(v1::throttling(&v1).expect("figures"), Throttling { periods: 9, throttled_periods: 4, throttled_time: 5000 });

    let v2 = files(&[(
        "cpu.stat",
        "usage_usec 7000\nuser_usec 6000\nsystem_usec 1000\nnice_usec 0\nnr_periods 9\nnr_throttled 4\nthrottled_usec 5\n",
    )]);
    let usage = CpuUsage { total: 7_000_000, kernel: 1_000_000, user: 6_000_000, ..CpuUsage::default() };
    assert_eq!(v2::cpu_usage(&v2).expect("a usage"), usage);
    assert_eq!(v2::throttling(&v2).expect("figures"), Throttling { periods: 9, throttled_periods: 4, throttled_time: 5000 });
}

#[test]
fn memory_of_v1() {
    let files = files(&[
        ("memory.stat", "cache 8192\nrss 4096\nhierarchical_memory_limit 9223372036854771712\n"),
        ("memory.usage_in_bytes", "12288\n"),
        ("memory.max_usage_in_bytes", "20480\n"),
        ("memory.failcnt", "3\n"),
        ("memory.limit_in_bytes", "33554432\n"),
        ("memory.memsw.limit_in_bytes", "67108864\n"),
        ("memory.kmem.usage_in_bytes", "100\n"),
        ("memory.kmem.tcp.usage_in_bytes", "50\n"),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
    ]);
    let memory = v1::memory(&files).expect("memory");
    assert_eq!(memory.cache, 8192);
    assert_eq!(memory.usage, MemoryEntry { limit: 33_554_432, usage: 12288, max: 20480, failcnt: 3 });
    assert_eq!((memory.swap.limit, memory.kernel.usage, memory.kernel_tcp.usage), (67_108_864, 100, 50));
    assert_eq!(memory.raw["rss"], 4096);
    assert_eq!(memory.event_count, Counters::from([("oom_kill".to_owned(), 2)]));
}

#[test]
fn memory_of_v2_counts_swap_with_memory() {
    let all = files(&[
        ("memory.stat", "anon 4096\nfile 8192\nkernel 300\nsock 40\n"),
        ("memory.current", "12288\n"),
        ("memory.peak", "20480\n"),
        ("memory.max", "33554432\n"),
        ("memory.swap.current", "4096\n"),
        ("memory.swap.max", "33554432\n"),
        ("memory.events", "low 0\nhigh 1\nmax 7\noom 2\noom_kill 2\noom_group_kill 0\n"),
    ]);
    let memory = v2::memory(&all).expect("memory");
    assert_eq!(memory.cache, 8192);
    assert_eq!(memory.usage, MemoryEntry { limit: 33_554_432, usage: 12288, max: 20480, failcnt: 7 });
    assert_eq!((memory.swap.limit, memory.swap.usage), (67_108_864, 16384));
    assert_eq!((memory.kernel.usage, memory.kernel_tcp.usage), (300, 40));
    assert_eq!(memory.event_count["oom_kill"], 2);
    let unlimited = files(&[("memory.max", "max\n"), ("memory.swap.max", "max\n")]);
    let memory = v2::memory(&unlimited).expect("memory");
    assert_eq!((memory.usage.limit, memory.swap.limit), (u64::MAX, u64::MAX));
}

#[test]
fn block_devices() {
    let entry = |major, minor, op: &str, value| BlkioEntry { major, minor, op: op.to_owned(), value };
    let throttle = files(&[
        ("blkio.bfq.io_serviced_recursive", "Total 0\n"),
        ("blkio.throttle.io_service_bytes_recursive", "8:0 Read 4096\n8:0 Total 4096\n259:1 Write 512\nTotal 4608\n"),
        ("blkio.throttle.io_serviced_recursive", "8:0 Read 1\nTotal 1\n"),
    ]);
    let blkio = v1::blkio(&throttle).expect("figures");
    let bytes = [entry(8, 0, "Read", 4096), entry(8, 0, "Total", 4096), entry(259, 1, "Write", 512)];
    assert_eq!(blkio.io_service_bytes_recursive, bytes);
    assert_eq!(blkio.io_serviced_recursive, [entry(8, 0, "Read", 1)]);
    let scheduler = files(&[
        ("blkio.bfq.io_serviced_recursive", "8:0 Read 1\nTotal 1\n"),
        ("blkio.bfq.io_queued_recursive", "8:0 Write 2\nTotal 2\n"),
        ("blkio.bfq.sectors_recursive", "8:0 17\n"),
        ("blkio.throttle.io_serviced_recursive", "8:0 Read 99\nTotal 99\n"),
    ]);
    let blkio = v1::blkio(&scheduler).expect("figures");
    assert_eq!(blkio.io_serviced_recursive, [entry(8, 0, "Read", 1)]);
    assert_eq!(blkio.io_queued_recursive, [entry(8, 0, "Write", 2)]);
    assert_eq!(blkio.sectors_recursive, [entry(8, 0, "", 17)]);
    let v2 = files(&[("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.usage=7\n8:16 \n")]);
    let blkio = v2::blkio(&v2).expect("figures");
    assert_eq!(blkio.io_service_bytes_recursive, [entry(8, 0, "Read", 1), entry(8, 0, "Write", 2), entry(8, 0, "Discard", 5)]);
    assert_eq!(blkio.io_serviced_recursive, [entry(8, 0, "Read", 3), entry(8, 0, "Write", 4), entry(8, 0, "Discard", 6)]);
}

#[test]
fn cpusets() {
    let v1 = files(&[("cpuset.cpus", "0-2,7\n"), ("cpuset.mems", "0\n"), ("cpuset.sched_relax_domain_level", "-1\n")]);
    let cpuset = v1::cpuset(&v1).expect("a set");
    assert_eq!((cpuset.cpus, cpuset.mems, cpuset.sched_relax_domain_level), (vec![0, 1, 2, 7], vec![0], -1));
    let v2 = files(&[("cpuset.cpus.effective", "1\n"), ("cpuset.mems.effective", "\n")]);
    let cpuset = v2::cpuset(&v2).expect("a set");
    assert_eq!((cpuset.cpus, cpuset.mems), (vec![1], vec![]));
}

#[test]
fn huge_pages_and_pids() {
    let reserving = files(&[
        ("hugetlb.2MB.usage_in_bytes", "1\n"),
        ("hugetlb.2MB.rsvd.usage_in_bytes", "2\n"),
        ("hugetlb.2MB.rsvd.max_usage_in_bytes", "3\n"),
        ("hugetlb.2MB.rsvd.failcnt", "4\n"),
    ]);
    assert_eq!(v1::hugetlb(&reserving, "2MB").expect("figures"), Hugetlb { usage: 2, max: 3, failcnt: 4 });
    let v2 = files(&[("hugetlb.1GB.current", "1\n"), ("hugetlb.1GB.events", "max 5\n")]);
    assert_eq!(v2::hugetlb(&v2, "1GB").expect("figures"), Hugetlb { usage: 1, max: 0, failcnt: 5 });
    let pids = |limit| text::pids(&move |file: &str| Ok(Some(if file == "pids.max" { limit } else { "3\n" }.to_owned()))).expect("pids");
    assert_eq!(pids("max\n"), Some(Pids { current: 3, limit: 0 }));
    assert_eq!(pids("50\n"), Some(Pids { current: 3, limit: 50 }));
    assert_eq!(text::pids(&files(&[])).expect("none"), None);
}

#[test]
fn pressure() {
    let text = "some avg10=10.89 avg60=48.93 avg300=36.51 total=7488919903\nfull avg10=0.00 avg60=0.50 avg300=0.00 total=1\n";
    let found = psi(text).expect("pressure");
    assert_eq!(found.some, Pressure { avg10: 10.89, avg60: 48.93, avg300: 36.51, total: 7_488_919_903 });
    assert_eq!(found.full, Pressure { avg60: 0.5, total: 1, ..Pressure::default() });
    assert_eq!(psi("some avg10=1.00 avg60=0.00 avg300=0.00 total=0\n").map(|psi| psi.full), Some(Pressure::default()));
    assert_eq!(psi(""), None);
    assert_eq!(psi("some avg10=many\n"), None);
}
