//! The language between `aril` and `aril-init`.
//!
//! `aril` compiles a container's configuration into a list of [`Op`]s, encodes it ([`codec`]) and sends it over a socket to `aril-init`,
//! which runs the steps in order and reports over the same socket ([`talk`]). Both programs come from one build, so the encoding has no
//! versions: it is never stored.
//!
//! Everything here borrows: an [`Op`] that the host builds points into the host's data, one that the executor decodes points into the
//! buffer it received. Nothing allocates.
#![no_std]

pub mod codec;
mod op;
pub mod talk;

pub use codec::{In, List, Out, Wire};
pub use op::{Ask, Kind, Op, Slot};
