//! When a checkpoint is due, and when writes must wait for one.
//!
//! There are three reasons: the log has grown, so that a start would take long; records that are
//! in no file fill the memory; or files are mostly dead, and a checkpoint rewrites them. The first
//! two cost an index of the whole store each time, so what they save must have grown in
//! proportion to it. The third one also strikes in a store that is idle.
//!
//! Records that are in no file are in memory. Where clients write faster than checkpoints can, proposals
//! wait from [`BACKLOG_MULTIPLE`] times the bytes on that make a checkpoint due. They wait only while a
//! checkpoint or the work after it is under way, which ends by itself, so nothing waits for ever.

use quoin_raft::Index;
use quoin_store::Store;

use crate::{Node, Options};

#[cfg(test)]
mod tests;

/// Bytes of records in no file that are no reason for a checkpoint, however small the budget is.
const UNPLACED_MIN: usize = 8 << 20;
/// How often the bytes that make a checkpoint due may be in no file before proposals wait: 128 MiB with
/// the memory budget of 32 MiB, or four times the index of a large store.
const BACKLOG_MULTIPLE: usize = 8;
/// Bytes that rewriting must give back at least, also as a part of all bytes of files.
const DEAD_MIN: u64 = 1 << 20;
const DEAD_PART: u64 = 16;
/// Ticks between the end of one checkpoint and the next for the sake of files.
const REWRITE_TICKS: u64 = 20;
/// Ticks until a checkpoint that could not be written is tried again for the sake of memory or
/// files.
const RETRY_TICKS: u64 = 100;

/// The time of the next checkpoint.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    snapshot_count: u64,
    unplaced_max: usize,
    /// The state of the checkpoint that was begun last, or that the member began with.
    last_index: Index,
    /// The index of the last one that the log knows.
    logged: Index,
    /// Bytes of the last index.
    last_bytes: u64,
    /// Bytes of entries since.
    log_bytes: u64,
    under_way: bool,
    /// When one may begin for the sake of memory, and of files.
    memory_not_before: u64,
    files_not_before: u64,
    now: u64,
    /// Whether rewriting files is worth it.
    rewrites: bool,
}

impl Checkpoints {
    /// For a member that begins with the state after an entry.
    pub(crate) fn new(last_index: Index, options: &Options) -> Self {
        Self {
            snapshot_count: options.snapshot_count,
            unplaced_max: UNPLACED_MIN.max(options.memory_budget / 2),
            last_index,
            logged: last_index,
            last_bytes: 0,
            log_bytes: 0,
            under_way: false,
            memory_not_before: 0,
            files_not_before: 0,
            now: 0,
            rewrites: false,
        }
    }

    /// Takes note of an entry that was applied.
    pub(crate) fn applied(&mut self, bytes: usize) {
        self.log_bytes += bytes as u64;
    }

    /// Takes note that a state of the leader was installed, which the log knows.
    pub(crate) fn installed(&mut self, index: Index) {
        (self.last_index, self.logged) = (index, index);
    }

    /// Looks at the files. While the store is being tidied, they are about to change.
    pub(crate) fn tick(&mut self, now: u64, store: &Store, tidying: bool) {
        self.now = now;
        let (all, dead) = store.file_bytes();
        self.rewrites = !tidying && dead >= DEAD_MIN.max(all / DEAD_PART);
    }

    /// Takes note that a checkpoint was written with an index of so many bytes, or was not.
    pub(crate) fn ended(&mut self, now: u64, index_bytes: Option<u64>) {
        self.under_way = false;
        // Memory does not wait between checkpoints that succeed: it is filled meanwhile.
        let (memory_pause, files_pause) =
            if index_bytes.is_some() { (0, REWRITE_TICKS) } else { (RETRY_TICKS, RETRY_TICKS) };
        self.memory_not_before = now.saturating_add(memory_pause);
        self.files_not_before = now.saturating_add(files_pause);
        self.last_bytes = index_bytes.unwrap_or(self.last_bytes);
        self.rewrites = false;
    }

    /// Whether the log does not yet know that there is a checkpoint of this state. It is told only
    /// once.
    pub(crate) fn is_new_to_log(&mut self, index: Index) -> bool {
        let is_new = index > self.logged;
        self.logged = self.logged.max(index);
        is_new
    }

    /// Returns true if a checkpoint is to be written now, and takes note of that.
    pub(crate) fn begin_if_due(&mut self, store: &Store) -> bool {
        let applied = Index(store.applied().0);
        let entries = applied.0.saturating_sub(self.last_index.0);
        let long_log = entries >= self.snapshot_count && self.log_bytes >= self.last_bytes / 2;
        let is_full = store.unplaced_bytes() > self.due_bytes();
        let due = long_log
            || (self.now >= self.memory_not_before && is_full)
            || (self.now >= self.files_not_before && self.rewrites);
        if !due || self.under_way || store.is_placing() {
            return false;
        }
        self.under_way = true;
        self.last_index = applied;
        self.log_bytes = 0;
        true
    }

    /// Bytes of records in no file that make a checkpoint due.
    fn due_bytes(&self) -> usize {
        let in_proportion = usize::try_from(self.last_bytes / 2).unwrap_or(usize::MAX);
        self.unplaced_max.max(in_proportion)
    }

    /// What waits to be put into files.
    pub(crate) fn backlog(&self, store: &Store) -> Backlog {
        let (bytes, due_bytes) = (store.unplaced_bytes(), self.due_bytes());
        let max_bytes = due_bytes.saturating_mul(BACKLOG_MULTIPLE);
        let is_being_worked_off = self.under_way || store.is_placing();
        Backlog { bytes, due_bytes, max_bytes, is_being_worked_off }
    }
}

/// The records that wait to be put into files, and are in memory until then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Bytes of the records.
    pub bytes: usize,
    /// Bytes that make a checkpoint due.
    pub due_bytes: usize,
    /// Bytes beyond which proposals wait.
    pub max_bytes: usize,
    /// Whether a checkpoint or the work after it is under way.
    pub is_being_worked_off: bool,
}

impl Backlog {
    /// Whether proposals wait.
    pub(crate) fn holds_back(self) -> bool {
        self.is_being_worked_off && self.bytes > self.max_bytes
    }

    /// How often the bytes that make a checkpoint due are there: by so much the background must go
    /// faster.
    #[must_use]
    pub fn factor(self) -> usize {
        self.bytes / self.due_bytes.max(1)
    }
}

impl<W> Node<W> {
    /// Returns what waits to be put into files.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.checkpoints.backlog(&self.store)
    }
}
