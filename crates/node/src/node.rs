//! The node: inputs queue up, a turn answers them.
//!
//! A turn has two halves that share no state but the committed entries. The *consensus turn* hands
//! waiting proposals and reads to Raft and takes its `Ready`. The *apply turn* runs committed
//! entries through the store, publishes the view and answers who waited for them.
//!
//! Invariants:
//! - Replicated state changes only in the apply turn, in log order, each entry once.
//! - A client is answered about a write only after the entry is committed, durable here and
//!   applied; about a read only after leadership was confirmed for a round begun after it came.
//! - Everything that waits is bounded in number and has a deadline in ticks.
//! - A turn makes no reply that reads what is stored: who waits for it gets what it needs to make it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quoin_raft::{
    Body, Entry, EntryKind, Index, Message, NodeId, Notice, Raft, Ready, Role, Snapshot,
    SnapshotMeta, StepError, Term,
};
use quoin_store::{
    Applied, Checkpoint, CompactionHash, ConfState, EntryData, ReceivedId, Store, Tally, V2Changes,
    View, Written,
};

use crate::checkpoints::Checkpoints;
use crate::leases::{Leases, Reader};
use crate::lessor::{Clock, LeaseTime};
use crate::reads::Reads;
use crate::retention::Retention;
use crate::senders::Senders;
use crate::waiters::Waiters;
use crate::{LogWork, RequestIds};

/// Writes that may wait for their entry to be applied. Beyond, a proposal is refused at once.
const WRITES_WAITING_MAX: usize = 64 * 1024;
/// Bytes of proposals that may wait for a leader.
const PROPOSALS_BYTES_MAX: usize = 64 << 20;
/// Reads that may wait for a confirmation.
const READS_WAITING_MAX: usize = 256 * 1024;
/// Entries that may be committed and not applied before new proposals are refused, as in etcd.
const APPLY_LAG_MAX: u64 = 5000;
/// What the store does beside applying entries is done in slices, which are short so that no request
/// waits long for one. A slice looks at so many keys for what a compaction left behind, or drops so many
/// records of it.
const GARBAGE_PER_SLICE: usize = 256;
/// Chunks of records whose places in files a slice takes over.
const PLACED_PER_SLICE: usize = 1;
/// Slices per tick in turns that apply nothing, so that the work also gets done in an idle store.
const SLICES_PER_TICK: usize = 128;

/// The settings of one node. Durations are in ticks.
#[derive(Clone, Debug)]
pub struct Options {
    /// This member.
    pub id: NodeId,
    /// Ticks without a leader until a follower campaigns.
    pub election_ticks: u32,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: u32,
    /// The length of a tick, by which the time of leases is counted.
    pub tick_ms: u64,
    /// Ticks between two entries that say what is left of a lease, at least.
    pub lease_checkpoint_ticks: u64,
    /// False if this member, as the leader, proposes no such entries.
    pub lease_checkpoints: bool,
    /// Ticks until a waiting request is answered with a timeout.
    pub request_timeout_ticks: u64,
    /// Ticks until an unconfirmed read round is replaced.
    pub read_retry_ticks: u64,
    /// Applied entries after which a checkpoint is due.
    pub snapshot_count: u64,
    /// Bytes of stored records that may stay in memory although they are in files.
    pub memory_budget: usize,
    /// Applied entries kept in memory for followers.
    pub catchup_entries: u64,
    /// Learners that the cluster may have. It decides what is applied, so all members must have the same.
    pub max_learners: usize,
    /// True to ask the others before campaigning.
    pub pre_vote: bool,
    /// Seed of everything random here.
    pub seed: u64,
    /// When this life of the member began, in milliseconds since the epoch: no two lives of any
    /// member use the same context for a read.
    pub start_ms: u64,
}

impl Options {
    /// Returns the shortest time to live of a lease, in seconds: one and a half election timeouts,
    /// as in etcd, so that its holder can renew it after the leader has failed.
    #[must_use]
    pub fn min_lease_ttl_s(&self) -> i64 {
        let ticks = u64::from(self.election_ticks).saturating_mul(3) / 2;
        let seconds = ticks.saturating_mul(self.tick_ms).div_ceil(1000);
        i64::try_from(seconds).unwrap_or(i64::MAX)
    }
}

