//! What one connection may ask for, over time.
//!
//! Some frames cost the server more than the client: a stream that is opened and reset at once, a
//! frame that makes us reset a stream, settings that change every stream's window, frames without
//! content. Each kind has an allowance that fills again with time; who uses it up is asked to calm
//! down, and the connection ends.

/// Bytes and streams that a connection may hold at one time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Streams that may be open at one time.
    pub streams_max: u32,
    /// Bytes that a client may send on a stream before the application has taken them.
    pub stream_window: u32,
    /// The same for all streams of the connection together.
    pub connection_window: u32,
    /// Bytes of one header block, compressed.
    pub header_block_bytes: usize,
    /// Bytes of one header block, decompressed, with 32 for each field.
    pub header_list_bytes: usize,
    /// Bytes of output that wait before streams must wait.
    pub output_bytes: usize,
    /// How long the rest of a preface, a frame or a header block may take to arrive.
    pub rest_time_ms: u64,
}

/// An allowance that fills again with time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    left: u32,
    capacity: u32,
    per_second: u32,
    filled_ms: u64,
}

impl Allowance {
    pub(crate) const fn new(capacity: u32, per_second: u32) -> Self {
        Self { left: capacity, capacity, per_second, filled_ms: 0 }
    }

    /// Uses one. Returns false if there is none left.
    pub(crate) fn take(&mut self, now_ms: u64) -> bool {
        let passed_ms = now_ms.saturating_sub(self.filled_ms);
        let more = passed_ms.saturating_mul(u64::from(self.per_second)) / 1000;
        // Time is only used up when it gave something, so that no part of a second is lost.
        if more > 0 {
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(more).min(self.capacity);
            self.filled_ms = now_ms;
        }
        let has_one = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has_one
    }
}

/// The allowances of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowances {
    /// Streams that the client resets before they ended (CVE-2023-44487).
    pub(crate) client_resets: Allowance,
    /// Streams that we reset because the client broke a rule (CVE-2025-8671).
    pub(crate) our_resets: Allowance,
    /// Settings, each of which may change all windows (CVE-2019-9515).
    pub(crate) settings: Allowance,
    /// Frames without content that are not the last of their stream (CVE-2019-9518).
    pub(crate) empty_frames: Allowance,
}

impl Default for Allowances {
    fn default() -> Self {
        Self {
            // A client that gives up thousands of watches and calls at once is no attacker.
            client_resets: Allowance::new(20_000, 2_000),
            our_resets: Allowance::new(1_000, 100),
            settings: Allowance::new(100, 10),
            empty_frames: Allowance::new(1_000, 100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_fills_with_time() {
        let mut allowance = Allowance::new(3, 2);
        assert_eq!([0; 4].map(|now| allowance.take(now)), [true, true, true, false]);
        assert!(!allowance.take(499));
        assert!(allowance.take(500));
        assert!(!allowance.take(999));
        assert_eq!([100_000; 4].map(|now| allowance.take(now)), [true, true, true, false]);
        // A clock that goes back gives nothing and takes nothing.
        assert!(!allowance.take(0));
    }
}
