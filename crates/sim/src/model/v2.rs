//! What the tree of the v2 API must be: its rules once more, over one ordered map.
//!
//! It knows the requests that the workload makes and no others, and of the cluster's own files only
//! how many there are, because each of their changes takes an index.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quoin_api::etcdserverpb::Request;
use quoin_store::{V2Action, V2Error, V2ErrorCode, V2Event, V2Node, V2Outcome};

/// The directory of clients' keys, which is always there.
const ROOT: &str = "/1";

/// The nodes below [`ROOT`] by their paths. Names have no byte that sorts before a slash, so a
/// directory stands before what is in it.
pub(crate) type Tree = BTreeMap<Bytes, V2Node>;

/// The tree with all its past.
#[derive(Debug, Default)]
pub(crate) struct V2Model {
    index: u64,
    tree: Tree,
    /// The index and the tree after the entries that changed them.
    past: BTreeMap<usize, (u64, Arc<Tree>)>,
    members: u64,
    has_version: bool,
    /// A client has changed something.
    is_used: bool,
}

type Changed = Result<V2Event, V2Error>;

impl V2Model {
    /// A member was added.
    pub(crate) fn member_added(&mut self, entry: usize) {
        self.members += 1;
        self.index += 1;
        self.remember(entry);
    }

    /// The cluster version was set, to one with which all members are ours.
    pub(crate) fn version_set(&mut self, entry: usize) {
        self.has_version = true;
        self.index += 1;
        self.remember(entry);
    }

    /// Executes the request of an entry and returns its answer.
    pub(crate) fn execute(
        &mut self,
        request: &Request,
        entry: usize,
    ) -> Result<V2Outcome, V2Error> {
        if request.method == "QGET" {
            return Ok(V2Outcome::Read);
        }
        if request.method == "SYNC" {
            while self.expire_one(request.time) {}
            self.remember(entry);
            return Ok(V2Outcome::None);
        }
        // Members count from what they agree on, as long as no client has changed anything.
        if self.has_version && !self.is_used {
            // A file of addresses and one of attributes for each member, and the version.
            self.index = 2 * self.members + 1;
        }
        let changed = match request.method.as_str() {
            "POST" => {
                let name = format!("{}/{:020}", text(&request.path), self.index + 1);
                self.insert(&Request { path: name.into(), ..request.clone() }, V2Action::Create)
            }
            "PUT" => self.put(request),
            "DELETE" => self.delete(request),
            method => unreachable!("the workload makes no {method}"),
        };
        self.is_used |= changed.is_ok();
        self.remember(entry);
        changed.map(|event| V2Outcome::Event(Arc::new(event)))
    }

    /// The index and the tree after an entry.
    pub(crate) fn after(&self, entry: usize) -> (u64, Arc<Tree>) {
        let last = self.past.range(..=entry).next_back();
        last.map(|(_, state)| state.clone()).unwrap_or_default()
    }

    /// A node whose time was over before a time.
    pub(crate) fn due(&self, before_ns: i64) -> Option<&V2Node> {
        self.tree.values().find(|node| node.expiration_ns.is_some_and(|end| end < before_ns))
    }

    fn remember(&mut self, entry: usize) {
        self.past.insert(entry, (self.index, Arc::new(self.tree.clone())));
    }

    fn put(&mut self, request: &Request) -> Changed {
        let compares = request.prev_index > 0 || !request.prev_value.is_empty();
        match request.prev_exist {
            Some(false) => self.insert(request, V2Action::Create),
            Some(true) if !compares => self.replace(request, V2Action::Update),
            _ if compares => self.replace(request, V2Action::CompareAndSwap),
            _ => self.set(request),
        }
    }

    fn set(&mut self, request: &Request) -> Changed {
        let refresh = request.refresh == Some(true);
        let mut request = request.clone();
        let before = match self.lookup(&request.path) {
            Ok(node) => Some(node),
            Err(error) if refresh || error.code != V2ErrorCode::KeyNotFound => return Err(error),
            Err(_) => None,
        };
        if refresh {
            let value = before.as_ref().and_then(|node| node.value.clone());
            request.val = value.unwrap_or_default();
        }
        let event = self.insert(&request, V2Action::Set)?;
        Ok(V2Event { prev_node: before, refresh, ..event })
    }

    /// Creates a node with the directories above it; a set replaces a file.
    fn insert(&mut self, request: &Request, action: V2Action) -> Changed {
        let path = &request.path;
        let index = self.index + 1;
        let mut missing = Vec::new();
        for above in above(path) {
            match self.tree.get(&above) {
                Some(node) if node.dir => {}
                Some(_) => return Err(self.error(V2ErrorCode::NotDir, above)),
                None => missing.push(above),
            }
        }
        match self.tree.get(path) {
            Some(_) if action == V2Action::Create => {
                return Err(self.error(V2ErrorCode::NodeExists, path.clone()));
            }
            Some(node) if node.dir => return Err(self.error(V2ErrorCode::NotFile, path.clone())),
            Some(_) | None => {}
        }
        let new = |key: Bytes| V2Node {
            key,
            modified_index: index,
            created_index: index,
            ..V2Node::default()
        };
        for key in missing {
            self.tree.insert(key.clone(), V2Node { dir: true, ..new(key) });
        }
        let node = V2Node {
            value: (!request.dir).then(|| request.val.clone()),
            dir: request.dir,
            expiration_ns: (request.expiration != 0).then_some(request.expiration),
            ..new(path.clone())
        };
        self.tree.insert(path.clone(), node.clone());
        self.index = index;
        Ok(V2Event { action, node, prev_node: None, refresh: false })
    }

