//! The checks can fail: with a rule broken on purpose, some seed must notice.

use quoin_sim::suite::run_sabotaged;
use quoin_sim::{Outcome, Sabotage};

/// Seeds after which a sabotage counts as undetected.
const SEEDS: u64 = 200;

/// Returns the first run that notices.
fn first_caught(sabotage: Sabotage, only_consequences: bool) -> Option<Outcome> {
    let members = |seed| if seed % 2 == 0 { 3 } else { 5 };
    let mut runs =
        (0..SEEDS).map(|seed| run_sabotaged(seed, members(seed), sabotage, only_consequences));
    runs.find(|outcome| outcome.violation.is_some())
}

fn check(sabotage: Sabotage, only_consequences: bool) {
    let caught = first_caught(sabotage, only_consequences);
    assert!(caught.is_some(), "{sabotage:?} was not caught by {SEEDS} seeds");
}

#[test]
fn every_sabotage_is_caught() {
    for &sabotage in Sabotage::ALL {
        check(sabotage, false);
    }
}

/// What is said before it is durable is noticed at once by a look at the disk. It must also be
/// noticed by what comes of it.
#[test]
fn what_is_not_durable_has_consequences() {
    for sabotage in [Sabotage::AckBeforeSync, Sabotage::LyingDisk, Sabotage::ForgetVote] {
        check(sabotage, true);
    }
}
