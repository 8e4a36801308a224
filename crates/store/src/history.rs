//! The history: the records of all changes in the order in which they happened.
//!
//! Records are kept in chunks. Only the last chunk grows, and its slots are filled in place, so a
//! reader that holds an older view shares it without a lock and without a copy: the view knows
//! how many of the slots are its own. Compaction drops records; a chunk that lost many is written
//! anew with what it still has, and neighbours that became small are joined, so the memory that
//! the history takes follows the records that are left and not the revisions there ever were.
//!
//! Not here: which record belongs to which key, and which records are dead.
//!
//! Invariants:
//! - Revisions ascend, within a chunk and across chunks.
//! - A slot of the last chunk that was filled never changes.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::revision::Revision;

mod sweep;
#[cfg(test)]
mod tests;

use sweep::Dead;

/// Slots of a chunk.
const CHUNK_SLOTS: usize = 1024;

/// One change as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) revision: Revision,
    pub(crate) tombstone: bool,
    /// The bytes; see [`crate::record`].
    pub(crate) bytes: Bytes,
}

/// A chunk, and where it begins, so that a search does not have to touch it.
#[derive(Clone, Debug)]
struct Link {
    first: Revision,
    chunk: Arc<Chunk>,
}

/// Records in order. The slots of a finished chunk are all filled.
#[derive(Debug)]
struct Chunk {
    slots: Box<[OnceLock<Record>]>,
}

/// The history, to be written by one.
#[derive(Debug, Default)]
pub(crate) struct History {
    view: HistoryView,
    /// What compaction dropped from each chunk and is still there.
    dead: Vec<Dead>,
    size: usize,
}

/// The history as it was at some time, to be read by many.
#[derive(Clone, Debug, Default)]
pub(crate) struct HistoryView {
    links: Arc<Vec<Link>>,
    /// How many slots of the last chunk are filled.
    tail_len: usize,
}

impl History {
    /// Appends a record, which is newer than all others.
    pub(crate) fn append(&mut self, revision: Revision, tombstone: bool, bytes: Bytes) {
        debug_assert!(self.view.last().is_none_or(|last| last < revision), "revisions ascend");
        if self.view.links.last().is_none_or(|last| last.chunk.slots.len() == self.view.tail_len) {
            if let Some(sealed) = self.view.links.len().checked_sub(1) {
                self.sweep(sealed);
            }
            let slots = (0..CHUNK_SLOTS).map(|_| OnceLock::new()).collect();
            let chunk = Arc::new(Chunk { slots });
            Arc::make_mut(&mut self.view.links).push(Link { first: revision, chunk });
            self.dead.push(Dead::default());
            self.view.tail_len = 0;
        }
        self.size += bytes.len();
        let last = self.view.links.last().expect("a chunk was there or was just added");
        let slot = &last.chunk.slots[self.view.tail_len];
        let filled = slot.set(Record { revision, tombstone, bytes });
        assert!(filled.is_ok(), "two writers appended to one history");
        self.view.tail_len += 1;
    }

    /// Drops the record of `revision`, if there is one. Views taken before still have it.
    pub(crate) fn drop_record(&mut self, revision: Revision) {
        let Some((link, slot)) = self.view.find(revision) else { return };
        let length = self.view.links[link].chunk.slots.len();
        let bytes = self.view.slot(link, slot).bytes.len();
        if self.dead[link].mark(slot, length) {
            self.size -= bytes;
            let is_tail = link + 1 == self.view.links.len();
            if self.dead[link].count() * 4 >= length && !is_tail {
                self.sweep(link);
            }
        }
    }

    /// What readers see from now on.
    pub(crate) fn view(&self) -> &HistoryView {
        &self.view
    }

    /// Bytes of all records that were not dropped.
    pub(crate) fn size(&self) -> usize {
        self.size
    }
}

impl HistoryView {
    /// The record of `revision`.
    pub(crate) fn record(&self, revision: Revision) -> Option<&Record> {
        let (link, slot) = self.find(revision)?;
        Some(self.slot(link, slot))
    }

    /// The records from `revision` on. Records that compaction has passed may be among them or
    /// not, whether they are still needed is for the index to tell.
    pub(crate) fn iter_from(&self, revision: Revision) -> impl Iterator<Item = &Record> + '_ {
        let link = self.links.partition_point(|link| link.first <= revision).saturating_sub(1);
        let slot = match self.links.get(link) {
            Some(_) => self.search(link, revision).unwrap_or_else(|slot| slot),
            None => 0,
        };
        let (mut link, mut slot) = (link, slot);
        std::iter::from_fn(move || {
            while link < self.links.len() {
                if slot < self.filled(link) {
                    slot += 1;
                    return Some(self.slot(link, slot - 1));
                }
                (link, slot) = (link + 1, 0);
            }
            None
        })
    }

    /// The newest revision.
    fn last(&self) -> Option<Revision> {
        let last = self.links.len().checked_sub(1)?;
        Some(self.slot(last, self.tail_len.checked_sub(1)?).revision)
    }

    fn find(&self, revision: Revision) -> Option<(usize, usize)> {
        let link = self.links.partition_point(|link| link.first <= revision).checked_sub(1)?;
        self.search(link, revision).ok().map(|slot| (link, slot))
    }

    /// Searches a chunk. Most chunks have one record for every main revision, so the search tries
    /// the slot that the record has then.
    fn search(&self, link: usize, revision: Revision) -> Result<usize, usize> {
        let filled = self.filled(link);
        let guess = revision.main.saturating_sub(self.links[link].first.main);
        if let Ok(guess) = usize::try_from(guess)
            && guess < filled
            && self.slot(link, guess).revision == revision
        {
            return Ok(guess);
        }
        let (mut low, mut high) = (0, filled);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.slot(link, middle).revision < revision {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let found = low < filled && self.slot(link, low).revision == revision;
        if found { Ok(low) } else { Err(low) }
    }

    fn filled(&self, link: usize) -> usize {
        let is_tail = link + 1 == self.links.len();
        if is_tail { self.tail_len } else { self.links[link].chunk.slots.len() }
    }

    fn slot(&self, link: usize, slot: usize) -> &Record {
        self.links[link].chunk.slots[slot].get().expect("slots are filled before they are seen")
    }
}
