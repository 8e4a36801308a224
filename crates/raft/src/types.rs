//! The nouns of consensus: terms, indexes, nodes, entries, hard state, configuration, snapshots.
//!
//! They mirror raftpb field by field, so that another crate can map them to bytes without loss.
//! Not here: any rule about how they change.

use std::fmt;
use std::ops::{Add, Sub};

use bytes::Bytes;

/// A period with at most one leader. Terms only grow; 0 is before the first election.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

impl Term {
    /// The term before any election.
    pub const ZERO: Self = Self(0);

    /// Returns the following term.
    ///
    /// # Panics
    /// After 2^64 - 1 elections. Terms of messages are checked before they are adopted.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("terms are exhausted"))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A position in the log. The first entry has index 1; 0 is before the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub u64);

impl Index {
    /// The position before the first entry.
    pub const ZERO: Self = Self(0);

    /// Returns the following position.
    ///
    /// # Panics
    /// At the end of the number range. Indexes of messages are checked before they are used.
    #[must_use]
    pub fn next(self) -> Self {
        self + 1
    }

    /// Returns the preceding position, or 0 at 0.
    #[must_use]
    pub fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl Add<u64> for Index {
    type Output = Self;

    fn add(self, count: u64) -> Self {
        Self(self.0.checked_add(count).expect("log indexes are exhausted"))
    }
}

impl Sub for Index {
    type Output = u64;

    /// Returns the distance between two positions; the right one must not be the later one.
    fn sub(self, earlier: Self) -> u64 {
        assert!(self >= earlier, "index {self} is before {earlier}");
        self.0 - earlier.0
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The identity of a node in the Raft group (a member ID), printed in lower-case hexadecimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl NodeId {
    /// No node: an unknown leader, a vote not cast.
    pub const NONE: Self = Self(0);

    /// Returns true if this names no node.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// What an entry is for. The discriminants are raftpb's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// A payload for the state machine, or nothing if empty.
    #[default]
    Normal = 0,
    /// A membership change of one node, active when it is applied.
    ConfChange = 1,
    /// A membership change of the second version. It is carried, but never proposed here.
    ConfChangeV2 = 2,
}

/// One entry of the replicated log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What the payload is for.
    pub kind: EntryKind,
    /// The term of the leader that appended the entry.
    pub term: Term,
    /// The position in the log.
    pub index: Index,
    /// The payload, opaque to this crate.
    pub data: Bytes,
}

impl Entry {
    /// What an entry costs beside its payload, so that empty entries are bounded too.
    const OVERHEAD: u64 = 24;

    /// Returns the position and the term.
    #[must_use]
    pub fn id(&self) -> EntryId {
        EntryId { index: self.index, term: self.term }
    }

    /// Returns the bytes that count against the bounds on messages and batches.
    #[must_use]
    pub fn size(&self) -> u64 {
        Self::OVERHEAD + self.data.len() as u64
    }
}

/// The identity of an entry: two logs that share one share everything before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryId {
    /// The position in the log.
    pub index: Index,
    /// The term of the entry at that position.
    pub term: Term,
}

/// The little state that must be durable for a node to keep its promises after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term seen.
    pub term: Term,
    /// The node voted for in that term, or none.
    pub vote: NodeId,
    /// The highest index known to be committed.
    pub commit: Index,
}

/// The members of the group. Both lists are sorted and disjoint. Joint configurations are not
/// represented, because only changes of one node at a time are supported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfState {
    /// The nodes whose majority decides.
    pub voters: Vec<NodeId>,
    /// The nodes that receive the log but do not count.
    pub learners: Vec<NodeId>,
}

impl ConfState {
    /// Returns true if the node is a voter or a learner.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.binary_search(&node).is_ok()
    }

    /// Returns true if the node is a voter.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.binary_search(&node).is_ok()
    }

    /// Sorts and removes duplicates; a node in both lists is a voter.
    pub(crate) fn normalize(&mut self) {
        self.voters.sort_unstable();
        self.voters.dedup();
        self.learners.sort_unstable();
        self.learners.dedup();
        let voters = &self.voters;
        self.learners.retain(|node| voters.binary_search(node).is_err());
    }
}

/// What a snapshot replaces: the log up to an index, and the members at that index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The last index that the snapshot covers.
    pub index: Index,
    /// The term of the entry at that index.
    pub term: Term,
    /// The members as of that index.
    pub conf: ConfState,
}

impl SnapshotMeta {
    /// Returns the identity of the last entry that the snapshot covers.
    #[must_use]
    pub fn id(&self) -> EntryId {
        EntryId { index: self.index, term: self.term }
    }
}

/// A state of the state machine that replaces a prefix of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// What the snapshot covers.
    pub meta: SnapshotMeta,
    /// The state itself, opaque to this crate.
    pub data: Bytes,
}

/// How a configuration change alters the membership. The discriminants are raftpb's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfChangeKind {
    /// Add a voter, or promote a learner.
    AddVoter = 0,
    /// Remove a voter or a learner.
    Remove = 1,
    /// Change nothing that consensus knows of.
    Update = 2,
    /// Add a learner, or demote a voter.
    AddLearner = 3,
}

/// A membership change of one node. With [`NodeId::NONE`] it changes nothing, which is how an
/// application applies a change that it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfChange {
    /// What happens to the node.
    pub kind: ConfChangeKind,
    /// The node, or none.
    pub node: NodeId,
}
