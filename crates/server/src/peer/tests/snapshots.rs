//! Database snapshots between members.

use std::io;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc::{Sender, channel};

use super::harness::{Event, Member, snapshot};
use crate::peer::SnapshotSource;

const CHUNKS: usize = 40;
const CHUNK_BYTES: usize = 128 * 1024;

fn database() -> SnapshotSource {
    let chunk = Bytes::from(vec![7; CHUNK_BYTES]);
    Box::pin(stream::iter((0..CHUNKS).map(move |_| Ok(chunk.clone()))))
}

/// A database that consists of what the test sends.
fn held_database() -> (Sender<io::Result<Bytes>>, SnapshotSource) {
    let (sender, receiver) = channel(1);
    let chunks = stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    });
    (sender, Box::pin(chunks))
}

async fn pair() -> (Member, Member) {
    let (one, two) = (Member::start(1).await, Member::start(2).await);
    one.knows(&two);
    (one, two)
}

#[tokio::test]
async fn a_snapshot_arrives_whole() {
    let (mut one, mut two) = pair().await;
    let header = snapshot(1, 2, 77);
    one.transport.send_snapshot(2, header.clone(), database());
    let arrived = Event::Snapshot(header, Ok(CHUNKS * CHUNK_BYTES));
    two.hears(|event| *event == arrived).await;
    one.hears(|event| *event == Event::SnapshotStatus(2, true)).await;
    assert!(one.transport.active_since(2).is_some());
}

#[tokio::test]
async fn an_empty_database_arrives() {
    let (mut one, mut two) = pair().await;
    one.transport.send_snapshot(2, snapshot(1, 2, 78), Box::pin(stream::empty()));
    let arrived = Event::Snapshot(snapshot(1, 2, 78), Ok(0));
    two.hears(|event| *event == arrived).await;
    one.hears(|event| *event == Event::SnapshotStatus(2, true)).await;
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_stored_has_failed() {
    let (mut one, two) = pair().await;
    two.recorder.full.store(true, Ordering::Relaxed);
    one.transport.send_snapshot(2, snapshot(1, 2, 79), database());
    one.hears(|event| *event == Event::Unreachable(2)).await;
    one.hears(|event| *event == Event::SnapshotStatus(2, false)).await;
}

/// The receiver must not take what was sent before the error for the whole database.
#[tokio::test]
async fn a_database_that_breaks_off_is_no_snapshot() {
    let (mut one, mut two) = pair().await;
    let (chunks, held) = held_database();
    one.transport.send_snapshot(2, snapshot(1, 2, 80), held);
    chunks.send(Ok(Bytes::from_static(b"half"))).await.expect("it is under way");
    two.logs("receiving database snapshot", "").await;
    chunks.send(Err(io::Error::other("the disk is gone"))).await.expect("it is under way");
    two.hears(|event| matches!(event, Event::Snapshot(_, Err(_)))).await;
    one.hears(|event| *event == Event::SnapshotStatus(2, false)).await;
}

#[tokio::test]
async fn one_snapshot_at_a_time_goes_to_a_peer() {
    let (mut one, mut two) = pair().await;
    let (chunks, held) = held_database();
    one.transport.send_snapshot(2, snapshot(1, 2, 81), held);
    one.transport.send_snapshot(2, snapshot(1, 2, 82), database());
    one.hears(|event| *event == Event::SnapshotStatus(2, false)).await;
    chunks.send(Ok(Bytes::from_static(b"all"))).await.expect("the first is under way");
    drop(chunks);
    let arrived = Event::Snapshot(snapshot(1, 2, 81), Ok(3));
    two.hears(|event| *event == arrived).await;
    one.hears(|event| *event == Event::SnapshotStatus(2, true)).await;
    one.transport.send_snapshot(9, snapshot(1, 9, 82), database());
    one.hears(|event| *event == Event::SnapshotStatus(9, false)).await;
}
