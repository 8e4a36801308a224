//! Taking over what a background job put into files, and letting go of bytes beyond the budget.
//!
//! The job worked on the history as it was. Chunks that are still the same are taken as the job
//! made them; others have lost records since and are made anew from what the job found. A job's
//! work is taken over a few chunks at a time.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, OnceLock};

use super::segment::Segment;
use super::sweep::Dead;
use super::{Cold, ColdBuilder, History, HistoryView, Hot, Link, Place, filled};
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
    pub(crate) cold: Arc<Cold>,
}

/// What a job has done to a history.
#[derive(Debug)]
pub(crate) struct Placing {
    /// Where everything is now that the job found worth keeping.
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
    fn of(&self, link: &Link) -> Option<&Arc<Cold>> {
        let at = self.moved.partition_point(|moved| moved.before.first < link.first);
        let Moved { before, cold } = self.moved.get(at)?;
        let same_hot = match (&before.hot, &link.hot) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let same_cold = match (&before.cold, &link.cold) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        (same_hot && same_cold).then_some(cold)
    }
}

impl History {
    /// Sets how many bytes of records may be in memory although they are in files.
    pub(crate) fn set_budget(&mut self, budget: usize) {
        self.budget = budget;
        self.evict();
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
                self.evict();
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
        if let Some(cold) = placing.of(link) {
            let cold = Arc::clone(cold);
            self.move_records(at, &cold);
            Arc::make_mut(&mut self.view.links)[at].cold = Some(cold);
            return;
        }
        let has_moved = |cold: &Cold| {
            let mut segments = cold.segments().iter();
            segments.any(|segment| !self.files.listed.contains_key(&segment.number()))
        };
        if link.cold.as_ref().is_some_and(|cold| !has_moved(cold)) {
            return;
        }
        let Some(link) = self.rebuilt(at, placing) else { return };
        let len = link.len;
        let cold = link.cold.clone().expect("a chunk that was rebuilt is placed");
        // The places of the new chunk are those of the living slots of the old one, in order.
        self.move_records(at, &cold);
        self.dead[at] = Dead::default();
        if at + 1 == self.view.links.len() {
            self.view.tail_len = len;
        }
        Arc::make_mut(&mut self.view.links)[at] = link;
    }

    /// A chunk without its dead records, placed as the job tells. None if nothing lives, or if the
    /// job does not know of some record: then it stays as it is until the next job.
    fn rebuilt(&self, at: usize, placing: &Placing) -> Option<Link> {
        let link = &self.view.links[at];
        let (mut records, mut places) = (Vec::new(), ColdBuilder::default());
        for slot in (0..self.view.filled(at)).filter(|slot| !self.dead[at].has(*slot)) {
            places.push(&placing.view.place(link.revision(slot))?);
            if let Some(hot) = &link.hot {
                records.push(OnceLock::from(filled(hot, slot).clone()));
            }
        }
        let hot = link.hot.as_ref().map(|_| Hot::from(records));
        let cold = places.finish()?;
        Some(Link { hot, ..Link::placed(cold) })
    }

    /// Notes that the living records of a chunk are in other places from now on. There is a
    /// place for each slot or for each living one.
    fn move_records(&mut self, at: usize, cold: &Arc<Cold>) {
        let (link, dead) = (&self.view.links[at], &self.dead[at]);
        let len = self.view.filled(at);
        let all = cold.len() == len;
        let mut places = cold.places();
        for slot in 0..len {
            let lives = !dead.has(slot);
            let place = if all || lives { places.next() } else { None };
            let Some(place) = place.filter(|_| lives) else { continue };
            match &link.cold {
                Some(before) => self.files.release(&before.place(slot)),
                None => self.unplaced -= place.length as usize,
            }
            self.files.hold(&place);
        }
    }

    /// Drops from memory the bytes of placed chunks beyond the budget, the oldest first.
    fn evict(&mut self) {
        let mut kept = 0;
        let is_placed = |link: &&Link| link.hot.is_some() && link.cold.is_some();
        let bytes: usize = self.view.links.iter().filter(is_placed).map(Link::hot_bytes).sum();
        if bytes <= self.budget {
            return;
        }
        for link in Arc::make_mut(&mut self.view.links).iter_mut().rev() {
            if link.hot.is_some() && link.cold.is_some() {
                kept += link.hot_bytes();
                if kept > self.budget {
                    link.hot = None;
                }
            }
        }
    }
}
