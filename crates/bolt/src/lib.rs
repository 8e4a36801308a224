//! bbolt files, in which etcd keeps its state: a reader that trusts no byte, and a writer that
//! streams a whole file from sorted pairs.
//!
//! A file holds named buckets; a bucket holds pairs in the byte order of their keys. [`Db`] reads
//! any file that bbolt writes, a page at a time. [`Layout`] and [`Writer`] write one from the
//! first byte to the last, with a size that is known before: the layout is found from the lengths
//! of the pairs alone, and then the pairs go through once more. There is no way to change a file.
//!
//! Integers are little endian. A page is `page size` bytes, usually 4096, and may be continued
//! by the pages behind it (its overflow).
//!
//! | page header | bytes | | meta, on pages 0 and 1, after the header | bytes |
//! |---|---|---|---|---|
//! | number of the page | 8 | | magic `0xED0CDAED` | 4 |
//! | 1 branch, 2 leaf, 4 meta, 16 free list | 2 | | version 2 | 4 |
//! | number of elements | 2 | | page size | 4 |
//! | number of overflow pages | 4 | | flags, 0 | 4 |
//! | | | | root bucket: page, sequence | 8 + 8 |
//! | | | | page of the free list; all ones: none is kept | 8 |
//! | | | | number of pages | 8 |
//! | | | | transaction | 8 |
//! | | | | FNV-1a of the 56 bytes before | 8 |
//!
//! | branch element | bytes | | leaf element | bytes |
//! |---|---|---|---|---|
//! | where the key begins, from here | 4 | | 1: the value is a bucket | 4 |
//! | length of the key | 4 | | where the key begins, from here | 4 |
//! | page of the child | 8 | | length of the key | 4 |
//! | | | | length of the value, which follows the key | 4 |
//!
//! The value of a bucket is its root page and its sequence, 8 bytes each. If the page is 0, one
//! leaf page follows in the value itself. Of the two metas the valid one with the later
//! transaction counts.
//!
//! Not here: what buckets and pairs mean, changing files, the free list.

mod db;
mod error;
mod format;
mod layout;
mod page;
mod pairs;
#[cfg(test)]
mod tests;
mod tree;
mod writer;

pub use db::{Bucket, Db};
pub use error::{BoltError, WriteError};
pub use format::{KEY_BYTES_MAX, PAGE_BYTES, VALUE_BYTES_MAX};
pub use layout::{Layout, Planner};
pub use pairs::{Pair, Pairs};
pub use writer::Writer;
