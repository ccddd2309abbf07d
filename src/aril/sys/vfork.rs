//! `clone3(2)` as `vfork(2)` has it: the child runs in this process's memory, on a stack of its own, and this process waits until the child has
//! executed another program or has ended. Nothing is copied; a copy of the page tables costs more than the rest of a start.

use super::Errno;
use linux_raw_sys::general;
use std::ffi::c_void;

/// So much stack the child has: it makes a few system calls.
const STACK: usize = 16 << 10;

/// Starts `child` with `data` in a new process. `args` has the flags but `CLONE_VM` and `CLONE_VFORK`, and no stack. Its pid.
///
/// # Errors
/// The errno of `clone3(2)`.
///
/// # Safety
/// `child` must make nothing but system calls until it executes a program or ends, and never return; what it writes to memory this process
/// sees. This process must have one thread and no signal handlers.
pub(super) unsafe fn clone3(
    mut args: general::clone_args,
    child: unsafe extern "C" fn(*const c_void) -> !,
    data: *const c_void,
) -> Result<i32, Errno> {
    let mut stack = Vec::<u128>::with_capacity(STACK / size_of::<u128>()); // aligned as a stack is, and not touched before it is used
    args.flags |= u64::from(general::CLONE_VM | general::CLONE_VFORK);
    args.stack = stack.as_mut_ptr() as u64;
    args.stack_size = STACK as u64;
    let result: libc::c_long;
    // SAFETY: the arguments have the size that is passed. The parent goes on behind the call with all registers but those named; the child has
    // a fresh stack, whose top is aligned as a function's caller has it, and leaves it only by a system call.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw const args,
            in("rsi") size_of_val(&args),
            in("r12") child,
            in("r13") data,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk #1",
            "2:",
            in("x8") libc::SYS_clone3,
            inlateout("x0") &raw const args => result,
            in("x1") size_of_val(&args),
            in("x20") data,
            in("x21") child,
        );
    }
    drop(stack);
    match i32::try_from(result) {
        Ok(pid) if pid > 0 => Ok(pid),
        Ok(error) => Err(Errno::from_raw(-error)),
        Err(_) => Err(Errno::ERANGE),
    }
}
