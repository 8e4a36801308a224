//! The members and the store of the v2 API at one entry, where the database does not have them.
//!
//! etcd before 3.6 keeps both in a snapshot file that it writes now and then; what changed since is in
//! the log. What there was at an entry is what the last snapshot file before it has, and the changes
//! between the two.

use bytes::Bytes;
use prost::Message as _;
use quoin_api::raftpb::ConfChange;

use super::v2::SnapFile;
use crate::cluster::Cluster;
use crate::store::{EntryData, Fatal, Store};

/// Members and v2 store, to be changed by entries in order and by nothing else in them.
#[derive(Clone, Debug, Default)]
pub struct ClusterReplay {
    cluster: Cluster,
}

impl ClusterReplay {
    /// Begins with what a snapshot file has. The error says what is not readable.
    pub fn new(file: &SnapFile) -> Result<Self, String> {
        Ok(Self { cluster: Cluster::of_v2_json(&file.v2_store)? })
    }

    /// Whether clients have used the v2 store.
    pub fn is_v2_used(&self) -> bool {
        self.cluster.v2().is_used()
    }

    /// Whether [`Self::apply`] does something with an entry, or it cannot be understood.
    pub fn concerns(entry: EntryData<'_>) -> bool {
        match entry {
            EntryData::Normal(entry) => !entry.is_empty() && Store::concerns_cluster(entry),
            EntryData::ConfChange(_) => true,
        }
    }

    /// Applies what an entry does to the members and to the v2 store.
    pub fn apply(
        &mut self,
        index: u64,
        entry: EntryData<'_>,
        max_learners: usize,
    ) -> Result<(), Fatal> {
        match entry {
            EntryData::Normal(entry) if entry.is_empty() => Ok(()),
            EntryData::Normal(entry) => Store::apply_to_cluster(&mut self.cluster, index, entry),
            EntryData::ConfChange(entry) => self.apply_conf_change(index, entry, max_learners),
        }
    }

    fn apply_conf_change(
        &mut self,
        index: u64,
        entry: &Bytes,
        max_learners: usize,
    ) -> Result<(), Fatal> {
        let change = ConfChange::decode(entry.clone())
            .map_err(|error| Fatal::Undecodable { index, reason: error.to_string() })?;
        let outcome = self.cluster.apply_conf_change(&change, max_learners);
        // A change that was refused then is refused now.
        outcome.map(drop).map_err(|reason| Fatal::ConfChange { index, reason })
    }

    /// What there is after the last entry applied.
    pub(super) fn finish(self) -> Cluster {
        self.cluster
    }
}
