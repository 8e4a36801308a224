//! Clients that do not read: what waits for them is bounded, whatever is written.

use bytes::{Buf, Bytes};
use prost::Message;
use quoin_api::etcdserverpb::watch_request::RequestUnion;
use quoin_api::etcdserverpb::{
    CompactionRequest, InternalRaftRequest, PutRequest, WatchCancelRequest, WatchCreateRequest,
    WatchRequest, WatchResponse,
};

use crate::store::{EntryData, Store};
use crate::watch::{WatchHub, WatchLimits, WatchOptions, WatchStreamId};

const VALUE_BYTES: usize = 1000;
/// A put of such a value, in a response.
const RESPONSE_BYTES: usize = VALUE_BYTES + 100;

pub(super) fn hub(limits: WatchLimits) -> WatchHub {
    WatchHub::new(WatchOptions {
        cluster_id: 1,
        member_id: 2,
        fragment_bytes: 1 << 20,
        seed: 1,
        limits,
    })
}

fn watch(hub: &mut WatchHub, stream: WatchStreamId, key: &'static [u8]) {
    let key = Bytes::from_static(key);
    let create = WatchCreateRequest { key, ..WatchCreateRequest::default() };
    let request_union = Some(RequestUnion::CreateRequest(create));
    hub.request(stream, WatchRequest { request_union });
}

pub(super) fn put(store: &mut Store) {
    let (key, value) = (Bytes::from_static(b"a"), Bytes::from(vec![b'v'; VALUE_BYTES]));
    let put = Some(PutRequest { key, value, ..PutRequest::default() });
    apply(store, &InternalRaftRequest { put, ..InternalRaftRequest::default() });
}

fn compact(store: &mut Store) {
    let compaction = Some(CompactionRequest { revision: store.view().revision(), physical: false });
    apply(store, &InternalRaftRequest { compaction, ..InternalRaftRequest::default() });
}

fn apply(store: &mut Store, request: &InternalRaftRequest) {
    let entry = request.encode_to_vec();
    let index = store.applied().0 + 1;
    store.apply(index, 1, EntryData::Normal(&Bytes::from(entry))).unwrap();
}

#[test]
fn streams_share_what_may_wait() {
    const STREAMS: usize = 50;
    let limits = WatchLimits {
        stream_bytes: 20_000,
        floor_bytes: 3_000,
        hub_bytes: 200_000,
        ..WatchLimits::default()
    };
    let (mut store, mut hub) = (Store::new(), hub(limits));
    let streams: Vec<WatchStreamId> = (0..STREAMS).map(|_| hub.open(store.view())).collect();
    streams.iter().for_each(|stream| watch(&mut hub, *stream, b"a"));
    for _ in 0..200 {
        put(&mut store);
        hub.publish(store.view());
        while hub.dispatch() {}
        let bound = limits.hub_bytes + STREAMS * (limits.floor_bytes + RESPONSE_BYTES);
        assert!(hub.queued() < bound, "{} bytes wait", hub.queued());
        for stream in &streams {
            let waiting = hub.streams[stream.0].queue.bytes();
            assert!(waiting < limits.stream_bytes + RESPONSE_BYTES, "{waiting} bytes wait");
        }
    }
    // All of them get everything once they read.
    for stream in streams {
        let mut bytes = 0;
        loop {
            let more = hub.catch_up(stream);
            match hub.take(stream) {
                Some(chunk) => bytes += chunk.len(),
                None if !more => break,
                None => {}
            }
        }
        assert!(bytes > 200 * VALUE_BYTES);
    }
    assert_eq!(hub.queued(), 0);
}

#[test]
fn idle_streams_hold_no_bytes_and_no_view() {
    let (mut store, mut hub) = (Store::new(), hub(WatchLimits::default()));
    let stream = hub.open(store.view());
    watch(&mut hub, stream, b"a");
    put(&mut store);
    hub.publish(store.view());
    while hub.dispatch() {}
    assert_eq!(hub.take_ready(), [stream]);
    while hub.take(stream).is_some() {}
    assert_eq!(hub.queued(), 0);
    assert!(hub.take_ready().is_empty());
    hub.close(stream);
    hub.publish(store.view());
    assert!(hub.views.is_empty(), "a hub without streams keeps nothing in memory");
}

/// Entries are applied in batches, and a compaction may be in the midst of one, right behind writes
/// that no watcher was told yet.
#[test]
fn compaction_within_a_batch_takes_nothing_from_synced_watchers() {
    let (mut store, mut hub) = (Store::new(), hub(WatchLimits::default()));
    let stream = hub.open(store.view());
    watch(&mut hub, stream, b"a");
    for _ in 0..5 {
        put(&mut store);
        put(&mut store);
        compact(&mut store);
        while store.collect(100) {}
    }
    store.take_passed().into_iter().for_each(|view| hub.publish(view));
    hub.publish(store.view());
    while hub.dispatch() {}
    let mut events = Vec::new();
    while let Some(mut bytes) = hub.take(stream) {
        while bytes.has_remaining() {
            bytes.advance(1);
            let length = bytes.get_u32() as usize;
            let response = WatchResponse::decode(bytes.split_to(length)).unwrap();
            events.extend(response.events.into_iter().map(|event| event.kv.unwrap().mod_revision));
        }
    }
    assert_eq!(events, (2..12).collect::<Vec<i64>>());
}

/// Takes all that waits on a stream, and returns the IDs of watchers that were created and why
/// others were not.
fn answers(hub: &mut WatchHub, stream: WatchStreamId) -> Vec<Result<i64, String>> {
    let mut answers = Vec::new();
    while let Some(mut bytes) = hub.take(stream) {
        while bytes.has_remaining() {
            bytes.advance(1);
            let length = bytes.get_u32() as usize;
            let response = WatchResponse::decode(bytes.split_to(length)).unwrap();
            match (response.created, response.canceled) {
                (true, false) => answers.push(Ok(response.watch_id)),
                (true, true) => {
                    assert_eq!(response.watch_id, -1);
                    answers.push(Err(response.cancel_reason));
                }
                (false, _) => {}
            }
        }
    }
    answers
}

#[test]
fn watchers_are_bounded_on_a_stream_and_in_all() {
    let too_many = || Err("etcdserver: too many watchers".to_owned());
    let limits = WatchLimits { watchers: 5, stream_watchers: 3, ..WatchLimits::default() };
    let (store, mut hub) = (Store::new(), hub(limits));
    let (one, other) = (hub.open(store.view()), hub.open(store.view()));
    (0..4).for_each(|_| watch(&mut hub, one, b"a"));
    assert_eq!(answers(&mut hub, one), [Ok(0), Ok(1), Ok(2), too_many()]);
    (0..3).for_each(|_| watch(&mut hub, other, b"a"));
    assert_eq!(answers(&mut hub, other), [Ok(0), Ok(1), too_many()]);
    // A refusal takes no place, and a watcher that is cancelled gives its own back.
    let cancel = WatchCancelRequest { watch_id: 1 };
    let request_union = Some(RequestUnion::CancelRequest(cancel));
    hub.request(one, WatchRequest { request_union });
    watch(&mut hub, other, b"a");
    assert_eq!(answers(&mut hub, other), [Ok(2)]);
    watch(&mut hub, one, b"a");
    assert_eq!(answers(&mut hub, one), [too_many()]);
    // So does a stream that is closed.
    hub.close(other);
    (0..2).for_each(|_| watch(&mut hub, one, b"a"));
    assert_eq!(answers(&mut hub, one), [Ok(3), too_many()]);
    assert_eq!(hub.watchers(), 3);
}
