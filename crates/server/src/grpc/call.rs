//! The rules of gRPC around a handler: what is refused before it, how long it may take, and how
//! its request arrives.
//!
//! Codes and texts are those of etcd's gRPC library, because clients match them.
//!
//! Invariants:
//! - A request costs memory for the bytes that have arrived, not for the length it announces; how
//!   much of it is bounded while it is not whole (`unfinished`).
//! - A call ends at the deadline that its client has set.
//!
//! Not here: services and methods, the limits of connections.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper::body::{Body as HttpBody, Frame};
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use super::encoding::{self, Encoding, Inflated};
use super::stats::{DELETE_RANGE, PUT, RANGE, Stats, TXN};
use super::unfinished::{Charge, OnConnection, RestTime};
use super::{counted, large, ready_made};
use crate::config::Config;
use crate::metrics::{Call, Received};

/// The flag and the length before each message.
pub(super) const PREFIX_BYTES: usize = 5;
/// The highest flag: the message is compressed.
pub(super) const COMPRESSED: u8 = 1;

/// Returns true for requests that are gRPC: others get an answer of plain HTTP.
pub(crate) fn is_grpc<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_2 && is_grpc_type(request.headers())
}

/// Returns true if the body has the form of gRPC.
pub(crate) fn is_grpc_type(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(&[][..], |kind| kind.as_bytes());
    let kind = kind.strip_prefix(b"application/grpc");
    kind.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Returns the time that the client gives a call, if its head asks for nothing unusual: compression, or
/// a time that cannot be read.
pub(crate) fn usual_deadline(headers: &HeaderMap) -> Option<Option<Duration>> {
    let encoding = Encoding::of(headers).ok()?;
    deadline(headers).ok().filter(|_| encoding == Encoding::Identity)
}

/// Answers a call of a service that does not exist.
pub(crate) fn unknown_service(path: &str) -> Response<Body> {
    let status = match path.strip_prefix('/').and_then(|name| name.rsplit_once('/')) {
        Some((service, _)) => Status::unimplemented(format!("unknown service {service}")),
        None => Status::unimplemented(format!("malformed method name: {path:?}")),
    };
    status.into_http()
}

/// Calls a method of `service` with messages of at most `limit` bytes. What was begun as `rpc` is
/// counted.
pub(crate) async fn call<S, B>(
    mut service: S,
    mut request: Request<B>,
    (limit, rpc): (usize, Option<Call>),
    config: Arc<Config>,
) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Inflated<Messages<B>>>, Response = Response<Body>, Error = Infallible>,
{
    let Terms { deadline, encoding } = match check(&request) {
        Ok(terms) => terms,
        Err((code, status)) => {
            let mut response = status.into_http();
            *response.status_mut() = code;
            return Ok(counted::count(rpc, response));
        }
    };
    let path = request.uri().clone();
    let received = rpc.as_ref().map(Call::received);
    // What the service sees is not compressed.
    request.headers_mut().remove(encoding::ENCODING);
    let connection = request.extensions().get::<Arc<OnConnection>>().cloned();
    let is_stream = rpc.as_ref().is_some_and(Call::is_stream);
    let messages = |body| {
        let messages = Messages::new(body, limit).encoded(encoding).counted_by(received.clone());
        let messages = messages.charged_to(connection);
        // A stream may be silent between messages for as long as it likes.
        let messages = if is_stream { messages } else { messages.unary() };
        Inflated::new(messages, encoding, limit, received)
    };
    let stats = Stats::begin(request.extensions().get());
    let answered = service.call(request.map(messages));
    let response = match within(deadline, answered).await {
        Ok(Ok(response)) => response,
        Err(status) => status.into_http(),
    };
    let is_described = [RANGE, PUT, DELETE_RANGE, TXN].contains(&path.path());
    if !is_stream && !is_described && rpc.is_some() {
        stats.end_unknown(&config, path.path());
    }
    let is_unknown = is_unknown_method(&response);
    let response = if is_unknown { unknown_method(path.path()) } else { response };
    let counted = counted::count(rpc, ready_made::replace_body(response));
    Ok(large::pace(encoding::deflate(encoding, counted)))
}

/// Waits for an answer until the deadline, if there is one. Whoever waits inside is dropped then; a
/// proposal that was made may still be applied.
pub(super) async fn within<T>(
    deadline: Option<Duration>,
    answered: impl Future<Output = T>,
) -> Result<T, Status> {
    let Some(deadline) = deadline else { return Ok(answered.await) };
    let answered = tokio::time::timeout(deadline, answered).await;
    answered.map_err(|_| Status::deadline_exceeded("context deadline exceeded"))
}

/// Returns the bytes of the message that begins here, with its prefix, once the prefix is here.
pub(super) fn message_bytes(data: &[u8]) -> Option<usize> {
    let [_, length @ ..] = *data.first_chunk::<PREFIX_BYTES>()?;
    usize::try_from(u32::from_be_bytes(length)).ok()?.checked_add(PREFIX_BYTES)
}

/// What the head of a request says of its call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// The time that the call may take.
    pub(super) deadline: Option<Duration>,
    pub(super) encoding: Encoding,
}

