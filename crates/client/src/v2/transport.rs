//! One HTTP request to one server, over a connection of its own.
//!
//! Invariants:
//! - The head of the answer arrives within the header timeout or the call fails; a request that
//!   waits for an event has no header timeout.
//! - Everything ends at the deadline of the call.
//! - An answer is never larger than [`MAX_BODY_BYTES`].
//!
//! Not here: which server, redirects, what an answer means.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Error, Url};

/// The largest answer that is taken: a listing of a whole tree is one answer.
const MAX_BODY_BYTES: usize = 1 << 30;

/// What is asked of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) url: Url,
    /// What follows the head, and its type; a request that changes something has one even if it
    /// is empty.
    pub(super) body: Option<(&'static str, String)>,
    /// The value of the header `Authorization`.
    pub(super) authorization: Option<String>,
    /// Whether the answer comes when something happens.
    pub(super) waits: bool,
}

/// What a server answered.
#[derive(Clone, Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Bytes,
}

impl Response {
    /// A header as text; empty if it is not there.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// How long the parts of a request may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For connecting.
    pub(super) dial: Duration,
    /// For everything up to the head of the answer; none for no limit.
    pub(super) header: Option<Duration>,
    /// When the whole call ends; none for never.
    pub(super) deadline: Option<Instant>,
}

/// Sends a request and returns the whole answer. `endpoint` is what errors call the server.
pub(super) async fn round_trip(
    request: Request,
    endpoint: &str,
    limits: Limits,
) -> Result<Response, Error> {
    let header_end = limits.header.filter(|_| !request.waits).map(|limit| Instant::now() + limit);
    let late = || {
        let is_over = limits.deadline.is_some_and(|deadline| deadline <= Instant::now());
        if is_over { Error::Deadline } else { Error::HeaderTimeout(endpoint.to_owned()) }
    };
    let head = exchange(request, limits.dial);
    let response = match header_end.into_iter().chain(limits.deadline).min() {
        None => head.await,
        // The timer counts milliseconds, in which a server nearby may have answered already.
        Some(end) if end <= Instant::now() => Err(late()),
        Some(end) => timeout_at(end, head).await.unwrap_or_else(|_| Err(late())),
    }?;
    let (parts, body) = response.into_parts();
    let body = read_body(body);
    let body = match limits.deadline {
        None => body.await,
        Some(end) => timeout_at(end, body).await.unwrap_or(Err(Error::Deadline)),
    }?;
    Ok(Response { status: parts.status.as_u16(), headers: parts.headers, body })
}

/// Connects, sends the request and returns when the head of the answer is there.
async fn exchange(request: Request, dial: Duration) -> Result<http::Response<Incoming>, Error> {
    let url = &request.url;
    match url.scheme.as_str() {
        "http" => {}
        "https" => return Err(Error::Tls(format!("https://{}", url.host))),
        other => return Err(Error::Text(format!("unsupported protocol scheme {other:?}"))),
    }
    if url.host.is_empty() {
        return Err(Error::Text("http: no Host in request URL".to_owned()));
    }
    let (stream, address) = connect(url, dial).await?;
    let local = stream.local_addr().map_err(|error| Error::Text(error.to_string()))?;
    let broken = |error: hyper::Error| broken(&error, local, address);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // The connection ends with its one answer; what breaks it shows in the answer as well.
    tokio::spawn(async move { connection.await.ok() });
    let message = message(&request)?;
    sender.send_request(message).await.map_err(broken)
}

fn message(request: &Request) -> Result<http::Request<Full<Bytes>>, Error> {
    let mut builder = http::Request::builder()
        .method(request.method)
        .uri(request.url.request_target())
        .header(http::header::HOST, request.url.host.as_str());
    if let Some(authorization) = &request.authorization {
        builder = builder.header(http::header::AUTHORIZATION, authorization.as_str());
    }
    let mut content = Bytes::new();
    if let Some((content_type, body)) = &request.body {
        builder = builder.header(http::header::CONTENT_TYPE, *content_type);
        content = Bytes::from(body.clone());
    }
    builder.body(Full::new(content)).map_err(|error| Error::Text(error.to_string()))
}

/// Connects to the first address of the host that accepts. The error is the first one.
async fn connect(url: &Url, limit: Duration) -> Result<(TcpStream, SocketAddr), Error> {
    const HTTP_PORT: u16 = 80;
    let (host, port) = url.host_and_port();
    let port: u16 = match port {
        None => HTTP_PORT,
        Some(port) => port
            .parse()
            .map_err(|_| Error::Connection(format!("dial tcp: address {port}: invalid port")))?,
    };
    let unknown = || Error::Connection(format!("dial tcp: lookup {host}: no such host"));
    let addresses = lookup_host((host, port)).await.map_err(|_| unknown())?;
    let mut first = None;
    for address in addresses {
        let failed = match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small requests must not wait for the acknowledgement of each other.
                stream.set_nodelay(true).ok();
                return Ok((stream, address));
            }
            Ok(Err(error)) => format!("dial tcp {address}: {}", system_call("connect", &error)),
            Err(_) => format!("dial tcp {address}: i/o timeout"),
        };
        first.get_or_insert(failed);
    }
    Err(first.map_or_else(unknown, Error::Connection))
}

/// Words an error of the system as Go does: the call, then the reason in lower case.
fn system_call(call: &str, error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    match error.raw_os_error() {
        Some(_) => format!("{call}: {}", text.to_lowercase()),
        None => text.to_owned(),
    }
}

/// Why a connection gave no answer.
fn broken(error: &hyper::Error, local: SocketAddr, remote: SocketAddr) -> Error {
    let source = std::error::Error::source(error);
    if let Some(error) = source.and_then(|source| source.downcast_ref::<io::Error>()) {
        let reason = system_call("read", error);
        return Error::Connection(format!("read tcp {local}->{remote}: {reason}"));
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return Error::Text("EOF".to_owned());
    }
    Error::Text(format!("net/http: HTTP/1.x transport connection broken: {error}"))
}

async fn read_body(mut body: Incoming) -> Result<Bytes, Error> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Error::Text("unexpected EOF".to_owned()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > MAX_BODY_BYTES {
            return Err(Error::Text(format!("the answer is larger than {MAX_BODY_BYTES} bytes")));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}
