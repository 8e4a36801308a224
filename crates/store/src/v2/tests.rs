//! The store of the v2 API against what etcd 3.4.23 does.

mod hub;
mod json;
mod model;
mod time;
mod verbs;

use bytes::Bytes;
use quoin_api::etcdserverpb::Request;

use super::{V2Error, V2Event, V2Node, V2Outcome, V2Store};

/// A request with a method and a path, and more if the test asks for it.
pub(super) fn request(method: &str, path: &str) -> Request {
    Request {
        method: method.to_owned(),
        path: Bytes::copy_from_slice(path.as_bytes()),
        ..Request::default()
    }
}

/// Reads a request of the form `PUT /1/a val=x prevIndex=5 dir`.
pub(super) fn parse(line: &str) -> Request {
    let mut words = line.split_whitespace();
    let method = words.next().unwrap();
    let mut parsed = request(method, words.next().unwrap_or_default());
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let bytes = Bytes::copy_from_slice(value.as_bytes());
        match name {
            "val" => parsed.val = bytes,
            "dir" => parsed.dir = true,
            "recursive" => parsed.recursive = true,
            "prevValue" => parsed.prev_value = bytes,
            "prevIndex" => parsed.prev_index = value.parse().unwrap(),
            "prevExist" => parsed.prev_exist = Some(value == "true"),
            "refresh" => parsed.refresh = Some(true),
            "exp" => parsed.expiration = seconds(value),
            "time" => parsed.time = seconds(value),
            other => panic!("no field {other}"),
        }
    }
    parsed
}

/// Tests count their seconds from a day on which times to live are taken for such.
const DAY_ONE_S: i64 = 1_700_000_000;

fn seconds(text: &str) -> i64 {
    let seconds: i64 = text.parse().unwrap();
    (if seconds < 0 { -seconds } else { DAY_ONE_S + seconds }) * 1_000_000_000
}

/// What a request did, in one line.
pub(super) fn outcome(result: &Result<V2Outcome, V2Error>) -> String {
    match result {
        Ok(V2Outcome::Event(event)) => event_line(event),
        Ok(V2Outcome::Read) => "read".to_owned(),
        Ok(V2Outcome::None) => "nothing".to_owned(),
        Err(V2Error { code, cause, index }) => {
            format!("{} ({}) [{index}]", *code as u16, String::from_utf8_lossy(cause))
        }
    }
}

pub(super) fn event_line(event: &V2Event) -> String {
    let V2Event { action, node, prev_node, refresh } = event;
    let before = prev_node.as_ref().map(|node| format!(" was {}", node_line(node)));
    let refresh = if *refresh { " refresh" } else { "" };
    format!("{} {}{}{refresh}", action.as_str(), node_line(node), before.unwrap_or_default())
}

/// `key=value created/modified ends=seconds`, and a slash at the end of a directory.
pub(super) fn node_line(node: &V2Node) -> String {
    let V2Node { key, value, dir, expiration_ns, modified_index, created_index } = node;
    let key = String::from_utf8_lossy(key);
    let value = value.as_ref().map(|value| format!("={}", String::from_utf8_lossy(value)));
    let slash = if *dir { "/" } else { "" };
    let ends = expiration_ns.map(|ns| format!(" ends={}", ns / 1_000_000_000 - DAY_ONE_S));
    let (value, ends) = (value.unwrap_or_default(), ends.unwrap_or_default());
    format!("{key}{slash}{value} {created_index}/{modified_index}{ends}")
}

/// Applies the lines before `---` and compares what they did with those after it.
pub(super) fn check(script: &str) -> V2Store {
    let mut store = V2Store::new();
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    for line in lines {
        if let Some(expected) = line.strip_prefix("> ") {
            let expected: Vec<&str> = expected.split(" | ").collect();
            let notices = store.take_notices();
            let events: Vec<String> = notices.iter().map(|n| event_line(&n.event)).collect();
            assert_eq!(events, expected, "{script}");
            continue;
        }
        let (line, expected) = line.split_once(" -> ").unwrap_or((line, ""));
        let result = store.apply(&parse(line));
        if !expected.is_empty() {
            assert_eq!(outcome(&result), expected, "{line}");
        }
    }
    store
}

/// The lines of a listing.
pub(super) fn list(store: &V2Store, path: &str, recursive: bool) -> Vec<String> {
    let listing = store.view().get(path.as_bytes(), recursive).unwrap();
    std::iter::once(&listing.node).chain(&listing.below).map(node_line).collect()
}
