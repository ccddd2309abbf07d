//! The device rules of cgroup v1: a default and a list of exceptions, where a rule cannot take a part out of a wider one.

use super::{ALL, ANY_NODE, DEFAULTS, DENY_ALL, Devices, Kind, MKNOD, READ, Rule, WRITE};
use crate::cgroup::dir::Dir;
use crate::config::{Invalid, Pointer};
use crate::sys;

/// What the `devices` files of v1 can hold.
#[derive(Debug, PartialEq, Eq)]
struct Table {
    /// What is done with a device that is no exception.
    allow: bool,
    exceptions: Vec<Rule>,
}

impl Devices {
    /// Whether v1 can hold the rules.
    ///
    /// # Errors
    /// They deny a part of what they allow by a wildcard, or the reverse.
    pub(in crate::cgroup) fn check_v1(&self) -> Result<(), Invalid> {
        self.table().map(drop)
    }

    fn table(&self) -> Result<Table, Invalid> {
        let mut table = Table { allow: false, exceptions: Vec::new() };
        for rule in &self.rules {
            if rule.covers(&DENY_ALL) {
                table = Table { allow: rule.allow, exceptions: Vec::new() };
            } else if rule.allow == table.allow {
                for earlier in table.exceptions.iter_mut().filter(|earlier| earlier.meets(rule)) {
                    if !rule.same_or_wider(earlier) {
                        return Err(hole(rule, earlier, &self.at));
                    }
                    earlier.access &= !rule.access;
                }
                table.exceptions.retain(|exception| exception.access != 0);
            } else {
                table.exceptions.push(*rule);
            }
        }
        // Among exceptions the order means nothing to the kernel, but `devices.list` keeps it, and is read: what was asked for comes first.
        table.exceptions.sort_by_key(|rule| DEFAULTS.contains(rule) || *rule == ANY_NODE);
        Ok(table)
    }
}

fn hole(rule: &Rule, wider: &Rule, at: &Pointer) -> Invalid {
    let verb = |allow| if allow { "allow" } else { "deny" };
    let [rule_line, wider_line] = [lines(rule).join(" and "), lines(wider).join(" and ")];
    Invalid::new(
        at,
        format!(
            "cgroup v1 cannot {} {rule_line:?} alone, once {wider_line:?} is to {}: name the devices one by one",
            verb(rule.allow),
            verb(wider.allow)
        ),
    )
}

/// Writes the rules into a cgroup that nothing runs in.
///
/// # Errors
/// The write that failed, or rules that v1 cannot hold.
pub(in crate::cgroup) fn write_v1(dir: &Dir, devices: &Devices) -> crate::Result<()> {
    let table = devices.table()?;
    let (first, then) = if table.allow { ("devices.allow", "devices.deny") } else { ("devices.deny", "devices.allow") };
    dir.write(first, "a")?;
    write_all(dir, then, &table.exceptions)?;
    Ok(())
}

/// Makes these the rules of a cgroup where processes run: what stays allowed is allowed all the while.
///
/// # Errors
/// The write that failed, or rules that v1 cannot hold.
pub(in crate::cgroup) fn replace_v1(dir: &Dir, devices: &Devices) -> crate::Result<()> {
    let table = devices.table()?;
    let Some(current) = parse(&dir.read("devices.list")?).filter(|_| !table.allow) else {
        // One of the two allows everything but exceptions, which devices.list does not tell.
        return write_v1(dir, devices);
    };
    write_all(dir, "devices.allow", &table.exceptions)?;
    let surplus = current.into_iter().filter_map(|mut rule| {
        let kept = table.exceptions.iter().filter(|kept| kept.same_or_wider(&rule) && rule.same_or_wider(kept));
        rule.access &= !kept.fold(0, |access, kept| access | kept.access);
        (rule.access != 0).then_some(rule)
    });
    write_all(dir, "devices.deny", &surplus.collect::<Vec<_>>())?;
    Ok(())
}

fn write_all(dir: &Dir, file: &str, rules: &[Rule]) -> sys::Result<()> {
    if rules.is_empty() { Ok(()) } else { dir.write_each(file, rules.iter().flat_map(lines)) }
}

