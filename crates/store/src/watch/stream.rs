//! Streams: the watchers of one client, and what waits for it.

use std::collections::{BTreeMap, BTreeSet};

use quoin_api::etcdserverpb::WatchResponse;

use super::large::Large;
use super::matcher::Matcher;
use super::queue::Queue;
use super::{Slot, WatchHub, WatchStreamId, Watcher};
use crate::view::View;

/// The ID in a response that is about no watcher, or about all of the stream.
const ALL_WATCHERS: i64 = -1;

/// The watchers of one client.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) watchers: BTreeMap<i64, Named>,
    /// The ID of the next watcher that names none.
    pub(super) next_id: i64,
    pub(super) queue: Queue,
    pub(super) behind: Behind,
    /// Watchers whose start is newer than what has been published, by start and ID.
    pub(super) future: BTreeSet<(i64, i64)>,
    /// The client asked for the progress when this was the newest revision.
    pub(super) progress_since: Option<i64>,
    pub(super) is_ready: bool,
}

/// What an ID stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// A watcher.
    Watcher(Slot),
    /// A watcher that we ended. Its ID is in use until the client cancels it, as in etcd.
    Ended,
}

/// The watchers of a stream that have not been offered everything that was published.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) matcher: Matcher,
    pub(super) slots: BTreeSet<Slot>,
    /// The first revision that one of them has not been offered.
    pub(super) cursor: i64,
    /// That revision, while slices of it are offered to them.
    pub(super) large: Option<Box<Large>>,
}

/// Why a watcher is ended by the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Compaction took events that it has not been sent; the revision that was compacted.
    Compacted(i64),
    /// Its events cannot be had.
    Failed(&'static str),
}

impl Behind {
    pub(super) fn insert(&mut self, watcher: &Watcher, slot: Slot) {
        if self.large.as_ref().is_some_and(|large| watcher.next <= large.revision) {
            // This watcher wants what the others have been offered already: again, for all of them.
            self.large = None;
        }
        self.cursor = self.cursor.min(watcher.next);
        self.matcher.insert(&watcher.keys, slot);
        self.slots.insert(slot);
    }

    pub(super) fn remove(&mut self, watcher: &Watcher, slot: Slot) {
        self.matcher.remove(&watcher.keys, slot);
        self.slots.remove(&slot);
        if let Some(large) = &mut self.large {
            large.forget(slot);
        }
        if self.slots.is_empty() {
            (self.cursor, self.large) = (i64::MAX, None);
        }
    }
}

impl WatchHub {
    /// Opens a stream. The view is the newest one.
    pub fn open(&mut self, view: View) -> WatchStreamId {
        let behind = Behind {
            matcher: Matcher::new(self.options.seed),
            slots: BTreeSet::new(),
            cursor: i64::MAX,
            large: None,
        };
        let stream = Stream {
            watchers: BTreeMap::new(),
            next_id: 0,
            queue: Queue::default(),
            behind,
            future: BTreeSet::new(),
            progress_since: None,
            is_ready: false,
        };
        let id = WatchStreamId(self.streams.insert(stream));
        self.publish(view);
        id
    }

    /// Ends a stream and its watchers. What was not taken is lost.
    pub fn close(&mut self, id: WatchStreamId) {
        let named: Vec<Named> = self.streams[id.0].watchers.values().copied().collect();
        for name in named {
            if let Named::Watcher(slot) = name {
                self.forget(slot);
            }
        }
        let stream = self.streams.remove(id.0);
        self.own_queued -= stream.queue.own_bytes();
        self.waiting.remove(&id);
        if self.streams.len() == 0 {
            // A view keeps what it shows in memory.
            self.views.clear();
            self.large = None;
        }
    }

    /// Tells the progress of the watchers of a stream that want to know it, are synced and were
    /// sent nothing since the last call.
    pub fn notify_progress(&mut self, id: WatchStreamId) {
        let named: Vec<Named> = self.streams[id.0].watchers.values().copied().collect();
        for name in named {
            let Named::Watcher(slot) = name else { continue };
            let watcher = &mut self.watchers[slot as usize];
            if !watcher.wants.progress {
                continue;
            }
            let was_idle = std::mem::replace(&mut watcher.is_idle, true);
            let (watch_id, next) = (watcher.id, watcher.next);
            let is_synced = !watcher.is_behind && next <= self.published.saturating_add(1);
            let has_begun = !self.streams[id.0].future.contains(&(next, watch_id));
            if was_idle && is_synced && has_begun && self.has_room(id) {
                let response = WatchResponse { watch_id, ..WatchResponse::default() };
                self.control(id, self.published, response);
            }
        }
    }

    /// Answers the streams that asked for their progress, as far as they are there.
    pub(super) fn tell_waiting(&mut self) {
        let waiting: Vec<WatchStreamId> = self.waiting.iter().copied().collect();
        for id in waiting {
            self.tell_progress(id);
        }
    }

    /// Answers a stream that asked for its progress, when all its watchers have been offered all
    /// events up to the published revision, and that is not older than the question.
    pub(super) fn tell_progress(&mut self, id: WatchStreamId) {
        let (published, has_room) = (self.published, self.has_room(id));
        let stream = &mut self.streams[id.0];
        while stream.future.first().is_some_and(|(start, _)| *start <= published) {
            stream.future.pop_first();
        }
        let Some(since) = stream.progress_since else { return };
        let is_synced = stream.behind.slots.is_empty() && stream.future.is_empty();
        // Some may have been sent more than what was published, and are told so when all have been.
        let is_synced = is_synced && self.large.is_none();
        if is_synced && since <= published && has_room {
            stream.progress_since = None;
            self.waiting.remove(&id);
            let response = WatchResponse { watch_id: ALL_WATCHERS, ..WatchResponse::default() };
            self.control(id, published, response);
        }
    }

    /// Ends a watcher and tells its client.
    pub(super) fn end(&mut self, slot: Slot, ending: Ending) {
        let watcher = self.forget(slot);
        let stream = &mut self.streams[watcher.stream.0];
        stream.watchers.insert(watcher.id, Named::Ended);
        let (compact_revision, cancel_reason) = match ending {
            Ending::Compacted(revision) => (revision, String::new()),
            Ending::Failed(reason) => (0, reason.to_owned()),
        };
        let response = WatchResponse {
            watch_id: watcher.id,
            canceled: true,
            compact_revision,
            cancel_reason,
            ..WatchResponse::default()
        };
        // etcd gives no revision here.
        self.control(watcher.stream, 0, response);
    }

    /// Removes a watcher from everywhere but the names of its stream.
    pub(super) fn forget(&mut self, slot: Slot) -> Watcher {
        let watcher = self.watchers.remove(slot as usize);
        let stream = &mut self.streams[watcher.stream.0];
        stream.future.remove(&(watcher.next, watcher.id));
        if watcher.is_behind {
            stream.behind.remove(&watcher, slot);
        } else {
            self.synced.remove(&watcher.keys, slot);
            if let Some(large) = &mut self.large {
                large.forget(slot);
            }
        }
        watcher
    }

    /// Queues a response without events.
    pub(super) fn control(&mut self, id: WatchStreamId, revision: i64, response: WatchResponse) {
        self.own_queued += self.sender.control(&mut self.streams[id.0].queue, revision, response);
        self.set_ready(id);
    }
}
