//! The store once more, as plainly as possible: a full copy of all keys for each revision.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::compare::{CompareTarget, TargetUnion};
use quoin_api::etcdserverpb::request_op::Request as Operation;
use quoin_api::etcdserverpb::response_op::Response;
use quoin_api::etcdserverpb::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
};
use quoin_api::mvccpb::KeyValue;

use crate::record;
use crate::revision::Revision;

pub(super) type Keys = BTreeMap<Bytes, KeyValue>;

#[derive(Clone)]
pub(super) struct Model {
    /// All keys at each revision; the first one is revision 1.
    states: Vec<Keys>,
    pub(super) compacted: i64,
    pub(super) leases: BTreeSet<i64>,
    /// Every change there ever was.
    pub(super) changes: Vec<(Revision, bool, KeyValue)>,
}

/// A request in progress.
struct Work {
    main: i64,
    keys: Keys,
    changes: Vec<(Revision, bool, KeyValue)>,
}

impl Work {
    fn revision(&self) -> i64 {
        self.main - i64::from(self.changes.is_empty())
    }

    fn header(&self) -> Option<ResponseHeader> {
        header(self.revision())
    }

    fn add(&mut self, is_delete: bool, pair: KeyValue) {
        let sub = u32::try_from(self.changes.len()).unwrap();
        self.changes.push((Revision { main: self.main, sub }, is_delete, pair));
    }

    fn put(&mut self, request: &PutRequest) -> PutResponse {
        let old = self.keys.get(&request.key).cloned();
        let kept = |ignore: bool| old.as_ref().filter(|_| ignore);
        let pair = KeyValue {
            key: request.key.clone(),
            value: kept(request.ignore_value).map_or(&request.value, |old| &old.value).clone(),
            lease: kept(request.ignore_lease).map_or(request.lease, |old| old.lease),
            create_revision: old.as_ref().map_or(self.main, |old| old.create_revision),
            mod_revision: self.main,
            version: old.as_ref().map_or(0, |old| old.version) + 1,
        };
        self.keys.insert(request.key.clone(), pair.clone());
        self.add(false, pair);
        PutResponse { header: self.header(), prev_kv: old.filter(|_| request.prev_kv) }
    }

    fn delete(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let old = select(&self.keys, &request.key, &request.range_end);
        for pair in &old {
            self.keys.remove(&pair.key);
            self.add(true, KeyValue { key: pair.key.clone(), ..KeyValue::default() });
        }
        let deleted = i64::try_from(old.len()).unwrap();
        let prev_kvs = if request.prev_kv { old } else { vec![] };
        DeleteRangeResponse { header: self.header(), deleted, prev_kvs }
    }
}

impl Model {
    pub(super) fn new() -> Self {
        let states = vec![Keys::new()];
        Self { states, compacted: -1, leases: BTreeSet::new(), changes: vec![] }
    }

    pub(super) fn revision(&self) -> i64 {
        i64::try_from(self.states.len()).unwrap()
    }

    pub(super) fn now(&self) -> &Keys {
        self.states.last().unwrap()
    }

    fn at(&self, revision: i64) -> &Keys {
        &self.states[usize::try_from(revision - 1).unwrap()]
    }

    fn begin(&self) -> Work {
        Work { main: self.revision() + 1, keys: self.now().clone(), changes: vec![] }
    }

    fn finish(&mut self, work: Work) {
        if !work.changes.is_empty() {
            self.changes.extend(work.changes);
            self.states.push(work.keys);
        }
    }

    pub(super) fn put(&mut self, request: &PutRequest) -> Result<PutResponse, Error> {
        self.check_put(request)?;
        let mut work = self.begin();
        let response = work.put(request);
        self.finish(work);
        Ok(response)
    }

    pub(super) fn delete(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let mut work = self.begin();
        let response = work.delete(request);
        self.finish(work);
        response
    }

    pub(super) fn compact(&mut self, revision: i64) -> Result<(), Error> {
        if revision <= self.compacted {
            return Err(Error::Compacted);
        }
        if revision > self.revision() {
            return Err(Error::FutureRevision);
        }
        self.compacted = revision;
        Ok(())
    }

