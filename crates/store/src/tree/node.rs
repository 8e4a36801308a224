//! The nodes of the tree: how a change travels down, and how nodes split and merge on the way up.

use std::sync::Arc;

use super::packed::{PackedKeys, separator};
use super::{Column, Count, Entry, Slot};

/// A leaf holds at most this many keys, an inner node this many children.
pub(super) const MAX_WIDTH: usize = 64;
/// A leaf with more bytes of keys than this splits unless it has only one key, which bounds what
/// a change has to copy.
pub(super) const MAX_LEAF_BYTES: usize = 16 * 1024;
/// A node narrower than this looks for a neighbour to merge with.
const MIN_WIDTH: usize = 16;
/// What a merge may produce, with room for the next keys.
const MERGED_WIDTH: usize = 48;
const MERGED_LEAF_BYTES: usize = 12 * 1024;

/// One node of the tree.
#[derive(Clone)]
pub(super) enum Node<V: Entry> {
    Leaf(Leaf<V>),
    Inner(Inner<V>),
}

/// Keys and their values.
#[derive(Clone, Default)]
pub(super) struct Leaf<V: Entry> {
    pub(super) keys: PackedKeys,
    pub(super) values: V::Column,
    pub(super) live: usize,
}

/// Children, the separators between them and how many keys each has.
#[derive(Clone)]
pub(super) struct Inner<V: Entry> {
    pub(super) separators: PackedKeys,
    pub(super) children: Vec<Arc<Node<V>>>,
    pub(super) counts: Vec<Count>,
}

/// The right part of a node that became too wide, and the separator before it.
pub(super) struct Split<V: Entry> {
    pub(super) separator: Vec<u8>,
    pub(super) right: Arc<Node<V>>,
}

impl<V: Entry> Node<V> {
    /// A leaf without keys.
    pub(super) fn empty() -> Self {
        Self::Leaf(Leaf { keys: PackedKeys::default(), values: V::Column::default(), live: 0 })
    }

    /// A new root above the two parts of the old one.
    pub(super) fn above(left: Arc<Self>, split: Split<V>) -> Self {
        let counts = vec![left.count(), split.right.count()];
        let separators = PackedKeys::pack(&[split.separator]);
        Self::Inner(Inner { separators, children: vec![left, split.right], counts })
    }

    pub(super) fn count(&self) -> Count {
        match self {
            Self::Leaf(leaf) => Count { total: leaf.values.len(), live: leaf.live },
            Self::Inner(inner) => sum(&inner.counts),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.width() == 0
    }

    /// The child of an inner node that has no other.
    pub(super) fn only_child(&self) -> Option<Arc<Self>> {
        match self {
            Self::Inner(inner) if inner.children.len() == 1 => Some(inner.children[0].clone()),
            Self::Inner(_) | Self::Leaf(_) => None,
        }
    }

    /// Where `key` is.
    pub(super) fn find(&self, key: &[u8]) -> Option<Slot<'_, V>> {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(leaf) => {
                    return leaf.keys.search(key).ok().map(|at| Slot { leaf, at });
                }
                Self::Inner(inner) => node = &inner.children[inner.child_for(key)],
            }
        }
    }

    /// How many keys are below `key`.
    pub(super) fn rank(&self, key: &[u8]) -> Count {
        let mut below = Count::default();
        let mut node = self;
        loop {
            match node {
                Self::Leaf(leaf) => {
                    let total = leaf.keys.lower_bound(key);
                    let all_live = leaf.live == leaf.values.len();
                    let live = if all_live { total } else { leaf.values.live_before(total) };
                    return below.plus(Count { total, live });
                }
                Self::Inner(inner) => {
                    let at = inner.child_for(key);
                    below = below.plus(sum(&inner.counts[..at]));
                    node = &inner.children[at];
                }
            }
        }
    }

    /// Changes the value of `key`, inserting the default one first if there is none. Returns the
    /// right part of this node if it had to split.
    pub(super) fn upsert<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut V) -> R,
    ) -> (R, Option<Split<V>>) {
        match self {
            Self::Leaf(leaf) => leaf.upsert(key, change),
            Self::Inner(inner) => inner.upsert(key, change),
        }
    }

    /// Removes `key`, which is there.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<V> {
        match self {
            Self::Leaf(leaf) => {
                let at = leaf.keys.search(key).ok()?;
                leaf.keys.remove(at);
                let value = leaf.values.remove(at);
                leaf.live -= usize::from(value.is_live());
                Some(value)
            }
            Self::Inner(inner) => {
                let at = inner.child_for(key);
                let value = Arc::make_mut(&mut inner.children[at]).remove(key);
                inner.counts[at] = inner.children[at].count();
                inner.rebalance(at);
                value
            }
        }
    }

    fn width(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.values.len(),
            Self::Inner(inner) => inner.children.len(),
        }
    }

    /// Whether the two neighbours fit into one node.
    fn merges_with(&self, right: &Self) -> bool {
        let size = match (self, right) {
            (Self::Leaf(left), Self::Leaf(right)) => {
                PackedKeys::joint_size(&left.keys, &right.keys)
            }
            (Self::Inner(_), Self::Inner(_)) => 0,
            (Self::Leaf(_), Self::Inner(_)) | (Self::Inner(_), Self::Leaf(_)) => return false,
        };
        self.width() + right.width() <= MERGED_WIDTH && size <= MERGED_LEAF_BYTES
    }

    /// Appends the right neighbour, which was behind `separator`.
    fn merge(&mut self, separator: Vec<u8>, right: Self) {
        match (self, right) {
            (Self::Leaf(left), Self::Leaf(right)) => {
                left.keys = PackedKeys::concat(&left.keys, &right.keys);
                left.values.append(right.values);
                left.live += right.live;
            }
            (Self::Inner(left), Self::Inner(right)) => {
                let joint = PackedKeys::concat(&left.separators, &PackedKeys::pack(&[separator]));
                left.separators = PackedKeys::concat(&joint, &right.separators);
                left.children.extend(right.children);
                left.counts.extend(right.counts);
            }
            (Self::Leaf(_), Self::Inner(_)) | (Self::Inner(_), Self::Leaf(_)) => {
                unreachable!("neighbours have the same depth")
            }
        }
    }
}

