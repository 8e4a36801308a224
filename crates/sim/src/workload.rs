//! What clients ask for: few keys, every value written once, all kinds of requests.

use bytes::Bytes;
use prost::Message as _;
use quoin_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quoin_api::etcdserverpb::request_op::Request as Operation;
use quoin_api::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, InternalRaftRequest, LeaseGrantRequest,
    LeaseRevokeRequest, PutRequest, RangeRequest, Request as V2Request, RequestHeader, RequestOp,
    TxnRequest,
};
use quoin_api::membershippb::ClusterVersionSetRequest;
use quoin_api::mvccpb::KeyValue;
use quoin_node::LeaseCall;
use quoin_store::V2Node;

use crate::check::leases::SHORT_S;
use crate::queue::Time;
use crate::rng::Rng;
use v2::V2Workload;

pub(crate) mod v2;

/// What a client asks of a member.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// A request for the log. It gets its ID from the member.
    Write(Box<InternalRaftRequest>),
    /// The same of the v2 API.
    V2(Box<V2Request>),
    /// A read of the newest state.
    Read(RangeRequest),
    /// A read of whatever state the member has.
    SerializableRead(RangeRequest),
    /// A question about a lease.
    Lease(LeaseCall),
}

/// The newest leases, which are renewed most.
const KEPT_ALIVE: usize = 6;

/// What a client knows from the answers it got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Knowledge {
    pub(crate) revision: i64,
    pub(crate) pair: Option<KeyValue>,
    /// A file of the v2 API.
    pub(crate) file: Option<V2Node>,
}

/// Makes requests.
#[derive(Debug)]
pub(crate) struct Workload {
    rng: Rng,
    keys: Vec<Bytes>,
    written: u64,
    leases: Vec<i64>,
    /// Those that live long enough for checkpoints.
    long_leases: Vec<i64>,
    v2: V2Workload,
    /// Requests were made before.
    begun: bool,
}

impl Workload {
    pub(crate) fn new(mut rng: Rng, keys: usize) -> Self {
        let keys = (0..keys).map(|number| Bytes::from(format!("key/{number}"))).collect();
        Self {
            v2: V2Workload::new(rng.fork()),
            rng,
            keys,
            written: 0,
            leases: Vec::new(),
            long_leases: Vec::new(),
            begun: false,
        }
    }

    /// Returns a client's next request.
    pub(crate) fn next(&mut self, knowledge: &Knowledge, now: Time) -> Ask {
        if !std::mem::replace(&mut self.begun, true) {
            return cluster_version().into();
        }
        if self.rng.chance(200) {
            return Ask::V2(Box::new(self.v2.next(knowledge.file.as_ref(), now)));
        }
        match self.rng.between(0, 99) {
            0..40 => self.put().into(),
            40..48 => self.delete().into(),
            48..63 => self.txn(knowledge).into(),
            63..66 => self.compaction(knowledge).into(),
            66..69 => self.grant().into(),
            69 if self.rng.chance(700) => self.revoke().into(),
            69 => cluster_version().into(),
            70..78 => self.renew(),
            78..93 => Ask::Read(self.range(knowledge)),
            _ => Ask::SerializableRead(self.range(knowledge)),
        }
    }

    /// Returns a put that cannot fail.
    pub(crate) fn plain_put(&mut self) -> Ask {
        let put = PutRequest { lease: 0, ..self.put() };
        put.into()
    }

    /// Returns the range of all keys.
    pub(crate) fn everything() -> RangeRequest {
        let all = Bytes::from_static(b"\0");
        RangeRequest { key: all.clone(), range_end: all, ..RangeRequest::default() }
    }

    fn key(&mut self) -> Bytes {
        self.rng.pick(&self.keys).clone()
    }

    /// Returns the bounds of one key, or of some.
    fn span(&mut self) -> (Bytes, Bytes) {
        let key = self.key();
        match self.rng.between(0, 9) {
            0 => (key, Bytes::from_static(b"\0")),
            1 => (key, Bytes::from_static(b"key0")),
            2 => {
                let end = self.key();
                (key, end)
            }
            _ => (key, Bytes::new()),
        }
    }

