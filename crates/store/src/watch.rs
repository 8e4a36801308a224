//! Watch: who is told which changes, and what has been told.
//!
//! A [`WatchHub`] is a value without threads, clock and sockets. Whoever owns it gives it each new
//! view ([`WatchHub::publish`]), lets it work in slices ([`WatchHub::dispatch`] for watchers that
//! are up to date, [`WatchHub::catch_up`] for those of a stream that are not), hands it what
//! clients ask ([`WatchHub::request`]), and takes the responses of each stream as bytes
//! ([`WatchHub::take`]).
//!
//! A watcher is *synced* while it has been offered every event up to the published revision, or is
//! *behind*: because it began in the past, or because its stream had no room for an event. Synced
//! watchers of all streams are told an event together. Those that are behind read the history at
//! the speed at which their own client takes responses, and slow nobody.
//!
//! Invariants:
//! - A watcher gets the events it wants in order, each once, none left out. If compaction has
//!   taken an event before the watcher had it, the watcher is cancelled and told so.
//! - The events of a revision come in one response, unless the watcher allows fragments.
//! - A slice of work is bounded, however many events a revision has (`large`).
//! - Many bytes of events that go to many streams are in memory once (`encoded`).
//! - A revision in a progress notification is never newer than what has been queued before it.
//! - What waits for clients is bounded ([`WatchLimits`]), up to one response beyond.
//!
//! Not here: gRPC, who may watch what, when a notification is due.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use quoin_api::error::Error;

use crate::revision::Revision;
use crate::view::View;

mod batch;
mod catch_up;
mod encoded;
mod intervals;
mod large;
mod matcher;
mod queue;
mod request;
mod response;
mod stream;
#[cfg(test)]
mod tests;

use batch::{Batch, Hit, Want};
use encoded::SharedBytes;
use large::{Large, Progress};
use matcher::{Keys, Matcher};
use queue::Parts;
use response::{Head, MESSAGE_BYTES_MAX, Sender};
use stream::Stream;

/// Views that wait until their events are dispatched. Only those are kept that a compaction
/// follows; beyond, a watcher may be cancelled as overtaken by compaction.
const VIEWS_MAX: usize = 16;

/// Why a watcher is ended whose response no gRPC library would take.
const TOO_LARGE: &str = "etcdserver: watch response is too large";

/// The place of a watcher in the hub.
type Slot = u32;

/// The settings of a hub.
#[derive(Clone, Copy, Debug)]
pub struct WatchOptions {
    /// The cluster, for headers.
    pub cluster_id: u64,
    /// The member, for headers.
    pub member_id: u64,
    /// Bytes from which on a response is fragmented, if the watcher allows it.
    pub fragment_bytes: usize,
    /// Any number, better not a guessable one. It decides nothing that can be seen.
    pub seed: u64,
    /// What bounds memory and slices of work.
    pub limits: WatchLimits,
}

/// What bounds the memory of a hub and its slices of work.
#[derive(Clone, Copy, Debug)]
pub struct WatchLimits {
    /// Watchers of all streams.
    pub watchers: usize,
    /// Watchers on one stream.
    pub stream_watchers: usize,
    /// Bytes that may wait on one stream before its watchers fall behind.
    pub stream_bytes: usize,
    /// Bytes that a stream may have waiting whatever the other streams have.
    pub floor_bytes: usize,
    /// Bytes that may wait on all streams before those above the floor fall behind.
    pub hub_bytes: usize,
    /// Bytes of events that go into one response, unless one revision has more.
    pub response_bytes: usize,
    /// Bytes of neighbouring events from which on streams share them, rather than have copies.
    pub shared_min_bytes: usize,
    /// A slice ends, with the present event, after this many events for watchers.
    pub slice_hits: usize,
    /// The same: bytes for watchers.
    pub slice_bytes: usize,
    /// The same: events looked at.
    pub slice_events: usize,
}

