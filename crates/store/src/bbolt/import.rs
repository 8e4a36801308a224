//! From a database file to a store.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message as _;
use quoin_api::etcdserverpb::AlarmMember;
use quoin_api::leasepb;
use quoin_bolt::{BoltError, Bucket, Db, Pair};
use quoin_vfs::FileSystem;

use super::keys::{Keys, read_row_key};
use super::replay::ClusterReplay;
use super::rows::{ConfStateRow, DowngradeRow};
use super::{
    ALARM, AUTH, AUTH_ENABLED, AUTH_ROLES, AUTH_USERS, CLUSTER, CLUSTER_VERSION, CONF_STATE,
    CONSISTENT_INDEX, DOWNGRADE, FINISHED_COMPACT, KEY, LEASE, MEMBERS, MEMBERS_REMOVED, META,
    SCHEDULED_COMPACT, STORAGE_VERSION, TERM, is_of_old_cluster,
};
use crate::alarm::Alarms;
use crate::checkpoint::{ConfState, Loaded};
use crate::cluster::Cluster;
use crate::kv::{FIRST_REVISION, Kv, NEVER_COMPACTED};
use crate::lease::Leases;
use crate::membership::{ClusterVersion, Downgrade, Member, Membership, read_member};
use crate::store::Store;

/// The newest minor version of etcd 3 whose files are understood.
const NEWEST_MINOR: u64 = 7;

/// A database file cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read or is damaged.
    #[error(transparent)]
    File(#[from] BoltError),
    /// A row is not what etcd writes.
    #[error("{path:?} has a bad row in bucket {bucket:?}: {reason}")]
    Row {
        /// The file.
        path: PathBuf,
        /// The bucket.
        bucket: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The file holds what this release would lose.
    #[error("{path:?} cannot be taken over: {reason}")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is in the way.
        reason: String,
    },
}

/// A database file that was read. Its records are still there and not in memory: the file must
/// not change until a checkpoint of the store was written, or the store is no longer used.
pub struct DbImport {
    kv: Kv,
    leases: Leases,
    alarms: Alarms,
    membership: Membership,
    index: u64,
    /// Since etcd 3.5, in a cluster of that version.
    term: Option<u64>,
    conf: Option<ConfState>,
    /// Since etcd 3.6.
    has_storage_version: bool,
}

impl DbImport {
    /// Reads a file. It is refused as a whole if any part of it is wrong, or if it holds something
    /// that this release cannot keep.
    pub fn read(fs: &dyn FileSystem, path: &Path) -> Result<Self, ImportError> {
        let db = Db::open(fs, path)?;
        let source = Source { db: &db };
        source.check_supported()?;
        let meta = source.meta()?;
        let mut leases = source.leases()?;
        let kv = source.keys(&meta, &mut leases)?;
        let (alarms, membership) = (source.alarms()?, source.membership()?);
        let has_storage_version = source.value(META, STORAGE_VERSION)?.is_some();
        let Meta { index, mut term, mut conf, .. } = meta;
        if is_of_old_cluster(membership.version) {
            (term, conf) = (None, None);
        }
        Ok(Self { kv, leases, alarms, membership, index, term, conf, has_storage_version })
    }

    /// Index of the last entry applied, or 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Whether no write of a client is in the file.
    pub fn is_empty(&self) -> bool {
        self.kv.revision == FIRST_REVISION && self.kv.compacted == NEVER_COMPACTED
    }

    /// Whether the file itself says which members there were after an entry of this term. Files
    /// of etcd before 3.6 may be wrong about it, and so may a restored backup.
    pub fn knows_members(&self, term: u64) -> bool {
        self.has_storage_version && self.term == Some(term)
    }

    /// Term of the last entry applied; none if an etcd before 3.5 wrote the file.
    pub fn term(&self) -> Option<u64> {
        self.term
    }

    /// Who voted and who learned, as the file has it. After a restored backup that is wrong.
    pub fn conf(&self) -> Option<&ConfState> {
        self.conf.as_ref()
    }

    /// The members as the file has them.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The store at the entry of the file, which is of this term, with the members as the file
    /// has them and nothing else in the v2 store.
    pub fn into_loaded(self, term: u64) -> Loaded {
        let cluster = Cluster::of_members(self.membership.clone());
        self.load(term, cluster)
    }

    /// As [`Self::into_loaded`], with members from elsewhere.
    pub fn into_loaded_with_members(self, term: u64, membership: Membership) -> Loaded {
        let downgrade = self.membership.downgrade.clone();
        let cluster = Cluster::of_members(Membership { downgrade, ..membership });
        self.load(term, cluster)
    }

