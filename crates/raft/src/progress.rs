//! What a leader knows about one follower's log, and how fast it may send to it.
//!
//! - Probe: one append per heartbeat until the follower's position is known.
//! - Replicate: entries are sent ahead of acknowledgements, up to a window of messages.
//! - Snapshot: nothing is sent until the snapshot's fate is known.
//!
//! Invariant: `matched < next`; the entries between them are on their way.

use std::collections::VecDeque;

use crate::Index;

/// How a leader sends to a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressState {
    /// The follower's position is a guess; appends are sent one at a time.
    Probe,
    /// The follower keeps up; appends are sent ahead of acknowledgements.
    Replicate,
    /// The follower needs a snapshot, which is on its way.
    Snapshot,
}

#[derive(Clone, Debug)]
enum Flow {
    Probe,
    /// The last indexes of the appends in flight, in order.
    Replicate {
        inflight: VecDeque<Index>,
    },
    /// The index of the snapshot on its way.
    Snapshot {
        pending: Index,
    },
}

/// A leader's view of one follower.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// The follower's log is durable and equal to ours up to here.
    pub(crate) matched: Index,
    /// The next index to send.
    pub(crate) next: Index,
    /// Something was heard from the follower since the last quorum check.
    pub(crate) recent_active: bool,
    /// The follower receives the log but does not count.
    pub(crate) is_learner: bool,
    /// The highest commit index sent, unless it was probably lost.
    sent_commit: Index,
    /// No append until the follower is heard of again.
    paused: bool,
    flow: Flow,
    max_inflight: usize,
}

impl Progress {
    /// Starts with a probe at `next`.
    pub(crate) fn new(next: Index, is_learner: bool, max_inflight: usize) -> Self {
        Self {
            matched: Index::ZERO,
            next: next.max(Index(1)),
            recent_active: false,
            is_learner,
            sent_commit: Index::ZERO,
            paused: false,
            flow: Flow::Probe,
            max_inflight,
        }
    }

    /// Returns how the leader sends.
    pub(crate) fn state(&self) -> ProgressState {
        match self.flow {
            Flow::Probe => ProgressState::Probe,
            Flow::Replicate { .. } => ProgressState::Replicate,
            Flow::Snapshot { .. } => ProgressState::Snapshot,
        }
    }

    /// Returns true while no append may be sent at all.
    pub(crate) fn is_paused(&self) -> bool {
        match self.flow {
            Flow::Probe | Flow::Replicate { .. } => self.paused,
            Flow::Snapshot { .. } => true,
        }
    }

    /// Returns true if an append may carry entries. With a full window it may only be empty: if
    /// everything in flight was lost, its answer is what restarts the flow.
    pub(crate) fn has_room(&self) -> bool {
        match &self.flow {
            Flow::Probe => true,
            Flow::Replicate { inflight } => inflight.len() < self.max_inflight,
            Flow::Snapshot { .. } => false,
        }
    }

    /// Falls back to guessing, from the pending snapshot if there is one.
    pub(crate) fn become_probe(&mut self) {
        self.next = match self.flow {
            Flow::Snapshot { pending } => self.matched.max(pending).next(),
            Flow::Probe | Flow::Replicate { .. } => self.matched.next(),
        };
        self.sent_commit = self.sent_commit.min(self.next.prev());
        self.paused = false;
        self.flow = Flow::Probe;
    }

    /// Starts to send ahead, from the first entry that is not known to match.
    pub(crate) fn become_replicate(&mut self) {
        self.next = self.matched.next();
        self.paused = false;
        self.flow = Flow::Replicate { inflight: VecDeque::new() };
    }

    /// Stops sending until the snapshot at `index` has arrived or failed.
    pub(crate) fn become_snapshot(&mut self, index: Index) {
        self.next = index.next();
        self.sent_commit = index;
        self.paused = false;
        self.flow = Flow::Snapshot { pending: index };
    }

