//! Data-dirs as etcd leaves them, built from a log and a store that stands where a database stood.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use quoin_api::etcdserverpb::{InternalRaftRequest, PutRequest};
use quoin_api::membershippb::ClusterVersionSetRequest;
use quoin_api::raftpb;
use quoin_raft::{ConfState, Entry, EntryKind, HardState, Index, NodeId, SnapshotMeta, Term};
use quoin_store::{Checkpoint, EntryData, Member, SnapFile, Store, View};
use quoin_vfs::{CrashMode, FileSystem, MemFs, OpenMode};
use quoin_wal::{Metadata, Options, Wal};

use super::import::import;
use super::{Bootstrap, DataDir, TakeoverError, addition, recover};

pub(crate) const OPTIONS: Options = Options { segment_bytes: 16 * 1024, fill_bytes: 4 * 1024 };
pub(crate) const METADATA: Metadata = Metadata { node: NodeId(1), cluster: 7 };
pub(crate) const TERM: Term = Term(2);

pub(crate) fn fs() -> Arc<dyn FileSystem> {
    let fs = MemFs::new();
    let dir = dir();
    for path in [dir.snap(), dir.store()] {
        fs.create_dir_all(&path).unwrap();
    }
    Arc::new(fs)
}

pub(crate) fn dir() -> DataDir {
    DataDir::new(Path::new("/d"))
}

pub(crate) fn database() -> PathBuf {
    dir().snap().join("db")
}

fn member(id: u64) -> Member {
    Member { id, peer_urls: vec![format!("http://h{id}:1")], ..Member::default() }
}

/// Two members, a cluster version or not, and puts.
pub(crate) fn entries(version: Option<&str>, puts: u64) -> Vec<Entry> {
    entries_of(version, puts, 0)
}

/// The same with values of at least so many bytes.
fn entries_of(version: Option<&str>, puts: u64, value_bytes: usize) -> Vec<Entry> {
    let mut payloads = vec![
        (EntryKind::ConfChange, addition(&member(1))),
        (EntryKind::ConfChange, addition(&member(2))),
    ];
    let mut request = |request: InternalRaftRequest| {
        payloads.push((EntryKind::Normal, Bytes::from(request.encode_to_vec())));
    };
    if let Some(version) = version {
        let cluster_version_set = Some(ClusterVersionSetRequest { ver: version.to_owned() });
        request(InternalRaftRequest { cluster_version_set, ..Default::default() });
    }
    for n in 0..puts {
        let key = Bytes::from(format!("k{}", n % 5));
        let value = Bytes::from(format!("{n:0value_bytes$}"));
        let put = Some(PutRequest { key, value, ..Default::default() });
        request(InternalRaftRequest { put, ..Default::default() });
    }
    let entry = |(index, (kind, data))| Entry { kind, term: TERM, index: Index(index), data };
    (1..).zip(payloads).map(entry).collect()
}

pub(crate) fn store_at(entries: &[Entry], index: u64) -> Store {
    let mut store = Store::new();
    for entry in entries.iter().take_while(|entry| entry.index.0 <= index) {
        let data = match entry.kind {
            EntryKind::Normal => EntryData::Normal(&entry.data),
            EntryKind::ConfChange | EntryKind::ConfChangeV2 => EntryData::ConfChange(&entry.data),
        };
        store.apply(entry.index.0, entry.term.0, data).unwrap();
    }
    store
}

fn write(fs: &dyn FileSystem, path: &Path, bytes: &[u8]) {
    let file = fs.create(path).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync_all().unwrap();
    fs.sync_dir(path.parent().unwrap()).unwrap();
}

fn write_database(fs: &dyn FileSystem, path: &Path, store: &Store) {
    // What it says of votes is wrong, as after a restored backup.
    let export =
        quoin_store::DbExport::new(store.view(), &quoin_store::ConfState::default()).unwrap();
    write(fs, path, &export.map(Result::unwrap).collect::<Vec<_>>().concat());
}

