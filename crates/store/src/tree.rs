//! An ordered map from byte keys to values that can be shared while it changes.
//!
//! It is a B+tree over `Arc` nodes. A writer copies only the nodes on its path, and only those
//! that somebody else still holds, so cloning the tree is a snapshot that costs one pointer.
//! Leaves store the common prefix of their keys once and the rest packed, and their values in the
//! form that the kind of value chooses; inner nodes count the keys below each child, all of them
//! and the live ones, so counting a range or finding the k-th live key of the map takes one
//! descent.
//!
//! Not here: what a key or a value means.
//!
//! Invariants:
//! - Keys are unique and ascending, within a leaf and across leaves.
//! - A separator is above every key to its left and not above any key to its right.
//! - A count kept by an inner node is exact.
//! - All leaves have the same depth, and no leaf of a tree that is not empty is empty.

use std::sync::Arc;

mod builder;
mod column;
mod cursor;
mod node;
mod packed;
#[cfg(test)]
mod tests;

pub(crate) use builder::Builder;
pub(crate) use column::Column;
pub(crate) use cursor::{Cursor, Slot};
use node::Node;

/// What the tree must know about its values.
pub(crate) trait Entry: Clone + Default {
    /// How the values of a leaf are kept.
    type Column: Column<Self>;

    /// Whether the value counts as live.
    fn is_live(&self) -> bool;
}

impl Entry for () {
    type Column = Vec<()>;

    fn is_live(&self) -> bool {
        true
    }
}

/// How many keys a part of the tree has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// All keys.
    pub(crate) total: usize,
    /// Keys whose value is live.
    pub(crate) live: usize,
}

impl Count {
    fn plus(self, other: Self) -> Self {
        Self { total: self.total + other.total, live: self.live + other.live }
    }

    fn minus(self, other: Self) -> Self {
        Self { total: self.total - other.total, live: self.live - other.live }
    }
}

/// The map. Cloning it takes a snapshot that later writes to either copy do not change.
#[derive(Clone)]
pub(crate) struct Tree<V: Entry> {
    root: Option<Arc<Node<V>>>,
}

impl<V: Entry> Default for Tree<V> {
    fn default() -> Self {
        Self { root: None }
    }
}

impl<V: Entry> Tree<V> {
    /// How many keys the map has.
    pub(crate) fn count(&self) -> Count {
        self.root.as_ref().map_or_else(Count::default, |root| root.count())
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Option<V> {
        self.find(key).map(|slot| slot.value())
    }

    /// Where `key` is.
    pub(crate) fn find(&self, key: &[u8]) -> Option<Slot<'_, V>> {
        self.root.as_ref()?.find(key)
    }

    /// Changes the value of `key` in place. A key that was not there is inserted with the default
    /// value first.
    pub(crate) fn upsert<R>(&mut self, key: &[u8], change: impl FnOnce(&mut V) -> R) -> R {
        let root = self.root.get_or_insert_with(|| Arc::new(Node::empty()));
        let (result, split) = Arc::make_mut(root).upsert(key, change);
        if let Some(split) = split {
            let left = root.clone();
            *root = Arc::new(Node::above(left, split));
        }
        result
    }

    /// Removes `key` and returns its value.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<V> {
        self.find(key)?;
        let root = self.root.as_mut()?;
        let value = Arc::make_mut(root).remove(key);
        while let Some(only) = root.only_child() {
            *root = only;
        }
        if root.is_empty() {
            self.root = None;
        }
        value
    }

    /// How many keys lie in `from..end`; no end means all from `from` on.
    pub(crate) fn count_range(&self, from: &[u8], end: Option<&[u8]>) -> Count {
        if end.is_some_and(|end| end <= from) {
            return Count::default();
        }
        let below = end.map_or_else(|| self.count(), |end| self.rank(end));
        below.minus(self.rank(from))
    }

    /// How many keys are below `key`.
    pub(crate) fn rank(&self, key: &[u8]) -> Count {
        self.root.as_ref().map_or_else(Count::default, |root| root.rank(key))
    }

    /// Walks over the keys in `from..end` in ascending order.
    pub(crate) fn range<'a>(&'a self, from: &[u8], end: Option<&'a [u8]>) -> Cursor<'a, V> {
        Cursor::at_key(self.root.as_deref(), from, end)
    }

    /// Walks over the live keys below `end` in ascending order, beginning with the live key that
    /// has `position` live keys before it.
    pub(crate) fn live_from<'a>(&'a self, position: usize, end: Option<&'a [u8]>) -> Cursor<'a, V> {
        Cursor::at_live(self.root.as_deref(), position, end)
    }

    /// Walks over all keys.
    pub(crate) fn iter(&self) -> Cursor<'_, V> {
        self.range(&[], None)
    }
}
