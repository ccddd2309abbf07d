//! `aril kill`

use super::name::named;
use super::signal::Signal;
use crate::error::Result;
use crate::lifecycle::{self, Global, Id};

/// Send a signal to the process of a container
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  aril kill web\n  aril kill web KILL\n  aril kill --all web SIGRTMIN+3")]
pub(super) struct Kill {
    /// Send it to every process of the container; one that has ended is no error then
    #[arg(short, long)]
    pub(super) all: bool,
    /// ID is a regular expression: send it to every container whose name it finds
    #[arg(short, long)]
    pub(super) regex: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// Name with or without SIG, or number
    #[arg(value_name = "SIGNAL", default_value = "TERM")]
    pub(super) signal: Signal,
}

impl Kill {
    pub(super) fn run(self, global: &Global) -> Result<u8> {
        let kill = |id: &Id| lifecycle::kill::kill(global, id, self.signal.number(), self.all);
        named(global, &self.id, self.regex, kill).map(|()| 0)
    }
}
