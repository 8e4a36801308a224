//! Watches against scripted messages of a server.

use quoin_api::mvccpb::{Event, KeyValue};

use super::*;

/// A table, and what its watches receive.
struct Play {
    table: Table,
    received: BTreeMap<u64, mpsc::Receiver<WatchUpdate>>,
}

impl Play {
    fn new() -> Self {
        Self { table: Table::new(1000), received: BTreeMap::new() }
    }

    fn add(&mut self, key: u64, start_revision: i64) {
        let (updates, received) = mpsc::channel(8);
        let request = pb::WatchCreateRequest {
            key: format!("k{key}").into(),
            start_revision,
            ..pb::WatchCreateRequest::default()
        };
        self.table.add(key, request, updates);
        self.received.insert(key, received);
    }

    /// What is to be sent, in short: `+k1@5` creates, `-7` cancels, `?` asks for progress.
    #[track_caller]
    fn sends(&mut self, expected: &[&str]) {
        let mut requests = Vec::new();
        while let Some(request) = self.table.next_request() {
            requests.push(match request.request_union.unwrap() {
                RequestUnion::CreateRequest(create) => {
                    let key = String::from_utf8_lossy(&create.key).into_owned();
                    format!("+{key}@{}", create.start_revision)
                }
                RequestUnion::CancelRequest(cancel) => format!("-{}", cancel.watch_id),
                RequestUnion::ProgressRequest(_) => "?".to_owned(),
            });
        }
        assert_eq!(requests, expected);
    }

    fn accept(&mut self, response: pb::WatchResponse) -> Vec<u64> {
        let deliveries = self.table.accept(response);
        let deliver = |Delivery { key, updates, update }: Delivery| {
            updates.try_send(update).unwrap();
            key
        };
        deliveries.into_iter().map(deliver).collect()
    }

    fn created(&mut self, watch_id: i64, revision: i64) {
        let created = pb::WatchResponse { created: true, ..response(watch_id, revision, &[]) };
        assert_eq!(self.accept(created), Vec::<u64>::new());
    }

    fn next(&mut self, key: u64) -> WatchUpdate {
        self.received.get_mut(&key).unwrap().try_recv().unwrap()
    }
}

fn response(watch_id: i64, revision: i64, events: &[i64]) -> pb::WatchResponse {
    let event = |&mod_revision: &i64| Event {
        kv: Some(KeyValue { mod_revision, ..KeyValue::default() }),
        ..Event::default()
    };
    pb::WatchResponse {
        header: Some(pb::ResponseHeader { revision, ..pb::ResponseHeader::default() }),
        watch_id,
        events: events.iter().map(event).collect(),
        ..pb::WatchResponse::default()
    }
}

/// The revisions of the events of an update.
fn revisions(update: &WatchUpdate) -> Vec<i64> {
    let revision = |event: &Event| event.kv.as_ref().unwrap().mod_revision;
    update.response.events.iter().map(revision).collect()
}

#[test]
fn watches_are_created_one_after_the_other() {
    let mut play = Play::new();
    play.table.begin();
    play.add(1, 0);
    play.add(2, 5);
    play.add(3, 0);
    play.sends(&["+k1@0"]);
    play.created(70, 9);
    play.sends(&["+k2@5"]);
    play.table.remove(3);
    play.created(71, 9);
    play.sends(&[]);
    assert_eq!(play.accept(response(71, 10, &[5, 10])), [2]);
    assert_eq!(revisions(&play.next(2)), [5, 10]);
}

#[test]
fn a_new_stream_goes_on_where_each_watch_was() {
    let mut play = Play::new();
    for (key, start) in [(1, 0), (2, 5), (3, 0), (4, 99)] {
        play.add(key, start);
    }
    play.table.begin();
    for id in 0..4 {
        play.created(id, 20);
    }
    play.accept(response(1, 31, &[25, 30]));
    assert_eq!(play.accept(response(ALL, 40, &[])), [1, 2, 3, 4]);
    play.accept(response(2, 41, &[41]));
    while play.table.next_request().is_some() {}
    play.table.begin();
    for (id, expected) in ["+k1@41", "+k2@41", "+k3@42", "+k4@99"].iter().enumerate() {
        play.sends(&[expected]);
        play.created(id as i64, 50);
    }
}

