//! Golden bytes: what the messages look like on the wire and on disk, written out by hand.
//!
//! They pin the field numbers and types that the generator was given, and the forms that older
//! encoders produce.

use std::fmt::Debug;

use bytes::Bytes;
use prost::Message as _;
use quoin_api::etcdserverpb::{InternalRaftRequest, PutRequest, Request, RequestHeader};
use quoin_api::mvccpb::KeyValue;
use quoin_api::raftpb::{
    ConfChange, ConfChangeType, ConfState, Entry, EntryType, Message, MessageType, Snapshot,
    SnapshotMetadata,
};
use quoin_api::{snappb, walpb};

/// Checks that `message` encodes to `bytes` and `bytes` decode to `message`.
fn check<M: prost::Message + Debug + Default + PartialEq>(message: &M, bytes: &[u8]) {
    assert_eq!(message.encode_to_vec(), bytes);
    check_decode(message, bytes);
}

/// Checks only the way in, for forms that older encoders produce and we do not.
fn check_decode<M: prost::Message + Debug + Default + PartialEq>(message: &M, bytes: &[u8]) {
    assert_eq!(&M::decode(bytes).expect("the bytes are well formed"), message);
}

#[test]
fn key_value_omits_zeros() {
    let full = KeyValue {
        key: Bytes::from_static(b"foo"),
        create_revision: 2,
        mod_revision: 300,
        version: 4,
        value: Bytes::from_static(b"bar"),
        lease: 0x1234,
    };
    check(&full, b"\x0a\x03foo\x10\x02\x18\xac\x02\x20\x04\x2a\x03bar\x30\xb4\x24");
    let tombstone =
        KeyValue { key: Bytes::from_static(b"foo"), mod_revision: 3, ..KeyValue::default() };
    check(&tombstone, b"\x0a\x03foo\x18\x03");
    check(&KeyValue::default(), b"");
}

#[test]
fn internal_raft_request_ends_with_its_header() {
    let request = InternalRaftRequest {
        header: Some(RequestHeader { id: 1, username: "u".to_owned(), auth_revision: 2 }),
        put: Some(PutRequest {
            key: Bytes::from_static(b"k"),
            value: Bytes::from_static(b"v"),
            ..PutRequest::default()
        }),
        ..InternalRaftRequest::default()
    };
    check(&request, b"\x22\x06\x0a\x01k\x12\x01v\xa2\x06\x07\x08\x01\x12\x01u\x18\x02");
}

#[test]
fn internal_raft_request_reads_the_v2_field() {
    let request = Request {
        id: 9,
        method: "PUT".to_owned(),
        path: Bytes::from_static(b"/1/a"),
        prev_exist: Some(false),
        ..Request::default()
    };
    let wrapped = InternalRaftRequest { v2: Some(request), ..InternalRaftRequest::default() };
    check_decode(&wrapped, b"\x12\x0f\x08\x09\x12\x03PUT\x1a\x04/1/a\x40\x00");
}

/// A v2 client may store any bytes. If the value were text, a log with such an entry would not
/// decode, and the member could not start.
#[test]
fn v2_request_of_etcd_3_5_holds_any_bytes() {
    let bytes = b"\x08\x09\x12\x03PUT\x1a\x04/1/a\x22\x02\xff\xfe\x28\x00\x32\x00\x38\x00\
        \x48\x00\x50\x00\x58\x00\x60\x00\x68\x00\x70\x00\x78\x00\x80\x01\x00";
    let request = Request {
        id: 9,
        method: "PUT".to_owned(),
        path: Bytes::from_static(b"/1/a"),
        val: Bytes::from_static(b"\xff\xfe"),
        ..Request::default()
    };
    check(&request, bytes);
    assert_eq!(request.prev_exist, None);
}

#[test]
fn entry_omits_zeros() {
    let entry = Entry {
        r#type: EntryType::EntryNormal.into(),
        term: 2,
        index: 3,
        data: Bytes::from_static(b"x"),
    };
    check(&entry, b"\x10\x02\x18\x03\x22\x01x");
    check_decode(&entry, b"\x08\x00\x10\x02\x18\x03\x22\x01x");
}

/// etcd 3.5 writes every scalar, and in every message a snapshot that is empty down to its
/// membership.
#[test]
fn heartbeat_of_etcd_3_5() {
    let bytes = b"\x08\x08\x10\x02\x18\x01\x20\x03\x28\x00\x30\x00\x40\x05\
        \x4a\x0a\x12\x08\x0a\x02\x28\x00\x10\x00\x18\x00\x50\x00\x58\x00";
    let heartbeat = Message {
        r#type: MessageType::MsgHeartbeat.into(),
        to: 2,
        from: 1,
        term: 3,
        commit: 5,
        ..Message::default()
    };
    let empty = Snapshot {
        metadata: Some(SnapshotMetadata {
            conf_state: Some(ConfState::default()),
            ..SnapshotMetadata::default()
        }),
        ..Snapshot::default()
    };
    check_decode(&Message { snapshot: Some(empty), ..heartbeat.clone() }, bytes);
    check(&heartbeat, b"\x08\x08\x10\x02\x18\x01\x20\x03\x40\x05");
}

#[test]
fn conf_change_decodes_with_and_without_zeros() {
    let change = ConfChange {
        r#type: ConfChangeType::ConfChangeAddNode.into(),
        node_id: 10,
        context: Bytes::from_static(b"{}"),
        id: 7,
    };
    check(&change, b"\x08\x07\x18\x0a\x22\x02{}");
    check_decode(&change, b"\x08\x07\x10\x00\x18\x0a\x22\x02{}");
}

#[test]
fn conf_state_writes_unpacked_and_reads_both() {
    let state = ConfState { voters: vec![1, 300], learners: vec![2], ..ConfState::default() };
    check(&state, b"\x08\x01\x08\xac\x02\x10\x02");
    check_decode(&state, b"\x0a\x03\x01\xac\x02\x12\x01\x02\x28\x00");
}

#[test]
fn records_of_the_wal_and_the_snapshot_file() {
    let record = walpb::Record { r#type: 4, crc: 0, data: Bytes::from_static(b"d") };
    check(&record, b"\x08\x04\x1a\x01d");
    check_decode(&record, b"\x08\x04\x10\x00\x1a\x01d");
    let old = walpb::Snapshot { index: 5, term: 1, conf_state: None };
    check(&old, b"\x08\x05\x10\x01");
    let envelope = snappb::Snapshot { crc: 0xffff_ffff, data: Bytes::from_static(b"s") };
    check(&envelope, b"\x08\xff\xff\xff\xff\x0f\x12\x01s");
}

#[test]
fn unknown_fields_are_skipped() {
    check_decode(&ConfState::default(), b"\xf8\x07\x01");
}

#[test]
fn cut_bytes_are_an_error() {
    let bytes = b"\x0a\x03foo\x10\x02";
    for length in [1, 2, 3, 4, 6] {
        assert!(KeyValue::decode(&bytes[..length]).is_err(), "{length} bytes");
    }
}

/// A value must not be copied out of the buffer it arrived in.
#[test]
fn decoded_bytes_share_the_buffer() {
    let buffer = Bytes::from_static(b"\x0a\x03foo\x2a\x03bar");
    let decoded = KeyValue::decode(buffer.clone()).expect("the bytes are well formed");
    assert_eq!(decoded.value.as_ptr(), buffer[7..].as_ptr());
}