/// Returns the terms of a call, or its refusal, with the HTTP status of that.
pub(super) fn check<B>(request: &Request<B>) -> Result<Terms, (StatusCode, Status)> {
    if request.method() != Method::POST {
        let method = request.method().as_str();
        let text = format!("Received a HEADERS frame with :method {method:?} which should be POST");
        return Err((StatusCode::METHOD_NOT_ALLOWED, Status::internal(text)));
    }
    let deadline = deadline(request.headers()).map_err(|reason| {
        let text = format!("malformed grpc-timeout: transport: {reason}");
        (StatusCode::BAD_REQUEST, Status::internal(text))
    })?;
    let encoding = Encoding::of(request.headers()).map_err(|status| (StatusCode::OK, status))?;
    Ok(Terms { deadline, encoding })
}

/// Returns the time that the client gives a call: up to eight digits and a unit.
fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, String> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    if text.len() < 2 {
        return Err(format!("timeout string is too short: {text:?}"));
    }
    if text.len() > 9 {
        return Err(format!("timeout string is too long: {text:?}"));
    }
    let unknown_unit = || format!("timeout unit is not recognized: {text:?}");
    let unit = text.chars().next_back().filter(char::is_ascii).ok_or_else(unknown_unit)?;
    let digits = &text[..text.len() - 1];
    let count: Option<u64> = digits.parse().ok().filter(|_| !digits.starts_with('+'));
    let count = count.ok_or_else(|| format!("timeout is not a number: {text:?}"))?;
    Ok(Some(match unit {
        'H' => Duration::from_secs(count * 60 * 60),
        'M' => Duration::from_secs(count * 60),
        'S' => Duration::from_secs(count),
        'm' => Duration::from_millis(count),
        'u' => Duration::from_micros(count),
        'n' => Duration::from_nanos(count),
        _ => return Err(unknown_unit()),
    }))
}

/// Returns true for the answer that generated services give to a method they do not have. Every
/// answer of a handler that is not supported says why.
fn is_unknown_method(response: &Response<Body>) -> bool {
    let headers = response.headers();
    headers.get("grpc-status").is_some_and(|code| code == "12")
        && !headers.contains_key("grpc-message")
}

/// Answers a call of a method that its service does not have.
pub(super) fn unknown_method(path: &str) -> Response<Body> {
    let (service, method) = path.trim_start_matches('/').rsplit_once('/').unwrap_or_default();
    Status::unimplemented(format!("unknown method {method} for service {service}")).into_http()
}

/// The body of a call, handed on in whole messages.
pub(crate) struct Messages<B> {
    body: B,
    limit: usize,
    encoding: Encoding,
    /// What has arrived and is not handed on.
    held: VecDeque<Bytes>,
    /// How much of `held`, in chunks, belongs to complete messages.
    complete: usize,
    /// The prefix of the next message, as far as it has arrived.
    prefix: [u8; PREFIX_BYTES],
    prefix_bytes: usize,
    /// Bytes of the present message that have not arrived.
    missing: usize,
    is_empty: bool,
    received: Option<Received>,
    /// Where what is held of an unfinished message is counted.
    charge: Option<Charge>,
    rest_time: RestTime,
    /// The call has one message and cannot begin before the body has ended: until then it is not
    /// finished, whether the message is whole or has not begun, and nothing is handed on.
    is_unary: bool,
    has_ended: bool,
}

impl<B> Messages<B> {
    pub(crate) fn new(body: B, limit: usize) -> Self {
        Self {
            body,
            limit,
            encoding: Encoding::Identity,
            held: VecDeque::new(),
            complete: 0,
            prefix: [0; PREFIX_BYTES],
            prefix_bytes: 0,
            missing: 0,
            is_empty: true,
            received: None,
            charge: None,
            rest_time: RestTime::default(),
            is_unary: false,
            has_ended: false,
        }
    }

    /// The same, with messages that may be compressed in this way. They are handed on as they are.
    pub(super) fn encoded(self, encoding: Encoding) -> Self {
        Self { encoding, ..self }
    }

    /// The same, with its messages counted, except those that are compressed.
    pub(crate) fn counted_by(self, received: Option<Received>) -> Self {
        Self { received, ..self }
    }

    /// The same, with what is not whole counted for a connection.
    pub(crate) fn charged_to(self, connection: Option<Arc<OnConnection>>) -> Self {
        Self { charge: connection.map(|connection| connection.charge()), ..self }
    }

