//! Events and nodes as JSON, byte for byte as Go's `encoding/json` writes etcd's.
//!
//! Invariants:
//! - A time to live is reckoned from `now_ns`, so it may be negative: a node stays until the leader
//!   says that its time is over.
//! - Whether an event is a refresh is not shown, as in etcd.

use quoin_store::{V2Event, V2Listing, V2Node, push_json_string};
use time::OffsetDateTime;

use super::KEYS_PREFIX;

const NANOS_PER_S: i64 = 1_000_000_000;

/// Returns an event without its line end, which depends on whether nodes are wanted.
pub(super) fn event(event: &V2Event, with_nodes: bool, now_ns: i64) -> Vec<u8> {
    let mut out = format!("{{\"action\":\"{}\"", event.action.as_str()).into_bytes();
    if with_nodes {
        out.extend_from_slice(b",\"node\":");
        push_node(&mut out, &event.node, &mut std::iter::empty(), now_ns);
        if let Some(previous) = &event.prev_node {
            out.extend_from_slice(b",\"prevNode\":");
            push_node(&mut out, previous, &mut std::iter::empty(), now_ns);
        }
    }
    out.extend_from_slice(b"}\n");
    out
}

/// Returns the answer to a read.
pub(super) fn listing(listing: &V2Listing, now_ns: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(listing_bytes(listing));
    out.extend_from_slice(b"{\"action\":\"get\",\"node\":");
    push_node(&mut out, &listing.node, &mut listing.below.iter(), now_ns);
    out.extend_from_slice(b"}\n");
    out
}

/// Bytes that the answer to a read will have, about; more only if a text has much to escape.
pub(super) fn listing_bytes(listing: &V2Listing) -> usize {
    /// The names of the fields and the numbers of a node.
    const NODE_BYTES: usize = 96;
    let nodes = listing.below.iter().chain(std::iter::once(&listing.node));
    let bytes = nodes.map(|node| {
        NODE_BYTES + node.key.len() + node.value.as_ref().map_or(0, |value| value.len())
    });
    bytes.sum()
}

/// A directory that is being written, with whether a node stands in it already.
struct Open<'a> {
    node: &'a V2Node,
    has_nodes: bool,
}

/// Writes a node and what is below it. Nesting is as deep as a client made it, so this is a loop.
fn push_node<'a>(
    out: &mut Vec<u8>,
    top: &'a V2Node,
    below: &mut dyn Iterator<Item = &'a V2Node>,
    now_ns: i64,
) {
    let mut open = Vec::new();
    push_head(out, top, now_ns);
    open.push(Open { node: top, has_nodes: false });
    for node in below {
        // A node that is not in the directory written last ends it.
        while let Some(last) = open.pop_if(|last| !is_in(node, last.node)) {
            push_tail(out, &last);
        }
        let Some(directory) = open.last_mut() else { break };
        // A directory says that it is one, so there is a field before its nodes.
        out.extend_from_slice(if directory.has_nodes { b"," } else { b",\"nodes\":[" });
        directory.has_nodes = true;
        push_head(out, node, now_ns);
        open.push(Open { node, has_nodes: false });
    }
    while let Some(last) = open.pop() {
        push_tail(out, &last);
    }
}

fn is_in(node: &V2Node, directory: &V2Node) -> bool {
    // The root of all is its own prefix.
    let prefix: &[u8] = if directory.key == b"/"[..] { b"" } else { &directory.key };
    node.key.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(b"/"))
}

/// Writes the fields before the nodes of a directory.
fn push_head(out: &mut Vec<u8>, node: &V2Node, now_ns: i64) {
    out.push(b'{');
    let key = node.key.strip_prefix(KEYS_PREFIX.as_bytes()).unwrap_or(&node.key);
    if !key.is_empty() {
        out.extend_from_slice(b"\"key\":");
        push_json_string(out, key);
    }
    if let Some(value) = &node.value {
        push_name(out, "value");
        push_json_string(out, value);
    }
    if node.dir {
        push_name(out, "dir");
        out.extend_from_slice(b"true");
    }
    if let Some(expiration_ns) = node.expiration_ns {
        push_name(out, "expiration");
        out.extend_from_slice(format!("\"{}\"", timestamp(expiration_ns)).as_bytes());
        push_number(out, "ttl", ttl_s(expiration_ns, now_ns));
    }
}

/// Writes the fields behind the nodes of a directory.
fn push_tail(out: &mut Vec<u8>, open: &Open<'_>) {
    if open.has_nodes {
        out.push(b']');
    }
    push_number(out, "modifiedIndex", open.node.modified_index);
    push_number(out, "createdIndex", open.node.created_index);
    out.push(b'}');
}

