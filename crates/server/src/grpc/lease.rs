//! The Lease service.
//!
//! Grants and revokes go through the log. Renewals and questions for the time of a lease go to the
//! leader; a stream of renewals keeps some of them under way and answers in order.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use quoin_api::error::Error;
use quoin_api::etcdserverpb::lease_server::Lease;
use quoin_api::etcdserverpb::{
    InternalRaftRequest, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest,
    LeaseKeepAliveResponse, LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest,
    LeaseRevokeResponse, LeaseStatus, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use quoin_store::Reply as Applied;
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::admission::{LEADERLESS_MAX, requires_leader};
use super::kv::unexpected;
use super::{Reply, Services};
use crate::member::Member;
use crate::peer::LeaseQuestion;
use crate::quota::LEASE_COST;

/// Renewals of one stream that are under way. The rest waits in the connection.
const RENEWALS_PER_STREAM: usize = 64;

#[tonic::async_trait]
impl Lease for Services {
    async fn lease_grant(&self, request: Request<LeaseGrantRequest>) -> Reply<LeaseGrantResponse> {
        let mut request = request.into_inner();
        if request.id == 0 {
            request.id = self.member.new_lease_id();
        }
        // The entry must say what every member shall store.
        request.ttl = request.ttl.max(self.member.limits.min_lease_ttl_s);
        let _charge = self.charge(LEASE_COST).await?;
        let internal = InternalRaftRequest { lease_grant: Some(request), ..Default::default() };
        match self.apply(internal).await? {
            (Applied::LeaseGrant(response), _) => self.respond(response, |r| &mut r.header),
            (other, _) => Err(unexpected(&other)),
        }
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Reply<LeaseRevokeResponse> {
        let lease_revoke = Some(request.into_inner());
        let internal = InternalRaftRequest { lease_revoke, ..Default::default() };
        match self.apply(internal).await? {
            (Applied::LeaseRevoke(response), _) => self.respond(response, |r| &mut r.header),
            (other, _) => Err(unexpected(&other)),
        }
    }

    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<LeaseKeepAliveResponse, Status>> + Send + 'static>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Reply<Self::LeaseKeepAliveStream> {
        let needs_leader = requires_leader(request.metadata().as_ref());
        let services = self.clone();
        let renewals = request.into_inner().map(move |request| {
            let services = services.clone();
            async move { services.keep_alive(request.inspect_err(|it| services.broke(it))?).await }
        });
        let mut answers = renewals.buffered(RENEWALS_PER_STREAM);
        if !needs_leader {
            return Ok(Response::new(Box::pin(answers)));
        }
        let election = Duration::from_millis(self.config.election_timeout as u64);
        let mut lost = Box::pin(leader_lost(Arc::clone(&self.member), election).fuse());
        let answers = stream::poll_fn(move |context| {
            if lost.as_mut().poll(context).is_ready() {
                return Poll::Ready(Some(Err(Error::NoLeader.into())));
            }
            pin!(&mut answers).poll_next(context)
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Reply<LeaseTimeToLiveResponse> {
        let LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let answer = self.leases.ask(LeaseQuestion::Time { id, keys }).await?;
        let unknown = || LeaseTimeToLiveResponse { id, ttl: -1, ..Default::default() };
        let header = Some(self.member.header(self.member.view().revision()));
        let answer = answer.unwrap_or_else(unknown);
        Ok(Response::new(LeaseTimeToLiveResponse { header, ..answer }))
    }

    async fn lease_leases(&self, _: Request<LeaseLeasesRequest>) -> Reply<LeaseLeasesResponse> {
        let leases = self.leases.list().await?;
        let leases = leases.into_iter().map(|id| LeaseStatus { id }).collect();
        let header = Some(self.member.header(self.member.view().revision()));
        Ok(Response::new(LeaseLeasesResponse { header, leases }))
    }
}

impl Services {
    /// Renews a lease. The header is made before, so that its revision is never newer than the
    /// renewal: a lease that was revoked at a revision cannot seem renewed after it.
    async fn keep_alive(
        &self,
        request: LeaseKeepAliveRequest,
    ) -> Result<LeaseKeepAliveResponse, Status> {
        let LeaseKeepAliveRequest { id } = request;
        let header = Some(self.member.header(self.member.view().revision()));
        let answer = self.leases.ask(LeaseQuestion::Renew(id)).await?;
        let ttl = answer.map_or(0, |answer| answer.ttl);
        Ok(LeaseKeepAliveResponse { header, id, ttl })
    }

    /// Takes note of a stream that broke. Clients that go away are no failure.
    fn broke(&self, status: &Status) {
        if status.code() != Code::Cancelled {
            self.member.metrics.requests.lease_stream_failures.add(1);
        }
    }
}

/// Ends when this member has known no leader for a while.
async fn leader_lost(member: Arc<Member>, election: Duration) {
    let mut without = 0;
    while without < LEADERLESS_MAX {
        tokio::time::sleep(election).await;
        without = if member.leader() == 0 { without + 1 } else { 0 };
    }
}
