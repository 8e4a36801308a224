//! What the cluster has agreed on beside the keys of the v3 API: its members and version, and the
//! store of the v2 API, which shows the same members below `/0`.
//!
//! etcd keeps both forms, and every change of members takes an index of the v2 store. Members that
//! count differently would give different answers to clients of the v2 API, so all changes of
//! members come through here.
//!
//! Invariants:
//! - What `/0` of the v2 store shows is what the membership says.
//! - Members that applied the same entries have the same v2 store once a client has used it.
//!
//! Not here: what a request of the v2 API does to the tree (`v2`), the rules of membership changes
//! (`membership`).

use std::sync::Arc;

use quoin_api::error::Error;
use quoin_api::etcdserverpb::Request as V2Request;
use quoin_api::raftpb::ConfChange;

use crate::membership::{BadChange, Change, ClusterVersion, Downgrade, Member, Membership};
use crate::v2::{V2Error, V2Notice, V2Outcome, V2Store};

mod paths;
#[cfg(test)]
mod tests;

pub(crate) use paths::{CLUSTER_VERSION_PATH, member_of_attributes_path};

/// The first cluster version at which no member is an etcd that keeps keys of the v2 API.
const WITHOUT_V2_SINCE: ClusterVersion = ClusterVersion { major: 3, minor: 6, patch: 0 };

/// Members, version and the store of the v2 API.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    membership: Arc<Membership>,
    v2: V2Store,
    /// The v2 store that began anew, until it is taken.
    replaced: Option<Box<V2Store>>,
}

/// What happened in the v2 store, in this order.
#[derive(Debug, Default)]
pub struct V2Changes {
    /// The store that took the place of the one before.
    pub replaced: Option<Box<V2Store>>,
    /// The events since then, the oldest first.
    pub notices: Vec<V2Notice>,
}

impl Cluster {
    /// Begins with these members and a v2 store that shows nothing else.
    pub(crate) fn of_members(membership: Membership) -> Self {
        let v2 = paths::tree_of(&membership);
        Self { membership: Arc::new(membership), v2, replaced: None }
    }

    /// Begins with both forms as they were kept.
    pub(crate) fn of_both(membership: Membership, v2: V2Store) -> Self {
        Self { membership: Arc::new(membership), v2, replaced: None }
    }

    /// The same v2 store with members from elsewhere, which know more.
    pub(crate) fn with_membership(self, membership: Membership) -> Self {
        Self { membership: Arc::new(membership), ..self }
    }

    /// Reads the v2 store that an etcd keeps beside its database or sends with it. The error says
    /// why it cannot be taken over.
    pub(crate) fn of_v2_json(json: &[u8]) -> Result<Self, String> {
        let v2 = V2Store::from_json(json)?;
        let membership = paths::members_of(&v2.view())?;
        Ok(Self::of_both(membership, v2))
    }

    pub(crate) fn membership(&self) -> &Arc<Membership> {
        &self.membership
    }

    pub(crate) fn v2(&self) -> &V2Store {
        &self.v2
    }

    /// The v2 store that began anew since the last call, and the events after that.
    pub(crate) fn take_v2_changes(&mut self) -> V2Changes {
        V2Changes { replaced: self.replaced.take(), notices: self.v2.take_notices() }
    }

    /// Carries out a request of a client of the v2 API.
    pub(crate) fn apply_v2(&mut self, request: &V2Request) -> Result<V2Outcome, V2Error> {
        // An etcd 3.6 keeps no v2 index. Members that took over what it left do not agree on one with
        // each other, so all begin anew at the first use, from what they do agree on. While an etcd
        // 3.4 or 3.5 may be a member, all have what they keep, and counting goes on.
        let writes = matches!(request.method.as_str(), "PUT" | "POST" | "DELETE");
        let version = self.membership.version();
        if writes && version >= Some(WITHOUT_V2_SINCE) && !self.v2.is_used() {
            self.begin_anew();
        }
        self.v2.apply(request)
    }

    fn begin_anew(&mut self) {
        self.v2 = paths::tree_of(&self.membership);
        // These events are about members, which no client can watch.
        drop(self.v2.take_notices());
        self.replaced = Some(Box::new(self.v2.clone()));
    }

    /// Sets the version that the cluster runs as.
    pub(crate) fn set_version(&mut self, version: ClusterVersion) {
        Arc::make_mut(&mut self.membership).version = Some(version);
        paths::show_version(&mut self.v2, version);
    }

    /// Lowers the version without a trace, for a copy that goes to an older etcd. All members are
    /// copied alike, so none of them may count a change.
    pub(crate) fn lower_version(&mut self, version: ClusterVersion) {
        if self.membership.version().is_some_and(|current| current > version) {
            Arc::make_mut(&mut self.membership).version = Some(version);
            self.v2.overwrite_file(CLUSTER_VERSION_PATH, &version.to_string());
        }
    }

    /// Publishes what a member says of itself. A member that is gone is passed over.
    pub(crate) fn set_attributes(&mut self, id: u64, name: String, client_urls: Vec<String>) {
        if self.membership.member(id).is_none() {
            return;
        }
        let membership = Arc::make_mut(&mut self.membership);
        membership.set_attributes(id, name, client_urls);
        if let Some(member) = membership.member(id) {
            paths::show_attributes(&mut self.v2, member);
        }
    }

    /// Sets whether the cluster is on its way to an older version, of which the v2 store knows
    /// nothing.
    pub(crate) fn set_downgrade(&mut self, downgrade: Downgrade) {
        Arc::make_mut(&mut self.membership).downgrade = downgrade;
    }

    /// Applies a change of members; the inner error says why it was refused.
    pub(crate) fn apply_conf_change(
        &mut self,
        change: &ConfChange,
        max_learners: usize,
    ) -> Result<Result<(), Error>, BadChange> {
        let read = Change::read(change)?;
        let membership = Arc::make_mut(&mut self.membership);
        if let Err(refused) = membership.apply(&read, max_learners) {
            return Ok(Err(refused));
        }
        match read {
            Change::Add { member, .. } => paths::show_new_member(&mut self.v2, &member),
            Change::Promote { id } | Change::Update { id, .. } => {
                if let Some(member) = membership.member(id) {
                    paths::show_changed_member(&mut self.v2, member);
                }
            }
            Change::Remove { id } => paths::show_removed(&mut self.v2, id),
        }
        Ok(Ok(()))
    }

    /// Gives what is there to a new cluster with these members. What the cluster agreed on stays,
    /// but for those that were removed. Keys of the v2 API go, because a backup has none.
    pub(crate) fn refound(&mut self, members: Vec<Member>) {
        let version = self.membership.version();
        let downgrade = self.membership.downgrade().clone();
        let members = members.into_iter().map(|member| (member.id, member)).collect();
        let removed = Membership::default().removed;
        let membership = Membership { members, removed, version, downgrade };
        // The v2 store counts what etcd's tool writes for a restored member, and nothing else: the two
        // may be members of one cluster.
        let mut v2 = V2Store::new();
        for member in membership.members() {
            paths::show_new_member(&mut v2, member);
        }
        *self = Self::of_both(membership, v2);
    }
}
