//! `aril ps`

use super::list::Format;
use crate::error::Result;
use crate::lifecycle::{self, Global, Id};
use std::ffi::OsString;

/// List the processes of a container
///
/// The table is that of the host's ps(1), which gets the options after ID, reduced to the container's processes. Pids are those of the host.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  aril ps web\n  aril ps web -o pid,ppid,args\n  aril ps --format json web")]
pub(super) struct Ps {
    /// Form of the list; JSON has the pids alone
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(super) format: Format,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub(super) id: Id,
    /// Options of the host's ps(1), one of whose columns must be PID [default: -ef]
    #[arg(value_name = "PS-OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) options: Vec<OsString>,
}

impl Ps {
    pub(super) fn run(self, global: &Global) -> Result<u8> {
        let pids = lifecycle::ps::pids(global, &self.id)?;
        super::print(&match self.format {
            Format::Json => serde_json::to_string(&pids).unwrap_or_default() + "\n",
            Format::Table => lifecycle::ps::table(&pids, &self.options)?,
        })
        .map(|()| 0)
    }
}
