//! The log in memory: a compacted prefix, the entries after it, and how far they are written,
//! committed and applied.
//!
//! Storage is written in order by numbered writes, of which several may be in flight. A write
//! vouches for the log up to its last index; replacing entries lowers what the writes in flight
//! vouch for, so an old write never makes newer entries with the same indexes count as durable,
//! not even if the replacement is replaced back by the original entries.
//!
//! Invariants:
//! - `base <= applied <= delivered <= commit <= last`, and `delivered <= persisted` unless a
//!   snapshot is being installed.
//! - `persisted <= handed <= last`.
//! - Entries up to `commit` never change.
//!
//! Not here: who may append, when something is committed.

use std::collections::VecDeque;

use crate::{Entry, EntryId, EntryKind, Index, Snapshot, Term};

/// A write to storage that has been handed out and not yet been acknowledged.
#[derive(Clone, Copy, Debug)]
struct Write {
    number: u64,
    /// The log is durable up to here once the write and all before it are.
    vouches: Index,
    installs_snapshot: bool,
}

/// A received snapshot on its way to storage and state machine.
#[derive(Clone, Debug)]
struct Install {
    snapshot: Snapshot,
    handed: bool,
}

/// Entries handed out to be applied, with their size.
#[derive(Clone, Copy, Debug)]
struct Delivery {
    last: Index,
    bytes: u64,
}

/// What an append from a leader came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// The logs are equal up to this index.
    Matched(Index),
    /// The entry before the new ones is missing or another one.
    Mismatch,
    /// An entry contradicts a committed one. Nothing was changed.
    Contradiction(Index),
}

/// The log of one node.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    base: EntryId,
    entries: VecDeque<Entry>,
    handed: Index,
    persisted: Index,
    writes: VecDeque<Write>,
    commit: Index,
    delivered: Index,
    deliveries: VecDeque<Delivery>,
    applied: Index,
    install: Option<Install>,
}

impl Log {
    /// Takes over a durable log. The caller has checked it.
    pub(crate) fn new(base: EntryId, entries: Vec<Entry>, commit: Index, applied: Index) -> Self {
        let last = base.index + entries.len() as u64;
        assert!(base.index <= applied && applied <= commit && commit <= last);
        Self {
            base,
            entries: entries.into(),
            handed: last,
            persisted: last,
            writes: VecDeque::new(),
            commit,
            delivered: applied,
            deliveries: VecDeque::new(),
            applied,
            install: None,
        }
    }

    /// Returns the last compacted entry.
    pub(crate) fn base(&self) -> EntryId {
        self.base
    }

    /// Returns the first index that can be read.
    pub(crate) fn first_index(&self) -> Index {
        self.base.index.next()
    }

    /// Returns the last entry, or the compacted one before an empty log.
    pub(crate) fn last(&self) -> EntryId {
        self.entries.back().map_or(self.base, Entry::id)
    }

    /// Returns the index of the last entry.
    pub(crate) fn last_index(&self) -> Index {
        self.base.index + self.entries.len() as u64
    }

    /// Returns the commit index.
    pub(crate) fn commit(&self) -> Index {
        self.commit
    }

    /// Returns the index up to which the state machine has applied the log.
    pub(crate) fn applied(&self) -> Index {
        self.applied
    }

    /// Returns the index up to which storage is known to hold this very log.
    pub(crate) fn persisted(&self) -> Index {
        self.persisted
    }

    /// Returns true while a received snapshot is not yet installed.
    pub(crate) fn is_installing(&self) -> bool {
        self.install.is_some()
    }

    /// Returns the term of the entry at `index`, also of the last compacted one.
    pub(crate) fn term(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.get(index).map(|entry| entry.term)
    }

    /// Returns true if the log holds this entry, or has just compacted it.
    pub(crate) fn holds(&self, id: EntryId) -> bool {
        self.term(id.index) == Some(id.term)
    }

    /// Returns true if a log that ends with `last` holds at least what this one must not lose.
    pub(crate) fn is_covered_by(&self, last: EntryId) -> bool {
        let own = self.last();
        (last.term, last.index) >= (own.term, own.index)
    }

