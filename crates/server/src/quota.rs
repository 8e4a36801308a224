//! The quota: how much may be stored before writes are refused.
//!
//! A write that may grow the store is checked before it is proposed. The first that does not fit
//! raises the alarm NOSPACE for the whole cluster; it stays until it is disarmed, and apply then
//! refuses such writes on every member. What counts is the size of the records that are kept, so
//! what a compaction frees counts at once.
//!
//! Writes that are on their way are charged too: a burst cannot pass the quota together, each
//! having been checked alone.
//!
//! Not here: what the alarm refuses (the store decides that, on every member alike).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use quoin_api::etcdserverpb::request_op::Request as Operation;
use quoin_api::etcdserverpb::{PutRequest, RequestOp, TxnRequest};
use tokio::time::MissedTickBehavior;

use crate::log;
use crate::member::Member;

#[cfg(test)]
mod tests;

/// The quota above which etcd warns.
const QUOTA_BYTES_USUAL_MAX: i64 = 8 << 30;
/// What a key costs beside its own bytes and its value's, as in etcd.
const KEY_COST: i64 = 256;
/// What a lease costs, as in etcd.
pub(crate) const LEASE_COST: i64 = 64;
/// How full the store is, in percent of the quota, when the log begins to warn.
const WARNINGS: [i64; 3] = [75, 85, 95];
/// The time between two looks at the size.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The quota of one member.
#[derive(Debug)]
pub(crate) struct Quota {
    /// None if there is no quota.
    limit: Option<i64>,
    /// What writes on their way may add.
    pending: AtomicI64,
    /// How many of [`WARNINGS`] the size has reached.
    warned: AtomicUsize,
}

/// A write that was admitted; it is charged until this is dropped.
#[derive(Debug)]
pub(crate) struct Charge<'a> {
    quota: &'a Quota,
    cost: i64,
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.quota.pending.fetch_sub(self.cost, Ordering::Relaxed);
    }
}

impl Quota {
    /// A quota of this many bytes; less than 0 means none.
    pub(crate) fn new(bytes: i64) -> Self {
        let limit = (bytes >= 0).then_some(bytes);
        Self { limit, pending: AtomicI64::new(0), warned: AtomicUsize::new(0) }
    }

    /// Tells the operator, as etcd does.
    pub(crate) fn announce(&self) {
        match self.limit {
            None => log::info!("disabled backend quota"),
            Some(limit) => {
                if limit > QUOTA_BYTES_USUAL_MAX {
                    log::warn!("quota exceeds the maximum value", "quota-size-bytes" => limit,
                        "quota-maximum-size-bytes" => QUOTA_BYTES_USUAL_MAX);
                }
                log::info!("enabled backend quota", "quota-size-bytes" => limit);
            }
        }
    }

    /// Admits a write of this cost to a store of this size, or returns none if it does not fit. A
    /// write that costs nothing always fits.
    pub(crate) fn admit(&self, size: usize, cost: i64) -> Option<Charge<'_>> {
        let (quota, size) = (self, i64::try_from(size).unwrap_or(i64::MAX));
        let before = self.pending.fetch_add(cost, Ordering::Relaxed);
        let charge = Charge { quota, cost };
        let Some(limit) = self.limit.filter(|_| cost > 0) else { return Some(charge) };
        self.warn(size, limit);
        let after = size.saturating_add(before).saturating_add(cost);
        (after < limit).then_some(charge)
    }

    /// Looks at the size of the store between writes: another member may serve them.
    pub(crate) fn look(&self, size: usize) {
        if let Some(limit) = self.limit {
            self.warn(i64::try_from(size).unwrap_or(i64::MAX), limit);
        }
    }

    /// Returns the thresholds in percent, and which of them a store of this size has reached.
    pub(crate) fn warnings(&self, size: usize) -> [(i64, bool); WARNINGS.len()] {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let reached = |percent| self.limit.is_some_and(|limit| has_reached(size, limit, percent));
        WARNINGS.map(|percent| (percent, reached(percent)))
    }

    /// Warns once for each threshold that is passed, and again after the size has fallen below.
    fn warn(&self, size: i64, limit: i64) {
        let reached = WARNINGS.iter().filter(|it| has_reached(size, limit, **it)).count();
        let before = self.warned.swap(reached, Ordering::Relaxed);
        if reached > before {
            log::warn!("database size is close to its quota; compact, or raise the quota",
                "percent-used" => WARNINGS[reached - 1], "db-size-bytes" => size,
                "quota-size-bytes" => limit);
        }
    }
}

fn has_reached(size: i64, limit: i64, percent: i64) -> bool {
    size >= limit / 100 * percent
}

/// Looks at the size of the store now and then. Never ends.
pub(crate) async fn watch(member: Arc<Member>, quota: Arc<Quota>) {
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        quota.look(member.view().size());
    }
}

/// What a put may add.
pub(crate) fn put_cost(put: &PutRequest) -> i64 {
    let bytes = put.key.len().saturating_add(put.value.len());
    KEY_COST.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// What a transaction may add: its more expensive branch.
pub(crate) fn txn_cost(txn: &TxnRequest) -> i64 {
    let cost = |operations: &[RequestOp]| -> i64 {
        let costs = operations.iter().map(|operation| match &operation.request {
            Some(Operation::RequestPut(put)) => put_cost(put),
            Some(Operation::RequestTxn(txn)) => txn_cost(txn),
            Some(Operation::RequestRange(_) | Operation::RequestDeleteRange(_)) | None => 0,
        });
        costs.fold(0, i64::saturating_add)
    };
    cost(&txn.success).max(cost(&txn.failure))
}
