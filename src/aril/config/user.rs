//! `process.user`: the specification does not require it, the types of the configuration do.

use serde_json::value::RawValue;
use std::collections::BTreeMap;

type Object<'a> = BTreeMap<String, &'a RawValue>;

/// The text with an empty `user` at the end of `process` (of a configuration), if it has a process without one.
///
/// All before it stands at the lines and columns where it was.
pub(super) fn with_user(text: &str) -> Option<String> {
    let top: Object<'_> = serde_json::from_str(text).ok()?;
    let process = top.get("process")?.get();
    let fields: Object<'_> = serde_json::from_str(process).ok()?;
    if fields.contains_key("user") {
        return None;
    }
    let end = process.as_ptr() as usize - text.as_ptr() as usize + process.rfind('}')?;
    let comma = if fields.is_empty() { "" } else { "," };
    Some(format!("{}{comma}\"user\":{{}}{}", &text[..end], &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Pointer;

    #[test]
    fn an_absent_user_is_root() {
        for process in [r#"{"cwd": "/"}"#, r#"{ "args": ["}"], "cwd": "/" }"#, "{\"cwd\": \"/\"\n}"] {
            let text = format!(r#"{{"process": {process}, "hostname": "a}}b"}}"#);
            let loaded = crate::config::parse(text, "config.json".as_ref()).expect(process);
            let process = loaded.spec.process().as_ref().expect("there is a process");
            assert_eq!((process.user().uid(), process.user().gid()), (0, 0));
            assert_eq!(loaded.spec.hostname().as_deref(), Some("a}b"));
        }
    }

    #[test]
    fn a_user_that_is_there_is_left_alone() {
        for text in ["{}", "{", r#"{"process": 7}"#, r#"{"process": {"user": 7}}"#] {
            assert_eq!(with_user(text), None, "{text}");
        }
    }

    #[test]
    fn what_else_is_wrong_is_said() {
        let error = crate::config::parse(r#"{"process": {}}"#.to_owned(), "config.json".as_ref()).expect_err("there is no cwd");
        assert_eq!(error.at().map(Pointer::as_str), Some("/process"));
        assert!(error.chain().contains("`cwd`"), "{}", error.chain());
    }
}
