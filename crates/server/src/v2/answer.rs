//! Answers in the form that Go's `net/http` gives them: which headers, and which bodies have their
//! length in front.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body as HttpBody, Frame};
use quoin_store::push_json_string;
use tonic::body::Body;

/// Bytes up to which a body has its length in front; a longer one is sent in chunks.
const COUNTED_BYTES_MAX: usize = 2048;

pub(super) const CLUSTER_ID: HeaderName = HeaderName::from_static("x-etcd-cluster-id");
pub(super) const ETCD_INDEX: HeaderName = HeaderName::from_static("x-etcd-index");
pub(super) const RAFT_INDEX: HeaderName = HeaderName::from_static("x-raft-index");
pub(super) const RAFT_TERM: HeaderName = HeaderName::from_static("x-raft-term");
const NO_SNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// A body whose length is not told in front.
struct Chunked(Bytes);

impl HttpBody for Chunked {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let bytes = std::mem::take(&mut self.0);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }
}

/// Returns a response with this body and no header yet.
pub(super) fn plain(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let body = Bytes::from(body);
    let body = match body.len() {
        0..=COUNTED_BYTES_MAX => Body::new(Full::new(body)),
        _ => Body::new(Chunked(body)),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut response = plain(status, body);
    set_json(&mut response);
    response
}

pub(super) fn set_json(response: &mut Response<Body>) {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
}

pub(super) fn text(status: StatusCode, body: &str) -> Response<Body> {
    let mut response = plain(status, body.as_bytes().to_vec());
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// An error of the HTTP library, with a line that says it.
fn error(status: StatusCode, line: &'static str) -> Response<Body> {
    let mut response = text(status, line);
    response.headers_mut().insert(NO_SNIFF, HeaderValue::from_static("nosniff"));
    response
}

pub(crate) fn not_found() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A method that the path does not have. Where `allowed` is empty the header is missing, as in etcd.
pub(super) fn method_not_allowed(allowed: &'static str) -> Response<Body> {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    if !allowed.is_empty() {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    }
    response
}

/// A path that is malformed.
pub(crate) fn bad_request() -> Response<Body> {
    let mut response = text(StatusCode::BAD_REQUEST, "400 Bad Request");
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(http::header::CONNECTION, close);
    response
}

/// The answer to the question which methods another origin may use.
pub(crate) fn options() -> Response<Body> {
    plain(StatusCode::OK, Vec::new())
}

/// Sends the client to another path.
pub(crate) fn redirect(status: StatusCode, method: &Method, location: &str) -> Response<Body> {
    let mut response = match *method {
        Method::GET => {
            let link = escape_html(location);
            let reason = status.canonical_reason().unwrap_or_default();
            let page = format!("<a href=\"{link}\">{reason}</a>.\n\n");
            plain(status, page.into_bytes())
        }
        _ => plain(status, Vec::new()),
    };
    if matches!(*method, Method::GET | Method::HEAD) {
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, html);
    }
    // What the escaping of the path leaves is allowed in a header.
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// An error that is not about a key: `{"message":"..."}`.
pub(super) fn message(status: StatusCode, message: &[u8]) -> Response<Body> {
    let mut body = b"{\"message\":".to_vec();
    push_json_string(&mut body, message);
    body.push(b'}');
    json(status, body)
}

/// Sets a header to a number.
pub(super) fn set_number(response: &mut Response<Body>, name: HeaderName, number: u64) {
    response.headers_mut().insert(name, HeaderValue::from(number));
}

/// Sets the header that names the cluster.
pub(super) fn set_cluster(response: &mut Response<Body>, cluster_id: u64) {
    if let Ok(value) = HeaderValue::from_str(&format!("{cluster_id:x}")) {
        response.headers_mut().insert(CLUSTER_ID, value);
    }
}
