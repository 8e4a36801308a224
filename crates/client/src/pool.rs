//! The connections to a list of endpoints: kept up by one task each, handed out in turn.
//!
//! Invariants:
//! - A lost connection is dialed again at once, or after `SHORTEST_PAUSE` if it did not last. A
//!   failed dial is repeated after a pause that doubles up to `LONGEST_PAUSE`.
//! - The tasks end with the pool.
//!
//! Not here: what is sent, and when a call is repeated (see `call`).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::connection::Connection;
use crate::endpoint::Endpoint;
use crate::{Error, Options};

const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// A connection that lasted this long is dialed again without a pause.
const STABLE: Duration = Duration::from_secs(1);

/// Connections to a list of endpoints.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: Arc<Slots>,
    turn: AtomicUsize,
    tasks: Vec<JoinHandle<()>>,
    first: String,
}

/// The state of each endpoint, and a counter that grows whenever one of them changes.
#[derive(Debug)]
struct Slots {
    states: Mutex<Vec<State>>,
    changed: watch::Sender<u64>,
}

#[derive(Clone, Debug)]
enum State {
    Up(Connection),
    /// Why there is no connection; none until the first dial has failed.
    Down(Option<String>),
}

impl Pool {
    /// Begins to connect to all endpoints.
    pub(crate) fn open(endpoints: &[String], options: &Options) -> Result<Self, Error> {
        let parsed: Result<Vec<Endpoint>, Error> =
            endpoints.iter().map(|text| Endpoint::parse(text)).collect();
        let parsed = parsed?;
        let first = parsed.first().map(|endpoint| endpoint.authority.clone());
        let slots = Arc::new(Slots {
            states: Mutex::new(vec![State::Down(None); parsed.len()]),
            changed: watch::Sender::new(0),
        });
        let keep = |(index, endpoint)| {
            let keeper = Keeper { index, endpoint, slots: slots.clone(), options: options.clone() };
            tokio::spawn(keeper.keep())
        };
        let tasks = parsed.into_iter().enumerate().map(keep).collect();
        Ok(Self { slots, turn: AtomicUsize::new(0), tasks, first: first.unwrap_or_default() })
    }

    /// The first endpoint, which stands for the pool in logs.
    pub(crate) fn first(&self) -> &str {
        &self.first
    }

    /// The number of endpoints.
    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Waits until a connection is up and returns it, a different one each time if there are
    /// several.
    pub(crate) async fn next(&self) -> Connection {
        let mut changed = self.slots.changed.subscribe();
        loop {
            if let Some(connection) = self.next_open() {
                return connection;
            }
            // The sender lives in `self.slots`, so the channel cannot be closed.
            changed.changed().await.ok();
        }
    }

    fn next_open(&self) -> Option<Connection> {
        let states = self.slots.lock();
        let count = states.len();
        for _ in 0..count {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % count;
            if let State::Up(connection) = &states[turn]
                && connection.is_open()
            {
                return Some(connection.clone());
            }
        }
        None
    }

    /// Why no connection is up, as far as is known.
    pub(crate) fn last_failure(&self) -> Option<String> {
        self.slots.lock().iter().find_map(|state| match state {
            State::Down(reason) => reason.clone(),
            State::Up(_) => None,
        })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Slots {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<State>> {
        // No code panics while it holds the lock, and a state is replaced as a whole.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, index: usize, state: State) {
        self.lock()[index] = state;
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Keeps one endpoint connected.
struct Keeper {
    index: usize,
    endpoint: Endpoint,
    slots: Arc<Slots>,
    options: Options,
}

impl Keeper {
    async fn keep(self) {
        let mut pause = SHORTEST_PAUSE;
        loop {
            match self.dial().await {
                Ok((connection, driver)) => {
                    let since = Instant::now();
                    self.slots.set(self.index, State::Up(connection));
                    let reason = match driver.await {
                        Ok(()) => "connection closed by the server".to_owned(),
                        Err(error) => format!("connection lost: {error}"),
                    };
                    self.slots.set(self.index, State::Down(Some(reason)));
                    pause = SHORTEST_PAUSE;
                    if since.elapsed() >= STABLE {
                        continue;
                    }
                }
                Err(reason) => self.slots.set(self.index, State::Down(Some(reason))),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn dial(&self) -> Result<(Connection, crate::connection::Driver), String> {
        let dial = Connection::dial(&self.endpoint, &self.options);
        if self.options.dial_timeout.is_zero() {
            return dial.await;
        }
        match timeout(self.options.dial_timeout, dial).await {
            Ok(dialed) => dialed,
            Err(_) => {
                let address = &self.endpoint.authority;
                Err(format!("Error while dialing: dial {address}: i/o timeout"))
            }
        }
    }
}
