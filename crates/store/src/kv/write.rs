//! One request that changes the key space: everything in it happens at one main revision.
//!
//! Not here: replies, of which only what they need is kept, where they are wanted (`pending`).

use bytes::Bytes;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest};
use quoin_api::mvccpb::KeyValue;

use super::pending::PendingDelete;
use super::{Failure, Kv, Pending, Reader, Span};
use crate::lease::Leases;
use crate::record;
use crate::revision::Revision;
use crate::tally::Operations;

/// A request in progress.
pub(crate) struct Write<'a> {
    kv: &'a mut Kv,
    leases: &'a mut Leases,
    changes: u32,
    operations: Operations,
}

impl<'a> Write<'a> {
    pub(crate) fn begin(kv: &'a mut Kv, leases: &'a mut Leases) -> Self {
        Self { kv, leases, changes: 0, operations: Operations::default() }
    }

    /// Ends the request: its changes become the newest revision.
    pub(crate) fn finish(self) -> i64 {
        self.kv.tally.note_operations(self.operations);
        self.kv.revision += i64::from(self.changes > 0);
        self.kv.revision
    }

    /// Notes that this request has read so many times.
    pub(crate) fn note_ranges(&mut self, ranges: u64) {
        self.operations.ranges += ranges;
    }

    /// Notes reads that came before this request's first operation, as a request of their own.
    pub(crate) fn note_compared(&mut self, ranges: u64) {
        self.kv.tally.note_operations(Operations { ranges, ..Operations::default() });
    }

    /// The state as this request has changed it so far.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { revision: self.revision(), ..self.kv.reader() }
    }

    /// The revision that a response inside this request tells.
    pub(crate) fn revision(&self) -> i64 {
        self.kv.revision + i64::from(self.changes > 0)
    }

    /// Whether a put may be carried out: the lease it names exists, and so does the key if the put
    /// wants to keep something of it.
    pub(crate) fn check_put(&self, request: &PutRequest) -> Result<(), Error> {
        if request.lease != 0 && !self.leases.contains(request.lease) {
            return Err(Error::LeaseNotFound);
        }
        let keeps = request.ignore_value || request.ignore_lease;
        if keeps && !self.kv.index.find(&request.key).is_some_and(|slot| slot.is_live()) {
            return Err(Error::KeyNotFound);
        }
        Ok(())
    }

    /// Takes part of a range, which reads what this request has changed so far.
    pub(crate) fn range(
        &mut self,
        request: &RangeRequest,
        is_wanted: bool,
    ) -> Result<Pending, Failure> {
        self.note_ranges(1);
        self.reader().check_range(request)?;
        Ok(if is_wanted { self.reader().pending_range(request) } else { Pending::Nothing })
    }

    /// Carries out a put that was checked.
    pub(crate) fn put(
        &mut self,
        request: &PutRequest,
        is_wanted: bool,
    ) -> Result<Pending, Failure> {
        let reads = request.prev_kv || request.ignore_value || request.ignore_lease;
        self.note_ranges(u64::from(reads));
        let before = match reads {
            true => self.reader().live(Span::Key(&request.key)).next(),
            false => None,
        };
        let value = match before.as_ref().filter(|_| request.ignore_value) {
            Some(kept) => self.reader().pair(kept.modified)?.value,
            None => request.value.clone(),
        };
        let lease = match request.ignore_lease {
            true => before.as_ref().map_or(0, |before| before.lease),
            false => request.lease,
        };
        self.put_pair(&request.key, value, lease);
        if !is_wanted {
            return Ok(Pending::Nothing);
        }
        let previous = before.filter(|_| request.prev_kv).map(|before| before.modified);
        Ok(Pending::Put { revision: self.revision(), previous })
    }

    /// Deletes the keys that a request names, in ascending order.
    pub(crate) fn delete_range(
        &mut self,
        request: &DeleteRangeRequest,
        is_wanted: bool,
    ) -> Pending {
        let span = Span::new(&request.key, &request.range_end);
        self.note_ranges(u64::from(request.prev_kv));
        self.operations.deletes += 1;
        let is_previous_wanted = is_wanted && request.prev_kv;
        let before = is_previous_wanted.then(|| (self.kv.index.clone(), request.clone()));
        let keys = self.reader().keys(span);
        keys.iter().for_each(|key| self.delete(key));
        if !is_wanted {
            return Pending::Nothing;
        }
        let deleted = i64::try_from(keys.len()).expect("there are fewer keys than bytes");
        Pending::Delete(Box::new(PendingDelete { revision: self.revision(), deleted, before }))
    }

    /// Deletes one key if it is live.
    pub(crate) fn delete_key(&mut self, key: &[u8]) {
        self.operations.deletes += 1;
        if self.kv.index.find(key).is_some_and(|slot| slot.is_live()) {
            self.delete(key);
        }
    }

    fn put_pair(&mut self, key: &Bytes, value: Bytes, lease: i64) {
        self.operations.puts += 1;
        self.operations.put_bytes += (key.len() + value.len()) as u64;
        let revision = self.next_revision();
        let (old_lease, create_revision, version) = self.kv.index.upsert(key, |state| {
            let old_lease = state.latest.lease;
            state.put(revision, lease);
            (old_lease, state.latest.created, state.latest.version)
        });
        let mod_revision = revision.main;
        let key = key.clone();
        let pair = KeyValue { key, value, create_revision, mod_revision, version, lease };
        self.kv.history.append(revision, false, record::encode(&pair));
        if old_lease != lease {
            if old_lease != 0 {
                self.leases.detach(old_lease, &pair.key);
            }
            if lease != 0 {
                self.leases.attach(lease, &pair.key);
            }
        }
    }

    fn delete(&mut self, key: &[u8]) {
        let revision = self.next_revision();
        let lease = self.kv.index.upsert(key, |state| {
            let lease = state.latest.lease;
            state.delete(revision);
            lease
        });
        self.kv.history.append(revision, true, record::encode_tombstone(key));
        if lease != 0 {
            self.leases.detach(lease, key);
        }
    }

    fn next_revision(&mut self) -> Revision {
        let revision = Revision { main: self.kv.revision + 1, sub: self.changes };
        self.changes = self.changes.checked_add(1).expect("a request has fewer changes than 2^32");
        revision
    }
}
