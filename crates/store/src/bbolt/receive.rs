//! A database that arrives from the leader, which may be an etcd, and becomes a state beside our
//! checkpoints. Whether it takes their place is for consensus to say (see [`ReceivedId`]).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use quoin_vfs::{File, FileSystem};

use super::import::{DbImport, ImportError};
use crate::checkpoint::{CheckpointError, ConfState, Loaded, ReceivedId};
use crate::cluster::Cluster;

/// The name under which bytes from another member arrive.
const RECEIVED: &str = "database-received.tmp";

/// What the message in front of a database says about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// Index of the last entry that it contains.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// Who voted and who learned then.
    pub conf: ConfState,
    /// The v2 store as JSON, which has the members too, and which etcd before 3.8 sends along.
    pub v2_store: Bytes,
}

/// A database from another member is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The database is damaged, or holds what this release would lose.
    #[error(transparent)]
    Database(#[from] ImportError),
    /// The checkpoint cannot be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The file system failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// It is not the one that was announced: consensus relies on that.
    #[error("the snapshot of entry {index} of term {term} contains entry {found} of term {of:?}")]
    Other {
        /// The index that was announced.
        index: u64,
        /// The term that was announced.
        term: u64,
        /// The index in the database.
        found: u64,
        /// The term in the database, if it has one.
        of: Option<u64>,
    },
    /// The members that came along cannot be read.
    #[error("the members of the snapshot cannot be taken over: {0}")]
    Members(String),
}

/// A database that is arriving from another member.
pub struct ReceivedDatabase {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    path: PathBuf,
    file: Box<dyn File>,
    length: u64,
}

impl ReceivedDatabase {
    /// Begins to receive into the directory of checkpoints. Only one can arrive at a time, and none
    /// before it was decided about the one before: what is left of that one is removed.
    pub fn begin(fs: Arc<dyn FileSystem>, dir: &Path) -> Result<Self, ReceiveError> {
        for left in ReceivedId::list(fs.as_ref(), dir)? {
            left.discard(fs.as_ref(), dir);
        }
        let path = dir.join(RECEIVED);
        let created = fs.create(&path);
        let file = created.map_err(|source| ReceiveError::Io { path: path.clone(), source })?;
        Ok(Self { fs, dir: dir.to_owned(), path, file, length: 0 })
    }

    /// Takes the next bytes, in pieces of any length.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ReceiveError> {
        let written = self.file.write_at(bytes, self.length);
        written.map_err(|source| ReceiveError::Io { path: self.path.clone(), source })?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Reads all that arrived, and writes it beside the checkpoints of the directory if it is complete
    /// and what was announced. When this returns, it is durable as the [`ReceivedId`] of the entry that
    /// was announced, and must be adopted or discarded.
    pub fn finish(self, announced: &Announced) -> Result<Loaded, ReceiveError> {
        let Self { fs, dir, path, file, .. } = self;
        drop(file);
        let outcome = take(fs.as_ref(), &dir, &path, announced);
        // The bytes are of no use any more, whatever became of them.
        let removed = fs.remove(&path);
        let loaded = outcome?;
        removed.map_err(|source| ReceiveError::Io { path, source })?;
        Ok(loaded)
    }
}

fn take(
    fs: &dyn FileSystem,
    dir: &Path,
    path: &Path,
    announced: &Announced,
) -> Result<Loaded, ReceiveError> {
    let Announced { index, term, conf, v2_store } = announced;
    let import = DbImport::read(fs, path)?;
    let (found, of) = (import.index(), import.term());
    if found != *index || of.is_some_and(|of| of != *term) {
        return Err(ReceiveError::Other { index: *index, term: *term, found, of });
    }
    let mut loaded = if v2_store.is_empty() {
        import.into_loaded(*term)
    } else {
        let cluster = Cluster::of_v2_json(v2_store).map_err(ReceiveError::Members)?;
        import.into_loaded_with_cluster(*term, cluster)
    };
    let written = loaded.store.checkpoint(conf.clone()).write_received(fs, dir)?;
    // This store reads the database, which is about to go.
    drop(loaded);
    Ok(written.load(fs, dir)?)
}
