//! Random watchers with random lag against the history of a store: each gets exactly its events.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use quoin_api::etcdserverpb::request_op::Request;
use quoin_api::etcdserverpb::watch_request::RequestUnion;
use quoin_api::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, InternalRaftRequest, PutRequest, RequestOp, TxnRequest,
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use quoin_api::mvccpb::{self, event::EventType};

use crate::store::{EntryData, Store};
use crate::watch::{WatchHub, WatchLimits, WatchOptions, WatchStreamId};

const SEEDS: u64 = 300;
const STEPS: usize = 400;
const STREAMS: u64 = 3;

/// A sequence of numbers that a seed begins.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        let mixed = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        (mixed ^ (mixed >> 29)) % bound
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

#[test]
fn every_watcher_gets_exactly_its_events() {
    let mut totals = Totals::default();
    for seed in 0..SEEDS {
        let mut run = Run::new(seed);
        for _ in 0..STEPS {
            run.step();
        }
        run.finish();
        totals.add(&run.totals);
    }
    // A run that never meets what it is about proves nothing.
    let Totals { events, compacted, fragments, progress, lagging, previous, large, late } = totals;
    println!(
        "{events} events, {compacted} compacted, {fragments} fragments, {progress} progress, \
         {lagging} lagging, {previous} previous, {large} within a revision, {late} late"
    );
    assert!(large > 1000 && late > 1000);
    assert!(events > 10_000 && compacted > 100 && fragments > 100);
    assert!(progress > 500 && lagging > 500 && previous > 1000);
}

#[derive(Default)]
struct Totals {
    events: usize,
    compacted: usize,
    fragments: usize,
    progress: usize,
    lagging: usize,
    previous: usize,
    /// Steps while a large revision was on its way to synced watchers, and to late ones.
    large: usize,
    late: usize,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.compacted += other.compacted;
        self.fragments += other.fragments;
        self.progress += other.progress;
        self.lagging += other.lagging;
        self.previous += other.previous;
        self.large += other.large;
        self.late += other.late;
    }
}

/// A watcher as its client sees it.
struct Client {
    request: WatchCreateRequest,
    /// Revisions before this one are done with.
    next: i64,
    /// The part of a fragmented revision that has come.
    partial: usize,
    created: bool,
}

struct Run {
    seed: u64,
    random: Random,
    store: Store,
    hub: WatchHub,
    /// All events by revision.
    history: BTreeMap<i64, Vec<mvccpb::Event>>,
    streams: Vec<(WatchStreamId, BTreeMap<i64, Client>)>,
    /// Bytes of each stream that do not end a message yet.
    unread: BTreeMap<usize, BytesMut>,
    totals: Totals,
}

impl Run {
    fn new(seed: u64) -> Self {
        let limits = WatchLimits {
            stream_bytes: 1500,
            floor_bytes: 300,
            hub_bytes: 3000,
            response_bytes: 400,
            shared_min_bytes: 100,
            // Slices that end within revisions, and ones that never do.
            slice_hits: if seed.is_multiple_of(2) { 12 } else { 2 },
            slice_bytes: 800,
            slice_events: if seed.is_multiple_of(3) { 20 } else { 3 },
            ..WatchLimits::default()
        };
        let options =
            WatchOptions { cluster_id: 1, member_id: 2, fragment_bytes: 300, seed, limits };
        let (store, mut hub) = (Store::new(), WatchHub::new(options));
        let streams = (0..STREAMS).map(|_| (hub.open(store.view()), BTreeMap::new())).collect();
        let history = BTreeMap::new();
        let (random, totals) = (Random(seed), Totals::default());
        let unread = BTreeMap::new();
        Self { seed, random, store, hub, history, streams, unread, totals }
    }

    fn step(&mut self) {
        self.totals.large += usize::from(self.hub.large.is_some());
        self.totals.late += self
            .streams
            .iter()
            .filter(|(id, _)| self.hub.streams[id.0].behind.large.is_some())
            .count();
        match self.random.below(20) {
            0..=7 => self.write(),
            8 => self.compact(),
            9 => drop(self.store.collect(self.random.below(50) as usize)),
            10..=11 => self.hub.publish(self.store.view()),
            12..=13 => drop(self.hub.dispatch()),
            14..=16 => {
                let stream = self.random.below(STREAMS) as usize;
                self.read(stream);
            }
            17 => self.create(),
            18 => self.cancel(),
            _ => self.ask_progress(),
        }
    }

    fn key(&mut self) -> Bytes {
        Bytes::from(format!("k{}", self.random.below(6)))
    }

