//! One node of a Raft group: its state, its construction, and the dispatch of messages.
//!
//! The rules live beside this room: `election` decides who leads, `replication` moves the log,
//! `membership` changes who counts, `read_only` confirms reads, `stall` deals with a disk that hangs,
//! `ready` hands out the results.
//!
//! Invariants:
//! - The term and, within a term, the vote never go back; a vote is given once.
//! - A leader appends to its log and never changes what is there.
//! - Nothing that this module does depends on anything but its inputs and the seed.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::config::{Config, Restored};
use crate::log::Log;
use crate::membership::Leaving;
use crate::notice::{Notice, Poll, VoteAnswer, kind_of};
use crate::progress::Progress;
use crate::read_only::ReadOnly;
use crate::ready::{ReadState, SoftState};
use crate::rng::Rng;
use crate::stall::WriteInFlight;
use crate::status::Role;
use crate::{
    Body, ConfState, Entry, EntryId, EntryKind, HardState, Index, Message, NodeId, ProposalDropped,
    RestoreError, StepError, Term, validate,
};

/// One node of a Raft group.
///
/// Feed it ticks, messages and proposals; after each batch of them take [`Ready`](crate::Ready)
/// values until there is none, and report what became of them with [`Raft::persisted`] and
/// [`Raft::set_applied`].
#[derive(Clone, Debug)]
pub struct Raft {
    pub(crate) id: NodeId,
    pub(crate) config: Config,
    pub(crate) rng: Rng,

    pub(crate) term: Term,
    pub(crate) vote: NodeId,
    pub(crate) log: Log,

    pub(crate) role: Role,
    pub(crate) leader: NodeId,
    pub(crate) conf: ConfState,
    /// While a snapshot waits to be installed: the members as of the entries applied so far.
    pub(crate) overtaken_conf: Option<ConfState>,
    /// All members, this node included. Maintained in every role, meaningful on a leader.
    pub(crate) progress: BTreeMap<NodeId, Progress>,

    /// Ticks since the last sign of a leader, or, on a leader, since the last quorum check.
    pub(crate) election_elapsed: u32,
    pub(crate) heartbeat_elapsed: u32,
    /// The timeout drawn for the present wait.
    pub(crate) election_timeout: u32,
    /// The votes received as a candidate.
    pub(crate) votes: BTreeMap<NodeId, bool>,

    /// The node to which this leader is handing over.
    pub(crate) transferee: NodeId,
    /// It hands over because its disk hangs.
    pub(crate) is_stall_transfer: bool,
    /// Set on a leader that was removed and waits for the others to learn it.
    pub(crate) leaving: Option<Leaving>,
    /// The last index that may hold a membership change that is not applied.
    pub(crate) pending_conf_index: Index,
    pub(crate) uncommitted_bytes: u64,
    pub(crate) reads: ReadOnly,

    pub(crate) messages: Vec<Message>,
    pub(crate) messages_after_sync: Vec<Message>,
    pub(crate) read_states: Vec<ReadState>,
    /// What happened since they were taken last.
    pub(crate) notices: Vec<Notice>,

    pub(crate) ready_number: u64,
    pub(crate) last_hard_state: HardState,
    pub(crate) last_soft_state: SoftState,
    /// The latest hard state known to be durable, and the writes on their way.
    pub(crate) durable_hard_state: HardState,
    pub(crate) writes_in_flight: VecDeque<WriteInFlight>,
    /// Ticks since the start.
    pub(crate) ticks: u64,
}

