//! The disk of a member: the log thread, checkpoints, death and recovery.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use quoin_node::recover::recover;
use quoin_node::{LogWork, Options, RecoverError, RequestIds};
use quoin_raft::{Index, NodeId, SnapshotMeta};
use quoin_store::{Checkpoint, WriteOptions};
use quoin_vfs::{CrashMode, Fault, FaultFs, FileSystem};
use quoin_wal::SpareJob;

use super::{Happening, Inside, Note, Simulation, TICK, data_dir};
use crate::check::{Checked, Violation};
use crate::coverage::Mark;
use crate::member::Process;
use crate::plan::{DiskPlan, Limits, Sabotage};
use crate::queue::{MS, SECOND};
use crate::workload::Workload;

/// Batches of work that share one sync, at most, as in the server.
const WORK_PER_SYNC: usize = 64;
/// A crash leaves so many bytes whole or not at all.
const SECTOR_BYTES: usize = 512;
/// A slow disk takes so much longer.
const SLOWNESS: u64 = 60;
/// When the first member starts, in milliseconds since the epoch.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// Whether a member outlived the end of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    Done,
    Crashed,
}

impl Simulation {
    /// The log thread takes what waits, unless it is busy.
    pub(super) fn begin_sync(&mut self, member: usize) -> Checked {
        let DiskPlan { sync, written_early, .. } = self.plan.disk;
        let slow = self.now < self.members[member].slow_until;
        let process = self.process(member);
        if process.syncing.is_some() || process.work.is_empty() {
            return Ok(());
        }
        let all = process.work.len().min(WORK_PER_SYNC);
        let count = if self.rng.chance(700) { all } else { self.rng.below(all) + 1 };
        let mut batch: Vec<LogWork> = self.process(member).work.drain(..count).collect();
        if self.plan.sabotage == Some(Sabotage::ForgetVote) {
            let states = batch.iter_mut().filter_map(|work| work.hard_state.as_mut());
            states.for_each(|state| state.vote = NodeId::NONE);
        }
        if batch.len() > 1 {
            self.coverage.hit(Mark::SharedSync);
        }
        for work in batch.iter().filter(|_| !self.plan.only_consequences) {
            if self.members[member].shadow.append(work) {
                self.coverage.hit(Mark::EntriesReplaced);
            }
        }
        let early = self.rng.chance(written_early) || self.members[member].doomed;
        let wal = &mut self.process(member).wal;
        let appended = batch.iter().try_for_each(|work| work.append_to(wal));
        let written = appended.and_then(|()| if early { wal.flush() } else { Ok(()) });
        if let Err(error) = written {
            return self.disk_failed(member, &error);
        }
        if self.plan.sabotage == Some(Sabotage::AckBeforeSync) {
            self.announce(member, &mut batch)?;
        }
        let sync = self.rng.around(if slow { sync * SLOWNESS } else { sync });
        let sync = sync.max(self.members[member].hung_until.saturating_sub(self.now));
        let since = self.now;
        self.process(member).syncing = Some(batch);
        self.process(member).syncing_since = since;
        self.inside(member, sync, Inside::Sync);
        Ok(())
    }

    pub(super) fn end_sync(&mut self, member: usize) -> Checked {
        if self.members[member].doomed && self.tears(member) {
            self.coverage.hit(Mark::CrashInWrite);
            let seed = self.misfortune.next();
            self.crash(member, CrashMode::Subset { seed });
            return Ok(());
        }
        let process = self.process(member);
        let mut batch = process.syncing.take().expect("a sync that ends was begun");
        let must_sync = batch.iter().any(|work| work.must_sync);
        let lies = self.plan.sabotage == Some(Sabotage::LyingDisk);
        let wal = &mut self.process(member).wal;
        let synced = if must_sync && !lies { wal.sync() } else { wal.flush() };
        if let Err(error) = synced {
            return self.disk_failed(member, &error);
        }
        if must_sync {
            self.members[member].shadow.synced();
        }
        if self.settle(member, &batch)? == Settled::Crashed {
            return Ok(());
        }
        let release = batch.iter().filter_map(|work| work.release).max();
        let wal = &mut self.process(member).wal;
        if let Some(Err(error)) = release.map(|index| wal.release_to(index)) {
            return self.disk_failed(member, &error);
        }
        self.announce(member, &mut batch)?;
        let last = self.members[member].shadow.durable().last().index.0;
        let (batches, durable) = (batch.len(), self.process(member).durable);
        self.note(Note::Synced { member, batches, durable, last });
        if let Some(job) = self.process(member).wal.spare_job()
            && self.rng.chance(self.plan.disk.spare)
        {
            let after = self.rng.between(0, 100 * MS);
            self.inside(member, after, Inside::Spare(job));
        }
        self.begin_sync(member)
    }

