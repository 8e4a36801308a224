//! Which calls a member answers that lags behind the others and has no quorum: the table of
//! `docs/consistency.md`, and the same calls to a real etcd.

use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use quoin_api::etcdserverpb::cluster_client::ClusterClient;
use quoin_api::etcdserverpb::request_op::Request as Operation;
use quoin_api::etcdserverpb::watch_client::WatchClient;
use quoin_api::etcdserverpb::watch_request::RequestUnion;
use quoin_api::etcdserverpb::{
    AlarmRequest, CompactionRequest, DefragmentRequest, DeleteRangeRequest, HashKvRequest,
    HashRequest, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest, MemberListRequest, MoveLeaderRequest, PutRequest, RangeRequest,
    RequestOp, SnapshotRequest, StatusRequest, TxnRequest, WatchCreateRequest, WatchRequest,
};
use quoin_api::healthpb::HealthCheckRequest;
use quoin_api::healthpb::health_client::HealthClient;
use quoin_tests::cluster::Cluster;
use quoin_tests::programs::{self, etcd_version, reference_etcd, subject_etcd};
use quoin_tests::rpc;
use rustix::process::Signal;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// What a member must know of its cluster to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// What it has applied.
    Itself,
    /// What a majority says.
    Quorum,
}
use Needs::{Itself, Quorum};

