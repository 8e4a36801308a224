//! Hashes that compactions left behind: members compare them to find one that diverged.
//!
//! They are computed on a thread of their own, one after another. A compaction that comes while
//! too many wait leaves no hash.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use quoin_store::{CompactionHash, HashKv};

use crate::driver::yield_to_requests;
use crate::log;

/// Hashes that are kept, as in etcd.
const KEPT_MAX: usize = 10;
/// Compactions whose hash may wait to be computed.
const WAITING_MAX: usize = 2;

/// The hashes of recent compactions by their revision.
#[derive(Debug, Default)]
pub(crate) struct Hashes {
    known: Mutex<BTreeMap<i64, HashKv>>,
    queue: Mutex<Option<SyncSender<CompactionHash>>>,
    /// Hashes that wait or are being computed.
    under_way: AtomicUsize,
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

    /// Has a hash computed.
    pub(crate) fn compute(self: &Arc<Self>, hash: CompactionHash) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = queue.get_or_insert_with(|| {
            let (sender, receiver) = mpsc::sync_channel::<CompactionHash>(WAITING_MAX);
            let hashes = Arc::downgrade(self);
            let body = move || {
                yield_to_requests();
                for hash in receiver {
                    let computed = hash.compute();
                    let Some(hashes) = hashes.upgrade() else { return };
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
        if sender.try_send(hash).is_err() {
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
