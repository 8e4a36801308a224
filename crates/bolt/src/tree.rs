//! The tree of one bucket, built from the left: pages are finished as soon as the next element
//! shows that they are full, children before their parents.
//!
//! The same code runs over lengths to find the layout and over bytes to write it, so both agree.
//!
//! Invariants:
//! - A branch has two children or more: bbolt counts on it when it deletes.
//! - A level holds little more than the elements of one page.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::format::{ELEMENT_BYTES, HEADER_BYTES, PAGE_BYTES};
use crate::page::Kind;

/// Bytes, or how many there are.
pub(crate) trait Extent: Clone {
    fn of(bytes: Bytes) -> Self;
    fn extent(&self) -> usize;
}

impl Extent for Bytes {
    fn of(bytes: Bytes) -> Self {
        bytes
    }

    fn extent(&self) -> usize {
        self.len()
    }
}

impl Extent for usize {
    fn of(bytes: Bytes) -> Self {
        bytes.len()
    }

    fn extent(&self) -> usize {
        *self
    }
}

/// An element of a page.
#[derive(Clone, Debug)]
pub(crate) struct Element<T> {
    pub(crate) key: T,
    pub(crate) below: Below<T>,
}

/// What an element has under its key.
#[derive(Clone, Debug)]
pub(crate) enum Below<T> {
    Value(T),
    Bucket(T),
    Child(u64),
}

impl<T: Extent> Element<T> {
    fn bytes(&self) -> usize {
        let below = match &self.below {
            Below::Value(value) | Below::Bucket(value) => value.extent(),
            Below::Child(_) => 0,
        };
        ELEMENT_BYTES + self.key.extent() + below
    }
}

/// Takes finished pages in the order of their numbers.
pub(crate) trait Sink<T> {
    /// Takes a page whose content has so many bytes, and tells its number.
    fn page(&mut self, kind: Kind, elements: &[Element<T>], bytes: usize) -> u64;
}

/// A tree that grows to the right. The first level has the leaves.
#[derive(Debug)]
pub(crate) struct Tree<T> {
    levels: Vec<Level<T>>,
}

/// The elements of one level that are not on a page yet.
#[derive(Debug)]
struct Level<T> {
    kind: Kind,
    waiting: VecDeque<Element<T>>,
    /// How many of them make the next page, and their bytes.
    fitting: usize,
    fitting_bytes: usize,
    has_pages: bool,
}

impl<T: Extent> Tree<T> {
    pub(crate) fn new() -> Self {
        Self { levels: Vec::new() }
    }

    /// Appends a pair, or a bucket.
    pub(crate) fn push(&mut self, element: Element<T>, sink: &mut impl Sink<T>) {
        self.push_at(0, element, sink);
    }

    /// Finishes all pages, and tells the number of the root; none if the tree is empty.
    pub(crate) fn finish(mut self, sink: &mut impl Sink<T>) -> Option<u64> {
        let mut depth = 0;
        while let Some(level) = self.levels.get_mut(depth) {
            if let Some(root) = level.only_child() {
                return Some(root);
            }
            // One element more than fits would make a branch of its own: two must move.
            let least = level.least();
            if level.waiting.len() > level.fitting {
                if level.fitting > least {
                    level.fitting -= 1;
                    let parent = level.emit(sink);
                    self.push_at(depth + 1, parent, sink);
                } else {
                    level.fitting = level.waiting.len();
                }
            }
            let parent = self.levels[depth].emit(sink);
            self.push_at(depth + 1, parent, sink);
            depth += 1;
        }
        None
    }

    fn push_at(&mut self, depth: usize, element: Element<T>, sink: &mut impl Sink<T>) {
        if depth == self.levels.len() {
            let kind = if depth == 0 { Kind::Leaf } else { Kind::Branch };
            self.levels.push(Level::new(kind));
        }
        let level = &mut self.levels[depth];
        level.push(element);
        if level.waiting.len() - level.fitting >= level.least() {
            let parent = level.emit(sink);
            self.push_at(depth + 1, parent, sink);
        }
    }
}

impl<T: Extent> Level<T> {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            waiting: VecDeque::new(),
            fitting: 0,
            fitting_bytes: HEADER_BYTES,
            has_pages: false,
        }
    }

    /// The fewest elements of a page.
    fn least(&self) -> usize {
        match self.kind {
            Kind::Leaf => 1,
            Kind::Branch => 2,
        }
    }

    /// The child that needs no parent, because there is no other.
    fn only_child(&self) -> Option<u64> {
        match self.waiting.front() {
            Some(Element { below: Below::Child(child), .. })
                if self.waiting.len() == 1 && !self.has_pages =>
            {
                Some(*child)
            }
            _ => None,
        }
    }

    fn push(&mut self, element: Element<T>) {
        self.waiting.push_back(element);
        self.fit();
    }

    /// Counts elements in as long as they fit, and a few even if they do not.
    fn fit(&mut self) {
        while let Some(next) = self.waiting.get(self.fitting) {
            let bytes = self.fitting_bytes + next.bytes();
            if bytes > PAGE_BYTES && self.fitting >= self.least() {
                return;
            }
            (self.fitting, self.fitting_bytes) = (self.fitting + 1, bytes);
        }
    }

    /// Finishes a page, and returns what its parent says of it.
    fn emit(&mut self, sink: &mut impl Sink<T>) -> Element<T> {
        let elements: Vec<Element<T>> = self.waiting.drain(..self.fitting).collect();
        let first = elements.first().expect("a page has elements");
        let bytes = HEADER_BYTES + elements.iter().map(Element::bytes).sum::<usize>();
        let key = first.key.clone();
        let child = sink.page(self.kind, &elements, bytes);
        (self.fitting, self.fitting_bytes, self.has_pages) = (0, HEADER_BYTES, true);
        self.fit();
        Element { key, below: Below::Child(child) }
    }
}
