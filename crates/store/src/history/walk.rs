//! Reading records, wherever they are. Those in files are read many at a time.

use std::sync::Arc;
use std::vec;

use bytes::Bytes;

use super::segment::{self, RECORD_HEAD_BYTES};
use super::{CHUNK_SLOTS, HistoryView, Place, Record, filled};
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
        self.records(&[revision]).map(|mut records| records.pop())
    }

    /// The records of revisions that all have one, in the order in which they are asked for.
    pub(crate) fn records(&self, revisions: &[Revision]) -> Result<Vec<Record>, CheckpointError> {
        let mut records = Vec::with_capacity(revisions.len());
        let (mut places, mut missing) = (Vec::new(), Vec::new());
        for &revision in revisions {
            let (at, slot) = self.find(revision).expect("every revision asked for has a record");
            let link = &self.links[at];
            match (&link.hot, &link.cold) {
                (Some(hot), _) => records.push(filled(hot, slot).clone()),
                (None, Some(cold)) => {
                    let place = cold.place(slot);
                    missing.push(records.len());
                    let (revision, tombstone) = (place.revision, place.tombstone);
                    records.push(Record { revision, tombstone, bytes: Bytes::new() });
                    places.push(place);
                }
                (None, None) => unreachable!("a chunk is hot or placed"),
            }
        }
        for (at, bytes) in missing.into_iter().zip(read_places(&places)?) {
            records[at].bytes = bytes;
        }
        Ok(records)
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
        let (mut bytes, mut wanted) = (0, Vec::new());
        while self.slot < filled && wanted.len() < self.batch && bytes < WALK_BYTES {
            bytes += link.length(self.slot);
            wanted.push(self.slot);
            self.slot += 1;
        }
        self.batch = (self.batch * 2).min(CHUNK_SLOTS);
        if self.slot >= filled {
            (self.link, self.slot) = (self.link + 1, 0);
        }
        let records = match (&link.hot, &link.cold) {
            (Some(hot), _) => {
                wanted.into_iter().map(|slot| super::filled(hot, slot).clone()).collect()
            }
            (None, Some(cold)) => {
                let places: Vec<_> = wanted.into_iter().map(|slot| cold.place(slot)).collect();
                let read = read_places(&places)?;
                let records = places.iter().zip(read).map(|(place, bytes)| Record {
                    revision: place.revision,
                    tombstone: place.tombstone,
                    bytes,
                });
                records.collect()
            }
            (None, None) => unreachable!("a chunk is hot or placed"),
        };
        self.ready = Vec::into_iter(records);
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
    order.sort_unstable_by_key(|&at| (places[at].segment.number(), places[at].offset));
    let mut found = vec![Bytes::new(); places.len()];
    let mut rest = &order[..];
    while let Some((&first, _)) = rest.split_first() {
        let begin = u64::from(places[first].offset);
        let (mut end, mut count) = (end_of(&places[first]), 1);
        for &next in &rest[1..] {
            let (place, next_end) = (&places[next], end_of(&places[next]).max(end));
            let joins = Arc::ptr_eq(place.segment, places[first].segment)
                && u64::from(place.offset) <= end + GAP_BYTES
                && next_end - begin <= RUN_BYTES;
            if !joins {
                break;
            }
            (end, count) = (next_end, count + 1);
        }
        let (run, later) = rest.split_at(count);
        let bytes = places[first].segment.read(begin, end)?;
        for &at in run {
            let start = usize::try_from(u64::from(places[at].offset) - begin);
            let start = start.expect("a run is short or one record");
            let stored = bytes.slice(start..start + RECORD_HEAD_BYTES + places[at].length as usize);
            found[at] = segment::check_record(&places[at], &stored)?;
        }
        rest = later;
    }
    Ok(found)
}

fn end_of(place: &Place<'_>) -> u64 {
    u64::from(place.offset) + RECORD_HEAD_BYTES as u64 + u64::from(place.length)
}
