//! A driver for one node, as small as a driver can be: storage that can lose what was not
//! synced, a state machine that is a hash, and a mailbox.

use std::collections::VecDeque;

use bytes::Bytes;
use quoin_raft::{
    Body, ConfChange, ConfChangeKind, ConfState, Config, Entry, EntryId, EntryKind, HardState,
    Index, Message, NodeId, Raft, ReadState, Ready, Restored, Snapshot, SnapshotMeta, SoftState,
    Term,
};

pub(crate) fn config(id: u64) -> Config {
    Config {
        id: NodeId(id),
        election_ticks: 10,
        heartbeat_ticks: 1,
        max_size_per_message: 1 << 20,
        max_inflight_messages: 16,
        max_committed_bytes_per_ready: 1 << 20,
        max_uncommitted_bytes: 1 << 20,
        pre_vote: true,
        check_quorum: true,
        seed: 1,
    }
}

/// The state machine: the last applied entry, a hash over all applied entries, the members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct App {
    pub(crate) applied: EntryId,
    pub(crate) hash: u64,
    pub(crate) conf: ConfState,
}

impl App {
    fn apply(&mut self, entry: &Entry) {
        assert_eq!(entry.index, self.applied.index + 1, "entries are applied in order, once");
        self.applied = entry.id();
        let kind = [entry.kind as u8];
        for byte in kind.iter().chain(&entry.term.0.to_le_bytes()).chain(&*entry.data) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.hash = self.hash.rotate_left(7);
    }

    fn to_snapshot(&self) -> Snapshot {
        let EntryId { index, term } = self.applied;
        let meta = SnapshotMeta { index, term, conf: self.conf.clone() };
        Snapshot { meta, data: Bytes::copy_from_slice(&self.hash.to_le_bytes()) }
    }

    fn from_snapshot(snapshot: &Snapshot) -> Self {
        let hash = u64::from_le_bytes(snapshot.data[..].try_into().expect("eight bytes"));
        Self { applied: snapshot.meta.id(), hash, conf: snapshot.meta.conf.clone() }
    }
}

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    /// Written without a sync: a crash may lose it.
    pub(crate) unsynced: Option<HardState>,
    pub(crate) first: EntryId,
    pub(crate) entries: Vec<Entry>,
    pub(crate) checkpoint: App,
}

impl Disk {
    pub(crate) fn write_snapshot(&mut self, snapshot: &Snapshot) {
        self.first = snapshot.meta.id();
        self.entries.clear();
        self.checkpoint = App::from_snapshot(snapshot);
    }

    pub(crate) fn write_entry(&mut self, entry: &Entry) {
        let offset = (entry.index - (self.first.index + 1)) as usize;
        assert!(offset <= self.entries.len(), "a write leaves no gap");
        self.entries.truncate(offset);
        self.entries.push(entry.clone());
    }

    fn write(&mut self, ready: &Ready) {
        if let Some(snapshot) = &ready.snapshot {
            self.write_snapshot(snapshot);
        }
        ready.entries.iter().for_each(|entry| self.write_entry(entry));
        self.unsynced = ready.hard_state.or(self.unsynced);
        if ready.must_sync {
            self.sync();
        }
    }

    pub(crate) fn sync(&mut self) {
        self.hard_state = self.unsynced.take().unwrap_or(self.hard_state);
    }

    fn compact(&mut self, to: Index) {
        while let Some(entry) = self.entries.first().filter(|entry| entry.index <= to) {
            self.first = entry.id();
            self.entries.remove(0);
        }
    }

    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index <= self.first.index {
            return (index == self.first.index).then_some(self.first.term);
        }
        let offset = index - self.first.index - 1;
        self.entries.get(offset as usize).map(|entry| entry.term)
    }

    fn restored(&self) -> Restored {
        Restored {
            hard_state: self.hard_state,
            conf: self.checkpoint.conf.clone(),
            first: self.first,
            entries: self.entries.clone(),
            applied: self.checkpoint.applied.index,
        }
    }
}

/// A node with everything around it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) config: Config,
    pub(crate) raft: Raft,
    pub(crate) disk: Disk,
    pub(crate) app: App,
    /// Readys that are not durable yet.
    pub(crate) writes: VecDeque<Ready>,
    pub(crate) to_apply: VecDeque<Entry>,
    pub(crate) outbox: Vec<Message>,
    pub(crate) reads: Vec<ReadState>,
    pub(crate) soft_states: Vec<SoftState>,
    /// The application refuses changes that leave fewer voters.
    pub(crate) min_voters: usize,
}

