//! The store of the v2 API in a checkpoint; the table is in the room above.

use bytes::{BufMut, Bytes, BytesMut};

use super::blocks::Content;
use super::encode::{put_bytes, put_list};
use super::{BLOCK_BYTES, CheckpointError, END, ROW};
use crate::v2::{V2Action, V2Event, V2Node, V2Row, V2Stats, V2Store, V2View};

/// The actions by their number in the file, less one. A read is not in the history.
const ACTIONS: [V2Action; 7] = [
    V2Action::Create,
    V2Action::Set,
    V2Action::Update,
    V2Action::Delete,
    V2Action::CompareAndSwap,
    V2Action::CompareAndDelete,
    V2Action::Expire,
];

/// What is written next of a v2 store.
#[derive(Clone)]
pub(super) enum V2Rows {
    /// Everything before the nodes.
    Head,
    /// The nodes from this path on.
    From(Option<Bytes>),
    /// Nothing.
    Done,
}

impl V2Rows {
    /// Appends until a block is full or there is no more; false after the end.
    pub(super) fn put(&mut self, out: &mut BytesMut, view: &V2View) -> bool {
        match self {
            Self::Head => {
                put_head(out, view);
                *self = Self::From(None);
                true
            }
            Self::From(path) => {
                let rest = put_rows(out, view, path.as_deref());
                *self = rest.map_or(Self::Done, |path| Self::From(Some(path)));
                true
            }
            Self::Done => false,
        }
    }
}

fn put_head(out: &mut BytesMut, view: &V2View) {
    out.put_u64_le(view.index());
    for count in counts(&mut view.stats()) {
        out.put_u64_le(*count);
    }
    let events: Vec<_> = view.history().collect();
    put_list(out, &events, |out, event| {
        let action = ACTIONS.iter().position(|action| *action == event.action);
        let action = action.expect("the history has no reads");
        out.put_u8(u8::try_from(action + 1).expect("there are seven actions"));
        out.put_u8(u8::from(event.refresh));
        put_node(out, &event.node);
        put_option(out, event.prev_node.as_ref(), put_node);
    });
}

/// Appends nodes from a path on. If that makes a block, the path to continue from is returned.
fn put_rows(out: &mut BytesMut, view: &V2View, from: Option<&[u8]>) -> Option<Bytes> {
    for row in view.rows(from) {
        if out.len() >= BLOCK_BYTES {
            return Some(row.path);
        }
        let V2Row { path, created_index, modified_index, expiration_ns, value } = row;
        out.put_u8(ROW);
        put_bytes(out, &path);
        put_option(out, value.as_ref(), |out, value| put_bytes(out, value));
        put_option(out, expiration_ns.as_ref(), |out, at| out.put_i64_le(*at));
        out.put_u64_le(modified_index);
        out.put_u64_le(created_index);
    }
    out.put_u8(END);
    None
}

fn put_node(out: &mut BytesMut, node: &V2Node) {
    put_bytes(out, &node.key);
    out.put_u8(u8::from(node.dir));
    put_option(out, node.value.as_ref(), |out, value| put_bytes(out, value));
    put_option(out, node.expiration_ns.as_ref(), |out, at| out.put_i64_le(*at));
    out.put_u64_le(node.modified_index);
    out.put_u64_le(node.created_index);
}

fn put_option<T>(out: &mut BytesMut, value: Option<&T>, put: impl FnOnce(&mut BytesMut, &T)) {
    out.put_u8(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

/// Reads a v2 store. It is refused as a whole if any part of it is wrong.
pub(super) fn read(content: &mut Content) -> Result<V2Store, CheckpointError> {
    let index = content.u64()?;
    let mut stats = V2Stats::default();
    for count in counts(&mut stats) {
        *count = content.u64()?;
    }
    let history = content.list(event)?;
    let mut rows = Vec::new();
    loop {
        match content.u8()? {
            END => break,
            ROW => rows.push(row(content)?),
            _ => return Err(content.damaged("neither a node nor the end of nodes")),
        }
    }
    V2Store::restored(index, stats, rows, history)
        .map_err(|_| content.damaged("a v2 store that cannot be"))
}

fn row(content: &mut Content) -> Result<V2Row, CheckpointError> {
    Ok(V2Row {
        path: content.bytes()?,
        value: option(content, Content::bytes)?,
        expiration_ns: option(content, Content::i64)?,
        modified_index: content.u64()?,
        created_index: content.u64()?,
    })
}

fn option<T>(
    content: &mut Content,
    read: impl FnOnce(&mut Content) -> Result<T, CheckpointError>,
) -> Result<Option<T>, CheckpointError> {
    if content.bool()? { read(content).map(Some) } else { Ok(None) }
}

fn event(content: &mut Content) -> Result<V2Event, CheckpointError> {
    let number = usize::from(content.u8()?);
    let action = number.checked_sub(1).and_then(|at| ACTIONS.get(at).copied());
    let Some(action) = action else {
        return Err(content.damaged("an action that does not exist"));
    };
    let refresh = content.bool()?;
    let changed = node(content)?;
    let prev_node = option(content, node)?;
    Ok(V2Event { action, node: changed, prev_node, refresh })
}

fn node(content: &mut Content) -> Result<V2Node, CheckpointError> {
    Ok(V2Node {
        key: content.bytes()?,
        dir: content.bool()?,
        value: option(content, Content::bytes)?,
        expiration_ns: option(content, Content::i64)?,
        modified_index: content.u64()?,
        created_index: content.u64()?,
    })
}

/// The counts in the order of the file, to be written or read.
fn counts(stats: &mut V2Stats) -> [&mut u64; 15] {
    [
        &mut stats.get_success,
        &mut stats.get_fail,
        &mut stats.set_success,
        &mut stats.set_fail,
        &mut stats.delete_success,
        &mut stats.delete_fail,
        &mut stats.update_success,
        &mut stats.update_fail,
        &mut stats.create_success,
        &mut stats.create_fail,
        &mut stats.compare_and_swap_success,
        &mut stats.compare_and_swap_fail,
        &mut stats.compare_and_delete_success,
        &mut stats.compare_and_delete_fail,
        &mut stats.expire_count,
    ]
}
