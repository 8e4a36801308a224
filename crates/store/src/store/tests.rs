//! Entries as etcd encodes them, and a plain model of the store that random requests are compared
//! with.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::request_op::Request as Operation;
use quoin_api::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmType, CompactionRequest, DeleteRangeRequest,
    InternalRaftRequest, LeaseCheckpoint, LeaseCheckpointRequest, LeaseGrantRequest,
    LeaseRevokeRequest, PutRequest, RangeRequest, Request as V2Request, RequestHeader, RequestOp,
    TxnRequest,
};
use quoin_api::membershippb::{
    Attributes, ClusterMemberAttrSetRequest, ClusterVersionSetRequest, DowngradeInfoSetRequest,
};
use quoin_api::raftpb::ConfChange;

use super::{Applied, EntryData, Fatal, Reply, Store};
use crate::{Bound, Member, RequestKind, Tally};

mod exhaustive;
mod model;
mod random;

/// Applies a request as the next entry.
fn apply(store: &mut Store, request: InternalRaftRequest) -> Result<Reply, Error> {
    let entry = Bytes::from(request.encode_to_vec());
    let (index, _) = store.applied();
    let applied = store.apply_for(index + 1, 1, EntryData::Normal(&entry), |_| true);
    applied.expect("the request is understood").reply()
}

fn apply_bytes(store: &mut Store, entry: &[u8]) -> Result<Applied, Fatal> {
    let entry = Bytes::copy_from_slice(entry);
    let (index, _) = store.applied();
    store.apply(index + 1, 1, EntryData::Normal(&entry))
}

fn put(key: &str, value: &str) -> PutRequest {
    let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value.to_owned()));
    PutRequest { key, value, ..PutRequest::default() }
}

fn put_request(put: PutRequest) -> InternalRaftRequest {
    InternalRaftRequest { put: Some(put), ..InternalRaftRequest::default() }
}

fn delete_request(key: &str) -> InternalRaftRequest {
    let key = Bytes::from(key.to_owned());
    let delete_range = Some(DeleteRangeRequest { key, ..DeleteRangeRequest::default() });
    InternalRaftRequest { delete_range, ..InternalRaftRequest::default() }
}

fn txn_request(success: Vec<Operation>) -> InternalRaftRequest {
    let success = success.into_iter().map(|request| RequestOp { request: Some(request) });
    let txn = TxnRequest { success: success.collect(), ..TxnRequest::default() };
    InternalRaftRequest { txn: Some(txn), ..InternalRaftRequest::default() }
}

fn compact_request(revision: i64) -> InternalRaftRequest {
    let compaction = Some(CompactionRequest { revision, physical: false });
    InternalRaftRequest { compaction, ..InternalRaftRequest::default() }
}

fn grant_request(id: i64, ttl: i64) -> InternalRaftRequest {
    let lease_grant = Some(LeaseGrantRequest { id, ttl });
    InternalRaftRequest { lease_grant, ..InternalRaftRequest::default() }
}

fn revoke_request(id: i64) -> InternalRaftRequest {
    let lease_revoke = Some(LeaseRevokeRequest { id });
    InternalRaftRequest { lease_revoke, ..InternalRaftRequest::default() }
}

fn alarm_request(action: i32, member_id: u64, alarm: AlarmType) -> InternalRaftRequest {
    let alarm = Some(AlarmRequest { action, member_id, alarm: alarm as i32 });
    InternalRaftRequest { alarm, ..InternalRaftRequest::default() }
}

/// The revision in the header of an answer.
fn revision_of(reply: Result<Reply, Error>) -> i64 {
    let header = match reply.expect("the request succeeds") {
        Reply::None | Reply::Members(_) | Reply::V2(_) => None,
        Reply::Range(response) => response.header,
        Reply::Put(response) => response.header,
        Reply::DeleteRange(response) => response.header,
        Reply::Txn(response) => response.header,
        Reply::Compaction(response) => response.header,
        Reply::LeaseGrant(response) => response.header,
        Reply::LeaseRevoke(response) => response.header,
        Reply::LeaseCheckpoint(response) => response.header,
        Reply::Alarm(response) => response.header,
    };
    header.expect("the answer has a header").revision
}

