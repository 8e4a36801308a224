//! How much of the applied log stays in memory for followers.
//!
//! A follower that needs an entry which is gone is sent the whole state. While that is on its way, and
//! while it is installed, the log goes on; what follows the state must still be there when the
//! follower asks for it, or it needs the next state, and so on.
//!
//! Invariants:
//! - What follows a state that was sent stays until its receiver is no further behind than others
//!   may be, or says nothing new for [`HELD_MS`].
//! - Whatever anybody needs, no more than [`BYTES_MAX`] bytes stay.
//! - A member that is alone keeps nothing.

use std::collections::{BTreeMap, VecDeque};

use quoin_raft::{Index, NodeId, ProgressState, Raft};

/// Bytes of applied entries kept in memory for followers that lag, whatever their number.
const BYTES_MAX: usize = 256 << 20;
/// Time without a sign of progress after which nothing more is kept for the receiver of a state.
const HELD_MS: u64 = 60_000;

/// The applied entries that are in memory.
#[derive(Debug)]
pub(crate) struct Retention {
    /// Entries that a follower may be behind without being sent the state.
    catchup_entries: u64,
    held_ticks: u64,
    /// The bytes of each entry, the last applied one at the back.
    sizes: VecDeque<usize>,
    bytes: usize,
    /// Followers that were sent a state.
    receivers: BTreeMap<NodeId, Receiver>,
}

#[derive(Debug)]
struct Receiver {
    /// It has, or will have, everything up to here.
    has: Index,
    /// When it is given up.
    until: u64,
}

impl Retention {
    pub(crate) fn new(catchup_entries: u64, tick_ms: u64) -> Self {
        Self {
            catchup_entries,
            held_ticks: HELD_MS.div_ceil(tick_ms.max(1)),
            sizes: VecDeque::new(),
            bytes: 0,
            receivers: BTreeMap::new(),
        }
    }

    /// Takes note of an entry that was applied.
    pub(crate) fn applied(&mut self, bytes: usize) {
        self.sizes.push_back(bytes);
        self.bytes += bytes;
    }

    /// Takes note that the log begins anew.
    pub(crate) fn clear(&mut self) {
        self.sizes.clear();
        self.bytes = 0;
        self.receivers.clear();
    }

    /// Takes note that a follower is being sent the state at an index.
    pub(crate) fn state_sent(&mut self, to: NodeId, index: Index, now: u64) {
        let until = now.saturating_add(self.held_ticks);
        self.receivers.insert(to, Receiver { has: index, until });
    }

    /// Looks at how far the receivers of states are.
    pub(crate) fn tick(&mut self, raft: &Raft, applied: Index, now: u64) {
        if self.receivers.is_empty() {
            return;
        }
        let (catchup, held) = (self.catchup_entries, self.held_ticks);
        let progress = raft.status().progress;
        self.receivers.retain(|node, receiver| {
            let Some(peer) = progress.get(node) else { return false };
            let is_under_way = peer.state == ProgressState::Snapshot;
            if is_under_way || peer.matched > receiver.has {
                receiver.has = receiver.has.max(peer.matched);
                receiver.until = now.saturating_add(held);
            }
            let is_behind = is_under_way || receiver.has.0.saturating_add(catchup) < applied.0;
            let has_arrived = peer.matched >= receiver.has;
            (is_behind || !has_arrived) && now < receiver.until
        });
    }

    /// Returns up to where the log may be forgotten.
    pub(crate) fn forget(&mut self, raft: &Raft, applied: Index) -> Index {
        let is_alone = raft.conf().voters.len() + raft.conf().learners.len() <= 1;
        let kept = if is_alone { 0 } else { self.catchup_entries };
        let needed = self.receivers.values().map(|receiver| receiver.has.0).min();
        let wanted = applied.0.saturating_sub(kept).min(needed.unwrap_or(u64::MAX));
        while applied.0 - (self.sizes.len() as u64) < wanted || self.bytes > BYTES_MAX {
            let Some(bytes) = self.sizes.pop_front() else { break };
            self.bytes -= bytes;
        }
        Index(applied.0 - self.sizes.len() as u64)
    }
}

#[cfg(test)]
mod tests;