impl Member {
    /// Starts a member of a new group, or with an empty configuration one that is to join.
    pub(crate) fn new(config: Config, conf: ConfState) -> Self {
        let app = App { conf, ..App::default() };
        let disk = Disk { checkpoint: app.clone(), ..Disk::default() };
        let raft = Raft::new(config, disk.restored()).expect("an empty disk is consistent");
        Self {
            config,
            raft,
            disk,
            app,
            writes: VecDeque::new(),
            to_apply: VecDeque::new(),
            outbox: Vec::new(),
            reads: Vec::new(),
            soft_states: Vec::new(),
            min_voters: 1,
        }
    }

    /// Loses everything but the disk, where up to `kept` pieces of the writes in flight have
    /// arrived, and starts again.
    pub(crate) fn crash(&mut self, kept: usize) {
        let mut left = kept;
        let mut arrives = || {
            left = left.saturating_sub(1);
            left > 0
        };
        'writes: for ready in &self.writes {
            if let Some(snapshot) = &ready.snapshot {
                if !arrives() {
                    break;
                }
                self.disk.write_snapshot(snapshot);
            }
            for entry in &ready.entries {
                if !arrives() {
                    break 'writes;
                }
                self.disk.write_entry(entry);
            }
            if !arrives() {
                break;
            }
            self.disk.unsynced = ready.hard_state.or(self.disk.unsynced);
            self.disk.sync();
        }
        self.restart();
    }

    /// Loses everything but the disk and starts again.
    pub(crate) fn restart(&mut self) {
        self.disk.unsynced = None;
        let raft = Raft::new(self.config, self.disk.restored());
        let raft = raft.unwrap_or_else(|error| panic!("{}: {error}", self.config.id));
        self.app = self.disk.checkpoint.clone();
        self.raft = raft;
        self.writes.clear();
        self.to_apply.clear();
        self.outbox.clear();
        self.reads.clear();
        self.soft_states.clear();
    }

    /// Takes all Readys. What need not wait for storage happens at once.
    pub(crate) fn drive(&mut self) {
        while let Some(mut ready) = self.raft.ready() {
            assert!(ready.must_sync || ready.entries.is_empty());
            for mut message in ready.messages.drain(..) {
                if let Body::Snapshot(snapshot) = &mut message.body {
                    // A driver sends what it has, which may be later than what was asked for.
                    *snapshot = self.app.to_snapshot();
                }
                self.outbox.push(message);
            }
            self.to_apply.extend(ready.committed.drain(..));
            self.reads.append(&mut ready.read_states);
            self.soft_states.extend(ready.soft_state);
            self.writes.push_back(ready);
            while self.writes.front().is_some_and(|ready| !ready.must_sync) {
                self.persist();
            }
        }
    }

    /// Makes the oldest write durable. Returns false if there is none.
    pub(crate) fn persist(&mut self) -> bool {
        let Some(mut ready) = self.writes.pop_front() else { return false };
        self.disk.write(&ready);
        if let Some(snapshot) = &ready.snapshot {
            self.app = App::from_snapshot(snapshot);
            self.to_apply.clear();
        }
        self.outbox.append(&mut ready.messages_after_sync);
        self.raft.persisted(ready.number);
        true
    }

    /// Applies the next committed entry, if there is one.
    pub(crate) fn apply(&mut self) -> Option<Entry> {
        let entry = self.to_apply.pop_front()?;
        self.app.apply(&entry);
        if entry.kind == EntryKind::ConfChange {
            let mut change = decode_conf_change(&entry.data);
            let keeps = change.kind == ConfChangeKind::AddVoter
                || change.kind == ConfChangeKind::Update
                || !self.app.conf.is_voter(change.node);
            if !keeps && self.app.conf.voters.len() <= self.min_voters {
                change.node = NodeId::NONE;
            }
            self.app.conf = self.raft.apply_conf_change(change);
        }
        self.raft.set_applied(entry.index);
        Some(entry)
    }

    /// Saves the state machine and forgets the log up to `to`.
    pub(crate) fn checkpoint(&mut self, to: Index) {
        self.disk.checkpoint = self.app.clone();
        self.disk.compact(to);
        self.raft.compact(to);
    }
}

pub(crate) fn encode_conf_change(kind: ConfChangeKind, node: u64) -> Bytes {
    Bytes::copy_from_slice(&[kind as u8, node as u8])
}

pub(crate) fn decode_conf_change(data: &[u8]) -> ConfChange {
    let kind = match data[0] {
        0 => ConfChangeKind::AddVoter,
        1 => ConfChangeKind::Remove,
        2 => ConfChangeKind::Update,
        3 => ConfChangeKind::AddLearner,
        other => panic!("unknown change {other}"),
    };
    ConfChange { kind, node: NodeId(u64::from(data[1])) }
}

pub(crate) fn conf(voters: &[u64], learners: &[u64]) -> ConfState {
    let nodes = |ids: &[u64]| ids.iter().map(|&id| NodeId(id)).collect();
    ConfState { voters: nodes(voters), learners: nodes(learners) }
}
