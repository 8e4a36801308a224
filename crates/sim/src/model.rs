//! What the members' state must be: a second, simple implementation of the rules of the key space.
//!
//! It executes the committed log one entry at a time and remembers every revision of every key
//! for ever, so the state after any entry can be asked for at any time. It knows the requests
//! that the workload makes and no others.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::Request as V2Request;
use quoin_api::etcdserverpb::compare::{CompareResult, TargetUnion};
use quoin_api::etcdserverpb::request_op::Request as Operation;
use quoin_api::etcdserverpb::response_op::Response;
use quoin_api::etcdserverpb::{
    CompactionRequest, CompactionResponse, Compare, DeleteRangeRequest, DeleteRangeResponse,
    InternalRaftRequest, LeaseCheckpointResponse, LeaseGrantRequest, LeaseGrantResponse,
    LeaseRevokeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, ResponseHeader,
    ResponseOp, TxnRequest, TxnResponse,
};
use quoin_api::mvccpb::KeyValue;
use quoin_store::{Reply, V2Error, V2Outcome};

use v2::V2Model;

pub(crate) mod v2;

/// The state after an entry, as far as it can be seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    pub(crate) leases: usize,
}

/// A key and what became of it: its new pair, or none if it was deleted.
pub(crate) type Change = (Bytes, Option<KeyValue>);

/// The key space with all its past.
#[derive(Debug)]
pub(crate) struct Model {
    /// Per key its states by main revision; none where it was deleted.
    keys: BTreeMap<Bytes, BTreeMap<i64, Option<KeyValue>>>,
    /// The same by main revision, in the order in which it happened.
    changes: BTreeMap<i64, Vec<Change>>,
    leases: BTreeMap<i64, BTreeSet<Bytes>>,
    /// The moment after each entry; the first is the one before all entries.
    moments: Vec<Moment>,
    v2: V2Model,
}

impl Model {
    pub(crate) fn new() -> Self {
        let start = Moment { revision: 1, compacted: -1, leases: 0 };
        Self {
            keys: BTreeMap::new(),
            changes: BTreeMap::new(),
            leases: BTreeMap::new(),
            moments: vec![start],
            v2: V2Model::default(),
        }
    }

    /// Returns the index of the last entry that was executed.
    pub(crate) fn applied(&self) -> usize {
        self.moments.len() - 1
    }

    /// Returns the moment after the entry at `index`, which was executed.
    pub(crate) fn moment(&self, index: usize) -> Moment {
        self.moments[index]
    }

    pub(crate) fn now(&self) -> Moment {
        self.moments[self.applied()]
    }

    /// The tree of the v2 API.
    pub(crate) fn v2(&self) -> &V2Model {
        &self.v2
    }

    /// Executes an entry that has no effect: a leader's first.
    pub(crate) fn skip(&mut self) {
        self.moments.push(self.now());
    }

    /// Executes an entry that adds a member.
    pub(crate) fn add_member(&mut self) {
        self.skip();
        self.v2.member_added(self.applied());
    }

    /// Executes the next entry, of the v2 API, and returns its answer.
    pub(crate) fn execute_v2(&mut self, request: &V2Request) -> Result<V2Outcome, V2Error> {
        self.skip();
        self.v2.execute(request, self.applied())
    }

    /// Executes the next entry and returns its answer.
    pub(crate) fn execute(&mut self, request: &InternalRaftRequest) -> Result<Reply, Error> {
        let mut next = self.now();
        let reply = if let Some(put) = &request.put {
            self.check_put(put).map(|()| {
                next.revision += 1;
                Reply::Put(self.put(put, next.revision))
            })
        } else if let Some(delete) = &request.delete_range {
            let mut response = self.delete_range(delete, next.revision + 1);
            next.revision += i64::from(response.deleted > 0);
            response.header = header(next.revision);
            Ok(Reply::DeleteRange(response))
        } else if let Some(txn) = &request.txn {
            self.txn(txn, &mut next.revision).map(Reply::Txn)
        } else if let Some(CompactionRequest { revision, .. }) = request.compaction {
            self.check_compaction(revision).map(|()| {
                next.compacted = revision;
                Reply::Compaction(CompactionResponse { header: header(next.revision) })
            })
        } else if let Some(grant) = request.lease_grant {
            self.grant(grant, next.revision)
        } else if let Some(revoke) = request.lease_revoke {
            self.revoke(revoke.id, &mut next.revision)
        } else if request.lease_checkpoint.is_some() {
            let header = header(next.revision);
            Ok(Reply::LeaseCheckpoint(LeaseCheckpointResponse { header }))
        } else if request.cluster_version_set.is_some() {
            self.v2.version_set(self.applied() + 1);
            Ok(Reply::None)
        } else {
            unreachable!("the workload makes no such request: {request:?}")
        };
        next.leases = self.leases.len();
        self.moments.push(next);
        reply
    }

