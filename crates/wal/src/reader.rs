//! Reads the records of one segment, and says why it stopped.
//!
//! A stop is the end of the records, or bytes that a crash may have left there, or bytes that no
//! crash explains. The reader tells these apart by what an interrupted write can leave: each
//! sector of 512 bytes is on disk whole or not at all, and below it are zeros. So
//!
//! - a length word is intact or zero, because frames are aligned;
//! - a record whose length word is there, but which is not intact, lacks at least one sector.
//!
//! Whether a crash is possible at all at that place (in the last segment, after what was synced)
//! is for the caller to say.

use std::path::Path;

use quoin_vfs::File;

use crate::error::{Context, WalError};
use crate::frame::{FrameSize, MAX_RECORD, WORD};
use crate::record::{Kind, Record};
use crate::segment::ZEROS;

const SECTOR: u64 = 512;

/// How much is read at once, unless a record is longer.
const WINDOW: usize = ZEROS.len();

/// What comes next in a segment.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// An intact record.
    Record(Record<'a>),
    /// No further record can be read.
    Stop(Stop),
}

/// Why there is no further record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nothing is written here, although there may be something later.
    End,
    /// A record that a crash may have left incomplete.
    Torn,
    /// A record that no crash explains.
    Damaged(&'static str),
}

#[derive(Debug)]
pub(crate) struct Reader<'a> {
    file: &'a dyn File,
    path: &'a Path,
    len: u64,
    /// Where the next frame begins.
    offset: u64,
    /// The running checksum. Unknown before the first record of the first segment that is read.
    checksum: Option<u32>,
    window: Vec<u8>,
    window_start: u64,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        file: &'a dyn File,
        path: &'a Path,
        checksum: Option<u32>,
    ) -> Result<Self, WalError> {
        let len = file.len().context("read the length of", path)?;
        Ok(Self { file, path, len, offset: 0, checksum, window: Vec::new(), window_start: 0 })
    }

    /// Returns where the next frame begins, which is where the last intact one ends.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn checksum(&self) -> Option<u32> {
        self.checksum
    }

    /// Returns the length of the file.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn next(&mut self) -> Result<Step<'_>, WalError> {
        let rest = self.len.saturating_sub(self.offset);
        if rest < WORD as u64 {
            return Ok(Step::Stop(Stop::End));
        }
        let mut word = [0; WORD];
        word.copy_from_slice(self.bytes(self.offset, WORD)?);
        let word = u64::from_le_bytes(word);
        if word == 0 {
            return Ok(Step::Stop(Stop::End));
        }
        let Some(size) = FrameSize::from_word(word) else {
            return Ok(Step::Stop(Stop::Damaged("the length of a record is not one")));
        };
        if size.body() > rest - WORD as u64 {
            return Ok(Step::Stop(Stop::Torn));
        }
        if size.record > MAX_RECORD {
            return Ok(Step::Stop(Stop::Damaged("a record is longer than 512 MiB")));
        }
        self.next_body(size)
    }

    fn next_body(&mut self, size: FrameSize) -> Result<Step<'_>, WalError> {
        let checksum = self.checksum;
        let start = self.offset + WORD as u64;
        let body = self.bytes(start, size.body() as usize)?;
        if let Err(reason) = check(body, size, checksum) {
            let torn = has_empty_sector(body, start);
            return Ok(Step::Stop(if torn { Stop::Torn } else { Stop::Damaged(reason) }));
        }
        self.offset = start + size.body();
        let range = self.range(start, size.record as usize);
        let record = Record::parse(&self.window[range]).expect("the record was checked just now");
        self.checksum = Some(record.checksum);
        Ok(Step::Record(record))
    }

    /// Returns bytes that are known to be within the file.
    fn bytes(&mut self, start: u64, len: usize) -> Result<&[u8], WalError> {
        let window_end = self.window_start + self.window.len() as u64;
        if start < self.window_start || start + len as u64 > window_end {
            let rest = usize::try_from(self.len - start).unwrap_or(usize::MAX);
            self.window.clear();
            self.window.resize(len.max(WINDOW).min(rest), 0);
            self.window_start = start;
            self.file.read_exact_at(&mut self.window, start).context("read", self.path)?;
        }
        let range = self.range(start, len);
        Ok(&self.window[range])
    }

    fn range(&self, start: u64, len: usize) -> std::ops::Range<usize> {
        let start = (start - self.window_start) as usize;
        start..start + len
    }
}

/// Checks everything about a frame's body.
fn check(body: &[u8], size: FrameSize, checksum: Option<u32>) -> Result<(), &'static str> {
    let (record, padding) = body.split_at(size.record as usize);
    if padding.iter().any(|byte| *byte != 0) {
        return Err("the padding of a record is not empty");
    }
    let record = Record::parse(record).map_err(|error| error.0)?;
    let expected = match (record.kind, checksum) {
        (Kind::Checksum, None) => return Ok(()),
        (_, None) => return Err("the segment does not begin with a checksum"),
        (Kind::Checksum, Some(running)) => running,
        (_, Some(running)) => crc32c::crc32c_append(running, record.payload),
    };
    if record.checksum == expected { Ok(()) } else { Err("a checksum does not match") }
}

/// Returns true if one of the sectors that the body lies in holds nothing of it but zeros.
fn has_empty_sector(mut body: &[u8], start: u64) -> bool {
    let mut offset = start;
    while !body.is_empty() {
        let in_sector = (SECTOR - offset % SECTOR) as usize;
        let (part, rest) = body.split_at(in_sector.min(body.len()));
        if part.iter().all(|byte| *byte == 0) {
            return true;
        }
        offset += part.len() as u64;
        body = rest;
    }
    false
}

/// Returns the offset after the last byte at or after `from` that is not zero, if there is one.
pub(crate) fn end_of_bytes(
    file: &dyn File,
    path: &Path,
    from: u64,
    len: u64,
) -> Result<Option<u64>, WalError> {
    let mut found = None;
    let mut offset = from;
    let mut window = vec![0; len.saturating_sub(from).min(WINDOW as u64) as usize];
    while offset < len {
        let count = (len - offset).min(WINDOW as u64) as usize;
        let part = &mut window[..count];
        file.read_exact_at(part, offset).context("read", path)?;
        if part != &ZEROS[..count] {
            let position = part.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            found = Some(offset + position as u64 + 1);
        }
        offset += count as u64;
    }
    Ok(found)
}
