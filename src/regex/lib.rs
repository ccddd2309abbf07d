//! regex-lite under the name of regex: the same interface, without Unicode tables and without engines made for speed.
//!
//! The one user is oci-spec, for the one expression that it checks `execCPUAffinity` with: `regex` itself would make `aril` half a megabyte
//! larger for it.
#![no_std]

pub use regex_lite::*;
