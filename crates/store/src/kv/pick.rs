//! Choosing the keys of an answer: filters, order, limit.
//!
//! The index knows the revisions, the version and the lease of a key as long as it did not change
//! after what the reader sees. Of other keys, and to sort by value, the records are read, a batch at
//! a time.
//!
//! Invariants:
//! - No value is read of a key that is not in the answer, except to sort by value, and to learn the
//!   version or the creation of a key that changed later.
//! - No more keys are kept than twice the limit and [`PRUNE_SLACK`].

use std::cmp::Ordering;

use bytes::Bytes;
use prost::encoding::encoded_len_varint;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::RangeRequest;
use quoin_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use quoin_api::mvccpb::KeyValue;

use super::bound::{Bound, Halt};
use super::reader::{Found, Reader};
use crate::revision::Revision;

/// Records that are read at a time to learn numbers or values.
const BATCH_KEYS: usize = 256;
/// Bytes of them, unless one is longer.
const BATCH_BYTES: usize = 256 << 10;
/// Keys that are kept beyond twice the limit before those that are cut are let go of.
const PRUNE_SLACK: usize = 64;
/// Bytes that the numbers of a key take in an answer without values, at most.
const NUMBERS_BYTES: usize = 48;

/// How an answer is sorted.
#[derive(Clone, Copy)]
pub(super) struct Order {
    target: SortTarget,
    order: SortOrder,
}

impl Order {
    /// A target without an order means ascending.
    pub(super) fn of(request: &RangeRequest) -> Result<Self, Error> {
        let order = SortOrder::try_from(request.sort_order);
        let target = SortTarget::try_from(request.sort_target);
        match (target, order) {
            (Ok(target), Ok(SortOrder::None)) if target != SortTarget::Key => {
                Ok(Self { target, order: SortOrder::Ascend })
            }
            (Ok(target), Ok(order)) => Ok(Self { target, order }),
            (Err(_), _) | (_, Err(_)) => Err(Error::InvalidSortOption),
        }
    }

    pub(super) fn is_descending_by_key(self) -> bool {
        self.target == SortTarget::Key && self.order == SortOrder::Descend
    }

    fn is_ascending_by_key(self) -> bool {
        self.target == SortTarget::Key && self.order != SortOrder::Descend
    }

    fn is_by_value(self) -> bool {
        self.target == SortTarget::Value
    }

    /// Equal ones stay in key order; etcd promises no order for them.
    fn compare(self, left: &Pick<'_>, right: &Pick<'_>) -> Ordering {
        let by_target = match self.target {
            SortTarget::Key => left.position.cmp(&right.position),
            SortTarget::Version | SortTarget::Create | SortTarget::Mod => {
                left.number.cmp(&right.number)
            }
            SortTarget::Value => left.value().cmp(right.value()),
        };
        let ordering = match self.order {
            SortOrder::None | SortOrder::Ascend => by_target,
            SortOrder::Descend => by_target.reverse(),
        };
        ordering.then(left.position.cmp(&right.position))
    }
}

/// A key that may be in the answer.
struct Pick<'a> {
    found: Found<'a>,
    /// How many keys were offered before.
    position: usize,
    /// The number that the answer is sorted by, if it is.
    number: i64,
    /// The pair, if the answer is sorted by value.
    pair: Option<KeyValue>,
}

impl Pick<'_> {
    fn value(&self) -> &[u8] {
        self.pair.as_ref().map_or(&[], |pair| &pair.value)
    }
}

/// The choice in progress.
pub(super) struct Picks<'a, 'b> {
    reader: Reader<'a>,
    request: &'a RangeRequest,
    order: Order,
    limit: Option<usize>,
    bound: &'b mut Bound,
    /// Whether records may have to be read to filter and to sort.
    reads: bool,
    /// Keys that wait for that, in the order in which they came.
    batch: Vec<Found<'a>>,
    batch_bytes: usize,
    /// Keys that were filtered, and those of them that passed.
    seen: usize,
    passed: usize,
    kept: Vec<Pick<'a>>,
    /// Bytes of keys in the answer that are not kept, if no more is wanted than its bytes.
    measured: Option<usize>,
}

