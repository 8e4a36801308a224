//! What requests do: the rules of etcd 3.4, with the counts as it keeps them.
//!
//! Not here: reading for an answer, and what the tree must keep in step.

use std::sync::Arc;

use bytes::Bytes;
use quoin_api::etcdserverpb::Request;

use super::node::Node;
use super::store::V2Store;
use super::{V2Action, V2Error, V2ErrorCode, V2Event, V2Node, V2Outcome, V2Stats, path};

/// A time before the year 2000, in nanoseconds since the epoch, is no time for a node that is created.
const MIN_EXPIRATION_NS: i64 = 946_684_800_000_000_000;

/// A request that changes one node.
struct Change<'a> {
    /// The path as it came, and cleaned, and the key of the latter.
    raw_path: &'a [u8],
    path: Bytes,
    key: Vec<u8>,
    dir: bool,
    value: Bytes,
    /// The comparisons; empty and 0 for none.
    prev_value: &'a [u8],
    prev_index: u64,
    expiration_ns: Option<i64>,
    /// Whether the value stays and nobody is notified.
    refresh: bool,
}

/// Why a change was refused.
struct Refusal {
    error: V2Error,
    /// Whether etcd counts it as a success, which it does with some.
    counts_as_success: bool,
}

impl From<V2Error> for Refusal {
    fn from(error: V2Error) -> Self {
        Self { error, counts_as_success: false }
    }
}

impl Refusal {
    fn counted_as_success(error: V2Error) -> Self {
        Self { error, counts_as_success: true }
    }
}

type Changed = Result<Arc<V2Event>, Refusal>;

/// The two counts of a kind of change.
type Counts = fn(&mut V2Stats) -> (&mut u64, &mut u64);

impl<'a> Change<'a> {
    fn new(request: &'a Request) -> Self {
        // What is kept must not keep all of the entry in memory.
        let value = Bytes::copy_from_slice(&request.val);
        Self {
            dir: request.dir,
            prev_value: &request.prev_value,
            prev_index: request.prev_index,
            expiration_ns: (request.expiration != 0).then_some(request.expiration),
            refresh: request.refresh == Some(true),
            ..Self::of_file(&request.path, value)
        }
    }

    fn of_file(raw_path: &'a [u8], value: Bytes) -> Self {
        let path = Bytes::from(path::clean(raw_path));
        Self {
            raw_path,
            key: path::encode(&path),
            path,
            dir: false,
            value,
            prev_value: b"",
            prev_index: 0,
            expiration_ns: None,
            refresh: false,
        }
    }

    fn compares(&self) -> bool {
        self.prev_index > 0 || !self.prev_value.is_empty()
    }

    /// The change below its path, under a name that is the index of the change.
    fn in_order(self, index: u64) -> Self {
        let below = [self.raw_path, format!("/{index:020}").as_bytes()].concat();
        let path = Bytes::from(path::clean(&below));
        Self { key: path::encode(&path), path, ..self }
    }

    /// Tells whether the comparisons hold; the error is what etcd says.
    fn compare(&self, node: &Node) -> Result<(), Vec<u8>> {
        let value = node.value.as_deref().unwrap_or_default();
        let has_index = self.prev_index == 0 || self.prev_index == node.modified_index;
        let has_value = self.prev_value.is_empty() || self.prev_value == value;
        let values = || [b"[", self.prev_value, b" != ", value, b"]"].concat();
        let indexes = || format!("[{} != {}]", self.prev_index, node.modified_index).into_bytes();
        match (has_value, has_index) {
            (true, true) => Ok(()),
            (true, false) => Err(indexes()),
            (false, true) => Err(values()),
            (false, false) => Err([&values()[..], b" ", &indexes()].concat()),
        }
    }
}

impl V2Store {
    /// Carries out a request of the log. A method that does not exist does nothing, as in etcd.
    pub fn apply(&mut self, request: &Request) -> Result<V2Outcome, V2Error> {
        let changed = match &request.method[..] {
            "POST" => self.create(Change::new(request).in_order(self.state.index + 1)),
            "PUT" => self.apply_put(request),
            "DELETE" => {
                let change = Change::new(request);
                if change.compares() {
                    self.compare_and_delete(&change)
                } else {
                    self.delete(&change, request.recursive)
                }
            }
            "QGET" => {
                let key = path::encode(&path::clean(&request.path));
                let found = self.state.lookup(&key).is_ok();
                let stats = &mut self.state.stats;
                count(found, &mut stats.get_success, &mut stats.get_fail);
                return Ok(V2Outcome::Read);
            }
            "SYNC" => {
                self.expire(request.time);
                return Ok(V2Outcome::None);
            }
            _ => return Ok(V2Outcome::None),
        };
        changed.map(V2Outcome::Event)
    }

    fn apply_put(&mut self, request: &Request) -> Result<Arc<V2Event>, V2Error> {
        let change = Change::new(request);
        match request.prev_exist {
            Some(false) => self.create(change),
            Some(true) if !change.compares() => self.update(change),
            Some(true) => self.compare_and_swap(change),
            None if change.compares() => self.compare_and_swap(change),
            None => self.set(change),
        }
    }

