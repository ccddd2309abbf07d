//! The command line: one file per command, with its flags and what it calls.
//!
//! Managers pass flags in the ways that Go's flag package takes them; [`argv`] brings these into one form before they are parsed.

mod argv;
mod create;
mod creation;
mod delete;
mod duration;
mod events;
mod exec;
mod explain;
mod features;
mod flags;
mod kill;
mod list;
mod name;
mod pause;
mod ps;
mod resume;
mod root;
mod run;
mod signal;
mod spec;
mod start;
mod state;
#[cfg(test)]
mod tests;
mod update;
mod usage;

use crate::error::{Error, Result};
use crate::host::refusal;
use crate::lifecycle::Global;
use crate::log::Log;
use crate::sys;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::mem::ManuallyDrop;

/// Run containers from OCI bundles
///
/// A bundle is a directory with a config.json and the container's root file system. Containers are known by an id of your choice.
#[derive(Debug, Parser)]
#[command(
    name = "aril",
    version = "",
    disable_version_flag = true,
    args_override_self = true,
    subcommand_value_name = "COMMAND",
    after_help = "Example: a shell in a container\n  mkdir -p box/rootfs && cp -r ROOT-FILE-SYSTEM/. box/rootfs\n  aril spec --bundle box\n  aril run --bundle box my-box\n\n`aril COMMAND --help` explains a command."
)]
struct Cli {
    #[command(flatten)]
    flags: flags::Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The commands: name, module, type.
macro_rules! commands {
    ($($name:literal $module:ident $command:ident,)*) => {
        // There is one.
        #[allow(clippy::large_enum_variant)]
        #[derive(Debug, Subcommand)]
        enum Command {
            $($command($module::$command),)*
        }

        impl Command {
            /// The definition of one command. To define them all costs some 50 µs more.
            fn named(name: &OsStr) -> Option<clap::Command> {
                match name.to_str()? {
                    $($name => Some($module::$command::augment_args(clap::Command::new($name))),)*
                    _ => None,
                }
            }

            fn name(&self) -> &'static str {
                match self {
                    $(Command::$command(_) => $name,)*
                }
            }

            fn run(self, global: &Global) -> Result<u8> {
                match self {
                    $(Command::$command(it) => it.run(global),)*
                }
            }
        }
    };
}

commands! {
    "create" create Create,
    "start" start Start,
    "exec" exec Exec,
    "state" state State,
    "kill" kill Kill,
    "delete" delete Delete,
    "run" run Run,
    "list" list List,
    "pause" pause Pause,
    "resume" resume Resume,
    "ps" ps Ps,
    "events" events Events,
    "spec" spec Spec,
    "explain" explain Explain,
    "features" features Features,
    "update" update Update,
}

/// Does what a command line says: its log, and the exit status.
///
/// # Errors
/// (In the second.) What made the command fail; the caller writes it to the log.
pub fn run(argv: Vec<OsString>) -> (Log, Result<u8>) {
    let (argv, parsed) = parse(argv);
    match parsed {
        Ok(cli) => cli.run(),
        Err(error) => match usage::answer(&error) {
            Some(text) => (Log::default(), print(&text).map(|()| 0)),
            None => (usage::log(&argv), Err(usage::error(&argv, &error))),
        },
    }
}

/// The command line in its one form, and what it says. It is parsed with the definition of its own command alone; one that is wrong is parsed
/// again with all of them, for the sake of the message.
fn parse(argv: Vec<OsString>) -> (Vec<OsString>, std::result::Result<Cli, clap::Error>) {
    let lean = flags::Flags::augment_args(clap::Command::new("aril").version("").disable_version_flag(true).args_override_self(true));
    let (argv, command) = argv::normalise(&lean, Command::named, argv);
    // Neither is freed: that takes a tenth of the time of parsing, and the kernel does it at the end.
    let parsed = command.and_then(|command| ManuallyDrop::new(lean.subcommand(command)).try_get_matches_from_mut(&argv).ok());
    let parsed = parsed.map_or_else(|| Cli::command().try_get_matches_from(&argv), Ok);
    (argv, parsed.and_then(|matches| Cli::from_arg_matches_mut(&mut ManuallyDrop::new(matches))))
}

impl Cli {
    fn run(self) -> (Log, Result<u8>) {
        let log = match self.flags.log() {
            Ok(log) => log,
            Err(error) => return (Log::default(), Err(error)),
        };
        let outcome = self.flags.global(log.clone()).and_then(|global| match self.command {
            Some(command) => {
                let name = command.name();
                command.run(&global).map_err(|error| named(name, error))
            }
            None => print(&Cli::command().render_help().to_string()).map(|()| 0),
        });
        (log, outcome.map_err(refusal::explained))
    }
}

/// The name of a call alone does not say what was to be done.
fn named(command: &str, error: Error) -> Error {
    match error {
        Error::Sys(_) => Error::Doing { what: format!("{command} failed"), at: None, source: Box::new(error) },
        other => other,
    }
}

/// The definition of all commands: for man pages and completions.
#[must_use]
pub fn definition() -> clap::Command {
    Cli::command()
}

/// Writes to standard output.
fn print(text: &str) -> Result<()> {
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(|error| sys::Error::bare("write to standard output", sys::fs::errno(&error)).into())
}
