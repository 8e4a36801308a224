//! Reading the tree.

use std::sync::Arc;

use bytes::Bytes;

use super::history::History;
use super::node::Node;
use super::{V2Error, V2ErrorCode, V2Event, V2Listing, V2Row, V2Stats, path};
use crate::tree::Tree;

/// The store after some entry, for readers: tree, index, counts and history. Cloning it copies a few
/// pointers, and it costs a writer no copy of the tree or of the whole history.
#[derive(Clone)]
pub struct V2View {
    /// The nodes by their keys. Every directory above a node is there.
    pub(super) nodes: Tree<Node>,
    pub(super) index: u64,
    pub(super) stats: V2Stats,
    pub(super) history: Arc<History>,
}

impl std::fmt::Debug for V2View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nodes = self.nodes.count().total;
        f.debug_struct("V2View").field("index", &self.index).field("nodes", &nodes).finish()
    }
}

impl V2View {
    /// The index of the last change.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Whether some node ends by itself.
    #[must_use]
    pub fn has_expiring(&self) -> bool {
        self.nodes.count().live > 0
    }

    /// Whether a client has ever changed something: there is a node below `/1` or `/2`, or the history
    /// has an event outside `/0`.
    #[must_use]
    pub fn is_used(&self) -> bool {
        let has_nodes = |directory: &[u8]| {
            let (from, end) = path::below(&path::encode(directory));
            self.nodes.range(&from, Some(&end)).next().is_some()
        };
        self.history.has_clients() || has_nodes(b"/1") || has_nodes(b"/2")
    }

    /// The counts of the requests that were applied. Local reads are not among them.
    #[must_use]
    pub fn stats(&self) -> V2Stats {
        self.stats
    }

    /// The history of events, the oldest first, at most 1000.
    pub fn history(&self) -> impl Iterator<Item = &Arc<V2Event>> {
        self.history.iter()
    }

    /// Reads a node. It is listed in the order of the keys, whether or not the request asks for that.
    pub fn get(&self, path: &[u8], recursive: bool) -> Result<V2Listing, V2Error> {
        let key = path::encode(&path::clean(path));
        let node = self.lookup(&key)?;
        let below = if node.is_directory() { self.list(&key, recursive) } else { Vec::new() };
        // etcd shows the path as it was asked for.
        Ok(V2Listing { node: node.shown(Bytes::copy_from_slice(path)), below })
    }

    /// The nodes below a directory that are not hidden.
    fn list(&self, directory: &[u8], recursive: bool) -> Vec<super::V2Node> {
        let (from, end) = path::below(directory);
        let mut cursor = self.nodes.range(&from, Some(&end));
        let mut listed = Vec::new();
        while let Some(slot) = cursor.next() {
            let (key, node) = (slot.key(), slot.value());
            let path = path::decode(&key);
            let is_hidden = path::is_hidden(&path);
            // A listing of one level must not cost as much as the whole tree below it.
            if node.is_directory() && (is_hidden || !recursive) {
                cursor = self.nodes.range(&path::past(&key), Some(&end));
            }
            if !is_hidden {
                listed.push(node.shown(path));
            }
        }
        listed
    }

    /// All nodes in the order of their keys, a directory before what is in it, beginning with the one
    /// at a path or the next one if there is none.
    pub fn rows(&self, from: Option<&[u8]>) -> impl Iterator<Item = V2Row> + '_ {
        let from = from.map_or_else(Vec::new, |path| path::encode(&path::clean(path)));
        self.nodes.range(&from, None).map(|slot| {
            let Node { created_index, modified_index, expiration_ns, value } = slot.value();
            let path = path::decode(&slot.key());
            V2Row { path, created_index, modified_index, expiration_ns, value }
        })
    }

    /// Finds the node of a key.
    pub(super) fn lookup(&self, key: &[u8]) -> Result<Node, V2Error> {
        if let Some(node) = self.nodes.get(key) {
            return Ok(node);
        }
        // The first step that fails is the cause.
        for length in path::steps(key) {
            let step = &key[..length];
            match self.nodes.get(step) {
                None => return Err(self.error(V2ErrorCode::KeyNotFound, path::decode(step))),
                Some(node) if !node.is_directory() => {
                    return Err(self.error(V2ErrorCode::NotDir, path::decode(step)));
                }
                Some(_) => {}
            }
        }
        Err(self.error(V2ErrorCode::KeyNotFound, path::decode(key)))
    }

    pub(super) fn error(&self, code: V2ErrorCode, cause: impl Into<Bytes>) -> V2Error {
        V2Error { code, cause: cause.into(), index: self.index }
    }
}
