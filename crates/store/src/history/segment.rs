//! A segment: a file of records that is written once and then only read.
//!
//! A segment counts only if a checkpoint names it, and a checkpoint is written after all its
//! segments were synced; so what a crash leaves of a segment that was being written is never read.
//! Every record has a checksum that covers where it is, and is checked each time it is read. The
//! file as a whole has another one, for those who look for damage before somebody needs the
//! record.
//!
//! All integers are little endian.
//!
//! | bytes | segment |
//! |---|---|
//! | 8 | `QUOINSEG` |
//! | 4 | version of the format, 1 |
//! | 8 | number of the segment |
//! | 4 | CRC-32C of the 20 bytes before |
//! | n x (20 + ..) | records |
//! | 8 | number of records |
//! | 8 | length of the file |
//! | 4 | CRC-32C of everything before these 24 bytes |
//! | 4 | CRC-32C of the 20 bytes before |
//!
//! | bytes | record |
//! |---|---|
//! | 4 | length n; the highest bit says that it is a deletion |
//! | 4 | CRC-32C over the number of the segment (8), the offset of the record (8) and all of the record but this field |
//! | 8 | main revision |
//! | 4 | sub revision |
//! | n | bytes; see [`crate::record`] |
//!
//! A part of a database that is being taken over stands in for a segment until a checkpoint has
//! copied its records. There the bytes of a record are alone, and instead of a checksum it must
//! still be what the database was taken for: a canonical record of its revision. No checkpoint
//! names such a part.
//!
//! Not here: which records are needed, and when they are written.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use quoin_vfs::{File, FileSystem, OpenMode};

use super::Place;
use crate::checkpoint::CheckpointError;
use crate::record;
use crate::revision::Revision;

mod scrub;
mod writer;

pub(crate) use writer::SegmentWriter;

const MAGIC: &[u8; 8] = b"QUOINSEG";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 24;
const FOOT_BYTES: usize = 24;
/// Bytes before those of a record.
pub(crate) const RECORD_HEAD_BYTES: usize = 20;
/// What the length of a deletion has.
const TOMBSTONE: u32 = 1 << 31;
/// The number of all parts of a database. No segment has it, as there would be no next one.
pub(crate) const DATABASE: u64 = u64::MAX;

/// A segment that is open. It can be read as long as anybody holds it, also after its file was
/// removed.
pub(crate) struct Segment {
    number: u64,
    path: PathBuf,
    file: Arc<dyn File>,
    form: Form,
}

/// What the file is.
#[derive(Clone, Copy)]
enum Form {
    /// A segment as this module describes it.
    Own,
    /// A database in bbolt's format, in which offsets count from here.
    Database { start: u64 },
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Where a segment is in a directory.
pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("segment-{number:016x}"))
}

/// The number of the segment that a file of this name is.
pub(crate) fn parse(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("segment-").filter(|digits| digits.len() == 16)?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (format!("{number:016x}") == digits).then_some(number)
}

impl Segment {
    fn own(number: u64, path: PathBuf, file: Box<dyn File>) -> Self {
        Self { number, path, file: Arc::from(file), form: Form::Own }
    }

    /// The part of a database file from an offset on.
    pub(crate) fn of_database(path: &Path, file: Arc<dyn File>, start: u64) -> Self {
        let form = Form::Database { start };
        Self { number: DATABASE, path: path.to_owned(), file, form }
    }

