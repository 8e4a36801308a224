//! What a message or a restored log must look like before any rule is applied to it.
//!
//! The rules behind this door may rely on it: indexes and terms are far from the end of the
//! number range, entries are consecutive, terms do not decrease.

use crate::config::Config;
use crate::{
    Body, Entry, EntryId, EntryKind, HardState, Index, Message, NodeId, RestoreError, StepError,
    Term,
};

/// The highest term and index that are believed. A group that elects a million leaders and
/// commits a million entries per second for 250000 years stays below it.
pub(crate) const LIMIT: u64 = u64::MAX / 2;

/// Checks the settings of a node.
pub(crate) fn config(config: &Config) -> Result<(), RestoreError> {
    let reason = if config.id.is_none() {
        "a node needs an identity"
    } else if config.heartbeat_ticks == 0 {
        "heartbeats need an interval"
    } else if config.election_ticks <= config.heartbeat_ticks {
        "the election timeout must be longer than the heartbeat interval"
    } else if config.max_inflight_messages == 0 {
        "at least one append must be allowed in flight"
    } else {
        return Ok(());
    };
    Err(RestoreError::Config(reason))
}

/// Checks that what was restored contradicts neither itself nor what was promised.
pub(crate) fn restored(
    hard_state: &HardState,
    first: EntryId,
    entries: &[Entry],
    applied: Index,
) -> Result<(), RestoreError> {
    if first.index.0 > LIMIT || first.term.0 > LIMIT {
        return Err(RestoreError::Entries { index: first.index });
    }
    let last_index = consecutive(first, entries, Term(LIMIT))
        .map_err(|index| RestoreError::Entries { index })?;
    if hard_state.commit > last_index {
        return Err(RestoreError::CommitBeyondLog { commit: hard_state.commit, last_index });
    }
    if applied < first.index || applied > last_index {
        return Err(RestoreError::AppliedOutsideLog { applied, first: first.index, last_index });
    }
    Ok(())
}

/// Checks a message that has arrived at the node `id`.
pub(crate) fn message(message: &Message, id: NodeId) -> Result<(), StepError> {
    let malformed = |reason| Err(StepError::Malformed(reason));
    let Message { to, from, term, body } = message;
    if *to != id {
        return malformed("it is addressed to another node");
    }
    if from.is_none() {
        return malformed("it has no sender");
    }
    if term.0 > LIMIT {
        return malformed("its term is out of range");
    }
    let (may_lack_term, may_name_self) = match body {
        Body::Propose { .. } | Body::ReadIndex { .. } => (true, false),
        Body::TransferLeader { .. } => (true, true),
        Body::Append { .. }
        | Body::AppendResponse { .. }
        | Body::Heartbeat { .. }
        | Body::HeartbeatResponse { .. }
        | Body::Vote { .. }
        | Body::VoteResponse { .. }
        | Body::PreVote { .. }
        | Body::PreVoteResponse { .. }
        | Body::Snapshot(_)
        | Body::TimeoutNow
        | Body::ReadIndexResponse { .. } => (false, false),
    };
    if *from == id && !may_name_self {
        return malformed("it comes from its receiver");
    }
    if *term == Term::ZERO && !may_lack_term {
        return malformed("it has no term");
    }
    self::body(body, *term).map_or(Ok(()), malformed)
}

/// Returns what is wrong with the content of a message.
fn body(body: &Body, term: Term) -> Option<&'static str> {
    match body {
        Body::Append { prev_index, prev_term, entries, commit: _ } => {
            let prev = EntryId { index: *prev_index, term: *prev_term };
            if prev_index.0 > LIMIT || *prev_term > term {
                return Some("it continues an impossible entry");
            }
            let fits = consecutive(prev, entries, term).is_ok();
            (!fits).then_some("its entries are not consecutive, or from a later term")
        }
        Body::Snapshot(snapshot) => {
            let EntryId { index, term: entry_term } = snapshot.meta.id();
            let fits = index > Index::ZERO
                && index.0 <= LIMIT
                && entry_term > Term::ZERO
                && entry_term <= term;
            (!fits).then_some("its snapshot is of an impossible entry")
        }
        Body::Propose { entries } if entries.is_empty() => Some("it proposes nothing"),
        Body::Propose { entries } => entries
            .iter()
            .any(|(kind, _)| *kind == EntryKind::ConfChangeV2)
            .then_some("it proposes a membership change of more than one node"),
        Body::AppendResponse { .. }
        | Body::Heartbeat { .. }
        | Body::HeartbeatResponse { .. }
        | Body::Vote { .. }
        | Body::VoteResponse { .. }
        | Body::PreVote { .. }
        | Body::PreVoteResponse { .. }
        | Body::TransferLeader { .. }
        | Body::TimeoutNow
        | Body::ReadIndex { .. }
        | Body::ReadIndexResponse { .. } => None,
    }
}

/// Returns the last index of entries that follow `prev` one by one with terms that do not
/// decrease, or the first index that does not fit.
fn consecutive(prev: EntryId, entries: &[Entry], max_term: Term) -> Result<Index, Index> {
    let mut last = prev;
    for entry in entries {
        let follows = last.index.0 < LIMIT && entry.index == last.index.next();
        let in_order = entry.term >= last.term.max(Term(1)) && entry.term <= max_term;
        if !follows || !in_order {
            return Err(entry.index);
        }
        last = entry.id();
    }
    Ok(last.index)
}

#[cfg(test)]
mod tests;
