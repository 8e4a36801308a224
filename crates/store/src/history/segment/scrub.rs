//! Looking for damage in a whole segment.

use super::{FOOT_BYTES, HEAD_BYTES, RECORD_HEAD_BYTES, Segment};
use crate::checkpoint::CheckpointError;

/// Bytes that are read at once.
const PIECE_BYTES: u64 = 256 * 1024;

impl Segment {
    /// Reads a segment of this length and checksum from end to end. Its head and its end were
    /// checked when it was opened.
    pub(crate) fn scrub(
        &self,
        (length, checksum): (u64, u32),
        pace: &mut dyn FnMut(usize),
    ) -> Result<(), CheckpointError> {
        let end = length.saturating_sub(FOOT_BYTES as u64);
        let (mut at, mut found) = (0, 0);
        while at < end {
            let next = end.min(at + PIECE_BYTES);
            let piece = self.read(at, next)?;
            found = crc32c::crc32c_append(found, &piece);
            pace(piece.len());
            at = next;
        }
        if found != checksum {
            let first = self.first_damaged(end)?;
            return Err(self.damaged(first, "a wrong checksum"));
        }
        Ok(())
    }

    /// Finds the first record of a damaged segment that is not right.
    fn first_damaged(&self, end: u64) -> Result<u64, CheckpointError> {
        let mut at = HEAD_BYTES as u64;
        while at + RECORD_HEAD_BYTES as u64 <= end {
            let head = self.read(at, at + RECORD_HEAD_BYTES as u64)?;
            let length = head.first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
            let next = at + RECORD_HEAD_BYTES as u64 + u64::from(length & !super::TOMBSTONE);
            if next > end {
                break;
            }
            let stored = self.read(at, next)?;
            let main = stored[8..].first_chunk().map_or(0, |main| i64::from_le_bytes(*main));
            let sub = stored[16..].first_chunk().map_or(0, |sub| u32::from_le_bytes(*sub));
            let what = (crate::Revision { main, sub }, length & super::TOMBSTONE != 0);
            let expected =
                super::record_head((self.number, at), what, &stored[RECORD_HEAD_BYTES..]);
            if stored[..RECORD_HEAD_BYTES] != expected {
                break;
            }
            at = next;
        }
        Ok(at)
    }
}
