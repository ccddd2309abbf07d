//! A shorter program for the same filter: numbers of system calls that are next to each other and have the same answer become one range, and the range
//! is looked for by halves.
//!
//! The kernel translates and compiles a filter anew for each process that loads one; that is a good part of what `exec` costs, and it goes by the length.
//! The library writes a comparison for each system call, where most profiles come to some fifty ranges.

use super::bpf::{AND, ARCH, Instruction, JUMP, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_EQUAL, JUMP_SET, LEN, LOAD_WORD, NR, RETURN};
use std::collections::BTreeSet;

/// What becomes of a system call by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaf {
    /// This is the answer.
    Answer(u32),
    /// The arguments decide: the instruction that loads the first of them.
    Arguments(usize),
}

/// The same filter of one architecture (`AUDIT_ARCH_*`), shorter; the filter itself where it cannot be or would not be.
pub(super) fn shortened(body: Vec<u8>, arch: u32) -> Vec<u8> {
    let program: Option<Vec<Instruction>> = (0..body.len() / LEN).map(|index| Instruction::at(&body, index)).collect();
    let shorter = program.and_then(|program| rewritten(&program, arch));
    match shorter {
        Some(shorter) if shorter.len() * LEN < body.len() => shorter.into_iter().flat_map(Instruction::bytes).collect(),
        _ => body,
    }
}

fn rewritten(program: &[Instruction], arch: u32) -> Option<Vec<Instruction>> {
    let ranges = ranges(program, arch)?;
    let entries: BTreeSet<usize> =
        ranges.iter().filter_map(|(_, leaf)| if let Leaf::Arguments(at) = leaf { Some(*at) } else { None }).collect();
    let kept: Vec<usize> = reachable(program, &entries)?.into_iter().collect();
    let mut reversed: Vec<Instruction> = Vec::new();
    // From the end to the start: what is jumped to is there already.
    for (place, &at) in kept.iter().enumerate().rev() {
        let after = |target: usize| kept.binary_search(&target).ok().map(|target| target - place - 1);
        let Instruction { code, jt, jf, k } = program[at];
        reversed.push(match code {
            LOAD_WORD | AND | RETURN => program[at],
            JUMP => Instruction::new(JUMP, 0, 0, u32::try_from(after(at + 1 + k as usize)?).ok()?),
            _ => {
                let side = |jump: u8| after(at + 1 + usize::from(jump)).and_then(|offset| u8::try_from(offset).ok());
                Instruction::new(code, side(jt)?, side(jf)?, k)
            }
        });
    }
    let mut writer = Writer { reversed, kept, leaves: Vec::new() };
    let begin = writer.search(&ranges)?;
    if begin + 1 != writer.reversed.len() {
        let jump = writer.jump(begin)?;
        writer.reversed.push(jump);
    }
    writer.reversed.push(Instruction::new(LOAD_WORD, 0, 0, NR));
    writer.reversed.reverse();
    Some(writer.reversed)
}

/// The numbers from which on the answer is another, with the answer; the first is 0. `None` for a program that does anything else with the number
/// than to compare it.
fn ranges(program: &[Instruction], arch: u32) -> Option<Vec<(u32, Leaf)>> {
    let mut bounds = BTreeSet::from([0]);
    for Instruction { code, k, .. } in program {
        if matches!(*code, JUMP_EQUAL | JUMP_GREATER | JUMP_GREATER_EQUAL) {
            bounds.extend([Some(*k), k.checked_add(1)].into_iter().flatten());
        }
    }
    let mut ranges: Vec<(u32, Leaf)> = Vec::new();
    for number in bounds {
        let leaf = leaf(program, arch, number)?;
        if ranges.last().is_none_or(|(_, last)| *last != leaf) {
            ranges.push((number, leaf));
        }
    }
    Some(ranges)
}

fn leaf(program: &[Instruction], arch: u32, number: u32) -> Option<Leaf> {
    let mut accumulator = None;
    let mut next = 0;
    loop {
        let at = next;
        let Instruction { code, jt, jf, k } = *program.get(at)?;
        next += 1;
        let branch = |yes| usize::from(if yes { jt } else { jf });
        match code {
            LOAD_WORD if k == NR => accumulator = Some(number),
            LOAD_WORD if k == ARCH => accumulator = Some(arch),
            LOAD_WORD => return Some(Leaf::Arguments(at)),
            JUMP => next += k as usize,
            JUMP_EQUAL => next += branch(accumulator? == k),
            JUMP_GREATER => next += branch(accumulator? > k),
            JUMP_GREATER_EQUAL => next += branch(accumulator? >= k),
            RETURN => return Some(Leaf::Answer(k)),
            _ => return None,
        }
    }
}

