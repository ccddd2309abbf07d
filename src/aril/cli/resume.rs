//! `aril resume`

use crate::error::Result;
use crate::lifecycle::{self, Global, Id};

/// Let a paused container go on
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  aril resume web")]
pub(super) struct Resume {
    /// Name of the container
    #[arg(value_name = "ID")]
    pub(super) id: Id,
}

impl Resume {
    pub(super) fn run(self, global: &Global) -> Result<u8> {
        lifecycle::pause::resume(global, &self.id).map(|()| 0)
    }
}
