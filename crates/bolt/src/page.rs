//! One page with its overflow, as bytes that are not trusted.
//!
//! Invariants:
//! - The table of elements is within the bytes; where an element points is checked when asked.
//! - Keys and values share the bytes of the page.

use std::ops::Range;

use bytes::Bytes;

use crate::format::{
    ELEMENT_BYTES, ELEMENT_IS_BUCKET, FLAG_BRANCH, FLAG_LEAF, HEADER_BYTES, Header, u32_at, u64_at,
};

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Branch,
    Leaf,
}

/// A page.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    bytes: Bytes,
    /// Where in the file the bytes begin.
    start: u64,
    pub(crate) kind: Kind,
    pub(crate) count: usize,
}

/// An element of a leaf.
#[derive(Clone, Debug)]
pub(crate) struct LeafElement {
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    /// Where in the file the value begins.
    pub(crate) value_at: u64,
    pub(crate) is_bucket: bool,
}

const OUTSIDE: &str = "an element lies outside of its page";

impl Page {
    /// Takes the bytes of a page with its overflow, which begin at an offset of the file.
    pub(crate) fn new(bytes: Bytes, start: u64) -> Result<Self, &'static str> {
        let header = Header::read(&bytes).ok_or("it has no header")?;
        let kind = match header.flags {
            FLAG_BRANCH => Kind::Branch,
            FLAG_LEAF => Kind::Leaf,
            _ => return Err("it is neither a branch nor a leaf"),
        };
        let count = usize::from(header.count);
        if HEADER_BYTES + count * ELEMENT_BYTES > bytes.len() {
            return Err("it has more elements than fit");
        }
        if kind == Kind::Branch && count == 0 {
            return Err("it is a branch without children");
        }
        Ok(Self { bytes, start, kind, count })
    }

    /// The key of an element and the page of the child behind it.
    pub(crate) fn branch(&self, index: usize) -> Result<(Bytes, u64), &'static str> {
        let at = HEADER_BYTES + index * ELEMENT_BYTES;
        let key = self.range(at, self.word(at)?, 0, self.word(at + 4)?)?;
        Ok((self.bytes.slice(key), u64_at(&self.bytes, at + 8).ok_or(OUTSIDE)?))
    }

    /// An element of a leaf.
    pub(crate) fn leaf(&self, index: usize) -> Result<LeafElement, &'static str> {
        let at = HEADER_BYTES + index * ELEMENT_BYTES;
        let (position, key_len) = (self.word(at + 4)?, self.word(at + 8)?);
        let is_bucket = self.word(at)? & ELEMENT_IS_BUCKET as usize != 0;
        let key = self.range(at, position, 0, key_len)?;
        let value = self.range(at, position, key_len, self.word(at + 12)?)?;
        let value_at = self.start.checked_add(value.start as u64).ok_or(OUTSIDE)?;
        let (key, value) = (self.bytes.slice(key), self.bytes.slice(value));
        Ok(LeafElement { key, value, value_at, is_bucket })
    }

    /// How many elements have keys before `key`, or also at it.
    pub(crate) fn rank(&self, key: &[u8], including: bool) -> Result<usize, &'static str> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            let found = match self.kind {
                Kind::Branch => self.branch(middle)?.0,
                Kind::Leaf => self.leaf(middle)?.key,
            };
            if found < key || (including && found == key) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn word(&self, offset: usize) -> Result<usize, &'static str> {
        let word = u32_at(&self.bytes, offset).ok_or(OUTSIDE)?;
        usize::try_from(word).map_err(|_| OUTSIDE)
    }

    /// So many bytes from the sum of the three offsets on.
    fn range(&self, at: usize, position: usize, skip: usize, len: usize) -> Part {
        let start =
            at.checked_add(position).and_then(|sum| sum.checked_add(skip)).ok_or(OUTSIDE)?;
        let end = start.checked_add(len).ok_or(OUTSIDE)?;
        if end > self.bytes.len() {
            return Err(OUTSIDE);
        }
        Ok(start..end)
    }
}

type Part = Result<Range<usize>, &'static str>;
