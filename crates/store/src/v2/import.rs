//! Reading a store from the JSON of a snapshot.
//!
//! What etcd does not write is refused rather than mended. Memory stays in proportion to the text:
//! each node has to bring its whole path, and the events are counted.
//!
//! Not here: JSON as such.

use bytes::Bytes;

use super::history::{History, MAX_EVENTS};
use super::json::Reader;
use super::node::Node;
use super::{V2Action, V2Event, V2Node, V2Stats, V2Store, path, restore, time};
use crate::tree::Tree;

type Read<T> = Result<T, String>;

impl V2Store {
    /// Reads what [`V2View::to_json`](super::V2View::to_json) or an etcd 3.3 to 3.6 wrote. The error
    /// says what is wrong.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let mut reader = Reader::new(json);
        let (mut nodes, mut last_index) = (None, 0);
        let (mut index, mut stats, mut events) = (0, V2Stats::default(), Vec::new());
        reader.begin(b'{')?;
        while let Some(name) = reader.field()? {
            match &name[..] {
                b"Root" => {
                    let tree = TreeReader::read(&mut reader)?;
                    nodes = Some(tree.nodes);
                    last_index = tree.last_index;
                }
                b"WatcherHub" => events = read_hub(&mut reader)?,
                b"CurrentIndex" => index = reader.u64()?,
                b"Stats" => stats = read_stats(&mut reader)?,
                _ => reader.skip()?,
            }
        }
        reader.end()?;
        restore::check_index(index)?;
        if last_index > index {
            return Err(format!("a node has index {last_index}, and the last change {index}"));
        }
        let nodes = nodes.ok_or("there is no tree")?;
        let history = History::restored(events, index)?;
        Ok(Self::with_nodes(nodes, index, stats, history))
    }
}

/// A node whose text has begun and not ended.
#[derive(Default)]
struct Open {
    node: Node,
    value: Vec<u8>,
    has_path: bool,
    has_children: bool,
    /// Whether the text goes on with its children.
    is_inside: bool,
    /// How long path and key were before its name.
    path_length: usize,
    key_length: usize,
}

/// Reads the tree without going deeper into the stack for a deeper node.
#[derive(Default)]
struct TreeReader {
    nodes: Tree<Node>,
    /// The highest index of a node.
    last_index: u64,
    open: Vec<Open>,
    /// The path and the key of the innermost open node; those of the root are empty.
    path: Vec<u8>,
    key: Vec<u8>,
}

impl TreeReader {
    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let mut tree = Self::default();
        reader.begin(b'{')?;
        tree.open.push(Open::default());
        while let Some(open) = tree.open.last() {
            if open.is_inside {
                tree.read_child(reader)?;
            } else {
                tree.read_field(reader)?;
            }
        }
        let root = tree.nodes.get(b"").ok_or("the tree has no root")?;
        if !root.is_directory() || root.expiration_ns.is_some() {
            return Err("the root is no directory that stays".to_owned());
        }
        Ok(tree)
    }

    /// Reads a field of the innermost node, or its end.
    fn read_field(&mut self, reader: &mut Reader<'_>) -> Read<()> {
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        let Some(name) = reader.field()? else { return self.close(reader) };
        match &name[..] {
            b"Path" => {
                let path = reader.string()?;
                let expected = if self.path.is_empty() { &b"/"[..] } else { &self.path };
                if path != expected {
                    return Err(reader.error("a path that is not where its node is"));
                }
                open.has_path = true;
            }
            b"CreatedIndex" => open.node.created_index = reader.u64()?,
            b"ModifiedIndex" => open.node.modified_index = reader.u64()?,
            b"ExpireTime" => open.node.expiration_ns = read_time(reader)?,
            b"Value" if reader.null() => {}
            b"Value" => open.value = reader.string()?,
            b"Children" if reader.null() => {}
            b"Children" => {
                reader.begin(b'{')?;
                open.has_children = true;
                open.is_inside = true;
            }
            _ => reader.skip()?,
        }
        Ok(())
    }

    /// Begins the next child of the innermost node, or ends its children.
    fn read_child(&mut self, reader: &mut Reader<'_>) -> Read<()> {
        let Some(name) = reader.field()? else {
            if let Some(open) = self.open.last_mut() {
                open.is_inside = false;
            }
            return Ok(());
        };
        if matches!(&name[..], b"" | b"." | b"..") || name.contains(&b'/') {
            return Err(reader.error("a name that no node can have"));
        }
        let (path_length, key_length) = (self.path.len(), self.key.len());
        self.path.push(b'/');
        self.path.extend_from_slice(&name);
        self.key.extend(path::encode(&self.path[path_length..]));
        if !path::is_readable(&self.path) {
            return Err(reader.error("a node that is too deep"));
        }
        if self.nodes.find(&self.key).is_some() {
            // Names that are not UTF-8 can become the same. Of such the last one counts, as in Go.
            self.remove();
        }
        reader.begin(b'{')?;
        self.open.push(Open { path_length, key_length, ..Open::default() });
        Ok(())
    }

    fn remove(&mut self) {
        let end = path::past(&self.key);
        let keys: Vec<Vec<u8>> =
            self.nodes.range(&self.key, Some(&end)).map(|slot| slot.key()).collect();
        for key in keys {
            self.nodes.remove(&key);
        }
    }

    /// Keeps the innermost node, which has ended.
    fn close(&mut self, reader: &Reader<'_>) -> Read<()> {
        let Some(Open { mut node, value, has_path, has_children, path_length, key_length, .. }) =
            self.open.pop()
        else {
            return Ok(());
        };
        if !has_path {
            return Err(reader.error("a node without a path"));
        }
        if !has_children {
            node.value = Some(Bytes::from(value));
        }
        self.last_index = self.last_index.max(node.created_index).max(node.modified_index);
        self.nodes.upsert(&self.key, |slot| *slot = node);
        self.path.truncate(path_length);
        self.key.truncate(key_length);
        Ok(())
    }
}

