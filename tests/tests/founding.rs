//! Members that start together: they ask each other first, and find their leader early.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use quoin_tests::cluster::{Cluster, Member};
use quoin_tests::ctl::Etcdctl;
use quoin_tests::programs;
use quoin_tests::server::Server;
use quoin_tests::temp_dir::TempDir;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);
const SIZE: usize = 3;

fn host(url: &str) -> &str {
    url.strip_prefix("http://").expect("a plain URL")
}

/// The first answer to a question on a port that may not be bound yet.
fn first_answer(host: &str, path: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "{host} never answers");
        std::thread::sleep(PAUSE);
        let Ok(mut stream) = TcpStream::connect(host) else { continue };
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        let asked = stream.write_all(request.as_bytes());
        if asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && !answer.is_empty() {
            return answer;
        }
    }
}

/// The story: five members that started together took 4 to 8 s. Each asked the others, one after the
/// other, whether they knew it; their ports were bound and not served, so that each question
/// waited for its limit of 2 s.
#[test]
fn members_that_start_ask_all_at_once_and_answer_meanwhile() {
    let mut cluster = Cluster::prepare(&programs::subject_etcd(), SIZE, "founding");
    let silent = [1, 2].map(|other| {
        let host = host(&cluster.members[other].peer_url);
        TcpListener::bind(host).expect("the port was free a moment ago")
    });
    cluster.spawn(0);
    let mut asked = silent.iter().map(|listener| {
        let (mut stream, _) = listener.accept().expect("a question");
        let mut head = [0; 1024];
        let length = stream.read(&mut head).expect("a request");
        assert!(head[..length].starts_with(b"GET /members HTTP/1.1\r\n"));
        stream
    });
    let mut questions = [asked.next().expect("the first"), asked.next().expect("the second")];
    for stream in &mut questions {
        // A question that was given up would be at its end.
        stream.set_nonblocking(true).expect("a socket can wait or not");
        let error = stream.read(&mut [0; 1]).expect_err("still waiting for an answer");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
    let own = host(&cluster.members[0].peer_url).to_owned();
    let answer = first_answer(&own, "/members");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("starting"), "{answer}");
    // Then it takes its place without them.
    drop((questions, silent));
    let waited = cluster.server(0).wait_log("starting local member", PATIENCE);
    waited.unwrap_or_else(|error| panic!("{error}"));
    let answer = first_answer(&own, "/version");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn the_first_election_comes_early_once_peers_are_connected() {
    const HASTENED: &str = "initialized peer connections; fast-forwarding election ticks";
    let mut cluster = Cluster::start(&programs::subject_etcd(), SIZE, "founding");
    for position in 0..SIZE {
        cluster.kill(position);
    }
    cluster.start_all().unwrap_or_else(|error| panic!("{error}"));
    let logs = (0..SIZE).map(|position| cluster.server(position).log_text());
    let lines: Vec<String> = logs
        .flat_map(|log| log.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter(|line| line.contains(HASTENED))
        .collect();
    assert!(!lines.is_empty(), "nobody hastened the election");
    for line in lines {
        for field in [
            "\"forward-ticks\":8",
            "\"forward-duration\":\"800ms\"",
            "\"election-ticks\":10",
            "\"election-timeout\":\"1s\"",
            "\"active-remote-members\":2",
        ] {
            assert!(line.contains(field), "{field} is not in {line}");
        }
    }
}

/// What the member says of its versions as soon as it says that it is ready.
fn versions_when_ready(server: &mut Server, url: &str) -> Value {
    server.wait_ready(PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let answer = first_answer(host(url), "/version");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{body}: {error}"))
}

/// The story: for a tenth of a second after `ready to serve client requests` a member had no cluster
/// version, and a backup that was taken then none of the stored form.
#[test]
fn a_member_that_is_ready_knows_its_versions() {
    const STARTS: usize = 5;
    let program = programs::subject_etcd();
    let version = programs::etcd_version(&program);
    let expected = format!("{}.{}.0", version.major, version.minor);
    for _ in 0..STARTS {
        let dir = TempDir::new("versions");
        let member = Member::alone(dir.path(), "m1");
        let mut server = Server::spawn(&member.launch(&program, dir.path()));
        let versions = versions_when_ready(&mut server, &member.client_url);
        assert_eq!(versions["etcdcluster"], *expected, "{versions}");
        assert_eq!(versions["storage"], *expected, "{versions}");
        let file = dir.join("backup").display().to_string();
        let endpoints = [member.client_url.clone()];
        Etcdctl::new(&programs::subject_etcdctl(), &endpoints).ok(&["snapshot", "save", &file]);
        let tool = Etcdctl::bare(&programs::subject_etcdutl());
        let status = tool.ok(&["snapshot", "status", &file, "-w", "json"]);
        let status: Value = serde_json::from_str(&status).expect("JSON");
        assert_eq!(status["version"], *expected, "{status}");
    }
}

/// A cluster that is founded while a member is away begins with version 3.0, and etcd 3.7.1 says of
/// its store that it has the form of 3.5, and writes nothing of it down. One that is silent is
/// waited for.
#[test]
fn a_cluster_without_one_of_its_members_has_the_first_version() {
    for is_silent in [false, true] {
        let mut cluster = Cluster::prepare(&programs::subject_etcd(), SIZE, "versions");
        let third = host(&cluster.members[2].peer_url).to_owned();
        let silent = is_silent.then(|| TcpListener::bind(third).expect("a free port"));
        cluster.spawn(0);
        cluster.spawn(1);
        let url = cluster.members[0].client_url.clone();
        let versions = versions_when_ready(cluster.server(0), &url);
        drop(silent);
        assert_eq!(versions["etcdcluster"], "3.0.0", "{versions}");
        assert_eq!(versions["storage"], "3.5.0", "{versions}");
        let ctl = Etcdctl::new(&programs::subject_etcdctl(), &[url]);
        let status = ctl.ok(&["endpoint", "status", "-w", "json"]);
        assert!(status.contains("\"storageVersion\":\"3.5.0\""), "{status}");
        let file = cluster.dir().join("backup").display().to_string();
        ctl.ok(&["snapshot", "save", &file]);
        let tool = Etcdctl::bare(&programs::subject_etcdutl());
        let status = tool.ok(&["snapshot", "status", &file, "-w", "json"]);
        assert!(status.contains("\"version\":\"\""), "{status}");
    }
}

/// The story: members came to be ready before they had heard what the others run, and refused the
/// first writes of the v2 API of a new cluster: "v2 requests are refused while member ... (of unknown
/// version) cannot apply them".
#[test]
fn a_member_that_is_ready_takes_v2_writes() {
    let settings = [("enable-v2", "true")];
    for attempt in 0..3 {
        let program = programs::subject_etcd();
        let cluster = Cluster::start_with(&program, SIZE, "founding-v2", &settings);
        for member in 0..SIZE {
            let path = format!("/v2/keys/{attempt}/{member}");
            let answer = put(host(&cluster.members[member].client_url), &path, "value=x");
            assert!(answer.starts_with("HTTP/1.1 201 "), "{attempt} {member}: {answer}");
        }
    }
}

fn put(host: &str, path: &str, form: &str) -> String {
    let mut stream = TcpStream::connect(host).expect("a member that is ready");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
    let request = format!(
        "PUT {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(request.as_bytes()).expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}