    /// Answers a range as it was to be answered after the entry at `index`.
    pub(crate) fn range(
        &self,
        request: &RangeRequest,
        index: usize,
    ) -> Result<RangeResponse, Error> {
        let Moment { revision, compacted, .. } = self.moment(index);
        self.range_at(request, revision, compacted)
    }

    fn range_at(
        &self,
        request: &RangeRequest,
        revision: i64,
        compacted: i64,
    ) -> Result<RangeResponse, Error> {
        let at = if request.revision > 0 { request.revision } else { revision };
        if at > revision {
            return Err(Error::FutureRevision);
        }
        if at < compacted {
            return Err(Error::Compacted);
        }
        let mut kvs = self.live(&request.key, &request.range_end, at);
        let count = number(kvs.len());
        let limit = usize::try_from(request.limit).unwrap_or(0);
        let more = limit > 0 && kvs.len() > limit && !request.count_only;
        if more {
            kvs.truncate(limit);
        }
        if request.count_only {
            kvs.clear();
        }
        Ok(RangeResponse { header: header(revision), kvs, more, count })
    }

    /// Returns how many keys lived after the entry at `index`.
    pub(crate) fn live_keys(&self, index: usize) -> usize {
        self.live(b"\0", b"\0", self.moment(index).revision).len()
    }

