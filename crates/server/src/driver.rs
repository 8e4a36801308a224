//! The threads of a member: one for consensus and apply, one for the log, short-lived ones for
//! background files.
//!
//! ```text
//! network tasks --inputs--> consensus thread --log work--> log thread
//!        ^                     |   ^                          |
//!        +---answers, views----+   +----durable up to n-------+
//! ```
//!
//! Group commit needs no timer: while the log thread syncs, the consensus thread collects the
//! next batch, and everything that queued up shares the next sync.
//!
//! Invariants:
//! - The order of log work is the order of turns, and what a turn says after its sync is said
//!   after a sync that covers it.
//! - The log thread never waits for the consensus thread, so they cannot wait for each other.
//! - A failed write or sync of the log ends the process before anything more is said.

mod log_thread;
mod members_log;
mod raft_log;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use quoin_node::raft::{Message, NodeId, SnapshotMeta, StepError};
use quoin_node::wal::Wal;
use quoin_node::{Counts, Event, LeaseCall, LogWork, Node, Turn};
use quoin_store::{Checkpoint, Store, View, WriteOptions, Written};
use quoin_vfs::FileSystem;

use crate::driver::log_thread::LogThread;
use crate::driver::members_log::KnownMembers;
use crate::driver::raft_log::{leader_record, notice_record};
use crate::grpc::store_bytes;
use crate::hashes::Hashes;
use crate::lane::{Answering, Waiter};
use crate::log;
use crate::member::{Member, PeerRoom};
use crate::metrics::Metrics;
use crate::v2::Watchers;
use crate::vital::AbortOnPanic;

/// Inputs that may wait for the consensus thread. Beyond, requests are refused and peer messages
/// are dropped.
pub(crate) const INPUTS_MAX: usize = 32 * 1024;
/// Inputs taken before the next turn, so that a flood cannot delay ticks and answers.
const INPUTS_PER_TURN: usize = 4096;
/// Ticks made up for after a pause. More would start elections that no silence justifies.
const TICKS_PER_WAKE: u32 = 1;
/// Bytes per microsecond that a background job writes: 96 MB/s. Where more waits than makes it due, it is
/// as many times faster.
const BACKGROUND_BYTES_PER_US: u64 = 96;
/// The priority of a background job, which on Linux is that of its thread.
const BACKGROUND_NICE: i32 = 10;
/// Batches of log work that share one sync.
const WORK_PER_SYNC: usize = 64;

/// What the consensus thread reacts to.
#[derive(Debug)]
pub(crate) enum Input {
    /// A request to replicate.
    Propose { id: u64, data: Bytes, waiter: Waiter },
    /// A linearizable read to confirm.
    Read(Waiter),
    /// A question about leases.
    Lease(LeaseCall, Waiter),
    /// A message from a peer, and the room that it takes while it waits.
    Message(Message, PeerRoom),
    /// The state that a leader sent, with the message that announced it. It must be settled (see
    /// [`Outside::snapshots_settled`]) before the next one may arrive.
    Snapshot(Message, Box<Store>),
    /// A member lists this sender.
    Vouched(u64),
    /// Messages to this peer are being lost.
    Unreachable(u64),
    /// Sending a snapshot to this peer has ended.
    SnapshotSent(u64, bool),
    /// A checkpoint was written, or not.
    Checkpointed(Option<Box<(SnapshotMeta, Written)>>),
    /// Leadership shall move to this member.
    TransferLeader(u64),
    /// The first election shall come as if so many ticks had passed.
    HastenElection(u32),
    /// Something outside the queue changed.
    Wake,
    /// The end.
    Stop,
}