fn push_name(out: &mut Vec<u8>, name: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Writes a number unless it is zero.
fn push_number(out: &mut Vec<u8>, name: &str, number: impl Into<i128>) {
    let number = number.into();
    if number != 0 {
        push_name(out, name);
        out.extend_from_slice(number.to_string().as_bytes());
    }
}

/// Returns the seconds that are left, those that have begun in full.
fn ttl_s(expiration_ns: i64, now_ns: i64) -> i64 {
    let left_ns = expiration_ns.saturating_sub(now_ns);
    left_ns / NANOS_PER_S + i64::from(left_ns % NANOS_PER_S > 0)
}

/// Returns a time as RFC 3339 has it, with as many digits of a second as it needs.
fn timestamp(nanos: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(nanos))
        .expect("64 bits of nanoseconds lie between the years 1677 and 2262");
    let mut text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    let nanos = format!("{:09}", time.nanosecond());
    let digits = nanos.trim_end_matches('0');
    if !digits.is_empty() {
        text.push('.');
        text.push_str(digits);
    }
    text.push('Z');
    text
}

/// Returns a time as Go's JSON has it.
pub(super) fn system_time(at: std::time::SystemTime) -> String {
    let nanos = OffsetDateTime::from(at).unix_timestamp_nanos();
    timestamp(i64::try_from(nanos).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quoin_store::V2Action;

    use super::*;

    fn file(key: &'static str, value: &'static str, index: u64) -> V2Node {
        V2Node {
            key: Bytes::from_static(key.as_bytes()),
            value: Some(Bytes::from_static(value.as_bytes())),
            modified_index: index,
            created_index: index,
            ..V2Node::default()
        }
    }

    fn directory(key: &'static str, index: u64) -> V2Node {
        V2Node { value: None, dir: true, ..file(key, "", index) }
    }

    #[track_caller]
    fn check_listing(node: V2Node, below: Vec<V2Node>, expected: &str) {
        let json = listing(&V2Listing { node, below }, 0);
        assert_eq!(String::from_utf8_lossy(&json), format!("{expected}\n"));
    }

    #[test]
    fn a_listing_is_nested_as_the_paths_are() {
        check_listing(directory("/1", 0), vec![], r#"{"action":"get","node":{"dir":true}}"#);
        check_listing(
            directory("/1", 0),
            vec![
                directory("/1/a", 3),
                directory("/1/a/b", 4),
                file("/1/a/b/c", "", 5),
                file("/1/a/bc", "x", 6),
                file("/1/d", "<&>", 7),
            ],
            "{\"action\":\"get\",\"node\":{\"dir\":true,\"nodes\":[\
             {\"key\":\"/a\",\"dir\":true,\"nodes\":[\
             {\"key\":\"/a/b\",\"dir\":true,\"nodes\":[\
             {\"key\":\"/a/b/c\",\"value\":\"\",\"modifiedIndex\":5,\"createdIndex\":5}],\
             \"modifiedIndex\":4,\"createdIndex\":4},\
             {\"key\":\"/a/bc\",\"value\":\"x\",\"modifiedIndex\":6,\"createdIndex\":6}],\
             \"modifiedIndex\":3,\"createdIndex\":3},\
             {\"key\":\"/d\",\"value\":\"\\u003c\\u0026\\u003e\",\"modifiedIndex\":7,\
             \"createdIndex\":7}]}}",
        );
    }

    #[test]
    fn an_event_has_its_nodes_only_if_they_are_wanted() {
        let node = V2Node { expiration_ns: Some(1_500_000_000), ..file("/1/a", "1", 4) };
        let previous = Some(V2Node { expiration_ns: Some(-10), ..file("/1/a", "0", 3) });
        let set = V2Event { action: V2Action::Set, node, prev_node: previous, refresh: true };
        let shown = |with_nodes| String::from_utf8(event(&set, with_nodes, 0)).expect("it is text");
        assert_eq!(shown(false), "{\"action\":\"set\"}\n");
        assert_eq!(
            shown(true),
            "{\"action\":\"set\",\"node\":{\"key\":\"/a\",\"value\":\"1\",\
             \"expiration\":\"1970-01-01T00:00:01.5Z\",\"ttl\":2,\"modifiedIndex\":4,\
             \"createdIndex\":4},\"prevNode\":{\"key\":\"/a\",\"value\":\"0\",\
             \"expiration\":\"1969-12-31T23:59:59.99999999Z\",\"modifiedIndex\":3,\
             \"createdIndex\":3}}\n"
        );
    }

    #[test]
    fn a_time_to_live_counts_the_second_that_has_begun() {
        let check = |left_ns, ttl| assert_eq!(ttl_s(left_ns, 0), ttl, "{left_ns}");
        check(1, 1);
        check(NANOS_PER_S, 1);
        check(NANOS_PER_S + 1, 2);
        check(0, 0);
        check(-1, 0);
        check(-NANOS_PER_S, -1);
        assert_eq!(ttl_s(i64::MAX, -1), i64::MAX / NANOS_PER_S + 1);
    }
}
