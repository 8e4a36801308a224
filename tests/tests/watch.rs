//! Watching: the same script to a real etcd and to the subject, and clients that do not read.

use std::path::Path;
use std::time::Duration;

use quoin_api::etcdserverpb::request_op::Request as Operation;
use quoin_api::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, PutRequest, RequestOp, TxnRequest, WatchCreateRequest,
    WatchResponse,
};
use quoin_api::mvccpb::KeyValue;
use quoin_tests::cluster::{Cluster, Member};
use quoin_tests::programs::{self, Version};
use quoin_tests::rpc::{self, Kv};
use quoin_tests::server::Server;
use quoin_tests::temp_dir::TempDir;
use quoin_tests::watch::WatchStream;
use tonic::Code;
use tonic::transport::Channel;

/// How long a response that must come may take.
const SOON: Duration = Duration::from_secs(20);
/// How long to wait for a response that must not come.
const SILENCE: Duration = Duration::from_millis(200);

fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime of one thread")
}

/// A server, and where it is.
fn start(program: &Path, twin: &Member, dir: &TempDir, role: &str) -> (Server, String) {
    let home = dir.join(role);
    std::fs::create_dir(&home).expect("a new directory");
    let member = Member {
        advertised_peer_url: twin.advertised_peer_url.clone(),
        initial_cluster: twin.initial_cluster.clone(),
        settings: twin.settings.clone(),
        ..Member::alone(&home, "twin")
    };
    let server = Server::start(&member.launch(program, &home));
    let server = server.unwrap_or_else(|error| panic!("{role}: {error}"));
    (server, member.client_url)
}

fn channel(url: &str) -> Channel {
    rpc::channel(url, Duration::from_secs(60))
}

fn watch(key: &str) -> WatchCreateRequest {
    WatchCreateRequest { key: key.to_owned().into(), ..WatchCreateRequest::default() }
}

fn put_request(key: &str, value: impl Into<String>) -> PutRequest {
    let (key, value) = (key.to_owned().into(), value.into().into());
    PutRequest { key, value, ..PutRequest::default() }
}

/// One server: writes, and what its watchers get.
struct Side {
    kv: Kv,
    url: String,
    streams: Vec<WatchStream>,
    /// What came, by step.
    seen: Vec<(&'static str, Vec<WatchResponse>)>,
}

impl Side {
    fn new(url: &str) -> Self {
        let kv = rpc::kv(channel(url));
        Self { kv, url: url.to_owned(), streams: Vec::new(), seen: Vec::new() }
    }

    /// Each stream has a connection, because streams that nobody reads use up its window.
    async fn open(&mut self, first: WatchCreateRequest) {
        let stream = WatchStream::open(channel(&self.url), first).await;
        self.streams.push(stream.expect("a stream"));
    }

    async fn put(&mut self, key: &str, value: impl Into<String>) {
        self.kv.put(put_request(key, value)).await.expect("a put");
    }

    async fn delete(&mut self, key: &str, range_end: &str) {
        let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
        let request = DeleteRangeRequest { key, range_end, prev_kv: false };
        self.kv.delete_range(request).await.expect("a deletion");
    }

    async fn txn(&mut self, puts: &[(&str, &str)]) {
        let operation = |(key, value): &(&str, &str)| {
            let request = Some(Operation::RequestPut(put_request(key, *value)));
            RequestOp { request }
        };
        let success = puts.iter().map(operation).collect();
        let txn = TxnRequest { success, ..TxnRequest::default() };
        self.kv.txn(txn).await.expect("a transaction");
    }

    async fn compact(&mut self, revision: i64) {
        let request = CompactionRequest { revision, physical: true };
        self.kv.compact(request).await.expect("a compaction");
    }

    /// Takes so many responses of a stream, and then silence. The order of different watchers is
    /// not defined, that of one is.
    async fn expect(&mut self, step: &'static str, stream: usize, count: usize) {
        let mut responses = Vec::new();
        while responses.len() < count {
            let next = self.streams[stream].next(SOON).await.expect("the stream goes on");
            let next = next.unwrap_or_else(|| panic!("{step}: only {responses:#?}"));
            responses.push(next);
        }
        let more = self.streams[stream].next(SILENCE).await.expect("the stream goes on");
        assert_eq!(more, None, "{step}: after {responses:#?}");
        responses.sort_by_key(|response| response.watch_id);
        self.seen.push((step, responses));
    }