/// The answer to a waiting client.
#[derive(Debug)]
pub enum Answer {
    /// The entry was applied; this is what it returned. The reply is to be made, elsewhere.
    Applied(Applied),
    /// A linearizable read may be served from the view published with this turn, or a later one.
    Readable,
    /// The time of a lease, after a renewal all of it, or nothing if there is no such lease.
    Lease(Option<LeaseTime>),
    /// The leases, the one that ends first at the front.
    Leases(Arc<[i64]>),
    /// The request has no answer. A failed write may still take effect.
    Failed(Failure),
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There was no leader to take the proposal before the deadline; it was never proposed.
    NeverProposed,
    /// The deadline passed.
    Timeout,
    /// The deadline passed, and the leader failed meanwhile.
    LeaderFailed,
    /// The leader changed before the read was confirmed.
    LeaderChanged,
    /// Only the leader knows, and this is another member.
    NotLeader,
    /// Too much is waiting already.
    Overloaded,
    /// The node stops.
    Stopped,
}

/// What the outside must learn of.
#[derive(Debug)]
pub enum Event {
    /// The leader as this node knows it, or none.
    Leader(NodeId),
    /// The members changed: connect to them as the view says.
    Members,
    /// This member was removed from the cluster.
    Removed,
    /// A checkpoint of the state at this point is due. Write it and report it with
    /// [`Node::checkpointed`].
    Checkpoint(SnapshotMeta, Checkpoint),
    /// A follower needs the state: send the message with the checkpoint's bytes and report the
    /// end with [`Node::report_snapshot`].
    SendSnapshot(Message, Checkpoint),
    /// A compaction was applied. Compute its hash: members compare them.
    Compacted(CompactionHash),
    /// The state can no longer be trusted to equal the other members'. Stop the process.
    Fatal(String),
}

/// Everything one turn asks of the outside.
#[derive(Debug)]
pub struct Turn<W> {
    /// Messages to send at once.
    pub messages: Vec<Message>,
    /// Work for the log.
    pub log: LogWork,
    /// The states right before compactions, the oldest first, for those who follow all changes.
    pub passed: Vec<View>,
    /// The state after the last applied entry, if any was applied or garbage was collected. Publish
    /// it before answering.
    pub view: Option<View>,
    /// Answers to waiting clients.
    pub answers: Vec<(W, Answer)>,
    /// News.
    pub events: Vec<Event>,
    /// What changed in the store of the v2 API, for those who watch it.
    pub v2: V2Changes,
    /// What consensus did that an operator wants to read about, in order. Nothing depends on it.
    pub notices: Vec<Notice>,
    /// What was done since the last turn.
    pub counts: Counts,
    /// True if nothing moved: no further turn is needed until there is new input.
    pub idle: bool,
}

/// What was done since the last turn: plain counts for whoever shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries that were applied.
    pub applied: u64,
    /// What they did.
    pub store: Tally,
    /// Rounds of reads that were confirmed after they had been given up, or whose reads timed out.
    pub slow_reads: u64,
    /// Rounds of reads that were lost with their leader.
    pub failed_reads: u64,
    /// Leases that ended because nobody renewed them, on the leader that ended them.
    pub leases_expired: u64,
    /// Turns in which proposals waited for a checkpoint.
    pub held_turns: u64,
}

/// What this node knows of its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The current term.
    pub term: Term,
    /// The leader, or none.
    pub leader: NodeId,
    /// The highest committed index.
    pub commit: Index,
    /// The highest applied index.
    pub applied: Index,
    /// True if this node leads.
    pub is_leader: bool,
}

