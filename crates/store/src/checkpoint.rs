//! Checkpoints: a state of the store in files, and the same as a stream to another member.
//!
//! A checkpoint holds exactly the state after the entry whose index it names. It is a file that is
//! written under another name, synced and renamed, so a file under its own name is complete; every
//! byte of it is covered by a checksum, so one that is damaged is found out. It comes in two
//! forms, which begin alike:
//!
//! - An *index* has a row for each key, with its changes and where their records are: in segments
//!   (see [`crate::history::segment`]), which the index names. This is what a member writes for
//!   itself. To load it, no record has to be read.
//! - A *whole state* has the records themselves, in the order of the history. This is what goes to
//!   another member, and what earlier releases wrote.
//!
//! Both leave out what compaction has made unreachable. The file is a sequence of blocks, and all
//! integers are little endian:
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
//! | 4 | version of the format: 3 for a whole state, 4 for an index |
//! | 8 + 8 | index and term of the last entry applied |
//! | list, list | IDs of the voters and of the learners, 8 bytes each |
//! | 8 + 8 | newest revision, compacted revision (-1: never) |
//! | list | members: ID 8, learner 1, name, list of peer URLs, list of client URLs |
//! | list | IDs that were removed, 8 bytes each |
//! | 1 [+ 24] | 1 and the cluster version (3 x 8), or 0 |
//! | 1 [+ text] | 1 and the target version of a downgrade, or 0 |
//! | list | alarms: kind 4, member 8 |
//! | n x 25, 1 | leases: 1, ID 8, time to live 8, remaining 8; last 0 |
//! | 8 | index of the v2 store |
//! | 15 x 8 | counts of the v2 store, in the order of `V2Stats` |
//! | list | events of the v2 store, the oldest first: action 1, refresh 1, node, 1 and the node before, or 0 |
//! | n x .., 1 | nodes of the v2 store, a directory before what is in it: 1, node; last 0 |
//!
//! A node of the v2 store is its path, in events 1 for a directory or 0, 1 and its value or 0, 1 and
//! the end of its time (8, nanoseconds since the epoch) or 0, modified index 8, created index 8.
//! Versions 1 and 2 have nothing of the v2 store: what it shows of the members is made from those.
//!
//! A list is its length in 4 bytes and its elements; text and bytes are a length in 4 bytes and
//! the bytes. Then, in a whole state:
//!
//! | bytes | content |
//! |---|---|
//! | n x .., 1 | records: 1 put or 2 deletion, main revision 8, sub revision 4, bytes; last 0 |
//!
//! And in an index:
//!
//! | bytes | content |
//! |---|---|
//! | list | segments by number: number 8, length 8, checksum 4 |
//! | 8 | number of the next segment |
//! | n x .., 1 | keys: 1, then varints and the end of the key as below; last 0 |
//!
//! The row of a key is: how many bytes it shares with the key before, the length of the rest, the
//! rest; create revision, version and lease of the latest change, or zeros; how many changes
//! follow. Each of them, in ascending order: main revision less that of the change before, sub
//! revision, twice the length of the record and 1 more for a deletion, which segment of the list,
//! offset there. All numbers are varints as in protobuf.
//!
//! In reading order: `job` (writing), `rows` and `decode_rows` (an index), `encode` and `decode` (a
//! whole state, and what both begin with), `v2` (the store of the v2 API), `blocks`, `files` (names),
//! `received` (what came from another member and is no checkpoint yet).
//!
//! Not here: when to write one, and how long the log must be kept for it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quoin_vfs::FileSystem;

use crate::history::{Files, Placing};
use crate::store::Store;
use crate::view::View;

mod blocks;
mod decode;
mod decode_rows;
mod encode;
mod files;
mod job;
mod received;
mod rows;
#[cfg(test)]
pub(crate) mod tests;
mod v2;

pub use encode::CheckpointStream;
pub(crate) use job::is_mostly_dead;
pub use received::ReceivedId;

const MAGIC: &[u8; 8] = b"QUOINCKP";
/// The versions of the format.
const WHOLE: u32 = 3;
const INDEX: u32 = 4;
/// The same before there was a v2 store, which are still read.
const WHOLE_BEFORE_V2: u32 = 1;
const INDEX_BEFORE_V2: u32 = 2;
/// The longest payload of a block.
const BLOCK_BYTES: usize = 64 * 1024;
/// The length and the checksum before a payload.
const BLOCK_HEAD_BYTES: usize = 8;

