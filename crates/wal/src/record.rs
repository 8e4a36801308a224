//! Records, and the payloads of those that are not entries. The tables are in the crate's
//! description.

use quoin_raft::{ConfState, Entry, HardState, Index, NodeId, SnapshotMeta, Term};

use crate::Metadata;
use crate::entry;
use crate::frame::FrameSize;
use crate::wire::{self, DecodeError, Fields};

/// What a record is about. The discriminants are etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Metadata = 1,
    Entry = 2,
    State = 3,
    Checksum = 4,
    Snapshot = 5,
}

/// A record as it was read.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    pub(crate) checksum: u32,
    pub(crate) payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// The checksum covers the payload alone, so everything else is read strictly.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let (mut kind, mut checksum, mut payload) = (0, None, None);
        let mut fields = Fields::new(bytes);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => kind = value.number()?,
                2 => checksum = Some(value.number()?),
                3 => payload = Some(value.bytes()?),
                _ => return Err(DecodeError("a record has an unknown field")),
            }
        }
        let kind = match kind {
            1 => Kind::Metadata,
            2 => Kind::Entry,
            3 => Kind::State,
            4 => Kind::Checksum,
            5 => Kind::Snapshot,
            _ => return Err(DecodeError("a record is of an unknown kind")),
        };
        if kind == Kind::Checksum && payload.is_some() {
            return Err(DecodeError("a checksum record has a payload"));
        }
        let checksum = checksum.and_then(|checksum| u32::try_from(checksum).ok());
        let checksum = checksum.ok_or(DecodeError("a record has no checksum"))?;
        Ok(Self { kind, checksum, payload: payload.unwrap_or(&[]) })
    }
}

/// Turns what is appended into framed records in one buffer, with the running checksum.
#[derive(Debug)]
pub(crate) struct Encoder {
    pub(crate) buffer: Vec<u8>,
    checksum: u32,
    scratch: Vec<u8>,
}

impl Encoder {
    /// Continues after bytes whose running checksum is given.
    pub(crate) fn new(checksum: u32) -> Self {
        Self { buffer: Vec::new(), checksum, scratch: Vec::new() }
    }

    pub(crate) fn put_checksum(&mut self) {
        self.put_record(Kind::Checksum, None);
    }

    pub(crate) fn put_metadata(&mut self, payload: &[u8]) {
        self.scratch.clear();
        self.put_record(Kind::Metadata, Some(payload));
    }

    pub(crate) fn put_entry(&mut self, entry: &Entry) {
        self.scratch.clear();
        entry::put_head(&mut self.scratch, entry);
        self.put_record(Kind::Entry, Some(&entry.data));
    }

    pub(crate) fn put_state(&mut self, state: &HardState) {
        self.scratch.clear();
        wire::put_field(&mut self.scratch, 1, state.term.0);
        wire::put_field(&mut self.scratch, 2, state.vote.0);
        wire::put_field(&mut self.scratch, 3, state.commit.0);
        self.put_record(Kind::State, Some(&[]));
    }

    pub(crate) fn put_snapshot(&mut self, snapshot: &SnapshotMeta) {
        self.scratch.clear();
        put_snapshot_payload(&mut self.scratch, snapshot);
        self.put_record(Kind::Snapshot, Some(&[]));
    }

