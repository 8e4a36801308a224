use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message as _;
use quoin_api::etcdserverpb::{CompactionRequest, InternalRaftRequest, PutRequest};
use quoin_api::raftpb::{self, ConfChange};
use quoin_api::snappb;
use quoin_bolt::{Db, Layout, WriteError};
use quoin_vfs::{FileSystem, MemFs};

use super::{
    Announced, BUCKETS, ClusterReplay, DbImport, ImportError, ReceiveError, ReceivedDatabase,
    SnapFile,
};
use crate::checkpoint::tests::{check_same, full_store};
use crate::{Checkpoint, ConfState, EntryData, Loaded, Member, ReceivedId, Store};

mod large;

type Rows = BTreeMap<(String, Vec<u8>), Vec<u8>>;

fn path() -> &'static Path {
    Path::new("db")
}

fn conf() -> ConfState {
    ConfState { voters: vec![1, 3], learners: vec![4] }
}

fn bytes_of(checkpoint: &Checkpoint) -> Vec<u8> {
    let export = checkpoint.export().unwrap();
    let length = export.file_bytes();
    let bytes = export.collect::<Result<Vec<Bytes>, _>>().unwrap().concat();
    assert_eq!(bytes.len() as u64, length);
    bytes
}

fn file(bytes: &[u8]) -> MemFs {
    let fs = MemFs::new();
    fs.create(path()).unwrap().write_at(bytes, 0).unwrap();
    fs
}

fn import(rows: &Rows) -> Result<DbImport, ImportError> {
    DbImport::read(&file(&encode(rows)), path())
}

fn encode(rows: &Rows) -> Vec<u8> {
    let names: Vec<&str> = BUCKETS.to_vec();
    let lengths = rows.iter().map(|((bucket, key), value)| Ok((bucket, key.len(), value.len())));
    let layout = Layout::of::<_, WriteError>(&names, lengths).unwrap();
    let pairs = rows.iter().map(|((bucket, key), value)| {
        Ok((bucket, Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)))
    });
    let bytes = layout.write::<_, WriteError>(pairs).collect::<Result<Vec<Bytes>, _>>();
    bytes.unwrap().concat()
}

fn rows_of(bytes: &[u8]) -> Rows {
    let fs = file(bytes);
    let db = Db::open(&fs, path()).unwrap();
    let mut rows = Rows::new();
    for bucket in db.buckets() {
        let (name, bucket) = bucket.unwrap();
        let name = String::from_utf8(name.to_vec()).unwrap();
        for pair in bucket.pairs().map(Result::unwrap) {
            rows.insert((name.clone(), pair.key.to_vec()), pair.value.to_vec());
        }
    }
    rows
}

fn row(bucket: &str, key: impl AsRef<[u8]>) -> (String, Vec<u8>) {
    (bucket.to_owned(), key.as_ref().to_vec())
}

fn full_rows() -> Rows {
    rows_of(&bytes_of(&full_store().checkpoint(conf())))
}

#[test]
fn comes_back_as_it_was_written() {
    let mut store = full_store();
    let import = DbImport::read(&file(&bytes_of(&store.checkpoint(conf()))), path()).unwrap();
    assert_eq!((import.term(), import.conf()), (Some(2), Some(&conf())));
    assert!(!import.is_empty());
    assert!(import.knows_members(2) && !import.knows_members(3));
    let loaded = import.into_loaded(2);
    assert_eq!((loaded.index, loaded.term), store.applied());
    assert_eq!(loaded.conf, ConfState { voters: vec![1], learners: vec![] });
    check_same(&loaded.store.view(), &store.view());
}

/// No server lets an empty key through, but apply carries it out if somebody proposes it, as etcd
/// does. What was then written as a database or as a whole state was refused as damaged: no other
/// member could ever take it over.
#[test]
fn an_empty_key_comes_back() {
    let mut store = Store::new();
    let put = Some(PutRequest { value: Bytes::from_static(b"v"), ..PutRequest::default() });
    let request = InternalRaftRequest { put, ..InternalRaftRequest::default() };
    let entry = Bytes::from(request.encode_to_vec());
    store.apply(1, 1, EntryData::Normal(&entry)).unwrap();
    let checkpoint = store.checkpoint(ConfState::default());
    let import = DbImport::read(&file(&bytes_of(&checkpoint)), path()).unwrap();
    check_same(&import.into_loaded(1).store.view(), &store.view());
    let (fs, id) = (MemFs::new(), checkpoint.id());
    let whole = checkpoint.stream().map(Result::unwrap).collect::<Vec<_>>().concat();
    fs.create(&id.path(Path::new(""))).unwrap().write_at(&whole, 0).unwrap();
    let loaded = Checkpoint::load(&fs, Path::new(""), id).unwrap();
    check_same(&loaded.store.view(), &store.view());
}