/// What precedes a lease, a record or a key, and what ends the sequence.
const END: u8 = 0;
const PUT: u8 = 1;
const DELETE: u8 = 2;
const LEASE: u8 = 1;
const ROW: u8 = 1;

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
    files: Files,
    /// Bytes of placed records that may be in memory.
    budget: usize,
    /// Whether records that compaction made unreachable may be in the view.
    has_garbage: bool,
    lineage: Arc<()>,
}

/// How a checkpoint is written.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    /// Bytes of a full segment.
    pub segment_bytes: u64,
}

/// What was written, for [`Store::placed`].
pub struct Written {
    /// Which checkpoint it is.
    pub id: CheckpointId,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// The store whose checkpoint it is.
    pub(crate) lineage: Arc<()>,
    pub(crate) placing: Placing,
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
    pub fn checkpoint(&mut self, conf: ConfState) -> Checkpoint {
        let files = self.kv.history.seal();
        let (budget, has_garbage) = (self.kv.history.budget(), self.kv.has_garbage());
        let lineage = Arc::clone(&self.lineage);
        Checkpoint { view: self.view(), conf, files, budget, has_garbage, lineage }
    }
}

impl Checkpoint {
    /// Which checkpoint this will be.
    pub fn id(&self) -> CheckpointId {
        CheckpointId { index: self.view.applied.0 }
    }

    /// The state.
    pub fn view(&self) -> &View {
        &self.view
    }

    pub(crate) fn conf(&self) -> &ConfState {
        &self.conf
    }

    /// The whole state in pieces, for another member.
    pub fn stream(&self) -> CheckpointStream {
        CheckpointStream::new(self.clone())
    }

    /// Writes the checkpoint into a directory, and removes older ones and segments that nothing
    /// names any more. When this returns, the checkpoint is durable; until then the older one is
    /// as before. Give what was written to the store with [`Store::placed`] before its next
    /// checkpoint is written; without that, the same records are written again.
    pub fn write(&self, fs: &dyn FileSystem, dir: &Path) -> Result<Written, CheckpointError> {
        self.write_paced(fs, dir, &WriteOptions::default(), &mut |_| ())
    }

    /// As [`Self::write`]; `pace` is told how many bytes were just written, and may wait.
    pub fn write_paced(
        &self,
        fs: &dyn FileSystem,
        dir: &Path,
        options: &WriteOptions,
        pace: &mut dyn FnMut(usize),
    ) -> Result<Written, CheckpointError> {
        job::write(fs, dir, self, job::Target::Checkpoint, options, pace)
    }

    /// Writes a state that came from another member, under a name that makes it no checkpoint, and
    /// returns that name. Nothing else in the directory is touched. When this returns, it is durable.
    pub(crate) fn write_received(
        &self,
        fs: &dyn FileSystem,
        dir: &Path,
    ) -> Result<ReceivedId, CheckpointError> {
        let (index, term) = (self.view.applied.0, self.view.applied.1);
        let id = ReceivedId { index, term };
        let target = job::Target::Received(id);
        job::write(fs, dir, self, target, &WriteOptions::default(), &mut |_| ())?;
        Ok(id)
    }

    /// Reads every segment of a checkpoint from end to end, and returns how many there are. The
    /// first damage that is found is the error. `pace` is told how many bytes were just read.
    pub fn scrub(
        fs: &dyn FileSystem,
        dir: &Path,
        id: CheckpointId,
        pace: &mut dyn FnMut(usize),
    ) -> Result<usize, CheckpointError> {
        let loaded = Self::load(fs, dir, id)?;
        let files = loaded.store.kv.history.files();
        for listed in files.listed.values() {
            listed.segment.scrub((listed.length, listed.checksum), pace)?;
        }
        Ok(files.listed.len())
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

impl Default for WriteOptions {
    fn default() -> Self {
        Self { segment_bytes: 32 << 20 }
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

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint").field("id", &self.id()).finish_non_exhaustive()
    }
}