    /// Ends waiting for a snapshot. Sending goes on after the next sign of life.
    pub(crate) fn snapshot_ended(&mut self, arrived: bool) {
        if let Flow::Snapshot { pending } = &mut self.flow {
            if !arrived {
                *pending = Index::ZERO;
            }
            self.become_probe();
            self.paused = true;
        }
    }

    /// Records an append with `count` entries and a commit index.
    pub(crate) fn sent_append(&mut self, count: u64, commit: Index) {
        self.sent_commit = commit;
        match &mut self.flow {
            Flow::Probe => self.paused |= count > 0,
            Flow::Replicate { inflight } => {
                if count > 0 {
                    self.next = self.next + count;
                    inflight.push_back(self.next.prev());
                }
                self.paused = inflight.len() >= self.max_inflight;
            }
            Flow::Snapshot { .. } => unreachable!("nothing is sent beside a snapshot"),
        }
    }

    /// Records a heartbeat with a commit index.
    pub(crate) fn sent_heartbeat(&mut self, commit: Index) {
        self.sent_commit = self.sent_commit.max(commit);
    }

    /// Returns true if an append without entries would tell the follower to commit more.
    pub(crate) fn can_bump_commit(&self, commit: Index) -> bool {
        commit > self.sent_commit && self.sent_commit < self.next.prev()
    }

    /// Records a sign of life: one append may be sent even if the flow was paused.
    pub(crate) fn heard(&mut self) {
        self.recent_active = true;
        self.paused = false;
    }

    /// Takes an acknowledgement up to `index`. `available` is the first index that our log can
    /// still send. Returns false if it says nothing new.
    pub(crate) fn accept(&mut self, index: Index, available: Index) -> bool {
        let news = index > self.matched;
        let probe_succeeded = index == self.matched && matches!(self.flow, Flow::Probe);
        if news {
            self.matched = index;
            self.next = self.next.max(index.next());
            self.paused = false;
        }
        match &mut self.flow {
            Flow::Probe if news || probe_succeeded => self.become_replicate(),
            // Wherever the snapshot came from: if the log can go on from here, it does.
            Flow::Snapshot { .. } if news && index.next() >= available => self.become_replicate(),
            Flow::Replicate { inflight } => {
                while inflight.front().is_some_and(|&last| last <= index) {
                    inflight.pop_front();
                    self.paused = false;
                }
            }
            Flow::Probe | Flow::Snapshot { .. } => {}
        }
        news || probe_succeeded
    }

