//! `/metrics`: the page of a member beside that of etcd, and what it says after known traffic.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quoin_api::etcdserverpb::alarm_request::AlarmAction;
use quoin_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quoin_api::etcdserverpb::request_op::Request;
use quoin_api::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest,
    LeaseKeepAliveRequest, LeaseRevokeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    WatchCreateRequest,
};
use quoin_tests::cluster::{Cluster, Member};
use quoin_tests::ctl::Etcdctl;
use quoin_tests::metrics::families::{COUNTERS, GAUGES, HISTOGRAMS};
use quoin_tests::metrics::{Page, fetch, page};
use quoin_tests::ports::free_port;
use quoin_tests::programs::{self, Version};
use quoin_tests::rpc;
use quoin_tests::server::Server;
use quoin_tests::temp_dir::TempDir;
use quoin_tests::watch::WatchStream;
use tokio::runtime::Runtime;
use tonic::codegen::{Bytes, tokio_stream};

/// A client gives up on an answer after this long.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// What happens by itself has happened after this long, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);
/// The etcd whose families the table has.
const OF_THE_TABLE: Version = Version { major: 3, minor: 7 };

/// What alerts and dashboards of etcd read, with the labels they read it by.
const READ_BY_ALERTS: &[(&str, &[&str])] = &[
    ("etcd_server_has_leader", &[]),
    ("etcd_server_leader_changes_seen_total", &[]),
    ("etcd_server_proposals_committed_total", &[]),
    ("etcd_server_proposals_applied_total", &[]),
    ("etcd_server_proposals_pending", &[]),
    ("etcd_server_proposals_failed_total", &[]),
    ("etcd_server_quota_backend_bytes", &[]),
    ("etcd_disk_wal_fsync_duration_seconds", &[]),
    ("etcd_disk_backend_commit_duration_seconds", &[]),
    ("etcd_network_client_grpc_received_bytes_total", &[]),
    ("etcd_network_client_grpc_sent_bytes_total", &[]),
    ("etcd_mvcc_db_total_size_in_bytes", &[]),
    ("etcd_mvcc_db_total_size_in_use_in_bytes", &[]),
    ("grpc_server_handled_total", &["grpc_code", "grpc_method", "grpc_service", "grpc_type"]),
    ("grpc_server_started_total", &["grpc_method", "grpc_service", "grpc_type"]),
    ("grpc_server_handling_seconds", &["grpc_method", "grpc_service", "grpc_type"]),
    ("process_resident_memory_bytes", &[]),
];
/// The same of a member with peers.
const READ_OF_PEERS: &[(&str, &[&str])] = &[
    ("etcd_network_peer_sent_bytes_total", &["To"]),
    ("etcd_network_peer_received_bytes_total", &["From"]),
    ("etcd_network_peer_sent_failures_total", &["To"]),
    ("etcd_network_peer_round_trip_time_seconds", &["To"]),
    ("etcd_network_active_peers", &["Local", "Remote"]),
    ("etcd_network_known_peers", &["Local", "Remote"]),
];

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime of one thread")
}

fn alone(program: &Path, label: &str, settings: &[(&'static str, &str)]) -> (Cluster, String) {
    let cluster = Cluster::start_with(program, 1, label, settings);
    let url = cluster.endpoints().remove(0);
    (cluster, url)
}

/// Looks at the page until it shows what is expected.
#[track_caller]
fn wait_for(url: &str, what: &str, is_there: impl Fn(&Page) -> bool) -> Page {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let page = page(url);
        if is_there(&page) {
            return page;
        }
        assert!(Instant::now() < deadline, "{what}: {:?}", page.families);
        std::thread::sleep(PAUSE);
    }
}

fn kind_in_table(name: &str) -> Option<&'static str> {
    let tables = [("counter", COUNTERS), ("gauge", GAUGES), ("histogram", HISTOGRAMS)];
    tables.into_iter().find_map(|(kind, names)| names.contains(&name).then_some(kind))
}

#[track_caller]
fn check_read(page: &Page, wanted: &[(&str, &[&str])]) {
    for (name, labels) in wanted {
        let family = page.families.get(*name).unwrap_or_else(|| panic!("there is no {name}"));
        let labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
        assert_eq!(family.label_names(), BTreeSet::from([labels]), "{name}");
    }
}