impl<V: Entry> Leaf<V> {
    fn upsert<R>(&mut self, key: &[u8], change: impl FnOnce(&mut V) -> R) -> (R, Option<Split<V>>) {
        let found = self.keys.search(key);
        if let Err(at) = found
            && self.values.len() > 0
            && (at == 0 || at == self.values.len())
            && self.keys.size_with(key) > MAX_LEAF_BYTES
        {
            return self.split_beside(at, key, change);
        }
        let at = match found {
            Ok(at) => at,
            Err(at) => {
                self.keys.insert(at, key);
                self.values.insert(at, V::default());
                self.live += usize::from(self.values.is_live(at));
                at
            }
        };
        self.live -= usize::from(self.values.is_live(at));
        let result = self.values.change(at, change);
        self.live += usize::from(self.values.is_live(at));
        let too_large = self.values.len() > MAX_WIDTH || self.keys.size() > MAX_LEAF_BYTES;
        let split = (found.is_err() && too_large && self.values.len() > 1).then(|| self.split(at));
        (result, split)
    }

    /// Puts a key that belongs at one end of this leaf into a leaf of its own, because here it
    /// would take too much room, most of all if it does not have the prefix of the other keys.
    fn split_beside<R>(
        &mut self,
        at: usize,
        key: &[u8],
        change: impl FnOnce(&mut V) -> R,
    ) -> (R, Option<Split<V>>) {
        let mut alone = Self::default();
        let mut value = V::default();
        alone.keys.insert(0, key);
        let result = change(&mut value);
        alone.live = usize::from(value.is_live());
        alone.values.insert(0, value);
        if at == 0 {
            std::mem::swap(self, &mut alone);
        }
        let last = self.values.len() - 1;
        let separator = separator(&self.keys.key(last), &alone.keys.key(0));
        (result, Some(Split { separator, right: Arc::new(Node::Leaf(alone)) }))
    }

    /// Splits in the middle, or before the key that was just appended, so that keys which arrive
    /// in order leave full leaves behind.
    fn split(&mut self, inserted: usize) -> Split<V> {
        let last = self.values.len() - 1;
        let at = if inserted == last { last } else { self.values.len() / 2 };
        let separator = separator(&self.keys.key(at - 1), &self.keys.key(at));
        let keys = self.keys.split_off(at);
        let values = self.values.split_off(at);
        let live = values.live_before(values.len());
        self.live -= live;
        Split { separator, right: Arc::new(Node::Leaf(Self { keys, values, live })) }
    }
}

impl<V: Entry> Inner<V> {
    /// Which child holds `key`.
    pub(super) fn child_for(&self, key: &[u8]) -> usize {
        self.separators.upper_bound(key)
    }

    fn upsert<R>(&mut self, key: &[u8], change: impl FnOnce(&mut V) -> R) -> (R, Option<Split<V>>) {
        let at = self.child_for(key);
        let (result, split) = Arc::make_mut(&mut self.children[at]).upsert(key, change);
        self.counts[at] = self.children[at].count();
        let Some(split) = split else { return (result, None) };
        self.separators.insert(at, &split.separator);
        self.counts.insert(at + 1, split.right.count());
        self.children.insert(at + 1, split.right);
        let too_wide = self.children.len() > MAX_WIDTH;
        (result, too_wide.then(|| self.split(at + 1)))
    }

    fn split(&mut self, inserted: usize) -> Split<V> {
        let last = self.children.len() - 1;
        let at = if inserted == last { last } else { self.children.len() / 2 };
        let mut separators = self.separators.split_off(at - 1);
        let separator = separators.key(0);
        separators.remove(0);
        let children = self.children.split_off(at);
        let counts = self.counts.split_off(at);
        Split { separator, right: Arc::new(Node::Inner(Self { separators, children, counts })) }
    }

    /// Drops the child at `at` if it became empty, or merges it with a neighbour if it became
    /// narrow.
    fn rebalance(&mut self, at: usize) {
        let width = self.children[at].width();
        if width >= MIN_WIDTH {
            return;
        }
        if width == 0 {
            self.children.remove(at);
            self.counts.remove(at);
            if self.separators.len() > 0 {
                self.separators.remove(at.saturating_sub(1));
            }
            return;
        }
        let fits = |left: usize| {
            let right = self.children.get(left + 1)?;
            self.children[left].merges_with(right).then_some(left)
        };
        let Some(left) = fits(at).or_else(|| fits(at.checked_sub(1)?)) else { return };
        let right = Arc::unwrap_or_clone(self.children.remove(left + 1));
        self.counts.remove(left + 1);
        let separator = self.separators.key(left);
        self.separators.remove(left);
        Arc::make_mut(&mut self.children[left]).merge(separator, right);
        self.counts[left] = self.children[left].count();
    }
}

pub(super) fn sum(counts: &[Count]) -> Count {
    counts.iter().fold(Count::default(), |sum, &count| sum.plus(count))
}
