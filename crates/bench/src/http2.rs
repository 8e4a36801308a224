//! The client half of HTTP/2 that gRPC needs, as a value: bytes in, bytes and answers out.
//!
//! Not here: sockets, time, TLS, and anything a unary call does not use.

pub mod connection;
pub mod headers;
mod streams;
