//! What single settings do, each as far as a client, an operator or a disk sees it.
//!
//! The table of all settings and their tests is in `crates/server/src/config/support/tests.rs`.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quoin_api::etcdserverpb::{PutRequest, RangeRequest, WatchCreateRequest};
use quoin_tests::cluster::{Cluster, Member};
use quoin_tests::ctl::Etcdctl;
use quoin_tests::metrics::page;
use quoin_tests::server::Server;
use quoin_tests::temp_dir::TempDir;
use quoin_tests::watch::WatchStream;
use quoin_tests::{programs, rpc};

/// How long something that happens by itself may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// A member of its own with a directory.
struct Alone {
    server: Server,
    member: Member,
    dir: TempDir,
}

impl Alone {
    fn start(program: &Path, settings: &[(&'static str, &str)]) -> Self {
        let dir = TempDir::new("settings");
        let mut member = Member::alone(dir.path(), "m1");
        let owned = settings
            .iter()
            .map(|(key, value)| (*key, value.replace("DIR", &dir.path().display().to_string())));
        member.settings.extend(owned);
        let server = Server::start(&member.launch(program, dir.path()));
        let server = server.unwrap_or_else(|error| panic!("{settings:?}: {error}"));
        Self { server, member, dir }
    }

    fn subject(settings: &[(&'static str, &str)]) -> Self {
        Self::start(&programs::subject_etcd(), settings)
    }

    fn restart(&mut self) {
        self.server.terminate(PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        let launch = self.member.launch(&programs::subject_etcd(), self.dir.path());
        self.server = Server::start(&launch).unwrap_or_else(|error| panic!("{error}"));
    }

    fn ctl(&self) -> Etcdctl {
        let endpoints = [self.member.client_url.clone()];
        Etcdctl::new(&programs::reference_etcdctl(), &endpoints)
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime of one thread")
}

/// The files of a log, oldest first.
fn log_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{dir:?}: {error}"));
    let paths = entries.map(|entry| entry.expect("the directory can be read").path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|it| it == "wal")).collect();
    files.sort();
    files
}

#[test]
fn the_log_lies_where_it_is_told_to() {
    let mut alone = Alone::subject(&[("wal-dir", "DIR/log")]);
    alone.ctl().ok(&["put", "key", "value"]);
    assert!(!log_files(&alone.dir.join("log")).is_empty());
    assert!(!alone.member.data_dir.join("member/wal").exists());
    alone.restart();
    assert_eq!(alone.ctl().ok(&["get", "key", "--print-value-only"]), "value\n");
}

/// The story: `--max-wals=0`, which keeps the log for whoever wants to read it later, was taken, and
/// the files went all the same.
#[test]
fn files_of_the_log_stay_if_all_shall() {
    // A file of the log has 64 MB.
    const PUTS: u32 = 80;
    const PUT_BYTES: usize = 1_000_000;
    for (kept, stays) in [("0", true), ("5", false)] {
        let settings =
            [("max-wals", kept), ("snapshot-count", "10"), ("snapshot-catchup-entries", "1")];
        let mut alone = Alone::subject(&settings);
        let wal = alone.member.data_dir.join("member/wal");
        let first = log_files(&wal).remove(0);
        runtime().block_on(async {
            let mut kv = rpc::kv(rpc::channel(&alone.member.client_url, PATIENCE));
            for number in 0..PUTS {
                let (key, value) = ("key".into(), vec![number as u8; PUT_BYTES].into());
                kv.put(PutRequest { key, value, ..PutRequest::default() }).await.expect("a put");
            }
            // A snapshot behind the second file, after which the first is not needed.
            for _ in 0..PUTS {
                let (key, value) = ("other".into(), "value".into());
                kv.put(PutRequest { key, value, ..PutRequest::default() }).await.expect("a put");
                tokio::time::sleep(PAUSE / 5).await;
            }
        });
        let deadline = Instant::now() + PATIENCE;
        while !stays && first.exists() {
            assert!(Instant::now() < deadline, "{first:?} stays");
            std::thread::sleep(PAUSE);
            alone.ctl().ok(&["put", "other", "value"]);
        }
        alone.restart();
        assert_eq!(first.exists(), stays, "--max-wals={kept}");
        let status = alone.ctl().ok(&["get", "key", "-w", "fields"]);
        assert!(status.contains(&format!("\"Version\" : {PUTS}\n")), "--max-wals={kept}");
    }
}

#[test]
fn requests_are_limited() {
    let settings = [("max-txn-ops", "2"), ("max-request-bytes", "1000")];
    let [reference, subject] =
        [programs::reference_etcd(), programs::subject_etcd()].map(|program| {
            let alone = Alone::start(&program, &settings);
            let ctl = alone.ctl();
            let two = ctl.run_with_input(&["txn"], "\n\nput a 1\nput b 2\n\n\n");
            let three = ctl.run_with_input(&["txn"], "\n\nput a 1\nput b 2\nput c 3\n\n\n");
            let small = ctl.run(&["put", "key", &"v".repeat(900)]);
            let large = ctl.run(&["put", "key", &"v".repeat(1_000)]);
            [two, three, small, large].map(|outcome| {
                let said = outcome.stderr.lines().last().unwrap_or_default().to_owned();
                (outcome.code, said.split(" desc = ").last().map(str::to_owned))
            })
        });
    assert_eq!(reference, subject);
    assert_eq!(subject.map(|(code, _)| code), [0, 1, 0, 1]);
}

#[test]
fn streams_of_a_connection_are_limited() {
    let alone = Alone::subject(&[("max-concurrent-streams", "1")]);
    runtime().block_on(async {
        let url = &alone.member.client_url;
        let channel = rpc::channel(url, Duration::from_secs(2));
        let everything = WatchCreateRequest { key: "key".into(), ..WatchCreateRequest::default() };
        let stream = WatchStream::open(channel.clone(), everything).await.expect("the first");
        let range = RangeRequest { key: "key".into(), ..RangeRequest::default() };
        rpc::kv(channel.clone()).range(range.clone()).await.expect_err("there is no room");
        rpc::kv(rpc::channel(url, PATIENCE))
            .range(range.clone())
            .await
            .expect("another connection");
        drop(stream);
        rpc::kv(channel).range(range).await.expect("there is room again");
    });
}

/// The connection speaks HTTP/2 and never answers.
#[test]
fn silent_connections_are_pinged() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const EMPTY_SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const PING: u8 = 6;
    let settings =
        [("grpc-keepalive-interval", "1000000000"), ("grpc-keepalive-timeout", "1000000000")];
    let alone = Alone::subject(&settings);
    let host = alone.member.client_url.strip_prefix("http://").expect("a plain URL");
    let mut stream = TcpStream::connect(host).expect("the member listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
    stream.write_all(PREFACE).and_then(|()| stream.write_all(&EMPTY_SETTINGS)).expect("a packet");
    let began = Instant::now();
    let mut pinged_after = None;
    loop {
        let mut head = [0; 9];
        match stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("still connected"),
            Err(_) => break,
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).expect("a frame is whole");
        if head[3] == PING {
            pinged_after = Some(began.elapsed());
        }
    }
    let pinged_after = pinged_after.expect("a ping before the end");
    assert!(pinged_after >= Duration::from_millis(900), "{pinged_after:?}");
}

/// A cluster of two, the position of its leader, and the other one.
fn pair(settings: &[(&'static str, &str)]) -> (Cluster, usize, usize) {
    let mut cluster = Cluster::start_with(&programs::subject_etcd(), 2, "pair", settings);
    let is_leader = cluster.server(1).log_text().contains("became leader at term");
    let leader = usize::from(is_leader);
    (cluster, leader, 1 - leader)
}

#[test]
fn heartbeats_come_at_their_interval() {
    let sent = |interval: &str| {
        let (cluster, leader, _) =
            pair(&[("heartbeat-interval", interval), ("election-timeout", "5000")]);
        let bytes = || {
            let page = page(&cluster.members[leader].client_url);
            page.value("etcd_network_peer_sent_bytes_total", &[])
        };
        let before = bytes();
        std::thread::sleep(Duration::from_secs(2));
        bytes() - before
    };
    let (often, seldom) = (sent("20"), sent("1000"));
    assert!(often > 2.0 * seldom, "{often} bytes against {seldom}");
}

#[test]
fn a_lost_quorum_is_noticed_after_the_timeout() {
    const STEPPED_DOWN: &str = "stepped down to follower since quorum is not active";
    let (mut cluster, leader, follower) = pair(&[("election-timeout", "4000")]);
    cluster.kill(follower);
    std::thread::sleep(Duration::from_secs(1));
    assert!(!cluster.server(leader).log_text().contains(STEPPED_DOWN), "a second is too early");
    let waited = cluster.server(leader).wait_log(STEPPED_DOWN, PATIENCE);
    waited.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_member_without_a_quorum_asks_before_it_campaigns() {
    for (pre_vote, becomes, never) in [
        ("true", "became pre-candidate", "became candidate"),
        ("false", "became candidate", "pre-candidate"),
    ] {
        let (mut cluster, leader, follower) = pair(&[("pre-vote", pre_vote)]);
        let before = cluster.server(follower).log_text().len();
        cluster.kill(leader);
        let deadline = Instant::now() + PATIENCE;
        let mut said = String::new();
        while !said.contains(becomes) {
            assert!(Instant::now() < deadline, "never {becomes}: {said}");
            std::thread::sleep(PAUSE);
            said = cluster.server(follower).log_text().split_off(before);
        }
        assert!(!said.contains(never), "{said}");
    }
}

#[test]
fn the_first_election_need_not_come_early() {
    const ELECTED: &str = "elected leader";
    let settings = [("initial-election-tick-advance", "false"), ("election-timeout", "4000")];
    let (mut cluster, one, other) = pair(&settings);
    cluster.kill(one);
    cluster.kill(other);
    cluster.spawn(one);
    cluster.spawn(other);
    std::thread::sleep(Duration::from_secs(2));
    assert!(!cluster.server(one).log_text().contains(ELECTED), "before one timeout");
    cluster.wait_ready(one, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let log = cluster.server(one).log_text();
    assert!(log.contains("skipping initial election tick advance"), "{log}");
}

/// The head of the answer to a request of a page from this origin.
fn answer_to(origin: &str, url: &str, path: &str) -> String {
    let host = url.strip_prefix("http://").expect("a plain URL");
    let mut stream = TcpStream::connect(host).expect("the member listens");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("a request of one packet");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer of text");
    answer.to_ascii_lowercase()
}

#[test]
fn pages_of_other_origins_are_kept_out() {
    let alone = Alone::subject(&[("cors", "http://friend.example:8080")]);
    let allowed = |origin: &str| {
        let answer = answer_to(origin, &alone.member.client_url, "/v2/keys/");
        answer.contains(&format!("access-control-allow-origin: {origin}\r\n"))
    };
    assert!(allowed("http://friend.example:8080"));
    assert!(!allowed("http://other.example:8080"));
}

#[test]
fn the_v2_api_can_be_turned_off() {
    for (enabled, code) in [("true", 200), ("false", 404)] {
        let alone = Alone::subject(&[("enable-v2", enabled)]);
        assert_eq!(rpc::http_get(&alone.member.client_url, "/v2/keys/").0, code, "{enabled}");
    }
}

#[test]
fn the_log_has_the_form_and_the_place_that_is_asked_for() {
    let dir = TempDir::new("settings");
    let mut member = Member::alone(dir.path(), "m1");
    let file = dir.join("etcd.log");
    let outputs = format!("[\"{}\", stderr]", file.display());
    for (key, value) in
        [("log-format", "console"), ("log-level", "warn"), ("log-outputs", &outputs)]
    {
        member.settings.push((key, value.to_owned()));
    }
    // Below the level there is no line by which its start could be known.
    let launch = member.launch(&programs::subject_etcd(), dir.path()).args(&[]);
    let mut server = Server::spawn(&launch);
    let deadline = Instant::now() + PATIENCE;
    let mut text = String::new();
    while !text.contains("\twarn\t") {
        assert!(Instant::now() < deadline, "no warning in {text:?}");
        std::thread::sleep(PAUSE);
        text = fs::read_to_string(&file).unwrap_or_default();
    }
    assert!(!text.contains("\tinfo\t") && !text.contains("{\"level\""), "{text}");
    server.kill();
    assert!(server.log_text().contains("\twarn\t"), "standard error has it, too");
}

#[test]
fn reads_that_take_longer_than_told_are_logged() {
    const SLOW: &str = "apply request took too long";
    for (nanoseconds, is_slow) in [("1", true), ("60000000000", false)] {
        let mut alone = Alone::subject(&[("warning-apply-duration", nanoseconds)]);
        alone.ctl().ok(&["get", "key"]);
        alone.server.terminate(PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(alone.server.log_text().contains(SLOW), is_slow, "{nanoseconds}");
    }
}

/// It ends instead of founding a cluster of its own.
#[test]
fn a_member_without_data_cannot_join_yet() {
    let dir = TempDir::new("settings");
    let member = Member::alone(dir.path(), "m1");
    let launch = member.launch(&programs::subject_etcd(), dir.path());
    let text = member.yaml().replace("cluster-state: new", "cluster-state: existing");
    fs::write(&launch.args[1], text).expect("the file is ours");
    let error = Server::start(&launch).expect_err("a refusal");
    assert!(error.contains("--initial-cluster-state=existing"), "{error}");
}
