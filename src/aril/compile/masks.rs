//! Paths that are hidden or made read-only.

use crate::config::{Invalid, Located, Pointer};
use std::ffi::CString;

/// Reads the paths that stand at a pointer (`maskedPaths` or `readonlyPaths`): absolute ones, resolved in the container's root later.
///
/// # Errors
/// A path is not absolute, or holds a NUL.
pub fn resolve(paths: &[String], at: &Pointer) -> Result<Vec<Located<CString>>, Invalid> {
    let one = |(i, path): (usize, &String)| {
        let at = at.of(i);
        let wrong = |why: &str| Invalid::new(&at, format!("{path:?} {why}"));
        if !path.starts_with('/') {
            return Err(wrong("is not an absolute path"));
        }
        let value = CString::new(path.as_str()).map_err(|_| wrong("holds a NUL"))?;
        Ok(Located { at, value })
    };
    paths.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(paths: &[&str]) -> Result<Vec<Located<CString>>, Invalid> {
        let paths: Vec<String> = paths.iter().map(|p| (*p).to_owned()).collect();
        resolve(&paths, &Pointer::to("/linux/maskedPaths"))
    }

    #[test]
    fn paths_keep_their_order_and_place() {
        let paths = resolved(&["/proc/kcore", "/sys/firmware"]).expect("paths are valid");
        assert_eq!(paths[1], Located { at: Pointer::to("/linux/maskedPaths/1"), value: c"/sys/firmware".to_owned() });
    }

    #[test]
    fn what_cannot_be_a_path_is_refused() {
        for (path, why) in [("proc", "not an absolute path"), ("", "not an absolute path"), ("/a\0b", "NUL")] {
            let error = resolved(&["/ok", path]).expect_err(why);
            assert_eq!(error.at.as_str(), "/linux/maskedPaths/1");
            assert!(error.why.contains(why), "{error}");
        }
    }
}