    /// Returns the changes of the revisions after `after`, up to and with `last`.
    pub(crate) fn changes(
        &self,
        after: i64,
        last: i64,
    ) -> impl Iterator<Item = (i64, &Change)> + '_ {
        let later = self.changes.range(after + 1..);
        let revisions = later.take_while(move |(revision, _)| **revision <= last);
        revisions.flat_map(|(revision, changes)| changes.iter().map(|change| (*revision, change)))
    }

    /// Returns the pairs that a reader at a revision sees, in the order of their keys.
    fn live(&self, key: &[u8], end: &[u8], at: i64) -> Vec<KeyValue> {
        let selected = |candidate: &Bytes| match end {
            b"" => candidate == key,
            b"\0" => **candidate >= *key,
            _ => **candidate >= *key && **candidate < *end,
        };
        let states = self.keys.iter().filter(|(candidate, _)| selected(candidate));
        states.filter_map(|(_, states)| newest(states, at).cloned()).collect()
    }

    fn current(&self, key: &[u8]) -> Option<&KeyValue> {
        self.keys.get(key).and_then(|states| newest(states, i64::MAX))
    }

    fn check_put(&self, put: &PutRequest) -> Result<(), Error> {
        let attachable = put.lease == 0 || self.leases.contains_key(&put.lease);
        if attachable { Ok(()) } else { Err(Error::LeaseNotFound) }
    }

    fn put(&mut self, put: &PutRequest, revision: i64) -> PutResponse {
        let previous = self.current(&put.key).cloned();
        let (create_revision, version) =
            previous.as_ref().map_or((revision, 1), |old| (old.create_revision, old.version + 1));
        let pair = KeyValue {
            key: put.key.clone(),
            value: put.value.clone(),
            create_revision,
            mod_revision: revision,
            version,
            lease: put.lease,
        };
        if let Some(previous) = &previous {
            self.detach(previous);
        }
        if let Some(keys) = self.leases.get_mut(&put.lease) {
            keys.insert(put.key.clone());
        }
        self.change(revision, put.key.clone(), Some(pair));
        PutResponse { header: header(revision), prev_kv: previous.filter(|_| put.prev_kv) }
    }

    fn change(&mut self, revision: i64, key: Bytes, pair: Option<KeyValue>) {
        self.keys.entry(key.clone()).or_default().insert(revision, pair.clone());
        self.changes.entry(revision).or_default().push((key, pair));
    }

    fn detach(&mut self, pair: &KeyValue) {
        if let Some(keys) = self.leases.get_mut(&pair.lease) {
            keys.remove(&pair.key);
        }
    }

    /// Deletes at `revision`. The caller fills in the header.
    fn delete_range(&mut self, delete: &DeleteRangeRequest, revision: i64) -> DeleteRangeResponse {
        let doomed = self.live(&delete.key, &delete.range_end, i64::MAX);
        for pair in &doomed {
            self.detach(pair);
            self.change(revision, pair.key.clone(), None);
        }
        let deleted = number(doomed.len());
        let prev_kvs = if delete.prev_kv { doomed } else { Vec::new() };
        DeleteRangeResponse { header: None, deleted, prev_kvs }
    }

    fn txn(&mut self, txn: &TxnRequest, revision: &mut i64) -> Result<TxnResponse, Error> {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let operations = if succeeded { &txn.success } else { &txn.failure };
        for operation in operations {
            if let Some(Operation::RequestPut(put)) = &operation.request {
                self.check_put(put)?;
            }
        }
        let (before, compacted) = (*revision, self.now().compacted);
        let mut responses = Vec::new();
        for operation in operations {
            let response = match &operation.request {
                Some(Operation::RequestPut(put)) => {
                    *revision = before + 1;
                    Response::ResponsePut(self.put(put, before + 1))
                }
                Some(Operation::RequestDeleteRange(delete)) => {
                    let mut response = self.delete_range(delete, before + 1);
                    if response.deleted > 0 {
                        *revision = before + 1;
                    }
                    response.header = header(*revision);
                    Response::ResponseDeleteRange(response)
                }
                Some(Operation::RequestRange(range)) => {
                    Response::ResponseRange(self.range_at(range, *revision, compacted)?)
                }
                Some(Operation::RequestTxn(_)) | None => {
                    unreachable!("the workload nests no transactions")
                }
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        Ok(TxnResponse { header: header(*revision), succeeded, responses })
    }

    fn holds(&self, compare: &Compare) -> bool {
        let current = self.current(&compare.key);
        let ordering = match &compare.target_union {
            Some(TargetUnion::Version(version)) => {
                current.map_or(0, |pair| pair.version).cmp(version)
            }
            Some(TargetUnion::ModRevision(revision)) => {
                current.map_or(0, |pair| pair.mod_revision).cmp(revision)
            }
            Some(TargetUnion::CreateRevision(revision)) => {
                current.map_or(0, |pair| pair.create_revision).cmp(revision)
            }
            Some(TargetUnion::Value(value)) => match current {
                Some(pair) => pair.value.cmp(value),
                None => return false,
            },
            Some(TargetUnion::Lease(_)) | None => {
                unreachable!("the workload compares no leases")
            }
        };
        match CompareResult::try_from(compare.result) {
            Ok(CompareResult::Equal) => ordering == Ordering::Equal,
            Ok(CompareResult::NotEqual) => ordering != Ordering::Equal,
            Ok(CompareResult::Greater) => ordering == Ordering::Greater,
            Ok(CompareResult::Less) => ordering == Ordering::Less,
            Err(_) => unreachable!("the workload compares in known ways"),
        }
    }

    fn check_compaction(&self, revision: i64) -> Result<(), Error> {
        let Moment { revision: newest, compacted, .. } = self.now();
        match revision {
            _ if revision <= compacted => Err(Error::Compacted),
            _ if revision > newest => Err(Error::FutureRevision),
            _ => Ok(()),
        }
    }

    fn grant(&mut self, grant: LeaseGrantRequest, revision: i64) -> Result<Reply, Error> {
        let LeaseGrantRequest { ttl, id } = grant;
        if self.leases.contains_key(&id) {
            return Err(Error::LeaseExists);
        }
        self.leases.insert(id, BTreeSet::new());
        let error = String::new();
        Ok(Reply::LeaseGrant(LeaseGrantResponse { header: header(revision), id, ttl, error }))
    }

    fn revoke(&mut self, id: i64, revision: &mut i64) -> Result<Reply, Error> {
        let keys = self.leases.remove(&id).ok_or(Error::LeaseNotFound)?;
        if !keys.is_empty() {
            *revision += 1;
        }
        for key in keys {
            self.change(*revision, key, None);
        }
        Ok(Reply::LeaseRevoke(LeaseRevokeResponse { header: header(*revision) }))
    }
}

fn newest(states: &BTreeMap<i64, Option<KeyValue>>, at: i64) -> Option<&KeyValue> {
    states.range(..=at).next_back().and_then(|(_, state)| state.as_ref())
}

fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..ResponseHeader::default() })
}

fn number(len: usize) -> i64 {
    i64::try_from(len).expect("a run has fewer keys than 2^63")
}