/// Where the consensus thread sends what is not for clients.
pub(crate) trait Outside: Send + Sync + 'static {
    /// Sends messages to peers, without waiting.
    fn send(&self, messages: Vec<Message>);
    /// Sends the state to a peer and reports the end with [`Input::SnapshotSent`].
    fn send_snapshot(&self, message: Message, checkpoint: Checkpoint);
    /// Returns true if messages to this peer have a way.
    fn is_reachable(&self, peer: NodeId) -> bool;
    /// Takes note of the leader, or none.
    fn leader_changed(&self, leader: NodeId);
    /// Takes note that the members in the published view changed.
    fn members_changed(&self);
    /// Takes note that this member was removed.
    fn removed(&self);
    /// Takes note of a sender that consensus does not know: if a member lists it, the answer is
    /// [`Input::Vouched`].
    fn stranger(&self, sender: NodeId);
    /// Takes note that so many of the snapshots that arrived were installed or refused, and that
    /// their files are where they belong.
    fn snapshots_settled(&self, count: usize);
}

/// Says that a state from the leader has replaced this member's, in the steps that tools wait for.
fn log_installed(meta: &SnapshotMeta) {
    let steps = ["applying snapshot", "applySnapshot: opened snapshot backend", "applied snapshot"];
    for step in steps {
        log::info!(step, "incoming-leader-snapshot-index" => meta.index.0,
            "incoming-leader-snapshot-term" => meta.term.0);
    }
}

/// The parts that the threads of a member share.
pub(crate) struct Parts {
    pub(crate) member: Arc<Member>,
    pub(crate) outside: Arc<dyn Outside>,
    pub(crate) inputs: SyncSender<Input>,
    pub(crate) fs: Arc<dyn FileSystem>,
    /// Where checkpoints are written.
    pub(crate) checkpoint_dir: PathBuf,
    /// Where hashes of compactions go.
    pub(crate) hashes: Arc<Hashes>,
    /// Who watches the store of the v2 API.
    pub(crate) watchers: Arc<Watchers>,
    /// The length of a tick.
    pub(crate) tick: Duration,
    /// A batch of entries that takes longer to apply is slow.
    pub(crate) slow_apply: Duration,
    /// Whether files of the log stay that nothing needs any more.
    pub(crate) keeps_log: bool,
}

/// The threads of a running member.
#[derive(Debug)]
pub(crate) struct Threads {
    consensus: JoinHandle<()>,
    log: JoinHandle<()>,
}

impl Threads {
    /// Waits until both threads have ended, after [`Input::Stop`].
    pub(crate) fn join(self) {
        // A panic on either thread has already ended the process.
        self.consensus.join().expect("the consensus thread does not unwind");
        self.log.join().expect("the log thread does not unwind");
    }
}

/// Starts the threads of a member. What the log holds behind the checkpoint is applied before
/// this returns, so that nobody sees a member that does not know its cluster yet.
pub(crate) fn start(
    node: Node<Waiter>,
    wal: Wal,
    receiver: Receiver<Input>,
    parts: Parts,
) -> std::io::Result<Threads> {
    let durable = Arc::new(AtomicU64::new(0));
    let (work_sender, work) = mpsc::channel();
    let log = LogThread {
        wal,
        work,
        fs: Arc::clone(&parts.fs),
        checkpoint_dir: parts.checkpoint_dir.clone(),
        spare: mpsc::sync_channel(1),
        durable: Arc::clone(&durable),
        outside: Arc::clone(&parts.outside),
        inputs: parts.inputs.clone(),
        metrics: Arc::clone(&parts.member.metrics),
        keeps_all: parts.keeps_log,
    };
    let log = spawn("log", move || log.run())?;
    let (known, lines) =
        KnownMembers::recovered(parts.member.cluster_id, parts.member.id, &node.store().view());
    lines.iter().for_each(log::write);
    let mut driver = Driver {
        node,
        leader: NodeId::NONE,
        known,
        parts,
        receiver,
        log: work_sender,
        durable,
        seen: 0,
        led_at: None,
        compacted_at: None,
        is_replaying: true,
        backlog_factor: Arc::default(),
    };
    driver.turns();
    driver.is_replaying = false;
    let consensus = spawn("consensus", move || driver.run())?;
    Ok(Threads { consensus, log })
}

/// Spawns a thread whose panic ends the process: half-applied state must not go on.
fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    let abort = AbortOnPanic;
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _abort = abort;
        body();
    })
}

