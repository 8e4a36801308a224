//! From a data-dir to a node, and from nothing to a data-dir.
//!
//! ```text
//! <data-dir>/member/wal/    the log, in etcd's format
//! <data-dir>/member/store/  checkpoints
//! <data-dir>/member/snap/   what an etcd left, until there is a checkpoint of it (see `import`)
//! ```
//!
//! The log may be in a directory of its own. So that a member which does not find it there is not taken
//! for a new one, the directory of checkpoints has a file that says that a log was begun.
//!
//! The state is the newest checkpoint, then every committed entry behind it. The log must name the
//! checkpoint, by its entry or by the record of a snapshot. A state that came from the leader lies
//! beside the checkpoints until the log names it; if a crash comes between, recovery finishes that
//! (`received`).
//!
//! Invariants:
//! - Recovery never invents. It either continues exactly where the synced bytes end, or refuses with
//!   the name of the file that is in the way.
//! - No file alone says what the state is: only the log does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use quoin_api::raftpb;
use quoin_raft::{
    ConfState, Config, Entry, EntryId, EntryKind, HardState, Index, NodeId, Raft, RestoreError,
    Restored, SnapshotMeta, Term,
};
use quoin_store::{Checkpoint, CheckpointError, EntryData, Fatal, Loaded, Member, Store};
use quoin_vfs::FileSystem;
use quoin_wal::{Metadata, Repair, Replay, Wal, WalError};
use thiserror::Error;

use crate::{Node, Options};

mod import;
mod received;
#[cfg(test)]
pub(crate) mod tests;

pub use import::{Imported, TakeoverError};
pub use received::Settled;

/// The files of one member.
#[derive(Clone, Debug)]
pub struct DataDir {
    wal: PathBuf,
    store: PathBuf,
    snap: PathBuf,
}

impl DataDir {
    /// Returns the files below a data-dir.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        let member = root.join("member");
        Self { wal: member.join("wal"), store: member.join("store"), snap: member.join("snap") }
    }

    /// Moves the log to a directory of its own.
    #[must_use]
    pub fn with_wal(self, wal: &Path) -> Self {
        Self { wal: wal.to_owned(), ..self }
    }

    /// The log.
    #[must_use]
    pub fn wal(&self) -> PathBuf {
        self.wal.clone()
    }

    /// The checkpoints.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.store.clone()
    }

    /// The database and the snapshots of an etcd.
    #[must_use]
    pub fn snap(&self) -> PathBuf {
        self.snap.clone()
    }
}

/// How a member without a log begins.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// Who this member is.
    pub metadata: Metadata,
    /// The members of a new cluster. Empty when joining one that exists: the leader sends all.
    pub members: Vec<Member>,
}

/// A member, ready for its first turn.
#[derive(Debug)]
pub struct Recovered<W> {
    /// The node. Its first turns apply what the log holds behind the checkpoint.
    pub node: Node<W>,
    /// The log, open for appending.
    pub wal: Wal,
    /// Who this member is. A log that exists decides, whatever the flags say.
    pub metadata: Metadata,
    /// The bytes that a crash left behind the last synced record, if any were cut off.
    pub repaired: Option<Repair>,
    /// The database of an etcd that was taken over, if this was the first start after it.
    pub imported: Option<Imported>,
    /// What became of states that other members had sent before the last stop.
    pub received: Settled,
}

