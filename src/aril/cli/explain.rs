//! `aril explain`

use super::flags::{given, path};
use crate::error::Result;
use crate::lifecycle::{Creation, Global, Id, explain, extensions};
use clap::ValueEnum;
use std::path::PathBuf;

/// Show what `create` would do, step by step, and what this host would refuse
///
/// Nothing is started, made or changed, and it takes no root. Each step stands beside the part of the configuration that it is for, as a JSON
/// pointer. A configuration that cannot be is an error, as it is for `create`; what only this host would refuse is listed at the end.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  aril explain --bundle /srv/web\n  aril explain --format json | jq .refused")]
pub(super) struct Explain {
    /// Directory with config.json and the root file system
    #[arg(short, long, value_name = "DIR", value_parser = path(), default_value = ".", hide_default_value = true)]
    bundle: PathBuf,
    /// Configuration to use instead of the bundle's config.json
    #[arg(short = 'f', long, value_name = "FILE", value_parser = path())]
    config: Option<PathBuf>,
    /// Form of the explanation
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: Format,
    /// Name that the container would have; its cgroup may be named by it
    #[arg(value_name = "ID", default_value = "ID", hide_default_value = true)]
    id: Id,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
}

impl Explain {
    pub(super) fn run(self, global: &Global) -> Result<u8> {
        let creation = Creation {
            id: self.id,
            bundle: given(Some(self.bundle)).unwrap_or_else(|| ".".into()),
            config: given(self.config),
            console_socket: None,
            pidfd_socket: None,
            pid_file: None,
            notify: false,
            seccomp_receiver: extensions::receiver_of_caller(),
            no_pivot: false,
            no_new_keyring: false,
            preserve_fds: 0,
        };
        let explanation = explain::explain(global, &creation)?;
        super::print(&match self.format {
            Format::Text => explanation.text(),
            Format::Json => serde_json::to_string_pretty(&explanation).unwrap_or_default() + "\n",
        })
        .map(|()| 0)
    }
}
