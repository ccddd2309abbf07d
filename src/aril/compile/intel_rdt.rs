//! `intelRdt`: the container's share of caches and memory bandwidth, as Documentation/filesystems/resctrl.rst has it.

use crate::config::{Invalid, Pointer, spec};

/// The group that a container is to be in, and what is to hold there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The group's name; empty is the root of resctrl, the default class.
    pub group: String,
    /// Whether the configuration names it: then it is not the container's to remove.
    pub named: bool,
    /// Lines that must hold already, where the group is there already.
    pub compared: Vec<String>,
    /// All lines for `schemata`, in the order in which they are written.
    pub schemata: Vec<String>,
    /// The name of a monitoring group.
    pub monitoring: Option<String>,
}

/// Names in a group that are no groups.
const RESERVED: [&str; 5] = [".", "..", "info", "mon_data", "mon_groups"];

/// Reads `intelRdt`, if it is there, of the container with this id. The fields `enableCMT` and `enableMBM`, which never meant anything and went with
/// 1.3, ask for nothing.
///
/// # Errors
/// A name that no group can have, a schema that is no line of its kind.
pub fn resolve(linux: &spec::Linux, id: &str) -> Result<Option<Wanted>, Invalid> {
    let Some(rdt) = linux.intel_rdt() else { return Ok(None) };
    let at = Pointer::to("/linux/intelRdt");
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let clos = filled(rdt.clos_id());
    let group = match clos.as_deref() {
        None => id.to_owned(),
        Some("/") => String::new(),
        Some(name) if name.contains(['/', '\n', '\0']) || RESERVED.contains(&name) => {
            return Err(Invalid::new(&at.of("closID"), format!("{name:?} is no name of a resctrl group")));
        }
        Some(name) => name.to_owned(),
    };
    let mut schemata = Vec::new();
    if let Some(l3) = filled(rdt.l3_cache_schema()) {
        // Code and data of a cache are two lines (L3CODE, L3DATA).
        schemata.extend(l3.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
    }
    if let Some(bandwidth) = filled(rdt.mem_bw_schema()) {
        if !bandwidth.starts_with("MB:") || bandwidth.contains('\n') {
            return Err(Invalid::new(&at.of("memBwSchema"), format!("{bandwidth:?} is no line that begins with MB:")));
        }
        schemata.push(bandwidth);
    }
    let compared = schemata.clone();
    for (i, line) in rdt.schemata().iter().flatten().enumerate() {
        if line.is_empty() || line.contains('\n') {
            return Err(Invalid::new(&at.of("schemata").of(i), format!("{line:?} is not one line, such as \"L3:0=ff\"")));
        }
        schemata.push(line.clone());
    }
    let monitoring = (*rdt.enable_monitoring() == Some(true)).then(|| id.to_owned());
    Ok(Some(Wanted { group, named: clos.is_some(), compared, schemata, monitoring }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn resolved(rdt: Value) -> Result<Option<Wanted>, Invalid> {
        let linux: spec::Linux = serde_json::from_value(json!({"intelRdt": rdt})).expect("the types are right");
        resolve(&linux, "box")
    }

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn the_group_is_the_containers_unless_it_is_named() {
        let group = |rdt: Value| resolved(rdt).expect("it is valid").map(|wanted| (wanted.group, wanted.named));
        assert_eq!(group(Value::Null), None);
        assert_eq!(group(json!({})), Some(("box".to_owned(), false)));
        assert_eq!(group(json!({"closID": "gold"})), Some(("gold".to_owned(), true)));
        assert_eq!(group(json!({"closID": "/"})), Some((String::new(), true)));
    }

    #[test]
    fn lines_are_written_in_the_order_of_the_specification() {
        let rdt = json!({"schemata": ["L2:0=f", "MB:0=30"], "memBwSchema": "MB:0=20;1=70", "l3CacheSchema": "L3CODE:0=f\nL3DATA:0=f"});
        let wanted = resolved(rdt).expect("it is valid").expect("it is there");
        assert_eq!(wanted.schemata, lines(&["L3CODE:0=f", "L3DATA:0=f", "MB:0=20;1=70", "L2:0=f", "MB:0=30"]));
        assert_eq!(wanted.compared, lines(&["L3CODE:0=f", "L3DATA:0=f", "MB:0=20;1=70"]));
        assert_eq!(wanted.monitoring, None);
    }

    #[test]
    fn monitoring_is_by_the_containers_id() {
        let monitoring = |rdt: Value| resolved(rdt).expect("it is valid").and_then(|wanted| wanted.monitoring);
        assert_eq!(monitoring(json!({"closID": "gold", "enableMonitoring": true})).as_deref(), Some("box"));
        assert_eq!(monitoring(json!({"enableMonitoring": false, "enableCMT": true, "enableMBM": true})), None);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_place() {
        for (rdt, at) in [
            (json!({"closID": "a/b"}), "closID"),
            (json!({"closID": ".."}), "closID"),
            (json!({"closID": "info"}), "closID"),
            (json!({"memBwSchema": "L3:0=f"}), "memBwSchema"),
            (json!({"memBwSchema": "MB:0=20\nMB:1=20"}), "memBwSchema"),
            (json!({"schemata": ["L3:0=f", "L3:0=f\nMB:0=20"]}), "schemata/1"),
            (json!({"schemata": [""]}), "schemata/0"),
        ] {
            let error = resolved(rdt.clone()).expect_err(&rdt.to_string());
            assert_eq!(error.at.as_str(), format!("/linux/intelRdt/{at}"));
        }
    }
}
