//! Paths that are hidden or made read-only.

use super::plan::{Plan, Source, Strings};
use super::{Subject, mounts};
use crate::config::{Invalid, Located, Pointer};
use crate::sys::mount::attr;
use aril_plan::{Op, Slot};
use std::ffi::CString;

/// Hides the masked paths.
pub(crate) fn cover_all(plan: &mut Plan, subject: &Subject<'_>, root: Slot) -> Result<(), Invalid> {
    let at = Pointer::to("/linux/maskedPaths");
    let paths = resolve(subject.linux.masked_paths().as_deref().unwrap_or_default(), &at)?;
    if paths.is_empty() {
        return Ok(());
    }
    plan.part(&at, "cannot make what covers masked paths");
    // One empty directory and one null device for all of them.
    let directory = plan.slot();
    let mut options: Strings = [c"size=0", c"nr_inodes=2", c"mode=555"].into_iter().collect();
    if let Some(context) = mounts::label::context(subject)? {
        options.push(&context);
    }
    let attr = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
    plan.push(Op::NewFs { into: directory, kind: c"tmpfs", options: options.list(), attr });
    let null = if subject.host_opens() {
        plan.source(Source::Null)
    } else {
        let null = plan.slot();
        plan.push(Op::OpenTree { into: null, at: root, path: c"dev/null", recursive: false, nofollow: false });
        null
    };
    for Located { at, value } in &paths {
        plan.part(at, format!("cannot mask {}", value.to_string_lossy()));
        plan.push(Op::Mask { root, path: value, directory, null });
    }
    Ok(())
}

/// Makes the read-only paths read-only.
pub(crate) fn read_only_all(plan: &mut Plan, subject: &Subject<'_>, root: Slot) -> Result<(), Invalid> {
    let at = Pointer::to("/linux/readonlyPaths");
    for Located { at, value } in resolve(subject.linux.readonly_paths().as_deref().unwrap_or_default(), &at)? {
        plan.part(&at, format!("cannot make {} read-only", value.to_string_lossy()));
        plan.push(Op::ReadOnly { root, path: &value });
    }
    Ok(())
}

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
