//! A shard: the watch streams of one network thread, and the task that brings them new views and
//! says whose turn it is to catch up.
//!
//! The lock is only contended if connections ever move between threads; it is never held across
//! an `await`.
//!
//! A hub that panics is thrown away, because one of its invariants broke. Its streams are ended with
//! an error after which clients begin again where they were, and a new hub serves them.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher as _, Hasher as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::WatchRequest;
use quoin_store::{WatchHub, WatchLimits, WatchOptions, WatchStats, WatchStreamId};
use tokio::sync::{Notify, watch};
use tonic::{Code, Status};

use crate::bell::Bell;
use crate::config::Config;
use crate::grpc::admission::LEADERLESS_MAX;
use crate::log;
use crate::member::Member;

/// Bytes that a response may have beyond the largest request before it is fragmented, as in etcd.
const FRAGMENT_OVERHEAD_BYTES: usize = 512 << 10;
/// The time between progress notifications when none is configured.
const PROGRESS_PERIOD_DEFAULT: Duration = Duration::from_secs(600);
/// The shortest time that can be configured.
pub(crate) const PROGRESS_PERIOD_MIN: Duration = Duration::from_millis(100);
/// How the streams of a hub end that panicked.
const HUB_BROKE: &str = "etcdserver: watch failed, begin again";

/// The watch streams of one thread.
#[derive(Debug)]
pub(crate) struct Shard {
    member: Arc<Member>,
    bell: Arc<Bell>,
    progress_period: Duration,
    election_timeout: Duration,
    /// Told when a stream waits for its turn to catch up.
    turn_wanted: Notify,
    streams: Mutex<Streams>,
}

#[derive(Debug)]
struct Streams {
    options: WatchOptions,
    hub: WatchHub,
    /// How many hubs there were before this one.
    generation: u64,
    served: BTreeMap<StreamId, Served>,
    /// Streams that wait for their turn to catch up with a slice, each once.
    turns: VecDeque<StreamId>,
    is_stopped: bool,
}

/// A stream of this hub, or of one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamId {
    generation: u64,
    stream: WatchStreamId,
}

/// What the shard knows of a stream that the hub does not.
#[derive(Debug)]
struct Served {
    waker: Option<Waker>,
    requires_leader: bool,
    waits_for_turn: bool,
    /// Why the stream ends.
    ended: Option<Status>,
}

impl Shard {
    pub(crate) fn new(member: &Arc<Member>, config: &Config) -> Self {
        let options = WatchOptions {
            cluster_id: member.cluster_id,
            member_id: member.id,
            fragment_bytes: config.max_request_bytes.saturating_add(FRAGMENT_OVERHEAD_BYTES),
            seed: random(),
            limits: Self::limits(),
        };
        let configured = config.watch_progress_notify_interval.std();
        let progress_period = if configured.is_zero() {
            PROGRESS_PERIOD_DEFAULT
        } else {
            configured.max(PROGRESS_PERIOD_MIN)
        };
        let hub = WatchHub::new(options);
        Self {
            member: Arc::clone(member),
            bell: member.bells.add(),
            progress_period,
            election_timeout: Duration::from_millis(config.election_timeout as u64),
            turn_wanted: Notify::new(),
            streams: Mutex::new(Streams {
                options,
                hub,
                generation: 0,
                served: BTreeMap::new(),
                turns: VecDeque::new(),
                is_stopped: false,
            }),
        }
    }

    /// What bounds each shard.
    pub(crate) fn limits() -> WatchLimits {
        WatchLimits::default()
    }

    /// Counts what there is. It waits for the thread of this shard, for no longer than a slice.
    pub(crate) fn stats(&self) -> WatchStats {
        self.with_hub(|streams| streams.hub.stats()).unwrap_or_default()
    }

    /// Takes note of a stream that broke. Clients that go away are no failure.
    pub(super) fn stream_failed(&self, status: &Status) {
        if status.code() != Code::Cancelled {
            self.member.metrics.requests.watch_stream_failures.add(1);
        }
    }

