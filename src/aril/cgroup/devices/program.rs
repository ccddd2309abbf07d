//! The device program of cgroup v2: the rules from the last to the first, until every kind of access asked for is decided.
//!
//! The kernel calls it with `struct bpf_cgroup_dev_ctx` and denies the access when it returns 0. Most of the cost of a device program is the
//! kernel's verifier, and grows faster than the number of its branches: so a rule is one comparison where it can be, neighbours of one kind
//! share the test of the kind, and all share the two ends.

use super::{ALL, Devices, Kind, MAX_RULES, Rule};
use crate::sys::bpf::Insn;

/// `BPF_DEVCG_DEV_BLOCK` and `BPF_DEVCG_DEV_CHAR`, the low half of `access_type`.
const DEV_BLOCK: i32 = 1;
const DEV_CHAR: i32 = 2;

const RETURN: u8 = 0;
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
/// The kinds of access that no rule has decided yet, as `BPF_DEVCG_ACC_*` bits (the same as the rules').
const OPEN: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
/// Both numbers, as the kernel's own `dev_t`: 12 and 20 bits.
const DEVICE: u8 = 6;
const MINOR_BITS: u8 = 20;

const LOAD_WORD: u8 = 0x61;
const MOV: u8 = 0xb4;
const MOV_REGISTER: u8 = 0xbc;
const AND: u8 = 0x54;
const OR_REGISTER: u8 = 0x4c;
const SHIFT_LEFT: u8 = 0x64;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP: u8 = 0x05;
const JUMP_IF_EQUAL: u8 = 0x16;
const JUMP_UNLESS_EQUAL: u8 = 0x56;
const JUMP_IF_ANY_BIT: u8 = 0x46;
const EXIT: u8 = 0x95;

/// Where a jump goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    /// Nowhere: no jump.
    Next,
    /// So many instructions on.
    Over(usize),
    /// To the end that allows, or to the one that denies.
    End { allow: bool },
}

/// An instruction whose jump has no offset yet.
type Step = (Insn, To);

impl Devices {
    /// The program.
    pub(super) fn program(&self) -> Vec<Insn> {
        let mut steps = vec![
            load(TYPE, 0),
            op(MOV_REGISTER, OPEN | TYPE << 4, 0),
            op(AND, TYPE, 0xffff),
            op(SHIFT_RIGHT, OPEN, 16),
            load(MAJOR, 4),
            load(MINOR, 8),
            op(MOV_REGISTER, DEVICE | MAJOR << 4, 0),
            op(SHIFT_LEFT, DEVICE, MINOR_BITS.into()),
            op(OR_REGISTER, DEVICE | MINOR << 4, 0),
        ];
        // The first rule speaks of everything: it is what the program ends with.
        let (first, rest) = self.rules.split_first().map_or((false, &[][..]), |(first, rest)| (first.allow, rest));
        for neighbours in rest.chunk_by(|a, b| a.kind == b.kind).rev() {
            let decisions: Vec<Step> = neighbours.iter().rev().flat_map(decide).collect();
            steps.extend(kind(neighbours[0].kind).map(|kind| (insn(JUMP_UNLESS_EQUAL, TYPE, kind), To::Over(decisions.len()))));
            steps.extend(decisions);
        }
        link(&steps, first)
    }
}

fn kind(kind: Kind) -> Option<i32> {
    match kind {
        Kind::Any => None,
        Kind::Block => Some(DEV_BLOCK),
        Kind::Char => Some(DEV_CHAR),
    }
}

/// The steps of one rule, for a device of its kind.
fn decide(rule: &Rule) -> Vec<Step> {
    let numbers = match (rule.major, rule.minor) {
        (None, None) => None,
        (Some(major), None) => Some((MAJOR, major)),
        (None, Some(minor)) => Some((MINOR, minor)),
        (Some(major), Some(minor)) => Some((DEVICE, major << MINOR_BITS | minor)),
    };
    let end = To::End { allow: rule.allow };
    let access = i32::from(rule.access);
    let verdict = match (rule.allow, rule.access == ALL) {
        (_, true) => {
            return vec![match numbers {
                Some((register, number)) => (insn(JUMP_IF_EQUAL, register, number.cast_signed()), end),
                None => (insn(JUMP, 0, 0), end),
            }];
        }
        // What it allows is decided; allowed is who has nothing open any more.
        (true, false) => vec![op(AND, OPEN, !access), (insn(JUMP_IF_EQUAL, OPEN, 0), end)],
        // One denied kind denies the whole access.
        (false, false) => vec![(insn(JUMP_IF_ANY_BIT, OPEN, access), end)],
    };
    let test = numbers.map(|(register, number)| (insn(JUMP_UNLESS_EQUAL, register, number.cast_signed()), To::Over(verdict.len())));
    test.into_iter().chain(verdict).collect()
}

/// The steps with the two ends after them, the one for what no rule decided first.
fn link(steps: &[Step], undecided: bool) -> Vec<Insn> {
    let offset = |from: usize, to: usize| i16::try_from(to - from - 1).unwrap_or(i16::MAX);
    let target = |from: usize, to: To| match to {
        To::Next => 0,
        To::Over(count) => offset(from, from + 1 + count),
        To::End { allow } => offset(from, steps.len() + if allow == undecided { 0 } else { 2 }),
    };
    let mut program: Vec<Insn> = steps
        .iter()
        .enumerate()
        .map(|(index, (insn, to))| if *to == To::Next { *insn } else { Insn { offset: target(index, *to), ..*insn } })
        .collect();
    // The verifier refuses an end that nothing leads to.
    let other = steps.iter().any(|(_, to)| *to == To::End { allow: !undecided });
    for allow in [Some(undecided), other.then_some(!undecided)].into_iter().flatten() {
        program.extend([insn(MOV, RETURN, allow.into()), insn(EXIT, 0, 0)]);
    }
    program
}

/// The most steps of a rule are four, so that every jump reaches its end.
const _: () = assert!(MAX_RULES * 4 + 16 < i16::MAX as usize);

fn load(register: u8, offset: i16) -> Step {
    (Insn { code: LOAD_WORD, registers: register | CONTEXT << 4, offset, immediate: 0 }, To::Next)
}

fn op(code: u8, registers: u8, immediate: i32) -> Step {
    (insn(code, registers, immediate), To::Next)
}

fn insn(code: u8, registers: u8, immediate: i32) -> Insn {
    Insn { code, registers, offset: 0, immediate }
}
