//! The v2 API seen from outside: raw requests, random ones, and the comparison of two servers.
//!
//! A request goes to two servers in lockstep, and status, headers and bodies must be equal.
//!
//! - [`http`] writes requests as they are, also bad ones, and reads answers header by header.
//! - [`json`] keeps the order and the escapes of what it reads.
//! - [`generate`] yields requests; the same seed and the same answers give the same requests.
//! - [`compare`] says which differences are none: dates, remaining times, the order of listings
//!   that etcd does not sort.
//! - [`watches`] holds the same watchers open on both servers.
//! - [`expiry`] lets keys end by themselves and waits until both servers agree that they are gone.
//! - [`twins`] runs two servers that cannot be told apart by their IDs.

pub mod auth;
pub mod compare;
pub mod expiry;
pub mod generate;
pub mod http;
pub mod json;
pub mod keys;
pub mod twins;
pub mod watches;