    async fn script(&mut self) {
        self.creation().await;
        self.events().await;
        self.history().await;
        self.progress().await;
        self.large().await;
    }

    async fn creation(&mut self) {
        self.put("a", "0").await;
        self.open(watch("a")).await;
        let stream = &self.streams[0];
        stream.create(WatchCreateRequest { watch_id: 7, ..watch("b") }).await;
        stream.create(WatchCreateRequest { watch_id: 7, ..watch("c") }).await;
        stream.create(WatchCreateRequest { watch_id: 1, ..watch("d") }).await;
        stream.create(watch("e")).await;
        self.expect("identifiers", 0, 5).await;
        let stream = &self.streams[0];
        stream.create(WatchCreateRequest { start_revision: -1, ..watch("a") }).await;
        stream.create(WatchCreateRequest { range_end: "a".into(), ..watch("b") }).await;
        stream.create(WatchCreateRequest { range_end: "b".into(), ..watch("b") }).await;
        self.expect("refusals", 0, 3).await;
        let stream = &self.streams[0];
        stream.cancel(99).await;
        stream.cancel(7).await;
        stream.cancel(7).await;
        stream.create(WatchCreateRequest { watch_id: 7, ..watch("b") }).await;
        self.expect("cancel", 0, 2).await;
    }

    async fn events(&mut self) {
        self.open(WatchCreateRequest { prev_kv: true, ..watch("a") }).await;
        let all = WatchCreateRequest { range_end: "\0".into(), ..watch("") };
        let stream = &self.streams[1];
        stream.create(all.clone()).await;
        stream.create(WatchCreateRequest { filters: vec![0], ..all.clone() }).await;
        stream.create(WatchCreateRequest { filters: vec![1], ..all.clone() }).await;
        stream.create(WatchCreateRequest { range_end: "c".into(), ..watch("b") }).await;
        stream.create(watch("")).await;
        self.expect("created", 1, 6).await;
        self.put("a", "1").await;
        self.expect("put", 1, 3).await;
        self.delete("a", "").await;
        self.expect("delete", 1, 3).await;
        self.put("a", "2").await;
        self.expect("create again", 1, 3).await;
        self.txn(&[("a", "3"), ("b", "3"), ("c", "3")]).await;
        self.expect("transaction", 1, 4).await;
        self.delete("a", "d").await;
        self.expect("delete range", 1, 4).await;
        self.expect("the first stream meanwhile", 0, 5 + 2).await;
    }

    async fn history(&mut self) {
        let all = WatchCreateRequest { range_end: "\0".into(), ..watch("\0") };
        self.open(WatchCreateRequest { start_revision: 1, prev_kv: true, ..all.clone() }).await;
        self.expect("from the beginning", 2, 2).await;
        // Revision 7 deleted the keys, revision 6 is the transaction before.
        let stream = &self.streams[2];
        stream.create(WatchCreateRequest { start_revision: 9, ..all.clone() }).await;
        self.expect("future", 2, 1).await;
        self.put("x", "1").await;
        self.expect("before the future", 2, 1).await;
        self.put("x", "2").await;
        self.expect("the future", 2, 2).await;
        self.compact(7).await;
        let stream = &self.streams[2];
        stream.create(WatchCreateRequest { start_revision: 6, watch_id: 40, ..all.clone() }).await;
        stream.create(WatchCreateRequest { start_revision: 7, watch_id: 41, ..all.clone() }).await;
        self.expect("compacted", 2, 4).await;
        let stream = &self.streams[2];
        stream.create(WatchCreateRequest { watch_id: 40, ..all.clone() }).await;
        stream.cancel(40).await;
        stream.create(WatchCreateRequest { watch_id: 40, ..all.clone() }).await;
        self.expect("the name of a compacted watcher", 2, 3).await;
        self.compact(9).await;
        self.put("x", "3").await;
        self.expect("synced watchers survive compaction", 2, 4).await;
        let previous = WatchCreateRequest { start_revision: 9, prev_kv: true, ..watch("x") };
        self.open(previous).await;
        self.expect("a compacted previous value", 3, 2).await;
    }

