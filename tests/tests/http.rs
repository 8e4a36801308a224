//! The plain endpoints of the client port: every method and path, and what browsers are told. The
//! same is asked of an etcd of 3.7, if there is one.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use quoin_tests::cluster::Member;
use quoin_tests::programs::{self, etcd_version, reference_etcd, subject_etcd};
use quoin_tests::server::{Launch, Server};
use quoin_tests::temp_dir::TempDir;

const PATHS: [&str; 22] = [
    "/version",
    "/version/",
    "/health",
    "/health?serializable=true",
    "/health?serializable=TRUE",
    "/health?exclude=NOSPACE",
    "/health/x",
    "/livez",
    "/livez?verbose",
    "/livez/serializable_read",
    "/livez/linearizable_read",
    "/readyz",
    "/readyz?exclude=linearizable_read&exclude=x",
    "/readyz/data_corruption",
    "/readyz/",
    "/metrics",
    "/debug/vars",
    "/debug/pprof/",
    "/nosuch",
    "/",
    "//version",
    "/a/../version",
];
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "FOO"];

/// A response without what differs between two servers.
#[derive(Debug, PartialEq)]
struct Answer {
    status: String,
    headers: BTreeMap<String, String>,
    body: String,
}

fn ask(url: &str, method: &str, path: &str, host: &str, extra: &[(&str, &str)]) -> Answer {
    let address = url.strip_prefix("http://").expect("a plain URL");
    let mut stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{url}: {error}"));
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout that is not zero");
    let extra: String = extra.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{extra}Content-Length: 0\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("a request of one packet");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap_or_else(|error| panic!("{url}{path}: {error}"));
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let (status, lines) = head.split_once("\r\n").unwrap_or((head, ""));
    let headers = lines.split("\r\n").filter_map(|line| line.split_once(": "));
    let own = ["date", "content-length", "transfer-encoding", "x-quoin-version", "connection"];
    let headers = headers
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .filter(|(name, _)| !own.contains(&name.as_str()));
    // What a page says depends on the server, and the storage version of etcd on the moment.
    let own_pages = ["/metrics", "/debug/vars", "/version"];
    let is_page = status.contains("200") && own_pages.iter().any(|page| path.starts_with(page));
    let is_own = is_page || status.contains("421");
    let body = if is_own { String::new() } else { body.to_owned() };
    Answer { status: status.to_owned(), headers: headers.collect(), body }
}

/// A server with these settings, its URL and its directory.
fn start(program: &std::path::Path, settings: &[&str]) -> (Server, String, TempDir) {
    let dir = TempDir::new("http");
    let member = Member::alone(dir.path(), "m");
    // Flags, because a configuration file makes etcd ignore them.
    let mut args: Vec<String> = [
        ("name", member.name.as_str()),
        ("listen-client-urls", &member.client_url),
        ("advertise-client-urls", &member.client_url),
        ("listen-peer-urls", &member.peer_url),
        ("initial-advertise-peer-urls", &member.advertised_peer_url),
        ("initial-cluster", &member.initial_cluster),
    ]
    .iter()
    .map(|(flag, value)| format!("--{flag}={value}"))
    .collect();
    args.push(format!("--data-dir={}", member.data_dir.display()));
    args.extend(settings.iter().map(|setting| (*setting).to_owned()));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let launch = Launch::new(program, dir.path(), "m").args(&args);
    let server = Server::start(&launch).unwrap_or_else(|error| panic!("{error}"));
    (server, member.client_url, dir)
}

/// A real etcd of 3.7, whose answers are right.
fn reference() -> Option<std::path::PathBuf> {
    let program = reference_etcd();
    let is_new = programs::is_original(&program) && etcd_version(&program).minor >= 7;
    is_new.then_some(program)
}

/// Errors went out without `X-Content-Type-Options: nosniff`, so that a browser might run what an
/// error quotes; `/livez`, `/readyz` and `/debug/vars`, which probes and monitors ask, were not there.
#[test]
fn every_method_and_path_is_answered_as_by_etcd() {
    let (_server, url, _dir) = start(&subject_etcd(), &[]);
    let get = |path: &str| ask(&url, "GET", path, "h", &[]);
    let refused = ask(&url, "POST", "/health", "h", &[]);
    assert_eq!(refused.status, "HTTP/1.1 405 Method Not Allowed");
    assert_eq!(refused.headers.get("x-content-type-options").map(String::as_str), Some("nosniff"));
    assert_eq!(get("/livez").body, "ok\n");
    let checks = "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n\
                  [+]non_learner ok\nok\n";
    assert_eq!(get("/readyz?verbose").body, checks);
    assert_eq!(get("/debug/vars").status, "HTTP/1.1 200 OK");
    // Scrapers ask for it; the page is a tenth of its length then.
    let gzip = ask(&url, "GET", "/metrics", "h", &[("Accept-Encoding", "br, gzip;q=0.5")]);
    assert_eq!(gzip.headers.get("content-encoding").map(String::as_str), Some("gzip"));

    let Some(program) = reference() else { return };
    let (_reference, reference_url, _reference_dir) = start(&program, &[]);
    for path in PATHS {
        for method in METHODS {
            let mut expected = ask(&reference_url, method, path, "h", &[]);
            if path == "/metrics" {
                // Which form of the format is meant.
                expected.headers.remove("content-type");
            }
            let mut found = ask(&url, method, path, "h", &[]);
            if path == "/metrics" {
                found.headers.remove("content-type");
            }
            assert_eq!(found, expected, "{method} {path}");
        }
    }
}

/// `--host-whitelist` was refused as not built. It keeps pages of foreign sites, whose names resolve
/// to a member's address (CVE-2018-5702), from reading what the member says.
#[test]
fn only_hosts_and_origins_that_are_named_are_answered() {
    let settings = ["--cors=http://a:1", "--host-whitelist=h,::1"];
    let (_server, url, _dir) = start(&subject_etcd(), &settings);
    let status = |host: &str| ask(&url, "GET", "/version", host, &[]).status;
    assert_eq!(status("h:2379"), "HTTP/1.1 200 OK");
    assert_eq!(status("evil"), "HTTP/1.1 421 Misdirected Request");
    let origin = |origin: &str| {
        let answer = ask(&url, "GET", "/version", "h", &[("Origin", origin)]);
        answer.headers.get("access-control-allow-origin").cloned()
    };
    assert_eq!(origin("http://a:1").as_deref(), Some("http://a:1"));
    assert_eq!(origin("http://b:1"), None);

    let Some(program) = reference() else { return };
    let (_reference, reference_url, _reference_dir) = start(&program, &settings);
    let hosts =
        ["h", "h:2379", "H", "evil", "evil:2379", "[::1]", "[::1]:2379", "::1", "h:1:2", ""];
    for host in hosts {
        for origin in [None, Some("http://a:1"), Some("http://b:1"), Some("http://A:1")] {
            for (method, path) in [("GET", "/version"), ("OPTIONS", "/nosuch"), ("GET", "/nosuch")]
            {
                let extra: Vec<_> = origin.iter().map(|origin| ("Origin", *origin)).collect();
                let expected = ask(&reference_url, method, path, host, &extra);
                let found = ask(&url, method, path, host, &extra);
                assert_eq!(found, expected, "{method} {path} of {host:?} from {origin:?}");
            }
        }
    }
}
