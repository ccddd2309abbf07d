//! The command `aril`: parse, dispatch, say once what went wrong.
//!
//! Exit status: `run` and `exec` in the foreground end as the process does (its status, or 128 + signal); every failure of aril itself, a wrong
//! command line among them, is 1, but one of `exec` is 255; anything else is 0.

#![no_main]

use aril::{Error, cli, log};

/// The C library calls it: what Rust's own start adds (a guard page for the main thread's stack, handlers for its overflow, a look at three
/// descriptors) takes longer than `aril state`.
#[allow(unsafe_code)] // the name is what the C library looks for, and nothing else has it
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    // What is opened later must not become descriptor 0, 1 or 2; and a reader that has gone is an error like any other.
    if let Err(error) = aril::sys::fs::fill_stdio().and_then(|()| aril::sys::process::ignore_broken_pipes()) {
        return error.errno as i32;
    }
    if aril::sys::process::is_setuid() {
        // Whoever could start this with more privilege than they have would be root by a configuration of their own.
        log::Log::default().error(&Error::Other("aril refuses to run set-uid, set-gid or with file capabilities".to_owned()));
        return 1;
    }
    let (log, outcome) = cli::run(std::env::args_os().collect());
    match outcome {
        Ok(status) => {
            log.flush();
            status.into()
        }
        Err(error) => {
            log.error(&error);
            error.status().into()
        }
    }
}
