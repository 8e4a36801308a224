//! Checkpoints in a directory: how one gets there, and how older ones go.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use quoin_vfs::FileSystem;

use super::{CheckpointError, CheckpointId, received};
use crate::history::segment;

/// What the name of a file ends with until it is complete.
const UNFINISHED: &str = ".tmp";

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

/// Where a file is until it is complete.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    PathBuf::from(name)
}

/// Gives a complete and synced file its own name.
pub(super) fn install(
    fs: &dyn FileSystem,
    dir: &Path,
    unfinished: &Path,
    path: PathBuf,
) -> Result<(), CheckpointError> {
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
    // A newer one came from another member, and so did what is not yet one. Both have segments of
    // their own.
    let is_newer = |name: &String| {
        parse(name).is_some_and(|id| id > newest) || received::parse(name).is_some()
    };
    let is_newest = !names.iter().any(is_newer);
    let is_old = |name: &str| {
        let begun = name.strip_suffix(UNFINISHED);
        let unfinished =
            begun.is_some_and(|name| parse(name).is_some() || received::parse(name).is_some());
        let old = parse(name).is_some_and(|id| id < newest);
        let unnamed = segment::parse(name).is_some_and(|number| !named.contains(&number));
        unfinished || old || (unnamed && is_newest)
    };
    for name in names.iter().filter(|name| is_old(name)) {
        fs.remove(&dir.join(name)).ok();
    }
}

pub(super) fn names(fs: &dyn FileSystem, dir: &Path) -> Result<Vec<String>, CheckpointError> {
    fs.list(dir).map_err(|source| CheckpointError::Io { path: dir.to_owned(), source })
}

fn parse(name: &str) -> Option<CheckpointId> {
    let digits = name.strip_prefix("checkpoint-")?;
    let index = u64::from_str_radix(digits, 16).ok()?;
    let id = CheckpointId { index };
    (id.to_string() == name).then_some(id)
}