    /// Writes a record whose payload is the scratch bytes and then `payload`, or that has none.
    fn put_record(&mut self, kind: Kind, payload: Option<&[u8]>) {
        if let Some(payload) = payload {
            self.checksum = crc32c::crc32c_append(self.checksum, &self.scratch);
            self.checksum = crc32c::crc32c_append(self.checksum, payload);
        }
        let payload_len = payload.map(|payload| self.scratch.len() + payload.len());
        let mut len = 2 + 1 + wire::number_len(self.checksum.into());
        if let Some(payload_len) = payload_len {
            len += 1 + wire::number_len(payload_len as u64) + payload_len;
        }
        let size = FrameSize::of_record(len as u64);
        let buffer = &mut self.buffer;
        buffer.extend_from_slice(&size.to_word().to_le_bytes());
        let body = buffer.len();
        wire::put_field(buffer, 1, kind as u64);
        wire::put_field(buffer, 2, self.checksum.into());
        if let (Some(payload), Some(payload_len)) = (payload, payload_len) {
            wire::put_bytes_head(buffer, 3, payload_len);
            buffer.extend_from_slice(&self.scratch);
            buffer.extend_from_slice(payload);
        }
        assert_eq!(buffer.len() - body, len, "the frame says how long the record is");
        buffer.resize(body + size.body() as usize, 0);
    }
}

pub(crate) fn encode_metadata(metadata: &Metadata) -> Vec<u8> {
    let mut payload = Vec::new();
    wire::put_field(&mut payload, 1, metadata.node.0);
    wire::put_field(&mut payload, 2, metadata.cluster);
    payload
}

pub(crate) fn decode_metadata(payload: &[u8]) -> Result<Metadata, DecodeError> {
    let mut metadata = Metadata::default();
    let mut fields = Fields::new(payload);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => metadata.node = NodeId(value.number()?),
            2 => metadata.cluster = value.number()?,
            _ => {}
        }
    }
    Ok(metadata)
}

/// A hard state without a term, or with another field, is a different record whose kind was
/// damaged: the checksum does not cover the kind.
pub(crate) fn decode_state(payload: &[u8]) -> Result<HardState, DecodeError> {
    let mut state = HardState::default();
    let mut term = None;
    let mut fields = Fields::new(payload);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => term = Some(Term(value.number()?)),
            2 => state.vote = NodeId(value.number()?),
            3 => state.commit = Index(value.number()?),
            _ => return Err(DecodeError("a hard state has an unknown field")),
        }
    }
    state.term = term.ok_or(DecodeError("a hard state has no term"))?;
    Ok(state)
}

fn put_snapshot_payload(buffer: &mut Vec<u8>, snapshot: &SnapshotMeta) {
    wire::put_field(buffer, 1, snapshot.index.0);
    wire::put_field(buffer, 2, snapshot.term.0);
    if snapshot.index == Index::ZERO {
        return;
    }
    let nodes = || {
        let voters = snapshot.conf.voters.iter().map(|node| (1, node.0));
        voters.chain(snapshot.conf.learners.iter().map(|node| (2, node.0)))
    };
    wire::put_bytes_head(buffer, 3, nodes().map(|(_, node)| 1 + wire::number_len(node)).sum());
    for (field, node) in nodes() {
        wire::put_field(buffer, field, node);
    }
}

pub(crate) fn decode_snapshot(payload: &[u8]) -> Result<SnapshotMeta, DecodeError> {
    let mut snapshot = SnapshotMeta::default();
    let mut fields = Fields::new(payload);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => snapshot.index = Index(value.number()?),
            2 => snapshot.term = Term(value.number()?),
            3 => snapshot.conf = decode_conf(value.bytes()?)?,
            _ => {}
        }
    }
    Ok(snapshot)
}

fn decode_conf(message: &[u8]) -> Result<ConfState, DecodeError> {
    let mut conf = ConfState::default();
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next()? {
        let nodes = match field {
            1 => &mut conf.voters,
            2 => &mut conf.learners,
            3 | 4 => return Err(DecodeError("a snapshot is within a joint change of members")),
            _ => continue,
        };
        match value {
            wire::Value::Bytes(mut packed) => {
                while !packed.is_empty() {
                    nodes.push(NodeId(wire::take_number(&mut packed)?));
                }
            }
            wire::Value::Number(_) | wire::Value::Fixed => nodes.push(NodeId(value.number()?)),
        }
    }
    conf.voters.sort_unstable();
    conf.learners.sort_unstable();
    Ok(conf)
}
