//! A state that came from another member, in the directory of checkpoints and none of them yet.
//!
//! Whether it is to be taken is decided by consensus, after it has arrived. Until the log says so,
//! durably, it has a name under which no start looks for a state. So one that consensus refuses can
//! never take the place of what the member has, whenever the machine stops.
//!
//! Invariant: a received state becomes a checkpoint only after the log has recorded, with a hard state
//! that commits it, that it begins anew after this very entry.
//!
//! Not here: that record, and who reads the log (`quoin_node`).

use std::fmt;
use std::path::{Path, PathBuf};

use quoin_vfs::FileSystem;

use super::{CheckpointError, CheckpointId, Loaded, decode, files};

/// A complete and durable state from another member, by the entry that it contains last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReceivedId {
    /// Index of the last entry applied.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
}

impl ReceivedId {
    /// The received states in a directory. There is more than one only if some could not be removed.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn list(fs: &dyn FileSystem, dir: &Path) -> Result<Vec<Self>, CheckpointError> {
        Ok(files::names(fs, dir)?.iter().filter_map(|name| parse(name)).collect())
    }

    /// Reads the state where it is.
    ///
    /// # Errors
    /// If it is damaged or cannot be read.
    pub fn load(self, fs: &dyn FileSystem, dir: &Path) -> Result<Loaded, CheckpointError> {
        decode::load(fs, &self.path(dir))
    }

    /// Makes the state the newest checkpoint. The log must name it durably by now. Older checkpoints
    /// and their segments go when the next checkpoint was written.
    ///
    /// # Errors
    /// If the file system failed. A start then does the same again.
    pub fn adopt(self, fs: &dyn FileSystem, dir: &Path) -> Result<(), CheckpointError> {
        files::install(fs, dir, &self.path(dir), CheckpointId { index: self.index }.path(dir))
    }

    /// Removes a state that was not taken. Its segments go when the next checkpoint was written. If it
    /// cannot be removed, it stays until the next state arrives or the member starts: it does no more
    /// harm than that it takes up space.
    pub fn discard(self, fs: &dyn FileSystem, dir: &Path) {
        fs.remove(&self.path(dir)).ok();
    }

    pub(super) fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }
}

impl fmt::Display for ReceivedId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "received-{:016x}-{:016x}", self.index, self.term)
    }
}

/// Reads the name of a received state.
pub(super) fn parse(name: &str) -> Option<ReceivedId> {
    let (index, term) = name.strip_prefix("received-")?.split_once('-')?;
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    let id = ReceivedId { index: number(index)?, term: number(term)? };
    (id.to_string() == name).then_some(id)
}
