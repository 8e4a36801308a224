//! The suite: many seeds, each run twice. Every run must keep all promises, both runs of a seed
//! must be the same, and all of them together must have met every fault and every rare path.

use quoin_sim::suite::Report;

/// Seeds for each size of cluster.
const SEEDS: u64 = 100;
/// Seeds for each other size.
const SEEDS_OF_OTHER_SIZES: u64 = 10;

fn check(members: usize, seeds: u64) -> Report {
    let mut report = Report::default();
    for seed in 0..seeds {
        report.run_twice(seed, members);
    }
    let failed = report.failed.iter().map(|outcome| {
        let violation = outcome.violation.as_ref().map(ToString::to_string).unwrap_or_default();
        let (seed, tail) = (outcome.seed, outcome.tail.join("\n"));
        format!("{tail}\nseed {seed} with {members} members: {violation}\n")
    });
    let failed: String = failed.collect();
    assert!(failed.is_empty(), "{failed}");
    let differing = &report.differing;
    assert!(differing.is_empty(), "two runs of a seed differ: {differing:?}");
    report
}

#[test]
fn no_fault_breaks_a_promise() {
    let (three, five) = std::thread::scope(|scope| {
        let three = scope.spawn(|| check(3, SEEDS));
        let five = check(5, SEEDS);
        (three.join().expect("clusters of three keep their promises"), five)
    });
    let mut coverage = three.coverage;
    coverage += &five.coverage;
    let missing = coverage.missing();
    assert!(missing.is_empty(), "these were never met: {missing:?}\n{coverage}");
}

/// A member alone, and an even number of members, decide by the same rules.
#[test]
fn other_sizes_keep_their_promises_too() {
    for members in [1, 2, 4] {
        check(members, SEEDS_OF_OTHER_SIZES);
    }
}
