//! Leases in the life of a node: who asks for them, what the leader proposes about them.
//!
//! A renewal and a question for the time of a lease are answered by the leader from its
//! [`Lessor`], without an entry, after its leadership was confirmed by a round that began after
//! they came: a leader that was cut off or stood still answers nobody. Ends of leases and
//! checkpoints are entries like any other.
//!
//! Invariants:
//! - What a lessor proposes is appended here, in the term of the lessor, or not at all: it is never
//!   forwarded to another leader, who may know of renewals that this one does not.
//! - The end of a lease is proposed only after leadership was confirmed by a round that began after
//!   the lease was due, and is not proposed again before it was applied or refused.
//! - Ends under way are bounded in number and in keys, so that puts flow between them.
//! - Everyone who waits has a deadline in ticks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use quoin_raft::{Entry, Index, Role, Term};
use quoin_store::{Applied, ClusterVersion, LeaseChange};

use crate::lessor::{Clock, Grant, Lessor, Renewal};
use crate::node::{Answer, Failure, Node};

mod propose;
#[cfg(test)]
mod tests;

/// Those who may wait for the end of a lease or for a checkpoint.
const PARKED_MAX: usize = 64 * 1024;
/// The first version of etcd that knows checkpoints of leases.
const CHECKPOINTS_SINCE: ClusterVersion = ClusterVersion { major: 3, minor: 4, patch: 0 };

/// What is asked about leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseCall {
    /// Give this lease all of its time to live again.
    Renew(i64),
    /// Say what is left of this lease.
    Time(i64),
    /// List the leases, the one that ends first at the front.
    List,
}

/// Who waits for a confirmation of leadership.
#[derive(Debug)]
pub(crate) enum Reader<W> {
    /// A client that wants to read.
    Client(W),
    /// Someone who asked about a lease.
    Lease(LeaseCall, W),
    /// The lessor of this term, which has leases to end.
    Lessor(Term),
}

/// Someone who waits for an entry about a lease.
#[derive(Debug)]
struct Parked<W> {
    id: i64,
    deadline: u64,
    waiter: W,
}

/// Everything about leases that is not replicated.
#[derive(Debug)]
pub(crate) struct Leases<W> {
    clock: Clock,
    /// The lessor and its term, while this node leads.
    lessor: Option<(Term, Lessor)>,
    /// Whether the lessor waits for a confirmation of leadership, or has got it.
    confirmation: Confirmation,
    /// Nothing is proposed before this tick, because the last attempt was refused.
    pause_until: u64,
    /// The ends that were proposed: their entries, leases and keys.
    ends: VecDeque<(Index, i64, usize)>,
    ending_keys: usize,
    /// The entry of the last checkpoint, until it is applied.
    checkpoint: Option<Index>,
    /// Renewals whose checkpoint is to be cleared by an entry that is not proposed.
    to_clear: Vec<Parked<W>>,
    /// The same, with the entry that was proposed.
    clearing: VecDeque<(Index, Vec<Parked<W>>)>,
    /// Renewals of leases that are past their deadline, by lease.
    ending: BTreeMap<i64, Vec<Parked<W>>>,
    parked: usize,
    /// Those who want a list; they get it with the next turn.
    lists: Vec<W>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Confirmation {
    None,
    Asked,
    Given,
}

impl<W> Leases<W> {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            lessor: None,
            confirmation: Confirmation::None,
            pause_until: 0,
            ends: VecDeque::new(),
            ending_keys: 0,
            checkpoint: None,
            to_clear: Vec::new(),
            clearing: VecDeque::new(),
            ending: BTreeMap::new(),
            parked: 0,
            lists: Vec::new(),
        }
    }

    /// Takes everyone who waits.
    pub(crate) fn take_all(&mut self) -> Vec<W> {
        let mut taken = std::mem::take(&mut self.to_clear);
        taken.extend(std::mem::take(&mut self.clearing).into_iter().flat_map(|(_, them)| them));
        taken.extend(std::mem::take(&mut self.ending).into_values().flatten());
        self.parked = 0;
        let lists = std::mem::take(&mut self.lists);
        taken.into_iter().map(|parked| parked.waiter).chain(lists).collect()
    }

    /// Takes those whose deadline has come.
    fn take_expired(&mut self, now: u64) -> Vec<W> {
        let late = |parked: &mut Parked<W>| parked.deadline <= now;
        let mut taken: Vec<Parked<W>> = self.to_clear.extract_if(.., late).collect();
        for (_, parked) in &mut self.clearing {
            taken.extend(parked.extract_if(.., late));
        }
        for parked in self.ending.values_mut() {
            taken.extend(parked.extract_if(.., late));
        }
        self.ending.retain(|_, parked| !parked.is_empty());
        self.parked -= taken.len();
        taken.into_iter().map(|parked| parked.waiter).collect()
    }

    /// Takes those who wait for the end of this lease.
    fn take_ended(&mut self, id: i64) -> Vec<W> {
        let taken = self.ending.remove(&id).unwrap_or_default();
        self.parked -= taken.len();
        taken.into_iter().map(|parked| parked.waiter).collect()
    }

    /// Forgets what the lessor of a lost leadership had under way. Returns who waited for it.
    fn depose(&mut self) -> Vec<W> {
        self.lessor = None;
        self.confirmation = Confirmation::None;
        self.pause_until = 0;
        self.ends.clear();
        self.ending_keys = 0;
        self.checkpoint = None;
        self.take_all()
    }
}

