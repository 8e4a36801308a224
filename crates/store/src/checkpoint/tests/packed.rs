//! What stays in memory of records that are in files: one buffer for each chunk.

use super::*;
use crate::history::{Body, CHUNK_SLOTS, Packed};
use crate::revision::Revision;

/// The chunks in files, oldest first: how many records, and what is in memory of them.
fn chunks(store: &Store) -> Vec<(usize, Option<Arc<Packed>>)> {
    let links = store.kv.history.view().links();
    let placed = links.filter_map(|(link, len)| match &link.body {
        Body::New(_) => None,
        Body::Placed { hot, .. } => Some((len, hot.clone())),
    });
    placed.collect()
}

fn hot_bytes(store: &Store) -> usize {
    chunks(store).iter().filter_map(|(_, hot)| hot.as_ref()).map(|hot| hot.size()).sum()
}

fn compact_all(store: &mut Store) {
    let revision = store.view().revision();
    let compaction = Some(CompactionRequest { revision, physical: false });
    apply(store, &InternalRaftRequest { compaction, ..Default::default() });
    while store.collect(100) {}
}

/// A store with so many keys, each put once, one revision after the other.
fn store_of(keys: usize) -> Store {
    let mut store = Store::new();
    for n in 0..keys {
        put(&mut store, &format!("key{n:05}"), format!("the value of {n}").as_bytes(), 0);
    }
    store
}

#[test]
fn a_chunk_is_one_buffer_that_readers_share() {
    let (fs, mut store) = (new_fs(), store_of(3000));
    let expected = store.view();
    write(&fs, &mut store).unwrap();
    check_same(&store.view(), &expected);
    assert!(chunks(&store).iter().all(|(_, hot)| hot.is_some()));
    let heads = chunks(&store).len() * 64;
    assert!(hot_bytes(&store) <= store.view().size() + 4 * 3000 + heads);
    let view = store.view();
    let bytes = |main| view.history.record(Revision::first_of(main)).unwrap().unwrap().bytes;
    assert_eq!(bytes(100).as_ptr(), bytes(100).as_ptr(), "nothing is copied");
    assert_eq!(bytes(100).as_ptr_range().end, bytes(101).as_ptr(), "one buffer has them all");
}

/// The oldest bytes leave memory first, and what is said to be there is there.
#[test]
fn the_budget_bounds_what_is_hot() {
    let (fs, mut store) = (new_fs(), store_of(8 * CHUNK_SLOTS));
    let expected = store.view();
    write(&fs, &mut store).unwrap();
    let all = expected.size() + 4 * 8 * CHUNK_SLOTS;
    for budget in [all, all / 2, all / 5, 0] {
        // Once by the store, and once by the job.
        let mut loaded = store_of(8 * CHUNK_SLOTS);
        loaded.set_memory_budget(budget);
        write(&new_fs(), &mut loaded).unwrap();
        store.set_memory_budget(budget);
        for store in [&loaded, &store] {
            let hot: Vec<_> = chunks(store).iter().map(|(_, hot)| hot.is_some()).collect();
            assert!(hot.is_sorted(), "{hot:?}");
            assert!(hot_bytes(store) <= budget);
            assert!(hot_bytes(store) + all / 7 >= budget, "{hot:?} of {budget}");
            check_same(&store.view(), &expected);
        }
    }
}

/// Records die in hot chunks: what is left of them is packed anew, and small ones become one.
#[test]
fn a_hot_chunk_loses_records() {
    let (fs, mut store) = (new_fs(), store_of(5 * CHUNK_SLOTS));
    write(&fs, &mut store).unwrap();
    let before = store.view();
    let shown = before.hash_kv(0);
    let full = hot_bytes(&store);
    for n in (0..5 * CHUNK_SLOTS).filter(|n| n % 40 != 0) {
        put(&mut store, &format!("key{n:05}"), b"", 0);
    }
    compact_all(&mut store);
    assert!(chunks(&store).iter().all(|(_, hot)| hot.is_some()));
    assert!(hot_bytes(&store) * 20 < full, "{} of {full} bytes", hot_bytes(&store));
    assert!(chunks(&store).len() <= 2, "{} chunks", chunks(&store).len());
    assert_eq!(before.hash_kv(0), shown, "a view keeps what it has");
    let expected = store.view();
    store.set_memory_budget(0);
    assert_eq!(hot_bytes(&store), 0);
    check_same(&store.view(), &expected);
    store.set_memory_budget(usize::MAX);
    write(&fs, &mut store).unwrap();
    check_same(&store.view(), &expected);
    check_same(&load_newest(&fs).unwrap().unwrap().store.view(), &expected);
}

/// Chunks that lost records while the job worked are packed too, if the job found room for them.
#[test]
fn chunks_that_changed_meanwhile_are_packed() {
    for (budget, hot) in [(usize::MAX, true), (0, false)] {
        let (fs, mut store) = (new_fs(), store_of(3 * CHUNK_SLOTS));
        store.set_memory_budget(budget);
        let checkpoint = store.checkpoint(conf());
        for n in (0..3 * CHUNK_SLOTS).step_by(2) {
            put(&mut store, &format!("key{n:05}"), b"", 0);
        }
        compact_all(&mut store);
        let expected = store.view();
        store.placed(checkpoint.write(&fs, Path::new(DIR)).unwrap());
        while store.place(1) {}
        let chunks = chunks(&store);
        assert!(chunks.len() >= 2 && chunks.iter().all(|(_, packed)| packed.is_some() == hot));
        check_same(&store.view(), &expected);
    }
}

/// Neighbours were joined by the number of their records alone, so a few hundred large ones became
/// one chunk, and who held one of them held them all.
#[test]
fn large_records_stay_in_many_chunks() {
    let (fs, mut store) = (new_fs(), Store::new());
    for n in 0..40 {
        put(&mut store, &format!("key{n:05}"), &[b'v'; 300 << 10], 0);
    }
    write(&fs, &mut store).unwrap();
    for n in (0..40).step_by(3) {
        put(&mut store, &format!("key{n:05}"), b"", 0);
    }
    compact_all(&mut store);
    let sizes: Vec<_> =
        chunks(&store).iter().map(|(_, hot)| hot.as_ref().unwrap().size()).collect();
    assert!(sizes.iter().all(|size| *size < (1 << 20) + (400 << 10)), "{sizes:?}");
    assert!(sizes.len() < 13, "some were joined: {sizes:?}");
}
