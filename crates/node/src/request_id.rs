//! Request IDs: how an applied entry finds the client that waits for it.
//!
//! ```text
//! | low 16 bits of the member ID | 40 bits of milliseconds since the epoch | 8-bit counter |
//! ```
//!
//! The counter carries into the milliseconds, so a member that restarts does not repeat an ID
//! unless it made more than 256 a millisecond over its whole previous life.

use std::sync::atomic::{AtomicU64, Ordering};

use quoin_raft::NodeId;

const COUNTER_BITS: u32 = 8;
const SUFFIX_BITS: u32 = 48;
const SUFFIX_MASK: u64 = (1 << SUFFIX_BITS) - 1;

/// Makes request IDs for one member. IDs grow, so a lower ID is an earlier request.
#[derive(Debug)]
pub struct RequestIds {
    prefix: u64,
    suffix: AtomicU64,
}

impl RequestIds {
    /// Returns a generator for a member that started at `start_ms` (milliseconds since the epoch).
    #[must_use]
    pub fn new(member: NodeId, start_ms: u64) -> Self {
        let suffix = (start_ms << COUNTER_BITS) & SUFFIX_MASK;
        Self { prefix: member.0 << SUFFIX_BITS, suffix: AtomicU64::new(suffix) }
    }

    /// Returns the next ID. Any thread may ask.
    pub fn next(&self) -> u64 {
        let suffix = self.suffix.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.prefix | (suffix & SUFFIX_MASK)
    }
}
