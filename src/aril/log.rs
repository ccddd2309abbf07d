//! The log: `--log FILE --log-format text|json --log-level LEVEL`.
//!
//! Podman parses the whole file as one JSON object, so a command that fails writes one line. Warnings are therefore held back until the
//! command has done its work; if it fails, they are part of the error's line.

use crate::error::{Doing, Error, Result};
use crate::lifecycle::{Refused, Status};
use crate::sys::{self, Errno};
use nix::fcntl::OFlag;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{IsTerminal, Write};
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
    /// What is of use to whoever looks for a reason, too.
    Debug,
}

/// Where warnings and the final error go: standard error, or a file. Clones are the same log.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Inner>);

/// What takes the lines that do not go to standard error.
#[derive(Debug)]
enum Sink {
    File(File),
    /// journald (systemd.journal-fields(7)), with this as the field `ID`.
    Journal(String),
    /// syslog(3), with this before the line.
    Syslog(String),
}

const WARNING: &str = "warning";
const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";

#[derive(Debug, Default)]
struct Inner {
    sink: Option<Sink>,
    format: Format,
    level: Level,
    held: Mutex<Vec<(&'static str, String)>>,
}

/// One line of the log. The keys after `time` are there where the error knows them.
#[derive(Debug, serde::Serialize)]
struct Record {
    level: &'static str,
    msg: String,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u32>,
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
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NOCTTY;
        let file = sys::fs::open(path, flags, 0o644).doing(|| "cannot open the log".to_owned())?;
        Ok(Log::to(Sink::File(file.into()), format, level))
    }

    /// A log into journald, whose entries have `id` as their field `ID`.
    ///
    /// # Errors
    /// It does not listen.
    pub fn journal(id: &str, level: Level) -> Result<Log> {
        reachable(JOURNAL)?;
        Ok(Log::to(Sink::Journal(id.to_owned()), Format::Text, level))
    }

    /// A log into syslog, whose lines begin with `id`.
    ///
    /// # Errors
    /// It does not listen.
    pub fn syslog(id: &str, level: Level) -> Result<Log> {
        reachable(SYSLOG)?;
        Ok(Log::to(Sink::Syslog(id.to_owned()), Format::Text, level))
    }

    fn to(sink: Sink, format: Format, level: Level) -> Log {
        Log(Arc::new(Inner { sink: Some(sink), format, level, ..Inner::default() }))
    }

    /// A log to standard error.
    #[must_use]
    pub fn to_stderr(level: Level) -> Log {
        Log(Arc::new(Inner { level, ..Inner::default() }))
    }

    /// Warns, in one sentence. It is written by [`Log::flush`], or with the error of [`Log::error`].
    pub fn warn(&self, message: &str) {
        if self.0.level >= Level::Warning {
            self.held().push((WARNING, one_line(message)));
        }
    }

    /// Says something of use to whoever looks for a reason. It is written with the warnings; the line of an error has no room for it.
    pub fn debug(&self, message: &str) {
        if self.0.level >= Level::Debug {
            self.held().push(("debug", one_line(message)));
        }
    }

    /// Writes the warnings: the command has done its work. A foreground `run` does so once its container runs.
    pub fn flush(&self) {
        self.flush_to(&mut std::io::stderr());
    }

    /// Writes the warnings, but not to standard error, where somebody would take them for what a container's process says.
    pub fn flush_to_file(&self) {
        self.flush_to(&mut std::io::sink());
    }

    /// The final error of a command: one line on standard error, and one in the log file. On a terminal, advice follows.
    pub fn error(&self, error: &Error) {
        self.error_to(&mut std::io::stderr(), std::io::stderr().is_terminal(), error);
    }

    fn flush_to(&self, stderr: &mut dyn Write) {
        for (level, message) in self.held().drain(..) {
            match &self.0.sink {
                Some(sink) => sink.put(&Record::new(level, message), self.0.format),
                None => write(stderr, &format!("aril: {level}: {message}\n")),
            }
        }
    }

