//! Did the cluster keep its word? A check guided by revisions.
//!
//! The store orders everything that changed it by revision, and every answer carries the revision
//! at which it was given. So no search is needed: the order of all operations is known, and what
//! remains is to hold it against what the clients saw:
//!
//! - each revision follows from the one before by one operation, with right counters;
//! - each acknowledged change is at its revision, exactly as asked, and alone there;
//! - each change at a revision is some client's, acknowledged or unanswered;
//! - each read shows the state at the revision that it names;
//! - an operation called after another one returned has no lower revision, and a change has a
//!   higher one.
//!
//! Together these say that the run was linearizable. An operation without an answer may or may
//! not have happened; if it did, the value that it wrote says where. A deletion has no value:
//! one that nobody owns up to is given to an unanswered delete of that key that was called early
//! enough.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Call, Entry, Nanos, Operation, Outcome, Seen, State};

/// Violations after which the check stops looking.
const MAX_VIOLATIONS: usize = 20;

/// What one revision did to the keys that it touched: `None` is a deletion.
type Change = BTreeMap<String, Option<String>>;

/// What a run consisted of, so that a test can see that it was worth checking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Operations that were answered.
    pub answered: usize,
    /// Operations that were not.
    pub unknown: usize,
    /// Changes in the store that belong to unanswered operations.
    pub happened_unanswered: usize,
    /// Revisions.
    pub revisions: usize,
}

/// Checks a run. `states` holds the state at revision `r` at position `r - 1`.
///
/// # Errors
/// What is wrong, the first twenty findings.
pub fn check(operations: &[Operation], states: &[State]) -> Result<Summary, Vec<String>> {
    let mut checker = Checker::new(operations, states);
    checker.replay();
    checker.answered();
    checker.unexplained();
    checker.real_time();
    checker.violations.truncate(MAX_VIOLATIONS);
    let unknown = operations.iter().filter(|op| op.outcome == Outcome::Unknown).count();
    let summary = Summary {
        answered: operations.len() - unknown,
        unknown,
        happened_unanswered: checker.happened_unanswered,
        revisions: states.len(),
    };
    if checker.violations.is_empty() { Ok(summary) } else { Err(checker.violations) }
}

struct Checker<'a> {
    operations: &'a [Operation],
    states: &'a [State],
    /// The change at revision `r` is at position `r - 1`.
    changes: Vec<Change>,
    /// Which answered operation made the change at a revision.
    owners: BTreeMap<i64, usize>,
    happened_unanswered: usize,
    violations: Vec<String>,
}

impl<'a> Checker<'a> {
    fn new(operations: &'a [Operation], states: &'a [State]) -> Self {
        Self {
            operations,
            states,
            changes: Vec::new(),
            owners: BTreeMap::new(),
            happened_unanswered: 0,
            violations: Vec::new(),
        }
    }

