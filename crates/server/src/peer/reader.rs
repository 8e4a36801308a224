//! The receiving end of a stream: dial the peer, ask for its stream, hand its messages upwards.
//!
//! One task per stream, for as long as the peer is known. It dials again whenever the stream
//! ends, at most every [`limits::REDIAL_INTERVAL`].

use std::sync::Arc;

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderValue;
use hyper::{Method, Response, StatusCode};
use tokio::time::{Instant, sleep_until};

use super::codec::{Decoder, Frame, FrameError, StreamKind};
use super::dial::{self, Connection, DialError, Silence};
use super::link::Link;
use super::urls::PeerUrl;
use super::{headers, id_text, limits};
use crate::log::Record;
use crate::record;

/// Keeps one stream of a peer open, for ever.
pub(super) async fn run(link: Arc<Link>, kind: StreamKind) {
    let reader = Reader { link, kind };
    loop {
        let next_dial = Instant::now() + limits::REDIAL_INTERVAL;
        reader.attach().await;
        sleep_until(next_dial).await;
    }
}

struct Reader {
    link: Arc<Link>,
    kind: StreamKind,
}

/// Why a peer does not give us its stream.
#[derive(Debug, thiserror::Error)]
enum AttachError {
    #[error("{0}")]
    Dial(#[from] DialError),
    #[error("unsupported stream type")]
    Unsupported,
    #[error("the member has been permanently removed from the cluster")]
    Removed,
    #[error("peer {peer:x} failed to find local node {local:x}")]
    Unknown { peer: u64, local: u64 },
    #[error("{}", headers::INCOMPATIBLE_VERSION)]
    Version,
    #[error("{}", headers::CLUSTER_ID_MISMATCH)]
    ClusterId,
    #[error("unhandled error {0:?} when precondition failed")]
    Precondition(String),
    #[error("unhandled http status {0}")]
    Status(u16),
}

/// How a stream ended that was open.
#[derive(Debug, thiserror::Error)]
enum StreamEnd {
    /// The peer closed it.
    #[error("EOF")]
    Closed,
    #[error("{0}")]
    Broken(DialError),
    #[error("{0}")]
    Frame(#[from] FrameError),
}

impl Reader {
    /// Opens the stream and reads until it ends.
    async fn attach(&self) {
        let url = self.link.pick();
        let opened = self.open(&url).await;
        let (mut connection, body) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.link.url_failed(&url);
                if !matches!(error, AttachError::Unsupported) {
                    self.link.deactivate(self.kind.name(), "dial", &error);
                }
                return;
            }
        };
        self.link.activate();
        let established = record!(Info, "established TCP streaming connection with remote peer");
        self.link.log(self.about(established));
        let end = self.read(&mut connection, body).await;
        let lost = record!(Warn, "lost TCP streaming connection with remote peer");
        self.link.log(self.about(lost).with("error", end.to_string()));
        match end {
            StreamEnd::Closed => {}
            StreamEnd::Broken(_) | StreamEnd::Frame(_) => {
                self.link.deactivate(self.kind.name(), "read", &end);
            }
        }
    }

    async fn open(&self, url: &PeerUrl) -> Result<(Connection, Incoming), AttachError> {
        let shared = &*self.link.shared;
        let path = format!("{}/{:x}", self.kind.path(), shared.options.node_id);
        let empty = dial::fixed(Bytes::new());
        let mut request = dial::request(shared, url, Method::GET, &path, empty);
        let to = HeaderValue::try_from(id_text(self.link.id));
        request.headers_mut().insert(headers::RAFT_TO, to.expect("hex digits are header bytes"));

        let mut connection = dial::connect(shared, url, Silence::Fails).await?;
        let Connection { sender, driver } = &mut connection;
        let response =
            dial::drive(driver, async { Ok(sender.send_request(request).await?) }).await?;
        if !headers::has_streams(response.headers()) {
            return Err(AttachError::Unsupported);
        }
        if response.status() == StatusCode::OK {
            return Ok((connection, response.into_body()));
        }
        let error = self.refusal(&mut connection, response).await?;
        Err(error)
    }

    /// Reads why the peer refused.
    async fn refusal(
        &self,
        connection: &mut Connection,
        response: Response<Incoming>,
    ) -> Result<AttachError, DialError> {
        let status = response.status();
        let remote_cluster = headers::text(response.headers(), &headers::CLUSTER_ID).to_owned();
        let body = dial::drive(&mut connection.driver, dial::answer(response)).await?;
        let text = String::from_utf8_lossy(&body);
        let shared = &self.link.shared;
        Ok(match (status, text.trim_end_matches('\n')) {
            (StatusCode::GONE, _) => {
                shared.inbound.removed_by(self.link.id);
                AttachError::Removed
            }
            (StatusCode::NOT_FOUND, _) => {
                AttachError::Unknown { peer: self.link.id, local: shared.options.node_id }
            }
            (StatusCode::PRECONDITION_FAILED, headers::INCOMPATIBLE_VERSION) => {
                self.link.log(record!(
                    Warn,
                    "request sent was ignored by remote peer due to server version incompatibility",
                    "error" => headers::INCOMPATIBLE_VERSION,
                ));
                AttachError::Version
            }
            (StatusCode::PRECONDITION_FAILED, headers::CLUSTER_ID_MISMATCH) => {
                self.log_foreign(remote_cluster);
                AttachError::ClusterId
            }
            (StatusCode::PRECONDITION_FAILED, other) => AttachError::Precondition(other.to_owned()),
            (other, _) => AttachError::Status(other.as_u16()),
        })
    }

    /// Reads messages until the stream ends, which it never does well.
    async fn read(&self, connection: &mut Connection, mut body: Incoming) -> StreamEnd {
        let local = self.link.shared.options.node_id;
        let mut decoder = Decoder::new(self.kind, local, self.link.id);
        let work = async {
            while let Some(frame) = body.frame().await {
                let Ok(bytes) = frame?.into_data() else { continue };
                self.link.received(bytes.len() as u64);
                decoder.push(&bytes);
                if let Err(error) = self.deliver_all(&mut decoder) {
                    return Ok(StreamEnd::Frame(error));
                }
            }
            Ok(StreamEnd::Closed)
        };
        dial::drive(&mut connection.driver, work).await.unwrap_or_else(StreamEnd::Broken)
    }

    /// Hands every complete message upwards.
    fn deliver_all(&self, decoder: &mut Decoder) -> Result<(), FrameError> {
        while let Some(frame) = decoder.next_frame()? {
            match frame {
                Frame::Heartbeat => {}
                Frame::Message(message) => self.link.deliver(message),
            }
        }
        Ok(())
    }

    fn about(&self, record: Record) -> Record {
        record.with("stream-reader-type", self.kind.name())
    }

    fn log_foreign(&self, remote_cluster: String) {
        self.link.log(record!(
            Warn, "request sent was ignored by remote peer due to cluster ID mismatch",
            "remote-peer-cluster-id" => remote_cluster,
            "local-member-cluster-id" => id_text(self.link.shared.options.cluster_id),
            "error" => headers::CLUSTER_ID_MISMATCH,
        ));
    }
}
