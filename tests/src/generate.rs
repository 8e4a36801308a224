//! Random requests for the comparison with etcd: mostly valid ones on few keys, and every kind of
//! bad one now and then.
//!
//! Keys share prefixes and hold the bytes 0x00 and 0xff, so that ranges, prefixes and the special
//! range ends meet. The generator learns the revision from the answers, so that it can ask for
//! past, current, compacted and future ones.

use std::collections::BTreeSet;

use quoin_api::etcdserverpb::compare::TargetUnion;
use quoin_api::etcdserverpb::request_op::Request as Op;
use quoin_api::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, HashKvRequest, LeaseGrantRequest,
    LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest,
    RequestOp, TxnRequest, WatchCreateRequest,
};

use crate::compare::{Reply, Request};
use crate::programs::Version;
use crate::rng::Rng;

/// Transactions are nested at most this deep.
const MAX_DEPTH: u32 = 3;
/// More operations than etcd takes in one transaction (128 by default).
const TOO_MANY_OPS: usize = 129;
/// More bytes than etcd takes in one request (1.5 MiB by default).
const TOO_MANY_BYTES: usize = (3 << 19) + 1;
/// A lease that nobody granted.
const NO_SUCH_LEASE: i64 = 0x0bad_1ea5;

/// The first version that refuses unknown sort options; older ones panic on some of them.
const SORT_OPTIONS_CHECKED: Version = Version { major: 3, minor: 6 };

/// The first version that keeps the hashes of compactions, of those that are compared with.
const COMPACTIONS_HASHED: Version = Version { major: 3, minor: 6 };
/// The first version that refuses a watcher from a negative revision, of those compared with.
const NEGATIVE_STARTS_REFUSED: Version = Version { major: 3, minor: 5 };
/// The first version, of those compared with, whose compactions keep a deletion that they stop at:
/// older ones tell no watcher of it that begins there.
const LAST_DELETIONS_KEPT: Version = Version { major: 3, minor: 5 };
/// The longest time to live that is granted.
const MAX_LEASE_TTL_S: i64 = 9_000_000_000;

/// Yields requests; the same seed and the same answers give the same requests.
#[derive(Debug)]
pub struct Generator {
    rng: Rng,
    keys: Vec<Vec<u8>>,
    revision: i64,
    compacted: i64,
    /// Revisions at which compactions stopped.
    compactions: BTreeSet<i64>,
    /// Revisions of transactions that may have deleted a key and put it again.
    recreations: BTreeSet<i64>,
    /// Leases that were granted and not revoked since.
    leases: BTreeSet<i64>,
    /// Whether compactions leave hashes behind, and for which that is certain: a compaction that
    /// waits until it is done waits for those before it too.
    hashes_compactions: bool,
    hashed: BTreeSet<i64>,
    /// Compactions that leave a hash some time.
    awaited: BTreeSet<i64>,
    /// Whether the last compaction was over when it was answered.
    compacted_physically: bool,
    /// Whether a watcher from a negative revision is refused.
    refuses_negative_starts: bool,
    /// Whether a watcher from the compacted revision is told of a deletion there.
    keeps_last_deletions: bool,
    /// Whether sort options that do not exist may be asked for.
    bad_sort_options: bool,
}

impl Generator {
    /// A generator for two servers that are empty; `reference` is the older of their versions.
    pub fn new(seed: u64, reference: Version) -> Self {
        Self {
            rng: Rng::new(seed),
            keys: key_space(),
            revision: 1,
            compacted: -1,
            compactions: BTreeSet::new(),
            recreations: BTreeSet::new(),
            leases: BTreeSet::new(),
            hashes_compactions: reference >= COMPACTIONS_HASHED,
            hashed: BTreeSet::new(),
            awaited: BTreeSet::new(),
            compacted_physically: true,
            keeps_last_deletions: reference >= LAST_DELETIONS_KEPT,
            refuses_negative_starts: reference >= NEGATIVE_STARTS_REFUSED,
            bad_sort_options: reference >= SORT_OPTIONS_CHECKED,
        }
    }

