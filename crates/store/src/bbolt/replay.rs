//! The members at one entry, where the database does not have them.
//!
//! etcd before 3.6 keeps its members in the store of the v2 API, which is written to a snapshot
//! file now and then; what changed since is in the log. The members at an entry are those of the
//! last snapshot file before it and the changes between the two.

use bytes::Bytes;
use prost::Message as _;
use quoin_api::raftpb::ConfChange;

use crate::membership::Membership;
use crate::store::{DEFAULT_MAX_LEARNERS, EntryData, Fatal, Store};

/// Members, to be changed by entries in order and by nothing else in them.
#[derive(Clone, Debug, Default)]
pub struct MembershipReplay {
    membership: Membership,
}

impl MembershipReplay {
    /// Begins with these members.
    pub fn new(membership: Membership) -> Self {
        Self { membership }
    }

    /// Whether an entry does something to members, or cannot be understood. [`Self::apply`] does
    /// nothing with others.
    pub fn concerns(entry: EntryData<'_>) -> bool {
        match entry {
            EntryData::Normal(entry) => !entry.is_empty() && Store::concerns_membership(entry),
            EntryData::ConfChange(_) => true,
        }
    }

    /// Applies what an entry does to the members.
    pub fn apply(&mut self, index: u64, entry: EntryData<'_>) -> Result<(), Fatal> {
        match entry {
            EntryData::Normal(entry) if entry.is_empty() => Ok(()),
            EntryData::Normal(entry) => {
                Store::apply_to_membership(&mut self.membership, index, entry)
            }
            EntryData::ConfChange(entry) => self.apply_conf_change(index, entry),
        }
    }

    fn apply_conf_change(&mut self, index: u64, entry: &Bytes) -> Result<(), Fatal> {
        let change = ConfChange::decode(entry.clone())
            .map_err(|error| Fatal::Undecodable { index, reason: error.to_string() })?;
        let outcome = self.membership.apply(&change, DEFAULT_MAX_LEARNERS);
        // A change that was refused then is refused now.
        outcome.map(drop).map_err(|reason| Fatal::ConfChange { index, reason })
    }

    /// The members after the last entry applied.
    pub fn finish(self) -> Membership {
        self.membership
    }
}
