use bytes::Bytes;
use proptest::prelude::*;

use super::{Appended, Log};
use crate::{ConfState, Entry, EntryId, EntryKind, Index, Snapshot, SnapshotMeta, Term};

fn id(index: u64, term: u64) -> EntryId {
    EntryId { index: Index(index), term: Term(term) }
}

/// Entries from `first` on with the given terms.
fn entries(first: u64, terms: &[u64]) -> Vec<Entry> {
    (first..)
        .zip(terms)
        .map(|(index, &term)| Entry {
            kind: EntryKind::Normal,
            term: Term(term),
            index: Index(index),
            data: Bytes::from(format!("{index}@{term}")),
        })
        .collect()
}

fn log(terms: &[u64]) -> Log {
    Log::new(id(0, 0), entries(1, terms), Index(0), Index(0))
}

fn terms(log: &Log) -> Vec<u64> {
    log.slice(log.first_index(), u64::MAX).iter().map(|entry| entry.term.0).collect()
}

fn snapshot(index: u64, term: u64) -> Snapshot {
    let meta = SnapshotMeta { index: Index(index), term: Term(term), conf: ConfState::default() };
    Snapshot { meta, data: Bytes::new() }
}

fn check_take(own: &[u64], prev: (u64, u64), sent: &[u64], expected: Appended, after: &[u64]) {
    let mut log = log(own);
    let taken = log.take(id(prev.0, prev.1), entries(prev.0 + 1, sent));
    assert_eq!(taken, expected);
    assert_eq!(terms(&log), after);
}

#[test]
fn an_append_keeps_what_matches_and_replaces_what_does_not() {
    let matched = |index| Appended::Matched(Index(index));
    check_take(&[], (0, 0), &[1], matched(1), &[1]);
    check_take(&[1, 1, 2], (3, 2), &[2, 2], matched(5), &[1, 1, 2, 2, 2]);
    check_take(&[1, 1, 2], (1, 1), &[3], matched(2), &[1, 3]);
    check_take(&[1, 1, 2], (0, 0), &[1, 1, 3, 3], matched(4), &[1, 1, 3, 3]);
    check_take(&[1, 1, 2], (3, 1), &[3], Appended::Mismatch, &[1, 1, 2]);
    check_take(&[1, 1, 2], (4, 2), &[3], Appended::Mismatch, &[1, 1, 2]);
    check_take(&[1, 1, 2], (2, 1), &[], matched(2), &[1, 1, 2]);
}

/// A late, shorter append must not cut off entries that were acknowledged since; a follower that
/// truncates a matching tail loses committed entries when it crashes.
#[test]
fn an_old_append_does_not_truncate_a_matching_tail() {
    check_take(&[1, 1, 1, 1], (0, 0), &[1, 1], Appended::Matched(Index(2)), &[1, 1, 1, 1]);
}

#[test]
fn committed_entries_are_never_replaced() {
    let mut log = log(&[1, 1, 1]);
    log.commit_to(Index(2));
    assert_eq!(log.take(id(0, 0), entries(1, &[1, 2])), Appended::Contradiction(Index(2)));
    assert_eq!(terms(&log), [1, 1, 1]);
}

#[test]
fn the_guess_where_two_logs_part_skips_whole_terms() {
    let log = log(&[1, 3, 3, 4, 4, 5, 5, 5, 6]);
    let guess = |index, term| log.last_possible_match(Index(index), Term(term));
    assert_eq!(guess(8, 3), (Index(3), Some(Term(3))));
    assert_eq!(guess(9, 2), (Index(1), Some(Term(1))));
    assert_eq!(guess(9, 6), (Index(9), Some(Term(6))));
    assert_eq!(guess(9, 0), (Index(0), Some(Term(0))));
    assert_eq!(guess(12, 1), (Index(12), None), "beyond the log nothing is known");
}

#[test]
fn the_guess_stops_where_the_log_was_compacted() {
    let log = Log::new(id(5, 4), entries(6, &[4, 6]), Index(5), Index(5));
    assert_eq!(log.last_possible_match(Index(7), Term(1)), (Index(4), None));
}

#[test]
fn slices_are_bounded_but_never_empty() {
    let log = log(&[1, 1, 1, 1]);
    let size = log.slice(Index(1), u64::MAX)[0].size();
    assert_eq!(log.slice(Index(2), 0).len(), 1);
    assert_eq!(log.slice(Index(2), 2 * size).len(), 2);
    assert_eq!(log.slice(Index(5), u64::MAX).len(), 0);
}

/// Entries A are being written, B replaces them, then A comes back: the end of the first write
/// must not make the log count as durable, because the write of B is still to come and would
/// leave B in storage if it were the last one.
#[test]
fn a_write_does_not_vouch_for_entries_that_were_replaced_back() {
    let mut log = log(&[1]);
    let take = |log: &mut Log, term| log.take(id(1, 1), entries(2, &[term, term]));
    take(&mut log, 2);
    log.hand_out(1);
    take(&mut log, 3);
    log.hand_out(2);
    take(&mut log, 2);
    log.written(1);
    assert_eq!(log.persisted(), Index(1));
    log.hand_out(3);
    log.written(2);
    assert_eq!(log.persisted(), Index(1));
    log.written(3);
    assert_eq!(log.persisted(), Index(3));
}

