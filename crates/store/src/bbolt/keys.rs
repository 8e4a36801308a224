//! The keys of a database file: an index of them, and a history whose records stay in the file.
//!
//! Every record is read and checked, one page at a time, and only where it is is kept. A
//! checkpoint then copies the records into segments, so the memory that a takeover needs follows
//! the number of keys and revisions and not the bytes of the values. The file must stay as it is
//! until then.
//!
//! Not here: the other buckets.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use quoin_bolt::{Db, Pair};
use quoin_vfs::File;

use crate::history::segment::Segment;
use crate::history::{CHUNK_SLOTS, ColdBuilder, Files, History, Link, Place};
use crate::index::{Change, Index};
use crate::lease::Leases;
use crate::record;
use crate::revision::Revision;

/// Offsets within a part of a file have so many bits.
const PART_BITS: u32 = u32::BITS;
/// Keys that are trimmed in one step.
const TRIM_STEP: usize = 4096;

/// The keys of a file, as its rows are given in order.
pub(super) struct Keys {
    index: Index,
    places: Places,
    last: Revision,
}

impl Keys {
    pub(super) fn of(db: &Db) -> Self {
        let places = Places {
            path: db.path().to_owned(),
            file: db.file(),
            parts: BTreeMap::new(),
            links: Vec::new(),
            chunk: ColdBuilder::default(),
        };
        Self { index: Index::default(), places, last: Revision::default() }
    }

    /// The newest revision so far.
    pub(super) fn last(&self) -> Revision {
        self.last
    }

    /// Takes the next row, or says what is wrong with it.
    pub(super) fn push(&mut self, row: &Pair) -> Result<(), &'static str> {
        let Change { revision, tombstone } = read_row_key(&row.key).ok_or("not a revision")?;
        let bytes = &row.value;
        let pair = record::decode(bytes).ok_or("a record that is not canonical")?;
        if !record::is_of(bytes, &pair, revision.main, tombstone) {
            return Err("a record that cannot be of its revision");
        }
        if revision <= self.last || revision.main == 0 {
            return Err("a record out of order");
        }
        self.last = revision;
        self.places.push(revision, tombstone, (row.value_at, bytes.len()))?;
        self.index.upsert(&pair.key, |state| {
            let change = Change { revision, tombstone };
            state.restore(change, pair.create_revision, pair.version, pair.lease);
        });
        Ok(())
    }

    /// The keys after the last row, compacted at a main revision, and attached to their leases.
    /// What a compaction that was cut off has left is dropped.
    pub(super) fn finish(self, compacted: i64, leases: &mut Leases) -> (Index, History) {
        let Self { mut index, places, .. } = self;
        let mut history = places.finish();
        let mut from = Some(Vec::new());
        while let Some(start) = from {
            let slots = index.range(&start, None).filter(|slot| !slot.is_compact(compacted));
            let keys: Vec<Vec<u8>> = slots.take(TRIM_STEP).map(|slot| slot.key()).collect();
            for key in &keys {
                let mut dead = Vec::new();
                let left =
                    index.upsert(key, |state| state.compact(compacted, |change| dead.push(change)));
                if !left {
                    index.remove(key);
                }
                for revision in dead {
                    history.drop_record(revision);
                }
            }
            from = keys.into_iter().last();
        }
        history.sweep_all();
        for slot in index.iter().live_only() {
            let lease = slot.latest().lease;
            if lease != 0 {
                leases.attach(lease, &slot.key());
            }
        }
        (index, history)
    }
}

/// Where the records of a file are.
struct Places {
    path: PathBuf,
    file: Arc<dyn File>,
    /// The parts of the file that have records, by their numbers.
    parts: BTreeMap<u64, Arc<Segment>>,
    links: Vec<Link>,
    chunk: ColdBuilder,
}

impl Places {
    /// Notes where the next record begins and how long it is.
    fn push(
        &mut self,
        revision: Revision,
        tombstone: bool,
        (at, length): (u64, usize),
    ) -> Result<(), &'static str> {
        let length = u32::try_from(length).ok().filter(|length| Place::is_length(*length));
        let length = length.ok_or("a record that is too long")?;
        if self.chunk.len() == CHUNK_SLOTS {
            self.end_chunk();
        }
        let number = at >> PART_BITS;
        let segment = self.parts.entry(number).or_insert_with(|| {
            let start = number << PART_BITS;
            Arc::new(Segment::of_database(&self.path, Arc::clone(&self.file), start))
        });
        // What is cut off is the number of the part.
        let offset = at as u32;
        self.chunk.push(&Place { segment, offset, revision, tombstone, length });
        Ok(())
    }

    fn end_chunk(&mut self) {
        let cold = std::mem::take(&mut self.chunk).finish();
        self.links.extend(cold.map(|cold| Link::placed(cold, None)));
    }

    fn finish(mut self) -> History {
        self.end_chunk();
        History::placed(self.links, Files::default())
    }
}

/// Reads the key of a record; see [`Revision::row_key`].
pub(super) fn read_row_key(key: &[u8]) -> Option<Change> {
    let tombstone = match key.len() {
        17 => false,
        18 if key[17] == b't' => true,
        _ => return None,
    };
    let main = i64::from_be_bytes(*key.first_chunk()?);
    let sub = u64::from_be_bytes(*key.get(9..)?.first_chunk()?);
    // There must be a next one.
    if key[8] != b'_' || !(0..i64::MAX).contains(&main) {
        return None;
    }
    let revision = Revision { main, sub: u32::try_from(sub).ok()? };
    Some(Change { revision, tombstone })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use quoin_vfs::{FileSystem, MemFs};

    use super::*;

    /// Records of neighbouring revisions may be far apart, and one may reach across two parts.
    #[test]
    fn places_beyond_four_gibibytes() {
        let (fs, path) = (MemFs::new(), PathBuf::from("db"));
        let file = Arc::from(fs.create(Path::new("db")).unwrap());
        let (parts, links, chunk) = Default::default();
        let mut places = Places { path, file, parts, links, chunk };
        let part = 1_u64 << 32;
        let rows = [(7, 10), (part - 3, 10), (0, 1), (part, 5), (9 * part + 9, 6), (part + 8, 0)];
        let revision = |nth: usize| Revision::first_of(2 + i64::try_from(nth).unwrap());
        for (nth, (at, length)) in rows.into_iter().enumerate() {
            places.push(revision(nth), false, (at, length)).unwrap();
        }
        assert_eq!(places.push(revision(6), false, (0, 1 << 31)), Err("a record that is too long"));
        assert_eq!(places.parts.len(), 3);
        let history = places.finish();
        for (nth, (at, length)) in rows.into_iter().enumerate() {
            let place = history.view().place(revision(nth)).unwrap();
            assert_eq!(place.span(), (at, at + length as u64));
        }
    }
}
