//! Checkpoints whose records are in segments.

use quoin_api::error::Error;
use quoin_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use quoin_api::etcdserverpb::request_op::Request as Operation;
use quoin_api::etcdserverpb::response_op::Response;
use quoin_api::etcdserverpb::{RequestOp, TxnRequest};

use super::*;
use crate::history::segment;
use crate::{Bound, Reply};

fn names(fs: &dyn FileSystem) -> Vec<String> {
    fs.list(Path::new(DIR)).unwrap()
}

fn segments(fs: &dyn FileSystem) -> Vec<u64> {
    names(fs).iter().filter_map(|name| segment::parse(name)).collect()
}

fn compact(store: &mut Store, revision: i64) {
    let compaction = Some(CompactionRequest { revision, physical: false });
    apply(store, &InternalRaftRequest { compaction, ..Default::default() });
    while store.collect(100) {}
}

fn read(fs: &dyn FileSystem, path: &Path) -> Vec<u8> {
    let file = fs.open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// The bytes are a format, not an accident of the code: a change of them needs a new version.
#[test]
fn golden_bytes_of_an_index_and_a_segment() {
    let mut store = Store::new();
    let lease_grant = Some(LeaseGrantRequest { id: 5, ttl: 60 });
    apply(&mut store, &InternalRaftRequest { lease_grant, ..Default::default() });
    put(&mut store, "k", b"v", 5);
    put(&mut store, "kk", b"", 0);
    let fs = new_fs();
    let conf = ConfState { voters: vec![1], learners: vec![] };
    store.checkpoint(conf).write(&fs, Path::new(DIR)).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let segment = [
        "51554f494e534547", // QUOINSEG
        "01000000",         // version
        "0000000000000000", // number
        "SUM0",
        "0e000000", // a record
        "SUM1",
        "0200000000000000",
        "00000000",
        "0a016b1002180220012a01763005",
        "0a000000",
        "SUM2",
        "0300000000000000",
        "00000000",
        "0a026b6b100318032001",
        "0200000000000000", // records
        "7000000000000000", // length
        "SUM3",
        "SUM4",
    ]
    .concat();
    let found = hex(&read(&fs, &segment::path(Path::new(DIR), 0)));
    check_hex(&found, &segment);
    let index = [
        "SUM0SUM1",         // length and checksum of the block
        "51554f494e434b50", // QUOINCKP
        "04000000",         // version
        "0300000000000000", // index
        "0200000000000000", // term
        "01000000",         // voters
        "0100000000000000",
        "00000000",         // learners
        "0300000000000000", // revision
        "ffffffffffffffff", // compacted
        "00000000",         // members
        "00000000",         // removed
        "00",               // version of the cluster
        "00",               // downgrade
        "00000000",         // alarms
        "01",               // a lease
        "0500000000000000",
        "3c00000000000000",
        "0000000000000000",
        "00",
        EMPTY_V2_STORE,
        "01000000", // segments
        "0000000000000000",
        "7000000000000000",
        "SUM2",
        "0100000000000000", // the next one
        "0100016b02010501", // a key, and one change
        "02001c0018",
        "0101016b03010001",
        "030014003a",
        "00",
        "00000000SUM3",
    ]
    .concat();
    let found = hex(&read(&fs, &CheckpointId { index: 3 }.path(Path::new(DIR))));
    check_hex(&found[..found.len() - 16], &index);
}

/// Compares all but the checksums, which are what the reader wants them to be.
fn check_hex(found: &str, expected: &str) {
    let mut at = 0;
    let mut rest = expected;
    while !rest.is_empty() {
        match rest.strip_prefix("SUM") {
            Some(behind) => (at, rest) = (at + 8, &behind[1..]),
            None => {
                let length = rest.find("SUM").unwrap_or(rest.len());
                assert_eq!(&found[at..at + length], &rest[..length], "at {at} in {found}");
                (at, rest) = (at + length, &rest[length..]);
            }
        }
    }
    assert_eq!(at, found.len(), "{found}");
}

#[test]
fn only_what_the_newest_names_stays() {
    let fs = new_fs();
    let mut store = full_store();
    for left_over in ["checkpoint-0000000000000001.tmp", "segment-0000000000000007"] {
        replace(&fs, &Path::new(DIR).join(left_over), b"left over");
    }
    replace(&fs, Path::new("/store/checkpoint-1"), b"not ours");
    for _ in 0..4 {
        let id = write(&fs, &mut store).unwrap();
        assert_eq!(Checkpoint::list(&fs, Path::new(DIR)).unwrap(), [id]);
        put(&mut store, "a", b"later", 0);
    }
    // No number is used twice, and every job wrote what was new.
    let numbers = segments(&fs);
    assert!(numbers.iter().all(|number| *number > 7) && numbers.len() >= 4, "{numbers:?}");
    assert_eq!(names(&fs).len(), numbers.len() + 2, "{:?}", names(&fs));
}

/// Records in files are as good as those in memory, whatever the budget.
#[test]
fn records_leave_memory_and_are_read_from_files() {
    let fs = new_fs();
    let mut store = full_store();
    for n in 0..3000 {
        put(&mut store, &format!("key{}", n % 701), format!("value {n}").as_bytes(), 0);
    }
    let hot = store.view();
    let bytes = bytes_of(&mut store);
    write(&fs, &mut store).unwrap();
    assert_eq!(store.unplaced_bytes(), 0);
    store.set_memory_budget(0);
    check_same(&store.view(), &hot);
    assert_eq!(bytes_of(&mut store), bytes, "the stream does not depend on where records are");
    check_same(&load_newest(&fs).unwrap().unwrap().store.view(), &hot);
    put(&mut store, "key1", b"one more", 0);
    assert!(store.unplaced_bytes() > 0);
}

/// All keys are written anew and what was before is compacted: the old segments go, and a view
/// that was taken before still reads them.
#[test]
fn segments_that_are_mostly_dead_go() {
    let fs = new_fs();
    let mut store = full_store();
    let write = |store: &mut Store| {
        let options = WriteOptions { segment_bytes: 4096 };
        let checkpoint = store.checkpoint(conf());
        let written = checkpoint.write_paced(&fs, Path::new(DIR), &options, &mut |_| ());
        store.placed(written.unwrap());
        while store.place(1) {}
    };
    put(&mut store, "long", b"", 0);
    let fill = |store: &mut Store, value: &[u8]| {
        for n in 0..500 {
            put(store, &format!("key{n}"), value, 0);
        }
    };
    fill(&mut store, b"the first value");
    let revision = store.view().revision();
    compact(&mut store, revision);
    write(&mut store);
    store.set_memory_budget(0);
    let (first, before) = (segments(&fs), store.view());
    let shown = before.range(&everything()).unwrap();
    fill(&mut store, b"the second one");
    // One old record of ten stays.
    for n in (0..500).step_by(10) {
        put(&mut store, &format!("kept{n}"), b"", 0);
    }
    let revision = store.view().revision();
    compact(&mut store, revision);
    let (all, dead) = store.file_bytes();
    assert!(dead * 2 > all, "{dead} of {all} bytes are dead");
    write(&mut store);
    let (all, dead) = store.file_bytes();
    assert!(dead * 4 <= all, "{dead} of {all} bytes are dead");
    assert!(segments(&fs).iter().all(|number| !first.contains(number)));
    assert_eq!(before.range(&everything()).unwrap(), shown, "an open file outlives its name");
    check_same(&load_newest(&fs).unwrap().unwrap().store.view(), &store.view());
}

/// Checkpoints of little changes leave short segments, which are joined before they are many.
#[test]
fn short_segments_are_joined() {
    let fs = new_fs();
    let mut store = full_store();
    for n in 0..100 {
        put(&mut store, &format!("key{n}"), b"v", 0);
        let written = store.checkpoint(conf()).write(&fs, Path::new(DIR)).unwrap();
        store.placed(written);
        while store.place(1) {}
        assert!(segments(&fs).len() <= 10, "{:?}", segments(&fs));
    }
    check_same(&load_newest(&fs).unwrap().unwrap().store.view(), &store.view());
}

/// The store goes on while the job writes: it appends, and drops what the job writes.
#[test]
fn a_job_may_be_late() {
    let fs = new_fs();
    let mut store = full_store();
    for n in 0..5000 {
        put(&mut store, &format!("key{}", n % 100), b"v", 0);
    }
    let checkpoint = store.checkpoint(conf());
    let revision = store.view().revision();
    for n in 0..3000 {
        put(&mut store, &format!("later{}", n % 7), b"v", 0);
    }
    compact(&mut store, revision - 50);
    let written = checkpoint.write(&fs, Path::new(DIR)).unwrap();
    let unplaced = store.unplaced_bytes();
    store.placed(written);
    while store.place(1) {}
    assert!(store.unplaced_bytes() < unplaced);
    store.set_memory_budget(0);
    let expected = store.view();
    write(&fs, &mut store).unwrap();
    assert_eq!(store.unplaced_bytes(), 0);
    check_same(&load_newest(&fs).unwrap().unwrap().store.view(), &expected);
}

/// Another store has taken the place of the one that the job wrote.
#[test]
fn a_job_of_another_store_is_passed_over() {
    let fs = new_fs();
    let mut store = full_store();
    let written = store.checkpoint(conf()).write(&fs, Path::new(DIR)).unwrap();
    let mut other = full_store();
    let unplaced = other.unplaced_bytes();
    other.placed(written);
    assert!(!other.place(1));
    assert_eq!(other.unplaced_bytes(), unplaced);
}

/// A state that arrived was the newest checkpoint from then on, and the one before was removed,
/// although consensus could still refuse it: then the member began with a stranger's state.
#[test]
fn a_received_state_changes_nothing_until_it_is_adopted() {
    for adopted in [false, true] {
        let fs = new_fs();
        let mut store = full_store();
        write(&fs, &mut store).unwrap();
        let before = names(&fs);
        let mut ahead = full_store();
        put(&mut ahead, "ahead", b"", 0);
        let id = ahead.checkpoint(conf()).write_received(&fs, Path::new(DIR)).unwrap();
        let mut loaded = id.load(&fs, Path::new(DIR)).unwrap();
        check_loaded(&loaded, &ahead);
        let all = names(&fs);
        assert!(before.iter().all(|name| all.contains(name)), "{all:?}");
        assert_eq!(ReceivedId::list(&fs, Path::new(DIR)).unwrap(), [id]);
        check_loaded(&load_newest(&fs).unwrap().unwrap(), &store);
        // The member's own checkpoints leave alone what somebody may still adopt.
        put(&mut store, "more", b"", 0);
        write(&fs, &mut store).unwrap();
        check_loaded(&id.load(&fs, Path::new(DIR)).unwrap(), &ahead);
        check_loaded(&load_newest(&fs).unwrap().unwrap(), &store);
        let next = if adopted {
            id.adopt(&fs, Path::new(DIR)).unwrap();
            &mut loaded.store
        } else {
            id.discard(&fs, Path::new(DIR));
            &mut store
        };
        assert_eq!(ReceivedId::list(&fs, Path::new(DIR)).unwrap(), []);
        check_loaded(&load_newest(&fs.crash(CrashMode::KeepSynced)).unwrap().unwrap(), next);
        put(next, "behind", b"", 0);
        write(&fs, next).unwrap();
        check_loaded(&load_newest(&fs).unwrap().unwrap(), next);
        let named = load_newest(&fs).unwrap().unwrap().store.segments().files;
        assert_eq!(names(&fs).len(), 1 + named, "nothing superfluous is left: {:?}", names(&fs));
    }
}

fn everything() -> RangeRequest {
    let all = Bytes::from_static(&[0]);
    RangeRequest { key: all.clone(), range_end: all, ..RangeRequest::default() }
}

/// What a damaged directory does: it is refused, or a read or a scrub says which file it is. What
/// is not refused is right.
fn check_damaged(fs: &MemFs, damaged: &Path, expected: &View, what: &str) {
    let is_named = |error: &CheckpointError| match error {
        CheckpointError::Damaged { path, .. } | CheckpointError::Io { path, .. } => path == damaged,
        CheckpointError::Version { .. } => false,
    };
    let mut loaded = match load_newest(fs) {
        Err(error) => return assert!(is_named(&error), "{what}: {error}"),
        Ok(loaded) => loaded.unwrap(),
    };
    let id = CheckpointId { index: loaded.index };
    let scrubbed = Checkpoint::scrub(fs, Path::new(DIR), id, &mut |_| ());
    assert!(scrubbed.as_ref().is_err_and(is_named), "{what}: {scrubbed:?}");
    match loaded.store.view().range(&everything()) {
        Ok(found) => assert_eq!(found, expected.range(&everything()).unwrap(), "{what}"),
        Err(error) => assert_eq!(error, Error::Corrupt, "{what}"),
    }
    if let Err(error) = write(fs, &mut loaded.store) {
        assert!(is_named(&error), "{what}: {error}");
    }
}

/// One bit of any byte of any file, or any number of bytes at the end.
#[test]
fn no_damage_of_a_file_goes_unseen() {
    let mut store = full_store();
    put(&mut store, "long", b"", 0);
    for n in 0..8 {
        put(&mut store, &format!("key{n}"), b"v", 0);
    }
    compact(&mut store, 6);
    let fs = new_fs();
    write(&fs, &mut store).unwrap();
    for name in names(&fs) {
        let path = Path::new(DIR).join(&name);
        let bytes = read(&fs, &path);
        assert!(bytes.len() < 3000);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            for (bytes, what) in [(&flipped[..], "a bit"), (&bytes[..at], "a cut")] {
                let fs = fs.crash(CrashMode::KeepAll);
                replace(&fs, &path, bytes);
                let what = format!("{what} at {at} of {name}");
                check_damaged(&fs, &path, &store.view(), &what);
            }
        }
    }
}

