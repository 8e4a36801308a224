//! The history: the records of all changes in the order in which they happened.
//!
//! Records are kept in chunks. A chunk is *new* until a background job has put its records into
//! segment files; then it is *placed*, and a few bytes per record tell where they are. A placed
//! chunk is *hot* while the bytes of its records are in memory too, in one buffer; of another one,
//! reading a record reads a file. Only the last chunk grows, and its slots are filled in place, so
//! a reader that holds an older view shares it without a lock and without a copy: the view knows
//! how many of the slots are its own. Compaction drops records; a chunk that
//! lost many is written anew with what it still has, and neighbours that became small are joined,
//! so the memory that the history takes follows the records that are left and not the revisions
//! there ever were.
//!
//! While etcd's database is taken over, chunks have their places in that file (see `segment`), until
//! the first checkpoint copies the records.
//!
//! In reading order: `link` (a chunk), `segment` (a file of records), `cold` (where the records of
//! a chunk are), `packed` (the bytes of a hot one), `gather` (chunks of places in any order), `walk` (reading, many at a time), `sweep` (giving back memory), `place` (taking over what a
//! background job put into files, and letting go of bytes beyond the budget).
//!
//! Not here: which record belongs to which key, which records are dead, and when files are
//! written.
//!
//! Invariants:
//! - Revisions ascend, within a chunk and across chunks.
//! - A slot of the last chunk that was filled never changes.
//! - What a reader sees does not depend on the form of a chunk.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::revision::Revision;

mod cold;
mod gather;
mod link;
mod packed;
mod place;
pub(crate) mod segment;
mod sweep;
#[cfg(test)]
mod tests;
mod walk;

pub(crate) use cold::{Cold, ColdBuilder, Place};
pub(crate) use gather::Gathered;
pub(crate) use link::{Body, Link, Slots, filled};
pub(crate) use packed::Packed;
pub(crate) use place::{Files, Listed, Moved, Placing};
use sweep::Dead;
pub(crate) use walk::{Located, read_places};

/// Slots of a chunk.
pub(crate) const CHUNK_SLOTS: usize = 1024;
/// A chunk with this many bytes takes no more records, so that what leaves memory at once is small.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes of placed records that stay in memory unless the store is told otherwise.
const DEFAULT_BUDGET: usize = 32 << 20;

/// One change as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) revision: Revision,
    pub(crate) tombstone: bool,
    /// The bytes; see [`crate::record`].
    pub(crate) bytes: Bytes,
}

/// The history, to be written by one.
#[derive(Debug)]
pub(crate) struct History {
    view: HistoryView,
    /// What compaction dropped from each chunk and is still there.
    dead: Vec<Dead>,
    size: usize,
    /// Bytes of the records that are in no file.
    unplaced: usize,
    /// Bytes of the last chunk.
    tail_bytes: usize,
    /// Where the chunks begin that no job has seen. No chunk reaches across.
    boundary: Revision,
    files: Files,
    placing: Option<Placing>,
    budget: usize,
}

/// The history as it was at some time, to be read by many.
#[derive(Clone, Debug, Default)]
pub(crate) struct HistoryView {
    links: Arc<Vec<Link>>,
    /// How many slots of the last chunk are filled.
    tail_len: usize,
}

impl Default for History {
    fn default() -> Self {
        Self::new(HistoryView::default(), Files::default())
    }
}

impl History {
    /// A history whose records are all in files.
    pub(crate) fn placed(links: Vec<Link>, mut files: Files) -> Self {
        let mut size = 0;
        for cold in links.iter().filter_map(Link::cold) {
            size += cold.bytes();
            cold.places().for_each(|place| files.hold(&place));
        }
        let tail_len = links.last().map_or(0, |link| link.len);
        let view = HistoryView { links: Arc::new(links), tail_len };
        Self { size, boundary: view.boundary(), ..Self::new(view, files) }
    }

    fn new(view: HistoryView, files: Files) -> Self {
        Self {
            dead: view.links.iter().map(|_| Dead::default()).collect(),
            view,
            size: 0,
            unplaced: 0,
            tail_bytes: 0,
            boundary: Revision::default(),
            files,
            placing: None,
            budget: DEFAULT_BUDGET,
        }
    }

    /// Appends a record, which is newer than all others.
    pub(crate) fn append(&mut self, revision: Revision, tombstone: bool, bytes: Bytes) {
        debug_assert!(self.view.last().is_none_or(|last| last < revision), "revisions ascend");
        if self.tail_is_finished() {
            self.begin_chunk(revision);
        }
        self.size += bytes.len();
        self.unplaced += bytes.len();
        self.tail_bytes += bytes.len();
        let Some(Link { body: Body::New(slots), .. }) = self.view.links.last() else {
            unreachable!("a chunk that takes records is new");
        };
        let filled = slots[self.view.tail_len].set(Record { revision, tombstone, bytes });
        assert!(filled.is_ok(), "two writers appended to one history");
        self.view.tail_len += 1;
    }

    fn tail_is_finished(&self) -> bool {
        let Some(tail) = self.view.links.last() else { return true };
        let room = match &tail.body {
            Body::New(slots) => slots.len() > self.view.tail_len,
            Body::Placed { .. } => false,
        };
        !room || tail.first < self.boundary || self.tail_bytes >= CHUNK_BYTES
    }

