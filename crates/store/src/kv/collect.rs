//! Collecting the garbage of a compaction, a little at a time.
//!
//! The index knows all changes of each key, so the walk goes over it and reads no record: it needs no
//! files, and damage to what is dead is nobody's harm. What keys let go of is gathered and dropped in
//! the order of the history, so that chunks are swept one after another and not many at once.
//!
//! Invariants:
//! - When the walk is at its end, no record is left that no reader from the compacted revision on sees.
//! - What is gathered is at most [`GATHERED_MAX`] and the changes of one key.

use super::Kv;
use crate::index::KeyState;
use crate::revision::Revision;

/// Changes that are gathered before they are dropped: 4 MB of them.
const GATHERED_MAX: usize = 256 << 10;

/// A walk that is not at its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Garbage {
    /// The main revision that keys are trimmed to.
    target: i64,
    /// What is left to look at.
    round: Option<Round>,
    /// What was gathered; while it is dropped, the newest first.
    dead: Vec<Revision>,
    is_dropping: bool,
}

/// A round over keys.
#[derive(Clone, Debug, Default)]
struct Round {
    /// The first key that was not looked at.
    next: Vec<u8>,
    /// Where the round ends, if not behind the last key.
    end: Option<Vec<u8>>,
    /// Where the round after this one ends, if there is one. It begins at the first key.
    again: Option<Vec<u8>>,
}

impl Kv {
    /// Notes a compaction. A walk that is under way goes on from where it is, and then again over what
    /// it had passed.
    pub(super) fn add_garbage(&mut self, target: i64) {
        let garbage = self.garbage.get_or_insert_default();
        garbage.target = target;
        let next = garbage.round.take().map_or_else(Vec::new, |round| round.next);
        let again = Some(next.clone()).filter(|next| !next.is_empty());
        garbage.round = Some(Round { next, end: None, again });
    }

    /// Looks at keys and drops records, up to `limit` together; true if some are left. No reader can
    /// tell how often this was called.
    pub(crate) fn collect(&mut self, limit: usize) -> bool {
        let Some(mut garbage) = self.garbage.take() else { return false };
        let mut left = limit;
        while left > 0 {
            if garbage.is_dropping {
                if let Some(revision) = garbage.dead.pop() {
                    self.drop_record(revision);
                    left -= 1;
                } else {
                    garbage.is_dropping = false;
                }
                continue;
            }
            let Some(round) = garbage.round.take() else { return false };
            let target = garbage.target;
            let (looked, round) = self.look_at_keys(round, target, left, &mut garbage.dead);
            left -= looked;
            garbage.round = round;
            if garbage.round.is_none() || garbage.dead.len() >= GATHERED_MAX {
                garbage.dead.sort_unstable_by(|left, right| right.cmp(left));
                garbage.is_dropping = true;
            }
        }
        let is_left = garbage.round.is_some() || !garbage.dead.is_empty();
        self.garbage = is_left.then_some(garbage);
        is_left
    }

    /// Trims up to `limit` keys, and gathers what they let go of. Returns how many were looked at, and
    /// what is left of the rounds.
    fn look_at_keys(
        &mut self,
        mut round: Round,
        target: i64,
        limit: usize,
        dead: &mut Vec<Revision>,
    ) -> (usize, Option<Round>) {
        let (mut looked, mut last, mut trimmed) = (0, None, Vec::new());
        for slot in self.index.range(&round.next, round.end.as_deref()).take(limit) {
            looked += 1;
            if !slot.is_compact(target) {
                trimmed.push(slot.key());
            }
            last = Some(slot);
        }
        let behind = last.map(|last| [last.key().as_slice(), &[0]].concat());
        for key in trimmed {
            let trim = |state: &mut KeyState| state.compact(target, |change| dead.push(change));
            if !self.index.upsert(&key, trim) {
                self.index.remove(&key);
            }
        }
        if looked < limit {
            let again = round.again.map(|end| Round { end: Some(end), ..Round::default() });
            return (looked, again);
        }
        round.next = behind.unwrap_or(round.next);
        (looked, Some(round))
    }

    fn drop_record(&mut self, revision: Revision) {
        self.tally.collected += u64::from(self.history.drop_record(revision));
    }
}