#[test]
fn families_are_those_of_etcd() {
    let reference = programs::reference_etcd();
    let settings = [("metrics", "extensive")];
    let (_subject, url) = alone(&programs::subject_etcd(), "metrics-subject", &settings);
    let (_original, original_url) = alone(&reference, "metrics-reference", &settings);
    let original = page(&original_url);
    let ours = page(&url);
    check_read(&ours, READ_BY_ALERTS);
    if programs::etcd_version(&reference) == OF_THE_TABLE {
        for (name, family) in original.families.iter().filter(|(name, _)| !name.starts_with("go_"))
        {
            assert_eq!(kind_in_table(name), Some(family.kind.as_str()), "the table: {name}");
        }
    }
    for (name, family) in &ours.families {
        if name.starts_with("quoin_") {
            continue;
        }
        assert_eq!(kind_in_table(name), Some(family.kind.as_str()), "{name}");
        let Some(theirs) = original.families.get(name) else { continue };
        assert_eq!(family.kind, theirs.kind, "{name}");
        assert_eq!(family.bounds(), theirs.bounds(), "{name}");
        // Some families have samples only after something happened.
        let (labels, known) = (family.label_names(), theirs.label_names());
        assert!(labels.is_empty() || known.is_empty() || labels == known, "{name}: {labels:?}");
    }
    let methods = |page: &Page| -> BTreeSet<_> {
        let handled = &page.families["grpc_server_handled_total"].samples;
        handled.iter().map(|(_, labels, _)| labels.clone()).collect()
    };
    let missing: Vec<_> = methods(&original).difference(&methods(&ours)).cloned().collect();
    assert!(missing.is_empty(), "methods and codes from the start: {missing:?}");
}

#[test]
fn members_of_a_cluster_tell_of_their_peers() {
    let cluster = Cluster::start(&programs::subject_etcd(), 3, "metrics-cluster");
    let urls = cluster.endpoints();
    // The first probe of a peer comes after a few seconds.
    let pages: Vec<Page> = urls
        .iter()
        .map(|url| {
            wait_for(url, "round trips to both peers", |page| {
                let counts = page.values("etcd_network_peer_round_trip_time_seconds_count", &[]);
                counts.len() == 2 && counts.iter().all(|count| *count > 0.0)
            })
        })
        .collect();
    let sum = |name| pages.iter().map(|page| page.value(name, &[])).sum::<f64>();
    assert_eq!(sum("etcd_server_has_leader"), 3.0);
    assert_eq!(sum("etcd_server_is_leader"), 1.0);
    assert_eq!(sum("etcd_server_is_learner"), 0.0);
    let ids: BTreeSet<String> = pages
        .iter()
        .map(|page| page.families["etcd_server_id"].samples[0].1["server_id"].clone())
        .collect();
    assert_eq!(ids.len(), 3);
    for page in &pages {
        check_read(page, READ_OF_PEERS);
        assert_eq!(page.values("etcd_network_known_peers", &[]), [1.0; 3]);
        assert_eq!(page.values("etcd_network_active_peers", &[]), [1.0; 2]);
        for name in ["etcd_network_peer_sent_bytes_total", "etcd_network_peer_received_bytes_total"]
        {
            let bytes = page.values(name, &[]);
            assert!(
                bytes.len() == 2 && bytes.iter().all(|bytes| *bytes > 0.0),
                "{name}: {bytes:?}"
            );
        }
        let remotes = &page.families["etcd_network_known_peers"].samples;
        assert!(remotes.iter().all(|(_, labels, _)| ids.contains(&labels["Remote"])));
        for (name, family) in &page.families {
            let is_own = name.starts_with("quoin_");
            assert!(is_own || kind_in_table(name) == Some(family.kind.as_str()), "{name}");
        }
    }
}

fn bytes(text: &str) -> Bytes {
    text.as_bytes().to_vec().into()
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: bytes(key), value: bytes(value), ..PutRequest::default() }
}

/// A transaction that compares a key with a version, and then puts or reads.
fn txn(version: i64) -> TxnRequest {
    let compare = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Version.into(),
        key: bytes("a1"),
        target_union: Some(TargetUnion::Version(version)),
        ..Compare::default()
    };
    let operation = |request| RequestOp { request: Some(request) };
    let read = RangeRequest { key: bytes("a1"), ..RangeRequest::default() };
    TxnRequest {
        compare: vec![compare],
        success: vec![
            operation(Request::RequestPut(put("t1", "1"))),
            operation(Request::RequestPut(put("t2", "2"))),
        ],
        failure: vec![operation(Request::RequestRange(read))],
    }
}

