//! Who is refused before a handler sees the call.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use prost::Message as _;
use quoin_api::raftpb::{ConfChange, ConfChangeType};
use quoin_node::raft::NodeId;
use quoin_node::{RequestIds, Status};

use quoin_store::{EntryData, Store};

use super::*;
use crate::member::Limits;
use crate::metrics::Metrics;

const ID: u64 = 7;

const STREAMS: [&str; 4] = [
    "/etcdserverpb.Watch/Watch",
    "/etcdserverpb.Lease/LeaseKeepAlive",
    "/etcdserverpb.KV/RangeStream",
    "/etcdserverpb.Maintenance/Snapshot",
];
const CALLS: [&str; 8] = [
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.KV/Put",
    "/etcdserverpb.KV/Txn",
    "/etcdserverpb.Lease/LeaseGrant",
    "/etcdserverpb.Lease/LeaseLeases",
    "/etcdserverpb.Cluster/MemberList",
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Maintenance/HashKV",
];

/// A member that votes or learns, in a cluster with a leader or without.
fn member(kind: ConfChangeType, leader: u64) -> Member {
    let mut store = Store::new();
    let is_learner = kind == ConfChangeType::ConfChangeAddLearnerNode;
    let member =
        format!("{{\"id\":{ID},\"peerURLs\":[\"http://h:1\"],\"isLearner\":{is_learner}}}");
    let context = Bytes::from(member);
    let change = ConfChange { id: 0, r#type: kind.into(), node_id: ID, context };
    let entry = Bytes::from(change.encode_to_vec());
    store.apply(1, 1, EntryData::ConfChange(&entry)).unwrap().result.unwrap();
    let limits = Limits { request_bytes: 1 << 20, txn_ops: 128, min_lease_ttl_s: 1 };
    let (inputs, _) = std::sync::mpsc::sync_channel(1);
    let ids = RequestIds::new(NodeId(ID), 0);
    let metrics = Arc::new(Metrics::new(false));
    let member = Member::new((ID, 1), (limits, metrics), ids, inputs, store.view());
    member.publish_status(Status { leader: NodeId(leader), ..Status::default() });
    member
}

fn headers(needs_leader: Option<&'static str>) -> HeaderMap {
    let value = needs_leader.map(HeaderValue::from_static);
    value.into_iter().map(|value| (HeaderName::from_static("hasleader"), value)).collect()
}

/// The calls that a member refuses, which must all be with the same error.
fn refused(
    member: &Member,
    needs_leader: Option<&'static str>,
) -> (Vec<&'static str>, Option<Error>) {
    let (mut paths, mut errors) = (Vec::new(), Vec::new());
    for path in STREAMS.into_iter().chain(CALLS) {
        if let Err(error) = admit(member, path, &headers(needs_leader)) {
            paths.push(path);
            errors.push(error);
        }
    }
    errors.dedup();
    assert!(errors.len() <= 1, "{errors:?}");
    (paths, errors.pop())
}

/// Writes, reads of the members and hashes went through, and a learner answered what it is not
/// asked in any cluster of etcd.
#[test]
fn a_learner_serves_its_status_its_snapshot_and_ranges() {
    let learner = member(ConfChangeType::ConfChangeAddLearnerNode, 9);
    for needs_leader in [None, Some("true")] {
        let (paths, error) = refused(&learner, needs_leader);
        assert_eq!(error, Some(Error::NotSupportedForLearner));
        let served: Vec<&str> = STREAMS.into_iter().chain(CALLS).collect();
        let served: Vec<&str> = served.into_iter().filter(|path| !paths.contains(path)).collect();
        let expected = ["Maintenance/Snapshot", "KV/Range", "Maintenance/Status"]
            .map(|method| format!("/etcdserverpb.{method}"));
        assert_eq!(served, expected);
    }
    assert_eq!(refused(&member(ConfChangeType::ConfChangeAddNode, 9), None), (vec![], None));
}

/// Only watches and leases looked at the header; etcd looks at it before every call.
#[test]
fn every_call_that_needs_a_leader_is_refused_without_one() {
    let orphan = member(ConfChangeType::ConfChangeAddNode, 0);
    let (paths, error) = refused(&orphan, Some("true"));
    assert_eq!((paths.len(), error), (STREAMS.len() + CALLS.len(), Some(Error::NoLeader)));
    assert_eq!(refused(&orphan, None), (vec![], None));
    assert_eq!(refused(&orphan, Some("false")), (vec![], None));
    let led = member(ConfChangeType::ConfChangeAddNode, 9);
    assert_eq!(refused(&led, Some("true")), (vec![], None));
}
