//! What can go wrong with a file, in words for the operator.

use std::io;
use std::path::PathBuf;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BoltError {
    /// The file system refused an operation.
    #[error("cannot {action} {path:?}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Neither meta page is valid.
    #[error("{path:?} is not a bbolt file, or both of its meta pages are damaged: {reason}")]
    NoMeta {
        /// The file.
        path: PathBuf,
        /// What is wrong with the first one.
        reason: &'static str,
    },
    /// The end of the file is missing.
    #[error("{path:?} is cut off: it has {bytes} bytes, but should have {expected} or more")]
    CutOff {
        /// The file.
        path: PathBuf,
        /// How long it is.
        bytes: u64,
        /// How long its meta page says it is at least.
        expected: u64,
    },
    /// A page is not what it should be.
    #[error("{path:?} is damaged at page {page}: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The number of the page.
        page: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Why a file cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The bucket was not announced, or was finished when a later one began.
    #[error("there is no such bucket ahead")]
    NoBucket,
    /// The names of the buckets, the buckets or the keys of one do not ascend.
    #[error("buckets and keys must ascend")]
    Order,
    /// A key is empty or too long.
    #[error("a key has {0} bytes, but must have 1 to {max}", max = crate::KEY_BYTES_MAX)]
    Key(usize),
    /// A value is too long.
    #[error("a value has {0} bytes, but must have {max} at most", max = crate::VALUE_BYTES_MAX)]
    Value(usize),
    /// The pairs do not have the lengths that the layout was made of.
    #[error("the pairs are not those that the layout was made of")]
    NotAsPlanned,
}
