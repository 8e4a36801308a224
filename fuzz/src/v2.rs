//! The store of the v2 API: snapshots as JSON, requests, watchers.

use bytes::Bytes;
use quoin_api::etcdserverpb::Request;
use quoin_store::{
    V2Error, V2Event, V2Outcome, V2Row, V2Store, V2Watch, V2WatchHub, V2WatchOptions,
};

use crate::input::{Input, with_length};

/// After how many requests one of the two stores is put together again from its rows.
const REQUESTS_PER_RESTART: usize = 4;
const METHODS: &[&str] = &["PUT", "PUT", "POST", "DELETE", "SYNC", "QGET", "GET"];
/// Times are so many nanoseconds after this one: a time that a new node can have.
const FIRST_TIME_NS: i64 = 1_700_000_000_000_000_000;

/// Reads bytes as a store in JSON, or begins with an empty one, and applies requests on two of them, of
/// which one is put together again from its rows now and then. They do the same, what they notify
/// reaches watchers, and what they write as JSON reads as a store that writes the same.
///
/// A length and so many bytes are the JSON. A request is a byte for the method, one of flags, one of
/// time and one of the former index, then path, value and former value, each with its length.
pub fn v2_store(data: &[u8]) {
    let mut input = Input::new(data);
    let json = input.bytes();
    let mut steady = match json {
        b"" => V2Store::new(),
        json => match V2Store::from_json(json) {
            Ok(store) => store,
            Err(_) => return,
        },
    };
    check_json(&steady);
    let mut restless = steady.clone();
    let mut hub = V2WatchHub::new(&steady);
    for number in 0.. {
        if input.is_empty() {
            break;
        }
        let request = next_request(&mut input);
        let path = request.path.clone();
        watch(&mut hub, &steady, path.clone(), number);
        let one = apply(&mut steady, &request, &mut hub);
        assert_eq!(one, restless.apply(&request));
        if number % REQUESTS_PER_RESTART == 0 {
            restless = restarted(&restless);
        }
        let listings = [&steady, &restless].map(|store| store.view().get(&path, number % 2 == 0));
        assert_eq!(listings[0], listings[1]);
    }
    let (one, other) = (steady.view(), restless.view());
    assert_eq!(one.stats(), other.stats());
    assert_eq!(one.to_json(), other.to_json());
    assert_eq!(steady.is_used(), restless.is_used());
    check_json(&steady);
}

fn next_request(input: &mut Input<'_>) -> Request {
    let (method, flags, time, index) = (input.u8(), input.u8(), input.u8(), input.u8());
    let mut bytes = || Bytes::copy_from_slice(input.bytes());
    let (path, val, prev_value) = (bytes(), bytes(), bytes());
    let time_ns = if time == 0 { 0 } else { FIRST_TIME_NS + i64::from(time) };
    Request {
        method: METHODS[usize::from(method) % METHODS.len()].to_owned(),
        path,
        val,
        prev_value,
        prev_index: u64::from(index),
        dir: flags & 1 != 0,
        recursive: flags & 2 != 0,
        refresh: Some(flags & 4 != 0),
        prev_exist: (flags & 8 != 0).then_some(flags & 16 != 0),
        expiration: time_ns,
        time: time_ns,
        ..Request::default()
    }
}

/// Watches a path from the start or from now on.
fn watch(hub: &mut V2WatchHub, store: &V2Store, path: Bytes, number: usize) {
    let since = if number.is_multiple_of(3) { 1 } else { 0 };
    let (recursive, stream) = (number.is_multiple_of(2), number.is_multiple_of(5));
    let options = V2WatchOptions { path, recursive, stream, since };
    match hub.watch(options, store.index()) {
        Ok(V2Watch::Found(event)) => assert!(event.index() >= 1 && !event.refresh),
        Ok(V2Watch::Waits(id)) if number % 7 == 6 => hub.cancel(id),
        Ok(V2Watch::Waits(_)) => {}
        Err(error) => assert_eq!((since, error.index), (1, store.index())),
    }
}

