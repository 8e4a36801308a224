//! A walk over the pairs of one bucket, in the order of their keys.
//!
//! Invariants:
//! - Keys ascend strictly, and agree with the keys that the branches above them promise.
//! - No more pages are entered than the file has.

use bytes::Bytes;

use crate::db::Db;
use crate::page::{Kind, LeafElement, Page};
use crate::{BoltError, KEY_BYTES_MAX};

/// Levels of the highest tree: with two children per branch, more pages than a file can have.
const DEPTH_MAX: usize = 64;

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: Bytes,
    /// The value. It shares the memory of its page.
    pub value: Bytes,
    /// Where in the file the value begins.
    pub value_at: u64,
    /// True if the key names a bucket; the value is then the bucket's header.
    pub is_bucket: bool,
}

/// The pairs of a bucket from some key on; see [`Bucket::pairs`](crate::Bucket::pairs).
#[derive(Debug)]
pub struct Pairs<'a> {
    db: &'a Db,
    stack: Vec<Frame>,
    /// The page to enter next, before anything else.
    entry: Option<u64>,
    /// Keys before this one are not wanted.
    start: Bytes,
    pages_left: u64,
    last: Option<Bytes>,
    /// The key that a branch promises for the page below it.
    floor: Bytes,
}

#[derive(Debug)]
struct Frame {
    page: Page,
    number: u64,
    next: usize,
}

impl<'a> Pairs<'a> {
    pub(crate) fn new(db: &'a Db, root: u64, start: &[u8]) -> Self {
        Self {
            db,
            stack: Vec::new(),
            entry: Some(root),
            start: Bytes::copy_from_slice(start),
            pages_left: db.pages(),
            last: None,
            floor: Bytes::new(),
        }
    }

    /// The pairs of a page that lies within the value of an element on page `number`.
    pub(crate) fn inline(db: &'a Db, page: Page, number: u64, start: &[u8]) -> Self {
        let mut pairs = Self::new(db, number, start);
        pairs.entry = None;
        // A key that cannot be found is met again, and reported, by the walk.
        let next = page.rank(start, false).unwrap_or(0);
        pairs.stack.push(Frame { page, number, next });
        pairs
    }

    /// The page that the last pair was on.
    pub(crate) fn page(&self) -> u64 {
        self.stack.last().map_or(0, |frame| frame.number)
    }

    fn step(&mut self) -> Result<Option<Pair>, BoltError> {
        if let Some(root) = self.entry.take() {
            self.enter(root)?;
        }
        loop {
            let Some(frame) = self.stack.last_mut() else { return Ok(None) };
            if frame.next >= frame.page.count {
                self.stack.pop();
                continue;
            }
            let (index, number) = (frame.next, frame.number);
            frame.next += 1;
            match frame.page.kind {
                Kind::Branch => {
                    let element = frame.page.branch(index);
                    let (key, child) = element.map_err(|why| self.db.damaged(number, why))?;
                    if self.last.as_ref().is_some_and(|last| *last >= key) {
                        return Err(self.db.damaged(number, "its keys do not ascend"));
                    }
                    self.floor = key;
                    self.enter(child)?;
                }
                Kind::Leaf => {
                    let element = frame.page.leaf(index);
                    let element = element.map_err(|why| self.db.damaged(number, why))?;
                    return self.accept(element, number).map(Some);
                }
            }
        }
    }

    fn accept(&mut self, element: LeafElement, number: u64) -> Result<Pair, BoltError> {
        let LeafElement { key, value, value_at, is_bucket } = element;
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(self.db.damaged(number, "a key is empty or too long"));
        }
        let ascends = self.last.as_ref().is_none_or(|last| *last < key);
        if !ascends || key < self.floor || key < self.start {
            return Err(self.db.damaged(number, "its keys do not ascend"));
        }
        self.last = Some(key.clone());
        Ok(Pair { key, value, value_at, is_bucket })
    }

    /// Goes down to a page, at the first element that is wanted.
    fn enter(&mut self, number: u64) -> Result<(), BoltError> {
        if self.stack.len() >= DEPTH_MAX || self.pages_left == 0 {
            return Err(self.db.damaged(number, "pages refer to each other in a circle"));
        }
        self.pages_left -= 1;
        let page = self.db.load(number)?;
        // What begins before `start` may still reach beyond it.
        let rank = match page.kind {
            Kind::Branch => page.rank(&self.start, true).map(|rank| rank.saturating_sub(1)),
            Kind::Leaf => page.rank(&self.start, false),
        };
        // Behind the first pair the whole page is wanted.
        let rank = if self.last.is_some() { Ok(0) } else { rank };
        let next = rank.map_err(|reason| self.db.damaged(number, reason))?;
        self.stack.push(Frame { page, number, next });
        Ok(())
    }
}

impl Iterator for Pairs<'_> {
    type Item = Result<Pair, BoltError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.stack.clear();
        }
        step.transpose()
    }
}
