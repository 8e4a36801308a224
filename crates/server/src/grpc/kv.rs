//! The KV service.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message as _;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::alarm_request::AlarmAction;
use quoin_api::etcdserverpb::kv_server::Kv;
use quoin_api::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, CompactionResponse, DeleteRangeRequest,
    DeleteRangeResponse, InternalRaftRequest, PutRequest, PutResponse, RangeRequest, RangeResponse,
    RangeStreamResponse, ResponseHeader, TxnRequest, TxnResponse,
};
use quoin_store::{
    Bound, PendingReply, Reply as Applied, View, check_delete, check_put, check_range,
    check_range_stream, check_txn, is_txn_readonly, is_txn_serializable,
};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::large::{Held, INLINE, LargeRead, Unanswered};
use super::range_stream::Chunks;
use super::ready_made;
use super::slow::Slow;
use super::stats::{Kept, Stats};
use super::{Reply, Services};
use crate::log;
use crate::member::Member;
use crate::metrics::Histogram;
use crate::quota::{Charge, put_cost, txn_cost};

/// How often a physical compaction looks whether all it made unreachable is gone and hashed.
const COLLECT_POLL: Duration = Duration::from_millis(10);

#[tonic::async_trait]
impl Kv for Services {
    async fn range(&self, request: Request<RangeRequest>) -> Reply<RangeResponse> {
        let stats = Stats::of(&request);
        let request = request.into_inner();
        let reply = self.check_and_range(&request).await;
        stats.end_range(self, &request, &reply, |response| response.count);
        ready_made::make(reply).await
    }

    type RangeStreamStream =
        Pin<Box<dyn Stream<Item = Result<RangeStreamResponse, Status>> + Send + 'static>>;

    async fn range_stream(&self, request: Request<RangeRequest>) -> Reply<Self::RangeStreamStream> {
        let request = request.into_inner();
        check_range_stream(&request)?;
        if !request.serializable {
            self.member.linearize().await?;
        }
        let chunks = Chunks::new(Arc::clone(&self.member), self.member.view(), request);
        Ok(Response::new(Box::pin(chunks.stream(Arc::clone(&self.room)))))
    }

