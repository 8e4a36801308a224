//! What commands on keys print: in the form simple, extended or json.
//!
//! Every function returns the text, so that tests can look at it.

use std::fmt::Write;

use quoin_client::v2::{Event, Node};

use crate::exit::Exit;
use crate::output;
use crate::text::json_string;

/// The form of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The value alone.
    Simple,
    /// A line for each field.
    Extended,
    /// The answer as one line of JSON.
    Json,
    /// No form: shown as an error once there is something to print.
    Unknown(String),
}

impl Format {
    pub(super) fn parse(text: &str) -> Self {
        match text {
            "simple" => Self::Simple,
            "extended" => Self::Extended,
            "json" => Self::Json,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

/// Prints what became of a node.
pub(super) fn show(event: &Event, format: &Format) -> Result<(), Exit> {
    match format {
        Format::Simple => output::print(&simple(event)),
        Format::Extended => output::print(&extended(event)),
        Format::Json => output::print(&format!("{}\n", json(event))),
        // That the work is done and only not shown is no failure to scripts.
        Format::Unknown(name) => {
            output::complain(&format!("Unsupported output format: {name}\n"));
            Ok(())
        }
    }
}

fn value(node: Option<&Node>) -> &str {
    node.map_or("", |node| node.value.as_str())
}

fn simple(event: &Event) -> String {
    if event.action == "delete" {
        return format!("PrevNode.Value: {}\n", value(event.prev_node.as_ref()));
    }
    format!("{}\n", value(event.node.as_ref()))
}

fn extended(event: &Event) -> String {
    let Some(node) = &event.node else {
        return String::new();
    };
    let mut text = format!(
        "Key: {}\nCreated-Index: {}\nModified-Index: {}\n",
        node.key, node.created_index, node.modified_index
    );
    if event.prev_node.is_some() {
        text += &format!("PrevNode.Value: {}\n", value(event.prev_node.as_ref()));
    }
    text += &format!("TTL: {}\nIndex: {}\n", node.ttl, event.index);
    if event.action != "delete" {
        text += &format!("\n{}\n", node.value);
    }
    text
}

/// The answer as etcd's v2 client encodes it again: every field that it does not leave out, in its
/// order, which is not the server's.
fn json(event: &Event) -> String {
    let mut text = format!("{{\"action\":{},\"node\":", json_string(event.action.as_bytes()));
    json_node(event.node.as_ref(), &mut text);
    text.push_str(",\"prevNode\":");
    json_node(event.prev_node.as_ref(), &mut text);
    text.push('}');
    text
}

fn json_node(node: Option<&Node>, text: &mut String) {
    let Some(node) = node else {
        text.push_str("null");
        return;
    };
    text.push_str(&format!("{{\"key\":{},", json_string(node.key.as_bytes())));
    if node.dir {
        text.push_str("\"dir\":true,");
    }
    text.push_str(&format!("\"value\":{},\"nodes\":", json_string(node.value.as_bytes())));
    match &node.nodes {
        None => text.push_str("null"),
        Some(nodes) => {
            text.push('[');
            for (index, node) in nodes.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                json_node(Some(node), text);
            }
            text.push(']');
        }
    }
    let (created, modified) = (node.created_index, node.modified_index);
    text.push_str(&format!(",\"createdIndex\":{created},\"modifiedIndex\":{modified}"));
    if let Some(expiration) = &node.expiration {
        text.push_str(&format!(",\"expiration\":{}", json_string(expiration.as_bytes())));
    }
    if node.ttl != 0 {
        text.push_str(&format!(",\"ttl\":{}", node.ttl));
    }
    text.push('}');
}

/// The keys below a directory, one a line; `slash` marks directories.
pub(super) fn listing(node: &Node, slash: bool) -> String {
    let mut text = String::new();
    if !node.dir {
        text.push_str(&format!("{}\n", node.key));
    }
    for node in node.nodes.iter().flatten() {
        list(node, slash, &mut text);
    }
    text
}

fn list(node: &Node, slash: bool, text: &mut String) {
    let mark = if node.dir && slash { "/" } else { "" };
    // Writing to a string cannot fail.
    writeln!(text, "{}{mark}", node.key).ok();
    for node in node.nodes.iter().flatten() {
        list(node, slash, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(key: &str, value: &str) -> Node {
        let (key, value) = (key.to_owned(), value.to_owned());
        Node { key, value, created_index: 5, modified_index: 6, ..Node::default() }
    }

    fn event(action: &str) -> Event {
        let (node, prev_node) = (Some(node("/k", "<v>")), Some(node("/k", "old")));
        Event { action: action.to_owned(), node, prev_node, index: 7 }
    }

    #[test]
    fn values_alone() {
        assert_eq!(simple(&event("set")), "<v>\n");
        assert_eq!(simple(&event("delete")), "PrevNode.Value: old\n");
        assert_eq!(simple(&event("compareAndDelete")), "<v>\n");
    }

    #[test]
    fn a_line_for_each_field() {
        let head = "Key: /k\nCreated-Index: 5\nModified-Index: 6\nPrevNode.Value: old\nTTL: 0\n\
                    Index: 7\n";
        assert_eq!(extended(&event("delete")), head);
        assert_eq!(extended(&event("update")), format!("{head}\n<v>\n"));
    }

    #[test]
    fn one_line_of_json() {
        let old = "{\"key\":\"/k\",\"value\":\"old\",\"nodes\":null,\
                   \"createdIndex\":5,\"modifiedIndex\":6}";
        let new = old.replace("old", "\\u003cv\\u003e");
        let expected = format!("{{\"action\":\"set\",\"node\":{new},\"prevNode\":{old}}}");
        assert_eq!(json(&event("set")), expected);
        let mut text = String::new();
        let leased = Node { ttl: 3, expiration: Some("T".to_owned()), ..node("/d/a", "") };
        let dir = Node { dir: true, nodes: Some(vec![leased]), ..node("/d", "") };
        json_node(Some(&dir), &mut text);
        let inner = "{\"key\":\"/d/a\",\"value\":\"\",\"nodes\":null,\"createdIndex\":5,\
                     \"modifiedIndex\":6,\"expiration\":\"T\",\"ttl\":3}";
        let expected = format!(
            "{{\"key\":\"/d\",\"dir\":true,\"value\":\"\",\"nodes\":[{inner}],\
             \"createdIndex\":5,\"modifiedIndex\":6}}"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn listings() {
        let inner = Node { dir: true, nodes: Some(vec![node("/d/e/f", "")]), ..node("/d/e", "") };
        let dir = Node { dir: true, nodes: Some(vec![inner, node("/d/g", "")]), ..node("/d", "") };
        assert_eq!(listing(&dir, false), "/d/e\n/d/e/f\n/d/g\n");
        assert_eq!(listing(&dir, true), "/d/e/\n/d/e/f\n/d/g\n");
        assert_eq!(listing(&node("/k", ""), true), "/k\n");
    }
}
