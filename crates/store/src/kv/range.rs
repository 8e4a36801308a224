//! Range requests: which keys to look at, in etcd's order.
//!
//! A limit cuts what is left after filtering and sorting, with one exception that clients of etcd
//! may know: with a sort target but no sort order, the keys up to the limit are taken in key order
//! first, and one more, and only they are sorted, ascending.
//!
//! Not here: filtering, sorting and cutting what was found (`pick`).

use quoin_api::error::Error;
use quoin_api::etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader};

use super::bound::{Bound, Halt};
use super::pending::PendingRange;
use super::pick::{Order, Picks, limit_of};
use super::reader::{Found, Reader, Span};
use super::{Failure, Pending};
use crate::check::{has_key_order, has_revision_filters};

impl<'a> Reader<'a> {
    /// Answers a range. Of the header only the revision is filled.
    pub(crate) fn range(&self, request: &'a RangeRequest) -> Result<RangeResponse, Failure> {
        let mut bound = Bound::NONE;
        self.range_within(request, &mut bound).map_err(Halt::unbounded)
    }

    /// The same, unless that takes more than is left of the bound.
    pub(crate) fn range_within(
        &self,
        request: &'a RangeRequest,
        bound: &mut Bound,
    ) -> Result<RangeResponse, Halt> {
        let at = self.resolve(request.revision)?;
        let mut response = RangeResponse {
            header: Some(ResponseHeader { revision: self.revision, ..ResponseHeader::default() }),
            ..RangeResponse::default()
        };
        if request.count_only {
            let span = Span::new(&request.key, &request.range_end);
            response.count = counted(self.count_within(span, at, bound)?);
            return Ok(response);
        }
        let mut picks = Picks::new(*self, request, Order::of(request)?, bound);
        response.count = counted(self.offer(request, at, &mut picks)?);
        (response.kvs, response.more) = picks.finish()?;
        Ok(response)
    }

    /// The first keys of a range that is neither sorted nor filtered: as many as take up to so many
    /// bytes, one at least. Keys behind them are not counted.
    pub(crate) fn page_within(
        &self,
        request: &'a RangeRequest,
        bytes_max: usize,
        bound: &mut Bound,
    ) -> Result<RangeResponse, Halt> {
        let at = self.resolve(request.revision)?;
        let limit = limit_of(request).unwrap_or(usize::MAX);
        let mut picks = Picks::new(*self, request, Order::of(request)?, bound);
        let (mut keys, mut bytes, mut more) = (0, 0_usize, false);
        for looked in self.looked(Span::new(&request.key, &request.range_end), at) {
            if let Some(found) = &looked {
                bytes = bytes.saturating_add(picks.bytes_of(found));
                more = keys >= limit || (bytes > bytes_max && keys > 0);
                keys += 1;
            }
            if more {
                break;
            }
            picks.offer(looked)?;
        }
        let (kvs, _) = picks.finish()?;
        let header = Some(ResponseHeader { revision: self.revision, ..ResponseHeader::default() });
        Ok(RangeResponse { header, kvs, more, count: 0 })
    }

    /// Bytes that the answer to a range takes while it is made, from the lengths of what is stored:
    /// its own, and those of everything that is held to sort it.
    pub(crate) fn range_bytes(&self, request: &'a RangeRequest) -> Result<usize, Failure> {
        let at = self.resolve(request.revision)?;
        if request.count_only {
            return Ok(0);
        }
        let (order, mut bound) = (Order::of(request)?, Bound::NONE);
        let mut picks = Picks::measuring(*self, request, order, &mut bound);
        self.offer(request, at, &mut picks).map_err(Halt::unbounded)?;
        picks.measured().map_err(Halt::unbounded)
    }

    /// Refuses a range that [`Self::range`] refuses, without looking at keys.
    pub(crate) fn check_range(&self, request: &RangeRequest) -> Result<(), Error> {
        self.resolve(request.revision)?;
        if !request.count_only {
            Order::of(request)?;
        }
        Ok(())
    }

    /// A range that was checked, to be answered later as it would be now.
    pub(crate) fn pending_range(&self, request: &RangeRequest) -> Pending {
        let (index, revision, request) = (self.index.clone(), self.revision, request.clone());
        Pending::Range(Box::new(PendingRange { index, revision, request }))
    }

    /// Offers the keys that may be in the answer, in ascending order. Returns how many the span has
    /// in all.
    fn offer(
        &self,
        request: &'a RangeRequest,
        at: i64,
        picks: &mut Picks<'a, '_>,
    ) -> Result<usize, Halt> {
        let span = Span::new(&request.key, &request.range_end);
        let first = limit_of(request).map(|limit| limit.saturating_add(1));
        let cut = first.filter(|_| !has_revision_filters(request));
        if let (Some(cut), Span::Range(from, end)) = (cut, span)
            && at == self.revision
            && picks.order().is_descending_by_key()
        {
            // The last keys only: what comes before them in the tree is counted, not visited.
            let total = self.index.count_range(from, end).live;
            let before = self.index.rank(from).live + total.saturating_sub(cut);
            for slot in self.index.live_from(before, end).take(total.min(cut)) {
                picks.offer(Found::at(slot, at))?;
            }
            return Ok(total);
        }
        let cut = cut.filter(|_| has_key_order(request)).unwrap_or(usize::MAX);
        let (mut keys, mut total) = (self.looked(span, at), 0);
        while total < cut {
            let Some(looked) = keys.next() else { return Ok(total) };
            total += usize::from(looked.is_some());
            picks.offer(looked)?;
        }
        match span {
            // The tree knows how many there are.
            Span::Range(from, end) if at == self.revision => {
                Ok(self.index.count_range(from, end).live)
            }
            Span::Key(_) | Span::Range(..) => {
                for looked in keys {
                    picks.pass_over()?;
                    total += usize::from(looked.is_some());
                }
                Ok(total)
            }
        }
    }

    /// How many keys a reader at main revision `at` finds.
    fn count_within(&self, span: Span<'a>, at: i64, bound: &mut Bound) -> Result<usize, Halt> {
        if let Span::Range(from, end) = span
            && at == self.revision
        {
            return Ok(self.index.count_range(from, end).live);
        }
        let mut total = 0;
        for looked in self.looked(span, at) {
            bound.look(1)?;
            total += usize::from(looked.is_some());
        }
        Ok(total)
    }
}

fn counted(count: usize) -> i64 {
    i64::try_from(count).expect("there are fewer keys than bytes of memory")
}