/// What the traffic below adds, whoever serves it: a name, labels, and how much more there is.
type Added = (&'static str, &'static [(&'static str, &'static str)], f64);
const ADDED: &[Added] = &[
    ("etcd_mvcc_put_total", &[], 14.0),
    ("etcd_mvcc_delete_total", &[], 2.0),
    // The put and the deletion that want the value before, and the transaction with two puts.
    ("etcd_mvcc_txn_total", &[], 3.0),
    ("etcd_debugging_mvcc_keys_total", &[], 10.0),
    ("etcd_debugging_mvcc_events_total", &[], EVENTS as f64),
    ("etcd_debugging_mvcc_pending_events_total", &[], 0.0),
    ("etcd_debugging_mvcc_watch_stream_total", &[], 1.0),
    ("etcd_debugging_mvcc_watcher_total", &[], 1.0),
    ("etcd_debugging_mvcc_slow_watcher_total", &[], 0.0),
    ("etcd_debugging_mvcc_current_revision", &[], 15.0),
    // From none, which is -1, to 5.
    ("etcd_debugging_mvcc_compact_revision", &[], 6.0),
    ("etcd_debugging_lease_granted_total", &[], 1.0),
    ("etcd_debugging_lease_renewed_total", &[], 2.0),
    ("etcd_debugging_lease_revoked_total", &[], 1.0),
    ("etcd_debugging_lease_ttl_total_count", &[], 1.0),
    ("etcd_debugging_lease_ttl_total_sum", &[], 600.0),
    ("grpc_server_started_total", &[("grpc_method", "Put")], 12.0),
    ("grpc_server_msg_received_total", &[("grpc_method", "Put")], 12.0),
    ("grpc_server_msg_sent_total", &[("grpc_method", "Put")], 12.0),
    ("grpc_server_handled_total", &[("grpc_method", "Put"), ("grpc_code", "OK")], 12.0),
    ("grpc_server_handled_total", &[("grpc_method", "Range"), ("grpc_code", "OK")], 4.0),
    ("grpc_server_handled_total", &[("grpc_method", "Range"), ("grpc_code", "OutOfRange")], 1.0),
    ("grpc_server_handled_total", &[("grpc_method", "Txn"), ("grpc_code", "OK")], 2.0),
    ("grpc_server_handled_total", &[("grpc_method", "Compact"), ("grpc_code", "OK")], 1.0),
    ("grpc_server_msg_sent_total", &[("grpc_method", "LeaseKeepAlive")], 2.0),
    ("grpc_server_handled_total", &[("grpc_method", "LeaseKeepAlive"), ("grpc_code", "OK")], 1.0),
    ("grpc_server_started_total", &[("grpc_method", "Watch")], 1.0),
    ("etcd_server_client_requests_total", &[("type", "stream")], 2.0),
    ("etcd_server_client_requests_total", &[("type", "unary")], 23.0),
];
/// What etcd counts since 3.7.
const ADDED_SINCE_3_7: &[Added] = &[
    ("etcd_debugging_mvcc_total_put_size_in_bytes", &[], 69.0),
    ("etcd_server_request_duration_seconds_count", &[("type", "Put")], 12.0),
    ("etcd_server_request_duration_seconds_count", &[("type", "Range")], 5.0),
    ("etcd_server_request_duration_seconds_count", &[("type", "Txn")], 2.0),
    ("etcd_server_apply_duration_seconds_count", &[("op", "Put"), ("success", "true")], 12.0),
    ("etcd_server_apply_duration_seconds_count", &[("op", "Txn"), ("success", "true")], 2.0),
    ("etcd_server_range_duration_seconds_count", &[("success", "true")], 4.0),
];
/// Reads of the traffic: five ranges and one in a transaction, two comparisons, two values before.
const RANGES: f64 = 10.0;
/// Events of the traffic that its watcher wants.
const EVENTS: usize = 14;

