//! Wire and persisted messages of etcd, gRPC service traits, the error table.
//!
//! The messages are generated from `proto/` by `cargo xtask codegen` and committed. Packages,
//! services, field names and numbers are etcd's, so that clients, peers and files of etcd
//! interoperate. The feature `grpc` adds the service traits and clients.
//!
//! Not here: any rule about what a message means.

mod generated;

pub mod error;

pub use generated::{
    authpb, etcdserverpb, healthpb, leasepb, membershippb, mvccpb, raftpb, snappb, v3electionpb,
    v3lockpb, walpb,
};
