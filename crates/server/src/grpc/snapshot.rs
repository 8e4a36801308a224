//! Maintenance.Snapshot: the state as etcd's database file, in pieces, and a checksum at the end.
//!
//! | message | blob | remaining |
//! |---|---|---|
//! | all but the last | 32 KiB of the file; the rest of it in the last of these | bytes of the file to come |
//! | last | SHA-256 of the file | 0 |
//!
//! Invariants:
//! - The file is the state after one entry, whatever is written meanwhile.
//! - Encoding runs outside of the network threads, a few messages at a time and only when the
//!   client takes them. A client that reads slowly, or not at all, holds its view and those.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use quoin_api::error::Error;
use quoin_api::etcdserverpb::SnapshotResponse;
use quoin_store::{DbExport, ExportError, View};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;
use tonic::Status;

use crate::log;
use crate::metrics::Metrics;

/// Snapshots that may be under way at once in this process. Each keeps a view alive.
const SNAPSHOTS_MAX: usize = 16;
/// Bytes of the file in one message, as in etcd.
const BLOB_BYTES: usize = 32 * 1024;
/// Messages that are made at a time.
const MESSAGES_PER_BATCH: usize = 8;

static UNDER_WAY: Semaphore = Semaphore::const_new(SNAPSHOTS_MAX);

/// The messages of one snapshot.
pub(crate) type Messages = Pin<Box<dyn Stream<Item = Result<SnapshotResponse, Status>> + Send>>;

/// Begins to send a view.
pub(super) async fn send(view: View, metrics: Arc<Metrics>) -> Result<Messages, Status> {
    send_within(&UNDER_WAY, view, metrics).await
}

async fn send_within(
    places: &'static Semaphore,
    view: View,
    metrics: Arc<Metrics>,
) -> Result<Messages, Status> {
    let timer = Timer { metrics, began: Instant::now() };
    let permit = places.try_acquire().map_err(|_| Error::TooManyRequests)?;
    let conf = view.conf();
    let export = off_thread(move || DbExport::new(view, &conf)).await?.map_err(status)?;
    log::info!("sending database snapshot to client",
        "total-bytes" => export.file_bytes(),
        "storage-version" => export.storage_version().to_owned());
    let sending = Sending::new(export, timer);
    let batches = stream::unfold(Some((sending, permit)), next_batch);
    Ok(Box::pin(batches.map(stream::iter).flatten()))
}

type Batch = Vec<Result<SnapshotResponse, Status>>;
type State = Option<(Sending, SemaphorePermit<'static>)>;

async fn next_batch(state: State) -> Option<(Batch, State)> {
    let (mut sending, permit) = state?;
    let made = off_thread(move || {
        let batch = sending.batch();
        (sending, batch)
    });
    match made.await {
        Ok((sending, Ok(batch))) if batch.is_empty() => {
            log::info!("successfully sent database snapshot to client",
                "total-bytes" => sending.sent);
            None
        }
        Ok((sending, Ok(batch))) => {
            Some((batch.into_iter().map(Ok).collect(), Some((sending, permit))))
        }
        Ok((_, Err(status))) | Err(status) => {
            log::warn!("failed to send a database snapshot", "error" => status.message().to_owned());
            Some((vec![Err(status)], None))
        }
    }
}

/// Runs work that a network thread must not wait for.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    spawn_blocking(work).await.map_err(|_| Status::from(Error::Stopped))
}

fn status(error: ExportError) -> Status {
    match error {
        ExportError::Read(error) => error.into(),
        ExportError::Write(_) => Status::internal(error.to_string()),
    }
}

/// A snapshot of which some messages were made.
struct Sending {
    export: DbExport,
    /// Bytes of the file that are not in a message yet.
    waiting: BytesMut,
    sent: u64,
    storage_version: String,
    hash: Sha256,
    is_finished: bool,
    _timer: Timer,
}

/// Measures how long a snapshot takes, also one that its client does not want to the end.
struct Timer {
    metrics: Arc<Metrics>,
    began: Instant,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.metrics.disk.backup.observe(self.began.elapsed());
    }
}

impl Sending {
    fn new(export: DbExport, timer: Timer) -> Self {
        let storage_version = export.storage_version().to_owned();
        let (waiting, hash) = (BytesMut::new(), Sha256::new());
        let is_finished = false;
        Self { export, waiting, sent: 0, storage_version, hash, is_finished, _timer: timer }
    }

