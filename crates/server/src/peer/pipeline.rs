//! Messages as single POST requests: the path for a peer that has not attached its streams.
//!
//! A few workers share one queue. Each keeps its connection while the peer does.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::StatusCode;
use prost::Message as _;
use quoin_api::raftpb::Message;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::dial::{self, Connection, DialError, Silence};
use super::link::Link;
use super::urls::PeerUrl;
use super::{codec, headers, id_text, limits, queue};
use crate::{record, vital};

/// The name of the path in log lines.
const SOURCE: &str = "pipeline";

/// The way to the POST workers of one peer.
pub(super) struct Pipeline {
    queue: queue::Sender,
}

impl Pipeline {
    /// Starts the workers among `tasks`.
    pub(super) fn start(link: &Arc<Link>, tasks: &mut JoinSet<()>) -> Self {
        let options = &link.shared.options;
        let (queue, messages) = queue::bounded(options.pipeline_queue, limits::PIPELINE_BYTES);
        let messages = Arc::new(Mutex::new(messages));
        for _ in 0..limits::PIPELINE_WORKERS {
            let worker = work(Arc::clone(link), Arc::clone(&messages));
            tasks.spawn_on(vital::guarded(worker), &link.shared.runtime);
        }
        Self { queue }
    }

    /// Queues a message and returns true, or drops it because the queue is full.
    pub(super) fn offer(&self, message: Message) -> bool {
        matches!(self.queue.offer(message), queue::Offered::Queued)
    }
}

/// Why a POST was in vain.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("{0}")]
    Dial(#[from] DialError),
    #[error("no answer within {:?}", limits::POST_DEADLINE)]
    Timeout,
    #[error("the member has been permanently removed from the cluster")]
    Removed,
    #[error("{}", headers::INCOMPATIBLE_VERSION)]
    Version,
    #[error("{}", headers::CLUSTER_ID_MISMATCH)]
    ClusterId,
    #[error("unhandled error {0:?} when precondition failed")]
    Precondition(String),
    #[error("unexpected http status {0} while posting to {1:?}")]
    Status(StatusCode, &'static str),
}

async fn work(link: Arc<Link>, messages: Arc<Mutex<queue::Receiver>>) {
    let mut kept = None;
    loop {
        let Some(message) = messages.lock().await.recv().await else { return };
        let was_snapshot = codec::is_snapshot(&message);
        let was_append = codec::is_append(&message);
        let began = Instant::now();
        let body = Bytes::from(message.encode_to_vec());
        let length = body.len() as u64;
        let url = link.pick();
        let post = post(&link, &url, &mut kept, body);
        match timeout(limits::POST_DEADLINE, post).await.unwrap_or(Err(PostError::Timeout)) {
            Ok(()) => {
                link.activate();
                link.sent(length);
                if was_append {
                    link.append_sent(Some(began.elapsed()));
                }
                if was_snapshot {
                    link.shared.inbound.snapshot_status(link.id, true);
                }
            }
            Err(error) => {
                kept = None;
                link.url_failed(&url);
                link.deactivate(SOURCE, "write", &error);
                if was_append {
                    link.append_sent(None);
                }
                link.lost(was_snapshot);
            }
        }
    }
}

/// Posts one message, over the kept connection if the peer has not closed it meanwhile.
async fn post(
    link: &Link,
    url: &PeerUrl,
    kept: &mut Option<(PeerUrl, Connection)>,
    body: Bytes,
) -> Result<(), PostError> {
    if let Some((at, mut connection)) = kept.take()
        && at == *url
        && let Ok(result) = exchange(link, url, &mut connection, body.clone()).await
    {
        *kept = connection.driver.is_some().then_some((at, connection));
        return result;
    }
    let mut connection = dial::connect(&link.shared, url, Silence::IsFine).await?;
    let result = exchange(link, url, &mut connection, body).await?;
    *kept = connection.driver.is_some().then(|| (url.clone(), connection));
    result
}

/// Sends one request and judges the answer. The outer error is the connection's, so the request
/// may be repeated on another: consensus takes a message twice.
async fn exchange(
    link: &Link,
    url: &PeerUrl,
    connection: &mut Connection,
    body: Bytes,
) -> Result<Result<(), PostError>, DialError> {
    const PATH: &str = "/raft";
    let Connection { sender, driver } = connection;
    let content = "application/protobuf";
    let request = dial::post(&link.shared, url, PATH, content, dial::fixed(body));
    dial::drive(driver, async {
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let cluster = headers::text(response.headers(), &headers::CLUSTER_ID).to_owned();
        let answer = dial::answer(response).await?;
        Ok(judge(link, PATH, status, &cluster, &answer))
    })
    .await
}

/// Says what the answer to a POST means.
pub(super) fn judge(
    link: &Link,
    path: &'static str,
    status: StatusCode,
    remote_cluster: &str,
    answer: &[u8],
) -> Result<(), PostError> {
    let text = String::from_utf8_lossy(answer);
    match (status, text.trim_end_matches('\n')) {
        (StatusCode::NO_CONTENT, _) => Ok(()),
        (StatusCode::FORBIDDEN, _) => {
            link.shared.inbound.removed_by(link.id);
            Err(PostError::Removed)
        }
        (StatusCode::PRECONDITION_FAILED, headers::INCOMPATIBLE_VERSION) => {
            link.log(record!(Error, "request sent was ignored by peer"));
            Err(PostError::Version)
        }
        (StatusCode::PRECONDITION_FAILED, headers::CLUSTER_ID_MISMATCH) => {
            link.log(record!(
                Error, "request sent was ignored due to cluster ID mismatch",
                "remote-peer-cluster-id" => remote_cluster.to_owned(),
                "local-member-cluster-id" => id_text(link.shared.options.cluster_id),
            ));
            Err(PostError::ClusterId)
        }
        (StatusCode::PRECONDITION_FAILED, other) => Err(PostError::Precondition(other.to_owned())),
        (other, _) => Err(PostError::Status(other, path)),
    }
}