/// The state of a leader was written as the newest checkpoint, and with that the segments of the
/// running store went; then consensus did not take that state. The next checkpoint of the running
/// store named files that were gone, and the member could not start any more.
#[test]
fn segments_that_were_removed_are_written_anew() {
    let fs = new_fs();
    let mut store = full_store();
    for n in 0..50 {
        put(&mut store, &format!("key{n}"), b"v", 0);
    }
    write(&fs, &mut store).unwrap();
    store.set_memory_budget(0);
    let before = segments(&fs);
    let mut refused = full_store();
    for _ in 0..60 {
        put(&mut refused, "a", b"of the leader", 0);
    }
    refused.checkpoint(conf()).write(&fs, Path::new(DIR)).unwrap();
    assert!(segments(&fs).iter().all(|number| !before.contains(number)));
    for n in 0..20 {
        put(&mut store, &format!("key{n}"), b"w", 0);
    }
    write(&fs, &mut store).unwrap();
    check_loaded(&load_newest(&fs).unwrap().unwrap(), &store);
    let id = CheckpointId { index: store.applied().0 };
    Checkpoint::scrub(&fs, Path::new(DIR), id, &mut |_| ()).unwrap();
}

/// Bytes of an index that are wrong although their checksum is right, as only an enemy makes them:
/// they are refused, or what they say is believed, but nothing panics.
#[test]
fn a_forged_index_does_no_harm() {
    let mut store = full_store();
    put(&mut store, "long", b"", 0);
    for n in 0..6 {
        put(&mut store, &format!("key{n}"), b"v", 0);
    }
    compact(&mut store, 6);
    let fs = new_fs();
    let id = write(&fs, &mut store).unwrap();
    let path = id.path(Path::new(DIR));
    let bytes = read(&fs, &path);
    let length = bytes.len() - 16;
    let mut loaded = 0;
    for at in 8..length {
        for change in [1, 0x80, 0xff] {
            let mut forged = bytes.clone();
            forged[at] ^= change;
            let checksum = crate::checkpoint::encode::block_checksum(0, &forged[8..length]);
            forged[4..8].copy_from_slice(&checksum.to_le_bytes());
            let fs = fs.crash(CrashMode::KeepAll);
            replace(&fs, &path, &forged);
            let Ok(Some(Loaded { mut store, .. })) = load_newest(&fs) else { continue };
            loaded += 1;
            let view = store.view();
            drop((view.range(&everything()), view.hash_kv(0)));
            view.events_from(view.compact_revision().max(0)).map(Iterator::count).ok();
            let revision = view.revision();
            let entry = Some(CompactionRequest { revision, physical: false });
            let entry = InternalRaftRequest { compaction: entry, ..Default::default() };
            let entry = Bytes::from(entry.encode_to_vec());
            drop(store.apply(view.applied().0 + 1, 2, EntryData::Normal(&entry)));
            while store.collect(100) {}
            drop(write(&fs, &mut store));
        }
    }
    assert!(loaded > 50, "{loaded} of them are believed");
}

