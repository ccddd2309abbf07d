//! What `update` makes of a container's resources: the new values over those that hold.

use super::devices;
use crate::config::spec::{Linux, LinuxResources};
use crate::config::{self, Invalid, unlimited_pids};
use serde_json::{Map, Value};

/// A change of a container's resources.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What is asked for.
    pub asked: LinuxResources,
    /// What holds then.
    pub whole: LinuxResources,
    /// The same as JSON, to be remembered.
    pub remembered: Value,
}

/// The lists whose entries are known by these keys: one that is named takes the place of its like, and the others stay.
const LISTS: [(&str, &[&str]); 7] = [
    ("/blockIO/weightDevice", &["major", "minor"]),
    ("/blockIO/throttleReadBpsDevice", &["major", "minor"]),
    ("/blockIO/throttleWriteBpsDevice", &["major", "minor"]),
    ("/blockIO/throttleReadIOPSDevice", &["major", "minor"]),
    ("/blockIO/throttleWriteIOPSDevice", &["major", "minor"]),
    ("/hugepageLimits", &["pageSize"]),
    ("/network/priorities", &["name"]),
];

/// Numbers of which 0 is a value, and not the want of one. Those of `rdma` are such as well.
const ZEROS: [&str; 4] = ["/cpu/burst", "/cpu/idle", "/memory/swappiness", "/pids/limit"];

impl Change {
    /// The change by `update` of resources that were remembered, `now`. Both are `LinuxResources` as JSON. As in a configuration, a field that is
    /// absent, null, empty or, where that is no value, 0 changes nothing; a list of devices, page sizes or interfaces changes those that are in
    /// it, and the list of device rules is a whole one. `version` is the container's `ociVersion`, and `v2` says that its memory is limited by
    /// cgroup v2.
    ///
    /// # Errors
    /// The field whose value is of a wrong type.
    pub fn of(now: &Value, update: &Value, version: &str, v2: bool) -> Result<Change, Invalid> {
        let pids = *config::resources(update)?.pids();
        let mut update = update.clone();
        prune(&mut update, "");
        if pids.is_some_and(|pids| unlimited_pids(pids, update.get("pids"), version)) {
            update["pids"] = Value::Null;
        }
        prune(&mut update, "");
        complete(&mut update, now, v2);
        let mut whole = if now.is_object() { now.clone() } else { Value::Object(Map::new()) };
        merge(&mut whole, &update, "");
        Ok(Change { asked: config::resources(&update)?, whole: config::resources(&whole)?, remembered: whole })
    }
}

/// The resources of a configuration as they are to be remembered: nodes that may be used because there are no device rules are in the rules.
///
/// # Errors
/// A node whose numbers cannot be.
pub fn remembered(linux: Option<&Linux>) -> Result<Value, Invalid> {
    let mut resources = linux.and_then(|linux| linux.resources().clone()).unwrap_or_default();
    if resources.devices().as_ref().is_none_or(Vec::is_empty) {
        resources.set_devices(Some(devices::rules_of_nodes(linux)?));
    }
    Ok(serde_json::to_value(resources).unwrap_or_default())
}

/// Takes away what asks for nothing.
fn prune(value: &mut Value, at: &str) {
    let Value::Object(fields) = value else { return };
    for (key, value) in fields.iter_mut() {
        prune(value, &format!("{at}/{key}"));
    }
    let zero_counts = |at: &str| ZEROS.contains(&at) || at.starts_with("/rdma/");
    fields.retain(|key, value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty() || at == "/unified",
        Value::Array(list) => !list.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0) || zero_counts(&format!("{at}/{key}")),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) => true,
    });
}

/// What follows from a change and is not said by it.
fn complete(update: &mut Value, now: &Value, v2: bool) {
    // The kernel forgets the weight of a cgroup that becomes idle.
    if let (Some(cpu), Some(shares)) = (update.get_mut("cpu").and_then(Value::as_object_mut), now.pointer("/cpu/shares"))
        && cpu.get("idle").and_then(Value::as_i64) == Some(0)
    {
        cpu.entry("shares").or_insert_with(|| shares.clone());
    }
    let Some(memory) = update.get_mut("memory").and_then(Value::as_object_mut) else { return };
    let Some(limit) = memory.get("limit").and_then(Value::as_i64) else { return };
    let before = |key| now.pointer(key).and_then(Value::as_i64).unwrap_or(0);
    let (old, both) = (before("/memory/limit"), before("/memory/swap"));
    if memory.contains_key("swap") {
    } else if limit == -1 {
        memory.insert("swap".to_owned(), (-1).into());
    } else if v2 && old > 0 && both >= old {
        // cgroup v2 has a limit of swap alone, which stays: memory and swap together grow or shrink with memory.
        memory.insert("swap".to_owned(), limit.saturating_add(both - old).into());
    }
}

fn merge(into: &mut Value, update: &Value, at: &str) {
    match (into, update) {
        (Value::Object(into), Value::Object(update)) => merge_fields(into, update, at),
        (Value::Array(into), Value::Array(update)) => match LISTS.iter().find(|(list, _)| *list == at) {
            Some((_, keys)) => merge_lists(into, update, keys),
            None => into.clone_from(update),
        },
        (into, update) => into.clone_from(update),
    }
}

fn merge_fields(into: &mut Map<String, Value>, update: &Map<String, Value>, at: &str) {
    for (key, value) in update {
        match into.get_mut(key) {
            Some(old) => merge(old, value, &format!("{at}/{key}")),
            None => drop(into.insert(key.clone(), value.clone())),
        }
    }
}

