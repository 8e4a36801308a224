//! Taking over what a background job put into files, and letting go of bytes beyond the budget.
//!
//! The job worked on the history as it was. Chunks that are still the same are taken as the job
//! made them; others have lost records since and are made anew from what the job found. A job's
//! work is taken over a few chunks at a time.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use super::segment::Segment;
use super::sweep::Dead;
use super::{Body, Cold, ColdBuilder, History, HistoryView, Link, Packed, Place};
use crate::revision::Revision;

/// A segment that a checkpoint names.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) segment: Arc<Segment>,
    /// Bytes of the file, and the checksum of all but its end.
    pub(crate) length: u64,
    pub(crate) checksum: u32,
    /// Bytes of the records in it that were not dropped.
    pub(crate) live: u64,
}

/// The segments that the newest checkpoint names. Records that were dropped may be in others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    pub(crate) listed: BTreeMap<u64, Listed>,
    /// The number of the next segment. No number is used twice while somebody may hold the first.
    pub(crate) next: u64,
}

impl Files {
    /// Notes that a record is in a file.
    pub(super) fn hold(&mut self, place: &Place<'_>) {
        if let Some(listed) = self.listed.get_mut(&place.segment.number()) {
            listed.live += place.stored_bytes();
        }
    }

    /// Notes that a record in a file is no longer needed.
    pub(super) fn release(&mut self, place: &Place<'_>) {
        if let Some(listed) = self.listed.get_mut(&place.segment.number()) {
            listed.live = listed.live.saturating_sub(place.stored_bytes());
        }
    }
}

/// A chunk that a job has put into files, or parts of it into others.
#[derive(Debug)]
pub(crate) struct Moved {
    /// The chunk as it was.
    pub(crate) before: Link,
    /// The same records as they are now. If the chunk was new, the bytes that stay in memory are
    /// there.
    pub(crate) after: Link,
}

/// What a job has done to a history.
#[derive(Debug)]
pub(crate) struct Placing {
    /// Where everything is now that the job found worth keeping. Chunks that were new are hot if
    /// they are to be.
    pub(crate) view: HistoryView,
    /// The chunks that changed, in order, of which the job left out nothing.
    pub(crate) moved: Vec<Moved>,
    pub(crate) files: Files,
    /// The next chunk to look at.
    next: Revision,
}

impl Placing {
    pub(crate) fn new(view: HistoryView, moved: Vec<Moved>, files: Files) -> Self {
        Self { view, moved, files, next: Revision::default() }
    }

    /// What the job made of a chunk, if it is still the same.
    fn of(&self, link: &Link) -> Option<&Link> {
        let at = self.moved.partition_point(|moved| moved.before.first < link.first);
        let Moved { before, after } = self.moved.get(at)?;
        before.is_same(link).then_some(after)
    }
}

impl History {
    /// Sets how many bytes of records may be in memory although they are in files.
    pub(crate) fn set_budget(&mut self, budget: usize) {
        self.budget = budget;
        self.evict(budget);
    }

    /// Begins to take over the work of a job. [`Self::place`] does it.
    pub(crate) fn begin_placing(&mut self, mut placing: Placing) {
        for (number, listed) in &mut placing.files.listed {
            listed.live = self.files.listed.get(number).map_or(0, |before| before.live);
        }
        self.files = mem::take(&mut placing.files);
        self.placing = Some(placing);
    }

    pub(crate) fn is_placing(&self) -> bool {
        self.placing.is_some()
    }

    /// Takes over the work of a job for up to so many chunks; true if some are left.
    pub(crate) fn place(&mut self, chunks: usize) -> bool {
        let Some(mut placing) = self.placing.take() else { return false };
        let last = placing.view.last();
        for _ in 0..chunks {
            let at = self.view.links.partition_point(|link| link.first < placing.next);
            let first = self.view.links.get(at).map(|link| link.first);
            let Some(first) = first.filter(|first| last.is_some_and(|last| *first <= last)) else {
                self.evict(self.budget);
                return false;
            };
            self.place_chunk(at, &placing);
            placing.next = Revision { sub: first.sub.saturating_add(1), ..first };
        }
        self.placing = Some(placing);
        true
    }

    fn place_chunk(&mut self, at: usize, placing: &Placing) {
        let link = &self.view.links[at];
        if let Some(Link { body: Body::Placed { cold, hot }, .. }) = placing.of(link) {
            let hot = match &link.body {
                Body::New(_) => hot.clone(),
                Body::Placed { hot, .. } => hot.clone(),
            };
            self.move_records(at, cold);
            let body = Body::Placed { cold: Arc::clone(cold), hot };
            Arc::make_mut(&mut self.view.links)[at].body = body;
            return;
        }
        let has_moved = |cold: &Cold| {
            let mut segments = cold.segments().iter();
            segments.any(|segment| !self.files.listed.contains_key(&segment.number()))
        };
        if link.cold().is_some_and(|cold| !has_moved(cold)) {
            return;
        }
        let Some((cold, hot)) = self.rebuilt(at, placing) else { return };
        // The places of the new chunk are those of the living slots of the old one, in order.
        self.move_records(at, &cold);
        self.dead[at] = Dead::default();
        if at + 1 == self.view.links.len() {
            self.view.tail_len = cold.len();
        }
        Arc::make_mut(&mut self.view.links)[at] = Link::placed(cold, hot);
    }

    /// A chunk without its dead records, placed as the job tells. None if nothing lives, or if the
    /// job does not know of some record: then it stays as it is until the next job.
    fn rebuilt(&self, at: usize, placing: &Placing) -> Option<(Cold, Option<Arc<Packed>>)> {
        let link = &self.view.links[at];
        let mut places = ColdBuilder::default();
        for slot in self.living(at) {
            places.push(&placing.view.place(link.revision(slot))?);
        }
        let cold = places.finish()?;
        let is_hot = match &link.body {
            Body::New(_) => placing.view.is_in_memory(cold.revision(0)),
            Body::Placed { hot, .. } => hot.is_some(),
        };
        let bytes = self.living(at).map(|slot| link.bytes(slot));
        Some((cold, is_hot.then(|| Packed::of(bytes)).flatten()))
    }

    /// Notes that the living records of a chunk are in other places from now on. There is a
    /// place for each slot or for each living one.
    fn move_records(&mut self, at: usize, cold: &Cold) {
        let (link, dead) = (&self.view.links[at], &self.dead[at]);
        let len = self.view.filled(at);
        let all = cold.len() == len;
        let mut places = cold.places();
        for slot in 0..len {
            let lives = !dead.has(slot);
            let place = if all || lives { places.next() } else { None };
            let Some(place) = place.filter(|_| lives) else { continue };
            match &link.body {
                Body::New(_) => self.unplaced -= place.length as usize,
                Body::Placed { cold: before, .. } => self.files.release(&before.place(slot)),
            }
            self.files.hold(&place);
        }
    }

    /// Drops from memory the bytes of placed chunks beyond a budget, the oldest first.
    pub(super) fn evict(&mut self, budget: usize) {
        let kept = self.view.newest_within(budget, |link, _| link.hot_bytes());
        if self.view.links[..kept].iter().all(|link| link.hot_bytes() == 0) {
            return;
        }
        for link in &mut Arc::make_mut(&mut self.view.links)[..kept] {
            if let Body::Placed { hot, .. } = &mut link.body {
                *hot = None;
            }
        }
    }
}
