//! `aril exec`

use super::flags::{given, path};
use crate::cgroup::join::Below;
use crate::config::spec::Capability;
use crate::error::Result;
use crate::lifecycle::exec::Execution;
use crate::lifecycle::exec_process::{Said, capability};
use crate::lifecycle::{self, Global, Id};
use std::path::PathBuf;

/// Run another process in a running container
///
/// It is as the container's own process, but for what is said here. Ends with the status of the process, or 128 + N if signal N ended it; with
/// 255 if it could not be started.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aril exec web ps\n  aril exec --tty --env TERM=$TERM web sh\n  aril exec --detach --process probe.json --pid-file /run/probe.pid web"
)]
pub(super) struct Exec {
    /// File that describes the process, as `process` of a config.json does
    #[arg(short, long, value_name = "FILE", value_parser = path())]
    process: Option<PathBuf>,
    /// Working directory
    #[arg(long, value_name = "DIR", value_parser = path())]
    cwd: Option<PathBuf>,
    /// Variable that it has besides; repeat for more
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Unix socket that gets the terminal's controlling side
    #[arg(long, value_name = "SOCKET", value_parser = path())]
    console_socket: Option<PathBuf>,
    /// Unix socket that gets the process as a pidfd
    #[arg(long, value_name = "SOCKET", value_parser = path())]
    pidfd_socket: Option<PathBuf>,
    /// User id, and group id
    #[arg(short, long, value_name = "UID[:GID]", value_parser = user)]
    user: Option<(u32, Option<u32>)>,
    /// Group that it has besides; repeat for more
    #[arg(short = 'g', long, value_name = "GID", value_parser = id, value_delimiter = ',')]
    additional_gids: Vec<u32>,
    /// Return as soon as it runs
    #[arg(short, long)]
    detach: bool,
    /// File to write its process id to
    #[arg(long, value_name = "FILE", value_parser = path())]
    pid_file: Option<PathBuf>,
    /// SELinux label
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// It and its children gain no privileges by set-user-id programs
    #[arg(long)]
    no_new_privs: bool,
    /// Capability that it has besides; repeat for more
    #[arg(short, long, value_name = "NAME", value_parser = capability)]
    cap: Vec<Capability>,
    /// Pass on N open descriptors, from 3 on
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    preserve_fds: u32,
    /// Wait until a paused container is resumed
    #[arg(long)]
    ignore_paused: bool,
    /// Cgroup below the container's to run it in; repeat for those of v1
    #[arg(long, value_name = "[CONTROLLER[,CONTROLLER]:]PATH")]
    cgroup: Vec<Below>,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub(super) id: Id,
    /// Program and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// A user or group id: decimal digits, and not the one that means none.
fn id(text: &str) -> std::result::Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && *number != u32::MAX);
    number.ok_or_else(|| "not an id: a decimal number from 0 to 4294967294 is one".to_owned())
}

fn user(text: &str) -> std::result::Result<(u32, Option<u32>), String> {
    match text.split_once(':') {
        None => Ok((id(text)?, None)),
        Some((uid, gid)) => Ok((id(uid)?, Some(id(gid)?))),
    }
}

impl From<Exec> for Execution {
    fn from(it: Exec) -> Execution {
        let process = Said {
            file: given(it.process),
            args: it.command,
            cwd: given(it.cwd),
            env: it.env,
            terminal: it.tty,
            uid: it.user.map(|(uid, _)| uid),
            gid: it.user.and_then(|(_, gid)| gid),
            additional_gids: it.additional_gids,
            selinux_label: it.process_label,
            apparmor_profile: it.apparmor,
            no_new_privileges: it.no_new_privs,
            capabilities: it.cap,
        };
        Execution {
            id: it.id,
            process,
            detach: it.detach,
            console_socket: given(it.console_socket),
            pidfd_socket: given(it.pidfd_socket),
            pid_file: given(it.pid_file),
            preserve_fds: it.preserve_fds,
            ignore_paused: it.ignore_paused,
            cgroups: it.cgroup,
        }
    }
}

impl Exec {
    pub(super) fn run(self, global: &Global) -> Result<u8> {
        lifecycle::exec::exec(global, &self.into())
    }
}
