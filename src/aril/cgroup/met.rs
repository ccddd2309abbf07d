//! Limits that were met: what the cgroup has counted of them.

use super::dir::Dir;
use super::stats::counters;
use super::{Cgroup, Member, Version};

/// Memory that could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    /// The cgroup's limit in bytes, if that was met; otherwise it was one above it, or the machine's.
    pub limit: Option<u64>,
    /// The most that was used, in bytes; since Linux 5.19 on cgroup v2.
    pub peak: Option<u64>,
}

/// Processes that could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutOfPids {
    /// `pids.max`
    pub limit: u64,
    /// The cgroup above the container's whose limit it is; `None` for its own.
    pub above: Option<String>,
}

/// What v1 has for no limit is a little less than 2^63.
const NO_LIMIT: u64 = 1 << 62;

/// The kernel charges up to 64 pages at once.
const BATCH: u64 = 64 << 12;

impl Cgroup {
    /// Whether processes were killed for lack of memory. A file that cannot be read tells nothing: this is for a command that has failed.
    #[must_use]
    pub fn out_of_memory(&self) -> Option<OutOfMemory> {
        let member = self.member("memory")?;
        out_of_memory(member.hierarchy.version, &|file| member.dir.read(file).ok())
    }

    /// Whether no process could be made for a limit of their number, in the cgroup or in one above it.
    #[must_use]
    pub fn out_of_pids(&self) -> Option<OutOfPids> {
        let member = self.member("pids")?;
        let own = out_of_pids(&|file| member.dir.read(file).ok()).map(|limit| OutOfPids { limit, above: None });
        own.or_else(|| above(member).into_iter().find_map(|dir| full(&dir)))
    }
}

/// The cgroups above, the nearest first.
fn above(member: &Member) -> Vec<Dir> {
    let relative = member.hierarchy.relative();
    relative.rmatch_indices('/').filter_map(|(end, _)| member.root.open(&relative[..end]).ok()?).collect()
}

fn full(dir: &Dir) -> Option<OutOfPids> {
    let number = |file| dir.read(file).ok()?.trim().parse::<u64>().ok();
    let (limit, current) = (number("pids.max")?, number("pids.current")?);
    // The process that could not be made is no longer counted.
    (current >= limit).then(|| OutOfPids { limit, above: Some(dir.path().display().to_string()) })
}

type Read<'a> = &'a dyn Fn(&str) -> Option<String>;

fn out_of_memory(version: Version, read: Read<'_>) -> Option<OutOfMemory> {
    let number = |file: &str| read(file)?.trim().parse::<u64>().ok();
    let (events, limit, peak) = match version {
        Version::V1 => ("memory.oom_control", "memory.limit_in_bytes", "memory.max_usage_in_bytes"),
        Version::V2 => ("memory.events", "memory.max", "memory.peak"),
    };
    let counted = counters(&read(events)?);
    let count = |key: &str| counted.get(key).copied().unwrap_or(0);
    let (limit, peak) = (number(limit).filter(|limit| *limit < NO_LIMIT), number(peak));
    let met = match version {
        // `memory.failcnt` stays 0 on newer kernels. Memory is charged in batches, so that the limit need not be met to the page.
        Version::V1 => limit.zip(peak).is_some_and(|(limit, peak)| peak.saturating_add(BATCH) >= limit),
        Version::V2 => count("oom") > 0,
    };
    (count("oom_kill") > 0 || count("oom") > 0).then(|| OutOfMemory { limit: limit.filter(|_| met), peak })
}

/// The limit, if it was met.
fn out_of_pids(read: Read<'_>) -> Option<u64> {
    let limit = read("pids.max")?.trim().parse().ok()?;
    let refused = counters(&read("pids.events").unwrap_or_default()).get("max").is_some_and(|times| *times > 0);
    // A limit of 0 lets nobody be born in it, which not every kernel counts.
    (refused || limit == 0).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::{OutOfMemory, Version, out_of_memory, out_of_pids};

    fn files(files: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        move |name| files.iter().find(|(file, _)| *file == name).map(|(_, text)| (*text).to_owned())
    }

    #[test]
    fn memory_of_v2() {
        let own = files(&[("memory.events", "max 9\noom 1\noom_kill 1\n"), ("memory.max", "262144\n"), ("memory.peak", "262000\n")]);
        assert_eq!(out_of_memory(Version::V2, &own), Some(OutOfMemory { limit: Some(262_144), peak: Some(262_000) }));
        // Killed by somebody else's lack of memory.
        let above = files(&[("memory.events", "max 0\noom 0\noom_kill 1\n"), ("memory.max", "262144\n")]);
        assert_eq!(out_of_memory(Version::V2, &above), Some(OutOfMemory { limit: None, peak: None }));
        let fine = files(&[("memory.events", "max 9\noom 0\noom_kill 0\n"), ("memory.max", "262144\n")]);
        assert_eq!(out_of_memory(Version::V2, &fine), None);
        assert_eq!(out_of_memory(Version::V2, &files(&[])), None);
    }

    #[test]
    fn memory_of_v1() {
        let own = files(&[
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
            ("memory.limit_in_bytes", "262144\n"),
            ("memory.max_usage_in_bytes", "262144\n"),
        ]);
        assert_eq!(out_of_memory(Version::V1, &own), Some(OutOfMemory { limit: Some(262_144), peak: Some(262_144) }));
        let unlimited = files(&[("memory.oom_control", "oom_kill 1\n"), ("memory.limit_in_bytes", "9223372036854771712\n")]);
        assert_eq!(out_of_memory(Version::V1, &unlimited).and_then(|it| it.limit), None);
        let above = files(&[
            ("memory.oom_control", "oom_kill 1\n"),
            ("memory.limit_in_bytes", "67108864\n"),
            ("memory.max_usage_in_bytes", "1048576\n"),
        ]);
        assert_eq!(out_of_memory(Version::V1, &above), Some(OutOfMemory { limit: None, peak: Some(1 << 20) }));
        assert_eq!(out_of_memory(Version::V1, &files(&[("memory.oom_control", "oom_kill 0\n")])), None);
    }

    #[test]
    fn pids() {
        assert_eq!(out_of_pids(&files(&[("pids.max", "5\n"), ("pids.events", "max 1\n")])), Some(5));
        assert_eq!(out_of_pids(&files(&[("pids.max", "0\n"), ("pids.events", "max 0\n")])), Some(0));
        assert_eq!(out_of_pids(&files(&[("pids.max", "5\n"), ("pids.events", "max 0\n")])), None);
        assert_eq!(out_of_pids(&files(&[("pids.max", "max\n")])), None);
    }
}