/// One member of the cluster. `W` is how a waiting client is found again.
#[derive(Debug)]
pub struct Node<W> {
    pub(crate) options: Options,
    pub(crate) raft: Raft,
    pub(crate) store: Store,
    pub(crate) now: u64,
    leader: NodeId,
    leader_since: u64,
    leader_reachable: bool,
    proposals: BTreeMap<u64, Bytes>,
    proposals_bytes: usize,
    waiters: Waiters<W>,
    reads: Reads<Reader<W>>,
    senders: Senders,
    pub(crate) leases: Leases<W>,
    pub(crate) answers: Vec<(W, Answer)>,
    incoming: Vec<(SnapshotMeta, Store)>,
    /// The work that installs a state, until it is durable.
    installing: Option<u64>,
    retention: Retention,
    pub(crate) checkpoints: Checkpoints,
    log_snapshot: Option<SnapshotMeta>,
    pub(crate) counts: Counts,
    /// True while garbage is collected or the work of a checkpoint is taken over.
    tidying: bool,
    /// Slices of that work that are left until the next tick.
    slices: usize,
    /// True if the published view keeps alive what the store has let go of.
    stale_view: bool,
}

impl<W> Node<W> {
    /// Returns a node that stands at `store` and continues with what Raft restored.
    #[must_use]
    pub fn new(options: Options, raft: Raft, mut store: Store) -> Self {
        store.set_memory_budget(options.memory_budget);
        store.set_max_learners(options.max_learners);
        let checkpoints = Checkpoints::new(Index(store.applied().0), &options);
        let clock =
            Clock::new(options.tick_ms, options.min_lease_ttl_s(), options.lease_checkpoint_ticks);
        let retention = Retention::new(options.catchup_entries, options.tick_ms);
        Self {
            reads: Reads::new(RequestIds::new(options.id, options.start_ms).next()),
            senders: Senders::default(),
            leases: Leases::new(clock),
            options,
            raft,
            store,
            now: 0,
            leader: NodeId::NONE,
            leader_since: 0,
            leader_reachable: true,
            proposals: BTreeMap::new(),
            proposals_bytes: 0,
            waiters: Waiters::new(),
            answers: Vec::new(),
            incoming: Vec::new(),
            installing: None,
            retention,
            checkpoints,
            log_snapshot: None,
            counts: Counts::default(),
            tidying: false,
            slices: 0,
            stale_view: false,
        }
    }

    /// Proposes an encoded request with this request ID; `waiter` gets the answer.
    pub fn propose(&mut self, id: u64, data: Bytes, waiter: W) {
        let behind = self.raft.commit().0.saturating_sub(self.applied().0);
        let full = self.waiters.len() >= WRITES_WAITING_MAX
            || self.proposals_bytes.saturating_add(data.len()) > PROPOSALS_BYTES_MAX;
        if full || behind > APPLY_LAG_MAX {
            self.answers.push((waiter, Answer::Failed(Failure::Overloaded)));
            return;
        }
        let deadline = self.now.saturating_add(self.options.request_timeout_ticks);
        if let Some(old) = self.waiters.insert(id, deadline, waiter) {
            self.answers.push((old, Answer::Failed(Failure::Timeout)));
        }
        self.proposals_bytes += data.len();
        self.proposals.insert(id, data);
    }

    /// Asks for the permission of a linearizable read.
    pub fn read(&mut self, waiter: W) {
        self.push_read(Reader::Client(waiter));
    }

    pub(crate) fn push_read(&mut self, reader: Reader<W>) {
        if self.reads.len() >= READS_WAITING_MAX {
            self.fail_read(reader, Failure::Overloaded);
            return;
        }
        let deadline = self.now.saturating_add(self.options.request_timeout_ticks);
        self.reads.push(deadline, reader);
    }

    fn fail_read(&mut self, reader: Reader<W>, failure: Failure) {
        match reader {
            Reader::Client(waiter) | Reader::Lease(_, waiter) => {
                self.answers.push((waiter, Answer::Failed(failure)));
            }
            Reader::Lessor(term) => self.lessor_unconfirmed(term),
        }
    }

    /// Takes a message from a peer.
    ///
    /// # Errors
    /// If the message was refused. If the error is fatal, this member must stop: its log is not
    /// the one it voted and acknowledged with. If the sender is unknown, ask the members whether it
    /// is one, and [`Node::vouch`] for it.
    pub fn step(&mut self, message: Message) -> Result<(), StepError> {
        if !self.senders.knows(&self.raft, message.from) {
            return Err(StepError::UnknownSender(message.from));
        }
        if matches!(message.body, Body::Snapshot(_)) {
            return Err(StepError::Malformed("a snapshot message without the state"));
        }
        // Who forwards it may be another program than it says, or a later release.
        if let Body::Propose { entries } = &message.body
            && !entries.iter().all(can_apply)
        {
            return Err(StepError::Malformed("a proposal that no member could apply"));
        }
        self.raft.step(message)
    }

