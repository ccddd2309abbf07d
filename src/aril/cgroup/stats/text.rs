//! The forms of the files.

use super::{BlkioEntry, Counters, Pids, Pressure, Psi, Read};
use crate::error::Result;

/// The number that is all of a file. `max` is the largest; 0 where there is no such file.
pub(super) fn number(read: Read<'_>, file: &str) -> Result<u64> {
    Ok(read(file)?.map_or(0, |text| value(&text)))
}

pub(super) fn value(text: &str) -> u64 {
    match text.trim() {
        "max" => u64::MAX,
        number => number.parse().unwrap_or(0),
    }
}

/// Lines of `key value`.
pub(super) fn counters(read: Read<'_>, file: &str) -> Result<Counters> {
    Ok(read(file)?.map_or_else(Counters::new, |text| parse_counters(&text)))
}

/// Lines of `key value`, such as `memory.events` has.
#[must_use]
pub fn parse_counters(text: &str) -> Counters {
    text.lines().filter_map(|line| line.split_once(' ')).map(|(key, number)| (key.to_owned(), value(number))).collect()
}

/// Numbers with blanks between.
pub(super) fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// A list such as `0-3,8`.
pub(super) fn list(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

/// Lines of `8:0 Read 4096`, or of `8:0 17` where operations are not told apart. The sum over all devices has no device.
pub(super) fn devices(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = device(words.next()?)?;
        let (first, second) = (words.next()?, words.next());
        let (op, number) = second.map_or(("", first), |second| (first, second));
        Some(BlkioEntry { major, minor, op: op.to_owned(), value: number.parse().ok()? })
    };
    text.lines().filter_map(entry).collect()
}

pub(super) fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`, which old kernels have not for processors.
#[must_use]
pub fn psi(text: &str) -> Option<Psi> {
    let line = |name: &str| {
        let mut pressure = Pressure::default();
        for word in text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace() {
            match word.split_once('=')? {
                ("avg10", share) => pressure.avg10 = share.parse().ok()?,
                ("avg60", share) => pressure.avg60 = share.parse().ok()?,
                ("avg300", share) => pressure.avg300 = share.parse().ok()?,
                ("total", time) => pressure.total = time.parse().ok()?,
                _ => {}
            }
        }
        Some(pressure)
    };
    Some(Psi { some: line("some ")?, full: line("full ").unwrap_or_default() })
}

/// The same on v1 and v2.
pub(super) fn pids(read: Read<'_>) -> Result<Option<Pids>> {
    let Some(current) = read("pids.current")? else { return Ok(None) };
    let limit = read("pids.max")?.filter(|limit| limit.trim() != "max");
    Ok(Some(Pids { current: value(&current), limit: limit.map_or(0, |limit| value(&limit)) }))
}
