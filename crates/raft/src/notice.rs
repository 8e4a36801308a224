//! What happened to a node that an operator wants to read about: elections, votes, who was told what.
//!
//! They are values, because this crate writes no log. They change nothing, so whoever does not want
//! them may leave them: a node keeps at most [`NOTICES_MAX`] and drops what comes after.
//!
//! Not here: the texts, which are the server's.

use crate::raft::Raft;
use crate::status::Role;
use crate::{Body, EntryId, Index, NodeId, Term};

/// Notices that are kept for who takes them. A turn makes a handful; only a flood of messages with
/// terms that have passed makes more, and nobody misses the rest of that.
pub const NOTICES_MAX: usize = 256;

/// Something that happened to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The node began, as a follower in this term.
    Started {
        /// The members as of the entries that were applied.
        peers: Vec<NodeId>,
        /// The term it restored.
        term: Term,
        /// The highest index it knows to be committed.
        commit: Index,
        /// The highest index that is applied.
        applied: Index,
        /// The last entry of its log.
        last: EntryId,
    },
    /// It campaigns, or asks first whether it should; the term is the one before.
    ElectionStarted {
        /// The term in which nobody led.
        term: Term,
    },
    /// It plays another part, or the same part in another term.
    Became {
        /// The part.
        role: Role,
        /// Its term.
        term: Term,
    },
    /// It asked for a vote.
    VoteRequested {
        /// What was asked.
        poll: Poll,
        /// Who was asked.
        to: NodeId,
        /// The last entry of its log.
        last: EntryId,
        /// Its term.
        term: Term,
    },
    /// It got an answer to such a request, its own included.
    VoteReceived {
        /// What was asked.
        poll: Poll,
        /// Who answered.
        from: NodeId,
        /// Whether the vote is for this node.
        granted: bool,
        /// Its term.
        term: Term,
    },
    /// It counted the answers.
    VotesCounted {
        /// What was asked.
        poll: Poll,
        /// Votes for this node.
        granted: usize,
        /// Votes against it.
        rejected: usize,
    },
    /// Another node asked for its vote.
    VoteAnswered {
        /// What was asked.
        poll: Poll,
        /// What it answered.
        answer: VoteAnswer,
        /// Who asked.
        candidate: NodeId,
        /// The last entry of the candidate's log.
        candidate_last: EntryId,
        /// The last entry of its own log.
        last: EntryId,
        /// Whom it had voted for, or none.
        vote: NodeId,
        /// Its term.
        term: Term,
    },
    /// A message told it that its term has passed.
    LaterTerm {
        /// The message in etcd's words.
        kind: &'static str,
        /// Who sent it.
        from: NodeId,
        /// The term of the message.
        message_term: Term,
        /// The term it was in until then.
        term: Term,
    },
    /// A message from a term that has passed was dropped.
    EarlierTerm {
        /// The message in etcd's words.
        kind: &'static str,
        /// Who sent it.
        from: NodeId,
        /// The term of the message.
        message_term: Term,
        /// Its term.
        term: Term,
    },
    /// As the leader it has not heard of a majority, so it does not lead any more.
    QuorumLost,
    /// Other members count from now on.
    Configured {
        /// Those who vote.
        voters: Vec<NodeId>,
        /// Those who learn.
        learners: Vec<NodeId>,
    },
    /// As the leader it began to hand over.
    TransferStarted {
        /// To whom.
        to: NodeId,
        /// Its term.
        term: Term,
    },
    /// As the leader it takes no more proposals, because its disk hangs, and hands over.
    DiskStalled {
        /// To whom.
        to: NodeId,
        /// Its term.
        term: Term,
    },
    /// It told the next leader to campaign.
    TimeoutNowSent {
        /// The next leader.
        to: NodeId,
        /// Whether the next leader had the whole log from the start.
        at_once: bool,
    },
    /// The leader told it to campaign.
    TimeoutNowReceived {
        /// The leader.
        from: NodeId,
        /// Its term.
        term: Term,
    },
    /// A snapshot came from the leader.
    SnapshotReceived {
        /// Whether it is taken. If not, the log holds it already.
        taken: bool,
        /// The last entry that the snapshot contains.
        id: EntryId,
        /// The commit index afterwards.
        commit: Index,
    },
}

/// What a candidate asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Whether the other one would vote for it.
    Pre,
    /// For the vote.
    Real,
}

/// What became of a request for a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteAnswer {
    /// The candidate got it.
    Cast,
    /// The candidate did not get it.
    Rejected,
    /// There is a leader, which was heard of so recently that nobody should depose it.
    InLease {
        /// Ticks until that is long ago.
        remaining_ticks: u32,
    },
}

