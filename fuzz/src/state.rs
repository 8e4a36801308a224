//! Everything that can be seen of a state, to be compared with another.

use quoin_api::error::Error;
use quoin_api::etcdserverpb::{AlarmMember, AlarmType};
use quoin_store::{HashKv, Membership, View};

/// A lease: its ID, its time to live, and the keys attached to it.
type LeaseState = (i64, i64, Vec<Vec<u8>>);

/// What a state shows.
#[derive(Debug, PartialEq)]
pub(crate) struct State {
    applied: (u64, u64),
    revision: i64,
    compacted: i64,
    keys: usize,
    hash: HashKv,
    leases: Vec<LeaseState>,
    alarms: Vec<AlarmMember>,
    membership: Membership,
}

impl State {
    /// Looks at all of a state.
    pub(crate) fn of(view: &View) -> Result<Self, Error> {
        Ok(Self {
            applied: view.applied(),
            revision: view.revision(),
            compacted: view.compact_revision(),
            keys: view.keys(),
            hash: view.hash_kv(0)?,
            leases: view.leases().map(|it| (it.id, it.ttl_s, it.keys().collect())).collect(),
            alarms: view.alarms(AlarmType::None),
            membership: view.membership().clone(),
        })
    }
}
