//! Who waits for which request to be applied.
//!
//! Invariants:
//! - A waiter is answered exactly once: by its entry, by its deadline, or when the node stops.
//! - Waiting is bounded: every waiter has a deadline in ticks.

use std::collections::BTreeMap;

/// Waiters by request ID. IDs grow with time, so the oldest waiter is the first.
#[derive(Debug)]
pub(crate) struct Waiters<W> {
    by_id: BTreeMap<u64, Waiting<W>>,
}

#[derive(Debug)]
struct Waiting<W> {
    deadline: u64,
    waiter: W,
}

impl<W> Waiters<W> {
    pub(crate) fn new() -> Self {
        Self { by_id: BTreeMap::new() }
    }

    /// Registers a waiter. Returns the waiter that had the ID before, if any: it will never be
    /// answered by its own entry.
    pub(crate) fn insert(&mut self, id: u64, deadline: u64, waiter: W) -> Option<W> {
        self.by_id.insert(id, Waiting { deadline, waiter }).map(|old| old.waiter)
    }

    /// Whether somebody waits for this request.
    pub(crate) fn contains(&self, id: u64) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Takes the waiter of a request that was applied or refused.
    pub(crate) fn take(&mut self, id: u64) -> Option<W> {
        self.by_id.remove(&id).map(|waiting| waiting.waiter)
    }

    /// Takes the oldest waiter whose deadline has come. IDs of concurrent requests may arrive
    /// slightly out of order, so one may be found a tick late, never early.
    pub(crate) fn take_expired(&mut self, now: u64) -> Option<(u64, W)> {
        let (_, first) = self.by_id.first_key_value()?;
        if first.deadline > now {
            return None;
        }
        self.by_id.pop_first().map(|(id, waiting)| (id, waiting.waiter))
    }

    /// Takes all waiters, oldest first.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = W> + use<W> {
        std::mem::take(&mut self.by_id).into_values().map(|waiting| waiting.waiter)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}
