use quoin_node::LogWork;
use quoin_raft::{Config, Entry, Restored, SnapshotMeta};

use super::*;

const MEMBERS: usize = 3;

fn id(index: u64, term: u64) -> EntryId {
    EntryId { index: Index(index), term: Term(term) }
}

fn state(term: u64, commit: u64) -> HardState {
    HardState { term: Term(term), vote: NodeId(1), commit: Index(commit) }
}

/// Work with entries of one term, and a hard state of the same term.
fn work(indexes: std::ops::RangeInclusive<u64>, term: u64, commit: u64) -> LogWork {
    let entry = |index| Entry { index: Index(index), term: Term(term), ..Entry::default() };
    let entries = indexes.map(entry).collect();
    LogWork { hard_state: Some(state(term, commit)), entries, ..LogWork::default() }
}

fn install(index: u64, term: u64) -> LogWork {
    let meta = SnapshotMeta { index: Index(index), term: Term(term), ..SnapshotMeta::default() };
    let hard_state = Some(state(term, index));
    LogWork { hard_state, snapshot: Some(meta), ..LogWork::default() }
}

/// A node that starts after `first` with entries of these terms.
fn recovered(first: EntryId, terms: &[u64], hard_state: HardState) -> Raft {
    let entries = (1..).zip(terms).map(|(offset, &term)| Entry {
        index: first.index + offset,
        term: Term(term),
        ..Entry::default()
    });
    let entries = entries.collect();
    let applied = first.index;
    let restored = Restored { hard_state, first, entries, applied, ..Restored::default() };
    let config = Config {
        id: NodeId(1),
        election_ticks: 10,
        heartbeat_ticks: 1,
        max_size_per_message: 1 << 20,
        max_inflight_messages: 16,
        max_committed_bytes_per_ready: 1 << 20,
        max_uncommitted_bytes: 1 << 20,
        pre_vote: true,
        check_quorum: true,
        seed: 0,
    };
    Raft::new(config, restored).expect("the log is in order")
}

/// A disk with three synced entries of term 1, three synced ones of term 2, and what `unsynced`
/// adds.
fn shadow(unsynced: &[LogWork]) -> Shadow {
    let mut shadow = Shadow::default();
    let fresh = recovered(id(0, 0), &[1, 1, 1], HardState { vote: NodeId::NONE, ..state(1, 3) });
    shadow.recovered(&fresh, MEMBERS).expect("a new member begins like this");
    shadow.append(&work(4..=6, 2, 4));
    shadow.synced();
    for work in unsynced {
        shadow.append(work);
    }
    shadow
}

fn check(unsynced: &[LogWork], first: EntryId, terms: &[u64], hard_state: HardState, fits: bool) {
    let raft = recovered(first, terms, hard_state);
    let result = shadow(unsynced).recovered(&raft, MEMBERS);
    assert_eq!(result.is_ok(), fits, "{result:?}");
}

#[test]
fn what_was_synced_must_be_there() {
    check(&[], id(0, 0), &[1, 1, 1, 2, 2, 2], state(2, 4), true);
    check(&[], id(0, 0), &[1, 1, 1, 2, 2], state(2, 4), false);
    check(&[], id(0, 0), &[1, 1, 1, 2, 2, 2], state(2, 3), false);
    check(&[], id(0, 0), &[1, 1, 1, 2, 2, 2, 2], state(2, 4), false);
    check(&[], id(0, 0), &[1, 1, 2, 2, 2, 2], state(2, 4), false);
    let other_vote = HardState { vote: NodeId(2), ..state(2, 4) };
    check(&[], id(0, 0), &[1, 1, 1, 2, 2, 2], other_vote, false);
}

#[test]
fn a_checkpoint_may_stand_for_the_beginning() {
    check(&[], id(4, 2), &[2, 2], state(2, 4), true);
    check(&[], id(5, 2), &[2], state(2, 5), true);
    check(&[], id(5, 2), &[], state(2, 5), false);
}

#[test]
fn of_unsynced_records_the_first_ones_may_be_there() {
    let unsynced = [work(7..=8, 2, 6)];
    check(&unsynced, id(0, 0), &[1, 1, 1, 2, 2, 2], state(2, 4), true);
    check(&unsynced, id(0, 0), &[1, 1, 1, 2, 2, 2, 2], state(2, 4), true);
    check(&unsynced, id(0, 0), &[1, 1, 1, 2, 2, 2, 2, 2], state(2, 6), true);
    check(&unsynced, id(0, 0), &[1, 1, 1, 2, 2, 2, 2], state(2, 6), false);
}

/// etcd issue 22442: a replay kept entries behind one that had replaced them.
#[test]
fn replaced_entries_must_not_come_back() {
    let unsynced = [work(5..=5, 3, 4)];
    check(&unsynced, id(0, 0), &[1, 1, 1, 2, 3], state(3, 4), true);
    check(&unsynced, id(0, 0), &[1, 1, 1, 2, 2, 2], state(2, 4), true);
    check(&unsynced, id(0, 0), &[1, 1, 1, 2, 3, 3], state(3, 4), false);
    let mut synced = shadow(&unsynced);
    synced.synced();
    let ghost = recovered(id(0, 0), &[1, 1, 1, 2, 2, 2], state(3, 4));
    assert!(synced.recovered(&ghost, MEMBERS).is_err());
}

#[test]
fn an_installed_snapshot_replaces_the_log() {
    let mut synced = shadow(&[install(20, 3), work(21..=22, 3, 20)]);
    synced.synced();
    assert_eq!(synced.durable().last(), id(22, 3));
    assert!(synced.durable().holds(id(4, 2)), "a snapshot holds what it replaces");
    let raft = recovered(id(20, 3), &[3, 3], state(3, 20));
    assert_eq!(synced.recovered(&raft, MEMBERS), Ok(()));
}

/// The state of a host that was no member was on disk, and a start began with it.
#[test]
fn a_state_without_its_record_changes_nothing() {
    check(&[], id(20, 3), &[], state(2, 20), false);
    let half = LogWork { hard_state: None, ..install(20, 3) };
    check(&[half], id(20, 3), &[], state(2, 20), false);
    check(&[install(20, 3)], id(20, 3), &[], state(3, 20), true);
    check(&[install(20, 3)], id(0, 0), &[1, 1, 1, 2, 2, 2], state(2, 4), true);
}

#[test]
fn replacing_entries_is_noticed() {
    let mut shadow = shadow(&[]);
    assert!(!shadow.append(&work(7..=7, 2, 4)));
    assert!(shadow.append(&work(7..=7, 3, 4)));
}