/// Writes a log with these entries, of which `commit` are known to be committed.
pub(crate) fn write_log(fs: &Arc<dyn FileSystem>, entries: &[Entry], commit: u64) {
    let mut wal = Wal::create(Arc::clone(fs), &dir().wal(), &METADATA, &OPTIONS).unwrap();
    let state = HardState { term: TERM, vote: NodeId(1), commit: Index(commit) };
    wal.append(Some(&state), entries).unwrap();
    wal.sync().unwrap();
}

fn add_snapshot_record(fs: &Arc<dyn FileSystem>, index: u64) {
    let (mut wal, _) = Wal::open(Arc::clone(fs), &dir().wal(), None, &OPTIONS).unwrap();
    let conf = ConfState { voters: vec![NodeId(1), NodeId(2)], learners: vec![] };
    wal.append_snapshot(&SnapshotMeta { index: Index(index), term: TERM, conf }).unwrap();
    wal.sync().unwrap();
}

/// Takes over, and returns the state that later starts begin with.
#[track_caller]
fn check_taken_over(fs: &Arc<dyn FileSystem>, expected: &Store) -> Vec<u64> {
    let imported = import(fs, &dir(), 1).unwrap().expect("there is a database");
    assert_eq!(imported.index, expected.applied().0);
    assert_eq!(imported.revision, expected.view().revision());
    let loaded = Checkpoint::load_newest(fs.as_ref(), &dir().store()).unwrap().unwrap();
    assert_eq!((loaded.index, loaded.term), expected.applied());
    check_same(&loaded.store.view(), &expected.view());
    assert_eq!(import(fs, &dir(), 1).unwrap(), None, "the database is not used again");
    loaded.conf.voters
}

#[track_caller]
pub(crate) fn check_same(found: &View, expected: &View) {
    assert_eq!(found.hash_kv(0).unwrap(), expected.hash_kv(0).unwrap());
    assert_eq!(found.membership(), expected.membership());
}

#[test]
fn a_database_that_knows_its_members() {
    let (fs, entries) = (fs(), entries(Some("3.7.0"), 20));
    write_log(&fs, &entries, 20);
    write_database(fs.as_ref(), &database(), &store_at(&entries, 15));
    assert_eq!(check_taken_over(&fs, &store_at(&entries, 15)), [1, 2]);
}

/// etcd writes its commit index later than its database: a kill leaves a log that says less is
/// committed than was applied.
#[test]
fn a_database_ahead_of_the_commit_index() {
    let (fs, entries) = (fs(), entries(Some("3.7.0"), 20));
    write_log(&fs, &entries, 12);
    write_database(fs.as_ref(), &database(), &store_at(&entries, 15));
    check_taken_over(&fs, &store_at(&entries, 15));
}

/// etcd before 3.6 keeps its members in the log and in snapshot files.
#[test]
fn members_come_from_the_log_or_a_snapshot_file() {
    for with_snap_file in [false, true] {
        let (fs, entries) = (fs(), entries(None, 20));
        write_log(&fs, &entries, 20);
        let expected = store_at(&entries, 15);
        write_database(fs.as_ref(), &database(), &expected);
        add_snapshot_record(&fs, 9);
        if with_snap_file {
            let conf = quoin_store::ConfState::default();
            let file = store_at(&entries, 9).checkpoint(conf).snap_file();
            let path = dir().snap().join(SnapFile::name(9, TERM.0));
            write(fs.as_ref(), &path, &file.encode());
        }
        assert_eq!(check_taken_over(&fs, &expected), [1, 2]);
    }
}

