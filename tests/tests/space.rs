//! Space: the quota and its alarm, automatic compaction.

use std::time::{Duration, Instant};

use quoin_api::etcdserverpb::kv_client::KvClient;
use quoin_api::etcdserverpb::maintenance_client::MaintenanceClient;
use quoin_api::etcdserverpb::{CompactionRequest, HashKvRequest, PutRequest};
use quoin_tests::cluster::Cluster;
use quoin_tests::ctl::Etcdctl;
use quoin_tests::{programs, rpc};

/// How long something that happens by itself may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);
/// Puts after which a quota of one megabyte must have been reached.
const PUTS_MAX: usize = 40;
/// Physical compactions whose hash is asked for at once.
const COMPACTIONS: usize = 100;

const COMPACTED: &str = "Error: etcdserver: mvcc: required revision has been compacted";
const NO_SPACE: &str = "Error: etcdserver: mvcc: database space exceeded";

fn start(label: &str, settings: &[(&'static str, &str)]) -> (Cluster, Etcdctl) {
    let cluster = Cluster::start_with(&programs::subject_etcd(), 1, label, settings);
    let ctl = Etcdctl::new(&programs::reference_etcdctl(), &cluster.endpoints());
    (cluster, ctl)
}

/// The last line that a command says on standard error.
fn complaint(ctl: &Etcdctl, args: &[&str]) -> Option<String> {
    let outcome = ctl.run(args);
    if outcome.code == 0 { None } else { outcome.stderr.lines().last().map(str::to_owned) }
}

#[test]
fn a_full_store_refuses_what_grows_until_it_is_disarmed() {
    let (_cluster, ctl) = start("quota", &[("quota-backend-bytes", "1048576")]);
    let value = "v".repeat(64 << 10);
    let said = (0..PUTS_MAX).find_map(|_| complaint(&ctl, &["put", "key", &value]));
    assert_eq!(said.as_deref(), Some(NO_SPACE));
    let alarms = ctl.ok(&["alarm", "list"]);
    assert!(alarms.contains("alarm:NOSPACE"), "{alarms:?}");

    for growing in [&["put", "small", "v"][..], &["lease", "grant", "60"]] {
        let said = complaint(&ctl, growing).unwrap_or_default();
        assert!(said.contains("mvcc: database space exceeded"), "{growing:?}: {said}");
    }
    assert_eq!(ctl.ok(&["get", "key", "--keys-only"]), "key\n\n");
    assert_eq!(ctl.ok(&["del", "key"]), "1\n");

    // Disarmed while it is still full, the next put raises the alarm again.
    ctl.ok(&["alarm", "disarm"]);
    assert_eq!(complaint(&ctl, &["put", "key", &value]).as_deref(), Some(NO_SPACE));

    let status = ctl.ok(&["endpoint", "status", "-w", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let revision = status[0]["Status"]["header"]["revision"].to_string();
    ctl.ok(&["compaction", &revision, "--physical"]);
    ctl.ok(&["alarm", "disarm"]);
    assert_eq!(ctl.ok(&["put", "key", &value]), "OK\n", "what was compacted is free at once");
    assert_eq!(ctl.ok(&["alarm", "list"]), "");
}

#[test]
fn a_negative_quota_is_none() {
    let (_cluster, ctl) = start("no-quota", &[("quota-backend-bytes", "-1")]);
    let value = "v".repeat(100 << 10);
    for _ in 0..PUTS_MAX {
        ctl.ok(&["put", "key", &value]);
    }
}

#[test]
fn history_is_compacted_by_age() {
    let settings = [("auto-compaction-mode", "periodic"), ("auto-compaction-retention", "\"1s\"")];
    let (_cluster, ctl) = start("periodic", &settings);
    ctl.ok(&["put", "key", "old"]);
    ctl.ok(&["put", "key", "new"]);
    let deadline = Instant::now() + PATIENCE;
    while complaint(&ctl, &["get", "key", "--rev=2"]).as_deref() != Some(COMPACTED) {
        assert!(Instant::now() < deadline, "revision 2 is still there");
        std::thread::sleep(PAUSE);
    }
    assert_eq!(ctl.ok(&["get", "key"]), "key\nnew\n");
}

/// The member answered a physical compaction, about once in many thousand times, before the thread
/// that hashes had been told of it; the hash was then that of the compacted store and not the one
/// that the compaction left behind, with which members compare one another.
#[test]
fn the_hash_of_a_physical_compaction_is_there_when_it_is_answered() {
    let (cluster, _ctl) = start("physical", &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime of one thread");
    runtime.block_on(async {
        let channel = rpc::channel(&cluster.members[0].client_url, PATIENCE);
        let (mut kv, mut maintenance) =
            (KvClient::new(channel.clone()), MaintenanceClient::new(channel));
        let mut before = None;
        for round in 0..COMPACTIONS {
            let put = PutRequest { key: b"key".as_slice().into(), ..Default::default() };
            let put = kv.put(put).await.expect("a put").into_inner();
            let revision = put.header.map_or(0, |header| header.revision);
            let compaction = CompactionRequest { revision, physical: true };
            kv.compact(compaction).await.expect("a compaction");
            let hash = maintenance.hash_kv(HashKvRequest { revision }).await.expect("a hash");
            let hash = hash.into_inner();
            let expected = (revision, before.unwrap_or(-1));
            assert_eq!((hash.hash_revision, hash.compact_revision), expected, "round {round}");
            before = Some(revision);
        }
    });
}
