//! `aril start`

use crate::error::Result;
use crate::lifecycle::{self, Global, Id};

/// Run the program of a created container
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  aril start web")]
pub(super) struct Start {
    /// Name of the container
    #[arg(value_name = "ID")]
    pub(super) id: Id,
}

impl Start {
    pub(super) fn run(self, global: &Global) -> Result<u8> {
        lifecycle::start::start(global, &self.id).map(|()| 0)
    }
}
