//! Counters, gauges and histograms: atomics that any thread adds to and nobody waits for.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        if amount > 0 {
            self.0.fetch_add(amount, Ordering::Relaxed);
        }
    }

    pub(crate) fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number of things that are there now.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicI64);

/// One of those things, until it is dropped.
#[derive(Debug)]
pub(crate) struct Present<'a>(&'a Gauge);

impl Gauge {
    /// Counts one more until the result is dropped.
    pub(crate) fn enter(&self) -> Present<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Present(self)
    }

    pub(crate) fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn load(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How often values fell between which bounds. Values are whole numbers of a small unit, so that
/// their sum is an atomic addition too.
#[derive(Debug)]
pub(crate) struct Histogram {
    /// The upper bounds, which belong to the bucket below them.
    bounds: Box<[u64]>,
    /// One more than there are bounds.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
    /// Units in what the page shows as 1.
    scale: f64,
}

/// A histogram as it was at some time.
#[derive(Debug)]
pub(super) struct Reading {
    /// Each bound, with how many values were not above it.
    pub(super) buckets: Vec<(f64, u64)>,
    pub(super) sum: f64,
    pub(super) count: u64,
}

impl Histogram {
    /// Durations that are shown in seconds; each bound is twice the one before.
    pub(crate) fn seconds(first: Duration, bounds: usize) -> Self {
        Self::new(doubling(nanos(first), bounds), 1e9)
    }

    /// The same, shown in milliseconds.
    pub(crate) fn milliseconds(first: Duration, bounds: usize) -> Self {
        Self::new(doubling(nanos(first), bounds), 1e6)
    }

    /// Durations that are shown in seconds, with these bounds in milliseconds.
    pub(crate) fn seconds_at(bounds_ms: &[u64]) -> Self {
        Self::new(bounds_ms.iter().map(|bound| bound * 1_000_000).collect(), 1e9)
    }

    /// Whole numbers; each bound is twice the one before.
    pub(crate) fn plain(first: u64, bounds: usize) -> Self {
        Self::new(doubling(first, bounds), 1.0)
    }

    fn new(bounds: Box<[u64]>, scale: f64) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0), scale }
    }

    pub(crate) fn observe(&self, time: Duration) {
        self.observe_n(time, 1);
    }

    /// The same for several values that are alike.
    pub(crate) fn observe_n(&self, time: Duration, count: u64) {
        self.observe_units(nanos(time), count);
    }

    /// Takes a value in the unit of this histogram, so many times.
    pub(crate) fn observe_units(&self, value: u64, count: u64) {
        if count == 0 {
            return;
        }
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(count, Ordering::Relaxed);
        self.sum.fetch_add(value.saturating_mul(count), Ordering::Relaxed);
    }

    /// Whether there is no value yet.
    pub(super) fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| count.load(Ordering::Relaxed) == 0)
    }

    /// The count is that of all buckets, whatever is added meanwhile.
    pub(super) fn read(&self) -> Reading {
        let sum = self.sum.load(Ordering::Relaxed) as f64 / self.scale;
        let mut count = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        for (bound, values) in self.bounds.iter().zip(&self.counts) {
            count += values.load(Ordering::Relaxed);
            buckets.push((*bound as f64 / self.scale, count));
        }
        count += self.counts[self.bounds.len()].load(Ordering::Relaxed);
        Reading { buckets, sum, count }
    }
}

fn doubling(first: u64, bounds: usize) -> Box<[u64]> {
    (0..bounds).map(|power| first << power).collect()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_belongs_below_it_and_buckets_add_up() {
        let histogram = Histogram::seconds(Duration::from_millis(1), 3);
        for micros in [0, 1000, 1001, 2000, 4000, 4001, 9_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let Reading { buckets, sum, count } = histogram.read();
        assert_eq!(buckets, [(0.001, 2), (0.002, 4), (0.004, 5)]);
        assert_eq!(count, 7);
        assert!((sum - 9.012_002).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn alike_values_count_each() {
        let histogram = Histogram::plain(1, 2);
        histogram.observe_units(2, 3);
        histogram.observe_units(9, 0);
        let Reading { buckets, sum, count } = histogram.read();
        assert_eq!((buckets, sum, count), (vec![(1.0, 0), (2.0, 3)], 6.0, 3));
    }

    #[test]
    fn what_is_present_is_counted_until_it_goes() {
        let gauge = Gauge::default();
        let (one, two) = (gauge.enter(), gauge.enter());
        assert_eq!(gauge.load(), 2);
        drop(one);
        assert_eq!(gauge.load(), 1);
        drop(two);
        assert_eq!(gauge.load(), 0);
    }
}
