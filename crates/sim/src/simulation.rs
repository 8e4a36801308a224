//! A run: whole members, their disks, their network, their clients and their misfortunes, driven
//! by one queue.
//!
//! In reading order: this file (the state and the loop), `consensus` (the consensus thread of a
//! member), `storage` (its log thread, its checkpoints, its death and its recovery), `post`
//! (messages and snapshots), `clients`, `misfortune` (which faults strike), `forgery` (what no member
//! would send), `hung` (a leader whose disk hangs), `treadmill` (one state after the other), `ending` (all
//! faults end; the cluster must recover).
//!
//! Invariants:
//! - One seed and plan is one run, event by event.
//! - A member is driven as the server drives it; what a thread of the server could do at any time
//!   is an event of its own here.

mod clients;
mod consensus;
mod ending;
mod forgery;
mod hung;
mod misfortune;
mod post;
mod storage;
mod treadmill;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bytes::Bytes;
use quoin_node::DataDir;
use quoin_node::recover::Bootstrap;
use quoin_raft::{Message, NodeId, SnapshotMeta};
use quoin_store::{Checkpoint, Store, Written, cluster_id, member_id};
use quoin_vfs::MemFs;
use quoin_wal::{Metadata, SpareJob};

use crate::check::agreement::Agreement;
use crate::check::leases::Leases;
use crate::check::shadow::Shadow;
use crate::check::states::States;
use crate::check::watches::Watches;
use crate::check::{Checked, Violation};
use crate::coverage::Coverage;
use crate::history::History;
use crate::member::{Input, Member};
use crate::network::{Cut, Network};
use crate::plan::Plan;
use crate::queue::{MS, Queue, Time};
use crate::rng::Rng;
use crate::trace::Trace;
use crate::workload::Workload;
use clients::{Client, Request};
use ending::Ending;
use misfortune::Fault;
use post::Parcel;

/// The length of a tick by a clock that is right.
const TICK: Time = 100 * MS;

/// A run may have so many events; more means that it does not end.
const EVENTS_MAX: u64 = 5_000_000;

/// What is going to happen.
#[derive(Debug)]
pub(crate) enum Happening {
    /// Something within a process, void if that process has ended.
    Inside { member: usize, life: u32, what: Inside },
    /// A message arrives.
    Arrival { to: usize, message: Bytes },
    /// The transfer of a state ends.
    Delivery { to: usize, parcel: Parcel },
    /// A request reaches a member.
    Asked { member: usize, request: u64 },
    /// A client makes its next request.
    Next { client: usize },
    /// A client stops waiting.
    GiveUp { client: usize, request: u64 },
    /// A fault strikes.
    Fault(Fault),
    /// A leader falls.
    Downfall { member: usize, life: u32 },
    /// Links are cut.
    Cut(Cut),
    /// Links work again.
    Mend(Cut),
    /// A process goes on.
    Resume { member: usize, life: u32 },
    /// A machine starts.
    Start { member: usize },
    /// All faults end.
    Heal,
    /// Is everything well again?
    Probe,
}

/// What happens within a process.
#[derive(Debug)]
pub(crate) enum Inside {
    Tick,
    /// The consensus thread runs.
    Turn,
    /// The log thread ends a sync.
    Sync,
    WriteCheckpoint(SnapshotMeta, Box<Checkpoint>),
    CheckpointWritten(Option<Box<(SnapshotMeta, Written)>>),
    Spare(SpareJob),
    /// The transport found a peer unreachable.
    Unreachable(NodeId),
    /// The transport ended sending a snapshot.
    SnapshotSent(NodeId, bool),
    /// A state that a leader sent is on disk.
    SnapshotStored(Message, Box<Store>),
    /// A read that may be answered is answered.
    Serve(u64),
}

