//! One call: the deadline, the attempts, and what may be repeated.
//!
//! - A request that the server did not process, because the connection was closing, goes to the
//!   next connection, without counting as an attempt.
//! - A read is repeated as long as the answer is Unavailable, or the server's own time for it ended.
//! - A change is repeated after it was sent only if the server says that it did nothing with it: a
//!   learner refused it and there are other endpoints, or there was no leader to propose it to.
//! - After each round over a majority of the endpoints there is a short pause.

use std::error::Error as _;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use http::uri::PathAndQuery;
use prost::Message;
use quoin_api::error::Error as Known;
use quoin_api::etcdserverpb as pb;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::connection::{Connection, PREFACE, Untaken};
use crate::pool::Pool;
use crate::{API_VERSION, Client, Error, FailedAttempt};

/// How often a call is tried at most.
const MAX_ATTEMPTS: u32 = 100;
/// The pause after a round, give or take a tenth.
const PAUSE: Duration = Duration::from_millis(25);
/// The least time that a call must have left for a change to be repeated. Closer to the end, the server
/// may have stopped waiting for what it has proposed, because its clock ticks differently.
const CHANGE_LEFT_MIN: Duration = Duration::from_millis(100);
/// Deadlines further away than this are none.
pub(crate) const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A gRPC method and its rule for repetition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Method {
    path: &'static str,
    repeat: Repeat,
}

impl Method {
    pub(crate) fn new(path: &'static str, repeat: Repeat) -> Self {
        Self { path, repeat }
    }
}

/// When a request that was sent may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing: whenever the server was not able to answer.
    IfUnavailable,
    /// It changes something: only if the server says that it did not take it.
    IfRefused,
}

impl Repeat {
    /// Returns whether `error` allows another attempt with `endpoints` to choose from.
    pub(crate) fn allows(self, error: &Error, endpoints: usize, left: Duration) -> bool {
        match error {
            // The time of the call itself.
            Error::Deadline { .. } => return false,
            Error::Server(Known::NotSupportedForLearner) if endpoints > 1 => return true,
            // A server that finds no leader gives up before the client does, and has proposed nothing.
            Error::Server(Known::ContextDeadlineExceeded) if left >= CHANGE_LEFT_MIN => {
                return true;
            }
            _ => {}
        }
        let passes = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled];
        self == Self::IfUnavailable && error.code().is_some_and(|code| passes.contains(&code))
    }
}

/// What one attempt leaves behind when it fails.
struct Failure {
    error: Error,
    addresses: Option<(SocketAddr, SocketAddr)>,
}

impl Client {
    /// Sends a request and returns the answer, repeating the attempt as the method allows.
    pub(crate) async fn unary<Req, Resp>(
        &self,
        pool: &Pool,
        method: Method,
        request: Req,
    ) -> Result<Resp, Error>
    where
        Req: Message + Clone + 'static,
        Resp: Message + Default + 'static,
    {
        let deadline = self.deadline();
        let mut attempt = 0;
        loop {
            let failure = match self.attempt(pool, method, &request, deadline).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            self.observe(pool, method, attempt, &failure);
            attempt += 1;
            let left = deadline.saturating_duration_since(Instant::now());
            let may_repeat = method.repeat.allows(&failure.error, pool.len(), left);
            if attempt == MAX_ATTEMPTS || !may_repeat {
                let is_over = left < CHANGE_LEFT_MIN
                    && failure.error == Error::Server(Known::ContextDeadlineExceeded);
                let over = Error::Deadline { unreachable: None };
                return Err(if is_over { over } else { failure.error });
            }
            let round = u32::try_from(pool.len() / 2 + 1).unwrap_or(u32::MAX);
            if attempt.is_multiple_of(round) && timeout_at(deadline, pause()).await.is_err() {
                return Err(Error::Deadline { unreachable: None });
            }
        }
    }

