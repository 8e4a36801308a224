//! What must be true of every run, seen from above: the checker knows all nodes and all disks.

use std::collections::BTreeMap;

use bytes::Bytes;
use quoin_raft::{Body, ConfState, Index, Message, NodeId, ReadState, Role, Term};

use crate::harness::{Disk, Member};

/// All that has ever been promised.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    leaders: BTreeMap<Term, NodeId>,
    /// Whom a node has voted for in a term.
    votes: BTreeMap<(NodeId, Term), NodeId>,
    /// The committed log.
    committed: BTreeMap<Index, Term>,
    /// The state after an index, the same everywhere.
    states: BTreeMap<Index, (u64, ConfState)>,
    /// What has been checked of each node.
    checked: BTreeMap<NodeId, Index>,
    /// The committed index when a read was requested.
    reads: Vec<Index>,
}

impl History {
    /// A node has crashed: it starts to prove itself again.
    pub(crate) fn forget(&mut self, id: u64) {
        self.checked.remove(&NodeId(id));
    }

    /// A message that promises something leaves only when its sender's disk can keep it.
    pub(crate) fn check_promise(&mut self, message: &Message, sender: &Member) {
        let Message { to, from, term, body } = message;
        let durable = sender.disk.hard_state;
        match body {
            Body::VoteResponse { reject: false } => {
                let vote = *self.votes.entry((*from, *term)).or_insert(*to);
                assert_eq!(vote, *to, "{from} votes twice in term {term}");
                assert!((durable.term, durable.vote) == (*term, *to) || durable.term > *term);
            }
            Body::Vote { .. } => {
                let vote = *self.votes.entry((*from, *term)).or_insert(*from);
                assert_eq!(vote, *from, "{from} votes twice in term {term}");
                assert!((durable.term, durable.vote) == (*term, *from) || durable.term > *term);
            }
            Body::AppendResponse { index, reject: None } => {
                assert!(durable.term >= *term);
                let held = *index <= sender.disk.first.index
                    || sender.disk.term_at(*index).is_some()
                    || durable.term > *term;
                assert!(held, "{from} acknowledges {index}, which is not on its disk");
            }
            Body::AppendResponse { .. }
            | Body::Append { .. }
            | Body::Heartbeat { .. }
            | Body::HeartbeatResponse { .. }
            | Body::VoteResponse { .. }
            | Body::PreVote { .. }
            | Body::PreVoteResponse { .. }
            | Body::Snapshot(_)
            | Body::Propose { .. }
            | Body::TransferLeader { .. }
            | Body::TimeoutNow
            | Body::ReadIndex { .. }
            | Body::ReadIndexResponse { .. } => {}
        }
    }

    /// A term has one leader, whose log holds all that is committed. Returns true for a new one.
    pub(crate) fn check_leader(&mut self, member: &Member) -> bool {
        let (id, term) = (member.config.id, member.raft.term());
        if member.raft.role() != Role::Leader {
            return false;
        }
        if let Some(&leader) = self.leaders.get(&term) {
            assert_eq!(leader, id, "two leaders in term {term}");
            return false;
        }
        self.leaders.insert(term, id);
        let first = member.raft.first_index();
        for (&index, &committed) in self.committed.range(first..) {
            let held = member.raft.term_at(index);
            assert_eq!(held, Some(committed), "leader {id} of term {term} lacks {index}");
        }
        true
    }

    /// What one node takes for committed is committed for all, and on the disks of a majority.
    /// Returns how many entries are newly committed.
    pub(crate) fn check_commit(&mut self, member: &Member, all: &BTreeMap<u64, Member>) -> u64 {
        let mut news = 0;
        let compacted = member.raft.first_index().prev();
        let checked = self.checked.entry(member.config.id).or_default();
        let mut index = compacted.max(*checked);
        while index < member.raft.commit() {
            index = index.next();
            let term = member.raft.term_at(index).expect("a committed entry is in the log");
            let committed = *self.committed.entry(index).or_insert_with(|| {
                news += 1;
                check_majority(member, index, term, all);
                term
            });
            assert_eq!(committed, term, "{} commits another entry {index}", member.config.id);
        }
        *checked = index;
        news
    }

    /// The same log gives the same state.
    pub(crate) fn check_applied(&mut self, member: &Member) {
        let app = &member.app;
        let state = || (app.hash, app.conf.clone());
        let (hash, conf) = self.states.entry(app.applied.index).or_insert_with(state);
        assert_eq!(*hash, app.hash, "{} differs at {:?}", member.config.id, app.applied);
        assert_eq!(*conf, app.conf, "{} differs at {:?}", member.config.id, app.applied);
    }

    /// Notes what a read that is requested now must reflect, and names the read.
    pub(crate) fn expect_read(&mut self) -> Bytes {
        self.reads.push(self.committed.keys().next_back().copied().unwrap_or_default());
        Bytes::copy_from_slice(&(self.reads.len() as u64 - 1).to_be_bytes())
    }

    /// A read reflects everything that was committed when it was requested.
    pub(crate) fn check_read(&self, read: &ReadState) {
        let number = u64::from_be_bytes(read.context[..].try_into().unwrap());
        let expected = self.reads[number as usize];
        assert!(read.index >= expected, "read at {}, but {expected} is committed", read.index);
    }
}

/// Logs that share an entry share everything before it.
pub(crate) fn logs_match(disks: &[&Disk]) {
    for (at, left) in disks.iter().enumerate() {
        for right in &disks[at + 1..] {
            let mut shared = false;
            for entry in left.entries.iter().rev() {
                let Some(term) = right.term_at(entry.index) else { continue };
                shared |= term == entry.term;
                assert!(!shared || term == entry.term, "logs part below a shared entry");
            }
        }
    }
}

/// Whoever commits first must be the leader, with copies on the disks of a majority.
fn check_majority(member: &Member, index: Index, term: Term, all: &BTreeMap<u64, Member>) {
    let voters = &member.raft.conf().voters;
    let holds = |node: &NodeId| {
        let disk = &all[&node.0].disk;
        index <= disk.first.index || disk.term_at(index) == Some(term)
    };
    let copies = voters.iter().filter(|node| holds(node)).count();
    let is_leader = member.raft.role() == Role::Leader;
    assert!(is_leader, "{} commits {index} before its leader", member.config.id);
    assert!(copies > voters.len() / 2, "{index} is committed with {copies} copies");
}