    /// The store at the entry of the file, which is of this term, with members and v2 store as they
    /// were found beside it.
    pub fn into_loaded_with(self, term: u64, found: ClusterReplay) -> Loaded {
        self.into_loaded_with_cluster(term, found.finish())
    }

    /// As [`Self::into_loaded_with`]. Members are those of the file if it knows them. A downgrade is
    /// taken from the file in any case.
    pub(super) fn into_loaded_with_cluster(self, term: u64, cluster: Cluster) -> Loaded {
        let downgrade = self.membership.downgrade.clone();
        let membership = if self.knows_members(term) {
            self.membership.clone()
        } else {
            let found = cluster.membership().as_ref().clone();
            Membership { downgrade, ..self.complete(found) }
        };
        self.load(term, cluster.with_membership(membership))
    }

    /// Adds the names of members that have not published themselves. Members that applied the log
    /// know them from the entries that added these, but the v2 store has only what is published.
    fn complete(&self, mut found: Membership) -> Membership {
        for known in self.membership.members() {
            let is_silent =
                |member: &Member| member.name.is_empty() && member.client_urls.is_empty();
            if found.member(known.id).is_some_and(is_silent) {
                found.set_attributes(known.id, known.name.clone(), known.client_urls.clone());
            }
        }
        found
    }

    fn load(self, term: u64, cluster: Cluster) -> Loaded {
        let Self { kv, leases, alarms, index, .. } = self;
        let conf = cluster.membership().conf();
        let store = Store::restored(kv, leases, alarms, cluster, (index, term));
        Loaded { store, index, term, conf }
    }
}

/// What the bucket `meta` says.
struct Meta {
    index: u64,
    term: Option<u64>,
    conf: Option<ConfState>,
    compacted: i64,
}

/// The file that is being read.
#[derive(Clone, Copy)]
struct Source<'a> {
    db: &'a Db,
}

impl<'a> Source<'a> {
    fn bad(self, bucket: &'static str, reason: &'static str) -> ImportError {
        ImportError::Row { path: self.db.path().to_owned(), bucket, reason }
    }

    fn unsupported(self, reason: impl Into<String>) -> ImportError {
        ImportError::Unsupported { path: self.db.path().to_owned(), reason: reason.into() }
    }

