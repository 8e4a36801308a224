//! Which calls this member may serve now: a learner few, and none without a leader if the client
//! says that it needs one.
//!
//! Not here: ranges on a learner, which are served if they are serializable (`kv`), and streams that
//! lose the leader while they last.

use http::HeaderMap;
use quoin_api::error::Error;

use crate::member::Member;

#[cfg(test)]
mod tests;

/// A client with this header wants no answers from a member that has lost the leader.
const REQUIRE_LEADER: &str = "hasleader";
/// Election timeouts without a leader after which a stream that requires one ends, as in etcd.
pub(super) const LEADERLESS_MAX: u32 = 3;
/// What a learner serves, as in etcd.
const LEARNER_METHODS: [&str; 3] = [
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.Maintenance/Snapshot",
    "/etcdserverpb.Maintenance/Status",
];

/// Whether the client says that it needs a leader.
pub(super) fn requires_leader(headers: &HeaderMap) -> bool {
    headers.get(REQUIRE_LEADER).is_some_and(|value| value == "true")
}

/// Refuses a call that this member must not serve now, before anything of it is looked at.
pub(crate) fn admit(member: &Member, path: &str, headers: &HeaderMap) -> Result<(), Error> {
    if member.is_learner() && !LEARNER_METHODS.contains(&path) {
        return Err(Error::NotSupportedForLearner);
    }
    if requires_leader(headers) && member.leader() == 0 {
        return Err(Error::NoLeader);
    }
    Ok(())
}
