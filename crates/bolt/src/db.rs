//! A file open for reading.
//!
//! Invariant: nothing that the file says is used before it is checked against the length of the
//! file, and no page is read twice in one walk, so damaged or hostile bytes cost an error and
//! never a panic, an endless walk, or memory beyond one run of pages per level.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use quoin_vfs::{File, FileSystem, OpenMode};

use crate::BoltError;
use crate::format::{
    BUCKET_BYTES, HEADER_BYTES, Header, META_BYTES, META_PAGES, Meta, PAGE_BYTES_MAX,
    PAGE_BYTES_MIN, u64_at,
};
use crate::page::{Kind, Page};
use crate::pairs::{Pair, Pairs};

/// Bytes of the longest run of a page and its overflow that is read into memory. The longest
/// that bbolt itself would write holds a few of the largest requests.
const RUN_BYTES_MAX: u64 = 1 << 30;

/// A file open for reading. It must not change meanwhile.
#[derive(Debug)]
pub struct Db {
    file: Arc<dyn File>,
    path: PathBuf,
    bytes: u64,
    meta: Meta,
}

/// A bucket of a file.
#[derive(Clone, Debug)]
pub struct Bucket<'a> {
    db: &'a Db,
    root: Root,
    sequence: u64,
}

/// Where the pairs of a bucket begin.
#[derive(Clone, Debug)]
enum Root {
    Page(u64),
    /// The only page lies in the value of the bucket, on the page of this number.
    Inline(Page, u64),
}

impl Db {
    /// Opens a file and finds its valid state.
    ///
    /// # Errors
    /// If it cannot be read, has no valid meta page, or is shorter than that page says.
    pub fn open(fs: &dyn FileSystem, path: &Path) -> Result<Self, BoltError> {
        let io = |action| move |source| BoltError::Io { action, path: path.to_owned(), source };
        let file = fs.open(path, OpenMode::Read).map_err(io("open"))?;
        let bytes = file.len().map_err(io("measure"))?;
        let meta = newest_meta(file.as_ref(), bytes).map_err(io("read"))?;
        let meta = meta.map_err(|reason| BoltError::NoMeta { path: path.to_owned(), reason })?;
        let db = Self { file: Arc::from(file), path: path.to_owned(), bytes, meta };
        let expected = meta.pages.saturating_mul(u64::from(meta.page_bytes));
        if expected > bytes {
            return Err(BoltError::CutOff { path: path.to_owned(), bytes, expected });
        }
        db.load(meta.root)?;
        Ok(db)
    }

    /// Returns the file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the open file, to read later what [`Pair::value_at`](crate::Pair::value_at) tells.
    #[must_use]
    pub fn file(&self) -> Arc<dyn File> {
        Arc::clone(&self.file)
    }

    /// Returns the length of the file, which may be more than its pages take.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the bytes of one page.
    #[must_use]
    pub fn page_bytes(&self) -> u32 {
        self.meta.page_bytes
    }

    /// Returns the number of pages that are or were in use.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.meta.pages
    }

    /// Returns a bucket by its name, or none if there is no such bucket.
    ///
    /// # Errors
    /// If a page on the way cannot be read or is damaged.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Bucket<'_>>, BoltError> {
        self.root().bucket(name)
    }

    /// Returns all buckets with their names, in ascending order.
    pub fn buckets(&self) -> impl Iterator<Item = Result<(Bytes, Bucket<'_>), BoltError>> {
        let mut pairs = self.root().pairs();
        std::iter::from_fn(move || {
            loop {
                let pair = match pairs.next()? {
                    Ok(pair) => pair,
                    Err(error) => return Some(Err(error)),
                };
                if pair.is_bucket {
                    let bucket = self.bucket_in(&pair, pairs.page());
                    return Some(bucket.map(|bucket| (pair.key, bucket)));
                }
            }
        })
    }

    /// The bucket that holds all buckets.
    fn root(&self) -> Bucket<'_> {
        Bucket { db: self, root: Root::Page(self.meta.root), sequence: 0 }
    }

    /// The bucket that is the value of an element on `page`.
    fn bucket_in(&self, pair: &Pair, page: u64) -> Result<Bucket<'_>, BoltError> {
        let value = &pair.value;
        let short = || self.damaged(page, "a bucket has no header");
        let root = u64_at(value, 0).ok_or_else(short)?;
        let sequence = u64_at(value, 8).ok_or_else(short)?;
        let root = if root == 0 {
            let start = pair.value_at.saturating_add(BUCKET_BYTES as u64);
            let inline = Page::new(value.slice(BUCKET_BYTES..), start);
            let inline = inline.map_err(|_| self.damaged(page, "a bucket within it is damaged"))?;
            if inline.kind == Kind::Branch {
                return Err(self.damaged(page, "a bucket within it is not a leaf"));
            }
            Root::Inline(inline, page)
        } else {
            Root::Page(root)
        };
        Ok(Bucket { db: self, root, sequence })
    }

    /// Reads a page with its overflow.
    pub(crate) fn load(&self, number: u64) -> Result<Page, BoltError> {
        let page_bytes = u64::from(self.meta.page_bytes);
        if number < META_PAGES || number >= self.meta.pages {
            return Err(self.damaged(number, "there is no such page"));
        }
        // The end of the pages is within the file, so the products cannot overflow.
        let start = number * page_bytes;
        let mut bytes = vec![0; self.meta.page_bytes as usize];
        self.read(&mut bytes, start)?;
        let header = Header::read(&bytes).ok_or_else(|| self.damaged(number, "no header"))?;
        if header.page != number {
            return Err(self.damaged(number, "it bears the number of another page"));
        }
        if header.overflow > 0 {
            let pages = u64::from(header.overflow) + 1;
            if pages > self.meta.pages - number {
                return Err(self.damaged(number, "it goes on behind the last page"));
            }
            let length = pages * page_bytes;
            if length > RUN_BYTES_MAX {
                return Err(self.damaged(number, "it is larger than any page can be"));
            }
            let length = usize::try_from(length).expect("a run fits into memory");
            let first = bytes.len();
            bytes.resize(length, 0);
            self.read(&mut bytes[first..], start + page_bytes)?;
        }
        Page::new(Bytes::from(bytes), start).map_err(|reason| self.damaged(number, reason))
    }

    fn read(&self, buf: &mut [u8], offset: u64) -> Result<(), BoltError> {
        let read = self.file.read_exact_at(buf, offset);
        read.map_err(|source| BoltError::Io { action: "read", path: self.path.clone(), source })
    }

    pub(crate) fn damaged(&self, page: u64, reason: &'static str) -> BoltError {
        BoltError::Damaged { path: self.path.clone(), page, reason }
    }
}

