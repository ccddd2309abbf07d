//! Limits as properties of a unit (systemd.resource-control(5), org.freedesktop.systemd1(5)). Where systemd makes the cgroup it also writes its
//! files again whenever it likes (`daemon-reload`, `systemctl set-property`): what it was not told of is lost then.
//!
//! Each property is found by the file of cgroup v2 (or v1) that it is systemd's name for, so that the resource table stays the only list of what
//! can be asked for. Files that systemd does not know it does not touch.

use super::value::Value;

/// A property of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cgroup) struct Property {
    pub(in crate::cgroup) name: String,
    pub(in crate::cgroup) value: Value,
}

impl Property {
    pub(super) fn new(name: &str, value: Value) -> Property {
        Property { name: name.to_owned(), value }
    }

    /// `(sv)`
    pub(super) fn as_value(&self) -> Value {
        Value::Struct(vec![Value::str(&self.name), Value::Variant(Box::new(self.value.clone()))])
    }
}

/// What stands for no limit.
const INFINITY: u64 = u64::MAX;
/// A second in microseconds.
const SECOND: u64 = 1_000_000;
/// The period of the kernel's CPU bandwidth control, in microseconds, where none is set.
const PERIOD: u64 = 100_000;
/// systemd keeps a quota as a whole percentage of a CPU: this much of a second.
const PERCENT: u64 = 10_000;

type Translate = fn(&str) -> Vec<(&'static str, Value)>;

/// File, and the properties that a text in it is.
const FILES: &[(&str, Translate)] = &[
    ("cpu.weight", |text| number("CPUWeight", text)),
    // A weight of 0 is systemd's word for idle.
    ("cpu.idle", |text| if text == "1" { one("CPUWeight", Value::U64(0)) } else { Vec::new() }),
    ("cpu.max", cpu_max),
    ("cpuset.cpus", |text| set("AllowedCPUs", text)),
    ("cpuset.mems", |text| set("AllowedMemoryNodes", text)),
    ("memory.max", |text| number("MemoryMax", text)),
    ("memory.high", |text| number("MemoryHigh", text)),
    ("memory.low", |text| number("MemoryLow", text)),
    ("memory.min", |text| number("MemoryMin", text)),
    ("memory.swap.max", |text| number("MemorySwapMax", text)),
    ("memory.zswap.max", |text| number("MemoryZSwapMax", text)),
    // systemd has no word for 0.
    ("pids.max", |text| if text == "0" { Vec::new() } else { number("TasksMax", text) }),
    ("io.weight", |text| match text.split_once(' ') {
        Some(("default", weight)) => number("IOWeight", weight),
        Some(_) => device("IODeviceWeight", text, ""),
        None => number("IOWeight", text),
    }),
    ("io.max", |text| {
        let keys =
            [("IOReadBandwidthMax", "rbps="), ("IOWriteBandwidthMax", "wbps="), ("IOReadIOPSMax", "riops="), ("IOWriteIOPSMax", "wiops=")];
        keys.into_iter().flat_map(|(name, key)| device(name, text, key)).collect()
    }),
    ("io.latency", |text| device("IODeviceLatencyTargetUSec", text, "target=")),
    // cgroup v1
    ("cpu.shares", |text| number("CPUShares", text)),
    ("memory.limit_in_bytes", |text| number("MemoryLimit", text)),
    ("blkio.weight", |text| number("BlockIOWeight", text)),
    ("blkio.bfq.weight", |text| number("BlockIOWeight", text)),
    ("blkio.throttle.read_bps_device", |text| device("BlockIOReadBandwidth", text, "")),
    ("blkio.throttle.write_bps_device", |text| device("BlockIOWriteBandwidth", text, "")),
];

/// The properties that these texts in these files are, each once.
pub(in crate::cgroup) fn properties<'a>(writes: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Property> {
    let mut found: Vec<Property> = Vec::new();
    let mut v1 = (None, None);
    for (file, text) in writes {
        match file {
            "cpu.cfs_quota_us" => v1.0 = Some(text),
            "cpu.cfs_period_us" => v1.1 = Some(text),
            _ => {}
        }
        let known = FILES.iter().find(|(name, _)| *name == file);
        for (name, value) in known.map(|(_, translate)| translate(text)).unwrap_or_default() {
            add(&mut found, name, value);
        }
    }
    if v1 != (None, None) {
        let quota = v1.0.filter(|quota| !quota.starts_with('-')).unwrap_or("max");
        let both = format!("{quota} {}", v1.1.unwrap_or_default());
        cpu_max(both.trim()).into_iter().for_each(|(name, value)| add(&mut found, name, value));
    }
    found
}

/// The last of a name stands, as the last write does; lists of devices grow.
fn add(found: &mut Vec<Property>, name: &str, value: Value) {
    match (found.iter_mut().find(|property| property.name == name), value) {
        (Some(Property { value: Value::Array(of, all), .. }), Value::Array(_, more)) if of == "(st)" => all.extend(more),
        (Some(property), value) => property.value = value,
        (None, value) => found.push(Property::new(name, value)),
    }
}

fn one(name: &'static str, value: Value) -> Vec<(&'static str, Value)> {
    vec![(name, value)]
}

fn amount(text: &str) -> Option<u64> {
    match text.trim() {
        "max" | "-1" => Some(INFINITY),
        text => text.parse().ok(),
    }
}

/// What is no number is left to the kernel to refuse.
fn number(name: &'static str, text: &str) -> Vec<(&'static str, Value)> {
    amount(text).map(|amount| (name, Value::U64(amount))).into_iter().collect()
}

