//! What this member has counted and measured, and the page that shows it.
//!
//! [`Metrics`] is one value that the member owns: plain atomics, named by field, so that counting
//! is one relaxed addition, without a registry, a look-up or a lock. What can be read elsewhere
//! (the view, the progress, the process) is not counted again: [`Exporter`] reads it when somebody
//! asks for the page.
//!
//! In reading order: `value` (counters, gauges, histograms), `rpc` (every gRPC method), `clients`
//! (versions of clients), `appends` (what the v2 API shows of them), `peers` (what is kept for each peer), `text` (the form of the page),
//! `process` (what the system says of this process), `page` (which family has which value),
//! `listen` (the listeners that serve only this).
//!
//! Invariants:
//! - Names, types, labels and buckets are etcd's; families of our own begin with `quoin_`.
//!   `docs/metrics.md` lists those, and what of etcd's is left out.
//! - Nothing that a client sends can add more than a bounded number of lines to the page.
//!
//! Not here: who counts what when, and the meaning of the counts of pure crates.

mod appends;
mod clients;
mod listen;
mod page;
mod peers;
mod process;
mod rpc;
mod text;
mod value;

use std::array;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use quoin_node::{Backlog, Counts};
use quoin_store::{RequestKind, SegmentUse};

pub(crate) use appends::{AppendState, Appends};
pub(crate) use clients::Clients;
pub(crate) use listen::Listening;
pub(crate) use page::{CONTENT_TYPE, Exporter};
pub(crate) use peers::{Direction, PeerMetrics};
pub(crate) use rpc::{Call, Received, Rpcs};
pub(crate) use value::{Counter, Gauge, Histogram, Present};

use crate::grpc::unfinished::Unfinished;
use crate::grpc::watch::Shard;
use crate::http::checks::{Check, Question};

/// Kinds of requests that an entry can carry.
const KINDS: usize = RequestKind::ALL.len();

/// The counts and measurements of one member.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) rpcs: Rpcs,
    pub(crate) clients: Clients,
    pub(crate) peers: PeerMetrics,
    pub(crate) consensus: ConsensusMetrics,
    pub(crate) requests: RequestMetrics,
    pub(crate) store: StoreMetrics,
    pub(crate) disk: DiskMetrics,
    pub(crate) http: HttpMetrics,
    pub(crate) fronts: FrontMetrics,
    pub(crate) appends: Appends,
    shards: Mutex<Vec<Weak<Shard>>>,
    unfinished: OnceLock<Arc<Unfinished>>,
}

/// What the consensus thread and those who wait for it count.
#[derive(Debug)]
pub(crate) struct ConsensusMetrics {
    pub(crate) leader_changes: Counter,
    pub(crate) heartbeat_failures: Counter,
    pub(crate) proposals_pending: Gauge,
    pub(crate) proposals_failed: Counter,
    pub(crate) slow_applies: Counter,
    pub(crate) slow_reads: Counter,
    pub(crate) failed_reads: Counter,
    pub(crate) snapshots_applied_now: Gauge,
    /// How long entries took to apply, by kind: first those that were refused.
    pub(crate) apply: [[Histogram; 2]; KINDS],
}

/// How long requests took, each first those that failed.
#[derive(Debug)]
pub(crate) struct RequestMetrics {
    pub(crate) proposed: [[Histogram; 2]; KINDS],
    pub(crate) range: [Histogram; 2],
    pub(crate) readonly_txn: [Histogram; 2],
    /// The ranges alone, without waiting for a confirmation of the leader.
    pub(crate) range_alone: [Histogram; 2],
    pub(crate) watch_stream_failures: Counter,
    pub(crate) lease_stream_failures: Counter,
}

