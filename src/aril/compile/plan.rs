//! The plan: what the executor will do, and what the host has to open for it first.

use crate::config::Pointer;
use crate::sys::mount::Change;
use aril_plan::talk::Header;
use aril_plan::{Ask, In, List, Op, Slot, Wire};
use std::ffi::{CStr, CString};
use std::os::fd::RawFd;
use std::path::PathBuf;

/// Something that the host opens and passes on to the executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A detached copy of what is at a path of the host, with these attributes and this propagation.
    Tree {
        /// The path.
        path: PathBuf,
        /// With all mounts below it.
        recursive: bool,
        /// For this mount alone.
        change: Change,
        /// For it and all mounts below it.
        recursive_change: Change,
        /// A link at the end of the path is not followed.
        nofollow: bool,
        /// Owners are mapped.
        idmap: Option<Idmap>,
    },
    /// The same of a directory of the container's cgroup: the place of the hierarchy in `Place`.
    Cgroup {
        /// Which hierarchy.
        hierarchy: usize,
        /// `MOUNT_ATTR_*`
        attr: u64,
    },
    /// A namespace.
    Namespace {
        /// The path, e.g. `/proc/1/ns/net`.
        path: PathBuf,
        /// `CLONE_NEW*`
        kind: u32,
    },
    /// The machine's null device, checked to be that.
    Null,
    /// A procfs of the host's own pid namespace: a user namespace that shares it cannot make one.
    Proc,
    /// The socket on which `start` will be heard.
    Gate,
    /// A pidfd of the container's first process.
    First,
    /// A file that is appended to, and made if it is not there.
    Log {
        /// The path.
        path: PathBuf,
    },
    /// A directory.
    Directory {
        /// The path.
        path: PathBuf,
    },
}

/// Something that the host opens while the executor waits: a copy, made at its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The number of the step that asks for it, perhaps with others.
    pub asked: usize,
    /// The number of the step that receives it.
    pub received: usize,
    /// The part that it is for.
    pub part: usize,
    /// What it is.
    pub source: Source,
}

/// How the owners of files on a mount are mapped (mount_setattr(2), "ID-mapped mounts").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idmap {
    /// On the mounts below it, too.
    pub recursive: bool,
    /// By which user namespace.
    pub by: Userns,
}

/// A user namespace, for its maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Userns {
    /// One with these, as `/proc/PID/uid_map` and `/proc/PID/gid_map` take them.
    Maps {
        /// User ids.
        uids: Vec<u8>,
        /// Group ids.
        gids: Vec<u8>,
    },
    /// One that exists.
    Existing(PathBuf),
}

/// What belongs together: the part of the configuration that wants it, and what is attempted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where in the configuration.
    pub at: Pointer,
    /// A clause: `cannot mount /data`.
    pub what: String,
}

/// Whether the host makes the network namespace while the executor is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// It does not: there is none to make, or it belongs to the container's user namespace.
    #[default]
    None,
    /// It does, and the steps so far do not join it.
    Due,
    /// It does.
    Joined,
}

/// A compiled container.
#[derive(Debug, Default)]
pub struct Plan {
    /// `CLONE_NEW*` of the executor's own `clone3(2)`.
    pub namespaces: u32,
    /// The network namespace.
    pub network: Network,
    /// Whether the root is mounted over the root file system in the host's own mount namespace, from where it has to be taken away again.
    pub on_host: bool,
    /// What the host opens, with the part that each is for.
    pub sources: Vec<(usize, Source)>,
    /// What the host opens later, in the order in which it is received.
    pub copies: Vec<Copied>,
    /// The parts, in order.
    pub parts: Vec<Part>,
    /// The seccomp filter that the plan loads.
    pub filter: Option<super::seccomp::Filter>,
    /// What is to be warned of, one sentence each.
    pub warnings: Vec<String>,
    /// The step that asked for copies, while no other mount was made after it.
    asked: Option<usize>,
    steps: Vec<u8>,
    owners: Vec<usize>,
    opened: u16,
}

impl Plan {
    /// Begins a part: the steps from here on are for it.
    pub fn part(&mut self, at: &Pointer, what: impl Into<String>) {
        self.parts.push(Part { at: at.clone(), what: what.into() });
    }

