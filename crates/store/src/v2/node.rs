//! A node as the tree keeps it.
//!
//! Not here: its path, which is its key, and its children, whose keys follow it.

use bytes::Bytes;

use super::V2Node;
use crate::tree::Entry;

/// A node without its path. The default is a directory that is there from the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) created_index: u64,
    pub(super) modified_index: u64,
    pub(super) expiration_ns: Option<i64>,
    /// Absent for a directory.
    pub(super) value: Option<Bytes>,
}

/// The nodes that count as live are those that end by themselves.
impl Entry for Node {
    type Column = Vec<Self>;

    fn is_live(&self) -> bool {
        self.expiration_ns.is_some()
    }
}

impl Node {
    /// A directory above a new node.
    pub(super) fn directory(index: u64) -> Self {
        Self { created_index: index, modified_index: index, ..Self::default() }
    }

    pub(super) fn is_directory(&self) -> bool {
        self.value.is_none()
    }

    /// The node as an event or a listing shows it.
    pub(super) fn shown(&self, key: Bytes) -> V2Node {
        V2Node {
            key,
            value: self.value.clone(),
            dir: self.is_directory(),
            expiration_ns: self.expiration_ns,
            modified_index: self.modified_index,
            created_index: self.created_index,
        }
    }
}