impl Raft {
    /// Starts a node, as a follower that knows no leader.
    ///
    /// A commit index that lags behind the applied or compacted index is raised to it, and a
    /// term that lags behind the last entry's is raised without a vote: both may be left by a
    /// crash between two writes of one batch.
    ///
    /// # Errors
    /// The settings make no sense, or what was restored contradicts itself: entries that must
    /// be durable are missing.
    pub fn new(config: Config, restored: Restored) -> Result<Self, RestoreError> {
        let Restored { hard_state, mut conf, first, entries, applied } = restored;
        validate::config(&config)?;
        validate::restored(&hard_state, first, &entries, applied)?;
        let commit = hard_state.commit.max(applied).max(first.index);
        let log = Log::new(first, entries, commit, applied);
        let (term, vote) = match log.last().term {
            last_term if last_term > hard_state.term => (last_term, NodeId::NONE),
            _ => (hard_state.term, hard_state.vote),
        };
        conf.normalize();
        let mut raft = Self {
            id: config.id,
            config,
            rng: Rng::new(config.seed, config.id.0),
            term,
            vote,
            log,
            role: Role::Follower,
            leader: NodeId::NONE,
            conf,
            overtaken_conf: None,
            progress: BTreeMap::new(),
            election_elapsed: 0,
            heartbeat_elapsed: 0,
            election_timeout: 0,
            votes: BTreeMap::new(),
            transferee: NodeId::NONE,
            is_stall_transfer: false,
            leaving: None,
            pending_conf_index: Index::ZERO,
            uncommitted_bytes: 0,
            reads: ReadOnly::default(),
            messages: Vec::new(),
            messages_after_sync: Vec::new(),
            read_states: Vec::new(),
            notices: Vec::new(),
            ready_number: 0,
            last_hard_state: hard_state,
            last_soft_state: SoftState::default(),
            durable_hard_state: hard_state,
            writes_in_flight: VecDeque::new(),
            ticks: 0,
        };
        raft.reset_progress();
        raft.become_follower(term, NodeId::NONE);
        raft.notice_start();
        Ok(raft)
    }

    /// Processes a message from another node. Messages that are merely out of date are ignored,
    /// as are responses from nodes that are not members.
    ///
    /// # Errors
    /// The message was refused; see [`StepError`] for what that means and
    /// [`StepError::is_fatal`] for the cases in which the node must not go on.
    pub fn step(&mut self, message: Message) -> Result<(), StepError> {
        validate::message(&message, self.id)?;
        let Message { to: _, from, term, body } = message;
        if is_response(&body) && !self.progress.contains_key(&from) {
            return Ok(());
        }
        // Forwarded requests carry no term.
        if term != Term::ZERO && !self.admit(from, term, &body) {
            return Ok(());
        }
        self.dispatch(from, term, body)
    }

    /// Proposes payloads, to be appended together or not at all. That they are taken does not
    /// mean that they will be committed: the only proof of that is [`Ready::committed`].
    ///
    /// [`Ready::committed`]: crate::Ready::committed
    ///
    /// # Errors
    /// Nothing was appended or forwarded.
    pub fn propose(&mut self, payloads: Vec<Bytes>) -> Result<(), ProposalDropped> {
        let entries = payloads.into_iter().map(|data| (EntryKind::Normal, data)).collect();
        self.propose_entries(self.id, entries)
    }

    /// Proposes a membership change. If another one may still be pending, the leader appends an
    /// empty entry in its place.
    ///
    /// # Errors
    /// Nothing was appended or forwarded.
    pub fn propose_conf_change(&mut self, data: Bytes) -> Result<(), ProposalDropped> {
        self.propose_entries(self.id, vec![(EntryKind::ConfChange, data)])
    }

    /// Forgets the log up to `to`, which must have been applied and be contained in a snapshot
    /// or in the durable state of the state machine. A follower that still needs those entries
    /// gets a snapshot.
    ///
    /// # Panics
    /// If `to` has not been applied.
    pub fn compact(&mut self, to: Index) {
        self.log.compact(to);
    }

    /// Reports that the state machine has applied the log up to `index`. News that are older
    /// than what is known are ignored. Until it is called, no more than
    /// [`Config::max_committed_bytes_per_ready`] are handed out.
    ///
    /// # Panics
    /// If `index` was not handed out in [`Ready::committed`](crate::Ready::committed).
    pub fn set_applied(&mut self, index: Index) {
        self.log.applied_to(index);
    }

