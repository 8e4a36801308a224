//! The index of a checkpoint as a file: every key with its changes, and where their records are.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use bytes::{BufMut, BytesMut};
use prost::encoding::encode_varint;
use quoin_vfs::{File, FileSystem};

use super::encode::{block, last_block, put_head, put_leases, put_list};
use super::v2::V2Rows;
use super::{BLOCK_BYTES, Checkpoint, CheckpointError, END, INDEX, ROW};
use crate::history::{Files, HistoryView};
use crate::index::KeyState;
use crate::tree::Slot;

/// Writes the file and syncs it. Returns how long it is.
pub(super) fn write(
    fs: &dyn FileSystem,
    path: &Path,
    checkpoint: &Checkpoint,
    (history, files): (&HistoryView, &Files),
    pace: &mut dyn FnMut(usize),
) -> Result<u64, CheckpointError> {
    let io = |source| CheckpointError::Io { path: path.to_owned(), source };
    let file = fs.create(path).map_err(io)?;
    let mut blocks = Blocks { file, content: BytesMut::new(), offset: 0, pace };
    put_head(&mut blocks.content, checkpoint, INDEX);
    let mut lease = Some(i64::MIN);
    while let Some(from) = lease {
        lease = put_leases(&mut blocks.content, &checkpoint.view.leases, from);
        blocks.flush().map_err(io)?;
    }
    let mut v2 = V2Rows::Head;
    while v2.put(&mut blocks.content, &checkpoint.view.v2) {
        blocks.flush().map_err(io)?;
    }
    let segments: Vec<_> = files.listed.iter().collect();
    put_list(&mut blocks.content, &segments, |out, (number, listed)| {
        out.put_u64_le(**number);
        out.put_u64_le(listed.length);
        out.put_u32_le(listed.checksum);
    });
    blocks.content.put_u64_le(files.next);
    let numbers = files.listed.keys().zip(0_u64..).map(|(number, at)| (*number, at)).collect();
    let mut rows = Rows { checkpoint, history, numbers, last: Vec::new() };
    for slot in checkpoint.view.index.iter() {
        rows.put(&mut blocks.content, &slot)?;
        blocks.flush().map_err(io)?;
    }
    blocks.content.put_u8(END);
    blocks.finish().map_err(io)
}

/// Content on its way into a file.
struct Blocks<'a> {
    file: Box<dyn File>,
    content: BytesMut,
    offset: u64,
    pace: &'a mut dyn FnMut(usize),
}

impl Blocks<'_> {
    /// Writes the blocks that are full.
    fn flush(&mut self) -> io::Result<()> {
        while self.content.len() >= BLOCK_BYTES {
            let payload = self.content.split_to(BLOCK_BYTES);
            self.write(&block(self.offset, &payload))?;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<u64> {
        self.flush()?;
        let payload = self.content.split();
        if !payload.is_empty() {
            self.write(&block(self.offset, &payload))?;
        }
        self.write(&last_block(self.offset))?;
        self.file.sync_all()?;
        Ok(self.offset)
    }

    fn write(&mut self, block: &[u8]) -> io::Result<()> {
        self.file.write_at(block, self.offset)?;
        self.offset += block.len() as u64;
        (self.pace)(block.len());
        Ok(())
    }
}

struct Rows<'a> {
    checkpoint: &'a Checkpoint,
    /// Where the records are.
    history: &'a HistoryView,
    /// Which in the list of segments one is.
    numbers: BTreeMap<u64, u64>,
    /// The key before.
    last: Vec<u8>,
}

impl Rows<'_> {
    /// Appends the row of a key, unless compaction has left nothing of it.
    fn put(
        &mut self,
        out: &mut BytesMut,
        slot: &Slot<'_, KeyState>,
    ) -> Result<(), CheckpointError> {
        let compacted = self.checkpoint.view.compacted;
        let survivor = slot.survivor(compacted);
        let is_kept = |main: i64, change| main > compacted || Some(change) == survivor;
        let mut changes = slot.value().changes();
        changes.retain(|change| is_kept(change.revision.main, change.revision));
        if changes.is_empty() {
            return Ok(());
        }
        let (key, latest) = (slot.key(), slot.latest());
        let shared = self.last.iter().zip(&key).take_while(|(left, right)| left == right).count();
        out.put_u8(ROW);
        encode_varint(shared as u64, out);
        encode_varint((key.len() - shared) as u64, out);
        out.put_slice(&key[shared..]);
        encode_varint(latest.created as u64, out);
        encode_varint(latest.version as u64, out);
        encode_varint(latest.lease as u64, out);
        encode_varint(changes.len() as u64, out);
        let mut before = 0;
        for change in changes {
            let place = self.history.place(change.revision);
            let place = place.expect("every change that is kept has its record in a file");
            let Some(segment) = self.numbers.get(&place.segment.number()) else {
                // Its segment was given up, because the record there says that it is of another
                // key, which is not kept.
                return Err(place.segment.damaged(place.offset.into(), "a record of another key"));
            };
            encode_varint((change.revision.main - before) as u64, out);
            encode_varint(u64::from(change.revision.sub), out);
            encode_varint((u64::from(place.length) << 1) | u64::from(change.tombstone), out);
            encode_varint(*segment, out);
            encode_varint(u64::from(place.offset), out);
            before = change.revision.main;
        }
        self.last = key;
        Ok(())
    }
}
