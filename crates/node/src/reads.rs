//! Linearizable reads: which reads wait for which confirmation of leadership.
//!
//! Reads that wait share one round. A round has a context that is used once: a retry is a new
//! round with a new context, so a late confirmation of an old round can never satisfy a read that
//! came after it. After its round a read waits until the state machine has reached the confirmed
//! index.
//!
//! Invariants:
//! - A read joins only rounds that begin after it arrived.
//! - `confirmed` is ordered by arrival, not by index; a read is released by index alone.

use std::collections::VecDeque;

use bytes::Bytes;
use quoin_raft::Index;

/// Rounds that may be under way at once. More would only send more heartbeats: every read that
/// arrives meanwhile joins the next round.
const ROUNDS_MAX: usize = 4;

/// The reads of one node, from arrival to release.
#[derive(Debug)]
pub(crate) struct Reads<W> {
    /// Arrived, in no round yet.
    arrived: Vec<Read<W>>,
    /// In a round that is not confirmed yet, oldest round first.
    rounds: VecDeque<Round<W>>,
    /// Confirmed at an index that is not applied yet.
    confirmed: Vec<(Index, Read<W>)>,
    next_context: u64,
}

#[derive(Debug)]
pub(crate) struct Read<W> {
    pub(crate) deadline: u64,
    pub(crate) waiter: W,
}

#[derive(Debug)]
struct Round<W> {
    context: u64,
    retry_at: u64,
    reads: Vec<Read<W>>,
}

impl<W> Reads<W> {
    /// Contexts count up from `first_context`, which must differ between two lives of a member.
    pub(crate) fn new(first_context: u64) -> Self {
        Self {
            arrived: Vec::new(),
            rounds: VecDeque::new(),
            confirmed: Vec::new(),
            next_context: first_context,
        }
    }

    pub(crate) fn push(&mut self, deadline: u64, waiter: W) {
        self.arrived.push(Read { deadline, waiter });
    }

    pub(crate) fn len(&self) -> usize {
        let in_rounds: usize = self.rounds.iter().map(|round| round.reads.len()).sum();
        self.arrived.len() + in_rounds + self.confirmed.len()
    }

    /// Starts a round for the reads that have arrived. Returns its context.
    pub(crate) fn start_round(&mut self, retry_at: u64) -> Option<Bytes> {
        if self.arrived.is_empty() || self.rounds.len() >= ROUNDS_MAX {
            return None;
        }
        let reads = std::mem::take(&mut self.arrived);
        Some(self.push_round(reads, retry_at))
    }

    /// Merges the rounds that had no confirmation by `now` into one new round with a new context.
    pub(crate) fn retry_rounds(&mut self, now: u64, retry_at: u64) -> Option<Bytes> {
        let mut reads = Vec::new();
        self.rounds.retain_mut(|round| {
            let late = round.retry_at <= now;
            if late {
                reads.append(&mut round.reads);
            }
            !late
        });
        if reads.is_empty() { None } else { Some(self.push_round(reads, retry_at)) }
    }

    fn push_round(&mut self, reads: Vec<Read<W>>, retry_at: u64) -> Bytes {
        let context = self.next_context;
        self.next_context = self.next_context.wrapping_add(1);
        self.rounds.push_back(Round { context, retry_at, reads });
        Bytes::copy_from_slice(&context.to_be_bytes())
    }

    /// Takes note that leadership was confirmed at `index` for the round with this context. A
    /// round that was given up is not found, and its confirmation has no effect. Returns whether it
    /// was found.
    pub(crate) fn confirm(&mut self, context: &[u8], index: Index) -> bool {
        let Ok(context) = <[u8; 8]>::try_from(context) else { return false };
        let context = u64::from_be_bytes(context);
        let Some(at) = self.rounds.iter().position(|round| round.context == context) else {
            return false;
        };
        let round = self.rounds.remove(at).expect("the position was just found");
        self.confirmed.extend(round.reads.into_iter().map(|read| (index, read)));
        true
    }

    /// Takes the reads whose index has been applied.
    pub(crate) fn take_ready(&mut self, applied: Index) -> Vec<W> {
        let ready = self.confirmed.extract_if(.., |(index, _)| *index <= applied);
        ready.map(|(_, read)| read.waiter).collect()
    }

    /// Takes the reads that wait for a confirmation: the leader they asked is gone.
    pub(crate) fn take_unconfirmed(&mut self) -> Vec<W> {
        let mut waiters: Vec<W> = self.arrived.drain(..).map(|read| read.waiter).collect();
        for round in self.rounds.drain(..) {
            waiters.extend(round.reads.into_iter().map(|read| read.waiter));
        }
        waiters
    }

    /// Takes every read: the node stops.
    pub(crate) fn take_all(&mut self) -> Vec<W> {
        let mut waiters = self.take_unconfirmed();
        waiters.extend(self.confirmed.drain(..).map(|(_, read)| read.waiter));
        waiters
    }

    /// Takes the reads whose deadline has come, wherever they are.
    pub(crate) fn take_expired(&mut self, now: u64) -> Vec<W> {
        let expired = |read: &mut Read<W>| read.deadline <= now;
        let mut taken: Vec<Read<W>> = self.arrived.extract_if(.., expired).collect();
        for round in &mut self.rounds {
            taken.extend(round.reads.extract_if(.., expired));
        }
        self.rounds.retain(|round| !round.reads.is_empty());
        let confirmed = self.confirmed.extract_if(.., |(_, read)| read.deadline <= now);
        taken.extend(confirmed.map(|(_, read)| read));
        taken.into_iter().map(|read| read.waiter).collect()
    }
}
