use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Body, CHUNK_SLOTS, History, HistoryView, Link};
use crate::revision::Revision;

type Model = BTreeMap<Revision, Bytes>;

fn bytes_of(revision: Revision) -> Bytes {
    Bytes::from(format!("{}.{}", revision.main, revision.sub))
}

/// Everything in the model is in the history and in its place; the history may have more.
fn check(view: &HistoryView, model: &Model) {
    let from_start: Vec<_> = view.iter_from(Revision::default()).map(Result::unwrap).collect();
    assert!(from_start.windows(2).all(|pair| pair[0].revision < pair[1].revision));
    for (&revision, bytes) in model {
        let record = view.record(revision).unwrap().expect("the record is there");
        assert_eq!((record.revision, &record.bytes), (revision, bytes));
        assert!(from_start.iter().any(|record| record.revision == revision));
        let first =
            view.iter_from(revision).next().expect("the walk begins at the record").unwrap();
        assert_eq!(first.revision, revision);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(8)
    })]

    #[test]
    fn behaves_like_a_map(
        sizes in vec(1_u32..30, 100..300),
        drops in vec((0_usize..400, 0_u32..30), 0..3000),
        views in vec(0_usize..400, 0..4),
    ) {
        let mut history = History::default();
        let mut model = Model::new();
        let mut kept = Vec::new();
        for (nth, &size) in sizes.iter().enumerate() {
            let main = 2 + i64::try_from(nth).unwrap();
            for sub in 0..size {
                let revision = Revision { main, sub };
                history.append(revision, false, bytes_of(revision));
                model.insert(revision, bytes_of(revision));
            }
            if views.contains(&nth) {
                kept.push((history.view().clone(), model.clone()));
            }
        }
        for &(nth, sub) in &drops {
            let revision = Revision { main: 2 + i64::try_from(nth).unwrap(), sub };
            history.drop_record(revision);
            history.drop_record(revision);
            model.remove(&revision);
        }
        check(history.view(), &model);
        prop_assert_eq!(history.size(), model.values().map(Bytes::len).sum::<usize>());
        let next = Revision::first_of(10_000);
        history.append(next, true, bytes_of(next));
        model.insert(next, bytes_of(next));
        check(history.view(), &model);
        for (view, model) in kept {
            check(&view, &model);
            prop_assert_eq!(view.iter_from(Revision::default()).count(), model.len());
        }
    }
}

#[test]
fn memory_follows_what_is_left() {
    let mut history = History::default();
    let last = 200 * i64::try_from(CHUNK_SLOTS).unwrap();
    for main in 1..=last {
        history.append(Revision::first_of(main), false, bytes_of(Revision::first_of(main)));
    }
    for main in (1..last).filter(|main| main % 512 != 0) {
        history.drop_record(Revision::first_of(main));
    }
    let slots = |link: &Link| match &link.body {
        Body::New(slots) => slots.len(),
        Body::Placed { .. } => panic!("no job has placed anything"),
    };
    let slots: usize = history.view.links.iter().map(slots).sum();
    let left = usize::try_from(last / 512).unwrap();
    assert!(history.view.links.len() <= 4, "{} chunks", history.view.links.len());
    assert!(slots <= left + 2 * CHUNK_SLOTS, "{slots} slots for {left} records");
    for main in (512..=last).step_by(512) {
        assert!(history.view().record(Revision::first_of(main)).unwrap().is_some());
    }
}

#[test]
fn an_empty_history_has_nothing() {
    let mut history = History::default();
    assert_eq!(history.view().record(Revision::first_of(2)).unwrap(), None);
    assert_eq!(history.view().iter_from(Revision::default()).count(), 0);
    history.drop_record(Revision::first_of(2));
}

/// A view is taken while a chunk is half full; what is appended later is in the same chunk.
#[test]
fn a_view_does_not_see_later_records() {
    let mut history = History::default();
    for main in 2..12 {
        history.append(Revision::first_of(main), false, Bytes::new());
    }
    let view = history.view().clone();
    for main in 12..5000 {
        history.append(Revision::first_of(main), false, Bytes::new());
    }
    assert_eq!(view.iter_from(Revision::default()).count(), 10);
    assert_eq!(view.record(Revision::first_of(12)).unwrap(), None);
    assert!(view.record(Revision::first_of(11)).unwrap().is_some());
}
