//! Checkpoints in a directory: how one gets there, and how older ones go.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quoin_vfs::{File, FileSystem};

use super::{CheckpointError, CheckpointId, Loaded, decode};
use crate::history::segment;

/// What the name of a file ends with until it is complete.
const UNFINISHED: &str = ".tmp";
/// The name under which bytes from another member arrive.
const RECEIVED: &str = "checkpoint-received.tmp";

/// Lists checkpoints; see [`Checkpoint::list`](super::Checkpoint::list).
pub(super) fn list(fs: &dyn FileSystem, dir: &Path) -> Result<Vec<CheckpointId>, CheckpointError> {
    let mut ids: Vec<_> = names(fs, dir)?.iter().filter_map(|name| parse(name)).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// The numbers of the segments in a directory.
pub(super) fn segments(fs: &dyn FileSystem, dir: &Path) -> Result<BTreeSet<u64>, CheckpointError> {
    Ok(names(fs, dir)?.iter().filter_map(|name| segment::parse(name)).collect())
}

/// Where a checkpoint is until it is complete.
pub(super) fn unfinished(dir: &Path, id: CheckpointId) -> PathBuf {
    dir.join(format!("{id}{UNFINISHED}"))
}

/// A checkpoint that is arriving from another member: a whole state in one file. It becomes a
/// checkpoint of the directory beside those that are there, whose segments the running store may
/// need; they go when the next checkpoint was written.
pub struct ReceivedCheckpoint {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    path: PathBuf,
    file: Box<dyn File>,
    length: u64,
}

impl ReceivedCheckpoint {
    /// Begins to receive into a directory. Only one can arrive at a time.
    pub fn begin(fs: Arc<dyn FileSystem>, dir: &Path) -> Result<Self, CheckpointError> {
        let path = dir.join(RECEIVED);
        let created = fs.create(&path);
        let file = created.map_err(|source| CheckpointError::Io { path: path.clone(), source })?;
        Ok(Self { fs, dir: dir.to_owned(), path, file, length: 0 })
    }

    /// Takes the next bytes, in pieces of any length.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.file.write_at(bytes, self.length).map_err(|source| self.io(source))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Reads all that arrived, and makes it a checkpoint of the directory if it is complete and
    /// undamaged. When this returns, it is durable.
    pub fn finish(self) -> Result<Loaded, CheckpointError> {
        self.file.sync_all().map_err(|source| self.io(source))?;
        let loaded = decode::load(&*self.fs, &self.path)?;
        install(&*self.fs, &self.dir, &self.path, CheckpointId { index: loaded.index })?;
        Ok(loaded)
    }

    fn io(&self, source: io::Error) -> CheckpointError {
        CheckpointError::Io { path: self.path.clone(), source }
    }
}

/// Gives a complete and synced file its own name.
pub(super) fn install(
    fs: &dyn FileSystem,
    dir: &Path,
    unfinished: &Path,
    id: CheckpointId,
) -> Result<(), CheckpointError> {
    let path = id.path(dir);
    fs.rename(unfinished, &path).map_err(|source| CheckpointError::Io { path, source })?;
    sync(fs, dir)
}

/// Makes the names in a directory durable.
pub(super) fn sync(fs: &dyn FileSystem, dir: &Path) -> Result<(), CheckpointError> {
    fs.sync_dir(dir).map_err(|source| CheckpointError::Io { path: dir.to_owned(), source })
}

/// Removes what a new checkpoint makes superfluous: older ones, segments that it does not name,
/// and files that were never finished. What cannot be removed stays until the next time: the
/// checkpoint is good without that.
pub(super) fn remove_old(
    fs: &dyn FileSystem,
    dir: &Path,
    newest: CheckpointId,
    named: &BTreeSet<u64>,
) {
    let Ok(names) = names(fs, dir) else { return };
    // A newer one came from another member, and may have segments of its own.
    let is_newest = !names.iter().filter_map(|name| parse(name)).any(|id| id > newest);
    let is_old = |name: &str| {
        let unfinished = name.strip_suffix(UNFINISHED).and_then(parse);
        let old = parse(name).is_some_and(|id| id < newest);
        let unnamed = segment::parse(name).is_some_and(|number| !named.contains(&number));
        unfinished.is_some() || old || (unnamed && is_newest)
    };
    for name in names.iter().filter(|name| is_old(name)) {
        fs.remove(&dir.join(name)).ok();
    }
}

fn names(fs: &dyn FileSystem, dir: &Path) -> Result<Vec<String>, CheckpointError> {
    fs.list(dir).map_err(|source| CheckpointError::Io { path: dir.to_owned(), source })
}

fn parse(name: &str) -> Option<CheckpointId> {
    let digits = name.strip_prefix("checkpoint-")?;
    let index = u64::from_str_radix(digits, 16).ok()?;
    let id = CheckpointId { index };
    (id.to_string() == name).then_some(id)
}
