use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::history::cold::tests::segments;

/// Gathers records of these revisions, and checks that what comes out is in order and complete.
fn check(revisions: &[(i64, u32)]) -> Vec<Link> {
    let segments = segments(3);
    let place = |(nth, &(main, sub)): (usize, &(i64, u32))| {
        let (segment, offset) = (&segments[nth % 3], u32::try_from(nth).unwrap());
        let (length, tombstone) = (offset % 7, nth.is_multiple_of(5));
        Place { segment, offset, revision: Revision { main, sub }, tombstone, length }
    };
    let mut gathered = Gathered::default();
    revisions.iter().enumerate().for_each(|row| gathered.push(&place(row)));
    let links = gathered.finish().expect("no revision is there twice");
    let mut expected: Vec<_> = revisions.iter().enumerate().map(place).collect();
    expected.sort_by_key(|place| place.revision);
    let found = links.iter().flat_map(|link| link.cold().unwrap().places());
    let tell = |place: &Place<'_>| {
        let Place { segment, offset, revision, tombstone, length } = *place;
        (segment.number(), offset, revision, tombstone, length)
    };
    assert!(found.map(|place| tell(&place)).eq(expected.iter().map(tell)));
    for link in &links {
        let cold = link.cold().unwrap();
        assert_eq!((link.first, link.len), (cold.revision(0), cold.len()));
        assert!((1..=CHUNK_SLOTS).contains(&link.len));
    }
    links
}

#[test]
fn in_order_chunks_are_full() {
    let revisions: Vec<_> = (1..=5000).map(|main| (main, 0)).collect();
    let lengths: Vec<_> = check(&revisions).iter().map(|link| link.len).collect();
    assert_eq!(lengths, [1024, 1024, 1024, 1024, 904]);
    assert!(check(&[]).is_empty());
}

#[test]
fn in_other_orders_they_are_half_full_at_least() {
    let (count, stride) = (20_000_i64, 7919);
    let scattered: Vec<_> = (0..count).map(|n| (1 + n * stride % count, 0)).collect();
    let backward: Vec<_> = (1..=count).rev().map(|main| (main, 0)).collect();
    for revisions in [scattered, backward] {
        let links = check(&revisions);
        assert!(links.len() <= 2 * revisions.len() / CHUNK_SLOTS + 1, "{} chunks", links.len());
    }
}

/// With twins where a chunk is split, and with nothing but twins.
#[test]
fn a_revision_that_is_there_twice_is_seen() {
    let segments = segments(1);
    let place = |main, sub| {
        let revision = Revision { main, sub };
        Place { segment: &segments[0], offset: 24, revision, tombstone: false, length: 1 }
    };
    for twin in [1, 511, 512, 513, 1023, 1024, 1025, 3000] {
        for then in [0, 1, 5000] {
            let mut gathered = Gathered::default();
            (1..=then).for_each(|sub| gathered.push(&place(twin, sub)));
            (1..=3000).rev().for_each(|main| gathered.push(&place(main, 0)));
            gathered.push(&place(twin, 0));
            assert!(gathered.finish().is_none(), "{twin}, {then}");
        }
    }
    let mut gathered = Gathered::default();
    (0..5000).for_each(|_| gathered.push(&place(7, 7)));
    (0..5000).for_each(|main| gathered.push(&place(8 + main, 7)));
    assert!(gathered.finish().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(16)
    })]

    #[test]
    fn any_order_becomes_order(
        runs in vec((1_i64..1_000_000, 1_i64..5, 1_i64..2000, any::<bool>()), 1..8),
        far in proptest::option::of(1_i64 << 40..i64::MAX - 10_000),
    ) {
        let mut revisions = Vec::new();
        for &(from, step, count, backward) in &runs {
            let run = (0..count).map(|n| (from + n * step, u32::from(n % 4 == 0)));
            let mut run: Vec<_> = run.collect();
            if backward {
                run.reverse();
            }
            revisions.extend(run);
        }
        revisions.extend(far.map(|far| (far, u32::MAX)));
        let mut seen = std::collections::BTreeSet::new();
        revisions.retain(|revision| seen.insert(*revision));
        check(&revisions);
    }
}
