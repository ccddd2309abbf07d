//! In which state a container may be, and what may be done to it then.

use super::Id;
use std::fmt;

/// A container's status (runtime-spec, "State").
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// `create` is at work on it, or was killed at it.
    Creating,
    /// It waits for `start`.
    Created,
    /// The user's program runs.
    Running,
    /// It is frozen.
    Paused,
    /// Its process has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// A command that a container's status may forbid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `start`
    Start,
    /// `kill`
    Kill,
    /// `pause`
    Pause,
    /// `resume`
    Resume,
    /// `events`
    Watch,
    /// `delete`
    Delete,
    /// `delete --force`
    ForceDelete,
    /// `update`
    Update,
    /// `exec`
    Exec,
}

/// Why a command is refused. The texts are matched by managers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such container.
    #[error("container {id} does not exist: container does not exist")]
    Missing {
        /// The id asked for.
        id: Id,
    },
    /// There is one already.
    #[error("container with given ID already exists: {id}")]
    Exists {
        /// The id asked for.
        id: Id,
    },
    /// Its status forbids it.
    #[error("{}", self.sentence())]
    Status {
        /// The container.
        id: Id,
        /// What it is.
        status: Status,
        /// What was to be done.
        verb: Verb,
    },
    /// Another runtime made it.
    #[error(
        "container {id} in {root} belongs to {owner}, and aril leaves it alone: use `{owner} --root {root} delete --force {id}` to end it"
    )]
    Foreign {
        /// The container.
        id: Id,
        /// Whose it is: `runc`, `crun`, `youki`.
        owner: &'static str,
        /// The state root.
        root: String,
    },
}

impl Refused {
    fn sentence(&self) -> String {
        let Refused::Status { id, status, verb } = self else { return String::new() };
        match (verb, status) {
            (Verb::Start, Status::Running) => format!("cannot start an already running container: {id} is {status}"),
            (Verb::Start, Status::Paused) => format!("cannot start a paused container: {id} has to be resumed first"),
            (Verb::Start, Status::Stopped) => format!("cannot start a container that has stopped: {id}"),
            (Verb::Start, _) => format!("cannot start container {id}: it is {status}"),
            (Verb::Kill, _) => format!("container not running: no such process: {id} is {status}"),
            (Verb::Update, _) => format!("container not running: cannot update {id}, which is {status}"),
            (Verb::Exec, Status::Stopped) => format!("cannot exec in a stopped container: {id}"),
            (Verb::Exec, Status::Paused) => format!("cannot exec in a paused container (use --ignore-paused to override): {id}"),
            (Verb::Exec, _) => format!("cannot exec in container {id}: it is {status}"),
            (Verb::Pause, Status::Paused) => format!("container not running: {id} is paused already"),
            (Verb::Pause | Verb::Watch, _) => format!("container not running: {id} is {status}"),
            (Verb::Resume, _) => format!("container not paused: {id} is {status}"),
            (Verb::Delete | Verb::ForceDelete, _) => format!("cannot delete container {id} that is not stopped: {status}"),
        }
    }
}

/// Whether `verb` may be done to a container of this status: the transition table.
///
/// # Errors
/// [`Refused::Status`]
pub fn allow(id: &Id, status: Status, verb: Verb) -> Result<(), Refused> {
    let allowed = match verb {
        Verb::Start => matches!(status, Status::Created),
        Verb::Kill | Verb::Update | Verb::Watch => matches!(status, Status::Created | Status::Running | Status::Paused),
        // One that waits for `start` may be paused, and is then not started before it is resumed.
        Verb::Pause => matches!(status, Status::Created | Status::Running),
        Verb::Resume => matches!(status, Status::Paused),
        Verb::Delete => matches!(status, Status::Stopped),
        Verb::ForceDelete => true,
        Verb::Exec => matches!(status, Status::Created | Status::Running),
    };
    if allowed { Ok(()) } else { Err(Refused::Status { id: id.clone(), status, verb }) }
}