/// Why a data-dir cannot be recovered.
#[derive(Debug, Error)]
pub enum RecoverError {
    /// The log is damaged or taken.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// A checkpoint is damaged.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// What an etcd left cannot be taken over.
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
    /// There is a state, or there was a log, but the log is not where it should be. A member that began
    /// anew would have forgotten its votes and what it acknowledged.
    #[error(
        "{store} belongs to a member whose log is not in {wal}: start it with the directory that its \
         log was written to (--wal-dir), or remove the member and its data directory"
    )]
    NoLog {
        /// The checkpoints.
        store: PathBuf,
        /// Where the log should be.
        wal: PathBuf,
    },
    /// Log and checkpoint contradict each other.
    #[error("the log does not continue the state: {0}")]
    Restore(#[from] RestoreError),
    /// A directory cannot be made.
    #[error("failed to create {path}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Recovers the member in a data-dir, or begins one.
///
/// # Errors
/// If a file is damaged or in use. Nothing has been changed then, except that a torn tail of the
/// log may have been cut off.
pub fn recover<W>(
    fs: &Arc<dyn FileSystem>,
    dir: &DataDir,
    wal_options: &quoin_wal::Options,
    options: Options,
    bootstrap: &Bootstrap,
) -> Result<Recovered<W>, RecoverError> {
    let parent = dir.wal().parent().map(Path::to_owned).unwrap_or_default();
    for path in [parent, dir.store()] {
        let made = create_durably(fs.as_ref(), &path);
        made.map_err(|source| RecoverError::Directory { path, source })?;
    }
    let imported = import::import(fs, dir, options.max_learners)?;
    if !Wal::exists(fs.as_ref(), &dir.wal())? {
        if has_begun(fs.as_ref(), dir)? {
            return Err(RecoverError::NoLog { store: dir.store(), wal: dir.wal() });
        }
        let wal = Wal::create(Arc::clone(fs), &dir.wal(), &bootstrap.metadata, wal_options)?;
        drop(wal);
    }
    // After the log is durable and before anything is promised by it.
    note_begun(fs.as_ref(), dir)?;
    let received = received::settle(fs.as_ref(), dir)?;
    let loaded = newest_checkpoint(fs, dir)?;
    let mark = loaded.as_ref().map(|(_, meta)| meta);
    let (mut wal, mut replay) = Wal::open(Arc::clone(fs), &dir.wal(), mark, wal_options)?;
    let untouched = replay.hard_state == HardState::default();
    let founds = bootstrap.members.iter().any(|member| member.id == replay.metadata.node.0);
    if untouched && loaded.is_none() && founds {
        // Also after a crash between the creation of the log and its first entries, or among them.
        begin(&mut wal, &mut replay, &bootstrap.members)?;
    }
    let metadata = replay.metadata;
    let repaired = replay.repaired.take();
    let node = node_of(Options { id: metadata.node, ..options }, loaded, replay)?;
    Ok(Recovered { node, wal, metadata, repaired, imported, received })
}

/// The file that says that the member has begun a log. It has no content.
const LOG_BEGUN: &str = "log-begun";

/// Whether the member has begun a log, wherever that is.
fn has_begun(fs: &dyn FileSystem, dir: &DataDir) -> Result<bool, RecoverError> {
    let mark = dir.store().join(LOG_BEGUN);
    let is_marked = fs.exists(&mark);
    let is_marked = is_marked.map_err(|source| RecoverError::Directory { path: mark, source })?;
    // Directories of earlier builds have no mark, but most of them a checkpoint.
    Ok(is_marked || !Checkpoint::list(fs, &dir.store())?.is_empty())
}

/// Notes that the member has begun a log, before it promises anything.
fn note_begun(fs: &dyn FileSystem, dir: &DataDir) -> Result<(), RecoverError> {
    let mark = dir.store().join(LOG_BEGUN);
    let noted = || {
        if fs.exists(&mark)? {
            return Ok(());
        }
        fs.create(&mark)?.sync_all()?;
        fs.sync_dir(&dir.store())
    };
    noted().map_err(|source| RecoverError::Directory { path: mark.clone(), source })
}

/// Creates a directory that a crash does not take away again: whatever becomes durable in it is
/// lost with its name, or with the name of one above it.
fn create_durably(fs: &dyn FileSystem, path: &Path) -> std::io::Result<()> {
    let mut unsynced = Vec::new();
    for (depth, dir) in path.ancestors().enumerate() {
        // A start that was cut off may have left the last two, which are ours, and not synced them.
        if depth >= 2 && fs.exists(dir)? {
            break;
        }
        unsynced.extend(dir.parent());
    }
    fs.create_dir_all(path)?;
    // The parent of a relative path's first part is the working directory.
    let named =
        |dir: &'_ Path| if dir.as_os_str().is_empty() { Path::new(".") } else { dir }.to_owned();
    unsynced.into_iter().rev().try_for_each(|dir| fs.sync_dir(&named(dir)))
}

/// Loads the newest checkpoint.
fn newest_checkpoint(
    fs: &Arc<dyn FileSystem>,
    dir: &DataDir,
) -> Result<Option<(Store, SnapshotMeta)>, RecoverError> {
    Ok(Checkpoint::load_newest(fs.as_ref(), &dir.store())?.map(with_meta))
}

/// Loads what a start would begin with, and changes nothing.
pub(crate) fn newest_state(
    fs: &Arc<dyn FileSystem>,
    dir: &DataDir,
) -> Result<Option<(Store, SnapshotMeta)>, RecoverError> {
    match received::named(fs.as_ref(), dir)? {
        Some(id) => Ok(Some(with_meta(id.load(fs.as_ref(), &dir.store())?))),
        None => newest_checkpoint(fs, dir),
    }
}

fn with_meta(loaded: Loaded) -> (Store, SnapshotMeta) {
    let ids = |ids: Vec<u64>| ids.into_iter().map(NodeId).collect();
    let meta = SnapshotMeta {
        index: Index(loaded.index),
        term: Term(loaded.term),
        conf: ConfState { voters: ids(loaded.conf.voters), learners: ids(loaded.conf.learners) },
    };
    (loaded.store, meta)
}

/// Writes the first entries of a new cluster: one addition per member, in ascending order of
/// their IDs, committed in term 1. Every member writes the same.
fn begin(wal: &mut Wal, replay: &mut Replay, members: &[Member]) -> Result<(), WalError> {
    let mut members: Vec<&Member> = members.iter().collect();
    members.sort_by_key(|member| member.id);
    let entries = (1..).zip(members).map(|(index, member)| Entry {
        kind: EntryKind::ConfChange,
        term: Term(1),
        index: Index(index),
        data: addition(member),
    });
    replay.entries = entries.collect();
    let commit = Index(replay.entries.len() as u64);
    replay.hard_state = HardState { term: Term(1), vote: NodeId::NONE, commit };
    wal.append(Some(&replay.hard_state), &replay.entries)?;
    wal.sync()
}

fn addition(member: &Member) -> Bytes {
    let change = raftpb::ConfChange {
        r#type: raftpb::ConfChangeType::ConfChangeAddNode.into(),
        node_id: member.id,
        context: Bytes::from(member.to_json(None)),
        id: 0,
    };
    Bytes::from(change.encode_to_vec())
}

/// What the store is to apply of an entry.
pub(crate) fn data_of(entry: &Entry) -> Result<EntryData<'_>, Fatal> {
    match entry.kind {
        EntryKind::Normal => Ok(EntryData::Normal(&entry.data)),
        EntryKind::ConfChange => Ok(EntryData::ConfChange(&entry.data)),
        EntryKind::ConfChangeV2 => {
            let what = "a joint change, which no etcd proposes".to_owned();
            Err(Fatal::NotUnderstood { index: entry.index.0, what })
        }
    }
}

