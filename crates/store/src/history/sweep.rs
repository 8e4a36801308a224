//! Giving back the memory of dropped records: chunks are written anew without them.

use std::sync::{Arc, OnceLock};

use super::{CHUNK_SLOTS, Chunk, History, Link, Record};

/// Which slots of a chunk are dead.
#[derive(Debug, Default)]
pub(super) struct Dead {
    bits: Vec<u64>,
    count: usize,
}

impl Dead {
    /// Marks a slot of a chunk that has `length`; false if it was marked before.
    pub(super) fn mark(&mut self, slot: usize, length: usize) -> bool {
        if self.bits.is_empty() {
            self.bits = vec![0; length.div_ceil(64)];
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

    fn has(&self, slot: usize) -> bool {
        self.bits.get(slot / 64).is_some_and(|bits| bits & (1 << (slot % 64)) != 0)
    }
}

impl History {
    /// Writes a finished chunk anew if it has dead records, and joins it with the chunk before it
    /// if both fit into one.
    pub(super) fn sweep(&mut self, link: usize) {
        if self.dead[link].count == 0 {
            return;
        }
        let mut records = self.living(link);
        let mut first = link;
        if let Some(before) = link.checked_sub(1) {
            let length = self.view.links[before].chunk.slots.len() - self.dead[before].count;
            if records.len() + length <= CHUNK_SLOTS / 2 {
                let mut joined = self.living(before);
                joined.append(&mut records);
                (records, first) = (joined, before);
            }
        }
        let replacement = records.first().map(|record| record.revision).map(|revision| {
            let slots = records.into_iter().map(OnceLock::from).collect();
            Link { first: revision, chunk: Arc::new(Chunk { slots }) }
        });
        let is_tail = link + 1 == self.view.links.len();
        let dead = replacement.iter().map(|_| Dead::default());
        self.dead.splice(first..=link, dead);
        let links = Arc::make_mut(&mut self.view.links);
        links.splice(first..=link, replacement);
        if is_tail {
            self.view.tail_len = links.last().map_or(0, |last| last.chunk.slots.len());
        }
    }

    fn living(&self, link: usize) -> Vec<Record> {
        let slots = 0..self.view.filled(link);
        let living = slots.filter(|slot| !self.dead[link].has(*slot));
        living.map(|slot| self.view.slot(link, slot).clone()).collect()
    }
}
