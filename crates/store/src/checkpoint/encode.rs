//! From a state to the bytes of a whole state, a block at a time: the form in which it goes to
//! another member.

use bytes::{BufMut, Bytes, BytesMut};

use super::v2::V2Rows;
use super::{
    BLOCK_BYTES, BLOCK_HEAD_BYTES, Checkpoint, CheckpointError, DELETE, END, LEASE, MAGIC, PUT,
    WHOLE,
};
use crate::lease::Leases;
use crate::revision::Revision;

/// The bytes of a whole state, in pieces of at most 64 KiB and a few bytes. The state that it shows
/// is kept alive, and no more than a few pieces are in memory. It ends at an error, which means
/// that a file of the history cannot be read.
pub struct CheckpointStream {
    checkpoint: Checkpoint,
    /// Content that is not yet in a block.
    content: BytesMut,
    next: Next,
    offset: u64,
}

/// What comes after `content`.
enum Next {
    Leases(i64),
    V2(V2Rows),
    Records(Revision),
    Trailer,
    Nothing,
}

impl CheckpointStream {
    pub(super) fn new(checkpoint: Checkpoint) -> Self {
        let mut content = BytesMut::new();
        put_head(&mut content, &checkpoint, WHOLE);
        Self { checkpoint, content, next: Next::Leases(i64::MIN), offset: 0 }
    }

    /// Appends content until a block can be filled or there is no more.
    fn fill(&mut self) -> Result<(), CheckpointError> {
        while self.content.len() < BLOCK_BYTES {
            match &mut self.next {
                Next::Leases(id) => {
                    let id = *id;
                    self.put_leases(id);
                }
                Next::V2(rows) => {
                    if !rows.put(&mut self.content, &self.checkpoint.view.v2) {
                        self.next = Next::Records(Revision::first_of(0));
                    }
                }
                Next::Records(revision) => {
                    let revision = *revision;
                    self.put_records(revision)?;
                }
                Next::Trailer | Next::Nothing => return Ok(()),
            }
        }
        Ok(())
    }

    fn put_leases(&mut self, from: i64) {
        let rest = put_leases(&mut self.content, &self.checkpoint.view.leases, from);
        self.next = rest.map_or(Next::V2(V2Rows::Head), Next::Leases);
    }

    fn put_records(&mut self, from: Revision) -> Result<(), CheckpointError> {
        let (out, view) = (&mut self.content, &self.checkpoint.view);
        for record in view.history.iter_from(from) {
            let record = record?;
            if out.len() >= BLOCK_BYTES {
                self.next = Next::Records(record.revision);
                return Ok(());
            }
            if view.is_kept(&record) {
                out.put_u8(if record.tombstone { DELETE } else { PUT });
                out.put_i64_le(record.revision.main);
                out.put_u32_le(record.revision.sub);
                put_bytes(out, &record.bytes);
            }
        }
        out.put_u8(END);
        self.next = Next::Trailer;
        Ok(())
    }
}

impl Iterator for CheckpointStream {
    type Item = Result<Bytes, CheckpointError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.fill() {
            self.next = Next::Nothing;
            self.content.clear();
            return Some(Err(error));
        }
        let length = self.content.len().min(BLOCK_BYTES);
        let payload = self.content.split_to(length);
        let block = match self.next {
            Next::Nothing => return None,
            Next::Trailer if length == 0 => {
                self.next = Next::Nothing;
                last_block(self.offset)
            }
            Next::Trailer | Next::Leases(_) | Next::V2(_) | Next::Records(_) => {
                block(self.offset, &payload)
            }
        };
        self.offset += block.len() as u64;
        Some(Ok(block))
    }
}

/// The checksum of a block covers where it is, so that a block in another place does not pass.
pub(super) fn block_checksum(offset: u64, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&offset.to_le_bytes()), payload)
}

/// A block with a part of the content.
pub(super) fn block(offset: u64, payload: &[u8]) -> Bytes {
    framed(offset, u32::try_from(payload.len()).expect("a block is short"), payload)
}

/// The block after the content, which ends the file.
pub(super) fn last_block(offset: u64) -> Bytes {
    let total = offset + (BLOCK_HEAD_BYTES + 8) as u64;
    framed(offset, 0, &total.to_le_bytes())
}

fn framed(offset: u64, length: u32, payload: &[u8]) -> Bytes {
    let mut block = BytesMut::with_capacity(BLOCK_HEAD_BYTES + payload.len());
    block.put_u32_le(length);
    block.put_u32_le(block_checksum(offset, payload));
    block.put_slice(payload);
    block.freeze()
}

/// Everything before the leases.
pub(super) fn put_head(out: &mut BytesMut, checkpoint: &Checkpoint, version: u32) {
    let view = &checkpoint.view;
    out.put_slice(MAGIC);
    out.put_u32_le(version);
    out.put_u64_le(view.applied.0);
    out.put_u64_le(view.applied.1);
    put_list(out, &checkpoint.conf.voters, |out, id| out.put_u64_le(*id));
    put_list(out, &checkpoint.conf.learners, |out, id| out.put_u64_le(*id));
    out.put_i64_le(view.revision);
    out.put_i64_le(view.compacted);
    let members: Vec<_> = view.membership.members().collect();
    put_list(out, &members, |out, member| {
        out.put_u64_le(member.id);
        out.put_u8(u8::from(member.is_learner));
        put_bytes(out, member.name.as_bytes());
        put_list(out, &member.peer_urls, |out, url| put_bytes(out, url.as_bytes()));
        put_list(out, &member.client_urls, |out, url| put_bytes(out, url.as_bytes()));
    });
    let removed: Vec<_> = view.membership.removed().collect();
    put_list(out, &removed, |out, id| out.put_u64_le(*id));
    out.put_u8(u8::from(view.membership.version.is_some()));
    if let Some(version) = view.membership.version {
        out.put_u64_le(version.major);
        out.put_u64_le(version.minor);
        out.put_u64_le(version.patch);
    }
    out.put_u8(u8::from(view.membership.downgrade.target_version.is_some()));
    if let Some(target) = &view.membership.downgrade.target_version {
        put_bytes(out, target.as_bytes());
    }
    put_list(out, &view.alarms.of_kind(0), |out, alarm| {
        out.put_i32_le(alarm.alarm);
        out.put_u64_le(alarm.member_id);
    });
}

/// Appends leases from an ID on. If that makes a block, the ID to go on with is returned.
pub(super) fn put_leases(out: &mut BytesMut, leases: &Leases, from: i64) -> Option<i64> {
    for lease in leases.iter_from(from) {
        if out.len() >= BLOCK_BYTES {
            return Some(lease.id);
        }
        out.put_u8(LEASE);
        out.put_i64_le(lease.id);
        out.put_i64_le(lease.ttl_s);
        out.put_i64_le(lease.remaining_ttl_s);
    }
    out.put_u8(END);
    None
}

pub(super) fn put_list<T>(out: &mut BytesMut, list: &[T], mut put: impl FnMut(&mut BytesMut, &T)) {
    out.put_u32_le(u32::try_from(list.len()).expect("lists of the cluster are short"));
    list.iter().for_each(|element| put(out, element));
}

pub(super) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32_le(u32::try_from(bytes.len()).expect("a record is smaller than a message"));
    out.put_slice(bytes);
}
