//! How a value of the configuration is written into a cgroup's file.

use super::knobs::Asked;
use crate::config::spec::LinuxResources;

/// What stands for a value in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Text {
    /// This.
    Is(String),
    /// This, and it says no more than what is so where the kernel does not have the file.
    IfThere(String),
    /// Nothing has to be written.
    Nothing,
    /// The value cannot be: a clause.
    Wrong(String),
}

pub(super) type Spell = fn(&Asked, &LinuxResources) -> Text;

pub(super) fn number(asked: &Asked, _: &LinuxResources) -> Text {
    Text::Is(asked.value.to_string())
}

/// A list of CPUs or memory nodes. The kernel says what is wrong with one, but for a second line, which it would not read.
pub(super) fn list(asked: &Asked, _: &LinuxResources) -> Text {
    if asked.name.chars().any(|c| c.is_control()) {
        return Text::Wrong(format!("{:?} is no list of numbers: it has a control character", asked.name));
    }
    Text::Is(asked.name.clone())
}

/// -1 is no limit.
pub(super) fn or_max(asked: &Asked, _: &LinuxResources) -> Text {
    Text::Is(max(asked.value))
}

fn max(value: i128) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// A limit of huge pages, whose size is a part of the file's name.
pub(super) fn huge(asked: &Asked, _: &LinuxResources) -> Text {
    huge_page(&asked.name).map_or_else(Text::Wrong, |()| Text::Is(asked.value.to_string()))
}

pub(super) fn huge_or_max(asked: &Asked, _: &LinuxResources) -> Text {
    huge_page(&asked.name).map_or_else(Text::Wrong, |()| Text::Is(max(asked.value)))
}

/// The same for reservations, which kernels before 5.7 do not limit: there it is use that is limited.
pub(super) fn huge_reserved(asked: &Asked, _: &LinuxResources) -> Text {
    Text::IfThere(asked.value.to_string())
}

pub(super) fn huge_reserved_or_max(asked: &Asked, _: &LinuxResources) -> Text {
    Text::IfThere(max(asked.value))
}

fn huge_page(size: &str) -> Result<(), String> {
    let digits = size.trim_end_matches("KB").trim_end_matches("MB").trim_end_matches("GB");
    let is_number = digits.chars().all(|c| c.is_ascii_digit()) && !digits.is_empty() && !digits.starts_with('0');
    if is_number && size.len() == digits.len() + 2 {
        return Ok(());
    }
    Err(format!("page size {size:?} is not a number with KB, MB or GB, such as 2MB"))
}

/// A device or an interface, and its number.
pub(super) fn named(asked: &Asked, _: &LinuxResources) -> Text {
    with_name(asked, asked.value.to_string())
}

/// One limit of one HCA.
pub(super) fn key_value(asked: &Asked, key: &str) -> Text {
    with_name(asked, format!("{key}={}", asked.value))
}

/// A line of `io.max`; 0 is v1's way to say that there is no limit.
pub(super) fn io_max(asked: &Asked, key: &str) -> Text {
    with_name(asked, if asked.value == 0 { format!("{key}=max") } else { format!("{key}={}", asked.value) })
}

fn with_name(asked: &Asked, value: String) -> Text {
    let name = &asked.name;
    if name.is_empty() || name.contains(char::is_whitespace) || name.chars().any(char::is_control) {
        return Text::Wrong(format!("{name:?} cannot be a name: it is empty or has white space"));
    }
    Text::Is(format!("{name} {value}"))
}

pub(super) fn swappiness(asked: &Asked, _: &LinuxResources) -> Text {
    if asked.value > 100 {
        Text::Wrong(format!("swappiness {} is not between 0 and 100", asked.value))
    } else {
        Text::Is(asked.value.to_string())
    }
}

/// What v1 takes for `cpu.shares`; it would silently put in its own bound for a value beyond.
///
/// An idle cgroup has no weight to set.
pub(super) fn shares(asked: &Asked, resources: &LinuxResources) -> Text {
    match asked.value {
        _ if idle(resources) => Text::Nothing,
        shares @ 2..=262_144 => Text::Is(shares.to_string()),
        other => Text::Wrong(format!("cpu shares {other} are not between the minimum allowed 2 and the maximum allowed 262144")),
    }
}