/// What was done to the key space and to leases, and how the files are used.
#[derive(Debug)]
pub(crate) struct StoreMetrics {
    pub(crate) puts: Counter,
    pub(crate) put_bytes: Counter,
    pub(crate) deletes: Counter,
    pub(crate) ranges: Counter,
    pub(crate) txns: Counter,
    pub(crate) collected: Counter,
    /// When the last compaction was done, in seconds since the epoch.
    pub(crate) compacted_at_s: AtomicU64,
    pub(crate) compaction: Histogram,
    pub(crate) hash: Histogram,
    pub(crate) hash_revision: Histogram,
    pub(crate) leases_granted: Counter,
    pub(crate) leases_renewed: Counter,
    pub(crate) leases_revoked: Counter,
    pub(crate) leases_expired: Counter,
    pub(crate) lease_ttl: Histogram,
    segment_files: AtomicU64,
    segment_bytes: AtomicU64,
    segment_live_bytes: AtomicU64,
    unwritten_bytes: AtomicU64,
    unwritten_max_bytes: AtomicU64,
    held_turns: Counter,
}

/// What the log and the background jobs do to the disk.
#[derive(Debug)]
pub(crate) struct DiskMetrics {
    pub(crate) log_sync: Histogram,
    pub(crate) log_write: Histogram,
    pub(crate) log_bytes: AtomicU64,
    pub(crate) commit: Histogram,
    pub(crate) background_bytes: Counter,
    pub(crate) backup: Histogram,
    pub(crate) defragment: Histogram,
    pub(crate) defragmenting: Gauge,
    pub(crate) received_save: Histogram,
}

/// What the plain endpoints count.
#[derive(Debug, Default)]
pub(crate) struct HttpMetrics {
    pub(crate) healthy: Counter,
    pub(crate) unhealthy: Counter,
    pub(crate) pages: Counter,
    pub(crate) pages_now: Gauge,
    checks: Mutex<BTreeMap<(&'static str, &'static str), Checked>>,
}

/// How often a check of the health went well or not, and how it went last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Checked {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) is_well: bool,
}

impl HttpMetrics {
    /// Counts a check that a question is made of.
    pub(crate) fn checked(&self, question: Question, check: Check, is_well: bool) {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let checked = checks.entry((question.name(), check.name())).or_default();
        *if is_well { &mut checked.succeeded } else { &mut checked.failed } += 1;
        checked.is_well = is_well;
    }

    /// Returns the checks that were made, by the names of their question and their own.
    pub(crate) fn checks(&self) -> BTreeMap<(&'static str, &'static str), Checked> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the client port counts.
#[derive(Debug, Default)]
pub(crate) struct FrontMetrics {
    pub(crate) connections: AtomicU64,
    pub(crate) connections_max: AtomicU64,
    pub(crate) connections_refused: Counter,
    /// Connections that were ended because their clients pinged too often.
    pub(crate) too_many_pings: Counter,
}

impl Metrics {
    /// Nothing counted. How long handlers of gRPC take is measured only if that is asked for.
    pub(crate) fn new(measures_handlers: bool) -> Self {
        let requests = || Histogram::seconds(Duration::from_millis(1), 14);
        let applies = || Histogram::seconds(Duration::from_micros(100), 20);
        let hashes = || Histogram::seconds(Duration::from_millis(10), 15);
        let disk = || Histogram::seconds(Duration::from_millis(1), 14);
        Self {
            rpcs: Rpcs::new(measures_handlers),
            clients: Clients::default(),
            peers: PeerMetrics::default(),
            consensus: ConsensusMetrics {
                leader_changes: Counter::default(),
                heartbeat_failures: Counter::default(),
                proposals_pending: Gauge::default(),
                proposals_failed: Counter::default(),
                slow_applies: Counter::default(),
                slow_reads: Counter::default(),
                failed_reads: Counter::default(),
                snapshots_applied_now: Gauge::default(),
                apply: array::from_fn(|_| [applies(), applies()]),
            },
            requests: RequestMetrics {
                proposed: array::from_fn(|_| [requests(), requests()]),
                range: [requests(), requests()],
                readonly_txn: [requests(), requests()],
                range_alone: [applies(), applies()],
                watch_stream_failures: Counter::default(),
                lease_stream_failures: Counter::default(),
            },
            store: StoreMetrics {
                puts: Counter::default(),
                put_bytes: Counter::default(),
                deletes: Counter::default(),
                ranges: Counter::default(),
                txns: Counter::default(),
                collected: Counter::default(),
                compacted_at_s: AtomicU64::new(0),
                compaction: Histogram::milliseconds(Duration::from_millis(100), 14),
                hash: hashes(),
                hash_revision: hashes(),
                leases_granted: Counter::default(),
                leases_renewed: Counter::default(),
                leases_revoked: Counter::default(),
                leases_expired: Counter::default(),
                lease_ttl: Histogram::plain(1, 24),
                segment_files: AtomicU64::new(0),
                segment_bytes: AtomicU64::new(0),
                segment_live_bytes: AtomicU64::new(0),
                unwritten_bytes: AtomicU64::new(0),
                unwritten_max_bytes: AtomicU64::new(0),
                held_turns: Counter::default(),
            },
            disk: DiskMetrics {
                log_sync: disk(),
                log_write: disk(),
                log_bytes: AtomicU64::new(0),
                commit: disk(),
                background_bytes: Counter::default(),
                backup: Histogram::seconds(Duration::from_millis(10), 17),
                defragment: Histogram::seconds(Duration::from_millis(100), 13),
                defragmenting: Gauge::default(),
                received_save: Histogram::seconds(Duration::from_millis(100), 10),
            },
            http: HttpMetrics::default(),
            fronts: FrontMetrics::default(),
            appends: Appends::default(),
            shards: Mutex::default(),
            unfinished: OnceLock::new(),
        }
    }

