//! What a log must contain, by the simplest means: a list of everything appended to it.

use std::collections::BTreeMap;

use quoin_raft::{Entry, HardState, Index, SnapshotMeta};
use quoin_vfs::FileSystem;

use super::{entry, snapshot, state};
use crate::{Replay, Wal, WalError};

/// Choices that depend on a seed alone (SplitMix64).
#[derive(Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// One thing appended.
#[derive(Clone, Debug)]
pub(super) enum Appended {
    Entry(Entry),
    State(HardState),
    Snapshot(SnapshotMeta),
}

/// A log as it is after some of the history.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    entries: BTreeMap<Index, Entry>,
    pub(super) last: Index,
    pub(super) state: HardState,
    has: Vec<SnapshotMeta>,
}

/// What a node starts from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct View {
    state: HardState,
    entries: Vec<Entry>,
}

impl Log {
    pub(super) fn apply(&mut self, appended: &Appended) {
        match appended {
            Appended::Entry(entry) => {
                self.entries.split_off(&entry.index);
                self.entries.insert(entry.index, entry.clone());
                self.last = entry.index;
            }
            Appended::State(state) => self.state = *state,
            Appended::Snapshot(snapshot) => {
                if self.entries.get(&snapshot.index).is_none_or(|e| e.term != snapshot.term) {
                    self.entries.clear();
                    self.last = snapshot.index;
                }
                self.has.push(snapshot.clone());
            }
        }
    }

    pub(super) fn term(&self, index: Index) -> u64 {
        self.entries.get(&index).map_or(0, |entry| entry.term.0)
    }

    /// Returns what starting from a snapshot must give, if the log names it.
    pub(super) fn view(&self, from: &SnapshotMeta) -> Option<View> {
        let mut state = self.state;
        let known = self.has.contains(from) || from.index == Index(0);
        let known = known || self.term(from.index) == from.term.0;
        state.commit = state.commit.max(from.index);
        let entries = self.entries.range(from.index.next()..).map(|(_, e)| e.clone());
        known.then(|| View { state, entries: entries.collect() })
    }
}

impl From<&Replay> for View {
    fn from(replay: &Replay) -> Self {
        Self { state: replay.hard_state, entries: replay.entries.clone() }
    }
}

/// A member that appends to a log at random, as Raft would.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) random: Random,
    pub(super) history: Vec<Appended>,
    pub(super) log: Log,
    /// How much of the history was synced.
    pub(super) synced: usize,
    /// The states that are durable outside of the log, oldest first. The log may have to be
    /// read from any of them.
    pub(super) snapshots: Vec<SnapshotMeta>,
    /// A leader's state that is durable, and counts once the log names it.
    received: Option<SnapshotMeta>,
    term: u64,
}

