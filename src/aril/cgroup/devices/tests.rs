//! What the rules mean, and that the program and the files of v1 mean the same.

use super::*;
use crate::config::spec::Linux;
use serde_json::{Value, json};

const KINDS: [(u32, Kind); 2] = [(1, Kind::Block), (2, Kind::Char)];

fn linux(rules: &Value, nodes: &Value) -> Linux {
    serde_json::from_value(json!({"resources": {"devices": rules}, "devices": nodes})).expect("a configuration")
}

fn devices(rules: &Value) -> Devices {
    Devices::resolve(Some(&linux(rules, &json!([])))).expect("rules")
}

/// The rules read as they are meant: for each kind of access the last that speaks of the device decides.
fn meaning(rules: &[Rule], kind: Kind, major: u32, minor: u32, access: u8) -> bool {
    [MKNOD, READ, WRITE].iter().filter(|bit| access & **bit != 0).all(|bit| {
        let asked = Rule { allow: true, kind, major: Some(major), minor: Some(minor), access: *bit };
        rules.iter().rev().find(|rule| rule.covers(&asked)).is_some_and(|rule| rule.allow)
    })
}

fn code(program: &[crate::sys::bpf::Insn]) -> Vec<u8> {
    let bytes = |insn: &crate::sys::bpf::Insn| {
        [&[insn.code, insn.registers][..], &insn.offset.to_le_bytes(), &insn.immediate.to_le_bytes()].concat()
    };
    program.iter().flat_map(bytes).collect()
}

fn hold(rules: &[Rule], what: &str) {
    let code = code(&Devices { rules: without_dead(rules), at: Pointer::default() }.program());
    let machine = rbpf::EbpfVmRaw::new(Some(&code)).expect("a program");
    let run = |kind: u32, major: u32, minor: u32, access: u8| {
        let mut context: Vec<u8> = [u32::from(access) << 16 | kind, major, minor].iter().flat_map(|word| word.to_le_bytes()).collect();
        machine.execute_program(&mut context).expect("a verdict") == 1
    };
    // Every number that a rule names, and one beside it.
    let numbers = |of: fn(&Rule) -> Option<u32>, max: u32| -> Vec<u32> {
        let mut numbers: Vec<u32> = rules.iter().filter_map(of).flat_map(|n| [n, max.min(n + 1)]).chain([0]).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    };
    let (majors, minors) = (numbers(|rule| rule.major, MAJOR_MAX), numbers(|rule| rule.minor, MINOR_MAX));
    for (number, kind) in KINDS {
        for (&major, &minor) in majors.iter().flat_map(|major| minors.iter().map(move |minor| (major, minor))) {
            for access in 1..=ALL {
                let expected = meaning(rules, kind, major, minor, access);
                assert_eq!(run(number, major, minor, access), expected, "{what}: {kind:?} {major}:{minor} access {access}\n{rules:?}");
            }
        }
    }
}

#[test]
fn the_program_means_what_the_rules_mean() {
    for rules in [
        json!([]),
        json!([{"allow": false, "access": "rwm"}]),
        json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]),
        json!([{"allow": true, "access": "rwm"}]),
        json!([{"allow": true, "access": "rwm"}, {"allow": false, "type": "b", "major": 8, "access": "w"}]),
        json!([{"allow": true, "access": "rwm"}, {"allow": false, "access": "w"}, {"allow": true, "type": "c", "access": "rw"}]),
        json!([{"allow": true, "type": "b", "major": 8, "minor": 0, "access": "r"}, {"allow": true, "type": "b", "major": 8, "access": "w"}]),
        json!([{"allow": true, "type": "a", "major": 7, "access": "rw"}, {"allow": false, "type": "c", "major": 7, "minor": 7, "access": "r"}]),
        json!([{"allow": true, "minor": 3, "access": "r"}, {"allow": false, "type": "c", "major": 1, "minor": 3, "access": "m"}]),
    ] {
        hold(&devices(&rules).rules, &rules.to_string());
    }
}

/// All lists of three rules over a small world: kinds, one major or all, one minor or all, accesses that are one, two and three.
#[test]
fn any_three_rules() {
    let mut all = Vec::new();
    for (allow, kind) in [false, true].iter().flat_map(|allow| [Kind::Any, Kind::Block, Kind::Char].map(|kind| (*allow, kind))) {
        for (major, minor) in [(None, None), (Some(4), None), (None, Some(6)), (Some(4), Some(6))] {
            all.extend([READ, READ | WRITE, MKNOD | WRITE, ALL].map(|access| Rule { allow, kind, major, minor, access }));
        }
    }
    // Every pair, with a third that varies with them so that each rule is third somewhere: 9216 lists instead of 884736.
    for (i, first) in all.iter().enumerate() {
        for (j, second) in all.iter().enumerate() {
            let third = all[(i * 31 + j * 17) % all.len()];
            hold(&[DENY_ALL, *first, *second, third], "three rules");
        }
    }
}

