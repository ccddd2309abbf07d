//! Id mappings in the text of a mount option: `idmap=uids=0-1000-1#1-100000-10;gids=@0-0-10` (crun(1), "idmap mount options").

use crate::compile::idmap::{self, IdMap};
use crate::config::{Invalid, Pointer};

/// What stands after `idmap=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    at: Pointer,
    uids: Vec<Range>,
    gids: Vec<Range>,
}

/// As many ids from one number on in the file system as from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    /// Whether the other is an id in the container's user namespace, rather than outside of it (`@`).
    relative: bool,
    filesystem: u32,
    other: u32,
    size: u32,
}

/// Reads it.
///
/// # Errors
/// It is of another form, with the option's place.
pub(super) fn parse(text: &str, at: &Pointer) -> Result<Mapping, Invalid> {
    let (mut uids, mut gids) = (Vec::new(), Vec::new());
    for part in text.split(';') {
        let (ids, ranges) = match part.split_once('=') {
            Some(("uids", ranges)) => (&mut uids, ranges),
            Some(("gids", ranges)) => (&mut gids, ranges),
            _ => return Err(Invalid::new(at, format!("{part:?} is neither uids=… nor gids=…"))),
        };
        if !ids.is_empty() {
            return Err(Invalid::new(at, format!("{part:?} comes second: its ranges are to be joined by #")));
        }
        let (ranges, all) = ranges.strip_prefix('@').map_or((ranges, false), |ranges| (ranges, true));
        for range in ranges.split('#') {
            let wrong = || Invalid::new(at, format!("{range:?} is no range of ids, such as 0-100000-65536 or @0-0-10"));
            ids.push(one(range, all).ok_or_else(wrong)?);
        }
    }
    if uids.is_empty() || gids.is_empty() {
        return Err(Invalid::new(at, "uids and gids go together"));
    }
    Ok(Mapping { at: at.clone(), uids, gids })
}

fn one(text: &str, relative: bool) -> Option<Range> {
    let (text, relative) = text.strip_prefix('@').map_or((text, relative), |text| (text, true));
    let mut numbers = text.split('-').map(|number| number.parse().ok().filter(|_| number.starts_with(|c: char| c.is_ascii_digit())));
    let range = Range { relative, filesystem: numbers.next()??, other: numbers.next()??, size: numbers.next()?? };
    numbers.next().is_none().then_some(range)
}

impl Mapping {
    /// Both maps for the mount, in a container whose user namespace has these.
    ///
    /// # Errors
    /// An id that the user namespace does not have; what [`idmap::of`] refuses.
    pub(super) fn resolve(&self, uids: &IdMap, gids: &IdMap) -> Result<(IdMap, IdMap), Invalid> {
        Ok((self.map(&self.uids, uids)?, self.map(&self.gids, gids)?))
    }

    fn map(&self, ranges: &[Range], container: &IdMap) -> Result<IdMap, Invalid> {
        let mut mappings = Vec::new();
        for range in ranges {
            if range.relative {
                self.outside(*range, container, &mut mappings)?;
            } else {
                mappings.push(idmap::Range { container: range.filesystem, host: range.other, size: range.size });
            }
        }
        idmap::of(mappings, &self.at).map_err(|error| Invalid::new(&self.at, error.why))
    }

    /// A relative range in ids outside of the container: one piece for each range of its user namespace that it reaches into.
    fn outside(&self, mut range: Range, container: &IdMap, mappings: &mut Vec<idmap::Range>) -> Result<(), Invalid> {
        loop {
            let inside = |of: &&idmap::Range| range.other >= of.container && range.other - of.container < of.size;
            let Some(of) = container.ranges().iter().find(inside) else {
                return Err(Invalid::new(&self.at, format!("the container's user namespace has no id {}", range.other)));
            };
            let skipped = range.other - of.container;
            let size = range.size.min(of.size - skipped);
            mappings.push(idmap::Range { container: range.filesystem, host: of.host + skipped, size });
            if size == range.size {
                return Ok(());
            }
            let next = |id: u32| id.checked_add(size).ok_or_else(|| Invalid::new(&self.at, "a range reaches beyond the last id"));
            range = Range { filesystem: next(range.filesystem)?, other: next(range.other)?, size: range.size - size, ..range };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(text: &str) -> Result<(String, String), Invalid> {
        let at = Pointer::to("/mounts/0/options/1");
        let range = |container, host, size| idmap::Range { container, host, size };
        let container = idmap::of(vec![range(0, 0, 1), range(1, 2, 1000)], &at)?;
        let (uids, gids) = parse(text, &at)?.resolve(&container, &container)?;
        let text = |map: IdMap| String::from_utf8(map.bytes()).expect("it is text");
        Ok((text(uids), text(gids)))
    }

    #[test]
    fn ranges_become_the_kernels_text() {
        let (uids, gids) = maps("uids=0-1-10#10-11-10;gids=0-100-10").expect("it is valid");
        assert_eq!((uids.as_str(), gids.as_str()), ("0 1 10\n10 11 10\n", "0 100 10\n"));
    }

    #[test]
    fn relative_ranges_go_through_the_containers_user_namespace() {
        let (uids, gids) = maps("gids=5-3-2#@7-0-1;uids=@1-3-10#20-999-1").expect("it is valid");
        assert_eq!((uids.as_str(), gids.as_str()), ("1 4 10\n20 1000 1\n", "5 3 2\n7 0 1\n"));
        assert_eq!(maps("uids=@50-0-3;gids=@0-0-1").expect("it is valid").0, "50 0 1\n51 2 2\n", "one that reaches into two of its ranges");
    }

    #[test]
    fn what_cannot_be_is_refused_at_the_option() {
        for (text, why) in [
            ("", "neither uids"),
            ("uids=0-1-10", "go together"),
            ("uids=0-1;gids=0-1-1", "\"0-1\""),
            ("uids=0-1-1-1;gids=0-1-1", "\"0-1-1-1\""),
            ("uids=0-+1-1;gids=0-1-1", "\"0-+1-1\""),
            ("uids=;gids=0-1-1", "\"\""),
            ("uids=0-1-1;uids=1-2-1;gids=0-1-1", "second"),
            ("uids=0-1-1;gids=0-1-1;pids=0-1-1", "pids"),
            ("uids=@0-1001-1;gids=0-1-1", "no id 1001"),
            ("uids=@0-1000-2;gids=0-1-1", "no id 1001"),
            ("uids=0-1-0;gids=0-1-1", "size 0"),
            ("uids=0-1-10#5-20-1;gids=0-1-1", "overlaps"),
        ] {
            let error = maps(text).expect_err(text);
            assert_eq!(error.at.as_str(), "/mounts/0/options/1", "{text}");
            assert!(error.why.contains(why), "{text}: {error}");
        }
    }
}
