//! The store as JSON, and put together from rows.

use bytes::Bytes;

use super::{check, event_line, node_line, parse, request};
use crate::v2::path::MAX_DEPTH;
use crate::v2::{V2Event, V2Row, V2Store, V2View, push_json_string};

/// What etcd 3.4.23 kept in a snapshot. Empty slots of the history are left out here.
const REAL: &str = concat!(
    r#"{"Root":{"Path":"/","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"#,
    r#""0":{"Path":"/0","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"#,
    r#""members":{"Path":"/0/members","CreatedIndex":1,"ModifiedIndex":1,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"#,
    r#""1a2dece3cbcad184":{"Path":"/0/members/1a2dece3cbcad184","CreatedIndex":1,"ModifiedIndex":1,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"#,
    r#""attributes":{"Path":"/0/members/1a2dece3cbcad184/attributes","CreatedIndex":2,"ModifiedIndex":2,"ExpireTime":"0001-01-01T00:00:00Z","Value":"{\"name\":\"default\",\"clientURLs\":[\"http://127.0.0.9:23790\"]}","Children":null},"#,
    r#""raftAttributes":{"Path":"/0/members/1a2dece3cbcad184/raftAttributes","CreatedIndex":1,"ModifiedIndex":1,"ExpireTime":"0001-01-01T00:00:00Z","Value":"{\"peerURLs\":[\"http://127.0.0.9:23800\"]}","Children":null}}}}},"#,
    r#""version":{"Path":"/0/version","CreatedIndex":3,"ModifiedIndex":3,"ExpireTime":"0001-01-01T00:00:00Z","Value":"3.4.0","Children":null}}},"#,
    r#""1":{"Path":"/1","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"#,
    r#""a":{"Path":"/1/a","CreatedIndex":14,"ModifiedIndex":14,"ExpireTime":"2026-11-28T07:24:14.471065493Z","Value":"1","Children":null},"#,
    r#""dd":{"Path":"/1/dd","CreatedIndex":8,"ModifiedIndex":8,"ExpireTime":"2026-11-28T07:34:14.449670076Z","Value":"","Children":{}},"#,
    r#""q":{"Path":"/1/q","CreatedIndex":7,"ModifiedIndex":7,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"#,
    r#""00000000000000000007":{"Path":"/1/q/00000000000000000007","CreatedIndex":7,"ModifiedIndex":7,"ExpireTime":"0001-01-01T00:00:00Z","Value":"q","Children":null}}},"#,
    r#""\ufffd\ufffd":{"Path":"/1/\ufffd\ufffd","CreatedIndex":12,"ModifiedIndex":12,"ExpireTime":"0001-01-01T00:00:00Z","Value":"\ufffd","Children":null}}}}},"#,
    r#""WatcherHub":{"EventHistory":{"Queue":{"Events":["#,
    r#"{"action":"create","node":{"key":"/0/members/1a2dece3cbcad184/raftAttributes","value":"{\"peerURLs\":[\"http://127.0.0.9:23800\"]}","modifiedIndex":1,"createdIndex":1}},"#,
    r#"{"action":"set","node":{"key":"/0/members/1a2dece3cbcad184/attributes","value":"{\"name\":\"default\",\"clientURLs\":[\"http://127.0.0.9:23790\"]}","modifiedIndex":2,"createdIndex":2}},"#,
    r#"{"action":"set","node":{"key":"/0/version","value":"3.4.0","modifiedIndex":3,"createdIndex":3}},"#,
    r#"{"action":"set","node":{"key":"/1/a","value":"x\u003c","modifiedIndex":4,"createdIndex":4}},"#,
    r#"{"action":"set","node":{"key":"/1/d/e","value":"1","expiration":"2026-11-28T07:39:13.884818289Z","ttl":1000,"modifiedIndex":5,"createdIndex":5}},"#,
    r#"{"action":"set","node":{"key":"/1/d/e","value":"2","modifiedIndex":6,"createdIndex":6},"prevNode":{"key":"/1/d/e","value":"1","expiration":"2026-11-28T07:39:13.884818289Z","ttl":1000,"modifiedIndex":5,"createdIndex":5}},"#,
    r#"{"action":"create","node":{"key":"/1/q/00000000000000000007","value":"q","modifiedIndex":7,"createdIndex":7}},"#,
    r#"{"action":"set","node":{"key":"/1/dd","dir":true,"expiration":"2026-11-28T07:30:53.910161007Z","ttl":500,"modifiedIndex":8,"createdIndex":8}},"#,
    r#"{"action":"delete","node":{"key":"/1/a","modifiedIndex":9,"createdIndex":4},"prevNode":{"key":"/1/a","value":"x\u003c","modifiedIndex":4,"createdIndex":4}},"#,
    r#"{"action":"delete","node":{"key":"/1/d","dir":true,"modifiedIndex":10,"createdIndex":5},"prevNode":{"key":"/1/d","dir":true,"modifiedIndex":5,"createdIndex":5}},"#,
    r#"{"action":"update","node":{"key":"/1/dd","dir":true,"expiration":"2026-11-28T07:34:14.449670076Z","ttl":700,"modifiedIndex":11,"createdIndex":8},"prevNode":{"key":"/1/dd","dir":true,"expiration":"2026-11-28T07:30:53.910161007Z","ttl":500,"modifiedIndex":8,"createdIndex":8},"refresh":true},"#,
    r#"{"action":"set","node":{"key":"/1/\ufffd\ufffd","value":"\ufffd","modifiedIndex":12,"createdIndex":12}},"#,
    r#"{"action":"set","node":{"key":"/1/a","value":"1","expiration":"2026-11-28T07:24:14.464117124Z","ttl":100,"modifiedIndex":13,"createdIndex":13}},"#,
    r#"{"action":"set","node":{"key":"/1/a","value":"1","expiration":"2026-11-28T07:24:14.471065493Z","ttl":100,"modifiedIndex":14,"createdIndex":14},"prevNode":{"key":"/1/a","value":"1","expiration":"2026-11-28T07:24:14.464117124Z","ttl":100,"modifiedIndex":13,"createdIndex":13},"refresh":true}"#,
    r#"EMPTY],"Size":14,"Front":0,"Back":14,"Capacity":1000},"StartIndex":1,"LastIndex":14}},"#,
    r#""CurrentIndex":14,"Stats":{"getsSuccess":0,"getsFail":15,"setsSuccess":9,"setsFail":0,"deleteSuccess":2,"deleteFail":0,"updateSuccess":1,"updateFail":0,"createSuccess":2,"createFail":0,"compareAndSwapSuccess":0,"compareAndSwapFail":0,"compareAndDeleteSuccess":0,"compareAndDeleteFail":0,"expireCount":0,"watchers":0},"CurrentVersion":2}"#,
);

