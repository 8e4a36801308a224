//! The earlier changes of one key: a list that grows at the end and is trimmed at the front.
//!
//! A short list is kept as it is; the index packs it beside the key. A long one is a tree of `Arc`
//! nodes with all leaves at one depth, so that a key with very many changes costs a writer only a
//! few small copies while a reader holds an older list, and a lookup by revision is a descent.

use std::sync::Arc;

use super::{Change, is_spent};

/// How many changes a short list has at most.
pub(super) const FEW: usize = 8;
/// How many changes or children a node has.
const WIDTH: usize = 32;

#[derive(Clone, Debug)]
pub(super) enum Past {
    Few(Vec<Change>),
    Many(Many),
}

/// A long list.
#[derive(Clone, Debug)]
pub(super) struct Many {
    root: Arc<Node>,
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(Vec<Change>),
    Inner(Vec<Arc<Self>>),
}

impl Default for Past {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Past {
    pub(super) fn push(&mut self, change: Change) {
        match self {
            Self::Few(changes) if changes.len() < FEW => changes.push(change),
            Self::Few(changes) => {
                let mut many = Many { root: Arc::new(Node::Leaf(std::mem::take(changes))) };
                many.push(change);
                *self = Self::Many(many);
            }
            Self::Many(many) => many.push(change),
        }
    }

    /// Removes what a compaction at main revision `at` makes unreachable.
    pub(super) fn compact(&mut self, at: i64, dead: &mut impl FnMut(crate::Revision)) {
        let changes = self.to_vec();
        let newer = changes.partition_point(|change| change.revision.main <= at);
        let Some(newest) = newer.checked_sub(1) else { return };
        let first = if is_spent(changes[newest], at) { newer } else { newest };
        changes[..first].iter().for_each(|change| dead(change.revision));
        *self = changes[first..].iter().copied().collect();
    }

    /// Removes all changes and returns them.
    pub(super) fn drain(&mut self) -> Vec<Change> {
        let all = self.to_vec();
        *self = Self::default();
        all
    }

    /// All changes, in ascending order.
    pub(super) fn to_vec(&self) -> Vec<Change> {
        match self {
            Self::Few(changes) => changes.clone(),
            Self::Many(many) => many.iter().collect(),
        }
    }
}

impl FromIterator<Change> for Past {
    fn from_iter<I: IntoIterator<Item = Change>>(changes: I) -> Self {
        let mut past = Self::default();
        changes.into_iter().for_each(|change| past.push(change));
        past
    }
}

impl Many {
    fn push(&mut self, change: Change) {
        if let Some(next) = Arc::make_mut(&mut self.root).push(change) {
            self.root = Arc::new(Node::Inner(vec![self.root.clone(), next]));
        }
    }

    /// The newest change that is not newer than main revision `at`.
    pub(super) fn newest_at(&self, at: i64) -> Option<Change> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(changes) => {
                    let older = changes.partition_point(|change| change.revision.main <= at);
                    return older.checked_sub(1).map(|last| changes[last]);
                }
                Node::Inner(children) => {
                    let older = children.partition_point(|child| child.first().revision.main <= at);
                    node = &children[older.checked_sub(1)?];
                }
            }
        }
    }

    /// The first of the changes.
    pub(super) fn oldest(&self) -> Change {
        self.root.first()
    }

    fn iter(&self) -> impl Iterator<Item = Change> + '_ {
        let mut open: Vec<&Node> = vec![&self.root];
        let mut leaf: std::slice::Iter<'_, Change> = [].iter();
        std::iter::from_fn(move || {
            loop {
                if let Some(change) = leaf.next() {
                    return Some(*change);
                }
                match open.pop()? {
                    Node::Leaf(changes) => leaf = changes.iter(),
                    Node::Inner(children) => {
                        open.extend(children.iter().rev().map(|child| &**child));
                    }
                }
            }
        })
    }
}

impl Node {
    /// Appends a change; returns a new right neighbour that holds it if this node is full.
    fn push(&mut self, change: Change) -> Option<Arc<Self>> {
        match self {
            Self::Leaf(changes) if changes.len() < WIDTH => {
                if changes.len() == changes.capacity() {
                    changes.reserve_exact(changes.len().clamp(1, WIDTH - changes.len()));
                }
                changes.push(change);
                None
            }
            Self::Leaf(_) => Some(Arc::new(Self::Leaf(vec![change]))),
            Self::Inner(children) => {
                let last = children.last_mut().expect("an inner node has children");
                let next = Arc::make_mut(last).push(change)?;
                if children.len() < WIDTH {
                    children.push(next);
                    return None;
                }
                Some(Arc::new(Self::Inner(vec![next])))
            }
        }
    }

    fn first(&self) -> Change {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(changes) => return changes[0],
                Self::Inner(children) => node = &children[0],
            }
        }
    }
}
