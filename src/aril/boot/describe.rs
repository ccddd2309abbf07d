//! Steps in words: for `aril explain`, and for messages about a step that failed.

use aril_plan::{Op, Slot};
use std::fmt::Write;

/// The step with its arguments, long ones by their size, e.g. `MoveMount mount=#3 target=#32768`.
#[must_use]
pub fn step(op: &Op<'_>) -> String {
    match op {
        Op::Seccomp { flags, filter } => format!("Seccomp flags={flags:#x} filter={} instructions", filter.len() / 8),
        Op::Exec { args, env } => format!("Exec args={args:?} env={} variables", env.len()),
        Op::Groups { ids } => {
            let ids: Vec<u32> = ids.as_chunks::<4>().0.iter().map(|id| u32::from_le_bytes(*id)).collect();
            format!("Groups ids={ids:?}")
        }
        Op::Write { at, path, value } => format!("Write at={} path={path:?} value={:?}", slot(*at), String::from_utf8_lossy(value)),
        Op::Hostname { name } | Op::Domainname { name } => format!("{} name={:?}", op.name(), String::from_utf8_lossy(name)),
        other => generic(other),
    }
}

/// A slot as `explain` prints it: `source 3`, or `mount 0` for what a step opened.
#[must_use]
pub fn slot(slot: Slot) -> String {
    match slot {
        Slot::CWD => "cwd".to_owned(),
        Slot::NONE => "none".to_owned(),
        Slot(n) if n >= Slot::OPENED.0 => format!("opened {}", n - Slot::OPENED.0),
        Slot(n) => format!("source {n}"),
    }
}

/// The derived form, without the punctuation of Rust.
fn generic(op: &Op<'_>) -> String {
    let debug = format!("{op:?}");
    let Some((name, fields)) = debug.split_once(" {") else { return debug };
    let mut text = name.to_owned();
    let fields = fields.trim_end_matches('}').trim();
    let _ = write!(text, " {}", slots(&fields.replace(": ", "=")));
    text.trim_end().to_owned()
}

/// `Slot(32768)` as [`slot`] says it.
fn slots(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("Slot(") {
        result.push_str(before);
        let (number, tail) = after.split_once(')').unwrap_or((after, ""));
        result.push_str(&number.parse().map_or_else(|_| number.to_owned(), |n| slot(Slot(n))));
        rest = tail;
    }
    result + rest
}

/// What a failed call was about: the object of the step.
#[must_use]
pub fn object(op: &Op<'_>) -> Option<String> {
    match op {
        Op::OpenTree { path, .. }
        | Op::Target { path, .. }
        | Op::OpenPath { path, .. }
        | Op::Mknod { path, .. }
        | Op::Symlink { path, .. }
        | Op::Mask { path, .. }
        | Op::ReadOnly { path, .. }
        | Op::Chdir { path, .. }
        | Op::Hook { path, .. }
        | Op::CopyUp { path, .. }
        | Op::Write { path, .. } => Some(format!("{:?}", path.to_string_lossy())),
        Op::NewFs { kind, .. } => Some(format!("{:?}", kind.to_string_lossy())),
        _ => None,
    }
}
