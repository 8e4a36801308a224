//! Clients that wait for a change of the v2 store.
//!
//! The consensus thread puts the events of a turn into an inbox and rings; one task matches them to
//! the watchers and puts them into the queues of those, which wakes their connections. A watcher is
//! a row in the hub and a small queue: no thread, no task, no timer.
//!
//! Invariants:
//! - An event is in the inbox before the view that shows it is published. So whoever empties the
//!   inbox knows at least what any client can have seen.
//! - A watcher begins between two events: its start index is the one of the last event that the hub
//!   knows, and it gets every event after that.
//! - A watcher that lags too far behind is cut off after what it has, and harms nobody else.
//!
//! Not here: which watcher an event concerns (`store::V2WatchHub`).

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::Response;
use hyper::body::{Body as HttpBody, Frame};
use quoin_api::error::Error;
use quoin_store::{
    V2Changes, V2Delivery, V2Event, V2Notice, V2Store, V2Watch, V2WatchHub, V2WatchOptions,
    V2WatcherId,
};
use tokio::sync::Notify;
use tonic::body::Body;

use super::error::KeyError;
use super::{now_ns, render};

/// Events that may wait for one client, as in etcd.
const QUEUE_EVENTS_MAX: usize = 100;
/// Clients that may wait.
const WATCHERS_MAX: usize = 100_000;
/// Events that may wait to be matched. When there are more, all watchers are cut off.
const INBOX_EVENTS_MAX: usize = 16 * 1024;
/// Bytes of the values among them, beyond the events that the history keeps anyway.
const INBOX_BYTES_MAX: usize = 64 << 20;
/// The last events are kept whatever they weigh: the history consists of them.
const HISTORY_EVENTS: usize = 1000;
/// Events that are matched before others may use the thread.
const MATCHED_AT_ONCE: usize = 64;
/// Marks the number of a client that the hub does not know: what it waits for never comes.
const SILENT: V2WatcherId = 1 << 63;

/// The watchers of this member.
pub(crate) struct Watchers {
    inbox: Mutex<Inbox>,
    bell: Notify,
    board: Mutex<Board>,
}

/// What happened and was not matched yet, in order.
#[derive(Default)]
struct Inbox {
    changes: VecDeque<Change>,
    bytes: usize,
    /// The store that the first change follows, if that is not the one that the hub knows.
    base: Option<Box<V2Store>>,
    overflowed: bool,
}

enum Change {
    Replaced(Box<V2Store>),
    /// An event, and when it was applied in nanoseconds since the epoch.
    Event(V2Notice, i64),
}

/// An event for one client. What is left of a time to live is reckoned from when it was applied, also
/// for a client that asks for it later.
type Timed = (Arc<V2Event>, i64);

struct Board {
    hub: V2WatchHub,
    /// The index of the last event that the hub knows.
    index: u64,
    /// When the last events were applied, by their index.
    applied_ns: VecDeque<(u64, i64)>,
    queues: BTreeMap<V2WatcherId, Arc<Mutex<Queue>>>,
    silent_ids: u64,
    is_closed: bool,
}

/// What one client still has to get.
#[derive(Default)]
struct Queue {
    events: VecDeque<Timed>,
    /// Whether it wants more than one.
    stream: bool,
    /// Whether nothing more comes.
    ended: bool,
    waker: Option<Waker>,
}

/// The answer to a client that waits: an event a line, until the watcher ends.
pub(crate) struct Watching {
    /// The v2 index at which it began.
    pub(super) start_index: u64,
    queue: Arc<Mutex<Queue>>,
    /// How the watcher is forgotten.
    registered: Option<(Arc<Watchers>, V2WatcherId)>,
}

impl Change {
    fn bytes(&self) -> usize {
        match self {
            Self::Replaced(_) => 0,
            Self::Event(notice, _) => {
                let node = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
                let previous = notice.event.prev_node.as_ref().map_or(0, |it| node(&it.value));
                let removed: usize = notice.removed.iter().map(Bytes::len).sum();
                node(&notice.event.node.value) + previous + removed
            }
        }
    }
}

