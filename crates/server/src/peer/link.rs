//! What is known of one peer: its addresses, whether it can be reached, what went to and fro.
//!
//! All tasks of a peer share one link. It is active while the last thing that happened on any of
//! its connections was a success.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quoin_api::raftpb::Message;

use super::urls::{PeerUrl, UrlPicker};
use super::{Rejected, Shared, UrlError, codec, id_text, limits, locked};
use crate::log::Record;
use crate::record;

/// One peer, as its tasks know it.
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) traffic: Traffic,
    /// The appends sent to the peer.
    appends: Mutex<FollowerStats>,
    picker: Mutex<UrlPicker>,
    active_since: Mutex<Option<Instant>>,
    drops: Mutex<Drops>,
}

/// Dropped messages, so that not each of them becomes a log line.
#[derive(Debug, Default)]
struct Drops {
    logged_at: Option<Instant>,
    unlogged: u64,
}

/// What went to and fro, for the metrics of the same names.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    sent_failures: AtomicU64,
    received_failures: AtomicU64,
    disconnected: AtomicU64,
}

/// The state of one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerReport {
    /// The peer's member ID.
    pub id: u64,
    /// When the peer became reachable, if it is.
    pub active_since: Option<Instant>,
    /// Bytes sent to the peer.
    pub sent_bytes: u64,
    /// Bytes received from the peer.
    pub received_bytes: u64,
    /// Messages that could not be sent.
    pub sent_failures: u64,
    /// Messages that arrived and could not be taken.
    pub received_failures: u64,
    /// How often the peer became unreachable.
    pub disconnected: u64,
}

/// How long it took to hand appends to the network, as etcd's v2 API shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FollowerStats {
    /// Appends that were sent.
    pub successes: u64,
    /// Appends that could not be sent.
    pub failures: u64,
    /// The last one, in milliseconds.
    pub current_ms: f64,
    /// The mean in milliseconds.
    pub average_ms: f64,
    /// The shortest in milliseconds; 2^63 before the first.
    pub minimum_ms: f64,
    /// The longest in milliseconds.
    pub maximum_ms: f64,
    average_square: f64,
}

impl Default for FollowerStats {
    fn default() -> Self {
        /// Two to the power of 63.
        const ENDLESS: f64 = 9_223_372_036_854_775_808.0;
        Self {
            successes: 0,
            failures: 0,
            current_ms: 0.0,
            average_ms: 0.0,
            minimum_ms: ENDLESS,
            maximum_ms: 0.0,
            average_square: 0.0,
        }
    }
}

impl FollowerStats {
    /// The standard deviation in milliseconds.
    pub fn deviation_ms(&self) -> f64 {
        // Rounding may leave a little less than nothing.
        (self.average_square - self.average_ms * self.average_ms).max(0.0).sqrt()
    }

    fn sent(&mut self, took: Duration) {
        let before = self.successes as f64;
        self.successes += 1;
        let now = self.successes as f64;
        let took_ms = took.as_secs_f64() * 1000.0;
        self.current_ms = took_ms;
        self.maximum_ms = self.maximum_ms.max(took_ms);
        self.minimum_ms = self.minimum_ms.min(took_ms);
        self.average_ms = (before * self.average_ms + took_ms) / now;
        self.average_square = (before * self.average_square + took_ms * took_ms) / now;
    }
}

impl Link {
    pub(super) fn new(shared: Arc<Shared>, id: u64, urls: &[String]) -> Result<Self, UrlError> {
        Ok(Self {
            id,
            shared,
            traffic: Traffic::default(),
            appends: Mutex::default(),
            picker: Mutex::new(UrlPicker::new(urls)?),
            active_since: Mutex::new(None),
            drops: Mutex::default(),
        })
    }

    /// Replaces the addresses; returns whether they are others.
    pub(super) fn update(&self, urls: &[String]) -> Result<bool, UrlError> {
        let new = UrlPicker::new(urls)?;
        let mut picker = locked(&self.picker);
        if picker.has_urls_of(&new) {
            return Ok(false);
        }
        *picker = new;
        Ok(true)
    }

    pub(super) fn pick(&self) -> PeerUrl {
        locked(&self.picker).pick()
    }

    pub(super) fn url_failed(&self, url: &PeerUrl) {
        locked(&self.picker).unreachable(url);
    }

    pub(super) fn active_since(&self) -> Option<Instant> {
        *locked(&self.active_since)
    }

    /// Notes that the peer was reached.
    pub(super) fn activate(&self) {
        let mut since = locked(&self.active_since);
        if since.is_some() {
            return;
        }
        *since = Some(Instant::now());
        drop(since);
        let id = id_text(self.id);
        self.shared.log(&record!(Info, "peer became active", "peer-id" => id));
    }

