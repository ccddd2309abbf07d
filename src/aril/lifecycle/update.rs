//! `update`: other limits for a container that exists.

use super::allocation::{self, Allocation, Schemas};
use super::record::{Line, Record};
use super::status::{Refused, Verb, allow};
use super::store::Store;
use super::{Global, Id, Status};
use crate::cgroup::{Before, Cgroup, Change, Devices, Limits};
use crate::config::{self, Invalid, Pointer};
use crate::error::{Doing, Error, Result};
use crate::host::Host;
use serde_json::Value;

/// `update`: what `resources`, which is `LinuxResources` as JSON, and `schemas` name is changed, all of it or nothing.
///
/// # Errors
/// There is no such container, or it has stopped; a value that cannot be, by its pointer. The container is as it was then.
pub fn update(global: &Global, id: &Id, resources: &Value, schemas: Schemas) -> Result<()> {
    let store = Store::open(global, id)?;
    store.lock()?;
    let stopped = || Refused::Status { id: id.clone(), status: Status::Stopped, verb: Verb::Update };
    let record = store.living()?.ok_or_else(stopped)?;
    allow(id, record.status(|| Ok(false))?, Verb::Update)?;
    let updating = Updating::of(&record, resources)?;
    let all = || -> Result<()> {
        let Some(allocation) = Allocation::of(schemas, &record, id)? else { return updating.all(&store) };
        let undo = allocation.make(&store, &record, &updating.cgroup)?;
        updating.all(&store).map_err(|error| allocation::failed(error, allocation.undo(undo, &store)))
    };
    all().doing(|| format!("cannot update container {id}"))
}

/// An update that is to be made.
struct Updating {
    change: Change,
    limits: Limits,
    cgroup: Cgroup,
    /// The resources that hold, as JSON.
    held: Value,
    /// The device rules that hold.
    devices: Devices,
}

impl Updating {
    /// Decides what is to be written, and writes nothing.
    fn of(record: &Record, resources: &Value) -> Result<Updating> {
        let intent = &record.intent;
        let held = if intent.resources.is_null() { Value::Object(serde_json::Map::new()) } else { intent.resources.clone() };
        let change = Change::of(&held, resources, &intent.oci_version, intent.place.memory_is_v2())?;
        let limits = Limits::change(&change, &intent.place, &Host::probe()?)?;
        let cgroup = Cgroup::open(&intent.place)?.unwrap_or_default();
        let rules = config::resources(&held)?;
        let devices = Devices::of(rules.devices().as_deref().unwrap_or_default(), &Pointer::to("/linux/resources/devices"))?;
        Ok(Updating { change, limits, cgroup, held, devices })
    }

    /// Limits before device rules, since the latter can be put in place at once and fail as one. systemd comes last: what it was told cannot be
    /// taken back without it.
    fn all(self, store: &Store) -> Result<()> {
        let Updating { cgroup, limits, .. } = &self;
        let before = cgroup.before(limits, Some(self.devices.clone()))?;
        let made = cgroup.apply_limits(limits).and_then(|()| cgroup.apply_devices(limits));
        let made = made.and_then(|()| store.append(&Line::Resources(self.change.remembered.clone())));
        let undo = |error, recorded| {
            let restored = cgroup.restore(&before);
            let restored = restored.and_then(|()| if recorded { store.append(&Line::Resources(self.held.clone())) } else { Ok(()) });
            Before::failed(error, restored)
        };
        made.map_err(|error| undo(error, false))?;
        cgroup.persist(limits).map_err(|error| undo(error, true))
    }
}

/// Resources as JSON text, which `what` names in messages.
///
/// # Errors
/// The text is no JSON object.
pub fn parse(text: &str, what: &str) -> Result<Value> {
    let wrong = |why: String| Error::Doing {
        what: format!("cannot read the resources of {what}"),
        at: None,
        source: Box::new(Invalid::new(&Pointer::default(), why).into()),
    };
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(wrong("they are no JSON object".to_owned())),
        Err(error) => Err(wrong(format!("no valid JSON: {error}"))),
    }
}
