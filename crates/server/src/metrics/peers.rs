//! What is measured for each peer beside what its link counts: round trips and snapshots.
//!
//! All of it happens seldom, a few times a minute at most, so a lock is good enough.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::text::{Kind, Page};
use super::value::Histogram;

/// Measurements by peer.
#[derive(Debug, Default)]
pub(crate) struct PeerMetrics {
    by_id: Mutex<BTreeMap<u64, Peer>>,
}

#[derive(Debug)]
struct Peer {
    round_trip: Histogram,
    sent: Transfers,
    received: Transfers,
}

/// Snapshots in one direction.
#[derive(Debug)]
struct Transfers {
    /// When those under way began; there are few, and they end in this order.
    begun: Vec<Instant>,
    successes: u64,
    failures: u64,
    time: Histogram,
}

/// The direction of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the peer.
    Sent,
    /// From the peer.
    Received,
}

impl Default for Peer {
    fn default() -> Self {
        let round_trip = Histogram::seconds(Duration::from_micros(100), 16);
        Self { round_trip, sent: Transfers::default(), received: Transfers::default() }
    }
}

impl Default for Transfers {
    fn default() -> Self {
        let time = Histogram::seconds(Duration::from_millis(100), 10);
        Self { begun: Vec::new(), successes: 0, failures: 0, time }
    }
}

impl Peer {
    fn transfers(&mut self, direction: Direction) -> &mut Transfers {
        match direction {
            Direction::Sent => &mut self.sent,
            Direction::Received => &mut self.received,
        }
    }
}

impl PeerMetrics {
    /// Takes the smoothed time of a round trip.
    pub(crate) fn round_trip(&self, peer: u64, time: Duration) {
        self.lock().entry(peer).or_default().round_trip.observe(time);
    }

    /// Notes that a snapshot begins.
    pub(crate) fn snapshot_begins(&self, peer: u64, direction: Direction) {
        self.lock().entry(peer).or_default().transfers(direction).begun.push(Instant::now());
    }

    /// Notes that the snapshot under way that began first has ended. Without one nothing happens: a
    /// message can be lost that would have announced one.
    pub(crate) fn snapshot_ends(&self, peer: u64, direction: Direction, success: bool) {
        let mut peers = self.lock();
        let transfers = peers.entry(peer).or_default().transfers(direction);
        if transfers.begun.is_empty() {
            return;
        }
        let begun = transfers.begun.remove(0);
        if success {
            transfers.successes += 1;
            transfers.time.observe(begun.elapsed());
        } else {
            transfers.failures += 1;
        }
    }

    /// Writes the families for these peers, with the texts of their IDs. Others have left.
    pub(super) fn write(&self, page: &mut Page, wanted: &[(u64, String)]) {
        let mut peers = self.lock();
        peers.retain(|id, _| wanted.iter().any(|(wanted, _)| wanted == id));
        for (id, _) in wanted {
            peers.entry(*id).or_default();
        }
        let of = |id: &u64| peers.get(id).expect("every peer has an entry by now");
        let help = "Smoothed time of a round trip to the peer.";
        let name = "etcd_network_peer_round_trip_time_seconds";
        let mut family = page.family(Kind::Histogram, name, help);
        for (id, text) in wanted {
            family.histogram(&[("To", text)], &of(id).round_trip);
        }
        let sent = (SENT, "To", Direction::Sent);
        let received = (RECEIVED, "From", Direction::Received);
        for (names, label, direction) in [sent, received] {
            let transfers = |id: &u64| match direction {
                Direction::Sent => &of(id).sent,
                Direction::Received => &of(id).received,
            };
            for ((kind, count), (name, help)) in COUNTS.into_iter().zip(names) {
                let mut family = page.family(kind, name, help);
                for (id, text) in wanted {
                    family.sample(&[(label, text)], count(transfers(id)));
                }
            }
            let (name, help) = names[3];
            let mut family = page.family(Kind::Histogram, name, help);
            for (id, text) in wanted {
                family.histogram(&[(label, text)], &transfers(id).time);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Peer>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is counted of transfers, in the order of the names below.
type Count = (Kind, fn(&Transfers) -> f64);
const COUNTS: [Count; 3] = [
    (Kind::Counter, |it| it.successes as f64),
    (Kind::Counter, |it| it.failures as f64),
    (Kind::Gauge, |it| it.begun.len() as f64),
];

const SENT: [(&str, &str); 4] = [
    ("etcd_network_snapshot_send_success", "Snapshots that the peer has taken."),
    ("etcd_network_snapshot_send_failures", "Snapshots that could not be sent to the peer."),
    ("etcd_network_snapshot_send_inflights_total", "Snapshots on their way to the peer."),
    ("etcd_network_snapshot_send_total_duration_seconds", "Time to send a snapshot to the peer."),
];
const RECEIVED: [(&str, &str); 4] = [
    ("etcd_network_snapshot_receive_success", "Snapshots that were taken from the peer."),
    ("etcd_network_snapshot_receive_failures", "Snapshots from the peer that failed to arrive."),
    ("etcd_network_snapshot_receive_inflights_total", "Snapshots on their way from the peer."),
    (
        "etcd_network_snapshot_receive_total_duration_seconds",
        "Time to take a snapshot from the peer.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn page(metrics: &PeerMetrics, wanted: &[u64]) -> String {
        let mut page = Page::default();
        let wanted: Vec<_> = wanted.iter().map(|id| (*id, id.to_string())).collect();
        metrics.write(&mut page, &wanted);
        page.finish()
    }

    #[test]
    fn a_snapshot_is_under_way_until_it_ends() {
        let metrics = PeerMetrics::default();
        metrics.snapshot_begins(7, Direction::Sent);
        let inflight = "etcd_network_snapshot_send_inflights_total{To=\"7\"}";
        assert!(page(&metrics, &[7]).contains(&format!("{inflight} 1\n")));
        metrics.snapshot_ends(7, Direction::Sent, true);
        // The end of a message that was no database.
        metrics.snapshot_ends(7, Direction::Sent, false);
        let page = page(&metrics, &[7]);
        assert!(page.contains(&format!("{inflight} 0\n")), "{page}");
        assert!(page.contains("etcd_network_snapshot_send_success{To=\"7\"} 1\n"), "{page}");
        assert!(page.contains("etcd_network_snapshot_send_failures{To=\"7\"} 0\n"), "{page}");
    }

    #[test]
    fn peers_that_left_are_forgotten() {
        let metrics = PeerMetrics::default();
        metrics.round_trip(7, Duration::from_millis(1));
        assert!(!page(&metrics, &[8]).contains("\"7\""));
        assert!(page(&metrics, &[7]).contains("_count{To=\"7\"} 0\n"));
    }
}
