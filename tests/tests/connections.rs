//! Clients that open connections and calls and do not go on with them.

use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use quoin_api::etcdserverpb::PutRequest;
use quoin_tests::cluster::Member;
use quoin_tests::frames::{
    DATA, Frame, GOAWAY, PING, RawConnection, SETTINGS, Sent, UnfinishedCalls,
};
use quoin_tests::programs;
use quoin_tests::rpc;
use quoin_tests::server::Server;
use quoin_tests::temp_dir::TempDir;

const SOON: Duration = Duration::from_secs(20);

fn start(program: &Path, dir: &TempDir, role: &str, settings: &[(&'static str, &str)]) -> Running {
    let home = dir.join(role);
    std::fs::create_dir(&home).expect("a new directory");
    let mut member = Member::alone(&home, role);
    member.settings = settings.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    let server = Server::start(&member.launch(program, &home));
    let server = server.unwrap_or_else(|error| panic!("{role}: {error}"));
    Running { server, url: member.client_url }
}

struct Running {
    server: Server,
    url: String,
}

impl Running {
    fn resident_bytes(&self) -> usize {
        let path = format!("/proc/{}/statm", self.server.pid().as_raw_nonzero());
        let text = std::fs::read_to_string(path).expect("the server runs");
        let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
        pages.expect("a number of pages") * 4096
    }

    fn metric(&self, name: &str) -> f64 {
        let (_, page) = rpc::http_get(&self.url, "/metrics");
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}"))
    }

    /// Puts with another client, and returns how long that took.
    fn put(&self) -> Duration {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime of one thread").block_on(async {
            let began = Instant::now();
            let mut kv = rpc::kv(rpc::channel(&self.url, SOON));
            let put = PutRequest { key: "k".into(), value: "v".into(), ..PutRequest::default() };
            kv.put(put).await.expect("a put");
            began.elapsed()
        })
    }
}

/// Pings without a call until the server ends the connection; returns what it says then.
fn ping_to_death(url: &str) -> (u32, String) {
    let mut connection = RawConnection::open(url);
    for number in 0..20 {
        if connection.send(&Frame::new(PING, 0, &[number; 8])).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    loop {
        let frame = connection.next(SOON).expect("the server ends the connection in time");
        let frame = frame.expect("the server says why it ends the connection");
        match frame.kind {
            GOAWAY => {
                let code = frame.payload[4..8].first_chunk::<4>().expect("four bytes");
                let text = String::from_utf8_lossy(&frame.payload[8..]).into_owned();
                return (u32::from_be_bytes(*code), text);
            }
            SETTINGS | PING => {}
            other => assert_ne!(other, DATA, "nothing was asked"),
        }
    }
}

/// `--grpc-keepalive-min-time` was taken and had no effect: a client that pinged without end was
/// answered without end, where etcd tells it to be calm.
#[test]
fn clients_that_ping_too_often_are_told_what_etcd_tells_them() {
    let dir = TempDir::new("pings");
    let subject = start(&programs::subject_etcd(), &dir, "subject", &[]);
    let reference = start(&programs::reference_etcd(), &dir, "reference", &[]);
    let (ours, theirs) = (ping_to_death(&subject.url), ping_to_death(&reference.url));
    assert_eq!(ours, theirs);
    assert_eq!(ours, (0xb, "too_many_pings".to_owned()));
    assert!(subject.metric("quoin_client_too_many_pings_total") >= 1.0);
}

/// One client began 300 puts on one connection, sent 2.4 MB of each and finished none. They held
/// 720 MB for as long as it liked.
#[test]
fn unfinished_requests_hold_a_bounded_amount_of_memory() {
    const CALLS: u32 = 300;
    const MESSAGE_BYTES: u32 = 2_400_000;
    let part = vec![7; MESSAGE_BYTES as usize];
    let dir = TempDir::new("unfinished");
    let settings = [("max-request-bytes", "3000000")];
    let subject = start(&programs::subject_etcd(), &dir, "subject", &settings);
    subject.put();
    let before = subject.resident_bytes();

    let mut calls = UnfinishedCalls::open(&subject.url);
    // The server may have ended the connection, or take no more of a call: go on with others.
    for _ in 0..CALLS {
        if calls.begin("/etcdserverpb.KV/Put", MESSAGE_BYTES + 1, &part) == Sent::Gone {
            break;
        }
    }
    let grown = subject.resident_bytes().saturating_sub(before);
    println!("{} MiB more, {} calls refused", grown >> 20, calls.refused());
    println!("{:?} for a put of another client", subject.put());
    assert!(grown < 200 << 20, "{grown} bytes more");
    assert!(subject.metric("quoin_unfinished_requests_bytes") > 0.0);
    assert!(subject.metric("quoin_unfinished_requests_refused_total") > 0.0);
    drop(calls);
    let begun = Instant::now();
    while subject.metric("quoin_unfinished_requests_bytes") > 0.0 {
        assert!(begun.elapsed() < SOON, "what a client held is free when it has gone");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Connections on which nothing was said, or half a preface, were there for ever.
#[test]
fn connections_that_say_nothing_end() {
    if !programs::slow_tests() {
        return;
    }
    let dir = TempDir::new("silent");
    let subject = start(&programs::subject_etcd(), &dir, "subject", &[]);
    let openings: [&[u8]; 4] = [b"", b"PR", b"PRI * HTTP/2.0\r\n\r\n", b"GET / HT"];
    let mut connections: Vec<RawConnection> = Vec::new();
    for opening in openings {
        let mut connection = RawConnection::silent(&subject.url);
        std::io::Write::write_all(&mut connection.stream, opening).expect("a few bytes fit");
        connections.push(connection);
    }
    for (connection, opening) in connections.iter_mut().zip(openings) {
        connection.stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        // Whatever the server says before, it ends the connection.
        let mut said = Vec::new();
        let ended = connection.stream.read_to_end(&mut said);
        let is_timeout = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!is_timeout, "{opening:?} is still open");
    }
    assert!(subject.metric("quoin_client_connections") <= 1.0);
}
