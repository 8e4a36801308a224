//! RangeStream: a range in chunks, all at the revision of the first.
//!
//! The chunk size starts small, so that the first keys leave at once, and then follows the bytes
//! that the last chunk had. Memory is one chunk, whatever the range: a chunk ends before the key that
//! would make it longer than twice the size of a request. Keys behind the limit are counted once, for
//! the last chunk.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use prost::Message as _;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::{RangeRequest, RangeResponse, RangeStreamResponse};
use quoin_store::{Bound, View};
use tonic::Status;

use super::kv::look;
use super::large::{INLINE, Room};
use crate::member::Member;

/// Keys in the first chunk.
const FIRST_CHUNK_KEYS: i64 = 10;

/// The chunks of one range. The header and `count` are in the last one only, and `more` if the limit
/// cut something.
pub(super) struct Chunks {
    member: Arc<Member>,
    /// It does not move, so a request for the latest revision stays one.
    view: Arc<View>,
    request: RangeRequest,
    /// Keys still wanted.
    wanted: i64,
    chunk_keys: i64,
    sent: i64,
    done: bool,
}

type Item = Result<RangeStreamResponse, Status>;

impl Chunks {
    /// The chunks of a checked range as seen in a view.
    pub(super) fn new(member: Arc<Member>, view: Arc<View>, request: RangeRequest) -> Self {
        let wanted = if request.limit > 0 { request.limit } else { i64::MAX };
        Self { member, view, request, wanted, chunk_keys: FIRST_CHUNK_KEYS, sent: 0, done: false }
    }

    /// Makes one chunk after another, when the client takes it.
    pub(super) fn stream(self, room: Arc<Room>) -> impl Stream<Item = Item> + Send {
        stream::unfold(Some(self), move |chunks| {
            let room = Arc::clone(&room);
            async move { chunks?.next(&room).await }
        })
    }

    /// The next chunk, and what comes behind it: nothing behind the last one or an error.
    async fn next(mut self, room: &Room) -> Option<(Item, Option<Self>)> {
        if self.done {
            return None;
        }
        // The bytes of a chunk are bounded; the keys that are passed over or counted are not.
        let mut bound = Bound { bytes: usize::MAX, ..INLINE };
        let mut chunk = self.chunk(&mut bound);
        if matches!(chunk, Ok(None)) {
            let made = room.off_thread(move || {
                let mut bound = Bound::NONE;
                let chunk = self.chunk(&mut bound);
                (self, chunk)
            });
            match made.await {
                Ok((chunks, made)) => (self, chunk) = (chunks, made),
                Err(error) => return Some((Err(error.into()), None)),
            }
        }
        let response = match chunk {
            Ok(chunk) => chunk.unwrap_or_default(),
            Err(error) => return Some((Err(error.into()), None)),
        };
        self.sent(&response);
        Some((Ok(RangeStreamResponse { range_response: Some(response) }), Some(self)))
    }

    /// Makes a chunk, unless that takes more than is left of the bound. It may be made again.
    fn chunk(&mut self, bound: &mut Bound) -> Result<Option<RangeResponse>, Error> {
        let Self { view, request, .. } = self;
        if request.count_only {
            let counted = look(&self.member, || view.range_within(request, bound))?;
            return Ok(counted.map(|counted| self.last(counted)));
        }
        request.limit = self.chunk_keys.min(self.wanted);
        let bytes_max = self.member.limits.request_bytes.saturating_mul(2);
        let page = look(&self.member, || view.range_page_within(request, bytes_max, bound))?;
        let Some(mut page) = page else { return Ok(None) };
        let keys = keys_of(&page);
        if page.more && keys < self.wanted {
            return Ok(Some(RangeResponse { kvs: page.kvs, ..RangeResponse::default() }));
        }
        // The answer counts the keys behind its limit as well.
        let count = RangeRequest { count_only: true, ..request.clone() };
        page.count = match page.more {
            false => keys,
            true => match view.range_within(&count, bound)? {
                Some(counted) => counted.count,
                None => return Ok(None),
            },
        };
        Ok(Some(self.last(page)))
    }

    fn last(&self, mut response: RangeResponse) -> RangeResponse {
        response.count += self.sent;
        self.member.fill(&mut response.header);
        response
    }

    /// Moves the start behind the last key of a chunk, and the chunk size towards the size of a
    /// request.
    fn sent(&mut self, response: &RangeResponse) {
        self.done = response.header.is_some();
        let Some(last) = response.kvs.last() else { return };
        self.sent += keys_of(response);
        self.wanted -= keys_of(response);
        let mut start = last.key.to_vec();
        start.push(0);
        self.request.key = Bytes::from(start);
        let (bytes, target) = (response.encoded_len(), self.member.limits.request_bytes);
        if bytes < target / 2 {
            self.chunk_keys = self.chunk_keys.saturating_mul(2);
        } else if bytes > target.saturating_mul(2) {
            self.chunk_keys = (self.chunk_keys / 2).max(1);
        }
    }
}

fn keys_of(response: &RangeResponse) -> i64 {
    i64::try_from(response.kvs.len()).unwrap_or(i64::MAX)
}
