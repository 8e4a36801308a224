//! Why the core refused something. All of it is recoverable by the caller except what
//! [`StepError::is_fatal`] names.

use std::error::Error;
use std::fmt;

use crate::{Index, NodeId};

/// Why a node cannot start from what was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// A setting makes no sense.
    Config(&'static str),
    /// The entries do not follow the compacted prefix one by one, or their terms decrease.
    Entries {
        /// The first index that does not fit.
        index: Index,
    },
    /// The hard state knows a commit index that the log does not reach: entries were lost.
    CommitBeyondLog {
        /// The commit index of the hard state.
        commit: Index,
        /// The last index of the log.
        last_index: Index,
    },
    /// The applied index is outside of the log, so that entries are missing.
    AppliedOutsideLog {
        /// The applied index.
        applied: Index,
        /// The last compacted index.
        first: Index,
        /// The last index of the log.
        last_index: Index,
    },
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(reason) => write!(f, "invalid raft configuration: {reason}"),
            Self::Entries { index } => write!(f, "the restored log is not consecutive at {index}"),
            Self::CommitBeyondLog { commit, last_index } => write!(
                f,
                "commit index {commit} is beyond the last index {last_index}: the log lost entries"
            ),
            Self::AppliedOutsideLog { applied, first, last_index } => write!(
                f,
                "applied index {applied} is outside of the log, which goes from {first} to \
                 {last_index}"
            ),
        }
    }
}

impl Error for RestoreError {}

/// Why a message was not processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepError {
    /// The message contradicts itself or the protocol. It changed nothing.
    Malformed(&'static str),
    /// The sender is nobody whom the node listens to. It changed nothing.
    UnknownSender(NodeId),
    /// A forwarded proposal was dropped. It changed nothing.
    ProposalDropped(ProposalDropped),
    /// A forwarded read request was dropped. It changed nothing.
    ReadDropped(ReadDropped),
    /// The leader knows that this node had acknowledged entries up to `commit`, which its log
    /// does not hold: durable entries were lost here. The commit index was not advanced.
    LogLost {
        /// The index that the leader believes this node holds.
        commit: Index,
        /// The last index of this node's log.
        last_index: Index,
    },
    /// The leader sent an entry that contradicts a committed one: a log was damaged, here or
    /// there. Nothing was appended.
    CommittedConflict {
        /// The index of the contradiction.
        index: Index,
    },
}

impl StepError {
    /// Returns true if the node must not go on: its log, or the leader's, is no longer the log
    /// that it voted and acknowledged with.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::LogLost { .. } | Self::CommittedConflict { .. } => true,
            Self::Malformed(_)
            | Self::UnknownSender(_)
            | Self::ProposalDropped(_)
            | Self::ReadDropped(_) => false,
        }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(reason) => write!(f, "malformed raft message: {reason}"),
            Self::UnknownSender(sender) => {
                write!(f, "the sender {sender} is no member of this cluster")
            }
            Self::ProposalDropped(reason) => reason.fmt(f),
            Self::ReadDropped(reason) => reason.fmt(f),
            Self::LogLost { commit, last_index } => write!(
                f,
                "the leader's commit index {commit} is beyond the last index {last_index}: this \
                 node lost entries that it had acknowledged"
            ),
            Self::CommittedConflict { index } => {
                write!(f, "the leader's entry {index} contradicts a committed entry")
            }
        }
    }
}

impl Error for StepError {}

/// Why a proposal was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposalDropped {
    /// No leader is known.
    NoLeader,
    /// Leadership is being transferred; the new leader will take proposals.
    Transferring,
    /// Too many bytes wait to be committed.
    Full,
    /// This leader was removed from the group and is about to step down.
    Removed,
}

impl fmt::Display for ProposalDropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLeader => "raft proposal dropped: no leader",
            Self::Transferring => "raft proposal dropped: leadership is being transferred",
            Self::Full => "raft proposal dropped: too many uncommitted bytes",
            Self::Removed => "raft proposal dropped: the leader was removed",
        })
    }
}

impl Error for ProposalDropped {}

/// Why a read request was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadDropped {
    /// No leader is known.
    NoLeader,
    /// Too many reads wait for confirmation.
    Full,
}

impl fmt::Display for ReadDropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLeader => "read index dropped: no leader",
            Self::Full => "read index dropped: too many reads wait",
        })
    }
}

impl Error for ReadDropped {}
