//! Leases: granted, revoked, looked at, and kept alive.
//!
//! Invariants:
//! - A renewal is sent when a third of the time to live has passed, over a stream that is opened
//!   again when it breaks.
//! - A lease whose renewal nobody answered in time counts as lost, because it may be.

use std::time::Duration;

use futures_util::StreamExt as _;
use quoin_api::error::Error as Known;
use quoin_api::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::call::{FAR, Method, Repeat};
use crate::stream::{Broken, Inbound, REQUESTS_WAITING};
use crate::{Client, Error};

const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
/// The pause before a broken stream is opened again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the first renewal may take if connecting has no limit of its own.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

impl Client {
    /// Makes a lease.
    pub async fn lease_grant(
        &self,
        request: pb::LeaseGrantRequest,
    ) -> Result<pb::LeaseGrantResponse, Error> {
        let method = Method::new("/etcdserverpb.Lease/LeaseGrant", Repeat::IfRefused);
        self.unary(&self.pool, method, request).await
    }

    /// Ends a lease and deletes the keys attached to it.
    pub async fn lease_revoke(&self, id: i64) -> Result<pb::LeaseRevokeResponse, Error> {
        let method = Method::new("/etcdserverpb.Lease/LeaseRevoke", Repeat::IfRefused);
        self.unary(&self.pool, method, pb::LeaseRevokeRequest { id }).await
    }

    /// Asks how long a lease has to live. A lease that does not exist has -1 seconds.
    pub async fn lease_time_to_live(
        &self,
        request: pb::LeaseTimeToLiveRequest,
    ) -> Result<pb::LeaseTimeToLiveResponse, Error> {
        let method = Method::new("/etcdserverpb.Lease/LeaseTimeToLive", Repeat::IfUnavailable);
        self.unary(&self.pool, method, request).await
    }

    /// Lists the leases.
    pub async fn lease_list(&self) -> Result<pb::LeaseLeasesResponse, Error> {
        let method = Method::new("/etcdserverpb.Lease/LeaseLeases", Repeat::IfUnavailable);
        self.unary(&self.pool, method, pb::LeaseLeasesRequest {}).await
    }

    /// Renews a lease once.
    pub async fn lease_keep_alive_once(
        &self,
        id: i64,
    ) -> Result<pb::LeaseKeepAliveResponse, Error> {
        let deadline = self.deadline();
        loop {
            let mut stream = None;
            // The server waits for a leader longer than it takes to elect one.
            match timeout_at(deadline, self.renew(&mut stream, id, false)).await {
                Err(_) => return Err(self.out_of_time()),
                Ok(Ok(response)) if response.ttl <= 0 => {
                    return Err(Error::Server(Known::LeaseNotFound));
                }
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(Broken::Halted(error))) => return Err(error),
                Ok(Err(Broken::Lost)) => sleep(PAUSE.min(deadline - Instant::now())).await,
            }
        }
    }

    /// Begins to keep a lease alive. It is renewed as long as somebody waits for the answers.
    pub fn lease_keep_alive(&self, id: i64) -> KeepAlive {
        let first = match self.options.dial_timeout {
            Duration::ZERO => FIRST_ANSWER,
            dial_timeout => dial_timeout.saturating_add(Duration::from_secs(1)).min(FAR),
        };
        let now = Instant::now();
        KeepAlive { client: self.clone(), id, stream: None, next: now, deadline: now + first }
    }

    /// Sends one renewal, over a new stream if there is none, and waits for the answer.
    async fn renew(
        &self,
        stream: &mut Option<Stream>,
        id: i64,
        requires_leader: bool,
    ) -> Result<pb::LeaseKeepAliveResponse, Broken> {
        if stream.is_none() {
            let connection = self.pool.next().await;
            let (requests, waiting) = mpsc::channel(REQUESTS_WAITING);
            let answers = self.open(connection, KEEP_ALIVE, waiting, requires_leader);
            *stream = Some(Stream { requests, answers });
        }
        let Some(Stream { requests, answers }) = stream else {
            return Err(Broken::Lost);
        };
        if requests.send(pb::LeaseKeepAliveRequest { id }).await.is_err() {
            return Err(Broken::Lost);
        }
        match answers.next().await {
            Some(Ok(response)) => Ok(response),
            Some(Err(status)) => Err(Broken::new(status)),
            None => Err(Broken::Lost),
        }
    }
}

/// A stream that renews leases.
struct Stream {
    requests: mpsc::Sender<pb::LeaseKeepAliveRequest>,
    answers: Inbound<pb::LeaseKeepAliveResponse>,
}

/// A lease that is kept alive.
pub struct KeepAlive {
    client: Client,
    id: i64,
    stream: Option<Stream>,
    /// When the lease is to be renewed.
    next: Instant,
    /// When the lease must be taken for lost.
    deadline: Instant,
}

impl std::fmt::Debug for KeepAlive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeepAlive").field("id", &self.id).finish_non_exhaustive()
    }
}

impl KeepAlive {
    /// Waits until it is time, renews the lease and returns the answer; none when the lease has
    /// expired, was revoked, or must be taken for lost. Not to be cancelled and called again.
    pub async fn next(&mut self) -> Option<pb::LeaseKeepAliveResponse> {
        sleep_until(self.next).await;
        loop {
            let renewal = self.client.renew(&mut self.stream, self.id, true);
            match timeout_at(self.deadline, renewal).await {
                Ok(Ok(response)) => {
                    let seconds = u64::try_from(response.ttl).ok().filter(|&ttl| ttl > 0)?;
                    let live = Duration::from_secs(seconds).min(FAR);
                    let now = Instant::now();
                    (self.next, self.deadline) = (now + live / 3, now + live);
                    return Some(response);
                }
                Ok(Err(Broken::Halted(Error::Server(Known::NoLeader)))) | Err(_) => return None,
                Ok(Err(Broken::Lost | Broken::Halted(_))) => self.stream = None,
            }
            if Instant::now() + PAUSE >= self.deadline {
                sleep_until(self.deadline).await;
                return None;
            }
            sleep(PAUSE).await;
        }
    }
}
