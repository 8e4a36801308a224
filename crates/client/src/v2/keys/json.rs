//! Events out of JSON.
//!
//! A tree is read one level after the other, each with its children still as text: however deep a
//! server nests its answer, reading it takes no more of the stack than [`MAX_DEPTH`] small frames,
//! and of the time no more than that many looks at each byte.
//!
//! Not here: errors, which are flat.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Event, Node};

/// Deepest tree that is read, in levels of directories.
const MAX_DEPTH: usize = 500;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FlatEvent<'a> {
    action: String,
    #[serde(borrow)]
    node: Option<&'a RawValue>,
    #[serde(borrow)]
    prev_node: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FlatNode<'a> {
    key: String,
    dir: bool,
    value: String,
    #[serde(borrow)]
    nodes: Option<Vec<&'a RawValue>>,
    created_index: u64,
    modified_index: u64,
    expiration: Option<String>,
    ttl: i64,
}

/// Reads an event; none if this is no event of the v2 API, which has a node.
pub(super) fn event(body: &[u8]) -> Option<Event> {
    let flat: FlatEvent<'_> = serde_json::from_slice(body).ok()?;
    let node = Some(node(flat.node?, MAX_DEPTH)?);
    let prev_node = match flat.prev_node {
        Some(text) => Some(self::node(text, MAX_DEPTH)?),
        None => None,
    };
    Some(Event { action: flat.action, node, prev_node, index: 0 })
}

fn node(text: &RawValue, depth: usize) -> Option<Node> {
    let flat: FlatNode<'_> = serde_json::from_str(text.get()).ok()?;
    let nodes = match flat.nodes {
        Some(_) if depth == 0 => return None,
        Some(texts) => {
            let nodes = texts.into_iter().map(|text| node(text, depth - 1));
            Some(nodes.collect::<Option<Vec<Node>>>()?)
        }
        None => None,
    };
    Some(Node {
        key: flat.key,
        dir: flat.dir,
        value: flat.value,
        nodes,
        created_index: flat.created_index,
        modified_index: flat.modified_index,
        expiration: flat.expiration,
        ttl: flat.ttl,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A JSON parser that follows its input down the stack stops at 128 levels, or not at all.
    /// Directories nest deeper than 64, and `ls -r` failed on them.
    #[test]
    fn deep_trees_are_read_and_too_deep_ones_refused() {
        let nested = |depth: usize| {
            let (open, close) = (r#"{"dir":true,"nodes":["#.repeat(depth), "]}".repeat(depth));
            format!(r#"{{"action":"get","node":{open}{{"key":"/k"}}{close}}}"#)
        };
        let event_of = |depth| event(nested(depth).as_bytes());
        let mut node = &event_of(MAX_DEPTH).unwrap().node.unwrap();
        let mut depth = 0;
        while let Some(nodes) = &node.nodes {
            node = &nodes[0];
            depth += 1;
        }
        assert_eq!((depth, node.key.as_str()), (MAX_DEPTH, "/k"));
        assert_eq!(event_of(MAX_DEPTH + 1), None);
        assert_eq!(event_of(4 * MAX_DEPTH), None);
    }

    #[test]
    fn answers_without_a_node_are_no_events() {
        assert_eq!(event(b"{}"), None);
        assert_eq!(event(b"{\"node\":null}"), None);
        assert_eq!(event(b"[1]"), None);
        let event = event(br#"{"node":{"nodes":[]},"prevNode":null,"more":1}"#).unwrap();
        assert_eq!(event.node.unwrap().nodes, Some(Vec::new()));
    }
}
