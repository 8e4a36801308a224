//! Large answers: how many bytes of them may be under way at once.
//!
//! The answer to a range is made whole before its first byte leaves. So an answer that will be
//! large waits until there is room for it beside the others; one that is larger than all the room
//! goes alone. The room is given back when the client has taken the answer, or has gone away. An
//! answer leaves in small pieces, so that what the client does not take stays here and is counted.
//!
//! A client that has stopped taking its answer may keep the room as long as nobody else needs it.
//! While others wait, an answer of which nothing is taken for [`STALL_MAX`] is given up: its bytes
//! and its room are free at once, and its stream is reset when the client takes more.
//!
//! Not here: answers below [`LARGE_BYTES`], which are bounded by the requests under way.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use hyper::body::{Body as HttpBody, Frame};
use quoin_api::error::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, MissedTickBehavior};
use tonic::Status;
use tonic::body::Body;

use crate::log;

#[cfg(test)]
mod tests;

/// Bytes from which on an answer is large.
const LARGE_BYTES: usize = 1 << 20;
/// Bytes of large answers under way. What is being made takes as much again while it is encoded.
const ROOM_BYTES: usize = 256 << 20;
/// How long an answer may wait for room.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a client may take nothing of its answer while others wait for room. Less than they
/// wait, so that they have a turn.
const STALL_MAX: Duration = Duration::from_secs(20);
/// How often those who wait look for answers of which nothing is taken.
const STALL_POLL: Duration = Duration::from_secs(1);
/// Bytes of one piece.
const PIECE_BYTES: usize = 64 << 10;
/// Room is counted in this unit.
const UNIT_BYTES: usize = 1 << 10;

/// The room of one member.
#[derive(Debug)]
pub(crate) struct Room {
    units: Arc<Semaphore>,
    all: u32,
    leaving: Arc<Leaving>,
}

/// A part of the room, given back when it is dropped. It travels with the response.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    permit: Arc<OwnedSemaphorePermit>,
    leaving: Arc<Leaving>,
}

impl Default for Room {
    fn default() -> Self {
        Self::new(ROOM_BYTES)
    }
}

impl Room {
    fn new(bytes: usize) -> Self {
        let all = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX);
        let units = Arc::new(Semaphore::new(all as usize));
        Self { units, all, leaving: Arc::default() }
    }

    /// Bytes of the room.
    pub(crate) fn max_bytes(&self) -> usize {
        self.all as usize * UNIT_BYTES
    }

    /// Bytes that are taken.
    pub(crate) fn used_bytes(&self) -> usize {
        (self.all as usize).saturating_sub(self.units.available_permits()) * UNIT_BYTES
    }

    /// Returns true for an answer that needs room.
    pub(crate) fn is_large(bytes: usize) -> bool {
        bytes >= LARGE_BYTES
    }

    /// Waits for room for an answer of about so many bytes. Meanwhile answers that nobody takes are
    /// given up.
    pub(crate) async fn enter(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        let units = self.units_of(bytes);
        let mut entered = pin!(Arc::clone(&self.units).acquire_many_owned(units));
        let since = Instant::now();
        let mut look = tokio::time::interval_at(since + STALL_MAX, STALL_POLL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let waited = async {
            loop {
                tokio::select! {
                    permit = &mut entered => return permit,
                    now = look.tick() => self.leaving.give_up_stalled(since, now),
                }
            }
        };
        match tokio::time::timeout(WAIT_MAX, waited).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::Stopped),
            Err(_) => Err(Error::TooManyRequests),
        }
    }

    /// Gives back what an answer of exactly so many bytes does not need.
    pub(crate) fn settle(&self, mut permit: OwnedSemaphorePermit, bytes: usize) -> Held {
        let needed = self.units_of(bytes) as usize;
        drop(permit.num_permits().checked_sub(needed).and_then(|excess| permit.split(excess)));
        Held { permit: Arc::new(permit), leaving: Arc::clone(&self.leaving) }
    }

    fn units_of(&self, bytes: usize) -> u32 {
        u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).min(self.all)
    }
}

/// The answers that are leaving. Each has a lock of its own, because it is made into bytes under
/// that.
#[derive(Debug, Default)]
struct Leaving(Mutex<Vec<Weak<Answer>>>);

/// An answer that is leaving; nothing when it was given up.
type Answer = Mutex<Option<Leaver>>;

/// What is left of an answer.
#[derive(Debug)]
struct Leaver {
    body: Body,
    /// What is left of the frame in hand.
    rest: Bytes,
    /// When something of it was last taken.
    taken: Instant,
    _room: Arc<OwnedSemaphorePermit>,
}

impl Leaving {
    fn add(&self, answer: &Arc<Answer>) {
        let mut answers = self.lock();
        answers.retain(|answer| answer.strong_count() > 0);
        answers.push(Arc::downgrade(answer));
    }

    /// Gives up answers of which nothing was taken for long, counted from `since` at the earliest:
    /// before that, nobody waited.
    fn give_up_stalled(&self, since: Instant, now: Instant) {
        let answers: Vec<_> = self.lock().iter().filter_map(Weak::upgrade).collect();
        let stalled = answers.iter().filter(|answer| {
            // What is locked is being taken.
            answer.try_lock().is_ok_and(|mut answer| {
                let taken = answer.as_ref().map_or(now, |leaver| leaver.taken.max(since));
                let is_stalled = now.saturating_duration_since(taken) >= STALL_MAX;
                is_stalled && answer.take().is_some()
            })
        });
        let count = stalled.count();
        if count > 0 {
            log::warn!("gave up large answers that their clients do not take", "answers" => count);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Answer>>> {
        self.0.lock().expect("nothing panics while it is locked")
    }
}

/// Lets a response that holds room leave in pieces, and gives the room back behind the last one.
pub(crate) fn pace(mut response: Response<Body>) -> Response<Body> {
    let Some(Held { permit, leaving }) = response.extensions_mut().remove::<Held>() else {
        return response;
    };
    response.map(|body| {
        let leaver = Leaver { body, rest: Bytes::new(), taken: Instant::now(), _room: permit };
        let answer = Arc::new(Mutex::new(Some(leaver)));
        leaving.add(&answer);
        Body::new(Pieces(answer))
    })
}

/// The body of an answer that is leaving. The bytes are not in it alone, so that they can be given
/// up while the connection waits for its client and does not look at the body.
struct Pieces(Arc<Answer>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut answer = self.0.lock().expect("an answer that panicked is not taken again");
        match answer.as_mut() {
            Some(leaver) => leaver.poll_frame(context),
            None => Poll::Ready(Some(Err(given_up()))),
        }
    }
}

impl Leaver {
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.taken = Instant::now();
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

/// How the stream of an answer that was given up ends: with a reset that clients of gRPC read as
/// an exhausted resource.
fn given_up() -> Status {
    let mut status = Status::resource_exhausted("etcdserver: the answer was not taken in time");
    status.set_source(Arc::new(h2::Error::from(h2::Reason::ENHANCE_YOUR_CALM)));
    status
}