/// `QUOTA` or `QUOTA PERIOD`
fn cpu_max(text: &str) -> Vec<(&'static str, Value)> {
    let (quota, period) = text.split_once(' ').map_or((text, None), |(quota, period)| (quota, amount(period)));
    let Some(quota) = amount(quota) else { return Vec::new() };
    let per_second = match quota {
        INFINITY => INFINITY,
        quota => (u128::from(quota) * u128::from(SECOND) / u128::from(period.unwrap_or(PERIOD).max(1)))
            .try_into()
            .map_or(INFINITY, |quota: u64| quota.checked_next_multiple_of(PERCENT).unwrap_or(INFINITY).max(PERCENT)),
    };
    let period = period.map(|period| ("CPUQuotaPeriodUSec", Value::U64(period)));
    [("CPUQuotaPerSecUSec", Value::U64(per_second))].into_iter().chain(period).collect()
}

/// A list of numbers, `0-2,7`, as a set of bits: the lowest first.
fn set(name: &'static str, text: &str) -> Vec<(&'static str, Value)> {
    /// More than any kernel is built for.
    const MOST: usize = 1 << 16;
    let mut bits: Vec<u8> = Vec::new();
    for range in text.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.trim().parse::<usize>(), last.trim().parse::<usize>()) else { return Vec::new() };
        if last >= MOST {
            return Vec::new();
        }
        for number in first..=last {
            bits.resize(bits.len().max(number / 8 + 1), 0);
            bits[number / 8] |= 1 << (number % 8);
        }
    }
    one(name, Value::bytes(&bits))
}

/// `MAJOR:MINOR …KEY VALUE…`
fn device(name: &'static str, text: &str, key: &str) -> Vec<(&'static str, Value)> {
    let Some((numbers, rest)) = text.trim().split_once(' ') else { return Vec::new() };
    let value = rest.split(' ').find_map(|word| word.strip_prefix(key)).and_then(amount);
    let path = Value::Str(format!("/dev/block/{numbers}"));
    let entry = |value| (name, Value::Array("(st)".to_owned(), vec![Value::Struct(vec![path, Value::U64(value)])]));
    value.map(entry).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(writes: &[(&str, &str)]) -> Vec<(String, Value)> {
        properties(writes.iter().copied()).into_iter().map(|property| (property.name, property.value)).collect()
    }

    fn numbers(writes: &[(&str, &str)]) -> Vec<(String, u64)> {
        let number = |(name, value)| match value {
            Value::U64(number) => (name, number),
            other => panic!("{name}: {other:?}"),
        };
        of(writes).into_iter().map(number).collect()
    }

    fn pairs(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
        pairs.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
    }

    #[test]
    fn limits_are_numbers_or_infinite() {
        let writes =
            [("memory.max", "67108864"), ("memory.swap.max", "max"), ("pids.max", "50"), ("cpu.weight", "59"), ("hugetlb.2MB.max", "0")];
        let expected = [("MemoryMax", 67_108_864), ("MemorySwapMax", u64::MAX), ("TasksMax", 50), ("CPUWeight", 59)];
        assert_eq!(numbers(&writes), pairs(&expected));
        assert_eq!(numbers(&[("cpu.idle", "1")]), pairs(&[("CPUWeight", 0)]));
        assert_eq!(numbers(&[("cpu.idle", "0"), ("memory.high", "nonsense")]), pairs(&[]));
    }

    #[test]
    fn a_quota_is_of_a_second_and_whole_percent() {
        for (text, quota, period) in [
            ("20000 100000", 200_000, Some(100_000)),
            ("20000", 200_000, None),
            ("max 50000", u64::MAX, Some(50_000)),
            ("1001 100000", 20_000, Some(100_000)),
            ("1 1000000", 10_000, Some(1_000_000)),
        ] {
            let expected = [Some(("CPUQuotaPerSecUSec", quota)), period.map(|period| ("CPUQuotaPeriodUSec", period))];
            assert_eq!(numbers(&[("cpu.max", text)]), pairs(&expected.into_iter().flatten().collect::<Vec<_>>()), "{text}");
        }
        let v1 = [("cpu.cfs_period_us", "50000"), ("cpu.cfs_quota_us", "25000")];
        assert_eq!(numbers(&v1), pairs(&[("CPUQuotaPerSecUSec", 500_000), ("CPUQuotaPeriodUSec", 50_000)]));
        assert_eq!(numbers(&[("cpu.cfs_quota_us", "-1")]), pairs(&[("CPUQuotaPerSecUSec", u64::MAX)]));
    }

    #[test]
    fn sets_are_bits() {
        assert_eq!(of(&[("cpuset.cpus", "0-2,9")]), [("AllowedCPUs".to_owned(), Value::bytes(&[0b111, 0b10]))]);
        assert_eq!(of(&[("cpuset.mems", "1")]), [("AllowedMemoryNodes".to_owned(), Value::bytes(&[0b10]))]);
        assert_eq!(of(&[("cpuset.cpus", "0-99999999999")]), []);
    }

    #[test]
    fn devices_are_named_by_number_and_collected() {
        let entry = |path: &str, value| Value::Struct(vec![Value::str(path), Value::U64(value)]);
        let list = |entries: Vec<Value>| Value::Array("(st)".to_owned(), entries);
        let found = of(&[
            ("io.max", "8:0 rbps=1024"),
            ("io.max", "8:16 rbps=max"),
            ("io.max", "8:0 wiops=7"),
            ("io.weight", "8:0 50"),
            ("io.weight", "100"),
        ]);
        let expected = [
            ("IOReadBandwidthMax", list(vec![entry("/dev/block/8:0", 1024), entry("/dev/block/8:16", u64::MAX)])),
            ("IOWriteIOPSMax", list(vec![entry("/dev/block/8:0", 7)])),
            ("IODeviceWeight", list(vec![entry("/dev/block/8:0", 50)])),
            ("IOWeight", Value::U64(100)),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value)));
    }
}
