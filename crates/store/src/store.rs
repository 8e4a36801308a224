//! The store: what log entries do, one after another.
//!
//! [`Store::apply`] is a pure function of the state and the entry. An entry that asks for
//! something that cannot be done is answered with an error and is applied all the same; every
//! member gives the same answer. An entry that cannot be understood ends with [`Fatal`]: other
//! members may have changed their state by it, so this one must not go on.
//!
//! Not here: checks that depend on the request alone (see `check`), quotas, and who may do what.

use std::sync::Arc;

use bytes::Bytes;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::{
    AlarmResponse, CompactionResponse, DeleteRangeResponse, LeaseCheckpointResponse,
    LeaseGrantResponse, LeaseRevokeResponse, PutResponse, RangeResponse, TxnResponse,
};
use quoin_api::raftpb::ConfChange;

use crate::alarm::Alarms;
use crate::checkpoint::{Written, is_mostly_dead};
use crate::cluster::{Cluster, V2Changes};
use crate::kv::Kv;
use crate::lease::{Lease, LeaseChange, Leases};
use crate::membership::{BadChange, ClusterVersion, Member, Membership};
use crate::tally::Tally;
use crate::v2::{V2Error, V2Outcome, V2Store};
use crate::view::{CompactionHash, View};

mod apply;
mod pending;
mod request;
#[cfg(test)]
mod tests;

pub use pending::PendingReply;

/// Learners that a cluster may have unless it is told otherwise.
pub const DEFAULT_MAX_LEARNERS: usize = 1;

/// Keys that each entry looks at for garbage, and records of it that it drops, so that garbage shrinks
/// also in a store that is never idle.
const COLLECT_PER_ENTRY: usize = 4;

/// States before compactions that are kept until they are taken. Whoever takes them does so after
/// every batch of entries.
const PASSED_MAX: usize = 16;

/// The replicated state.
pub struct Store {
    pub(crate) kv: Kv,
    pub(crate) leases: Leases,
    pub(crate) alarms: Arc<Alarms>,
    pub(crate) cluster: Cluster,
    pub(crate) applied: (u64, u64),
    /// Tells this store from another one that takes its place.
    pub(crate) lineage: Arc<()>,
    max_learners: usize,
    /// The states right before the last compactions, until they are taken.
    passed: Vec<View>,
    /// What the last compaction leaves behind, until it is taken.
    compaction: Option<CompactionHash>,
}

/// How much the segment files hold, and how much of it is still needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentUse {
    /// How many files there are.
    pub files: usize,
    /// Bytes of the files.
    pub bytes: u64,
    /// Bytes of the records in them that were not dropped.
    pub live_bytes: u64,
}

/// What an entry carries.
#[derive(Clone, Copy, Debug)]
pub enum EntryData<'a> {
    /// A request, or nothing in the first entry of a leader.
    Normal(&'a Bytes),
    /// A change of members.
    ConfChange(&'a Bytes),
}

/// What an entry did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The ID by which the proposer waits for the answer; 0 if nobody can wait.
    pub request_id: u64,
    /// The answer, which says nothing of an entry that was carried out if nobody waits.
    pub result: Result<PendingReply, Error>,
    /// The change of members to hand to Raft, which goes to no member if it was refused.
    pub conf_change: Option<ConfChange>,
    /// What the entry did to leases, for the member that counts their time.
    pub lease_change: Option<LeaseChange>,
}

impl Applied {
    pub(crate) fn new(request_id: u64, result: Result<PendingReply, Error>) -> Self {
        Self { request_id, result, conf_change: None, lease_change: None }
    }

    /// Makes the reply; see [`PendingReply::make`].
    pub fn reply(&self) -> Result<Reply, Error> {
        self.result.as_ref().map_err(|error| *error)?.make()
    }
}