    /// Makes the next messages; none after the last.
    fn batch(&mut self) -> Result<Vec<SnapshotResponse>, Status> {
        let mut batch = Vec::with_capacity(MESSAGES_PER_BATCH);
        while batch.len() < MESSAGES_PER_BATCH && !self.is_finished {
            batch.push(self.message()?);
        }
        Ok(batch)
    }

    fn message(&mut self) -> Result<SnapshotResponse, Status> {
        while self.waiting.len() < BLOB_BYTES {
            match self.export.next() {
                Some(chunk) => self.waiting.extend_from_slice(&chunk.map_err(status)?),
                None => break,
            }
        }
        let blob = self.waiting.split_to(self.waiting.len().min(BLOB_BYTES)).freeze();
        if blob.is_empty() {
            self.is_finished = true;
            let hash = std::mem::take(&mut self.hash).finalize();
            return Ok(self.response(0, Bytes::copy_from_slice(&hash)));
        }
        self.hash.update(&blob);
        self.sent += blob.len() as u64;
        let remaining = self.export.file_bytes().saturating_sub(self.sent);
        Ok(self.response(remaining, blob))
    }

    fn response(&self, remaining_bytes: u64, blob: Bytes) -> SnapshotResponse {
        SnapshotResponse {
            header: None,
            remaining_bytes,
            blob,
            version: self.storage_version.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use quoin_api::etcdserverpb::{InternalRaftRequest, PutRequest};
    use quoin_api::membershippb::ClusterVersionSetRequest;
    use quoin_store::{EntryData, Store};

    use super::*;

    fn metrics() -> Arc<Metrics> {
        Arc::new(Metrics::new(false))
    }

    fn view() -> View {
        let mut store = Store::new();
        let ver = "3.7.0".to_owned();
        let cluster_version_set = Some(ClusterVersionSetRequest { ver });
        let mut requests = vec![InternalRaftRequest { cluster_version_set, ..Default::default() }];
        for n in 0..40_u8 {
            let (key, value) = (Bytes::from(vec![n]), Bytes::from(vec![n; 20_000]));
            let put = Some(PutRequest { key, value, ..PutRequest::default() });
            requests.push(InternalRaftRequest { put, ..Default::default() });
        }
        for (index, request) in (1..).zip(requests) {
            let entry = Bytes::from(request.encode_to_vec());
            store.apply(index, 1, EntryData::Normal(&entry)).expect("the request is understood");
        }
        store.view()
    }

    #[tokio::test]
    async fn pieces_make_the_file_and_its_checksum() {
        let view = view();
        let export = DbExport::new(view.clone(), &view.conf()).unwrap();
        let expected = export.map(Result::unwrap).collect::<Vec<_>>().concat();
        let messages: Vec<_> =
            send(view, metrics()).await.unwrap().map(Result::unwrap).collect().await;
        let (last, pieces) = messages.split_last().unwrap();
        let mut file = Vec::new();
        for piece in pieces {
            assert!(piece.blob.len() <= BLOB_BYTES);
            file.extend_from_slice(&piece.blob);
            assert_eq!(piece.remaining_bytes, (expected.len() - file.len()) as u64);
            assert_eq!(piece.version, "3.7.0");
        }
        assert!(pieces.len() > 2 * MESSAGES_PER_BATCH);
        assert_eq!(file, expected);
        assert_eq!(last.blob, Sha256::digest(&file).as_slice());
        assert_eq!(last.remaining_bytes, 0);
    }

    /// A client that goes away, and one that was never asked for, must give back their places.
    #[tokio::test]
    async fn snapshots_under_way_are_bounded() {
        static PLACES: Semaphore = Semaphore::const_new(2);
        let mut held = Vec::new();
        let refused = loop {
            match send_within(&PLACES, view(), metrics()).await {
                Ok(messages) => held.push(messages),
                Err(status) => break status,
            }
            assert!(held.len() <= 2);
        };
        assert_eq!(refused.message(), Error::TooManyRequests.message());
        held.clear();
        assert!(send_within(&PLACES, view(), metrics()).await.is_ok());
    }
}
