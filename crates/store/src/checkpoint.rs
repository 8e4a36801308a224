//! Checkpoints: a state of the store as a file, and the same bytes as a stream to another member.
//!
//! A checkpoint holds exactly the state after the entry whose index it names. It is written under
//! another name, synced and renamed, so a file under its own name is complete; every byte of it is
//! covered by a checksum, so one that is damaged is found out. The records come in the order of
//! the history, without those that compaction has made unreachable; the index is built from them.
//!
//! The file is a sequence of blocks, and all integers are little endian:
//!
//! | bytes | block |
//! |---|---|
//! | 4 | length n of the payload, at most 65536; 0 in the last block |
//! | 4 | CRC-32C over the offset of the block in the file (8 bytes) and its payload |
//! | n | payload; 8 bytes in the last block: the length of the file |
//!
//! The payloads one after another are the content:
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `QUOINCKP` |
//! | 4 | version of the format, 1 |
//! | 8 + 8 | index and term of the last entry applied |
//! | list, list | IDs of the voters and of the learners, 8 bytes each |
//! | 8 + 8 | newest revision, compacted revision (-1: never) |
//! | list | members: ID 8, learner 1, name, list of peer URLs, list of client URLs |
//! | list | IDs that were removed, 8 bytes each |
//! | 1 [+ 24] | 1 and the cluster version (3 x 8), or 0 |
//! | 1 [+ text] | 1 and the target version of a downgrade, or 0 |
//! | list | alarms: kind 4, member 8 |
//! | n x 25, 1 | leases: 1, ID 8, time to live 8, remaining 8; last 0 |
//! | n x .., 1 | records: 1 put or 2 deletion, main revision 8, sub revision 4, bytes; last 0 |
//!
//! A list is its length in 4 bytes and its elements; text and bytes are a length in 4 bytes and
//! the bytes.
//!
//! Not here: when to write one, and how long the log must be kept for it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use quoin_vfs::FileSystem;

use crate::store::Store;
use crate::view::View;

mod blocks;
mod decode;
mod encode;
mod files;
#[cfg(test)]
pub(crate) mod tests;

pub use encode::CheckpointStream;
pub use files::ReceivedCheckpoint;

const MAGIC: &[u8; 8] = b"QUOINCKP";
const VERSION: u32 = 1;
/// The longest payload of a block.
const BLOCK_BYTES: usize = 64 * 1024;
/// The length and the checksum before a payload.
const BLOCK_HEAD_BYTES: usize = 8;

/// What precedes a lease or a record, and what ends the sequence.
const END: u8 = 0;
const PUT: u8 = 1;
const DELETE: u8 = 2;
const LEASE: u8 = 1;

/// Who votes and who learns, at the entry that a checkpoint contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfState {
    /// IDs of the voters.
    pub voters: Vec<u64>,
    /// IDs of the learners.
    pub learners: Vec<u64>,
}

/// A state that can be written while the store goes on. Making one costs nothing.
#[derive(Clone)]
pub struct Checkpoint {
    view: View,
    conf: ConfState,
}

/// A checkpoint in a directory, by the index of the entry that it contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckpointId {
    /// Index of the last entry applied.
    pub index: u64,
}

/// A checkpoint that was read.
pub struct Loaded {
    /// The store as it was.
    pub store: Store,
    /// Index of the last entry applied.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// Who voted and who learned then.
    pub conf: ConfState,
}

/// A checkpoint cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{} is damaged at byte {offset}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The file was written by another release, in a form that this one does not know.
    #[error("{} has format version {version}, which this release does not know", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it has.
        version: u32,
    },
}

impl Store {
    /// The state after the last entry applied, to be written as a checkpoint. Raft's configuration
    /// at that entry comes from the caller.
    pub fn checkpoint(&self, conf: ConfState) -> Checkpoint {
        Checkpoint { view: self.view(), conf }
    }
}

impl Checkpoint {
    /// Which checkpoint this will be.
    pub fn id(&self) -> CheckpointId {
        CheckpointId { index: self.view.applied.0 }
    }

    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    pub(crate) fn conf(&self) -> &ConfState {
        &self.conf
    }

    /// The bytes of the file in pieces, for another member.
    pub fn stream(&self) -> CheckpointStream {
        CheckpointStream::new(self.clone())
    }

    /// Writes the checkpoint into a directory and removes all but it and the one before. When this
    /// returns, the checkpoint is durable; until then the older ones are as before.
    pub fn write(&self, fs: &dyn FileSystem, dir: &Path) -> Result<CheckpointId, CheckpointError> {
        files::write(fs, dir, self)
    }

    /// The checkpoints in a directory, oldest first.
    pub fn list(fs: &dyn FileSystem, dir: &Path) -> Result<Vec<CheckpointId>, CheckpointError> {
        files::list(fs, dir)
    }

    /// Reads one checkpoint.
    pub fn load(
        fs: &dyn FileSystem,
        dir: &Path,
        id: CheckpointId,
    ) -> Result<Loaded, CheckpointError> {
        decode::load(fs, &id.path(dir))
    }

    /// Reads the newest checkpoint in a directory, if there is one. If it is damaged this fails and
    /// does not fall back to the one before: that one may be used only if the log still has all
    /// entries after it, which the caller must find out before it asks for it with
    /// [`Self::load`].
    pub fn load_newest(fs: &dyn FileSystem, dir: &Path) -> Result<Option<Loaded>, CheckpointError> {
        match Self::list(fs, dir)?.last() {
            Some(&newest) => Self::load(fs, dir, newest).map(Some),
            None => Ok(None),
        }
    }
}

impl CheckpointId {
    /// Where the checkpoint is in a directory.
    pub fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "checkpoint-{:016x}", self.index)
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint").field("id", &self.id()).finish_non_exhaustive()
    }
}
