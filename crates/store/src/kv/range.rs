//! Range requests: selecting, filtering, sorting and cutting, in etcd's order.
//!
//! A limit cuts what is left after filtering and sorting, with one exception that clients of etcd
//! may know: with a sort target but no sort order, the keys up to the limit are taken in key order
//! first, and one more, and only they are sorted, ascending.

use std::cmp::Ordering;

use quoin_api::error::Error;
use quoin_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use quoin_api::etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader};
use quoin_api::mvccpb::KeyValue;

use super::Failure;
use super::reader::{Found, Reader, Span};
use crate::check::{has_key_order, has_revision_filters};

impl<'a> Reader<'a> {
    /// Answers a range. Of the header only the revision is filled.
    pub(crate) fn range(&self, request: &'a RangeRequest) -> Result<RangeResponse, Failure> {
        let at = self.resolve(request.revision)?;
        let span = Span::new(&request.key, &request.range_end);
        let mut response = RangeResponse {
            header: Some(ResponseHeader { revision: self.revision, ..ResponseHeader::default() }),
            ..RangeResponse::default()
        };
        if request.count_only {
            response.count = counted(self.count(span, at));
            return Ok(response);
        }
        let order = Order::of(request)?;
        let (found, total) = self.select(request, span, at, &order);
        let is_bare = request.keys_only && order.target != SortTarget::Value;
        let mut pairs: Vec<KeyValue> = if is_bare && at == self.revision {
            found.iter().map(Found::bare_pair).collect()
        } else {
            let revisions: Vec<_> = found.iter().map(|found| found.revision).collect();
            self.pairs(&revisions)?
        };
        if is_bare {
            pairs.iter_mut().for_each(strip);
        }
        if has_revision_filters(request) {
            pairs.retain(|pair| passes(request, pair));
        }
        order.sort(&mut pairs);
        if let Some(limit) = limit_of(request)
            && pairs.len() > limit
        {
            pairs.truncate(limit);
            response.more = true;
        }
        if request.keys_only {
            pairs.iter_mut().for_each(|pair| pair.value.clear());
        }
        response.kvs = pairs;
        response.count = counted(total);
        Ok(response)
    }

    /// The keys to look at, and how many the span has in all.
    fn select(
        &self,
        request: &RangeRequest,
        span: Span<'a>,
        at: i64,
        order: &Order,
    ) -> (Vec<Found<'a>>, usize) {
        let limit = limit_of(request).map(|limit| limit.saturating_add(1));
        let cut = limit.filter(|_| !has_revision_filters(request));
        match (cut, span) {
            (Some(cut), Span::Range(from, end)) if at == self.revision => {
                let total = self.count(span, at);
                if order.is_descending_by_key() {
                    // The last keys only: the sort puts them into their order.
                    let before = self.index.rank(from).live + total.saturating_sub(cut);
                    let taken = if total == 0 { 0 } else { cut };
                    let slots = self.index.live_from(before, end).take(taken);
                    return (slots.filter_map(|slot| Found::at(slot, at)).collect(), total);
                }
                let cut = if has_key_order(request) { cut } else { total };
                (self.found(span, at).take(cut).collect(), total)
            }
            (Some(cut), Span::Key(_) | Span::Range(..)) if has_key_order(request) => {
                let mut found = self.found(span, at);
                let taken: Vec<_> = found.by_ref().take(cut).collect();
                let total = taken.len() + found.count();
                (taken, total)
            }
            (Some(_) | None, Span::Key(_) | Span::Range(..)) => {
                let all: Vec<_> = self.found(span, at).collect();
                let total = all.len();
                (all, total)
            }
        }
    }
}

/// How an answer is sorted.
struct Order {
    target: SortTarget,
    order: SortOrder,
}

impl Order {
    /// A target without an order means ascending.
    fn of(request: &RangeRequest) -> Result<Self, Error> {
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

    fn is_descending_by_key(&self) -> bool {
        self.target == SortTarget::Key && self.order == SortOrder::Descend
    }

    /// Equal ones stay in key order; etcd promises no order for them.
    fn sort(&self, pairs: &mut [KeyValue]) {
        match (self.target, self.order) {
            (_, SortOrder::None) | (SortTarget::Key, SortOrder::Ascend) => {}
            (SortTarget::Key, SortOrder::Descend) => pairs.reverse(),
            (_, SortOrder::Ascend) => pairs.sort_by(|left, right| self.compare(left, right)),
            (_, SortOrder::Descend) => pairs.sort_by(|left, right| self.compare(right, left)),
        }
    }

    fn compare(&self, left: &KeyValue, right: &KeyValue) -> Ordering {
        match self.target {
            SortTarget::Key => left.key.cmp(&right.key),
            SortTarget::Version => left.version.cmp(&right.version),
            SortTarget::Create => left.create_revision.cmp(&right.create_revision),
            SortTarget::Mod => left.mod_revision.cmp(&right.mod_revision),
            SortTarget::Value => left.value.cmp(&right.value),
        }
    }
}

/// The limit that a request sets, if it sets one.
fn limit_of(request: &RangeRequest) -> Option<usize> {
    let limit = usize::try_from(request.limit).ok()?;
    (limit > 0).then_some(limit)
}

/// Whether a key passes all filters that the request sets.
fn passes(request: &RangeRequest, pair: &KeyValue) -> bool {
    let passes = |min: i64, number: i64, max: i64| {
        (max == 0 || number <= max) && (min == 0 || number >= min)
    };
    passes(request.min_mod_revision, pair.mod_revision, request.max_mod_revision)
        && passes(request.min_create_revision, pair.create_revision, request.max_create_revision)
}

/// Leaves what etcd 3.7 answers to a request for keys only from its index, which has no leases.
fn strip(pair: &mut KeyValue) {
    pair.value.clear();
    pair.lease = 0;
}

fn counted(count: usize) -> i64 {
    i64::try_from(count).expect("there are fewer keys than bytes of memory")
}
