use bytes::Bytes;

use super::{LIMIT, message, restored};
use crate::{
    Body, Entry, EntryId, EntryKind, HardState, Index, Message, NodeId, RestoreError, Snapshot,
    SnapshotMeta, StepError, Term,
};

fn entry(index: u64, term: u64) -> Entry {
    Entry { index: Index(index), term: Term(term), ..Entry::default() }
}

fn append(prev: (u64, u64), entries: Vec<Entry>) -> Body {
    let (prev_index, prev_term) = (Index(prev.0), Term(prev.1));
    Body::Append { prev_index, prev_term, entries, commit: Index(u64::MAX) }
}

/// Checks a message of term 3 from node 2 to node 1.
fn check(body: Body, expected: Result<(), StepError>) {
    let message_3 = Message { to: NodeId(1), from: NodeId(2), term: Term(3), body };
    assert_eq!(message(&message_3, NodeId(1)), expected, "{message_3:?}");
}

#[test]
fn appends_must_be_consecutive_and_of_no_later_term() {
    let impossible = Err(StepError::Malformed("it continues an impossible entry"));
    let torn = Err(StepError::Malformed("its entries are not consecutive, or from a later term"));
    check(append((0, 0), vec![entry(1, 1), entry(2, 3)]), Ok(()));
    check(append((u64::MAX, 1), vec![]), impossible);
    check(append((5, 4), vec![]), impossible);
    check(append((LIMIT, 3), vec![entry(LIMIT + 1, 3)]), torn);
    check(append((5, 2), vec![entry(7, 3)]), torn);
    check(append((5, 2), vec![entry(6, 3), entry(6, 3)]), torn);
    check(append((5, 2), vec![entry(6, 1)]), torn);
    check(append((5, 2), vec![entry(6, 3), entry(7, 2)]), torn);
    check(append((5, 2), vec![entry(6, 4)]), torn);
    check(append((0, 0), vec![entry(1, 0)]), torn);
}

#[test]
fn snapshots_must_be_of_possible_entries() {
    let impossible = Err(StepError::Malformed("its snapshot is of an impossible entry"));
    let snapshot = |index, term| {
        let meta = SnapshotMeta { index: Index(index), term: Term(term), ..Default::default() };
        Body::Snapshot(Snapshot { meta, data: Bytes::new() })
    };
    check(snapshot(5, 3), Ok(()));
    check(snapshot(0, 3), impossible);
    check(snapshot(u64::MAX, 3), impossible);
    check(snapshot(5, 0), impossible);
    check(snapshot(5, 4), impossible);
}

#[test]
fn proposals_must_propose_something_that_can_be_applied() {
    let propose = |kinds: &[EntryKind]| Body::Propose {
        entries: kinds.iter().map(|&kind| (kind, Bytes::new())).collect(),
    };
    check(propose(&[EntryKind::Normal, EntryKind::ConfChange]), Ok(()));
    check(propose(&[]), Err(StepError::Malformed("it proposes nothing")));
    check(
        propose(&[EntryKind::ConfChangeV2]),
        Err(StepError::Malformed("it proposes a membership change of more than one node")),
    );
}

#[test]
fn envelopes_must_make_sense() {
    let check = |to, from, term, body: Body, expected: Option<&'static str>| {
        let envelope = Message { to: NodeId(to), from: NodeId(from), term: Term(term), body };
        let expected = expected.map_or(Ok(()), |reason| Err(StepError::Malformed(reason)));
        assert_eq!(message(&envelope, NodeId(1)), expected, "{envelope:?}");
    };
    let read = || Body::ReadIndex { context: Bytes::new() };
    let transfer = || Body::TransferLeader { transferee: NodeId(1) };
    check(2, 3, 1, Body::TimeoutNow, Some("it is addressed to another node"));
    check(1, 0, 1, Body::TimeoutNow, Some("it has no sender"));
    check(1, 1, 1, Body::TimeoutNow, Some("it comes from its receiver"));
    check(1, 1, 1, transfer(), None);
    check(1, 2, 0, Body::TimeoutNow, Some("it has no term"));
    check(1, 2, 0, read(), None);
    check(1, 2, u64::MAX, read(), Some("its term is out of range"));
}

fn check_restored(
    commit: u64,
    first: (u64, u64),
    entries: &[Entry],
    applied: u64,
    expected: Result<(), RestoreError>,
) {
    let hard_state = HardState { term: Term(9), vote: NodeId(1), commit: Index(commit) };
    let first = EntryId { index: Index(first.0), term: Term(first.1) };
    assert_eq!(restored(&hard_state, first, entries, Index(applied)), expected);
}

#[test]
fn a_restored_log_must_hold_what_was_promised() {
    let entries = [entry(6, 2), entry(7, 3)];
    check_restored(7, (5, 2), &entries, 5, Ok(()));
    check_restored(0, (5, 2), &entries, 7, Ok(()));
    let commit = Index(8);
    let last_index = Index(7);
    check_restored(
        8,
        (5, 2),
        &entries,
        5,
        Err(RestoreError::CommitBeyondLog { commit, last_index }),
    );
    for applied in [4, 8] {
        let (applied_index, first) = (Index(applied), Index(5));
        let error = RestoreError::AppliedOutsideLog { applied: applied_index, first, last_index };
        check_restored(5, (5, 2), &entries, applied, Err(error));
    }
    check_restored(5, (4, 2), &entries, 5, Err(RestoreError::Entries { index: Index(6) }));
    check_restored(5, (5, 3), &entries, 5, Err(RestoreError::Entries { index: Index(6) }));
}