    /// The part that is at work.
    fn owner(&self) -> usize {
        self.parts.len().saturating_sub(1)
    }

    /// Adds a step.
    pub fn push(&mut self, op: Op<'_>) {
        if matches!(op, Op::NewFs { .. } | Op::OpenTree { .. } | Op::LegacyMount { .. }) {
            self.asked = None;
        }
        let steps = &mut self.steps;
        op.encode(&mut |bytes| steps.extend_from_slice(bytes));
        self.owners.push(self.owner());
    }

    /// Has the host open something; the slot in which the executor finds it.
    pub fn source(&mut self, source: Source) -> Slot {
        let slot = u16::try_from(self.sources.len()).unwrap_or(Slot::NONE.0);
        self.sources.push((self.owner(), source));
        Slot(slot)
    }

    /// Has the host copy something at this place of the plan, so that the copy is listed there (see [`super::mounts`]); the slot in which it is. One
    /// question is enough for copies that follow each other.
    pub fn copy(&mut self, source: Source) -> Slot {
        let asked = self.asked.unwrap_or_else(|| {
            // It is sent unasked, and so before any answer.
            super::namespaces::join_network(self);
            self.push(Op::Ask { what: Ask::Copies });
            self.len() - 1
        });
        self.asked = Some(asked);
        let into = self.slot();
        self.copies.push(Copied { asked, received: self.len(), part: self.owner(), source });
        self.push(Op::Receive { into });
        into
    }

    /// A slot for a step to fill.
    pub fn slot(&mut self) -> Slot {
        let slot = Slot(Slot::OPENED.0.saturating_add(self.opened));
        self.opened = self.opened.saturating_add(1);
        slot
    }

    /// Whether every descriptor has a slot of its own.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.sources.len() <= usize::from(Slot::OPENED.0) && self.opened <= Slot::NONE.0 - Slot::OPENED.0
    }

    /// How many steps there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.owners.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// The steps, each with its part.
    pub fn steps(&self) -> impl Iterator<Item = (&Part, Op<'_>)> {
        let mut from = In(&self.steps);
        self.owners.iter().map_while(move |&owner| Some((&self.parts[owner], Op::decode(&mut from)?)))
    }

    /// The step of this number.
    #[must_use]
    pub fn step(&self, number: u32) -> Option<(&Part, Op<'_>)> {
        self.steps().nth(usize::try_from(number).ok()?)
    }

    /// The bytes that go to the executor: `passed` are the numbers of the sources' descriptors, in order.
    #[must_use]
    pub fn encode(&self, passed: &[RawFd]) -> Vec<u8> {
        let header = Header {
            passed: u16::try_from(passed.len()).unwrap_or(u16::MAX),
            opened: self.opened,
            steps: u32::try_from(self.owners.len()).unwrap_or(u32::MAX),
        };
        let mut bytes = vec![0; 4];
        header.encode(&mut |piece| bytes.extend_from_slice(piece));
        for fd in passed {
            bytes.extend_from_slice(&fd.to_le_bytes());
        }
        bytes.extend_from_slice(&self.steps);
        let len = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        bytes
    }
}

/// A list of strings as a step holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strings(Vec<u8>);

impl Strings {
    /// Adds one.
    pub fn push(&mut self, text: &CStr) {
        self.0.extend_from_slice(text.to_bytes_with_nul());
    }

    /// For a step.
    #[must_use]
    pub fn list(&self) -> List<'_> {
        List::new(&self.0).unwrap_or_default()
    }
}

impl<T: AsRef<CStr>> FromIterator<T> for Strings {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut strings = Strings::default();
        for item in items {
            strings.push(item.as_ref());
        }
        strings
    }
}

/// A string of the configuration for the kernel: it must not hold a NUL.
///
/// # Errors
/// It does.
pub fn c_string(text: impl Into<Vec<u8>>, at: &Pointer) -> Result<CString, crate::config::Invalid> {
    CString::new(text).map_err(|e| {
        let text = String::from_utf8_lossy(&e.into_vec()).into_owned();
        crate::config::Invalid::new(at, format!("{text:?} has a NUL in it"))
    })
}
