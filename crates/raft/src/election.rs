//! Who leads: ticks, campaigns, votes, and changes of role.
//!
//! Invariants:
//! - A vote counts, for this node as for others, only once it is durable: a candidate counts
//!   its own vote when storage has acknowledged it, and asks for votes not before that either.
//!   Otherwise a candidate that forgets its campaign in a crash, and part of its log with it,
//!   could win with votes that were given to the longer log.
//! - Pre-votes change no state, so they need no storage.
//!
//! Not here: what a leader does with its followers.

use bytes::Bytes;

use crate::notice::{Notice, Poll, VoteAnswer};
use crate::progress::Progress;
use crate::quorum::{self, VoteResult};
use crate::raft::Raft;
use crate::status::Role;
use crate::{Body, EntryId, EntryKind, NodeId, StepError, Term, validate};

/// Why a node campaigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Campaign {
    /// It asks whether it would win.
    Pre,
    /// It has waited long enough.
    Real,
    /// The leader told it to.
    Transfer,
}

impl Raft {
    /// Advances the node's clock by one tick.
    pub fn tick(&mut self) {
        self.ticks = self.ticks.saturating_add(1);
        self.election_elapsed = self.election_elapsed.saturating_add(1);
        match self.role {
            Role::Leader => self.tick_leader(),
            Role::Follower | Role::PreCandidate | Role::Candidate => {
                if self.is_promotable() && self.election_elapsed >= self.election_timeout {
                    self.election_elapsed = 0;
                    self.campaign();
                }
            }
        }
    }

    /// Starts an election (or asks for one, with pre-vote), unless this node leads already, is
    /// no voter, has a membership change to apply first, or a disk that hangs. A group of one voter elects its
    /// leader as soon as the campaign is durable.
    pub fn campaign(&mut self) {
        self.start_campaign(if self.config.pre_vote { Campaign::Pre } else { Campaign::Real });
    }

    /// Asks the leader to hand over to a voter, or hands over if this node leads. The leader
    /// takes no proposals until that has happened or `election_ticks` have passed. Without a
    /// leader, or with another voter than a voter, nothing happens.
    pub fn transfer_leader(&mut self, to: NodeId) {
        if self.role != Role::Leader {
            if !self.leader.is_none() {
                self.send(self.leader, Body::TransferLeader { transferee: to });
            }
            return;
        }
        if !self.conf.is_voter(to) || self.leaving.is_some() || self.transferee == to {
            return;
        }
        self.transferee = NodeId::NONE;
        self.is_stall_transfer = false;
        if to == self.id {
            return;
        }
        self.election_elapsed = 0;
        self.transferee = to;
        self.notice(Notice::TransferStarted { to, term: self.term });
        self.hand_over_if_caught_up(to, true);
    }

    /// Tells the transferee to campaign as soon as it holds everything this leader holds.
    pub(crate) fn hand_over_if_caught_up(&mut self, node: NodeId, at_once: bool) {
        let Some(progress) = self.progress.get(&node) else { return };
        if self.transferee == node && progress.matched == self.log.last_index() {
            self.notice(Notice::TimeoutNowSent { to: node, at_once });
            self.send(node, Body::TimeoutNow);
        }
    }

    /// Enters a term, or starts over in the present one, as a follower.
    pub(crate) fn become_follower(&mut self, term: Term, leader: NodeId) {
        self.reset(term);
        self.role = Role::Follower;
        self.leader = leader;
        self.notice(Notice::Became { role: Role::Follower, term });
    }

    /// Acknowledges that `from` leads this term.
    pub(crate) fn follow(&mut self, from: NodeId) -> Result<(), StepError> {
        match self.role {
            Role::Leader => Err(StepError::Malformed("another node claims to lead this term")),
            Role::PreCandidate | Role::Candidate => {
                self.become_follower(self.term, from);
                Ok(())
            }
            Role::Follower => {
                self.election_elapsed = 0;
                self.leader = from;
                Ok(())
            }
        }
    }

    /// Returns true if a leader was heard of so recently that nobody should depose it.
    pub(crate) fn is_in_lease(&self) -> bool {
        self.config.check_quorum
            && !self.leader.is_none()
            && self.election_elapsed < self.config.election_ticks
    }