/// Applies a request and notifies the watchers, who wait until they are notified.
fn apply(
    store: &mut V2Store,
    request: &Request,
    hub: &mut V2WatchHub,
) -> Result<V2Outcome, V2Error> {
    let before = store.index();
    let outcome = store.apply(request);
    let notices = store.take_notices();
    let indexes = notices.iter().map(|notice| notice.event.index());
    assert!(indexes.eq(before + 1..=store.index()), "every index has one event");
    for notice in &notices {
        let (waiting, mut deliveries) = (hub.len(), Vec::new());
        hub.notify(notice, &mut deliveries);
        assert!(waiting - hub.len() <= deliveries.len());
    }
    outcome
}

fn restarted(store: &V2Store) -> V2Store {
    let view = store.view();
    let rows: Vec<V2Row> = view.rows(None).collect();
    let history: Vec<V2Event> = view.history().map(|event| (**event).clone()).collect();
    V2Store::restored(view.index(), view.stats(), rows, history).expect("a store wrote it")
}

/// What is not UTF-8 is lost at the first time, and nothing at the second.
fn check_json(store: &V2Store) {
    let read = V2Store::from_json(&store.view().to_json()).expect("a store wrote it");
    let json = read.view().to_json();
    let again = V2Store::from_json(&json).expect("a store wrote it");
    assert_eq!(again.view().to_json(), json);
    assert_eq!(again.has_expiring(), read.has_expiring());
}

/// Requests on an empty store, and on one that was read.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let request = |method: u8, flags: u8, time: u8, index: u8, texts: [&str; 3]| {
        let texts = texts.map(|text| with_length(text.as_bytes())).concat();
        [&[method, flags, time, index][..], &texts].concat()
    };
    let requests = [
        request(0, 0, 9, 0, ["/1/d/a", "x", ""]),
        request(0, 0, 0, 0, ["/1/d/a", "y", "x"]),
        request(0, 4, 5, 0, ["/1/d/a", "", ""]),
        request(0, 25, 7, 0, ["/1/d", "", ""]),
        request(2, 0, 0, 0, ["/1/q", "z", ""]),
        request(3, 0, 0, 2, ["/1/d/a", "", "x"]),
        request(0, 9, 0, 0, ["/1/e/../_h//\u{0}\u{1}", "", ""]),
        request(5, 2, 0, 0, ["/1", "", ""]),
        request(4, 0, 6, 0, ["", "", ""]),
        request(3, 2, 0, 0, ["/1/q", "", ""]),
        request(4, 0, 7, 0, ["", "", ""]),
        request(6, 0, 7, 0, ["/1", "", ""]),
    ]
    .concat();
    let event = r#"{"action":"update","node":{"key":"/1/d","dir":true,"expiration":"2026-01-02T03:04:05Z","ttl":7,
        "modifiedIndex":2,"createdIndex":1},"prevNode":{"key":"/1/d","dir":true,"modifiedIndex":1},"refresh":true}"#;
    let json = format!(
        r#"{{"Root":{{"Path":"/","ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{{"1":{{"Path":"/1",
        "Children":{{"d":{{"Path":"/1/d","CreatedIndex":1,"ModifiedIndex":1,"ExpireTime":"2026-01-02T03:04:05.5+01:00",
        "Children":{{"a":{{"Path":"/1/d/a","Value":"\ud83d\ude00\n","Children":null}}}}}}}}}}}}}},
        "WatcherHub":{{"EventHistory":{{"Queue":{{"Events":[null,{event}],"Size":1,"Front":1,"Back":0,"Capacity":2}},
        "StartIndex":2,"LastIndex":2}}}},"CurrentIndex":2,"Stats":{{"setsFail":1,"watchers":3}},"New":[1,{{}}]}}"#
    );
    let read = with_length(json.as_bytes());
    vec![[&with_length(b"")[..], &requests].concat(), [&read[..], &requests].concat(), read]
}
