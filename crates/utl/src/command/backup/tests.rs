//! Copies in memory, of directories as an etcd leaves them and of one of ours.

use std::path::Path;

use bytes::Bytes;
use prost::Message as _;
use quoin_api::etcdserverpb::{InternalRaftRequest, PutRequest, Request, RequestHeader};
use quoin_bolt::{Db, Layout, WriteError};
use quoin_cli::flags;
use quoin_raft::{ConfState, Entry, EntryKind, HardState, Index, NodeId, SnapshotMeta, Term};
use quoin_store::{DbImport, EntryData, Member, Store};
use quoin_vfs::{CrashMode, MemFs};
use quoin_wal::{Metadata, Replay};

use super::*;
use crate::command::backup::snap;

const TERM: Term = Term(2);
const NEW: NewCluster = NewCluster { node: 0xabc, cluster: 0xdef };
/// Where the database of the source stands.
const DATABASE_INDEX: u64 = 6;
const SNAPSHOT_INDEX: u64 = 3;

fn backup(fs: &MemFs, line: &str) -> Result<(), String> {
    let words = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
    let mut known: Vec<&'static Flag> = FLAGS.iter().collect();
    known.extend(crate::command::ROOT.shared_flags);
    let parsed = flags::parse(known, words).unwrap();
    let fs: Arc<dyn FileSystem> = Arc::new(fs.clone());
    Backup::read(&parsed.flags, NEW).run(&fs)
}

fn addition(id: u64) -> Bytes {
    NewCluster { node: id, cluster: 7 }.addition()
}

fn put_v3(key: &str) -> Bytes {
    let put = Some(PutRequest { key: Bytes::from(key.to_owned()), ..PutRequest::default() });
    let header = Some(RequestHeader { id: 5, ..RequestHeader::default() });
    Bytes::from(
        InternalRaftRequest { header, put, ..InternalRaftRequest::default() }.encode_to_vec(),
    )
}

fn put_v2(path: &str) -> Bytes {
    let path = Bytes::from(path.to_owned());
    Bytes::from(
        Request { id: 9, method: "PUT".to_owned(), path, ..Request::default() }.encode_to_vec(),
    )
}

/// Two members, what one of them says of itself, and keys of both kinds. The last is not committed.
fn entries() -> Vec<Entry> {
    let payloads = [
        (EntryKind::ConfChange, addition(1)),
        (EntryKind::ConfChange, addition(2)),
        (EntryKind::Normal, Bytes::new()),
        (EntryKind::Normal, put_v2("/0/members/1/attributes")),
        (EntryKind::Normal, put_v2("/1/a")),
        (EntryKind::Normal, put_v3("a")),
        // A key of a client whose path ends like that of a member's attributes.
        (EntryKind::Normal, put_v2("/1/0/members/1/attributes")),
        (EntryKind::Normal, put_v3("b")),
        (EntryKind::Normal, put_v3("c")),
    ];
    let entry = |(index, (kind, data))| Entry { kind, term: TERM, index: Index(index), data };
    (1..).zip(payloads).map(entry).collect()
}

/// What becomes of the entries: the kind and the data.
fn translated(with_v3: bool) -> Vec<(EntryKind, Bytes)> {
    let kept = [3, 5, 7].into_iter().chain(with_v3.then_some([6, 8]).into_iter().flatten());
    let kept: Vec<u64> = kept.collect();
    let committed = entries().into_iter().take(8);
    committed
        .map(|entry| match entry.index.0 {
            1 => (EntryKind::ConfChange, NEW.addition()),
            index if kept.contains(&index) => (entry.kind, entry.data),
            _ => (EntryKind::Normal, Bytes::new()),
        })
        .collect()
}

