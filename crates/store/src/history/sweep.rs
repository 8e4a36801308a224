//! Giving back the memory of dropped records: chunks are written anew without them.

use std::sync::{Arc, OnceLock};

use super::{Body, CHUNK_BYTES, CHUNK_SLOTS, ColdBuilder, History, Link, Packed, Slots, filled};

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
        let before = at.checked_sub(1).filter(|before| self.is_joined(*before, at));
        let first = before.unwrap_or(at);
        let replacement = self.without_dead(first..=at);
        let is_tail = at + 1 == self.view.links.len();
        self.dead.splice(first..=at, replacement.iter().map(|_| Dead::default()));
        let links = Arc::make_mut(&mut self.view.links);
        links.splice(first..=at, replacement);
        if is_tail {
            self.view.tail_len = links.last().map_or(0, |last| last.len);
        }
    }

    /// Does so to all chunks.
    pub(crate) fn sweep_all(&mut self) {
        (0..self.view.links.len()).rev().for_each(|at| self.sweep(at));
    }

    /// Whether two neighbours become one chunk: a small one, also in bytes if they are in memory.
    fn is_joined(&self, before: usize, at: usize) -> bool {
        let count = |at: usize| self.view.filled(at) - self.dead[at].count;
        if count(before) + count(at) > CHUNK_SLOTS / 2 || !self.is_alike(before, at) {
            return false;
        }
        let living =
            [before, at].into_iter().flat_map(|at| self.living(at).map(move |slot| (at, slot)));
        let bytes: usize = living.map(|(at, slot)| self.view.links[at].length(slot)).sum();
        !self.view.links[at].is_in_memory() || bytes <= CHUNK_BYTES
    }

    /// The slots of a chunk that were not dropped.
    pub(super) fn living(&self, at: usize) -> impl Iterator<Item = usize> + Clone + '_ {
        (0..self.view.filled(at)).filter(move |slot| !self.dead[at].has(*slot))
    }

    /// Whether the chunks have the same form and lie on the same side of what a job has seen.
    fn is_alike(&self, before: usize, at: usize) -> bool {
        let (left, right) = (&self.view.links[before], &self.view.links[at]);
        left.is_in_memory() == right.is_in_memory()
            && left.cold().is_some() == right.cold().is_some()
            && (left.first < self.boundary) == (right.first < self.boundary)
    }

    /// One chunk with what is left of some that are alike; none if nothing is left.
    fn without_dead(&self, chunks: std::ops::RangeInclusive<usize>) -> Option<Link> {
        let form = &self.view.links[*chunks.start()].body;
        let links = &self.view.links;
        let living = chunks.flat_map(|at| self.living(at).map(move |slot| (&links[at], slot)));
        let (link, slot) = living.clone().next()?;
        let first = link.revision(slot);
        let link = match form {
            Body::New(_) => {
                let slots = living.filter_map(|(link, slot)| match &link.body {
                    Body::New(slots) => Some(OnceLock::from(filled(slots, slot).clone())),
                    Body::Placed { .. } => None,
                });
                let slots: Slots = slots.collect();
                Link { first, len: slots.len(), body: Body::New(slots) }
            }
            Body::Placed { .. } => {
                let hot = Packed::of(living.clone().map(|(link, slot)| link.bytes(slot)));
                let mut places = ColdBuilder::default();
                for (link, slot) in living {
                    places.push(&link.cold()?.place(slot));
                }
                Link::placed(places.finish()?, hot)
            }
        };
        Some(link)
    }
}
