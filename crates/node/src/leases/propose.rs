//! What the lessor puts into the log: ends of leases, checkpoints, and their taking back.
//!
//! A leader knows at which index it appended, and an entry of its term at that index is its own,
//! so an entry that is applied finds what was waiting for it without an ID.

use bytes::Bytes;
use prost::Message as _;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::{
    InternalRaftRequest, LeaseCheckpoint, LeaseCheckpointRequest, LeaseRevokeRequest, RequestHeader,
};
use quoin_raft::Index;
use quoin_store::Applied;

use super::{CHECKPOINTS_SINCE, Confirmation, Reader};
use crate::node::Node;

/// Ends of leases that may be proposed and not applied.
const ENDS_MAX: usize = 512;
/// Keys of the leases among them. One lease may have more, but then it ends alone.
const ENDING_KEYS_MAX: usize = 4096;
/// Leases in one checkpoint, as in etcd.
const CHECKPOINT_LEASES_MAX: usize = 1000;

impl<W> Node<W> {
    /// Proposes what is due about leases. Whatever is refused is due again with the next tick.
    pub(crate) fn propose_for_leases(&mut self) {
        self.check_leadership();
        self.serve_lists();
        if self.leases.lessor.is_none() || self.now < self.leases.pause_until {
            return;
        }
        self.propose_clearing();
        self.propose_checkpoint();
        match self.leases.confirmation {
            Confirmation::None => self.ask_confirmation(),
            Confirmation::Asked => {}
            Confirmation::Given => {
                self.leases.confirmation = Confirmation::None;
                self.propose_ends();
            }
        }
    }

    /// Asks whether this node still leads, if there are leases to end and room for them.
    fn ask_confirmation(&mut self) {
        let Some((term, lessor)) = &self.leases.lessor else { return };
        let Some(first) = lessor.expired(self.now).next() else { return };
        if !self.has_room_for(self.key_count(first)) {
            return;
        }
        self.leases.confirmation = Confirmation::Asked;
        self.push_read(Reader::Lessor(*term));
    }

    fn key_count(&self, id: i64) -> usize {
        self.store.lease(id).map_or(0, |lease| lease.key_count())
    }

    fn has_room_for(&self, keys: usize) -> bool {
        let leases = &self.leases;
        let fits = leases.ending_keys.saturating_add(keys) <= ENDING_KEYS_MAX;
        leases.ends.is_empty() || (leases.ends.len() < ENDS_MAX && fits)
    }

    /// Proposes the ends of leases, the one that is due longest first, as far as there is room.
    fn propose_ends(&mut self) {
        let Some((_, lessor)) = &self.leases.lessor else { return };
        let room = ENDS_MAX - self.leases.ends.len();
        let mut keys = self.leases.ending_keys;
        let mut batch = Vec::new();
        for id in lessor.expired(self.now).take(room) {
            let more = self.key_count(id);
            let is_first = batch.is_empty() && self.leases.ends.is_empty();
            if !is_first && keys.saturating_add(more) > ENDING_KEYS_MAX {
                break;
            }
            keys = keys.saturating_add(more);
            batch.push((id, more));
        }
        let entries = batch.iter().map(|(id, _)| {
            let lease_revoke = Some(LeaseRevokeRequest { id: *id });
            entry(InternalRaftRequest { lease_revoke, ..InternalRaftRequest::default() })
        });
        let Some(first) = self.propose_here(entries.collect()) else { return };
        self.leases.ending_keys = keys;
        let Some((_, lessor)) = &mut self.leases.lessor else { return };
        for (offset, (id, keys)) in (0..).zip(batch) {
            lessor.ending(id);
            self.leases.ends.push_back((Index(first.0 + offset), id, keys));
        }
    }

