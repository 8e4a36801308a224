//! The generated modules, one for each package of `proto/`.

#![expect(missing_docs, reason = "messages are documented, a field often says all by its name")]
#![expect(clippy::use_self, reason = "the generator names a recursive message in full")]
#![cfg_attr(
    feature = "grpc",
    expect(unused_qualifications, reason = "the generator qualifies what the prelude has"),
    expect(clippy::too_many_lines, reason = "the dispatch of a service is one generated match")
)]

/// Users, roles and permissions.
#[rustfmt::skip]
pub mod authpb;
/// The v3 API, the payload of log entries, the v2 request, the metadata of a WAL.
#[rustfmt::skip]
pub mod etcdserverpb;
/// The health service of gRPC.
#[path = "generated/grpc.health.v1.rs"]
#[rustfmt::skip]
pub mod healthpb;
/// Stored leases, and the questions members ask the leader about them.
#[rustfmt::skip]
pub mod leasepb;
/// Membership facts that travel through the log.
#[rustfmt::skip]
pub mod membershippb;
/// Keys with their history, and events.
#[rustfmt::skip]
pub mod mvccpb;
/// Consensus messages, as peers exchange them and as the WAL keeps them.
#[rustfmt::skip]
pub mod raftpb;
/// The envelope of a snapshot file.
#[rustfmt::skip]
pub mod snappb;
/// The election service.
#[rustfmt::skip]
pub mod v3electionpb;
/// The lock service.
#[rustfmt::skip]
pub mod v3lockpb;
/// Records of the write-ahead log.
#[rustfmt::skip]
pub mod walpb;
