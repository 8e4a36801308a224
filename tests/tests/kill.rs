//! Members are killed at random while clients write, read, delete and compare: no acknowledged
//! write is lost and no read is wrong, which a checker over the recorded history says.
//!
//! 5 cycles, 100 with `SLOW_TESTS=1`; `KILL_CYCLES` sets any other number.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quoin_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quoin_api::etcdserverpb::request_op::Request as Op;
use quoin_api::etcdserverpb::response_op::Response as OpReply;
use quoin_api::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, ResponseHeader, TxnRequest,
};
use quoin_tests::checker::check;
use quoin_tests::cluster::Cluster;
use quoin_tests::history::{Call, Entry, Nanos, Operation, Outcome, Seen, State, read_all};
use quoin_tests::programs;
use quoin_tests::rng::Rng;
use quoin_tests::rpc::{self, Kv};
use tonic::Status;

const MEMBERS: usize = 3;
const CLIENTS: usize = 8;
const KEYS: [&str; 5] = ["k0", "k1", "k2", "k3", "k4"];
const PREFIX: &str = "k";
/// A client gives up on an answer after this long.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// A member that was killed must serve again within this time, on a busy machine too.
const RESTART_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause of a client between calls, and after a call that failed.
const PACE: Duration = Duration::from_millis(5);
const PACE_AFTER_ERROR: Duration = Duration::from_millis(50);

#[test]
fn no_acknowledged_write_is_lost_and_no_read_is_wrong() {
    let cycles = number_of_cycles();
    let seed = Rng::seed_of_run("kill");
    let mut rng = Rng::new(seed);
    let mut cluster = Cluster::start(&programs::subject_etcd(), MEMBERS, "kill");
    let load = Load::start(&cluster.endpoints(), &mut rng);
    let mut slowest = Duration::ZERO;
    for cycle in 1..=cycles {
        slowest = slowest.max(kill_and_restart(&mut cluster, &mut rng, cycle));
        if cycle % 10 == 0 {
            println!("{cycle} of {cycles} cycles, slowest restart {slowest:?}");
        }
    }
    let operations = load.stop();
    println!("{} operations, now the history of every member is read", operations.len());
    let runtime = runtime();
    let states = runtime.block_on(read_everywhere(&cluster.endpoints()));
    let states = states.unwrap_or_else(|text| panic!("QUOIN_SEED={seed}\n{text}"));
    match check(&operations, &states) {
        Ok(summary) => {
            println!("{cycles} cycles, slowest restart {slowest:?}, {summary:?}");
            assert!(summary.answered > cycles * 20, "too little load to say anything");
        }
        Err(violations) => panic!("QUOIN_SEED={seed}\n{}", violations.join("\n")),
    }
}

fn number_of_cycles() -> usize {
    match std::env::var("KILL_CYCLES") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("KILL_CYCLES={text:?}")),
        Err(_) if programs::slow_tests() => 100,
        Err(_) => 5,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime of one thread")
}

/// Kills one member, sometimes two or all, and brings them back. Returns how long that took.
fn kill_and_restart(cluster: &mut Cluster, rng: &mut Rng, cycle: usize) -> Duration {
    pause(rng, 200, 1500);
    let first = usize::try_from(rng.below(3)).expect("small");
    let count = match rng.below(10) {
        0..7 => 1,
        7 | 8 => 2,
        _ => MEMBERS,
    };
    let victims: Vec<usize> = (0..count).map(|step| (first + step) % MEMBERS).collect();
    for &victim in &victims {
        cluster.kill(victim);
    }
    pause(rng, 0, 1500);
    let started = Instant::now();
    for &victim in &victims {
        cluster.spawn(victim);
    }
    for &victim in &victims {
        let ready = cluster.wait_ready(victim, RESTART_TIMEOUT);
        ready.unwrap_or_else(|text| panic!("cycle {cycle}, {victims:?} killed: {text}"));
    }
    started.elapsed()
}

fn pause(rng: &mut Rng, low: i64, high: i64) {
    let millis = u64::try_from(rng.between(low, high)).expect("not negative");
    std::thread::sleep(Duration::from_millis(millis));
}

/// Reads the whole history through each member; they must agree.
async fn read_everywhere(endpoints: &[String]) -> Result<Vec<State>, String> {
    let mut histories = Vec::new();
    for url in endpoints {
        let mut kv = rpc::kv(rpc::channel(url, Duration::from_secs(30)));
        histories.push(read_all(&mut kv, PREFIX).await.map_err(|text| format!("{url}: {text}"))?);
    }
    let mut histories = histories.into_iter().zip(endpoints);
    let (states, first) = histories.next().ok_or("no members")?;
    for (other, url) in histories {
        let length = states.len().max(other.len());
        let differ = (0..length).find(|&position| states.get(position) != other.get(position));
        if let Some(position) = differ {
            let (one, two) = (states.get(position), other.get(position));
            let revision = position + 1;
            return Err(format!("revision {revision}: {first} has {one:?}, {url} has {two:?}"));
        }
    }
    Ok(states)
}

/// The clients, on a thread of their own.
struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Operation>>,
}

