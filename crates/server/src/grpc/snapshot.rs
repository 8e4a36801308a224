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
//!   client takes them. A client that reads slowly holds its view and those.
//! - A client that takes nothing does not hold them for ever: a snapshot of which nothing is taken for
//!   [`STALL_MAX`] is given up if another waits for its place, and after [`IDLE_MAX`] in any case.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use quoin_api::error::Error;
use quoin_api::etcdserverpb::SnapshotResponse;
use quoin_store::{DbExport, ExportError, View};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tonic::Status;

use crate::log;
use crate::member::Member;
use crate::metrics::Metrics;

/// Snapshots that may be under way at once in this process. Each keeps a view alive.
const SNAPSHOTS_MAX: usize = 16;
/// How long a snapshot may wait for a place.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a client may take nothing of its snapshot while another waits. Less than that waits.
const STALL_MAX: Duration = Duration::from_secs(20);
/// How long a client may take nothing of its snapshot in any case: the view keeps alive what
/// compactions took from the store since.
const IDLE_MAX: Duration = Duration::from_secs(120);
/// How often somebody looks for snapshots of which nothing is taken.
const STALL_POLL: Duration = Duration::from_secs(1);
/// Bytes of the file in one message, as in etcd.
const BLOB_BYTES: usize = 32 * 1024;
/// Messages that are made at a time.
const MESSAGES_PER_BATCH: usize = 8;

static UNDER_WAY: Places = Places::new(SNAPSHOTS_MAX);

/// The places of snapshots under way.
struct Places {
    free: Semaphore,
    /// Snapshots that wait for a place.
    waiting: AtomicUsize,
}

/// The messages of one snapshot.
pub(crate) type Messages = Pin<Box<dyn Stream<Item = Result<SnapshotResponse, Status>> + Send>>;

/// Begins to send the newest view.
pub(super) async fn send(member: &Member) -> Result<Messages, Status> {
    let (view, metrics) = (|| View::clone(&member.view()), Arc::clone(&member.metrics));
    send_within(&UNDER_WAY, view, metrics).await
}

async fn send_within(
    places: &'static Places,
    view: impl FnOnce() -> View,
    metrics: Arc<Metrics>,
) -> Result<Messages, Status> {
    let timer = Timer { metrics, began: Instant::now() };
    let permit = places.enter().await?;
    // Whoever waits for a place holds no view.
    let view = view();
    let conf = view.conf();
    let export = off_thread(move || DbExport::new(view, &conf)).await?.map_err(status)?;
    log::info!("sending database snapshot to client",
        "total-bytes" => export.file_bytes(),
        "storage-version" => export.storage_version().to_owned());
    let sending = Box::new((Sending::new(export, timer), permit));
    let offer = Arc::new(Mutex::new(Offer { sending: Some(sending), taken: Instant::now() }));
    tokio::spawn(give_up_stalled(places, Arc::downgrade(&offer)));
    let batches = stream::unfold(Some(offer), next_batch);
    Ok(Box::pin(batches.map(stream::iter).flatten()))
}

impl Places {
    const fn new(places: usize) -> Self {
        Self { free: Semaphore::const_new(places), waiting: AtomicUsize::new(0) }
    }

