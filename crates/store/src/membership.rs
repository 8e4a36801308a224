//! The members of the cluster, those that were removed, and what the cluster has agreed on besides
//! its keys: its version and whether it is being downgraded.
//!
//! Changes come from the log. Whether a change is still valid is decided when it is applied,
//! because other changes may have been committed since it was proposed; one that is not changes
//! nothing, on every member.
//!
//! Not here: which members vote in Raft, and whether enough of them are up.
//!
//! Invariants:
//! - An ID is a member's or was removed, never both, and an ID that was removed never returns.
//! - No two members have a peer URL in common.

use std::collections::{BTreeMap, BTreeSet};

use quoin_api::error::Error;
use quoin_api::raftpb::{ConfChange, ConfChangeType};

use crate::checkpoint::ConfState;

mod identity;
mod json;
#[cfg(test)]
mod tests;

pub use identity::{cluster_id, member_id};
pub(crate) use json::{read_attributes, read_member};

/// One member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// The ID, which never changes.
    pub id: u64,
    /// Where peers reach it.
    pub peer_urls: Vec<String>,
    /// Whether it learns without a vote.
    pub is_learner: bool,
    /// Its name, empty until it has started.
    pub name: String,
    /// Where clients reach it, empty until it has started.
    pub client_urls: Vec<String>,
}

/// A version of etcd that the cluster runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterVersion {
    /// The first number.
    pub major: u64,
    /// The second number, which decides what members may do.
    pub minor: u64,
    /// The third number, 0 in practice.
    pub patch: u64,
}

/// Whether the cluster is on its way to an older version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Downgrade {
    /// The version to go to; none if there is no downgrade.
    pub target_version: Option<String>,
}

/// The members and what they agreed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    pub(crate) members: BTreeMap<u64, Member>,
    pub(crate) removed: BTreeSet<u64>,
    pub(crate) version: Option<ClusterVersion>,
    pub(crate) downgrade: Downgrade,
}

/// A change of members cannot be understood, so no member may go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChange {
    /// The member is not described in the form that etcd writes.
    #[error("the member of the change cannot be read: {0}")]
    Context(String),
    /// The change is of a kind that does not exist.
    #[error("unknown kind of change {0}")]
    Kind(i32),
    /// The change names one member and describes another.
    #[error("the change is for member {change:x} but describes {described:x}")]
    OtherMember {
        /// The member that the change names.
        change: u64,
        /// The member that it describes.
        described: u64,
    },
}

impl Membership {
    /// The members by ID.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// One member.
    pub fn member(&self, id: u64) -> Option<&Member> {
        self.members.get(&id)
    }

    /// Whether a member with this ID was removed, for good.
    pub fn is_removed(&self, id: u64) -> bool {
        self.removed.contains(&id)
    }