#[test]
fn a_store_before_the_first_entry_is_empty() {
    let import = DbImport::read(&file(&bytes_of(&Store::new().checkpoint(conf()))), path());
    let import = import.unwrap();
    assert!(import.is_empty());
    assert_eq!((import.index(), import.term()), (0, None));
}

/// The rows as etcd 3.7 has them in its file after the same entries.
#[test]
fn rows_are_those_of_etcd() {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let short = |value: &[u8]| text(&value[..value.len().min(90)]);
    let rows = full_rows();
    let shown: Vec<String> = rows
        .iter()
        .map(|((bucket, key), value)| format!("{bucket} {} = {}", text(key), short(value)))
        .filter(|row| !row.contains("xxx"))
        .collect();
    let expected = [
        r"alarm \x08\x01\x10\t = ",
        r"auth authRevision = \x00\x00\x00\x00\x00\x00\x00\x01",
        r"cluster clusterVersion = 3.7.0",
        r#"cluster downgrade = {\"target-version\":\"3.7.0\",\"enabled\":true}"#,
        r"key \x00\x00\x00\x00\x00\x00\x00\x03_\x00\x00\x00\x00\x00\x00\x00\x00 = \n\x01a\x10\x02\x18\x03 \x02*\x0120\x07",
        r"key \x00\x00\x00\x00\x00\x00\x00\x05_\x00\x00\x00\x00\x00\x00\x00\x00 = \n\x01a\x10\x02\x18\x05 \x03*\x0130\xf9\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        r"lease \x00\x00\x00\x00\x00\x00\x00\x07 = \x08\x07\x10<",
        r"lease \xff\xff\xff\xff\xff\xff\xff\xf9 = \x08\xf9\xff\xff\xff\xff\xff\xff\xff\xff\x01\x10<",
        r#"members 1 = {\"id\":1,\"peerURLs\":[\"http://h1:1\"],\"name\":\"one\"}"#,
        r"members_removed 2 = removed",
        r#"meta confState = {\"voters\":[1,3],\"learners\":[4],\"auto_leave\":false}"#,
        r"meta consistent_index = \x00\x00\x00\x00\x00\x00\x00\r",
        r"meta finishedCompactRev = \x00\x00\x00\x00\x00\x00\x00\x03_\x00\x00\x00\x00\x00\x00\x00\x00",
        r"meta scheduledCompactRev = \x00\x00\x00\x00\x00\x00\x00\x03_\x00\x00\x00\x00\x00\x00\x00\x00",
        r"meta storageVersion = 3.7.0",
        r"meta term = \x00\x00\x00\x00\x00\x00\x00\x02",
    ];
    assert_eq!(shown, expected);
}

/// The view stays as it was while the store goes on.
#[test]
fn writing_goes_on_meanwhile() {
    let mut store = full_store();
    let before = store.view();
    let mut export = store.checkpoint(conf()).export().unwrap();
    let mut bytes = export.next().unwrap().unwrap().to_vec();
    for n in 0..50 {
        let key = Bytes::from(format!("k{n}"));
        let put = Some(PutRequest { key, ..PutRequest::default() });
        apply(&mut store, &InternalRaftRequest { put, ..Default::default() });
    }
    let compaction = Some(CompactionRequest { revision: 40, physical: false });
    apply(&mut store, &InternalRaftRequest { compaction, ..Default::default() });
    while store.collect(100) {}
    bytes.extend(export.flat_map(Result::unwrap));
    let loaded = DbImport::read(&file(&bytes), path()).unwrap().into_loaded(2);
    check_same(&loaded.store.view(), &before);
}

fn apply(store: &mut Store, request: &InternalRaftRequest) {
    let entry = Bytes::from(request.encode_to_vec());
    store.apply(store.applied().0 + 1, 2, EntryData::Normal(&entry)).unwrap();
}

fn revision_row(main: i64) -> Vec<u8> {
    let mut row = main.to_be_bytes().to_vec();
    row.extend([b'_', 0, 0, 0, 0, 0, 0, 0, 0]);
    row
}

