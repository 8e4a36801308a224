//! What a client asks: to create a watcher, to cancel one, to tell the progress of all.

use std::ops::Not as _;

use bytes::Bytes;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::watch_create_request::FilterType;
use quoin_api::etcdserverpb::watch_request::RequestUnion;
use quoin_api::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};

use super::matcher::{End, Keys};
use super::stream::{Ending, Named};
use super::{Slot, Wants, WatchHub, WatchStreamId, Watcher};

/// The ID in the answer to a request that created nothing.
const NO_WATCHER: i64 = -1;
/// The ID in a request that leaves the choice to the server.
const ANY_ID: i64 = 0;

const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
const TOO_MANY: &str = "etcdserver: too many watchers";

impl WatchHub {
    /// Does what a client asks. The newest view must have been published, so that a watcher that
    /// names no start begins after everything that its client knows.
    pub fn request(&mut self, id: WatchStreamId, request: WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(id, create),
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(id, cancel.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => {
                let newest = self.newest().revision();
                let stream = &mut self.streams[id.0];
                let has_watchers =
                    stream.watchers.values().any(|name| matches!(name, Named::Watcher(_)));
                if has_watchers {
                    stream.progress_since = Some(newest);
                    self.waiting.insert(id);
                    self.tell_progress(id);
                }
            }
            // An empty request, or one of a later release.
            None => {}
        }
    }

    fn create(&mut self, id: WatchStreamId, request: WatchCreateRequest) {
        let revision = self.newest().revision();
        match self.add_watcher(id, &request) {
            Ok((watch_id, slot)) => {
                let response =
                    WatchResponse { watch_id, created: true, ..WatchResponse::default() };
                self.control(id, revision, response);
                let compacted = self.newest().compact_revision();
                if request.start_revision > 0 && request.start_revision < compacted {
                    self.end(slot, Ending::Compacted(compacted));
                }
            }
            Err(reason) => {
                let response = WatchResponse {
                    watch_id: NO_WATCHER,
                    created: true,
                    canceled: true,
                    cancel_reason: reason.to_owned(),
                    ..WatchResponse::default()
                };
                self.control(id, revision, response);
            }
        }
    }

    /// Adds a watcher, or says why not.
    fn add_watcher(
        &mut self,
        id: WatchStreamId,
        request: &WatchCreateRequest,
    ) -> Result<(i64, Slot), &'static str> {
        let start = request.start_revision;
        if start < 0 {
            return Err(Error::Compacted.message());
        }
        let keys = keys_of(request)?;
        let (revision, begun) = (self.newest().revision(), self.begun());
        let limits = &self.options.limits;
        let has_room = self.watchers.len() < limits.watchers;
        let stream = &mut self.streams[id.0];
        if stream.watchers.len() >= limits.stream_watchers || !has_room {
            return Err(TOO_MANY);
        }
        let watch_id = if request.watch_id == ANY_ID {
            while stream.watchers.contains_key(&stream.next_id) {
                stream.next_id += 1;
            }
            stream.next_id += 1;
            stream.next_id - 1
        } else if stream.watchers.contains_key(&request.watch_id) {
            return Err(DUPLICATE_ID);
        } else {
            request.watch_id
        };
        if start > revision {
            stream.future.insert((start, watch_id));
        }
        let watcher = Watcher {
            stream: id,
            id: watch_id,
            keys,
            next: if start == 0 { revision.saturating_add(1) } else { start },
            is_behind: start > 0 && start <= begun,
            is_idle: true,
            wants: wants_of(request),
        };
        let slot = Slot::try_from(self.watchers.insert(watcher)).expect("watchers are bounded");
        stream.watchers.insert(watch_id, Named::Watcher(slot));
        let watcher = &self.watchers[slot as usize];
        if watcher.is_behind {
            stream.behind.insert(watcher, slot);
        } else {
            self.synced.insert(&watcher.keys, slot);
        }
        Ok((watch_id, slot))
    }

    fn cancel(&mut self, id: WatchStreamId, watch_id: i64) {
        match self.streams[id.0].watchers.remove(&watch_id) {
            Some(Named::Watcher(slot)) => drop(self.forget(slot)),
            Some(Named::Ended) => {}
            None => return,
        }
        let revision = self.newest().revision();
        let response = WatchResponse { watch_id, canceled: true, ..WatchResponse::default() };
        self.control(id, revision, response);
        self.tell_progress(id);
    }
}

/// Returns the keys that a request names. They are copied, because a part of a request keeps all
/// of it in memory.
fn keys_of(request: &WatchCreateRequest) -> Result<Keys, &'static str> {
    let smallest: &[u8] = &[0];
    let key = if request.key.is_empty() { smallest } else { &request.key };
    let end = match &request.range_end[..] {
        [] => return Ok(Keys::One(Bytes::copy_from_slice(key))),
        [0] => End::Never,
        end if key < end => End::Before(Bytes::copy_from_slice(end)),
        _ => return Err(EMPTY_RANGE),
    };
    Ok(Keys::Range(Bytes::copy_from_slice(key), end))
}

fn wants_of(request: &WatchCreateRequest) -> Wants {
    let filters = |filter: FilterType| request.filters.contains(&(filter as i32));
    Wants {
        puts: filters(FilterType::Noput).not(),
        deletes: filters(FilterType::Nodelete).not(),
        previous: request.prev_kv,
        fragments: request.fragment,
        progress: request.progress_notify,
    }
}
