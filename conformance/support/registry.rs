//! The list of tests of a part: `suite![name, other: [Need::Userns]]`. A function that is missing from its list is dead
//! code, so the compiler finds it.

use super::{Case, Need};
use crate::fallback::Switch;

/// One test: its name, what it needs of the machine, and its body.
#[derive(Clone)]
pub struct Test {
    pub name: &'static str,
    pub needs: &'static [Need],
    pub body: fn(&Case),
    /// What the machine does without while it runs.
    pub without: Option<&'static Switch>,
}

/// Lists the functions of a module as tests, each with what it needs.
macro_rules! suite {
    ($($name:ident $(: [$($need:expr),* $(,)?])?),* $(,)?) => {
        &[$($crate::support::Test {
            name: stringify!($name),
            needs: &[$($($need),*)?],
            body: $name,
            without: None,
        }),*]
    };
}
pub(crate) use suite;
