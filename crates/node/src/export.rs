//! From a data-dir of ours to one that etcd starts on, as the same member of the same cluster.
//!
//! ```text
//! <target>/member/snap/db                    the state after the last committed entry
//! <target>/member/snap/<term>-<index>.snap   the members at that entry, for etcd before 3.6
//! <target>/member/wal/                       a new log: that entry as a snapshot, then what the
//!                                            old log has behind it, the term and the vote
//! ```
//!
//! Invariants:
//! - The member forgets nothing that it has promised: its vote, and entries that it acknowledged
//!   although it did not know them to be committed.
//! - Our own data-dir is only read. The new one gets its name when it is complete and durable.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quoin_raft::{ConfState, Entry, HardState, Index, NodeId, SnapshotMeta, Term};
use quoin_store::{Checkpoint, ClusterVersion, ExportError, Fatal, SnapFile, Store, View};
use quoin_vfs::{FileSystem, Lock};
use quoin_wal::{Metadata, Replay, Wal, WalError};
use thiserror::Error;

use crate::DataDir;
use crate::recover::{RecoverError, data_of, newest_state};

#[cfg(test)]
mod tests;

/// A data-dir for etcd that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Which member of which cluster it is.
    pub metadata: Metadata,
    /// Index of the last entry in the database.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// The newest revision in the database.
    pub revision: i64,
    /// How many entries the log has behind the database.
    pub entries: usize,
    /// The cluster version that etcd will find.
    pub version: Option<ClusterVersion>,
    /// Whether there is something of clients in the v2 store, with which no etcd since 3.6 starts.
    pub is_v2_used: bool,
}

