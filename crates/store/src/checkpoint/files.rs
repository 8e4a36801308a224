//! Checkpoints in a directory: how one gets there, and how older ones go.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quoin_vfs::{File, FileSystem};

use super::{Checkpoint, CheckpointError, CheckpointId, Loaded, decode};

/// How many checkpoints stay: the newest one, and the one before it in case the newest is damaged.
const KEPT: usize = 2;
/// What the name of a file ends with until it is complete.
const UNFINISHED: &str = ".tmp";
/// The name under which bytes from another member arrive.
const RECEIVED: &str = "checkpoint-received.tmp";

/// Writes a checkpoint; see [`Checkpoint::write`].
pub(super) fn write(
    fs: &dyn FileSystem,
    dir: &Path,
    checkpoint: &Checkpoint,
) -> Result<CheckpointId, CheckpointError> {
    let id = checkpoint.id();
    let path = dir.join(format!("{id}{UNFINISHED}"));
    let io = |source| CheckpointError::Io { path: path.clone(), source };
    let file = fs.create(&path).map_err(io)?;
    let mut offset = 0;
    for block in checkpoint.stream() {
        file.write_at(&block, offset).map_err(io)?;
        offset += block.len() as u64;
    }
    file.sync_all().map_err(io)?;
    drop(file);
    install(fs, dir, &path, id)?;
    Ok(id)
}

/// Lists checkpoints; see [`Checkpoint::list`].
pub(super) fn list(fs: &dyn FileSystem, dir: &Path) -> Result<Vec<CheckpointId>, CheckpointError> {
    let mut ids: Vec<_> = names(fs, dir)?.iter().filter_map(|name| parse(name)).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// A checkpoint that is arriving from another member.
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

    /// Reads all that arrived, and makes it the newest checkpoint of the directory if it is
    /// complete and undamaged. When this returns, it is durable.
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

/// Gives a complete and synced file its own name, then removes what is no longer needed.
fn install(
    fs: &dyn FileSystem,
    dir: &Path,
    unfinished: &Path,
    id: CheckpointId,
) -> Result<(), CheckpointError> {
    let path = id.path(dir);
    let io = |source| CheckpointError::Io { path: path.clone(), source };
    fs.rename(unfinished, &path).map_err(io)?;
    fs.sync_dir(dir).map_err(io)?;
    remove_old(fs, dir)
}

/// Removes all but the newest checkpoints, and files that were never finished.
fn remove_old(fs: &dyn FileSystem, dir: &Path) -> Result<(), CheckpointError> {
    let ids = list(fs, dir)?;
    let old = ids.iter().rev().skip(KEPT).map(|id| id.path(dir));
    let names = names(fs, dir)?;
    let is_unfinished = |name: &&String| {
        *name != RECEIVED && name.strip_suffix(UNFINISHED).is_some_and(|name| parse(name).is_some())
    };
    let unfinished = names.iter().filter(is_unfinished).map(|name| dir.join(name));
    for path in old.chain(unfinished) {
        fs.remove(&path).map_err(|source| CheckpointError::Io { path, source })?;
    }
    Ok(())
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