    /// Settles what becomes of states that arrived, unless the machine stops before.
    fn settle(&mut self, member: usize, batch: &[LogWork]) -> Result<Settled, Violation> {
        let adopts = batch.iter().any(|work| work.adopt.is_some());
        let chance = self.plan.faults.crash_at_snapshot;
        if adopts && self.ending.is_none() && self.misfortune.chance(chance) {
            self.coverage.hit(Mark::CrashAtAdoption);
            let mode = self.crash_mode();
            self.crash(member, mode);
            return Ok(Settled::Crashed);
        }
        let disk = self.members[member].disk.clone();
        for work in batch {
            match work.settle(&disk, &data_dir().store()) {
                Ok(0) => {}
                Ok(_) => self.process(member).receiving = false,
                Err(error) => {
                    self.disk_failed(member, &error)?;
                    return Ok(Settled::Crashed);
                }
            }
        }
        Ok(Settled::Done)
    }

    /// Returns true if what is being synced can be torn.
    fn tears(&mut self, member: usize) -> bool {
        let batch = self.process(member).syncing.iter().flatten();
        let bytes: usize = batch.flat_map(|work| &work.entries).map(|entry| entry.data.len()).sum();
        bytes > SECTOR_BYTES
    }

    /// Says what had to wait for the sync.
    fn announce(&mut self, member: usize, batch: &mut [LogWork]) -> Checked {
        let ready = batch.iter().filter_map(|work| work.ready).max();
        for work in batch {
            for message in std::mem::take(&mut work.messages) {
                self.send(member, message)?;
            }
        }
        if let Some(ready) = ready {
            let process = self.process(member);
            process.durable = process.durable.max(ready);
            self.wake(member);
        }
        Ok(())
    }

    pub(super) fn prepare_segment(&mut self, member: usize, job: SpareJob) -> Checked {
        match job.run() {
            Ok(spare) => {
                self.coverage.hit(Mark::SpareSegment);
                self.process(member).wal.install_spare(spare);
                Ok(())
            }
            Err(error) => self.disk_failed(member, &error),
        }
    }

    pub(super) fn write_checkpoint(
        &mut self,
        member: usize,
        meta: SnapshotMeta,
        checkpoint: Checkpoint,
    ) -> Checked {
        let disk = self.failing_disk(member);
        let after = self.rng.around(20 * MS);
        let options = WriteOptions { segment_bytes: self.plan.limits.segment_bytes / 16 };
        let written = checkpoint.write_paced(&disk, &data_dir().store(), &options, &mut |_| ());
        let failed = disk.failed() > 0;
        // What was written is read through the same files later.
        disk.heal();
        match written {
            // What is superfluous is removed without a word if that fails.
            Ok(_) if self.members[member].disk.stopped() => self.disk_failed(member, &"stopped"),
            Ok(written) => {
                self.coverage.hit(Mark::CheckpointWritten);
                self.note(Note::CheckpointWritten { member, index: written.id.index });
                let written = Some(Box::new((meta, written)));
                self.inside(member, after, Inside::CheckpointWritten(written));
                Ok(())
            }
            Err(_) if failed => {
                self.coverage.hit(Mark::FileFailed);
                self.inside(member, after, Inside::CheckpointWritten(None));
                Ok(())
            }
            Err(error) => self.disk_failed(member, &error),
        }
    }

