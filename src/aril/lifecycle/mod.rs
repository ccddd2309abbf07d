//! What can be done to a container: one file per verb.

pub mod allocation;
pub mod compact;
pub mod create;
pub mod delete;
mod descriptors;
pub mod events;
pub mod exec;
pub mod exec_process;
pub mod explain;
pub mod extensions;
pub mod features;
pub mod filters;
pub mod foreign;
pub mod home;
pub mod id;
pub mod kill;
pub mod list;
pub mod lock;
pub mod matching;
mod members;
#[cfg(test)]
mod mutations;
pub mod network;
pub mod notify;
pub mod pause;
pub mod pidfd;
pub mod ps;
pub mod record;
pub mod refusals;
pub mod resctrl;
pub mod rootless;
pub mod run;
pub mod start;
pub mod state_file;
pub mod status;
pub mod store;
pub mod terminal;
pub mod unreaped;
pub mod update;
pub mod why;

pub use id::Id;
pub use status::{Refused, Status};

use std::path::PathBuf;

/// What every verb needs to know of the command line.
#[derive(Debug, Clone)]
pub struct Global {
    /// The state root: one directory per container below it.
    pub root: PathBuf,
    /// Who makes the cgroups of new containers.
    pub cgroup_manager: crate::cgroup::Manager,
    /// Where warnings go.
    pub log: crate::log::Log,
}

/// `create`, and the first half of `run`.
#[derive(Debug, Clone)]
pub struct Creation {
    /// The container's id.
    pub id: Id,
    /// The bundle directory.
    pub bundle: PathBuf,
    /// A configuration that is not the bundle's `config.json`.
    pub config: Option<PathBuf>,
    /// A unix socket that gets the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// A unix socket that gets the process as a pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// A file that gets the pid.
    pub pid_file: Option<PathBuf>,
    /// Whether a service manager waits for the container to be ready.
    pub notify: bool,
    /// A unix socket that gets the seccomp listener, where the configuration names none.
    pub seccomp_receiver: Option<PathBuf>,
    /// Move the root over `/` instead of `pivot_root(2)`: for a root on the initramfs.
    pub no_pivot: bool,
    /// Stay in the caller's session keyring.
    pub no_new_keyring: bool,
    /// So many descriptors from 3 on are the container's.
    pub preserve_fds: u32,
}

/// `run`.
#[derive(Debug, Clone)]
pub struct Running {
    /// What to create.
    pub creation: Creation,
    /// Do not wait for the process.
    pub detach: bool,
    /// Do not delete the container when its process has ended.
    pub keep: bool,
    /// Do not adopt the orphans of the container's process (it changes nothing while aril waits for that process alone).
    pub no_subreaper: bool,
}
