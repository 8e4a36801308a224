//! A member is cut off before each operation on its disk while it runs a script of requests with
//! checkpoints, compactions and rewriting of segments. Whatever is left of what was not synced, it
//! must start again, have everything that was acknowledged, and be in the state that its log makes
//! of an empty store.
//!
//! `SLOW_TESTS=1` runs the script of 2,000 requests; without it, a short one.

mod hook;
mod script;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use quoin_node::recover::{Bootstrap, recover};
use quoin_node::wal::{Metadata, Wal};
use quoin_node::{Answer, DataDir, Event, Node, Options, Recovered};
use quoin_raft::{Entry, EntryKind, NodeId, SnapshotMeta};
use quoin_store::{Checkpoint, EntryData, Member, Store, View, WriteOptions, Written};
use quoin_vfs::{CrashMode, FileSystem, MemFs};

use hook::HookFs;
use script::Random;

const SEGMENTS: WriteOptions = WriteOptions { segment_bytes: 8 * 1024 };
/// Of what was left, this many random choices are tried at each operation.
const SUBSETS: u64 = 3;
/// Every so many recoveries the member goes on for a while, and is started once more.
const GOES_ON: u64 = 29;

/// What must be the same after a start: all that a client can see.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    revision: i64,
    compacted: i64,
    hash: u32,
    leases: Vec<(i64, i64, Vec<Vec<u8>>)>,
    members: usize,
}

fn seen(view: &View) -> Seen {
    let leases = view.leases().map(|lease| (lease.id, lease.ttl_s, lease.keys().collect()));
    Seen {
        revision: view.revision(),
        compacted: view.compact_revision(),
        hash: view.hash_kv(0).expect("the store can be read").hash,
        leases: leases.collect(),
        members: view.membership().members().count(),
    }
}

/// What the log makes of an empty store, and what was said.
#[derive(Default)]
struct Ledger {
    store: Store,
    /// By index.
    states: Vec<Seen>,
    acknowledged: u64,
    seed: u64,
    operations: u64,
    recoveries: u64,
    from_checkpoint: u64,
    replayed: u64,
}

impl Ledger {
    fn append(&mut self, entry: &Entry) {
        assert_eq!(entry.index.0, self.store.applied().0 + 1, "one member never takes back");
        let data = match entry.kind {
            EntryKind::Normal => EntryData::Normal(&entry.data),
            EntryKind::ConfChange | EntryKind::ConfChangeV2 => EntryData::ConfChange(&entry.data),
        };
        let applied = self.store.apply(entry.index.0, entry.term.0, data);
        applied.expect("the script has only requests that are understood");
        self.states.push(seen(&self.store.view()));
    }

    /// The state after the entry with an index.
    fn state(&self, index: u64) -> &Seen {
        &self.states[usize::try_from(index - 1).expect("the script is short")]
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().expect("a test that failed is over")
}

fn start(fs: &Arc<dyn FileSystem>) -> Recovered<u64> {
    let metadata = Metadata { node: NodeId(1), cluster: 9 };
    let member = Member { id: 1, name: "one".to_owned(), ..Member::default() };
    let bootstrap = Bootstrap { metadata, members: vec![member] };
    let options = Options {
        tick_ms: 100,
        lease_checkpoint_ticks: 100,
        id: NodeId(1),
        election_ticks: 10,
        heartbeat_ticks: 1,
        request_timeout_ticks: 70,
        read_retry_ticks: 5,
        snapshot_count: 25,
        memory_budget: 0,
        catchup_entries: 10,
        pre_vote: true,
        seed: 1,
        start_ms: 1,
    };
    let dir = DataDir::new(Path::new("/data"));
    let wal_options = quoin_node::wal::Options { segment_bytes: 32 * 1024, fill_bytes: 4096 };
    let recovered = recover(fs, &dir, &wal_options, options, &bootstrap);
    recovered.expect("whatever a crash leaves, the member starts")
}

/// A member, and the disk that it writes to.
struct Machine<'a> {
    fs: Arc<dyn FileSystem>,
    node: Node<u64>,
    wal: Wal,
    ledger: Option<&'a Mutex<Ledger>>,
    taken: Option<(SnapshotMeta, Checkpoint)>,
    written: Option<(SnapshotMeta, Written)>,
    checkpoints: u64,
}

impl<'a> Machine<'a> {
    fn begin(fs: Arc<dyn FileSystem>, ledger: Option<&'a Mutex<Ledger>>) -> Self {
        let Recovered { node, wal, .. } = start(&fs);
        let (taken, written) = (None, None);
        Self { fs, node, wal, ledger, taken, written, checkpoints: 0 }
    }

    /// Runs turns until nothing moves, as the threads of the server would.
    fn settle(&mut self) {
        loop {
            let turn = self.node.turn();
            if let Some(ledger) = self.ledger {
                turn.log.entries.iter().for_each(|entry| lock(ledger).append(entry));
            }
            turn.log.append_to(&mut self.wal).expect("memory takes every write");
            if turn.log.must_sync {
                self.wal.sync().expect("memory takes every sync");
            }
            if let Some(release) = turn.log.release {
                self.wal.release_to(release).expect("memory takes every change");
            }
            if let Some(ready) = turn.log.ready {
                self.node.persisted(ready);
            }
            for (_, answer) in turn.answers {
                let Answer::Applied(_) = answer else { panic!("{answer:?}") };
                let applied = self.node.status().applied.0;
                if let Some(ledger) = self.ledger {
                    lock(ledger).acknowledged = applied;
                }
            }
            for event in turn.events {
                match event {
                    Event::Checkpoint(meta, checkpoint) => self.taken = Some((meta, checkpoint)),
                    Event::Fatal(reason) => panic!("{reason}"),
                    Event::Leader(_)
                    | Event::Members
                    | Event::Removed
                    | Event::Compacted(_)
                    | Event::SendSnapshot(..) => {}
                }
            }
            if turn.idle && !self.node.wants_turn() {
                return;
            }
        }
    }

