//! The host's side of the talk with the executor: see `aril_plan::talk`, where the protocol is drawn.

use crate::compile::Plan;
use crate::compile::describe;
use crate::config::Pointer;
use crate::error::{Error, Result};
use crate::sys::{self, Errno, socket};
use aril_plan::Op;
use aril_plan::talk::{About, DETAIL_MAX, Report};
use std::fmt;
use std::os::fd::OwnedFd;

/// A step that failed in the executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The step's number.
    pub step: u32,
    /// The part of the configuration that it is for.
    pub at: Pointer,
    /// What was attempted.
    pub what: String,
    /// The call that failed, with its object.
    pub call: String,
    /// Why; 0 where `detail` says it.
    pub errno: Errno,
    /// Further words: what the file system said, what a hook wrote, which path was tried.
    pub detail: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { what, at, detail, .. } = self;
        // Managers match the words of these two.
        if self.call == NOT_FOUND {
            return write!(f, "{what}: {NOT_FOUND}: no such file or directory ({at})");
        }
        if self.errno == Errno::ENOENT && what.starts_with("exec: ") {
            return write!(f, "{what}: stat {detail}: no such file or directory ({at})");
        }
        write!(f, "{what} ({at})")?;
        if self.errno == Errno::UnknownErrno {
            return write!(f, ": {detail}");
        }
        let errno = sys::text(self.errno);
        match self.detail.as_str() {
            "" => write!(f, ": {}: {errno}", self.call),
            detail => write!(f, ": {}: {errno} ({detail})", self.call),
        }
    }
}

impl std::error::Error for Fault {}

const NOT_FOUND: &str = "executable file not found in $PATH";

/// What a step is for, in a form that outlives the plan: `start` names a failing step by it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Label {
    /// The step's number.
    pub step: u32,
    /// JSON pointer.
    pub at: String,
    /// What is attempted.
    pub what: String,
    /// The step's own object, if it has one.
    pub object: Option<String>,
    /// Whether it looks for the program in `PATH`.
    pub search: bool,
}

impl Label {
    /// Of a step of a plan.
    #[must_use]
    pub fn of(plan: &Plan, step: u32) -> Label {
        match plan.step(step) {
            Some((part, op)) => Label::new(step, part, &op),
            None => Label { step, at: String::new(), what: "cannot run the plan".to_owned(), object: None, search: false },
        }
    }

    fn new(step: u32, part: &crate::compile::Part, op: &Op<'_>) -> Label {
        let search =
            matches!(op, Op::Find { candidates } if candidates.len() > 1 || !candidates.iter().any(|c| c.to_bytes().contains(&b'/')));
        Label { step, at: part.at.as_str().to_owned(), what: part.what.clone(), object: describe::object(op), search }
    }

    /// Of every step after the container is created: what `start` may hear of.
    #[must_use]
    pub fn after_created(plan: &Plan) -> Vec<Label> {
        let steps = (0..).zip(plan.steps());
        let after = steps.skip_while(|(_, (_, op))| !matches!(op, Op::Created { .. })).skip(1);
        after.map(|(step, (part, op))| Label::new(step, part, &op)).collect()
    }

    /// The fault that a report speaks of.
    #[must_use]
    pub fn fault(&self, report: &Report, detail: String) -> Fault {
        let errno = if report.value == 0 { Errno::UnknownErrno } else { Errno::from_raw(report.value) };
        let call = usize::try_from(report.call).ok().and_then(syscalls::Sysno::new).map_or("?", |call| call.name());
        let call = match (&self.object, errno) {
            (_, Errno::ENOENT) if self.search => NOT_FOUND.to_owned(),
            (Some(object), _) => format!("{call} {object}"),
            (None, _) => call.to_owned(),
        };
        Fault { step: self.step, at: Pointer::to(&self.at), what: self.what.clone(), call, errno, detail }
    }
}

/// What the executor says.
#[derive(Debug)]
pub enum Heard {
    /// A report, and the descriptor that came with it.
    Report(Report, Option<OwnedFd>),
    /// A step failed; the report, and its words.
    Fault(Report, String),
    /// End of stream.
    Silence,
}

/// Waits for the executor's next word.
///
/// # Errors
/// The errno of the socket; a report that is none.
pub fn hear(talk: &OwnedFd) -> Result<Heard> {
    let mut bytes = [0; Report::LEN];
    let file = match socket::receive(talk, &mut bytes) {
        Ok(Some(file)) => file,
        // A reset is an end of stream, too: the executor died with our words unread.
        Ok(None) | Err(sys::Error { errno: Errno::ECONNRESET, .. }) => return Ok(Heard::Silence),
        Err(other) => return Err(other.into()),
    };
    let report = Report::from_bytes(&bytes).ok_or_else(|| Error::Other("the executor sent what is no report".to_owned()))?;
    if report.about != About::Fault {
        return Ok(Heard::Report(report, file));
    }
    let mut detail = vec![0; usize::try_from(report.detail).unwrap_or(0).min(DETAIL_MAX)];
    if !detail.is_empty() {
        socket::receive(talk, &mut detail)?;
    }
    Ok(Heard::Fault(report, String::from_utf8_lossy(&detail).trim().to_owned()))
}

/// Answers.
///
/// # Errors
/// The errno of the socket: `EPIPE` where the executor is dead.
pub fn answer(talk: &OwnedFd, bytes: &[u8]) -> Result<()> {
    let len = u32::try_from(bytes.len()).map_err(|_| Error::Other("the answer to the executor is too long".to_owned()))?;
    Ok(socket::send(talk, &[&len.to_le_bytes(), bytes].concat(), &[])?)
}