/// A rule as the kernel reads it; `a` with numbers would be every device, so it is said as two.
fn lines(rule: &Rule) -> Vec<String> {
    let number = |number: Option<u32>| number.map_or("*".to_owned(), |n| n.to_string());
    let access: String =
        [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')].iter().filter(|(bit, _)| rule.access & bit != 0).map(|(_, c)| c).collect();
    let kinds: &[char] = match rule.kind {
        Kind::Any => &['c', 'b'],
        Kind::Char => &['c'],
        Kind::Block => &['b'],
    };
    kinds.iter().map(|kind| format!("{kind} {}:{} {access}", number(rule.major), number(rule.minor))).collect()
}

/// The exceptions of `devices.list`; `None` where everything is allowed.
fn parse(list: &str) -> Option<Vec<Rule>> {
    let mut rules = Vec::new();
    for line in list.lines() {
        let mut words = line.split([' ', ':']);
        let (kind, major, minor, access) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let kind = match kind {
            "b" => Kind::Block,
            "c" => Kind::Char,
            _ => return None,
        };
        let bits = [('r', READ), ('w', WRITE), ('m', MKNOD)].iter().filter(|(c, _)| access.contains(*c)).fold(0, |all, (_, bit)| all | bit);
        rules.push(Rule { allow: true, kind, major: major.parse().ok(), minor: minor.parse().ok(), access: bits & ALL });
    }
    Some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn table(rules: &Value) -> Result<Table, Invalid> {
        let linux = serde_json::from_value(json!({"resources": {"devices": rules}})).expect("a configuration");
        Devices::resolve(Some(&linux)).expect("rules").table()
    }

    fn all_lines(table: &Table) -> Vec<String> {
        table.exceptions.iter().flat_map(lines).collect()
    }

    #[test]
    fn exceptions_of_the_default() {
        let table = table(&json!([{"allow": false, "access": "rwm"}, {"allow": true, "minor": 9, "access": "wr"}])).expect("a table");
        assert!(!table.allow);
        let lines = all_lines(&table);
        for line in ["c 1:3 rwm", "c 136:* rwm", "c *:* m", "b *:* m", "c *:9 rw", "b *:9 rw"] {
            assert!(lines.contains(&line.to_owned()), "{line} in {lines:?}");
        }
        assert_eq!(lines.len(), 14, "{lines:?}");
        assert_eq!(lines[..2], ["c *:9 rw", "b *:9 rw"], "what was asked for comes first");
    }

    #[test]
    fn all_but_one() {
        let table = table(&json!([{"allow": true, "access": "rwm"}, {"allow": false, "type": "b", "major": 8, "minor": 0, "access": "w"}]));
        let table = table.expect("a table");
        assert!(table.allow);
        assert_eq!(all_lines(&table), ["b 8:0 w"]);
    }

    #[test]
    fn a_named_default_device_is_left_out() {
        let table = table(&json!([{"allow": false, "type": "c", "major": 10, "minor": 200, "access": "rwm"}])).expect("a table");
        assert!(!all_lines(&table).iter().any(|line| line.contains("10:200")), "{table:?}");
    }

    #[test]
    fn a_hole_in_a_wildcard_is_refused_and_named() {
        let rules =
            json!([{"allow": true, "type": "c", "access": "r"}, {"allow": false, "type": "c", "major": 7, "minor": 1, "access": "r"}]);
        let error = table(&rules).expect_err("v1 has no such thing");
        assert!(error.why.contains("c 7:1 r") && error.why.contains("c *:* r"), "{error}");
    }

    #[test]
    fn the_list_of_the_kernel_reads_back() {
        assert_eq!(parse("a *:* rwm\n"), None);
        let rules = parse("c 1:3 rwm\nb *:* m\nc 136:* rw\n").expect("a list");
        assert_eq!(rules.iter().flat_map(lines).collect::<Vec<_>>(), ["c 1:3 rwm", "b *:* m", "c 136:* rw"]);
    }
}
