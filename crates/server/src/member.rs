//! The running member as the network tasks see it: propose, confirm a read, look at the view.
//!
//! A [`Member`] is shared by all network threads. It holds no lock: requests go to the consensus
//! thread through a bounded queue, answers come back through one-shot channels, and views and
//! progress are published by that thread.
//!
//! Not here: what a request means, and the consensus thread itself (`driver`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use prost::Message as _;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::{
    InternalRaftRequest, Request as V2Request, RequestHeader, ResponseHeader,
};
use quoin_node::{Answer, Failure, LeaseCall, RequestIds, Status};
use quoin_store::{Applied, RequestKind, View};

use crate::bell::Bells;
use crate::driver::{INPUTS_MAX, Input};
use crate::hashes::Hashes;
use crate::lane::Waiter;
use crate::metrics::{Metrics, Present};
use crate::programs::{self, Programs, Refusal};

/// Requests of clients that may wait for the consensus thread. The rest of its queue is for the
/// peers, so that a flood of requests cannot cost the leader its heartbeats.
const REQUESTS_MAX: usize = INPUTS_MAX / 2;
/// Bytes of the proposals among them.
const REQUESTS_BYTES_MAX: usize = 64 << 20;

/// Bytes of messages of peers that may wait for it, unless a single one has more. Beyond, messages
/// are dropped, as if the network had lost them.
const PEERS_BYTES_MAX: usize = 256 << 20;
/// How long a v2 request waits for members that were not heard of to say what they run.
const HEARD_MAX: Duration = Duration::from_secs(2);

/// The settings of a member that requests are checked against.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Bytes of one encoded request.
    pub(crate) request_bytes: usize,
    /// Operations in each list of a transaction.
    pub(crate) txn_ops: usize,
    /// Seconds that a lease lives at least.
    pub(crate) min_lease_ttl_s: i64,
}

/// The running member.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) cluster_id: u64,
    pub(crate) limits: Limits,
    /// What recent compactions left behind.
    pub(crate) hashes: Arc<Hashes>,
    /// Ring when a view was published.
    pub(crate) bells: Bells,
    /// What was counted and measured.
    pub(crate) metrics: Arc<Metrics>,
    /// What the other members run.
    pub(crate) programs: Programs,
    ids: RequestIds,
    inputs: SyncSender<Input>,
    requests: AtomicUsize,
    requests_bytes: AtomicUsize,
    peers_bytes: Arc<AtomicUsize>,
    view: ArcSwap<View>,
    progress: Progress,
}

/// How much waits for the consensus thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) requests: usize,
    pub(crate) requests_max: usize,
    pub(crate) bytes: usize,
    pub(crate) bytes_max: usize,
    /// Bytes of messages of peers.
    pub(crate) peers_bytes: usize,
    pub(crate) peers_bytes_max: usize,
}

/// The room of a message of a peer that waits. It is free when this is dropped.
#[derive(Debug)]
pub(crate) struct PeerRoom {
    waiting: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for PeerRoom {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A proposal that somebody waits for. It has failed, as far as metrics go, if nobody learns what
/// became of it.
struct PendingProposal<'a> {
    metrics: &'a Metrics,
    _present: Present<'a>,
    outcome_known: bool,
}

impl<'a> PendingProposal<'a> {
    fn begin(metrics: &'a Metrics) -> Self {
        let _present = metrics.consensus.proposals_pending.enter();
        Self { metrics, _present, outcome_known: false }
    }
}

impl Drop for PendingProposal<'_> {
    fn drop(&mut self) {
        self.metrics.consensus.proposals_failed.add(u64::from(!self.outcome_known));
    }
}

/// What the consensus thread last said about the cluster.
#[derive(Debug, Default)]
struct Progress {
    term: AtomicU64,
    leader: AtomicU64,
    commit: AtomicU64,
    applied: AtomicU64,
    is_leader: AtomicBool,
    ticks: AtomicU64,
}

