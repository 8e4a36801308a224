//! Revisions with very many events, and events with very many watchers.

use bytes::{Bytes, BytesMut};
use prost::Message;
use quoin_api::etcdserverpb::watch_request::RequestUnion;
use quoin_api::etcdserverpb::{
    DeleteRangeRequest, InternalRaftRequest, PutRequest, WatchCancelRequest, WatchCreateRequest,
    WatchRequest, WatchResponse,
};

use super::model::next_response;
use super::overload::hub;
use crate::store::{EntryData, Store};
use crate::watch::{WatchHub, WatchLimits, WatchStreamId};

const KEYS: usize = 20_000;
const STREAMS: usize = 30;
const LIMITS: WatchLimits = WatchLimits {
    watchers: 1 << 20,
    stream_watchers: 128 << 10,
    stream_bytes: 512 << 10,
    floor_bytes: 32 << 10,
    hub_bytes: 64 << 20,
    response_bytes: 256 << 10,
    shared_min_bytes: 8 << 10,
    slice_hits: 5_000,
    slice_bytes: 1 << 20,
    slice_events: 2_000,
};

fn apply(store: &mut Store, request: &InternalRaftRequest) {
    let entry = Bytes::from(request.encode_to_vec());
    store.apply(store.applied().0 + 1, 1, EntryData::Normal(&entry)).unwrap();
}

fn put(store: &mut Store, key: String, value: Bytes) {
    let put = PutRequest { key: Bytes::from(key), value, ..PutRequest::default() };
    apply(store, &InternalRaftRequest { put: Some(put), ..InternalRaftRequest::default() });
}

/// A store with many keys.
fn full_store() -> Store {
    let mut store = Store::new();
    (0..KEYS).for_each(|key| put(&mut store, format!("k{key:08}"), Bytes::from_static(b"value")));
    store
}