    /// Answers a request for this node's vote in its present term.
    pub(crate) fn handle_vote(&mut self, from: NodeId, last: EntryId) {
        let is_free = self.vote.is_none() && self.leader.is_none();
        let grant = (is_free || self.vote == from) && self.log.is_covered_by(last);
        self.notice_vote(Poll::Real, from, last, answer_of(grant));
        if grant {
            self.election_elapsed = 0;
            self.vote = from;
        }
        self.send_after_sync(from, self.term, Body::VoteResponse { reject: !grant });
    }

    /// Answers the question whether this node would vote for `from` in `term`. Learners answer,
    /// too: the candidate may know that they have been promoted before they know it themselves.
    pub(crate) fn handle_pre_vote(&mut self, from: NodeId, term: Term, last: EntryId) {
        let is_free = self.vote.is_none() && self.leader.is_none();
        let can_vote = term > self.term || is_free || self.vote == from;
        let grant = can_vote && self.log.is_covered_by(last);
        self.notice_vote(Poll::Pre, from, last, answer_of(grant));
        let term = if grant { term } else { self.term };
        self.send_after_sync(from, term, Body::PreVoteResponse { reject: !grant });
    }

    /// Takes the answer to a vote request of this term.
    pub(crate) fn handle_vote_response(&mut self, from: NodeId, granted: bool) {
        if self.role == Role::Candidate {
            self.poll(from, granted);
        }
    }

    /// Takes the answer to a pre-vote request.
    pub(crate) fn handle_pre_vote_response(&mut self, from: NodeId, term: Term, granted: bool) {
        let asked = if granted { self.term.next() } else { self.term };
        if self.role == Role::PreCandidate && term == asked {
            self.poll(from, granted);
        }
    }

    /// Campaigns because the leader said so. There is no need to ask first.
    pub(crate) fn handle_timeout_now(&mut self, from: NodeId) {
        if self.role == Role::Follower {
            self.notice(Notice::TimeoutNowReceived { from, term: self.term });
            self.start_campaign(Campaign::Transfer);
        }
    }

    /// Counts this candidate's vote for itself, now that it is durable.
    pub(crate) fn count_durable_vote(&mut self) {
        let durable = self.durable_hard_state;
        if self.role == Role::Candidate && durable.term == self.term && durable.vote == self.id {
            self.poll(self.id, true);
        }
    }

    /// Forgets what this node knows of the others' logs.
    pub(crate) fn reset_progress(&mut self) {
        let next = self.log.last_index().next();
        let max_inflight = self.config.max_inflight_messages;
        let voters = self.conf.voters.iter().map(|&node| (node, false));
        let learners = self.conf.learners.iter().map(|&node| (node, true));
        self.progress = voters
            .chain(learners)
            .map(|(node, is_learner)| (node, Progress::new(next, is_learner, max_inflight)))
            .collect();
    }

    fn is_promotable(&self) -> bool {
        self.conf.is_voter(self.id) && !self.log.is_installing() && !self.is_stalled()
    }

    fn start_campaign(&mut self, campaign: Campaign) {
        let can_campaign = self.role != Role::Leader
            && self.is_promotable()
            && !self.log.has_unapplied_conf_change()
            && self.term.0 < validate::LIMIT;
        if !can_campaign {
            return;
        }
        self.notice(Notice::ElectionStarted { term: self.term });
        match campaign {
            Campaign::Pre => self.ask_whether_to_campaign(),
            Campaign::Real => self.ask_for_votes(false),
            Campaign::Transfer => self.ask_for_votes(true),
        }
    }

    fn ask_whether_to_campaign(&mut self) {
        self.role = Role::PreCandidate;
        self.leader = NodeId::NONE;
        self.votes.clear();
        self.draw_election_timeout();
        self.notice(Notice::Became { role: self.role, term: self.term });
        let last = self.log.last();
        let EntryId { index: last_index, term: last_term } = last;
        for node in self.other_voters() {
            self.notice_request(Poll::Pre, node, last);
            let (from, term) = (self.id, self.term.next());
            let body = Body::PreVote { last_index, last_term };
            self.messages.push(crate::Message { to: node, from, term, body });
        }
        self.poll(self.id, true);
    }

    fn ask_for_votes(&mut self, transfer: bool) {
        self.reset(self.term.next());
        self.vote = self.id;
        self.role = Role::Candidate;
        self.notice(Notice::Became { role: self.role, term: self.term });
        let last = self.log.last();
        let EntryId { index: last_index, term: last_term } = last;
        for node in self.other_voters() {
            self.notice_request(Poll::Real, node, last);
            let body = Body::Vote { last_index, last_term, transfer };
            self.send_after_sync(node, self.term, body);
        }
    }