    /// Takes the refusal of an append after `rejected`; the logs might match at `hint`. Returns
    /// false if the refusal is out of date.
    pub(crate) fn reject(&mut self, rejected: Index, hint: Index) -> bool {
        match self.flow {
            Flow::Replicate { .. } => {
                if rejected <= self.matched {
                    return false;
                }
                self.become_probe();
            }
            Flow::Probe => {
                if self.next.prev() != rejected {
                    return false;
                }
                let guess = Index(hint.0.saturating_add(1)).min(rejected);
                self.next = guess.max(self.matched.next());
                self.sent_commit = self.sent_commit.min(self.next.prev());
                self.paused = false;
            }
            Flow::Snapshot { .. } => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{Progress, ProgressState};
    use crate::Index;

    fn replicating(matched: u64, max_inflight: usize) -> Progress {
        let mut progress = Progress::new(Index(matched + 1), false, max_inflight);
        assert!(progress.accept(Index(matched), Index(1)) || matched == 0);
        progress.become_replicate();
        progress
    }

    #[test]
    fn a_probe_waits_for_its_answer() {
        let mut progress = Progress::new(Index(6), false, 4);
        progress.sent_append(0, Index(0));
        assert!(!progress.is_paused(), "an empty probe costs nothing");
        progress.sent_append(3, Index(0));
        assert!(progress.is_paused());
        progress.heard();
        assert!(!progress.is_paused());
        assert!(progress.accept(Index(8), Index(1)));
        assert_eq!(progress.state(), ProgressState::Replicate);
        assert_eq!(progress.next, Index(9));
    }

    #[test]
    fn the_window_bounds_the_messages_in_flight() {
        let mut progress = replicating(5, 2);
        progress.sent_append(1, Index(5));
        assert!(progress.has_room() && !progress.is_paused());
        progress.sent_append(2, Index(5));
        assert!(!progress.has_room() && progress.is_paused());
        progress.heard();
        assert!(!progress.has_room() && !progress.is_paused(), "only an empty append may go");
        progress.sent_append(0, Index(5));
        assert!(progress.is_paused());
        assert!(progress.accept(Index(6), Index(1)));
        assert!(progress.has_room() && !progress.is_paused());
        assert_eq!(progress.next, Index(9));
    }

    #[test]
    fn a_duplicated_acknowledgement_changes_nothing() {
        let mut progress = replicating(5, 2);
        progress.sent_append(3, Index(5));
        assert!(!progress.accept(Index(5), Index(1)));
        assert!(!progress.accept(Index(2), Index(1)));
        assert_eq!((progress.matched, progress.next), (Index(5), Index(9)));
    }

    #[test]
    fn a_refusal_lowers_the_guess_but_never_below_what_matched() {
        let mut progress = Progress::new(Index(10), false, 4);
        assert!(!progress.reject(Index(7), Index(3)), "it refuses another append");
        assert!(progress.reject(Index(9), Index(5)));
        assert_eq!(progress.next, Index(6));
        assert!(progress.reject(Index(5), Index(u64::MAX)));
        assert_eq!(progress.next, Index(5));
        progress.matched = Index(3);
        assert!(progress.reject(Index(4), Index(0)));
        assert_eq!(progress.next, Index(4));
    }

    #[test]
    fn a_refusal_ends_replication_unless_it_is_old() {
        let mut progress = replicating(5, 4);
        progress.sent_append(4, Index(5));
        assert!(!progress.reject(Index(5), Index(2)));
        assert!(progress.reject(Index(9), Index(2)));
        assert_eq!(progress.state(), ProgressState::Probe);
        assert_eq!(progress.next, Index(6));
    }

    #[test]
    fn a_snapshot_blocks_until_its_fate_is_known() {
        let mut progress = Progress::new(Index(3), false, 4);
        progress.become_snapshot(Index(20));
        progress.heard();
        assert!(progress.is_paused());
        assert!(!progress.reject(Index(20), Index(2)));
        let mut failed = progress.clone();
        failed.snapshot_ended(false);
        assert!(failed.is_paused(), "not before the next sign of life");
        assert_eq!((failed.state(), failed.next), (ProgressState::Probe, Index(1)));
        let mut arrived = progress.clone();
        arrived.snapshot_ended(true);
        assert_eq!((arrived.state(), arrived.next), (ProgressState::Probe, Index(21)));
        assert!(progress.accept(Index(10), Index(15)), "too old a snapshot");
        assert_eq!(progress.state(), ProgressState::Snapshot);
        assert!(progress.accept(Index(22), Index(15)));
        assert_eq!((progress.state(), progress.next), (ProgressState::Replicate, Index(23)));
    }

    #[test]
    fn the_commit_index_is_announced_once() {
        let mut progress = replicating(5, 4);
        assert!(progress.can_bump_commit(Index(5)));
        progress.sent_append(0, Index(5));
        assert!(!progress.can_bump_commit(Index(5)));
        assert!(!progress.can_bump_commit(Index(6)), "the follower could not commit it");
        progress.sent_append(1, Index(5));
        assert!(progress.can_bump_commit(Index(6)));
        progress.sent_heartbeat(Index(6));
        assert!(!progress.can_bump_commit(Index(6)));
        progress.sent_append(1, Index(6));
        progress.become_probe();
        assert!(!progress.can_bump_commit(Index(7)), "a probe may not go beyond what matched");
    }
}
