//! The next segment, filled with zeros ahead of time.
//!
//! The log has no threads. It hands out a job; whoever has a thread runs it and brings back the
//! result.

use std::path::PathBuf;
use std::sync::Arc;

use quoin_vfs::{File, FileSystem, Lock};

use crate::error::{Context, WalError};
use crate::segment::write_zeros;

/// The name of a segment that is not part of the log yet. etcd ignores files that end so.
const FILE_NAME: &str = "spare.tmp";

/// How much is written between two syncs. Small, so that the log's own syncs do not wait long
/// behind it.
const SYNC_BYTES: u64 = 4 * 1024 * 1024;

/// Ties a job and its result to the log that wants them. It holds the lock of the directory, so
/// that no other log can be opened while the job may still write there.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) _lock: Arc<dyn Lock>,
}

/// Work for another thread: preparing the next segment.
#[derive(Debug)]
pub struct SpareJob {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) dir: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) token: Arc<Token>,
}

/// A prepared segment, to be given to [`Wal::install_spare`](crate::Wal::install_spare).
#[derive(Debug)]
pub struct Spare {
    pub(crate) path: PathBuf,
    pub(crate) file: Box<dyn File>,
    pub(crate) len: u64,
    pub(crate) token: Arc<Token>,
}

impl SpareJob {
    /// Writes the zeros and syncs them. Takes as long as writing a segment does.
    ///
    /// # Errors
    /// If the file system fails, for example because it is full. The log can go on: it makes its
    /// next segment itself, and hands out another job later.
    pub fn run(self) -> Result<Spare, WalError> {
        let path = self.dir.join(FILE_NAME);
        let file = self.fs.create(&path).context("create", &path)?;
        let mut offset = 0;
        while offset < self.bytes {
            let end = self.bytes.min(offset + SYNC_BYTES);
            write_zeros(&*file, offset, end).context("extend", &path)?;
            file.sync_data().context("sync", &path)?;
            offset = end;
        }
        Ok(Spare { path, file, len: self.bytes, token: self.token })
    }
}
