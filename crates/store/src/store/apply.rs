//! Applying one entry.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::alarm_request::AlarmAction;
use quoin_api::etcdserverpb::request_op::Request as Operation;
use quoin_api::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, CompactionResponse,
    LeaseCheckpointRequest, LeaseCheckpointResponse, LeaseGrantRequest, LeaseGrantResponse,
    LeaseRevokeRequest, LeaseRevokeResponse, RequestOp, ResponseHeader, TxnRequest,
};
use quoin_api::raftpb::ConfChange;

use super::request::{Request, is_known_to, read, read_of_cluster};
use super::{Applied, COLLECT_PER_ENTRY, EntryData, Fatal, PendingReply, Reply, Store};
use crate::cluster::Cluster;
use crate::kv::{Failure, Pending, Stored, Write, run_txn};
use crate::lease::LeaseChange;
use crate::membership::{Change, ClusterVersion, Downgrade};
use crate::tally::RequestKind;
use crate::view::CompactionHash;

impl Store {
    /// Applies the entry after the last one, whose reply nobody waits for. After a [`Fatal`] the state
    /// is as before, unless it says otherwise.
    pub fn apply(&mut self, index: u64, term: u64, entry: EntryData<'_>) -> Result<Applied, Fatal> {
        self.apply_for(index, term, entry, |_| false)
    }

    /// The same, where `is_awaited` tells whether somebody waits for the reply to the request with an
    /// ID. It decides what is kept for the reply, and nothing about the state.
    pub fn apply_for(
        &mut self,
        index: u64,
        term: u64,
        entry: EntryData<'_>,
        is_awaited: impl FnOnce(u64) -> bool,
    ) -> Result<Applied, Fatal> {
        if self.applied.0.checked_add(1) != Some(index) {
            return Err(Fatal::OutOfOrder { index, applied: self.applied.0 });
        }
        let applied = match entry {
            EntryData::Normal(entry) if entry.is_empty() => {
                Applied::new(0, Ok(PendingReply::nothing()))
            }
            EntryData::Normal(entry) => self.apply_normal(index, entry, is_awaited)?,
            EntryData::ConfChange(entry) => self.apply_conf_change(index, entry, is_awaited)?,
        };
        self.applied = (index, term);
        self.collect(COLLECT_PER_ENTRY);
        Ok(applied)
    }

    fn apply_normal(
        &mut self,
        index: u64,
        entry: &Bytes,
        is_awaited: impl FnOnce(u64) -> bool,
    ) -> Result<Applied, Fatal> {
        let (request_id, request) = read(entry).map_err(|problem| problem.at(index))?;
        let is_wanted = is_awaited(request_id);
        let (kind, lease_change) = (kind(&request), lease_change(&request));
        let result = match request {
            Request::ClusterVersion(_) | Request::MemberAttributes(_) | Request::Downgrade(_) => {
                change_cluster(&mut self.cluster, index, request)?;
                Ok(PendingReply::nothing())
            }
            Request::V2(request) => Ok(Reply::V2(self.cluster.apply_v2(&request)).into()),
            Request::Nothing => Ok(PendingReply::nothing()),
            request => match self.admit(&request).map_err(Failure::from) {
                Ok(()) => self.run(request, is_wanted),
                Err(refused) => Err(refused),
            }
            .map_or_else(|failure| refusal(failure, index).map(Err), |reply| Ok(Ok(reply)))?,
        };
        let lease_change = lease_change.filter(|_| result.is_ok());
        self.count(kind, result.is_ok(), lease_change.as_ref());
        Ok(Applied { lease_change, ..Applied::new(request_id, result) })
    }

    fn count(&mut self, kind: Option<RequestKind>, success: bool, change: Option<&LeaseChange>) {
        let tally = &mut self.kv.tally;
        if let Some(kind) = kind {
            tally.note_applied(kind, success);
        }
        match change {
            Some(LeaseChange::Granted { ttl_s, .. }) => tally.granted_ttls_s.push(*ttl_s),
            Some(LeaseChange::Revoked(_)) => tally.revoked += 1,
            Some(LeaseChange::Checkpointed(_)) | None => {}
        }
    }