    /// Returns entries from `from` on, at least one if there is one, then up to `max_bytes`.
    pub(crate) fn slice(&self, from: Index, max_bytes: u64) -> Vec<Entry> {
        let mut bytes = 0u64;
        let mut taken = Vec::new();
        for entry in self.range(from, self.last_index()) {
            bytes = bytes.saturating_add(entry.size());
            if bytes > max_bytes && !taken.is_empty() {
                break;
            }
            taken.push(entry.clone());
        }
        taken
    }

    /// Guesses where this log and another one part, when all that is known of the other is that
    /// it holds `term` at `index`: returns the last index up to there with at most that term,
    /// and its term, or no term where this log cannot tell.
    pub(crate) fn last_possible_match(&self, index: Index, term: Term) -> (Index, Option<Term>) {
        let mut guess = index;
        loop {
            match self.term(guess) {
                Some(own) if own > term && guess > Index::ZERO => guess = guess.prev(),
                own => return (guess, own),
            }
        }
    }

    /// Appends entries of the leader that this node is.
    pub(crate) fn push(&mut self, entry: Entry) {
        assert_eq!(entry.index, self.last_index().next(), "a log has no gaps");
        self.entries.push_back(entry);
    }

    /// Takes entries after `prev` from a leader. What is there already stays; what contradicts
    /// is replaced, with everything after it. The entries are consecutive.
    pub(crate) fn take(&mut self, prev: EntryId, mut entries: Vec<Entry>) -> Appended {
        if !self.holds(prev) {
            return Appended::Mismatch;
        }
        let last = prev.index + entries.len() as u64;
        let Some(known) = entries.iter().position(|entry| !self.holds(entry.id())) else {
            return Appended::Matched(last);
        };
        let from = prev.index + known as u64 + 1;
        if from <= self.commit {
            return Appended::Contradiction(from);
        }
        self.truncate(from);
        self.entries.extend(entries.drain(known..));
        Appended::Matched(last)
    }

    /// Raises the commit index.
    pub(crate) fn commit_to(&mut self, index: Index) {
        assert!(index <= self.last_index(), "nothing is committed that is not in the log");
        self.commit = self.commit.max(index);
    }

    /// Replaces the whole log by a snapshot, which is then to be handed out and installed.
    pub(crate) fn install(&mut self, snapshot: Snapshot) {
        assert!(snapshot.meta.index > self.commit, "a snapshot must not lose committed entries");
        self.persisted = self.persisted.min(self.commit);
        for write in &mut self.writes {
            write.vouches = Index::ZERO;
        }
        self.base = snapshot.meta.id();
        self.entries.clear();
        self.handed = self.base.index;
        self.commit = self.base.index;
        self.install = Some(Install { snapshot, handed: false });
    }

    /// Returns true if there is something to write.
    pub(crate) fn has_unwritten(&self) -> bool {
        self.handed < self.last_index() || self.install.as_ref().is_some_and(|it| !it.handed)
    }

    /// Hands out what is to be written: a snapshot, then the entries after it.
    pub(crate) fn hand_out(&mut self, number: u64) -> (Option<Snapshot>, Vec<Entry>) {
        let snapshot = self.install.as_mut().filter(|it| !it.handed).map(|it| {
            it.handed = true;
            it.snapshot.clone()
        });
        let entries: Vec<Entry> =
            self.range(self.handed.next(), self.last_index()).cloned().collect();
        self.handed = self.last_index();
        let installs_snapshot = snapshot.is_some();
        self.writes.push_back(Write { number, vouches: self.handed, installs_snapshot });
        (snapshot, entries)
    }

    /// Takes the news that the writes up to `number` are durable.
    pub(crate) fn written(&mut self, number: u64) {
        while let Some(write) = self.writes.front().copied().filter(|it| it.number <= number) {
            self.writes.pop_front();
            self.persisted = self.persisted.max(write.vouches);
            if write.installs_snapshot {
                self.install = None;
                self.delivered = self.base.index;
                self.applied = self.base.index;
                self.deliveries.clear();
            }
        }
    }

