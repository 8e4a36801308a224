//! What a member's disk must hold: the log that its work makes, without a disk.
//!
//! The driver tells the shadow of every record that is appended and of every sync. After a crash
//! the recovered log must be what was synced, plus the first so many of the records after that.

use quoin_node::LogWork;
use quoin_raft::{EntryId, HardState, Index, NodeId, Raft, Term};

use super::{Violation, ensure};

/// Something that is written to the log whole or not at all.
#[derive(Clone, Copy, Debug)]
enum Record {
    Snapshot(EntryId),
    Entry(EntryId),
    State(HardState),
}

/// A log without the content of its entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    base: EntryId,
    /// The terms of the entries after the base.
    terms: Vec<Term>,
    hard_state: HardState,
    /// A snapshot that replaces the log once it is committed, with the entries after it.
    installing: Option<(EntryId, Vec<Term>)>,
}

impl Log {
    /// The log with which every member of a new cluster begins.
    fn first(members: usize) -> Self {
        let commit = Index(members as u64);
        let hard_state = HardState { term: Term(1), vote: NodeId::NONE, commit };
        Self { terms: vec![Term(1); members], hard_state, ..Self::default() }
    }

    /// Returns the last entry.
    pub(crate) fn last(&self) -> EntryId {
        let term = self.terms.last().copied().unwrap_or(self.base.term);
        EntryId { index: self.base.index + self.terms.len() as u64, term }
    }

    /// Returns the hard state.
    pub(crate) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Returns true if the log holds an entry, or begins after it.
    pub(crate) fn holds(&self, id: EntryId) -> bool {
        id.index < self.base.index || self.term(id.index) == Some(id.term)
    }

    fn term(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        let offset = index.0.checked_sub(self.base.index.0)?.checked_sub(1)?;
        self.terms.get(usize::try_from(offset).ok()?).copied()
    }

    fn append(&mut self, record: Record) {
        match record {
            Record::Snapshot(id) if self.holds(id) => {}
            Record::Snapshot(id) => self.installing = Some((id, Vec::new())),
            Record::Entry(id) => {
                let (base, terms) = match &mut self.installing {
                    Some((base, terms)) => (*base, terms),
                    None => (self.base, &mut self.terms),
                };
                let offset = id.index - base.index.next();
                terms.truncate(usize::try_from(offset).expect("a log fits in memory"));
                terms.push(id.term);
            }
            Record::State(hard_state) => {
                self.hard_state = hard_state;
                let installed =
                    self.installing.take_if(|(base, _)| hard_state.commit >= base.index);
                if let Some((base, terms)) = installed {
                    (self.base, self.terms) = (base, terms);
                }
            }
        }
    }

    /// Returns true if a node that starts from this log looks like this one does.
    fn explains(&self, raft: &Raft) -> bool {
        let status = raft.status();
        let last = self.last();
        let HardState { term, vote, commit } = self.hard_state;
        // The vote of an earlier term is forgotten when entries prove a later one.
        let (term, vote) = if last.term > term { (last.term, NodeId::NONE) } else { (term, vote) };
        raft.last_entry() == last
            && (status.term, status.vote) == (term, vote)
            && status.commit == commit.max(status.compacted)
            && (status.compacted.0..=last.index.0)
                .map(Index)
                .all(|index| raft.term_at(index) == self.term(index) || index < self.base.index)
    }
}

/// What a member's disk holds for certain, and what may be there too.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    durable: Log,
    unsynced: Vec<Record>,
}

impl Shadow {
    /// What survives any crash.
    pub(crate) fn durable(&self) -> &Log {
        &self.durable
    }

    /// Work was appended to the log. Returns true if it replaces entries.
    pub(crate) fn append(&mut self, work: &LogWork) -> bool {
        let last = self.written().last();
        let snapshot = work.snapshot.as_ref().map(|meta| Record::Snapshot(meta.id()));
        let entries = work.entries.iter().map(|entry| Record::Entry(entry.id()));
        let state = work.hard_state.map(Record::State);
        self.unsynced.extend(snapshot.into_iter().chain(entries).chain(state));
        work.entries.first().is_some_and(|first| first.index <= last.index)
    }

    /// Everything that was appended is durable.
    pub(crate) fn synced(&mut self) {
        for record in self.unsynced.drain(..) {
            self.durable.append(record);
        }
    }

    /// A member was recovered. Its log must be one that a crash can have left. What else lies on its
    /// disk, such as a state that somebody sent, changes nothing.
    pub(crate) fn recovered(&mut self, raft: &Raft, members: usize) -> Result<(), Violation> {
        let mut candidate = self.durable.clone();
        if candidate.last().index == Index::ZERO {
            candidate = Log::first(members);
        }
        let mut found = None;
        let records = self.unsynced.iter().map(Some);
        for record in [None].into_iter().chain(records) {
            if let Some(record) = record {
                candidate.append(*record);
            }
            if candidate.explains(raft) {
                found = Some(candidate.clone());
            }
        }
        ensure(found.is_some(), || {
            let (last, status) = (raft.last_entry(), raft.status());
            format!(
                "the log was recovered up to {last:?} with {status:?}, but {:?} was synced with \
                 {:?} and {:?} written after it",
                self.durable.last(),
                self.durable.hard_state,
                self.unsynced
            )
        })?;
        let mut found = found.expect("it was just found");
        found.installing = None;
        (self.durable, self.unsynced) = (found, Vec::new());
        Ok(())
    }

    fn written(&self) -> Log {
        let mut log = self.durable.clone();
        self.unsynced.iter().for_each(|record| log.append(*record));
        log
    }
}

#[cfg(test)]
mod tests;
