//! gRPC clients for one member, and its plain HTTP pages.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use quoin_api::etcdserverpb::kv_client::KvClient;
use quoin_api::etcdserverpb::lease_client::LeaseClient;
use quoin_api::etcdserverpb::maintenance_client::MaintenanceClient;
use tonic::transport::{Channel, Endpoint};

/// The KV service of one member.
pub type Kv = KvClient<Channel>;

/// The Maintenance service of one member.
pub type Maintenance = MaintenanceClient<Channel>;

/// The Lease service of one member.
pub type Lease = LeaseClient<Channel>;

/// Largest answer that a client of these tests takes.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A channel that connects when it is first used and again after every failure, and that gives
/// each call at most `timeout`.
///
/// # Panics
/// If `url` is not a URL.
pub fn channel(url: &str, timeout: Duration) -> Channel {
    let endpoint = Endpoint::from_shared(url.to_owned()).expect("a client URL");
    endpoint.connect_timeout(timeout).timeout(timeout).connect_lazy()
}

/// A client of the KV service.
pub fn kv(channel: Channel) -> Kv {
    KvClient::new(channel)
        .max_decoding_message_size(MAX_ANSWER_BYTES)
        .max_encoding_message_size(MAX_ANSWER_BYTES)
}

/// A client of the Maintenance service.
pub fn maintenance(channel: Channel) -> Maintenance {
    MaintenanceClient::new(channel)
}

/// A client of the Lease service.
pub fn lease(channel: Channel) -> Lease {
    LeaseClient::new(channel)
}

/// A channel whose calls may take for ever.
///
/// # Panics
/// If `url` is not a URL.
pub fn streams(url: &str) -> Channel {
    Endpoint::from_shared(url.to_owned()).expect("a client URL").connect_lazy()
}

/// An HTTP/1.1 GET: the status code and the body.
///
/// # Panics
/// If there is no answer.
pub fn http_get(url: &str, path: &str) -> (u16, String) {
    let host = url.strip_prefix("http://").expect("a plain URL");
    let mut stream = TcpStream::connect(host).unwrap_or_else(|error| panic!("{host}: {error}"));
    let limit = Some(Duration::from_secs(10));
    stream.set_read_timeout(limit).expect("a timeout that is not zero");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request of one packet");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap_or_else(|error| panic!("{url}{path}: {error}"));
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (code.unwrap_or_else(|| panic!("no status in {head:?}")), body.to_owned())
}