    /// Creates a file for the cluster, with the directories above it.
    pub(crate) fn create_file(&mut self, path: &str, value: &str) -> Result<(), V2Error> {
        self.create(cluster_file(path, value)).map(drop)
    }

    /// Sets a file for the cluster.
    pub(crate) fn set_file(&mut self, path: &str, value: &str) -> Result<(), V2Error> {
        self.set(cluster_file(path, value)).map(drop)
    }

    /// Replaces the value of a file for the cluster.
    pub(crate) fn update_file(&mut self, path: &str, value: &str) -> Result<(), V2Error> {
        self.update(cluster_file(path, value)).map(drop)
    }

    /// Removes a node of the cluster with all below it.
    pub(crate) fn remove(&mut self, path: &str) -> Result<(), V2Error> {
        self.delete(&cluster_file(path, ""), true).map(drop)
    }

    fn create(&mut self, change: Change<'_>) -> Result<Arc<V2Event>, V2Error> {
        let result = self.insert(&change, V2Action::Create).map_err(Refusal::from);
        let result = result.map(|event| self.record(event, Vec::new()));
        self.counted(result, |stats| (&mut stats.create_success, &mut stats.create_fail))
    }

    fn set(&mut self, change: Change<'_>) -> Result<Arc<V2Event>, V2Error> {
        let result = self.try_set(change);
        self.counted(result, |stats| (&mut stats.set_success, &mut stats.set_fail))
    }

    fn try_set(&mut self, mut change: Change<'_>) -> Changed {
        let before = match self.state.lookup(&change.key) {
            Ok(node) => Some(node),
            Err(error) if change.refresh || error.code != V2ErrorCode::KeyNotFound => {
                return Err(error.into());
            }
            Err(_) => None,
        };
        if let Some(node) = &before
            && change.refresh
        {
            change.value = node.value.clone().unwrap_or_default();
        }
        let mut event = self.insert(&change, V2Action::Set)?;
        // etcd shows the former node under the path as it came.
        let raw_path = Bytes::copy_from_slice(change.raw_path);
        event.prev_node = before.map(|node| node.shown(raw_path));
        event.refresh = change.refresh;
        Ok(self.record(event, Vec::new()))
    }

    /// Puts a new node, for a set also in the place of a file. The index is not taken yet.
    fn insert(&mut self, change: &Change<'_>, action: V2Action) -> Result<V2Event, V2Error> {
        let Change { path, key, .. } = change;
        if path::is_read_only(path) {
            return Err(self.error(V2ErrorCode::RootReadOnly, &b"/"[..]));
        }
        if !path::is_within_bounds(path) {
            return Err(
                self.error(V2ErrorCode::InvalidField, &b"the path is too long or too deep"[..])
            );
        }
        if let Err(file) = self.make_directories(key) {
            // etcd counts this as a failed set, whatever it is.
            let fail = &mut self.state.stats.set_fail;
            *fail = fail.wrapping_add(1);
            return Err(self.error(V2ErrorCode::NotDir, file));
        }
        if let Some(node) = self.state.nodes.get(key) {
            if action != V2Action::Set {
                return Err(self.error(V2ErrorCode::NodeExists, path.clone()));
            }
            if node.is_directory() {
                return Err(self.error(V2ErrorCode::NotFile, path.clone()));
            }
        }
        let index = self.state.index + 1;
        let node = Node {
            expiration_ns: change.expiration_ns.filter(|time_ns| *time_ns >= MIN_EXPIRATION_NS),
            value: (!change.dir).then(|| change.value.clone()),
            ..Node::directory(index)
        };
        let shown = node.shown(path.clone());
        self.put(key, node);
        Ok(V2Event { action, node: shown, prev_node: None, refresh: false })
    }

    fn update(&mut self, change: Change<'_>) -> Result<Arc<V2Event>, V2Error> {
        let result = self.try_update(&change);
        self.counted(result, |stats| (&mut stats.update_success, &mut stats.update_fail))
    }

    fn try_update(&mut self, change: &Change<'_>) -> Changed {
        self.check_writable(change)?;
        let node = self.state.lookup(&change.key)?;
        if node.is_directory() && !change.value.is_empty() {
            let error = self.error(V2ErrorCode::NotFile, change.path.clone());
            return Err(Refusal::counted_as_success(error));
        }
        Ok(self.replace(change, node, V2Action::Update))
    }

    fn compare_and_swap(&mut self, change: Change<'_>) -> Result<Arc<V2Event>, V2Error> {
        let result = self.try_compare_and_swap(&change);
        self.counted(result, |stats| {
            (&mut stats.compare_and_swap_success, &mut stats.compare_and_swap_fail)
        })
    }