    /// Takes a state from the leader, with the message that announced it. `store` was read from the
    /// [`ReceivedId`] of that message, which is durable in the data-dir. One of the next turns says in
    /// its [`LogWork`] whether that is to be adopted or discarded.
    ///
    /// # Errors
    /// As [`Node::step`].
    pub fn step_snapshot(&mut self, message: Message, store: Store) -> Result<(), StepError> {
        if let Body::Snapshot(snapshot) = &message.body {
            self.incoming.push((snapshot.meta.clone(), store));
        }
        // It is refused in the next turn.
        if !self.senders.knows(&self.raft, message.from) {
            return Err(StepError::UnknownSender(message.from));
        }
        self.raft.step(message)
    }

    /// Listens to a sender that is no member as far as this node has applied its log, because a
    /// member lists it as one.
    pub fn vouch(&mut self, sender: NodeId) {
        self.senders.vouch(sender);
    }

    /// Moves time on by one tick.
    pub fn tick(&mut self) {
        self.now += 1;
        self.raft.tick();
        self.retention.tick(&self.raft, self.applied(), self.now);
        self.slices = SLICES_PER_TICK;
        self.tidy();
        self.checkpoints.tick(self.now, &self.store, self.tidying);
        let elected = self.leader_since;
        let election_ticks = u64::from(self.options.election_ticks);
        while let Some((id, waiter)) = self.waiters.take_expired(self.now) {
            let begun = self.now.saturating_sub(self.options.request_timeout_ticks);
            let failed_over = begun < elected && elected <= begun + 2 * election_ticks;
            let failure = if let Some(data) = self.proposals.remove(&id) {
                self.proposals_bytes -= data.len();
                Failure::NeverProposed
            } else if failed_over {
                Failure::LeaderFailed
            } else {
                Failure::Timeout
            };
            self.answers.push((waiter, Answer::Failed(failure)));
        }
        let expired = self.reads.take_expired(self.now);
        self.counts.slow_reads += u64::from(!expired.is_empty());
        for reader in expired {
            self.fail_read(reader, Failure::Timeout);
        }
        self.tick_leases();
    }

    /// Takes note that the log is durable up to the work with this number.
    pub fn persisted(&mut self, ready: u64) {
        self.raft.persisted(ready);
        self.installing.take_if(|installing| *installing <= ready);
    }

    /// Takes note that messages to a peer are being lost.
    pub fn report_unreachable(&mut self, peer: NodeId) {
        self.raft.report_unreachable(peer);
    }

    /// Takes note whether the leader, if it is another member, can be reached. Proposals wait
    /// while it cannot: one that is sent to a dead leader is lost until its deadline.
    pub fn set_leader_reachable(&mut self, reachable: bool) {
        self.leader_reachable = reachable;
    }

    /// Takes note that sending a snapshot has ended.
    pub fn report_snapshot(&mut self, peer: NodeId, ok: bool) {
        self.raft.report_snapshot(peer, ok);
    }

    /// Takes note that a checkpoint is durable, or that it could not be written.
    pub fn checkpointed(&mut self, written: Option<(SnapshotMeta, Written)>) {
        let index_bytes = written.as_ref().map(|(_, written)| written.index_bytes);
        self.checkpoints.ended(self.now, index_bytes);
        if let Some((meta, written)) = written {
            self.tidying = true;
            self.store.placed(written);
            if self.checkpoints.is_new_to_log(meta.index) {
                self.log_snapshot = Some(meta);
            }
        }
    }

    /// Returns true if the next turn has something to do even if nothing comes in.
    pub fn wants_turn(&self) -> bool {
        self.tidying && self.slices > 0
    }

    /// Does a slice of what the store does beside applying entries. When that is done, the view
    /// that was published last would keep alive what is no longer needed.
    fn tidy(&mut self) {
        let collecting = self.store.collect(GARBAGE_PER_SLICE);
        // What is placed can leave memory: the more waits for that, the more is done.
        let chunks = PLACED_PER_SLICE.saturating_mul(1 + self.backlog().factor());
        let tidying = self.store.place(chunks) || collecting;
        self.stale_view |= self.tidying && !tidying;
        self.tidying = tidying;
    }

