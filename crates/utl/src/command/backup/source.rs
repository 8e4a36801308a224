//! The directory that is copied: what an etcd left, or what a member of ours left.
//!
//! A directory is ours if it has a checkpoint. An etcd's has a log, the snapshot files that the log
//! speaks of, and a database, which is anywhere between the last snapshot and the end of the log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quoin_node::DataDir;
use quoin_node::export::{ExportDirError, Settled, settled};
use quoin_raft::{Entry, HardState, Index, NodeId, SnapshotMeta, Term};
use quoin_store::{Checkpoint, SnapFile};
use quoin_vfs::{FileSystem, Lock};
use quoin_wal::{Replay, Wal};

use super::Backup;
use super::database::{self, Database};
use super::entries;
use super::snap;
use crate::files::failed;
use crate::log;

/// Pause between two attempts to lock a database.
const LOCK_RETRY: Duration = Duration::from_millis(100);
/// After this time the tool says what it waits for, as etcd's does.
const LOCK_QUIET: Duration = Duration::from_secs(1);

/// What the copy gets.
pub(super) struct Contents {
    /// The v2 store, given to the new cluster.
    pub(super) snap: Option<SnapFile>,
    pub(super) hard_state: HardState,
    pub(super) entries: Vec<Entry>,
    pub(super) database: Database,
}

impl Contents {
    pub(super) fn read(
        fs: &Arc<dyn FileSystem>,
        source: &DataDir,
        backup: &Backup,
    ) -> Result<Self, String> {
        if is_ours(fs.as_ref(), source)? {
            let settled = settled(fs, source).map_err(|error| error.to_string())?;
            return Self::of_member(settled, backup);
        }
        Self::of_etcd(fs.as_ref(), source, backup)
    }

    /// The last entry that is known to be committed, and its term.
    pub(super) fn commit(&self) -> (Index, Term) {
        if let Some(last) = self.entries.last() {
            return (last.index, last.term);
        }
        self.snap
            .as_ref()
            .map_or_else(Default::default, |snap| (Index(snap.index), Term(snap.term)))
    }

    /// A member of ours: its state, and no entries.
    fn of_member(settled: Settled, backup: &Backup) -> Result<Self, String> {
        let Settled { hard_state, view, snap_file, .. } = &settled;
        let snap = snap::given_to(snap_file.clone(), &backup.cluster)?;
        let hard_state = HardState { vote: NodeId::NONE, ..*hard_state };
        let database = match backup.with_v3 {
            true => Database::State(Box::new(view.clone())),
            false => Database::Empty,
        };
        Ok(Self { snap: Some(snap), hard_state, entries: Vec::new(), database })
    }

    fn of_etcd(fs: &dyn FileSystem, source: &DataDir, backup: &Backup) -> Result<Self, String> {
        let wal = source.wal();
        check_there(fs, &source.snap())?;
        check_there(fs, &wal)?;
        if !Wal::exists(fs, &wal).map_err(|error| error.to_string())? {
            return Err("wal: file not found".to_owned());
        }
        let (snap, newest) = newest_snap(fs, source)?;
        let database = match backup.with_v3 {
            true => Some(find_database(fs, source, newest, backup.timeout)?),
            false => None,
        };
        let from = snap.as_ref().map(snap::meta);
        let replay = quoin_wal::read(fs, &wal, from.as_ref()).map_err(|error| error.to_string())?;
        let start = from.unwrap_or_default();
        let commit = committed(&replay, &start, database.as_ref())?;
        let Replay { hard_state, mut entries, .. } = replay;
        let cluster = &backup.cluster;
        entries::translate(&mut entries, snap.is_some(), backup.with_v3, cluster)?;
        entries.retain(|entry| entry.index <= commit);
        Ok(Self {
            snap: snap.map(|snap| snap::given_to(snap, cluster)).transpose()?,
            hard_state: HardState { vote: NodeId::NONE, commit, ..hard_state },
            entries,
            database: database.map_or(Database::Empty, |found| Database::File {
                path: found.path,
                _lock: found.lock,
            }),
        })
    }
}

