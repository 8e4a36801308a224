//! The same keys as the beginning of another cluster, for the offline tool.
//!
//! Not here: which members the new cluster has, and its log.

use std::sync::Arc;

use quoin_api::error::Error;

use crate::membership::{Member, Membership};
use crate::store::Store;

/// Records of garbage that are looked at in one step.
const COLLECT_STEP: usize = 4096;

impl Store {
    /// Gives the store to a new cluster: its state is that after one entry for each member, all
    /// of term 1. Keys, leases, alarms and what the cluster agreed on stay; members and those that
    /// were removed do not.
    #[must_use]
    pub fn refound(mut self, members: Vec<Member>) -> Self {
        self.applied = (members.len() as u64, 1);
        let members = members.into_iter().map(|member| (member.id, member)).collect();
        let (version, downgrade) = (self.membership.version(), self.membership.downgrade().clone());
        let removed = Membership::default().removed;
        self.membership = Arc::new(Membership { members, removed, version, downgrade });
        self
    }

    /// Moves the revision `count` further and compacts all before it, so that clients which saw
    /// revisions that are lost now find out. Returns the new revision.
    ///
    /// # Errors
    /// If there is no such revision.
    pub fn skip_revisions(&mut self, count: i64) -> Result<i64, Error> {
        let revision = self.kv.revision.checked_add(count).filter(|_| count > 0);
        let revision = revision.ok_or(Error::FutureRevision)?;
        self.kv.revision = revision;
        self.kv.compact(revision)?;
        while self.collect(COLLECT_STEP) {}
        Ok(revision)
    }
}
