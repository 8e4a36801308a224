//! The v2 API over HTTP: `/v2/...` of the client port.
//!
//! In reading order: `path` and `form` (what a request says), `keys` and `listing` (requests for keys), `watch`
//! (clients that wait), `members`, `stats`, `auth_http` (the other paths), `auth` and `users` (who may do
//! what), `sync` (the clock of the store), `render`, `json`, `answer` and `error` (the forms of it all).
//!
//! Invariants:
//! - Status, headers and body are those of etcd 3.4, also for what is malformed.
//! - What changes something goes through [`V2::carry_out`], the one place that proposes.
//!
//! Not here: what a request does to the store (`store::v2`).

mod answer;
mod auth;
mod auth_http;
mod error;
mod form;
mod json;
mod keys;
mod listing;
mod members;
mod path;
mod render;
mod stats;
pub(crate) mod sync;
mod users;
mod watch;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::Request as V2Request;
use quoin_store::{Reply, V2Event, V2Outcome};
use tokio::sync::Semaphore;
use tonic::body::Body;

pub(crate) use self::answer::{bad_request, not_found, options, redirect};
use self::error::{Code, KeyError};
use self::form::{ContentType, Form};
use self::listing::Reading;
pub(crate) use self::path::{decode as decode_path, redirect as clean_location};
pub(crate) use self::watch::{Watchers, Watching, take_watching};
use crate::config::Config;
use crate::grpc::large::Room;
use crate::member::Member;
use crate::metrics::Counter;
use crate::peer::Transport;

/// Where the keys of clients are in the store.
const KEYS_PREFIX: &str = "/1";
/// Bytes of a body for each byte that a request may have: a form writes a byte as three.
const BODY_BYTES_PER_BYTE: usize = 3;
/// Bytes of a body beyond that, for the other fields.
const BODY_OVERHEAD_BYTES: usize = 64 << 10;
/// Bytes that a form may have in etcd.
const FORM_BYTES_MAX: usize = 10 << 20;

/// Bytes of a body that are read for nothing, as in Go.
const DRAINED_BYTES_MAX: usize = 256 << 10;
/// How long that may take.
const DRAIN_TIME_MAX: Duration = Duration::from_millis(50);

/// The v2 API of one member.
pub(crate) struct V2 {
    member: Arc<Member>,
    config: Arc<Config>,
    watchers: Arc<Watchers>,
    transport: Arc<Transport>,
    room: Arc<Room>,
    reads: Reads,
    /// Held while a password is hashed.
    hashing: Semaphore,
    /// Held while a directory is listed.
    listing: Arc<Semaphore>,
    has_auth_directories: AtomicBool,
}

/// Reads that were answered by this member alone, which the store does not count.
#[derive(Default)]
struct Reads {
    success: Counter,
    fail: Counter,
}

/// What became of a request.
#[derive(Debug)]
enum Done {
    /// It changed something.
    Event(Arc<V2Event>),
    /// It read something.
    Read(Reading),
}

impl V2 {
    pub(crate) fn new(
        member: Arc<Member>,
        config: Arc<Config>,
        watchers: Arc<Watchers>,
        transport: Arc<Transport>,
        room: Arc<Room>,
    ) -> Self {
        Self {
            member,
            config,
            watchers,
            transport,
            room,
            reads: Reads::default(),
            hashing: Semaphore::new(auth::HASHES_AT_ONCE),
            listing: Arc::new(Semaphore::new(listing::LISTINGS_AT_ONCE)),
            has_auth_directories: AtomicBool::new(false),
        }
    }