    /// Campaigns now, without waiting for the election timeout.
    pub fn campaign(&mut self) {
        self.raft.campaign();
    }

    /// Lets an election come as if so many ticks, at most one timeout, had passed in silence. Does
    /// nothing where a leader is known.
    pub fn hasten_election(&mut self, ticks: u32) {
        for _ in 0..ticks.min(self.options.election_ticks) {
            if !self.raft.leader().is_none() || self.raft.role() != Role::Follower {
                return;
            }
            self.raft.tick();
        }
    }

    /// Moves leadership to another member, if this one leads.
    pub fn transfer_leader(&mut self, to: NodeId) {
        self.raft.transfer_leader(to);
    }

    /// Fails everyone who waits: the node stops.
    pub fn stop(&mut self) -> Vec<(W, Answer)> {
        for reader in self.reads.take_all() {
            self.fail_read(reader, Failure::Stopped);
        }
        let mut answers = std::mem::take(&mut self.answers);
        let waiters = self.waiters.drain().chain(self.leases.take_all());
        answers.extend(waiters.map(|waiter| (waiter, Answer::Failed(Failure::Stopped))));
        answers
    }

    /// Returns what this node knows of its cluster.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            term: self.raft.term(),
            leader: self.raft.leader(),
            commit: self.raft.commit(),
            applied: self.applied(),
            is_leader: self.raft.role() == Role::Leader,
        }
    }

    /// Returns the settings.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Returns the consensus core, for inspection.
    #[must_use]
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// Returns the state machine, for inspection.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn applied(&self) -> Index {
        Index(self.store.applied().0)
    }

    /// Runs one turn. Call it after inputs until it comes back idle.
    pub fn turn(&mut self) -> Turn<W> {
        let mut turn = Turn {
            messages: Vec::new(),
            log: LogWork::default(),
            passed: Vec::new(),
            view: None,
            answers: std::mem::take(&mut self.answers),
            events: Vec::new(),
            v2: V2Changes::default(),
            notices: Vec::new(),
            counts: Counts::default(),
            idle: true,
        };
        self.hand_over();
        let committed = self.consensus_turn(&mut turn);
        self.apply_turn(committed, &mut turn);
        turn.answers.append(&mut self.answers);
        turn.notices = self.raft.take_notices();
        turn.counts = Counts { store: self.store.take_tally(), ..std::mem::take(&mut self.counts) };
        if std::mem::take(&mut self.stale_view) && turn.view.is_none() {
            turn.view = Some(self.store.view());
        }
        turn.idle &= turn.answers.is_empty() && turn.events.is_empty();
        turn
    }

    /// Hands waiting proposals and reads to Raft.
    fn hand_over(&mut self) {
        let leader = self.raft.leader();
        let can_propose = leader == self.options.id || self.leader_reachable;
        let is_held = !self.proposals.is_empty() && self.backlog().holds_back();
        self.counts.held_turns += u64::from(is_held);
        if !self.proposals.is_empty() && !leader.is_none() && can_propose && !is_held {
            // Refused as a whole while leadership moves or too much is uncommitted: the batch
            // stays and is offered again next turn, until its waiters expire.
            let batch: Vec<Bytes> = self.proposals.values().cloned().collect();
            if self.raft.propose(batch).is_ok() {
                self.proposals.clear();
                self.proposals_bytes = 0;
            }
        }
        self.propose_for_leases();
        let retry_at = self.now + self.options.read_retry_ticks;
        let retried = self.reads.retry_rounds(self.now, retry_at);
        let started = self.reads.start_round(retry_at);
        for context in retried.into_iter().chain(started) {
            // Without a leader the round is lost; it is retried until its reads expire.
            self.raft.read_index(context).ok();
        }
    }

    /// Takes what Raft has ready. Returns the entries to apply.
    fn consensus_turn(&mut self, turn: &mut Turn<W>) -> Vec<Entry> {
        let ready = self.raft.ready();
        self.note_leader(turn);
        turn.log.snapshot = self.log_snapshot.take();
        turn.log.release = turn.log.snapshot.as_ref().map(|meta| meta.index);
        turn.log.must_sync = turn.log.snapshot.is_some();
        let Some(mut ready) = ready else {
            self.refuse_incoming(turn);
            return Vec::new();
        };
        turn.idle = false;
        let writes = ready.needs_write();
        if let Some(snapshot) = ready.snapshot.take() {
            self.installing = Some(ready.number);
            self.install(snapshot, turn);
        }
        self.refuse_incoming(turn);
        let Ready { number, hard_state, entries, must_sync, committed, .. } = ready;
        turn.log.ready = writes.then_some(number);
        turn.log.hard_state = hard_state;
        turn.log.entries = entries;
        turn.log.must_sync |= must_sync;
        turn.log.messages = ready.messages_after_sync;
        for message in ready.messages {
            self.send(message, turn);
        }
        for read in ready.read_states {
            let known = self.reads.confirm(&read.context, read.index);
            self.counts.slow_reads += u64::from(!known);
        }
        committed
    }

    /// Gives up the states that consensus did not take by now: they were out of date, or not for
    /// this member.
    fn refuse_incoming(&mut self, turn: &mut Turn<W>) {
        turn.log.discard.extend(self.incoming.drain(..).map(|(meta, _)| received(&meta)));
    }

    fn note_leader(&mut self, turn: &mut Turn<W>) {
        let leader = self.raft.leader();
        if leader == self.leader {
            return;
        }
        self.leader = leader;
        turn.events.push(Event::Leader(leader));
        if leader.is_none() {
            return;
        }
        self.leader_since = self.now;
        let lost = self.reads.take_unconfirmed();
        self.counts.failed_reads += u64::from(!lost.is_empty());
        for reader in lost {
            self.fail_read(reader, Failure::LeaderChanged);
        }
    }

    /// A snapshot message takes the state as of now, which is never older than what Raft asked for.
    /// Its data are the v2 store and in it the members, which etcd before 3.8 wants to read, and etcd
    /// 3.5 believes.
    fn send(&mut self, message: Message, turn: &mut Turn<W>) {
        let Body::Snapshot(_) = &message.body else {
            turn.messages.push(message);
            return;
        };
        let (index, term) = self.store.applied();
        let meta =
            SnapshotMeta { index: Index(index), term: Term(term), conf: self.raft.conf().clone() };
        let checkpoint = self.checkpoint_at(&meta);
        let data = checkpoint.snap_file().v2_store;
        self.retention.state_sent(message.to, meta.index, self.now);
        let body = Body::Snapshot(Snapshot { meta, data });
        turn.events.push(Event::SendSnapshot(Message { body, ..message }, checkpoint));
    }

    fn checkpoint_at(&mut self, meta: &SnapshotMeta) -> Checkpoint {
        let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
        let (voters, learners) = (ids(&meta.conf.voters), ids(&meta.conf.learners));
        self.store.checkpoint(ConfState { voters, learners })
    }

    /// Replaces the state with the one that came from the leader.
    fn install(&mut self, snapshot: Snapshot, turn: &mut Turn<W>) {
        let meta = snapshot.meta;
        let arrived = self.incoming.iter().position(|(arrived, _)| arrived.id() == meta.id());
        let arrived = arrived.expect("consensus restores only a snapshot that arrived");
        let (_, store) = self.incoming.remove(arrived);
        assert_eq!(meta.index.0, store.applied().0, "the state stands at its snapshot's index");
        self.senders.clear();
        self.store = store;
        self.store.set_memory_budget(self.options.memory_budget);
        self.store.set_max_learners(self.options.max_learners);
        self.retention.clear();
        self.checkpoints.installed(meta.index);
        turn.log.adopt = Some(received(&meta));
        turn.log.snapshot = Some(meta);
        turn.log.must_sync = true;
        turn.view = Some(self.store.view());
        turn.v2.replaced = Some(Box::new(self.store.v2().clone()));
        turn.events.push(Event::Members);
    }

    /// Applies committed entries in order and answers who waited for them.
    fn apply_turn(&mut self, committed: Vec<Entry>, turn: &mut Turn<W>) {
        let moved = !committed.is_empty();
        for entry in committed {
            if let Err(reason) = self.apply(&entry, turn) {
                // The state stays where it is, and the process ends.
                turn.events.push(Event::Fatal(reason));
                return;
            }
            self.retention.applied(entry.data.len());
            self.counts.applied += 1;
        }
        let applied = self.applied();
        if moved {
            turn.passed.extend(self.store.take_passed());
            let V2Changes { replaced, notices } = self.store.take_v2_changes();
            turn.v2.replaced = replaced.or(turn.v2.replaced.take());
            turn.v2.notices.extend(notices);
            self.tidy();
            self.raft.set_applied(applied);
            turn.view = Some(self.store.view());
            let forgotten = self.retention.forget(&self.raft, applied);
            self.raft.compact(forgotten);
        } else if self.wants_turn() {
            self.slices -= 1;
            self.tidy();
        }
        self.check_checkpoint(turn);
        self.check_leadership();
        for reader in self.reads.take_ready(applied) {
            match reader {
                Reader::Client(waiter) => turn.answers.push((waiter, Answer::Readable)),
                Reader::Lease(call, waiter) => self.serve_lease(call, waiter),
                Reader::Lessor(term) => {
                    self.lessor_confirmed(term);
                    turn.idle = false;
                }
            }
        }
    }

    /// Applies one entry. An error is the reason why this member must stop.
    fn apply(&mut self, entry: &Entry, turn: &mut Turn<W>) -> Result<(), String> {
        assert_eq!(entry.index, self.applied().next(), "entries are applied in order, each once");
        self.checkpoints.applied(entry.data.len());
        let data = match entry.kind {
            EntryKind::Normal => EntryData::Normal(&entry.data),
            EntryKind::ConfChange => EntryData::ConfChange(&entry.data),
            EntryKind::ConfChangeV2 => {
                let index = entry.index;
                return Err(format!("entry {index} is a joint change, which no etcd proposes"));
            }
        };
        let is_awaited = |id| self.waiters.contains(id);
        let applied = self.store.apply_for(entry.index.0, entry.term.0, data, is_awaited);
        let mut applied = applied.map_err(|fatal| fatal.to_string())?;
        turn.events.extend(self.store.take_compaction().map(Event::Compacted));
        if let Some(change) = applied.conf_change.take() {
            self.apply_conf_change(&change, turn);
        }
        self.applied_to_leases(entry, &applied);
        if let Some(waiter) = self.waiters.take(applied.request_id) {
            turn.answers.push((waiter, Answer::Applied(applied)));
        }
        Ok(())
    }

    fn apply_conf_change(&mut self, change: &quoin_api::raftpb::ConfChange, turn: &mut Turn<W>) {
        let change = crate::wire::conf_change(change);
        self.raft.apply_conf_change(change);
        turn.events.push(Event::Members);
        let removed = change.kind == quoin_raft::ConfChangeKind::Remove;
        if removed {
            self.senders.forget(change.node);
        }
        if removed && change.node == self.options.id {
            turn.events.push(Event::Removed);
        }
    }

    fn check_checkpoint(&mut self, turn: &mut Turn<W>) {
        // A checkpoint of a state that the log does not name yet must not be durable before it does.
        if self.installing.is_some() || !self.checkpoints.begin_if_due(&self.store) {
            return;
        }
        let (index, term) = self.store.applied();
        let meta =
            SnapshotMeta { index: Index(index), term: Term(term), conf: self.raft.conf().clone() };
        let checkpoint = self.checkpoint_at(&meta);
        turn.events.push(Event::Checkpoint(meta, checkpoint));
    }
}

/// The name of the state that a snapshot message announced.
fn received(meta: &SnapshotMeta) -> ReceivedId {
    ReceivedId { index: meta.index.0, term: meta.term.0 }
}

/// Whether a proposal can be applied when it comes back as an entry.
fn can_apply((kind, data): &(EntryKind, Bytes)) -> bool {
    match kind {
        EntryKind::Normal => Store::can_apply(EntryData::Normal(data)),
        EntryKind::ConfChange => Store::can_apply(EntryData::ConfChange(data)),
        EntryKind::ConfChangeV2 => false,
    }
}
