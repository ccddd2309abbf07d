//! From the line and the column that `serde_json` gives for an error to the place in the configuration.
//!
//! A deserializer that keeps track of the path is to be had (`serde_path_to_error`), but it is compiled for each type of the configuration:
//! a tenth of the program, and a part of each start, for what only a configuration that is wrong needs.

use super::Pointer;

/// A value of the text that has begun.
struct Open {
    at: Pointer,
    /// The next element's number in a list; `None` in an object.
    index: Option<usize>,
}

/// The place of the value that `serde_json` stopped at: the one that ends there or, being an object or a list, begins there; else the innermost
/// one around. `line` counts from 1, `column` is the bytes of the line that were read.
pub(super) fn pointer(text: &str, line: usize, column: usize) -> Pointer {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    walk(text.as_bytes(), before + column)
}

fn walk(text: &[u8], stop: usize) -> Pointer {
    let mut open: Vec<Open> = Vec::new();
    // The place of the value that comes next.
    let mut next = Some(Pointer::default());
    let mut i = 0;
    while i < text.len() && i <= stop {
        let begin = i;
        i += 1;
        match text[begin] {
            b'{' | b'[' => {
                let at = next.take().unwrap_or_default();
                if begin == stop {
                    return at;
                }
                let list = text[begin] == b'[';
                next = list.then(|| at.of(0));
                open.push(Open { at, index: list.then_some(0) });
            }
            b'}' | b']' => {
                next = None;
                let Some(closed) = open.pop() else { break };
                if i == stop {
                    return closed.at;
                }
            }
            b',' => {
                if let Some(Open { at, index: Some(index) }) = open.last_mut() {
                    *index += 1;
                    next = Some(at.of(*index));
                }
            }
            b':' | b' ' | b'\n' | b'\r' | b'\t' => {}
            _ => {
                i = end(text, begin);
                match next.take() {
                    Some(at) if i == stop => return at,
                    Some(_) => {}
                    None => next = open.last().map(|object| object.at.of(key(&text[begin..i]))),
                }
            }
        }
    }
    open.pop().map(|innermost| innermost.at).unwrap_or_default()
}

/// Where the text, number or word ends that begins here.
fn end(text: &[u8], begin: usize) -> usize {
    if text[begin] != b'"' {
        let length = text[begin..].iter().position(|byte| b",:]} \n\r\t".contains(byte));
        return length.map_or(text.len(), |length| begin + length);
    }
    let mut i = begin + 1;
    while i < text.len() && text[i] != b'"' {
        i += if text[i] == b'\\' { 2 } else { 1 };
    }
    (i + 1).min(text.len())
}

fn key(literal: &[u8]) -> String {
    serde_json::from_slice(literal).unwrap_or_else(|_| String::from_utf8_lossy(literal).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::spec::Spec;
    use super::*;

    /// Of the first thing that is wrong with a configuration.
    fn at(text: &str) -> String {
        let error = serde_json::from_str::<Spec>(text).expect_err("it is wrong");
        pointer(text, error.line(), error.column()).to_string()
    }

    #[test]
    fn the_place_of_what_is_wrong() {
        let process = |fields: &str| format!("{{\n  \"ociVersion\": \"1.3.0\",\n  \"process\": {{{fields}}}, \"hostname\": \"a\"}}");
        let cases = [
            ("5".to_owned(), "/"),
            (r#"{"ociVersion": 5}"#.to_owned(), "/ociVersion"),
            (r#"{"ociVersion": ["x"]}"#.to_owned(), "/ociVersion"),
            (r#"{"ociVersion": "1", "process": "x"}"#.to_owned(), "/process"),
            (r#"{"ociVersion": "1", "annotations": {"a/b": "x", "c~\"d\"": 5}}"#.to_owned(), "/annotations/c~0\"d\""),
            (process(r#""cwd": "/", "user": {"uid": "x"}"#), "/process/user/uid"),
            (process(r#""cwd": "/", "user": {"uid": 0, "gid": -1 }"#), "/process/user/gid"),
            (process(r#""cwd": "/", "args": [], "user": 5"#), "/process/user"),
            (process(r#""cwd": "/", "args": ["a", "b", 5 ]"#), "/process/args/2"),
            (process(r#""cwd": "/", "args": [["a"]]"#), "/process/args/0"),
            (process(r#""cwd": "/", "terminal": null, "noNewPrivileges": 0"#), "/process/noNewPrivileges"),
            (r#"{"ociVersion": "1", "mounts": [{"destination": "/a"}, {"source": "b"}]}"#.to_owned(), "/mounts/1"),
            (process(r#""cwd": "/", "rlimits": [{"type": "RLIMIT_NONE", "hard": 1, "soft": 1}]"#), "/process/rlimits/0/type"),
        ];
        for (text, place) in cases {
            assert_eq!(at(&text), place, "{text}");
        }
    }

    #[test]
    fn a_text_that_is_cut_off_has_a_place() {
        let text = r#"{"process": {"args": ["a\"b", 1e5, true], "env": {}}}"#;
        for length in 0..text.len() {
            let place = pointer(&text[..length], 1, length).to_string();
            assert!(["", "/process", "/process/args", "/process/env"].iter().any(|known| place.starts_with(known)), "{place}");
        }
        assert_eq!(pointer(text, 1, 40).to_string(), "/process/args");
    }
}
