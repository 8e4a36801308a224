//! Writing a checkpoint: first the records that are in no file yet, those of segments that are
//! mostly dead, and those of a database that is being taken over, go into new segments; then the
//! index is written, and gets its name; then what nothing names any more goes.
//!
//! Until the index has its name, the older checkpoint and its segments are untouched. A job that
//! fails before leaves files that nothing names, and tries to remove them. One job at a time has the
//! lock of the directory: the state that a leader sent is written by another thread.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use quoin_vfs::FileSystem;

use super::{Checkpoint, CheckpointError, ReceivedId, WriteOptions, Written, files, rows};
use crate::history::segment::{self, SegmentWriter};
use crate::history::{
    Body, Cold, ColdBuilder, Files, HistoryView, Link, Moved, Packed, Place, Placing, Record,
    filled, read_places,
};

/// A segment is rewritten when less than this part of it is needed.
const LIVE_PART: (u64, u64) = (4, 5);
/// Bytes that one job copies out of old segments, which bounds what the disk holds twice.
const COPIED_BYTES_MAX: u64 = 256 << 20;
/// A segment shorter than this part of a full one is short, and so many of them stay.
const SHORT_PART: u64 = 4;
const SHORT_SEGMENTS_MAX: usize = 8;
/// Bytes of records that are read at once to be copied.
const COPY_BYTES: usize = 1 << 20;

/// What a state becomes when it is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// The newest checkpoint.
    Checkpoint,
    /// Something that a start does not look at until the log names it.
    Received(ReceivedId),
}

/// Writes a checkpoint; see [`Checkpoint::write_paced`] and [`Checkpoint::write_received`].
pub(super) fn write(
    fs: &dyn FileSystem,
    dir: &Path,
    checkpoint: &Checkpoint,
    target: Target,
    options: &WriteOptions,
    pace: &mut dyn FnMut(usize),
) -> Result<Written, CheckpointError> {
    // Two at once would give the same numbers to their segments: one of them must fail.
    let lock = fs.lock(dir);
    let _lock = lock.map_err(|source| CheckpointError::Io { path: dir.to_owned(), source })?;
    let present = files::segments(fs, dir)?;
    let next = present.last().map_or(0, |last| last.saturating_add(1)).max(checkpoint.files.next);
    let begun = next;
    let full = options.segment_bytes.clamp(1, u64::from(u32::MAX));
    let files = Files { listed: checkpoint.files.listed.clone(), next };
    let mut job = Job { fs, dir, checkpoint, full, pace, present, files, writer: None };
    let path = match target {
        Target::Checkpoint => checkpoint.id().path(dir),
        Target::Received(id) => id.path(dir),
    };
    let unfinished = files::unfinished(&path);
    let built = job.build(&unfinished);
    let Job { files, .. } = job;
    let (view, moved, index_bytes) = match built {
        Ok(built) => built,
        Err(error) => {
            // The next job removes what is left of this one if that fails too.
            for number in begun..files.next {
                fs.remove(&segment::path(dir, number)).ok();
            }
            fs.remove(&unfinished).ok();
            return Err(error);
        }
    };
    files::install(fs, dir, &unfinished, path)?;
    match target {
        Target::Checkpoint => {
            let named: BTreeSet<u64> = files.listed.keys().copied().collect();
            files::remove_old(fs, dir, checkpoint.id(), &named);
        }
        // What the member has is all it may start from, until the log says something else.
        Target::Received(_) => {}
    }
    Ok(Written {
        id: checkpoint.id(),
        index_bytes,
        lineage: Arc::clone(&checkpoint.lineage),
        placing: Placing::new(view, moved, files),
    })
}

struct Job<'a> {
    fs: &'a dyn FileSystem,
    dir: &'a Path,
    checkpoint: &'a Checkpoint,
    /// Bytes of a full segment.
    full: u64,
    pace: &'a mut dyn FnMut(usize),
    /// The segments that are still there by name.
    present: BTreeSet<u64>,
    /// What the checkpoint will name.
    files: Files,
    writer: Option<SegmentWriter>,
}