/// Requests of every kind, in known numbers. Returns the watch stream, which stays open.
async fn traffic(url: &str) -> WatchStream {
    let (key, end) = (bytes("a"), bytes("b"));
    let create = WatchCreateRequest { key, range_end: end, ..WatchCreateRequest::default() };
    let mut watch = WatchStream::open(rpc::streams(url), create).await.expect("a stream");
    watch.next(PATIENCE).await.expect("an open stream").expect("the watcher is created");
    let mut kv = rpc::kv(rpc::channel(url, CALL_TIMEOUT));
    for number in 0..10 {
        kv.put(put(&format!("a{number}"), "val")).await.expect("a put");
    }
    let previous = PutRequest { prev_kv: true, ..put("a1", "new") };
    kv.put(previous).await.expect("a put that wants the value before");
    for limit in 0..4 {
        let (key, range_end) = (bytes("a"), bytes("b"));
        let range = RangeRequest { key, range_end, limit, ..RangeRequest::default() };
        kv.range(range).await.expect("a range");
    }
    let future = RangeRequest { key: bytes("a"), revision: 1000, ..RangeRequest::default() };
    kv.range(future).await.expect_err("a range in the future");
    kv.txn(txn(2)).await.expect("a transaction that puts");
    kv.txn(txn(7)).await.expect("a transaction that reads");
    let delete = DeleteRangeRequest { key: bytes("a2"), prev_kv: true, ..Default::default() };
    kv.delete_range(delete).await.expect("a deletion");
    let mut lease = rpc::lease(rpc::channel(url, CALL_TIMEOUT));
    lease.lease_grant(LeaseGrantRequest { ttl: 600, id: 7 }).await.expect("a lease");
    let renewals = vec![LeaseKeepAliveRequest { id: 7 }; 2];
    let renewals = lease.lease_keep_alive(tokio_stream::iter(renewals)).await.expect("a stream");
    let mut renewals = renewals.into_inner();
    while renewals.message().await.expect("a renewal").is_some() {}
    kv.put(PutRequest { lease: 7, ..put("a3", "leased") }).await.expect("a put with a lease");
    lease.lease_revoke(LeaseRevokeRequest { id: 7 }).await.expect("the end of the lease");
    let compaction = CompactionRequest { revision: 5, physical: true };
    kv.compact(compaction).await.expect("a compaction");
    let mut events = 0;
    while events < EVENTS {
        let response = watch.next(PATIENCE).await.expect("an open stream");
        events += response.expect("all events come").events.len();
    }
    watch
}

/// Checks what the traffic adds to the page of a member.
fn check_added(program: &Path, label: &str, (ranges, since_3_7): (f64, bool)) {
    let (_cluster, url) = alone(program, label, &[]);
    // The name and the version of a member come through the log, some time after its start.
    let version = |page: &Page| page.families.contains_key("etcd_cluster_version");
    let before = wait_for(&url, "a cluster version", version);
    let runtime = runtime();
    let _watch = runtime.block_on(traffic(&url));
    let more: &[Added] = if since_3_7 { ADDED_SINCE_3_7 } else { &[] };
    let ranges: Added = ("etcd_mvcc_range_total", &[], ranges);
    let wrong = |after: &Page| -> Vec<String> {
        let sum = |page: &Page, name, labels| page.values(name, labels).iter().sum::<f64>();
        let added = ADDED.iter().chain(more).chain([&ranges]).map(|(name, labels, wanted)| {
            let added = sum(after, name, labels) - sum(&before, name, labels);
            (added != *wanted).then(|| format!("{name}{labels:?}: {added} and not {wanted}"))
        });
        added.flatten().collect()
    };
    // Calls are counted as handled a moment after their clients have the answer.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let wrong = wrong(&page(&url));
        if wrong.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{label}: {wrong:#?}");
        std::thread::sleep(PAUSE);
    }
}

#[test]
fn counters_say_exactly_what_was_done() {
    check_added(&programs::subject_etcd(), "metrics-counts", (RANGES, true));
}

#[test]
fn etcd_counts_the_same() {
    let reference = programs::reference_etcd();
    let since_3_7 = programs::etcd_version(&reference) >= OF_THE_TABLE;
    // etcd reads its revision as a range when it compacts.
    check_added(&reference, "metrics-counts-reference", (RANGES + 1.0, since_3_7));
}

