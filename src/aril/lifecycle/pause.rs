//! `pause` and `resume`.

use super::status::{Verb, allow};
use super::store::{Record, Store};
use super::{Global, Id, Status};
use crate::cgroup::{Cgroup, Frozen};
use crate::error::{Doing, Error, Result};

/// Stops every process of the container. One that cannot be stopped leaves all of them running.
///
/// # Errors
/// There is no such container, it does not run, it has no cgroup, or something of it does not stop in time.
pub fn pause(global: &Global, id: &Id) -> Result<()> {
    let store = Store::open(global, id)?;
    // Not while it is deleted: on cgroup v1 a frozen process does not die.
    store.lock()?;
    let cgroup = freezer(store.living()?.as_ref(), id, Verb::Pause)?;
    cgroup.freeze().doing(|| format!("cannot pause container {id}"))
}

/// Lets them go on. Takes no lock: a verb that hangs because the container is paused holds it.
///
/// # Errors
/// There is no such container, it is not paused, or a cgroup above its own is frozen, so that it stands still all the same.
pub fn resume(global: &Global, id: &Id) -> Result<()> {
    let store = Store::open(global, id)?;
    let cgroup = freezer(store.living()?.as_ref(), id, Verb::Resume)?;
    cgroup.thaw().doing(|| format!("cannot resume container {id}"))?;
    match cgroup.frozen() {
        Ok(Frozen::Above) => Err(Error::Other(format!("container {id} is resumed, but a cgroup above its own is frozen"))),
        // What cannot be seen is no failure: it is resumed.
        _ => Ok(()),
    }
}

fn freezer(record: Option<&Record>, id: &Id, verb: Verb) -> Result<Cgroup> {
    let status = record.map_or(Ok(Status::Stopped), |record| record.status(|| Ok(false)))?;
    allow(id, status, verb)?;
    let cgroup = record.map_or(Ok(None), |record| record.intent.place.freezer())?;
    cgroup.ok_or_else(|| Error::Other(format!("cannot pause container {id}: it has no cgroup that could be frozen")))
}
