//! Which member may serve a call of watch or lease: no learner, and none without a leader if the
//! client says that it needs one.

use http::HeaderMap;
use quoin_api::error::Error;

use crate::member::Member;

/// A client with this header wants no answers from a member that has lost the leader.
const REQUIRE_LEADER: &str = "hasleader";
/// Election timeouts without a leader after which a stream that requires one ends, as in etcd.
pub(super) const LEADERLESS_MAX: u32 = 3;

/// Whether the client says that it needs a leader.
pub(super) fn requires_leader(headers: &HeaderMap) -> bool {
    headers.get(REQUIRE_LEADER).is_some_and(|value| value == "true")
}

/// Refuses calls that this member must not serve now.
pub(super) fn admit(member: &Member, requires_leader: bool) -> Result<(), Error> {
    if member.is_learner() {
        return Err(Error::NotSupportedForLearner);
    }
    if requires_leader && member.leader() == 0 {
        return Err(Error::NoLeader);
    }
    Ok(())
}
