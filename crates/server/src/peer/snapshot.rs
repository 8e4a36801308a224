//! Database snapshots: one POST whose body is the message and the whole database behind it.
//!
//! | body | bytes |
//! |---|---|
//! | message | u64 length (big endian), MsgSnap |
//! | database | the rest, to the end of the body |
//!
//! Neither end keeps more of the database in memory than one chunk. Whoever produces the chunks
//! must not pause for [`limits::IO_DEADLINE`]: the receiver gives up then.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use quoin_api::raftpb::Message;
use tokio::time::timeout;

use super::codec::{self, FrameError, MessageDecoder};
use super::dial::{self, Connection, DialError, RequestBody, Silence};
use super::link::Link;
use super::{Inbound, headers, limits, pipeline};
use crate::record;

/// The database of a snapshot to send, in chunks.
pub type SnapshotSource = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// The path that takes snapshots.
pub(super) const PATH: &str = "/raft/snapshot";

/// Sends one snapshot and reports how that ended.
pub(super) async fn send(link: Arc<Link>, header: Message, database: SnapshotSource) {
    let index = index(&header);
    let progress = Arc::new(AtomicU64::new(0));
    let url = link.pick();
    link.log(record!(Info, "sending database snapshot", "snapshot-index" => index));
    let body = body(&header, database, Arc::clone(&progress));
    let result = async {
        let request = dial::post(&link.shared, &url, PATH, "application/octet-stream", body);
        let mut connection = dial::connect(&link.shared, &url, Silence::IsFine).await?;
        let Connection { sender, driver } = &mut connection;
        let (status, cluster, answer) = dial::drive(driver, async {
            let sending = sender.send_request(request);
            let response = while_progressing(&progress, sending).await??;
            let status = response.status();
            let cluster = headers::text(response.headers(), &headers::CLUSTER_ID).to_owned();
            let answer = timeout(limits::IO_DEADLINE, dial::answer(response)).await;
            Ok((status, cluster, answer.unwrap_or(Err(no_answer(limits::IO_DEADLINE)))?))
        })
        .await?;
        pipeline::judge(&link, PATH, status, &cluster, &answer)
    };
    match result.await {
        Ok(()) => {
            link.activate();
            let bytes = progress.load(Ordering::Relaxed);
            link.sent(bytes);
            link.shared.inbound.snapshot_status(link.id, true);
            link.log(record!(
                Info, "sent database snapshot", "snapshot-index" => index, "bytes" => bytes,
            ));
        }
        Err(error) => {
            link.log(record!(
                Warn, "failed to send database snapshot",
                "snapshot-index" => index,
                "bytes" => progress.load(Ordering::Relaxed),
                "error" => error.to_string(),
            ));
            link.url_failed(&url);
            link.deactivate("sendMsgSnap", "post", &error);
            link.lost(true);
        }
    }
}

/// Waits for a future that must not stand still: the peer may take long for a large database, but
/// a peer that takes nothing and says nothing is given up.
async fn while_progressing<F: Future>(
    progress: &AtomicU64,
    future: F,
) -> Result<F::Output, DialError> {
    let mut future = std::pin::pin!(future);
    let mut seen = progress.load(Ordering::Relaxed);
    loop {
        if let Ok(output) = timeout(limits::SNAPSHOT_ANSWER_DEADLINE, &mut future).await {
            return Ok(output);
        }
        let now = progress.load(Ordering::Relaxed);
        if now == seen {
            return Err(no_answer(limits::SNAPSHOT_ANSWER_DEADLINE));
        }
        seen = now;
    }
}

fn no_answer(limit: Duration) -> DialError {
    DialError::Answer(format!("nothing within {limit:?}"))
}

/// Returns the body that carries a snapshot, counting the bytes that were taken from it.
fn body(header: &Message, database: SnapshotSource, progress: Arc<AtomicU64>) -> RequestBody {
    let mut envelope = BytesMut::new();
    codec::encode_message(header, &mut envelope);
    let chunks = stream::once(async { Ok(envelope.freeze()) }).chain(database);
    let frames = chunks.map(move |chunk| {
        chunk.map(|bytes| {
            progress.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            Frame::data(bytes)
        })
    });
    StreamBody::new(frames).boxed_unsync()
}

/// Returns the last index that a snapshot covers.
pub(super) fn index(header: &Message) -> u64 {
    let metadata = header.snapshot.as_ref().and_then(|snapshot| snapshot.metadata.as_ref());
    metadata.map_or(0, |metadata| metadata.index)
}

/// The database of a snapshot that is being received.
pub struct SnapshotBody {
    first: Option<Bytes>,
    rest: Incoming,
    link: Option<Arc<Link>>,
}

/// Why the head of a snapshot could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Read(#[from] io::Error),
    #[error("the sender {0:x} is no member of this cluster")]
    Stranger(u64),
}

impl SnapshotBody {
    /// Reads the message in front of the database, which may be long, and so only if its sender is
    /// known.
    pub(super) async fn open(
        mut rest: Incoming,
        inbound: &dyn Inbound,
    ) -> Result<(Message, Self), HeaderError> {
        let mut decoder = MessageDecoder::with_limit(limits::SNAPSHOT_MESSAGE_BYTES);
        loop {
            if let Some(head) = decoder.head()
                && head.from != 0
                && !inbound.is_known(head.from)
                && !inbound.is_removed(head.from)
            {
                return Err(HeaderError::Stranger(head.from));
            }
            if let Some(message) = decoder.next_message()? {
                let first = Some(decoder.into_rest()).filter(|bytes| !bytes.is_empty());
                return Ok((message, Self { first, rest, link: None }));
            }
            let chunk = next_chunk(&mut rest).await?;
            decoder.push(&chunk.ok_or(io::ErrorKind::UnexpectedEof).map_err(io::Error::from)?);
        }
    }

    /// Lets the link with the sender count the bytes.
    pub(super) fn counted_by(self, link: Option<Arc<Link>>) -> Self {
        Self { link, ..self }
    }

    /// Returns the next bytes of the database, or none at its end. An error means that the
    /// database is not complete.
    pub async fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        let chunk = match self.first.take() {
            Some(bytes) => Some(bytes),
            None => next_chunk(&mut self.rest).await?,
        };
        if let (Some(bytes), Some(link)) = (&chunk, &self.link) {
            link.received(bytes.len() as u64);
        }
        Ok(chunk)
    }
}

/// Returns the next bytes of a request, which may not take longer than a read on a stream.
pub(super) async fn next_chunk(body: &mut Incoming) -> io::Result<Option<Bytes>> {
    loop {
        let frame = timeout(limits::IO_DEADLINE, body.frame()).await.map_err(|_| {
            let text = format!("read deadline of {:?} exceeded", limits::IO_DEADLINE);
            io::Error::new(io::ErrorKind::TimedOut, text)
        })?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(io::Error::other(error)),
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}
