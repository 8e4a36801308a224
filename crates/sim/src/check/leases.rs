//! Leases end neither early nor never.
//!
//! What a client may rely on: a lease that was granted, or renewed with an answer, lives for its time
//! to live from then on, whoever leads. Who asked after its end is not told that it lives, and who
//! asks before is not told that it is gone. Ends that clients ask for are not judged.
//!
//! Times are those at which requests reach members, and at which the first member knows that an
//! entry is committed. A member whose clock runs fast may end a lease earlier by as much.

use std::collections::BTreeMap;

use bytes::Bytes;
use quoin_api::etcdserverpb::LeaseGrantRequest;
use quoin_node::{LeaseCall, LeaseTime};
use quoin_raft::EntryKind;

use super::{Checked, ensure};
use crate::coverage::{Coverage, Mark};
use crate::queue::{SECOND, Time};
use crate::workload::Call;

/// Leases with at most this time to live must be gone before a run is over.
pub(crate) const SHORT_S: i64 = 5;

/// All leases of a run.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    /// Clocks may run fast by so many thousandths.
    drift: u64,
    tenures: BTreeMap<i64, Tenure>,
}

/// The life of one lease.
#[derive(Clone, Copy, Debug)]
struct Tenure {
    ttl_s: i64,
    granted: Time,
    /// It must not end before.
    until: Time,
    ended: Option<End>,
}

#[derive(Clone, Copy, Debug)]
struct End {
    at: Time,
    /// The leader ended it, because its time was over.
    expired: bool,
}

impl Leases {
    pub(crate) fn new(drift: u64) -> Self {
        Self { drift, tenures: BTreeMap::new() }
    }

    /// The time that passes at least while the fastest clock counts these seconds.
    fn at_least(&self, seconds: i64) -> Time {
        let seconds = Time::try_from(seconds).expect("the workload grants positive times");
        seconds * SECOND * (1000 - self.drift) / 1000
    }

    /// An entry is committed.
    pub(crate) fn committed(
        &mut self,
        kind: EntryKind,
        data: &Bytes,
        now: Time,
        coverage: &mut Coverage,
    ) -> Checked {
        if kind != EntryKind::Normal || data.is_empty() {
            return Ok(());
        }
        let Call::V3(request) = Call::read(data)? else { return Ok(()) };
        let expired = request.header.as_ref().is_none_or(|header| header.id == 0);
        if let Some(LeaseGrantRequest { id, ttl }) = request.lease_grant {
            let until = now + self.at_least(ttl);
            let tenure = Tenure { ttl_s: ttl, granted: now, until, ended: None };
            self.tenures.entry(id).or_insert(tenure);
        } else if let Some(revoke) = request.lease_revoke {
            self.ended(revoke.id, End { at: now, expired })?;
            coverage.hit(if expired { Mark::LeaseExpired } else { Mark::LeaseRevoked });
        } else if let Some(checkpoint) = request.lease_checkpoint {
            let cleared = checkpoint.checkpoints.iter().any(|lease| lease.remaining_ttl == 0);
            coverage.hit(if cleared { Mark::LeaseCleared } else { Mark::LeaseCheckpointed });
        }
        Ok(())
    }

    fn ended(&mut self, id: i64, end: End) -> Checked {
        let Some(tenure) = self.tenures.get_mut(&id) else { return Ok(()) };
        let early = end.expired && end.at < tenure.until;
        let early = early && tenure.ended.is_none();
        ensure(!early, || format!("lease {id} ends at {}, early: {tenure:?}", end.at))?;
        let twice = end.expired && tenure.ended.is_some_and(|ended| ended.expired);
        ensure(!twice, || format!("lease {id} ends twice: {tenure:?}"))?;
        tenure.ended = tenure.ended.or(Some(end));
        Ok(())
    }