/// Builds the node that continues a checkpoint with the entries behind it.
fn node_of<W>(
    options: Options,
    loaded: Option<(Store, SnapshotMeta)>,
    replay: Replay,
) -> Result<Node<W>, RestoreError> {
    let (store, meta) = loaded.unwrap_or_else(|| (Store::new(), SnapshotMeta::default()));
    let Replay { hard_state, entries, .. } = replay;
    let config = Config {
        id: options.id,
        election_ticks: options.election_ticks,
        heartbeat_ticks: options.heartbeat_ticks,
        max_size_per_message: MESSAGE_BYTES_MAX,
        max_inflight_messages: MESSAGES_IN_FLIGHT_MAX,
        max_committed_bytes_per_ready: COMMITTED_BYTES_MAX,
        max_uncommitted_bytes: UNCOMMITTED_BYTES_MAX,
        pre_vote: options.pre_vote,
        check_quorum: true,
        seed: options.seed,
    };
    let first = EntryId { index: meta.index, term: meta.term };
    let restored = Restored { hard_state, conf: meta.conf, first, entries, applied: meta.index };
    Ok(Node::new(options, Raft::new(config, restored)?, store))
}

/// Bytes of entries in one append, as in etcd.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;
/// Appends under way to one follower, as in etcd.
const MESSAGES_IN_FLIGHT_MAX: usize = 512;
/// Bytes of entries applied in one turn.
const COMMITTED_BYTES_MAX: u64 = 16 << 20;
/// Bytes of entries that may wait for their commit.
const UNCOMMITTED_BYTES_MAX: u64 = 256 << 20;
