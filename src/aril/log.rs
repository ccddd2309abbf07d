//! The log: `--log FILE --log-format text|json --log-level LEVEL`.
//!
//! Podman parses the whole file as one JSON object, so a command that fails writes one line. Warnings are therefore held back until the
//! command has done its work; if it fails, they are part of the error's line.

use crate::error::{Error, Result};
use crate::lifecycle::{Refused, Status};
use crate::sys::{self, Errno};
use nix::fcntl::{self, OFlag};
use nix::sys::stat::Mode;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// How a line of the log file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// `time="…" level=error msg="…"`, as logrus writes it.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, clap::ValueEnum)]
pub enum Level {
    /// Nothing but what made a command fail.
    Error,
    /// Warnings too.
    #[default]
    #[value(alias = "warn", alias = "info")]
    Warning,
    /// The same: there is nothing below a warning so far.
    Debug,
}

/// Where warnings and the final error go: standard error, or a file. Clones are the same log.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    file: Option<File>,
    format: Format,
    level: Level,
    held: Mutex<Vec<String>>,
}

/// One line of the log. The keys after `time` are there where the error knows them.
#[derive(Debug, serde::Serialize)]
struct Record {
    level: &'static str,
    msg: String,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl Log {
    /// A log into the file at `path`, which is made if it is absent and appended to if it is there.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path, format: Format, level: Level) -> Result<Log> {
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let file = fcntl::open(path, flags, Mode::from_bits_truncate(0o644)).map_err(|errno| Error::Doing {
            what: "cannot open the log".to_owned(),
            at: None,
            source: Box::new(sys::Error::new("open", path, errno).into()),
        })?;
        Ok(Log(Arc::new(Inner { file: Some(file.into()), format, level, ..Inner::default() })))
    }

    /// A log to standard error.
    #[must_use]
    pub fn to_stderr(level: Level) -> Log {
        Log(Arc::new(Inner { level, ..Inner::default() }))
    }

    /// Warns, in one sentence. It is written by [`Log::flush`], or with the error of [`Log::error`].
    pub fn warn(&self, message: &str) {
        if self.0.level >= Level::Warning {
            self.held().push(one_line(message));
        }
    }

    /// Writes the warnings: the command has done its work. A foreground `run` does so once its container runs.
    pub fn flush(&self) {
        for warning in self.held().drain(..) {
            match &self.0.file {
                Some(file) => append(file, &Record::warning(warning).line(self.0.format)),
                None => say(&format!("aril: warning: {warning}\n")),
            }
        }
    }

    /// The final error of a command: one line on standard error, and one in the log file. On a terminal, advice follows.
    pub fn error(&self, error: &Error) {
        let mut record = Record::error(error);
        record.warnings.append(&mut self.held());
        let mut text = format!("aril: {}\n", record.msg);
        if let Some(hint) = record.hint.filter(|_| std::io::stderr().is_terminal()) {
            let _ = writeln!(text, "hint: {hint}");
        }
        say(&text);
        if let Some(file) = &self.0.file {
            append(file, &record.line(self.0.format));
        }
    }

    fn held(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn new(level: &'static str, msg: String) -> Record {
        let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        Record { level, msg, time, step: None, at: None, errno: None, hint: None, warnings: Vec::new() }
    }

    fn warning(msg: String) -> Record {
        Record::new("warning", msg)
    }

    fn error(error: &Error) -> Record {
        Record {
            step: step(error),
            at: error.at().map(ToString::to_string),
            errno: error.errno().map(|errno| format!("{errno:?}")),
            hint: hint(error),
            ..Record::new("error", one_line(&error.chain()))
        }
    }

    /// The record on one line, with its newline.
    fn line(&self, format: Format) -> String {
        match format {
            Format::Json => serde_json::to_string(self).unwrap_or_default() + "\n",
            Format::Text => {
                let mut line = format!("time={:?} level={} msg={:?}", self.time, self.level, self.msg);
                let rest = [("step", &self.step), ("at", &self.at), ("errno", &self.errno), ("hint", &self.hint.map(str::to_owned))];
                for (key, value) in rest.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
                    let _ = write!(line, " {key}={value:?}");
                }
                for warning in &self.warnings {
                    let _ = write!(line, " warning={warning:?}");
                }
                line + "\n"
            }
        }
    }
}

/// The same text with every control character escaped: it stays on one line and cannot command a terminal.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// A log that cannot be written has nowhere to say so.
fn append(mut file: &File, line: &str) {
    let _ = file.write_all(line.as_bytes());
}

fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The executor's step that failed, in words.
fn step(error: &Error) -> Option<String> {
    match error {
        Error::Fault(fault) => Some(fault.step.to_string()),
        Error::Doing { source, .. } => step(source),
        _ => None,
    }
}

/// Advice by errno and by a word of the message; the first that fits is given.
const HINTS: &[(Errno, &str, &str)] = &[
    (Errno::ENOENT, "config.json", "name the bundle with --bundle; `aril spec` writes a config.json to begin with"),
    (Errno::ENOEXEC, "", "the program is built for another architecture, or is a script without a #! line"),
    (Errno::ENOSPC, "clone3", "a limit on namespaces is reached: see /proc/sys/user/max_*_namespaces"),
    (Errno::ENOSPC, "unshare", "a limit on namespaces is reached: see /proc/sys/user/max_*_namespaces"),
    (Errno::EPERM, "rlimit", "to raise a hard limit needs CAP_SYS_RESOURCE"),
    (Errno::ENOSYS, "", "the kernel or an outer seccomp filter lacks this system call; aril needs Linux 5.14"),
];

/// What a user can do about it, where that is known.
fn hint(error: &Error) -> Option<&'static str> {
    if let Some(refused) = refused(error) {
        return match refused {
            Refused::Missing { .. } => Some("`aril list` shows the containers below the state root, which --root chooses"),
            Refused::Exists { .. } => Some("choose another id, or remove that container with `aril delete`"),
            Refused::Status { status: Status::Created | Status::Running | Status::Paused, .. } => {
                Some("`aril kill ID KILL` ends it, `aril delete --force ID` ends and removes it")
            }
            _ => None,
        };
    }
    let (errno, text) = (error.errno()?, error.chain().to_ascii_lowercase());
    let known = HINTS.iter().find(|(on, word, _)| *on == errno && text.contains(word)).map(|(_, _, advice)| *advice);
    known.or_else(|| {
        let unprivileged = matches!(errno, Errno::EPERM | Errno::EACCES) && sys::process::geteuid() != 0;
        unprivileged.then_some(
            "without root a container needs a user namespace with id mappings: `aril spec --rootless` writes such a configuration",
        )
    })
}

fn refused(error: &Error) -> Option<&Refused> {
    match error {
        Error::Refused(refused) => Some(refused),
        Error::Doing { source, .. } => refused(source),
        _ => None,
    }
}