/// What the log held at the start was counted by another process.
#[test]
fn a_start_counts_nothing_again() {
    let mut cluster = Cluster::start(&programs::subject_etcd(), 1, "metrics-restart");
    let url = cluster.endpoints().remove(0);
    let ctl = Etcdctl::new(&programs::subject_etcdctl(), &cluster.endpoints());
    (0..5).for_each(|_| drop(ctl.ok(&["put", "key", "value"])));
    assert_eq!(page(&url).value("etcd_mvcc_put_total", &[]), 5.0);
    cluster.kill(0);
    cluster.start_all().expect("a restart");
    let page = page(&url);
    assert_eq!(page.value("etcd_mvcc_put_total", &[]), 0.0);
    assert_eq!(page.value("etcd_debugging_mvcc_keys_total", &[]), 1.0);
}

#[test]
fn warnings_of_the_quota_come_and_go() {
    let settings = [("quota-backend-bytes", "1000000")];
    let (mut cluster, url) = alone(&programs::subject_etcd(), "metrics-quota", &settings);
    let ctl = Etcdctl::new(&programs::subject_etcdctl(), &cluster.endpoints());
    let warnings = |page: &Page| -> Vec<f64> {
        let of = |percent| page.value("quoin_quota_warning", &[("percent", percent)]);
        ["75", "85", "95"].map(of).to_vec()
    };
    let value = "v".repeat(100_000);
    let mut seen = BTreeSet::new();
    for _ in 0..9 {
        ctl.ok(&["put", "key", &value]);
        seen.insert(warnings(&page(&url)).iter().sum::<f64>() as u32);
    }
    assert_eq!(seen, BTreeSet::from([0, 1, 2]));
    // A value that still fits, with which the store is almost full.
    ctl.ok(&["put", "key", &"v".repeat(60_000)]);
    let full = page(&url);
    assert_eq!(warnings(&full), [1.0; 3]);
    assert_eq!(full.value("etcd_server_quota_backend_bytes", &[]), 1_000_000.0);
    // Nothing is written any more, and the log says it all the same.
    let said = "\"percent-used\":95";
    cluster.server(0).wait_log(said, PATIENCE).expect("a warning");
    ctl.ok(&["put", "key", "small"]);
    ctl.ok(&["compaction", "12", "--physical"]);
    let page = page(&url);
    assert_eq!(warnings(&page), [0.0; 3]);
    assert_eq!(page.value("etcd_debugging_mvcc_db_compaction_keys_total", &[]), 10.0);
    let compactions = "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds_count";
    assert_eq!(page.value(compactions, &[]), 1.0);
}

/// A member that was away for too long is sent the state of the leader.
#[test]
fn snapshots_between_members_are_counted() {
    let settings = [("snapshot-count", "50"), ("snapshot-catchup-entries", "5")];
    let subject = programs::subject_etcd();
    let mut cluster = Cluster::start_with(&subject, 3, "metrics-snapshots", &settings);
    let urls = cluster.endpoints();
    let leads = |url: &String| page(url).value("etcd_server_is_leader", &[]) > 0.0;
    let leader = urls.iter().position(leads).expect("a leader");
    let away = (leader + 1) % 3;
    cluster.kill(away);
    runtime().block_on(async {
        let mut kv = rpc::kv(rpc::channel(&urls[leader], CALL_TIMEOUT));
        for number in 0..400 {
            kv.put(put("key", &number.to_string())).await.expect("a put");
        }
    });
    cluster.start_all().expect("a restart");
    let taken = "etcd_network_snapshot_receive_success";
    let receiver = wait_for(&urls[away], "a snapshot", |page| {
        page.values(taken, &[]).iter().sum::<f64>() > 0.0
    });
    let sent = "etcd_network_snapshot_send_success";
    let sender = wait_for(&urls[leader], "the end of sending it", |page| {
        page.values(sent, &[]).iter().sum::<f64>() > 0.0
    });
    let sum = |page: &Page, name| page.values(name, &[]).iter().sum::<f64>();
    for (page, counted) in [
        (&receiver, "etcd_network_snapshot_receive_total_duration_seconds_count"),
        (&receiver, "etcd_snap_db_save_total_duration_seconds_count"),
        (&sender, "etcd_network_snapshot_send_total_duration_seconds_count"),
        (&sender, "etcd_disk_backend_snapshot_duration_seconds_count"),
    ] {
        assert!(sum(page, counted) >= 1.0, "{counted}");
    }
    for (page, now) in [
        (&receiver, "etcd_network_snapshot_receive_inflights_total"),
        (&receiver, "etcd_server_snapshot_apply_in_progress_total"),
        (&sender, "etcd_network_snapshot_send_inflights_total"),
    ] {
        assert_eq!(sum(page, now), 0.0, "{now}");
    }
    let commits = sum(&sender, "etcd_disk_backend_commit_duration_seconds_count");
    assert!(commits > 0.0 && sum(&sender, "quoin_background_written_bytes_total") > 0.0);
    assert!(sum(&sender, "quoin_segment_live_bytes") > 0.0);
}

