//! The v2 API seen from outside: raw requests, random ones, and the comparison of two servers.
//!
//! A request goes to two servers in lockstep, and status, headers and bodies must be equal.
//!
//! - [`http`] writes requests as they are, also bad ones, and reads answers header by header.
//! - [`json`] keeps the order and the escapes of what it reads.
//! - [`compare`] says which differences are none: dates, remaining times, the order of listings
//!   that etcd does not sort.
//! - [`watches`] holds the same watchers open on both servers.
//! - [`twins`] runs two servers that cannot be told apart by their IDs.

pub mod compare;
pub mod http;
pub mod json;
pub mod twins;
pub mod watches;
