//! The store itself: what a change must keep in step.
//!
//! Invariants:
//! - Every directory above a node is there.
//! - `endings` has an entry for each node that ends by itself, and no other.
//! - Every change of the index has one event.
//!
//! Not here: what a request may change and what it answers.

use std::sync::Arc;

use bytes::Bytes;

use super::history::History;
use super::node::Node;
use super::view::V2View;
use super::{V2ErrorCode, V2Event, V2Notice, V2Stats, path};
use crate::tree::Tree;

/// The store. It is part of the replicated state.
#[derive(Clone)]
pub struct V2Store {
    pub(super) state: V2View,
    /// When nodes end, and their keys. Readers have no use for the order.
    endings: Tree<()>,
    notices: Vec<V2Notice>,
}

/// How many bytes of a key in `endings` are the time.
const TIME_BYTES: usize = 8;

impl Default for V2Store {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for V2Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let notices = self.notices.len();
        f.debug_struct("V2Store").field("state", &self.state).field("notices", &notices).finish()
    }
}

impl V2Store {
    /// A store with the empty directories `/0` and `/1`, at index 0.
    #[must_use]
    pub fn new() -> Self {
        let mut nodes = Tree::default();
        for path in [&b"/"[..], b"/0", b"/1"] {
            nodes.upsert(&path::encode(path), |_: &mut Node| ());
        }
        Self::with_nodes(nodes, 0, V2Stats::default(), History::default())
    }

    /// A store of nodes that are valid.
    pub(super) fn with_nodes(
        nodes: Tree<Node>,
        index: u64,
        stats: V2Stats,
        history: History,
    ) -> Self {
        let mut endings = Tree::default();
        for slot in nodes.iter().live_only() {
            if let Some(time_ns) = slot.value().expiration_ns {
                endings.upsert(&ending(time_ns, &slot.key()), |()| ());
            }
        }
        let state = V2View { nodes, index, stats, history: Arc::new(history) };
        Self { state, endings, notices: Vec::new() }
    }

    /// The index of the last change.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.state.index()
    }

    /// Whether some node ends by itself, so that the leader must propose SYNC requests.
    #[must_use]
    pub fn has_expiring(&self) -> bool {
        self.state.has_expiring()
    }

    /// Whether a client has ever changed something: there is a node below `/1` or `/2`, or the history
    /// has an event outside `/0`.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.state.is_used()
    }

    /// Takes the events since the last call, the oldest first.
    pub fn take_notices(&mut self) -> Vec<V2Notice> {
        std::mem::take(&mut self.notices)
    }

    /// The tree for readers.
    #[must_use]
    pub fn view(&self) -> V2View {
        self.state.clone()
    }

    pub(super) fn history(&self) -> Arc<History> {
        Arc::clone(&self.state.history)
    }

    /// Puts a node in the place of the one that is there, or of none.
    pub(super) fn put(&mut self, key: &[u8], node: Node) {
        let new_ns = node.expiration_ns;
        let old = self.state.nodes.upsert(key, |slot| std::mem::replace(slot, node));
        if old.expiration_ns == new_ns {
            return;
        }
        self.forget_ending(key, old.expiration_ns);
        if let Some(time_ns) = new_ns {
            self.endings.upsert(&ending(time_ns, key), |()| ());
        }
    }

    /// Replaces the value of a file without an event and without taking an index. Nothing happens
    /// if there is no such file.
    pub(crate) fn overwrite_file(&mut self, path: &str, value: &str) {
        let key = path::encode(path.as_bytes());
        if let Some(node) = self.state.nodes.get(&key).filter(|node| !node.is_directory()) {
            let value = Some(Bytes::copy_from_slice(value.as_bytes()));
            self.put(&key, Node { value, ..node });
        }
    }

    /// Removes a node and all below it. Returns the paths, children before their directory.
    pub(super) fn take_away(&mut self, key: &[u8]) -> Vec<Bytes> {
        let (from, end) = path::below(key);
        let mut keys = vec![key.to_vec()];
        keys.extend(self.state.nodes.range(&from, Some(&end)).map(|slot| slot.key()));
        for key in &keys {
            if let Some(node) = self.state.nodes.remove(key) {
                self.forget_ending(key, node.expiration_ns);
            }
        }
        keys.iter().rev().map(|key| path::decode(key)).collect()
    }

    fn forget_ending(&mut self, key: &[u8], time_ns: Option<i64>) {
        if let Some(time_ns) = time_ns {
            self.endings.remove(&ending(time_ns, key));
        }
    }

    /// The key of the node that ends first, if that is not after a time. Of nodes that end at the same
    /// time a directory comes before what is in it.
    pub(super) fn first_ended(&self, time_ns: i64) -> Option<Vec<u8>> {
        let first = self.endings.iter().next()?.key();
        let (time, key) = first.split_at(TIME_BYTES);
        (time <= &ordered(time_ns)[..]).then(|| key.to_vec())
    }

    /// Creates the directories above a node as far as they are missing. They get the index of the
    /// change that is under way. The error is the path of a file among them.
    pub(super) fn make_directories(&mut self, key: &[u8]) -> Result<(), Bytes> {
        let above = &key[..path::directory_length(key)];
        if self.state.nodes.get(above).is_some_and(|node| node.is_directory()) {
            return Ok(());
        }
        let index = self.state.index + 1;
        for length in path::steps(above) {
            let step = &above[..length];
            match self.state.nodes.get(step) {
                Some(node) if node.is_directory() => {}
                Some(_) => return Err(path::decode(step)),
                // All that follow are missing as well, so that nothing is left behind by an error.
                None => self.put(step, Node::directory(index)),
            }
        }
        Ok(())
    }

    /// Takes the next index and remembers its event.
    pub(super) fn record(&mut self, event: V2Event, removed: Vec<Bytes>) -> Arc<V2Event> {
        self.state.index += 1;
        debug_assert_eq!(event.index(), self.state.index, "every index has one event");
        let event = Arc::new(event);
        Arc::make_mut(&mut self.state.history).push(Arc::clone(&event));
        self.notices.push(V2Notice { event: Arc::clone(&event), removed });
        event
    }

    pub(super) fn error(&self, code: V2ErrorCode, cause: impl Into<Bytes>) -> super::V2Error {
        self.state.error(code, cause)
    }
}

/// The key in `endings` of a node.
fn ending(time_ns: i64, key: &[u8]) -> Vec<u8> {
    [&ordered(time_ns)[..], key].concat()
}

/// A time as bytes that sort as the number does.
fn ordered(time_ns: i64) -> [u8; TIME_BYTES] {
    ((time_ns as u64) ^ (1 << 63)).to_be_bytes()
}