/// Why no data-dir for etcd was written. What was begun of it stays under its unfinished name.
#[derive(Debug, Error)]
pub enum ExportDirError {
    /// Our own data-dir cannot be read.
    #[error(transparent)]
    Source(#[from] RecoverError),
    /// A log cannot be read or written.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// An entry of the log cannot be applied.
    #[error(transparent)]
    Entry(#[from] Fatal),
    /// The database cannot be written.
    #[error(transparent)]
    Database(#[from] ExportError),
    /// The file system refused an operation.
    #[error("cannot {action} {path:?}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A member runs on the data-dir.
    #[error("{path:?} is in use by another process; stop the member first")]
    InUse {
        /// The log.
        path: PathBuf,
    },
    /// The member has nothing to write.
    #[error("the member in {path:?} has not applied any entry yet")]
    Empty {
        /// The log.
        path: PathBuf,
    },
    /// There is something in the way.
    #[error("there is a {path:?} already")]
    Exists {
        /// The file or directory.
        path: PathBuf,
    },
    /// The log ends with entries that the older etcd does not understand.
    #[error(
        "{entries} entries at the end of the log are newer than an etcd of that version and not \
         known to be committed; start the member again, wait until it serves, and stop it"
    )]
    Unsettled {
        /// How many there are.
        entries: usize,
    },
}

/// Writes a data-dir for etcd at `target` from that of a member that is stopped. If a version is
/// given and the cluster is at a later one, etcd will find the cluster at the given one: all
/// members must be exported alike then.
///
/// # Errors
/// As the type says.
pub fn export(
    fs: &Arc<dyn FileSystem>,
    source: &DataDir,
    target: &Path,
    version: Option<ClusterVersion>,
) -> Result<Exported, ExportDirError> {
    let _lock = lock(fs.as_ref(), &source.wal())?;
    let (member, draft) = (target.join("member"), target.join("member.unfinished"));
    for path in [&member, &draft] {
        if fs.exists(path).map_err(io_error("look for", path))? {
            return Err(ExportDirError::Exists { path: path.clone() });
        }
    }
    let state = State::read(fs, source, version)?;
    let State { metadata, checkpoint, meta, hard_state, entries, revision, version, is_v2_used } =
        state;
    let snap = draft.join("snap");
    fs.create_dir_all(&snap).map_err(io_error("create", &snap))?;
    write_database(fs.as_ref(), &snap.join("db"), &checkpoint)?;
    let snap_file = checkpoint.snap_file();
    let name = SnapFile::name(snap_file.index, snap_file.term);
    write_file(fs.as_ref(), &snap.join(name), [Ok(snap_file.encode())])?;
    fs.sync_dir(&snap).map_err(io_error("sync", &snap))?;
    write_log(fs, &draft.join("wal"), &metadata, (&meta, &hard_state, &entries))?;
    fs.sync_dir(&draft).map_err(io_error("sync", &draft))?;
    fs.rename(&draft, &member).map_err(io_error("rename", &draft))?;
    fs.sync_dir(target).map_err(io_error("sync", target))?;
    let (index, term) = (meta.index.0, meta.term.0);
    let entries = entries.len();
    Ok(Exported { metadata, index, term, revision, entries, version, is_v2_used })
}

/// What a stopped member has, for a copy that begins a cluster of its own. Entries that are not known
/// to be committed are not in it.
pub struct Settled {
    /// Term and commit index, which is that of the last entry of the state.
    pub hard_state: HardState,
    /// The state.
    pub view: View,
    /// The members and the v2 store.
    pub snap_file: SnapFile,
    /// The files that the view reads from must stay.
    _lock: Box<dyn Lock>,
}

/// Reads a member that is stopped and changes nothing. It cannot be started while the value lives.
///
/// # Errors
/// As the type says.
pub fn settled(fs: &Arc<dyn FileSystem>, source: &DataDir) -> Result<Settled, ExportDirError> {
    let lock = lock(fs.as_ref(), &source.wal())?;
    let State { checkpoint, hard_state, .. } = State::read(fs, source, None)?;
    let (view, snap_file) = (checkpoint.view().clone(), checkpoint.snap_file());
    Ok(Settled { hard_state, view, snap_file, _lock: lock })
}

/// A running member holds this lock.
fn lock(fs: &dyn FileSystem, wal: &Path) -> Result<Box<dyn Lock>, ExportDirError> {
    if !Wal::exists(fs, wal)? {
        return Err(ExportDirError::Empty { path: wal.to_owned() });
    }
    fs.lock(wal).map_err(|source| {
        let path = wal.to_owned();
        if source.kind() == io::ErrorKind::WouldBlock {
            ExportDirError::InUse { path }
        } else {
            ExportDirError::Io { action: "lock", path, source }
        }
    })
}

/// What a member has, after the last entry that is known to be committed.
struct State {
    metadata: Metadata,
    checkpoint: Checkpoint,
    meta: SnapshotMeta,
    hard_state: HardState,
    /// The entries behind.
    entries: Vec<Entry>,
    revision: i64,
    /// The cluster version, which was lowered if that was asked for.
    version: Option<ClusterVersion>,
    is_v2_used: bool,
}

impl State {
    fn read(
        fs: &Arc<dyn FileSystem>,
        source: &DataDir,
        target: Option<ClusterVersion>,
    ) -> Result<Self, ExportDirError> {
        let loaded =
            match fs.exists(&source.store()).map_err(io_error("look for", &source.store()))? {
                true => newest_state(fs, source)?,
                false => None,
            };
        let from = loaded.as_ref().map(|(_, meta)| meta);
        let replay = quoin_wal::read(fs.as_ref(), &source.wal(), from)?;
        let Replay { metadata, mut hard_state, mut entries, .. } = replay;
        let mut store = loaded.map_or_else(Store::new, |(store, _)| store);
        // What the setting of the member would have refused was not proposed.
        store.set_max_learners(usize::MAX);
        let mut applied = 0;
        for entry in &entries {
            let is_alone = store.view().conf().voters == [metadata.node.0];
            if entry.index > hard_state.commit && !is_alone {
                break;
            }
            store.apply(entry.index.0, entry.term.0, data_of(entry)?)?;
            applied += 1;
        }
        entries.drain(..applied);
        let (index, term) = store.applied();
        if index == 0 {
            return Err(ExportDirError::Empty { path: source.wal() });
        }
        // What a lone voter has in its log is committed, whether or not it has written so.
        hard_state.commit = Index(index);
        if let Some(target) = target {
            lower_to(&mut store, target, &entries)?;
        }
        let view = store.view();
        let conf = view.conf();
        let ids = |ids: &[u64]| ids.iter().copied().map(NodeId).collect();
        let (voters, learners) = (ids(&conf.voters), ids(&conf.learners));
        let meta = SnapshotMeta {
            index: Index(index),
            term: Term(term),
            conf: ConfState { voters, learners },
        };
        let (revision, version) = (view.revision(), view.membership().version());
        Ok(Self {
            metadata,
            checkpoint: store.checkpoint(conf),
            meta,
            hard_state,
            entries,
            revision,
            version,
            is_v2_used: store.v2().is_used(),
        })
    }
}

/// Lowers the cluster version if it is later. The entries behind the state go along, so an etcd of
/// that version must know them.
fn lower_to(
    store: &mut Store,
    target: ClusterVersion,
    entries: &[Entry],
) -> Result<(), ExportDirError> {
    let mut newer = 0;
    for entry in entries {
        newer += usize::from(!Store::is_known_to(data_of(entry)?, target));
    }
    if newer > 0 {
        return Err(ExportDirError::Unsettled { entries: newer });
    }
    if store.membership().version().is_some_and(|current| current > target) {
        store.lower_version(target);
    }
    Ok(())
}

fn write_database(
    fs: &dyn FileSystem,
    path: &Path,
    checkpoint: &Checkpoint,
) -> Result<(), ExportDirError> {
    let chunks = checkpoint.export()?.map(|chunk| chunk.map_err(ExportDirError::from));
    write_file(fs, path, chunks)
}

fn write_file<B: AsRef<[u8]>>(
    fs: &dyn FileSystem,
    path: &Path,
    chunks: impl IntoIterator<Item = Result<B, ExportDirError>>,
) -> Result<(), ExportDirError> {
    let file = fs.create(path).map_err(io_error("create", path))?;
    let mut offset = 0;
    for chunk in chunks {
        let chunk = chunk?;
        file.write_at(chunk.as_ref(), offset).map_err(io_error("write", path))?;
        offset += chunk.as_ref().len() as u64;
    }
    file.sync_all().map_err(io_error("sync", path))
}

fn write_log(
    fs: &Arc<dyn FileSystem>,
    dir: &Path,
    metadata: &Metadata,
    (meta, hard_state, entries): (&SnapshotMeta, &HardState, &[Entry]),
) -> Result<(), WalError> {
    let mut wal = Wal::create(Arc::clone(fs), dir, metadata, &quoin_wal::Options::default())?;
    wal.append_snapshot(meta)?;
    wal.append(Some(hard_state), entries)?;
    wal.sync()
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ExportDirError {
    move |source| ExportDirError::Io { action, path: path.to_owned(), source }
}
