//! The bytes of a placed chunk's records in memory: one buffer, and where each record ends in it.
//!
//! A reader gets a part of the buffer, which is not copied. Who keeps such a part keeps the buffer:
//! that is no more than [`super::CHUNK_BYTES`] and one record.

use std::sync::Arc;

use bytes::Bytes;

/// The bytes of some records, back to back.
#[derive(Debug)]
pub(crate) struct Packed {
    bytes: Bytes,
    ends: Box<[u32]>,
}

impl Packed {
    /// Packs records; none if the bytes of one are not there or all are too many.
    pub(crate) fn of(records: impl Iterator<Item = Option<Bytes>>) -> Option<Arc<Self>> {
        let records: Vec<Bytes> = records.collect::<Option<_>>()?;
        let length = records.iter().try_fold(0_usize, |sum, bytes| sum.checked_add(bytes.len()))?;
        u32::try_from(length).ok()?;
        let (mut packed, mut ends) =
            (Vec::with_capacity(length), Vec::with_capacity(records.len()));
        for bytes in records {
            packed.extend_from_slice(&bytes);
            ends.push(packed.len() as u32);
        }
        Some(Arc::new(Self { bytes: packed.into(), ends: ends.into() }))
    }

    /// The bytes of a record.
    pub(crate) fn bytes(&self, slot: usize) -> Bytes {
        let begin = slot.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes.slice(begin as usize..self.ends[slot] as usize)
    }

    /// What it takes in memory.
    pub(crate) fn size(&self) -> usize {
        Self::size_of(self.ends.len(), self.bytes.len())
    }

    /// What so many records of so many bytes take together.
    pub(crate) fn size_of(records: usize, bytes: usize) -> usize {
        size_of::<Self>() + records * size_of::<u32>() + bytes
    }
}
