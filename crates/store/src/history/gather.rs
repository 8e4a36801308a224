//! Gathering the places of a whole history that come in any order, into chunks that are in order.
//!
//! A checkpoint has them in the order of the keys. They are put where they belong as they come, so
//! that there is no second copy to be sorted: a record takes 16 bytes, and the columns have some to
//! spare, until its chunk is finished and shrinks to what [`super::cold`] tells.

use std::collections::BTreeMap;

use super::{CHUNK_SLOTS, ColdBuilder, Link, Place};
use crate::revision::Revision;

#[cfg(test)]
mod tests;

/// The chunks of a history, by the revisions from which on they take records. Within a chunk there
/// is no order.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    chunks: BTreeMap<Revision, ColdBuilder>,
    /// Whether two records of one revision were seen.
    has_twins: bool,
}

impl Gathered {
    pub(crate) fn push(&mut self, place: &Place<'_>) {
        let revision = place.revision;
        let chunk = match self.chunks.range_mut(..=revision).next_back() {
            Some((_, chunk)) if chunk.len() < CHUNK_SLOTS => chunk,
            Some((&first, _)) => self.split(first, revision),
            None => self.chunks.entry(Revision::default().min(revision)).or_default(),
        };
        chunk.push(place);
    }

    /// Makes room in a full chunk, and returns the one that takes the next revision.
    fn split(&mut self, first: Revision, next: Revision) -> &mut ColdBuilder {
        let full = self.chunks.remove(&first).unwrap_or_default().sorted();
        self.has_twins |= full.has_twins();
        let last = full.revision(full.len() - 1);
        let (lower, begin, upper) = if last < next {
            // Revisions that come in order fill their chunks.
            (full, next, ColdBuilder::default())
        } else {
            let (lower, upper) = full.halves();
            (lower, upper.revision(0), upper)
        };
        self.chunks.insert(first, lower);
        self.chunks.insert(begin, upper);
        let (_, chunk) = self.chunks.range_mut(..=next).next_back().expect("one begins at `first`");
        chunk
    }

    /// The history in order; none if two records are of one revision.
    pub(crate) fn finish(self) -> Option<Vec<Link>> {
        let mut links = Vec::with_capacity(self.chunks.len());
        let mut has_twins = self.has_twins;
        for chunk in self.chunks.into_values() {
            let chunk = chunk.sorted();
            has_twins |= chunk.has_twins();
            links.extend(chunk.finish().map(|cold| Link::placed(cold, None)));
        }
        (!has_twins).then_some(links)
    }
}
