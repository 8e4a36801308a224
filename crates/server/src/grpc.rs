//! The gRPC services: wire in, wire out. What a request means is the store's business.
//!
//! Every handler checks the request as etcd's front does, so that what reaches the log is valid,
//! and answers with etcd's codes and texts.

pub(crate) mod admission;
pub(crate) mod call;
mod cluster;
pub(crate) mod counted;
pub(crate) mod encoding;
pub(crate) mod health;
mod kv;
pub(crate) mod large;
mod lease;
mod maintenance;
mod range_stream;
mod ready_made;
mod slow;
mod snapshot;
pub(crate) mod stats;
pub(crate) mod unary;
pub(crate) mod unfinished;
pub(crate) mod watch;

use std::sync::Arc;

use tonic::{Response, Status};

use crate::config::Config;
use crate::lease::Leases;
use crate::member::Member;
use crate::quota::Quota;

/// The handlers of all services of one member.
#[derive(Clone, Debug)]
pub(crate) struct Services {
    pub(crate) member: Arc<Member>,
    pub(crate) config: Arc<Config>,
    pub(crate) quota: Arc<Quota>,
    pub(crate) room: Arc<large::Room>,
    pub(crate) leases: Leases,
}

pub(crate) use maintenance::store_bytes;

type Reply<T> = Result<Response<T>, Status>;

/// Answers a call that belongs to a capability that does not exist yet.
fn not_built<T>(call: &str) -> Reply<T> {
    Err(Status::unimplemented(format!("etcdserver: {call} is not supported by this release")))
}