/// A chunk of a streamed range had as many keys as the last one fitted: after many small keys, one had
/// thousands of values of a megabyte. It ends before the key that makes it too long.
#[test]
fn a_page_ends_at_its_bytes() {
    let mut store = Store::new();
    for n in 0..50_u8 {
        let value = Bytes::from(vec![b'v'; if n < 40 { 1 } else { 10_000 }]);
        let put = PutRequest { key: Bytes::from(vec![n]), value, ..PutRequest::default() };
        apply(&mut store, put_request(put)).unwrap();
    }
    let view = store.view();
    let page = |request: &RangeRequest| {
        let mut bound = Bound::NONE;
        let page = view.range_page_within(request, 20_000, &mut bound).unwrap().unwrap();
        (page.kvs.len(), page.more, page.count)
    };
    let mut range = RangeRequest { range_end: Bytes::from_static(&[0]), ..Default::default() };
    let expected = [
        (0, 41, true),
        (41, 1, true),
        (40, 1, true),
        (48, 1, true),
        (49, 1, false),
        (50, 0, false),
    ];
    for (first, keys, more) in expected {
        range.key = Bytes::from(vec![first]);
        assert_eq!(page(&range), (keys, more, 0), "from {first}");
    }
    (range.key, range.limit) = (Bytes::from(vec![0]), 40);
    assert_eq!(page(&range), (40, true, 0));
    (range.key, range.limit) = (Bytes::from(vec![48]), 1);
    assert_eq!(page(&range), (1, true, 0), "the limit cuts, too");
    let mut bound = Bound { keys: 5, bytes: 1 << 20 };
    assert_eq!(view.range_page_within(&range, 20_000, &mut bound).unwrap().unwrap().kvs.len(), 1);
    (range.key, range.limit) = (Bytes::from(vec![0]), 0);
    let mut bound = Bound { keys: 5, bytes: 1 << 20 };
    assert_eq!(view.range_page_within(&range, 20_000, &mut bound), Ok(None));
}

/// Beyond twice the limit, keys that are cut are let go of while others are still to come.
#[test]
fn a_limit_cuts_after_sorting_however_many_keys_there_are() {
    let mut store = Store::new();
    for n in 0..1500_u32 {
        let key = Bytes::from((n * 7 % 1000).to_be_bytes().to_vec());
        let value = Bytes::from((n * 11 % 600).to_be_bytes().to_vec());
        apply(&mut store, put_request(PutRequest { key, value, ..Default::default() })).unwrap();
    }
    let (view, all) = (store.view(), Bytes::from_static(&[0]));
    for (target, order) in (0..5).flat_map(|target| [(target, 1), (target, 2)]) {
        for revision in [0, 1200] {
            let range = RangeRequest {
                key: all.clone(),
                range_end: all.clone(),
                revision,
                sort_target: target,
                sort_order: order,
                ..RangeRequest::default()
            };
            let whole = view.range(&range).unwrap();
            assert!(whole.kvs.len() >= 1000 && !whole.more);
            for limit in [1, 7, 300, 999, 1000, 1001] {
                let limit_usize = usize::try_from(limit).unwrap();
                let cut = view.range(&RangeRequest { limit, ..range.clone() }).unwrap();
                let kept = whole.kvs.len().min(limit_usize);
                assert_eq!(cut.kvs, whole.kvs[..kept], "{target} {order} {limit}");
                assert_eq!((cut.more, cut.count), (kept < whole.kvs.len(), whole.count));
            }
        }
    }
}

#[test]
fn entries_come_one_after_another() {
    let mut store = Store::new();
    let empty = Bytes::new();
    let gap = store.apply(2, 1, EntryData::Normal(&empty)).unwrap_err();
    assert_eq!(gap, Fatal::OutOfOrder { index: 2, applied: 0 });
    let first = store.apply(1, 3, EntryData::Normal(&empty)).unwrap();
    assert_eq!((first.request_id, first.reply()), (0, Ok(Reply::None)));
    assert_eq!(store.applied(), (1, 3));
    let again = store.apply(1, 3, EntryData::Normal(&empty)).unwrap_err();
    assert_eq!(again, Fatal::OutOfOrder { index: 1, applied: 1 });
}