    /// The rows of a bucket, which may be missing.
    fn rows(
        self,
        bucket: &'static str,
    ) -> Result<impl Iterator<Item = Result<Pair, BoltError>> + use<'a>, ImportError> {
        let bucket = self.db.bucket(bucket.as_bytes())?;
        Ok(bucket.map(|bucket: Bucket<'a>| bucket.pairs()).into_iter().flatten())
    }

    fn value(self, bucket: &'static str, key: &[u8]) -> Result<Option<Bytes>, ImportError> {
        match self.db.bucket(bucket.as_bytes())? {
            Some(bucket) => Ok(bucket.get(key)?),
            None => Ok(None),
        }
    }

    fn number(self, key: &[u8]) -> Result<Option<u64>, ImportError> {
        let Some(value) = self.value(META, key)? else { return Ok(None) };
        let bytes = value.as_ref().try_into().map_err(|_| self.bad(META, "not a number"))?;
        Ok(Some(u64::from_be_bytes(bytes)))
    }

    fn version(
        self,
        bucket: &'static str,
        key: &[u8],
    ) -> Result<Option<ClusterVersion>, ImportError> {
        let Some(value) = self.value(bucket, key)? else { return Ok(None) };
        let version = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
        version.ok_or_else(|| self.bad(bucket, "not a version")).map(Some)
    }

    /// Refuses what would be lost without a word.
    fn check_supported(self) -> Result<(), ImportError> {
        if self.db.bucket(KEY.as_bytes())?.is_none() {
            return Err(self.unsupported("it is a bbolt file, but not a database of etcd"));
        }
        let version = self.version(META, STORAGE_VERSION)?;
        if let Some(newer) = version.filter(|v| (v.major, v.minor) > (3, NEWEST_MINOR)) {
            return Err(self.unsupported(format!("its storage version is {newer}")));
        }
        // The storage version follows some seconds behind.
        let version = self.version(CLUSTER, CLUSTER_VERSION)?;
        if let Some(newer) = version.filter(|v| (v.major, v.minor) > (3, NEWEST_MINOR)) {
            return Err(self.unsupported(format!("its cluster version is {newer}")));
        }
        let enabled = self.value(AUTH, AUTH_ENABLED)?.is_some_and(|value| value.as_ref() == [1]);
        if enabled {
            return Err(self.unsupported(
                "authentication is enabled, and this release would let everybody in; disable it \
                 with the etcd that wrote the file, or stay with that etcd",
            ));
        }
        for (bucket, what) in [(AUTH_USERS, "users"), (AUTH_ROLES, "roles")] {
            if self.rows(bucket)?.next().transpose()?.is_some() {
                return Err(self.unsupported(format!(
                    "it has {what}, which this release does not keep; delete them with the etcd \
                     that wrote the file, or stay with that etcd"
                )));
            }
        }
        Ok(())
    }

    fn meta(self) -> Result<Meta, ImportError> {
        let conf = self.value(META, CONF_STATE)?.map(|value| self.conf(&value)).transpose()?;
        // A compaction that was begun moved what clients see, so it counts also if it was not
        // finished.
        let finished = self.revision(FINISHED_COMPACT)?;
        let compacted = finished.max(self.revision(SCHEDULED_COMPACT)?);
        let index = self.number(CONSISTENT_INDEX)?.unwrap_or(0);
        Ok(Meta { index, term: self.number(TERM)?, conf, compacted })
    }

    fn conf(self, value: &[u8]) -> Result<ConfState, ImportError> {
        let row: ConfStateRow = serde_json::from_slice(value)
            .map_err(|_| self.bad(META, "confState is not what etcd writes"))?;
        let is_empty = |ids: &Option<Vec<u64>>| ids.as_ref().is_none_or(Vec::is_empty);
        if !is_empty(&row.voters_outgoing) || !is_empty(&row.learners_next) {
            return Err(self.bad(META, "confState is of a joint change, which no etcd makes"));
        }
        let (voters, learners) = (row.voters.unwrap_or_default(), row.learners.unwrap_or_default());
        Ok(ConfState { voters, learners })
    }

    fn revision(self, key: &[u8]) -> Result<i64, ImportError> {
        let Some(value) = self.value(META, key)? else { return Ok(NEVER_COMPACTED) };
        let change = read_row_key(&value).ok_or_else(|| self.bad(META, "not a revision"))?;
        Ok(change.revision.main)
    }

    fn leases(self) -> Result<Leases, ImportError> {
        let mut leases = Leases::default();
        for pair in self.rows(LEASE)? {
            let Pair { key, value, .. } = pair?;
            let lease =
                leasepb::Lease::decode(value).map_err(|_| self.bad(LEASE, "not a lease"))?;
            if key != lease.id.to_be_bytes().as_slice() || lease.id == 0 {
                return Err(self.bad(LEASE, "a lease under another ID"));
            }
            leases.restore(lease.id, lease.ttl, lease.remaining_ttl);
        }
        Ok(leases)
    }

    fn keys(self, meta: &Meta, leases: &mut Leases) -> Result<Kv, ImportError> {
        let mut keys = Keys::of(self.db);
        for row in self.rows(KEY)? {
            keys.push(&row?).map_err(|reason| self.bad(KEY, reason))?;
        }
        let newest = FIRST_REVISION.max(keys.last().main);
        let (index, history) = keys.finish(meta.compacted, leases);
        Ok(Kv::restored(index, history, newest.max(meta.compacted), meta.compacted))
    }

    fn alarms(self) -> Result<Alarms, ImportError> {
        let mut alarms = Alarms::default();
        for pair in self.rows(ALARM)? {
            let alarm = AlarmMember::decode(pair?.key);
            alarms.raise(alarm.map_err(|_| self.bad(ALARM, "not an alarm"))?);
        }
        Ok(alarms)
    }

    fn membership(self) -> Result<Membership, ImportError> {
        let mut membership = Membership::default();
        for pair in self.rows(MEMBERS)? {
            let Pair { key, value, .. } = pair?;
            let id = hex_id(&key).ok_or_else(|| self.bad(MEMBERS, "not an ID"))?;
            let (member, _) = read_member(&value).map_err(|_| self.bad(MEMBERS, "not a member"))?;
            if member.id != id {
                return Err(self.bad(MEMBERS, "a member under another ID"));
            }
            membership.members.insert(id, member);
        }
        for pair in self.rows(MEMBERS_REMOVED)? {
            let id = hex_id(&pair?.key).ok_or_else(|| self.bad(MEMBERS_REMOVED, "not an ID"))?;
            membership.removed.insert(id);
        }
        membership.version = self.version(CLUSTER, CLUSTER_VERSION)?;
        if let Some(value) = self.value(CLUSTER, DOWNGRADE)? {
            let row: DowngradeRow = serde_json::from_slice(&value)
                .map_err(|_| self.bad(CLUSTER, "a downgrade that is not what etcd writes"))?;
            let target_version = row.enabled.then_some(row.target_version);
            membership.downgrade = Downgrade { target_version };
        }
        Ok(membership)
    }
}

/// Reads an ID in hexadecimal.
pub(super) fn hex_id(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}
