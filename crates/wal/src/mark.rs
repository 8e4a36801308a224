//! The synced mark: a note beside the segments that says how far the log was durable.
//!
//! A crash may leave anything of what was written after the last sync, so an unreadable record
//! at the end of the log looks the same whether it was never durable or has been damaged since.
//! The mark tells them apart: records before it were synced, and must be there.
//!
//! It is written after each sync and never synced itself, which costs a copy into the page cache.
//! That makes it a lower bound: exact after the process died, and as old as the last write-back
//! of the operating system (some seconds) after the machine died. It is optional: without it, or
//! if it is damaged, the log opens as etcd opens it.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 8 | `quoinsyn` |
//! | 8 | 8 | sequence number of the segment, little-endian |
//! | 16 | 8 | offset in the segment up to which all is durable, little-endian |
//! | 24 | 4 | CRC-32C of the 24 bytes before, little-endian |

use std::io;
use std::path::{Path, PathBuf};

use quoin_vfs::{File, FileSystem, OpenMode};

use crate::error::{Context, WalError};

/// The name of the file. etcd ignores it.
pub(crate) const FILE_NAME: &str = "synced";

const MAGIC: [u8; 8] = *b"quoinsyn";
const LEN: usize = 28;

/// How far the log was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) sequence: u64,
    pub(crate) offset: u64,
}

impl Mark {
    fn encode(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.offset.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..24]);
        bytes[24..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; LEN]) -> Option<Self> {
        let number = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(number)
        };
        let mark = Self { sequence: number(8), offset: number(16) };
        (mark.encode() == *bytes).then_some(mark)
    }

    /// Reads the mark of a log, if there is an intact one.
    pub(crate) fn read(fs: &dyn FileSystem, dir: &Path) -> Result<Option<Self>, WalError> {
        let path = dir.join(FILE_NAME);
        let file = match fs.open(&path, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.context("open", &path)?,
        };
        let mut bytes = [0; LEN];
        match file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            other => {
                other.context("read", &path)?;
                Ok(Self::decode(&bytes))
            }
        }
    }
}

/// The open file of the mark.
#[derive(Debug)]
pub(crate) struct MarkFile {
    path: PathBuf,
    file: Box<dyn File>,
}

impl MarkFile {
    pub(crate) fn create(fs: &dyn FileSystem, dir: &Path) -> Result<Self, WalError> {
        let path = dir.join(FILE_NAME);
        let file = fs.create(&path).context("create", &path)?;
        Ok(Self { path, file })
    }

    pub(crate) fn open(fs: &dyn FileSystem, dir: &Path) -> Result<Self, WalError> {
        let path = dir.join(FILE_NAME);
        match fs.open(&path, OpenMode::ReadWrite) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(fs, dir),
            other => Ok(Self { file: other.context("open", &path)?, path }),
        }
    }

    pub(crate) fn write(&self, mark: Mark) -> Result<(), WalError> {
        self.file.write_at(&mark.encode(), 0).context("write", &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_mark_is_no_mark() {
        let mark = Mark { sequence: 3, offset: 0x1234_5678 };
        let bytes = mark.encode();
        assert_eq!(Mark::decode(&bytes), Some(mark));
        for bit in 0..LEN * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Mark::decode(&damaged), None, "bit {bit}");
        }
    }
}