#[test]
fn revisions_count_requests_that_change_something() {
    let mut store = Store::new();
    assert_eq!(store.view().revision(), 1);
    assert_eq!(revision_of(apply(&mut store, delete_request("a"))), 1);
    assert_eq!(revision_of(apply(&mut store, put_request(put("a", "1")))), 2);
    let lost = PutRequest { lease: 9, ..put("a", "2") };
    assert_eq!(apply(&mut store, put_request(lost)), Err(Error::LeaseNotFound));
    assert_eq!(revision_of(apply(&mut store, txn_request(vec![]))), 2);
    assert_eq!(revision_of(apply(&mut store, delete_request("a"))), 3);
    assert_eq!(store.applied(), (5, 1), "an entry that fails is applied all the same");
}

#[test]
fn the_id_of_the_request_is_in_the_entry_or_in_its_header() {
    let mut store = Store::new();
    let header = Some(RequestHeader { id: 7, ..RequestHeader::default() });
    let request = InternalRaftRequest { header, ..put_request(put("a", "1")) };
    let applied = apply_bytes(&mut store, &request.encode_to_vec()).unwrap();
    assert_eq!(applied.request_id, 7);
    let request = InternalRaftRequest { id: 8, ..request };
    let applied = apply_bytes(&mut store, &request.encode_to_vec()).unwrap();
    assert_eq!(applied.request_id, 8);
}

/// A transaction that etcd 3.5 and 3.6 treat differently on different members: a range at a
/// revision that does not exist beside a put. It fails as a whole, on every member.
#[test]
fn a_transaction_with_a_bad_revision_changes_nothing() {
    for revision in [-5, 1, 2, 9] {
        let mut store = Store::new();
        for value in ["1", "2", "3"] {
            apply(&mut store, put_request(put("a", value))).unwrap();
        }
        apply(&mut store, compact_request(3)).unwrap();
        let range = RangeRequest { key: Bytes::from("a"), revision, ..RangeRequest::default() };
        let operations = vec![Operation::RequestPut(put("b", "1")), Operation::RequestRange(range)];
        let expected = if revision == 9 { Error::FutureRevision } else { Error::Compacted };
        assert_eq!(apply(&mut store, txn_request(operations)), Err(expected));
        assert_eq!(store.view().revision(), 4);
        assert_eq!(store.view().keys(), 1);
    }
}

