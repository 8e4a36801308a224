//! `quoin_*`: bounds and how close they are, and what runs in the background.

use std::sync::atomic::Ordering;

use super::{Exporter, Moment, flag};
use crate::grpc::watch::Shard;
use crate::metrics::text::{Kind, Page};
use crate::version;

impl Exporter {
    pub(super) fn write_own(&self, page: &mut Page, moment: &Moment) {
        let help = "The version of quoin, and the commit it was built from.";
        page.family(Kind::Gauge, "quoin_build_info", help)
            .sample(&[("revision", version::GIT_SHA), ("version", version::QUOIN_VERSION)], 1.0);
        self.write_quota(page, moment);
        self.write_bounds(page);
        self.write_front(page);
        self.write_watch_bounds(page, moment);
        self.write_values(page, moment);
    }

    fn write_quota(&self, page: &mut Page, moment: &Moment) {
        let help = "Whether the store takes this part of its quota, in percent.";
        let mut family = page.family(Kind::Gauge, "quoin_quota_warning", help);
        for (percent, reached) in self.quota.warnings(moment.view.size()) {
            family.sample(&[("percent", &percent.to_string())], flag(reached));
        }
    }

    fn write_bounds(&self, page: &mut Page) {
        let waiting = self.member.waiting();
        for (name, value, help) in [
            (
                "quoin_requests_waiting",
                waiting.requests,
                "Requests of clients that wait for the consensus thread.",
            ),
            (
                "quoin_requests_waiting_max",
                waiting.requests_max,
                "Requests that may wait before others are refused.",
            ),
            (
                "quoin_requests_waiting_bytes",
                waiting.bytes,
                "Bytes of the requests that wait for the consensus thread.",
            ),
            (
                "quoin_requests_waiting_max_bytes",
                waiting.bytes_max,
                "Bytes of requests that may wait before others are refused.",
            ),
            (
                "quoin_peer_messages_waiting_bytes",
                waiting.peers_bytes,
                "Bytes of messages of peers that wait for the consensus thread.",
            ),
            (
                "quoin_peer_messages_waiting_max_bytes",
                waiting.peers_bytes_max,
                "Bytes of messages of peers that may wait before others are dropped.",
            ),
            (
                "quoin_large_answers_bytes",
                self.room.used_bytes(),
                "Bytes of large answers that clients have not taken yet.",
            ),
            (
                "quoin_large_answers_max_bytes",
                self.room.max_bytes(),
                "Bytes of large answers under way before others must wait.",
            ),
        ] {
            page.gauge(name, value as f64, help);
        }
    }

    fn write_front(&self, page: &mut Page) {
        let metrics = &self.member.metrics;
        let fronts = &metrics.fronts;
        let unfinished = metrics.unfinished.get();
        for (name, value, help) in [
            (
                "quoin_client_connections",
                fronts.connections.load(Ordering::Relaxed),
                "Connections of clients.",
            ),
            (
                "quoin_client_connections_max",
                fronts.connections_max.load(Ordering::Relaxed),
                "Connections of clients beyond which others are refused.",
            ),
            (
                "quoin_unfinished_requests_bytes",
                unfinished.map_or(0, |it| it.bytes() as u64),
                "Bytes of requests of which the rest has not arrived.",
            ),
            (
                "quoin_unfinished_requests_max_bytes",
                unfinished.map_or(0, |it| it.max_bytes() as u64),
                "Bytes of unfinished requests beyond which others are refused.",
            ),
        ] {
            page.gauge(name, value as f64, help);
        }
        for (name, value, help) in [
            (
                "quoin_client_connections_refused_total",
                fronts.connections_refused.load(),
                "Connections of clients that were refused because too many were open.",
            ),
            (
                "quoin_client_too_many_pings_total",
                fronts.too_many_pings.load(),
                "Connections that were ended because their clients pinged too often.",
            ),
            (
                "quoin_unfinished_requests_refused_total",
                unfinished.map_or(0, |it| it.refused()),
                "Requests that were refused because too much of others was not finished.",
            ),
        ] {
            page.counter(name, value, help);
        }
    }

    fn write_watch_bounds(&self, page: &mut Page, moment: &Moment) {
        let shards = self.member.metrics.shards().len();
        let max = Shard::limits();
        for (name, value, help) in [
            (
                "quoin_watch_queued_bytes",
                moment.watch.queued_bytes,
                "Bytes of events that wait for clients to read them.",
            ),
            (
                "quoin_watch_queued_max_bytes",
                max.hub_bytes.saturating_mul(shards),
                "Bytes of events that may wait before watchers fall behind.",
            ),
            (
                "quoin_watchers_max",
                max.watchers.saturating_mul(shards),
                "Watchers that all network threads together can have.",
            ),
        ] {
            page.gauge(name, value as f64, help);
        }
    }

    fn write_values(&self, page: &mut Page, moment: &Moment) {
        let (metrics, disk) = (&self.member.metrics.store, &self.member.metrics.disk);
        let bytes = metrics.segment_bytes.load(Ordering::Relaxed);
        let live = metrics.segment_live_bytes.load(Ordering::Relaxed);
        for (name, value, help) in [
            (
                "quoin_cached_values_bytes",
                moment.view.cached_bytes() as u64,
                "Bytes of stored records that are in memory although they are in files.",
            ),
            (
                "quoin_cached_values_max_bytes",
                self.config.memory_budget_bytes as u64,
                "The memory budget of such records.",
            ),
            (
                "quoin_unwritten_values_bytes",
                metrics.unwritten_bytes.load(Ordering::Relaxed),
                "Bytes of stored records that are in no segment file yet, and so in memory.",
            ),
            (
                "quoin_unwritten_values_max_bytes",
                metrics.unwritten_max_bytes.load(Ordering::Relaxed),
                "Bytes of such records beyond which writes wait for a checkpoint.",
            ),
            (
                "quoin_segment_files",
                metrics.segment_files.load(Ordering::Relaxed),
                "Segment files that the newest checkpoint names.",
            ),
            ("quoin_segment_live_bytes", live, "Bytes of needed records in segment files."),
            (
                "quoin_segment_dead_bytes",
                bytes.saturating_sub(live),
                "All other bytes of segment files, which rewriting them can give back.",
            ),
        ] {
            page.gauge(name, value as f64, help);
        }
        let help = "Turns of consensus in which writes waited for a checkpoint.";
        page.counter("quoin_held_turns_total", metrics.held_turns.load(), help);
        let help = "Bytes that checkpoints and rewrites of segments have written.";
        page.counter("quoin_background_written_bytes_total", disk.background_bytes.load(), help);
    }
}
