//! One HTTP/2 connection to one endpoint.
//!
//! A connection counts as up once the server has sent its first frame, SETTINGS: a port that
//! accepts but does not speak HTTP/2 never comes up, and no request is lost on it.
//!
//! Invariants:
//! - An error of the service carries [`Untaken`] as its source only if the server did not process
//!   the request: it never left this process, or the server said so when it closed down.
//!
//! Not here: which endpoint to use, and when to connect again (see `pool`).

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use http_body_util::BodyExt;
use http_body_util::combinators::MapErr;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tonic::Status;
use tonic::body::Body;

use crate::Options;
use crate::endpoint::{Address, Endpoint};

/// The sending half of a connection; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    sender: http2::SendRequest<Body>,
    /// What the requests name as their authority.
    pub(crate) origin: Uri,
    /// The remote and the local address; none for a Unix socket.
    pub(crate) addresses: Option<(SocketAddr, SocketAddr)>,
}

/// Drives a connection; ends when the connection does.
pub(crate) type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

impl Connection {
    /// Connects and waits for the server's greeting. The error is text for a person.
    pub(crate) async fn dial(
        endpoint: &Endpoint,
        options: &Options,
    ) -> Result<(Self, Driver), String> {
        let origin = origin(endpoint);
        match &endpoint.address {
            Address::Tcp(address) => {
                let failed = |error| dial_error("tcp", address, &error);
                let stream = connect(address).await?;
                stream.set_nodelay(true).map_err(failed)?;
                let remote = stream.peer_addr().map_err(failed)?;
                let local = stream.local_addr().map_err(failed)?;
                greet(stream, origin, Some((remote, local)), options).await
            }
            Address::Unix(path) => {
                let failed = |error| dial_error("unix", path, &error);
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                greet(stream, origin, None, options).await
            }
            Address::Invalid(reason) => Err(format!("Error while dialing: dial tcp: {reason}")),
        }
    }

    /// Returns whether the connection can take requests.
    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

/// Connects to the first address of a name that takes the connection.
async fn connect(address: &str) -> Result<TcpStream, String> {
    // Without a host, this one is meant.
    let is_here = address.starts_with(':');
    let name = if is_here { format!("localhost{address}") } else { address.to_owned() };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let unknown = || format!("Error while dialing: dial tcp: lookup {host}: no such host");
    let found = tokio::net::lookup_host(&name).await.map_err(|_| unknown())?;
    let mut failed = None;
    for found in found {
        match TcpStream::connect(found).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                let shown = if is_here { address.to_owned() } else { found.to_string() };
                // The first one says most, as in Go.
                failed.get_or_insert_with(|| dial_error("tcp", &shown, &error));
            }
        }
    }
    Err(failed.unwrap_or_else(unknown))
}

/// Words a failed dial as gRPC for Go does, because people and tests look for it.
fn dial_error(network: &str, address: &str, error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let what = match error.raw_os_error() {
        Some(_) => format!("connect: {}", text.to_lowercase()),
        None => text.to_owned(),
    };
    format!("Error while dialing: dial {network} {address}: {what}")
}

/// The authority that requests name, the endpoint's own unless HTTP cannot carry it.
fn origin(endpoint: &Endpoint) -> Uri {
    let parsed = match &endpoint.address {
        Address::Tcp(_) => format!("http://{}", endpoint.authority).parse().ok(),
        Address::Unix(_) | Address::Invalid(_) => None,
    };
    parsed.unwrap_or_else(|| Uri::from_static("http://localhost"))
}

