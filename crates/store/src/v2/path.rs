//! Paths, and the keys under which the tree keeps them.
//!
//! A key is a path with a byte 0 for each slash, so that what is below a directory follows it at once.
//! The root has the empty key.
//!
//! | byte of a name | in the key |
//! |---|---|
//! | 0 | 1 1 |
//! | 1 | 1 2 |
//! | any other | itself |
//!
//! Invariants:
//! - Keys sort as a walk over the tree that visits a directory before its nodes, and these by name.
//! - No function here goes deeper into the stack for a deeper path.

use bytes::Bytes;

/// How deep a node may lie. A snapshot of etcd repeats the whole path at each level, and the decoder
/// of Go refuses what is nested more than 10,000 deep, so etcd could not read its own snapshot of a
/// tree much deeper than this.
pub(super) const MAX_DEPTH: usize = 1024;
/// How long a path may be. Every directory that a request creates repeats a part of its path.
pub(super) const MAX_PATH_BYTES: usize = 64 * 1024;
/// How long a path may be that is read. In JSON a byte that is not UTF-8 becomes three.
pub(super) const MAX_READ_PATH_BYTES: usize = 3 * MAX_PATH_BYTES;

/// What stands for a slash in a key.
const SEPARATOR: u8 = 0;
/// Begins a byte of a name that has a meaning in keys.
const ESCAPE: u8 = 1;

/// The path as etcd cleans it: rooted, without empty names, `.` and `..`.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let mut cleaned = Vec::with_capacity(path.len() + 1);
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => cleaned.truncate(parent_length(&cleaned)),
            _ => {
                cleaned.push(b'/');
                cleaned.extend_from_slice(name);
            }
        }
    }
    if cleaned.is_empty() {
        cleaned.push(b'/');
    }
    cleaned
}

/// The length of a rooted path without its last name and the slash before it.
fn parent_length(path: &[u8]) -> usize {
    path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)
}

/// Whether the path may name a new node.
pub(super) fn is_within_bounds(path: &[u8]) -> bool {
    path.len() <= MAX_PATH_BYTES && is_readable(path)
}

/// Whether the path may be that of a node that is read.
pub(super) fn is_readable(path: &[u8]) -> bool {
    let depth = path.iter().filter(|byte| **byte == b'/').count();
    path.len() <= MAX_READ_PATH_BYTES && depth <= MAX_DEPTH
}

/// Whether the path is that of a directory that nobody may change.
pub(super) fn is_read_only(path: &[u8]) -> bool {
    matches!(path, b"/" | b"/0" | b"/1")
}

/// Whether a path is one of the cluster's.
pub(super) fn is_of_cluster(path: &[u8]) -> bool {
    path.strip_prefix(b"/0").is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/'))
}

/// The last name of a path; that of the root is empty.
pub(super) fn name(path: &[u8]) -> &[u8] {
    &path[parent_length(path) + 1..]
}

/// Whether the last name of the path begins with `_`.
pub(super) fn is_hidden(path: &[u8]) -> bool {
    name(path).first() == Some(&b'_')
}

/// The directories whose paths are shorter than this do not show the node of a path, because a name
/// below them hides it; 0 if no name does.
pub(super) fn length_to_last_hidden(path: &[u8]) -> usize {
    path.windows(2).rposition(|pair| pair == b"/_").map_or(0, |slash| slash + 1)
}

/// The key of a clean path.
pub(super) fn encode(path: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(path.len());
    if path != b"/" {
        push_names(&mut key, path);
    }
    key
}

fn push_names(key: &mut Vec<u8>, path: &[u8]) {
    for byte in path {
        match *byte {
            b'/' => key.push(SEPARATOR),
            0 => key.extend([ESCAPE, 1]),
            1 => key.extend([ESCAPE, 2]),
            other => key.push(other),
        }
    }
}

/// The path of a key.
pub(super) fn decode(key: &[u8]) -> Bytes {
    if key.is_empty() {
        return Bytes::from_static(b"/");
    }
    let mut path = Vec::with_capacity(key.len());
    let mut bytes = key.iter();
    while let Some(byte) = bytes.next() {
        path.push(match *byte {
            SEPARATOR => b'/',
            ESCAPE => bytes.next().map_or(0, |escaped| escaped - 1),
            other => other,
        });
    }
    Bytes::from(path)
}

/// The lengths of the keys of all nodes on the way to a key, without the root and with the key itself.
pub(super) fn steps(key: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let separators = key.iter().enumerate().skip(1);
    let inner = separators.filter(|(_, byte)| **byte == SEPARATOR).map(|(at, _)| at);
    inner.chain((!key.is_empty()).then_some(key.len()))
}

/// The length of the key of the directory in which the node of a key lies.
pub(super) fn directory_length(key: &[u8]) -> usize {
    key.iter().rposition(|byte| *byte == SEPARATOR).unwrap_or(0)
}

/// The bounds of the keys below a node.
pub(super) fn below(key: &[u8]) -> (Vec<u8>, Vec<u8>) {
    ([key, &[SEPARATOR]].concat(), past(key))
}

/// The first key that could come after a node and all below it.
pub(super) fn past(key: &[u8]) -> Vec<u8> {
    [key, &[SEPARATOR + 1]].concat()
}
