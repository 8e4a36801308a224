//! A chunk of the history, as a view has it: where it begins, and its records in one of the forms
//! that they take over time.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::{Cold, Packed, Place, Record};
use crate::revision::Revision;

/// A chunk, and where it begins, so that a search does not have to touch it.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) first: Revision,
    /// How many slots are filled. Of the last chunk the view knows it.
    pub(crate) len: usize,
    pub(crate) body: Body,
}

/// The records of a chunk.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// In memory only.
    New(Slots),
    /// In files, and in memory too as long as there is room.
    Placed { cold: Arc<Cold>, hot: Option<Arc<Packed>> },
}

/// Slots that are filled in place, by one. Those of a finished chunk are all filled.
pub(crate) type Slots = Arc<[OnceLock<Record>]>;

/// A record, or where it is to be read.
pub(crate) enum Found<'a> {
    Record(Record),
    Place(Place<'a>),
}

impl Link {
    /// A chunk whose records are in files.
    pub(crate) fn placed(cold: Cold, hot: Option<Arc<Packed>>) -> Self {
        let (first, len) = (cold.revision(0), cold.len());
        Self { first, len, body: Body::Placed { cold: Arc::new(cold), hot } }
    }

    pub(crate) fn cold(&self) -> Option<&Arc<Cold>> {
        match &self.body {
            Body::New(_) => None,
            Body::Placed { cold, .. } => Some(cold),
        }
    }

    pub(crate) fn is_in_memory(&self) -> bool {
        match &self.body {
            Body::New(_) => true,
            Body::Placed { hot, .. } => hot.is_some(),
        }
    }

    /// Whether both are the same chunk with its records in the same places.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (&self.body, &other.body) {
            (Body::New(left), Body::New(right)) => Arc::ptr_eq(left, right),
            (Body::Placed { cold: left, .. }, Body::Placed { cold: right, .. }) => {
                Arc::ptr_eq(left, right)
            }
            (Body::New(_), Body::Placed { .. }) | (Body::Placed { .. }, Body::New(_)) => false,
        }
    }

    pub(super) fn revision(&self, slot: usize) -> Revision {
        match &self.body {
            Body::New(slots) => filled(slots, slot).revision,
            Body::Placed { cold, .. } => cold.revision(slot),
        }
    }

    /// Bytes of a record.
    pub(super) fn length(&self, slot: usize) -> usize {
        match &self.body {
            Body::New(slots) => filled(slots, slot).bytes.len(),
            Body::Placed { cold, .. } => cold.length(slot),
        }
    }

    /// The bytes of a record, if they are in memory.
    pub(crate) fn bytes(&self, slot: usize) -> Option<Bytes> {
        match &self.body {
            Body::New(slots) => Some(filled(slots, slot).bytes.clone()),
            Body::Placed { hot, .. } => hot.as_ref().map(|hot| hot.bytes(slot)),
        }
    }

    pub(super) fn find(&self, slot: usize) -> Found<'_> {
        match &self.body {
            Body::New(slots) => Found::Record(filled(slots, slot).clone()),
            Body::Placed { cold, hot } => {
                let place = cold.place(slot);
                match hot {
                    Some(hot) => Found::Record(place.record(hot.bytes(slot))),
                    None => Found::Place(place),
                }
            }
        }
    }

    /// What the bytes of a placed chunk take while they are in memory too.
    pub(super) fn hot_bytes(&self) -> usize {
        match &self.body {
            Body::New(_) | Body::Placed { hot: None, .. } => 0,
            Body::Placed { hot: Some(hot), .. } => hot.size(),
        }
    }

    /// The same of a new chunk once it is placed.
    pub(crate) fn future_hot_bytes(&self, len: usize) -> usize {
        match &self.body {
            Body::New(_) => Packed::size_of(len, (0..len).map(|slot| self.length(slot)).sum()),
            Body::Placed { .. } => self.hot_bytes(),
        }
    }
}

/// A slot that a view has.
pub(crate) fn filled(slots: &[OnceLock<Record>], slot: usize) -> &Record {
    slots[slot].get().expect("slots are filled before they are seen")
}
