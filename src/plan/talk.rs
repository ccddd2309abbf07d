//! The messages of a start, over one stream socket between the host and the executor.
//!
//! ```text
//!   host                                   executor
//!    │ ── plan ─────────────────────────────▶ │   length, then Header and steps
//!    │ ── Answer (network namespace) ───────▶ │   unasked, a descriptor beside: where the plan has a step that joins it
//!    │                                        │   runs the steps; at each of these it writes a Report:
//!    │ ◀──────────────────────────── Forked ── │   pid of the container's first process, its pidfd beside
//!    │ ◀─────────────────────────────── Ask ── │   a step that the host does (a descriptor beside, where it needs one)
//!    │ ── Answer ───────────────────────────▶ │   none to one that asks for copies of mounts, but
//!    │ ── Answers (copies) ─────────────────▶ │   one for each of them, the copy beside: the steps that follow receive them
//!    │ ◀─────────────────────────── Created ── │   all is set up; the host records it, and then
//!    │ ── Answer ───────────────────────────▶ │   create: the executor hangs up and waits at the gate, where `start` says the same
//!    │                                        │   run: it goes on at once
//!    │ ◀─────────────────────────── Leaving ── │   nothing is left but execve(2)
//!    │ ◀─────────────────────────────── Ask ── │   a seccomp filter that notifies somebody is loaded, its descriptor beside
//!    │ ── Answer ───────────────────────────▶ │
//!    │ ◀──────────────────── end of stream ── │   the user's program runs
//!    │ ◀───────────────────────────── Fault ── │   instead of any of these: a step failed, and the executor ends
//! ```
//!
//! An end of stream before that means that the other side is dead; the executor then ends as well.

use crate::codec::{In, Out, Wire};

/// What the plan begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How many descriptors the host passes on; their numbers follow the header as `i32`s.
    pub passed: u16,
    /// How many slots the steps fill.
    pub opened: u16,
    /// How many steps there are.
    pub steps: u32,
}

impl Wire<'_> for Header {
    fn encode(&self, out: &mut Out<'_>) {
        self.passed.encode(out);
        self.opened.encode(out);
        self.steps.encode(out);
    }
    fn decode(from: &mut In<'_>) -> Option<Self> {
        Some(Header { passed: Wire::decode(from)?, opened: Wire::decode(from)?, steps: Wire::decode(from)? })
    }
}

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// `value` is the pid of the container's first process.
    Forked = 1,
    /// The host is to do the step.
    Ask = 2,
    /// The container is set up.
    Created = 3,
    /// What is left is to close descriptors, load a filter, and `execve(2)`.
    Leaving = 5,
    /// The step failed: `call` is the number of the system call, `value` its errno.
    Fault = 4,
}

/// From the executor to the host. `detail` bytes of text follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it is about.
    pub about: About,
    /// The step, counted from 0.
    pub step: u32,
    /// For a fault the number of the system call.
    pub call: u32,
    /// See [`About`].
    pub value: i32,
    /// How many bytes of text follow.
    pub detail: u32,
}

impl Report {
    /// Encoded length in bytes.
    pub const LEN: usize = 17;

    /// The report as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let mut at = 0;
        let mut put = |piece: &[u8]| {
            bytes[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        };
        (self.about as u8).encode(&mut put);
        self.step.encode(&mut put);
        self.call.encode(&mut put);
        self.value.encode(&mut put);
        self.detail.encode(&mut put);
        bytes
    }

    /// A report from its bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let mut from = In(bytes);
        let about = match u8::decode(&mut from)? {
            1 => About::Forked,
            2 => About::Ask,
            3 => About::Created,
            4 => About::Fault,
            5 => About::Leaving,
            _ => return None,
        };
        Some(Report {
            about,
            step: Wire::decode(&mut from)?,
            call: Wire::decode(&mut from)?,
            value: Wire::decode(&mut from)?,
            detail: Wire::decode(&mut from)?,
        })
    }
}

/// The longest text of a report, in bytes. An answer is a `u32` length and as many bytes: the container's state as JSON for hooks in the container,
/// nothing otherwise.
pub const DETAIL_MAX: usize = 4096;