#[test]
fn nothing_is_delivered_before_it_is_durable_here() {
    let mut log = log(&[1]);
    log.take(id(1, 1), entries(2, &[1, 1]));
    log.commit_to(Index(3));
    assert_eq!(log.deliver(u64::MAX).len(), 1);
    log.hand_out(1);
    assert_eq!(log.deliver(u64::MAX), []);
    log.written(1);
    assert_eq!(log.deliver(u64::MAX).len(), 2);
    assert_eq!(log.deliver(u64::MAX), []);
}

#[test]
fn delivery_waits_for_the_state_machine() {
    let mut log = log(&[1; 6]);
    log.commit_to(Index(6));
    let size = log.slice(Index(1), 0)[0].size();
    assert_eq!(log.deliver(2 * size).len(), 2);
    assert_eq!(log.deliver(3 * size).len(), 1);
    assert_eq!(log.deliver(3 * size).len(), 0);
    log.applied_to(Index(1));
    assert_eq!(log.deliver(3 * size).len(), 0, "a batch counts until it is done");
    log.applied_to(Index(2));
    assert_eq!(log.deliver(3 * size).len(), 2);
    log.applied_to(Index(5));
    assert_eq!(log.deliver(0).len(), 1, "one entry is always delivered");
}

#[test]
fn a_snapshot_replaces_the_log_and_blocks_delivery_until_it_is_installed() {
    let mut log = log(&[1, 1, 1]);
    log.commit_to(Index(2));
    log.deliver(u64::MAX);
    log.take(id(3, 1), entries(4, &[1]));
    log.hand_out(1);
    log.install(snapshot(10, 2));
    assert!(log.is_installing() && log.has_unwritten());
    assert_eq!((log.last(), log.commit(), log.persisted()), (id(10, 2), Index(10), Index(2)));
    let (handed, rest) = log.hand_out(2);
    assert_eq!((handed.map(|it| it.meta.index), rest.len()), (Some(Index(10)), 0));
    log.written(1);
    assert!(log.is_installing(), "the first write is not the snapshot's");
    log.applied_to(Index(2));
    log.written(2);
    assert!(!log.is_installing());
    assert_eq!((log.applied(), log.persisted()), (Index(10), Index(10)));
    log.applied_to(Index(2));
    assert_eq!(log.applied(), Index(10));
}

#[test]
fn compaction_keeps_the_term_of_the_last_entry_it_drops() {
    let mut log = log(&[1, 2, 3]);
    log.commit_to(Index(3));
    log.deliver(u64::MAX);
    log.applied_to(Index(2));
    log.compact(Index(2));
    log.compact(Index(1));
    assert_eq!((log.base(), log.term(Index(2))), (id(2, 2), Some(Term(2))));
    assert_eq!((log.term(Index(1)), terms(&log)), (None, vec![3]));
}

/// What storage would hold: a log that is written and truncated in the order of the writes.
#[derive(Default)]
struct Disk {
    terms: Vec<u64>,
}

impl Disk {
    fn write(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.terms.truncate(entry.index.0 as usize - 1);
            self.terms.push(entry.term.0);
        }
    }
}

proptest! {
    /// Appends and replacements race with writes in flight: whenever the log claims that a
    /// prefix is durable, storage holds that very prefix, and when all is written, all of it.
    #[test]
    fn what_counts_as_persisted_is_in_storage(
        steps in prop::collection::vec((0u8..4, 0u64..8, 1usize..4), 1..60)
    ) {
        let (mut log, mut disk) = (log(&[]), Disk::default());
        let (mut term, mut number) = (1, 0);
        let mut in_flight = std::collections::VecDeque::new();
        for (action, position, count) in steps {
            match action {
                0 | 1 => {
                    term += u64::from(action);
                    let prev = Index(position.min(log.last_index().0));
                    let prev = id(prev.0, log.term(prev).unwrap().0);
                    log.take(prev, entries(prev.index.0 + 1, &vec![term; count]));
                }
                2 => {
                    number += 1;
                    in_flight.push_back((number, log.hand_out(number).1));
                }
                _ => {
                    if let Some((number, entries)) = in_flight.pop_front() {
                        disk.write(&entries);
                        log.written(number);
                    }
                }
            }
            let persisted = log.persisted().0 as usize;
            prop_assert!(disk.terms.len() >= persisted);
            prop_assert_eq!(&disk.terms[..persisted], &terms(&log)[..persisted]);
        }
        in_flight.push_back((number + 1, log.hand_out(number + 1).1));
        for (number, entries) in in_flight {
            disk.write(&entries);
            log.written(number);
        }
        prop_assert_eq!(log.persisted(), log.last_index());
        prop_assert_eq!(&disk.terms, &terms(&log));
    }
}