    /// Applies what an entry that is not empty does to the members and to the store of the v2 API,
    /// and nothing else in it.
    pub(crate) fn apply_to_cluster(
        cluster: &mut Cluster,
        index: u64,
        entry: &Bytes,
    ) -> Result<(), Fatal> {
        match read_of_cluster(entry) {
            Ok(Some(request)) => change_cluster(cluster, index, request),
            Ok(None) => Ok(()),
            Err(problem) => Err(problem.at(index)),
        }
    }

    /// Whether [`Self::apply_to_cluster`] does something with an entry, or it cannot be understood.
    pub(crate) fn concerns_cluster(entry: &Bytes) -> bool {
        !matches!(read_of_cluster(entry), Ok(None))
    }

    /// Whether an etcd of this version can apply an entry, and may run in the cluster after it.
    #[must_use]
    pub fn is_known_to(entry: EntryData<'_>, version: ClusterVersion) -> bool {
        match entry {
            EntryData::Normal(entry) => entry.is_empty() || is_known_to(entry, version),
            EntryData::ConfChange(_) => true,
        }
    }

    /// Whether [`Self::apply`] understands an entry. One that it does not understand ends every member
    /// that meets it, now and at each restart, so it must not get into the log.
    #[must_use]
    pub fn can_apply(entry: EntryData<'_>) -> bool {
        match entry {
            EntryData::Normal(entry) if entry.is_empty() => true,
            EntryData::Normal(entry) => match read(entry) {
                Ok((_, Request::ClusterVersion(request))) => {
                    request.ver.parse::<ClusterVersion>().is_ok()
                }
                Ok(_) => true,
                Err(_) => false,
            },
            EntryData::ConfChange(entry) => {
                ConfChange::decode(entry.clone()).is_ok_and(|change| Change::read(&change).is_ok())
            }
        }
    }

    /// Refuses what the alarms that are raised do not let through.
    fn admit(&self, request: &Request) -> Result<(), Error> {
        let corrupt = self.alarms.corrupt();
        let (reads_or_writes, grows) = match request {
            Request::Put(_) | Request::LeaseGrant(_) => (true, true),
            Request::Txn(txn) => (true, puts(txn)),
            Request::Range(_)
            | Request::DeleteRange(_)
            | Request::Compaction(_)
            | Request::LeaseRevoke(_) => (true, false),
            Request::LeaseCheckpoint(_)
            | Request::Alarm(_)
            | Request::Nothing
            | Request::ClusterVersion(_)
            | Request::MemberAttributes(_)
            | Request::Downgrade(_)
            | Request::V2(_) => (false, false),
        };
        if corrupt && reads_or_writes {
            return Err(Error::Corrupt);
        }
        if grows && self.alarms.no_space() {
            return Err(Error::NoSpace);
        }
        Ok(())
    }

    /// Carries out a request. What its reply needs is kept if it is wanted.
    fn run(&mut self, request: Request, is_wanted: bool) -> Result<PendingReply, Failure> {
        let pending = match request {
            Request::Range(request) => {
                let reader = self.kv.reader();
                reader.check_range(&request)?;
                if is_wanted { reader.pending_range(&request) } else { Pending::Nothing }
            }
            Request::Put(request) => {
                let mut write = Write::begin(&mut self.kv, &mut self.leases);
                write.check_put(&request)?;
                let pending = write.put(&request, is_wanted)?;
                write.finish();
                pending
            }
            Request::DeleteRange(request) => {
                let mut write = Write::begin(&mut self.kv, &mut self.leases);
                let pending = write.delete_range(&request, is_wanted);
                write.finish();
                pending
            }
            Request::Txn(request) => {
                let mut write = Write::begin(&mut self.kv, &mut self.leases);
                let pending = run_txn(&mut write, &request, is_wanted);
                write.finish();
                pending?
            }
            request => return self.run_other(request).map(PendingReply::from),
        };
        if !is_wanted {
            return Ok(PendingReply::nothing());
        }
        // Now, because the garbage of a compaction is collected right after an entry.
        let history = self.kv.history.view().clone();
        Ok(PendingReply::reads(pending, Stored { history, compacted: self.kv.compacted }))
    }

