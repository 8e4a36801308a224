//! A load of writes: sent at a pace, timed, judged.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quoin_api::etcdserverpb::PutRequest;
use quoin_client::Client;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::exit::Exit;

/// The share of the load that a cluster must take.
const ENOUGH: f64 = 0.9;
/// The longest time that a request may take, in seconds.
const SLOWEST: f64 = 0.5;
/// The largest standard deviation of the times, in seconds.
const DEVIATION: f64 = 0.1;

/// How many writes there are, and when.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// So many as fast as they go.
    Count(u64),
    /// No more than so many each second.
    Rate { each_second: u32, seconds: u64 },
}

impl Pace {
    /// When the write with this number is due, counted from the beginning; none if there is no
    /// such write.
    fn due(self, number: u64) -> Option<Duration> {
        match self {
            Self::Count(count) => (number < count).then_some(Duration::ZERO),
            Self::Rate { each_second, seconds } => {
                let due = Duration::from_secs_f64(number as f64 / f64::from(each_second));
                (due < Duration::from_secs(seconds)).then_some(due)
            }
        }
    }

    fn end(self) -> Option<Duration> {
        match self {
            Self::Count(_) => None,
            Self::Rate { seconds, .. } => Some(Duration::from_secs(seconds)),
        }
    }
}

/// A load.
#[derive(Clone)]
pub(super) struct Load {
    pace: Pace,
    put: Arc<dyn Fn(u64) -> PutRequest + Send + Sync>,
    next: Arc<AtomicU64>,
    /// Scatters the keys, those of each load differently.
    scatter: RandomState,
}

impl Load {
    /// A load of the writes that `put` makes of scattered numbers.
    pub(super) fn new(pace: Pace, put: Arc<dyn Fn(u64) -> PutRequest + Send + Sync>) -> Self {
        Self { pace, put, next: Arc::new(AtomicU64::new(0)), scatter: RandomState::new() }
    }

    /// Runs the load with one worker for each client.
    pub(super) async fn run(&self, clients: &[Client]) -> Result<Report, Exit> {
        let start = Instant::now();
        let mut workers = JoinSet::new();
        for client in clients {
            workers.spawn(self.clone().work(client.clone(), start));
        }
        let mut report = Report::default();
        while let Some(part) = workers.join_next().await {
            report.add(part.map_err(Exit::failure)?);
        }
        report.total = start.elapsed().as_secs_f64();
        Ok(report)
    }

    async fn work(self, client: Client, start: Instant) -> Report {
        let mut report = Report::default();
        let end = self.pace.end();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(due) = self.pace.due(number) else {
                break;
            };
            sleep_until(start + due).await;
            if end.is_some_and(|end| start.elapsed() >= end) {
                break;
            }
            let put = (self.put)(self.scatter.hash_one(number));
            let began = Instant::now();
            match client.put(put).await {
                Ok(_) => report.seconds.push(began.elapsed().as_secs_f64()),
                Err(error) => *report.errors.entry(error.to_string()).or_default() += 1,
            }
        }
        report
    }
}

/// How a load went.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// How long each write took.
    seconds: Vec<f64>,
    errors: BTreeMap<String, u64>,
    /// How long all of them took.
    total: f64,
}

impl Report {
    fn add(&mut self, part: Self) {
        self.seconds.extend(part.seconds);
        for (error, count) in part.errors {
            *self.errors.entry(error).or_default() += count;
        }
    }

    /// The errors as lines; none if there are none.
    pub(super) fn errors(&self) -> Option<String> {
        if self.errors.is_empty() {
            return None;
        }
        let mut text = "FAIL: too many errors\n".to_owned();
        for (error, count) in &self.errors {
            // Writing to a string cannot fail.
            writeln!(text, "FAIL: ERROR({error}) -> {count}").ok();
        }
        Some(text)
    }

    /// What is to be said, and whether the cluster has passed.
    pub(super) fn judge(&self, rate: u32) -> (String, bool) {
        let count = self.seconds.len().max(1) as f64;
        let throughput =
            if self.total > 0.0 { self.seconds.len() as f64 / self.total } else { 0.0 };
        let slowest = self.seconds.iter().copied().fold(0.0, f64::max);
        let mean = self.seconds.iter().sum::<f64>() / count;
        let squares = self.seconds.iter().map(|seconds| (seconds - mean).powi(2));
        let deviation = (squares.sum::<f64>() / count).sqrt().abs();

        let mut text = self.errors().unwrap_or_default();
        let mut passed = text.is_empty();
        let mut line = |holds: bool, pass: String, fail: String| {
            passed &= holds;
            text.push_str(if holds { &pass } else { &fail });
            text.push('\n');
        };
        let writes = throughput as u64 + 1;
        line(
            throughput / f64::from(rate) > ENOUGH,
            format!("PASS: Throughput is {writes} writes/s"),
            format!("FAIL: Throughput too low: {writes} writes/s"),
        );
        line(
            slowest <= SLOWEST,
            format!("PASS: Slowest request took {slowest:.6}s"),
            format!("Slowest request took too long: {slowest:.6}s"),
        );
        line(
            deviation <= DEVIATION,
            format!("PASS: Stddev is {deviation:.6}s"),
            format!("Stddev too high: {deviation:.6}s"),
        );
        text.push_str(if passed { "PASS\n" } else { "FAIL\n" });
        (text, passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_due_at_the_pace() {
        let pace = Pace::Rate { each_second: 2, seconds: 3 };
        assert_eq!(pace.due(0), Some(Duration::ZERO));
        assert_eq!(pace.due(5), Some(Duration::from_millis(2500)));
        assert_eq!(pace.due(6), None);
        assert_eq!(Pace::Count(2).due(1), Some(Duration::ZERO));
        assert_eq!(Pace::Count(2).due(2), None);
    }

    #[test]
    fn a_load_that_was_taken_passes() {
        let report = Report { seconds: vec![0.25; 145], total: 1.0, ..Report::default() };
        let text = "PASS: Throughput is 146 writes/s\nPASS: Slowest request took 0.250000s\n\
                    PASS: Stddev is 0.000000s\nPASS\n";
        assert_eq!(report.judge(150), (text.to_owned(), true));
    }

    #[test]
    fn every_reason_to_fail_is_named() {
        let errors = BTreeMap::from([("lost".to_owned(), 2)]);
        let report = Report { seconds: vec![0.0, 1.0], errors, total: 1.0 };
        let text = "FAIL: too many errors\nFAIL: ERROR(lost) -> 2\n\
                    FAIL: Throughput too low: 3 writes/s\n\
                    Slowest request took too long: 1.000000s\n\
                    Stddev too high: 0.500000s\nFAIL\n";
        assert_eq!(report.judge(150), (text.to_owned(), false));
    }

    #[test]
    fn a_load_without_a_write_fails() {
        assert!(!Report::default().judge(150).1);
    }
}
