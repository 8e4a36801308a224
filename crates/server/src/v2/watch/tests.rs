use std::task::Waker;

use quoin_api::etcdserverpb::Request;

use super::*;

/// A store whose events go to watchers.
struct Watched {
    store: V2Store,
    watchers: Arc<Watchers>,
}

impl Watched {
    fn new() -> Self {
        let store = V2Store::new();
        let watchers = Arc::new(Watchers::new(&store));
        Self { store, watchers }
    }

    /// Sets a key without matching its event to anybody.
    fn set(&mut self, path: &'static str) {
        let request = Request {
            method: "PUT".to_owned(),
            path: Bytes::from_static(path.as_bytes()),
            ..Request::default()
        };
        self.store.apply(&request).expect("the key can be set");
        let notices = self.store.take_notices();
        self.watchers.push(V2Changes { replaced: None, notices });
    }

    fn deliver(&self) {
        while self.watchers.deliver(MATCHED_AT_ONCE) {}
    }

    fn watch(&self, path: &'static str, stream: bool, since: u64) -> Watching {
        let path = Bytes::from_static(path.as_bytes());
        let options = V2WatchOptions { path, recursive: false, stream, since };
        self.watchers.watch(options).expect("the event is not forgotten")
    }
}

/// Takes the modified indexes of the lines that are there, and whether there is an end behind them.
fn lines(watching: &mut Watching) -> (Vec<u64>, bool) {
    let mut context = Context::from_waker(Waker::noop());
    let mut indexes = Vec::new();
    loop {
        match Pin::new(&mut *watching).poll_frame(&mut context) {
            Poll::Ready(Some(Ok(frame))) => {
                let line = frame.into_data().expect("there are only lines");
                let json: serde_json::Value = serde_json::from_slice(&line).expect("it is JSON");
                let index = json["node"]["modifiedIndex"].as_u64();
                indexes.push(index.expect("an event has an index"));
            }
            Poll::Ready(_) => return (indexes, true),
            Poll::Pending => return (indexes, false),
        }
    }
}

#[test]
fn a_watcher_gets_one_event_and_a_stream_all() {
    let mut watched = Watched::new();
    let mut once = watched.watch("/1/a", false, 0);
    let mut stream = watched.watch("/1/a", true, 0);
    assert_eq!((once.start_index, watched.watchers.len()), (0, 2));
    watched.set("/1/b");
    watched.set("/1/a");
    assert_eq!(lines(&mut once), (vec![], false));
    watched.deliver();
    watched.set("/1/a");
    watched.deliver();
    assert_eq!(lines(&mut once), (vec![2], true));
    assert_eq!(lines(&mut stream), (vec![2, 3], false));
    assert_eq!(watched.watchers.len(), 1);
    drop(stream);
    assert_eq!(watched.watchers.len(), 0);
}

#[test]
fn a_watcher_begins_behind_what_is_not_matched_yet() {
    let mut watched = Watched::new();
    watched.set("/1/a");
    let mut watching = watched.watch("/1/a", false, 0);
    assert_eq!((watching.start_index, lines(&mut watching)), (1, (vec![], false)));
    let mut old = watched.watch("/1/a", false, 1);
    assert_eq!((old.start_index, lines(&mut old)), (1, (vec![1], true)));
}

#[test]
fn a_stream_from_an_old_event_gets_nothing_else() {
    let mut watched = Watched::new();
    watched.set("/1/a");
    let mut stream = watched.watch("/1/a", true, 1);
    watched.set("/1/a");
    watched.deliver();
    assert_eq!(lines(&mut stream), (vec![1], false));
    assert_eq!(watched.watchers.len(), 0);
    watched.watchers.close();
    assert_eq!(lines(&mut stream), (vec![], true));
}

#[test]
fn a_slow_stream_is_cut_off_behind_what_it_has() {
    let mut watched = Watched::new();
    let mut slow = watched.watch("/1/a", true, 0);
    let mut fast = watched.watch("/1/a", true, 0);
    for _ in 0..=QUEUE_EVENTS_MAX {
        watched.set("/1/a");
        watched.deliver();
        assert_eq!(lines(&mut fast).0.len(), 1);
    }
    let (events, ended) = lines(&mut slow);
    assert_eq!((events.len(), ended), (QUEUE_EVENTS_MAX, true));
    assert_eq!(lines(&mut fast), (vec![], false));
}

#[test]
fn when_nobody_matches_events_all_watchers_are_cut_off() {
    let mut watched = Watched::new();
    let mut stream = watched.watch("/1/b", true, 0);
    for _ in 0..=INBOX_EVENTS_MAX {
        watched.set("/1/a");
    }
    watched.deliver();
    assert_eq!(lines(&mut stream), (vec![], true));
    // The history is whole all the same.
    let last = INBOX_EVENTS_MAX as u64 + 1;
    let first = last + 1 - HISTORY_EVENTS as u64;
    let mut old = watched.watch("/1/a", false, first);
    assert_eq!((old.start_index, lines(&mut old)), (last, (vec![first], true)));
}

#[test]
fn a_store_that_replaces_another_keeps_the_watchers() {
    let mut watched = Watched::new();
    let mut stream = watched.watch("/1/a", true, 0);
    let mut other = V2Store::new();
    let put = Request {
        method: "PUT".to_owned(),
        path: Bytes::from_static(b"/1/c"),
        ..Request::default()
    };
    for _ in 0..5 {
        other.apply(&put).expect("the key can be set");
    }
    other.take_notices();
    let replaced = Some(Box::new(other.clone()));
    watched.store = other;
    watched.watchers.push(V2Changes { replaced, notices: Vec::new() });
    watched.set("/1/a");
    watched.deliver();
    assert_eq!(lines(&mut stream), (vec![6], false));
    let mut old = watched.watch("/1/c", false, 1);
    assert_eq!((old.start_index, lines(&mut old)), (6, (vec![1], true)));
}

#[test]
fn after_the_stop_nobody_waits() {
    let watched = Watched::new();
    let mut watching = watched.watch("/1/a", false, 0);
    watched.watchers.close();
    assert_eq!(lines(&mut watching), (vec![], true));
    let options = V2WatchOptions {
        path: Bytes::from_static(b"/1/a"),
        recursive: false,
        stream: false,
        since: 0,
    };
    assert!(watched.watchers.watch(options).is_err());
}