/// etcd notes a compaction when it begins and when it is done. One that a kill cut off has moved
/// what clients see, so it must be finished, as etcd does when it starts.
#[test]
fn a_compaction_that_was_cut_off_is_finished() {
    let mut store = full_store();
    let mut rows = rows_of(&bytes_of(&store.checkpoint(conf())));
    rows.insert(row("meta", "scheduledCompactRev"), revision_row(5));
    let compaction = Some(CompactionRequest { revision: 5, physical: false });
    apply(&mut store, &InternalRaftRequest { compaction, ..Default::default() });
    let view = import(&rows).unwrap().into_loaded(2).store.view();
    assert_eq!(view.hash_kv(0), store.view().hash_kv(0));
    assert_eq!(view.compact_revision(), 5);
}

/// A compaction of a deletion that was the newest change took the newest revision with it in
/// etcd before 3.5.16, and the next write then took a revision for the second time.
#[test]
fn revisions_do_not_go_back() {
    let mut rows = full_rows();
    rows.insert(row("meta", "finishedCompactRev"), revision_row(9));
    let view = import(&rows).unwrap().into_loaded(2).store.view();
    assert_eq!((view.revision(), view.compact_revision()), (9, 9));
}

fn check_refused(bucket: &str, key: &[u8], value: &[u8], expected: &str) {
    let mut rows = full_rows();
    rows.insert(row(bucket, key), value.to_vec());
    let Err(error) = import(&rows) else { panic!("{bucket} {key:?} was taken") };
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn what_would_be_lost_is_refused() {
    check_refused("auth", b"authEnabled", &[1], "authentication is enabled");
    check_refused("authUsers", b"root", b"", "it has users");
    check_refused("authRoles", b"root", b"", "it has roles");
    check_refused("meta", b"storageVersion", b"3.8.0", "its storage version is 3.8.0");
    let mut rows = full_rows();
    rows.insert(row("auth", "authEnabled"), vec![0]);
    import(&rows).unwrap();
}

/// A database whose cluster was newer than its storage version was taken, and written again with a
/// storage version that nobody could take.
#[test]
fn the_state_of_a_newer_cluster_is_refused() {
    check_refused("cluster", b"clusterVersion", b"3.8.0", "its cluster version is 3.8.0");
    check_refused("cluster", b"clusterVersion", b"4.6.0", "its cluster version is 4.6.0");
}

#[test]
fn rows_that_etcd_does_not_write_are_refused() {
    check_refused("key", b"x", b"", "bucket \"key\": not a revision");
    check_refused("key", &revision_row(-1), b"", "not a revision");
    check_refused("key", &revision_row(i64::MAX), b"", "not a revision");
    for record in [
        &b"\x0a\x01a\x10\x07\x18\x08\x20\x01"[..],
        b"\x0a\x01a\x10\x08\x18\x07\x20\x01",
        b"\x0a\x01a\x18\x07\x20\x01",
        b"\x0a\x01a\x10\x07\x18\x07",
    ] {
        check_refused("key", &revision_row(7), record, "cannot be of its revision");
    }
    check_refused("key", &revision_row(7), b"\x18\x07\x0a\x01a", "not canonical");
    let mut twice = revision_row(5);
    twice.push(b't');
    check_refused("key", &twice, b"\x0a\x01a", "out of order");
    check_refused("lease", &[0; 8], b"\x08\x01", "a lease under another ID");
    check_refused("lease", &[0, 0, 0, 0, 0, 0, 0, 1], b"\xff", "not a lease");
    check_refused("members", b"zz", b"{}", "not an ID");
    check_refused("members", b"5", b"{", "not a member");
    check_refused("members", b"5", br#"{"id":6}"#, "a member under another ID");
    check_refused("cluster", b"clusterVersion", b"3", "not a version");
    check_refused("cluster", b"downgrade", b"x", "a downgrade");
    check_refused("meta", b"consistent_index", b"1", "not a number");
    check_refused("meta", b"confState", b"{", "confState is not");
    check_refused("meta", b"confState", br#"{"voters_outgoing":[1]}"#, "joint");
    check_refused("meta", b"finishedCompactRev", b"1", "not a revision");
    check_refused("alarm", b"\xff", b"", "not an alarm");
}

const V2_STORE: &str = r#"{"Root":{"Path":"/","CreatedIndex":0,"ModifiedIndex":0,"Value":"",
"ExpireTime":"0001-01-01T00:00:00Z","Children":{"0":{"Path":"/0","Children":{
"members":{"Path":"/0/members","Children":{"6591da63e38e4ef6":{
"Path":"/0/members/6591da63e38e4ef6","Children":{
"attributes":{"Path":"/0/members/6591da63e38e4ef6/attributes",
"Value":"{\"name\":\"default\",\"clientURLs\":[\"http://127.0.0.9:2379\"]}"},
"raftAttributes":{"Path":"/0/members/6591da63e38e4ef6/raftAttributes",
"Value":"{\"peerURLs\":[\"http://127.0.0.9:2380\"]}","Children":null}}},
"a":{"Path":"/0/members/a","Children":{"raftAttributes":{"Path":"/0/members/a/raftAttributes",
"Value":"{\"peerURLs\":[\"http://b\"],\"isLearner\":true}"}}}}},
"removed_members":{"Path":"/0/removed_members","Children":{
"7":{"Path":"/0/removed_members/7","Value":"removed"}}},
"version":{"Path":"/0/version","Value":"3.4.0","Children":null}}},
"1":{"Path":"/1","Value":"","Children":{}}}},
"WatcherHub":{"EventHistory":null},"CurrentIndex":5,"Stats":{},"CurrentVersion":2}"#;

fn snap_file(json: &[u8]) -> Vec<u8> {
    let conf_state = Some(raftpb::ConfState { voters: vec![1], ..Default::default() });
    let metadata = Some(raftpb::SnapshotMetadata { conf_state, index: 5, term: 2 });
    let snapshot = raftpb::Snapshot { data: Bytes::copy_from_slice(json), metadata };
    let data = Bytes::from(snapshot.encode_to_vec());
    snappb::Snapshot { crc: crc32c::crc32c(&data), data }.encode_to_vec()
}

#[test]
fn snapshot_files_come_back_as_they_were_written() {
    let file = full_store().checkpoint(conf()).snap_file();
    let file = SnapFile { index: 9, term: 3, ..file };
    assert_eq!(SnapFile::read(&file.encode()), Ok(file.clone()));
    assert_eq!(SnapFile::name(9, 3), "0000000000000003-0000000000000009.snap");
    let mut damaged = file.encode();
    damaged[100] ^= 1;
    assert_eq!(SnapFile::read(&damaged), Err("its checksum is wrong".to_owned()));
    assert!(SnapFile::read(b"").is_err() && SnapFile::read(b"\xff").is_err());
}

/// An empty ring of events is accepted by etcd 3.5, which then dies at the next change.
#[test]
fn the_ring_of_events_has_all_its_slots() {
    let json = full_store().checkpoint(conf()).snap_file().v2_store;
    let store: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let queue = &store["WatcherHub"]["EventHistory"]["Queue"];
    assert_eq!(queue["Events"].as_array().unwrap().len(), 1000);
    assert_eq!(queue["Capacity"], 1000);
}

fn receive(bytes: &[u8], announced: &Announced) -> Result<(MemFs, Loaded), ReceiveError> {
    let (fs, dir) = (MemFs::new(), Path::new("store"));
    fs.create_dir_all(dir).unwrap();
    let mut received = ReceivedDatabase::begin(Arc::new(fs.clone()), dir)?;
    bytes.chunks(1000).try_for_each(|chunk| received.push(chunk))?;
    let outcome = received.finish(announced);
    let names = fs.list(dir).unwrap();
    // The checkpoint and the one segment that it names.
    assert_eq!(names.len(), 2 * usize::from(outcome.is_ok()), "nothing else is left: {names:?}");
    outcome.map(|loaded| (fs, loaded))
}

/// A message that announced another entry than the state behind it contained went to consensus,
/// which asserts that they are the same, and so a peer could stop this member.
#[test]
fn a_database_from_another_member_is_what_was_announced() {
    let mut store = full_store();
    let bytes = bytes_of(&store.checkpoint(conf()));
    let (index, term) = store.applied();
    let announced = Announced { index, term, conf: conf(), v2_store: Bytes::new() };
    let (fs, received) = receive(&bytes, &announced).unwrap();
    let dir = Path::new("store");
    assert!(Checkpoint::load_newest(&fs, dir).unwrap().is_none(), "it is none until it is adopted");
    ReceivedId { index, term }.adopt(&fs, dir).unwrap();
    let newest = Checkpoint::load_newest(&fs, Path::new("store")).unwrap().unwrap();
    for loaded in [received, newest] {
        assert_eq!((loaded.index, loaded.term, loaded.conf), (index, term, conf()));
        check_same(&loaded.store.view(), &store.view());
    }
    for other in [
        Announced { index: index + 1, ..announced.clone() },
        Announced { term: term + 1, ..announced.clone() },
    ] {
        let Err(error) = receive(&bytes, &other) else { panic!("{other:?} was taken") };
        assert!(matches!(error, ReceiveError::Other { .. }), "{error}");
    }
    let Err(error) = receive(&bytes[..bytes.len() - 1], &announced) else { panic!("was taken") };
    assert!(error.to_string().contains("is cut off"), "{error}");
}

/// etcd 3.4 leaves the rows of term and voters as it finds them. When it had gone on from a directory
/// that we exported, its snapshots were refused: their term was still that of the export.
#[test]
fn rows_that_an_older_etcd_does_not_know_do_not_count() {
    let mut store = full_store();
    store.lower_version("3.4.0".parse().unwrap());
    let (index, term) = store.applied();
    let mut rows = rows_of(&bytes_of(&store.checkpoint(conf())));
    let [term_row, conf_row] = ["term", "confState"].map(|key| row("meta", key));
    assert!(!rows.contains_key(&term_row) && !rows.contains_key(&conf_row));
    rows.insert(conf_row.clone(), full_rows()[&conf_row].clone());
    rows.insert(term_row, (term - 1).to_be_bytes().to_vec());
    let bytes = encode(&rows);
    let import = DbImport::read(&file(&bytes), path()).unwrap();
    assert_eq!((import.term(), import.conf()), (None, None));
    let announced = Announced { index, term, conf: conf(), v2_store: Bytes::new() };
    let (_, loaded) = receive(&bytes, &announced).unwrap();
    assert_eq!((loaded.index, loaded.term), (index, term));
    check_same(&loaded.store.view(), &store.view());
}

/// Before 3.6 the members of the database may be wrong, and those in the message count.
#[test]
fn members_of_an_older_leader_come_with_the_message() {
    let mut rows = full_rows();
    rows.remove(&row("meta", "storageVersion"));
    let bytes = encode(&rows);
    let (index, term) = full_store().applied();
    let v2_store = Bytes::from(V2_STORE);
    let announced = Announced { index, term, conf: conf(), v2_store };
    let (_, loaded) = receive(&bytes, &announced).unwrap();
    let members = loaded.store.membership().conf();
    assert_eq!((members.voters, members.learners), (vec![0x6591_da63_e38e_4ef6], vec![10]));
    let damaged = Announced { v2_store: Bytes::from_static(b"{"), ..announced };
    let Err(error) = receive(&bytes, &damaged) else { panic!("was taken") };
    assert!(matches!(error, ReceiveError::Members(_)), "{error}");
}

/// The v2 store of a leader shows a member's name once that has published itself. A follower that got
/// its state from the leader before knew no name, while the others had it from the log.
#[test]
fn members_that_are_silent_keep_their_names() {
    let mut store = Store::new();
    let peer_urls = vec!["http://c".to_owned()];
    let member = Member { id: 8, peer_urls, name: "silent".to_owned(), ..Member::default() };
    let context = Bytes::from(member.to_json(Some(false)));
    let add = ConfChange { node_id: 8, context, ..ConfChange::default() };
    let add = Bytes::from(add.encode_to_vec());
    store.apply(1, 1, EntryData::ConfChange(&add)).unwrap();
    let put = Some(PutRequest { key: Bytes::from_static(b"a"), ..PutRequest::default() });
    let put = Bytes::from(InternalRaftRequest { put, ..Default::default() }.encode_to_vec());
    store.apply(2, 1, EntryData::Normal(&put)).unwrap();
    let conf = ConfState { voters: vec![8], learners: Vec::new() };
    let checkpoint = store.checkpoint(conf.clone());
    let v2_store = checkpoint.snap_file().v2_store;
    assert!(!v2_store.is_empty());
    let announced = Announced { index: 2, term: 1, conf, v2_store };
    let (_, loaded) = receive(&bytes_of(&checkpoint), &announced).unwrap();
    assert_eq!(loaded.store.membership(), store.membership());
}

#[test]
fn members_come_from_the_v2_store_and_the_log() {
    let file = snap_file(V2_STORE.as_bytes());
    let base = SnapFile::read(&file).unwrap();
    assert_eq!((base.index, base.term, base.conf.voters.as_slice()), (5, 2, &[1][..]));
    let mut replay = ClusterReplay::new(&base).unwrap();
    let member = Member { id: 8, peer_urls: vec!["http://c".to_owned()], ..Member::default() };
    let context = Bytes::from(member.to_json(Some(false)));
    let add = ConfChange { node_id: 8, context, ..ConfChange::default() };
    let add = Bytes::from(add.encode_to_vec());
    let request = quoin_api::etcdserverpb::Request {
        method: "PUT".to_owned(),
        path: Bytes::from_static(b"/0/version"),
        val: Bytes::from_static(b"3.5.0"),
        ..Default::default()
    };
    let version = Bytes::from(request.encode_to_vec());
    let put = Some(PutRequest { key: Bytes::from_static(b"a"), ..PutRequest::default() });
    let put = InternalRaftRequest { put, ..Default::default() };
    let put = Bytes::from(put.encode_to_vec());
    let auth = Bytes::from_static(b"\xc2\x3e\x00");
    replay.apply(6, EntryData::ConfChange(&add), 1).unwrap();
    for (index, entry) in [(7, &version), (8, &put), (9, &auth), (10, &Bytes::new())] {
        replay.apply(index, EntryData::Normal(entry), 1).unwrap();
    }
    let cluster = replay.finish();
    let membership = cluster.membership();
    let conf = membership.conf();
    assert_eq!(conf.voters, [8, 0x6591_da63_e38e_4ef6]);
    assert_eq!(conf.learners, [10]);
    assert!(membership.is_removed(7));
    let first = membership.member(0x6591_da63_e38e_4ef6).unwrap();
    assert_eq!((first.name.as_str(), first.client_urls.len()), ("default", 1));
    assert_eq!(membership.version().unwrap().to_string(), "3.5.0");
}

/// Keys of the v2 API stood in a snapshot file and in the log behind it, and a member that took over
/// the database forgot them.
#[test]
fn what_a_v2_store_has_is_not_lost() {
    let read =
        |json: &str| ClusterReplay::new(&SnapFile::read(&snap_file(json.as_bytes())).unwrap());
    let refused = |json: &str| read(json).unwrap_err();
    let with_keys = V2_STORE.replace(
        r#""1":{"Path":"/1","Value":"","Children":{}}"#,
        r#""1":{"Path":"/1","Value":"","Children":{"old":{"Path":"/1/old","Value":"bar"}}}"#,
    );
    assert!(!refused("{").is_empty());
    assert!(refused(&V2_STORE.replace("3.4.0", "x")).contains("cluster version \"x\""));
    assert!(
        refused(&V2_STORE.replace("members/a", "members/z").replace("\"a\":{", "\"z\":{"))
            .contains("member \"z\"")
    );
    assert!(!read(V2_STORE).unwrap().is_v2_used());
    let mut replay = read(&with_keys).unwrap();
    assert!(replay.is_v2_used());
    let request = quoin_api::etcdserverpb::Request {
        method: "PUT".to_owned(),
        path: Bytes::from_static(b"/1/foo"),
        ..Default::default()
    };
    let entry = Bytes::from(request.encode_to_vec());
    assert!(ClusterReplay::concerns(EntryData::Normal(&entry)));
    replay.apply(6, EntryData::Normal(&entry), 1).unwrap();
    let view = replay.finish().v2().view();
    let keys: Vec<Bytes> =
        view.get(b"/1", true).unwrap().below.into_iter().map(|node| node.key).collect();
    assert_eq!(keys, ["/1/foo", "/1/old"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the bytes, a file is read or refused, and one that is read can be gone on with.
    #[test]
    fn damaged_files(
        flips in vec((any::<Index>(), any::<Index>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = bytes_of(&full_store().checkpoint(conf()));
        for (page, at, byte) in flips {
            // Behind the metas, and where something stands.
            let page = 2 + page.index(bytes.len() / 4096 - 2);
            bytes[page * 4096 + at.index(300)] = byte;
        }
        if let Ok(import) = DbImport::read(&file(&bytes), path()) {
            let mut store = import.into_loaded(2).store;
            let put = Some(PutRequest { key: Bytes::from_static(b"a"), ..Default::default() });
            apply(&mut store, &InternalRaftRequest { put, ..Default::default() });
            store.view().hash_kv(0).unwrap();
        }
    }
}
