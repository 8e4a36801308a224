//! What can go wrong with the log, in words for the operator.

use std::io;
use std::path::{Path, PathBuf};

use quoin_raft::{Index, Term};

/// Why the log cannot be created, opened, or written.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The file system refused an operation.
    #[error("cannot {action} {path:?}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// An earlier write or sync failed, so what is on disk is unknown until the next start.
    #[error("the log failed earlier and takes no more writes; restart the member")]
    Failed,
    /// Another process, or an unfinished job of this one, uses the directory.
    #[error("the log in {dir:?} is in use by another process")]
    Locked {
        /// The directory of the log.
        dir: PathBuf,
    },
    /// There is a log already.
    #[error("there is a log in {dir:?} already")]
    Exists {
        /// The directory of the log.
        dir: PathBuf,
    },
    /// No segment covers the index to start from.
    #[error("no segment in {dir:?} begins at or before index {index}")]
    NoSegment {
        /// The directory of the log.
        dir: PathBuf,
        /// The index to start from.
        index: Index,
    },
    /// A segment in the middle or at the end of the log is gone.
    #[error(
        "segment {sequence:016x} is missing in {dir:?}; put the file back, or replace this member"
    )]
    MissingSegment {
        /// The directory of the log.
        dir: PathBuf,
        /// The sequence number of the missing segment.
        sequence: u64,
    },
    /// Bytes on disk are not what was written, and no interrupted write explains it.
    #[error(
        "{path:?} is damaged at offset {offset}: {reason}; nothing was changed; put back an \
         intact copy of the log, or remove this member from the cluster and add it again with an \
         empty directory, or restore a snapshot if it is the only member"
    )]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Where the first bad record begins.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An entry does not follow the entries before it.
    #[error("{path:?} at offset {offset}: entry {found} follows where {expected} is due")]
    EntryGap {
        /// The segment.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// The highest index that could follow.
        expected: Index,
        /// The index of the entry.
        found: Index,
    },
    /// The terms of the entries go backwards, which no log does.
    #[error("entry {index} is of an earlier term than the one before it: the log is damaged")]
    TermOrder {
        /// The index of the entry.
        index: Index,
    },
    /// The log and the snapshot to start from disagree about a committed entry.
    #[error(
        "the snapshot at index {index} is of term {term}, but the log has a committed entry of \
         term {found} there; the snapshot does not belong to this log"
    )]
    SnapshotMismatch {
        /// The index of the snapshot.
        index: Index,
        /// The term of the snapshot.
        term: Term,
        /// The term that the log has at that index.
        found: Term,
    },
    /// The log knows nothing of the snapshot to start from.
    #[error(
        "the log has neither an entry nor a snapshot at index {index}: the state there does not \
         belong to this log"
    )]
    SnapshotMissing {
        /// The index of the snapshot.
        index: Index,
    },
    /// A later snapshot has replaced entries that the one to start from would need.
    #[error(
        "the log cannot be read from index {from}: it begins anew after the snapshot at {needed}"
    )]
    StaleSnapshot {
        /// The index that was asked for.
        from: Index,
        /// The index of the snapshot that replaced the log.
        needed: Index,
    },
    /// The hard state counts on entries that the log does not have.
    #[error("index {commit} is committed, but the log ends at {last}: entries were lost")]
    CommitBeyondLog {
        /// The commit index of the hard state.
        commit: Index,
        /// The last index of the log.
        last: Index,
    },
    /// An entry is larger than a record may be. Nothing was written.
    #[error("entry {index} has {bytes} bytes, more than a record can hold")]
    TooLarge {
        /// The index of the entry.
        index: Index,
        /// The size of its payload.
        bytes: usize,
    },
}

/// Names the operation and the file of an error of the file system.
pub(crate) trait Context<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, WalError>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, WalError> {
        self.map_err(|source| WalError::Io { action, path: path.to_owned(), source })
    }
}
