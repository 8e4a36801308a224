//! Databases whose values are far larger than what may be in memory.

use std::io;
use std::sync::Mutex;

use quoin_api::etcdserverpb::DeleteRangeRequest;
use quoin_vfs::{CrashMode, Fault, FaultFs, File, Lock, OpKind, OpenMode};

use super::*;
use crate::{View, WriteOptions};

const VALUE_BYTES: usize = 48 << 10;
const BUDGET: usize = 256 << 10;
/// Small segments, so that there are some.
const OPTIONS: WriteOptions = WriteOptions { segment_bytes: 300 << 10 };

fn dir() -> &'static Path {
    Path::new("store")
}

/// A file system that notes the longest read.
#[derive(Clone, Debug)]
struct ReadsFs {
    inner: MemFs,
    longest: Arc<Mutex<usize>>,
}

#[derive(Debug)]
struct ReadsFile {
    inner: Box<dyn File>,
    longest: Arc<Mutex<usize>>,
}

impl ReadsFs {
    fn new(inner: MemFs) -> Self {
        Self { inner, longest: Arc::default() }
    }

    fn longest(&self) -> usize {
        *self.longest.lock().unwrap()
    }

    fn wrap(&self, inner: Box<dyn File>) -> Box<dyn File> {
        Box::new(ReadsFile { inner, longest: Arc::clone(&self.longest) })
    }
}

impl FileSystem for ReadsFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.inner.create(path).map(|file| self.wrap(file))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        self.inner.open(path, mode).map(|file| self.wrap(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.inner.lock(path)
    }
}

impl File for ReadsFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut longest = self.longest.lock().unwrap();
        *longest = buf.len().max(*longest);
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.inner.sync_all()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.inner.set_len(length)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}

fn put(store: &mut Store, key: &str, value: Vec<u8>, lease: i64) {
    let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value));
    let put = Some(PutRequest { key, value, lease, ..PutRequest::default() });
    apply(store, &InternalRaftRequest { put, ..Default::default() });
}

fn delete(store: &mut Store, key: &str) {
    let key = Bytes::from(key.to_owned());
    let delete_range = Some(DeleteRangeRequest { key, ..DeleteRangeRequest::default() });
    apply(store, &InternalRaftRequest { delete_range, ..Default::default() });
}

fn compact(store: &mut Store, revision: i64) {
    let compaction = Some(CompactionRequest { revision, physical: false });
    apply(store, &InternalRaftRequest { compaction, ..Default::default() });
    while store.collect(100) {}
}

/// A store with so many large values.
fn large_store(count: usize) -> Store {
    let mut store = full_store();
    for n in 0..count {
        put(&mut store, &format!("large{}", n % 20), vec![n as u8; VALUE_BYTES], 0);
    }
    store
}

/// Bytes of records that a member holds.
fn held(store: &Store) -> usize {
    store.unplaced_bytes() + store.view().cached_bytes()
}

/// All records of a database were in memory until the first checkpoint had been written, so a
/// machine could not take over the database of an etcd that had run on it.
#[test]
fn values_stay_in_the_file_until_they_are_in_segments() {
    let mut store = large_store(100);
    let fs = ReadsFs::new(file(&bytes_of(&store.checkpoint(conf()))));
    fs.create_dir_all(dir()).unwrap();
    let mut loaded = DbImport::read(&fs, path()).unwrap().into_loaded(2);
    loaded.store.set_memory_budget(BUDGET);
    assert!(loaded.store.view().size() > 16 * BUDGET);
    assert_eq!(held(&loaded.store), 0);
    check_same(&loaded.store.view(), &store.view());
    let checkpoint = loaded.store.checkpoint(conf());
    let written = checkpoint.write_paced(&fs, dir(), &OPTIONS, &mut |_| ()).unwrap();
    let longest = fs.longest();
    assert!(longest <= BUDGET, "{longest} bytes were read at once");
    fs.remove(path()).unwrap();
    loaded.store.placed(written);
    while loaded.store.place(1) {}
    assert!(held(&loaded.store) <= BUDGET);
    assert!(loaded.store.segments().files > 10);
    let newest = Checkpoint::load_newest(&fs, dir()).unwrap().unwrap().store;
    assert_eq!(newest.segments(), loaded.store.segments());
    for found in [loaded.store, newest] {
        check_same(&found.view(), &store.view());
    }
}

/// Nothing has to be written before the store goes on.
#[test]
fn a_store_that_was_taken_over_can_be_written_to() {
    let mut store = large_store(30);
    let fs = file(&bytes_of(&store.checkpoint(conf())));
    let mut taken = DbImport::read(&fs, path()).unwrap().into_loaded(2).store;
    for store in [&mut store, &mut taken] {
        delete(store, "large3");
        put(store, "large4", vec![1; VALUE_BYTES], -7);
        compact(store, 30);
        put(store, "a", b"4".to_vec(), 0);
    }
    check_same(&taken.view(), &store.view());
    fs.create_dir_all(dir()).unwrap();
    taken.checkpoint(conf()).write(&fs, dir()).unwrap();
    let newest = Checkpoint::load_newest(&fs, dir()).unwrap().unwrap();
    check_same(&newest.store.view(), &store.view());
}