impl Member {
    pub(crate) fn new(
        (id, cluster_id): (u64, u64),
        (limits, metrics): (Limits, Arc<Metrics>),
        ids: RequestIds,
        inputs: SyncSender<Input>,
        view: View,
    ) -> Self {
        Self {
            id,
            cluster_id,
            limits,
            hashes: Arc::default(),
            bells: Bells::default(),
            metrics,
            programs: Programs::default(),
            ids,
            inputs,
            requests: AtomicUsize::new(0),
            requests_bytes: AtomicUsize::new(0),
            peers_bytes: Arc::default(),
            view: ArcSwap::from_pointee(view),
            progress: Progress::default(),
        }
    }

    /// Returns the state after the last applied batch.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Replaces the view. Those who follow all changes also get the views right before compactions
    /// since the last one. Only the consensus thread calls this.
    pub(crate) fn publish_view(&self, passed: Vec<View>, view: View) {
        self.bells.pass(passed);
        self.view.store(Arc::new(view));
        self.bells.ring();
    }

    /// Replaces the progress. Only the consensus thread calls this.
    pub(crate) fn publish_status(&self, status: Status) {
        self.progress.term.store(status.term.0, Ordering::Relaxed);
        self.progress.leader.store(status.leader.0, Ordering::Relaxed);
        self.progress.commit.store(status.commit.0, Ordering::Relaxed);
        self.progress.applied.store(status.applied.0, Ordering::Relaxed);
        self.progress.is_leader.store(status.is_leader, Ordering::Relaxed);
    }

    /// Returns the current term.
    pub(crate) fn term(&self) -> u64 {
        self.progress.term.load(Ordering::Relaxed)
    }

    /// Returns the leader's ID, or 0.
    pub(crate) fn leader(&self) -> u64 {
        self.progress.leader.load(Ordering::Relaxed)
    }

    /// Returns true if this member leads.
    pub(crate) fn is_leader(&self) -> bool {
        self.progress.is_leader.load(Ordering::Relaxed)
    }

    /// Returns true if this member only learns.
    pub(crate) fn is_learner(&self) -> bool {
        let view = self.view.load();
        view.membership().member(self.id).is_some_and(|member| member.is_learner)
    }

    /// Returns the committed and the applied index.
    pub(crate) fn indexes(&self) -> (u64, u64) {
        let commit = self.progress.commit.load(Ordering::Relaxed);
        (commit, self.progress.applied.load(Ordering::Relaxed))
    }

