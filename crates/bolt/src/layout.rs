//! Where everything in a file goes, found from the lengths of the pairs alone.
//!
//! The file has the two meta pages, then the trees of the buckets one after another, each page
//! behind its children, then the tree of the bucket that holds all buckets. An empty bucket has
//! no page of its own.

use bytes::{BufMut, Bytes};

use crate::WriteError;
use crate::format::{
    BUCKET_BYTES, FLAG_LEAF, HEADER_BYTES, Header, KEY_BYTES_MAX, META_PAGES, PAGE_BYTES,
    VALUE_BYTES_MAX,
};
use crate::page::Kind;
use crate::tree::{Below, Element, Extent, Sink, Tree};
use crate::writer::Writer;

/// The layout of a file. Cloning it is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub(crate) names: Vec<Bytes>,
    pub(crate) root: u64,
    pub(crate) pages: u64,
}

impl Layout {
    /// Finds the layout of buckets with these names, in ascending order, from the pairs that will
    /// be in them: the bucket, the length of the key, the length of the value, in the order of
    /// buckets and keys.
    ///
    /// # Errors
    /// The first error among the lengths, or that bbolt does not take such buckets and pairs.
    pub fn of<N, E>(
        names: &[&str],
        lengths: impl IntoIterator<Item = Result<(N, usize, usize), E>>,
    ) -> Result<Self, E>
    where
        N: AsRef<[u8]>,
        E: From<WriteError>,
    {
        let mut planner = Planner::new(names)?;
        for row in lengths {
            let (bucket, key_len, value_len) = row?;
            planner.pair(bucket.as_ref(), key_len, value_len)?;
        }
        Ok(planner.finish())
    }

    /// Returns the length of the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.pages * PAGE_BYTES as u64
    }

    /// Begins to write the file.
    #[must_use]
    pub fn writer(&self) -> Writer {
        Writer::new(self.clone())
    }

    /// Writes the file as an iterator of its bytes in order, from the pairs that the layout was
    /// made of: the bucket, the key, the value. The iteration ends with the first error.
    pub fn write<N, E>(
        &self,
        pairs: impl IntoIterator<Item = Result<(N, Bytes, Bytes), E>>,
    ) -> impl Iterator<Item = Result<Bytes, E>>
    where
        N: AsRef<[u8]>,
        E: From<WriteError>,
    {
        let mut pairs = pairs.into_iter().fuse();
        let mut writer = Some(self.writer());
        std::iter::from_fn(move || {
            loop {
                let current = writer.as_mut()?;
                if let Some(chunk) = current.take_chunk() {
                    return Some(Ok(chunk));
                }
                let step = match pairs.next() {
                    Some(Ok((bucket, key, value))) => {
                        current.pair(bucket.as_ref(), key, value).map_err(E::from)
                    }
                    Some(Err(error)) => Err(error),
                    None if current.is_finished() => return None,
                    None => current.finish().map_err(E::from),
                };
                if let Err(error) = step {
                    writer = None;
                    return Some(Err(error));
                }
            }
        })
    }
}

/// Finds a layout, one pair after another.
#[derive(Debug)]
pub struct Planner {
    assembly: Assembly<usize>,
    sink: Count,
}

impl Planner {
    /// Begins a file with these buckets, in ascending order of their names.
    ///
    /// # Errors
    /// If the names do not ascend or bbolt does not take one.
    pub fn new(names: &[&str]) -> Result<Self, WriteError> {
        let name = |name: &&str| Bytes::copy_from_slice(name.as_bytes());
        let names: Vec<Bytes> = names.iter().map(name).collect();
        names.iter().try_for_each(|name| check_key(name.len()))?;
        if !names.is_sorted_by(|left, right| left < right) {
            return Err(WriteError::Order);
        }
        Ok(Self { assembly: Assembly::new(names), sink: Count { pages: META_PAGES } })
    }