/// Records of successive keys lie next to each other and are read together, whatever the order in
/// which they are wanted.
#[test]
fn neighbours_are_read_together() {
    let fs = new_fs();
    let mut store = full_store();
    for n in 0..2000 {
        put(&mut store, &format!("key{:04}", n * 7 % 2000), &[b'v'; 200], 0);
    }
    let counting = FaultFs::new(Arc::new(fs));
    let written = store.checkpoint(conf()).write(&counting, Path::new(DIR)).unwrap();
    store.placed(written);
    while store.place(1) {}
    store.set_memory_budget(0);
    let reads = |store: &Store, range: &RangeRequest| {
        counting.count_only(&[OpKind::Read]);
        let found = store.view().range(range).unwrap().kvs;
        (found.len(), counting.count())
    };
    let (key, range_end) = (Bytes::from_static(b"key"), Bytes::from_static(b"kez"));
    let keys = RangeRequest { key, range_end, ..RangeRequest::default() };
    assert_eq!(reads(&store, &keys), (2000, 2), "2000 records are half a megabyte");
    let one = RangeRequest { key: Bytes::from_static(b"key0007"), ..RangeRequest::default() };
    assert_eq!(reads(&store, &one), (1, 1));
    counting.count_only(&[OpKind::Read]);
    assert_eq!(store.view().events_from(4).unwrap().map(Result::unwrap).count(), 2002);
    assert!(counting.count() < 20, "{} reads", counting.count());
}