    /// Returns a response header with this revision.
    pub(crate) fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.id,
            revision,
            raft_term: self.term(),
        }
    }

    /// Fills a header that came from the store with what only the member knows.
    pub(crate) fn fill(&self, header: &mut Option<ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        *header = Some(self.header(revision));
    }

    /// Proposes a request and waits until it is applied here.
    pub(crate) async fn propose(&self, request: InternalRaftRequest) -> Result<Applied, Error> {
        let (kind, began) = (kind_of(&request), Instant::now());
        let result = self.propose_uncounted(request).await;
        if let Some(kind) = kind {
            let histograms = &self.metrics.requests.proposed[kind as usize];
            histograms[usize::from(result.is_ok())].observe(began.elapsed());
        }
        result
    }

    /// Proposes a request of the v2 API and waits until it is applied here. Its ID is set here. The
    /// answer is [`Reply::V2`](quoin_store::Reply::V2), or nothing for what is about the members.
    pub(crate) async fn propose_v2(&self, request: V2Request) -> Result<Applied, Error> {
        let id = self.ids.next();
        let request = V2Request { id, ..request };
        self.propose_entry(id, Bytes::from(request.encode_to_vec())).await
    }

    /// Returns why a v2 request must not be proposed now: some member cannot apply it, and would end.
    pub(crate) fn v2_refusal(&self) -> Option<Refusal> {
        let view = self.view();
        let others = self.programs.last_known(self);
        programs::v2_refusal(view.membership().version(), view.v2().is_used(), &others)
    }

    /// Returns the same for a request of a client, as the text for it. Members that start together may
    /// serve before they have heard what the others run, so those are asked, and waited for a little.
    pub(crate) async fn v2_refusal_heard(&self) -> Option<String> {
        let heard = async {
            loop {
                let refusal = self.v2_refusal()?;
                if !refusal.is_unheard {
                    return Some(refusal.reason);
                }
                self.programs.ask_in_turn(self).await;
            }
        };
        match tokio::time::timeout(HEARD_MAX, heard).await {
            Ok(reason) => reason,
            Err(_) => self.v2_refusal().map(|refusal| refusal.reason),
        }
    }

    async fn propose_uncounted(&self, request: InternalRaftRequest) -> Result<Applied, Error> {
        let id = self.ids.next();
        let header = RequestHeader { id, ..RequestHeader::default() };
        let request = InternalRaftRequest { header: Some(header), ..request };
        self.propose_entry(id, Bytes::from(request.encode_to_vec())).await
    }

    async fn propose_entry(&self, id: u64, data: Bytes) -> Result<Applied, Error> {
        if data.len() > self.limits.request_bytes {
            return Err(Error::RequestTooLarge);
        }
        let (waiter, answer) = Waiter::new();
        let bytes = data.len();
        self.request(Input::Propose { id, data, waiter }, bytes)?;
        let mut pending = PendingProposal::begin(&self.metrics);
        let answer = answer.await;
        pending.outcome_known =
            !matches!(&answer, Ok(Answer::Failed(failure)) if is_lost(*failure));
        match answer {
            Ok(Answer::Applied(applied)) => Ok(applied),
            Ok(Answer::Failed(failure)) => Err(error_of(failure)),
            Ok(Answer::Readable | Answer::Lease(_) | Answer::Leases(_)) | Err(_) => {
                Err(Error::Stopped)
            }
        }
    }

    /// Waits until a view published from now on shows every write acknowledged before the call.
    pub(crate) async fn linearize(&self) -> Result<(), Error> {
        let (waiter, answer) = Waiter::new();
        self.request(Input::Read(waiter), 0)?;
        match answer.await {
            Ok(Answer::Readable) => Ok(()),
            Ok(Answer::Failed(failure)) => Err(error_of(failure)),
            Ok(Answer::Applied(_) | Answer::Lease(_) | Answer::Leases(_)) | Err(_) => {
                Err(Error::Stopped)
            }
        }
    }

    /// Asks about leases, of which only the leader can tell.
    pub(crate) async fn lease(&self, call: LeaseCall) -> Result<Answer, Failure> {
        let (waiter, answer) = Waiter::new();
        let queued = self.request(Input::Lease(call, waiter), 0);
        queued.map_err(|error| match error {
            Error::TooManyRequests => Failure::Overloaded,
            _ => Failure::Stopped,
        })?;
        match answer.await {
            Ok(Answer::Failed(failure)) => Err(failure),
            Ok(answer) => Ok(answer),
            Err(_) => Err(Failure::Stopped),
        }
    }

    /// Returns an ID for a lease whose client has not chosen one: positive, and unlike those that
    /// other members return.
    pub(crate) fn new_lease_id(&self) -> i64 {
        loop {
            let id = self.ids.next() & (u64::MAX >> 1);
            if let Ok(id) = i64::try_from(id)
                && id != 0
            {
                return id;
            }
        }
    }

    /// Queues a client's request, if there is room for one more.
    fn request(&self, input: Input, bytes: usize) -> Result<(), Error> {
        let waiting = self.requests.fetch_add(1, Ordering::Relaxed);
        let waiting_bytes = self.requests_bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting >= REQUESTS_MAX || waiting_bytes >= REQUESTS_BYTES_MAX {
            self.request_taken(bytes);
            return Err(Error::TooManyRequests);
        }
        self.input(input).inspect_err(|_| self.request_taken(bytes))
    }

    /// Takes room for a message of a peer with so many bytes, if there is.
    pub(crate) fn peer_room(&self, bytes: usize) -> Option<PeerRoom> {
        let before = self.peers_bytes.fetch_add(bytes, Ordering::Relaxed);
        let room = PeerRoom { waiting: Arc::clone(&self.peers_bytes), bytes };
        // What carries no entries is never in the way.
        let fits = bytes == 0 || before == 0 || before + bytes <= PEERS_BYTES_MAX;
        fits.then_some(room)
    }

    /// Returns how much waits for the consensus thread, and how much may.
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting {
            requests: self.requests.load(Ordering::Relaxed),
            requests_max: REQUESTS_MAX,
            bytes: self.requests_bytes.load(Ordering::Relaxed),
            bytes_max: REQUESTS_BYTES_MAX,
            peers_bytes: self.peers_bytes.load(Ordering::Relaxed),
            peers_bytes_max: PEERS_BYTES_MAX,
        }
    }

    /// Takes note that a client's request of this size has left the queue.
    pub(crate) fn request_taken(&self, bytes: usize) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
        self.requests_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes note that the consensus thread has seen another tick.
    pub(crate) fn ticked(&self) {
        self.progress.ticks.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many ticks the consensus thread has seen. It is alive while they grow.
    pub(crate) fn ticks(&self) -> u64 {
        self.progress.ticks.load(Ordering::Relaxed)
    }

    /// Queues an input that may be refused when there is too much to do.
    pub(crate) fn input(&self, input: Input) -> Result<(), Error> {
        self.inputs.try_send(input).map_err(|error| match error {
            TrySendError::Full(_) => Error::TooManyRequests,
            TrySendError::Disconnected(_) => Error::Stopped,
        })
    }
}