    async fn put(&self, request: Request<PutRequest>) -> Reply<PutResponse> {
        let stats = Stats::of(&request);
        let request = request.into_inner();
        let kept = Kept::put(&request);
        let reply = self.check_and_put(request).await;
        stats.end(self, &kept, &reply, |_| (0, true));
        ready_made::make(reply).await
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Reply<DeleteRangeResponse> {
        let stats = Stats::of(&request);
        let request = request.into_inner();
        let kept = Kept::delete_range(&request);
        let reply = self.check_and_delete_range(request).await;
        stats.end(self, &kept, &reply, |response| (response.deleted, true));
        ready_made::make(reply).await
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Reply<TxnResponse> {
        let stats = Stats::of(&request);
        let request = request.into_inner();
        let kept = Kept::txn(&request);
        let reply = self.check_and_txn(request).await;
        stats.end(self, &kept, &reply, |response| (0, response.succeeded));
        ready_made::make(reply).await
    }

    async fn compact(&self, request: Request<CompactionRequest>) -> Reply<CompactionResponse> {
        let request = request.into_inner();
        let physical = request.physical;
        let internal = InternalRaftRequest { compaction: Some(request), ..Default::default() };
        match self.apply(internal).await? {
            (Applied::Compaction(response), _) => {
                let is_done = || !self.member.view().has_garbage() && self.member.hashes.is_idle();
                while physical && !is_done() {
                    tokio::time::sleep(COLLECT_POLL).await;
                }
                self.respond(response, |r| &mut r.header)
            }
            (other, _) => Err(unexpected(&other)),
        }
    }
}

impl Services {
    async fn check_and_range(&self, request: &RangeRequest) -> Reply<RangeResponse> {
        if !request.serializable && self.member.is_learner() {
            return Err(Error::NotSupportedForLearner.into());
        }
        check_range(request)?;
        let began = Instant::now();
        let reply = self.read_range(request).await;
        let histograms = &self.member.metrics.requests.range;
        if let Some(slow) = self.note_read(histograms, began, reply.is_ok()) {
            let answer = reply.as_ref().map(Response::get_ref).map_err(Status::message);
            slow.log_range(request, answer);
        }
        reply
    }

    async fn check_and_put(&self, request: PutRequest) -> Reply<PutResponse> {
        check_put(&request)?;
        let _charge = self.charge(put_cost(&request)).await?;
        let internal = InternalRaftRequest { put: Some(request), ..Default::default() };
        match self.apply(internal).await? {
            (Applied::Put(response), held) => {
                let response = self.respond(response, |r| &mut r.header)?;
                Ok(with_room(response, held))
            }
            (other, _) => Err(unexpected(&other)),
        }
    }

    async fn check_and_delete_range(
        &self,
        request: DeleteRangeRequest,
    ) -> Reply<DeleteRangeResponse> {
        check_delete(&request)?;
        let internal = InternalRaftRequest { delete_range: Some(request), ..Default::default() };
        match self.apply(internal).await? {
            (Applied::DeleteRange(response), held) => {
                let response = self.respond(response, |r| &mut r.header)?;
                Ok(with_room(response, held))
            }
            (other, _) => Err(unexpected(&other)),
        }
    }

    async fn check_and_txn(&self, request: TxnRequest) -> Reply<TxnResponse> {
        check_txn(&request, self.member.limits.txn_ops)?;
        if is_txn_readonly(&request) {
            let began = Instant::now();
            let read = self.read_txn(&request).await;
            let histograms = &self.member.metrics.requests.readonly_txn;
            if let Some(slow) = self.note_read(histograms, began, read.is_ok()) {
                let response = read.as_ref().map(|(response, _)| response);
                slow.log_txn(&request, response.map_err(Status::message));
            }
            let (response, held) = read?;
            let response = self.respond(response, |r| &mut r.header)?;
            return Ok(with_room(response, held));
        }
        let _charge = self.charge(txn_cost(&request)).await?;
        let internal = InternalRaftRequest { txn: Some(request), ..Default::default() };
        match self.apply(internal).await? {
            (Applied::Txn(response), held) => {
                let response = self.respond(response, |r| &mut r.header)?;
                Ok(with_room(response, held))
            }
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Answers a range that was checked.
    async fn read_range(&self, request: &RangeRequest) -> Reply<RangeResponse> {
        if !request.serializable {
            self.member.linearize().await?;
        }
        let view = self.member.view();
        let mut bound = INLINE;
        let small = look(&self.member, || view.range_within(request, &mut bound))?;
        let (mut response, held) = match small {
            Some(response) => (response, None),
            None => {
                let member = Arc::clone(&self.member);
                let read = LargeRange { member, view, request: request.clone() };
                let (response, held) = self.room.read(read).await?;
                (response, Some(held))
            }
        };
        self.member.fill(&mut response.header);
        Ok(with_room(Response::new(response), held))
    }

    /// Answers a transaction that only reads. All its reads share one bound, and one part of the room.
    async fn read_txn(&self, request: &TxnRequest) -> Result<(TxnResponse, Option<Held>), Status> {
        if !is_txn_serializable(request) {
            self.member.linearize().await?;
        }
        let view = self.member.view();
        let mut bound = INLINE;
        let ((response, ranges), held) = match view.txn_within(request, &mut bound)? {
            Some(read) => (read, None),
            None => {
                let read = LargeTxn { view, request: request.clone() };
                let (read, held) = self.room.read(read).await?;
                (read, Some(held))
            }
        };
        let metrics = &self.member.metrics.store;
        metrics.ranges.add(ranges);
        metrics.txns.add(u64::from(ranges > 1));
        Ok((response, held))
    }

    /// Takes note of a read that was answered, or failed. Returns what to log if it was slow.
    fn note_read(
        &self,
        histograms: &[Histogram; 2],
        began: Instant,
        success: bool,
    ) -> Option<Slow> {
        let (took, expected) = (began.elapsed(), self.config.warning_apply_duration.std());
        histograms[usize::from(success)].observe(took);
        let is_slow = took > expected;
        self.member.metrics.consensus.slow_applies.add(u64::from(is_slow));
        is_slow.then_some(Slow { took, expected })
    }

    /// Proposes a request; returns what its entry returned when it was applied here, and the part of the
    /// room that a large reply takes.
    pub(super) async fn apply(
        &self,
        request: InternalRaftRequest,
    ) -> Result<(Applied, Option<Held>), Status> {
        let reply = self.member.propose(request).await?.result?;
        let mut bound = INLINE;
        if let Some(reply) = reply.make_within(&mut bound)? {
            return Ok((reply, None));
        }
        match self.room.read(LargeReply(reply)).await {
            Ok((reply, held)) => Ok((reply, Some(held))),
            // That would say that nothing was done. But the entry took effect.
            Err(Unanswered::Failed(Error::TooManyRequests)) => Err(Error::Timeout.into()),
            Err(unanswered) => Err(unanswered.into()),
        }
    }

    /// Charges a write to the quota for as long as it is on its way. If it does not fit, the alarm
    /// is raised, unless it is already.
    pub(super) async fn charge(&self, cost: i64) -> Result<Charge<'_>, Error> {
        let view = self.member.view();
        if let Some(charge) = self.quota.admit(view.size(), cost) {
            return Ok(charge);
        }
        let raised = view.alarms(AlarmType::Nospace);
        if raised.iter().all(|alarm| alarm.member_id != self.member.id) {
            let (member_id, alarm) = (self.member.id, AlarmType::Nospace.into());
            let action = AlarmAction::Activate.into();
            let alarm = Some(AlarmRequest { action, member_id, alarm });
            let request = InternalRaftRequest { alarm, ..Default::default() };
            // The write is refused whether or not the others hear of it: the next one tries again.
            if let Err(error) = self.apply(request).await {
                log::warn!("failed to raise the alarm", "alarm" => "NOSPACE",
                    "error" => error.message().to_owned());
            }
        }
        Err(Error::NoSpace)
    }

    /// Fills the header of a response and sends it.
    pub(super) fn respond<T>(
        &self,
        mut response: T,
        header: fn(&mut T) -> &mut Option<ResponseHeader>,
    ) -> Reply<T> {
        self.member.fill(header(&mut response));
        Ok(Response::new(response))
    }
}

/// A range that is too large for the thread that serves connections.
struct LargeRange {
    member: Arc<Member>,
    view: Arc<View>,
    request: RangeRequest,
}

impl LargeRead for LargeRange {
    type Answer = RangeResponse;

    fn bytes(&self) -> Result<usize, Error> {
        self.view.range_bytes(&self.request)
    }

    fn make(&self) -> Result<(RangeResponse, usize), Error> {
        let response = look(&self.member, || self.view.range(&self.request).map(Some))?;
        let response = response.unwrap_or_default();
        let bytes = response.encoded_len();
        Ok((response, bytes))
    }
}

/// The same of a transaction that only reads; with how often it reads.
struct LargeTxn {
    view: Arc<View>,
    request: TxnRequest,
}

impl LargeRead for LargeTxn {
    type Answer = (TxnResponse, u64);

    fn bytes(&self) -> Result<usize, Error> {
        self.view.txn_bytes(&self.request)
    }

    fn make(&self) -> Result<(Self::Answer, usize), Error> {
        let mut bound = Bound::NONE;
        let (response, ranges) =
            self.view.txn_within(&self.request, &mut bound)?.unwrap_or_default();
        let bytes = response.encoded_len();
        Ok(((response, ranges), bytes))
    }
}

/// The same of the reply to an entry.
struct LargeReply(PendingReply);

impl LargeRead for LargeReply {
    type Answer = Applied;

    fn bytes(&self) -> Result<usize, Error> {
        self.0.bytes()
    }

    fn make(&self) -> Result<(Applied, usize), Error> {
        let reply = self.0.make()?;
        let bytes = reply_bytes(&reply);
        Ok((reply, bytes))
    }
}

/// Bytes of a reply that may be large when it is encoded.
fn reply_bytes(reply: &Applied) -> usize {
    match reply {
        Applied::Range(response) => response.encoded_len(),
        Applied::Put(response) => response.encoded_len(),
        Applied::DeleteRange(response) => response.encoded_len(),
        Applied::Txn(response) => response.encoded_len(),
        Applied::None
        | Applied::Compaction(_)
        | Applied::LeaseGrant(_)
        | Applied::LeaseRevoke(_)
        | Applied::LeaseCheckpoint(_)
        | Applied::Alarm(_)
        | Applied::Members(_)
        | Applied::V2(_) => 0,
    }
}

/// Lets a response hold its part of the room until its client has taken it.
fn with_room<T>(mut response: Response<T>, held: Option<Held>) -> Response<T> {
    if let Some(held) = held {
        response.extensions_mut().insert(held);
    }
    response
}

/// Takes note of a look at a view for a range, unless it ended at its bound.
pub(super) fn look(
    member: &Member,
    range: impl FnOnce() -> Result<Option<RangeResponse>, Error>,
) -> Result<Option<RangeResponse>, Error> {
    let began = Instant::now();
    let response = range();
    if !matches!(response, Ok(None)) {
        let metrics = &member.metrics;
        metrics.store.ranges.add(1);
        metrics.requests.range_alone[usize::from(response.is_ok())].observe(began.elapsed());
    }
    response
}

/// Reports an answer of another kind than the request's, which no entry can give.
pub(super) fn unexpected(reply: &Applied) -> Status {
    Status::internal(format!("etcdserver: the request was answered with {reply:?}"))
}
