//! The command `aril`: parse, dispatch, say once what went wrong.
//!
//! Exit status: `run` in the foreground ends as the container's process does (its status, or 128 + signal); every failure of aril itself,
//! a wrong command line among them, is 1; anything else is 0.

use aril::cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    let (log, outcome) = cli::run(std::env::args_os().collect());
    match outcome {
        Ok(status) => {
            log.flush();
            ExitCode::from(status)
        }
        Err(error) => {
            log.error(&error);
            ExitCode::FAILURE
        }
    }
}