    fn write(&mut self) {
        let mut operations = Vec::new();
        let mut keys: Vec<u64> = (0..6).collect();
        for _ in 0..=self.random.below(4) {
            let chosen = self.random.below(keys.len() as u64) as usize;
            let key = Bytes::from(format!("k{}", keys.swap_remove(chosen)));
            let value = Bytes::from(vec![b'v'; self.random.below(90) as usize]);
            let request = if self.random.one_in(4) {
                Request::RequestDeleteRange(DeleteRangeRequest { key, ..Default::default() })
            } else {
                Request::RequestPut(PutRequest { key, value, ..PutRequest::default() })
            };
            operations.push(RequestOp { request: Some(request) });
        }
        let txn = Some(TxnRequest { success: operations, ..TxnRequest::default() });
        let before = self.store.view();
        self.apply(&InternalRaftRequest { txn, ..Default::default() });
        let view = self.store.view();
        for event in view.events_from(before.revision() + 1).unwrap() {
            let event = event.unwrap();
            let kind = if event.is_delete { EventType::Delete } else { EventType::Put };
            let prev_kv = before.value_at(&event.pair.key, before.revision()).unwrap();
            let revision = event.revision.main;
            let event = mvccpb::Event { r#type: kind as i32, kv: Some(event.pair), prev_kv };
            self.history.entry(revision).or_default().push(event);
        }
    }

    fn compact(&mut self) {
        let newest = self.store.view().revision();
        let revision = newest - self.random.below(12) as i64;
        let compaction = Some(CompactionRequest { revision, physical: false });
        self.apply(&InternalRaftRequest { compaction, ..Default::default() });
    }

    fn apply(&mut self, request: &InternalRaftRequest) {
        let entry = Bytes::from(request.encode_to_vec());
        let index = self.store.applied().0 + 1;
        self.store.apply(index, 1, EntryData::Normal(&entry)).unwrap();
    }

    fn ask(&mut self, stream: usize, union: RequestUnion) {
        self.hub.publish(self.store.view());
        self.hub.request(self.streams[stream].0, WatchRequest { request_union: Some(union) });
    }

    fn create(&mut self) {
        let newest = self.store.view().revision();
        let start_revision = match self.random.below(4) {
            0 => 0,
            1 => newest + self.random.below(5) as i64,
            _ => (newest - self.random.below(40) as i64).max(1),
        };
        let (key, stream) = (self.key(), self.random.below(STREAMS) as usize);
        let range_end = match self.random.below(4) {
            0 => Bytes::from_static(b"\0"),
            1 => Bytes::from_static(b"k9"),
            _ => Bytes::new(),
        };
        let filters =
            if self.random.one_in(4) { vec![self.random.below(2) as i32] } else { vec![] };
        let request = WatchCreateRequest {
            key,
            range_end,
            start_revision,
            progress_notify: self.random.one_in(2),
            filters,
            prev_kv: self.random.one_in(2),
            watch_id: 0,
            fragment: self.random.one_in(2),
        };
        let next = if start_revision == 0 { newest + 1 } else { start_revision };
        self.ask(stream, RequestUnion::CreateRequest(request.clone()));
        let clients = &mut self.streams[stream].1;
        // The server counts the IDs of a stream.
        let id = clients.keys().next_back().map_or(0, |last| last + 1);
        clients.insert(id, Client { request, next, partial: 0, created: false });
    }

    fn cancel(&mut self) {
        let stream = self.random.below(STREAMS) as usize;
        let live: Vec<i64> = self.live(stream);
        if live.len() > 3 {
            let watch_id = live[self.random.below(live.len() as u64) as usize];
            self.ask(stream, RequestUnion::CancelRequest(WatchCancelRequest { watch_id }));
        }
    }

    fn live(&self, stream: usize) -> Vec<i64> {
        let clients = self.streams[stream].1.iter();
        clients.filter(|(_, client)| client.next < i64::MAX).map(|(id, _)| *id).collect()
    }

    fn ask_progress(&mut self) {
        let stream = self.random.below(STREAMS) as usize;
        if self.random.one_in(2) {
            self.ask(stream, RequestUnion::ProgressRequest(WatchProgressRequest {}));
        } else {
            self.hub.notify_progress(self.streams[stream].0);
        }
    }

    /// Takes one chunk, or catches up a slice. False if there was nothing to do.
    fn read(&mut self, stream: usize) -> bool {
        let id = self.streams[stream].0;
        self.totals.lagging += usize::from(!self.hub.has_room(id));
        let waiting = self.hub.take(id);
        let more = waiting.is_none() && self.hub.catch_up(id);
        let Some(taken) = waiting.or_else(|| self.hub.take(id)) else { return more };
        let mut bytes = self.unread.remove(&stream).unwrap_or_default();
        bytes.extend_from_slice(&taken);
        while let Some(response) = next_response(&mut bytes) {
            self.check(stream, &response);
        }
        self.unread.insert(stream, bytes);
        true
    }

    fn check(&mut self, stream: usize, response: &WatchResponse) {
        let (seed, compacted) = (self.seed, self.store.view().compact_revision());
        let header = response.header.as_ref().unwrap().revision;
        let is_progress = response.events.is_empty() && !response.created && !response.canceled;
        if is_progress {
            self.totals.progress += 1;
            let ids = match response.watch_id {
                -1 => self.live(stream),
                id => vec![id],
            };
            // A watcher that was created behind this notification is not meant.
            for id in ids.into_iter().filter(|id| self.streams[stream].1[id].created) {
                let missed = self.missed(stream, id, header);
                assert_eq!(missed, None, "seed {seed}: watcher {id} was told progress {header}");
            }
            return;
        }
        let history = &self.history;
        let client = self.streams[stream].1.get_mut(&response.watch_id).unwrap();
        assert_eq!(client.created, !response.created, "seed {seed}");
        client.created = true;
        if response.canceled {
            if response.compact_revision > 0 {
                self.totals.compacted += 1;
                assert!(client.next < response.compact_revision, "seed {seed}: {response:?}");
                assert!(response.compact_revision <= compacted);
                assert_eq!(client.partial, 0);
            }
            // The ID stays, so that the next one is known.
            client.next = i64::MAX;
            return;
        }
        self.totals.events += response.events.len();
        self.totals.fragments += usize::from(response.fragment);
        assert!(!response.fragment || client.request.fragment);
        for event in &response.events {
            let revision = event.kv.as_ref().unwrap().mod_revision;
            let expected = wanted(history, client).next();
            let (at, expected) = expected.expect("there is no such event");
            assert_eq!(revision, at, "seed {seed}: watcher {}", response.watch_id);
            let mut sent = event.clone();
            let mut expected: Vec<_> = expected.into_iter().cloned().collect();
            let event = &mut expected[client.partial];
            if !client.request.prev_kv || (sent.prev_kv.is_none() && compacted >= revision) {
                event.prev_kv = None;
            }
            self.totals.previous += usize::from(sent.prev_kv.is_some());
            sent.prev_kv.iter_mut().for_each(|_| assert!(client.request.prev_kv));
            assert_eq!(&sent, event, "seed {seed}");
            client.partial += 1;
            if client.partial == expected.len() {
                (client.next, client.partial) = (revision + 1, 0);
            }
        }
        assert!(response.fragment || client.partial == 0, "seed {seed}: a revision was split");
    }

    /// The first revision up to `upto` with an event that the watcher wants and did not get.
    fn missed(&self, stream: usize, id: i64, upto: i64) -> Option<i64> {
        let client = &self.streams[stream].1[&id];
        assert_eq!(client.partial, 0, "seed {}", self.seed);
        let mut wanted = wanted(&self.history, client);
        wanted.next().map(|(revision, _)| revision).filter(|revision| *revision <= upto)
    }

    fn finish(&mut self) {
        self.hub.publish(self.store.view());
        let newest = self.store.view().revision();
        loop {
            let mut more = self.hub.dispatch();
            for stream in 0..self.streams.len() {
                more |= self.read(stream);
            }
            if !more {
                break;
            }
        }
        for stream in 0..self.streams.len() {
            for id in self.live(stream) {
                assert_eq!(self.missed(stream, id, newest), None, "seed {}", self.seed);
            }
        }
        let ids: Vec<WatchStreamId> = self.streams.iter().map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.hub.close(id));
        assert_eq!((self.hub.watchers(), self.hub.streams()), (0, 0));
    }
}

