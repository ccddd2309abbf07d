//! A filter is a section for each architecture, one after the other.
//!
//! The kernel library could make one program for all of them, but takes three times as long for it as for one each: for the profile of a
//! container manager that is the greatest part of a start.

use super::bpf::{ARCH, Instruction, JUMP, JUMP_EQUAL, JUMP_GREATER_EQUAL, LEN, LOAD_WORD, NR, RETURN};
use crate::config::spec::Arch;
use libseccomp::ScmpAction;

/// The bit in the number of a system call of x32, whose architecture is x86-64's to the kernel.
const X32: u32 = 0x4000_0000;
/// Numbers from here on are none: -1 is a call that a tracer skips, and the filter's default decides.
const NONE: u32 = 0x8000_0000;
const RETURN_ENOSYS: u32 = 0x0005_0000 | libc::ENOSYS.unsigned_abs();
const RETURN_KILL_THREAD: u32 = 0;

/// Whether calls that are newer than the profile are to be answered ENOSYS: where the profile would refuse a call that it does not name
/// otherwise. A tracer is to see all calls.
///
/// A program asks for a new system call and, told that there is none, goes on with an old one. A profile that knows only the old one would
/// answer its default instead, e.g. EPERM, and the program would fail.
pub(super) fn hides_newer(default: ScmpAction) -> bool {
    match default {
        ScmpAction::Errno(errno) => errno != libc::ENOSYS,
        ScmpAction::KillProcess | ScmpAction::KillThread | ScmpAction::Trap => true,
        _ => false,
    }
}

/// `AUDIT_ARCH_*` of an architecture.
pub(super) fn audit(arch: Arch) -> u32 {
    (if arch == Arch::ScmpArchX32 { Arch::ScmpArchX86_64 } else { arch }) as u32
}

/// Appends the section of an architecture: the filter `body` for its calls, with ENOSYS for those after `last`. Others go past it.
pub(super) fn append(program: &mut Vec<u8>, arch: Arch, last: Option<u32>, body: &[u8]) {
    let x32 = match arch {
        Arch::ScmpArchX86_64 => Some(false),
        Arch::ScmpArchX32 => Some(true),
        _ => None,
    };
    // From the end to the start, as every jump past the section has to know what comes after it.
    let mut reversed: Vec<Instruction> = Vec::new();
    let past = |after: &Vec<Instruction>| Instruction::new(JUMP, 0, 0, u32::try_from(after.len() + body.len() / LEN).unwrap_or(u32::MAX));
    if let Some(last) = last {
        reversed.push(Instruction::new(RETURN, 0, 0, RETURN_ENOSYS));
        reversed.push(Instruction::new(JUMP_GREATER_EQUAL, 0, 1, last + 1));
        reversed.push(Instruction::new(JUMP_GREATER_EQUAL, 2, 0, NONE));
        reversed.push(Instruction::new(LOAD_WORD, 0, 0, NR));
    }
    if let Some(x32) = x32 {
        reversed.push(past(&reversed));
        reversed.push(Instruction::new(JUMP_GREATER_EQUAL, u8::from(x32), u8::from(!x32), X32));
        if !x32 {
            reversed.push(Instruction::new(JUMP_GREATER_EQUAL, 2, 0, NONE));
        }
        reversed.push(Instruction::new(LOAD_WORD, 0, 0, NR));
    }
    reversed.push(past(&reversed));
    reversed.push(Instruction::new(JUMP_EQUAL, 1, 0, audit(arch)));
    reversed.push(Instruction::new(LOAD_WORD, 0, 0, ARCH));
    program.extend(reversed.into_iter().rev().flat_map(Instruction::bytes));
    program.extend(body);
}

/// Appends what becomes of a call of an architecture that has no section.
pub(super) fn end(program: &mut Vec<u8>) {
    program.extend(Instruction::new(RETURN, 0, 0, RETURN_KILL_THREAD).bytes());
}