/// A watch of what comes next that never saw an event would have missed what happened while the
/// connection was down.
#[test]
fn a_watch_without_events_goes_on_behind_its_beginning() {
    let mut play = Play::new();
    play.add(1, 0);
    play.table.begin();
    play.created(0, 20);
    while play.table.next_request().is_some() {}
    play.table.begin();
    play.sends(&["+k1@21"]);
}

#[test]
fn parts_are_delivered_as_a_whole() {
    let mut play = Play::new();
    play.add(1, 0);
    play.table.begin();
    play.created(0, 1);
    let part = pb::WatchResponse { fragment: true, ..response(0, 9, &[2, 3]) };
    assert_eq!(play.accept(part.clone()), Vec::<u64>::new());
    assert_eq!(play.accept(response(0, 9, &[4])), [1]);
    let update = play.next(1);
    assert_eq!((revisions(&update), update.response.fragment), (vec![2, 3, 4], false));
    // What came before the stream broke comes again, and is not delivered twice.
    play.accept(part);
    play.table.begin();
    play.created(0, 9);
    assert_eq!(play.accept(response(0, 9, &[5])), [1]);
    assert_eq!(revisions(&play.next(1)), [5]);
}

#[test]
fn parts_without_an_end_are_refused() {
    let mut play = Play::new();
    play.add(1, 0);
    play.table.begin();
    play.created(0, 1);
    let part = pb::WatchResponse { fragment: true, ..response(0, 9, &[2; 100]) };
    while play.accept(part.clone()).is_empty() {}
    let error = play.next(1).error.unwrap();
    assert_eq!(error.code(), Some(Code::ResourceExhausted));
    assert!(play.table.is_empty());
    play.sends(&["+k1@0", "-0"]);
}

#[test]
fn a_watch_ends_with_the_reason() {
    let mut play = Play::new();
    let reason = Known::PermissionDenied.message().to_owned();
    for key in 1..=3 {
        play.add(key, 2);
    }
    play.table.begin();
    play.created(0, 9);
    let refused = pb::WatchResponse {
        created: true,
        canceled: true,
        cancel_reason: reason,
        ..response(ALL, 9, &[])
    };
    assert_eq!(play.accept(refused), [2]);
    assert_eq!(play.next(2).error, Some(Error::Server(Known::PermissionDenied)));
    play.created(1, 9);
    let compacted =
        pb::WatchResponse { canceled: true, compact_revision: 5, ..response(0, 0, &[]) };
    assert_eq!(play.accept(compacted), [1]);
    assert_eq!(play.next(1).error, Some(Error::Server(Known::Compacted)));
    let canceled = pb::WatchResponse { canceled: true, ..response(1, 0, &[]) };
    assert_eq!(play.accept(canceled), [3]);
    assert_eq!(play.next(3).error, Some(Error::Server(Known::FutureRevision)));
    assert!(play.table.is_empty());
}

#[test]
fn watches_that_nobody_holds_are_cancelled() {
    let mut play = Play::new();
    play.add(1, 0);
    play.add(2, 0);
    play.table.begin();
    play.created(7, 1);
    while play.table.next_request().is_some() {}
    play.table.remove(1);
    play.table.remove(2);
    play.sends(&["-7"]);
    // The second one was being created when it went.
    play.created(8, 1);
    play.sends(&["-8"]);
    assert_eq!(play.accept(response(8, 2, &[2])), Vec::<u64>::new());
    assert!(play.table.is_empty());
}

/// The server answered a question about progress before it had created the watch that was asked
/// for first, so that nobody got the answer.
#[test]
fn progress_is_asked_for_when_all_watches_run() {
    let mut play = Play::new();
    play.table.ask_progress();
    play.sends(&[]);
    play.table.begin();
    play.add(1, 0);
    play.add(2, 0);
    play.table.ask_progress();
    play.sends(&["+k1@0"]);
    play.created(0, 1);
    play.sends(&["+k2@0"]);
    play.created(1, 1);
    play.sends(&["?"]);
    play.table.ask_progress();
    play.sends(&["?"]);
}
