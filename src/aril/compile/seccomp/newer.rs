//! System calls that are newer than the profile.
//!
//! A program asks for a new system call and, told that there is none, goes on with an old one. A profile that knows only the old one answers
//! its default instead, e.g. EPERM, and the program fails. So calls with numbers above all that the profile names are answered ENOSYS.

use super::bpf::{ARCH, Instruction, JUMP_EQUAL, JUMP_GREATER_EQUAL, LOAD_WORD, NR, RETURN};
use crate::config::spec::{Arch, LinuxSyscall};
use libseccomp::{ScmpAction, ScmpArch, ScmpSyscall};

/// The bit in the number of a system call of x32, whose architecture is x86-64's to the kernel.
const X32: u32 = 0x4000_0000;
/// Numbers from here on are none: -1 is a call that a tracer skips.
const NONE: u32 = 0x8000_0000;
const RETURN_ENOSYS: u32 = 0x0005_0000 | libc::ENOSYS.unsigned_abs();

/// Whether the profile would refuse a system call that it does not name, and not by ENOSYS already. A tracer is to see all calls.
pub(super) fn wanted(default: ScmpAction) -> bool {
    match default {
        ScmpAction::Errno(errno) => errno != libc::ENOSYS,
        ScmpAction::KillProcess | ScmpAction::KillThread | ScmpAction::Trap => true,
        _ => false,
    }
}

/// Instructions to run before the filter.
pub(super) fn answer(architectures: &[(Arch, ScmpArch)], syscalls: &[LinuxSyscall]) -> Vec<Instruction> {
    architectures.iter().filter_map(|(arch, scmp)| Some(one(*arch, last(*scmp, syscalls)?))).flatten().collect()
}

/// The greatest number that the profile names.
fn last(arch: ScmpArch, syscalls: &[LinuxSyscall]) -> Option<u32> {
    let number = |name: &String| u32::try_from(ScmpSyscall::from_name_by_arch(name, arch).ok()?.as_raw_syscall()).ok();
    syscalls.iter().flat_map(LinuxSyscall::names).filter_map(number).max()
}

fn one(arch: Arch, last: u32) -> [Instruction; 6] {
    let (audit, end) = match arch {
        Arch::ScmpArchX32 => (Arch::ScmpArchX86_64, NONE),
        Arch::ScmpArchX86_64 => (arch, X32),
        _ => (arch, NONE),
    };
    [
        Instruction::new(LOAD_WORD, 0, 0, ARCH),
        Instruction::new(JUMP_EQUAL, 0, 4, audit as u32),
        Instruction::new(LOAD_WORD, 0, 0, NR),
        Instruction::new(JUMP_GREATER_EQUAL, 2, 0, end),
        Instruction::new(JUMP_GREATER_EQUAL, 0, 1, last + 1),
        Instruction::new(RETURN, 0, 0, RETURN_ENOSYS),
    ]
}
