//! The alarms: what is wrong with which member, as the cluster has agreed.
//!
//! An alarm that is raised changes what apply accepts, on every member from the same entry on.

use std::collections::BTreeSet;

use quoin_api::etcdserverpb::{AlarmMember, AlarmType};

/// The alarms that are raised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Alarms {
    /// Kind, then member.
    raised: BTreeSet<(i32, u64)>,
}

impl Alarms {
    pub(crate) fn raise(&mut self, alarm: AlarmMember) {
        self.raised.insert((alarm.alarm, alarm.member_id));
    }

    /// Whether the alarm was raised before.
    pub(crate) fn clear(&mut self, alarm: AlarmMember) -> bool {
        self.raised.remove(&(alarm.alarm, alarm.member_id))
    }

    /// The alarms of one kind, or all for the kind `None`.
    pub(crate) fn of_kind(&self, kind: i32) -> Vec<AlarmMember> {
        let wanted = |raised: &&(i32, u64)| kind == AlarmType::None as i32 || raised.0 == kind;
        let matching = self.raised.iter().filter(wanted);
        matching.map(|&(alarm, member_id)| AlarmMember { member_id, alarm }).collect()
    }

    /// Whether some member has no space left.
    pub(crate) fn no_space(&self) -> bool {
        self.has(AlarmType::Nospace)
    }

    /// Whether some member has other data than the others.
    pub(crate) fn corrupt(&self) -> bool {
        self.has(AlarmType::Corrupt)
    }

    fn has(&self, kind: AlarmType) -> bool {
        self.raised.iter().any(|&(raised, _)| raised == kind as i32)
    }
}
