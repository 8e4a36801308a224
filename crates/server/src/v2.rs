//! The v2 API over HTTP: `/v2/...` of the client port.
//!
//! Not here: what a request does to the store (`store::v2`).

mod form;
mod json;
mod path;
mod users;