/// The v2 store of an etcd, with a tree that is deeper than a careful reader of JSON likes.
fn v2_store() -> String {
    let mut deep = r#"{"Path":"/1/x","Value":"bottom","Children":null}"#.to_owned();
    for _ in 0..500 {
        deep = format!(r#"{{"Path":"/1/x","Value":"","Children":{{"x":{deep}}}}}"#);
    }
    let old =
        r#"{"Path":"/0","Children":{"version":{"Value":"3.4.0"},"members":{"Children":{"1":{}}}}}"#;
    format!(
        r#"{{"Root":{{"Path":"/","Children":{{"0":{old},"1":{deep}}}}},"CurrentIndex":12,"Stats":{{}}}}"#
    )
}

fn write(fs: &MemFs, path: &str, bytes: &[u8]) {
    let file = fs.create(Path::new(path)).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync_all().unwrap();
}

fn meta(index: u64) -> SnapshotMeta {
    let conf = ConfState { voters: vec![NodeId(1), NodeId(2)], learners: Vec::new() };
    SnapshotMeta { index: Index(index), term: TERM, conf }
}

fn snap_file(index: u64) -> Vec<u8> {
    let conf = quoin_store::ConfState { voters: vec![1, 2], learners: Vec::new() };
    SnapFile { index, term: TERM.0, conf, v2_store: Bytes::from(v2_store()) }.encode()
}

/// A database of an etcd 3.5: rows of a bucket that we do not know are there as well.
fn database() -> Vec<u8> {
    let rows: Vec<(&str, &str, Vec<u8>)> = vec![
        ("cluster", "clusterVersion", b"3.5.0".to_vec()),
        ("key", "k", b"v".to_vec()),
        ("members", "1", b"{}".to_vec()),
        ("members_removed", "9", b"removed".to_vec()),
        ("meta", "confState", br#"{"voters":[1,2],"auto_leave":false}"#.to_vec()),
        ("meta", "consistent_index", DATABASE_INDEX.to_be_bytes().to_vec()),
        ("meta", "term", TERM.0.to_be_bytes().to_vec()),
        ("unknown", "k", vec![7; 10_000]),
    ];
    let names = ["cluster", "key", "members", "members_removed", "meta", "unknown"];
    let lengths = rows.iter().map(|(bucket, key, value)| Ok((bucket, key.len(), value.len())));
    let layout = Layout::of::<_, WriteError>(&names, lengths).unwrap();
    let rows = rows.iter().map(|(bucket, key, value)| {
        Ok((bucket, Bytes::copy_from_slice(key.as_bytes()), Bytes::from(value.clone())))
    });
    let chunks: Vec<Bytes> = layout.write::<_, WriteError>(rows).map(Result::unwrap).collect();
    chunks.concat()
}

/// What a member of a cluster of two etcd left, with a snapshot or before the first one.
fn etcd(has_snapshot: bool) -> MemFs {
    let fs = MemFs::new();
    fs.create_dir_all(Path::new("d/member/snap")).unwrap();
    write(&fs, "d/member/snap/db", &database());
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let metadata = Metadata { node: NodeId(1), cluster: 7 };
    let wal = Path::new("d/member/wal");
    let mut wal = Wal::create(shared, wal, &metadata, &Options::default()).unwrap();
    let state = HardState { term: TERM, vote: NodeId(2), commit: Index(8) };
    wal.append(None, &entries()).unwrap();
    if has_snapshot {
        wal.append_snapshot(&meta(SNAPSHOT_INDEX)).unwrap();
        let name = SnapFile::name(SNAPSHOT_INDEX, TERM.0);
        write(&fs, &format!("d/member/snap/{name}"), &snap_file(SNAPSHOT_INDEX));
    }
    wal.append(Some(&state), &[]).unwrap();
    wal.sync().unwrap();
    drop(wal);
    for dir in ["d/member/snap", "d/member", "d", "."] {
        fs.sync_dir(Path::new(dir)).unwrap();
    }
    fs
}

fn log_of(fs: &MemFs, from: Option<&SnapshotMeta>) -> Replay {
    quoin_wal::read(fs, Path::new("b/member/wal"), from).unwrap()
}

fn kinds(entries: &[Entry]) -> Vec<(EntryKind, Bytes)> {
    entries.iter().map(|entry| (entry.kind, entry.data.clone())).collect()
}

fn rows_of(fs: &MemFs, bucket: &str) -> Vec<(String, Bytes)> {
    let db = Db::open(fs, Path::new("b/member/snap/db")).unwrap();
    let Some(bucket) = db.bucket(bucket.as_bytes()).unwrap() else { return Vec::new() };
    let pairs = bucket.pairs().map(Result::unwrap);
    pairs.map(|pair| (String::from_utf8(pair.key.to_vec()).unwrap(), pair.value)).collect()
}

fn check_new_member_only(fs: &MemFs) {
    let members = rows_of(fs, "members");
    let expected = r#"{"id":2748,"peerURLs":["http://localhost:2380"]}"#;
    assert_eq!(members, [("abc".to_owned(), Bytes::from(expected))]);
    assert!(rows_of(fs, "members_removed").is_empty() && rows_of(fs, "cluster").is_empty());
    let conf = rows_of(fs, "meta").remove(0);
    let expected = r#"{"voters":[2748],"auto_leave":false}"#;
    assert_eq!(conf, ("confState".to_owned(), Bytes::from(expected)));
}

#[test]
fn a_log_without_a_snapshot_begins_with_the_new_member() {
    for with_v3 in [false, true] {
        let fs = etcd(false);
        let flag = if with_v3 { "--with-v3" } else { "" };
        backup(&fs, &format!("--data-dir d --backup-dir b {flag}")).unwrap();
        let replay = log_of(&fs, None);
        assert_eq!(replay.metadata, NEW.metadata());
        let state = HardState { term: TERM, vote: NodeId::NONE, commit: Index(8) };
        assert_eq!(replay.hard_state, state);
        assert_eq!(kinds(&replay.entries), translated(with_v3));
        assert_eq!(fs.list(Path::new("b/member/snap")).unwrap(), ["db"]);
        check_new_member_only(&fs);
    }
}

#[test]
fn a_snapshot_keeps_all_but_the_members() {
    let fs = etcd(true);
    backup(&fs, "--data-dir d --backup-dir b").unwrap();
    let name = SnapFile::name(SNAPSHOT_INDEX, TERM.0);
    let snap = snap::read(&fs, &Path::new("b/member/snap").join(name)).unwrap().unwrap();
    assert_eq!((snap.index, snap.term, &snap.conf), (SNAPSHOT_INDEX, TERM.0, &NEW.conf()));
    let replay = log_of(&fs, Some(&snap::meta(&snap)));
    assert_eq!(kinds(&replay.entries), translated(false)[SNAPSHOT_INDEX as usize..]);
    let text = String::from_utf8_lossy(&snap.v2_store).into_owned();
    for kept in ["bottom", "\"CurrentIndex\":12", "/0/members/abc/raftAttributes"] {
        assert!(text.contains(kept), "{kept}");
    }
    assert!(!text.contains("3.4.0") && !text.contains("\"1\":{}}"), "of the old cluster");
}

#[test]
fn the_database_comes_along_if_it_is_wanted() {
    let fs = etcd(true);
    backup(&fs, "--data-dir d --backup-dir b --with-v3").unwrap();
    check_new_member_only(&fs);
    assert_eq!(rows_of(&fs, "key"), [("k".to_owned(), Bytes::from("v"))]);
    assert_eq!(rows_of(&fs, "unknown")[0].1.len(), 10_000);
    let index = rows_of(&fs, "meta").remove(1).1;
    assert_eq!(index.as_ref(), DATABASE_INDEX.to_be_bytes());
    let fs = etcd(true);
    backup(&fs, "--data-dir d --backup-dir b").unwrap();
    assert!(rows_of(&fs, "key").is_empty() && rows_of(&fs, "unknown").is_empty());
    let index = rows_of(&fs, "meta").remove(1).1;
    assert_eq!(index.as_ref(), 8_u64.to_be_bytes(), "at the end of the log");
    let import = DbImport::read(&fs, Path::new("b/member/snap/db")).unwrap();
    assert!(import.is_empty(), "it must pass for a database all the same");
}

#[test]
fn a_snapshot_file_that_is_damaged_is_passed_over() {
    let fs = etcd(true);
    let path = format!("d/member/snap/{}", SnapFile::name(SNAPSHOT_INDEX, TERM.0));
    let mut bytes = snap_file(SNAPSHOT_INDEX);
    bytes[100] ^= 1;
    write(&fs, &path, &bytes);
    backup(&fs, "--data-dir d --backup-dir b").unwrap();
    assert_eq!(kinds(&log_of(&fs, None).entries), translated(false));
}

/// A member of ours alone: what it has in its log is committed.
fn ours() -> MemFs {
    let fs = MemFs::new();
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    fs.create_dir_all(Path::new("d/member/store")).unwrap();
    let payloads =
        [(EntryKind::ConfChange, addition(1)), (EntryKind::Normal, put_v3("a"))].into_iter();
    let payloads =
        payloads.chain([(EntryKind::Normal, put_v3("b")), (EntryKind::Normal, put_v2("/1/kept"))]);
    let entry = |(index, (kind, data))| Entry { kind, term: TERM, index: Index(index), data };
    let entries: Vec<Entry> = (1..).zip(payloads).map(entry).collect();
    let mut store = Store::new();
    store.apply(1, TERM.0, EntryData::ConfChange(&entries[0].data)).unwrap();
    store.apply(2, TERM.0, EntryData::Normal(&entries[1].data)).unwrap();
    let conf = store.view().conf();
    store.checkpoint(conf).write(&fs, Path::new("d/member/store")).unwrap();
    let metadata = Metadata { node: NodeId(1), cluster: 7 };
    let wal = Path::new("d/member/wal");
    let mut wal = Wal::create(shared, wal, &metadata, &Options::default()).unwrap();
    let state = HardState { term: TERM, vote: NodeId(1), commit: Index(2) };
    wal.append(Some(&state), &entries).unwrap();
    wal.sync().unwrap();
    fs
}

#[test]
fn a_member_of_ours_becomes_a_directory_of_etcd() {
    for with_v3 in [false, true] {
        let fs = ours();
        let flag = if with_v3 { "--with-v3" } else { "" };
        backup(&fs, &format!("--data-dir d --backup-dir b {flag}")).unwrap();
        let name = SnapFile::name(4, TERM.0);
        let snap = snap::read(&fs, &Path::new("b/member/snap").join(name)).unwrap().unwrap();
        let replay = log_of(&fs, Some(&snap::meta(&snap)));
        assert_eq!((replay.metadata, replay.entries.len()), (NEW.metadata(), 0));
        let state = HardState { term: TERM, vote: NodeId::NONE, commit: Index(4) };
        assert_eq!(replay.hard_state, state);
        assert!(String::from_utf8_lossy(&snap.v2_store).contains("/1/kept"));
        check_new_member_only(&fs);
        let import = DbImport::read(&fs, Path::new("b/member/snap/db")).unwrap();
        assert_eq!((import.index(), import.is_empty()), (4, !with_v3));
        let member: Vec<&Member> = import.membership().members().collect();
        assert_eq!(member, [&NEW.member()]);
        let revision = import.into_loaded_with_members(TERM.0, quoin_store::Membership::default());
        assert_eq!(revision.store.view().revision(), if with_v3 { 3 } else { 1 });
    }
}

/// What was copied must not be lost when the machine stops right after the tool has ended.
#[test]
fn a_copy_survives_a_power_cut() {
    let fs = etcd(true);
    backup(&fs, "--data-dir d --backup-dir deep/b --with-v3 --backup-wal-dir other/log").unwrap();
    let fs = fs.crash(CrashMode::KeepSynced);
    let names = fs.list(Path::new("deep/b/member/snap")).unwrap();
    assert_eq!(names, [SnapFile::name(SNAPSHOT_INDEX, TERM.0), "db".to_owned()]);
    let log = quoin_wal::read(&fs, Path::new("other/log"), Some(&meta(SNAPSHOT_INDEX))).unwrap();
    assert_eq!(log.entries.len(), 5);
}

#[track_caller]
fn refused(fs: &MemFs, line: &str, expected: &str) {
    assert_eq!(backup(fs, line), Err(expected.to_owned()));
}

#[test]
fn errors_are_in_the_words_of_etcd() {
    let fs = etcd(true);
    let line = "--data-dir nope --backup-dir b";
    refused(&fs, line, "open nope/member/snap: no such file or directory");
    assert!(!fs.exists(Path::new("b")).unwrap(), "nothing is begun");
    fs.create_dir_all(Path::new("no-log/member/snap")).unwrap();
    let line = "--data-dir no-log --backup-dir b";
    refused(&fs, line, "open no-log/member/wal: no such file or directory");
    fs.create_dir_all(Path::new("no-log/member/wal")).unwrap();
    refused(&fs, line, "wal: file not found");
    let line = "--data-dir d --backup-dir b --backup-wal-dir d/member/wal";
    refused(&fs, line, "file already exists");
    let line = "--data-dir d --backup-dir b";
    backup(&fs, line).unwrap();
    let expected = "failed creating backup snapshot dir b/member/snap: expected \"b/member/snap\" \
                    to be empty, got [\"0000000000000002-0000000000000003.snap\" \"db\"]";
    refused(&fs, line, expected);
}

#[test]
fn a_database_that_is_in_use_is_waited_for() {
    let fs = etcd(true);
    let lock = fs.lock(Path::new("d/member/snap/db")).unwrap();
    let line = "--data-dir d --backup-dir b --timeout 0s";
    let text = backup(&fs, &format!("{line} --with-v3")).unwrap_err();
    assert!(text.contains("is in use by another process"), "{text}");
    backup(&fs, line).unwrap();
    drop(lock);
    backup(&fs, "--data-dir d --backup-dir c --with-v3").unwrap();
}
