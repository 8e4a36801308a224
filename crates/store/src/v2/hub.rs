//! Who watches which path.
//!
//! A watcher costs a row in two maps. An event looks for watchers at its path, at each directory above
//! it and at each path that it took away, so that those elsewhere cost it nothing.
//!
//! Not here: how much a slow client may leave behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::history::History;
use super::{
    V2Delivery, V2Error, V2ErrorCode, V2Event, V2Notice, V2Store, V2Watch, V2WatchOptions,
    V2WatcherId, path,
};

/// The watchers of one member, and the events that they can still ask for. Not replicated.
#[derive(Debug)]
pub struct V2WatchHub {
    history: Arc<History>,
    watchers: BTreeMap<Place, Watcher>,
    places: BTreeMap<V2WatcherId, Place>,
    last_id: V2WatcherId,
}

/// Where a watcher stands. Those at one path are next to each other, the recursive ones last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    path: Bytes,
    recursive: bool,
    id: V2WatcherId,
}

#[derive(Debug)]
struct Watcher {
    since: u64,
    stream: bool,
}

impl V2WatchHub {
    /// A hub that begins with the history of a store.
    pub fn new(store: &V2Store) -> Self {
        Self {
            history: store.history(),
            watchers: BTreeMap::new(),
            places: BTreeMap::new(),
            last_id: 0,
        }
    }

    /// Begins again with the history of another store, after a snapshot. Watchers stay, as in etcd.
    pub fn replace_history(&mut self, store: &V2Store) {
        self.history = store.history();
    }

    /// Adds a watcher, or answers it from the history. `view_index` is the v2 index that its client
    /// can have seen.
    pub fn watch(&mut self, options: V2WatchOptions, view_index: u64) -> Result<V2Watch, V2Error> {
        let V2WatchOptions { path, recursive, stream, since } = options;
        let path = path::clean(&path);
        let since = if since == 0 { view_index.saturating_add(1) } else { since };
        let cleared =
            |cause| V2Error { code: V2ErrorCode::EventIndexCleared, cause, index: view_index };
        if let Some(event) = self.history.scan(&path, recursive, since).map_err(cleared)? {
            return Ok(V2Watch::Found(event));
        }
        self.last_id += 1;
        let id = self.last_id;
        let place = Place { path: Bytes::from(path), recursive, id };
        self.places.insert(id, place.clone());
        self.watchers.insert(place, Watcher { since, stream });
        Ok(V2Watch::Waits(id))
    }

    /// Forgets a watcher.
    pub fn cancel(&mut self, watcher: V2WatcherId) {
        if let Some(place) = self.places.remove(&watcher) {
            self.watchers.remove(&place);
        }
    }

    /// Takes in the next event and appends whom it concerns, as etcd does: a watcher that does not
    /// stream is forgotten with its event.
    pub fn notify(&mut self, notice: &V2Notice, deliveries: &mut Vec<V2Delivery>) {
        let V2Notice { event, removed } = notice;
        if !self.watchers.is_empty() && !event.refresh {
            for path in removed {
                self.notify_at(path, true, event, deliveries);
            }
            let path = &event.node.key;
            // The directories to which a name on the way hides the node hear nothing of it.
            let visible_from = path::length_to_last_hidden(path);
            if visible_from == 0 {
                self.notify_at(&Bytes::from_static(b"/"), false, event, deliveries);
            }
            for (length, byte) in path.iter().enumerate().skip(visible_from.max(1)) {
                if *byte == b'/' {
                    self.notify_at(&path.slice(..length), false, event, deliveries);
                }
            }
            self.notify_at(path, true, event, deliveries);
        }
        Arc::make_mut(&mut self.history).push(Arc::clone(event));
    }

    /// Notifies the watchers at one path: all of them, or those that are recursive.
    fn notify_at(
        &mut self,
        path: &Bytes,
        all: bool,
        event: &Arc<V2Event>,
        deliveries: &mut Vec<V2Delivery>,
    ) {
        let from = Place { path: path.clone(), recursive: !all, id: 0 };
        let end = Place { path: path.clone(), recursive: true, id: V2WatcherId::MAX };
        let concerned = self.watchers.range(from..=end);
        let concerned = concerned.filter(|(_, watcher)| event.index() >= watcher.since);
        let mut concerned: Vec<(V2WatcherId, bool)> =
            concerned.map(|(place, watcher)| (place.id, watcher.stream)).collect();
        // etcd notifies the watchers of a path in the order in which they came.
        concerned.sort_unstable();
        for (watcher, stream) in concerned {
            deliveries.push(V2Delivery { watcher, event: Arc::clone(event) });
            if !stream {
                self.cancel(watcher);
            }
        }
    }

    /// How many watchers wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}
