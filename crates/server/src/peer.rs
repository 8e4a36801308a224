//! The peer transport: how this member and the others exchange Raft messages.
//!
//! The protocol is etcd's: HTTP/1.1 with two endless responses per direction. The member that
//! wants to *receive* dials, so each end opens a message stream and a msgapp stream to the other,
//! and writes into the streams that the other opened. A message without a stream travels as a
//! POST, a database snapshot always does.
//!
//! In reading order: [`limits`] (every bound), [`codec`] (frames as plain bytes), `headers` (who
//! may talk to whom), `urls` and `link` (what is known of a peer), `io` and `dial` (connections
//! with deadlines), `writer` and `reader` (the two ends of a stream), `pipeline` and `snapshot`
//! (POST), `lease` (questions to the leader), `probe`, `routes` (one peer), [`transport`] (all peers), `answer`, `handler` and
//! [`listen`] (the server side), `early` (what stands in for it until then).
//!
//! Invariants:
//! - Sending never blocks: a full queue drops the message and reports the peer unreachable.
//! - No state is taken in, nor a long message, from a sender that is no member.
//! - Only a member that was certainly removed is answered 403 or 410, because it stops then.
//!
//! Not here: what a message means, who is a member, where a snapshot is stored.

mod answer;
pub mod codec;
mod dial;
mod early;
mod handler;
mod headers;
mod io;
mod lease;
pub mod limits;
mod link;
pub mod listen;
mod pipeline;
mod probe;
mod queue;
mod reader;
mod routes;
mod snapshot;
#[cfg(test)]
mod tests;
pub mod transport;
mod urls;
mod writer;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use quoin_api::etcdserverpb::LeaseTimeToLiveResponse;
use quoin_api::raftpb::Message;
use tokio::runtime::Handle;

use crate::log::{self, Record};
pub use answer::{PeerBody, text_response};
pub use early::answer_early;
pub use lease::{LeaseCallError, LeaseQuestion, LeaseRefusal};
pub use link::{FollowerStats, PeerReport};
pub use listen::serve;
pub(crate) use queue::entry_bytes;
pub use snapshot::{SnapshotBody, SnapshotSource};
pub use transport::Transport;
pub use urls::UrlError;

/// A future that owns everything it needs.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where a log line goes.
pub type LogSink = Arc<dyn Fn(&Record) + Send + Sync>;

/// What the transport is told once.
#[derive(Clone)]
pub struct Options {
    /// The ID of this member.
    pub node_id: u64,
    /// The ID of the cluster; requests with another one are refused.
    pub cluster_id: u64,
    /// The version that this member announces, `x.y.z`.
    pub version: String,
    /// The oldest cluster version that this member can work in, `x.y.z`.
    pub min_cluster_version: String,
    /// The URLs under which other members reach this one.
    pub local_peer_urls: Vec<String>,
    /// The election timeout; dialing a peer may take one second more.
    pub election_timeout: Duration,
    /// Messages that may wait for one stream.
    pub stream_queue: usize,
    /// Bytes of entries that may wait for one stream.
    pub stream_bytes: usize,
    /// Messages that may wait for the POST workers of one peer.
    pub pipeline_queue: usize,
    /// Where log lines go.
    pub log: LogSink,
}

impl Options {
    /// Returns etcd's settings for a member that announces `version`.
    pub fn new(node_id: u64, cluster_id: u64, version: &str) -> Self {
        Self {
            node_id,
            cluster_id,
            version: version.to_owned(),
            min_cluster_version: "3.0.0".to_owned(),
            local_peer_urls: Vec::new(),
            election_timeout: Duration::from_secs(1),
            stream_queue: limits::STREAM_QUEUE,
            stream_bytes: limits::STREAM_BYTES,
            pipeline_queue: limits::PIPELINE_QUEUE,
            log: Arc::new(log::write),
        }
    }
}

/// Why a message from a peer was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The queue of incoming messages is full; the sender will try again.
    #[error("receiving buffer is full")]
    QueueFull,
    /// The member cannot take messages.
    #[error("{0}")]
    Failed(String),
}

/// What the transport calls upwards. No method may block.
pub trait Inbound: Send + Sync + 'static {
    /// Takes a message from a peer. It is addressed to this member, and its sender was not
    /// removed.
    fn message(&self, message: Message) -> Result<(), Rejected>;

    /// Takes a snapshot: the message, and the database behind it. The sender hears of success
    /// only after the future has finished, so the snapshot must be durable by then.
    fn snapshot(&self, header: Message, body: SnapshotBody) -> BoxFuture<Result<(), String>>;

    /// Hears that messages to a peer were probably lost.
    fn unreachable(&self, peer: u64);

    /// Hears how sending a snapshot to a peer ended.
    fn snapshot_status(&self, peer: u64, ok: bool);

    /// Reports whether a member is certainly removed from the cluster.
    fn is_removed(&self, peer: u64) -> bool;

    /// Reports whether a sender is a member, or one vouches for it. Consensus may know of more members
    /// than this, those that its log adds.
    fn is_known(&self, peer: u64) -> bool;

    /// Hears of a sender that is not known: whether it is a member is to be found out.
    fn stranger(&self, peer: u64);

    /// Hears that, according to a peer, this member was removed from the cluster.
    fn removed_by(&self, peer: u64);

    /// Returns the members as the JSON array that `/members` answers.
    fn members(&self) -> String;

    /// Returns the versions as the JSON object that `/version` answers.
    fn versions(&self) -> String;

    /// Answers a question about a lease, with nothing if there is no such lease. Of the answer to a
    /// renewal only the time to live counts.
    fn lease(
        &self,
        _question: LeaseQuestion,
    ) -> BoxFuture<Result<Option<LeaseTimeToLiveResponse>, LeaseRefusal>> {
        Box::pin(async { Err(LeaseRefusal::NotPrimary) })
    }

    /// Hears how long a probe of a peer took, smoothed.
    fn round_trip(&self, _peer: u64, _time: Duration) {}

    /// Answers a request for a path that is not the transport's.
    fn request(&self, _request: Request<Incoming>) -> BoxFuture<Response<PeerBody>> {
        Box::pin(async { answer::not_found() })
    }
}

/// What every task of the transport knows.
struct Shared {
    options: Options,
    identity: headers::Identity,
    inbound: Arc<dyn Inbound>,
    runtime: Handle,
}

impl Shared {
    fn log(&self, record: &Record) {
        (self.options.log)(record);
    }

    /// Time that connecting to a peer may take.
    fn dial_timeout(&self) -> Duration {
        Duration::from_secs(1) + self.options.election_timeout
    }
}

/// The text of an ID in paths, headers and log lines: hexadecimal without padding.
fn id_text(id: u64) -> String {
    format!("{id:x}")
}

/// Reads the text of an ID.
fn parse_id(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits { u64::from_str_radix(text, 16).ok() } else { None }
}

/// Takes a lock. What our locks guard is replaced whole, so a panic elsewhere does not spoil it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
