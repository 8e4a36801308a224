//! `etcd_disk_*` and `etcd_snap_*`: the log, and what is written beside it.

use std::sync::atomic::Ordering;

use super::Exporter;
use crate::metrics::text::Page;

impl Exporter {
    pub(super) fn write_disk(&self, page: &mut Page) {
        let disk = &self.member.metrics.disk;
        for (name, histogram, help) in [
            ("etcd_disk_wal_fsync_duration_seconds", &disk.log_sync, "Time of a sync of the log."),
            (
                "etcd_disk_wal_write_duration_seconds",
                &disk.log_write,
                "Time to write a batch to the log, without the sync.",
            ),
            (
                "etcd_disk_backend_commit_duration_seconds",
                &disk.commit,
                "Time to write a block of a checkpoint or a segment, without pauses.",
            ),
            (
                "etcd_disk_backend_snapshot_duration_seconds",
                &disk.backup,
                "Time to send the database to a client or a peer.",
            ),
            (
                "etcd_disk_backend_defrag_duration_seconds",
                &disk.defragment,
                "Time to answer a request to defragment, which asks for nothing here.",
            ),
            (
                "etcd_snap_db_save_total_duration_seconds",
                &disk.received_save,
                "Time to save and verify a database that a leader sent.",
            ),
        ] {
            page.histogram(name, histogram, help);
        }
        let help = "Bytes of records that were written to the log.";
        let bytes = disk.log_bytes.load(Ordering::Relaxed) as f64;
        page.gauge("etcd_disk_wal_write_bytes_total", bytes, help);
        let help = "Requests to defragment that are being answered.";
        page.gauge("etcd_disk_defrag_inflight", disk.defragmenting.load() as f64, help);
    }
}