    /// Sends a range request that is answered in chunks, and puts them together. There is one
    /// attempt, so nobody is told when it fails.
    pub(crate) async fn collect_range(
        &self,
        path: &'static str,
        request: pb::RangeRequest,
    ) -> Result<pb::RangeResponse, Error> {
        let deadline = self.deadline();
        let collect = async {
            let connection = self.pool.next().await;
            let request = self.request(&request, deadline)?;
            let path = PathAndQuery::from_static(path);
            let codec: ProstCodec<pb::RangeRequest, pb::RangeStreamResponse> =
                ProstCodec::default();
            let stream = self.grpc(connection).server_streaming(request, path, codec).await?;
            let mut stream = stream.into_inner();
            let mut whole = pb::RangeResponse::default();
            while let Some(chunk) = stream.message().await? {
                append(&mut whole, chunk.range_response.unwrap_or_default());
            }
            Ok(whole)
        };
        match timeout_at(deadline, collect).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.out_of_time()),
        }
    }

    async fn attempt<Req, Resp>(
        &self,
        pool: &Pool,
        method: Method,
        request: &Req,
        deadline: Instant,
    ) -> Result<Resp, Failure>
    where
        Req: Message + Clone + 'static,
        Resp: Message + Default + 'static,
    {
        loop {
            if Instant::now() >= deadline {
                let error = Error::Deadline { unreachable: None };
                return Err(Failure { error, addresses: None });
            }
            let Ok(connection) = timeout_at(deadline, pool.next()).await else {
                return Err(self.expired(pool, None));
            };
            let addresses = connection.addresses;
            let failed = |error| Failure { error, addresses };
            let request = self.request(request, deadline).map_err(failed)?;
            let path = PathAndQuery::from_static(method.path);
            let codec: ProstCodec<Req, Resp> = ProstCodec::default();
            let mut grpc = self.grpc(connection);
            match timeout_at(deadline, grpc.unary(request, path, codec)).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) if is_untaken(&status) => tokio::task::yield_now().await,
                Ok(Err(status)) => return Err(failed(status.into())),
                Err(_) => return Err(self.expired(pool, addresses)),
            }
        }
    }

    /// When a call that begins now ends at the latest.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.options.command_timeout.unwrap_or(FAR).min(FAR)
    }

    /// The error of a stream whose time is over.
    pub(crate) fn out_of_time(&self) -> Error {
        self.expired(&self.pool, None).error
    }

    /// The failure of a call whose time is over, sent over the connection with `addresses` or not
    /// sent at all.
    fn expired(&self, pool: &Pool, addresses: Option<(SocketAddr, SocketAddr)>) -> Failure {
        let unreachable = match addresses {
            Some(_) => None,
            None => Some(match pool.last_failure() {
                Some(reason) => {
                    let transport = if reason.starts_with(PREFACE) { "" } else { "transport: " };
                    format!(
                        "latest balancer error: connection error: desc = \"{transport}{reason}\""
                    )
                }
                None => "context deadline exceeded while waiting for connections to become ready"
                    .to_owned(),
            }),
        };
        Failure { error: Error::Deadline { unreachable }, addresses }
    }

    pub(crate) fn request<Req: Message + Clone>(
        &self,
        message: &Req,
        deadline: Instant,
    ) -> Result<Request<Req>, Error> {
        let (size, limit) = (message.encoded_len(), self.options.send_limit());
        if size > limit {
            let message = format!("trying to send message larger than max ({size} vs. {limit})");
            return Err(Error::Status { code: Code::ResourceExhausted, message });
        }
        let mut request = announced(message.clone());
        let left = deadline.saturating_duration_since(Instant::now());
        if self.options.command_timeout.is_some() {
            request.set_timeout(left);
        }
        Ok(request)
    }

    pub(crate) fn grpc(&self, connection: Connection) -> Grpc<Connection> {
        let origin = connection.origin.clone();
        // The limit for requests is checked where the request is made, for etcd's own text.
        Grpc::with_origin(connection, origin).max_decoding_message_size(self.options.recv_limit())
    }

    fn observe(&self, pool: &Pool, method: Method, attempt: u32, failure: &Failure) {
        if let Some(observer) = &self.options.observer {
            observer.observe(&FailedAttempt {
                target: pool.first(),
                addresses: failure.addresses,
                method: method.path,
                attempt,
                error: &failure.error,
            });
        }
    }
}

/// A request that says which version of the API it is written in.
pub(crate) fn announced<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let version = MetadataValue::from_static(API_VERSION);
    request.metadata_mut().insert("client-api-version", version);
    request
}

pub(crate) fn is_untaken(status: &Status) -> bool {
    status.source().is_some_and(|source| source.is::<Untaken>())
}

/// Puts a chunk of a range behind what came before it. The last header counts.
fn append(whole: &mut pb::RangeResponse, chunk: pb::RangeResponse) {
    whole.kvs.extend(chunk.kvs);
    whole.header = chunk.header.or_else(|| whole.header.take());
    whole.more |= chunk.more;
    if chunk.count != 0 {
        whole.count = chunk.count;
    }
}

/// Sleeps for [`PAUSE`], a tenth more or less, so that clients do not return in step.
async fn pause() {
    let thousandth = u32::try_from(RandomState::new().hash_one(()) % 201).unwrap_or(100);
    sleep(PAUSE * (900 + thousandth) / 1000).await;
}
