//! config.md: process.capabilities.

use crate::support::*;

pub const TESTS: &[Test] = suite![];
