//! The store as JSON, as etcd keeps it in snapshots.
//!
//! | field | content |
//! |---|---|
//! | `Root` | the tree: `Path`, `CreatedIndex`, `ModifiedIndex`, `ExpireTime`, `Value`, `Children` |
//! | `WatcherHub.EventHistory` | `Queue`, a ring of [`MAX_EVENTS`] slots; first and last index |
//! | `CurrentIndex`, `CurrentVersion` | the index of the last change; 2 |
//! | `Stats` | the counts |
//!
//! `Children` of a file is null. The ring is written with its first event in its first slot.

use std::io::Write as _;

use super::history::MAX_EVENTS;
use super::node::Node;
use super::{V2Event, V2Node, V2Stats, V2View, path, push_json_string, time};

impl V2View {
    /// The whole store as JSON, as etcd keeps it in snapshots (`{"Root":{"Path":"/",...},...}`).
    /// Events have the end of their time and not what was left of it.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(b"{\"Root\":");
        self.push_tree(&mut out);
        out.extend_from_slice(b",\"WatcherHub\":{\"EventHistory\":{\"Queue\":{\"Events\":[");
        let count = self.history.len();
        let mut comma = "";
        for event in self.history.iter() {
            out.extend_from_slice(comma.as_bytes());
            push_event(&mut out, event);
            comma = ",";
        }
        // etcd counts on every slot being there.
        for _ in count..MAX_EVENTS {
            out.extend_from_slice(comma.as_bytes());
            out.extend_from_slice(b"null");
            comma = ",";
        }
        out.push(b']');
        push_number(&mut out, ",\"Size\":", count as u64);
        push_number(&mut out, ",\"Front\":", 0);
        push_number(&mut out, ",\"Back\":", (count % MAX_EVENTS) as u64);
        push_number(&mut out, ",\"Capacity\":", MAX_EVENTS as u64);
        push_number(&mut out, "},\"StartIndex\":", self.history.start_index());
        push_number(&mut out, ",\"LastIndex\":", self.history.last_index());
        push_number(&mut out, "}},\"CurrentIndex\":", self.index);
        out.extend_from_slice(b",\"Stats\":{");
        for (name, count) in counts(&self.stats) {
            push_number(&mut out, &format!("\"{name}\":"), count);
            out.push(b',');
        }
        out.extend_from_slice(b"\"watchers\":0},\"CurrentVersion\":2}");
        out
    }

    fn push_tree(&self, out: &mut Vec<u8>) {
        // How many directories have begun and not ended.
        let mut open = 0;
        for slot in self.nodes.iter() {
            let key = slot.key();
            let depth = path::steps(&key).count();
            while open > depth {
                out.extend_from_slice(b"}}");
                open -= 1;
            }
            let path = path::decode(&key);
            if depth > 0 {
                if out.last() != Some(&b'{') {
                    out.push(b',');
                }
                push_json_string(out, path::name(&path));
                out.push(b':');
            }
            let node = slot.value();
            push_node(out, &path, &node);
            if node.is_directory() {
                out.push(b'{');
                open += 1;
            } else {
                out.extend_from_slice(b"null}");
            }
        }
        out.extend_from_slice(&b"}}".repeat(open));
    }
}

/// Appends a node up to its children.
fn push_node(out: &mut Vec<u8>, path: &[u8], node: &Node) {
    out.extend_from_slice(b"{\"Path\":");
    push_json_string(out, path);
    push_number(out, ",\"CreatedIndex\":", node.created_index);
    push_number(out, ",\"ModifiedIndex\":", node.modified_index);
    let time = node.expiration_ns.map_or_else(|| time::NONE.to_owned(), time::format);
    out.extend_from_slice(b",\"ExpireTime\":");
    push_json_string(out, time.as_bytes());
    out.extend_from_slice(b",\"Value\":");
    push_json_string(out, node.value.as_deref().unwrap_or_default());
    out.extend_from_slice(b",\"Children\":");
}

fn push_event(out: &mut Vec<u8>, event: &V2Event) {
    let V2Event { action, node, prev_node, refresh } = event;
    out.extend_from_slice(b"{\"action\":");
    push_json_string(out, action.as_str().as_bytes());
    out.extend_from_slice(b",\"node\":");
    push_event_node(out, node);
    if let Some(node) = prev_node {
        out.extend_from_slice(b",\"prevNode\":");
        push_event_node(out, node);
    }
    if *refresh {
        out.extend_from_slice(b",\"refresh\":true");
    }
    out.push(b'}');
}

/// Appends a node of an event, without the fields that are empty.
fn push_event_node(out: &mut Vec<u8>, node: &V2Node) {
    let V2Node { key, value, dir, expiration_ns, modified_index, created_index } = node;
    out.extend_from_slice(b"{");
    let begin = out.len();
    if !key.is_empty() {
        out.extend_from_slice(b",\"key\":");
        push_json_string(out, key);
    }
    if let Some(value) = value {
        out.extend_from_slice(b",\"value\":");
        push_json_string(out, value);
    }
    if *dir {
        out.extend_from_slice(b",\"dir\":true");
    }
    if let Some(time_ns) = *expiration_ns {
        out.extend_from_slice(b",\"expiration\":");
        // What was left of it depends on the clock, and etcd does without.
        push_json_string(out, time::format(time_ns).as_bytes());
    }
    if *modified_index != 0 {
        push_number(out, ",\"modifiedIndex\":", *modified_index);
    }
    if *created_index != 0 {
        push_number(out, ",\"createdIndex\":", *created_index);
    }
    if out.len() > begin {
        out.remove(begin);
    }
    out.push(b'}');
}

fn push_number(out: &mut Vec<u8>, before: &str, number: u64) {
    write!(out, "{before}{number}").expect("memory takes all");
}

/// The counts under their names in JSON, in the order of etcd.
fn counts(stats: &V2Stats) -> [(&'static str, u64); 15] {
    let mut stats = *stats;
    V2Stats::COUNTS.map(|(name, count)| (name, *count(&mut stats)))
}

/// Finds a count.
type Count = fn(&mut V2Stats) -> &mut u64;

impl V2Stats {
    /// The counts by their names in JSON, in the order of etcd.
    pub(super) const COUNTS: [(&'static str, Count); 15] = [
        ("getsSuccess", |stats| &mut stats.get_success),
        ("getsFail", |stats| &mut stats.get_fail),
        ("setsSuccess", |stats| &mut stats.set_success),
        ("setsFail", |stats| &mut stats.set_fail),
        ("deleteSuccess", |stats| &mut stats.delete_success),
        ("deleteFail", |stats| &mut stats.delete_fail),
        ("updateSuccess", |stats| &mut stats.update_success),
        ("updateFail", |stats| &mut stats.update_fail),
        ("createSuccess", |stats| &mut stats.create_success),
        ("createFail", |stats| &mut stats.create_fail),
        ("compareAndSwapSuccess", |stats| &mut stats.compare_and_swap_success),
        ("compareAndSwapFail", |stats| &mut stats.compare_and_swap_fail),
        ("compareAndDeleteSuccess", |stats| &mut stats.compare_and_delete_success),
        ("compareAndDeleteFail", |stats| &mut stats.compare_and_delete_fail),
        ("expireCount", |stats| &mut stats.expire_count),
    ];
}
