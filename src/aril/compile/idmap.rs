//! Mappings of user or group ids.

use crate::config::spec::LinuxIdMapping;
use crate::config::{Invalid, Pointer};
use std::fmt::Write as _;

/// How many ranges a map may have: `UID_GID_MAP_MAX_EXTENTS` of the kernel. It also takes no more than a page of text.
const RANGES_MAX: usize = 340;

/// A map of ids between a user namespace and its parent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMap(Vec<Range>);

/// As many ids from one number on inside as from another outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first id in the namespace.
    pub container: u32,
    /// The first id in its parent.
    pub host: u32,
    /// How many.
    pub size: u32,
}

/// Reads the mappings that stand at a pointer, by the rules of `user_namespaces(7)`.
///
/// # Errors
/// There are too many, one is empty or reaches beyond the last id, or two overlap inside or outside.
pub fn resolve(mappings: &[LinuxIdMapping], at: &Pointer) -> Result<IdMap, Invalid> {
    let range = |mapping: &LinuxIdMapping| Range { container: mapping.container_id(), host: mapping.host_id(), size: mapping.size() };
    of(mappings.iter().map(range).collect(), at)
}

/// A map of these ranges, which stand at a pointer.
///
/// # Errors
/// As of [`resolve`].
pub fn of(given: Vec<Range>, at: &Pointer) -> Result<IdMap, Invalid> {
    if given.len() > RANGES_MAX {
        return Err(Invalid::new(at, format!("{} mappings are more than the kernel takes ({RANGES_MAX})", given.len())));
    }
    let mut ranges: Vec<Range> = Vec::with_capacity(given.len());
    for (i, range) in given.into_iter().enumerate() {
        let wrong = |why: String| Err(Invalid::new(&at.of(i), why));
        if range.size == 0 {
            return wrong("a mapping of size 0 maps nothing".to_owned());
        }
        for (first, side) in [(range.container, "containerID"), (range.host, "hostID")] {
            // The last number of 32 bits is no id, but means "none".
            if first.checked_add(range.size).is_none() {
                return wrong(format!("{} ids from {side} {first} reach beyond the last id ({})", range.size, u32::MAX - 1));
            }
        }
        if let Some(other) = ranges.iter().position(|other| overlap(other.container, other.size, range.container, range.size)) {
            return wrong(format!("the mapping overlaps another one inside the container ({})", at.of(other)));
        }
        if let Some(other) = ranges.iter().position(|other| overlap(other.host, other.size, range.host, range.size)) {
            return wrong(format!("the mapping overlaps another one on the host ({})", at.of(other)));
        }
        ranges.push(range);
    }
    Ok(IdMap(ranges))
}

/// Both ranges end below 2^32 ([`resolve`] saw to the new one before).
fn overlap(a: u32, a_size: u32, b: u32, b_size: u32) -> bool {
    a < b + b_size && b < a + a_size
}

impl IdMap {
    /// The text for `/proc/PID/uid_map` or `gid_map`.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = String::new();
        for Range { container, host, size } in &self.0 {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{container} {host} {size}");
        }
        text.into_bytes()
    }

    /// The ranges in the configuration's order.
    #[must_use]
    pub fn ranges(&self) -> &[Range] {
        &self.0
    }

    /// Whether it maps nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The id outside of an id inside, if it has one.
    #[must_use]
    pub fn to_host(&self, id: u32) -> Option<u32> {
        self.0.iter().find_map(|range| id.checked_sub(range.container).filter(|n| *n < range.size).map(|n| range.host + n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn resolved(mappings: Value) -> Result<IdMap, Invalid> {
        let mappings: Vec<LinuxIdMapping> = serde_json::from_value(mappings).expect("mappings are valid");
        resolve(&mappings, &Pointer::to("/linux/uidMappings"))
    }

    #[test]
    fn a_map_is_the_kernels_text_and_answers() {
        let map = resolved(json!([{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 100_000, "size": 65536}]));
        let map = map.expect("the map is valid");
        assert_eq!(map.bytes(), b"0 1000 1\n1 100000 65536\n");
        assert_eq!(map.to_host(0), Some(1000));
        assert_eq!(map.to_host(65536), Some(165_535));
        assert_eq!(map.to_host(65537), None);
    }

    #[test]
    fn the_whole_range_fits() {
        let map = resolved(json!([{"containerID": 0, "hostID": 0, "size": u32::MAX}])).expect("the identity is valid");
        assert_eq!(map.to_host(u32::MAX - 1), Some(u32::MAX - 1));
        assert_eq!(map.to_host(u32::MAX), None);
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused_with_its_place() {
        let one = |c: u32, h: u32, s: u32| json!({"containerID": c, "hostID": h, "size": s});
        for (mappings, place, why) in [
            (json!([one(0, 0, 0)]), "/linux/uidMappings/0", "size 0"),
            (json!([one(1, 0, u32::MAX)]), "/linux/uidMappings/0", "containerID 1"),
            (json!([one(0, 5, u32::MAX - 4)]), "/linux/uidMappings/0", "hostID 5"),
            (json!([one(0, 0, 10), one(9, 100, 1)]), "/linux/uidMappings/1", "inside the container (/linux/uidMappings/0)"),
            (json!([one(0, 9, 1), one(20, 0, 10)]), "/linux/uidMappings/1", "on the host (/linux/uidMappings/0)"),
            (Value::Array((0..341).map(|i| one(i, i, 1)).collect()), "/linux/uidMappings", "341"),
        ] {
            let error = resolved(mappings).expect_err(why);
            assert_eq!(error.at.as_str(), place);
            assert!(error.why.contains(why), "{error}");
        }
    }

    #[test]
    fn neighbours_do_not_overlap() {
        let map = resolved(json!([{"containerID": 10, "hostID": 10, "size": 10}, {"containerID": 0, "hostID": 0, "size": 10}]));
        assert_eq!(map.expect("the map is valid").ranges().len(), 2);
    }
}
