//! `aril update`

use super::flags::{given, path};
use crate::error::Result;
use crate::lifecycle::allocation::Schemas;
use crate::lifecycle::{self, Global, Id};
use crate::sys;
use serde_json::{Map, Value};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The largest text of resources that is read, in bytes.
const SIZE_MAX: u64 = 16 << 20;

/// Change the limits of a container
///
/// What is not named stays as it is. Either all of it is changed, or nothing is.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aril update --memory 512M --memory-swap 1G web\n  aril update --pids-limit -1 web\n  echo '{\"unified\": {\"memory.high\": \"400000000\"}}' | aril update --resources - web"
)]
pub(super) struct Update {
    /// JSON of linux.resources in a file, or - for standard input; the other flags are stronger
    #[arg(short, long, value_name = "FILE", value_parser = path())]
    resources: Option<PathBuf>,
    /// Share of block IO, 10 to 1000
    #[arg(long, value_name = "N")]
    blkio_weight: Option<u16>,
    /// Length of the period of --cpu-quota, in microseconds
    #[arg(long, value_name = "N")]
    cpu_period: Option<u64>,
    /// CPU time within a period, in microseconds; -1 for no limit
    #[arg(long, value_name = "N")]
    cpu_quota: Option<i64>,
    /// CPU time that a period may take from unused ones before it, in microseconds
    #[arg(long, value_name = "N")]
    cpu_burst: Option<u64>,
    /// Share of CPU time, 2 to 262144; 1024 is what a container has by default
    #[arg(long, value_name = "N", alias = "cpu-shares")]
    cpu_share: Option<u64>,
    /// Length of the period of --cpu-rt-runtime, in microseconds
    #[arg(long, value_name = "N")]
    cpu_rt_period: Option<u64>,
    /// Time of real-time processes within a period, in microseconds
    #[arg(long, value_name = "N")]
    cpu_rt_runtime: Option<i64>,
    /// 1 for a container that runs only when nothing else wants to, 0 for any other
    #[arg(long, value_name = "N")]
    cpu_idle: Option<i64>,
    /// CPUs to run on, such as 0-3,7
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use, such as 0
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Memory, such as 512M; -1 for no limit
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    memory: Option<i64>,
    /// Memory that is kept from being reclaimed (cgroup v1: what it is reclaimed down to)
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    memory_reservation: Option<i64>,
    /// Memory and swap together; -1 for no limit of swap
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    memory_swap: Option<i64>,
    /// Kernel memory, which current kernels do not limit
    #[arg(long, value_name = "BYTES", value_parser = bytes, hide = true)]
    kernel_memory: Option<i64>,
    /// Kernel memory of TCP buffers (cgroup v1)
    #[arg(long, value_name = "BYTES", value_parser = bytes, hide = true)]
    kernel_memory_tcp: Option<i64>,
    /// Processes and threads; -1 for no limit
    #[arg(long, value_name = "N")]
    pids_limit: Option<i64>,
    /// Intel RDT: share of the L3 cache, such as L3:0=ff;1=0f
    #[arg(long, value_name = "SCHEMA")]
    l3_cache_schema: Option<String>,
    /// Intel RDT: share of the memory bandwidth, such as MB:0=20;1=70
    #[arg(long, value_name = "SCHEMA")]
    mem_bw_schema: Option<String>,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: Id,
}

impl Update {
    pub(super) fn run(self, global: &Global) -> Result<u8> {
        let schemas = Schemas { l3_cache: self.l3_cache_schema.clone(), memory_bandwidth: self.mem_bw_schema.clone() };
        let mut resources = match given(self.resources.clone()) {
            Some(path) => lifecycle::update::parse(&text(&path)?, &path.display().to_string())?,
            None => Value::Object(Map::new()),
        };
        for (section, key, value) in self.values().into_iter().filter(|(_, _, value)| !value.is_null()) {
            // What is no object there is an error of the JSON, which is told by its pointer.
            if let Some(fields) = resources.as_object_mut()
                && let Value::Object(fields) = fields.entry(section).and_modify(null_is_empty).or_insert_with(empty)
            {
                fields.insert(key.to_owned(), value);
            }
        }
        lifecycle::update::update(global, &self.id, &resources, schemas).map(|()| 0)
    }

