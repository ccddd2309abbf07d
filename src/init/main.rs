//! aril-init, the executor: receives a plan, runs its steps in order inside the container, and becomes the user's process, or reports
//! which step failed and why.
//!
//! It is freestanding: no libc, no allocator, no parser, no log. To audit what runs with privilege inside a container, read, in this order,
//! `start.rs` (what happens before the first step), `run.rs` (the loop, and which function does which step), and those functions.
#![no_std]
#![no_main]

mod console;
mod copyup;
mod fork;
mod hook;
mod memory;
mod mounts;
mod namespaces;
mod paths;
mod process;
mod report;
mod run;
mod start;
mod sys;
