//! What stands at the top of a configuration and belongs to no part of the container.

use super::{Invalid, Pointer, annotations, spec::Spec};

/// The version of the specification that aril implements.
pub const SPEC_VERSION: &str = "1.3.0";
/// The oldest that `aril features` names.
pub const SPEC_VERSION_MIN: &str = "1.0.0";

/// Checks version and annotations.
///
/// # Errors
/// `ociVersion` is missing, no version, or not one that aril knows; an annotation has an empty key, or asks for what is not supported.
pub fn check_top(spec: &Spec) -> Result<(), Invalid> {
    version(spec.version())?;
    // "Keys MUST NOT be an empty string" (spec, "Annotations").
    if let Some(value) = annotations::get(spec, "") {
        return Err(Invalid::new(&Pointer::to("/annotations/"), format!("the annotation {value:?} has no key")));
    }
    NOT_SUPPORTED.iter().try_for_each(|(name, what, why)| match annotations::get(spec, name).filter(|value| !value.is_empty()) {
        Some(value) => Err(Invalid::new(&annotations::pointer(name), format!("{what} {value:?} is not supported: {why}"))),
        None => Ok(()),
    })
}

/// Annotations that ask for what aril does not do, and whose container would be another one without it: what their value is, and why not.
const NOT_SUPPORTED: [(&str, &str, &str); 3] = [
    (annotations::HANDLER, "handler", "aril runs programs of this machine alone"),
    (annotations::SECCOMP_PLUGINS, "seccomp plugin", "aril loads no code; an agent listens at listenerPath"),
    (annotations::FORCE_CGROUP_V1, "a cgroup v1 mount at", "cgroup v1 is deprecated, and the mount would show the host's whole hierarchy"),
];

/// The major version is the one that aril was written for (spec, "Specification version"), or 0: of these drafts are the specification's own
/// examples.
fn version(version: &str) -> Result<(), Invalid> {
    let wrong = |why: &str| Err(Invalid::new(&Pointer::to("/ociVersion"), why));
    match version.split('.').next() {
        Some("") | None => wrong("ociVersion is missing"),
        _ if !is_semantic(version) => wrong(&format!("ociVersion {version:?} is no version of the form 1.2.3 or 1.2.3-dev")),
        Some("0" | "1") => Ok(()),
        _ => wrong(&format!("ociVersion {version:?} is not supported: aril knows 1.x.y")),
    }
}

/// Whether it is as Semantic Versioning 2.0.0 has it: three numbers, then a pre-release, then a build.
fn is_semantic(version: &str) -> bool {
    let words = |text: &str| text.split('.').all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let (rest, build) = version.split_once('+').map_or((version, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let numbers: Vec<&str> = core.split('.').collect();
    numbers.len() == 3 && numbers.into_iter().all(number) && pre.is_none_or(words) && build.is_none_or(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn why(value: &str) -> Option<String> {
        version(value).err().map(|invalid| invalid.to_string())
    }

    #[test]
    fn versions_since_the_drafts_are_known() {
        for known in ["0.5.0-dev", "1.0.0", "1.0.0-rc5", "1.0.2-dev", "1.3.0", "1.99.0+build.7", "1.2.0-rc.1+x-y"] {
            assert_eq!(why(known), None, "{known}");
        }
        assert_eq!(why("2.0.0").as_deref(), Some("ociVersion \"2.0.0\" is not supported: aril knows 1.x.y (/ociVersion)"));
        assert_eq!(why("").as_deref(), Some("ociVersion is missing (/ociVersion)"));
    }

    #[test]
    fn what_is_no_semantic_version_is_refused() {
        for wrong in ["1", "1.0", "1.0.0.0", "v1.0.0", "01.0.0", "1.0.x", "1.0.0-", "1.0.0+", "1.0.0-a..b", "1.0.0 ", "one"] {
            assert!(why(wrong).is_some_and(|why| why.contains("no version of the form")), "{wrong}");
        }
    }

    fn spec(key: &str) -> Spec {
        serde_json::from_value(json!({"ociVersion": "1.3.0", "annotations": {key: "x"}})).expect("the types are right")
    }

    #[test]
    fn another_handler_is_refused() {
        let error = check_top(&spec("run.oci.handler")).expect_err("there is none");
        assert_eq!(
            error.to_string(),
            "handler \"x\" is not supported: aril runs programs of this machine alone (/annotations/run.oci.handler)"
        );
    }

    #[test]
    fn what_would_be_another_container_is_refused() {
        for (name, what, _) in NOT_SUPPORTED {
            let error = check_top(&spec(name)).expect_err(name);
            assert_eq!(error.at, annotations::pointer(name));
            assert!(error.why.starts_with(&format!("{what} \"x\" is not supported: ")), "{error}");
        }
    }

    #[test]
    fn an_annotation_has_a_key() {
        assert_eq!(check_top(&spec("a")), Ok(()));
        assert_eq!(check_top(&spec("")).expect_err("no key").at.as_str(), "/annotations/");
    }
}
