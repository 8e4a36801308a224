//! Catching up: watchers that are behind read the history, each stream at its own pace.

use std::collections::BTreeSet;

use quoin_api::error::Error;

use super::large::{Large, Progress};
use super::stream::Ending;
use super::{Filled, Hit, Slot, WatchHub, WatchStreamId};
use crate::view::View;

impl WatchHub {
    /// Brings the watchers of a stream that are behind a slice further, if the stream has room.
    /// Returns true if there is more to do at once.
    pub fn catch_up(&mut self, id: WatchStreamId) -> bool {
        if !self.has_room(id) {
            return false;
        }
        if !self.streams[id.0].behind.slots.is_empty() {
            let view = self.views.front().expect("a hub has a view while it has streams").clone();
            self.end_overtaken(id, view.compact_revision());
            if self.has_room(id) && self.streams[id.0].behind.cursor <= self.begun() {
                self.catch_up_slice(id, &view);
            }
            if self.streams[id.0].behind.cursor > self.begun() {
                self.join(id);
            }
        }
        self.tell_progress(id);
        !self.streams[id.0].behind.slots.is_empty() && self.has_room(id)
    }

    /// Ends the watchers that compaction has overtaken, as far as there is room to say so.
    fn end_overtaken(&mut self, id: WatchStreamId, compacted: i64) {
        if self.streams[id.0].behind.cursor >= compacted {
            return;
        }
        for slot in self.behind(id) {
            if self.watchers[slot as usize].next < compacted && self.has_room(id) {
                self.end(slot, Ending::Compacted(compacted));
            }
        }
        self.find_cursor(id);
    }

    /// Sends the events of some revisions from the cursor on, or does a part of a large one.
    fn catch_up_slice(&mut self, id: WatchStreamId, view: &View) {
        if let Some(large) = self.streams[id.0].behind.large.take() {
            return self.catch_up_large(id, large, view);
        }
        let behind = &self.streams[id.0].behind;
        let from = behind.cursor;
        let (batch, filled) = self.collect(view, from, self.begun(), &behind.matcher);
        let end = match filled {
            Ok(Filled::UpTo(end)) => end,
            Ok(Filled::Within(next)) => {
                let mut large = Box::new(Large::new(batch, next, view.revision()));
                self.note_large(&mut large);
                self.streams[id.0].behind.large = Some(large);
                return;
            }
            Err(error) => return self.end_unreadable(id, from, error),
        };
        let groups: Vec<(Slot, &[Hit])> = batch.groups().collect();
        let mut refused = BTreeSet::new();
        for (slot, hits) in groups {
            if let Err(revision) = self.send(slot, Some(view.revision()), &batch, hits) {
                let watcher = &mut self.watchers[slot as usize];
                watcher.next = watcher.next.max(revision);
                refused.insert(slot);
            }
        }
        for slot in self.behind(id) {
            if !refused.contains(&slot) {
                let watcher = &mut self.watchers[slot as usize];
                watcher.next = watcher.next.max(end.saturating_add(1));
            }
        }
        self.find_cursor(id);
    }

    /// Does a slice of a large revision. What is there waits for its turn until there is room.
    fn catch_up_large(&mut self, id: WatchStreamId, mut large: Box<Large>, view: &View) {
        match self.advance_large(&mut large, view, Some(id)) {
            Ok(Progress::More | Progress::Refused(_)) => {
                self.streams[id.0].behind.large = Some(large);
            }
            Ok(Progress::Done) => {
                // Those that wanted nothing of it have been offered it, too.
                for slot in self.behind(id) {
                    let watcher = &mut self.watchers[slot as usize];
                    watcher.next = watcher.next.max(large.revision.saturating_add(1));
                }
                self.find_cursor(id);
            }
            Err(error) => self.end_unreadable(id, large.revision, error),
        }
    }

    /// Ends the watchers of a stream that need a revision which cannot be read.
    fn end_unreadable(&mut self, id: WatchStreamId, revision: i64, error: Error) {
        for slot in self.behind(id) {
            if self.watchers[slot as usize].next <= revision && self.has_room(id) {
                self.end(slot, Ending::Failed(error.message()));
            }
        }
        self.find_cursor(id);
    }

    /// Makes the watchers of a stream that are behind synced: they have been offered everything.
    fn join(&mut self, id: WatchStreamId) {
        for slot in self.behind(id) {
            let watcher = &mut self.watchers[slot as usize];
            self.streams[id.0].behind.remove(watcher, slot);
            watcher.is_behind = false;
            self.synced.insert(&watcher.keys, slot);
        }
    }

    /// Takes a watcher out of the synced ones; `next` is the first revision that it has not been
    /// offered.
    pub(super) fn move_behind(&mut self, slot: Slot, next: i64) {
        let watcher = &mut self.watchers[slot as usize];
        self.synced.remove(&watcher.keys, slot);
        watcher.next = watcher.next.max(next);
        watcher.is_behind = true;
        let stream = watcher.stream;
        self.streams[stream.0].behind.insert(watcher, slot);
        self.set_ready(stream);
    }

    /// Takes all watchers out of the synced ones that may want an event up to `revision`, and goes
    /// on as if it were published: they find out by themselves what is left of it.
    pub(super) fn fall_behind(&mut self, revision: i64) {
        let next = self.published.saturating_add(1);
        self.large = None;
        for slot in self.synced.slots() {
            if self.watchers[slot as usize].next <= revision {
                self.move_behind(slot, next);
            }
        }
        self.published = revision;
    }

    fn behind(&self, id: WatchStreamId) -> Vec<Slot> {
        self.streams[id.0].behind.slots.iter().copied().collect()
    }

    fn find_cursor(&mut self, id: WatchStreamId) {
        let slots = self.behind(id);
        let next = slots.into_iter().map(|slot| self.watchers[slot as usize].next);
        self.streams[id.0].behind.cursor = next.min().unwrap_or(i64::MAX);
    }
}
