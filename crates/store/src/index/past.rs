//! The earlier changes of one key: a list that grows at the end and is trimmed at the front.
//!
//! It is a tree of `Arc` nodes with all leaves at one depth, so that a key with very many changes
//! costs a writer only a few small copies while a reader holds an older list, and a lookup by
//! revision is a descent.

use std::sync::Arc;

use super::{Change, is_spent};

/// How many changes or children a node has.
const WIDTH: usize = 32;

#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    root: Option<Arc<Node>>,
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(Vec<Change>),
    Inner(Vec<Arc<Self>>),
}

impl Past {
    pub(super) fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    pub(super) fn push(&mut self, change: Change) {
        let Some(root) = &mut self.root else {
            self.root = Some(Arc::new(Node::Leaf(vec![change])));
            return;
        };
        if let Some(next) = Arc::make_mut(root).push(change) {
            *root = Arc::new(Node::Inner(vec![root.clone(), next]));
        }
    }

    /// The newest change that is not newer than main revision `at`.
    pub(super) fn newest_at(&self, at: i64) -> Option<Change> {
        let mut node = self.root.as_deref()?;
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

    /// The first of the changes that are left.
    pub(super) fn oldest(&self) -> Option<Change> {
        self.root.as_ref().map(|root| root.first())
    }

    /// Removes what a compaction at main revision `at` makes unreachable.
    pub(super) fn compact(&mut self, at: i64, dead: &mut impl FnMut(crate::Revision)) {
        let Some(newest) = self.newest_at(at) else { return };
        let keep_newest = !is_spent(newest, at);
        let mut kept = Self::default();
        for change in self.iter() {
            let newer = change.revision > newest.revision;
            if newer || (keep_newest && change.revision == newest.revision) {
                kept.push(change);
            } else {
                dead(change.revision);
            }
        }
        *self = kept;
    }

    /// Removes all changes and returns them.
    pub(super) fn drain(&mut self) -> Vec<Change> {
        let all = self.iter().collect();
        self.root = None;
        all
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Change> + '_ {
        let mut open: Vec<&Node> = self.root.as_deref().into_iter().collect();
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
