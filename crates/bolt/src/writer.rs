//! The bytes of a file from the first to the last.

use bytes::Bytes;

use crate::WriteError;
use crate::format::{
    ELEMENT_BYTES, ELEMENT_IS_BUCKET, FLAG_BRANCH, FLAG_LEAF, FLAG_META, Header, META_PAGES, Meta,
    PAGE_BYTES,
};
use crate::layout::{Assembly, Layout, pages_for};
use crate::page::Kind;
use crate::tree::{Below, Element, Sink};

/// Bytes that are collected before they are given out. One page with its overflow may be more.
const CHUNK_BYTES: usize = 64 * 1024;

/// Writes a file, one pair after another, in the order in which its layout was made. Holds about
/// one page per level of the tree, and the bytes that were not taken yet.
#[derive(Debug)]
pub struct Writer {
    layout: Layout,
    assembly: Assembly<Bytes>,
    sink: Encode,
    last: Bytes,
    is_finished: bool,
}

impl Writer {
    pub(crate) fn new(layout: Layout) -> Self {
        let mut out = Vec::with_capacity(CHUNK_BYTES + PAGE_BYTES);
        for page in 0..META_PAGES {
            let meta = Meta {
                page_bytes: PAGE_BYTES as u32,
                root: layout.root,
                pages: layout.pages,
                transaction: page,
            };
            Header { page, flags: FLAG_META, count: 0, overflow: 0 }.write(&mut out);
            meta.write(&mut out);
            out.resize(out.len().next_multiple_of(PAGE_BYTES), 0);
        }
        let assembly = Assembly::new(layout.names.clone());
        let sink = Encode { out, pages: META_PAGES };
        Self { layout, assembly, sink, last: Bytes::new(), is_finished: false }
    }

    /// Adds a pair to a bucket.
    ///
    /// # Errors
    /// If buckets or keys do not ascend, or this cannot be what the layout was made of. The file
    /// is then useless.
    pub fn pair(&mut self, bucket: &[u8], key: Bytes, value: Bytes) -> Result<(), WriteError> {
        if self.assembly.current() == Some(bucket) && key <= self.last {
            return Err(WriteError::Order);
        }
        self.last = key.clone();
        self.assembly.pair(bucket, key, value, &mut self.sink)?;
        if self.sink.pages > self.layout.pages { Err(WriteError::NotAsPlanned) } else { Ok(()) }
    }

    /// Writes what comes behind the last pair.
    ///
    /// # Errors
    /// If the pairs were not those that the layout was made of. The file is then useless.
    pub fn finish(&mut self) -> Result<(), WriteError> {
        let root = self.assembly.finish(&mut self.sink);
        self.is_finished = true;
        if (root, self.sink.pages) == (self.layout.root, self.layout.pages) {
            Ok(())
        } else {
            Err(WriteError::NotAsPlanned)
        }
    }

    /// Returns true after [`Self::finish`].
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Takes the next bytes of the file, if there are enough of them or they are the last. Taken
    /// after every pair, the bytes that wait are bounded by one page with its overflow.
    pub fn take_chunk(&mut self) -> Option<Bytes> {
        let length = self.sink.out.len();
        let is_due = length >= CHUNK_BYTES || (self.is_finished && length > 0);
        is_due.then(|| Bytes::from(std::mem::take(&mut self.sink.out)))
    }
}

/// Encodes pages one behind the other.
#[derive(Debug)]
struct Encode {
    out: Vec<u8>,
    pages: u64,
}

impl Sink<Bytes> for Encode {
    fn page(&mut self, kind: Kind, elements: &[Element<Bytes>], bytes: usize) -> u64 {
        let (number, pages) = (self.pages, pages_for(bytes));
        self.pages += pages;
        let flags = match kind {
            Kind::Branch => FLAG_BRANCH,
            Kind::Leaf => FLAG_LEAF,
        };
        let count = u16::try_from(elements.len()).expect("elements of a page are few");
        let overflow = u32::try_from(pages - 1).expect("a page holds few large values");
        let out = &mut self.out;
        let start = out.len();
        out.reserve((overflow as usize + 1) * PAGE_BYTES);
        Header { page: number, flags, count, overflow }.write(out);
        put_table(out, elements);
        for Element { key, below } in elements {
            out.extend_from_slice(key);
            match below {
                Below::Value(value) | Below::Bucket(value) => out.extend_from_slice(value),
                Below::Child(_) => {}
            }
        }
        debug_assert_eq!(out.len() - start, bytes);
        out.resize(start + (overflow as usize + 1) * PAGE_BYTES, 0);
        number
    }
}

/// Writes the table of elements, which says where the keys and values behind it are.
fn put_table(out: &mut Vec<u8>, elements: &[Element<Bytes>]) {
    let word = |length: usize| u32::try_from(length).expect("a page is shorter than 4 GiB");
    let mut content = elements.len() * ELEMENT_BYTES;
    for (index, Element { key, below }) in elements.iter().enumerate() {
        let position = word(content - index * ELEMENT_BYTES).to_le_bytes();
        let key_len = word(key.len()).to_le_bytes();
        content += key.len();
        let (flags, value) = match below {
            Below::Value(value) => (0, value),
            Below::Bucket(value) => (ELEMENT_IS_BUCKET, value),
            Below::Child(child) => {
                out.extend_from_slice([position, key_len].as_flattened());
                out.extend_from_slice(&child.to_le_bytes());
                continue;
            }
        };
        content += value.len();
        let value_len = word(value.len()).to_le_bytes();
        let fields = [flags.to_le_bytes(), position, key_len, value_len];
        out.extend_from_slice(fields.as_flattened());
    }
}
