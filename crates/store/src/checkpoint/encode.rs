//! From a state to the bytes of a checkpoint, a block at a time.

use bytes::{BufMut, Bytes, BytesMut};

use super::{BLOCK_BYTES, BLOCK_HEAD_BYTES, Checkpoint, DELETE, END, LEASE, MAGIC, PUT, VERSION};
use crate::revision::Revision;

/// The bytes of a checkpoint, in pieces of at most 64 KiB and a few bytes. The state that it shows
/// is kept alive, and no more than a few pieces are in memory.
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
    Records(Revision),
    Trailer,
    Nothing,
}

impl CheckpointStream {
    pub(super) fn new(checkpoint: Checkpoint) -> Self {
        let mut content = BytesMut::new();
        put_head(&mut content, &checkpoint);
        Self { checkpoint, content, next: Next::Leases(i64::MIN), offset: 0 }
    }

    /// Appends content until a block can be filled or there is no more.
    fn fill(&mut self) {
        while self.content.len() < BLOCK_BYTES {
            match self.next {
                Next::Leases(id) => self.put_leases(id),
                Next::Records(revision) => self.put_records(revision),
                Next::Trailer | Next::Nothing => return,
            }
        }
    }

    fn put_leases(&mut self, from: i64) {
        let out = &mut self.content;
        for lease in self.checkpoint.view.leases.iter_from(from) {
            if out.len() >= BLOCK_BYTES {
                self.next = Next::Leases(lease.id);
                return;
            }
            out.put_u8(LEASE);
            out.put_i64_le(lease.id);
            out.put_i64_le(lease.ttl_s);
            out.put_i64_le(lease.remaining_ttl_s);
        }
        out.put_u8(END);
        self.next = Next::Records(Revision::first_of(0));
    }

    fn put_records(&mut self, from: Revision) {
        let (out, view) = (&mut self.content, &self.checkpoint.view);
        for record in view.history.iter_from(from) {
            if out.len() >= BLOCK_BYTES {
                self.next = Next::Records(record.revision);
                return;
            }
            if view.is_kept(record) {
                out.put_u8(if record.tombstone { DELETE } else { PUT });
                out.put_i64_le(record.revision.main);
                out.put_u32_le(record.revision.sub);
                put_bytes(out, &record.bytes);
            }
        }
        out.put_u8(END);
        self.next = Next::Trailer;
    }
}

impl Iterator for CheckpointStream {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.fill();
        let length = self.content.len().min(BLOCK_BYTES);
        let payload = self.content.split_to(length);
        let block = match self.next {
            Next::Nothing => return None,
            Next::Trailer if length == 0 => {
                self.next = Next::Nothing;
                let total = self.offset + (BLOCK_HEAD_BYTES + 8) as u64;
                block(self.offset, 0, &total.to_le_bytes())
            }
            Next::Trailer | Next::Leases(_) | Next::Records(_) => {
                let length = u32::try_from(length).expect("a block is short");
                block(self.offset, length, &payload)
            }
        };
        self.offset += block.len() as u64;
        Some(block)
    }
}

/// The checksum of a block covers where it is, so that a block in another place does not pass.
pub(super) fn block_checksum(offset: u64, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&offset.to_le_bytes()), payload)
}

fn block(offset: u64, length: u32, payload: &[u8]) -> Bytes {
    let mut block = BytesMut::with_capacity(BLOCK_HEAD_BYTES + payload.len());
    block.put_u32_le(length);
    block.put_u32_le(block_checksum(offset, payload));
    block.put_slice(payload);
    block.freeze()
}

/// Everything before the leases.
fn put_head(out: &mut BytesMut, checkpoint: &Checkpoint) {
    let view = &checkpoint.view;
    out.put_slice(MAGIC);
    out.put_u32_le(VERSION);
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

fn put_list<T>(out: &mut BytesMut, list: &[T], mut put: impl FnMut(&mut BytesMut, &T)) {
    out.put_u32_le(u32::try_from(list.len()).expect("lists of the cluster are short"));
    list.iter().for_each(|element| put(out, element));
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32_le(u32::try_from(bytes.len()).expect("a record is smaller than a message"));
    out.put_slice(bytes);
}
