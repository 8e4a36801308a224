//! Reads a log from a segment on, and decides at its end what is a crash and what is damage.
//!
//! What a crash can leave, for any subset of the sectors written since the last sync:
//!
//! - Segments before the last one are complete, and so is the head of the last one: both were
//!   synced before the last one got its name. Anything unreadable there is damage.
//! - So it is before the synced mark, if there is one.
//! - After that, the first record that cannot be read ends the log. It may be unwritten or torn;
//!   what follows it, be it zeros, pieces or intact records, was written in the same unsynced
//!   stretch, and goes with it. It is damage only if it is complete, as an incomplete write
//!   never is.
//!
//! So a log that was written as [`crate::Wal`] or etcd write it always opens after a crash. Not
//! detected is damage after the synced mark that looks like a torn write: a sector that became
//! zero, or a length that points past the file. Without a mark that is all of the last segment
//! but its head.

use std::path::{Path, PathBuf};

use quoin_vfs::{File, FileSystem, OpenMode};

use crate::error::{Context, WalError};
use crate::mark::Mark;
use crate::reader::{self, Reader, Step, Stop};
use crate::record::{Kind, Record};
use crate::replay::Place;
use crate::segment::SegmentName;

/// The end of a log.
#[derive(Debug)]
pub(crate) struct End {
    /// The last segment.
    pub(crate) name: SegmentName,
    pub(crate) path: PathBuf,
    pub(crate) file: Box<dyn File>,
    /// The length of its file.
    pub(crate) len: u64,
    /// Where its last intact record ends.
    pub(crate) offset: u64,
    /// Where the last byte that is not zero ends, if that is after `offset`.
    pub(crate) leftover: Option<u64>,
    /// The running checksum.
    pub(crate) checksum: u32,
}

/// A log to read: its segments from the first to read to the last, and its mark.
///
/// The mark must have been read before, so that it cannot be ahead of what is read of a log
/// that another process is writing.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    pub(crate) fs: &'a dyn FileSystem,
    pub(crate) dir: &'a Path,
    pub(crate) segments: &'a [SegmentName],
    pub(crate) mark: Option<Mark>,
    /// How to open the last segment.
    pub(crate) mode: OpenMode,
}

type Visit<'a> = dyn FnMut(&Record<'_>, Place<'_>) -> Result<(), WalError> + 'a;

impl Scan<'_> {
    /// Passes every intact record to `visit`, and returns where the log ends.
    pub(crate) fn run(&self, visit: &mut Visit<'_>) -> Result<End, WalError> {
        self.check_sequence()?;
        let (last, earlier) = self.segments.split_last().expect("there is a segment to read");
        // The first segment of all begins with the checksum of nothing.
        let mut checksum = (self.segments[0].sequence == 0).then_some(0);
        for name in earlier {
            let path = name.path(self.dir);
            let file = self.fs.open(&path, OpenMode::Read).context("open", &path)?;
            let read = read_segment(&*file, &path, checksum, visit)?;
            if let Some(reason) = read.damage_before_end()? {
                return Err(read.place().corrupt(reason));
            }
            checksum = read.reader.checksum();
        }
        let path = last.path(self.dir);
        let file = self.fs.open(&path, self.mode).context("open", &path)?;
        let read = read_segment(&*file, &path, checksum, visit)?;
        if let Some(reason) = self.damage_at_end(&read) {
            return Err(read.place().corrupt(reason));
        }
        let (offset, len) = (read.reader.offset(), read.reader.len());
        let leftover = reader::end_of_bytes(&*file, &path, offset, len)?;
        let checksum = read.reader.checksum().expect("the head of a segment has a checksum");
        Ok(End { name: *last, len, offset, leftover, checksum, path, file })
    }

    fn check_sequence(&self) -> Result<(), WalError> {
        let missing = |sequence| WalError::MissingSegment { dir: self.dir.to_owned(), sequence };
        for pair in self.segments.windows(2) {
            if pair[0].sequence.checked_add(1) != Some(pair[1].sequence) {
                return Err(missing(pair[0].sequence.saturating_add(1)));
            }
        }
        match (self.mark, self.segments.last()) {
            (Some(mark), Some(last)) if mark.sequence > last.sequence => {
                Err(missing(mark.sequence))
            }
            _ => Ok(()),
        }
    }

    fn damage_at_end(&self, read: &SegmentRead<'_>) -> Option<&'static str> {
        if !read.has_head {
            return Some("the head of the segment is incomplete");
        }
        if let Stop::Damaged(reason) = read.stop {
            return Some(reason);
        }
        let last = self.segments.last()?;
        let mark = self.mark.filter(|mark| mark.sequence == last.sequence)?;
        (read.reader.offset() < mark.offset).then_some("a record that was synced is not there")
    }
}

/// A segment after its last intact record was read.
struct SegmentRead<'a> {
    reader: Reader<'a>,
    file: &'a dyn File,
    path: &'a Path,
    stop: Stop,
    /// The checksum and the metadata that every segment begins with were there.
    has_head: bool,
}

fn read_segment<'a>(
    file: &'a dyn File,
    path: &'a Path,
    checksum: Option<u32>,
    visit: &mut Visit<'_>,
) -> Result<SegmentRead<'a>, WalError> {
    let mut reader = Reader::new(file, path, checksum)?;
    let mut has_head = false;
    loop {
        let place = Place { path, offset: reader.offset() };
        match reader.next()? {
            Step::Record(record) => {
                if place.offset == 0 && record.kind != Kind::Checksum {
                    return Err(place.corrupt("the segment does not begin with a checksum"));
                }
                has_head |= record.kind == Kind::Metadata;
                visit(&record, place)?;
            }
            Step::Stop(stop) => return Ok(SegmentRead { reader, file, path, stop, has_head }),
        }
    }
}

impl SegmentRead<'_> {
    fn place(&self) -> Place<'_> {
        Place { path: self.path, offset: self.reader.offset() }
    }

    /// For a segment that others follow.
    fn damage_before_end(&self) -> Result<Option<&'static str>, WalError> {
        let (offset, len) = (self.reader.offset(), self.reader.len());
        Ok(match self.stop {
            Stop::Damaged(reason) => Some(reason),
            Stop::Torn => Some("a record is incomplete, and another segment follows"),
            Stop::End if !self.has_head => Some("the head of the segment is incomplete"),
            Stop::End => reader::end_of_bytes(self.file, self.path, offset, len)?
                .map(|_| "a record is missing, and others follow"),
        })
    }
}
