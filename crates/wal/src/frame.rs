//! The frame around a record: one length word, and padding to the next multiple of eight.
//!
//! Because frames begin at multiples of eight, a length word never crosses a disk sector: it is
//! on disk whole or not at all.

/// The size of a length word, and the alignment of frames.
pub(crate) const WORD: usize = 8;

/// No record is longer. Larger lengths on disk are damage, whatever the size of the file.
pub(crate) const MAX_RECORD: u64 = 512 * 1024 * 1024;

const LENGTH_MASK: u64 = (1 << 56) - 1;
const PADDED: u64 = 1 << 63;

/// What a length word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameSize {
    pub(crate) record: u64,
    pub(crate) padding: u64,
}

impl FrameSize {
    pub(crate) fn of_record(record: u64) -> Self {
        Self { record, padding: record.wrapping_neg() % WORD as u64 }
    }

    pub(crate) fn to_word(self) -> u64 {
        if self.padding == 0 { self.record } else { self.record | PADDED | self.padding << 56 }
    }

    /// Returns `None` for a word that is never written.
    pub(crate) fn from_word(word: u64) -> Option<Self> {
        let size = Self::of_record(word & LENGTH_MASK);
        (size.record > 0 && size.to_word() == word).then_some(size)
    }

    /// Returns the number of bytes after the length word.
    pub(crate) fn body(self) -> u64 {
        self.record + self.padding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_etcd() {
        let words = [(4, 0x8400_0000_0000_0004), (31, 0x8100_0000_0000_001f), (24, 24)];
        for (record, word) in words {
            let size = FrameSize::of_record(record);
            assert_eq!(size.to_word(), word);
            assert_eq!(size.body() % 8, 0);
            assert_eq!(FrameSize::from_word(word), Some(size));
        }
    }

    #[test]
    fn a_flipped_bit_outside_of_the_length_is_noticed() {
        for record in 1..100 {
            let word = FrameSize::of_record(record).to_word();
            for bit in 56..64 {
                assert_eq!(FrameSize::from_word(word ^ 1 << bit), None, "{record} {bit}");
            }
        }
        assert_eq!(FrameSize::from_word(0), None);
        assert_eq!(FrameSize::from_word(PADDED), None);
    }
}
