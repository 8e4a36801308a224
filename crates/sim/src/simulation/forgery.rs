//! What no member would send: from a cluster of another time, or from somebody who is no member.
//!
//! None of it may change anything.

use bytes::Bytes;
use prost::Message as _;
use quoin_api::etcdserverpb::{InternalRaftRequest, PutRequest};
use quoin_node::wire;
use quoin_raft::{
    Body, ConfState, Entry, EntryKind, Index, Message, NodeId, Snapshot, SnapshotMeta, Term,
};
use quoin_store::EntryData;

use super::post::Parcel;
use super::{Happening, Note, Simulation};
use crate::check::Checked;
use crate::queue::MS;

/// Entries by which a forged state is ahead of what is committed, at most.
const AHEAD_MAX: u64 = 20;
/// Somebody who is no member.
const STRANGER: NodeId = NodeId(0xbad);

impl Simulation {
    /// Sends a member a state that has what is committed and some entries more that nobody wrote. Its
    /// message is of the first term, in which nobody leads.
    pub(super) fn send_stale_state(&mut self, victim: usize) -> Checked {
        let Some(process) = &self.members[victim].process else { return Ok(()) };
        let last = self.agreement.last();
        let is_over = process.node.status().term > Term(1);
        if self.members.len() == 1 || last == Index::ZERO || !is_over {
            return Ok(());
        }
        let mut store = self.agreement.replay(last.0, 0)?;
        let index = last.0 + self.misfortune.between(1, AHEAD_MAX);
        for index in last.0 + 1..=index {
            let data = stranger();
            let applied = store.apply(index, 1, EntryData::Normal(&data));
            applied.map_err(|fatal| fatal.to_string())?;
        }
        let voters = self.members.iter().map(|member| member.id).collect();
        let mut conf = ConfState { voters, learners: vec![] };
        conf.voters.sort_unstable();
        let ids = conf.voters.iter().map(|id| id.0).collect();
        let checkpoint = store.checkpoint(quoin_store::ConfState { voters: ids, learners: vec![] });
        let export = checkpoint.export().map_err(|error| error.to_string())?;
        let chunks =
            export.collect::<Result<Vec<Bytes>, _>>().map_err(|error| error.to_string())?;
        let from = (victim + self.misfortune.between(1, self.members.len() as u64 - 1) as usize)
            % self.members.len();
        let meta = SnapshotMeta { index: Index(index), term: Term(1), conf };
        let body = Body::Snapshot(Snapshot { meta, data: checkpoint.snap_file().v2_store });
        let (to, sender) = (self.members[victim].id, self.members[from].id);
        let message = Message { to, from: sender, term: Term(1), body };
        let header = Bytes::from(wire::encode(message).encode_to_vec());
        // The member whose name is on it does not know of it.
        let parcel = Parcel { from, from_life: u32::MAX, header, chunks, broken: false };
        self.note(Note::StaleState { member: victim, index });
        self.queue.push(self.now + MS, Happening::Delivery { to: victim, parcel });
        Ok(())
    }
}

impl Simulation {
    /// Sends a member a message of somebody who is no member.
    pub(super) fn send_as_stranger(&mut self, victim: usize) {
        let machine = &self.members[victim];
        let Some(process) = &machine.process else { return };
        let (raft, to) = (process.node.raft(), machine.id);
        let (last, commit) = (raft.last_entry(), raft.commit());
        let ahead = self.misfortune.between(0, 3);
        let term = Term(raft.term().0 + ahead);
        let next = last.index.next();
        let (kind, body) = match self.misfortune.between(0, 4) {
            0 => {
                // A log that goes on otherwise, and claims to be committed.
                let entry = Entry { term, index: next, data: stranger(), ..Entry::default() };
                let (prev_index, prev_term) = (last.index, last.term);
                let entries = vec![entry];
                ("append", Body::Append { prev_index, prev_term, entries, commit: next })
            }
            1 => ("heartbeat", Body::Heartbeat { commit: next, context: Bytes::new() }),
            2 => {
                let (last_index, last_term) = (next, term);
                ("vote", Body::Vote { last_index, last_term, transfer: true })
            }
            3 => ("timeout now", Body::TimeoutNow),
            _ => ("heartbeat", Body::Heartbeat { commit, context: Bytes::new() }),
        };
        let message = Message { to, from: STRANGER, term, body };
        self.note(Note::Stranger { member: victim, kind });
        self.arrive(victim, message);
    }

    /// Forwards a member a proposal that nobody can apply, in the name of another member.
    pub(super) fn send_bad_proposal(&mut self, victim: usize) {
        let members = self.members.len();
        if members == 1 {
            return;
        }
        let from = (victim + 1 + self.misfortune.below(members - 1)) % members;
        let entries = match self.misfortune.between(0, 2) {
            0 => vec![(EntryKind::Normal, Bytes::from_static(b"\xff\xff"))],
            1 => vec![(EntryKind::Normal, stranger()), (EntryKind::ConfChangeV2, Bytes::new())],
            _ => vec![(EntryKind::ConfChange, Bytes::from_static(b"\xff"))],
        };
        let body = Body::Propose { entries };
        let (to, from) = (self.members[victim].id, self.members[from].id);
        self.note(Note::BadProposal { member: victim });
        self.arrive(victim, Message { to, from, term: Term::ZERO, body });
    }

    fn arrive(&mut self, to: usize, message: Message) {
        let message = Bytes::from(wire::encode(message).encode_to_vec());
        self.queue.push(self.now + MS, Happening::Arrival { to, message });
    }
}

/// An entry that nobody wrote.
fn stranger() -> Bytes {
    let (key, value) = (Bytes::from_static(b"stranger"), Bytes::from_static(b"data"));
    let put = Some(PutRequest { key, value, ..PutRequest::default() });
    Bytes::from(InternalRaftRequest { put, ..InternalRaftRequest::default() }.encode_to_vec())
}
