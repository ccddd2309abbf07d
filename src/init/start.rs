//! From the kernel's entry to the first step.
#![allow(unsafe_code)]

use crate::report::Talk;
use crate::run::{self, Executor};
use crate::sys::{self, Result};
use aril_plan::talk::Header;
use aril_plan::{In, Wire};
use core::ffi::CStr;
use core::panic::PanicInfo;
use linux_raw_sys::{errno, general, prctl};
use syscalls::Sysno;

// The kernel starts a program with the stack pointer at argc.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(".globl _start", "_start:", "xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {enter}", "ud2", enter = sym enter);
#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(".globl _start", "_start:", "mov x29, #0", "mov x0, sp", "bl {enter}", "brk #0", enter = sym enter);

/// Exit status where the executor ends without a report: the host is gone, or this program has a bug.
const BROKEN: i32 = 250;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    sys::exit(BROKEN)
}

/// `stack` points to argc, argv. The only argument is the number of the socket to the host.
extern "C" fn enter(stack: *const usize) -> ! {
    // SAFETY: the kernel put argc there, and argv behind it.
    let argument = unsafe { (*stack >= 2).then(|| CStr::from_ptr(*stack.add(2) as *const _)) };
    let Some(socket) = argument.and_then(number) else { sys::exit(BROKEN) };
    let talk = Talk::new(socket);
    let result = prepare().and_then(|()| close_on_exec(socket)).and_then(|()| receive(&talk));
    match result {
        Ok((executor, steps)) => run::run(executor, talk, steps),
        Err(failure) => {
            talk.fault(0, failure, &[]);
            sys::exit(BROKEN)
        }
    }
}

fn number(text: &CStr) -> Option<i32> {
    core::str::from_utf8(text.to_bytes()).ok()?.parse().ok()
}

/// What holds before any step, whatever the plan says.
fn prepare() -> Result<()> {
    // First of all: nobody in a namespace that is entered later may trace this process or open its /proc files.
    sys::prctl(prctl::PR_SET_DUMPABLE, 0)?;
    sys::prctl(prctl::PR_SET_PDEATHSIG, general::SIGKILL as usize)?;
    sys::call(Sysno::prctl, [prctl::PR_SET_NAME as usize, c"aril-init".as_ptr() as usize, 0, 0, 0, 0])?;
    reset_signals()?;
    sys::call(Sysno::umask, [0; 6])?;
    sys::call(Sysno::setsid, [0; 6])?;
    Ok(())
}

/// Default dispositions and no blocked signal: a caller's `nohup` must not reach the container.
fn reset_signals() -> Result<()> {
    let default = [0_usize; 4]; // struct kernel_sigaction: SIG_DFL, no flags, no restorer, empty mask
    for signal in 1..=64 {
        if signal != general::SIGKILL as usize && signal != general::SIGSTOP as usize {
            sys::call(Sysno::rt_sigaction, [signal, default.as_ptr() as usize, 0, 8, 0, 0])?;
        }
    }
    sys::block_signals(0)
}

/// A descriptor that was passed on through `execve(2)`, and is not to go on to the user's program or to a hook.
fn close_on_exec(file: i32) -> Result<()> {
    sys::call(Sysno::fcntl, [sys::fd(file), general::F_SETFD as usize, general::FD_CLOEXEC as usize, 0, 0, 0]).map(drop)
}

/// Receives the plan. Its memory is never freed: it is the process's own until `execve`.
fn receive(talk: &Talk) -> Result<(Executor, In<'static>)> {
    let bad = sys::failure(Sysno::read, errno::EPROTO);
    let mut len = [0; 4];
    talk.read(&mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    let plan = sys::allocate(len)?;
    talk.read(plan)?;
    let mut from = In(plan);
    let header = Header::decode(&mut from).ok_or(bad)?;
    let slots = sys::allocate_fds(usize::from(header.passed) + usize::from(header.opened))?;
    for slot in slots.iter_mut().take(header.passed.into()) {
        *slot = i32::decode(&mut from).ok_or(bad)?;
        close_on_exec(*slot)?;
    }
    Ok((Executor::new(slots, header), from))
}
