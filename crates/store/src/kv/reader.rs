//! Reading the key space at its newest revision or at an older one.

use bytes::Bytes;
use quoin_api::error::Error;
use quoin_api::mvccpb::KeyValue;

use crate::checkpoint::CheckpointError;
use crate::history::{HistoryView, Located};
use crate::index::{Index, KeyState, Latest};
use crate::record;
use crate::revision::Revision;
use crate::tree::Slot;

/// The key space as it is at one revision, borrowed.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) index: &'a Index,
    pub(crate) history: &'a HistoryView,
    /// The newest revision that this reader sees.
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
}

/// The keys that a request names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Span<'a> {
    /// One key.
    Key(&'a [u8]),
    /// The keys from the first to before the second, or to the end of all keys.
    Range(&'a [u8], Option<&'a [u8]>),
}

impl<'a> Span<'a> {
    /// Reads the key and the end of a request: no end means one key, the byte 0 means no limit.
    pub(crate) fn new(key: &'a [u8], range_end: &'a [u8]) -> Self {
        match range_end {
            [] => Self::Key(key),
            [0] => Self::Range(key, None),
            end => Self::Range(key, Some(end)),
        }
    }
}

/// A key that a reader finds, where it is stored.
pub(crate) struct Found<'a> {
    key: Key<'a>,
    latest: Latest,
    pub(crate) revision: Revision,
}

enum Key<'a> {
    Given(&'a [u8]),
    Stored(Slot<'a, KeyState>),
}

impl<'a> Found<'a> {
    /// What a reader at main revision `at` finds, if anything.
    pub(crate) fn at(slot: Slot<'a, KeyState>, at: i64) -> Option<Self> {
        let revision = slot.visible_at(at)?;
        let latest = slot.latest();
        Some(Self { key: Key::Stored(slot), latest, revision })
    }

    /// What the index knows of what this reader sees; nothing if the key changed after that.
    pub(crate) fn latest(&self) -> Option<&Latest> {
        (self.latest.modified == self.revision).then_some(&self.latest)
    }

    /// Bytes of the key.
    pub(crate) fn key_bytes(&self) -> usize {
        match &self.key {
            Key::Given(key) => key.len(),
            Key::Stored(slot) => slot.key().len(),
        }
    }

    /// The key without its value, for a key that did not change after what this reader sees. No
    /// record has to be read.
    pub(crate) fn bare_pair(&self) -> KeyValue {
        let key = match &self.key {
            Key::Given(key) => Bytes::copy_from_slice(key),
            Key::Stored(slot) => slot.key().into(),
        };
        KeyValue {
            key,
            create_revision: self.latest.created,
            mod_revision: self.latest.modified.main,
            version: self.latest.version,
            value: Bytes::new(),
            lease: self.latest.lease,
        }
    }
}

impl<'a> Reader<'a> {
    /// The main revision to read at for a request that asks for `revision`; 0 and less mean the
    /// newest.
    pub(crate) fn resolve(&self, revision: i64) -> Result<i64, Error> {
        if revision > self.revision {
            return Err(Error::FutureRevision);
        }
        let revision = if revision <= 0 { self.revision } else { revision };
        if revision < self.compacted {
            return Err(Error::Compacted);
        }
        Ok(revision)
    }

    /// The keys that a reader at main revision `at` finds, in order.
    pub(crate) fn found(
        &self,
        span: Span<'a>,
        at: i64,
    ) -> impl Iterator<Item = Found<'a>> + use<'a> {
        self.looked(span, at).flatten()
    }

    /// The same, with a step also for each key that the reader passes over.
    pub(crate) fn looked(
        &self,
        span: Span<'a>,
        at: i64,
    ) -> impl Iterator<Item = Option<Found<'a>>> + use<'a> {
        let newest = at == self.revision;
        let (single, range) = match span {
            Span::Key(key) => (self.index.find(key).map(|slot| (key, slot)), None),
            Span::Range(from, end) => {
                let slots = self.index.range(from, end);
                (None, Some(if newest { slots.live_only() } else { slots }))
            }
        };
        let single = single.into_iter().map(move |(key, slot)| {
            let found = Found::at(slot, at)?;
            Some(Found { key: Key::Given(key), ..found })
        });
        single.chain(range.into_iter().flatten().map(move |slot| Found::at(slot, at)))
    }

    /// The live keys at the newest revision.
    pub(crate) fn live(&self, span: Span<'a>) -> impl Iterator<Item = Latest> + use<'a> {
        let (single, range) = match span {
            Span::Key(key) => (self.index.find(key), None),
            Span::Range(from, end) => (None, Some(self.index.range(from, end).live_only())),
        };
        let slots = single.into_iter().chain(range.into_iter().flatten());
        slots.filter(Slot::is_live).map(|slot| slot.latest())
    }

    /// The live keys at the newest revision, by name.
    pub(crate) fn keys(&self, span: Span<'a>) -> Vec<Vec<u8>> {
        match span {
            Span::Key(key) => self.live(span).map(|_| key.to_vec()).collect(),
            Span::Range(from, end) => {
                let slots = self.index.range(from, end).live_only();
                slots.map(|slot| slot.key()).collect()
            }
        }
    }

    /// What the changes at some revisions stored, as parts of their records.
    pub(crate) fn pairs(&self, revisions: &[Revision]) -> Result<Vec<KeyValue>, CheckpointError> {
        let located: Vec<_> = revisions.iter().map(|&it| self.history.locate(it)).collect();
        self.located_pairs(&located)
    }

    /// The same of changes whose records are located.
    pub(crate) fn located_pairs(
        &self,
        located: &[Located],
    ) -> Result<Vec<KeyValue>, CheckpointError> {
        let records = self.history.read(located)?;
        let pairs = records.iter().map(|record| record::decode(&record.bytes));
        Ok(pairs.map(|pair| pair.expect("stored records are canonical")).collect())
    }

    /// What the change at one revision stored.
    pub(crate) fn pair(&self, revision: Revision) -> Result<KeyValue, CheckpointError> {
        let record = self.history.record(revision)?;
        let record = record.expect("every revision in the index has its record");
        Ok(record::decode(&record.bytes).expect("stored records are canonical"))
    }
}
