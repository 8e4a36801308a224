//! Async client of an etcd cluster: endpoints, balancing, retry, key-value, watch, lease, cluster,
//! maintenance.
//!
//! A [`Client`] keeps one HTTP/2 connection per endpoint and sends each request over the next
//! one that is up. A call waits until a connection is up, so a cluster that cannot be reached
//! shows itself as [`Error::Deadline`] and nothing else.
//!
//! Invariants:
//! - A request that changes something is processed at most once: it is repeated only when it was
//!   never sent, or when the server says that it did not take it.
//! - Every call ends at `Options::command_timeout`, whatever the servers do. Watches and the
//!   renewal of leases go on until they are dropped.
//! - What arrives and is not taken waits in bounded queues, and beyond them with the server.
//!
//! The v2 API, which is HTTP and JSON, has a client of its own in [`v2`].
//!
//! Not here: TLS, credentials, and how an error is shown to a person.

mod call;
mod connection;
mod endpoint;
mod error;
mod lease;
mod maintenance;
mod options;
mod pool;
mod snapshot;
mod stream;
pub mod v2;
mod watch;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use quoin_api::etcdserverpb as pb;

use call::{Method, Repeat};
use pool::Pool;

pub use error::Error;
pub use lease::KeepAlive;
pub use snapshot::Snapshot;
pub use tonic::Code;
pub use watch::{Watch, WatchUpdate, Watcher};

pub use options::{FailedAttempt, Observer, Options};

/// The version of the API that this client speaks, announced with every request.
pub const API_VERSION: &str = "3.7";

/// A handle on a cluster. Clones share the connections, which close with the last clone.
#[derive(Clone, Debug)]
pub struct Client {
    options: Arc<Options>,
    pool: Arc<Pool>,
}

impl Client {
    /// Begins to connect to all endpoints and returns at once.
    ///
    /// Fails only if the options themselves are wrong. Must be called within a tokio runtime.
    pub fn connect(options: Options) -> Result<Self, Error> {
        options.check()?;
        let pool = Arc::new(Pool::open(&options.endpoints, &options)?);
        Ok(Self { options: Arc::new(options), pool })
    }

    /// Stores a value under a key.
    pub async fn put(&self, request: pb::PutRequest) -> Result<pb::PutResponse, Error> {
        self.unary(&self.pool, Method::new("/etcdserverpb.KV/Put", Repeat::IfRefused), request)
            .await
    }

    /// Reads a key or a range of keys.
    pub async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, Error> {
        let method = Method::new("/etcdserverpb.KV/Range", Repeat::IfUnavailable);
        self.unary(&self.pool, method, request).await
    }

    /// Reads a range of keys in chunks and returns the whole. It is not retried.
    pub async fn range_stream(
        &self,
        request: pb::RangeRequest,
    ) -> Result<pb::RangeResponse, Error> {
        self.collect_range("/etcdserverpb.KV/RangeStream", request).await
    }

    /// Deletes a key or a range of keys.
    pub async fn delete_range(
        &self,
        request: pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, Error> {
        let method = Method::new("/etcdserverpb.KV/DeleteRange", Repeat::IfRefused);
        self.unary(&self.pool, method, request).await
    }

    /// Compares, then runs one of two lists of operations as a whole.
    pub async fn txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, Error> {
        self.unary(&self.pool, Method::new("/etcdserverpb.KV/Txn", Repeat::IfRefused), request)
            .await
    }

    /// Drops the history before a revision.
    pub async fn compact(
        &self,
        request: pb::CompactionRequest,
    ) -> Result<pb::CompactionResponse, Error> {
        let method = Method::new("/etcdserverpb.KV/Compact", Repeat::IfRefused);
        self.unary(&self.pool, method, request).await
    }

    /// Lists the members; `linearizable` asks the leader instead of the endpoint alone.
    pub async fn member_list(&self, linearizable: bool) -> Result<pb::MemberListResponse, Error> {
        let method = Method::new("/etcdserverpb.Cluster/MemberList", Repeat::IfUnavailable);
        self.unary(&self.pool, method, pb::MemberListRequest { linearizable }).await
    }

    /// Connections that lead to `endpoint` only. They last as long as the call unless it is the
    /// only endpoint anyway.
    fn pool_of(&self, endpoint: &str) -> Result<Arc<Pool>, Error> {
        if self.options.endpoints == [endpoint] {
            return Ok(Arc::clone(&self.pool));
        }
        Ok(Arc::new(Pool::open(&[endpoint.to_owned()], &self.options)?))
    }
}
