//! `aril delete`

use super::name::named;
use crate::error::Result;
use crate::lifecycle::{self, Global};

/// Remove a container that has stopped
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  aril delete web\n  aril delete --force web")]
pub(super) struct Delete {
    /// End it first if it runs; a container that does not exist is no error
    #[arg(short, long)]
    pub(super) force: bool,
    /// ID is a regular expression: remove every container whose name it finds
    #[arg(short, long)]
    pub(super) regex: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub(super) id: String,
}

impl Delete {
    pub(super) fn run(self, global: &Global) -> Result<u8> {
        named(global, &self.id, self.regex, |id| lifecycle::delete::delete(global, id, self.force)).map(|()| 0)
    }
}