/// The rows of members of a 3.4 database are ahead of its index: one that is added by an entry
/// to come must not be taken for one that is there, or the entry is refused and never votes.
#[test]
fn members_are_not_ahead_of_the_index() {
    let (fs, mut entries) = (fs(), entries(None, 3));
    let data = addition(&member(3));
    let index = Index(entries.len() as u64 + 1);
    entries.push(Entry { kind: EntryKind::ConfChange, term: TERM, index, data });
    write_log(&fs, &entries, index.0);
    let expected = store_at(&entries, index.0 - 1);
    let mut ahead = Store::new();
    let mut last = 0;
    // The index stays behind by the added member.
    for entry in entries.iter().filter(|entry| entry.index.0 != 2) {
        last += 1;
        let data = match entry.kind {
            EntryKind::Normal => EntryData::Normal(&entry.data),
            EntryKind::ConfChange | EntryKind::ConfChangeV2 => EntryData::ConfChange(&entry.data),
        };
        ahead.apply(last, TERM.0, data).unwrap();
    }
    assert_eq!(ahead.applied().0, expected.applied().0);
    write_database(fs.as_ref(), &database(), &ahead);
    assert_eq!(check_taken_over(&fs, &expected), [1, 2]);
}

/// `--max-learners` was taken and had no effect on what was applied, so beside an etcd with the same
/// setting the members disagreed about who is a member.
#[test]
fn the_setting_decides_which_learners_are_taken() {
    for (max_learners, expected) in [(1, vec![2]), (2, vec![2, 3])] {
        let fs = fs();
        let learner = |id| {
            let context = Member { is_learner: true, ..member(id) }.to_json(Some(false));
            let r#type = raftpb::ConfChangeType::ConfChangeAddLearnerNode.into();
            let context = Bytes::from(context);
            let change = raftpb::ConfChange { r#type, node_id: id, context, id: 0 };
            Bytes::from(change.encode_to_vec())
        };
        let changes = [addition(&member(1)), learner(2), learner(3)];
        let entry = |(index, data)| Entry {
            kind: EntryKind::ConfChange,
            term: TERM,
            index: Index(index),
            data,
        };
        let entries: Vec<Entry> = (1..).zip(changes).map(entry).collect();
        write_log(&fs, &entries, 3);
        let options = crate::Options { max_learners, ..crate::tests::options() };
        let bootstrap = Bootstrap { metadata: METADATA, members: Vec::new() };
        let recovered = recover::<u32>(&fs, &dir(), &OPTIONS, options, &bootstrap).unwrap();
        let mut node = recovered.node;
        while !node.turn().idle {}
        let learners = node.store().membership().members().filter(|member| member.is_learner);
        assert_eq!(learners.map(|member| member.id).collect::<Vec<_>>(), expected);
    }
}

/// A kill between the arrival of the leader's database and its installation.
#[test]
fn a_database_that_was_received() {
    let (fs, entries) = (fs(), entries(Some("3.7.0"), 20));
    write_log(&fs, &entries, 20);
    write_database(fs.as_ref(), &database(), &store_at(&entries, 5));
    add_snapshot_record(&fs, 15);
    let refused = import(&fs, &dir(), 1).unwrap_err();
    assert!(matches!(refused, TakeoverError::Behind { index: 5, needed: 15, .. }), "{refused}");
    let received = dir().snap().join("000000000000000f.snap.db");
    write_database(fs.as_ref(), &received, &store_at(&entries, 15));
    check_taken_over(&fs, &store_at(&entries, 15));
}

#[test]
fn what_etcd_only_began_is_left_to_the_log() {
    let fs = fs();
    write_database(fs.as_ref(), &database(), &Store::new());
    assert_eq!(import(&fs, &dir(), 1).unwrap(), None);
    write_log(&fs, &entries(None, 3), 3);
    assert_eq!(import(&fs, &dir(), 1).unwrap(), None);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let (fs, entries) = (fs(), entries(Some("3.7.0"), 20));
    write_database(fs.as_ref(), &database(), &store_at(&entries, 15));
    let refused = import(&fs, &dir(), 1).unwrap_err();
    assert!(matches!(refused, TakeoverError::NoLog { .. }), "{refused}");
    write_log(&fs, &entries[..10], 10);
    let refused = import(&fs, &dir(), 1).unwrap_err();
    assert!(matches!(refused, TakeoverError::OutsideLog { index: 15, .. }), "{refused}");
    let lock = fs.lock(&database()).unwrap();
    let refused = import(&fs, &dir(), 1).unwrap_err();
    assert!(matches!(refused, TakeoverError::InUse { .. }), "{refused}");
    drop(lock);
    write(fs.as_ref(), &database(), b"not a database");
    let refused = import(&fs, &dir(), 1).unwrap_err();
    assert!(refused.to_string().contains("\"/d/member/snap/db\" is not a bbolt file"), "{refused}");
    assert!(fs.list(&dir().store()).unwrap().is_empty(), "nothing was written");
}

/// A page that is wrong may come after many that are right. Values have no checksum in bbolt, so
/// where a page goes on nothing is found out.
#[test]
fn a_damaged_database_leaves_nothing_that_counts() {
    const PAGE: usize = 4096;
    let entries = entries_of(Some("3.7.0"), 20, 5000);
    let expected = store_at(&entries, 15);
    let prepared = prepared(&entries, &expected);
    let file = prepared.open(&database(), OpenMode::Read).unwrap();
    let mut right = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut right, 0).unwrap();
    let mut refused = 0;
    for page in 2..right.len() / PAGE {
        let mut flipped = right.clone();
        flipped[page * PAGE] ^= 1;
        for (wrong, what) in
            [(&flipped[..], "is damaged at page"), (&right[..page * PAGE], "is cut off")]
        {
            let fs: Arc<dyn FileSystem> = Arc::new(prepared.crash(CrashMode::KeepAll));
            write(fs.as_ref(), &database(), wrong);
            let Err(error) = import(&fs, &dir(), 1) else { continue };
            let expected_text = format!("\"/d/member/snap/db\" {what}");
            assert!(error.to_string().starts_with(&expected_text), "{error}");
            assert!(fs.list(&dir().store()).unwrap().is_empty(), "page {page} left something");
            write(fs.as_ref(), &database(), &right);
            check_taken_over(&fs, &expected);
            refused += 1;
        }
    }
    assert!(refused > right.len() / PAGE, "{refused} files were refused");
}

