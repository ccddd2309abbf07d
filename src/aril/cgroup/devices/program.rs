//! The device program of cgroup v2: the rules from the last to the first, until every kind of access asked for is decided.
//!
//! The kernel calls it with `struct bpf_cgroup_dev_ctx` and denies the access when it returns 0.

use super::{ALL, Devices, Kind, Rule};
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

const LOAD_WORD: u8 = 0x61;
const MOV_REG: u8 = 0xbc;
const MOV: u8 = 0xb4;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP: u8 = 0x05;
const JUMP_UNLESS_EQUAL: u8 = 0x55;
const JUMP_IF_ANY_BIT: u8 = 0x45;
const EXIT: u8 = 0x95;

impl Devices {
    /// The program.
    pub(super) fn program(&self) -> Vec<Insn> {
        let mut program = vec![
            load(TYPE, 0),
            insn(MOV_REG, OPEN | TYPE << 4, 0, 0),
            insn(AND, TYPE, 0, 0xffff),
            insn(SHIFT_RIGHT, OPEN, 0, 16),
            load(MAJOR, 4),
            load(MINOR, 8),
        ];
        // The first rule speaks of everything: it is the end of the program.
        let (first, rest) = self.rules.split_first().map_or((false, &[][..]), |(first, rest)| (first.allow, rest));
        for rule in rest.iter().rev() {
            program.extend(decide(rule));
        }
        program.extend(end(first));
        program
    }
}

/// The instructions of one rule: the tests, each of which leaps over the rest where the rule does not speak of the device, and the verdict.
fn decide(rule: &Rule) -> Vec<Insn> {
    let kind = match rule.kind {
        Kind::Any => None,
        Kind::Block => Some((TYPE, DEV_BLOCK)),
        Kind::Char => Some((TYPE, DEV_CHAR)),
    };
    let number = |register, number: Option<u32>| number.map(|number| (register, number.cast_signed()));
    let tests: Vec<(u8, i32)> = [kind, number(MAJOR, rule.major), number(MINOR, rule.minor)].into_iter().flatten().collect();
    let verdict = verdict(rule);
    let mut left = tests.len() + verdict.len();
    let mut code = Vec::with_capacity(left);
    for (register, value) in tests {
        left -= 1;
        code.push(insn(JUMP_UNLESS_EQUAL, register, i16::try_from(left).unwrap_or(i16::MAX), value));
    }
    code.extend(verdict);
    code
}

fn verdict(rule: &Rule) -> Vec<Insn> {
    let access = i32::from(rule.access);
    match (rule.allow, rule.access == ALL) {
        (allow, true) => end(allow).into(),
        // What it allows is decided; allowed is who has nothing open any more.
        (true, false) => [&[insn(AND, OPEN, 0, !access), insn(JUMP_UNLESS_EQUAL, OPEN, 2, 0)], &end(true)[..]].concat(),
        // One denied kind denies the whole access.
        (false, false) => [&[insn(JUMP_IF_ANY_BIT, OPEN, 1, access), insn(JUMP, 0, 2, 0)], &end(false)[..]].concat(),
    }
}

fn end(allow: bool) -> [Insn; 2] {
    [insn(MOV, RETURN, 0, i32::from(allow)), insn(EXIT, 0, 0, 0)]
}

fn load(register: u8, offset: i16) -> Insn {
    insn(LOAD_WORD, register | CONTEXT << 4, offset, 0)
}

fn insn(code: u8, registers: u8, offset: i16, immediate: i32) -> Insn {
    Insn { code, registers, offset, immediate }
}
