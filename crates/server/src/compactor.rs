//! Automatic compaction: which revision to compact, and when.
//!
//! Every member watches its own revision; only the leader proposes. A [`Schedule`] decides without
//! a clock: each look tells it how much time has passed since the start.
//!
//! - *periodic* keeps what is younger than the retention. It samples the revision ten times in a
//!   retention (or in an hour, if the retention is longer), and compacts to the oldest sample: for
//!   the first time after one retention, then once every retention, but at least every hour.
//! - *revision* keeps that many revisions, and looks every five minutes.
//!
//! Not here: what a compaction does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use quoin_api::error::Error;
use quoin_api::etcdserverpb::{CompactionRequest, InternalRaftRequest};
use tokio::time::Instant;

use crate::config::AutoCompaction;
use crate::log::{self, Record};
use crate::member::Member;
use crate::record;

#[cfg(test)]
mod tests;

/// The longest time between two periodic compactions.
const PERIODIC_MAX: Duration = Duration::from_secs(3600);
/// Samples in one interval between two periodic compactions.
const SAMPLES_PER_INTERVAL: u32 = 10;
/// The time between two looks when revisions are counted.
const REVISION_PAUSE: Duration = Duration::from_secs(300);

/// Compacts as configured while this member leads. Never ends.
pub(crate) async fn run(member: Arc<Member>, mode: AutoCompaction) {
    let Some(mut schedule) = Schedule::new(mode) else { return std::future::pending().await };
    let begin = Instant::now();
    loop {
        schedule.sample(member.view().revision());
        tokio::time::sleep(schedule.pause()).await;
        if !member.is_leader() {
            continue;
        }
        let Some(revision) = schedule.due(begin.elapsed(), member.view().revision()) else {
            continue;
        };
        let Texts { starting, completed, failed } = schedule.texts();
        log::write(&schedule.about(record!(Info, starting, "revision" => revision)));
        match compact(&member, revision).await {
            Ok(()) | Err(Error::Compacted) => {
                schedule.compacted(begin.elapsed(), revision);
                log::write(&schedule.about(record!(Info, completed, "revision" => revision)));
            }
            Err(error) => {
                let failed = schedule.about(record!(Warn, failed, "revision" => revision));
                log::write(&failed.with("error", error.to_string()));
            }
        }
    }
}

async fn compact(member: &Member, revision: i64) -> Result<(), Error> {
    let compaction = Some(CompactionRequest { revision, physical: false });
    let request = InternalRaftRequest { compaction, ..InternalRaftRequest::default() };
    member.propose(request).await?.result.map(drop)
}

/// When to compact to which revision.
#[derive(Debug)]
enum Schedule {
    Periodic(Periodic),
    Revision { keep: i64, last: i64 },
}

#[derive(Debug)]
struct Periodic {
    retention: Duration,
    /// Revisions, oldest first, a [`Periodic::pause`] apart; the first is one retention old once
    /// the window is full.
    samples: VecDeque<i64>,
    last: i64,
    last_at: Duration,
    /// Whether the first retention has passed.
    settled: bool,
}

/// What is said about a compaction.
struct Texts {
    starting: &'static str,
    completed: &'static str,
    failed: &'static str,
}

impl Schedule {
    fn new(mode: AutoCompaction) -> Option<Self> {
        match mode {
            AutoCompaction::Off => None,
            AutoCompaction::Revisions(keep) => Some(Self::Revision { keep, last: 0 }),
            AutoCompaction::Periodic(retention) => Some(Self::Periodic(Periodic {
                retention,
                samples: VecDeque::new(),
                last: 0,
                last_at: Duration::ZERO,
                settled: false,
            })),
        }
    }

    fn texts(&self) -> Texts {
        match self {
            Self::Periodic(_) => Texts {
                starting: "starting auto periodic compaction",
                completed: "completed auto periodic compaction",
                failed: "failed auto periodic compaction",
            },
            Self::Revision { .. } => Texts {
                starting: "starting auto revision compaction",
                completed: "completed auto revision compaction",
                failed: "failed auto revision compaction",
            },
        }
    }

    /// Adds to a line what is kept.
    fn about(&self, record: Record) -> Record {
        match self {
            Self::Periodic(periodic) => record.with("compact-period", periodic.retention),
            Self::Revision { keep, .. } => record.with("revision-compaction-retention", *keep),
        }
    }

    /// The time until the next look.
    fn pause(&self) -> Duration {
        match self {
            Self::Periodic(periodic) => periodic.pause(),
            Self::Revision { .. } => REVISION_PAUSE,
        }
    }

    /// Takes note of the newest revision before a pause.
    fn sample(&mut self, revision: i64) {
        match self {
            Self::Periodic(periodic) => {
                periodic.samples.push_back(revision);
                if periodic.samples.len() > periodic.window() {
                    periodic.samples.pop_front();
                }
            }
            Self::Revision { .. } => {}
        }
    }

    /// The revision to compact to, if it is time.
    fn due(&mut self, now: Duration, newest: i64) -> Option<i64> {
        match self {
            Self::Periodic(periodic) => periodic.due(now),
            Self::Revision { keep, last } => {
                let revision = newest.saturating_sub(*keep);
                (revision > 0 && revision != *last).then_some(revision)
            }
        }
    }

    /// Takes note that a compaction has succeeded.
    fn compacted(&mut self, now: Duration, revision: i64) {
        match self {
            Self::Periodic(periodic) => (periodic.last, periodic.last_at) = (revision, now),
            Self::Revision { last, .. } => *last = revision,
        }
    }
}

impl Periodic {
    fn interval(&self) -> Duration {
        self.retention.min(PERIODIC_MAX)
    }

    /// Never zero, however short the retention.
    fn pause(&self) -> Duration {
        (self.interval() / SAMPLES_PER_INTERVAL).max(Duration::from_millis(1))
    }

    fn window(&self) -> usize {
        let samples = self.retention.as_nanos() / self.pause().as_nanos();
        usize::try_from(samples).unwrap_or(usize::MAX).saturating_add(1)
    }

    fn due(&mut self, now: Duration) -> Option<i64> {
        let revision = *self.samples.front()?;
        let wait = if self.settled { self.interval() } else { self.retention };
        if now.saturating_sub(self.last_at) < wait || revision == self.last {
            return None;
        }
        self.settled = true;
        Some(revision)
    }
}
