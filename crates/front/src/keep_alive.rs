//! Signs of life in both directions, with the rules of etcd's gRPC library.
//!
//! The server asks a silent client with a PING and gives it up if nothing comes back. A client that
//! asks too often is sent away with `too_many_pings`.

/// Why a client is sent away that asks too often. Clients of gRPC look for this text.
pub const TOO_MANY_PINGS: &str = "too_many_pings";
/// Strikes that a client may have.
const STRIKES_MAX: u8 = 2;
/// How often a client without any call may ask.
const WITHOUT_CALLS_MS: u64 = 2 * 60 * 60 * 1000;

/// The times of one server.
#[derive(Clone, Copy, Debug)]
pub struct KeepAliveTimes {
    /// How long a client may be silent before it is asked. None: it is never asked.
    pub interval_ms: Option<u64>,
    /// How long it may take for a sign of life then.
    pub timeout_ms: u64,
    /// The least time between two questions of a client.
    pub min_time_ms: u64,
}

/// The state of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepAlive {
    times: KeepAliveTimes,
    /// When something came from the client.
    heard_ms: u64,
    /// When we asked, if nothing came since.
    asked_ms: Option<u64>,
    /// When the client asked last.
    asked_us_ms: Option<u64>,
    strikes: u8,
    /// Something was answered since the last question, which forgives all before it.
    is_forgiven: bool,
}

/// What is to be done at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    Ask,
    GiveUp,
}

impl KeepAlive {
    pub(crate) fn new(times: KeepAliveTimes, now_ms: u64) -> Self {
        let (asked_ms, asked_us_ms, is_forgiven) = (None, None, false);
        Self { times, heard_ms: now_ms, asked_ms, asked_us_ms, strikes: 0, is_forgiven }
    }

    /// Something came from the client.
    pub(crate) fn heard(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
        self.asked_ms = None;
    }

    /// Something other than an answer to a question goes to the client.
    pub(crate) fn answered(&mut self) {
        self.is_forgiven = true;
    }

    /// The client asks. Returns false if it asked too often.
    pub(crate) fn asked(&mut self, now_ms: u64, has_calls: bool) -> bool {
        let before_ms = self.asked_us_ms.replace(now_ms);
        if std::mem::take(&mut self.is_forgiven) {
            self.strikes = 0;
            return true;
        }
        let least_ms = if has_calls { self.times.min_time_ms } else { WITHOUT_CALLS_MS };
        if before_ms.is_some_and(|before_ms| now_ms < before_ms.saturating_add(least_ms)) {
            self.strikes += 1;
        }
        self.strikes <= STRIKES_MAX
    }

    /// When [`Self::due`] has something to say at the earliest.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let interval_ms = self.times.interval_ms?;
        let (from_ms, after_ms) = match self.asked_ms {
            None => (self.heard_ms, interval_ms),
            Some(asked_ms) => (asked_ms, self.times.timeout_ms),
        };
        Some(from_ms.saturating_add(after_ms))
    }

    /// What is to be done now.
    pub(crate) fn due(&mut self, now_ms: u64) -> Due {
        if self.deadline_ms().is_none_or(|deadline_ms| now_ms < deadline_ms) {
            return Due::Nothing;
        }
        if self.asked_ms.is_some() {
            return Due::GiveUp;
        }
        self.asked_ms = Some(now_ms);
        Due::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: KeepAliveTimes =
        KeepAliveTimes { interval_ms: Some(100), timeout_ms: 20, min_time_ms: 5_000 };

    #[test]
    fn a_silent_client_is_asked_and_given_up() {
        let mut state = KeepAlive::new(TIMES, 1_000);
        assert_eq!(state.due(1_099), Due::Nothing);
        assert_eq!(state.due(1_100), Due::Ask);
        assert_eq!(state.due(1_119), Due::Nothing);
        state.heard(1_119);
        assert_eq!(state.deadline_ms(), Some(1_219));
        assert_eq!(state.due(1_219), Due::Ask);
        assert_eq!(state.due(1_239), Due::GiveUp);
        let never = KeepAliveTimes { interval_ms: None, ..TIMES };
        assert_eq!(KeepAlive::new(never, 0).due(u64::MAX), Due::Nothing);
    }

    #[test]
    fn a_client_that_asks_too_often_is_sent_away() {
        // As in etcd: the first question is free, then three strikes.
        let mut state = KeepAlive::new(TIMES, 0);
        let asked = [0, 10, 20, 30].map(|now_ms| state.asked(now_ms, true));
        assert_eq!(asked, [true, true, true, false]);
        let mut state = KeepAlive::new(TIMES, 0);
        for number in 0..10 {
            assert!(state.asked(number * 5_000, true), "{number}");
        }
        // Without a call the same rhythm is too fast.
        assert!(state.asked(50_000, false) && state.asked(55_000, false));
        assert!(!state.asked(60_000, false));
        // An answer in between forgives.
        let mut state = KeepAlive::new(TIMES, 0);
        for number in 0..100 {
            state.answered();
            assert!(state.asked(number, true));
        }
    }
}