    /// Answers a request whose path is decoded and clean.
    pub(crate) async fn handle<B>(
        self: &Arc<Self>,
        path: &[u8],
        request: Request<B>,
    ) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        if !self.config.enable_v2 {
            return not_found();
        }
        let (parts, body) = request.into_parts();
        let mut body = pin!(body);
        let response = self.route(path, &parts, body.as_mut()).await;
        drain(body).await;
        response
    }

    async fn route<B>(
        self: &Arc<Self>,
        path: &[u8],
        parts: &Parts,
        body: Pin<&mut B>,
    ) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let is_below = |prefix: &[u8]| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        match path {
            b"/v2/machines" => members::machines(self, parts),
            b"/v2/stats/store" => stats::store(self, parts),
            b"/v2/stats/self" => stats::own(self, parts),
            b"/v2/stats/leader" => stats::leader(self, parts),
            _ if is_below(keys::URL_PREFIX) => keys::handle(self, path, parts, body).await,
            _ if is_below(b"/v2/members") => members::handle(self, path, parts, body).await,
            _ if is_below(b"/v2/auth") => auth_http::handle(self, path, parts, body).await,
            _ => not_found(),
        }
    }

    /// Reads the fields of a request.
    async fn form<B>(&self, parts: &Parts, body: Pin<&mut B>) -> Result<Form, KeyError>
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let mut kind = ContentType { is_form: false, error: None };
        let mut bytes = None;
        if matches!(parts.method, Method::POST | Method::PUT) {
            let header = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
            kind = ContentType::parse(&String::from_utf8_lossy(header.unwrap_or_default()));
            if kind.is_form {
                bytes = Some(self.body(body).await?);
            }
        }
        let form = Form::parse(bytes.as_deref(), parts.uri.query());
        let form = form.map_err(|reason| KeyError::request(Code::InvalidForm, reason));
        match kind.error {
            Some(reason) => Err(KeyError::request(Code::InvalidForm, reason)),
            None => form,
        }
    }

    /// Reads the body of a request.
    async fn body<B>(&self, mut body: Pin<&mut B>) -> Result<Bytes, KeyError>
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let bytes_max = self.member.limits.request_bytes.saturating_mul(BODY_BYTES_PER_BYTE);
        let bytes_max = bytes_max.saturating_add(BODY_OVERHEAD_BYTES).min(FORM_BYTES_MAX);
        let mut read = Vec::new();
        while let Some(frame) = body.as_mut().frame().await {
            let frame =
                frame.map_err(|error| KeyError::request(Code::InvalidForm, error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            if read.len() + data.len() > bytes_max {
                return Err(KeyError::raft(Error::RequestTooLarge));
            }
            read.extend_from_slice(&data);
        }
        Ok(Bytes::from(read))
    }

    /// Proposes a request and waits until it is applied here. While a member is in the cluster that cannot
    /// apply requests of the v2 API, an etcd 3.6 or later, writes and quorum reads are answered 300 with
    /// the reason as the cause.
    async fn carry_out(&self, request: V2Request) -> Result<Done, KeyError> {
        if let Some(reason) = self.member.v2_refusal_heard().await {
            return Err(KeyError::request(Code::RaftInternal, reason));
        }
        let (path, recursive) = (request.path.clone(), request.recursive);
        let applied = self.member.propose_v2(request).await.map_err(KeyError::raft)?;
        let unexpected = || KeyError::raft(Error::UnknownMethod);
        match applied.reply().map_err(KeyError::raft)? {
            Reply::V2(Ok(V2Outcome::Event(event))) => Ok(Done::Event(event)),
            Reply::V2(Ok(V2Outcome::Read)) => self.list(&path, recursive).await.map(Done::Read),
            Reply::V2(Ok(V2Outcome::None)) => Err(unexpected()),
            Reply::V2(Err(error)) => Err(error.into()),
            _ => Err(unexpected()),
        }
    }

    fn count_read(&self, succeeded: bool) {
        let counter = if succeeded { &self.reads.success } else { &self.reads.fail };
        counter.add(1);
    }

    /// How often reads of this member alone succeeded and failed.
    fn local_reads(&self) -> (u64, u64) {
        (self.reads.success.load(), self.reads.fail.load())
    }
}

/// Reads what is left of a body, so that the connection can go on. A client that takes its time, or
/// sends too much, loses it.
async fn drain<B>(mut body: Pin<&mut B>)
where
    B: hyper::body::Body<Data = Bytes>,
{
    if body.is_end_stream() {
        return;
    }
    let drained = async {
        let mut bytes_left = DRAINED_BYTES_MAX;
        while let Some(Ok(frame)) = body.as_mut().frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            let Some(left) = bytes_left.checked_sub(bytes) else { return };
            bytes_left = left;
        }
    };
    tokio::time::timeout(DRAIN_TIME_MAX, drained).await.ok();
}

/// Reads a request for a key as the client port does, and returns what it would propose or read; none
/// if it is refused, or is for something else. `now_ns` is the time since the epoch. The bodies of
/// requests for users and roles are read as well. For the fuzz target.
pub fn read_request(
    method: &Method,
    target: &str,
    content_type: &str,
    body: &[u8],
    now_ns: i64,
) -> Option<V2Request> {
    if let Ok(json) = json::Json::parse_first(body) {
        drop((users::User::read(&json), users::Role::read(&json)));
    }
    let (path, query) =
        target.split_once('?').map_or((target, None), |(it, query)| (it, Some(query)));
    let path = path::decode(path)?;
    if path::redirect(&path, query).is_some() {
        return None;
    }
    let kind = ContentType::parse(content_type);
    let form = Form::parse(kind.is_form.then_some(body), query).ok()?;
    let key = path.strip_prefix(keys::URL_PREFIX)?;
    keys::read(method, key, &form, now_ns)
}

/// Says to browsers which origins may ask.
pub(crate) fn allow_origins(
    config: &Config,
    origin: Option<&HeaderValue>,
    headers: &mut HeaderMap,
) {
    const METHODS: HeaderName = HeaderName::from_static("access-control-allow-methods");
    const ORIGINS: HeaderName = HeaderName::from_static("access-control-allow-origin");
    const HEADERS: HeaderName = HeaderName::from_static("access-control-allow-headers");
    let allowed = match origin {
        _ if config.cors.admits_all() => HeaderValue::from_static("*"),
        Some(origin) if origin.to_str().is_ok_and(|it| config.cors.0.contains(it)) => {
            origin.clone()
        }
        _ => return,
    };
    headers.insert(METHODS, HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE"));
    headers.insert(ORIGINS, allowed);
    let names = HeaderValue::from_static("accept, content-type, authorization");
    headers.insert(HEADERS, names);
}

/// Nanoseconds since the epoch.
fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
