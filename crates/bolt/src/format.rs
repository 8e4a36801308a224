//! Numbers and fixed parts of the format.

/// Bytes of a page, as etcd has them on Linux.
pub const PAGE_BYTES: usize = 4096;
/// Bytes of the longest key that bbolt takes.
pub const KEY_BYTES_MAX: usize = 32768;
/// Bytes of the longest value that bbolt takes.
pub const VALUE_BYTES_MAX: usize = (1 << 31) - 2;

/// Bytes of the smallest and of the largest page that a file may have.
pub(crate) const PAGE_BYTES_MIN: usize = 512;
pub(crate) const PAGE_BYTES_MAX: usize = 1 << 16;

/// Bytes of the header of a page.
pub(crate) const HEADER_BYTES: usize = 16;
/// Bytes of an element of a leaf or a branch.
pub(crate) const ELEMENT_BYTES: usize = 16;
/// Bytes of the value of a bucket that has pages of its own.
pub(crate) const BUCKET_BYTES: usize = 16;
/// Bytes of a meta.
pub(crate) const META_BYTES: usize = 64;
/// Pages before the first that holds pairs.
pub(crate) const META_PAGES: u64 = 2;

pub(crate) const FLAG_BRANCH: u16 = 0x01;
pub(crate) const FLAG_LEAF: u16 = 0x02;
pub(crate) const FLAG_META: u16 = 0x04;
/// The flag of a leaf element whose value is a bucket.
pub(crate) const ELEMENT_IS_BUCKET: u32 = 0x01;

const MAGIC: u32 = 0xed0c_daed;
const VERSION: u32 = 2;
/// Bytes of a meta before its checksum.
const CHECKED_BYTES: usize = META_BYTES - 8;
/// Stands for the page of the free list in a file that keeps none.
const NO_FREE_LIST: u64 = u64::MAX;

/// The integer at an offset, if the bytes reach so far.
pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// The integer at an offset, if the bytes reach so far.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// The integer at an offset, if the bytes reach so far.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// The header of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) page: u64,
    pub(crate) flags: u16,
    pub(crate) count: u16,
    pub(crate) overflow: u32,
}

impl Header {
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            page: u64_at(bytes, 0)?,
            flags: u16_at(bytes, 8)?,
            count: u16_at(bytes, 10)?,
            overflow: u32_at(bytes, 12)?,
        })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.page.to_le_bytes());
        out.extend_from_slice(&self.flags.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.overflow.to_le_bytes());
    }
}

/// What a meta page says of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) page_bytes: u32,
    /// The root page of the bucket that holds all buckets.
    pub(crate) root: u64,
    pub(crate) pages: u64,
    pub(crate) transaction: u64,
}

impl Meta {
    /// Reads a meta, which says why if it is not valid.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes: &[u8; META_BYTES] = bytes.first_chunk().ok_or("the file is too short")?;
        let word = |offset| u32_at(bytes, offset).ok_or("the file is too short");
        let long = |offset| u64_at(bytes, offset).ok_or("the file is too short");
        if word(0)? != MAGIC {
            return Err("the magic number is wrong");
        }
        if word(4)? != VERSION {
            return Err("the version is unknown");
        }
        if long(CHECKED_BYTES)? != fnv1a(&bytes[..CHECKED_BYTES]) {
            return Err("the checksum is wrong");
        }
        let page_bytes = word(8)?;
        let in_range = (PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&(page_bytes as usize));
        if !in_range || !page_bytes.is_power_of_two() {
            return Err("the page size is impossible");
        }
        Ok(Self { page_bytes, root: long(16)?, pages: long(40)?, transaction: long(48)? })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        for word in [MAGIC, VERSION, self.page_bytes, 0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for long in [self.root, 0, NO_FREE_LIST, self.pages, self.transaction] {
            out.extend_from_slice(&long.to_le_bytes());
        }
        let checksum = fnv1a(&out[start..]);
        out.extend_from_slice(&checksum.to_le_bytes());
    }
}

/// The 64-bit FNV-1a hash.
fn fnv1a(bytes: &[u8]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}