impl<'a, 'b> Picks<'a, 'b> {
    pub(super) fn new(
        reader: Reader<'a>,
        request: &'a RangeRequest,
        order: Order,
        bound: &'b mut Bound,
    ) -> Self {
        let filters_by_creation =
            request.min_create_revision != 0 || request.max_create_revision != 0;
        let reads = filters_by_creation
            || match order.target {
                SortTarget::Version | SortTarget::Create | SortTarget::Value => true,
                SortTarget::Key | SortTarget::Mod => false,
            };
        Self {
            reader,
            request,
            order,
            limit: limit_of(request),
            bound,
            reads,
            batch: Vec::new(),
            batch_bytes: 0,
            seen: 0,
            passed: 0,
            kept: Vec::new(),
            measured: None,
        }
    }

    /// A choice that is only asked for its bytes.
    pub(super) fn measuring(
        reader: Reader<'a>,
        request: &'a RangeRequest,
        order: Order,
        bound: &'b mut Bound,
    ) -> Self {
        Self { measured: Some(0), ..Self::new(reader, request, order, bound) }
    }

    pub(super) fn order(&self) -> Order {
        self.order
    }

    /// Notes a key that is only counted.
    pub(super) fn pass_over(&mut self) -> Result<(), Halt> {
        self.bound.look(1)
    }

    /// Takes the next key into the choice; none if the reader does not see that key.
    pub(super) fn offer(&mut self, found: Option<Found<'a>>) -> Result<(), Halt> {
        self.bound.look(1)?;
        let Some(found) = found else { return Ok(()) };
        if !self.reads {
            self.settle(found, None);
            return Ok(());
        }
        // Keys whose record is not needed wait with the others, so that they stay in order.
        if self.needs_record(&found) {
            let bytes = self.reader.history.locate(found.revision).bytes;
            self.bound.take(pair_bytes(bytes))?;
            self.batch_bytes += bytes;
        }
        self.batch.push(found);
        if self.batch.len() >= BATCH_KEYS || self.batch_bytes >= BATCH_BYTES {
            self.settle_batch()?;
        }
        Ok(())
    }

    fn needs_record(&self, found: &Found<'a>) -> bool {
        let sorts_by_value = self.order.is_by_value() && self.measured.is_none();
        sorts_by_value || found.latest().is_none()
    }

