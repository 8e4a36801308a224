//! Consensus as a value: a Raft core without input or output.
//!
//! Ticks, messages, proposals and a seed come in; [`Ready`] values go out and say what must be
//! durable before what may be sent or applied. The same inputs give the same outputs, always.
//! The semantics are those of etcd's raft, so that nodes of both can form one group: pre-vote,
//! quorum checks, learners, membership changes of one node that are active when applied, reads
//! confirmed by a majority, leadership transfer, and storage writes that overlap.
//!
//! ```text
//! tick, step, propose, read_index ... -> Raft -> Ready { write, send, send after sync, apply }
//!                                         ^
//!     persisted(number), set_applied(index), report_snapshot(id, ok) ...
//! ```
//!
//! A group of one, whose driver has a perfect disk:
//!
//! ```
//! use quoin_raft::{Config, ConfState, NodeId, Raft, Restored, Role};
//!
//! let id = NodeId(1);
//! let config = Config {
//!     id,
//!     election_ticks: 10,
//!     heartbeat_ticks: 1,
//!     max_size_per_message: 1 << 20,
//!     max_inflight_messages: 512,
//!     max_committed_bytes_per_ready: 1 << 20,
//!     max_uncommitted_bytes: 1 << 30,
//!     pre_vote: true,
//!     check_quorum: true,
//!     seed: 42,
//! };
//! let conf = ConfState { voters: vec![id], learners: vec![] };
//! let mut raft = Raft::new(config, Restored { conf, ..Restored::default() })?;
//! let mut applied = Vec::new();
//! let mut drive = |raft: &mut Raft| {
//!     while let Some(ready) = raft.ready() {
//!         // Send `messages`; write and sync; send `messages_after_sync`.
//!         raft.persisted(ready.number);
//!         for entry in ready.committed {
//!             raft.set_applied(entry.index);
//!             applied.push(entry.data);
//!         }
//!     }
//! };
//!
//! raft.campaign();
//! drive(&mut raft);
//! assert_eq!(raft.role(), Role::Leader);
//! raft.propose(vec!["hello".into()])?;
//! drive(&mut raft);
//! // The leader's first entry is empty.
//! assert_eq!(applied, ["", "hello"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Not here: files, sockets, clocks, threads, ambient randomness, the meaning of an entry's bytes.

mod types;

mod message;

mod error;

mod config;

mod raft;

mod validate;

mod election;

mod replication;

mod proposal;

mod membership;

mod read_only;

mod stall;

mod ready;

mod notice;

mod status;

mod log;

mod progress;

mod quorum;

mod rng;

pub use config::{Config, Restored};
pub use error::{ProposalDropped, ReadDropped, RestoreError, StepError};
pub use message::{Body, Message, Rejection};
pub use notice::{NOTICES_MAX, Notice, Poll, VoteAnswer};
pub use progress::ProgressState;
pub use raft::Raft;
pub use ready::{ReadState, Ready, SoftState};
pub use status::{PeerStatus, Role, Status};
pub use types::{
    ConfChange, ConfChangeKind, ConfState, Entry, EntryId, EntryKind, HardState, Index, NodeId,
    Snapshot, SnapshotMeta, Term,
};
