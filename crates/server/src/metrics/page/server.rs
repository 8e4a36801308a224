//! `etcd_server_*`: the member, its consensus, its requests; `etcd_cluster_version`; the endpoint
//! itself.

use quoin_api::etcdserverpb::AlarmType;
use quoin_store::RequestKind;

use super::{Exporter, Moment, flag, id_text};
use crate::metrics::text::{Kind, Page};
use crate::version;

/// The names of success in labels.
const SUCCESS: [&str; 2] = ["false", "true"];
/// The alarms that a member can raise.
const ALARMS: [AlarmType; 2] = [AlarmType::Nospace, AlarmType::Corrupt];

impl Exporter {
    pub(super) fn write_server(&self, page: &mut Page, moment: &Moment) {
        self.write_identity(page, moment);
        self.write_consensus(page);
        self.write_requests(page);
        self.write_apply(page);
        self.member.metrics.clients.write(page);
        let help = "The quota in bytes; less than zero means none.";
        page.gauge("etcd_server_quota_backend_bytes", self.config.quota_bytes() as f64, help);
        self.write_alarms(page, moment);
    }

    fn write_identity(&self, page: &mut Page, moment: &Moment) {
        let mut labelled = |name, help, label: &str, value: &str| {
            page.family(Kind::Gauge, name, help).sample(&[(label, value)], 1.0);
        };
        let version = version::ETCD_VERSION;
        let help = "The etcd version that this member speaks.";
        labelled("etcd_server_version", help, "server_version", version);
        let help = "The release of Go that this program was built with, of which there is none.";
        labelled("etcd_server_go_version", help, "server_go_version", version::GO_VERSION);
        let help = "The ID of this member.";
        labelled("etcd_server_id", help, "server_id", &id_text(self.member.id));
        let cluster = moment.view.membership().version();
        if let Some(cluster) = cluster {
            let text = format!("{}.{}", cluster.major, cluster.minor);
            let help = "The version that all members speak.";
            labelled("etcd_cluster_version", help, "cluster_version", &text);
        }
    }

    fn write_consensus(&self, page: &mut Page) {
        let (member, metrics) = (&self.member, &self.member.metrics.consensus);
        let has_leader = flag(member.leader() != 0);
        page.gauge("etcd_server_has_leader", has_leader, "Whether this member knows a leader.");
        let leads = flag(member.is_leader());
        page.gauge("etcd_server_is_leader", leads, "Whether this member leads.");
        let learns = flag(member.is_learner());
        page.gauge("etcd_server_is_learner", learns, "Whether this member only learns.");
        let (committed, applied) = member.indexes();
        let help = "The index of the last entry that is known to be committed.";
        page.gauge("etcd_server_proposals_committed_total", committed as f64, help);
        let help = "The index of the last entry that was applied.";
        page.gauge("etcd_server_proposals_applied_total", applied as f64, help);
        let help = "Proposals that wait to be applied.";
        let pending = metrics.proposals_pending.load() as f64;
        page.gauge("etcd_server_proposals_pending", pending, help);
        let help = "States of a leader that are being installed.";
        let installing = metrics.snapshots_applied_now.load() as f64;
        page.gauge("etcd_server_snapshot_apply_in_progress_total", installing, help);
        for (name, counter, help) in [
            (
                "etcd_server_leader_changes_seen_total",
                &metrics.leader_changes,
                "Leaders that this member has seen elected.",
            ),
            (
                "etcd_server_heartbeat_send_failures_total",
                &metrics.heartbeat_failures,
                "Heartbeats that this leader sent late, because it was overloaded.",
            ),
            (
                "etcd_server_proposals_failed_total",
                &metrics.proposals_failed,
                "Proposals that nobody was told the outcome of.",
            ),
            (
                "etcd_server_slow_apply_total",
                &metrics.slow_applies,
                "Batches of entries, and reads, that took longer than the warning duration.",
            ),
            (
                "etcd_server_slow_read_indexes_total",
                &metrics.slow_reads,
                "Rounds of reads that were confirmed too late.",
            ),
            (
                "etcd_server_read_indexes_failed_total",
                &metrics.failed_reads,
                "Rounds of reads that were lost with their leader.",
            ),
        ] {
            page.counter(name, counter.load(), help);
        }
    }

