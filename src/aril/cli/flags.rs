//! The flags before the command.

use super::root;
use crate::cgroup::Manager;
use crate::error::Result;
use crate::lifecycle::Global;
use crate::log::{Format, Level, Log};
use clap::builder::{OsStringValueParser, TypedValueParser, ValueParser};
use clap::{ArgAction, ValueEnum};
use std::path::{Path, PathBuf};

/// Flags that every command knows.
#[derive(Debug, clap::Args)]
pub(super) struct Flags {
    /// Directory for the state of containers [default: /run/aril; without root, $XDG_RUNTIME_DIR/aril]
    #[arg(long, value_name = "DIR", value_parser = path())]
    root: Option<PathBuf>,
    /// File that warnings and errors are appended to, journald:ID or syslog:ID; errors go to standard error as well
    #[arg(long, value_name = "LOG", value_parser = path())]
    log: Option<PathBuf>,
    /// How lines of the log are written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    log_format: Format,
    /// What is logged
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t)]
    log_level: Level,
    /// The same as --log-level debug
    #[arg(long)]
    debug: bool,
    /// Have systemd make the cgroups (cgroupsPath is then slice:prefix:name)
    #[arg(long)]
    systemd_cgroup: bool,
    /// Who makes the cgroups; stronger than --systemd-cgroup
    #[arg(long, value_name = "MANAGER", value_enum)]
    cgroup_manager: Option<Manager>,
    /// Accepted for other runtimes' callers: aril sees for itself what it may do
    #[arg(long, value_name = "WHETHER", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    rootless: Option<Rootless>,
    /// Accepted for other runtimes' callers, and ignored
    #[arg(long, value_name = "PATH", value_parser = path(), hide = true)]
    criu: Option<PathBuf>,
    /// Print the version
    #[arg(short = 'v', short_alias = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rootless {
    True,
    False,
    Auto,
}

/// A path; an empty one is as good as none, see [`given`].
pub(super) fn path() -> ValueParser {
    OsStringValueParser::new().map(PathBuf::from).into()
}

/// The path of a flag. Callers pass an empty one for none.
pub(super) fn given(path: Option<PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
}

impl Flags {
    /// Opens the log.
    ///
    /// # Errors
    /// It cannot be opened, or is no file.
    pub(super) fn log(&self) -> Result<Log> {
        let level = if self.debug { Level::Debug } else { self.log_level };
        let Some(path) = given(self.log.clone()) else { return Ok(Log::to_stderr(level)) };
        match path.to_str().and_then(|text| text.split_once(':')) {
            Some(("journald", id)) => Log::journal(id, level),
            Some(("syslog", id)) => Log::syslog(id, level),
            Some(("file", file)) => Log::open(Path::new(file), self.log_format, level),
            _ => Log::open(&path, self.log_format, level),
        }
    }

    /// What the verbs need to know of these flags.
    ///
    /// # Errors
    /// The state root cannot be one.
    pub(super) fn global(&self, log: Log) -> Result<Global> {
        let by_switch = if self.systemd_cgroup { Manager::Systemd } else { Manager::default() };
        let cgroup_manager = self.cgroup_manager.unwrap_or(by_switch);
        Ok(Global { root: root::resolve(given(self.root.clone()))?, cgroup_manager, log })
    }
}