    /// The same for a call that has one message.
    pub(crate) fn unary(self) -> Self {
        Self { is_unary: true, ..self }
    }

    /// Counts bytes that have arrived and wait for others.
    fn charge(&mut self, bytes: usize) -> Result<(), Status> {
        self.charge.as_mut().map_or(Ok(()), |charge| charge.add(bytes))
    }

    /// Waits for more of what is not finished. Ready with why it is given up.
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        if !self.is_unary && self.held.is_empty() {
            return Poll::Pending;
        }
        if !self.rest_time.has_begun()
            && let Some(charge) = &mut self.charge
            && let Err(refused) = charge.add_call()
        {
            return Poll::Ready(refused);
        }
        self.rest_time.poll(context)
    }

    /// Takes note that nothing waits for others any more.
    fn finished(&mut self) {
        self.rest_time.clear();
        self.charge.iter_mut().for_each(Charge::clear);
    }

    /// Takes bytes that arrived; they may end and begin anywhere in a message.
    fn take(&mut self, mut data: Bytes) -> Result<(), Status> {
        self.is_empty &= data.is_empty();
        let whole = self.measure(&data)?;
        if whole > 0 {
            self.held.push_back(data.split_to(whole));
            self.complete = self.held.len();
            if !self.is_unary {
                self.finished();
            }
        }
        if !data.is_empty() {
            if !self.is_unary {
                self.charge(data.len())?;
            }
            self.held.push_back(data);
        }
        Ok(())
    }

    /// Returns how many of these bytes come before the end of the last message that ends here.
    fn measure(&mut self, data: &[u8]) -> Result<usize, Status> {
        let (mut at, mut whole) = (0, 0);
        while at < data.len() {
            if self.missing > 0 {
                let arrived = self.missing.min(data.len() - at);
                self.missing -= arrived;
                at += arrived;
            } else {
                self.prefix[self.prefix_bytes] = data[at];
                self.prefix_bytes += 1;
                at += 1;
                if self.prefix_bytes < PREFIX_BYTES {
                    continue;
                }
                self.prefix_bytes = 0;
                self.missing = self.announced()?;
                if let Some(received) = &self.received
                    && self.prefix[0] != COMPRESSED
                {
                    received.message(self.missing);
                }
            }
            if self.missing == 0 && self.prefix_bytes == 0 {
                whole = at;
            }
        }
        Ok(whole)
    }

    /// Returns the length in a complete prefix.
    fn announced(&self) -> Result<usize, Status> {
        let [flag, length @ ..] = self.prefix;
        if flag > COMPRESSED {
            let text = format!("grpc: received unexpected payload format {flag}");
            return Err(Status::internal(text));
        }
        if flag == COMPRESSED && self.encoding == Encoding::Identity {
            let text = "grpc: compressed flag set with identity or empty encoding";
            return Err(Status::internal(text));
        }
        let length = u32::from_be_bytes(length);
        let fits = usize::try_from(length).ok().filter(|&length| length <= self.limit);
        fits.ok_or_else(|| {
            let limit = self.limit;
            let text = format!("grpc: received message larger than max ({length} vs. {limit})");
            Status::resource_exhausted(text)
        })
    }

    /// Returns why the body must not end here, if it must not.
    fn at_end(&self) -> Result<(), Status> {
        if self.is_empty {
            return Err(Status::unknown("EOF"));
        }
        let is_whole = self.missing == 0 && self.prefix_bytes == 0;
        if is_whole { Ok(()) } else { Err(Status::unknown("unexpected EOF")) }
    }
}

impl<B> HttpBody for Messages<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        loop {
            if this.complete > 0 && (this.has_ended || !this.is_unary) {
                this.complete -= 1;
                return Poll::Ready(this.held.pop_front().map(|data| Ok(Frame::data(data))));
            }
            if this.has_ended {
                return Poll::Ready(this.at_end().err().map(|status| Err(status.into())));
            }
            let Poll::Ready(next) = Pin::new(&mut this.body).poll_frame(context) else {
                return this.poll_rest(context).map(|status| Some(Err(status.into())));
            };
            let frame = match next {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => {
                    this.finished();
                    this.has_ended = true;
                    continue;
                }
            };
            match frame.into_data() {
                Ok(data) => {
                    let waits_for_end = this.is_unary && !this.body.is_end_stream();
                    let charged = if waits_for_end { this.charge(data.len()) } else { Ok(()) };
                    if let Err(status) = charged.and_then(|()| this.take(data)) {
                        return Poll::Ready(Some(Err(status.into())));
                    }
                }
                // They come behind the message, and mean nothing in a request.
                Err(_) if this.is_unary => {}
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
    }
}

#[cfg(test)]
mod tests;