#[test]
fn the_largest_numbers_and_the_longest_list() {
    let last = |major: u32, minor: u32| json!([{"allow": true, "type": "b", "major": major, "minor": minor, "access": "rw"}]);
    for rules in [last(MAJOR_MAX, MINOR_MAX), last(MAJOR_MAX - 1, MINOR_MAX - 1), last(0, 0)] {
        hold(&devices(&rules).rules, &rules.to_string());
    }
    let rule = |n: usize| json!({"allow": n.is_multiple_of(2), "type": if n.is_multiple_of(3) { "b" } else { "c" }, "major": 9, "minor": n, "access": "r"});
    let rules: Vec<Value> = (0..MAX_RULES / 2).map(rule).collect();
    let longest = devices(&json!(rules));
    let code = code(&longest.program());
    let machine = rbpf::EbpfVmRaw::new(Some(&code)).expect("a program");
    for minor in [0, 1, 2, 3, 2046, 2047] {
        let mut context: Vec<u8> = [u32::from(READ) << 16 | 2, 9, minor].iter().flat_map(|word| word.to_le_bytes()).collect();
        let allowed = machine.execute_program(&mut context).expect("a verdict") == 1;
        assert_eq!(allowed, minor % 2 == 0 && minor % 3 != 0, "{minor}");
    }
    let too_many: Vec<Value> = (0..=MAX_RULES / 2).map(rule).collect();
    let error = Devices::resolve(Some(&linux(&json!(too_many), &json!([])))).expect_err("too many");
    assert_eq!(error.at.as_str(), "/linux/resources/devices");
}

#[test]
fn without_rules_only_the_default_devices_can_be_used() {
    for rules in [json!([]), json!([{"allow": false, "access": "rwm"}]), json!([{"allow": false}])] {
        let devices = devices(&rules);
        let may = |kind, major, minor, access| meaning(&devices.rules, kind, major, minor, access);
        for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, 0), (136, 77), (10, 200)] {
            assert!(may(Kind::Char, major, minor, ALL), "{major}:{minor}");
            assert!(!may(Kind::Block, major, minor, READ), "{major}:{minor}");
        }
        // kmem and fuse as characters, sda and loop as blocks.
        for (kind, major, minor) in [(Kind::Char, 1, 2), (Kind::Char, 10, 229), (Kind::Block, 8, 0), (Kind::Block, 7, 0)] {
            assert!(may(kind, major, minor, MKNOD));
            assert!(!may(kind, major, minor, READ) && !may(kind, major, minor, WRITE) && !may(kind, major, minor, MKNOD | READ));
        }
    }
}

#[test]
fn a_node_is_usable_unless_rules_say_how() {
    let nodes = json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]);
    let of = |rules: Value| Devices::resolve(Some(&linux(&rules, &nodes))).expect("rules").rules;
    assert!(meaning(&of(json!([])), Kind::Char, 10, 229, ALL));
    let read_only = of(json!([{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"}]));
    assert!(meaning(&read_only, Kind::Char, 10, 229, READ) && !meaning(&read_only, Kind::Char, 10, 229, WRITE));
    assert!(!meaning(&of(json!([{"allow": false, "access": "rwm"}])), Kind::Char, 10, 229, READ));
}

#[test]
fn a_rule_by_number_takes_a_default_device_away_and_a_wildcard_does_not() {
    let named = devices(&json!([{"allow": false, "type": "c", "major": 10, "minor": 200, "access": "rwm"}]));
    assert!(!meaning(&named.rules, Kind::Char, 10, 200, READ));
    let wild = devices(&json!([{"allow": false, "type": "c", "access": "rwm"}]));
    assert!(meaning(&wild.rules, Kind::Char, 10, 200, READ));
}

#[test]
fn everything_allowed_is_one_rule() {
    assert!(devices(&json!([{"allow": false, "access": "rwm"}, {"allow": true, "access": "rwm"}])).allow_everything());
    assert!(!devices(&json!([{"allow": true, "access": "rw"}])).allow_everything());
    assert!(!devices(&json!([])).allow_everything());
}

#[test]
fn rules_that_cannot_be_are_refused_by_pointer() {
    for (rule, at) in [
        (json!({"allow": true, "type": "p", "access": "r"}), "/linux/resources/devices/0/type"),
        (json!({"allow": true, "access": "x"}), "/linux/resources/devices/0/access"),
        (json!({"allow": true}), "/linux/resources/devices/0/access"),
        (json!({"allow": true, "major": -2, "access": "r"}), "/linux/resources/devices/0/major"),
        (json!({"allow": true, "major": 4096, "access": "r"}), "/linux/resources/devices/0/major"),
        (json!({"allow": true, "minor": 1_048_576, "access": "r"}), "/linux/resources/devices/0/minor"),
    ] {
        let error = Devices::resolve(Some(&linux(&json!([rule]), &json!([])))).expect_err(at);
        assert_eq!(error.at.as_str(), at);
    }
}