impl Raft {
    /// Returns what happened since the last call, in order.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        if self.notices.len() < NOTICES_MAX {
            self.notices.push(notice);
        }
    }

    /// Takes note of the answer to a request for a vote, before the vote is given.
    pub(crate) fn notice_vote(
        &mut self,
        poll: Poll,
        candidate: NodeId,
        candidate_last: EntryId,
        answer: VoteAnswer,
    ) {
        let (last, vote, term) = (self.log.last(), self.vote, self.term);
        let asked =
            Notice::VoteAnswered { poll, answer, candidate, candidate_last, last, vote, term };
        self.notice(asked);
    }

    /// Takes note of how the node began.
    pub(crate) fn notice_start(&mut self) {
        let peers = self.progress.keys().copied().collect();
        let (term, commit, applied) = (self.term, self.log.commit(), self.log.applied());
        let last = self.log.last();
        self.notice(Notice::Started { peers, term, commit, applied, last });
    }

    /// Takes note of a message by which the term of this node has passed.
    pub(crate) fn notice_later_term(&mut self, from: NodeId, message_term: Term, body: &Body) {
        let (kind, term) = (kind_of(body), self.term);
        self.notice(Notice::LaterTerm { kind, from, message_term, term });
    }

    /// Takes note of the members that count now.
    pub(crate) fn notice_conf(&mut self) {
        let (voters, learners) = (self.conf.voters.clone(), self.conf.learners.clone());
        self.notice(Notice::Configured { voters, learners });
    }
}

/// Returns the name that etcd gives to a kind of message.
pub(crate) fn kind_of(body: &Body) -> &'static str {
    match body {
        Body::Append { .. } => "MsgApp",
        Body::AppendResponse { .. } => "MsgAppResp",
        Body::Heartbeat { .. } => "MsgHeartbeat",
        Body::HeartbeatResponse { .. } => "MsgHeartbeatResp",
        Body::Vote { .. } => "MsgVote",
        Body::VoteResponse { .. } => "MsgVoteResp",
        Body::PreVote { .. } => "MsgPreVote",
        Body::PreVoteResponse { .. } => "MsgPreVoteResp",
        Body::Snapshot(_) => "MsgSnap",
        Body::Propose { .. } => "MsgProp",
        Body::TransferLeader { .. } => "MsgTransferLeader",
        Body::TimeoutNow => "MsgTimeoutNow",
        Body::ReadIndex { .. } => "MsgReadIndex",
        Body::ReadIndexResponse { .. } => "MsgReadIndexResp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConfState, Config, Message, Restored};

    const ID: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);

    fn raft() -> Raft {
        let config = Config {
            id: ID,
            election_ticks: 10,
            heartbeat_ticks: 1,
            max_size_per_message: 1 << 20,
            max_inflight_messages: 256,
            max_committed_bytes_per_ready: 1 << 20,
            max_uncommitted_bytes: 1 << 30,
            pre_vote: true,
            check_quorum: true,
            seed: 42,
        };
        let conf = ConfState { voters: vec![ID, OTHER], learners: vec![] };
        let restored = Restored { conf, ..Restored::default() };
        Raft::new(config, restored).expect("nothing contradicts itself")
    }

    fn step(raft: &mut Raft, term: u64, body: Body) {
        let message = Message { to: ID, from: OTHER, term: Term(term), body };
        raft.step(message).expect("the message is well formed");
    }

    #[test]
    fn a_start_and_a_lonely_campaign_are_told_in_order() {
        let mut raft = raft();
        let (term, last) = (Term::ZERO, EntryId { index: Index::ZERO, term: Term::ZERO });
        let peers = vec![ID, OTHER];
        let (commit, applied) = (Index::ZERO, Index::ZERO);
        assert_eq!(
            raft.take_notices(),
            [
                Notice::Became { role: Role::Follower, term },
                Notice::Started { peers, term, commit, applied, last },
            ]
        );
        raft.campaign();
        let poll = Poll::Pre;
        assert_eq!(
            raft.take_notices(),
            [
                Notice::ElectionStarted { term },
                Notice::Became { role: Role::PreCandidate, term },
                Notice::VoteRequested { poll, to: OTHER, last, term },
                Notice::VoteReceived { poll, from: ID, granted: true, term },
                Notice::VotesCounted { poll, granted: 1, rejected: 0 },
            ]
        );
        assert_eq!(raft.take_notices(), []);
    }

    #[test]
    fn appends_and_heartbeats_in_the_present_term_make_no_notices() {
        let mut raft = raft();
        step(&mut raft, 1, Body::Heartbeat { commit: Index::ZERO, context: Default::default() });
        raft.take_notices();
        for _ in 0..3 {
            step(
                &mut raft,
                1,
                Body::Heartbeat { commit: Index::ZERO, context: Default::default() },
            );
        }
        assert_eq!(raft.take_notices(), []);
    }

    #[test]
    fn a_flood_of_old_messages_takes_no_memory() {
        let mut raft = raft();
        step(&mut raft, 5, Body::Heartbeat { commit: Index::ZERO, context: Default::default() });
        for _ in 0..10 * NOTICES_MAX {
            step(&mut raft, 3, Body::VoteResponse { reject: true });
        }
        assert_eq!(raft.take_notices().len(), NOTICES_MAX);
    }
}
