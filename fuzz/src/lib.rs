//! What every decoder must do with bytes that nobody vouches for, and apply with entries.
//!
//! A target is a function of bytes. It panics if the code it drives does, and if a property does
//! not hold that is stronger than "no panic"; each says which. Most formats have checksums, which
//! a fuzzer does not guess, so the first byte of an input often chooses whether the target makes
//! the checksums right before it hands the bytes on.
//!
//! In reading order: `input` (cutting bytes up), `files` (files in memory), a room for each target
//! or two, `sample` (a small state with a bit of everything), [`seeds`] (where fuzzing begins).
//!
//! Not here: libFuzzer. The programs in `fuzz_targets` join it to the functions.

mod bolt;
mod checkpoint;
mod entries;
mod files;
mod http2;
mod input;
mod log;
#[cfg(feature = "peer")]
mod peer;
mod requests;
mod sample;
pub mod seeds;
mod segment;
mod state;
#[cfg(test)]
mod tests;
mod v2;
#[cfg(feature = "peer")]
mod v2_request;

pub use bolt::{bolt_open, database};
pub use checkpoint::checkpoint;
pub use entries::apply;
pub use http2::http2;
pub use log::wal_replay;
#[cfg(feature = "peer")]
pub use peer::peer_codec;
pub use requests::txn_check;
pub use segment::segment;
pub use v2::v2_store;
#[cfg(feature = "peer")]
pub use v2_request::v2_request;

/// A target and its name.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("apply", apply),
    ("bolt_open", bolt_open),
    ("checkpoint", checkpoint),
    ("database", database),
    ("http2", http2),
    #[cfg(feature = "peer")]
    ("peer_codec", peer_codec),
    ("segment", segment),
    ("txn_check", txn_check),
    #[cfg(feature = "peer")]
    ("v2_request", v2_request),
    ("v2_store", v2_store),
    ("wal_replay", wal_replay),
];
