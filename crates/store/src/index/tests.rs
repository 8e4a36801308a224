use proptest::collection::vec;
use proptest::prelude::*;

use super::states::States;
use super::{Change, Index, KeyState, Latest};
use crate::revision::Revision;
use crate::tree::{Column, Entry};

/// The changes of a key as a plain list, with the rules written down a second time.
#[derive(Clone, Default)]
struct Model {
    changes: Vec<Change>,
}

impl Model {
    fn newest_at(&self, at: i64) -> Option<Change> {
        self.changes.iter().rev().find(|change| change.revision.main <= at).copied()
    }

    fn compact(&mut self, at: i64) -> Vec<Revision> {
        let newest = self.newest_at(at);
        let keeps = |change: &Change| {
            change.revision.main > at
                || (Some(*change) == newest && !(change.tombstone && change.revision.main < at))
        };
        let dead = self.changes.iter().filter(|change| !keeps(change));
        let dead = dead.map(|change| change.revision).collect();
        self.changes.retain(keeps);
        dead
    }
}

/// An index with one key.
fn index_of(state: &KeyState) -> Index {
    let mut index = Index::default();
    index.upsert(b"key", |slot| *slot = state.clone());
    index
}

fn visible_at(state: &KeyState, at: i64) -> Option<Revision> {
    index_of(state).find(b"key").unwrap().visible_at(at)
}

fn check(state: &KeyState, model: &Model, last: i64) {
    let index = index_of(state);
    let slot = index.find(b"key").unwrap();
    assert_eq!(slot.value().changes(), model.changes);
    for at in 0..=last + 1 {
        assert_eq!(slot.newest_at(at), model.newest_at(at), "at {at}");
        let visible = model.newest_at(at).filter(|change| !change.tombstone);
        assert_eq!(slot.visible_at(at), visible.map(|change| change.revision), "at {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(48)
    })]

    /// Each step is a put or a deletion some revisions later; now and then the key is compacted.
    #[test]
    fn behaves_like_a_list(
        steps in vec((0_i64..3, 0_u32..2, any::<bool>(), 0_i64..40), 1..200),
    ) {
        let (mut state, mut model) = (KeyState::default(), Model::default());
        let mut old = Vec::new();
        let mut revision = Revision::first_of(2);
        let mut compacted = 0;
        for (skip, sub, delete, compact) in steps {
            revision.main += 1 + skip;
            revision.sub = sub;
            let tombstone = delete && state.is_live();
            if tombstone { state.delete(revision) } else { state.put(revision, 7) }
            model.changes.push(Change { revision, tombstone });
            let at = compacted + compact;
            if compact < 8 && at <= revision.main {
                compacted = at;
                old.push((state.clone(), model.clone()));
                let would_change = model.clone().compact(at);
                let is_compact = index_of(&state).find(b"key").unwrap().is_compact(at);
                prop_assert_eq!(is_compact, would_change.is_empty());
                let mut dead = Vec::new();
                let left = state.compact(at, |change| dead.push(change));
                prop_assert_eq!(dead, model.compact(at));
                prop_assert_eq!(left, !model.changes.is_empty());
                if !left {
                    (state, model) = Default::default();
                }
            }
        }
        check(&state, &model, revision.main);
        for (state, model) in old {
            check(&state, &model, revision.main);
        }
    }
}

#[test]
fn generations_and_versions() {
    let mut state = KeyState::default();
    assert!(!state.is_live());
    state.put(Revision { main: 2, sub: 1 }, 5);
    state.put(Revision::first_of(4), 0);
    assert_eq!((state.latest.created, state.latest.version, state.latest.lease), (2, 2, 0));
    state.delete(Revision::first_of(6));
    assert!(!state.is_live());
    state.put(Revision::first_of(9), 8);
    assert_eq!((state.latest.created, state.latest.version, state.latest.lease), (9, 1, 8));
    assert_eq!(visible_at(&state, 7), None);
    assert_eq!(visible_at(&state, 5), Some(Revision::first_of(4)));
}

