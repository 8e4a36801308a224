//! The last events, which watchers can ask for.
//!
//! Invariants:
//! - Events ascend by their index, and there are at most [`MAX_EVENTS`].
//! - Every chunk is full, so that a position says where its event is.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::{V2Action, V2Event, path};

/// How many events are kept, as by etcd.
pub(super) const MAX_EVENTS: usize = 1000;
/// How many events share a pointer. A writer copies the pointers of all chunks and one chunk when a
/// view still has the history.
const CHUNK: usize = 32;

/// The events, the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    chunks: VecDeque<Arc<[Arc<V2Event>]>>,
    /// The newest events, fewer than a chunk.
    tail: Vec<Arc<V2Event>>,
    /// How many events of the first chunk are no longer kept.
    skipped: usize,
    /// How many events are not the cluster's.
    of_clients: usize,
}

impl History {
    pub(super) fn push(&mut self, event: Arc<V2Event>) {
        if self.len() == MAX_EVENTS {
            self.drop_oldest();
        }
        self.of_clients += is_of_client(&event);
        self.tail.push(event);
        if self.tail.len() == CHUNK {
            self.chunks.push_back(Arc::from(std::mem::take(&mut self.tail)));
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.at(0).expect("the history is full");
        self.of_clients -= is_of_client(oldest);
        self.skipped += 1;
        if self.skipped == CHUNK {
            self.chunks.pop_front();
            self.skipped = 0;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.chunks.len() * CHUNK + self.tail.len() - self.skipped
    }

    /// Whether a client caused one of the events.
    pub(super) fn has_clients(&self) -> bool {
        self.of_clients > 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<V2Event>> {
        self.chunks.iter().flat_map(|chunk| &**chunk).chain(&self.tail).skip(self.skipped)
    }

    fn at(&self, position: usize) -> Option<&Arc<V2Event>> {
        let position = position + self.skipped;
        match self.chunks.get(position / CHUNK) {
            Some(chunk) => chunk.get(position % CHUNK),
            None => self.tail.get(position - self.chunks.len() * CHUNK),
        }
    }

    /// The index of the first event, or 0.
    pub(super) fn start_index(&self) -> u64 {
        self.at(0).map_or(0, |event| event.index())
    }

    /// The index of the last event, or 0.
    pub(super) fn last_index(&self) -> u64 {
        self.len().checked_sub(1).and_then(|last| self.at(last)).map_or(0, |event| event.index())
    }

    /// The first event from an index on that concerns a clean path. The error is what etcd says of an
    /// index before the history.
    pub(super) fn scan(
        &self,
        path: &[u8],
        recursive: bool,
        since: u64,
    ) -> Result<Option<Arc<V2Event>>, Bytes> {
        let start = self.start_index();
        if since < start {
            let cause = format!("the requested history has been cleared [{start}/{since}]");
            return Err(Bytes::from(cause));
        }
        let mut position = self.position(since);
        while let Some(event) = self.at(position) {
            if !event.refresh && concerns(event, path, recursive) {
                return Ok(Some(Arc::clone(event)));
            }
            position += 1;
        }
        Ok(None)
    }

    /// Where the first event is that is not before an index.
    fn position(&self, index: u64) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.at(middle).is_some_and(|event| event.index() < index) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// Counts an event: 1 if it is not the cluster's.
fn is_of_client(event: &V2Event) -> usize {
    usize::from(!path::is_of_cluster(&event.node.key))
}

fn concerns(event: &V2Event, path: &[u8], recursive: bool) -> bool {
    let key = &event.node.key[..];
    let is_below =
        || path == b"/" || key.strip_prefix(path).is_some_and(|rest| rest.first() == Some(&b'/'));
    let is_removal = matches!(event.action, V2Action::Delete | V2Action::Expire);
    // etcd compares without a slash at the end: the removal of the directory `/1/a` is also found by
    // a watcher of `/1/ab`.
    let took_away = |node: &super::V2Node| node.dir && path.starts_with(&node.key);
    key == path
        || recursive && is_below()
        || is_removal && event.prev_node.as_ref().is_some_and(took_away)
}