    /// Carries out a request whose reply needs nothing that is stored.
    fn run_other(&mut self, request: Request) -> Result<Reply, Failure> {
        match request {
            Request::Compaction(request) => {
                let before = self.view();
                self.kv.compact(request.revision)?;
                self.note_passed(before.clone());
                self.compaction = Some(CompactionHash::new(before, request.revision));
                Ok(Reply::Compaction(CompactionResponse { header: self.header() }))
            }
            Request::LeaseGrant(request) => {
                self.leases.grant(request.id, request.ttl)?;
                let (header, error) = (self.header(), String::new());
                let (id, ttl) = (request.id, request.ttl);
                Ok(Reply::LeaseGrant(LeaseGrantResponse { header, id, ttl, error }))
            }
            Request::LeaseRevoke(request) => {
                let keys = self.leases.revoke(request.id)?;
                let mut write = Write::begin(&mut self.kv, &mut self.leases);
                keys.iter().for_each(|key| write.delete_key(key));
                write.finish();
                Ok(Reply::LeaseRevoke(LeaseRevokeResponse { header: self.header() }))
            }
            Request::LeaseCheckpoint(request) => {
                for checkpoint in request.checkpoints {
                    self.leases.checkpoint(checkpoint.id, checkpoint.remaining_ttl);
                }
                Ok(Reply::LeaseCheckpoint(LeaseCheckpointResponse { header: self.header() }))
            }
            Request::Alarm(request) => Ok(self.run_alarm(request)),
            Request::Range(_)
            | Request::Put(_)
            | Request::DeleteRange(_)
            | Request::Txn(_)
            | Request::ClusterVersion(_)
            | Request::MemberAttributes(_)
            | Request::Downgrade(_)
            | Request::V2(_)
            | Request::Nothing => Ok(Reply::None),
        }
    }

    /// Raising an alarm answers with it even if it was raised before; clearing answers with it
    /// only if it was.
    fn run_alarm(&mut self, request: AlarmRequest) -> Reply {
        let alarm = AlarmMember { member_id: request.member_id, alarm: request.alarm };
        let alarms = match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => self.alarms.of_kind(request.alarm),
            Ok(AlarmAction::Activate) if request.alarm == AlarmType::None as i32 => Vec::new(),
            Ok(AlarmAction::Activate) => {
                Arc::make_mut(&mut self.alarms).raise(alarm);
                vec![alarm]
            }
            Ok(AlarmAction::Deactivate) => {
                let cleared = Arc::make_mut(&mut self.alarms).clear(alarm);
                if cleared { vec![alarm] } else { Vec::new() }
            }
            Err(_) => return Reply::None,
        };
        Reply::Alarm(AlarmResponse { header: self.header(), alarms })
    }

    fn apply_conf_change(
        &mut self,
        index: u64,
        entry: &Bytes,
        is_awaited: impl FnOnce(u64) -> bool,
    ) -> Result<Applied, Fatal> {
        let mut change = ConfChange::decode(entry.clone())
            .map_err(|error| Fatal::Undecodable { index, reason: error.to_string() })?;
        let outcome = self.cluster.apply_conf_change(&change, self.max_learners);
        let refused = outcome.map_err(|reason| Fatal::ConfChange { index, reason })?;
        let members = || self.cluster.membership().members().cloned().collect();
        let is_wanted = is_awaited(change.id);
        let reply = || if is_wanted { Reply::Members(members()) } else { Reply::None };
        let result = refused.map(|()| reply().into());
        if result.is_err() {
            change.node_id = 0;
        }
        let request_id = change.id;
        Ok(Applied { conf_change: Some(change), ..Applied::new(request_id, result) })
    }

    fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: self.kv.revision, ..ResponseHeader::default() })
    }
}