    fn error_to(&self, stderr: &mut dyn Write, terminal: bool, error: &Error) {
        let mut record = Record::error(error);
        record.warnings.extend(self.held().drain(..).filter(|(level, _)| *level == WARNING).map(|(_, message)| message));
        write(stderr, &format!("aril: {}\n", record.msg));
        if let Some(hint) = record.hint.filter(|_| terminal) {
            write(stderr, &format!("hint: {hint}\n"));
        }
        if let Some(sink) = &self.0.sink {
            sink.put(&record, self.0.format);
        }
    }

    fn held(&self) -> MutexGuard<'_, Vec<(&'static str, String)>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether somebody listens: a log that nobody gets is to be known of at once.
fn reachable(socket: &str) -> Result<()> {
    let exists = std::fs::metadata(socket).map_err(|error| sys::Error::new("stat", socket, sys::fs::errno(&error)));
    exists.map(drop).doing(|| "cannot open the log".to_owned())
}

impl Sink {
    /// In one write, so that lines of several commands do not mix. A log that cannot be written has nowhere to say so.
    fn put(&self, record: &Record, format: Format) {
        // syslog(3)
        let priority = match record.level {
            "error" => 3,
            WARNING => 4,
            _ => 7,
        };
        let _ = match self {
            Sink::File(file) => return write(&mut &*file, &record.line(format)),
            Sink::Journal(id) => {
                let fields = format!("MESSAGE={}\nPRIORITY={priority}\nSYSLOG_IDENTIFIER=aril\nID={}\n", record.msg, one_line(id));
                sys::socket::send_datagram_to(JOURNAL.as_ref(), fields.as_bytes(), &[])
            }
            Sink::Syslog(id) => {
                // The facility is "user", 1.
                let line = format!("<{}>{}[{}]: {}", 8 + priority, one_line(id), std::process::id(), record.msg);
                sys::socket::send_datagram_to(SYSLOG.as_ref(), line.as_bytes(), &[])
            }
        };
    }
}

impl Record {
    fn new(level: &'static str, msg: String) -> Record {
        let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        Record { level, msg, time, step: None, at: None, errno: None, hint: None, warnings: Vec::new() }
    }

