//! Which watchers want the events of a key.
//!
//! Invariants:
//! - A look-up costs the logarithm of the distinct keys and ranges and the watchers found, however
//!   many watchers there are.
//! - Watchers of the same key or range share one entry.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::Slot;
use super::intervals::Intervals;

/// The keys that a watcher wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// One key.
    One(Bytes),
    /// The keys from the first to before the end.
    Range(Bytes, End),
}

/// Where a range ends. An end without a key is behind all keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// Before this key.
    Before(Bytes),
    /// Behind all keys.
    Never,
}

impl End {
    /// Returns true if a range with this end has keys from `key` on.
    pub(super) fn is_behind(&self, key: &[u8]) -> bool {
        match self {
            Self::Before(end) => key < &end[..],
            Self::Never => true,
        }
    }
}

/// Watchers by the keys they want.
#[derive(Debug)]
pub(super) struct Matcher {
    keys: BTreeMap<Bytes, BTreeSet<Slot>>,
    ranges: Intervals,
    watchers: usize,
}

impl Matcher {
    /// The seed decides the shape of the structure and nothing that can be seen.
    pub(super) fn new(seed: u64) -> Self {
        Self { keys: BTreeMap::new(), ranges: Intervals::new(seed), watchers: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.watchers == 0
    }

    pub(super) fn insert(&mut self, keys: &Keys, slot: Slot) {
        let fresh = match keys {
            Keys::One(key) => self.keys.entry(key.clone()).or_default().insert(slot),
            Keys::Range(from, end) => self.ranges.insert(from, end, slot),
        };
        assert!(fresh, "a watcher is in a matcher once");
        self.watchers += 1;
    }

    pub(super) fn remove(&mut self, keys: &Keys, slot: Slot) {
        let found = match keys {
            Keys::One(key) => {
                let slots = self.keys.get_mut(key);
                let (found, is_empty) =
                    slots.map_or((false, false), |slots| (slots.remove(&slot), slots.is_empty()));
                if is_empty {
                    self.keys.remove(key);
                }
                found
            }
            Keys::Range(from, end) => self.ranges.remove(from, end, slot),
        };
        assert!(found, "only a watcher that is in a matcher is removed from it");
        self.watchers -= 1;
    }

    /// Calls `found` for each watcher that wants the events of `key`.
    pub(super) fn visit(&self, key: &[u8], found: &mut impl FnMut(Slot)) {
        if let Some(slots) = self.keys.get(key) {
            slots.iter().for_each(|slot| found(*slot));
        }
        self.ranges.visit(key, found);
    }

    /// All watchers.
    pub(super) fn slots(&self) -> Vec<Slot> {
        let mut slots: Vec<Slot> = self.keys.values().flatten().copied().collect();
        self.ranges.for_each(&mut |slot| slots.push(slot));
        slots
    }
}