    /// Adds a pair to a bucket, which must not be before that of the pair before.
    ///
    /// # Errors
    /// If bbolt does not take such a pair, or the bucket is not one of those to come.
    pub fn pair(
        &mut self,
        bucket: &[u8],
        key_len: usize,
        value_len: usize,
    ) -> Result<(), WriteError> {
        self.assembly.pair(bucket, key_len, value_len, &mut self.sink)
    }

    /// Returns the layout of all pairs.
    #[must_use]
    pub fn finish(mut self) -> Layout {
        let root = self.assembly.finish(&mut self.sink);
        Layout { names: self.assembly.names, root, pages: self.sink.pages }
    }
}

/// Pages for so many bytes.
pub(crate) fn pages_for(bytes: usize) -> u64 {
    bytes.div_ceil(PAGE_BYTES) as u64
}

/// Counts pages.
#[derive(Debug)]
struct Count {
    pages: u64,
}

impl Sink<usize> for Count {
    fn page(&mut self, _: Kind, _: &[Element<usize>], bytes: usize) -> u64 {
        let number = self.pages;
        self.pages += pages_for(bytes);
        number
    }
}

/// The buckets of a file one after another.
#[derive(Debug)]
pub(crate) struct Assembly<T> {
    pub(crate) names: Vec<Bytes>,
    /// The roots of the buckets that are complete; none for an empty one.
    roots: Vec<Option<u64>>,
    tree: Tree<T>,
}

impl<T: Extent> Assembly<T> {
    pub(crate) fn new(names: Vec<Bytes>) -> Self {
        Self { names, roots: Vec::new(), tree: Tree::new() }
    }

    pub(crate) fn pair(
        &mut self,
        bucket: &[u8],
        key: T,
        value: T,
        sink: &mut impl Sink<T>,
    ) -> Result<(), WriteError> {
        check_key(key.extent())?;
        if value.extent() > VALUE_BYTES_MAX {
            return Err(WriteError::Value(value.extent()));
        }
        while self.current() != Some(bucket) {
            if self.current().is_none_or(|current| current > bucket) {
                return Err(WriteError::NoBucket);
            }
            self.close(sink);
        }
        self.tree.push(Element { key, below: Below::Value(value) }, sink);
        Ok(())
    }

    /// Finishes all buckets, and tells the page of the root.
    pub(crate) fn finish(&mut self, sink: &mut impl Sink<T>) -> u64 {
        while self.current().is_some() {
            self.close(sink);
        }
        let mut tree = Tree::new();
        for (name, root) in self.names.iter().zip(&self.roots) {
            let below = Below::Bucket(T::of(bucket_value(*root)));
            tree.push(Element { key: T::of(name.clone()), below }, sink);
        }
        match tree.finish(sink) {
            Some(root) => root,
            None => sink.page(Kind::Leaf, &[], HEADER_BYTES),
        }
    }

    /// The bucket that pairs go into.
    pub(crate) fn current(&self) -> Option<&[u8]> {
        self.names.get(self.roots.len()).map(AsRef::as_ref)
    }

    fn close(&mut self, sink: &mut impl Sink<T>) {
        let tree = std::mem::replace(&mut self.tree, Tree::new());
        self.roots.push(tree.finish(sink));
    }
}

/// The value of a bucket: an empty one has its page here.
fn bucket_value(root: Option<u64>) -> Bytes {
    let mut value = Vec::with_capacity(BUCKET_BYTES + HEADER_BYTES);
    value.put_u64_le(root.unwrap_or(0));
    value.put_u64_le(0);
    if root.is_none() {
        Header { page: 0, flags: FLAG_LEAF, count: 0, overflow: 0 }.write(&mut value);
    }
    value.into()
}

fn check_key(length: usize) -> Result<(), WriteError> {
    if (1..=KEY_BYTES_MAX).contains(&length) { Ok(()) } else { Err(WriteError::Key(length)) }
}