    /// Returns the leader that the node knows of, or [`NodeId::NONE`].
    #[must_use]
    pub fn leader(&self) -> NodeId {
        self.leader
    }

    /// Returns the node's term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// Returns the part that the node plays in its term.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns the highest index known to be committed.
    #[must_use]
    pub fn commit(&self) -> Index {
        self.log.commit()
    }

    /// Returns the members that count now: those as of the last membership change that was
    /// applied or the last snapshot that was received.
    #[must_use]
    pub fn conf(&self) -> &ConfState {
        &self.conf
    }

    /// Returns the first index that the log holds, or would hold: the one after what was
    /// compacted.
    #[must_use]
    pub fn first_index(&self) -> Index {
        self.log.first_index()
    }

    /// Returns the last entry of the log.
    #[must_use]
    pub fn last_entry(&self) -> EntryId {
        self.log.last()
    }

    /// Returns the term of the entry at `index`, if the log holds it or has just compacted it.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term(index)
    }

    /// Returns entries of the log from `from` on, at least one if there is one, then up to
    /// `max_bytes`. What was compacted is skipped.
    #[must_use]
    pub fn entries_from(&self, from: Index, max_bytes: u64) -> Vec<Entry> {
        self.log.slice(from.max(self.log.first_index()), max_bytes)
    }

    /// Iterates over the membership changes in the log that are not applied, committed or not.
    pub fn unapplied_conf_changes(&self) -> impl Iterator<Item = &Entry> {
        self.log.conf_changes(self.log.applied(), self.log.last_index())
    }

    pub(crate) fn send(&mut self, to: NodeId, body: Body) {
        self.messages.push(Message { to, from: self.id, term: self.term, body });
    }

    pub(crate) fn send_after_sync(&mut self, to: NodeId, term: Term, body: Body) {
        self.messages_after_sync.push(Message { to, from: self.id, term, body });
    }

    /// Applies the rules on terms. Returns false if that was all there was to do.
    fn admit(&mut self, from: NodeId, message_term: Term, body: &Body) -> bool {
        if message_term > self.term {
            return self.admit_later_term(from, message_term, body);
        }
        if message_term == self.term {
            return true;
        }
        match body {
            // A leader of the past will not hear that it is deposed if nobody answers it, and a
            // node that comes back with a later term could neither win nor be reached.
            Body::Append { .. } | Body::Heartbeat { .. } => {
                if self.config.check_quorum || self.config.pre_vote {
                    let body = Body::AppendResponse { index: Index::ZERO, reject: None };
                    self.send_after_sync(from, self.term, body);
                }
            }
            Body::PreVote { last_index, last_term } => {
                let last = EntryId { index: *last_index, term: *last_term };
                self.notice_vote(Poll::Pre, from, last, VoteAnswer::Rejected);
                self.send_after_sync(from, self.term, Body::PreVoteResponse { reject: true });
            }
            Body::AppendResponse { .. }
            | Body::HeartbeatResponse { .. }
            | Body::Vote { .. }
            | Body::VoteResponse { .. }
            | Body::PreVoteResponse { .. }
            | Body::Snapshot(_)
            | Body::Propose { .. }
            | Body::TransferLeader { .. }
            | Body::TimeoutNow
            | Body::ReadIndex { .. }
            | Body::ReadIndexResponse { .. } => {
                let (kind, term) = (kind_of(body), self.term);
                self.notice(Notice::EarlierTerm { kind, from, message_term, term });
            }
        }
        false
    }

    fn admit_later_term(&mut self, from: NodeId, term: Term, body: &Body) -> bool {
        match body {
            // Whoever has just heard from a leader does not help to depose it, unless the
            // leader itself asks for it.
            Body::Vote { transfer: false, last_index, last_term }
            | Body::PreVote { last_index, last_term }
                if self.is_in_lease() =>
            {
                let poll = if matches!(body, Body::Vote { .. }) { Poll::Real } else { Poll::Pre };
                let last = EntryId { index: *last_index, term: *last_term };
                let remaining_ticks = self.config.election_ticks - self.election_elapsed;
                self.notice_vote(poll, from, last, VoteAnswer::InLease { remaining_ticks });
                return false;
            }
            // A pre-vote is about a term that nobody has entered yet.
            Body::PreVote { .. } | Body::PreVoteResponse { reject: false } => {}
            Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot(_) => {
                self.notice_later_term(from, term, body);
                self.become_follower(term, from);
            }
            Body::AppendResponse { .. }
            | Body::HeartbeatResponse { .. }
            | Body::Vote { .. }
            | Body::VoteResponse { .. }
            | Body::PreVoteResponse { reject: true }
            | Body::Propose { .. }
            | Body::TransferLeader { .. }
            | Body::TimeoutNow
            | Body::ReadIndex { .. }
            | Body::ReadIndexResponse { .. } => {
                self.notice_later_term(from, term, body);
                self.become_follower(term, NodeId::NONE);
            }
        }
        true
    }

    fn dispatch(&mut self, from: NodeId, term: Term, body: Body) -> Result<(), StepError> {
        match body {
            Body::Append { prev_index, prev_term, entries, commit } => {
                self.follow(from)?;
                let prev = EntryId { index: prev_index, term: prev_term };
                self.handle_append(from, prev, entries, commit)
            }
            Body::Heartbeat { commit, context } => {
                self.follow(from)?;
                self.handle_heartbeat(from, commit, context)
            }
            Body::Snapshot(snapshot) => {
                self.follow(from)?;
                self.handle_snapshot(from, snapshot);
                Ok(())
            }
            Body::AppendResponse { index, reject } => {
                self.handle_append_response(from, index, reject)
            }
            Body::HeartbeatResponse { context } => {
                self.handle_heartbeat_response(from, &context);
                Ok(())
            }
            Body::Vote { last_index, last_term, transfer: _ } => {
                self.handle_vote(from, EntryId { index: last_index, term: last_term });
                Ok(())
            }
            Body::PreVote { last_index, last_term } => {
                self.handle_pre_vote(from, term, EntryId { index: last_index, term: last_term });
                Ok(())
            }
            Body::VoteResponse { reject } => {
                self.handle_vote_response(from, !reject);
                Ok(())
            }
            Body::PreVoteResponse { reject } => {
                self.handle_pre_vote_response(from, term, !reject);
                Ok(())
            }
            Body::Propose { entries } => {
                self.propose_entries(from, entries).map_err(StepError::ProposalDropped)
            }
            Body::TransferLeader { transferee } => {
                self.transfer_leader(transferee);
                Ok(())
            }
            Body::TimeoutNow => {
                self.handle_timeout_now(from);
                Ok(())
            }
            Body::ReadIndex { context } => self.handle_read_index(from, context),
            Body::ReadIndexResponse { index, context } => {
                self.handle_read_index_response(index, context);
                Ok(())
            }
        }
    }
}

/// Returns true for messages that only make sense if this node has asked for them.
fn is_response(body: &Body) -> bool {
    match body {
        Body::AppendResponse { .. }
        | Body::HeartbeatResponse { .. }
        | Body::VoteResponse { .. }
        | Body::PreVoteResponse { .. }
        | Body::ReadIndexResponse { .. } => true,
        Body::Append { .. }
        | Body::Heartbeat { .. }
        | Body::Vote { .. }
        | Body::PreVote { .. }
        | Body::Snapshot(_)
        | Body::Propose { .. }
        | Body::TransferLeader { .. }
        | Body::TimeoutNow
        | Body::ReadIndex { .. } => false,
    }
}