impl<'a> Bucket<'a> {
    /// Returns the bucket's sequence number.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns the value of a key; none also if the key names a bucket.
    ///
    /// # Errors
    /// If a page on the way cannot be read or is damaged.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, BoltError> {
        let pair = self.pairs_from(key).next().transpose()?;
        Ok(pair.filter(|pair| pair.key == key && !pair.is_bucket).map(|pair| pair.value))
    }

    /// Returns a bucket within this one, or none if there is no such bucket.
    ///
    /// # Errors
    /// If a page on the way cannot be read or is damaged.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Self>, BoltError> {
        let mut pairs = self.pairs_from(name);
        match pairs.next().transpose()? {
            Some(pair) if pair.key == name && pair.is_bucket => {
                Ok(Some(self.db.bucket_in(&pair, pairs.page())?))
            }
            _ => Ok(None),
        }
    }

    /// Returns all pairs in ascending order of their keys. The iteration ends with the first
    /// error, and holds one run of pages per level of the tree.
    #[must_use]
    pub fn pairs(&self) -> Pairs<'a> {
        self.pairs_from(&[])
    }

    /// Returns the pairs from a key on in ascending order, like [`Self::pairs`].
    #[must_use]
    pub fn pairs_from(&self, start: &[u8]) -> Pairs<'a> {
        match &self.root {
            Root::Page(page) => Pairs::new(self.db, *page, start),
            Root::Inline(page, number) => Pairs::inline(self.db, page.clone(), *number, start),
        }
    }
}

/// Reads the meta pages. The outer error is the file system's; the inner one says what is wrong
/// with the first of the two.
fn newest_meta(file: &dyn File, bytes: u64) -> std::io::Result<Result<Meta, &'static str>> {
    let first = meta_at(file, bytes, 0)?;
    // Where the second one lies depends on the page size, which only a valid first one tells.
    let sizes = match &first {
        Ok(meta) => meta.page_bytes as usize..=meta.page_bytes as usize,
        Err(_) => PAGE_BYTES_MIN..=PAGE_BYTES_MAX,
    };
    let mut newest = first;
    let mut size = *sizes.start();
    while size <= *sizes.end() {
        let second = meta_at(file, bytes, size as u64)?;
        if let Ok(second) = second.as_ref()
            && second.page_bytes as usize == size
            && newest.as_ref().map_or(true, |newest| newest.transaction < second.transaction)
        {
            newest = Ok(*second);
        }
        size *= 2;
    }
    Ok(newest)
}

fn meta_at(
    file: &dyn File,
    bytes: u64,
    offset: u64,
) -> std::io::Result<Result<Meta, &'static str>> {
    let mut buffer = [0; HEADER_BYTES + META_BYTES];
    if offset + buffer.len() as u64 > bytes {
        return Ok(Err("the file is too short"));
    }
    file.read_exact_at(&mut buffer, offset)?;
    Ok(Meta::read(&buffer[HEADER_BYTES..]))
}