impl Inbox {
    fn push(&mut self, change: Change) {
        self.bytes += change.bytes();
        self.changes.push_back(change);
        while self.changes.len() > INBOX_EVENTS_MAX
            || (self.bytes > INBOX_BYTES_MAX && self.changes.len() > HISTORY_EVENTS)
        {
            self.overflowed = true;
            let Some(oldest) = self.changes.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(oldest.bytes());
            if let Change::Replaced(store) = oldest {
                self.base = Some(store);
            }
        }
    }
}

impl Watchers {
    /// Nobody waits. The history begins with that of a store.
    pub(crate) fn new(store: &V2Store) -> Self {
        let board = Board {
            hub: V2WatchHub::new(store),
            index: store.index(),
            applied_ns: VecDeque::new(),
            queues: BTreeMap::new(),
            silent_ids: 0,
            is_closed: false,
        };
        Self { inbox: Mutex::default(), bell: Notify::new(), board: Mutex::new(board) }
    }

    /// Takes what a turn changed, before its view is published. Never waits for a watcher.
    pub(crate) fn push(&self, changes: V2Changes) {
        let V2Changes { replaced, notices } = changes;
        if replaced.is_none() && notices.is_empty() {
            return;
        }
        let now_ns = now_ns();
        let mut inbox = locked(&self.inbox);
        if let Some(store) = replaced {
            inbox.push(Change::Replaced(store));
        }
        for notice in notices {
            inbox.push(Change::Event(notice, now_ns));
        }
        drop(inbox);
        self.bell.notify_one();
    }

    /// Matches events to watchers for as long as the member runs.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            self.bell.notified().await;
            while self.deliver(MATCHED_AT_ONCE) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Matches at most so many events. Returns whether there may be more.
    fn deliver(&self, limit: usize) -> bool {
        let mut board = locked(&self.board);
        board.take_in(&self.inbox, limit)
    }

    /// Lets a client wait.
    ///
    /// # Errors
    /// If the event that it asks for is forgotten, or too many wait.
    pub(super) fn watch(self: &Arc<Self>, options: V2WatchOptions) -> Result<Watching, KeyError> {
        let stream = options.stream;
        let mut board = locked(&self.board);
        // Events that are published may not look to this watcher as if they were still to come.
        board.take_in(&self.inbox, INBOX_EVENTS_MAX);
        if board.is_closed {
            return Err(KeyError::raft(Error::Stopped));
        }
        if board.queues.len() >= WATCHERS_MAX {
            return Err(KeyError::raft(Error::TooManyRequests));
        }
        let start_index = board.index;
        let found = board.hub.watch(options, start_index)?;
        let (events, id) = match found {
            V2Watch::Waits(id) => (VecDeque::new(), Some(id)),
            // A stream that begins with an old event gets that one and no other, as in etcd.
            V2Watch::Found(event) if stream => {
                board.silent_ids += 1;
                (VecDeque::from([board.timed(event)]), Some(SILENT | board.silent_ids))
            }
            V2Watch::Found(event) => (VecDeque::from([board.timed(event)]), None),
        };
        let queue =
            Arc::new(Mutex::new(Queue { events, stream, ended: id.is_none(), waker: None }));
        if let Some(id) = id {
            board.queues.insert(id, Arc::clone(&queue));
        }
        let registered = id.map(|id| (Arc::clone(self), id));
        Ok(Watching { start_index, queue, registered })
    }

    /// Ends all watchers; new ones are refused.
    pub(crate) fn close(&self) {
        let mut board = locked(&self.board);
        board.is_closed = true;
        board.cut_off_all();
    }

    /// How many clients wait.
    pub(crate) fn len(&self) -> usize {
        locked(&self.board).hub.len()
    }
}

