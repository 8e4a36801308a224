//! The Watch service.
//!
//! What is watched and told is decided by the hub in the store crate. Each network thread has a
//! shard: a hub for the streams of its connections, and a task that hands it new views. A stream
//! is a body that reads requests and takes responses as the bytes that the hub has written; it
//! catches up by itself when its watchers are behind. It is only asked for more when the client's
//! HTTP/2 window has room, so what waits for a client that does not read is what the hub allows.
//!
//! Not here: the events, their order, their bytes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::{Body as HttpBody, Frame};
use quoin_api::error::Error;
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;

use super::admission::requires_leader;
use super::call::{self, Terms};
use super::unfinished::OnConnection;
use super::{counted, encoding};
use crate::metrics::{Call, Received};

mod requests;
mod shard;

use requests::Requests;
use shard::StreamId;
pub(crate) use shard::{PROGRESS_PERIOD_MIN, Shard};

/// The only method of the service.
const METHOD: &str = "/etcdserverpb.Watch/Watch";
/// Requests taken from a stream before it is looked for responses.
const REQUESTS_PER_TURN: usize = 64;

/// Answers a call of the service; `limit` is the size of a request. What was begun as `rpc` is
/// counted.
pub(crate) fn call<B>(
    shard: &Arc<Shard>,
    request: Request<B>,
    (limit, rpc): (usize, Option<Call>),
) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let received = rpc.as_ref().map(Call::received);
    counted::count(rpc, answer(shard, request, (limit, received)))
}

fn answer<B>(
    shard: &Arc<Shard>,
    request: Request<B>,
    (limit, received): (usize, Option<Received>),
) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Terms { deadline, encoding } = match call::check(&request) {
        Ok(terms) => terms,
        Err((code, status)) => {
            let mut response = status.into_http();
            *response.status_mut() = code;
            return response;
        }
    };
    if request.uri().path() != METHOD {
        return call::unknown_method(request.uri().path());
    }
    let requires_leader = requires_leader(request.headers());
    let id = match shard.open(requires_leader) {
        Ok(id) => id,
        Err(status) => return status.into_http(),
    };
    let period = shard.progress_period();
    let connection = request.extensions().get::<Arc<OnConnection>>().cloned();
    let requests = Requests::new(request.into_body(), limit, encoding, received, connection);
    let body = Watching {
        id,
        requests: Some(requests),
        deadline: deadline.map(|deadline| Box::pin(tokio::time::sleep(deadline))),
        period,
        progress_due: Box::pin(tokio::time::sleep(period)),
        is_done: false,
        shard: Arc::clone(shard),
    };
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    encoding::deflate(encoding, response)
}

/// One stream: requests in, responses out.
struct Watching<B> {
    shard: Arc<Shard>,
    id: StreamId,
    /// None when the client has said all that it has to say. It still listens.
    requests: Option<Requests<B>>,
    deadline: Option<Pin<Box<Sleep>>>,
    period: Duration,
    progress_due: Pin<Box<Sleep>>,
    is_done: bool,
}

impl<B> Watching<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Returns the next bytes, or how the stream ends.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, Status>> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(Error::ContextDeadlineExceeded.into()));
        }
        self.take_requests(context)?;
        while self.progress_due.as_mut().poll(context).is_ready() {
            self.shard.notify_progress(self.id);
            let next = self.progress_due.deadline() + self.period;
            self.progress_due.as_mut().reset(next);
        }
        self.shard.poll_responses(self.id, context)
    }

    /// Takes the requests that have come, while there is room for their answers.
    fn take_requests(&mut self, context: &mut Context<'_>) -> Result<(), Status> {
        let Some(requests) = &mut self.requests else { return Ok(()) };
        for _ in 0..REQUESTS_PER_TURN {
            if !self.shard.has_room(self.id) {
                // Room comes with the next bytes taken, which is when this is called again.
                return Ok(());
            }
            match requests.poll(context) {
                Poll::Ready(Some(Ok(request))) => self.shard.request(self.id, request),
                Poll::Ready(Some(Err(status))) => {
                    self.shard.stream_failed(&status);
                    return Err(status);
                }
                Poll::Ready(None) => {
                    self.requests = None;
                    return Ok(());
                }
                Poll::Pending => return Ok(()),
            }
        }
        context.waker().wake_by_ref();
        Ok(())
    }
}

impl<B> HttpBody for Watching<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_done {
            return Poll::Ready(None);
        }
        self.poll(context).map(|next| match next {
            Ok(bytes) => Some(Ok(Frame::data(bytes))),
            Err(status) => {
                self.is_done = true;
                let mut trailers = HeaderMap::new();
                Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers)))
            }
        })
    }
}

impl<B> Drop for Watching<B> {
    fn drop(&mut self) {
        self.shard.close(self.id);
    }
}

#[cfg(test)]
mod tests;
