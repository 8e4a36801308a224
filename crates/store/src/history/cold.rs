//! Where the records of a placed chunk are: columns with a few bytes for each record.
//!
//! | bytes of a record | column |
//! |---|---|
//! | 0, 4 or 8 | main revision: one more than that before, or what it is above the first, or whole |
//! | 0 or 4 | sub revision; none while all are 0 |
//! | 4 | offset in the segment |
//! | 4 | length, and whether it is a deletion |
//! | 0 or 2 | which segment; none while all records are in the first |
//!
//! So a record takes 8 bytes where requests changed one key each and nothing was compacted away,
//! and 12 where compaction left gaps; a request that changed several keys adds 4 for each record
//! of its chunk. The columns of a chunk have heads of 200 bytes together.

use std::sync::Arc;

use bytes::Bytes;

use super::Record;
use super::segment::{RECORD_HEAD_BYTES, Segment};
use crate::revision::Revision;

#[cfg(test)]
pub(super) mod tests;

/// Marks the length of a deletion. Records are shorter than a message, and those than 2 GiB.
const TOMBSTONE: u32 = 1 << 31;

/// The places of the records of a chunk, of which there is at least one.
#[derive(Debug)]
pub(crate) struct Cold {
    mains: Mains,
    columns: Columns,
    bytes: usize,
}

/// The main revisions of a chunk.
#[derive(Debug)]
enum Mains {
    /// One after the other, from this one on.
    Dense(i64),
    Near {
        first: i64,
        above: Box<[u32]>,
    },
    Far(Box<[i64]>),
}

/// All of the places but the main revisions.
#[derive(Debug, Default)]
struct Columns {
    /// Ends before the zeros at its end, which it does not keep.
    subs: Vec<u32>,
    offsets: Vec<u32>,
    /// With [`TOMBSTONE`].
    lengths: Vec<u32>,
    /// Which of the segments. Ends before the zeros at its end.
    owners: Vec<u16>,
    segments: Vec<Arc<Segment>>,
}

/// Where a record is, and what is to be found there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) segment: &'a Arc<Segment>,
    pub(crate) offset: u32,
    pub(crate) revision: Revision,
    pub(crate) tombstone: bool,
    pub(crate) length: u32,
}

impl Cold {
    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.columns.offsets.len()
    }

    /// Bytes of the records.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The segments that hold records of this chunk.
    pub(crate) fn segments(&self) -> &[Arc<Segment>] {
        &self.columns.segments
    }

    pub(crate) fn revision(&self, slot: usize) -> Revision {
        Revision { main: self.mains.at(slot), sub: at(&self.columns.subs, slot) }
    }

    /// Bytes of a record.
    pub(crate) fn length(&self, slot: usize) -> usize {
        (self.columns.lengths[slot] & !TOMBSTONE) as usize
    }

    pub(crate) fn place(&self, slot: usize) -> Place<'_> {
        self.columns.place(slot, self.mains.at(slot))
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = Place<'_>> + '_ {
        (0..self.len()).map(|slot| self.place(slot))
    }
}

impl Mains {
    /// Main revisions that ascend.
    fn of(mains: &[i64]) -> Self {
        let first = mains.first().copied().unwrap_or_default();
        let above =
            |main: &i64| main.checked_sub(first).and_then(|above| u32::try_from(above).ok());
        let Some(above): Option<Box<[u32]>> = mains.iter().map(above).collect() else {
            return Self::Far(mains.into());
        };
        let is_dense = above.iter().zip(0_u32..).all(|(above, slot)| *above == slot);
        if is_dense { Self::Dense(first) } else { Self::Near { first, above } }
    }

    fn at(&self, slot: usize) -> i64 {
        match self {
            Self::Dense(first) => first + slot as i64,
            Self::Near { first, above } => first + i64::from(above[slot]),
            Self::Far(mains) => mains[slot],
        }
    }
}

