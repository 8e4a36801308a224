//! One member and the official etcdctl: exact output, restarts, the plain HTTP pages.

use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use quoin_tests::cluster::{Cluster, Member};
use quoin_tests::ctl::Etcdctl;
use quoin_tests::programs;
use quoin_tests::rpc::http_get;
use quoin_tests::server::{Launch, START_TIMEOUT, Server, shell_code};
use quoin_tests::temp_dir::TempDir;
use serde_json::Value;

/// How long a member may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

fn alone(label: &str) -> (Cluster, Etcdctl) {
    let cluster = Cluster::start(&programs::subject_etcd(), 1, label);
    let ctl = Etcdctl::new(&programs::reference_etcdctl(), &cluster.endpoints());
    (cluster, ctl)
}

#[track_caller]
fn prints(ctl: &Etcdctl, args: &[&str], expected: &str) {
    assert_eq!(ctl.ok(args), expected, "{args:?}");
}

#[track_caller]
fn fails(ctl: &Etcdctl, args: &[&str], expected: &str) {
    let outcome = ctl.run(args);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{args:?}: {outcome:?}");
    let last = outcome.stderr.lines().last();
    assert_eq!(last, Some(expected), "{args:?}: {outcome:?}");
}

#[test]
fn keys_are_put_read_and_deleted() {
    let (_cluster, ctl) = alone("keys");
    prints(&ctl, &["put", "a", "1"], "OK\n");
    prints(&ctl, &["put", "a", "2", "--prev-kv"], "OK\na\n1\n");
    prints(&ctl, &["put", "ab", "3"], "OK\n");
    prints(&ctl, &["put", "b", "4"], "OK\n");
    prints(&ctl, &["get", "a"], "a\n2\n");
    prints(&ctl, &["get", "a", "--print-value-only"], "2\n");
    prints(&ctl, &["get", "a", "--prefix"], "a\n2\nab\n3\n");
    prints(&ctl, &["get", "a", "--from-key", "--limit=2"], "a\n2\nab\n3\n");
    prints(&ctl, &["get", "", "--prefix", "--keys-only"], "a\n\nab\n\nb\n\n");
    prints(&ctl, &["get", "a", "--rev=2"], "a\n1\n");
    prints(&ctl, &["get", "a", "b", "--order=DESCEND", "--sort-by=VALUE"], "ab\n3\na\n2\n");
    prints(&ctl, &["get", "none"], "");
    prints(&ctl, &["get", "a", "--consistency=s"], "a\n2\n");
    prints(&ctl, &["del", "a", "--prev-kv"], "1\na\n2\n");
    prints(&ctl, &["del", "a"], "0\n");
    prints(&ctl, &["del", "", "--prefix"], "2\n");
    prints(&ctl, &["get", "", "--prefix"], "");
    fails(&ctl, &["put", "", "x"], "Error: etcdserver: key is not provided");
    let no_lease = "Error: etcdserver: requested lease not found";
    fails(&ctl, &["put", "a", "x", "--lease=1234"], no_lease);
}

#[test]
fn transactions_take_the_branch_that_the_compares_choose() {
    let (_cluster, ctl) = alone("txn");
    prints(&ctl, &["put", "a", "1"], "OK\n");
    let script = "val(\"a\") = \"1\"\nver(\"a\") = \"1\"\n\nput b 2\nget a\n\nget b\ndel a\n\n";
    let outcome = ctl.run_with_input(&["txn"], script);
    assert_eq!((outcome.stdout.as_str(), outcome.code), ("SUCCESS\n\nOK\n\na\n1\n", 0));
    prints(&ctl, &["put", "a", "3"], "OK\n");
    let outcome = ctl.run_with_input(&["txn"], script);
    assert_eq!((outcome.stdout.as_str(), outcome.code), ("FAILURE\n\nb\n2\n\n1\n", 0));
    prints(&ctl, &["get", "", "--prefix"], "b\n2\n");
    let twice = "val(\"b\") = \"2\"\n\nput c 1\nput c 2\n\n\n";
    let outcome = ctl.run_with_input(&["txn"], twice);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let text = "Error: etcdserver: duplicate key given in txn request";
    assert_eq!(outcome.stderr.lines().last(), Some(text));
}

#[test]
fn compaction_forgets_the_past_and_nothing_else() {
    let (_cluster, ctl) = alone("compaction");
    for value in ["1", "2", "3"] {
        prints(&ctl, &["put", "a", value], "OK\n");
    }
    prints(&ctl, &["compaction", "3"], "compacted revision 3\n");
    let compacted = "Error: etcdserver: mvcc: required revision has been compacted";
    let future = "Error: etcdserver: mvcc: required revision is a future revision";
    fails(&ctl, &["compaction", "3"], compacted);
    fails(&ctl, &["compaction", "9"], future);
    fails(&ctl, &["get", "a", "--rev=2"], compacted);
    fails(&ctl, &["get", "a", "--rev=9"], future);
    prints(&ctl, &["get", "a", "--rev=3"], "a\n2\n");
    prints(&ctl, &["get", "a"], "a\n3\n");
}

