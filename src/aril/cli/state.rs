//! `aril state`

use crate::error::Result;
use crate::lifecycle::{self, Global, Id};

/// Print the state of a container as JSON
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  aril state web")]
pub(super) struct State {
    /// Name of the container
    #[arg(value_name = "ID")]
    pub(super) id: Id,
}

impl State {
    pub(super) fn run(self, global: &Global) -> Result<u8> {
        super::print(&lifecycle::list::state(global, &self.id)?.pretty()).map(|()| 0)
    }
}