impl Columns {
    fn push(&mut self, place: &Place<'_>) {
        let slot = self.offsets.len();
        let known = self.segments.iter().rposition(|known| Arc::ptr_eq(known, place.segment));
        let owner = known.unwrap_or_else(|| {
            self.segments.push(Arc::clone(place.segment));
            self.segments.len() - 1
        });
        let owner = u16::try_from(owner).expect("a chunk has fewer records than that");
        put(&mut self.subs, slot, place.revision.sub);
        put(&mut self.owners, slot, owner);
        self.offsets.push(place.offset);
        self.lengths.push(place.length | if place.tombstone { TOMBSTONE } else { 0 });
    }

    fn place(&self, slot: usize, main: i64) -> Place<'_> {
        let length = self.lengths[slot];
        Place {
            segment: &self.segments[usize::from(at(&self.owners, slot))],
            offset: self.offsets[slot],
            revision: Revision { main, sub: at(&self.subs, slot) },
            tombstone: length & TOMBSTONE != 0,
            length: length & !TOMBSTONE,
        }
    }

    fn shrink(&mut self) {
        self.subs.shrink_to_fit();
        self.offsets.shrink_to_fit();
        self.lengths.shrink_to_fit();
        self.owners.shrink_to_fit();
        self.segments.shrink_to_fit();
    }
}

/// Sets the last value of a column that does not keep the zeros at its end.
fn put<T: Copy + Default + PartialEq>(column: &mut Vec<T>, slot: usize, value: T) {
    if value != T::default() {
        column.resize(slot, T::default());
        column.push(value);
    }
}

/// A value of a column that does not keep the zeros at its end.
fn at<T: Copy + Default>(column: &[T], slot: usize) -> T {
    column.get(slot).copied().unwrap_or_default()
}

impl Place<'_> {
    /// Whether a record can have this length; longer ones are no records of ours.
    pub(crate) fn is_length(length: u32) -> bool {
        length & TOMBSTONE == 0
    }

    /// The record that has these bytes.
    pub(crate) fn record(&self, bytes: Bytes) -> Record {
        Record { revision: self.revision, tombstone: self.tombstone, bytes }
    }

    /// Where in its file the record begins and ends.
    pub(crate) fn span(&self) -> (u64, u64) {
        self.segment.span(self.offset, self.length)
    }

    /// Bytes that the record takes in its segment.
    pub(crate) fn stored_bytes(&self) -> u64 {
        u64::from(self.length) + RECORD_HEAD_BYTES as u64
    }
}

/// Collects the places of a chunk, in the order of the records, or to be [sorted](Self::sorted).
#[derive(Debug, Default)]
pub(crate) struct ColdBuilder {
    mains: Vec<i64>,
    columns: Columns,
}

impl ColdBuilder {
    pub(crate) fn push(&mut self, place: &Place<'_>) {
        self.mains.push(place.revision.main);
        self.columns.push(place);
    }

    pub(crate) fn len(&self) -> usize {
        self.mains.len()
    }

    pub(super) fn revision(&self, slot: usize) -> Revision {
        Revision { main: self.mains[slot], sub: at(&self.columns.subs, slot) }
    }

    /// The same places in the order of the records.
    pub(super) fn sorted(self) -> Self {
        if (0..self.len()).is_sorted_by_key(|slot| self.revision(slot)) {
            return self;
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_unstable_by_key(|&slot| self.revision(slot));
        self.part(order.into_iter())
    }

    /// Whether two places in a row are of one revision.
    pub(super) fn has_twins(&self) -> bool {
        (1..self.len()).any(|slot| self.revision(slot - 1) == self.revision(slot))
    }

    /// The first half of the places, and the second.
    pub(super) fn halves(&self) -> (Self, Self) {
        let middle = self.len() / 2;
        (self.part(0..middle), self.part(middle..self.len()))
    }

    fn part(&self, slots: impl Iterator<Item = usize>) -> Self {
        let mut part = Self::default();
        slots.for_each(|slot| part.push(&self.columns.place(slot, self.mains[slot])));
        part
    }

    /// The places, unless there are none.
    pub(crate) fn finish(self) -> Option<Cold> {
        let Self { mains, mut columns } = self;
        debug_assert!(mains.is_sorted(), "places in the order of the records");
        if mains.is_empty() {
            return None;
        }
        let bytes = columns.lengths.iter().map(|length| (length & !TOMBSTONE) as usize).sum();
        columns.shrink();
        Some(Cold { mains: Mains::of(&mains), columns, bytes })
    }
}