impl Default for WatchLimits {
    fn default() -> Self {
        Self {
            watchers: 1 << 20,
            stream_watchers: 128 << 10,
            stream_bytes: 512 << 10,
            floor_bytes: 32 << 10,
            hub_bytes: 64 << 20,
            response_bytes: 256 << 10,
            shared_min_bytes: 8 << 10,
            slice_hits: 16 << 10,
            slice_bytes: 8 << 20,
            slice_events: 4 << 10,
        }
    }
}

/// How much a hub has to do, and what it has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchStats {
    /// Streams.
    pub streams: usize,
    /// Watchers of all streams.
    pub watchers: usize,
    /// Those of them that have not been offered everything that was published.
    pub behind: usize,
    /// Bytes that wait for clients.
    pub queued_bytes: usize,
    /// Events among them.
    pub queued_events: usize,
    /// Events that were taken since the beginning.
    pub taken_events: u64,
}

/// A stream of a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchStreamId(usize);

/// Streams, their watchers, and what waits for each client.
#[derive(Debug)]
pub struct WatchHub {
    options: WatchOptions,
    sender: Sender,
    /// Views whose events are not dispatched, the newest one last. Empty before the first one.
    views: VecDeque<View>,
    /// Events up to this revision have been offered to all synced watchers.
    published: i64,
    /// The first revision after that, while slices of it are offered to them.
    large: Option<Large>,
    synced: Matcher,
    watchers: Slots<Watcher>,
    streams: Slots<Stream>,
    /// Bytes that wait on all streams, each on one of them.
    own_queued: usize,
    /// Bytes that streams share.
    shared: SharedBytes,
    /// Events that were taken.
    taken_events: u64,
    /// Streams that have something to do; each says so itself, too.
    ready: Vec<WatchStreamId>,
    /// Streams that wait to tell their progress.
    waiting: BTreeSet<WatchStreamId>,
}

/// One watcher.
#[derive(Debug)]
struct Watcher {
    stream: WatchStreamId,
    id: i64,
    keys: Keys,
    /// The first revision that this watcher has not been offered, or a newer one than all that
    /// have been published.
    next: i64,
    is_behind: bool,
    /// Nothing was sent since the last time that progress was due.
    is_idle: bool,
    wants: Wants,
}

/// What a slice has covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filled {
    /// Every event up to this revision.
    UpTo(i64),
    /// The events of its first revision before this one.
    Within(Revision),
}

/// What a watcher wants, besides its keys.
#[derive(Clone, Copy, Debug)]
struct Wants {
    puts: bool,
    deletes: bool,
    previous: bool,
    fragments: bool,
    progress: bool,
}

impl WatchHub {
    /// A hub without streams and views.
    pub fn new(options: WatchOptions) -> Self {
        Self {
            options,
            sender: Sender::new(options.cluster_id, options.member_id),
            views: VecDeque::new(),
            published: 0,
            large: None,
            synced: Matcher::new(options.seed),
            watchers: Slots::default(),
            streams: Slots::default(),
            own_queued: 0,
            shared: SharedBytes::default(),
            taken_events: 0,
            ready: Vec::new(),
            waiting: BTreeSet::new(),
        }
    }

    /// Sets the term for headers.
    pub fn set_term(&mut self, term: u64) {
        self.sender.set_term(term);
    }

    /// Takes note of a view. Its events wait for [`WatchHub::dispatch`]; a view that compaction
    /// separates from the next one stays until its events are dispatched.
    pub fn publish(&mut self, view: View) {
        if self.streams.len() == 0 {
            return;
        }
        let Some(last) = self.views.back_mut() else {
            self.published = self.published.max(view.revision());
            self.views.push_back(view);
            return;
        };
        if view.revision() < last.revision() {
            return;
        }
        if last.compact_revision() == view.compact_revision() || last.revision() <= self.published {
            *last = view;
        } else {
            self.views.push_back(view);
        }
        if self.views.len() > VIEWS_MAX {
            self.views.pop_front();
        }
    }

