//! Client of etcd's v2 API: the addresses and the errors that it shows.
//!
//! Invariants:
//! - Errors read as those of etcd's v2 client, because scripts look for their texts.

mod error;
mod url;

pub use error::Error;
pub use url::{Url, canonical_path};
