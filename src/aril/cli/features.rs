//! `aril features`

use crate::error::Result;
use crate::lifecycle::{Global, features};

/// Print what this runtime implements, as JSON
///
/// It says nothing of the machine: `aril explain` says what that would refuse.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  aril features | jq .linux.seccomp")]
pub(super) struct Features {}

impl Features {
    pub(super) fn run(self, _: &Global) -> Result<u8> {
        let text = serde_json::to_string_pretty(&features::features()).unwrap_or_default();
        super::print(&(text + "\n")).map(|()| 0)
    }
}