    /// Hands out entries to be applied: committed, durable here, each once, while less than
    /// `max_bytes` wait to be applied.
    pub(crate) fn deliver(&mut self, max_bytes: u64) -> Vec<Entry> {
        let Some(delivery) = self.next_delivery(max_bytes) else { return Vec::new() };
        let entries = self.range(self.delivered.next(), delivery.last).cloned().collect();
        self.delivered = delivery.last;
        self.deliveries.push_back(delivery);
        entries
    }

    /// Records that the state machine has applied the log up to `index`. News that a snapshot
    /// has overtaken are ignored.
    pub(crate) fn applied_to(&mut self, index: Index) {
        if index <= self.applied || self.is_installing() {
            return;
        }
        assert!(index <= self.delivered, "{index} was applied, but not handed out");
        self.applied = index;
        while self.deliveries.front().is_some_and(|it| it.last <= index) {
            self.deliveries.pop_front();
        }
    }

    /// Returns true if a committed membership change waits to be applied, or if a snapshot that
    /// may contain one does.
    pub(crate) fn has_unapplied_conf_change(&self) -> bool {
        self.is_installing() || self.has_conf_change(self.applied, self.commit)
    }

    /// Returns true if there is a membership change after `after` up to `to`.
    pub(crate) fn has_conf_change(&self, after: Index, to: Index) -> bool {
        self.conf_changes(after, to).next().is_some()
    }

    /// Iterates over the membership changes after `after` up to `to`.
    pub(crate) fn conf_changes(&self, after: Index, to: Index) -> impl Iterator<Item = &Entry> {
        let from = after.max(self.base.index).next();
        self.range(from, to.max(self.base.index)).filter(|entry| match entry.kind {
            EntryKind::Normal => false,
            EntryKind::ConfChange | EntryKind::ConfChangeV2 => true,
        })
    }

    /// Forgets the entries up to `to`, which must have been applied.
    pub(crate) fn compact(&mut self, to: Index) {
        if to <= self.base.index {
            return;
        }
        assert!(to <= self.applied, "compaction to {to} beyond applied index {}", self.applied);
        let term = self.term(to).expect("an applied entry after the base is in the log");
        self.entries.drain(..self.offset(to.next()));
        self.base = EntryId { index: to, term };
    }

    fn get(&self, index: Index) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.base.index.0)?.checked_sub(1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// Iterates over the entries from `from` to `to`, both included. All of them must exist.
    fn range(&self, from: Index, to: Index) -> impl Iterator<Item = &Entry> {
        let end = self.offset(to.next());
        self.entries.range(self.offset(from).min(end)..end)
    }

    fn offset(&self, index: Index) -> usize {
        usize::try_from(index - self.first_index()).expect("the log fits in memory")
    }

    fn truncate(&mut self, from: Index) {
        let kept = from.prev();
        self.entries.truncate(self.offset(from));
        self.handed = self.handed.min(kept);
        self.persisted = self.persisted.min(kept);
        for write in &mut self.writes {
            write.vouches = write.vouches.min(kept);
        }
    }

    fn next_delivery(&self, max_bytes: u64) -> Option<Delivery> {
        let end = self.commit.min(self.persisted);
        if self.is_installing() || end <= self.delivered {
            return None;
        }
        let waiting: u64 = self.deliveries.iter().map(|it| it.bytes).sum();
        let mut delivery = Delivery { last: self.delivered, bytes: 0 };
        for entry in self.range(self.delivered.next(), end) {
            let bytes = delivery.bytes.saturating_add(entry.size());
            let is_first = waiting == 0 && delivery.bytes == 0;
            if waiting.saturating_add(bytes) > max_bytes && !is_first {
                break;
            }
            delivery = Delivery { last: entry.index, bytes };
        }
        (delivery.bytes > 0).then_some(delivery)
    }
}

#[cfg(test)]
mod tests;