    pub(super) fn revoke(&mut self, id: i64) -> Result<(), Error> {
        if !self.leases.remove(&id) {
            return Err(Error::LeaseNotFound);
        }
        let mut work = self.begin();
        for pair in self.now().values().filter(|pair| pair.lease == id) {
            let key = pair.key.clone();
            work.delete(&DeleteRangeRequest { key, ..DeleteRangeRequest::default() });
        }
        self.finish(work);
        Ok(())
    }

    pub(super) fn txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, Error> {
        self.check_txn(request)?;
        let mut work = self.begin();
        let mut response = self.run(&mut work, request)?;
        response.header = work.header();
        self.finish(work);
        Ok(response)
    }

    fn check_put(&self, request: &PutRequest) -> Result<(), Error> {
        if request.lease != 0 && !self.leases.contains(&request.lease) {
            return Err(Error::LeaseNotFound);
        }
        let keeps = request.ignore_value || request.ignore_lease;
        if keeps && !self.now().contains_key(&request.key) {
            return Err(Error::KeyNotFound);
        }
        Ok(())
    }

    fn check_txn(&self, request: &TxnRequest) -> Result<(), Error> {
        for operation in self.branch(request) {
            match operation.request.as_ref().unwrap() {
                Operation::RequestRange(range) if range.revision > self.revision() => {
                    return Err(Error::FutureRevision);
                }
                Operation::RequestRange(range)
                    if range.revision != 0 && range.revision < self.compacted =>
                {
                    return Err(Error::Compacted);
                }
                Operation::RequestRange(_) | Operation::RequestDeleteRange(_) => {}
                Operation::RequestPut(put) => self.check_put(put)?,
                Operation::RequestTxn(inner) => self.check_txn(inner)?,
            }
        }
        Ok(())
    }

    fn succeeds(&self, request: &TxnRequest) -> bool {
        request.compare.iter().all(|compare| {
            let mut pairs = select(self.now(), &compare.key, &compare.range_end);
            if pairs.is_empty() {
                if compare.target == CompareTarget::Value as i32 {
                    return false;
                }
                pairs.push(KeyValue::default());
            }
            pairs.iter().all(|pair| holds(compare, pair))
        })
    }

