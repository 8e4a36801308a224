//! Views: the state after some entry, for everybody who only reads.
//!
//! A view is a few pointers. It stays as it is while the store goes on, and keeps alive what it
//! shows. Answers refer to the stored bytes and copy none.

use std::sync::Arc;

use quoin_api::error::Error;
use quoin_api::etcdserverpb::response_op::Response;
use quoin_api::etcdserverpb::{AlarmMember, RangeRequest, RangeResponse, TxnRequest, TxnResponse};
use quoin_api::mvccpb::KeyValue;

use crate::alarm::Alarms;
use crate::history::HistoryView;
use crate::index::Index;
use crate::kv::{self, Bound, Failure, Halt, Reader, Span, Stored};
use crate::lease::{Lease, Leases};
use crate::membership::Membership;
use crate::record;
use crate::revision::Revision;
use crate::v2::V2View;

mod hash;

pub use hash::{CompactionHash, HashKv};

/// The state after one entry. Cloning it copies pointers.
#[derive(Clone)]
pub struct View {
    pub(crate) index: Index,
    pub(crate) history: HistoryView,
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    pub(crate) size: usize,
    pub(crate) has_garbage: bool,
    pub(crate) leases: Leases,
    pub(crate) alarms: Arc<Alarms>,
    pub(crate) membership: Arc<Membership>,
    pub(crate) v2: V2View,
    pub(crate) applied: (u64, u64),
}

/// A change of a key, in the order in which changes happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When it happened.
    pub revision: Revision,
    /// Whether the key was deleted.
    pub is_delete: bool,
    /// What was stored; a deletion has the key and the revision only.
    pub pair: KeyValue,
}

impl View {
    /// The tree of the v2 API.
    pub fn v2(&self) -> &V2View {
        &self.v2
    }

    /// The newest revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The revision that was compacted last, or -1.
    pub fn compact_revision(&self) -> i64 {
        self.compacted
    }

    /// Index and term of the last entry applied.
    pub fn applied(&self) -> (u64, u64) {
        self.applied
    }

    /// Bytes of the records that are kept, which is what the keys and values of all reachable
    /// revisions take.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes of values that are in memory although they are in files: what
    /// [`Store::set_memory_budget`](crate::Store::set_memory_budget) bounds.
    pub fn cached_bytes(&self) -> usize {
        self.history.placed_hot_bytes()
    }

    /// Whether records are left that a compaction made unreachable.
    pub fn has_garbage(&self) -> bool {
        self.has_garbage
    }

    /// How many keys are live.
    pub fn keys(&self) -> usize {
        self.index.count().live
    }