    /// The next request.
    pub fn request(&mut self) -> Request {
        match self.rng.below(1000) {
            0..340 => Request::Put(self.put()),
            340..610 => Request::Range(self.range()),
            610..630 => self.lease_request(),
            630..740 => Request::DeleteRange(self.delete()),
            740..970 => {
                let mut txn = self.txn(0);
                if deletes(&txn) {
                    keep_nothing(&mut txn);
                }
                Request::Txn(txn)
            }
            970..990 => Request::Compact(self.compaction()),
            990..998 => Request::HashKv(self.hash()),
            _ => self.oversized(),
        }
    }

    /// Takes note of what the answer says about the history.
    pub fn learn(&mut self, request: &Request, reply: &Reply) {
        let Some(revision) = reply.revision() else { return };
        if let Request::Txn(txn) = request
            && revision > self.revision
            && deletes(txn)
        {
            self.recreations.insert(revision);
        }
        self.revision = self.revision.max(revision);
        if let Request::Compact(compaction) = request {
            self.compacted = self.compacted.max(compaction.revision);
            self.compactions.insert(compaction.revision);
            // etcd leaves no hash if the compaction before may still be under way.
            if self.compacted_physically {
                self.awaited.insert(compaction.revision);
            }
            self.compacted_physically = compaction.physical;
            if compaction.physical && self.hashes_compactions {
                self.hashed.append(&mut self.awaited);
            }
        }
        match request {
            Request::Grant(grant) => drop(self.leases.insert(grant.id)),
            Request::Revoke(revoke) => drop(self.leases.remove(&revoke.id)),
            _ => {}
        }
    }

    /// A watcher from now on, from the past, or from a revision that is gone or negative.
    pub fn watch(&mut self) -> WatchCreateRequest {
        let key = self.key();
        let range_end = if self.rng.chance(70) { self.range_end(&key) } else { Vec::new() };
        let mut start_revision = match self.rng.below(20) {
            0..3 => 0,
            3 if self.refuses_negative_starts => -1,
            4..6 => self.rng.between(self.compacted - 3, self.compacted + 1),
            _ => self.rng.between(self.compacted + 1, self.revision),
        };
        if start_revision == self.compacted && !self.keeps_last_deletions {
            start_revision += 1;
        }
        let filters = match self.rng.below(10) {
            0 => vec![0],
            1 => vec![1],
            2 => vec![0, 1],
            _ => Vec::new(),
        };
        WatchCreateRequest {
            key: key.into(),
            range_end: range_end.into(),
            start_revision,
            filters,
            prev_kv: self.rng.chance(40),
            watch_id: if self.rng.chance(10) { 3 } else { 0 },
            fragment: self.rng.chance(30),
            progress_notify: false,
        }
    }

