//! Segments: their names, which of them to read, and the one that is written to.
//!
//! A segment is called `<sequence>-<first index>.wal`, both as 16 hexadecimal digits. Sequence
//! numbers have no gaps. The first index is that of the first entry that may follow in this
//! segment, given the log when it was cut; entries after an index are therefore all found from
//! the last segment on whose first index is not greater.

use std::fmt;
use std::path::{Path, PathBuf};

use quoin_raft::Index;
use quoin_vfs::{File, FileSystem};

use crate::error::{Context, WalError};

/// The name of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentName {
    pub(crate) sequence: u64,
    pub(crate) first: Index,
}

impl SegmentName {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (sequence, first) = name.strip_suffix(".wal")?.split_once('-')?;
        Some(Self { sequence: parse_hex(sequence)?, first: Index(parse_hex(first)?) })
    }

    pub(crate) fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}.wal", self.sequence, self.first.0)
    }
}

fn parse_hex(digits: &str) -> Option<u64> {
    let valid = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.len() != 16 || !digits.bytes().all(valid) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

/// Returns the segments in a directory, oldest first. Other files are none of our business.
pub(crate) fn list(fs: &dyn FileSystem, dir: &Path) -> Result<Vec<SegmentName>, WalError> {
    let names = fs.list(dir).context("list", dir)?;
    let mut segments: Vec<_> = names.iter().filter_map(|name| SegmentName::parse(name)).collect();
    segments.sort_unstable();
    Ok(segments)
}

/// Returns the position of the segment to read from for entries after `index`.
pub(crate) fn position_of(segments: &[SegmentName], index: Index) -> Option<usize> {
    segments.iter().rposition(|segment| segment.first <= index)
}

/// The file that records are written to. Everything after its end is zeros.
///
/// Records are written over zeros that are synced already, so that syncing them changes neither
/// the length of the file nor where its blocks are: the file system has nothing to journal. It
/// also means that whatever a crash leaves of a write, the rest is zeros.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) path: PathBuf,
    pub(crate) file: Box<dyn File>,
    /// Where the next record goes.
    pub(crate) end: u64,
    /// The length of the file.
    pub(crate) zeroed: u64,
}

/// How a tail grows ahead of its records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    /// Where the segment is full.
    pub(crate) segment_bytes: u64,
    /// How much is filled with zeros at a time.
    pub(crate) fill_bytes: u64,
}

impl Tail {
    /// Writes at the end. Nothing is durable before the file is synced.
    pub(crate) fn write(&mut self, bytes: &[u8], growth: Growth) -> Result<(), WalError> {
        let end = self.end.saturating_add(bytes.len() as u64);
        if end > self.zeroed {
            self.grow(end, growth)?;
        }
        self.file.write_at(bytes, self.end).context("write", &self.path)?;
        self.end = end;
        Ok(())
    }

    fn grow(&mut self, needed: u64, growth: Growth) -> Result<(), WalError> {
        let ahead = self.zeroed.saturating_add(growth.fill_bytes).min(growth.segment_bytes);
        let target = ahead.max(needed).next_multiple_of(PAGE);
        write_zeros(&*self.file, self.zeroed, target).context("extend", &self.path)?;
        self.file.sync_data().context("sync", &self.path)?;
        self.zeroed = target;
        Ok(())
    }
}

const PAGE: u64 = 4096;

/// As many zeros as are written or compared at once.
pub(crate) static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];

/// Writes zeros from one offset to another.
pub(crate) fn write_zeros(file: &dyn File, from: u64, to: u64) -> std::io::Result<()> {
    let mut offset = from;
    while offset < to {
        let len = (to - offset).min(ZEROS.len() as u64);
        file.write_at(&ZEROS[..len as usize], offset)?;
        offset += len;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(sequence: u64, first: u64) -> SegmentName {
        SegmentName { sequence, first: Index(first) }
    }

    #[test]
    fn names_round_trip_and_nothing_else_is_a_segment() {
        for name in [name(0, 0), name(0x1f, 0xabc), name(u64::MAX, u64::MAX)] {
            assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        }
        let others = [
            "0.tmp",
            "0000000000000000-0000000000000000.wal.broken",
            "000000000000000-00000000000000000.wal",
            "000000000000000A-0000000000000000.wal",
            "+000000000000001-0000000000000000.wal",
            "",
        ];
        for other in others {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn reading_begins_at_the_last_segment_that_can_hold_the_next_entry() {
        let segments = [name(0, 0), name(1, 10), name(2, 8), name(3, 20)];
        let positions = [(0, 0), (7, 0), (8, 2), (10, 2), (19, 2), (20, 3), (99, 3)];
        for (index, position) in positions {
            assert_eq!(position_of(&segments, Index(index)), Some(position), "{index}");
        }
        assert_eq!(position_of(&segments[1..2], Index(9)), None);
    }
}