async fn greet(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    origin: Uri,
    addresses: Option<(SocketAddr, SocketAddr)>,
    options: &Options,
) -> Result<(Connection, Driver), String> {
    let failed = |error: &dyn fmt::Display| format!("{PREFACE}: {error}");
    let (greeted, greeting) = oneshot::channel();
    let stream = Greeted { stream, head: Vec::new(), greeted: Some(greeted) };
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(options.probe_interval())
        .keep_alive_timeout(options.keepalive_timeout)
        .max_send_buf_size(1 << 20)
        .adaptive_window(true);
    let (sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    let mut driver: Driver = Box::pin(connection);
    tokio::select! {
        biased;
        // The driver also fails over a greeting that is none, and knows less about it.
        Ok(greeting) = greeting => match greeting {
            Greeting::Settings => Ok((Connection { sender, origin, addresses }, driver)),
            Greeting::Http1 => Err(failed(&HTTP1_GREETING)),
            Greeting::Other => Err(failed(&"http2: frame too large")),
        },
        ended = &mut driver => match ended {
            Ok(()) => Err(failed(&"EOF")),
            Err(error) => Err(failed(&error)),
        },
    }
}

/// How the reason begins if a server is there and does not speak HTTP/2.
pub(crate) const PREFACE: &str = "error reading server preface";
/// What gRPC for Go says of a server that answers in HTTP/1.1.
const HTTP1_GREETING: &str = "http2: failed reading the frame payload: http2: frame too large, \
                              note that the frame header looked like an HTTP/1.1 header";

/// What a server sent first.
enum Greeting {
    Settings,
    Http1,
    Other,
}

/// A stream that tells what the first frame header is.
struct Greeted<S> {
    stream: S,
    head: Vec<u8>,
    greeted: Option<oneshot::Sender<Greeting>>,
}

/// Three bytes of length, then the type of the frame.
const FRAME_TYPE: usize = 3;
const SETTINGS: u8 = 4;
/// How a response of HTTP/1.1 begins. It is as long as the header of a frame.
const HTTP1: &[u8] = b"HTTP/1.1 ";

impl<S: AsyncRead + Unpin> AsyncRead for Greeted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if self.greeted.is_some() {
            let missing = HTTP1.len() - self.head.len();
            self.head.extend(buffer.filled()[before..].iter().take(missing));
            if let Some(&kind) = self.head.get(FRAME_TYPE)
                && let Some(greeted) = self.greeted.take()
            {
                let greeting = match kind {
                    _ if self.head.starts_with(HTTP1) => Greeting::Http1,
                    SETTINGS => Greeting::Settings,
                    _ => Greeting::Other,
                };
                // The receiver is gone only if nobody waits for this connection any more.
                greeted.send(greeting).ok();
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Marks the status of a request that the server did not process.
#[derive(Debug)]
pub(crate) struct Untaken;

impl fmt::Display for Untaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server did not process the request")
    }
}

impl std::error::Error for Untaken {}

/// Returns whether the server told that it has not processed the stream: it was opened after the
/// last one that GOAWAY names, or it was refused.
fn is_refused(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    source.and_then(|source| source.downcast_ref::<h2::Error>()).is_some_and(|error| {
        let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (error.is_go_away() || error.is_reset() && refused)
    })
}

/// What a failure of the transport means to a call: the server cannot answer now.
fn lost(error: &hyper::Error) -> Status {
    let mut text = format!("error reading from server: {error}");
    if let Some(source) = std::error::Error::source(error) {
        text = format!("{text}: {source}");
    }
    Status::unavailable(text)
}

impl tower_service::Service<http::Request<Body>> for Connection {
    type Response = http::Response<MapErr<Incoming, fn(hyper::Error) -> Status>>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // A connection that is closed gives the request back from `call`.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.sender.try_send_request(request);
        Box::pin(async move {
            match answer.await {
                Ok(response) => {
                    let lost: fn(hyper::Error) -> Status = |error| lost(&error);
                    Ok(response.map(|body| body.map_err(lost)))
                }
                Err(error) => {
                    let mut status = lost(error.error());
                    if error.message().is_some() || is_refused(error.error()) {
                        status.set_source(Arc::new(Untaken));
                    }
                    Err(status)
                }
            }
        })
    }
}
