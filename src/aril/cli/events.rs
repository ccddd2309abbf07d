//! `aril events`

use super::duration;
use crate::error::Result;
use crate::lifecycle::{self, Global, Id};
use std::time::Duration;

/// Print what a container uses, and what happens to it, as JSON
///
/// Each line is one object: {"type":TYPE,"id":ID,"data":…}. Statistics come at each interval, all else when it happens: a process killed for lack
/// of memory (oom), counters of limits (memory.events, pids.events), pressure (cpu.pressure, memory.pressure, io.pressure). It ends with the
/// container.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  aril events --stats web\n  aril events --interval 1m30s web")]
pub(super) struct Events {
    /// Time between statistics, as 5s, 1m30s or 100ms
    #[arg(long, value_name = "DURATION", value_parser = duration::positive, default_value = "5s")]
    pub(super) interval: Duration,
    /// Print statistics once, and nothing else
    #[arg(long)]
    pub(super) stats: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub(super) id: Id,
}

impl Events {
    pub(super) fn run(self, global: &Global) -> Result<u8> {
        if self.stats {
            return super::print(&lifecycle::events::stats(global, &self.id)?).map(|()| 0);
        }
        lifecycle::events::follow(global, &self.id, self.interval, &mut super::print).map(|()| 0)
    }
}