type Answered = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;
type Calls = Vec<(&'static str, Needs, Answered)>;

/// How long a call may take. A member that can answer alone does so at once; one that cannot is given
/// enough time to make a mistake: more than an election takes.
const PATIENCE: Duration = Duration::from_secs(4);
const LEASE: i64 = 7;

fn answered<T>(call: impl Future<Output = Result<T, Status>> + Send + 'static) -> Answered {
    Box::pin(async move { call.await.map(drop) })
}

fn range(serializable: bool) -> RangeRequest {
    RangeRequest { key: "key".into(), serializable, ..Default::default() }
}

/// A write that may still take effect when the others are back.
fn put() -> PutRequest {
    PutRequest { key: "perhaps".into(), value: "lost".into(), ..Default::default() }
}

fn txn(operations: impl IntoIterator<Item = Operation>) -> TxnRequest {
    let operation = |request| RequestOp { request: Some(request) };
    TxnRequest { success: operations.into_iter().map(operation).collect(), ..Default::default() }
}

fn kv_calls(channel: &Channel, minor: u32) -> Calls {
    let client = || rpc::kv(channel.clone());
    let ranged = |serializable| {
        let mut kv = client();
        answered(async move { kv.range(range(serializable)).await })
    };
    let streamed = |serializable| {
        let mut kv = client();
        answered(
            async move { kv.range_stream(range(serializable)).await?.into_inner().message().await },
        )
    };
    let tried = |request: TxnRequest| {
        let mut kv = client();
        answered(async move { kv.txn(request).await })
    };
    let (mut putting, mut deleting, mut compacting) = (client(), client(), client());
    let delete = DeleteRangeRequest { key: "perhaps".into(), ..Default::default() };
    let compact = CompactionRequest { revision: 2, physical: false };
    let mut calls: Calls = vec![
        ("range", Quorum, ranged(false)),
        ("serializable range", Itself, ranged(true)),
        ("put", Quorum, answered(async move { putting.put(put()).await })),
        ("delete", Quorum, answered(async move { deleting.delete_range(delete).await })),
        ("compact", Quorum, answered(async move { compacting.compact(compact).await })),
        ("txn that writes", Quorum, tried(txn([Operation::RequestPut(put())]))),
        ("txn that reads", Quorum, tried(txn([Operation::RequestRange(range(false))]))),
        ("serializable txn", Itself, tried(txn([Operation::RequestRange(range(true))]))),
        (
            "txn that reads both ways",
            Quorum,
            tried(txn([true, false].map(|it| Operation::RequestRange(range(it))))),
        ),
        ("txn inside a txn", Quorum, tried(txn([Operation::RequestTxn(txn([]))]))),
        ("txn without operations", Itself, tried(txn([]))),
    ];
    if minor >= 7 {
        calls.push(("range stream", Quorum, streamed(false)));
        calls.push(("serializable range stream", Itself, streamed(true)));
    }
    calls
}

fn lease_calls(channel: &Channel) -> Calls {
    let client = || rpc::lease(channel.clone());
    let (mut grant, mut revoke, mut time, mut list, mut renew) =
        (client(), client(), client(), client(), client());
    let grant = async move { grant.lease_grant(LeaseGrantRequest { id: 0, ttl: 60 }).await };
    let revoke = async move { revoke.lease_revoke(LeaseRevokeRequest { id: LEASE }).await };
    let ask = LeaseTimeToLiveRequest { id: LEASE, keys: false };
    let time = async move { time.lease_time_to_live(ask).await };
    let list = async move { list.lease_leases(LeaseLeasesRequest {}).await };
    let renewals = tokio_stream::iter([LeaseKeepAliveRequest { id: LEASE }]);
    let renew = async move {
        let mut answers = renew.lease_keep_alive(renewals).await?.into_inner();
        answers.message().await?.ok_or_else(|| Status::unavailable("the stream ended"))
    };
    vec![
        ("lease grant", Quorum, answered(grant)),
        ("lease revoke", Quorum, answered(revoke)),
        ("lease keep alive", Quorum, answered(renew)),
        ("lease time to live", Quorum, answered(time)),
        ("lease list", Itself, answered(list)),
    ]
}

fn cluster_calls(channel: &Channel, minor: u32) -> Calls {
    let listed = |linearizable| {
        let mut cluster = ClusterClient::new(channel.clone());
        answered(async move { cluster.member_list(MemberListRequest { linearizable }).await })
    };
    let mut calls: Calls = vec![("member list of its own", Itself, listed(false))];
    // etcd 3.4 knows no other.
    if minor >= 5 {
        calls.push(("member list", Quorum, listed(true)));
    }
    calls
}

fn maintenance_calls(channel: &Channel) -> Calls {
    let client = || rpc::maintenance(channel.clone());
    let mut alarm = client();
    let alarm = async move { alarm.alarm(AlarmRequest::default()).await };
    let mut status = client();
    let status = async move { status.status(StatusRequest {}).await };
    let mut defragment = client();
    let defragment = async move { defragment.defragment(DefragmentRequest {}).await };
    let mut hash = client();
    let hash = async move { hash.hash(HashRequest {}).await };
    let mut hash_kv = client();
    let hash_kv = async move { hash_kv.hash_kv(HashKvRequest { revision: 0 }).await };
    let mut snapshot = client();
    let snapshot =
        async move { snapshot.snapshot(SnapshotRequest {}).await?.into_inner().message().await };
    let mut transfer = client();
    let transfer = async move { transfer.move_leader(MoveLeaderRequest { target_id: 1 }).await };
    let mut health = HealthClient::new(channel.clone());
    let health = async move { health.check(HealthCheckRequest::default()).await };
    vec![
        ("alarm list", Quorum, answered(alarm)),
        ("status", Itself, answered(status)),
        ("defragment", Itself, answered(defragment)),
        ("hash", Itself, answered(hash)),
        ("hash of the keys", Itself, answered(hash_kv)),
        ("snapshot", Itself, answered(snapshot)),
        ("move leader", Quorum, answered(transfer)),
        ("health", Itself, answered(health)),
    ]
}

fn watch_calls(channel: &Channel) -> Calls {
    let watched = |requires_leader: bool| {
        let mut watch = WatchClient::new(channel.clone());
        let create = WatchCreateRequest { key: "key".into(), ..Default::default() };
        let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let requests =
            tokio_stream::StreamExt::chain(tokio_stream::iter([create]), tokio_stream::pending());
        let mut request = Request::new(requests);
        if requires_leader {
            request.metadata_mut().insert("hasleader", "true".parse().expect("a word"));
        }
        answered(async move { watch.watch(request).await?.into_inner().message().await })
    };
    vec![("watch", Itself, watched(false)), ("watch with a leader", Quorum, watched(true))]
}

/// Asks everything at once and returns what was answered in time.
async fn ask(url: &str, minor: u32, has_lost_leader: bool) -> Vec<(&'static str, Needs, bool)> {
    let channel = rpc::channel(url, PATIENCE);
    let mut calls = kv_calls(&channel, minor);
    calls.extend(lease_calls(&channel));
    calls.extend(cluster_calls(&channel, minor));
    calls.extend(maintenance_calls(&channel));
    let is_known =
        |call: &(&'static str, Needs, Answered)| has_lost_leader || call.0 != "watch with a leader";
    calls.extend(watch_calls(&channel).into_iter().filter(is_known));
    let mut asked = tokio::task::JoinSet::new();
    for (name, needs, call) in calls {
        asked.spawn(async move {
            let outcome = tokio::time::timeout(PATIENCE, call).await;
            (name, needs, matches!(outcome, Ok(Ok(()))))
        });
    }
    asked.join_all().await
}

#[track_caller]
fn assert_as_in_the_table(program: &Path, when: &str, asked: Vec<(&'static str, Needs, bool)>) {
    for (name, needs, was_answered) in asked {
        let expected = needs == Itself;
        assert_eq!(was_answered, expected, "{}, {when}: {name}", program.display());
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime without special wishes")
}

/// Asks a member that stood still while the others went on, and led before or not.
fn check(program: &Path, leads_at_first: bool) {
    let minor = etcd_version(program).minor;
    let mut cluster = Cluster::start(program, 3, "consistency");
    let urls = cluster.endpoints();
    let runtime = runtime();
    let _guard = runtime.enter();
    let status = |url: &String| {
        let mut client = rpc::maintenance(rpc::channel(url, PATIENCE));
        runtime.block_on(async { client.status(StatusRequest {}).await }).expect("a status")
    };
    let statuses: Vec<_> = urls.iter().map(|url| status(url).into_inner()).collect();
    let leads = |at: &usize| {
        statuses[*at].header.as_ref().map(|header| header.member_id) == Some(statuses[*at].leader)
    };
    let leader = (0..3).find(leads).expect("one of three leads");
    let lagging = if leads_at_first { leader } else { (leader + 1) % 3 };
    let others = [(lagging + 1) % 3, (lagging + 2) % 3];
    let write = |at: usize, value: &'static str| {
        let put = || PutRequest { key: "key".into(), value: value.into(), ..Default::default() };
        let written = async {
            let mut kv = rpc::kv(rpc::channel(&urls[at], PATIENCE));
            // While there is no leader, the others elect one.
            while kv.put(put()).await.is_err() {}
        };
        runtime
            .block_on(async { tokio::time::timeout(PATIENCE * 5, written).await })
            .expect("a quorum");
    };
    let mut lease = rpc::lease(rpc::channel(&urls[leader], PATIENCE));
    let grant = LeaseGrantRequest { id: LEASE, ttl: 600 };
    runtime.block_on(async { lease.lease_grant(grant).await }).expect("a quorum");
    write(leader, "old");
    // It stands still while the others go on, and wakes up alone. It still believes in its leader.
    cluster.server(lagging).signal(Signal::STOP);
    write(others[0], "new");
    others.iter().for_each(|&other| cluster.server(other).signal(Signal::STOP));
    cluster.server(lagging).signal(Signal::CONT);
    let asked = runtime.block_on(ask(&urls[lagging], minor, false));
    assert_as_in_the_table(program, "just after it woke up", asked);
    let asked = runtime.block_on(ask(&urls[lagging], minor, true));
    assert_as_in_the_table(program, "when it knows that it is alone", asked);
    let mut probes = vec![("/health", 503), ("/version", 200)];
    if minor >= 7 {
        probes.extend([("/health?serializable=true", 200), ("/livez", 200)]);
    }
    // etcd lets who asks wait.
    if !programs::is_original(program) {
        let own = [("/readyz", 503), ("/v2/keys", 200), ("/v2/keys?quorum=true", 500)];
        probes.extend(own);
    }
    for (path, code) in probes {
        let (found, body) = rpc::http_get(&urls[lagging], path);
        assert_eq!(found, code, "{}: {path}: {body}", program.display());
    }
    others.iter().for_each(|&other| cluster.server(other).signal(Signal::CONT));
    let fresh = async {
        loop {
            let mut kv = rpc::kv(rpc::channel(&urls[lagging], PATIENCE));
            if let Ok(answer) = kv.range(range(false)).await {
                break answer.into_inner();
            }
        }
    };
    let fresh = runtime.block_on(async { tokio::time::timeout(PATIENCE * 10, fresh).await });
    assert_eq!(fresh.expect("the quorum is back").kvs[0].value, "new", "{}", program.display());
}

/// `alarm list` and other reads that etcd sends through the log were answered from the view of the
/// member that was asked, which may know of nothing that happened since it lost the others.
#[test]
fn a_member_that_lags_alone_answers_only_for_itself() {
    check(&subject_etcd(), false);
}

/// It does not know yet that there was another leader after it.
#[test]
fn a_leader_of_the_past_answers_only_for_itself() {
    check(&subject_etcd(), true);
}

#[test]
fn etcd_answers_the_same_when_it_lags_alone() {
    let reference = reference_etcd();
    if programs::is_original(&reference) {
        check(&reference, false);
    }
}
