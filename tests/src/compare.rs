//! One request to two servers, and where their answers may differ.
//!
//! Answers are compared whole: every field, the header with its revision, term and IDs, and for
//! an error its code and text. A difference is accepted only if an entry of [`KNOWN`] explains it.

mod ties;

use quoin_api::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, HashKvRequest,
    HashKvResponse, LeaseGrantRequest, LeaseGrantResponse, LeaseLeasesRequest, LeaseLeasesResponse,
    LeaseRevokeRequest, LeaseRevokeResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
    PutRequest, PutResponse, RangeRequest, RangeResponse, ResponseHeader, TxnRequest, TxnResponse,
};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::programs::Version;
use crate::rpc::{self, Kv, Lease, Maintenance};

/// A request of the kinds that are compared.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// KV.Put
    Put(PutRequest),
    /// KV.Range
    Range(RangeRequest),
    /// KV.DeleteRange
    DeleteRange(DeleteRangeRequest),
    /// KV.Txn
    Txn(TxnRequest),
    /// KV.Compact
    Compact(CompactionRequest),
    /// Maintenance.HashKV
    HashKv(HashKvRequest),
    /// Lease.LeaseGrant
    Grant(LeaseGrantRequest),
    /// Lease.LeaseRevoke
    Revoke(LeaseRevokeRequest),
    /// Lease.LeaseTimeToLive
    TimeToLive(LeaseTimeToLiveRequest),
    /// Lease.LeaseLeases
    Leases(LeaseLeasesRequest),
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To a put.
    Put(PutResponse),
    /// To a range.
    Range(RangeResponse),
    /// To a delete.
    DeleteRange(DeleteRangeResponse),
    /// To a transaction.
    Txn(TxnResponse),
    /// To a compaction.
    Compact(CompactionResponse),
    /// To a request for the hash.
    HashKv(HashKvResponse),
    /// To a grant.
    Grant(LeaseGrantResponse),
    /// To a revocation.
    Revoke(LeaseRevokeResponse),
    /// To a question for what is left of a lease.
    TimeToLive(LeaseTimeToLiveResponse),
    /// To a question for all leases.
    Leases(LeaseLeasesResponse),
    /// A refusal: the gRPC code and the text.
    Error(i32, String),
}

impl Reply {
    /// The revision in the header.
    pub fn revision(&self) -> Option<i64> {
        let header: &Option<ResponseHeader> = match self {
            Self::Put(reply) => &reply.header,
            Self::Range(reply) => &reply.header,
            Self::DeleteRange(reply) => &reply.header,
            Self::Txn(reply) => &reply.header,
            Self::Compact(reply) => &reply.header,
            Self::HashKv(reply) => &reply.header,
            Self::Grant(reply) => &reply.header,
            Self::Revoke(reply) => &reply.header,
            Self::TimeToLive(reply) => &reply.header,
            Self::Leases(reply) => &reply.header,
            Self::Error(..) => return None,
        };
        header.as_ref().map(|header| header.revision)
    }
}

impl Reply {
    /// Whether this is no server's answer but the lack of one, which is never as it should be.
    fn is_no_answer(&self) -> bool {
        let lack = [Code::Unavailable, Code::Cancelled, Code::DeadlineExceeded, Code::Unknown];
        matches!(self, Self::Error(code, _) if lack.contains(&Code::from_i32(*code)))
    }
}

/// The connection to one server.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its KV service.
    pub kv: Kv,
    /// Its Maintenance service.
    pub maintenance: Maintenance,
    /// Its Lease service.
    pub lease: Lease,
    /// A channel for streams.
    pub streams: Channel,
}

impl Session {
    /// The services of the server at `url`, most of them through `channel`.
    pub fn new(url: &str, channel: Channel) -> Self {
        Self {
            kv: rpc::kv(channel.clone()),
            maintenance: rpc::maintenance(channel.clone()),
            lease: rpc::lease(channel),
            streams: rpc::streams(url),
        }
    }