    /// Answers a range that was checked. Of the header only the revision is filled.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Error> {
        self.reader().range(request).map_err(Failure::told)
    }

    /// The same, or nothing if that takes more than is left of the bound.
    pub fn range_within(
        &self,
        request: &RangeRequest,
        bound: &mut Bound,
    ) -> Result<Option<RangeResponse>, Error> {
        unless_over(self.reader().range_within(request, bound))
    }

    /// Answers the beginning of a range that is neither sorted nor filtered: as many keys as take up
    /// to so many bytes, one at least. There is no count. Returns nothing if that takes more than is
    /// left of the bound.
    pub fn range_page_within(
        &self,
        request: &RangeRequest,
        bytes_max: usize,
        bound: &mut Bound,
    ) -> Result<Option<RangeResponse>, Error> {
        unless_over(self.reader().page_within(request, bytes_max, bound))
    }

    /// Bytes of memory that the answer to a range takes while it is made. They are found from the
    /// index and the lengths of what is stored, which takes time for each key.
    pub fn range_bytes(&self, request: &RangeRequest) -> Result<usize, Error> {
        self.reader().range_bytes(request).map_err(Failure::told)
    }

    /// Answers a transaction that only reads (see [`is_txn_readonly`](crate::is_txn_readonly));
    /// one that writes is refused. Of the header only the revision is filled.
    pub fn txn_readonly(&self, request: &TxnRequest) -> Result<TxnResponse, Error> {
        let mut bound = Bound::NONE;
        let response = self.txn_within(request, &mut bound)?;
        Ok(response.map(|(response, _)| response).unwrap_or_default())
    }

    /// The same, with how often the transaction read, or nothing if all of it together takes more than is
    /// left of the bound.
    pub fn txn_within(
        &self,
        request: &TxnRequest,
        bound: &mut Bound,
    ) -> Result<Option<(TxnResponse, u64)>, Error> {
        let planned = unless_over(kv::plan_readonly(self.reader(), request, bound))?;
        let Some((pending, ranges)) = planned else { return Ok(None) };
        let response = unless_over(pending.response(&self.stored(), bound))?;
        Ok(match response {
            Some(Some(Response::ResponseTxn(response))) => Some((response, ranges)),
            Some(_) | None => None,
        })
    }

    /// Bytes of memory that the answer to a transaction that only reads takes while it is made.
    pub fn txn_bytes(&self, request: &TxnRequest) -> Result<usize, Error> {
        let mut bound = Bound::NONE;
        let planned = unless_over(kv::plan_readonly(self.reader(), request, &mut bound))?;
        let Some((pending, _)) = planned else { return Ok(0) };
        pending.bytes(&self.stored()).map_err(Failure::told)
    }

    /// The value of `key` as a reader at main revision `at` sees it, from the compacted revision
    /// on. An error means that the stored bytes cannot be read or are damaged.
    pub fn value_at(&self, key: &[u8], at: i64) -> Result<Option<KeyValue>, Error> {
        let reader = self.reader();
        let found = reader.found(Span::Key(key), at).next();
        found.map(|found| reader.pair(found.revision)).transpose().map_err(|_| Error::Corrupt)
    }

    /// The changes from main revision `from` on, which must not be older than the compacted
    /// revision. An error among them means that the stored bytes cannot be read or are damaged.
    pub fn events_from(
        &self,
        from: i64,
    ) -> Result<impl Iterator<Item = Result<Event, Error>> + '_, Error> {
        self.events_at(Revision::first_of(from))
    }

    /// The same, from a change within a revision on.
    pub(crate) fn events_at(
        &self,
        from: Revision,
    ) -> Result<impl Iterator<Item = Result<Event, Error>> + '_, Error> {
        if from.main < self.compacted {
            return Err(Error::Compacted);
        }
        let records = self.history.iter_from(from);
        Ok(records.map(|record| {
            let record = record.map_err(|_| Error::Corrupt)?;
            let mut pair = record::decode(&record.bytes).ok_or(Error::Corrupt)?;
            if record.tombstone {
                pair.mod_revision = record.revision.main;
            }
            Ok(Event { revision: record.revision, is_delete: record.tombstone, pair })
        }))
    }

    /// The lease with an ID.
    pub fn lease(&self, id: i64) -> Option<Lease> {
        self.leases.get(id)
    }

    /// All leases by ID.
    pub fn leases(&self) -> impl Iterator<Item = Lease> + '_ {
        self.leases.iter_from(i64::MIN)
    }

    /// How many leases there are.
    pub fn lease_count(&self) -> usize {
        self.leases.len()
    }

    /// The alarms of one kind, or all for the kind `None`.
    pub fn alarms(&self, kind: quoin_api::etcdserverpb::AlarmType) -> Vec<AlarmMember> {
        self.alarms.of_kind(kind as i32)
    }

    /// The members of the cluster.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    fn stored(&self) -> Stored {
        Stored { history: self.history.clone(), compacted: self.compacted }
    }

    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader {
            index: &self.index,
            history: &self.history,
            revision: self.revision,
            compacted: self.compacted,
        }
    }
}

/// What was read, or nothing if it would be over the bound.
fn unless_over<T>(read: Result<T, Halt>) -> Result<Option<T>, Error> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(Halt::OverBound) => Ok(None),
        Err(Halt::Failed(failure)) => Err(failure.told()),
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("applied", &self.applied).finish_non_exhaustive()
    }
}
