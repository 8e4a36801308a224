//! The key space: the index and the history together, and the rules by which requests change
//! them.
//!
//! Every request that changes something takes the next main revision; the changes within it take
//! the sub revisions from 0. A request that changes nothing, or fails, takes none.
//!
//! Invariants:
//! - Every revision in the index has its record in the history.
//! - What a reader at any revision from the compacted one on sees does not depend on how much of
//!   the garbage of a compaction has been collected.

use quoin_api::error::Error;

use crate::checkpoint::CheckpointError;
use crate::history::History;
use crate::index::Index;
use crate::tally::Tally;

mod bound;
mod collect;
mod pending;
mod pick;
mod range;
mod reader;
mod txn;
mod write;

pub use bound::Bound;
pub(crate) use bound::Halt;
use collect::Garbage;
pub(crate) use pending::{Pending, Stored};
pub(crate) use reader::{Reader, Span};
pub(crate) use txn::{plan_readonly, run_txn};
pub(crate) use write::Write;

/// The revision of a store to which nothing was ever written.
pub(crate) const FIRST_REVISION: i64 = 1;
/// The compacted revision of a store that was never compacted.
pub(crate) const NEVER_COMPACTED: i64 = -1;

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It asks for what cannot be done. Every member says the same.
    Refused(Error),
    /// The stored bytes cannot be read or are damaged, on this member.
    Unreadable(CheckpointError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Self {
        Self::Unreadable(error)
    }
}

impl Failure {
    /// What a client is told. Bytes that cannot be trusted are data loss.
    pub(crate) fn told(self) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::Unreadable(_) => Error::Corrupt,
        }
    }
}

/// The key space, to be changed by one.
pub(crate) struct Kv {
    pub(crate) index: Index,
    pub(crate) history: History,
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    /// What was done since somebody last asked.
    pub(crate) tally: Tally,
    garbage: Option<Garbage>,
}

impl Kv {
    pub(crate) fn new() -> Self {
        Self::restored(Index::default(), History::default(), FIRST_REVISION, NEVER_COMPACTED)
    }

    /// The key space as a checkpoint has it.
    pub(crate) fn restored(index: Index, history: History, revision: i64, compacted: i64) -> Self {
        Self { index, history, revision, compacted, tally: Tally::default(), garbage: None }
    }

    /// The state after the last request that was finished.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader {
            index: &self.index,
            history: self.history.view(),
            revision: self.revision,
            compacted: self.compacted,
        }
    }

    /// Whether records that a compaction made unreachable may still be there.
    pub(crate) fn has_garbage(&self) -> bool {
        self.garbage.is_some()
    }

    /// Makes the revisions before `revision` unreachable. Their memory is given back by
    /// [`Self::collect`].
    pub(crate) fn compact(&mut self, revision: i64) -> Result<(), Error> {
        if revision <= self.compacted {
            return Err(Error::Compacted);
        }
        if revision > self.revision {
            return Err(Error::FutureRevision);
        }
        self.add_garbage(revision);
        self.compacted = revision;
        Ok(())
    }
}
