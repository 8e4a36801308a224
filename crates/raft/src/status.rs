//! What a node is doing, for operators, metrics and tests.

use std::collections::BTreeMap;
use std::fmt;

use crate::raft::Raft;
use crate::{Index, NodeId, ProgressState, Term};

/// The part that a node plays in its term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It follows a leader, or waits for one.
    #[default]
    Follower,
    /// It asks whether it would be elected.
    PreCandidate,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Follower => "follower",
            Self::PreCandidate => "pre-candidate",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
        })
    }
}

/// A picture of a node's consensus state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The node.
    pub id: NodeId,
    /// Its term.
    pub term: Term,
    /// Whom it voted for in this term.
    pub vote: NodeId,
    /// The part it plays.
    pub role: Role,
    /// The leader it knows of.
    pub leader: NodeId,
    /// The highest index known to be committed.
    pub commit: Index,
    /// The highest index that the state machine has applied.
    pub applied: Index,
    /// The last index that was dropped from the front of the log.
    pub compacted: Index,
    /// The last index of the log.
    pub last_index: Index,
    /// The last index that is durable here.
    pub persisted: Index,
    /// The node to which this leader is handing over.
    pub transferee: NodeId,
    /// What this leader knows of every member, itself included; empty unless it leads.
    pub progress: BTreeMap<NodeId, PeerStatus>,
}

/// What a leader knows of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The member's log is durable and equal to the leader's up to here.
    pub matched: Index,
    /// The next index to send.
    pub next: Index,
    /// How the leader sends to it.
    pub state: ProgressState,
    /// Nothing is sent until it is heard of again.
    pub paused: bool,
    /// It was heard of since the last quorum check.
    pub recent_active: bool,
    /// It receives the log but does not count.
    pub is_learner: bool,
}

impl Raft {
    /// Returns a picture of the node's state.
    #[must_use]
    pub fn status(&self) -> Status {
        let peer = |progress: &crate::progress::Progress| PeerStatus {
            matched: progress.matched,
            next: progress.next,
            state: progress.state(),
            paused: progress.is_paused(),
            recent_active: progress.recent_active,
            is_learner: progress.is_learner,
        };
        let progress = match self.role {
            Role::Leader => self.progress.iter().map(|(&node, it)| (node, peer(it))).collect(),
            Role::Follower | Role::PreCandidate | Role::Candidate => BTreeMap::new(),
        };
        Status {
            id: self.id,
            term: self.term,
            vote: self.vote,
            role: self.role,
            leader: self.leader,
            commit: self.log.commit(),
            applied: self.log.applied(),
            compacted: self.log.base().index,
            last_index: self.log.last_index(),
            persisted: self.log.persisted(),
            transferee: self.transferee,
            progress,
        }
    }
}
