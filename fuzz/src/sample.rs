//! A small state with a bit of everything: versions, deletions, leases, members, an alarm, a
//! compaction, segments.

use std::path::Path;
use std::sync::OnceLock;

use bytes::Bytes;
use prost::Message;
use quoin_api::etcdserverpb::request_op::Request;
use quoin_api::etcdserverpb::{
    AlarmRequest, CompactionRequest, DeleteRangeRequest, InternalRaftRequest, LeaseGrantRequest,
    LeaseRevokeRequest, PutRequest, RangeResponse, RequestOp, TxnRequest,
};
use quoin_api::membershippb::{Attributes, ClusterMemberAttrSetRequest, ClusterVersionSetRequest};
use quoin_api::raftpb::ConfChange;
use quoin_store::{CheckpointId, EntryData, Store, WriteOptions};

use crate::checkpoint::DIR;
use crate::files::{files_of, with_files};
use crate::segment::all_at;

/// An entry: its bytes, and whether it changes the members.
pub(crate) type SampleEntry = (Bytes, bool);

/// The state and its files.
pub(crate) struct Sample {
    /// The checkpoint and its segments by name.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) checkpoint: CheckpointId,
    /// All keys at each revision that can be read.
    pub(crate) ranges: Vec<(i64, RangeResponse)>,
}

impl Sample {
    /// The sample, which is made once.
    pub(crate) fn shared() -> &'static Self {
        static SAMPLE: OnceLock<Sample> = OnceLock::new();
        SAMPLE.get_or_init(Self::make)
    }

    /// A store with the sample, all of it in memory.
    pub(crate) fn store() -> Store {
        let mut store = Store::new();
        for (entry, changes_members) in entries() {
            let index = store.applied().0 + 1;
            let data = match changes_members {
                true => EntryData::ConfChange(&entry),
                false => EntryData::Normal(&entry),
            };
            store
                .apply(index, 1, data)
                .expect("the sample is understood")
                .result
                .expect("it works");
        }
        store
    }

    fn make() -> Self {
        let mut store = Self::store();
        let view = store.view();
        let readable = view.compact_revision()..=view.revision();
        let ranges = readable.map(|at| (at, view.range(&all_at(at)).expect("it is in memory")));
        let ranges = ranges.collect();
        let fs = with_files(Path::new(DIR), []);
        let checkpoint = store.checkpoint(view.conf());
        let options = WriteOptions { segment_bytes: 400 };
        let written = checkpoint.write_paced(&fs, Path::new(DIR), &options, &mut |_| ());
        let checkpoint = written.expect("memory has room").id;
        Self { files: files_of(&fs, Path::new(DIR)), checkpoint, ranges }
    }
}

/// The entries that make the sample.
pub(crate) fn entries() -> Vec<SampleEntry> {
    let mut entries = vec![(Bytes::new(), false)];
    for id in [0xa, 0xb] {
        let context = format!(
            "{{\"id\":{id},\"peerURLs\":[\"http://127.0.0.{id}:2380\"],\"name\":\"m{id}\"}}"
        );
        let change = ConfChange { id, r#type: 0, node_id: id, context: context.into() };
        entries.push((change.encode_to_vec().into(), true));
    }
    let default = InternalRaftRequest::default;
    let mut requests = members();
    requests.push(InternalRaftRequest { lease_grant: grant(7, 60), ..default() });
    requests.push(InternalRaftRequest { lease_grant: grant(8, 5), ..default() });
    for round in 0..3 {
        for key in ["a", "ab", "b", "c/d", "c/e"] {
            let lease = if key == "b" { 7 } else { 0 };
            let value = format!("{key} {round}").repeat(1 + round * 4);
            requests.push(InternalRaftRequest { put: Some(put(key, value, lease)), ..default() });
        }
        requests.push(InternalRaftRequest { delete_range: Some(delete("c", "c0")), ..default() });
    }
    requests.push(InternalRaftRequest { txn: Some(txn()), ..default() });
    let compaction = Some(CompactionRequest { revision: 8, physical: true });
    requests.push(InternalRaftRequest { compaction, ..default() });
    let lease_revoke = Some(LeaseRevokeRequest { id: 8 });
    requests.push(InternalRaftRequest { lease_revoke, ..default() });
    let alarm = Some(AlarmRequest { action: 1, member_id: 0xa, alarm: 1 });
    requests.push(InternalRaftRequest { alarm, ..default() });
    let alarm = Some(AlarmRequest { action: 2, member_id: 0xa, alarm: 1 });
    requests.push(InternalRaftRequest { alarm, ..default() });
    entries.extend(requests.iter().map(|request| (request.encode_to_vec().into(), false)));
    entries
}

/// What the members say about themselves.
fn members() -> Vec<InternalRaftRequest> {
    let (name, client_urls) = ("m10".to_owned(), vec!["http://127.0.0.10:2379".to_owned()]);
    let member_attributes = Some(Attributes { name, client_urls });
    let attributes = ClusterMemberAttrSetRequest { member_id: 0xa, member_attributes };
    let version = ClusterVersionSetRequest { ver: "3.6.0".to_owned() };
    vec![
        InternalRaftRequest {
            cluster_member_attr_set: Some(attributes),
            ..InternalRaftRequest::default()
        },
        InternalRaftRequest {
            cluster_version_set: Some(version),
            ..InternalRaftRequest::default()
        },
    ]
}

fn grant(id: i64, ttl: i64) -> Option<LeaseGrantRequest> {
    Some(LeaseGrantRequest { id, ttl })
}

fn put(key: &str, value: String, lease: i64) -> PutRequest {
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::from(value));
    PutRequest { key, value, lease, ..PutRequest::default() }
}

fn delete(key: &str, end: &str) -> DeleteRangeRequest {
    let (key, range_end) =
        (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(end.as_bytes()));
    DeleteRangeRequest { key, range_end, prev_kv: true }
}

/// A transaction that writes, with another inside.
pub(crate) fn txn() -> TxnRequest {
    let op = |request| RequestOp { request: Some(request) };
    let inner = TxnRequest {
        success: vec![op(Request::RequestPut(put("x", "1".to_owned(), 8)))],
        ..TxnRequest::default()
    };
    let success = vec![
        op(Request::RequestRange(all_at(0))),
        op(Request::RequestDeleteRange(delete("a", ""))),
        op(Request::RequestTxn(inner)),
        op(Request::RequestPut(put("y", "2".to_owned(), 0))),
    ];
    TxnRequest { success, ..TxnRequest::default() }
}
