//! HTTP/2 as a value: bytes in, events and bytes out.
//!
//! In reading order: [`frame`] (what is on the wire), [`hpack`] (header compression), [`head`] (what
//! makes a request malformed), [`connection`] (the server's side of one connection: `receive`, `send`),
//! `streams` (what each call may send), [`bounds`] and `keep_alive` (what a client must not do), [`error`].
//!
//! Not here: sockets, clocks, TLS, the client's side (the load generator has one), what a request means.

pub mod bounds;
pub mod connection;
pub mod error;
pub mod frame;
pub mod head;
pub mod hpack;
mod keep_alive;
mod streams;

pub use bounds::Limits;
pub use connection::{Connection, Event};
pub use error::{Code, ConnectionError};
pub use head::Head;
pub use keep_alive::{KeepAliveTimes, TOO_MANY_PINGS};

/// The other side broke the protocol, in a way that leaves the connection useless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolError(pub &'static str);

impl std::fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for ProtocolError {}
