//! Leases of real members: they live their time at least, end soon after it with all their keys,
//! and survive what happens to the leader.
//!
//! Times are generous, because the machine may be busy: what is checked strictly is that nothing
//! ends early.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use quoin_api::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, MoveLeaderRequest, PutRequest, RangeRequest,
    StatusRequest,
};
use quoin_tests::cluster::Cluster;
use quoin_tests::programs::{self, Version};
use quoin_tests::rpc;
use rustix::process::Signal;
use tokio::runtime::Runtime;
use tonic::codegen::tokio_stream::{self, StreamExt as _};
use tonic::{Request, Status};

/// A client gives up on an answer after this long.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// The oldest etcd that understands what our members say about themselves.
const IN_ONE_CLUSTER: Version = Version { major: 3, minor: 5 };
/// What must happen soon has happened after this long.
const SOON: Duration = Duration::from_secs(20);

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime of one thread")
}

async fn grant(url: &str, id: i64, ttl: i64) -> Result<(i64, i64), Status> {
    let mut lease = rpc::lease(rpc::channel(url, CALL_TIMEOUT));
    let granted = lease.lease_grant(LeaseGrantRequest { ttl, id }).await?.into_inner();
    Ok((granted.id, granted.ttl))
}

async fn put(url: &str, key: &str, lease: i64) -> Result<i64, Status> {
    let key = key.to_owned().into_bytes().into();
    let put = PutRequest { key, lease, ..PutRequest::default() };
    let answer = rpc::kv(rpc::channel(url, CALL_TIMEOUT)).put(put).await?.into_inner();
    Ok(answer.header.map_or(0, |header| header.revision))
}

/// The keys from `first` on and the revision at which they were looked at.
async fn keys(url: &str, first: &str) -> Result<(i64, i64), Status> {
    let range = RangeRequest {
        key: first.to_owned().into_bytes().into(),
        range_end: vec![0].into(),
        count_only: true,
        ..RangeRequest::default()
    };
    let answer = rpc::kv(rpc::channel(url, CALL_TIMEOUT)).range(range).await?.into_inner();
    Ok((answer.count, answer.header.map_or(0, |header| header.revision)))
}

/// Renews leases over one stream; returns their times to live.
async fn renew(url: &str, ids: &[i64]) -> Result<Vec<i64>, Status> {
    let mut lease = rpc::lease(rpc::channel(url, CALL_TIMEOUT));
    let requests: Vec<_> = ids.iter().map(|id| LeaseKeepAliveRequest { id: *id }).collect();
    let mut answers = lease.lease_keep_alive(tokio_stream::iter(requests)).await?.into_inner();
    let mut times = Vec::new();
    for id in ids {
        let Some(answer) = answers.message().await? else { break };
        assert_eq!(answer.id, *id, "answers come in order");
        times.push(answer.ttl);
    }
    assert!(answers.message().await?.is_none(), "the stream ends after the last answer");
    Ok(times)
}

async fn time(url: &str, id: i64) -> Result<LeaseTimeToLiveResponse, Status> {
    let mut lease = rpc::lease(rpc::channel(url, CALL_TIMEOUT));
    let request = LeaseTimeToLiveRequest { id, keys: true };
    Ok(lease.lease_time_to_live(request).await?.into_inner())
}

async fn listed(url: &str) -> Result<Vec<i64>, Status> {
    let mut lease = rpc::lease(rpc::channel(url, CALL_TIMEOUT));
    let answer = lease.lease_leases(LeaseLeasesRequest {}).await?.into_inner();
    Ok(answer.leases.iter().map(|lease| lease.id).collect())
}

async fn revoke(url: &str, id: i64) -> Result<(), Status> {
    let mut lease = rpc::lease(rpc::channel(url, CALL_TIMEOUT));
    lease.lease_revoke(LeaseRevokeRequest { id }).await.map(drop)
}

