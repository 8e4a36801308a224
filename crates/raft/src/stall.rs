//! A leader whose disk hangs.
//!
//! Heartbeats and commits need no disk of the leader, so nobody would notice: the others commit what
//! it sends, and it goes on leading although it can apply nothing and answer nobody. It is the one
//! that knows, so it hands over to a voter that is ahead of its disk.
//!
//! Invariants:
//! - Nothing is decided here: the next leader is elected by the rules, with votes of a majority.
//! - A leader hands over only while a majority without it holds more than its disk has taken. If all
//!   disks are slow, or the others are gone, it goes on.
//! - While its own write hangs, a node starts no election: it could not vote for itself.

use crate::notice::Notice;
use crate::quorum::{self, VoteResult};
use crate::raft::Raft;
use crate::{HardState, Index, NodeId};

/// A write that was handed out and is not durable yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteInFlight {
    /// The number of its Ready.
    pub(crate) number: u64,
    /// The hard state as of this write.
    pub(crate) hard_state: HardState,
    /// The tick at which it was handed out.
    pub(crate) handed_at: u64,
}

impl Raft {
    /// Returns true if the oldest write has not become durable within an election timeout.
    pub(crate) fn is_stalled(&self) -> bool {
        self.writes_in_flight.front().is_some_and(|oldest| {
            self.ticks.saturating_sub(oldest.handed_at) >= u64::from(self.config.election_ticks)
        })
    }

    /// As a leader whose disk hangs, takes no more proposals and hands over to who has the most of
    /// what this node's disk has not taken. It is tried again every election timeout.
    pub(crate) fn hand_over_if_stalled(&mut self) {
        if !self.is_stalled() || !self.transferee.is_none() || self.leaving.is_some() {
            return;
        }
        let Some(to) = self.successor() else { return };
        self.notice(Notice::DiskStalled { to, term: self.term });
        self.transfer_leader(to);
        self.is_stall_transfer = true;
    }

    /// The disk has taken something. If it no longer hangs, there is no reason to hand over.
    pub(crate) fn end_stall(&mut self) {
        if self.is_stall_transfer && !self.is_stalled() {
            self.is_stall_transfer = false;
            self.transferee = NodeId::NONE;
        }
    }

    /// Returns the voter to hand over to, if a majority without this node holds durably what this
    /// node does not. The first of equals is taken.
    fn successor(&self) -> Option<NodeId> {
        let persisted = self.log.persisted();
        let held_by = |node: NodeId| -> Option<Index> {
            let progress = self.progress.get(&node).filter(|_| node != self.id)?;
            (progress.recent_active && progress.matched > persisted).then_some(progress.matched)
        };
        let is_ahead = |node: NodeId| Some(held_by(node).is_some());
        if quorum::vote_result(&self.conf.voters, is_ahead) != VoteResult::Won {
            return None;
        }
        let most = self.conf.voters.iter().filter_map(|&voter| held_by(voter)).max()?;
        self.conf.voters.iter().copied().find(|&voter| held_by(voter) == Some(most))
    }
}
