//! Whom this node listens to: its members, and whom a member vouches for.
//!
//! What a message says of itself proves nothing, and one message of a leader that is none can replace
//! entries, raise the term or end the process. So who is no member is not heard.
//!
//! A member may be behind: others have joined, and one of them leads. It knows them if its log has the
//! entries that add them, applied or not. If it has not even those, whoever runs the node asks the
//! members that it knows, and vouches for the sender if one of them lists it.
//!
//! Not here: asking.

use std::collections::BTreeSet;

use prost::Message as _;
use quoin_api::raftpb;
use quoin_raft::{ConfChangeKind, NodeId, Raft};

use crate::wire;

/// Senders that are vouched for at once. More than a cluster has members; beyond, nobody new is heard
/// before the members are known from the log.
const VOUCHED_MAX: usize = 32;

/// Those who are heard although they are no members as far as the node has applied its log.
#[derive(Debug, Default)]
pub(crate) struct Senders {
    vouched: BTreeSet<NodeId>,
}

impl Senders {
    /// Returns true if a message of this sender may reach consensus.
    pub(crate) fn knows(&self, raft: &Raft, from: NodeId) -> bool {
        raft.conf().contains(from) || self.vouched.contains(&from) || is_being_added(raft, from)
    }

    /// Listens to a sender from now on.
    pub(crate) fn vouch(&mut self, sender: NodeId) {
        if self.vouched.len() < VOUCHED_MAX {
            self.vouched.insert(sender);
        }
    }

    /// Listens to a sender no more, unless it is a member.
    pub(crate) fn forget(&mut self, sender: NodeId) {
        self.vouched.remove(&sender);
    }

    /// Forgets all: the members are known anew.
    pub(crate) fn clear(&mut self) {
        self.vouched.clear();
    }
}

/// Whether an entry that is not applied yet adds the sender.
fn is_being_added(raft: &Raft, sender: NodeId) -> bool {
    raft.unapplied_conf_changes().any(|entry| {
        let Ok(change) = raftpb::ConfChange::decode(entry.data.clone()) else { return false };
        let change = wire::conf_change(&change);
        match change.kind {
            ConfChangeKind::AddVoter | ConfChangeKind::AddLearner => change.node == sender,
            ConfChangeKind::Remove | ConfChangeKind::Update => false,
        }
    })
}
