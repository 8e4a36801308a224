//! Building a tree from keys that are already sorted, in one pass from the leaves up.

use std::sync::Arc;

use super::node::{Inner, Leaf, MAX_LEAF_BYTES, Node};
use super::packed::{PackedKeys, separator};
use super::{Column, Entry, Tree};

/// How full the builder makes nodes: the next keys find room without a split.
const FILL: usize = 56;

/// Takes keys in ascending order and makes a tree of them.
pub(crate) struct Builder<V: Entry> {
    keys: Vec<Vec<u8>>,
    values: V::Column,
    size: usize,
    /// Finished leaves, each with the separator before it.
    leaves: Vec<(Vec<u8>, Arc<Node<V>>)>,
    last: Vec<u8>,
}

impl<V: Entry> Builder<V> {
    pub(crate) fn new() -> Self {
        let (keys, values, leaves) = (Vec::new(), V::Column::default(), Vec::new());
        Self { keys, values, size: 0, leaves, last: Vec::new() }
    }

    /// Adds a key, which is above all keys added before.
    pub(crate) fn push(&mut self, key: Vec<u8>, value: V) {
        debug_assert!(self.keys.last().is_none_or(|last| *last < key), "keys are ascending");
        if self.keys.len() == FILL || self.size + key.len() > MAX_LEAF_BYTES {
            self.finish_leaf();
        }
        self.size += key.len();
        self.keys.push(key);
        self.values.insert(self.keys.len() - 1, value);
    }

    /// The tree of all keys added.
    pub(crate) fn finish(mut self) -> Tree<V> {
        self.finish_leaf();
        let mut level = self.leaves;
        while level.len() > 1 {
            level = level_above(level);
        }
        Tree { root: level.pop().map(|(_, root)| root) }
    }

    fn finish_leaf(&mut self) {
        let Some(last) = self.keys.last().cloned() else { return };
        let before = match self.leaves.is_empty() {
            true => Vec::new(),
            false => separator(&self.last, &self.keys[0]),
        };
        let mut values = std::mem::take(&mut self.values);
        let live = values.live_before(values.len());
        values.shrink();
        let leaf = Leaf { keys: PackedKeys::pack(&self.keys), values, live };
        self.leaves.push((before, Arc::new(Node::Leaf(leaf))));
        self.keys.clear();
        self.size = 0;
        self.last = last;
    }
}

fn level_above<V: Entry>(level: Vec<(Vec<u8>, Arc<Node<V>>)>) -> Vec<(Vec<u8>, Arc<Node<V>>)> {
    let mut above = Vec::with_capacity(level.len() / FILL + 1);
    let mut nodes = level.into_iter().peekable();
    while nodes.peek().is_some() {
        let (mut separators, mut children): (Vec<_>, Vec<_>) = nodes.by_ref().take(FILL).unzip();
        let before = separators.remove(0);
        let counts = children.iter().map(|child| child.count()).collect();
        let separators = PackedKeys::pack(&separators);
        children.shrink_to_fit();
        above.push((before, Arc::new(Node::Inner(Inner { separators, children, counts }))));
    }
    above
}
