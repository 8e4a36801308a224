//! Hubs that panic.

use std::task::Waker;

use quoin_api::etcdserverpb::WatchCreateRequest;
use quoin_api::etcdserverpb::watch_request::RequestUnion;
use quoin_node::RequestIds;
use quoin_node::raft::NodeId;
use quoin_store::Store;

use super::*;
use crate::member::Limits;
use crate::metrics::Metrics;

fn shard() -> Shard {
    let limits = Limits { request_bytes: 1 << 20, txn_ops: 128, min_lease_ttl_s: 1 };
    let (inputs, _) = std::sync::mpsc::sync_channel(1);
    let metrics = Arc::new(Metrics::new(false));
    let ids = RequestIds::new(NodeId(7), 0);
    let view = Store::new().view();
    let member = Arc::new(Member::new((7, 1), (limits, metrics), ids, inputs, view));
    Shard::new(&member, &Config::default())
}

fn create() -> WatchRequest {
    let create = WatchCreateRequest { key: "a".into(), ..WatchCreateRequest::default() };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

fn poll(shard: &Shard, id: StreamId) -> Poll<Result<Bytes, Status>> {
    shard.poll_responses(id, &mut Context::from_waker(Waker::noop()))
}

/// After a panic in a hub its streams were never woken again, and said nothing for ever; whoever
/// touched the hub next, to show metrics or to open another stream, panicked as well.
#[test]
fn the_streams_of_a_hub_that_panicked_end_and_others_begin() {
    let shard = shard();
    let old: Vec<StreamId> = (0..3).map(|_| shard.open(false).expect("the member runs")).collect();
    shard.request(old[0], create());
    assert!(matches!(poll(&shard, old[0]), Poll::Ready(Ok(_))));
    for id in &old {
        assert!(poll(&shard, *id).is_pending());
    }
    assert_eq!(shard.with_hub(|_| -> usize { panic!("an invariant broke") }), None);

    let new = shard.open(false).expect("there is a new hub");
    shard.request(new, create());
    assert!(matches!(poll(&shard, new), Poll::Ready(Ok(_))));
    // The old streams have nothing to do with the new hub, whatever their numbers.
    shard.request(old[0], create());
    assert!(!shard.has_room(old[0]));
    for id in old {
        let Poll::Ready(Err(status)) = poll(&shard, id) else { panic!("{id:?} says nothing") };
        assert_eq!((status.code(), status.message()), (Code::Unavailable, HUB_BROKE));
        shard.close(id);
    }
    assert_eq!((shard.stats().streams, shard.stats().watchers), (1, 1));
    shard.close(new);
    assert_eq!(shard.stats().streams, 0);
}