    /// Takes over what a turn of the node counted, which took this long.
    pub(crate) fn turned(&self, counts: Counts, took: Duration) {
        let Counts { applied, store: tally, slow_reads, failed_reads, leases_expired, held_turns } =
            counts;
        let store = &self.store;
        store.held_turns.add(held_turns);
        self.consensus.slow_reads.add(slow_reads);
        self.consensus.failed_reads.add(failed_reads);
        store.leases_expired.add(leases_expired);
        store.collected.add(tally.collected);
        if applied == 0 {
            return;
        }
        store.puts.add(tally.puts);
        store.put_bytes.add(tally.put_bytes);
        store.deletes.add(tally.deletes);
        store.ranges.add(tally.ranges);
        store.txns.add(tally.txns);
        store.leases_granted.add(tally.granted_ttls_s.len() as u64);
        store.leases_revoked.add(tally.revoked);
        for ttl_s in &tally.granted_ttls_s {
            store.lease_ttl.observe_units(u64::try_from(*ttl_s).unwrap_or(0), 1);
        }
        // Nobody looks at the clock between two entries of a batch.
        let share = took / u32::try_from(applied).unwrap_or(u32::MAX);
        for kind in RequestKind::ALL {
            for success in [false, true] {
                let count = u64::from(tally.applied(kind, success));
                self.consensus.apply[kind as usize][usize::from(success)].observe_n(share, count);
            }
        }
    }

    /// Takes note of how the segment files are used.
    pub(crate) fn segments(&self, used: SegmentUse) {
        self.store.segment_files.store(used.files as u64, Ordering::Relaxed);
        self.store.segment_bytes.store(used.bytes, Ordering::Relaxed);
        self.store.segment_live_bytes.store(used.live_bytes, Ordering::Relaxed);
    }

    /// Notes what waits to be put into files.
    pub(crate) fn backlog(&self, backlog: Backlog) {
        self.store.unwritten_bytes.store(backlog.bytes as u64, Ordering::Relaxed);
        self.store.unwritten_max_bytes.store(backlog.max_bytes as u64, Ordering::Relaxed);
    }

    /// Shows the watch streams of a network thread for as long as it has them.
    pub(crate) fn add_shard(&self, shard: &Arc<Shard>) {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(shard));
    }

    /// Shows what is held of requests that are not whole.
    pub(crate) fn show_unfinished(&self, unfinished: &Arc<Unfinished>) {
        self.unfinished.get_or_init(|| Arc::clone(unfinished));
    }

    fn shards(&self) -> Vec<Arc<Shard>> {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        shards.iter().filter_map(Weak::upgrade).collect()
    }
}
