//! The watches of one stream as a value: which are running, and what each has seen.
//!
//! Invariants:
//! - One watch is created at a time, because the answer does not say which one it is for.
//! - The request of a watch always holds the revision at which it would have to go on.
//! - Parts of one answer are put together before anything of it is delivered, up to the limit
//!   for a single answer.
//!
//! Not here: sending and receiving, and waiting (see `watch`).

use std::collections::{BTreeMap, VecDeque};

use prost::Message;
use quoin_api::error::Error as Known;
use quoin_api::etcdserverpb as pb;
use quoin_api::etcdserverpb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tonic::{Code, Status};

use super::WatchUpdate;
use crate::Error;

/// The ID of a watch that is meant for all of them, or that was refused.
const ALL: i64 = -1;

/// An update on its way to a watch.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) key: u64,
    pub(super) updates: mpsc::Sender<WatchUpdate>,
    pub(super) update: WatchUpdate,
}

#[derive(Debug)]
struct Entry {
    request: pb::WatchCreateRequest,
    updates: mpsc::Sender<WatchUpdate>,
    /// The ID on the stream; none while the watch is not running.
    id: Option<i64>,
    /// The parts of an answer that came so far.
    parts: Option<pb::WatchResponse>,
}

/// The watches of one stream.
#[derive(Debug)]
pub(super) struct Table {
    watches: BTreeMap<u64, Entry>,
    /// Running watches by their IDs on the stream.
    keys: BTreeMap<i64, u64>,
    /// Watches that wait to be created. The request of the first one has been sent.
    queue: VecDeque<u64>,
    requests: VecDeque<pb::WatchRequest>,
    /// Progress is to be asked for when all watches are running.
    progress_wanted: bool,
    /// The largest size of an answer in bytes.
    limit: usize,
}

impl Table {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            watches: BTreeMap::new(),
            keys: BTreeMap::new(),
            queue: VecDeque::new(),
            requests: VecDeque::new(),
            progress_wanted: false,
            limit,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    pub(super) fn add(
        &mut self,
        key: u64,
        request: pb::WatchCreateRequest,
        updates: mpsc::Sender<WatchUpdate>,
    ) {
        self.watches.insert(key, Entry { request, updates, id: None, parts: None });
        self.queue.push_back(key);
        if self.queue.len() == 1 {
            self.create_first();
        }
    }

    /// Forgets a watch that nobody holds any more. One that is being created keeps its place in
    /// the queue, because an answer is on its way.
    pub(super) fn remove(&mut self, key: u64) {
        if let Some(Entry { id: Some(id), .. }) = self.watches.remove(&key) {
            self.keys.remove(&id);
            self.cancel(id);
        }
    }

    /// Asks how far the watches are. The answer reaches only those that are running, so it waits
    /// for those that are not yet.
    pub(super) fn ask_progress(&mut self) {
        self.progress_wanted = !self.is_empty();
        self.ask_wanted_progress();
    }

    fn ask_wanted_progress(&mut self) {
        if self.progress_wanted && self.queue.is_empty() {
            self.progress_wanted = false;
            let progress = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
            self.ask(progress);
        }
    }

    /// Forgets the stream before and lets all watches be created on a new one.
    pub(super) fn begin(&mut self) {
        self.keys.clear();
        self.requests.clear();
        for entry in self.watches.values_mut() {
            (entry.id, entry.parts) = (None, None);
        }
        self.queue = self.watches.keys().copied().collect();
        self.create_first();
    }

    /// Returns a request that is to be sent.
    pub(super) fn next_request(&mut self) -> Option<pb::WatchRequest> {
        self.requests.pop_front()
    }

    /// Ends all watches.
    pub(super) fn end_all(&mut self, error: &Error) -> Vec<Delivery> {
        self.queue.clear();
        self.keys.clear();
        let end = |(key, entry): (u64, Entry)| {
            let response = pb::WatchResponse {
                header: Some(pb::ResponseHeader::default()),
                canceled: true,
                ..pb::WatchResponse::default()
            };
            let update = WatchUpdate { response, error: Some(error.clone()) };
            Delivery { key, updates: entry.updates, update }
        };
        std::mem::take(&mut self.watches).into_iter().map(end).collect()
    }

