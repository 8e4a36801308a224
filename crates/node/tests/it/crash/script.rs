//! Random requests that depend on a seed alone.

use bytes::Bytes;
use prost::Message as _;
use quoin_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quoin_api::etcdserverpb::request_op::Request;
use quoin_api::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, InternalRaftRequest, LeaseGrantRequest,
    LeaseRevokeRequest, PutRequest, RequestHeader, RequestOp, TxnRequest,
};

/// Choices that depend on a seed alone (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn key(&mut self) -> Bytes {
        Bytes::from(format!("key{}", self.below(40)))
    }

    fn put(&mut self) -> PutRequest {
        let length = if self.below(10) == 0 { 2000 } else { self.below(200) };
        let letter = u8::try_from(self.below(26)).expect("a letter") + b'a';
        let value = Bytes::from(vec![letter; usize::try_from(length).expect("it is small")]);
        let lease = if self.below(5) == 0 { self.lease() } else { 0 };
        let prev_kv = self.below(2) == 0;
        PutRequest { key: self.key(), value, lease, prev_kv, ..PutRequest::default() }
    }

    fn lease(&mut self) -> i64 {
        1 + i64::from(self.below(4) > 1)
    }

    /// The bytes of a request with an ID. Some are refused when they are applied.
    pub(crate) fn request(&mut self, id: u64, revision: i64) -> Bytes {
        let header = Some(RequestHeader { id, ..RequestHeader::default() });
        let mut request = InternalRaftRequest { header, ..InternalRaftRequest::default() };
        match self.below(100) {
            0..60 => request.put = Some(self.put()),
            60..70 => {
                let (key, prev_kv) = (self.key(), true);
                let range_end = if self.below(4) == 0 { self.key() } else { Bytes::new() };
                request.delete_range = Some(DeleteRangeRequest { key, range_end, prev_kv });
            }
            70..85 => request.txn = Some(self.txn()),
            85..88 => request.lease_grant = Some(LeaseGrantRequest { id: self.lease(), ttl: 60 }),
            88..90 => request.lease_revoke = Some(LeaseRevokeRequest { id: self.lease() }),
            _ => {
                let back = i64::try_from(self.below(40)).expect("it is small");
                let compaction = CompactionRequest { revision: revision - back, physical: false };
                request.compaction = Some(compaction);
            }
        }
        Bytes::from(request.encode_to_vec())
    }

    /// Compares a value that may be in a file.
    fn txn(&mut self) -> TxnRequest {
        let compare = Compare {
            key: self.key(),
            target: CompareTarget::Value.into(),
            result: CompareResult::Greater.into(),
            target_union: Some(TargetUnion::Value(Bytes::from_static(b"m"))),
            ..Compare::default()
        };
        let put = Request::RequestPut(self.put());
        let key = self.key();
        let delete = Request::RequestDeleteRange(DeleteRangeRequest {
            key,
            prev_kv: true,
            ..DeleteRangeRequest::default()
        });
        let operation = |request| vec![RequestOp { request: Some(request) }];
        TxnRequest { compare: vec![compare], success: operation(put), failure: operation(delete) }
    }
}