    async fn enter(&'static self) -> Result<SemaphorePermit<'static>, Error> {
        if let Ok(permit) = self.free.try_acquire() {
            return Ok(permit);
        }
        let waits = Waits::begin(&self.waiting);
        let permit = tokio::time::timeout(WAIT_MAX, self.free.acquire()).await;
        drop(waits);
        permit.map_err(|_| Error::TooManyRequests)?.map_err(|_| Error::Stopped)
    }
}

/// Somebody waits, until this is dropped.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

type Batch = Vec<Result<SnapshotResponse, Status>>;
type Place = Box<(Sending, SemaphorePermit<'static>)>;

/// What a client is offered. It is not in the stream alone, so that it can be given up while the
/// connection waits for its client and does not look at the stream.
struct Offer {
    /// Nothing while messages are made, and when it was given up.
    sending: Option<Place>,
    /// When the client last took something.
    taken: Instant,
}

fn lock(offer: &Mutex<Offer>) -> MutexGuard<'_, Offer> {
    offer.lock().expect("nothing panics while it is locked")
}

/// Gives up a snapshot of which nothing is taken. Ends with the snapshot.
async fn give_up_stalled(places: &'static Places, offer: Weak<Mutex<Offer>>) {
    loop {
        tokio::time::sleep(STALL_POLL).await;
        let Some(offer) = offer.upgrade() else { return };
        let is_wanted = places.waiting.load(Ordering::Relaxed) > 0;
        let mut offer = lock(&offer);
        let stalled_max = if is_wanted { STALL_MAX } else { IDLE_MAX };
        if offer.taken.elapsed() >= stalled_max && offer.sending.take().is_some() {
            log::warn!("gave up a database snapshot that its client does not take");
            return;
        }
    }
}

type State = Option<Arc<Mutex<Offer>>>;

async fn next_batch(state: State) -> Option<(Batch, State)> {
    let offer = state?;
    let Some(mut place) = lock(&offer).sending.take() else {
        let text = "etcdserver: the snapshot was not taken in time";
        return Some((vec![Err(Status::resource_exhausted(text))], None));
    };
    let made = off_thread(move || {
        let batch = place.0.batch();
        (place, batch)
    });
    match made.await {
        Ok((place, Ok(batch))) if batch.is_empty() => {
            log::info!("successfully sent database snapshot to client",
                "total-bytes" => place.0.sent);
            None
        }
        Ok((place, Ok(batch))) => {
            *lock(&offer) = Offer { sending: Some(place), taken: Instant::now() };
            Some((batch.into_iter().map(Ok).collect(), Some(offer)))
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
        let messages: Vec<_> = send_within(&UNDER_WAY, || view, metrics())
            .await
            .unwrap()
            .map(Result::unwrap)
            .collect()
            .await;
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

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().start_paused(true).build().unwrap().block_on(future)
    }

    /// Clients that take nothing of their snapshots held all places, each with a view, and no backup
    /// could be made until they went away.
    #[test]
    fn a_snapshot_that_nobody_takes_makes_place_for_another() {
        static PLACES: Places = Places::new(2);
        block_on(async {
            let mut slow = send_within(&PLACES, view, metrics()).await.unwrap();
            let mut stalled = send_within(&PLACES, view, metrics()).await.unwrap();
            assert!(slow.next().await.unwrap().is_ok() && stalled.next().await.unwrap().is_ok());
            let reading = async {
                // One batch in a while is enough to keep its place.
                let mut messages = 1;
                while let Some(message) = slow.next().await {
                    messages += usize::from(message.is_ok());
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                messages
            };
            let waiting = async {
                let taken = send_within(&PLACES, view, metrics()).await.unwrap();
                assert_eq!(PLACES.waiting.load(Ordering::Relaxed), 0);
                taken.filter(|message| std::future::ready(message.is_ok())).count().await
            };
            let (read, taken) = tokio::join!(reading, waiting);
            assert_eq!(read, taken, "both are whole");
            let rest: Vec<_> = stalled.collect().await;
            let (end, before) = rest.split_last().unwrap();
            assert!(before.iter().all(Result::is_ok) && before.len() < MESSAGES_PER_BATCH);
            assert_eq!(end.as_ref().unwrap_err().code(), tonic::Code::ResourceExhausted);
        });
    }

    /// A view keeps alive what compactions took from the store, so nobody may hold one for ever, also
    /// if nobody waits.
    #[test]
    fn a_snapshot_that_is_not_taken_ends() {
        static PLACES: Places = Places::new(2);
        block_on(async {
            let _stalled = send_within(&PLACES, view, metrics()).await.unwrap();
            tokio::time::sleep(IDLE_MAX - 2 * STALL_POLL).await;
            assert_eq!(PLACES.free.available_permits(), 1);
            tokio::time::sleep(4 * STALL_POLL).await;
            assert_eq!(PLACES.free.available_permits(), 2);
        });
    }

    /// A client that goes away, and one that was never asked for, must give back their places.
    #[test]
    fn snapshots_under_way_are_bounded() {
        static PLACES: Places = Places::new(2);
        block_on(async {
            let first = send_within(&PLACES, view, metrics()).await.unwrap();
            let second = send_within(&PLACES, view, metrics()).await.unwrap();
            drop((first, second));
            assert_eq!(PLACES.free.available_permits(), 2);
        });
    }
}