/// Carries out a request that is about what the cluster has agreed on.
fn change_cluster(cluster: &mut Cluster, index: u64, request: Request) -> Result<(), Fatal> {
    match request {
        Request::ClusterVersion(request) => {
            let version = request.ver.parse().map_err(|()| {
                let what = format!("cluster version {:?}", request.ver);
                Fatal::NotUnderstood { index, what }
            })?;
            cluster.set_version(version);
        }
        Request::MemberAttributes(request) => {
            let attributes = request.member_attributes.unwrap_or_default();
            let (name, urls) = (attributes.name, attributes.client_urls);
            cluster.set_attributes(request.member_id, name, urls);
        }
        Request::Downgrade(request) => {
            let target_version = request.enabled.then_some(request.ver);
            cluster.set_downgrade(Downgrade { target_version });
        }
        // Only the client learns whether its request was refused.
        Request::V2(request) => drop(cluster.apply_v2(&request)),
        Request::Nothing
        | Request::Range(_)
        | Request::Put(_)
        | Request::DeleteRange(_)
        | Request::Txn(_)
        | Request::Compaction(_)
        | Request::LeaseGrant(_)
        | Request::LeaseRevoke(_)
        | Request::LeaseCheckpoint(_)
        | Request::Alarm(_) => {}
    }
    Ok(())
}

/// What a request is counted as.
fn kind(request: &Request) -> Option<RequestKind> {
    Some(match request {
        Request::ClusterVersion(_) => RequestKind::ClusterVersionSet,
        Request::MemberAttributes(_) => RequestKind::ClusterMemberAttrSet,
        Request::Downgrade(_) => RequestKind::DowngradeInfoSet,
        Request::Nothing | Request::V2(_) => return None,
        Request::Range(_) => RequestKind::Range,
        Request::Put(_) => RequestKind::Put,
        Request::DeleteRange(_) => RequestKind::DeleteRange,
        Request::Txn(_) => RequestKind::Txn,
        Request::Compaction(_) => RequestKind::Compaction,
        Request::LeaseGrant(_) => RequestKind::LeaseGrant,
        Request::LeaseRevoke(_) => RequestKind::LeaseRevoke,
        Request::LeaseCheckpoint(_) => RequestKind::LeaseCheckpoint,
        Request::Alarm(_) => RequestKind::Alarm,
    })
}

/// What a request does to leases if it succeeds.
fn lease_change(request: &Request) -> Option<LeaseChange> {
    match request {
        Request::LeaseGrant(LeaseGrantRequest { id, ttl }) => {
            Some(LeaseChange::Granted { id: *id, ttl_s: *ttl })
        }
        Request::LeaseRevoke(LeaseRevokeRequest { id }) => Some(LeaseChange::Revoked(*id)),
        Request::LeaseCheckpoint(LeaseCheckpointRequest { checkpoints }) => {
            let remaining = checkpoints.iter().map(|it| (it.id, it.remaining_ttl));
            Some(LeaseChange::Checkpointed(remaining.collect()))
        }
        Request::ClusterVersion(_)
        | Request::MemberAttributes(_)
        | Request::Downgrade(_)
        | Request::Nothing
        | Request::Range(_)
        | Request::Put(_)
        | Request::DeleteRange(_)
        | Request::Txn(_)
        | Request::Compaction(_)
        | Request::Alarm(_)
        | Request::V2(_) => None,
    }
}

/// What the entry is answered with; the end of this member if the reason is its own.
fn refusal(failure: Failure, index: u64) -> Result<Error, Fatal> {
    match failure {
        Failure::Refused(error) => Ok(error),
        Failure::Unreadable(error) => Err(Fatal::Unreadable { index, reason: error.to_string() }),
    }
}

/// Whether some branch of a transaction puts a key.
fn puts(txn: &TxnRequest) -> bool {
    let puts_key = |operation: &RequestOp| match &operation.request {
        Some(Operation::RequestPut(_)) => true,
        Some(Operation::RequestTxn(inner)) => puts(inner),
        Some(Operation::RequestRange(_) | Operation::RequestDeleteRange(_)) | None => false,
    };
    txn.success.iter().chain(&txn.failure).any(puts_key)
}
