//! The etcd process: configuration, gRPC, HTTP, peer transport, threads.
//!
//! In reading order: [`config`] and [`log`] (what the operator says and sees), [`boot`] (the way
//! up and down), [`signals`] and `notify` (what the operating system and a service manager say and
//! are told), `driver` (the threads), `member` (the member as network tasks see it), `lane` (how
//! answers reach them), `bell`
//! (how they learn of a new view), `lease`, `serve`, `grpc`, `http` and `v2` (the client port), `quota`
//! and `compactor` (how much is kept), `metrics` (what was counted), `peer` and `outside` (the other
//! members), `programs` (what they run), `publish` (what a member says about itself), `vital` (what must not
//! end by itself), [`version`].
//!
//! Not here: consensus, replicated state, file formats.

mod ask;
mod bell;
pub mod boot;
mod compactor;
pub mod config;
mod driver;
mod grpc;
mod hashes;
mod http;
mod lane;
mod lease;
pub mod log;
mod member;
mod metrics;
mod notify;
mod outside;
pub mod peer;
mod programs;
mod publish;
mod quota;
mod serve;
pub mod signals;
mod strangers;
pub mod v2;
pub mod version;
mod vital;