/// Takes a message off the front of what a stream has sent, if it is there as a whole.
pub(super) fn next_response(bytes: &mut BytesMut) -> Option<WatchResponse> {
    let prefix = bytes.first_chunk::<5>()?;
    assert_eq!(prefix[0], 0, "responses are not compressed");
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if bytes.len() < 5 + length {
        return None;
    }
    bytes.advance(5);
    Some(WatchResponse::decode(bytes.split_to(length)).unwrap())
}

/// The events that a client still wants, by revision.
fn wanted<'a>(
    history: &'a BTreeMap<i64, Vec<mvccpb::Event>>,
    client: &'a Client,
) -> impl Iterator<Item = (i64, Vec<&'a mvccpb::Event>)> {
    let request = &client.request;
    history.range(client.next..).filter_map(move |(revision, events)| {
        let wants = |event: &&mvccpb::Event| {
            let key = &event.kv.as_ref().unwrap().key;
            let inside = match &request.range_end[..] {
                [] => *key == request.key,
                [0] => *key >= request.key,
                end => *key >= request.key && key[..] < *end,
            };
            // The filters are numbered like the kinds of events.
            inside && !request.filters.contains(&event.r#type)
        };
        let events: Vec<_> = events.iter().filter(wants).collect();
        (!events.is_empty()).then_some((*revision, events))
    })
}
