//! Questions about leases from member to member: `POST /leases` renews one, `POST /leases/internal`
//! asks for its time.
//!
//! Codes and texts are etcd's: 404 for a lease that does not exist, 408 if the leader could not
//! answer in time, 400 or 500 if the member asked does not lead. A Go member asks again after
//! everything but 200 and 404, and so do we.

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use prost::Message as _;
use quoin_api::etcdserverpb::{
    LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
    ResponseHeader,
};
use quoin_api::leasepb::{LeaseInternalRequest, LeaseInternalResponse};
use std::sync::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::answer::{PeerBody, text_response};
use super::dial::{self, Connection, DialError, Silence};
use super::link::Link;
use super::transport::Transport;
use super::urls::PeerUrl;
use super::{limits, locked};

/// Where a renewal is asked for.
pub(super) const RENEW_PATH: &str = "/leases";
/// Where the time of a lease is asked for.
pub(super) const TIME_PATH: &str = "/leases/internal";

/// The content type of both.
const PROTOBUF: &str = "application/protobuf";

/// A question about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseQuestion {
    /// Give this lease all of its time to live again.
    Renew(i64),
    /// What is left of a lease, and which keys end with it?
    Time {
        /// The lease.
        id: i64,
        /// Whether its keys are wanted.
        keys: bool,
    },
}

/// Why a member did not answer a question about a lease.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseRefusal {
    /// It does not lead.
    #[error("not a primary lessor")]
    NotPrimary,
    /// It could not answer in time.
    #[error("waiting for node to catch up its applied index has timed out")]
    Timeout,
    /// It cannot answer.
    #[error("{0}")]
    Failed(String),
}

/// Why the leader gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum LeaseCallError {
    /// The member is not known.
    #[error("the leader is not a known peer")]
    Unknown,
    /// It said no, or nothing sensible.
    #[error("{0}")]
    Refused(String),
}

impl LeaseQuestion {
    fn id(self) -> i64 {
        match self {
            Self::Renew(id) | Self::Time { id, .. } => id,
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Renew(_) => RENEW_PATH,
            Self::Time { .. } => TIME_PATH,
        }
    }

    fn decode(path: &str, body: Bytes) -> Option<Self> {
        if path == RENEW_PATH {
            return LeaseKeepAliveRequest::decode(body).ok().map(|request| Self::Renew(request.id));
        }
        let request = LeaseInternalRequest::decode(body).ok()?.lease_time_to_live_request?;
        let LeaseTimeToLiveRequest { id, keys } = request;
        Some(Self::Time { id, keys })
    }

    fn encode(self) -> Vec<u8> {
        match self {
            Self::Renew(id) => LeaseKeepAliveRequest { id }.encode_to_vec(),
            Self::Time { id, keys } => {
                let lease_time_to_live_request = Some(LeaseTimeToLiveRequest { id, keys });
                LeaseInternalRequest { lease_time_to_live_request }.encode_to_vec()
            }
        }
    }

    fn encode_answer(self, answer: LeaseTimeToLiveResponse) -> Vec<u8> {
        match self {
            Self::Renew(id) => {
                LeaseKeepAliveResponse { header: None, id, ttl: answer.ttl }.encode_to_vec()
            }
            Self::Time { .. } => {
                let header = Some(ResponseHeader::default());
                let answer = Some(LeaseTimeToLiveResponse { header, ..answer });
                LeaseInternalResponse { lease_time_to_live_response: answer }.encode_to_vec()
            }
        }
    }

    fn decode_answer(self, body: Bytes) -> Option<LeaseTimeToLiveResponse> {
        let answer = match self {
            Self::Renew(_) => {
                let LeaseKeepAliveResponse { id, ttl, .. } =
                    LeaseKeepAliveResponse::decode(body).ok()?;
                LeaseTimeToLiveResponse { id, ttl, granted_ttl: ttl, ..Default::default() }
            }
            Self::Time { .. } => {
                LeaseInternalResponse::decode(body).ok()?.lease_time_to_live_response?
            }
        };
        (answer.id == self.id()).then_some(answer)
    }
}

impl Transport {
    /// Answers a member that asks about a lease.
    pub(super) async fn leases(&self, request: Request<Incoming>) -> Response<PeerBody> {
        if request.method() != Method::POST {
            return text_response(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        }
        let path = request.uri().path().to_owned();
        let body = Limited::new(request.into_body(), limits::LEASE_REQUEST_BYTES).collect().await;
        let body = match body {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return text_response(StatusCode::PAYLOAD_TOO_LARGE, "request body too large");
            }
            Err(_) => return text_response(StatusCode::BAD_REQUEST, "error reading body"),
        };
        let Some(question) = LeaseQuestion::decode(&path, body) else {
            return text_response(StatusCode::BAD_REQUEST, "error unmarshalling request");
        };
        match self.shared.inbound.lease(question).await {
            Ok(Some(answer)) => {
                let mut response = Response::new(PeerBody::from(question.encode_answer(answer)));
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
                response
            }
            Ok(None) => text_response(StatusCode::NOT_FOUND, "lease not found"),
            Err(refusal) => refused(question, &refusal),
        }
    }