    fn write_requests(&self, page: &mut Page) {
        let metrics = &self.member.metrics.requests;
        let help = "Time from a request to its answer.";
        let name = "etcd_server_request_duration_seconds";
        let mut family = page.family(Kind::Histogram, name, help);
        let proposed = RequestKind::ALL.into_iter().zip(&metrics.proposed);
        let proposed = proposed.map(|(kind, both)| (name_of(kind), both));
        let read = [("Range", &metrics.range), ("ReadonlyTxn", &metrics.readonly_txn)];
        for (kind, both) in proposed.filter(|(kind, _)| *kind != "Range").chain(read) {
            for (success, histogram) in SUCCESS.into_iter().zip(both) {
                family.histogram_if_any(&[("success", success), ("type", kind)], histogram);
            }
        }
        let help = "Time to find what a range asks for.";
        let name = "etcd_server_range_duration_seconds";
        let mut family = page.family(Kind::Histogram, name, help);
        for (success, histogram) in SUCCESS.into_iter().zip(&metrics.range_alone) {
            family.histogram_if_any(&[("success", success)], histogram);
        }
        let help = "Streams of clients that broke.";
        let name = "etcd_network_server_stream_failures_total";
        let mut family = page.family(Kind::Counter, name, help);
        for (api, counter) in [
            ("lease-keepalive", &metrics.lease_stream_failures),
            ("watch", &metrics.watch_stream_failures),
        ] {
            family.sample(&[("API", api), ("Type", "receive")], counter.load() as f64);
        }
    }

    fn write_apply(&self, page: &mut Page) {
        let help = "Time to apply an entry: its share of the batch that it was applied with.";
        let name = "etcd_server_apply_duration_seconds";
        let mut family = page.family(Kind::Histogram, name, help);
        for (kind, both) in RequestKind::ALL.into_iter().zip(&self.member.metrics.consensus.apply) {
            for (success, histogram) in SUCCESS.into_iter().zip(both) {
                let labels = [("op", name_of(kind)), ("success", success), ("version", "v3")];
                family.histogram_if_any(&labels, histogram);
            }
        }
    }

    fn write_alarms(&self, page: &mut Page, moment: &Moment) {
        let raised = moment.view.alarms(AlarmType::None);
        let help = "Alarms that are raised, by member and kind.";
        let mut family = page.family(Kind::Gauge, "etcd_debugging_server_alarms", help);
        for member in moment.view.membership().members() {
            for kind in ALARMS {
                let is_raised = raised
                    .iter()
                    .any(|alarm| alarm.member_id == member.id && alarm.alarm() == kind);
                let id = id_text(member.id);
                let labels = [("alarm_type", kind.as_str_name()), ("server_id", id.as_str())];
                family.sample(&labels, flag(is_raised));
            }
        }
    }

    pub(super) fn write_http(&self, page: &mut Page) {
        let http = &self.member.metrics.http;
        let help = "Questions for the health of this member that it answered well.";
        page.counter("etcd_server_health_success", http.healthy.load(), help);
        let help = "Questions for the health of this member that it answered otherwise.";
        page.counter("etcd_server_health_failures", http.unhealthy.load(), help);
        let checks = http.checks();
        // A gauge that was never set would read as a check that failed.
        if !checks.is_empty() {
            let help = "Whether each check of the health went well when it was last made.";
            let mut family = page.family(Kind::Gauge, "etcd_server_healthcheck", help);
            for ((question, name), checked) in &checks {
                family.sample(&[("name", *name), ("type", *question)], flag(checked.is_well));
            }
            let help = "Checks of the health, by how they went.";
            let mut family = page.family(Kind::Counter, "etcd_server_healthchecks_total", help);
            for ((question, name), checked) in &checks {
                for (status, count) in [("error", checked.failed), ("success", checked.succeeded)] {
                    let labels = [("name", *name), ("status", status), ("type", *question)];
                    if count > 0 {
                        family.sample(&labels, count as f64);
                    }
                }
            }
        }
        let help = "Pages like this one that are being written.";
        let now = http.pages_now.load() as f64;
        page.gauge("promhttp_metric_handler_requests_in_flight", now, help);
        let name = "promhttp_metric_handler_requests_total";
        let mut family = page.family(Kind::Counter, name, "Pages like this one, by HTTP status.");
        family.sample(&[("code", "200")], http.pages.load() as f64);
    }
}

/// The name of a kind of request in labels, which is etcd's.
fn name_of(kind: RequestKind) -> &'static str {
    match kind {
        RequestKind::ClusterVersionSet => "ClusterVersionSet",
        RequestKind::ClusterMemberAttrSet => "ClusterMemberAttrSet",
        RequestKind::DowngradeInfoSet => "DowngradeInfoSet",
        RequestKind::Range => "Range",
        RequestKind::Put => "Put",
        RequestKind::DeleteRange => "DeleteRange",
        RequestKind::Txn => "Txn",
        RequestKind::Compaction => "Compaction",
        RequestKind::LeaseGrant => "LeaseGrant",
        RequestKind::LeaseRevoke => "LeaseRevoke",
        RequestKind::LeaseCheckpoint => "LeaseCheckpoint",
        RequestKind::Alarm => "Alarm",
    }
}
