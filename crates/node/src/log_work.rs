//! What one turn asks of the durable log, and what may be said once it is durable.
//!
//! Invariant: [`LogWork::messages`] and the call of [`Node::persisted`](crate::Node::persisted)
//! come after a successful sync that covers the work. Votes and acknowledgements are promises
//! about bytes on disk. So does [`LogWork::settle`]: a state that came from another member becomes
//! a checkpoint only when the log names it.

use std::path::Path;

use quoin_raft::{Entry, HardState, Index, Message, SnapshotMeta};
use quoin_store::{CheckpointError, ReceivedId};
use quoin_vfs::FileSystem;
use quoin_wal::{Wal, WalError};

/// One batch for the log. Batches are written in the order of the turns that made them; several
/// may share one sync.
#[derive(Debug, Default)]
pub struct LogWork {
    /// The number to give back to [`Node::persisted`](crate::Node::persisted), if the work comes
    /// from consensus.
    pub ready: Option<u64>,
    /// The term, vote and commit index to record, if they changed.
    pub hard_state: Option<HardState>,
    /// The entries to append; they replace what the log holds at their indexes and after.
    pub entries: Vec<Entry>,
    /// A state that is durable in the data-dir and lets the log begin after its index.
    pub snapshot: Option<SnapshotMeta>,
    /// A state that came from the leader and that the snapshot of this work names.
    pub adopt: Option<ReceivedId>,
    /// States that came from other members and that consensus refused.
    pub discard: Vec<ReceivedId>,
    /// Entries up to here are no longer needed: whole segments before may go.
    pub release: Option<Index>,
    /// False if only the commit index changed: a crash may forget that.
    pub must_sync: bool,
    /// The messages to send after the sync.
    pub messages: Vec<Message>,
}

impl LogWork {
    /// Returns true if there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let news = self.ready.is_some() || self.snapshot.is_some() || self.release.is_some();
        let settles = self.adopt.is_some() || !self.discard.is_empty();
        !news && !settles && self.messages.is_empty()
    }

    /// Writes the work to the log, without a sync.
    ///
    /// # Errors
    /// If the log cannot be written. The log then refuses everything else, and the member must
    /// stop without saying anything more.
    pub fn append_to(&self, wal: &mut Wal) -> Result<(), WalError> {
        if let Some(snapshot) = &self.snapshot {
            wal.append_snapshot(snapshot)?;
        }
        wal.append(self.hard_state.as_ref(), &self.entries)
    }

    /// Settles what becomes of states that came from other members, in the directory of checkpoints.
    /// Call it after the sync of the work and before anything is released or said. Returns how many
    /// there were: for each, the next state may arrive.
    ///
    /// # Errors
    /// If the file system failed. The log names a state then that is not a checkpoint yet, so the
    /// member must stop; its next start finishes this.
    pub fn settle(&self, fs: &dyn FileSystem, dir: &Path) -> Result<usize, CheckpointError> {
        if let Some(taken) = self.adopt {
            taken.adopt(fs, dir)?;
        }
        for refused in &self.discard {
            refused.discard(fs, dir);
        }
        Ok(usize::from(self.adopt.is_some()) + self.discard.len())
    }
}