/// Returns whether a proposal that failed like this may have been lost. One that was refused was
/// never made.
fn is_lost(failure: Failure) -> bool {
    match failure {
        Failure::NeverProposed
        | Failure::Timeout
        | Failure::LeaderFailed
        | Failure::LeaderChanged => true,
        Failure::NotLeader | Failure::Overloaded | Failure::Stopped => false,
    }
}

/// Returns what a request is counted as.
fn kind_of(request: &InternalRaftRequest) -> Option<RequestKind> {
    let kinds = [
        (request.put.is_some(), RequestKind::Put),
        (request.txn.is_some(), RequestKind::Txn),
        (request.delete_range.is_some(), RequestKind::DeleteRange),
        (request.range.is_some(), RequestKind::Range),
        (request.compaction.is_some(), RequestKind::Compaction),
        (request.lease_grant.is_some(), RequestKind::LeaseGrant),
        (request.lease_revoke.is_some(), RequestKind::LeaseRevoke),
        (request.lease_checkpoint.is_some(), RequestKind::LeaseCheckpoint),
        (request.alarm.is_some(), RequestKind::Alarm),
        (request.cluster_version_set.is_some(), RequestKind::ClusterVersionSet),
        (request.cluster_member_attr_set.is_some(), RequestKind::ClusterMemberAttrSet),
        (request.downgrade_info_set.is_some(), RequestKind::DowngradeInfoSet),
    ];
    kinds.into_iter().find_map(|(is_set, kind)| is_set.then_some(kind))
}

/// Returns how a failure is told to clients.
pub(crate) fn error_of(failure: Failure) -> Error {
    match failure {
        Failure::NeverProposed => Error::ContextDeadlineExceeded,
        Failure::Timeout => Error::Timeout,
        Failure::LeaderFailed => Error::TimeoutLeaderFailed,
        Failure::LeaderChanged => Error::LeaderChanged,
        Failure::NotLeader => Error::NotPrimaryLessor,
        Failure::Overloaded => Error::TooManyRequests,
        Failure::Stopped => Error::Stopped,
    }
}

#[cfg(test)]
mod tests {
    use quoin_node::raft::NodeId;
    use quoin_store::Store;

    use super::*;

    /// The queue of the consensus thread was bounded to 32,768 inputs, whatever their length: a peer
    /// could fill it with appends and proposals of many MiB each.
    #[test]
    fn messages_of_peers_are_bounded_in_bytes() {
        let limits = Limits { request_bytes: 1 << 20, txn_ops: 128, min_lease_ttl_s: 1 };
        let (inputs, _) = std::sync::mpsc::sync_channel(1);
        let metrics = Arc::new(Metrics::new(false));
        let ids = RequestIds::new(NodeId(7), 0);
        let member = Member::new((7, 1), (limits, metrics), ids, inputs, Store::new().view());
        let huge = member.peer_room(2 * PEERS_BYTES_MAX).expect("a single one always has room");
        assert!(member.peer_room(1).is_none());
        assert!(member.peer_room(0).is_some(), "heartbeats always have");
        drop(huge);
        let rooms: Vec<PeerRoom> =
            (0..9).filter_map(|_| member.peer_room(PEERS_BYTES_MAX / 4)).collect();
        assert_eq!((rooms.len(), member.waiting().peers_bytes), (4, PEERS_BYTES_MAX));
        drop(rooms);
        assert_eq!(member.waiting().peers_bytes, 0);
    }
}