    /// Records the first answer of a node and acts when the election is decided.
    fn poll(&mut self, node: NodeId, granted: bool) {
        self.votes.entry(node).or_insert(granted);
        self.notice_answer(node, granted);
        let votes = &self.votes;
        match quorum::vote_result(&self.conf.voters, |voter| votes.get(&voter).copied()) {
            VoteResult::Pending => {}
            VoteResult::Lost => self.become_follower(self.term, NodeId::NONE),
            VoteResult::Won if self.role == Role::PreCandidate => self.ask_for_votes(false),
            VoteResult::Won => self.become_leader(),
        }
    }

    fn become_leader(&mut self) {
        assert_eq!(self.role, Role::Candidate, "only a candidate is elected");
        self.reset(self.term);
        self.role = Role::Leader;
        self.leader = self.id;
        self.acknowledge_own_log();
        // Entries of earlier terms are committed only together with one of this term. Whatever
        // membership changes are among them are applied before the next one is taken.
        self.append_own(EntryKind::Normal, Bytes::new());
        self.pending_conf_index = self.log.last_index();
        self.notice(Notice::Became { role: Role::Leader, term: self.term });
    }

    fn tick_leader(&mut self) {
        self.heartbeat_elapsed = self.heartbeat_elapsed.saturating_add(1);
        if self.election_elapsed >= self.config.election_ticks {
            self.election_elapsed = 0;
            self.transferee = NodeId::NONE;
            self.is_stall_transfer = false;
            if self.leaving.is_some() {
                self.resign();
            } else if self.config.check_quorum {
                self.check_quorum();
            }
        }
        if self.role == Role::Leader {
            self.hand_over_if_stalled();
        }
        if self.role == Role::Leader && self.heartbeat_elapsed >= self.config.heartbeat_ticks {
            self.heartbeat_elapsed = 0;
            self.broadcast_heartbeat();
        }
    }

    /// Steps down if no majority was heard of lately.
    fn check_quorum(&mut self) {
        let is_active = |node: NodeId| {
            Some(node == self.id || self.progress.get(&node).is_some_and(|it| it.recent_active))
        };
        if quorum::vote_result(&self.conf.voters, is_active) != VoteResult::Won {
            self.notice(Notice::QuorumLost);
            self.become_follower(self.term, NodeId::NONE);
        }
        for (&node, progress) in &mut self.progress {
            progress.recent_active = node == self.id;
        }
    }

    fn notice_request(&mut self, poll: Poll, to: NodeId, last: EntryId) {
        self.notice(Notice::VoteRequested { poll, to, last, term: self.term });
    }

    /// Takes note of an answer to this candidate and of how the count stands with it.
    fn notice_answer(&mut self, from: NodeId, granted: bool) {
        let poll = if self.role == Role::PreCandidate { Poll::Pre } else { Poll::Real };
        self.notice(Notice::VoteReceived { poll, from, granted, term: self.term });
        let granted = self.votes.values().filter(|granted| **granted).count();
        let rejected = self.votes.len() - granted;
        self.notice(Notice::VotesCounted { poll, granted, rejected });
    }

    fn reset(&mut self, term: Term) {
        if term != self.term {
            self.term = term;
            self.vote = NodeId::NONE;
        }
        self.leader = NodeId::NONE;
        self.election_elapsed = 0;
        self.heartbeat_elapsed = 0;
        self.draw_election_timeout();
        self.votes.clear();
        self.transferee = NodeId::NONE;
        self.is_stall_transfer = false;
        self.leaving = None;
        self.pending_conf_index = crate::Index::ZERO;
        self.uncommitted_bytes = 0;
        self.reads.reset();
        self.reset_progress();
    }

    fn draw_election_timeout(&mut self) {
        let shortest = self.config.election_ticks;
        self.election_timeout = shortest.saturating_add(self.rng.below(shortest));
    }

    fn other_voters(&self) -> Vec<NodeId> {
        self.conf.voters.iter().copied().filter(|&node| node != self.id).collect()
    }
}

fn answer_of(grant: bool) -> VoteAnswer {
    if grant { VoteAnswer::Cast } else { VoteAnswer::Rejected }
}
