//! The store of the v2 API: a tree of directories and files, with its history of events.
//!
//! A path is what stands in etcd's log: `/0/...` is the cluster's, `/1/...` the keys of clients, `/2/...`
//! users and roles. Every change takes the next v2 index, also one of the cluster. Applying a request
//! is a pure function of the store and the request: a node ends when a SYNC request says that its time
//! has come.
//!
//! Not here: HTTP, who may do what, which prefix clients see, the clock.

use std::sync::Arc;

use bytes::Bytes;

mod apply;
mod export;
mod history;
mod hub;
mod import;
mod json;
mod node;
mod path;
mod restore;
mod store;
#[cfg(test)]
mod tests;
mod time;
mod view;

pub use hub::V2WatchHub;
pub use json::push_json_string;
pub use store::V2Store;
pub use view::V2View;

/// The error codes of the v2 API that a store can answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum V2ErrorCode {
    /// There is no such node.
    KeyNotFound = 100,
    /// A comparison failed.
    TestFailed = 101,
    /// The node is a directory.
    NotFile = 102,
    /// A part of the path is a file.
    NotDir = 104,
    /// There is such a node already.
    NodeExists = 105,
    /// The node may not be changed.
    RootReadOnly = 107,
    /// The directory has nodes.
    DirNotEmpty = 108,
    /// The path has more names or bytes than this store takes. etcd has no such bound.
    InvalidField = 209,
    /// The wanted event is older than the history.
    EventIndexCleared = 401,
}

/// Why a request of the v2 API was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V2Error {
    /// Which rule was broken.
    pub code: V2ErrorCode,
    /// The path or the failed comparison, as etcd prints it. Paths have their prefix (`/1/a`).
    pub cause: Bytes,
    /// The v2 index when it was refused.
    pub index: u64,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum V2Action {
    /// A read; only in answers, never in the history.
    Get,
    /// A node was created.
    Create,
    /// A node was created or replaced.
    Set,
    /// The value or the time to live of a node was replaced.
    Update,
    /// A node was removed.
    Delete,
    /// A file was replaced after a comparison.
    CompareAndSwap,
    /// A file was removed after a comparison.
    CompareAndDelete,
    /// The time of a node was over.
    Expire,
}

impl V2Action {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Get,
        Self::Create,
        Self::Set,
        Self::Update,
        Self::Delete,
        Self::CompareAndSwap,
        Self::CompareAndDelete,
        Self::Expire,
    ];

    /// The name in answers and snapshots (`compareAndSwap`).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Create => "create",
            Self::Set => "set",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::CompareAndSwap => "compareAndSwap",
            Self::CompareAndDelete => "compareAndDelete",
            Self::Expire => "expire",
        }
    }
}

/// A node as an event shows it, without the nodes below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct V2Node {
    /// The path with its prefix (`/1/a`).
    pub key: Bytes,
    /// The value; absent for a directory, and for a node that is gone.
    pub value: Option<Bytes>,
    /// Whether it is a directory.
    pub dir: bool,
    /// When its time is over, in nanoseconds since the epoch.
    pub expiration_ns: Option<i64>,
    /// The v2 index of the last change.
    pub modified_index: u64,
    /// The v2 index at which it was created.
    pub created_index: u64,
}

/// A change of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V2Event {
    /// What happened.
    pub action: V2Action,
    /// The node after it.
    pub node: V2Node,
    /// The node before it.
    pub prev_node: Option<V2Node>,
    /// Whether only the time to live was renewed, of which watchers are not notified.
    pub refresh: bool,
}

impl V2Event {
    /// The v2 index of the change.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.node.modified_index
    }

    /// Whether the answer is 201: created, or set where there was nothing.
    #[must_use]
    pub fn is_created(&self) -> bool {
        self.action == V2Action::Create
            || (self.action == V2Action::Set && self.prev_node.is_none())
    }
}

/// An event for those who watch, in the order of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V2Notice {
    /// The event.
    pub event: Arc<V2Event>,
    /// The paths of all nodes that a removal took away, in the order in which etcd notifies their
    /// watchers (children before their directory). Empty for other events.
    pub removed: Vec<Bytes>,
}

/// What a request did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum V2Outcome {
    /// It changed a node.
    Event(Arc<V2Event>),
    /// It is a read: evaluate it on the view after it.
    Read,
    /// It has no answer.
    None,
}

/// Counts of requests, as `/v2/stats/store` shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct V2Stats {
    /// Reads that succeeded.
    pub get_success: u64,
    /// Reads that failed.
    pub get_fail: u64,
    /// Sets that succeeded.
    pub set_success: u64,
    /// Sets that failed.
    pub set_fail: u64,
    /// Removals that succeeded.
    pub delete_success: u64,
    /// Removals that failed.
    pub delete_fail: u64,
    /// Updates that succeeded.
    pub update_success: u64,
    /// Updates that failed.
    pub update_fail: u64,
    /// Creations that succeeded.
    pub create_success: u64,
    /// Creations that failed.
    pub create_fail: u64,
    /// Comparisons with a swap that succeeded.
    pub compare_and_swap_success: u64,
    /// Comparisons with a swap that failed.
    pub compare_and_swap_fail: u64,
    /// Comparisons with a removal that succeeded.
    pub compare_and_delete_success: u64,
    /// Comparisons with a removal that failed.
    pub compare_and_delete_fail: u64,
    /// Nodes whose time was over.
    pub expire_count: u64,
}

/// A node that was read, with what is below it as far as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V2Listing {
    /// The node; its `nodes` are the direct children (one level) or everything (recursive).
    pub node: V2Node,
    /// What is below a directory, in the order of the paths, parents before their children, without
    /// hidden nodes and what is below them. A child directory of a listing that is not recursive has
    /// nothing below it here.
    pub below: Vec<V2Node>,
}

/// A node as it is kept, for checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V2Row {
    /// The path with its prefix (`/1/a`).
    pub path: Bytes,
    /// The v2 index at which it was created.
    pub created_index: u64,
    /// The v2 index of the last change.
    pub modified_index: u64,
    /// When its time is over, in nanoseconds since the epoch.
    pub expiration_ns: Option<i64>,
    /// The value; absent for a directory.
    pub value: Option<Bytes>,
}

/// What a watcher wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V2WatchOptions {
    /// The path with its prefix.
    pub path: Bytes,
    /// Whether changes below it count.
    pub recursive: bool,
    /// Whether it stays after the first event.
    pub stream: bool,
    /// The first index that counts; 0 for what comes after `view_index`.
    pub since: u64,
}

/// Names a watcher of a [`V2WatchHub`].
pub type V2WatcherId = u64;

/// What became of a new watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum V2Watch {
    /// The history has its first event; there is no watcher (also with `stream`, as in etcd).
    Found(Arc<V2Event>),
    /// It waits.
    Waits(V2WatcherId),
}

/// What the hub tells of a watcher, in order. A watcher that streams gets the event of its removed node
/// twice, as from etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V2Delivery {
    /// To whom.
    pub watcher: V2WatcherId,
    /// What happened.
    pub event: Arc<V2Event>,
}