    fn try_compare_and_swap(&mut self, change: &Change<'_>) -> Changed {
        self.check_writable(change)?;
        let node = self.state.lookup(&change.key)?;
        if node.is_directory() {
            return Err(self.error(V2ErrorCode::NotFile, change.path.clone()).into());
        }
        if let Err(cause) = change.compare(&node) {
            return Err(self.error(V2ErrorCode::TestFailed, cause).into());
        }
        Ok(self.replace(change, node, V2Action::CompareAndSwap))
    }

    /// Replaces value and time to live of a node that is there. A directory has only the latter, and
    /// keeps the index of its last change.
    fn replace(&mut self, change: &Change<'_>, before: Node, action: V2Action) -> Arc<V2Event> {
        let index = self.state.index + 1;
        let mut node = before.clone();
        node.expiration_ns = change.expiration_ns;
        if let Some(value) = &mut node.value {
            node.modified_index = index;
            if !change.refresh {
                *value = change.value.clone();
            }
        }
        let shown = V2Node { modified_index: index, ..node.shown(change.path.clone()) };
        self.put(&change.key, node);
        let prev_node = Some(before.shown(change.path.clone()));
        let refresh = change.refresh;
        self.record(V2Event { action, node: shown, prev_node, refresh }, Vec::new())
    }

    fn delete(&mut self, change: &Change<'_>, recursive: bool) -> Result<Arc<V2Event>, V2Error> {
        let result = self.try_delete(change, recursive);
        self.counted(result, |stats| (&mut stats.delete_success, &mut stats.delete_fail))
    }

    fn try_delete(&mut self, change: &Change<'_>, recursive: bool) -> Changed {
        self.check_writable(change)?;
        let node = self.state.lookup(&change.key)?;
        if node.is_directory() && !recursive {
            let (from, end) = path::below(&change.key);
            if !change.dir {
                return Err(self.error(V2ErrorCode::NotFile, change.path.clone()).into());
            }
            if self.state.nodes.range(&from, Some(&end)).next().is_some() {
                return Err(self.error(V2ErrorCode::DirNotEmpty, change.path.clone()).into());
            }
        }
        Ok(self.remove_node(&change.key, &node, V2Action::Delete))
    }

    fn compare_and_delete(&mut self, change: &Change<'_>) -> Result<Arc<V2Event>, V2Error> {
        let result = self.try_compare_and_delete(change);
        self.counted(result, |stats| {
            (&mut stats.compare_and_delete_success, &mut stats.compare_and_delete_fail)
        })
    }

    /// There is no check for directories that nobody may change: they are no files.
    fn try_compare_and_delete(&mut self, change: &Change<'_>) -> Changed {
        let node = self.state.lookup(&change.key)?;
        if node.is_directory() {
            let error = self.error(V2ErrorCode::NotFile, change.path.clone());
            return Err(Refusal::counted_as_success(error));
        }
        if let Err(cause) = change.compare(&node) {
            let error = self.error(V2ErrorCode::TestFailed, cause);
            return Err(Refusal::counted_as_success(error));
        }
        Ok(self.remove_node(&change.key, &node, V2Action::CompareAndDelete))
    }

    /// Removes the nodes whose time is not after the time of a SYNC request, each with its event.
    fn expire(&mut self, time_ns: i64) {
        while let Some(key) = self.first_ended(time_ns) {
            let Ok(node) = self.state.lookup(&key) else { return };
            self.remove_node(&key, &node, V2Action::Expire);
            let count = &mut self.state.stats.expire_count;
            *count = count.wrapping_add(1);
        }
    }

    /// Removes a node with all below it.
    fn remove_node(&mut self, key: &[u8], before: &Node, action: V2Action) -> Arc<V2Event> {
        let path = path::decode(key);
        let node = V2Node {
            key: path.clone(),
            dir: before.is_directory(),
            modified_index: self.state.index + 1,
            created_index: before.created_index,
            ..V2Node::default()
        };
        let removed = self.take_away(key);
        let prev_node = Some(before.shown(path));
        self.record(V2Event { action, node, prev_node, refresh: false }, removed)
    }

    fn check_writable(&self, change: &Change<'_>) -> Result<(), Refusal> {
        if path::is_read_only(&change.path) {
            let error = self.error(V2ErrorCode::RootReadOnly, &b"/"[..]);
            return Err(Refusal::counted_as_success(error));
        }
        Ok(())
    }

    /// Counts a change by what became of it.
    fn counted(&mut self, changed: Changed, counts: Counts) -> Result<Arc<V2Event>, V2Error> {
        let (success, fail) = counts(&mut self.state.stats);
        let is_success =
            changed.as_ref().map_or_else(|refusal| refusal.counts_as_success, |_| true);
        count(is_success, success, fail);
        changed.map_err(|refusal| refusal.error)
    }
}

fn cluster_file<'a>(path: &'a str, value: &str) -> Change<'a> {
    Change::of_file(path.as_bytes(), Bytes::copy_from_slice(value.as_bytes()))
}

/// Counts as etcd does, whose counts wrap.
fn count(is_success: bool, success: &mut u64, fail: &mut u64) {
    let counted = if is_success { success } else { fail };
    *counted = counted.wrapping_add(1);
}