    /// Sends one request and waits for the answer.
    pub async fn call(&mut self, request: &Request) -> Reply {
        match request.clone() {
            Request::Put(request) => reply(self.kv.put(request).await, Reply::Put),
            Request::Range(request) => reply(self.kv.range(request).await, Reply::Range),
            Request::DeleteRange(request) => {
                reply(self.kv.delete_range(request).await, Reply::DeleteRange)
            }
            Request::Txn(request) => reply(self.kv.txn(request).await, Reply::Txn),
            Request::Compact(request) => reply(self.kv.compact(request).await, Reply::Compact),
            Request::HashKv(request) => {
                reply(self.maintenance.hash_kv(request).await, Reply::HashKv)
            }
            Request::Grant(request) => reply(self.lease.lease_grant(request).await, Reply::Grant),
            Request::Revoke(request) => {
                reply(self.lease.lease_revoke(request).await, Reply::Revoke)
            }
            Request::TimeToLive(request) => {
                reply(self.lease.lease_time_to_live(request).await, Reply::TimeToLive)
            }
            Request::Leases(request) => {
                reply(self.lease.lease_leases(request).await, Reply::Leases)
            }
        }
    }
}

fn reply<T>(answer: Result<Response<T>, Status>, wrap: fn(T) -> Reply) -> Reply {
    match answer {
        Ok(answer) => wrap(answer.into_inner()),
        Err(status) => Reply::Error(status.code().into(), status.message().to_owned()),
    }
}

/// A difference between an older etcd and the version that the subject speaks.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The first version of etcd that always answers like the subject.
    pub fixed_in: Version,
    /// What changed, and why the newer answer is the right one.
    pub reason: &'static str,
    /// Whether this explains the difference; the reference's answer comes first.
    pub explains: fn(&Request, &Reply, &Reply) -> bool,
}

/// Every difference that is accepted.
pub const KNOWN: &[Known] = &[
    Known {
        fixed_in: Version { major: 3, minor: 6 },
        reason: "HashKVResponse.hash_revision did not exist",
        explains: |_, reference, subject| match (reference, subject) {
            (Reply::HashKv(reference), Reply::HashKv(subject)) => {
                reference.hash_revision == 0
                    && *reference == HashKvResponse { hash_revision: 0, ..*subject }
            }
            _ => false,
        },
    },
    Known {
        fixed_in: Version { major: 3, minor: 6 },
        reason: "of several faults of a transaction, another one was named",
        explains: |request, reference, subject| {
            let is_txn = matches!(request, Request::Txn(_));
            is_txn && is_late_fault(reference) && is_late_fault(subject)
        },
    },
    Known {
        fixed_in: Version { major: 3, minor: 7 },
        reason: "keys without values came with their leases",
        explains: |request, reference, subject| {
            let without = ties::without_leases_of_keys;
            without(request, reference) == without(request, subject)
        },
    },
    Known {
        fixed_in: Version { major: u32::MAX, minor: 0 },
        reason: "keys that are equal under the sort target have no order (Go's unstable sort)",
        explains: |request, reference, subject| {
            ties::canonical(request, reference) == ties::canonical(request, subject)
        },
    },
];

/// The reply without what depends on when the request arrived: the second in which the rest of a
/// lease is read, and which of two leases that were granted one after the other ends first.
fn timeless(reply: &Reply) -> Reply {
    let mut reply = reply.clone();
    match &mut reply {
        Reply::TimeToLive(lease) if lease.ttl > 0 => {
            let tenths = lease.granted_ttl / 10;
            lease.ttl = if lease.ttl > lease.granted_ttl - tenths { lease.granted_ttl } else { 0 };
            lease.keys.sort();
        }
        Reply::TimeToLive(lease) => lease.keys.sort(),
        Reply::Leases(leases) => leases.leases.sort_by_key(|lease| lease.id),
        _ => {}
    }
    reply
}

/// A fault that shows only when the request meets the data.
fn is_late_fault(reply: &Reply) -> bool {
    let Reply::Error(_, text) = reply else { return false };
    let texts = [
        "etcdserver: key not found",
        "etcdserver: requested lease not found",
        "etcdserver: mvcc: required revision has been compacted",
        "etcdserver: mvcc: required revision is a future revision",
    ];
    texts.contains(&text.as_str())
}

/// How a pair of answers is judged.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// They are equal.
    Equal,
    /// They differ as this entry of the table says.
    Explained(&'static Known),
    /// They differ and nothing says why.
    Different,
}

/// Judges a pair of answers, given the version of the reference.
pub fn judge(version: Version, request: &Request, reference: &Reply, subject: &Reply) -> Verdict {
    if reference.is_no_answer() || subject.is_no_answer() {
        return Verdict::Different;
    }
    if reference == subject || timeless(reference) == timeless(subject) {
        return Verdict::Equal;
    }
    let mut known = KNOWN.iter().filter(|known| version < known.fixed_in);
    match known.find(|known| (known.explains)(request, reference, subject)) {
        Some(known) => Verdict::Explained(known),
        None => Verdict::Different,
    }
}