fn idle(resources: &LinuxResources) -> bool {
    resources.cpu().as_ref().and_then(|cpu| cpu.idle()) == Some(1)
}

/// `cpu.weight`, 1 to 10000, so that 1024 shares are the default of 100: a quadratic through the logarithms of both minima, both defaults and
/// both maxima. An idle cgroup has no weight to set.
pub(super) fn weight(asked: &Asked, resources: &LinuxResources) -> Text {
    if idle(resources) {
        return Text::Nothing;
    }
    Text::Is(weight_of(asked.value).to_string())
}

pub(super) fn weight_of(shares: i128) -> u32 {
    match u32::try_from(shares).unwrap_or(u32::MAX) {
        0..=2 => 1,
        262_144.. => 10_000,
        shares => {
            let log = f64::from(shares).log2();
            let weight = 10_f64.powf((log * log + 125.0 * log) / 612.0 - 7.0 / 34.0).ceil();
            // The formula is monotonous and its ends are the two arms above.
            (1..=10_000).find(|candidate| f64::from(*candidate) >= weight).unwrap_or(10_000)
        }
    }
}

/// `cpu.max`; without a period the kernel's own stays.
pub(super) fn quota(asked: &Asked, resources: &LinuxResources) -> Text {
    let period = resources.cpu().as_ref().and_then(|cpu| cpu.period()).filter(|period| *period != 0);
    Text::Is(format!("{}{}", max(asked.value), period.map(|period| format!(" {period}")).unwrap_or_default()))
}

/// `cpu.max`, which takes no period without a quota. Where both are asked for this is what [`quota`] says.
pub(super) fn period(asked: &Asked, resources: &LinuxResources) -> Text {
    let quota = resources.cpu().as_ref().and_then(|cpu| cpu.quota()).filter(|quota| *quota != 0);
    Text::Is(format!("{} {}", max(quota.unwrap_or(-1).into()), asked.value))
}

/// `memory.limit_in_bytes`, which may not be above `memory.memsw.limit_in_bytes`.
pub(super) fn memory_within_swap(asked: &Asked, resources: &LinuxResources) -> Text {
    let both = resources.memory().as_ref().and_then(|memory| memory.swap()).map_or(0, i128::from);
    if both > 0 && (asked.value > both || asked.value == -1) {
        return Text::Wrong(format!(
            "memory ({}) cannot be more than memory and swap together ({both}): change that (--memory-swap) as well",
            asked.value
        ));
    }
    Text::Is(asked.value.to_string())
}

/// `memory.memsw.limit_in_bytes`. A kernel without swap accounting has no such file, and no limit.
pub(super) fn memory_and_swap(asked: &Asked, _: &LinuxResources) -> Text {
    if asked.value == -1 { Text::IfThere("-1".to_owned()) } else { Text::Is(asked.value.to_string()) }
}

/// `memory.swap.max`: v2 limits swap alone, the configuration memory and swap together.
pub(super) fn swap(asked: &Asked, resources: &LinuxResources) -> Text {
    let both = asked.value;
    let memory = resources.memory().as_ref().and_then(|memory| memory.limit()).map_or(0, i128::from);
    match memory {
        _ if both == -1 => Text::IfThere("max".to_owned()),
        ..=0 => Text::Wrong(format!("memory and swap together cannot be limited to {both} without a limit of memory (/memory/limit)")),
        _ if both < memory => Text::Wrong(format!("memory and swap together ({both}) should be at least memory alone ({memory})")),
        _ if both == memory => Text::IfThere("0".to_owned()),
        _ => Text::Is((both - memory).to_string()),
    }
}

/// `io.weight`: 10 to 1000 onto 1 to 10000.
pub(super) fn io_weight(asked: &Asked, _: &LinuxResources) -> Text {
    Text::Is(weight_of_io(asked.value).to_string())
}

/// The same for one device.
pub(super) fn io_weight_named(asked: &Asked, _: &LinuxResources) -> Text {
    with_name(asked, weight_of_io(asked.value).to_string())
}

fn weight_of_io(weight: i128) -> i128 {
    (1 + (weight - 10) * 9999 / 990).clamp(1, 10_000)
}
