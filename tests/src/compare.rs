//! One request to two servers, and where their answers may differ.
//!
//! Answers are compared whole: every field, the header with its revision, term and IDs, and for
//! an error its code and text. A difference is accepted only if an entry of [`KNOWN`] explains it.

mod ties;

use quoin_api::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, HashKvRequest,
    HashKvResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, ResponseHeader,
    TxnRequest, TxnResponse,
};
use tonic::{Code, Response, Status};

use crate::programs::Version;
use crate::rpc::{Kv, Maintenance};

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
}

impl Session {
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
        fixed_in: Version { major: u32::MAX, minor: 0 },
        reason: "keys that are equal under the sort target have no order (Go's unstable sort)",
        explains: |request, reference, subject| {
            ties::canonical(request, reference) == ties::canonical(request, subject)
        },
    },
];

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
    if reference == subject {
        return Verdict::Equal;
    }
    let mut known = KNOWN.iter().filter(|known| version < known.fixed_in);
    match known.find(|known| (known.explains)(request, reference, subject)) {
        Some(known) => Verdict::Explained(known),
        None => Verdict::Different,
    }
}
