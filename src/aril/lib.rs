//! aril, a low-level OCI container runtime: the host side.
//!
//! A container's configuration is compiled into a list of typed steps, the plan, and a tiny executor runs it inside the container. To read
//! the code, follow a start:
//!
//! 1. [`cli`] turns the command line into a request.
//! 2. [`lifecycle`] has one file per verb; `lifecycle/create.rs` is the way through everything below.
//! 3. [`config`] loads `config.json`; every value knows its JSON pointer.
//! 4. [`host`] holds the facts about this machine.
//! 5. [`compile`] turns configuration and facts into the plan.
//! 6. [`cgroup`] makes, limits and removes the container's cgroup.
//! 7. [`boot`] starts the executor and talks with it.
//! 8. [`sys`] wraps system calls, and is the only place with unsafe code.
//!
//! Layers, each naming only those after it: cli > lifecycle > boot, compile, cgroup > host, config > sys.
#![deny(unsafe_code)]

pub mod boot;
pub mod cgroup;
pub mod cli;
pub mod compile;
pub mod config;
pub mod error;
pub mod host;
pub mod lifecycle;
pub mod log;
pub mod sys;

pub use error::{Error, Result};

/// The commit that was built.
pub const COMMIT: &str = match option_env!("ARIL_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
