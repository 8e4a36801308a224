//! The checker accepts a right run and finds each kind of wrong one.

use super::*;

/// The history `a=1 (2), b=2 (3), delete a (4), a=3 (5)`.
fn store() -> Vec<State> {
    let entry = |value: &str, created, modified, version| Entry {
        value: value.to_owned(),
        created,
        modified,
        version,
    };
    let state = |entries: &[(&str, Entry)]| -> State {
        entries.iter().map(|(key, entry)| ((*key).to_owned(), entry.clone())).collect()
    };
    let (a, b) = (entry("1", 2, 2, 1), entry("2", 3, 3, 1));
    vec![
        state(&[]),
        state(&[("a", a.clone())]),
        state(&[("a", a), ("b", b.clone())]),
        state(&[("b", b.clone())]),
        state(&[("a", entry("3", 5, 5, 1)), ("b", b)]),
    ]
}

fn put(key: &str, value: &str) -> Call {
    Call::Put { key: key.to_owned(), value: value.to_owned() }
}

fn get(key: &str) -> Call {
    Call::Get { key: key.to_owned() }
}

fn delete(key: &str) -> Call {
    Call::Delete { key: key.to_owned() }
}

fn done(call: Call, times: (Nanos, Nanos), revision: i64, seen: Seen) -> Operation {
    let outcome = Outcome::Done { returned_at: times.1, revision, seen };
    Operation { client: 0, call, called_at: times.0, outcome }
}

fn unknown(call: Call, called_at: Nanos) -> Operation {
    Operation { client: 0, call, called_at, outcome: Outcome::Unknown }
}

fn found(revision: i64, key: &str) -> Seen {
    let position = usize::try_from(revision - 1).unwrap();
    Seen::Found(store()[position].get(key).cloned())
}

/// A run that is right: one after the other, everything answered.
fn right() -> Vec<Operation> {
    vec![
        done(put("a", "1"), (10, 20), 2, Seen::Changed),
        done(put("b", "2"), (30, 40), 3, Seen::Changed),
        done(get("a"), (50, 60), 3, found(3, "a")),
        done(delete("a"), (70, 80), 4, Seen::Changed),
        done(delete("a"), (90, 100), 4, Seen::Found(None)),
        done(put("a", "3"), (110, 120), 5, Seen::Changed),
    ]
}

#[track_caller]
fn finds(operations: &[Operation], states: &[State], text: &str) {
    let violations = check(operations, states).unwrap_err();
    assert!(violations.iter().any(|found| found.contains(text)), "{violations:#?}");
}

#[test]
fn a_right_run_passes() {
    let summary = check(&right(), &store()).unwrap();
    assert_eq!(summary, Summary { answered: 6, revisions: 5, ..Summary::default() });
}

#[test]
fn a_lost_write_is_found() {
    finds(&right(), &store()[..4], "lost write: the store ends");
    let mut states = store();
    let third = states[4].get_mut("a").unwrap();
    third.value = "9".to_owned();
    finds(&right(), &states, "lost write: revision 5");
}

#[test]
fn a_stale_read_is_found() {
    let mut run = right();
    run.push(done(get("a"), (130, 140), 4, found(4, "a")));
    finds(&run, &store(), "stale: revision 5 was seen before");
    run.pop();
    run.push(done(get("a"), (115, 140), 4, found(4, "a")));
    check(&run, &store()).expect("a read beside a write may miss it");
}

#[test]
fn a_wrong_value_is_found() {
    let mut run = right();
    run.push(done(get("b"), (130, 140), 5, Seen::Found(None)));
    finds(&run, &store(), "wrong value");
}

#[test]
fn a_revision_given_twice_is_found() {
    let mut run = right();
    run.push(done(delete("a"), (65, 81), 4, Seen::Changed));
    finds(&run, &store(), "one revision for two changes");
}

#[test]
fn reordered_real_time_is_found() {
    let mut run = right();
    run[1].called_at = 1;
    run[1].outcome = Outcome::Done { returned_at: 5, revision: 3, seen: Seen::Changed };
    finds(&run, &store(), "stale: revision 3 was seen before");
}

#[test]
fn an_unanswered_write_may_have_happened_once() {
    let mut run = right();
    run[5].outcome = Outcome::Unknown;
    run.push(unknown(put("b", "never"), 10));
    let summary = check(&run, &store()).unwrap();
    assert_eq!((summary.unknown, summary.happened_unanswered), (2, 1));
}

#[test]
fn an_unanswered_delete_explains_a_deletion_if_it_was_called_before() {
    let mut run = right();
    run[3] = unknown(delete("a"), 70);
    check(&run, &store()).expect("called in time");
    run[3] = unknown(delete("b"), 70);
    finds(&run, &store(), "revision 4 is nobody's");
    run[3] = unknown(delete("a"), 130);
    finds(&run, &store(), "revision 4 is nobody's");
}

#[test]
fn a_change_that_nobody_asked_for_is_found() {
    let mut run = right();
    run.remove(1);
    finds(&run, &store(), "revision 3 is nobody's");
}

#[test]
fn wrong_counters_are_found() {
    let mut states = store();
    states[4].get_mut("a").unwrap().version = 2;
    finds(&right(), &states, "revision 5: a is");
}

#[test]
fn a_swap_whose_compare_did_not_hold_is_found() {
    let swap = |modified| Call::Swap {
        key: "a".to_owned(),
        twin: "a".to_owned(),
        modified,
        value: "3".to_owned(),
    };
    let mut run = right();
    run[5].call = swap(0);
    check(&run, &store()).expect("a did not exist");
    run[5].call = swap(2);
    finds(&run, &store(), "the compare did not hold");
    run.truncate(5);
    run.push(unknown(swap(2), 110));
    finds(&run, &store(), "revision 5 is nobody's");
    run.push(done(swap(2), (55, 60), 3, found(3, "a")));
    finds(&run, &store(), "took the wrong branch");
}