/// Whatever etcd had done of a compaction when it was killed.
#[test]
fn compactions_that_were_cut_off_at_any_revision() {
    let mut store = Store::new();
    for n in 0..60_u8 {
        let key = format!("k{}", n % 7);
        if n % 11 == 5 { delete(&mut store, &key) } else { put(&mut store, &key, vec![n], 0) }
    }
    let mut rows = rows_of(&bytes_of(&store.checkpoint(conf())));
    for revision in 0..=store.view().revision() {
        rows.insert(row("meta", "scheduledCompactRev"), revision_row(revision));
        compact(&mut store, revision);
        let found = import(&rows).unwrap().into_loaded(store.applied().1).store;
        let (found, expected) = (found.view(), store.view());
        assert_eq!(found.hash_kv(0), expected.hash_kv(0), "at {revision}");
        assert_eq!((found.size(), found.keys()), (expected.size(), expected.keys()));
        assert_eq!(found.has_garbage(), expected.has_garbage());
        let indexed = |view: &View| -> Vec<_> {
            view.index.iter().map(|slot| (slot.key(), slot.value().changes())).collect()
        };
        assert_eq!(indexed(&found), indexed(&expected), "at {revision}");
    }
}

/// A directory in which a member has a checkpoint, and a database that the leader sends.
fn member() -> (MemFs, Store, Vec<u8>, Announced, Store) {
    let fs = MemFs::new();
    fs.create_dir_all(dir()).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    let mut old = full_store();
    old.checkpoint(conf()).write(&fs, dir()).unwrap();
    let mut new = large_store(12);
    let bytes = bytes_of(&new.checkpoint(conf()));
    let (index, term) = new.applied();
    let announced = Announced { index, term, conf: conf(), v2_store: Bytes::new() };
    (fs, old, bytes, announced, new)
}

fn receive_on(
    fs: Arc<dyn FileSystem>,
    bytes: &[u8],
    announced: &Announced,
) -> Result<Loaded, ReceiveError> {
    let mut received = ReceivedDatabase::begin(fs, dir())?;
    received.push(bytes)?;
    received.finish(announced)
}

/// Wherever the member is cut off, it has the state before, and takes the one that was sent when it
/// is sent again and adopted. What a cut left behind goes with the next checkpoint.
#[test]
fn a_transfer_that_is_cut_off_is_made_again() {
    let (prepared, old, bytes, announced, new) = member();
    for cut in 1.. {
        let fs = prepared.crash(CrashMode::KeepAll);
        fs.stop_after(cut);
        let done = receive_on(Arc::new(fs.clone()), &bytes, &announced).is_ok();
        for mode in [CrashMode::KeepSynced, CrashMode::KeepAll, CrashMode::Subset { seed: cut }] {
            let after = fs.crash(mode);
            let begun = Checkpoint::load_newest(&after, dir()).unwrap().expect("there is one");
            assert_eq!(begun.index, old.applied().0, "cut at {cut}, {mode:?}");
            check_same(&begun.store.view(), &old.view());
            let mut again = receive_on(Arc::new(after.clone()), &bytes, &announced).unwrap();
            check_same(&again.store.view(), &new.view());
            let id = ReceivedId { index: announced.index, term: announced.term };
            id.adopt(&after, dir()).unwrap();
            again.store.checkpoint(conf()).write(&after, dir()).unwrap();
            let names = after.list(dir()).unwrap();
            assert_eq!(names.len(), 1 + again.store.segments().files, "cut at {cut}: {names:?}");
        }
        if done {
            assert!(cut > 10, "the transfer takes {cut} operations");
            return;
        }
    }
}

/// The records are read for a second time when they are copied. Whatever fails then, the member
/// keeps what it had, and nothing of the copy is left.
#[test]
fn a_copy_that_fails_leaves_nothing() {
    let (prepared, old, bytes, announced, new) = member();
    let names = prepared.list(dir()).unwrap();
    for nth in 1.. {
        let inner = prepared.crash(CrashMode::KeepAll);
        let fs = FaultFs::new(Arc::new(inner.clone()));
        fs.count_only(&[OpKind::Read, OpKind::Write, OpKind::Sync]);
        fs.fail_nth(nth, Fault::Device);
        let outcome = receive_on(Arc::new(fs.clone()), &bytes, &announced);
        if fs.failed() == 0 {
            assert!(nth > 30, "the transfer takes {nth} operations");
            fs.heal();
            check_same(&outcome.unwrap().store.view(), &new.view());
            return;
        }
        let Err(error) = outcome else { panic!("fault {nth} is not seen") };
        let text = error.to_string();
        let files = ["database-received.tmp", "segment-", "received-"];
        assert!(files.iter().any(|file| text.contains(file)), "fault {nth}: {text}");
        let newest = Checkpoint::load_newest(&inner, dir()).unwrap().expect("there is one");
        assert_eq!(newest.index, old.applied().0, "fault {nth}");
        if ReceivedId::list(&inner, dir()).unwrap().is_empty() {
            let left = inner.list(dir()).unwrap();
            let is_known = |name: &String| names.contains(name) || name.ends_with("-received.tmp");
            assert!(left.iter().all(is_known), "fault {nth} left {left:?}");
        }
    }
}

#[test]
fn a_record_that_changes_before_it_is_copied_is_refused() {
    let mut store = large_store(10);
    let fs = file(&bytes_of(&store.checkpoint(conf())));
    fs.create_dir_all(dir()).unwrap();
    let mut loaded = DbImport::read(&fs, path()).unwrap().into_loaded(2);
    let view = loaded.store.view();
    let (begin, _) = view.history.place(crate::Revision::first_of(8)).unwrap().span();
    // The length of the key.
    fs.open(path(), OpenMode::ReadWrite).unwrap().write_at(&[200], begin + 1).unwrap();
    let Err(error) = loaded.store.checkpoint(conf()).write(&fs, dir()) else { panic!("taken") };
    let expected = format!("db is damaged at byte {begin}: not the record that should be here");
    assert_eq!(error.to_string(), expected);
    assert!(fs.list(dir()).unwrap().is_empty(), "nothing is left of the copy");
}
