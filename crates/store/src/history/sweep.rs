//! Giving back the memory of dropped records: chunks are written anew without them.

use std::sync::{Arc, OnceLock};

use super::{CHUNK_SLOTS, ColdBuilder, History, Hot, Link, filled};

/// Which slots of a chunk are dead.
#[derive(Debug, Default)]
pub(super) struct Dead {
    bits: Vec<u64>,
    count: usize,
}

impl Dead {
    /// Marks a slot; false if it was marked before.
    pub(super) fn mark(&mut self, slot: usize) -> bool {
        if self.bits.len() <= slot / 64 {
            self.bits.resize(slot / 64 + 1, 0);
        }
        let bit = 1 << (slot % 64);
        let fresh = self.bits[slot / 64] & bit == 0;
        self.bits[slot / 64] |= bit;
        self.count += usize::from(fresh);
        fresh
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn has(&self, slot: usize) -> bool {
        self.bits.get(slot / 64).is_some_and(|bits| bits & (1 << (slot % 64)) != 0)
    }
}

impl History {
    /// Writes a finished chunk anew if it has dead records, and joins it with the chunk before it
    /// if both fit into one.
    pub(super) fn sweep(&mut self, at: usize) {
        if self.dead[at].count == 0 {
            return;
        }
        let mut first = at;
        if let Some(before) = at.checked_sub(1) {
            let living = |at: usize| self.view.filled(at) - self.dead[at].count;
            if living(at) + living(before) <= CHUNK_SLOTS / 2 && self.is_alike(before, at) {
                first = before;
            }
        }
        let replacement = self.without_dead(first..=at);
        let is_tail = at + 1 == self.view.links.len();
        self.dead.splice(first..=at, replacement.iter().map(|_| Dead::default()));
        let links = Arc::make_mut(&mut self.view.links);
        links.splice(first..=at, replacement);
        if is_tail {
            self.view.tail_len = links.last().map_or(0, |last| last.len);
        }
    }

    /// Whether the chunks have the same form and lie on the same side of what a job has seen.
    fn is_alike(&self, before: usize, at: usize) -> bool {
        let (left, right) = (&self.view.links[before], &self.view.links[at]);
        left.hot.is_some() == right.hot.is_some()
            && left.cold.is_some() == right.cold.is_some()
            && (left.first < self.boundary) == (right.first < self.boundary)
    }

    /// One chunk with what is left of some that are alike; none if nothing is left.
    fn without_dead(&self, chunks: std::ops::RangeInclusive<usize>) -> Option<Link> {
        let (mut records, mut places) = (Vec::new(), ColdBuilder::default());
        let (mut first, mut len) = (None, 0);
        for at in chunks.clone() {
            let link = &self.view.links[at];
            for slot in (0..self.view.filled(at)).filter(|slot| !self.dead[at].has(*slot)) {
                first = first.or(Some(link.revision(slot)));
                len += 1;
                if let Some(hot) = &link.hot {
                    records.push(OnceLock::from(filled(hot, slot).clone()));
                }
                if let Some(cold) = &link.cold {
                    places.push(&cold.place(slot));
                }
            }
        }
        let is_hot = self.view.links[*chunks.start()].hot.is_some();
        let hot = is_hot.then(|| Hot::from(records));
        Some(Link { first: first?, len, hot, cold: places.finish().map(Arc::new) })
    }
}
