//! What a caller may decide about a client, with etcd's defaults.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::Error;

/// How to reach a cluster. Take the default and set what differs; more fields will come.
#[derive(Clone, Debug)]
pub struct Options {
    /// `host:port`, `http://host:port` or `unix://path`, one per member.
    pub endpoints: Vec<String>,
    /// The longest time one attempt to connect may take; zero for no limit of its own.
    pub dial_timeout: Duration,
    /// The longest time a call may take, waiting for a connection included; none for no limit.
    pub command_timeout: Option<Duration>,
    /// How long a connection with calls in flight may be silent before it is probed; zero for
    /// never. Less than 10 s counts as 10 s, because servers drop clients that probe too often.
    pub keepalive_time: Duration,
    /// How long a probe may stay unanswered before the connection is given up.
    pub keepalive_timeout: Duration,
    /// The largest encoded request that is sent, in bytes; none for 2 MiB.
    pub max_send_bytes: Option<usize>,
    /// The largest encoded answer that is accepted, in bytes; none for 2 GiB.
    pub max_recv_bytes: Option<usize>,
    /// Is told of every attempt that failed, before it is repeated or given up.
    pub observer: Option<Observer>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            dial_timeout: Duration::from_secs(2),
            command_timeout: Some(Duration::from_secs(5)),
            keepalive_time: Duration::ZERO,
            keepalive_timeout: Duration::from_secs(6),
            max_send_bytes: None,
            max_recv_bytes: None,
            observer: None,
        }
    }
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.endpoints.is_empty() {
            return Err(Error::NoEndpoints);
        }
        match (self.max_send_bytes, self.max_recv_bytes) {
            (Some(send), Some(recv)) if send > recv => Err(Error::Limits { send, recv }),
            _ => Ok(()),
        }
    }

    /// Returns the limit for requests, in bytes.
    pub(crate) fn send_limit(&self) -> usize {
        self.max_send_bytes.unwrap_or(2 * 1024 * 1024)
    }

    /// Returns the limit for answers, in bytes.
    pub(crate) fn recv_limit(&self) -> usize {
        self.max_recv_bytes.unwrap_or(i32::MAX as usize)
    }

    /// Returns the silence after which a connection is probed; none for never.
    pub(crate) fn probe_interval(&self) -> Option<Duration> {
        const SHORTEST: Duration = Duration::from_secs(10);
        (!self.keepalive_time.is_zero()).then(|| self.keepalive_time.max(SHORTEST))
    }
}

/// A function that is told of failed attempts, for logging.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(&FailedAttempt<'_>) + Send + Sync>);

impl Observer {
    /// Wraps a function.
    pub fn new(observe: impl Fn(&FailedAttempt<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observe))
    }

    pub(crate) fn observe(&self, attempt: &FailedAttempt<'_>) {
        (self.0)(attempt);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// One attempt of a call that failed.
#[derive(Clone, Copy, Debug)]
pub struct FailedAttempt<'a> {
    /// The first endpoint of the connections that the call could use.
    pub target: &'a str,
    /// The remote and the local address; none if no connection was up or it is no TCP connection.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// The full name of the gRPC method.
    pub method: &'a str,
    /// How many attempts were made before this one.
    pub attempt: u32,
    /// Why the attempt failed.
    pub error: &'a Error,
}
