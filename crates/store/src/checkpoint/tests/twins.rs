//! Two stores apply the same entries. One keeps everything in memory; of the other one, checkpoints
//! are written while it goes on, records leave memory, segments are rewritten, and it is read
//! back. Nobody must be able to tell them apart.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::checkpoint::{WriteOptions, Written};

#[derive(Clone, Debug)]
enum Step {
    /// So many puts over so many keys.
    Put(usize, usize),
    Delete(usize),
    /// Compacts so many revisions before the newest one.
    Compact(i64),
    Collect(usize),
    Take,
    Write,
    Place(usize),
    Budget(usize),
    Keep,
    Reload,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_usize..900, 1_usize..200).prop_map(|(count, keys)| Step::Put(count, keys)),
        1 => (0_usize..200).prop_map(Step::Delete),
        3 => (0_i64..1500).prop_map(Step::Compact),
        3 => (1_usize..3000).prop_map(Step::Collect),
        3 => Just(Step::Take),
        3 => Just(Step::Write),
        3 => (1_usize..4).prop_map(Step::Place),
        2 => prop::sample::select(&[0, 20_000, 150_000, 1 << 20][..]).prop_map(Step::Budget),
        1 => Just(Step::Keep),
        1 => Just(Step::Reload),
    ]
}

/// The store that has files.
struct Filed {
    fs: MemFs,
    store: Store,
    taken: Option<Checkpoint>,
    written: Option<Written>,
}

impl Filed {
    fn write(&mut self) {
        let Some(checkpoint) = self.taken.take() else { return };
        let options = WriteOptions { segment_bytes: 8 * 1024 };
        let written = checkpoint.write_paced(&self.fs, Path::new(DIR), &options, &mut |_| ());
        self.written = Some(written.unwrap());
    }

    fn place(&mut self, chunks: usize) {
        if let Some(written) = self.written.take() {
            self.store.placed(written);
        }
        self.store.place(chunks);
    }

    fn take(&mut self) {
        if self.taken.is_none() && self.written.is_none() && !self.store.is_placing() {
            self.taken = Some(self.store.checkpoint(conf()));
        }
    }

    fn reload(&mut self) {
        self.write();
        self.place(usize::MAX);
        self.take();
        self.write();
        self.place(usize::MAX);
        let before =
            std::mem::replace(&mut self.store, load_newest(&self.fs).unwrap().unwrap().store);
        if !before.kv.has_garbage() {
            assert_eq!(live(&self.store), live(&before), "what is counted is what is there");
        }
    }
}

/// The bytes that are needed of each segment.
fn live(store: &Store) -> Vec<(u64, u64)> {
    let listed = store.kv.history.files().listed.iter();
    listed.map(|(number, listed)| (*number, listed.live)).collect()
}

fn events(view: &View) -> Vec<crate::Event> {
    let from = (view.compact_revision() + 1).max(0);
    view.events_from(from).unwrap().map(Result::unwrap).collect()
}

fn check_twins(found: &View, expected: &View) {
    assert_eq!(found.hash_kv(0), expected.hash_kv(0));
    assert_eq!(events(found), events(expected));
    for revision in [0, expected.compact_revision().max(1), expected.revision()] {
        let range = RangeRequest { revision, ..everything() };
        assert_eq!(found.range(&range), expected.range(&range));
    }
}

fn everything() -> RangeRequest {
    let all = Bytes::from_static(&[0]);
    RangeRequest { key: all.clone(), range_end: all, ..RangeRequest::default() }
}

fn both(twin: &mut Store, filed: &mut Filed, request: &InternalRaftRequest) {
    let entry = Bytes::from(request.encode_to_vec());
    let index = twin.applied().0 + 1;
    let expected = twin.apply_for(index, 2, EntryData::Normal(&entry), |_| true).unwrap();
    let found = filed.store.apply_for(index, 2, EntryData::Normal(&entry), |_| true).unwrap();
    assert_eq!(found.reply(), expected.reply());
}

fn run(steps: &[Step]) {
    let (mut twin, mut kept) = (Store::new(), Vec::new());
    let (taken, written) = (None, None);
    let mut filed = Filed { fs: new_fs(), store: Store::new(), taken, written };
    for step in steps {
        match *step {
            Step::Put(count, keys) => {
                for nth in 0..count {
                    let key = Bytes::from(format!("key{}", nth * 7 % keys));
                    let value = Bytes::from(vec![b'v'; nth % 60]);
                    let prev_kv = nth % 3 == 0;
                    let put = Some(PutRequest { key, value, prev_kv, ..PutRequest::default() });
                    let request = InternalRaftRequest { put, ..Default::default() };
                    both(&mut twin, &mut filed, &request);
                }
            }
            Step::Delete(key) => {
                let key = Bytes::from(format!("key{key}"));
                let delete = DeleteRangeRequest { key, prev_kv: true, ..Default::default() };
                let request =
                    InternalRaftRequest { delete_range: Some(delete), ..Default::default() };
                both(&mut twin, &mut filed, &request);
            }
            Step::Compact(back) => {
                let revision = twin.view().revision() - back;
                let compaction = Some(CompactionRequest { revision, physical: false });
                let request = InternalRaftRequest { compaction, ..Default::default() };
                both(&mut twin, &mut filed, &request);
            }
            Step::Collect(limit) => drop(filed.store.collect(limit)),
            Step::Take => filed.take(),
            Step::Write => filed.write(),
            Step::Place(chunks) => filed.place(chunks),
            Step::Budget(bytes) => filed.store.set_memory_budget(bytes),
            Step::Keep => kept.push((filed.store.view(), twin.view())),
            Step::Reload => filed.reload(),
        }
    }
    while twin.collect(1000) {}
    while filed.store.collect(1000) {}
    assert_eq!(filed.store.view().size(), twin.view().size());
    kept.push((filed.store.view(), twin.view()));
    filed.reload();
    kept.push((filed.store.view(), twin.view()));
    assert_eq!(filed.store.unplaced_bytes(), 0);
    kept.iter().for_each(|(found, expected)| check_twins(found, expected));
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(24)
    })]

    #[test]
    fn files_cannot_be_told_from_memory(steps in vec(step(), 1..40)) {
        run(&steps);
    }
}