fn is_ours(fs: &dyn FileSystem, source: &DataDir) -> Result<bool, String> {
    let exists = |path: &Path| fs.exists(path).map_err(|error| failed("stat", path, &error));
    if !exists(&source.store())? {
        return Ok(false);
    }
    let checkpoints = Checkpoint::list(fs, &source.store()).map_err(|error| error.to_string())?;
    // A member that has not written one yet has everything in its log, and never had a database.
    Ok(!checkpoints.is_empty() || !exists(&source.snap().join("db"))?)
}

/// Fails in Go's words if a directory cannot be read.
fn check_there(fs: &dyn FileSystem, path: &Path) -> Result<(), String> {
    fs.list(path).map(drop).map_err(|error| failed("open", path, &error))
}

/// The newest snapshot that the log speaks of and whose file can be read, and the index of the newest
/// one of all.
fn newest_snap(fs: &dyn FileSystem, source: &DataDir) -> Result<(Option<SnapFile>, Index), String> {
    let metas = quoin_wal::snapshots(fs, &source.wal()).map_err(|error| error.to_string())?;
    let newest = metas.last().map_or(Index::ZERO, |meta| meta.index);
    for meta in metas.iter().rev().filter(|meta| meta.index > Index::ZERO) {
        let path = source.snap().join(SnapFile::name(meta.index.0, meta.term.0));
        match snap::read(fs, &path) {
            Ok(Some(snap)) if (snap.index, snap.term) == (meta.index.0, meta.term.0) => {
                return Ok((Some(snap), newest));
            }
            Ok(None) => {}
            Ok(Some(_)) => log::plain(&format!("{} is of another entry", path.display())),
            Err(error) => {
                log::plain(&format!("cannot read snap file {}: {error}", path.display()));
            }
        }
    }
    Ok((None, newest))
}

/// A database that was found and locked.
struct Found {
    path: PathBuf,
    lock: Box<dyn Lock>,
    index: Index,
}

/// Finds the database that goes with the log. One that the leader sent lies beside the old one if a
/// crash cut off its installation.
fn find_database(
    fs: &dyn FileSystem,
    source: &DataDir,
    newest: Index,
    timeout: Duration,
) -> Result<Found, String> {
    let mut path = source.snap().join("db");
    if !fs.exists(&path).map_err(|error| failed("stat", &path, &error))? {
        return Err(failed("open", &path, &io::ErrorKind::NotFound.into()));
    }
    let lock = wait_for_lock(fs, &path, timeout)?;
    let mut index = Index(database::index(fs, &path)?);
    if index < newest {
        let received = source.snap().join(format!("{:016x}.snap.db", newest.0));
        if !fs.exists(&received).map_err(|error| failed("stat", &received, &error))? {
            return Err(format!(
                "{} is at index {index}, but the log goes on from a snapshot at index {newest}",
                path.display()
            ));
        }
        index = Index(database::index(fs, &received)?).max(newest);
        path = received;
    }
    Ok(Found { path, lock, index })
}

fn wait_for_lock(
    fs: &dyn FileSystem,
    path: &Path,
    timeout: Duration,
) -> Result<Box<dyn Lock>, String> {
    let begin = Instant::now();
    let mut is_quiet = true;
    loop {
        match fs.lock(path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other.map_err(|error| failed("lock", path, &error)),
        }
        if begin.elapsed() >= timeout {
            let path = path.to_owned();
            return Err(ExportDirError::InUse { path }.to_string());
        }
        if is_quiet && begin.elapsed() >= LOCK_QUIET {
            is_quiet = false;
            log::plain(&format!("waiting to acquire lock on {}", path.display()));
        }
        std::thread::sleep(LOCK_RETRY);
    }
}

/// The last entry that is known to be committed.
fn committed(
    replay: &Replay,
    start: &SnapshotMeta,
    database: Option<&Found>,
) -> Result<Index, String> {
    let Replay { metadata, hard_state, entries, .. } = replay;
    let last = entries.last().map_or(start.index, |entry| entry.index);
    let alone = entries::is_alone(metadata.node, &start.conf, entries);
    if alone.map_err(|error| format!("a change of members is not readable: {error}"))? {
        return Ok(last);
    }
    // A commit index is not always synced, but what is in the database was committed.
    let commit = hard_state.commit.max(database.map_or(Index::ZERO, |found| found.index));
    if commit > last {
        return Err(format!("index {commit} is committed, but the log ends at {last}"));
    }
    Ok(commit)
}