#[test]
fn an_alarm_is_shown_while_it_is_raised() {
    let (cluster, url) = alone(&programs::subject_etcd(), "metrics-alarm", &[]);
    let ctl = Etcdctl::new(&programs::subject_etcdctl(), &cluster.endpoints());
    let alarm = |kind| page(&url).value("etcd_debugging_server_alarms", &[("alarm_type", kind)]);
    assert_eq!((alarm("NOSPACE"), alarm("CORRUPT")), (0.0, 0.0));
    let id = page(&url).families["etcd_server_id"].samples[0].1["server_id"].clone();
    let member_id = u64::from_str_radix(&id, 16).expect("a hexadecimal ID");
    let (action, alarm_type) = (AlarmAction::Activate.into(), AlarmType::Nospace.into());
    let raise = AlarmRequest { action, member_id, alarm: alarm_type };
    let raised = runtime()
        .block_on(async { rpc::maintenance(rpc::channel(&url, CALL_TIMEOUT)).alarm(raise).await });
    raised.expect("an alarm");
    assert_eq!((alarm("NOSPACE"), alarm("CORRUPT")), (1.0, 0.0));
    ctl.ok(&["alarm", "disarm"]);
    assert_eq!(alarm("NOSPACE"), 0.0);
}

/// The check reads the memory of the member before and after from its page.
#[test]
fn the_check_of_the_datascale_reads_the_memory() {
    for program in [programs::subject_etcdctl(), programs::reference_etcdctl()] {
        let (cluster, url) = alone(&programs::subject_etcd(), "metrics-datascale", &[]);
        let ctl = Etcdctl::new(&program, &cluster.endpoints());
        let outcome = ctl.run(&["check", "datascale", "--load=s"]);
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(said.contains("PASS: Approximate system memory used"), "{program:?}: {outcome:?}");
        assert!(page(&url).value("etcd_mvcc_put_total", &[]) >= 10_000.0);
    }
}

/// A member with listeners for metrics at these URLs, not started.
fn with_listeners(dir: &Path, urls: &str) -> (Member, PathBuf) {
    let mut member = Member::alone(dir, "m1");
    member.settings.push(("listen-metrics-urls", urls.to_owned()));
    (member, programs::subject_etcd())
}

#[test]
fn listeners_for_metrics_serve_them_and_the_health() {
    let dir = TempDir::new("metrics-listeners");
    let urls = [0, 1].map(|_| format!("http://127.0.0.1:{}", free_port()));
    let (member, program) = with_listeners(dir.path(), &urls.join(","));
    let mut server = Server::start(&member.launch(&program, dir.path())).expect("a start");
    for url in &urls {
        assert_eq!(page(url).value("etcd_server_has_leader", &[]), 1.0);
        let (head, body) = fetch(url, "/health");
        assert!(head.contains(" 200 "), "{head}");
        assert_eq!(body, r#"{"health":"true","reason":""}"#);
        assert!(fetch(url, "/version").0.contains(" 404 "));
    }
    let healthy = page(&member.client_url).value("etcd_server_health_success", &[]);
    assert_eq!(healthy, 2.0);
    // Without the option nobody measures how long handlers take.
    let page = page(&urls[0]);
    assert!(!page.families.contains_key("grpc_server_handling_seconds"));
    let served = page.value("promhttp_metric_handler_requests_total", &[("code", "200")]);
    assert_eq!(served, 3.0);
    server.terminate(PATIENCE).expect("an end");
}

#[test]
fn a_secure_listener_needs_a_certificate() {
    let dir = TempDir::new("metrics-secure");
    let url = format!("https://127.0.0.1:{}", free_port());
    let (member, program) = with_listeners(dir.path(), &url);
    let error = Server::start(&member.launch(&program, dir.path())).expect_err("a refusal");
    let said = "client TLS key/cert (--cert-file, --key-file) must be provided for metrics \
                secure url";
    assert!(error.contains(said), "{error}");
}