    /// A question that was asked at `asked` is answered.
    pub(crate) fn answered(
        &mut self,
        call: LeaseCall,
        answer: Option<LeaseTime>,
        (asked, now): (Time, Time),
    ) -> Checked {
        let (LeaseCall::Renew(id) | LeaseCall::Time(id)) = call else { return Ok(()) };
        let ttl_s = self.tenures.get(&id).map_or(1, |tenure| tenure.ttl_s);
        let promised = asked + self.at_least(ttl_s);
        let Some(tenure) = self.tenures.get_mut(&id) else {
            return ensure(answer.is_none(), || format!("lease {id} was never granted"));
        };
        let Some(time) = answer else {
            let lives = tenure.granted < asked && tenure.ended.is_none();
            return ensure(!lives, || format!("lease {id} is denied, but lives: {tenure:?}"));
        };
        let ended = tenure.ended;
        ensure(ended.is_none_or(|end| end.at >= asked), || {
            format!("lease {id} is said to live at {asked}, but has ended: {tenure:?}")
        })?;
        ensure(time.left_s <= time.granted_s.max(tenure.ttl_s), || {
            format!("lease {id} is said to have {time:?}, granted were {ttl_s} s")
        })?;
        // What is told is rounded down, and a slow clock takes longer for it.
        let told = (time.left_s + 2).unsigned_abs() * SECOND * (1000 + self.drift) / 1000;
        ensure(now + told >= tenure.until, || {
            format!("lease {id} is said to have {time:?} at {now}, promised was {tenure:?}")
        })?;
        if matches!(call, LeaseCall::Renew(_)) {
            ensure(ended.is_none_or(|end| !end.expired || end.at >= promised), || {
                format!("lease {id} was renewed at {asked} and has ended: {tenure:?}")
            })?;
            tenure.until = tenure.until.max(promised);
        }
        Ok(())
    }

    /// Returns a lease that must end soon, if one has not.
    pub(crate) fn due(&self) -> Option<i64> {
        let short = |tenure: &Tenure| tenure.ttl_s <= SHORT_S && tenure.ended.is_none();
        self.tenures.iter().find(|(_, tenure)| short(tenure)).map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use quoin_api::etcdserverpb::{InternalRaftRequest, LeaseRevokeRequest, RequestHeader};

    fn entry(id: u64, request: InternalRaftRequest) -> Bytes {
        let header = Some(RequestHeader { id, ..RequestHeader::default() });
        Bytes::from(InternalRaftRequest { header, ..request }.encode_to_vec())
    }

    fn granted(ttl: i64) -> Leases {
        let mut leases = Leases::new(0);
        let lease_grant = Some(LeaseGrantRequest { id: 1, ttl });
        let entry = entry(9, InternalRaftRequest { lease_grant, ..Default::default() });
        leases.committed(EntryKind::Normal, &entry, 0, &mut Coverage::default()).unwrap();
        leases
    }

    /// The end of lease 1; a request without an ID is the leader's own.
    fn end(leases: &mut Leases, id: u64, at: Time) -> Checked {
        let lease_revoke = Some(LeaseRevokeRequest { id: 1 });
        let entry = entry(id, InternalRaftRequest { lease_revoke, ..Default::default() });
        leases.committed(EntryKind::Normal, &entry, at, &mut Coverage::default())
    }

    fn renewed(leases: &mut Leases, lives: bool, asked: Time) -> Checked {
        let time = LeaseTime { granted_s: 2, left_s: 2 };
        leases.answered(LeaseCall::Renew(1), lives.then_some(time), (asked, asked))
    }

    #[test]
    fn a_lease_ends_after_its_time_once() {
        assert!(end(&mut granted(2), 0, 2 * SECOND - 1).is_err());
        let mut leases = granted(2);
        assert_eq!(leases.due(), Some(1));
        assert!(end(&mut leases, 0, 2 * SECOND).is_ok());
        assert_eq!(leases.due(), None);
        assert!(end(&mut leases, 0, 3 * SECOND).is_err());
        // A client may end it at any time.
        assert!(end(&mut granted(2), 7, 1).is_ok());
    }

    #[test]
    fn a_renewal_that_was_answered_is_kept() {
        let mut leases = granted(2);
        assert!(renewed(&mut leases, true, SECOND).is_ok());
        assert!(end(&mut leases, 0, 3 * SECOND - 1).is_err());
        // The answer may come after the end.
        let mut leases = granted(2);
        assert!(end(&mut leases, 0, 2 * SECOND).is_ok());
        assert!(renewed(&mut leases, true, SECOND).is_err());
    }

    #[test]
    fn life_and_end_are_told_as_they_are() {
        let mut leases = granted(2);
        assert!(renewed(&mut leases, false, SECOND).is_err());
        assert!(end(&mut leases, 0, 2 * SECOND).is_ok());
        assert!(renewed(&mut leases, false, SECOND).is_ok());
        assert!(renewed(&mut leases, true, 3 * SECOND).is_err());
    }

    #[test]
    fn what_is_left_is_told_as_it_is() {
        let time = Some(LeaseTime { granted_s: 60, left_s: 40 });
        let told = |now| granted(60).answered(LeaseCall::Time(1), time, (now, now));
        assert!(told(SECOND).is_err());
        assert!(told(19 * SECOND).is_ok());
    }
}
