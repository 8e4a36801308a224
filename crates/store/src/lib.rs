//! The replicated state machine: keys, revisions, leases, alarms, membership, checkpoint.
//!
//! [`Store`] applies log entries in order and is a pure function of them: no clock, no
//! randomness, no threads, no local settings. Every member that applies the same entries has the
//! same state and gives the same answers. [`View`] is the state after some entry, immutable and
//! shared without locks. [`Checkpoint`] writes a state to a file and reads it back; it is the only
//! part that touches files.
//!
//! The rooms, from the bottom up: `tree` (an ordered map that is shared while it changes),
//! `index` (the changes of each key), `record` and `history` (the changes in their order), `kv`
//! (the rules of etcd's key space), `lease`, `alarm`, `membership`, `v2` (the store of the v2 API), `cluster`
//! (the members as both of these show them), `check` (what a request may not ask), `view`, `store`,
//! `tally` (what it counts), `watch` (who is told which changes), `checkpoint`, `bbolt` (the state as
//! etcd's database file, both ways).
//!
//! Not here: Raft, the WAL, when a lease expires, who may do what.

mod alarm;
mod bbolt;
mod check;
mod checkpoint;
mod cluster;
mod history;
mod index;
mod kv;
mod lease;
mod membership;
mod record;
mod refound;
mod revision;
mod store;
mod tally;
mod tree;
mod v2;
mod view;
mod watch;

pub use bbolt::{
    Announced, ClusterReplay, DbExport, DbImport, ExportError, ImportError, ReceiveError,
    ReceivedDatabase, SnapFile,
};
pub use check::{
    MAX_TXN_DEPTH, check_delete, check_put, check_range, check_range_stream, check_txn,
    is_txn_readonly, is_txn_serializable,
};
pub use checkpoint::{
    Checkpoint, CheckpointError, CheckpointId, CheckpointStream, ConfState, Loaded, ReceivedId,
    WriteOptions, Written,
};
pub use cluster::V2Changes;
pub use kv::Bound;
pub use lease::{Lease, LeaseChange, MAX_LEASE_TTL_S};
pub use membership::{
    BadChange, ClusterVersion, Downgrade, Member, Membership, cluster_id, member_id,
};
pub use revision::Revision;
pub use store::{
    Applied, DEFAULT_MAX_LEARNERS, EntryData, Fatal, PendingReply, Reply, SegmentUse, Store,
};
pub use tally::{RequestKind, Tally};
pub use v2::{
    V2Action, V2Delivery, V2Error, V2ErrorCode, V2Event, V2Listing, V2Node, V2Notice, V2Outcome,
    V2Row, V2Stats, V2Store, V2View, V2Watch, V2WatchHub, V2WatchOptions, V2WatcherId,
    push_json_string,
};
pub use view::{CompactionHash, Event, HashKv, View};
pub use watch::{WatchHub, WatchLimits, WatchOptions, WatchStats, WatchStreamId};