impl Job<'_> {
    /// Writes everything, and returns where the records are now, which chunks changed, and the
    /// bytes of the index.
    fn build(
        &mut self,
        unfinished: &Path,
    ) -> Result<(HistoryView, Vec<Moved>, u64), CheckpointError> {
        let (view, moved) = self.move_records()?;
        self.finish_segment()?;
        // A name of the index must not become durable before the names of its segments.
        files::sync(self.fs, self.dir)?;
        let (fs, pace) = (self.fs, &mut *self.pace);
        let bytes = rows::write(fs, unfinished, self.checkpoint, (&view, &self.files), pace)?;
        Ok((view, moved, bytes))
    }

    /// Puts records into new segments.
    fn move_records(&mut self) -> Result<(HistoryView, Vec<Moved>), CheckpointError> {
        let victims = self.victims();
        let (mut links, mut moved) = (Vec::new(), Vec::new());
        let (view, budget) = (&self.checkpoint.view.history, self.checkpoint.budget);
        let hot_from = view.newest_within(budget, Link::future_hot_bytes);
        for (at, (link, len)) in view.links().enumerate() {
            let is_victim = |cold: &Cold| {
                let mut segments = cold.segments().iter();
                segments.any(|segment| victims.contains(&segment.number()))
            };
            let after = match &link.body {
                Body::Placed { cold, .. } if !is_victim(cold) => {
                    let body = Body::Placed { cold: Arc::clone(cold), hot: None };
                    links.push(Link { len, body, ..*link });
                    continue;
                }
                Body::Placed { cold, .. } => {
                    Link::placed(self.rewrite(link, cold, &victims)?, None)
                }
                Body::New(slots) => match self.write_new(&slots[..len], at >= hot_from)? {
                    Some(after) => after,
                    None => continue,
                },
            };
            if after.len == len {
                moved.push(Moved { before: link.clone(), after: after.clone() });
            }
            links.push(after);
        }
        victims.iter().for_each(|number| drop(self.files.listed.remove(number)));
        Ok((HistoryView::of(links), moved))
    }

    /// The segments to rewrite: a database that is being taken over; those whose file was removed,
    /// because a state of the leader was written that the store did not take; those with the least
    /// that is needed; and short ones if there are many.
    fn victims(&self) -> BTreeSet<u64> {
        let mut mostly_dead: Vec<_> =
            self.files.listed.iter().filter(|(_, listed)| is_mostly_dead(listed)).collect();
        mostly_dead.sort_by_key(|(_, listed)| listed.live);
        let mut copied = 0;
        let numbers = self.files.listed.keys().copied();
        let mut victims: BTreeSet<u64> =
            numbers.filter(|number| !self.present.contains(number)).collect();
        victims.insert(segment::DATABASE);
        for (number, listed) in mostly_dead {
            copied += listed.live;
            if copied > COPIED_BYTES_MAX && copied > listed.live {
                break;
            }
            victims.insert(*number);
        }
        let others = self.files.listed.iter().filter(|(number, _)| !victims.contains(number));
        let short = others.filter(|(_, listed)| listed.length < self.full / SHORT_PART);
        let short: Vec<u64> = short.map(|(number, _)| *number).collect();
        if short.len() > SHORT_SEGMENTS_MAX {
            victims.extend(short);
        }
        victims
    }

    /// Writes the records of a chunk that is in no file. Without garbage, a record that is not
    /// kept was dropped; with it, somebody may still have to look at the record.
    fn write_new(
        &mut self,
        slots: &[OnceLock<Record>],
        is_hot: bool,
    ) -> Result<Option<Link>, CheckpointError> {
        let checkpoint = self.checkpoint;
        let (mut places, mut kept) = (ColdBuilder::default(), Vec::new());
        for slot in 0..slots.len() {
            let record = filled(slots, slot);
            if checkpoint.has_garbage || checkpoint.view.is_kept(record) {
                places.push(&self.append(record)?);
                kept.push(Some(record.bytes.clone()));
            }
        }
        let hot = is_hot.then(|| Packed::of(kept.into_iter())).flatten();
        Ok(places.finish().map(|cold| Link::placed(cold, hot)))
    }

    /// Copies the records of a chunk that are kept out of some segments.
    fn rewrite(
        &mut self,
        link: &Link,
        cold: &Cold,
        victims: &BTreeSet<u64>,
    ) -> Result<Cold, CheckpointError> {
        let checkpoint = self.checkpoint;
        let len = cold.len();
        let is_victim = |place: &Place<'_>| victims.contains(&place.segment.number());
        let mut places = ColdBuilder::default();
        let mut from = 0;
        while from < len {
            let (mut end, mut bytes) = (from, 0);
            while end < len && bytes < COPY_BYTES {
                bytes += cold.length(end);
                end += 1;
            }
            let old: Vec<_> = (from..end).map(|slot| cold.place(slot)).collect();
            let wanted: Vec<_> = old.iter().filter(|place| is_victim(place)).copied().collect();
            let read = if link.is_in_memory() { Vec::new() } else { read_places(&wanted)? };
            let mut read = read.into_iter();
            for (slot, place) in (from..end).zip(&old) {
                let bytes = match is_victim(place) {
                    true => link.bytes(slot).or_else(|| read.next()),
                    false => None,
                };
                let record = bytes.map(|bytes| place.record(bytes));
                match record.filter(|record| checkpoint.view.is_kept(record)) {
                    Some(record) => places.push(&self.append(&record)?),
                    // What is not kept stays in its old file as long as somebody looks at it.
                    None => places.push(place),
                }
            }
            from = end;
        }
        Ok(places.finish().expect("as many places as before"))
    }

    fn append(&mut self, record: &Record) -> Result<Place<'_>, CheckpointError> {
        let size = (segment::RECORD_HEAD_BYTES + record.bytes.len()) as u64;
        let is_full = |writer: &SegmentWriter| writer.len().saturating_add(size) > self.full;
        if self.writer.as_ref().is_some_and(|writer| !writer.is_empty() && is_full(writer)) {
            self.finish_segment()?;
        }
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => {
                let number = self.files.next;
                self.files.next = number.checked_add(1).ok_or_else(|| self.no_number())?;
                SegmentWriter::begin(self.fs, self.dir, number)?
            }
        };
        self.writer.insert(writer).append(record, &mut *self.pace)
    }

    fn no_number(&self) -> CheckpointError {
        let source = io::Error::other("a segment with the last number is in the way");
        CheckpointError::Io { path: self.dir.to_owned(), source }
    }

    fn finish_segment(&mut self) -> Result<(), CheckpointError> {
        if let Some(writer) = self.writer.take() {
            let listed = writer.finish(&mut *self.pace)?;
            self.files.listed.insert(listed.segment.number(), listed);
        }
        Ok(())
    }
}

/// Whether so little of a segment is needed that it is rewritten.
pub(crate) fn is_mostly_dead(listed: &crate::history::Listed) -> bool {
    let (part, whole) = LIVE_PART;
    listed.live.saturating_mul(whole) < listed.length.saturating_mul(part)
}
