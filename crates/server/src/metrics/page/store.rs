//! `etcd_mvcc_*` and `etcd_debugging_mvcc_*`: keys, revisions, watchers; leases.

use std::sync::atomic::Ordering;

use quoin_store::WatchStats;

use super::{Exporter, Moment};
use crate::grpc::store_bytes;
use crate::metrics::text::Page;

impl Exporter {
    pub(super) fn write_store(&self, page: &mut Page, moment: &Moment) {
        let (view, metrics) = (&moment.view, &self.member.metrics.store);
        let bytes = store_bytes(view) as f64;
        let help = "Bytes that the status of this member calls its size.";
        page.gauge("etcd_mvcc_db_total_size_in_bytes", bytes, help);
        let help = "The same: what is dead is given back without being asked.";
        page.gauge("etcd_mvcc_db_total_size_in_use_in_bytes", bytes, help);
        let help = "Bytes of the keys and values that were put since this process began.";
        let put_bytes = metrics.put_bytes.load() as f64;
        page.gauge("etcd_debugging_mvcc_total_put_size_in_bytes", put_bytes, help);
        for (name, counter, help) in [
            ("etcd_mvcc_put_total", &metrics.puts, "Keys that were put."),
            ("etcd_mvcc_delete_total", &metrics.deletes, "Requests to delete keys."),
            ("etcd_mvcc_range_total", &metrics.ranges, "Ranges, comparisons, and reads of writes."),
            ("etcd_mvcc_txn_total", &metrics.txns, "Requests of more than one operation."),
            (
                "etcd_debugging_mvcc_db_compaction_keys_total",
                &metrics.collected,
                "Records that compactions made unreachable and that were dropped.",
            ),
        ] {
            page.counter(name, counter.load(), help);
        }
        page.gauge("etcd_debugging_mvcc_keys_total", view.keys() as f64, "Keys that are live.");
        let revision = view.revision() as f64;
        page.gauge("etcd_debugging_mvcc_current_revision", revision, "The newest revision.");
        let help = "The revision that was compacted last.";
        page.gauge("etcd_debugging_mvcc_compact_revision", view.compact_revision() as f64, help);
        let help = "When the last compaction was done, in seconds since the epoch.";
        let last = metrics.compacted_at_s.load(Ordering::Relaxed) as f64;
        page.gauge("etcd_debugging_mvcc_db_compaction_last", last, help);
        let help = "Time from a compaction to the end of its work in the background.";
        let name = "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds";
        page.histogram(name, &metrics.compaction, help);
        let help = "Time to hash all keys.";
        page.histogram("etcd_mvcc_hash_duration_seconds", &metrics.hash, help);
        let help = "Time to hash the keys up to a revision.";
        page.histogram("etcd_mvcc_hash_rev_duration_seconds", &metrics.hash_revision, help);
    }

    pub(super) fn write_watch(&self, page: &mut Page, watch: &WatchStats) {
        let help = "Watch streams.";
        page.gauge("etcd_debugging_mvcc_watch_stream_total", watch.streams as f64, help);
        page.gauge("etcd_debugging_mvcc_watcher_total", watch.watchers as f64, "Watchers.");
        let help = "Watchers that were not offered the newest events yet.";
        page.gauge("etcd_debugging_mvcc_slow_watcher_total", watch.behind as f64, help);
        let help = "Events that went to watchers.";
        page.counter("etcd_debugging_mvcc_events_total", watch.taken_events, help);
        let help = "Events that wait for clients to read them.";
        page.gauge("etcd_debugging_mvcc_pending_events_total", watch.queued_events as f64, help);
    }

    pub(super) fn write_leases(&self, page: &mut Page) {
        let metrics = &self.member.metrics.store;
        for (name, counter, help) in [
            (
                "etcd_debugging_lease_granted_total",
                &metrics.leases_granted,
                "Leases that were granted.",
            ),
            (
                "etcd_debugging_lease_revoked_total",
                &metrics.leases_revoked,
                "Leases that were revoked or ended.",
            ),
            (
                "etcd_debugging_lease_renewed_total",
                &metrics.leases_renewed,
                "Renewals that this member answered as the leader.",
            ),
            (
                "etcd_debugging_server_lease_expired_total",
                &metrics.leases_expired,
                "Leases that this member ended as the leader because nobody renewed them.",
            ),
        ] {
            page.counter(name, counter.load(), help);
        }
        let help = "Seconds to live of the leases that were granted.";
        page.histogram("etcd_debugging_lease_ttl_total", &metrics.lease_ttl, help);
    }
}