/// A step, for the trace.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) enum Note {
    Started { member: usize, life: u32, term: u64, commit: u64, last: u64, applied: u64 },
    FailedToStart { member: usize, life: u32 },
    Crashed { member: usize, mode: &'static str },
    Paused { member: usize },
    Resumed { member: usize, held: usize },
    SlowDisk { member: usize },
    HungDisk { member: usize },
    DiskWillStop { member: usize },
    Doomed { member: usize },
    Cut { links: usize, hash: u64 },
    Mended { links: usize, hash: u64 },
    Turn { member: usize, term: u64, leader: u64, commit: u64, applied: u64 },
    Elected { member: usize, term: u64 },
    Sent { from: usize, to: usize, kind: &'static str, hash: u64, copies: usize },
    Received { to: usize, from: u64, hash: u64 },
    Synced { member: usize, batches: usize, durable: u64, last: u64 },
    CheckpointWritten { member: usize, index: u64 },
    SnapshotSent { from: usize, to: u64, index: u64, bytes: usize, broken: bool },
    SnapshotStored { member: usize, index: u64 },
    SnapshotRefused { member: usize },
    StaleState { member: usize, index: u64 },
    Stranger { member: usize, kind: &'static str },
    BadProposal { member: usize },
    SnapshotInstalled { member: usize, index: u64 },
    Asked { member: usize, request: u64, what: &'static str },
    Answered { member: usize, request: u64, what: &'static str },
    Transfer { member: usize, to: u64 },
    Campaign { member: usize },
    Healed,
    Well,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The plan.
    pub plan: Plan,
    /// The hash over everything that happened.
    pub hash: u64,
    /// How many steps there were.
    pub steps: u64,
    /// The entries that were committed.
    pub entries: u64,
    /// What the run met.
    pub coverage: Coverage,
    /// The rule that was broken, if one was.
    pub violation: Option<Violation>,
    /// The last steps in words, if a rule was broken.
    pub tail: Vec<String>,
}

/// A run in progress.
#[derive(Debug)]
pub struct Simulation {
    seed: u64,
    plan: Plan,
    now: Time,
    queue: Queue<Happening>,
    /// For what threads and disks do.
    rng: Rng,
    /// For what strikes them.
    misfortune: Rng,
    members: Vec<Member>,
    bootstrap: Vec<quoin_store::Member>,
    network: Network,
    workload: Workload,
    clients: Vec<Client>,
    requests: BTreeMap<u64, Request>,
    next_request: u64,
    agreement: Agreement,
    states: States,
    leases: Leases,
    watches: Watches,
    history: History,
    coverage: Coverage,
    trace: Trace<Note>,
    /// Set once faults have ended.
    ending: Option<Ending>,
    well: bool,
}

impl Simulation {
    /// Prepares the run of a seed.
    #[must_use]
    pub fn new(seed: u64, plan: Plan) -> Self {
        let mut rng = Rng::new(seed);
        let mut misfortune = rng.fork();
        let network = Network::new(rng.fork(), plan.network, plan.members);
        let workload = Workload::new(rng.fork(), plan.load.keys);
        let bootstrap = configured(plan.members);
        let members = bootstrap.iter().map(|member| Member {
            id: NodeId(member.id),
            disk: MemFs::new(),
            shadow: Shadow::default(),
            life: 0,
            process: None,
            held: None,
            tick: drifting(TICK, plan.limits.drift, &mut misfortune),
            slow_until: 0,
            hung_until: 0,
            hung_ticks: 0,
            doomed: false,
        });
        Self {
            seed,
            now: 0,
            queue: Queue::new(),
            members: members.collect(),
            bootstrap,
            network,
            workload,
            clients: vec![Client::default(); plan.load.clients],
            requests: BTreeMap::new(),
            next_request: 0,
            agreement: Agreement::default(),
            states: States::default(),
            leases: Leases::new(plan.limits.drift),
            watches: Watches::new(seed),
            history: History::new(),
            coverage: Coverage::default(),
            trace: Trace::new(plan.print),
            ending: None,
            well: false,
            rng,
            misfortune,
            plan,
        }
    }

    /// Runs to the end, or to the first broken rule. A panic of a member breaks a rule.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        self.schedule_first();
        let result = catch_unwind(AssertUnwindSafe(|| self.run_to_end()));
        let violation = match result {
            Ok(checked) => checked.err(),
            Err(panic) => Some(Violation { what: format!("panic: {}", text_of(&*panic)) }),
        };
        self.count_outcomes();
        let tail = if violation.is_some() { self.trace.tail() } else { Vec::new() };
        Outcome {
            seed: self.seed,
            plan: self.plan,
            hash: self.trace.hash(),
            steps: self.trace.notes(),
            entries: self.agreement.last().0,
            coverage: self.coverage,
            violation,
            tail,
        }
    }

    fn schedule_first(&mut self) {
        for member in 0..self.members.len() {
            let at = self.rng.between(0, 500 * MS);
            self.queue.push(at, Happening::Start { member });
        }
        for client in 0..self.clients.len() {
            let at = self.rng.between(0, 1000 * MS);
            self.queue.push(at, Happening::Next { client });
        }
        self.schedule_faults();
        self.queue.push(self.plan.duration, Happening::Heal);
    }

    fn run_to_end(&mut self) -> Checked {
        let mut events = 0;
        while !self.well {
            let Some((at, happening)) = self.queue.pop() else {
                return Err("nothing is left to happen".to_owned().into());
            };
            self.now = at;
            self.happen(happening)?;
            events += 1;
            if events > EVENTS_MAX {
                return Err("the run does not end".to_owned().into());
            }
        }
        Ok(())
    }

    fn happen(&mut self, happening: Happening) -> Checked {
        if let Some(member) = addressee(&happening)
            && let Some(held) = &mut self.members[member].held
        {
            held.push(happening);
            return Ok(());
        }
        match happening {
            Happening::Inside { member, life, what } => {
                let alive = self.members[member].process.is_some();
                if alive && self.members[member].life == life {
                    self.happen_inside(member, what)
                } else {
                    Ok(())
                }
            }
            Happening::Arrival { to, message } => self.receive(to, message),
            Happening::Delivery { to, parcel } => self.receive_snapshot(to, parcel),
            Happening::Asked { member, request } => self.asked(member, request),
            Happening::Next { client } => {
                self.next_request(client);
                Ok(())
            }
            Happening::GiveUp { client, request } => {
                self.give_up(client, request);
                Ok(())
            }
            Happening::Fault(fault) => self.strike(fault),
            Happening::Downfall { member, life } => {
                self.fall(member, life);
                Ok(())
            }
            Happening::Cut(cut) => {
                self.cut(&cut);
                Ok(())
            }
            Happening::Mend(cut) => {
                self.mend(&cut);
                Ok(())
            }
            Happening::Resume { member, life } => {
                self.resume(member, life);
                Ok(())
            }
            Happening::Start { member } => self.start(member),
            Happening::Heal => self.heal(),
            Happening::Probe => self.probe(),
        }
    }

    fn happen_inside(&mut self, member: usize, what: Inside) -> Checked {
        match what {
            Inside::Tick => {
                let tick = self.members[member].tick;
                self.inside(member, tick, Inside::Tick);
                self.input(member, Input::Tick);
                Ok(())
            }
            Inside::Turn => self.take_turns(member),
            Inside::Sync => self.end_sync(member),
            Inside::WriteCheckpoint(meta, checkpoint) => {
                self.write_checkpoint(member, meta, *checkpoint)
            }
            Inside::CheckpointWritten(written) => {
                self.input(member, Input::Checkpointed(written));
                Ok(())
            }
            Inside::Spare(job) => self.prepare_segment(member, job),
            Inside::Unreachable(peer) => {
                self.input(member, Input::Unreachable(peer));
                Ok(())
            }
            Inside::SnapshotSent(peer, ok) => {
                self.input(member, Input::SnapshotSent(peer, ok));
                Ok(())
            }
            Inside::SnapshotStored(message, store) => {
                self.input(member, Input::Snapshot(message, store));
                Ok(())
            }
            Inside::Serve(request) => self.serve(member, request),
        }
    }

    /// Schedules something within the present process of a member.
    fn inside(&mut self, member: usize, after: Time, what: Inside) {
        let life = self.members[member].life;
        self.queue.push(self.now + after, Happening::Inside { member, life, what });
    }

    fn note(&mut self, note: Note) {
        self.trace.note(self.now, note);
    }

    fn position(&self, id: NodeId) -> Option<usize> {
        self.members.iter().position(|member| member.id == id)
    }

    fn bootstrap(&self, member: usize) -> Bootstrap {
        let ids: Vec<u64> = self.bootstrap.iter().map(|member| member.id).collect();
        let metadata = Metadata { node: self.members[member].id, cluster: cluster_id(&ids) };
        Bootstrap { metadata, members: self.bootstrap.clone() }
    }
}

/// The members as an operator would configure them.
fn configured(members: usize) -> Vec<quoin_store::Member> {
    let member = |number| {
        let peer_urls = vec![format!("http://10.0.0.{number}:2380")];
        let id = member_id(&peer_urls, "simulation", None);
        let name = format!("member-{number}");
        quoin_store::Member { id, peer_urls, name, ..quoin_store::Member::default() }
    };
    (1..=members).map(member).collect()
}

fn drifting(length: Time, drift: u64, rng: &mut Rng) -> Time {
    length * rng.between(1000 - drift, 1000 + drift) / 1000
}

fn data_dir() -> DataDir {
    DataDir::new(Path::new("/data"))
}

/// Returns the member whose process something happens to.
fn addressee(happening: &Happening) -> Option<usize> {
    match happening {
        Happening::Inside { member, .. } | Happening::Asked { member, .. } => Some(*member),
        Happening::Arrival { to, .. } | Happening::Delivery { to, .. } => Some(*to),
        Happening::Next { .. }
        | Happening::GiveUp { .. }
        | Happening::Fault(_)
        | Happening::Downfall { .. }
        | Happening::Cut(_)
        | Happening::Mend(_)
        | Happening::Resume { .. }
        | Happening::Start { .. }
        | Happening::Heal
        | Happening::Probe => None,
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let literal = || panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(literal).unwrap_or_else(|| "without a text".to_owned())
}
