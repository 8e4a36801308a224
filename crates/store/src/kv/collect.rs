//! Collecting the garbage of a compaction, a few records at a time.
//!
//! A record dies when its key changed again at or before the compacted revision. So the walk goes
//! over the changes since the compaction before, and not over all keys: each change tells which
//! key to trim. The walk begins at the older compacted revision itself, because deletions exactly
//! there were kept.

use bytes::Bytes;

use super::Kv;
use crate::checkpoint::CheckpointError;
use crate::record;
use crate::revision::Revision;

/// A walk that is not at its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Garbage {
    /// The next record to look at.
    next: Revision,
    /// The main revision at which the walk ends.
    target: i64,
}

impl Kv {
    /// Notes that a compaction moved from one revision to another.
    pub(super) fn add_garbage(&mut self, from: i64, target: i64) {
        let from = Revision::first_of(from.max(0));
        let next = self.garbage.map_or(from, |garbage| garbage.next.min(from));
        self.garbage = Some(Garbage { next, target });
    }

    /// Looks at up to `limit` records; true if some are left to look at. No reader can tell how
    /// often this was called. If a record cannot be read, nothing has changed.
    pub(crate) fn collect(&mut self, limit: usize) -> Result<bool, CheckpointError> {
        let Some(Garbage { next, target }) = self.garbage else { return Ok(false) };
        let records = self.history.view().iter_from(next);
        let mut visits = Vec::new();
        let mut rest = None;
        for record in records {
            let record = record?;
            if record.revision.main > target {
                break;
            }
            if visits.len() == limit {
                rest = Some(Garbage { next: record.revision, target });
                break;
            }
            let key = record::key(&record.bytes).expect("stored records are canonical");
            // A part of the record would keep all of it, or all that was read with it.
            visits.push((record.revision, Bytes::copy_from_slice(&key)));
        }
        for (revision, key) in visits {
            self.visit(revision, &key, target);
        }
        self.garbage = rest;
        Ok(self.garbage.is_some())
    }

    /// Trims the key of one record. Dead records after this one are dropped when the walk reaches
    /// them.
    fn visit(&mut self, revision: Revision, key: &[u8], target: i64) {
        let Some(slot) = self.index.find(key) else {
            return self.drop_record(revision);
        };
        if !slot.is_compact(target) {
            let mut dead = Vec::new();
            let left = self.index.upsert(key, |state| {
                state.compact(target, |change| {
                    if change < revision {
                        dead.push(change);
                    }
                })
            });
            if !left {
                self.index.remove(key);
            }
            dead.into_iter().for_each(|change| self.drop_record(change));
        }
        let survivor = self.index.find(key).and_then(|slot| slot.survivor(target));
        if survivor != Some(revision) {
            self.drop_record(revision);
        }
    }

    fn drop_record(&mut self, revision: Revision) {
        self.tally.collected += u64::from(self.history.drop_record(revision));
    }
}
