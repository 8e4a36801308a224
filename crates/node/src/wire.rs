//! Raft messages as raftpb, field by field, as etcd's peers write and read them.
//!
//! raftpb has one flat message for every kind; [`quoin_raft::Body`] has one variant per kind. The
//! mapping is total outwards. Inwards, what no etcd sends to a peer is refused, never guessed.

use bytes::Bytes;
use quoin_api::raftpb;
use quoin_raft::{
    Body, ConfChange, ConfChangeKind, ConfState, Entry, EntryKind, HardState, Index, Message,
    NodeId, Rejection, Snapshot, SnapshotMeta, Term,
};
use quoin_store::Announced;
use raftpb::MessageType as Type;
use thiserror::Error;

/// What a leader writes into a vote request's context if it asked for the election itself.
const CAMPAIGN_TRANSFER: &[u8] = b"CampaignTransfer";

/// Why a raftpb message is no message for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// The type is unknown, or only ever sent by a node to itself.
    #[error("message type {0} is not for peers")]
    Type(i32),
    /// An entry has an unknown type.
    #[error("unknown entry type {0}")]
    EntryType(i32),
    /// A snapshot message carries no snapshot.
    #[error("snapshot message without a snapshot")]
    NoSnapshot,
    /// The membership is a joint one, which no etcd configures, or contradicts itself.
    #[error("joint configuration")]
    JointConfiguration,
}

/// Returns the raftpb form of a message.
#[must_use]
pub fn encode(message: Message) -> raftpb::Message {
    let mut wire = raftpb::Message {
        to: message.to.0,
        from: message.from.0,
        term: message.term.0,
        ..raftpb::Message::default()
    };
    let kind = encode_body(message.body, &mut wire);
    wire.set_type(kind);
    wire
}

fn encode_body(body: Body, wire: &mut raftpb::Message) -> Type {
    match body {
        Body::Append { prev_index, prev_term, entries, commit } => {
            (wire.index, wire.log_term, wire.commit) = (prev_index.0, prev_term.0, commit.0);
            wire.entries = entries.into_iter().map(encode_entry).collect();
            Type::MsgApp
        }
        Body::AppendResponse { index, reject } => {
            wire.index = index.0;
            if let Some(Rejection { hint_index, hint_term }) = reject {
                wire.reject = true;
                (wire.reject_hint, wire.log_term) = (hint_index.0, hint_term.0);
            }
            Type::MsgAppResp
        }
        Body::Heartbeat { commit, context } => {
            (wire.commit, wire.context) = (commit.0, context);
            Type::MsgHeartbeat
        }
        Body::HeartbeatResponse { context } => {
            wire.context = context;
            Type::MsgHeartbeatResp
        }
        Body::Vote { last_index, last_term, transfer } => {
            (wire.index, wire.log_term) = (last_index.0, last_term.0);
            if transfer {
                wire.context = Bytes::from_static(CAMPAIGN_TRANSFER);
            }
            Type::MsgVote
        }
        Body::VoteResponse { reject } => {
            wire.reject = reject;
            Type::MsgVoteResp
        }
        Body::PreVote { last_index, last_term } => {
            (wire.index, wire.log_term) = (last_index.0, last_term.0);
            Type::MsgPreVote
        }
        Body::PreVoteResponse { reject } => {
            wire.reject = reject;
            Type::MsgPreVoteResp
        }
        Body::Snapshot(snapshot) => {
            wire.snapshot = Some(encode_snapshot(snapshot));
            Type::MsgSnap
        }
        Body::Propose { entries } => {
            wire.entries = entries.into_iter().map(encode_payload).collect();
            Type::MsgProp
        }
        Body::TransferLeader { transferee } => {
            wire.from = transferee.0;
            Type::MsgTransferLeader
        }
        Body::TimeoutNow => Type::MsgTimeoutNow,
        Body::ReadIndex { context } => {
            wire.entries = vec![encode_payload((EntryKind::Normal, context))];
            Type::MsgReadIndex
        }
        Body::ReadIndexResponse { index, context } => {
            wire.index = index.0;
            wire.entries = vec![encode_payload((EntryKind::Normal, context))];
            Type::MsgReadIndexResp
        }
    }
}

