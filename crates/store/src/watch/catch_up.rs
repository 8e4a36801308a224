//! Catching up: watchers that are behind read the history, each stream at its own pace.

use std::collections::BTreeSet;

use super::stream::Ending;
use super::{Hit, Slot, WatchHub, WatchStreamId};
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
            if self.has_room(id) && self.streams[id.0].behind.cursor <= self.published {
                self.catch_up_slice(id, &view);
            }
            if self.streams[id.0].behind.cursor > self.published {
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

    /// Sends the events of some revisions from the cursor on.
    fn catch_up_slice(&mut self, id: WatchStreamId, view: &View) {
        let behind = &self.streams[id.0].behind;
        let from = behind.cursor;
        let (batch, end) = self.collect(view, from, self.published, &behind.matcher);
        let end = match end {
            Ok(end) => end,
            Err(error) => {
                for slot in self.behind(id) {
                    if self.watchers[slot as usize].next <= from && self.has_room(id) {
                        self.end(slot, Ending::Failed(error.message()));
                    }
                }
                return self.find_cursor(id);
            }
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