fn read_time(reader: &mut Reader<'_>) -> Read<Option<i64>> {
    if reader.null() {
        return Ok(None);
    }
    let text = reader.string()?;
    time::parse(&text).ok_or_else(|| reader.error("no time of these centuries"))
}

fn read_stats(reader: &mut Reader<'_>) -> Read<V2Stats> {
    let mut stats = V2Stats::default();
    if reader.null() {
        return Ok(stats);
    }
    reader.begin(b'{')?;
    while let Some(name) = reader.field()? {
        match V2Stats::COUNTS.iter().find(|(known, _)| known.as_bytes() == name) {
            Some((_, count)) => *count(&mut stats) = reader.u64()?,
            None => reader.skip()?,
        }
    }
    Ok(stats)
}

/// Reads the events of the hub, the oldest first.
fn read_hub(reader: &mut Reader<'_>) -> Read<Vec<V2Event>> {
    let mut events = Vec::new();
    if reader.null() {
        return Ok(events);
    }
    reader.begin(b'{')?;
    while let Some(name) = reader.field()? {
        if name != b"EventHistory" || reader.peek() == Some(b'n') {
            reader.skip()?;
            continue;
        }
        reader.begin(b'{')?;
        while let Some(name) = reader.field()? {
            match &name[..] {
                b"Queue" => events = read_queue(reader)?,
                // The indexes of the first and the last event follow from the events.
                _ => reader.skip()?,
            }
        }
    }
    Ok(events)
}

fn read_queue(reader: &mut Reader<'_>) -> Read<Vec<V2Event>> {
    let (mut slots, mut size, mut front) = (Vec::new(), 0, 0);
    reader.begin(b'{')?;
    while let Some(name) = reader.field()? {
        match &name[..] {
            b"Events" => slots = read_slots(reader)?,
            b"Size" => size = reader.u64()?,
            b"Front" => front = reader.u64()?,
            _ => reader.skip()?,
        }
    }
    let capacity = slots.len() as u64;
    if size > capacity || front > capacity {
        return Err(reader.error("a history with places that it does not have"));
    }
    slots.rotate_left(front as usize);
    let events: Option<Vec<V2Event>> = slots.into_iter().take(size as usize).collect();
    events.ok_or_else(|| reader.error("a history with holes"))
}

fn read_slots(reader: &mut Reader<'_>) -> Read<Vec<Option<V2Event>>> {
    let mut slots = Vec::new();
    if reader.null() {
        return Ok(slots);
    }
    reader.begin(b'[')?;
    while reader.next(b']')? {
        if slots.len() == MAX_EVENTS {
            return Err(reader.error("a history that is too long"));
        }
        slots.push(if reader.null() { None } else { Some(read_event(reader)?) });
    }
    Ok(slots)
}

fn read_event(reader: &mut Reader<'_>) -> Read<V2Event> {
    let (mut action, mut node, mut prev_node, mut refresh) = (None, None, None, false);
    reader.begin(b'{')?;
    while let Some(name) = reader.field()? {
        match &name[..] {
            b"action" => {
                let name = reader.string()?;
                let known =
                    V2Action::ALL.into_iter().find(|known| known.as_str().as_bytes() == name);
                action = Some(known.ok_or_else(|| reader.error("an unknown action"))?);
            }
            b"node" => node = read_event_node(reader)?,
            b"prevNode" => prev_node = read_event_node(reader)?,
            b"refresh" => refresh = reader.bool()?,
            _ => reader.skip()?,
        }
    }
    match (action, node) {
        (Some(action), Some(node)) => Ok(V2Event { action, node, prev_node, refresh }),
        _ => Err(reader.error("an event without an action or a node")),
    }
}

fn read_event_node(reader: &mut Reader<'_>) -> Read<Option<V2Node>> {
    if reader.null() {
        return Ok(None);
    }
    let mut node = V2Node::default();
    reader.begin(b'{')?;
    while let Some(name) = reader.field()? {
        match &name[..] {
            b"key" => node.key = Bytes::from(reader.string()?),
            b"value" if reader.null() => node.value = None,
            b"value" => node.value = Some(Bytes::from(reader.string()?)),
            b"dir" => node.dir = reader.bool()?,
            b"expiration" => node.expiration_ns = read_time(reader)?,
            b"modifiedIndex" => node.modified_index = reader.u64()?,
            b"createdIndex" => node.created_index = reader.u64()?,
            _ => reader.skip()?,
        }
    }
    Ok(Some(node))
}
