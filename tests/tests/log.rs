//! What a member says when the other one of two is gone and comes back, in the old log and in JSON.

use std::time::{Duration, Instant};

use quoin_api::etcdserverpb::PutRequest;
use quoin_tests::cluster::Cluster;
use quoin_tests::ctl::Etcdctl;
use quoin_tests::programs;
use quoin_tests::rpc;
use serde_json::Value;

/// A member notices within two election timeouts; a machine that is busy takes longer.
const SOON: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
/// More than the log keeps for a member that is gone.
const WRITES_MISSED: usize = 400;
/// The length of `2020-10-19 20:37:26.303167`.
const TIME_LENGTH: usize = 26;

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime without special wishes")
}

/// A cluster of two, and which of them leads.
struct Pair {
    cluster: Cluster,
    leader: usize,
    ids: [String; 2],
}

impl Pair {
    /// `id_of` finds a member's ID in its log.
    fn start(label: &str, settings: &[(&'static str, &str)], id_of: fn(&str) -> String) -> Self {
        let mut cluster = Cluster::start_with(&programs::subject_etcd(), 2, label, settings);
        let ids = [0, 1].map(|position| id_of(&cluster.server(position).log_text()));
        let leads = |text: &str| text.contains("became leader at term");
        let is_leader = leads(&cluster.server(1).log_text());
        Self { cluster, leader: usize::from(is_leader), ids }
    }

    fn leader_log(&mut self) -> String {
        self.cluster.server(self.leader).log_text()
    }

    /// Waits until the leader's log holds all these texts.
    fn wait(&mut self, texts: &[String]) {
        for text in texts {
            let waited = self.cluster.server(self.leader).wait_log(text, SOON);
            waited.unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// Returns what stands between two texts.
fn between(text: &str, before: &str, after: &str) -> String {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before:?} in\n{text}"));
    let (found, _) = rest.split_once(after).unwrap_or_else(|| panic!("no {after:?} in\n{text}"));
    found.to_owned()
}

/// Checks that the texts stand in the log in this order.
#[track_caller]
fn assert_order(log: &str, texts: &[String]) {
    let mut rest = log;
    for text in texts {
        let (_, after) = rest.split_once(text.as_str()).unwrap_or_else(|| {
            panic!("{text:?} is not there, or not in its place:\n{log}");
        });
        rest = after;
    }
}

/// Checks the form of an old line.
#[track_caller]
fn assert_old_form(line: &str) {
    let (time, rest) = line.split_at_checked(TIME_LENGTH).unwrap_or_else(|| panic!("{line:?}"));
    let form: String = time.chars().map(|it| if it.is_ascii_digit() { '0' } else { it }).collect();
    assert_eq!(form, "0000-00-00 00:00:00.000000", "{line}");
    let mut rest = rest.chars();
    assert_eq!(rest.next(), Some(' '), "{line}");
    assert!(rest.next().is_some_and(|letter| "CEWNID".contains(letter)), "{line}");
    let rest = rest.as_str().strip_prefix(" | ").unwrap_or_else(|| panic!("{line}"));
    let (package, text) = rest.split_once(": ").unwrap_or_else(|| panic!("{line}"));
    let is_package = |it: char| it.is_ascii_alphanumeric() || it == '/';
    assert!(package.chars().all(is_package) && !text.is_empty(), "{line}");
}

#[test]
fn the_old_log_tells_of_a_lost_member() {
    let settings = [("logger", "capnslog"), ("log-package-levels", "etcdserver=DEBUG")];
    let id_of = |log: &str| between(log, "starting member ", " in cluster ");
    let mut pair = Pair::start("log-old", &settings, id_of);
    let (own, other) = (pair.ids[pair.leader].clone(), pair.ids[1 - pair.leader].clone());
    let cluster = between(&pair.leader_log(), " in cluster ", "\n");
    the_leader_has_told_of_its_start(&mut pair, &own, &other, &cluster);

    pair.cluster.kill(1 - pair.leader);
    let lost = |stream: &str| {
        format!("W | rafthttp: lost the TCP streaming connection with peer {other} ({stream})\n")
    };
    pair.wait(&[
        lost("stream MsgApp v2 reader"),
        lost("stream Message reader"),
        lost("stream MsgApp v2 writer"),
        lost("stream Message writer"),
        format!("I | rafthttp: peer {other} became inactive (message send to peer failed)\n"),
        format!(
            "W | rafthttp: health check for peer {other} could not connect: dial tcp 127.0.0.1:"
        ),
    ]);
    let campaigns = format!("I | raft: {own} is starting a new election at term ");
    let alone = [
        format!("W | raft: {own} stepped down to follower since quorum is not active\n"),
        format!("I | raft: {own} became follower at term "),
        format!("I | raft: raft.node: {own} lost leader {own} at term "),
        campaigns.clone(),
        format!("I | raft: {own} became pre-candidate at term "),
        campaigns,
    ];
    pair.wait(&alone[..5]);
    let deadline = Instant::now() + SOON;
    while pair.leader_log().matches(&alone[5]).count() < 3 && Instant::now() < deadline {
        std::thread::sleep(POLL);
    }
    assert_order(&pair.leader_log(), &alone);

    pair.cluster.start_all().unwrap_or_else(|error| panic!("{error}"));
    let restarted = pair.cluster.server(1 - pair.leader).log_text();
    assert_order(
        &restarted,
        &[
            "N | etcdmain: the server is already initialized as member before, starting as etcd \
             member...\n"
                .to_owned(),
            format!("I | etcdserver: restarting member {other} in cluster {cluster} at commit "),
        ],
    );
    let ended = pair.cluster.server(pair.leader).terminate(SOON);
    ended.unwrap_or_else(|error| panic!("{error}"));
    let log = pair.leader_log();
    assert!(log.contains("N | pkg/osutil: received terminated signal, shutting down...\n"));
    log.lines().for_each(assert_old_form);
}

fn the_leader_has_told_of_its_start(pair: &mut Pair, own: &str, other: &str, cluster: &str) {
    let own_member = pair.cluster.members[pair.leader].clone();
    let (name, url) = (&own_member.name, &own_member.client_url);
    assert_order(
        &pair.leader_log(),
        &[
            format!("I | embed: name = {name}\n"),
            format!("I | embed: data dir = {}\n", own_member.data_dir.display()),
            "I | embed: heartbeat = 100ms\n".to_owned(),
            "I | embed: election = 1000ms\n".to_owned(),
            format!("I | embed: advertise client URLs = {url}\n"),
            format!("I | etcdserver: starting member {own} in cluster {cluster}\n"),
            "I | etcdserver/membership: added member ".to_owned(),
            format!("I | rafthttp: starting peer {other}...\n"),
            format!("I | raft: {own} became leader at term "),
            format!("I | raft: raft.node: {own} elected leader {own} at term "),
            format!("published {{Name:{name} ClientURLs:[{url}]}} to cluster {cluster}\n"),
            "I | embed: ready to serve client requests\n".to_owned(),
            "N | embed: serving insecure client requests on ".to_owned(),
        ],
    );
    assert!(pair.leader_log().contains(", this is strongly discouraged!\n"));
    pair.wait(&["N | etcdserver/membership: set the initial cluster version to 3.".to_owned()]);
}

#[test]
fn the_json_log_tells_the_same() {
    let id_of = |log: &str| {
        let own = log.lines().find(|line| line.contains("\"msg\":\"starting local member\""));
        between(own.expect("a member says who it is"), "\"local-member-id\":\"", "\"")
    };
    let mut pair = Pair::start("log-json", &[], id_of);
    let (own, other) = (pair.ids[pair.leader].clone(), pair.ids[1 - pair.leader].clone());
    pair.cluster.kill(1 - pair.leader);
    pair.wait(&[
        format!("{own} stepped down to follower since quorum is not active"),
        format!("raft.node: {own} lost leader {own} at term "),
        format!("{own} is starting a new election at term "),
        "prober detected unhealthy status".to_owned(),
        "\"stream-writer-type\":\"stream MsgApp v2\"".to_owned(),
    ]);
    let log = pair.leader_log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    let lines_of = |message: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line["msg"] == message).collect()
    };
    let lost = lines_of("lost TCP streaming connection with remote peer");
    for (key, stream) in [
        ("stream-reader-type", "stream MsgApp v2"),
        ("stream-reader-type", "stream Message"),
        ("stream-writer-type", "stream MsgApp v2"),
        ("stream-writer-type", "stream Message"),
    ] {
        let line = lost.iter().find(|line| line[key] == stream);
        let line = line.unwrap_or_else(|| panic!("no {key} {stream}\n{log}"));
        assert_eq!(line["level"], "warn");
        assert_eq!(line["remote-peer-id"], *other);
        assert_eq!(line["local-member-id"], *own);
        assert_eq!(line["error"].is_string(), key == "stream-reader-type", "{line}");
    }
    let inactive = lines_of("peer became inactive (message send to peer failed)");
    assert_eq!(inactive[0]["peer-id"], *other);
    assert!(inactive[0]["error"].as_str().is_some_and(|it| it.starts_with("failed to ")));
    let unhealthy = lines_of("prober detected unhealthy status");
    assert_eq!(unhealthy[0]["remote-peer-id"], *other);
    assert_eq!(unhealthy[0]["round-tripper-name"], "ROUND_TRIPPER_RAFT_MESSAGE");
    let stepped = format!("{own} stepped down to follower since quorum is not active");
    let stepped = lines_of(&stepped);
    assert_eq!(stepped[0]["level"], "warn");
    assert_eq!(stepped[0]["logger"], "raft");
    assert_eq!(lines_of("added member").len(), 2, "{log}");
    let added = lines_of("added member")[0];
    let keys: Vec<&str> = added.as_object().into_iter().flatten().map(|(key, _)| &**key).collect();
    for key in ["cluster-id", "local-member-id", "added-peer-id", "added-peer-peer-urls"] {
        assert!(keys.contains(&key), "{added}");
    }
}

/// Tools wait for lines: for the end of a compaction, which was never told, and for `request stats`,
/// without which nobody saw a slow write or `--warning-unary-request-duration` had no effect. Each line
/// that `etcd`'s own tests and operators' scripts look for is provoked here, where what causes it exists.
#[test]
fn the_lines_that_tools_wait_for_are_there() {
    let settings = [
        ("snapshot-count", "50"),
        ("snapshot-catchup-entries", "5"),
        // Every call is slow.
        ("warning-unary-request-duration", "1"),
    ];
    let mut cluster = Cluster::start_with(&programs::subject_etcd(), 3, "log-tools", &settings);
    let endpoints = cluster.endpoints();
    let position =
        (0..3).find(|&it| cluster.server(it).log_text().contains("became leader at term"));
    let leader = position.expect("one of three leads");
    let ctl = Etcdctl::new(&programs::subject_etcdctl(), &endpoints[leader..=leader]);
    let wait = |cluster: &mut Cluster, position: usize, text: &str| {
        let waited = cluster.server(position).wait_log(text, SOON);
        waited.unwrap_or_else(|error| panic!("{text}: {error}"));
    };
    ctl.ok(&["put", "key", "a secret value"]);
    ctl.ok(&["get", "key"]);
    ctl.ok(&["del", "key", "--prev-kv"]);
    ctl.ok(&["lease", "grant", "100"]);
    ctl.ok(&["compaction", "3"]);
    let follower = (leader + 1) % 3;
    cluster.kill(follower);
    runtime().block_on(async {
        let mut kv = rpc::kv(rpc::channel(&endpoints[leader], SOON));
        for number in 0..WRITES_MISSED {
            let (key, value) = ("key".into(), number.to_string().into());
            kv.put(PutRequest { key, value, ..Default::default() }).await.expect("a put");
        }
    });
    cluster.start_all().unwrap_or_else(|error| panic!("{error}"));
    for text in [
        "ready to serve client requests",
        "serving client traffic",
        "\"snapshot-catchup-entries\":5",
        "saved snapshot",
        "finished scheduled compaction\",\"compact-revision\":3,\"took\":\"",
        "sent database snapshot",
        "\"response type\":\"/etcdserverpb.KV/Put\",\"request count\":1,",
        "\"request content\":\"key:\\\"key\\\" value_size:14 \"",
        "\"response type\":\"/etcdserverpb.KV/Range\",\"request count\":0,",
        "\"request content\":\"key:\\\"key\\\" prev_kv:true \"",
        "\"response type\":\"/etcdserverpb.Lease/LeaseGrant\",\"request count\":-1,",
        "\"remote\":\"127.0.0.1:",
    ] {
        wait(&mut cluster, leader, text);
    }
    for text in ["applying snapshot", "applySnapshot: opened snapshot backend", "applied snapshot"]
    {
        wait(&mut cluster, follower, text);
    }
    let log = cluster.server(leader).log_text();
    assert!(!log.contains("a secret value"), "values are nobody's business");
    let slow = log.lines().find(|line| line.contains("\"request stats\"")).expect("a slow call");
    let slow: Value = serde_json::from_str(slow).unwrap_or_else(|error| panic!("{slow}: {error}"));
    assert_eq!(slow["level"], "warn");
    assert!(slow["time spent"].is_string() && slow["start time"].is_string(), "{slow}");
}

/// Tools read the log of a member line by line, and take an `error` for a failed run.
#[test]
fn a_clean_life_is_told_in_json_without_an_error() {
    let mut cluster = Cluster::start(&programs::subject_etcd(), 1, "log-clean");
    let ctl = Etcdctl::new(&programs::subject_etcdctl(), &cluster.endpoints());
    ctl.ok(&["put", "key", "value"]);
    ctl.ok(&["snapshot", "save", &cluster.dir().join("db").display().to_string()]);
    ctl.ok(&["compaction", "2"]);
    ctl.ok(&["defrag"]);
    let ended = cluster.server(0).terminate(SOON);
    ended.unwrap_or_else(|error| panic!("{error}"));
    let log = cluster.server(0).log_text();
    for line in log.lines() {
        let parsed: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        for key in ["level", "ts", "caller", "msg"] {
            assert!(parsed[key].is_string(), "{key}: {line}");
        }
        let level = parsed["level"].as_str().unwrap_or_default();
        assert!(["debug", "info", "warn"].contains(&level), "{line}");
        assert!(!line.contains('\u{1b}'), "no colour: {line}");
    }
    assert!(log.contains("\"msg\":\"closed etcd server\""), "{log}");
}
