//! `aril delete`

use crate::error::Result;
use crate::lifecycle::{self, Global, Id};

/// Remove a container that has stopped
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  aril delete web\n  aril delete --force web")]
pub(super) struct Delete {
    /// End it first if it runs; a container that does not exist is no error
    #[arg(short, long)]
    pub(super) force: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub(super) id: Id,
}

impl Delete {
    pub(super) fn run(self, global: &Global) -> Result<u8> {
        lifecycle::delete::delete(global, &self.id, self.force).map(|()| 0)
    }
}
