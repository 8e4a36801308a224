//! Folds the records of a log into what a node starts from.
//!
//! An entry replaces the log from its index on, also when that index is at or before the
//! snapshot to start from: whatever came after it is gone, and must not reappear.
//!
//! A snapshot record says that the log may begin after its index. If the log then has another
//! entry at that index, or does not reach it, the record is the install of a leader's snapshot,
//! and the log begins anew there. Such a record counts only once it is committed: the crash may
//! have come before the install was complete.

use std::path::Path;

use bytes::Bytes;
use quoin_raft::{Entry, HardState, Index, SnapshotMeta, Term};

use crate::entry::decode_entry;
use crate::error::WalError;
use crate::record::{self, Kind, Record};
use crate::{Metadata, Replay};

/// What was read so far.
pub(crate) struct Replayer<'a> {
    from: SnapshotMeta,
    /// Whose data is kept.
    wanted: &'a dyn Fn(&Entry) -> bool,
    /// The payload as written, which is carried on byte for byte.
    pub(crate) metadata: Option<Vec<u8>>,
    hard_state: HardState,
    entries: Vec<Entry>,
    snapshots: Vec<SnapshotMeta>,
    /// The term of the log's entry at the index to start from, if it has one.
    term_at_start: Option<Term>,
    /// A snapshot record agreed with the one to start from.
    confirmed: bool,
}

/// Where a record comes from, for errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) path: &'a Path,
    pub(crate) offset: u64,
}

impl Place<'_> {
    pub(crate) fn corrupt(self, reason: &'static str) -> WalError {
        WalError::Corrupt { path: self.path.to_owned(), offset: self.offset, reason }
    }
}

impl<'a> Replayer<'a> {
    pub(crate) fn new(from: SnapshotMeta, wanted: &'a dyn Fn(&Entry) -> bool) -> Self {
        // Every log contains the empty state that it began with.
        let confirmed = from.index == Index::ZERO;
        Self {
            from,
            wanted,
            metadata: None,
            hard_state: HardState::default(),
            entries: Vec::new(),
            snapshots: Vec::new(),
            term_at_start: None,
            confirmed,
        }
    }

    pub(crate) fn record(&mut self, record: &Record<'_>, place: Place<'_>) -> Result<(), WalError> {
        match record.kind {
            Kind::Checksum => {}
            Kind::Metadata => {
                let metadata = self.metadata.get_or_insert_with(|| record.payload.to_owned());
                if metadata != record.payload {
                    return Err(place.corrupt("the segments are of different members"));
                }
            }
            Kind::State => {
                let state = record::decode_state(record.payload);
                self.hard_state = state.map_err(|error| place.corrupt(error.0))?;
            }
            Kind::Snapshot => {
                let snapshot = record::decode_snapshot(record.payload);
                self.snapshot(snapshot.map_err(|error| place.corrupt(error.0))?)?;
            }
            Kind::Entry => {
                let entry = decode_entry(&Bytes::copy_from_slice(record.payload));
                self.entry(entry.map_err(|error| place.corrupt(error.0))?, place)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, mut entry: Entry, place: Place<'_>) -> Result<(), WalError> {
        if entry.index == Index::ZERO || entry.term == Term::ZERO {
            return Err(place.corrupt("an entry has no index or no term"));
        }
        if entry.index <= self.from.index {
            self.entries.clear();
            self.term_at_start = (entry.index == self.from.index).then_some(entry.term);
            return Ok(());
        }
        let position = entry.index - self.from.index - 1;
        if position > self.entries.len() as u64 {
            let last = self.last();
            if self.snapshots.iter().any(|snapshot| snapshot.index > last) {
                // It follows that snapshot. Whether that one counts is not known yet.
                return Ok(());
            }
            return Err(WalError::EntryGap {
                path: place.path.to_owned(),
                offset: place.offset,
                expected: last.next(),
                found: entry.index,
            });
        }
        self.entries.truncate(position as usize);
        if !(self.wanted)(&entry) {
            entry.data = Bytes::new();
        }
        self.entries.push(entry);
        Ok(())
    }

    fn snapshot(&mut self, snapshot: SnapshotMeta) -> Result<(), WalError> {
        if snapshot.index == self.from.index {
            self.check_term(snapshot.term)?;
            self.confirmed = true;
            if self.term_at_start.is_some_and(|term| term != snapshot.term) {
                self.entries.clear();
            }
            self.term_at_start = Some(snapshot.term);
        }
        self.snapshots.push(snapshot);
        Ok(())
    }

    fn check_term(&self, found: Term) -> Result<(), WalError> {
        if found == self.from.term {
            return Ok(());
        }
        let SnapshotMeta { index, term, .. } = self.from;
        Err(WalError::SnapshotMismatch { index, term, found })
    }

    fn last(&self) -> Index {
        self.from.index + self.entries.len() as u64
    }

    /// Checks that the parts fit together. The caller fills in what was repaired.
    pub(crate) fn finish(mut self, metadata: Metadata) -> Result<Replay, WalError> {
        self.check_start()?;
        self.hard_state.commit = self.hard_state.commit.max(self.from.index);
        let commit = self.hard_state.commit;
        self.snapshots.retain(|snapshot| snapshot.index <= commit);
        self.check_not_replaced()?;
        self.check_terms()?;
        if commit > self.last() {
            return Err(WalError::CommitBeyondLog { commit, last: self.last() });
        }
        Ok(Replay {
            metadata,
            hard_state: self.hard_state,
            entries: self.entries,
            snapshots: self.snapshots,
            repaired: None,
        })
    }

    /// Checks that the log names the snapshot to start from: by a record, or by holding its entry.
    /// Whatever lies beside the log and is not named by it was not taken by consensus.
    fn check_start(&self) -> Result<(), WalError> {
        if self.confirmed {
            return Ok(());
        }
        match self.term_at_start {
            Some(found) => self.check_term(found),
            None => Err(WalError::SnapshotMissing { index: self.from.index }),
        }
    }

    /// Checks that no committed snapshot after the one to start from has replaced the log.
    fn check_not_replaced(&self) -> Result<(), WalError> {
        let from = self.from.index;
        for snapshot in &self.snapshots {
            if snapshot.index <= from {
                continue;
            }
            let entry = self.entries.get((snapshot.index - from - 1) as usize);
            if entry.is_none_or(|entry| entry.term != snapshot.term) {
                return Err(WalError::StaleSnapshot { from, needed: snapshot.index });
            }
        }
        Ok(())
    }

    fn check_terms(&self) -> Result<(), WalError> {
        for pair in self.entries.windows(2) {
            if pair[0].term > pair[1].term {
                return Err(WalError::TermOrder { index: pair[1].index });
            }
        }
        Ok(())
    }
}