    /// Notes that the peer could not be reached: `action` failed on the connection `source`.
    pub(super) fn deactivate(&self, source: &str, action: &str, reason: &dyn Display) {
        let was_active = locked(&self.active_since).take().is_some();
        let error = format!("failed to {action} {:x} on {source} ({reason})", self.id);
        let id = id_text(self.id);
        let record = if was_active {
            Traffic::add(&self.traffic.disconnected, 1);
            record!(Warn, "peer became inactive (message send to peer failed)", "peer-id" => id)
        } else {
            record!(Debug, "peer deactivated again", "peer-id" => id)
        };
        self.shared.log(&record.with("error", error));
    }

    /// Hands a message that arrived to the member.
    pub(super) fn deliver(&self, message: Message) {
        let kind = codec::type_name(&message);
        let (from, to) = (message.from, message.to);
        let inbound = &self.shared.inbound;
        let error = if inbound.is_removed(from) {
            "cannot process message from removed member".to_owned()
        } else if to != self.shared.options.node_id {
            "cannot process message to mismatch member".to_owned()
        } else {
            match inbound.message(message) {
                Ok(()) => return,
                Err(Rejected::QueueFull) => return self.dropped_on_arrival(kind, from),
                Err(Rejected::Failed(error)) => error,
            }
        };
        Traffic::add(&self.traffic.received_failures, 1);
        self.log_drop(record!(
            Warn, "failed to process Raft message",
            "message-type" => kind,
            "error" => error,
        ));
    }

    fn dropped_on_arrival(&self, kind: &'static str, from: u64) {
        Traffic::add(&self.traffic.received_failures, 1);
        self.log_drop(record!(
            Warn,
            "dropped internal Raft message since receiving buffer is full (overloaded network)",
            "message-type" => kind,
            "from" => id_text(from),
            "remote-peer-active" => self.active_since().is_some(),
        ));
    }

    /// Notes that a message found the queue called `path` full.
    pub(super) fn dropped_on_departure(&self, kind: &'static str, path: &'static str) {
        self.log_drop(record!(
            Warn,
            "dropped internal Raft message since sending buffer is full",
            "message-type" => kind,
            "from" => id_text(self.shared.options.node_id),
            "remote-peer-name" => path,
            "remote-peer-active" => self.active_since().is_some(),
        ));
    }

    /// Notes that a message could not be sent: consensus hears of it.
    pub(super) fn lost(&self, was_snapshot: bool) {
        Traffic::add(&self.traffic.sent_failures, 1);
        self.shared.inbound.unreachable(self.id);
        if was_snapshot {
            self.shared.inbound.snapshot_status(self.id, false);
        }
    }

    /// Notes that an append was sent, or not.
    pub(super) fn append_sent(&self, took: Option<Duration>) {
        let mut appends = locked(&self.appends);
        match took {
            Some(took) => appends.sent(took),
            None => appends.failures += 1,
        }
    }

    pub(super) fn follower_stats(&self) -> FollowerStats {
        *locked(&self.appends)
    }

    pub(super) fn sent(&self, bytes: u64) {
        Traffic::add(&self.traffic.sent_bytes, bytes);
    }

    pub(super) fn received(&self, bytes: u64) {
        Traffic::add(&self.traffic.received_bytes, bytes);
    }

    pub(super) fn report(&self) -> PeerReport {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PeerReport {
            id: self.id,
            active_since: self.active_since(),
            sent_bytes: read(&self.traffic.sent_bytes),
            received_bytes: read(&self.traffic.received_bytes),
            sent_failures: read(&self.traffic.sent_failures),
            received_failures: read(&self.traffic.received_failures),
            disconnected: read(&self.traffic.disconnected),
        }
    }

    /// Logs a line that names both ends, and an error, if there is one, behind them.
    pub(super) fn log(&self, mut record: Record) {
        let error = record.fields.pop_if(|(key, _)| *key == "error");
        let (local, remote) = (id_text(self.shared.options.node_id), id_text(self.id));
        record = record.with("local-member-id", local).with("remote-peer-id", remote);
        record.fields.extend(error);
        self.shared.log(&record);
    }

    /// Logs a line that names the peer alone, and an error, if there is one, behind it.
    pub(super) fn log_peer(&self, mut record: Record) {
        let error = record.fields.pop_if(|(key, _)| *key == "error");
        record = record.with("remote-peer-id", id_text(self.id));
        record.fields.extend(error);
        self.shared.log(&record);
    }

    /// Logs that a message was dropped, once in a while: a queue that is full stays full for
    /// thousands of messages.
    fn log_drop(&self, mut record: Record) {
        let mut drops = locked(&self.drops);
        let now = Instant::now();
        if drops.logged_at.is_some_and(|at| now - at < limits::DROP_LOG_INTERVAL) {
            drops.unlogged += 1;
            return;
        }
        drops.logged_at = Some(now);
        let unlogged = std::mem::take(&mut drops.unlogged);
        drop(drops);
        let error = record.fields.pop_if(|(key, _)| *key == "error");
        record = record.with("dropped-since-last-log", unlogged);
        record.fields.extend(error);
        self.log(record);
    }
}

impl Traffic {
    fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}
