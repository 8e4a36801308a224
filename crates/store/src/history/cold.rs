//! Where the records of a placed chunk are: one short row per record.

use std::sync::Arc;

use super::segment::{RECORD_HEAD_BYTES, Segment};
use crate::revision::Revision;

/// Marks the length of a deletion. Records are shorter than a message, and those than 2 GiB.
const TOMBSTONE: u32 = 1 << 31;

/// The place of one record. There is one for every record of the store, so it is small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    main: i64,
    sub: u32,
    offset: u32,
    /// The length, and whether it is a deletion.
    length: u32,
    /// Which of the chunk's segments.
    segment: u16,
}

impl Row {
    pub(crate) fn revision(&self) -> Revision {
        Revision { main: self.main, sub: self.sub }
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.length & TOMBSTONE != 0
    }

    /// Bytes of the record.
    pub(crate) fn length(&self) -> usize {
        (self.length & !TOMBSTONE) as usize
    }

    /// Bytes that the record takes in its file.
    pub(crate) fn stored_bytes(&self) -> u64 {
        (self.length() + RECORD_HEAD_BYTES) as u64
    }
}

/// The places of the records of a chunk.
#[derive(Debug)]
pub(crate) struct Cold {
    rows: Box<[Row]>,
    segments: Box<[Arc<Segment>]>,
    bytes: usize,
}

impl Cold {
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(crate) fn row(&self, slot: usize) -> &Row {
        &self.rows[slot]
    }

    /// The segments that hold records of this chunk.
    pub(crate) fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// The segment that holds the record of a row.
    pub(crate) fn segment(&self, row: &Row) -> &Arc<Segment> {
        &self.segments[usize::from(row.segment)]
    }

    pub(crate) fn place(&self, slot: usize) -> Place<'_> {
        let row = self.rows[slot];
        Place {
            segment: self.segment(&row),
            offset: row.offset,
            revision: row.revision(),
            tombstone: row.is_tombstone(),
            length: row.length & !TOMBSTONE,
        }
    }

    /// Bytes of the records.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
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

impl Place<'_> {
    /// Whether a record can have this length; longer ones are no records of ours.
    pub(crate) fn is_length(length: u32) -> bool {
        length & TOMBSTONE == 0
    }
}

/// Collects the places of a chunk, in the order of the records.
#[derive(Debug, Default)]
pub(crate) struct ColdBuilder {
    rows: Vec<Row>,
    segments: Vec<Arc<Segment>>,
    bytes: usize,
}

impl ColdBuilder {
    pub(crate) fn push(&mut self, place: &Place<'_>) {
        let known = self.segments.iter().rposition(|known| Arc::ptr_eq(known, place.segment));
        let segment = known.unwrap_or_else(|| {
            self.segments.push(Arc::clone(place.segment));
            self.segments.len() - 1
        });
        let segment = u16::try_from(segment).expect("a chunk has fewer records than that");
        self.bytes += place.length as usize;
        self.rows.push(Row {
            main: place.revision.main,
            sub: place.revision.sub,
            offset: place.offset,
            length: place.length | if place.tombstone { TOMBSTONE } else { 0 },
            segment,
        });
    }

    /// The places, unless there are none.
    pub(crate) fn finish(self) -> Option<Cold> {
        let Self { rows, segments, bytes } = self;
        let (rows, segments) = (rows.into_boxed_slice(), segments.into_boxed_slice());
        (!rows.is_empty()).then_some(Cold { rows, segments, bytes })
    }
}
