//! The same random requests to a real etcd and to the subject: equal replies, errors, revisions,
//! and the same hash of the whole history now and then; and the same events to watchers from random
//! revisions.
//!
//! `DIFFERENTIAL_REQUESTS` sets how many requests are sent.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use quoin_api::etcdserverpb::{HashKvRequest, WatchCreateRequest};
use quoin_tests::cluster::Member;
use quoin_tests::compare::{Reply, Request, Session, Verdict, judge};
use quoin_tests::generate::Generator;
use quoin_tests::programs::{self, Version};
use quoin_tests::rng::Rng;
use quoin_tests::rpc;
use quoin_tests::server::Server;
use quoin_tests::temp_dir::TempDir;
use quoin_tests::watching::{self, Watching};

/// Requests between two comparisons of the hash.
const HASH_INTERVAL: u64 = 1_000;
/// Watchers opened between two of these comparisons, with everything from now or before.
const WATCHERS: usize = 8;
/// Those that begin in the future.
const WATCHERS_AHEAD: i64 = 2;
/// Requests shown before the one that differed.
const SHOWN: usize = 5;
/// The first version, of those compared with, that speaks of progress only when its watchers know
/// all of the past.
const PROGRESS_IN_ORDER: Version = Version { major: 3, minor: 5 };
/// How long an older one may still read the past, which it does every 100 ms. A compaction would
/// end a watcher that it has not read for, also one that there is nothing to tell.
const READS_PAST: Duration = Duration::from_millis(500);

/// How long a change may take until etcd has committed it to its database, which it does every
/// 100 ms.
const COMMITS: Duration = Duration::from_millis(500);

/// Both servers are given the same name and advertise the same peer URL, so that even the cluster
/// and member IDs in the headers are equal.
#[test]
fn random_requests_get_equal_replies() {
    let requests = number_of_requests();
    let seed = Rng::seed_of_run("differential");
    let reference = programs::reference_etcd();
    let version = programs::etcd_version(&reference);
    let dir = TempDir::new("differential");
    let member = Member::alone(dir.path(), "twin");
    let (_reference, reference) = start(&reference, &member, &dir, "reference", &[]);
    // Its checkpoints come often, and all values that they have put into files are read from there.
    let files = ["--snapshot-count=100", "--memory-budget-bytes=0"];
    let subject = programs::subject_etcd();
    let (mut process, subject) = start(&subject, &member, &dir, "subject", &files);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime of one thread");
    let started = Instant::now();
    let mut run = runtime.block_on(async {
        let reference = connect(&reference);
        let subject = connect(&subject);
        Run::new(seed, version, reference, subject)
    });
    let outcome = runtime.block_on(run.requests(requests));
    println!("{requests} requests in {:.1} s", started.elapsed().as_secs_f64());
    println!("{} events told to watchers", run.events);
    for (text, count) in &run.refused {
        println!("{count} refused: {text}");
    }
    for (reason, count) in &run.explained {
        println!("{count} answers differ as expected: {reason}");
    }
    if let Err(difference) = outcome {
        let ended = process.try_exit();
        panic!("QUOIN_SEED={seed}\n{difference}\nsubject ended: {ended:?}");
    }
    let refused: u64 = run.refused.values().sum();
    assert!(refused < requests / 2, "mostly bad requests say little");
    assert!(run.events > 0 || requests < HASH_INTERVAL, "nobody was told anything");
}

fn number_of_requests() -> u64 {
    match std::env::var("DIFFERENTIAL_REQUESTS") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("DIFFERENTIAL_REQUESTS={text:?}")),
        Err(_) => 5_000,
    }
}

fn start(
    program: &Path,
    twin: &Member,
    dir: &TempDir,
    role: &str,
    args: &[&str],
) -> (Server, String) {
    let home = dir.join(role);
    std::fs::create_dir(&home).expect("a new directory");
    let own = Member::alone(&home, "twin");
    let member = Member {
        advertised_peer_url: twin.advertised_peer_url.clone(),
        initial_cluster: twin.initial_cluster.clone(),
        ..own
    };
    let server = Server::start(&member.launch(program, &home).args(args));
    (server.unwrap_or_else(|error| panic!("{role}: {error}")), member.client_url)
}

fn connect(url: &str) -> Session {
    let channel = rpc::channel(url, Duration::from_secs(30));
    Session::new(url, channel)
}

struct Run {
    generator: Generator,
    version: Version,
    reference: Session,
    subject: Session,
    explained: BTreeMap<&'static str, u64>,
    refused: BTreeMap<String, u64>,
    recent: VecDeque<String>,
    /// Events that watchers were told.
    events: usize,
}

