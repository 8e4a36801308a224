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

use quoin_node::wal;
use quoin_node::{Answer, DataDir, Node};
use quoin_raft::{Entry, EntryKind, SnapshotMeta};
use quoin_store::{Checkpoint, EntryData, Store, View, WriteOptions, Written};
use quoin_vfs::{CrashMode, FileSystem, MemFs};

use crate::machine::{Machine, Observer, Settings};
use hook::HookFs;
use script::Random;

const ROOT: &str = "/data";
const SETTINGS: Settings = Settings {
    wal: wal::Options { segment_bytes: 32 * 1024, fill_bytes: 4096 },
    syncs: true,
    snapshot_count: 25,
    catchup_entries: 10,
    memory_budget: 0,
};
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

/// A member on its disk, and its job that writes checkpoints.
struct Subject<'a> {
    fs: Arc<dyn FileSystem>,
    machine: Machine,
    job: Job<'a>,
}

/// The job, and who is told what the member says.
struct Job<'a> {
    ledger: Option<&'a Mutex<Ledger>>,
    taken: Option<(SnapshotMeta, Checkpoint)>,
    written: Option<(SnapshotMeta, Written)>,
    checkpoints: u64,
}

impl Observer for Job<'_> {
    fn entries(&mut self, entries: &[Entry]) {
        if let Some(ledger) = self.ledger {
            entries.iter().for_each(|entry| lock(ledger).append(entry));
        }
    }

    fn answer(&mut self, node: &Node<u64>, answer: Answer) {
        let Answer::Applied(_) = answer else { panic!("{answer:?}") };
        if let Some(ledger) = self.ledger {
            lock(ledger).acknowledged = node.status().applied.0;
        }
    }

    fn checkpoint(&mut self, _: &mut Node<u64>, meta: SnapshotMeta, checkpoint: Checkpoint) {
        self.taken = Some((meta, checkpoint));
    }
}

impl<'a> Subject<'a> {
    /// Starts the member, which it must whatever a crash has left.
    fn begin(fs: Arc<dyn FileSystem>, ledger: Option<&'a Mutex<Ledger>>) -> Self {
        let machine = Machine::start(&fs, Path::new(ROOT), &SETTINGS);
        let job = Job { ledger, taken: None, written: None, checkpoints: 0 };
        Self { fs, machine, job }
    }

    fn node(&self) -> &Node<u64> {
        &self.machine.node
    }

    fn settle(&mut self) {
        self.machine.settle(&mut self.job);
    }

    fn lead(&mut self) {
        self.machine.lead(&mut self.job);
    }

    /// One request, and perhaps a step of the job that writes checkpoints.
    fn step(&mut self, random: &mut Random, id: u64) {
        let data = random.request(id, self.node().store().view().revision());
        self.machine.node.propose(id, data, id);
        self.settle();
        if random.below(4) == 0 {
            self.machine.node.tick();
            self.settle();
        }
        if random.below(3) > 0 {
            return;
        }
        if let Some(written) = self.job.written.take() {
            self.machine.node.checkpointed(Some(written));
            self.settle();
        } else if let Some((meta, checkpoint)) = self.job.taken.take() {
            let dir = DataDir::new(Path::new(ROOT)).store();
            let fs = self.fs.as_ref();
            let written = checkpoint.write_paced(fs, &dir, &SEGMENTS, &mut |_| ());
            self.job.written = Some((meta, written.expect("memory takes every change")));
            self.job.checkpoints += 1;
        }
    }
}

/// Starts the member from what a crash now would leave, and looks at what it has.
fn check(ledger: &Mutex<Ledger>, disk: &MemFs, mode: CrashMode) {
    let mut ledger = lock(ledger);
    ledger.recoveries += 1;
    let after = disk.crash(mode);
    let mut subject = Subject::begin(Arc::new(after.clone()), None);
    let begun = subject.node().store().applied().0;
    let last = subject.node().raft().last_entry().index.0;
    let what = format!("seed {}, operation {}, {mode:?}", ledger.seed, ledger.operations);
    assert!(last >= ledger.acknowledged, "{what}: entries up to {last} of {}", ledger.acknowledged);
    ledger.from_checkpoint += u64::from(begun > 0);
    ledger.replayed += last - begun;
    if begun > 0 {
        let found = seen(&subject.node().store().view());
        assert_eq!(&found, ledger.state(begun), "{what}: the checkpoint of entry {begun}");
    }
    subject.lead();
    assert!(subject.node().status().applied.0 > last, "{what}: it leads and applies");
    assert_eq!(&seen(&subject.node().store().view()), ledger.state(last), "{what}: entry {last}");
    if ledger.recoveries.is_multiple_of(GOES_ON) {
        let mut random = Random(ledger.recoveries);
        (0..40).for_each(|nth| subject.step(&mut random, 1_000_000 + nth));
        let expected = seen(&subject.node().store().view());
        drop(subject);
        let mut again = Subject::begin(Arc::new(after.crash(CrashMode::KeepSynced)), None);
        again.lead();
        assert_eq!(seen(&again.node().store().view()), expected, "{what}: a second start");
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
    let mut subject = Subject::begin(Arc::new(fs), Some(&ledger));
    for index in 1..=subject.node().raft().last_entry().index.0 {
        let entries = subject.node().raft().entries_from(quoin_raft::Index(index), 1);
        entries.iter().take(1).for_each(|entry| lock(&ledger).append(entry));
    }
    subject.lead();
    let mut random = Random(seed);
    for id in 1..=requests {
        subject.step(&mut random, id);
    }
    let checkpoints = subject.job.checkpoints;
    drop(subject);
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
