//! Reads that wait until a majority has confirmed that this leader still leads.
//!
//! A confirmation round has a number that is used once in the life of a node. Heartbeats carry
//! the number of the latest round, followers return it, and a read is confirmed by answers to
//! the round it started or to a later one: never by an answer to a heartbeat that was sent
//! before the read arrived.
//!
//! Not here: what a confirmed read does next.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::raft::Raft;
use crate::ready::ReadState;
use crate::status::Role;
use crate::{Body, Index, Message, NodeId, ReadDropped, StepError, Term, quorum};

/// How many reads may wait on a leader. Callers gather reads into rounds, so that few suffice.
const MAX_WAITING_READS: usize = 4096;

/// A read request of this node or of another one.
#[derive(Clone, Debug)]
struct Request {
    from: NodeId,
    context: Bytes,
}

/// A read that waits for its round.
#[derive(Clone, Debug)]
struct Read {
    round: u64,
    /// The commit index when the read arrived.
    index: Index,
    request: Request,
}

/// The reads that wait on a leader.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadOnly {
    /// The latest round. It goes on counting from leadership to leadership.
    round: u64,
    /// The round has been started, but its heartbeats have not been sent.
    due: bool,
    /// Reads that wait for confirmation, by round.
    unconfirmed: VecDeque<Read>,
    /// Requests that wait for the first commit in this term.
    early: Vec<Request>,
    /// The latest round that each follower has answered.
    answered: BTreeMap<NodeId, u64>,
}

impl ReadOnly {
    /// Forgets all reads, because leadership ended. Whoever asked asks again.
    pub(crate) fn reset(&mut self) {
        *self = Self { round: self.round, ..Self::default() };
    }

    /// Starts a round whose heartbeats are sent with the next batch of messages.
    pub(crate) fn start_round(&mut self) -> u64 {
        self.round += 1;
        self.due = true;
        self.round
    }

    /// Returns the latest round.
    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    /// Returns true if reads wait for a round whose heartbeats have not been sent.
    pub(crate) fn is_due(&self) -> bool {
        self.due && self.is_waiting()
    }

    /// Returns true if reads wait for confirmation.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.unconfirmed.is_empty()
    }

    /// Notes that heartbeats with the latest round are on their way to everybody.
    pub(crate) fn round_sent(&mut self) {
        self.due = false;
    }

    /// Records an answer and returns its round. Contexts that we cannot have sent are ignored.
    pub(crate) fn answer(&mut self, from: NodeId, context: &[u8]) -> Option<u64> {
        let round = u64::from_le_bytes(context.try_into().ok()?);
        if round > self.round {
            return None;
        }
        let latest = self.answered.entry(from).or_default();
        *latest = round.max(*latest);
        Some(round)
    }

    fn is_full(&self) -> bool {
        self.unconfirmed.len() + self.early.len() >= MAX_WAITING_READS
    }
}

impl Raft {
    /// Asks for an index that, once applied here, makes reads reflect everything that was
    /// committed before this call. The answer is a [`ReadState`] with the same context in some
    /// later [`Ready`](crate::Ready), or nothing: repeat the request with a new context after a
    /// while. All requests between two calls of [`Raft::ready`] share one round of heartbeats.
    ///
    /// # Errors
    /// The request was dropped and will not be answered.
    pub fn read_index(&mut self, context: Bytes) -> Result<(), ReadDropped> {
        self.request_read(Request { from: self.id, context })
    }

    /// Takes a read request that a follower has forwarded.
    pub(crate) fn handle_read_index(
        &mut self,
        from: NodeId,
        context: Bytes,
    ) -> Result<(), StepError> {
        self.request_read(Request { from, context }).map_err(StepError::ReadDropped)
    }

    /// Takes the answer to a request that this node has forwarded.
    pub(crate) fn handle_read_index_response(&mut self, index: Index, context: Bytes) {
        if self.role == Role::Follower {
            self.read_states.push(ReadState { index, context });
        }
    }

    fn request_read(&mut self, request: Request) -> Result<(), ReadDropped> {
        if self.role != Role::Leader {
            if self.leader.is_none() {
                return Err(ReadDropped::NoLeader);
            }
            let Request { from, context } = request;
            let body = Body::ReadIndex { context };
            self.messages.push(Message { to: self.leader, from, term: Term::ZERO, body });
            return Ok(());
        }
        if self.reads.is_full() {
            return Err(ReadDropped::Full);
        }
        self.reads.early.push(request);
        self.start_early_reads();
        Ok(())
    }

    /// Starts the reads that waited for the first commit in this term, if it has happened.
    /// Before that, the leader may not know how far its predecessors have committed.
    pub(crate) fn start_early_reads(&mut self) {
        if self.reads.early.is_empty() || self.log.term(self.log.commit()) != Some(self.term) {
            return;
        }
        let index = self.log.commit();
        let round = self.reads.start_round();
        let requests = std::mem::take(&mut self.reads.early);
        let reads = requests.into_iter().map(|request| Read { round, index, request });
        self.reads.unconfirmed.extend(reads);
        self.confirm_reads();
    }

    /// Sends the heartbeats of a round that was started.
    pub(crate) fn send_due_round(&mut self) {
        if self.reads.is_due() {
            self.broadcast_heartbeat();
        }
    }

    /// Answers the reads whose round a majority has answered. This node answers itself.
    pub(crate) fn confirm_reads(&mut self) {
        let reads = &self.reads;
        let answered = |node: NodeId| {
            if node == self.id {
                reads.round
            } else {
                reads.answered.get(&node).copied().unwrap_or(0)
            }
        };
        let Some(confirmed) = quorum::agreed(&self.conf.voters, answered) else { return };
        while self.reads.unconfirmed.front().is_some_and(|read| read.round <= confirmed) {
            let Some(read) = self.reads.unconfirmed.pop_front() else { break };
            let (index, Request { from, context }) = (read.index, read.request);
            if from == self.id {
                self.read_states.push(ReadState { index, context });
            } else {
                self.send(from, Body::ReadIndexResponse { index, context });
            }
        }
    }
}