impl Load {
    fn start(endpoints: &[String], rng: &mut Rng) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let epoch = Instant::now();
        let parts = (0..CLIENTS).map(|number| {
            let endpoints = endpoints.to_vec();
            (number, rng.fork(), endpoints, Arc::clone(&stop))
        });
        let parts: Vec<_> = parts.collect();
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let clients = parts.into_iter().map(|(number, rng, endpoints, stop)| {
                    tokio::spawn(Client::new(number, rng, &endpoints, epoch).run(stop))
                });
                let clients: Vec<_> = clients.collect();
                let mut operations = Vec::new();
                for client in clients {
                    operations.extend(client.await.expect("a client does not panic"));
                }
                operations
            })
        });
        Self { stop, thread }
    }

    fn stop(self) -> Vec<Operation> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the clients do not panic")
    }
}

struct Client {
    number: usize,
    rng: Rng,
    members: Vec<Kv>,
    /// The member it talks to.
    member: usize,
    epoch: Instant,
    written: u64,
    /// The revision at which it last saw each key modified, for compares that often hold.
    modified: [i64; KEYS.len()],
}

impl Client {
    fn new(number: usize, rng: Rng, endpoints: &[String], epoch: Instant) -> Self {
        let connect = |url: &String| rpc::kv(rpc::channel(url, CALL_TIMEOUT));
        let members = endpoints.iter().map(connect).collect();
        let member = number % endpoints.len();
        Self { number, rng, members, member, epoch, written: 0, modified: [0; KEYS.len()] }
    }

    async fn run(mut self, stop: Arc<AtomicBool>) -> Vec<Operation> {
        let mut operations = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let operation = self.one().await;
            let pace = match operation.outcome {
                Outcome::Done { .. } => PACE,
                Outcome::Unknown => {
                    self.member = (self.member + 1) % self.members.len();
                    PACE_AFTER_ERROR
                }
            };
            operations.push(operation);
            tokio::time::sleep(pace).await;
        }
        operations
    }

    async fn one(&mut self) -> Operation {
        let position = usize::try_from(self.rng.below(KEYS.len() as u64)).expect("small");
        let call = self.next_call(position);
        let called_at = self.now();
        let answer = self.send(&call).await;
        let returned_at = self.now();
        let outcome = match answer {
            Ok((Some(header), seen)) => {
                self.modified[position] = match &seen {
                    Seen::Changed if matches!(call, Call::Delete { .. }) => 0,
                    Seen::Changed => header.revision,
                    Seen::Found(entry) => entry.as_ref().map_or(0, |entry| entry.modified),
                };
                Outcome::Done { returned_at, revision: header.revision, seen }
            }
            Ok((None, _)) | Err(_) => Outcome::Unknown,
        };
        Operation { client: self.number, call, called_at, outcome }
    }

    fn now(&self) -> Nanos {
        u64::try_from(self.epoch.elapsed().as_nanos()).expect("a run is shorter than 500 years")
    }

    fn next_call(&mut self, position: usize) -> Call {
        let key = KEYS[position].to_owned();
        self.written += 1;
        let value = format!("{}-{}", self.number, self.written);
        match self.rng.below(10) {
            0..3 => Call::Put { key, value },
            3..7 => Call::Get { key },
            7 => Call::Delete { key },
            _ => {
                let twin = KEYS[(position + 1) % KEYS.len()].to_owned();
                Call::Swap { key, twin, modified: self.modified[position], value }
            }
        }
    }

    async fn send(&mut self, call: &Call) -> Result<(Option<ResponseHeader>, Seen), Status> {
        let kv = &mut self.members[self.member];
        match call {
            Call::Put { key, value } => {
                let answer = kv.put(put(key, value)).await?.into_inner();
                Ok((answer.header, Seen::Changed))
            }
            Call::Get { key } => {
                let answer = kv.range(get(key)).await?.into_inner();
                Ok((answer.header, Seen::Found(answer.kvs.first().map(Entry::from))))
            }
            Call::Delete { key } => {
                let key = key.clone().into();
                let request = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
                let answer = kv.delete_range(request).await?.into_inner();
                let seen = if answer.deleted > 0 { Seen::Changed } else { Seen::Found(None) };
                Ok((answer.header, seen))
            }
            Call::Swap { key, twin, modified, value } => {
                let request = swap(key, twin, *modified, value);
                let answer = kv.txn(request).await?.into_inner();
                if answer.succeeded {
                    return Ok((answer.header, Seen::Changed));
                }
                let first = answer.responses.into_iter().next().and_then(|op| op.response);
                match first {
                    Some(OpReply::ResponseRange(range)) => {
                        Ok((answer.header, Seen::Found(range.kvs.first().map(Entry::from))))
                    }
                    other => panic!("a read was answered with {other:?}"),
                }
            }
        }
    }
}

fn put(key: &str, value: &str) -> PutRequest {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    PutRequest { key, value, ..PutRequest::default() }
}

fn get(key: &str) -> RangeRequest {
    RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() }
}

fn swap(key: &str, twin: &str, modified: i64, value: &str) -> TxnRequest {
    let op = |request| RequestOp { request: Some(request) };
    let compare = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: key.to_owned().into(),
        target_union: Some(TargetUnion::ModRevision(modified)),
        ..Compare::default()
    };
    TxnRequest {
        compare: vec![compare],
        success: vec![op(Op::RequestPut(put(key, value))), op(Op::RequestPut(put(twin, value)))],
        failure: vec![op(Op::RequestRange(get(key)))],
    }
}
