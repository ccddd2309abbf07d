//! `aril run`

use super::creation::Flags;
use crate::error::Result;
use crate::lifecycle::{self, Global, Running};

/// Create a container, start it and wait for it
///
/// Ends with the status of the container's process, or 128 + N if signal N ended it, and deletes the container.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  aril run --bundle /srv/web web\n  aril run --detach --bundle /srv/web --pid-file /run/web.pid web")]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) flags: Flags,
    /// Return as soon as the container runs
    #[arg(short, long)]
    pub(super) detach: bool,
    /// Do not delete the container when it has ended
    #[arg(long)]
    pub(super) keep: bool,
    /// Do not adopt orphans of the container
    #[arg(long)]
    pub(super) no_subreaper: bool,
}

impl Run {
    pub(super) fn run(self, global: &Global) -> Result<u8> {
        let Run { flags, detach, keep, no_subreaper } = self;
        lifecycle::run::run(global, &Running { creation: flags.into(), detach, keep, no_subreaper })
    }
}