    /// The newest revision that an answer has told of.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    fn key(&mut self) -> Vec<u8> {
        if self.rng.chance(1) { Vec::new() } else { self.rng.pick(&self.keys).clone() }
    }

    fn range_end(&mut self, key: &[u8]) -> Vec<u8> {
        match self.rng.below(10) {
            0..4 => Vec::new(),
            4 => vec![0],
            5 | 6 => prefix_end(key),
            _ => self.rng.pick(&self.keys).clone(),
        }
    }

    fn put(&mut self) -> PutRequest {
        let value = self.value();
        let mut put = PutRequest { key: self.key().into(), ..PutRequest::default() };
        put.value = value.into();
        put.prev_kv = self.rng.chance(30);
        if self.rng.chance(6) {
            put.ignore_value = true;
            if self.rng.chance(80) {
                put.value = Vec::new().into();
            }
        }
        put.ignore_lease = self.rng.chance(6);
        if self.rng.chance(3) {
            put.lease = if self.rng.chance(80) { NO_SUCH_LEASE } else { -1 };
        } else if self.rng.chance(20) {
            put.lease = self.lease_id();
        }
        put
    }

    fn value(&mut self) -> Vec<u8> {
        let longest = if self.rng.chance(5) { 3000 } else { 24 };
        // Values repeat, so that compares and sorting by value meet equal ones.
        match self.rng.below(3) {
            0 => vec![b'v'; usize::try_from(self.rng.below(4)).expect("small")],
            _ => (0..self.rng.below(longest)).map(|_| self.byte()).collect(),
        }
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.rng.below(256)).expect("below 256")
    }

    fn range(&mut self) -> RangeRequest {
        let key = self.key();
        let end = self.range_end(&key);
        let mut range = RangeRequest { key: key.into(), ..RangeRequest::default() };
        range.range_end = end.into();
        if self.rng.chance(30) {
            range.limit = self.rng.between(-2, 12);
        }
        range.revision = self.read_revision();
        if self.rng.chance(50) {
            range.sort_order = self.sort_option(2);
            range.sort_target = self.sort_option(4);
        }
        range.serializable = self.rng.chance(40);
        range.keys_only = self.rng.chance(15);
        range.count_only = self.rng.chance(15);
        for bound in [
            &mut range.min_mod_revision,
            &mut range.max_mod_revision,
            &mut range.min_create_revision,
            &mut range.max_create_revision,
        ] {
            if self.rng.chance(10) {
                *bound = self.rng.between(-1, self.revision + 2);
            }
        }
        range
    }

    fn sort_option(&mut self, last: i32) -> i32 {
        let value = self.enumeration(last.into());
        if self.bad_sort_options { value } else { value.clamp(0, last) }
    }

    /// Mostly a declared value, sometimes one before or behind them.
    fn enumeration(&mut self, last: i64) -> i32 {
        let beyond = i64::from(self.rng.chance(3));
        let value = self.rng.between(-beyond, last + beyond);
        i32::try_from(value).expect("small")
    }

    fn read_revision(&mut self) -> i64 {
        match self.rng.below(20) {
            0..11 => 0,
            11..17 => self.rng.between(self.compacted, self.revision),
            17 => self.rng.between(self.compacted - 3, self.compacted + 1),
            18 => self.revision + self.rng.between(0, 2),
            _ => *self.rng.pick(&[-1, i64::MAX, i64::MIN, 1]),
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        let key = self.key();
        // Deleting whole prefixes too often would leave nothing to ask for.
        let end = if self.rng.chance(25) { self.range_end(&key) } else { Vec::new() };
        let prev_kv = self.rng.chance(40);
        DeleteRangeRequest { key: key.into(), range_end: end.into(), prev_kv }
    }

    fn txn(&mut self, depth: u32) -> TxnRequest {
        let compares = self.rng.below(4);
        TxnRequest {
            compare: (0..compares).map(|_| self.compare()).collect(),
            success: self.ops(depth),
            failure: self.ops(depth),
        }
    }

    fn ops(&mut self, depth: u32) -> Vec<RequestOp> {
        let count = self.rng.below(4);
        (0..count).map(|_| self.op(depth)).collect()
    }

    fn op(&mut self, depth: u32) -> RequestOp {
        let request = match self.rng.below(100) {
            0..45 => Op::RequestPut(self.put()),
            45..70 => Op::RequestRange(self.range()),
            70..85 => Op::RequestDeleteRange(self.delete()),
            85..99 if depth < MAX_DEPTH => Op::RequestTxn(self.txn(depth + 1)),
            85..99 => Op::RequestRange(self.range()),
            _ => return RequestOp { request: None },
        };
        RequestOp { request: Some(request) }
    }

    fn compare(&mut self) -> Compare {
        let key = self.key();
        let end = if self.rng.chance(25) { self.range_end(&key) } else { Vec::new() };
        let target = self.enumeration(4);
        let union = match if self.rng.chance(97) { target } else { self.enumeration(4) } {
            0 => Some(TargetUnion::Version(self.rng.between(-1, 4))),
            1 => Some(TargetUnion::CreateRevision(self.compare_revision())),
            2 => Some(TargetUnion::ModRevision(self.compare_revision())),
            3 => Some(TargetUnion::Value(self.value().into())),
            4 if self.rng.chance(50) => Some(TargetUnion::Lease(self.lease_id())),
            4 => Some(TargetUnion::Lease(self.rng.between(-1, 1))),
            _ => None,
        };
        Compare {
            result: self.enumeration(3),
            target,
            key: key.into(),
            range_end: end.into(),
            target_union: union,
        }
    }

    fn compare_revision(&mut self) -> i64 {
        if self.rng.chance(30) { 0 } else { self.rng.between(self.compacted, self.revision + 1) }
    }

    /// A lease that was granted, mostly; it may be gone.
    fn lease_id(&mut self) -> i64 {
        if self.leases.is_empty() || self.rng.chance(3) {
            return NO_SUCH_LEASE;
        }
        let nth = usize::try_from(self.rng.below(self.leases.len() as u64)).expect("small");
        self.leases.iter().nth(nth).copied().expect("within the set")
    }

    fn lease_request(&mut self) -> Request {
        match self.rng.below(100) {
            0..45 => Request::Grant(self.grant()),
            45..70 => Request::Revoke(LeaseRevokeRequest { id: self.lease_id() }),
            70..95 => {
                let (id, keys) = (self.lease_id(), self.rng.chance(70));
                Request::TimeToLive(LeaseTimeToLiveRequest { id, keys })
            }
            _ => Request::Leases(LeaseLeasesRequest {}),
        }
    }

    /// Leases that outlive the run, because when a lease ends is no part of an answer, and some
    /// that are refused.
    fn grant(&mut self) -> LeaseGrantRequest {
        let id = match self.rng.below(20) {
            0 => self.lease_id(),
            1 => -self.rng.between(1, 20),
            2 => *self.rng.pick(&[i64::MAX, i64::MIN]),
            _ => self.rng.between(1, 40),
        };
        let ttl = match self.rng.below(20) {
            0 => MAX_LEASE_TTL_S + self.rng.between(0, 2),
            _ => self.rng.between(100_000, 1_000_000),
        };
        LeaseGrantRequest { id, ttl }
    }

    fn compaction(&mut self) -> CompactionRequest {
        let mut revision = match self.rng.below(10) {
            0 => self.revision + self.rng.between(0, 2),
            1 => self.rng.between(-1, self.compacted),
            _ => self.rng.between(self.compacted, self.revision),
        };
        // etcd 3.7 loses a key if the revision that it is compacted at deleted it and put it again:
        // the next read of the key ends the process.
        while self.recreations.contains(&revision) {
            revision -= 1;
        }
        // Compacting a new store to 0 succeeds; afterwards etcd takes HashKV(0) for that point.
        if revision == 0 && self.compacted < 0 {
            revision = 1;
        }
        CompactionRequest { revision, physical: self.rng.chance(50) }
    }

    /// The hash of a compaction is known some time after it: what a server says before depends on
    /// when it is asked, so it is not asked.
    fn hash(&mut self) -> HashKvRequest {
        let recent = self.rng.chance(30);
        let revision = match self.compactions.last().filter(|_| recent) {
            Some(&last) => last,
            None => self.read_revision(),
        };
        let uncertain = self.compactions.contains(&revision) && !self.hashed.contains(&revision);
        HashKvRequest { revision: if uncertain { 0 } else { revision } }
    }

    /// A request beyond a limit of the server.
    fn oversized(&mut self) -> Request {
        if self.rng.chance(50) {
            let value = vec![b'x'; TOO_MANY_BYTES];
            let put = PutRequest { key: self.key().into(), ..PutRequest::default() };
            return Request::Put(PutRequest { value: value.into(), ..put });
        }
        let mut txn = TxnRequest::default();
        match self.rng.below(3) {
            0 => txn.success = (0..TOO_MANY_OPS).map(|_| self.op(MAX_DEPTH)).collect(),
            1 => txn.failure = (0..TOO_MANY_OPS).map(|_| self.op(MAX_DEPTH)).collect(),
            _ => txn.compare = (0..TOO_MANY_OPS).map(|_| self.compare()).collect(),
        }
        // Refused before the operations are looked at.
        Request::Txn(txn)
    }
}

