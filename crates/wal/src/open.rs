//! Creating a log, opening it after a crash, and reading it without changing it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quoin_raft::{Entry, HardState, Index, SnapshotMeta};
use quoin_vfs::{FileSystem, Lock, OpenMode};

use crate::error::{Context, WalError};
use crate::mark::{Mark, MarkFile};
use crate::record::{self, Encoder, Kind};
use crate::replay::Replayer;
use crate::scan::{End, Scan};
use crate::segment::{self, SegmentName, Tail, write_zeros};
use crate::wal::{SpareState, Wal};
use crate::{Metadata, Options, Repair, Replay};

impl Wal {
    /// Returns true if there is a log in the directory.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn exists(fs: &dyn FileSystem, dir: &Path) -> Result<bool, WalError> {
        if !fs.exists(dir).context("look for", dir)? {
            return Ok(false);
        }
        Ok(!segment::list(fs, dir)?.is_empty())
    }

    /// Creates an empty log. It is made in a directory beside `dir` that is renamed when it is
    /// complete, so a crash leaves a whole log or none. The parent directory must exist.
    ///
    /// # Errors
    /// [`WalError::Exists`] if there is a log already, [`WalError::Locked`] if another process
    /// is creating it, and errors of the file system.
    pub fn create(
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        metadata: &Metadata,
        options: &Options,
    ) -> Result<Self, WalError> {
        if Self::exists(&*fs, dir)? {
            return Err(WalError::Exists { dir: dir.to_owned() });
        }
        let draft = draft_dir(dir);
        fs.create_dir_all(&draft).context("create", &draft)?;
        let lock = lock_dir(&*fs, &draft)?;
        for name in fs.list(&draft).context("list", &draft)? {
            let path = draft.join(name);
            fs.remove(&path).context("remove", &path)?;
        }
        let mark = MarkFile::create(&*fs, &draft)?;
        let name = SegmentName { sequence: 0, first: Index::ZERO };
        let path = name.path(&draft);
        let file = fs.create(&path).context("create", &path)?;
        let mut wal = Self {
            fs,
            dir: draft,
            lock,
            growth: options.into(),
            metadata: record::encode_metadata(metadata),
            segments: vec![name],
            tail: Tail { path, file, end: 0, zeroed: 0 },
            encoder: Encoder::new(0),
            mark: Some(mark),
            hard_state: HardState::default(),
            last: Index::ZERO,
            unsynced: false,
            failed: false,
            written: 0,
            spare: SpareState::default(),
        };
        wal.encoder.put_checksum();
        wal.encoder.put_metadata(&wal.metadata);
        wal.encoder.put_snapshot(&SnapshotMeta::default());
        wal.sync()?;
        wal.publish(dir)?;
        Ok(wal)
    }

    /// Gives the new log its name.
    fn publish(&mut self, dir: &Path) -> Result<(), WalError> {
        self.fs.sync_dir(&self.dir).context("sync", &self.dir)?;
        self.fs.rename(&self.dir, dir).context("rename", &self.dir)?;
        let parent = match dir.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        self.fs.sync_dir(parent).context("sync", parent)?;
        dir.clone_into(&mut self.dir);
        self.tail.path = self.segments[0].path(dir);
        Ok(())
    }

    /// Opens a log and reads what follows the snapshot `from`, or all of it.
    ///
    /// What a crash left unfinished at its end is removed and reported. Everything that is
    /// returned is durable, including what a dead process had written and not synced.
    ///
    /// # Errors
    /// If the log is in use, damaged, incomplete, or does not fit the snapshot. Damage is
    /// reported before anything is changed.
    pub fn open(
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        from: Option<&SnapshotMeta>,
        options: &Options,
    ) -> Result<(Self, Replay), WalError> {
        check_there(&*fs, dir, from)?;
        let lock = lock_dir(&*fs, dir)?;
        let opened = Opened::read(&*fs, dir, from, (OpenMode::ReadWrite, &|_| true))?;
        opened.make_durable(&*fs, dir)?;
        let Opened { segments, payload, end, replay, mark: _ } = opened;
        let mark = match MarkFile::open(&*fs, dir) {
            // A full disk must not keep a member from starting.
            Err(WalError::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull => None,
            other => Some(other?),
        };
        let start = from.map_or(Index::ZERO, |from| from.index);
        let wal = Self {
            fs,
            dir: dir.to_owned(),
            lock,
            growth: options.into(),
            metadata: payload,
            segments,
            tail: Tail { path: end.path, file: end.file, end: end.offset, zeroed: end.len },
            encoder: Encoder::new(end.checksum),
            mark,
            hard_state: replay.hard_state,
            last: start + replay.entries.len() as u64,
            unsynced: false,
            failed: false,
            written: 0,
            spare: SpareState::default(),
        };
        wal.write_mark()?;
        Ok((wal, replay))
    }
}

/// Reads a log as [`Wal::open`] does, but changes nothing and takes no lock. What is reported as
/// repaired is what opening it would remove.
///
/// # Errors
/// As [`Wal::open`].
pub fn read(
    fs: &dyn FileSystem,
    dir: &Path,
    from: Option<&SnapshotMeta>,
) -> Result<Replay, WalError> {
    read_data_of(fs, dir, from, &|_| true)
}