/// `limit=1` sorted by the revision of the last change read every value of the span from the files, half
/// a second for 60 MB, on the thread that serves connections. What the index knows is sorted and
/// filtered without reading, and values are read of the keys in the answer only.
#[test]
fn only_what_is_answered_is_read() {
    let mut store = full_store();
    for n in 0..2000 {
        put(&mut store, &format!("key{:04}", n * 7 % 2000), &[b'v'; 200], 0);
    }
    let counting = FaultFs::new(Arc::new(new_fs()));
    let written = store.checkpoint(conf()).write(&counting, Path::new(DIR)).unwrap();
    store.placed(written);
    while store.place(1) {}
    store.set_memory_budget(0);
    let view = store.view();
    let all = RangeRequest { limit: 1, ..everything() };
    let check = |request: &RangeRequest, reads: usize| {
        counting.count_only(&[OpKind::Read]);
        let found = view.range(request).unwrap();
        assert_eq!(counting.count(), reads as u64, "{request:?}");
        found
    };
    for target in [SortTarget::Key, SortTarget::Version, SortTarget::Create, SortTarget::Mod] {
        for order in [SortOrder::Ascend, SortOrder::Descend] {
            let (sort_target, sort_order) = (target as i32, order as i32);
            let sorted = RangeRequest { sort_target, sort_order, ..all.clone() };
            let found = check(&sorted, 1);
            assert!(found.more);
            assert_eq!(found.kvs.len(), 1);
            check(&RangeRequest { keys_only: true, ..sorted }, 0);
        }
    }
    let newest = view.revision();
    let filtered = RangeRequest { min_mod_revision: newest, ..everything() };
    assert_eq!(check(&filtered, 1).kvs.len(), 1);
    let filtered = RangeRequest { min_create_revision: newest, ..everything() };
    assert_eq!(check(&filtered, 1).kvs.len(), 1);
    let none = RangeRequest { max_create_revision: 1, ..everything() };
    assert_eq!(check(&none, 0).kvs.len(), 0);
    let by_value = SortTarget::Value as i32;
    let sorted = RangeRequest { sort_target: by_value, sort_order: 1, ..all };
    counting.count_only(&[OpKind::Read]);
    assert_eq!(view.range(&sorted).unwrap().kvs.len(), 1);
    assert!(counting.count() > 1, "only the records have values");
}