    fn error(error: &Error) -> Record {
        Record {
            step: step(error),
            at: error.at().map(ToString::to_string),
            errno: error.errno().filter(|errno| *errno != Errno::UnknownErrno).map(|errno| format!("{errno:?}")),
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
                let step = self.step.map(|step| step.to_string());
                let rest = [("step", step.as_deref()), ("at", self.at.as_deref()), ("errno", self.errno.as_deref()), ("hint", self.hint)];
                for (key, value) in rest.into_iter().filter_map(|(key, value)| Some((key, value?))) {
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

/// In one write, so that lines of several commands do not mix. A log that cannot be written has nowhere to say so.
fn write(to: &mut dyn Write, line: &str) {
    let _ = to.write_all(line.as_bytes());
}

/// The executor's step that failed, by the number that `aril explain` shows.
fn step(error: &Error) -> Option<u32> {
    match error {
        Error::Fault(fault) => Some(fault.step),
        Error::Doing { source, .. } | Error::Limit { source, .. } | Error::Exec(source) => step(source),
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
    (Errno::EPERM, "keyctl", "--no-new-keyring leaves the container the session keyring of its caller"),
];

/// What a user can do about it, where that is known.
fn hint(error: &Error) -> Option<&'static str> {
    if let Some(hint) = error.hint() {
        return Some(hint);
    }
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
        unprivileged.then_some("without root not everything can be had: `aril spec --rootless` writes a configuration that can")
    })
}

fn refused(error: &Error) -> Option<&Refused> {
    match error {
        Error::Refused(refused) => Some(refused),
        Error::Doing { source, .. } => refused(source),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Format, Level, Log, one_line};
    use crate::config::Pointer;
    use crate::error::Error;
    use crate::sys::{self, Errno};
    use serde_json::Value;
    use std::path::PathBuf;

    fn failure() -> Error {
        let cause = sys::Error::new("open_tree", "/srv/\"data\"", Errno::ENOENT);
        Error::Doing { what: "cannot mount /data\nline two".to_owned(), at: Some(Pointer::to("/mounts/7")), source: Box::new(cause.into()) }
    }

    /// What `act` leaves in the log file and on standard error.
    fn written(name: &str, format: Format, level: Level, act: impl FnOnce(&Log, &mut Vec<u8>)) -> (String, String) {
        let path: PathBuf = std::env::temp_dir().join(format!("aril-log-{}-{name}", std::process::id()));
        let log = Log::open(&path, format, level).expect("the file can be made");
        let mut stderr = Vec::new();
        act(&log, &mut stderr);
        let file = std::fs::read_to_string(&path).expect("it is there");
        std::fs::remove_file(&path).expect("it is ours");
        (file, String::from_utf8(stderr).expect("it is text"))
    }

    #[test]
    fn a_failure_is_one_json_line_with_its_warnings() {
        let (file, stderr) = written("json", Format::Json, Level::Warning, |log, stderr| {
            log.clone().warn("capability \"CAP_FOO\" is unknown");
            log.error_to(stderr, false, &failure());
        });
        assert_eq!(file.matches('\n').count(), 1, "{file}");
        let line: Value = serde_json::from_str(&file).expect("the whole file is one object");
        let msg = r#"cannot mount /data\nline two (/mounts/7): open_tree "/srv/\"data\"": no such file or directory"#;
        assert_eq!(line["level"], "error");
        assert_eq!(line["at"], "/mounts/7");
        assert_eq!(line["errno"], "ENOENT");
        assert_eq!(line["warnings"][0], "capability \"CAP_FOO\" is unknown");
        humantime::parse_rfc3339(line["time"].as_str().unwrap_or_default()).expect("RFC 3339");
        assert_eq!(line["msg"], msg);
        assert_eq!(stderr, format!("aril: {msg}\n"));
    }

    #[test]
    fn a_failure_in_text() {
        let (file, _) = written("text", Format::Text, Level::Warning, |log, stderr| {
            log.error_to(stderr, false, &Error::Other("a \"b\"\nc".to_owned()));
        });
        let (time, rest) = file.split_once(' ').expect("there are fields");
        assert!(time.starts_with("time=\"2"), "{file}");
        assert_eq!(rest, "level=error msg=\"a \\\"b\\\"\\\\nc\"\n");
    }

    #[test]
    fn warnings_of_a_success() {
        let warn = |log: &Log, stderr: &mut Vec<u8>| {
            log.warn("one");
            log.warn("two");
            log.flush_to(stderr);
            log.flush_to(stderr);
        };
        let (file, stderr) = written("warnings", Format::Json, Level::Warning, warn);
        let messages: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).expect("a line is an object")).collect();
        assert_eq!(
            messages.iter().map(|line| (line["level"].as_str(), line["msg"].as_str())).collect::<Vec<_>>(),
            [(Some("warning"), Some("one")), (Some("warning"), Some("two"))]
        );
        assert_eq!(stderr, "");
        assert_eq!(written("quiet", Format::Json, Level::Error, warn), (String::new(), String::new()));
        let mut stderr = Vec::new();
        warn(&Log::to_stderr(Level::Warning), &mut stderr);
        assert_eq!(String::from_utf8_lossy(&stderr), "aril: warning: one\naril: warning: two\n");
    }

    #[test]
    fn lines_are_appended() {
        let (file, _) = written("append", Format::Text, Level::Warning, |_, stderr| {
            let path = std::env::temp_dir().join(format!("aril-log-{}-append", std::process::id()));
            for _ in 0..2 {
                Log::open(&path, Format::Text, Level::Warning).expect("it is there").error_to(stderr, false, &failure());
            }
        });
        assert_eq!(file.lines().count(), 2);
    }

    #[test]
    fn a_terminal_gets_advice_and_no_commands() {
        let mut stderr = Vec::new();
        let missing = crate::lifecycle::Refused::Missing { id: crate::lifecycle::Id::new("web").expect("an id") };
        Log::default().error_to(&mut stderr, true, &missing.into());
        let text = String::from_utf8_lossy(&stderr).into_owned();
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().nth(1).is_some_and(|line| line.starts_with("hint: ") && line.contains("aril list")), "{text}");
        assert_eq!(one_line("a\x1b[31m\r\n\tb\n"), "a\\u{1b}[31m\\r\\n\\tb");
    }
}