impl Board {
    /// Takes at most so many changes out of the inbox and tells those whom they concern. Returns
    /// whether there may be more.
    fn take_in(&mut self, inbox: &Mutex<Inbox>, limit: usize) -> bool {
        let mut inbox = locked(inbox);
        let base = inbox.base.take();
        let overflowed = std::mem::take(&mut inbox.overflowed);
        let count = inbox.changes.len().min(limit);
        let changes: Vec<Change> = inbox.changes.drain(..count).collect();
        inbox.bytes = inbox.bytes.saturating_sub(changes.iter().map(Change::bytes).sum());
        let has_more = !inbox.changes.is_empty();
        drop(inbox);

        if overflowed {
            self.cut_off_all();
        }
        if let Some(store) = base {
            self.replace(&store);
        }
        let mut deliveries = Vec::new();
        for change in changes {
            match change {
                Change::Replaced(store) => self.replace(&store),
                Change::Event(notice, applied_ns) => {
                    self.index = notice.event.index();
                    self.applied_ns.push_back((self.index, applied_ns));
                    if self.applied_ns.len() > HISTORY_EVENTS {
                        self.applied_ns.pop_front();
                    }
                    self.hub.notify(&notice, &mut deliveries);
                    self.hand_over(&mut deliveries, applied_ns);
                }
            }
        }
        has_more
    }

    /// Finds out when an event was applied. What is in no log of this process is as of now.
    fn timed(&self, event: Arc<V2Event>) -> Timed {
        let at = self.applied_ns.binary_search_by_key(&event.index(), |(index, _)| *index);
        let applied_ns = at.ok().and_then(|at| self.applied_ns.get(at)).map(|(_, at)| *at);
        (event, applied_ns.unwrap_or_else(now_ns))
    }

    fn replace(&mut self, store: &V2Store) {
        self.applied_ns.clear();
        self.hub.replace_history(store);
        self.index = store.index();
    }

    /// Puts events into the queues that they are for.
    fn hand_over(&mut self, deliveries: &mut Vec<V2Delivery>, applied_ns: i64) {
        for V2Delivery { watcher, event } in deliveries.drain(..) {
            let Some(queue) = self.queues.get(&watcher) else { continue };
            let mut queue = locked(queue);
            let is_full = queue.events.len() >= QUEUE_EVENTS_MAX;
            if !is_full {
                queue.events.push_back((event, applied_ns));
            }
            queue.ended = is_full || !queue.stream;
            let (ended, waker) = (queue.ended, queue.waker.take());
            drop(queue);
            if ended {
                self.forget(watcher);
            }
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn forget(&mut self, watcher: V2WatcherId) {
        self.hub.cancel(watcher);
        self.queues.remove(&watcher);
    }

    fn cut_off_all(&mut self) {
        for (watcher, queue) in std::mem::take(&mut self.queues) {
            self.hub.cancel(watcher);
            let mut queue = locked(&queue);
            queue.ended = true;
            let waker = queue.waker.take();
            drop(queue);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// Where a response keeps the watcher that its body is to be made of.
#[derive(Clone)]
struct Kept(Arc<Mutex<Option<Watching>>>);

/// Takes the watcher out of a response that waits. Whoever sends the response makes its body of it.
pub(crate) fn take_watching(response: &mut Response<Body>) -> Option<Watching> {
    let Kept(watching) = response.extensions_mut().remove()?;
    locked(&watching).take()
}

impl Watching {
    /// Returns the response, with the watcher beside its empty body: see [`take_watching`].
    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(Kept(Arc::new(Mutex::new(Some(self)))));
        response
    }
}

impl HttpBody for Watching {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut queue = locked(&self.queue);
        if let Some((event, applied_ns)) = queue.events.pop_front() {
            drop(queue);
            let line = render::event(&event, true, applied_ns);
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from(line)))));
        }
        if queue.ended {
            return Poll::Ready(None);
        }
        let waker = context.waker();
        if !queue.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            queue.waker = Some(waker.clone());
        }
        Poll::Pending
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some((watchers, id)) = self.registered.take() {
            locked(&watchers.board).forget(id);
        }
    }
}

/// Takes a lock. A panic of another holder leaves at worst an event undelivered.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
