//! What a container uses, in the form that callers of runc's `events` know (its types/events.go; go-runc decodes the same).
//!
//! Each part comes from the hierarchy that has its controller, so that v1, v2 and any split between them give the same. What a controller that is
//! absent would have said is zero or left out.

mod text;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use super::{Cgroup, Member, Version};
use crate::error::Result;
use crate::sys::{self, Errno};
use serde::Serialize;
use std::collections::BTreeMap;
pub use text::{parse_counters as counters, psi};

/// Named numbers: the lines of a file such as `memory.stat`.
pub type Counters = BTreeMap<String, u64>;

/// The figures of one moment. Times are in nanoseconds, sizes in bytes; a limit that is none is 2^64-1, but 0 for pids.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Processor time.
    pub cpu: Cpu,
    /// Where it may run.
    pub cpuset: Cpuset,
    /// Memory.
    pub memory: Memory,
    /// Processes and threads.
    pub pids: Pids,
    /// Block devices.
    pub blkio: Blkio,
    /// Huge pages, by page size (`2MB`).
    pub hugetlb: BTreeMap<String, Hugetlb>,
}

/// Processor time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// What was used.
    pub usage: CpuUsage,
    /// What was not given.
    pub throttling: Throttling,
    /// What was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// Nanoseconds of processor time. By processor on v1 alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct CpuUsage {
    pub total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

/// Periods of the quota, and how many of them ended with processes waiting for the next.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Throttling {
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_time: u64,
}

/// Pressure stall information (Documentation/accounting/psi.rst).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Psi {
    /// Some of the processes waited.
    pub some: Pressure,
    /// All of them did.
    pub full: Pressure,
}

/// Shares of the last so many seconds in percent, and microseconds in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Pressure {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

/// cpusets(7); on v2 there are processors and memory nodes, those that are in effect.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Memory {
    /// The page cache.
    pub cache: u64,
    /// All.
    pub usage: MemoryEntry,
    /// Memory and swap together, on v2 as well, where they are counted apart.
    pub swap: MemoryEntry,
    /// The kernel's own for these processes.
    pub kernel: MemoryEntry,
    /// Buffers of sockets.
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// `memory.stat`
    pub raw: Counters,
    /// What was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
    /// `memory.events`
    pub event_count: Counters,
}

/// One kind of memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MemoryEntry {
    /// What is allowed.
    pub limit: u64,
    /// What is used.
    pub usage: u64,
    /// The most that was used.
    pub max: u64,
    /// How often the limit was met.
    pub failcnt: u64,
}

/// Processes and threads.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Pids {
    pub current: u64,
    pub limit: u64,
}

/// Block devices, each with what was done in the cgroup and below it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    /// What was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// A device and an operation: `Read`, `Write`, `Sync`, `Async`, `Discard`, `Total`, or none where operations are not told apart.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct BlkioEntry {
    pub major: u64,
    pub minor: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    pub value: u64,
}

/// Huge pages of one size; reservations count as use.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Hugetlb {
    pub usage: u64,
    pub max: u64,
    pub failcnt: u64,
}

/// How the figures of a page size are read.
type HugePages = fn(Read<'_>, &str) -> Result<Hugetlb>;

/// The text of a file; `None` where the kernel has no such file.
type Text = Result<Option<String>>;

/// How a file is read.
type Read<'a> = &'a dyn Fn(&str) -> Text;

impl Cgroup {
    /// What is used at this moment.
    ///
    /// # Errors
    /// A file that is there cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        Ok(Stats {
            cpu: self.cpu()?,
            cpuset: match self.with("cpuset") {
                Some((Version::V1, read)) => v1::cpuset(&read)?,
                Some((Version::V2, read)) => v2::cpuset(&read)?,
                None => Cpuset::default(),
            },
            memory: self.memory()?,
            pids: self.pids()?,
            blkio: Blkio { psi: self.pressure("io.pressure")?, ..self.blkio()? },
            hugetlb: self.hugetlb()?,
        })
    }

    fn cpu(&self) -> Result<Cpu> {
        let usage = match self.with("cpuacct") {
            Some((Version::V1, read)) => v1::cpu_usage(&read)?,
            Some((Version::V2, read)) => v2::cpu_usage(&read)?,
            None => CpuUsage::default(),
        };
        let throttling = match self.with("cpu") {
            Some((Version::V1, read)) => v1::throttling(&read)?,
            Some((Version::V2, read)) => v2::throttling(&read)?,
            None => Throttling::default(),
        };
        Ok(Cpu { usage, throttling, psi: self.pressure("cpu.pressure")? })
    }

    /// Memory alone.
    ///
    /// # Errors
    /// As of [`Cgroup::stats`].
    pub fn memory(&self) -> Result<Memory> {
        let memory = match self.with("memory") {
            Some((Version::V1, read)) => v1::memory(&read)?,
            Some((Version::V2, read)) => v2::memory(&read)?,
            None => Memory::default(),
        };
        Ok(Memory { psi: self.pressure("memory.pressure")?, ..memory })
    }

    /// Processes and threads alone.
    ///
    /// # Errors
    /// As of [`Cgroup::stats`].
    pub fn pids(&self) -> Result<Pids> {
        let counted = match self.with("pids") {
            Some((_, read)) => text::pids(&read)?,
            None => None,
        };
        let listed = || Ok(Pids { current: u64::try_from(self.processes()?.len()).unwrap_or(0), limit: 0 });
        counted.map_or_else(listed, Ok)
    }

    fn blkio(&self) -> Result<Blkio> {
        match self.with("io") {
            Some((Version::V1, read)) => v1::blkio(&read),
            Some((Version::V2, read)) => v2::blkio(&read),
            None => Ok(Blkio::default()),
        }
    }

    fn hugetlb(&self) -> Result<BTreeMap<String, Hugetlb>> {
        let Some(member) = self.member("hugetlb") else { return Ok(BTreeMap::new()) };
        let read = |file: &str| read(member, file);
        let (end, of) = match member.hierarchy.version {
            Version::V1 => (".usage_in_bytes", v1::hugetlb as HugePages),
            Version::V2 => (".current", v2::hugetlb as _),
        };
        let names = sys::fs::names(&member.dir)?;
        let sizes = names.iter().filter_map(|name| name.strip_prefix("hugetlb.")?.strip_suffix(end)).filter(|size| !size.contains('.'));
        sizes.map(|size| Ok((size.to_owned(), of(&read, size)?))).collect()
    }

    /// Pressure, which v2 knows of a cgroup with and without controllers.
    fn pressure(&self, file: &str) -> Result<Option<Psi>> {
        Ok(self.v2().map_or(Ok(None), |v2| read(v2, file))?.as_deref().and_then(psi))
    }

    /// How the files of a controller are read.
    fn with(&self, controller: &str) -> Option<(Version, impl Fn(&str) -> Text + '_)> {
        let member = self.member(controller)?;
        Some((member.hierarchy.version, |file: &str| read(member, file)))
    }
}

fn read(member: &Member, file: &str) -> Text {
    match member.dir.read(file) {
        Ok(text) => Ok(Some(text)),
        // EOPNOTSUPP: pressure is switched off.
        Err(error) if super::dir::gone(error.errno) || error.errno == Errno::EOPNOTSUPP => Ok(None),
        Err(error) => Err(error.into()),
    }
}