/// The position of the leader that one of these members knows.
async fn leader(urls: &[String], ask: usize) -> usize {
    let started = Instant::now();
    loop {
        let mut ids = Vec::new();
        let mut known = 0;
        for (position, url) in urls.iter().enumerate() {
            let mut client = rpc::maintenance(rpc::channel(url, Duration::from_secs(2)));
            let status =
                client.status(StatusRequest {}).await.ok().map(tonic::Response::into_inner);
            let id =
                status.as_ref().and_then(|status| status.header).map(|header| header.member_id);
            ids.push(id);
            if position == ask {
                known = status.map_or(0, |status| status.leader);
            }
        }
        if let Some(position) = ids.iter().position(|id| *id == Some(known)) {
            return position;
        }
        assert!(started.elapsed() < SOON, "no leader: {ids:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until no lease is listed and returns how long that took.
async fn wait_for_the_end(url: &str, since: Instant) -> Duration {
    while !listed(url).await.expect("a list").is_empty() {
        assert!(since.elapsed() < SOON, "the lease does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    since.elapsed()
}

#[test]
fn a_lease_lives_its_time_and_ends_with_its_keys() {
    let cluster = Cluster::start(&programs::subject_etcd(), 1, "lease");
    let url = cluster.endpoints().remove(0);
    runtime().block_on(async {
        // What is too short is raised, and the server chooses a positive ID.
        let (id, ttl) = grant(&url, 0, 1).await.expect("a grant");
        assert!(id > 0 && ttl == 2, "{id} {ttl}");
        let granted = Instant::now();
        for key in ["a", "b", "c"] {
            put(&url, key, id).await.expect("a put");
        }
        // A key that moves to another lease, or to none, stays.
        let (other, _) = grant(&url, 7, 600).await.expect("a grant");
        put(&url, "moved", id).await.expect("a put");
        put(&url, "moved", other).await.expect("a put");
        let before = put(&url, "plain", 0).await.expect("a put");
        let left = time(&url, id).await.expect("a time");
        assert_eq!((left.granted_ttl, left.keys.len()), (2, 3));
        while listed(&url).await.expect("a list").contains(&id) {
            assert!(granted.elapsed() < SOON, "the lease does not end");
        }
        assert!(granted.elapsed() >= Duration::from_secs(2), "{:?}", granted.elapsed());
        let (left, revision) = keys(&url, "a").await.expect("a count");
        assert_eq!((left, revision), (2, before + 1), "all keys end in one revision");
        assert_eq!(time(&url, id).await.expect("an answer").ttl, -1);
        assert_eq!(renew(&url, &[id, other, id]).await.expect("answers"), [0, 600, 0]);
        revoke(&url, other).await.expect("the lease exists");
        let again = revoke(&url, other).await.expect_err("it is gone");
        assert_eq!(again.message(), "etcdserver: requested lease not found");
        let refused = grant(&url, 1, 9_000_000_001).await.expect_err("it is too long");
        assert_eq!(refused.message(), "etcdserver: too large lease TTL");
        assert_eq!(keys(&url, "a").await.expect("a count").0, 1);
    });
}

#[test]
fn every_member_renews_and_tells_the_time() {
    all_members_serve_leases(&vec![programs::subject_etcd(); 3], "lease-members");
}

/// A member of etcd asks ours about leases, and ours ask it, whoever leads.
#[test]
fn members_of_etcd_and_ours_serve_leases_together() {
    let (subject, reference) = (programs::subject_etcd(), programs::reference_etcd());
    if programs::etcd_version(&reference) < IN_ONE_CLUSTER {
        println!("skipped: {} is too old for a cluster with ours", reference.display());
        return;
    }
    all_members_serve_leases(&[subject.clone(), reference, subject], "lease-mixed");
}

fn all_members_serve_leases(programs: &[PathBuf], label: &str) {
    let cluster = Cluster::start_mixed(programs, label);
    let urls = cluster.endpoints();
    runtime().block_on(async {
        for number in 0..3 {
            let leads = leader(&urls, 0).await;
            let (long, short) = (100 + number, 200 + number);
            grant(&urls[0], long, 300).await.expect("a grant");
            grant(&urls[1], short, 3).await.expect("a grant");
            put(&urls[2], "long", long).await.expect("a put");
            put(&urls[2], "short", short).await.expect("a put");
            for round in 0..4 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                for url in &urls {
                    let times = renew(url, &[long, short, 999]).await.expect("answers");
                    assert_eq!(times, [300, 3, 0], "{leads} leads, round {round}, {url}");
                    let left = time(url, long).await.expect("an answer");
                    let answer = (left.granted_ttl, left.keys.len());
                    assert_eq!(answer, (300, 1), "{leads} leads, {url}");
                    assert!((298..=300).contains(&left.ttl), "{leads} leads, {url}: {left:?}");
                    assert_eq!(time(url, 999).await.expect("an answer").ttl, -1);
                }
            }
            revoke(&urls[1], long).await.expect("the lease exists");
            wait_for_the_end(&urls[leads], Instant::now()).await;
            for url in &urls {
                assert_eq!(keys(url, "short").await.expect("a count").0, 0);
            }
            move_leader(&urls, leads).await;
        }
    });
}

async fn move_leader(urls: &[String], from: usize) {
    let to = &urls[(from + 1) % urls.len()];
    let mut client = rpc::maintenance(rpc::channel(to, CALL_TIMEOUT));
    let status = client.status(StatusRequest {}).await.expect("a status").into_inner();
    let target_id = status.header.expect("a header").member_id;
    let mut client = rpc::maintenance(rpc::channel(&urls[from], CALL_TIMEOUT));
    client.move_leader(MoveLeaderRequest { target_id }).await.expect("a transfer");
}

/// etcd's next leader starts the time of all leases anew, so a lease that nobody renews may never
/// end (issues 9395, 13294).
#[test]
fn what_is_left_of_a_lease_survives_the_leader() {
    let mut cluster = Cluster::start(&programs::subject_etcd(), 3, "lease-kill");
    let urls = cluster.endpoints();
    runtime().block_on(async {
        let leads = leader(&urls, 0).await;
        let granted = Instant::now();
        grant(&urls[leads], 1, 60).await.expect("a grant");
        grant(&urls[leads], 2, 60).await.expect("a grant");
        tokio::time::sleep(Duration::from_secs(12)).await;
        // This one has all of its time again, and no leader may think otherwise.
        assert_eq!(renew(&urls[leads], &[2]).await.expect("an answer"), [60]);
        let renewed = Instant::now();
        cluster.kill(leads);
        let survivor = (leads + 1) % 3;
        let left = time(&urls[survivor], 1).await.expect("the new leader answers");
        let real = Duration::from_secs(60).saturating_sub(granted.elapsed()).as_secs();
        let told = u64::try_from(left.ttl).expect("the lease lives");
        assert!(told + 1 >= real, "{told} s are told, {real} s are left");
        assert!(told <= 52, "{told} s are told, {real} s are left");
        let left = time(&urls[survivor], 2).await.expect("the new leader answers");
        let real = Duration::from_secs(60).saturating_sub(renewed.elapsed()).as_secs();
        assert!(u64::try_from(left.ttl).expect("the lease lives") + 1 >= real, "{left:?}");
    });
}

/// A leader that stood still for longer than a lease lives, and then ended it although another
/// leader had renewed it (issues 12528, 15247).
#[test]
fn a_leader_that_stood_still_ends_no_lease_that_another_renewed() {
    let mut cluster = Cluster::start(&programs::subject_etcd(), 3, "lease-stop");
    let urls = cluster.endpoints();
    runtime().block_on(async {
        let leads = leader(&urls, 0).await;
        let others = [(leads + 1) % 3, (leads + 2) % 3];
        let ids: Vec<i64> = (1..=200).collect();
        for id in &ids {
            grant(&urls[leads], *id, 5).await.expect("a grant");
        }
        cluster.server(leads).signal(Signal::STOP);
        let stopped = Instant::now();
        while stopped.elapsed() < Duration::from_secs(9) {
            let url = &urls[others[0]];
            let times = renew(url, &ids).await.expect("the others find a leader");
            assert!(times.iter().all(|ttl| *ttl == 5), "{times:?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        cluster.server(leads).signal(Signal::CONT);
        let resumed = Instant::now();
        while resumed.elapsed() < Duration::from_secs(4) {
            for url in &urls {
                let times = renew(url, &ids).await.expect("all members find the leader");
                assert!(times.iter().all(|ttl| *ttl == 5), "{times:?}");
            }
        }
        assert_eq!(listed(&urls[others[0]]).await.expect("a list").len(), ids.len());
    });
}

/// Half a million leases that end at once took ten minutes (issue 12105), and nothing else was done
/// meanwhile (issue 9360).
#[test]
fn many_leases_end_at_once_and_puts_go_on() {
    const LEASES: i64 = 3000;
    let cluster = Cluster::start(&programs::subject_etcd(), 3, "lease-many");
    let urls = cluster.endpoints();
    runtime().block_on(async {
        let leads = leader(&urls, 0).await;
        let channel = rpc::channel(&urls[leads], CALL_TIMEOUT);
        let mut tasks = Vec::new();
        for first in 0..50 {
            let (mut lease, mut kv) = (rpc::lease(channel.clone()), rpc::kv(channel.clone()));
            tasks.push(tokio::spawn(async move {
                for id in (1..=LEASES).filter(|id| id % 50 == first) {
                    let request = LeaseGrantRequest { ttl: 8, id };
                    lease.lease_grant(request).await.expect("a grant");
                    let key = format!("leased/{id}").into_bytes().into();
                    let put = PutRequest { key, lease: id, ..PutRequest::default() };
                    kv.put(put).await.expect("a put");
                }
            }));
        }
        for task in tasks {
            task.await.expect("no task panics");
        }
        let started = Instant::now();
        let mut slowest = Duration::ZERO;
        while !listed(&urls[leads]).await.expect("a list").is_empty() {
            let begun = Instant::now();
            put(&urls[leads], "other", 0).await.expect("a put");
            slowest = slowest.max(begun.elapsed());
            assert!(started.elapsed() < Duration::from_secs(30), "some leases do not end");
        }
        println!("all ended after {:?}, slowest put {slowest:?}", started.elapsed());
        assert!(slowest < Duration::from_secs(5), "{slowest:?}");
        for url in &urls {
            assert_eq!(keys(url, "leased/").await.expect("a count").0, 1, "{url}");
        }
    });
}

/// A call of a client that requires a leader.
fn strict<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("hasleader", "true".parse().expect("a header value"));
    request
}

/// A client that requires a leader is told at once, or soon, that there is none; every call looks
/// at it, also a read that needs no leader.
#[test]
fn calls_that_require_a_leader_end_without_one() {
    let mut cluster = Cluster::start(&programs::subject_etcd(), 3, "lease-leader");
    let url = cluster.members[0].client_url.clone();
    runtime().block_on(async {
        grant(&url, 7, 600).await.expect("a grant");
        let mut lease = rpc::lease(rpc::streams(&url));
        let renewals = tokio_stream::once(LeaseKeepAliveRequest { id: 7 });
        let renewals = renewals.chain(tokio_stream::pending());
        let answers = lease.lease_keep_alive(strict(renewals)).await.expect("there is a leader");
        let mut answers = answers.into_inner();
        assert_eq!(answers.message().await.expect("an answer").expect("an answer").ttl, 600);
        cluster.kill(1);
        cluster.kill(2);
        let end = tokio::time::timeout(SOON, answers.message()).await.expect("the leader is lost");
        let no_leader = |status: Status| {
            assert_eq!(status.message(), "etcdserver: no leader");
            assert_eq!(status.code(), tonic::Code::Unavailable);
        };
        no_leader(end.expect_err("the stream ends"));
        let renewals = tokio_stream::pending::<LeaseKeepAliveRequest>();
        no_leader(lease.lease_keep_alive(strict(renewals)).await.expect_err("a new stream"));
        let request = LeaseGrantRequest { ttl: 60, id: 8 };
        no_leader(lease.lease_grant(strict(request)).await.expect_err("a grant"));
        let range =
            RangeRequest { key: vec![b'a'].into(), serializable: true, ..RangeRequest::default() };
        let mut kv = rpc::kv(rpc::channel(&url, CALL_TIMEOUT));
        no_leader(kv.range(strict(range.clone())).await.expect_err("a read"));
        kv.range(range).await.expect("a read that does not require it");
    });
}
