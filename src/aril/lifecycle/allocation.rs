//! `update` of a container's share of caches and memory bandwidth.

use super::record::{Line, Record};
use super::store::Store;
use super::{Id, compact};
use crate::boot::resctrl::{self, Before, Group};
use crate::cgroup::Cgroup;
use crate::compile::intel_rdt::{self, Wanted};
use crate::config::spec::{Linux, LinuxIntelRdt};
use crate::error::{Error, Result};
use std::collections::BTreeSet;

/// So often the container is looked through for tasks that are new since the last time. A task that is in the group has its children in it.
const ROUNDS: usize = 16;

/// What `update` is asked for, as `intelRdt` has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schemas {
    /// `l3CacheSchema`
    pub l3_cache: Option<String>,
    /// `memBwSchema`
    pub memory_bandwidth: Option<String>,
}

/// A change of it that is to be made.
pub(super) struct Allocation {
    wanted: Wanted,
    group: Group,
    /// Whether the container has no group so far, and gets this one.
    first: bool,
}

/// How it was.
pub(super) enum Undo {
    Lines(Before),
    NoGroup,
}

impl Allocation {
    /// Decides what is to be done; `None` if nothing is asked for.
    ///
    /// # Errors
    /// A schema is no line of its kind; there is no resctrl on this machine.
    pub(super) fn of(schemas: Schemas, record: &Record, id: &Id) -> Result<Option<Allocation>> {
        let filled = |schema: Option<String>| schema.filter(|schema| !schema.is_empty());
        let (l3_cache, memory_bandwidth) = (filled(schemas.l3_cache), filled(schemas.memory_bandwidth));
        if l3_cache.is_none() && memory_bandwidth.is_none() {
            return Ok(None);
        }
        let (mut linux, mut rdt) = (Linux::default(), LinuxIntelRdt::default());
        rdt.set_l3_cache_schema(l3_cache).set_mem_bw_schema(memory_bandwidth);
        linux.set_intel_rdt(Some(rdt));
        let wanted = intel_rdt::resolve(&linux, id.as_str())?.unwrap_or_default();
        Ok(Some(match &record.intent.resctrl {
            Some(group) => Allocation { wanted, group: group.clone(), first: false },
            None => {
                let group = Group::of(&wanted, &resctrl::mount()?);
                Allocation { wanted, group, first: true }
            }
        }))
    }

    /// Makes it. Where it fails nothing has changed.
    ///
    /// # Errors
    /// The kernel does not take it, with its own words.
    pub(super) fn make(&self, store: &Store, record: &Record, cgroup: &Cgroup) -> Result<Undo> {
        if !self.first {
            return self.group.change(&self.wanted.schemata).map(Undo::Lines);
        }
        store.append(&Line::Resctrl(Some(self.group.clone())))?;
        let made = self.group.create(&self.wanted).and_then(|()| self.fill(record, cgroup));
        match made.and_then(|()| note(store, Some(&self.group))) {
            Ok(()) => Ok(Undo::NoGroup),
            Err(error) => Err(failed(error, self.undo(Undo::NoGroup, store))),
        }
    }

    /// Has it as it was. The kernel moves the tasks of a group that is removed to the one above (Documentation/filesystems/resctrl.rst).
    ///
    /// # Errors
    /// The kernel does not take it, or the record cannot be written.
    pub(super) fn undo(&self, undo: Undo, store: &Store) -> Result<()> {
        match undo {
            Undo::Lines(before) => self.group.restore(&before),
            Undo::NoGroup => {
                self.group.remove()?;
                store.append(&Line::Resctrl(None))?;
                note(store, None)
            }
        }
    }

    /// Puts every task of the container into the group.
    fn fill(&self, record: &Record, cgroup: &Cgroup) -> Result<()> {
        let mut known = BTreeSet::new();
        for _ in 0..ROUNDS {
            let first = record.created.as_ref().map(|created| created.process.pid);
            let processes = cgroup.processes()?.into_iter().chain(first);
            let new: Vec<i32> = processes.flat_map(crate::sys::process::tasks).filter(|task| known.insert(*task)).collect();
            if new.is_empty() {
                break;
            }
            for task in new {
                self.group.join_living(task)?;
            }
        }
        Ok(())
    }
}

/// The error of a change, and what could not be undone.
pub(super) fn failed(error: Error, undone: Result<()>) -> Error {
    match undone {
        Ok(()) => error,
        Err(left) => Error::Other(format!("{}; and then {}", error.chain(), left.chain())),
    }
}

/// Has `exec` know of the group.
fn note(store: &Store, group: Option<&Group>) -> Result<()> {
    let Some(bytes) = store.read_exec()? else { return Ok(()) };
    store.replace_exec(&compact::in_group(&bytes, group)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_is_changed() {
        let id: Id = "box".parse().expect("it is an id");
        let record = |group| Record { intent: super::super::record::tests::intent(group), created: None, started: false };
        let group = Group::of(&Wanted { group: "gold".to_owned(), named: true, ..Wanted::default() }, std::path::Path::new("/r"));
        let schemas = |l3: &str, bandwidth: &str| Schemas { l3_cache: Some(l3.to_owned()), memory_bandwidth: Some(bandwidth.to_owned()) };
        let of = |schemas| Allocation::of(schemas, &record(Some(group.clone())), &id).map(|found| found.map(|one| one.wanted.schemata));
        assert_eq!(of(Schemas::default()).expect("it is fine"), None);
        assert_eq!(of(schemas("", "")).expect("managers give empty flags"), None);
        let lines = ["L3:0=f".to_owned(), "MB:0=20".to_owned()];
        assert_eq!(of(schemas("L3:0=f", "MB:0=20")).expect("it is fine"), Some(lines.to_vec()));
        assert_eq!(of(schemas("", "MB:0=20")).expect("it is fine"), Some(lines[1..].to_vec()));
        let error = of(schemas("", "L3:0=f")).expect_err("no such line");
        assert_eq!(error.at().map(crate::config::Pointer::as_str), Some("/linux/intelRdt/memBwSchema"));
    }
}