/// The same watchers on both servers.
struct Watchers {
    reference: Watching,
    subject: Watching,
}

impl Watchers {
    async fn create(&mut self, request: WatchCreateRequest) -> Result<(), String> {
        let shown = format!("{request:?}");
        let both =
            tokio::join!(self.reference.create(request.clone()), self.subject.create(request));
        both.0.map_err(|text| format!("reference: {text}: {shown}"))?;
        both.1.map_err(|text| format!("subject: {text}: {shown}"))
    }

    async fn catch_up(mut self, compacted: bool) -> Result<Self, String> {
        let both = tokio::join!(self.reference.catch_up(), self.subject.catch_up());
        both.0.map_err(|text| format!("reference: {text}"))?;
        both.1.map_err(|text| format!("subject: {text}"))?;
        self.reference.wait_for(self.subject.said()).await?;
        self.subject.wait_for(self.reference.said()).await?;
        watching::compare(self.reference.told(), self.subject.told(), compacted)?;
        Ok(self)
    }

    fn count(&self) -> usize {
        self.subject.count()
    }
}

impl Run {
    fn new(seed: u64, version: Version, reference: Session, subject: Session) -> Self {
        Self {
            generator: Generator::new(seed, version),
            version,
            reference,
            subject,
            explained: BTreeMap::new(),
            refused: BTreeMap::new(),
            recent: VecDeque::new(),
            events: 0,
        }
    }

    async fn requests(&mut self, count: u64) -> Result<(), String> {
        let mut watchers: Option<Watchers> = None;
        for number in 1..=count {
            if number % HASH_INTERVAL == HASH_INTERVAL / 2 {
                let opened = self.open_watchers().await;
                let opened = opened.map_err(|text| format!("watchers at {number}: {text}"))?;
                watchers = Some(opened);
            }
            let request = self.generator.request();
            self.one(&request).await.map_err(|text| format!("request {number}: {text}"))?;
            if number % HASH_INTERVAL == 0 || number == count {
                let request = Request::HashKv(HashKvRequest { revision: 0 });
                self.one(&request).await.map_err(|text| format!("after {number}: {text}"))?;
                if let Some(watchers) = watchers.take() {
                    let events = watchers.catch_up(true).await;
                    self.events +=
                        events.map_err(|text| format!("watchers until {number}: {text}"))?.count();
                }
            }
        }
        Ok(())
    }

    /// Opens watchers on both servers, waits until they know all of the past, and compares it.
    async fn open_watchers(&mut self) -> Result<Watchers, String> {
        let first = self.generator.watch();
        let reference = Watching::open(self.reference.streams.clone(), first.clone()).await?;
        let subject = Watching::open(self.subject.streams.clone(), first).await?;
        let mut watchers = Watchers { reference, subject };
        for _ in 1..WATCHERS {
            watchers.create(self.generator.watch()).await?;
        }
        let mut watchers = watchers.catch_up(false).await?;
        if self.version < PROGRESS_IN_ORDER {
            tokio::time::sleep(READS_PAST).await;
        }
        for ahead in 1..=WATCHERS_AHEAD {
            let start_revision = self.generator.revision() + 3 * ahead;
            let request = WatchCreateRequest { start_revision, ..self.generator.watch() };
            watchers.create(request).await?;
        }
        Ok(watchers)
    }

    async fn one(&mut self, request: &Request) -> Result<(), String> {
        let calls = tokio::join!(self.reference.call(request), self.subject.call(request));
        let (mut reference, mut subject) = calls;
        // What a compaction removed is hashed by etcd until it has committed that, if no key is left
        // that would make it leave out the rest.
        if matches!(request, Request::HashKv(_)) && reference != subject {
            tokio::time::sleep(COMMITS).await;
            (reference, subject) =
                tokio::join!(self.reference.call(request), self.subject.call(request));
        }
        let line: String = format!("{request:?} -> {reference:?}").chars().take(2000).collect();
        match judge(self.version, request, &reference, &subject) {
            Verdict::Equal => {}
            Verdict::Explained(known) => *self.explained.entry(known.reason).or_default() += 1,
            Verdict::Different => {
                let recent = Vec::from(std::mem::take(&mut self.recent)).join("\n");
                return Err(format!(
                    "the answers differ\nbefore:\n{recent}\nrequest: {request:?}\n\
                     reference: {reference:?}\nsubject:   {subject:?}"
                ));
            }
        }
        if let Reply::Error(_, text) = &reference {
            *self.refused.entry(text.clone()).or_default() += 1;
        }
        self.generator.learn(request, &reference);
        self.recent.push_back(line);
        if self.recent.len() > SHOWN {
            self.recent.pop_front();
        }
        Ok(())
    }
}