    /// Offers a slice of the newest events to the synced watchers. Returns true if there is more.
    pub fn dispatch(&mut self) -> bool {
        while let Some(view) = self.views.front().cloned() {
            if self.published < view.revision() {
                if self.synced.is_empty() {
                    (self.large, self.published) = (None, view.revision());
                } else if self.published.saturating_add(1) < view.compact_revision() {
                    self.fall_behind(view.revision());
                } else {
                    self.dispatch_slice(&view);
                }
                self.tell_waiting();
                if self.published < view.revision() {
                    return true;
                }
            }
            if self.views.len() == 1 {
                return false;
            }
            self.views.pop_front();
        }
        false
    }

    /// The streams that have something to take or to catch up with since the last call.
    pub fn take_ready(&mut self) -> Vec<WatchStreamId> {
        for id in &self.ready {
            if let Some(stream) = self.streams.get_mut(id.0) {
                stream.is_ready = false;
            }
        }
        std::mem::take(&mut self.ready)
    }

    /// Takes the next bytes for the client: messages, each behind five bytes as in gRPC. Those of a
    /// message with many bytes come in pieces.
    pub fn take(&mut self, id: WatchStreamId) -> Option<Bytes> {
        let chunk = self.stream_mut(id).queue.take()?;
        self.own_queued -= chunk.own_bytes;
        self.taken_events += chunk.events as u64;
        Some(chunk.bytes)
    }

    /// Returns true while the stream can take more responses. While it cannot, its client's
    /// requests should wait.
    pub fn has_room(&self, id: WatchStreamId) -> bool {
        let bytes = self.streams[id.0].queue.bytes();
        let limits = &self.options.limits;
        bytes < limits.floor_bytes
            || (bytes < limits.stream_bytes && self.queued() < limits.hub_bytes)
    }

    /// Bytes in memory for clients; those that streams share are counted once.
    fn queued(&self) -> usize {
        self.own_queued + self.shared.count()
    }

    /// How many watchers there are.
    pub fn watchers(&self) -> usize {
        self.watchers.len()
    }

    /// How many streams there are.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Counts what there is, which takes a look at every stream.
    pub fn stats(&self) -> WatchStats {
        let streams = || self.streams.values.iter().flatten();
        WatchStats {
            streams: self.streams.len(),
            watchers: self.watchers.len(),
            behind: streams().map(|stream| stream.behind.slots.len()).sum(),
            queued_bytes: self.queued(),
            queued_events: streams().map(|stream| stream.queue.events()).sum(),
            taken_events: self.taken_events,
        }
    }

    /// The newest view.
    fn newest(&self) -> &View {
        self.views.back().expect("a hub has a view before it has a stream")
    }

    fn stream_mut(&mut self, id: WatchStreamId) -> &mut Stream {
        &mut self.streams[id.0]
    }

    fn set_ready(&mut self, id: WatchStreamId) {
        let stream = &mut self.streams[id.0];
        if !stream.is_ready {
            stream.is_ready = true;
            self.ready.push(id);
        }
    }

    /// Dispatches some whole revisions of the view, or a part of a large one.
    fn dispatch_slice(&mut self, view: &View) {
        if let Some(large) = self.large.take() {
            return self.dispatch_large(large, view);
        }
        let from = self.published + 1;
        let (batch, filled) = self.collect(view, from, view.revision(), &self.synced);
        match filled {
            Ok(Filled::UpTo(end)) => {
                let groups: Vec<(Slot, &[Hit])> = batch.groups().collect();
                for (slot, hits) in groups {
                    if let Err(refused) = self.send(slot, None, &batch, hits) {
                        self.move_behind(slot, refused);
                    }
                }
                self.published = end;
            }
            Ok(Filled::Within(next)) => {
                let mut large = Large::new(batch, next, next.main);
                self.note_large(&mut large);
                self.large = Some(large);
            }
            // The next revision cannot be read. Its watchers learn that when they catch up.
            Err(_) => self.fall_behind(view.revision()),
        }
    }