fn real() -> String {
    REAL.replace("EMPTY", &",null".repeat(1000 - 14))
}

/// A small store in JSON: `tree` are the children of the root.
fn with_children(children: &str, index: u64) -> String {
    format!(r#"{{"Root":{{"Path":"/","Children":{{{children}}}}},"CurrentIndex":{index}}}"#)
}

/// All that a view shows.
fn all(view: &V2View) -> (u64, Vec<V2Row>, Vec<V2Event>, [u64; 2], bool) {
    let rows: Vec<V2Row> = view.rows(None).collect();
    let history: Vec<V2Event> = view.history().map(|event| (**event).clone()).collect();
    let stats = view.stats();
    (view.index(), rows, history, [stats.set_success, stats.get_fail], view.has_expiring())
}

/// Reads back what the store wrote, both ways.
pub(super) fn check_round_trip(store: &V2Store) {
    let view = store.view();
    let json = view.to_json();
    let read = V2Store::from_json(&json).unwrap();
    assert_eq!(all(&read.view()), all(&view), "{}", String::from_utf8_lossy(&json));
    assert_eq!(read.view().stats(), view.stats());
    assert_eq!(read.view().to_json(), json);
    let (_, rows, history, ..) = all(&view);
    let restored = V2Store::restored(view.index(), view.stats(), rows, history).unwrap();
    assert_eq!(restored.view().to_json(), json);
    // As JSON it is what others read as such.
    serde_json::from_slice::<serde_json::Value>(&json).unwrap_or_else(|error| {
        assert!(error.to_string().contains("recursion limit"), "{error}");
        serde_json::Value::Null
    });
}

#[test]
fn a_real_snapshot_is_read_and_written() {
    let mut store = V2Store::from_json(real().as_bytes()).unwrap();
    check_round_trip(&store);
    let view = store.view();
    assert_eq!((view.index(), view.stats().get_fail, view.history().count()), (14, 15, 14));
    assert_eq!(event_line(view.history().nth(9).unwrap()), "delete /1/d/ 5/10 was /1/d/ 5/5");
    assert!(view.has_expiring() && view.is_used());
    // Only times to live, which depend on a clock, and how U+FFFD is spelled differ.
    let mut expected: serde_json::Value = serde_json::from_str(&real()).unwrap();
    let mut written: serde_json::Value = serde_json::from_slice(&view.to_json()).unwrap();
    for json in [&mut expected, &mut written] {
        for event in json["WatcherHub"]["EventHistory"]["Queue"]["Events"].as_array_mut().unwrap() {
            for node in ["node", "prevNode"] {
                if let Some(node) = event.get_mut(node).and_then(|node| node.as_object_mut()) {
                    node.remove("ttl");
                }
            }
        }
    }
    assert_eq!(written, expected);
    let spelled = String::from_utf8(view.to_json()).unwrap();
    assert!(real().replace("\\ufffd", "\u{fffd}").starts_with(&spelled[..2000]));
    let mut sync = request("SYNC", "/");
    sync.time = i64::MAX;
    store.apply(&sync).unwrap();
    let expired: Vec<String> = store
        .take_notices()
        .iter()
        .map(|n| String::from_utf8_lossy(&n.event.node.key).into())
        .collect();
    assert_eq!(expired, ["/1/a", "/1/dd"]);
}

#[test]
fn a_full_history_is_a_ring() {
    let mut store = V2Store::new();
    for _ in 0..1500 {
        store.apply(&parse("PUT /1/a val=x exp=10")).unwrap();
    }
    check_round_trip(&store);
    let json = String::from_utf8(store.view().to_json()).unwrap();
    let ring =
        r#"],"Size":1000,"Front":0,"Back":0,"Capacity":1000},"StartIndex":501,"LastIndex":1500}"#;
    assert!(json.contains(ring));
    // etcd has the first event wherever it stands.
    let mut turned: serde_json::Value = serde_json::from_str(&json).unwrap();
    let queue = &mut turned["WatcherHub"]["EventHistory"]["Queue"];
    queue["Events"].as_array_mut().unwrap().rotate_right(500);
    queue["Front"] = 500.into();
    queue["Back"] = 500.into();
    let turned = V2Store::from_json(turned.to_string().as_bytes()).unwrap();
    assert_eq!(all(&turned.view()), all(&store.view()));
}

#[test]
fn little_is_needed() {
    let store = V2Store::from_json(with_children("", 0).as_bytes()).unwrap();
    assert_eq!(store.view().rows(None).count(), 1);
    // etcd 3.6 writes no events, and older ones write times with the offset of their machine.
    let json = r#"{"Root":{"Path":"/","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z",
        "Value":"","Children":{"1":{"Path":"/1","ExpireTime":"0001-01-01T01:00:00+01:00","Children":{
        "a\n":{"Value":"\u00e9\ud83d\ude00\ud800","ExpireTime":"2026-01-02T03:04:05.5+01:30","Path":"/1/a\n",
        "ModifiedIndex":2,"CreatedIndex":1,"New":[{"a":[1,-2.5e7,true,null,"x"]},[],{}]}}}}},
        "WatcherHub":{"EventHistory":{"Queue":{"Events":[null,null],"Size":0,"Front":0,"Back":0,"Capacity":2},
        "StartIndex":0,"LastIndex":0}},"CurrentIndex":2,"Stats":null,"CurrentVersion":2} "#;
    let store = V2Store::from_json(json.as_bytes()).unwrap();
    let node = store.view().get(b"/1/a\n", false).unwrap().node;
    assert_eq!(node.value.as_deref(), Some("\u{e9}\u{1f600}\u{fffd}".as_bytes()));
    assert_eq!(node.expiration_ns, Some(1_767_317_645_500_000_000));
    assert_eq!((node.created_index, node.modified_index), (1, 2));
    check_round_trip(&store);
}

