//! Large answers: how many bytes of them may be under way at once.
//!
//! The answer to a range is made whole before its first byte leaves. So an answer that will be
//! large waits until there is room for it beside the others; one that is larger than all the room
//! goes alone. The room is given back when the client has taken the answer, or has gone away. An
//! answer leaves in small pieces, so that what the client does not take stays here and is counted.
//!
//! Not here: answers below [`LARGE_BYTES`], which are bounded by the requests under way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use hyper::body::{Body as HttpBody, Frame};
use quoin_api::error::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;

#[cfg(test)]
mod tests;

/// Bytes from which on an answer is large.
const LARGE_BYTES: usize = 1 << 20;
/// Bytes of large answers under way. What is being made takes as much again while it is encoded.
const ROOM_BYTES: usize = 256 << 20;
/// How long an answer may wait for room.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Bytes of one piece.
const PIECE_BYTES: usize = 64 << 10;
/// Room is counted in this unit.
const UNIT_BYTES: usize = 1 << 10;

/// The room of one member.
#[derive(Debug)]
pub(crate) struct Room {
    units: Arc<Semaphore>,
    all: u32,
}

/// A part of the room, given back when it is dropped. It travels with the response.
#[derive(Clone, Debug)]
pub(crate) struct Held(#[expect(dead_code, reason = "it is held")] Arc<OwnedSemaphorePermit>);

impl Default for Room {
    fn default() -> Self {
        Self::new(ROOM_BYTES)
    }
}

impl Room {
    fn new(bytes: usize) -> Self {
        let all = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX);
        Self { units: Arc::new(Semaphore::new(all as usize)), all }
    }

    /// Returns true for an answer that needs room.
    pub(super) fn is_large(bytes: usize) -> bool {
        bytes >= LARGE_BYTES
    }

    /// Waits for room for an answer of about so many bytes.
    pub(super) async fn enter(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        let units = self.units_of(bytes);
        let entered = Arc::clone(&self.units).acquire_many_owned(units);
        match tokio::time::timeout(WAIT_MAX, entered).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::Stopped),
            Err(_) => Err(Error::TooManyRequests),
        }
    }

    /// Gives back what an answer of exactly so many bytes does not need.
    pub(super) fn settle(&self, mut permit: OwnedSemaphorePermit, bytes: usize) -> Held {
        let needed = self.units_of(bytes) as usize;
        drop(permit.num_permits().checked_sub(needed).and_then(|excess| permit.split(excess)));
        Held(Arc::new(permit))
    }

    fn units_of(&self, bytes: usize) -> u32 {
        u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).min(self.all)
    }
}

/// Lets a response that holds room leave in pieces, and gives the room back behind the last one.
pub(super) fn pace(mut response: Response<Body>) -> Response<Body> {
    match response.extensions_mut().remove::<Held>() {
        Some(held) => {
            response.map(|body| Body::new(Pieces { body, rest: Bytes::new(), _held: held }))
        }
        None => response,
    }
}

struct Pieces {
    body: Body,
    /// What is left of the frame in hand.
    rest: Bytes,
    _held: Held,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if !self.rest.is_empty() {
                let length = self.rest.len().min(PIECE_BYTES);
                return Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
    }
}
