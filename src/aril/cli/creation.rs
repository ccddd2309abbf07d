//! The flags that `create` and `run` share.

use super::flags::{given, path};
use crate::lifecycle::{Creation, Id, extensions, notify};
use std::path::PathBuf;

/// What to make a container of.
#[derive(Debug, clap::Args)]
pub(super) struct Flags {
    /// Directory with config.json and the root file system
    #[arg(short, long, value_name = "DIR", value_parser = path(), default_value = ".", hide_default_value = true)]
    bundle: PathBuf,
    /// Configuration to use instead of the bundle's config.json
    #[arg(short = 'f', long, value_name = "FILE", value_parser = path())]
    config: Option<PathBuf>,
    /// Unix socket that gets the terminal's controlling side
    #[arg(long, value_name = "SOCKET", value_parser = path())]
    console_socket: Option<PathBuf>,
    /// Unix socket that gets the container's process as a pidfd
    #[arg(long, value_name = "SOCKET", value_parser = path())]
    pidfd_socket: Option<PathBuf>,
    /// File to write the process id of the container's process to
    #[arg(long, value_name = "FILE", value_parser = path())]
    pid_file: Option<PathBuf>,
    /// Move the root over / instead of pivoting to it: for a root on the initramfs, and less safe
    #[arg(long)]
    no_pivot: bool,
    /// Stay in the caller's session keyring
    #[arg(long)]
    no_new_keyring: bool,
    /// Pass on N open descriptors, from 3 on
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    preserve_fds: u32,
    /// Name of the new container
    #[arg(value_name = "ID")]
    id: Id,
}

impl From<Flags> for Creation {
    fn from(flags: Flags) -> Creation {
        Creation {
            id: flags.id,
            bundle: given(Some(flags.bundle)).unwrap_or_else(|| ".".into()),
            config: given(flags.config),
            console_socket: given(flags.console_socket),
            pidfd_socket: given(flags.pidfd_socket),
            pid_file: given(flags.pid_file),
            notify: notify::of_caller().is_some(),
            seccomp_receiver: extensions::receiver_of_caller(),
            no_pivot: flags.no_pivot,
            no_new_keyring: flags.no_new_keyring,
            preserve_fds: flags.preserve_fds,
        }
    }
}
