//! From the index of a checkpoint back to an index in memory and a history in files.

use std::path::Path;
use std::sync::Arc;

use quoin_vfs::FileSystem;

use super::blocks::Content;
use super::{CheckpointError, END, ROW};
use crate::history::segment::{Segment, has_room};
use crate::history::{Files, Gathered, History, Listed, Place};
use crate::index::{Change, Index, KeyState};
use crate::lease::Leases;
use crate::revision::Revision;
use crate::tree::{Builder, Entry};

/// Reads what follows the leases in a checkpoint.
pub(super) fn read(
    fs: &dyn FileSystem,
    dir: &Path,
    content: &mut Content,
    newest: i64,
    leases: &mut Leases,
) -> Result<(Index, History), CheckpointError> {
    let segments = content.list(|content| listed(fs, dir, content))?;
    if segments.windows(2).any(|pair| pair[0].segment.number() >= pair[1].segment.number()) {
        return Err(content.damaged("segments out of order"));
    }
    let next = content.u64()?;
    if segments.last().is_some_and(|last| last.segment.number() >= next) {
        return Err(content.damaged("a segment beyond the last one"));
    }
    let mut reader = Rows { content, newest, segments: &segments, key: Vec::new(), begun: false };
    let mut builder = Builder::new();
    let mut places = Gathered::default();
    while let Some(state) = reader.row(&mut places)? {
        if state.is_live() && state.latest.lease != 0 {
            leases.attach(state.latest.lease, &reader.key);
        }
        builder.push(reader.key.clone(), state);
    }
    let Some(links) = places.finish() else {
        return Err(content.damaged("two changes of one revision"));
    };
    let listed = segments.into_iter().map(|listed| (listed.segment.number(), listed)).collect();
    Ok((builder.finish(), History::placed(links, Files { listed, next })))
}

fn listed(
    fs: &dyn FileSystem,
    dir: &Path,
    content: &mut Content,
) -> Result<Listed, CheckpointError> {
    let (number, length, checksum) = (content.u64()?, content.u64()?, content.u32()?);
    let segment = Segment::open(fs, dir, number, (length, checksum))?;
    Ok(Listed { segment: Arc::new(segment), length, checksum, live: 0 })
}

struct Rows<'a> {
    content: &'a mut Content,
    newest: i64,
    segments: &'a [Listed],
    /// The key of the row.
    key: Vec<u8>,
    /// Whether there was a row before. The first key of all may be the empty one.
    begun: bool,
}

impl Rows<'_> {
    /// Reads a row and where its records are; none at the end.
    fn row(&mut self, places: &mut Gathered) -> Result<Option<KeyState>, CheckpointError> {
        match self.content.u8()? {
            END => return Ok(None),
            ROW => {}
            _ => return Err(self.content.damaged("neither a key nor the end of keys")),
        }
        self.next_key()?;
        let (created, version) = (self.number()?, self.number()?);
        let lease = self.content.varint()? as i64;
        let mut state = KeyState::default();
        let mut last = Revision::default();
        for _ in 0..self.content.varint()? {
            let change = self.change(last, places)?;
            last = change.revision;
            state.restore(change, created, version, lease);
        }
        // The row that moving the revision leaves is live and was never created.
        let is_moved = self.key.is_empty() && (created, version, lease) == (0, 0, 0);
        let fits = match state.is_live() {
            true => {
                is_moved || ((1..=state.latest.modified.main).contains(&created) && version > 0)
            }
            false => state.latest.modified.main > 0 && (created, version, lease) == (0, 0, 0),
        };
        if !fits {
            return Err(self.content.damaged("a key in a state that cannot be"));
        }
        Ok(Some(state))
    }

    fn next_key(&mut self) -> Result<(), CheckpointError> {
        let shared = usize::try_from(self.content.varint()?).unwrap_or(usize::MAX);
        let length = self.content.varint()?;
        let suffix = self.content.bytes_of(length)?;
        let Some(before) = self.key.get(..shared) else {
            return Err(self.content.damaged("a key that shares more than there is"));
        };
        let key = [before, &suffix].concat();
        if self.begun && key <= self.key {
            return Err(self.content.damaged("a key out of order"));
        }
        (self.key, self.begun) = (key, true);
        Ok(())
    }

    fn change(&mut self, last: Revision, places: &mut Gathered) -> Result<Change, CheckpointError> {
        let main = last.main.checked_add(self.number()?);
        let sub = self.content.varint()?;
        let word = self.content.varint()?;
        let (segment, offset) = (self.content.varint()?, self.content.varint()?);
        let (length, tombstone) = (word >> 1, word & 1 == 1);
        let narrow = |number: u64| u32::try_from(number).ok();
        let (Some(main), Some(sub), Some(length), Some(segment), Some(offset)) =
            (main, narrow(sub), narrow(length), narrow(segment), narrow(offset))
        else {
            return Err(self.content.damaged("a number that is too large"));
        };
        let revision = Revision { main, sub };
        if revision <= last || main > self.newest || main < 1 {
            return Err(self.content.damaged("a change out of order"));
        }
        let listed = self.segments.get(segment as usize);
        let listed = listed.filter(|listed| has_room(listed.length, offset, length));
        let Some(Listed { segment, .. }) = listed.filter(|_| Place::is_length(length)) else {
            return Err(self.content.damaged("a record where none can be"));
        };
        places.push(&Place { segment, offset, revision, tombstone, length });
        Ok(Change { revision, tombstone })
    }

    /// A number that is not negative.
    fn number(&mut self) -> Result<i64, CheckpointError> {
        let number = i64::try_from(self.content.varint()?);
        number.map_err(|_| self.content.damaged("a number that is too large"))
    }
}
