//! Taking over a data-dir that etcd left: its database becomes our first checkpoint.
//!
//! ```text
//! member/snap/db                     the database, at or behind the end of the log
//! member/snap/<index>.snap.db        one that the leader sent, if a crash cut off its installation
//! member/snap/<term>-<index>.snap    the members at a snapshot
//! member/wal/                        the log, which is read on from the database's entry
//! ```
//!
//! This happens when there is a database and no checkpoint yet. The files of etcd stay as they
//! are, and are not looked at again once the checkpoint is durable.
//!
//! Invariant: the checkpoint is written only when database, members and log were found to fit
//! together. Until then nothing is changed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quoin_raft::{Entry, Index, SnapshotMeta, Term};
use quoin_store::{
    Checkpoint, CheckpointError, ClusterReplay, DbImport, Fatal, ImportError, Loaded, SnapFile,
};
use quoin_vfs::{FileSystem, Lock, OpenMode};
use quoin_wal::{Wal, WalError};
use thiserror::Error;

use super::{DataDir, data_of};

/// The largest snapshot file that is read. It holds the members and the keys of the v2 API.
const SNAP_FILE_BYTES_MAX: u64 = 1 << 30;

/// A database that was taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The file.
    pub database: PathBuf,
    /// Index of the last entry that it contains.
    pub index: u64,
    /// The newest revision that it contains.
    pub revision: i64,
}

/// Why the data-dir of an etcd cannot be taken over. Nothing in it has been changed.
#[derive(Debug, Error)]
pub enum TakeoverError {
    /// The database is damaged, or holds what this release would lose.
    #[error(transparent)]
    Database(#[from] ImportError),
    /// The log is damaged, or does not reach the database.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The checkpoint cannot be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file cannot be read or locked.
    #[error("cannot {action} {path:?}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An etcd runs on the data-dir.
    #[error("{path:?} is in use by another process")]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// There is a database with data and no log.
    #[error(
        "{path:?} has data, but there is no log in {wal:?}; name the directory of the log with \
         --wal-dir if it is elsewhere, or restore a backup into an empty directory"
    )]
    NoLog {
        /// The database.
        path: PathBuf,
        /// Where the log should be.
        wal: PathBuf,
    },
    /// The log ends before the entry of the database, or begins after it.
    #[error("{path:?} is at index {index}, which the log in {wal:?} does not contain")]
    OutsideLog {
        /// The database.
        path: PathBuf,
        /// The index of its last entry.
        index: u64,
        /// The log.
        wal: PathBuf,
    },
    /// A snapshot was received, but its database is not there.
    #[error("{path:?} is at index {index}, but the log goes on from a snapshot at index {needed}")]
    Behind {
        /// The database.
        path: PathBuf,
        /// The index of its last entry.
        index: u64,
        /// The index of the snapshot.
        needed: u64,
    },
    /// The members are in a snapshot file that cannot be read.
    #[error("{path:?} cannot be taken over: {reason}")]
    SnapFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry of the log says something about the members that is not understood.
    #[error("the members cannot be read from the log: {0}")]
    Members(#[from] Fatal),
}

/// Takes over the database of an etcd if there is one and no checkpoint yet. The directory for
/// checkpoints exists. `max_learners` decides which changes of members in its log were refused.
///
/// # Errors
/// As the type says; nothing is changed then.
pub(super) fn import(
    fs: &Arc<dyn FileSystem>,
    dir: &DataDir,
    max_learners: usize,
) -> Result<Option<Imported>, TakeoverError> {
    let database = dir.snap().join("db");
    if !Checkpoint::list(fs.as_ref(), &dir.store())?.is_empty()
        || !fs.exists(&database).map_err(io_error("look for", &database))?
    {
        return Ok(None);
    }
    let takeover = Takeover { fs: fs.as_ref(), dir, database, max_learners };
    let _lock = takeover.lock()?;
    let Some((path, mut loaded)) = takeover.load()? else { return Ok(None) };
    let imported =
        Imported { database: path, index: loaded.index, revision: loaded.store.view().revision() };
    let checkpoint = loaded.store.checkpoint(loaded.conf);
    checkpoint.write(fs.as_ref(), &dir.store())?;
    Ok(Some(imported))
}

/// A data-dir that etcd left.
struct Takeover<'a> {
    fs: &'a dyn FileSystem,
    dir: &'a DataDir,
    database: PathBuf,
    /// Learners that the cluster may have.
    max_learners: usize,
}

