//! Requests to a peer, over connections that we open.
//!
//! A connection is driven by the task that uses it: bytes from the socket reach the one who waits
//! for them without a hand-over between tasks.

use std::error::Error as _;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Shared;
use super::io::Deadlined;
use super::limits;
use super::urls::{PeerUrl, Scheme};

/// The body of a request to a peer.
pub(super) type RequestBody = UnsyncBoxBody<Bytes, io::Error>;

/// Moves bytes between the socket and the one who sends requests.
pub(super) type Driver = http1::Connection<TokioIo<Deadlined<TcpStream>>, RequestBody>;

/// An open connection.
pub(super) struct Connection {
    pub(super) sender: http1::SendRequest<RequestBody>,
    /// None once the connection is of no further use.
    pub(super) driver: Option<Driver>,
}

/// Why a request to a peer failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// The text is Go's, because operators look for it.
    #[error("dial tcp {0}: {text}", text = connect_text(.1))]
    Connect(String, io::Error),
    #[error("{}", with_source(.0))]
    Http(#[from] hyper::Error),
    /// What broke the connection under a request.
    #[error("{}", with_source(.0))]
    Connection(hyper::Error),
    #[error("cannot read the answer: {0}")]
    Answer(String),
}

/// Go names the call of the operating system that failed, if one did.
fn connect_text(error: &io::Error) -> String {
    let text = crate::config::go_io_error(error);
    if error.raw_os_error().is_some() { format!("connect: {text}") } else { text }
}

/// The HTTP library names its own step only; what the socket said is the cause. A peer that is gone
/// reads as in Go, because operators look for it.
fn with_source(error: &hyper::Error) -> String {
    let Some(source) = error.source() else { return error.to_string() };
    match source.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::UnexpectedEof) => "unexpected EOF".to_owned(),
        _ => format!("{error}: {source}"),
    }
}

/// Whether a connection fails when nothing arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// A stream: the peer sends heartbeats.
    Fails,
    /// A request whose answer may take its time; the caller has its own deadline.
    IsFine,
}

/// Opens a connection to a peer.
pub(super) async fn connect(
    shared: &Shared,
    url: &PeerUrl,
    silence: Silence,
) -> Result<Connection, DialError> {
    let failed = |error| DialError::Connect(url.authority.clone(), error);
    let io = open(url, shared.dial_timeout()).await.map_err(failed)?;
    let io = match silence {
        Silence::Fails => Deadlined::reads_and_writes(io, limits::IO_DEADLINE),
        Silence::IsFine => Deadlined::writes(io, limits::IO_DEADLINE),
    };
    let (sender, driver) =
        http1::Builder::new().title_case_headers(true).handshake(TokioIo::new(io)).await?;
    Ok(Connection { sender, driver: Some(driver) })
}

/// Opens the byte stream below HTTP. TLS belongs here: the rest of the transport does not see it.
async fn open(url: &PeerUrl, limit: Duration) -> io::Result<TcpStream> {
    match url.scheme {
        Scheme::Http => {}
        Scheme::Https => {
            let text = "TLS to peers is not configured";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
    }
    let stream = timeout(limit, TcpStream::connect(url.authority.as_str()))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "i/o timeout"))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Runs `work`, which uses the connection, while moving its bytes in the same task. When the
/// connection breaks, `work` is left to notice, and its error is explained by the connection's.
pub(super) async fn drive<T>(
    driver: &mut Option<Driver>,
    work: impl Future<Output = Result<T, DialError>>,
) -> Result<T, DialError> {
    let mut work = pin!(work);
    let Some(running) = driver else { return work.await };
    let broken = tokio::select! {
        biased;
        done = &mut work => return done,
        end = running => end.err(),
    };
    *driver = None;
    work.await.map_err(|error| broken.map_or(error, DialError::Connection))
}

/// Returns a request to a peer, with this member's introduction.
pub(super) fn request(
    shared: &Shared,
    url: &PeerUrl,
    method: Method,
    path: &str,
    body: RequestBody,
) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("the paths of the protocol are URIs");
    let headers = request.headers_mut();
    let host = HeaderValue::try_from(&url.authority);
    headers.insert(HOST, host.expect("an authority is made of header bytes"));
    shared.identity.introduce(headers);
    request
}

/// Returns a POST to a peer.
pub(super) fn post(
    shared: &Shared,
    url: &PeerUrl,
    path: &str,
    content_type: &'static str,
    body: RequestBody,
) -> Request<RequestBody> {
    let mut request = request(shared, url, Method::POST, path, body);
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    request
}

/// Returns a body that is in memory.
pub(super) fn fixed(bytes: impl Into<Bytes>) -> RequestBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Reads an answer whole; it must be short.
pub(super) async fn answer(response: Response<Incoming>) -> Result<Bytes, DialError> {
    let body = Limited::new(response.into_body(), limits::ANSWER_BYTES);
    match body.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(DialError::Answer("it is too long".to_owned()))
        }
        Err(error) => Err(DialError::Answer(error.to_string())),
    }
}