    /// Returns the disk of a member as one file sees it: sometimes one operation fails.
    pub(super) fn failing_disk(&mut self, member: usize) -> FaultFs {
        let disk = FaultFs::new(Arc::new(self.members[member].disk.clone()));
        let fails = self.rng.chance(self.plan.disk.file_fails) && self.ending.is_none();
        if fails {
            let fault = if self.rng.chance(500) { Fault::Device } else { Fault::NoSpace };
            disk.fail_nth(self.rng.between(1, 12), fault);
        }
        disk
    }

    /// A disk fails only when the machine has been stopped on purpose.
    pub(super) fn disk_failed(&mut self, member: usize, error: &impl ToString) -> Checked {
        if !self.members[member].disk.stopped() {
            let text = format!("member {member}: {}", error.to_string());
            return Err(Violation::from(text));
        }
        self.coverage.hit(Mark::CrashInWrite);
        let mode = self.crash_mode();
        self.crash(member, mode);
        Ok(())
    }

    pub(super) fn crash_mode(&mut self) -> CrashMode {
        match self.misfortune.between(0, 4) {
            0 | 1 => CrashMode::KeepSynced,
            2 => CrashMode::KeepAll,
            _ => CrashMode::Subset { seed: self.misfortune.next() },
        }
    }

    /// Ends the process of a member, and has its machine start again after a while.
    pub(super) fn crash(&mut self, member: usize, mode: CrashMode) {
        let (mark, name) = match mode {
            CrashMode::KeepSynced => (Mark::KeptSynced, "keep what was synced"),
            CrashMode::KeepAll => (Mark::KeptAll, "keep all"),
            CrashMode::Subset { .. } => (Mark::KeptSubset, "keep a part"),
        };
        self.coverage.hit(mark);
        self.note(Note::Crashed { member, mode: name });
        let machine = &mut self.members[member];
        machine.process = None;
        machine.held = None;
        machine.doomed = false;
        machine.disk = machine.disk.crash(mode);
        machine.life += 1;
        let down = self.misfortune.around(SECOND);
        self.queue.push(self.now + down, Happening::Start { member });
    }

    /// Starts a machine: recovers its member, and checks what was recovered.
    pub(super) fn start(&mut self, member: usize) -> Checked {
        let crash = self.plan.faults.crash_in_write.is_some() && self.ending.is_none();
        if crash && self.misfortune.chance(100) {
            let operations = self.misfortune.between(0, 25);
            self.members[member].disk.stop_after(operations);
        }
        self.start_without_log(member)?;
        let machine = &self.members[member];
        let disk: Arc<dyn FileSystem> = Arc::new(machine.disk.clone());
        let (options, wal_options) = self.options(member);
        let bootstrap = self.bootstrap(member);
        let recovered = recover::<u64>(&disk, &data_dir(), &wal_options, options, &bootstrap);
        let recovered = match recovered {
            Ok(recovered) => recovered,
            Err(error) => {
                let life = self.members[member].life;
                self.note(Note::FailedToStart { member, life });
                if self.members[member].disk.stopped() {
                    self.coverage.hit(Mark::CrashInRecovery);
                }
                return self.disk_failed(member, &error);
            }
        };
        self.members[member].disk.stop_after(u64::MAX);
        if recovered.repaired.is_some() {
            self.coverage.hit(Mark::TornWrite);
        }
        let members = self.members.len();
        let shadow = &mut self.members[member].shadow;
        if !self.plan.only_consequences {
            shadow.recovered(recovered.node.raft(), members)?;
        }
        if recovered.received.adopted.is_some() {
            self.coverage.hit(Mark::AdoptedAtStart);
        }
        if !recovered.received.discarded.is_empty() {
            self.coverage.hit(Mark::DiscardedAtStart);
        }
        let view = recovered.node.store().view();
        let process = Process {
            compared: Index(recovered.node.store().applied().0),
            node: recovered.node,
            wal: recovered.wal,
            ids: RequestIds::new(self.members[member].id, EPOCH_MS + self.now / MS),
            view,
            inbox: VecDeque::new(),
            awake: false,
            ticks: 0,
            work: VecDeque::new(),
            syncing: None,
            syncing_since: 0,
            durable: 0,
            told: 0,
            installed: Index::ZERO,
            receiving: false,
            states_sent: BTreeMap::new(),
        };
        self.started(member, process)
    }

