//! `aril pause`

use crate::error::Result;
use crate::lifecycle::{self, Global, Id};

/// Stop every process of a container until it is resumed
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  aril pause web")]
pub(super) struct Pause {
    /// Name of the container
    #[arg(value_name = "ID")]
    pub(super) id: Id,
}

impl Pause {
    pub(super) fn run(self, global: &Global) -> Result<u8> {
        lifecycle::pause::pause(global, &self.id).map(|()| 0)
    }
}
