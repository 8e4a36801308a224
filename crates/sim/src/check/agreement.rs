//! What all members must agree on, whatever happens to them: who led, who was voted for, and
//! what was committed.

use std::collections::BTreeMap;

use bytes::Bytes;
use quoin_raft::{Entry, EntryId, EntryKind, Index, NodeId, Term};
use quoin_store::{EntryData, Store};

use super::{Checked, Violation, ensure};
use crate::trace::hash_of;

/// All that was ever decided in a run.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    committed: Vec<Entry>,
    /// The term of the leader that committed each of them, which may be later than its own.
    committed_in: Vec<Term>,
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    /// The hash of every entry that was ever written to a log.
    written: BTreeMap<(Index, Term), u64>,
}

impl Agreement {
    /// Returns the index of the last committed entry.
    pub(crate) fn last(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    /// Returns a committed entry.
    pub(crate) fn entry(&self, index: Index) -> Option<&Entry> {
        let position = usize::try_from(index.0.checked_sub(1)?).ok()?;
        self.committed.get(position)
    }

    /// A member leads a term. Returns true if that is news.
    pub(crate) fn leads(&mut self, member: NodeId, term: Term) -> Result<bool, Violation> {
        let known = self.leaders.insert(term, member);
        ensure(known.is_none_or(|known| known == member), || {
            format!("{known:?} and {member} both lead term {term}")
        })?;
        Ok(known.is_none())
    }

    /// Returns the last entry that was committed in a term before `term`, which every leader of
    /// that term must hold.
    pub(crate) fn last_before(&self, term: Term) -> Option<EntryId> {
        let count = self.committed_in.partition_point(|committed_in| *committed_in < term);
        self.committed[..count].last().map(Entry::id)
    }

    /// A member says to others that it votes for somebody.
    pub(crate) fn votes(&mut self, member: NodeId, term: Term, candidate: NodeId) -> Checked {
        let known = self.votes.insert((member, term), candidate);
        ensure(known.is_none_or(|known| known == candidate), || {
            format!("{member} votes for {candidate} in term {term}, after it voted for {known:?}")
        })
    }

    /// A member writes an entry to its log. Index and term identify the content.
    pub(crate) fn writes(&mut self, member: NodeId, entry: &Entry) -> Checked {
        let hash = hash_of(&entry.data) ^ entry.kind as u64;
        let known = self.written.insert((entry.index, entry.term), hash);
        ensure(known.is_none_or(|known| known == hash), || {
            format!("{member} writes another entry {} of term {}", entry.index, entry.term)
        })
    }

    /// A member in some term holds an entry to be committed. Returns true if it is the first one.
    pub(crate) fn committed(
        &mut self,
        member: NodeId,
        term: Term,
        entry: &Entry,
    ) -> Result<bool, Violation> {
        if let Some(known) = self.entry(entry.index) {
            ensure(known == entry, || {
                format!("{member} committed {entry:?} where {known:?} had been committed")
            })?;
            return Ok(false);
        }
        ensure(entry.index == self.last().next(), || {
            format!("{member} committed entry {} after entry {}", entry.index, self.last())
        })?;
        let latest = self.committed_in.last().copied().unwrap_or_default();
        self.committed.push(entry.clone());
        self.committed_in.push(term.max(latest));
        Ok(true)
    }

    /// Returns the state that the log makes up to an entry, without the effect of another one.
    pub(crate) fn replay(&self, applied: u64, skipped: u64) -> Result<Store, Violation> {
        let mut store = Store::new();
        let nothing = Bytes::new();
        for entry in self.committed.iter().take_while(|entry| entry.index.0 <= applied) {
            let data = if entry.index.0 == skipped { &nothing } else { &entry.data };
            let data = match entry.kind {
                EntryKind::Normal => EntryData::Normal(data),
                EntryKind::ConfChange | EntryKind::ConfChangeV2 => EntryData::ConfChange(data),
            };
            let applied = store.apply(entry.index.0, entry.term.0, data);
            applied.map_err(|fatal| fatal.to_string())?;
        }
        Ok(store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(0xa);
    const B: NodeId = NodeId(0xb);

    fn entry(index: u64, term: u64, data: &'static str) -> Entry {
        let data = Bytes::from_static(data.as_bytes());
        Entry { kind: EntryKind::Normal, term: Term(term), index: Index(index), data }
    }

    #[test]
    fn a_term_has_one_leader() {
        let mut agreement = Agreement::default();
        assert_eq!(agreement.leads(A, Term(1)), Ok(true));
        assert_eq!(agreement.leads(A, Term(1)), Ok(false));
        assert_eq!(agreement.leads(B, Term(2)), Ok(true));
        assert!(agreement.leads(B, Term(1)).is_err());
    }

    #[test]
    fn a_member_votes_once_in_a_term() {
        let mut agreement = Agreement::default();
        assert_eq!(agreement.votes(A, Term(1), B), Ok(()));
        assert_eq!(agreement.votes(A, Term(1), B), Ok(()));
        assert_eq!(agreement.votes(A, Term(2), A), Ok(()));
        assert!(agreement.votes(A, Term(1), A).is_err());
    }

    #[test]
    fn committed_entries_never_change_and_leave_no_gap() {
        let mut agreement = Agreement::default();
        assert_eq!(agreement.committed(A, Term(1), &entry(1, 1, "x")), Ok(true));
        assert_eq!(agreement.committed(B, Term(2), &entry(1, 1, "x")), Ok(false));
        assert!(agreement.committed(B, Term(2), &entry(1, 1, "y")).is_err());
        assert!(agreement.committed(B, Term(2), &entry(1, 2, "x")).is_err());
        assert!(agreement.committed(B, Term(2), &entry(3, 2, "z")).is_err());
    }

    #[test]
    fn index_and_term_identify_an_entry() {
        let mut agreement = Agreement::default();
        assert_eq!(agreement.writes(A, &entry(1, 1, "x")), Ok(()));
        assert_eq!(agreement.writes(B, &entry(1, 1, "x")), Ok(()));
        assert_eq!(agreement.writes(B, &entry(1, 2, "y")), Ok(()));
        assert!(agreement.writes(B, &entry(1, 1, "y")).is_err());
    }

    #[test]
    fn a_leader_must_hold_what_earlier_terms_committed() {
        let mut agreement = Agreement::default();
        assert_eq!(agreement.last_before(Term(5)), None);
        for (index, term, leader) in [(1, 1, 1), (2, 3, 3), (3, 3, 5), (4, 5, 5)] {
            agreement.committed(A, Term(leader), &entry(index, term, "x")).unwrap();
        }
        let id = |index, term| Some(EntryId { index: Index(index), term: Term(term) });
        assert_eq!(agreement.last_before(Term(5)), id(2, 3));
        assert_eq!(agreement.last_before(Term(6)), id(4, 5));
    }
}
