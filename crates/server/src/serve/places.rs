//! How many clients may be connected.
//!
//! Invariants:
//! - A connection has a place from when it is accepted until it has ended.
//! - File descriptors are left for files and peers, as in etcd.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::log;
use crate::metrics::Metrics;

/// Connections of clients at once, if there are as many file descriptors.
const CONNECTIONS_MAX: usize = 1 << 16;
/// File descriptors that are left for everything else.
const RESERVED_FILES: usize = 150;
/// The time between two log lines about connections that were refused.
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// The places for connections.
#[derive(Clone, Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    logged_at: Arc<Mutex<Option<Instant>>>,
}

/// The place of one connection, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    metrics: Arc<Metrics>,
}

impl Places {
    /// As many places as the limit of file descriptors allows.
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        let files = getrlimit(Resource::Nofile).current.and_then(|files| files.try_into().ok());
        let files = files.unwrap_or(usize::MAX).saturating_sub(RESERVED_FILES).max(1);
        Self::with(files.min(CONNECTIONS_MAX), metrics)
    }

    fn with(count: usize, metrics: &Arc<Metrics>) -> Self {
        metrics.fronts.connections_max.store(count as u64, Ordering::Relaxed);
        let metrics = Arc::clone(metrics);
        Self { free: Arc::new(Semaphore::new(count)), metrics, logged_at: Arc::default() }
    }

    /// Takes a place, if one is free.
    pub(super) fn take(&self) -> Option<Place> {
        let fronts = &self.metrics.fronts;
        match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => {
                fronts.connections.fetch_add(1, Ordering::Relaxed);
                Some(Place { _permit: permit, metrics: Arc::clone(&self.metrics) })
            }
            Err(_) => {
                fronts.connections_refused.add(1);
                self.log_refused(&fronts.connections_max);
                None
            }
        }
    }

    fn log_refused(&self, max: &AtomicU64) {
        let now = Instant::now();
        let mut logged_at = self.logged_at.lock().unwrap_or_else(PoisonError::into_inner);
        if logged_at.is_none_or(|before| now - before >= LOG_PERIOD) {
            *logged_at = Some(now);
            log::warn!("refused client connections: too many are open",
                "max-connections" => max.load(Ordering::Relaxed));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.fronts.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients could open connections until no file descriptor was left, and nothing counted them.
    #[test]
    fn one_connection_too_many_is_refused_and_counted() {
        let metrics = Arc::new(Metrics::new(false));
        let places = Places::with(2, &metrics);
        let first = places.take().expect("a free place");
        let second = places.take().expect("a free place");
        assert!(places.take().is_none() && places.take().is_none());
        assert_eq!(metrics.fronts.connections_refused.load(), 2);
        assert_eq!(metrics.fronts.connections.load(Ordering::Relaxed), 2);
        drop(first);
        let third = places.take().expect("the place of one that ended");
        drop((second, third));
        assert_eq!(metrics.fronts.connections.load(Ordering::Relaxed), 0);
    }
}
