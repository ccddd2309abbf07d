//! What a cgroup's files say before an update, and putting that back when the update fails half way.

use super::knobs::{KNOBS, Way};
use super::limits::Write;
use super::{Cgroup, Devices, Limits, Member, Version};
use crate::error::{Error, Result};
use crate::sys;
use std::collections::BTreeSet;

/// How often the files are written: a value may be bound to that of another, which is put back after it.
const PASSES: u32 = 3;

/// The values of before.
#[derive(Debug)]
pub struct Before {
    files: Vec<Value>,
    devices: Option<Devices>,
}

/// What a file of the cgroup said.
#[derive(Debug)]
struct Value {
    /// Of the cgroup with the file.
    controller: String,
    file: String,
    text: String,
}

impl Cgroup {
    /// What the files say that `limits` is about to change, and those that may change with them. `devices` are the rules that hold.
    ///
    /// # Errors
    /// A file that is there cannot be read.
    pub fn before(&self, limits: &Limits, devices: Option<Devices>) -> Result<Before> {
        let mut seen = BTreeSet::new();
        let mut files = Vec::new();
        for write in &limits.writes {
            let Some(member) = self.member(&write.controller) else { continue };
            for file in neighbours(member, write) {
                if seen.insert((write.controller.clone(), file.clone()))
                    && let Some(text) = text(member, &file)?
                {
                    files.push(Value { controller: write.controller.clone(), file, text });
                }
            }
        }
        Ok(Before { files, devices: limits.devices.as_ref().and(devices) })
    }

    /// Puts back what the files said.
    ///
    /// # Errors
    /// Which of them could not be.
    pub fn restore(&self, before: &Before) -> Result<()> {
        if let Some(devices) = &before.devices {
            self.set_devices(devices, false)?;
        }
        let mut last = Ok(());
        for _ in 0..PASSES {
            last = before.files.iter().rev().map(|value| self.put_back(value)).fold(Ok(()), Result::and);
        }
        last
    }

    fn put_back(&self, value: &Value) -> Result<()> {
        let Some(member) = self.member(&value.controller) else { return Ok(()) };
        let now = text(member, &value.file)?.unwrap_or_default();
        let written = difference(&value.file, &value.text, &now).iter().try_for_each(|line| member.dir.write(&value.file, line));
        Ok(written?)
    }
}

/// The files that a write may change: its own, and those of the same controller, which the kernel ties together (a cgroup that becomes idle loses
/// its weight).
fn neighbours(member: &Member, write: &Write) -> Vec<String> {
    let own = write.files.iter().map(|(file, _)| file.clone());
    let rows = KNOBS.iter().filter(|knob| knob.controller == write.controller);
    let ways = rows.map(|knob| if member.hierarchy.version == Version::V1 { &knob.v1 } else { &knob.v2 });
    let of = |way: &'static Way| if let Way::Files(files) = way { *files } else { &[] };
    let others = ways.flat_map(of).map(|(file, _)| (*file).to_owned()).filter(|file| !file.contains("{}"));
    own.chain(others).collect()
}

/// What a file says, as it is written to it; `None` if it is not there, or cannot be read by its nature.
fn text(member: &Member, file: &str) -> Result<Option<String>> {
    use sys::Errno;
    let text = match member.dir.read(file) {
        Err(error) if matches!(error.errno, Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP | Errno::EINVAL | Errno::EACCES) => {
            return Ok(None);
        }
        text => text?,
    };
    // oom_kill_disable 0, under_oom 0, …
    if file == "memory.oom_control" {
        return Ok(super::keyed(&text, "oom_kill_disable").map(|value| value.to_string()));
    }
    Ok(Some(text))
}

/// What has to be written so that a file which says `now` says `before` again.
fn difference(file: &str, before: &str, now: &str) -> Vec<String> {
    if before == now {
        return Vec::new();
    }
    let Some(reset) = reset(file) else { return vec![before.to_owned()] };
    let name = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    let names: BTreeSet<String> = before.lines().map(name).collect();
    let gone = now.lines().map(name).filter(|name| !names.contains(name)).map(|name| format!("{name} {reset}"));
    let changed = before.lines().filter(|line| now.lines().all(|other| other != *line)).map(str::to_owned);
    gone.chain(changed).collect()
}

/// Of a file with a line for each device (HCA, interface, resource): how one is said that has no line. `None` for a file with one value.
fn reset(file: &str) -> Option<&'static str> {
    match file {
        "io.max" => Some("rbps=max wbps=max riops=max wiops=max"),
        "io.latency" => Some("target=0"),
        "io.weight" | "io.bfq.weight" | "blkio.bfq.weight_device" => Some("default"),
        "rdma.max" => Some("hca_handle=max hca_object=max"),
        "misc.max" | "dmem.max" | "dmem.low" | "dmem.min" => Some("max"),
        "net_prio.ifpriomap" => Some("0"),
        _ if file.starts_with("blkio.") && file.ends_with("_device") => Some("0"),
        _ => None,
    }
}

impl Before {
    /// Says, where putting back failed as well, both reasons.
    #[must_use]
    pub fn failed(error: Error, restored: Result<()>) -> Error {
        match restored {
            Ok(()) => error,
            Err(left) => Error::Other(format!("{}; and then the values of before could not be put back: {}", error.chain(), left.chain())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_one_value_is_written_whole() {
        assert_eq!(difference("cpu.max", "max 100000\n", "5000 20000\n"), ["max 100000\n"]);
        assert_eq!(difference("cpuset.cpus", "\n", "0-1\n"), ["\n"]);
        assert!(difference("memory.max", "max\n", "max\n").is_empty());
    }

    #[test]
    fn of_a_file_with_lines_those_that_differ_are_written() {
        assert_eq!(
            difference("io.max", "8:0 rbps=1 wbps=max riops=max wiops=max\n", "8:0 rbps=2 wbps=3 riops=max wiops=max\n8:16 rbps=1\n"),
            ["8:16 rbps=max wbps=max riops=max wiops=max", "8:0 rbps=1 wbps=max riops=max wiops=max"]
        );
        assert_eq!(difference("io.weight", "default 100\n", "default 200\n8:0 50\n"), ["8:0 default", "default 100"]);
        assert_eq!(difference("blkio.throttle.read_bps_device", "", "8:0 5\n"), ["8:0 0"]);
        assert_eq!(difference("net_prio.ifpriomap", "lo 0\neth0 1\n", "lo 0\neth0 5\n"), ["eth0 1"]);
        assert!(difference("blkio.throttle.read_bps_device", "8:0 5\n", "8:0 5\n").is_empty());
    }
}