impl Member {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            history: Vec::new(),
            log: Log::default(),
            synced: 0,
            snapshots: vec![SnapshotMeta::default()],
            received: None,
            term: 1,
        }
    }

    /// Does one thing at random.
    pub(super) fn step(&mut self, wal: &mut Wal) -> Result<(), WalError> {
        match self.random.below(20) {
            0..=6 => self.append(wal, false),
            7..=8 => self.append(wal, true),
            9..=12 => self.commit(wal),
            13 => self.take_snapshot(wal),
            14 if self.random.below(3) == 0 => self.install_snapshot(wal),
            15 => self.release(wal),
            16 => prepare_spare(wal),
            17 => wal.flush(),
            _ => self.sync(wal),
        }
    }

    pub(super) fn sync(&mut self, wal: &mut Wal) -> Result<(), WalError> {
        wal.sync()?;
        self.synced = self.history.len();
        Ok(())
    }

    fn record(&mut self, appended: Appended) {
        self.log.apply(&appended);
        self.history.push(appended);
    }

    /// Appends after the last entry, or over entries that are not committed.
    fn append(&mut self, wal: &mut Wal, over: bool) -> Result<(), WalError> {
        let mut first = self.log.last.0 + 1;
        let open = self.log.last.0 - self.log.state.commit.0.min(self.log.last.0);
        if over && open > 0 {
            first -= 1 + self.random.below(open);
        }
        if over {
            self.term += 1;
        }
        let entries: Vec<_> = (0..1 + self.random.below(5))
            .map(|position| {
                let size = match self.random.below(10) {
                    0 => 0,
                    1 => 900,
                    2 => 2_000,
                    _ => self.random.below(100),
                };
                entry(first + position, self.term, size as usize)
            })
            .collect();
        let with_state = self.random.below(2) == 0;
        let state = with_state.then(|| state(self.term, 3, self.log.state.commit.0));
        for entry in &entries {
            self.record(Appended::Entry(entry.clone()));
        }
        if let Some(state) = state {
            self.record(Appended::State(state));
        }
        wal.append(state.as_ref(), &entries)
    }

    fn commit(&mut self, wal: &mut Wal) -> Result<(), WalError> {
        let open = self.log.last.0 - self.log.state.commit.0.min(self.log.last.0);
        let commit = self.log.state.commit.0 + self.random.below(open + 1);
        let state = state(self.term, self.random.below(3), commit);
        self.record(Appended::State(state));
        wal.append(Some(&state), &[])
    }

    /// The state at some committed index becomes durable; the log is told, or not.
    fn take_snapshot(&mut self, wal: &mut Wal) -> Result<(), WalError> {
        let base = self.snapshots.last().expect("there is always one").index;
        let commit = self.log.state.commit;
        if commit <= base {
            return Ok(());
        }
        let index = Index(base.0 + 1 + self.random.below(commit - base));
        let snapshot = snapshot(index.0, self.log.term(index));
        assert_ne!(snapshot.term.0, 0, "the log has what is committed");
        // Only what is durable in the log may be put into a durable state.
        self.sync(wal)?;
        self.snapshots.push(snapshot.clone());
        if self.random.below(3) == 0 {
            return Ok(());
        }
        self.record(Appended::Snapshot(snapshot.clone()));
        wal.append_snapshot(&snapshot)
    }

    /// A leader's state replaces the log, of which it may or may not be a continuation.
    fn install_snapshot(&mut self, wal: &mut Wal) -> Result<(), WalError> {
        let index = self.log.state.commit.0 + 1 + self.random.below(20);
        self.term += 1;
        let snapshot = snapshot(index, self.term);
        self.received = Some(snapshot.clone());
        self.record(Appended::Snapshot(snapshot.clone()));
        let state = state(self.term, 0, index);
        self.record(Appended::State(state));
        wal.append_snapshot(&snapshot)?;
        wal.append(Some(&state), &[])?;
        self.sync(wal)?;
        self.snapshots = self.received.take().into_iter().collect();
        Ok(())
    }

    fn release(&mut self, wal: &mut Wal) -> Result<(), WalError> {
        // The segments before are then not in the log's way if a state is damaged.
        let keep = self.random.below(self.snapshots.len() as u64) as usize;
        self.snapshots.drain(..keep);
        wal.release_to(self.snapshots[0].index)
    }

    /// Returns one of the snapshots that the log can be read from.
    pub(super) fn any_snapshot(&mut self) -> SnapshotMeta {
        let choice = self.random.below(self.snapshots.len() as u64) as usize;
        self.snapshots[choice].clone()
    }

    /// Returns the state that the member starts from after a crash: the one that it received, if the
    /// log names it, or its own newest one.
    pub(super) fn start(&mut self, fs: &dyn FileSystem) -> SnapshotMeta {
        let named = crate::snapshots(fs, super::dir()).unwrap();
        if let Some(received) = self.received.take().filter(|it| named.contains(it)) {
            self.snapshots = vec![received];
        }
        self.snapshots.last().expect("there is always one").clone()
    }

    /// Continues with a log that a crash has cut back to one of its possible states. Returns
    /// false if `found` is none of them.
    pub(super) fn restart(&mut self, from: &SnapshotMeta, found: &Replay) -> bool {
        let found_view = Some(View::from(found));
        let mut log = Log::default();
        for (position, appended) in self.history.iter().enumerate() {
            if position >= self.synced && log.view(from) == found_view {
                self.history.truncate(position);
                break;
            }
            log.apply(appended);
        }
        if log.view(from) != found_view {
            return false;
        }
        self.log = log;
        self.snapshots.retain(|snapshot| snapshot.index >= from.index);
        self.synced = self.history.len();
        self.term += 1;
        true
    }
}

fn prepare_spare(wal: &mut Wal) -> Result<(), WalError> {
    if let Some(job) = wal.spare_job() {
        wal.install_spare(job.run()?);
    }
    Ok(())
}
