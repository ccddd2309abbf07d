//! `faults launch LIMIT... -- COMMAND...`: waits for a byte on standard input, limits itself, and becomes the command.

use nix::sys::resource::{Resource, setrlimit};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

pub fn launch(words: &[String]) -> i32 {
    let Some(dashes) = words.iter().position(|word| word == "--") else { return 2 };
    let _ = std::io::stdin().read_exact(&mut [0]);
    // Before there may be no descriptor to be had.
    let Ok(null) = std::fs::File::open("/dev/null") else { return 122 };
    for limit in &words[..dashes] {
        let done = match limit.split_once('=') {
            Some(("nofile", n)) => n.parse().map(|n| setrlimit(Resource::RLIMIT_NOFILE, n, n).is_ok()).unwrap_or(false),
            Some(("nproc", n)) => n.parse().map(|n| setrlimit(Resource::RLIMIT_NPROC, n, n).is_ok()).unwrap_or(false),
            Some(("cgroup", dir)) => std::fs::write(format!("{dir}/cgroup.procs"), "0").is_ok(),
            _ => false,
        };
        if !done {
            return 120;
        }
    }
    let Some((program, args)) = words[dashes + 1..].split_first() else { return 2 };
    let _ = Command::new(program).args(args).stdin(Stdio::from(null)).exec();
    121
}
