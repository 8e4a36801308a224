//! The Maintenance service: status, alarms, hashes, leadership.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quoin_api::error::Error;
use quoin_api::etcdserverpb::maintenance_server::Maintenance;
use quoin_api::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse,
    DowngradeInfo, DowngradeRequest, DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest,
    HashResponse, InternalRaftRequest, MoveLeaderRequest, MoveLeaderResponse, SnapshotRequest,
    StatusRequest, StatusResponse,
};
use quoin_store::{HashKv, Reply as Applied, View};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::kv::unexpected;
use super::{Reply, Services, not_built, snapshot};
use crate::driver::Input;
use crate::http::storage_version;
use crate::metrics::Histogram;
use crate::version;

/// How often a transfer of leadership looks whether it has happened.
const TRANSFER_POLL: Duration = Duration::from_millis(10);
/// Hashes that are computed at once for clients, in this process: each reads everything that is stored.
const HASHES_AT_ONCE: usize = 2;
/// How long a client may wait for others' hashes.
const HASH_WAIT_MAX: Duration = Duration::from_secs(30);
/// The least that a store takes. etcdctl divides by the size, so it is never zero.
const PAGE_BYTES: usize = 4096;

static HASHING: Semaphore = Semaphore::const_new(HASHES_AT_ONCE);

#[tonic::async_trait]
impl Maintenance for Services {
    async fn alarm(&self, request: Request<AlarmRequest>) -> Reply<AlarmResponse> {
        // A list goes through the log as in etcd: a member that lags does not know of an alarm yet.
        let alarm = Some(request.into_inner());
        let internal = InternalRaftRequest { alarm, ..Default::default() };
        match self.apply(internal).await? {
            (Applied::Alarm(response), _) => self.respond(response, |r| &mut r.header),
            (other, _) => Err(unexpected(&other)),
        }
    }

    async fn status(&self, _: Request<StatusRequest>) -> Reply<StatusResponse> {
        let view = self.member.view();
        let (raft_index, raft_applied_index) = self.member.indexes();
        let leader = self.member.leader();
        let no_leader = (leader == 0).then(|| Error::NoLeader.message().to_owned());
        let errors = no_leader
            .into_iter()
            .chain(view.alarms(AlarmType::None).iter().map(alarm_text))
            .collect();
        let bytes = i64::try_from(store_bytes(&view)).unwrap_or(i64::MAX);
        Ok(Response::new(StatusResponse {
            header: Some(self.member.header(view.revision())),
            version: version::ETCD_VERSION.to_owned(),
            db_size: bytes,
            leader,
            raft_index,
            raft_term: self.member.term(),
            raft_applied_index,
            errors,
            db_size_in_use: bytes,
            is_learner: self.member.is_learner(),
            storage_version: storage_version(&view).unwrap_or_default(),
            db_size_quota: self.config.quota_bytes(),
            downgrade_info: Some(DowngradeInfo::default()),
        }))
    }

    async fn hash_kv(&self, request: Request<HashKvRequest>) -> Reply<HashKvResponse> {
        let revision = request.into_inner().revision;
        let (hash, view) = match self.member.hashes.find(revision) {
            Some(hash) => (hash, self.member.view()),
            None => {
                let metrics = &self.member.metrics.store;
                hash(&HASHING, || self.member.view(), revision, &metrics.hash_revision).await?
            }
        };
        Ok(Response::new(HashKvResponse {
            header: Some(self.member.header(view.revision())),
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            hash_revision: hash.hash_revision,
        }))
    }

    async fn move_leader(&self, request: Request<MoveLeaderRequest>) -> Reply<MoveLeaderResponse> {
        let target = request.into_inner().target_id;
        let member = &self.member;
        if !member.is_leader() {
            return Err(Error::NotLeader.into());
        }
        let view = member.view();
        if view.membership().member(target).is_none_or(|member| member.is_learner) {
            return Err(Error::BadLeaderTransferee.into());
        }
        member.input(Input::TransferLeader(target))?;
        let election = Duration::from_millis(self.config.election_timeout as u64);
        let moved = async {
            while member.leader() != target {
                tokio::time::sleep(TRANSFER_POLL).await;
            }
        };
        let outcome = tokio::time::timeout(election, moved).await;
        outcome.map_err(|_| Status::from(Error::TimeoutLeaderTransfer))?;
        Ok(Response::new(MoveLeaderResponse { header: None }))
    }