    /// Puts what is left of some leases into the log. One such entry is under way at a time, which
    /// bounds what checkpoints cost however many leases there are.
    fn propose_checkpoint(&mut self) {
        if !self.options.lease_checkpoints {
            return;
        }
        let known = self.store.membership().version();
        if self.leases.checkpoint.is_some() || known.is_none_or(|at| at < CHECKPOINTS_SINCE) {
            return;
        }
        let Some((_, lessor)) = &mut self.leases.lessor else { return };
        if !lessor.wants_checkpoint(self.now) {
            return;
        }
        let taken = lessor.take_checkpoints(self.now, CHECKPOINT_LEASES_MAX);
        if taken.is_empty() {
            return;
        }
        let proposed = self.propose_here(vec![checkpoint_entry(&taken)]);
        self.leases.checkpoint = proposed;
        if let (Some(index), Some((_, lessor))) = (proposed, &mut self.leases.lessor) {
            lessor.checkpoint_proposed(&taken, index.0);
        }
    }

    /// Takes back what the log says is left of leases that were renewed.
    fn propose_clearing(&mut self) {
        if self.leases.to_clear.is_empty() {
            return;
        }
        let mut ids: Vec<_> = self.leases.to_clear.iter().map(|parked| (parked.id, 0)).collect();
        ids.sort_unstable();
        ids.dedup();
        let entries: Vec<Bytes> = ids.chunks(CHECKPOINT_LEASES_MAX).map(checkpoint_entry).collect();
        let last = entries.len() as u64 - 1;
        if let Some(first) = self.propose_here(entries) {
            let parked = std::mem::take(&mut self.leases.to_clear);
            self.leases.clearing.push_back((Index(first.0 + last), parked));
        }
    }

    /// Appends entries to the log of this leader, never to another's. Returns the index of the
    /// first, or nothing if they were refused, and then pauses for a tick.
    fn propose_here(&mut self, entries: Vec<Bytes>) -> Option<Index> {
        let count = entries.len() as u64;
        self.check_leadership();
        self.leases.lessor.as_ref()?;
        if count == 0 {
            return None;
        }
        if self.raft.propose(entries).is_err() {
            self.leases.pause_until = self.now.saturating_add(1);
            return None;
        }
        Some(Index(self.raft.last_entry().index.0 + 1 - count))
    }

    /// Finds what waited for an entry of this leader that is applied now.
    pub(super) fn settle_proposal(&mut self, index: Index, applied: &Applied) {
        if self.leases.checkpoint == Some(index) {
            self.leases.checkpoint = None;
        }
        if self.leases.ends.front().is_some_and(|(at, _, _)| *at == index)
            && let Some((_, id, keys)) = self.leases.ends.pop_front()
        {
            self.leases.ending_keys -= keys;
            self.settle_end(id, applied);
        }
        if self.leases.clearing.front().is_some_and(|(at, _)| *at == index)
            && let Some((_, parked)) = self.leases.clearing.pop_front()
        {
            self.leases.parked -= parked.len();
            for renewal in parked {
                self.renew(renewal);
            }
        }
    }

    /// A lease whose end was refused, which an alarm may do, is due again after a while.
    fn settle_end(&mut self, id: i64, applied: &Applied) {
        let now = self.now;
        let Some((_, lessor)) = &mut self.leases.lessor else { return };
        match &applied.result {
            Ok(_) => self.counts.leases_expired += 1,
            Err(Error::LeaseNotFound) => {}
            Err(_) => lessor.refused(id, now),
        }
    }
}

fn checkpoint_entry(left: &[(i64, i64)]) -> Bytes {
    let checkpoint =
        |(id, left_s): &(i64, i64)| LeaseCheckpoint { id: *id, remaining_ttl: *left_s };
    let checkpoints = left.iter().map(checkpoint).collect();
    let lease_checkpoint = Some(LeaseCheckpointRequest { checkpoints });
    entry(InternalRaftRequest { lease_checkpoint, ..InternalRaftRequest::default() })
}

/// Encodes a request that nobody waits for by its ID. etcd insists on a header all the same.
fn entry(request: InternalRaftRequest) -> Bytes {
    let header = Some(RequestHeader::default());
    Bytes::from(InternalRaftRequest { header, ..request }.encode_to_vec())
}
