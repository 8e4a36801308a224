//! Answers to peers: their bodies and their usual forms.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Response, StatusCode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::writer::StreamBody;

/// The body of an answer to a peer.
pub enum PeerBody {
    /// A body in memory.
    Fixed(Full<Bytes>),
    /// A stream of messages, which ends when the connection does.
    Stream(Box<StreamBody>),
}

impl<T: Into<Bytes>> From<T> for PeerBody {
    fn from(bytes: T) -> Self {
        Self::Fixed(Full::new(bytes.into()))
    }
}

impl Body for PeerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Fixed(body) => Pin::new(body).poll_frame(context),
            Self::Stream(body) => Pin::new(body.as_mut()).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Fixed(body) => body.is_end_stream(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Fixed(body) => body.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// A request that is not granted, and why.
pub(super) struct Refusal {
    status: StatusCode,
    text: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, text: text.into() }
    }

    pub(super) fn into_response(self) -> Response<PeerBody> {
        let mut response = match self.status {
            StatusCode::FORBIDDEN => json(format!(r#"{{"message":"{}"}}"#, self.text)),
            _ => text_response(self.status, &self.text),
        };
        *response.status_mut() = self.status;
        // etcd aborts the connection when consensus cannot take a message.
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Says that this member is alive and what time it is here.
pub(super) fn probing() -> Response<PeerBody> {
    let now = OffsetDateTime::now_utc().format(&Rfc3339);
    let now = now.expect("the years of the clock have four digits");
    let text = format!("{{\"OK\":true,\"Now\":\"{now}\"}}");
    let mut response = text_response(StatusCode::OK, &text);
    response.headers_mut().remove(X_CONTENT_TYPE_OPTIONS);
    response
}

/// Returns an answer in plain text, as Go's HTTP library writes errors.
pub fn text_response(status: StatusCode, text: &str) -> Response<PeerBody> {
    let mut response = Response::new(PeerBody::from(format!("{text}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Returns the answer for a path that nobody knows.
pub(super) fn not_found() -> Response<PeerBody> {
    text_response(StatusCode::NOT_FOUND, "404 page not found")
}

pub(super) fn method_not_allowed(allowed: Method) -> Response<PeerBody> {
    let mut response = text_response(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    let value = HeaderValue::from_str(allowed.as_str()).expect("a method is header bytes");
    response.headers_mut().insert(ALLOW, value);
    response
}

pub(super) fn json(text: String) -> Response<PeerBody> {
    let mut response = Response::new(PeerBody::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(super) fn no_content() -> Response<PeerBody> {
    let mut response = Response::new(PeerBody::from(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
