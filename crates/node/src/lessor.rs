//! The lessor: when leases end, on the member that leads.
//!
//! Time is an argument, in ticks. Which leases exist, and what the last checkpoint said of them, are
//! replicated facts of the store; deadlines are known to the leader alone. A lessor lives as long
//! as one leadership: it begins when the leader has applied the first entry of its term and is
//! dropped when it leads no more.
//!
//! Invariants:
//! - A lease is not due before its time to live has passed since it was granted or last renewed.
//! - A lease is queued by its deadline unless the end of it has been proposed.
//! - While the log may hold what is left of a lease, a renewal must first put into the log that
//!   all of it is left: otherwise the next leader would end the lease too early.
//!
//! Not here: proposing, who waits for what, which keys end with a lease.

use std::collections::{BTreeMap, BTreeSet};

mod clock;
#[cfg(test)]
mod tests;

pub(crate) use clock::Clock;

/// A point in time that never comes.
const NEVER: u64 = u64::MAX;
/// After this time an end that was refused is proposed again, as in etcd.
const RETRY_S: i64 = 3;

/// The time of a lease as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTime {
    /// The time to live that was granted, in seconds.
    pub granted_s: i64,
    /// What is left of it, in whole seconds.
    pub left_s: i64,
}

/// A lease as the store knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    pub(crate) id: i64,
    pub(crate) ttl_s: i64,
    /// What was left at the last checkpoint, or 0 if it is all.
    pub(crate) left_s: i64,
}

/// What became of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// The lease has all of its time to live again, in seconds.
    Done(i64),
    /// The lease lives on, but that may be said only after the log says that all of it is left.
    MustClear,
    /// The lease is past its deadline; its end is a matter of time.
    Expired,
    /// There is no such lease.
    Unknown,
}

/// The deadlines of all leases.
#[derive(Debug)]
pub(crate) struct Lessor {
    clock: Clock,
    timers: BTreeMap<i64, Timer>,
    /// When a lease is due, and its ID.
    due: BTreeSet<(u64, i64)>,
    /// When what is left of a lease should be put into the log, and its ID.
    checkpoints: BTreeSet<(u64, i64)>,
}

/// What the leader knows about one lease.
#[derive(Clone, Copy, Debug)]
struct Timer {
    ttl_s: i64,
    deadline: u64,
    /// Its place in the queue of leases that are due, or [`NEVER`] while its end is proposed.
    due_at: u64,
    /// Its place in the queue of checkpoints, or [`NEVER`].
    checkpoint_at: u64,
    /// The last entry that says that less than all is left, unless a later one took it back.
    marked_at: Option<u64>,
}

impl Lessor {
    /// Returns the lessor of a new leader. Each lease gets what the log says is left of it, and
    /// `extension` ticks more, in which its holders can find the leader.
    pub(crate) fn promoted(
        clock: Clock,
        now: u64,
        extension: u64,
        leases: impl Iterator<Item = Grant>,
    ) -> Self {
        let timer = |lease: Grant| {
            let ttl_s = clock.granted(lease.ttl_s);
            let marked = lease.left_s > 0;
            let left_s = if marked { lease.left_s } else { ttl_s };
            let deadline = clock.deadline(now.saturating_add(extension), left_s);
            let checkpoint_at = clock.next_checkpoint(now, ttl_s, deadline);
            let marked_at = marked.then_some(0);
            (lease.id, Timer { ttl_s, deadline, due_at: deadline, checkpoint_at, marked_at })
        };
        // Leases come by ID, and sorted pairs are much faster collected than inserted.
        let timers: BTreeMap<i64, Timer> = leases.map(timer).collect();
        let due = timers.iter().map(|(id, timer)| (timer.due_at, *id)).collect();
        let checkpoints = timers.iter().map(|(id, timer)| (timer.checkpoint_at, *id));
        let checkpoints = checkpoints.filter(|(at, _)| *at != NEVER).collect();
        Self { clock, timers, due, checkpoints }
    }

    /// Takes note that a lease was granted.
    pub(crate) fn granted(&mut self, id: i64, ttl_s: i64, now: u64) {
        self.forget(id);
        let ttl_s = self.clock.granted(ttl_s);
        let deadline = self.clock.deadline(now, ttl_s);
        let mut timer =
            Timer { ttl_s, deadline, due_at: NEVER, checkpoint_at: NEVER, marked_at: None };
        queue(&mut self.due, &mut timer.due_at, deadline, id);
        let first = self.clock.next_checkpoint(now, ttl_s, deadline);
        queue(&mut self.checkpoints, &mut timer.checkpoint_at, first, id);
        self.timers.insert(id, timer);
    }

    /// Takes note that a lease is gone.
    pub(crate) fn revoked(&mut self, id: i64) {
        self.forget(id);
    }

    fn forget(&mut self, id: i64) {
        if let Some(timer) = self.timers.remove(&id) {
            self.due.remove(&(timer.due_at, id));
            self.checkpoints.remove(&(timer.checkpoint_at, id));
        }
    }

