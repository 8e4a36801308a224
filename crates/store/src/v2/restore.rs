//! Building a store from its parts, which come from a file.

use super::history::{History, MAX_EVENTS};
use super::node::Node;
use super::{V2Event, V2Row, V2Stats, V2Store, path};
use crate::tree::Builder;

/// The highest index of a store that is read: the changes to come must have indexes as well.
const MAX_INDEX: u64 = i64::MAX as u64;

impl V2Store {
    /// Puts a store together from rows as [`V2View::rows`](super::V2View::rows) gives them, the first
    /// of which is the root, and events, the oldest first. The error says what does not fit.
    pub fn restored(
        index: u64,
        stats: V2Stats,
        rows: impl IntoIterator<Item = V2Row>,
        history: Vec<V2Event>,
    ) -> Result<Self, String> {
        check_index(index)?;
        let mut nodes = Builder::new();
        let mut order = Order::default();
        for row in rows {
            let V2Row { path, created_index, modified_index, expiration_ns, value } = row;
            let bad = |what: &str| Err(format!("{:?} {what}", String::from_utf8_lossy(&path)));
            if path::clean(&path) != path || !path::is_readable(&path) {
                return bad("is no path of a node");
            }
            let key = path::encode(&path);
            if let Err(what) = order.push(&key, value.is_none()) {
                return bad(what);
            }
            if created_index > index || modified_index > index {
                return bad("was changed after the last change");
            }
            if key.is_empty() && (value.is_some() || expiration_ns.is_some()) {
                return bad("is no directory that stays");
            }
            nodes.push(key, Node { created_index, modified_index, expiration_ns, value });
        }
        if order.last.is_none() {
            return Err("there is no root".to_owned());
        }
        let history = History::restored(history, index)?;
        Ok(Self::with_nodes(nodes.finish(), index, stats, history))
    }
}

/// What must be known of the keys so far to judge the next one.
#[derive(Default)]
struct Order {
    last: Option<Vec<u8>>,
    /// The lengths of the keys of directories on the way to the last key, itself among them.
    directories: Vec<usize>,
}

impl Order {
    fn push(&mut self, key: &[u8], is_directory: bool) -> Result<(), &'static str> {
        if let Some(last) = &self.last {
            if key <= &last[..] {
                return Err("is out of order");
            }
            let above = path::directory_length(key);
            while self.directories.last().is_some_and(|length| *length > above) {
                self.directories.pop();
            }
            if self.directories.last() != Some(&above) || last[..above] != key[..above] {
                return Err("is in no directory");
            }
        } else if !key.is_empty() {
            return Err("is not the root");
        }
        if is_directory {
            self.directories.push(key.len());
        }
        self.last = Some(key.to_vec());
        Ok(())
    }
}

/// Refuses an index that leaves no room for changes.
pub(super) fn check_index(index: u64) -> Result<(), String> {
    if index > MAX_INDEX {
        return Err(format!("the index {index} is too high"));
    }
    Ok(())
}

impl History {
    /// The history of a store at an index.
    pub(super) fn restored(events: Vec<V2Event>, index: u64) -> Result<Self, String> {
        if events.len() > MAX_EVENTS {
            return Err(format!("the history has more than {MAX_EVENTS} events"));
        }
        let mut history = Self::default();
        for event in events {
            let (last, this) = (history.last_index(), event.index());
            if this <= last || this > index {
                return Err(format!("the history has event {this} after {last}, up to {index}"));
            }
            history.push(event.into());
        }
        Ok(history)
    }
}