fn merge_lists(into: &mut Vec<Value>, update: &[Value], keys: &[&str]) {
    for entry in update {
        match into.iter_mut().find(|old| keys.iter().all(|key| old[*key] == entry[*key])) {
            Some(old) => merge(old, entry, ""),
            None => into.push(entry.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Pointer;
    use serde_json::json;

    fn change_of(now: &Value, update: &Value, v2: bool) -> (Value, Value) {
        let change = Change::of(now, update, "1.3.0", v2).expect("a change");
        assert_eq!(config::resources(&change.remembered), Ok(change.whole));
        (serde_json::to_value(change.asked).expect("JSON"), change.remembered)
    }

    fn whole(now: &Value, update: &Value) -> Value {
        change_of(now, update, true).1
    }

    #[test]
    fn what_is_not_said_stays() {
        let now = json!({"memory": {"limit": 1000, "reservation": 10}, "pids": {"limit": 5}, "cpu": {"cpus": "0"}});
        assert_eq!(
            whole(&now, &json!({"memory": {"reservation": 20}, "cpu": {"shares": 7}})),
            json!({"memory": {"limit": 1000, "reservation": 20}, "pids": {"limit": 5}, "cpu": {"cpus": "0", "shares": 7}})
        );
    }

    #[test]
    fn nothing_is_nothing() {
        let now = json!({"memory": {"limit": 1000}, "pids": {"limit": 5}, "cpu": {"cpus": "0", "burst": 5}});
        // What runc's help shows, and what Go writes of a structure that nobody filled.
        let update = json!({"memory": {"limit": 0, "swap": 0, "reservation": null}, "cpu": {"shares": 0, "quota": 0, "cpus": "", "mems": ""},
            "blockIO": {"weight": 0}, "pids": {}, "devices": [], "unified": null, "hugepageLimits": null});
        assert_eq!(change_of(&now, &update, true), (json!({}), now));
    }

    #[test]
    fn zeros_that_are_values() {
        let now = json!({"memory": {"swappiness": 60}, "pids": {"limit": 5}, "cpu": {"burst": 5, "idle": 1}});
        let update = json!({"memory": {"swappiness": 0}, "pids": {"limit": 0}, "cpu": {"burst": 0, "idle": 0}});
        assert_eq!(change_of(&now, &update, true), (update.clone(), update.clone()));
        let rate = json!({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 0}]}});
        assert_eq!(whole(&json!({}), &rate), rate);
    }

    #[test]
    fn pids_of_zero_are_no_limit_to_those_who_had_no_other_word_for_it() {
        let now = json!({"pids": {"limit": 5}});
        let change = Change::of(&now, &json!({"pids": {"limit": 0}}), "1.0.2-dev", true).expect("a change");
        assert_eq!(change.asked.pids().map(|pids| pids.limit()), None);
        assert_eq!(change.whole.pids().map(|pids| pids.limit()), Some(5));
    }

    #[test]
    fn entries_of_a_list_are_known_by_their_keys() {
        let rates = |rates: &[(u32, u32)]| {
            let rates: Vec<Value> = rates.iter().map(|(minor, rate)| json!({"major": 8, "minor": minor, "rate": rate})).collect();
            json!({"blockIO": {"throttleWriteBpsDevice": rates}})
        };
        assert_eq!(whole(&rates(&[(0, 1), (1, 1)]), &rates(&[(1, 2), (2, 2)])), rates(&[(0, 1), (1, 2), (2, 2)]));
        let pages = |size: &str| json!({"hugepageLimits": [{"pageSize": size, "limit": 4}]});
        assert_eq!(whole(&pages("2MB"), &pages("1GB"))["hugepageLimits"].as_array().map(Vec::len), Some(2));
        // Device rules mean something in their order alone.
        let rules = |major: u32| json!({"devices": [{"allow": true, "type": "c", "major": major, "access": "r"}]});
        assert_eq!(whole(&rules(1), &rules(2)), rules(2));
    }

    #[test]
    fn swap_follows_memory() {
        let now = json!({"memory": {"limit": 1000, "swap": 1500}});
        let asked = |update: &Value, v2: bool| change_of(&now, update, v2).0["memory"].clone();
        assert_eq!(asked(&json!({"memory": {"limit": 2000}}), true), json!({"limit": 2000, "swap": 2500}));
        assert_eq!(asked(&json!({"memory": {"limit": 2000}}), false), json!({"limit": 2000}));
        assert_eq!(asked(&json!({"memory": {"limit": -1}}), false), json!({"limit": -1, "swap": -1}));
        assert_eq!(asked(&json!({"memory": {"limit": 2000, "swap": 2000}}), true), json!({"limit": 2000, "swap": 2000}));
        assert_eq!(whole(&now, &json!({"memory": {"swap": 9000}})), json!({"memory": {"limit": 1000, "swap": 9000}}));
    }

    #[test]
    fn a_cgroup_that_is_idle_no_more_gets_its_weight_back() {
        let now = json!({"cpu": {"shares": 512, "idle": 1}});
        assert_eq!(change_of(&now, &json!({"cpu": {"idle": 0}}), true).0, json!({"cpu": {"idle": 0, "shares": 512}}));
    }

    #[test]
    fn a_wrong_type_is_named() {
        let error = Change::of(&json!({}), &json!({"memory": {"limit": "much"}}), "1.3.0", true).expect_err("no number");
        assert_eq!(error.at, Pointer::to("/memory/limit"));
    }
}
