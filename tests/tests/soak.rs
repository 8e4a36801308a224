//! Everything at once, under a bound of memory: clients that do not read, do not finish, ask for all
//! there is, and write as fast as they can, and one that only wants its puts to be acknowledged.
//!
//! Each load was a way to make a member take gigabytes, and together they must not either. In CI this
//! takes seconds. By hand:
//!
//! ```text
//! QUOIN_SOAK_S=600 QUOIN_SOAK_VALUES=64 cargo test -p quoin-tests --test soak -- --nocapture
//! QUOIN_SOAK_LOADS=txns,writes ...       only these
//! QUOIN_SOAK_MIB=4096 ...                another bound
//! ```
//!
//! How long the puts took is printed and not judged: the machine has other things to do.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use prost::Message;
use quoin_api::etcdserverpb::request_op::Request as Operation;
use quoin_api::etcdserverpb::watch_request::RequestUnion;
use quoin_api::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    WatchCreateRequest, WatchRequest,
};
use quoin_tests::cluster::Member;
use quoin_tests::frames::{DATA, END_STREAM, Frame, RawConnection, UnfinishedCalls, WINDOW_UPDATE};
use quoin_tests::server::Server;
use quoin_tests::temp_dir::TempDir;
use quoin_tests::watch::WatchStream;
use quoin_tests::{programs, rpc};

/// How long the loads go on in CI.
const SHORT: Duration = Duration::from_secs(8);
/// MiB that the member may have resident.
const MEMORY_MIB: u64 = 2048;
/// How long a call of a client that behaves may take.
const PATIENCE: Duration = Duration::from_secs(60);

const SIGTERM: i32 = 15;
/// What is there from the beginning: so many values in CI, of so many bytes.
const VALUES: u64 = 16;
const VALUE_BYTES: usize = 1 << 20;
const SLOW_READERS: usize = 100;
/// Bytes that a slow reader takes at once, and how long it waits then.
const SLOW_BYTES: u32 = 16 << 10;
const SLOW_PAUSE: Duration = Duration::from_millis(200);
const WATCHERS: usize = 800;
const SILENT_WATCHERS: usize = 200;
const TXN_RANGES: usize = 12;
const READ_RANGES: usize = 25;
/// How many clients ask for everything at once, and how long each looks at what comes.
const ASKING: usize = 4;
const ASKING_PAUSE: Duration = Duration::from_millis(500);
const UNFINISHED: usize = 300;
const UNFINISHED_BYTES: usize = 1_400_000;
const WRITERS: usize = 8;
const WRITTEN_BYTES: usize = 256 << 10;
const WRITTEN_BYTES_PER_S: u64 = 290_000_000;
/// Keys that one request deletes.
const DELETED: usize = 10_000;

/// Begins a load, which goes on until the soak is over.
type Load = fn(&Arc<Soak>);

const LOADS: [(&str, Load); 7] = [
    ("readers", slow_readers),
    ("watchers", watchers),
    ("txns", write_txns),
    ("reads", readonly_txns),
    ("unfinished", unfinished),
    ("writes", writes),
    ("deletes", deletes),
];

/// What all loads share.
struct Soak {
    url: String,
    is_over: AtomicBool,
    written: AtomicU64,
    events: AtomicU64,
}

impl Soak {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }
}

