//! What nodes say to each other: one message type, one variant per kind, each with its own fields.
//!
//! Every kind that etcd's raft sends over the network is here, with everything raftpb carries for
//! it. The requests that raft sends to itself (campaign, beat, storage) are methods instead.

use bytes::Bytes;

use crate::{Entry, EntryKind, Index, NodeId, Snapshot, Term};

/// A message from one node to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The receiver.
    pub to: NodeId,
    /// The sender. (On the wire a [`Body::TransferLeader`] names the transferee here.)
    pub from: NodeId,
    /// The sender's term; 0 for forwarded proposals and read requests. A pre-vote carries the
    /// term that its sender would campaign for, a granted pre-vote response repeats it.
    pub term: Term,
    /// What is said.
    pub body: Body,
}

/// The content of a [`Message`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A leader's entries after (`prev_index`, `prev_term`). Without entries it is a probe, or
    /// the news of a commit index.
    Append {
        /// The index before the first entry.
        prev_index: Index,
        /// The term of the entry at `prev_index`.
        prev_term: Term,
        /// Entries with consecutive indexes from `prev_index + 1`.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: Index,
    },
    /// The answer to an append or a snapshot.
    AppendResponse {
        /// If accepted: the last index up to which the logs are known to match and the sender's
        /// log is durable. If rejected: the `prev_index` that did not match.
        index: Index,
        /// Present if the append did not fit.
        reject: Option<Rejection>,
    },
    /// A leader's sign of life.
    Heartbeat {
        /// The commit index, at most what the receiver is known to hold.
        commit: Index,
        /// Bytes to be returned unchanged: they identify a read round.
        context: Bytes,
    },
    /// The answer to a heartbeat.
    HeartbeatResponse {
        /// The heartbeat's context, byte for byte.
        context: Bytes,
    },
    /// A candidate's request for a vote.
    Vote {
        /// The candidate's last index.
        last_index: Index,
        /// The term of the candidate's last entry.
        last_term: Term,
        /// Set if the leader asked for this election: voters then ignore the leader's lease.
        transfer: bool,
    },
    /// The answer to a vote request.
    VoteResponse {
        /// Set if the vote was refused.
        reject: bool,
    },
    /// A question: would you vote for me in this term? Nobody changes state over it.
    PreVote {
        /// The candidate's last index.
        last_index: Index,
        /// The term of the candidate's last entry.
        last_term: Term,
    },
    /// The answer to a pre-vote.
    PreVoteResponse {
        /// Set if the vote would be refused.
        reject: bool,
    },
    /// State in place of entries that the leader has dropped. A core sends it without data: the
    /// sender fills [`Snapshot::data`] and may take any later index, with its term and members.
    Snapshot(Snapshot),
    /// Proposals forwarded to the leader.
    Propose {
        /// The kinds and payloads, appended together or not at all.
        entries: Vec<(EntryKind, Bytes)>,
    },
    /// The wish that leadership moves; followers forward it to the leader.
    TransferLeader {
        /// The node that shall lead.
        transferee: NodeId,
    },
    /// The leader tells a caught-up node to campaign at once.
    TimeoutNow,
    /// A read request forwarded to the leader.
    ReadIndex {
        /// The requester's identification of the read.
        context: Bytes,
    },
    /// The leader's answer to a forwarded read request.
    ReadIndexResponse {
        /// The index that must be applied before the read is served.
        index: Index,
        /// The requester's identification of the read.
        context: Bytes,
    },
}

/// What a follower that could not take an append knows about its own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The highest index at which the logs might match.
    pub hint_index: Index,
    /// The term of the sender's entry at `hint_index`, or 0 if unknown.
    pub hint_term: Term,
}