    fn begin_chunk(&mut self, first: Revision) {
        if let Some(sealed) = self.view.links.len().checked_sub(1) {
            let len = self.view.tail_len;
            let link = &mut Arc::make_mut(&mut self.view.links)[sealed];
            link.len = len;
            // A chunk that was ended early does not keep room for more.
            if let Body::New(slots) = &mut link.body
                && slots.len() >= 2 * len
            {
                *slots = slots[..len].iter().cloned().collect();
            }
            self.sweep(sealed);
        }
        let body = Body::New((0..CHUNK_SLOTS).map(|_| OnceLock::new()).collect());
        Arc::make_mut(&mut self.view.links).push(Link { first, len: 0, body });
        self.dead.push(Dead::default());
        (self.view.tail_len, self.tail_bytes) = (0, 0);
    }

    /// Ends the last chunk, for a job that puts into files what there is: what comes later goes
    /// into another one. Returns the files there are. Room is made for what the job will place, so
    /// that both do not add up while it works.
    pub(crate) fn seal(&mut self) -> Files {
        self.boundary = self.view.boundary();
        self.evict(self.budget.saturating_sub(self.unplaced));
        self.files.clone()
    }

    /// Drops the record of `revision`, and says whether there was one. Views taken before still
    /// have it.
    pub(crate) fn drop_record(&mut self, revision: Revision) -> bool {
        let Some((at, slot)) = self.view.find(revision) else { return false };
        if !self.dead[at].mark(slot) {
            return false;
        }
        let link = &self.view.links[at];
        let length = link.length(slot);
        self.size -= length;
        match &link.body {
            Body::New(_) => self.unplaced -= length,
            Body::Placed { cold, .. } => self.files.release(&cold.place(slot)),
        }
        let is_tail = at + 1 == self.view.links.len();
        if self.dead[at].count() * 4 >= self.view.filled(at) && !is_tail {
            self.sweep(at);
        }
        true
    }

    /// What readers see from now on.
    pub(crate) fn view(&self) -> &HistoryView {
        &self.view
    }

    /// Bytes of all records that were not dropped.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Bytes of the records that are in no file.
    pub(crate) fn unplaced(&self) -> usize {
        self.unplaced
    }

    /// How many bytes of placed records may be in memory.
    pub(crate) fn budget(&self) -> usize {
        self.budget
    }

    /// The files that the newest checkpoint names.
    pub(crate) fn files(&self) -> &Files {
        &self.files
    }
}

impl HistoryView {
    /// A history whose chunks are all placed.
    pub(crate) fn of(links: Vec<Link>) -> Self {
        let tail_len = links.last().map_or(0, |link| link.len);
        Self { links: Arc::new(links), tail_len }
    }

    /// Bytes of records that are in memory although they are in files.
    pub(crate) fn placed_hot_bytes(&self) -> usize {
        self.links.iter().map(Link::hot_bytes).sum()
    }

    /// The chunks, each with how many of its slots are filled.
    pub(crate) fn links(&self) -> impl Iterator<Item = (&Link, usize)> + '_ {
        self.links.iter().enumerate().map(|(at, link)| (link, self.filled(at)))
    }

    /// The newest revision.
    pub(crate) fn last(&self) -> Option<Revision> {
        let last = self.links.len().checked_sub(1)?;
        Some(self.links[last].revision(self.tail_len.checked_sub(1)?))
    }

    /// The first revision that is newer than all here.
    fn boundary(&self) -> Revision {
        let after = |last: Revision| Revision { sub: last.sub.saturating_add(1), ..last };
        self.last().map_or_else(Revision::default, after)
    }

    /// Where in files the record of `revision` is.
    pub(crate) fn place(&self, revision: Revision) -> Option<Place<'_>> {
        let (link, slot) = self.find(revision)?;
        self.links[link].cold().map(|cold| cold.place(slot))
    }

    /// Whether there is a record of `revision` and its bytes are in memory.
    fn is_in_memory(&self, revision: Revision) -> bool {
        self.find(revision).is_some_and(|(link, _)| self.links[link].is_in_memory())
    }

    /// Where the newest chunks begin that take no more than so many bytes together. How many one
    /// takes is told of a chunk and its length.
    pub(crate) fn newest_within(
        &self,
        budget: usize,
        mut bytes: impl FnMut(&Link, usize) -> usize,
    ) -> usize {
        let mut kept = 0_usize;
        let fits = |at: &usize| {
            kept = kept.saturating_add(bytes(&self.links[*at], self.filled(*at)));
            kept <= budget
        };
        self.links.len() - (0..self.links.len()).rev().take_while(fits).count()
    }

    fn find(&self, revision: Revision) -> Option<(usize, usize)> {
        let link = self.links.partition_point(|link| link.first <= revision).checked_sub(1)?;
        self.search(link, revision).ok().map(|slot| (link, slot))
    }

    /// Searches a chunk. Most chunks have one record for every main revision, so the search tries
    /// the slot that the record has then.
    fn search(&self, at: usize, revision: Revision) -> Result<usize, usize> {
        let (link, filled) = (&self.links[at], self.filled(at));
        let guess = revision.main.saturating_sub(link.first.main);
        if let Ok(guess) = usize::try_from(guess)
            && guess < filled
            && link.revision(guess) == revision
        {
            return Ok(guess);
        }
        let (mut low, mut high) = (0, filled);
        while low < high {
            let middle = low + (high - low) / 2;
            if link.revision(middle) < revision {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let found = low < filled && link.revision(low) == revision;
        if found { Ok(low) } else { Err(low) }
    }

    fn filled(&self, at: usize) -> usize {
        let is_tail = at + 1 == self.links.len();
        if is_tail { self.tail_len } else { self.links[at].len }
    }
}