/// Returns the message in raftpb form.
///
/// # Errors
/// If it is not one that a peer may send.
pub fn decode(wire: raftpb::Message) -> Result<Message, WireError> {
    let kind = Type::try_from(wire.r#type).map_err(|_| WireError::Type(wire.r#type))?;
    let (to, from, term) = (NodeId(wire.to), NodeId(wire.from), Term(wire.term));
    Ok(Message { to, from, term, body: decode_body(kind, wire)? })
}

fn decode_body(kind: Type, wire: raftpb::Message) -> Result<Body, WireError> {
    let (index, log_term) = (Index(wire.index), Term(wire.log_term));
    Ok(match kind {
        Type::MsgApp => Body::Append {
            prev_index: index,
            prev_term: log_term,
            entries: wire.entries.into_iter().map(decode_entry).collect::<Result<_, _>>()?,
            commit: Index(wire.commit),
        },
        Type::MsgAppResp => {
            let hint = Rejection { hint_index: Index(wire.reject_hint), hint_term: log_term };
            Body::AppendResponse { index, reject: wire.reject.then_some(hint) }
        }
        Type::MsgHeartbeat => Body::Heartbeat { commit: Index(wire.commit), context: wire.context },
        Type::MsgHeartbeatResp => Body::HeartbeatResponse { context: wire.context },
        Type::MsgVote => {
            let transfer = wire.context == CAMPAIGN_TRANSFER;
            Body::Vote { last_index: index, last_term: log_term, transfer }
        }
        Type::MsgVoteResp => Body::VoteResponse { reject: wire.reject },
        Type::MsgPreVote => Body::PreVote { last_index: index, last_term: log_term },
        Type::MsgPreVoteResp => Body::PreVoteResponse { reject: wire.reject },
        Type::MsgSnap => {
            Body::Snapshot(decode_snapshot(wire.snapshot.ok_or(WireError::NoSnapshot)?)?)
        }
        Type::MsgProp => {
            let entries = wire.entries.into_iter().map(decode_payload);
            Body::Propose { entries: entries.collect::<Result<_, _>>()? }
        }
        Type::MsgTransferLeader => Body::TransferLeader { transferee: NodeId(wire.from) },
        Type::MsgTimeoutNow => Body::TimeoutNow,
        Type::MsgReadIndex => Body::ReadIndex { context: read_context(wire.entries) },
        Type::MsgReadIndexResp => {
            Body::ReadIndexResponse { index, context: read_context(wire.entries) }
        }
        Type::MsgHup
        | Type::MsgBeat
        | Type::MsgUnreachable
        | Type::MsgSnapStatus
        | Type::MsgCheckQuorum
        | Type::MsgStorageAppend
        | Type::MsgStorageAppendResp
        | Type::MsgStorageApply
        | Type::MsgStorageApplyResp
        | Type::MsgForgetLeader => return Err(WireError::Type(wire.r#type)),
    })
}

fn read_context(entries: Vec<raftpb::Entry>) -> Bytes {
    entries.into_iter().next().map(|entry| entry.data).unwrap_or_default()
}

fn encode_entry(entry: Entry) -> raftpb::Entry {
    raftpb::Entry {
        r#type: entry.kind as i32,
        term: entry.term.0,
        index: entry.index.0,
        data: entry.data,
    }
}

fn decode_entry(wire: raftpb::Entry) -> Result<Entry, WireError> {
    let (term, index) = (Term(wire.term), Index(wire.index));
    let (kind, data) = decode_payload(wire)?;
    Ok(Entry { kind, term, index, data })
}

fn encode_payload((kind, data): (EntryKind, Bytes)) -> raftpb::Entry {
    encode_entry(Entry { kind, data, ..Entry::default() })
}

fn decode_payload(wire: raftpb::Entry) -> Result<(EntryKind, Bytes), WireError> {
    let kind =
        raftpb::EntryType::try_from(wire.r#type).map_err(|_| WireError::EntryType(wire.r#type))?;
    let kind = match kind {
        raftpb::EntryType::EntryNormal => EntryKind::Normal,
        raftpb::EntryType::EntryConfChange => EntryKind::ConfChange,
        raftpb::EntryType::EntryConfChangeV2 => EntryKind::ConfChangeV2,
    };
    Ok((kind, wire.data))
}

/// Returns what a message with a state says about the state behind it.
#[must_use]
pub fn announced(snapshot: &Snapshot) -> Announced {
    let Snapshot { meta: SnapshotMeta { index, term, conf }, data } = snapshot;
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
    let (voters, learners) = (ids(&conf.voters), ids(&conf.learners));
    let conf = quoin_store::ConfState { voters, learners };
    Announced { index: index.0, term: term.0, conf, v2_store: data.clone() }
}

fn encode_snapshot(snapshot: Snapshot) -> raftpb::Snapshot {
    let SnapshotMeta { index, term, conf } = snapshot.meta;
    let ids = |nodes: Vec<NodeId>| nodes.into_iter().map(|node| node.0).collect();
    let conf_state = raftpb::ConfState {
        voters: ids(conf.voters),
        learners: ids(conf.learners),
        ..raftpb::ConfState::default()
    };
    let metadata =
        raftpb::SnapshotMetadata { conf_state: Some(conf_state), index: index.0, term: term.0 };
    raftpb::Snapshot { data: snapshot.data, metadata: Some(metadata) }
}

fn decode_snapshot(wire: raftpb::Snapshot) -> Result<Snapshot, WireError> {
    let metadata = wire.metadata.ok_or(WireError::NoSnapshot)?;
    let conf = metadata.conf_state.unwrap_or_default();
    if !conf.voters_outgoing.is_empty() || !conf.learners_next.is_empty() || conf.auto_leave {
        return Err(WireError::JointConfiguration);
    }
    let sorted = |mut ids: Vec<u64>| -> Vec<NodeId> {
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(NodeId).collect()
    };
    let conf = ConfState { voters: sorted(conf.voters), learners: sorted(conf.learners) };
    if conf.learners.iter().any(|learner| conf.voters.contains(learner)) {
        return Err(WireError::JointConfiguration);
    }
    let meta = SnapshotMeta { index: Index(metadata.index), term: Term(metadata.term), conf };
    Ok(Snapshot { meta, data: wire.data })
}

/// Returns what a configuration change asks of consensus. A kind that is not known changes
/// nothing, as on every other member.
#[must_use]
pub fn conf_change(wire: &raftpb::ConfChange) -> ConfChange {
    let node = NodeId(wire.node_id);
    let kind = match raftpb::ConfChangeType::try_from(wire.r#type) {
        Ok(raftpb::ConfChangeType::ConfChangeAddNode) => ConfChangeKind::AddVoter,
        Ok(raftpb::ConfChangeType::ConfChangeRemoveNode) => ConfChangeKind::Remove,
        Ok(raftpb::ConfChangeType::ConfChangeUpdateNode) => ConfChangeKind::Update,
        Ok(raftpb::ConfChangeType::ConfChangeAddLearnerNode) => ConfChangeKind::AddLearner,
        Err(_) => return ConfChange { kind: ConfChangeKind::Update, node: NodeId::NONE },
    };
    ConfChange { kind, node }
}

/// Returns the hard state with which every member of a new cluster begins: the first entries,
/// one per member, are committed in term 1.
#[must_use]
pub fn bootstrap_hard_state(members: u64) -> HardState {
    HardState { term: Term(1), vote: NodeId::NONE, commit: Index(members) }
}
