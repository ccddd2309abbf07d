//! runtime.md: the state of a container.

use crate::support::*;

pub const TESTS: &[Test] = suite![];