    fn fail(&mut self, text: String) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(text);
        }
    }

    fn state(&self, revision: i64) -> Option<&'a State> {
        let position = usize::try_from(revision.checked_sub(1)?).ok()?;
        self.states.get(position)
    }

    fn change(&self, revision: i64) -> Option<&Change> {
        let position = usize::try_from(revision.checked_sub(1)?).ok()?;
        self.changes.get(position)
    }

    /// Finds what each revision changed and whether its counters are right.
    fn replay(&mut self) {
        let empty = State::new();
        let mut before = &empty;
        for (revision, state) in (1_i64..).zip(self.states) {
            let (change, wrong) = difference(before, state, revision);
            for text in wrong {
                self.fail(format!("revision {revision}: {text}"));
            }
            if change.is_empty() != (revision == 1) {
                self.fail(format!("revision {revision} changes {} keys", change.len()));
            }
            self.changes.push(change);
            before = state;
        }
    }

    /// Holds every answer against the store.
    fn answered(&mut self) {
        for (position, operation) in self.operations.iter().enumerate() {
            let Outcome::Done { revision, seen, .. } = &operation.outcome else { continue };
            match seen {
                Seen::Changed => self.acknowledged_change(position, operation, *revision),
                Seen::Found(entry) => self.acknowledged_read(operation, *revision, entry.as_ref()),
            }
        }
    }

    fn acknowledged_change(&mut self, position: usize, operation: &Operation, revision: i64) {
        let found = self.change(revision);
        if found.is_none() {
            return self.fail(format!("lost write: the store ends before {operation:?}"));
        }
        if found != Some(&effect(&operation.call)) {
            let text = format!("lost write: revision {revision} is {found:?}, not {operation:?}");
            return self.fail(text);
        }
        if !self.condition_held(&operation.call, revision) {
            self.fail(format!("the compare did not hold: {operation:?}"));
        }
        if let Some(other) = self.owners.insert(revision, position) {
            let other = &self.operations[other];
            self.fail(format!("one revision for two changes: {other:?} and {operation:?}"));
        }
    }

    fn acknowledged_read(&mut self, operation: &Operation, revision: i64, seen: Option<&Entry>) {
        let (key, must_fail) = match &operation.call {
            Call::Get { key } => (key, None),
            Call::Delete { key } => (key, seen.is_some().then_some("deleted nothing")),
            Call::Swap { key, modified, .. } => {
                let held = seen.map_or(0, |entry| entry.modified) == *modified;
                (key, held.then_some("took the wrong branch"))
            }
            Call::Put { key, .. } => (key, Some("put nothing")),
        };
        if let Some(reason) = must_fail {
            self.fail(format!("{reason}: {operation:?}"));
        }
        let Some(state) = self.state(revision) else {
            return self.fail(format!("the store ends before {operation:?}"));
        };
        if state.get(key) != seen {
            let stored = state.get(key);
            self.fail(format!("wrong value: the store has {stored:?}, but {operation:?}"));
        }
    }

    fn condition_held(&self, call: &Call, revision: i64) -> bool {
        let Call::Swap { key, modified, .. } = call else { return true };
        let before = self.state(revision - 1).and_then(|state| state.get(key));
        before.map_or(0, |entry| entry.modified) == *modified
    }

    /// Finds who made the changes that nobody was answered for.
    fn unexplained(&mut self) {
        let unknown = |op: &&Operation| op.outcome == Outcome::Unknown;
        let open: Vec<&Operation> = self.operations.iter().filter(unknown).collect();
        let floors = Floors::new(self.operations);
        let mut used = BTreeSet::new();
        for revision in 2..=i64::try_from(self.changes.len()).unwrap_or(i64::MAX) {
            if self.owners.contains_key(&revision) {
                continue;
            }
            let Some(change) = self.change(revision) else { return };
            let fits = |position: &usize| {
                let operation = open[*position];
                !used.contains(position)
                    && effect(&operation.call) == *change
                    && floors.before(operation.called_at) < revision
                    && self.condition_held(&operation.call, revision)
            };
            match (0..open.len()).find(fits) {
                Some(position) => {
                    used.insert(position);
                    self.happened_unanswered += 1;
                }
                None => {
                    let text = format!("revision {revision} is nobody's: {change:?}");
                    self.fail(text);
                }
            }
        }
    }

    /// Holds the order of revisions against the clock.
    fn real_time(&mut self) {
        let floors = Floors::new(self.operations);
        for operation in self.operations {
            let Outcome::Done { revision, seen, .. } = &operation.outcome else { continue };
            let floor = floors.before(operation.called_at);
            let right = match seen {
                Seen::Changed => *revision > floor,
                Seen::Found(_) => *revision >= floor,
            };
            if !right {
                self.fail(format!("stale: revision {floor} was seen before {operation:?}"));
            }
        }
    }
}

/// The highest revision that any client had seen by a point in time.
struct Floors {
    /// In order of time; the revisions never fall.
    seen: Vec<(Nanos, i64)>,
}

impl Floors {
    fn new(operations: &[Operation]) -> Self {
        let mut seen: Vec<(Nanos, i64)> = Vec::new();
        for operation in operations {
            if let Outcome::Done { returned_at, revision, .. } = operation.outcome {
                seen.push((returned_at, revision));
            }
        }
        seen.sort_unstable();
        let mut highest = 0;
        for (_, revision) in &mut seen {
            highest = highest.max(*revision);
            *revision = highest;
        }
        Self { seen }
    }

    fn before(&self, time: Nanos) -> i64 {
        let count = self.seen.partition_point(|(returned_at, _)| *returned_at < time);
        self.seen[..count].last().map_or(0, |(_, revision)| *revision)
    }
}

/// What an operation does to the store when it happens.
fn effect(call: &Call) -> Change {
    match call {
        Call::Put { key, value } => Change::from([(key.clone(), Some(value.clone()))]),
        Call::Delete { key } => Change::from([(key.clone(), None)]),
        Call::Swap { key, twin, value, .. } => {
            Change::from([(key.clone(), Some(value.clone())), (twin.clone(), Some(value.clone()))])
        }
        Call::Get { .. } => Change::new(),
    }
}

/// The keys that differ between two revisions, and what is wrong with their counters.
fn difference(before: &State, after: &State, revision: i64) -> (Change, Vec<String>) {
    let mut change = Change::new();
    let mut wrong = Vec::new();
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        change.insert(key.clone(), None);
    }
    for (key, entry) in after {
        let old = before.get(key);
        if old == Some(entry) {
            continue;
        }
        let expected = Entry {
            value: entry.value.clone(),
            created: old.map_or(revision, |old| old.created),
            modified: revision,
            version: old.map_or(1, |old| old.version + 1),
        };
        if *entry != expected {
            wrong.push(format!("{key} is {entry:?}, expected {expected:?}"));
        }
        change.insert(key.clone(), Some(entry.value.clone()));
    }
    (change, wrong)
}

#[cfg(test)]
mod tests;
