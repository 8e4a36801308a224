//! A history that cannot be read: whoever needs it is told so, and is never left without an event.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Buf;
use prost::Message;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::watch_request::RequestUnion;
use quoin_api::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use quoin_vfs::{Fault, FaultFs, FileSystem, MemFs, OpKind};

use super::overload::{hub, put};
use crate::checkpoint::{Checkpoint, ConfState};
use crate::store::Store;
use crate::watch::{WatchHub, WatchLimits, WatchStreamId};

const DIR: &str = "/store";
/// Revisions 2 to this one are in files.
const NEWEST: i64 = 120;
const OLD: i64 = 1;
const OLD_WITH_PREVIOUS: i64 = 2;
const SYNCED: i64 = 3;

/// A store whose whole history is in files, and the file system that they are read from.
fn cold_store() -> (Store, FaultFs) {
    let fs = FaultFs::new(Arc::new(MemFs::new()));
    let dir = Path::new(DIR);
    fs.create_dir_all(dir).unwrap();
    let mut store = Store::new();
    for _ in 2..=NEWEST {
        put(&mut store);
    }
    store.checkpoint(ConfState::default()).write(&fs, dir).unwrap();
    let loaded = Checkpoint::load_newest(&fs, dir).unwrap().unwrap();
    fs.count_only(&[OpKind::Read]);
    (loaded.store, fs)
}

fn watch(hub: &mut WatchHub, stream: WatchStreamId, watch_id: i64, start_revision: i64) {
    let create = WatchCreateRequest {
        key: "a".into(),
        watch_id,
        start_revision,
        prev_kv: watch_id == OLD_WITH_PREVIOUS,
        ..WatchCreateRequest::default()
    };
    let request_union = Some(RequestUnion::CreateRequest(create));
    hub.request(stream, WatchRequest { request_union });
}

/// What a watcher was told.
#[derive(Debug, Default)]
struct Told {
    revisions: Vec<i64>,
    cancelled: Option<(i64, String)>,
}

/// Lets a stream catch up and takes all that it is told.
fn drain(hub: &mut WatchHub, stream: WatchStreamId, told: &mut BTreeMap<i64, Told>) {
    loop {
        while hub.dispatch() {}
        let more = hub.catch_up(stream);
        let taken = hub.take(stream);
        let is_done = !more && taken.is_none();
        let mut bytes = taken.unwrap_or_default();
        while bytes.has_remaining() {
            bytes.advance(1);
            let length = bytes.get_u32() as usize;
            let response = WatchResponse::decode(bytes.split_to(length)).unwrap();
            let told = told.entry(response.watch_id).or_default();
            assert_eq!(told.cancelled, None, "nothing follows the end of a watcher");
            for event in response.events {
                let revision = event.kv.unwrap().mod_revision;
                if response.watch_id == OLD_WITH_PREVIOUS && revision > 2 {
                    assert_eq!(event.prev_kv.unwrap().mod_revision, revision - 1);
                }
                told.revisions.push(revision);
            }
            if response.canceled {
                told.cancelled = Some((response.compact_revision, response.cancel_reason));
            }
        }
        if is_done {
            return;
        }
    }
}

/// Watches from the beginning while reads fail as `fail` says, which may be that they go on failing.
fn check(goes_on: bool, fail: impl FnOnce(&FaultFs)) {
    let (mut store, fs) = cold_store();
    let limits = WatchLimits { slice_hits: 16, response_bytes: 4_000, ..WatchLimits::default() };
    let mut hub = hub(limits);
    let stream = hub.open(store.view());
    watch(&mut hub, stream, OLD, 2);
    watch(&mut hub, stream, OLD_WITH_PREVIOUS, 2);
    watch(&mut hub, stream, SYNCED, 0);
    let mut told = BTreeMap::new();
    fail(&fs);
    drain(&mut hub, stream, &mut told);
    fs.heal();
    put(&mut store);
    hub.publish(store.view());
    drain(&mut hub, stream, &mut told);
    for id in [OLD, OLD_WITH_PREVIOUS] {
        let Told { revisions, cancelled } = &told[&id];
        assert!(revisions.iter().copied().eq((2..).take(revisions.len())), "{id}: {revisions:?}");
        match cancelled {
            Some(cancelled) => {
                assert!(fs.failed() > 0, "{id}: nothing failed");
                assert_eq!(*cancelled, (0, Error::Corrupt.message().to_owned()), "{id}");
            }
            None => {
                assert!(!goes_on || fs.failed() == 0, "{id}: a read failed, again and again");
                assert_eq!(revisions.last(), Some(&(NEWEST + 1)), "{id}");
            }
        }
        // The client goes on from there, and misses nothing.
        let next = 2 + revisions.len() as i64;
        let again = id + 10;
        watch(&mut hub, stream, again, next);
        drain(&mut hub, stream, &mut told);
        assert!(told[&again].revisions.iter().copied().eq(next..=NEWEST + 1), "{id} from {next}");
    }
    assert_eq!(told[&SYNCED].revisions, [NEWEST + 1], "it needs no history");
    assert_eq!(told[&SYNCED].cancelled, None);
}

#[test]
fn a_read_that_fails_once_is_tried_again_or_ends_the_watchers() {
    let (_, fs) = cold_store();
    assert_eq!(fs.count(), 0);
    check(false, |_| ());
    for nth in 1..12 {
        println!("read {nth} fails");
        check(false, |fs| fs.fail_nth(nth, Fault::Device));
    }
}

#[test]
fn reads_that_go_on_failing_end_the_watchers_that_need_them() {
    for reads in [0, 1, 2, 5, 9] {
        println!("reads fail after {reads}");
        check(true, |fs| fs.fail_after(reads, Fault::Device));
    }
}
