//! `docs/kernel-features.md`, made of the table.

use super::KERNEL_FLOOR;
use super::features::{FEATURES, Feature, Without};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

const HEAD: &str = "\
# Kernel features

What aril uses of the kernel that a kernel can lack, or that a seccomp profile around aril (an outer container's) can forbid. Made of the table in
`src/aril/host/features.rs` by `WRITE=1 cargo test --package aril --lib kernel_features`; do not edit. Each row in use is switched off by a conformance test
(`PARTS=fallback conformance/run`).

A version is that of the kernel that had the feature first.
";

fn markdown() -> String {
    let mut text = format!("{HEAD}Kernels older than {}.{} are refused.\n", KERNEL_FLOOR.0, KERNEL_FLOOR.1);
    for (title, last) in
        [("The container runs without it", "without it"), ("Refused without it", "what is refused"), ("Not used", "what is used instead")]
    {
        let _ = write!(text, "\n## {title}\n\n| feature | Linux | serves to | {last} |\n| --- | --- | --- | --- |\n");
        for feature in FEATURES.iter().filter(|feature| section(feature).0 == title) {
            let Feature { since: (major, minor), to, .. } = feature;
            let _ = writeln!(text, "| {} | {major}.{minor} | {to} | {} |", heading(feature), section(feature).1);
        }
    }
    text
}

fn section(feature: &Feature) -> (&'static str, &'static str) {
    match feature.without {
        Without::Fallback(how) => ("The container runs without it", how),
        Without::Refused(what) => ("Refused without it", what),
        Without::Unused(instead) => ("Not used", instead),
    }
}

/// The name, and the calls where the name does not say them.
fn heading(feature: &Feature) -> String {
    let name = feature.name.replace('_', " ");
    match feature.calls {
        [] => name,
        [only] if *only == feature.name => format!("{only}(2)"),
        calls => format!("{name}: {}", calls.iter().map(|call| format!("{call}(2)")).collect::<Vec<_>>().join(", ")),
    }
}

#[test]
fn kernel_features_are_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/kernel-features.md");
    if std::env::var_os("WRITE").is_some() {
        std::fs::write(&path, markdown()).expect("the page can be written");
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(page == markdown(), "docs/kernel-features.md is stale: WRITE=1 cargo test --package aril --lib kernel_features");
}

#[test]
fn kernel_features_have_a_name_each() {
    assert_eq!(FEATURES.iter().map(|feature| feature.name).collect::<BTreeSet<_>>().len(), FEATURES.len());
}
