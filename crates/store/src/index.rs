//! The key index: for every key its latest change, and its earlier changes while compaction has
//! not passed them.
//!
//! The index answers which revision of a key was current at a given one; the records themselves
//! are in the history. A deleted key stays, with a tombstone as its latest change, until
//! compaction passes the deletion.
//!
//! Invariants:
//! - The changes of a key are in ascending order of revision, the latest one is the last.
//! - A key is live if and only if its latest change is not a tombstone.

use crate::revision::Revision;
use crate::tree::{Entry, Slot, Tree};

mod past;
mod states;
#[cfg(test)]
mod tests;

use past::Past;
use states::States;

/// The index. Cloning it takes a snapshot.
pub(crate) type Index = Tree<KeyState>;

/// One change of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) revision: Revision,
    pub(crate) tombstone: bool,
}

/// What a reader at the newest revision learns of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Latest {
    /// Revision of the latest change. It is zero only in a state that was never put.
    pub(crate) modified: Revision,
    /// Whether the latest change is a deletion.
    pub(crate) tombstone: bool,
    /// Main revision at which the current generation began.
    pub(crate) created: i64,
    /// Number of puts in the current generation.
    pub(crate) version: i64,
    /// The lease that the key is attached to, or 0.
    pub(crate) lease: i64,
}

/// What the index knows of a key, to be changed. The index keeps it packed.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyState {
    pub(crate) latest: Latest,
    past: Past,
}

impl Entry for KeyState {
    type Column = States;

    fn is_live(&self) -> bool {
        self.latest.is_live()
    }
}

impl Latest {
    fn is_live(&self) -> bool {
        !self.tombstone && self.modified.main > 0
    }

    fn change(&self) -> Change {
        Change { revision: self.modified, tombstone: self.tombstone }
    }
}

impl KeyState {
    /// Records a put, which begins a new generation if the key is not live.
    pub(crate) fn put(&mut self, revision: Revision, lease: i64) {
        let live = self.latest.is_live();
        let Latest { created, version, .. } = self.latest;
        let (created, version) = if live { (created, version + 1) } else { (revision.main, 1) };
        self.push(Latest { modified: revision, tombstone: false, created, version, lease });
    }

    /// Records a deletion.
    pub(crate) fn delete(&mut self, revision: Revision) {
        self.push(Latest { modified: revision, tombstone: true, ..Latest::default() });
    }

    /// Records a change that was made before, as the records of a checkpoint tell it.
    pub(crate) fn restore(&mut self, change: Change, created: i64, version: i64, lease: i64) {
        let Change { revision, tombstone } = change;
        self.push(Latest { modified: revision, tombstone, created, version, lease });
    }

    /// All changes, in ascending order.
    pub(crate) fn changes(&self) -> Vec<Change> {
        let mut changes = self.past.to_vec();
        changes.extend((self.latest.modified.main > 0).then(|| self.latest.change()));
        changes
    }

    /// Forgets the changes that a compaction at main revision `at` makes unreachable, and tells
    /// them to `dead`. Returns whether any change is left: the newest one up to `at` stays, unless
    /// it is a deletion before `at`.
    pub(crate) fn compact(&mut self, at: i64, mut dead: impl FnMut(Revision)) -> bool {
        if self.latest.modified.main > at {
            self.past.compact(at, &mut dead);
            return true;
        }
        for change in self.past.drain() {
            dead(change.revision);
        }
        let gone = is_spent(self.latest.change(), at);
        if gone {
            dead(self.latest.modified);
        }
        !gone
    }

    fn push(&mut self, latest: Latest) {
        debug_assert!(latest.modified > self.latest.modified, "changes are ascending");
        if self.latest.modified.main > 0 {
            self.past.push(self.latest.change());
        }
        self.latest = latest;
    }
}

/// What readers ask of a key, answered where it is stored.
impl Slot<'_, KeyState> {
    /// What a reader at the newest revision learns of the key.
    pub(crate) fn latest(&self) -> Latest {
        let (states, at) = self.column();
        states.latest(at)
    }

    /// The newest change that is not newer than main revision `at`.
    pub(crate) fn newest_at(&self, at: i64) -> Option<Change> {
        let (states, slot) = self.column();
        states.newest_at(slot, at)
    }

    /// The revision that a reader at main revision `at` sees; none if the key did not exist then.
    pub(crate) fn visible_at(&self, at: i64) -> Option<Revision> {
        self.newest_at(at).filter(|change| !change.tombstone).map(|change| change.revision)
    }

    /// Whether the key was deleted at main revision `at`, even if it was put again there.
    pub(crate) fn was_deleted_at(&self, at: i64) -> bool {
        let is_there = |change: &Change| change.revision.main == at;
        self.newest_at(at).as_ref().is_some_and(is_there)
            && self.value().changes().iter().any(|change| is_there(change) && change.tombstone)
    }

    /// The change up to main revision `at` that a compaction there leaves.
    pub(crate) fn survivor(&self, at: i64) -> Option<Revision> {
        self.newest_at(at).filter(|change| !is_spent(*change, at)).map(|change| change.revision)
    }

    /// Whether a compaction at main revision `at` has nothing to forget.
    pub(crate) fn is_compact(&self, at: i64) -> bool {
        let (states, slot) = self.column();
        let oldest = states.oldest(slot).revision;
        oldest.main > at || self.survivor(at) == Some(oldest)
    }
}

/// Whether a compaction at `at` drops this change although it is the newest one of its key. A
/// deletion exactly at `at` stays, because a watch may start there.
fn is_spent(change: Change, at: i64) -> bool {
    change.tombstone && change.revision.main < at
}
