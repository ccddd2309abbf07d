//! cgroup v1: Documentation/admin-guide/cgroup-v1.

use super::text::{counters, devices, list, number, numbers};
use super::{Blkio, BlkioEntry, CpuUsage, Cpuset, Hugetlb, Memory, MemoryEntry, Read, Throttling};
use crate::error::Result;

/// Nanoseconds in a tick of `cpuacct.stat` (USER_HZ, 100 a second on every architecture that matters).
const TICK: u64 = 10_000_000;

pub(super) fn cpu_usage(read: Read<'_>) -> Result<CpuUsage> {
    let stat = counters(read, "cpuacct.stat")?;
    let time = |key: &str| stat.get(key).map_or(0, |ticks| ticks.saturating_mul(TICK));
    // A head, then a line for each processor: its number, user, system.
    let all = read("cpuacct.usage_all")?.unwrap_or_default();
    let rows: Vec<Vec<u64>> = all.lines().skip(1).map(numbers).filter(|row| row.len() == 3).collect();
    Ok(CpuUsage {
        total: number(read, "cpuacct.usage")?,
        percpu: read("cpuacct.usage_percpu")?.as_deref().map(numbers).unwrap_or_default(),
        percpu_kernel: rows.iter().map(|row| row[2]).collect(),
        percpu_user: rows.iter().map(|row| row[1]).collect(),
        kernel: time("system"),
        user: time("user"),
    })
}

pub(super) fn throttling(read: Read<'_>) -> Result<Throttling> {
    let stat = counters(read, "cpu.stat")?;
    let count = |key: &str| stat.get(key).copied().unwrap_or(0);
    Ok(Throttling { periods: count("nr_periods"), throttled_periods: count("nr_throttled"), throttled_time: count("throttled_time") })
}

pub(super) fn cpuset(read: Read<'_>) -> Result<Cpuset> {
    let number = |file: &str| number(read, file);
    let list = |file: &str| -> Result<Vec<u16>> { Ok(read(file)?.as_deref().map(list).unwrap_or_default()) };
    Ok(Cpuset {
        cpus: list("cpuset.cpus")?,
        cpu_exclusive: number("cpuset.cpu_exclusive")?,
        mems: list("cpuset.mems")?,
        mem_hardwall: number("cpuset.mem_hardwall")?,
        mem_exclusive: number("cpuset.mem_exclusive")?,
        memory_migrate: number("cpuset.memory_migrate")?,
        memory_spread_page: number("cpuset.memory_spread_page")?,
        memory_spread_slab: number("cpuset.memory_spread_slab")?,
        memory_pressure: number("cpuset.memory_pressure")?,
        sched_load_balance: number("cpuset.sched_load_balance")?,
        sched_relax_domain_level: read("cpuset.sched_relax_domain_level")?.and_then(|text| text.trim().parse().ok()).unwrap_or(0),
    })
}

pub(super) fn memory(read: Read<'_>) -> Result<Memory> {
    let raw = counters(read, "memory.stat")?;
    let mut event_count = counters(read, "memory.oom_control")?;
    event_count.retain(|key, _| key == "oom_kill");
    Ok(Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: entry(read, "memory")?,
        swap: entry(read, "memory.memsw")?,
        kernel: entry(read, "memory.kmem")?,
        kernel_tcp: entry(read, "memory.kmem.tcp")?,
        raw,
        psi: None,
        event_count,
    })
}

fn entry(read: Read<'_>, of: &str) -> Result<MemoryEntry> {
    let number = |name: &str| number(read, &format!("{of}.{name}"));
    Ok(MemoryEntry {
        limit: number("limit_in_bytes")?,
        usage: number("usage_in_bytes")?,
        max: number("max_usage_in_bytes")?,
        failcnt: number("failcnt")?,
    })
}

/// What the I/O schedulers count where they count anything (cfq before Linux 5.0, then bfq), else what passed the throttling layer.
pub(super) fn blkio(read: Read<'_>) -> Result<Blkio> {
    let of = |prefix: &str, name: &str| -> Result<Vec<BlkioEntry>> {
        Ok(read(&format!("{prefix}.{name}_recursive"))?.as_deref().map(devices).unwrap_or_default())
    };
    for prefix in ["blkio", "blkio.bfq"] {
        let io_serviced_recursive = of(prefix, "io_serviced")?;
        if !io_serviced_recursive.is_empty() {
            return Ok(Blkio {
                io_service_bytes_recursive: of(prefix, "io_service_bytes")?,
                io_serviced_recursive,
                io_queued_recursive: of(prefix, "io_queued")?,
                io_service_time_recursive: of(prefix, "io_service_time")?,
                io_wait_time_recursive: of(prefix, "io_wait_time")?,
                io_merged_recursive: of(prefix, "io_merged")?,
                io_time_recursive: of(prefix, "time")?,
                sectors_recursive: of(prefix, "sectors")?,
                psi: None,
            });
        }
    }
    Ok(Blkio {
        io_service_bytes_recursive: of("blkio.throttle", "io_service_bytes")?,
        io_serviced_recursive: of("blkio.throttle", "io_serviced")?,
        ..Blkio::default()
    })
}

pub(super) fn hugetlb(read: Read<'_>, size: &str) -> Result<Hugetlb> {
    // Reservations are counted since Linux 5.7.
    let reserved = format!("hugetlb.{size}.rsvd");
    let of = if read(&format!("{reserved}.usage_in_bytes"))?.is_some() { reserved } else { format!("hugetlb.{size}") };
    let number = |name: &str| number(read, &format!("{of}.{name}"));
    Ok(Hugetlb { usage: number("usage_in_bytes")?, max: number("max_usage_in_bytes")?, failcnt: number("failcnt")? })
}
