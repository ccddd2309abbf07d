//! Programs of the kernel's seccomp filter: putting instructions together, and running them in the head.

/// An instruction, `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) jt: u8,
    pub(super) jf: u8,
    pub(super) k: u32,
}

/// Encoded length in bytes.
pub(super) const LEN: usize = 8;
/// `BPF_MAXINSNS`.
pub(super) const INSTRUCTIONS_MAX: usize = 4096;

// The instructions that the kernel lets a filter have and that are used here: class, mode or operation, source (linux/bpf_common.h).
pub(super) const LOAD_WORD: u16 = 0x20;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_GREATER: u16 = 0x25;
pub(super) const JUMP_GREATER_EQUAL: u16 = 0x35;
pub(super) const JUMP_SET: u16 = 0x45;
pub(super) const AND: u16 = 0x54;
pub(super) const RETURN: u16 = 0x06;

/// Where the fields of `struct seccomp_data` are.
pub(super) const NR: u32 = 0;
pub(super) const ARCH: u32 = 4;

impl Instruction {
    pub(super) const fn new(code: u16, jt: u8, jf: u8, k: u32) -> Self {
        Instruction { code, jt, jf, k }
    }

    pub(super) fn bytes(self) -> [u8; LEN] {
        let ([a, b], [c, d, e, f]) = (self.code.to_ne_bytes(), self.k.to_ne_bytes());
        [a, b, self.jt, self.jf, c, d, e, f]
    }

    pub(super) fn at(program: &[u8], index: usize) -> Option<Self> {
        let [a, b, jt, jf, c, d, e, f] = *program.get(index * LEN..)?.first_chunk::<LEN>()?;
        Some(Instruction { code: u16::from_ne_bytes([a, b]), jt, jf, k: u32::from_ne_bytes([c, d, e, f]) })
    }
}

/// What a program says to a system call: `SECCOMP_RET_*` with its data. `arch` is the kernel's `AUDIT_ARCH_*`.
///
/// `None` if the program is none that the kernel would take.
pub(super) fn verdict(program: &[u8], arch: u32, nr: u32, args: [u64; 6]) -> Option<u32> {
    let mut data = Vec::with_capacity(64);
    data.extend(nr.to_ne_bytes());
    data.extend(arch.to_ne_bytes());
    data.extend([0; 8]);
    data.extend(args.iter().flat_map(|arg| arg.to_ne_bytes()));
    let mut accumulator: u32 = 0;
    let mut next = 0;
    // Jumps go forward only, so that it ends.
    loop {
        let Instruction { code, jt, jf, k } = Instruction::at(program, next)?;
        let branch = |yes| usize::from(if yes { jt } else { jf });
        next += 1;
        match code {
            LOAD_WORD => accumulator = u32::from_ne_bytes(*data.get(k as usize..)?.first_chunk()?),
            JUMP => next += k as usize,
            JUMP_EQUAL => next += branch(accumulator == k),
            JUMP_GREATER => next += branch(accumulator > k),
            JUMP_GREATER_EQUAL => next += branch(accumulator >= k),
            JUMP_SET => next += branch(accumulator & k != 0),
            AND => accumulator &= k,
            RETURN => return Some(k),
            _ => return None,
        }
    }
}