/// Reads a log as [`read`] does, but leaves the data of entries empty that are not wanted, so that
/// a long log does not fill the memory.
///
/// # Errors
/// As [`Wal::open`].
pub fn read_data_of(
    fs: &dyn FileSystem,
    dir: &Path,
    from: Option<&SnapshotMeta>,
    wanted: &dyn Fn(&Entry) -> bool,
) -> Result<Replay, WalError> {
    check_there(fs, dir, from)?;
    Ok(Opened::read(fs, dir, from, (OpenMode::Read, wanted))?.replay)
}

/// Returns the committed snapshots that are recorded in the segments of a log, oldest first, to
/// choose the one to start from. Changes nothing and takes no lock.
///
/// # Errors
/// If the log cannot be read, or is damaged.
pub fn snapshots(fs: &dyn FileSystem, dir: &Path) -> Result<Vec<SnapshotMeta>, WalError> {
    check_there(fs, dir, None)?;
    let mark = Mark::read(fs, dir)?;
    let segments = segment::list(fs, dir)?;
    let scan = Scan { fs, dir, segments: &segments, mark, mode: OpenMode::Read };
    let mut found = Vec::new();
    let mut commit = Index::ZERO;
    scan.run(&mut |record, place| {
        match record.kind {
            Kind::Snapshot => {
                let snapshot = record::decode_snapshot(record.payload);
                found.push(snapshot.map_err(|error| place.corrupt(error.0))?);
            }
            Kind::State => {
                let state = record::decode_state(record.payload);
                commit = state.map_err(|error| place.corrupt(error.0))?.commit;
            }
            Kind::Metadata | Kind::Entry | Kind::Checksum => {}
        }
        Ok(())
    })?;
    found.retain(|snapshot| snapshot.index <= commit);
    Ok(found)
}

/// A log that was read and found in order.
struct Opened {
    segments: Vec<SegmentName>,
    payload: Vec<u8>,
    end: End,
    mark: Option<Mark>,
    replay: Replay,
}

impl Opened {
    fn read(
        fs: &dyn FileSystem,
        dir: &Path,
        from: Option<&SnapshotMeta>,
        (mode, wanted): (OpenMode, &dyn Fn(&Entry) -> bool),
    ) -> Result<Self, WalError> {
        let from = from.cloned().unwrap_or_default();
        let mark = Mark::read(fs, dir)?;
        let segments = segment::list(fs, dir)?;
        let no_segment = || WalError::NoSegment { dir: dir.to_owned(), index: from.index };
        let position = segment::position_of(&segments, from.index).ok_or_else(no_segment)?;
        let scan = Scan { fs, dir, segments: &segments[position..], mark, mode };
        let mut replayer = Replayer::new(from.clone(), wanted);
        let end = scan.run(&mut |record, place| replayer.record(record, place))?;
        let payload = replayer.metadata.take().expect("the head of a segment has metadata");
        let metadata = record::decode_metadata(&payload).map_err(|error| WalError::Corrupt {
            path: end.path.clone(),
            offset: 0,
            reason: error.0,
        })?;
        let mut replay = replayer.finish(metadata)?;
        replay.repaired = end.leftover.map(|leftover| Repair {
            file: end.path.clone(),
            offset: end.offset,
            dropped_bytes: leftover - end.offset,
        });
        Ok(Self { segments, payload, end, mark, replay })
    }

    /// Clears what is after the end, so that it is never read as records once others are written
    /// before it, and makes the rest durable.
    ///
    /// A process that died may have left records in the page cache alone, or, after a failed
    /// sync, in pages that the operating system believes to be on disk. So what is after the
    /// synced mark is written again.
    fn make_durable(&self, fs: &dyn FileSystem, dir: &Path) -> Result<(), WalError> {
        let End { file, path, offset, leftover, .. } = &self.end;
        if let Some(leftover) = leftover {
            write_zeros(&**file, *offset, *leftover).context("clear the end of", path)?;
        }
        let mark = self.mark.filter(|mark| mark.sequence == self.end.name.sequence);
        if let Some(mark) = mark {
            let mut window = vec![0; 256 * 1024];
            let mut at = mark.offset;
            while at < *offset {
                let count = (offset - at).min(window.len() as u64);
                let part = &mut window[..count as usize];
                file.read_exact_at(part, at).context("read", path)?;
                file.write_at(part, at).context("write", path)?;
                at += count;
            }
        }
        file.sync_data().context("sync", path)?;
        fs.sync_dir(dir).context("sync", dir)
    }
}

fn check_there(
    fs: &dyn FileSystem,
    dir: &Path,
    from: Option<&SnapshotMeta>,
) -> Result<(), WalError> {
    if Wal::exists(fs, dir)? {
        return Ok(());
    }
    let index = from.map_or(Index::ZERO, |from| from.index);
    Err(WalError::NoSegment { dir: dir.to_owned(), index })
}

fn lock_dir(fs: &dyn FileSystem, dir: &Path) -> Result<Arc<dyn Lock>, WalError> {
    match fs.lock(dir) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(WalError::Locked { dir: dir.to_owned() })
        }
        other => other.map(Arc::from).context("lock", dir),
    }
}

/// Returns where a log is made before it gets its name, as etcd calls it.
fn draft_dir(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}