    /// Takes note that the entry at `index` says what is left of a lease. If that is less than the
    /// truth (a leader of before may have proposed it late), it is corrected soon.
    pub(crate) fn checkpointed(&mut self, id: i64, left_s: i64, index: u64, now: u64) {
        let Some(timer) = self.timers.get_mut(&id) else { return };
        if left_s <= 0 {
            if timer.marked_at.is_some_and(|marked_at| marked_at <= index) {
                timer.marked_at = None;
            }
            return;
        }
        timer.marked_at = timer.marked_at.max(Some(index));
        if self.clock.left_at_most_s(timer.deadline, now) > left_s.saturating_add(1) {
            queue(&mut self.checkpoints, &mut timer.checkpoint_at, now, id);
        }
    }

    /// Gives a lease all of its time to live again, unless it is past its deadline.
    pub(crate) fn renew(&mut self, id: i64, now: u64) -> Renewal {
        let Some(timer) = self.timers.get_mut(&id) else { return Renewal::Unknown };
        if timer.is_expired(now) {
            return Renewal::Expired;
        }
        timer.deadline = self.clock.deadline(now, timer.ttl_s);
        queue(&mut self.due, &mut timer.due_at, timer.deadline, id);
        let next = self.clock.checkpoint_after_renewal(now, timer.ttl_s, timer.deadline);
        queue(&mut self.checkpoints, &mut timer.checkpoint_at, next, id);
        if timer.marked_at.is_some() { Renewal::MustClear } else { Renewal::Done(timer.ttl_s) }
    }

    /// Returns the time of a lease.
    pub(crate) fn time(&self, id: i64, now: u64) -> Option<LeaseTime> {
        let timer = self.timers.get(&id)?;
        // What a promotion added is not told.
        let left_s = self.clock.left_s(timer.deadline, now).min(timer.ttl_s);
        Some(LeaseTime { granted_s: timer.ttl_s, left_s })
    }

    /// Returns the leases that are past their deadline and whose end is not proposed, longest
    /// first. Ending them is a proposal like any other, so this changes nothing.
    pub(crate) fn expired(&self, now: u64) -> impl Iterator<Item = i64> + '_ {
        self.due.iter().take_while(move |(at, _)| *at <= now).map(|(_, id)| *id)
    }

    /// Takes note that the end of a lease has been proposed.
    pub(crate) fn ending(&mut self, id: i64) {
        if let Some(timer) = self.timers.get_mut(&id) {
            queue(&mut self.due, &mut timer.due_at, NEVER, id);
        }
    }

    /// Takes note that the end of a lease was refused: it is due again after a while.
    pub(crate) fn refused(&mut self, id: i64, now: u64) {
        if let Some(timer) = self.timers.get_mut(&id) {
            let again = now.saturating_add(self.clock.ticks(RETRY_S));
            queue(&mut self.due, &mut timer.due_at, again, id);
        }
    }

    /// Returns true if [`Lessor::take_checkpoints`] has something to look at.
    pub(crate) fn wants_checkpoint(&self, now: u64) -> bool {
        self.checkpoints.first().is_some_and(|(at, _)| *at <= now)
    }

    /// Takes up to `limit` leases of which the log should say what is left: their IDs and the
    /// seconds, where 0 means all.
    pub(crate) fn take_checkpoints(&mut self, now: u64, limit: usize) -> Vec<(i64, i64)> {
        let mut taken = Vec::new();
        while taken.len() < limit {
            let Some(&(at, id)) = self.checkpoints.first() else { break };
            if at > now {
                break;
            }
            self.checkpoints.pop_first();
            let timer = self.timers.get_mut(&id).expect("what is queued has a timer");
            timer.checkpoint_at = NEVER;
            if timer.is_expired(now) {
                continue;
            }
            let left_s = self.clock.left_at_most_s(timer.deadline, now);
            if left_s >= timer.ttl_s {
                // A promotion has extended it, or an entry of before says too little.
                if timer.marked_at.is_some() {
                    taken.push((id, 0));
                }
            } else if left_s > 0 {
                taken.push((id, left_s));
            }
            let next = self.clock.next_checkpoint(now, timer.ttl_s, timer.deadline);
            queue(&mut self.checkpoints, &mut timer.checkpoint_at, next, id);
        }
        taken
    }

    /// Takes note that what [`Lessor::take_checkpoints`] returned is in the log at `index`.
    pub(crate) fn checkpoint_proposed(&mut self, taken: &[(i64, i64)], index: u64) {
        for (id, left_s) in taken {
            if let Some(timer) = self.timers.get_mut(id)
                && *left_s > 0
            {
                timer.marked_at = Some(index);
            }
        }
    }

    /// Returns all leases, the one that ends first at the front.
    pub(crate) fn by_deadline(&self) -> Vec<i64> {
        let ending = self.timers.iter().filter(|(_, timer)| timer.due_at == NEVER);
        ending.map(|(id, _)| *id).chain(self.due.iter().map(|(_, id)| *id)).collect()
    }
}

impl Timer {
    fn is_expired(&self, now: u64) -> bool {
        self.due_at == NEVER || self.deadline <= now
    }
}

/// Moves a lease to another place in a queue; `place` is where it is.
fn queue(queue: &mut BTreeSet<(u64, i64)>, place: &mut u64, to: u64, id: i64) {
    if *place != NEVER {
        queue.remove(&(*place, id));
    }
    if to != NEVER {
        queue.insert((to, id));
    }
    *place = to;
}
