//! `etcd_network_*` of peers. What concerns clients is counted with the gRPC methods.

use super::{Exporter, Moment, flag, id_text};
use crate::metrics::text::{Kind, Page};
use crate::peer::PeerReport;

impl Exporter {
    pub(super) fn write_network(&self, page: &mut Page, moment: &Moment) {
        let local = id_text(self.member.id);
        let help = "Members that are known, this one among them.";
        let mut family = page.family(Kind::Gauge, "etcd_network_known_peers", help);
        for member in moment.view.membership().members() {
            let remote = id_text(member.id);
            family.sample(&[("Local", &local), ("Remote", &remote)], 1.0);
        }
        let reports = self.transport.reports();
        if reports.is_empty() {
            return;
        }
        let help = "Whether the peer can be reached.";
        let mut family = page.family(Kind::Gauge, "etcd_network_active_peers", help);
        for report in &reports {
            let labels = [("Local", local.as_str()), ("Remote", &id_text(report.id))];
            family.sample(&labels, flag(report.active_since.is_some()));
        }
        let help = "How often the peer became unreachable.";
        let name = "etcd_network_disconnected_peers_total";
        let mut family = page.family(Kind::Counter, name, help);
        for report in &reports {
            let labels = [("Local", local.as_str()), ("Remote", &id_text(report.id))];
            family.sample(&labels, report.disconnected as f64);
        }
        write_traffic(page, &reports);
        let wanted: Vec<_> = reports.iter().map(|report| (report.id, id_text(report.id))).collect();
        self.member.metrics.peers.write(page, &wanted);
    }
}

/// A counter of a link: name, label, help, and where its value is.
type Traffic = (&'static str, &'static str, &'static str, fn(&PeerReport) -> u64);

fn write_traffic(page: &mut Page, reports: &[PeerReport]) {
    let families: [Traffic; 4] = [
        ("etcd_network_peer_sent_bytes_total", "To", "Bytes sent to the peer.", |it| it.sent_bytes),
        ("etcd_network_peer_received_bytes_total", "From", "Bytes received from the peer.", |it| {
            it.received_bytes
        }),
        (
            "etcd_network_peer_sent_failures_total",
            "To",
            "Messages that could not be sent to the peer.",
            |it| it.sent_failures,
        ),
        (
            "etcd_network_peer_received_failures_total",
            "From",
            "Messages of the peer that could not be taken.",
            |it| it.received_failures,
        ),
    ];
    for (name, label, help, count) in families {
        let mut family = page.family(Kind::Counter, name, help);
        for report in reports {
            family.sample(&[(label, &id_text(report.id))], count(report) as f64);
        }
    }
}