    /// Brings new views to the streams until the stop, which ends them.
    pub(crate) async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut election = tokio::time::interval(self.election_timeout.max(PROGRESS_PERIOD_MIN));
        let mut leaderless = 0;
        loop {
            tokio::select! {
                () = self.bell.rung() => self.dispatch().await,
                () = self.turn_wanted.notified() => self.give_turn().await,
                _ = election.tick() => {
                    leaderless = if self.member.leader() == 0 { leaderless + 1 } else { 0 };
                    if leaderless == LEADERLESS_MAX {
                        self.lock().end(&Error::NoLeader.into(), |stream| stream.requires_leader);
                    }
                }
                _ = stopped.changed() => break,
            }
        }
        let mut streams = self.lock();
        streams.is_stopped = true;
        streams.end(&Error::Stopped.into(), |_| true);
    }

    /// Dispatches the newest view in slices, between which the streams can send.
    async fn dispatch(&self) {
        loop {
            let more = self.with_hub(|streams| {
                self.bring_view(streams);
                let more = streams.hub.dispatch();
                streams.wake_ready();
                more
            });
            if !more.unwrap_or(false) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Lets one stream catch up with a slice, and everything else have its turn before the next.
    /// Streams that woke themselves would be run again and again before the sockets are looked at.
    async fn give_turn(&self) {
        let is_last = {
            let mut streams = self.lock();
            if let Some(stream) =
                streams.turns.pop_front().and_then(|id| streams.served.get_mut(&id))
            {
                stream.waits_for_turn = false;
                stream.waker.take().into_iter().for_each(Waker::wake);
            }
            streams.turns.is_empty()
        };
        tokio::task::yield_now().await;
        if !is_last {
            self.turn_wanted.notify_one();
        }
    }

    /// Opens a stream, unless the member stops.
    pub(super) fn open(&self, requires_leader: bool) -> Result<StreamId, Status> {
        let opened = self.with_hub(|streams| {
            if streams.is_stopped {
                return Err(Status::from(Error::Stopped));
            }
            self.bell.want(true);
            let stream = streams.hub.open((*self.member.view()).clone());
            let id = StreamId { generation: streams.generation, stream };
            let served =
                Served { waker: None, requires_leader, waits_for_turn: false, ended: None };
            streams.served.insert(id, served);
            Ok(id)
        });
        opened.unwrap_or_else(|| Err(Status::unavailable(HUB_BROKE)))
    }

    /// Ends a stream.
    pub(super) fn close(&self, id: StreamId) {
        self.on_stream(id, |streams, stream| streams.hub.close(stream));
        let mut streams = self.lock();
        if streams.served.remove(&id).is_some_and(|stream| stream.waits_for_turn) {
            streams.turns.retain(|waiting| *waiting != id);
        }
        if streams.served.is_empty() {
            self.bell.want(false);
        }
    }

    /// Returns the time between two progress notifications of a stream: up to a tenth more than
    /// configured, so that streams that began together are not all told together.
    pub(super) fn progress_period(&self) -> Duration {
        let tenth = u64::try_from(self.progress_period.as_nanos() / 10).unwrap_or(u64::MAX);
        self.progress_period + Duration::from_nanos(random() % tenth.max(1))
    }

    /// Returns true if the answer to one more request can wait.
    pub(super) fn has_room(&self, id: StreamId) -> bool {
        self.on_stream(id, |streams, stream| streams.hub.has_room(stream)).unwrap_or(false)
    }

    pub(super) fn request(&self, id: StreamId, request: WatchRequest) {
        self.on_stream(id, |streams, stream| {
            self.bring_view(streams);
            streams.hub.request(stream, request);
        });
    }

    pub(super) fn notify_progress(&self, id: StreamId) {
        self.on_stream(id, |streams, stream| streams.hub.notify_progress(stream));
    }

    /// Returns the next bytes of a stream, or why it ends.
    pub(super) fn poll_responses(
        &self,
        id: StreamId,
        context: &mut Context<'_>,
    ) -> Poll<Result<Bytes, Status>> {
        let taken = self.on_stream(id, |streams, stream| {
            if let Some(bytes) = streams.hub.take(stream) {
                return (Some(bytes), false);
            }
            let more = streams.hub.catch_up(stream);
            (streams.hub.take(stream), more)
        });
        let mut streams = self.lock();
        let Streams { served, turns, .. } = &mut *streams;
        let stream = served.get_mut(&id).expect("a stream is served until it is closed");
        if let Some(status) = &stream.ended {
            return Poll::Ready(Err(status.clone()));
        }
        let (bytes, more) = taken.unwrap_or_default();
        if let Some(bytes) = bytes {
            return Poll::Ready(Ok(bytes));
        }
        stream.waker = Some(context.waker().clone());
        if more && !stream.waits_for_turn {
            stream.waits_for_turn = true;
            turns.push_back(id);
            self.turn_wanted.notify_one();
        }
        Poll::Pending
    }

    /// Does something with a stream, unless its hub is gone.
    fn on_stream<T>(
        &self,
        id: StreamId,
        work: impl FnOnce(&mut Streams, WatchStreamId) -> T,
    ) -> Option<T> {
        self.with_hub(|streams| {
            (id.generation == streams.generation).then(|| work(streams, id.stream))
        })?
    }

    /// Does something with the hub. If that panics there is a new one.
    fn with_hub<T>(&self, work: impl FnOnce(&mut Streams) -> T) -> Option<T> {
        let mut streams = self.lock();
        // What is broken is not looked at again.
        match catch_unwind(AssertUnwindSafe(|| work(&mut streams))) {
            Ok(done) => Some(done),
            Err(_) => {
                log::error!("a watch hub panicked; its streams end, and clients begin again",
                    "streams" => streams.served.len());
                streams.replace_hub();
                None
            }
        }
    }

    fn bring_view(&self, streams: &mut Streams) {
        streams.hub.set_term(self.member.term());
        // In this order: what has passed before this view is there to be taken.
        let view = self.member.view();
        for passed in self.bell.take_passed() {
            streams.hub.publish(passed);
        }
        streams.hub.publish((*view).clone());
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        // A hub that panicked is replaced before the lock is free.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Streams {
    /// Wakes the streams that have something to do.
    fn wake_ready(&mut self) {
        for stream in self.hub.take_ready() {
            let id = StreamId { generation: self.generation, stream };
            let waker = self.served.get_mut(&id).and_then(|stream| stream.waker.take());
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// Begins with a new hub, after the streams of this one have ended.
    fn replace_hub(&mut self) {
        self.end(&Status::unavailable(HUB_BROKE), |_| true);
        self.generation += 1;
        self.hub = WatchHub::new(self.options);
    }

    /// Ends some streams.
    fn end(&mut self, status: &Status, which: impl Fn(&Served) -> bool) {
        for stream in self.served.values_mut().filter(|stream| which(stream)) {
            stream.ended.get_or_insert_with(|| status.clone());
            stream.waker.take().into_iter().for_each(Waker::wake);
        }
    }
}

/// Returns a number that nobody can guess.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests;
