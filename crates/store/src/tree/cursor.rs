//! Walking over a part of the tree in key order.

use super::node::{Inner, Leaf, Node};
use super::{Column, Entry};

/// A walk in ascending order; each step gives a [`Slot`].
pub(crate) struct Cursor<'a, V: Entry> {
    /// The inner nodes above the leaf, each with the child to visit next.
    above: Vec<(&'a Inner<V>, usize)>,
    leaf: Option<&'a Leaf<V>>,
    /// The next slot of the leaf, and the first one that is not wanted.
    next: usize,
    stop: usize,
    end: Option<&'a [u8]>,
    live_only: bool,
}

/// One key and its value, where they are stored.
pub(crate) struct Slot<'a, V: Entry> {
    pub(super) leaf: &'a Leaf<V>,
    pub(super) at: usize,
}

impl<'a, V: Entry> Slot<'a, V> {
    pub(crate) fn value(&self) -> V {
        self.leaf.values.get(self.at)
    }

    pub(crate) fn is_live(&self) -> bool {
        self.leaf.values.is_live(self.at)
    }

    /// The values of the leaf, and which of them is the one here.
    pub(crate) fn column(&self) -> (&'a V::Column, usize) {
        (&self.leaf.values, self.at)
    }

    /// Assembles the key.
    pub(crate) fn key(&self) -> Vec<u8> {
        self.leaf.keys.key(self.at)
    }
}

impl<'a, V: Entry> Cursor<'a, V> {
    /// Begins at the first key that is not below `from`.
    pub(super) fn at_key(root: Option<&'a Node<V>>, from: &[u8], end: Option<&'a [u8]>) -> Self {
        let mut cursor = Self::new(end, false);
        let mut node = root;
        while let Some(current) = node {
            node = match current {
                Node::Inner(inner) => {
                    let at = inner.child_for(from);
                    cursor.above.push((inner, at + 1));
                    Some(&inner.children[at])
                }
                Node::Leaf(leaf) => {
                    cursor.enter(leaf, leaf.keys.lower_bound(from));
                    None
                }
            };
        }
        cursor
    }

    /// Begins at the live key that has `position` live keys before it, and passes over the others.
    pub(super) fn at_live(
        root: Option<&'a Node<V>>,
        position: usize,
        end: Option<&'a [u8]>,
    ) -> Self {
        let mut cursor = Self::new(end, true);
        let mut skip = position;
        let mut node = root;
        while let Some(current) = node {
            node = match current {
                Node::Inner(inner) => {
                    let mut at = 0;
                    while at + 1 < inner.children.len() && skip >= inner.counts[at].live {
                        skip -= inner.counts[at].live;
                        at += 1;
                    }
                    cursor.above.push((inner, at + 1));
                    Some(&inner.children[at])
                }
                Node::Leaf(leaf) => {
                    let mut live = (0..leaf.values.len()).filter(|at| leaf.values.is_live(*at));
                    let first = live.nth(skip).unwrap_or(leaf.values.len());
                    cursor.enter(leaf, first);
                    None
                }
            };
        }
        cursor
    }

    fn new(end: Option<&'a [u8]>, live_only: bool) -> Self {
        Self { above: Vec::new(), leaf: None, next: 0, stop: 0, end, live_only }
    }

    /// Passes over keys whose value is not live, and over whole parts of the tree without any.
    pub(crate) fn live_only(mut self) -> Self {
        self.live_only = true;
        self
    }

    fn enter(&mut self, leaf: &'a Leaf<V>, from: usize) {
        self.leaf = Some(leaf);
        self.next = from;
        self.stop = self.end.map_or(leaf.values.len(), |end| leaf.keys.lower_bound(end));
        if self.stop < leaf.values.len() {
            self.above.clear();
        }
    }

    /// Goes to the next leaf; false at the end of the tree.
    fn next_leaf(&mut self) -> bool {
        while let Some((inner, at)) = self.above.pop() {
            let mut candidates = at..inner.children.len();
            let wanted = |at: &usize| !self.live_only || inner.counts[*at].live > 0;
            let Some(child) = candidates.find(wanted) else { continue };
            self.above.push((inner, child + 1));
            match &*inner.children[child] {
                Node::Inner(below) => self.above.push((below, 0)),
                Node::Leaf(leaf) => {
                    self.enter(leaf, 0);
                    return true;
                }
            }
        }
        false
    }
}

impl<'a, V: Entry> Iterator for Cursor<'a, V> {
    type Item = Slot<'a, V>;

    fn next(&mut self) -> Option<Slot<'a, V>> {
        loop {
            let leaf = self.leaf?;
            while self.next < self.stop {
                let at = self.next;
                self.next += 1;
                if !self.live_only || leaf.values.is_live(at) {
                    return Some(Slot { leaf, at });
                }
            }
            if !self.next_leaf() {
                self.leaf = None;
            }
        }
    }
}
