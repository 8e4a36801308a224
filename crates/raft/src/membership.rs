//! Who counts: membership changes of one node, active when they are applied.
//!
//! A leader that applies its own removal stays until a majority of the remaining voters knows
//! that the removal is committed, and then tells the best of them to take over. If it stopped
//! at once and its last messages were lost, the others could be left with an election that
//! needs the vote of the node that was removed.
//!
//! One case remains, as in etcd: if the leader of a group of two voters removes itself and
//! crashes after it has applied that and before the other one knows, the other one waits until
//! the crashed node is back. Whoever removes a leader should transfer the leadership first.

use std::collections::{BTreeMap, BTreeSet};

use crate::progress::Progress;
use crate::quorum::{self, VoteResult};
use crate::raft::Raft;
use crate::status::Role;
use crate::{Body, ConfChange, ConfChangeKind, ConfState, Index, NodeId};

/// A leader's farewell: who knows that its removal is committed.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    /// The commit index that the others must learn.
    commit: Index,
    /// The first heartbeat round in which each follower was told.
    told: BTreeMap<NodeId, u64>,
    /// The followers that have answered it.
    know: BTreeSet<NodeId>,
}

impl Leaving {
    /// Notes that a heartbeat of `round` told a follower to commit up to `commit`.
    pub(crate) fn told(&mut self, node: NodeId, commit: Index, round: u64) {
        if commit >= self.commit {
            self.told.entry(node).or_insert(round);
        }
    }
}

impl Raft {
    /// Applies a committed membership change and returns the members as of that entry. Call it
    /// for every entry of kind [`EntryKind::ConfChange`](crate::EntryKind::ConfChange) when it
    /// is applied, before [`Raft::set_applied`]; give it [`NodeId::NONE`] to refuse the change.
    ///
    /// A change that would remove the last voter is refused. A change that was handed out
    /// before a snapshot arrived, and is applied while the snapshot waits to be installed,
    /// yields the members as of that entry, but those that count are the snapshot's already.
    pub fn apply_conf_change(&mut self, change: ConfChange) -> ConfState {
        if let Some(overtaken) = &mut self.overtaken_conf {
            *overtaken = changed(overtaken, change);
            return overtaken.clone();
        }
        let conf = changed(&self.conf, change);
        if conf != self.conf {
            self.conf = conf;
            self.track(change.node);
            if self.role == Role::Leader {
                self.adapt_leader();
            }
        }
        self.notice_conf();
        self.conf.clone()
    }

    /// Takes note that a follower has answered a heartbeat round, and leaves if enough have.
    pub(crate) fn note_farewell(&mut self, from: NodeId, round: u64) {
        let Some(leaving) = &mut self.leaving else { return };
        if leaving.told.get(&from).is_some_and(|&first| first <= round) {
            leaving.know.insert(from);
        }
        let knows = |node: NodeId| Some(leaving.know.contains(&node));
        if quorum::vote_result(&self.conf.voters, knows) == VoteResult::Won {
            self.resign();
        }
    }

    /// Hands over to the voter that has the most of this leader's log, and steps down.
    pub(crate) fn resign(&mut self) {
        let voters = self.progress.iter().filter(|(_, progress)| !progress.is_learner);
        if let Some((&best, _)) = voters.max_by_key(|(_, progress)| progress.matched) {
            self.send(best, Body::TimeoutNow);
        }
        self.become_follower(self.term, NodeId::NONE);
    }

    /// Brings the progress of a node in line with its membership.
    fn track(&mut self, node: NodeId) {
        if !self.conf.contains(node) {
            self.progress.remove(&node);
            return;
        }
        let is_learner = !self.conf.is_voter(node);
        let next = self.log.last_index();
        let max_inflight = self.config.max_inflight_messages;
        let progress = self.progress.entry(node).or_insert_with(|| {
            let mut progress = Progress::new(next, is_learner, max_inflight);
            // It had no chance to be heard of; the quorum check gives it one.
            progress.recent_active = true;
            progress
        });
        progress.is_learner = is_learner;
    }

    fn adapt_leader(&mut self) {
        if !self.conf.is_voter(self.transferee) {
            self.transferee = NodeId::NONE;
        }
        self.advance_commit();
        self.confirm_reads();
        if !self.conf.is_voter(self.id) && self.leaving.is_none() {
            let commit = self.log.commit();
            self.leaving = Some(Leaving { commit, told: BTreeMap::new(), know: BTreeSet::new() });
            self.election_elapsed = 0;
            self.broadcast_heartbeat();
        }
    }
}

/// Returns the members after a change, or the same members if it changes nothing.
fn changed(conf: &ConfState, change: ConfChange) -> ConfState {
    let ConfChange { kind, node } = change;
    let mut after = conf.clone();
    if node.is_none() || kind == ConfChangeKind::Update {
        return after;
    }
    after.voters.retain(|&voter| voter != node);
    after.learners.retain(|&learner| learner != node);
    match kind {
        ConfChangeKind::AddVoter => after.voters.push(node),
        ConfChangeKind::AddLearner => after.learners.push(node),
        ConfChangeKind::Remove | ConfChangeKind::Update => {}
    }
    after.normalize();
    if after.voters.is_empty() && !conf.voters.is_empty() { conf.clone() } else { after }
}
