//! Ranges of keys, searched by a key that they contain.
//!
//! A treap ordered by (start, end): each node knows the furthest end below it, so a search leaves
//! out every subtree that ends before the key. Priorities come from a seed.
//!
//! Invariants:
//! - A node's priority is not lower than its children's.
//! - `furthest` is the greatest end in the subtree.
//! - No node is without watchers.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use bytes::Bytes;

use super::Slot;
use super::matcher::End;

type Link = Option<Box<Node>>;

/// Watchers by range.
#[derive(Debug)]
pub(super) struct Intervals {
    root: Link,
    random: u64,
}

#[derive(Debug)]
struct Node {
    from: Bytes,
    end: End,
    furthest: End,
    priority: u64,
    slots: BTreeSet<Slot>,
    left: Link,
    right: Link,
}

impl Intervals {
    pub(super) fn new(seed: u64) -> Self {
        Self { root: None, random: seed }
    }

    /// Adds a watcher; false if it is there.
    pub(super) fn insert(&mut self, from: &Bytes, end: &End, slot: Slot) -> bool {
        if let Some(node) = find(&mut self.root, from, end) {
            return node.slots.insert(slot);
        }
        let node = Node {
            from: from.clone(),
            end: end.clone(),
            furthest: end.clone(),
            priority: self.priority(),
            slots: BTreeSet::from([slot]),
            left: None,
            right: None,
        };
        self.root = Some(place(self.root.take(), Box::new(node)));
        true
    }

    /// Removes a watcher; false if it is not there.
    pub(super) fn remove(&mut self, from: &Bytes, end: &End, slot: Slot) -> bool {
        let Some(node) = find(&mut self.root, from, end) else { return false };
        let found = node.slots.remove(&slot);
        if node.slots.is_empty() {
            self.root = unlink(self.root.take(), from, end);
        }
        found
    }

    /// Calls `found` for each watcher of a range that contains `key`.
    pub(super) fn visit(&self, key: &[u8], found: &mut impl FnMut(Slot)) {
        visit(&self.root, key, found);
    }

    /// Calls `found` for each watcher.
    pub(super) fn for_each(&self, found: &mut impl FnMut(Slot)) {
        for_each(&self.root, found);
    }

    /// The next number of the sequence that the seed begins (splitmix64).
    fn priority(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Node {
    fn compare(&self, from: &Bytes, end: &End) -> Ordering {
        from.cmp(&self.from).then_with(|| end.cmp(&self.end))
    }

    /// Restores `furthest` after a change below.
    fn update(&mut self) {
        let below = [&self.left, &self.right].into_iter().flatten().map(|child| &child.furthest);
        let furthest = below.chain([&self.end]).max().expect("the node's own end is there");
        if self.furthest != *furthest {
            self.furthest = furthest.clone();
        }
    }
}

fn find<'a>(link: &'a mut Link, from: &Bytes, end: &End) -> Option<&'a mut Node> {
    let node = link.as_deref_mut()?;
    match node.compare(from, end) {
        Ordering::Less => find(&mut node.left, from, end),
        Ordering::Equal => Some(node),
        Ordering::Greater => find(&mut node.right, from, end),
    }
}

fn place(link: Link, mut node: Box<Node>) -> Box<Node> {
    let Some(mut top) = link else { return node };
    if node.priority > top.priority {
        (node.left, node.right) = split(Some(top), &node.from, &node.end);
        node.update();
        return node;
    }
    if top.compare(&node.from, &node.end) == Ordering::Less {
        top.left = Some(place(top.left.take(), node));
    } else {
        top.right = Some(place(top.right.take(), node));
    }
    top.update();
    top
}

/// Splits a tree in what comes before and what comes after a range.
fn split(link: Link, from: &Bytes, end: &End) -> (Link, Link) {
    let Some(mut top) = link else { return (None, None) };
    if top.compare(from, end) == Ordering::Less {
        let (before, after) = split(top.left.take(), from, end);
        top.left = after;
        top.update();
        (before, Some(top))
    } else {
        let (before, after) = split(top.right.take(), from, end);
        top.right = before;
        top.update();
        (Some(top), after)
    }
}

/// Joins two trees of which the first comes before the second.
fn join(before: Link, after: Link) -> Link {
    match (before, after) {
        (None, link) | (link, None) => link,
        (Some(mut left), Some(mut right)) => {
            if left.priority > right.priority {
                left.right = join(left.right.take(), Some(right));
                left.update();
                Some(left)
            } else {
                right.left = join(Some(left), right.left.take());
                right.update();
                Some(right)
            }
        }
    }
}

fn unlink(link: Link, from: &Bytes, end: &End) -> Link {
    let mut top = link?;
    match top.compare(from, end) {
        Ordering::Less => top.left = unlink(top.left.take(), from, end),
        Ordering::Equal => return join(top.left.take(), top.right.take()),
        Ordering::Greater => top.right = unlink(top.right.take(), from, end),
    }
    top.update();
    Some(top)
}

fn visit(link: &Link, key: &[u8], found: &mut impl FnMut(Slot)) {
    let Some(node) = link.as_deref() else { return };
    if !node.furthest.is_behind(key) {
        return;
    }
    visit(&node.left, key, found);
    if &node.from[..] <= key {
        if node.end.is_behind(key) {
            node.slots.iter().for_each(|slot| found(*slot));
        }
        visit(&node.right, key, found);
    }
}

fn for_each(link: &Link, found: &mut impl FnMut(Slot)) {
    let Some(node) = link.as_deref() else { return };
    for_each(&node.left, found);
    node.slots.iter().for_each(|slot| found(*slot));
    for_each(&node.right, found);
}
