//! Explaining that the kernel, or a seccomp profile around aril, refuses what aril cannot do without.

use super::features::{FEATURES, Feature};
use crate::error::Error;
use crate::sys::{self, Errno};
use std::path::Path;

/// The error with an explanation in front, where a system call was refused that a kernel can lack or a profile can forbid; else as it was.
///
/// Looks at the machine: for a command that has failed.
#[must_use]
pub fn explained(error: Error) -> Error {
    let filtered = || sys::fs::read_text(Path::new("/proc/self/status"), 1 << 16).is_ok_and(|text| text.contains("\nSeccomp:\t2"));
    match (feature(&error), error.errno()) {
        (Some(feature), Some(Errno::ENOSYS)) => explain(feature, filtered(), error),
        // Without a filter it is a privilege that is missing.
        (Some(feature), Some(Errno::EPERM)) if filtered() => explain(feature, true, error),
        _ => error,
    }
}

/// The feature whose call failed.
fn feature(error: &Error) -> Option<&'static Feature> {
    let call = error.call()?.split(' ').next()?;
    FEATURES.iter().find(|feature| feature.calls.contains(&call))
}

fn explain(feature: &Feature, filtered: bool, source: Error) -> Error {
    let call = source.call().and_then(|call| call.split(' ').next()).unwrap_or(feature.name);
    let (major, minor) = feature.since;
    let kernel = sys::process::kernel_release().unwrap_or_else(|_| "?".to_owned());
    let filter = if filtered { "; a seccomp filter is on this process, and its profile may forbid the call" } else { "" };
    let what =
        format!("{call} is refused, and aril needs it to {}: Linux has it since {major}.{minor}, this is {kernel}{filter}", feature.to);
    Error::Doing { what, at: None, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::{explain, explained, feature};
    use crate::error::{Doing, Error};
    use crate::sys::{self, Errno};

    fn failure(call: &str, errno: Errno) -> Error {
        let failed: Result<(), _> = Err(sys::Error::new(call, "etc", errno));
        failed.doing(|| "cannot open the root".to_owned()).expect_err("it failed")
    }

    #[test]
    fn a_refused_call_is_explained_and_its_error_kept() {
        let error = failure("openat2", Errno::ENOSYS);
        let error = explain(feature(&error).expect("it is in the table"), true, error);
        let text = error.chain();
        assert!(text.starts_with("openat2 is refused, and aril needs it to resolve paths"), "{text}");
        assert!(text.contains("since 5.6, this is ") && text.contains("seccomp"), "{text}");
        assert!(text.ends_with("cannot open the root: openat2 \"etc\": function not implemented"), "{text}");
        assert_eq!(error.errno(), Some(Errno::ENOSYS));
        assert!(!explain(feature(&error).expect("it is in the table"), false, error).chain().starts_with("seccomp"));
    }

    #[test]
    fn other_failures_stay_as_they_are() {
        for (call, errno) in [("openat2", Errno::ENOENT), ("mkdir", Errno::ENOSYS)] {
            assert_eq!(explained(failure(call, errno)).chain(), failure(call, errno).chain());
        }
    }
}
