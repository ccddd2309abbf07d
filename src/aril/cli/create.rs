//! `aril create`

use super::creation::Flags;
use crate::error::Result;
use crate::lifecycle::{self, Global};

/// Create a container that waits for `start`
///
/// Everything is set up, and the user's program is not yet run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  aril create --bundle /srv/web web && aril start web")]
pub(super) struct Create {
    #[command(flatten)]
    pub(super) flags: Flags,
    /// Accepted for other runtimes' callers, and without effect here
    #[arg(long, hide = true)]
    pub(super) no_subreaper: bool,
}

impl Create {
    pub(super) fn run(self, global: &Global) -> Result<u8> {
        lifecycle::create::create(global, &self.flags.into()).map(|()| 0)
    }
}
