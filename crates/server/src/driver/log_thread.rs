//! The log thread: write what turns ask for, sync once for all that waits, then say so.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;
use std::time::Instant;

use quoin_node::LogWork;
use quoin_node::wal::{Spare, Wal};
use quoin_vfs::FileSystem;

use super::{Input, Outside, WORK_PER_SYNC, die};
use crate::log;
use crate::metrics::Metrics;

/// Owns the WAL. Ends when the consensus thread has ended and all its work is done.
pub(super) struct LogThread {
    pub(super) wal: Wal,
    pub(super) work: Receiver<LogWork>,
    pub(super) fs: Arc<dyn FileSystem>,
    /// Where checkpoints are, and states that came from other members.
    pub(super) checkpoint_dir: PathBuf,
    /// The highest work number that is durable.
    pub(super) durable: Arc<AtomicU64>,
    pub(super) outside: Arc<dyn Outside>,
    pub(super) inputs: SyncSender<Input>,
    pub(super) metrics: Arc<Metrics>,
    /// Whether segments stay that nothing needs any more.
    pub(super) keeps_all: bool,
    /// Where the thread that prepares the next segment leaves it.
    pub(super) spare: (SyncSender<Option<Spare>>, Receiver<Option<Spare>>),
}

impl LogThread {
    pub(super) fn run(mut self) {
        while let Ok(first) = self.work.recv() {
            let mut batch = vec![first];
            while batch.len() < WORK_PER_SYNC {
                let Ok(next) = self.work.try_recv() else { break };
                batch.push(next);
            }
            if let Err(error) = self.write(&batch) {
                die("failed to save the Raft log", &error);
            }
            self.announce(batch);
            self.prepare_segment();
        }
    }

    /// Writes a batch. The error is a text: the process ends by it.
    fn write(&mut self, batch: &[LogWork]) -> Result<(), String> {
        let disk = &self.metrics.disk;
        let began = Instant::now();
        for work in batch {
            work.append_to(&mut self.wal).map_err(|error| error.to_string())?;
        }
        self.wal.flush().map_err(|error| error.to_string())?;
        let written = Instant::now();
        disk.log_write.observe(written - began);
        if batch.iter().any(|work| work.must_sync) {
            self.wal.sync().map_err(|error| error.to_string())?;
            disk.log_sync.observe(written.elapsed());
        }
        disk.log_bytes.store(self.wal.written_bytes(), Ordering::Relaxed);
        for work in batch {
            let settled = work.settle(self.fs.as_ref(), &self.checkpoint_dir);
            let settled = settled.map_err(|error| error.to_string())?;
            self.outside.snapshots_settled(settled);
        }
        match batch.iter().filter_map(|work| work.release).max() {
            Some(index) if !self.keeps_all => {
                self.wal.release_to(index).map_err(|error| error.to_string())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Says what had to wait for the sync. A full input queue needs no wake-up: the consensus
    /// thread looks at `durable` every turn.
    fn announce(&self, batch: Vec<LogWork>) {
        let durable = batch.iter().filter_map(|work| work.ready).max();
        let messages: Vec<_> = batch.into_iter().flat_map(|work| work.messages).collect();
        if !messages.is_empty() {
            self.outside.send(messages);
        }
        if let Some(durable) = durable {
            self.durable.store(durable, Ordering::Release);
            // Full is as good as woken, and a closed queue belongs to a member that stops.
            drop(self.inputs.try_send(Input::Wake));
        }
    }

    /// Takes a finished segment, and has the next one prepared when it is missing.
    fn prepare_segment(&mut self) {
        if let Ok(Some(spare)) = self.spare.1.try_recv() {
            self.wal.install_spare(spare);
        }
        let Some(job) = self.wal.spare_job() else { return };
        let sender = self.spare.0.clone();
        let name = "log-segment".to_owned();
        let spawned = thread::Builder::new().name(name).spawn(move || {
            let spare = job.run().inspect_err(|error| {
                log::warn!("failed to prepare a log segment", "error" => error.to_string());
            });
            // The log thread that wanted it may have ended.
            drop(sender.try_send(spare.ok()));
        });
        if let Err(error) = spawned {
            log::warn!("failed to prepare a log segment", "error" => error.to_string());
        }
    }
}
