//! Proposals: how payloads become entries of a leader's log.
//!
//! Not here: how entries get to the followers.

use bytes::Bytes;

use crate::raft::Raft;
use crate::status::Role;
use crate::{Body, Entry, EntryKind, Message, NodeId, ProposalDropped, Term};

impl Raft {
    /// Appends a batch on a leader, forwards it elsewhere. `from` is who proposed it first.
    pub(crate) fn propose_entries(
        &mut self,
        from: NodeId,
        entries: Vec<(EntryKind, Bytes)>,
    ) -> Result<(), ProposalDropped> {
        if entries.is_empty() {
            return Ok(());
        }
        if self.role != Role::Leader {
            if self.leader.is_none() {
                return Err(ProposalDropped::NoLeader);
            }
            let body = Body::Propose { entries };
            self.messages.push(Message { to: self.leader, from, term: Term::ZERO, body });
            return Ok(());
        }
        if self.leaving.is_some() {
            return Err(ProposalDropped::Removed);
        }
        if !self.transferee.is_none() {
            return Err(ProposalDropped::Transferring);
        }
        let bytes: u64 = entries.iter().map(|(_, data)| data.len() as u64).sum();
        let total = self.uncommitted_bytes.saturating_add(bytes);
        // With nothing waiting any size is taken, and what has no payload costs nothing.
        if self.uncommitted_bytes > 0 && bytes > 0 && total > self.config.max_uncommitted_bytes {
            return Err(ProposalDropped::Full);
        }
        self.uncommitted_bytes = total;
        for (kind, data) in entries {
            self.append_own(kind, data);
        }
        Ok(())
    }

    /// Appends one entry to the log of this leader. Followers get it with the next messages; it
    /// counts as this node's own copy once it is durable.
    pub(crate) fn append_own(&mut self, kind: EntryKind, data: Bytes) {
        let index = self.log.last_index().next();
        let mut entry = Entry { kind, term: self.term, index, data };
        match kind {
            EntryKind::Normal => {}
            EntryKind::ConfChange | EntryKind::ConfChangeV2 => {
                if self.pending_conf_index > self.log.applied() {
                    entry.kind = EntryKind::Normal;
                    entry.data = Bytes::new();
                } else {
                    self.pending_conf_index = index;
                }
            }
        }
        self.log.push(entry);
    }

    /// Gives back the room of entries that were committed.
    pub(crate) fn release_uncommitted(&mut self, entries: &[Entry]) {
        let bytes: u64 = entries.iter().map(|entry| entry.data.len() as u64).sum();
        // Entries of earlier terms were never charged.
        self.uncommitted_bytes = self.uncommitted_bytes.saturating_sub(bytes);
    }
}