/// All instructions that may be run from these on.
fn reachable(program: &[Instruction], entries: &BTreeSet<usize>) -> Option<BTreeSet<usize>> {
    let mut found = BTreeSet::new();
    let mut open: Vec<usize> = entries.iter().copied().collect();
    while let Some(at) = open.pop() {
        if !found.insert(at) {
            continue;
        }
        let Instruction { code, jt, jf, k } = *program.get(at)?;
        match code {
            RETURN => {}
            LOAD_WORD | AND => open.push(at + 1),
            JUMP => open.push(at + 1 + k as usize),
            JUMP_EQUAL | JUMP_GREATER | JUMP_GREATER_EQUAL | JUMP_SET => open.extend([at + 1 + usize::from(jt), at + 1 + usize::from(jf)]),
            _ => return None,
        }
    }
    Some(found)
}

struct Writer {
    /// The program, its end first.
    reversed: Vec<Instruction>,
    /// The instructions of the old program that are at the end of this one.
    kept: Vec<usize>,
    /// Where the last copy of each leaf is.
    leaves: Vec<(Leaf, usize)>,
}

impl Writer {
    /// How far a comparison jumps, at most, with room for what is written between.
    const REACH: usize = 250;

    /// Writes the search for the number in the accumulator; where it begins.
    fn search(&mut self, ranges: &[(u32, Leaf)]) -> Option<usize> {
        if let [(_, leaf)] = ranges {
            return self.leaf(*leaf);
        }
        let (left, right) = ranges.split_at(ranges.len() / 2);
        let (yes, no) = (self.search(right)?, self.search(left)?);
        let yes = self.within_reach(yes)?;
        let no = self.within_reach(no)?;
        let over = |target: usize| u8::try_from(self.reversed.len() - target - 1).ok();
        let comparison = Instruction::new(JUMP_GREATER_EQUAL, over(yes)?, over(no)?, right.first()?.0);
        self.reversed.push(comparison);
        Some(self.reversed.len() - 1)
    }

    /// A copy of a leaf that is near, or a new one.
    fn leaf(&mut self, leaf: Leaf) -> Option<usize> {
        let near = self.leaves.iter().find(|(known, at)| *known == leaf && self.reversed.len() - at < Self::REACH);
        if let Some((_, at)) = near {
            return Some(*at);
        }
        let instruction = match leaf {
            Leaf::Answer(answer) => Instruction::new(RETURN, 0, 0, answer),
            // The kept ones were written first, the last of them at the very end.
            Leaf::Arguments(at) => self.jump(self.kept.len() - 1 - self.kept.binary_search(&at).ok()?)?,
        };
        self.reversed.push(instruction);
        let at = self.reversed.len() - 1;
        self.leaves.retain(|(known, _)| *known != leaf);
        self.leaves.push((leaf, at));
        Some(at)
    }

    /// The place itself, or one from where it is jumped to.
    fn within_reach(&mut self, target: usize) -> Option<usize> {
        if self.reversed.len() - target < Self::REACH {
            return Some(target);
        }
        let jump = self.jump(target)?;
        self.reversed.push(jump);
        Some(self.reversed.len() - 1)
    }

