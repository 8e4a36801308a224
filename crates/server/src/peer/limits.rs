//! Every bound of the peer transport, in one place.
//!
//! Times and sizes that a peer can see are etcd's; the others keep a broken or hostile peer from
//! growing this member.

use std::time::Duration;

/// Messages waiting for one stream; one more is dropped and the peer reported unreachable.
pub const STREAM_QUEUE: usize = 4096;
/// Bytes of the messages waiting for one stream, unless it is a single one.
pub const STREAM_BYTES: usize = 256 << 20;
/// Messages waiting for the POST workers of one peer; one more is dropped and reported.
pub const PIPELINE_QUEUE: usize = 64;
/// Bytes of the messages waiting for them, unless it is a single one.
pub const PIPELINE_BYTES: usize = 128 << 20;
/// POST requests in flight to one peer.
pub const PIPELINE_WORKERS: usize = 4;
/// Bytes encoded into one body frame before it is handed to the connection.
pub const BATCH_BYTES: usize = 256 * 1024;

/// Bytes of one message, or of one run of entries, on a stream or in a POST.
pub const MESSAGE_BYTES: u64 = 512 * 1024 * 1024;
/// Bytes of forwarded proposals: all that may wait for a leader (64 MiB) and what is around each.
pub const PROPOSAL_MESSAGE_BYTES: u64 = 128 * 1024 * 1024;
/// Bytes of a message that has neither entries nor a state: some numbers and a context.
pub const SHORT_MESSAGE_BYTES: u64 = 64 * 1024;
/// Bytes of a message in a POST whose sender is no member as far as this one knows. It may be about to
/// learn otherwise, so an append of the usual size is let through to where that is decided.
pub const STRANGER_MESSAGE_BYTES: u64 = 2 * 1024 * 1024;
/// Bytes of the message that precedes a database snapshot. It has the whole store of the v2 API.
pub const SNAPSHOT_MESSAGE_BYTES: u64 = 512 * 1024 * 1024;
/// Entries in one message. A message of etcd's default 1 MiB holds far fewer.
pub const MESSAGE_ENTRIES: u64 = 1 << 20;
/// Messages above this size are counted before they are decoded, so that many empty entries
/// cannot become much more memory than was received.
pub const COUNTED_MESSAGE_BYTES: usize = 1024 * 1024;
/// Bytes read of an answer to a request of ours.
pub const ANSWER_BYTES: usize = 64 * 1024;

/// Bytes of a question about a lease.
pub const LEASE_REQUEST_BYTES: usize = 64 * 1024;
/// Bytes of the answer, which may list all keys of a lease.
pub const LEASE_ANSWER_BYTES: usize = 100 * 1024 * 1024;
/// Questions about leases under way to one peer, each on a connection of its own.
pub const LEASE_CALLS: usize = 64;
/// Time for one question about a lease. The leader may fail meanwhile, so it is asked again.
pub const LEASE_CALL_DEADLINE: Duration = Duration::from_secs(2);

/// Silence after which a read or a write on a peer connection fails.
pub const IO_DEADLINE: Duration = Duration::from_secs(5);
/// Time between link heartbeats on a stream that has nothing to send.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(5_000 / 3);
/// Least time between two attempts to dial the same stream.
pub const REDIAL_INTERVAL: Duration = Duration::from_millis(100);
/// Time between two probes of a peer; shorter than the deadline of an idle connection.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(4);
/// Time for a POST of one message, from dialing to the answer.
pub const POST_DEADLINE: Duration = Duration::from_secs(10);
/// Time without progress, after a snapshot was uploaded, for the peer to store and answer.
pub const SNAPSHOT_ANSWER_DEADLINE: Duration = Duration::from_secs(300);
/// Time for a request head, and for an idle connection to stay open.
pub const HEADER_DEADLINE: Duration = Duration::from_secs(30);

/// Connections the peer listener serves at once; one more is closed at once.
pub const CONNECTIONS: usize = 1024;
/// Senders that are not members here (yet) but whose addresses are remembered for answers.
pub const REMOTES: usize = 32;
/// Snapshots received at once.
pub const SNAPSHOTS_RECEIVED: usize = 2;
/// Snapshots sent at once to one peer.
pub const SNAPSHOTS_SENT: usize = 1;

/// Least time between two log lines about messages that a peer's queues could not take.
pub const DROP_LOG_INTERVAL: Duration = Duration::from_secs(1);
