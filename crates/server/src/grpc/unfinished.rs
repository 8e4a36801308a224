//! Requests of which a part has arrived: how many bytes of them may wait for the rest, and how long.
//!
//! A client may begin as many requests as it likes and finish none. What has arrived of them is
//! counted for its connection and for the process. A request that would go beyond either bound is
//! refused, and what it held is free: to let it wait instead would be no help, because the window of
//! the connection is then full of requests that wait, and those before them cannot be finished.
//!
//! Invariants:
//! - Bytes are counted when they have arrived, not when they are announced; a call that waits for
//!   its client counts by itself, too.
//! - What is counted is given back when the request is whole, refused or given up.
//!
//! Not here: requests that are whole, which the member bounds; what the HTTP library holds, which is
//! the window of a connection.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use quoin_api::error::Error;
use tokio::time::Sleep;
use tonic::Status;

use crate::metrics::Counter;

/// Bytes of unfinished requests on one connection.
const CONNECTION_BYTES_MAX: usize = 64 << 20;
/// Bytes of unfinished requests on all connections.
const PROCESS_BYTES_MAX: usize = 256 << 20;
/// Bytes that a call takes by itself: its stream in the HTTP library, its task, its timer. Measured.
const CALL_BYTES: usize = 4 << 10;
/// The largest requests that always have a place on a connection and in the process, where
/// requests are allowed to be so large that the bounds above would be too few.
const CONNECTION_REQUESTS_MIN: usize = 2;
const PROCESS_REQUESTS_MIN: usize = 8;
/// How long the rest of a request may take, from when its first bytes are here.
const REST_TIME_MAX: Duration = Duration::from_secs(120);

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Unfinished {
    bytes: AtomicUsize,
    process_bytes_max: usize,
    connection_bytes_max: usize,
    refused: Counter,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct OnConnection {
    all: Arc<Unfinished>,
    bytes: AtomicUsize,
}

/// The bytes of one request. They are given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    connection: Arc<OnConnection>,
    bytes: usize,
}

impl Unfinished {
    /// The bounds for requests of up to `request_bytes`.
    pub(crate) fn new(request_bytes: usize) -> Self {
        let at_least = |bytes: usize, requests| bytes.max(request_bytes.saturating_mul(requests));
        Self {
            bytes: AtomicUsize::new(0),
            process_bytes_max: at_least(PROCESS_BYTES_MAX, PROCESS_REQUESTS_MIN),
            connection_bytes_max: at_least(CONNECTION_BYTES_MAX, CONNECTION_REQUESTS_MIN),
            refused: Counter::default(),
        }
    }

    /// A connection that begins.
    pub(crate) fn connection(self: &Arc<Self>) -> Arc<OnConnection> {
        Arc::new(OnConnection { all: Arc::clone(self), bytes: AtomicUsize::new(0) })
    }

    /// Bytes that are held now.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that may be held.
    pub(crate) fn max_bytes(&self) -> usize {
        self.process_bytes_max
    }

    /// Requests that were refused because they, and others, were not finished.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load()
    }
}

impl OnConnection {
    /// A request of which nothing has arrived.
    pub(crate) fn charge(self: &Arc<Self>) -> Charge {
        Charge { connection: Arc::clone(self), bytes: 0 }
    }
}

impl Charge {
    /// Counts bytes that have arrived. An error means that there is no room for them.
    pub(crate) fn add(&mut self, bytes: usize) -> Result<(), Status> {
        let OnConnection { all, bytes: on_connection } = &*self.connection;
        self.bytes += bytes;
        let mine = on_connection.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let whole = all.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if mine <= all.connection_bytes_max && whole <= all.process_bytes_max {
            return Ok(());
        }
        all.refused.add(1);
        Err(Status::resource_exhausted(Error::TooManyRequests.message()))
    }

    /// Counts what a call takes that waits for its client, however little of it has arrived.
    pub(super) fn add_call(&mut self) -> Result<(), Status> {
        self.add(CALL_BYTES)
    }

    /// Gives everything back: the request is whole, or gone.
    pub(crate) fn clear(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.connection.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.connection.all.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The time until which something must have arrived, while it is waited for.
#[derive(Debug, Default)]
pub(super) struct RestTime(Option<Pin<Box<Sleep>>>);

impl RestTime {
    /// Ends the waiting.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    /// Whether something is waited for.
    pub(super) fn has_begun(&self) -> bool {
        self.0.is_some()
    }

    /// Begins to wait, or goes on. Ready when that took too long.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        let begin = || Box::pin(tokio::time::sleep(REST_TIME_MAX));
        let sleep = self.0.get_or_insert_with(begin);
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(Status::cancelled("the request was not finished in time"))
    }
}

/// The body of a request of plain HTTP, whose bytes are counted as long as it is there.
#[derive(Debug)]
pub(crate) struct Charged<B> {
    body: B,
    charge: Charge,
    rest_time: RestTime,
}

impl<B> Charged<B> {
    /// The body of a request on a connection.
    pub(crate) fn new(body: B, connection: &Arc<OnConnection>) -> Self {
        Self { body, charge: connection.charge(), rest_time: RestTime::default() }
    }
}

impl<B> HttpBody for Charged<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let Poll::Ready(next) = Pin::new(&mut this.body).poll_frame(context) else {
            let late = ready!(this.rest_time.poll(context));
            return Poll::Ready(Some(Err(late.message().into())));
        };
        if let Some(Ok(frame)) = &next
            && let Some(data) = frame.data_ref()
            && let Err(refused) = this.charge.add(data.len())
        {
            return Poll::Ready(Some(Err(refused.message().into())));
        }
        Poll::Ready(next.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
