//! Load for a member or a cluster, and the comparison of two servers under the same load.
//!
//! A generator that costs more than the server measures itself, so this one speaks HTTP/2 at the
//! level of frames, and HTTP/1.1 for the v2 API: about a microsecond for each request, on one thread,
//! without an allocation.
//! The loop is closed: a stream sends its next request when the answer to the last one is there.
//! Latencies of a closed loop hide what waits outside (coordinated omission): compare them, do not
//! quote them.
//!
//! Reading order: [`http2`] and [`http1`] (the protocols, without sockets), [`workload`] (what is sent),
//! [`load`] (sockets and the loop), [`histogram`] and [`report`] (what is said about it),
//! [`call`] and [`process`] (what a comparison needs around a load), [`compare`] (two servers in
//! turn), [`expire`] (leases that end at once), [`watch`] (watchers beside a load),
//! [`v2_wait`] (what a watcher of the v2 API costs).
//!
//! Not here: correctness. The answers are counted by status, not read.

pub mod call;
pub mod compare;
mod connection;
pub mod expire;
pub mod histogram;
pub mod http1;
pub mod http2;
pub mod load;
pub mod process;
pub mod report;
pub mod v2_wait;
pub mod watch;
pub mod workload;

use std::fmt;
use std::io;

/// Why there is no measurement.
#[derive(Debug)]
pub enum Error {
    /// The operating system refused something.
    Io {
        /// What was to be done.
        doing: String,
        /// What it answered.
        cause: io::Error,
    },
    /// A server did not do what it must for a measurement to make sense.
    Server(String),
    /// The caller asked for something impossible.
    Usage(String),
}

impl Error {
    fn io(doing: impl Into<String>, cause: io::Error) -> Self {
        Self::Io { doing: doing.into(), cause }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, cause } => write!(f, "{doing}: {cause}"),
            Self::Server(reason) | Self::Usage(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Error {}
