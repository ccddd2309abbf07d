//! A command line that cannot be: what is wrong with it, in one line.

use super::Cli;
use super::flags::Flags;
use crate::COMMIT;
use crate::config::SPEC_VERSION;
use crate::error::Error;
use crate::log::Log;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};
use std::ffi::OsString;

/// The text that was asked for, if it is no error at all: help, or the version.
pub(super) fn answer(error: &clap::Error) -> Option<String> {
    match error.kind() {
        ErrorKind::DisplayHelp => Some(error.to_string()),
        ErrorKind::DisplayVersion => Some(version()),
        _ => None,
    }
}

/// Docker takes what follows the last `version`, whatever the line: it stands on one line only.
pub(super) fn version() -> String {
    format!("aril version {}\ncommit: {COMMIT}\nspec: {SPEC_VERSION}\n", env!("CARGO_PKG_VERSION"))
}

/// The parser's complaint with a hint where to read on.
pub(super) fn error(argv: &[OsString], error: &clap::Error) -> Error {
    let cli = Cli::command();
    let command = argv.iter().skip(1).find_map(|word| cli.find_subcommand(word)).map(|command| format!("{} ", command.get_name()));
    Error::Other(format!("{}; see `aril {}--help`", complaint(error), command.unwrap_or_default()))
}

fn complaint(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    if let (ErrorKind::InvalidValue, Some(flag), Some("")) =
        (error.kind(), context(ContextKind::InvalidArg), context(ContextKind::InvalidValue))
    {
        // Podman asks whether a flag exists by leaving out its value, and knows the answer by these words.
        return format!("flag needs an argument: {flag}");
    }
    let text = error.to_string();
    let what: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let tips = text.lines().filter_map(|line| line.trim().strip_prefix("tip: ").filter(|tip| tip.contains("similar")));
    let tips = tips.map(|tip| format!(" ({tip})"));
    what.join(" ").trim_start_matches("error: ").to_owned() + &tips.collect::<String>()
}

/// The log that a wrong command line names, if that much of it can be understood.
pub(super) fn log(argv: &[OsString]) -> Log {
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(argv);
    let flags = matches.and_then(|matches| Flags::from_arg_matches(&matches));
    flags.ok().and_then(|flags| flags.log().ok()).unwrap_or_default()
}