    /// An update, or a swap after a comparison.
    fn replace(&mut self, request: &Request, action: V2Action) -> Changed {
        let before = self.lookup(&request.path)?;
        if before.dir && (action == V2Action::CompareAndSwap || !request.val.is_empty()) {
            return Err(self.error(V2ErrorCode::NotFile, before.key));
        }
        if action == V2Action::CompareAndSwap {
            self.compare(request, &before)?;
        }
        let refresh = request.refresh == Some(true);
        self.index += 1;
        let mut node = before.clone();
        node.expiration_ns = (request.expiration != 0).then_some(request.expiration);
        if let Some(value) = &mut node.value {
            node.modified_index = self.index;
            if !refresh {
                *value = request.val.clone();
            }
        }
        self.tree.insert(node.key.clone(), node.clone());
        // A directory keeps its index, but the event has the new one.
        node.modified_index = self.index;
        Ok(V2Event { action, node, prev_node: Some(before), refresh })
    }

    fn delete(&mut self, request: &Request) -> Changed {
        let compares = request.prev_index > 0 || !request.prev_value.is_empty();
        let before = self.lookup(&request.path)?;
        if compares {
            if before.dir {
                return Err(self.error(V2ErrorCode::NotFile, before.key));
            }
            self.compare(request, &before)?;
            return Ok(self.remove(before, V2Action::CompareAndDelete));
        }
        if before.dir && !request.recursive {
            if !request.dir {
                return Err(self.error(V2ErrorCode::NotFile, before.key));
            }
            if self.tree.keys().any(|key| is_below(key, &before.key)) {
                return Err(self.error(V2ErrorCode::DirNotEmpty, before.key));
            }
        }
        Ok(self.remove(before, V2Action::Delete))
    }

    fn remove(&mut self, before: V2Node, action: V2Action) -> V2Event {
        self.index += 1;
        self.tree.retain(|key, _| *key != before.key && !is_below(key, &before.key));
        let node = V2Node {
            key: before.key.clone(),
            dir: before.dir,
            modified_index: self.index,
            created_index: before.created_index,
            ..V2Node::default()
        };
        V2Event { action, node, prev_node: Some(before), refresh: false }
    }

    fn expire_one(&mut self, time_ns: i64) -> bool {
        let ends = |node: &&V2Node| node.expiration_ns.is_some_and(|end| end <= time_ns);
        let due = self.tree.values().filter(ends);
        let first = due.min_by_key(|node| (node.expiration_ns, node.key.clone())).cloned();
        first.map(|node| self.remove(node, V2Action::Expire)).is_some()
    }

    fn compare(&self, request: &Request, node: &V2Node) -> Result<(), V2Error> {
        let Request { prev_value, prev_index, .. } = request;
        let value = node.value.clone().unwrap_or_default();
        let has_value = prev_value.is_empty() || *prev_value == value;
        let has_index = *prev_index == 0 || *prev_index == node.modified_index;
        let values = format!("[{} != {}]", text(prev_value), text(&value));
        let indexes = format!("[{prev_index} != {}]", node.modified_index);
        let cause = match (has_value, has_index) {
            (true, true) => return Ok(()),
            (true, false) => indexes,
            (false, true) => values,
            (false, false) => format!("{values} {indexes}"),
        };
        Err(self.error(V2ErrorCode::TestFailed, cause))
    }

    fn lookup(&self, path: &Bytes) -> Result<V2Node, V2Error> {
        for above in above(path) {
            match self.tree.get(&above) {
                Some(node) if node.dir => {}
                Some(_) => return Err(self.error(V2ErrorCode::NotDir, above)),
                None => return Err(self.error(V2ErrorCode::KeyNotFound, above)),
            }
        }
        let found = self.tree.get(path).cloned();
        found.ok_or_else(|| self.error(V2ErrorCode::KeyNotFound, path.clone()))
    }

    fn error(&self, code: V2ErrorCode, cause: impl Into<Bytes>) -> V2Error {
        V2Error { code, cause: cause.into(), index: self.index }
    }
}

/// The directories between the root and a node, from above.
fn above(path: &Bytes) -> Vec<Bytes> {
    let inner = path.iter().enumerate().skip(ROOT.len() + 1);
    inner.filter(|(_, byte)| **byte == b'/').map(|(at, _)| path.slice(..at)).collect()
}

fn is_below(key: &Bytes, directory: &Bytes) -> bool {
    key.strip_prefix(&directory[..]).is_some_and(|rest| rest.first() == Some(&b'/'))
}

fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).expect("the workload writes text")
}
