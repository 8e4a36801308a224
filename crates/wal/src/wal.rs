//! The log as it is written: append, sync, cut, release.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use quoin_raft::{Entry, HardState, Index, SnapshotMeta};
use quoin_vfs::{FileSystem, Lock};

use crate::Options;
use crate::error::{Context, WalError};
use crate::frame::MAX_RECORD;
use crate::mark::{Mark, MarkFile};
use crate::record::Encoder;
use crate::segment::{self, Growth, SegmentName, Tail};
use crate::spare::{Spare, SpareJob, Token};

/// The durable log of one member, open for appending.
///
/// What is appended is encoded at once, written by [`Wal::flush`] or [`Wal::sync`], and durable
/// when [`Wal::sync`] has returned. After a failed write or sync the log fails for good.
pub struct Wal {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) dir: PathBuf,
    pub(crate) lock: Arc<dyn Lock>,
    pub(crate) growth: Growth,
    /// The payload of the metadata record, as it was first written.
    pub(crate) metadata: Vec<u8>,
    /// The segments, oldest first. The last one is the tail.
    pub(crate) segments: Vec<SegmentName>,
    pub(crate) tail: Tail,
    pub(crate) encoder: Encoder,
    pub(crate) mark: Option<MarkFile>,
    pub(crate) hard_state: HardState,
    /// The last index of the log, or of the snapshot that it begins after.
    pub(crate) last: Index,
    /// Something was written to the tail since the last sync.
    pub(crate) unsynced: bool,
    pub(crate) failed: bool,
    /// Bytes of records that were written since the log was opened.
    pub(crate) written: u64,
    pub(crate) spare: SpareState,
}

/// The next segment and the job that prepares it.
#[derive(Debug, Default)]
pub(crate) struct SpareState {
    ready: Option<Spare>,
    /// Alive while a job runs, and while its result is kept.
    job: Weak<Token>,
    /// Where the tail ended when the last job for the next segment was handed out.
    asked_at: Option<u64>,
}

/// Buffered records are written, without a sync, when there are more bytes than this.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// A record has at most this much around an entry's payload.
const RECORD_OVERHEAD: u64 = 64;

/// A job that failed is handed out again after this part of a segment.
const SPARE_RETRIES: u64 = 8;

/// The name of a segment that had to be made in a hurry, before it is part of the log.
const NEXT_FILE_NAME: &str = "next.tmp";

impl Wal {
    /// Appends entries and then a hard state. The entries replace what the log has at their
    /// indexes and after.
    ///
    /// # Errors
    /// [`WalError::TooLarge`] if an entry does not fit into a record; nothing is appended then.
    /// Others if the log failed before, or fails now.
    ///
    /// # Panics
    /// If the entries are not consecutive, or leave a gap after the last entry.
    pub fn append(
        &mut self,
        hard_state: Option<&HardState>,
        entries: &[Entry],
    ) -> Result<(), WalError> {
        self.check_usable()?;
        for entry in entries {
            let bytes = entry.data.len();
            if bytes as u64 > MAX_RECORD - RECORD_OVERHEAD {
                return Err(WalError::TooLarge { index: entry.index, bytes });
            }
        }
        for (position, entry) in entries.iter().enumerate() {
            let (index, last) = (entry.index, self.last);
            let follows = if position == 0 { index <= last.next() } else { index == last.next() };
            assert!(follows && index > Index::ZERO, "entry {index} cannot follow {last}");
            self.encoder.put_entry(entry);
            self.last = index;
            self.write_if_large()?;
        }
        if let Some(hard_state) = hard_state {
            self.encoder.put_state(hard_state);
            self.hard_state = *hard_state;
        }
        Ok(())
    }

    /// Appends a snapshot record: a state up to its index is durable elsewhere, and the log may
    /// begin after it. If it is ahead of the log, the log continues after it.
    ///
    /// It must come before a hard state that commits its index.
    ///
    /// # Errors
    /// If the log failed before.
    pub fn append_snapshot(&mut self, snapshot: &SnapshotMeta) -> Result<(), WalError> {
        self.check_usable()?;
        self.encoder.put_snapshot(snapshot);
        self.last = self.last.max(snapshot.index);
        Ok(())
    }

    /// Writes what was appended, without a sync. Enough when only the commit index changed.
    ///
    /// # Errors
    /// If the log failed before, or fails now.
    pub fn flush(&mut self) -> Result<(), WalError> {
        self.check_usable()?;
        self.attempt(Self::write_buffer)
    }

    /// Makes everything appended so far durable, and begins the next segment if this one is full.
    ///
    /// # Errors
    /// If the log failed before, or fails now. Nothing may then be said about what was appended:
    /// it may be durable or not.
    pub fn sync(&mut self) -> Result<(), WalError> {
        self.check_usable()?;
        self.attempt(|wal| {
            wal.write_buffer()?;
            if wal.unsynced {
                wal.sync_tail()?;
            }
            if wal.tail.end >= wal.growth.segment_bytes { wal.cut() } else { Ok(()) }
        })
    }

    /// Removes the segments that are not needed to read entries after `index`.
    ///
    /// # Errors
    /// If a file cannot be removed, or the log failed before.
    pub fn release_to(&mut self, index: Index) -> Result<(), WalError> {
        self.check_usable()?;
        let Some(needed) = segment::position_of(&self.segments, index) else { return Ok(()) };
        if needed == 0 {
            return Ok(());
        }
        // Oldest first, so that a crash leaves no gap.
        for _ in 0..needed {
            let path = self.segments[0].path(&self.dir);
            self.fs.remove(&path).context("remove", &path)?;
            self.segments.remove(0);
        }
        self.attempt(|wal| wal.fs.sync_dir(&wal.dir).context("sync", &wal.dir))
    }

