//! Large answers: how many bytes of them may be under way at once.
//!
//! The answer to a read is made whole before its first byte leaves. Each read is first tried on the
//! thread that serves connections, within [`INLINE`], which all parts of a request share. One that
//! looks at more or takes more is large: it is measured on another thread, and then waits until there is
//! room beside the others for all the bytes that it will take; one that is larger than all the room
//! goes alone, and one above [`ANSWER_BYTES_MAX`] is refused before anything of it is read. The room is given back when the client has taken the answer, or has gone away. An
//! answer leaves in small pieces, so that what the client does not take stays here and is counted.
//!
//! A client that has stopped taking its answer may keep the room as long as nobody else needs it.
//! While others wait, an answer of which nothing is taken for [`STALL_MAX`] is given up: its bytes
//! and its room are free at once, and its stream is reset when the client takes more.
//!
//! Not here: smaller answers, which are bounded by the requests under way, and what is read.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use hyper::body::{Body as HttpBody, Frame};
use quoin_api::error::Error;
use quoin_store::Bound;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, MissedTickBehavior};
use tonic::Status;
use tonic::body::Body;

use crate::log;

#[cfg(test)]
mod tests;

/// What a request may look at and take on the thread that serves connections: about a millisecond.
pub(crate) const INLINE: Bound = Bound { keys: 16 << 10, bytes: 1 << 20 };
/// Bytes of large answers under way. What is being made takes as much again while it is encoded.
const ROOM_BYTES: usize = 256 << 20;
/// Bytes of one answer, with what it takes while it is made. Encoded it is there twice, and a process
/// with the least memory that we promise to do with has no more.
const ANSWER_BYTES_MAX: usize = 2 * ROOM_BYTES;
/// Large reads that are looked at or made at once, in this process. Others wait: they look at any
/// number of keys, and a few keep a disk and the processors busy.
const READING_MAX: usize = 4;
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
    reading: Arc<Semaphore>,
    leaving: Arc<Leaving>,
}

/// A read that is not made yet. It says the same each time.
pub(crate) trait LargeRead: Send + Sync + 'static {
    /// What is read.
    type Answer: Send + 'static;

    /// Bytes that the answer takes while it is made.
    fn bytes(&self) -> Result<usize, Error>;

    /// Makes the answer, and tells its encoded length.
    fn make(&self) -> Result<(Self::Answer, usize), Error>;
}

/// Why a large read has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// It failed, or there was no room.
    Failed(Error),
    /// No answer is that long.
    TooLong { bytes: usize },
}

impl From<Error> for Unanswered {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Unanswered> for Status {
    /// For what is too long, in the words that etcd's gRPC library has for it.
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Failed(error) => error.into(),
            Unanswered::TooLong { bytes } => Self::resource_exhausted(format!(
                "grpc: trying to send message larger than max ({bytes} vs. {ANSWER_BYTES_MAX})"
            )),
        }
    }
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
        let reading = Arc::new(Semaphore::new(READING_MAX));
        Self { units, all, reading, leaving: Arc::default() }
    }

    /// Makes a large answer when there is room for it, off this thread.
    pub(crate) async fn read<R: LargeRead>(
        &self,
        read: R,
    ) -> Result<(R::Answer, Held), Unanswered> {
        let read = Arc::new(read);
        let measured = Arc::clone(&read);
        let bytes = self.off_thread(move || measured.bytes()).await??;
        if bytes > ANSWER_BYTES_MAX {
            return Err(Unanswered::TooLong { bytes });
        }
        let permit = self.enter(bytes).await?;
        // The room goes with the work, which goes on if the client does not wait for it.
        let made = self.off_thread(move || (read.make(), permit)).await?;
        let (made, permit) = made;
        let (answer, encoded_bytes) = made?;
        Ok((answer, self.settle(permit, encoded_bytes)))
    }

    /// Does work that may look at any number of keys when it is its turn. Whoever works does not wait
    /// for room.
    pub(crate) async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let turn = Arc::clone(&self.reading).acquire_owned();
        let turn = tokio::time::timeout(WAIT_MAX, turn).await;
        let turn = turn.map_err(|_| Error::TooManyRequests)?.map_err(|_| Error::Stopped)?;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(|error| {
            log::error!("a read has failed", "error" => error.to_string());
            Error::Stopped
        })
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
        bytes >= INLINE.bytes
    }

    /// Waits for room for an answer of so many bytes. Meanwhile answers that nobody takes are given up.
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
