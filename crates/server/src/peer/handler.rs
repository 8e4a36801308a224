//! What other members ask of this one.
//!
//! The order of the checks, the codes and the texts are etcd's, because Go peers act on them. One
//! thing is stricter: 403 is said only to a sender that was removed, since it stops at that, and
//! never for a message that went to the wrong member.

use bytes::BytesMut;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use quoin_api::raftpb::Message;

use super::answer::{PeerBody, Refusal, json, method_not_allowed, no_content, probing};
use super::codec::{self, HEAD_BYTES, Head, StreamKind};
use super::snapshot::{self, HeaderError, SnapshotBody};
use super::transport::Transport;
use super::{Rejected, headers, id_text, lease, limits, parse_id};
use crate::log::Record;
use crate::programs::QUOIN_VERSION;
use crate::{record, version};

impl Transport {
    /// Answers a request that arrived on the peer listener.
    pub async fn handle(&self, request: Request<Incoming>) -> Response<PeerBody> {
        let path = request.uri().path();
        match path {
            "/raft" => self.pipeline(request).await,
            snapshot::PATH => self.snapshot(request).await,
            "/raft/probing" => probing(),
            lease::RENEW_PATH | lease::TIME_PATH => self.leases(request).await,
            "/members" => self.members(&request),
            "/version" => self.versions(&request),
            _ if path.starts_with("/raft/stream/") => self.stream(&request),
            _ => self.shared.inbound.request(request).await,
        }
    }

    /// Gives a member the stream that it asked for.
    fn stream(&self, request: &Request<Incoming>) -> Response<PeerBody> {
        if request.method() != Method::GET {
            return method_not_allowed(Method::GET);
        }
        let mut response = self.stream_checked(request).unwrap_or_else(Refusal::into_response);
        let headers = response.headers_mut();
        headers.insert(headers::SERVER_VERSION, self.shared.identity.version().clone());
        self.with_cluster_id(response)
    }

    fn stream_checked(&self, request: &Request<Incoming>) -> Result<Response<PeerBody>, Refusal> {
        self.check(request.headers())?;
        let refuse = |status, text| Err(Refusal::new(status, text));
        let (directory, name) = request.uri().path().rsplit_once('/').unwrap_or_default();
        let kind = match directory {
            path if path == StreamKind::Append.path() => StreamKind::Append,
            path if path == StreamKind::Message.path() => StreamKind::Message,
            _ => return refuse(StatusCode::NOT_FOUND, "invalid path"),
        };
        let Some(from) = parse_id(name) else {
            return refuse(StatusCode::NOT_FOUND, "invalid from");
        };
        if self.shared.inbound.is_removed(from) {
            self.log_refused("rejected stream from remote peer because it was removed", from);
            return refuse(StatusCode::GONE, "removed member");
        }
        let local = id_text(self.shared.options.node_id);
        if !self.is_peer(from) {
            self.remember(Some(from), request.headers());
            self.log_refused("failed to find remote peer in cluster", from);
            return refuse(StatusCode::NOT_FOUND, "error sender not found");
        }
        if headers::text(request.headers(), &headers::RAFT_TO) != local {
            self.log_refused("ignored streaming request; ID mismatch", from);
            return refuse(StatusCode::PRECONDITION_FAILED, "to field mismatch");
        }
        match self.attach(from, kind) {
            Some(body) => Ok(Response::new(PeerBody::Stream(Box::new(body)))),
            None => refuse(StatusCode::NOT_FOUND, "error sender not found"),
        }
    }

    /// Takes one message.
    async fn pipeline(&self, request: Request<Incoming>) -> Response<PeerBody> {
        if request.method() != Method::POST {
            return method_not_allowed(Method::POST);
        }
        let response = match self.check(request.headers()) {
            Ok(()) => {
                self.remember(None, request.headers());
                self.message(request.into_body()).await
            }
            Err(refusal) => Err(refusal),
        };
        self.with_cluster_id(response.unwrap_or_else(Refusal::into_response))
    }