    /// Offers a slice of a large revision to the synced watchers.
    fn dispatch_large(&mut self, mut large: Large, view: &View) {
        for _ in 0..self.options.limits.slice_hits.max(1) {
            match self.advance_large(&mut large, view, None) {
                Ok(Progress::Refused(slot)) => {
                    large.forget(slot);
                    self.move_behind(slot, large.revision);
                }
                Ok(Progress::More) => break,
                Ok(Progress::Done) => {
                    self.published = large.revision;
                    return;
                }
                Err(_) => return self.fall_behind(view.revision()),
            }
        }
        self.large = Some(large);
    }

    /// Events up to this revision have been offered to synced watchers, or begun to be.
    fn begun(&self) -> i64 {
        self.large.as_ref().map_or(self.published, |large| large.revision)
    }

    /// Collects what watchers want of the revisions `from..=to`, up to the end of a slice. Returns
    /// what the batch covers, or why not even one revision can be read.
    fn collect(
        &self,
        view: &View,
        from: i64,
        to: i64,
        among: &Matcher,
    ) -> (Batch, Result<Filled, Error>) {
        let mut batch = Batch::new(&self.shared, self.options.limits.shared_min_bytes);
        let filled = self.fill(&mut batch, view, Revision::first_of(from), to, among);
        batch.sort();
        if matches!(filled, Ok(Filled::UpTo(_))) {
            batch.seal();
        }
        (batch, filled)
    }

    fn fill(
        &self,
        batch: &mut Batch,
        view: &View,
        from: Revision,
        to: i64,
        among: &Matcher,
    ) -> Result<Filled, Error> {
        let limits = &self.options.limits;
        let (mut wants, mut last) = (Vec::new(), from.main);
        for (number, event) in view.events_at(from)?.enumerate() {
            let added = event.and_then(|event| {
                let revision = event.revision.main;
                if revision > to {
                    return Ok(Some(Filled::UpTo(to)));
                }
                let is_full = number >= limits.slice_events
                    || batch.hits() >= limits.slice_hits
                    || batch.hit_bytes() >= limits.slice_bytes;
                if number > 0 && is_full {
                    if revision > last {
                        return Ok(Some(Filled::UpTo(last)));
                    }
                    if last == from.main {
                        return Ok(Some(Filled::Within(event.revision)));
                    }
                    // Whole revisions first. This one begins the next slice.
                    batch.truncate(last);
                    return Ok(Some(Filled::UpTo(last - 1)));
                }
                last = revision;
                wants.clear();
                among.visit(&event.pair.key, &mut |slot| {
                    let watcher = &self.watchers[slot as usize];
                    let Wants { puts, deletes, previous, .. } = watcher.wants;
                    if watcher.next <= revision && if event.is_delete { deletes } else { puts } {
                        wants.push(Want { slot, previous });
                    }
                });
                batch.add(view, &event, &wants)?;
                if batch.hits() < limits.slice_hits.saturating_mul(2) {
                    return Ok(None);
                }
                // So many watchers want this one event that they are sent it in slices, too.
                if last == from.main {
                    let next = Revision { sub: event.revision.sub + 1, ..event.revision };
                    return Ok(Some(Filled::Within(next)));
                }
                batch.truncate(last);
                Ok(Some(Filled::UpTo(last - 1)))
            });
            match added {
                Ok(None) => {}
                Ok(Some(filled)) => return Ok(filled),
                Err(error) => {
                    // Whatever revision that was, all before the last one is whole.
                    batch.truncate(last);
                    let is_later = last > from.main;
                    return if is_later { Ok(Filled::UpTo(last - 1)) } else { Err(error) };
                }
            }
        }
        Ok(Filled::UpTo(to))
    }