/// A transaction of 130 bytes with twelve ranges over 400 MB made every member that applied it, and again
/// at each restart, build an answer of gigabytes that nobody read: three elections, and an abort where
/// memory was limited. Apply reads nothing for a reply, whether or not somebody waits; and who waits
/// reads what the entry found, also after all of it was deleted and compacted.
#[test]
fn apply_reads_nothing_for_a_reply() {
    let mut store = full_store();
    for n in 0..500 {
        put(&mut store, &format!("key{n:03}"), &[b'v'; 200], 0);
    }
    let counting = FaultFs::new(Arc::new(new_fs()));
    let written = store.checkpoint(conf()).write(&counting, Path::new(DIR)).unwrap();
    store.placed(written);
    while store.place(1) {}
    store.set_memory_budget(0);
    let before = store.view().range(&everything()).unwrap();
    let operation = |request| RequestOp { request: Some(request) };
    let range = || operation(Operation::RequestRange(everything()));
    let key = Bytes::from_static(b"key000");
    let put = PutRequest { key: key.clone(), prev_kv: true, ..PutRequest::default() };
    let all = everything();
    let delete = DeleteRangeRequest { key: all.key, range_end: all.range_end, prev_kv: true };
    let mut success: Vec<RequestOp> = (0..12).map(|_| range()).collect();
    success.push(operation(Operation::RequestPut(put)));
    success.push(range());
    let txn = Some(TxnRequest { success, ..TxnRequest::default() });
    let requests = [
        InternalRaftRequest { txn, ..Default::default() },
        InternalRaftRequest { range: Some(everything()), ..Default::default() },
        InternalRaftRequest { delete_range: Some(delete), ..Default::default() },
    ];
    counting.count_only(&[OpKind::Read]);
    let mut pending = Vec::new();
    for request in requests {
        let entry = Bytes::from(request.encode_to_vec());
        let index = store.applied().0 + 1;
        pending.push(store.apply_for(index, 2, EntryData::Normal(&entry), |_| true).unwrap());
    }
    assert_eq!(counting.count(), 0, "apply reads no file");
    let revision = store.view().revision();
    compact(&mut store, revision);
    let Ok(Reply::Txn(txn)) = pending[0].reply() else { panic!("{pending:?}") };
    let pairs = |at: usize| match &txn.responses[at].response {
        Some(Response::ResponseRange(range)) => range.kvs.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((pairs(0), pairs(11)), (before.kvs.clone(), before.kvs.clone()));
    let Some(Response::ResponsePut(put)) = &txn.responses[12].response else { panic!() };
    let old = before.kvs.iter().find(|pair| pair.key == key).unwrap();
    assert_eq!(put.prev_kv.as_ref(), Some(old));
    let after = pairs(13);
    let new = after.iter().find(|pair| pair.key == key).unwrap();
    assert_eq!((new.version, new.value.len()), (2, 0), "the put before it in the transaction");
    let Ok(Reply::Range(range)) = pending[1].reply() else { panic!("{pending:?}") };
    assert_eq!(range.kvs, after);
    let Ok(Reply::DeleteRange(deleted)) = pending[2].reply() else { panic!("{pending:?}") };
    assert_eq!(deleted.prev_kvs, after);
    assert_eq!(store.view().keys(), 0);
    let bytes = pending[0].result.as_ref().unwrap().bytes().unwrap();
    assert!(bytes > 13 * 500 * 200, "all parts of a reply are counted together: {bytes}");
    let mut bound = Bound { keys: 100_000, bytes: 1 << 20 };
    let made = pending[0].result.as_ref().unwrap().make_within(&mut bound);
    assert_eq!(made, Ok(None), "thirteen ranges of a hundred kilobytes are over a megabyte");
}

/// A damaged record must end the member that needs it to apply an entry, not change what it does.
#[test]
fn an_entry_that_needs_a_damaged_record_is_fatal() {
    let fs = new_fs();
    let mut store = full_store();
    write(&fs, &mut store).unwrap();
    store.set_memory_budget(0);
    for number in segments(&fs) {
        let path = segment::path(Path::new(DIR), number);
        let length = read(&fs, &path).len();
        fs.open(&path, OpenMode::ReadWrite).unwrap().write_at(&vec![0; length], 0).unwrap();
    }
    let key = Bytes::from_static(b"a");
    assert!(store.view().value_at(b"a", store.view().revision()).is_err());
    let keys = RangeRequest { keys_only: true, ..everything() };
    assert_eq!(store.view().range(&keys).unwrap().kvs.len(), 2, "keys are not read from files");
    assert!(store.view().hash_kv(0).is_err());
    assert!(store.view().events_from(3).unwrap().any(|event| event.is_err()));
    let put = Some(PutRequest { key: key.clone(), prev_kv: true, ..PutRequest::default() });
    let entry = InternalRaftRequest { put, ..Default::default() };
    let entry = Bytes::from(entry.encode_to_vec());
    let index = store.applied().0 + 1;
    let applied = store.apply_for(index, 2, EntryData::Normal(&entry), |_| true).unwrap();
    assert_eq!(applied.reply(), Err(Error::Corrupt), "the reply is about what was there before");
    let key = Bytes::from_static(b"long");
    let put = Some(PutRequest { key, ignore_value: true, ..PutRequest::default() });
    let entry = InternalRaftRequest { put, ..Default::default() };
    let entry = Bytes::from(entry.encode_to_vec());
    let applied = store.apply(store.applied().0 + 1, 2, EntryData::Normal(&entry));
    let Err(crate::Fatal::Unreadable { reason, .. }) = applied else { panic!("{applied:?}") };
    assert!(reason.contains("segment-"), "{reason}");
    compact(&mut store, 5);
    assert!(!store.has_garbage(), "nobody needs what is dead");
}

/// Compaction read all that had changed since the one before, whole and on the thread of consensus, only
/// to learn the keys: values of a megabyte were read to be thrown away. The index has the keys.
#[test]
fn a_compaction_reads_no_records() {
    let mut store = full_store();
    for n in 0..3000 {
        put(&mut store, &format!("key{:03}", n * 7 % 400), &[b'v'; 200], 0);
    }
    let counting = FaultFs::new(Arc::new(new_fs()));
    let written = store.checkpoint(conf()).write(&counting, Path::new(DIR)).unwrap();
    store.placed(written);
    while store.place(1) {}
    store.set_memory_budget(0);
    counting.count_only(&[OpKind::Read]);
    let (before, revision) = (store.view().size(), store.view().revision());
    for revision in [revision - 2000, revision - 1000, revision] {
        let compaction = Some(CompactionRequest { revision, physical: false });
        apply(&mut store, &InternalRaftRequest { compaction, ..Default::default() });
        // The next compaction comes while the garbage of this one is being collected.
        store.collect(300);
    }
    while store.collect(7) {}
    assert_eq!(counting.count(), 0);
    let view = store.view();
    assert_eq!(view.keys(), 402);
    let records = view.events_from(revision).unwrap().count();
    assert_eq!(records, 1);
    assert!(view.size() < before);
    let live: usize = view.range(&everything()).unwrap().kvs.iter().map(Message::encoded_len).sum();
    assert_eq!(view.size(), live, "nothing else is left");
}

/// The world stops at any operation while checkpoints are written and segments are rewritten. What
/// is found afterwards is one of them, whole, and not older than the last one that was reported as
/// written.
#[test]
fn a_crash_at_any_operation_leaves_a_whole_checkpoint() {
    let mut stop = 0;
    loop {
        let fs = new_fs();
        fs.stop_after(fs.ops() + stop);
        let mut store = full_store();
        let mut states = vec![];
        let mut written = None;
        for n in 0..4 {
            for key in ["a", "b", "c", "d"] {
                put(&mut store, key, &[n; 100], 0);
            }
            let revision = store.view().revision();
            compact(&mut store, revision - 2);
            states.push((store.applied(), store.view()));
            match write(&fs, &mut store) {
                Ok(id) => written = Some(id.index),
                Err(_) => break,
            }
        }
        let seeded = (0..4).map(|seed| CrashMode::Subset { seed });
        for mode in [CrashMode::KeepSynced, CrashMode::KeepAll].into_iter().chain(seeded) {
            let after = fs.crash(mode);
            let found = load_newest(&after).unwrap_or_else(|error| panic!("stop {stop}: {error}"));
            let index = found.as_ref().map(|found| found.index);
            assert!(index >= written, "stop {stop}: {index:?} < {written:?}");
            let Some(mut found) = found else { continue };
            let expected = states.iter().find(|(applied, _)| applied.0 == found.index).unwrap();
            check_same(&found.store.view(), &expected.1);
            put(&mut found.store, "later", b"", 0);
            write(&after, &mut found.store).unwrap();
            let newest = load_newest(&after).unwrap().unwrap();
            check_same(&newest.store.view(), &found.store.view());
        }
        if !fs.stopped() {
            assert_eq!(written, Some(store.applied().0));
            return;
        }
        stop += 1;
    }
}

/// A sync that failed must not be followed by a name that says that all is well.
#[test]
fn a_failed_sync_is_reported() {
    let fs = new_fs();
    let mut store = full_store();
    for n in 1.. {
        fs.fail_sync(n);
        if write(&fs, &mut store).is_ok() {
            assert!(n > 2, "segments and the index are synced");
            break;
        }
        assert!(load_newest(&fs).unwrap().is_none());
        assert_eq!(names(&fs), Vec::<String>::new(), "a job cleans up behind itself");
    }
    check_loaded(&load_newest(&fs).unwrap().unwrap(), &store);
}