    async fn defragment(&self, _: Request<DefragmentRequest>) -> Reply<DefragmentResponse> {
        // Space is given back in the background; there is nothing to do by hand.
        let (disk, began) = (&self.member.metrics.disk, Instant::now());
        let _present = disk.defragmenting.enter();
        disk.defragment.observe(began.elapsed());
        Ok(Response::new(DefragmentResponse { header: None }))
    }

    async fn hash(&self, _: Request<HashRequest>) -> Reply<HashResponse> {
        let metrics = &self.member.metrics.store;
        let (hash, view) = hash(&HASHING, || self.member.view(), 0, &metrics.hash).await?;
        let (header, hash) = (Some(self.member.header(view.revision())), hash.hash);
        Ok(Response::new(HashResponse { header, hash }))
    }

    type SnapshotStream = snapshot::Messages;

    async fn snapshot(&self, _: Request<SnapshotRequest>) -> Reply<Self::SnapshotStream> {
        Ok(Response::new(snapshot::send(&self.member).await?))
    }

    async fn downgrade(&self, _: Request<DowngradeRequest>) -> Reply<DowngradeResponse> {
        not_built("Downgrade")
    }
}

/// Hashes the changes up to a revision when it is its turn, off the thread that serves connections: it
/// reads them all. Returns also the view that was hashed, which whoever waits does not hold.
async fn hash(
    turns: &'static Semaphore,
    view: impl FnOnce() -> Arc<View>,
    revision: i64,
    histogram: &Histogram,
) -> Result<(HashKv, Arc<View>), Status> {
    let turn = tokio::time::timeout(HASH_WAIT_MAX, turns.acquire()).await;
    let turn = turn.map_err(|_| Error::TooManyRequests)?.map_err(|_| Error::Stopped)?;
    let (view, began) = (view(), Instant::now());
    let hashed = Arc::clone(&view);
    let hash = tokio::task::spawn_blocking(move || {
        // It goes on if the client does not wait for it.
        let _turn = turn;
        hashed.hash_kv(revision)
    });
    let hash = hash.await.map_err(|error| Status::internal(error.to_string()))??;
    histogram.observe(began.elapsed());
    Ok((hash, view))
}

/// Returns what the status of a member calls its size.
pub(crate) fn store_bytes(view: &View) -> usize {
    view.size().saturating_add(PAGE_BYTES)
}

/// Returns an alarm as etcd's status prints it, with its trailing space.
fn alarm_text(alarm: &AlarmMember) -> String {
    format!("memberID:{} alarm:{} ", alarm.member_id, alarm.alarm().as_str_name())
}

#[cfg(test)]
mod tests {
    use quoin_store::Store;

    use super::*;

    /// Each of any number of clients had everything that is stored read for it at the same time.
    #[test]
    fn hashes_are_computed_in_turn() {
        static TURNS: Semaphore = Semaphore::const_new(1);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (histogram, view) = (Histogram::plain(1, 2), Arc::new(Store::new().view()));
            let other = TURNS.acquire().await.unwrap();
            let unseen = || unreachable!("whoever waits holds no view");
            let refused = hash(&TURNS, unseen, 0, &histogram).await.unwrap_err();
            assert_eq!(refused.message(), Error::TooManyRequests.message());
            drop(other);
            let (found, hashed) = hash(&TURNS, || Arc::clone(&view), 0, &histogram).await.unwrap();
            assert_eq!((found, hashed.revision()), (view.hash_kv(0).unwrap(), 1));
            assert_eq!(TURNS.available_permits(), 1);
        });
    }
}