    /// Takes a message of the server in and returns what it means for the watches.
    pub(super) fn accept(&mut self, response: pb::WatchResponse) -> Vec<Delivery> {
        if response.created {
            return self.created(response).into_iter().collect();
        }
        if response.canceled {
            let key = self.keys.remove(&response.watch_id);
            return key.and_then(|key| self.end(key, response)).into_iter().collect();
        }
        if response.watch_id == ALL && response.events.is_empty() {
            let keys: Vec<u64> = self.keys.values().copied().collect();
            return keys.into_iter().filter_map(|key| self.update(key, response.clone())).collect();
        }
        // The ID of no watch: one that was cancelled while events were on their way.
        let key = self.keys.get(&response.watch_id).copied();
        key.and_then(|key| self.update(key, response)).into_iter().collect()
    }

    fn created(&mut self, response: pb::WatchResponse) -> Option<Delivery> {
        let key = self.queue.pop_front()?;
        let mut end = None;
        if response.canceled || response.watch_id == ALL {
            end = self.end(key, response);
        } else if let Some(entry) = self.watches.get_mut(&key) {
            entry.id = Some(response.watch_id);
            if entry.request.start_revision == 0 {
                entry.request.start_revision = revision(&response).saturating_add(1);
            }
            self.keys.insert(response.watch_id, key);
        } else {
            self.cancel(response.watch_id);
        }
        self.create_first();
        end
    }

    /// The last update of a watch that the server ended.
    fn end(&mut self, key: u64, response: pb::WatchResponse) -> Option<Delivery> {
        let entry = self.watches.remove(&key)?;
        let error = if response.compact_revision != 0 {
            Error::Server(Known::Compacted)
        } else if response.cancel_reason.is_empty() {
            Error::Server(Known::FutureRevision)
        } else {
            Status::failed_precondition(response.cancel_reason.clone()).into()
        };
        let update = WatchUpdate { response, error: Some(error) };
        Some(Delivery { key, updates: entry.updates, update })
    }

    /// Events or a progress notification for one watch; none while parts are missing.
    fn update(&mut self, key: u64, response: pb::WatchResponse) -> Option<Delivery> {
        let entry = self.watches.get_mut(&key)?;
        let is_part = response.fragment;
        let response = match entry.parts.take() {
            None => response,
            Some(mut parts) => {
                parts.events.extend(response.events);
                parts.fragment = is_part;
                parts
            }
        };
        if is_part {
            let size = response.encoded_len();
            if size > self.limit {
                return self.refuse(key, response, size);
            }
            entry.parts = Some(response);
            return None;
        }
        let last = response.events.last().and_then(|event| event.kv.as_ref());
        let seen = last.map_or_else(|| revision(&response), |pair| pair.mod_revision);
        // A watch that begins in the future stays there, however far the others are.
        let next = seen.saturating_add(1).max(entry.request.start_revision);
        entry.request.start_revision = next;
        let updates = entry.updates.clone();
        Some(Delivery { key, updates, update: WatchUpdate { response, error: None } })
    }

    /// Ends a watch whose answer is beyond the limit.
    fn refuse(&mut self, key: u64, parts: pb::WatchResponse, size: usize) -> Option<Delivery> {
        let updates = self.watches.get(&key)?.updates.clone();
        self.remove(key);
        let message = format!("grpc: received message larger than max ({size} vs. {})", self.limit);
        let error = Error::Status { code: Code::ResourceExhausted, message };
        let response = pb::WatchResponse { canceled: true, events: Vec::new(), ..parts };
        Some(Delivery { key, updates, update: WatchUpdate { response, error: Some(error) } })
    }

    /// Asks for the watch that is first in the queue, passing over those that are gone.
    fn create_first(&mut self) {
        while let Some(key) = self.queue.front() {
            if let Some(entry) = self.watches.get(key) {
                let create = RequestUnion::CreateRequest(entry.request.clone());
                return self.ask(create);
            }
            self.queue.pop_front();
        }
        self.ask_wanted_progress();
    }

    fn cancel(&mut self, watch_id: i64) {
        self.ask(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id }));
    }

    fn ask(&mut self, request: RequestUnion) {
        self.requests.push_back(pb::WatchRequest { request_union: Some(request) });
    }
}

fn revision(response: &pb::WatchResponse) -> i64 {
    response.header.map_or(0, |header| header.revision)
}

#[cfg(test)]
mod tests;