    async fn progress(&mut self) {
        self.open(WatchCreateRequest { progress_notify: true, ..watch("p") }).await;
        self.expect("created for progress", 4, 1).await;
        self.streams[4].ask_progress().await;
        self.expect("progress", 4, 1).await;
        self.put("q", "1").await;
        self.streams[4].ask_progress().await;
        self.expect("progress of others' writes", 4, 1).await;
        self.put("p", "1").await;
        self.expect("an event", 4, 1).await;
        self.streams[4].ask_progress().await;
        self.expect("progress behind it", 4, 1).await;
        self.streams[4].cancel(0).await;
        self.streams[4].ask_progress().await;
        self.expect("no watcher, no progress", 4, 1).await;
        // A client that has closed its side still listens.
        self.streams[4].create(watch("p")).await;
        self.expect("created again", 4, 1).await;
        self.streams[4].close_requests();
        self.put("p", "2").await;
        self.expect("half closed", 4, 1).await;
    }

    async fn large(&mut self) {
        let range = WatchCreateRequest { range_end: "m".into(), ..watch("l") };
        self.open(WatchCreateRequest { prev_kv: true, ..range.clone() }).await;
        let fragments = WatchCreateRequest { prev_kv: true, fragment: true, ..range.clone() };
        self.streams[5].create(fragments).await;
        self.expect("created for large events", 5, 2).await;
        for key in ["l1", "l2", "l3", "l4"] {
            self.put(key, key.repeat(400_000)).await;
            self.expect("large put", 5, 2).await;
        }
        self.delete("l", "m").await;
        self.expect("large delete", 5, 1 + 2).await;
    }
}

/// What etcd 3.7.1 answers to the script. `UPDATE_GOLDEN=1` asks the reference again.
#[test]
fn responses_equal_those_of_etcd() {
    let dir = TempDir::new("watch");
    let twin = Member::alone(dir.path(), "twin");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/watch");
    let reference = programs::reference_etcd();
    // Older ones have other rules for IDs in use and for progress.
    if programs::etcd_version(&reference) >= (Version { major: 3, minor: 7 }) {
        let (_server, url) = start(&reference, &twin, &dir, "reference");
        let answers = runtime().block_on(answers(&url));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &answers).expect("the golden file can be written");
        }
        assert_eq!(answers, read(&golden), "the golden file is not what etcd answers");
    }
    let (_server, url) = start(&programs::subject_etcd(), &twin, &dir, "subject");
    let answers = runtime().block_on(answers(&url));
    assert_eq!(answers, read(&golden));
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// What a server answers to the script, as text.
async fn answers(url: &str) -> String {
    let mut side = Side::new(url);
    side.script().await;
    let steps = side.seen.iter().map(|(step, responses)| {
        let responses: String = responses.iter().map(show).collect();
        format!("{step}\n{responses}\n")
    });
    steps.collect()
}