    /// Queues a watcher's events. An error is the first revision that its stream has no room for.
    /// The header has the revision `at`, or else that of the last event.
    fn send(
        &mut self,
        slot: Slot,
        at: Option<i64>,
        batch: &Batch,
        hits: &[Hit],
    ) -> Result<(), i64> {
        let mut rest = hits;
        while let Some(first) = rest.first() {
            let watcher = &self.watchers[slot as usize];
            let (stream, watch_id) = (watcher.stream, watcher.id);
            if !self.has_room(stream) {
                return Err(batch.revision(*first));
            }
            let (hits, others) =
                rest.split_at(response_len(batch, rest, self.options.limits.response_bytes));
            let last = batch.revision(hits[hits.len() - 1]);
            let revision = at.unwrap_or(last);
            let head = Head { revision, watch_id, fragment: false };
            let length = self.sender.length(head, batch.length(hits));
            if watcher.wants.fragments && length >= self.options.fragment_bytes {
                self.send_fragments(stream, head, batch, hits);
            } else if length > MESSAGE_BYTES_MAX {
                self.end(slot, stream::Ending::Failed(TOO_LARGE));
                return Ok(());
            } else {
                self.send_one(stream, head, batch, hits);
            }
            let watcher = &mut self.watchers[slot as usize];
            assert!(watcher.next <= last, "no event is sent twice");
            watcher.next = last + 1;
            watcher.is_idle = false;
            rest = others;
        }
        Ok(())
    }

    /// Splits a response as etcd does: each part stays below the limit unless it is one event.
    fn send_fragments(&mut self, stream: WatchStreamId, head: Head, batch: &Batch, hits: &[Hit]) {
        let limit = self.options.fragment_bytes;
        let mut rest = hits;
        while !rest.is_empty() {
            let empty = self.sender.length(Head { fragment: true, ..head }, 0);
            let (mut length, mut count) = (empty, 0);
            for hit in rest {
                length += batch.length(std::slice::from_ref(hit));
                if count > 0 && length >= limit {
                    break;
                }
                count += 1;
            }
            let (part, others) = rest.split_at(count);
            self.send_one(stream, Head { fragment: !others.is_empty(), ..head }, batch, part);
            rest = others;
        }
    }

    fn send_one(&mut self, id: WatchStreamId, head: Head, batch: &Batch, hits: &[Hit]) {
        let events = (batch.length(hits), hits.len());
        self.queue_events(id, head, events, |out| batch.write(hits, out));
    }

    /// Queues a response with so many bytes of so many events, which `write` writes.
    fn queue_events(
        &mut self,
        id: WatchStreamId,
        head: Head,
        events: (usize, usize),
        write: impl FnOnce(&mut Parts),
    ) {
        let queue = &mut self.streams[id.0].queue;
        self.own_queued += self.sender.events(queue, head, events, write);
        self.set_ready(id);
    }
}

/// How many of the hits of a watcher go into its next response: whole revisions.
fn response_len(batch: &Batch, hits: &[Hit], limit: usize) -> usize {
    let (mut count, mut bytes) = (0, 0);
    for revision in hits.chunk_by(|left, right| batch.revision(*left) == batch.revision(*right)) {
        bytes += batch.length(revision);
        if count > 0 && bytes > limit {
            break;
        }
        count += revision.len();
    }
    count
}

/// Values by number; the number of one that was removed is used again.
#[derive(Debug)]
struct Slots<T> {
    values: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { values: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    fn len(&self) -> usize {
        self.values.len() - self.free.len()
    }

    fn insert(&mut self, value: T) -> usize {
        if let Some(number) = self.free.pop() {
            self.values[number] = Some(value);
            return number;
        }
        self.values.push(Some(value));
        self.values.len() - 1
    }

    fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        self.values.get_mut(number)?.as_mut()
    }

    fn remove(&mut self, number: usize) -> T {
        let value = self.values[number].take().expect("only what is there is removed");
        self.free.push(number);
        value
    }
}

impl<T> std::ops::Index<usize> for Slots<T> {
    type Output = T;

    fn index(&self, number: usize) -> &T {
        self.values[number].as_ref().expect("a number is used while its value is there")
    }
}

impl<T> std::ops::IndexMut<usize> for Slots<T> {
    fn index_mut(&mut self, number: usize) -> &mut T {
        self.values[number].as_mut().expect("a number is used while its value is there")
    }
}