#[test]
fn the_member_describes_itself() {
    let (cluster, ctl) = alone("describe");
    let member = &cluster.members[0];
    let (client, peer) = (&member.client_url, &member.peer_url);
    let list = json(&ctl.ok(&["member", "list", "-w", "json"]));
    let id = list["members"][0]["ID"].as_u64().expect("a member ID");
    assert_eq!(list["header"]["member_id"], id);
    let line = format!("{id:x}, started, {}, {peer}, {client}, false\n", member.name);
    prints(&ctl, &["member", "list"], &line);

    let health = ctl.run(&["endpoint", "health"]);
    // Which of the two streams it is differs between versions of the tool.
    let said = health.stdout + &health.stderr;
    let expected = format!("{client} is healthy: successfully committed proposal: took = ");
    assert!(health.code == 0 && said.starts_with(&expected), "{said}");

    let (code, body) = http_get(client, "/version");
    let page = json(&body);
    let prefix = version_prefix();
    assert_eq!(code, 200);
    let said = page["etcdserver"].as_str().unwrap_or_default();
    assert!(said.starts_with(&prefix), "{body}");
    assert_eq!(page["etcdcluster"], format!("{prefix}0").as_str(), "{body}");
    let (code, body) = http_get(client, "/health");
    assert_eq!((code, &json(&body)["health"]), (200, &Value::from("true")), "{body}");
}

/// The tool of etcd 3.7 divides by the size of the database: it must not be zero.
#[test]
fn the_member_tells_its_status() {
    let (cluster, _) = alone("status");
    let address = cluster.members[0].client_url.replace("http://", "");
    let endpoints = [address.clone()];
    let ctl = Etcdctl::new(&programs::reference_etcdctl(), &endpoints);
    let status = json(&ctl.ok(&["endpoint", "status", "-w", "json"]));
    assert_eq!(status[0]["Endpoint"], address.as_str());
    let status = &status[0]["Status"];
    let id = status["header"]["member_id"].as_u64().expect("a member ID");
    assert_eq!(status["leader"], id);
    assert_eq!(status["raftTerm"], 2, "{status}");
    assert_eq!(status["raftIndex"], status["raftAppliedIndex"], "{status}");
    assert!(status["dbSize"].as_u64() > Some(0), "{status}");
    let said = status["version"].as_str().unwrap_or_default();
    assert!(said.starts_with(&version_prefix()), "{status}");
    let line = ctl.ok(&["endpoint", "status"]);
    let expected = format!("{address}, {id:x}, {said}, ");
    assert!(line.starts_with(&expected), "{line}");
}