    /// Now and then the disk of the log is not there when the machine starts. The member must not
    /// begin anew; it starts when the disk is back.
    fn start_without_log(&mut self, member: usize) -> Checked {
        if !self.misfortune.chance(self.plan.faults.lost_log) {
            return Ok(());
        }
        let disk = self.members[member].disk.crash(CrashMode::KeepAll);
        let wal = data_dir().wal();
        let names = disk.list(&wal).unwrap_or_default();
        let has_begun = self.members[member].shadow.durable().last().index > Index::ZERO;
        if names.is_empty() || !has_begun {
            return Ok(());
        }
        for name in names {
            disk.remove(&wal.join(name)).map_err(|error| error.to_string())?;
        }
        let disk: Arc<dyn FileSystem> = Arc::new(disk);
        let (options, wal_options) = self.options(member);
        let bootstrap = self.bootstrap(member);
        match recover::<u64>(&disk, &data_dir(), &wal_options, options, &bootstrap) {
            Err(RecoverError::NoLog { .. }) => {
                self.coverage.hit(Mark::LostLogRefused);
                Ok(())
            }
            Err(error) => Err(error.to_string().into()),
            Ok(_) => Err(format!("member {member} begins anew without its log").into()),
        }
    }

    fn started(&mut self, member: usize, process: Process) -> Checked {
        let (id, life) = (self.members[member].id, self.members[member].life);
        let applied = process.view.applied().0;
        if applied > 0 {
            self.coverage.hit(Mark::CheckpointRestored);
        }
        let status = process.node.status();
        let (term, commit) = (status.term.0, status.commit.0);
        let last = process.node.raft().last_entry().index.0;
        self.note(Note::Started { member, life, term, commit, last, applied });
        self.states.shown(id, &process.view, None, self.history.model())?;
        self.check_content(&process.view)?;
        self.members[member].process = Some(Box::new(process));
        self.compare(member)?;
        let first = self.rng.between(0, self.members[member].tick);
        self.inside(member, first, Inside::Tick);
        self.wake(member);
        Ok(())
    }

    /// Checks that a state is, key by key, what the log up to its entry makes.
    pub(super) fn check_content(&self, view: &quoin_store::View) -> Checked {
        let request = Workload::everything();
        let index = usize::try_from(view.applied().0).expect("a log fits in memory");
        self.history.state_shown(index, &request, &view.range(&request))?;
        Ok(())
    }

    fn options(&mut self, member: usize) -> (Options, quoin_wal::Options) {
        let Limits {
            election_ticks,
            request_timeout_ticks,
            read_retry_ticks,
            lease_checkpoint_ticks,
            snapshot_count,
            memory_budget,
            catchup_entries,
            segment_bytes,
            fill_bytes,
            pre_vote,
            drift: _,
        } = self.plan.limits;
        let options = Options {
            id: self.members[member].id,
            election_ticks,
            heartbeat_ticks: 1,
            tick_ms: TICK / MS,
            lease_checkpoint_ticks,
            lease_checkpoints: true,
            request_timeout_ticks,
            read_retry_ticks,
            snapshot_count,
            memory_budget,
            catchup_entries,
            max_learners: 1,
            pre_vote,
            seed: self.rng.next(),
            start_ms: EPOCH_MS + self.now / MS,
        };
        (options, quoin_wal::Options { segment_bytes, fill_bytes })
    }
}
