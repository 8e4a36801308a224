//! One member as a value: consensus, state machine and recovery, without network or clock.
//!
//! A [`Node`] takes inputs (a proposal, a read, a message from a peer, a tick, the news that the
//! log is durable) and answers each [`Node::turn`] with everything that has to happen outside:
//! messages to send, log work to make durable, answers for waiting clients, a new view to publish.
//! The server gives it threads, sockets and a clock; the simulator gives it a seed.
//!
//! In reading order: [`node`] (the turn), `waiters` and `reads` (who waits for what), `lessor` and
//! `leases` (when leases end), `senders` (who is heard), `checkpoints` (when one is due), `retention` (what followers may still need), [`log_work`] (what must be durable
//! before what is said), [`recover`] (from a data-dir to a node), [`export`] (from a data-dir to one
//! for etcd), [`request_id`], [`wire`] (raft messages as raftpb).
//!
//! Not here: tokio, gRPC, TLS, the wall clock, the format of any file.

#![warn(clippy::wildcard_enum_match_arm)]

mod checkpoints;
pub mod export;
mod leases;
mod lessor;
pub mod log_work;
pub mod node;
mod reads;
pub mod recover;
pub mod request_id;
mod retention;
mod senders;
mod waiters;
pub mod wire;

/// The consensus crate, for those who carry its messages.
pub use quoin_raft as raft;
/// The log crate, for those who give it a thread.
pub use quoin_wal as wal;

pub use checkpoints::Backlog;
pub use leases::LeaseCall;
pub use lessor::LeaseTime;
pub use log_work::LogWork;
pub use node::{Answer, Counts, Event, Failure, Node, Options, Status, Turn};
pub use recover::{DataDir, RecoverError, Recovered};
pub use request_id::RequestIds;

#[cfg(test)]
mod tests;
