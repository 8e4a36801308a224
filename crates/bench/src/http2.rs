//! The client half of HTTP/2 that gRPC needs, as a value: bytes in, bytes and answers out.
//!
//! Not here: sockets, time, TLS, and anything a unary call does not use.

pub mod connection;
pub mod frame;
pub mod headers;
pub mod hpack;
mod huffman;
mod streams;

/// The server broke the protocol, in a way that leaves the connection useless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolError(pub &'static str);

impl std::fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for ProtocolError {}
