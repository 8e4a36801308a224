use std::time::Duration;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// Runs a schedule for some looks, with ten new revisions between two of them, and returns the
/// minute and the revision of each compaction.
fn run(mode: AutoCompaction, looks: u32) -> Vec<(u64, i64)> {
    let mut schedule = Schedule::new(mode).expect("there is something to do");
    let (mut now, mut revision, mut compactions) = (Duration::ZERO, 1, vec![]);
    for _ in 0..looks {
        schedule.sample(revision);
        now += schedule.pause();
        revision += 10;
        if let Some(due) = schedule.due(now, revision) {
            schedule.compacted(now, due);
            compactions.push((now.as_secs() / 60, due));
        }
    }
    compactions
}

#[test]
fn nothing_to_do_without_a_retention() {
    assert!(Schedule::new(AutoCompaction::Off).is_none());
}

#[test]
fn a_short_retention_sets_the_interval() {
    // Samples every minute: the oldest is the one of ten minutes before.
    let found = run(AutoCompaction::Periodic(10 * MINUTE), 35);
    assert_eq!(found, [(10, 1), (20, 91), (30, 191)]);
}

#[test]
fn a_long_retention_compacts_every_hour() {
    // Samples every six minutes, none compacted before three hours have passed.
    let found = run(AutoCompaction::Periodic(180 * MINUTE), 52);
    assert_eq!(found, [(180, 1), (240, 91), (300, 191)]);
}

#[test]
fn an_idle_store_is_compacted_once() {
    let mut schedule = Schedule::new(AutoCompaction::Periodic(10 * MINUTE)).unwrap();
    let mut compactions = 0;
    for look in 1..100 {
        schedule.sample(7);
        let now = look * MINUTE;
        if let Some(revision) = schedule.due(now, 7) {
            schedule.compacted(now, revision);
            compactions += 1;
        }
    }
    assert_eq!(compactions, 1);
}

#[test]
fn a_failed_compaction_is_tried_again_at_the_next_look() {
    let mut schedule = Schedule::new(AutoCompaction::Periodic(10 * MINUTE)).unwrap();
    schedule.sample(5);
    assert_eq!(schedule.due(9 * MINUTE, 5), None);
    assert_eq!(schedule.due(10 * MINUTE, 5), Some(5));
    assert_eq!(schedule.due(11 * MINUTE, 5), Some(5));
}

#[test]
fn revisions_are_counted_from_the_newest() {
    let found = run(AutoCompaction::Revisions(25), 4);
    assert_eq!(found, [(15, 6), (20, 16)]);
    assert!(run(AutoCompaction::Revisions(1000), 10).is_empty());
}

#[test]
fn a_tiny_retention_does_not_spin() {
    let schedule = Schedule::new(AutoCompaction::Periodic(Duration::from_nanos(3))).unwrap();
    assert_eq!(schedule.pause(), Duration::from_millis(1));
}