    /// Asks a member about a lease. Returns nothing if the lease does not exist.
    pub async fn ask_lease(
        &self,
        to: u64,
        question: LeaseQuestion,
    ) -> Result<Option<LeaseTimeToLiveResponse>, LeaseCallError> {
        let routes = self.routes(to).ok_or(LeaseCallError::Unknown)?;
        routes.lease_calls.ask(&routes.link, question).await
    }
}

fn refused(question: LeaseQuestion, refusal: &LeaseRefusal) -> Response<PeerBody> {
    let status = match (refusal, question) {
        (LeaseRefusal::Timeout, _) => StatusCode::REQUEST_TIMEOUT,
        (LeaseRefusal::NotPrimary, LeaseQuestion::Time { .. }) => StatusCode::INTERNAL_SERVER_ERROR,
        (LeaseRefusal::NotPrimary, LeaseQuestion::Renew(_)) | (LeaseRefusal::Failed(_), _) => {
            StatusCode::BAD_REQUEST
        }
    };
    text_response(status, &refusal.to_string())
}

/// The connections over which one peer is asked about leases.
pub(super) struct LeaseCalls {
    /// One for each question that may be under way.
    permits: Semaphore,
    /// Open connections that nobody uses.
    idle: Mutex<Vec<(PeerUrl, Connection)>>,
}

impl LeaseCalls {
    pub(super) fn new() -> Self {
        Self { permits: Semaphore::new(limits::LEASE_CALLS), idle: Mutex::default() }
    }

    async fn ask(
        &self,
        link: &Link,
        question: LeaseQuestion,
    ) -> Result<Option<LeaseTimeToLiveResponse>, LeaseCallError> {
        let asked = async {
            let permit = self.permits.acquire().await;
            let _permit = permit.map_err(|error| LeaseCallError::Refused(error.to_string()))?;
            let url = link.pick();
            let answer = self.post(link, &url, question).await;
            let (status, body) = answer.map_err(|error| {
                link.url_failed(&url);
                LeaseCallError::Refused(error.to_string())
            })?;
            judge(question, status, body)
        };
        let late = |_| LeaseCallError::Refused("no answer in time".to_owned());
        timeout(limits::LEASE_CALL_DEADLINE, asked).await.map_err(late)?
    }

    /// Asks over an open connection if there is one that the peer has not closed meanwhile.
    async fn post(
        &self,
        link: &Link,
        url: &PeerUrl,
        question: LeaseQuestion,
    ) -> Result<(StatusCode, Bytes), DialError> {
        let kept = locked(&self.idle).pop().filter(|(at, _)| at == url);
        if let Some((_, mut connection)) = kept
            && let Ok(answer) = exchange(link, url, &mut connection, question).await
        {
            self.keep(url, connection);
            return Ok(answer);
        }
        let mut connection = dial::connect(&link.shared, url, Silence::IsFine).await?;
        let answer = exchange(link, url, &mut connection, question).await?;
        self.keep(url, connection);
        Ok(answer)
    }

    fn keep(&self, url: &PeerUrl, connection: Connection) {
        if connection.driver.is_some() {
            locked(&self.idle).push((url.clone(), connection));
        }
    }
}

async fn exchange(
    link: &Link,
    url: &PeerUrl,
    connection: &mut Connection,
    question: LeaseQuestion,
) -> Result<(StatusCode, Bytes), DialError> {
    let Connection { sender, driver } = connection;
    let body = dial::fixed(question.encode());
    let request = dial::post(&link.shared, url, question.path(), PROTOBUF, body);
    dial::drive(driver, async {
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), limits::LEASE_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| DialError::Answer(error.to_string()))?;
        Ok((status, body.to_bytes()))
    })
    .await
}

fn judge(
    question: LeaseQuestion,
    status: StatusCode,
    body: Bytes,
) -> Result<Option<LeaseTimeToLiveResponse>, LeaseCallError> {
    match status {
        StatusCode::OK => {
            let malformed = || LeaseCallError::Refused("the answer is malformed".to_owned());
            question.decode_answer(body).map(Some).ok_or_else(malformed)
        }
        StatusCode::NOT_FOUND => Ok(None),
        other => {
            let text = String::from_utf8_lossy(&body);
            Err(LeaseCallError::Refused(format!("{other}: {}", text.trim_end())))
        }
    }
}