    /// The IDs that were removed.
    pub fn removed(&self) -> impl Iterator<Item = u64> + '_ {
        self.removed.iter().copied()
    }

    /// Who votes and who learns.
    pub(crate) fn conf(&self) -> ConfState {
        let ids = |learners: bool| {
            let members = self.members().filter(move |member| member.is_learner == learners);
            members.map(|member| member.id).collect()
        };
        ConfState { voters: ids(false), learners: ids(true) }
    }

    /// The version that the cluster runs as, once it has agreed on one.
    pub fn version(&self) -> Option<ClusterVersion> {
        self.version
    }

    /// Whether the cluster is being downgraded.
    pub fn downgrade(&self) -> &Downgrade {
        &self.downgrade
    }

    /// Whether a change of members may be made now. The proposer asks before it proposes, and
    /// apply asks again.
    pub fn validate(&self, change: &ConfChange, max_learners: usize) -> Result<(), Error> {
        match Change::read(change) {
            Ok(read) => self.check(&read, max_learners),
            Err(_) => Err(Error::MemberBadUrls),
        }
    }

    /// Applies a change of members; the error says why it was refused.
    pub(crate) fn apply(&mut self, change: &Change, max_learners: usize) -> Result<(), Error> {
        self.check(change, max_learners)?;
        match change {
            Change::Add { member, .. } => {
                self.members.insert(member.id, member.clone());
            }
            Change::Promote { id } => {
                if let Some(member) = self.members.get_mut(id) {
                    member.is_learner = false;
                }
            }
            Change::Remove { id } => {
                self.members.remove(id);
                self.removed.insert(*id);
            }
            Change::Update { id, peer_urls } => {
                if let Some(member) = self.members.get_mut(id) {
                    member.peer_urls.clone_from(peer_urls);
                }
            }
        }
        Ok(())
    }

    /// Publishes what a member says of itself. A member that is gone is passed over.
    pub(crate) fn set_attributes(&mut self, id: u64, name: String, client_urls: Vec<String>) {
        if let Some(member) = self.members.get_mut(&id) {
            (member.name, member.client_urls) = (name, client_urls);
        }
    }

    fn check(&self, change: &Change, max_learners: usize) -> Result<(), Error> {
        if self.is_removed(change.id()) {
            return Err(Error::MemberNotFound);
        }
        let current = self.member(change.id());
        match change {
            Change::Add { .. } if current.is_some() => Err(Error::MemberExists),
            Change::Add { member, as_learner } => {
                self.check_peer_urls(member.id, &member.peer_urls)?;
                let learners = self.members().filter(|member| member.is_learner).count();
                if member.is_learner && *as_learner && learners >= max_learners {
                    return Err(Error::TooManyLearners);
                }
                Ok(())
            }
            Change::Promote { .. } => match current {
                Some(member) if member.is_learner => Ok(()),
                Some(_) => Err(Error::MemberNotLearner),
                None => Err(Error::MemberNotFound),
            },
            Change::Remove { .. } if current.is_none() => Err(Error::MemberNotFound),
            Change::Remove { .. } => Ok(()),
            Change::Update { .. } if current.is_none() => Err(Error::MemberNotFound),
            Change::Update { id, peer_urls } => self.check_peer_urls(*id, peer_urls),
        }
    }

    /// No other member may have one of the URLs.
    fn check_peer_urls(&self, id: u64, urls: &[String]) -> Result<(), Error> {
        let mut others = self.members().filter(|member| member.id != id);
        let taken = others.any(|member| urls.iter().any(|url| member.peer_urls.contains(url)));
        if taken { Err(Error::PeerUrlExists) } else { Ok(()) }
    }
}

/// A change of members as it was read from the log.
pub(crate) enum Change {
    Add { member: Member, as_learner: bool },
    Promote { id: u64 },
    Remove { id: u64 },
    Update { id: u64, peer_urls: Vec<String> },
}

impl Change {
    pub(crate) fn read(change: &ConfChange) -> Result<Self, BadChange> {
        let id = change.node_id;
        let kind = ConfChangeType::try_from(change.r#type);
        let kind = kind.map_err(|_| BadChange::Kind(change.r#type))?;
        let described = || {
            let (member, is_promote) = read_member(&change.context)?;
            match member.id == id {
                true => Ok((member, is_promote)),
                false => Err(BadChange::OtherMember { change: id, described: member.id }),
            }
        };
        match kind {
            ConfChangeType::ConfChangeAddNode | ConfChangeType::ConfChangeAddLearnerNode => {
                let as_learner = kind == ConfChangeType::ConfChangeAddLearnerNode;
                Ok(match described()? {
                    (_, true) => Self::Promote { id },
                    (member, false) => Self::Add { member, as_learner },
                })
            }
            ConfChangeType::ConfChangeRemoveNode => Ok(Self::Remove { id }),
            ConfChangeType::ConfChangeUpdateNode => {
                let (member, _) = described()?;
                Ok(Self::Update { id, peer_urls: member.peer_urls })
            }
        }
    }

    fn id(&self) -> u64 {
        match self {
            Self::Add { member, .. } => member.id,
            Self::Promote { id } | Self::Remove { id } | Self::Update { id, .. } => *id,
        }
    }
}

impl Member {
    /// The member as JSON, as it stands in a change that adds or updates it. A change that adds
    /// also says whether it only promotes a learner.
    pub fn to_json(&self, is_promote: Option<bool>) -> String {
        json::write_member(self, is_promote)
    }
}

impl std::str::FromStr for ClusterVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut numbers = text.split('.').map(|number| number.parse().map_err(|_| ()));
        let mut next = || numbers.next().ok_or(())?;
        let version = Self { major: next()?, minor: next()?, patch: next()? };
        if numbers.next().is_none() { Ok(version) } else { Err(()) }
    }
}

impl std::fmt::Display for ClusterVersion {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}
