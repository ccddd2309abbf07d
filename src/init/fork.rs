//! A child that goes on where its parent was, in the same memory: to copy the memory of a process that ends at once takes longer than the rest of
//! a fork.
#![allow(unsafe_code)]

use crate::sys::{self, Failure, Result};
use linux_raw_sys::general;
use syscalls::Sysno;

/// So much stack the parent has for its last words.
const STACK: usize = 4096;

/// What the parent is left with.
type Last = fn(said: [usize; 2], pid: usize, pidfd: i32) -> !;

/// The top of the parent's stack.
#[repr(C, align(16))]
struct Left {
    last: Last,
    said: [usize; 2],
    /// The kernel writes it before the child runs.
    pidfd: i32,
}

/// `clone3(2)` with `CLONE_PARENT`, `CLONE_VM` and a pidfd: returns in the child alone. The parent leaves it the stack, and does nothing more but
/// `last` with `said`, on a stack of its own.
pub(crate) fn sharing(last: Last, said: [usize; 2]) -> Result<()> {
    let memory = sys::allocate(STACK)?;
    // SAFETY: the end of fresh memory that is larger, and aligned: STACK and the size of Left are multiples of 16.
    let left = unsafe { memory.as_mut_ptr().add(STACK - size_of::<Left>()).cast::<Left>() };
    // SAFETY: as above.
    unsafe { left.write(Left { last, said, pidfd: -1 }) };
    // SAFETY: all zeroes are a valid clone_args.
    let mut args: general::clone_args = unsafe { core::mem::zeroed() };
    args.flags = u64::from(general::CLONE_PARENT | general::CLONE_VM | general::CLONE_PIDFD);
    // SAFETY: a field of what was written.
    args.pidfd = unsafe { &raw mut (*left).pidfd } as u64;
    // SAFETY: the arguments have the size that is passed, and the kernel reads them before there is a child. Behind the call the parent touches no
    // memory before it has another stack, whose top is aligned as a function's caller has it, and never comes back; the child, and a parent without
    // one, go on with all registers but those named.
    let result = unsafe { clone3(&args, left) };
    match result {
        0 => Ok(()),
        error => Err(Failure { call: Sysno::clone3, errno: u32::try_from(-error).unwrap_or(0) }),
    }
}

#[cfg(target_arch = "x86_64")]
unsafe fn clone3(args: &general::clone_args, left: *mut Left) -> isize {
    let result: isize;
    // SAFETY: the caller vouches for it.
    unsafe {
        core::arch::asm!(
            "syscall",
            "test rax, rax",
            "jle 2f",
            "mov rsp, r12",
            "xor ebp, ebp",
            "mov rdi, r12",
            "mov rsi, rax",
            "call {parent}",
            "ud2",
            "2:",
            parent = sym parent,
            inlateout("rax") Sysno::clone3 as usize => result,
            in("rdi") args,
            in("rsi") size_of_val(args),
            in("r12") left,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

#[cfg(target_arch = "aarch64")]
unsafe fn clone3(args: &general::clone_args, left: *mut Left) -> isize {
    let result: isize;
    // SAFETY: the caller vouches for it.
    unsafe {
        core::arch::asm!(
            "svc 0",
            "cmp x0, #0",
            "b.le 2f",
            "mov sp, x20",
            "mov x29, xzr",
            "mov x1, x0",
            "mov x0, x20",
            "bl {parent}",
            "brk #1",
            "2:",
            parent = sym parent,
            in("x8") Sysno::clone3 as usize,
            inlateout("x0") args => result,
            in("x1") size_of_val(args),
            in("x20") left,
        );
    }
    result
}

/// In the parent, on its stack.
extern "C" fn parent(left: *const Left, pid: usize) -> ! {
    // SAFETY: `sharing` wrote it, and nobody else knows of it.
    let Left { last, said, pidfd } = unsafe { left.read() };
    last(said, pid, pidfd)
}
