//! What a process inherits besides standard input, output and error.

use crate::error::{Error, Result};
use crate::sys;

/// The descriptors that the container inherits: first those of socket activation (sd_listen_fds(3)), then those of `--preserve-fds`.
pub(super) struct Descriptors {
    pub(super) count: u32,
    /// How the container's process learns of the sockets: it is process 1.
    pub(super) env: Vec<String>,
}

impl Descriptors {
    pub(super) fn of(preserve_fds: u32) -> Result<Descriptors> {
        let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
        let mine = number("LISTEN_PID") == Some(std::process::id());
        let sockets = number("LISTEN_FDS").filter(|_| mine).unwrap_or(0);
        let mut env = Vec::new();
        if sockets > 0 {
            env.extend([format!("LISTEN_FDS={sockets}"), "LISTEN_PID=1".to_owned()]);
            env.extend(std::env::var("LISTEN_FDNAMES").map(|names| format!("LISTEN_FDNAMES={names}")));
        }
        let count = sockets.saturating_add(preserve_fds);
        let missing = (3..).take(usize::try_from(count).unwrap_or(usize::MAX)).find(|number| !sys::fs::is_inherited(*number));
        match missing {
            Some(number) => {
                Err(Error::Other(format!("descriptor {number} is not open: --preserve-fds {}, LISTEN_FDS {sockets}", preserve_fds)))
            }
            None => Ok(Descriptors { count, env }),
        }
    }
}
