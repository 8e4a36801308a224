//! Hashes that compactions left behind: members compare them to find one that diverged.
//!
//! They are computed on a thread of their own, one after another. A compaction that comes while
//! too many wait leaves no hash.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use quoin_store::{CompactionHash, HashKv};

use crate::driver::yield_to_requests;
use crate::log;
use crate::record;

/// Hashes that are kept, as in etcd.
const KEPT_MAX: usize = 10;
/// Compactions whose hash may wait to be computed.
const WAITING_MAX: usize = 2;

/// The hashes of recent compactions by their revision.
#[derive(Debug, Default)]
pub(crate) struct Hashes {
    known: Mutex<BTreeMap<i64, HashKv>>,
    queue: Mutex<Option<SyncSender<Compacted>>>,
    /// Hashes that wait or are being computed.
    under_way: AtomicUsize,
}

/// A compaction that was applied and has no hash yet.
struct Compacted {
    hash: CompactionHash,
    /// When it was applied.
    applied: Instant,
    /// Bytes of the store behind it.
    store_bytes: usize,
}

impl Compacted {
    /// Says that the compaction has come to its end, which tools wait for.
    fn log_end(&self, hash: Option<HashKv>) {
        let bytes = self.store_bytes as u64;
        let mut record = record!(
            Info, "finished scheduled compaction",
            "compact-revision" => self.hash.revision(),
            "took" => self.applied.elapsed(),
        );
        if let Some(hash) = hash {
            record = record.with("hash", u64::from(hash.hash));
        }
        let record = record
            .with("current-db-size-bytes", bytes)
            .with("current-db-size", human_size(bytes))
            .with("current-db-size-in-use-bytes", bytes)
            .with("current-db-size-in-use", human_size(bytes));
        log::write(&record);
    }
}

/// Writes a size as etcd's log does: two digits and a unit of a thousand.
pub(crate) fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut unit = 0;
    let mut size = bytes as f64;
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    // Go rounds half up to one decimal before it decides how many to show.
    let rounded = (size * 10.0 + 0.5).floor() / 10.0;
    let decimals = usize::from(rounded < 10.0 && unit > 0);
    format!("{rounded:.decimals$} {}", UNITS[unit])
}

impl Hashes {
    /// The hash that a compaction at `revision` left behind, if it is kept.
    pub(crate) fn find(&self, revision: i64) -> Option<HashKv> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&revision).copied()
    }

    /// Whether no hash is being computed.
    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::Acquire) == 0
    }

    /// Has the hash of a compaction computed, which left `store_bytes` in the store.
    pub(crate) fn compute(self: &Arc<Self>, hash: CompactionHash, store_bytes: usize) {
        let compacted = Compacted { hash, applied: Instant::now(), store_bytes };
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = queue.get_or_insert_with(|| {
            let (sender, receiver) = mpsc::sync_channel::<Compacted>(WAITING_MAX);
            let hashes = Arc::downgrade(self);
            let body = move || {
                yield_to_requests();
                for compacted in receiver {
                    let computed = compacted.hash.compute();
                    let Some(hashes) = hashes.upgrade() else { return };
                    compacted.log_end(computed.ok());
                    match computed {
                        Ok(hash) => hashes.keep(hash),
                        Err(error) => log::warn!("failed to hash a compaction",
                            "error" => error.to_string()),
                    }
                    hashes.under_way.fetch_sub(1, Ordering::Release);
                }
            };
            if let Err(error) = thread::Builder::new().name("hash".to_owned()).spawn(body) {
                log::warn!("failed to start a thread", "error" => error.to_string());
            }
            sender
        });
        self.under_way.fetch_add(1, Ordering::Relaxed);
        if let Err(TrySendError::Full(compacted) | TrySendError::Disconnected(compacted)) =
            sender.try_send(compacted)
        {
            compacted.log_end(None);
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            log::warn!("too many compactions at once: one leaves no hash");
        }
    }

    fn keep(&self, hash: HashKv) {
        log::info!("storing new hash", "hash" => u64::from(hash.hash),
            "revision" => hash.hash_revision, "compact-revision" => hash.compact_revision);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(hash.hash_revision, hash);
        while known.len() > KEPT_MAX {
            known.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::human_size;

    #[test]
    fn sizes_are_written_as_in_etcd() {
        let sizes =
            [(0, "0 B"), (999, "999 B"), (4096, "4.1 kB"), (28_672, "29 kB"), (9_950, "10 kB")];
        for (bytes, text) in sizes {
            assert_eq!(human_size(bytes), text, "{bytes}");
        }
        assert_eq!(human_size(2_147_483_648), "2.1 GB");
    }
}