/// Wherever the first start is cut off, the next one finds either the database or the checkpoint.
#[test]
fn a_takeover_that_is_cut_off_is_made_again() {
    check_cut_off(0, 5);
}

/// Here the values alone are many writes of the copy.
#[test]
fn a_takeover_of_large_values_that_is_cut_off_is_made_again() {
    check_cut_off(60_000, 12);
}

/// A log and a database that no crash takes away.
fn prepared(entries: &[Entry], database_of: &Store) -> MemFs {
    let fs = MemFs::new();
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    for path in [dir().snap(), dir().store()] {
        shared.create_dir_all(&path).unwrap();
        path.ancestors().for_each(|path| shared.sync_dir(path).unwrap());
    }
    write_log(&shared, entries, 20);
    write_database(shared.as_ref(), &database(), database_of);
    fs
}

fn check_cut_off(value_bytes: usize, cuts_min: u64) {
    let entries = entries_of(Some("3.7.0"), 20, value_bytes);
    let expected = store_at(&entries, 15);
    let prepared = prepared(&entries, &expected);
    for cut in 1.. {
        let fs = prepared.crash(CrashMode::KeepAll);
        fs.stop_after(cut);
        let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
        let done = import(&shared, &dir(), 1).is_ok();
        for mode in [CrashMode::KeepSynced, CrashMode::KeepAll, CrashMode::Subset { seed: cut }] {
            let after: Arc<dyn FileSystem> = Arc::new(fs.crash(mode));
            let again = import(&after, &dir(), 1).unwrap_or_else(|error| panic!("{cut}: {error}"));
            assert!(again.is_some() || !after.list(&dir().store()).unwrap().is_empty());
            let loaded = Checkpoint::load_newest(after.as_ref(), &dir().store()).unwrap().unwrap();
            check_same(&loaded.store.view(), &expected.view());
            let names = after.list(&dir().store()).unwrap();
            assert_eq!(names.len(), 1 + loaded.store.segments().files, "cut at {cut}: {names:?}");
        }
        if done {
            assert!(cut >= cuts_min, "the takeover takes {cut} operations");
            return;
        }
    }
}