    /// The flags as fields of `linux.resources`.
    fn values(&self) -> Vec<(&'static str, &'static str, Value)> {
        vec![
            ("blockIO", "weight", self.blkio_weight.into()),
            ("cpu", "period", self.cpu_period.into()),
            ("cpu", "quota", self.cpu_quota.into()),
            ("cpu", "burst", self.cpu_burst.into()),
            ("cpu", "shares", self.cpu_share.into()),
            ("cpu", "realtimePeriod", self.cpu_rt_period.into()),
            ("cpu", "realtimeRuntime", self.cpu_rt_runtime.into()),
            ("cpu", "idle", self.cpu_idle.into()),
            ("cpu", "cpus", self.cpuset_cpus.clone().into()),
            ("cpu", "mems", self.cpuset_mems.clone().into()),
            ("memory", "limit", self.memory.into()),
            ("memory", "reservation", self.memory_reservation.into()),
            ("memory", "swap", self.memory_swap.into()),
            ("memory", "kernel", self.kernel_memory.into()),
            ("memory", "kernelTCP", self.kernel_memory_tcp.into()),
            ("pids", "limit", self.pids_limit.into()),
        ]
    }
}

fn empty() -> Value {
    Value::Object(Map::new())
}

fn null_is_empty(value: &mut Value) {
    if value.is_null() {
        *value = empty();
    }
}

fn text(path: &Path) -> Result<String> {
    if path.as_os_str() != "-" {
        return Ok(sys::fs::read_text(path, SIZE_MAX)?);
    }
    let mut text = String::new();
    let read = std::io::stdin().lock().take(SIZE_MAX).read_to_string(&mut text);
    read.map(|_| text).map_err(|error| sys::Error::bare("read from standard input", sys::fs::errno(&error)).into())
}

/// A number of bytes as Docker's `units.RAMInBytes` takes it: `1.5g`, `512 MiB`, `64k`, `4096`, in powers of 1024; -1 is no limit.
fn bytes(text: &str) -> std::result::Result<i64, String> {
    let wrong = || format!("{text:?} is not -1 or a number of bytes such as 4096, 64k, 512M or 1.5GiB");
    if text == "-1" {
        return Ok(-1);
    }
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()));
    if !number.contains(|c: char| c.is_ascii_digit()) {
        return Err(wrong());
    }
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.strip_suffix('b').map_or(unit.as_str(), |unit| unit) {
        "" => 0,
        unit => {
            let letter = unit.strip_suffix('i').unwrap_or(unit);
            ["k", "m", "g", "t", "p"].iter().position(|known| *known == letter).ok_or_else(wrong)? + 1
        }
    };
    let factor = 1_i64 << (10 * power);
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(factor).ok_or_else(wrong);
    }
    let (whole, fraction) = number.split_once('.').ok_or_else(wrong)?;
    let digits: String = fraction.chars().take(6).collect();
    let parse = |text: &str| if text.is_empty() { Ok(0) } else { text.parse::<i64>().map_err(|_| wrong()) };
    let scale = 10_i64.pow(u32::try_from(digits.len()).map_err(|_| wrong())?);
    let part = i128::from(parse(&digits)?) * i128::from(factor) / i128::from(scale);
    let whole = parse(whole)?.checked_mul(factor).ok_or_else(wrong)?;
    whole.checked_add(i64::try_from(part).map_err(|_| wrong())?).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, size) in [
            ("-1", -1),
            ("0", 0),
            ("4096", 4096),
            ("4096b", 4096),
            ("64k", 64 << 10),
            ("64K", 64 << 10),
            ("64kb", 64 << 10),
            ("64KiB", 64 << 10),
            ("512 M", 512 << 20),
            ("1.5g", 3 << 29),
            ("1.5GiB", 3 << 29),
            ("2t", 2 << 40),
            ("1P", 1 << 50),
            (".5k", 512),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "-2", "k", "1x", "1kk", "1ibi", "1..5k", "9999999p", "1e3", "one", "1,5k", "ib", "."] {
            assert!(bytes(text).is_err(), "{text}: {:?}", bytes(text));
        }
    }
}