impl Takeover<'_> {
    /// etcd holds this lock while it runs.
    fn lock(&self) -> Result<Box<dyn Lock>, TakeoverError> {
        let path = self.database.clone();
        self.fs.lock(&path).map_err(|source| {
            if source.kind() == io::ErrorKind::WouldBlock {
                TakeoverError::InUse { path }
            } else {
                TakeoverError::Io { action: "lock", path, source }
            }
        })
    }

    /// Reads everything and lets it stand only if it fits together. None if etcd did no more than
    /// begin here: then the log has all there is.
    fn load(&self) -> Result<Option<(PathBuf, Loaded)>, TakeoverError> {
        let wal = self.dir.wal();
        let mut path = self.database.clone();
        let mut import = DbImport::read(self.fs, &path)?;
        if !Wal::exists(self.fs, &wal)? {
            return if import.is_empty() {
                Ok(None)
            } else {
                Err(TakeoverError::NoLog { path, wal })
            };
        }
        let snapshots = quoin_wal::snapshots(self.fs, &wal)?;
        let newest = snapshots.last().map_or(Index::ZERO, |snapshot| snapshot.index);
        if newest.0 > import.index() {
            let received = self.dir.snap().join(format!("{:016x}.snap.db", newest.0));
            if !self.fs.exists(&received).map_err(io_error("look for", &received))? {
                let (index, needed) = (import.index(), newest.0);
                return Err(TakeoverError::Behind { path, index, needed });
            }
            import = DbImport::read(self.fs, &received)?;
            path = received;
        }
        if import.index() == 0 && import.is_empty() {
            return Ok(None);
        }
        let index = Index(import.index());
        let outside = || TakeoverError::OutsideLog { path: path.clone(), index: index.0, wal };
        let snapshots: Vec<_> = snapshots.into_iter().filter(|meta| meta.index <= index).collect();
        let start = self.start(snapshots.last().cloned().unwrap_or_default())?;
        let term = start.term_at(index).ok_or_else(outside)?;
        let found = self.cluster_at(index, start, &snapshots)?;
        // An etcd 3.6 keeps nothing beside a database that knows its members, but an exported
        // directory has keys of the v2 API there.
        let loaded = if import.knows_members(term.0) && !found.is_v2_used() {
            import.into_loaded(term.0)
        } else {
            import.into_loaded_with(term.0, found)
        };
        Ok(Some((path, loaded)))
    }

    /// Reads the log behind a snapshot. Of its entries only those that concern members or the v2 store
    /// have data.
    fn start(&self, meta: SnapshotMeta) -> Result<Start, TakeoverError> {
        let from = (meta.index > Index::ZERO).then_some(&meta);
        let wanted = |entry: &Entry| data_of(entry).is_ok_and(ClusterReplay::concerns);
        let replay = quoin_wal::read_data_of(self.fs, &self.dir.wal(), from, &wanted)?;
        Ok(Start { meta, entries: replay.entries })
    }

    /// Finds members and v2 store at an entry: those of the last snapshot file before it that is
    /// there, and what the log changed since.
    fn cluster_at(
        &self,
        index: Index,
        newest: Start,
        snapshots: &[SnapshotMeta],
    ) -> Result<ClusterReplay, TakeoverError> {
        let mut base = (SnapshotMeta::default(), ClusterReplay::default());
        for meta in snapshots.iter().rev().filter(|meta| meta.index > Index::ZERO) {
            if let Some(replay) = self.snap_file(meta)? {
                base = (meta.clone(), replay);
                break;
            }
        }
        let (meta, mut replay) = base;
        let start = if newest.meta == meta { newest } else { self.start(meta)? };
        for entry in start.entries.iter().take_while(|entry| entry.index <= index) {
            replay.apply(entry.index.0, data_of(entry)?, self.max_learners)?;
        }
        Ok(replay)
    }

    /// Reads the snapshot file of a snapshot, if there is one.
    fn snap_file(&self, meta: &SnapshotMeta) -> Result<Option<ClusterReplay>, TakeoverError> {
        let path = self.dir.snap().join(SnapFile::name(meta.index.0, meta.term.0));
        let file = match self.fs.open(&path, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(io_error("open", &path))?,
        };
        let length = file.len().map_err(io_error("measure", &path))?;
        let bad = |reason: String| TakeoverError::SnapFile { path: path.clone(), reason };
        if length > SNAP_FILE_BYTES_MAX {
            return Err(bad("it is too large".to_owned()));
        }
        let length = usize::try_from(length).expect("the length was checked");
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, 0).map_err(io_error("read", &path))?;
        SnapFile::read(&bytes).and_then(|file| ClusterReplay::new(&file)).map(Some).map_err(bad)
    }
}

/// Where the log is read on from.
struct Start {
    meta: SnapshotMeta,
    entries: Vec<Entry>,
}

impl Start {
    /// The term of an entry that is not before the start, if the log has it.
    fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.meta.index {
            return Some(self.meta.term);
        }
        self.entries.iter().find(|entry| entry.index == index).map(|entry| entry.term)
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TakeoverError {
    move |source| TakeoverError::Io { action, path: path.to_owned(), source }
}