fn delete_all(store: &mut Store) {
    let (key, range_end) = (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
    let delete_range = Some(DeleteRangeRequest { key, range_end, ..DeleteRangeRequest::default() });
    apply(store, &InternalRaftRequest { delete_range, ..InternalRaftRequest::default() });
}

fn watch_all(hub: &mut WatchHub, stream: WatchStreamId, create: WatchCreateRequest) {
    let (key, range_end) = (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
    let create = WatchCreateRequest { key, range_end, ..create };
    let request_union = Some(RequestUnion::CreateRequest(create));
    hub.request(stream, WatchRequest { request_union });
}

/// Takes all responses of a stream, catching up where it must. Returns the slices it took.
fn read(hub: &mut WatchHub, stream: WatchStreamId) -> (Vec<WatchResponse>, usize) {
    let (mut bytes, mut responses, mut slices) = (BytesMut::new(), Vec::new(), 0);
    loop {
        while let Some(taken) = hub.take(stream) {
            bytes.extend_from_slice(&taken);
        }
        while let Some(response) = next_response(&mut bytes) {
            responses.push(response);
        }
        slices += 1;
        if !hub.catch_up(stream) && hub.streams[stream.0].queue.bytes() == 0 {
            break;
        }
    }
    assert!(bytes.is_empty(), "half a message waits for nothing");
    (responses, slices)
}

fn dispatch(hub: &mut WatchHub) -> usize {
    let mut slices = 1;
    while hub.dispatch() {
        slices += 1;
    }
    slices
}

/// Somebody deleted 200,000 keys with one request, which is one revision, while 60 clients watched
/// them. A slice of dispatching ended only between revisions, so the event loop of the clients'
/// thread stood still for 1.35 s; and the revision was copied to each stream, 60 times.
#[test]
fn a_large_revision_is_dispatched_in_slices_and_kept_once() {
    let (mut store, mut hub) = (full_store(), hub(LIMITS));
    let streams: Vec<WatchStreamId> = (0..STREAMS).map(|_| hub.open(store.view())).collect();
    for stream in &streams {
        watch_all(&mut hub, *stream, WatchCreateRequest::default());
        read(&mut hub, *stream);
    }
    delete_all(&mut store);
    let revision = store.view().revision();
    hub.publish(store.view());
    let slices = dispatch(&mut hub);
    let events_per_slice = LIMITS.slice_hits + STREAMS;
    assert!(slices > KEYS * STREAMS / events_per_slice, "only {slices} slices");
    let waiting = hub.streams[streams[0].0].queue.bytes();
    assert!(waiting > KEYS * 20, "{waiting} bytes wait on a stream");
    assert!(hub.queued() < 2 * waiting, "{} bytes are kept for all", hub.queued());
    for stream in streams {
        let (responses, _) = read(&mut hub, stream);
        assert_eq!(responses.len(), 1, "a revision comes in one response");
        assert_eq!(responses[0].header.as_ref().unwrap().revision, revision);
        let keys = responses[0].events.iter().map(|event| event.kv.as_ref().unwrap().key.clone());
        assert!(keys.eq((0..KEYS).map(|key| format!("k{key:08}"))));
    }
    assert_eq!(hub.queued(), 0, "shared bytes go with the last that had them");
}

/// The same for those that read the history later, each at its own pace, with previous values, and
/// in fragments.
#[test]
fn a_large_revision_is_caught_up_with_in_slices() {
    let (mut store, mut hub) = (full_store(), hub(LIMITS));
    let before = store.view().revision();
    delete_all(&mut store);
    let start_revision = store.view().revision();
    put(&mut store, "later".to_owned(), Bytes::new());
    for (prev_kv, fragment) in [(false, false), (true, false), (false, true), (true, true)] {
        let stream = hub.open(store.view());
        let create = WatchCreateRequest { start_revision, prev_kv, fragment, ..Default::default() };
        hub.options.fragment_bytes = 100_000;
        watch_all(&mut hub, stream, create);
        let (responses, slices) = read(&mut hub, stream);
        assert!(slices > KEYS / LIMITS.slice_events, "only {slices} slices");
        let events: Vec<_> = responses.iter().flat_map(|response| &response.events).collect();
        assert_eq!(events.len(), KEYS + 1);
        let had = events.iter().filter_map(|event| event.prev_kv.as_ref());
        let had: Vec<i64> = had.map(|pair| pair.mod_revision).collect();
        assert_eq!(had.len(), if prev_kv { KEYS } else { 0 });
        assert!(had.iter().all(|revision| *revision <= before));
        // Created, the revision, and the one after it.
        let marks: Vec<bool> = responses[1..].iter().map(|response| response.fragment).collect();
        let parts = marks.len() - 1;
        assert!(if fragment { parts > 2 } else { parts == 1 }, "{parts} parts");
        assert!(marks[..parts - 1].iter().all(|mark| *mark) && !marks[parts - 1]);
        hub.close(stream);
    }
}

/// Between the slices of a revision a client cancels its watcher and another creates one that begins
/// with that revision: the first gets nothing, the second everything, those beside them once.
#[test]
fn watchers_come_and_go_between_the_slices_of_a_revision() {
    let (mut store, mut hub) = (full_store(), hub(LIMITS));
    let (one, other) = (hub.open(store.view()), hub.open(store.view()));
    (0..3).for_each(|_| watch_all(&mut hub, one, WatchCreateRequest::default()));
    watch_all(&mut hub, other, WatchCreateRequest::default());
    delete_all(&mut store);
    let start_revision = store.view().revision();
    hub.publish(store.view());
    assert!(hub.dispatch() && hub.large.is_some());
    let cancel = RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 1 });
    hub.request(one, WatchRequest { request_union: Some(cancel) });
    // The place of the watcher that went is used again.
    watch_all(&mut hub, one, WatchCreateRequest { start_revision, ..Default::default() });
    hub.close(other);
    let (early, _) = read(&mut hub, one);
    dispatch(&mut hub);
    let (late, _) = read(&mut hub, one);
    let mut events = [0; 4];
    for response in early.into_iter().chain(late) {
        if let Some(count) = events.get_mut(response.watch_id as usize) {
            *count += response.events.len();
        }
    }
    assert_eq!(events, [KEYS, 0, KEYS, KEYS]);
}

/// One event that more watchers want than a slice may have is sent in slices, too; and a large value
/// is in memory once, however many streams get it.
#[test]
fn an_event_for_very_many_watchers_is_sent_in_slices() {
    let limits = WatchLimits { slice_hits: 10, ..LIMITS };
    let (mut store, mut hub) = (Store::new(), hub(limits));
    let streams: Vec<WatchStreamId> = (0..100).map(|_| hub.open(store.view())).collect();
    for stream in &streams {
        watch_all(&mut hub, *stream, WatchCreateRequest::default());
        read(&mut hub, *stream);
    }
    (0..3).for_each(|_| put(&mut store, "k".to_owned(), Bytes::from(vec![b'v'; 1 << 20])));
    hub.publish(store.view());
    assert!(dispatch(&mut hub) >= 3 * 100 / 10);
    assert!(hub.queued() < 4 << 20, "{} bytes are kept", hub.queued());
    for stream in streams {
        let (responses, _) = read(&mut hub, stream);
        let revisions = responses.iter().flat_map(|response| &response.events);
        assert!(revisions.map(|event| event.kv.as_ref().unwrap().mod_revision).eq(2..5));
    }
}