    async fn message(&self, body: Incoming) -> Result<Response<PeerBody>, Refusal> {
        let bad = |text| Refusal::new(StatusCode::BAD_REQUEST, text);
        let body = self.read_whole(body).await.map_err(|error| {
            self.log_failed("failed to read Raft message", error);
            bad("error reading raft message")
        })?;
        let message = codec::decode_body(&body).map_err(|error| {
            self.log_failed("failed to unmarshal Raft message", error.to_string());
            bad("error unmarshalling raft message")
        })?;
        if let Some(link) = self.link(message.from) {
            link.received(body.len() as u64);
        }
        self.check_addresses(&message)?;
        match self.shared.inbound.message(message) {
            Ok(()) => Ok(no_content()),
            Err(rejected @ (Rejected::QueueFull | Rejected::Failed(_))) => {
                self.log_failed("failed to process Raft message", rejected.to_string());
                let text = "error processing raft message";
                Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, text))
            }
        }
    }

    /// Takes a snapshot.
    async fn snapshot(&self, request: Request<Incoming>) -> Response<PeerBody> {
        if request.method() != Method::POST {
            return method_not_allowed(Method::POST);
        }
        let response = match self.check(request.headers()) {
            Ok(()) => {
                self.remember(None, request.headers());
                self.database(request.into_body()).await
            }
            Err(refusal) => Err(refusal),
        };
        self.with_cluster_id(response.unwrap_or_else(Refusal::into_response))
    }

    async fn database(&self, body: Incoming) -> Result<Response<PeerBody>, Refusal> {
        let Ok(_permit) = self.snapshots_received.try_acquire() else {
            let text = "too many snapshots are being received";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text));
        };
        let opened = SnapshotBody::open(body, self.shared.inbound.as_ref()).await;
        let (header, body) = opened.map_err(|error| {
            if let HeaderError::Stranger(from) = error {
                self.log_refused("rejected snapshot from a sender that is no member", from);
                self.shared.inbound.stranger(from);
                let text = "error processing raft message";
                return Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, text);
            }
            self.log_failed("failed to decode Raft message", error.to_string());
            let text = format!("failed to decode raft message ({error})");
            Refusal::new(StatusCode::BAD_REQUEST, text)
        })?;
        if !codec::is_snapshot(&header) {
            self.log_failed("unexpected Raft message type", codec::type_name(&header).to_owned());
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "wrong raft message type"));
        }
        self.check_addresses(&header)?;
        let (from, index) = (header.from, snapshot::index(&header));
        let said = |record: Record| {
            let local = id_text(self.shared.options.node_id);
            let record = record.with("local-member-id", local);
            let record = record.with("remote-snapshot-sender-id", id_text(from));
            self.shared.log(&record.with("incoming-snapshot-index", index));
        };
        said(record!(Info, "receiving database snapshot"));
        let body = body.counted_by(self.link(from));
        match self.shared.inbound.snapshot(header, body).await {
            Ok(()) => {
                said(record!(Info, "received and saved database snapshot"));
                Ok(no_content())
            }
            Err(error) => {
                self.log_failed("failed to save incoming database snapshot", error.clone());
                Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error))
            }
        }
    }

    fn members(&self, request: &Request<Incoming>) -> Response<PeerBody> {
        if request.method() != Method::GET {
            return method_not_allowed(Method::GET);
        }
        let members = self.shared.inbound.members() + "\n";
        self.with_cluster_id(json(members))
    }

    fn versions(&self, request: &Request<Incoming>) -> Response<PeerBody> {
        if request.method() != Method::GET {
            return method_not_allowed(Method::GET);
        }
        let mut response = json(self.shared.inbound.versions());
        let version = HeaderValue::from_static(version::QUOIN_VERSION);
        response.headers_mut().insert(QUOIN_VERSION, version);
        response
    }

    /// Refuses a sender of another cluster or of a version too far away.
    fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        self.shared.identity.check(headers).map_err(|mismatch| {
            let text = match mismatch {
                headers::Mismatch::Version => "failed version compatibility check",
                headers::Mismatch::ClusterId => "request cluster ID mismatch",
            };
            let stated = |name: &HeaderName| headers::text(headers, name).to_owned();
            self.shared.log(&record!(
                Warn, text,
                "local-member-id" => id_text(self.shared.options.node_id),
                "local-member-cluster-id" => id_text(self.shared.options.cluster_id),
                "remote-peer-server-name" => stated(&headers::SERVER_FROM),
                "remote-peer-server-version" => stated(&headers::SERVER_VERSION),
                "remote-peer-cluster-id" => stated(&headers::CLUSTER_ID),
                "error" => mismatch.text(),
            ));
            Refusal::new(StatusCode::PRECONDITION_FAILED, mismatch.text())
        })
    }

    /// Refuses a message from a removed member, or to another one.
    fn check_addresses(&self, message: &Message) -> Result<(), Refusal> {
        if self.shared.inbound.is_removed(message.from) {
            self.log_refused("rejected Raft message from removed member", message.from);
            let text = "cannot process message from removed member";
            return Err(Refusal::new(StatusCode::FORBIDDEN, text));
        }
        if message.to != self.shared.options.node_id {
            self.log_refused("rejected Raft message to mismatch member", message.from);
            return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, "to field mismatch"));
        }
        Ok(())
    }

    /// Remembers the addresses of a sender that is not a member here.
    fn remember(&self, from: Option<u64>, headers: &HeaderMap) {
        let from = from.or_else(|| parse_id(headers::text(headers, &headers::SERVER_FROM)));
        let (Some(from), Some(urls)) = (from, headers.get(headers::PEER_URLS)) else { return };
        if self.shared.inbound.is_removed(from) || self.link(from).is_some() {
            return;
        }
        let urls = urls.to_str().unwrap_or_default();
        let urls: Vec<String> = urls.split(',').map(str::to_owned).collect();
        if let Err(error) = self.add_remote(from, &urls) {
            self.log_failed("ignored the addresses of an unknown peer", error.to_string());
        }
    }

    /// Reads the body of a POST, which is one message. As soon as its first bytes say what it is and
    /// who sent it, no more is taken in than such a message needs.
    async fn read_whole(&self, mut body: Incoming) -> Result<BytesMut, String> {
        let mut whole = BytesMut::new();
        let mut limit = limits::SHORT_MESSAGE_BYTES;
        let mut is_head_read = false;
        while let Some(chunk) = snapshot::next_chunk(&mut body).await.map_err(|e| e.to_string())? {
            if !is_head_read {
                let missing = HEAD_BYTES.saturating_sub(whole.len()).min(chunk.len());
                let head = [&whole[..], &chunk[..missing]].concat();
                let head = Head::of(&head[..head.len().min(HEAD_BYTES)]);
                is_head_read = whole.len() + chunk.len() >= HEAD_BYTES;
                limit = head.limit();
                if is_head_read && !self.shared.inbound.is_known(head.from) {
                    limit = limit.min(limits::STRANGER_MESSAGE_BYTES);
                }
            }
            if (whole.len() + chunk.len()) as u64 > limit {
                return Err(format!("more than {limit} bytes"));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }

    fn with_cluster_id(&self, mut response: Response<PeerBody>) -> Response<PeerBody> {
        let value = self.shared.identity.cluster_id().clone();
        response.headers_mut().insert(headers::CLUSTER_ID, value);
        response
    }

    fn log_refused(&self, text: &'static str, from: u64) {
        self.shared.log(&record!(
            Warn, text,
            "local-member-id" => id_text(self.shared.options.node_id),
            "remote-peer-id-from" => id_text(from),
            "cluster-id" => id_text(self.shared.options.cluster_id),
        ));
    }

    fn log_failed(&self, text: &'static str, error: String) {
        self.shared.log(&record!(
            Warn, text,
            "local-member-id" => id_text(self.shared.options.node_id),
            "error" => error,
        ));
    }
}