/// Whether one of the operations is a delete.
fn deletes(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Op::RequestDeleteRange(_)) => true,
        Some(Op::RequestTxn(txn)) => deletes(txn),
        Some(Op::RequestPut(_) | Op::RequestRange(_)) | None => false,
    })
}

/// Makes all puts bring their value and lease. A put that keeps them panics every etcd if the
/// same transaction deletes its key first: the check before the transaction still sees the key.
fn keep_nothing(txn: &mut TxnRequest) {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut op.request {
            Some(Op::RequestPut(put)) => (put.ignore_value, put.ignore_lease) = (false, false),
            Some(Op::RequestTxn(txn)) => keep_nothing(txn),
            Some(Op::RequestDeleteRange(_) | Op::RequestRange(_)) | None => {}
        }
    }
}

/// About thirty keys: prefixes of each other, neighbours, and the bytes at both ends.
fn key_space() -> Vec<Vec<u8>> {
    let words = ["a", "b", "app", "apple", "apply", "k/", "k/1", "k/10", "k/2", "key", "z"];
    let mut keys: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    for number in 0..8 {
        keys.push(format!("dir/{number}").into_bytes());
    }
    for odd in [&[0_u8][..], &[0, 0], &[0, 0xff], b"a\0", b"a\0\0", b"a\xff", &[0xff]] {
        keys.push(odd.to_vec());
    }
    keys.push(vec![0xff, 0xff]);
    keys.push(vec![0xff, 0]);
    keys.push(vec![b'k', 0xff, 0xff]);
    keys
}