/// Ends the loads, also when the test fails.
struct Over(Arc<Soak>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// A write transaction of 130 bytes took 5.3 GB on the member that answered it; 25 ranges in one
/// transaction 3.9 GB; 300 puts that were not finished 720 MB; writes at 290 MB/s 1.5 GB in four
/// seconds; and each stopped everybody else meanwhile.
#[test]
fn nothing_that_clients_do_takes_all_memory_or_stops_the_others() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let time = number("QUOIN_SOAK_S").map_or(SHORT, Duration::from_secs);
    let bound = number("QUOIN_SOAK_MIB").unwrap_or(MEMORY_MIB);
    let chosen = std::env::var("QUOIN_SOAK_LOADS").ok();
    let chosen: Option<BTreeSet<&str>> = chosen.as_deref().map(|text| text.split(',').collect());

    let dir = TempDir::new("soak");
    let mut member = Member::alone(dir.path(), "soak");
    member.settings.push(("quota-backend-bytes", (64_u64 << 30).to_string()));
    let server = Server::start(&member.launch(&programs::subject_etcd(), dir.path()));
    let mut server = server.unwrap_or_else(|error| panic!("{error}"));
    let soak = Arc::new(Soak {
        url: member.client_url,
        is_over: AtomicBool::new(false),
        written: AtomicU64::new(0),
        events: AtomicU64::new(0),
    });
    let over = Over(Arc::clone(&soak));
    fill(&soak, number("QUOIN_SOAK_VALUES").unwrap_or(VALUES));
    let before = resident_mib(&server, "VmRSS:");
    let wanted = |name: &str| chosen.as_ref().is_none_or(|chosen| chosen.contains(name));
    for (_, load) in LOADS.iter().filter(|(name, _)| wanted(name)) {
        load(&soak);
    }
    let puts = puts_of_another(&soak, time, &mut server, bound);
    drop(over);

    let peak = resident_mib(&server, "VmHWM:");
    let rate = soak.written.load(Ordering::Relaxed) / time.as_secs().max(1) / 1_000_000;
    let events = soak.events.load(Ordering::Relaxed);
    println!("{before} MiB before, {peak} MiB at most; {rate} MB/s written, {events} events read");
    println!("puts of another client: {puts}");
    assert!(server.try_exit().is_none(), "the member has ended");
    assert!(peak < bound, "{peak} MiB");
    let ended = server.terminate(PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    // As etcd it ends by the signal it was sent.
    let signal = ended.signal().unwrap_or(SIGTERM);
    assert_eq!(signal, SIGTERM, "{ended}");
}

/// Puts one small value after the other until the time is over. They must go on being acknowledged.
fn puts_of_another(soak: &Soak, time: Duration, server: &mut Server, bound: u64) -> String {
    let (mut took, mut failed) = (Vec::new(), 0);
    let began = Instant::now();
    runtime().block_on(async {
        let mut kv = rpc::kv(rpc::channel(&soak.url, PATIENCE));
        while began.elapsed() < time || took.is_empty() {
            let put = PutRequest { key: "other".into(), ..PutRequest::default() };
            let at = Instant::now();
            let put = kv.put(put).await;
            took.push(at.elapsed());
            if let Err(status) = put {
                failed += 1;
                assert!(
                    failed * 2 < took.len() + 20,
                    "puts fail: {status} ({failed} of {})",
                    took.len()
                );
            }
            let resident = resident_mib(server, "VmRSS:");
            assert!(resident < bound, "{resident} MiB after {:?}", began.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    took.sort_unstable();
    let at = |part: usize| took[(took.len() - 1) * part / 1000];
    format!(
        "{} ({failed} refused), median {:?}, p99 {:?}, longest {:?}",
        took.len(),
        at(500),
        at(990),
        at(1000)
    )
}

fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime of one thread")
}

/// A line of `/proc/PID/status`, in MiB; 0 when the process is gone.
fn resident_mib(server: &Server, name: &str) -> u64 {
    let path = format!("/proc/{}/status", server.pid().as_raw_nonzero());
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}

fn fill(soak: &Soak, values: u64) {
    runtime().block_on(async {
        let mut kv = rpc::kv(rpc::channel(&soak.url, PATIENCE));
        for number in 0..values {
            let (key, value) = (format!("value{number}").into(), vec![b'v'; VALUE_BYTES].into());
            let put = PutRequest { key, value, ..PutRequest::default() };
            kv.put(put).await.expect("nobody else is there");
        }
    });
}

fn everything() -> RangeRequest {
    let range_end = b"\0".as_slice().into();
    RangeRequest { key: b"\0".as_slice().into(), range_end, ..RangeRequest::default() }
}

/// Sends a whole request on a connection of its own, and reads nothing.
fn ask(url: &str, path: &str, request: &impl Message) -> RawConnection {
    let mut connection = RawConnection::open(url);
    let message = request.encode_to_vec();
    let length = u32::try_from(message.len()).expect("a small request").to_be_bytes();
    let payload = [&[0][..], &length, &message].concat();
    let data = Frame { flags: END_STREAM, ..Frame::new(DATA, 1, &payload) };
    // A member that is too busy may close the connection.
    connection.send(&Frame::call(1, path)).and_then(|()| connection.send(&data)).ok();
    connection
}

/// Repeats something on a thread of its own until the time is over.
fn repeat(soak: &Arc<Soak>, mut work: impl FnMut(&Soak) + Send + 'static) {
    let soak = Arc::clone(soak);
    thread::spawn(move || {
        while soak.goes_on() {
            work(&soak);
        }
    });
}

fn slow_readers(soak: &Arc<Soak>) {
    for _ in 0..SLOW_READERS {
        repeat(soak, |soak| {
            let mut connection = ask(&soak.url, "/etcdserverpb.KV/Range", &everything());
            let mut taken = 0;
            while soak.goes_on() {
                // Silence is as good as a frame: the answer may wait for its turn.
                let Ok(Some(frame)) = connection.next(PATIENCE) else { return };
                taken += u32::try_from(frame.payload.len()).expect("a frame is small");
                if frame.kind == DATA && taken >= SLOW_BYTES {
                    thread::sleep(SLOW_PAUSE);
                    for stream in [0, 1] {
                        let update = Frame::new(WINDOW_UPDATE, stream, &taken.to_be_bytes());
                        connection.send(&update).ok();
                    }
                    taken = 0;
                }
            }
        });
    }
}

fn watchers(soak: &Arc<Soak>) {
    for _ in 0..SILENT_WATCHERS {
        let range_end = b"\0".as_slice().into();
        let key = b"\0".as_slice().into();
        let create = WatchCreateRequest { key, range_end, ..WatchCreateRequest::default() };
        let request_union = Some(RequestUnion::CreateRequest(create));
        let request = WatchRequest { request_union };
        let connection = ask(&soak.url, "/etcdserverpb.Watch/Watch", &request);
        let soak = Arc::clone(soak);
        thread::spawn(move || {
            while soak.goes_on() {
                thread::sleep(SLOW_PAUSE);
            }
            drop(connection);
        });
    }
    let soak = Arc::clone(soak);
    thread::spawn(move || {
        runtime().block_on(async {
            let mut reading = tokio::task::JoinSet::new();
            let channels: Vec<_> = (0..8).map(|_| rpc::streams(&soak.url)).collect();
            for number in 0..WATCHERS {
                // Few of them want the large values: more than that this process could not read.
                let key = match number % 100 {
                    0 => format!("written{}", number / 100).into(),
                    number if number % 2 == 0 => "txn".into(),
                    _ => "other".into(),
                };
                let create = WatchCreateRequest { key, ..WatchCreateRequest::default() };
                let (channel, soak) = (channels[number % 8].clone(), Arc::clone(&soak));
                reading.spawn(async move {
                    let opened = WatchStream::open(channel, create.clone()).await;
                    let Ok(mut stream) = opened else { return };
                    while soak.goes_on() {
                        match stream.next(SLOW_PAUSE).await {
                            Ok(Some(response)) => {
                                let events = response.events.len() as u64;
                                soak.events.fetch_add(events, Ordering::Relaxed);
                                // A compaction was faster.
                                if response.canceled {
                                    stream.create(create.clone()).await;
                                }
                            }
                            Ok(None) => {}
                            Err(_) => return,
                        }
                    }
                });
            }
            while reading.join_next().await.is_some() {}
        });
    });
}

fn txn(ranges: usize, put: Option<PutRequest>) -> TxnRequest {
    let put = put.map(|put| RequestOp { request: Some(Operation::RequestPut(put)) });
    let range = || RequestOp { request: Some(Operation::RequestRange(everything())) };
    let ranges = (0..ranges).map(|_| range());
    TxnRequest { success: put.into_iter().chain(ranges).collect(), ..TxnRequest::default() }
}

fn asking(soak: &Arc<Soak>, request: &TxnRequest) {
    for _ in 0..ASKING {
        let request = request.clone();
        repeat(soak, move |soak| {
            let mut connection = ask(&soak.url, "/etcdserverpb.KV/Txn", &request);
            let until = Instant::now() + ASKING_PAUSE;
            while Instant::now() < until && connection.next(ASKING_PAUSE).is_ok() {}
        });
    }
}

fn write_txns(soak: &Arc<Soak>) {
    let put = PutRequest { key: "txn".into(), ..PutRequest::default() };
    asking(soak, &txn(TXN_RANGES, Some(put)));
}

fn readonly_txns(soak: &Arc<Soak>) {
    asking(soak, &txn(READ_RANGES, None));
}

fn unfinished(soak: &Arc<Soak>) {
    let part = vec![7; UNFINISHED_BYTES];
    let announced = u32::try_from(UNFINISHED_BYTES + 1).expect("a small number");
    repeat(soak, move |soak| {
        let mut calls = UnfinishedCalls::open(&soak.url);
        for _ in 0..UNFINISHED {
            if !soak.goes_on() {
                return;
            }
            calls.begin("/etcdserverpb.KV/Put", announced, &part);
        }
        thread::sleep(Duration::from_secs(1));
    });
}

/// Writes at a rate, or as fast as it goes, and compacts what is not needed.
fn writes(soak: &Arc<Soak>) {
    let began = Instant::now();
    for writer in 0..WRITERS {
        let soak = Arc::clone(soak);
        thread::spawn(move || {
            runtime().block_on(async {
                let mut kv = rpc::kv(rpc::channel(&soak.url, PATIENCE));
                while soak.goes_on() {
                    let due = began.elapsed().as_secs_f64() * WRITTEN_BYTES_PER_S as f64;
                    if soak.written.load(Ordering::Relaxed) as f64 > due {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    let key = format!("written{writer}").into();
                    let value = vec![b'w'; WRITTEN_BYTES].into();
                    let put = PutRequest { key, value, ..PutRequest::default() };
                    if kv.put(put).await.is_ok() {
                        soak.written.fetch_add(WRITTEN_BYTES as u64, Ordering::Relaxed);
                    }
                }
            });
        });
    }
    repeat(soak, |soak| {
        thread::sleep(Duration::from_secs(2));
        runtime().block_on(async {
            let mut kv = rpc::kv(rpc::channel(&soak.url, PATIENCE));
            let range = RangeRequest { key: "other".into(), ..RangeRequest::default() };
            let Ok(range) = kv.range(range).await else { return };
            let revision = range.into_inner().header.map_or(0, |header| header.revision);
            // Another one may have been faster.
            kv.compact(CompactionRequest { revision, physical: false }).await.ok();
        });
    });
}

/// One request after the other that deletes very many keys, which is one revision for all watchers.
fn deletes(soak: &Arc<Soak>) {
    repeat(soak, |soak| {
        runtime().block_on(async {
            let mut kv = rpc::kv(rpc::channel(&soak.url, PATIENCE));
            for first in (0..DELETED).step_by(100) {
                let put = |number: usize| {
                    let key = format!("deleted{number}").into();
                    let put = PutRequest { key, ..PutRequest::default() };
                    RequestOp { request: Some(Operation::RequestPut(put)) }
                };
                let success = (first..first + 100).map(put).collect();
                if !soak.goes_on() {
                    return;
                }
                kv.txn(TxnRequest { success, ..TxnRequest::default() }).await.ok();
            }
            let (key, range_end) = ("deleted".into(), "deletee".into());
            let all = DeleteRangeRequest { key, range_end, ..DeleteRangeRequest::default() };
            kv.delete_range(all).await.ok();
        });
    });
}
