//! What a node wants done: the contract between the core and its driver.
//!
//! The driver takes [`Ready`] values one after the other and may take the next before it has
//! written the last: writes stay in order, but several can be in flight, while messages that
//! need no storage go out at once.

use std::mem;

use crate::raft::Raft;
use crate::stall::WriteInFlight;
use crate::status::Role;
use crate::{Entry, HardState, Index, Message, NodeId, Snapshot};

/// The index at which a read may be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadState {
    /// Once this index is applied here, the read reflects all that was committed before it was
    /// requested.
    pub index: Index,
    /// The context of the request.
    pub context: bytes::Bytes,
}

/// Who leads, and which part this node plays. It needs no storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SoftState {
    /// The leader that this node knows of, or none.
    pub leader: NodeId,
    /// The part that this node plays.
    pub role: Role,
}

/// One batch of work for the driver.
///
/// Order of durability: what a Ready asks to be written is written after what earlier ones have
/// asked for. Within a Ready the order is snapshot, entries, hard state; a crash may keep any
/// prefix of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Counts the Readys of this node from 1. Acknowledge it with [`Raft::persisted`].
    pub number: u64,
    /// The hard state, if it has changed. Write it after `entries`.
    pub hard_state: Option<HardState>,
    /// Entries to append to storage. An entry with an index that storage already holds replaces
    /// it *and everything after it*. They follow `snapshot`, if there is one.
    pub entries: Vec<Entry>,
    /// A snapshot that replaces the whole log in storage and the whole state machine. First
    /// apply or discard what earlier Readys have handed out as `committed`, then install it. The
    /// restore is finished by [`Raft::persisted`] for this Ready, which must not be called
    /// before log *and* state machine have durably taken the snapshot over; it also sets the
    /// applied index. Until then nothing is handed out in `committed`.
    pub snapshot: Option<Snapshot>,
    /// Set if the write must be synced to the device before it is acknowledged. If it is not
    /// set, only the commit index has changed, and not past a membership change: the hard state
    /// is still to be written, before anything of later Readys, but may be acknowledged without
    /// a sync of its own. (A node that forgot that a membership change is committed could wait
    /// for the vote of a node that is gone.)
    pub must_sync: bool,
    /// Messages that depend on nothing and may be sent at once: a leader's appends and
    /// heartbeats, heartbeat responses, forwarded requests. Order per receiver should be kept.
    /// A [`Body::Snapshot`](crate::Body::Snapshot) among them lacks its data, which the driver
    /// adds, for the same or a later index; its fate must be reported with
    /// [`Raft::report_snapshot`].
    pub messages: Vec<Message>,
    /// Messages that may be sent only when everything that *this and all earlier Readys* asked
    /// to be written is durable: vote requests, votes, acknowledgements of appends.
    pub messages_after_sync: Vec<Message>,
    /// Entries to be applied, in order, each once. They are committed, and durable on this node
    /// since an earlier [`Raft::persisted`]. Report progress with [`Raft::set_applied`].
    pub committed: Vec<Entry>,
    /// Reads that may be served once their index is applied. They need no storage.
    pub read_states: Vec<ReadState>,
    /// Leader and role, if either has changed since the last Ready.
    pub soft_state: Option<SoftState>,
}

impl Ready {
    /// Returns true if there is something to write, so that the Ready must be acknowledged.
    #[must_use]
    pub fn needs_write(&self) -> bool {
        self.hard_state.is_some() || !self.entries.is_empty() || self.snapshot.is_some()
    }

    fn is_empty(&self) -> bool {
        !self.needs_write()
            && self.messages.is_empty()
            && self.messages_after_sync.is_empty()
            && self.committed.is_empty()
            && self.read_states.is_empty()
            && self.soft_state.is_none()
    }
}

impl Raft {
    /// Returns the next batch of work, or `None` if there is none until the next input. What it
    /// contains counts as handed out: it is not repeated.
    pub fn ready(&mut self) -> Option<Ready> {
        if self.role == Role::Leader {
            self.send_appends();
            self.send_due_round();
        }
        let hard_state = HardState { term: self.term, vote: self.vote, commit: self.log.commit() };
        let soft_state = SoftState { leader: self.leader, role: self.role };
        let previous = self.last_hard_state;
        let number = self.ready_number + 1;
        let mut ready = Ready {
            number,
            hard_state: (hard_state != previous).then_some(hard_state),
            messages: mem::take(&mut self.messages),
            messages_after_sync: mem::take(&mut self.messages_after_sync),
            committed: self.log.deliver(self.config.max_committed_bytes_per_ready),
            read_states: mem::take(&mut self.read_states),
            soft_state: (soft_state != self.last_soft_state).then_some(soft_state),
            ..Ready::default()
        };
        if ready.hard_state.is_some() || self.log.has_unwritten() {
            (ready.snapshot, ready.entries) = self.log.hand_out(number);
            let handed_at = self.ticks;
            self.writes_in_flight.push_back(WriteInFlight { number, hard_state, handed_at });
        }
        if ready.is_empty() {
            return None;
        }
        ready.must_sync = !ready.entries.is_empty()
            || ready.snapshot.is_some()
            || (hard_state.term, hard_state.vote) != (previous.term, previous.vote)
            || self.log.has_conf_change(previous.commit, hard_state.commit);
        self.release_uncommitted(&ready.committed);
        self.ready_number = number;
        self.last_hard_state = hard_state;
        self.last_soft_state = soft_state;
        Some(ready)
    }

    /// Reports that everything that the Readys up to `number` asked to be written is durable
    /// (or written, where [`Ready::must_sync`] was not set). Readys without a write may be
    /// reported or skipped. It is then that a candidate counts its own vote and a leader its
    /// own copy of the log.
    ///
    /// # Panics
    /// If no such Ready was handed out.
    pub fn persisted(&mut self, number: u64) {
        assert!(number <= self.ready_number, "ready {number} was never handed out");
        while let Some(oldest) = self.writes_in_flight.front()
            && oldest.number <= number
        {
            self.durable_hard_state = oldest.hard_state;
            self.writes_in_flight.pop_front();
        }
        self.end_stall();
        self.log.written(number);
        if !self.log.is_installing() {
            self.overtaken_conf = None;
        }
        self.count_durable_vote();
        if self.role == Role::Leader {
            self.acknowledge_own_log();
            self.advance_commit();
        }
    }
}