    fn settle_batch(&mut self) -> Result<(), Halt> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let needed = batch.iter().filter(|found| self.needs_record(found));
        let revisions: Vec<Revision> = needed.map(|found| found.revision).collect();
        let mut pairs = self.reader.pairs(&revisions)?.into_iter();
        for found in batch {
            let pair = if self.needs_record(&found) { pairs.next() } else { None };
            self.settle(found, pair);
        }
        Ok(())
    }

    /// Filters a key, and keeps it if it may be in the answer.
    fn settle(&mut self, found: Found<'a>, pair: Option<KeyValue>) {
        let position = self.seen;
        self.seen += 1;
        let modified = found.revision.main;
        let (created, version) = match (&pair, found.latest()) {
            (Some(pair), _) => (pair.create_revision, pair.version),
            (None, Some(latest)) => (latest.created, latest.version),
            // Nothing in the request is about these numbers.
            (None, None) => (0, 0),
        };
        if !passes(self.request, modified, created) {
            return;
        }
        self.passed += 1;
        let is_in_order = self.order.is_ascending_by_key();
        if is_in_order && self.limit.is_some_and(|limit| self.kept.len() >= limit) {
            return;
        }
        // All values are held to sort by them, so all are measured.
        if let Some(measured) = self.measured
            && (self.limit.is_none() || self.order.is_by_value())
        {
            self.measured = Some(measured.saturating_add(self.bytes_of(&found)));
            return;
        }
        let number = match self.order.target {
            SortTarget::Version => version,
            SortTarget::Create => created,
            SortTarget::Mod => modified,
            SortTarget::Key | SortTarget::Value => 0,
        };
        let pair = pair.filter(|_| self.order.is_by_value());
        self.kept.push(Pick { found, position, number, pair });
        if let Some(limit) = self.limit
            && self.kept.len() >= limit.saturating_mul(2).saturating_add(PRUNE_SLACK)
        {
            self.cut();
        }
    }

    /// Sorts what is kept, and lets go of what the limit cuts.
    fn cut(&mut self) {
        let order = self.order;
        if !order.is_ascending_by_key() {
            self.kept.sort_unstable_by(|left, right| order.compare(left, right));
        }
        if let Some(limit) = self.limit {
            self.kept.truncate(limit);
        }
    }

    /// The bytes that the answer takes while it is made.
    pub(super) fn measured(mut self) -> Result<usize, Halt> {
        self.settle_batch()?;
        self.cut();
        let kept = self.kept.iter().map(|pick| self.bytes_of(&pick.found));
        Ok(kept.fold(self.measured.unwrap_or(0), usize::saturating_add))
    }

    /// What a key adds to an answer while that is made.
    pub(super) fn bytes_of(&self, found: &Found<'a>) -> usize {
        let bytes = if self.request.keys_only && !self.order.is_by_value() {
            found.key_bytes() + NUMBERS_BYTES
        } else {
            self.reader.history.locate(found.revision).bytes
        };
        pair_bytes(bytes) + size_of::<KeyValue>()
    }

    /// The pairs of the answer in order, and whether the limit cut some.
    pub(super) fn finish(mut self) -> Result<(Vec<KeyValue>, bool), Halt> {
        self.settle_batch()?;
        self.cut();
        let more = self.limit.is_some_and(|limit| self.passed > limit);
        let kept = std::mem::take(&mut self.kept);
        let pairs = if self.order.is_by_value() {
            let pairs = kept.into_iter().filter_map(|pick| pick.pair);
            pairs.map(|pair| if self.request.keys_only { bare(&pair) } else { pair }).collect()
        } else if self.request.keys_only {
            self.bare_pairs(&kept)?
        } else {
            let located = kept.iter().map(|pick| self.reader.history.locate(pick.found.revision));
            let located: Vec<_> = located.collect();
            drop(kept);
            for at in &located {
                self.bound.take(pair_bytes(at.bytes))?;
            }
            self.reader.located_pairs(&located)?
        };
        Ok((pairs, more))
    }

    /// The keys of an answer without values. As in etcd 3.7, whose index has no leases, they have
    /// none.
    fn bare_pairs(&mut self, picks: &[Pick<'a>]) -> Result<Vec<KeyValue>, Halt> {
        let mut pairs = Vec::with_capacity(picks.len());
        let (mut missing, mut bytes) = (Vec::new(), 0);
        for (at, pick) in picks.iter().enumerate() {
            self.bound.take(pick.found.key_bytes() + NUMBERS_BYTES)?;
            if pick.found.latest().is_none() {
                let located = self.reader.history.locate(pick.found.revision);
                self.bound.take(located.bytes)?;
                bytes += located.bytes;
                missing.push((at, located));
                pairs.push(KeyValue::default());
            } else {
                pairs.push(KeyValue { lease: 0, ..pick.found.bare_pair() });
            }
            if missing.len() >= BATCH_KEYS || bytes >= BATCH_BYTES || at + 1 == picks.len() {
                let located: Vec<_> = missing.iter().map(|(_, located)| *located).collect();
                let read = self.reader.located_pairs(&located)?;
                for ((at, _), pair) in missing.drain(..).zip(read) {
                    pairs[at] = KeyValue { lease: 0, ..bare(&pair) };
                }
                bytes = 0;
            }
        }
        Ok(pairs)
    }
}

/// The limit that a request sets, if it sets one.
pub(super) fn limit_of(request: &RangeRequest) -> Option<usize> {
    let limit = usize::try_from(request.limit).ok()?;
    (limit > 0).then_some(limit)
}

/// Whether a key passes all filters that the request sets.
fn passes(request: &RangeRequest, modified: i64, created: i64) -> bool {
    let passes = |min: i64, number: i64, max: i64| {
        (max == 0 || number <= max) && (min == 0 || number >= min)
    };
    passes(request.min_mod_revision, modified, request.max_mod_revision)
        && passes(request.min_create_revision, created, request.max_create_revision)
}

/// A pair without its value. The key is copied, because a part of the record would keep all of it.
fn bare(pair: &KeyValue) -> KeyValue {
    let key = Bytes::copy_from_slice(&pair.key);
    KeyValue { key, value: Bytes::new(), ..*pair }
}

/// What a record of so many bytes takes in an answer, which has it as it is.
pub(super) fn pair_bytes(record_bytes: usize) -> usize {
    1 + encoded_len_varint(record_bytes as u64) + record_bytes
}