    fn put(&mut self) -> PutRequest {
        self.written += 1;
        // Some values are longer than a sector, so that writing them can be torn.
        let padding = if self.rng.chance(150) { self.rng.below(3000) } else { self.rng.below(40) };
        let value = format!("{}{}", self.written, ".".repeat(padding));
        let attach = !self.leases.is_empty() && self.rng.chance(200);
        PutRequest {
            key: self.key(),
            value: Bytes::from(value),
            lease: if attach { *self.rng.pick(&self.leases) } else { 0 },
            prev_kv: self.rng.chance(300),
            ..PutRequest::default()
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        let (key, range_end) = self.span();
        DeleteRangeRequest { key, range_end, prev_kv: self.rng.chance(500) }
    }

    fn range(&mut self, knowledge: &Knowledge) -> RangeRequest {
        let (key, range_end) = self.span();
        let past = knowledge.revision > 1 && self.rng.chance(150);
        let revision = if past { self.near(knowledge.revision) } else { 0 };
        let limit = if self.rng.chance(200) { 2 } else { 0 };
        let count_only = self.rng.chance(100);
        RangeRequest { key, range_end, revision, limit, count_only, ..RangeRequest::default() }
    }

    /// Returns a revision at or a little before one that is known.
    fn near(&mut self, revision: i64) -> i64 {
        let back = i64::try_from(self.rng.between(0, 20)).expect("it is small");
        (revision - back).max(1)
    }

    fn txn(&mut self, knowledge: &Knowledge) -> TxnRequest {
        let key = self.key();
        let known = knowledge.pair.as_ref().filter(|_| self.rng.chance(700)).cloned();
        let compare = match known {
            Some(pair) => self.compare_with(&pair),
            None => compare(key.clone(), CompareTarget::Version, TargetUnion::Version(0)),
        };
        let key = compare.key.clone();
        let put = PutRequest { key: key.clone(), ..self.put() };
        let mut success = vec![Operation::RequestPut(put)];
        let range = Self::everything();
        if self.rng.chance(500) {
            success.push(Operation::RequestRange(range.clone()));
        }
        let failure = if self.rng.chance(300) {
            Operation::RequestDeleteRange(DeleteRangeRequest { key, ..Default::default() })
        } else {
            Operation::RequestRange(range)
        };
        let operations = |list: Vec<Operation>| {
            list.into_iter().map(|request| RequestOp { request: Some(request) }).collect()
        };
        TxnRequest {
            compare: vec![compare],
            success: operations(success),
            failure: operations(vec![failure]),
        }
    }

    fn compare_with(&mut self, pair: &KeyValue) -> Compare {
        let key = pair.key.clone();
        match self.rng.between(0, 3) {
            0 => compare(key, CompareTarget::Value, TargetUnion::Value(pair.value.clone())),
            1 => compare(key, CompareTarget::Version, TargetUnion::Version(pair.version)),
            2 => {
                let target = TargetUnion::CreateRevision(pair.create_revision);
                let mut compare = compare(key, CompareTarget::Create, target);
                compare.result = CompareResult::Greater.into();
                compare
            }
            _ => compare(key, CompareTarget::Mod, TargetUnion::ModRevision(pair.mod_revision)),
        }
    }

    fn compaction(&mut self, knowledge: &Knowledge) -> CompactionRequest {
        CompactionRequest { revision: self.near(knowledge.revision), physical: false }
    }

    fn grant(&mut self) -> LeaseGrantRequest {
        let id = i64::try_from(self.rng.between(1, 1 << 40)).expect("it fits 63 bits");
        self.leases.push(id);
        // The first ones end by themselves, the others live long enough for checkpoints.
        let ttl = *self.rng.pick(&[1, 2, 3, SHORT_S, 25, 40, 600]);
        if ttl > SHORT_S {
            self.long_leases.push(id);
        }
        LeaseGrantRequest { ttl, id }
    }

    /// Returns a renewal of a new lease, so that some are kept alive, or of a long one; or a
    /// question for the time of one.
    fn renew(&mut self) -> Ask {
        let new = self.leases.len().saturating_sub(KEPT_ALIVE);
        let some = if self.rng.chance(700) { &self.leases[new..] } else { &self.long_leases[..] };
        let id = if some.is_empty() { 7 } else { *self.rng.pick(some) };
        Ask::Lease(if self.rng.chance(700) { LeaseCall::Renew(id) } else { LeaseCall::Time(id) })
    }

    /// Returns the end of a lease, which may never have been granted or be revoked already.
    fn revoke(&mut self) -> LeaseRevokeRequest {
        let id = if self.leases.is_empty() { 7 } else { *self.rng.pick(&self.leases) };
        LeaseRevokeRequest { id }
    }
}

/// Returns the request that lets the members use what etcd 3.7 knows.
fn cluster_version() -> ClusterVersionSetRequest {
    ClusterVersionSetRequest { ver: "3.7.0".to_owned() }
}

fn compare(key: Bytes, target: CompareTarget, union: TargetUnion) -> Compare {
    let result = CompareResult::Equal.into();
    Compare { result, target: target.into(), key, target_union: Some(union), ..Default::default() }
}

/// Returns the entry that a request makes with the ID of the member that proposes it.
pub(crate) fn entry(request: &InternalRaftRequest, id: u64) -> Bytes {
    let header = Some(RequestHeader { id, ..RequestHeader::default() });
    Bytes::from(InternalRaftRequest { header, ..request.clone() }.encode_to_vec())
}

/// An entry of the log that somebody asked for.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    /// By a request of the v3 API, or of a leader.
    V3(Box<InternalRaftRequest>),
    /// By a request of the v2 API.
    V2(Box<V2Request>),
}

impl Call {
    /// Reads an entry as members do: what is not the one is the other.
    pub(crate) fn read(data: &Bytes) -> Result<Self, String> {
        if let Ok(request) = InternalRaftRequest::decode(data.clone()) {
            return Ok(Self::V3(Box::new(request)));
        }
        let request = V2Request::decode(data.clone());
        let request = request.map_err(|error| format!("an entry cannot be decoded: {error}"))?;
        Ok(Self::V2(Box::new(request)))
    }

    /// The ID of the request.
    pub(crate) fn id(&self) -> u64 {
        match self {
            Self::V3(request) => request.header.as_ref().map_or(0, |header| header.id),
            Self::V2(request) => request.id,
        }
    }
}

macro_rules! writes {
    ($($request:ident => $field:ident,)+) => {
        $(impl From<$request> for Ask {
            fn from(request: $request) -> Self {
                let empty = InternalRaftRequest::default();
                Self::Write(Box::new(InternalRaftRequest { $field: Some(request), ..empty }))
            }
        })+
    };
}

writes! {
    ClusterVersionSetRequest => cluster_version_set,
    CompactionRequest => compaction,
    DeleteRangeRequest => delete_range,
    LeaseGrantRequest => lease_grant,
    LeaseRevokeRequest => lease_revoke,
    PutRequest => put,
    TxnRequest => txn,
}
