//! The hash of the key space that members compare with each other.
//!
//! It is a CRC-32C over the word `key` and then, in order, over the row key and the record of each
//! change up to the revision asked for. Of the changes up to the compacted revision only those
//! count that a reader at the revision asked for still sees; if he sees no key at all, those count
//! that the compaction kept. A key that was deleted and put again at exactly the revision asked for
//! is none that he sees, because etcd finds the deletion and looks no further. Deletions exactly at
//! the compacted revision never count, because some releases of etcd keep them and some do not.

use quoin_api::error::Error;

use super::View;
use crate::history::Record;
use crate::record;

/// The name of the table that etcd hashes.
const TABLE: &[u8] = b"key";

/// A hash and what it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// The hash.
    pub hash: u32,
    /// The compacted revision at that time, or -1.
    pub compact_revision: i64,
    /// The newest revision that is covered.
    pub hash_revision: i64,
}

/// The hash that a compaction leaves behind, not computed yet: what lay between the compaction
/// before and this one is still in the view. Members compare these hashes, because all of them
/// compute them for the same revisions.
#[derive(Debug)]
pub struct CompactionHash {
    /// The state before the compaction.
    view: View,
    /// The main revision that was compacted.
    revision: i64,
}

impl CompactionHash {
    pub(crate) fn new(view: View, revision: i64) -> Self {
        Self { view, revision }
    }

    /// Returns the main revision that was compacted.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Computes the hash, which covers the changes up to the compacted revision as they were
    /// before it. It reads all of them.
    pub fn compute(&self) -> Result<HashKv, Error> {
        let Self { view, revision } = self;
        let keeps_nothing = view.sees_nothing(*revision) && !view.ends_with_deletion(*revision)?;
        view.hash_up_to(*revision, keeps_nothing)
    }
}

impl View {
    /// Hashes the changes up to main revision `revision`; 0 means all.
    pub fn hash_kv(&self, revision: i64) -> Result<HashKv, Error> {
        if revision > 0 && revision < self.compacted {
            return Err(Error::Compacted);
        }
        if revision > self.revision {
            return Err(Error::FutureRevision);
        }
        let at = if revision == 0 { self.revision } else { revision };
        self.hash_up_to(at, self.sees_nothing(at))
    }

    /// Hashes the changes up to main revision `at`, at which a reader sees nothing if `empty`.
    fn hash_up_to(&self, at: i64, empty: bool) -> Result<HashKv, Error> {
        let mut hash = crc32c::crc32c(TABLE);
        for record in self.history.iter_from(crate::Revision::first_of(0)) {
            let record = record.map_err(|_| Error::Corrupt)?;
            if record.revision.main > at {
                break;
            }
            if self.is_hashed(&record, at, empty) {
                let row_key = record.revision.row_key(record.tombstone);
                hash = crc32c::crc32c_append(hash, row_key.as_bytes());
                hash = crc32c::crc32c_append(hash, &record.bytes);
            }
        }
        Ok(HashKv { hash, compact_revision: self.compacted, hash_revision: at })
    }

    /// Whether a reader at main revision `at` finds no key at all but such as were put again there.
    fn sees_nothing(&self, at: i64) -> bool {
        let slots = self.index.iter();
        let mut slots = if at == self.revision { slots.live_only() } else { slots };
        !slots.any(|slot| slot.visible_at(at).is_some() && !slot.was_deleted_at(at))
    }

    /// Whether a key was deleted exactly at main revision `at`: a compaction there keeps that.
    fn ends_with_deletion(&self, at: i64) -> Result<bool, Error> {
        for record in self.history.iter_from(crate::Revision::first_of(at)) {
            let record = record.map_err(|_| Error::Corrupt)?;
            if record.revision.main > at {
                break;
            }
            let key = record::key(&record.bytes).expect("stored records are canonical");
            let newest = self.index.find(&key).and_then(|slot| slot.newest_at(at));
            if record.tombstone && newest.is_some_and(|newest| newest.revision == record.revision) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_hashed(&self, record: &Record, at: i64, empty: bool) -> bool {
        let main = record.revision.main;
        if main > self.compacted {
            return true;
        }
        if main == self.compacted && record.tombstone {
            return false;
        }
        if empty {
            return self.is_kept(record);
        }
        let key = record::key(&record.bytes).expect("stored records are canonical");
        let slot = self.index.find(&key);
        slot.and_then(|slot| slot.visible_at(at)) == Some(record.revision)
    }

    /// Whether no compaction so far has made a record unreachable. It may be there although one
    /// has.
    pub(crate) fn is_kept(&self, record: &Record) -> bool {
        if record.revision.main > self.compacted {
            return true;
        }
        let key = record::key(&record.bytes).expect("stored records are canonical");
        let slot = self.index.find(&key);
        slot.and_then(|slot| slot.survivor(self.compacted)) == Some(record.revision)
    }
}
