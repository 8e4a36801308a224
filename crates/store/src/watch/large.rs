//! Large revisions: ones with more events for watchers than a slice may have.
//!
//! The events of a revision come in one response, so nothing of it can be sent before all of it has
//! been looked at. A large revision is what is known between slices: first events are encoded and
//! it is noted which stretches of them each watcher gets, then watcher after watcher is sent its
//! stretches, which refer to the same encoded bytes.
//!
//! Invariants:
//! - A watcher is pending from its first event until it is sent all of them, or is forgotten.
//! - The events of a watcher are in few stretches: those of one request to delete are in the order
//!   of the keys, and other requests have few operations. So sending a watcher its stretches copies
//!   little, and refers to the rest.

use std::collections::BTreeMap;

use super::batch::{Batch, Hit, Stretch};
use super::queue::Parts;
use super::{Filled, Head, Slot, WatchHub, WatchStreamId, Watcher, stream};
use crate::revision::Revision;
use crate::view::View;

/// A revision on its way to watchers that are at the same point of the history.
#[derive(Debug)]
pub(super) struct Large {
    /// The revision.
    pub(super) revision: i64,
    /// The revision in the headers of its responses.
    at: i64,
    /// The next event to look at; nothing when all were.
    next: Option<Revision>,
    batch: Batch,
    pending: BTreeMap<Slot, Pending>,
}

/// What a watcher is to be sent: one response, or as many as fragments.
#[derive(Debug, Default)]
pub(super) struct Pending {
    fragments: Vec<Fragment>,
}

/// Events in one response.
#[derive(Debug, Default)]
struct Fragment {
    stretches: Vec<Stretch>,
    bytes: usize,
    events: usize,
}

impl Fragment {
    fn add(&mut self, stretch: Stretch, bytes: usize) {
        let joined = self.stretches.last_mut().is_some_and(|last| last.join(stretch));
        if !joined {
            self.stretches.push(stretch);
        }
        self.bytes += bytes;
        self.events += 1;
    }

    fn write(&self, batch: &Batch, out: &mut Parts) {
        for stretch in &self.stretches {
            batch.write_stretch(*stretch, out);
        }
    }
}

impl Large {
    /// A revision of which the batch has the events before `next`.
    pub(super) fn new(batch: Batch, next: Revision, at: i64) -> Self {
        let pending = BTreeMap::new();
        Self { revision: next.main, at, next: Some(next), batch, pending }
    }

    /// A watcher is sent nothing more.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.pending.remove(&slot);
    }
}

/// How far a slice has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is more of the revision.
    More,
    /// All watchers were sent all of it.
    Done,
    /// This watcher's stream has no room. It is still pending.
    Refused(Slot),
}

impl WatchHub {
    /// Notes who gets which of the events in the batch, and begins the next slice.
    pub(super) fn note_large(&self, large: &mut Large) {
        let Large { batch, pending, at, .. } = large;
        for (slot, hits) in batch.groups() {
            let watcher = &self.watchers[slot as usize];
            self.note_hits(watcher, *at, batch, hits, pending.entry(slot).or_default());
        }
        batch.clear_hits();
    }

    /// Splits as etcd does, if the watcher allows it: each part stays below the limit unless it is
    /// one event.
    fn note_hits(
        &self,
        watcher: &Watcher,
        at: i64,
        batch: &Batch,
        hits: &[Hit],
        pending: &mut Pending,
    ) {
        let head = Head { revision: at, watch_id: watcher.id, fragment: true };
        for hit in hits {
            let bytes = batch.length(std::slice::from_ref(hit));
            let is_full = pending.fragments.last().is_none_or(|last| {
                let length = self.sender.length(head, last.bytes + bytes);
                watcher.wants.fragments && length >= self.options.fragment_bytes
            });
            if is_full {
                pending.fragments.push(Fragment::default());
            }
            if let Some(last) = pending.fragments.last_mut() {
                last.add(batch.stretch(*hit), bytes);
            }
        }
    }

    /// Looks at a slice of the events of a large revision, or sends it to a slice of the watchers.
    /// An error means that the events cannot be read.
    pub(super) fn advance_large(
        &mut self,
        large: &mut Large,
        view: &View,
        catches_up: Option<WatchStreamId>,
    ) -> Result<Progress, quoin_api::error::Error> {
        let Some(next) = large.next else { return Ok(self.send_large(large)) };
        let among = match catches_up {
            Some(id) => &self.streams[id.0].behind.matcher,
            None => &self.synced,
        };
        large.next = match self.fill(&mut large.batch, view, next, large.revision, among)? {
            Filled::Within(next) => Some(next),
            Filled::UpTo(_) => None,
        };
        large.batch.sort();
        self.note_large(large);
        if large.next.is_none() {
            large.batch.seal();
        }
        Ok(Progress::More)
    }

    /// Sends some watchers all that they get of a revision.
    fn send_large(&mut self, large: &mut Large) -> Progress {
        let limits = self.options.limits;
        let (mut work, own_before) = (0, self.own_queued);
        while let Some(entry) = large.pending.first_entry() {
            let slot = *entry.key();
            if !self.has_room(self.watchers[slot as usize].stream) {
                return Progress::Refused(slot);
            }
            let pending = entry.remove();
            work += 1 + pending.fragments.iter().map(|part| part.stretches.len()).sum::<usize>();
            self.send_pending(slot, large, pending);
            let copied = self.own_queued.saturating_sub(own_before);
            if work >= limits.slice_hits || copied >= limits.slice_bytes {
                return Progress::More;
            }
        }
        Progress::Done
    }

    fn send_pending(&mut self, slot: Slot, large: &Large, pending: Pending) {
        let watcher = &mut self.watchers[slot as usize];
        assert!(watcher.next <= large.revision, "no event is sent twice");
        watcher.next = large.revision + 1;
        watcher.is_idle = false;
        let (id, watch_id) = (watcher.stream, watcher.id);
        let head = Head { revision: large.at, watch_id, fragment: false };
        let bytes = pending.fragments.iter().map(|part| part.bytes).sum();
        let length = self.sender.length(head, bytes);
        if length > super::MESSAGE_BYTES_MAX && pending.fragments.len() == 1 {
            return self.end(slot, stream::Ending::Failed(super::TOO_LARGE));
        }
        if length < self.options.fragment_bytes {
            // All of it fits without the mark of a fragment.
            let events = pending.fragments.iter().map(|part| part.events).sum();
            return self.queue_events(id, head, (bytes, events), |out| {
                pending.fragments.iter().for_each(|part| part.write(&large.batch, out));
            });
        }
        let last = pending.fragments.len().saturating_sub(1);
        for (number, part) in pending.fragments.iter().enumerate() {
            let head = Head { fragment: number < last, ..head };
            self.queue_events(id, head, (part.bytes, part.events), |out| {
                part.write(&large.batch, out);
            });
        }
    }
}
