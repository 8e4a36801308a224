//! What a node starts from: its settings, and what its disk remembers.

use crate::{ConfState, Entry, EntryId, HardState, Index, NodeId};

/// The settings of a node.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The node's identity in the group.
    pub id: NodeId,
    /// Ticks without a leader before an election, T: the timeout is drawn from [T, 2T). It is
    /// also the length of the leader's lease and of a leadership transfer.
    pub election_ticks: u32,
    /// Ticks between a leader's heartbeats; less than `election_ticks`.
    pub heartbeat_ticks: u32,
    /// The bytes of entries in one append; one entry is always sent.
    pub max_size_per_message: u64,
    /// The appends that may be on their way to one follower.
    pub max_inflight_messages: usize,
    /// The bytes of committed entries that may be handed out and not yet be applied; one entry
    /// always is.
    pub max_committed_bytes_per_ready: u64,
    /// The payload bytes that a leader takes before they are committed; one batch always is.
    pub max_uncommitted_bytes: u64,
    /// Ask before an election whether it could be won, so that a node that comes back from a
    /// partition does not depose a working leader.
    pub pre_vote: bool,
    /// A leader steps down when it has not heard from a majority for `election_ticks`, and
    /// nobody votes within that time of hearing from a leader.
    pub check_quorum: bool,
    /// The source of this node's election timeouts.
    pub seed: u64,
}

/// What storage and state machine remember. All of it is durable.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// The hard state written last.
    pub hard_state: HardState,
    /// The members as of `applied`.
    pub conf: ConfState,
    /// The last compacted entry: the one before `entries`, or zeros for a log from the start.
    pub first: EntryId,
    /// The log after `first`.
    pub entries: Vec<Entry>,
    /// The index up to which the state machine has applied the log.
    pub applied: Index,
}
