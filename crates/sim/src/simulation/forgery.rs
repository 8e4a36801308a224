//! What no member would send: from a cluster of another time, or from somebody who is no member.
//!
//! None of it may change anything.

use bytes::Bytes;
use prost::Message as _;
use quoin_api::etcdserverpb::{InternalRaftRequest, PutRequest};
use quoin_node::wire;
use quoin_raft::{Body, ConfState, Index, Message, Snapshot, SnapshotMeta, Term};
use quoin_store::EntryData;

use super::post::Parcel;
use super::{Happening, Note, Simulation};
use crate::check::Checked;
use crate::queue::MS;

/// Entries by which a forged state is ahead of what is committed, at most.
const AHEAD_MAX: u64 = 20;

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

/// An entry that nobody wrote.
fn stranger() -> Bytes {
    let (key, value) = (Bytes::from_static(b"stranger"), Bytes::from_static(b"data"));
    let put = Some(PutRequest { key, value, ..PutRequest::default() });
    Bytes::from(InternalRaftRequest { put, ..InternalRaftRequest::default() }.encode_to_vec())
}