    /// Returns the job of preparing the next segment, if that is missing and nobody is at it.
    pub fn spare_job(&mut self) -> Option<SpareJob> {
        let end = self.tail.end;
        let pause = self.growth.segment_bytes / SPARE_RETRIES;
        let too_soon = self.spare.asked_at.is_some_and(|at| end < at.saturating_add(pause));
        if self.failed || self.spare.job.strong_count() > 0 || too_soon {
            return None;
        }
        let token = Arc::new(Token { _lock: Arc::clone(&self.lock) });
        self.spare.job = Arc::downgrade(&token);
        self.spare.asked_at = Some(end);
        let (fs, dir) = (Arc::clone(&self.fs), self.dir.clone());
        Some(SpareJob { fs, dir, bytes: self.growth.segment_bytes, token })
    }

    /// Takes a prepared segment, to be used when the present one is full.
    ///
    /// # Panics
    /// If it was made by a job of another log.
    pub fn install_spare(&mut self, spare: Spare) {
        let ours = self.spare.job.ptr_eq(&Arc::downgrade(&spare.token));
        assert!(ours, "a spare segment belongs to the log that asked for it");
        self.spare.ready = Some(spare);
    }

    /// Returns the last index of the log, or of the snapshot that it begins after.
    #[must_use]
    pub fn last_index(&self) -> Index {
        self.last
    }

    /// Returns how many bytes of records were written since the log was opened.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written
    }

    /// Returns the directory of the log.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn check_usable(&self) -> Result<(), WalError> {
        if self.failed { Err(WalError::Failed) } else { Ok(()) }
    }

    /// Does something whose failure leaves the disk in an unknown state. Trying again could
    /// succeed without the lost bytes, so there is no second attempt.
    fn attempt(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), WalError>,
    ) -> Result<(), WalError> {
        self.failed = true;
        work(self)?;
        self.failed = false;
        Ok(())
    }

    fn write_if_large(&mut self) -> Result<(), WalError> {
        if self.encoder.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        self.attempt(Self::write_buffer)
    }

    fn write_buffer(&mut self) -> Result<(), WalError> {
        let buffer = &mut self.encoder.buffer;
        if buffer.is_empty() {
            return Ok(());
        }
        self.tail.write(buffer, self.growth)?;
        self.written = self.written.saturating_add(buffer.len() as u64);
        self.unsynced = true;
        buffer.clear();
        // One large entry must not hold its memory for ever.
        buffer.shrink_to(BUFFER_BYTES);
        Ok(())
    }

    fn sync_tail(&mut self) -> Result<(), WalError> {
        self.tail.file.sync_data().context("sync", &self.tail.path)?;
        self.unsynced = false;
        self.write_mark()
    }

    pub(crate) fn write_mark(&self) -> Result<(), WalError> {
        let Some(file) = &self.mark else { return Ok(()) };
        file.write(Mark { sequence: self.tail_name().sequence, offset: self.tail.end })
    }

    fn tail_name(&self) -> SegmentName {
        *self.segments.last().expect("a log has a tail")
    }

    /// Begins the next segment. It gets its name when its head is durable, so a crash leaves
    /// either no next segment or one that can be read.
    fn cut(&mut self) -> Result<(), WalError> {
        let sequence = self.tail_name().sequence.checked_add(1).expect("sequences are exhausted");
        let name = SegmentName { sequence, first: self.last.next() };
        let mut tail = self.next_tail()?;
        self.encoder.put_checksum();
        self.encoder.put_metadata(&self.metadata);
        if self.hard_state != HardState::default() {
            self.encoder.put_state(&self.hard_state);
        }
        tail.write(&self.encoder.buffer, self.growth)?;
        self.written = self.written.saturating_add(self.encoder.buffer.len() as u64);
        self.encoder.buffer.clear();
        tail.file.sync_data().context("sync", &tail.path)?;
        let path = name.path(&self.dir);
        self.fs.rename(&tail.path, &path).context("rename", &tail.path)?;
        self.fs.sync_dir(&self.dir).context("sync", &self.dir)?;
        tail.path = path;
        self.tail = tail;
        self.segments.push(name);
        self.write_mark()
    }

    /// Returns the spare segment, or an empty file that grows as it is written to.
    fn next_tail(&mut self) -> Result<Tail, WalError> {
        self.spare.asked_at = None;
        if let Some(Spare { path, file, len, token: _ }) = self.spare.ready.take() {
            return Ok(Tail { path, file, end: 0, zeroed: len });
        }
        let path = self.dir.join(NEXT_FILE_NAME);
        let file = self.fs.create(&path).context("create", &path)?;
        Ok(Tail { path, file, end: 0, zeroed: 0 })
    }
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal")
            .field("dir", &self.dir)
            .field("tail", &self.tail_name().to_string())
            .field("end", &self.tail.end)
            .field("last", &self.last)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl From<&Options> for Growth {
    fn from(options: &Options) -> Self {
        Self { segment_bytes: options.segment_bytes.max(1), fill_bytes: options.fill_bytes.max(1) }
    }
}
