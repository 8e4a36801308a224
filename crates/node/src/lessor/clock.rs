//! Seconds of leases as ticks, rounded so that no lease ends early.
//!
//! A tick may come late, and the one after a late one comes sooner than a tick's length later, but
//! never sooner than a tick's length after the one before was handled. So `n + 2` ticks take at
//! least `n` times a tick's length, whenever the counting began.

use super::NEVER;

/// Ticks by which a deadline is later than the time to live says.
const GRACE: u64 = 2;
/// Checkpoints that a lease that is never renewed gets at most.
const CHECKPOINTS_PER_TTL: i64 = 60;

/// The length of a tick, and what follows from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    tick_ms: u64,
    min_ttl_s: i64,
    /// The shortest time between two checkpoints of a lease.
    checkpoint_ticks: u64,
}

impl Clock {
    pub(crate) fn new(tick_ms: u64, min_ttl_s: i64, checkpoint_ticks: u64) -> Self {
        Self { tick_ms: tick_ms.max(1), min_ttl_s, checkpoint_ticks: checkpoint_ticks.max(1) }
    }

    /// Returns the time to live of a lease that was granted with `ttl_s`.
    pub(super) fn granted(self, ttl_s: i64) -> i64 {
        ttl_s.max(self.min_ttl_s)
    }

    /// Returns the ticks that seconds take, rounded up.
    pub(super) fn ticks(self, seconds: i64) -> u64 {
        let seconds = u64::try_from(seconds).unwrap_or(0);
        seconds.saturating_mul(1000).div_ceil(self.tick_ms)
    }

    /// Returns the tick at which that many seconds have certainly passed.
    pub(super) fn deadline(self, now: u64, seconds: i64) -> u64 {
        // NEVER is not a deadline.
        now.saturating_add(self.ticks(seconds)).saturating_add(GRACE).min(NEVER - 1)
    }

    fn left_ms(self, deadline: u64, now: u64) -> u64 {
        let ticks = deadline.saturating_sub(GRACE).saturating_sub(now);
        ticks.saturating_mul(self.tick_ms)
    }

    /// Returns what is left, in whole seconds. Some of the present tick has passed.
    pub(super) fn left_s(self, deadline: u64, now: u64) -> i64 {
        seconds(self.left_ms(deadline, now).saturating_sub(1) / 1000)
    }

    /// Returns what is left, rounded up.
    pub(super) fn left_at_most_s(self, deadline: u64, now: u64) -> i64 {
        seconds(self.left_ms(deadline, now).div_ceil(1000))
    }

    /// Returns when a lease gets its next checkpoint, if it lives long enough behind it to need one:
    /// what a new leader would otherwise give it in excess is small.
    pub(super) fn next_checkpoint(self, now: u64, ttl_s: i64, deadline: u64) -> u64 {
        self.checkpoint_after(now, self.interval(ttl_s), ttl_s, deadline)
    }

    /// Returns when a lease that was renewed gets a checkpoint. A holder that keeps it alive comes
    /// again long before half of its time, and each renewal behind a checkpoint costs an entry.
    pub(super) fn checkpoint_after_renewal(self, now: u64, ttl_s: i64, deadline: u64) -> u64 {
        let pause = (self.ticks(ttl_s) / 2).max(self.interval(ttl_s));
        self.checkpoint_after(now, pause, ttl_s, deadline)
    }

    fn interval(self, ttl_s: i64) -> u64 {
        self.ticks(ttl_s / CHECKPOINTS_PER_TTL).max(self.checkpoint_ticks)
    }

    fn checkpoint_after(self, now: u64, pause: u64, ttl_s: i64, deadline: u64) -> u64 {
        let at = now.saturating_add(pause);
        if at.saturating_add(self.interval(ttl_s)) <= deadline { at } else { NEVER }
    }
}

fn seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