/// The first key behind all keys that begin with `prefix`, as clients compute it.
fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// The first version that applies a transaction alike with and without a client that waits for it.
const TXN_READS_ALWAYS: Version = Version { major: 3, minor: 6 };

/// Whether members of an etcd of this version do different things with a request: where no client waits
/// for a transaction, as after a restart, older ones leave its reads out, also one that would have
/// refused the whole transaction because its revision was compacted or has not come yet.
pub fn splits_old_members(request: &Request, version: Version) -> bool {
    fn reads_at_revision(txn: &TxnRequest) -> bool {
        txn.success.iter().chain(&txn.failure).any(|operation| match &operation.request {
            Some(Op::RequestRange(range)) => range.revision != 0,
            Some(Op::RequestTxn(inner)) => reads_at_revision(inner),
            Some(Op::RequestPut(_) | Op::RequestDeleteRange(_)) | None => false,
        })
    }
    version < TXN_READS_ALWAYS && matches!(request, Request::Txn(txn) if reads_at_revision(txn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_behind_all_its_keys() {
        assert_eq!(prefix_end(b"ab"), b"ac");
        assert_eq!(prefix_end(b"a\xff\xff"), b"b");
        assert_eq!(prefix_end(b"\xff"), b"\0");
        assert_eq!(prefix_end(b""), b"\0");
    }

    #[test]
    fn the_same_seed_gives_the_same_requests() {
        let requests = |seed| {
            let mut generator = Generator::new(seed, SORT_OPTIONS_CHECKED);
            (0..200).map(|_| format!("{:?}", generator.request())).collect::<Vec<String>>()
        };
        assert_eq!(requests(1), requests(1));
        assert_ne!(requests(1), requests(2));
    }
}
