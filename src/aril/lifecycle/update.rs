//! `update`: other limits for a container that exists.

use super::record::{Line, Record};
use super::status::{Refused, Verb, allow};
use super::store::Store;
use super::{Global, Id, Status};
use crate::cgroup::{Before, Cgroup, Change, Devices, Limits};
use crate::config::{self, Invalid, Pointer};
use crate::error::{Doing, Error, Result};
use crate::host::Host;
use serde_json::Value;

/// `update`: what `resources`, which is `LinuxResources` as JSON, names is changed, all of it or nothing.
///
/// # Errors
/// There is no such container, or it has stopped; a value that cannot be, by its pointer. The container is as it was then.
pub fn update(global: &Global, id: &Id, resources: &Value) -> Result<()> {
    let store = Store::open(global, id)?;
    store.lock()?;
    let stopped = || Refused::Status { id: id.clone(), status: Status::Stopped, verb: Verb::Update };
    let record = store.read()?.ok_or_else(stopped)?;
    allow(id, record.status(|| Ok(false))?, Verb::Update)?;
    Updating::of(&record, resources)?.all(&store).doing(|| format!("cannot update container {id}"))
}

/// An update that is to be made.
struct Updating {
    change: Change,
    limits: Limits,
    cgroup: Cgroup,
    /// The device rules that hold.
    devices: Devices,
}

impl Updating {
    /// Decides what is to be written, and writes nothing.
    fn of(record: &Record, resources: &Value) -> Result<Updating> {
        let (intent, empty) = (&record.intent, Value::Object(serde_json::Map::new()));
        let change = Change::of(&intent.resources, resources, &intent.oci_version, intent.place.memory_is_v2())?;
        let limits = Limits::change(&change, &intent.place, &Host::probe()?)?;
        let cgroup = Cgroup::open(&intent.place)?.unwrap_or_default();
        let held = config::resources(if intent.resources.is_null() { &empty } else { &intent.resources })?;
        let devices = Devices::of(held.devices().as_deref().unwrap_or_default(), &Pointer::to("/linux/resources/devices"))?;
        Ok(Updating { change, limits, cgroup, devices })
    }

    /// Limits before device rules, since the latter can be put in place at once and fail as one; the record last, since it says what is.
    fn all(self, store: &Store) -> Result<()> {
        let before = self.cgroup.before(&self.limits, Some(self.devices.clone()))?;
        let made = self.cgroup.apply_limits(&self.limits).and_then(|()| self.cgroup.apply_devices(&self.limits));
        let made = made.and_then(|()| store.append(&Line::Resources(self.change.remembered.clone())));
        made.map_err(|error| Before::failed(error, self.cgroup.restore(&before)))
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
