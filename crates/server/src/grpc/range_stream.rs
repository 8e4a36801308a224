//! RangeStream: a range in chunks, all at the revision of the first.
//!
//! The chunk size starts small, so that the first keys leave at once, and then follows the bytes
//! that the last chunk had. Memory is one chunk, whatever the range.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use quoin_api::etcdserverpb::{RangeRequest, RangeResponse, RangeStreamResponse};
use quoin_store::View;
use tonic::Status;

use super::kv::look;
use crate::member::Member;

/// Keys in the first chunk.
const FIRST_CHUNK_KEYS: i64 = 10;

/// A checked request for a range in chunks.
pub(super) struct RangeChunks {
    member: Arc<Member>,
    request: RangeRequest,
}

impl RangeChunks {
    pub(super) fn new(member: &Arc<Member>, request: RangeRequest) -> Self {
        Self { member: Arc::clone(member), request }
    }

    pub(super) fn serializable(&self) -> bool {
        self.request.serializable
    }

    /// Returns the chunks of the range as seen in this view. The view does not move, so a request
    /// for the latest revision stays one.
    pub(super) fn over(self, view: Arc<View>) -> Chunks {
        let Self { member, request } = self;
        let wanted = if request.limit > 0 { request.limit } else { i64::MAX };
        Chunks { member, view, request, wanted, chunk_keys: FIRST_CHUNK_KEYS, sent: 0, done: false }
    }
}

/// The chunks of one range. The header, `more` and `count` are in the last one only.
pub(super) struct Chunks {
    member: Arc<Member>,
    view: Arc<View>,
    request: RangeRequest,
    /// Keys still wanted.
    wanted: i64,
    chunk_keys: i64,
    sent: i64,
    done: bool,
}

impl Iterator for Chunks {
    type Item = Result<RangeStreamResponse, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let chunk = self.chunk();
        self.done |= chunk.is_err();
        Some(chunk)
    }
}

impl Chunks {
    fn chunk(&mut self) -> Result<RangeStreamResponse, Status> {
        self.request.limit = self.chunk_keys.min(self.wanted);
        let mut response = look(&self.member, &self.view, &self.request)?;
        let keys = i64::try_from(response.kvs.len()).unwrap_or(i64::MAX);
        let remaining = response.count - keys;
        self.sent += keys;
        self.wanted -= keys;
        self.done = self.request.count_only || !response.more || self.wanted == 0;
        if self.done {
            response.count = self.sent + remaining;
            self.member.fill(&mut response.header);
        } else {
            self.continue_after(&response);
            response = RangeResponse { kvs: response.kvs, ..RangeResponse::default() };
        }
        Ok(RangeStreamResponse { range_response: Some(response) })
    }

    /// Moves the start behind the last key, and the chunk size towards the size of a request.
    fn continue_after(&mut self, response: &RangeResponse) {
        let last = response.kvs.last().expect("a range with more to come has returned keys");
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
