//! What a hub says about itself.

use bytes::Bytes;
use prost::Message;
use quoin_api::etcdserverpb::watch_request::RequestUnion;
use quoin_api::etcdserverpb::{
    InternalRaftRequest, PutRequest, WatchCancelRequest, WatchCreateRequest, WatchRequest,
};

use crate::store::{EntryData, Store};
use crate::watch::{WatchHub, WatchLimits, WatchOptions, WatchStats, WatchStreamId};

fn put(store: &mut Store) {
    let put = PutRequest { key: Bytes::from_static(b"a"), ..PutRequest::default() };
    let request = InternalRaftRequest { put: Some(put), ..InternalRaftRequest::default() };
    let entry = Bytes::from(request.encode_to_vec());
    store.apply(store.applied().0 + 1, 1, EntryData::Normal(&entry)).unwrap();
}

fn request(hub: &mut WatchHub, stream: WatchStreamId, union: RequestUnion) {
    hub.request(stream, WatchRequest { request_union: Some(union) });
}

fn create(start_revision: i64) -> RequestUnion {
    let key = Bytes::from_static(b"a");
    RequestUnion::CreateRequest(WatchCreateRequest { key, start_revision, ..Default::default() })
}

fn take_all(hub: &mut WatchHub, stream: WatchStreamId) {
    while hub.take(stream).is_some() {}
}

#[test]
fn watchers_and_events_are_counted_while_they_are_there() {
    let options = WatchOptions {
        cluster_id: 1,
        member_id: 2,
        fragment_bytes: 1 << 20,
        seed: 1,
        limits: WatchLimits::default(),
    };
    let (mut store, mut hub) = (Store::new(), WatchHub::new(options));
    assert_eq!(hub.stats(), WatchStats::default());
    (0..3).for_each(|_| put(&mut store));
    let stream = hub.open(store.view());
    request(&mut hub, stream, create(0));
    request(&mut hub, stream, create(2));
    let stats = hub.stats();
    assert_eq!((stats.streams, stats.watchers, stats.behind), (1, 2, 1));
    assert_eq!((stats.queued_events, stats.taken_events), (0, 0), "answers are no events");
    assert!(stats.queued_bytes > 0);

    take_all(&mut hub, stream);
    while hub.catch_up(stream) {}
    let stats = hub.stats();
    assert_eq!((stats.behind, stats.queued_events, stats.taken_events), (0, 3, 0));
    put(&mut store);
    hub.publish(store.view());
    while hub.dispatch() {}
    assert_eq!(hub.stats().queued_events, 3 + 2);
    take_all(&mut hub, stream);
    let stats = hub.stats();
    assert_eq!((stats.queued_bytes, stats.queued_events, stats.taken_events), (0, 0, 5));

    let cancel = WatchCancelRequest { watch_id: 0 };
    request(&mut hub, stream, RequestUnion::CancelRequest(cancel));
    assert_eq!(hub.stats().watchers, 1);
    hub.close(stream);
    assert_eq!(hub.stats(), WatchStats { taken_events: 5, ..WatchStats::default() });
}
