//! States that came from other members and had not become checkpoints when the member stopped.
//!
//! A received state is written beside the checkpoints, then the log records that it begins anew
//! after it, then the state becomes the newest checkpoint. A crash may come anywhere between:
//!
//! | the log has | the file is | a start |
//! |---|---|---|
//! | nothing of it | beside the checkpoints | removes it: consensus had not taken it |
//! | a record, no hard state that commits it | beside | removes it: the log goes on as before |
//! | a record that is committed | beside | makes it the newest checkpoint |
//! | a record that is committed | the newest checkpoint | begins with it |
//!
//! Invariant: whether a state is taken depends on the log alone.

use quoin_raft::SnapshotMeta;
use quoin_store::{Checkpoint, ReceivedId};
use quoin_vfs::FileSystem;

use super::{DataDir, RecoverError};

/// What a start did with states that other members had sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// The one that the log names: its installation was finished.
    pub adopted: Option<ReceivedId>,
    /// Those that it does not name: they were removed.
    pub discarded: Vec<ReceivedId>,
}

/// Finishes what a crash has cut off, by what the log says. There must be a log.
pub(super) fn settle(fs: &dyn FileSystem, dir: &DataDir) -> Result<Settled, RecoverError> {
    let store = dir.store();
    let adopted = named(fs, dir)?;
    let mut discarded = ReceivedId::list(fs, &store)?;
    discarded.retain(|id| Some(*id) != adopted);
    if let Some(id) = adopted {
        id.adopt(fs, &store)?;
    }
    for id in &discarded {
        id.discard(fs, &store);
    }
    Ok(Settled { adopted, discarded })
}

/// Returns the state that the log begins anew after and that is not a checkpoint yet.
pub(super) fn named(
    fs: &dyn FileSystem,
    dir: &DataDir,
) -> Result<Option<ReceivedId>, RecoverError> {
    let received = ReceivedId::list(fs, &dir.store())?;
    if received.is_empty() {
        return Ok(None);
    }
    // The log also names the states that the member wrote by itself. Those, and what came after them,
    // are checkpoints, so a received state of such an entry was not taken.
    let newest = Checkpoint::list(fs, &dir.store())?.last().map_or(0, |newest| newest.index);
    let names = |meta: &SnapshotMeta, id: &ReceivedId| {
        (meta.index.0, meta.term.0) == (id.index, id.term) && id.index > newest
    };
    let recorded = quoin_wal::snapshots(fs, &dir.wal())?;
    Ok(received.into_iter().find(|id| recorded.iter().any(|meta| names(meta, id))))
}

#[cfg(test)]
mod tests;
