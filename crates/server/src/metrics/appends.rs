//! Appends that this member sent as the leader and received as a follower, as etcd counts them for
//! its v2 API.
//!
//! Invariants:
//! - Who leads is known here from appends alone, and from this member's own election.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Appends that a rate is taken of.
const SAMPLES: usize = 200;
/// Without an append for this long there is no rate.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// The appends of one member.
#[derive(Debug)]
pub(crate) struct Appends(Mutex<Counted>);

#[derive(Debug)]
struct Counted {
    started: SystemTime,
    state: AppendState,
    leader: Option<u64>,
    leader_since: (SystemTime, Instant),
    sent: Way,
    received: Way,
}

/// What the last append made this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppendState {
    /// It received one, or there was none yet.
    Follower,
    /// It sent one, or was elected.
    Leader,
}

/// Appends in one direction.
#[derive(Debug, Default)]
struct Way {
    count: u64,
    /// When the last ones passed, and their bytes.
    last: VecDeque<(Instant, usize)>,
    last_bytes: usize,
}

/// A look at the counts.
#[derive(Clone, Debug)]
pub(crate) struct AppendReport {
    pub(crate) started: SystemTime,
    pub(crate) state: AppendState,
    pub(crate) leader: Option<u64>,
    pub(crate) leader_since: SystemTime,
    pub(crate) leader_uptime: Duration,
    pub(crate) sent: AppendRate,
    pub(crate) received: AppendRate,
}

/// A look at one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AppendRate {
    pub(crate) count: u64,
    /// Appends and bytes per second of late.
    pub(crate) per_s: Option<(f64, f64)>,
}

impl Default for Appends {
    fn default() -> Self {
        let now = (SystemTime::now(), Instant::now());
        Self(Mutex::new(Counted {
            started: now.0,
            state: AppendState::Follower,
            leader: None,
            leader_since: now,
            sent: Way::default(),
            received: Way::default(),
        }))
    }
}

impl Appends {
    /// Counts one that this member, the leader, sends.
    pub(crate) fn sent(&self, own_id: u64, bytes: usize) {
        let mut counted = self.lock();
        counted.lead(own_id);
        counted.sent.pass(Instant::now(), bytes);
    }

    /// Counts one that a leader sent.
    pub(crate) fn received(&self, leader: u64, bytes: usize) {
        let mut counted = self.lock();
        counted.state = AppendState::Follower;
        if counted.leader != Some(leader) {
            counted.leader = Some(leader);
            counted.leader_since = (SystemTime::now(), Instant::now());
        }
        counted.received.pass(Instant::now(), bytes);
    }

    /// Notes that this member was elected.
    pub(crate) fn elected(&self, own_id: u64) {
        self.lock().lead(own_id);
    }

    /// Returns the counts.
    pub(crate) fn report(&self) -> AppendReport {
        let mut counted = self.lock();
        let now = Instant::now();
        let (leader_since, instant) = counted.leader_since;
        AppendReport {
            started: counted.started,
            state: counted.state,
            leader: counted.leader,
            leader_since,
            leader_uptime: now.saturating_duration_since(instant),
            sent: counted.sent.rate(now),
            received: counted.received.rate(now),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn lead(&mut self, own_id: u64) {
        if self.state != AppendState::Leader {
            self.state = AppendState::Leader;
            self.leader = Some(own_id);
            self.leader_since = (SystemTime::now(), Instant::now());
        }
    }
}

impl Way {
    fn pass(&mut self, now: Instant, bytes: usize) {
        self.count += 1;
        if self.last.len() >= SAMPLES
            && let Some((_, oldest)) = self.last.pop_front()
        {
            self.last_bytes = self.last_bytes.saturating_sub(oldest);
        }
        self.last.push_back((now, bytes));
        self.last_bytes += bytes;
    }

    fn rate(&mut self, now: Instant) -> AppendRate {
        let times = self.last.front().zip(self.last.back());
        let Some((first, last)) = times.map(|((first, _), (last, _))| (*first, *last)) else {
            return AppendRate { count: self.count, per_s: None };
        };
        if now.saturating_duration_since(last) > SILENCE_MAX {
            self.last.clear();
            self.last_bytes = 0;
            return AppendRate { count: self.count, per_s: None };
        }
        let span_s = last.saturating_duration_since(first).as_secs_f64();
        let (requests, bytes) = (self.last.len() as f64, self.last_bytes as f64);
        // One append alone has no rate.
        let per_s = (span_s > 0.0).then(|| (requests / span_s, bytes / span_s));
        AppendRate { count: self.count, per_s }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_second() {
        let begin = Instant::now();
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        let mut way = Way::default();
        assert_eq!(way.rate(begin).per_s, None);
        way.pass(at(0), 10);
        assert_eq!(way.rate(at(1)).per_s, None);
        way.pass(at(500), 20);
        assert_eq!(way.rate(at(600)), AppendRate { count: 2, per_s: Some((4.0, 60.0)) });
        assert_eq!(way.rate(at(1600)), AppendRate { count: 2, per_s: None });
        assert_eq!(way.rate(at(1600)).per_s, None);
    }

    #[test]
    fn who_leads_follows_from_appends() {
        let appends = Appends::default();
        assert_eq!(appends.report().leader, None);
        appends.received(7, 1);
        appends.received(7, 1);
        let report = appends.report();
        assert_eq!((report.leader, report.state), (Some(7), AppendState::Follower));
        assert_eq!((report.received.count, report.sent.count), (2, 0));
        appends.elected(1);
        let report = appends.report();
        assert_eq!((report.leader, report.state), (Some(1), AppendState::Leader));
    }
}