    fn jump(&self, target: usize) -> Option<Instruction> {
        Some(Instruction::new(JUMP, 0, 0, u32::try_from(self.reversed.len() - target - 1).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Architecture, add_rules, architectures, body, bpf::verdict, section::audit};
    use super::*;
    use crate::config::Pointer;
    use crate::config::spec::LinuxSeccomp;
    use libseccomp::{ScmpAction, ScmpSyscall};
    use serde_json::json;

    /// Names as a manager's profile has them: most calls, a few by their arguments, of three architectures.
    fn profile() -> LinuxSeccomp {
        let plain = [
            "accept",
            "bind",
            "brk",
            "chdir",
            "clock_gettime",
            "close",
            "dup",
            "epoll_wait",
            "execve",
            "exit",
            "exit_group",
            "fcntl",
            "fork",
            "fstat",
            "futex",
            "getcwd",
            "getdents64",
            "getpid",
            "getrandom",
            "ioctl",
            "lseek",
            "mkdir",
            "mmap",
            "mprotect",
            "munmap",
            "nanosleep",
            "open",
            "openat",
            "openat2",
            "pipe2",
            "poll",
            "prctl",
            "pread64",
            "read",
            "readlink",
            "rt_sigaction",
            "select",
            "sendto",
            "stat",
            "statx",
            "uname",
            "unlink",
            "wait4",
            "write",
            "writev",
        ];
        let masked = json!([{"index": 0, "value": 0x7e02_0000_u32, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]);
        let exactly = |value: u64| json!([{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]);
        let two = json!([{"index": 1, "value": 1_u64 << 40, "op": "SCMP_CMP_GE"}, {"index": 2, "value": 7, "op": "SCMP_CMP_LT"}]);
        let mut syscalls = vec![
            json!({"names": plain.as_slice(), "action": "SCMP_ACT_ALLOW"}),
            json!({"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": masked}),
            json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}),
            json!({"names": ["kexec_load", "reboot"], "action": "SCMP_ACT_LOG"}),
            json!({"names": ["socketpair", "fchmod"], "action": "SCMP_ACT_ALLOW", "args": two}),
        ];
        syscalls.extend(
            [0, 8, 0x20000, 0x20008, u64::from(u32::MAX)]
                .map(|v| json!({"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": exactly(v)})),
        );
        let architectures = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_RISCV64"];
        let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": architectures, "syscalls": syscalls});
        serde_json::from_value(profile).expect("the profile is valid")
    }

    fn bodies(profile: &LinuxSeccomp) -> Vec<(Architecture, Vec<u8>)> {
        let at = Pointer::default();
        let mut rules = Vec::new();
        for syscall in profile.syscalls().iter().flatten() {
            add_rules(&mut rules, syscall, &at).expect("the rule is valid");
        }
        let architectures = architectures(profile, &at);
        let of = |it: Architecture| (body(ScmpAction::Errno(1), &it, &rules).expect("the library compiles it"), it);
        architectures.into_iter().map(of).map(|(body, it)| (it, body)).collect()
    }

    #[test]
    fn the_answers_are_the_same() {
        let values = [0, 1, 6, 7, 8, 0x20000, 0x20008, 0x7e02_0000, 0x1000_0000, 1 << 40, (1 << 40) - 1, u64::from(u32::MAX), u64::MAX];
        for (architecture, body) in bodies(&profile()) {
            let arch = audit(architecture.spec);
            let shorter = shortened(body.clone(), arch);
            let numbers = (0..700).chain(0x4000_0000..0x4000_0300).chain([0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, u32::MAX]);
            for number in numbers {
                for (i, value) in values.into_iter().enumerate() {
                    let args = [value, values[(i * 5 + 3) % values.len()], values[(i * 7 + 1) % values.len()], 0, 0, 0];
                    let (old, new) = (verdict(&body, arch, number, args), verdict(&shorter, arch, number, args));
                    assert!(new.is_some() && old == new, "{}: {number} {args:x?}: {old:x?}, {new:x?}", architecture.spec);
                }
            }
        }
    }

    /// As a manager's profile is: nearly every call is allowed.
    #[test]
    fn what_allows_nearly_all_is_a_fraction_as_long() {
        let names: Vec<String> =
            (0..330).filter(|number| number % 30 != 7).filter_map(|number| ScmpSyscall::from(number).get_name().ok()).collect();
        let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]});
        let profile: LinuxSeccomp = serde_json::from_value(profile).expect("the profile is valid");
        for (architecture, body) in bodies(&profile) {
            let shorter = shortened(body.clone(), audit(architecture.spec));
            assert!(shorter.len() < body.len() / 5, "{} bytes of {}", shorter.len(), body.len());
            for number in 0..600 {
                let answers = [&body, &shorter].map(|program| verdict(program, audit(architecture.spec), number, [0; 6]));
                assert!(answers[0].is_some() && answers[0] == answers[1], "{number}: {answers:x?}");
            }
        }
    }

    #[test]
    fn what_is_more_than_comparisons_stays_as_it_is() {
        let program = [Instruction::new(LOAD_WORD, 0, 0, NR), Instruction::new(AND, 0, 0, 7), Instruction::new(RETURN, 0, 0, 0)];
        let bytes: Vec<u8> = program.into_iter().flat_map(Instruction::bytes).collect();
        assert_eq!(shortened(bytes.clone(), 0), bytes);
    }
}
