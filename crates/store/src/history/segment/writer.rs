//! Writing a segment, a block at a time.

use std::io;
use std::path::Path;
use std::sync::Arc;

use quoin_vfs::FileSystem;

use super::{FOOT_BYTES, HEAD_BYTES, RECORD_HEAD_BYTES, Segment, foot_of, head, path, record_head};
use crate::checkpoint::CheckpointError;
use crate::history::{Listed, Place, Record};

/// Bytes that are written at once.
const BLOCK_BYTES: usize = 128 * 1024;
/// Bytes after which the file is synced, so that the last sync does not keep the disk busy for
/// long while the log waits for it.
const SYNC_BYTES: u64 = 4 << 20;

/// A segment that is being written.
pub(crate) struct SegmentWriter {
    segment: Arc<Segment>,
    /// What is not yet in the file, and where it belongs.
    buffer: Vec<u8>,
    written: u64,
    unsynced: u64,
    checksum: u32,
    count: u64,
}

impl SegmentWriter {
    /// Begins a segment. A file of that name is replaced: no checkpoint names it.
    pub(crate) fn begin(
        fs: &dyn FileSystem,
        dir: &Path,
        number: u64,
    ) -> Result<Self, CheckpointError> {
        let path = path(dir, number);
        let created = fs.create(&path);
        let file = created.map_err(|source| CheckpointError::Io { path: path.clone(), source })?;
        let segment = Arc::new(Segment::own(number, path, file));
        let buffer = head(number).to_vec();
        Ok(Self { segment, buffer, written: 0, unsynced: 0, checksum: 0, count: 0 })
    }

    /// Bytes that the file has so far, and those of its end.
    pub(crate) fn len(&self) -> u64 {
        self.written + (self.buffer.len() + FOOT_BYTES) as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends a record, and returns where it is.
    pub(crate) fn append(
        &mut self,
        record: &Record,
        pace: &mut dyn FnMut(usize),
    ) -> Result<Place<'_>, CheckpointError> {
        let at = self.written + self.buffer.len() as u64;
        let length = u32::try_from(record.bytes.len()).ok().filter(|at| Place::is_length(*at));
        let (Ok(offset), Some(length)) = (u32::try_from(at), length) else {
            return Err(self.failed(io::ErrorKind::FileTooLarge.into()));
        };
        let what = (record.revision, record.tombstone);
        let head = record_head((self.segment.number, at), what, &record.bytes);
        self.buffer.reserve(RECORD_HEAD_BYTES + record.bytes.len());
        self.buffer.extend_from_slice(&head);
        self.buffer.extend_from_slice(&record.bytes);
        self.count += 1;
        if self.buffer.len() >= BLOCK_BYTES {
            self.flush(pace)?;
        }
        let (revision, tombstone) = what;
        Ok(Place { segment: &self.segment, offset, revision, tombstone, length })
    }

    /// Ends the segment. When this returns, its content is durable; its name is not.
    pub(crate) fn finish(mut self, pace: &mut dyn FnMut(usize)) -> Result<Listed, CheckpointError> {
        debug_assert!(self.len() >= (HEAD_BYTES + FOOT_BYTES) as u64);
        let length = self.len();
        let checksum = crc32c::crc32c_append(self.checksum, &self.buffer);
        self.buffer.extend_from_slice(&foot_of(self.count, length, checksum));
        self.flush(pace)?;
        self.segment.file.sync_all().map_err(|source| self.failed(source))?;
        Ok(Listed { segment: self.segment, length, checksum, live: 0 })
    }

    fn flush(&mut self, pace: &mut dyn FnMut(usize)) -> Result<(), CheckpointError> {
        let length = self.buffer.len();
        let written = self.segment.file.write_at(&self.buffer, self.written);
        written.map_err(|source| self.failed(source))?;
        self.checksum = crc32c::crc32c_append(self.checksum, &self.buffer);
        self.written += length as u64;
        self.unsynced += length as u64;
        self.buffer.clear();
        if self.unsynced >= SYNC_BYTES {
            self.segment.file.sync_data().map_err(|source| self.failed(source))?;
            self.unsynced = 0;
        }
        pace(length);
        Ok(())
    }

    fn failed(&self, source: io::Error) -> CheckpointError {
        CheckpointError::Io { path: self.segment.path.clone(), source }
    }
}
