//! The flags of a command line in one form.
//!
//! Callers write flags as Go's flag package takes them: one dash or two before a long name, `--flag=true` for a switch, a value that begins
//! with a dash. Known flags become `--name` and `--name=value`; what is not known stays as it is, for the parser to complain of.

use clap::{Arg, Command};
use std::ffi::{OsStr, OsString};

/// Rewrites the flags before the command, which `global` defines, and those of the command, which `named` defines: up to where flags end, at
/// `--` or at the first argument of a command that passes the rest on. Returns that definition too.
pub(super) fn normalise(
    global: &Command,
    named: impl Fn(&OsStr) -> Option<Command>,
    argv: Vec<OsString>,
) -> (Vec<OsString>, Option<Command>) {
    let mut words = argv.into_iter().peekable();
    let mut out: Vec<OsString> = words.next().into_iter().collect();
    let command = flags(global, &mut words, &mut out).then(|| words.next()).flatten().and_then(|word| {
        let command = named(&word);
        out.push(word);
        command
    });
    if let Some(command) = &command {
        while flags(command, &mut words, &mut out) {
            out.extend(words.next());
            if passes_on(command) {
                // What looks like a flag from here on is none of ours.
                out.push("--".into());
                words.next_if(|word| word == "--");
                break;
            }
        }
    }
    out.extend(words);
    (out, command)
}

type Words = std::iter::Peekable<std::vec::IntoIter<OsString>>;

/// Moves flags to `out`. Whether there is a word after them that is an argument.
fn flags(command: &Command, words: &mut Words, out: &mut Vec<OsString>) -> bool {
    while let Some(word) = words.next_if(|word| is_flag(word) && word != "--") {
        match split(command, &word) {
            Some((arg, None)) if needs_value(arg) => out.push(words.next().map_or(word, |value| joined(arg, &value))),
            Some((arg, None)) => match words.next_if(|next| may_take(arg, next)) {
                Some(value) => out.push(joined(arg, &value)),
                None => out.push(name(arg)),
            },
            Some((arg, Some(value))) if arg.get_action().takes_values() => out.push(joined(arg, &value)),
            Some((arg, Some(value))) => match truth(&value) {
                Some(true) => out.push(name(arg)),
                Some(false) => out.retain(|word| *word != name(arg)),
                None => out.push(word),
            },
            None => out.push(word),
        }
    }
    words.peek().is_some_and(|word| word != "--")
}

fn passes_on(command: &Command) -> bool {
    command.get_positionals().any(Arg::is_trailing_var_arg_set)
}

fn is_flag(word: &OsStr) -> bool {
    word.len() > 1 && word.as_encoded_bytes().starts_with(b"-")
}

/// The flag that a word is, and the value after its `=`.
fn split<'a>(command: &'a Command, word: &OsStr) -> Option<(&'a Arg, Option<OsString>)> {
    let text = word.to_str().filter(|_| is_flag(word))?;
    let (flag, value) = text.split_once('=').map_or((text, None), |(flag, value)| (flag, Some(value.into())));
    let long = flag.strip_prefix("--").or_else(|| flag.strip_prefix('-'))?;
    let short = flag.strip_prefix('-').filter(|name| name.chars().count() == 1).and_then(|name| name.chars().next());
    let is = |arg: &&Arg| arg.get_long() == Some(long) || (short.is_some() && arg.get_short() == short);
    command.get_arguments().find(is).map(|arg| (arg, value))
}

fn name(arg: &Arg) -> OsString {
    format!("--{}", arg.get_long().unwrap_or_default()).into()
}

fn joined(arg: &Arg, value: &OsStr) -> OsString {
    let mut word = name(arg);
    word.push("=");
    word.push(value);
    word
}

fn needs_value(arg: &Arg) -> bool {
    arg.get_action().takes_values() && !value_is_optional(arg)
}

fn value_is_optional(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|count| count.min_values() == 0)
}

/// Whether the next word is the value of a flag that need not have one.
fn may_take(arg: &Arg, next: &OsStr) -> bool {
    value_is_optional(arg) && arg.get_possible_values().iter().any(|value| next.to_str().is_some_and(|text| value.matches(text, false)))
}

/// The spellings of Go's `strconv.ParseBool`.
fn truth(value: &OsStr) -> Option<bool> {
    match value.to_str()? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
