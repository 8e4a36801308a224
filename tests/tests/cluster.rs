//! Three members from three configuration files: one store, whichever member is asked.

use std::time::{Duration, Instant};

use quoin_api::etcdserverpb::{PutRequest, RangeRequest, StatusRequest, StatusResponse};
use quoin_tests::cluster::Cluster;
use quoin_tests::ctl::Etcdctl;
use quoin_tests::programs;
use quoin_tests::rpc;
use tokio::runtime::Runtime;
use tonic::{Response, Status};

/// A generous bound for a new leader. On a quiet machine it takes less than two election timeouts
/// (two seconds); the test prints what it took.
const FAILOVER_BOUND: Duration = Duration::from_secs(10);
const FIRST_ELECTION: Duration = Duration::from_secs(30);

#[test]
fn three_members_are_one_store() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime of one thread");
    let mut cluster = Cluster::start(&programs::subject_etcd(), 3, "cluster");
    let urls = cluster.endpoints();
    each_member_sees_what_another_wrote(&urls);
    let mut acknowledged: Vec<String> = Vec::new();
    for number in 0..50 {
        let key = format!("before{number}");
        let answer = runtime.block_on(put(&urls[number % 3], &key, Duration::from_secs(10)));
        answer.unwrap_or_else(|status| panic!("{status}\n{}", cluster.logs()));
        acknowledged.push(key);
    }

    let leader = leader(&runtime, &urls);
    let survivor = (leader + 1) % 3;
    acknowledged.extend(a_new_leader_takes_over(&runtime, &mut cluster, leader, survivor));

    cluster.kill((leader + 2) % 3);
    one_member_of_three_only_reads_what_it_has(&urls[survivor], &acknowledged);

    cluster.start_all().unwrap_or_else(|text| panic!("{text}"));
    for url in &urls {
        for key in &acknowledged {
            let found = runtime.block_on(get(url, key));
            let found = found.unwrap_or_else(|status| panic!("{url}: {status}"));
            assert_eq!(found.as_deref(), Some(key.as_str()), "{key} through {url}");
        }
    }
    let ctl = Etcdctl::new(&programs::reference_etcdctl(), &urls);
    assert_eq!(ctl.ok(&["put", "after", "all"]), "OK\n");
}

fn each_member_sees_what_another_wrote(urls: &[String]) {
    let ctl: Vec<Etcdctl> = urls
        .iter()
        .map(|url| Etcdctl::new(&programs::reference_etcdctl(), std::slice::from_ref(url)))
        .collect();
    for round in 0..5 {
        let value = round.to_string();
        assert_eq!(ctl[0].ok(&["put", "shared", &value]), "OK\n");
        // Linearizable reads: no waiting, whichever member is behind.
        for other in &ctl[1..] {
            assert_eq!(other.ok(&["get", "shared"]), format!("shared\n{value}\n"));
        }
    }
    let members = ctl[1].ok(&["member", "list"]);
    assert_eq!(members.lines().count(), 3, "{members}");
    assert_eq!(members.matches(", started, ").count(), 3, "{members}");
    for reader in &ctl {
        // The members answer in the same order, with the same names and URLs.
        assert_eq!(reader.ok(&["member", "list"]), members);
    }
}

/// Kills the leader and returns the keys that were acknowledged afterwards.
fn a_new_leader_takes_over(
    runtime: &Runtime,
    cluster: &mut Cluster,
    leader: usize,
    survivor: usize,
) -> Vec<String> {
    let url = cluster.endpoints()[survivor].clone();
    cluster.kill(leader);
    let killed = Instant::now();
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let key = format!("failover{number}");
        let answer = runtime.block_on(put(&url, &key, Duration::from_millis(500)));
        if answer.is_ok() {
            acknowledged.push(key);
            break;
        }
        let waited = killed.elapsed();
        assert!(waited < FAILOVER_BOUND, "no write for {waited:?}\n{}", cluster.logs());
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("kill -9 of the leader: writes work again after {:?}", killed.elapsed());
    for number in 0..20 {
        let key = format!("survivors{number}");
        let answer = runtime.block_on(put(&url, &key, Duration::from_secs(10)));
        answer.unwrap_or_else(|status| panic!("{status}\n{}", cluster.logs()));
        acknowledged.push(key);
    }
    acknowledged
}

fn one_member_of_three_only_reads_what_it_has(url: &str, acknowledged: &[String]) {
    let ctl = Etcdctl::new(&programs::reference_etcdctl(), &[url.to_owned()]);
    for timeout in ["--command-timeout=2s", "--command-timeout=20s"] {
        let outcome = ctl.run(&[timeout, "put", "minority", "lost"]);
        let said = &outcome.stderr;
        let expected = ["etcdserver: request timed out", "context deadline exceeded"];
        let known = expected.iter().any(|text| said.contains(text));
        assert!(outcome.code != 0 && known, "{timeout}: {outcome:?}");
    }
    for key in ["shared", acknowledged[0].as_str()] {
        let found = ctl.ok(&["get", key, "--consistency=s", "--keys-only"]);
        assert_eq!(found, format!("{key}\n\n"));
    }
    let outcome = ctl.run(&["--command-timeout=2s", "get", "shared"]);
    assert_ne!(outcome.code, 0, "a linearizable read without a quorum: {outcome:?}");
    // A member that lags answered "no alarm" from its own view while the cluster had one.
    let outcome = ctl.run(&["--command-timeout=2s", "alarm", "list"]);
    assert_ne!(outcome.code, 0, "alarms without a quorum: {outcome:?}");
}

async fn put(url: &str, key: &str, timeout: Duration) -> Result<(), Status> {
    let mut kv = rpc::kv(rpc::channel(url, timeout));
    let (key, value) = (key.to_owned().into(), key.to_owned().into());
    kv.put(PutRequest { key, value, ..PutRequest::default() }).await.map(drop)
}

async fn get(url: &str, key: &str) -> Result<Option<String>, Status> {
    let mut kv = rpc::kv(rpc::channel(url, Duration::from_secs(10)));
    let key = key.to_owned().into();
    let answer = kv.range(RangeRequest { key, ..RangeRequest::default() }).await?.into_inner();
    let value = answer.kvs.first().map(|kv| String::from_utf8_lossy(&kv.value).into_owned());
    Ok(value)
}

async fn status(url: &str) -> Result<StatusResponse, Status> {
    let mut client = rpc::maintenance(rpc::channel(url, Duration::from_secs(10)));
    client.status(StatusRequest {}).await.map(Response::into_inner)
}

/// The position of the leader, as all members agree on it.
fn leader(runtime: &Runtime, urls: &[String]) -> usize {
    let deadline = Instant::now() + FIRST_ELECTION;
    loop {
        let mut ids = Vec::new();
        let mut leaders = Vec::new();
        for url in urls {
            if let Ok(status) = runtime.block_on(status(url)) {
                ids.push(status.header.map_or(0, |header| header.member_id));
                leaders.push(status.leader);
            }
        }
        let agreed = leaders.iter().all(|leader| Some(leader) == leaders.first());
        if let Some(leader) = leaders.first()
            && agreed
            && ids.len() == urls.len()
            && let Some(position) = ids.iter().position(|id| id == leader)
        {
            return position;
        }
        assert!(Instant::now() < deadline, "no leader: members {ids:?} follow {leaders:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