/// The answer to a request. Of headers only the revision is filled; responses inside a transaction
/// have no more than that in etcd either.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Reply {
    /// The entry asks for no answer, or nobody waits for it.
    #[default]
    None,
    /// Keys were read.
    Range(RangeResponse),
    /// A key was put.
    Put(PutResponse),
    /// Keys were deleted.
    DeleteRange(DeleteRangeResponse),
    /// A transaction ran.
    Txn(TxnResponse),
    /// Older revisions became unreachable.
    Compaction(CompactionResponse),
    /// A lease was granted.
    LeaseGrant(LeaseGrantResponse),
    /// A lease and its keys are gone.
    LeaseRevoke(LeaseRevokeResponse),
    /// What is left of leases was noted.
    LeaseCheckpoint(LeaseCheckpointResponse),
    /// Alarms were listed, raised or cleared.
    Alarm(AlarmResponse),
    /// The members after a change of them.
    Members(Vec<Member>),
    /// A request of the v2 API was carried out or refused.
    V2(Result<V2Outcome, V2Error>),
}

/// An entry that this member cannot apply although others may have. The process must stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The bytes are no request.
    #[error("entry {index} cannot be decoded: {reason}")]
    Undecodable {
        /// Index of the entry.
        index: u64,
        /// What the decoder says.
        reason: String,
    },
    /// The request is one that this release does not know or does not support.
    #[error("entry {index} has a request that is not understood: {what}")]
    NotUnderstood {
        /// Index of the entry.
        index: u64,
        /// Which request.
        what: String,
    },
    /// The change of members is malformed.
    #[error("entry {index} changes members in a way that is not understood: {reason}")]
    ConfChange {
        /// Index of the entry.
        index: u64,
        /// What is wrong with it.
        reason: BadChange,
    },
    /// The history of this member cannot be read, or is damaged. The entry may have been applied
    /// in part.
    #[error("entry {index} needs what this member has stored: {reason}")]
    Unreadable {
        /// Index of the entry.
        index: u64,
        /// Which file, and what is wrong with it.
        reason: String,
    },
    /// The entry is not the one after the last.
    #[error("entry {index} does not follow entry {applied}")]
    OutOfOrder {
        /// Index of the entry.
        index: u64,
        /// Index of the last entry applied.
        applied: u64,
    },
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// A store before the first entry.
    pub fn new() -> Self {
        Self {
            kv: Kv::new(),
            leases: Leases::default(),
            alarms: Arc::default(),
            cluster: Cluster::default(),
            applied: (0, 0),
            lineage: Arc::default(),
            max_learners: DEFAULT_MAX_LEARNERS,
            compaction: None,
            passed: Vec::new(),
        }
    }

    /// The store as a checkpoint has it.
    pub(crate) fn restored(
        kv: Kv,
        leases: Leases,
        alarms: Alarms,
        cluster: Cluster,
        applied: (u64, u64),
    ) -> Self {
        Self { kv, leases, alarms: Arc::new(alarms), cluster, applied, ..Self::new() }
    }

    /// Sets how many learners the cluster may have. It decides what apply accepts, so all members
    /// must set the same, as they must in etcd.
    pub fn set_max_learners(&mut self, max_learners: usize) {
        self.max_learners = max_learners;
    }

    /// Index and term of the last entry applied.
    pub fn applied(&self) -> (u64, u64) {
        self.applied
    }

    /// The members of the cluster.
    pub fn membership(&self) -> &Membership {
        self.cluster.membership()
    }

    /// The lease with an ID.
    pub fn lease(&self, id: i64) -> Option<Lease> {
        self.leases.get(id)
    }

    /// All leases by ID.
    pub fn leases(&self) -> impl Iterator<Item = Lease> + '_ {
        self.leases.iter_from(i64::MIN)
    }

    /// The state after the last entry applied, for readers.
    pub fn view(&self) -> View {
        View {
            index: self.kv.index.clone(),
            history: self.kv.history.view().clone(),
            revision: self.kv.revision,
            compacted: self.kv.compacted,
            size: self.kv.history.size(),
            has_garbage: self.kv.has_garbage(),
            leases: self.leases.clone(),
            alarms: Arc::clone(&self.alarms),
            membership: Arc::clone(self.cluster.membership()),
            v2: self.cluster.v2().view(),
            applied: self.applied,
        }
    }

    /// The store of the v2 API.
    pub fn v2(&self) -> &V2Store {
        self.cluster.v2()
    }

    /// Takes what happened in the store of the v2 API since the last call.
    pub fn take_v2_changes(&mut self) -> V2Changes {
        self.cluster.take_v2_changes()
    }

    /// Lowers the cluster version for a copy of the state that goes to an older etcd, which refuses
    /// a later one.
    pub fn lower_version(&mut self, version: ClusterVersion) {
        self.cluster.lower_version(version);
    }

    /// Takes the hash that the last compaction leaves behind, if it was not taken yet.
    pub fn take_compaction(&mut self) -> Option<CompactionHash> {
        self.compaction.take()
    }

    /// Takes what was counted since the last call.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.kv.tally)
    }

    /// Sets how many bytes of records may be in memory although they are in files. Others are read
    /// from there.
    pub fn set_memory_budget(&mut self, bytes: usize) {
        self.kv.history.set_budget(bytes);
    }

    /// Bytes of the records that are in no file and so must be in memory, until a checkpoint was
    /// written and [placed](Self::placed).
    pub fn unplaced_bytes(&self) -> usize {
        self.kv.history.unplaced()
    }

    /// Bytes of files, and how many of them the next checkpoint would give back.
    pub fn file_bytes(&self) -> (u64, u64) {
        let listed = self.kv.history.files().listed.values();
        listed.fold((0, 0), |(all, dead), listed| {
            let spare = if is_mostly_dead(listed) { listed.length - listed.live } else { 0 };
            (all + listed.length, dead + spare)
        })
    }

    /// The segment files that the newest checkpoint names.
    pub fn segments(&self) -> SegmentUse {
        let listed = &self.kv.history.files().listed;
        let (bytes, live_bytes) = listed
            .values()
            .fold((0, 0), |(bytes, live), listed| (bytes + listed.length, live + listed.live));
        SegmentUse { files: listed.len(), bytes, live_bytes }
    }

    /// Takes over what the job of a checkpoint did: its records are in files from now on. The work
    /// is done by [`Self::place`]. Nothing happens if another store has taken the place of the one
    /// whose checkpoint it was.
    pub fn placed(&mut self, written: Written) {
        if Arc::ptr_eq(&self.lineage, &written.lineage) {
            self.kv.history.begin_placing(written.placing);
        }
    }

    /// Whether the work of a checkpoint's job is being taken over.
    pub fn is_placing(&self) -> bool {
        self.kv.history.is_placing()
    }

    /// Goes on with [`Self::placed`] for up to so many chunks of a thousand records; true if some
    /// are left. Nothing that can be seen changes.
    pub fn place(&mut self, chunks: usize) -> bool {
        self.kv.history.place(chunks)
    }

    /// Takes the states right before the compactions since the last call, the oldest first. They
    /// still have the events that watchers were not told and that a compaction took.
    pub fn take_passed(&mut self) -> Vec<View> {
        std::mem::take(&mut self.passed)
    }

    fn note_passed(&mut self, view: View) {
        if self.passed.len() == PASSED_MAX {
            self.passed.remove(0);
        }
        self.passed.push(view);
    }

    /// Collects garbage of compactions: looks at keys and drops records, up to `limit` together, and
    /// returns whether some are left. Entries do a little of it; this is for the time between them. It
    /// reads no file, and changes what the store holds in memory and nothing that can be seen.
    pub fn collect(&mut self, limit: usize) -> bool {
        self.kv.collect(limit)
    }

    /// Whether garbage of compactions is left.
    pub fn has_garbage(&self) -> bool {
        self.kv.has_garbage()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("applied", &self.applied).finish_non_exhaustive()
    }
}