/// The tool of etcd 3.4 sends the endpoint of this command as it was given, with its scheme, as
/// the `:authority`. That is no authority, but etcd answers.
#[test]
fn the_status_is_told_to_a_tool_that_names_the_scheme() {
    let (cluster, ctl) = alone("scheme");
    let line = ctl.ok(&["endpoint", "status"]);
    assert!(line.starts_with(&format!("{}, ", cluster.members[0].client_url)), "{line}");
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The start of every version of the subject, `3.7.` for example.
fn version_prefix() -> String {
    let version = programs::etcd_version(&programs::subject_etcd());
    format!("{}.{}.", version.major, version.minor)
}

/// The IDs are hashes of the peer URL and the token; a cluster that is moved from etcd keeps
/// them. The member listens elsewhere than it advertises, which nobody notices in a cluster of
/// one.
#[test]
fn member_ids_are_etcds() {
    let known = [
        ("http://30.1.3.42:2380", "e8e5aa3e0acdf16b"),
        ("http://30.1.3.43:2380", "6f840018249f939b"),
    ];
    for (url, id) in known {
        let dir = TempDir::new("ids");
        let mut member = Member::alone(dir.path(), "m1");
        member.advertised_peer_url = url.to_owned();
        member.initial_cluster = format!("m1={url}");
        let mut launch = member.launch(&programs::subject_etcd(), dir.path());
        let text = member.yaml().replace("quoin-tests", "etcd-cluster-token");
        std::fs::write(&launch.args[1], text).expect("the file is ours");
        launch.name = "ids".to_owned();
        let _server = Server::start(&launch).unwrap_or_else(|error| panic!("{error}"));
        let endpoints = [member.client_url.clone()];
        let ctl = Etcdctl::new(&programs::reference_etcdctl(), &endpoints);
        let line = format!("{id}, started, m1, {url}, {}, false\n", member.client_url);
        prints(&ctl, &["member", "list"], &line);
    }
}

#[test]
fn flags_and_variables_do_what_the_file_does() {
    let dir = TempDir::new("flags");
    let member = Member::alone(dir.path(), "flagged");
    let mut launch = member.launch(&programs::subject_etcd(), dir.path());
    launch.args.clear();
    let data_dir = format!("--data-dir={}", member.data_dir.display());
    let peers = format!("--initial-advertise-peer-urls={}", member.peer_url);
    let launch = launch
        .args(&["--name", "flagged", &data_dir, "--listen-client-urls", &member.client_url])
        .args(&[&format!("--advertise-client-urls={}", member.client_url), &peers])
        .args(&["-listen-peer-urls", &member.peer_url])
        .env("ETCD_INITIAL_CLUSTER", &member.initial_cluster);
    let mut refused = Server::spawn(&launch.clone().env("ETCD_NAME", "another"));
    let status = refused.wait_exit(START_TIMEOUT);
    let log = refused.log_tail();
    assert_eq!(status.and_then(|status| status.code()), Some(1), "{log}");
    let text = "is shadowed by corresponding command-line flag";
    assert!(log.contains("ETCD_NAME") && log.contains(text), "{log}");
    let _server = Server::start(&launch).unwrap_or_else(|error| panic!("{error}"));
    let endpoints = [member.client_url.clone()];
    let ctl = Etcdctl::new(&programs::reference_etcdctl(), &endpoints);
    let said = ctl.ok(&["member", "list"]);
    let line = format!(", started, flagged, {}, {}, false\n", member.peer_url, member.client_url);
    assert!(said.ends_with(&line), "{said}");
    assert!(member.data_dir.join("member/wal").is_dir());
}

/// The first minute of a new user: no arguments, etcd's default ports and directory.
#[test]
fn without_arguments_it_serves_on_the_default_ports() {
    let dir = TempDir::new("default");
    for port in [2379, 2380] {
        let free = TcpListener::bind(("127.0.0.1", port));
        drop(free.unwrap_or_else(|error| panic!("port {port} is needed by this test: {error}")));
    }
    let launch = Launch::new(&programs::subject_etcd(), dir.path(), "default");
    let mut server = Server::start(&launch).unwrap_or_else(|error| panic!("{error}"));
    let endpoints = ["localhost:2379".to_owned()];
    let ctl = Etcdctl::new(&programs::reference_etcdctl(), &endpoints);
    prints(&ctl, &["put", "a", "1"], "OK\n");
    prints(&ctl, &["get", "a"], "a\n1\n");
    let member = "default, http://localhost:2380, http://localhost:2379, false\n";
    assert!(ctl.ok(&["member", "list"]).ends_with(member));
    assert!(dir.join("default.etcd/member/wal").is_dir());
    server.terminate(STOP_TIMEOUT).unwrap_or_else(|text| panic!("{text}"));
}

#[test]
fn sigterm_ends_the_member_as_etcd_and_keeps_the_data() {
    let (mut cluster, ctl) = alone("sigterm");
    for round in 1..=3 {
        prints(&ctl, &["put", &format!("key{round}"), "kept"], "OK\n");
        let status = cluster.server(0).terminate(STOP_TIMEOUT);
        let status = status.unwrap_or_else(|text| panic!("{text}"));
        assert_eq!(status.signal(), Some(15), "{}", cluster.server(0).log_tail());
        assert_eq!(shell_code(status), 143);
        cluster.spawn(0);
        cluster.wait_ready(0, START_TIMEOUT).unwrap_or_else(|text| panic!("{text}"));
        let keys = ctl.ok(&["get", "key", "--prefix", "--print-value-only"]);
        assert_eq!(keys.lines().count(), round);
    }
    // The revision goes on where it was: three puts after the empty store's revision 1.
    prints(&ctl, &["put", "key4", "kept"], "OK\n");
    let answer = ctl.ok(&["get", "key4", "-w", "json"]);
    assert_eq!(json(&answer)["header"]["revision"], 5, "{answer}");
}

#[test]
fn a_kill_loses_nothing_that_was_acknowledged() {
    let (mut cluster, ctl) = alone("kill-one");
    for round in 1..=5 {
        let value = round.to_string();
        prints(&ctl, &["put", "counter", &value], "OK\n");
        prints(&ctl, &["put", &format!("key{round}"), &value], "OK\n");
        cluster.kill(0);
        cluster.spawn(0);
        cluster.wait_ready(0, START_TIMEOUT).unwrap_or_else(|text| panic!("{text}"));
        prints(&ctl, &["get", "counter", "--print-value-only"], &format!("{round}\n"));
        let keys = ctl.ok(&["get", "key", "--prefix", "--print-value-only"]);
        assert_eq!(keys.lines().count(), round);
    }
}