impl<W> Node<W> {
    /// Asks about leases. Only the leader answers; others fail with [`Failure::NotLeader`].
    pub fn lease(&mut self, call: LeaseCall, waiter: W) {
        if self.leases.lessor.is_none() {
            return self.not_leader(vec![waiter]);
        }
        match call {
            LeaseCall::List => self.leases.lists.push(waiter),
            LeaseCall::Renew(_) | LeaseCall::Time(_) => {
                self.push_read(Reader::Lease(call, waiter));
            }
        }
    }

    /// Answers everyone who wants a list with the same one: to make it takes a look at all leases.
    fn serve_lists(&mut self) {
        if self.leases.lists.is_empty() {
            return;
        }
        let lists = std::mem::take(&mut self.leases.lists);
        let Some((_, lessor)) = &self.leases.lessor else { return self.not_leader(lists) };
        let leases: Arc<[i64]> = lessor.by_deadline().into();
        let answers = lists.into_iter().map(|waiter| (waiter, Answer::Leases(leases.clone())));
        self.answers.extend(answers);
    }

    fn not_leader(&mut self, waiters: Vec<W>) {
        let answer = |waiter| (waiter, Answer::Failed(Failure::NotLeader));
        self.answers.extend(waiters.into_iter().map(answer));
    }

    /// Answers someone who asked about a lease: leadership was confirmed since.
    pub(crate) fn serve_lease(&mut self, call: LeaseCall, waiter: W) {
        let now = self.now;
        let Some((_, lessor)) = &mut self.leases.lessor else {
            return self.not_leader(vec![waiter]);
        };
        match call {
            LeaseCall::Time(id) => {
                let time = lessor.time(id, now);
                self.answers.push((waiter, Answer::Lease(time)));
            }
            LeaseCall::Renew(id) => {
                let deadline = now.saturating_add(self.options.request_timeout_ticks);
                self.renew(Parked { id, deadline, waiter });
            }
            LeaseCall::List => self.leases.lists.push(waiter),
        }
    }

    fn renew(&mut self, parked: Parked<W>) {
        let Some((_, lessor)) = &mut self.leases.lessor else { return };
        let id = parked.id;
        let answer = match lessor.renew(id, self.now) {
            Renewal::Done(_) => Answer::Lease(lessor.time(id, self.now)),
            Renewal::Unknown => Answer::Lease(None),
            Renewal::Expired | Renewal::MustClear if self.leases.parked >= PARKED_MAX => {
                Answer::Failed(Failure::Overloaded)
            }
            Renewal::Expired => {
                self.leases.parked += 1;
                self.leases.ending.entry(id).or_default().push(parked);
                return;
            }
            Renewal::MustClear => {
                self.leases.parked += 1;
                self.leases.to_clear.push(parked);
                return;
            }
        };
        self.answers.push((parked.waiter, answer));
    }

    /// Takes note that leadership was confirmed for the lessor of this term.
    pub(crate) fn lessor_confirmed(&mut self, term: Term) {
        let of_this_term = self.leases.lessor.as_ref().is_some_and(|(of, _)| *of == term);
        if of_this_term && self.leases.confirmation == Confirmation::Asked {
            self.leases.confirmation = Confirmation::Given;
        }
    }

    /// Takes note that no confirmation will come for the lessor of this term.
    pub(crate) fn lessor_unconfirmed(&mut self, term: Term) {
        if self.leases.lessor.as_ref().is_some_and(|(of, _)| *of == term) {
            self.leases.confirmation = Confirmation::None;
            self.leases.pause_until = self.now.saturating_add(1);
        }
    }

    pub(crate) fn tick_leases(&mut self) {
        for waiter in self.leases.take_expired(self.now) {
            self.answers.push((waiter, Answer::Failed(Failure::Timeout)));
        }
    }

    /// Drops the lessor if the leadership that it belongs to has ended.
    pub(crate) fn check_leadership(&mut self) {
        let Some((term, _)) = self.leases.lessor else { return };
        if self.raft.role() == Role::Leader && self.raft.term() == term {
            return;
        }
        let waiters = self.leases.depose();
        self.not_leader(waiters);
    }

    /// Takes note of an entry that was applied.
    pub(crate) fn applied_to_leases(&mut self, entry: &Entry, applied: &Applied) {
        if self.leases.lessor.is_none() {
            self.promote(entry);
            return;
        }
        self.note_lease_change(entry.index, applied.lease_change.as_ref());
        self.settle_proposal(entry.index, applied);
    }

    /// Begins to count the time of leases once this leader has applied an entry of its term, and so
    /// everything that leaders before it have committed.
    fn promote(&mut self, entry: &Entry) {
        let term = self.raft.term();
        if self.raft.role() != Role::Leader || entry.term != term {
            return;
        }
        let extension = u64::from(self.options.election_ticks);
        let grants = self.store.leases().map(|lease| Grant {
            id: lease.id,
            ttl_s: lease.ttl_s,
            left_s: lease.remaining_ttl_s,
        });
        let lessor = Lessor::promoted(self.leases.clock, self.now, extension, grants);
        self.leases.lessor = Some((term, lessor));
    }

    fn note_lease_change(&mut self, index: Index, change: Option<&LeaseChange>) {
        let now = self.now;
        let Some((_, lessor)) = &mut self.leases.lessor else { return };
        match change {
            None => {}
            Some(LeaseChange::Granted { id, ttl_s }) => lessor.granted(*id, *ttl_s, now),
            Some(LeaseChange::Revoked(id)) => {
                lessor.revoked(*id);
                for waiter in self.leases.take_ended(*id) {
                    self.answers.push((waiter, Answer::Lease(None)));
                }
            }
            Some(LeaseChange::Checkpointed(checkpoints)) => {
                for (id, left_s) in checkpoints {
                    lessor.checkpointed(*id, *left_s, index.0, now);
                }
            }
        }
    }
}
