//! Who is notified of what.

use super::{event_line, parse};
use crate::v2::{V2Store, V2Watch, V2WatchHub, V2WatchOptions, V2WatcherId};

struct Hub {
    store: V2Store,
    hub: V2WatchHub,
}

impl Hub {
    fn new() -> Self {
        let store = V2Store::new();
        let hub = V2WatchHub::new(&store);
        Self { store, hub }
    }

    /// Watches; `options` has `recursive`, `stream` and `since=`.
    fn try_watch(&mut self, path: &str, options: &str) -> Result<V2Watch, String> {
        let since = options.split_once("since=").map_or(0, |(_, since)| since.parse().unwrap());
        let options = V2WatchOptions {
            path: path.to_owned().into(),
            recursive: options.contains("recursive"),
            stream: options.contains("stream"),
            since,
        };
        let cause = |error: crate::v2::V2Error| {
            format!("{} {}", error.index, String::from_utf8_lossy(&error.cause))
        };
        self.hub.watch(options, self.store.index()).map_err(cause)
    }

    fn watch(&mut self, path: &str, options: &str) -> V2WatcherId {
        match self.try_watch(path, options) {
            Ok(V2Watch::Waits(id)) => id,
            other => panic!("{path}: {other:?}"),
        }
    }

    fn found(&mut self, path: &str, options: &str) -> String {
        match self.try_watch(path, options) {
            Ok(V2Watch::Found(event)) => event_line(&event),
            other => panic!("{path}: {other:?}"),
        }
    }

    /// Applies a request and returns whom it concerns.
    fn apply(&mut self, line: &str) -> Vec<V2WatcherId> {
        self.store.apply(&parse(line)).unwrap();
        let mut deliveries = Vec::new();
        for notice in self.store.take_notices() {
            self.hub.notify(&notice, &mut deliveries);
        }
        deliveries.into_iter().map(|delivery| delivery.watcher).collect()
    }
}

#[test]
fn watchers_hear_of_their_path_and_below() {
    let mut hub = Hub::new();
    let root = hub.watch("/", "recursive stream");
    let above = hub.watch("/1/a", "recursive stream");
    let exact = hub.watch("/1/a", "stream");
    let once = hub.watch("/1/a", "recursive");
    let later = hub.watch("/1/a", "stream since=3");
    assert_eq!(hub.apply("PUT /1/a/b val=1"), [root, above, once]);
    assert_eq!(hub.apply("PUT /1/ab val=1"), [root]);
    assert_eq!(hub.apply("PUT /1/a prevExist=true"), [root, above, exact, later]);
    assert!(hub.apply("PUT /1/a prevExist=true refresh").is_empty());
    assert!(hub.apply("PUT /1/a/_x/b val=1").is_empty());
    let hidden = hub.watch("/1/a/_x", "recursive stream");
    assert_eq!(hub.apply("PUT /1/a/_x/b val=2"), [hidden]);
    assert!(hub.apply("PUT /1/_y val=2").is_empty());
    assert_eq!(hub.hub.len(), 5);
    hub.hub.cancel(hidden);
    hub.hub.cancel(hidden);
    assert_eq!(hub.hub.len(), 4);
}

/// etcd notifies the watchers of every path that a removal takes away, and then those on the way to
/// the removed node, so that a stream there gets the event twice.
#[test]
fn removals_reach_watchers_below() {
    let mut hub = Hub::new();
    hub.apply("PUT /1/d/e/f val=1");
    hub.apply("PUT /1/d/_g val=1");
    let file = hub.watch("/1/d/e/f", "");
    let hidden = hub.watch("/1/d/_g", "");
    let missing = hub.watch("/1/d/x", "");
    let stream = hub.watch("/1/d", "stream");
    let once = hub.watch("/1/d", "recursive");
    let above = hub.watch("/1", "recursive stream");
    let other = hub.watch("/1", "stream");
    assert_eq!(hub.apply("DELETE /1/d recursive"), [file, hidden, stream, once, above, stream]);
    hub.hub.cancel(missing);
    hub.hub.cancel(other);
    hub.apply("PUT /1/a val=1 exp=1");
    assert_eq!(hub.apply("SYNC / time=1"), [above]);
}

#[test]
fn history_answers_from_an_index_on() {
    let mut hub = Hub::new();
    hub.apply("PUT /1/a/b val=1");
    hub.apply("PUT /1/c val=1");
    hub.apply("PUT /1/c refresh exp=9");
    hub.apply("DELETE /1/a recursive");
    assert_eq!(hub.found("/1/a", "recursive since=1"), "set /1/a/b=1 1/1");
    assert_eq!(hub.found("/", "recursive stream since=2"), "set /1/c=1 2/2");
    assert_eq!(hub.found("/1/a/b", "since=2"), "delete /1/a/ 1/4 was /1/a/ 1/1");
    // The comparison is one of texts.
    assert_eq!(hub.found("/1/ab", "since=1"), "delete /1/a/ 1/4 was /1/a/ 1/1");
    hub.watch("/1/c", "since=3");
    hub.watch("/1/b", "since=1");
    assert_eq!(hub.hub.len(), 2);
    for _ in 0..1000 {
        hub.apply("PUT /1/x");
    }
    assert_eq!(hub.found("/", "recursive since=5"), "set /1/x= 5/5");
    let cleared = "1004 the requested history has been cleared [5/4]";
    assert_eq!(hub.try_watch("/1/x", "since=4").unwrap_err(), cleared);
    let store = V2Store::new();
    hub.hub.replace_history(&store);
    assert!(matches!(hub.try_watch("/1/x", "since=4"), Ok(V2Watch::Waits(_))));
}