    /// One request, and perhaps a step of the job that writes checkpoints.
    fn step(&mut self, random: &mut Random, id: u64) {
        let data = random.request(id, self.node.store().view().revision());
        self.node.propose(id, data, id);
        self.settle();
        if random.below(4) == 0 {
            self.node.tick();
            self.settle();
        }
        if random.below(3) > 0 {
            return;
        }
        if let Some(written) = self.written.take() {
            self.node.checkpointed(Some(written));
            self.settle();
        } else if let Some((meta, checkpoint)) = self.taken.take() {
            let dir = DataDir::new(Path::new("/data")).store();
            let fs = self.fs.as_ref();
            let written = checkpoint.write_paced(fs, &dir, &SEGMENTS, &mut |_| ());
            self.written = Some((meta, written.expect("memory takes every change")));
            self.checkpoints += 1;
        }
    }
}

/// Starts the member from what a crash now would leave, and looks at what it has.
fn check(ledger: &Mutex<Ledger>, disk: &MemFs, mode: CrashMode) {
    let mut ledger = lock(ledger);
    ledger.recoveries += 1;
    let after = disk.crash(mode);
    let mut machine = Machine::begin(Arc::new(after.clone()), None);
    let begun = machine.node.store().applied().0;
    let last = machine.node.raft().last_entry().index.0;
    let what = format!("seed {}, operation {}, {mode:?}", ledger.seed, ledger.operations);
    assert!(last >= ledger.acknowledged, "{what}: entries up to {last} of {}", ledger.acknowledged);
    ledger.from_checkpoint += u64::from(begun > 0);
    ledger.replayed += last - begun;
    if begun > 0 {
        let found = seen(&machine.node.store().view());
        assert_eq!(&found, ledger.state(begun), "{what}: the checkpoint of entry {begun}");
    }
    machine.settle();
    machine.node.campaign();
    machine.settle();
    assert!(machine.node.status().applied.0 > last, "{what}: it leads and applies");
    assert_eq!(&seen(&machine.node.store().view()), ledger.state(last), "{what}: entry {last}");
    if ledger.recoveries.is_multiple_of(GOES_ON) {
        let mut random = Random(ledger.recoveries);
        (0..40).for_each(|nth| machine.step(&mut random, 1_000_000 + nth));
        let expected = seen(&machine.node.store().view());
        drop(machine);
        let mut again = Machine::begin(Arc::new(after.crash(CrashMode::KeepSynced)), None);
        again.settle();
        again.node.campaign();
        again.settle();
        assert_eq!(seen(&again.node.store().view()), expected, "{what}: a second start");
    }
}

fn run(seed: u64, requests: u64) {
    let disk = MemFs::new();
    let ledger = Arc::new(Mutex::new(Ledger { seed, ..Ledger::default() }));
    let hooked = Arc::clone(&ledger);
    let hook = move |disk: &MemFs| {
        let operations = {
            let mut ledger = lock(&hooked);
            ledger.operations += 1;
            // A member that is cut off before it exists begins anew, which has its own test.
            if ledger.acknowledged == 0 {
                return;
            }
            ledger.operations
        };
        check(&hooked, disk, CrashMode::KeepSynced);
        check(&hooked, disk, CrashMode::KeepAll);
        for nth in 0..SUBSETS {
            check(&hooked, disk, CrashMode::Subset { seed: seed ^ (operations * SUBSETS + nth) });
        }
    };
    let fs = HookFs { disk, hook: Arc::new(hook) };
    let mut machine = Machine::begin(Arc::new(fs), Some(&ledger));
    for index in 1..=machine.node.raft().last_entry().index.0 {
        let entries = machine.node.raft().entries_from(quoin_raft::Index(index), 1);
        entries.iter().take(1).for_each(|entry| lock(&ledger).append(entry));
    }
    machine.settle();
    machine.node.campaign();
    machine.settle();
    let mut random = Random(seed);
    for id in 1..=requests {
        machine.step(&mut random, id);
    }
    let checkpoints = machine.checkpoints;
    drop(machine);
    let ledger = lock(&ledger);
    println!(
        "seed {seed}: {requests} requests, {} operations, {checkpoints} checkpoints, {} recoveries, \
         {} of them from a checkpoint, {} entries replayed; 0 unbootable, 0 lost, 0 different",
        ledger.operations, ledger.recoveries, ledger.from_checkpoint, ledger.replayed,
    );
    assert!(checkpoints > requests / 100 && ledger.from_checkpoint > 0);
}

#[test]
fn a_crash_at_any_operation_loses_nothing() {
    let slow = std::env::var_os("SLOW_TESTS").is_some();
    let requests = if slow { 2_000 } else { 200 };
    run(7, requests);
}