/// The consensus thread.
struct Driver {
    node: Node<Waiter>,
    /// The leader that the log last told of.
    leader: NodeId,
    /// The members that the log has told of.
    known: KnownMembers,
    parts: Parts,
    receiver: Receiver<Input>,
    log: mpsc::Sender<LogWork>,
    durable: Arc<AtomicU64>,
    seen: u64,
    /// The last tick as the leader, by which its heartbeats are late or not.
    led_at: Option<Instant>,
    /// When the compaction came whose work is going on.
    compacted_at: Option<Instant>,
    /// What the log held when this process began was counted by another one.
    is_replaying: bool,
    /// By how much the background must go faster; see [`Pace`].
    backlog_factor: Arc<AtomicU64>,
}

impl Driver {
    fn run(mut self) {
        // Nobody else could lead.
        if self.node.raft().conf().voters.len() == 1 {
            self.node.campaign();
            self.turns();
        }
        let mut next_tick = Instant::now();
        loop {
            let wait = match self.node.wants_turn() {
                true => Duration::ZERO,
                false => next_tick.saturating_duration_since(Instant::now()),
            };
            let stop = match self.receiver.recv_timeout(wait) {
                Ok(input) => self.take(input),
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            if stop {
                return self.stop();
            }
            self.tick(&mut next_tick);
            self.turns();
        }
    }

    /// Takes the first input and those that came with it. Returns true at the end.
    fn take(&mut self, first: Input) -> bool {
        let rest = INPUTS_PER_TURN - 1;
        let mut input = first;
        for _ in 0..rest {
            if matches!(input, Input::Stop) {
                return true;
            }
            self.react(input);
            match self.receiver.try_recv() {
                Ok(next) => input = next,
                Err(_) => return false,
            }
        }
        matches!(input, Input::Stop) || {
            self.react(input);
            false
        }
    }

    fn react(&mut self, input: Input) {
        match input {
            Input::Propose { id, data, waiter } => {
                self.parts.member.request_taken(data.len());
                self.node.propose(id, data, waiter);
            }
            Input::Read(waiter) => {
                self.parts.member.request_taken(0);
                self.node.read(waiter);
            }
            Input::Lease(call, waiter) => {
                self.parts.member.request_taken(0);
                self.node.lease(call, waiter);
            }
            Input::Message(message, _room) => self.step(|node| node.step(message)),
            Input::Snapshot(message, store) => {
                self.parts.member.metrics.consensus.snapshots_applied_now.set(1);
                self.step(|node| node.step_snapshot(message, *store));
            }
            Input::Vouched(sender) => self.node.vouch(NodeId(sender)),
            Input::Unreachable(peer) => self.node.report_unreachable(NodeId(peer)),
            Input::SnapshotSent(peer, ok) => self.node.report_snapshot(NodeId(peer), ok),
            Input::Checkpointed(written) => {
                self.node.checkpointed(written.map(|written| *written));
            }
            Input::TransferLeader(to) => self.node.transfer_leader(NodeId(to)),
            Input::HastenElection(ticks) => self.node.hasten_election(ticks),
            Input::Wake | Input::Stop => {}
        }
    }

    fn step(&mut self, step: impl FnOnce(&mut Node<Waiter>) -> Result<(), StepError>) {
        if let Err(error) = step(&mut self.node) {
            if let StepError::UnknownSender(sender) = error {
                // There may be many, so the asking is what the log tells of.
                return self.parts.outside.stranger(sender);
            }
            if error.is_fatal() {
                die("the log of this member is not the one it acknowledged", &error.to_string());
            }
            log::warn!("failed to process Raft message", "error" => error.to_string());
        }
    }

    fn tick(&mut self, next_tick: &mut Instant) {
        let now = Instant::now();
        for _ in 0..TICKS_PER_WAKE {
            if *next_tick > now {
                return;
            }
            self.node.tick();
            self.parts.member.ticked();
            self.measure(now);
            *next_tick += self.parts.tick;
        }
        *next_tick = (*next_tick).max(now);
    }

    /// Looks at what changes slowly, and whether the heartbeats of this tick are late.
    fn measure(&mut self, now: Instant) {
        let metrics = &self.parts.member.metrics;
        metrics.segments(self.node.store().segments());
        metrics.backlog(self.node.backlog());
        if !self.parts.member.is_leader() {
            self.led_at = None;
            return;
        }
        let late = self.led_at.is_some_and(|at| now - at > 2 * self.parts.tick);
        if late {
            let members = self.node.store().membership().members().count() as u64;
            metrics.consensus.heartbeat_failures.add(members.saturating_sub(1));
        }
        self.led_at = Some(now);
    }

    /// Runs turns until nothing moves.
    fn turns(&mut self) {
        loop {
            let durable = self.durable.load(Ordering::Acquire);
            if durable > self.seen {
                self.seen = durable;
                self.node.persisted(durable);
            }
            self.look_for_leader();
            let began = Instant::now();
            let mut turn = self.node.turn();
            let (idle, counts) = (turn.idle, std::mem::take(&mut turn.counts));
            let factor = self.node.backlog().factor() as u64;
            self.backlog_factor.store(factor, Ordering::Relaxed);
            if !self.is_replaying {
                self.count(counts, began.elapsed());
                let compacts = |event: &Event| matches!(event, Event::Compacted(_));
                let compacted = turn.events.iter().any(compacts).then_some(began);
                self.compacted_at = self.compacted_at.or(compacted);
            }
            self.carry_out(turn);
            if idle {
                self.parts.member.metrics.consensus.snapshots_applied_now.set(0);
                return;
            }
        }
    }

    /// Counts what a turn did, and says so if that took long.
    fn count(&self, counts: Counts, took: Duration) {
        let (applied, slow) = (counts.applied, self.parts.slow_apply);
        let metrics = &self.parts.member.metrics;
        metrics.turned(counts, took);
        if applied > 0 && took > slow {
            metrics.consensus.slow_applies.add(1);
            log::warn!("apply request took too long", "took" => took,
                "expected-duration" => slow, "prefix" => "",
                "request" => format!("entries:{applied}"), "response" => "");
        }
    }

    /// Lets proposals wait while the leader that would take them cannot be reached.
    fn look_for_leader(&mut self) {
        let leader = self.node.raft().leader();
        if !leader.is_none() && leader.0 != self.parts.member.id {
            self.node.set_leader_reachable(self.parts.outside.is_reachable(leader));
        }
    }

    fn carry_out(&mut self, turn: Turn<Waiter>) {
        let id = self.node.options().id;
        for notice in &turn.notices {
            log::write(&notice_record(id, notice));
        }
        if !turn.messages.is_empty() {
            self.parts.outside.send(turn.messages);
        }
        if let (Some(meta), Some(_)) = (&turn.log.snapshot, &turn.log.adopt) {
            log_installed(meta);
        }
        if !turn.log.is_empty() {
            // The log thread ends before this one only by ending the process.
            self.log.send(turn.log).expect("the log thread outlives the consensus thread");
        }
        // Before the view: who knows the view may not miss what led to it.
        self.parts.watchers.push(turn.v2);
        if let Some(view) = turn.view {
            self.note_compaction(&view);
            let members_changed = turn.events.iter().any(|it| matches!(it, Event::Members));
            self.known.update(&view, members_changed).iter().for_each(log::write);
            self.parts.member.publish_view(turn.passed, view);
        }
        self.parts.member.publish_status(self.node.status());
        // Before the answers: who is answered may look for what the events set going.
        for event in turn.events {
            self.tell(event);
        }
        let mut answering = Answering::default();
        for (waiter, answer) in turn.answers {
            answering.answer(waiter, answer);
        }
    }

    /// Takes note of the end of a compaction's work.
    fn note_compaction(&mut self, view: &View) {
        let Some(began) = self.compacted_at.filter(|_| !view.has_garbage()) else { return };
        self.compacted_at = None;
        let metrics = &self.parts.member.metrics.store;
        metrics.compaction.observe(began.elapsed());
        metrics.compacted_at_s.store(seconds_since_epoch(), Ordering::Relaxed);
    }

    fn tell(&mut self, event: Event) {
        match event {
            Event::Leader(leader) => {
                let (id, term) = (self.node.options().id, self.node.raft().term());
                let before = std::mem::replace(&mut self.leader, leader);
                log::write(&leader_record(id, before, leader, term));
                self.parts.outside.leader_changed(leader);
            }
            Event::Members => self.parts.outside.members_changed(),
            Event::Removed => self.parts.outside.removed(),
            Event::Checkpoint(meta, checkpoint) => self.write_checkpoint(meta, checkpoint),
            Event::SendSnapshot(message, checkpoint) => {
                self.parts.outside.send_snapshot(message, checkpoint);
            }
            Event::Compacted(hash) => {
                let bytes = store_bytes(&self.node.store().view());
                self.parts.hashes.compute(hash, bytes);
            }
            Event::Fatal(reason) => die("failed to apply an entry", &reason),
        }
    }

    fn stop(mut self) {
        for (waiter, answer) in self.node.stop() {
            waiter.answer(answer);
        }
    }

    /// Writes a checkpoint on a thread of its own. If it fails, the log keeps what it replaces,
    /// and the next one is due after as many entries again.
    fn write_checkpoint(&self, meta: SnapshotMeta, checkpoint: Checkpoint) {
        let (fs, dir) = (Arc::clone(&self.parts.fs), self.parts.checkpoint_dir.clone());
        let (inputs, metrics) = (self.parts.inputs.clone(), Arc::clone(&self.parts.member.metrics));
        let factor = Arc::clone(&self.backlog_factor);
        let spawned = thread::Builder::new().name("checkpoint".to_owned()).spawn(move || {
            yield_to_requests();
            let mut pace = Pace::begin(metrics, factor);
            let options = WriteOptions::default();
            let paced = &mut |bytes| pace.wrote(bytes);
            let written = match checkpoint.write_paced(fs.as_ref(), &dir, &options, paced) {
                Ok(written) => {
                    log::info!("saved snapshot", "snapshot-index" => meta.index.0);
                    Some(Box::new((meta, written)))
                }
                Err(error) => {
                    log::warn!("failed to save snapshot", "error" => error.to_string());
                    None
                }
            };
            // The member that wanted it may have stopped.
            drop(inputs.send(Input::Checkpointed(written)));
        });
        if let Err(error) = spawned {
            die("failed to start a thread", &error.to_string());
        }
    }
}

/// Keeps a background job from taking the disk and the processor away from requests.
struct Pace {
    /// When the next bytes may be written.
    next: Instant,
    /// When the job went on after the last pause.
    resumed: Instant,
    metrics: Arc<Metrics>,
    /// How often what makes the job due is waiting.
    backlog_factor: Arc<AtomicU64>,
}

impl Pace {
    fn begin(metrics: Arc<Metrics>, backlog_factor: Arc<AtomicU64>) -> Self {
        let now = Instant::now();
        Self { next: now, resumed: now, metrics, backlog_factor }
    }

    /// Waits after some bytes. Time that the job spent otherwise is not made up for.
    fn wrote(&mut self, bytes: usize) {
        let now = Instant::now();
        self.metrics.disk.commit.observe(now - self.resumed);
        self.metrics.disk.background_bytes.add(bytes as u64);
        let factor = self.backlog_factor.load(Ordering::Relaxed).max(1);
        let bytes_per_us = BACKGROUND_BYTES_PER_US.saturating_mul(factor);
        let time = Duration::from_micros(bytes as u64 / bytes_per_us);
        thread::sleep(self.next.saturating_duration_since(now));
        self.next = self.next.max(now) + time;
        self.resumed = Instant::now();
    }
}

/// Lets threads that answer requests go before this one. If that is not granted, its job is done
/// all the same.
pub(crate) fn yield_to_requests() {
    rustix::process::setpriority_process(None, BACKGROUND_NICE).ok();
}

fn seconds_since_epoch() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Ends the process: nothing more may be said by a member whose log or state is not what it was
/// promised to be.
fn die(message: &str, reason: &str) -> ! {
    log::fatal!(message.to_owned(), "error" => reason.to_owned());
    std::process::exit(1);
}