#[test]
fn a_key_with_very_many_changes_is_trimmed_and_searched() {
    let mut state = KeyState::default();
    for main in 1..=40_000 {
        state.put(Revision::first_of(main), 0);
    }
    let index = index_of(&state);
    for at in (1..=40_000).step_by(777) {
        let slot = index.find(b"key").unwrap();
        assert_eq!(slot.visible_at(at), Some(Revision::first_of(at)));
    }
    let mut dead = 0;
    assert!(state.compact(30_000, |_| dead += 1));
    assert_eq!(dead, 29_999);
    assert_eq!(visible_at(&state, 29_999), None);
    assert_eq!(visible_at(&state, 30_000), Some(Revision::first_of(30_000)));
    assert_eq!((state.latest.created, state.latest.version), (1, 40_000));
}

/// A state that a key can have, and some that none has: packing loses nothing of either.
fn state() -> impl Strategy<Value = KeyState> {
    let number = || prop_oneof![0_i64..200, Just(i64::MAX), any::<i64>()];
    let main = prop_oneof![3 => 0_i64..200, 1 => 0_i64..i64::MAX];
    let sub = prop_oneof![Just(0_u32), any::<u32>()];
    let numbers = (main, sub, number(), number(), prop_oneof![Just(0), number()]);
    let past = prop_oneof![3 => 0_i64..4, 1 => 6_i64..12];
    (numbers, any::<bool>(), any::<bool>(), past).prop_map(
        |((main, sub, created, version, lease), natural, tombstone, past)| {
            let mut state = KeyState::default();
            for main in 1..=past {
                let sub = u32::try_from(main % 3).unwrap();
                state.restore(Change { revision: Revision { main, sub }, tombstone }, 1, 1, 0);
            }
            let latest = &mut state.latest;
            latest.modified = Revision { main: main.max(past), sub };
            latest.tombstone = tombstone;
            (latest.created, latest.version) = match (natural, tombstone) {
                (true, true) => (0, 0),
                (true, false) => (latest.modified.main, 1),
                (false, _) => (created, version),
            };
            latest.lease = lease;
            state
        },
    )
}

type Told = (Vec<Change>, Latest);

fn told(state: &KeyState) -> Told {
    (state.changes(), state.latest)
}

fn check_column(states: &States, model: &[KeyState]) {
    assert_eq!(states.len(), model.len());
    for (at, expected) in model.iter().enumerate() {
        assert_eq!(told(&states.get(at)), told(expected), "at {at}");
        assert_eq!(states.latest(at), expected.latest, "at {at}");
        let oldest = expected.changes().first().copied().unwrap_or(expected.latest.change());
        assert_eq!(states.oldest(at), oldest, "at {at}");
        assert_eq!(states.is_live(at), expected.is_live(), "at {at}");
        let live = model[..at].iter().filter(|state| state.is_live()).count();
        assert_eq!(states.live_before(at), live, "before {at}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(usize, KeyState),
    Change(usize, KeyState),
    Remove(usize),
    Split(usize),
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(64)
    })]

    #[test]
    fn packed_states_behave_like_a_list(
        steps in vec(prop_oneof![
            4 => (any::<usize>(), state()).prop_map(|(at, state)| Step::Insert(at, state)),
            2 => (any::<usize>(), state()).prop_map(|(at, state)| Step::Change(at, state)),
            1 => any::<usize>().prop_map(Step::Remove),
            1 => any::<usize>().prop_map(Step::Split),
        ], 0..60),
    ) {
        let (mut states, mut model) = (States::default(), Vec::<KeyState>::new());
        for step in steps {
            match step {
                Step::Insert(at, state) => {
                    let at = at % (model.len() + 1);
                    states.insert(at, state.clone());
                    model.insert(at, state);
                }
                Step::Change(at, state) if !model.is_empty() => {
                    let at = at % model.len();
                    let before = states.change(at, |slot| std::mem::replace(slot, state.clone()));
                    let expected = std::mem::replace(&mut model[at], state);
                    prop_assert_eq!(told(&before), told(&expected));
                }
                Step::Remove(at) if !model.is_empty() => {
                    let at = at % model.len();
                    prop_assert_eq!(told(&states.remove(at)), told(&model.remove(at)));
                }
                Step::Split(at) => {
                    let at = at % (model.len() + 1);
                    let right = states.split_off(at);
                    check_column(&states, &model[..at]);
                    check_column(&right, &model[at..]);
                    states.append(right);
                    states.shrink();
                }
                Step::Change(..) | Step::Remove(_) => {}
            }
            check_column(&states, &model);
        }
    }
}
