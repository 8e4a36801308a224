//! Reading records, wherever they are. Those in files are read many at a time.

use std::sync::Arc;
use std::vec;

use bytes::Bytes;

use super::link::Found;
use super::segment;
use super::{CHUNK_SLOTS, HistoryView, Place, Record};
use crate::checkpoint::CheckpointError;
use crate::revision::Revision;

/// The most that is read from a file at once, unless one record is longer.
const RUN_BYTES: u64 = 256 * 1024;
/// Bytes between two wanted records that are read along rather than passed over.
const GAP_BYTES: u64 = 2048;
/// Records that a walk takes at first; it takes twice as many each time it goes on.
const FIRST_BATCH: usize = 8;
/// Bytes of records that a walk holds.
const WALK_BYTES: usize = 256 * 1024;

impl HistoryView {
    /// The record of `revision`.
    pub(crate) fn record(&self, revision: Revision) -> Result<Option<Record>, CheckpointError> {
        if self.find(revision).is_none() {
            return Ok(None);
        }
        self.read(&[self.locate(revision)]).map(|mut records| records.pop())
    }

    /// Where the record of a revision is that has one. Nothing is read.
    pub(crate) fn locate(&self, revision: Revision) -> Located {
        let (link, slot) = self.find(revision).expect("every revision asked for has a record");
        Located { link, slot, bytes: self.links[link].length(slot) }
    }

    /// The records in some places, in the order in which they are asked for.
    pub(crate) fn read(&self, located: &[Located]) -> Result<Vec<Record>, CheckpointError> {
        let mut wanted = Wanted::with_capacity(located.len());
        for &Located { link, slot, .. } in located {
            wanted.push(self.links[link].find(slot));
        }
        wanted.read()
    }

    /// The records from `revision` on. Records that compaction has passed may be among them or
    /// not, whether they are still needed is for the index to tell. The walk ends at an error.
    pub(crate) fn iter_from(&self, revision: Revision) -> Walk<'_> {
        let link = self.links.partition_point(|link| link.first <= revision).saturating_sub(1);
        let slot = match self.links.get(link) {
            Some(_) => self.search(link, revision).unwrap_or_else(|slot| slot),
            None => 0,
        };
        Walk { view: self, link, slot, batch: FIRST_BATCH, ready: Vec::new().into_iter() }
    }
}

/// Where a view has a record, and how long that is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located {
    link: usize,
    slot: usize,
    /// Bytes of the record.
    pub(crate) bytes: usize,
}

/// Records, of which some are still to be read.
struct Wanted<'a> {
    /// Those that are to be read have no bytes.
    records: Vec<Record>,
    missing: Vec<usize>,
    /// Where the missing ones are.
    places: Vec<Place<'a>>,
}

impl<'a> Wanted<'a> {
    fn with_capacity(count: usize) -> Self {
        Self { records: Vec::with_capacity(count), missing: Vec::new(), places: Vec::new() }
    }

    fn push(&mut self, found: Found<'a>) {
        match found {
            Found::Record(record) => self.records.push(record),
            Found::Place(place) => {
                self.missing.push(self.records.len());
                self.records.push(place.record(Bytes::new()));
                self.places.push(place);
            }
        }
    }

    fn read(mut self) -> Result<Vec<Record>, CheckpointError> {
        for (at, bytes) in self.missing.into_iter().zip(read_places(&self.places)?) {
            self.records[at].bytes = bytes;
        }
        Ok(self.records)
    }
}

/// A walk over records in order.
pub(crate) struct Walk<'a> {
    view: &'a HistoryView,
    /// The next record that is not in `ready`.
    link: usize,
    slot: usize,
    batch: usize,
    ready: vec::IntoIter<Record>,
}

impl Walk<'_> {
    /// Takes the next records of one chunk.
    fn fill(&mut self) -> Result<(), CheckpointError> {
        let filled = self.view.filled(self.link);
        let link = &self.view.links[self.link];
        let (mut bytes, mut wanted) = (0, Wanted::with_capacity(self.batch));
        while self.slot < filled && wanted.records.len() < self.batch && bytes < WALK_BYTES {
            bytes += link.length(self.slot);
            wanted.push(link.find(self.slot));
            self.slot += 1;
        }
        self.batch = (self.batch * 2).min(CHUNK_SLOTS);
        if self.slot >= filled {
            (self.link, self.slot) = (self.link + 1, 0);
        }
        self.ready = wanted.read()?.into_iter();
        Ok(())
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Record, CheckpointError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.ready.next() {
                return Some(Ok(record));
            }
            if self.link >= self.view.links.len() {
                return None;
            }
            if let Err(error) = self.fill() {
                self.link = self.view.links.len();
                return Some(Err(error));
            }
        }
    }
}

/// Reads the records at some places, in any order; neighbours in a file are read together. Each
/// is checked.
pub(crate) fn read_places(places: &[Place<'_>]) -> Result<Vec<Bytes>, CheckpointError> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_unstable_by_key(|&at| (places[at].segment.number(), places[at].span()));
    let mut found = vec![Bytes::new(); places.len()];
    let mut rest = &order[..];
    while let Some((&first, _)) = rest.split_first() {
        let (begin, mut end) = places[first].span();
        let mut count = 1;
        for &next in &rest[1..] {
            let (next_begin, next_end) = places[next].span();
            let next_end = next_end.max(end);
            let joins = Arc::ptr_eq(places[next].segment, places[first].segment)
                && next_begin <= end + GAP_BYTES
                && next_end - begin <= RUN_BYTES;
            if !joins {
                break;
            }
            (end, count) = (next_end, count + 1);
        }
        let (run, later) = rest.split_at(count);
        let bytes = places[first].segment.read(begin, end)?;
        for &at in run {
            let within =
                |at: u64| usize::try_from(at - begin).expect("a run is short or one record");
            let (start, stop) = places[at].span();
            let stored = bytes.slice(within(start)..within(stop));
            found[at] = segment::check_record(&places[at], &stored)?;
        }
        rest = later;
    }
    Ok(found)
}
