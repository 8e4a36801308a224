//! Questions about leases: answered here while this member leads, else asked of the leader.
//!
//! Only the leader counts the time of leases, so a follower passes questions on, over the peers'
//! HTTP as etcd does, and tries again while the leader is unknown, cannot be reached or has just
//! changed. Asking twice does no harm: a renewal renews again.
//!
//! Not here: when a lease ends (`node`), the form of the question between peers (`peer`).

use std::sync::Arc;
use std::time::Duration;

use quoin_api::error::Error;
use quoin_api::etcdserverpb::LeaseTimeToLiveResponse;
use quoin_node::{Answer, Failure, LeaseCall};
use tokio::time::{Instant, sleep};

use crate::member::{Member, error_of};
use crate::peer::{LeaseQuestion, LeaseRefusal, Transport};

/// The pause before a question is asked again, as in etcd.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A way to the leader for questions about leases.
#[derive(Clone)]
pub(crate) struct Leases {
    member: Arc<Member>,
    transport: Arc<Transport>,
    /// How long a question may be asked again and again.
    patience: Duration,
}

impl Leases {
    pub(crate) fn new(member: Arc<Member>, transport: Arc<Transport>, patience: Duration) -> Self {
        Self { member, transport, patience }
    }

    /// Asks the leader, whoever that is. Returns nothing if there is no such lease. Of the answer
    /// the header is not filled.
    pub(crate) async fn ask(
        &self,
        question: LeaseQuestion,
    ) -> Result<Option<LeaseTimeToLiveResponse>, Error> {
        let give_up = Instant::now() + self.patience;
        loop {
            let leader = self.member.leader();
            if leader == self.member.id {
                match answer(&self.member, question).await {
                    Ok(answer) => return Ok(answer),
                    Err(Failure::NotLeader | Failure::LeaderChanged) => {}
                    Err(failure) => return Err(error_of(failure)),
                }
            } else if leader != 0
                && let Ok(answer) = self.transport.ask_lease(leader, question).await
            {
                return Ok(answer);
            }
            if Instant::now() >= give_up {
                return Err(if self.member.leader() == 0 {
                    Error::NoLeader
                } else {
                    Error::Timeout
                });
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Lists the leases that this member knows. The leader begins with the one that ends first;
    /// the others know no time and list by ID.
    pub(crate) async fn list(&self) -> Result<Vec<i64>, Error> {
        match self.member.lease(LeaseCall::List).await {
            Ok(Answer::Leases(leases)) => Ok(leases.to_vec()),
            Ok(_) => Err(Error::Stopped),
            Err(Failure::NotLeader) => {
                Ok(self.member.view().leases().map(|lease| lease.id).collect())
            }
            Err(failure) => Err(error_of(failure)),
        }
    }
}

impl std::fmt::Debug for Leases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leases").field("patience", &self.patience).finish_non_exhaustive()
    }
}

/// Answers a question about a lease if this member leads.
async fn answer(
    member: &Member,
    question: LeaseQuestion,
) -> Result<Option<LeaseTimeToLiveResponse>, Failure> {
    let (call, id, wants_keys) = match question {
        LeaseQuestion::Renew(id) => (LeaseCall::Renew(id), id, false),
        LeaseQuestion::Time { id, keys } => (LeaseCall::Time(id), id, keys),
    };
    let Answer::Lease(time) = member.lease(call).await? else { return Err(Failure::Stopped) };
    let Some(time) = time else { return Ok(None) };
    let ttl = match question {
        LeaseQuestion::Renew(_) => {
            member.metrics.store.leases_renewed.add(1);
            time.granted_s
        }
        LeaseQuestion::Time { .. } => time.left_s,
    };
    let keys = if wants_keys {
        // The view is at least as new as the answer; the lease may have ended since.
        let Some(lease) = member.view().lease(id) else { return Ok(None) };
        lease.keys().map(Into::into).collect()
    } else {
        Vec::new()
    };
    Ok(Some(LeaseTimeToLiveResponse { header: None, id, ttl, granted_ttl: time.granted_s, keys }))
}

/// Answers a question about a lease that another member passed on.
pub(crate) async fn answer_peer(
    member: &Member,
    question: LeaseQuestion,
) -> Result<Option<LeaseTimeToLiveResponse>, LeaseRefusal> {
    answer(member, question).await.map_err(|failure| match failure {
        Failure::NotLeader | Failure::LeaderChanged => LeaseRefusal::NotPrimary,
        Failure::Timeout | Failure::LeaderFailed | Failure::NeverProposed => LeaseRefusal::Timeout,
        Failure::Overloaded | Failure::Stopped => {
            LeaseRefusal::Failed(error_of(failure).to_string())
        }
    })
}
