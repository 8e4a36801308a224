//! The file system as a trait, so that everything durable can be tested without a disk.
//!
//! - [`OsFs`] is the operating system.
//! - [`MemFs`] lives in memory and knows, for every byte and every name, whether it was synced.
//!   [`MemFs::crash`] gives the file system as a power cut would leave it.
//! - [`FaultFs`] wraps another file system and makes chosen operations fail.
//!
//! The traits say no more than what all file systems promise: written bytes are durable after
//! [`File::sync_data`], and names are durable after [`FileSystem::sync_dir`] of their directory.
//!
//! Not here: what the files mean, caching, retries. An error is reported as it is; a caller that
//! sees a failed write or sync must not go on as if a later success made up for it.

use std::fmt;
use std::io;
use std::path::Path;

mod fault;
mod mem;
mod os;
#[cfg(test)]
mod tests;

pub use fault::{Fault, FaultFs, OpKind};
pub use mem::{CrashMode, MemFs};
pub use os::OsFs;

/// How [`FileSystem::open`] opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// For reading only.
    Read,
    /// For reading and writing. The file must exist and keeps its content.
    ReadWrite,
}

/// A tree of directories and files. Used as `Arc<dyn FileSystem>`.
pub trait FileSystem: Send + Sync + fmt::Debug {
    /// Creates a directory and its missing ancestors, for the owner alone (mode 0700).
    ///
    /// # Errors
    /// As the operating system reports them. An existing directory is no error.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Creates a file for reading and writing, for the owner alone (mode 0600). An existing file
    /// is emptied.
    ///
    /// # Errors
    /// As the operating system reports them.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Opens an existing file.
    ///
    /// # Errors
    /// `NotFound` if there is no such file; others as the operating system reports them.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>>;

    /// Gives a file or directory another name. An existing file of that name is replaced, and so
    /// is an existing empty directory if `from` is a directory.
    ///
    /// # Errors
    /// As the operating system reports them.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file or an empty directory.
    ///
    /// # Errors
    /// As the operating system reports them.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Returns the names in a directory, sorted.
    ///
    /// # Errors
    /// As the operating system reports them.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes the names in a directory durable: what was created, renamed and removed in it.
    ///
    /// # Errors
    /// As the operating system reports them. The state of the names is then unknown.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Returns true if the path names a file or directory.
    ///
    /// # Errors
    /// If that cannot be found out.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Locks a file or directory for this caller alone, without waiting. A missing file is
    /// created. The lock follows the file through renames and ends when the value is dropped, or
    /// when the process ends.
    ///
    /// # Errors
    /// `WouldBlock` if it is locked already, by this process or another.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
}

/// An open file. Positions are arguments, so that one file can serve several threads.
pub trait File: Send + Sync + fmt::Debug {
    /// Reads into `buf` from `offset`, and returns how many bytes there were: 0 at the end of
    /// the file, and possibly less than asked for anywhere.
    ///
    /// # Errors
    /// As the operating system reports them.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `data` at `offset`. A gap after the old end of the file reads as zeros.
    ///
    /// # Errors
    /// As the operating system reports them. Any part of the data may have been written.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the content and the length of the file durable (`fdatasync`).
    ///
    /// # Errors
    /// As the operating system reports them. What was written since the last sync may then be
    /// lost, even if a later sync succeeds.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes the file durable with its times and permissions (`fsync`).
    ///
    /// # Errors
    /// As for [`File::sync_data`].
    fn sync_all(&self) -> io::Result<()>;

    /// Cuts the file to `len` bytes, or extends it with zeros.
    ///
    /// # Errors
    /// As the operating system reports them.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Returns the length of the file in bytes.
    ///
    /// # Errors
    /// As the operating system reports them.
    fn len(&self) -> io::Result<u64>;

    /// Returns true if the file holds no bytes.
    ///
    /// # Errors
    /// As the operating system reports them.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads until `buf` is full.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before; others as [`File::read_at`].
    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read_at(buf, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    buf = &mut buf[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A lock taken by [`FileSystem::lock`], held until it is dropped.
pub trait Lock: Send + Sync + fmt::Debug {}