    fn branch<'a>(&self, request: &'a TxnRequest) -> &'a [quoin_api::etcdserverpb::RequestOp] {
        if self.succeeds(request) { &request.success } else { &request.failure }
    }

    fn run(&self, work: &mut Work, request: &TxnRequest) -> Result<TxnResponse, Error> {
        let mut responses = vec![];
        for operation in self.branch(request) {
            let response = match operation.request.as_ref().unwrap() {
                Operation::RequestRange(range) => {
                    Response::ResponseRange(self.range_with(range, &work.keys, work.revision())?)
                }
                Operation::RequestPut(put) => Response::ResponsePut(work.put(put)),
                Operation::RequestDeleteRange(delete) => {
                    Response::ResponseDeleteRange(work.delete(delete))
                }
                Operation::RequestTxn(inner) => Response::ResponseTxn(self.run(work, inner)?),
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        let succeeded = self.succeeds(request);
        Ok(TxnResponse { header: header(0), succeeded, responses })
    }

    pub(super) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Error> {
        self.range_with(request, self.now(), self.revision())
    }

    fn range_with(
        &self,
        request: &RangeRequest,
        newest: &Keys,
        revision: i64,
    ) -> Result<RangeResponse, Error> {
        if request.revision > revision {
            return Err(Error::FutureRevision);
        }
        let keys = match request.revision {
            asked if asked <= 0 || asked == revision => newest,
            asked if asked < self.compacted => return Err(Error::Compacted),
            asked => self.at(asked),
        };
        let mut pairs = select(keys, &request.key, &request.range_end);
        let count = i64::try_from(pairs.len()).unwrap();
        let header = header(revision);
        if request.count_only {
            return Ok(RangeResponse { header, count, ..RangeResponse::default() });
        }
        let limit = usize::try_from(request.limit).unwrap_or(0);
        let filters = crate::check::has_revision_filters(request);
        if limit > 0 && !filters && request.sort_order == 0 {
            pairs.truncate(limit + 1);
        }
        for pair in &mut pairs {
            if request.keys_only && request.sort_target != 4 {
                (pair.value, pair.lease) = (Bytes::new(), 0);
            }
        }
        pairs.retain(|pair| {
            request.max_mod_revision == 0 || pair.mod_revision <= request.max_mod_revision
        });
        pairs.retain(|pair| {
            request.min_mod_revision == 0 || pair.mod_revision >= request.min_mod_revision
        });
        pairs.retain(|pair| {
            request.max_create_revision == 0 || pair.create_revision <= request.max_create_revision
        });
        pairs.retain(|pair| {
            request.min_create_revision == 0 || pair.create_revision >= request.min_create_revision
        });
        sort(&mut pairs, request);
        let more = limit > 0 && pairs.len() > limit;
        if more {
            pairs.truncate(limit);
        }
        for pair in &mut pairs {
            if request.keys_only {
                pair.value = Bytes::new();
            }
        }
        Ok(RangeResponse { header, kvs: pairs, more, count })
    }

    /// The changes that are left after the last compaction.
    fn physical(&self) -> Vec<&(Revision, bool, KeyValue)> {
        let newest = |key: &Bytes| {
            let up_to = |change: &&(Revision, bool, KeyValue)| change.0.main <= self.compacted;
            let of_key = self.changes.iter().filter(up_to).filter(|change| change.2.key == key);
            of_key.map(|change| change.0).max()
        };
        let left = self.changes.iter().filter(|(revision, is_delete, pair)| {
            revision.main > self.compacted
                || (newest(&pair.key) == Some(*revision)
                    && !(*is_delete && revision.main < self.compacted))
        });
        left.collect()
    }

    /// The hash that etcd computes, by its description.
    pub(super) fn hash(&self, at: i64) -> u32 {
        let visible: BTreeSet<i64> = self.at(at).values().map(|pair| pair.mod_revision).collect();
        let keys = self.at(at);
        let kept = |(revision, is_delete, pair): &(Revision, bool, KeyValue)| {
            let now = keys.get(&pair.key).map(|now| now.mod_revision);
            let last = |other: &&(Revision, bool, KeyValue)| {
                other.2.key == pair.key && other.0.main == revision.main
            };
            !is_delete
                && now == Some(revision.main)
                && self.changes.iter().rfind(last).map(|last| last.0) == Some(*revision)
        };
        let mut hash = crc32c::crc32c(b"key");
        for change in self.physical() {
            let (revision, is_delete, pair) = change;
            let (main, sub) = (revision.main, u64::from(revision.sub));
            let skipped = main > at
                || (main <= self.compacted && !visible.is_empty() && !kept(change))
                || (main == self.compacted && *is_delete);
            if !skipped {
                let mut row = [&main.to_be_bytes()[..], b"_", &sub.to_be_bytes()].concat();
                if *is_delete {
                    row.push(b't');
                }
                hash = crc32c::crc32c_append(hash, &row);
                hash = crc32c::crc32c_append(hash, &record::encode(pair));
            }
        }
        hash
    }
}

fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..ResponseHeader::default() })
}

fn select(keys: &Keys, key: &Bytes, end: &Bytes) -> Vec<KeyValue> {
    let wanted = |found: &Bytes| match &end[..] {
        [] => found == key,
        [0] => found >= key,
        _ => found >= key && found < end,
    };
    keys.values().filter(|pair| wanted(&pair.key)).cloned().collect()
}

fn sort(pairs: &mut [KeyValue], request: &RangeRequest) {
    let target = request.sort_target;
    let compare = |left: &KeyValue, right: &KeyValue| match target {
        0 => left.key.cmp(&right.key),
        1 => left.version.cmp(&right.version),
        2 => left.create_revision.cmp(&right.create_revision),
        3 => left.mod_revision.cmp(&right.mod_revision),
        _ => left.value.cmp(&right.value),
    };
    match request.sort_order {
        2 => pairs.sort_by(|left, right| compare(right, left)),
        _ => pairs.sort_by(compare),
    }
}

fn holds(compare: &Compare, pair: &KeyValue) -> bool {
    let ordering = match compare.target_union.as_ref().unwrap() {
        TargetUnion::Version(number) => pair.version.cmp(number),
        TargetUnion::CreateRevision(number) => pair.create_revision.cmp(number),
        TargetUnion::ModRevision(number) => pair.mod_revision.cmp(number),
        TargetUnion::Lease(number) => pair.lease.cmp(number),
        TargetUnion::Value(value) => pair.value.cmp(value),
    };
    match compare.result {
        0 => ordering.is_eq(),
        1 => ordering.is_gt(),
        2 => ordering.is_lt(),
        _ => ordering.is_ne(),
    }
}