    /// Opens a segment. It must have the length and the checksum that its checkpoint tells; its
    /// records are not read.
    pub(crate) fn open(
        fs: &dyn FileSystem,
        dir: &Path,
        number: u64,
        (length, checksum): (u64, u32),
    ) -> Result<Self, CheckpointError> {
        let path = path(dir, number);
        let io = |source| CheckpointError::Io { path: path.clone(), source };
        let file = fs.open(&path, OpenMode::Read).map_err(io)?;
        let found = file.len().map_err(io)?;
        let segment = Self::own(number, path.clone(), file);
        if found != length || length < (HEAD_BYTES + FOOT_BYTES) as u64 {
            return Err(segment.damaged(found, "the file has another length than it should"));
        }
        if segment.read(0, HEAD_BYTES as u64)? != head(number)[..] {
            return Err(segment.damaged(0, "the head of another segment, or of none"));
        }
        let foot_at = length - FOOT_BYTES as u64;
        let foot = segment.read(foot_at, length)?;
        let count = foot.first_chunk().map_or(0, |count| u64::from_le_bytes(*count));
        if foot != foot_of(count, length, checksum)[..] {
            return Err(segment.damaged(foot_at, "the foot of another segment, or of none"));
        }
        Ok(segment)
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Where in the file a record of some length begins and ends, with what is before its bytes.
    pub(crate) fn span(&self, offset: u32, length: u32) -> (u64, u64) {
        let (begin, head) = match self.form {
            Form::Own => (u64::from(offset), RECORD_HEAD_BYTES as u64),
            Form::Database { start } => (start.saturating_add(offset.into()), 0),
        };
        (begin, begin.saturating_add(head).saturating_add(length.into()))
    }

    /// Reads from one offset of the file to another.
    pub(crate) fn read(&self, begin: u64, end: u64) -> Result<Bytes, CheckpointError> {
        let length = usize::try_from(end.saturating_sub(begin)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        match self.file.read_exact_at(&mut bytes, begin) {
            Ok(()) => Ok(bytes.into()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.damaged(begin, "the file ends too early"))
            }
            Err(source) => Err(CheckpointError::Io { path: self.path.clone(), source }),
        }
    }

    pub(crate) fn damaged(&self, offset: u64, what: &'static str) -> CheckpointError {
        CheckpointError::Damaged { path: self.path.clone(), offset, what }
    }
}

/// Whether a record of some length can be at an offset of a segment.
pub(crate) fn has_room(segment_length: u64, offset: u32, length: u32) -> bool {
    let end = u64::from(offset) + RECORD_HEAD_BYTES as u64 + u64::from(length);
    offset as usize >= HEAD_BYTES && end <= segment_length.saturating_sub(FOOT_BYTES as u64)
}

/// Checks what was read from a place, and returns the bytes of the record as a part of it.
pub(crate) fn check_record(place: &Place<'_>, stored: &Bytes) -> Result<Bytes, CheckpointError> {
    let Place { segment, offset, revision, tombstone, .. } = *place;
    let (bytes, fits) = match segment.form {
        Form::Own => {
            let head: [u8; RECORD_HEAD_BYTES] =
                *stored.first_chunk().expect("as much was read as the record takes");
            let bytes = stored.slice(RECORD_HEAD_BYTES..);
            let at = (segment.number, u64::from(offset));
            let fits = head == record_head(at, (revision, tombstone), &bytes);
            let fits = fits && record::decode(&bytes).is_some();
            (bytes, fits)
        }
        Form::Database { .. } => {
            let fits = |pair| record::is_of(stored, &pair, revision.main, tombstone);
            (stored.clone(), record::decode(stored).is_some_and(fits))
        }
    };
    let (begin, _) = segment.span(offset, place.length);
    if fits { Ok(bytes) } else { Err(segment.damaged(begin, "not the record that should be here")) }
}

fn head(number: u64) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[12..20].copy_from_slice(&number.to_le_bytes());
    let checksum = crc32c::crc32c(&head[..20]);
    head[20..].copy_from_slice(&checksum.to_le_bytes());
    head
}

fn foot_of(count: u64, length: u64, checksum: u32) -> [u8; FOOT_BYTES] {
    let mut foot = [0; FOOT_BYTES];
    foot[..8].copy_from_slice(&count.to_le_bytes());
    foot[8..16].copy_from_slice(&length.to_le_bytes());
    foot[16..20].copy_from_slice(&checksum.to_le_bytes());
    let own = crc32c::crc32c(&foot[..20]);
    foot[20..].copy_from_slice(&own.to_le_bytes());
    foot
}

/// What is before the bytes of a record at (segment, offset).
fn record_head(
    (number, offset): (u64, u64),
    (revision, tombstone): (Revision, bool),
    bytes: &[u8],
) -> [u8; RECORD_HEAD_BYTES] {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let length = if tombstone { length | TOMBSTONE } else { length };
    let mut covered = [0; 32];
    covered[..8].copy_from_slice(&number.to_le_bytes());
    covered[8..16].copy_from_slice(&offset.to_le_bytes());
    covered[16..20].copy_from_slice(&length.to_le_bytes());
    covered[20..28].copy_from_slice(&revision.main.to_le_bytes());
    covered[28..].copy_from_slice(&revision.sub.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&covered), bytes);
    let mut head = [0; RECORD_HEAD_BYTES];
    head[..4].copy_from_slice(&covered[16..20]);
    head[4..8].copy_from_slice(&checksum.to_le_bytes());
    head[8..].copy_from_slice(&covered[20..]);
    head
}