fn show(response: &WatchResponse) -> String {
    let header = response.header.as_ref().expect("a header");
    assert!(header.cluster_id != 0 && header.member_id != 0 && header.raft_term == 2);
    let mut line = format!("  {} rev={}", response.watch_id, header.revision);
    let flags = [
        ("created", response.created),
        ("canceled", response.canceled),
        ("fragment", response.fragment),
    ];
    for (name, _) in flags.iter().filter(|(_, set)| *set) {
        line += &format!(" {name}");
    }
    if response.compact_revision != 0 {
        line += &format!(" compacted={}", response.compact_revision);
    }
    if !response.cancel_reason.is_empty() {
        line += &format!(": {}", response.cancel_reason);
    }
    line.push('\n');
    for event in &response.events {
        let pair = event.kv.as_ref().map(show_pair).expect("an event has a key");
        line += &format!("    {:?} {pair}", event.r#type());
        if let Some(previous) = &event.prev_kv {
            line += &format!(" was {}", show_pair(previous));
        }
        line.push('\n');
    }
    line
}

fn show_pair(pair: &KeyValue) -> String {
    let key = String::from_utf8_lossy(&pair.key);
    let value = match String::from_utf8_lossy(&pair.value) {
        text if text.len() < 20 => text.into_owned(),
        text => format!("{}..({} bytes)", &text[..8], text.len()),
    };
    let (create, modified) = (pair.create_revision, pair.mod_revision);
    format!("{key}={value} create={create} mod={modified} version={}", pair.version)
}

fn subject(label: &str, settings: &[(&'static str, String)]) -> (TempDir, Server, String) {
    let dir = TempDir::new(label);
    let mut twin = Member::alone(dir.path(), "twin");
    twin.settings = settings.to_vec();
    let (server, url) = start(&programs::subject_etcd(), &twin, &dir, "subject");
    (dir, server, url)
}

/// Progress is due at an interval, but not for a watcher that was sent an event in it.
#[test]
fn idle_watchers_are_notified_of_progress() {
    let settings = [("watch-progress-notify-interval", "300000000".to_owned())];
    let (_dir, _server, url) = subject("watch-progress", &settings);
    runtime().block_on(async {
        let mut side = Side::new(&url);
        side.put("other", "1").await;
        let request = WatchCreateRequest { progress_notify: true, ..watch("a") };
        let mut idle = WatchStream::open(channel(&url), request).await.expect("a stream");
        let mut silent = WatchStream::open(channel(&url), watch("a")).await.expect("a stream");
        for stream in [&mut idle, &mut silent] {
            let created = stream.next(SOON).await.expect("a response").expect("in time");
            assert!(created.created);
        }
        for _ in 0..3 {
            let notice = idle.next(SOON).await.expect("a response").expect("in time");
            assert_eq!((notice.watch_id, notice.events.len()), (0, 0));
            assert_eq!(notice.header.map(|header| header.revision), Some(2));
        }
        assert_eq!(silent.next(SILENCE).await.expect("the stream goes on"), None);
    });
}

/// A client that never reads costs a bounded amount of memory, slows nobody, and goes on without
/// a gap when it reads again; or it is told that compaction was faster.
#[test]
fn a_client_that_does_not_read_harms_nobody() {
    const STALLED: usize = 20;
    const PUTS: usize = 1_500;
    const VALUE_BYTES: usize = 20_000;
    let (_dir, server, url) = subject("watch-slow", &[]);
    runtime().block_on(async {
        let mut side = Side::new(&url);
        let mut stalled = Vec::new();
        for _ in 0..STALLED {
            let stream = WatchStream::open(channel(&url), watch("a")).await;
            stalled.push(stream.expect("a stream"));
        }
        let mut healthy = WatchStream::open(channel(&url), watch("a")).await.expect("a stream");
        healthy.next(SOON).await.expect("a response").expect("in time");
        let before = resident_bytes(&server);
        for number in 0..PUTS {
            side.put("a", "v".repeat(VALUE_BYTES)).await;
            let response = healthy.next(SOON).await.expect("a response").expect("in time");
            let revisions: Vec<i64> = revisions(&response);
            assert_eq!(revisions, [number as i64 + 2], "the healthy watcher gets it at once");
        }
        // The history itself is kept; each stream may have 512 KiB here and the client's window.
        let grown = resident_bytes(&server) - before;
        let bound = PUTS * VALUE_BYTES * 2 + STALLED * (4 << 20) + (32 << 20);
        assert!(grown < bound, "{grown} bytes more");
        let mut last = stalled.pop().expect("there are many");
        for stream in &mut stalled {
            let mut next = 2;
            while next < PUTS as i64 + 2 {
                let response = stream.next(SOON).await.expect("a response").expect("in time");
                for revision in revisions(&response) {
                    assert_eq!(revision, next, "neither a gap nor a repetition");
                    next += 1;
                }
            }
        }
        side.compact(PUTS as i64).await;
        let (mut next, mut compacted) = (2, 0);
        while compacted == 0 {
            let response = last.next(SOON).await.expect("a response").expect("in time");
            for revision in revisions(&response) {
                assert_eq!(revision, next, "neither a gap nor a repetition");
                next += 1;
            }
            compacted = response.compact_revision;
        }
        assert_eq!(compacted, PUTS as i64);
        assert!(next < compacted);
    });
}

fn revisions(response: &WatchResponse) -> Vec<i64> {
    let pairs = response.events.iter().filter_map(|event| event.kv.as_ref());
    pairs.map(|pair| pair.mod_revision).collect()
}

fn resident_bytes(server: &Server) -> usize {
    let path = format!("/proc/{}/statm", server.pid().as_raw_nonzero());
    let text = std::fs::read_to_string(path).expect("the server runs");
    let pages: usize = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("pages");
    pages * 4096
}

/// Somebody deleted 200,000 keys with one request while 60 clients watched them. The event loop of
/// their thread stood still for 1.35 s, and each stream got its own copy of all events.
#[test]
fn a_large_revision_stops_nobody() {
    let (keys, streams) = if programs::slow_tests() { (200_000, 60) } else { (20_000, 20) };
    let (_dir, server, url) = subject("watch-large", &[]);
    runtime().block_on(async {
        let mut filling = Side::new(&url);
        for first in (0..keys).step_by(100) {
            let names: Vec<String> = (first..first + 100).map(|key| format!("k{key:08}")).collect();
            let puts: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
            filling.txn(&puts).await;
        }
        let everything = || WatchCreateRequest { range_end: "l".into(), ..watch("k") };
        let mut watching = Vec::new();
        for _ in 0..streams {
            let stream = WatchStream::open(channel(&url), everything()).await;
            let mut stream = stream.expect("a stream");
            stream.next(SOON).await.expect("a response").expect("in time");
            watching.push(stream);
        }
        let before = resident_bytes(&server);
        // On a thread of its own: what the clients below take must not look like the server's time.
        let url = url.clone();
        let putting = std::thread::spawn(move || {
            runtime().block_on(async {
                let mut side = Side::new(&url);
                let mut longest = Duration::ZERO;
                side.delete("k", "l").await;
                for _ in 0..200 {
                    let began = std::time::Instant::now();
                    side.put("other", "v").await;
                    longest = longest.max(began.elapsed());
                }
                longest
            })
        });
        let longest = putting.join().expect("no panic");
        let grown = resident_bytes(&server).saturating_sub(before) >> 20;
        println!("{keys} keys, {streams} streams: longest put {longest:?}, {grown} MiB more");
        for stream in &mut watching {
            let response = stream.next(SOON).await.expect("a response").expect("in time");
            assert_eq!(response.events.len(), keys, "a revision comes in one response");
        }
    });
}

/// A stream that requires a leader ends when there is none for three election timeouts; another
/// one goes on.
#[test]
fn streams_that_require_a_leader_end_without_one() {
    let mut cluster = Cluster::start(&programs::subject_etcd(), 3, "watch-leader");
    let url = cluster.members[0].client_url.clone();
    runtime().block_on(async {
        let headers = [("hasleader", "true")];
        let strict = WatchStream::open_with(channel(&url), watch("a"), &headers).await;
        let (mut strict, mut patient) = (
            strict.expect("there is a leader"),
            WatchStream::open(channel(&url), watch("a")).await.expect("a stream"),
        );
        for stream in [&mut strict, &mut patient] {
            assert!(stream.next(SOON).await.expect("a response").expect("in time").created);
        }
        cluster.kill(1);
        cluster.kill(2);
        let end = strict.next(SOON).await.expect_err("the leader is lost");
        assert_eq!((end.code(), end.message()), (Code::Unavailable, "etcdserver: no leader"));
        assert_eq!(patient.next(SILENCE).await.expect("the stream goes on"), None);
        let refused = WatchStream::open_with(channel(&url), watch("a"), &headers).await;
        let refused = refused.expect_err("there is no leader");
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::Unavailable, "etcdserver: no leader")
        );
    });
}

/// A member that stops says so to its watchers, and does not wait for them.
#[test]
fn streams_end_when_the_member_stops() {
    let (_dir, mut server, url) = subject("watch-stop", &[]);
    runtime().block_on(async {
        let mut stream = WatchStream::open(channel(&url), watch("a")).await.expect("a stream");
        assert!(stream.next(SOON).await.expect("a response").expect("in time").created);
        let stopped = tokio::task::spawn_blocking(move || server.terminate(SOON));
        let end = stream.next(SOON).await.expect_err("the member stops");
        assert_eq!((end.code(), end.message()), (Code::Unavailable, "etcdserver: server stopped"));
        stopped.await.expect("no panic").expect("the member ends in time");
    });
}
