//! cgroup v2: Documentation/admin-guide/cgroup-v2.rst.

use super::text::{counters, device, list, number};
use super::{Blkio, BlkioEntry, CpuUsage, Cpuset, Hugetlb, Memory, MemoryEntry, Read, Throttling};
use crate::error::Result;

/// Nanoseconds in the microsecond of `cpu.stat`.
const MICROSECOND: u64 = 1000;

pub(super) fn cpu_usage(read: Read<'_>) -> Result<CpuUsage> {
    let stat = counters(read, "cpu.stat")?;
    let time = |key: &str| stat.get(key).map_or(0, |time| time.saturating_mul(MICROSECOND));
    Ok(CpuUsage { total: time("usage_usec"), kernel: time("system_usec"), user: time("user_usec"), ..CpuUsage::default() })
}

pub(super) fn throttling(read: Read<'_>) -> Result<Throttling> {
    let stat = counters(read, "cpu.stat")?;
    let count = |key: &str| stat.get(key).copied().unwrap_or(0);
    Ok(Throttling {
        periods: count("nr_periods"),
        throttled_periods: count("nr_throttled"),
        throttled_time: count("throttled_usec").saturating_mul(MICROSECOND),
    })
}

pub(super) fn cpuset(read: Read<'_>) -> Result<Cpuset> {
    let list = |file: &str| -> Result<Vec<u16>> { Ok(read(file)?.as_deref().map(list).unwrap_or_default()) };
    Ok(Cpuset { cpus: list("cpuset.cpus.effective")?, mems: list("cpuset.mems.effective")?, ..Cpuset::default() })
}

pub(super) fn memory(read: Read<'_>) -> Result<Memory> {
    let raw = counters(read, "memory.stat")?;
    let events = counters(read, "memory.events")?;
    let of = |key: &str| raw.get(key).copied().unwrap_or(0);
    let used = |usage: u64| MemoryEntry { usage, ..MemoryEntry::default() };
    let usage = MemoryEntry {
        limit: number(read, "memory.max")?,
        usage: number(read, "memory.current")?,
        max: number(read, "memory.peak")?,
        failcnt: events.get("max").copied().unwrap_or(0),
    };
    let swap = MemoryEntry {
        limit: number(read, "memory.swap.max")?.saturating_add(usage.limit),
        usage: number(read, "memory.swap.current")?.saturating_add(usage.usage),
        max: number(read, "memory.swap.peak")?.saturating_add(usage.max),
        failcnt: counters(read, "memory.swap.events")?.get("max").copied().unwrap_or(0),
    };
    Ok(Memory {
        cache: of("file"),
        usage,
        swap,
        kernel: used(of("kernel")),
        kernel_tcp: used(of("sock")),
        raw,
        psi: None,
        event_count: events,
    })
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`, and further keys of I/O cost models.
pub(super) fn blkio(read: Read<'_>) -> Result<Blkio> {
    let mut blkio = Blkio::default();
    for line in read("io.stat")?.unwrap_or_default().lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for (key, number) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut blkio.io_service_bytes_recursive, "Write"),
                "dbytes" => (&mut blkio.io_service_bytes_recursive, "Discard"),
                "rios" => (&mut blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut blkio.io_serviced_recursive, "Write"),
                "dios" => (&mut blkio.io_serviced_recursive, "Discard"),
                _ => continue,
            };
            list.push(BlkioEntry { major, minor, op: op.to_owned(), value: super::text::value(number) });
        }
    }
    Ok(blkio)
}

pub(super) fn hugetlb(read: Read<'_>, size: &str) -> Result<Hugetlb> {
    let reserved = format!("hugetlb.{size}.rsvd.current");
    let file = if read(&reserved)?.is_some() { reserved } else { format!("hugetlb.{size}.current") };
    let failcnt = counters(read, &format!("hugetlb.{size}.events"))?.get("max").copied().unwrap_or(0);
    Ok(Hugetlb { usage: number(read, &file)?, max: 0, failcnt })
}