/// Everything was deleted and one key put again, all at one revision. Our hash there did not cover
/// what the compaction before had left: a reader saw the key, while etcd sees its deletion and so
/// no key at all. The hashes are those of etcd 3.7.1 after the same requests.
#[test]
fn a_key_deleted_and_put_at_the_hashed_revision_is_as_good_as_gone() {
    let mut store = Store::new();
    for (key, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
        apply(&mut store, put_request(put(key, value))).unwrap();
    }
    apply(&mut store, compact_request(4)).unwrap();
    let hash = |store: &Store, at| store.view().hash_kv(at).unwrap().hash;
    assert_eq!(hash(&store, 0), 1_107_643_163);
    let (key, range_end) = (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
    let all = DeleteRangeRequest { key, range_end, ..DeleteRangeRequest::default() };
    let operations = vec![Operation::RequestDeleteRange(all), Operation::RequestPut(put("b", "9"))];
    apply(&mut store, txn_request(operations)).unwrap();
    assert_eq!(hash(&store, 0), 2_619_071_123);
    apply(&mut store, put_request(put("c", "1"))).unwrap();
    assert_eq!(hash(&store, 0), 2_855_626_682);
    assert_eq!(hash(&store, 5), 2_619_071_123);
}

/// With the end that means "all keys", etcd lets a client delete a key and put it in one
/// transaction. A compaction at just that revision makes etcd lose the key; it must not here.
#[test]
fn a_key_deleted_and_put_in_one_transaction_survives_compaction() {
    let mut store = Store::new();
    apply(&mut store, put_request(put("a", "1"))).unwrap();
    let (key, range_end) = (Bytes::from("a"), Bytes::from_static(&[0]));
    let delete = DeleteRangeRequest { key, range_end, prev_kv: false };
    let operations =
        vec![Operation::RequestDeleteRange(delete), Operation::RequestPut(put("a", "2"))];
    assert_eq!(revision_of(apply(&mut store, txn_request(operations))), 3);
    apply(&mut store, compact_request(3)).unwrap();
    while store.collect(1) {}
    let pair = store.view().value_at(b"a", 3).unwrap().expect("the key is there");
    assert_eq!((&pair.value[..], pair.create_revision, pair.version), (&b"2"[..], 3, 1));
}

/// Once, in etcd, the newest revision was a deletion, compaction dropped it, and after a restart
/// the revision had gone back (issue 17780).
#[test]
fn compaction_at_a_deletion_keeps_it_until_the_next_one() {
    let mut store = Store::new();
    apply(&mut store, put_request(put("a", "1"))).unwrap();
    apply(&mut store, delete_request("a")).unwrap();
    apply(&mut store, compact_request(3)).unwrap();
    while store.collect(1) {}
    let events: Vec<_> = store.view().events_from(3).unwrap().map(Result::unwrap).collect();
    assert_eq!(events.len(), 1);
    assert!(events[0].is_delete);
    assert_eq!((&events[0].pair.key[..], events[0].pair.mod_revision), (&b"a"[..], 3));
    assert_eq!(store.view().revision(), 3);
    apply(&mut store, put_request(put("b", "1"))).unwrap();
    apply(&mut store, compact_request(4)).unwrap();
    while store.collect(1) {}
    assert_eq!(store.kv.index.count().total, 1);
    let left = store.kv.history.view().record(crate::Revision::first_of(4)).unwrap();
    assert_eq!(store.view().size(), left.unwrap().bytes.len());
}

#[test]
fn compaction_has_its_limits() {
    let mut store = Store::new();
    assert_eq!(apply(&mut store, compact_request(-1)), Err(Error::Compacted));
    assert_eq!(revision_of(apply(&mut store, compact_request(0))), 1);
    assert_eq!(apply(&mut store, compact_request(0)), Err(Error::Compacted));
    assert_eq!(apply(&mut store, compact_request(2)), Err(Error::FutureRevision));
    assert_eq!(store.view().compact_revision(), 0);
    assert!(store.view().events_from(-1).is_err());
}

#[test]
fn leases_end_with_their_keys() {
    let mut store = Store::new();
    assert_eq!(apply(&mut store, grant_request(0, 10)), Err(Error::LeaseNotFound));
    assert_eq!(apply(&mut store, grant_request(1, 9_000_000_001)), Err(Error::LeaseTtlTooLarge));
    for id in [1, i64::MIN, 3] {
        assert_eq!(revision_of(apply(&mut store, grant_request(id, 10))), 1);
    }
    assert_eq!(apply(&mut store, grant_request(3, 10)), Err(Error::LeaseExists));
    for (key, lease) in [("b", 1), ("a", 1), ("c", 3), ("c", 1), ("d", 1), ("d", 0), ("e", 1)] {
        apply(&mut store, put_request(PutRequest { lease, ..put(key, "v") })).unwrap();
    }
    apply(&mut store, delete_request("e")).unwrap();
    let keys: Vec<_> = store.view().lease(1).unwrap().keys().collect();
    assert_eq!(keys, [b"a", b"b", b"c"]);
    assert_eq!(store.view().lease(3).unwrap().keys().count(), 0);
    let ids: Vec<_> = store.view().leases().map(|lease| lease.id).collect();
    assert_eq!(ids, [i64::MIN, 1, 3]);

    let revision = store.view().revision();
    assert_eq!(revision_of(apply(&mut store, revoke_request(1))), revision + 1);
    let events: Vec<_> =
        store.view().events_from(revision + 1).unwrap().map(Result::unwrap).collect();
    let deleted: Vec<_> =
        events.iter().map(|event| (event.revision.sub, &event.pair.key[..])).collect();
    assert_eq!(deleted, [(0, &b"a"[..]), (1, b"b"), (2, b"c")]);
    assert_eq!(apply(&mut store, revoke_request(1)), Err(Error::LeaseNotFound));
    assert_eq!(revision_of(apply(&mut store, revoke_request(3))), revision + 1);
    assert_eq!(store.view().lease_count(), 1);
}

#[test]
fn what_is_left_of_a_lease_is_noted() {
    let mut store = Store::new();
    apply(&mut store, grant_request(5, 100)).unwrap();
    let checkpoints = [(5, 40), (6, 40)];
    let checkpoints = checkpoints.map(|(id, remaining_ttl)| LeaseCheckpoint { id, remaining_ttl });
    let lease_checkpoint = Some(LeaseCheckpointRequest { checkpoints: checkpoints.to_vec() });
    let request = InternalRaftRequest { lease_checkpoint, ..InternalRaftRequest::default() };
    apply(&mut store, request).unwrap();
    let lease = store.view().lease(5).unwrap();
    assert_eq!((lease.ttl_s, lease.remaining_ttl_s), (100, 40));
    assert!(store.view().lease(6).is_none());
}

#[test]
fn alarms_change_what_is_accepted() {
    const RAISE: i32 = 1;
    const CLEAR: i32 = 2;
    let mut store = Store::new();
    apply(&mut store, put_request(put("a", "1"))).unwrap();
    apply(&mut store, grant_request(1, 10)).unwrap();
    apply(&mut store, alarm_request(RAISE, 7, AlarmType::Nospace)).unwrap();
    let alarm = AlarmMember { member_id: 7, alarm: AlarmType::Nospace as i32 };
    assert_eq!(store.view().alarms(AlarmType::None), [alarm]);
    assert_eq!(store.view().alarms(AlarmType::Corrupt), []);

    let inner_put = || vec![Operation::RequestPut(put("a", "1"))];
    let full = Err(Error::NoSpace);
    assert_eq!(apply(&mut store, put_request(put("a", "1"))), full);
    assert_eq!(apply(&mut store, txn_request(inner_put())), full);
    assert_eq!(apply(&mut store, grant_request(2, 10)), full);
    apply(&mut store, txn_request(vec![])).unwrap();
    apply(&mut store, delete_request("a")).unwrap();
    apply(&mut store, compact_request(2)).unwrap();

    apply(&mut store, alarm_request(RAISE, 8, AlarmType::Corrupt)).unwrap();
    let corrupt = Err(Error::Corrupt);
    assert_eq!(apply(&mut store, put_request(put("a", "1"))), corrupt);
    assert_eq!(apply(&mut store, delete_request("a")), corrupt);
    assert_eq!(apply(&mut store, txn_request(vec![])), corrupt);
    assert_eq!(apply(&mut store, compact_request(3)), corrupt);
    assert_eq!(apply(&mut store, revoke_request(1)), corrupt);

    apply(&mut store, alarm_request(CLEAR, 8, AlarmType::Corrupt)).unwrap();
    apply(&mut store, alarm_request(CLEAR, 7, AlarmType::Nospace)).unwrap();
    let cleared = apply(&mut store, alarm_request(CLEAR, 7, AlarmType::Nospace)).unwrap();
    assert!(matches!(cleared, Reply::Alarm(response) if response.alarms.is_empty()));
    apply(&mut store, put_request(put("a", "1"))).unwrap();
}

fn add_member(store: &mut Store, id: u64, url: &str) -> Applied {
    let member = Member { id, peer_urls: vec![url.to_owned()], ..Member::default() };
    let context = Bytes::from(member.to_json(Some(false)));
    let change = ConfChange { id: 77, r#type: 0, node_id: id, context };
    let entry = Bytes::from(change.encode_to_vec());
    let (index, _) = store.applied();
    store.apply_for(index + 1, 1, EntryData::ConfChange(&entry), |id| id == 77).unwrap()
}

#[test]
fn a_refused_change_of_members_goes_to_no_member() {
    let mut store = Store::new();
    let added = add_member(&mut store, 5, "http://a:1");
    assert_eq!(added.request_id, 77);
    assert_eq!(added.conf_change.as_ref().unwrap().node_id, 5);
    assert!(matches!(added.reply(), Ok(Reply::Members(members)) if members.len() == 1));
    let refused = add_member(&mut store, 6, "http://a:1");
    assert_eq!(refused.reply(), Err(Error::PeerUrlExists));
    assert_eq!(refused.conf_change.unwrap().node_id, 0);
    assert_eq!(store.applied(), (2, 1));
}

/// Members of etcd 3.5 publish in the old form, members of 3.6 and 3.7 in the new one.
#[test]
fn members_publish_themselves_in_two_forms() {
    let mut store = Store::new();
    add_member(&mut store, 0xabc, "http://a:1");
    let old = |path: &str, val: &str| V2Request {
        id: 4,
        method: "PUT".to_owned(),
        path: Bytes::from(path.to_owned()),
        val: Bytes::from(val.to_owned()),
        ..V2Request::default()
    };
    let json = r#"{"name":"old","clientURLs":["http://c:1"]}"#;
    let attributes = old("/0/members/abc/attributes", json).encode_to_vec();
    assert_eq!(apply_bytes(&mut store, &attributes).unwrap().request_id, 4);
    apply_bytes(&mut store, &old("/0/version", "3.5.0").encode_to_vec()).unwrap();
    let member = store.membership().member(0xabc).unwrap().clone();
    assert_eq!((member.name.as_str(), member.client_urls.len()), ("old", 1));
    assert_eq!(store.membership().version().unwrap().to_string(), "3.5.0");

    let wrapped =
        InternalRaftRequest { v2: Some(old("/0/version", "3.6.0")), ..Default::default() };
    apply(&mut store, wrapped).unwrap();
    assert_eq!(store.membership().version().unwrap().to_string(), "3.6.0");

    let member_attributes = Some(Attributes { name: "new".to_owned(), client_urls: vec![] });
    let set = ClusterMemberAttrSetRequest { member_id: 0xabc, member_attributes };
    apply(
        &mut store,
        InternalRaftRequest { cluster_member_attr_set: Some(set), ..Default::default() },
    )
    .unwrap();
    let set = ClusterVersionSetRequest { ver: "3.7.0".to_owned() };
    apply(&mut store, InternalRaftRequest { cluster_version_set: Some(set), ..Default::default() })
        .unwrap();
    let set = DowngradeInfoSetRequest { enabled: true, ver: "3.6.0".to_owned() };
    apply(&mut store, InternalRaftRequest { downgrade_info_set: Some(set), ..Default::default() })
        .unwrap();
    assert_eq!(store.membership().member(0xabc).unwrap().name, "new");
    assert_eq!(store.membership().version().unwrap().to_string(), "3.7.0");
    assert_eq!(store.membership().downgrade().target_version.as_deref(), Some("3.6.0"));
    assert_eq!(store.view().revision(), 1);
}

#[test]
fn what_is_not_understood_is_fatal_and_changes_nothing() {
    let mut store = Store::new();
    apply(&mut store, put_request(put("a", "1"))).unwrap();
    let auth = InternalRaftRequest { auth_enable: Some(Default::default()), ..Default::default() };
    let version = ClusterVersionSetRequest { ver: "latest".to_owned() };
    let version = InternalRaftRequest { cluster_version_set: Some(version), ..Default::default() };
    let method = "PUT".to_owned();
    let path = Bytes::from("/0/version");
    let v2_version = V2Request { method, path, val: Bytes::from("x"), ..V2Request::default() };
    let cases = [
        b"\xff\xff".to_vec(),
        InternalRaftRequest { id: 5, ..Default::default() }.encode_to_vec(),
        b"\xc2\xbb\x01\x00".to_vec(), // a field of some later release
        auth.encode_to_vec(),
        version.encode_to_vec(),
        v2_version.encode_to_vec(),
    ];
    for case in cases {
        let fatal = apply_bytes(&mut store, &case).unwrap_err();
        let understood = matches!(fatal, Fatal::OutOfOrder { .. } | Fatal::ConfChange { .. });
        assert!(!understood, "{case:x?}: {fatal}");
        assert_eq!(store.applied(), (1, 1));
    }
    assert_eq!(store.view().revision(), 2);
}

/// What stands in for an entry that somebody broke or made up.
fn hostile_entry() -> impl Strategy<Value = Vec<u8>> {
    let valid = prop_oneof![
        Just(put_request(PutRequest { lease: 3, prev_kv: true, ..put("a", "1") })),
        Just(delete_request("a")),
        Just(txn_request(vec![Operation::RequestPut(put("a", "2"))])),
        Just(compact_request(2)),
        Just(grant_request(3, 60)),
        Just(revoke_request(3)),
        Just(alarm_request(1, 5, AlarmType::Nospace)),
    ];
    let damage = vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let damaged = (valid, damage).prop_map(|(request, damage)| {
        let mut entry = request.encode_to_vec();
        for (at, byte) in damage {
            let at = at.index(entry.len());
            entry[at] = byte;
        }
        entry
    });
    prop_oneof![4 => damaged, 1 => vec(any::<u8>(), 0..60)]
}

/// What an entry did, but for its reply.
fn did(outcome: &Result<Applied, Fatal>) -> String {
    let did = outcome.as_ref().map(|applied| {
        let Applied { request_id, result, conf_change, lease_change } = applied;
        (request_id, result.as_ref().map(|_| ()), conf_change, lease_change)
    });
    format!("{did:?}")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever an entry is, two members do the same with it, or neither goes on and both are as
    /// before.
    #[test]
    fn any_entry_has_one_outcome(entries in vec((any::<bool>(), hostile_entry()), 1..40)) {
        let (mut left, mut right) = (Store::new(), Store::new());
        for (is_change, entry) in entries {
            let entry = Bytes::from(entry);
            let index = left.applied().0 + 1;
            let data = match is_change {
                true => EntryData::ConfChange(&entry),
                false => EntryData::Normal(&entry),
            };
            let before = (left.applied(), left.view().hash_kv(0));
            let outcome = left.apply(index, 1, data);
            // Somebody waits at one of them, which must make no difference.
            let awaited = right.apply_for(index, 1, data, |_| true);
            prop_assert_eq!(did(&outcome), did(&awaited));
            if outcome.is_err() {
                prop_assert_eq!(before, (left.applied(), left.view().hash_kv(0)));
            }
            right.collect(2);
            prop_assert_eq!(left.view().hash_kv(0), right.view().hash_kv(0));
            prop_assert_eq!(left.membership(), right.membership());
        }
    }
}

/// A store belongs to one thread; what it publishes goes to all.
#[test]
fn what_is_published_can_be_shared() {
    fn shared<T: Send + Sync + Clone>() {}
    fn sent<T: Send>() {}
    shared::<crate::View>();
    shared::<crate::Checkpoint>();
    sent::<crate::CheckpointStream>();
    sent::<Store>();
}

#[test]
fn what_was_done_is_counted_once_and_changes_nothing() {
    let previous = PutRequest { prev_kv: true, ..put("a", "new") };
    let requests = [
        grant_request(7, 60),
        put_request(put("a", "old")),
        put_request(previous),
        put_request(PutRequest { lease: 7, ..put("b", "x") }),
        put_request(PutRequest { lease: 8, ..put("c", "refused") }),
        txn_request(vec![
            Operation::RequestPut(put("d", "1")),
            Operation::RequestRange(RangeRequest::default()),
        ]),
        delete_request("a"),
        revoke_request(7),
        compact_request(4),
    ];
    let (mut counted, mut uncounted) = (Store::new(), Store::new());
    let mut last = Tally::default();
    for request in requests.clone() {
        last = counted.take_tally();
        drop(apply(&mut counted, request.clone()));
        drop(apply(&mut uncounted, request));
    }
    assert_eq!((last.deletes, last.revoked), (1, 1), "the revocation alone");
    let kinds = |tally: &Tally, kind| [false, true].map(|success| tally.applied(kind, success));
    let tally = uncounted.take_tally();
    assert_eq!((tally.puts, tally.put_bytes), (4, 4 + 4 + 2 + 2));
    assert_eq!((tally.deletes, tally.ranges, tally.txns), (2, 2, 2));
    assert_eq!((tally.granted_ttls_s.as_slice(), tally.revoked), (&[60][..], 1));
    assert_eq!(kinds(&tally, RequestKind::Put), [1, 3]);
    assert_eq!(kinds(&tally, RequestKind::Txn), [0, 1]);
    assert_eq!(kinds(&tally, RequestKind::Compaction), [0, 1]);
    assert_eq!(uncounted.take_tally(), Tally::default());
    let hash = |store: &Store| store.view().hash_kv(0).expect("the newest revision");
    assert_eq!(hash(&counted), hash(&uncounted));
}