#[test]
fn of_equal_names_the_last_counts() {
    let child = |path: &str, rest: &str| format!(r#""\ufffd":{{"Path":"{path}"{rest}}}"#);
    let inner = child("/\u{fffd}/\u{fffd}", "");
    let children = [
        child("/\u{fffd}", &format!(r#","Children":{{{inner}}}"#)),
        child("/\u{fffd}", r#","Value":"2""#),
    ];
    let store = V2Store::from_json(with_children(&children.join(","), 0).as_bytes()).unwrap();
    let listing = store.view().get(b"/", true).unwrap();
    let lines: Vec<String> = listing.below.iter().map(node_line).collect();
    assert_eq!(lines, ["/\u{fffd}=2 0/0"]);
}

#[test]
fn nonsense_is_refused() {
    let event = r#"{"action":"set","node":{"key":"/1/a","modifiedIndex":2}}"#;
    let history = |queue: &str| {
        format!(
            r#"{{"WatcherHub":{{"EventHistory":{{"Queue":{{{queue}}}}}}},"Root":{{"Path":"/","Children":{{}}}},"CurrentIndex":2}}"#
        )
    };
    let cases = [
        (String::new(), "no '{' at byte 0"),
        ("null".into(), "no '{'"),
        ("{}".into(), "there is no tree"),
        (with_children("", 0) + "x", "more than one value"),
        (with_children("", u64::MAX), "is too high"),
        (with_children("", 5).replace("5", "5.5"), "no number that fits"),
        (with_children("", 0).replace("{}", "null"), "no directory that stays"),
        (with_children(r#""a":null"#, 0), "no '{'"),
        (with_children(r#""a":{}"#, 0), "a node without a path"),
        (with_children(r#""a":{"Path":"/b"}"#, 0), "not where its node is"),
        (with_children(r#""a/b":{"Path":"/a/b"}"#, 0), "a name that no node can have"),
        (with_children(r#""":{"Path":"/"}"#, 0), "a name that no node can have"),
        (with_children(r#""..":{"Path":"/.."}"#, 0), "a name that no node can have"),
        (with_children(r#""a":{"Path":"/a","ModifiedIndex":3}"#, 2), "a node has index 3"),
        (with_children(r#""a":{"Path":"/a","ModifiedIndex":-3}"#, 2), "no number that fits"),
        (with_children(r#""a":{"Path":"/a","ExpireTime":"2500-01-01T00:00:00Z"}"#, 2), "no time"),
        (with_children(r#""a":{"Path":"/a",}"#, 2), "no string"),
        (with_children(r#""a":{"Path":"/a"},"#, 2), "no string"),
        (with_children(r#""a":{"Path":"/a" "Value":""}"#, 2), "no comma"),
        (with_children(r#""a":{"Path":"/a","Value":"x"#, 2), "no "),
        (with_children(r#""a":{"Path":"/a","Value":"\x"}"#, 2), "a bad escape"),
        (with_children(r#""a":{"Path":"/a","Value":"\u00g0"}"#, 2), "a bad escape"),
        (history(&format!(r#""Events":[{event},{event}],"Size":2"#)), "event 2 after 2"),
        (history(&format!(r#""Events":[{event}],"Size":2"#)), "places that it does not have"),
        (history(r#""Events":[null],"Size":1"#), "a history with holes"),
        (history(&format!(r#""Events":[{}null]"#, "null,".repeat(1000))), "too long"),
        (history(&format!(r#""Events":[{}]"#, event.replace("set", "sit"))), "an unknown action"),
        (
            history(&format!(r#""Events":[{}],"Size":1"#, event.replace('2', "3"))),
            "event 3 after 0",
        ),
        (history(r#""Events":[{"action":"set"}]"#), "without an action or a node"),
    ];
    for (json, expected) in cases {
        let error = V2Store::from_json(json.as_bytes()).unwrap_err();
        assert!(error.contains(expected), "{json}: {error}");
    }
    for length in 0..REAL.len() {
        assert!(V2Store::from_json(&REAL.as_bytes()[..length]).is_err());
    }
}

/// Depth costs neither stack nor memory, whether it is refused or not.
#[test]
fn deep_trees_are_read() {
    let deep = |names: usize| {
        let mut json = r#"{"Root":{"Path":"/","Children":{"#.to_owned();
        let mut path = String::new();
        for _ in 0..names {
            path += "/a";
            json += &format!(r#""a":{{"Path":"{path}","Children":{{"#);
        }
        json + &"}}".repeat(names + 1) + "}"
    };
    let store = V2Store::from_json(deep(MAX_DEPTH).as_bytes()).unwrap();
    check_round_trip(&store);
    let refused = V2Store::from_json(deep(MAX_DEPTH + 1).as_bytes()).unwrap_err();
    assert!(refused.contains("too deep"), "{refused}");
    for nested in ["[", r#"{"a":"#, r#"{"Root":{"#] {
        let json = format!(r#"{{"New":{}"#, nested.repeat(100_000));
        assert!(V2Store::from_json(json.as_bytes()).is_err());
    }
    let path = "/a".repeat(100_000);
    assert!(
        V2Store::from_json(with_children(&format!(r#""a":{{"Path":"{path}"}}"#), 0).as_bytes())
            .is_err()
    );
}

#[test]
fn rows_must_fit_together() {
    let dir = |path: &str| V2Row {
        path: Bytes::copy_from_slice(path.as_bytes()),
        created_index: 1,
        modified_index: 1,
        expiration_ns: None,
        value: None,
    };
    let file = |path: &str| V2Row { value: Some(Bytes::new()), ..dir(path) };
    let cases = [
        (vec![], "there is no root"),
        (vec![dir("/a")], "is not the root"),
        (vec![file("/")], "no directory that stays"),
        (vec![dir("/"), dir("/a/b")], "is in no directory"),
        (vec![dir("/"), file("/a"), file("/a/b")], "is in no directory"),
        (vec![dir("/"), dir("/a"), dir("/a.b"), file("/a/b")], "is out of order"),
        (vec![dir("/"), dir("/a"), dir("/a.b"), file("/a.c/b")], "is in no directory"),
        (vec![dir("/"), dir("/a"), dir("/a")], "is out of order"),
        (vec![dir("/"), dir("/a/")], "is no path"),
        (vec![dir("/"), dir("a")], "is no path"),
        (vec![dir("/"), V2Row { modified_index: 3, ..dir("/a") }], "after the last change"),
    ];
    for (rows, expected) in cases {
        let error = V2Store::restored(2, Default::default(), rows, Vec::new()).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let rows = vec![
        dir("/"),
        dir("/a"),
        file("/a/b"),
        dir("/a/c"),
        file("/a/c/d"),
        dir("/a.b"),
        file("/b"),
    ];
    let store = V2Store::restored(2, Default::default(), rows.clone(), Vec::new()).unwrap();
    assert_eq!(store.view().rows(None).collect::<Vec<_>>(), rows);
    assert_eq!(store.view().rows(Some(b"/a/c")).next(), Some(dir("/a/c")));
    assert_eq!(store.view().rows(Some(b"/a/bb")).next(), Some(dir("/a/c")));
    check_round_trip(&store);
}

#[test]
fn scripts_survive_a_round_trip() {
    let store = check(
        "PUT /1/a val=<&> exp=100
        PUT /1/a val=2
        PUT /1/d/_e/f val=3 exp=9
        PUT /1/d prevExist=true exp=20 refresh
        SYNC / time=10
        PUT /1/a prevIndex=9
        DELETE /1/a prevValue=2",
    );
    check_round_trip(&store);
}

#[test]
fn strings_are_those_of_go() {
    let written = |text: &[u8]| {
        let mut out = Vec::new();
        push_json_string(&mut out, text);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        written(b"a\"\\/\n\r\t\x08\x0c\x00\x1f\x7f <>&'"),
        "\"a\\\"\\\\/\\n\\r\\t\\u0008\\u000c\\u0000\\u001f\x7f \\u003c\\u003e\\u0026'\""
    );
    assert_eq!(
        written("\u{2028}\u{2029}\u{fffd}\u{e9}\u{1f600}".as_bytes()),
        "\"\\u2028\\u2029\u{fffd}\u{e9}\u{1f600}\""
    );
    assert_eq!(
        written(b"\xff\xe2\x82a\xed\xa0\x80"),
        "\"\\ufffd\\ufffd\\ufffda\\ufffd\\ufffd\\ufffd\""
    );
}
